//! The Marlin protocol without any I/O: lines and requests in, bytes and events out.
//!
//! The shell calls an input ([`Marlin::line`], [`Marlin::request`], [`Marlin::urgent`],
//! [`Marlin::feed`], [`Marlin::tick`]), then writes what is in [`Marlin::tx`] and drains
//! [`Marlin::poll`]. Time is an argument. The parts:
//!
//! | file | what |
//! |---|---|
//! | `answer`, `temps` | what a line of the printer says |
//! | `sender`, `history`, `silence` | numbers, acknowledgements, resends, lost `ok`s |
//! | `handshake` | from an open port to a known printer |
//! | `program`, `skip` | lines of the running job, and what is left out of it |
//! | `script`, `pause`, `resume`, `ending` | our own sequences: pause, resume, cancel, heaters off, stop |
//! | `people`, `outside` | prompts and waiting for a person; prints started at the printer |
//! | `mesh`, `filament` | bed heights and filament sensors |
//! | `reports`, `idle_heat`, `thermal_watch` | what is reported, and what is watched |

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::adopt::{Adopting, Forward};
use super::answer::{self, Answer};
use super::caps::Caps;
use super::dialect::{self, Family, Quirks};
use super::faults;
use super::filament::Sensors;
use super::handshake::Hello;
use super::history::Tag;
use super::idle_heat::IdleHeat;
use super::mesh::MeshReader;
use super::outside::Outside;
use super::pause::Saved;
use super::people::People;
use super::program::{Job, Piece, Program};
use super::reports::Reports;
use super::script::Step;
use super::sender::Sender;
use super::settings::Settings;
use super::silence::Patience;
use super::skip::{Opening, Skipping};
use super::thermal_watch::ThermalWatch;
use super::track::Track;
use super::urgent::Estop;
use super::users::Users;
use crate::drivers::StopMode;
use crate::gcode::skip::SkipPlan;
use crate::printer::command::{Command, RequestId};
use crate::printer::event::{Event, JobEvent};
use crate::printer::fault::Fault;
use crate::printer::model::{Activity, Heater, Now, PauseReason, Position};
use crate::printer::notice::{Level, Notice};
use crate::printer::outcome::Outcome;
use crate::printer::pause_wishes::PauseWishes;
use crate::sorted::SortedMap;

pub use super::memory_record::Record;

/// What the core wants done, beside the bytes in [`Marlin::tx`].
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Tell the actor.
    Event(Event),
    /// Answer a request.
    Reply(RequestId, Outcome),
    /// Read this program and feed it.
    OpenProgram(Opening),
    /// No more of the program is needed.
    CloseProgram,
    /// Set the port to this speed.
    Baud(u32),
    /// Keep this for a quick restart.
    Record(Record),
    /// The order to stop was carried out.
    Stopped,
    /// End the session.
    Hangup(Fault),
}

/// What the driver is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Shaking hands.
    Hello,
    /// Nothing of ours runs.
    Idle,
    /// Streaming a program.
    Printing,
    /// On the way to standing still.
    Pausing,
    /// Standing still.
    Paused(PauseReason),
    /// On the way back.
    Resuming,
    /// Ending a job early.
    Cancelling,
    /// Everything is sent, the last moves run.
    Finishing,
    /// The firmware has halted.
    Halted,
}

/// Temperatures as last reported.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Warmth {
    /// °C.
    pub actual_c: f32,
    /// °C.
    pub target_c: Option<f32>,
}

/// The protocol state of one printer.
#[derive(Debug)]
pub struct Marlin {
    pub(super) settings: Settings,
    pub(super) sender: Sender,
    /// Acknowledgements below were handled.
    pub(super) acks_seen: u32,
    pub(super) family: Family,
    pub(super) quirks: Quirks,
    pub(super) caps: Caps,
    pub(super) phase: Phase,
    pub(super) hello: Hello,
    pub(super) job: Option<Job>,
    pub(super) program: Program,
    pub(super) script: VecDeque<Step>,
    pub(super) users: Users,
    pub(super) track: Track,
    pub(super) warmth: SortedMap<Heater, Warmth>,
    pub(super) position: Option<Position>,
    pub(super) saved: Option<Saved>,
    pub(super) people: People,
    pub(super) outside: Outside,
    pub(super) reports: Reports,
    pub(super) watch: ThermalWatch,
    pub(super) idle_heat: IdleHeat,
    pub(super) estop: Option<Estop>,
    pub(super) sensors: Sensors,
    pub(super) mesh: MeshReader,
    pub(super) stopping: Option<StopMode>,
    /// A fault that halts the firmware was read; the kill line is awaited to join its words.
    pub(super) halting: Option<(Fault, Instant)>,
    /// A job of the process before is being found again.
    pub(super) adopting: Option<Adopting>,
    /// The program is read up to a place without being sent.
    pub(super) forward: Option<Forward>,
    /// What is left out of the running program.
    pub(super) plan: Arc<SkipPlan>,
    pub(super) skipping: Option<Skipping>,
    /// Heaters go off once the printer answers.
    pub(super) cool_at_ready: bool,
    /// The session is over: what still comes is not acted upon.
    pub(super) hung_up: bool,
    pub(super) out: VecDeque<Output>,
}

