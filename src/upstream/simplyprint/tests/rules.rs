use super::*;

/// One step of a life with the cloud.
#[derive(Clone, Debug)]
enum Step {
    Connect,
    Cut,
    Arrive,
    Wait(u64),
    File(i64, bool),
    Demand(&'static str),
    Fetched(bool),
    Runs,
    Refused,
    Ends(u8),
    Local,
    Progress(i64),
    Junk(String),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Connect),
        Just(Step::Cut),
        Just(Step::Arrive),
        (1_u64..40).prop_map(Step::Wait),
        (1_i64..6, any::<bool>()).prop_map(|(id, auto)| Step::File(id, auto)),
        prop_oneof![Just("cancel"), Just("pause"), Just("start_print"), Just("resume")]
            .prop_map(Step::Demand),
        any::<bool>().prop_map(Step::Fetched),
        Just(Step::Runs),
        Just(Step::Refused),
        (0_u8..3).prop_map(Step::Ends),
        Just(Step::Local),
        (0_i64..100).prop_map(Step::Progress),
        "[ -~]{0,40}".prop_map(Step::Junk),
        Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever happens in whatever order: one flag in a message, no end without a start, no state after
    /// a print before its end is told, no start twice, none from before a cut.
    #[test]
    fn the_rules_of_the_cloud_hold_in_any_order(steps in proptest::collection::vec(step(), 1..60)) {
        let mut bench = Bench::ready();
        let mut started: Vec<i64> = Vec::new();
        let mut cut_since_file = false;
        for step in steps {
            bench.clear();
            let before = bench.view.job.as_ref().map(|j| j.uid);
            match step {
                Step::Connect => if !bench.session.is_ready() { bench.connect() },
                Step::Cut => { bench.cut(); cut_since_file = true; }
                Step::Arrive => bench.arrive(),
                Step::Wait(s) => bench.wait(S(s)),
                Step::File(id, auto) => { if bench.session.is_ready() { cut_since_file = false; } bench.file(id, auto) }
                Step::Demand(name) => bench.demand(json!({"demand": name})),
                Step::Fetched(ok) => {
                    let now = bench.now;
                    for number in 0..200 {
                        let result = if ok { Ok("ab".repeat(32)) } else { Err("Failed".to_owned()) };
                        bench.core().fetched(now, number, result);
                    }
                    bench.turn();
                }
                Step::Runs | Step::Refused => {
                    let starting = bench.core().doc().job.as_ref().is_some_and(|j| j.phase == Phase::Starting);
                    if starting && before.is_none() {
                        let (now, uid) = (bench.now, Uuid::new_v4());
                        let runs = matches!(step, Step::Runs);
                        for number in 0..200 {
                            let result = if runs { StartResult::Accepted(uid) } else { StartResult::Refused("no".to_owned()) };
                            bench.core().started(now, number, result);
                        }
                        if runs {
                            bench.view.job = Some(job(uid, Some(now.wall)));
                            bench.view.word = StateWord::Printing;
                        }
                        bench.observe();
                    }
                }
                Step::Ends(how) => if let Some(uid) = before {
                    bench.ends(uid, [Flag::Finished, Flag::Cancelled, Flag::Failed][usize::from(how)]);
                },
                Step::Local => if before.is_none() {
                    bench.view.job = Some(job(Uuid::new_v4(), Some(bench.now.wall)));
                    bench.view.word = StateWord::Printing;
                    bench.observe();
                    // A start on its way comes too late, and that is answered.
                    let now = bench.now;
                    for number in 0..200 {
                        bench.core().started(now, number, StartResult::Refused("busy".to_owned()));
                    }
                    bench.turn();
                },
                Step::Progress(percent) => {
                    if let Some(job) = &mut bench.view.job { job.percent = Some(percent); }
                    bench.observe();
                }
                Step::Junk(text) => { bench.session.frame(bench.now, &text, 0.5); bench.turn(); }
                Step::Restart => {
                    let doc = bench.core().doc().clone();
                    let mut waiting: Vec<Entry> = bench.kept.values().cloned().collect();
                    waiting.sort_by_key(|e| e.at);
                    let (now, view) = (bench.now, bench.view.clone());
                    cut_since_file = true;
                    bench = Bench::with(Mode::Multi, doc, waiting);
                    bench.now = now;
                    bench.view = view;
                    bench.observe();
                    let asked: Vec<Action> = bench.acts.clone();
                    for act in asked {
                        match act {
                            Action::LookUp(uid) => bench.core().looked_up(now, uid, None),
                            Action::LookUpStart(_) => bench.core().looked_up_start(now, None),
                            _ => {}
                        }
                    }
                    bench.turn();
                }
            }
            for act in &bench.acts {
                if let Action::Start(order) = act {
                    let id = order.start_id.rsplit('/').next().and_then(|n| n.parse().ok()).unwrap_or(0);
                    prop_assert!(!started.contains(&id), "job {} was started twice", id);
                    prop_assert!(bench.session.is_ready(), "started without the cloud");
                    started.push(id);
                }
            }
            for info in bench.of("job_info") {
                let flags = ["started", "finished", "cancelled", "failed"].iter().filter(|f| info.get(**f).is_some()).count();
                prop_assert!(flags <= 1, "{info}");
            }
            // A state behind a print comes after the print's end.
            if let Some(at) = bench.sent.iter().position(|m| m["data"]["new"] == "operational") {
                let ends = |m: &Value| ["finished", "cancelled", "failed"].iter().any(|f| m["data"].get(*f).is_some());
                let late = bench.sent.get(at..).unwrap_or_default().iter().any(|m| m["type"] == "job_info" && ends(m));
                prop_assert!(!late, "{:?}", bench.sent);
            }
            let open = bench.core().doc().tracked.is_some();
            prop_assert_eq!(open, bench.view.job.is_some(), "what is reported follows what is");
            if cut_since_file {
                let phase = bench.core().doc().job.as_ref().map(|j| j.phase);
                prop_assert!(phase != Some(Phase::Fetching), "a fetch outlived the connection");
            }
        }
    }

    /// Nothing that a cloud can say is more than a counter.
    #[test]
    fn junk_of_any_kind_is_counted(text in ".{0,200}") {
        let mut bench = Bench::ready();
        bench.session.frame(bench.now, &text, 0.5);
        bench.turn();
        prop_assert!(bench.session.is_ready());
    }
}
