//! Clouds and other places that hear of the printers and send them work: one folder each.
//!
//! An upstream knows the printers through [`AgentHandle`] alone: it watches their snapshots (levels,
//! newest wins), asks for commands and prints, and is answered with an outcome. It knows no driver and
//! no API. A slow or missing upstream holds up nobody: nothing in the agent waits for one.
//!
//! To add one: a folder with `mod`, `shell` and `sim`, a section of the configuration, two lines in [`crew`].

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::agent::handle::AgentHandle;
use crate::host::health::Host;
use futures_util::future::BoxFuture;

pub mod chatter;
pub mod crew;
pub mod fetch;
pub mod mqtt;
pub mod reach;
pub mod simplyprint;
pub mod writes;

/// Number of a printer in the agent.
pub type PrinterKey = i64;

/// What an upstream gets of the house.
#[derive(Clone)]
pub struct House {
    /// The printers, the database, the files.
    pub agent: AgentHandle,
    /// Name of this host, for people.
    pub name: String,
    /// What upstreams may do to this host: `[host] allow`.
    pub allow: Vec<String>,
    /// How the host is, newest look.
    pub host: watch::Receiver<Arc<Host>>,
    /// Ends the daemon in order, so that the service manager starts it again.
    pub restart: Arc<Notify>,
}

/// A place that hears of the printers.
pub trait Upstream: Send {
    /// Short name, for logs and for what is kept.
    fn name(&self) -> &'static str;

    /// Runs until `stop`. Reconnecting is its own business; it ends by itself only when it cannot
    /// work at all, in which case it says why.
    fn run(self: Box<Self>, house: House, stop: CancellationToken) -> BoxFuture<'static, ()>;
}

/// Where the system keeps its identity.
const MACHINE_ID_FILES: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

/// A hash of this machine's identity, which is not for others to know.
pub fn machine() -> Option<String> {
    let raw = MACHINE_ID_FILES
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok())?;
    let id = raw.trim();
    if id.is_empty() || id == "uninitialized" {
        return None;
    }
    let hash = Sha256::digest(format!("layerd {id}").as_bytes());
    Some(hash.iter().map(|b| format!("{b:02x}")).collect())
}
