//! The core against scripts of messages.

use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;

use super::*;
use crate::json::json;
use crate::printer::command::{CancelReason, Command, Program};
use crate::printer::event::{JobEvent, OutsideEnd};
use crate::printer::outcome::Missing;

struct Rig {
    core: Core,
    now: Now,
    published: Vec<Value>,
    events: Vec<Event>,
    replies: Vec<(u64, Outcome)>,
    uploads: usize,
    hangups: Vec<Fault>,
}

const IDLE: &str = r#"{"print":{"command":"push_status","msg":0,"gcode_state":"IDLE","subtask_name":"","subtask_id":"0","print_error":0,"hms":[],"sdcard":true,"mc_percent":42,"mc_remaining_time":759,"bed_temper":20,"lights_report":[{"node":"chamber_light","mode":"off"}],"spd_lvl":2}}"#;

fn program() -> Arc<Program> {
    Arc::new(Program {
        path: "x".into(),
        name: "clip.gcode.3mf".into(),
        size: 10,
        sha256: "ab".repeat(32),
        layers: None,
        estimate_s: None,
        max_z_mm: None,
        objects: Vec::new(),
    })
}

fn job(uid: Uuid) -> StartJob {
    StartJob {
        uid,
        program: program(),
        skip: Vec::new(),
        materials: Vec::new(),
        plate: None,
    }
}

impl Rig {
    fn new(adopt: Option<Adopt>) -> Self {
        let now = Now {
            mono: Instant::now(),
            wall: jiff::Timestamp::UNIX_EPOCH,
        };
        let mut rig = Rig {
            core: Core::new("01P00A000000001", StartOptions::default(), adopt, 100, now.mono),
            now,
            published: Vec::new(),
            events: Vec::new(),
            replies: Vec::new(),
            uploads: 0,
            hangups: Vec::new(),
        };
        rig.core.connected(now);
        rig.drain();
        rig
    }

    fn up() -> Self {
        let mut rig = Rig::new(None);
        rig.hear(IDLE);
        assert!(rig.core.is_ready());
        rig.published.clear();
        rig.events.clear();
        rig
    }

    fn drain(&mut self) {
        while let Some(output) = self.core.poll() {
            match output {
                Output::Publish(text) => self.published.push(serde_json::from_str(&text).expect("JSON")),
                Output::Event(event) => self.events.push(event),
                Output::Reply(id, outcome) => self.replies.push((id.0, outcome)),
                Output::Upload(_) => self.uploads += 1,
                Output::AbortUpload => {}
                Output::Hangup(fault) => self.hangups.push(fault),
            }
        }
    }

    fn hear(&mut self, text: &str) {
        self.core.message(self.now, text.as_bytes());
        self.drain();
    }

    fn delta(&mut self, print: Value) {
        self.hear(&json!({ "print": print }).to_string());
    }

    fn ask(&mut self, id: u64, command: Command) {
        self.core.request(self.now, RequestId(id), command);
        self.drain();
    }

    fn pass(&mut self, s: u64) {
        self.now.mono += Duration::from_secs(s);
        self.core.tick(self.now);
        self.drain();
        // What is due was done: else it would be due at once again, and nothing else had its turn.
        let due = self.core.deadline().is_some_and(|due| due <= self.now.mono);
        assert!(!due || !self.hangups.is_empty(), "due again at once");
    }

    /// The last order of this name.
    fn sent(&self, name: &str) -> Option<&Value> {
        self.published
            .iter()
            .rev()
            .flat_map(|p| p.as_object().expect("an object").values())
            .find(|b| b["command"] == name)
    }

    fn accept(&mut self, name: &str) {
        let mut body = self.sent(name).expect("sent").clone();
        body["result"] = "SUCCESS".into();
        self.delta(body);
    }

    fn jobs(&self) -> Vec<&JobEvent> {
        self.events
            .iter()
            .filter_map(|e| match e {
                Event::Job(job) => Some(job),
                _ => None,
            })
            .collect()
    }

    fn start(&mut self, uid: Uuid) -> String {
        self.ask(1, Command::Start(job(uid)));
        assert_eq!(self.uploads, 1);
        let card = OnCard {
            file: "clip-abababab.gcode.3mf".into(),
            plate: Some(1),
            ..OnCard::default()
        };
        self.core.uploaded(self.now, Ok(card));
        self.drain();
        let sent = self.sent("project_file").expect("sent");
        sent["subtask_id"].as_str().expect("a number").to_owned()
    }
}

