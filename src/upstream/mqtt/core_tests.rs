use std::collections::BTreeSet;

use jiff::Timestamp;
use proptest::prelude::*;

use super::super::schema_tests;
use super::super::view::{self, Who};
use super::*;
use crate::printer::guard::Limits;
use crate::printer::model::{Activity, Origin, State};

#[path = "core_held_tests.rs"]
mod held;

const P: PrinterKey = 1;
const COMMANDS: &str = "layerd/pi/p/command";

fn now() -> Now {
    Now {
        mono: Instant::now(),
        wall: Timestamp::from_second(1_795_000_000).expect("in range"),
    }
}

fn later(now: Now, s: u64) -> Now {
    Now {
        mono: now.mono + Duration::from_secs(s),
        wall: now.wall + Duration::from_secs(s),
    }
}

fn settings() -> Settings {
    Settings {
        topics: Topics::new("layerd", "pi"),
        discovery: Some("homeassistant".to_owned()),
        commands: true,
        full: Duration::from_secs(300),
        camera: None,
        host: "pi".to_owned(),
        version: "0.1.0",
        session: "s1".to_owned(),
    }
}

fn look(state: &State, now: Now) -> View {
    let who = Who {
        name: "p",
        driver: "marlin",
        camera: true,
        limits: Limits::default(),
    };
    View::of(who, state, None, now)
}

/// A core with one printing printer.
fn core(now: Now) -> Core {
    let mut core = Core::new(settings());
    core.join(now, P, "p", Doc::default(), Vec::new());
    core.observe(now, P, look(&view::tests::printing(now), now));
    core.observe_host(&json!({"cpu_percent": 12}));
    core
}

/// Everything that is published now, held against the schema.
fn said(core: &mut Core, now: Now) -> Vec<Publish> {
    let said: Vec<Publish> = std::iter::from_fn(|| core.publish(now.mono)).collect();
    for publish in said
        .iter()
        .filter(|p| p.topic.starts_with("layerd/") && !p.payload.is_empty())
    {
        let what = publish.topic.rsplit('/').next().expect("a part");
        if !["status", "availability", "camera"].contains(&what) {
            schema_tests::conforms(what, &serde_json::from_slice(&publish.payload).expect("JSON"));
        }
    }
    said
}

/// With a disk that takes everything at once.
fn done(core: &mut Core, now: Now) -> Vec<Output> {
    let mut all = Vec::new();
    while let Some(output) = core.poll(now) {
        if let Output::Keep(key, version, _) = &output {
            core.kept(*key, *version);
        }
        all.push(output);
    }
    all
}

/// With a disk that does not answer yet: what is carried out all the same, and the number of the last document.
fn stuck(core: &mut Core, now: Now) -> (Vec<String>, Option<u64>) {
    let (mut acts, mut last) = (Vec::new(), None);
    while let Some(output) = core.poll(now) {
        match output {
            Output::Act(_, asked) => acts.push(asked.id.clone()),
            Output::Keep(_, version, _) => last = Some(version),
            _ => {}
        }
    }
    (acts, last)
}

fn send(core: &mut Core, now: Now, id: &str, word: &str) {
    let mut body = json!({"id": id, "command": word});
    match word {
        "gcode" => body["lines"] = json!("G28"),
        "skip" => body["objects"] = json!([0]),
        "power" => body["on"] = json!(false),
        _ => {}
    }
    core.message(now, COMMANDS, body.to_string().as_bytes(), false, 0.5);
}

fn acts(core: &mut Core, now: Now) -> Vec<Asked> {
    let act = |output| match output {
        Output::Act(_, asked) => Some(*asked),
        _ => None,
    };
    done(core, now).into_iter().filter_map(act).collect()
}

fn json_of(said: &[Publish], topic: &str) -> Value {
    let found = said
        .iter()
        .find(|p| p.topic == topic)
        .unwrap_or_else(|| panic!("nothing on {topic}"));
    serde_json::from_slice(&found.payload).expect("JSON")
}

