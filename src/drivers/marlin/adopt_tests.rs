use std::time::Duration;

use proptest::prelude::*;

use super::super::bench::Bench;
use super::super::proto::Phase;
use super::super::settings::Settings;
use super::super::sim::{Injection, LineFaults, Options};
use crate::printer::command::{CancelReason, Command};
use crate::printer::event::{Event, JobEvent};
use crate::printer::model::Activity;

fn settings() -> Settings {
    Settings {
        bed_mm: Some([220.0, 220.0, 250.0]),
        ..Settings::default()
    }
}

fn program(lines: usize) -> String {
    let mut text = String::from("M104 S200\nG28\nM109 S200\nG90\nM83\nG1 Z0.3 F600\n");
    for i in 0..lines {
        match i % 50 {
            // Lines without a number of their own in between.
            20 => text.push_str("M110 N3\n"),
            30 => text.push_str("; a comment\n"),
            40 => text.push_str(&format!("G92 E{i}\n")),
            _ => text.push_str(&format!("G1 X{} Y{} E0.1 F6000\n", 10 + i % 100, 10 + i / 100)),
        }
    }
    text.push_str("M104 S0\nM84\n");
    text
}

/// What the printer has to execute of it.
fn wanted(text: &str) -> Vec<&str> {
    text.lines()
        .filter(|l| !l.starts_with(';') && !l.starts_with("M110"))
        .collect()
}

fn own(text: &str) -> bool {
    [
        "M105", "M110", "M115", "M155", "M113", "M114", "M27", "M75", "M77", "M73", "M400",
    ]
    .iter()
    .any(|own| text == *own || text.starts_with(&format!("{own} ")))
}

/// Compares without printing two whole programs.
fn same(left: &[String], right: &[&str]) -> Result<(), String> {
    match left.iter().zip(right).position(|(l, r)| l != r) {
        Some(n) => Err(format!("line {n}: executed {:?}, wanted {:?}", left[n], right[n])),
        None if left.len() == right.len() => Ok(()),
        None => Err(format!("{} lines executed, {} wanted", left.len(), right.len())),
    }
}

fn fast() -> Options {
    Options {
        speed: 20.0,
        ..Options::default()
    }
}

fn done(b: &Bench) -> bool {
    b.saw_job(|j| matches!(j, JobEvent::Done { .. }))
}

#[test]
fn a_print_goes_on_after_sudden_death_without_losing_or_doubling_a_line() {
    let mut b = Bench::up(fast(), settings());
    let text = program(600);
    b.start(&text);
    for count in [3, 20, 21, 150, 151, 152, 400, 601] {
        assert!(b.run(3600, |b| b.sim.executed_count() > count + 10), "{count}");
        b.events.clear();
        b.die_and_come_back(settings(), false);
        assert!(
            b.run(600, |b| b.saw_job(|j| matches!(j, JobEvent::Adopted { .. }))),
            "not adopted after {count}: {:?}",
            b.events
        );
        let job = b.events.iter().position(|e| matches!(e, Event::Job(_)));
        let activity = b.events.iter().position(|e| matches!(e, Event::Activity(_)));
        assert!(activity.is_none() || job < activity, "{:?}", b.events);
    }
    assert!(b.run(3600, done), "{:?}", b.events.last());
    assert_eq!(same(&b.executed(own), &wanted(&text)), Ok(()));
    assert_eq!(b.sim.resets(), 0);
}

#[test]
fn a_printer_that_has_reset_meanwhile_ends_the_job_and_is_made_cold() {
    let mut b = Bench::up(fast(), settings());
    b.start(&program(600));
    assert!(b.run(3600, |b| b.sim.executed_count() > 100));
    let now = b.t;
    b.sim.inject(now, Injection::Reset);
    b.sim.inject(now, Injection::SetTool(0, 200.0));
    b.die_and_come_back(settings(), false);
    assert!(b.run(60, |b| b.saw_job(|j| matches!(j, JobEvent::Interrupted { .. }))));
    assert!(b.run(60, |b| b.saw(|e| *e == Event::Activity(Activity::Idle))
        && !b.sim.is_heating()));
    let moves = b.executed(|t| !t.starts_with("G1")).len();
    assert!(!b.run(60, |b| b.executed(|t| !t.starts_with("G1")).len() > moves));
}

#[test]
fn a_head_on_its_way_to_a_pause_is_not_continued_from() {
    let mut b = Bench::up(fast(), settings());
    b.start(&program(600));
    assert!(b.run(3600, |b| b.sim.executed_count() > 100));
    b.request(Command::Pause);
    assert!(b.run(60, |b| b.sent.iter().any(|l| l.contains(" G1 E-"))));
    b.die_and_come_back(settings(), false);
    assert!(b.run(60, |b| b.saw_job(|j| matches!(j, JobEvent::Interrupted { .. }))));
    assert!(b.run(60, |b| !b.sim.is_heating()));
}

