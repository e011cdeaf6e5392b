//! A job as it is kept: one row of the database, one object of the API.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::printer::event::Checkpoint;
use crate::printer::fault::Fault;
use crate::printer::model::{Origin, PauseReason};
use crate::printer::wall_clock::Step;

/// Where a job stands.
///
/// `Queued → Fetching → Checking → Armed → Starting → Running → {Done, Failed, Cancelled,
/// Interrupted}`. `Starting` ends only by a *seen* start or a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Accepted.
    Queued,
    /// The file is on its way.
    Fetching,
    /// Pre-flight runs.
    Checking,
    /// Checked; the start is the next step.
    Armed,
    /// The start was sent, not yet seen.
    Starting,
    /// Seen to run (or paused in a run).
    Running,
    /// Complete.
    Done,
    /// Ended by a fault.
    Failed,
    /// Ended by a person.
    Cancelled,
    /// Lost its printer or its daemon half-way; `layerd recover` may offer to go on.
    Interrupted,
}

impl JobState {
    /// Whether it is over.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            JobState::Done | JobState::Failed | JobState::Cancelled | JobState::Interrupted
        )
    }
}

/// One pause of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PauseSpan {
    /// From.
    pub from: Timestamp,
    /// To; `None` while it lasts.
    pub to: Option<Timestamp>,
    /// Why.
    pub why: PauseReason,
}

/// One entry of a job's timeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// When.
    pub at: Timestamp,
    /// What, one word or short sentence: `started`, `paused`, `resumed`, `skipped 3`, `done`.
    pub what: String,
}

/// Everything kept about a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    /// Small number, given by the database; 0 until stored.
    pub id: i64,
    /// Stable identity.
    pub uid: Uuid,
    /// Name of the printer.
    pub printer: String,
    /// File name as people know it.
    pub file: String,
    /// SHA-256 of the file, hex; `None` for outside prints.
    pub sha256: Option<String>,
    /// Size, bytes.
    pub size: Option<u64>,
    /// Who started it.
    pub origin: Origin,
    /// Where it stands.
    pub state: JobState,
    /// When it was demanded.
    pub created: Timestamp,
    /// When it was seen to start.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Last known progress, 0–100.
    pub percent: Option<f32>,
    /// Last known layer.
    pub layer: Option<u32>,
    /// Filament used, mm per tool.
    pub filament_mm: Vec<f64>,
    /// Why it failed.
    pub fault: Option<Fault>,
    /// The cloud's cancel reason 1–8.
    pub cancel_reason: Option<u8>,
    /// Words given with the cancel.
    pub cancel_comment: Option<String>,
    /// Pauses in order.
    pub pauses: Vec<PauseSpan>,
    /// What happened, in order. Bounded to 200 entries, the oldest after the first go.
    pub timeline: Vec<TimelineEntry>,
    /// Objects left out.
    pub skipped: Vec<u32>,
    /// Which plate of a project prints, where one was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plate: Option<u32>,
    /// Where it stood, for recovery.
    pub checkpoint: Option<Checkpoint>,
    /// Rating 1–4 given when the bed was cleared.
    pub rating: Option<u8>,
    /// Who or what ended it; `None` before, and in records of older versions.
    pub ended_by: Option<EndedBy>,
}

/// Who or what ended a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// It was complete.
    Completed,
    /// Somebody asked layerd to end it.
    Requested,
    /// It was ended at the printer itself.
    Printer,
    /// The firmware or the protocol reported a fault.
    Fault,
    /// The connection to the printer broke.
    Link,
    /// It never began.
    NotStarted,
    /// layerd was stopped or ended.
    Service,
    /// Nobody saw how.
    Unknown,
}

impl JobRecord {
    /// A job that was just demanded.
    pub fn new(uid: Uuid, printer: &str, file: &str, origin: Origin, created: Timestamp) -> Self {
        JobRecord {
            id: 0,
            uid,
            printer: printer.to_owned(),
            file: file.to_owned(),
            sha256: None,
            size: None,
            origin,
            state: JobState::Queued,
            created,
            started: None,
            ended: None,
            percent: None,
            layer: None,
            filament_mm: Vec::new(),
            fault: None,
            cancel_reason: None,
            cancel_comment: None,
            pauses: Vec::new(),
            timeline: Vec::new(),
            skipped: Vec::new(),
            checkpoint: None,
            rating: None,
            ended_by: None,
            plate: None,
        }
    }

    /// The wall clock was set: the times of the job go along, so that it lasts as long as it did.
    pub fn clock_set(&mut self, step: &Step) {
        self.created = step.moved(self.created);
        step.apply(&mut self.started);
        step.apply(&mut self.ended);
        for pause in &mut self.pauses {
            pause.from = step.moved(pause.from);
            step.apply(&mut pause.to);
        }
        for entry in &mut self.timeline {
            entry.at = step.moved(entry.at);
        }
    }

    /// Seconds it stood still in pauses, up to its end or else `now`.
    pub fn paused_s(&self, now: Timestamp) -> u64 {
        let end = self.ended.unwrap_or(now);
        let ms: i64 = self
            .pauses
            .iter()
            .map(|p| (p.to.unwrap_or(end).as_millisecond() - p.from.as_millisecond()).max(0))
            .sum();
        (ms / 1000).max(0) as u64
    }

    /// Seconds from start to end with pauses; `None` before it has started and ended.
    pub fn duration_s(&self) -> Option<u64> {
        let (started, ended) = (self.started?, self.ended?);
        Some(((ended.as_millisecond() - started.as_millisecond()).max(0) / 1000) as u64)
    }

    /// Seconds of printing, pauses left out; `None` before it has started and ended.
    pub fn print_s(&self) -> Option<u64> {
        let ended = self.ended?;
        Some(self.duration_s()?.saturating_sub(self.paused_s(ended)))
    }
}
