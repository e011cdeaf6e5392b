//! Commands: one outstanding of each kind, confirmed by Klipper's state. Pure.
//!
//! Klipper has one queue of G-code: what is sent while it heats is answered when it is hot, minutes
//! later, and giving up does not take it back. So nothing here has a short time limit before the
//! answer, and a second one of the same kind is refused.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::faults;
use super::proto::{CALLS_MAX, Call, Core, Klippy, Output};
use super::rpc::RpcError;
use super::status::PrintState;
use super::watch::Job;
use crate::json::json;
use crate::printer::command::{Command, RequestId, StartJob};
use crate::printer::event::{Event, JobEvent};
use crate::printer::fault::Fault;
use crate::printer::model::Now;
use crate::printer::outcome::{Missing, Outcome};

/// Whoever heats the printer after that has reasons of their own.
const COLD_OWED: Duration = Duration::from_secs(600);

/// How long the effect of an answered command may take to show.
const EFFECT: Duration = Duration::from_secs(10);

/// Heaters need a status round or two more.
const COLD: Duration = Duration::from_secs(20);

/// How long an answer may take: Klipper answers when the macro is through, behind a wait for heat that was before it. A
/// call that got lost on a connection that lives on must not keep its kind from ever being given again.
const ANSWER: Duration = Duration::from_secs(30 * 60);

/// Kinds of commands that exist once at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Start.
    Start,
    /// Pause.
    Pause,
    /// Resume.
    Resume,
    /// Cancel.
    Cancel,
    /// Leave objects out.
    Skip,
    /// All heaters off.
    Cold,
    /// Emergency stop.
    Stop,
}

/// A command on its way.
#[derive(Clone, Debug)]
pub struct Order {
    /// What it is.
    pub kind: Kind,
    id: RequestId,
    sent: Instant,
    /// When Klipper answered.
    acked: Option<Instant>,
    /// A second attempt was made (stale pause; heaters after a cancel).
    again: bool,
    /// Names of objects to leave out.
    names: Vec<String>,
}

/// All commands on their way.
#[derive(Debug, Default)]
pub struct Orders(Vec<Order>);

impl Orders {
    /// Whether one of this kind is on its way.
    pub fn has(&self, kind: Kind) -> bool {
        self.0.iter().any(|o| o.kind == kind)
    }

    fn get_mut(&mut self, kind: Kind) -> Option<&mut Order> {
        self.0.iter_mut().find(|o| o.kind == kind)
    }

    fn take(&mut self, kind: Kind) -> Option<Order> {
        let at = self.0.iter().position(|o| o.kind == kind)?;
        Some(self.0.remove(at))
    }
}

/// Klipper said no.
pub fn rejected(error: &RpcError) -> Outcome {
    let fault = faults::of_words(&error.message);
    Outcome::Rejected {
        by_printer: faults::plain(&error.message)
            .lines()
            .next()
            .unwrap_or_default()
            .chars()
            .take(300)
            .collect(),
        fault: (fault.code != faults::OTHER.code).then_some(fault),
    }
}

impl Core {
    /// A command. `Ping` is the shell's.
    pub fn request(&mut self, now: Now, id: RequestId, command: Command) {
        if let Some(outcome) = self.try_request(now, id, command) {
            self.out.push_back(Output::Reply(id, outcome));
        }
        self.evaluate(now);
    }

    fn try_request(&mut self, now: Now, id: RequestId, command: Command) -> Option<Outcome> {
        let refuse = |code, text: &str| Some(Outcome::refused(code, text));
        match command {
            Command::Ping => return Some(Outcome::Sent),
            Command::Reconnect => {
                self.out.push_back(Output::Reply(id, Outcome::Sent));
                self.out.push_back(Output::Hangup(
                    faults::SILENT.with_what("The connection is made anew, as asked."),
                ));
                return None;
            }
            Command::EmergencyStop => return self.emergency(now, id),
            Command::SendGcode { lines, .. } => return self.lines(now, id, &lines),
            Command::Answer { button } if self.is_live() => return self.press(now, id, button),
            _ => {}
        }
        if !self.is_live() {
            return refuse("refused/not-ready", "Klipper is not ready.");
        }
        if self.calls.len() >= CALLS_MAX {
            return refuse(
                "refused/busy",
                "Klipper has not answered to many earlier commands. It may be heating or homing.",
            );
        }
        let state = self.status.print_state();
        let running = matches!(state, Some(PrintState::Printing | PrintState::Paused));
        match command {
            Command::Start(job) => return self.start(now, id, job),
            // A pause of an idle printer is answered ok and disables all later ones (seen).
            Command::Pause if state != Some(PrintState::Printing) => {
                return refuse("refused/wrong-state", "Klipper does not print now.");
            }
            Command::Resume if state != Some(PrintState::Paused) => {
                return refuse("refused/wrong-state", "The print is not paused.");
            }
            Command::Pause => return self.order(now, id, Kind::Pause, "printer.print.pause", Value::Null),
            Command::Resume => return self.order(now, id, Kind::Resume, "printer.print.resume", Value::Null),
            Command::Cancel(_) => {
                if self.cancel_upload() {
                    return Some(Outcome::Verified);
                }
                if !running && !matches!(self.watch.job, Job::Ours { .. }) {
                    return refuse("refused/wrong-state", "There is nothing to cancel.");
                }
                if matches!(self.watch.job, Job::Ours { .. }) {
                    self.owe_cold(now);
                }
                return self.order(now, id, Kind::Cancel, "printer.print.cancel", Value::Null);
            }
            Command::SkipObjects { ids } => return self.skip(now, id, &ids),
            Command::HeatersOff => {
                let script = json!({"script": "TURN_OFF_HEATERS"});
                return self.order(now, id, Kind::Cold, "printer.gcode.script", script);
            }
            _ => {}
        }
        refuse("refused/unsupported", "Klipper does not offer that.")
    }

