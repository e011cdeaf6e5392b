//! Pauses against the simulated printer: heat, motors, patience. Made-up time.

use std::time::Duration;

use super::bench::Bench;
use super::settings::{PauseActions, Settings};
use super::sim::Options;
use crate::printer::command::{CancelReason, Command};
use crate::printer::event::{Event, JobEvent};
use crate::printer::model::Activity;
use crate::printer::outcome::Outcome;
use crate::printer::pause_wishes::PauseWishes;

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

fn program() -> String {
    let mut text = String::from("M140 S60\nM104 S200\nG28\nM109 S200\nM190 S60\nG90\nM83\nG1 Z0.3 F600\n");
    for i in 0..2000 {
        text.push_str(&format!("G1 X{} Y{} E0.1 F6000\n", 10 + i % 100, 10 + i / 100));
    }
    text.push_str("M104 S0\nM140 S0\nM84\n");
    text
}

/// A print that stands paused.
fn paused(settings: Settings) -> Bench {
    let mut b = Bench::up(fast(), settings);
    b.start(&program());
    assert!(b.run(3600, |b| b.sim.executed_count() > 300));
    let pause = b.request(Command::Pause);
    assert!(b.run(600, |b| b.replies.contains_key(&pause)));
    assert_eq!(b.replies.get(&pause), Some(&Outcome::Verified));
    b
}

fn said(b: &Bench, from: usize) -> Vec<String> {
    b.sim
        .executed()
        .iter()
        .skip(from)
        .map(|e| e.text.trim().to_owned())
        .collect()
}

fn moves(text: &str) -> bool {
    text.starts_with("G1 ") || text.starts_with("G0 ") || text.starts_with("G28")
}

/// Resumes; gives what the printer executed from then on until the print goes on.
fn resumed(b: &mut Bench) -> Vec<String> {
    let from = b.sim.executed().len();
    let resume = b.request(Command::Resume);
    assert!(
        b.run(1800, |b| b.replies.contains_key(&resume)),
        "{:?}",
        b.replies
    );
    assert_eq!(b.replies.get(&resume), Some(&Outcome::Verified));
    said(b, from)
}

#[test]
fn a_cooled_pause_moves_nothing_until_everything_is_warm_again() {
    let cool = PauseActions {
        cool_nozzle: true,
        cool_bed: true,
        ..PauseActions::default()
    };
    let mut b = paused(Settings {
        pause: cool,
        ..settings()
    });
    assert!(b.run(5, |b| !b.sim.is_heating()), "both are off");
    b.run(900, |_| false);
    let from = b.sim.executed().len();
    let resume = b.request(Command::Resume);
    assert!(b.run(1800, |b| said(b, from).iter().any(|t| moves(t))));
    let (nozzle, bed) = (b.sim.tool_c(0), b.sim.bed_c());
    assert!(nozzle > 195.0 && bed > 55.0, "moved at {nozzle} and {bed} °C");
    assert!(b.run(600, |b| b.replies.contains_key(&resume)));
    assert!(b.run(3600, |b| b.saw_job(|j| matches!(j, JobEvent::Done { .. }))));
}

#[test]
fn a_long_pause_switches_the_nozzle_off_and_brings_it_back() {
    let mut b = paused(settings());
    b.run(14 * 60, |_| false);
    assert!(b.sim.tool_c(0) > 190.0, "not yet");
    b.run(10 * 60, |_| false);
    assert!(b.sim.tool_c(0) < 120.0, "{} °C after 24 minutes", b.sim.tool_c(0));
    assert!(b.sim.bed_c() > 55.0, "the part stays on its bed");
    let said = resumed(&mut b);
    let heat = said.iter().position(|t| t == "M104 T0 S200").expect("heated");
    let first = said.iter().position(|t| moves(t)).expect("moves");
    assert!(heat < first, "{said:?}");
    assert!(b.sim.tool_c(0) > 195.0);
}

