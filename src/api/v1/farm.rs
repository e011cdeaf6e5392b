//! AutoPrintFarm's shape: printers, jobs, actions. Where its documentation is silent the words are ours:
//! single printers and jobs, the path of actions, further verbs.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::middleware;
use axum::{Extension, Json as Answer, Router};
use serde_json::Value;

use super::once::{self, Broken, Once};
use super::{ended, fetch, hooks, native, shape, start_body};
use crate::agent::handle::PrinterHandle;
use crate::api::access::Scope;
use crate::api::door::Touched;
use crate::api::envelope::Problem;
use crate::api::incoming::{Json, Params};
use crate::api::method::{get, post};
use crate::api::routes::needing;
use crate::api::{Api, actions, demand, job_view, jobs, row, view};
use crate::job::record::JobRecord;
use crate::job::store::{JobFilter, JobSort};
use crate::json::json;
use crate::printer::model::StateWord;
use crate::sorted;

/// Rows of a page: at most, and without a wish.
const PAGE_MAX: u32 = 100;
const PAGE_DEFAULT: u32 = 25;

/// Longest name or address in a body, characters.
const NAME_MAX: usize = 255;
const URL_MAX: usize = 2000;

/// The verbs of actions, and what they are called in the native shape.
const VERBS: &[(&str, &str)] = &[
    ("pause", "Pause"),
    ("resume", "Resume"),
    ("cancel", "Cancel"),
    ("skip_objects", "SkipObjects"),
    ("clear_bed", "ClearBed"),
    ("heaters_off", "HeatersOff"),
];

pub fn routes(api: &Api) -> Router<Api> {
    let once = |broken| middleware::from_fn_with_state((api.clone(), broken), once::once);
    let read = Router::new()
        .route("/printers", get(list_printers))
        .route("/printers/{id}", get(one_printer))
        .route("/jobs", get(list_jobs))
        .route("/jobs/{id}", get(one_job));
    let jobs = Router::new()
        .route("/jobs", post(create_job))
        .layer(once(Broken::Again));
    let acts = Router::new()
        .route("/printers/actions", post(act))
        .route("/printers/{id}/actions", post(act_on))
        .layer(once(Broken::Told));
    let hooks = Router::new()
        .route("/webhooks", post(hooks::of_farm))
        .layer(once(Broken::Told));
    needing(Scope::Read, read)
        .merge(needing(Scope::Control, jobs.merge(acts)))
        .merge(needing(Scope::Admin, hooks))
}

fn good(data: Value) -> Answer<Value> {
    Answer(json!({"success": true, "data": data}))
}

fn listed(data: Vec<Value>, page: u32, per_page: u32, total: u64) -> Value {
    let pages = total.div_ceil(u64::from(per_page.max(1)));
    json!({"success": true, "data": data, "pagination": {
        "page": page, "per_page": per_page, "total": total, "total_pages": pages,
    }})
}

fn page(params: &Params) -> Result<(u32, u32), Problem> {
    let per_page = params.number("per_page", 1, PAGE_MAX)?;
    Ok((params.page()?.unwrap_or(1), per_page.unwrap_or(PAGE_DEFAULT)))
}

fn no_printer(id: &str) -> Problem {
    let id: String = id.chars().take(40).collect();
    Problem::not_found(format!("Printer not found. No printer with ID {id}")).coded("refused/invalid-printer")
}

fn find(api: &Api, id: &str) -> Result<PrinterHandle, Problem> {
    shape::number(id, "prt_")
        .and_then(|n| api.agent.by_id(n))
        .ok_or_else(|| no_printer(id))
}

fn printer(api: &Api, printer: &PrinterHandle) -> Value {
    let snapshot = printer.snapshot();
    let job = snapshot.state.job.as_ref();
    let row = row::row(api, printer);
    json!({
        "id": shape::printer_id(printer.id()),
        "name": printer.name(),
        "status": snapshot.state.word(),
        "group": null,
        "current_job": job.map(|j| shape::job_id(j.uid)),
        "layerd": row.get("layerd"),
    })
}

