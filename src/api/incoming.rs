//! What handlers take from a request: parameters and JSON bodies, with every failure in our envelope.

use std::collections::HashMap;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use serde_json::Value;

use super::access;
use super::door::Entrance;
use super::envelope::{self, Problem};

/// How long a client may take to send a JSON body.
const BODY_LIMIT: Duration = Duration::from_secs(30);

/// Longest text that is compared with known words, characters.
const WORD_MAX: usize = 100;

/// Deepest page that is counted to; beyond it every list is empty anyway.
const PAGE_MAX: u32 = 1_000_000;

/// The parameters of the query; of a repeated one the last counts.
#[derive(Debug, Default)]
pub struct Params(HashMap<String, String>);

impl Params {
    /// A parameter as it stands.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Whether a parameter is there, with any value (documented so for `no_job` and its like).
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A switch: there, and not `0` or `false`.
    pub fn is_on(&self, name: &str) -> bool {
        self.text(name)
            .is_some_and(|v| !matches!(v, "0" | "false" | "no" | "off"))
    }

    /// A number within limits.
    ///
    /// # Errors
    /// Another text, or a number outside of them.
    pub fn number(&self, name: &str, least: u32, most: u32) -> Result<Option<u32>, Problem> {
        self.text(name)
            .map(|text| within(name, text.trim().parse().ok(), least, most))
            .transpose()
    }

    /// One of these words.
    ///
    /// # Errors
    /// Another text.
    pub fn word(&self, name: &str, words: &[&str]) -> Result<Option<&str>, Problem> {
        self.text(name).map(|text| among(name, text, words)).transpose()
    }

    /// A text of bounded length.
    ///
    /// # Errors
    /// A longer text.
    pub fn short(&self, name: &str, most: usize) -> Result<Option<&str>, Problem> {
        match self.text(name) {
            Some(text) if text.chars().count() > most => Err(too_long(name, most)),
            text => Ok(text),
        }
    }

    /// The page of a list, from 1.
    ///
    /// # Errors
    /// As [`Params::number`].
    pub fn page(&self) -> Result<Option<u32>, Problem> {
        self.number("page", 1, PAGE_MAX)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::<HashMap<String, String>>::from_request_parts(parts, state).await {
            Ok(Query(params)) => Ok(Params(params)),
            Err(_) => Err(Problem::bad("The parameters of the address cannot be read.")),
        }
    }
}

/// A JSON body; an empty one is `null`.
#[derive(Debug)]
pub struct Json(pub Value);

impl Json {
    /// A number within limits, as a number or a text of digits.
    ///
    /// # Errors
    /// Another value, or a number outside of them.
    pub fn number(&self, name: &str, least: u32, most: u32) -> Result<Option<u32>, Problem> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let number = value
                    .as_u64()
                    .or_else(|| value.as_str().and_then(|t| t.trim().parse().ok()));
                within(name, number, least, most).map(Some)
            }
        }
    }

    /// The page of a list, from 1.
    ///
    /// # Errors
    /// As [`Json::number`].
    pub fn page(&self) -> Result<Option<u32>, Problem> {
        self.number("page", 1, PAGE_MAX)
    }

    /// A text of bounded length.
    ///
    /// # Errors
    /// Another value, or a longer text.
    pub fn text(&self, name: &str, most: usize) -> Result<Option<&str>, Problem> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.chars().count() <= most => Ok(Some(text)),
            Some(_) => Err(too_long(name, most)),
        }
    }

    /// One of these words.
    ///
    /// # Errors
    /// Another value.
    pub fn word(&self, name: &str, words: &[&str]) -> Result<Option<&str>, Problem> {
        let text = self.text(name, WORD_MAX)?;
        text.map(|text| among(name, text, words)).transpose()
    }

    /// A switch: true, false, 1 or 0.
    ///
    /// # Errors
    /// Another value.
    pub fn switch(&self, name: &str) -> Result<Option<bool>, Problem> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(on)) => Ok(Some(*on)),
            Some(Value::Number(n)) if n.as_u64().is_some_and(|n| n < 2) => Ok(Some(n.as_u64() == Some(1))),
            Some(_) => Err(Problem::bad(format!("`{name}` must be true or false."))),
        }
    }
}

