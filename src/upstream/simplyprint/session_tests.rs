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

#[test]
fn a_new_printer_shows_its_code_only_when_its_token_is_kept() {
    let mut bench = Bench::new();
    bench.save = false;
    bench.session.opened(bench.now);
    bench.turn();
    assert!(bench.sent.is_empty(), "nothing before the greeting");
    bench.hear(json!({"type": "connected", "data": {"region": "eu"}}));
    let add = bench.of("add_connection")[0].clone();
    assert_eq!((&add["pid"], &add["token"]), (&json!(0), &json!("0")));
    let uid = bench.uid.clone();
    bench.hear(json!({"type": "add_connection", "data": {"status": true, "pid": 0, "unique_id": uid}}));
    bench
        .hear(json!({"type": "new_token", "for": uid, "data": {"token": "very-secret", "short_id": "7KQX"}}));
    bench.hear(json!({"type": "connected", "for": uid, "data": {"in_setup": true, "short_id": "7KQX"}}));
    let shown = |b: &Bench| b.acts.contains(&Action::ShowCode(Some("7KQX".to_owned())));
    assert!(!shown(&bench), "the disk has failed");
    bench.save = true;
    bench.wait(S(6));
    bench.wait(S(1));
    assert!(shown(&bench));
    for kind in bench.types() {
        assert!(
            ["add_connection", "state_change", "firmware", "ping"].contains(&kind),
            "{kind} before set-up"
        );
    }
    // Nobody has claimed it: nothing moves or heats.
    bench.clear();
    bench.demand(json!({"demand": "gcode", "list": ["G28", "M300 S440"]}));
    let lines = vec!["M117 Setup: 7KQX".to_owned(), "M300 S440".to_owned()];
    let identify = Action::Gcode {
        lines,
        tune: false,
        identifier: None,
    };
    assert!(bench.acts.contains(&identify), "{:?}", bench.acts);
    bench.file(1, true);
    assert_eq!(bench.fetches(), 0);
    bench.clear();
    bench.hear(json!({"type": "complete_setup", "for": uid, "data": {"printer_id": 1234}}));
    assert!(bench.acts.contains(&Action::ShowCode(None)));
    assert_eq!(bench.types()[0], "state_change");
    assert_eq!(bench.of("temps")[0], &json!({"tool0": [21, 0]}));
    // The next connection goes with the new number.
    bench.cut();
    bench.clear();
    bench.connect();
    let add = bench.of("add_connection")[0];
    assert_eq!(
        (&add["pid"], &add["token"]),
        (&json!(1234), &json!("very-secret"))
    );
}

#[test]
fn a_lost_registration_goes_back_to_set_up_and_forgets_the_account() {
    let mut bench = Bench::ready();
    bench.cut();
    bench.session.opened(bench.now);
    bench.hear(json!({"type": "connected", "data": {}}));
    let uid = bench.uid.clone();
    bench.hear(json!({"type": "add_connection", "data": {"status": true, "pid": 0, "unique_id": uid}}));
    bench.hear(
        json!({"type": "new_token", "for": uid, "data": {"token": "t2", "short_id": "AAAA", "no_exist": true}}),
    );
    bench.clear();
    bench.hear(json!({"type": "connected", "for": uid, "data": {"in_setup": true, "short_id": "AAAA"}}));
    assert_eq!(bench.core().doc().id, 0);
    assert!(bench.of("temps").is_empty());
    let code = bench.session.printer(P).and_then(|p| p.doc().short_id.clone());
    assert_eq!(code.as_deref(), Some("AAAA"));
}

#[test]
fn a_cloud_print_is_reported_in_the_order_that_the_cloud_relies_on() {
    let mut bench = Bench::ready();
    bench.file(7, true);
    assert_eq!(bench.words(), ["downloading"]);
    assert_eq!(
        bench.of("file_progress")[0],
        &json!({"job_id": 7, "state": "downloading", "percent": 0})
    );
    bench.fetched();
    let uid = bench.runs();
    bench.arrive();
    bench.ends(uid, Flag::Finished);
    bench.arrive();
    let told: Vec<&str> = bench
        .types()
        .into_iter()
        .filter(|t| ["file_progress", "job_info", "state_change"].contains(t))
        .collect();
    assert_eq!(
        told,
        [
            "state_change",
            "file_progress",
            "file_progress",
            "file_progress",
            "job_info",
            "state_change",
            "job_info",
            "job_info",
            "state_change"
        ]
    );
    assert_eq!(bench.words(), ["downloading", "printing", "operational"]);
    let jobs = bench.of("job_info");
    assert_eq!(jobs[0]["started"], json!(true));
    assert_eq!(
        jobs.last().expect("an end"),
        &&json!({"job_id": 7, "finished": true, "progress": 100, "filename": "a.gcode"})
    );
    assert!(jobs.iter().all(|j| j["job_id"] == json!(7)));
    assert!(bench.kept.is_empty(), "delivered: {:?}", bench.kept.keys());
    // The same demand again starts nothing.
    bench.clear();
    bench.file(7, true);
    assert_eq!((bench.fetches(), bench.starts()), (0, 0));
}