async fn list_printers(State(api): State<Api>, params: Params) -> Result<Answer<Value>, Problem> {
    let (page, per_page) = page(&params)?;
    let mut all = api.agent.printers();
    if let Some(word) = params.text("status") {
        let known = shape::STATES.iter().copied().find(|s| s.as_str() == word);
        let known = known.ok_or_else(|| {
            let words: Vec<&str> = shape::STATES.iter().map(|s| s.as_str()).collect();
            Problem::bad(format!("`status` takes {}.", words.join(", ")))
        })?;
        all.retain(|p| p.snapshot().state.word() == known);
    }
    // Groups are the cloud's: no printer here is in one.
    if params.text("group").is_some_and(|g| !g.is_empty()) {
        all.clear();
    }
    let sort = params.text("sort").unwrap_or("id");
    match sort.trim_start_matches('-') {
        "id" | "created_at" => sorted::by_key(&mut all, PrinterHandle::id),
        "name" => sorted::by(&mut all, |a, b| a.name().cmp(b.name())),
        "status" => sorted::by_key(&mut all, |p| p.snapshot().state.word().as_str()),
        _ => {
            return Err(Problem::bad(
                "`sort` takes id, name, status and created_at, with - before it for descending.",
            ));
        }
    }
    if sort.starts_with('-') {
        all.reverse();
    }
    let total = all.len() as u64;
    let before = (page.saturating_sub(1) as usize).saturating_mul(per_page as usize);
    let rows = all.iter().skip(before).take(per_page as usize);
    let rows: Vec<Value> = rows.map(|p| printer(&api, p)).collect();
    let mut out = listed(rows.clone(), page, per_page, total);
    // The quick start shows the list under this name, the rule for lists under `data`.
    if let Value::Object(members) = &mut out {
        members.insert("printers".to_owned(), Value::Array(rows));
    }
    Ok(Answer(out))
}

async fn one_printer(State(api): State<Api>, Path(id): Path<String>) -> Result<Answer<Value>, Problem> {
    Ok(good(printer(&api, &find(&api, &id)?)))
}

fn stands(printer: &PrinterHandle) -> bool {
    matches!(
        printer.snapshot().state.word(),
        StateWord::Paused | StateWord::Pausing | StateWord::Resuming
    )
}

fn job(api: &Api, job: &JobRecord) -> Value {
    let printer = api.agent.by_name(&job.printer);
    let stands = printer.as_ref().is_some_and(stands);
    json!({
        "id": shape::job_id(job.uid),
        "status": shape::job_status(job.state, stands),
        "name": job.file,
        "file_id": job.sha256,
        "printer_id": printer.map(|p| shape::printer_id(p.id())),
        "progress": job.percent.map(|p| p.floor() as i64),
        "created_at": view::rfc3339(job.created),
        "started_at": job.started.map(view::rfc3339),
        "completed_at": job.ended.map(view::rfc3339),
        "error": job.fault.as_ref().map(ToString::to_string),
        "layerd": job_view::native(job),
    })
}

async fn list_jobs(State(api): State<Api>, params: Params) -> Result<Answer<Value>, Problem> {
    let (page, per_page) = page(&params)?;
    let mut printers: Vec<PrinterHandle> = match params.text("printer_id") {
        None => api.agent.printers(),
        Some(id) => vec![find(&api, id)?],
    };
    let mut by_printer = params.has("printer_id");
    let mut states = Vec::new();
    if let Some(word) = params.text("status") {
        let known = shape::job_states(word).ok_or_else(|| {
            Problem::bad("`status` takes queued, printing, paused, completed, cancelled and failed.")
        })?;
        states.extend_from_slice(known);
        // A running print stands when its printer does: there is one on each at most.
        if matches!(word, "printing" | "paused") {
            printers.retain(|p| stands(p) == (word == "paused"));
            by_printer = true;
        }
    }
    let sort = match params.text("sort") {
        None | Some("-created_at") => JobSort::NewestFirst,
        Some("created_at") => JobSort::OldestFirst,
        Some("-started_at") => JobSort::StartedLast,
        Some("-completed_at") => JobSort::EndedLast,
        Some("name") => JobSort::File,
        Some(_) => {
            let words = "`sort` takes -created_at, created_at, -started_at, -completed_at and name.";
            return Err(Problem::bad(words));
        }
    };
    let mut names: Vec<String> = Vec::new();
    if by_printer {
        names.extend(printers.iter().map(|p| p.name().to_owned()));
        if names.is_empty() {
            // No printer has an empty name: nothing is found.
            names.push(String::new());
        }
    }
    let filter = JobFilter {
        printers: names,
        states,
        page,
        page_size: per_page,
        sort,
        ..JobFilter::default()
    };
    let (rows, total) = api.agent.store().jobs(filter).await.map_err(jobs::database)?;
    let rows = rows.iter().map(|row| job(&api, row)).collect();
    Ok(Answer(listed(rows, page, per_page, total)))
}

async fn one_job(State(api): State<Api>, Path(id): Path<String>) -> Result<Answer<Value>, Problem> {
    let bare = id.strip_prefix("job_").unwrap_or(&id);
    let source = demand::job_source(&json!(bare));
    let source =
        source.ok_or_else(|| Problem::not_found("Job not found. No such ID").coded("refused/invalid-job"))?;
    let found = jobs::find(&api, &source)
        .await
        .map_err(|problem| match problem.status {
            StatusCode::NOT_FOUND => {
                Problem::not_found("Job not found. There is no job with this ID").coded("refused/invalid-job")
            }
            _ => problem,
        })?;
    Ok(good(job(&api, &found)))
}

