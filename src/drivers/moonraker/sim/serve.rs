//! The simulated Klipper on klippy's unix socket, behind a real Moonraker, or as Moonraker itself.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::desk::{Desk, Dialect, Out};
use super::klipper::{Klipper, Life, Options};
use crate::drivers::moonraker::rpc::FRAME_MAX;
use crate::sorted::SortedMap;

/// How often the printer moves on.
const TURN: Duration = Duration::from_millis(20);

/// Frames that a slow client may be behind; then it is cut off.
const FRAMES_MAX: usize = 1024;

/// Ends a frame on the unix socket.
const END: u8 = 0x03;

/// Where its clients come in.
#[derive(Clone, Debug)]
pub enum Door {
    /// klippy's socket, for a real Moonraker.
    Socket(PathBuf),
    /// Moonraker's port.
    Port {
        /// Where it listens; port 0: any free one.
        listen: SocketAddr,
        /// The API key, without which nobody is let in.
        key: Option<String>,
    },
}

pub(super) struct Hub {
    pub desk: Mutex<Desk>,
    pub files: PathBuf,
    pub key: Option<String>,
    began: Instant,
    clients: Mutex<SortedMap<u64, mpsc::Sender<String>>>,
    next: AtomicU64,
    alive: watch::Sender<bool>,
    executed: Option<Mutex<std::fs::File>>,
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
}

/// A printer that runs. Dropped, it is gone.
pub struct SimPrinter {
    hub: Arc<Hub>,
    at: Option<SocketAddr>,
}

impl Drop for SimPrinter {
    fn drop(&mut self) {
        self.hub.stop.cancel();
    }
}

impl SimPrinter {
    /// Starts it. `executed`: a file to which every executed line goes.
    ///
    /// # Errors
    /// The address or a file cannot be had.
    pub async fn start(door: Door, options: Options, executed: Option<&Path>) -> std::io::Result<SimPrinter> {
        std::fs::create_dir_all(&options.files)?;
        let (dialect, key) = match &door {
            Door::Socket(_) => (Dialect::Klippy, None),
            Door::Port { key, .. } => (Dialect::Moonraker, key.clone()),
        };
        let hub = Arc::new(Hub {
            files: options.files.clone(),
            key,
            desk: Mutex::new(Desk::new(dialect, options)),
            began: Instant::now(),
            clients: Mutex::default(),
            next: AtomicU64::new(1),
            alive: watch::channel(true).0,
            executed: executed.map(std::fs::File::create).transpose()?.map(Mutex::new),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        });
        let at = match door {
            Door::Socket(path) => {
                // A first time here, so that a bad path is told at once.
                let listener = bind(&path)?;
                hub.tasks.spawn(klippy(hub.clone(), path, listener).boxed());
                None
            }
            Door::Port { listen, .. } => {
                let listener = TcpListener::bind(listen).await?;
                let at = listener.local_addr()?;
                hub.tasks.spawn(super::web::serve(hub.clone(), listener).boxed());
                Some(at)
            }
        };
        hub.tasks.spawn(turn(hub.clone()).boxed());
        Ok(SimPrinter { hub, at })
    }

    /// Moonraker's address, where it plays Moonraker.
    pub fn url(&self) -> Option<String> {
        self.at.map(|at| format!("http://{at}"))
    }

    /// Does something with the printer.
    pub fn with<T>(&self, act: impl FnOnce(&mut Klipper) -> T) -> T {
        act(&mut self.hub.desk().printer)
    }

    /// From now on it answers nothing, or it answers again.
    pub fn mute(&self, mute: bool) {
        self.hub.desk().mute = mute;
    }

    /// Ends it.
    pub async fn stop(self) {
        self.hub.stop.cancel();
        self.hub.tasks.close();
        let _ = tokio::time::timeout(Duration::from_secs(2), self.hub.tasks.wait()).await;
    }
}

