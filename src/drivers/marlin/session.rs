//! One session on the serial thread: bytes in and out, nothing else.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::answer::LINE_MAX;
use super::config::Config;
use super::faults;
use super::memory_record::Record;
use super::port;
use super::proto::{Marlin, Output};
use super::resume_point::JobMemory;
use super::shell::{ReadOrder, Reading, program_channel};
use super::turns::{Counted, Turns};
use crate::drivers::{Adopt, Context, StopMode};
use crate::host::serial::Roots;
use crate::printer::command::{Request, RequestId};
use crate::printer::event::{Event, JobEvent};
use crate::printer::fault::Fault;
use crate::printer::model::Now;
use crate::printer::outcome::Outcome;
use crate::printer::wire::Way;

/// A write that makes no progress for so long has failed.
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// Edges that wait for room in the actor's channel; beyond this the session ends loudly.
const EDGES_MAX: usize = 4096;
/// Replies that are still owed.
const REPLIES_MAX: usize = 64;
/// How long a stop may take in the core before the session is closed all the same.
const STOP_LIMIT: Duration = Duration::from_secs(140);

/// How a session ended.
#[derive(Debug)]
pub struct SessionEnd {
    /// `Ok`: stopped as ordered.
    pub result: Result<(), Fault>,
    /// The speed that worked.
    pub baud: Option<u32>,
    /// Heaters of a lost print are still to be switched off.
    pub cold_first: bool,
}

impl SessionEnd {
    /// An end before anything was reached.
    pub fn failed(fault: Fault, cold_first: bool) -> Self {
        SessionEnd {
            result: Err(fault),
            baud: None,
            cold_first,
        }
    }
}

/// Everything a session owns.
#[derive(Debug)]
pub struct Session {
    /// Settings.
    pub config: Config,
    /// Surroundings.
    pub context: Context,
    /// Where the port is.
    pub path: PathBuf,
    /// A descriptor of the previous run.
    pub inherited: Option<OwnedFd>,
    /// A job to answer for.
    pub adopt: Option<Adopt>,
    /// The speed that worked last.
    pub baud: Option<u32>,
    /// Heaters of a lost print are to be switched off first.
    pub cold_first: bool,
    /// Ordinary requests.
    pub requests: mpsc::Receiver<Request>,
    /// The emergency lane.
    pub urgent: mpsc::Receiver<Request>,
    /// Programs to read.
    pub reads: mpsc::Sender<ReadOrder>,
    /// The order to stop.
    pub stop: mpsc::Receiver<StopMode>,
    /// The session's future was dropped.
    pub cancel: CancellationToken,
    /// To the actor.
    pub events: mpsc::Sender<Event>,
    /// What the next process has to know.
    pub memory: Option<JobMemory>,
}

/// Its deprecation is about types that lend different descriptors at different times; an `OwnedFd`
/// does not, and the replacement is `unsafe`.
#[allow(deprecated)]
fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    Ok(AsyncFd::try_with_interest(fd, interest)?)
}

fn now() -> Now {
    Now {
        mono: Instant::now(),
        wall: Timestamp::now(),
    }
}

impl Session {
    /// Runs the session on this thread.
    pub fn run(self) -> SessionEnd {
        raise_priority();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build();
        match runtime {
            Ok(runtime) => runtime.block_on(self.serve()),
            Err(error) => SessionEnd::failed(port::lost(&self.path, &error), self.cold_first),
        }
    }

    /// Opens the memory file; gives what the last process left in it.
    fn open_memory(&mut self) -> Option<(Uuid, Vec<Record>)> {
        let dir = &self.context.runtime_dir;
        let path = dir.join(format!("marlin-{}.lines", self.context.printer));
        let opened = std::fs::create_dir_all(dir).and_then(|()| JobMemory::open(&path));
        match opened {
            Ok((memory, left)) => {
                self.memory = Some(memory);
                left
            }
            Err(error) => {
                tracing::warn!(file = %path.display(), "a restart would interrupt prints: {error}");
                None
            }
        }
    }

    fn remember(&mut self, record: &Record) {
        if let Some(memory) = &mut self.memory
            && let Err(error) = memory.keep(record)
        {
            tracing::warn!("a restart would interrupt this print: {error}");
            // Half a memory is worse than none.
            self.memory = None;
        }
    }