impl Marlin {
    /// A session on a port that was just opened. `bauds`: speeds to try, the first is set already.
    pub fn new(now: Now, settings: Settings, bauds: &[u32]) -> Self {
        let mut this = Marlin {
            sender: Sender::new(now.mono, 0),
            acks_seen: 0,
            family: Family::Unknown,
            quirks: dialect::quirks(Family::Unknown),
            caps: Caps::default(),
            phase: Phase::Hello,
            hello: Hello::new(now.mono, bauds),
            job: None,
            program: Program::default(),
            script: VecDeque::new(),
            users: Users::default(),
            track: Track::default(),
            warmth: SortedMap::new(),
            position: None,
            saved: None,
            people: People::default(),
            outside: Outside::default(),
            reports: Reports::new(now.mono),
            watch: ThermalWatch::default(),
            idle_heat: IdleHeat::default(),
            estop: None,
            sensors: Sensors::default(),
            mesh: MeshReader::default(),
            stopping: None,
            halting: None,
            adopting: None,
            forward: None,
            plan: Arc::default(),
            skipping: None,
            cool_at_ready: false,
            hung_up: false,
            out: VecDeque::with_capacity(32),
            settings,
        };
        this.event(Event::Opening);
        this
    }

    /// Bytes to be written, in order. The caller empties it.
    pub fn tx(&mut self) -> &mut Vec<u8> {
        &mut self.sender.tx
    }

    /// Whether bytes wait to be written.
    pub fn has_tx(&self) -> bool {
        !self.sender.tx.is_empty()
    }

    /// The next thing to do, beside writing.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// Whether another batch of the program is wanted.
    pub fn wants_program(&self) -> bool {
        self.job.is_some() && self.program.wants()
    }

    /// The state of the line in words, for tests that fail.
    #[cfg(test)]
    pub(super) fn link(&self) -> String {
        format!("{:?} {:?} {:?}", self.phase, self.sender, self.script)
    }

    /// What the driver is doing.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// One line from the printer, without its line end.
    pub fn line(&mut self, now: Now, raw: &[u8]) {
        self.sender.heard(now.mono);
        let answer = answer::parse(raw);
        if self.adopting.is_some() && self.adopt_line(now, &answer) {
            self.pump(now);
            return;
        }
        match answer {
            Answer::Ok(info) => {
                self.hello.legible();
                self.sender.ok(now.mono, info);
                if info.temps {
                    self.temperatures(now, raw);
                }
                if info.position {
                    self.position_line(now, raw);
                }
                if info.advanced {
                    self.advanced_ok();
                }
                if info.glued_resend {
                    self.resend(now, None);
                }
                if self.mesh.is_open() {
                    self.mesh_end();
                }
                self.drain_acks(now);
            }
            Answer::Empty => return,
            other => self.other_line(now, raw, other),
        }
        self.pump(now);
    }

    fn other_line(&mut self, now: Now, raw: &[u8], answer: Answer<'_>) {
        if self.phase == Phase::Hello {
            self.hello_line(now, raw, &answer);
        }
        if self.confirm_line(&answer) {
            return self.drain_acks(now);
        }
        match answer {
            Answer::Resend(number) => self.resend(now, number),
            Answer::Refused { cause, last } => {
                if let Err(trouble) = self.sender.refused(cause, last) {
                    self.trouble(now, trouble);
                }
            }
            Answer::Error(text) => self.error_line(now, text),
            Answer::Fatal(text) => {
                let (_, fault) = faults::of_line(text);
                self.halt(now, fault);
            }
            Answer::Busy(busy) => self.busy(now, busy),
            Answer::Wait => self.wait_line(now),
            Answer::Start => self.banner(now),
            Answer::Action(action) => self.action(now, action),
            Answer::Temps => self.temperatures(now, raw),
            Answer::Position => self.position_line(now, raw),
            Answer::Identity => self.identity(raw),
            Answer::Cap { name, on } => self.caps.set(name, on),
            Answer::Unknown(command) => self.unknown_command(now, command),
            Answer::SdAt { at, of } => self.sd_at(now, at, of),
            Answer::SdIdle => self.sd_idle(now),
            Answer::SdDone => self.sd_done(now),
            Answer::SdFile(name) => self.outside.file(name),
            Answer::Other(text) => self.other_text(now, text),
            Answer::Comment(_) | Answer::Empty | Answer::Ok(_) => {}
        }
        self.drain_acks(now);
    }

