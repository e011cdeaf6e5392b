//! A file from an address that a client names: http or https, bounded in time and size, never from this
//! machine (unless webhooks may lead there too) and never by a redirect to where the address itself may not
//! lead.

use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::LOCATION;
use reqwest::{Client, Response, Url};

use crate::api::Api;
use crate::api::envelope::Problem;
use crate::api::webhooks::target::{Forbidden, Target};
use crate::host::tls;
use crate::job::store::UploadRow;
use crate::printer::fault::Fault;

/// Files that are fetched at once.
pub const LANES: usize = 2;

/// Redirects that are followed.
const REDIRECTS: usize = 5;

/// How long a connection may take to open, a server may be silent, and a whole file may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
const SILENCE: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(30 * 60);

/// Fetches a file into the spool.
pub async fn fetch(api: &Api, url: &str, name: Option<&str>) -> Result<UploadRow, Problem> {
    let target = api.post.target;
    let url = target.url(url).map_err(|e| forbidden(&e))?;
    let _lane = api.v1.fetching.clone().try_acquire_owned().map_err(|_| {
        Problem::with(
            StatusCode::TOO_MANY_REQUESTS,
            format!("{LANES} files are being fetched already. Try again when one of them is here."),
        )
    })?;
    match tokio::time::timeout(LONGEST, whole(api, target, url, name)).await {
        Ok(row) => row,
        Err(_) => Err(failed("it took longer than half an hour")),
    }
}

async fn whole(api: &Api, target: Target, url: Url, name: Option<&str>) -> Result<UploadRow, Problem> {
    let client = client(target).map_err(|why| {
        tracing::error!(code = "api/no-client", "no file can be fetched: {why}");
        Problem::with(
            StatusCode::INTERNAL_SERVER_ERROR,
            "No file can be fetched: see the log.",
        )
    })?;
    let (url, mut answer) = ask(&client, target, url).await?;
    let last = || {
        url.path_segments()
            .and_then(|mut all| all.next_back())
            .unwrap_or_default()
    };
    let name = name.unwrap_or_else(last);
    let name = if name.is_empty() { "download.gcode" } else { name };
    let spool = api.agent.spool();
    let mut incoming = spool
        .incoming(name, answer.content_length())
        .await
        .map_err(refused)?;
    loop {
        let next = tokio::time::timeout(SILENCE, answer.chunk()).await;
        match next.map_err(|_| failed("the server fell silent"))? {
            Ok(Some(bytes)) => incoming.write(bytes).await.map_err(refused)?,
            Ok(None) => break,
            Err(_) => return Err(failed("the transfer broke off")),
        }
    }
    if incoming.written() == 0 {
        return Err(failed("the file is empty"));
    }
    incoming.finish().await.map_err(refused)
}

async fn ask(client: &Client, target: Target, mut url: Url) -> Result<(Url, Response), Problem> {
    for _ in 0..=REDIRECTS {
        let answer = tokio::time::timeout(SILENCE, client.get(url.clone()).send()).await;
        let answer = answer
            .map_err(|_| failed("the server does not answer"))?
            .map_err(|_| failed("the server cannot be reached, or its address is not allowed"))?;
        if !answer.status().is_redirection() {
            return if answer.status().is_success() {
                Ok((url, answer))
            } else {
                Err(failed(&format!(
                    "the server answers {}",
                    answer.status().as_u16()
                )))
            };
        }
        let to = answer.headers().get(LOCATION).and_then(|v| v.to_str().ok());
        let to = to.and_then(|to| url.join(to).ok());
        let to = to.ok_or_else(|| failed("the server leads nowhere"))?;
        url = target.url(to.as_str()).map_err(|e| forbidden(&e))?;
    }
    Err(failed("the server leads on and on"))
}

fn client(target: Target) -> Result<Client, String> {
    let tls = tls::client_config().map_err(|e| e.to_string())?;
    Client::builder()
        .tls_backend_preconfigured((*tls).clone())
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_LIMIT)
        .pool_max_idle_per_host(0)
        .dns_resolver(target)
        .user_agent(concat!("layerd/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|e| e.to_string())
}

fn failed(why: &str) -> Problem {
    Problem::said(format!("The file could not be fetched: {why}.")).coded("refused/file-not-fetched")
}

fn forbidden(error: &Forbidden) -> Problem {
    let words = match error {
        Forbidden::Unreadable => "The file's address must be http or https, without a login.",
        Forbidden::Inside => {
            "The file's address leads to this machine or to where no files are. For programs of this machine set \
             webhook_local = true under [api]."
        }
    };
    Problem::bad(words).coded("refused/file-url-not-allowed")
}

fn refused(fault: Fault) -> Problem {
    let problem = Problem::said(fault.to_string());
    match fault.code {
        std::borrow::Cow::Borrowed(code) => problem.coded(code),
        std::borrow::Cow::Owned(_) => problem,
    }
}