/// `{"file_url" or "file_id", "printer_id"?, "name"?, "skip_objects"?}`. Answered when the file was checked and
/// the start is durable: that it prints is told by the job.
async fn create_job(
    State(api): State<Api>,
    once: Option<Extension<Once>>,
    body: Json,
) -> Result<(StatusCode, Extension<Touched>, Answer<Value>), Problem> {
    let target = target(&api, &body)?;
    let skip = body.0.get("skip_objects").cloned().unwrap_or(Value::Null);
    let file_id = match (body.text("file_url", URL_MAX)?, body.text("file_id", NAME_MAX)?) {
        (None, Some(id)) => id.to_owned(),
        (Some(url), None) => {
            fetch::fetch(&api, url, body.text("name", NAME_MAX)?)
                .await?
                .sha256
        }
        _ => {
            return Err(Problem::bad(
                "Name the file by `file_url` or by `file_id`, not both.",
            ));
        }
    };
    let start = start_body(&file_id, once.map(|Extension(once)| once.0), skip);
    let end = actions::on_one(&api, &target, "CreateJob", &start, false).await?;
    ended(end.outcome.as_ref())?;
    let touched = Extension(Touched(vec![target.id()]));
    let Some((_, uid)) = end.job else {
        // Big files are checked for longer than anybody waits.
        let data = json!({"id": null, "status": "queued", "layerd": end.native()});
        return Ok((StatusCode::CREATED, touched, good(data)));
    };
    let kept = api.agent.store().job(uid).await.map_err(jobs::database)?;
    let data = match kept {
        Some(kept) => job(&api, &kept),
        None => json!({"id": shape::job_id(uid), "status": "queued"}),
    };
    Ok((StatusCode::CREATED, touched, good(data)))
}

/// The printer that a body names; the only one need not be named. None is ever chosen.
fn target(api: &Api, body: &Json) -> Result<PrinterHandle, Problem> {
    if let Some(id) = printer_of(body)? {
        return find(api, &id);
    }
    let mut all = api.agent.printers();
    match (all.pop(), all.is_empty()) {
        (Some(only), true) => Ok(only),
        _ => Err(
            Problem::bad("`printer_id` is required: this host has several printers.")
                .coded("refused/printer-required"),
        ),
    }
}

fn printer_of(body: &Json) -> Result<Option<String>, Problem> {
    match body.0.get("printer_id") {
        Some(Value::Number(n)) => Ok(Some(n.to_string())),
        _ => Ok(body.text("printer_id", NAME_MAX)?.map(str::to_owned)),
    }
}

async fn act(State(api): State<Api>, body: Json) -> Result<(Extension<Touched>, Answer<Value>), Problem> {
    let id = printer_of(&body)?.ok_or_else(|| Problem::bad("`printer_id` is required."))?;
    carry_out(&api, &find(&api, &id)?, &body).await
}

async fn act_on(
    State(api): State<Api>,
    Path(id): Path<String>,
    body: Json,
) -> Result<(Extension<Touched>, Answer<Value>), Problem> {
    let target = find(&api, &id)?;
    if let Some(other) = printer_of(&body)?
        && find(&api, &other)?.id() != target.id()
    {
        return Err(Problem::bad("The path and `printer_id` name two printers."));
    }
    carry_out(&api, &target, &body).await
}

/// Answered when the end of the command is known.
async fn carry_out(
    api: &Api,
    target: &PrinterHandle,
    body: &Json,
) -> Result<(Extension<Touched>, Answer<Value>), Problem> {
    let verb = body.text("action", NAME_MAX)?.unwrap_or_default();
    let known = VERBS.iter().find(|(word, _)| *word == verb);
    let (_, action) = known.ok_or_else(|| {
        let words: Vec<&str> = VERBS.iter().map(|(word, _)| *word).collect();
        Problem::bad(format!("`action` takes {}.", words.join(", "))).coded("refused/invalid-action")
    })?;
    let end = actions::on_one(api, target, action, &body.0, true).await?;
    ended(end.outcome.as_ref())?;
    let snapshot = target.snapshot();
    let data = json!({
        "id": shape::printer_id(target.id()),
        "status": snapshot.state.word(),
        "current_job": snapshot.state.job.as_ref().map(|j| shape::job_id(j.uid)),
        "layerd": native(end.outcome.as_ref()),
    });
    Ok((Extension(Touched(vec![target.id()])), good(data)))
}