#[test]
fn a_resume_that_is_paused_again_cools_again_in_its_own_time() {
    let mut b = paused(settings());
    b.run(20 * 60, |_| false);
    let resume = b.request(Command::Resume);
    assert!(b.run(5, |b| b.sim.is_heating()));
    let pause = b.request(Command::Pause);
    assert!(b.run(600, |b| b.replies.contains_key(&pause)));
    assert!(matches!(b.replies.get(&resume), Some(Outcome::Refused(_))));
    assert!(b.sim.is_heating(), "the resume had begun to heat");
    b.run(16 * 60, |_| false);
    assert!(b.sim.tool_c(0) < 150.0, "it must not stay hot for ever");
    resumed(&mut b);
    assert!(b.run(3600, |b| b.saw_job(|j| matches!(j, JobEvent::Done { .. }))));
}

#[test]
fn a_person_who_cools_in_a_pause_does_not_make_it_print_cold() {
    let mut b = paused(settings());
    let off = b.send("M104 S0");
    assert!(b.run(60, |b| b.replies.contains_key(&off)));
    b.run(300, |_| false);
    let said = resumed(&mut b);
    assert!(said.iter().any(|t| t == "M104 T0 S200"), "{said:?}");
    let mut b = paused(settings());
    let other = b.send("M104 S215");
    assert!(b.run(60, |b| b.replies.contains_key(&other)));
    let said = resumed(&mut b);
    assert!(said.iter().any(|t| t == "M104 T0 S215"), "{said:?}");
}

#[test]
fn a_target_set_just_before_the_pause_is_the_one_that_comes_back() {
    let text = program().replacen(
        "G1 X60 Y12 E0.1 F6000\n",
        "M104 S190\nM0 Look\nG1 X60 Y12 E0.1 F6000\n",
        1,
    );
    let mut b = Bench::up(fast(), settings());
    b.start(&text);
    assert!(b.run(3600, |b| {
        b.saw(|e| matches!(e, Event::Activity(Activity::Paused(_))))
    }));
    let said = resumed(&mut b);
    assert!(said.iter().any(|t| t == "M104 T0 S190"), "{said:?}");
}

#[test]
fn a_cancel_out_of_a_pause_leaves_the_motors_timeout_as_it_was() {
    let mut b = paused(settings());
    let cancel = b.request(Command::Cancel(CancelReason::default()));
    assert!(b.run(60, |b| b.replies.contains_key(&cancel)));
    b.run(30, |_| false);
    let last = said(&b, 0).into_iter().rfind(|t| t.starts_with("M84 S"));
    assert_eq!(last.as_deref(), Some("M84 S120"));
}

#[test]
fn idle_heat_waits_while_somebody_else_moves_the_head() {
    let mut b = Bench::up(
        fast(),
        Settings {
            idle_heaters_off: Some(Duration::from_secs(600)),
            ..settings()
        },
    );
    let set = b.send("M104 S100");
    assert!(b.run(60, |b| b.replies.contains_key(&set)));
    for n in 0..4 {
        b.run(400, |_| false);
        assert!(b.sim.is_heating(), "switched off under a moving head");
        b.sim.moved_elsewhere(&format!("G1 X{}", n + 1));
    }
    b.run(1300, |_| false);
    assert!(!b.sim.is_heating(), "it stood still for long enough");
}

#[test]
fn one_pause_may_differ_from_the_settings_and_the_next_one_does_not() {
    let mut b = Bench::up(fast(), settings());
    b.start(&program());
    assert!(b.run(3600, |b| b.sim.executed_count() > 300));
    let from = b.sim.executed().len();
    let pause = b.request(Command::PauseAs(PauseWishes {
        retract_mm: Some(5.0),
        lift_mm: Some(25.0),
        park: Some(false),
        cool_nozzle: Some(true),
        cool_bed: Some(true),
        ..PauseWishes::default()
    }));
    assert!(b.run(600, |b| b.replies.contains_key(&pause)));
    assert!(b.run(30, |b| !b.sim.is_heating()), "nozzle and bed are off");
    let own = said(&b, from);
    let at = |line: &str| {
        own.iter()
            .position(|t| t == line)
            .unwrap_or_else(|| panic!("{line}: {own:?}"))
    };
    // Filament is pulled back while it is soft, the head goes up, and only then it cools.
    assert!(
        at("G1 E-5 F1800") < at("G1 Z25 F600") && at("G1 Z25 F600") < at("M104 T0 S0"),
        "{own:?}"
    );
    assert!(!own.iter().any(|t| t.starts_with("G1 X5 ")), "{own:?}");
    b.run(600, |_| false);
    let resume = resumed(&mut b);
    let at = |line: &str| {
        resume
            .iter()
            .position(|t| t == line)
            .unwrap_or_else(|| panic!("{line}: {resume:?}"))
    };
    assert!(at("M104 T0 S200") < at("G1 E5 F1800"), "{resume:?}");
    // And the next one as usual.
    let from = b.sim.executed().len();
    let pause = b.request(Command::Pause);
    assert!(b.run(600, |b| b.replies.contains_key(&pause)));
    let own = said(&b, from);
    assert!(
        own.iter().any(|t| t == "G1 E-2 F1800") && own.iter().any(|t| t == "G1 Z10 F600"),
        "{own:?}"
    );
    assert!(b.sim.is_heating());
    resumed(&mut b);
    assert!(b.run(3600, |b| b.saw_job(|j| matches!(j, JobEvent::Done { .. }))));
}

