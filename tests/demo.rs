//! A person without a printer runs the demo.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may be blunt"
)]

use std::process::Command;

#[test]
fn the_demo_prints_pauses_resumes_and_ends_well() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = Command::new(env!("CARGO_BIN_EXE_layerd"))
        .args(["demo", "--speed", "60"])
        .env("TMPDIR", dir.path())
        .output()
        .expect("started");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    for words in [
        "claimed in the simulated cloud",
        "Started:",
        "Skipped:",
        "Paused at",
        "Resumed:",
        "tool0 ",
        "layer ",
        "The print is done.",
        "took",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(text.contains(" 0 resent"), "{text}");
    assert_eq!(
        std::fs::read_dir(dir.path()).expect("there").count(),
        0,
        "it cleans up"
    );
}

#[test]
fn the_demo_tells_programs_the_same_as_json() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = Command::new(env!("CARGO_BIN_EXE_layerd"))
        .args(["demo", "--speed", "60", "--json", "--keep"])
        .env("TMPDIR", dir.path())
        .output()
        .expect("started");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON value");
    assert_eq!(told["outcome"], "verified");
    assert!(told["executed"].as_u64().expect("a number") > 1000);
    assert_eq!(told["job"]["state"], "done");
    let kept = std::fs::read_dir(dir.path())
        .expect("there")
        .next()
        .expect("kept")
        .expect("entry");
    assert!(kept.path().join("state/layerd.db").exists());
}
