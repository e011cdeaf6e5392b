//! What a kept job looks like in the cloud's two forms, list and detail. Pure.

use jiff::Timestamp;
use serde_json::Value;

use super::view::rfc3339;
use crate::gcode::analysis::Analysis;
use crate::job::record::{JobRecord, JobState};
use crate::job::usage;
use crate::json::json;
use crate::printer::model::Origin;

/// The cloud's word for a state. Interrupted jobs are failed there; ours says more.
pub fn status(state: JobState) -> &'static str {
    match state {
        JobState::Done => "done",
        JobState::Cancelled => "cancelled",
        JobState::Failed | JobState::Interrupted => "failed",
        JobState::Queued
        | JobState::Fetching
        | JobState::Checking
        | JobState::Armed
        | JobState::Starting
        | JobState::Running => "ongoing",
    }
}

/// The states that a word of the cloud's filters stands for; both words for a finished job are documented.
pub fn states(word: &str) -> Option<&'static [JobState]> {
    Some(match word {
        "ongoing" => &[
            JobState::Queued,
            JobState::Fetching,
            JobState::Checking,
            JobState::Armed,
            JobState::Starting,
            JobState::Running,
        ],
        "done" | "finished" => &[JobState::Done],
        "cancelled" => &[JobState::Cancelled],
        "failed" => &[JobState::Failed, JobState::Interrupted],
        _ => return None,
    })
}

/// Seconds from the start to the end, or to now; `None` before it was seen to start.
fn duration_s(job: &JobRecord, now: Timestamp) -> Option<i64> {
    let started = job.started?;
    Some((job.ended.unwrap_or(now).as_second() - started.as_second()).max(0))
}

/// Filament by extruder as the cloud writes it: a text holding JSON, mm.
fn filament(job: &JobRecord) -> Value {
    if job.filament_mm.is_empty() {
        return Value::Null;
    }
    Value::String(usage::per_tool(&job.filament_mm).to_string())
}

/// The list form.
pub fn listed(job: &JobRecord, printer_id: Option<i64>, now: Timestamp) -> Value {
    json!({
        "id": job.id,
        "uid": job.uid,
        "status": status(job.state),
        "cancelReasonType": job.cancel_reason.map(|r| r.to_string()),
        "rating": job.rating,
        "filename": job.file,
        "startDate": job.started.map(rfc3339),
        "endDate": job.ended.map(rfc3339),
        "user": null,
        "autoprint": false,
        "outsideSystem": job.origin == Origin::Outside,
        "printer": {"id": printer_id, "name": job.printer},
        "filament": filament(job),
        "filUsage": usage::total_mm(&job.filament_mm),
        "filUsageGram": null,
        "currentPercentage": job.percent.map(|p| p.floor() as i64),
        "printTime": duration_s(job, now),
        "cost": null,
        "queueItem": null,
        "customFields": [],
        "layerd": native(job),
    })
}

/// The detail form.
pub fn detailed(
    job: &JobRecord,
    printer_id: Option<i64>,
    analysis: Option<&Analysis>,
    now: Timestamp,
) -> Value {
    let ago = |at: Timestamp| (now.as_second() - at.as_second()).max(0);
    let cancelled = job.state == JobState::Cancelled;
    let mut out = json!({
        "id": job.id,
        "uid": job.uid,
        "state": status(job.state),
        "file": job.file,
        "printer": {"id": printer_id, "name": job.printer, "deleted": printer_id.is_none()},
        "currentTime": now.as_second(),
        "created": ago(job.created),
        "started": job.started.map(ago),
        "ended": job.ended.map(ago),
        "time": job.ended.map(ago),
        "percentage": job.percent.map(|p| p.floor() as i64),
        "layer": job.layer,
        "totalPrintTime": duration_s(job, now),
        "rating": job.rating,
        "failedReason": job.fault.as_ref().map(ToString::to_string),
        "cancelInfo": cancelled.then(|| json!({
            "reason": job.cancel_reason, "comment": job.cancel_comment, "by": null, "byOther": null,
        })),
        "reprintable": job.sha256.is_some(),
        "canDownload": false,
        "canPreview": false,
        "autoprinted": false,
        "archived": false,
        "skippedObjects": job.skipped,
    });
    if let Value::Object(members) = &mut out {
        let lists = [
            ("pauses", job.pauses.iter().map(|p| json!(p)).collect()),
            ("timeline", job.timeline.iter().map(|t| json!(t)).collect()),
            ("pictures", Vec::new()),
            ("notificationsSent", Vec::new()),
            ("notifications", Vec::new()),
            ("ai", Vec::new()),
            ("spools", Vec::new()),
        ];
        for (name, list) in lists {
            members.insert(name.to_owned(), Value::Array(list));
        }
        for name in ["queued", "users"] {
            members.insert(name.to_owned(), Value::Null);
        }
        members.insert("analysis".to_owned(), json!(analysis.map(|a| &a.simplyprint)));
        members.insert("outsideSystem".to_owned(), json!(job.origin == Origin::Outside));
        members.insert("filament".to_owned(), filament(job));
        members.insert("filUsage".to_owned(), json!(usage::total_mm(&job.filament_mm)));
        members.insert("layerd".to_owned(), native(job));
    }
    out
}

