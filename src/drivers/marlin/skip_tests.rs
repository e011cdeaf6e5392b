//! Skips against the simulated printer: what it executed is looked at, not what was answered.

use proptest::prelude::*;

use super::bench::Bench;
use super::exactly_once_tests::{prompt_is_open, run_with_a_person};
use super::proto::Phase;
use super::settings::{Settings, Window};
use super::sim::{LineFaults, Options};
use crate::printer::command::Command;
use crate::printer::event::{Event, JobEvent};
use crate::printer::outcome::Outcome;

/// Three objects on some layers; all lines are different.
fn plate(layers: usize) -> String {
    let mut g = String::from("G28\nG90\nM83\n");
    for layer in 0..layers {
        g += &format!("G1 Z0.{} F600\n", 2 + layer);
        for (object, x) in [("a", 10), ("b", 60), ("c", 110)] {
            g += &format!("; printing object {object} id:0 copy 0\n");
            g += &format!("G0 X{x} Y{} F9000\n", 10 + layer);
            for i in 0..12 {
                g += &format!("G1 X{}.{layer} Y{} E0.05\n", x + i, 11 + layer);
            }
            g += &format!("G1 X{x}.5{layer} E-0.8 F2400\n; stop printing object {object} id:0 copy 0\n");
        }
        g += &format!("M106 S{}\n", layer + 1);
    }
    g + "M104 S0\nM140 S0\nM84\n"
}

/// Commands of the program that lie in an object, in order.
fn of_object(program: &str, name: &str) -> Vec<String> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in program.lines() {
        match line.strip_prefix("; ") {
            Some(mark) => inside = mark.starts_with(&format!("printing object {name} ")),
            None if inside => lines.push(line.to_owned()),
            None => {}
        }
    }
    lines
}

/// Lines that lay something down: travels may be replaced by better ones.
fn lays_down(line: &str) -> bool {
    line.contains(" E0.")
}

struct Wish {
    options: Options,
    window: Window,
    /// After how many executed lines which object is left out.
    skips: Vec<(usize, u32)>,
    /// After how many executed lines the daemon dies.
    die: Option<usize>,
}

/// Prints; gives how many skips took hold.
fn print(wish: Wish) -> Result<usize, String> {
    let program = plate(4);
    let settings = Settings {
        window: wish.window,
        ..Settings::default()
    };
    let bad = wish.options.faults.corrupt_in > 0;
    let mut b = Bench::new(wish.options, settings.clone());
    if !b.run(300, |b| b.core.phase() == Phase::Idle) {
        return if bad { Ok(0) } else { Err("not up".to_owned()) };
    }
    b.start(&program);
    let mut events: Vec<(usize, Option<u32>)> = wish.skips.iter().map(|(at, o)| (*at, Some(*o))).collect();
    events.extend(wish.die.map(|at| (at, None)));
    events.sort_unstable();
    let wanted: Vec<String> = program
        .lines()
        .filter(|l| !l.starts_with(';'))
        .map(str::to_owned)
        .collect();
    let executed = |b: &Bench| b.executed(|t: &str| !wanted.iter().any(|w| w == t));
    let mut skipped = Vec::new();
    // A damaged question may have become an M0, which waits for a person.
    let mut presses = 60;
    for (at, what) in events {
        run_with_a_person(&mut b, 20_000, &mut presses, |b| {
            b.ended || executed(b).len() >= at
        });
        match what {
            Some(object) => {
                let before = executed(&b).len();
                let id = b.request(Command::SkipObjects { ids: vec![object] });
                b.run(60, |b| b.replies.contains_key(&id));
                match b.replies.get(&id) {
                    Some(Outcome::Verified) => skipped.push((object, before)),
                    // At the very end there is nothing left to skip; right after a restart nobody is there.
                    Some(Outcome::Refused(refusal))
                        if ["refused/too-late", "refused/not-ready"].contains(&refusal.code) || b.ended => {}
                    other => return Err(format!("skip: {other:?}")),
                }
            }
            None => b.die_and_come_back(settings.clone(), false),
        }
    }
    if !run_with_a_person(&mut b, 20_000, &mut presses, |b| b.ended) {
        // A session may end on such a line, or wait for a person who cannot answer yet: loudly, both.
        if bad && (b.hangup.is_some() || prompt_is_open(&b)) {
            return Ok(skipped.len());
        }
        let tail: Vec<_> = b.sent.iter().rev().take(6).collect();
        let last: Vec<_> = b.events.iter().rev().take(5).collect();
        return Err(format!("no end in {:?}: {tail:?}, {last:?}", b.core.phase()));
    }
    if !b.saw_job(|j| matches!(j, JobEvent::Done { .. })) {
        // Too bad a line ends a print loudly; that is not what is looked at here.
        return if bad {
            Ok(skipped.len())
        } else {
            Err("not done".to_owned())
        };
    }
    let all = executed(&b);
    let mut rest = wanted.iter();
    for line in &all {
        if !rest.any(|w| w == line) {
            return Err(format!("out of order or twice: {line}"));
        }
    }
    for (number, name) in [(0u32, "a"), (1, "b"), (2, "c")] {
        let lines: Vec<_> = of_object(&program, name)
            .into_iter()
            .filter(|l| lays_down(l))
            .collect();
        let printed: Vec<_> = all.iter().filter(|l| lines.contains(l)).cloned().collect();
        match skipped.iter().find(|(o, _)| *o == number) {
            None if printed != lines => return Err(format!("{name} is kept, but lacks something")),
            Some((_, at)) => {
                let before = all.iter().take(*at).filter(|l| lines.contains(l)).count();
                // What is on its way or in the printer's own queue cannot be called back.
                if !lines.starts_with(&printed) || printed.len() > before + 12 {
                    return Err(format!(
                        "{name} is skipped, but goes on: {} of {}, {before} before",
                        printed.len(),
                        lines.len()
                    ));
                }
            }
            None => {}
        }
    }
    let told = b.events.iter().rev().find_map(|e| match e {
        Event::Skipped(ids) => Some(ids.clone()),
        _ => None,
    });
    let mut told = told.unwrap_or_default();
    told.sort_unstable();
    let mut wanted: Vec<u32> = skipped.iter().map(|(o, _)| *o).collect();
    wanted.sort_unstable();
    wanted.dedup();
    if told != wanted {
        return Err(format!("told {told:?}, skipped {wanted:?}"));
    }
    Ok(skipped.len())
}