    /// Bytes that are no text: a wrong speed or a bad line.
    pub fn noise(&mut self, now: Now) {
        self.hello.noise(now.mono);
        if self.phase == Phase::Hello {
            self.hello_tick(now);
        }
        self.pump(now);
    }

    /// Time passes. May be called at any time; does what is due.
    pub fn tick(&mut self, now: Now) {
        if self.phase == Phase::Hello {
            self.hello_tick(now);
            self.adopt_tick(now);
        }
        if self.phase != Phase::Hello || !self.hello.scanning() {
            let planned = self.track.planned();
            if let Err(trouble) = self.sender.tick(now.mono, planned) {
                self.trouble(now, trouble);
            }
        }
        if let Some((fault, since)) = &self.halting
            && now.mono >= *since + Duration::from_secs(1)
        {
            let fault = fault.clone();
            self.halt(now, fault);
        }
        self.estop_tick(now);
        self.pause_tick(now);
        self.idle_heat_tick(now);
        self.outside_tick(now);
        self.drain_acks(now);
        self.pump(now);
        self.report(now);
    }

    /// When [`Marlin::tick`] is next due.
    pub fn deadline(&self) -> Option<Instant> {
        let mut due = self.sender.deadline(self.track.planned());
        let mut earlier = |at: Option<Instant>| due = [due, at].into_iter().flatten().min();
        earlier(self.hello_deadline());
        earlier(self.adopt_deadline());
        earlier(self.halting.as_ref().map(|(_, at)| *at + Duration::from_secs(1)));
        earlier(self.estop.as_ref().map(Estop::deadline));
        earlier(self.script_deadline());
        earlier(self.pause_deadline());
        earlier(self.idle_heat_deadline());
        earlier(self.outside_deadline());
        earlier(self.reports.deadline());
        // Without room a poll could not go out: what makes room wakes us anyway.
        if self.sender.room() && !self.is_confirming() {
            earlier(self.reports.poll_deadline(self.phase));
        }
        due
    }

    /// An ordinary request.
    pub fn request(&mut self, now: Now, id: RequestId, command: Command) {
        match command {
            Command::Ping => self.reply(id, Outcome::Sent),
            Command::EmergencyStop => self.urgent(now, id),
            Command::Reconnect => {
                self.reply(id, Outcome::Sent);
                self.hangup(faults::RESTARTED.with_what("The connection is taken up again, as asked."));
            }
            _ if self.phase == Phase::Halted => self.reply(
                id,
                Outcome::refused(
                    "refused/halted",
                    "The printer has halted. Reset it, then reconnect.",
                ),
            ),
            // It may be what the handshake waits for.
            Command::Answer { button } if self.people.asks() => self.answer_prompt(now, id, button),
            _ if self.phase == Phase::Hello => self.reply(
                id,
                Outcome::refused(
                    "refused/not-ready",
                    "The printer is not ready yet: it does not answer commands.",
                ),
            ),
            Command::Start(job) => self.start(now, id, job),
            Command::Pause => self.pause(now, id, PauseWishes::default()),
            Command::PauseAs(wishes) => self.pause(now, id, wishes),
            Command::KeepWarm(time) => self.keep_warm(now, id, time),
            Command::Resume => self.resume(now, id),
            Command::Cancel(_) => self.cancel(now, Some(id)),
            Command::SendGcode { lines, .. } => self.send_gcode(now, id, lines),
            Command::SkipObjects { ids } => self.skip_objects(now, id, ids),
            Command::Answer { button } => self.answer_prompt(now, id, button),
            Command::HeatersOff => self.heaters_off(now, Some(id)),
            Command::RefreshMaterials => self.reply(
                id,
                Outcome::refused("refused/unsupported", "This printer has no material system."),
            ),
        }
        self.pump(now);
    }