#[test]
fn a_start_whose_connection_broke_does_not_keep_the_next_connection_from_hearing_the_printer() {
    let mut rig = Rig::up();
    rig.ask(1, Command::Start(job(Uuid::from_u128(5))));
    assert_eq!(rig.uploads, 1);
    rig.core.disconnected(rig.now);
    rig.drain();
    assert!(matches!(rig.replies.as_slice(), [(1, Outcome::Refused(_))]));
    rig.now.mono += Duration::from_secs(3600);
    rig.core.connected(rig.now);
    rig.drain();
    rig.pass(1);
    rig.hear(IDLE);
    assert!(rig.core.is_ready());
    rig.pass(1);
}

#[test]
fn a_start_ends_when_the_printer_is_seen_in_it_and_not_before() {
    let mut rig = Rig::up();
    let uid = Uuid::from_u128(0x1234_5678_9abc_def0 << 64);
    let number = rig.start(uid);
    assert_eq!(number, crate::drivers::bambu::track::job_number(uid));
    rig.accept("project_file");
    rig.delta(json!({"subtask_name": "clip"}));
    assert!(rig.replies.is_empty(), "a name alone proves nothing");
    rig.delta(json!({"gcode_state": "PREPARE", "subtask_id": number}));
    assert_eq!(rig.replies, [(1, Outcome::Verified)]);
    assert_eq!(rig.jobs(), [&JobEvent::Started { uid }]);
    rig.delta(json!({"gcode_state": "RUNNING"}));
    rig.delta(json!({"gcode_state": "FINISH"}));
    let done = JobEvent::Done {
        uid,
        filament_mm: None,
    };
    assert_eq!(rig.jobs().last(), Some(&&done));
}

#[test]
fn accepted_and_then_an_error_is_a_rejection_with_its_code() {
    let mut rig = Rig::up();
    rig.start(Uuid::from_u128(7 << 64));
    rig.accept("project_file");
    rig.delta(json!({"print_error": 0x0500_c010}));
    let (_, outcome) = rig.replies.pop().expect("an end");
    assert_eq!(outcome.code(), "bambu/0500_C010");
    assert!(rig.jobs().is_empty());
}

#[test]
fn a_start_that_shows_nothing_is_unverified_and_stopped_if_it_comes_late() {
    let mut rig = Rig::up();
    let number = rig.start(Uuid::from_u128(7 << 64));
    rig.pass(21);
    assert!(matches!(
        rig.replies.pop(),
        Some((
            1,
            Outcome::Unverified {
                missing: Missing::Ack,
                ..
            }
        ))
    ));
    rig.pass(5);
    rig.delta(json!({"gcode_state": "RUNNING", "subtask_id": number}));
    assert_eq!(rig.sent("stop").expect("stopped")["param"], "");
}

#[test]
fn a_busy_printer_is_never_sent_a_start() {
    let mut rig = Rig::up();
    rig.ask(1, Command::Start(job(Uuid::from_u128(7 << 64))));
    // Somebody starts a print at the screen while the file is on its way.
    rig.delta(json!({"gcode_state": "RUNNING", "subtask_id": "55", "subtask_name": "vase"}));
    rig.core.uploaded(rig.now, Ok(OnCard::default()));
    rig.drain();
    assert!(rig.sent("project_file").is_none());
    assert_eq!(rig.replies.pop().expect("an end").1.word(), "refused");
    rig.pass(3);
    assert!(matches!(rig.jobs().last(), Some(JobEvent::OutsideStarted { file: Some(f) }) if f == "vase"));
    rig.ask(2, Command::Start(job(Uuid::from_u128(8 << 64))));
    assert_eq!(rig.uploads, 1);
}

#[test]
fn a_pause_that_a_cancel_overtook_is_not_one_of_the_next_print() {
    let mut rig = Rig::up();
    rig.delta(json!({"command": "push_status", "gcode_state": "RUNNING", "subtask_name": "x"}));
    rig.ask(1, Command::Pause);
    rig.ask(2, Command::Cancel(CancelReason::default()));
    rig.accept("pause");
    rig.accept("stop");
    rig.delta(json!({"command": "push_status", "gcode_state": "FAILED"}));
    let word = |id| {
        rig.replies
            .iter()
            .find(|(of, _)| *of == id)
            .map(|(_, o)| o.word())
    };
    assert_eq!((word(1), word(2)), (Some("unverified"), Some("verified")));
    rig.delta(json!({"command": "push_status", "gcode_state": "RUNNING", "subtask_name": "y"}));
    let last = rig.events.iter().rev().find_map(|e| match e {
        Event::Activity(activity) => Some(activity),
        _ => None,
    });
    assert_eq!(last, Some(&Activity::Printing));
}

