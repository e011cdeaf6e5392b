//! The stories: what a person does with a printer, and what happens to it.

use std::time::{Duration, Instant};

use layerd::printer::command::Command;
use layerd::printer::model::{LinkState, StateWord};
use layerd::printer::outcome::Outcome;
use layerd::printer::reduce::{OFFLINE_GRACE, settle};

use crate::bench::{Bench, PATIENCE, Seen, cancel, gcode, lines, now};
use crate::stand::{GONE, Ground, KEPT, Stand};

/// Words that may stand between those that are owed.
const ON_THE_WAY: &[StateWord] = &[
    StateWord::Offline,
    StateWord::NotReady,
    StateWord::Downloading,
    StateWord::Pausing,
    StateWord::Resuming,
    StateWord::Cancelling,
];

/// How long silence may last until it is one: the most patient driver waits a minute and a half, one with a heater
/// in hand until it must be warm.
const SILENCE: Duration = Duration::from_secs(300);

pub async fn prints_pauses_resumes_and_cancels(ground: Ground) {
    let bench = Bench::new(ground).await;
    assert_eq!(bench.ask(Command::Ping).await, Outcome::Sent);
    for command in [
        Command::Pause,
        Command::Resume,
        Command::SkipObjects { ids: vec![1] },
    ] {
        bench.refused(command).await;
    }

    bench.printing().await;
    bench.refused(Command::Start(bench.job())).await;
    bench.refused(Command::Resume).await;
    let outcome = bench.ask(Command::SkipObjects { ids: vec![99] }).await;
    assert!(!outcome.is_ok(), "there is no such object: {outcome:?}");
    bench.warm().await;

    assert_eq!(bench.ask(Command::Pause).await, Outcome::Verified);
    bench.word(StateWord::Paused).await;
    bench.refused(Command::Pause).await;
    bench.refused(Command::Start(bench.job())).await;
    assert_eq!(bench.ask(Command::Ping).await, Outcome::Sent);

    assert_eq!(bench.ask(Command::Resume).await, Outcome::Verified);
    bench.word(StateWord::Printing).await;

    assert_eq!(bench.ask(cancel()).await, Outcome::Verified);
    bench.over("behind a cancel").await;
    bench.refused(cancel()).await;

    let seen = bench.seen.borrow().clone();
    let mut words: Vec<StateWord> = seen.words;
    words.retain(|word| !ON_THE_WAY.contains(word));
    words.dedup();
    let owed = [
        StateWord::Operational,
        StateWord::Printing,
        StateWord::Paused,
        StateWord::Printing,
        StateWord::Operational,
    ];
    assert_eq!(words, owed);
    assert_eq!(seen.edges, ["Started", "Paused", "Resumed", "Cancelled"]);
    bench.end().await;
}

pub async fn a_print_is_executed_to_its_end(ground: Ground) {
    let bench = Bench::new(ground).await;
    let start = match bench.stand {
        Stand::Bambu(..) => {
            let (name, content, objects) = bench.stand.plate(60);
            bench.start_of(name, &content, objects)
        }
        _ => bench.program(12),
    };
    let outcome = bench.ask(Command::Start(start)).await;
    assert_eq!(outcome, Outcome::Verified);
    bench
        .until("done", |s| s.edges.last().is_some_and(|e| e == "Done"))
        .await;
    bench.word(StateWord::Operational).await;
    assert_eq!(bench.edges(), ["Started", "Done"]);
    assert!(!bench.stand.is_printing());
    let wanted = lines(12);
    if let Some(executed) = bench.stand.executed(&wanted) {
        assert_eq!(executed, wanted, "every line once and in order");
    }
    assert_eq!(bench.stand.starts().unwrap_or(1), 1);
    bench.refused(cancel()).await;
    bench.refused(Command::Pause).await;
    bench.end().await;
}

pub async fn gcode_goes_through_or_is_refused(ground: Ground) {
    let bench = Bench::new(ground).await;
    for (line, wanted) in [
        ("M104 S60", (60.0, 0.0)),
        ("M140 S40", (60.0, 40.0)),
        ("M104 S0", (0.0, 40.0)),
        ("M140 S0", (0.0, 0.0)),
    ] {
        let outcome = bench.ask(gcode(line, false)).await;
        assert!(outcome.is_ok(), "{line}: {outcome:?}");
        bench.truly(line, |s| s.targets_c() == wanted).await;
    }
    bench.refused(gcode(&"G4 ".repeat(200), false)).await;

    bench.printing().await;
    bench.warm().await;
    let (_, before_c) = bench.stand.targets_c();
    bench.refused(gcode("M140 S41", false)).await;
    bench.refused(gcode("G28", true)).await;
    assert_eq!(bench.stand.targets_c().1, before_c, "what is refused is not sent");
    let outcome = bench.ask(gcode("M140 S45", true)).await;
    assert!(outcome.is_ok(), "{outcome:?}");
    bench.truly("tuned", |s| s.targets_c().1 == 45.0).await;
    assert_eq!(bench.seen.borrow().state.word(), StateWord::Printing);
    assert_eq!(bench.ask(cancel()).await, Outcome::Verified);
    bench.over("that was tuned").await;
    bench.end().await;
}

