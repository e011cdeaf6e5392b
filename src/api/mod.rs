//! The local API: the SimplyPrint REST shape, served on a unix socket, with what that shape cannot
//! carry in one extra member `layerd`.
//!
//! The socket's permissions (0660, group `layerd`) are its authorization: whoever may open it may do
//! everything. Paths are `/{account}/…` and `/api/{account}/…`; the account is the configured id, and
//! 0 always works.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;

use crate::agent::handle::AgentHandle;
use envelope::Problem;

mod actions;
pub mod demand;
pub mod dialect_rules;
mod envelope;
mod files;
pub mod gcode_body;
mod jobs;
mod notifications;
mod pid;
mod printers;
pub mod socket;
mod uploads;
pub mod view;

/// Largest JSON body.
const BODY_MAX_BYTES: usize = 1 << 20;

/// Largest upload request: the documented 100 MB a part and the multipart frame around it.
const UPLOAD_MAX_BYTES: usize = 101 << 20;

/// How long a request may take that does not wait for a printer.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);

/// What every route holds.
#[derive(Clone)]
pub(crate) struct Api {
    agent: AgentHandle,
    account: i64,
    uploads: Arc<uploads::Uploads>,
}

/// All routes.
pub fn router(agent: AgentHandle, account: i64) -> Router {
    let api = Api {
        agent,
        account,
        uploads: Arc::new(uploads::Uploads::default()),
    };
    let account_routes = Router::new()
        .route("/account/Test", get(test_key))
        .route("/printers/Get", get(printers::get_query).post(printers::get_body))
        .route("/printers/GetLogs", get(printers::logs))
        .route("/printers/actions/{action}", post(actions::act))
        .route("/printers/notification/Get", get(notifications::list))
        .route("/printers/notification/Resolve", post(notifications::resolve))
        .route(
            "/printers/notification/ResolveAll",
            post(notifications::resolve_all),
        )
        .route("/jobs/GetPaginatedPrintJobs", post(jobs::list))
        .route("/jobs/GetDetails", get(jobs::details))
        .route("/files/ListExisting", get(files::list))
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .route(
            "/files/Upload",
            post(files::upload).layer(DefaultBodyLimit::max(UPLOAD_MAX_BYTES)),
        )
        .layer(middleware::from_fn_with_state(api.clone(), known_account));
    Router::new()
        .route("/healthz", get(healthz))
        .nest("/{account}", account_routes.clone())
        .nest("/api/{account}", account_routes)
        .fallback(|| async { Problem::with(StatusCode::NOT_FOUND, "There is no such path.") })
        .method_not_allowed_fallback(|| async {
            Problem::with(
                StatusCode::METHOD_NOT_ALLOWED,
                "This path does not take that method.",
            )
        })
        .with_state(api)
}

/// The `{account}` of the path must be ours or 0.
async fn known_account(
    State(api): State<Api>,
    Path(parts): Path<std::collections::HashMap<String, String>>,
    request: Request,
    next: Next,
) -> Response {
    let known = parts.get("account").and_then(|a| a.parse::<i64>().ok());
    if known.is_some_and(|id| id == 0 || id == api.account) {
        next.run(request).await
    } else {
        Problem::with(StatusCode::FORBIDDEN, "You don't have access to this account").into_response()
    }
}

async fn test_key() -> impl IntoResponse {
    axum::Json(json!({"status": true, "message": "Your API key is valid!"}))
}

/// 200 when the database answers; the agent's loop is watched by the service manager.
async fn healthz(State(api): State<Api>) -> Response {
    let store = api.agent.store().setting("healthz");
    let healthy = tokio::time::timeout(Duration::from_secs(2), store)
        .await
        .is_ok_and(|r| r.is_ok());
    let status = if healthy {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = json!({
        "status": healthy,
        "version": env!("CARGO_PKG_VERSION"),
        "up_s": api.agent.up_s(),
        "printers": api.agent.printers().len(),
        "draining": api.agent.is_draining(),
    });
    (status, axum::Json(body)).into_response()
}

impl Api {
    /// The printers that a request names; all or nothing.
    fn printers(&self, ids: &[i64]) -> Result<Vec<crate::agent::handle::PrinterHandle>, Problem> {
        ids.iter()
            .map(|id| {
                self.agent
                    .by_id(*id)
                    .ok_or_else(|| Problem::with(StatusCode::NOT_FOUND, format!("Printer {id} not found")))
            })
            .collect()
    }
}
