//! What can be asked of a printer. Plain data; `guard` decides what is legal when.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;
use uuid::Uuid;

use super::model::PrintObject;
use super::outcome::Outcome;

/// A number that ties an answer to its request within one daemon run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// A file in the spool, complete and checked, ready to be executed.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// Where it lies; never changes while a job refers to it.
    pub path: PathBuf,
    /// Name as people know it.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the content, hex.
    pub sha256: String,
    /// Layers in all, where known.
    pub layers: Option<u32>,
    /// Expected duration in seconds, where known.
    pub estimate_s: Option<u32>,
    /// Highest Z of any extruding move, mm, where known: how far to lift when parking.
    pub max_z_mm: Option<f32>,
    /// Its objects by their numbers, with the names by which the file calls them.
    pub objects: Vec<PrintObject>,
}

/// A start that passed the guard and the pre-flight.
#[derive(Clone, Debug, PartialEq)]
pub struct StartJob {
    /// The job's identity.
    pub uid: Uuid,
    /// What to execute.
    pub program: Arc<Program>,
    /// Objects to leave out from the first layer on.
    pub skip: Vec<u32>,
    /// Where each filament of the file comes from, by its number; empty: the driver chooses.
    pub materials: Vec<Option<MaterialPlace>>,
    /// Which plate of a project, from 1; `None`: the first.
    pub plate: Option<u32>,
}

/// A place for a spool, as the cloud counts (see [`super::model::MaterialSlot`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MaterialPlace {
    /// Nozzle, from 0.
    pub nozzle: u8,
    /// Position among the slots of that nozzle; 256: the external spool.
    pub position: u16,
}

/// Whether every filament comes from the place of its own number: what a printer without a material
/// system does anyway.
pub fn is_plain_map(materials: &[Option<MaterialPlace>]) -> bool {
    materials
        .iter()
        .enumerate()
        .all(|(at, place)| place.is_some_and(|p| p.nozzle == 0 && usize::from(p.position) == at))
}

/// Why a job is to end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CancelReason {
    /// The cloud's reason number 1–8, if one was given.
    pub reason: Option<u8>,
    /// Up to 500 characters.
    pub comment: Option<String>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Execute a program.
    Start(StartJob),
    /// Stop moving, keep the job.
    Pause,
    /// Go on.
    Resume,
    /// End the job.
    Cancel(CancelReason),
    /// G-code lines, comments already stripped. `tune`: only what tunes a running print.
    SendGcode {
        /// The lines in order.
        lines: Vec<String>,
        /// Asked as tuning while printing.
        tune: bool,
    },
    /// Leave objects out of the running print.
    SkipObjects {
        /// Ids as the file has them.
        ids: Vec<u32>,
    },
    /// Stop everything at once, heaters off. Takes its own lane.
    EmergencyStop,
    /// Press a button of a printer's prompt.
    Answer {
        /// Number of the button, from 0.
        button: u8,
    },
    /// All heaters to 0 (idle too long, interrupted job).
    HeatersOff,
    /// Have the printer tell anew what lies in its material slots.
    RefreshMaterials,
    /// Drop the link and take it up again.
    Reconnect,
    /// Are you there? Every session answers [`Outcome::Sent`] at once, whatever the printer does,
    /// also while it opens the port or shakes hands. A driver that does not is restarted.
    Ping,
}

impl Command {
    /// Short name for logs and messages.
    pub fn name(&self) -> &'static str {
        match self {
            Command::Start(_) => "start",
            Command::Pause => "pause",
            Command::Resume => "resume",
            Command::Cancel(_) => "cancel",
            Command::SendGcode { tune: false, .. } => "send",
            Command::SendGcode { tune: true, .. } => "tune",
            Command::SkipObjects { .. } => "skip",
            Command::EmergencyStop => "emergency stop",
            Command::Answer { .. } => "answer",
            Command::HeatersOff => "heaters off",
            Command::RefreshMaterials => "refresh the materials",
            Command::Reconnect => "reconnect",
            Command::Ping => "ping",
        }
    }
}

/// A command on its way to a driver. The reply always comes: the driver answers, or the actor's
/// deadline does.
#[derive(Debug)]
pub struct Request {
    /// Identity.
    pub id: RequestId,
    /// What to do.
    pub command: Command,
    /// After this the actor answers "unverified" by itself.
    pub deadline: Instant,
    /// Where the end goes.
    pub reply: oneshot::Sender<Outcome>,
}