#[test]
fn two_steps_fetch_first_and_heat_later_and_a_cancel_between_them_heats_never() {
    let mut bench = Bench::ready();
    bench.file(7, false);
    bench.fetched();
    assert_eq!(bench.starts(), 0, "only fetched");
    assert_eq!(
        bench.of("file_progress").last().expect("said")["state"],
        json!("ready")
    );
    assert_eq!(bench.words(), ["downloading", "operational"]);
    bench.demand(json!({"demand": "cancel"}));
    let last = bench.of("file_progress").pop().expect("said").clone();
    assert_eq!(
        (&last["state"], &last["message"]),
        (&json!("error"), &json!("Cancelled"))
    );
    bench.demand(json!({"demand": "start_print"}));
    assert_eq!(bench.starts(), 0);
    bench.file(8, false);
    bench.fetched();
    bench.demand(json!({"demand": "start_print"}));
    bench.demand(json!({"demand": "start_print"}));
    assert_eq!(bench.starts(), 1, "asked twice, started once");
}

#[test]
fn a_cancelled_fetch_cannot_come_back() {
    let mut bench = Bench::ready();
    bench.file(7, true);
    let number = bench.number();
    bench.demand(json!({"demand": "cancel"}));
    assert!(bench.acts.contains(&Action::StopFetch));
    // The file was complete in the same moment.
    let now = bench.now;
    bench.core().fetched(now, number, Ok("ab".repeat(32)));
    bench.turn();
    assert_eq!(bench.starts(), 0);
    assert_eq!(bench.words(), ["downloading", "operational"]);
}

#[test]
fn a_transfer_is_never_silent_for_long() {
    let mut bench = Bench::ready();
    bench.file(7, true);
    bench.clear();
    bench.live(S(32));
    let said = bench.of("file_progress").len();
    assert!((6..=7).contains(&said), "{said} in 32 s");
    for percent in 1..=50 {
        bench.core().fetched_so_far(1, percent);
        bench.wait(Duration::from_millis(20));
    }
    let fast = bench.of("file_progress").len() - said;
    assert!(fast <= 2, "{fast} in one second");
}

#[test]
fn what_a_limit_holds_back_goes_out_when_the_limit_allows() {
    let mut bench = Bench::ready();
    bench.file(7, true);
    bench.fetched();
    bench.runs();
    bench.clear();
    for percent in 1..=10 {
        if let Some(job) = &mut bench.view.job {
            job.percent = Some(percent);
        }
        bench.observe();
        bench.wait(Duration::from_millis(100));
    }
    assert_eq!(
        bench.of("job_info").len(),
        0,
        "5 s have not passed since the last"
    );
    // Nothing changes any more, and still the last value is told.
    bench.live(S(6));
    assert_eq!(bench.of("job_info"), [&json!({"job_id": 7, "progress": 10})]);
    bench.clear();
    bench.hear(json!({"type": "interval_change", "for": bench.uid, "data": {"job": 200}}));
    if let Some(job) = &mut bench.view.job {
        job.layer = Some(3);
    }
    bench.observe();
    bench.live(S(1));
    assert_eq!(bench.of("job_info"), [&json!({"job_id": 7, "layer": 3})]);
}

#[test]
fn a_new_target_is_told_at_once() {
    let mut bench = Bench::ready();
    let heat = |actual_c, target_c| Heat {
        actual_c,
        target_c: Some(target_c),
    };
    bench.view.heaters.insert("tool0".to_owned(), heat(21.0, 200.0));
    bench.observe();
    bench.view.heaters.insert("tool0".to_owned(), heat(25.0, 200.0));
    bench.observe();
    bench.view.heaters.insert("tool0".to_owned(), heat(30.0, 200.0));
    bench.observe();
    assert_eq!(bench.of("temps")[0], &json!({"tool0": [21, 200]}));
    assert_eq!(bench.of("temps").len(), 2, "then every 2.5 s");
    bench.live(S(3));
    assert_eq!(bench.of("temps")[2], &json!({"tool0": [30, 200]}));
}