    fn order(&mut self, now: Now, id: RequestId, kind: Kind, method: &str, params: Value) -> Option<Outcome> {
        if self.orders.has(kind) {
            return Some(Outcome::refused(
                "refused/busy",
                "The same command is already on its way. Klipper carries it out when what it does now (heating, homing) is over.",
            ));
        }
        self.orders.0.push(Order {
            kind,
            id,
            sent: now.mono,
            acked: None,
            again: false,
            names: Vec::new(),
        });
        self.call(Call::Order(kind), method, params);
        None
    }

    fn emergency(&mut self, now: Now, id: RequestId) -> Option<Outcome> {
        // Not `order`: a second press is written as well.
        let _ = self
            .orders
            .take(Kind::Stop)
            .map(|old| self.out.push_back(Output::Reply(old.id, Outcome::Sent)));
        self.order(now, id, Kind::Stop, "printer.emergency_stop", Value::Null)
    }

    fn lines(&mut self, now: Now, id: RequestId, lines: &[String]) -> Option<Outcome> {
        let word = |line: &String| line.trim().to_ascii_uppercase();
        // As a script it would wait behind the heating (seen).
        if lines.iter().any(|l| word(l) == "M112") {
            return self.emergency(now, id);
        }
        for (command, method) in [
            ("FIRMWARE_RESTART", "printer.firmware_restart"),
            ("RESTART", "printer.restart"),
        ] {
            if lines.len() == 1 && lines.iter().any(|l| word(l) == command) {
                self.call(Call::Lines(id, now.mono), method, Value::Null);
                return None;
            }
        }
        if !self.is_live() {
            return Some(Outcome::refused(
                "refused/not-ready",
                "Klipper is not ready. FIRMWARE_RESTART may help.",
            ));
        }
        if self.calls.len() >= CALLS_MAX {
            return Some(Outcome::refused(
                "refused/busy",
                "Klipper is busy with earlier commands.",
            ));
        }
        self.console.clear();
        self.script(Call::Lines(id, now.mono), &lines.join("\n"));
        None
    }

    fn skip(&mut self, now: Now, id: RequestId, ids: &[u32]) -> Option<Outcome> {
        if !self.can_skip {
            return Some(Outcome::refused(
                "refused/unsupported",
                "Klipper needs [exclude_object] in printer.cfg to leave objects out.",
            ));
        }
        let mut names = Vec::new();
        for id in ids {
            // An unknown name is answered ok and changes nothing (seen): it must not be sent.
            match self.object_name(*id) {
                Some(name) => names.push(name),
                None => {
                    return Some(Outcome::refused(
                        "refused/unknown-object",
                        format!("Klipper knows no object {id} in this print."),
                    ));
                }
            }
        }
        let script: Vec<String> = names.iter().map(|n| format!("EXCLUDE_OBJECT NAME={n}")).collect();
        let script = json!({"script": script.join("\n")});
        let refused = self.order(now, id, Kind::Skip, "printer.gcode.script", script);
        if refused.is_none()
            && let Some(order) = self.orders.get_mut(Kind::Skip)
        {
            order.names = names;
        }
        refused
    }

