//! The session: a port, the core, and a thread of their own.
//!
//! The serial line has its own OS thread with a small runtime and, where allowed, a raised priority,
//! so that nothing else in the daemon (analysis, TLS, disk) can delay the next line. On that thread
//! are the core and the port only. The program is read beside it, by the main runtime, some batches
//! ahead. Requests come through channels; events leave without ever waiting.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::config::{Config, pin_file};
use super::port;
use super::program::Piece;
use super::session::{Session, SessionEnd};
use super::skip::Opening;
use crate::blocking;
use crate::drivers::{Adopt, BoxFuture, Context, Driver, Link, Stop, StopMode};
use crate::gcode::skip::Skip;
use crate::gcode::skip_file::spans_of;
use crate::gcode::source::{FileSource, Prepare, PrepareOptions};
use crate::host::serial::Roots;
use crate::printer::command::{Command, Request};
use crate::printer::event::Event;
use crate::printer::fault::{Fault, Severity};
use crate::printer::outcome::Outcome;

/// Batches read ahead of the core; the reader waits when they are there.
const BATCHES_AHEAD: usize = 1;

/// Bytes of the program in one batch. With those that the core holds more than a second of the fastest
/// moves is there; more is only memory, for every printer anew.
const BATCH_BYTES: usize = 16 * 1024;

/// Order to the bridge: read this program into that channel, from a place on.
#[derive(Debug)]
pub struct ReadOrder {
    /// What, from where on, and what is left out.
    pub opening: Opening,
    /// Where the pieces go.
    pub to: mpsc::Sender<Reading>,
}

/// A Marlin printer.
#[derive(Debug)]
pub struct MarlinDriver {
    config: Config,
    context: Context,
    adopt: Option<Adopt>,
    /// The speed that worked last.
    baud: Option<u32>,
    /// A print was lost while the printer could not be reached: its heaters go off first of all.
    cold_first: bool,
}

impl MarlinDriver {
    /// A driver with its settings.
    pub fn new(config: Config, mut context: Context) -> Self {
        let adopt = context.adopt.take();
        MarlinDriver {
            config,
            context,
            adopt,
            baud: None,
            cold_first: false,
        }
    }

    fn path(&self) -> Result<PathBuf, Fault> {
        let pin = pin_file(&self.context.state_dir, &self.context.printer);
        port::resolve(&self.config.port, &Roots::default(), Some(&pin))
    }

    async fn session(&mut self, link: &mut Link, stop: &Stop) -> Result<(), Fault> {
        // First: an adopted job has to be answered for, whatever comes next.
        let adopt = self.adopt.take();
        let inherited = self.context.fd_store.take(&self.context.printer);
        let path = match self.path() {
            Ok(path) => path,
            Err(fault) => {
                self.cold_first |= adopt.is_some();
                give_up(&link.events, adopt).await;
                return Err(fault);
            }
        };
        let (request_tx, requests) = mpsc::channel(16);
        let (urgent_tx, urgent) = mpsc::channel(4);
        // At most one program is open; a second order can only follow a finished one.
        let (reads, mut read_orders) = mpsc::channel::<ReadOrder>(2);
        let (stop_tx, stop_rx) = mpsc::channel(1);
        let (end_tx, end_rx) = oneshot::channel();
        let cancel = CancellationToken::new();
        // Dropping this future ends the thread and closes the port.
        let _guard = cancel.clone().drop_guard();
        let session = Session {
            config: self.config.clone(),
            context: self.context.clone(),
            path,
            inherited,
            cold_first: self.cold_first,
            adopt,
            baud: self.baud,
            requests,
            urgent,
            reads,
            stop: stop_rx,
            cancel,
            events: link.events.clone(),
            memory: None,
        };
        let name = format!("serial {}", self.context.printer);
        std::thread::Builder::new()
            .name(name.chars().take(15).collect())
            .spawn(move || {
                let end = session.run();
                // Nobody listens when the future was dropped.
                let _ = end_tx.send(end);
            })
            .map_err(|e| thread_fault(&e))?;

        let mut end_rx = end_rx;
        let mut stopping = false;
        // One, and a moment longer the one before it.
        let mut readers = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some(request) = link.urgent.recv() => forward(&urgent_tx, request),
                end = &mut end_rx => {
                    let end = end.unwrap_or_else(|_| SessionEnd::failed(panic_fault(), self.cold_first));
                    self.baud = end.baud.or(self.baud);
                    self.cold_first = end.cold_first;
                    return end.result;
                }
                mode = stop.ordered(), if !stopping => {
                    stopping = true;
                    let mode = if mode == StopMode::Leave { StopMode::Leave } else { mode };
                    let _ = stop_tx.try_send(mode);
                }
                Some(order) = read_orders.recv() => readers.push(read_program(order).boxed()),
                Some(()) = readers.next(), if !readers.is_empty() => {}
                Some(request) = link.requests.recv() => match request.command {
                    Command::Ping => {
                        let _ = request.reply.send(Outcome::Sent);
                    }
                    _ => forward(&request_tx, request),
                },
            }
        }
    }
}

