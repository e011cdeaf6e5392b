//! The queue of SoLoPrint's shape: prints that wait until somebody says where. It starts nothing by itself.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json as Answer};
use serde_json::Value;

use super::hooks::ASSIGNED;
use super::solo::stored;
use super::{ended, shape, start_body};
use crate::agent::clock;
use crate::agent::handle::PrinterHandle;
use crate::api::door::Touched;
use crate::api::envelope::Problem;
use crate::api::incoming::Json;
use crate::api::{Api, actions, jobs, plate, view};
use crate::job::preflight;
use crate::job::store::{QUEUE_MAX, QueueItem};
use crate::json::{self, json};
use crate::printer::model::StateWord;

const NAME_MAX: usize = 255;

/// Largest metadata of an item, bytes.
const METADATA_MAX: usize = 4 << 10;

/// Most printers that an item may name.
const PRINTERS_MAX: usize = 100;

/// A printer that cannot take an item now, and why.
type Reason = (&'static str, String);

/// What a start in this shape answers.
type Started = (Extension<Touched>, Answer<Value>);

fn gone() -> Problem {
    Problem::not_found("There is no such queue item.").coded("refused/queue-item-not-found")
}

fn not_assignable(details: impl Into<String>) -> Problem {
    Problem::said(details).coded("refused/queue-item-not-assignable")
}

async fn find(api: &Api, id: &str) -> Result<QueueItem, Problem> {
    let number = shape::number(id, "").ok_or_else(gone)?;
    let item = api
        .agent
        .store()
        .queue_item(number)
        .await
        .map_err(jobs::database)?;
    item.ok_or_else(gone)
}

fn printer(api: &Api, id: &str) -> Result<PrinterHandle, Problem> {
    let found = shape::number(id, "").and_then(|n| api.agent.by_id(n));
    found.ok_or_else(|| Problem::not_found("There is no such printer.").coded("refused/printer-not-found"))
}

/// Numbers of the printers that may take it; none: all.
fn wanted(item: &QueueItem) -> Vec<i64> {
    json::read(&item.printers).unwrap_or_default()
}

/// How thoroughly a printer is judged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// By what is known of the file.
    Quick,
    /// The file is analyzed where it was not yet.
    Thorough,
}

/// Whether a printer can take an item: `Ok(None)`: nobody has looked into the file yet.
async fn fits(
    api: &Api,
    item: &QueueItem,
    printer: &PrinterHandle,
    look: Look,
) -> Result<Option<()>, Reason> {
    let list = wanted(item);
    if !list.is_empty() && !list.contains(&printer.id()) {
        return Err(("not_requested", "The item asks for other printers.".to_owned()));
    }
    let file = match &item.file_id {
        None => return Err(("no_file", "The item has no file.".to_owned())),
        Some(id) => api.agent.spool().file(id).await,
    };
    let Some(file) = file else {
        return Err(("file_missing", "The file is not here (any more).".to_owned()));
    };
    if api.agent.is_draining() {
        return Err((
            "draining",
            "This host is finishing what prints and starts nothing.".to_owned(),
        ));
    }
    let word = printer.snapshot().state.word();
    if word != StateWord::Operational {
        return Err(("printer_not_operational", format!("The printer is {word}.")));
    }
    let limits = printer.limits();
    let report = match look {
        Look::Thorough => plate::check(api, &file, None, &limits).await,
        Look::Quick => match api.agent.pool().known(&file.sha256).await {
            None => return Ok(None),
            Some(analysis) => Ok(preflight::check(&analysis, &limits, &file.name, &[])),
        },
    };
    let report = report.map_err(|fault| ("file_not_readable", fault.to_string()))?;
    match report.refusal() {
        Some(refusal) => Err(("does_not_fit", refusal.message)),
        None => Ok(Some(())),
    }
}

