//! A session on a bench: a printer, a clock and a cloud in one test.

mod connection;
mod materials;
mod prints;
mod rules;

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::printer::command::Command;
use crate::printer::model::StateWord;
use crate::upstream::simplyprint::action::Action;
use crate::upstream::simplyprint::doc::{Doc, Phase};
use crate::upstream::simplyprint::outbox::Entry;
use crate::upstream::simplyprint::printer::{Permissions, StartResult};
use crate::upstream::simplyprint::view::{Ended, Flag, Heat, Job, View};

const P: PrinterKey = 1;

/// A session with one printer, a clock of its own, and everything that came out of it.
struct Bench {
    session: Session,
    now: Now,
    view: View,
    sent: Vec<Value>,
    acts: Vec<Action>,
    kept: BTreeMap<String, Entry>,
    hangups: Vec<Option<Duration>>,
    uid: String,
    save: bool,
}

impl Bench {
    fn new() -> Self {
        Bench::with(Mode::Multi, Doc::default(), Vec::new())
    }

    /// Claimed, connected, idle.
    fn ready() -> Self {
        let mut bench = Bench::with(Mode::Multi, claimed(), Vec::new());
        bench.connect();
        bench.clear();
        bench
    }

    fn with(mode: Mode, doc: Doc, waiting: Vec<Entry>) -> Self {
        let now = Now {
            mono: Instant::now(),
            wall: Timestamp::from_second(1_800_000_000).expect("in range"),
        };
        let uid = doc.unique_id.clone();
        let mut session = Session::new(mode);
        let kept = waiting.iter().map(|e| (e.key.clone(), e.clone())).collect();
        session.add(P, PrinterCore::new(doc, waiting, Permissions::default(), now));
        let mut view = View::unknown();
        view.word = StateWord::Operational;
        view.link = Some(true);
        view.firmware = Some(("Marlin".to_owned(), None, None));
        view.heaters.insert(
            "tool0".to_owned(),
            Heat {
                actual_c: 21.0,
                target_c: Some(0.0),
            },
        );
        let mut bench = Bench {
            session,
            now,
            view,
            sent: Vec::new(),
            acts: Vec::new(),
            kept,
            hangups: Vec::new(),
            uid,
            save: true,
        };
        bench.observe();
        bench
    }

    fn core(&mut self) -> &mut PrinterCore {
        self.session.printer_mut(P).expect("the printer")
    }

    fn observe(&mut self) {
        let (now, view) = (self.now, self.view.clone());
        self.core().observe(now, view);
        self.turn();
    }

    fn turn(&mut self) {
        self.session.pump(self.now);
        while let Some(output) = self.session.poll() {
            match output {
                Output::Send(text) => self.sent.push(serde_json::from_str(&text).expect("JSON")),
                Output::Confirm => {}
                Output::Act(_, action) => self.acts.push(action),
                Output::Save { version, .. } => {
                    let (mono, ok) = (self.now.mono, self.save);
                    self.core().saved(mono, version, ok);
                }
                Output::Put(_, entry) => {
                    self.kept.insert(entry.key.clone(), entry);
                }
                Output::Delivered(_, keys) => keys.iter().for_each(|key| {
                    self.kept.remove(key);
                }),
                Output::Hangup { wait, .. } => self.hangups.push(wait),
            }
        }
        // What a save allows is said at once.
        if self.save {
            self.session.pump(self.now);
            while let Some(output) = self.session.poll() {
                match output {
                    Output::Send(text) => self.sent.push(serde_json::from_str(&text).expect("JSON")),
                    Output::Act(_, action) => self.acts.push(action),
                    _ => {}
                }
            }
        }
    }

    fn wait(&mut self, time: Duration) {
        self.now.mono += time;
        self.now.wall += time;
        self.turn();
    }

    /// Time passes; the session is looked at only when it wants to be, and pings are answered.
    fn live(&mut self, time: Duration) {
        let end = self.now.mono + time;
        while let Some(due) = self.session.deadline(self.now.mono).filter(|due| *due <= end) {
            let step = due.saturating_duration_since(self.now.mono);
            self.wait(step.max(Duration::from_millis(1)));
            if self.sent.iter().rev().take(3).any(|m| m["type"] == "ping") {
                self.hear(json!({"type": "pong", "for": self.uid}));
            }
        }
        self.wait(end.saturating_duration_since(self.now.mono));
    }

