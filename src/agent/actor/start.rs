//! From an order to a start: file, analysis, pre-flight, durable record, and only then the printer.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::again::AskedBefore;
use super::jobs::JobInHand;
use super::{Actor, Means};
use crate::agent::clock;
use crate::agent::handle::{Accepted, Hold, Pending, PrintOrder};
use crate::gcode::analysis::{Analysis, Object};
use crate::job::machine::JobInput;
use crate::job::preflight;
use crate::job::record::{JobRecord, JobState};
use crate::job::store::StartSeen;
use crate::printer::command::{CancelReason, Command, MaterialPlace, Program, StartJob, is_plain_map};
use crate::printer::event::{Event, JobEvent};
use crate::printer::fault::{Fault, Severity};
use crate::printer::guard::guard;
use crate::printer::model::{ActiveJob, Activity, Origin, PrintObject, Progress};
use crate::printer::outcome::{Outcome, Refusal};
use crate::printer::reduce::reduce;

type AcceptedPrint = oneshot::Sender<Result<(Accepted, Pending), Refusal>>;

/// A start that is being prepared.
#[derive(Debug)]
pub struct Preparing {
    /// Identity of the demand.
    pub(super) start_id: Option<String>,
    /// The same demand again, to be answered like the first. Bounded where it is filled.
    pub(super) repeats: Vec<AskedBefore>,
    hold: Option<Hold>,
    task: JoinHandle<Result<Prepared, Refusal>>,
    uid: Uuid,
    accepted: Option<AcceptedPrint>,
}

/// A start that is checked and waits for the word to heat and print.
#[derive(Debug)]
pub struct Held {
    prepared: Prepared,
    hold: Hold,
}

/// What was being prepared or held, and is no more.
#[derive(Debug)]
struct Dropped {
    uid: Uuid,
    hold: Option<Hold>,
    /// The identity of its demand, unless that is known to be on the disk.
    start_id: Option<String>,
}

/// A start that may go to the printer: checked, and durable.
#[derive(Debug)]
pub struct Prepared {
    record: JobRecord,
    program: Arc<Program>,
    materials: Vec<Option<MaterialPlace>>,
    warnings: Vec<String>,
}

/// Resolves when the preparation in hand is over; never without one.
pub async fn prepared(slot: &mut Option<Preparing>) -> Result<Prepared, Refusal> {
    match slot {
        Some(preparing) => match (&mut preparing.task).await {
            Ok(result) => result,
            Err(_) => Err(Refusal::new(
                "layerd/preparation-failed",
                "The start could not be prepared: layerd failed while checking the file. See the log.",
            )),
        },
        None => std::future::pending().await,
    }
}

