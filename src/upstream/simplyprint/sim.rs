//! A small cloud on loopback, for `layerd simulate cloud`, the demo and tests: enough of the server's end
//! to claim printers, send demands and files, and see what comes back. It knows the wire only, nothing
//! of the client.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio_tungstenite::accept_async_with_config;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::json::{self, json};
use crate::sorted::SortedMap;

/// Connections at once; more are closed.
const CONNECTIONS_MAX: usize = 256;
/// Longest head of a request.
const HEAD_MAX: usize = 16 << 10;
/// Longest body of a post that is read.
const BODY_MAX: usize = 32 << 20;
/// How long a request may take to come.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// Messages that a slow listener may be behind.
const EVENTS_MAX: usize = 4096;
/// Messages to the printers that a slow socket may be behind; then it misses some.
const ORDERS_MAX: usize = 256;

/// How the cloud behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens; port 0: any free one.
    pub listen: SocketAddr,
    /// New printers are claimed by themselves after this; `None`: when they are told to.
    pub claim_after: Option<Duration>,
    /// Files that it serves, below `/files/`.
    pub files: SortedMap<String, PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            claim_after: Some(Duration::from_secs(1)),
            files: SortedMap::new(),
        }
    }
}

/// A printer as the cloud knows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// Its number; 0 until claimed.
    pub id: i64,
    /// Its own name for the connection; empty in single mode.
    pub uid: String,
    /// The code that claims it.
    pub code: String,
    /// Whether it is connected.
    pub online: bool,
    /// The last state it told.
    pub state: Option<String>,
    token: String,
}

/// One message that came in.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// The printer's place in [`SimCloud::printers`].
    pub printer: usize,
    /// `type`.
    pub kind: String,
    /// `data`.
    pub data: Value,
}

#[derive(Clone, Debug)]
struct Order {
    printer: usize,
    message: Value,
}

struct Shared {
    options: Options,
    base: Mutex<String>,
    printers: Mutex<Vec<Known>>,
    said: broadcast::Sender<Said>,
    orders: broadcast::Sender<Order>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// A cloud that runs. Dropped, it is gone.
pub struct SimCloud {
    shared: Arc<Shared>,
    at: SocketAddr,
}

impl Drop for SimCloud {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

impl SimCloud {
    /// Starts it.
    ///
    /// # Errors
    /// The address cannot be had.
    pub async fn start(options: Options) -> std::io::Result<SimCloud> {
        let listener = TcpListener::bind(options.listen).await?;
        let at = listener.local_addr()?;
        // Bounded; who is too slow misses the oldest.
        let (said, _) = broadcast::channel(EVENTS_MAX);
        let (orders, _) = broadcast::channel(ORDERS_MAX);
        let shared = Arc::new(Shared {
            options,
            base: Mutex::new(format!("http://{at}")),
            printers: Mutex::default(),
            said,
            orders,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        });
        shared.tasks.spawn(accept(shared.clone(), listener).boxed());
        Ok(SimCloud { shared, at })
    }

    /// For `ws_url`.
    pub fn ws_url(&self) -> String {
        format!("ws://{}", self.at)
    }

    /// For `api_url`.
    pub fn api_url(&self) -> String {
        format!("http://{}/api", self.at)
    }

    /// What printers say from now on.
    pub fn listen(&self) -> broadcast::Receiver<Said> {
        self.shared.said.subscribe()
    }

    /// The printers in the order in which they came.
    pub fn printers(&self) -> Vec<Known> {
        lock(&self.shared.printers).clone()
    }

    /// A person types the code of a printer.
    pub fn claim(&self, printer: usize) -> bool {
        claim(&self.shared, printer)
    }

    /// Wants something of a printer.
    pub fn demand(&self, printer: usize, demand: Value) {
        let message = json!({"type": "demand", "data": demand});
        let _ = self.shared.orders.send(Order { printer, message });
    }

    /// Sends a file to a printer.
    pub fn print(&self, printer: usize, file: &str, job_id: i64, auto_start: bool) {
        let url = format!("{}/files/{file}", lock(&self.shared.base));
        self.demand(
            printer,
            json!({"demand": "file", "job_id": job_id, "url": url, "auto_start": auto_start, "file_name": file,
                "file_id": Uuid::new_v4().simple().to_string(), "start_options": {}}),
        );
    }

