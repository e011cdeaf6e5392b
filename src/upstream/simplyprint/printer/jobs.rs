//! Files, starts, and how jobs are reported: exactly one flag each, the start before the end, the end
//! before "operational", the cloud's number on all of them.

use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Out, PrinterCore};
use crate::json::json;
use crate::printer::command::{CancelReason, Command};
use crate::printer::model::{Now, StateWord};
use crate::upstream::simplyprint::action::{Action, FetchOrder, StartOrder};
use crate::upstream::simplyprint::demand::{Entry as FileEntry, FileDemand};
use crate::upstream::simplyprint::doc::{JobDoc, Phase, Tracked, Uncleared};
use crate::upstream::simplyprint::materials;
use crate::upstream::simplyprint::outbox::{Entry, Kind};
use crate::upstream::simplyprint::view::{Ended, Flag, Job};

/// A transfer that is silent for longer is given up by the cloud after 30 s; it is repeated this often.
pub const SAY_EVERY: Duration = Duration::from_secs(5);

/// The percent of a transfer is told at most this often.
const SAY_LEAST: Duration = Duration::from_secs(1);

/// A printer that was not found yet after the start is not called offline before this.
const FIRST_LOOK: Duration = Duration::from_secs(8);

/// Why a start was dropped.
const LINK_LOST: &str =
    "The connection to the cloud was lost before the print began. Nothing was started; start it again.";
const RESTARTED: &str =
    "The printer's host was restarted before the print began. Nothing was started; start it again.";
const CANCELLED: &str = "Cancelled";

/// What runs for the cloud's job and is not worth keeping.
#[derive(Debug, Default)]
pub struct Flow {
    /// Counts fetches and starts, so that late answers are told from fresh ones.
    number: u64,
    auto_start: bool,
    percent: i64,
    said: Option<(i64, Instant)>,
    /// `file_progress ready` is to be said.
    ready: bool,
}

impl Flow {
    /// The other side knows nothing.
    pub(super) fn restart_telling(&mut self) {
        self.said = None;
    }
}

/// How a start went, as the shell saw it.
#[derive(Clone, Debug, PartialEq)]
pub enum StartResult {
    /// The pre-flight is over; the job has an identity.
    Accepted(Uuid),
    /// Nothing was started.
    Refused(String),
    /// Asked of the printer, but not seen to run.
    NotSeen(String),
}

impl PrinterCore {
    /// What the last run left behind.
    pub(super) fn after_restart(&mut self, now: Now) {
        let Some(job) = self.doc.job.clone() else { return };
        match (job.phase, job.uid) {
            (Phase::Fetching, _) => self.fail_start(now, RESTARTED),
            (Phase::Starting, None) => {
                // It may have been accepted in the last moment: the database knows.
                self.looking_start = true;
                self.out.push_back(Out::Act(Action::LookUpStart(job.start_id)));
            }
            (Phase::Staged | Phase::Starting | Phase::Running, _) => {}
        }
    }

    /// What became of a start that was asked before a restart.
    pub fn looked_up_start(&mut self, now: Now, uid: Option<Uuid>) {
        if !std::mem::take(&mut self.looking_start) {
            return;
        }
        match uid {
            Some(uid) => {
                self.change(|doc| {
                    if let Some(job) = &mut doc.job {
                        job.uid = Some(uid);
                    }
                });
                self.look_at_job(now);
            }
            None => self.fail_start(now, RESTARTED),
        }
    }