impl Actor {
    /// Takes an order; the answer comes when the pre-flight is over.
    pub(super) fn prepare(&mut self, order: PrintOrder, hold: Option<Hold>, accepted: AcceptedPrint) {
        let now = clock::now();
        let uid = Uuid::new_v4();
        // The guard is asked twice: now, and before anything goes to the printer.
        let probe = Command::Start(StartJob {
            uid,
            program: Arc::new(placeholder(&order)),
            skip: Vec::new(),
            materials: Vec::new(),
            plate: order.plate,
        });
        let busy = self.preparing.is_some() || self.job.is_some() || self.release_moves();
        // Printing what was to be left out would be worse than not printing.
        let cannot_skip = !order.skip.is_empty() && !self.state.capabilities.has("objects.skip");
        // Another filament than the wanted one would be worse than no print.
        let cannot_map = self.state.materials.is_none() && !is_plain_map(&order.materials);
        let verdict = match (busy, cannot_skip) {
            (true, _) => Err(Refusal::new(
                "refused/wrong-state",
                "Another print is being prepared or runs on this printer, or its bed is just being cleared.",
            )),
            (false, true) => Err(Refusal::new(
                "refused/unsupported",
                "Objects cannot be left out on this printer yet. Remove them in the slicer, or print all of them.",
            )),
            (false, false) if cannot_map => Err(Refusal::new(
                "refused/unsupported",
                "This printer has no material system: the tools can only stay as they are in the file.",
            )),
            (false, false) => guard(&self.state, &self.limits(), &probe),
        };
        if let Err(refusal) = verdict {
            let _ = accepted.send(Err(refusal));
            return;
        }
        let mut record = JobRecord::new(uid, &self.shared.name, &order.name, Origin::Ours, now.wall);
        record.sha256 = Some(order.sha256.clone());
        self.state.job = Some(ActiveJob {
            uid,
            file: order.name.clone(),
            origin: Origin::Ours,
            progress: Progress::default(),
            started: None,
            skipped: Vec::new(),
            objects: Vec::new(),
            upload_percent: None,
            heated: None,
            held: false,
        });
        reduce(&mut self.state, now, Event::Activity(Activity::Preparing));
        self.note(format!("asked: print {}", order.name));
        let limits = self.preflight_limits();
        let state = match hold {
            Some(_) => JobState::Armed,
            None => JobState::Starting,
        };
        let start_id = order.start_id.clone();
        let work = check(self.means.clone(), limits, order, record.clone(), state);
        self.job = Some(JobInHand::new(record, now));
        #[allow(
            clippy::disallowed_methods,
            reason = "the handle is kept in `preparing`: awaited or aborted"
        )]
        let task = tokio::spawn(work.boxed());
        self.preparing = Some(Preparing {
            start_id,
            repeats: Vec::new(),
            hold,
            task,
            uid,
            accepted: Some(accepted),
        });
        self.dirty = true;
    }

    /// A held start may go on: it becomes durable as a start, then goes to the printer.
    pub(super) fn release_start(&mut self, accepted: AcceptedPrint) {
        let Some(Held { prepared, hold }) = self.held.take() else {
            let _ = accepted.send(Err(Refusal::new(
                "refused/nothing-held",
                "No print waits for the word to begin.",
            )));
            return;
        };
        if let Some(active) = &mut self.state.job {
            active.held = false;
        }
        self.note("asked: begin the held print");
        let uid = prepared.record.uid;
        let store = self.means.store.clone();
        let begin = async move {
            let mut prepared = prepared;
            prepared.record.state = JobState::Starting;
            let put = store.job_put(prepared.record.clone()).await;
            put.map_err(|e| Refusal::new("refused/database", e.to_string()))?;
            Ok(prepared)
        };
        #[allow(
            clippy::disallowed_methods,
            reason = "the handle is kept in `preparing`: awaited or aborted"
        )]
        let task = tokio::spawn(begin.boxed());
        self.preparing = Some(Preparing {
            start_id: None,
            repeats: Vec::new(),
            // What is refused now leaves nothing behind either.
            hold: Some(hold).filter(|h| h.discard.is_some()),
            task,
            uid,
            accepted: Some(accepted),
        });
        self.dirty = true;
    }

    fn hold(&mut self, prepared: Prepared, hold: Hold, accepted: AcceptedPrint) -> Accepted {
        let now = clock::now();
        for warning in &prepared.warnings {
            self.note(format!("warning: {warning}"));
        }
        if let Some(active) = &mut self.state.job {
            active.progress.layers = prepared.program.layers;
            active.skipped.clone_from(&prepared.record.skipped);
            active.held = true;
        }
        let done = Accepted {
            uid: prepared.record.uid,
            job_id: prepared.record.id,
        };
        let mut job = JobInHand::new(prepared.record.clone(), now);
        job.set_program(prepared.program.clone());
        self.job = Some(job);
        self.held = Some(Held { prepared, hold });
        self.note("checked; waits for the word to begin");
        self.dirty = true;
        let (verified, answer) = oneshot::channel();
        let _ = verified.send(Outcome::Verified);
        let limit = Duration::from_secs(1);
        let _ = accepted.send(Ok((done, Pending::new(answer, limit))));
        done
    }

    /// What was fetched for a start that came to nothing goes.
    fn discard(&mut self, hold: Option<Hold>) {
        let Some(id) = hold.and_then(|h| h.discard) else {
            return;
        };
        let (spool, name) = (self.means.spool.clone(), self.shared.name.clone());
        self.chores.push(Box::pin(async move {
            if let Err(fault) = spool.remove(&id).await {
                tracing::warn!(printer = %name, "the file of a cancelled start was not deleted: {fault}");
            }
            Ok(())
        }));
    }

    /// The preparation is over: start, or say why not.
    pub(super) fn on_prepared(&mut self, result: Result<Prepared, Refusal>) {
        let Some(mut preparing) = self.preparing.take() else {
            return;
        };
        let Some(accepted) = preparing.accepted.take() else {
            return;
        };
        let repeats = std::mem::take(&mut preparing.repeats);
        let first = self.take_prepared(preparing, accepted, result);
        self.answer_repeats(repeats, &first);
    }

    fn take_prepared(
        &mut self,
        mut preparing: Preparing,
        accepted: AcceptedPrint,
        result: Result<Prepared, Refusal>,
    ) -> Result<Accepted, Refusal> {
        let now = clock::now();
        let result = result.and_then(|prepared| {
            let start = StartJob {
                uid: preparing.uid,
                program: prepared.program.clone(),
                skip: prepared.record.skipped.clone(),
                materials: prepared.materials.clone(),
                plate: prepared.record.plate,
            };
            match guard(&self.state, &self.limits(), &Command::Start(start.clone())) {
                Ok(()) => Ok((prepared, start)),
                Err(refusal) => {
                    // It is on the disk as a start by now: so its end has to be.
                    self.job = Some(JobInHand::new(prepared.record, now));
                    Err(refusal)
                }
            }
        });
        let hold = preparing.hold.take();
        let (prepared, start) = match result {
            Ok((prepared, _)) if prepared.record.state == JobState::Armed => {
                return Ok(self.hold(prepared, hold.unwrap_or_default(), accepted));
            }
            Ok(ready) => ready,
            Err(refusal) => {
                self.give_up(refusal.code, &refusal.message);
                self.discard(hold);
                let _ = accepted.send(Err(refusal.clone()));
                return Err(refusal);
            }
        };
        for warning in &prepared.warnings {
            self.note(format!("warning: {warning}"));
        }
        let job_id = prepared.record.id;
        if let Some(active) = &mut self.state.job {
            active.progress.layers = prepared.program.layers;
            active.skipped.clone_from(&start.skip);
        }
        let mut job = JobInHand::new(prepared.record, now);
        job.set_program(prepared.program);
        self.job = Some(job);
        self.want_timing();
        let pending = match self.hand_on(Command::Start(start)) {
            Ok(pending) => pending,
            Err(refusal) => {
                self.give_up(refusal.code, &refusal.message);
                let _ = accepted.send(Err(refusal.clone()));
                return Err(refusal);
            }
        };
        // The end of the start interests the requester and the job alike.
        let (forward, answer) = oneshot::channel();
        let limit = pending.limit;
        let uid = preparing.uid;
        self.starts.push(Box::pin(async move {
            let outcome = pending.outcome().await;
            let _ = forward.send(outcome.clone());
            (uid, outcome)
        }));
        // A moment longer than the request itself, which answers for it.
        let pending = Pending::new(answer, limit + Duration::from_secs(5));
        let done = Accepted { uid, job_id };
        let _ = accepted.send(Ok((done, pending)));
        Ok(done)
    }

    /// The driver has answered for a start.
    pub(super) fn on_started(&mut self, uid: Uuid, outcome: Outcome) {
        self.tell_followers(uid, &outcome);
        let ours = self.job.as_ref().is_some_and(|job| job.record().uid == uid);
        if outcome.is_ok() || !ours {
            return;
        }
        // Not seen to start: whatever may still be on its way must not print.
        if matches!(outcome, Outcome::Unverified { .. }) {
            let _ = self.hand_on(Command::Cancel(CancelReason::default()));
        }
        let (code, message) = (outcome.code(), outcome.message());
        self.give_up(&code, &message);
    }

    /// A cancel before the printer was told anything: no heat, no motion.
    pub(super) fn cancel_preparation(&mut self) -> Pending {
        let now = clock::now();
        let cancelled = Refusal::new("refused/cancelled", "The print was cancelled before it began.");
        if let Some(dropped) = self.drop_preparation(&cancelled) {
            let event = JobEvent::Cancelled {
                uid: dropped.uid,
                filament_mm: None,
            };
            reduce(&mut self.state, now, Event::Job(event.clone()));
            self.state.activity = Activity::Idle;
            self.on_job(event);
            self.keep_start(dropped.uid, dropped.start_id);
            self.discard(dropped.hold);
            self.dirty = true;
        }
        let (done, answer) = oneshot::channel();
        let _ = done.send(Outcome::Verified);
        Pending::new(answer, Duration::from_secs(1))
    }

    /// The service ends before the printer was told anything: nobody cancelled it, and it is never executed later.
    pub(super) fn lose_preparation(&mut self) {
        let now = clock::now();
        let fault = start_lost();
        let refusal = Refusal::new("refused/draining", fault.to_string());
        let Some(dropped) = self.drop_preparation(&refusal) else {
            return;
        };
        self.state.activity = Activity::Idle;
        self.state.since = now;
        if let Some(mut job) = self.job.take() {
            if let Some(sha256) = &job.record().sha256 {
                self.means.spool.unpin(sha256, job.record().uid);
            }
            job.apply(now, JobInput::Failed(fault.clone()));
            // Its start may be on the way to the disk without a number here.
            job.save(&self.means.store, now);
            self.last = Some(Arc::new(job.record().clone()));
        }
        self.keep_start(dropped.uid, dropped.start_id);
        self.state.job = None;
        self.tell_of_job(&fault);
        self.discard(dropped.hold);
        self.note("not started: the service stops");
        self.dirty = true;
    }

    /// Ends what is being prepared or held, and answers those who wait for it.
    fn drop_preparation(&mut self, why: &Refusal) -> Option<Dropped> {
        let held = self.held.take().map(|held| Dropped {
            uid: held.prepared.record.uid,
            hold: Some(held.hold),
            start_id: None,
        });
        let Some(mut preparing) = self.preparing.take() else {
            return held;
        };
        preparing.task.abort();
        for repeat in preparing.repeats.drain(..) {
            let _ = repeat.send(Some(Err(why.clone())));
        }
        if let Some(accepted) = preparing.accepted.take() {
            let _ = accepted.send(Err(why.clone()));
        }
        let start_id = preparing.start_id.take();
        Some(Dropped {
            uid: preparing.uid,
            hold: preparing.hold.take(),
            start_id: Some(start_id.unwrap_or_else(|| preparing.uid.to_string())),
        })
    }

    /// A start that ended before it was written is written with its end: the same demand again begins nothing. The
    /// writing that was aborted may come through all the same; then the end is written over it.
    fn keep_start(&mut self, uid: Uuid, start_id: Option<String>) {
        let last = self.last.clone().filter(|last| last.uid == uid);
        let (Some(start_id), Some(last)) = (start_id, last) else {
            return;
        };
        let store = self.means.store.clone();
        self.chores.push(Box::pin(async move {
            let seen = store.job_start(&start_id, JobRecord::clone(&last)).await;
            if !matches!(seen, Ok(StartSeen::New(_))) {
                store.job_put_soon(JobRecord::clone(&last));
            }
            seen.map(drop)
        }));
    }

    /// Ends a job that never began.
    fn give_up(&mut self, code: &str, message: &str) {
        let now = clock::now();
        if self.state.activity == Activity::Preparing {
            self.state.activity = Activity::Idle;
            self.state.since = now;
        }
        let Some(mut job) = self.job.take() else { return };
        let mut fault = Fault::new(
            Severity::NeedsUser,
            "job/not-started",
            "The print was not started.",
            "",
            "",
        )
        .with_what(message.to_owned());
        fault.code = code.to_owned().into();
        if let Some(sha256) = &job.record().sha256 {
            self.means.spool.unpin(sha256, job.record().uid);
        }
        job.apply(now, JobInput::Failed(fault.clone()));
        // An order refused before it got a number leaves no trace in the history.
        if job.id().is_some() {
            job.save(&self.means.store, now);
            self.last = Some(Arc::new(job.record().clone()));
        }
        self.state.job = None;
        self.tell_of_job(&fault);
        self.note(format!("not started: {message}"));
        self.dirty = true;
    }
}