impl Hub {
    pub fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn clients(&self) -> MutexGuard<'_, SortedMap<u64, mpsc::Sender<String>>> {
        self.clients.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A client comes; its frames are to be read from what is returned.
    pub fn enter(&self, trusted: bool) -> Option<(u64, mpsc::Receiver<String>)> {
        let client = self.next.fetch_add(1, Ordering::Relaxed);
        if !self.desk().enter(client, trusted) {
            return None;
        }
        // Bounded: who does not read is cut off.
        let (send, frames) = mpsc::channel(FRAMES_MAX);
        self.clients().insert(client, send);
        Some((client, frames))
    }

    pub fn leave(&self, client: u64) {
        self.desk().leave(client);
        self.clients().remove(&client);
    }

    pub fn frame(&self, client: u64, text: &str) {
        let mut desk = self.desk();
        desk.advance(self.began.elapsed().as_secs_f64());
        desk.frame(client, text);
        self.deliver(&mut desk);
    }

    fn deliver(&self, desk: &mut Desk) {
        while let Some(out) = desk.poll() {
            match out {
                Out::Frame(client, text) => {
                    let mut clients = self.clients();
                    if clients.get(&client).is_some_and(|c| c.try_send(text).is_err()) {
                        clients.remove(&client);
                    }
                }
                Out::Cut => {
                    for client in std::mem::take(&mut *self.clients()).into_keys() {
                        desk.leave(client);
                    }
                }
                Out::Executed(line) => {
                    if let Some(file) = &self.executed {
                        let mut file = file.lock().unwrap_or_else(|e| e.into_inner());
                        // The record is for tests; a printer does not stop for a full disk.
                        let _ = writeln!(file, "{line}");
                    }
                }
            }
        }
        let alive = !matches!(desk.printer.life(), Life::Gone(_));
        self.alive
            .send_if_modified(|known| std::mem::replace(known, alive) != alive);
    }
}

async fn turn(hub: Arc<Hub>) {
    let mut ticks = tokio::time::interval(TURN);
    loop {
        tokio::select! {
            () = hub.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let mut desk = hub.desk();
        desk.advance(hub.began.elapsed().as_secs_f64());
        hub.deliver(&mut desk);
    }
}

fn bind(path: &Path) -> std::io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    UnixListener::bind(path)
}

/// The socket lives and dies with the simulated process.
async fn klippy(hub: Arc<Hub>, path: PathBuf, first: UnixListener) {
    let mut alive = hub.alive.subscribe();
    let mut listener = Some(first);
    loop {
        let here = *alive.borrow_and_update();
        if !here && listener.take().is_some() {
            let _ = std::fs::remove_file(&path);
        }
        if here && listener.is_none() {
            listener = bind(&path).ok();
        }
        let guest = async {
            match &listener {
                Some(listener) => listener.accept().await.ok(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = hub.stop.cancelled() => break,
            _ = alive.changed() => {}
            guest = guest => if let Some((stream, _)) = guest
                && let Some((client, frames)) = hub.enter(true)
            {
                hub.tasks.spawn(attend(hub.clone(), client, frames, stream).boxed());
            }
        }
    }
    let _ = std::fs::remove_file(&path);
}

async fn attend(hub: Arc<Hub>, client: u64, mut frames: mpsc::Receiver<String>, mut stream: UnixStream) {
    let (mut reader, mut writer) = stream.split();
    let mut buffer = Vec::new();
    loop {
        tokio::select! {
            () = hub.stop.cancelled() => break,
            frame = frames.recv() => {
                let Some(frame) = frame else { break };
                let mut bytes = frame.into_bytes();
                bytes.push(END);
                if writer.write_all(&bytes).await.is_err() {
                    break;
                }
            }
            read = reader.read_buf(&mut buffer) => {
                if !matches!(read, Ok(1..)) || buffer.len() > FRAME_MAX {
                    break;
                }
                while let Some(at) = memchr::memchr(END, &buffer) {
                    let rest = buffer.split_off(at + 1);
                    let mut frame = std::mem::replace(&mut buffer, rest);
                    frame.pop();
                    hub.frame(client, &String::from_utf8_lossy(&frame));
                }
            }
        }
    }
    hub.leave(client);
}