    async fn serve(mut self) -> SessionEnd {
        let native_usb = std::fs::canonicalize(&self.path)
            .ok()
            .and_then(|p| p.file_name().map(|n| n.to_string_lossy().starts_with("ttyACM")))
            .unwrap_or(false);
        // A port that stayed open has its speed already.
        let known = self.inherited.as_ref().and_then(|fd| port::baud_of(fd.as_fd()));
        let mut bauds = self.config.bauds(known.or(self.baud), native_usb);
        if let Some(known) = known {
            bauds.retain(|b| *b != known);
            bauds.insert(0, known);
        }
        let baud = bauds.first().copied().unwrap_or(115_200);
        let left = self.open_memory();
        let survived = self.inherited.is_some();
        let opened = match self.inherited.take() {
            Some(fd) => port::adopt_fd(fd),
            None => port::open_fd(&self.path, baud, &Roots::default()),
        };
        // Not for writing: a port tells after each line that there is room again, and would wake us before the answer.
        let opened =
            opened.and_then(|fd| watch(fd, Interest::READABLE).map_err(|e| port::lost(&self.path, &e)));
        let fd = match opened {
            Ok(fd) => fd,
            Err(fault) => {
                // A dead descriptor would keep its lock in the store.
                self.context.fd_store.forget(&self.context.printer);
                self.remember(&Record::End);
                if let Some(adopt) = self.adopt.take() {
                    self.cold_first = true;
                    let lost = Event::Job(JobEvent::Interrupted { uid: adopt.job.uid });
                    let _ = self.events.send(lost).await;
                }
                return SessionEnd::failed(fault, self.cold_first);
            }
        };
        self.context.fd_store.keep(&self.context.printer, fd.as_fd());
        let mut core = Marlin::new(now(), self.config.settings.clone(), &bauds);
        if self.cold_first {
            core.cold_first();
        }
        if let Some(adopt) = self.adopt.take() {
            match left.filter(|(uid, _)| survived && *uid == adopt.job.uid) {
                Some((_, records)) => {
                    core.adopt(now(), adopt.job, records, self.context.pause_on_restart);
                }
                None => core.interrupted(adopt.job.uid),
            }
        }
        let mut line = Line {
            fd,
            core,
            baud,
            partial: Vec::with_capacity(LINE_MAX),
            replies: Vec::new(),
            edges: VecDeque::new(),
            program: None,
            written: 0,
            write_since: None,
            full: None,
            stopped: false,
            turns: Turns::default(),
        };
        let result = line.turn(&mut self).await;
        let detached = line.stopped && line.core.detached();
        if let Err(fault) = &result {
            line.core.link_lost(now(), fault);
            let _ = line.drain(&mut self);
        }
        line.flush_edges(&self.events).await;
        for (_, reply) in line.replies.drain(..) {
            let _ = reply.send(Outcome::refused(
                "refused/link-ended",
                "The connection ended before an answer came.",
            ));
        }
        if !detached {
            // The store lets go a moment later; the next session need not wait for that.
            port::release(line.fd.as_fd());
            self.context.fd_store.forget(&self.context.printer);
        }
        SessionEnd {
            result,
            baud: Some(line.baud),
            cold_first: line.core.is_cold_first(),
        }
    }
}

/// The port and the core, turning.
struct Line {
    fd: AsyncFd<OwnedFd>,
    core: Marlin,
    baud: u32,
    /// The line in the making.
    partial: Vec<u8>,
    replies: Vec<(RequestId, oneshot::Sender<Outcome>)>,
    /// Edges that found the actor's channel full. Bounded by `EDGES_MAX`.
    edges: VecDeque<Event>,
    program: Option<mpsc::Receiver<Reading>>,
    /// Bytes at the front of `tx` that were written already.
    written: usize,
    write_since: Option<Instant>,
    /// The port once more, watched for room after a refused write.
    full: Option<AsyncFd<OwnedFd>>,
    stopped: bool,
    turns: Turns,
}

