//! SoLoPrint's shape: the contract, the host, printers and files. Its documentation names the routes and no
//! bodies: the bodies of successes are ours.

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json as Answer, Router};
use serde_json::Value;
use tokio_util::io::ReaderStream;

use super::once::{self, Broken};
use super::{fetch, hooks, queue, shape, upload};
use crate::agent::clock;
use crate::agent::handle::PrinterHandle;
use crate::api::access::{Caller, Scope};
use crate::api::envelope::Problem;
use crate::api::incoming::Json;
use crate::api::method::{get, post, put};
use crate::api::routes::needing;
use crate::api::{Api, jobs, keys, row, view};
use crate::job::store::UploadRow;
use crate::json::json;

const NAME_MAX: usize = 255;
const URL_MAX: usize = 2000;

/// SoLoPrint's capabilities, and which scope gives each.
const CAPABILITIES: &[(&str, &[Scope])] = &[
    ("operations.read", &[Scope::Read]),
    ("queue.manage", &[Scope::Control, Scope::Files]),
    ("printer.manage", &[Scope::Control]),
    ("integrations.manage", &[Scope::Admin]),
];

/// What needs no key: the contract.
pub fn open() -> Router<Api> {
    Router::new().route("/v1/public/version", get(version))
}

pub fn routes(api: &Api) -> Router<Api> {
    let once = |broken| middleware::from_fn_with_state((api.clone(), broken), once::once);
    // Whoever has a key may know what it is good for.
    let any = Router::new()
        .route("/me", get(me))
        .route("/org/context", get(context));
    let read = Router::new()
        .route("/printers", get(list_printers))
        .route("/files", get(list_files))
        .route("/files/{id}/download", get(download))
        .route("/platform/queue", get(queue::list));
    let again = Router::new()
        .route("/platform/queue/{id}/assign", post(queue::assign))
        .layer(once(Broken::Again));
    let control = Router::new()
        .route("/platform/queue", post(queue::create))
        .route("/platform/queue/{id}/recompute", post(queue::recompute))
        .route(
            "/platform/printers/{id}/dispatch-next",
            post(queue::dispatch_next),
        )
        .layer(once(Broken::Told));
    let files = Router::new()
        .route("/files/register", post(upload::register))
        .route("/files/upload-from-url", post(from_url))
        .layer(once(Broken::Again))
        .route(
            "/files/upload/{id}",
            put(upload::put).layer(DefaultBodyLimit::disable()),
        );
    let admin = Router::new()
        .route("/platform/webhooks", post(hooks::of_solo))
        .route("/platform/webhook-deliveries/{id}/replay", post(hooks::replay))
        .layer(once(Broken::Told))
        .route("/platform/webhook-deliveries", get(hooks::deliveries))
        .route("/platform/api-keys", get(list_keys));
    let content = Router::new().route("/files/{id}/content", get(content));
    any.merge(needing(Scope::Read, read.merge(content)))
        .merge(needing(Scope::Control, again.merge(control)))
        .merge(needing(Scope::Files, files))
        .merge(needing(Scope::Admin, admin))
}

async fn version() -> Answer<Value> {
    Answer(json!({
        "series": shape::SOLO_SERIES,
        "version": shape::SOLO_VERSION,
        "docs_url": shape::SOLO_DOCS,
        "changelog_url": shape::SOLO_CHANGELOG,
        "layerd": {"version": env!("CARGO_PKG_VERSION")},
    }))
}

fn capabilities(caller: &Caller) -> Vec<&'static str> {
    let all = CAPABILITIES.iter();
    all.filter(|(_, scopes)| scopes.iter().all(|s| caller.may(*s)))
        .map(|(word, _)| *word)
        .collect()
}

async fn me(Extension(caller): Extension<Caller>) -> Answer<Value> {
    let id = match &caller {
        Caller::Key { id, .. } => id.to_string(),
        Caller::Socket | Caller::Loopback => "local".to_owned(),
    };
    Answer(json!({"user": {"id": id, "name": caller.name(), "scopes": capabilities(&caller)}}))
}