#[test]
fn a_printer_that_is_kept_warm_stays_hot_in_a_long_pause_and_not_for_ever() {
    let mut b = Bench::up(fast(), settings());
    b.start(&program());
    assert!(b.run(3600, |b| b.sim.executed_count() > 300));
    let minutes = |m: u64| Duration::from_secs(m * 60);
    let pause = b.request(Command::PauseAs(PauseWishes {
        keep_warm: Some(minutes(30)),
        ..PauseWishes::default()
    }));
    assert!(b.run(600, |b| b.replies.contains_key(&pause)));
    b.run(25 * 60, |_| false);
    assert!(b.sim.tool_c(0) > 190.0, "wished for half an hour");
    let longer = b.request(Command::KeepWarm(minutes(60)));
    assert!(b.run(10, |b| b.replies.contains_key(&longer)));
    b.run(50 * 60, |_| false);
    assert!(b.sim.tool_c(0) > 190.0, "and for an hour more");
    b.run(20 * 60, |_| false);
    assert!(b.sim.tool_c(0) < 150.0, "{} °C", b.sim.tool_c(0));
    let late = b.request(Command::KeepWarm(minutes(5)));
    assert!(b.run(10, |b| b.replies.contains_key(&late)));
    assert_eq!(
        b.replies.get(&late).map(Outcome::code).as_deref(),
        Some("refused/nozzle-off")
    );
    resumed(&mut b);
    assert!(b.run(3600, |b| b.saw_job(|j| matches!(j, JobEvent::Done { .. }))));
}

#[test]
fn heat_without_a_job_stays_while_it_is_wanted() {
    let mut b = Bench::up(fast(), settings());
    let set = b.send("M140 S60");
    assert!(b.run(60, |b| b.replies.contains_key(&set)));
    let warm = b.request(Command::KeepWarm(Duration::from_secs(3 * 3600)));
    assert!(b.run(60, |b| b.replies.contains_key(&warm)));
    b.run(2 * 3600, |_| false);
    assert!(b.sim.is_heating(), "a heat soak");
    b.run(2 * 3600, |_| false);
    assert!(!b.sim.is_heating());
}

#[test]
fn a_program_that_parks_the_head_pauses_there_and_asks() {
    let text = program().replacen(
        "G1 X60 Y12 E0.1 F6000\n",
        "M125 X30 Y40 Z5 L3\nG1 X60 Y12 E0.1 F6000\n",
        1,
    );
    let mut b = Bench::up(fast(), settings());
    b.start(&text);
    assert!(b.run(3600, |b| {
        b.saw(|e| {
            matches!(
                e,
                Event::Activity(Activity::Paused(crate::printer::model::PauseReason::Program))
            )
        })
    }));
    let own = said(&b, 0);
    for line in ["G1 E-3 F1800", "G1 Z5 F600", "G1 X30 Y40 F6000"] {
        assert!(own.iter().any(|t| t == line), "{line}: {own:?}");
    }
    assert!(!own.iter().any(|t| t.starts_with("M125")), "{own:?}");
    assert!(b.saw(|e| matches!(e, Event::Notice(n) if n.buttons == ["Resume"])));
    resumed(&mut b);
    assert!(b.run(3600, |b| b.saw_job(|j| matches!(j, JobEvent::Done { .. }))));
}
