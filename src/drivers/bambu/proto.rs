//! The core of the driver: reports and requests in, publishes and events out. Pure: time is an
//! argument, nothing here waits.
//!
//! A command's answer says "accepted", not "done": what counts as its end is the state that the
//! printer reports afterwards.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::faults;
use super::lenient::decode;
use super::model::{self, Model};
use super::orders::{self, OnCard, StartOptions};
use super::pending::{Effect, Pending};
use super::report::{Answer, Info, Message, Print};
use super::status::{Control, GcodeState, Status};
use super::track::{Starting, Tracked};
use crate::drivers::Adopt;
use crate::json;
use crate::printer::command::{RequestId, StartJob};
use crate::printer::event::Event;
use crate::printer::fault::Fault;
use crate::printer::model::{Activity, Firmware, Now};
use crate::printer::outcome::Outcome;

/// A report beyond this is none: the largest real ones are 36 kB.
pub const REPORT_MAX: usize = 1 << 20;

/// Without a report for so long the printer is asked to go on reporting.
const QUIET: Duration = Duration::from_secs(60);
/// After that, for so long, before a whole report is asked for.
const QUIET_ASK: Duration = Duration::from_secs(70);
/// And then the session ends.
const QUIET_END: Duration = Duration::from_secs(90);
/// The first whole report has to come in this time; half way it is asked for once more.
const FIRST_REPORT: Duration = Duration::from_secs(16);

/// What the core wants done.
#[derive(Debug, PartialEq)]
pub enum Output {
    /// Publish on the request topic.
    Publish(String),
    /// Tell the actor.
    Event(Event),
    /// A request has ended.
    Reply(RequestId, Outcome),
    /// Bring this job's file to the printer; answered by [`Core::uploaded`].
    Upload(StartJob),
    /// The upload is not wanted any more.
    AbortUpload,
    /// End the session.
    Hangup(Fault),
}

/// The core of one printer. It outlives connections.
#[derive(Debug)]
pub struct Core {
    pub(super) options: StartOptions,
    pub(super) model: Option<&'static Model>,
    pub(super) status: Status,
    pub(super) control: Control,
    pub(super) pending: Vec<Pending>,
    pub(super) starting: Option<Starting>,
    pub(super) job: Option<Tracked>,
    pub(super) adopt: Option<Adopt>,
    /// Starts that were given up: should one begin all the same it is stopped.
    pub(super) abandoned: Vec<String>,
    /// A print that is not ours is looked for only from here on.
    pub(super) outside_from: Option<Instant>,
    pub(super) last_activity: Option<Activity>,
    /// The pause in hand was asked for by us.
    pub(super) pause_asked: bool,
    /// Objects to leave out as soon as the print runs.
    pub(super) skip_later: Vec<u32>,
    /// When a person had everything told anew.
    pub(super) refreshed: Option<Instant>,
    /// The time of the call in hand.
    pub(super) clock: Instant,
    pub(super) shown: super::notices::Shown,
    out: VecDeque<Output>,
    seq: u32,
    connected: Option<Instant>,
    fresh: bool,
    reports: u64,
    heard: Instant,
    nudges: u8,
}

impl Core {
    /// A core before its first connection. `first_seq`: where the numbers of requests begin; a random
    /// one keeps them apart from the printer's own counter.
    pub fn new(
        serial: &str,
        options: StartOptions,
        adopt: Option<Adopt>,
        first_seq: u32,
        now: Instant,
    ) -> Self {
        Core {
            options,
            model: model::by_serial(serial),
            status: Status::default(),
            control: Control::Unknown,
            pending: Vec::new(),
            starting: None,
            job: None,
            adopt,
            abandoned: Vec::new(),
            outside_from: None,
            last_activity: None,
            pause_asked: false,
            skip_later: Vec::new(),
            refreshed: None,
            clock: now,
            shown: super::notices::Shown::default(),
            out: VecDeque::new(),
            seq: first_seq & 0x3fff_ffff,
            connected: None,
            fresh: false,
            reports: 0,
            heard: now,
            nudges: 0,
        }
    }

