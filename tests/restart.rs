//! The daemon is restarted, killed or stopped in the middle of a Marlin print, under a stand-in for
//! systemd and with a simulated printer on a real terminal.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

#[path = "support/manager.rs"]
mod manager;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use layerd::drivers::marlin::sim::pty::{PtyOptions, SimPty};
use layerd::drivers::marlin::sim::{Injection, Options, Sim};
use manager::{Manager, Service};

const LAYERD: &str = env!("CARGO_BIN_EXE_layerd");
/// Far more than a simulated print takes.
const LONG: Duration = Duration::from_secs(90);

/// Heat, home, so many short moves, cold.
fn program(moves: usize) -> String {
    let mut text = String::from("M140 S60\nM104 S200\nG28\nM109 S200\nG90\nM83\nG1 Z0.3 F600\n");
    for i in 0..moves {
        // One millimetre each, there and back, so that they all take the same time.
        text += &format!("G1 X{} Y{} E0.1 F600 ; {i}\n", 10 + i % 2, 10 + i / 100);
    }
    text + "M104 S0\nM140 S0\nM84\n"
}

fn wanted(text: &str) -> Vec<String> {
    let lines = text.lines();
    lines
        .map(|l| l.split(';').next().unwrap_or(l).trim().to_owned())
        .collect()
}

/// Commands that the daemon sends by itself.
fn own(text: &str) -> bool {
    let code = text.split(' ').next().unwrap_or(text);
    [
        "M105", "M110", "M113", "M114", "M115", "M155", "M27", "M73", "M75", "M77", "M400",
    ]
    .contains(&code)
}

fn executed(sim: &Sim) -> Vec<String> {
    let all = sim.executed().iter().map(|e| e.text.trim().to_owned());
    all.filter(|text| !own(text)).collect()
}

/// Compares without printing two whole programs.
fn assert_same(left: &[String], right: &[String]) {
    if let Some(n) = left.iter().zip(right).position(|(l, r)| l != r) {
        panic!("command {n}: executed {:?}, the file has {:?}", left[n], right[n]);
    }
    assert_eq!(left.len(), right.len(), "commands executed and in the file");
}

struct Bench {
    dir: tempfile::TempDir,
    printer: SimPty,
    manager: Manager,
}

impl Bench {
    /// A daemon with one printer that is up.
    fn new(more: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let printer = SimPty::spawn(PtyOptions {
            sim: Options {
                speed: 50.0,
                ..Options::default()
            },
            link: Some(dir.path().join("printer")),
            ..PtyOptions::default()
        })
        .expect("a terminal");
        let config = format!(
            "[agent]\nstate_dir = {:?}\nruntime_dir = {:?}\n[api]\nlisten = []\n\
             [printer.ender3]\ndriver = \"marlin\"\nport = {:?}\nbaud = 115200\nbed = [220, 220, 250]\n{more}\n",
            dir.path().join("state"),
            dir.path().join("run"),
            dir.path().join("printer"),
        );
        let path = dir.path().join("layerd.toml");
        fs::write(&path, config).expect("a file");
        let service = Service {
            program: PathBuf::from(LAYERD),
            args: vec!["--config".into(), path.into(), "run".into()],
            env: Vec::new(),
            watchdog: Some(Duration::from_secs(30)),
        };
        let bench = Bench {
            manager: Manager::start(service),
            dir,
            printer,
        };
        bench.wait_for_state("operational");
        bench
    }

    fn layerd(&self, args: &[&str]) -> Output {
        let config = self.dir.path().join("layerd.toml");
        let mut command = Command::new(LAYERD);
        command.arg("--config").arg(config).args(args);
        command.output().expect("layerd runs")
    }

    fn printer_object(&self) -> serde_json::Value {
        let output = self.layerd(&["printers", "--json"]);
        let all: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        all[0].clone()
    }

