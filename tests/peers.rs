//! layerd against a printer written by other people, from the command line to what was executed.
//!
//! The printer is OctoPrint's virtual one, installed from the package registry by `tests/peers/run`.
//! Without Python or a registry the test says so in one line and passes: there is nothing to test with.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may be blunt"
)]

use std::io::Write;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

#[test]
fn prints_pauses_resumes_cancels_and_stops_on_a_foreign_printer() {
    run(&FIRST, &["tests/peers/run", "--short"]);
}

#[test]
fn prints_skips_and_stops_on_klipper_behind_the_real_moonraker() {
    // With the stand-in written by others where it is there, and then with our own, which tells what it executed.
    run(&FIRST, &["tests/peers/klipper", "pause-heating", "skip"]);
    run(
        &FIRST,
        &[
            "tests/peers/klipper",
            "--simulated",
            "prints",
            "pause-heating",
            "skip",
            "skip-at-start",
            "outside",
            "estop-heating",
            "shutdown",
            "restart",
            "process-lost",
            "moonraker-restarts",
            "killed",
            "no-room",
            "stale-pause",
            "socket-key",
            "proxy-key",
            "tls",
            "own-simplyprint",
            "wrong-key",
        ],
    );
}

#[test]
fn prints_skips_and_refuses_on_simulated_bambu_lab_printers() {
    run(&SECOND, &["tests/peers/bambu", "--short"]);
}

#[test]
fn prints_and_takes_orders_on_a_real_broker() {
    run(&SECOND, &["tests/peers/mqtt", "--short"]);
}

/// Each suite keeps two processors busy as it is: two of them at a time, or the deadlines of the cases are judged
/// by how many processors there are.
static FIRST: Mutex<()> = Mutex::new(());
static SECOND: Mutex<()> = Mutex::new(());

fn run(turn: &Mutex<()>, words: &[&str]) {
    let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
    let root = env!("CARGO_MANIFEST_DIR");
    let done = match Command::new("bash")
        .args(words)
        .current_dir(root)
        .env("LAYERD", env!("CARGO_BIN_EXE_layerd"))
        .output()
    {
        Ok(done) => done,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "peers: skipped: no bash: {error}");
            return;
        }
    };
    let told = String::from_utf8_lossy(&done.stdout);
    // Past the capture of the test harness: a skip must be seen.
    let _ = write!(std::io::stderr(), "{told}");
    assert!(
        done.status.success(),
        "{told}\n{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

#[test]
fn the_cloud_double_has_nothing_to_complain_about() {
    run(&SECOND, &["tests/peers/run-cloud", "--short"]);
}
