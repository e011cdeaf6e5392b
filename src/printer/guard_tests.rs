use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use uuid::Uuid;

use super::*;
use crate::printer::capability::Capabilities;
use crate::printer::command::{CancelReason, Program, StartJob};
use crate::printer::fault::{Fault, Severity};
use crate::printer::model::{LinkState, Now, PauseReason};

fn state(activity: Activity) -> State {
    let now = Now {
        mono: Instant::now(),
        wall: Timestamp::UNIX_EPOCH,
    };
    let mut state = State::new(now);
    state.link = LinkState::Up;
    state.offline = false;
    state.activity = activity;
    state.capabilities = Capabilities::with(&["objects.skip"]);
    state
}

fn start() -> Command {
    Command::Start(StartJob {
        uid: Uuid::nil(),
        program: Arc::new(Program {
            path: "p".into(),
            name: "p.gcode".into(),
            size: 1,
            sha256: String::new(),
            layers: None,
            estimate_s: None,
            max_z_mm: None,
            objects: Vec::new(),
        }),
        skip: Vec::new(),
        materials: Vec::new(),
        plate: None,
    })
}

fn gcode(line: &str, tune: bool) -> Command {
    Command::SendGcode {
        lines: vec![line.to_owned()],
        tune,
    }
}

/// Rows: command; columns: idle, preparing, printing, pausing, paused, resuming, cancelling, error.
#[test]
fn the_table_of_commands_and_states() {
    let fault = Fault::new(Severity::NeedsUser, "a/b", "Halted.", "", "");
    let states = [
        Activity::Idle,
        Activity::Preparing,
        Activity::Printing,
        Activity::Pausing,
        Activity::Paused(PauseReason::Requested),
        Activity::Resuming,
        Activity::Cancelling,
        Activity::Error(fault),
    ];
    let rows: [(Command, &str); 12] = [
        (start(), "yy------"),
        (Command::Pause, "--y--y--"),
        (Command::Resume, "----y---"),
        (Command::Cancel(CancelReason::default()), "-yyyyy--"),
        (Command::SkipObjects { ids: vec![1] }, "--yyyyy-"),
        (gcode("G28", false), "y-------"),
        (gcode("G28", true), "y-------"),
        (gcode("M104 S200", false), "y---y---"),
        (gcode("M104 S200", true), "y-yyyy--"),
        (gcode("G1 E5 F300", false), "y---y---"),
        (gcode("M999", false), "y------y"),
        (Command::EmergencyStop, "yyyyyyyy"),
    ];
    for (command, want) in rows {
        let got: String = states
            .iter()
            .map(|a| {
                if guard(&state(a.clone()), &Limits::default(), &command).is_ok() {
                    'y'
                } else {
                    '-'
                }
            })
            .collect();
        assert_eq!(got, want, "{command:?}");
    }
}

#[test]
fn a_printer_that_is_not_there_gets_only_the_emergency_stop() {
    let mut gone = state(Activity::Printing);
    gone.link = LinkState::Down { why: None };
    for command in [Command::Pause, gcode("M105", true), Command::HeatersOff] {
        let refusal = guard(&gone, &Limits::default(), &command).expect_err("offline");
        assert_eq!(refusal.code, "refused/offline");
    }
    assert_eq!(guard(&gone, &Limits::default(), &Command::EmergencyStop), Ok(()));
    assert_eq!(guard(&gone, &Limits::default(), &Command::Reconnect), Ok(()));
}

#[test]
fn a_dirty_bed_holds_the_next_start_only_if_configured() {
    let mut idle = state(Activity::Idle);
    idle.bed_dirty = true;
    assert_eq!(guard(&idle, &Limits::default(), &start()), Ok(()));
    let limits = Limits {
        require_clear_bed: true,
        ..Limits::default()
    };
    assert_eq!(
        guard(&idle, &limits, &start()).expect_err("dirty").code,
        "refused/bed-not-cleared"
    );
}

#[test]
fn limits_of_send_are_exact() {
    let idle = state(Activity::Idle);
    let limits = Limits {
        max_tool_c: Some(250.0),
        ..Limits::default()
    };
    let send = |lines: Vec<String>| {
        guard(&idle, &limits, &Command::SendGcode { lines, tune: false }).map_err(|r| r.code)
    };
    assert_eq!(send(vec!["M105".into(); 200]), Ok(()));
    assert_eq!(send(vec!["M105".into(); 201]), Err("refused/too-many-lines"));
    assert_eq!(send(vec![format!("M117 {}", "x".repeat(495))]), Ok(()));
    assert_eq!(
        send(vec![format!("M117 {}", "x".repeat(496))]),
        Err("refused/line-too-long")
    );
    assert_eq!(send(Vec::new()), Err("refused/bad-request"));
    assert_eq!(send(vec!["M104 S251".into()]), Err("refused/too-hot"));
}
