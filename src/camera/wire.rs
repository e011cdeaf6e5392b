//! Asking a camera over HTTP.

use std::time::Duration;

use bytes::Bytes;

use super::faults;
use super::frame::{Cutter, PICTURE_MAX, TooBig};
use crate::host::names::Names;
use crate::printer::fault::Fault;

/// From nothing to a whole picture. Some cameras wake up first.
pub const PICTURE_LIMIT: Duration = Duration::from_secs(10);
/// Redirects that are followed: some front ends add a slash.
const REDIRECTS: usize = 2;

/// A client for cameras.
///
/// # Errors
/// No TLS on this host.
pub fn client() -> Result<reqwest::Client, Fault> {
    let no_client = |e: String| faults::UNREACHABLE.with_raw(e);
    let tls = crate::host::tls::client_config().map_err(|e| no_client(e.to_string()))?;
    reqwest::Client::builder()
        .tls_backend_preconfigured((*tls).clone())
        .redirect(reqwest::redirect::Policy::limited(REDIRECTS))
        .no_proxy()
        .dns_resolver(Names)
        .timeout(PICTURE_LIMIT)
        .pool_max_idle_per_host(0)
        .build()
        .map_err(|e| no_client(e.to_string()))
}

/// The first whole picture behind an address.
///
/// # Errors
/// No answer, no picture, too big a one.
pub async fn picture(client: &reqwest::Client, url: &str) -> Result<Bytes, Fault> {
    // The address may hold a password: errors are told without it.
    let unreachable = |e: reqwest::Error| faults::UNREACHABLE.with_raw(root_cause(&e.without_url()));
    let mut answer = client.get(url).send().await.map_err(unreachable)?;
    let status = answer.status();
    if !status.is_success() {
        return Err(faults::NO_PICTURE.with_raw(format!("HTTP {}", status.as_u16())));
    }
    let mut cutter = Cutter::default();
    let mut read = 0;
    while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
        read += chunk.len();
        match cutter.push(&chunk) {
            Ok(Some(picture)) => return Ok(Bytes::from(picture)),
            Ok(None) if read <= PICTURE_MAX * 2 => {}
            Ok(None) => break,
            Err(TooBig) => return Err(faults::TOO_BIG),
        }
    }
    Err(faults::NO_PICTURE.with_raw(format!("no JPEG in {read} bytes")))
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let last = std::iter::successors(Some(error), |e| e.source()).last();
    last.map(ToString::to_string).unwrap_or_default()
}