    fn hear(&mut self, message: Value) {
        self.session.frame(self.now, &message.to_string(), 0.0);
        self.turn();
    }

    fn demand(&mut self, data: Value) {
        self.hear(json!({"type": "demand", "for": self.uid, "data": data}));
    }

    fn connect(&mut self) {
        self.session.opened(self.now);
        self.turn();
        self.hear(json!({"type": "connected", "data": {"region": "eu"}}));
        let pid = self.core().doc().id;
        self.hear(
            json!({"type": "add_connection", "data": {"status": true, "pid": pid, "unique_id": self.uid}}),
        );
        self.hear(
            json!({"type": "connected", "for": self.uid, "data": {"in_setup": pid == 0, "region": "eu"}}),
        );
    }

    fn cut(&mut self) {
        self.session.closed(self.now);
        self.turn();
    }

    fn arrive(&mut self) {
        self.wait(S(1));
        self.session.confirmed();
        self.turn();
    }

    fn clear(&mut self) {
        self.sent.clear();
        self.acts.clear();
    }

    fn of(&self, kind: &str) -> Vec<&Value> {
        let found = self.sent.iter().filter(|m| m["type"] == kind);
        found.map(|m| &m["data"]).collect()
    }

    fn types(&self) -> Vec<&str> {
        self.sent.iter().filter_map(|m| m["type"].as_str()).collect()
    }

    fn words(&self) -> Vec<&str> {
        self.of("state_change")
            .iter()
            .filter_map(|d| d["new"].as_str())
            .collect()
    }

    fn fetches(&self) -> usize {
        self.acts.iter().filter(|a| matches!(a, Action::Fetch(_))).count()
    }

    fn starts(&self) -> usize {
        self.acts.iter().filter(|a| matches!(a, Action::Start(_))).count()
    }

    /// The number of the last fetch or start.
    fn number(&self) -> u64 {
        let number = |a: &Action| match a {
            Action::Fetch(o) => Some(o.number),
            Action::Start(o) => Some(o.number),
            _ => None,
        };
        self.acts.iter().rev().find_map(number).expect("a fetch or start")
    }

    fn file(&mut self, job_id: i64, auto_start: bool) {
        self.demand(
            json!({"demand": "file", "job_id": job_id, "url": "https://x.example/f", "auto_start": auto_start,
            "file_name": "a.gcode", "action_token": "a.b.c"}),
        );
    }

    fn fetched(&mut self) {
        let (now, number) = (self.now, self.number());
        self.core().fetched(now, number, Ok("ab".repeat(32)));
        self.turn();
    }

    /// The printer accepts the start and is seen to run.
    fn runs(&mut self) -> Uuid {
        let (now, number, uid) = (self.now, self.number(), Uuid::new_v4());
        self.core().started(now, number, StartResult::Accepted(uid));
        self.view.job = Some(job(uid, Some(now.wall)));
        self.view.word = StateWord::Printing;
        self.observe();
        uid
    }

    fn ends(&mut self, uid: Uuid, flag: Flag) {
        let started = self.view.job.take().and_then(|j| j.started);
        self.view.word = StateWord::Operational;
        self.view.ended = Some(Ended {
            uid,
            file: "a.gcode".to_owned(),
            flag,
            started,
            at: self.now.wall,
            percent: Some(40.0),
            why: None,
        });
        self.observe();
    }
}

fn job(uid: Uuid, started: Option<Timestamp>) -> Job {
    Job {
        uid,
        file: "a.gcode".to_owned(),
        started,
        outside: false,
        percent: Some(0),
        layer: None,
        time_left_s: Some(100),
        skipped: Vec::new(),
    }
}

fn claimed() -> Doc {
    Doc {
        id: 1234,
        token: Some(Secret::new("very-secret")),
        ..Doc::default()
    }
}

const S: fn(u64) -> Duration = Duration::from_secs;