    /// More of the program.
    pub fn feed(&mut self, now: Now, piece: Piece) {
        if self.job.is_some() {
            self.program.feed(piece);
            self.fast_forward(now);
            self.pump(now);
        }
    }

    /// The program could not be read on.
    pub fn program_failed(&mut self, now: Now, why: String) {
        self.fail_job(now, faults::PROGRAM_LOST.with_raw(why));
        self.pump(now);
    }

    /// Sends whatever may go out now. The order of sources is: the protocol's own, scripts, people,
    /// polls, the program.
    pub(super) fn pump(&mut self, now: Now) {
        if self.phase == Phase::Halted {
            return;
        }
        if self.job.is_none() {
            self.skip_is_void();
        }
        self.service(now);
        // Bounded: each turn but the last sends a line or takes a step off a finite script.
        for _ in 0..64 {
            if !self.sender.room() {
                break;
            }
            if self.phase == Phase::Printing && self.script.is_empty() && self.users.is_empty() {
                if self.poll_due(now) || self.next_program(now) {
                    continue;
                }
                break;
            }
            if self.next_step(now) {
                continue;
            }
            if self.is_confirming() {
                break;
            }
            if self.next_user(now) || self.poll_due(now) {
                continue;
            }
            if self.phase == Phase::Printing && self.script.is_empty() && self.next_program(now) {
                continue;
            }
            break;
        }
        self.service(now);
        self.report(now);
    }

    /// The protocol's own lines. One with a number takes it from the program, which has to be known.
    fn service(&mut self, now: Now) {
        let next = self.sender.next();
        self.sender.service(now.mono);
        if self.sender.next() != next {
            self.note_aside();
        }
    }

    pub(super) fn drain_acks(&mut self, now: Now) {
        while self.acks_seen < self.sender.acked() {
            let number = self.acks_seen;
            self.acks_seen += 1;
            self.acked_in_firmware_pause(now, number);
            match self.sender.tag(number) {
                Some(Tag::Program(place)) => self.program_acked(now, place),
                Some(Tag::User(serial)) => self.user_acked(now, serial),
                Some(Tag::Step | Tag::Temps) | None => {}
            }
        }
    }

    /// Sends a line of ours, numbered. The caller has seen that there is room.
    pub(super) fn send(&mut self, now: Now, text: &str, tag: Tag, patience: Patience) {
        // Our own lines are short.
        let _ = self.sender.push(now.mono, text.as_bytes(), tag, patience);
        self.note_aside();
    }

    fn resend(&mut self, now: Now, number: Option<u32>) {
        if self.phase == Phase::Hello && self.hello.ignores_resend() {
            return;
        }
        if let Err(trouble) = self.sender.resend(now.mono, number) {
            self.trouble(now, trouble);
        }
    }

    fn advanced_ok(&mut self) {
        let lines = match self.settings.window {
            super::settings::Window::Auto => 3,
            super::settings::Window::Off => 1,
            super::settings::Window::Lines(n) => usize::from(n),
        };
        if self.sender.window() != lines {
            self.sender.set_window(lines);
        }
    }

    fn error_line(&mut self, now: Now, text: &[u8]) {
        let (gravity, fault) = faults::of_line(text);
        match gravity {
            faults::Gravity::Halts => self.halting_line(now, fault),
            faults::Gravity::EndsJob => {
                if self.job.is_some() {
                    self.fail_job(now, fault);
                } else {
                    self.notice(now, &fault, Level::Error);
                }
            }
            faults::Gravity::Warns => self.notice(now, &fault, Level::Warning),
            faults::Gravity::Harmless => {}
        }
    }

    /// Halting faults come in two or three lines: the cause first, the kill line last.
    fn halting_line(&mut self, now: Now, fault: Fault) {
        let last = fault.code == "marlin/killed" || fault.code == "marlin/emergency-stop";
        let joined = match self.halting.take() {
            Some((first, _)) => {
                let raw = match (&first.raw, &fault.raw) {
                    (Some(a), Some(b)) => format!("{a} / {b}"),
                    (a, b) => a.clone().or(b.clone()).unwrap_or_default(),
                };
                first.with_raw(raw)
            }
            None => fault,
        };
        if last {
            self.halt(now, joined);
        } else {
            self.halting = Some((joined, now.mono));
        }
    }