    fn start(&mut self, now: Now, id: RequestId, job: StartJob) -> Option<Outcome> {
        if matches!(
            self.status.print_state(),
            Some(PrintState::Printing | PrintState::Paused)
        ) {
            return Some(Outcome::refused(
                "refused/wrong-state",
                "Klipper prints already; somebody started it elsewhere.",
            ));
        }
        if self.orders.has(Kind::Start) {
            return Some(Outcome::refused("refused/busy", "A start is already on its way."));
        }
        let filename = remote_name(&job.program.name);
        self.orders.0.push(Order {
            kind: Kind::Start,
            id,
            sent: now.mono,
            acked: None,
            again: false,
            names: Vec::new(),
        });
        self.watch.begin(&job, &filename);
        self.out.push_back(Output::Upload(job, filename));
        None
    }

    /// The file is there, or cannot be brought there.
    pub fn uploaded(&mut self, now: Now, result: Result<(), Fault>) {
        let Job::Ours {
            filename,
            sent: false,
            ..
        } = &self.watch.job
        else {
            return;
        };
        let filename = filename.clone();
        self.tell(Event::Upload { percent: None });
        let refusal = match result {
            Err(fault) => Some(Outcome::Rejected {
                by_printer: fault.raw.clone().unwrap_or_default(),
                fault: Some(fault),
            }),
            Ok(()) if !self.is_live() => Some(Outcome::refused(
                "refused/not-ready",
                "Klipper was not ready when the file had arrived. The print was not started.",
            )),
            Ok(())
                if matches!(
                    self.status.print_state(),
                    Some(PrintState::Printing | PrintState::Paused)
                ) =>
            {
                Some(Outcome::refused(
                    "refused/wrong-state",
                    "Another print was started elsewhere while the file was on its way.",
                ))
            }
            Ok(()) => None,
        };
        if let Some(outcome) = refusal {
            self.start_ended(outcome);
            return;
        }
        self.call(
            Call::Metadata(filename.clone()),
            "server.files.metadata",
            json!({"filename": filename}),
        );
        if self.status.is_paused() {
            // Left over from a pause of an idle printer: every later pause would do nothing (seen).
            self.script(Call::Quiet, "CLEAR_PAUSE");
        }
        self.watch.sent(&self.status, now);
        self.call(
            Call::Order(Kind::Start),
            "printer.print.start",
            json!({"filename": filename}),
        );
    }

    fn start_ended(&mut self, outcome: Outcome) {
        self.watch.job = Job::None;
        self.out.push_back(Output::Remember(None));
        self.finish(Kind::Start, outcome);
    }

    /// A cancel while the file is on its way: nothing was started.
    fn cancel_upload(&mut self) -> bool {
        let Job::Ours { uid, sent: false, .. } = &self.watch.job else {
            return false;
        };
        let uid = *uid;
        self.out.push_back(Output::AbortUpload);
        self.tell(Event::Job(JobEvent::Cancelled {
            uid,
            filament_mm: None,
        }));
        self.start_ended(Outcome::refused(
            "refused/cancelled",
            "The print was cancelled before it began.",
        ));
        true
    }

    pub(super) fn finish(&mut self, kind: Kind, outcome: Outcome) {
        if let Some(order) = self.orders.take(kind) {
            self.out.push_back(Output::Reply(order.id, outcome));
        }
    }

    /// Klipper has answered to a command.
    pub(super) fn order_answered(&mut self, now: Now, kind: Kind, result: Result<(), RpcError>) {
        match result {
            Ok(()) => {
                if let Some(order) = self.orders.get_mut(kind) {
                    order.acked.get_or_insert(now.mono);
                }
                self.evaluate(now);
            }
            Err(error) if kind == Kind::Start => {
                if matches!(self.watch.job, Job::Ours { seen: false, .. }) {
                    self.start_ended(rejected(&error));
                }
            }
            Err(error) => self.finish(kind, rejected(&error)),
        }
    }

    /// The connection broke under the commands: nobody knows what came of them.
    pub(super) fn orders_lost(&mut self, now: Now) {
        let starting = matches!(
            self.watch.job,
            Job::Ours {
                seen: false,
                sent: false,
                ..
            }
        );
        for order in std::mem::take(&mut self.orders.0) {
            if order.kind == Kind::Start && starting {
                // The upload is a connection of its own; the start waits for its end.
                self.orders.0.push(order);
                continue;
            }
            let outcome = Outcome::Unverified {
                waited: now.mono.saturating_duration_since(order.sent),
                missing: Missing::Ack,
            };
            self.out.push_back(Output::Reply(order.id, outcome));
        }
    }

    /// A cancel goes out. Whatever becomes of the connection and of this process, its heaters do not stay on.
    fn owe_cold(&mut self, now: Now) {
        self.watch.cold_owed = Some(now.mono);
        if let Some(record) = self.watch.kept.as_mut().filter(|record| !record.cancelled) {
            record.cancelled = true;
            self.out.push_back(Output::Remember(Some(record.clone())));
        }
    }

