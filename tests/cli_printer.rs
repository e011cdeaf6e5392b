//! A person at the terminal: the daemon in one process, a simulated Marlin, and every verb as a process
//! of its own with the exit code that scripts rely on.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of a test may fail it"
)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use layerd::drivers::marlin::sim::Options;
use layerd::drivers::marlin::sim::pty::{PtyOptions, SimPty};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

struct House {
    dir: tempfile::TempDir,
    sim: SimPty,
    daemon: Child,
}

impl House {
    fn build(speed: f64) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let options = PtyOptions {
            sim: Options {
                speed,
                ..Options::default()
            },
            link: Some(dir.path().join("port")),
            ..PtyOptions::default()
        };
        let sim = SimPty::spawn(options).expect("a terminal");
        std::fs::write(config(dir.path()), text(dir.path(), "ender3")).expect("written");
        let log = std::fs::File::create(dir.path().join("log")).expect("a file");
        let daemon = Command::new(env!("CARGO_BIN_EXE_layerd"))
            .args(["run", "--config"])
            .arg(config(dir.path()))
            .env_remove("JOURNAL_STREAM")
            .stderr(log)
            .spawn()
            .expect("started");
        let house = House { dir, sim, daemon };
        house.until("ender3", "operational");
        house
    }

    fn verb(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_layerd"))
            .args(args)
            .arg("--config")
            .arg(config(self.dir.path()))
            .output()
            .expect("started")
    }

    /// Exit code and stderr.
    fn code(&self, args: &[&str]) -> (i32, String) {
        let output = self.verb(args);
        (
            output.status.code().expect("not killed"),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    fn json(&self, args: &[&str]) -> Value {
        let output = self.verb(args);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{args:?}: {e}: {output:?}"))
    }

    /// Waits until a printer is in a state.
    fn until(&self, name: &str, state: &str) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let output = self.verb(&["printers", "--json"]);
            let rows: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
            let found = rows
                .as_array()
                .and_then(|r| r.iter().find(|p| p["name"] == name).cloned());
            if found.as_ref().is_some_and(|p| p["state"] == state) {
                return;
            }
            assert!(Instant::now() < deadline, "{name} is not {state}: {rows}");
        }
    }

    /// Waits until the daemon's log says something.
    fn until_log(&self, words: &str) {
        let deadline = Instant::now() + LIMIT;
        while !std::fs::read_to_string(self.dir.path().join("log"))
            .expect("a log")
            .contains(words)
        {
            assert!(Instant::now() < deadline, "the log does not say {words}");
            std::thread::yield_now();
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.daemon.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a process"), signal).expect("sent");
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

fn config(dir: &Path) -> PathBuf {
    dir.join("layerd.toml")
}

fn text(dir: &Path, name: &str) -> String {
    format!(
        "[agent]\nstate_dir = \"{0}/state\"\nruntime_dir = \"{0}/run\"\n[api]\nlisten = []\n[printer.{name}]\n\
         driver = \"marlin\"\nport = \"{0}/port\"\nbaud = 115200\nbed = [220, 220, 250]\n",
        dir.display()
    )
}

const PLATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/gcode/plate.gcode");

#[test]
fn a_print_with_every_verb_on_the_way() {
    let house = House::build(20.0);

    let output = house.verb(&["printers"]);
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(
        table.contains("ender3") && table.contains("operational"),
        "{table}"
    );

    // Ready, no print: G-code goes, what needs a print is refused by a rule.
    assert_eq!(
        house.json(&["send", "ender3", "G28", "M105", "--json"])["outcome"],
        "sent"
    );
    let (code, why) = house.code(&["pause", "ender3"]);
    assert_eq!(code, 4, "{why}");
    assert!(why.contains("[refused/wrong-state]"), "{why}");
    assert_eq!(house.code(&["answer", "ender3", "0"]).0, 4);
    assert_eq!(house.code(&["clear", "ender3", "--rating", "4"]).0, 0);

    // Bad usage never reaches the printer.
    assert_eq!(house.code(&["pause", "nobody"]).0, 2);
    assert_eq!(house.code(&["print", "ender3", "/nowhere.gcode"]).0, 2);
    assert_eq!(house.code(&["clear", "ender3", "--rating", "9"]).0, 2);

    assert_eq!(house.code(&["print", "ender3", PLATE]), (0, String::new()));
    let (code, why) = house.code(&["print", "ender3", PLATE]);
    assert_eq!(code, 4, "a second start is refused: {why}");
    assert_eq!(house.code(&["send", "ender3", "G28"]).0, 4);
    assert_eq!(house.code(&["send", "--tune", "ender3", "M220 S110"]).0, 0);
    assert_eq!(house.code(&["send", "--tune", "ender3", "G28"]).0, 4);

    assert_eq!(house.code(&["pause", "ender3"]), (0, String::new()));
    house.until("ender3", "paused");
    assert_eq!(house.code(&["resume", "ender3"]), (0, String::new()));
    house.until("ender3", "printing");
    assert_eq!(house.json(&["cancel", "ender3", "--json"])["outcome"], "verified");
    house.until("ender3", "operational");
    assert!(
        !house.sim.with(|sim| sim.is_heating()),
        "heaters are off after a cancel"
    );

    let journal = String::from_utf8_lossy(&house.verb(&["logs", "ender3"]).stdout).into_owned();
    assert!(journal.contains("print cancelled"), "{journal}");
    let wire = String::from_utf8_lossy(&house.verb(&["logs", "ender3", "--wire"]).stdout).into_owned();
    assert!(wire.contains("< ok"), "{wire}");

    assert_eq!(house.code(&["estop", "ender3"]).0, 0);
    assert!(
        house.sim.wait_until(LIMIT, |sim| sim.is_killed()),
        "the printer was stopped"
    );
    house.until("ender3", "error");
}

#[test]
fn following_a_print_ends_with_it() {
    let house = House::build(100.0);
    let (code, why) = house.code(&["print", "ender3", PLATE, "--follow"]);
    assert_eq!(code, 0, "{why}");
    house.until("ender3", "operational");
    assert!(!house.sim.with(|sim| sim.is_heating()));
}

#[test]
fn a_reload_takes_a_good_file_and_refuses_a_bad_one() {
    let house = House::build(20.0);
    std::fs::write(config(house.dir.path()), text(house.dir.path(), "other")).expect("written");
    house.signal(rustix::process::Signal::HUP);
    house.until("other", "operational");
    let mistaken = text(house.dir.path(), "third").replace("baud", "buad");
    std::fs::write(config(house.dir.path()), mistaken).expect("written");
    house.signal(rustix::process::Signal::HUP);
    house.until_log("`buad` is not a key of [printer.third]");
    house.until("other", "operational");
}

#[test]
fn a_stop_ends_in_order_and_clients_are_told_where_to_look() {
    let mut house = House::build(20.0);
    house.signal(rustix::process::Signal::TERM);
    let status = house.daemon.wait().expect("ended");
    assert_eq!(status.code(), Some(0));
    let (code, why) = house.code(&["printers"]);
    assert_eq!(code, 1);
    assert!(
        why.contains("layerd.sock") && why.contains("systemctl start layerd"),
        "{why}"
    );
}

#[test]
fn a_second_daemon_leaves_the_first_alone() {
    let house = House::build(20.0);
    let (code, why) = house.code(&["run"]);
    assert_eq!(code, 1);
    assert!(why.contains("already"), "{why}");
    house.until("ender3", "operational");
}