/// A start that was being prepared when layerd ended.
pub(super) fn start_lost() -> Fault {
    Fault::new(
        Severity::NeedsUser,
        "job/start-lost",
        "The print was not started.",
        "layerd ended while the start was being prepared.",
        "Start it again if it is still wanted.",
    )
}

/// Everything between an order and the first word to the printer. Ends with a durable record.
async fn check(
    means: Means,
    limits: preflight::Limits,
    order: PrintOrder,
    record: JobRecord,
    state: JobState,
) -> Result<Prepared, Refusal> {
    let refuse = |code: &'static str, text: String| Refusal::new(code, text);
    if let Some(start_id) = &order.start_id {
        let seen = means
            .store
            .start_seen(start_id)
            .await
            .map_err(|e| refuse("refused/database", e.to_string()))?;
        if seen {
            return Err(repeated());
        }
    }
    means.spool.pin(&order.sha256, record.uid);
    let mut program = means
        .spool
        .program(&order.sha256, &order.name)
        .await
        .map_err(|f| refuse("refused/file", f.to_string()))?;
    let intact = means.pool.verify(&order.sha256).await;
    intact.map_err(|f| refuse("refused/file", f.to_string()))?;
    let mut analysis = means
        .pool
        .analysis(&order.sha256)
        .await
        .map_err(|f| refuse("refused/analysis", f.to_string()))?;
    if let Some(plate) = order.plate.filter(|n| analysis.plate != Some(*n)) {
        if !analysis.plates.contains(&plate) {
            return Err(no_plate(plate, &analysis.plates, &order.name));
        }
        analysis = means
            .pool
            .analysis_of(&order.sha256, order.plate)
            .await
            .map_err(|f| refuse("refused/analysis", f.to_string()))?;
    }
    let mut report = preflight::check(&analysis, &limits, &order.name, &order.skip);
    if report.may_name_lines() {
        // A second look with this printer's limits in hand finds the lines to blame.
        if let Ok(exact) = means.pool.analysis_for(&order.sha256, order.plate, &limits).await {
            report = preflight::check(&exact, &limits, &order.name, &order.skip);
        }
    }
    if let Some(refusal) = report.refusal() {
        return Err(refusal);
    }
    program.layers = analysis.layers.count;
    program.estimate_s = analysis
        .estimate_s()
        .map(|s| s.round().clamp(0.0, f64::from(u32::MAX)) as u32);
    program.max_z_mm = analysis.bounds.extruding.map(|b| b.max[2] as f32);
    program.objects = objects_of(&analysis);
    let mut ready = record;
    ready.size = Some(program.size);
    ready.skipped = report.skip.clone();
    ready.plate = order.plate;
    ready.state = state;
    // Durable before the printer hears of it: a start is executed at most once, ever.
    // A demand without an identity gets one, so that a disk that answers too late leaves no start.
    let start_id = order.start_id.clone().unwrap_or_else(|| ready.uid.to_string());
    let put = means.store.job_start(&start_id, ready.clone()).await;
    ready.id = match put.map_err(|e| refuse("refused/database", e.to_string()))? {
        StartSeen::New(id) => id,
        _ => return Err(repeated()),
    };
    Ok(Prepared {
        record: ready,
        program: Arc::new(program),
        materials: order.materials,
        warnings: report.warnings(),
    })
}

