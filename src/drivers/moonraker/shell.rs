//! The session: a connection, the core, and the file on its way.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::time::{sleep_until, timeout};

use super::config::Config;
use super::proto::{Core, Output};
use super::socket::{OPEN_LIMIT, Socket};
use super::upload::{Sent, upload};
use super::watch::Watch;
use super::{faults, memory};
use crate::blocking;
use crate::drivers::{BoxFuture, Context, Driver, Link, Stop, StopMode};
use crate::host::boot;
use crate::printer::command::{CancelReason, Command, Request, RequestId};
use crate::printer::event::Event;
use crate::printer::fault::Fault;
use crate::printer::model::Now;
use crate::printer::outcome::Outcome;
use crate::printer::wire::Way;
use crate::sorted::SortedMap;

/// How long an ordered pause or cancel may take at the end of the daemon.
const STOP_LIMIT: Duration = Duration::from_secs(120);

/// The number of the request that a stop makes.
const STOP_REQUEST: RequestId = RequestId(u64::MAX);

/// Something that is never due.
const NEVER: Duration = Duration::from_secs(3600);

/// A file that is being sent, and how far it is.
type OnItsWay = (BoxFuture<'static, Result<(), Fault>>, Arc<Sent>);

/// A Klipper printer.
pub struct MoonrakerDriver {
    config: Config,
    context: Context,
    core: Core,
    replies: SortedMap<RequestId, oneshot::Sender<Outcome>>,
    /// Outlives a broken connection: it is a connection of its own.
    upload: Option<OnItsWay>,
}

impl MoonrakerDriver {
    /// A driver with its settings.
    pub fn new(config: Config, mut context: Context) -> Self {
        let adopt = context.adopt.take();
        let record = memory::read(&record_path(&context));
        MoonrakerDriver {
            config,
            core: Core::new(Watch::new(adopt, record).with_boot(boot::now(), now().mono)),
            context,
            replies: SortedMap::new(),
            upload: None,
        }
    }

    async fn session(&mut self, link: &mut Link, stop: &Stop) -> Result<(), Fault> {
        let _ = link.events.send(Event::Opening).await;
        let mut socket = match self.open(link, stop).await {
            Some(opened) => opened?,
            None => return Ok(()),
        };
        self.core.opened(now());
        let ended = self.talk(link, stop, &mut socket).await;
        self.core.closed(now());
        // What is left are answers and edges; there is no connection to send anything on.
        let _ = self.carry_out(link, None).await;
        ended
    }

    /// Opens the connection and answers meanwhile; `None`: a stop came.
    async fn open(&mut self, link: &mut Link, stop: &Stop) -> Option<Result<Socket, Fault>> {
        let config = self.config.clone();
        let opening = timeout(OPEN_LIMIT, Socket::open(&config));
        tokio::pin!(opening);
        loop {
            let request = tokio::select! {
                biased;
                _ = stop.ordered() => return None,
                request = link.urgent.recv() => request,
                request = link.requests.recv() => request,
                opened = &mut opening => return Some(opened.unwrap_or(Err(faults::UNREACHABLE))),
            };
            let request = request?;
            let outcome = match request.command {
                Command::Ping | Command::Reconnect => Outcome::Sent,
                _ => Outcome::refused("refused/offline", "Moonraker is not connected yet."),
            };
            let _ = request.reply.send(outcome);
        }
    }

    async fn talk(&mut self, link: &mut Link, stop: &Stop, socket: &mut Socket) -> Result<(), Fault> {
        let mut stopping: Option<Instant> = None;
        let mut percent = None;
        loop {
            self.carry_out(link, Some(socket)).await?;
            if stopping.is_some() && !self.replies.contains_key(&STOP_REQUEST) {
                return Ok(());
            }
            let tick = self.core.deadline().unwrap_or_else(|| Instant::now() + NEVER);
            let due = stopping.map_or(tick, |limit| tick.min(limit));
            tokio::select! {
                biased;
                Some(request) = link.urgent.recv() => self.take(request),
                mode = stop.ordered(), if stopping.is_none() => {
                    let command = match mode {
                        StopMode::Leave | StopMode::Detach => return Ok(()),
                        StopMode::Park => Command::Pause,
                        StopMode::Cancel => Command::Cancel(CancelReason::default()),
                    };
                    let (reply, _) = oneshot::channel();
                    self.replies.insert(STOP_REQUEST, reply);
                    self.core.request(now(), STOP_REQUEST, command);
                    stopping = Some(Instant::now() + STOP_LIMIT);
                }
                result = uploaded(&mut self.upload) => {
                    self.upload = None;
                    self.core.uploaded(now(), result);
                }
                frame = socket.next() => {
                    let text = frame?;
                    // Its own load, every second, says nothing about the printer.
                    if !text.contains("\"notify_proc_stat_update\"") {
                        self.note(Way::In, &text);
                    }
                    self.core.frame(now(), &text);
                }
                Some(request) = link.requests.recv() => self.take(request),
                () = sleep_until(due.into()) => {
                    if stopping.is_some_and(|limit| Instant::now() >= limit) {
                        return Ok(());
                    }
                    self.core.tick(now());
                    let seen = self.upload.as_ref().and_then(|(_, sent)| sent.percent());
                    if seen.is_some() && seen != percent {
                        percent = seen;
                        let _ = link.events.try_send(Event::Upload { percent });
                    }
                }
            }
        }
    }

    fn take(&mut self, request: Request) {
        if request.command == Command::Ping {
            let _ = request.reply.send(Outcome::Sent);
            return;
        }
        self.replies.insert(request.id, request.reply);
        self.core.request(now(), request.id, request.command);
    }

    fn note(&self, way: Way, text: &str) {
        self.context
            .wire
            .push(Timestamp::now().as_microsecond(), way, text.as_bytes());
    }

    /// Does what the core wants done.
    async fn carry_out(&mut self, link: &Link, mut socket: Option<&mut Socket>) -> Result<(), Fault> {
        let mut hangup = None;
        while let Some(output) = self.core.poll() {
            match output {
                Output::Send(text) => {
                    if let Some(socket) = &mut socket {
                        self.note(Way::Out, &text);
                        socket.send(text).await?;
                    }
                }
                Output::Event(event) if is_level(&event) => {
                    // A full queue drops it: the next one comes in a second.
                    let _ = link.events.try_send(event);
                }
                Output::Event(event) => {
                    // The actor reads whatever happens; when it is gone so are we.
                    let _ = link.events.send(event).await;
                }
                Output::Reply(id, outcome) => {
                    if let Some(reply) = self.replies.remove(&id) {
                        let _ = reply.send(outcome);
                    }
                }
                Output::Upload(job, name) => {
                    let sent = Arc::new(Sent::default());
                    let scratch = self
                        .context
                        .state_dir
                        .join(format!("klipper-{}.gcode", self.context.printer));
                    let way = upload(self.config.clone(), job, name, scratch, sent.clone());
                    self.upload = Some((Box::pin(way), sent));
                }
                Output::AbortUpload => self.upload = None,
                Output::Remember(record) => {
                    let path = record_path(&self.context);
                    let kept = blocking::run(move || memory::write(&path, record.as_ref())).await;
                    if let Ok(Err(error)) = kept {
                        tracing::warn!(
                            code = "moonraker/memory",
                            "the print could not be noted for a restart: {error}"
                        );
                    }
                }
                Output::Hangup(fault) => hangup = Some(fault),
            }
        }
        hangup.map_or(Ok(()), Err)
    }
}

impl Driver for MoonrakerDriver {
    fn run<'a>(&'a mut self, link: &'a mut Link, stop: &'a Stop) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(self.session(link, stop))
    }
}

/// Resolves when the upload in hand is over; never without one.
async fn uploaded(slot: &mut Option<OnItsWay>) -> Result<(), Fault> {
    match slot {
        Some((upload, _)) => upload.await,
        None => std::future::pending().await,
    }
}

fn is_level(event: &Event) -> bool {
    matches!(
        event,
        Event::Heat { .. } | Event::Progress(_) | Event::Position(_)
    )
}

fn record_path(context: &Context) -> PathBuf {
    context
        .state_dir
        .join(format!("klipper-{}.json", context.printer))
}

fn now() -> Now {
    Now {
        mono: Instant::now(),
        wall: Timestamp::now(),
    }
}
