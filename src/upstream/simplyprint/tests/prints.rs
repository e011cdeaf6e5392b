use super::*;

#[test]
fn a_cloud_print_is_reported_in_the_order_that_the_cloud_relies_on() {
    let mut bench = Bench::ready();
    bench.file(7, true);
    assert_eq!(bench.words(), ["downloading"]);
    assert_eq!(
        bench.of("file_progress")[0],
        &json!({"job_id": 7, "state": "downloading", "percent": 0})
    );
    bench.fetched();
    let uid = bench.runs();
    bench.arrive();
    bench.ends(uid, Flag::Finished);
    bench.arrive();
    let told: Vec<&str> = bench
        .types()
        .into_iter()
        .filter(|t| ["file_progress", "job_info", "state_change"].contains(t))
        .collect();
    assert_eq!(
        told,
        [
            "state_change",
            "file_progress",
            "file_progress",
            "file_progress",
            "job_info",
            "state_change",
            "job_info",
            "job_info",
            "state_change"
        ]
    );
    assert_eq!(bench.words(), ["downloading", "printing", "operational"]);
    let jobs = bench.of("job_info");
    assert_eq!(jobs[0]["started"], json!(true));
    assert_eq!(
        jobs.last().expect("an end"),
        &&json!({"job_id": 7, "finished": true, "progress": 100, "filename": "a.gcode"})
    );
    assert!(jobs.iter().all(|j| j["job_id"] == json!(7)));
    assert!(bench.kept.is_empty(), "delivered: {:?}", bench.kept.keys());
    // The same demand again starts nothing.
    bench.clear();
    bench.file(7, true);
    assert_eq!((bench.fetches(), bench.starts()), (0, 0));
}

#[test]
fn a_printer_that_is_quicker_than_the_answer_to_its_start_prints_the_clouds_job_all_the_same() {
    let mut bench = Bench::ready();
    bench.file(7, true);
    bench.fetched();
    let (number, uid) = (bench.number(), Uuid::new_v4());
    bench.view.job = Some(job(uid, Some(bench.now.wall)));
    bench.view.word = StateWord::Printing;
    bench.observe();
    assert!(
        bench.of("job_info").is_empty(),
        "whose job it is, nobody knows yet"
    );
    let now = bench.now;
    bench.core().started(now, number, StartResult::Accepted(uid));
    bench.turn();
    bench.ends(uid, Flag::Finished);
    bench.arrive();
    let jobs = bench.of("job_info");
    assert_eq!(
        (&jobs[0]["started"], &jobs[jobs.len() - 1]["finished"]),
        (&json!(true), &json!(true))
    );
    assert!(jobs.iter().all(|j| j["job_id"] == json!(7)), "{jobs:?}");
}

#[test]
fn a_start_that_another_print_came_before_is_refused_and_the_other_one_is_told() {
    let mut bench = Bench::ready();
    bench.file(7, true);
    bench.fetched();
    let number = bench.number();
    bench.view.job = Some(job(Uuid::new_v4(), Some(bench.now.wall)));
    bench.view.word = StateWord::Printing;
    bench.observe();
    let now = bench.now;
    bench
        .core()
        .started(now, number, StartResult::Refused("busy".to_owned()));
    bench.turn();
    let said = bench.of("file_progress").pop().expect("an error").clone();
    assert_eq!((&said["state"], &said["job_id"]), (&json!("error"), &json!(7)));
    let jobs = bench.of("job_info");
    assert_eq!((&jobs[0]["started"], jobs[0].get("job_id")), (&json!(true), None));
}

#[test]
fn two_steps_fetch_first_and_heat_later_and_a_cancel_between_them_heats_never() {
    let mut bench = Bench::ready();
    bench.file(7, false);
    bench.fetched();
    assert_eq!(bench.starts(), 0, "only fetched");
    assert_eq!(
        bench.of("file_progress").last().expect("said")["state"],
        json!("ready")
    );
    assert_eq!(bench.words(), ["downloading", "operational"]);
    bench.demand(json!({"demand": "cancel"}));
    let last = bench.of("file_progress").pop().expect("said").clone();
    assert_eq!(
        (&last["state"], &last["message"]),
        (&json!("error"), &json!("Cancelled"))
    );
    bench.demand(json!({"demand": "start_print"}));
    assert_eq!(bench.starts(), 0);
    bench.file(8, false);
    bench.fetched();
    bench.demand(json!({"demand": "start_print"}));
    bench.demand(json!({"demand": "start_print"}));
    assert_eq!(bench.starts(), 1, "asked twice, started once");
}