impl Line {
    async fn turn(&mut self, session: &mut Session) -> Result<(), Fault> {
        let mut buffer = [0u8; 4096];
        let timer = tokio::time::sleep(Duration::from_millis(100));
        tokio::pin!(timer);
        let mut armed = Instant::now() + Duration::from_millis(100);
        let mut fired = false;
        let mut stop_by: Option<Instant> = None;
        let cancel = session.cancel.clone();
        let cancelled = cancel.cancelled();
        tokio::pin!(cancelled);
        loop {
            // Records first: what is written to the port has to be known to the next process.
            self.drain(session)?;
            self.write(session)?;
            self.drain(session)?;
            if self.core.has_tx() && self.write_since.is_none() {
                continue;
            }
            if self.stopped {
                return Ok(());
            }
            let due = [
                self.core.deadline(),
                self.write_since.map(|s| s + WRITE_LIMIT),
                stop_by,
            ]
            .into_iter()
            .flatten()
            .min();
            // Only an earlier deadline re-arms the timer; a later one is found when it fires.
            if fired || due.is_some_and(|due| due < armed) {
                let at = armed_for(due, Instant::now());
                if fired || at < armed {
                    armed = at;
                    timer.as_mut().reset(armed.into());
                }
                fired = false;
            }
            tokio::select! {
                biased;
                Some(request) = session.urgent.recv() => {
                    let at = now();
                    self.owe(&request.id, request.reply);
                    self.core.urgent(at, request.id);
                }
                () = &mut cancelled => return Ok(()),
                ready = self.fd.readable() => {
                    let mut ready = ready.map_err(|e| port::lost(&session.path, &e))?;
                    match rustix::io::read(ready.get_inner(), &mut buffer) {
                        Ok(0) => return Err(port::lost(&session.path, &io::ErrorKind::UnexpectedEof.into())),
                        Ok(count) => {
                            // What comes later raises the flag again (edge triggered), so there is no
                            // second read just to be told that there is nothing.
                            if count < buffer.len() {
                                ready.clear_ready();
                            }
                            drop(ready);
                            self.take(session, buffer.get(..count).unwrap_or_default());
                        }
                        Err(Errno::AGAIN) => ready.clear_ready(),
                        Err(Errno::INTR) => {}
                        Err(errno) => return Err(port::lost(&session.path, &errno.into())),
                    }
                }
                room = room(self.full.as_ref()), if self.full.is_some() => {
                    room.map_err(|e| port::lost(&session.path, &e))?;
                    self.full = None;
                    self.write_since = None;
                }
                batch = next_batch(&mut self.program), if self.core.wants_program() && self.program.is_some() => {
                    match batch {
                        Some(Ok(piece)) => self.core.feed(now(), piece),
                        Some(Err(why)) => {
                            self.program = None;
                            self.core.program_failed(now(), why);
                        }
                        None => {
                            self.program = None;
                            self.core.program_failed(now(), "the reader ended early".to_owned());
                        }
                    }
                }
                Some(mode) = session.stop.recv() => {
                    stop_by = Some(Instant::now() + STOP_LIMIT);
                    self.core.stop(now(), mode);
                }
                Some(request) = session.requests.recv() => {
                    self.owe(&request.id, request.reply);
                    self.core.request(now(), request.id, request.command);
                }
                permit = session.events.reserve(), if !self.edges.is_empty() => {
                    if let (Ok(permit), Some(event)) = (permit, self.edges.pop_front()) {
                        permit.send(event);
                    }
                }
                () = &mut timer => {
                    fired = true;
                    if self.write_since.is_some_and(|s| s.elapsed() >= WRITE_LIMIT) {
                        return Err(faults::WRITE_STUCK);
                    }
                    if stop_by.is_some_and(|by| Instant::now() >= by) {
                        return Err(faults::STOP_TIMEOUT);
                    }
                    self.core.tick(now());
                    choose_turns(&mut self.turns);
                }
            }
        }
    }

    fn owe(&mut self, id: &RequestId, reply: oneshot::Sender<Outcome>) {
        if self.replies.len() >= REPLIES_MAX {
            self.replies.retain(|(_, r)| !r.is_closed());
        }
        self.replies.push((*id, reply));
    }