#[test]
fn an_object_that_is_being_printed_is_left_and_the_next_is_found() {
    let wish = |skips: &[(usize, u32)], die| Wish {
        options: Options {
            speed: 50.0,
            ..Options::default()
        },
        window: Window::Off,
        skips: skips.to_vec(),
        die,
    };
    assert_eq!(print(wish(&[(8, 0)], None)), Ok(1));
    assert_eq!(print(wish(&[(0, 1)], None)), Ok(1), "before the first line");
    assert_eq!(
        print(wish(&[(20, 1), (60, 0)], None)),
        Ok(2),
        "one after the other"
    );
    assert_eq!(print(wish(&[(30, 2)], Some(70))), Ok(1), "across a restart");
}

#[test]
fn a_skip_that_the_database_never_heard_of_is_told_after_the_restart() {
    let options = Options {
        speed: 50.0,
        ..Options::default()
    };
    let mut b = Bench::new(options, Settings::default());
    assert!(b.run(300, |b| b.core.phase() == Phase::Idle));
    b.start(&plate(4));
    assert!(b.run(300, |b| b.sim.executed().len() > 40));
    let id = b.request(Command::SkipObjects { ids: vec![2] });
    assert!(b.run(60, |b| b.replies.contains_key(&id)));
    b.skipped.clear();
    b.die_and_come_back(Settings::default(), false);
    assert!(b.run(20_000, |b| b.ended) && b.saw_job(|j| matches!(j, JobEvent::Done { .. })));
    assert_eq!(b.skipped, [2]);
}

#[test]
fn what_cannot_be_skipped_is_refused_in_words() {
    let mut b = Bench::new(
        Options {
            speed: 50.0,
            ..Options::default()
        },
        Settings::default(),
    );
    assert!(b.run(300, |b| b.core.phase() == Phase::Idle));
    let refused = |b: &mut Bench, ids: &[u32]| {
        let id = b.request(Command::SkipObjects { ids: ids.to_vec() });
        b.run(10, |b| b.replies.contains_key(&id));
        match b.replies.get(&id) {
            Some(Outcome::Refused(refusal)) => refusal.message.to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(&mut b, &[1]), "No active print job found");
    b.start(&plate(2));
    assert!(b.run(300, |b| b.core.phase() == Phase::Printing));
    assert!(refused(&mut b, &[9]).contains('9'));
    // A file whose objects cannot be told apart comes without places to read it again from.
    b.core.forget_places();
    assert!(refused(&mut b, &[1]).contains("cannot be told apart"));
    assert!(b.run(20_000, |b| b.ended) && b.saw_job(|j| matches!(j, JobEvent::Done { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_skip_at_any_moment_on_a_bad_line_and_across_a_restart(
        seed in any::<u64>(),
        bad in any::<bool>(),
        window in any::<bool>(),
        skips in prop::collection::vec((0usize..150, 0u32..3), 1..3),
        die in prop::option::of(0usize..150),
    ) {
        prop_assume!(skips.iter().map(|s| s.1).collect::<std::collections::BTreeSet<_>>().len() < 3);
        let faults = LineFaults {
            seed,
            corrupt_in: if bad { 25 } else { 0 },
            drop_ok: if bad { 20 } else { 0 },
            ..LineFaults::default()
        };
        let wish = Wish {
            options: Options { speed: 50.0, faults, ..Options::default() },
            window: if window { Window::Auto } else { Window::Off },
            skips,
            die,
        };
        let done = print(wish);
        prop_assert!(done.is_ok(), "{done:?}");
    }
}