    /// Ends everything.
    pub async fn stop(self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        let _ = tokio::time::timeout(Duration::from_secs(5), self.shared.tasks.wait()).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

fn claim(shared: &Shared, printer: usize) -> bool {
    let id = {
        let mut printers = lock(&shared.printers);
        let Some(known) = printers.get_mut(printer).filter(|p| p.id == 0) else {
            return false;
        };
        known.id = 1001 + i64::try_from(printer).unwrap_or(0);
        known.id
    };
    let message = json!({"type": "complete_setup", "data": {"printer_id": id}});
    let _ = shared.orders.send(Order { printer, message });
    true
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        let stream = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                // Out of descriptors or the like: it passes.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        if shared.tasks.len() > CONNECTIONS_MAX {
            continue;
        }
        // Small messages one after the other must not wait for each other.
        let _ = stream.set_nodelay(true);
        let (stop, serving) = (shared.stop.clone(), serve(shared.clone(), stream));
        let guest = async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = serving => {}
            }
        };
        shared.tasks.spawn(guest.boxed());
    }
}

async fn serve(shared: Arc<Shared>, stream: TcpStream) {
    let Ok(Some(head)) = tokio::time::timeout(REQUEST_LIMIT, peek_head(&stream)).await else {
        return;
    };
    let path = head.split_whitespace().nth(1).unwrap_or_default().to_owned();
    if head.to_ascii_lowercase().contains("upgrade: websocket") {
        websocket(&shared, stream, &path).await;
    } else {
        let _ = tokio::time::timeout(REQUEST_LIMIT * 20, http(&shared, stream, &head, &path)).await;
    }
}

