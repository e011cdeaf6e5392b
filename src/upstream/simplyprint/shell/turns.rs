//! The loop of one socket: frames, snapshots, answers of the work, the database, time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Crew, LOOK_AROUND, Shell};
use crate::agent::backoff::Backoff;
use crate::agent::clock;
use crate::agent::handle::{PrinterHandle, Snapshot};
use crate::agent::pairing::Pairing;
use crate::json::json;
use crate::printer::model::Now;
use crate::sorted::SortedMap;
use crate::upstream::chatter::Chatter;
use crate::upstream::simplyprint::action::{Output, PrinterKey};
use crate::upstream::simplyprint::extras;
use crate::upstream::simplyprint::keep::UPSTREAM;
use crate::upstream::simplyprint::printer::{Permissions, PrinterCore, StartResult};
use crate::upstream::simplyprint::session::{Oddities, Session};
use crate::upstream::simplyprint::socket::{Received, Socket, SocketError};
use crate::upstream::simplyprint::view::View;
use crate::upstream::simplyprint::work::Done;
use crate::upstream::writes::{Write, Writes};

/// How often snapshots are looked at. A person does not notice it, and a printing printer publishes
/// many times a second.
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// The websocket is pinged this often.
const PING_EVERY: Duration = Duration::from_secs(30);
/// A socket that is silent for so long is dead: two pings stayed unanswered.
const SILENT_MAX: Duration = Duration::from_secs(75);
/// How long the end may take.
const END_LIMIT: Duration = Duration::from_secs(5);
/// With less space left than this people are told; files are refused somewhat later.
const DISK_LOW_BYTES: u64 = 512 << 20;
/// Console lines in one message.
const CONSOLE_MAX: usize = 100;

/// Where the socket is.
enum Wire {
    /// Waiting for the next attempt.
    Rest(tokio::time::Instant),
    /// Being opened.
    Opening(BoxFuture<'static, Result<Socket, SocketError>>),
    /// Open.
    Up(Box<Socket>),
}

/// What can happen at the socket.
enum Happened {
    Due,
    Opened(Result<Socket, SocketError>),
    Received(Result<Received, SocketError>),
}

impl Wire {
    async fn next(&mut self) -> Happened {
        match self {
            Wire::Rest(until) => {
                tokio::time::sleep_until(*until).await;
                Happened::Due
            }
            Wire::Opening(attempt) => Happened::Opened(attempt.await),
            Wire::Up(socket) => Happened::Received(socket.receive().await),
        }
    }
}

/// A printer on a socket.
pub(super) struct Member {
    pub(super) handle: PrinterHandle,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    bed_dirty: bool,
    pub(super) fetch: Option<CancellationToken>,
    /// Console lines told so far, while the console is mirrored.
    pub(super) console: Option<String>,
    pairing: Option<Pairing>,
    pub(super) code: Option<String>,
    pub(super) chatter: Chatter,
    /// When it was last looked whether the camera works.
    pub(super) camera_asked: Option<Instant>,
}

/// Both ends of a channel from the work to the loop.
type Lane<T> = (mpsc::Sender<T>, mpsc::Receiver<T>);

pub(super) struct Loop {
    pub(super) shell: Arc<Shell>,
    crew: Crew,
    pub(super) session: Session,
    pub(super) members: SortedMap<PrinterKey, Member>,
    pub(super) work: FuturesUnordered<BoxFuture<'static, Done>>,
    writes: Writes,
    pub(super) percents: Lane<(PrinterKey, u64, i64)>,
    pub(super) accepted: Lane<(PrinterKey, u64, Uuid)>,
    wire: Wire,
    backoff: Backoff,
    opened_at: Option<Instant>,
    heard_at: Instant,
    pinged_at: Instant,
    /// Number of the last confirmation asked for.
    confirm: u64,
    told_why: Option<String>,
    /// People were told that the disk is nearly full.
    disk_told: bool,
    oddities: Oddities,
}

impl Loop {
    pub(super) fn new(shell: Arc<Shell>, crew: Crew) -> Self {
        let now = Instant::now();
        let writes = Writes::new(shell.house.agent.store().clone(), shell.keep.space(), "the cloud");
        Loop {
            session: Session::new(shell.mode),
            crew,
            members: SortedMap::new(),
            work: FuturesUnordered::new(),
            writes,
            // Percents: when full the next one follows. Accepted starts: the sender waits.
            percents: mpsc::channel(64),
            accepted: mpsc::channel(64),
            wire: Wire::Rest(tokio::time::Instant::now()),
            backoff: Backoff::default(),
            opened_at: None,
            heard_at: now,
            pinged_at: now,
            confirm: 0,
            told_why: None,
            disk_told: false,
            oddities: Oddities::default(),
            shell,
        }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut around = tokio::time::interval(LOOK_AROUND);
        around.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.look_around().await;
        loop {
            let due = self.session.deadline(clock::now().mono);
            let due = due.map_or_else(
                || tokio::time::Instant::now() + Duration::from_secs(3600),
                tokio::time::Instant::from_std,
            );
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                happened = self.wire.next() => self.happened(happened),
                Some(done) = self.work.next(), if !self.work.is_empty() => self.done(done),
                Some((key, number, uid)) = self.accepted.1.recv() => {
                    self.look();
                    if let Some(core) = self.session.printer_mut(key) {
                        core.started(clock::now(), number, StartResult::Accepted(uid));
                    }
                }
                Some((key, number, percent)) = self.percents.1.recv() => {
                    if let Some(core) = self.session.printer_mut(key) {
                        core.fetched_so_far(number, percent);
                    }
                }
                saved = self.writes.next() => {
                    if let Some(saved) = saved && let Some(core) = self.session.printer_mut(saved.printer) {
                        core.saved(clock::now().mono, saved.version, saved.ok);
                    }
                }
                _ = around.tick() => self.look_around().await,
                _ = look.tick() => self.look(),
                () = tokio::time::sleep_until(due) => {}
            }
            self.turn();
        }
        self.end().await;
    }