    /// Cuts bytes into lines and gives them to the core.
    fn take(&mut self, session: &Session, bytes: &[u8]) {
        let at = now();
        let wall_us = at.wall.as_microsecond();
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (head, tail) = rest.split_at_checked(end).unwrap_or((rest, b""));
            rest = tail.get(1..).unwrap_or_default();
            if self.partial.is_empty() {
                session.context.wire.push(wall_us, Way::In, head);
                self.core.line(at, head);
            } else {
                let room = LINE_MAX.saturating_sub(self.partial.len());
                self.partial
                    .extend_from_slice(head.get(..room.min(head.len())).unwrap_or_default());
                session.context.wire.push(wall_us, Way::In, &self.partial);
                self.core.line(at, &self.partial);
                self.partial.clear();
            }
        }
        let room = LINE_MAX.saturating_sub(self.partial.len());
        self.partial
            .extend_from_slice(rest.get(..room.min(rest.len())).unwrap_or_default());
        if room < rest.len()
            || self.partial.len() > 200
                && self
                    .partial
                    .iter()
                    .filter(|b| !b.is_ascii_graphic() && **b != b' ')
                    .count()
                    > 40
        {
            session.context.wire.push(wall_us, Way::In, &self.partial);
            self.partial.clear();
            self.core.noise(at);
        }
    }

    /// Writes what is there, as far as the port takes it now.
    fn write(&mut self, session: &Session) -> Result<(), Fault> {
        if self.write_since.is_some() {
            return Ok(());
        }
        while self.core.has_tx() {
            let tx = self.core.tx();
            let open = tx.get(self.written..).unwrap_or_default();
            match rustix::io::write(self.fd.get_ref(), open) {
                Ok(count) => self.written += count,
                Err(Errno::AGAIN) => {
                    self.write_since = Some(Instant::now());
                    self.full = Some(self.watch_for_room().map_err(|e| port::lost(&session.path, &e))?);
                    return Ok(());
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(port::lost(&session.path, &errno.into())),
            }
            if self.written >= self.core.tx().len() {
                let wall_us = Timestamp::now().as_microsecond();
                for line in self.core.tx().split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
                    session.context.wire.push(wall_us, Way::Out, line);
                }
                self.core.tx().clear();
                self.written = 0;
                self.core.written();
            }
        }
        Ok(())
    }

    fn watch_for_room(&self) -> io::Result<AsyncFd<OwnedFd>> {
        watch(self.fd.get_ref().try_clone()?, Interest::WRITABLE)
    }

    /// Does what the core wants done.
    fn drain(&mut self, session: &mut Session) -> Result<(), Fault> {
        while let Some(output) = self.core.poll() {
            match output {
                Output::Event(event) => self.tell(session, event)?,
                Output::Reply(id, outcome) => {
                    if let Some(index) = self.replies.iter().position(|(owed, _)| *owed == id) {
                        let (_, reply) = self.replies.swap_remove(index);
                        let _ = reply.send(outcome);
                    }
                }
                Output::OpenProgram(opening) => {
                    let (to, from) = program_channel();
                    self.program = Some(from);
                    let order = ReadOrder { opening, to };
                    if session.reads.try_send(order).is_err() {
                        self.program = None;
                        self.core.program_failed(now(), "no reader".to_owned());
                    }
                }
                Output::CloseProgram => self.program = None,
                Output::Baud(baud) => {
                    self.baud = baud;
                    self.partial.clear();
                    port::set_baud_of(self.fd.as_fd(), baud)?;
                }
                Output::Record(record) => session.remember(&record),
                Output::Stopped => self.stopped = true,
                Output::Hangup(fault) => {
                    // What is still to be said (heaters off) goes out first, if the port takes it.
                    self.write(session)?;
                    return Err(fault);
                }
            }
        }
        Ok(())
    }

    /// Never waits: levels are dropped when there is no room, edges are kept in order.
    fn tell(&mut self, session: &Session, event: Event) -> Result<(), Fault> {
        if self.edges.is_empty() {
            match session.events.try_send(event) {
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => return Ok(()),
                Err(mpsc::error::TrySendError::Full(event)) => {
                    if !is_level(&event) {
                        self.edges.push_back(event);
                    }
                    return Ok(());
                }
            }
        }
        if is_level(&event) {
            return Ok(());
        }
        if self.edges.len() >= EDGES_MAX {
            return Err(faults::ACTOR_STUCK);
        }
        self.edges.push_back(event);
        Ok(())
    }

    async fn flush_edges(&mut self, events: &mpsc::Sender<Event>) {
        let all = async {
            while let Some(event) = self.edges.pop_front() {
                if events.send(event).await.is_err() {
                    return;
                }
            }
        };
        // The actor may be gone or stuck; the port is not held for it.
        let _ = tokio::time::timeout(Duration::from_secs(2), all).await;
    }
}

async fn room(full: Option<&AsyncFd<OwnedFd>>) -> io::Result<()> {
    match full {
        Some(full) => full.writable().await.map(drop),
        None => std::future::pending().await,
    }
}

async fn next_batch(program: &mut Option<mpsc::Receiver<Reading>>) -> Option<Reading> {
    match program {
        Some(receiver) => receiver.recv().await,
        None => std::future::pending().await,
    }
}

/// When the timer is to fire: not at once, for there may be nothing to do but to wait for the port.
fn armed_for(due: Option<Instant>, now: Instant) -> Instant {
    due.map_or(now + Duration::from_secs(3600), |due| {
        due.max(now + Duration::from_millis(1))
    })
}

/// May be dropped: a newer one follows.
fn is_level(event: &Event) -> bool {
    matches!(
        event,
        Event::Heat { .. }
            | Event::Progress(_)
            | Event::Position(_)
            | Event::Traffic(_)
            | Event::Checkpoint(_)
            | Event::Message(_)
    )
}

/// Asks for turns of the processor of another length when `turns` says so, once a second.
fn choose_turns(turns: &mut Turns) {
    #[cfg(target_os = "linux")]
    {
        let now = Instant::now();
        if turns.is_due(now)
            && let Ok(line) = std::fs::read_to_string("/proc/thread-self/schedstat")
            && let Some(counted) = Counted::parse(&line)
            && let Some(turn) = turns.look(now, counted)
        {
            let nice = rustix::process::getpriority_process(Some(rustix::thread::gettid())).unwrap_or(0);
            // An older system has turns of one length: nothing is lost.
            let _ = crate::sys::ask_for_turns(nice, turn);
        }
    }
}

/// Ahead of other threads where the system allows it (`LimitNICE=`); without that nothing is lost but
/// some smoothness under load.
fn raise_priority() {
    #[cfg(target_os = "linux")]
    {
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), -10);
    }
}
