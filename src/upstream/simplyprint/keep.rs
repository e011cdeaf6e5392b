//! What is kept in the database: documents and the outbox of each printer, bound to this machine.

use std::collections::VecDeque;
use std::time::Duration;

use super::action::PrinterKey;
use super::doc::Doc;
use super::outbox::Entry;
use crate::config::secrets::Secret;
use crate::job::store::{Store, StoreError};
use crate::upstream::machine;
use futures_util::future::BoxFuture;

/// Name of this upstream in the database.
pub const UPSTREAM: &str = "simplyprint";
/// The machine that the identities belong to.
const MACHINE: &str = "machine";
/// A write that failed is tried again after this.
const RETRY: Duration = Duration::from_secs(5);
/// Writes that may wait for a disk that refuses them. When full the oldest goes, loudly.
const WRITES_MAX: usize = 4096;

/// One write.
#[derive(Clone, Debug)]
pub enum Write {
    /// A document.
    Doc {
        /// Which printer.
        printer: PrinterKey,
        /// Its name.
        name: String,
        /// Which version.
        version: u64,
        /// The text.
        body: Secret,
    },
    /// A thing to deliver.
    Put {
        /// The printer's name.
        name: String,
        /// The thing.
        entry: Entry,
    },
    /// Delivered things.
    Done {
        /// The printer's name.
        name: String,
        /// Which.
        keys: Vec<String>,
    },
}

/// The kept part of this upstream on this machine.
#[derive(Clone, Debug)]
pub struct Keep {
    store: Store,
    space: String,
}

impl Keep {
    /// Binds to this machine. On the card of another machine the identities there stay untouched and
    /// unused: everything begins in set-up, until somebody runs `layerd adopt`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn open(store: &Store) -> Result<Self, StoreError> {
        let here = machine();
        let bound = store.setting(MACHINE).await?;
        let space = match (bound, here) {
            (None, Some(here)) => {
                store.set_setting(MACHINE, Some(&here)).await?;
                UPSTREAM.to_owned()
            }
            (Some(bound), Some(here)) if bound != here => {
                tracing::error!(
                    code = "cloud/other-machine",
                    "this database comes from another machine; its printers are not taken over in the cloud but wait to be \
                     claimed anew. If it was moved here for good, stop the service and run \"layerd adopt\"."
                );
                format!("{UPSTREAM}@{}", here.get(..16).unwrap_or(&here))
            }
            // A machine without an identity cannot be told from its clone.
            _ => UPSTREAM.to_owned(),
        };
        Ok(Keep {
            store: store.clone(),
            space,
        })
    }

    /// What is kept of a printer. A document that cannot be read is set-up anew, loudly.
    ///
    /// # Errors
    /// What the database says.
    pub async fn load(&self, printer: &str) -> Result<(Doc, Vec<Entry>), StoreError> {
        let doc = match self.store.upstream_doc(&self.space, printer).await? {
            None => Doc::default(),
            Some(text) => serde_json::from_str(&text).unwrap_or_else(|e| {
                tracing::error!(
                    printer,
                    code = "cloud/identity-unreadable",
                    "the cloud identity cannot be read ({}); the printer goes to set-up",
                    e.classify() as u8
                );
                Doc::default()
            }),
        };
        let waiting = self.store.outbox(&self.space, printer).await?;
        let entries = waiting
            .iter()
            .filter_map(|text| serde_json::from_str(text).ok())
            .collect();
        Ok((doc, entries))
    }

    async fn write(&self, write: &Write) -> Result<(), StoreError> {
        match write {
            Write::Doc { name, body, .. } => {
                self.store
                    .upstream_doc_put(&self.space, name, body.reveal().to_owned())
                    .await
            }
            Write::Put { name, entry } => {
                let body = serde_json::to_string(entry).map_err(|e| StoreError::Bug(e.to_string()))?;
                self.store.outbox_put(&self.space, name, &entry.key, body).await
            }
            Write::Done { name, keys } => self.store.outbox_done(&self.space, name, keys.clone()).await,
        }
    }
}

/// Writes in order, one at a time; what fails is tried again.
pub struct Writes {
    keep: Keep,
    waiting: VecDeque<Write>,
    /// The write under way; kept over turns of the loop, so that a slow disk is not asked anew.
    current: Option<BoxFuture<'static, Write>>,
}

impl Writes {
    /// Nothing waits.
    pub fn new(keep: Keep) -> Self {
        Writes {
            keep,
            waiting: VecDeque::new(),
            current: None,
        }
    }

    /// One more.
    pub fn push(&mut self, write: Write) {
        if self.waiting.len() >= WRITES_MAX {
            tracing::error!(
                code = "cloud/not-kept",
                "the disk has refused writes for long; the oldest one for the cloud is dropped"
            );
            self.waiting.pop_front();
        }
        self.waiting.push_back(write);
    }

    /// The next write is done; never resolves without one. Cancel-safe.
    pub async fn next(&mut self) -> Option<(PrinterKey, u64)> {
        if self.current.is_none() {
            let Some(write) = self.waiting.pop_front() else {
                return std::future::pending().await;
            };
            self.current = Some(Box::pin(persist(self.keep.clone(), write)));
        }
        let done = match &mut self.current {
            Some(current) => current.await,
            None => return std::future::pending().await,
        };
        self.current = None;
        match done {
            Write::Doc { printer, version, .. } => Some((printer, version)),
            Write::Put { .. } | Write::Done { .. } => None,
        }
    }

    /// Writes what waits, at most for `limit`.
    pub async fn flush(&mut self, limit: Duration) {
        let all = async {
            while self.current.is_some() || !self.waiting.is_empty() {
                self.next().await;
            }
        };
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::error!(
                code = "cloud/not-kept",
                "the disk was too slow to keep everything for the cloud"
            );
        }
    }
}

async fn persist(keep: Keep, write: Write) -> Write {
    while let Err(error) = keep.write(&write).await {
        tracing::error!(code = error.code(), "not kept for the cloud yet: {error}");
        tokio::time::sleep(RETRY).await;
    }
    write
}

/// Takes over the identities of another machine (`layerd adopt`). `false`: they are this machine's.
///
/// # Errors
/// What the database says.
pub async fn adopt(store: &Store) -> Result<bool, StoreError> {
    let (bound, here) = (store.setting(MACHINE).await?, machine());
    if bound == here {
        return Ok(false);
    }
    store.set_setting(MACHINE, here.as_deref()).await?;
    Ok(true)
}
