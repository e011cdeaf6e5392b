//! `/v1`: the shapes of two other fleet services, one of which the configuration picks (`[api] v1`). Both are
//! thin: what they ask is carried out by the same code as the native shape, under the same rules and scopes,
//! and what came of it is told in their words.
//!
//! | file | what |
//! |---|---|
//! | `shape` | their errors, ids, headers (pure) |
//! | `once` | `Idempotency-Key`: a repeat gets the first answer |
//! | `fetch` | a file from an address |
//! | `farm` | AutoPrintFarm: printers, jobs, actions, webhooks |
//! | `solo`, `queue`, `upload` | SoLoPrint: the host, files and deliveries; its queue; direct uploads |
//! | `hooks` | webhooks of both |
//! | `openapi` | their routes for machines (pure) |

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Uri};
use axum::middleware::{self, Next};
use axum::response::Response;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::Api;
use super::access;
use super::envelope::Problem;
use super::routes::json_only;
use crate::agent::clock;
use crate::config::model::{Api as Settings, V1};
use crate::json::json;
use crate::printer::outcome::Outcome;
use crate::sorted::SortedSet;

mod farm;
mod fetch;
mod hooks;
mod once;
pub(super) mod openapi;
mod queue;
pub mod shape;
mod solo;
mod upload;

/// What the routes below `/v1` hold.
pub(super) struct Kept {
    /// Whose shape it is.
    kind: V1,
    /// Name of this host.
    host: String,
    /// Whether clients come by https.
    encrypted: bool,
    /// Requests with an `Idempotency-Key` that are being answered. Bounded by the connections.
    under_way: Arc<once::UnderWay>,
    /// Announced uploads.
    places: upload::Places,
    /// Items of the queue that are being started. Bounded by the queue.
    assigning: Mutex<SortedSet<i64>>,
    /// Files that are fetched at once; one more is told to come back.
    fetching: Arc<Semaphore>,
}

impl Kept {
    /// By the configuration.
    pub fn new(settings: &Settings, host: &str) -> Self {
        Kept {
            kind: settings.v1,
            host: host.to_owned(),
            encrypted: settings.tls_cert.is_some(),
            under_way: Arc::default(),
            places: upload::Places::default(),
            assigning: Mutex::default(),
            fetching: Arc::new(Semaphore::new(fetch::LANES)),
        }
    }

    /// Whose shape it is.
    pub fn kind(&self) -> V1 {
        self.kind
    }
}

/// The routes of the configured shape, that need a key.
pub(super) fn router(api: &Api) -> Router<Api> {
    let routes = match api.v1.kind {
        V1::Off => return Router::new(),
        V1::AutoPrintFarm => farm::routes(api),
        V1::SoloPrint => solo::routes(api),
    };
    let routes = routes.fallback(elsewhere).layer(middleware::from_fn(json_only));
    Router::new().nest("/v1", routes)
}

/// The routes that need none.
pub(super) fn open(api: &Api) -> Router<Api> {
    match api.v1.kind {
        V1::SoloPrint => solo::open(),
        V1::AutoPrintFarm | V1::Off => Router::new(),
    }
}

/// What only a cloud has, in words; and what nobody has.
async fn elsewhere(State(api): State<Api>, uri: Uri) -> Problem {
    match shape::kept_elsewhere(api.v1.kind, uri.path()) {
        Some(words) => Problem::not_found(words).coded("refused/not-on-this-host"),
        None => Problem::not_found("There is no such path."),
    }
}

/// Answers below `/v1` in the configured shape, those of the door too, with the headers that every one of
/// them has.
pub(super) async fn in_shape(State(api): State<Api>, request: Request, next: Next) -> Response {
    let kind = api.v1.kind;
    let path = request.uri().path();
    if kind == V1::Off || !(path == "/v1" || path.starts_with("/v1/")) {
        return next.run(request).await;
    }
    let brought_key = access::presented(request.headers()).is_some();
    let mut response = shape::told(kind, brought_key, next.run(request).await);
    let headers = response.headers_mut();
    match kind {
        V1::SoloPrint => {
            for (name, value) in shape::SOLO_HEADERS {
                headers.insert(name, HeaderValue::from_static(value));
            }
        }
        V1::AutoPrintFarm | V1::Off => {
            // Who was not let in has used nothing of what there is.
            if let Some(limit) = api
                .door
                .limit()
                .filter(|_| !headers.contains_key("x-ratelimit-limit"))
            {
                headers.insert("x-ratelimit-limit", HeaderValue::from(limit));
                headers.insert("x-ratelimit-remaining", HeaderValue::from(limit));
                let reset = clock::now().wall.as_second();
                headers.insert("x-ratelimit-reset", HeaderValue::from(reset));
            }
        }
    }
    response
}

/// A command that did not do what was asked is no success.
fn ended(outcome: Option<&Outcome>) -> Result<(), Problem> {
    let Some(outcome) = outcome.filter(|o| !o.is_ok()) else {
        return Ok(());
    };
    Err(match outcome {
        Outcome::Refused(refusal) => Problem::said(&refusal.message).coded(refusal.code),
        Outcome::Unverified { .. } => {
            Problem::with(axum::http::StatusCode::INTERNAL_SERVER_ERROR, outcome.message())
                .coded(shape::UNVERIFIED)
        }
        other => Problem::said(other.message()).coded("printer/rejected-by-printer"),
    })
}

/// The last word on how a command went: `{outcome, code, message}`.
fn native(outcome: Option<&Outcome>) -> Value {
    outcome.map_or_else(super::envelope::accepted, super::envelope::native)
}

/// A body with what [`super::actions::on_one`] reads from it.
fn start_body(file_id: &str, start_id: Option<String>, skip: Value) -> Value {
    json!({"file_id": file_id, "skipped_objects": skip, "layerd": {"start_id": start_id}})
}
