//! Uploads straight from a slicer: the requests that PrusaSlicer, OrcaSlicer and Cura send to an OctoPrint
//! or a Moonraker, for each printer under a prefix of its own: `/p/NAME`. Slicers append `api/…` or
//! `server/…` to whatever address they are given, so one address serves both dialects.
//!
//! An upload is kept like any other. It is started only when the form asks for it, over the same path as a
//! start by the API: same guard, same pre-flight, durable before the printer hears of it. Answers are
//! written for the dialog box in which they end: one sentence that says what to do, as plain text. Cura
//! shows its first hundred characters, and only when the type is exactly `text/plain`.
//!
//! | file | what |
//! |---|---|
//! | `octoprint`, `moonraker` | the routes of the two dialects |
//! | `shape` | what they answer about a printer (pure) |
//! | `form` | an upload: read, kept, started |

use std::collections::HashMap;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::Api;
use super::access::Scope;
use super::door::Touched;
use super::envelope::Problem;
use super::method::{get, post};
use super::routes::{BODY_MAX_BYTES, needing};
use crate::agent::handle::PrinterHandle;

mod form;
mod moonraker;
mod octoprint;
mod shape;

/// Largest answer that is looked into for its sentence.
const ANSWER_MAX_BYTES: usize = 64 << 10;

/// Names of printers shown to somebody who mistook one, at most.
const NAMES_MAX: usize = 12;

/// The routes of both dialects. A key that brings files is enough for them; what moves a printer needs more,
/// here and in [`form::start`].
pub(super) fn router(api: &Api) -> Router<Api> {
    let uploads = Router::new()
        .route("/api/files/local", post(octoprint::upload))
        .route("/server/files/upload", post(moonraker::upload))
        // The files themselves have the limits of the place where they are kept.
        .layer(DefaultBodyLimit::disable());
    let routes = Router::new()
        .route("/api/version", get(octoprint::version))
        .route("/api/server", get(octoprint::server))
        .route("/api/login", get(octoprint::login).merge(post(octoprint::login)))
        .route("/api/settings", get(octoprint::settings))
        .route("/api/printer", get(octoprint::printer))
        .route("/api/job", get(octoprint::job))
        .route("/api/printerprofiles", get(octoprint::profiles))
        .route("/api/files/local/{name}", post(octoprint::select))
        .route("/server/info", get(moonraker::info))
        .route("/server/files/roots", get(moonraker::roots))
        .route("/printer/print/start", post(moonraker::start))
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .merge(uploads);
    let commands = Router::new().route("/api/printer/command", post(octoprint::command));
    let routes = needing(Scope::Files, routes).merge(needing(Scope::Control, commands));
    let routes = routes.layer(middleware::from_fn_with_state(api.clone(), noted));
    Router::new().nest("/p/{printer}", routes)
}

/// Notes for the log which printer was meant.
async fn noted(
    State(api): State<Api>,
    Path(parts): Path<HashMap<String, String>>,
    request: Request,
    next: Next,
) -> Response {
    let name = parts.get("printer").map(String::as_str).unwrap_or_default();
    let printer = find(&api, name).ok().map(|p| p.id());
    let mut response = next.run(request).await;
    if let Some(id) = printer {
        response.extensions_mut().insert(Touched(vec![id]));
    }
    response
}

/// The address itself, opened in a browser (OrcaSlicer's device tab does that): the page tells the rest.
pub(super) fn to_page() -> Router<Api> {
    Router::new()
        .route("/p/{printer}", get(lead))
        .route("/p/{printer}/", get(lead))
}

async fn lead(Path(name): Path<String>) -> Result<Response, Problem> {
    let place = format!("/#/{}", percent(&name));
    let place = HeaderValue::from_str(&place).map_err(|_| Problem::not_found("There is no such page."))?;
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, place)]).into_response())
}

/// Everything but letters, digits, `-`, `_` and `.` in a path is written in hex.
fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
        out
    })
}

/// The printer of a path. People type these addresses: names are taken in any case, and a number will do.
fn find(api: &Api, name: &str) -> Result<PrinterHandle, Problem> {
    let printers = api.agent.printers();
    let exact = printers.iter().find(|p| p.name() == name);
    let near = || printers.iter().find(|p| p.name().eq_ignore_ascii_case(name));
    let number = || {
        let id: i64 = name.parse().ok()?;
        printers.iter().find(|p| p.id() == id)
    };
    if let Some(printer) = exact.or_else(near).or_else(number) {
        return Ok(printer.clone());
    }
    let name: String = name.chars().take(40).collect();
    let names: Vec<&str> = printers.iter().take(NAMES_MAX).map(PrinterHandle::name).collect();
    Err(Problem::not_found(format!(
        "There is no printer {name:?} here. The address ends in /p/ and one of: {}.",
        names.join(", ")
    )))
}

/// A refusal that would be `status: false` elsewhere. Not 409: Cura says something of its own then.
fn told(mut problem: Problem) -> Problem {
    if problem.status == StatusCode::OK {
        problem.status = StatusCode::UNPROCESSABLE_ENTITY;
    }
    problem
}

/// Failures as their one sentence, those of the door too: slicers show the body of an answer as it is.
pub(super) async fn in_words(request: Request, next: Next) -> Response {
    let is_ours = request.uri().path().starts_with("/p/");
    let response = next.run(request).await;
    let status = response.status();
    if !is_ours || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, ANSWER_MAX_BYTES)
        .await
        .unwrap_or_default();
    let sentence = match serde_json::from_slice::<Value>(&body) {
        Ok(Value::Object(members)) => members.get("message").and_then(Value::as_str).map(str::to_owned),
        _ => None,
    };
    let words = sentence.unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned());
    let words = if words.trim().is_empty() {
        "The request was not understood.".to_owned()
    } else {
        words
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    parts
        .headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Response::from_parts(parts, words.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_addresses_survive() {
        assert_eq!(percent("ender-3_a.b"), "ender-3_a.b");
        assert_eq!(percent("a b/ü"), "a%20b%2F%C3%BC");
    }
}