#[test]
fn results_of_an_outage_are_told_once_in_order_with_their_age() {
    let mut bench = Bench::ready();
    bench.file(7, true);
    bench.fetched();
    let uid = bench.runs();
    bench.arrive();
    bench.cut();
    bench.clear();
    bench.wait(S(600));
    bench.ends(uid, Flag::Failed);
    // A print that was started at the printer meanwhile, and is over, too.
    bench.wait(S(600));
    let local = Uuid::new_v4();
    bench.view.job = Some(job(local, Some(bench.now.wall)));
    bench.view.word = StateWord::Printing;
    bench.observe();
    bench.wait(S(1200));
    bench.ends(local, Flag::Finished);
    for _ in 0..1000 {
        bench.wait(S(1));
    }
    assert!(bench.sent.is_empty());
    assert_eq!(bench.kept.len(), 3, "no growth");
    // The first connection breaks before anything is confirmed.
    bench.connect();
    bench.cut();
    bench.clear();
    bench.connect();
    bench.arrive();
    let jobs = bench.of("job_info");
    assert_eq!(jobs.len(), 3, "{jobs:?}");
    assert_eq!(
        (&jobs[0]["failed"], &jobs[0]["job_id"]),
        (&json!(true), &json!(7))
    );
    assert_eq!(jobs[1]["started"], json!(true));
    assert_eq!(jobs[1].get("job_id"), None, "nobody in the cloud knows that one");
    assert_eq!(jobs[2]["finished"], json!(true));
    assert!(jobs[0]["delay"].as_i64() >= Some(2800), "{}", jobs[0]);
    let first_state = bench.types().iter().position(|t| *t == "state_change");
    let last_job = bench.types().iter().rposition(|t| *t == "job_info");
    assert!(last_job < first_state, "results first");
    assert!(bench.kept.is_empty());
    bench.cut();
    bench.clear();
    bench.connect();
    assert!(bench.of("job_info").is_empty(), "none twice");
}

#[test]
fn a_start_does_not_survive_the_loss_of_the_connection_and_is_reported() {
    let mut bench = Bench::ready();
    bench.file(7, true);
    let number = bench.number();
    bench.cut();
    let now = bench.now;
    bench.core().fetched(now, number, Ok("ab".repeat(32)));
    bench.turn();
    bench.wait(S(30));
    bench.clear();
    bench.connect();
    assert_eq!(bench.starts(), 0);
    let error = bench.of("file_progress")[0];
    assert_eq!((&error["state"], &error["job_id"]), (&json!("error"), &json!(7)));
    assert_eq!(bench.words(), ["operational"]);
}

#[test]
fn a_start_does_not_survive_a_restart_and_a_running_print_keeps_its_number() {
    // Killed while the file was on its way.
    let mut bench = Bench::ready();
    bench.file(7, true);
    let doc = bench.core().doc().clone();
    let mut bench = Bench::with(Mode::Multi, doc, Vec::new());
    bench.connect();
    assert_eq!(bench.of("file_progress")[0]["job_id"], json!(7));
    assert_eq!(bench.of("file_progress")[0]["state"], json!("error"));
    assert_eq!(bench.starts(), 0);
    // Killed while it printed: the end is the same job's.
    bench.clear();
    bench.file(8, true);
    bench.fetched();
    let uid = bench.runs();
    let doc = bench.core().doc().clone();
    let waiting: Vec<Entry> = bench.kept.values().cloned().collect();
    let view = bench.view.clone();
    let mut bench = Bench::with(Mode::Multi, doc, waiting);
    assert!(
        bench.acts.contains(&Action::LookUp(uid)),
        "it is not in sight: {:?}",
        bench.acts
    );
    bench.view = view;
    bench.view.job = None;
    bench.connect();
    let ended = Ended {
        uid,
        file: "a.gcode".to_owned(),
        flag: Flag::Failed,
        started: Some(bench.now.wall),
        at: bench.now.wall,
        percent: None,
        why: None,
    };
    let now = bench.now;
    bench.core().looked_up(now, uid, Some(ended));
    bench.turn();
    let last = bench.of("job_info").pop().expect("an end").clone();
    assert_eq!((&last["failed"], &last["job_id"]), (&json!(true), &json!(8)));
}

