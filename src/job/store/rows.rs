//! A job as rows of the database, and back.

use jiff::Timestamp;
use rusqlite::Row;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::job::record::{EndedBy, JobRecord, JobState, PauseSpan, TimelineEntry};
use crate::json;
use crate::printer::fault::Fault;
use crate::printer::model::Origin;

/// The columns that [`job`] reads, in its order.
pub(super) const JOB: &str = "j.id, j.uid, p.name, j.file, j.sha256, j.size, j.origin, j.state, \
    j.created, j.started, j.ended, j.percent, j.layer, j.filament_mm, j.checkpoint, j.rating, d.body";

/// Where [`JOB`] comes from.
pub(super) const JOB_FROM: &str =
    "jobs j JOIN printers p ON p.id = j.printer_id LEFT JOIN job_details d ON d.job_id = j.id";

/// States that end a job, as SQL sees them.
pub(super) const FINAL: &str = "('done', 'failed', 'cancelled', 'interrupted')";

/// What changes seldom: kept as one text.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Details {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_reason: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_comment: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pauses: Vec<PauseSpan>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<TimelineEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<EndedBy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plate: Option<u32>,
}

impl Details {
    /// The part of a record that goes here.
    pub fn of(record: &JobRecord) -> Self {
        Details {
            fault: record.fault.clone(),
            cancel_reason: record.cancel_reason,
            cancel_comment: record.cancel_comment.clone(),
            pauses: record.pauses.clone(),
            timeline: record.timeline.clone(),
            skipped: record.skipped.clone(),
            ended_by: record.ended_by,
            plate: record.plate,
        }
    }
}

/// The word of a state, as it stands in the database and in JSON.
pub fn state_word(state: JobState) -> &'static str {
    match state {
        JobState::Queued => "queued",
        JobState::Fetching => "fetching",
        JobState::Checking => "checking",
        JobState::Armed => "armed",
        JobState::Starting => "starting",
        JobState::Running => "running",
        JobState::Done => "done",
        JobState::Failed => "failed",
        JobState::Cancelled => "cancelled",
        JobState::Interrupted => "interrupted",
    }
}

fn state_of(word: &str) -> Option<JobState> {
    Some(match word {
        "queued" => JobState::Queued,
        "fetching" => JobState::Fetching,
        "checking" => JobState::Checking,
        "armed" => JobState::Armed,
        "starting" => JobState::Starting,
        "running" => JobState::Running,
        "done" => JobState::Done,
        "failed" => JobState::Failed,
        "cancelled" => JobState::Cancelled,
        "interrupted" => JobState::Interrupted,
        _ => return None,
    })
}

pub(super) fn origin_word(origin: Origin) -> &'static str {
    match origin {
        Origin::Ours => "ours",
        Origin::Outside => "outside",
    }
}

/// Milliseconds since 1970.
pub(super) fn ms(at: Timestamp) -> i64 {
    at.as_millisecond()
}

/// The reverse of [`ms`]; nonsense becomes 1970.
pub(super) fn time(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Reads one job. Members that cannot be read (written by hand, or by a version with other words)
/// become unknown instead of making the whole job unreadable.
pub(super) fn job(row: &Row<'_>) -> rusqlite::Result<JobRecord> {
    let uid: String = row.get(1)?;
    let origin: String = row.get(6)?;
    let state: String = row.get(7)?;
    let filament: String = row.get(13)?;
    let checkpoint: Option<String> = row.get(14)?;
    let details: Option<String> = row.get(16)?;
    let details: Details = details
        .and_then(|text| json::read(&text).ok())
        .unwrap_or_default();
    Ok(JobRecord {
        id: row.get(0)?,
        uid: Uuid::parse_str(&uid).unwrap_or(Uuid::nil()),
        printer: row.get(2)?,
        file: row.get(3)?,
        sha256: row.get(4)?,
        size: row.get::<_, Option<i64>>(5)?.map(|n| n.max(0) as u64),
        origin: if origin == "outside" {
            Origin::Outside
        } else {
            Origin::Ours
        },
        state: state_of(&state).unwrap_or(JobState::Interrupted),
        created: time(row.get(8)?),
        started: row.get::<_, Option<i64>>(9)?.map(time),
        ended: row.get::<_, Option<i64>>(10)?.map(time),
        percent: row.get::<_, Option<f64>>(11)?.map(|n| n as f32),
        layer: row.get(12)?,
        filament_mm: json::read(&filament).unwrap_or_default(),
        fault: details.fault,
        cancel_reason: details.cancel_reason,
        cancel_comment: details.cancel_comment,
        pauses: details.pauses,
        timeline: details.timeline,
        skipped: details.skipped,
        ended_by: details.ended_by,
        plate: details.plate,
        checkpoint: checkpoint.and_then(|text| json::read(&text).ok()),
        rating: row.get(15)?,
    })
}
