//! The envelope of the Model Context Protocol: JSON-RPC 2.0 in one POST each, in both of its eras. Until
//! 2025-11-25 a client shakes hands (`initialize`) and names the version in a header; from 2026-07-28 on every
//! request carries its version and capabilities itself (`params._meta`) and `server/discover` takes the place
//! of the handshake. Pure.

use axum::http::{HeaderMap, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::json::json;

/// Versions with a handshake, oldest first.
pub const HANDSHAKE: [&str; 3] = ["2025-03-26", "2025-06-18", "2025-11-25"];

/// The version without one.
pub const MODERN: &str = "2026-07-28";

/// JSON-RPC's own codes.
pub const PARSE_ERROR: i64 = -32700;
/// Not a request.
pub const INVALID_REQUEST: i64 = -32600;
/// No such method.
pub const NO_METHOD: i64 = -32601;
/// Parameters that the method does not take.
pub const INVALID_PARAMS: i64 = -32602;
/// No key, or one that does not allow it (SimplyPrint's own server answers so).
pub const UNAUTHORIZED: i64 = -32001;
/// Too often, or not now.
pub const NOT_NOW: i64 = -32000;
/// The headers say something else than the body (2026-07-28).
const HEADER_MISMATCH: i64 = -32020;
/// A version that is not spoken here (2026-07-28).
const UNSUPPORTED_VERSION: i64 = -32022;

const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES_KEY: &str = "io.modelcontextprotocol/clientCapabilities";

/// Longest text of an id, characters.
const ID_MAX: usize = 255;

/// Most messages in one batch (which only 2025-03-26 knows).
const BATCH_MAX: usize = 16;

/// Which way of speaking a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// With a handshake.
    Handshake,
    /// Every request by itself.
    Modern,
}

/// A failure of the protocol, as opposed to one of a tool.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// JSON-RPC code.
    pub code: i64,
    /// One sentence.
    pub message: String,
    /// More, where it is defined.
    pub data: Option<Value>,
}

impl Failure {
    /// With a code and words.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Failure {
            code,
            message: message.into(),
            data: None,
        }
    }

    /// The HTTP status that goes with it.
    pub fn status(&self, era: Era) -> StatusCode {
        match self.code {
            PARSE_ERROR | INVALID_REQUEST | HEADER_MISMATCH | UNSUPPORTED_VERSION => StatusCode::BAD_REQUEST,
            UNAUTHORIZED => StatusCode::FORBIDDEN,
            NOT_NOW => StatusCode::TOO_MANY_REQUESTS,
            // With a handshake an answer to a request is 200, whatever it says.
            _ if era == Era::Handshake => StatusCode::OK,
            INVALID_PARAMS => StatusCode::BAD_REQUEST,
            NO_METHOD => StatusCode::NOT_FOUND,
            _ => StatusCode::OK,
        }
    }

    /// The answer.
    pub fn answer(&self, id: &Value) -> Value {
        let mut error = json!({"code": self.code, "message": self.message});
        if let (Value::Object(members), Some(data)) = (&mut error, &self.data) {
            members.insert("data".to_owned(), data.clone());
        }
        json!({"jsonrpc": "2.0", "id": id, "error": error})
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Its id, a text or a whole number.
    pub id: Value,
    /// What is asked.
    pub method: String,
    /// With what.
    pub params: Map<String, Value>,
}

/// One message of a client.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Wants an answer.
    Call(Call),
    /// Wants none: a notification, or the answer to a question that nobody asked.
    Note,
}

/// What came in one POST.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// One message.
    One(Message),
    /// Several.
    Batch(Vec<Result<Message, (Value, Failure)>>),
}

/// By the header which era a request belongs to.
///
/// # Errors
/// A version that is not spoken here.
pub fn era(headers: &HeaderMap) -> Result<Era, Failure> {
    let Some(header) = headers.get("mcp-protocol-version") else {
        return Ok(Era::Handshake);
    };
    let version = header.to_str().unwrap_or_default();
    if HANDSHAKE.contains(&version) {
        return Ok(Era::Handshake);
    }
    if version == MODERN {
        return Ok(Era::Modern);
    }
    Err(unsupported(version))
}

fn unsupported(version: &str) -> Failure {
    let requested: String = version.chars().take(40).collect();
    let supported: Vec<&str> = HANDSHAKE.into_iter().chain([MODERN]).collect();
    Failure {
        code: UNSUPPORTED_VERSION,
        message: "Unsupported protocol version".to_owned(),
        data: Some(json!({"supported": supported, "requested": requested})),
    }
}

/// The version that the handshake settles on: the client's where it is spoken here.
pub fn settled(requested: Option<&str>) -> &'static str {
    let known = HANDSHAKE.iter().copied();
    let newest = HANDSHAKE.last().copied().unwrap_or_default();
    known
        .into_iter()
        .find(|v| Some(*v) == requested)
        .unwrap_or(newest)
}