fn too_long(name: &str, most: usize) -> Problem {
    Problem::bad(format!("`{name}` must be a text of at most {most} characters."))
}

fn among<'t>(name: &str, text: &'t str, words: &[&str]) -> Result<&'t str, Problem> {
    if words.contains(&text) {
        return Ok(text);
    }
    let known = words.join(", ");
    Err(Problem::bad(format!("`{name}` takes one of: {known}.")))
}

fn within(name: &str, number: Option<u64>, least: u32, most: u32) -> Result<u32, Problem> {
    number
        .and_then(|n| u32::try_from(n).ok())
        .filter(|n| (least..=most).contains(n))
        .ok_or_else(|| Problem::bad(format!("`{name}` must be a number from {least} to {most}.")))
}

impl<S: Send + Sync> FromRequest<S> for Json {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (is_json, may_be) = (says_json(request.headers()), may_be_json(&request));
        let bytes = tokio::time::timeout(BODY_LIMIT, Bytes::from_request(request, state))
            .await
            .map_err(|_| Problem::with(StatusCode::REQUEST_TIMEOUT, "The body came too slowly."))?
            .map_err(unread)?;
        let value = envelope::json_body(&bytes);
        let good = is_json || may_be && value.is_ok() || bytes.iter().all(u8::is_ascii_whitespace);
        if !good {
            return Err(Problem::with(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The body must be JSON, sent with Content-Type: application/json.",
            ));
        }
        match value? {
            value @ (Value::Null | Value::Object(_)) => Ok(Json(value)),
            _ => Err(Problem::bad("The body must be a JSON object.")),
        }
    }
}

/// A body without a type is taken for what it looks like; one with another type is refused.
fn says_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else {
        return true;
    };
    let kind = kind.to_str().unwrap_or_default().to_ascii_lowercase();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind == "application/json" || kind.ends_with("+json")
}

/// `curl -d '{…}'` calls its body a form, and the documented commands do not say otherwise. A page of another
/// site could send the same without asking the browser, but neither with a key nor to the socket.
fn may_be_json(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let form = kind.is_some_and(|k| k.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
    let from_socket = request.extensions().get::<Entrance>() == Some(&Entrance::Socket);
    form && (from_socket || access::presented(request.headers()).is_some())
}

fn unread(rejection: BytesRejection) -> Problem {
    match rejection.into_response().status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::with(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "The body is larger than {} KiB.",
                super::routes::BODY_MAX_BYTES >> 10
            ),
        ),
        _ => Problem::bad("The body broke off."),
    }
}

/// Whether the client takes JSON at all (documented: 406 if not).
pub fn takes_json(headers: &HeaderMap) -> bool {
    let mut asked = false;
    for value in headers.get_all(header::ACCEPT) {
        for kind in value.to_str().unwrap_or_default().split(',') {
            let kind = kind
                .split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .to_ascii_lowercase();
            if matches!(kind.as_str(), "*/*" | "application/*" | "application/json") {
                return true;
            }
            asked |= !kind.is_empty();
        }
    }
    !asked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_and_content_type_are_read_as_browsers_and_tools_write_them() {
        let with = |name: header::HeaderName, value: &str| {
            HeaderMap::from_iter([(name, value.parse().expect("header"))])
        };
        assert!(takes_json(&HeaderMap::new()));
        assert!(takes_json(&with(
            header::ACCEPT,
            "text/html, application/json;q=0.9"
        )));
        assert!(takes_json(&with(header::ACCEPT, "*/*")));
        assert!(!takes_json(&with(header::ACCEPT, "text/html")));
        assert!(says_json(&HeaderMap::new()));
        assert!(says_json(&with(
            header::CONTENT_TYPE,
            "application/json; charset=utf-8"
        )));
        assert!(!says_json(&with(
            header::CONTENT_TYPE,
            "application/x-www-form-urlencoded"
        )));
    }

    #[test]
    fn numbers_are_held_to_both_limits() {
        let body = Json(serde_json::json!({"a": 0, "b": 1, "c": "100", "d": 101, "e": -1, "f": 1.5}));
        let fine = |name| body.number(name, 1, 100).is_ok();
        assert_eq!(
            ["a", "b", "c", "d", "e", "f", "none"].map(fine),
            [false, true, true, false, false, false, true]
        );
    }
}
