//! `kill -9` at random instants of prints on the simulated Marlin: printing, pausing, paused, resuming,
//! leaving an object out. After each restart the daemon has to know what was going on and say so.
//!
//! `KILLS` instants (10), from `SEED` (fixed); `tests/long/run kills` does 200.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

#[path = "support/manager.rs"]
mod manager;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use layerd::drivers::marlin::sim::pty::{PtyOptions, SimPty};
use layerd::drivers::marlin::sim::{Options, Sim};
use manager::{Manager, Service};
use serde_json::Value;

const LAYERD: &str = env!("CARGO_BIN_EXE_layerd");
/// Far more than anything here takes.
const LONG: Duration = Duration::from_secs(90);
const MOVES: usize = 6000;
const OBJECTS: usize = 3;

/// Heat, home, moves of three objects in turn, cold. No two moves go to the same place.
fn program() -> String {
    let mut text = String::from("M140 S60\nM104 S200\nG28\nM109 S200\nG90\nM83\nG1 Z0.3 F600\n");
    for run in 0..MOVES / 20 {
        let object = run % OBJECTS;
        text += &format!("; printing object part{object} id:{object} copy 0\n");
        for n in 0..20 {
            let i = run * 20 + n;
            text += &format!("G1 X{} Y{:.2} E0.1 F900\n", 10 + i % 2, 10.0 + i as f64 / 50.0);
        }
        text += &format!("; stop printing object part{object} id:{object} copy 0\n");
    }
    text + "M104 S0\nM140 S0\nM84\n"
}

/// The moves of the file with their objects.
fn moves_of(text: &str) -> Vec<(String, usize)> {
    let mut object = 0;
    let mut moves = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("; printing object part") {
            object = rest[..1].parse().expect("a digit");
        } else if line.contains(" E0.1 ") {
            moves.push((line.to_owned(), object));
        }
    }
    moves
}

/// A small generator: the same instants for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

struct Bench {
    dir: tempfile::TempDir,
    printer: SimPty,
    manager: Manager,
    text: String,
    moves: Vec<(String, usize)>,
    /// Commands that the printer had executed when the running print began.
    begun: usize,
    prints: usize,
}

