//! One camera: who may take a picture when, and whether it works.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

use super::faults;
use super::wire::{self, PICTURE_LIMIT};
use crate::config::model;
use crate::config::secrets::Secret;
use crate::printer::fault::Fault;

/// Pictures that are taken at once on this host.
const AT_ONCE: usize = 2;
/// Least time between two pictures of one camera.
const GAP: Duration = Duration::from_millis(300);
/// Longest wait for a turn.
const TURN_LIMIT: Duration = Duration::from_secs(15);

const UNKNOWN: u8 = 0;
const WORKS: u8 = 1;
const FAILS: u8 = 2;

/// Takes a picture with the printer's own camera; it has a deadline and a size limit of its own.
pub type Own = Arc<dyn Fn() -> BoxFuture<'static, Result<Bytes, Fault>> + Send + Sync>;

/// Where pictures come from.
#[derive(Clone)]
pub enum Source {
    /// An address: of a picture, or of an MJPEG stream, whose first picture is taken.
    Address(Secret),
    /// The printer's own camera.
    Own(Own),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Address(_) => "Address(***)",
            Source::Own(_) => "Own",
        })
    }
}

impl Source {
    /// As it is configured; a picture costs less than a stream.
    pub fn of(camera: &model::Camera) -> Option<Source> {
        let address = camera.snapshot.as_ref().or(camera.stream.as_ref())?;
        Some(Source::Address(address.clone()))
    }
}

/// What a picture is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Somebody asked for this one: it waits for its turn.
    Asked,
    /// One of many in a live view: left out when there is no turn at once.
    Live,
}

/// What all cameras of this host share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Studio {
    turns: Arc<Semaphore>,
}

impl Default for Studio {
    fn default() -> Self {
        Studio {
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

/// A camera.
#[derive(Debug)]
pub struct Lens {
    source: Source,
    studio: Studio,
    /// Made for the first picture; when the last one was begun. Held while one is taken: one at a time.
    taking: Mutex<(Option<reqwest::Client>, Option<Instant>)>,
    health: AtomicU8,
}

impl Lens {
    /// A camera of which nothing is known yet.
    pub fn new(source: Source, studio: Studio) -> Self {
        Lens {
            source,
            studio,
            taking: Mutex::default(),
            health: AtomicU8::new(UNKNOWN),
        }
    }

    /// Whether the last picture came; `None`: none was asked for yet.
    pub fn works(&self) -> Option<bool> {
        match self.health.load(Ordering::Relaxed) {
            UNKNOWN => None,
            state => Some(state == WORKS),
        }
    }

    /// Takes a picture.
    ///
    /// # Errors
    /// There is none to be had, or (live) others are being taken.
    pub async fn picture(&self, purpose: Purpose) -> Result<Bytes, Fault> {
        let (mut taking, _turn) = match purpose {
            Purpose::Live => {
                let taking = self.taking.try_lock().map_err(|_| faults::BUSY)?;
                (taking, self.studio.turns.try_acquire().map_err(|_| faults::BUSY)?)
            }
            Purpose::Asked => {
                let turn = async {
                    let taking = self.taking.lock().await;
                    let turn = self.studio.turns.acquire().await;
                    Ok((taking, turn.map_err(|_| faults::BUSY)?))
                };
                tokio::time::timeout(TURN_LIMIT, turn)
                    .await
                    .unwrap_or_else(|_| Err(faults::BUSY))?
            }
        };
        if let Some(last) = taking.1 {
            tokio::time::sleep_until(last + GAP).await;
        }
        taking.1 = Some(Instant::now());
        let result = match &self.source {
            Source::Own(own) => own().await,
            Source::Address(url) => {
                let client = match &taking.0 {
                    Some(client) => client.clone(),
                    None => taking.0.insert(wire::client()?).clone(),
                };
                // The client's own limit does not count the time between pieces of an answer.
                match tokio::time::timeout(PICTURE_LIMIT, wire::picture(&client, url.reveal())).await {
                    Ok(result) => result,
                    Err(_) => {
                        let seconds = PICTURE_LIMIT.as_secs();
                        Err(faults::UNREACHABLE.with_raw(format!("no whole picture in {seconds} s")))
                    }
                }
            }
        };
        let health = if result.is_ok() { WORKS } else { FAILS };
        self.health.store(health, Ordering::Relaxed);
        result
    }
}

#[cfg(test)]
#[path = "lens_tests.rs"]
mod tests;