/// Reads a body.
///
/// # Errors
/// What is no message at all, with the id where one can be told.
pub fn read(bytes: &[u8], headers: &HeaderMap, era: Era) -> Result<Body, (Value, Failure)> {
    let value: Value = serde_json::from_slice(bytes).map_err(|e| {
        let words = format!("The body is not JSON: {e}.");
        (Value::Null, Failure::new(PARSE_ERROR, words))
    })?;
    let Value::Array(list) = value else {
        return message(value).map(Body::One);
    };
    let version = headers.get("mcp-protocol-version");
    let knows_batches = version.is_none_or(|v| v == "2025-03-26") && era == Era::Handshake;
    if !knows_batches || list.is_empty() || list.len() > BATCH_MAX {
        let words = format!("A batch takes 1 to {BATCH_MAX} messages, in version 2025-03-26 only.");
        return Err((Value::Null, Failure::new(INVALID_REQUEST, words)));
    }
    Ok(Body::Batch(list.into_iter().map(message).collect()))
}

fn message(value: Value) -> Result<Message, (Value, Failure)> {
    let Value::Object(mut members) = value else {
        let words = "A message must be an object.";
        return Err((Value::Null, Failure::new(INVALID_REQUEST, words)));
    };
    let id = members.remove("id");
    let known = id.clone().filter(is_id).unwrap_or(Value::Null);
    let wrong = |words: &str| Err((known.clone(), Failure::new(INVALID_REQUEST, words)));
    if members.get("jsonrpc") != Some(&json!("2.0")) {
        return wrong("`jsonrpc` must be \"2.0\".");
    }
    let method = match members.remove("method") {
        Some(Value::String(method)) => method,
        // The answer to a question: nobody here asks any.
        None if members.contains_key("result") || members.contains_key("error") => return Ok(Message::Note),
        _ => return wrong("`method` must be a text."),
    };
    let params = match members.remove("params") {
        None => Map::new(),
        Some(Value::Object(params)) => params,
        Some(_) => return wrong("`params` must be an object."),
    };
    match id {
        None => Ok(Message::Note),
        Some(id) if is_id(&id) => Ok(Message::Call(Call { id, method, params })),
        Some(_) => wrong("`id` must be a text or a whole number."),
    }
}

fn is_id(id: &Value) -> bool {
    match id {
        Value::String(text) => text.chars().count() <= ID_MAX,
        Value::Number(n) => n.is_i64() || n.is_u64(),
        _ => false,
    }
}

/// What a request of the modern era has to carry, and to say in its headers too.
///
/// # Errors
/// What is missing, or said in two ways.
pub fn check_modern(call: &Call, headers: &HeaderMap) -> Result<(), Failure> {
    let meta = call.params.get("_meta").and_then(Value::as_object);
    let has = |key: &str| meta.is_some_and(|m| m.contains_key(key));
    for key in [VERSION_KEY, CAPABILITIES_KEY] {
        if !has(key) {
            let words = format!("`params._meta` must hold `{key}`.");
            return Err(Failure::new(INVALID_PARAMS, words));
        }
    }
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let version = meta.and_then(|m| m.get(VERSION_KEY)).and_then(Value::as_str);
    let mismatch = |name: &str| {
        let words = format!("The header {name} says something else than the body.");
        Failure::new(HEADER_MISMATCH, words)
    };
    if header("mcp-protocol-version") != version {
        return Err(mismatch("MCP-Protocol-Version"));
    }
    if header("mcp-method") != Some(call.method.as_str()) {
        return Err(mismatch("Mcp-Method"));
    }
    if call.method == "tools/call"
        && let Some(name) = call.params.get("name").and_then(Value::as_str)
        && header("mcp-name").and_then(plain).as_deref() != Some(name)
    {
        return Err(mismatch("Mcp-Name"));
    }
    Ok(())
}

