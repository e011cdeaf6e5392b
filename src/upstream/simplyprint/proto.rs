//! Messages of protocol 0.2 from the cloud, as plain data. What is not understood is named, never an
//! error that ends the connection.

use serde_json::{Map, Value};

use super::demand::Demand;
use super::lenient;
use super::throttle::Intervals;
use crate::config::secrets::Secret;
use crate::json;

/// Version segment of the path.
pub const VERSION: &str = "0.2";

/// Longest frame that is read, bytes. The largest message that a cloud has reason to send is a demand
/// with 200 lines of 500 characters, or logs of objects.
pub const FRAME_MAX_BYTES: usize = 1 << 20;

/// Longest identity or code in a message.
const NAME_MAX: usize = 255;

/// Longest token.
const TOKEN_MAX: usize = 4096;

/// One message with the printer it is for.
#[derive(Clone, Debug, PartialEq)]
pub struct Incoming {
    /// `for`, or the `unique_id` of an answer to `add_connection`; `None`: the socket, or the only
    /// printer of a single-printer socket.
    pub to: Option<String>,
    /// What it says.
    pub message: Message,
}

/// What the cloud says.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// The socket, or one printer, is ready.
    Connected(Connected),
    /// The cloud is not content.
    Error {
        /// In its words.
        text: String,
    },
    /// A new credential, and the code that claims it.
    NewToken {
        /// Replaces the one there was.
        token: Secret,
        /// The code that a person types.
        short_id: Option<String>,
        /// The identity we came with is not known any more.
        no_exist: bool,
    },
    /// The code was typed: from now on the printer has this number.
    CompleteSetup {
        /// Its number.
        printer_id: i64,
    },
    /// Other intervals for some keys.
    Intervals(Intervals),
    /// Answer to a `ping`.
    Pong,
    /// The last picture has arrived.
    StreamReceived,
    /// Settings of the panel for this printer; nothing here depends on them.
    PrinterSettings,
    /// Answer to `add_connection`.
    Added {
        /// Whether the printer is in.
        ok: bool,
        /// Its number, where it has one.
        pid: Option<i64>,
        /// Why not.
        reason: Option<String>,
    },
    /// A printer is taken off the socket.
    Removed {
        /// Deleted in the account.
        deleted: bool,
        /// Why.
        reason: Option<String>,
    },
    /// Something to do.
    Demand(Demand),
    /// Not known here; with its name.
    Unknown(String),
}

/// `connected`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Connected {
    /// Not claimed yet. Absent: as known.
    pub in_setup: Option<bool>,
    /// The claim code.
    pub short_id: Option<String>,
    /// Name in the panel.
    pub name: Option<String>,
    /// Third segment of the path at the next attempt (single mode).
    pub reconnect_token: Option<Secret>,
    /// How often what may be said.
    pub intervals: Intervals,
}

/// Why a frame is no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Junk {
    /// Not JSON, or not an object.
    #[error("a frame that is no JSON object")]
    NotAnObject,
    /// Without a type.
    #[error("a message without a type")]
    NoType,
    /// The type is known, what it needs is missing.
    #[error("a `{0}` that lacks what it needs")]
    Incomplete(&'static str),
}

/// Reads one frame.
///
/// # Errors
/// [`Junk`], which is counted and otherwise ignored.
pub fn read(text: &str) -> Result<Incoming, Junk> {
    if text.len() > FRAME_MAX_BYTES {
        return Err(Junk::NotAnObject);
    }
    let Ok(Value::Object(envelope)) = json::read::<Value>(text) else {
        return Err(Junk::NotAnObject);
    };
    let kind = envelope.get("type").and_then(Value::as_str).ok_or(Junk::NoType)?;
    let data = lenient::members(envelope.get("data"));
    let mut to = lenient::text(envelope.get("for"), NAME_MAX);
    let text = |key: &str| lenient::text(data.get(key), NAME_MAX);
    let message = match kind {
        "connected" => Message::Connected(connected(&data)),
        "error" => Message::Error {
            text: data
                .get("msg")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .chars()
                .take(NAME_MAX)
                .collect(),
        },
        "new_token" => Message::NewToken {
            token: lenient::text(data.get("token"), TOKEN_MAX)
                .map(Secret::new)
                .ok_or(Junk::Incomplete("new_token"))?,
            short_id: text("short_id"),
            no_exist: lenient::boolean(data.get("no_exist")).unwrap_or(false),
        },
        "complete_setup" => Message::CompleteSetup {
            printer_id: lenient::whole(data.get("printer_id"))
                .filter(|id| *id > 0)
                .ok_or(Junk::Incomplete("complete_setup"))?,
        },
        "interval_change" => Message::Intervals(Intervals::read(&data)),
        "pong" => Message::Pong,
        "stream_received" => Message::StreamReceived,
        "printer_settings" => Message::PrinterSettings,
        "add_connection" | "remove_connection" => {
            // Answers are routed by their own identity; `for` is optional there.
            to = text("unique_id").or(to);
            if kind == "add_connection" {
                Message::Added {
                    ok: lenient::boolean(data.get("status")).unwrap_or(false),
                    pid: lenient::whole(data.get("pid")),
                    reason: text("reason"),
                }
            } else {
                Message::Removed {
                    deleted: lenient::boolean(data.get("deleted")).unwrap_or(false),
                    reason: text("reason"),
                }
            }
        }
        "demand" => Message::Demand(Demand::read(&data).ok_or(Junk::Incomplete("demand"))?),
        other => Message::Unknown(other.chars().take(60).collect()),
    };
    Ok(Incoming { to, message })
}

