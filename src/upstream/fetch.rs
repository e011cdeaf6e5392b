//! Fetching a file for an upstream into the spool: resumed where the server allows it, whole or not at
//! all.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, LAST_MODIFIED, RANGE};
use reqwest::{Client, Response, StatusCode};
use tokio::sync::Semaphore;

use super::reach::{Forbidden, Reach};
use crate::config::secrets::Secret;
use crate::job::ahead::Ahead;
use crate::job::analysis_pool::AnalysisPool;
use crate::job::download;
use crate::job::incoming::Incoming;
use crate::job::spool::Spool;

/// How often all addresses are tried.
const ROUNDS: u32 = 4;
/// How often a broken transfer goes on where it broke.
const RESUMES: u32 = 20;
/// First wait between rounds; doubles.
const WAIT: Duration = Duration::from_secs(1);
/// Longest fetch in all.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

/// What is needed to fetch.
#[derive(Clone, Debug)]
pub struct Fetcher {
    /// Asks through the guard.
    pub http: Client,
    /// The guard.
    pub reach: Reach,
    /// Analyzes files while they come.
    pub pool: AnalysisPool,
    /// Where files go.
    pub spool: Spool,
    /// How many files come at once; the others wait their turn.
    pub lanes: Arc<Semaphore>,
}

/// Files that are fetched at once. The spool takes a few more, for people who upload.
pub const LANES: usize = 4;

/// Why one attempt ended.
type Trouble = download::Trouble<Forbidden>;

/// A file that is partly here.
struct Part {
    incoming: Incoming,
    ahead: Ahead,
    /// Says that the rest belongs to the same content.
    validator: Option<String>,
    total: Option<u64>,
}

impl Fetcher {
    /// Fetches a file; gives the SHA-256 it has in the spool. `so_far` hears of every whole percent.
    ///
    /// # Errors
    /// In words for the panel.
    pub async fn fetch(
        &self,
        urls: &[Secret],
        name: &str,
        size: Option<u64>,
        so_far: impl Fn(i64) + Send + Sync,
    ) -> Result<String, String> {
        let Ok(_lane) = self.lanes.acquire().await else {
            return Err("Failed to download file: layerd is stopping.".to_owned());
        };
        match tokio::time::timeout(LONGEST, self.rounds(urls, name, size, &so_far)).await {
            Ok(result) => result,
            Err(_) => Err("Failed to download file: it took too long.".to_owned()),
        }
    }

    async fn rounds(
        &self,
        urls: &[Secret],
        name: &str,
        size: Option<u64>,
        so_far: &(impl Fn(i64) + Send + Sync),
    ) -> Result<String, String> {
        let mut last = String::new();
        for round in 0..ROUNDS {
            if round > 0 {
                let wait = WAIT.saturating_mul(1 << round.min(8));
                tokio::time::sleep(wait.mul_f64(0.7 + 0.6 * fastrand::f64())).await;
            }
            let mut hopeless = true;
            for url in urls {
                match self.one(url.reveal(), name, size, so_far).await {
                    Ok(sha256) => return Ok(sha256),
                    Err(Trouble::Status(status)) => {
                        hopeless &= status.is_client_error()
                            && status != StatusCode::TOO_MANY_REQUESTS
                            && status != StatusCode::REQUEST_TIMEOUT;
                        last = format!("Failed to download file: {}", status.as_u16());
                    }
                    Err(Trouble::Broken(why)) => {
                        hopeless = false;
                        last = format!("Failed to download file: Network Error: {why}");
                    }
                    // It will not get better.
                    Err(Trouble::Spool(fault)) => return Err(format!("Failed to download file: {fault}")),
                    Err(why) => return Err(format!("Failed to download file: {why}.")),
                }
            }
            if hopeless {
                break;
            }
        }
        Err(last)
    }

    /// One address, resumed as long as the server goes along.
    async fn one(
        &self,
        url: &str,
        name: &str,
        size: Option<u64>,
        so_far: &(impl Fn(i64) + Send + Sync),
    ) -> Result<String, Trouble> {
        let url = self.reach.url(url).map_err(Trouble::Forbidden)?;
        let mut part: Option<Part> = None;
        let mut resumes = 0;
        loop {
            let asked = part.as_ref().map(Part::rest).unwrap_or_default();
            let (_, answer) = download::ask(&self.http, &self.reach, &url, &asked).await?;
            let status = answer.status();
            if status != StatusCode::OK && (status != StatusCode::PARTIAL_CONTENT || part.is_none()) {
                return Err(Trouble::Status(status));
            }
            let goes_on = part
                .as_ref()
                .is_some_and(|p| continues(&answer, p.incoming.written(), p.total));
            if !goes_on {
                // From the beginning: what is here belongs to nothing any more.
                part = None;
            }
            let mut now = match part.take() {
                Some(part) => part,
                None => self.begin(&answer, name, size).await?,
            };
            match receive(answer, &mut now, size, so_far).await {
                Ok(()) => {
                    return match now.incoming.finish_as(None).await {
                        Ok(stored) => {
                            now.ahead.finish(&stored.sha256, stored.size).await;
                            Ok(stored.sha256)
                        }
                        Err(fault) => Err(Trouble::Spool(fault)),
                    };
                }
                Err(Trouble::Broken(why)) => {
                    resumes += 1;
                    if now.validator.is_none() || now.incoming.written() == 0 || resumes > RESUMES {
                        return Err(Trouble::Broken(why));
                    }
                    tokio::time::sleep(WAIT).await;
                    part = Some(now);
                }
                Err(other) => return Err(other),
            }
        }
    }

