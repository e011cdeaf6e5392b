//! Answers: the envelope of the cloud's API, with the outcome as the member `layerd`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::printer::outcome::Outcome;

/// What went wrong with a request itself.
#[derive(Clone, Debug)]
pub struct Problem {
    /// HTTP status; business failures are 200 with `status: false`, as in the cloud.
    pub status: StatusCode,
    /// One sentence.
    pub message: String,
}

impl Problem {
    /// A business failure.
    pub fn said(message: impl Into<String>) -> Self {
        Problem {
            status: StatusCode::OK,
            message: message.into(),
        }
    }

    /// A failure with a status of its own.
    pub fn with(status: StatusCode, message: impl Into<String>) -> Self {
        Problem {
            status,
            message: message.into(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (
            self.status,
            Json(json!({"status": false, "message": self.message})),
        )
            .into_response()
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