#[test]
fn a_refused_printer_waits_as_long_as_it_is_told_and_the_others_go_on() {
    let mut bench = Bench::with(Mode::Multi, claimed(), Vec::new());
    let other = claimed();
    let other_uid = other.unique_id.clone();
    let now = bench.now;
    bench.session.add(
        2,
        PrinterCore::new(other, Vec::new(), Permissions::default(), now),
    );
    bench.session.opened(now);
    bench.hear(json!({"type": "connected", "data": {}}));
    assert_eq!(bench.of("add_connection").len(), 2);
    let uid = bench.uid.clone();
    bench.hear(
        json!({"type": "add_connection", "data": {"status": false, "unique_id": uid, "reason": "Rate limited. Retry-After: 249s"}}),
    );
    bench.hear(
        json!({"type": "add_connection", "data": {"status": true, "pid": 1234, "unique_id": other_uid}}),
    );
    bench.hear(json!({"type": "connected", "for": other_uid, "data": {"in_setup": false}}));
    assert!(bench.session.printer(2).is_some_and(PrinterCore::is_connected));
    bench.clear();
    bench.wait(S(248));
    assert!(bench.of("add_connection").is_empty());
    bench.wait(S(2));
    assert_eq!(bench.of("add_connection").len(), 1);
    // Without a time it doubles.
    for wait_s in [5_u64, 10, 20] {
        bench.hear(
            json!({"type": "add_connection", "data": {"status": false, "unique_id": uid, "reason": "no"}}),
        );
        bench.clear();
        bench.wait(S(wait_s) * 2 - Duration::from_millis(100));
        assert!(bench.of("add_connection").is_empty(), "{wait_s}");
        bench.wait(Duration::from_millis(200));
        assert_eq!(bench.of("add_connection").len(), 1, "{wait_s}");
    }
}

#[test]
fn a_removed_printer_is_silent_and_comes_back() {
    let mut bench = Bench::ready();
    let uid = bench.uid.clone();
    bench.hear(
        json!({"type": "remove_connection", "data": {"deleted": false, "pid": 1234, "unique_id": uid}}),
    );
    bench.clear();
    bench.view.word = StateWord::Error;
    bench.observe();
    assert!(bench.sent.is_empty());
    bench.wait(S(6));
    assert_eq!(bench.of("add_connection")[0]["pid"], json!(1234));
    // Deleted in the account: it is a new printer.
    let mut bench = Bench::ready();
    let uid = bench.uid.clone();
    bench.hear(json!({"type": "remove_connection", "data": {"deleted": true, "unique_id": uid}}));
    bench.clear();
    bench.wait(S(6));
    let add = bench.of("add_connection")[0];
    assert_eq!((&add["pid"], &add["token"]), (&json!(0), &json!("0")));
}

#[test]
fn an_error_of_the_cloud_and_a_silent_cloud_end_the_connection() {
    let mut bench = Bench::ready();
    bench.hear(json!({"type": "error", "data": {"msg": "go away"}}));
    assert_eq!(bench.hangups, [Some(S(30))]);
    let mut bench = Bench::with(Mode::Multi, claimed(), Vec::new());
    bench.session.opened(bench.now);
    bench.wait(S(31));
    assert_eq!(bench.hangups.len(), 1, "no greeting");
    let mut bench = Bench::ready();
    for _ in 0..6 {
        bench.wait(S(21));
    }
    assert!(!bench.hangups.is_empty(), "pings are not answered");
}

#[test]
fn offline_does_not_end_a_job_that_was_not_reported_ended_first() {
    let mut bench = Bench::ready();
    bench.file(7, true);
    bench.fetched();
    let uid = bench.runs();
    bench.clear();
    bench.view.ended = Some(Ended {
        uid,
        file: "a.gcode".to_owned(),
        flag: Flag::Failed,
        started: Some(bench.now.wall),
        at: bench.now.wall,
        percent: None,
        why: None,
    });
    bench.view.job = None;
    bench.view.word = StateWord::Offline;
    bench.observe();
    let types: Vec<&str> = bench
        .types()
        .into_iter()
        .filter(|t| ["job_info", "state_change"].contains(t))
        .collect();
    assert_eq!(types, ["job_info", "state_change"]);
    assert_eq!(bench.words(), ["offline"]);
}

