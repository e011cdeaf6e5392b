//! What is kept in the database: per printer a document and what waits for delivery, and which topics the broker keeps.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::core::Doc;
use super::outbox::Entry;
use super::story::Cursor;
use crate::job::record::JobRecord;
use crate::job::store::{JobFilter, Store, StoreError};

/// Name of this upstream in the database.
pub const UPSTREAM: &str = "mqtt";
/// Printers of which the broker keeps something; each has a setting of its own behind a slash.
const RETAINED: &str = "mqtt/retained";
/// A write that failed is tried again after this.
const RETRY: Duration = Duration::from_secs(5);
/// Writes that may wait for a disk that refuses them. When full the oldest goes, loudly.
const WRITES_MAX: usize = 4096;
/// Records of one printer looked at in one go: more prints than fit into any outage.
const RECORDS: u32 = 100;

/// One write.
#[derive(Clone, Debug)]
pub enum Write {
    /// A document: printer, text.
    Doc(String, String),
    /// A thing to deliver: printer, entry.
    Put(String, Entry),
    /// Delivered: printer, key.
    Done(String, String),
    /// The topics that the broker keeps for a printer; `None`: none any more.
    Retained(String, Option<String>),
}

/// The kept part of this upstream.
#[derive(Clone, Debug)]
pub struct Keep {
    store: Store,
}

impl Keep {
    /// In this database.
    pub fn new(store: Store) -> Self {
        Keep { store }
    }

    /// What is kept of a printer. For one that is new here all that has happened before is no news.
    ///
    /// # Errors
    /// What the database says.
    pub async fn load(&self, printer: &str) -> Result<(Doc, Vec<Entry>), StoreError> {
        let text = self.store.upstream_doc(UPSTREAM, printer).await?;
        let doc = match text.and_then(|text| serde_json::from_str(&text).ok()) {
            Some(doc) => doc,
            None => {
                let newest = self.newest(printer, 1).await?;
                let doc = Doc {
                    cursor: Cursor::at_end(newest.last()),
                    ..Doc::default()
                };
                let body = serde_json::to_string(&doc).map_err(|e| StoreError::Bug(e.to_string()))?;
                self.store.upstream_doc_put(UPSTREAM, printer, body).await?;
                doc
            }
        };
        let waiting = self.store.outbox(UPSTREAM, printer).await?;
        Ok((
            doc,
            waiting
                .iter()
                .filter_map(|text| serde_json::from_str(text).ok())
                .collect(),
        ))
    }

    /// The records of a printer's jobs from this number on, oldest first.
    ///
    /// # Errors
    /// What the database says.
    pub async fn records(&self, printer: &str, from: i64) -> Result<Vec<JobRecord>, StoreError> {
        let mut records = self.newest(printer, RECORDS).await?;
        records.retain(|record| record.id >= from);
        Ok(records)
    }

    /// Oldest first.
    async fn newest(&self, printer: &str, most: u32) -> Result<Vec<JobRecord>, StoreError> {
        let filter = JobFilter {
            printers: vec![printer.to_owned()],
            page_size: most,
            ..JobFilter::default()
        };
        let (mut records, _) = self.store.jobs(filter).await?;
        records.reverse();
        Ok(records)
    }

    /// What the broker keeps, by printer; without a name it is the host's.
    ///
    /// # Errors
    /// What the database says.
    pub async fn retained(&self) -> Result<Vec<(String, Vec<String>)>, StoreError> {
        let mut all = Vec::new();
        for name in self.names().await? {
            let text = self.store.setting(&format!("{RETAINED}/{name}")).await?;
            let topics = text
                .and_then(|text| serde_json::from_str(&text).ok())
                .unwrap_or_default();
            all.push((name, topics));
        }
        Ok(all)
    }

    async fn names(&self) -> Result<Vec<String>, StoreError> {
        let text = self.store.setting(RETAINED).await?;
        Ok(text
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default())
    }

    async fn set_retained(&self, name: &str, topics: Option<&str>) -> Result<(), StoreError> {
        let mut names = self.names().await?;
        let known = names.iter().any(|n| n == name);
        if known != topics.is_some() {
            names.retain(|n| n != name);
            names.extend(topics.map(|_| name.to_owned()));
            let text = serde_json::to_string(&names).map_err(|e| StoreError::Bug(e.to_string()))?;
            self.store.set_setting(RETAINED, Some(&text)).await?;
        }
        self.store
            .set_setting(&format!("{RETAINED}/{name}"), topics)
            .await
    }

    async fn write(&self, write: &Write) -> Result<(), StoreError> {
        match write {
            Write::Doc(name, body) => self.store.upstream_doc_put(UPSTREAM, name, body.clone()).await,
            Write::Put(name, entry) => {
                let body = serde_json::to_string(entry).map_err(|e| StoreError::Bug(e.to_string()))?;
                self.store.outbox_put(UPSTREAM, name, &entry.key, body).await
            }
            Write::Done(name, key) => self.store.outbox_done(UPSTREAM, name, vec![key.clone()]).await,
            Write::Retained(name, topics) => self.set_retained(name, topics.as_deref()).await,
        }
    }
}

/// Writes in order, one at a time; what fails is tried again.
pub struct Writes {
    keep: Keep,
    waiting: VecDeque<Write>,
    /// The write under way; kept over turns of the loop, so that a slow disk is not asked anew.
    current: Option<BoxFuture<'static, ()>>,
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
                code = "mqtt/not-kept",
                "the disk has refused writes for long; the oldest one for the broker is dropped"
            );
            self.waiting.pop_front();
        }
        self.waiting.push_back(write);
    }

    /// The next write is done; never resolves without one. Cancel-safe.
    pub async fn next(&mut self) {
        if self.current.is_none() {
            let Some(write) = self.waiting.pop_front() else {
                return std::future::pending().await;
            };
            self.current = Some(Box::pin(persist(self.keep.clone(), write)));
        }
        if let Some(current) = &mut self.current {
            current.await;
        }
        self.current = None;
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
                code = "mqtt/not-kept",
                "the disk was too slow to keep everything for the broker"
            );
        }
    }
}

async fn persist(keep: Keep, write: Write) {
    // A printer that has no number any more, or a mistake of ours, will not get better by waiting.
    for _ in 0..100 {
        match keep.write(&write).await {
            Ok(()) | Err(StoreError::Bug(_)) => return,
            Err(error) => tracing::error!(code = error.code(), "not kept for the broker yet: {error}"),
        }
        tokio::time::sleep(RETRY).await;
    }
}
