//! Drivers: one folder per printer family, all behind [`Driver`].
//!
//! A driver runs *one session* with its device and returns when the link is lost or it is told to
//! stop. Reconnecting, back-off and answering requests while the link is down are written once, in
//! `agent::supervise`. Adding a driver is a folder with the six common files, one `mod` line and one
//! entry in [`REGISTRY`].

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::Section;
use crate::config::model::Common;
use crate::host::fdstore::FdStore;
use crate::printer::command::{Request, StartJob};
use crate::printer::event::{Checkpoint, Event};
use crate::printer::fault::Fault;
use crate::printer::wire::WireRing;

pub mod bambu;
pub mod marlin;
pub mod moonraker;

/// Every driver there is.
pub static REGISTRY: &[&dyn Factory] = &[&bambu::FACTORY, &marlin::FACTORY, &moonraker::FACTORY];

/// A boxed future, so that the traits stay object-safe.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The channels between a driver and its printer's actor. They outlive sessions.
#[derive(Debug)]
pub struct Link {
    /// Ordinary requests. Bounded (16); when full the actor answers "busy" at once.
    pub requests: mpsc::Receiver<Request>,
    /// The emergency lane: served before anything else. Bounded (4); when full the oldest is still
    /// on its way and does the same.
    pub urgent: mpsc::Receiver<Request>,
    /// What the driver sees. Bounded (256). Levels (temperatures, progress) may be dropped when it
    /// is full, newest wins; edges are kept by the driver until there is room.
    pub events: mpsc::Sender<Event>,
}

/// What to do with a running print when a session is told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// The daemon comes back in seconds: leave print and port as they are (descriptor store).
    Detach,
    /// Park, remember, heaters off; report the job interrupted.
    Park,
    /// End the job, heaters off.
    Cancel,
    /// The printer prints by itself: just close the link.
    Leave,
}

/// The order to end a session.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    token: CancellationToken,
    mode: Arc<OnceLock<StopMode>>,
}

impl Stop {
    /// A stop that nobody has given yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the order. The first mode stays.
    pub fn order(&self, mode: StopMode) {
        let _ = self.mode.set(mode);
        self.token.cancel();
    }

    /// Resolves when the order is given.
    pub async fn ordered(&self) -> StopMode {
        self.token.cancelled().await;
        self.mode()
    }

    /// Whether the order has been given.
    pub fn is_ordered(&self) -> bool {
        self.token.is_cancelled()
    }

    /// The mode; [`StopMode::Leave`] until ordered.
    pub fn mode(&self) -> StopMode {
        self.mode.get().copied().unwrap_or(StopMode::Leave)
    }
}

/// A job that the database says was running when the daemon ended.
///
/// A driver that gets one answers for it with exactly one [`crate::printer::event::JobEvent`]
/// (`Adopted`, `Interrupted`, `Done`, `Cancelled` or `Failed`) before its first
/// [`Event::Activity`].
#[derive(Clone, Debug)]
pub struct Adopt {
    /// The job as it was started.
    pub job: StartJob,
    /// The last durable checkpoint; the runtime directory may hold a newer one.
    pub checkpoint: Option<Checkpoint>,
    /// Paused when last seen.
    pub paused: bool,
}

/// Everything a driver may use beside its own settings.
#[derive(Clone, Debug)]
pub struct Context {
    /// The printer's name in the configuration; safe as a file name.
    pub printer: Arc<str>,
    /// Memory-backed directory that survives a quick restart.
    pub runtime_dir: PathBuf,
    /// Durable directory.
    pub state_dir: PathBuf,
    /// Descriptors that survive a quick restart.
    pub fd_store: Arc<FdStore>,
    /// Ring of raw traffic in memory (`layerd logs --wire`).
    pub wire: Arc<WireRing>,
    /// A job to answer for, in the first session only.
    pub adopt: Option<Adopt>,
    /// What a quick restart does with a running print: continue, or pause.
    pub pause_on_restart: bool,
}

/// A configured driver, ready to run sessions.
pub trait Driver: Send {
    /// One session: returns when the link is lost (`Err`) or the stop was carried out (`Ok`).
    ///
    /// Answers [`crate::printer::command::Command::Ping`] at once in every phase, also while it
    /// opens or shakes hands. Sends [`Event::Opening`] and [`Event::Up`] itself. Dropping the future ends the session and
    /// closes the port.
    fn run<'a>(&'a mut self, link: &'a mut Link, stop: &'a Stop) -> BoxFuture<'a, Result<(), Fault>>;
}

/// The validated settings of one printer, which can make its driver.
pub trait Build: Send + Sync + fmt::Debug {
    /// Makes the driver.
    fn build(&self, context: Context) -> Box<dyn Driver>;
    /// Whether another configuration would drive the same thing in the same way (reload).
    fn same_as(&self, other: &dyn Build) -> bool;
    /// Whether the link *is* the printer (a serial cable): when it stays down a person could not
    /// reach the printer either, so it counts as offline and a running job as failed.
    fn link_is_printer(&self) -> bool;
    /// For comparing in `same_as`.
    fn as_any(&self) -> &dyn std::any::Any;
    /// One picture of the printer's own camera, with a deadline and a size limit of its own; `None`: this
    /// printer has no camera that is asked this way. Name and directory as in [`Context`].
    fn snapshot<'a>(&'a self, _: &'a str, _: &'a Path) -> Option<BoxFuture<'a, Result<Bytes, Fault>>> {
        None
    }
    /// `layerd check`: can the printer be reached? Opens no port that a print may own.
    fn reachable<'a>(&'a self) -> BoxFuture<'a, Reach>;
    /// The keys of a section that are enough for [`Build::cool`], as text; no secrets. `None`: nothing is cooled.
    fn cooling(&self) -> Option<String> {
        None
    }
    /// `layerd cool`: heaters off without a daemon, after it failed with a print of this printer.
    /// `None`: the printer has a host of its own that minds them.
    fn cool<'a>(
        &'a self,
        _state_dir: &'a Path,
        _printer: &'a str,
    ) -> Option<BoxFuture<'a, Result<(), Fault>>> {
        None
    }
}

/// Answer of [`Build::reachable`].
#[derive(Clone, Debug)]
pub enum Reach {
    /// There, as far as one can tell without disturbing it; with a word on how that was seen.
    Yes(String),
    /// Not there or not allowed.
    No(Fault),
}

/// A device found by `layerd discover`.
#[derive(Clone, Debug)]
pub struct Found {
    /// What it is, for people.
    pub label: String,
    /// Configuration to paste.
    pub config: String,
    /// Why it cannot be used yet (no permission, in use), if so.
    pub problem: Option<Fault>,
}

/// Makes drivers of one kind.
pub trait Factory: Sync {
    /// The word for `driver = "…"`.
    fn kind(&self) -> &'static str;
    /// Reads this driver's keys from the printer's table; mistakes go to the section's diagnostics.
    /// `common`: the keys that every printer may have, read already.
    fn configure(&self, common: &Common, section: &mut Section<'_>) -> Option<Box<dyn Build>>;
    /// `layerd discover`.
    fn probe(&self) -> BoxFuture<'_, Vec<Found>>;
    /// `layerd discover ADDRESS`: what is at one address, where this kind can be asked without credentials.
    fn probe_at<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Vec<Found>> {
        Box::pin(async { Vec::new() })
    }
}

impl fmt::Debug for dyn Factory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Factory({})", self.kind())
    }
}

/// The factory of a kind.
pub fn factory(kind: &str) -> Option<&'static dyn Factory> {
    REGISTRY.iter().copied().find(|f| f.kind() == kind)
}
