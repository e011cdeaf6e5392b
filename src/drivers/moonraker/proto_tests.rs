//! The core against a small Klipper in memory.

use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

use super::super::memory::Record;
use super::super::tests_klipper::Sim;
use super::*;
use crate::drivers::Adopt;
use crate::printer::command::{CancelReason, Command, Program};
use crate::printer::event::JobEvent;
use crate::printer::model::{Activity, PrintObject, State, StateWord};
use crate::printer::wall_clock::SinceBoot;

struct Rig {
    core: Core,
    sim: Sim,
    now: Now,
    events: Vec<Event>,
    /// The upload does not end by itself.
    slow: bool,
    /// Answers are lost on the way; reports are not.
    deaf: bool,
    hung: bool,
    replies: Vec<(u64, Outcome)>,
    asked: u64,
    /// For the next process.
    remembered: Option<Record>,
}

impl Rig {
    fn new(watch: Watch) -> Self {
        let now = Now {
            mono: Instant::now(),
            wall: Timestamp::UNIX_EPOCH,
        };
        Rig {
            core: Core::new(watch),
            sim: Sim::new(),
            now,
            events: Vec::new(),
            slow: false,
            deaf: false,
            hung: false,
            replies: Vec::new(),
            asked: 0,
            remembered: None,
        }
    }

    fn connected() -> Self {
        let mut rig = Rig::new(Watch::new(None, None));
        rig.core.opened(rig.now);
        rig.run();
        assert_eq!(rig.core.klippy, Klippy::Ready(true));
        rig
    }

    fn run(&mut self) {
        while let Some(output) = self.core.poll() {
            match output {
                Output::Send(text) => {
                    let heard = |frame: &String| !self.deaf || frame.contains("\"method\"");
                    for frame in self.sim.take(&text).into_iter().filter(heard) {
                        self.core.frame(self.now, &frame);
                    }
                }
                Output::Event(event) => self.events.push(event),
                Output::Reply(id, outcome) => self.replies.push((id.0, outcome)),
                Output::Upload(..) if self.slow => {}
                Output::Upload(..) => self.core.uploaded(self.now, Ok(())),
                Output::Hangup(_) => self.hung = true,
                Output::Remember(record) => self.remembered = record,
                Output::AbortUpload => {}
            }
        }
    }

    fn ask(&mut self, command: Command) -> u64 {
        self.asked += 1;
        self.core.request(self.now, RequestId(self.asked), command);
        self.run();
        self.asked
    }

    fn notice(&mut self, method: &str) {
        let frame = format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#);
        self.core.frame(self.now, &frame);
        self.run();
    }

    /// Klipper goes and comes back as a restart makes it.
    fn restart(&mut self) {
        self.sim.gone = true;
        self.notice("notify_klippy_disconnected");
        self.sim.gone = false;
        self.notice("notify_klippy_ready");
    }

    fn later(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now.mono += Duration::from_secs(1);
            if !self.sim.gone {
                let update = self.sim.update();
                self.core.frame(self.now, &update);
            }
            self.core.frame(
                self.now,
                r#"{"jsonrpc":"2.0","method":"notify_proc_stat_update","params":[{}]}"#,
            );
            self.core.tick(self.now);
            self.run();
        }
    }

    fn heated(&mut self) {
        for frame in self.sim.heated() {
            self.core.frame(self.now, &frame);
        }
        self.run();
    }

    fn outcome(&self, id: u64) -> Option<&Outcome> {
        self.replies.iter().find(|(of, _)| *of == id).map(|(_, o)| o)
    }

    fn activity(&self) -> Option<&Activity> {
        self.events.iter().rev().find_map(|e| match e {
            Event::Activity(activity) => Some(activity),
            _ => None,
        })
    }

    fn printing(&mut self) {
        let id = self.ask(Command::Start(job()));
        assert_eq!(self.outcome(id), Some(&Outcome::Verified));
        assert!(
            self.events
                .contains(&Event::Job(JobEvent::Started { uid: job().uid }))
        );
    }
}

fn job() -> StartJob {
    StartJob {
        uid: Uuid::from_u128(9),
        program: Arc::new(Program {
            path: std::path::PathBuf::new(),
            name: "plate.gcode".to_owned(),
            size: 1,
            sha256: String::new(),
            layers: None,
            estimate_s: None,
            max_z_mm: None,
            objects: vec![PrintObject {
                id: 0,
                name: "zebra".to_owned(),
            }],
        }),
        skip: Vec::new(),
        materials: Vec::new(),
        plate: None,
    }
}

