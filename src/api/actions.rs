//! `printers/actions/*`.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::{Value, json};

use super::envelope::{self, Problem};
use super::{Api, pid};
use crate::agent::handle::{PrintOrder, PrinterHandle};
use crate::printer::command::{CancelReason, Command};
use crate::printer::guard::GCODE_LINES_MAX;
use crate::printer::model::StateWord;
use crate::printer::outcome::{Outcome, Refusal};

/// Longest comment of a cancel, characters (documented).
const COMMENT_MAX: usize = 500;

/// How long a request without `wait` looks for the first answer of the printer.
const ACCEPT_LIMIT: Duration = Duration::from_secs(120);

/// Query of every action.
#[derive(Debug, Deserialize)]
pub(super) struct ActionQuery {
    pid: Option<String>,
}

/// What an action asks, read from its body.
#[derive(Clone, Debug)]
enum Asked {
    Command(Command),
    ClearBed { rating: Option<u8> },
    Print(PrintOrder),
}

/// One action on one or several printers.
pub async fn act(
    State(api): State<Api>,
    Path(parts): Path<std::collections::HashMap<String, String>>,
    Query(query): Query<ActionQuery>,
    body: axum::body::Bytes,
) -> Result<Json<Value>, Problem> {
    let body: Value = if body.iter().all(u8::is_ascii_whitespace) {
        Value::Null
    } else {
        serde_json::from_slice(&body)
            .map_err(|e| Problem::with(StatusCode::BAD_REQUEST, format!("The body is not JSON: {e}.")))?
    };
    let action = parts.get("action").map(String::as_str).unwrap_or_default();
    let printers = api.printers(&pid::pids(query.pid.as_deref(), &body)?)?;
    let wait = body
        .pointer("/layerd/wait")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let asked = read(&api, action, &body).await?;
    let partial = matches!(
        asked,
        Asked::Print(_) | Asked::Command(Command::SkipObjects { .. })
    );
    let ends = join_all(printers.iter().map(|p| carry_out(p, asked.clone(), wait))).await;
    Ok(Json(answer(&printers, ends, &asked, partial)))
}

/// How it went on one printer.
struct End {
    /// `None`: accepted, and nobody waits for the end.
    outcome: Option<Outcome>,
    job_id: Option<i64>,
}

async fn carry_out(printer: &PrinterHandle, asked: Asked, wait: bool) -> End {
    let bare = |outcome| End {
        outcome,
        job_id: None,
    };
    if let Err(refusal) = rest_filter(printer, &asked) {
        return bare(Some(Outcome::Refused(refusal)));
    }
    let ended = match asked {
        Asked::ClearBed { rating } => return bare(Some(printer.clear_bed(rating).await)),
        Asked::Command(command) => printer.submit(command).await.map(|pending| (None, pending)),
        Asked::Print(order) => match tokio::time::timeout(ACCEPT_LIMIT, printer.print(order)).await {
            Ok(result) => result.map(|(accepted, pending)| (Some(accepted.job_id), pending)),
            Err(_) => Err(Refusal::new(
                "refused/busy",
                "The file is still being checked; try again later.",
            )),
        },
    };
    match ended {
        Err(refusal) => bare(Some(Outcome::Refused(refusal))),
        Ok((job_id, pending)) if wait => End {
            outcome: Some(pending.outcome().await),
            job_id,
        },
        Ok((job_id, _)) => End {
            outcome: None,
            job_id,
        },
    }
}

fn answer(printers: &[PrinterHandle], ends: Vec<End>, asked: &Asked, partial: bool) -> Value {
    let good = |e: &End| e.outcome.as_ref().is_none_or(Outcome::is_ok);
    let all = ends.iter().all(good);
    let any = ends.iter().any(good);
    let status = all || (partial && any);
    let first_bad = ends
        .iter()
        .filter_map(|e| e.outcome.as_ref())
        .find(|o| !o.is_ok());
    let message = first_bad.map(|outcome| match (partial && any, asked) {
        (true, Asked::Print(_)) => format!("Started some jobs, but {}", outcome.message()),
        _ => outcome.message(),
    });
    let native = |e: &End| {
        e.outcome
            .as_ref()
            .map_or_else(envelope::accepted, envelope::native)
    };
    // One printer: its outcome. Several: the first that is not good, and all of them in `results`.
    let mut layerd = ends
        .iter()
        .find(|e| !good(e))
        .or(ends.first())
        .map_or(Value::Null, native);
    if ends.len() > 1 {
        let results: Vec<Value> = printers
            .iter()
            .zip(&ends)
            .map(|(p, e)| {
                let mut result = native(e);
                result["pid"] = json!(p.id());
                result
            })
            .collect();
        layerd["results"] = json!(results);
    }
    let mut out = json!({"status": status, "message": message, "layerd": layerd});
    if let Asked::Print(order) = asked {
        let started: Vec<i64> = printers
            .iter()
            .zip(&ends)
            .filter(|(_, e)| good(e))
            .map(|(p, _)| p.id())
            .collect();
        out["files"] =
            json!([{"name": order.name, "analysis": null, "printers": started, "queued": false, "cost": []}]);
        out["jobIds"] = json!(
            ends.iter()
                .filter(|e| good(e))
                .filter_map(|e| e.job_id)
                .collect::<Vec<_>>()
        );
        out["staggeredPrinterIds"] = json!([]);
    }
    out
}

