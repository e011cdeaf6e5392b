//! Moonraker's port, simulated: its websocket, and uploads of files.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Multipart, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::{FutureExt as _, SinkExt, StreamExt};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::serve::Hub;
use crate::drivers::moonraker::rpc::FRAME_MAX;
use crate::json::json;

/// Largest file that is taken (Moonraker's own default).
const UPLOAD_MAX: usize = 1024 << 20;

/// Longest field of a form beside the file.
const FIELD_MAX: usize = 1024;

/// After an accept that failed.
const REST: Duration = Duration::from_millis(200);

pub(super) async fn serve(hub: Arc<Hub>, listener: TcpListener) {
    let (stop, tasks) = (hub.stop.clone(), hub.tasks.clone());
    let router = Router::new()
        .route("/websocket", get(websocket))
        .route("/access/oneshot_token", get(token))
        .route("/server/files/upload", post(upload))
        .layer(DefaultBodyLimit::max(UPLOAD_MAX))
        .with_state(hub);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors: the loop must not spin.
            tokio::time::sleep(REST).await;
            continue;
        };
        let (router, stop) = (TowerToHyperService::new(router.clone()), stop.clone());
        let served = async move {
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), router);
            // It ends with the simulator; nobody waits for what comes of its last connections.
            tokio::select! {
                () = stop.cancelled() => {}
                _ = connection.with_upgrades() => {}
            }
        };
        tasks.spawn(served.boxed());
    }
}

fn is_trusted(hub: &Hub, headers: &HeaderMap) -> bool {
    let given = headers.get("x-api-key").and_then(|v| v.to_str().ok());
    hub.key.as_deref().is_none_or(|key| given == Some(key))
}

