//! What the tools do: the native shape's own operations, judged by the guard.

use serde_json::{Map, Value};

use super::tools::Tool;
use crate::agent::clock;
use crate::agent::handle::PrinterHandle;
use crate::agent::objects;
use crate::api::access::Caller;
use crate::api::envelope::Problem;
use crate::api::{Api, actions, job_view, jobs, row, view};
use crate::job::store::JobFilter;
use crate::json::json;

/// Names of printers shown to somebody who mistook one, at most.
const NAMES_MAX: usize = 20;

/// What a tool gives: the object, and whether it is a failure.
pub type Given = (Value, bool);

/// Carries a tool out. `from`: the address of who asks, for the log.
pub async fn call(
    api: &Api,
    caller: &Caller,
    from: &str,
    tool: &Tool,
    arguments: &Map<String, Value>,
) -> Given {
    if let Err(words) = tool.check(arguments) {
        return failed(&Problem::bad(words));
    }
    let done = match tool.action {
        None => look(api, tool.name, arguments).await.map(|value| (value, false)),
        Some(action) => act(api, caller, from, (tool.name, action), arguments).await,
    };
    done.unwrap_or_else(|problem| failed(&problem))
}

fn failed(problem: &Problem) -> Given {
    (
        json!({"outcome": "refused", "code": problem.code, "message": problem.message}),
        true,
    )
}

fn text<'a>(arguments: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    arguments.get(name).and_then(Value::as_str)
}

/// A printer by its name, in any case, or its number.
fn find(api: &Api, name: &str) -> Result<PrinterHandle, Problem> {
    let all = api.agent.printers();
    let exact = all.iter().find(|p| p.name() == name);
    let near = || all.iter().find(|p| p.name().eq_ignore_ascii_case(name));
    let number = || all.iter().find(|p| p.id().to_string() == name);
    if let Some(found) = exact.or_else(near).or_else(number) {
        return Ok(found.clone());
    }
    let name: String = name.chars().take(40).collect();
    let names: Vec<&str> = all.iter().take(NAMES_MAX).map(PrinterHandle::name).collect();
    let words = format!("There is no printer {name:?}. There are: {}.", names.join(", "));
    Err(Problem::not_found(words).coded("refused/unknown-printer"))
}

fn native(api: &Api, printer: &PrinterHandle) -> Value {
    let mut all = row::row(api, printer);
    all.get_mut("layerd").map(Value::take).unwrap_or_default()
}

async fn look(api: &Api, tool: &str, arguments: &Map<String, Value>) -> Result<Value, Problem> {
    let named = || find(api, text(arguments, "printer").unwrap_or_default());
    Ok(match tool {
        "get_printer" => native(api, &named()?),
        "get_temperatures" => {
            let printer = named()?;
            let all = native(api, &printer);
            json!({"printer": printer.name(), "temps": all.get("temps")})
        }
        "list_objects" => {
            let printer = named()?;
            let snapshot = printer.snapshot();
            let Some(job) = &snapshot.state.job else {
                return Err(Problem::said("No active print job found").coded("refused/no-job"));
            };
            let known = objects::of_print(&api.agent, &printer).await;
            let rows = known.unwrap_or_default();
            let rows: Vec<Value> = rows
                .iter()
                .map(|o| json!({"id": o.id, "name": o.name, "skipped": job.skipped.contains(&o.id)}))
                .collect();
            json!({"printer": printer.name(), "file": job.file, "objects": rows, "skipped": job.skipped})
        }
        "list_jobs" => list_jobs(api, arguments).await?,
        "list_files" => {
            let rows = api.files().await?;
            let rows: Vec<Value> = rows
                .iter()
                .map(|row| {
                    json!({"id": row.sha256, "name": row.name, "size": row.size,
                           "uploaded": view::rfc3339(row.uploaded), "expires": view::rfc3339(row.expires)})
                })
                .collect();
            json!({"files": rows})
        }
        _ => {
            let all = api.agent.printers();
            let rows: Vec<Value> = all.iter().map(|p| short(api, p)).collect();
            json!({"printers": rows})
        }
    })
}