#[test]
fn a_single_socket_has_its_credential_in_the_path_and_no_names() {
    let mut bench = Bench::with(Mode::Single, claimed(), Vec::new());
    assert_eq!(bench.session.path().reveal(), "/0.2/p/1234/very-secret");
    bench.session.opened(bench.now);
    bench.hear(json!({"type": "connected", "data": {"in_setup": false, "reconnect_token": "r-41"}}));
    assert!(bench.sent.iter().all(|m| m.get("for").is_none()));
    assert!(bench.types().contains(&"temps"));
    bench.cut();
    assert_eq!(bench.session.path().reveal(), "/0.2/p/1234/very-secret/r-41");
    let bench = Bench::with(Mode::Single, Doc::default(), Vec::new());
    assert_eq!(bench.session.path().reveal(), "/0.2/p/0/0");
}

#[test]
fn what_the_host_must_not_do_is_not_done_and_said() {
    let mut bench = Bench::ready();
    for demand in [
        "system_restart",
        "system_shutdown",
        "api_restart",
        "goto_ws_test",
        "update",
    ] {
        bench.demand(json!({"demand": demand}));
    }
    assert!(!bench.acts.iter().any(|a| matches!(a, Action::Host(_))));
    bench.live(S(2));
    let events: usize = bench
        .of("notification")
        .iter()
        .filter_map(|n| n["events"].as_array().map(Vec::len))
        .sum();
    assert_eq!(events, 4, "{:?}", bench.of("notification"));
}

#[test]
fn emergency_stop_is_a_line_of_gcode_too() {
    let mut bench = Bench::ready();
    bench.demand(json!({"demand": "gcode", "list": ["G28", "M112"]}));
    assert!(bench.acts.contains(&Action::Command(Command::EmergencyStop)));
    assert!(!bench.acts.iter().any(|a| matches!(a, Action::Gcode { .. })));
}

#[test]
fn the_latency_is_never_that_of_another_ping() {
    let mut bench = Bench::ready();
    let uid = bench.uid.clone();
    bench.wait(S(21));
    bench.wait(Duration::from_millis(120));
    bench.hear(json!({"type": "pong", "for": uid}));
    assert_eq!(bench.of("latency"), [&json!({"ms": 120})]);
    bench.wait(S(21));
    bench.cut();
    bench.clear();
    bench.connect();
    bench.hear(json!({"type": "pong", "for": uid}));
    bench.hear(json!({"type": "pong", "for": uid}));
    assert!(bench.of("latency").len() <= 1);
    assert!(bench.of("latency").iter().all(|l| l["ms"].as_u64() == Some(0)));
}

