//! Notices of a printer as events of the cloud. Pure.

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::json::json;
use crate::printer::model::StateWord;
use crate::printer::notice::{Level, Notice};

/// Longest title, characters (REST).
const TITLE_MAX: usize = 255;
/// Longest message, characters (REST).
const MESSAGE_MAX: usize = 1024;
/// Key of the notice that tells how a job ended.
const JOB: &str = "job";

/// What an event says, without its identity and times.
pub fn content(notice: &Notice, word: StateWord) -> Value {
    let mut payload = Map::new();
    payload.insert("title".to_owned(), json!(cut(&notice.title, TITLE_MAX)));
    if !notice.text.is_empty() {
        payload.insert("message".to_owned(), json!(cut(&notice.text, MESSAGE_MAX)));
    }
    let stands = matches!(word, StateWord::Paused | StateWord::Pausing);
    let effect = match (notice.key.as_str(), stands) {
        (JOB, _) => Some("cancel"),
        (_, true) if !notice.buttons.is_empty() => Some("pause"),
        _ => None,
    };
    if let Some(effect) = effect {
        payload.insert("effect".to_owned(), json!(effect));
    }
    if !notice.buttons.is_empty() {
        let actions: Map<String, Value> = notice
            .buttons
            .iter()
            .enumerate()
            .map(|(n, label)| {
                let label = if label.is_empty() { "OK" } else { label };
                (
                    action_name(n),
                    json!({"type": "button", "label": cut(label, TITLE_MAX)}),
                )
            })
            .collect();
        payload.insert("actions".to_owned(), Value::Object(actions));
    }
    if let Some(code) = &notice.code {
        payload.insert("data".to_owned(), json!({"code": code}));
    }
    // The panel shows buttons well with the highest severity only (seen in the vendor's Duet client).
    let severity = match (notice.level, notice.buttons.is_empty()) {
        (Level::Info, true) => 0,
        (Level::Warning, true) => 1,
        (Level::Error, _) | (_, false) => 2,
    };
    json!({"type": "generic", "severity": severity, "payload": payload})
}

/// A new event.
pub fn raised(event_id: Uuid, content: &Value, notice: &Notice) -> Map<String, Value> {
    let mut event = with_id(event_id, content);
    event.insert("issued_at".to_owned(), json!(notice.at.to_string()));
    event
}

/// The same event with other words.
pub fn changed(event_id: Uuid, content: &Value) -> Map<String, Value> {
    with_id(event_id, content)
}

/// The matter is settled.
pub fn resolved(event_id: Uuid, at: jiff::Timestamp) -> Map<String, Value> {
    let mut event = Map::new();
    event.insert("event_id".to_owned(), json!(event_id.to_string()));
    event.insert("resolved_at".to_owned(), json!(at.to_string()));
    event
}

/// A word to the person at the panel that needs no answer and is not kept.
pub fn remark(title: &str, text: &str, at: jiff::Timestamp) -> Value {
    json!({"type": "generic", "severity": 1, "issued_at": at.to_string(),
        "payload": {"title": cut(title, TITLE_MAX), "message": cut(text, MESSAGE_MAX)}})
}

/// The name of a button's action.
fn action_name(number: usize) -> String {
    format!("button{number}")
}

/// The number of a button by the name of its action; its label is taken too.
pub fn button(notice: &Notice, action: &str) -> Option<u8> {
    let at = (0..notice.buttons.len())
        .find(|n| action_name(*n) == action)
        .or_else(|| {
            notice
                .buttons
                .iter()
                .position(|label| label.eq_ignore_ascii_case(action))
        })?;
    u8::try_from(at).ok()
}

fn with_id(event_id: Uuid, content: &Value) -> Map<String, Value> {
    let mut event = Map::new();
    event.insert("event_id".to_owned(), json!(event_id.to_string()));
    if let Value::Object(members) = content {
        event.extend(members.clone());
    }
    event
}

fn cut(text: &str, max: usize) -> String {
    text.chars().take(max).collect()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn notice() -> Notice {
        Notice {
            id: Uuid::nil(),
            key: "prompt".to_owned(),
            level: Level::Warning,
            title: "x".repeat(300),
            text: "y".repeat(2000),
            code: Some("marlin/runout".to_owned()),
            buttons: vec!["Continue".to_owned(), "Abort".to_owned()],
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn limits_and_buttons_and_effects() {
        let content = content(&notice(), StateWord::Paused);
        let text = |p: &str| {
            content
                .pointer(p)
                .and_then(Value::as_str)
                .map(str::len)
                .unwrap_or(0)
        };
        assert_eq!(text("/payload/title"), 255);
        assert_eq!(text("/payload/message"), 1024);
        assert_eq!(content.pointer("/payload/effect"), Some(&json!("pause")));
        assert_eq!(
            content.pointer("/payload/actions/button1/label"),
            Some(&json!("Abort"))
        );
        assert_eq!(content.pointer("/severity"), Some(&json!(2)));
        let event = raised(Uuid::nil(), &content, &notice());
        assert_eq!(event["issued_at"], json!("1970-01-01T00:00:00Z"));
    }

    #[test]
    fn a_button_is_found_by_its_action() {
        assert_eq!(button(&notice(), "button1"), Some(1));
        assert_eq!(button(&notice(), "continue"), Some(0));
        assert_eq!(button(&notice(), "button2"), None);
    }
}