async fn shown(api: &Api, item: &QueueItem, look: Look) -> Result<Value, Problem> {
    let job = match item.job_uid {
        None => None,
        Some(uid) => api.agent.store().job(uid).await.map_err(jobs::database)?,
    };
    let mut eligibility = Vec::new();
    if item.job_uid.is_none() {
        for printer in api.agent.printers().iter().take(PRINTERS_MAX) {
            let judged = fits(api, item, printer, look).await;
            let (eligible, reasons) = match judged {
                Ok(known) => (known.map(|()| true), Vec::new()),
                Err((code, words)) => (Some(false), vec![json!({"code": code, "details": words})]),
            };
            eligibility.push(json!({
                "printer_id": printer.id().to_string(), "eligible": eligible, "reasons": reasons,
            }));
        }
    }
    let status = match (&job, item.job_uid) {
        (Some(job), _) => shape::job_status(job.state, false),
        (None, Some(_)) => "assigned",
        (None, None) => "queued",
    };
    Ok(json!({
        "id": item.id.to_string(),
        "name": item.name,
        "file_id": item.file_id,
        "status": status,
        "requirements": {"printer_ids": wanted(item).iter().map(ToString::to_string).collect::<Vec<_>>()},
        "metadata": json::read::<Value>(&item.metadata).unwrap_or_default(),
        "assignment": item.printer_id.map(|id| json!({"printer_id": id.to_string(), "job_id": item.job_uid})),
        "eligibility": eligibility,
        "last_refusal": item.refusal,
        "created_at": view::rfc3339(item.created),
        "updated_at": view::rfc3339(item.updated),
    }))
}

/// `GET /v1/platform/queue`: oldest first.
pub async fn list(State(api): State<Api>) -> Result<Answer<Value>, Problem> {
    let items = api.agent.store().queue_items().await.map_err(jobs::database)?;
    let mut rows = Vec::with_capacity(items.len());
    for item in &items {
        rows.push(shown(&api, item, Look::Quick).await?);
    }
    Ok(Answer(json!({"items": rows})))
}

/// `POST /v1/platform/queue`: `{name?, file_id?, requirements{printer_ids[]}?, metadata{}?}`.
pub async fn create(State(api): State<Api>, body: Json) -> Result<(StatusCode, Answer<Value>), Problem> {
    let file = match body.text("file_id", NAME_MAX)? {
        None => None,
        Some(id) => Some(stored(&api, id).await?),
    };
    let name = body
        .text("name", NAME_MAX)?
        .map(str::trim)
        .filter(|n| !n.is_empty());
    let name = name.or(file.as_ref().map(|f| f.name.as_str()));
    let name = name.ok_or_else(|| Problem::bad("`name` is required for an item without a file."))?;
    let metadata = match body.0.get("metadata") {
        None | Some(Value::Null) => "{}".to_owned(),
        Some(Value::Object(members)) => Value::Object(members.clone()).to_string(),
        Some(_) => return Err(Problem::bad("`metadata` must be an object.")),
    };
    if metadata.len() > METADATA_MAX {
        return Err(Problem::bad(format!(
            "`metadata` takes at most {METADATA_MAX} bytes."
        )));
    }
    let now = clock::now().wall;
    let mut item = QueueItem {
        id: 0,
        name: name.to_owned(),
        file_id: file.map(|f| f.sha256),
        printers: json!(requirements(&api, &body.0)?).to_string(),
        metadata,
        tries: 0,
        refusal: None,
        printer_id: None,
        job_uid: None,
        created: now,
        updated: now,
    };
    let kept = api
        .agent
        .store()
        .queue_add(item.clone())
        .await
        .map_err(jobs::database)?;
    item.id = kept.ok_or_else(|| {
        Problem::said(format!("{QUEUE_MAX} items wait already.")).coded("refused/queue-full")
    })?;
    Ok((
        StatusCode::CREATED,
        Answer(json!({"item": shown(&api, &item, Look::Quick).await?})),
    ))
}

fn requirements(api: &Api, body: &Value) -> Result<Vec<i64>, Problem> {
    let list = match body.get("requirements") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(members)) => members.get("printer_ids"),
        Some(_) => return Err(Problem::bad("`requirements` must be an object.")),
    };
    let list = match list {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(list)) if list.len() <= PRINTERS_MAX => list,
        Some(_) => {
            let words =
                format!("`requirements.printer_ids` must be a list of at most {PRINTERS_MAX} printers.");
            return Err(Problem::bad(words));
        }
    };
    list.iter()
        .map(|id| match id {
            Value::Number(n) => printer(api, &n.to_string()).map(|p| p.id()),
            Value::String(text) => printer(api, text).map(|p| p.id()),
            _ => Err(Problem::bad("`requirements.printer_ids` takes ids of printers.")),
        })
        .collect()
}

