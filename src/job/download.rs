//! A file from an address into the spool: the way there, with its limits. Which addresses are allowed, and what becomes
//! of a transfer that breaks, is for who asks.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{Client, ClientBuilder, Response, StatusCode, Url};
use rustls::ClientConfig;

use super::incoming::Incoming;
use crate::host::names;
use crate::printer::fault::Fault;

/// Redirects that are followed.
pub const REDIRECTS: usize = 5;
/// How long a name may take to resolve.
const RESOLVE_LIMIT: Duration = Duration::from_secs(10);
/// How long a connection may take to open.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// Silence after which a transfer is broken off.
const READ_LIMIT: Duration = Duration::from_secs(30);
/// How long the head of an answer may take.
const HEAD_LIMIT: Duration = Duration::from_secs(45);

/// Which addresses are allowed: of names when they are resolved, of everything else by [`Rule::judge`].
pub trait Rule: Resolve + Clone + 'static {
    /// Why not.
    type Forbidden: std::error::Error + Clone + Send + Sync + 'static;

    /// Judges what can be judged without resolving a name.
    ///
    /// # Errors
    /// It is not allowed.
    fn judge(&self, url: &Url) -> Result<(), Self::Forbidden>;
}

/// Why no file came. No address stands in it, for addresses may be signed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Trouble<F> {
    /// It leads where it must not.
    #[error("{0}")]
    Forbidden(F),
    /// The server says no.
    #[error("the server answers {}", .0.as_u16())]
    Status(StatusCode),
    /// It is sent from one address to the next.
    #[error("too many redirects")]
    Redirects,
    /// The connection broke, or never came to be.
    #[error("{0}")]
    Broken(String),
    /// The spool does not take it.
    #[error("{0}")]
    Spool(Fault),
    /// It is not what was announced.
    #[error("{0}")]
    Unlike(String),
}

/// A client that resolves names by the rule, follows no redirect by itself and has the limits of this place.
pub fn client(tls: ClientConfig, rule: &impl Rule) -> ClientBuilder {
    Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_LIMIT)
        .read_timeout(READ_LIMIT)
        .pool_idle_timeout(Duration::from_secs(20))
        .pool_max_idle_per_host(1)
        .dns_resolver(rule.clone())
        .user_agent(concat!("layerd/", env!("CARGO_PKG_VERSION")))
}

/// Resolves a name to the addresses that are allowed; `no` when there is none.
pub fn resolve<E>(name: &Name, allowed: impl Fn(IpAddr) -> bool + Send + 'static, no: E) -> Resolving
where
    E: std::error::Error + Send + Sync + 'static,
{
    let name = name.as_str().to_owned();
    Box::pin(async move {
        let mut found = tokio::time::timeout(RESOLVE_LIMIT, names::addresses(&name, 0)).await??;
        found.retain(|a| allowed(a.ip()));
        if found.is_empty() {
            return Err(no.into());
        }
        Ok(Box::new(found.into_iter()) as Addrs)
    })
}

/// Sends a request and follows redirects within the rule. Gives the answer of a server that says yes, and from where.
///
/// # Errors
/// [`Trouble`].
pub async fn ask<R: Rule>(
    http: &Client,
    rule: &R,
    url: &Url,
    headers: &HeaderMap,
) -> Result<(Url, Response), Trouble<R::Forbidden>> {
    let mut url = url.clone();
    for _ in 0..=REDIRECTS {
        rule.judge(&url).map_err(Trouble::Forbidden)?;
        let request = http.get(url.clone()).headers(headers.clone());
        let answer = tokio::time::timeout(HEAD_LIMIT, request.send()).await;
        let answer = answer
            .map_err(|_| Trouble::Broken("no answer".to_owned()))?
            .map_err(|e| broken(&e))?;
        let status = answer.status();
        if status.is_success() {
            return Ok((url, answer));
        }
        if !status.is_redirection() || status == StatusCode::NOT_MODIFIED {
            return Err(Trouble::Status(status));
        }
        let to = answer.headers().get(LOCATION).and_then(|v| v.to_str().ok());
        url = to
            .and_then(|to| url.join(to).ok())
            .ok_or(Trouble::Status(status))?;
    }
    Err(Trouble::Redirects)
}

/// Takes the body of an answer. `so_far` looks at it after each piece and may say that it is not what was announced.
///
/// # Errors
/// [`Trouble`].
pub async fn pour<F: std::error::Error + Clone + 'static>(
    answer: &mut Response,
    incoming: &mut Incoming,
    mut so_far: impl FnMut(&Incoming) -> Result<(), String>,
) -> Result<(), Trouble<F>> {
    while let Some(chunk) = answer.chunk().await.map_err(|e| broken(&e))? {
        incoming.write(chunk).await.map_err(Trouble::Spool)?;
        so_far(incoming).map_err(Trouble::Unlike)?;
    }
    Ok(())
}

/// The connection's trouble without the address.
fn broken<F: std::error::Error + Clone + 'static>(error: &reqwest::Error) -> Trouble<F> {
    let mut source: &dyn std::error::Error = error;
    while let Some(deeper) = source.source() {
        if let Some(forbidden) = deeper.downcast_ref::<F>() {
            return Trouble::Forbidden(forbidden.clone());
        }
        source = deeper;
    }
    Trouble::Broken(if error.is_timeout() {
        "the server fell silent".to_owned()
    } else {
        source.to_string()
    })
}
