//! `jobs/*`: the history.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::demand::{self, JobSource};
use super::envelope::Problem;
use super::incoming::{Json, Params};
use super::{Api, job_view};
use crate::agent::clock;
use crate::job::record::{JobRecord, JobState};
use crate::job::store::{JobFilter, StoreError};
use crate::json::json;

/// Largest page (documented).
const PAGE_MAX: u32 = 100;

/// Most entries of a filter.
const FILTER_MAX: usize = 1000;

/// `jobs/GetPaginatedPrintJobs`.
pub async fn list(State(api): State<Api>, body: Json) -> Result<Answer<Value>, Problem> {
    let required = |name: &str| Problem::bad(format!("`{name}` is required."));
    let page = body.page()?.ok_or_else(|| required("page"))?;
    let page_size = body
        .number("page_size", 1, PAGE_MAX)?
        .ok_or_else(|| required("page_size"))?;
    let filter = JobFilter {
        printers: printers(&api, &body.0)?,
        states: states(&body.0)?,
        from: date(&body.0, "start_date", SignedDuration::ZERO)?,
        // A day named as the end belongs to the span; a moment does not.
        to: date(&body.0, "end_date", SignedDuration::from_hours(24))?,
        text: body.text("search", 200)?.map(str::to_owned),
        page,
        page_size,
        ..JobFilter::default()
    };
    let (jobs, total) = api.agent.store().jobs(filter).await.map_err(database)?;
    let now = clock::now().wall;
    let data: Vec<Value> = jobs
        .iter()
        .map(|job| job_view::listed(job, api.agent.by_name(&job.printer).map(|p| p.id()), now))
        .collect();
    let pages = total.div_ceil(u64::from(page_size)).max(1);
    Ok(Answer(
        json!({"status": true, "message": null, "page_amount": pages, "total": total, "data": data}),
    ))
}

/// `jobs/GetDetails?id=`: by number or identity, both are documented.
pub async fn details(State(api): State<Api>, params: Params) -> Result<Answer<Value>, Problem> {
    let id = params.text("id").or(params.text("uid")).unwrap_or_default();
    let source =
        demand::job_source(&json!(id)).ok_or_else(|| Problem::bad("`id` must be the id or uid of a job."))?;
    let job = find(&api, &source).await?;
    let printer_id = api.agent.by_name(&job.printer).map(|p| p.id());
    // Of a print that was started elsewhere there is no file here, and so no analysis.
    let analysis = match &job.sha256 {
        Some(sha256) => api.agent.pool().known(sha256).await,
        None => None,
    };
    let shown = job_view::detailed(&job, printer_id, analysis.as_deref(), clock::now().wall);
    Ok(Answer(json!({"status": true, "message": null, "job": shown})))
}

/// The job that is meant.
pub(super) async fn find(api: &Api, source: &JobSource) -> Result<JobRecord, Problem> {
    let store = api.agent.store();
    let found = match source {
        JobSource::JobNumber(id) => store.job_by_id(*id).await.map_err(database)?,
        JobSource::JobUid(uid) => store.job(*uid).await.map_err(database)?,
        JobSource::File(_) => None,
    };
    found.ok_or_else(|| Problem::not_found("There is no such job."))
}

/// The database did not answer, or the disk refuses.
pub(super) fn database(error: StoreError) -> Problem {
    Problem::with(StatusCode::SERVICE_UNAVAILABLE, error.to_string()).coded(error.code())
}

/// Names of the printers asked for. Numbers of none of ours match nothing, not everything.
fn printers(api: &Api, body: &Value) -> Result<Vec<String>, Problem> {
    let ids = match body.get("printer_ids") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(value) => list_of(value, "printer_ids")?,
    };
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let number = |v: &Value| {
        v.as_i64()
            .or_else(|| v.as_str().and_then(|t| t.trim().parse().ok()))
    };
    let mut names: Vec<String> = Vec::new();
    for id in ids {
        let id = number(id).ok_or_else(|| Problem::bad("`printer_ids` must be a list of numbers."))?;
        names.extend(api.agent.by_id(id).map(|p| p.name().to_owned()));
    }
    if names.is_empty() {
        // No printer has an empty name.
        names.push(String::new());
    }
    Ok(names)
}