fn extruding(sim: &Sim, from: usize) -> Vec<String> {
    let all = sim.executed().iter().skip(from).map(|e| e.text.trim());
    all.filter(|t| t.contains(" E0.1 ")).map(str::to_owned).collect()
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let printer = SimPty::spawn(PtyOptions {
            sim: Options {
                speed: 200.0,
                ..Options::default()
            },
            link: Some(dir.path().join("printer")),
            ..PtyOptions::default()
        })
        .expect("a terminal");
        let config = format!(
            "[agent]\nstate_dir = {:?}\nruntime_dir = {:?}\n[api]\nlisten = []\n\
             [printer.ender3]\ndriver = \"marlin\"\nport = {:?}\nbaud = 115200\nbed = [220, 220, 250]\n",
            dir.path().join("state"),
            dir.path().join("run"),
            dir.path().join("printer"),
        );
        let path = dir.path().join("layerd.toml");
        fs::write(&path, config).expect("a file");
        let text = program();
        fs::write(dir.path().join("part.gcode"), &text).expect("a file");
        let manager = Manager::start(Service {
            program: PathBuf::from(LAYERD),
            args: vec!["--config".into(), path.into(), "run".into()],
            env: Vec::new(),
            watchdog: None,
        });
        let moves = moves_of(&text);
        Bench {
            dir,
            printer,
            manager,
            text,
            moves,
            begun: 0,
            prints: 0,
        }
    }

    fn layerd(&self, args: &[&str]) -> Output {
        let config = self.dir.path().join("layerd.toml");
        let mut command = Command::new(LAYERD);
        command.arg("--config").arg(config).args(args);
        command.output().expect("layerd runs")
    }

    fn look(&self) -> Value {
        let output = self.layerd(&["printers", "--json"]);
        let all: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        all[0].clone()
    }

    fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + LONG;
        loop {
            let printer = self.look();
            if wanted(&printer) {
                return printer;
            }
            assert!(Instant::now() < deadline, "never {what}: {printer}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    fn settled(&self) -> Value {
        self.until("settled", |p| {
            // "operational" counts with a print in hand, too: that would be a lie.
            ["operational", "printing", "paused"].contains(&p["state"].as_str().unwrap_or_default())
        })
    }

    fn start(&mut self) {
        self.begun = self.printer.with(|sim| sim.executed().len());
        let file = self.dir.path().join("part.gcode");
        let output = self.layerd(&["print", "ender3", file.to_str().expect("utf-8")]);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words}");
        self.prints += 1;
    }

    /// Kept objects: every move once and in order up to where it stands; left out ones: never twice.
    fn assert_sound(&self, skipped: &BTreeSet<u64>, whole: bool, when: &str) {
        let done = self.printer.with(|sim| extruding(sim, self.begun));
        let mut at = 0;
        for text in &done {
            let found = self.moves[at..].iter().position(|(m, _)| m == text);
            let found = found.unwrap_or_else(|| panic!("{when}: {text} was executed twice or out of order"));
            let missed = self.moves[at..at + found]
                .iter()
                .find(|(_, object)| !skipped.contains(&(*object as u64)));
            assert!(missed.is_none(), "{when}: {missed:?} was lost before {text}");
            at += found + 1;
        }
        if whole {
            let lost = self.moves[at..]
                .iter()
                .find(|(_, o)| !skipped.contains(&(*o as u64)));
            assert!(lost.is_none(), "{when}: {lost:?} was never printed");
        }
    }

    fn database_is_sound(&self, when: &str) {
        let path = self.dir.path().join("state/layerd.db");
        let db = rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
            .expect("the database opens");
        db.busy_timeout(Duration::from_secs(10)).expect("set");
        let check: String = db
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .expect("checked");
        assert_eq!(check, "ok", "{when}");
        let count = |sql: &str| -> usize {
            db.query_row(sql, [], |row| row.get::<_, i64>(0))
                .expect("counted") as usize
        };
        assert_eq!(
            count("SELECT COUNT(*) FROM jobs"),
            self.prints,
            "{when}: one job per print"
        );
        let live = count(
            "SELECT COUNT(*) FROM jobs WHERE state NOT IN ('done', 'failed', 'cancelled', 'interrupted')",
        );
        assert!(live <= 1, "{when}: {live} live jobs");
        let odd = count(
            "SELECT COUNT(*) FROM jobs WHERE (state IN ('done', 'failed', 'cancelled', 'interrupted')) <> (ended IS NOT NULL)",
        );
        assert_eq!(odd, 0, "{when}: an end without a time, or a time without an end");
    }
}

fn skipped_of(printer: &Value) -> BTreeSet<u64> {
    let list = printer["job"]["skipped"].as_array().cloned().unwrap_or_default();
    list.iter().filter_map(Value::as_u64).collect()
}