pub async fn an_object_is_left_out(ground: Ground) {
    let bench = Bench::new(ground).await;
    let (name, content, objects) = bench.stand.plate(90_000);
    let gone = objects[0].id;
    let start = bench.start_of(name, &content, objects);
    assert_eq!(bench.ask(Command::Start(start)).await, Outcome::Verified);
    bench.word(StateWord::Printing).await;
    bench.warm().await;
    let laid = |s: &Stand, line: &str| s.executed(&[line.to_owned()]).map_or(usize::MAX, |l| l.len());
    bench.truly("both begun", |s| laid(s, KEPT) > 20).await;
    let outcome = bench.ask(Command::SkipObjects { ids: vec![gone] }).await;
    assert_eq!(outcome, Outcome::Verified);
    bench.until("told", |s| s.skipped == [gone]).await;
    match bench.stand.left_out() {
        Some(told) => assert_eq!(
            told,
            serde_json::json!([true]),
            "the printer knows of this one alone"
        ),
        None => {
            let (before, kept) = (laid(&bench.stand, GONE), laid(&bench.stand, KEPT));
            bench.truly("the rest", |s| laid(s, KEPT) > kept + 50).await;
            assert_eq!(
                laid(&bench.stand, GONE),
                before,
                "nothing more of it is laid down"
            );
        }
    }
    assert_eq!(bench.ask(cancel()).await, Outcome::Verified);
    bench.over("with an object left out").await;
    bench.end().await;
}

pub async fn a_print_begun_at_the_printer_is_seen_and_can_be_ended(ground: Ground) {
    let bench = Bench::new(ground).await;
    bench.stand.begin_by_hand();
    bench.word(StateWord::Printing).await;
    assert_eq!(bench.edges(), ["OutsideStarted"]);
    bench.refused(Command::Start(bench.job())).await;
    assert!(bench.stand.is_printing(), "looking at it changes nothing");
    let outcome = bench.ask(cancel()).await;
    assert!(outcome.is_ok(), "{outcome:?}");
    bench
        .until("over", |s| s.edges.last().is_some_and(|e| e == "OutsideEnded"))
        .await;
    bench.truly("an end", |s| !s.is_printing()).await;
    bench.over("that somebody else began").await;
    assert_eq!(bench.edges(), ["OutsideStarted", "OutsideEnded"]);
    bench.end().await;
}

pub async fn a_lost_connection_is_told_and_readings_age(ground: Ground) {
    let bench = Bench::new(ground).await;
    let age = |seen: &Seen| seen.state.heaters.values().map(|h| h.age(Instant::now())).min();
    bench.until("read", |s| age(s).is_some()).await;
    bench.stand.pull();
    bench
        .until("down", |s| {
            matches!(s.state.link, LinkState::Down { why: Some(_) })
        })
        .await;
    bench.refused(Command::Pause).await;
    assert_eq!(
        bench.ask(Command::Ping).await,
        Outcome::Sent,
        "answered without a connection"
    );
    let seen = bench.seen.borrow().clone();
    let (before, later) = (age(&seen), Instant::now() + Duration::from_millis(1500));
    let mut watch = bench.seen.clone();
    // Attempts go on meanwhile; none of them may make a reading young.
    while tokio::time::timeout_at(later.into(), watch.changed())
        .await
        .is_ok()
    {}
    let seen = bench.seen.borrow().clone();
    assert!(
        age(&seen) >= before.map(|b| b + Duration::from_millis(1400)),
        "nobody reads"
    );
    assert!(!seen.state.is_up());

    // A serial cable is the printer; a host on the network may be printing.
    let (mut state, is_printer) = (seen.state, bench.build.link_is_printer());
    let mut then = now();
    then.mono += OFFLINE_GRACE;
    state.wired = is_printer;
    settle(&mut state, then);
    let word = if is_printer {
        StateWord::Offline
    } else {
        StateWord::Operational
    };
    assert_eq!(state.word(), word);

    let cut = Instant::now();
    bench.stand.mend();
    bench
        .until("back with fresh readings", |s| {
            s.state.is_up() && s.state.heaters.values().any(|h| h.at > cut)
        })
        .await;
    bench.word(StateWord::Operational).await;
    assert!(bench.edges().is_empty(), "nothing was started by that");
    bench.end().await;
}