/// A header as it was meant: names that a header cannot carry come in base64 between marks.
fn plain(text: &str) -> Option<String> {
    let coded = text.strip_prefix("=?base64?").and_then(|t| t.strip_suffix("?="));
    match coded {
        None => Some(text.to_owned()),
        Some(coded) => String::from_utf8(STANDARD.decode(coded).ok()?).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(rows: &[(&'static str, &str)]) -> HeaderMap {
        let rows = rows.iter();
        rows.map(|(name, value)| {
            (
                axum::http::HeaderName::from_static(name),
                value.parse().expect("header"),
            )
        })
        .collect()
    }

    fn code(text: &str) -> i64 {
        match read(text.as_bytes(), &HeaderMap::new(), Era::Handshake) {
            Ok(other) => panic!("{text}: {other:?}"),
            Err((_, failure)) => failure.code,
        }
    }

    #[test]
    fn messages_are_told_from_what_is_none() {
        for (text, want) in [
            ("{", PARSE_ERROR),
            ("1", INVALID_REQUEST),
            ("[]", INVALID_REQUEST),
            ("{}", INVALID_REQUEST),
            (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, INVALID_REQUEST),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#,
                INVALID_REQUEST,
            ),
        ] {
            assert_eq!(code(text), want, "{text}");
        }
        let one = |text: &str| read(text.as_bytes(), &HeaderMap::new(), Era::Handshake);
        for note in [
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        ] {
            assert_eq!(one(note), Ok(Body::One(Message::Note)), "{note}");
        }
        let Ok(Body::One(Message::Call(call))) = one(r#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#) else {
            panic!("a call");
        };
        assert_eq!((call.id, call.method.as_str()), (json!("a"), "ping"));
        let id = one(r#"{"jsonrpc":"2.0","id":7,"method":"ping","params":1}"#)
            .expect_err("wrong")
            .0;
        assert_eq!(id, json!(7), "the asker can tell which of its questions it was");
    }

    #[test]
    fn batches_are_for_the_one_version_that_knows_them() {
        let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        let batch = |n: usize, version: &str| {
            let text = format!("[{}]", vec![ping; n].join(","));
            let headers = with(&[("mcp-protocol-version", version)]);
            read(text.as_bytes(), &headers, Era::Handshake).is_ok()
        };
        assert!(batch(1, "2025-03-26") && batch(BATCH_MAX, "2025-03-26"));
        assert!(!batch(BATCH_MAX + 1, "2025-03-26") && !batch(1, "2025-06-18"));
    }

    #[test]
    fn versions_are_settled_by_what_both_speak() {
        assert_eq!(settled(Some("2025-06-18")), "2025-06-18");
        assert_eq!(settled(Some("1999-01-01")), "2025-11-25");
        assert_eq!(settled(None), "2025-11-25");
        let by = |version: &str| era(&with(&[("mcp-protocol-version", version)]));
        assert_eq!(era(&HeaderMap::new()), Ok(Era::Handshake));
        assert_eq!(by("2025-03-26"), Ok(Era::Handshake));
        assert_eq!(by(MODERN), Ok(Era::Modern));
        let told = by("2030-01-01").expect_err("unknown");
        assert_eq!(
            (told.code, told.status(Era::Modern)),
            (UNSUPPORTED_VERSION, StatusCode::BAD_REQUEST)
        );
        assert_eq!(told.data.expect("data")["requested"], "2030-01-01");
    }

    #[test]
    fn a_modern_request_says_the_same_in_its_head() {
        let meta = json!({VERSION_KEY: MODERN, CAPABILITIES_KEY: {}});
        let call = Call {
            id: json!(1),
            method: "tools/call".to_owned(),
            params: json!({"_meta": meta, "name": "get_printer"})
                .as_object()
                .expect("an object")
                .clone(),
        };
        let head = |method: &str, name: &str| {
            let rows = [
                ("mcp-protocol-version", MODERN),
                ("mcp-method", method),
                ("mcp-name", name),
            ];
            check_modern(&call, &with(&rows)).map_err(|f| f.code)
        };
        assert_eq!(head("tools/call", "get_printer"), Ok(()));
        assert_eq!(head("tools/call", "=?base64?Z2V0X3ByaW50ZXI=?="), Ok(()));
        assert_eq!(head("tools/call", "send_gcode"), Err(HEADER_MISMATCH));
        assert_eq!(head("tools/list", "get_printer"), Err(HEADER_MISMATCH));
        let bare = Call {
            params: Map::new(),
            ..call.clone()
        };
        assert_eq!(
            check_modern(&bare, &HeaderMap::new()).map_err(|f| f.code),
            Err(INVALID_PARAMS)
        );
    }

    proptest::proptest! {
        /// Whatever comes, there is an answer with the id of the question or none.
        #[test]
        fn anything_is_read_or_refused(
            text in r#"(\{"jsonrpc":"2.0",("id":(1|"a"|null|\[\]),)?("method":("ping"|1),)?"params":(\{\}|7)\}|.{0,40})"#,
            batch in proptest::bool::ANY,
        ) {
            let text = if batch { format!("[{text},{text}]") } else { text };
            let read = read(text.as_bytes(), &HeaderMap::new(), Era::Handshake);
            let all = match read {
                Ok(Body::One(one)) => vec![Ok(one)],
                Ok(Body::Batch(all)) => all,
                Err(wrong) => vec![Err(wrong)],
            };
            for one in all {
                match one {
                    Ok(Message::Call(call)) => proptest::prop_assert!(is_id(&call.id)),
                    Ok(Message::Note) => {}
                    Err((id, failure)) => {
                        proptest::prop_assert!(id.is_null() || is_id(&id));
                        proptest::prop_assert!(!failure.message.is_empty());
                    }
                }
            }
        }
    }
}
