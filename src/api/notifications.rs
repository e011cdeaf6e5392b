//! `printers/notification/*`: open notices and their buttons.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::envelope::{self, Problem};
use super::{Api, pid, view};
use crate::agent::handle::PrinterHandle;
use crate::printer::command::Command;
use crate::printer::notice::Notice;
use crate::printer::outcome::Outcome;

/// Query of all three.
#[derive(Debug, Deserialize)]
pub struct NoticeQuery {
    pid: Option<String>,
}

/// Open notices by printer; an empty list for a quiet one.
pub async fn list(State(api): State<Api>, Query(query): Query<NoticeQuery>) -> Result<Json<Value>, Problem> {
    let printers = api.printers(&pid::pids(query.pid.as_deref(), &Value::Null)?)?;
    let members: Map<String, Value> = printers
        .iter()
        .map(|p| {
            let open: Vec<Value> = p
                .snapshot()
                .state
                .notices
                .iter()
                .map(view::cloud_notice)
                .collect();
            (p.id().to_string(), json!(open))
        })
        .collect();
    Ok(Json(
        json!({"status": true, "message": null, "printers": members}),
    ))
}

#[derive(Debug, Deserialize)]
struct Resolution {
    id: Uuid,
    #[serde(default)]
    action: Option<Value>,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    dismiss: bool,
}

#[derive(Debug, Deserialize)]
pub struct Resolve {
    #[serde(default)]
    pid: Value,
    notifications: Vec<Resolution>,
}

/// What one resolution does.
enum Step {
    Press(u8),
    Close(String),
    Leave,
}

/// Presses a button, or closes a notice. All or nothing: one unknown id and nothing changes.
pub async fn resolve(
    State(api): State<Api>,
    Query(query): Query<NoticeQuery>,
    body: axum::body::Bytes,
) -> Result<Json<Value>, Problem> {
    let body: Resolve = serde_json::from_slice(&body).map_err(|e| {
        Problem::with(
            StatusCode::BAD_REQUEST,
            format!("The body is not the JSON expected: {e}."),
        )
    })?;
    let printers = api.printers(&pid::pids(query.pid.as_deref(), &json!({"pid": body.pid}))?)?;
    let mut steps = Vec::new();
    for wanted in &body.notifications {
        let found = printers.iter().find_map(|p| {
            let snapshot = p.snapshot();
            snapshot
                .state
                .notices
                .iter()
                .find(|n| n.id == wanted.id)
                .cloned()
                .map(|n| (p.clone(), n))
        });
        let Some((printer, notice)) = found else {
            return Err(Problem::said("Notification event(s) not found"));
        };
        steps.push((printer, step(wanted, &notice)?));
    }
    let mut last = Outcome::Verified;
    for (printer, step) in steps {
        let outcome = match step {
            Step::Press(button) => printer.command(Command::Answer { button }).await,
            Step::Close(key) => printer.dismiss(&key).await,
            Step::Leave => Outcome::Verified,
        };
        if !outcome.is_ok() {
            last = outcome;
        }
    }
    let message = Some(last.message()).filter(|m| !m.is_empty());
    Ok(Json(
        json!({"status": last.is_ok(), "message": message, "layerd": envelope::native(&last)}),
    ))
}

fn step(wanted: &Resolution, notice: &Notice) -> Result<Step, Problem> {
    if wanted.dismiss {
        return Ok(Step::Leave);
    }
    match &wanted.action {
        Some(action) => {
            let text = action.as_str().map_or_else(|| action.to_string(), str::to_owned);
            let number = text
                .parse::<u8>()
                .ok()
                .filter(|n| usize::from(*n) < notice.buttons.len());
            number.map(Step::Press).ok_or_else(|| {
                let text: String = text.chars().take(40).collect();
                Problem::said(format!("Invalid action {text} for event {}", wanted.id))
            })
        }
        None if notice.buttons.len() > 1 && !wanted.force => Err(Problem::said(format!(
            "Multiple actions available for event {}, use force to resolve anyway",
            wanted.id
        ))),
        None => Ok(Step::Close(notice.key.clone())),
    }
}

/// Closes every open notice; true also when nothing was open.
pub async fn resolve_all(
    State(api): State<Api>,
    Query(query): Query<NoticeQuery>,
) -> Result<Json<Value>, Problem> {
    let printers: Vec<PrinterHandle> = match query.pid.as_deref() {
        Some(text) => api.printers(&pid::pids(Some(text), &Value::Null)?)?,
        None => api.agent.printers(),
    };
    for printer in printers {
        let keys: Vec<String> = printer
            .snapshot()
            .state
            .notices
            .iter()
            .map(|n| n.key.clone())
            .collect();
        for key in keys {
            // Gone in the meantime is as good as closed.
            let _ = printer.dismiss(&key).await;
        }
    }
    Ok(Json(json!({"status": true, "message": null})))
}
