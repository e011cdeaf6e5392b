//! What the API, the upstreams and the command line hold: handles to the agent and its printers.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use super::curves::Curves;
use super::journal::Journal;
use super::pairing::Pairings;
use super::supply::{ESTOP_LIMIT, SupplySide};
use crate::camera::faults;
use crate::camera::lens::{Lens, Purpose};
use crate::config::lifecycle::Lifecycle;
use crate::config::model::Release;
use crate::config::template::{Values, Variable};
use crate::drivers::StopMode;
use crate::job::analysis_pool::AnalysisPool;
use crate::job::preflight::Limits;
use crate::job::record::JobRecord;
use crate::job::release::ReleaseRules;
use crate::job::spool::Spool;
use crate::job::store::Store;
use crate::printer::command::{Command, MaterialPlace, Request, RequestId};
use crate::printer::fault::Fault;
use crate::printer::model::{Now, State};
use crate::printer::outcome::{Missing, Outcome, Refusal};
use crate::printer::wire::WireRing;

/// Everything known about a printer at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When it was taken.
    pub at: Now,
    /// What is known.
    pub state: State,
    /// Number of the job in hand in the database, where it has one.
    pub job_id: Option<i64>,
    /// The last job that ended in this run. Published together with the state it led to.
    pub last: Option<Arc<JobRecord>>,
}

/// An order to print a file of the spool.
#[derive(Clone, Debug, PartialEq)]
pub struct PrintOrder {
    /// SHA-256 of the spool file, hex.
    pub sha256: String,
    /// Name as people know it.
    pub name: String,
    /// Objects to leave out, by id or name.
    pub skip: Vec<String>,
    /// Where each filament of the file comes from, by its number; empty: the driver chooses.
    pub materials: Vec<Option<MaterialPlace>>,
    /// Which plate of a project, from 1; `None`: the first.
    pub plate: Option<u32>,
    /// Identity of the demand: the same one twice starts one print.
    pub start_id: Option<String>,
}

/// A start that stops when it is checked, and waits for the word to heat and print.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hold {
    /// Id of the file in the spool that is deleted when the start comes to nothing: it was fetched for
    /// this print alone.
    pub discard: Option<String>,
}

/// What an accepted print is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Stable identity of the job.
    pub uid: Uuid,
    /// Its number.
    pub job_id: i64,
}

/// A command that was accepted; its end comes later, always.
#[derive(Debug)]
pub struct Pending {
    answer: oneshot::Receiver<Outcome>,
    pub(super) limit: Duration,
    /// Whose snapshot shows what was verified before the requester hears of it.
    shown_by: Option<PrinterHandle>,
}

/// So long an answer waits at most for the snapshot that shows it.
const SHOWN_LIMIT: Duration = Duration::from_secs(1);

impl Pending {
    /// A command whose end comes by `answer`, after `limit` at the latest.
    pub(super) fn new(answer: oneshot::Receiver<Outcome>, limit: Duration) -> Self {
        Self {
            answer,
            limit,
            shown_by: None,
        }
    }

    fn shown_by(mut self, printer: &PrinterHandle) -> Self {
        self.shown_by = Some(printer.clone());
        self
    }

    /// Waits for the end of the command, at most for its own time limit.
    ///
    /// What is verified is also seen: who asks for the printer's state after this answer finds it there. The
    /// driver's answer and its events go different ways, and the answer is often the quicker one.
    pub async fn outcome(self) -> Outcome {
        match tokio::time::timeout(self.limit, self.answer).await {
            Ok(Ok(outcome)) => {
                if let (Outcome::Verified, Some(printer)) = (&outcome, &self.shown_by) {
                    printer.catch_up().await;
                }
                outcome
            }
            // The session ended under the request: nobody saw what came of it.
            Ok(Err(_)) => Outcome::Unverified {
                waited: Duration::ZERO,
                missing: Missing::Ack,
            },
            Err(_) => Outcome::Unverified {
                waited: self.limit,
                missing: Missing::Ack,
            },
        }
    }
}

