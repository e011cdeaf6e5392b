//! What is known about one printer: plain data, no I/O, no clock.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::capability::Capabilities;
use super::equipment::Equipment;
use super::fault::Fault;
use super::notice::Notice;

use crate::sorted::SortedMap;

/// One instant in both clocks: monotonic for ages and deadlines, wall for people and records.
///
/// Pure code never reads a clock; it is handed one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic clock: deadlines and ages.
    pub mono: Instant,
    /// Wall clock in UTC: what is shown and stored.
    pub wall: Timestamp,
}

/// A heater, or a bare sensor that is reported like one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Heater {
    /// A hotend by tool number, from 0.
    Tool(u8),
    /// The heated bed.
    Bed,
    /// The enclosure.
    Chamber,
    /// A laser or spindle cooler.
    Cooler,
    /// The levelling probe (Prusa: PINDA).
    Probe,
    /// The mainboard.
    Board,
    /// Ambient air as measured by the printer.
    Ambient,
    /// The redundant sensor of a hotend.
    Redundant,
}

impl fmt::Display for Heater {
    /// The name used in every JSON: `tool0`, `bed`, `chamber`, …
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Heater::Tool(n) => write!(f, "tool{n}"),
            Heater::Bed => f.write_str("bed"),
            Heater::Chamber => f.write_str("chamber"),
            Heater::Cooler => f.write_str("cooler"),
            Heater::Probe => f.write_str("probe"),
            Heater::Board => f.write_str("board"),
            Heater::Ambient => f.write_str("ambient"),
            Heater::Redundant => f.write_str("redundant"),
        }
    }
}

/// One temperature reading. It has an age, so "unknown" needs no zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heat {
    /// Measured, °C.
    pub actual_c: f32,
    /// Wanted, °C; 0 is off; `None` for a sensor without a heater.
    pub target_c: Option<f32>,
    /// When the printer reported it.
    pub at: Instant,
}

/// Whether the printer can be talked to.
#[derive(Clone, Debug, PartialEq)]
pub enum LinkState {
    /// No connection; `why` once an attempt has failed.
    Down {
        /// The last reason.
        why: Option<Fault>,
    },
    /// Opening the port, shaking hands.
    Opening,
    /// Talking.
    Up,
}

/// Why a print stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseReason {
    /// A person or an upstream asked.
    Requested,
    /// The program holds a pause (M0, M1, M25, M601).
    Program,
    /// Filament ran out.
    Runout,
    /// Filament change (M600).
    FilamentChange,
    /// The printer paused by itself (`//action:paused`, a touchscreen).
    Printer,
    /// The daemon is stopping and parked the head (`on_stop = "pause"`).
    Stopping,
}

/// What the printer itself is seen to be doing.
#[derive(Clone, Debug, PartialEq)]
pub enum Activity {
    /// Ready for a job.
    Idle,
    /// A start was accepted: file on its way, checks running. No heat yet.
    Preparing,
    /// Executing a program.
    Printing,
    /// Pause asked, motion not yet stopped.
    Pausing,
    /// Standing still in a job.
    Paused(PauseReason),
    /// Resume asked: heating, moving back.
    Resuming,
    /// Cancel asked, not yet done.
    Cancelling,
    /// Halted; needs a person or a reset.
    Error(Fault),
    /// Connected but cannot print for now (booting, updating, in a menu).
    NotReady(String),
}

/// The one word for a printer's condition, in the cloud's vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateWord {
    /// Ready.
    Operational,
    /// Printing.
    Printing,
    /// Pause asked.
    Pausing,
    /// Paused.
    Paused,
    /// Resume asked.
    Resuming,
    /// Cancel asked.
    Cancelling,
    /// Preparing a job.
    Downloading,
    /// A person could not reach the printer either.
    Offline,
    /// Halted by a fault.
    Error,
    /// Connected but not usable now.
    NotReady,
}

impl StateWord {
    /// The word itself, as it stands in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            StateWord::Operational => "operational",
            StateWord::Printing => "printing",
            StateWord::Pausing => "pausing",
            StateWord::Paused => "paused",
            StateWord::Resuming => "resuming",
            StateWord::Cancelling => "cancelling",
            StateWord::Downloading => "downloading",
            StateWord::Offline => "offline",
            StateWord::Error => "error",
            StateWord::NotReady => "not_ready",
        }
    }
}

impl fmt::Display for StateWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Position of the head in machine millimetres; `None` per axis until known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Position {
    /// X, mm.
    pub x_mm: Option<f32>,
    /// Y, mm.
    pub y_mm: Option<f32>,
    /// Z, mm.
    pub z_mm: Option<f32>,
    /// E as the firmware counts it, mm.
    pub e_mm: Option<f32>,
}

/// Who the printer says it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firmware {
    /// Family or product (`Marlin`, `Prusa-Firmware`, `Klipper`).
    pub name: String,
    /// Version text as reported.
    pub version: Option<String>,
    /// Machine type as reported.
    pub machine: Option<String>,
}