/// The documented filter of the REST dialect: `SendGcode` only to operational printers, but for tuning.
/// Paused printers are left to the guard, which allows what helps a person there.
fn rest_filter(printer: &PrinterHandle, asked: &Asked) -> Result<(), Refusal> {
    let word = printer.snapshot().state.word();
    let sends = matches!(asked, Asked::Command(Command::SendGcode { tune: false, .. }));
    let prints = matches!(
        word,
        StateWord::Printing | StateWord::Pausing | StateWord::Resuming | StateWord::Cancelling
    );
    if !(sends && prints) {
        return Ok(());
    }
    Err(Refusal::new(
        "refused/wrong-state",
        format!(
            "{} is {word}: G-code goes only to a printer that is operational. \
             What only tunes may go with --tune.",
            printer.name()
        ),
    ))
}

async fn read(api: &Api, action: &str, body: &Value) -> Result<Asked, Problem> {
    Ok(match action {
        "Pause" => Asked::Command(Command::Pause),
        "Resume" => Asked::Command(Command::Resume),
        "Cancel" => Asked::Command(Command::Cancel(cancel_reason(body)?)),
        "EmergencyStop" => Asked::Command(Command::EmergencyStop),
        "Reconnect" => Asked::Command(Command::Reconnect),
        "HeatersOff" => Asked::Command(Command::HeatersOff),
        "SendGcode" => Asked::Command(Command::SendGcode {
            lines: gcode(body)?,
            tune: body
                .pointer("/layerd/tune")
                .and_then(Value::as_bool)
                .unwrap_or(false),
        }),
        "SkipObjects" => Asked::Command(Command::SkipObjects {
            ids: object_ids(body)?,
        }),
        "Answer" => Asked::Command(Command::Answer {
            button: button(body)?,
        }),
        "ClearBed" => Asked::ClearBed {
            rating: rating(body)?,
        },
        "CreateJob" => Asked::Print(order(api, body).await?),
        "CancelPendingPrint" => return Err(Problem::said("No pending prints to cancel")),
        "RefreshMaterialData" => return Err(Problem::said("This printer reports no material data.")),
        _ => return Err(Problem::with(StatusCode::NOT_FOUND, "There is no such action.")),
    })
}

fn bad(message: impl Into<String>) -> Problem {
    Problem::with(StatusCode::BAD_REQUEST, message)
}

fn cancel_reason(body: &Value) -> Result<CancelReason, Problem> {
    let reason = match body.get("reason") {
        None | Some(Value::Null) => None,
        Some(value) => Some(
            small(value)
                .filter(|r| (1..=8).contains(r))
                .ok_or_else(|| bad("`reason` must be a number from 1 to 8."))?,
        ),
    };
    let comment = match body.get("comment") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text.chars().count() <= COMMENT_MAX => Some(text.clone()),
        Some(Value::String(_)) => {
            return Err(bad(format!("`comment` is longer than {COMMENT_MAX} characters.")));
        }
        Some(_) => return Err(bad("`comment` must be a text.")),
    };
    Ok(CancelReason { reason, comment })
}

fn rating(body: &Value) -> Result<Option<u8>, Problem> {
    match body.get("rating") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => small(value)
            .filter(|r| (1..=4).contains(r))
            .map(Some)
            .ok_or_else(|| bad("`rating` must be a number from 1 to 4.")),
    }
}

fn button(body: &Value) -> Result<u8, Problem> {
    body.get("button")
        .and_then(small)
        .ok_or_else(|| bad("`button` must be the number of a button, from 0."))
}

fn small(value: &Value) -> Option<u8> {
    let number = value
        .as_u64()
        .or_else(|| value.as_str().and_then(|t| t.parse().ok()))?;
    u8::try_from(number).ok()
}

