use super::super::bench::Bench;
use super::*;
use crate::drivers::marlin::sim::{Injection, Options};
use crate::printer::command::CancelReason;

fn fast() -> Options {
    Options {
        speed: 20.0,
        ..Options::default()
    }
}

fn settings() -> Settings {
    Settings {
        bed_mm: Some([220.0, 220.0, 250.0]),
        ..Settings::default()
    }
}

/// A small print: heat, home, lines, cold.
fn program(lines: usize) -> String {
    let mut text = String::from("M140 S60\nM104 S200\nG28\nM109 S200\nG90\nM83\nG1 Z0.3 F600\n");
    for i in 0..lines {
        let x = 10 + i % 100;
        text.push_str(&format!("G1 X{x} Y{} E0.1 F6000\n", 10 + i / 100));
    }
    text.push_str("M104 S0\nM140 S0\nM84\n");
    text
}

/// Lines that the driver sends by itself.
fn own(text: &str) -> bool {
    [
        "M105", "M110", "M115", "M155", "M113", "M114", "M27", "M75", "M77", "M73",
    ]
    .iter()
    .any(|own| text == *own || text.starts_with(&format!("{own} ")))
}

#[test]
fn a_program_is_executed_line_by_line() {
    let mut b = Bench::up(fast(), settings());
    let text = program(200);
    let id = b.start(&text);
    assert!(
        b.run(3600, |b| b.saw_job(|j| matches!(j, JobEvent::Done { .. }))),
        "{:?}",
        b.events.last()
    );
    assert_eq!(b.replies.get(&id), Some(&Outcome::Verified));
    let mut wanted: Vec<&str> = text.lines().collect();
    wanted.push("M400");
    assert_eq!(b.executed(own), wanted);
    assert!(b.saw_job(|j| matches!(j, JobEvent::Started { .. })));
}

#[test]
fn pause_parks_and_resume_comes_back_to_the_same_place() {
    let mut b = Bench::up(fast(), settings());
    b.start(&program(2000));
    assert!(b.run(3600, |b| b.sim.executed_count() > 300));
    let pause = b.request(Command::Pause);
    assert!(b.run(600, |b| b.replies.contains_key(&pause)));
    assert_eq!(b.replies.get(&pause), Some(&Outcome::Verified));
    assert!(b.saw(|e| *e == Event::Activity(Activity::Paused(PauseReason::Requested))));
    let said: Vec<String> = b.sim.executed().iter().map(|e| e.text.clone()).collect();
    assert!(said.iter().any(|t| t == "M84 S0"), "steppers are held");
    let resume = b.request(Command::Resume);
    assert!(b.run(600, |b| b.replies.contains_key(&resume)));
    assert_eq!(b.replies.get(&resume), Some(&Outcome::Verified));
    assert!(b.run(3600, |b| b.saw_job(|j| matches!(j, JobEvent::Done { .. }))));
    let moves: Vec<String> = b
        .executed(own)
        .into_iter()
        .filter(|t| t.contains(" E0.1 "))
        .collect();
    let text = program(2000);
    let wanted: Vec<&str> = text.lines().filter(|l| l.contains(" E0.1 ")).collect();
    assert_eq!(moves, wanted);
}

#[test]
fn cancel_while_heating_ends_the_wait_and_switches_off() {
    let mut b = Bench::up(Options::default(), settings());
    let start = b.start(&program(10));
    assert!(b.run(120, |b| b.replies.contains_key(&start)));
    assert!(b.run(120, |b| b.sent.iter().any(|l| l.contains("M109"))));
    let cancel = b.request(Command::Cancel(CancelReason::default()));
    assert!(b.run(30, |b| b.replies.contains_key(&cancel)), "{:?}", b.sent);
    assert_eq!(b.replies.get(&cancel), Some(&Outcome::Verified));
    assert!(!b.sim.is_heating());
    assert!(b.saw_job(|j| matches!(j, JobEvent::Cancelled { .. })));
}

#[test]
fn a_reset_in_mid_print_fails_the_job_and_only_heaters_off_follow() {
    let mut b = Bench::up(fast(), settings());
    b.start(&program(2000));
    assert!(b.run(3600, |b| b.sim.executed_count() > 300));
    let t = b.t;
    b.sim.inject(t, Injection::Reset);
    assert!(b.run(60, |b| b.saw_job(
        |j| matches!(j, JobEvent::Failed { fault, .. } if fault.code == "marlin/reset")
    )));
    assert!(b.run(60, |b| {
        b.events
            .iter()
            .rev()
            .any(|e| *e == Event::Activity(Activity::Idle))
    }));
}

#[test]
fn thermal_runaway_is_told_in_words() {
    let mut b = Bench::up(fast(), settings());
    b.start(&program(2000));
    assert!(b.run(3600, |b| b.sim.executed_count() > 300));
    let t = b.t;
    b.sim.inject(t, Injection::ThermalRunaway);
    assert!(b.run(60, |b| b.hangup.is_some()));
    assert_eq!(
        b.hangup.as_ref().map(|f| f.code.as_ref()),
        Some("marlin/thermal-runaway")
    );
    assert!(
        b.saw_job(|j| matches!(j, JobEvent::Failed { fault, .. } if fault.code == "marlin/thermal-runaway"))
    );
}

#[test]
fn a_mute_printer_fails_the_job_loudly() {
    let mut b = Bench::up(fast(), settings());
    b.start(&program(2000));
    assert!(b.run(3600, |b| b.sim.executed_count() > 300));
    let t = b.t;
    b.sim.inject(t, Injection::Mute);
    assert!(
        b.run(300, |b| b.hangup.is_some()),
        "{:?}",
        &b.sent[b.sent.len() - 5..]
    );
    assert_eq!(b.hangup.as_ref().map(|f| f.code.as_ref()), Some("marlin/silent"));
    assert!((30..200).contains(&(b.t - t).as_secs()), "{:?}", b.t - t);
}

#[test]
fn emergency_stop_goes_out_at_once_and_is_verified() {
    let mut b = Bench::up(fast(), settings());
    b.start(&program(2000));
    assert!(b.run(3600, |b| b.sim.executed_count() > 300));
    let now = b.now();
    b.core.urgent(now, RequestId(99));
    assert!(b.core.tx().starts_with(b"\nM112\n") || b.core.tx().windows(6).any(|w| w == b"\nM112\n"));
    assert!(b.run(10, |b| b.replies.contains_key(&99)));
    assert_eq!(b.replies.get(&99), Some(&Outcome::Verified));
    assert!(b.sim.is_killed());
}

#[test]
fn user_lines_are_acknowledged_and_unknown_ones_rejected() {
    let mut b = Bench::up(fast(), settings());
    let good = b.send("m104 s50");
    let bad = b.send("M9999");
    assert!(b.run(30, |b| b.replies.contains_key(&bad)));
    assert_eq!(b.replies.get(&good), Some(&Outcome::Sent));
    assert!(
        matches!(b.replies.get(&bad), Some(Outcome::Rejected { .. })),
        "{:?}",
        b.replies
    );
}
