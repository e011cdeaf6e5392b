//! What a driver tells about its printer. Levels may be dropped and repeated, edges may not.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::capability::Capabilities;
use super::equipment::Equipment;
use super::fault::Fault;
use super::model::{
    Activity, BedMesh, Filament, Firmware, Heater, MachineLimits, MaterialSlot, PauseReason, Position,
    PrintObject, Progress, Supply, Traffic,
};
use super::notice::Notice;

/// How much filament a job used, mm per tool, index = tool.
pub type FilamentUsed = Vec<f64>;

/// How a job of ours or another's moved on. Edges: never dropped.
#[derive(Clone, Debug, PartialEq)]
pub enum JobEvent {
    /// The start was *seen*: the printer acknowledged the first line, or says it prints.
    Started {
        /// Which job.
        uid: Uuid,
    },
    /// Standing still.
    Paused {
        /// Which job.
        uid: Uuid,
        /// Why.
        why: PauseReason,
    },
    /// Going on.
    Resumed {
        /// Which job.
        uid: Uuid,
    },
    /// Everything executed.
    Done {
        /// Which job.
        uid: Uuid,
        /// What was extruded, where known.
        filament_mm: Option<FilamentUsed>,
    },
    /// Ended by a command.
    Cancelled {
        /// Which job.
        uid: Uuid,
        /// What was extruded, where known.
        filament_mm: Option<FilamentUsed>,
    },
    /// Ended by a fault.
    Failed {
        /// Which job.
        uid: Uuid,
        /// Which.
        fault: Fault,
        /// What was extruded, where known.
        filament_mm: Option<FilamentUsed>,
    },
    /// A job from before a restart of the daemon goes on; no line was lost or doubled.
    Adopted {
        /// Which job.
        uid: Uuid,
    },
    /// Stands still for good in this run (parked by a stop of the daemon, or not found again after
    /// a restart): can be offered for recovery, never goes on by itself.
    Interrupted {
        /// Which job.
        uid: Uuid,
    },
    /// A print that somebody else started is seen.
    OutsideStarted {
        /// File name, if the printer tells it.
        file: Option<String>,
    },
    /// That print is over.
    OutsideEnded {
        /// How, as far as one can tell.
        end: OutsideEnd,
    },
}

/// How an outside print ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutsideEnd {
    /// Completed.
    Done,
    /// Stopped at the printer.
    Cancelled,
    /// Failed, or nobody can tell.
    Failed,
}

/// Where a job stands, for recovery: enough to find the place again in the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Last acknowledged source line, from 1.
    pub line: u64,
    /// File offset behind it.
    pub byte: u64,
    /// Layer, from 1.
    pub layer: Option<u32>,
    /// Height, mm.
    pub z_mm: Option<f32>,
    /// Wanted temperatures by heater name (`tool0`, `bed`), °C.
    pub targets_c: crate::sorted::SortedMap<String, f32>,
    /// Filament used so far, mm per tool.
    pub filament_mm: FilamentUsed,
}

/// What a driver reports.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The session has begun to shake hands.
    Opening,
    /// The printer answers: requests can be served.
    Up,
    /// The session is over; sent by `agent::supervise`, not by drivers.
    Down {
        /// Why, if not by command.
        why: Option<Fault>,
    },
    /// Firmware identity.
    Identity(Firmware),
    /// Two-sided capability list.
    Capabilities(Capabilities),
    /// One temperature.
    Heat {
        /// Which.
        heater: Heater,
        /// °C.
        actual_c: f32,
        /// °C; `None`: this line did not say.
        target_c: Option<f32>,
    },
    /// What the printer is doing.
    Activity(Activity),
    /// A job edge.
    Job(JobEvent),
    /// How far the job is.
    Progress(Progress),
    /// Where the job stands, for recovery (every second while printing).
    Checkpoint(Checkpoint),
    /// Objects now left out.
    Skipped(Vec<u32>),
    /// The objects of the running print as the printer knows them.
    Objects(Vec<PrintObject>),
    /// The file of a start is on its way to the printer; `None`: it is there. A level.
    Upload {
        /// 0–100.
        percent: Option<f32>,
    },
    /// What the printer's own configuration allows.
    Limits(MachineLimits),
    /// The bed was probed or a mesh loaded; `None`: no mesh is in use. A level.
    Mesh(Option<Arc<BedMesh>>),
    /// What a filament sensor sees; `None`: it is switched off or gone. A level.
    Filament {
        /// Number of the sensor, from 0.
        sensor: u8,
        /// What it sees.
        state: Option<Filament>,
    },
    /// Fans, boards, cameras, switches, the printer's host; the whole of it. A level.
    Equipment(Arc<Equipment>),
    /// The switch of the supply; sent by the agent, not by drivers. A level.
    Supply(Supply),
    /// A heater is out of control and an emergency stop was written: the supply is to be cut, hot or
    /// not, where there is a switch. An edge: never dropped.
    Danger(Fault),
    /// Where the head is.
    Position(Position),
    /// Tool in use.
    ActiveTool(u8),
    /// Something a person should know; replaces one with the same key.
    Notice(Notice),
    /// The matter with this key is settled.
    NoticeCleared(String),
    /// Address of the printer's own video stream, without credentials; `None`: it has none or it is
    /// switched off. A level.
    CameraStream(Option<String>),
    /// What lies in the material slots, complete. A level.
    Materials(Arc<Vec<MaterialSlot>>),
    /// A text of the printer for people.
    Message(String),
    /// Line counters.
    Traffic(Traffic),
}

/// An event as it is kept in the journal of a printer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalLine {
    /// When.
    pub at: Timestamp,
    /// One line of text.
    pub text: String,
}
