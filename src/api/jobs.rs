//! `jobs/*`: what was printed.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Api;
use super::envelope::Problem;
use super::view::rfc3339;
use crate::job::record::{JobRecord, JobState};
use crate::job::store::JobFilter;
use crate::job::usage;
use crate::printer::model::Origin;

/// Body of `GetPaginatedPrintJobs`.
#[derive(Debug, Deserialize)]
pub struct ListBody {
    page: u32,
    page_size: u32,
    #[serde(default)]
    printer_ids: Vec<i64>,
    #[serde(default, alias = "status")]
    accepted_statuses: Vec<String>,
    #[serde(default)]
    start_date: Value,
    #[serde(default)]
    end_date: Value,
}

/// A page of the history.
pub async fn list(State(api): State<Api>, body: axum::body::Bytes) -> Result<Json<Value>, Problem> {
    let body: ListBody = serde_json::from_slice(&body).map_err(|e| {
        bad(format!(
            "The body is not the JSON expected: {e}. `page` and `page_size` are needed."
        ))
    })?;
    if !(1..=100).contains(&body.page_size) || body.page == 0 {
        return Err(bad("`page` counts from 1 and `page_size` is from 1 to 100."));
    }
    let mut states = Vec::new();
    for word in &body.accepted_statuses {
        states.extend_from_slice(match word.as_str() {
            "ongoing" => &[
                JobState::Queued,
                JobState::Fetching,
                JobState::Checking,
                JobState::Armed,
                JobState::Starting,
                JobState::Running,
            ],
            "cancelled" => &[JobState::Cancelled],
            "failed" => &[JobState::Failed, JobState::Interrupted],
            "finished" | "done" => &[JobState::Done],
            _ => return Err(bad("A status is one of ongoing, cancelled, failed, finished.")),
        });
    }
    let printers = api
        .printers(&body.printer_ids)?
        .iter()
        .map(|p| p.name().to_owned())
        .collect();
    let filter = JobFilter {
        printers,
        states,
        from: date(&body.start_date)?,
        to: date(&body.end_date)?,
        page: body.page,
        page_size: body.page_size,
        ..JobFilter::default()
    };
    let (jobs, total) = api
        .agent
        .store()
        .jobs(filter)
        .await
        .map_err(|e| Problem::said(e.to_string()))?;
    let pages = total.div_ceil(u64::from(body.page_size)).max(1);
    let data: Vec<Value> = jobs.iter().map(|job| listed(&api, job)).collect();
    Ok(Json(
        json!({"status": true, "message": null, "page_amount": pages, "total": total, "data": data}),
    ))
}

/// Query of `GetDetails`.
#[derive(Debug, Deserialize)]
pub struct DetailsQuery {
    id: String,
}

/// One job, by its number or its uid.
pub async fn details(
    State(api): State<Api>,
    Query(query): Query<DetailsQuery>,
) -> Result<Json<Value>, Problem> {
    let job = find(&api, &query.id).await?;
    Ok(Json(
        json!({"status": true, "message": null, "job": detailed(&api, &job, Timestamp::now())}),
    ))
}

/// A job by its number or its uid.
pub(super) async fn find(api: &Api, id: &str) -> Result<JobRecord, Problem> {
    let store = api.agent.store();
    let found = match (id.parse::<i64>(), id.parse::<Uuid>()) {
        (Ok(number), _) => store.job_by_id(number).await,
        (_, Ok(uid)) => store.job(uid).await,
        _ => return Err(bad("`id` must be the number or the uid of a job.")),
    };
    found
        .map_err(|e| Problem::said(e.to_string()))?
        .ok_or_else(|| Problem::said("Print job not found"))
}

fn listed(api: &Api, job: &JobRecord) -> Value {
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
        "printer": printer(api, job),
        "filament": usage::per_tool(&job.filament_mm).to_string(),
        "filUsage": usage::total_mm(&job.filament_mm),
        "filUsageGram": null,
        "currentPercentage": job.percent.map(|p| p.floor()),
        "printTime": duration_s(job, Timestamp::now()),
        "cost": null,
        "queueItem": null,
        "customFields": [],
    })
}

fn detailed(api: &Api, job: &JobRecord, now: Timestamp) -> Value {
    let ago = |at: Option<Timestamp>| at.map(|at| now.as_second() - at.as_second());
    let pauses: Vec<Value> = job
        .pauses
        .iter()
        .map(|p| json!({"from": p.from.as_second(), "to": p.to.map(|t| t.as_second()), "reason": p.why}))
        .collect();
    let timeline: Vec<Value> = job
        .timeline
        .iter()
        .map(|t| json!({"at": t.at.as_second(), "what": t.what}))
        .collect();
    json!({
        "id": job.id,
        "uid": job.uid,
        "status": status(job.state),
        "state": status(job.state),
        "filename": job.file,
        "currentTime": now.as_second(),
        "started": ago(job.started),
        "created": ago(Some(job.created)),
        "ended": ago(job.ended),
        "percentage": job.percent.map(|p| p.floor()),
        "layer": job.layer,
        "totalPrintTime": duration_s(job, now),
        "pauses": pauses,
        "timeline": timeline,
        "pictures": [],
        "notificationsSent": [],
        "failedReason": job.fault.as_ref().map(ToString::to_string),
        "cancelInfo": {"reason": job.cancel_reason, "comment": job.cancel_comment, "by": null, "byOther": null},
        "printer": printer(api, job),
        "filament": usage::per_tool(&job.filament_mm),
        "skippedObjects": job.skipped,
        "outsideSystem": job.origin == Origin::Outside,
        "reprintable": job.sha256.is_some(),
        "canDownload": false,
        "canPreview": false,
        "rating": job.rating,
        "layerd": {"state": job.state, "fault": job.fault, "checkpoint": job.checkpoint},
    })
}

fn printer(api: &Api, job: &JobRecord) -> Value {
    let id = api.agent.by_name(&job.printer).map(|p| p.id());
    json!({"id": id, "name": job.printer, "deleted": id.is_none()})
}

/// The cloud's words.
fn status(state: JobState) -> &'static str {
    match state {
        JobState::Done => "done",
        JobState::Cancelled => "cancelled",
        JobState::Failed | JobState::Interrupted => "failed",
        _ => "ongoing",
    }
}

/// Never negative: clocks jump.
fn duration_s(job: &JobRecord, now: Timestamp) -> Option<i64> {
    job.started
        .map(|s| (job.ended.unwrap_or(now).as_second() - s.as_second()).max(0))
}

/// Dates come as seconds since 1970 or as `2026-02-28`.
fn date(value: &Value) -> Result<Option<Timestamp>, Problem> {
    let parsed = match value {
        Value::Null => return Ok(None),
        Value::Number(n) => n.as_i64().and_then(|s| Timestamp::from_second(s).ok()),
        Value::String(text) => match text.parse::<i64>() {
            Ok(seconds) => Timestamp::from_second(seconds).ok(),
            Err(_) => text
                .parse()
                .ok()
                .or_else(|| format!("{text}T00:00:00Z").parse().ok()),
        },
        _ => None,
    };
    parsed
        .map(Some)
        .ok_or_else(|| bad("A date is a number of seconds or a text like 2026-02-28."))
}

fn bad(message: impl Into<String>) -> Problem {
    Problem::with(StatusCode::BAD_REQUEST, message)
}