pub async fn silence_is_told_and_nothing_is_doubled_behind_it(ground: Ground) {
    let bench = Bench::new(ground).await;
    bench.printing().await;
    bench.warm().await;
    bench.stand.mute();
    bench
        .within(SILENCE, "told", |s| {
            !s.state.is_up() || s.edges.last().is_some_and(|e| e == "Failed")
        })
        .await;
    let is_printer = bench.build.link_is_printer();
    assert_eq!(
        bench.edges().last().is_some_and(|e| e == "Failed"),
        is_printer,
        "whoever has no other view of its print has lost it; a printer that prints by itself goes on"
    );
    bench.stand.unmute();
    if is_printer {
        bench
            .within(SILENCE, "back", |s| {
                s.state.is_up() && s.state.word() == StateWord::Operational
            })
            .await;
        bench.truly("cold", |s| s.targets_c() == (0.0, 0.0)).await;
    } else {
        bench
            .within(SILENCE, "back", |s| {
                s.state.is_up() && s.state.word() == StateWord::Printing
            })
            .await;
        assert_eq!(bench.edges(), ["Started"], "the same print");
        assert_eq!(bench.ask(cancel()).await, Outcome::Verified);
        bench.over("behind a silence").await;
    }
    assert_eq!(bench.stand.starts().unwrap_or(1), 1);
    bench.end().await;
}

pub async fn an_emergency_stop_ends_the_print(ground: Ground) {
    let bench = Bench::new(ground).await;
    bench.printing().await;
    let outcome = bench.ask(Command::EmergencyStop).await;
    assert!(outcome.is_ok(), "{outcome:?}");
    bench
        .until("over", |s| {
            s.edges.last().is_some_and(|e| e == "Failed" || e == "Cancelled")
        })
        .await;
    bench
        .until("no print", |s| {
            matches!(
                s.state.word(),
                StateWord::Error | StateWord::Operational | StateWord::NotReady
            )
        })
        .await;
    bench.truly("cold", |s| s.targets_c() == (0.0, 0.0)).await;
    assert!(!bench.stand.is_printing());
    assert_eq!(bench.edges().len(), 2, "it ended once");
    bench.end().await;
}

pub async fn a_printer_that_restarts_has_lost_its_print_once(ground: Ground) {
    let bench = Bench::new(ground).await;
    bench.printing().await;
    bench.warm().await;
    bench.stand.restart();
    bench
        .until("told", |s| s.edges.last().is_some_and(|e| e != "Started"))
        .await;
    bench.ready().await;
    assert_eq!(bench.edges(), ["Started", "Failed"]);
    bench.over("behind a restart").await;
    assert_eq!(bench.stand.starts().unwrap_or(1), 1, "nothing starts by itself");
    // And the next print is one, as soon as it has started up.
    let end = Instant::now() + PATIENCE;
    let mut outcome = bench.ask(Command::Start(bench.job())).await;
    while outcome.word() == "refused" && Instant::now() < end {
        bench.ready().await;
        outcome = bench.ask(Command::Start(bench.job())).await;
    }
    assert_eq!(outcome, Outcome::Verified);
    bench.word(StateWord::Printing).await;
    assert_eq!(bench.ask(cancel()).await, Outcome::Verified);
    bench.end().await;
}

pub async fn whoever_is_not_let_in_is_told_so_and_drives_nothing(ground: Ground) {
    let stand = ground.stand(false).await;
    let bench = Bench::with(ground, stand, None).await;
    bench
        .until(
            "told",
            |s| matches!(&s.state.link, LinkState::Down { why: Some(why) } if !why.what.is_empty()),
        )
        .await;
    assert_eq!(bench.ask(Command::Ping).await, Outcome::Sent);
    bench.refused(Command::Start(bench.job())).await;
    bench.refused(gcode("M104 S60", false)).await;
    assert_eq!(bench.stand.targets_c(), (0.0, 0.0));
    assert!(!bench.stand.is_printing());
    assert!(bench.edges().is_empty());
    bench.end().await;
}

/// Killed in the middle of a print: what prints by itself goes on under its number, what hung on us has ended and is
/// cold; neither is begun anew.
pub async fn after_a_crash_the_driver_answers_for_its_print(ground: Ground) {
    let bench = Bench::new(ground).await;
    let job = bench.printing().await;
    bench.warm().await;
    let bench = bench.crash(job).await;
    bench.until("told", |s| !s.edges.is_empty()).await;
    if bench.build.link_is_printer() {
        assert_eq!(bench.edges(), ["Interrupted"]);
        bench.ready().await;
        bench.truly("cold", |s| s.targets_c() == (0.0, 0.0)).await;
    } else {
        assert_eq!(bench.edges(), ["Adopted"]);
        bench.word(StateWord::Printing).await;
        assert_eq!(bench.ask(cancel()).await, Outcome::Verified);
        bench.over("behind a crash").await;
        assert_eq!(bench.edges(), ["Adopted", "Cancelled"]);
    }
    assert_eq!(bench.stand.starts().unwrap_or(1), 1);
    bench.end().await;
}