    /// The print of a cancel whose answer was lost is over: a bare CANCEL_PRINT leaves the heaters on (seen).
    pub(super) fn pay_cold(&mut self, now: Now, running: bool) {
        let Some(since) = self.watch.cold_owed else { return };
        if running || self.orders.has(Kind::Cancel) {
            return;
        }
        self.watch.cold_owed = None;
        let late = now.mono.saturating_duration_since(since) > COLD_OWED;
        if !late && !self.cancel_macro && self.status.any_target() {
            self.script(Call::Quiet, "TURN_OFF_HEATERS");
        }
    }

    /// Compares what was asked with what is seen.
    pub(super) fn check_orders(&mut self, now: Now) {
        let state = self.status.print_state();
        let halted = matches!(self.klippy, Klippy::Fault(_));
        let running = self.is_live() && matches!(state, Some(PrintState::Printing | PrintState::Paused));
        let excluded: Vec<String> = self
            .status
            .excluded()
            .iter()
            .map(|n| n.to_ascii_uppercase())
            .collect();
        let hot = self.status.any_target();
        let mut again = Vec::new();
        let mut done = Vec::new();
        for order in &mut self.orders.0 {
            let over = |limit| {
                order
                    .acked
                    .is_some_and(|at| now.mono.saturating_duration_since(at) >= limit)
            };
            let ended = || Outcome::refused("refused/no-job", "The print was over before that.");
            let seen = match order.kind {
                Kind::Stop if halted => Some(Outcome::Verified),
                Kind::Start | Kind::Stop => None,
                _ if halted => Some(Outcome::Rejected {
                    by_printer: "Klipper has stopped.".to_owned(),
                    fault: None,
                }),
                Kind::Pause if state == Some(PrintState::Paused) => Some(Outcome::Verified),
                Kind::Resume if state == Some(PrintState::Printing) => Some(Outcome::Verified),
                Kind::Pause | Kind::Resume if self.klippy == Klippy::Ready(true) && !running => Some(ended()),
                Kind::Skip
                    if order
                        .names
                        .iter()
                        .all(|n| excluded.contains(&n.to_ascii_uppercase())) =>
                {
                    Some(Outcome::Verified)
                }
                Kind::Cold if order.acked.is_some() && !hot => Some(Outcome::Verified),
                Kind::Cancel if self.klippy == Klippy::Ready(true) && !running => {
                    if !hot || self.cancel_macro {
                        order.acked.map(|_| Outcome::Verified)
                    } else {
                        // A bare CANCEL_PRINT leaves the heaters on (seen).
                        if !order.again && order.acked.is_some() {
                            order.again = true;
                            again.push("TURN_OFF_HEATERS");
                        }
                        None
                    }
                }
                _ => None,
            };
            if order.kind == Kind::Pause
                && seen.is_none()
                && over(Duration::from_secs(1))
                && !order.again
                && self.status.is_paused()
            {
                // Answered ok and not paused: a stale pause (seen). Clear it and ask again.
                order.again = true;
                order.acked = None;
                again.push("CLEAR_PAUSE");
                continue;
            }
            let limit = if order.kind == Kind::Cancel { COLD } else { EFFECT };
            let waited = now.mono.saturating_duration_since(order.sent);
            let missing = match order.acked {
                Some(_) => over(limit).then_some(Missing::Effect),
                None => (waited >= ANSWER && order.kind != Kind::Start).then_some(Missing::Ack),
            };
            let missing = missing.map(|missing| Outcome::Unverified { waited, missing });
            if let Some(outcome) = seen.or(missing) {
                done.push((order.kind, outcome));
            }
        }
        for script in again {
            self.script(Call::Quiet, script);
            if script == "CLEAR_PAUSE" {
                self.call(Call::Order(Kind::Pause), "printer.print.pause", Value::Null);
            }
        }
        for (kind, outcome) in done {
            if kind == Kind::Start {
                self.start_ended(outcome);
            } else {
                self.finish(kind, outcome);
            }
        }
    }
}

/// The name under which a file goes to Moonraker: a folder of our own, so that nobody's file is
/// overwritten, and no characters that Klipper's commands cut at.
pub fn remote_name(name: &str) -> String {
    let stem = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let stem = stem
        .strip_suffix(".gcode")
        .or_else(|| stem.strip_suffix(".gco"))
        .or_else(|| stem.strip_suffix(".g"))
        .unwrap_or(stem);
    let clean: String = stem
        .chars()
        .map(|c| {
            if c.is_control() || "#;\"'*%?<>:|\\/{}".contains(c) {
                '_'
            } else {
                c
            }
        })
        .take(100)
        .collect();
    let clean = clean.trim().trim_start_matches('.');
    let clean = if clean.is_empty() { "print" } else { clean };
    format!("layerd/{clean}.gcode")
}