fn results(said: &[Publish]) -> Vec<Value> {
    let results = said.iter().filter(|p| p.topic.ends_with("/result"));
    results
        .map(|p| serde_json::from_slice(&p.payload).expect("JSON"))
        .collect()
}

#[test]
fn a_session_begins_with_everything_and_then_only_changes_are_told() {
    let begin = now();
    let mut core = core(begin);
    assert!(said(&mut core, begin).is_empty(), "nothing without a session");
    core.connected();
    let all = said(&mut core, begin);
    assert_eq!(
        (all[0].topic.as_str(), &all[0].payload[..]),
        ("layerd/pi/status", &b"online"[..])
    );
    assert!(all.iter().all(|p| p.retain));
    assert_eq!(json_of(&all, "layerd/pi/p/job")["percent"], 12.3);
    assert_eq!(json_of(&all, "layerd/pi/host")["session"], "s1");
    assert!(
        all.iter()
            .any(|p| p.topic == "homeassistant/button/layerd_pi_p/pause/config")
    );
    assert!(
        said(&mut core, later(begin, 100)).is_empty(),
        "nothing has changed"
    );
    let mut state = view::tests::printing(begin);
    state.activity = Activity::Paused(crate::printer::model::PauseReason::Runout);
    core.observe(later(begin, 100), P, look(&state, begin));
    let told = said(&mut core, later(begin, 100));
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(json_of(&told, "layerd/pi/p/state")["why"], "runout");
    assert!(told[0].payload.len() < 300, "small");
    let all = said(&mut core, later(begin, 500));
    assert!(
        all.len() >= 4,
        "everything once in a while, should the broker have lost it"
    );
}

#[test]
fn a_broker_that_has_lost_everything_is_told_everything_again() {
    let begin = now();
    let mut core = core(begin);
    core.connected();
    let first = said(&mut core, begin);
    core.lost();
    assert!(said(&mut core, later(begin, 1)).is_empty());
    core.connected();
    let mut topics: Vec<String> = said(&mut core, later(begin, 2))
        .into_iter()
        .map(|p| p.topic)
        .collect();
    let mut before: Vec<String> = first.into_iter().map(|p| p.topic).collect();
    topics.sort();
    before.sort();
    assert_eq!(topics, before);
}

#[test]
fn home_assistant_that_begins_is_told_everything_within_a_few_seconds() {
    let begin = now();
    let mut core = core(begin);
    core.connected();
    let all = said(&mut core, begin).len();
    done(&mut core, later(begin, 5));
    core.message(begin, "homeassistant/status", b"online", true, 0.5);
    core.message(begin, "homeassistant/status", b"offline", false, 0.5);
    assert!(
        said(&mut core, later(begin, 6)).is_empty(),
        "old news and a goodbye are nothing"
    );
    core.message(later(begin, 6), "homeassistant/status", b"online", false, 0.5);
    assert!(
        said(&mut core, later(begin, 8)).is_empty(),
        "not all hosts at once"
    );
    assert_eq!(
        core.deadline(later(begin, 8).mono),
        Some(later(begin, 6).mono + Duration::from_millis(2500))
    );
    assert_eq!(said(&mut core, later(begin, 9)).len(), all - 1);
}

#[test]
fn a_command_is_carried_out_once_and_answered_each_time() {
    let begin = now();
    let mut core = core(begin);
    core.connected();
    said(&mut core, begin);
    let pause = br#"{"id": "a", "command": "pause"}"#;
    core.message(begin, COMMANDS, pause, false, 0.5);
    core.message(begin, COMMANDS, pause, false, 0.5);
    let asked = acts(&mut core, begin);
    assert_eq!(asked.len(), 1);
    core.answered(begin, P, &asked[0], &Outcome::Verified, None);
    let told = said(&mut core, begin);
    assert_eq!(results(&told)[0]["outcome"], "verified");
    core.arrived(told[0].token.expect("acknowledged"));
    core.message(later(begin, 5), COMMANDS, pause, false, 0.5);
    assert!(acts(&mut core, begin).is_empty());
    assert_eq!(
        results(&said(&mut core, begin)),
        [results(&told)[0].clone()],
        "the same answer again"
    );
}