#[test]
fn pause_is_verified_by_the_state_and_answers_are_never_merged() {
    let mut rig = Rig::up();
    rig.delta(json!({"gcode_state": "RUNNING", "subtask_id": "55"}));
    rig.ask(3, Command::Pause);
    let mut answer = rig.sent("pause").expect("sent").clone();
    assert_eq!(answer["param"], "");
    answer["result"] = "success".into();
    answer["gcode_state"] = "PAUSE".into();
    rig.delta(answer);
    assert!(rig.replies.is_empty(), "an answer is no state");
    assert!(rig.events.contains(&Event::Activity(Activity::Pausing)));
    rig.delta(json!({"gcode_state": "PAUSE", "stg_cur": 16}));
    assert_eq!(rig.replies, [(3, Outcome::Verified)]);
}

#[test]
fn refusals_come_in_several_shapes() {
    for (answer, code) in [
        (
            json!({"result": "fail", "reason": "not printing"}),
            "printer/rejected",
        ),
        (json!({"err_code": 84033543}), "bambu/developer-mode"),
        (
            json!({"result": "FAILED", "reason": "mqtt message verify failed"}),
            "bambu/developer-mode",
        ),
    ] {
        let mut rig = Rig::up();
        rig.delta(json!({"gcode_state": "RUNNING", "subtask_id": "55"}));
        rig.ask(3, Command::Pause);
        let mut body = rig.sent("pause").expect("sent").clone();
        body.as_object_mut()
            .expect("object")
            .extend(answer.as_object().expect("object").clone());
        rig.delta(body);
        assert_eq!(rig.replies.pop().expect("an end").1.code(), code, "{answer}");
    }
}

#[test]
fn public_messages_are_told_apart_as_their_sources_say() {
    let all: Vec<Value> =
        serde_json::from_str(include_str!("../../../fixtures/bambu/messages.json")).expect("JSON");
    for case in all {
        let text = case["message"].to_string();
        let message: Message<'_> = serde_json::from_str(&text).expect("JSON");
        let want = &case["expected"];
        let status = message.print.0.as_ref().is_some_and(is_status);
        assert_eq!(Some(status), want["is_status"].as_bool(), "{text}");
        let Some(print) = &message.print.0 else { continue };
        if let Some(full) = want["full"].as_bool() {
            assert_eq!(is_full(print), full, "{text}");
        }
        let unsigned = faults::is_unsigned(print.err_code, print.reason.as_deref().unwrap_or_default());
        assert_eq!(unsigned, want["outcome"] == "refused_signature", "{text}");
        if want["control"] == "refused" {
            let mut rig = Rig::up();
            rig.hear(&text);
            assert_eq!(rig.core.control(), Control::Refused);
        }
    }
}

#[test]
fn developer_mode_off_refuses_orders_but_not_the_light() {
    let mut rig = Rig::up();
    rig.delta(json!({"fun": "20000000"}));
    rig.ask(1, Command::Start(job(Uuid::from_u128(7 << 64))));
    assert_eq!(rig.uploads, 0);
    assert_eq!(
        rig.replies.pop().expect("an end").1.code(),
        "bambu/developer-mode"
    );
    let light = Command::SendGcode {
        lines: vec!["M355 S1".into()],
        tune: true,
    };
    rig.ask(2, light);
    assert_eq!(rig.sent("ledctrl").expect("sent")["led_mode"], "on");
    rig.delta(json!({"lights_report": [{"node": "chamber_light", "mode": "on"}]}));
    assert_eq!(rig.replies, [(2, Outcome::Verified)]);
}

#[test]
fn a_stop_at_the_screen_is_no_failure_even_when_its_code_comes_late() {
    let mut rig = Rig::up();
    let uid = Uuid::from_u128(7 << 64);
    let number = rig.start(uid);
    rig.delta(json!({"gcode_state": "RUNNING", "subtask_id": number}));
    rig.delta(json!({"gcode_state": "FAILED"}));
    assert_eq!(rig.jobs().len(), 1, "not decided yet");
    rig.delta(json!({"print_error": 50348044}));
    let cancelled = JobEvent::Cancelled {
        uid,
        filament_mm: None,
    };
    assert_eq!(rig.jobs().last(), Some(&&cancelled));
}

#[test]
fn a_failure_without_a_code_is_one_after_a_moment() {
    let mut rig = Rig::up();
    rig.delta(json!({"gcode_state": "RUNNING", "subtask_id": "55"}));
    rig.delta(json!({"gcode_state": "FAILED"}));
    rig.pass(4);
    let ended = JobEvent::OutsideEnded {
        end: OutsideEnd::Failed,
    };
    assert_eq!(rig.jobs().last(), Some(&&ended));
}

