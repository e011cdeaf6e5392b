//! A person at the terminal without a daemon: mistakes in the file, a printer that is not there, help.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of a test may fail it"
)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn layerd(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_layerd"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("started")
}

fn out(done: &Output) -> String {
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn err(done: &Output) -> String {
    String::from_utf8_lossy(&done.stderr).into_owned()
}

/// A configuration in a directory of its own.
struct File {
    dir: tempfile::TempDir,
    path: PathBuf,
}

impl File {
    fn new(printers: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("layerd.toml");
        let place = |name: &str| format!("{:?}", dir.path().join(name).display().to_string());
        let text = format!(
            "[agent]\nstate_dir = {}\nruntime_dir = {}\n\n{printers}",
            place("state"),
            place("run")
        );
        std::fs::write(&path, text).expect("written");
        File { dir, path }
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut all = vec!["--config", self.path.to_str().expect("text")];
        all.extend(args);
        layerd(&all)
    }
}

const FIVE: &str = "\
[printer.ender3]
driver = \"marlin\"
prot = \"/dev/ttyUSB0\"
baud = \"fast\"
bed = [220, 220]

[printer.voron]
driver = \"moonrake\"
";

#[test]
fn five_mistakes_are_five_places_in_one_run() {
    let file = File::new(FIVE);
    for args in [&["check"][..], &["--check"], &["check", "--offline"], &["run"]] {
        let done = file.run(args);
        assert_eq!(done.status.code(), Some(2), "{args:?}: {}", err(&done));
        let text = err(&done);
        let places: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split_once("layerd.toml:"))
            .filter_map(|(_, rest)| rest.split(": ").next())
            .collect();
        assert_eq!(places, ["5:10", "7:1", "8:8", "9:7", "12:10"], "{args:?}: {text}");
    }
    let told: Value = serde_json::from_str(&out(&file.run(&["--json", "check"]))).expect("JSON");
    let mistakes = told["mistakes"].as_array().expect("a list");
    assert_eq!(mistakes.len(), 5);
    assert_eq!(
        (&mistakes[1]["line"], &mistakes[1]["column"]),
        (&7.into(), &1.into())
    );
    assert!(
        mistakes[1]["message"].as_str().expect("text").contains("`port`"),
        "{told}"
    );
}

#[test]
fn a_printer_that_is_not_there_is_told_with_what_to_do() {
    let file = File::new("[printer.ender3]\ndriver = \"marlin\"\nport = \"/dev/not-there-at-all\"\n");
    let done = file.run(&["check"]);
    assert_eq!(done.status.code(), Some(1));
    let text = out(&done) + &err(&done);
    assert!(
        text.contains("ender3") && text.contains("serial/not-there"),
        "{text}"
    );
    assert!(text.contains("layerd discover"), "{text}");
    assert_eq!(file.run(&["check", "--offline"]).status.code(), Some(0));
    assert!(
        !file.dir.path().join("state").exists(),
        "a check leaves nothing behind"
    );
}

#[test]
fn a_file_that_is_no_configuration_is_told_by_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(at("binary"), [0xff, 0xfe, 0x00]).expect("written");
    std::fs::write(at("huge"), "# comment\n".repeat(200_000)).expect("written");
    for (name, words) in [
        ("missing", "cannot be read"),
        ("binary", "UTF-8"),
        ("huge", "1 MiB"),
    ] {
        let done = layerd(&["check", "--config", &at(name)]);
        assert_eq!(done.status.code(), Some(2), "{name}");
        assert!(
            err(&done).contains(words) && err(&done).contains(&at(name)),
            "{}",
            err(&done)
        );
    }
}

#[test]
fn without_a_daemon_every_verb_says_how_to_start_it() {
    let file = File::new("");
    for args in [
        &["printers"][..],
        &["pause", "ender3"],
        &["estop", "ender3"],
        &["logs", "ender3"],
    ] {
        let done = file.run(args);
        assert_eq!(done.status.code(), Some(1), "{args:?}");
        let text = err(&done);
        assert!(
            text.contains("layerd.sock") && text.contains("systemctl start layerd"),
            "{text}"
        );
    }
}

#[test]
fn bad_usage_is_two_and_help_is_zero() {
    for args in [
        &["pause"][..],
        &["explode"],
        &["print", "ender3"],
        &["simulate", "marlin", "--speed", "0"],
    ] {
        let done = layerd(args);
        assert_eq!(done.status.code(), Some(2), "{args:?}");
        assert!(out(&done).is_empty() && !err(&done).is_empty(), "{args:?}");
    }
    for args in [&["--help"][..], &["--version"], &["help", "print"]] {
        let done = layerd(args);
        assert_eq!(done.status.code(), Some(0), "{args:?}");
        assert!(err(&done).is_empty() && !out(&done).is_empty(), "{args:?}");
    }
    assert!(out(&layerd(&["--help"])).contains("Exit codes"));
}

#[test]
fn the_self_test_passes_with_a_line_for_each_part() {
    let done = layerd(&["self-test"]);
    assert_eq!(done.status.code(), Some(0), "{}{}", out(&done), err(&done));
    let text = out(&done);
    for part in ["faults", "tls", "sqlite", "terminal", "ports", "print"] {
        assert!(text.contains(&format!("ok    {part}: ")), "{text}");
    }
    assert_eq!(text.lines().count(), 6, "{text}");
}

#[test]
fn discover_gives_a_list_that_programs_can_read() {
    let done = layerd(&["--json", "discover"]);
    assert_eq!(done.status.code(), Some(0));
    let found: Value = serde_json::from_str(&out(&done)).expect("JSON");
    assert!(found.is_array());
}

#[test]
fn completions_and_manual_know_the_verbs() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = out(&layerd(&["completions", shell]));
        assert!(text.contains("printers") && text.contains("self-test"), "{shell}");
    }
    let text = out(&layerd(&["man"]));
    assert!(
        text.starts_with(".ie") || text.contains(".TH layerd 1"),
        "{text:.200}"
    );
    assert!(text.contains("tune"), "the options of the verbs are there");
}

#[test]
fn a_simulated_printer_says_what_to_configure() {
    let dir = tempfile::tempdir().expect("a directory");
    let link = dir.path().join("printer");
    let mut simulated = Command::new(env!("CARGO_BIN_EXE_layerd"))
        .args(["simulate", "marlin", "--speed", "50", "--link"])
        .arg(&link)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let stdout = simulated.stdout.take().expect("a pipe");
    let block: String = BufReader::new(stdout)
        .lines()
        .map_while(Result::ok)
        .skip_while(|line| !line.starts_with('['))
        .take_while(|line| !line.is_empty())
        .map(|line| line + "\n")
        .collect();
    let file = File::new(&block);
    let done = file.run(&["check"]);
    assert_eq!(done.status.code(), Some(0), "{block}{}{}", out(&done), err(&done));
    drop(simulated.stdin.take());
    // Without anybody at the keyboard it goes on until it is told to end.
    assert!(simulated.try_wait().expect("asked").is_none());
    let pid = rustix::process::Pid::from_raw(i32::try_from(simulated.id()).expect("a number"));
    rustix::process::kill_process(pid.expect("a process"), rustix::process::Signal::TERM).expect("told");
    assert_eq!(simulated.wait().expect("ended").code(), Some(0));
    assert!(!Path::new(&link).exists(), "nothing is left behind");
}