#[test]
fn on_request_the_print_is_paused_in_the_right_place_and_resumes_whole() {
    let mut b = Bench::up(fast(), settings());
    let text = program(600);
    b.start(&text);
    assert!(b.run(3600, |b| b.sim.executed_count() > 300));
    b.die_and_come_back(settings(), true);
    assert!(b.run(600, |b| b.saw_job(|j| matches!(j, JobEvent::Paused { .. }))));
    b.request(Command::Resume);
    assert!(b.run(3600, done), "{:?}", b.events.last());
    let moves: Vec<String> = b.executed(|t| !(t.starts_with("G1 X") && t.ends_with("E0.1 F6000")));
    let wanted: Vec<&str> = wanted(&text)
        .into_iter()
        .filter(|l| l.starts_with("G1 X"))
        .collect();
    assert_eq!(same(&moves, &wanted), Ok(()));
}

#[test]
fn a_paused_print_stays_paused_and_resumes_whole() {
    let mut b = Bench::up(fast(), settings());
    let text = program(600);
    b.start(&text);
    assert!(b.run(3600, |b| b.sim.executed_count() > 300));
    b.request(Command::Pause);
    assert!(b.run(600, |b| b.saw_job(|j| matches!(j, JobEvent::Paused { .. }))));
    // Twice, to see that the first return leaves all that the second needs.
    for _ in 0..2 {
        b.events.clear();
        b.die_and_come_back(settings(), false);
        let paused = |b: &Bench| b.saw(|e| matches!(e, Event::Activity(Activity::Paused(_))));
        assert!(b.run(60, paused), "{:?}", b.events);
        assert!(b.saw_job(|j| matches!(j, JobEvent::Adopted { .. })));
    }
    assert!(b.sim.is_heating());
    b.request(Command::Resume);
    assert!(b.run(3600, done), "{:?}", b.events.last());
    let moves: Vec<String> = b.executed(|t| !(t.starts_with("G1 X") && t.ends_with("E0.1 F6000")));
    let wanted: Vec<&str> = wanted(&text)
        .into_iter()
        .filter(|l| l.starts_with("G1 X"))
        .collect();
    assert_eq!(same(&moves, &wanted), Ok(()));
}

#[test]
fn a_silent_printer_is_not_waited_for_without_end() {
    let mut b = Bench::up(fast(), settings());
    b.start(&program(600));
    assert!(b.run(3600, |b| b.sim.executed_count() > 100));
    let now = b.t;
    b.sim.inject(now, Injection::Mute);
    b.die_and_come_back(settings(), false);
    assert!(b.run(60, |b| b.saw_job(|j| matches!(j, JobEvent::Interrupted { .. }))));
}