#[test]
fn connecting_tells_state_limits_and_capabilities() {
    let rig = Rig::connected();
    let up = rig.events.iter().position(|e| *e == Event::Up).expect("up");
    let idle = rig
        .events
        .iter()
        .position(|e| *e == Event::Activity(Activity::Idle))
        .expect("idle");
    assert!(idle < up, "nobody sees it up without seeing what it does");
    let limits = rig.events.iter().rev().find_map(|e| match e {
        Event::Limits(limits) => Some(*limits),
        _ => None,
    });
    let limits = limits.expect("limits");
    assert_eq!((limits.max_tool_c, limits.max_bed_c), (Some(280.0), Some(110.0)));
    assert_eq!(limits.reach_mm, Some(([0.0, 0.0, -2.0], [250.0, 210.0, 200.0])));
}

#[test]
fn a_start_is_accepted_from_the_first_operational_on() {
    // Moonraker says ready in `server.info`, and by notification a moment later (seen).
    let mut rig = Rig::connected();
    rig.core
        .frame(rig.now, r#"{"jsonrpc":"2.0","method":"notify_klippy_ready"}"#);
    let id = rig.ask(Command::Start(job()));
    assert_eq!(rig.outcome(id), Some(&Outcome::Verified));
    assert_eq!(
        rig.sim.subscribed, 2,
        "a subscription does not outlive Klipper's socket"
    );
}

#[test]
fn a_printer_that_starts_is_never_shown_as_ready() {
    let mut rig = Rig::new(Watch::new(None, None));
    rig.sim.starting = true;
    rig.core.opened(rig.now);
    rig.run();
    let word = |rig: &Rig| {
        let mut state = State::new(rig.now);
        let seen = rig.events.iter().map(|e| {
            crate::printer::reduce::reduce(&mut state, rig.now, e.clone());
            state.word()
        });
        seen.filter(|w| *w != StateWord::Offline).collect::<Vec<_>>()
    };
    assert!(!word(&rig).is_empty() && word(&rig).iter().all(|w| *w == StateWord::NotReady));
    rig.sim.starting = false;
    rig.core
        .frame(rig.now, r#"{"jsonrpc":"2.0","method":"notify_klippy_ready"}"#);
    rig.run();
    assert_eq!(word(&rig).last(), Some(&StateWord::Operational));
}

#[test]
fn a_pause_while_heating_waits_and_is_verified_by_the_state() {
    let mut rig = Rig::connected();
    rig.printing();
    rig.sim.heating = true;
    let first = rig.ask(Command::Pause);
    let second = rig.ask(Command::Pause);
    rig.later(120);
    assert_eq!(rig.outcome(first), None, "no short time limit");
    assert!(matches!(rig.outcome(second), Some(Outcome::Refused(r)) if r.code == "refused/busy"));
    assert_eq!(rig.activity(), Some(&Activity::Pausing));
    rig.heated();
    assert_eq!(rig.outcome(first), Some(&Outcome::Verified));
    assert_eq!(rig.sim.executed.iter().filter(|l| *l == "PAUSE").count(), 1);
}

#[test]
fn an_order_whose_answer_is_lost_ends_some_time() {
    let mut rig = Rig::connected();
    rig.printing();
    rig.sim.heating = true;
    let lost = rig.ask(Command::Pause);
    rig.later(29 * 60);
    assert_eq!(rig.outcome(lost), None);
    rig.later(2 * 60);
    assert!(
        matches!(rig.outcome(lost), Some(Outcome::Unverified { missing, .. }) if *missing == Missing::Ack),
        "{:?}",
        rig.outcome(lost)
    );
    let next = rig.ask(Command::Pause);
    assert_eq!(rig.outcome(next), None, "it may be given again");
}

#[test]
fn lines_that_nobody_answers_end_with_the_connection_however_lively_the_reports_are() {
    let mut rig = Rig::connected();
    rig.sim.heating = true;
    let patient = rig.ask(Command::SendGcode {
        lines: vec!["G28".to_owned()],
        tune: false,
    });
    rig.later(600);
    assert!(
        !rig.hung && rig.outcome(patient).is_none(),
        "it waits for the heat"
    );
    rig.heated();
    assert!(rig.outcome(patient).is_some());

    rig.deaf = true;
    let lost = rig.ask(Command::SendGcode {
        lines: vec!["M104 S50".to_owned()],
        tune: false,
    });
    rig.later((QUIET + SILENT).as_secs() + 3);
    assert!(rig.hung, "its questions are not answered either");
    rig.core.closed(rig.now);
    rig.run();
    assert!(matches!(rig.outcome(lost), Some(Outcome::Unverified { .. })));
}

#[test]
fn a_cancel_turns_the_heaters_off_and_a_stale_pause_is_cleared_before_a_start() {
    let mut rig = Rig::connected();
    rig.sim.is_paused = true;
    rig.later(1);
    rig.printing();
    assert!(!rig.sim.is_paused);
    rig.sim.bed_c = 60.0;
    rig.later(1);
    let id = rig.ask(Command::Cancel(CancelReason::default()));
    rig.later(1);
    assert_eq!(rig.outcome(id), Some(&Outcome::Verified));
    assert_eq!(rig.sim.bed_c, 0.0);
    assert!(
        rig.events
            .iter()
            .any(|e| matches!(e, Event::Job(JobEvent::Cancelled { .. })))
    );
}

#[test]
fn an_emergency_stop_does_not_wait_and_fails_the_job() {
    let mut rig = Rig::connected();
    rig.printing();
    rig.sim.heating = true;
    let id = rig.ask(Command::EmergencyStop);
    assert_eq!(rig.outcome(id), Some(&Outcome::Verified));
    assert!(matches!(rig.activity(), Some(Activity::Error(f)) if f.code == "klipper/emergency-stop"));
    assert!(
        rig.events
            .iter()
            .any(|e| matches!(e, Event::Job(JobEvent::Failed { .. })))
    );
}

#[test]
fn objects_go_by_klippers_names_and_unknown_ones_are_not_sent() {
    let mut rig = Rig::connected();
    rig.printing();
    let unknown = rig.ask(Command::SkipObjects { ids: vec![7] });
    assert!(matches!(rig.outcome(unknown), Some(Outcome::Refused(r)) if r.code == "refused/unknown-object"));
    let id = rig.ask(Command::SkipObjects { ids: vec![0] });
    assert_eq!(rig.outcome(id), Some(&Outcome::Verified));
    assert_eq!(rig.sim.excluded, ["ZEBRA"]);
}

#[test]
fn a_print_of_somebody_else_is_followed_and_silence_ends_the_session() {
    let mut rig = Rig::connected();
    rig.sim.file = "sub/by hand.gcode".to_owned();
    rig.sim.state = "printing".to_owned();
    rig.later(1);
    let started = JobEvent::OutsideStarted {
        file: Some("by hand.gcode".to_owned()),
    };
    assert!(rig.events.contains(&Event::Job(started)));
    rig.now.mono += SILENT;
    rig.core.tick(rig.now);
    let mut hung = false;
    while let Some(output) = rig.core.poll() {
        hung |= matches!(output, Output::Hangup(_));
    }
    assert!(hung);
}

#[test]
fn a_print_is_found_again_when_the_clock_was_set_in_between() {
    let boot = |at_s: i64| {
        Some(SinceBoot {
            boot: "this".to_owned(),
            at_s,
        })
    };
    let mut rig = Rig::new(Watch::new(None, None).with_boot(boot(500), Instant::now()));
    rig.core.opened(rig.now);
    rig.run();
    rig.printing();
    let record = rig.remembered.clone().expect("remembered");
    let adopt = Adopt {
        job: job(),
        checkpoint: None,
        paused: false,
    };
    // The next process, a moment later. A year ahead by the wall clock; and by that alone, after a start of the computer.
    for (boot, told) in [(boot(510), "Adopted"), (None, "Failed"), (boot(5000), "Failed")] {
        let watch = Watch::new(Some(adopt.clone()), Some(record.clone()));
        let mut next = Rig::new(watch.with_boot(boot, Instant::now()));
        std::mem::swap(&mut next.sim, &mut rig.sim);
        next.now.wall = Timestamp::from_second(31_536_000).expect("in range");
        next.core.opened(next.now);
        next.run();
        next.later(2);
        let first = next.events.iter().find_map(|e| match e {
            Event::Job(job) => Some(format!("{job:?}")),
            _ => None,
        });
        assert!(first.as_ref().is_some_and(|f| f.starts_with(told)), "{first:?}");
        std::mem::swap(&mut next.sim, &mut rig.sim);
    }
}

#[test]
fn a_cancel_whose_answer_is_lost_leaves_nothing_hot() {
    for restarted in [false, true] {
        let mut rig = Rig::connected();
        rig.printing();
        (rig.sim.bed_c, rig.sim.heating) = (60.0, true);
        rig.later(1);
        let id = rig.ask(Command::Cancel(CancelReason::default()));
        rig.core.closed(rig.now);
        rig.run();
        assert!(matches!(rig.outcome(id), Some(Outcome::Unverified { .. })));
        // It is carried out while nobody listens.
        rig.sim.heated();
        assert_eq!((rig.sim.state.as_str(), rig.sim.bed_c), ("cancelled", 60.0));
        if restarted {
            let adopt = Adopt {
                job: job(),
                checkpoint: None,
                paused: false,
            };
            let mut next = Rig::new(Watch::new(Some(adopt), rig.remembered.clone()));
            std::mem::swap(&mut next.sim, &mut rig.sim);
            rig = next;
        }
        rig.core.opened(rig.now);
        rig.run();
        rig.later(5);
        assert_eq!(rig.sim.bed_c, 0.0, "restarted: {restarted}");
        let ended = |e: &Event| matches!(e, Event::Job(JobEvent::Cancelled { .. }));
        assert_eq!(rig.events.iter().filter(|e| ended(e)).count(), 1);
    }
}

#[test]
fn a_print_that_is_gone_after_a_broken_connection_was_not_cancelled_by_anybody() {
    let mut rig = Rig::connected();
    rig.printing();
    rig.later(5);
    rig.core.closed(rig.now);
    rig.run();
    // Its host was switched off and on.
    rig.sim.state = "standby".to_owned();
    rig.sim.file = String::new();
    rig.core.opened(rig.now);
    rig.run();
    rig.later(2);
    let failed = rig.events.iter().find_map(|e| match e {
        Event::Job(JobEvent::Failed { fault, .. }) => Some(fault.code.to_string()),
        _ => None,
    });
    assert_eq!(failed.as_deref(), Some("moonraker/end-not-seen"));
    assert!(
        !rig.events
            .iter()
            .any(|e| matches!(e, Event::Job(JobEvent::Cancelled { .. })))
    );
}

#[test]
fn a_moonraker_that_reports_and_answers_nothing_ends_the_session() {
    let mut rig = Rig::connected();
    rig.core.closed(rig.now);
    rig.core.opened(rig.now);
    let mut hung = None;
    for second in 0..30 {
        rig.now.mono += Duration::from_secs(1);
        rig.core.frame(
            rig.now,
            r#"{"jsonrpc":"2.0","method":"notify_proc_stat_update","params":[{}]}"#,
        );
        rig.core.tick(rig.now);
        while let Some(output) = rig.core.poll() {
            if matches!(output, Output::Hangup(_)) && hung.is_none() {
                hung = Some(second);
            }
        }
    }
    assert!(hung.is_some_and(|second| (14..=17).contains(&second)), "{hung:?}");
}

#[test]
fn a_broken_connection_keeps_the_print_and_answers_what_waits() {
    let mut rig = Rig::connected();
    rig.printing();
    rig.sim.heating = true;
    let id = rig.ask(Command::Pause);
    rig.core.closed(rig.now);
    rig.run();
    assert!(matches!(rig.outcome(id), Some(Outcome::Unverified { .. })));
    rig.core.opened(rig.now);
    rig.run();
    assert!(
        !rig.events
            .iter()
            .any(|e| matches!(e, Event::Job(JobEvent::Failed { .. })))
    );
    assert!(matches!(
        rig.core.watch.job,
        crate::drivers::moonraker::watch::Job::Ours { seen: true, .. }
    ));
}

#[test]
fn klippy_missing_for_an_hour_is_said_once_and_over_at_once() {
    let mut rig = Rig::new(Watch::new(None, None));
    rig.sim.gone = true;
    rig.core.opened(rig.now);
    rig.run();
    rig.later(3600);
    assert!(matches!(rig.activity(), Some(Activity::NotReady(words)) if words.contains("klipper")));
    let told = |rig: &Rig| {
        rig.events
            .iter()
            .filter(|e| matches!(e, Event::Activity(_)))
            .count()
    };
    assert_eq!(told(&rig), 1);
    let id = rig.ask(Command::Start(job()));
    assert!(matches!(rig.outcome(id), Some(Outcome::Refused(r)) if r.code == "refused/not-ready"));
    rig.sim.gone = false;
    rig.later(3);
    assert_eq!(rig.activity(), Some(&Activity::Idle));
    assert!(
        !rig.sim.executed.iter().any(|l| l.starts_with("START")),
        "a refused start is not kept"
    );
}

#[test]
fn two_restarts_of_klipper_during_one_upload_start_the_print_once() {
    let mut rig = Rig::connected();
    rig.slow = true;
    let id = rig.ask(Command::Start(job()));
    rig.restart();
    rig.later(5);
    rig.restart();
    rig.later(5);
    assert_eq!(rig.outcome(id), None, "the file is still on its way");
    rig.core.uploaded(rig.now, Ok(()));
    rig.run();
    assert_eq!(rig.outcome(id), Some(&Outcome::Verified));
    assert_eq!(
        rig.sim.executed.iter().filter(|l| l.starts_with("START")).count(),
        1
    );
}

#[test]
fn an_upload_that_ends_while_klipper_restarts_is_no_start() {
    let mut rig = Rig::connected();
    rig.slow = true;
    let id = rig.ask(Command::Start(job()));
    rig.sim.gone = true;
    rig.notice("notify_klippy_disconnected");
    rig.core.uploaded(rig.now, Ok(()));
    rig.run();
    assert!(matches!(rig.outcome(id), Some(Outcome::Refused(r)) if r.code == "refused/not-ready"));
    rig.sim.gone = false;
    rig.notice("notify_klippy_ready");
    rig.later(30);
    assert!(
        !rig.sim.executed.iter().any(|l| l.starts_with("START")),
        "it is never made up for"
    );
}

#[test]
fn objects_that_vanish_with_a_new_configuration_are_not_relied_on() {
    let mut rig = Rig::connected();
    rig.sim.without = vec!["exclude_object", "heater_bed", "virtual_sdcard"];
    rig.restart();
    rig.events.clear();
    rig.printing();
    rig.later(5);
    assert!(
        !rig.events.iter().any(|e| matches!(e, Event::Heat { .. })),
        "no reading of a heater that is gone"
    );
    let id = rig.ask(Command::SkipObjects { ids: vec![0] });
    assert!(matches!(rig.outcome(id), Some(Outcome::Refused(r)) if r.code == "refused/unsupported"));
    let id = rig.ask(Command::Pause);
    assert_eq!(rig.outcome(id), Some(&Outcome::Verified));
}

#[test]
fn a_dialog_of_a_macro_is_shown_and_a_button_sends_its_line() {
    let mut rig = Rig::connected();
    for words in [
        "prompt_begin Load filament",
        "prompt_text Which one?",
        "prompt_button PLA|LOAD T=0|primary",
        "prompt_button Cancel",
        "prompt_show",
    ] {
        let frame = json!({"jsonrpc": "2.0", "method": "notify_gcode_response", "params": [format!("// action:{words}")]});
        rig.core.frame(rig.now, &frame.to_string());
    }
    rig.run();
    let shown = rig.events.iter().find_map(|e| match e {
        Event::Notice(notice) if notice.key == "klipper/prompt" => Some(notice.clone()),
        _ => None,
    });
    let shown = shown.expect("a notice");
    assert_eq!((shown.title.as_str(), shown.buttons.len()), ("Load filament", 2));
    let id = rig.ask(Command::Answer { button: 0 });
    assert_eq!(rig.outcome(id), Some(&Outcome::Sent));
    assert_eq!(rig.sim.executed.last().map(String::as_str), Some("LOAD T=0"));
    rig.restart();
    assert!(
        rig.events
            .contains(&Event::NoticeCleared("klipper/prompt".to_owned()))
    );
    let id = rig.ask(Command::Answer { button: 0 });
    assert!(matches!(rig.outcome(id), Some(Outcome::Refused(_))));
}

#[test]
fn a_name_that_is_taken_is_no_reason_to_stay_away() {
    let mut rig = Rig::new(Watch::new(None, None));
    rig.sim.agent_taken = true;
    rig.core.opened(rig.now);
    rig.run();
    assert_eq!(rig.sim.executed, ["identify agent", "identify other"]);
    assert_eq!(rig.activity(), Some(&Activity::Idle));
}

proptest! {
    #[test]
    fn no_frame_breaks_the_core(frames in prop::collection::vec(".{0,80}", 0..20), cut in 0usize..400) {
        let mut rig = Rig::connected();
        let update = rig.sim.update();
        let part: String = update.chars().take(cut).collect();
        rig.core.frame(rig.now, &part);
        for frame in frames {
            rig.core.frame(rig.now, &frame);
            rig.run();
        }
        rig.later(2);
        prop_assert_eq!(rig.activity(), Some(&Activity::Idle));
    }
}