#[test]
fn a_cancelled_fetch_cannot_come_back() {
    let mut bench = Bench::ready();
    bench.file(7, true);
    let number = bench.number();
    bench.demand(json!({"demand": "cancel"}));
    assert!(bench.acts.contains(&Action::StopFetch));
    // The file was complete in the same moment.
    let now = bench.now;
    bench.core().fetched(now, number, Ok("ab".repeat(32)));
    bench.turn();
    assert_eq!(bench.starts(), 0);
    assert_eq!(bench.words(), ["downloading", "operational"]);
}

#[test]
fn a_transfer_is_never_silent_for_long() {
    let mut bench = Bench::ready();
    bench.file(7, true);
    bench.clear();
    bench.live(S(32));
    let said = bench.of("file_progress").len();
    assert!((6..=7).contains(&said), "{said} in 32 s");
    for percent in 1..=50 {
        bench.core().fetched_so_far(1, percent);
        bench.wait(Duration::from_millis(20));
    }
    let fast = bench.of("file_progress").len() - said;
    assert!(fast <= 2, "{fast} in one second");
}

#[test]
fn what_a_limit_holds_back_goes_out_when_the_limit_allows() {
    let mut bench = Bench::ready();
    bench.file(7, true);
    bench.fetched();
    bench.runs();
    bench.clear();
    for percent in 1..=10 {
        if let Some(job) = &mut bench.view.job {
            job.percent = Some(percent);
        }
        bench.observe();
        bench.wait(Duration::from_millis(100));
    }
    assert_eq!(
        bench.of("job_info").len(),
        0,
        "5 s have not passed since the last"
    );
    // Nothing changes any more, and still the last value is told.
    bench.live(S(6));
    assert_eq!(bench.of("job_info"), [&json!({"job_id": 7, "progress": 10})]);
    bench.clear();
    bench.hear(json!({"type": "interval_change", "for": bench.uid, "data": {"job": 200}}));
    if let Some(job) = &mut bench.view.job {
        job.layer = Some(3);
    }
    bench.observe();
    bench.live(S(1));
    assert_eq!(bench.of("job_info"), [&json!({"job_id": 7, "layer": 3})]);
}

#[test]
fn a_new_target_is_told_at_once() {
    let mut bench = Bench::ready();
    let heat = |actual_c, target_c| Heat {
        actual_c,
        target_c: Some(target_c),
    };
    bench.view.heaters.insert("tool0".to_owned(), heat(21.0, 200.0));
    bench.observe();
    bench.view.heaters.insert("tool0".to_owned(), heat(25.0, 200.0));
    bench.observe();
    bench.view.heaters.insert("tool0".to_owned(), heat(30.0, 200.0));
    bench.observe();
    assert_eq!(bench.of("temps")[0], &json!({"tool0": [21, 200]}));
    assert_eq!(bench.of("temps").len(), 2, "then every 2.5 s");
    bench.live(S(3));
    assert_eq!(bench.of("temps")[2], &json!({"tool0": [30, 200]}));
}

#[test]
fn results_of_an_outage_are_told_once_in_order_with_their_age() {
    let mut bench = Bench::ready();
    bench.file(7, true);
    bench.fetched();
    let uid = bench.runs();
    bench.arrive();
    bench.cut();
    bench.clear();
    bench.wait(S(600));
    bench.ends(uid, Flag::Failed);
    // A print that was started at the printer meanwhile, and is over, too.
    bench.wait(S(600));
    let local = Uuid::new_v4();
    bench.view.job = Some(job(local, Some(bench.now.wall)));
    bench.view.word = StateWord::Printing;
    bench.observe();
    bench.wait(S(1200));
    bench.ends(local, Flag::Finished);
    for _ in 0..1000 {
        bench.wait(S(1));
    }
    assert!(bench.sent.is_empty());
    assert_eq!(bench.kept.len(), 3, "no growth");
    // The first connection breaks before anything is confirmed.
    bench.connect();
    bench.cut();
    bench.clear();
    bench.connect();
    bench.arrive();
    let jobs = bench.of("job_info");
    assert_eq!(jobs.len(), 3, "{jobs:?}");
    assert_eq!(
        (&jobs[0]["failed"], &jobs[0]["job_id"]),
        (&json!(true), &json!(7))
    );
    assert_eq!(jobs[1]["started"], json!(true));
    assert_eq!(jobs[1].get("job_id"), None, "nobody in the cloud knows that one");
    assert_eq!(jobs[2]["finished"], json!(true));
    assert!(jobs[0]["delay"].as_i64() >= Some(2800), "{}", jobs[0]);
    let first_state = bench.types().iter().position(|t| *t == "state_change");
    let last_job = bench.types().iter().rposition(|t| *t == "job_info");
    assert!(last_job < first_state, "results first");
    assert!(bench.kept.is_empty());
    bench.cut();
    bench.clear();
    bench.connect();
    assert!(bench.of("job_info").is_empty(), "none twice");
}