#[test]
fn what_was_taken_up_before_a_restart_is_not_taken_up_again() {
    let begin = now();
    let mut core = core(begin);
    core.message(
        begin,
        COMMANDS,
        br#"{"id": "a", "command": "gcode", "lines": "G91\nG1 X10"}"#,
        false,
        0.5,
    );
    let outputs = done(&mut core, begin);
    let kept = outputs.iter().rev().find_map(|o| match o {
        Output::Keep(P, _, text) => Some(serde_json::from_str::<Doc>(text).expect("readable")),
        _ => None,
    });
    let mut next = Core::new(settings());
    next.join(begin, P, "p", kept.expect("kept"), Vec::new());
    next.message(
        begin,
        COMMANDS,
        br#"{"id": "a", "command": "gcode", "lines": "G91\nG1 X10"}"#,
        false,
        0.5,
    );
    assert!(acts(&mut next, begin).is_empty());
    next.connected();
    let told = results(&said(&mut next, begin));
    assert_eq!(told.len(), 1, "nobody knows how it ended, and that is said once");
    assert_eq!(
        (&told[0]["id"], &told[0]["code"]),
        (&json!("a"), &json!("unverified/restart"))
    );
}

#[test]
fn kept_foreign_broken_and_old_messages_do_nothing() {
    let begin = now();
    let mut core = core(begin);
    core.connected();
    said(&mut core, begin);
    let week_ago = begin.wall.as_second() - 7 * 86_400;
    core.message(
        begin,
        COMMANDS,
        br#"{"id": "a", "command": "start", "file": "cube.gcode"}"#,
        true,
        0.5,
    );
    core.message(begin, COMMANDS, b"", false, 0.5);
    core.message(begin, COMMANDS, b"\xff\xfe PRESS", false, 0.5);
    core.message(
        begin,
        "layerd/pi/q/command",
        br#"{"id": "a", "command": "pause"}"#,
        false,
        0.5,
    );
    core.message(begin, "zigbee2mqtt/lamp", b"on", false, 0.5);
    core.too_large(Some(COMMANDS), 10_000_000);
    assert!(acts(&mut core, begin).is_empty());
    assert!(
        said(&mut core, begin).is_empty(),
        "nobody is answered who gave no id"
    );
    let old = json!({"id": "b", "command": "resume", "at": week_ago}).to_string();
    core.message(begin, COMMANDS, old.as_bytes(), false, 0.5);
    let early = json!({"id": "c", "command": "resume", "at": begin.wall.as_second() + 3600}).to_string();
    core.message(begin, COMMANDS, early.as_bytes(), false, 0.5);
    assert!(acts(&mut core, begin).is_empty());
    let codes: Vec<Value> = results(&said(&mut core, begin))
        .iter()
        .map(|r| r["code"].clone())
        .collect();
    assert_eq!(codes, ["refused/stale", "refused/clock"]);
}

