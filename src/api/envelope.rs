//! Answers: the envelope of the cloud's API, with the outcome as the member `layerd`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::json::json;
use crate::printer::outcome::Outcome;

/// What is wrong with a request itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// HTTP status; business failures are 200 with `status: false`, as in the cloud.
    pub status: StatusCode,
    /// Stable code, where it is not just the status.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
}

impl Problem {
    /// A business failure.
    pub fn said(message: impl Into<String>) -> Self {
        Problem::with(StatusCode::OK, message)
    }

    /// A request that cannot be understood.
    pub fn bad(message: impl Into<String>) -> Self {
        Problem::with(StatusCode::BAD_REQUEST, message)
    }

    /// Nothing of that name.
    pub fn not_found(message: impl Into<String>) -> Self {
        Problem::with(StatusCode::NOT_FOUND, message)
    }

    /// A failure with a status of its own.
    pub fn with(status: StatusCode, message: impl Into<String>) -> Self {
        let code = match status {
            StatusCode::OK => "refused/not-available",
            StatusCode::NOT_FOUND => "refused/not-found",
            StatusCode::TOO_MANY_REQUESTS => "refused/busy",
            s if s.is_server_error() => "layerd/failed",
            _ => "refused/bad-request",
        };
        Problem {
            status,
            code,
            message: message.into(),
        }
    }

    /// The same with a code of its own.
    pub fn coded(mut self, code: &'static str) -> Self {
        self.code = code;
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({"status": false, "message": self.message});
        // A request that was understood and refused tells why in our words too; one that was not is
        // answered as documented, with nothing else.
        if self.status == StatusCode::OK
            && let Value::Object(members) = &mut body
        {
            let layerd = json!({"outcome": "refused", "code": self.code, "message": self.message});
            members.insert("layerd".to_owned(), layerd);
        }
        let mut response = (self.status, Json(body)).into_response();
        // For those who say it in another shape.
        response.extensions_mut().insert(self);
        response
    }
}

/// `{outcome, code, message}`: what the command line prints with `--json`.
pub fn native(outcome: &Outcome) -> Value {
    json!({"outcome": outcome.word(), "code": outcome.code(), "message": outcome.message()})
}

/// The same for a command that was accepted and whose end nobody waits for.
pub fn accepted() -> Value {
    json!({"outcome": "accepted", "code": "ok", "message": ""})
}

/// The JSON of a body; an empty one is `null`.
///
/// # Errors
/// A body that is no JSON.
pub fn json_body(body: &[u8]) -> Result<Value, Problem> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Null);
    }
    serde_json::from_slice(body).map_err(|e| Problem::bad(format!("The body is not JSON: {e}.")))
}