    /// `file`.
    pub(super) fn file(&mut self, now: Now, file: FileDemand) {
        let known = |id: i64| {
            self.doc.recent.contains(&id) || self.doc.job.as_ref().is_some_and(|j| j.job_id == Some(id))
        };
        if file.job_id.is_some_and(known) {
            self.note("a file demand came again; the job is in hand already or over");
            return;
        }
        let busy = self.view.job.is_some() || self.phase() == Some(Phase::Starting);
        if !busy && self.doc.job.is_some() {
            // Another file takes over from one that is on its way or waits.
            self.out.push_back(Out::Act(Action::StopFetch));
            self.forget_staged();
        }
        let job = JobDoc {
            job_id: file.job_id,
            start_id: match file.job_id {
                Some(id) => format!("simplyprint/{}/{id}", self.doc.unique_id),
                None => format!("simplyprint/{}", Uuid::new_v4()),
            },
            name: file.name.clone(),
            skip: file.skip.clone(),
            // Without a system it does what it does anyway.
            materials: match &self.view.materials {
                Some(_) => file.materials.clone().unwrap_or_default(),
                None => Vec::new(),
            },
            plate: match file.entry {
                Some(FileEntry::Plate(plate)) => Some(plate),
                _ => None,
            },
            phase: Phase::Fetching,
            sha256: None,
            uid: None,
            action_token: file.action_token.clone(),
        };
        let problem = if busy {
            Some("The printer is busy with another print.".to_owned())
        } else if file.materials.is_none() {
            Some("The map of materials cannot be read; nothing was started.".to_owned())
        } else if self.view.materials.is_none()
            && file.materials.as_deref().is_some_and(materials::needs_system)
        {
            Some("This printer has no material system: the tools cannot be mapped to other ones than in the file.".to_owned())
        } else {
            match &file.entry {
                Some(FileEntry::Other(entry)) => Some(format!(
                    "{entry:?} is no plate of a sliced project; nothing was started. Upload that file itself."
                )),
                _ => None,
            }
        };
        if let Some(problem) = problem {
            let job_id = job.job_id;
            self.change(|doc| doc.remember(job_id));
            self.report_file_error(now, job.job_id, &job.start_id, &problem);
            return;
        }
        if !file.ignored_options.is_empty() {
            self.note(format!(
                "start options without meaning here: {}",
                file.ignored_options.join(", ")
            ));
        }
        self.flow = Flow {
            number: self.flow.number + 1,
            auto_start: file.auto_start,
            ..Flow::default()
        };
        self.out.push_back(Out::Act(Action::Fetch(FetchOrder {
            number: self.flow.number,
            urls: file.urls,
            name: file.name,
            size: file.size,
        })));
        self.change(|doc| doc.job = Some(job));
    }

    /// How far the file is, percent.
    pub fn fetched_so_far(&mut self, number: u64, percent: i64) {
        if number == self.flow.number && self.phase() == Some(Phase::Fetching) {
            self.flow.percent = percent.clamp(0, 100);
        }
    }

    /// The file is here, or cannot be had.
    pub fn fetched(&mut self, now: Now, number: u64, result: Result<String, String>) {
        if number != self.flow.number || self.phase() != Some(Phase::Fetching) {
            if let Ok(sha256) = result {
                self.out.push_back(Out::Act(Action::Forget { sha256 }));
            }
            return;
        }
        match result {
            Err(why) => self.fail_start(now, &why),
            Ok(sha256) => {
                self.flow.percent = 100;
                self.flow.ready = !self.flow.auto_start;
                self.change(|doc| {
                    if let Some(job) = &mut doc.job {
                        job.sha256 = Some(sha256);
                        job.phase = Phase::Staged;
                    }
                });
                if self.flow.auto_start {
                    self.start(now);
                }
            }
        }
    }

    /// `start_print`.
    pub(super) fn start_print(&mut self, now: Now) {
        match self.phase() {
            Some(Phase::Staged) => self.start(now),
            // Asked early: it starts when the file is here.
            Some(Phase::Fetching) => self.flow.auto_start = true,
            Some(Phase::Starting | Phase::Running) => {
                self.note("start_print came again; the print is on its way or runs");
            }
            None => self.remark(
                "Nothing to start.",
                "There is no file waiting on the printer.",
                now.wall,
            ),
        }
    }

    fn start(&mut self, now: Now) {
        let Some(job) = self.doc.job.clone() else { return };
        let Some(sha256) = job.sha256.clone() else { return };
        if self.view.job.is_some() {
            self.fail_start(now, "The printer is busy with another print.");
            return;
        }
        self.flow.number += 1;
        self.flow.percent = 100;
        self.out.push_back(Out::Act(Action::Start(StartOrder {
            number: self.flow.number,
            sha256,
            name: job.name.clone(),
            skip: job.skip.clone(),
            materials: job.materials.clone(),
            plate: job.plate,
            start_id: job.start_id.clone(),
        })));
        self.change(|doc| {
            doc.remember(job.job_id);
            if let Some(job) = &mut doc.job {
                job.phase = Phase::Starting;
            }
        });
    }

    /// How a start went.
    pub fn started(&mut self, now: Now, number: u64, result: StartResult) {
        if number != self.flow.number || self.phase() != Some(Phase::Starting) {
            return;
        }
        match result {
            StartResult::Accepted(uid) => {
                self.change(|doc| {
                    if let Some(job) = &mut doc.job {
                        job.uid = Some(uid);
                    }
                });
                self.look_at_job(now);
            }
            StartResult::Refused(why) => {
                self.fail_start(now, &why);
                // Somebody else's print may be why.
                self.look_at_job(now);
            }
            // The job's own end tells; without one this does.
            StartResult::NotSeen(why) if self.doc.tracked.is_none() => self.fail_start(now, &why),
            StartResult::NotSeen(_) => {}
        }
    }