    async fn begin(&self, answer: &Response, name: &str, size: Option<u64>) -> Result<Part, Trouble> {
        if answer.status() == StatusCode::PARTIAL_CONTENT {
            // Not the part that was asked for.
            return Err(Trouble::Broken("the server sent another part".to_owned()));
        }
        let total = answer.content_length();
        if let (Some(said), Some(total)) = (size, total)
            && said != total
        {
            return Err(Trouble::Unlike(wrong_size(said, total)));
        }
        let incoming = self.spool.incoming(name, total.or(size)).await;
        Ok(Part {
            incoming: incoming.map_err(Trouble::Spool)?,
            ahead: Ahead::new(self.pool.clone()),
            validator: validator(answer.headers()),
            total: total.or(size),
        })
    }
}

impl Part {
    /// Asks for what is still missing.
    fn rest(&self) -> HeaderMap {
        let validator = self.validator.as_deref();
        let validator = validator.and_then(|v| HeaderValue::from_str(v).ok());
        let range = HeaderValue::from_str(&format!("bytes={}-", self.incoming.written())).ok();
        let both = validator.zip(range);
        both.into_iter()
            .flat_map(|(validator, range)| [(RANGE, range), (IF_RANGE, validator)])
            .collect()
    }
}

/// Takes the body of an answer.
async fn receive(
    mut answer: Response,
    part: &mut Part,
    size: Option<u64>,
    so_far: &(impl Fn(i64) + Send + Sync),
) -> Result<(), Trouble> {
    let mut told = -1;
    let (ahead, total) = (&mut part.ahead, part.total);
    let look = |incoming: &Incoming| {
        ahead.turn(incoming);
        let here = incoming.written();
        if let Some(total) = total.filter(|total| here > *total) {
            return Err(wrong_size(total, here));
        }
        if let Some(total) = total.filter(|t| *t > 0) {
            let percent = i64::try_from(here.saturating_mul(100) / total).unwrap_or(100);
            if percent != told {
                told = percent;
                so_far(percent);
            }
        }
        Ok(())
    };
    download::pour(&mut answer, &mut part.incoming, look).await?;
    let here = part.incoming.written();
    if let Some(total) = total.filter(|total| here < *total) {
        return Err(Trouble::Broken(format!("{here} of {total} bytes came")));
    }
    match size {
        Some(said) if said != here => Err(Trouble::Unlike(wrong_size(said, here))),
        _ if here == 0 => Err(Trouble::Unlike("the file is empty".to_owned())),
        _ => Ok(()),
    }
}

fn wrong_size(said: u64, seen: u64) -> String {
    format!("its size is {seen} bytes, not {said} as announced")
}

/// A validator that is good for `If-Range`: a strong tag, else a date.
fn validator(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok());
    text(ETAG)
        .filter(|tag| !tag.starts_with("W/"))
        .or_else(|| text(LAST_MODIFIED))
        .map(str::to_owned)
}

/// Whether an answer goes on exactly where the part ends.
fn continues(answer: &Response, at: u64, total: Option<u64>) -> bool {
    answer.status() == StatusCode::PARTIAL_CONTENT
        && answer
            .headers()
            .get(CONTENT_RANGE)
            .and_then(|v| v.to_str().ok())
            .is_some_and(|text| range_fits(text, at, total))
}

/// `bytes 100-199/200` for a part that has 100 of 200.
fn range_fits(text: &str, at: u64, total: Option<u64>) -> bool {
    let Some(rest) = text.trim().strip_prefix("bytes ") else {
        return false;
    };
    let Some((span, whole)) = rest.split_once('/') else {
        return false;
    };
    let first: Option<u64> = span.split('-').next().and_then(|n| n.trim().parse().ok());
    let whole: Option<u64> = whole.trim().parse().ok();
    first == Some(at) && (whole.is_none() || total.is_none() || whole == total)
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
