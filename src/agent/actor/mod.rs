//! The actor of one printer: owns its state and its job, asks the guard, talks to the driver.
//!
//! It never waits for the disk, the network or the printer: what takes time runs in a task of its own
//! and comes back as a message. So a command is judged and handed on within one turn of this loop.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use super::clock;
use super::handle::{AgentShared, Ask, Pending, Shared, Snapshot};
use super::power_gate::gated;
use super::supply;
use crate::config::model::Release;
use crate::drivers::{Adopt, BoxFuture, Build, Context, StopMode};
use crate::host::fdstore::FdStore;
use crate::job::analysis_pool::AnalysisPool;
use crate::job::counters_file::CountersFile;
use crate::job::machine::JobInput;
use crate::job::place::PlaceFile;
use crate::job::record::JobRecord;
use crate::job::spool::Spool;
use crate::job::store::{Store, StoreError};
use crate::job::timing::Timing;
use crate::power::switch::Switch;
use crate::printer::command::{Command, Request};
use crate::printer::event::{Event, JobEvent};
use crate::printer::fault::{Fault, Severity};
use crate::printer::guard::{Limits, guard};
use crate::printer::model::{Activity, LinkState, Now, State, StateWord, Supply};
use crate::printer::notice::{Level, Notice};
use crate::printer::outcome::{Outcome, Refusal};
use crate::printer::reduce::{clock_set, reduce, settle};
use crate::printer::wall_clock::WallClock;

mod again;
mod bed_side;
mod driver_side;
mod jobs;
mod progress;
mod start;
mod supply_side;
mod told;

use again::{Found, Repeats};
use bed_side::ReleaseSide;
use driver_side::DriverSide;
use jobs::JobInHand;
use start::{Held, Preparing};

/// How often the actor looks around although nothing happens.
const TURN: Duration = Duration::from_secs(2);

/// Events taken in one go before a snapshot is published and requests are looked at.
const EVENTS_AT_ONCE: usize = 64;

/// What the actor needs from the rest of the process.
#[derive(Clone, Debug)]
pub struct Means {
    /// The database.
    pub store: Store,
    /// The files.
    pub spool: Spool,
    /// The analysis pool.
    pub pool: AnalysisPool,
    /// Serial descriptors of the previous run.
    pub fd_store: Arc<FdStore>,
    /// Memory-backed directory.
    pub runtime_dir: PathBuf,
    /// Durable directory.
    pub state_dir: PathBuf,
}

/// The settings of one printer, as far as the actor needs them.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Limits for guard and pre-flight.
    pub preflight: crate::job::preflight::Limits,
    /// A finished print must be cleared first.
    pub require_clear_bed: bool,
    /// Seconds between checkpoints on disk.
    pub checkpoint: Duration,
    /// A quick restart pauses the print instead of going on.
    pub pause_on_restart: bool,
    /// How a completed print leaves the bed by itself.
    pub release: Option<Release>,
}

/// One printer's actor.
pub struct Actor {
    shared: Arc<Shared>,
    agent: Arc<AgentShared>,
    build: Arc<dyn Build>,
    means: Means,
    settings: Settings,
    state: State,
    clock: WallClock,
    driver: DriverSide,
    job: Option<JobInHand>,
    place: PlaceFile,
    /// The last job that ended in this run.
    last: Option<Arc<JobRecord>>,
    preparing: Option<Preparing>,
    starts: FuturesUnordered<BoxFuture<'static, (Uuid, Outcome)>>,
    /// Small writes to the database that nobody waits for.
    chores: FuturesUnordered<BoxFuture<'static, Result<(), StoreError>>>,
    /// How the bed is cleared by itself, and lines for that which are on their way: at most one.
    release: Option<ReleaseSide>,
    releases: FuturesUnordered<BoxFuture<'static, Outcome>>,
    /// Times of files that are being looked up: one per print.
    timings: FuturesUnordered<BoxFuture<'static, (Uuid, Option<Arc<Timing>>)>>,
    /// A start that is checked and waits for the word to go on.
    held: Option<Held>,
    /// Starts that may have been there before: looked up, and those that wait for the end of the first.
    lookups: FuturesUnordered<BoxFuture<'static, Found>>,
    repeats: Repeats,
    asks: mpsc::Receiver<Ask>,
    /// What the switch of its supply is seen to do.
    supply: Option<watch::Receiver<Option<Supply>>>,
    stopping: Option<oneshot::Sender<()>>,
    dirty: bool,
}