#[test]
fn a_job_from_before_a_restart_is_known_by_its_number() {
    let uid = Uuid::from_u128(0xabc << 96);
    let number = crate::drivers::bambu::track::job_number(uid);
    for (state, id, want) in [
        ("RUNNING", number.as_str(), "Adopted"),
        ("FINISH", number.as_str(), "Done"),
        ("IDLE", "0", "Failed"),
        ("RUNNING", "99", "Failed"),
    ] {
        let adopt = Adopt {
            job: job(uid),
            checkpoint: None,
            paused: false,
        };
        let mut rig = Rig::new(Some(adopt));
        let mut full: Value = serde_json::from_str(IDLE).expect("JSON");
        full["print"]["gcode_state"] = state.into();
        full["print"]["subtask_id"] = id.into();
        rig.hear(&full.to_string());
        let first = format!("{:?}", rig.jobs()[0]);
        assert!(first.starts_with(want), "{state} {id}: {first}");
        let job_at = rig.events.iter().position(|e| matches!(e, Event::Job(_)));
        let activity_at = rig.events.iter().position(|e| matches!(e, Event::Activity(_)));
        assert!(job_at < activity_at, "answered before anything is told");
    }
}

#[test]
fn stale_percent_after_a_job_is_not_progress() {
    let rig = Rig::up();
    let mut rig = rig;
    rig.delta(json!({"mc_percent": 43}));
    assert!(!rig.events.iter().any(|e| matches!(e, Event::Progress(_))));
}

#[test]
fn silence_is_asked_about_and_then_ends_the_session() {
    let mut rig = Rig::up();
    rig.pass(61);
    assert!(rig.sent("start").is_some());
    rig.pass(10);
    assert!(rig.sent("pushall").is_some());
    rig.pass(20);
    assert_eq!(rig.hangups.first().map(|f| f.code.as_ref()), Some("bambu/silent"));
    let mut deaf = Rig::new(None);
    deaf.pass(9);
    deaf.pass(9);
    assert_eq!(
        deaf.hangups.first().map(|f| f.code.as_ref()),
        Some("bambu/no-reports")
    );
}

#[test]
fn cancel_during_the_upload_starts_nothing() {
    let mut rig = Rig::up();
    rig.ask(1, Command::Start(job(Uuid::from_u128(7 << 64))));
    rig.ask(2, Command::Cancel(CancelReason::default()));
    assert_eq!(
        rig.replies.iter().map(|r| r.1.word()).collect::<Vec<_>>(),
        ["refused", "verified"]
    );
    rig.core.uploaded(rig.now, Ok(OnCard::default()));
    rig.drain();
    assert!(rig.sent("project_file").is_none());
}

#[test]
fn gcode_that_would_block_the_queue_is_refused() {
    let mut rig = Rig::up();
    rig.ask(
        1,
        Command::SendGcode {
            lines: vec!["M109 S200".into()],
            tune: false,
        },
    );
    assert_eq!(
        rig.replies.pop().expect("an end").1.code(),
        "bambu/blocking-command"
    );
    rig.ask(
        2,
        Command::SendGcode {
            lines: vec!["M220 S110".into()],
            tune: false,
        },
    );
    assert_eq!(rig.replies.pop().expect("an end").1.code(), "bambu/speed-level");
    rig.ask(
        3,
        Command::SendGcode {
            lines: vec!["M220 S166".into()],
            tune: false,
        },
    );
    assert_eq!(rig.sent("print_speed").expect("sent")["param"], "4");
}

proptest::proptest! {
    #[test]
    fn every_request_ends_whatever_the_printer_says(
        words in proptest::collection::vec((0u8..9, proptest::sample::select(vec!["IDLE", "PREPARE", "RUNNING", "PAUSE", "FAILED", "FINISH", "ODD"])), 1..30)
    ) {
        let mut rig = Rig::up();
        let mut asked = 0;
        for (what, state) in words {
            let command = match what {
                0 => Some(Command::Pause),
                1 => Some(Command::Resume),
                2 => Some(Command::Cancel(CancelReason::default())),
                3 => Some(Command::SkipObjects { ids: vec![1] }),
                4 => Some(Command::Start(job(Uuid::from_u128(u128::from(what) << 64)))),
                _ => None,
            };
            match command {
                Some(command) => {
                    asked += 1;
                    rig.ask(asked, command);
                }
                None if what == 5 => {
                    rig.core.uploaded(rig.now, Ok(OnCard::default()));
                    rig.drain();
                }
                None => rig.delta(json!({"gcode_state": state})),
            }
            rig.pass(1);
        }
        rig.core.uploaded(rig.now, Err(faults::UPLOAD));
        rig.drain();
        rig.pass(400);
        rig.pass(400);
        let mut ended: Vec<u64> = rig.replies.iter().map(|r| r.0).collect();
        ended.sort_unstable();
        proptest::prop_assert_eq!(ended, (1..=asked).collect::<Vec<_>>(), "each exactly once");
    }
}