fn connected(data: &Map<String, Value>) -> Connected {
    // 0.1 says `interval`; both are taken.
    let intervals = data.get("intervals").or_else(|| data.get("interval"));
    Connected {
        in_setup: lenient::boolean(data.get("in_setup")),
        short_id: lenient::text(data.get("short_id"), NAME_MAX),
        name: lenient::text(data.get("name"), NAME_MAX),
        reconnect_token: lenient::text(data.get("reconnect_token"), TOKEN_MAX).map(Secret::new),
        intervals: Intervals::read(&lenient::members(intervals)),
    }
}

/// Seconds of `Retry-After: 249s` in a refusal's reason; decimals and any case.
pub fn retry_after_s(reason: &str) -> Option<f64> {
    let lower = reason.to_ascii_lowercase();
    let rest = lower.split_once("retry-after:")?.1.trim_start();
    let digits: String = rest
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .collect();
    digits
        .parse::<f64>()
        .ok()
        .filter(|s| s.is_finite() && *s >= 0.0 && *s <= 86_400.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Message {
        read(text).expect("a message").message
    }

    #[test]
    fn the_transcripts_of_the_reference_are_understood() {
        let token = r#"{"type":"new_token","data":{"token":"8d0c","short_id":"7KQX"}}"#;
        let Message::NewToken {
            token,
            short_id,
            no_exist,
        } = message(token)
        else {
            panic!("a token");
        };
        assert_eq!(
            (token.reveal(), short_id.as_deref(), no_exist),
            ("8d0c", Some("7KQX"), false)
        );
        let text = r#"{"type":"connected","for":"u-1","data":{"in_setup":0,"name":"Voron","intervals":{"job":1000}}}"#;
        let incoming = read(text).expect("a message");
        assert_eq!(incoming.to.as_deref(), Some("u-1"));
        let Message::Connected(c) = incoming.message else {
            panic!("connected");
        };
        assert_eq!((c.in_setup, c.name.as_deref()), (Some(false), Some("Voron")));
        let text = r#"{"type":"add_connection","data":{"status":false,"pid":0,"unique_id":"u-2","reason":"Rate limited. Retry-After: 249s"}}"#;
        let incoming = read(text).expect("a message");
        assert_eq!(incoming.to.as_deref(), Some("u-2"));
        let Message::Added { ok, reason, .. } = incoming.message else {
            panic!("an answer");
        };
        assert!(!ok);
        assert_eq!(retry_after_s(&reason.expect("a reason")), Some(249.0));
        assert_eq!(message(r#"{"type":"pong"}"#), Message::Pong);
        assert_eq!(message(r#"{"type":"pong","data":null,"extra":1}"#), Message::Pong);
        assert_eq!(
            message(r#"{"type":"papercut","data":[]}"#),
            Message::Unknown("papercut".to_owned())
        );
    }

    #[test]
    fn junk_is_named() {
        assert_eq!(read("hello"), Err(Junk::NotAnObject));
        assert_eq!(read("[1]"), Err(Junk::NotAnObject));
        assert_eq!(read("{}"), Err(Junk::NoType));
        assert_eq!(
            read(r#"{"type":"new_token","data":{"token":7}}"#),
            Err(Junk::Incomplete("new_token"))
        );
        assert_eq!(
            read(r#"{"type":"complete_setup","data":{"printer_id":0}}"#),
            Err(Junk::Incomplete("complete_setup"))
        );
        assert_eq!(
            read(r#"{"type":"demand","data":[]}"#),
            Err(Junk::Incomplete("demand"))
        );
    }

    #[test]
    fn a_credential_is_not_shown() {
        let text = r#"{"type":"new_token","data":{"token":"very-secret","short_id":"7KQX"}}"#;
        assert!(!format!("{:?}", read(text)).contains("very-secret"));
    }

    #[test]
    fn waits_are_read_in_any_form() {
        for (text, want) in [
            ("RETRY-AFTER:4.5s", Some(4.5)),
            ("retry-after: 10", Some(10.0)),
            ("Retry-After: soon", None),
            ("Retry-After: 1e9s", Some(1.0)),
            ("no", None),
        ] {
            assert_eq!(retry_after_s(text), want, "{text}");
        }
    }
}