#[test]
fn whenever_it_is_killed_it_knows_what_was_going_on() {
    let number = |name: &str, usual: u64| {
        std::env::var(name)
            .ok()
            .and_then(|t| t.parse().ok())
            .unwrap_or(usual)
    };
    let (kills, seed) = (number("KILLS", 10), number("SEED", 20_261_121));
    let mut dice = Dice(seed | 1);
    let mut bench = Bench::new();
    bench.until("operational", |p| p["state"] == "operational");
    let mut went_on = 0;
    let (mut interrupted, mut paused) = (0, 0);
    for kill in 0..kills {
        let mut printer = bench.settled();
        if printer["job"].is_null() {
            bench.start();
            printer = bench.look();
        }
        let before = bench.printer.with(|sim| sim.executed_count());
        let state = printer["state"].as_str().unwrap_or_default().to_owned();
        let uid = printer["job"]["uid"].clone();
        let mut asked = BTreeSet::new();
        if state == "printing" {
            let some = dice.below(500);
            // The print may be over before that.
            bench.printer.wait_until(LONG, |sim| {
                sim.executed_count() >= before + some || !sim.is_heating()
            });
        }
        let act = match (state.as_str(), dice.below(5)) {
            ("printing", 0) => "pause",
            ("printing", 1) => "skip",
            ("paused", 0..=3) => "resume",
            _ => "",
        };
        match act {
            "skip" => {
                let object = dice.below(OBJECTS as u64 - 1);
                asked.insert(object);
                bench.layerd(&["skip", "ender3", &object.to_string(), "--no-wait"]);
            }
            "" => {}
            act => {
                bench.layerd(&[act, "ender3", "--no-wait"]);
            }
        }
        let more = bench.printer.with(|sim| sim.executed_count()) + dice.below(12);
        let moment = Duration::from_millis(dice.below(300));
        bench
            .printer
            .wait_until(moment, |sim| sim.executed_count() >= more);
        let told = bench.look();
        bench.manager.kill9_and_restart();
        let when = format!(
            "kill {kill} of seed {seed}, {state} {act}, told {}",
            told["state"]
        );

        let now = bench.settled();
        let skipped: BTreeSet<u64> = skipped_of(&now);
        if now["job"].is_null() {
            // Over, or lost on the way of the head: then nothing stays hot and nothing goes on.
            let cold = bench
                .printer
                .wait_until(Duration::from_secs(60), |sim| !sim.is_heating());
            assert!(cold, "{when}: still hot a minute after");
            interrupted += 1;
        } else {
            assert_ne!(
                now["state"], "operational",
                "{when}: idle with a print in hand: {now}"
            );
            assert_eq!(now["job"]["uid"], uid, "{when}: another job");
            for id in skipped_of(&told) {
                assert!(
                    skipped.contains(&id),
                    "{when}: object {id} is printed again: {now}"
                );
            }
            for id in &skipped {
                assert!(
                    skipped_of(&told).contains(id) || asked.contains(id),
                    "{when}: object {id} was never to be left out"
                );
            }
            // Behind its last move the program itself has switched everything off.
            let kept = |(_, object): &&(String, usize)| !skipped.contains(&(*object as u64));
            let last = bench.moves.iter().rfind(kept).map(|(text, _)| text);
            let at_end = bench
                .printer
                .with(|sim| extruding(sim, bench.begun).last() == last);
            assert!(
                at_end || bench.printer.with(|sim| sim.is_heating()),
                "{when}: cold in a print that goes on"
            );
            bench.assert_sound(&skipped, false, &when);
        }
        match now["state"].as_str() {
            Some("printing") => {
                let count = bench.printer.with(|sim| sim.executed_count());
                let on = bench
                    .printer
                    .wait_until(LONG, |sim| sim.executed_count() > count + 5 || !sim.is_heating());
                assert!(on, "{when}: said printing and did not go on: {}", bench.look());
                went_on += 1;
            }
            Some("paused") => {
                paused += 1;
                let stands = bench.printer.with(|sim| extruding(sim, bench.begun).len());
                let moved = bench.printer.wait_until(Duration::from_millis(300), |sim| {
                    extruding(sim, bench.begun).len() > stands
                });
                assert!(!moved, "{when}: a paused print went on by itself");
            }
            _ => {}
        }
        bench.database_is_sound(&when);
    }
    // What is left is printed to its end.
    let printer = bench.settled();
    if printer["state"] == "paused" {
        assert!(bench.layerd(&["resume", "ender3"]).status.success());
    }
    if !printer["job"].is_null() {
        let skipped = skipped_of(&printer);
        bench.until("over", |p| p["job"].is_null());
        bench.assert_sound(&skipped, true, "at the end");
    }
    bench.database_is_sound("at the end");
    assert_eq!(bench.moves.len(), MOVES, "{}", bench.text.len());
    println!(
        "{kills} kills, {} prints: went on {went_on}, paused {paused}, over or interrupted {interrupted}",
        bench.prints
    );
    assert!(went_on > 0, "nothing ever went on");
}