fn list_of<'v>(value: &'v Value, name: &str) -> Result<&'v [Value], Problem> {
    value
        .as_array()
        .filter(|list| list.len() <= FILTER_MAX)
        .map(Vec::as_slice)
        .ok_or_else(|| {
            Problem::bad(format!(
                "`{name}` must be a list of at most {FILTER_MAX} entries."
            ))
        })
}

/// Both documented names of the filter, both words for a finished job.
fn states(body: &Value) -> Result<Vec<JobState>, Problem> {
    let mut out = Vec::new();
    for name in ["accepted_statuses", "status"] {
        let Some(value) = body.get(name).filter(|v| !v.is_null()) else {
            continue;
        };
        for word in list_of(value, name)? {
            let known = word.as_str().and_then(job_view::states).ok_or_else(|| {
                Problem::bad(format!("`{name}` takes ongoing, cancelled, failed and finished."))
            })?;
            out.extend(
                known
                    .iter()
                    .filter(|s| !out.contains(*s))
                    .copied()
                    .collect::<Vec<_>>(),
            );
        }
    }
    Ok(out)
}

/// Both documented forms: seconds since 1970, and a day (in UTC).
pub(super) fn date(body: &Value, name: &str, day_adds: SignedDuration) -> Result<Option<Timestamp>, Problem> {
    let bad = || {
        Problem::bad(format!(
            "`{name}` must be seconds since 1970 or a date like 2026-01-31."
        ))
    };
    let text = match body.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(n)) => n.to_string(),
        Some(Value::String(text)) => text.trim().to_owned(),
        Some(_) => return Err(bad()),
    };
    if text.is_empty() {
        return Ok(None);
    }
    let at = if let Ok(second) = text.parse::<i64>() {
        Timestamp::from_second(second).ok()
    } else if let Ok(at) = text.parse::<Timestamp>() {
        Some(at)
    } else {
        let day = text
            .parse::<Date>()
            .ok()
            .and_then(|d| d.to_zoned(TimeZone::UTC).ok());
        day.and_then(|d| d.timestamp().checked_add(day_adds).ok())
    };
    at.map(Some).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_come_in_both_spellings() {
        let read = |value: Value| {
            date(
                &json!({"end_date": value}),
                "end_date",
                SignedDuration::from_hours(24),
            )
        };
        let midnight = Timestamp::from_second(1_677_542_400).expect("in range");
        assert_eq!(read(json!(1_677_542_400)), Ok(Some(midnight)));
        assert_eq!(read(json!("1677542400")), Ok(Some(midnight)));
        assert_eq!(
            read(json!("2023-02-27")),
            Ok(Some(midnight)),
            "the day belongs to the span"
        );
        assert_eq!(read(json!("2023-02-28T00:00:00Z")), Ok(Some(midnight)));
        assert_eq!(read(Value::Null), Ok(None));
        assert!(read(json!("soon")).is_err());
        assert!(read(json!(true)).is_err());
        assert!(read(json!(i64::MAX)).is_err());
    }

    #[test]
    fn states_come_under_both_names() {
        let a = states(&json!({"accepted_statuses": ["finished", "done"]})).expect("known");
        let b = states(&json!({"status": ["finished"]})).expect("known");
        assert_eq!(a, [JobState::Done]);
        assert_eq!(a, b);
        assert!(states(&json!({"status": ["x"]})).is_err());
        assert!(states(&json!({"status": "done"})).is_err());
        assert_eq!(states(&Value::Null), Ok(Vec::new()));
    }
}