/// The handshake succeeds without a key as well; only the first call is refused (seen).
async fn websocket(State(hub): State<Arc<Hub>>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let token = query.split('&').find_map(|part| part.strip_prefix("token="));
    let trusted = match token {
        Some(token) => hub.desk().redeem(token),
        None => is_trusted(&hub, request.headers()),
    };
    let Some(key) = request.headers().get("sec-websocket-key").cloned() else {
        return (StatusCode::BAD_REQUEST, "a websocket is wanted").into_response();
    };
    let (upgrade, tasks) = (hyper::upgrade::on(request), hub.tasks.clone());
    let talk = async move {
        if let Ok(stream) = upgrade.await {
            let limits = WebSocketConfig::default()
                .max_message_size(Some(FRAME_MAX))
                .max_frame_size(Some(FRAME_MAX));
            let io = TokioIo::new(stream);
            let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(limits)).await;
            attend(&hub, trusted, socket).await;
        }
    };
    tasks.spawn(talk.boxed());
    let accept = derive_accept_key(key.as_bytes());
    let headers = [
        (header::CONNECTION, "Upgrade".to_owned()),
        (header::UPGRADE, "websocket".to_owned()),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

async fn attend<S>(hub: &Hub, trusted: bool, mut socket: WebSocketStream<S>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let Some((client, mut frames)) = hub.enter(trusted) else {
        return;
    };
    loop {
        tokio::select! {
            () = hub.stop.cancelled() => break,
            frame = frames.recv() => {
                let Some(frame) = frame else { break };
                if socket.send(Message::text(frame)).await.is_err() {
                    break;
                }
            }
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => hub.frame(client, text.as_str()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                Some(Ok(_)) => {}
            }
        }
    }
    hub.leave(client);
}

async fn token(State(hub): State<Arc<Hub>>, headers: HeaderMap) -> Response {
    if !is_trusted(&hub, &headers) {
        return refuse(StatusCode::UNAUTHORIZED, "Unauthorized");
    }
    axum::Json(json!({"result": hub.desk().token()})).into_response()
}

fn refuse(code: StatusCode, words: &str) -> Response {
    let body = json!({"error": {"code": code.as_u16(), "message": words, "traceback": ""}});
    (code, axum::Json(body)).into_response()
}

async fn upload(State(hub): State<Arc<Hub>>, headers: HeaderMap, form: Multipart) -> Response {
    if !is_trusted(&hub, &headers) {
        return refuse(StatusCode::UNAUTHORIZED, "Unauthorized");
    }
    match take(&hub, form).await {
        Ok(item) => {
            let body =
                json!({"item": item, "print_started": false, "print_queued": false, "action": "create_file"});
            (StatusCode::CREATED, axum::Json(body)).into_response()
        }
        Err((code, words)) => refuse(code, &words),
    }
}

type Refusal = (StatusCode, String);

async fn take(hub: &Hub, mut form: Multipart) -> Result<Value, Refusal> {
    let bad = |words: &str| (StatusCode::BAD_REQUEST, words.to_owned());
    let disk = |e: std::io::Error| (StatusCode::INTERNAL_SERVER_ERROR, e.to_string());
    let (mut folder, mut checksum, mut got) = (String::new(), None, None);
    let part = hub.files.join(format!(".upload-{}", uuid::Uuid::new_v4()));
    while let Some(mut field) = form.next_field().await.map_err(|e| bad(&e.to_string()))? {
        let name = field.name().unwrap_or_default().to_owned();
        if name == "file" {
            let leaf = field.file_name().unwrap_or_default().to_owned();
            let mut file = tokio::fs::File::create(&part).await.map_err(disk)?;
            let (mut hash, mut size) = (Sha256::new(), 0_u64);
            while let Some(chunk) = field.chunk().await.map_err(|e| bad(&e.to_string()))? {
                hash.update(&chunk);
                size += chunk.len() as u64;
                file.write_all(&chunk).await.map_err(disk)?;
            }
            file.flush().await.map_err(disk)?;
            let hash: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
            got = Some((leaf, hash, size));
            continue;
        }
        let text = field.bytes().await.map_err(|e| bad(&e.to_string()))?;
        let text = String::from_utf8_lossy(&text).into_owned();
        if text.len() > FIELD_MAX {
            return Err(bad("a field is too long"));
        }
        match name.as_str() {
            "path" => folder = text,
            "checksum" => checksum = Some(text),
            _ => {}
        }
    }
    let placed = place(&hub.files, &part, &folder, checksum, got).await;
    if placed.is_err() {
        // What was refused does not stay.
        let _ = tokio::fs::remove_file(&part).await;
    }
    let (path, size) = placed?;
    let facts = json!({"filename": path, "size": size});
    hub.desk().facts.insert(path.clone(), facts);
    Ok(json!({"path": path, "root": "gcodes", "size": size, "permissions": "rw"}))
}

async fn place(
    files: &Path,
    part: &Path,
    folder: &str,
    checksum: Option<String>,
    got: Option<(String, String, u64)>,
) -> Result<(String, u64), Refusal> {
    let Some((leaf, hash, size)) = got else {
        return Err((
            StatusCode::BAD_REQUEST,
            "No file name specified in upload form".to_owned(),
        ));
    };
    if checksum.is_some_and(|wanted| !wanted.eq_ignore_ascii_case(&hash)) {
        return Err((
            StatusCode::UNPROCESSABLE_ENTITY,
            "File checksum mismatch".to_owned(),
        ));
    }
    let path = format!("{folder}/{leaf}").trim_matches('/').to_owned();
    let inside = path
        .split('/')
        .all(|part| !part.is_empty() && part != ".." && part != ".");
    if !inside {
        return Err((StatusCode::BAD_REQUEST, "The file has no usable name".to_owned()));
    }
    let to = files.join(&path);
    let disk = |e: std::io::Error| (StatusCode::INTERNAL_SERVER_ERROR, e.to_string());
    if let Some(folder) = to.parent() {
        tokio::fs::create_dir_all(folder).await.map_err(disk)?;
    }
    tokio::fs::rename(part, &to).await.map_err(disk)?;
    Ok((path, size))
}