/// `POST /v1/platform/queue/{id}/recompute`: looks again, into the file too.
pub async fn recompute(State(api): State<Api>, Path(id): Path<String>) -> Result<Answer<Value>, Problem> {
    let item = find(&api, &id).await?;
    Ok(Answer(json!({"item": shown(&api, &item, Look::Thorough).await?})))
}

/// `POST /v1/platform/queue/{id}/assign`: `{printer_id}`. A print, if the printer can.
pub async fn assign(State(api): State<Api>, Path(id): Path<String>, body: Json) -> Result<Started, Problem> {
    let item = find(&api, &id).await?;
    let target = match body.0.get("printer_id") {
        Some(Value::Number(n)) => printer(&api, &n.to_string())?,
        Some(Value::String(text)) => printer(&api, text)?,
        _ => return Err(Problem::bad("`printer_id` is required.")),
    };
    start(&api, item, &target).await
}

/// `POST /v1/platform/printers/{id}/dispatch-next`: the oldest item that this printer can take.
pub async fn dispatch_next(State(api): State<Api>, Path(id): Path<String>) -> Result<Started, Problem> {
    let target = printer(&api, &id)?;
    let items = api.agent.store().queue_items().await.map_err(jobs::database)?;
    let mut first = None;
    for item in items.into_iter().filter(|item| item.job_uid.is_none()) {
        match fits(&api, &item, &target, Look::Thorough).await {
            Ok(_) => return start(&api, item, &target).await,
            Err((_, words)) => first = first.or(Some(words)),
        }
    }
    let why = first.unwrap_or_else(|| "The queue is empty.".to_owned());
    Err(not_assignable(format!(
        "No item of the queue can be printed there: {why}"
    )))
}

/// Takes an item off the list of those that are being started.
struct Starting<'a>(&'a Api, i64);

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        let mut all = self.0.v1.assigning.lock().unwrap_or_else(|e| e.into_inner());
        all.remove(&self.1);
    }
}

async fn start(api: &Api, item: QueueItem, target: &PrinterHandle) -> Result<Started, Problem> {
    let is_free = api
        .v1
        .assigning
        .lock()
        .unwrap_or_else(|e| e.into_inner())
        .insert(item.id);
    if !is_free {
        return Err(not_assignable("The item is being started."));
    }
    let _starting = Starting(api, item.id);
    // Who was first may have started it meanwhile.
    let item = find(api, &item.id.to_string()).await?;
    if item.job_uid.is_some() {
        return Err(not_assignable("The item was assigned already."));
    }
    let list = wanted(&item);
    if !list.is_empty() && !list.contains(&target.id()) {
        return Err(not_assignable("The item asks for other printers."));
    }
    let file_id = item
        .file_id
        .as_deref()
        .ok_or_else(|| not_assignable("The item has no file."))?;
    // One identity for each start of each item: a daemon that ends here starts it once all the same.
    let start_id = format!(
        "queue/{}/{}/{}",
        item.id,
        item.created.as_millisecond(),
        item.tries
    );
    let body = start_body(file_id, Some(start_id), Value::Null);
    let tried = match actions::on_one(api, target, "CreateJob", &body, false).await {
        Ok(end) => ended(end.outcome.as_ref()).map(|()| end.job),
        Err(problem) => Err(problem),
    };
    let store = api.agent.store();
    let now = clock::now().wall;
    let job = match tried {
        Ok(Some((_, uid))) => uid,
        Ok(None) => {
            return Err(not_assignable(
                "The file is still being checked; look at the printer.",
            ));
        }
        Err(problem) if problem.status == StatusCode::OK => {
            let words = problem.message.clone();
            store
                .queue_refused(item.id, words, now)
                .await
                .map_err(jobs::database)?;
            return Err(not_assignable(problem.message));
        }
        Err(problem) => return Err(problem),
    };
    store
        .queue_assigned(item.id, target.id(), job, now)
        .await
        .map_err(jobs::database)?;
    let item = find(api, &item.id.to_string()).await?;
    let item = shown(api, &item, Look::Quick).await?;
    let told = api
        .post
        .queue(store, ASSIGNED, &json!({"queue_item": item}), None)
        .await;
    if let Err(error) = told {
        tracing::error!(
            code = error.code(),
            event = ASSIGNED,
            "an event for webhooks is lost: {error}"
        );
    }
    Ok((
        Extension(Touched(vec![target.id()])),
        Answer(json!({"item": item})),
    ))
}