#[test]
fn heating_is_sat_out() {
    let mut b = Bench::up(Options::default(), settings());
    let text = program(20);
    b.start(&text);
    assert!(b.run(3600, |b| b.sim.tool_c(0) > 50.0));
    b.events.clear();
    b.die_and_come_back(settings(), false);
    assert!(
        b.run(8, |b| b.saw(|e| *e == Event::Up)),
        "it is there, though it only heats"
    );
    assert!(!b.saw(|e| matches!(e, Event::Activity(_))));
    assert!(b.run(600, |b| b.saw_job(|j| matches!(j, JobEvent::Adopted { .. }))));
    assert!(b.run(3600, done), "{:?}", b.events.last());
    assert_eq!(same(&b.executed(own), &wanted(&text)), Ok(()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn on_a_bad_line_too_nothing_is_lost_or_doubled(
        seed in any::<u64>(),
        deaths in proptest::collection::vec(20u64..400, 1..4),
        window in any::<bool>(),
        late_ms in 0u64..300,
    ) {
        let mut b = Bench::up(Options { advanced_ok: window, ..fast() }, settings());
        let text = program(300);
        b.start(&text);
        prop_assert!(b.run(3600, |b| b.sim.executed_count() > 18));
        b.sim.set_faults(LineFaults {
            seed,
            corrupt_in: 10,
            drop_in: 5,
            drop_ok: 5,
            delay_ok: 10,
            delay: Duration::from_millis(late_ms),
            ..LineFaults::default()
        });
        let mut deaths = deaths;
        deaths.sort_unstable();
        for count in deaths {
            if b.run(3600, |b| b.sim.executed_count() > count || done(b)) && !done(&b) {
                b.die_and_come_back(settings(), false);
            }
        }
        b.run(7200, |b| done(b) || b.saw_job(|j| matches!(j, JobEvent::Interrupted { .. } | JobEvent::Failed { .. })));
        // A damaged unnumbered line is executed damaged: no line of the program, though.
        let known: std::collections::HashSet<&str> = wanted(&text).into_iter().collect();
        let executed = b.executed(|t| !known.contains(t) || t == "M104 S0" || t == "M84");
        let wanted: Vec<&str> = wanted(&text).into_iter().filter(|t| *t != "M104 S0" && *t != "M84").collect();
        if done(&b) {
            prop_assert_eq!(same(&executed, &wanted), Ok(()));
        } else {
            // Not continued: then what was printed is a beginning of the program, each line once.
            let moves = executed.len().min(wanted.len());
            prop_assert_eq!(same(&executed[..moves], &wanted[..moves]), Ok(()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// A print is to be taken up by hand behind the last line that was executed: that line is what is told.
    #[test]
    fn the_place_that_is_told_at_the_end_is_the_line_that_was_executed_last(ms in 100_u64..4_000, cut in any::<bool>()) {
        let text = program(2000);
        let mut b = Bench::up(fast(), settings());
        b.start(&text);
        b.run(60, |b| b.saw_job(|j| matches!(j, JobEvent::Started { .. })));
        let until = b.t + Duration::from_millis(ms);
        b.run(60, |b| b.t >= until);
        if done(&b) {
            return Ok(());
        }
        let now = b.now();
        if cut {
            b.core.stop(now, crate::drivers::StopMode::Park);
            prop_assert!(b.run(120, |b| b.stopped), "never stopped");
        } else {
            b.request(Command::Pause);
            prop_assert!(b.run(120, |b| b.saw_job(|j| matches!(j, JobEvent::Paused { .. }))), "never paused");
        }
        let told = b.events.iter().rev().find_map(|e| match e {
            Event::Checkpoint(c) => Some(c.line),
            _ => None,
        });
        // Every movement of the program is another one, so the last executed one names its line.
        let last = b.sim.executed().iter().rev().map(|e| e.text.trim().to_owned());
        let last = last.filter(|t| t.contains(" E0.1 ")).find_map(|t| text.lines().position(|l| l == t));
        let (Some(told), Some(last)) = (told, last) else { return Ok(()) };
        let between: Vec<&str> = text.lines().skip(last + 1).take((told as usize).saturating_sub(last + 1)).collect();
        prop_assert!(told as usize > last, "told line {told}, executed {}", last + 1);
        prop_assert!(between.iter().all(|l| !l.starts_with("G1")), "told line {told}, executed {}: {between:?}", last + 1);
    }
}

#[test]
fn a_damaged_word_of_ours_that_makes_the_printer_wait_is_taken_back() {
    let mut b = Bench::up(fast(), settings());
    b.start(&program(600));
    assert!(b.run(3600, |b| b.sim.executed_count() > 60));
    b.request(Command::Cancel(CancelReason::default()));
    b.die_and_come_back(settings(), false);
    assert!(b.run(60, |b| b.saw_job(|j| matches!(j, JobEvent::Interrupted { .. }))));
    // What is left of `M104 S0` on a bad line.
    let now = b.t;
    b.sim.feed(now, b"M1d4 S0\n");
    assert!(b.run(30, |b| b.core.phase() != Phase::Hello), "{}", b.core.link());
    assert!(b.run(30, |b| !b.sim.is_heating()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// However the service died and however bad the line was: once the line is good, and whoever is asked has answered, the
    /// printer serves again.
    #[test]
    fn after_a_death_on_a_bad_line_the_printer_is_ready_again(
        seed in any::<u64>(),
        rates in (0u32..150, 0u32..60, 0u32..60),
        command in 0u8..4,
        before_ms in 0u64..1500,
        after_ms in 0u64..4000,
        window in any::<bool>(),
        pause in any::<bool>(),
    ) {
        let mut b = Bench::up(Options { advanced_ok: window, ..fast() }, settings());
        b.start(&program(600));
        prop_assert!(b.run(3600, |b| b.sim.executed_count() > 60));
        let (corrupt_in, drop_in, drop_ok) = rates;
        b.sim.set_faults(LineFaults { seed, corrupt_in, drop_in, drop_ok, ..LineFaults::default() });
        if command < 2 {
            b.request(Command::Pause);
        }
        if command == 1 {
            b.run(5, |b| b.saw_job(|j| matches!(j, JobEvent::Paused { .. })));
        }
        if command == 1 || command == 2 {
            b.request(Command::Cancel(CancelReason::default()));
        }
        let until = b.t + Duration::from_millis(before_ms);
        b.run(60, |b| b.t >= until);
        if b.hangup.is_some() {
            return Ok(());
        }
        b.die_and_come_back(settings(), pause);
        let until = b.t + Duration::from_millis(after_ms);
        b.run(60, |b| b.t >= until);
        b.sim.set_faults(LineFaults::default());
        // Where the place of a running print is sought the printer may have been made to wait too: that is for a person.
        let ready = |b: &Bench| b.hangup.is_some() || b.core.phase() != Phase::Hello;
        if !b.run(60, ready) {
            b.request(Command::Answer { button: 0 });
        }
        prop_assert!(b.run(180, ready), "{} printer killed: {}", b.core.link(), b.sim.is_killed());
    }
}