#[test]
fn a_start_does_not_survive_the_loss_of_the_connection_and_is_reported() {
    let mut bench = Bench::ready();
    bench.file(7, true);
    let number = bench.number();
    bench.cut();
    let now = bench.now;
    bench.core().fetched(now, number, Ok("ab".repeat(32)));
    bench.turn();
    bench.wait(S(30));
    bench.clear();
    bench.connect();
    assert_eq!(bench.starts(), 0);
    let error = bench.of("file_progress")[0];
    assert_eq!((&error["state"], &error["job_id"]), (&json!("error"), &json!(7)));
    assert_eq!(bench.words(), ["operational"]);
}

#[test]
fn a_start_does_not_survive_a_restart_and_a_running_print_keeps_its_number() {
    // Killed while the file was on its way.
    let mut bench = Bench::ready();
    bench.file(7, true);
    let doc = bench.core().doc().clone();
    let mut bench = Bench::with(Mode::Multi, doc, Vec::new());
    bench.connect();
    assert_eq!(bench.of("file_progress")[0]["job_id"], json!(7));
    assert_eq!(bench.of("file_progress")[0]["state"], json!("error"));
    assert_eq!(bench.starts(), 0);
    // Killed while it printed: the end is the same job's.
    bench.clear();
    bench.file(8, true);
    bench.fetched();
    let uid = bench.runs();
    let doc = bench.core().doc().clone();
    let waiting: Vec<Entry> = bench.kept.values().cloned().collect();
    let view = bench.view.clone();
    let mut bench = Bench::with(Mode::Multi, doc, waiting);
    assert!(
        bench.acts.contains(&Action::LookUp(uid)),
        "it is not in sight: {:?}",
        bench.acts
    );
    bench.view = view;
    bench.view.job = None;
    bench.connect();
    let ended = Ended {
        uid,
        file: "a.gcode".to_owned(),
        flag: Flag::Failed,
        started: Some(bench.now.wall),
        at: bench.now.wall,
        percent: None,
        why: None,
    };
    let now = bench.now;
    bench.core().looked_up(now, uid, Some(ended));
    bench.turn();
    let last = bench.of("job_info").pop().expect("an end").clone();
    assert_eq!((&last["failed"], &last["job_id"]), (&json!(true), &json!(8)));
}

#[test]
fn offline_does_not_end_a_job_that_was_not_reported_ended_first() {
    let mut bench = Bench::ready();
    bench.file(7, true);
    bench.fetched();
    let uid = bench.runs();
    bench.clear();
    bench.wait(S(60));
    bench.clear();
    bench.view.ended = Some(Ended {
        uid,
        file: "a.gcode".to_owned(),
        flag: Flag::Failed,
        started: Some(bench.now.wall),
        at: bench.now.wall,
        percent: None,
        why: None,
    });
    bench.view.job = None;
    bench.view.word = StateWord::Offline;
    bench.observe();
    let types: Vec<&str> = bench
        .types()
        .into_iter()
        .filter(|t| ["job_info", "state_change"].contains(t))
        .collect();
    assert_eq!(types, ["job_info", "state_change"]);
    assert_eq!(bench.words(), ["offline"]);
}