/// What somebody wants to know of each printer first.
fn short(api: &Api, printer: &PrinterHandle) -> Value {
    let mut all = native(api, printer);
    let mut out = Map::new();
    for name in [
        "name",
        "id",
        "driver",
        "state",
        "why",
        "job",
        "temps",
        "bed_dirty",
        "message",
    ] {
        let value = all.get_mut(name).map(Value::take).unwrap_or_default();
        out.insert(name.to_owned(), value);
    }
    let open = all.get("notices").and_then(Value::as_array).map_or(0, Vec::len);
    out.insert("open_notices".to_owned(), json!(open));
    Value::Object(out)
}

async fn list_jobs(api: &Api, arguments: &Map<String, Value>) -> Result<Value, Problem> {
    let printers = match text(arguments, "printer") {
        None => Vec::new(),
        Some(name) => vec![find(api, name)?.name().to_owned()],
    };
    let states = text(arguments, "status").and_then(job_view::states);
    let limit = arguments.get("limit").and_then(Value::as_u64);
    let filter = JobFilter {
        printers,
        states: states.unwrap_or_default().to_vec(),
        page: 1,
        page_size: limit.and_then(|n| u32::try_from(n).ok()).unwrap_or(25),
        ..JobFilter::default()
    };
    let (rows, total) = api.agent.store().jobs(filter).await.map_err(jobs::database)?;
    let now = clock::now().wall;
    let rows: Vec<Value> = rows
        .iter()
        .map(|job| job_view::listed(job, api.agent.by_name(&job.printer).map(|p| p.id()), now))
        .collect();
    Ok(json!({"jobs": rows, "total": total}))
}

/// The id of a stored file, by id or by the newest of that name.
async fn file_id(api: &Api, wanted: &str) -> Result<String, Problem> {
    let rows = api.files().await?;
    let found = rows
        .iter()
        .find(|row| row.sha256 == wanted || row.id == wanted)
        .or_else(|| rows.iter().find(|row| row.name == wanted));
    found.map(|row| row.sha256.clone()).ok_or_else(|| {
        let wanted: String = wanted.chars().take(80).collect();
        Problem::not_found(format!("There is no stored file {wanted:?}. Ask list_files."))
            .coded("refused/unknown-file")
    })
}

/// The body of the native action. What is not there is null, which is as good as absent.
async fn body(api: &Api, action: &str, arguments: &Map<String, Value>) -> Result<Value, Problem> {
    let get = |name: &str| arguments.get(name).cloned().unwrap_or_default();
    Ok(match action {
        "Cancel" => json!({"comment": get("comment")}),
        "SkipObjects" => json!({"object_ids": get("objects")}),
        "SendGcode" => json!({"gcode": get("gcode"), "layerd": {"tune": get("tune")}}),
        "Answer" => json!({"button": get("button")}),
        "ClearBed" => json!({"rating": get("rating")}),
        "CreateJob" => {
            let file = file_id(api, text(arguments, "file").unwrap_or_default()).await?;
            json!({"file_id": file, "skipped_objects": get("skip_objects"), "layerd": {"start_id": get("start_id")}})
        }
        _ => json!({}),
    })
}

async fn act(
    api: &Api,
    caller: &Caller,
    from: &str,
    (tool, action): (&str, &str),
    arguments: &Map<String, Value>,
) -> Result<Given, Problem> {
    let printer = find(api, text(arguments, "printer").unwrap_or_default())?;
    let body = body(api, action, arguments).await?;
    // A start is answered when it is durable: heating takes longer than clients wait.
    let wait = action != "CreateJob";
    let end = actions::on_one(api, &printer, action, &body, wait).await;
    let good = end.as_ref().is_ok_and(actions::End::is_good);
    tracing::info!(
        code = "api/audit",
        who = caller.name(),
        from,
        printers = ?[printer.id()],
        good,
        "POST /mcp {tool}"
    );
    let end = end?;
    let mut out = end.native();
    if let Value::Object(members) = &mut out {
        members.insert("printer".to_owned(), json!(printer.name()));
        members.insert("state".to_owned(), json!(printer.snapshot().state.word()));
    }
    Ok((out, !end.is_good()))
}
