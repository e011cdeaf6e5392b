//! A file from an address that a client names: http or https, bounded in time and size, never from this
//! machine (unless webhooks may lead there too) and never by a redirect to where the address itself may not
//! lead.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use reqwest::{Client, Url};

use crate::api::Api;
use crate::api::envelope::Problem;
use crate::api::webhooks::target::{Forbidden, Target};
use crate::host::tls;
use crate::job::download::{self, Trouble};
use crate::job::store::UploadRow;
use crate::printer::fault::Fault;

/// Files that are fetched at once.
pub const LANES: usize = 2;

/// How long a whole file may take.
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
    let asked = download::ask(&client, &target, &url, &HeaderMap::new()).await;
    let (url, mut answer) = asked.map_err(trouble)?;
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
    let poured = download::pour(&mut answer, &mut incoming, |_| Ok(())).await;
    poured.map_err(trouble)?;
    if incoming.written() == 0 {
        return Err(failed("the file is empty"));
    }
    incoming.finish().await.map_err(refused)
}

fn client(target: Target) -> Result<Client, String> {
    let tls = tls::client_config().map_err(|e| e.to_string())?;
    let client = download::client((*tls).clone(), &target).no_proxy();
    client.build().map_err(|e| e.to_string())
}

fn trouble(trouble: Trouble<Forbidden>) -> Problem {
    match trouble {
        Trouble::Forbidden(error) => forbidden(&error),
        Trouble::Spool(fault) => refused(fault),
        other => failed(&other.to_string()),
    }
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
