//! Following a job: ours from the start demand on, others' from the moment they are seen, both over
//! broken connections and restarts. Pure.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::proto::{Core, Output};
use super::stages;
use super::status::GcodeState;
use super::{faults, orders};
use crate::printer::command::{RequestId, StartJob};
use crate::printer::event::{Event, JobEvent, OutsideEnd};
use crate::printer::fault::Fault;
use crate::printer::model::{Activity, Now, PauseReason};
use crate::printer::outcome::{Missing, Outcome};

use super::pending::Effect;

/// A start has to be answered in this time.
const START_ACK: Duration = Duration::from_secs(20);
/// And the print seen in this one: unpacking a big file takes its time.
const START_SEEN: Duration = Duration::from_secs(90);
/// The reason of a failure may come a moment after the failure.
const REASON_LATE: Duration = Duration::from_secs(3);
/// After a start of ours ended, others' prints are looked for only after this.
const OUTSIDE_LATER: Duration = Duration::from_secs(2);
/// Starts given up that are remembered.
const ABANDONED_MAX: usize = 4;

/// A start between demand and sight.
#[derive(Clone, Debug)]
pub struct Starting {
    /// Who asked.
    pub id: RequestId,
    /// What.
    pub job: StartJob,
    /// The number by which the printer will know it.
    pub subtask: String,
    /// Its name at the printer.
    pub name: String,
    /// Number of the order and its command, once sent.
    pub seq: Option<(u32, &'static str)>,
    /// The file at the printer, where the printer knows the job by nothing else.
    pub file: Option<String>,
    /// The printer said yes.
    pub acked: bool,
    began: Instant,
    error_before: u32,
}

impl Starting {
    /// A start that begins with the upload.
    pub fn new(id: RequestId, job: StartJob, now: Instant) -> Self {
        Starting {
            id,
            subtask: job_number(job.uid),
            name: display_name(&job.program.name),
            job,
            seq: None,
            file: None,
            acked: false,
            began: now,
            error_before: 0,
        }
    }

    /// Whether the printer has been told.
    pub fn is_sent(&self) -> bool {
        self.seq.is_some()
    }

    /// The order went out.
    pub fn sent(
        &mut self,
        now: Instant,
        order: (u32, &'static str),
        file: Option<String>,
        error_before: u32,
    ) {
        self.seq = Some(order);
        self.file = file;
        self.began = now;
        self.error_before = error_before;
    }

    /// When patience ends; the upload has its own.
    pub fn deadline(&self) -> Option<Instant> {
        self.seq?;
        Some(self.began + if self.acked { START_SEEN } else { START_ACK })
    }

    /// Its end when nothing was seen.
    pub fn gone(&self, now: Instant) -> Outcome {
        if !self.is_sent() {
            return Outcome::refused(
                "refused/offline",
                "The connection to the printer broke before the start; nothing was started.",
            );
        }
        Outcome::Unverified {
            waited: now.saturating_duration_since(self.began),
            missing: if self.acked { Missing::Effect } else { Missing::Ack },
        }
    }
}

/// A job that the printer is in.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracked {
    /// Ours, or `None`.
    pub uid: Option<Uuid>,
    /// The number by which the printer knows it.
    pub subtask: String,
    /// A stop was sent.
    pub stop_asked: bool,
    paused: bool,
    failed_at: Option<Instant>,
}

impl Tracked {
    fn new(uid: Option<Uuid>, subtask: &str) -> Self {
        Tracked {
            uid,
            subtask: subtask.to_owned(),
            stop_asked: false,
            paused: false,
            failed_at: None,
        }
    }

    /// When its end has to be decided without a reason.
    pub fn deadline(&self) -> Option<Instant> {
        Some(self.failed_at? + REASON_LATE)
    }
}

/// The number that a start of this job carries: fresh, decimal, from 1 to 2³¹-1 (larger ones are
/// clamped by the P1S), and the same again after a restart of ours.
pub fn job_number(uid: Uuid) -> String {
    let (high, _) = uid.as_u64_pair();
    ((high as u32 & 0x7fff_ffff).max(1)).to_string()
}

/// The name shown at the printer.
fn display_name(name: &str) -> String {
    let base = [".gcode.3mf", ".3mf", ".gcode"]
        .iter()
        .find_map(|end| name.strip_suffix(end))
        .unwrap_or(name);
    base.chars().filter(|c| !c.is_control()).take(60).collect()
}

impl Core {
    /// Ends a start that was not seen.
    pub(super) fn end_start(&mut self, now: Now, outcome: Outcome) {
        let Some(starting) = self.starting.take() else {
            return;
        };
        if !starting.is_sent() {
            self.push(Output::AbortUpload);
        } else {
            self.abandon(starting.subtask);
        }
        self.push(Output::Reply(starting.id, outcome));
        self.outside_from = Some(now.mono + OUTSIDE_LATER);
    }