    fn other_text(&mut self, now: Now, text: &[u8]) {
        const HALTS: &[&[u8]] = &[
            b"M112 Shutdown",
            b"EMERGENCY SHUTDOWN",
            b"Homing Failed",
            b"Printer halted",
        ];
        if HALTS.iter().any(|h| super::scan::starts_no_case(text, h)) {
            let (_, fault) = faults::of_line(text);
            self.halting_line(now, fault);
            return;
        }
        if self.other_identity(text) || self.filament_line(text) {
            return;
        }
        if self.job.is_some() && super::scan::starts_no_case(text, b"Writing to file") {
            self.end_card_writing(now.mono);
            self.fail_job(
                now,
                faults::WRITES_TO_CARD.with_raw(String::from_utf8_lossy(text)),
            );
            return;
        }
        self.mesh_line(text);
        if let Some(row) = faults::lookup(text)
            && row.gravity == faults::Gravity::Warns
        {
            let (_, fault) = faults::of_line(text);
            self.notice(now, &fault, Level::Warning);
        }
    }

    /// The firmware has halted: nothing more will be answered.
    pub(super) fn halt(&mut self, now: Now, fault: Fault) {
        self.halting = None;
        if let Some(estop) = self.estop.take() {
            self.out.push_back(Output::Reply(estop.id, Outcome::Verified));
            self.hangup(fault);
            return;
        }
        if self.phase == Phase::Halted {
            return;
        }
        self.end_job_as_failed(now, fault.clone());
        self.phase = Phase::Halted;
        self.script.clear();
        self.event(Event::Activity(Activity::Error(fault.clone())));
        self.notice(now, &fault, Level::Error);
        self.users.refuse_all(&mut self.out, "The printer has halted.");
        self.hangup(fault);
    }

    /// The boot banner: whatever ran is gone.
    fn banner(&mut self, now: Now) {
        if self.phase == Phase::Hello {
            return;
        }
        self.printer_reset(now);
    }

    /// The printer has restarted: position, heaters and numbers are gone. Shakes hands again on the
    /// same port.
    pub(super) fn printer_reset(&mut self, now: Now) {
        if self.job.is_some() {
            self.end_job_as_failed(now, faults::RESET);
            self.notice(now, &faults::RESET, Level::Error);
        } else {
            self.notice(now, &faults::RESTARTED, Level::Info);
        }
        if self.outside.running() {
            self.outside_ended(crate::printer::event::OutsideEnd::Failed);
        }
        self.users.refuse_all(&mut self.out, "The printer has restarted.");
        self.script.clear();
        self.people.forget(&mut self.out);
        self.saved = None;
        self.track = Track::default();
        self.phase = Phase::Hello;
        self.event(Event::Activity(Activity::NotReady(
            "The printer is starting up.".to_owned(),
        )));
        self.hello.again(now.mono);
    }

    /// Lets the shell tell something in order with the core's own events.
    pub fn event_for_shell(&mut self, event: Event) {
        self.event(event);
    }

    /// The session ends with print and port left as they are.
    pub fn detached(&self) -> bool {
        self.stopping == Some(StopMode::Detach)
    }

    pub(super) fn event(&mut self, event: Event) {
        self.out.push_back(Output::Event(event));
    }

    pub(super) fn job_event(&mut self, event: JobEvent) {
        self.out.push_back(Output::Event(Event::Job(event)));
    }

    pub(super) fn reply(&mut self, id: RequestId, outcome: Outcome) {
        self.out.push_back(Output::Reply(id, outcome));
    }

    pub(super) fn notice(&mut self, now: Now, fault: &Fault, level: Level) {
        self.event(Event::Notice(Notice::of_fault(fault, level, now.wall)));
    }

    pub(super) fn hangup(&mut self, fault: Fault) {
        self.hung_up = true;
        self.users.refuse_all(&mut self.out, &fault.what);
        self.out.push_back(Output::Hangup(fault));
    }

    pub(super) fn set_phase(&mut self, phase: Phase) {
        self.phase = phase;
        let activity = match phase {
            Phase::Idle => Activity::Idle,
            Phase::Printing | Phase::Finishing => Activity::Printing,
            Phase::Pausing => Activity::Pausing,
            Phase::Paused(why) => Activity::Paused(why),
            Phase::Resuming => Activity::Resuming,
            Phase::Cancelling => Activity::Cancelling,
            Phase::Hello | Phase::Halted => return,
        };
        if !matches!(phase, Phase::Paused(_)) {
            self.resume_is_settled();
        }
        self.event(Event::Activity(activity));
    }
}

#[cfg(test)]
#[path = "proto_tests.rs"]
mod tests;
