//! The job in hand: its record, what the database is told, and what a restart takes over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::progress::{self, Plan};
use super::start::{objects_of, start_lost};
use super::{Actor, Means, again, told};
use crate::agent::clock;
use crate::drivers::Adopt;
use crate::job::counters_file::CountersFile;
use crate::job::machine::{HEATED, INTERRUPTED, JobInput, JobMachine};
use crate::job::place::PlaceFile;
use crate::job::record::{JobRecord, JobState};
use crate::job::store::{JobFilter, Store};
use crate::job::timing::{LeftOut, Timing};
use crate::printer::command::{CancelReason, Program, StartJob};
use crate::printer::event::{Checkpoint, Event, JobEvent, OutsideEnd};
use crate::printer::fault::{Fault, Severity};
use crate::printer::model::{ActiveJob, Activity, Now, Origin, Progress, State};
use crate::printer::reduce::reduce;
use crate::printer::wall_clock::Step;

/// What a printer is said to be until its driver has found the print of before again, or not.
pub const LOOKED_UP: &str = "A print ran when layerd ended. The printer is asked whether it goes on.";

/// A job and everything kept beside its record.
#[derive(Debug)]
pub struct JobInHand {
    machine: JobMachine,
    program: Option<Arc<Program>>,
    /// The times of its file, once they are known.
    timing: Option<Arc<Timing>>,
    /// What is left out, and from which byte on.
    left_out: Vec<LeftOut>,
    /// Newest checkpoint that is not on disk yet.
    unsaved: Option<Checkpoint>,
    saved_at: Instant,
}

impl JobInHand {
    /// A job that begins.
    pub fn new(record: JobRecord, now: Now) -> Self {
        // From which byte on is not kept: at worst the pace of the print is judged a little wrong.
        let left_out = record.skipped.iter().map(|id| LeftOut { id: *id, from: 0 });
        JobInHand {
            left_out: left_out.collect(),
            timing: None,
            machine: JobMachine::new(record),
            program: None,
            unsaved: None,
            saved_at: now.mono,
        }
    }

    /// Its record.
    pub fn record(&self) -> &JobRecord {
        self.machine.record()
    }

    /// Its number, once it has one.
    pub fn id(&self) -> Option<i64> {
        Some(self.record().id).filter(|id| *id > 0)
    }

    /// The program, once it is checked.
    pub fn set_program(&mut self, program: Arc<Program>) {
        self.program = Some(program);
    }

    /// The times of its file are known.
    pub fn set_timing(&mut self, timing: Option<Arc<Timing>>) {
        self.timing = timing;
    }

    /// These are left out now; what is new of them from here on.
    pub fn leave_out(&mut self, ids: &[u32], byte: Option<u64>) {
        for id in ids {
            if !self.left_out.iter().any(|o| o.id == *id) {
                self.left_out.push(LeftOut {
                    id: *id,
                    from: byte.unwrap_or(0),
                });
            }
        }
    }

    /// Whether somebody else started it.
    pub fn is_outside(&self) -> bool {
        self.record().origin == Origin::Outside
    }

    /// One step; what is not legal is logged and changes nothing.
    pub fn apply(&mut self, now: Now, input: JobInput) -> bool {
        match self.machine.apply(now.wall, input) {
            Ok(edges) => !edges.is_empty(),
            Err(illegal) => {
                tracing::warn!(uid = %self.record().uid, "{illegal}");
                false
            }
        }
    }

    /// The wall clock was set.
    pub fn clock_set(&mut self, step: &Step) {
        self.machine.clock_set(step);
    }

    /// Newest position, kept in memory until it is due on disk.
    pub fn remember(&mut self, checkpoint: Checkpoint) {
        self.unsaved = Some(checkpoint);
    }

    /// Reason and words of a cancel that was asked for.
    pub fn remember_cancel(&mut self, reason: &CancelReason) {
        self.machine.remember_cancel(reason);
    }

    /// Fills percent and time left, and notes the progress in the record.
    pub fn complete_progress(&mut self, progress: Progress, now: Now) -> Progress {
        let plan = Plan {
            timing: self.timing.as_deref().map(|t| (t, self.left_out.as_slice())),
            size: self.program.as_ref().map(|p| p.size),
            estimate_s: self.program.as_ref().and_then(|p| p.estimate_s),
            layers: self.program.as_ref().and_then(|p| p.layers),
        };
        let progress = progress::complete(plan, progress, printed_for(self.record(), now));
        self.machine.note_progress(&progress);
        progress
    }