/// Who started a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Started through layerd.
    Ours,
    /// Started at the printer or by another program (SD card, touchscreen, Mainsail).
    Outside,
}

/// How far a job is. Every member is unknown until seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// 0–100.
    pub percent: Option<f32>,
    /// Current layer, from 1.
    pub layer: Option<u32>,
    /// Layers in all.
    pub layers: Option<u32>,
    /// Seconds to go.
    pub time_left_s: Option<u32>,
    /// Bytes of the program executed (acknowledged).
    pub byte: Option<u64>,
    /// Source line of the program executed (acknowledged), from 1.
    pub line: Option<u64>,
}

/// An object of a plate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrintObject {
    /// Number by which it is skipped.
    pub id: u32,
    /// Name by which the file or the printer calls it.
    pub name: String,
}

/// What the printer's own configuration allows; read from it, for the pre-flight. What a person has
/// configured for layerd comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MachineLimits {
    /// Where the head may travel, mm: lowest and highest X, Y, Z.
    pub reach_mm: Option<([f64; 3], [f64; 3])>,
    /// Highest tool temperature, °C.
    pub max_tool_c: Option<f32>,
    /// Highest bed temperature, °C.
    pub max_bed_c: Option<f32>,
}

/// Heights of the bed as the printer has probed them.
///
/// Rows stand from the front to the back (Y rising), points in a row from left to right (X rising),
/// as Klipper's `mesh_matrix` has them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BedMesh {
    /// First probed X and Y, mm; `None`: the printer does not tell where its points lie.
    pub min_mm: Option<[f32; 2]>,
    /// Last probed X and Y, mm.
    pub max_mm: Option<[f32; 2]>,
    /// Heights, mm; a point that was not probed is `None`.
    pub rows_mm: Vec<Vec<Option<f32>>>,
}

/// What a filament sensor sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filament {
    /// There is filament.
    Loaded,
    /// There is none.
    Runout,
}

/// The switch of the printer's supply as it was last seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Supply {
    /// On or off; `None`: the switch does not tell, or cannot be reached.
    pub on: Option<bool>,
    /// When that was seen, or when seeing it failed.
    pub at: Instant,
    /// Why the switch does not answer or does not obey, if so.
    pub fault: Option<Fault>,
    /// It was cut for safety; only a person switches it on again.
    pub cut: bool,
}

/// The job a printer is busy with.
#[derive(Clone, Debug, PartialEq)]
pub struct ActiveJob {
    /// Stable identity, kept across restarts.
    pub uid: Uuid,
    /// File name as people know it.
    pub file: String,
    /// Who started it.
    pub origin: Origin,
    /// How far it is.
    pub progress: Progress,
    /// When it was seen to start; `None` while preparing.
    pub started: Option<Timestamp>,
    /// Ids of objects that are skipped.
    pub skipped: Vec<u32>,
    /// Objects as the printer knows them, where it does.
    pub objects: Vec<PrintObject>,
    /// How much of the file has reached the printer, while it is on its way.
    pub upload_percent: Option<f32>,
    /// Everything that the print had switched on was warm for the first time.
    pub heated: Option<Timestamp>,
    /// Checked, and waits for the word to heat and print.
    pub held: bool,
}

/// Everything known about one printer. [`super::reduce`] is its only writer.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Connection.
    pub link: LinkState,
    /// When `link` last changed.
    pub link_since: Now,
    /// Down for so long that upstreams are told of it (see [`super::reduce::OFFLINE_GRACE`]).
    pub offline: bool,
    /// The link is the printer (a serial cable): without it nobody reaches the printer.
    pub wired: bool,
    /// What the printer does.
    pub activity: Activity,
    /// When the state word last changed.
    pub since: Now,
    /// Temperatures by heater.
    pub heaters: SortedMap<Heater, Heat>,
    /// Head position, with the time of the report.
    pub position: Option<(Position, Instant)>,
    /// Tool in use.
    pub active_tool: u8,
    /// Firmware identity.
    pub firmware: Option<Firmware>,
    /// What it can and cannot do.
    pub capabilities: Capabilities,
    /// The job in hand.
    pub job: Option<ActiveJob>,
    /// A finished print lies on the bed (`require_clear_bed`).
    pub bed_dirty: bool,
    /// How the bed is cleared by the printer itself; `None`: by hand.
    pub bed_cycle: Option<BedCycle>,
    /// Things a person should know, oldest first.
    pub notices: Vec<Notice>,
    /// Last text of the printer for people (M117, notification).
    pub message: Option<String>,
    /// Lines sent and resent on this link.
    pub traffic: Traffic,
    /// Limits of the printer's own configuration, where it tells them.
    pub limits: Option<MachineLimits>,
    /// Heights of the bed, as last probed or loaded.
    pub mesh: Option<Arc<BedMesh>>,
    /// Filament sensors by their number, from 0; empty: none is known.
    pub filament: SortedMap<u8, Filament>,
    /// What stands around it, where it tells of that.
    pub equipment: Option<Arc<Equipment>>,
    /// The switch of the supply; `None`: there is none.
    pub supply: Option<Supply>,
    /// Address of the printer's own video stream.
    pub camera_stream: Option<String>,
    /// Material slots; `None`: the printer has no material system, or has not told yet.
    pub materials: Option<Arc<Vec<MaterialSlot>>>,
}