    /// Should this start happen after all, it is stopped.
    pub(super) fn abandon(&mut self, subtask: String) {
        if self.abandoned.len() >= ABANDONED_MAX {
            self.abandoned.remove(0);
        }
        self.abandoned.push(subtask);
    }

    /// Compares the job in hand with what the printer reports.
    pub(super) fn follow_job(&mut self, now: Now) {
        if !self.is_ready() {
            return;
        }
        self.answer_for_adopted();
        self.look_for_start(now);
        if self.outside_from.is_some_and(|from| from <= now.mono) {
            self.outside_from = None;
        }
        let state = self.status.state;
        match &self.job {
            Some(job) if job.uid.is_some() && state.is_busy() && self.is_another(&job.subtask) => {
                let uid = job.uid;
                self.job = None;
                if let Some(uid) = uid {
                    self.failed(uid, faults::OTHER_PRINT);
                }
            }
            Some(_) if state.is_busy() => self.pauses(),
            Some(_) if state.is_free() => self.job_over(now),
            _ => {}
        }
        if self.job.is_none() && self.starting.is_none() && self.outside_from.is_none() && state.is_busy() {
            self.begin_outside();
        }
        self.tell_activity();
    }

    /// Whether the printer names another job than this one. Numbers of 0 or none say nothing.
    fn is_another(&self, subtask: &str) -> bool {
        let now = self.status.subtask_id.as_str();
        !matches!(now, "" | "0") && now != subtask
    }

    /// Whether the job at the printer is this plain file: such a job has no number of ours.
    fn prints_file(&self, file: &str) -> bool {
        let base = |path: &str| path.rsplit('/').next() == Some(file);
        matches!(self.status.subtask_id.as_str(), "" | "0")
            && (base(&self.status.file) || base(&self.status.job_name))
    }

    fn answer_for_adopted(&mut self) {
        let Some(adopt) = self.adopt.take() else { return };
        let uid = adopt.job.uid;
        let subtask = job_number(uid);
        let file = orders::remote_name(&adopt.job.program.name, &adopt.job.program.sha256, false);
        let known = self.status.subtask_id == subtask || self.prints_file(&file);
        let state = self.status.state;
        let event = match (known, state) {
            (true, s) if s.is_busy() => {
                let mut job = Tracked::new(Some(uid), &subtask);
                job.paused = adopt.paused;
                self.job = Some(job);
                JobEvent::Adopted { uid }
            }
            (true, GcodeState::Finish) => JobEvent::Done {
                uid,
                filament_mm: None,
            },
            (true, GcodeState::Failed) if faults::is_cancel(self.status.print_error) => JobEvent::Cancelled {
                uid,
                filament_mm: None,
            },
            (true, GcodeState::Failed) => JobEvent::Failed {
                uid,
                fault: self.why_failed(),
                filament_mm: None,
            },
            _ => JobEvent::Failed {
                uid,
                fault: faults::JOB_GONE,
                filament_mm: None,
            },
        };
        self.emit(Event::Job(event));
    }

    /// Whether the start in hand is seen, or has failed.
    fn look_for_start(&mut self, now: Now) {
        let Some(starting) = self.starting.as_ref().filter(|s| s.is_sent()) else {
            return;
        };
        let status = &self.status;
        let ours = status.subtask_id == starting.subtask
            || (matches!(status.subtask_id.as_str(), "" | "0") && status.job_name == starting.name)
            || starting
                .file
                .as_deref()
                .is_some_and(|file| self.prints_file(file));
        if status.state.is_busy() && ours {
            let Some(starting) = self.starting.take() else {
                return;
            };
            let uid = starting.job.uid;
            self.job = Some(Tracked::new(Some(uid), &starting.subtask));
            self.push(Output::Reply(starting.id, Outcome::Verified));
            self.emit(Event::Job(JobEvent::Started { uid }));
            if !starting.job.skip.is_empty() {
                self.skip_later = starting.job.skip;
            }
            return;
        }
        if status.state.is_busy() {
            let outcome = Outcome::Rejected {
                by_printer: "busy with another print".to_owned(),
                fault: Some(faults::OTHER_PRINT),
            };
            return self.end_start(now, outcome);
        }
        let error = status.print_error;
        if error != 0 && error != starting.error_before && !faults::is_cancel(error) {
            let fault = faults::print_error(error);
            let outcome = Outcome::Rejected {
                by_printer: fault.raw.clone().unwrap_or_default(),
                fault: Some(fault),
            };
            self.end_start(now, outcome);
        }
    }