impl Actor {
    /// Takes over a printer: looks up what it was doing when the last run ended, starts its driver.
    pub(super) async fn new(
        shared: Arc<Shared>,
        agent: Arc<AgentShared>,
        build: Arc<dyn Build>,
        means: Means,
        settings: Settings,
        asks: mpsc::Receiver<Ask>,
    ) -> Self {
        let now = clock::now();
        let mut state = State::new(now);
        state.wired = build.link_is_printer();
        told::before(&means, &shared.name, &mut state, now).await;
        let (job, adopt) = jobs::take_over(&means, &shared.name, &mut state, now).await;
        state.bed_dirty = means.store.bed_dirty(&shared.name).await.unwrap_or_else(|error| {
            tracing::error!(printer = %shared.name, "{error}");
            // Unknown is not clear: with `require_clear_bed` a person looks once more.
            true
        });
        let release = bed_side::load(
            &means.store,
            (shared.id, &*shared.name),
            settings.release.as_ref(),
        )
        .await;
        let context = context(&means, &shared, &settings, adopt);
        let switch = shared.supply.as_ref().map(|s| &s.switch);
        let supply = switch.map(Switch::level);
        let driver = DriverSide::start(gated(build.build(context), switch), &shared, now.mono);
        let place = PlaceFile::of(&means.runtime_dir, &shared.name);
        CountersFile::of(&means.state_dir, &shared.name)
            .reconcile(&means.store, &shared.name)
            .await;
        let mut actor = Actor {
            shared,
            agent,
            build,
            means,
            settings,
            state,
            clock: WallClock::new(clock::booted(now), now),
            driver,
            job,
            place,
            last: None,
            preparing: None,
            starts: FuturesUnordered::new(),
            chores: FuturesUnordered::new(),
            release,
            releases: FuturesUnordered::new(),
            timings: FuturesUnordered::new(),
            held: None,
            lookups: FuturesUnordered::new(),
            repeats: Repeats::default(),
            asks,
            supply,
            stopping: None,
            dirty: true,
        };
        actor.want_timing();
        actor.publish();
        actor
    }