    /// Writes the newest checkpoint if it is time.
    pub fn save_checkpoint_if_due(&mut self, store: &Store, now: Now, every: Duration) {
        if self.unsaved.is_some() && now.mono.saturating_duration_since(self.saved_at) >= every {
            self.save(store, now);
        }
    }

    /// Hands the record to the writer; does not wait for the disk.
    pub fn save(&mut self, store: &Store, now: Now) {
        if let Some(checkpoint) = self.unsaved.take() {
            self.machine.set_checkpoint(checkpoint);
        }
        self.saved_at = now.mono;
        store.job_put_soon(self.record().clone());
    }

    /// Writes the record and waits for the disk (end of the daemon).
    pub async fn save_now(mut self, store: &Store) {
        if let Some(checkpoint) = self.unsaved.take() {
            self.machine.set_checkpoint(checkpoint);
        }
        if let Err(error) = store.job_put(self.record().clone()).await {
            tracing::error!(uid = %self.record().uid, "the job could not be saved: {error}");
        }
    }

    /// What a fresh driver session has to answer for; `None` for outside prints and jobs that the
    /// printer has not been told of.
    pub fn adopt(&self, state: &State) -> Option<Adopt> {
        let program = self.program.clone()?;
        let record = self.record();
        if !matches!(record.state, JobState::Starting | JobState::Running) {
            return None;
        }
        Some(Adopt {
            job: StartJob {
                uid: record.uid,
                program,
                skip: record.skipped.clone(),
                materials: Vec::new(),
                plate: record.plate,
            },
            checkpoint: self.unsaved.clone().or_else(|| record.checkpoint.clone()),
            paused: matches!(state.activity, Activity::Paused(_) | Activity::Pausing),
        })
    }
}

/// Time since the start without the pauses.
fn printed_for(record: &JobRecord, now: Now) -> Duration {
    let Some(started) = record.started else {
        return Duration::ZERO;
    };
    let paused_ms: i64 = record
        .pauses
        .iter()
        .map(|p| p.to.unwrap_or(now.wall).as_millisecond() - p.from.as_millisecond())
        .sum();
    // Heating is no printing: the time model begins with the first move.
    let warm = record.timeline.iter().find(|e| e.what == HEATED).map(|e| e.at);
    let begun = warm.filter(|at| *at >= started).unwrap_or(started);
    let ms = now.wall.as_millisecond() - begun.as_millisecond() - paused_ms;
    Duration::from_millis(ms.max(0).unsigned_abs())
}

/// What the printer was doing when the last run of the daemon ended.
pub async fn take_over(
    means: &Means,
    printer: &str,
    state: &mut State,
    now: Now,
) -> (Option<JobInHand>, Option<Adopt>) {
    let record = match means.store.active_job(printer).await {
        Ok(Some(record)) => record,
        Ok(None) => return (None, None),
        Err(error) => {
            tracing::error!(printer, "the database did not tell what was printed: {error}");
            return (None, None);
        }
    };
    let mut job = JobInHand::new(record, now);
    let newest = PlaceFile::of(&means.runtime_dir, printer).read(job.record().uid);
    let known = job.record().checkpoint.as_ref().map_or(0, |c| c.byte);
    if let Some(place) = newest.filter(|place| place.byte > known) {
        job.remember(place);
        job.save(&means.store, now);
    }
    // A start that was not seen before the end is never executed later.
    if !matches!(job.record().state, JobState::Starting | JobState::Running) {
        let fault = start_lost();
        told::of_a_job_before(means, printer, state, now, &fault).await;
        job.apply(now, JobInput::Failed(fault));
        job.save(&means.store, now);
        return (None, None);
    }
    state.job = Some(active(job.record()));
    if job.is_outside() {
        return (Some(job), None);
    }
    let sha256 = job.record().sha256.clone().unwrap_or_default();
    means.spool.pin(&sha256, job.record().uid);
    let program = match means.spool.program(&sha256, &job.record().file).await {
        Ok(mut program) => {
            // Without its objects the print goes on all the same; only none can be left out any more.
            if let Ok(analysis) = means.pool.analysis_of(&sha256, job.record().plate).await {
                program.objects = objects_of(&analysis);
            }
            program
        }
        // Without its file the print cannot go on, but the driver has to answer for it all the same:
        // it finds nothing to read, turns the heaters off and reports the job interrupted.
        Err(fault) => {
            tracing::error!(printer, "{fault}");
            Program {
                path: means.spool.path_of(&sha256),
                name: job.record().file.clone(),
                size: job.record().size.unwrap_or(0),
                sha256,
                layers: None,
                estimate_s: None,
                max_z_mm: None,
                objects: Vec::new(),
            }
        }
    };
    let program = Arc::new(program);
    job.set_program(program);
    let paused = job.record().pauses.last().is_some_and(|p| p.to.is_none());
    let adopt = job.adopt(state).map(|adopt| Adopt { paused, ..adopt });
    if adopt.is_some() {
        // Neither idle, which would tell that the print is over, nor printing, which nobody has seen yet.
        state.activity = Activity::NotReady(LOOKED_UP.to_owned());
    }
    (Some(job), adopt)
}

