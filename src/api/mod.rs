//! The local API: the SimplyPrint REST shape, with what that shape cannot carry in one extra member
//! `layerd` of the same objects.
//!
//! It is served on a unix socket whose permissions (0660, group `layerd`) are its authorization: whoever
//! may open it may do everything. Paths are `/{id}/…` and `/api/{id}/…`; the id is the configured one,
//! and 0 always works.
//!
//! A request that brings a member `layerd` of its own speaks our dialect: there `printer::guard` alone
//! decides what is legal. Everything else is held to the narrower table of the cloud
//! ([`dialect_rules`]), so that a client behaves here as it would there.
//!
//! | file | subject |
//! |---|---|
//! | `mod` | routes, what holds for all of them |
//! | [`server`], [`socket`] | connections and their limits; the socket itself |
//! | [`envelope`], `incoming` | the form of answers and of requests |
//! | [`view`], [`job_view`] | what a printer and a job look like (pure) |
//! | [`demand`], [`gcode_body`], [`pid`], [`dialect_rules`] | what a request asks, and whether the cloud would allow it (pure) |
//! | `printers`, `actions`, `notifications`, `files`, `uploads`, `jobs`, `counters`, `backup` | the endpoints |
//! | [`objects`] | objects of the running print, by number or name |
//! | `plate`, `curve`, `picture` | for people: the plate from above, temperatures over time, the camera |
//! | `slicer` | uploads straight from slicers, `/p/NAME/…` |

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use crate::agent::handle::{AgentHandle, PrinterHandle};
use envelope::Problem;

mod actions;
mod backup;
mod counters;
mod curve;
pub mod demand;
pub mod dialect_rules;
mod drain;
pub mod envelope;
mod files;
pub mod gcode_body;
mod incoming;
pub mod job_view;
mod jobs;
mod notifications;
pub mod objects;
mod picture;
pub mod pid;
mod plate;
mod printers;
mod recover;
pub mod server;
mod slicer;
pub mod socket;
mod uploads;
pub mod view;

pub use socket::{SOCKET_NAME, bind_unix, unbind_unix, which_file};

/// Largest JSON body.
const BODY_MAX_BYTES: usize = 1 << 20;

/// Largest upload request: one part, and the frame of the form around it.
const UPLOAD_MAX_BYTES: usize = uploads::PART_MAX_BYTES as usize + (64 << 10);

/// How long a request may take that waits for no printer.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);

/// How long the database may take to answer a health check.
const HEALTH_LIMIT: Duration = Duration::from_secs(2);

/// What every route holds.
#[derive(Clone)]
pub(crate) struct Api {
    agent: AgentHandle,
    account: i64,
    uploads: Arc<uploads::Uploads>,
}

/// Serves the API until `shutdown`; open requests get a moment to end.
pub async fn serve(listener: UnixListener, agent: AgentHandle, account: i64, shutdown: CancellationToken) {
    server::serve(listener, router(agent, account), shutdown).await;
}

/// All routes. `account`: the id that the paths may name beside 0.
pub fn router(agent: AgentHandle, account: i64) -> Router {
    let api = Api {
        agent,
        account,
        uploads: Arc::default(),
    };
    let quick = Router::new()
        .route("/account/Test", get(test_key))
        .route("/printers/Get", get(printers::by_get).post(printers::by_post))
        .route("/printers/GetLogs", get(printers::logs))
        .route("/printers/GetTemperatures", get(curve::temperatures))
        .route("/printers/GetPicture", get(picture::picture))
        .route("/printers/GetPlate", get(plate::of_print))
        .route("/printers/GetCounters", get(counters::get))
        .route("/printers/MarkService", post(counters::mark_service))
        .route("/printers/notification/Get", get(notifications::list))
        .route("/jobs/GetPaginatedPrintJobs", post(jobs::list))
        .route("/jobs/GetDetails", get(jobs::details))
        .route("/files/ListExisting", get(files::list))
        .layer(middleware::from_fn(in_time));
    // These have the limits of the commands they wait for, or of the bytes that arrive.
    let patient = Router::new()
        .route("/printers/actions/{action}", post(actions::act))
        .route("/printers/notification/Resolve", post(notifications::resolve))
        .route(
            "/printers/notification/ResolveAll",
            post(notifications::resolve_all),
        )
        .route("/agent/Drain", post(drain::drain))
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .route("/agent/Backup", get(backup::backup))
        .route("/files/GetAnalysis", get(plate::of_file))
        .route(
            "/files/Upload",
            post(files::upload).layer(DefaultBodyLimit::max(UPLOAD_MAX_BYTES)),
        );
    let routes = quick
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .merge(patient)
        .layer(middleware::from_fn_with_state(api.clone(), known_account));
    Router::new()
        .route("/healthz", get(healthz))
        .nest("/{account}", routes.clone())
        .nest("/api/{account}", routes)
        .fallback(async || Problem::not_found("There is no such path."))
        .method_not_allowed_fallback(async || {
            Problem::with(
                StatusCode::METHOD_NOT_ALLOWED,
                "This path does not take that method.",
            )
        })
        .layer(middleware::from_fn(json_only))
        .merge(slicer::router())
        .with_state(api)
}

/// The id in the path must be ours or 0.
async fn known_account(
    State(api): State<Api>,
    Path(parts): Path<HashMap<String, String>>,
    request: Request,
    next: Next,
) -> Response {
    let id = parts.get("account").and_then(|a| a.parse::<i64>().ok());
    match id {
        Some(id) if id == 0 || id == api.account => next.run(request).await,
        Some(_) => {
            Problem::with(StatusCode::FORBIDDEN, "You don't have access to this account").into_response()
        }
        None => Problem::not_found("There is no such path.").into_response(),
    }
}

/// Documented: 406 for a client that takes no JSON.
async fn json_only(request: Request, next: Next) -> Response {
    if incoming::takes_json(request.headers()) {
        return next.run(request).await;
    }
    Problem::with(
        StatusCode::NOT_ACCEPTABLE,
        "Answers are JSON; the request does not accept that.",
    )
    .into_response()
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_LIMIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            Problem::with(StatusCode::SERVICE_UNAVAILABLE, "This took too long; try again.").into_response()
        }
    }
}

async fn test_key() -> impl IntoResponse {
    axum::Json(json!({"status": true, "message": "Your API key is valid!"}))
}

/// 200 when the agent's loop turns and the database answers.
async fn healthz(State(api): State<Api>) -> Response {
    let asked = tokio::time::timeout(HEALTH_LIMIT, api.agent.store().setting("healthz")).await;
    let database = matches!(asked, Ok(Ok(_)));
    let turns = api.agent.is_turning();
    let status = if database && turns {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = json!({
        "status": database && turns,
        "message": match (turns, database) {
            (false, _) => Some("The main loop does not turn."),
            (true, false) => Some("The database does not answer."),
            (true, true) => None,
        },
        "version": env!("CARGO_PKG_VERSION"),
        "up_s": api.agent.up_s(),
        "printers": api.agent.printers().len(),
        "draining": api.agent.is_draining(),
    });
    (status, axum::Json(body)).into_response()
}

impl Api {
    /// The printers that a request names; all or nothing.
    fn printers(&self, ids: &[i64]) -> Result<Vec<PrinterHandle>, Problem> {
        ids.iter()
            .map(|id| {
                let found = self.agent.by_id(*id);
                found.ok_or_else(|| Problem::not_found(format!("Printer {id} not found")))
            })
            .collect()
    }
}