#[test]
fn a_printer_that_is_still_looked_for_is_not_called_offline() {
    // The daemon restarts in a print: `offline` would end the cloud's job.
    let mut bench = Bench::ready();
    bench.file(7, true);
    bench.fetched();
    bench.runs();
    let (doc, view) = (bench.core().doc().clone(), bench.view.clone());
    let mut bench = Bench::with(Mode::Multi, doc, Vec::new());
    bench.view = view.clone();
    bench.view.word = StateWord::Offline;
    bench.observe();
    bench.connect();
    bench.live(S(20));
    assert!(bench.words().is_empty(), "{:?}", bench.words());
    bench.view = view;
    bench.observe();
    assert_eq!(bench.words(), ["printing"]);
    // Without a job it is said, after a moment.
    let mut bench = Bench::with(Mode::Multi, claimed(), Vec::new());
    bench.view.word = StateWord::Offline;
    bench.observe();
    bench.connect();
    bench.live(S(5));
    assert!(bench.words().is_empty());
    bench.live(S(5));
    assert_eq!(bench.words(), ["offline"]);
}

#[test]
fn a_start_that_waits_its_turn_can_be_taken_back() {
    let cancel = Action::Command(Command::Cancel(Default::default()));
    for cut in [false, true] {
        let mut bench = Bench::ready();
        bench.file(7, true);
        bench.fetched();
        assert_eq!(bench.starts(), 1, "asked, and nothing was seen yet");
        bench.clear();
        if cut {
            bench.cut();
        } else {
            bench.demand(json!({"demand": "cancel"}));
        }
        assert!(bench.acts.contains(&Action::StopFetch));
        assert!(
            bench.acts.contains(&cancel),
            "should it have been asked in this moment"
        );
        if cut {
            bench.connect();
        }
        let said = bench.of("file_progress").pop().expect("said").clone();
        assert_eq!((&said["state"], &said["job_id"]), (&json!("error"), &json!(7)));
        assert_eq!(bench.starts(), 0);
    }
}

#[test]
fn an_hour_without_the_cloud_loses_no_result_and_piles_nothing_up() {
    let mut bench = Bench::ready();
    bench.file(7, true);
    bench.fetched();
    let first = bench.runs();
    bench.arrive();
    bench.cut();
    bench.clear();
    let mut ended = vec![first];
    for second in 0..3600 {
        // As a printer lives: other temperatures and other progress each second, a print every five minutes.
        if let Some(heat) = bench.view.heaters.get_mut("tool0") {
            heat.actual_c = 200.0 + (second % 7) as f32;
        }
        match (second % 300, &mut bench.view.job) {
            (290, Some(job)) => {
                let uid = job.uid;
                let flag = [Flag::Finished, Flag::Failed, Flag::Cancelled][second / 300 % 3];
                bench.ends(uid, flag);
            }
            (0, None) => {
                ended.push(Uuid::new_v4());
                bench.view.job = ended.last().map(|uid| job(*uid, Some(bench.now.wall)));
                bench.view.word = StateWord::Printing;
            }
            (_, Some(job)) => job.percent = Some((second % 300 / 3) as i64),
            _ => {}
        }
        bench.observe();
        bench.wait(S(1));
        assert!(bench.kept.len() <= ended.len() * 2, "only results wait");
    }
    assert!(bench.sent.is_empty(), "levels are not kept for later");
    assert!(
        bench.core().body().len() < 4096,
        "what is kept of a printer does not grow"
    );
    bench.connect();
    bench.arrive();
    let infos = bench.of("job_info");
    let flags = |info: &Value| {
        let all = ["started", "finished", "failed", "cancelled"];
        all.into_iter().find(|flag| info[*flag] == true).unwrap_or("none")
    };
    let told: Vec<&str> = infos.iter().copied().map(flags).collect();
    let mut expected = vec!["finished"];
    for n in 1..ended.len() {
        expected.extend(["started", ["finished", "failed", "cancelled"][n % 3]]);
    }
    assert_eq!(ended.len(), 12);
    assert_eq!(told, expected, "each once, in order");
    let delays: Vec<i64> = infos.iter().map(|i| i["delay"].as_i64().unwrap_or(0)).collect();
    assert!(delays.windows(2).all(|d| d[0] >= d[1]), "{delays:?}");
    assert!(delays[0] > 3300, "{delays:?}");
    assert!(bench.kept.is_empty());
    bench.cut();
    bench.clear();
    bench.connect();
    bench.arrive();
    assert!(bench.of("job_info").is_empty(), "none twice");
}
