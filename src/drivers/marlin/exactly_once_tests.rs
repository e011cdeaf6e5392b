//! The promise of the driver, against a damaged line: each line of a program is executed exactly once
//! and in order, or the job fails loudly.

use std::time::Duration;

use proptest::prelude::*;

use super::bench::Bench;
use super::settings::{Settings, Window};
use super::sim::{LineFaults, Options};
use crate::printer::command::Command;
use crate::printer::event::JobEvent;

/// A program whose lines are all different, so that none can stand for another.
fn program(lines: usize) -> String {
    let mut text = String::from("G28\nG90\nM83\n");
    for i in 0..lines {
        text.push_str(&format!("G1 X{} Y{} E0.01 F9000\n", i % 200, i / 200));
        if i % 50 == 49 {
            // Nothing of ours becomes this by one damaged character.
            text.push_str(&format!("M106 S{} P0\n", 100 + i / 50));
        }
    }
    text
}

/// Whether a prompt with a button is open.
pub(super) fn prompt_is_open(b: &Bench) -> bool {
    !b.asked.is_empty()
}

/// Runs until something is so, beside a person who presses the button of an open prompt, and again
/// after a minute when the printer did not hear it.
///
/// A damaged question (M105 without a number) may have become an M0 or M1, which waits for a person.
pub(super) fn run_with_a_person(
    b: &mut Bench,
    seconds: u64,
    presses: &mut u32,
    done: impl Fn(&Bench) -> bool,
) -> bool {
    let open = prompt_is_open;
    loop {
        b.run(seconds, |b| done(b) || open(b) || b.hangup.is_some());
        if done(b) || *presses == 0 || !open(b) {
            return done(b);
        }
        *presses -= 1;
        b.request(Command::Answer { button: 0 });
        b.run(60, |b| done(b) || !open(b) || b.hangup.is_some());
    }
}

fn print(options: Options, window: Window, lines: usize) -> Result<(), String> {
    let text = program(lines);
    let settings = Settings {
        window,
        ..Settings::default()
    };
    let mut b = Bench::new(options, settings);
    let mut presses = 60;
    // On a line this bad even the handshake may fail; loudly is enough: a session that ends with words,
    // or an open notice that the printer waits for a person (it cannot be answered before it is known).
    if !run_with_a_person(&mut b, 300, &mut presses, |b| {
        b.core.phase() == super::proto::Phase::Idle
    }) {
        return if b.hangup.is_some() || prompt_is_open(&b) {
            Ok(())
        } else {
            Err(format!("neither up nor down: {:?} {}", b.sent, b.core.link()))
        };
    }
    if b.hangup.is_some() {
        return Ok(());
    }
    b.start(&text);
    let ended = run_with_a_person(&mut b, 20_000, &mut presses, |b| b.ended);
    let tail = || b.sent.iter().rev().take(12).rev().cloned().collect::<Vec<_>>();
    if !ended {
        return Err(format!("no end at {:?}: {:?} {}", b.t, tail(), b.core.link()));
    }
    let wanted: Vec<&str> = text.lines().collect();
    let ours = |t: &str| !wanted.contains(&t);
    let executed = b.executed(ours);
    let done = b.saw_job(|j| matches!(j, JobEvent::Done { .. }));
    if done && executed != wanted {
        let at = executed.iter().zip(&wanted).position(|(a, b)| a != b);
        let around: Vec<_> = at
            .and_then(|at| {
                b.sim
                    .executed()
                    .iter()
                    .position(|e| e.text.trim() == executed[at])
            })
            .map(|i| b.sim.executed()[i.saturating_sub(4)..i + 2].to_vec())
            .unwrap_or_default();
        return Err(format!(
            "done, but different at {at:?}, around {around:?} ({} executed, {} wanted): {:?}",
            executed.len(),
            wanted.len(),
            tail()
        ));
    }
    if !done && !wanted.starts_with(&executed.iter().map(String::as_str).collect::<Vec<_>>()) {
        return Err(format!(
            "failed, and not even the beginning was in order: {executed:?} {:?}",
            b.hangup
        ));
    }
    Ok(())
}

/// How many prints each property does; more in a long hunt (`tests/long/run property`).
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(60)
}

