//! What is kept in the database: per printer a document and what waits for delivery, and which topics the broker keeps.

use super::core::Doc;
use super::outbox::Entry;
use super::story::Cursor;
use crate::job::record::JobRecord;
use crate::job::store::{JobFilter, Store, StoreError};
use crate::json;
use crate::sorted::SortedSet;
use crate::upstream::writes::Write;

/// Name of this upstream in the database.
pub const UPSTREAM: &str = "mqtt";
/// Printers of which the broker keeps something; each has a setting of its own behind a slash.
const RETAINED: &str = "mqtt/retained";
/// Records of one printer looked at in one go: more prints than fit into any outage.
const RECORDS: u32 = 100;

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
        let doc = match text.and_then(|text| json::read(&text).ok()) {
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
            waiting.iter().filter_map(|text| json::read(text).ok()).collect(),
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
            let topics = text.and_then(|text| json::read(&text).ok()).unwrap_or_default();
            all.push((name, topics));
        }
        Ok(all)
    }

    async fn names(&self) -> Result<Vec<String>, StoreError> {
        let text = self.store.setting(RETAINED).await?;
        Ok(text.and_then(|text| json::read(&text).ok()).unwrap_or_default())
    }
}

/// Printers of which the broker keeps something, as the database has them.
#[derive(Clone, Debug)]
pub struct Names(pub SortedSet<String>);

impl Names {
    /// What is to be written when the broker keeps these topics for a printer; `None`: none any more.
    pub fn writes(&mut self, name: String, topics: Option<String>) -> Vec<Write> {
        let mut writes = vec![Write::Setting(format!("{RETAINED}/{name}"), topics.clone())];
        let changed = match topics {
            Some(_) => self.0.insert(name),
            None => self.0.remove(&name),
        };
        if changed {
            let names = serde_json::to_string(&self.0).ok();
            writes.insert(0, Write::Setting(RETAINED.to_owned(), names));
        }
        writes
    }
}