    /// `cancel` before the printer prints. `false`: it prints, the printer has to be told.
    pub(super) fn cancel_start(&mut self, now: Now) -> bool {
        match self.phase() {
            Some(Phase::Fetching | Phase::Staged) if self.view.job.is_none() => {
                self.out.push_back(Out::Act(Action::StopFetch));
                self.fail_start(now, CANCELLED);
                true
            }
            Some(Phase::Starting) if self.is_unasked() => {
                self.withdraw(now, CANCELLED);
                true
            }
            Some(Phase::Starting) => {
                self.out.push_back(Out::Act(Action::Command(
                    Command::Cancel(CancelReason::default()),
                )));
                true
            }
            _ => false,
        }
    }

    /// The connection broke or the registration is lost: what has not begun does not begin.
    pub(super) fn drop_start(&mut self, now: Now) {
        if self.phase() == Some(Phase::Fetching) {
            self.out.push_back(Out::Act(Action::StopFetch));
            self.fail_start(now, LINK_LOST);
        } else if self.is_unasked() {
            self.withdraw(now, LINK_LOST);
        }
    }

    /// Whether a start waits for its turn on this host: the printer's actor knows nothing of it yet, as
    /// far as can be seen.
    fn is_unasked(&self) -> bool {
        self.is_unanswered() && self.view.job.is_none() && !self.looking_start
    }

    /// Whether a start was asked and the job has no identity yet.
    fn is_unanswered(&self) -> bool {
        let waiting = |j: &JobDoc| j.phase == Phase::Starting && j.uid.is_none();
        self.doc.job.as_ref().is_some_and(waiting)
    }

    /// Takes such a start back. It may have been asked in this very moment: then it is cancelled behind it.
    fn withdraw(&mut self, now: Now, why: &str) {
        self.out.push_back(Out::Act(Action::StopFetch));
        self.out.push_back(Out::Act(Action::Command(
            Command::Cancel(CancelReason::default()),
        )));
        self.fail_start(now, why);
    }

    /// The cloud's job ends before it began.
    fn fail_start(&mut self, now: Now, why: &str) {
        self.forget_staged();
        let Some(job) = self.doc.job.clone() else { return };
        self.flow.number += 1;
        self.flow.said = None;
        self.report_file_error(now, job.job_id, &job.start_id, why);
        self.change(|doc| {
            doc.remember(job.job_id);
            doc.job = None;
        });
    }

    fn report_file_error(&mut self, now: Now, job_id: Option<i64>, start_id: &str, why: &str) {
        let mut data = tagged(job_id);
        data.insert("state".to_owned(), json!("error"));
        data.insert("message".to_owned(), json!(why));
        self.note(format!("not started: {why}"));
        self.put(Entry {
            key: format!("{start_id}/error"),
            at: now.wall,
            kind: Kind::File,
            data,
        });
    }

    fn forget_staged(&mut self) {
        if let Some(sha256) = self.doc.job.as_ref().and_then(|j| j.sha256.clone()) {
            self.out.push_back(Out::Act(Action::Forget { sha256 }));
        }
    }

    /// Compares the job in hand with the one that was reported.
    pub(super) fn look_at_job(&mut self, now: Now) {
        if self.looking.is_some() && self.looking == self.view.job.as_ref().map(|j| j.uid) {
            // It came into sight by itself.
            self.looking = None;
        }
        if !self.doc.is_claimed() || !self.seen || self.looking.is_some() || self.looking_start {
            return;
        }
        if self.doc.tracked.is_none() && self.is_unanswered() {
            // The printer may run before the answer to the start is here; whose job that is, only the answer tells.
            return;
        }
        let current = self.view.job.clone();
        let current_uid = current.as_ref().map(|j| j.uid);
        if let Some(tracked) = self.doc.tracked.clone()
            && current_uid != Some(tracked.uid)
        {
            match self.view.ended.clone().filter(|e| e.uid == tracked.uid) {
                Some(ended) => self.report_end(now, &ended),
                None => {
                    self.looking = Some(tracked.uid);
                    self.out.push_back(Out::Act(Action::LookUp(tracked.uid)));
                    return;
                }
            }
        }
        // One that began and ended between two looks, or ended before it was seen to run.
        let starting = self
            .doc
            .job
            .as_ref()
            .filter(|j| j.phase == Phase::Starting)
            .and_then(|j| j.uid);
        if self.doc.tracked.is_none()
            && let Some(ended) = self.view.ended.clone()
            && self.doc.last_ended != Some(ended.uid)
            && current_uid != Some(ended.uid)
            && (starting == Some(ended.uid) || (ended.started.is_some() && self.is_fresh(&ended, now)))
        {
            self.ended_unseen(now, ended.uid, Some(ended));
        } else if let Some(uid) = starting
            && self.doc.tracked.is_none()
            && current_uid != Some(uid)
            && self.doc.last_ended != Some(uid)
        {
            self.looking = Some(uid);
            self.out.push_back(Out::Act(Action::LookUp(uid)));
            return;
        }
        if self.doc.tracked.is_none()
            && let Some(job) = current.filter(|j| j.started.is_some())
        {
            self.report_start(now, &job);
        }
        self.ask_for_objects();
    }

