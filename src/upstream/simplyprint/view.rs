//! A printer as the cloud sees it: plain data made from a snapshot. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use crate::job::record::{JobRecord, JobState};
use crate::json::json;
use crate::printer::model::{
    Activity, BedMesh, Filament, Heater, LinkState, MaterialSlot, Origin, State, StateWord,
};
use crate::printer::notice::Notice;
use crate::sorted::SortedMap;

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// Complete.
    Finished,
    /// By a person.
    Cancelled,
    /// By a fault.
    Failed,
}

impl Flag {
    /// The member of `job_info`.
    pub fn as_str(self) -> &'static str {
        match self {
            Flag::Finished => "finished",
            Flag::Cancelled => "cancelled",
            Flag::Failed => "failed",
        }
    }
}

/// A job that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// Which.
    pub uid: Uuid,
    /// Its file.
    pub file: String,
    /// How.
    pub flag: Flag,
    /// When it was seen to start; `None`: it never was.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub at: Timestamp,
    /// How far it came, 0–100.
    pub percent: Option<f32>,
    /// Why it failed.
    pub why: Option<String>,
}

impl Ended {
    /// From a job's record; `None` while it goes on.
    pub fn of(record: &JobRecord) -> Option<Self> {
        let flag = match record.state {
            JobState::Done => Flag::Finished,
            JobState::Cancelled => Flag::Cancelled,
            JobState::Failed | JobState::Interrupted => Flag::Failed,
            _ => return None,
        };
        Some(Ended {
            uid: record.uid,
            file: record.file.clone(),
            flag,
            started: record.started,
            at: record.ended.unwrap_or(record.created),
            percent: record.percent,
            why: record.fault.as_ref().map(ToString::to_string),
        })
    }
}

/// The job in hand.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Which.
    pub uid: Uuid,
    /// Its file.
    pub file: String,
    /// When it was seen to start; `None` while it is prepared.
    pub started: Option<Timestamp>,
    /// Started at the printer.
    pub outside: bool,
    /// 0–100, whole.
    pub percent: Option<i64>,
    /// Current layer.
    pub layer: Option<u32>,
    /// Seconds to go.
    pub time_left_s: Option<u32>,
    /// Objects left out.
    pub skipped: Vec<u32>,
}

/// One heater: measured and wanted, °C.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heat {
    /// Measured.
    pub actual_c: f32,
    /// Wanted.
    pub target_c: Option<f32>,
}

/// Everything that goes upstream about one printer.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// The one word.
    pub word: StateWord,
    /// Whether the link to the printer is up; `None`: being taken up.
    pub link: Option<bool>,
    /// The job in hand.
    pub job: Option<Job>,
    /// The last job that ended in this run.
    pub ended: Option<Ended>,
    /// By the cloud's names: `tool0`, `bed`, `chamber`.
    pub heaters: SortedMap<String, Heat>,
    /// Name, version, machine.
    pub firmware: Option<(String, Option<String>, Option<String>)>,
    /// Tool in use.
    pub tool: u8,
    /// Open notices, oldest first.
    pub notices: Vec<Notice>,
    /// What stopped it, with the word `error`.
    pub error: Option<String>,
    /// Whether filament is loaded, by all sensors; `None`: no sensor.
    pub filament: Option<bool>,
    /// Whether the supply is on; `None`: no switch.
    pub supply: Option<Option<bool>>,
    /// `mesh_data`, where the printer tells all of it.
    pub mesh: Option<Value>,
    /// Places for spools, where the printer has a material system.
    pub materials: Option<Arc<Vec<MaterialSlot>>>,
}

impl View {
    /// A printer of which nothing is known.
    pub fn unknown() -> Self {
        View {
            word: StateWord::Offline,
            link: Some(false),
            job: None,
            ended: None,
            heaters: SortedMap::new(),
            firmware: None,
            tool: 0,
            notices: Vec::new(),
            error: None,
            filament: None,
            supply: None,
            mesh: None,
            materials: None,
        }
    }

    /// From what the agent publishes.
    pub fn of(state: &State, last: Option<&JobRecord>) -> Self {
        let heaters = state
            .heaters
            .iter()
            // The cloud knows these names only.
            .filter(|(heater, _)| matches!(heater, Heater::Tool(_) | Heater::Bed | Heater::Chamber))
            .filter(|(_, heat)| heat.actual_c.is_finite())
            .map(|(heater, heat)| {
                let heat = Heat {
                    actual_c: heat.actual_c,
                    target_c: heat.target_c.filter(|t| t.is_finite()),
                };
                (heater.to_string(), heat)
            })
            .collect();
        View {
            word: match state.word() {
                // A cable that wiggles is not yet a lost printer: that is said when it stays away.
                StateWord::Offline if !state.offline => StateWord::NotReady,
                word => word,
            },
            link: match state.link {
                LinkState::Up => Some(true),
                LinkState::Opening => None,
                LinkState::Down { .. } => Some(false),
            },
            job: state.job.as_ref().map(|job| Job {
                uid: job.uid,
                file: job.file.clone(),
                started: job.started,
                outside: job.origin == Origin::Outside,
                percent: job.progress.percent.and_then(percent),
                layer: job.progress.layer,
                time_left_s: job.progress.time_left_s,
                skipped: job.skipped.clone(),
            }),
            ended: last.and_then(Ended::of),
            heaters,
            firmware: state
                .firmware
                .as_ref()
                .map(|f| (f.name.clone(), f.version.clone(), f.machine.clone())),
            tool: state.active_tool,
            notices: state.notices.clone(),
            error: match &state.activity {
                Activity::Error(fault) => Some(fault.to_string()),
                _ => None,
            },
            filament: (!state.filament.is_empty())
                .then(|| state.filament.values().all(|f| *f == Filament::Loaded)),
            supply: state.supply.as_ref().map(|s| s.on),
            mesh: state.mesh.as_deref().and_then(mesh),
            materials: state.materials.clone(),
        }
    }
}

/// The mesh as Klipper tells it: `[x, y]`, rows from the front. Without its corners, or with points that were
/// not probed, it cannot be told.
fn mesh(mesh: &BedMesh) -> Option<Value> {
    let (min, max) = (mesh.min_mm?, mesh.max_mm?);
    let rows: Option<Vec<Vec<f32>>> = mesh
        .rows_mm
        .iter()
        .map(|row| row.iter().copied().collect())
        .collect();
    let rows = rows.filter(|rows| !rows.is_empty())?;
    Some(json!({"mesh_min": min, "mesh_max": max, "mesh_matrix": rows}))
}

/// Whole percent from 0 to 100.
pub fn percent(percent: f32) -> Option<i64> {
    #[allow(clippy::cast_possible_truncation, reason = "clamped to 0–100")]
    percent
        .is_finite()
        .then(|| percent.round().clamp(0.0, 100.0) as i64)
}
