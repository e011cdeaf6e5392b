//! What is kept in the database: documents and the outbox of each printer, bound to this machine.

use super::doc::Doc;
use super::outbox::Entry;
use crate::job::store::{Store, StoreError};
use crate::json;
use crate::upstream::machine;

/// Name of this upstream in the database.
pub const UPSTREAM: &str = "simplyprint";
/// The machine that the identities belong to.
const MACHINE: &str = "machine";
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
            Some(text) => json::read(&text).unwrap_or_else(|e| {
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
        let entries = waiting.iter().filter_map(|text| json::read(text).ok()).collect();
        Ok((doc, entries))
    }

    /// Under which its things stand in the database.
    pub fn space(&self) -> &str {
        &self.space
    }
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