#[test]
fn who_may_only_listen_is_told_so() {
    let begin = now();
    let mut core = Core::new(Settings {
        commands: false,
        ..settings()
    });
    core.join(begin, P, "p", Doc::default(), Vec::new());
    core.connected();
    core.message(begin, COMMANDS, br#"{"id": "a", "command": "pause"}"#, false, 0.5);
    assert!(acts(&mut core, begin).is_empty());
    assert_eq!(results(&said(&mut core, begin))[0]["code"], "refused/read-only");
}

#[test]
fn a_printer_that_leaves_is_forgotten_also_by_a_broker_that_was_away() {
    let begin = now();
    let mut core = core(begin);
    core.connected();
    let told = said(&mut core, begin);
    let mine: BTreeSet<String> = told
        .iter()
        .map(|p| p.topic.clone())
        .filter(|t| t.contains("/p/") || t.contains("_p/"))
        .collect();
    let kept = done(&mut core, begin).into_iter().find_map(|o| match o {
        Output::Retained(name, Some(text)) if name == "p" => {
            Some(serde_json::from_str::<Vec<String>>(&text).expect("a list"))
        }
        _ => None,
    });
    assert_eq!(mine, kept.clone().expect("kept").into_iter().collect());
    // The daemon is restarted without it.
    let mut next = Core::new(settings());
    next.left_over("p", kept.expect("kept"), false);
    next.connected();
    let mut cleared = BTreeSet::new();
    let mut round = 0;
    loop {
        let batch: Vec<Publish> = said(&mut next, begin)
            .into_iter()
            .filter(|p| p.payload.is_empty())
            .collect();
        if batch.is_empty() {
            break;
        }
        round += 1;
        if round == 2 {
            // The link breaks: what was not acknowledged is cleared again.
            next.lost();
            next.connected();
            continue;
        }
        for publish in batch {
            assert!(publish.retain);
            cleared.insert(publish.topic);
            next.arrived(publish.token.expect("acknowledged"));
        }
    }
    assert_eq!(cleared, mine);
    assert!(
        done(&mut next, begin).contains(&Output::Retained("p".to_owned(), None)),
        "and then it is over"
    );
}

#[test]
fn an_entity_that_a_printer_has_lost_is_taken_back_and_one_of_a_printer_that_is_away_is_not() {
    const CAMERA: &str = "homeassistant/camera/layerd_pi_p/camera/config";
    let begin = now();
    let mut core = core(begin);
    core.connected();
    assert!(said(&mut core, begin).iter().any(|p| p.topic == CAMERA));
    let mut view = look(&view::tests::printing(begin), begin);
    view.facts.camera = false;
    let cleared = |core: &mut Core, s| -> Vec<Publish> {
        let now = later(begin, s);
        let all = said(core, now).into_iter();
        all.filter(|p| p.payload.is_empty() && p.topic == CAMERA)
            .collect()
    };
    let away = View {
        settled: false,
        ..view.clone()
    };
    for (s, view) in [(1, &view), (100, &away), (130, &view), (249, &view)] {
        core.observe(later(begin, s), P, view.clone());
        assert!(cleared(&mut core, s).is_empty(), "not seen for long enough: {s}");
    }
    core.observe(later(begin, 250), P, view.clone());
    let gone = cleared(&mut core, 250);
    assert_eq!(gone.len(), 1);
    core.arrived(gone[0].token.expect("acknowledged"));
    let kept = |core: &mut Core, now| {
        done(core, now).into_iter().rev().find_map(|o| match o {
            Output::Retained(name, Some(text)) if name == "p" => Some(text.contains(CAMERA)),
            _ => None,
        })
    };
    assert_eq!(
        kept(&mut core, later(begin, 250)),
        Some(false),
        "nobody keeps it any more"
    );
    // It comes back, and goes again; what is there again before it was cleared stays.
    core.observe(later(begin, 260), P, look(&view::tests::printing(begin), begin));
    assert!(
        said(&mut core, later(begin, 260))
            .iter()
            .any(|p| p.topic == CAMERA && !p.payload.is_empty())
    );
    core.lost();
    core.observe(later(begin, 270), P, view.clone());
    core.observe(later(begin, 400), P, view);
    core.observe(later(begin, 401), P, look(&view::tests::printing(begin), begin));
    core.connected();
    let all = said(&mut core, later(begin, 402));
    assert!(all.iter().any(|p| p.topic == CAMERA) && all.iter().all(|p| !p.payload.is_empty()));
}

#[test]
fn an_entity_of_an_earlier_run_that_is_no_more_is_taken_back() {
    const OLD: &str = "homeassistant/camera/layerd_pi_p/second/config";
    let begin = now();
    let mut core = core(begin);
    core.left_over("p", vec![OLD.to_owned(), "layerd/pi/p/job".to_owned()], true);
    core.connected();
    let view = look(&view::tests::printing(begin), begin);
    core.observe(begin, P, view.clone());
    assert!(said(&mut core, begin).iter().all(|p| p.topic != OLD));
    core.observe(later(begin, 130), P, view);
    let cleared: Vec<Publish> = said(&mut core, later(begin, 130))
        .into_iter()
        .filter(|p| p.payload.is_empty())
        .collect();
    assert_eq!((cleared.len(), cleared[0].topic.as_str()), (1, OLD));
}

#[test]
fn another_host_of_our_name_is_told_once_and_when_it_is_gone() {
    let begin = now();
    let mut core = core(begin);
    let troubles = |core: &mut Core, now| -> Vec<bool> {
        let all = done(core, now).into_iter();
        all.filter_map(|o| match o {
            Output::Trouble(words) => Some(words.is_some()),
            _ => None,
        })
        .collect()
    };
    let host = |session: &str| json!({"version": "1", "session": session}).to_string();
    // Kept by the broker since our last run, and then our own words.
    core.message(begin, "layerd/pi/host", host("s0").as_bytes(), true, 0.5);
    core.connected();
    said(&mut core, begin);
    core.message(begin, "layerd/pi/host", host("s1").as_bytes(), false, 0.5);
    core.message(begin, "layerd/pi/host", b"nonsense", false, 0.5);
    assert!(troubles(&mut core, begin).is_empty());
    for s in [60, 120] {
        core.message(
            later(begin, s),
            "layerd/pi/host",
            host("s2").as_bytes(),
            false,
            0.5,
        );
    }
    assert_eq!(troubles(&mut core, later(begin, 120)), [true]);
    assert!(troubles(&mut core, later(begin, 719)).is_empty());
    assert_eq!(troubles(&mut core, later(begin, 720)), [false]);
}

#[test]
fn topics_under_an_old_name_of_the_host_are_cleared_and_the_new_ones_stay() {
    let begin = now();
    let mut core = core(begin);
    let old = [
        "layerd/oldname/p/state",
        "homeassistant/sensor/layerd_oldname_p/state/config",
        "layerd/pi/p/job",
    ];
    core.left_over("p", old.map(str::to_owned).to_vec(), true);
    core.connected();
    let cleared: Vec<String> = said(&mut core, begin)
        .into_iter()
        .filter(|p| p.payload.is_empty())
        .map(|p| p.topic)
        .collect();
    assert_eq!(
        cleared,
        [
            "homeassistant/sensor/layerd_oldname_p/state/config",
            "layerd/oldname/p/state"
        ]
    );
}

#[test]
fn what_happened_in_an_outage_is_told_once_after_it() {
    let begin = now();
    let mut core = core(begin);
    let mut record = JobRecord::new(Uuid::nil(), "p", "cube.gcode", Origin::Ours, begin.wall);
    record.id = 1;
    for what in ["started", "done"] {
        record.timeline.push(crate::job::record::TimelineEntry {
            at: begin.wall,
            what: what.to_owned(),
        });
    }
    core.records(P, std::slice::from_ref(&record));
    core.records(P, &[record]);
    let put = done(&mut core, begin)
        .into_iter()
        .filter(|o| matches!(o, Output::Put(..)))
        .count();
    assert_eq!(put, 2, "kept on the disk");
    core.connected();
    let told = said(&mut core, begin);
    let events: Vec<&Publish> = told.iter().filter(|p| p.topic == "layerd/pi/p/event").collect();
    assert_eq!(events.len(), 2);
    core.arrived(events[0].token.expect("a token"));
    core.lost();
    core.connected();
    let again: Vec<Publish> = said(&mut core, begin)
        .into_iter()
        .filter(|p| p.topic == "layerd/pi/p/event")
        .collect();
    assert_eq!(again.len(), 1, "only what was not acknowledged");
    core.arrived(again[0].token.expect("a token"));
    assert!(
        done(&mut core, begin)
            .iter()
            .filter(|o| matches!(o, Output::Delivered(..)))
            .count()
            == 2
    );
}

#[test]
fn a_notice_is_told_when_it_opens_and_when_it_closes_also_over_a_restart() {
    use crate::printer::fault::{Fault, Severity};
    use crate::printer::notice::{Level, Notice};
    let begin = now();
    let mut core = core(begin);
    let mut state = view::tests::printing(begin);
    state.notices.push(Notice::of_fault(
        &Fault::new(Severity::Warning, "a/b", "What.", "", ""),
        Level::Warning,
        begin.wall,
    ));
    core.observe(begin, P, look(&state, begin));
    core.observe(begin, P, look(&state, begin));
    let outputs = done(&mut core, begin);
    let opened = outputs
        .iter()
        .filter(|o| matches!(o, Output::Put(_, e) if e.kind == Kind::Notice))
        .count();
    assert_eq!(opened, 1);
    let doc = outputs.iter().rev().find_map(|o| match o {
        Output::Keep(_, _, text) => serde_json::from_str(text).ok(),
        _ => None,
    });
    let mut next = Core::new(settings());
    next.join(begin, P, "p", doc.expect("kept"), Vec::new());
    next.observe(begin, P, look(&state, begin));
    state.notices.clear();
    next.observe(begin, P, look(&state, begin));
    let words: Vec<Value> = done(&mut next, begin)
        .into_iter()
        .filter_map(|o| match o {
            Output::Put(_, entry) => Some(entry.body["event"].clone()),
            _ => None,
        })
        .collect();
    assert_eq!(words, ["notice.closed"]);
}

#[test]
fn pictures_are_taken_while_it_prints_and_only_with_a_session() {
    let begin = now();
    let mut core = Core::new(Settings {
        camera: Some(Duration::from_secs(10)),
        ..settings()
    });
    core.join(begin, P, "p", Doc::default(), Vec::new());
    core.observe(begin, P, look(&view::tests::printing(begin), begin));
    let asks = |core: &mut Core, now| done(core, now).contains(&Output::Picture(P));
    assert!(!asks(&mut core, begin));
    core.connected();
    assert!(asks(&mut core, begin));
    core.picture(P, vec![1; 100]);
    let told = said(&mut core, begin);
    assert!(
        told.iter()
            .any(|p| p.topic == "layerd/pi/p/camera" && !p.retain && p.payload.len() == 100)
    );
    assert!(!asks(&mut core, later(begin, 9)) && asks(&mut core, later(begin, 10)));
}

proptest! {
    /// Whatever comes on whatever topic: nothing is carried out twice, nothing that was kept is carried out at all, and
    /// what is given out for one id is one.
    #[test]
    fn nothing_is_carried_out_twice(messages in proptest::collection::vec((0_u8..6, proptest::sample::select(vec!["pause", "resume", "cancel", "emergency_stop", "nonsense"]), any::<bool>(), -200_i64..200), 0..80)) {
        let begin = now();
        let mut core = core(begin);
        let mut carried = BTreeSet::new();
        for (id, word, retain, age) in messages {
            let body = json!({"id": id, "command": word, "at": begin.wall.as_second() - age}).to_string();
            core.message(begin, COMMANDS, body.as_bytes(), retain, 0.5);
            for asked in acts(&mut core, begin) {
                prop_assert!(!retain);
                prop_assert!(carried.insert(asked.id.clone()), "twice: {}", asked.id);
                prop_assert!(age.abs() <= 60 || asked.what.stops());
            }
        }
    }

    #[test]
    fn bytes_on_the_topic_do_no_harm(topic in "[a-z/+#]{0,40}", payload in proptest::collection::vec(any::<u8>(), 0..200)) {
        let begin = now();
        let mut core = core(begin);
        core.message(begin, &topic, &payload, false, 0.5);
        core.message(begin, COMMANDS, &payload, false, 0.5);
        prop_assert!(acts(&mut core, begin).is_empty());
    }
}