/// How the first start of an identity was answered; `None`: there was none on this host.
pub(super) type FirstAnswer = Option<Result<(Accepted, Pending), Refusal>>;

/// What a person changes about the clearing of a bed; kept over restarts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BedChange {
    /// Whether it is done at all.
    On(bool),
    /// By other rules; `None`: by those of the configuration.
    Rules(Option<ReleaseRules>),
    /// So many beds count as cleared in a row.
    InARow(u32),
}

/// A message to a printer's actor. Bounded channel (32); when full the sender is told "busy".
#[derive(Debug)]
pub(super) enum Ask {
    /// A command; the first answer is the guard's.
    Command {
        command: Command,
        accepted: oneshot::Sender<Result<Pending, Refusal>>,
    },
    /// A print; the first answer is the pre-flight's.
    Print {
        order: PrintOrder,
        /// Stop before the first heater and wait for [`Ask::Release`].
        hold: Option<Hold>,
        accepted: oneshot::Sender<Result<(Accepted, Pending), Refusal>>,
    },
    /// What came of the first start of this identity?
    Before {
        start_id: String,
        answer: oneshot::Sender<FirstAnswer>,
    },
    /// A held print may heat and print.
    Release {
        accepted: oneshot::Sender<Result<(Accepted, Pending), Refusal>>,
    },
    /// The answer comes when everything that the driver told before is in the snapshot.
    CatchUp { done: oneshot::Sender<()> },
    /// The bed was cleared.
    ClearBed {
        rating: Option<u8>,
        done: oneshot::Sender<Outcome>,
    },
    /// Other rules for the clearing of the bed.
    BedRules {
        change: BedChange,
        done: oneshot::Sender<Outcome>,
    },
    /// A person closes a notice.
    Dismiss {
        key: String,
        done: oneshot::Sender<Outcome>,
    },
    /// The supply on or off; the first answer is that of the rules.
    Power {
        on: bool,
        accepted: oneshot::Sender<Result<oneshot::Receiver<Outcome>, Outcome>>,
    },
    /// The daemon stops, or this printer leaves the configuration.
    Stop {
        mode: StopMode,
        done: oneshot::Sender<()>,
    },
}

/// A handle to one printer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PrinterHandle {
    pub(super) shared: Arc<Shared>,
}

/// What outlives restarts of the actor and of the driver.
#[derive(Debug)]
pub(super) struct Shared {
    pub name: Arc<str>,
    pub id: i64,
    pub driver: &'static str,
    /// What the configuration says it can take.
    pub limits: Limits,
    /// Lines of its owner's own, and those that clear its bed.
    pub gcode: Lifecycle,
    pub release: Option<Release>,
    pub snapshot: watch::Sender<Arc<Snapshot>>,
    pub asks: Mutex<mpsc::Sender<Ask>>,
    pub urgent: Mutex<mpsc::Sender<Request>>,
    /// The switch of its supply, where there is one.
    pub supply: Option<SupplySide>,
    /// Its camera, where there is one.
    pub camera: Option<Lens>,
    pub journal: Journal,
    pub wire: Arc<WireRing>,
    /// Seconds since the agent began at the actor's last turn.
    pub beat_s: AtomicU64,
    pub next_request: AtomicU64,
}

impl Shared {
    pub fn request_id(&self) -> RequestId {
        RequestId(self.next_request.fetch_add(1, Ordering::Relaxed))
    }
}

const BUSY: &str = "refused/busy";

impl PrinterHandle {
    /// Name in the configuration.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Small stable number.
    pub fn id(&self) -> i64 {
        self.shared.id
    }