/// A place for a spool, as the cloud counts (see [`MaterialSlot`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MaterialPlace {
    /// Nozzle, from 0.
    pub nozzle: u8,
    /// Position among the slots of that nozzle; 256: the external spool.
    pub position: u16,
}

/// A place for a spool, as the printer tells it. Unknown is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MaterialSlot {
    /// Nozzle that it feeds, from 0.
    pub nozzle: u8,
    /// Position among the slots of that nozzle; 256: the external spool.
    pub position: u16,
    /// Kind of unit (`bambu_ams`, `bambu_ams_2_pro`, `bambu_ams_ht`, `bambu_ams_lite`, `virtual`).
    pub unit_kind: &'static str,
    /// The printer's own number of the unit.
    pub unit: i64,
    /// Slot in its unit, from 0.
    pub slot: i64,
    /// Whether a spool lies in it, where the printer knows.
    pub loaded: Option<bool>,
    /// `PLA`.
    pub material: Option<String>,
    /// The maker's words (`PLA Matte`).
    pub brand: Option<String>,
    /// RRGGBBAA.
    pub color: Option<String>,
    /// The maker's number of the filament.
    pub filament_id: Option<String>,
    /// Left on the spool, percent.
    pub remain_percent: Option<u8>,
}

/// How the bed is cleared by the printer itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BedCycle {
    /// Whether it is done: a person may switch it off.
    pub on: bool,
    /// A person has changed the rules of the configuration.
    pub own_rules: bool,
    /// Released below this temperature, °C.
    pub below_c: Option<f32>,
    /// Or so long after the print, s.
    pub after_s: Option<u32>,
    /// The moment at which the time alone releases it.
    pub due: Option<Instant>,
    /// After so many in a row a person has to look.
    pub max_prints: Option<u32>,
    /// Where that stands.
    pub stage: BedStage,
    /// Beds cleared since a person last did.
    pub in_a_row: u32,
    /// Beds cleared in all.
    pub cleared: u64,
}

/// Where the clearing of a bed stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BedStage {
    /// Nothing lies on the bed, or a person is to clear it.
    #[default]
    Manual,
    /// The print is done; its last lines are due.
    Due,
    /// They are being sent.
    LettingGo,
    /// Waits for the temperature or the time.
    Waiting,
    /// The bed is being cleared.
    Clearing,
}

/// Counters of a serial link since it came up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Lines sent for the first time.
    pub lines: u64,
    /// Lines that had to be sent again.
    pub resends: u64,
}

impl State {
    /// A printer of which nothing is known yet.
    pub fn new(now: Now) -> Self {
        State {
            link: LinkState::Down { why: None },
            link_since: now,
            offline: true,
            wired: false,
            activity: Activity::Idle,
            since: now,
            heaters: SortedMap::new(),
            position: None,
            active_tool: 0,
            firmware: None,
            capabilities: Capabilities::default(),
            job: None,
            bed_dirty: false,
            bed_cycle: None,
            notices: Vec::new(),
            message: None,
            traffic: Traffic::default(),
            limits: None,
            mesh: None,
            filament: SortedMap::new(),
            equipment: None,
            supply: None,
            camera_stream: None,
            materials: None,
        }
    }

    /// The one word for it.
    pub fn word(&self) -> StateWord {
        // A printer that does nothing and cannot be reached is not ready for a job; one that did something
        // says how that ended first.
        let at_rest = matches!(self.activity, Activity::Idle | Activity::NotReady(_));
        if self.offline || (self.wired && !self.is_up() && at_rest) {
            return StateWord::Offline;
        }
        match &self.activity {
            Activity::Idle => StateWord::Operational,
            Activity::Preparing => StateWord::Downloading,
            Activity::Printing => StateWord::Printing,
            Activity::Pausing => StateWord::Pausing,
            Activity::Paused(_) => StateWord::Paused,
            Activity::Resuming => StateWord::Resuming,
            Activity::Cancelling => StateWord::Cancelling,
            Activity::Error(_) => StateWord::Error,
            Activity::NotReady(_) => StateWord::NotReady,
        }
    }

    /// Whether requests can reach the printer now.
    pub fn is_up(&self) -> bool {
        matches!(self.link, LinkState::Up)
    }
}

impl Heat {
    /// How old the reading is.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at)
    }
}