prop_compose! {
    fn faults()(
        seed in any::<u64>(),
        corrupt_in in prop_oneof![3 => Just(0u32), 3 => 1u32..60, 1 => 60u32..200],
        drop_in in prop_oneof![3 => Just(0u32), 3 => 1u32..40],
        corrupt_out in prop_oneof![3 => Just(0u32), 3 => 1u32..60],
        drop_ok in prop_oneof![3 => Just(0u32), 3 => 1u32..50],
        double_ok in prop_oneof![3 => Just(0u32), 3 => 1u32..50],
        delay_ok in prop_oneof![3 => Just(0u32), 3 => 1u32..50],
        delay_ms in prop_oneof![1u64..400, 400u64..8000],
    ) -> LineFaults {
        LineFaults { seed, corrupt_in, drop_in, corrupt_out, drop_ok, double_ok, delay_ok, delay: Duration::from_millis(delay_ms) }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_line_at_a_time(faults in faults()) {
        let options = Options { speed: 50.0, faults, ..Options::default() };
        prop_assert_eq!(print(options, Window::Off, 300), Ok(()));
    }

    #[test]
    fn with_a_window_after_advanced_ok(faults in faults()) {
        let options = Options { speed: 50.0, advanced_ok: true, faults, ..Options::default() };
        prop_assert_eq!(print(options, Window::Auto, 300), Ok(()));
    }

    #[test]
    fn with_a_window_on_the_owners_wish(lines in 1u8..=4, faults in faults()) {
        let options = Options { speed: 50.0, faults, ..Options::default() };
        prop_assert_eq!(print(options, Window::Lines(lines), 300), Ok(()));
    }
}

/// A moderately bad line must not merely fail loudly: it prints.
#[test]
fn a_line_with_a_few_percent_of_damage_still_prints() {
    for window in [Window::Off, Window::Auto] {
        let faults = LineFaults {
            seed: 1,
            corrupt_in: 20,
            drop_in: 10,
            corrupt_out: 10,
            drop_ok: 10,
            double_ok: 10,
            ..LineFaults::default()
        };
        let options = Options {
            speed: 50.0,
            advanced_ok: true,
            faults,
            ..Options::default()
        };
        let text = program(2000);
        let mut b = Bench::up(
            options,
            Settings {
                window,
                ..Settings::default()
            },
        );
        b.start(&text);
        let done = b.run(40_000, |b| b.saw_job(|j| matches!(j, JobEvent::Done { .. })));
        let failed: Vec<_> = b
            .events
            .iter()
            .filter(|e| matches!(e, crate::printer::event::Event::Job(_)))
            .collect();
        assert!(
            done,
            "{window:?} {failed:?} {} {:?}",
            b.core.link(),
            b.sent.iter().rev().take(10).collect::<Vec<_>>()
        );
        let wanted: Vec<&str> = text.lines().collect();
        assert_eq!(b.executed(|t| !wanted.contains(&t)), wanted);
    }
}

/// The line with the button of a prompt was damaged: it can be answered all the same.
#[test]
fn a_wait_for_a_person_whose_button_got_lost_can_be_answered() {
    let faults = LineFaults {
        seed: 13_299_823_228_040_148_570,
        corrupt_in: 107,
        drop_in: 26,
        corrupt_out: 56,
        delay_ok: 22,
        delay: Duration::from_millis(201),
        ..LineFaults::default()
    };
    let options = Options {
        speed: 50.0,
        faults,
        ..Options::default()
    };
    assert_eq!(print(options, Window::Off, 300), Ok(()));
}

/// The `ok` of a homing is lost and the firmware never says that it is busy: asked after half a minute, not after the five
/// that a homing may take.
#[test]
fn a_homing_whose_ok_got_lost_costs_half_a_minute() {
    let mut b = Bench::up(Options::default(), Settings::default());
    b.start("M113 S0\nG28\nM117 homed\nG28 X\nM117 homed again\n");
    assert!(b.run(60, |b| b.sent.iter().any(|line| line.contains("G28"))));
    let lost = LineFaults {
        drop_ok: 1000,
        ..LineFaults::default()
    };
    b.sim.set_faults(lost);
    let homed = |b: &Bench| b.sent.iter().any(|line| line.contains("M117 homed"));
    assert!(!b.run(20, homed), "the ok was not lost");
    b.sim.set_faults(LineFaults::default());
    assert!(b.run(15, homed), "{:?}", b.sent);
    assert!(b.run(60, |b| b.ended), "{:?}", b.sent);
}

/// Cases that once ended as done with lines missing, with lines twice, or not at all.
#[test]
fn lines_that_once_fooled_the_driver() {
    let faults =
        |seed, corrupt_in, drop_in, corrupt_out, drop_ok, double_ok, delay_ok, delay_ms| LineFaults {
            seed,
            corrupt_in,
            drop_in,
            corrupt_out,
            drop_ok,
            double_ok,
            delay_ok,
            delay: Duration::from_millis(delay_ms),
        };
    let cases = [
        // `N28 …` became `M28 …`: the printer wrote the program to its card.
        (
            Window::Lines(3),
            faults(6_054_832_760_975_096_572, 191, 0, 37, 13, 7, 0, 285),
        ),
        // Requests that came late, for a line that had been taken meanwhile.
        (
            Window::Auto,
            faults(786_802_843_952_265_085, 12, 19, 0, 21, 0, 43, 2117),
        ),
        // Surplus `ok`s stood for the last lines of the file.
        (
            Window::Lines(4),
            faults(9_253_672_921_281_577_647, 153, 0, 35, 0, 15, 31, 847),
        ),
        (
            Window::Lines(4),
            faults(18_048_668_330_376_671_843, 58, 17, 38, 1, 11, 0, 234),
        ),
        (
            Window::Lines(4),
            faults(16_630_500_799_458_752_965, 53, 0, 58, 0, 39, 0, 313),
        ),
        (
            Window::Lines(1),
            faults(9_310_808_858_055_260_874, 0, 0, 0, 39, 39, 1, 2037),
        ),
    ];
    for (window, faults) in cases {
        let options = Options {
            speed: 50.0,
            advanced_ok: window == Window::Auto,
            faults: faults.clone(),
            ..Options::default()
        };
        assert_eq!(print(options, window, 300), Ok(()), "{faults:?}");
    }
}