impl Driver for MarlinDriver {
    fn run<'a>(&'a mut self, link: &'a mut Link, stop: &'a Stop) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(self.session(link, stop))
    }
}

/// The port is not there: the job that was to be answered for cannot go on.
async fn give_up(events: &mpsc::Sender<Event>, adopt: Option<Adopt>) {
    if let Some(adopt) = adopt {
        let event = crate::printer::event::JobEvent::Interrupted { uid: adopt.job.uid };
        let _ = events.send(Event::Job(event)).await;
    }
}

/// Hands a request on; answers it when the session cannot take it.
fn forward(to: &mpsc::Sender<Request>, request: Request) {
    if let Err(error) = to.try_send(request) {
        let (request, words) = match error {
            mpsc::error::TrySendError::Full(request) => {
                (request, "The printer is busy with earlier requests.")
            }
            mpsc::error::TrySendError::Closed(request) => (request, "The connection is being closed."),
        };
        let _ = request.reply.send(Outcome::refused("refused/busy", words));
    }
}

/// Reads a program until it is through or nobody wants it any more. A blocking thread is held for one
/// batch at a time only: there are few of them, and a print takes hours.
async fn read_program(order: ReadOrder) {
    let ReadOrder { opening, to } = order;
    let path = opening.job.program.path.clone();
    let words = |error: std::io::Error| format!("{}: {error}", path.display());
    let lost = || Err("the reader of the program failed".to_owned());
    let Ok(opened) = blocking::run(move || open_program(&opening)).await else {
        let _ = to.send(lost()).await;
        return;
    };
    let mut source = match opened {
        Ok(source) => source,
        Err(error) => {
            let _ = to.send(Err(words(error))).await;
            return;
        }
    };
    // Ends also when the session drops the receiver.
    while let Ok(place) = to.reserve().await {
        let read = blocking::run(move || {
            let begin = source
                .place()
                .can_skip()
                .then(|| Arc::new(source.place().clone()));
            let batch = source.next_batch(BATCH_BYTES);
            (batch.map(|batch| Piece { batch, begin }), source)
        });
        let Ok((piece, back)) = read.await else {
            place.send(lost());
            return;
        };
        source = back;
        let last = piece.as_ref().map_or(true, |p| p.batch.last);
        place.send(piece.map_err(words));
        if last {
            return;
        }
    }
}

/// Opens a program where it is to be read, so that objects can be left out of it.
fn open_program(opening: &Opening) -> std::io::Result<FileSource> {
    let cannot = || std::io::Error::other("its objects cannot be told apart, so none can be left out");
    let path = &opening.job.program.path;
    if let Some(from) = &opening.from {
        let place = (**from).clone();
        let place = place.with_plan(opening.plan.clone()).ok_or_else(cannot)?;
        return FileSource::resume(path, place);
    }
    // One object cannot be left out of one.
    let several = opening.job.program.objects.len() > 1;
    let spans = if several { spans_of(path)? } else { None };
    match spans {
        Some(spans) => FileSource::resume(
            path,
            Prepare::new(PrepareOptions::default()).skipping(Skip::new(spans, opening.plan.clone())),
        ),
        None if opening.plan.is_empty() => FileSource::open(path, 0, 0, 0),
        None => Err(cannot()),
    }
}

/// The next lines of a program, or why there are none.
pub type Reading = Result<Piece, String>;

/// A channel for a program, bounded: the reader waits when it is full.
pub fn program_channel() -> (mpsc::Sender<Reading>, mpsc::Receiver<Reading>) {
    mpsc::channel(BATCHES_AHEAD)
}

fn thread_fault(error: &std::io::Error) -> Fault {
    Fault::new(
        Severity::Retry,
        "layerd/no-thread",
        "The connection could not be started.",
        "The system gave no thread for it.",
        "Close other programs or raise the limit of tasks (TasksMax=).",
    )
    .with_raw(error.to_string())
}

fn panic_fault() -> Fault {
    Fault::new(
        Severity::Bug,
        "layerd/driver-panic",
        "The driver of this printer failed and is restarted.",
        "This is a mistake in layerd.",
        "Please report it with the output of `layerd logs PRINTER --wire`.",
    )
}

#[cfg(test)]
#[path = "shell_tests.rs"]
mod tests;
