//! The table of routes. Each stands in the group of what it needs; what is in no group cannot be reached
//! without a key.

use std::collections::HashMap;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

use super::access::Scope;
use super::envelope::Problem;
use super::method::{get, post};
use super::{
    Api, actions, autoprint, backup, cloud_only, counters, curve, door, drain, events, files, healthz,
    incoming, jobs, keys, macros, mcp, metrics, notifications, openapi, page, picture, plate, printers,
    readyz, slicer, test_key, uploads, v1, webhooks,
};

/// Largest JSON body.
pub(super) const BODY_MAX_BYTES: usize = 1 << 20;

/// Largest upload request: one part, and the frame of the form around it.
pub(super) const UPLOAD_MAX_BYTES: usize = uploads::PART_MAX_BYTES as usize + (64 << 10);

/// How long a request may take that waits for no printer.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);

/// All routes.
pub(super) fn router(api: Api) -> Router {
    let account = account(&api);
    let guarded = Router::new()
        .nest("/{account}", account.clone())
        .nest("/api/{account}", account)
        .merge(needing(Scope::Read, top()))
        .merge(slicer::router(&api))
        .merge(v1::router(&api))
        .merge(mcp::router())
        .layer(middleware::from_fn_with_state(api.clone(), door::admit));
    Router::new()
        .merge(open())
        .merge(v1::open(&api))
        .merge(guarded)
        .fallback(async |uri: Uri| match cloud_only::words(uri.path()) {
            Some(words) => Problem::not_found(words).coded("refused/cloud-only"),
            None => Problem::not_found("There is no such path."),
        })
        .method_not_allowed_fallback(async || {
            Problem::with(
                StatusCode::METHOD_NOT_ALLOWED,
                "This path does not take that method.",
            )
        })
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .layer(middleware::from_fn_with_state(api.clone(), door::host_is_ours))
        .layer(middleware::from_fn(slicer::in_words))
        .layer(middleware::from_fn_with_state(api.clone(), v1::in_shape))
        .layer(middleware::from_fn(mcp::in_shape))
        .with_state(api)
}

/// What needs no key: it tells nothing of what the printers do.
fn open() -> Router<Api> {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/openapi.json", get(interface))
        .merge(page::router())
        .merge(slicer::to_page())
}

/// What this host serves, for machines.
async fn interface(State(api): State<Api>) -> axum::Json<serde_json::Value> {
    axum::Json(openapi::document(v1::openapi::paths(api.v1.kind())))
}

/// What programs look for at the top, and need a key to read.
fn top() -> Router<Api> {
    Router::new()
        .route("/events", get(events::events))
        .route("/metrics", get(metrics::metrics))
}

/// Below `/{account}` and `/api/{account}`.
fn account(api: &Api) -> Router<Api> {
    let read = Router::new()
        .route("/account/Test", get(test_key))
        .route(
            "/printers/Get",
            get(printers::by_get).merge(post(printers::by_post)),
        )
        .route("/printers/GetLogs", get(printers::logs))
        .route("/printers/GetTemperatures", get(curve::temperatures))
        .route("/printers/GetPlate", get(plate::of_print))
        .route("/printers/GetCounters", get(counters::get))
        .route("/printers/GetPendingPrintStatus", get(autoprint::pending))
        .route("/printers/autoprint/CheckState", get(autoprint::check_state))
        .route(
            "/printers/autoprint/GetAutoPrintSettings",
            get(autoprint::settings),
        )
        .route("/printers/notification/Get", get(notifications::list))
        .route("/gcode_macros/GetOverview", get(macros::overview))
        .route("/gcode_macros/GetSnippet", get(macros::get_snippet))
        .route("/gcode_macros/GetMacroGcode", get(macros::get_macro))
        .route("/jobs/GetPaginatedPrintJobs", post(jobs::list))
        .route("/jobs/GetDetails", get(jobs::details))
        .route("/files/ListExisting", get(files::list))
        .layer(middleware::from_fn(in_time));
    // These have the limits of the commands they wait for, of the bytes that arrive, or of a big file.
    let read = read.route("/files/GetAnalysis", get(plate::of_file));
    let control = Router::new()
        .route("/printers/actions/{action}", post(actions::act))
        .route("/printers/autoprint/SetEnabled", post(autoprint::set_enabled))
        .route(
            "/printers/autoprint/SetClearedBedsAmount",
            post(autoprint::set_cleared),
        )
        .route("/printers/autoprint/SaveAutoPrintSettings", post(autoprint::save))
        .route("/printers/MarkService", post(counters::mark_service))
        .route("/printers/notification/Resolve", post(notifications::resolve))
        .route(
            "/printers/notification/ResolveAll",
            post(notifications::resolve_all).merge(get(notifications::resolve_all_by_get)),
        );
    let upload = DefaultBodyLimit::max(UPLOAD_MAX_BYTES);
    let files = Router::new().route("/files/Upload", post(files::upload).layer(upload));
    let admin = Router::new()
        .route("/agent/Drain", post(drain::drain))
        .route("/agent/Backup", get(backup::backup))
        .route("/agent/keys/Get", get(keys::list))
        .route("/agent/keys/Create", post(keys::create))
        .route("/agent/keys/Revoke", post(keys::revoke))
        .route("/webhooks/Get", get(webhooks::list))
        .route("/webhooks/Create", post(webhooks::create))
        .route("/webhooks/Delete", post(webhooks::delete))
        .route("/webhooks/SetEnabled", post(webhooks::set_enabled))
        .route("/webhooks/TriggerTestWebhook", post(webhooks::test))
        .route("/webhooks/GetLogs", post(webhooks::logs))
        .route("/webhooks/Replay", post(webhooks::replay));
    let json = needing(Scope::Read, read)
        .merge(needing(Scope::Control, control))
        .merge(needing(Scope::Files, files))
        .merge(needing(Scope::Admin, admin))
        .layer(middleware::from_fn(json_only));
    // What is no JSON.
    let other = Router::new()
        .route("/events", get(events::events))
        .route("/printers/GetPicture", get(picture::picture));
    let other = needing(Scope::Read, other);
    json.merge(other)
        .layer(middleware::from_fn_with_state(api.clone(), known_account))
}

/// A group of routes that need a scope.
pub(super) fn needing(scope: Scope, routes: Router<Api>) -> Router<Api> {
    let check = move |request: Request, next: Next| door::needs(scope, request, next);
    routes.layer(middleware::from_fn(check))
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
pub(super) async fn json_only(request: Request, next: Next) -> Response {
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
