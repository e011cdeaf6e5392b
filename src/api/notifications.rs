//! `printers/notification/*`: open notices and their buttons.

use axum::Extension;
use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::access::Caller;
use super::envelope::{self, Problem};
use super::incoming::{Json, Params};
use super::{Api, pid, view};
use crate::agent::handle::PrinterHandle;
use crate::json::json;
use crate::printer::command::Command;
use crate::printer::notice::Notice;
use crate::printer::outcome::Outcome;

/// Most notices in one request.
const NOTICES_MAX: usize = 100;

/// What one entry of `notifications` does.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Press a button on the printer, which then closes the notice itself.
    Press(u8),
    /// A person has seen it.
    Close(String),
    /// Documented: a dismissed notice stays open.
    Leave,
}

/// Open notices by printer; an empty list for a quiet one.
pub async fn list(State(api): State<Api>, params: Params) -> Result<Answer<Value>, Problem> {
    let printers = api.printers(&pid::pids(params.text("pid"), &Value::Null)?)?;
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
    Ok(Answer(
        json!({"status": true, "message": null, "printers": members}),
    ))
}

/// Presses buttons and closes notices. All or nothing: one unknown id and nothing changes.
pub async fn resolve(State(api): State<Api>, params: Params, body: Json) -> Result<Answer<Value>, Problem> {
    let printers = api.printers(&pid::pids(params.text("pid"), &body.0)?)?;
    let wanted = body.0.get("notifications").and_then(Value::as_array);
    let wanted = wanted
        .filter(|list| (1..=NOTICES_MAX).contains(&list.len()))
        .ok_or_else(|| {
            Problem::bad(format!(
                "`notifications` takes a list of 1 to {NOTICES_MAX} entries."
            ))
        })?;
    let flag = |v: &Value| matches!(v, Value::Null | Value::Bool(_));
    let is_id = |v: &Value| v.is_string() || v.is_i64() || v.is_u64();
    let is_entry = |entry: &Value| {
        let flags = ["force", "dismiss"]
            .iter()
            .all(|key| entry.get(key).is_none_or(flag));
        flags && entry.get("id").is_some_and(is_id)
    };
    if !wanted.iter().all(is_entry) {
        return Err(Problem::bad(
            "Each of `notifications` needs an `id`; `force` and `dismiss` must be true or false.",
        ));
    }
    let mut steps = Vec::with_capacity(wanted.len());
    for entry in wanted {
        let found = printers
            .iter()
            .find_map(|p| open_notice(p, entry).map(|n| (p, n)));
        let Some((printer, notice)) = found else {
            return Err(Problem::said("Notification event(s) not found"));
        };
        steps.push((printer, step(entry, &notice)?));
    }
    let mut worst = Outcome::Verified;
    for (printer, step) in steps {
        let outcome = match step {
            Step::Press(button) => printer.command(Command::Answer { button }).await,
            Step::Close(key) => printer.dismiss(&key).await,
            Step::Leave => Outcome::Verified,
        };
        if !outcome.is_ok() {
            worst = outcome;
        }
    }
    let message = Some(worst.message()).filter(|m| !m.is_empty());
    Ok(Answer(
        json!({"status": worst.is_ok(), "message": message, "layerd": envelope::native(&worst)}),
    ))
}

fn open_notice(printer: &PrinterHandle, entry: &Value) -> Option<Notice> {
    let id = entry.get("id").and_then(Value::as_str)?;
    let id = Uuid::parse_str(id).ok()?;
    let snapshot = printer.snapshot();
    snapshot.state.notices.iter().find(|n| n.id == id).cloned()
}

fn step(entry: &Value, notice: &Notice) -> Result<Step, Problem> {
    let on = |key: &str| matches!(entry.get(key), Some(Value::Bool(true)));
    if on("dismiss") {
        return Ok(Step::Leave);
    }
    match entry.get("action") {
        None | Some(Value::Null) if notice.buttons.len() > 1 && !on("force") => Err(Problem::said(format!(
            "Multiple actions available for event {}, use force to resolve anyway",
            notice.id
        ))),
        None | Some(Value::Null) => Ok(Step::Close(notice.key.clone())),
        Some(action) => {
            let text = action.as_str().map_or_else(|| action.to_string(), str::to_owned);
            let number = text
                .parse::<u8>()
                .ok()
                .filter(|n| usize::from(*n) < notice.buttons.len());
            number.map(Step::Press).ok_or_else(|| {
                let text: String = text.chars().take(40).collect();
                Problem::said(format!("Invalid action {text} for event {}", notice.id))
            })
        }
    }
}

/// Documented as GET; here only with a key or over the socket, since a browser sends a GET for any image of
/// any page.
pub async fn resolve_all_by_get(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    params: Params,
) -> Result<Answer<Value>, Problem> {
    if caller == Caller::Loopback {
        return Err(Problem::with(
            StatusCode::METHOD_NOT_ALLOWED,
            "Without a key this takes POST only.",
        ));
    }
    resolve_all(State(api), params, Json(Value::Null)).await
}

/// Closes every open notice; true also when nothing was open.
pub async fn resolve_all(
    State(api): State<Api>,
    params: Params,
    body: Json,
) -> Result<Answer<Value>, Problem> {
    if params.has("group") {
        return Err(Problem::not_found("Group doesn't exist or doesn't belong to you"));
    }
    let named = params.has("pid") || body.0.get("pid").is_some_and(|v| !v.is_null());
    let printers = if named {
        api.printers(&pid::pids(params.text("pid"), &body.0)?)?
    } else {
        api.agent.printers()
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
    Ok(Answer(json!({"status": true, "message": null})))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::printer::notice::Level;

    fn notice(buttons: &[&str]) -> Notice {
        Notice {
            id: Uuid::from_u128(7),
            key: "prompt".to_owned(),
            level: Level::Warning,
            title: "Filament ran out.".to_owned(),
            text: String::new(),
            code: None,
            buttons: buttons.iter().map(|b| (*b).to_owned()).collect(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn an_action_is_the_number_of_a_button() {
        let prompt = notice(&["Continue", "Abort"]);
        assert_eq!(step(&json!({"action": "1"}), &prompt), Ok(Step::Press(1)));
        assert_eq!(step(&json!({"action": 0}), &prompt), Ok(Step::Press(0)));
        let id = prompt.id;
        let said = |entry: Value| step(&entry, &prompt).expect_err("refused").message;
        assert_eq!(
            said(json!({"action": 2})),
            format!("Invalid action 2 for event {id}")
        );
        assert_eq!(
            said(json!({})),
            format!("Multiple actions available for event {id}, use force to resolve anyway")
        );
        assert_eq!(
            step(&json!({"force": true}), &prompt),
            Ok(Step::Close("prompt".to_owned()))
        );
        assert_eq!(step(&json!({"dismiss": true}), &prompt), Ok(Step::Leave));
        assert_eq!(
            step(&json!({}), &notice(&["OK"])),
            Ok(Step::Close("prompt".to_owned()))
        );
    }
}