    fn wait_for_state(&self, state: &str) {
        let deadline = Instant::now() + LONG;
        while self.printer_object()["state"] != state {
            assert!(
                Instant::now() < deadline,
                "never {state}: {}",
                self.printer_object()
            );
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// Starts a print and waits until so many commands were executed.
    fn print(&self, text: &str, commands: u64) {
        let file = self.dir.path().join("part.gcode");
        fs::write(&file, text).expect("a file");
        let output = self.layerd(&["print", "ender3", file.to_str().expect("utf-8")]);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let there = self
            .printer
            .wait_until(LONG, |sim| sim.executed_count() >= commands);
        assert!(there, "the print came to a stand");
    }

    /// Resumes; every move of the program is made once, beside those of the pause.
    fn resume_to_the_end(&self, text: &str) {
        let output = self.layerd(&["resume", "ender3"]);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let end = self
            .printer
            .wait_until(LONG, |sim| sim.executed().iter().any(|e| e.text == "M84"));
        assert!(end, "never ended: {}", self.printer_object());
        let moves = |lines: Vec<String>| -> Vec<String> {
            lines.into_iter().filter(|l| l.contains(" E0.1 ")).collect()
        };
        self.printer
            .with(|sim| assert_same(&moves(executed(sim)), &moves(wanted(text))));
    }

    fn assert_printed(&self, text: &str) {
        let end = self
            .printer
            .wait_until(LONG, |sim| sim.executed().iter().any(|e| e.text == "M84"));
        assert!(end, "never ended: {}", self.printer_object());
        self.wait_for_state("operational");
        self.printer.with(|sim| {
            assert_same(&executed(sim), &wanted(text));
            assert_eq!(sim.resets(), 0);
        });
    }
}

#[test]
fn a_restart_in_the_middle_of_a_print_loses_and_doubles_nothing() {
    let mut bench = Bench::new("");
    let text = program(2000);
    bench.print(&text, 300);
    let uid = bench.printer_object()["job"]["uid"].clone();
    assert!(uid.is_string());
    assert!(bench.manager.restart().success());
    bench.wait_for_state("printing");
    assert_eq!(bench.printer_object()["job"]["uid"], uid, "the same job goes on");
    bench.assert_printed(&text);
}

#[test]
fn sudden_death_in_the_middle_of_a_print_loses_and_doubles_nothing() {
    let mut bench = Bench::new("");
    let text = program(2000);
    bench.print(&text, 300);
    bench.manager.kill9_and_restart();
    let count = bench.printer.with(|sim| sim.executed_count());
    let on = bench
        .printer
        .wait_until(LONG, |sim| sim.executed_count() > count + 300);
    assert!(on, "did not go on: {}", bench.printer_object());
    // And once more, while it prints.
    bench.manager.kill9_and_restart();
    bench.assert_printed(&text);
}

#[test]
fn a_plain_stop_parks_the_head_and_leaves_nothing_hot() {
    let mut bench = Bench::new("");
    let text = program(3000);
    bench.print(&text, 300);
    assert!(bench.manager.stop().success());
    bench.printer.with(|sim| {
        assert!(!sim.is_heating(), "left hot");
        let done = executed(sim);
        let moves = done.iter().filter(|l| l.contains(" E0.1 ")).count();
        assert!(moves > 100 && moves < 3000, "{moves}");
        assert!(sim.position().z_mm > 0.3, "the nozzle rests on the part");
    });
    // After the next start it is offered, not continued.
    bench.manager.launch_again();
    bench.wait_for_state("operational");
    let moves = |sim: &Sim| executed(sim).iter().filter(|l| l.contains(" E0.1 ")).count();
    let before = bench.printer.with(|sim| moves(sim));
    let went_on = bench
        .printer
        .wait_until(Duration::from_secs(2), |sim| moves(sim) > before);
    assert!(!went_on, "printed by itself after a stop");
    // What became of the print is said until somebody has looked, and the log remembers the first run.
    let told = |bench: &Bench| bench.printer_object()["notices"][0]["code"] == "job/interrupted";
    assert!(told(&bench), "{}", bench.printer_object());
    let log = bench.layerd(&["logs", "ender3"]).stdout;
    let log = String::from_utf8_lossy(&log);
    assert!(
        log.contains("print started") && log.contains("print interrupted"),
        "{log}"
    );
    assert!(bench.layerd(&["clear", "ender3"]).status.success());
    assert!(!told(&bench), "{}", bench.printer_object());
}

#[test]
fn without_the_store_the_job_is_interrupted_and_cooled() {
    let mut bench = Bench::new("");
    let text = program(3000);
    bench.print(&text, 300);
    bench.manager.kill9();
    bench.manager.lose_store();
    assert!(bench.printer.with(|sim| sim.is_heating()));
    bench.manager.launch_again();
    let cold = bench
        .printer
        .wait_until(Duration::from_secs(60), |sim| !sim.is_heating());
    assert!(cold, "still hot after a minute");
    bench.wait_for_state("operational");
    let printer = bench.printer_object();
    assert!(printer["job"].is_null(), "{printer}");
    assert_eq!(printer["notices"][0]["code"], "job/interrupted", "{printer}");
    assert!(
        bench
            .layerd(&[
                "print",
                "ender3",
                &bench.dir.path().join("part.gcode").display().to_string()
            ])
            .status
            .success()
    );
    let printer = bench.printer_object();
    assert_eq!(
        printer["notices"],
        serde_json::json!([]),
        "the next print begins with a clean slate"
    );
}

#[test]
fn a_printer_that_reset_meanwhile_is_not_printed_on() {
    let mut bench = Bench::new("");
    let text = program(3000);
    bench.print(&text, 300);
    bench.manager.kill9();
    bench.printer.inject(Injection::Reset);
    let before = bench.printer.with(|sim| executed(sim).len());
    bench.manager.launch_again();
    bench.wait_for_state("operational");
    bench.printer.with(|sim| {
        let moves = |l: &String| l.contains(" E0.1 ");
        assert!(!executed(sim)[before..].iter().any(moves), "printed in the air");
        assert!(!sim.is_heating());
    });
}

#[test]
fn a_paused_print_is_still_paused_after_a_restart_and_resumes_whole() {
    let mut bench = Bench::new("");
    let text = program(2000);
    bench.print(&text, 300);
    let output = bench.layerd(&["pause", "ender3"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(bench.manager.restart().success());
    bench.wait_for_state("paused");
    bench.manager.kill9_and_restart();
    bench.wait_for_state("paused");
    bench.resume_to_the_end(&text);
}

#[test]
fn on_request_a_restarted_print_waits_in_a_pause() {
    let mut bench = Bench::new("on_restart = \"pause\"");
    let text = program(2000);
    bench.print(&text, 300);
    assert!(bench.manager.restart().success());
    bench.wait_for_state("paused");
    bench.resume_to_the_end(&text);
}
