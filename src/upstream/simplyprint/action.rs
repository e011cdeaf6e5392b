//! What the core wants done that is not a message: plain data for the shell.

use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use super::demand::HostDemand;
use super::outbox::Entry;
use crate::config::secrets::Secret;
use crate::printer::command::{Command, MaterialPlace};

pub use crate::upstream::PrinterKey;

/// A file to fetch.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchOrder {
    /// Which fetch this is: an answer to an older one is ignored.
    pub number: u64,
    /// Where it lies, in this order.
    pub urls: Vec<Secret>,
    /// Name for people.
    pub name: String,
    /// Bytes, as the cloud says.
    pub size: Option<u64>,
}

/// A print to start.
#[derive(Clone, Debug, PartialEq)]
pub struct StartOrder {
    /// Which start this is.
    pub number: u64,
    /// The file in the spool.
    pub sha256: String,
    /// Name for people.
    pub name: String,
    /// Objects to leave out.
    pub skip: Vec<String>,
    /// Where each filament comes from; empty: as in the file.
    pub materials: Vec<Option<MaterialPlace>>,
    /// Which plate of a project; `None`: the first.
    pub plate: Option<u32>,
    /// The same one twice starts one print.
    pub start_id: String,
}

/// A picture to take.
#[derive(Clone, Debug, PartialEq)]
pub enum PictureOrder {
    /// For the panel's live view.
    Frame,
    /// For the REST endpoint.
    Post {
        /// Which request.
        id: String,
        /// Where to; `None`: the usual place.
        endpoint: Option<String>,
    },
    /// Only whether there is a picture.
    Test,
}

/// Something to do outside of the protocol.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A command to the printer, whose effect is seen in its state.
    Command(Command),
    /// G-code; `identifier`: the core wants to know how it ended.
    Gcode {
        /// The lines.
        lines: Vec<String>,
        /// Only what tunes a running print.
        tune: bool,
        /// Of the demand.
        identifier: Option<String>,
    },
    /// Fetch a file.
    Fetch(FetchOrder),
    /// Not needed any more.
    StopFetch,
    /// Print a file.
    Start(StartOrder),
    /// The file is not needed any more.
    Forget {
        /// The file.
        sha256: String,
    },
    /// A job that went out of sight: how did it end?
    LookUp(Uuid),
    /// A start that was asked before a restart: what became of it?
    LookUpStart(String),
    /// The objects of the file that prints.
    Objects(Uuid),
    /// Close a notice.
    Dismiss(String),
    /// A picture.
    Picture(PictureOrder),
    /// No more live pictures.
    StopStream,
    /// Logs, to be posted.
    Logs {
        /// Allows the post.
        token: Secret,
        /// Which.
        logs: Vec<String>,
        /// Bytes in all.
        max_body: u64,
        /// The printer's number in the cloud.
        pid: i64,
    },
    /// The console: on or off.
    Terminal(bool),
    /// Switch the supply.
    Power {
        /// To this.
        on: bool,
        /// Only if it is not so already.
        keepalive: bool,
    },
    /// Something that concerns the whole host; permitted by its owner.
    Host(HostDemand),
    /// Tell the cloud that the bed is clear.
    ClearBed {
        /// The printer's number in the cloud.
        pid: i64,
        /// The print was completed.
        success: bool,
        /// Allows the call.
        token: Secret,
    },
    /// The claim code for people, or none any more. Only once its token is on the disk.
    ShowCode(Option<String>),
    /// What was said, for the log.
    Note(String),
}

/// What comes out of a core, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// A frame to send.
    Send(String),
    /// A ping of the websocket whose answer confirms all that was sent before.
    Confirm,
    /// Something to do for a printer.
    Act(PrinterKey, Action),
    /// Keep this for a printer; answer with `saved`.
    Save {
        /// Which printer.
        printer: PrinterKey,
        /// Which version of it.
        version: u64,
        /// The text to keep.
        body: Secret,
    },
    /// Keep this until it is delivered.
    Put(PrinterKey, Entry),
    /// These are delivered.
    Delivered(PrinterKey, Vec<String>),
    /// End the connection and come back after this.
    Hangup {
        /// Why.
        why: String,
        /// Not earlier than this.
        wait: Option<Duration>,
    },
}

/// What is known beside the printer's state: the host, the camera.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extras {
    /// `machine_data`; unknown members are absent.
    pub machine: serde_json::Map<String, Value>,
    /// `cpu_info`.
    pub cpu: serde_json::Map<String, Value>,
    /// Whether its camera delivers pictures (inner `None`: not known yet); `None`: there is none.
    pub camera: Option<Option<bool>>,
}