    /// Whether a job that was never seen ended after this printer was claimed in this run.
    fn is_fresh(&self, ended: &Ended, now: Now) -> bool {
        let age = now.wall.duration_since(ended.at).as_secs();
        (0..60).contains(&age)
            && now.mono.saturating_duration_since(self.began).as_secs() >= age.unsigned_abs()
    }

    fn report_start(&mut self, now: Now, job: &Job) {
        let ours = self.doc.job.as_ref().filter(|j| j.uid == Some(job.uid));
        let job_id = ours.and_then(|j| j.job_id);
        if ours.is_some_and(|j| j.phase == Phase::Starting) {
            self.flow.ready = true;
        }
        let mut data = tagged(job_id);
        data.insert("started".to_owned(), json!(true));
        data.insert("filename".to_owned(), json!(job.file));
        data.insert("progress".to_owned(), json!(job.percent.unwrap_or(0)));
        if let Some(left_s) = job.time_left_s {
            data.insert("time".to_owned(), json!(left_s));
        }
        self.put(Entry {
            key: format!("{}/started", job.uid),
            at: job.started.unwrap_or(now.wall),
            kind: Kind::Job,
            data,
        });
        let tracked = Tracked { uid: job.uid, job_id };
        self.change(|doc| {
            doc.tracked = Some(tracked);
            if let Some(ours) = doc.job.as_mut().filter(|j| j.uid == Some(job.uid)) {
                ours.phase = Phase::Running;
            }
        });
    }

    /// A job that is over and was not followed to its end.
    pub(super) fn ended_unseen(&mut self, now: Now, uid: Uuid, ended: Option<Ended>) {
        let tracked = self.doc.tracked.as_ref().is_some_and(|t| t.uid == uid);
        let unknown = || Ended {
            uid,
            file: String::new(),
            flag: Flag::Failed,
            started: tracked.then_some(now.wall),
            at: now.wall,
            percent: None,
            why: Some("What became of the print is not known.".to_owned()),
        };
        let ended = ended.unwrap_or_else(unknown);
        if tracked {
            self.report_end(now, &ended);
            return;
        }
        let Some(started) = ended.started else {
            // It never ran: for the cloud the transfer failed.
            let why = match ended.flag {
                Flag::Cancelled => CANCELLED.to_owned(),
                _ => ended
                    .why
                    .clone()
                    .unwrap_or_else(|| "The print did not begin.".to_owned()),
            };
            if self.doc.job.as_ref().is_some_and(|j| j.uid == Some(uid)) {
                self.fail_start(now, &why);
            }
            self.change(|doc| doc.last_ended = Some(uid));
            return;
        };
        let job = Job {
            uid,
            file: ended.file.clone(),
            started: Some(started),
            outside: false,
            percent: None,
            layer: None,
            time_left_s: None,
            skipped: Vec::new(),
        };
        self.report_start(now, &job);
        self.report_end(now, &ended);
    }

    fn report_end(&mut self, now: Now, ended: &Ended) {
        let Some(tracked) = self.doc.tracked.clone() else {
            return;
        };
        let mut data = tagged(tracked.job_id);
        data.insert(ended.flag.as_str().to_owned(), json!(true));
        let percent = match ended.flag {
            Flag::Finished => Some(100),
            _ => ended
                .percent
                .and_then(crate::upstream::simplyprint::view::percent),
        };
        if let Some(percent) = percent {
            data.insert("progress".to_owned(), json!(percent));
        }
        if !ended.file.is_empty() {
            data.insert("filename".to_owned(), json!(ended.file));
        }
        self.put(Entry {
            key: format!("{}/ended", ended.uid),
            at: ended.at.min(now.wall),
            kind: Kind::Job,
            data,
        });
        let uid = ended.uid;
        let ours = self.doc.job.clone().filter(|j| j.uid == Some(uid));
        if let Some(job) = &ours
            && let Some(sha256) = job.sha256.clone()
        {
            self.out.push_back(Out::Act(Action::Forget { sha256 }));
        }
        let uncleared = ours.as_ref().map(|job| Uncleared {
            uid,
            success: ended.flag == Flag::Finished,
            action_token: job.action_token.clone(),
        });
        self.change(|doc| {
            doc.tracked = None;
            doc.last_ended = Some(uid);
            if ours.is_some() {
                doc.job = None;
                doc.uncleared = uncleared;
            }
        });
        self.told.job.clear();
        self.told.skipped = None;
        if self.objects.as_ref().is_some_and(|(of, _)| *of == uid) {
            self.objects = None;
        }
    }