fn no_plate(wanted: u32, plates: &[u32], file: &str) -> Refusal {
    let there: Vec<String> = plates.iter().take(32).map(u32::to_string).collect();
    let text = match there.is_empty() {
        true => format!("{file} has no plates to choose from: it is no project (.3mf). Leave the plate out."),
        false => format!(
            "There is no sliced plate {wanted} in {file}. It has: {}.",
            there.join(", ")
        ),
    };
    Refusal::new("refused/no-such-plate", text)
}

fn repeated() -> Refusal {
    Refusal::new(
        "refused/repeated-start",
        "This start was already executed once; it is not repeated.",
    )
}

/// The objects of a file as printers are told of them.
pub(super) fn objects_of(analysis: &Analysis) -> Vec<PrintObject> {
    let known = |o: &Object| PrintObject {
        id: o.id,
        name: if o.key.is_empty() { &o.name } else { &o.key }.clone(),
    };
    analysis.objects.iter().map(known).collect()
}

fn placeholder(order: &PrintOrder) -> Program {
    Program {
        path: std::path::PathBuf::new(),
        name: order.name.clone(),
        size: 0,
        sha256: order.sha256.clone(),
        layers: None,
        estimate_s: None,
        max_z_mm: None,
        objects: Vec::new(),
    }
}