/// What the cloud's forms cannot carry.
pub fn native(job: &JobRecord) -> Value {
    json!({
        "state": job.state,
        "printer": job.printer,
        "sha256": job.sha256,
        "size": job.size,
        "created": rfc3339(job.created),
        "layer": job.layer,
        "filament_mm": job.filament_mm,
        "skipped": job.skipped,
        "fault": job.fault,
        "code": job.fault.as_ref().map(|f| &f.code),
        "message": job.fault.as_ref().map(ToString::to_string),
        "cancel_comment": job.cancel_comment,
        "ended_by": job.ended_by,
        "print_s": job.print_s(),
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::printer::fault::{Fault, Severity};

    fn record(state: JobState) -> JobRecord {
        let at = Timestamp::from_second(1_700_000_000).expect("in range");
        let mut job = JobRecord::new(Uuid::from_u128(7), "ender3", "cube.gcode", Origin::Ours, at);
        job.id = 12;
        job.state = state;
        job
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    #[test]
    fn what_is_not_known_is_null() {
        let shown = listed(&record(JobState::Starting), Some(1), at(1_700_000_100));
        assert_eq!(shown["status"], "ongoing");
        for name in [
            "startDate",
            "endDate",
            "printTime",
            "filament",
            "filUsage",
            "currentPercentage",
            "rating",
        ] {
            assert_eq!(shown[name], Value::Null, "{name}");
        }
    }

    #[test]
    fn numbers_and_dates_have_the_documented_kinds() {
        let mut job = record(JobState::Cancelled);
        job.started = Some(at(1_700_000_010));
        job.ended = Some(at(1_700_000_070));
        job.percent = Some(41.9);
        job.cancel_reason = Some(4);
        job.filament_mm = vec![60.04, 2.0];
        let now = at(1_700_000_100);
        let shown = listed(&job, Some(1), now);
        assert_eq!(shown["cancelReasonType"], "4", "documented as a text");
        assert_eq!(shown["filament"], r#"{"e0":{"usage":60},"e1":{"usage":2}}"#);
        assert_eq!(shown["filUsage"], 62);
        assert_eq!(shown["printTime"], 60);
        assert_eq!(shown["currentPercentage"], 41);
        assert_eq!(shown["startDate"], "2023-11-14T22:13:30.000Z");
        let shown = detailed(&job, None, None, now);
        assert_eq!(shown["started"], 90, "seconds ago");
        assert_eq!(shown["ended"], 30, "seconds ago");
        assert_eq!(shown["currentTime"], 1_700_000_100);
        assert_eq!(shown["cancelInfo"]["reason"], 4);
        assert_eq!(shown["printer"]["deleted"], true);
    }

    #[test]
    fn an_interrupted_job_is_failed_there_and_says_more_here() {
        let mut job = record(JobState::Interrupted);
        job.fault = Some(Fault::new(
            Severity::NeedsUser,
            "marlin/reset",
            "It reset.",
            "Power.",
            "Look.",
        ));
        let shown = detailed(&job, Some(1), None, at(1_700_000_100));
        assert_eq!(shown["state"], "failed");
        assert_eq!(shown["failedReason"], "It reset. Power. Look.");
        assert_eq!(shown["layerd"]["state"], "interrupted");
        assert_eq!(shown["layerd"]["fault"]["code"], "marlin/reset");
        assert_eq!(shown["cancelInfo"], Value::Null);
    }

    #[test]
    fn every_state_is_found_by_its_own_word() {
        use JobState::*;
        let all = [
            Queued,
            Fetching,
            Checking,
            Armed,
            Starting,
            Running,
            Done,
            Failed,
            Cancelled,
            Interrupted,
        ];
        for state in all {
            assert!(
                states(status(state)).expect("known").contains(&state),
                "{state:?}"
            );
        }
        assert_eq!(states("finished"), states("done"));
        assert_eq!(states("x"), None);
    }
}
