//! JSON-RPC frames of Moonraker. Pure.
//!
//! Source: Moonraker's documentation of its JSON-RPC API; answers and errors as seen with 0.11.0.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::json::{self, json};

/// Longest frame that is taken: the configuration of a large printer runs to hundreds of kB.
pub const FRAME_MAX: usize = 4 * 1024 * 1024;

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RpcError {
    /// Moonraker's number; -32601 is also "not found", -32602 also "not authorised".
    #[serde(default)]
    pub code: i64,
    /// Klipper's or Moonraker's words, possibly several lines.
    #[serde(default)]
    pub message: String,
}

impl RpcError {
    /// Whether this says that the key is missing or wrong: the number alone does not tell.
    pub fn is_unauthorized(&self) -> bool {
        self.code == 401
            || self.message.starts_with("Unauthorized")
            || self.message.starts_with("Invalid API Key")
            || self.message.starts_with("Invalid Token")
    }
}

/// What came in.
#[derive(Debug)]
pub enum Incoming<'a> {
    /// The answer to a call of ours.
    Answer {
        /// Its number.
        id: u64,
        /// What it says.
        result: Result<&'a RawValue, RpcError>,
    },
    /// Something that Moonraker tells by itself.
    Notice {
        /// Its name.
        method: Cow<'a, str>,
        /// What it tells.
        params: Option<&'a RawValue>,
    },
    /// Neither: an answer without a number, a request to us.
    Other,
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(default)]
    id: Option<Value>,
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<RpcError>,
}

/// Takes a frame apart; `None`: not JSON-RPC.
pub fn parse(text: &str) -> Option<Incoming<'_>> {
    if text.len() > FRAME_MAX {
        return None;
    }
    let frame: Frame<'_> = json::read(text).ok()?;
    if let Some(method) = frame.method {
        return Some(match frame.id {
            None => Incoming::Notice {
                method,
                params: frame.params,
            },
            Some(_) => Incoming::Other,
        });
    }
    let Some(id) = frame.id.as_ref().and_then(Value::as_u64) else {
        return Some(Incoming::Other);
    };
    let result = match (frame.result, frame.error) {
        (_, Some(error)) => Err(error),
        (Some(result), None) => Ok(result),
        (None, None) => return Some(Incoming::Other),
    };
    Some(Incoming::Answer { id, result })
}

/// A call.
pub fn call(id: u64, method: &str, params: Value) -> String {
    if params.is_null() {
        json!({"jsonrpc": "2.0", "method": method, "id": id}).to_string()
    } else {
        json!({"jsonrpc": "2.0", "method": method, "params": params, "id": id}).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_apart_and_nonsense_is_none() {
        let answer = parse(r#"{"jsonrpc":"2.0","result":"ok","id":7}"#);
        assert!(matches!(answer, Some(Incoming::Answer { id: 7, result: Ok(raw) }) if raw.get() == "\"ok\""));
        let error = parse(r#"{"error":{"code":-32602,"message":"Unauthorized"},"id":1}"#);
        let Some(Incoming::Answer {
            result: Err(error), ..
        }) = error
        else {
            panic!("an error answer")
        };
        assert!(error.is_unauthorized());
        let told = parse(r#"{"method":"notify_klippy_ready"}"#);
        assert!(matches!(told, Some(Incoming::Notice { params: None, .. })));
        for bad in ["", "nope", "7", "{\"id\":", "\u{0}"] {
            assert!(parse(bad).is_none(), "{bad:?}");
        }
        assert!(matches!(
            parse(r#"{"id":null,"error":{"code":-32700}}"#),
            Some(Incoming::Other)
        ));
    }
}