    /// Kind of driver.
    pub fn driver(&self) -> &'static str {
        self.shared.driver
    }

    /// What it can take: by the configuration, and by its own where that says nothing.
    pub fn limits(&self) -> Limits {
        self.shared
            .limits
            .completed(self.snapshot().state.limits.as_ref())
    }

    /// Lines of its owner's own at moments of a print, and snippets.
    pub fn gcode(&self) -> &Lifecycle {
        &self.shared.gcode
    }

    /// How its bed is cleared by itself, as the configuration says.
    pub fn release_settings(&self) -> Option<&Release> {
        self.shared.release.as_ref()
    }

    /// What its lines may speak of while nothing prints.
    pub fn values(&self) -> Values {
        let mut values = Values::from([(Variable::Printer, self.name().to_owned())]);
        if let Some(bed) = self.shared.limits.bed_mm {
            let names = [Variable::BedX, Variable::BedY, Variable::BedZ];
            values.extend(names.into_iter().zip(bed.map(|mm| mm.to_string())));
        }
        values
    }

    /// The latest snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot.borrow().clone()
    }

    /// Snapshots as they change; slow readers miss some, never the latest.
    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.shared.snapshot.subscribe()
    }

    /// What happened lately, in words.
    pub fn journal(&self) -> &Journal {
        &self.shared.journal
    }

    /// The last raw traffic.
    pub fn wire(&self) -> &WireRing {
        &self.shared.wire
    }

    /// Asks for a command; returns as soon as it was accepted or refused.
    pub async fn submit(&self, command: Command) -> Result<Pending, Refusal> {
        if matches!(command, Command::EmergencyStop) {
            return self.emergency_stop();
        }
        let (accepted, answer) = oneshot::channel();
        self.ask(Ask::Command { command, accepted })?;
        let pending = answer.await.unwrap_or_else(|_| Err(busy()))?;
        Ok(pending.shown_by(self))
    }

    /// Waits until the snapshot shows what the driver has told so far; not for long.
    async fn catch_up(&self) {
        let (done, answer) = oneshot::channel();
        if self.ask(Ask::CatchUp { done }).is_ok() {
            let _ = tokio::time::timeout(SHOWN_LIMIT, answer).await;
        }
    }

    /// Asks for a command and waits for its end.
    pub async fn command(&self, command: Command) -> Outcome {
        match self.submit(command).await {
            Ok(pending) => pending.outcome().await,
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    /// What came of the first start of this identity, in whatever state the printer is by now; `None`:
    /// nobody has asked for it yet.
    pub async fn started_before(&self, start_id: &str) -> Option<Result<(Accepted, Pending), Refusal>> {
        let (answer, known) = oneshot::channel();
        let start_id = start_id.to_owned();
        if let Err(refusal) = self.ask(Ask::Before { start_id, answer }) {
            return Some(Err(refusal));
        }
        known.await.unwrap_or_else(|_| Some(Err(busy())))
    }

    /// The answer to a start that was asked for before, by its identity.
    async fn first_answer(&self, start_id: Option<&str>) -> Option<Result<(Accepted, Pending), Refusal>> {
        self.started_before(start_id?).await
    }

    /// Asks for a print; returns when the pre-flight has passed or the order was refused. One that was
    /// asked for before is answered as it was then, and starts nothing.
    pub async fn print(&self, order: PrintOrder) -> Result<(Accepted, Pending), Refusal> {
        self.print_once(order, None).await
    }

    async fn print_once(
        &self,
        order: PrintOrder,
        hold: Option<Hold>,
    ) -> Result<(Accepted, Pending), Refusal> {
        let start_id = order.start_id.clone();
        if let Some(first) = self.first_answer(start_id.as_deref()).await {
            return first;
        }
        let (accepted, answer) = oneshot::channel();
        self.ask(Ask::Print {
            order,
            hold,
            accepted,
        })?;
        let answer = answer.await.unwrap_or_else(|_| Err(busy()));
        match answer {
            // Two of them at once: the other one was first by a moment.
            Err(refusal) => self
                .first_answer(start_id.as_deref())
                .await
                .unwrap_or(Err(refusal)),
            Ok((accepted, pending)) => Ok((accepted, pending.shown_by(self))),
        }
    }

    /// Asks for a print in steps: returns when the pre-flight has passed and the start is durable as
    /// held. Nothing is heated or moved before [`PrinterHandle::release`]; a cancel before leaves
    /// nothing behind, and a restart of the daemon ends it.
    pub async fn print_held(&self, order: PrintOrder, hold: Hold) -> Result<Accepted, Refusal> {
        let (accepted, _) = self.print_once(order, Some(hold)).await?;
        Ok(accepted)
    }

    /// A held print may heat and print.
    pub async fn release(&self) -> Result<(Accepted, Pending), Refusal> {
        let (accepted, answer) = oneshot::channel();
        self.ask(Ask::Release { accepted })?;
        let (accepted, pending) = answer.await.unwrap_or_else(|_| Err(busy()))?;
        Ok((accepted, pending.shown_by(self)))
    }

    /// The bed was cleared by a person, who may rate the print from 1 to 4.
    pub async fn clear_bed(&self, rating: Option<u8>) -> Outcome {
        let (done, answer) = oneshot::channel();
        self.ended(self.ask(Ask::ClearBed { rating, done }), answer).await
    }

    /// Other rules for the clearing of the bed by itself.
    pub async fn change_bed_rules(&self, change: BedChange) -> Outcome {
        let (done, answer) = oneshot::channel();
        match self.ask(Ask::BedRules { change, done }) {
            Ok(()) => answer.await.unwrap_or_else(|_| Outcome::Refused(busy())),
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    /// A person has seen a notice and closes it.
    pub async fn dismiss(&self, key: &str) -> Outcome {
        let (done, answer) = oneshot::channel();
        let key = key.to_owned();
        self.ended(self.ask(Ask::Dismiss { key, done }), answer).await
    }

    /// The end of what the actor does by itself.
    async fn ended(&self, asked: Result<(), Refusal>, answer: oneshot::Receiver<Outcome>) -> Outcome {
        if let Err(refusal) = asked {
            return Outcome::Refused(refusal);
        }
        let outcome = answer.await.unwrap_or_else(|_| Outcome::Refused(busy()));
        if matches!(outcome, Outcome::Verified) {
            self.catch_up().await;
        }
        outcome
    }

    /// Its camera: whether the last picture came (inner `None`: none was asked for yet); `None`: it has
    /// none.
    pub fn camera_works(&self) -> Option<Option<bool>> {
        self.shared.camera.as_ref().map(Lens::works)
    }

    /// A picture that somebody waits for, or one of a live view, which is left out when there is no turn
    /// for it at once.
    ///
    /// # Errors
    /// There is no camera, no picture, or no turn.
    pub async fn picture(&self, live: bool) -> Result<Bytes, Fault> {
        let purpose = if live { Purpose::Live } else { Purpose::Asked };
        match &self.shared.camera {
            Some(lens) => lens.picture(purpose).await,
            None => Err(faults::NO_CAMERA),
        }
    }

    /// Whether the supply can be switched.
    pub fn has_power(&self) -> bool {
        self.shared.supply.is_some()
    }

    /// Switches the supply: off only when the printer is cool and idle. Ends when the switch was seen to
    /// have obeyed.
    pub async fn power(&self, on: bool) -> Outcome {
        if !self.has_power() {
            return Outcome::refused(
                "refused/no-switch",
                "This printer has no power switch. Add `power` to its configuration.",
            );
        }
        let (accepted, answer) = oneshot::channel();
        if let Err(refusal) = self.ask(Ask::Power { on, accepted }) {
            return Outcome::Refused(refusal);
        }
        match answer.await {
            Ok(Ok(end)) => {
                let pending = Pending::new(end, Duration::from_secs(120)).shown_by(self);
                pending.outcome().await
            }
            Ok(Err(outcome)) => outcome,
            Err(_) => Outcome::Refused(busy()),
        }
    }

    /// Straight to the driver's own lane, past the actor and every queue. What could not be written is
    /// followed by cutting the supply, where there is a switch.
    fn emergency_stop(&self) -> Result<Pending, Refusal> {
        let written = self.write_emergency_stop();
        match (&self.shared.supply, written) {
            (Some(supply), written) => Ok(supply.follow(written)),
            (None, Ok(answer)) => Ok(Pending::new(answer, ESTOP_LIMIT)),
            (None, Err(refusal)) => Err(refusal),
        }
    }

    fn write_emergency_stop(&self) -> Result<oneshot::Receiver<Outcome>, Refusal> {
        let (reply, answer) = oneshot::channel();
        let request = Request {
            id: self.shared.request_id(),
            command: Command::EmergencyStop,
            deadline: std::time::Instant::now() + ESTOP_LIMIT,
            reply,
        };
        let lane = self
            .shared
            .urgent
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .clone();
        match lane.try_send(request) {
            Ok(()) => Ok(answer),
            Err(mpsc::error::TrySendError::Full(_)) => Err(Refusal::new(
                BUSY,
                "An emergency stop is already on its way and has not been taken up. \
                 Switch the printer off at the mains.",
            )),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Refusal::new(
                "refused/offline",
                "The emergency stop could NOT be written: the driver is not running. \
                 Switch the printer off at the mains.",
            )),
        }
    }

    fn ask(&self, ask: Ask) -> Result<(), Refusal> {
        let lane = self.shared.asks.lock().unwrap_or_else(|e| e.into_inner()).clone();
        lane.try_send(ask).map_err(|_| busy())
    }
}

fn busy() -> Refusal {
    Refusal::new(
        BUSY,
        "The printer is busy with other requests. Try again in a moment.",
    )
}

/// A handle to the whole agent. Cheap to clone.
#[derive(Clone)]
pub struct AgentHandle {
    pub(super) inner: Arc<AgentShared>,
}

pub(super) struct AgentShared {
    pub printers: Mutex<Vec<PrinterHandle>>,
    pub draining: AtomicBool,
    pub runtime_dir: PathBuf,
    pub state_dir: PathBuf,
    pub store: Store,
    pub spool: Spool,
    pub pool: AnalysisPool,
    pub pairings: Pairings,
    pub curves: Curves,
    pub began: Instant,
    /// Seconds since `began` at the main loop's last turn.
    pub turned_s: AtomicU64,
}

impl AgentShared {
    /// Seconds since the agent began.
    pub fn up_s(&self) -> u64 {
        self.began.elapsed().as_secs()
    }
}

impl AgentHandle {
    /// The printers in the order of the configuration.
    pub fn printers(&self) -> Vec<PrinterHandle> {
        self.inner
            .printers
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .clone()
    }

    /// A printer by name.
    pub fn by_name(&self, name: &str) -> Option<PrinterHandle> {
        self.printers().into_iter().find(|p| p.name() == name)
    }

    /// A printer by number.
    pub fn by_id(&self, id: i64) -> Option<PrinterHandle> {
        self.printers().into_iter().find(|p| p.id() == id)
    }

    /// Finish what prints, start nothing new.
    pub fn drain(&self, on: bool) {
        self.inner.draining.store(on, Ordering::Relaxed);
    }

    /// Whether new starts are refused.
    pub fn is_draining(&self) -> bool {
        self.inner.draining.load(Ordering::Relaxed)
    }

    /// The database.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The files.
    pub fn spool(&self) -> &Spool {
        &self.inner.spool
    }

    /// The analysis pool.
    pub fn pool(&self) -> &AnalysisPool {
        &self.inner.pool
    }

    /// How the printers stand with the upstreams.
    pub fn pairings(&self) -> &Pairings {
        &self.inner.pairings
    }

    /// The temperatures of the last half hour.
    pub fn curves(&self) -> &Curves {
        &self.inner.curves
    }

    /// Seconds since the agent began.
    pub fn up_s(&self) -> u64 {
        self.inner.up_s()
    }

    /// Whether the main loop has turned lately; it does so every two seconds.
    pub fn is_turning(&self) -> bool {
        let turned_s = self.inner.turned_s.load(Ordering::Relaxed);
        self.inner.up_s().saturating_sub(turned_s) < 30
    }

    /// Memory-backed directory (socket, line memory).
    pub fn runtime_dir(&self) -> &std::path::Path {
        &self.inner.runtime_dir
    }

    /// Durable directory.
    pub fn state_dir(&self) -> &std::path::Path {
        &self.inner.state_dir
    }
}