    /// A print that ran before the printer was claimed.
    pub(super) fn adopt_running(&mut self) {
        self.objects_asked = None;
        self.ask_for_objects();
    }

    fn ask_for_objects(&mut self) {
        let Some(uid) = self.doc.tracked.as_ref().map(|t| t.uid) else {
            return;
        };
        if self.objects_asked != Some(uid) {
            self.objects_asked = Some(uid);
            self.out.push_back(Out::Act(Action::Objects(uid)));
        }
    }

    /// The bed was cleared here.
    pub fn bed_cleared(&mut self) {
        let Some(uncleared) = self.doc.uncleared.clone() else {
            return;
        };
        let pid = self.doc.id;
        self.change(|doc| doc.uncleared = None);
        if let Some(token) = uncleared.action_token {
            self.out.push_back(Out::Act(Action::ClearBed {
                pid,
                success: uncleared.success,
                token,
            }));
        }
    }

    /// The word for the cloud; `None`: nothing can be said yet.
    ///
    /// A transfer is seen by the cloud, not by the printer. `offline` ends the cloud's job, so it is
    /// never said of a printer that is only being looked for, nor while its job goes on.
    pub(super) fn word(&self, now: Instant) -> Option<StateWord> {
        let word = self.view.word;
        let preparing = matches!(self.phase(), Some(Phase::Fetching | Phase::Starting));
        let unknown_end = self.looking.is_some() && self.doc.tracked.is_some();
        match word {
            StateWord::Operational if preparing => Some(StateWord::Downloading),
            // Until the end of a job is known nothing is over.
            StateWord::Operational | StateWord::Downloading | StateWord::Offline if unknown_end => {
                self.told.word
            }
            // Not ready with a print in hand: after a restart, until that print is found again or not.
            StateWord::Offline | StateWord::NotReady
                if self.view.job.is_some() && self.doc.tracked.is_some() =>
            {
                self.told.word
            }
            StateWord::Offline if now.saturating_duration_since(self.began) < FIRST_LOOK => self.told.word,
            other => Some(other),
        }
    }

    /// What is to be said about the file now.
    pub(super) fn file_progress(&mut self, now: Instant) {
        let mut data = tagged(self.doc.job.as_ref().and_then(|j| j.job_id));
        let transferring = matches!(self.phase(), Some(Phase::Fetching | Phase::Starting));
        // The end of the transfer is said before that the file is ready.
        let percent = if self.flow.ready { 100 } else { self.flow.percent };
        let unfinished = self.flow.ready && self.flow.said.is_some_and(|(p, _)| p < 100);
        if transferring || unfinished {
            let due = match self.flow.said {
                None => true,
                Some((said, at)) => {
                    let age = now.saturating_duration_since(at);
                    age >= SAY_EVERY || (said != percent && (age >= SAY_LEAST || percent == 100))
                }
            };
            if due {
                let mut data = data.clone();
                data.insert("state".to_owned(), json!("downloading"));
                data.insert("percent".to_owned(), json!(percent));
                self.flow.said = Some((percent, now));
                self.send("file_progress", Value::Object(data));
            }
        }
        if std::mem::take(&mut self.flow.ready) {
            data.insert("state".to_owned(), json!("ready"));
            self.send("file_progress", Value::Object(data));
        }
    }

    /// When the file is to be mentioned again.
    pub(super) fn file_due(&self) -> Option<Instant> {
        if !matches!(self.phase(), Some(Phase::Fetching | Phase::Starting)) {
            return None;
        }
        let (said, at) = self.flow.said?;
        Some(
            at + if said == self.flow.percent {
                SAY_EVERY
            } else {
                SAY_LEAST
            },
        )
    }
}

/// Data that begins with the cloud's number, where there is one.
pub(super) fn tagged(job_id: Option<i64>) -> Map<String, Value> {
    let mut data = Map::new();
    if let Some(job_id) = job_id {
        data.insert("job_id".to_owned(), json!(job_id));
    }
    data
}
