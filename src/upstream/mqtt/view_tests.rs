use std::time::{Duration, Instant};

use super::*;
use crate::printer::capability::Capabilities;
use crate::printer::event::Event;
use crate::printer::model::{ActiveJob, Progress};
use crate::printer::reduce::reduce;

fn now() -> Now {
    Now {
        mono: Instant::now(),
        wall: Timestamp::from_second(1_795_000_000).expect("in range"),
    }
}

fn who() -> Who<'static> {
    Who {
        name: "ender3",
        driver: "marlin",
        camera: false,
        limits: Limits::default(),
    }
}

/// A printer in mid-print, of which everything usual is known.
pub(in crate::upstream::mqtt) fn printing(now: Now) -> State {
    let mut state = State::new(now);
    reduce(&mut state, now, Event::Up);
    state.capabilities = Capabilities::with(&[
        "print.pause",
        "print.cancel",
        "gcode.send",
        "time.left",
        "layer.progress",
    ]);
    for (heater, target_c) in [
        (Heater::Tool(0), Some(210.0)),
        (Heater::Bed, Some(60.0)),
        (Heater::Board, None),
    ] {
        reduce(
            &mut state,
            now,
            Event::Heat {
                heater,
                actual_c: 41.26,
                target_c,
            },
        );
    }
    state.activity = Activity::Printing;
    state.job = Some(ActiveJob {
        uid: Uuid::nil(),
        file: "cube.gcode".to_owned(),
        origin: Origin::Ours,
        progress: Progress {
            percent: Some(12.34),
            layer: Some(3),
            layers: Some(50),
            time_left_s: Some(3600),
            ..Progress::default()
        },
        started: Some(now.wall),
        skipped: vec![2],
        objects: Vec::new(),
        upload_percent: None,
        heated: None,
        held: false,
    });
    state
}

#[test]
fn what_is_not_known_is_null_and_levels_of_nothing_are_not_there() {
    let now = now();
    let view = View::of(who(), &State::new(now), None, now);
    for (group, value) in &view.levels {
        super::super::schema_tests::conforms(group.topic(), value);
    }
    assert!(!view.online);
    let groups: Vec<Group> = view.levels.keys().copied().collect();
    assert_eq!(groups, [Group::State, Group::Job, Group::Notices, Group::Info]);
    let job = view.levels[&Group::Job].as_object().expect("an object");
    assert!(job.len() > 8 && job.values().all(Value::is_null), "{job:?}");
    assert_eq!(view.levels[&Group::State]["state"], "offline");
    assert_eq!(view.levels[&Group::State]["can"], json!([]));
}

#[test]
fn a_print_is_told_with_what_can_be_done_and_when_it_ends() {
    let now = now();
    let later = Now {
        mono: now.mono + Duration::from_secs(5),
        wall: now.wall + SignedDuration::from_secs(5),
    };
    let view = View::of(who(), &printing(now), None, later);
    assert_eq!(view.levels[&Group::State]["can"], json!(["pause", "cancel"]));
    let job = &view.levels[&Group::Job];
    assert_eq!(
        (&job["percent"], &job["layer"], &job["skipped"]),
        (&json!(12.3), &json!(3), &json!([2]))
    );
    assert_eq!(job["finish"], "2026-11-18T12:06:00Z");
    let heat = &view.levels[&Group::Temperatures];
    assert_eq!(
        heat["tool0"],
        json!({"actual": 41.3, "target": 210.0, "at": "2026-11-18T11:06:40Z"})
    );
    assert_eq!(heat["board"]["target"], Value::Null);
    assert_eq!(
        view.facts.heaters,
        [("bed", true), ("board", false), ("tool0", true)]
            .map(|(n, t)| (n.to_owned(), t))
            .into()
    );
}

#[test]
fn texts_and_lists_of_others_are_bounded() {
    let now = now();
    let mut state = printing(now);
    state.message = Some("ä".repeat(100_000));
    for n in 0..500 {
        let mut fault = Notice::of_fault(
            &crate::printer::fault::Fault::new(
                crate::printer::fault::Severity::Warning,
                "a/b",
                "What.",
                "",
                "",
            ),
            Level::Warning,
            now.wall,
        );
        fault.text = "x".repeat(10_000);
        fault.key = n.to_string();
        state.notices.push(fault);
    }
    let view = View::of(who(), &state, None, now);
    assert_eq!(view.levels[&Group::Notices]["count"], 500);
    let most = view.levels.values().map(|v| v.to_string().len()).max();
    assert!(most < Some(16_000), "{most:?}");
}