    /// Runs until the stop is carried out.
    pub async fn run(mut self) {
        let mut turn = tokio::time::interval(TURN);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                event = self.driver.events.recv() => match event {
                    Some(event) => {
                        self.on_event(event);
                        for _ in 1..EVENTS_AT_ONCE {
                            let Ok(event) = self.driver.events.try_recv() else { break };
                            self.on_event(event);
                        }
                    }
                    None if self.stopping.is_some() => break,
                    None => self.restart_driver("layerd/driver-ended", "The driver of this printer ended by itself."),
                },
                ask = self.asks.recv() => match ask {
                    Some(ask) => self.on_ask(ask),
                    // All handles are gone: nobody can ask or stop us any more.
                    None => break,
                },
                prepared = start::prepared(&mut self.preparing) => self.on_prepared(prepared),
                Some((uid, outcome)) = self.starts.next(), if !self.starts.is_empty() => self.on_started(uid, outcome),
                Some(done) = self.chores.next(), if !self.chores.is_empty() => {
                    if let Err(error) = done {
                        tracing::error!(printer = %self.shared.name, "{error}");
                    }
                }
                Some(outcome) = self.releases.next(), if !self.releases.is_empty() => self.release_sent(&outcome),
                Some((uid, timing)) = self.timings.next(), if !self.timings.is_empty() => self.on_timing(uid, timing),
                Some(found) = self.lookups.next(), if !self.lookups.is_empty() => self.on_looked_up(found),
                supply = supply::changed(&mut self.supply) => self.on_supply(supply),
                _ = turn.tick() => self.on_turn(),
            }
            if self.dirty {
                self.publish();
                self.dirty = false;
            }
        }
        self.finish().await;
    }

    /// Everything of the job in hand goes by the clock as it was set last.
    fn mind_clock(&mut self, now: Now) {
        let Some(step) = self.clock.look(now) else { return };
        clock_set(&mut self.state, &step);
        if let Some(job) = &mut self.job {
            tracing::info!(printer = %self.shared.name, by = %step.by(), "the clock was set in a print");
            job.clock_set(&step);
            job.save(&self.means.store, now);
        }
        self.dirty = true;
    }

    fn on_turn(&mut self) {
        let now = clock::now();
        self.mind_clock(now);
        self.shared.beat_s.store(self.agent.up_s(), Ordering::Relaxed);
        let before = self.state.word();
        if settle(&mut self.state, now) {
            self.dirty = true;
            if self.state.word() != before {
                self.note("offline");
            }
            self.lose_job();
        }
        if self.stopping.is_none() {
            self.release_tick();
        }
        if self.stopping.is_none() && self.driver.is_wedged(now.mono, &self.shared) {
            self.restart_driver(
                "layerd/driver-wedged",
                "The driver of this printer did not answer for a minute.",
            );
        }
        if let Some(job) = &mut self.job {
            job.save_checkpoint_if_due(&self.means.store, now, self.settings.checkpoint);
        }
    }

    fn on_event(&mut self, event: Event) {
        let now = clock::now();
        self.mind_clock(now);
        self.dirty = true;
        let event = match (event, &mut self.job) {
            (Event::Checkpoint(checkpoint), job) => {
                if let Some(job) = job {
                    // A crash finds it there; the database hears of it once a minute.
                    if let Err(error) = self.place.keep(job.record().uid, &checkpoint) {
                        tracing::debug!("the place of the print was not kept: {error}");
                    }
                    job.remember(checkpoint);
                }
                return;
            }
            (Event::Progress(progress), Some(job)) => Event::Progress(job.complete_progress(progress, now)),
            (Event::Danger(fault), _) => {
                self.cut_supply(&fault);
                return;
            }
            (event, _) => event,
        };
        let down = match &event {
            Event::Down { why } => Some(why.clone()),
            _ => None,
        };
        let up = matches!(event, Event::Up);
        let noted = match &event {
            Event::Notice(notice) => Some(format!("notice: {} {}", notice.title, notice.text)),
            _ => None,
        };
        if let (Event::Skipped(ids), Some(job)) = (&event, &mut self.job) {
            let byte = self.state.job.as_ref().and_then(|active| active.progress.byte);
            job.leave_out(ids, byte);
            job.apply(now, JobInput::Skipped(ids.clone()));
            job.save(&self.means.store, now);
            let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
            self.note(format!("left out: object {}", ids.join(", ")));
        }
        let changes = reduce(&mut self.state, now, event);
        if changes.heated {
            self.on_heated(now);
        }
        if let Some(text) = noted {
            self.note(text);
        }
        if let Some(why) = down {
            self.release_stops("The connection to the printer was lost meanwhile.");
            self.on_down(why);
        }
        if up {
            self.note("connected");
            self.raise_cleared("link");
        }
        if let Some(job) = changes.job {
            self.on_job(job);
        }
        if changes.word {
            let word = self.state.word();
            tracing::info!(printer = %self.shared.name, state = %word, "state");
            self.note(word.as_str());
            self.on_idle_after_outside();
        }
    }

    fn on_down(&mut self, why: Option<Fault>) {
        let Some(fault) = why else { return };
        // One notice and one line per kind of trouble, not one per attempt.
        if !self
            .state
            .notices
            .iter()
            .any(|n| n.code.as_deref() == Some(&*fault.code))
        {
            self.note(format!("link lost: {fault}"));
            let mut notice = Notice::of_fault(&fault, Level::Error, clock::now().wall);
            notice.key = "link".to_owned();
            reduce(&mut self.state, clock::now(), Event::Notice(notice));
        }
    }

    fn on_ask(&mut self, ask: Ask) {
        match ask {
            Ask::Command { command, accepted } => {
                // The requester may have gone; the command is then executed all the same.
                let _ = accepted.send(self.command(command));
            }
            Ask::Print {
                order,
                hold,
                accepted,
            } => self.prepare(order, hold, accepted),
            Ask::Before { start_id, answer } => self.started_before(start_id, answer),
            Ask::Release { accepted } => self.release_start(accepted),
            // Events are taken before requests, and shown before the next request is taken.
            Ask::CatchUp { done } => {
                let _ = done.send(());
            }
            Ask::ClearBed { rating, done } => {
                let _ = done.send(self.clear_bed(rating));
            }
            Ask::BedRules { change, done } => {
                let outcome = self.release_changes(change);
                // Whoever looks after the answer sees the change.
                self.publish();
                let _ = done.send(outcome);
            }
            Ask::Dismiss { key, done } => {
                let known = self.state.notices.iter().any(|n| n.key == key);
                self.close_notice(&key);
                let _ = done.send(if known {
                    Outcome::Verified
                } else {
                    Outcome::refused("refused/unknown-notice", "There is no such open notice.")
                });
            }
            Ask::Power { on, accepted } => {
                let _ = accepted.send(self.power(on));
            }
            Ask::Stop { mode, done } => self.stop(mode, done),
        }
    }

    fn command(&mut self, command: Command) -> Result<Pending, Refusal> {
        guard(&self.state, &self.limits(), &command)?;
        self.note(format!("asked: {}", command.name()));
        if let (Command::Cancel(reason), Some(job)) = (&command, &mut self.job) {
            job.remember_cancel(reason);
        }
        // Before anything was sent to the printer a cancel is ours alone.
        if matches!(command, Command::Cancel(_)) && (self.preparing.is_some() || self.held.is_some()) {
            return Ok(self.cancel_preparation());
        }
        self.hand_on(command)
    }

    /// Gives a command to the driver; its answer goes to the requester.
    fn hand_on(&mut self, command: Command) -> Result<Pending, Refusal> {
        let (reply, answer) = oneshot::channel();
        let limit = time_limit(&command);
        let deadline = clock::now().mono + limit;
        let request = Request {
            id: self.shared.request_id(),
            command,
            deadline,
            reply,
        };
        match self.driver.send(request) {
            Ok(()) => Ok(Pending::new(answer, limit)),
            Err(_) => Err(Refusal::new(
                "refused/busy",
                "The printer is busy with other requests. Try again in a moment.",
            )),
        }
    }

    fn limits(&self) -> Limits {
        let preflight = self.preflight_limits();
        Limits {
            max_tool_c: preflight.max_tool_c,
            max_bed_c: preflight.max_bed_c,
            // Lines that clear the bed and a print must never meet.
            require_clear_bed: self.settings.require_clear_bed || self.release.is_some(),
            draining: self.agent.draining.load(Ordering::Relaxed) || self.stopping.is_some(),
        }
    }

    /// The limits of the configuration; what it leaves open, the printer's own configuration tells.
    fn preflight_limits(&self) -> crate::job::preflight::Limits {
        self.settings.preflight.completed(self.state.limits.as_ref())
    }

    fn clear_bed(&mut self, rating: Option<u8>) -> Outcome {
        match self.state.word() {
            StateWord::Operational | StateWord::Offline | StateWord::Error | StateWord::NotReady => {}
            word => {
                return Outcome::refused(
                    "refused/wrong-state",
                    format!("Cannot clear the bed: the printer is {word}. Wait for the end of the print."),
                );
            }
        }
        self.state.bed_dirty = false;
        self.dirty = true;
        self.note("bed cleared");
        self.release_by_hand();
        // Who clears the bed has seen what became of the print.
        self.close_notice(told::JOB);
        self.keep_bed(false);
        if let Some(rating) = rating {
            self.rate_last_job(rating);
        }
        Outcome::Verified
    }

    fn stop(&mut self, mode: StopMode, done: oneshot::Sender<()>) {
        self.note(match mode {
            StopMode::Detach => "service restarts; the print goes on",
            StopMode::Park => "service stops; a running print is parked",
            StopMode::Cancel => "service stops; a running print is cancelled",
            StopMode::Leave => "service stops",
        });
        self.lose_preparation();
        self.stopping = Some(done);
        self.driver.order_stop(mode);
    }

    /// A driver that hangs or has ended is replaced; only this printer notices.
    fn restart_driver(&mut self, code: &'static str, what: &'static str) {
        let now = clock::now();
        let fault = Fault::new(
            Severity::Bug,
            code,
            what,
            "This is a mistake in layerd, or the host's serial port hangs.",
            "It was restarted alone; other printers are not touched.",
        );
        tracing::error!(printer = %self.shared.name, code, "{fault}");
        let notice = Notice::of_fault(&fault, Level::Error, now.wall);
        let adopt = self.job.as_ref().and_then(|job| job.adopt(&self.state));
        let context = context(&self.means, &self.shared, &self.settings, adopt);
        let switch = self.shared.supply.as_ref().map(|s| &s.switch);
        let fresh = DriverSide::start(gated(self.build.build(context), switch), &self.shared, now.mono);
        std::mem::replace(&mut self.driver, fresh).abandon();
        reduce(&mut self.state, now, Event::Down { why: Some(fault) });
        reduce(&mut self.state, now, Event::Notice(notice));
        self.note(what);
        self.dirty = true;
    }

    async fn finish(mut self) {
        let now = clock::now();
        if !matches!(self.state.link, LinkState::Down { .. }) {
            reduce(&mut self.state, now, Event::Down { why: None });
        }
        self.publish();
        if let Some(job) = self.job.take() {
            job.save_now(&self.means.store).await;
        }
        while self.chores.next().await.is_some() {}
        if let Some(done) = self.stopping.take() {
            let _ = done.send(());
        }
    }

    fn note(&self, text: impl Into<String>) {
        if let Some(line) = self.shared.journal.add(clock::now().wall, text) {
            self.means.store.journal_append(&self.shared.name, line);
        }
    }

    fn raise_cleared(&mut self, key: &str) {
        reduce(
            &mut self.state,
            clock::now(),
            Event::NoticeCleared(key.to_owned()),
        );
        self.dirty = true;
    }

    fn publish(&self) {
        self.shared.snapshot.send_replace(Arc::new(Snapshot {
            at: clock::now(),
            state: self.state.clone(),
            job_id: self.job.as_ref().and_then(JobInHand::id),
            last: self.last.clone(),
        }));
    }

    fn on_idle_after_outside(&mut self) {
        // An outside print that was known from before a restart and is not seen any more.
        let idle = self.state.activity == Activity::Idle && self.state.is_up();
        if idle && self.job.as_ref().is_some_and(JobInHand::is_outside) {
            let end = crate::printer::event::OutsideEnd::Failed;
            let event = JobEvent::OutsideEnded { end };
            reduce(&mut self.state, clock::now(), Event::Job(event.clone()));
            self.on_job(event);
        }
    }
}