fn active(record: &JobRecord) -> ActiveJob {
    ActiveJob {
        uid: record.uid,
        file: record.file.clone(),
        origin: record.origin,
        progress: Progress {
            percent: record.percent,
            layer: record.layer,
            ..Progress::default()
        },
        started: record.started,
        skipped: record.skipped.clone(),
        objects: Vec::new(),
        upload_percent: None,
        heated: record
            .timeline
            .iter()
            .find(|entry| entry.what == HEATED)
            .map(|entry| entry.at),
        held: false,
    }
}

impl Actor {
    /// A job edge of the driver.
    pub(super) fn on_job(&mut self, event: JobEvent) {
        let now = clock::now();
        if let JobEvent::OutsideStarted { .. } = &event {
            self.begin_outside(now);
            return;
        }
        let Some(job) = &mut self.job else { return };
        if uid_of(&event).is_some_and(|uid| uid != job.record().uid) {
            tracing::warn!(?event, "a driver spoke of another job");
            return;
        }
        let was = job.record().started.is_some();
        job.apply(now, JobInput::Event(event.clone()));
        job.save(&self.means.store, now);
        let text = words(&event);
        tracing::info!(printer = %self.shared.name, uid = %job.record().uid, "{text}");
        let over = job.record().state.is_final();
        let end = again::end_of_start(job.record()).map(|end| (job.record().uid, end));
        if over {
            if let (Origin::Ours, Some(sha256)) = (job.record().origin, &job.record().sha256) {
                self.means.spool.unpin(sha256, job.record().uid);
            }
            self.last = Some(Arc::new(job.record().clone()));
            self.job = None;
            self.held = None;
            if self.state.activity == Activity::Preparing && self.preparing.is_none() {
                self.state.activity = Activity::Idle;
                self.state.since = now;
            }
            self.place.forget();
            self.copy_counters();
            if was {
                self.state.bed_dirty = true;
                self.keep_bed(true);
            }
        }
        if let Some((uid, end)) = end {
            self.tell_followers(uid, &end);
        }
        self.note(text);
        if over && was {
            let file = self.last.as_ref().map(|job| job.file.clone()).unwrap_or_default();
            match &event {
                JobEvent::Done { .. } => self.release_begins(&file),
                _ => self.release_stops("The last print was not completed."),
            }
        }
        match &event {
            JobEvent::Failed { fault, .. } => self.tell_of_job(fault),
            JobEvent::Interrupted { .. } => self.tell_of_job(&INTERRUPTED),
            // What was told of the job before is history now.
            JobEvent::Started { .. } if self.state.notices.iter().any(|n| n.key == told::JOB) => {
                self.close_notice(told::JOB);
            }
            _ => {}
        }
    }

    /// The printer is gone for good: its job is reported failed before it counts as offline.
    pub(super) fn lose_job(&mut self) {
        let Some(job) = &self.job else { return };
        let uid = job.record().uid;
        let fault = Fault::new(
            Severity::NeedsUser,
            "job/link-lost",
            "The print was lost: the connection to the printer broke and did not come back.",
            "The cable was pulled, the printer was switched off, or its USB port failed.",
            "Look at the printer: its heaters may still be on. Then start the print again.",
        );
        let event = if job.is_outside() {
            JobEvent::OutsideEnded {
                end: OutsideEnd::Failed,
            }
        } else {
            JobEvent::Failed {
                uid,
                fault,
                filament_mm: None,
            }
        };
        reduce(&mut self.state, clock::now(), Event::Job(event.clone()));
        self.on_job(event);
    }

