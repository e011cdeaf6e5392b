use proptest::prelude::*;

use super::*;

use crate::json::json;

fn take(value: Value) -> Result<Asked, String> {
    read(value.to_string().as_bytes()).map_err(|bad| bad.refusal.message)
}

fn what(value: Value) -> Wanted {
    super::super::schema_tests::conforms("command", &value);
    take(value).expect("understood").what
}

fn refused(value: Value) -> String {
    take(value).expect_err("refused")
}

#[test]
fn the_commands_of_the_readme_are_understood() {
    assert_eq!(
        what(json!({"id": "1", "command": "pause"})),
        Wanted::Command(Command::Pause)
    );
    assert_eq!(
        what(json!({"id": 2, "command": "cancel", "reason": 3, "comment": "warped"})),
        Wanted::Command(Command::Cancel(CancelReason {
            reason: Some(3),
            comment: Some("warped".to_owned())
        }))
    );
    assert_eq!(
        what(json!({"id": "1", "command": "temperature", "heaters": {"tool1": 210.4, "bed": 0}})),
        Wanted::Command(Command::SendGcode {
            lines: vec!["M104 T1 S210".to_owned(), "M140 S0".to_owned()],
            tune: true
        })
    );
    assert_eq!(
        what(json!({"id": "1", "command": "skip", "objects": [2, "cube"]})),
        Wanted::Skip(vec!["2".to_owned(), "cube".to_owned()])
    );
    let Wanted::Print(wish) = what(
        json!({"id": "1", "command": "start", "url": "https://files.example/a/cube.gcode?sig=x", "size": 10}),
    ) else {
        panic!("a print");
    };
    assert!(matches!(&wish.source, Source::Url { name, size: Some(10), .. } if name == "cube.gcode"));
    assert!(
        !format!("{wish:?}").contains("sig=x"),
        "a signed address is not shown"
    );
    let asked = take(json!({"id": "1", "command": "resume", "at": 1795000000.5, "session": "s"}))
        .expect("understood");
    assert_eq!(asked.at.map(|at| at.as_millisecond()), Some(1_795_000_000_500));
}

#[test]
fn gcode_is_cut_into_the_lines_that_are_judged() {
    let Wanted::Command(Command::SendGcode { lines, tune }) = what(
        json!({"id": "1", "command": "gcode", "lines": ["G28 ; home\nM112", "; nothing", "@pause", " M105 "]}),
    ) else {
        panic!("G-code");
    };
    assert_eq!(
        (lines, tune),
        (["G28", "M112", "M105"].map(str::to_owned).to_vec(), false)
    );
}

#[test]
fn mistakes_are_told_and_never_half_obeyed() {
    for (value, words) in [
        (
            json!({"id": "1", "command": "pause", "retain": true}),
            "has no member \"retain\"",
        ),
        (json!({"id": "1", "command": "explode"}), "no command \"explode\""),
        (json!({"id": "1"}), "`command` must"),
        (json!({"command": "pause"}), "`id` must"),
        (json!({"id": "", "command": "pause"}), "`id` must"),
        (json!({"id": "x".repeat(101), "command": "pause"}), "`id` must"),
        (json!({"id": "1", "command": "start"}), "exactly one source"),
        (
            json!({"id": "1", "command": "start", "file": "a", "url": "http://b/"}),
            "exactly one source",
        ),
        (
            json!({"id": "1", "command": "start", "file": "a", "sha256": "b"}),
            "64 hex digits",
        ),
        (
            json!({"id": "1", "command": "temperature", "heaters": {"tool0": 9000}}),
            "°C",
        ),
        (
            json!({"id": "1", "command": "temperature", "heaters": {"toolx": 90}}),
            "°C",
        ),
        (json!({"id": "1", "command": "temperature", "heaters": {}}), "°C"),
        (json!({"id": "1", "command": "answer"}), "`button` must"),
        (
            json!({"id": "1", "command": "skip", "objects": []}),
            "at least one",
        ),
        (
            json!({"id": "1", "command": "cancel", "reason": 9}),
            "from 1 to 8",
        ),
        (
            json!({"id": "1", "command": "pause", "at": "yesterday"}),
            "`at` must",
        ),
        (json!({"id": "1", "command": "pause", "job": "x"}), "`job` must"),
        (json!(["pause"]), "JSON object"),
    ] {
        let said = refused(value.clone());
        assert!(said.contains(words), "{value}: {said}");
    }
    let bad = read(br#"{"id": "7", "command": "explode"}"#).expect_err("refused");
    assert_eq!(bad.id.as_deref(), Some("7"), "whoever gave an id is answered");
    assert_eq!(read(b"PRESS").expect_err("refused").id, None);
}

#[test]
fn what_only_stops_is_told_from_what_heats_or_moves() {
    for (value, stops) in [
        (json!({"id": "1", "command": "emergency_stop"}), true),
        (json!({"id": "1", "command": "cancel"}), true),
        (json!({"id": "1", "command": "power", "on": false}), true),
        (json!({"id": "1", "command": "power", "on": true}), false),
        (json!({"id": "1", "command": "resume"}), false),
        (json!({"id": "1", "command": "gcode", "lines": "M104 S0"}), false),
    ] {
        assert_eq!(what(value.clone()).stops(), stops, "{value}");
    }
}

proptest! {
    #[test]
    fn noise_is_refused_and_nothing_breaks(payload in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(&payload);
    }

    /// Members of any kind in any place: a word, never a panic, and never lines that were not bounded.
    #[test]
    fn odd_members_do_no_harm(
        command in proptest::sample::select(vec!["pause", "cancel", "gcode", "temperature", "skip", "start", "answer", "power", "keep_warm", "clear_bed", "dismiss"]),
        key in proptest::sample::select(vec!["lines", "heaters", "objects", "file", "url", "reason", "button", "at", "minutes", "on", "materials", "on_pause", "rating", "size"]),
        odd in prop_oneof![
            Just(json!(null)), Just(json!(-1)), Just(json!(1e300)), Just(json!({"tool999": 1})), Just(json!([[[]]])),
            Just(json!("x".repeat(10_000))), Just(json!(vec!["G1 X1\n"; 5000])), any::<i64>().prop_map(|n| json!(n)), any::<f64>().prop_map(|n| json!(n)), ".{0,50}".prop_map(|t| json!(t)),
        ],
    ) {
        let asked = read(json!({"id": "1", "command": command, key: odd}).to_string().as_bytes());
        if let Ok(Asked { what: Wanted::Command(Command::SendGcode { lines, .. }), .. }) = asked {
            prop_assert!(lines.iter().all(|l| !l.contains(['\n', '\r', ';'])));
        }
    }
}