fn plain() -> OnCard {
    OnCard {
        file: orders::remote_name("clip.gcode.3mf", &"ab".repeat(32), false),
        ..OnCard::default()
    }
}

#[test]
fn plain_gcode_is_known_by_the_name_of_its_file_also_after_a_restart() {
    let mut rig = Rig::up();
    let uid = Uuid::from_u128(7 << 64);
    rig.ask(1, Command::Start(job(uid)));
    rig.core.uploaded(rig.now, Ok(plain()));
    rig.drain();
    assert_eq!(
        rig.sent("gcode_file").expect("sent")["param"],
        "/clip-abababab.gcode"
    );
    rig.accept("gcode_file");
    assert!(rig.replies.is_empty(), "accepted is not seen");
    let running = json!({"command": "push_status", "msg": 0, "gcode_state": "RUNNING", "subtask_id": "0",
        "subtask_name": "clip-abababab", "gcode_file": "/mnt/sdcard/clip-abababab.gcode", "print_error": 0, "hms": []});
    rig.delta(running.clone());
    assert_eq!(rig.replies, [(1, Outcome::Verified)]);

    let adopt = Adopt {
        job: job(uid),
        checkpoint: None,
        paused: false,
    };
    let mut again = Rig::new(Some(adopt.clone()));
    again.delta(running);
    assert_eq!(again.jobs(), [&JobEvent::Adopted { uid }]);

    let mut other = Rig::new(Some(adopt));
    other.delta(
        json!({"command": "push_status", "msg": 0, "gcode_state": "RUNNING", "subtask_id": "0",
        "subtask_name": "vase", "gcode_file": "/vase.gcode", "print_error": 0, "hms": []}),
    );
    assert!(matches!(other.jobs().first(), Some(JobEvent::Failed { .. })));
}

#[test]
fn a_refused_plain_start_says_so() {
    let mut rig = Rig::up();
    rig.ask(1, Command::Start(job(Uuid::from_u128(7 << 64))));
    rig.core.uploaded(rig.now, Ok(plain()));
    rig.drain();
    let mut body = rig.sent("gcode_file").expect("sent").clone();
    (body["result"], body["reason"]) = ("fail".into(), "error string".into());
    rig.delta(body);
    let (_, outcome) = rig.replies.pop().expect("an end");
    assert_eq!(
        (outcome.word(), outcome.message().contains("error string")),
        ("rejected", true)
    );
}

#[test]
fn materials_are_told_anew_when_asked_and_not_too_often() {
    let mut rig = Rig::up();
    let whole = r#"{"print":{"command":"push_status","msg":0,"gcode_state":"IDLE","ams":{"tray_exist_bits":"1","ams":[{"id":"0","tray":[{"id":"0","tray_type":"PLA","tray_color":"FFFFFFFF"}]}]}}}"#;
    let told = |rig: &mut Rig| {
        let events = std::mem::take(&mut rig.events);
        events.iter().filter(|e| matches!(e, Event::Materials(_))).count()
    };
    rig.hear(whole);
    assert_eq!(told(&mut rig), 1);
    rig.hear(whole);
    assert_eq!(told(&mut rig), 0, "nothing new");
    rig.ask(4, Command::RefreshMaterials);
    assert!(rig.sent("pushall").is_some());
    rig.delta(json!({"command": "push_status", "msg": 1, "wifi_signal": "-50dBm"}));
    assert!(rig.replies.is_empty(), "that is not everything");
    rig.hear(whole);
    assert_eq!(
        (told(&mut rig), rig.replies.pop()),
        (1, Some((4, Outcome::Verified)))
    );

    rig.published.clear();
    rig.pass(20);
    rig.ask(5, Command::RefreshMaterials);
    assert!(rig.sent("pushall").is_none(), "a P1 stalls");
    assert_eq!(rig.replies.pop().expect("an end").1.code(), "bambu/too-often");
    rig.now.mono += Duration::from_secs(281);
    rig.hear(IDLE);
    rig.ask(6, Command::RefreshMaterials);
    assert!(rig.sent("pushall").is_some());
    rig.pass(13);
    assert!(matches!(rig.replies.pop(), Some((6, Outcome::Unverified { .. }))));
}