/// The head of a request, left in the socket for whoever reads it.
async fn peek_head(stream: &TcpStream) -> Option<String> {
    let mut bytes = vec![0; HEAD_MAX];
    loop {
        stream.readable().await.ok()?;
        let n = stream.peek(&mut bytes).await.ok()?;
        let head = bytes.get(..n)?;
        if let Some(end) = head.windows(4).position(|w| w == b"\r\n\r\n") {
            return String::from_utf8(head.get(..end)?.to_vec()).ok();
        }
        if n == 0 || n == HEAD_MAX {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Files and posts; one request a connection.
async fn http(shared: &Shared, mut stream: TcpStream, head: &str, path: &str) -> std::io::Result<()> {
    let mut skip = vec![0; head.len() + 4];
    stream.read_exact(&mut skip).await?;
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let length: usize = header("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
    if length > BODY_MAX {
        return Ok(());
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    if head.starts_with("POST") {
        let kind = path.rsplit('/').next().unwrap_or_default();
        let kind = kind.split('?').next().unwrap_or_default().to_owned();
        let _ = shared.said.send(Said {
            printer: usize::MAX,
            kind,
            data: json!({"bytes": length}),
        });
        let answer = r#"{"status":true,"message":null}"#;
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            answer.len()
        );
        stream.write_all(head.as_bytes()).await?;
        return stream.write_all(answer.as_bytes()).await;
    }
    let file = path
        .strip_prefix("/files/")
        .and_then(|name| shared.options.files.get(name));
    let content = match file {
        Some(path) => tokio::fs::read(path).await.ok(),
        None => None,
    };
    let Some(content) = content else {
        return stream
            .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .await;
    };
    let all = content.len();
    let range =
        header("range").and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let from = range.filter(|from| *from < all);
    let head = match from {
        Some(from) => format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{all}\r\nContent-Length: {}\r\n",
            all - 1,
            all - from
        ),
        None => format!("HTTP/1.1 200 OK\r\nContent-Length: {all}\r\n"),
    };
    let head = format!("{head}ETag: \"{all:x}\"\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream
        .write_all(content.get(from.unwrap_or(0)..).unwrap_or_default())
        .await
}

async fn websocket(shared: &Arc<Shared>, stream: TcpStream, path: &str) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(BODY_MAX))
        .max_frame_size(Some(BODY_MAX));
    let Ok(socket) = accept_async_with_config(stream, Some(config)).await else {
        return;
    };
    let (mut sink, mut frames) = socket.split();
    let mut orders = shared.orders.subscribe();
    let mut seats: Vec<usize> = Vec::new();
    let mut parts = path.trim_start_matches('/').split('/');
    let (_, mode) = (parts.next(), parts.next().unwrap_or_default());
    let multi = mode == "mp";
    let mut greetings = if multi {
        vec![json!({"type": "connected", "data": {"region": "simulated"}})]
    } else {
        let id = parts.next().and_then(|id| id.parse().ok()).unwrap_or(0);
        let (printer, fresh) = seat(shared, id, parts.next().unwrap_or_default(), "");
        seats.push(printer);
        greet(shared, printer, fresh && id != 0, fresh)
    };
    loop {
        for message in greetings.drain(..) {
            if sink.send(Message::text(message.to_string())).await.is_err() {
                leave(shared, &seats);
                return;
            }
        }
        tokio::select! {
            frame = frames.next() => {
                let text = match frame {
                    Some(Ok(Message::Text(text))) => text.as_str().to_owned(),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                    Some(Ok(_)) => continue,
                };
                let Ok(message) = json::read::<Value>(&text) else { continue };
                greetings = answer(shared, &mut seats, multi, &message);
            }
            order = orders.recv() => match order {
                Ok(order) if seats.contains(&order.printer) => greetings.push(addressed(shared, order.printer, order.message)),
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => break,
            },
        }
    }
    leave(shared, &seats);
}

fn leave(shared: &Shared, seats: &[usize]) {
    let mut printers = lock(&shared.printers);
    for seat in seats {
        if let Some(known) = printers.get_mut(*seat) {
            known.online = false;
        }
    }
}

/// Finds a printer by its credential, or makes a new one.
fn seat(shared: &Shared, id: i64, token: &str, uid: &str) -> (usize, bool) {
    let mut printers = lock(&shared.printers);
    let found = printers
        .iter()
        .position(|p| p.token == token && (p.id == id || id == 0));
    let (at, fresh) = match found {
        Some(at) => (at, false),
        None => {
            let code = Uuid::new_v4().simple().to_string().to_uppercase();
            printers.push(Known {
                code: code.get(..4).unwrap_or(&code).to_owned(),
                token: Uuid::new_v4().to_string(),
                ..Known::default()
            });
            (printers.len() - 1, true)
        }
    };
    if let Some(known) = printers.get_mut(at) {
        known.online = true;
        uid.clone_into(&mut known.uid);
    }
    (at, fresh)
}

/// What a printer hears first.
fn greet(shared: &Arc<Shared>, printer: usize, no_exist: bool, fresh: bool) -> Vec<Value> {
    let Some(known) = lock(&shared.printers).get(printer).cloned() else {
        return Vec::new();
    };
    let mut out = Vec::new();
    if fresh {
        out.push(json!({"type": "new_token", "data": {"token": known.token, "short_id": known.code, "no_exist": no_exist}}));
    }
    let mut data = json!({"in_setup": known.id == 0, "region": "simulated", "name": null,
        "intervals": {"job": 1000, "temps": 1000, "temps_target": 500, "ping": 5000}});
    if known.id == 0 {
        with(&mut data, "short_id", json!(known.code));
        if let Some(wait) = shared.options.claim_after {
            let later = shared.clone();
            let wait = async move {
                tokio::select! {
                    () = later.stop.cancelled() => {}
                    () = tokio::time::sleep(wait) => { claim(&later, printer); }
                }
            };
            shared.tasks.spawn(wait.boxed());
        }
    }
    out.push(json!({"type": "connected", "data": data}));
    out.into_iter().map(|m| addressed(shared, printer, m)).collect()
}

fn with(object: &mut Value, key: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(key.to_owned(), value);
    }
}

/// With the printer's name where there are several.
fn addressed(shared: &Shared, printer: usize, mut message: Value) -> Value {
    let uid = lock(&shared.printers).get(printer).map(|p| p.uid.clone());
    if let Some(uid) = uid.filter(|uid| !uid.is_empty()) {
        with(&mut message, "for", json!(uid));
    }
    message
}

/// What the cloud says to a message.
fn answer(shared: &Arc<Shared>, seats: &mut Vec<usize>, multi: bool, message: &Value) -> Vec<Value> {
    let kind = message.get("type").and_then(Value::as_str).unwrap_or_default();
    let data = message.get("data").cloned().unwrap_or(Value::Null);
    if multi && kind == "add_connection" {
        let text = |key: &str| data.get(key).and_then(Value::as_str).unwrap_or_default();
        let (uid, id) = (
            text("unique_id"),
            data.get("pid").and_then(Value::as_i64).unwrap_or(0),
        );
        let (printer, fresh) = seat(shared, id, text("token"), uid);
        if !seats.contains(&printer) {
            seats.push(printer);
        }
        let known = lock(&shared.printers).get(printer).map_or(0, |p| p.id);
        let mut out =
            vec![json!({"type": "add_connection", "data": {"status": true, "pid": known, "unique_id": uid}})];
        out.extend(greet(shared, printer, fresh && id != 0, fresh));
        return out;
    }
    let to = message.get("for").and_then(Value::as_str).unwrap_or_default();
    let printer = {
        let mut printers = lock(&shared.printers);
        let found = seats
            .iter()
            .copied()
            .find(|at| !multi || printers.get(*at).is_some_and(|p| p.uid == to));
        let Some(at) = found else { return Vec::new() };
        if kind == "state_change"
            && let Some(known) = printers.get_mut(at)
        {
            known.state = data.get("new").and_then(Value::as_str).map(str::to_owned);
        }
        at
    };
    let _ = shared.said.send(Said {
        printer,
        kind: kind.to_owned(),
        data,
    });
    let reply = match kind {
        "ping" => json!({"type": "pong"}),
        "stream" => json!({"type": "stream_received"}),
        _ => return Vec::new(),
    };
    vec![addressed(shared, printer, reply)]
}