    /// The second copy of the counters follows the database.
    fn copy_counters(&mut self) {
        let file = CountersFile::of(&self.means.state_dir, &self.shared.name);
        let (store, name) = (self.means.store.clone(), self.shared.name.clone());
        self.chores.push(Box::pin(async move {
            file.keep(&store, &name).await;
            Ok(())
        }));
    }

    /// The times of the file in hand are looked up beside the print.
    pub(super) fn want_timing(&mut self) {
        let Some(job) = self.job.as_ref().filter(|job| !job.is_outside()) else {
            return;
        };
        let (uid, sha256) = (job.record().uid, job.record().sha256.clone().unwrap_or_default());
        let pool = self.means.pool.clone();
        self.timings.push(Box::pin(async move {
            let timing = pool.timing(&sha256).await.unwrap_or_else(|fault| {
                tracing::debug!("no times for the rest of the print: {fault}");
                None
            });
            (uid, timing)
        }));
    }

    pub(super) fn on_timing(&mut self, uid: Uuid, timing: Option<Arc<Timing>>) {
        if let Some(job) = self.job.as_mut().filter(|job| job.record().uid == uid) {
            job.set_timing(timing);
        }
    }

    /// Whether a print lies on the bed, durable.
    pub(super) fn keep_bed(&mut self, dirty: bool) {
        let (store, name) = (self.means.store.clone(), self.shared.name.clone());
        self.chores
            .push(Box::pin(async move { store.set_bed_dirty(&name, dirty).await }));
    }

    /// The rating that a person gave when clearing the bed belongs to the last print.
    pub(super) fn rate_last_job(&mut self, rating: u8) {
        let (store, name) = (self.means.store.clone(), self.shared.name.clone());
        self.chores.push(Box::pin(async move {
            let last = JobFilter {
                printers: vec![name.to_string()],
                page_size: 1,
                ..JobFilter::default()
            };
            if let Some(mut job) = store.jobs(last).await?.0.into_iter().next() {
                job.rating = Some(rating);
                store.job_put(job).await?;
            }
            Ok(())
        }));
    }

    /// The print is warm for the first time.
    pub(super) fn on_heated(&mut self, now: Now) {
        if let Some(job) = &mut self.job {
            job.apply(now, JobInput::Heated);
            job.save(&self.means.store, now);
            self.note("heated");
        }
    }

    fn begin_outside(&mut self, now: Now) {
        if self.job.is_some() {
            return;
        }
        let Some(active) = &self.state.job else { return };
        let record = JobRecord::new(
            active.uid,
            &self.shared.name,
            &active.file,
            Origin::Outside,
            now.wall,
        );
        let mut job = JobInHand::new(record, now);
        job.apply(
            now,
            JobInput::Event(JobEvent::OutsideStarted {
                file: Some(active.file.clone()),
            }),
        );
        job.save(&self.means.store, now);
        self.job = Some(job);
        self.note("a print was started at the printer");
    }
}

fn uid_of(event: &JobEvent) -> Option<Uuid> {
    match event {
        JobEvent::Started { uid }
        | JobEvent::Paused { uid, .. }
        | JobEvent::Resumed { uid }
        | JobEvent::Done { uid, .. }
        | JobEvent::Cancelled { uid, .. }
        | JobEvent::Failed { uid, .. }
        | JobEvent::Adopted { uid }
        | JobEvent::Interrupted { uid } => Some(*uid),
        JobEvent::OutsideStarted { .. } | JobEvent::OutsideEnded { .. } => None,
    }
}

fn words(event: &JobEvent) -> String {
    match event {
        JobEvent::Started { .. } => "print started".to_owned(),
        JobEvent::Paused { why, .. } => format!("print paused ({why:?})").to_lowercase(),
        JobEvent::Resumed { .. } => "print resumed".to_owned(),
        JobEvent::Done { .. } => "print done".to_owned(),
        JobEvent::Cancelled { .. } => "print cancelled".to_owned(),
        JobEvent::Failed { fault, .. } => format!("print failed: {fault}"),
        JobEvent::Adopted { .. } => "print goes on after a restart of layerd".to_owned(),
        JobEvent::Interrupted { .. } => "print interrupted; it does not go on by itself".to_owned(),
        JobEvent::OutsideStarted { .. } => "print started at the printer".to_owned(),
        JobEvent::OutsideEnded { end } => format!("print at the printer ended ({end:?})").to_lowercase(),
    }
}