    fn pauses(&mut self) {
        let paused = self.status.state == GcodeState::Pause;
        let why = self.pause_reason();
        let Some(job) = &mut self.job else { return };
        job.failed_at = None;
        if job.paused == paused {
            return;
        }
        job.paused = paused;
        if let Some(uid) = job.uid {
            self.emit(Event::Job(if paused {
                JobEvent::Paused { uid, why }
            } else {
                JobEvent::Resumed { uid }
            }));
        }
    }

    fn pause_reason(&self) -> PauseReason {
        stages::pause_reason(self.status.stage, self.pause_asked)
    }

    fn job_over(&mut self, now: Now) {
        let state = self.status.state;
        let error = self.status.print_error;
        let Some(job) = &mut self.job else { return };
        // A person's stop looks like a failure; the code that tells may come a moment later.
        if state == GcodeState::Failed && error == 0 && !job.stop_asked {
            let since = *job.failed_at.get_or_insert(now.mono);
            if now.mono.saturating_duration_since(since) < REASON_LATE {
                return;
            }
        }
        let Some(job) = self.job.take() else { return };
        self.pause_asked = false;
        self.skip_later.clear();
        let cancelled = job.stop_asked || faults::is_cancel(error);
        let Some(uid) = job.uid else {
            let end = match state {
                GcodeState::Finish => OutsideEnd::Done,
                _ if cancelled => OutsideEnd::Cancelled,
                _ => OutsideEnd::Failed,
            };
            return self.emit(Event::Job(JobEvent::OutsideEnded { end }));
        };
        match state {
            GcodeState::Finish => self.emit(Event::Job(JobEvent::Done {
                uid,
                filament_mm: None,
            })),
            _ if cancelled => self.emit(Event::Job(JobEvent::Cancelled {
                uid,
                filament_mm: None,
            })),
            GcodeState::Failed => {
                let fault = self.why_failed();
                self.failed(uid, fault);
            }
            // Idle without an end: it was restarted.
            _ => self.failed(uid, faults::JOB_GONE),
        }
    }

    fn why_failed(&self) -> Fault {
        if self.status.print_error != 0 {
            return faults::print_error(self.status.print_error);
        }
        let worst = self.status.hms.iter().min_by_key(|(_, code)| code >> 16);
        worst.map_or(faults::FAILED, |(attr, code)| {
            faults::hms(*attr, *code, self.wiki())
        })
    }

    fn failed(&mut self, uid: Uuid, fault: Fault) {
        self.emit(Event::Job(JobEvent::Failed {
            uid,
            fault,
            filament_mm: None,
        }));
    }

    fn begin_outside(&mut self) {
        let subtask = self.status.subtask_id.clone();
        if let Some(at) = self.abandoned.iter().position(|a| *a == subtask) {
            // A start that was reported as failed must not print.
            self.abandoned.remove(at);
            self.order("stop", true, Effect::Stopped, None, |seq| {
                orders::simple(seq, "stop")
            });
        }
        self.job = Some(Tracked::new(None, &subtask));
        let name = [&self.status.job_name, &self.status.file]
            .into_iter()
            .find(|n| !n.is_empty())
            .cloned();
        self.emit(Event::Job(JobEvent::OutsideStarted { file: name }));
    }

    /// What the printer is seen to do; told when it changes.
    fn tell_activity(&mut self) {
        let waits = |effect: &Effect| self.pending.iter().any(|p| p.effect == *effect);
        let activity = match self.status.state {
            s if s.is_busy() && waits(&Effect::Stopped) => Activity::Cancelling,
            GcodeState::Prepare | GcodeState::Slicing => Activity::Preparing,
            GcodeState::Running if waits(&Effect::Paused) => Activity::Pausing,
            GcodeState::Running => Activity::Printing,
            GcodeState::Pause if waits(&Effect::Resumed) => Activity::Resuming,
            GcodeState::Pause => Activity::Paused(self.pause_reason()),
            // The end is not decided yet.
            GcodeState::Failed if self.job.is_some() => return,
            _ if self.starting.is_some() => Activity::Preparing,
            s if s.is_free() => Activity::Idle,
            GcodeState::NotReady => Activity::NotReady("The printer is starting up.".to_owned()),
            // A word of newer firmware says nothing; what was known stays.
            _ if self.last_activity.is_some() => return,
            _ => Activity::NotReady(format!("The printer says {:?}.", self.status.state_word)),
        };
        if self.status.state == GcodeState::Running && !self.skip_later.is_empty() {
            let ids = std::mem::take(&mut self.skip_later);
            self.order("skip_objects", true, Effect::Skipped(ids.clone()), None, |seq| {
                orders::skip(seq, &ids)
            });
        }
        if self.last_activity.as_ref() != Some(&activity) {
            self.last_activity = Some(activity.clone());
            self.emit(Event::Activity(activity));
        }
    }
}