fn object_ids(body: &Value) -> Result<Vec<u32>, Problem> {
    let list = body
        .get("object_ids")
        .and_then(Value::as_array)
        .ok_or_else(|| bad("`object_ids` must be a list."))?;
    if list.is_empty() {
        return Err(bad("`object_ids` must not be empty."));
    }
    list.iter()
        .map(|v| {
            v.as_u64()
                .or_else(|| v.as_str().and_then(|t| t.trim().parse().ok()))
                .and_then(|n| u32::try_from(n).ok())
                .ok_or_else(|| bad("`object_ids` holds something that is no object id."))
        })
        .collect()
}

/// G-code of a request: a macro, a text, or a list of lines; comments, blanks and host lines go.
fn gcode(body: &Value) -> Result<Vec<String>, Problem> {
    let raw: Vec<String> = match (body.get("gcode"), body.get("macro").and_then(Value::as_str)) {
        (Some(Value::String(text)), _) => text.lines().map(str::to_owned).collect(),
        (Some(Value::Array(list)), _) => {
            if list.is_empty() || list.len() > GCODE_LINES_MAX {
                return Err(bad(format!("`gcode` takes 1 to {GCODE_LINES_MAX} lines.")));
            }
            list.iter()
                .map(|v| {
                    v.as_str()
                        .map(str::to_owned)
                        .ok_or_else(|| bad("`gcode` must be a list of texts."))
                })
                .collect::<Result<_, _>>()?
        }
        (None | Some(Value::Null), Some(name)) => {
            macro_lines(name, body.get("macro_context").unwrap_or(&Value::Null))?
        }
        _ => return Err(bad("Give `gcode` as a text or a list of lines, or `macro`.")),
    };
    let lines: Vec<String> = raw
        .iter()
        .flat_map(|text| text.split(['\n', '\r']))
        .map(|line| line.split(';').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty() && !line.starts_with('@'))
        .map(str::to_owned)
        .collect();
    if lines.is_empty() {
        return Err(bad("`gcode` holds nothing to send."));
    }
    Ok(lines)
}

/// The macros whose names are documented, for firmwares of Marlin's kind.
fn macro_lines(name: &str, context: &Value) -> Result<Vec<String>, Problem> {
    let number = |key: &str, default: f64, most: f64| {
        let value = context.get(key).and_then(Value::as_f64).unwrap_or(default);
        if value > 0.0 && value <= most {
            Ok(value)
        } else {
            Err(bad(format!("`{key}` must be above 0 and at most {most}.")))
        }
    };
    let feed = |sign: &str| -> Result<Vec<String>, Problem> {
        let amount = number("amount", 10.0, 200.0)?;
        Ok(vec![
            "M83".into(),
            format!("G1 E{sign}{amount} F300"),
            "M82".into(),
        ])
    };
    match name {
        "home" => {
            let axes: String = context
                .get("axes")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_uppercase()
                .chars()
                .filter(|c| "XYZ".contains(*c))
                .flat_map(|c| [' ', c])
                .collect();
            Ok(vec![format!("G28{axes}")])
        }
        "extrude" => feed(""),
        "retract" => feed("-"),
        "disable_motors" => Ok(vec!["M84".into()]),
        _ => Err(bad("There is no such macro.")),
    }
}

async fn order(api: &Api, body: &Value) -> Result<PrintOrder, Problem> {
    for key in ["queue_file", "multi_queue", "next_queue_item"] {
        if body.get(key).is_some_and(|v| !v.is_null() && *v != json!(false)) {
            return Err(Problem::said(format!(
                "`{key}` is not available on this host: the queue is the cloud's."
            )));
        }
    }
    let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
    let skip = match body.get("skipped_objects") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(list)) => list
            .iter()
            .map(|v| match v {
                Value::Number(n) => Ok(n.to_string()),
                Value::String(name) if !name.is_empty() => Ok(name.clone()),
                _ => Err(bad("`skipped_objects` holds something that is no object.")),
            })
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(bad("`skipped_objects` must be a list.")),
    };
    let start_id = body
        .pointer("/layerd/start_id")
        .and_then(Value::as_str)
        .map(str::to_owned);
    if let Some(reprint) = body.get("reprint").filter(|v| !v.is_null()) {
        let job = super::jobs::find(api, &reprint.to_string().replace('"', "")).await?;
        let sha256 = job
            .sha256
            .ok_or_else(|| Problem::said("The file of that print is not kept."))?;
        return Ok(PrintOrder {
            sha256,
            name: job.file,
            skip,
            start_id,
        });
    }
    let id = text("file_id")
        .or_else(|| text("filesystem"))
        .ok_or_else(|| bad("Name the file: `file_id` (from files/Upload), or `reprint`."))?;
    let (sha256, name) = api.stored(&id).await?;
    Ok(PrintOrder {
        sha256,
        name,
        skip,
        start_id,
    })
}