    /// Says and does what is due.
    fn turn(&mut self) {
        self.session.pump(clock::now());
        self.carry_out();
        self.publish_pairings();
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Send(text) => self.send(|socket| socket.send(text)),
                Output::Confirm => {
                    self.confirm += 1;
                    let number = self.confirm;
                    self.send(|socket| socket.ping(number));
                }
                Output::Act(key, action) => self.act(key, action),
                Output::Save {
                    printer,
                    version,
                    body,
                } => {
                    if let Some(name) = self.name_of(printer) {
                        self.writes.push(Write::Doc {
                            printer,
                            name,
                            version,
                            body,
                        });
                    }
                }
                Output::Put(key, entry) => {
                    if let Some(name) = self.name_of(key) {
                        self.writes.push(Write::put(name, &entry.key, &entry));
                    }
                }
                Output::Delivered(key, keys) => {
                    if let Some(name) = self.name_of(key) {
                        self.writes.push(Write::Done { name, keys });
                    }
                }
                Output::Hangup { why, wait } => {
                    if matches!(self.wire, Wire::Up(_)) {
                        self.hang_up(&why, wait);
                    }
                }
            }
        }
    }

    fn name_of(&self, key: PrinterKey) -> Option<String> {
        self.members.get(&key).map(|m| m.handle.name().to_owned())
    }

    fn send(&mut self, f: impl FnOnce(&Socket) -> Result<(), SocketError>) {
        let Wire::Up(socket) = &self.wire else { return };
        if let Err(error) = f(socket) {
            self.hang_up(&error.to_string(), None);
        }
    }

    fn happened(&mut self, happened: Happened) {
        let now = clock::now();
        match happened {
            Happened::Due if self.members.is_empty() => {
                // Nobody to speak for.
                self.wire = Wire::Rest(tokio::time::Instant::now() + LOOK_AROUND);
            }
            Happened::Due => {
                let (base, path) = (self.shell.endpoints.ws.clone(), self.session.path());
                let tls = self.shell.tls.clone();
                self.wire = Wire::Opening(Box::pin(
                    async move { Socket::open(&base, path.reveal(), tls).await },
                ));
            }
            Happened::Opened(Ok(socket)) => {
                self.wire = Wire::Up(Box::new(socket));
                self.opened_at = Some(now.mono);
                self.heard_at = now.mono;
                self.pinged_at = now.mono;
                self.session.opened(now);
            }
            Happened::Opened(Err(error)) => self.rest(&error.to_string(), None),
            Happened::Received(Ok(received)) => {
                self.heard_at = now.mono;
                match received {
                    Received::Text(text) => {
                        self.session.frame(now, &text, fastrand::f64());
                        if self.session.is_ready() && self.told_why.take().is_some() {
                            tracing::info!("connected to SimplyPrint");
                        }
                    }
                    Received::Pong(number) if number == self.confirm => self.session.confirmed(),
                    Received::Pong(_) | Received::Alive => {}
                }
            }
            Happened::Received(Err(error)) => self.hang_up(&error.to_string(), None),
        }
    }

    fn hang_up(&mut self, why: &str, wait: Option<Duration>) {
        self.rest(why, wait);
        self.session.closed(clock::now());
    }

    /// Lets the socket go and waits for the next attempt.
    fn rest(&mut self, why: &str, wait: Option<Duration>) {
        let lasted = self.opened_at.take().map_or(Duration::ZERO, |at| at.elapsed());
        let pause = self.backoff.next(lasted, fastrand::f64()).saturating_mul(2);
        let pause = match wait {
            Some(wait) => wait.max(pause).mul_f64(1.0 + 0.2 * fastrand::f64()),
            None => pause,
        };
        // A cloud that is away for a day is one line in the log.
        if self.told_why.as_deref() != Some(why) {
            tracing::warn!(code = "cloud/link", "no connection to SimplyPrint: {why}");
            self.told_why = Some(why.to_owned());
        }
        self.wire = Wire::Rest(tokio::time::Instant::now() + pause);
    }

    /// New snapshots, and the console where it is mirrored.
    fn look(&mut self) {
        let now = clock::now();
        for (key, member) in &mut self.members {
            let Some(core) = self.session.printer_mut(*key) else {
                continue;
            };
            if member.snapshots.has_changed().unwrap_or(false) {
                let snapshot = member.snapshots.borrow_and_update().clone();
                core.observe(now, View::of(&snapshot.state, snapshot.last.as_deref()));
                if std::mem::replace(&mut member.bed_dirty, snapshot.state.bed_dirty)
                    && !snapshot.state.bed_dirty
                {
                    core.bed_cleared();
                }
            }
        }
    }

    /// The list of printers, the host, the health of the socket.
    async fn look_around(&mut self) {
        let now = clock::now();
        let handles = self.shell.house.agent.printers();
        let wanted: Vec<&PrinterHandle> = handles
            .iter()
            .filter(|h| match self.crew {
                Crew::All => true,
                Crew::One(key) => h.id() == key,
            })
            .collect();
        for key in self.session.keys() {
            if !wanted.iter().any(|h| h.id() == key) {
                self.session.remove(now, key);
                self.carry_out();
                self.members.remove(&key);
                self.shell.house.agent.pairings().set(key, UPSTREAM, None);
            }
        }
        for handle in wanted {
            if let Some(member) = self.members.get(&handle.id())
                // A restart of the printer's task with new settings makes a new handle.
                && member.snapshots.has_changed().is_ok()
            {
                continue;
            }
            self.join(handle.clone()).await;
        }
        for key in self.session.keys() {
            let host = self.shell.house.host.borrow().clone();
            self.look_through(key);
            let mut extras = extras::of_host(&self.shell.house.name, &host);
            extras.camera = self.members.get(&key).and_then(|m| m.handle.camera_works());
            if let Some(core) = self.session.printer_mut(key) {
                core.observe_extras(extras);
            }
        }
        self.tell_disk(now);
        self.mirror_consoles();
        self.tell_oddities();
        self.keep_alive(now.mono);
    }

    async fn join(&mut self, handle: PrinterHandle) {
        let key = handle.id();
        let (doc, waiting) = match self.shell.keep.load(handle.name()).await {
            Ok(kept) => kept,
            Err(error) => {
                // Without its identity it must not go to set-up: it is tried again.
                tracing::error!(
                    printer = handle.name(),
                    code = error.code(),
                    "the cloud identity was not read: {error}"
                );
                return;
            }
        };
        let mut snapshots = handle.watch();
        snapshots.mark_changed();
        let bed_dirty = handle.snapshot().state.bed_dirty;
        let known = self.members.insert(
            key,
            Member {
                handle,
                snapshots,
                bed_dirty,
                fetch: None,
                console: None,
                pairing: None,
                code: None,
                chatter: Chatter::new(Instant::now()),
                camera_asked: None,
            },
        );
        if known.is_some() {
            return;
        }
        let permissions = Permissions(self.shell.house.allow.clone());
        let core = PrinterCore::new(doc, waiting, permissions, clock::now());
        self.session.add(key, core);
    }

    fn mirror_consoles(&mut self) {
        for (key, member) in &mut self.members {
            let Some(last) = &mut member.console else { continue };
            let lines = member.handle.wire().dump();
            let fresh = lines.iter().rposition(|l| l == last).map_or(0, |at| at + 1);
            let fresh = lines.get(fresh..).unwrap_or_default();
            let fresh = fresh
                .get(fresh.len().saturating_sub(CONSOLE_MAX)..)
                .unwrap_or_default();
            let Some(newest) = fresh.last() else { continue };
            *last = newest.clone();
            let text = |way: &str| -> Vec<String> {
                fresh
                    .iter()
                    .filter_map(|l| l.split_once(way).map(|(_, text)| text.to_owned()))
                    .collect()
            };
            let (command, response) = (text("Z > "), text("Z < "));
            if let Some(core) = self.session.printer_mut(*key) {
                if !command.is_empty() {
                    core.answered("term_update", json!({"command": command}));
                }
                if !response.is_empty() {
                    core.answered("term_update", json!({"response": response}));
                }
            }
        }
    }

    /// A disk that fills up ends uploads and downloads before it ends anything else: said once, at one of the
    /// printers, which are all of the same account.
    fn tell_disk(&mut self, now: Now) {
        let free = self.shell.house.host.borrow().disk_free_bytes;
        let low = free.filter(|bytes| *bytes < DISK_LOW_BYTES);
        if low.is_none() {
            // Enough again, with some distance.
            self.disk_told &= free.is_none_or(|bytes| bytes < DISK_LOW_BYTES * 2);
        }
        let (Some(free), false) = (low, self.disk_told) else {
            return;
        };
        let mut keys = self.session.keys().into_iter();
        let connected = keys.find(|key| self.session.printer(*key).is_some_and(PrinterCore::is_connected));
        if let Some(core) = connected.and_then(|key| self.session.printer_mut(key)) {
            let text = format!(
                "{} MB are left on the disk of {}. New files are refused soon; remove what is not needed there.",
                free / 1_000_000,
                self.shell.house.name
            );
            core.refused(now, "The host's disk is nearly full.", &text);
            self.disk_told = true;
        }
    }

    fn tell_oddities(&mut self) {
        let now = self.session.oddities();
        if now != self.oddities {
            tracing::debug!(?now, "the cloud said things that are not understood");
            self.oddities = now;
        }
    }

    fn keep_alive(&mut self, now: Instant) {
        if !matches!(self.wire, Wire::Up(_)) {
            return;
        }
        if now.saturating_duration_since(self.heard_at) >= SILENT_MAX {
            self.hang_up("it fell silent", None);
        } else if now.saturating_duration_since(self.pinged_at) >= PING_EVERY {
            self.pinged_at = now;
            // 0 is nobody's confirmation.
            self.send(|socket| socket.ping(0));
        }
    }

    fn done(&mut self, done: Done) {
        let now = clock::now();
        let key = match &done {
            Done::Nothing => return,
            Done::Refused(key, ..)
            | Done::Executed(key, ..)
            | Done::Fetched(key, ..)
            | Done::Started(key, ..)
            | Done::LookedUp(key, ..)
            | Done::LookedUpStart(key, ..)
            | Done::Objects(key, ..)
            | Done::Answer(key, ..)
            | Done::Frame(key, ..) => *key,
        };
        // What the state says already must be known before an answer is judged.
        self.look();
        let Some(core) = self.session.printer_mut(key) else {
            return;
        };
        match done {
            Done::Nothing => {}
            Done::Refused(_, what, why) => core.refused(now, what, &why),
            Done::Executed(_, identifier, ok, message) => core.executed(&identifier, ok, &message),
            Done::Fetched(_, number, result) => core.fetched(now, number, result),
            Done::Started(_, number, result) => core.started(now, number, result),
            Done::LookedUp(_, uid, ended) => core.looked_up(now, uid, ended),
            Done::LookedUpStart(_, uid) => core.looked_up_start(now, uid),
            Done::Objects(_, uid, objects) => core.objects(uid, objects),
            Done::Answer(_, kind, data) => core.answered(kind, data),
            Done::Frame(_, picture) => core.frame(now, picture),
        }
    }

    fn publish_pairings(&mut self) {
        for (key, member) in &mut self.members {
            let Some(core) = self.session.printer(*key) else {
                continue;
            };
            let doc = core.doc();
            let pairing = Pairing {
                connected: core.is_connected(),
                code: member.code.clone(),
                id: Some(doc.id).filter(|id| *id > 0),
                name: doc.name.clone(),
                trouble: None,
            };
            if member.pairing.as_ref() != Some(&pairing) {
                let board = self.shell.house.agent.pairings();
                board.set(*key, UPSTREAM, Some(pairing.clone()));
                member.pairing = Some(pairing);
            }
        }
    }

    async fn end(mut self) {
        self.look();
        self.session.pump(clock::now());
        self.session.farewell();
        self.carry_out();
        if let Wire::Up(socket) = std::mem::replace(&mut self.wire, Wire::Rest(tokio::time::Instant::now())) {
            socket.close().await;
        }
        self.session.closed(clock::now());
        self.session.pump(clock::now());
        self.carry_out();
        self.writes.flush(END_LIMIT).await;
        for key in self.members.keys() {
            self.shell.house.agent.pairings().set(*key, UPSTREAM, None);
        }
    }
}