/// One step of a life with the cloud.
#[derive(Clone, Debug)]
enum Step {
    Connect,
    Cut,
    Arrive,
    Wait(u64),
    File(i64, bool),
    Demand(&'static str),
    Fetched(bool),
    Runs,
    Refused,
    Ends(u8),
    Local,
    Progress(i64),
    Junk(String),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Connect),
        Just(Step::Cut),
        Just(Step::Arrive),
        (1_u64..40).prop_map(Step::Wait),
        (1_i64..6, any::<bool>()).prop_map(|(id, auto)| Step::File(id, auto)),
        prop_oneof![Just("cancel"), Just("pause"), Just("start_print"), Just("resume")]
            .prop_map(Step::Demand),
        any::<bool>().prop_map(Step::Fetched),
        Just(Step::Runs),
        Just(Step::Refused),
        (0_u8..3).prop_map(Step::Ends),
        Just(Step::Local),
        (0_i64..100).prop_map(Step::Progress),
        "[ -~]{0,40}".prop_map(Step::Junk),
        Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever happens in whatever order: one flag in a message, no end without a start, no state after
    /// a print before its end is told, no start twice, none from before a cut.
    #[test]
    fn the_rules_of_the_cloud_hold_in_any_order(steps in proptest::collection::vec(step(), 1..60)) {
        let mut bench = Bench::ready();
        let mut started: Vec<i64> = Vec::new();
        let mut cut_since_file = false;
        for step in steps {
            bench.clear();
            let before = bench.view.job.as_ref().map(|j| j.uid);
            match step {
                Step::Connect => if !bench.session.is_ready() { bench.connect() },
                Step::Cut => { bench.cut(); cut_since_file = true; }
                Step::Arrive => bench.arrive(),
                Step::Wait(s) => bench.wait(S(s)),
                Step::File(id, auto) => { if bench.session.is_ready() { cut_since_file = false; } bench.file(id, auto) }
                Step::Demand(name) => bench.demand(json!({"demand": name})),
                Step::Fetched(ok) => {
                    let now = bench.now;
                    for number in 0..200 {
                        let result = if ok { Ok("ab".repeat(32)) } else { Err("Failed".to_owned()) };
                        bench.core().fetched(now, number, result);
                    }
                    bench.turn();
                }
                Step::Runs | Step::Refused => {
                    let starting = bench.core().doc().job.as_ref().is_some_and(|j| j.phase == Phase::Starting);
                    if starting && before.is_none() {
                        let (now, uid) = (bench.now, Uuid::new_v4());
                        let runs = matches!(step, Step::Runs);
                        for number in 0..200 {
                            let result = if runs { StartResult::Accepted(uid) } else { StartResult::Refused("no".to_owned()) };
                            bench.core().started(now, number, result);
                        }
                        if runs {
                            bench.view.job = Some(job(uid, Some(now.wall)));
                            bench.view.word = StateWord::Printing;
                        }
                        bench.observe();
                    }
                }
                Step::Ends(how) => if let Some(uid) = before {
                    bench.ends(uid, [Flag::Finished, Flag::Cancelled, Flag::Failed][usize::from(how)]);
                },
                Step::Local => if before.is_none() {
                    bench.view.job = Some(job(Uuid::new_v4(), Some(bench.now.wall)));
                    bench.view.word = StateWord::Printing;
                    bench.observe();
                },
                Step::Progress(percent) => {
                    if let Some(job) = &mut bench.view.job { job.percent = Some(percent); }
                    bench.observe();
                }
                Step::Junk(text) => { bench.session.frame(bench.now, &text, 0.5); bench.turn(); }
                Step::Restart => {
                    let doc = bench.core().doc().clone();
                    let mut waiting: Vec<Entry> = bench.kept.values().cloned().collect();
                    waiting.sort_by_key(|e| e.at);
                    let (now, view) = (bench.now, bench.view.clone());
                    cut_since_file = true;
                    bench = Bench::with(Mode::Multi, doc, waiting);
                    bench.now = now;
                    bench.view = view;
                    bench.observe();
                    let asked: Vec<Action> = bench.acts.clone();
                    for act in asked {
                        match act {
                            Action::LookUp(uid) => bench.core().looked_up(now, uid, None),
                            Action::LookUpStart(_) => bench.core().looked_up_start(now, None),
                            _ => {}
                        }
                    }
                    bench.turn();
                }
            }
            for act in &bench.acts {
                if let Action::Start(order) = act {
                    let id = order.start_id.rsplit('/').next().and_then(|n| n.parse().ok()).unwrap_or(0);
                    prop_assert!(!started.contains(&id), "job {} was started twice", id);
                    prop_assert!(bench.session.is_ready(), "started without the cloud");
                    started.push(id);
                }
            }
            for info in bench.of("job_info") {
                let flags = ["started", "finished", "cancelled", "failed"].iter().filter(|f| info.get(**f).is_some()).count();
                prop_assert!(flags <= 1, "{info}");
            }
            // A state behind a print comes after the print's end.
            if let Some(at) = bench.sent.iter().position(|m| m["data"]["new"] == "operational") {
                let ends = |m: &Value| ["finished", "cancelled", "failed"].iter().any(|f| m["data"].get(*f).is_some());
                let late = bench.sent.get(at..).unwrap_or_default().iter().any(|m| m["type"] == "job_info" && ends(m));
                prop_assert!(!late, "{:?}", bench.sent);
            }
            let open = bench.core().doc().tracked.is_some();
            prop_assert_eq!(open, bench.view.job.is_some(), "what is reported follows what is");
            if cut_since_file {
                let phase = bench.core().doc().job.as_ref().map(|j| j.phase);
                prop_assert!(phase != Some(Phase::Fetching), "a fetch outlived the connection");
            }
        }
    }

    /// Nothing that a cloud can say is more than a counter.
    #[test]
    fn junk_of_any_kind_is_counted(text in ".{0,200}") {
        let mut bench = Bench::ready();
        bench.session.frame(bench.now, &text, 0.5);
        bench.turn();
        prop_assert!(bench.session.is_ready());
    }
}