async fn context(State(api): State<Api>, Extension(caller): Extension<Caller>) -> Answer<Value> {
    Answer(json!({
        "organization": {"id": api.account.to_string(), "name": api.v1.host},
        "membership": {"user": caller.name()},
        "capabilities": capabilities(&caller),
    }))
}

fn printer(api: &Api, printer: &PrinterHandle) -> Value {
    let snapshot = printer.snapshot();
    let state = &snapshot.state;
    let mut row = row::row(api, printer);
    let native = row.get_mut("layerd").map(Value::take).unwrap_or_default();
    json!({
        "id": printer.id().to_string(),
        "name": printer.name(),
        "state": state.word(),
        "online": !state.offline,
        "capabilities": native.get("capabilities"),
        "tags": [],
        "groups": [],
        "active_material": native.get("materials"),
        "current_job": native.get("job"),
        "layerd": native,
    })
}

async fn list_printers(State(api): State<Api>) -> Answer<Value> {
    let rows: Vec<Value> = api.agent.printers().iter().map(|p| printer(&api, p)).collect();
    Answer(json!({"printers": rows}))
}

/// A stored file.
pub fn file(row: &UploadRow) -> Value {
    json!({
        "id": row.sha256,
        "name": row.name,
        "size": row.size,
        "created_at": view::rfc3339(row.uploaded),
        "expires_at": view::rfc3339(row.expires),
    })
}

/// The stored file behind an id: of a content, of an upload, or of an announced upload that has come.
pub async fn stored(api: &Api, id: &str) -> Result<UploadRow, Problem> {
    let content = api.v1.places.content(id);
    let found = api.agent.spool().file(content.as_deref().unwrap_or(id)).await;
    found.ok_or_else(|| {
        Problem::not_found("The file is not here (any more). Upload it again.")
            .coded("refused/file-not-found")
    })
}

async fn list_files(State(api): State<Api>) -> Result<Answer<Value>, Problem> {
    let rows = api.files().await?;
    let files: Vec<Value> = rows.iter().map(file).collect();
    Ok(Answer(json!({"files": files})))
}

/// How clients reach this host.
pub fn base(api: &Api, headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|v| v.to_str().ok());
    let scheme = if api.v1.encrypted { "https" } else { "http" };
    format!("{scheme}://{}", host.unwrap_or("localhost"))
}

/// Where the bytes are. The address is good as long as the file is here, and needs the key like all others.
async fn download(
    State(api): State<Api>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Answer<Value>, Problem> {
    let row = stored(&api, &id).await?;
    let url = format!("{}/v1/files/{}/content", base(&api, &headers), row.sha256);
    Ok(Answer(
        json!({"url": url, "expires_at": view::rfc3339(row.expires), "file": file(&row)}),
    ))
}

async fn content(State(api): State<Api>, Path(id): Path<String>) -> Result<Response, Problem> {
    let row = stored(&api, &id).await?;
    let opened = tokio::fs::File::open(api.agent.spool().path_of(&row.sha256)).await;
    let file = opened.map_err(|_| {
        Problem::not_found("The file is not here (any more). Upload it again.")
            .coded("refused/file-not-found")
    })?;
    let body = Body::from_stream(ReaderStream::with_capacity(file, 64 << 10));
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CONTENT_DISPOSITION, "attachment"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, body).into_response())
}

/// `{url, name?}`.
async fn from_url(State(api): State<Api>, body: Json) -> Result<(StatusCode, Answer<Value>), Problem> {
    let url = body.text("url", URL_MAX)?;
    let url = url.ok_or_else(|| Problem::bad("`url` is required."))?;
    let row = fetch::fetch(&api, url, body.text("name", NAME_MAX)?).await?;
    Ok((StatusCode::CREATED, Answer(json!({"file": file(&row)}))))
}

/// Keys and their scopes, never the keys themselves.
async fn list_keys(State(api): State<Api>) -> Result<Answer<Value>, Problem> {
    let now = clock::now().wall;
    let rows = api.agent.store().api_keys().await.map_err(jobs::database)?;
    let rows: Vec<Value> = rows.iter().map(|row| keys::shown(row, now)).collect();
    Ok(Answer(json!({"api_keys": rows})))
}