fn context(means: &Means, shared: &Shared, settings: &Settings, adopt: Option<Adopt>) -> Context {
    Context {
        printer: shared.name.clone(),
        runtime_dir: means.runtime_dir.clone(),
        state_dir: means.state_dir.clone(),
        fd_store: means.fd_store.clone(),
        wire: shared.wire.clone(),
        adopt,
        pause_on_restart: settings.pause_on_restart,
    }
}

/// Slower than any network over which a printer is worth driving, bytes a second.
const SLOWEST_UPLOAD: u64 = 8_000;

/// How long the end of a command may take before it counts as unverified. Heating a bed or a slow
/// move in front of a pause takes minutes.
fn time_limit(command: &Command) -> Duration {
    Duration::from_secs(match command {
        // A file that goes to the printer first may go over a slow network, and as long as bytes move
        // the start is alive: its driver watches over them and gives up long before this.
        Command::Start(job) => 600 + job.program.size / SLOWEST_UPLOAD,
        Command::Pause | Command::PauseAs(_) => 600,
        Command::Resume => 1800,
        Command::Cancel(_) => 900,
        Command::SendGcode { .. } => 1800,
        Command::SkipObjects { .. } | Command::Answer { .. } => 60,
        Command::EmergencyStop => 10,
        Command::HeatersOff
        | Command::KeepWarm(_)
        | Command::RefreshMaterials
        | Command::Reconnect
        | Command::Ping => 60,
    })
}
