//! Whatever a cloud says has a reading or is junk; credentials never show. And a whole life with it: frames (a
//! line each) with cuts, waits, files and starts between them (`!` and a letter).
#![no_main]

use std::time::{Duration, Instant};

use jiff::Timestamp;
use layerd_fuzz::config::secrets::Secret;
use layerd_fuzz::printer::model::{Now, StateWord};
use layerd_fuzz::upstream::simplyprint::action::{Action, Output};
use layerd_fuzz::upstream::simplyprint::demand::Demand;
use layerd_fuzz::upstream::simplyprint::doc::Doc;
use layerd_fuzz::upstream::simplyprint::printer::{Permissions, PrinterCore, StartResult};
use layerd_fuzz::upstream::simplyprint::proto::{self, Message};
use layerd_fuzz::upstream::simplyprint::session::{Mode, Session};
use layerd_fuzz::upstream::simplyprint::view::{Job, View};
use uuid::Uuid;

const P: i64 = 1;
const TOKEN: &str = "the-only-credential-there-is";

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    reading(text);
    if text.contains(TOKEN) {
        // Who says it himself may hear it again.
        return;
    }
    let mut life = Life::new();
    for line in text.lines().take(100) {
        reading(line);
        life.step(line);
    }
});

fn reading(text: &str) {
    proto::retry_after_s(text);
    let Ok(incoming) = proto::read(text) else { return };
    let shown = format!("{incoming:?}");
    match incoming.message {
        Message::NewToken { token, .. } if token.reveal().len() > 24 => assert!(!shown.contains(token.reveal())),
        Message::Demand(Demand::File(file)) => {
            assert!(!file.urls.is_empty());
            assert!(!file.name.contains(['/', '\\']), "a name is never a place");
        }
        Message::Demand(Demand::Gcode { lines, .. }) => {
            assert!(lines.iter().all(|l| !l.trim().is_empty() && !l.contains(['\n', ';'])));
        }
        _ => {}
    }
}

struct Life {
    session: Session,
    now: Now,
    view: View,
    orders: u64,
    started: Vec<String>,
}

impl Life {
    fn new() -> Self {
        let now = Now { mono: Instant::now(), wall: Timestamp::UNIX_EPOCH };
        let doc = Doc {
            unique_id: "u".to_owned(),
            id: 1234,
            token: Some(Secret::new(TOKEN)),
            ..Doc::default()
        };
        let mut view = View::unknown();
        view.word = StateWord::Operational;
        view.link = Some(true);
        let mut session = Session::new(Mode::Multi);
        session.add(P, PrinterCore::new(doc, Vec::new(), Permissions::default(), now));
        let mut life = Life { session, now, view, orders: 0, started: Vec::new() };
        life.open();
        life
    }

    fn open(&mut self) {
        self.session.opened(self.now);
        for frame in [
            r#"{"type":"connected","data":{"region":"eu"}}"#,
            r#"{"type":"add_connection","data":{"status":true,"pid":1234,"unique_id":"u"}}"#,
            r#"{"type":"connected","for":"u","data":{"in_setup":false,"region":"eu"}}"#,
        ] {
            self.session.frame(self.now, frame, 0.5);
            self.turn();
        }
    }

    fn step(&mut self, line: &str) {
        let now = self.now;
        let pass = |life: &mut Life, seconds| {
            life.now.mono += Duration::from_secs(seconds);
            life.now.wall += Duration::from_secs(seconds);
        };
        let orders = self.orders;
        match line {
            "!c" => self.session.closed(now),
            "!o" => {
                self.session.closed(now);
                self.open();
            }
            "!w" => pass(self, 61),
            "!d" => self.session.confirmed(),
            "!f" | "!e" => self.each(orders, |core, number| {
                let result = if line == "!f" { Ok("ab".repeat(32)) } else { Err("gone".to_owned()) };
                core.fetched(now, number, result);
            }),
            "!s" => {
                let uid = Uuid::from_u128(u128::from(orders) + 1);
                self.each(orders, |core, number| core.started(now, number, StartResult::Accepted(uid)));
                self.view.word = StateWord::Printing;
                self.view.job = Some(Job {
                    uid,
                    file: "a.gcode".to_owned(),
                    started: Some(now.wall),
                    outside: false,
                    percent: Some(1),
                    layer: None,
                    time_left_s: None,
                    skipped: Vec::new(),
                });
            }
            "!q" => {
                self.view.word = StateWord::Operational;
                self.view.job = None;
            }
            frame => self.session.frame(now, frame, 0.5),
        }
        pass(self, 1);
        let (now, view) = (self.now, self.view.clone());
        if let Some(core) = self.session.printer_mut(P) {
            core.observe(now, view);
        }
        self.turn();
    }

    fn each(&mut self, orders: u64, f: impl Fn(&mut PrinterCore, u64)) {
        if let Some(core) = self.session.printer_mut(P) {
            (0..=orders).for_each(|number| f(core, number));
        }
    }

    fn turn(&mut self) {
        self.session.pump(self.now);
        let mut said = 0;
        while let Some(output) = self.session.poll() {
            said += 1;
            assert!(said < 10_000, "it talks without an end");
            let shown = format!("{output:?}");
            match output {
                Output::Send(text) => {
                    let message: serde_json::Value = serde_json::from_str(&text).expect("JSON");
                    let kind = message["type"].as_str().expect("a type");
                    assert!(!text.contains(TOKEN) || kind == "add_connection", "{text}");
                    let flags = ["started", "finished", "cancelled", "failed"];
                    let flags = flags.iter().filter(|flag| message["data"].get(**flag).is_some());
                    assert!(flags.count() <= 1, "{text}");
                }
                Output::Save { version, .. } => {
                    assert!(!shown.contains(TOKEN), "{shown}");
                    if let Some(core) = self.session.printer_mut(P) {
                        core.saved(self.now.mono, version, true);
                    }
                }
                Output::Act(_, action) => {
                    assert!(!shown.contains(TOKEN), "{shown}");
                    match action {
                        Action::Fetch(order) => self.orders = order.number,
                        Action::Start(order) => {
                            self.orders = order.number;
                            assert!(!self.started.contains(&order.start_id), "a start is executed once");
                            self.started.push(order.start_id);
                        }
                        Action::Host(_) => panic!("the owner has allowed nothing"),
                        _ => {}
                    }
                }
                _ => {}
            }
        }
    }
}