    /// What is known of the printer.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// The model, once known.
    pub fn model(&self) -> Option<&'static Model> {
        self.model
    }

    /// Whether it obeys.
    pub fn control(&self) -> Control {
        self.control
    }

    /// Next thing to do; drain after every call.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    pub(super) fn emit(&mut self, event: Event) {
        self.out.push_back(Output::Event(event));
    }

    pub(super) fn push(&mut self, output: Output) {
        self.out.push_back(output);
    }

    /// Whether requests can be served: connected, and the whole state is known.
    pub fn is_ready(&self) -> bool {
        self.fresh
    }

    /// Whether nothing is awaited of the printer: its reports may be read a moment later.
    pub fn is_calm(&self) -> bool {
        self.fresh && self.pending.is_empty() && self.starting.is_none()
    }

    pub(super) fn next_seq(&mut self) -> u32 {
        self.seq = self.seq % 0x3fff_ffff + 1;
        self.seq
    }

    /// A connection stands and the reports are subscribed to.
    pub fn connected(&mut self, now: Now) {
        self.clock = now.mono;
        self.connected = Some(now.mono);
        self.fresh = false;
        self.reports = 0;
        self.heard = now.mono;
        self.nudges = 0;
        // A restart of the printer may have changed it.
        self.control = Control::Unknown;
        let (version, all) = (self.next_seq(), self.next_seq());
        self.push(Output::Publish(orders::get_version(version)));
        self.push(Output::Publish(orders::pushall(all)));
    }

    /// The connection is gone: what was waited for will not come.
    pub fn disconnected(&mut self, now: Now) {
        self.clock = now.mono;
        self.connected = None;
        self.fresh = false;
        self.last_activity = None;
        let pending = std::mem::take(&mut self.pending);
        for one in pending {
            if let Some(id) = one.id {
                self.push(Output::Reply(id, one.gone(now.mono)));
            }
        }
        if self.starting.as_ref().is_some_and(|s| !s.is_sent()) {
            self.push(Output::AbortUpload);
        }
        if let Some(starting) = self.starting.take() {
            let outcome = starting.gone(now.mono);
            self.push(Output::Reply(starting.id, outcome));
            self.abandon(starting.subtask);
        }
    }

    /// A message of the report topic.
    pub fn message(&mut self, now: Now, payload: &[u8]) {
        self.clock = now.mono;
        self.heard = now.mono;
        if payload.len() > REPORT_MAX {
            self.warn_once(now, &faults::HUGE);
            return;
        }
        let text = decode(payload);
        // Half a document is no news; the next report repeats it.
        let Ok(message) = json::read::<Message<'_>>(&*text) else {
            return;
        };
        if let Some(info) = &message.info.0 {
            self.versions(info);
        }
        for answer in [&message.system.0, &message.camera.0].into_iter().flatten() {
            self.answer(now, answer);
        }
        match &message.print.0 {
            Some(print) if is_status(print) => self.report(now, print),
            Some(print) => {
                let answer = Answer {
                    command: print.command.clone(),
                    sequence_id: print.sequence_id.clone(),
                    result: print.result.clone(),
                    reason: print.reason.clone(),
                    err_code: print.err_code,
                };
                self.answer(now, &answer);
            }
            None => {}
        }
    }

    fn report(&mut self, now: Now, print: &Print<'_>) {
        self.reports += 1;
        self.nudges = 0;
        self.status.merge(print);
        if self.status.signatures == Some(true) || self.status.hms.contains(&faults::HMS_SIGNED_ONLY) {
            self.refuse_control(now);
        }
        if !self.fresh {
            if !is_full(print) {
                return;
            }
            self.fresh = true;
            self.capabilities();
            self.emit(Event::Up);
        }
        if self.pending.iter().any(|p| p.effect == Effect::Told) && is_full(print) {
            // Asked for: said again although nothing may have changed.
            self.shown.forget_materials();
            self.end_pending(|p| p.effect == Effect::Told, &Outcome::Verified);
        }
        self.settle_effects();
        self.follow_job(now);
        self.tell_levels();
        self.tell_notices(now);
    }

    fn versions(&mut self, info: &Info<'_>) {
        let modules = || info.module.iter().flatten().filter_map(|m| m.0.as_ref());
        let product = modules().find_map(|m| {
            let name = m.product_name.as_deref().filter(|p| !p.trim().is_empty())?;
            Some((model::by_product(name), name.to_owned()))
        });
        let by_hardware = || {
            modules().find_map(|m| {
                let hw = m.hw_ver.as_deref().filter(|h| h.starts_with("AP0"))?;
                model::by_hardware(hw, m.project_name.as_deref().unwrap_or_default())
            })
        };
        let found = product.as_ref().and_then(|p| p.0).or_else(by_hardware);
        self.model = found.or(self.model);
        let version = modules()
            .find(|m| m.name.as_deref() == Some("ota"))
            .and_then(|m| m.sw_ver.as_deref())
            .map(|v| v.chars().take(32).collect());
        let machine = product
            .map(|p| p.1.chars().take(64).collect())
            .or_else(|| self.model.map(|m| format!("Bambu Lab {}", m.name)));
        self.emit(Event::Identity(Firmware {
            name: "Bambu Lab".to_owned(),
            version,
            machine,
        }));
    }

    /// The answer to a command of ours, if it is one.
    fn answer(&mut self, now: Now, answer: &Answer<'_>) {
        let Some(seq) = answer
            .sequence_id
            .as_deref()
            .and_then(|s| s.trim().parse::<u32>().ok())
        else {
            return;
        };
        let fits = |name: &str| answer.command.as_deref().is_none_or(|c| c == name);
        let reason = answer.reason.as_deref().unwrap_or_default();
        let result = answer.result.as_deref().unwrap_or_default().to_ascii_lowercase();
        let refused = result.starts_with("fail") || answer.err_code.is_some_and(|c| c != 0);
        let accepted = !refused && result == "success";
        let ours = |p: &Pending| p.seq == seq && fits(p.name);
        let start = self
            .starting
            .as_ref()
            .and_then(|s| s.seq)
            .is_some_and(|(sent, name)| sent == seq && fits(name));
        if !start && !self.pending.iter().any(ours) {
            return;
        }
        let critical = start || self.pending.iter().any(|p| ours(p) && p.critical);
        if refused {
            let unsigned = faults::is_unsigned(answer.err_code, reason);
            let words = match (reason.is_empty(), answer.err_code) {
                (false, _) => reason.chars().take(200).collect(),
                (true, Some(code)) => format!("error {code:08X}"),
                (true, None) => "refused without words".to_owned(),
            };
            let outcome = Outcome::Rejected {
                by_printer: words,
                fault: unsigned.then_some(faults::SIGNED_ONLY),
            };
            if start {
                self.end_start(now, outcome.clone());
            }
            self.end_pending(|p| p.seq == seq, &outcome);
            if unsigned {
                self.refuse_control(now);
            }
            self.follow_job(now);
            return;
        }
        if accepted && critical && self.control == Control::Unknown {
            self.control = Control::Allowed;
        }
        if let Some(starting) = self.starting.as_mut().filter(|_| start) {
            starting.acked = true;
        }
        let sure = accepted || self.control == Control::Allowed;
        for pending in self.pending.iter_mut().filter(|p| p.seq == seq) {
            pending.acked = true;
            pending.sure |= sure;
        }
        self.end_pending(
            |p| p.seq == seq && p.effect == Effect::None && p.sure,
            &Outcome::Sent,
        );
        self.settle_effects();
        self.follow_job(now);
    }

    /// Developer Mode is off: said everywhere, and nothing waits in vain.
    pub(super) fn refuse_control(&mut self, now: Now) {
        if self.control == Control::Refused {
            return;
        }
        self.control = Control::Refused;
        let outcome = Outcome::Rejected {
            by_printer: "command verification failed".to_owned(),
            fault: Some(faults::SIGNED_ONLY),
        };
        self.end_pending(|p| p.critical, &outcome);
        if self.starting.is_some() {
            self.end_start(now, outcome);
        }
        self.capabilities();
        self.warn_once(now, &faults::SIGNED_ONLY);
    }

    /// Ends every pending command that fits.
    pub(super) fn end_pending(&mut self, fits: impl Fn(&Pending) -> bool, outcome: &Outcome) {
        let mut at = 0;
        while let Some(pending) = self.pending.get(at) {
            if fits(pending) {
                let ended = self.pending.remove(at);
                if let Some(id) = ended.id {
                    self.push(Output::Reply(id, outcome.clone()));
                }
            } else {
                at += 1;
            }
        }
    }

    fn settle_effects(&mut self) {
        let status = &self.status;
        let seen: Vec<u32> = self
            .pending
            .iter()
            .filter(|p| p.effect.is_seen(status))
            .map(|p| p.seq)
            .collect();
        if !seen.is_empty() {
            self.end_pending(|p| seen.contains(&p.seq), &Outcome::Verified);
        }
        let vain = |core: &Core| {
            let vain = core.pending.iter().find(|p| p.effect.is_vain(&core.status));
            vain.map(|p| (p.seq, p.late(core.clock)))
        };
        while let Some((seq, outcome)) = vain(self) {
            self.end_pending(|p| p.seq == seq, &outcome);
        }
    }

    /// Time passing.
    pub fn tick(&mut self, now: Now) {
        self.clock = now.mono;
        let late: Vec<(u32, Outcome)> = self
            .pending
            .iter()
            .filter(|p| p.deadline() <= now.mono)
            .map(|p| (p.seq, p.late(now.mono)))
            .collect();
        for (seq, outcome) in late {
            self.end_pending(|p| p.seq == seq, &outcome);
        }
        if let Some(starting) = &self.starting
            && starting.deadline().is_some_and(|d| d <= now.mono)
        {
            let outcome = starting.gone(now.mono);
            self.end_start(now, outcome);
        }
        if self.fresh {
            self.follow_job(now);
        }
        self.watch_silence(now);
    }

    fn watch_silence(&mut self, now: Now) {
        let Some(connected) = self.connected else { return };
        if !self.fresh {
            let waited = now.mono.saturating_duration_since(connected);
            if waited >= FIRST_REPORT {
                let why = match self.reports {
                    0 => faults::NO_REPORTS,
                    _ => faults::SILENT,
                };
                self.push(Output::Hangup(why));
            } else if waited >= FIRST_REPORT / 2 && self.nudges == 0 {
                self.nudge(orders::pushall);
            }
            return;
        }
        let quiet = now.mono.saturating_duration_since(self.heard);
        match self.nudges {
            _ if quiet >= QUIET_END => self.push(Output::Hangup(faults::SILENT)),
            0 if quiet >= QUIET => self.nudge(orders::push_start),
            1 if quiet >= QUIET_ASK => self.nudge(orders::pushall),
            _ => {}
        }
    }

    fn nudge(&mut self, order: fn(u32) -> String) {
        self.nudges += 1;
        let seq = self.next_seq();
        self.push(Output::Publish(order(seq)));
    }

    /// When [`Core::tick`] is next due.
    pub fn deadline(&self) -> Option<Instant> {
        let connected = self.connected?;
        let quiet = match (self.fresh, self.nudges) {
            (false, 0) => connected + FIRST_REPORT / 2,
            (false, _) => connected + FIRST_REPORT,
            (true, 0) => self.heard + QUIET,
            (true, 1) => self.heard + QUIET_ASK,
            (true, _) => self.heard + QUIET_END,
        };
        let commands = self.pending.iter().map(Pending::deadline);
        let start = self.starting.as_ref().and_then(Starting::deadline);
        // What is decided by the printer's state waits until that is known: a moment that has passed before would be
        // due again and again, and nothing else would have its turn.
        let job = self.job.as_ref().and_then(Tracked::deadline);
        let job = job.filter(|_| self.fresh && self.status.state.is_free());
        let outside = self.outside_from.filter(|_| self.fresh);
        commands
            .chain(start)
            .chain(job)
            .chain(outside)
            .chain([quiet])
            .min()
    }

    /// The file lies on the printer, or why not.
    pub fn uploaded(&mut self, now: Now, result: Result<OnCard, Fault>) {
        self.clock = now.mono;
        self.emit(Event::Upload { percent: None });
        let Some(starting) = self.starting.as_ref().filter(|s| !s.is_sent()) else {
            return;
        };
        let card = match result {
            Ok(card) => card,
            Err(fault) => {
                let outcome = Outcome::Rejected {
                    by_printer: fault.raw.clone().unwrap_or_else(|| fault.what.to_string()),
                    fault: Some(fault),
                };
                return self.end_start(now, outcome);
            }
        };
        // Asked again: the upload took minutes. A start sent to a busy printer ends its print.
        if !self.status.state.is_free() || self.control == Control::Refused {
            return self.end_start(now, self.no_start());
        }
        let (name, subtask) = (starting.name.clone(), starting.subtask.clone());
        if self.status.print_error != 0 {
            let seq = self.next_seq();
            let clear = orders::clear_error(seq, self.status.print_error, &self.status.subtask_id);
            self.push(Output::Publish(clear));
        }
        let seq = self.next_seq();
        let order = orders::start(seq, &card, &name, &subtask, &self.options);
        self.push(Output::Publish(order));
        let error_before = self.status.print_error;
        if let Some(starting) = &mut self.starting {
            let file = card.plate.is_none().then(|| card.file.clone());
            starting.sent(now.mono, (seq, orders::start_command(&card)), file, error_before);
        }
    }

    /// How much of the file is there.
    pub fn upload_progress(&mut self, percent: f32) {
        if self.starting.as_ref().is_some_and(|s| !s.is_sent()) {
            self.emit(Event::Upload {
                percent: Some(percent),
            });
        }
    }

    /// Why no print can be started now.
    pub(super) fn no_start(&self) -> Outcome {
        if self.control == Control::Refused {
            return Outcome::refused("bambu/developer-mode", faults::SIGNED_ONLY.to_string());
        }
        if self.status.storage == Some(false) {
            return Outcome::refused("bambu/no-storage", faults::NO_STORAGE.to_string());
        }
        let word = if self.status.state == GcodeState::Unknown {
            self.status.state_word.as_str()
        } else {
            "busy"
        };
        Outcome::refused(
            "refused/wrong-state",
            format!("Cannot start: the printer is {word}. A second start could end its print."),
        )
    }
}

/// Whether a `print` object is a status: answers are never merged.
pub fn is_status(print: &Print<'_>) -> bool {
    match print.command.as_deref() {
        Some("push_status") => true,
        Some(_) => false,
        None => print.result.is_none() && print.reason.is_none() && print.err_code.is_none(),
    }
}

/// Whether a status is a whole one. Some firmwares do not say it: then it is one that holds what
/// deltas hardly ever hold together.
pub fn is_full(print: &Print<'_>) -> bool {
    match print.msg {
        Some(msg) => msg == 0,
        None => {
            print.gcode_state.is_some()
                && print.subtask_name.is_some()
                && print.print_error.is_some()
                && print.hms.is_some()
        }
    }
}

#[cfg(test)]
#[path = "proto_tests.rs"]
mod tests;
