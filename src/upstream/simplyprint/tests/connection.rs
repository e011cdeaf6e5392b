use super::*;

#[test]
fn a_new_printer_shows_its_code_only_when_its_token_is_kept() {
    let mut bench = Bench::new();
    bench.save = false;
    bench.session.opened(bench.now);
    bench.turn();
    assert!(bench.sent.is_empty(), "nothing before the greeting");
    bench.hear(json!({"type": "connected", "data": {"region": "eu"}}));
    let add = bench.of("add_connection")[0].clone();
    assert_eq!((&add["pid"], &add["token"]), (&json!(0), &json!("0")));
    let uid = bench.uid.clone();
    bench.hear(json!({"type": "add_connection", "data": {"status": true, "pid": 0, "unique_id": uid}}));
    bench
        .hear(json!({"type": "new_token", "for": uid, "data": {"token": "very-secret", "short_id": "7KQX"}}));
    bench.hear(json!({"type": "connected", "for": uid, "data": {"in_setup": true, "short_id": "7KQX"}}));
    let shown = |b: &Bench| b.acts.contains(&Action::ShowCode(Some("7KQX".to_owned())));
    assert!(!shown(&bench), "the disk has failed");
    bench.save = true;
    bench.wait(S(6));
    bench.wait(S(1));
    assert!(shown(&bench));
    for kind in bench.types() {
        assert!(
            ["add_connection", "state_change", "firmware", "ping"].contains(&kind),
            "{kind} before set-up"
        );
    }
    // Nobody has claimed it: nothing moves or heats.
    bench.clear();
    bench.demand(json!({"demand": "gcode", "list": ["G28", "M300 S440"]}));
    let lines = vec!["M117 Setup: 7KQX".to_owned(), "M300 S440".to_owned()];
    let identify = Action::Gcode {
        lines,
        tune: false,
        identifier: None,
    };
    assert!(bench.acts.contains(&identify), "{:?}", bench.acts);
    bench.file(1, true);
    assert_eq!(bench.fetches(), 0);
    bench.clear();
    bench.hear(json!({"type": "complete_setup", "for": uid, "data": {"printer_id": 1234}}));
    assert!(bench.acts.contains(&Action::ShowCode(None)));
    assert_eq!(bench.types()[0], "state_change");
    assert_eq!(bench.of("temps")[0], &json!({"tool0": [21, 0]}));
    // The next connection goes with the new number.
    bench.cut();
    bench.clear();
    bench.connect();
    let add = bench.of("add_connection")[0];
    assert_eq!(
        (&add["pid"], &add["token"]),
        (&json!(1234), &json!("very-secret"))
    );
}

#[test]
fn a_lost_registration_goes_back_to_set_up_and_forgets_the_account() {
    let mut bench = Bench::ready();
    bench.cut();
    bench.session.opened(bench.now);
    bench.hear(json!({"type": "connected", "data": {}}));
    let uid = bench.uid.clone();
    bench.hear(json!({"type": "add_connection", "data": {"status": true, "pid": 0, "unique_id": uid}}));
    bench.hear(
        json!({"type": "new_token", "for": uid, "data": {"token": "t2", "short_id": "AAAA", "no_exist": true}}),
    );
    bench.clear();
    bench.hear(json!({"type": "connected", "for": uid, "data": {"in_setup": true, "short_id": "AAAA"}}));
    assert_eq!(bench.core().doc().id, 0);
    assert!(bench.of("temps").is_empty());
    let code = bench.session.printer(P).and_then(|p| p.doc().short_id.clone());
    assert_eq!(code.as_deref(), Some("AAAA"));
}

#[test]
fn a_refused_printer_waits_as_long_as_it_is_told_and_the_others_go_on() {
    let mut bench = Bench::with(Mode::Multi, claimed(), Vec::new());
    let other = claimed();
    let other_uid = other.unique_id.clone();
    let now = bench.now;
    bench.session.add(
        2,
        PrinterCore::new(other, Vec::new(), Permissions::default(), now),
    );
    bench.session.opened(now);
    bench.hear(json!({"type": "connected", "data": {}}));
    assert_eq!(bench.of("add_connection").len(), 2);
    let uid = bench.uid.clone();
    bench.hear(
        json!({"type": "add_connection", "data": {"status": false, "unique_id": uid, "reason": "Rate limited. Retry-After: 249s"}}),
    );
    bench.hear(
        json!({"type": "add_connection", "data": {"status": true, "pid": 1234, "unique_id": other_uid}}),
    );
    bench.hear(json!({"type": "connected", "for": other_uid, "data": {"in_setup": false}}));
    assert!(bench.session.printer(2).is_some_and(PrinterCore::is_connected));
    bench.clear();
    bench.wait(S(248));
    assert!(bench.of("add_connection").is_empty());
    bench.wait(S(2));
    assert_eq!(bench.of("add_connection").len(), 1);
    // Without a time it doubles.
    for wait_s in [5_u64, 10, 20] {
        bench.hear(
            json!({"type": "add_connection", "data": {"status": false, "unique_id": uid, "reason": "no"}}),
        );
        bench.clear();
        bench.wait(S(wait_s) * 2 - Duration::from_millis(100));
        assert!(bench.of("add_connection").is_empty(), "{wait_s}");
        bench.wait(Duration::from_millis(200));
        assert_eq!(bench.of("add_connection").len(), 1, "{wait_s}");
    }
}

#[test]
fn a_removed_printer_is_silent_and_comes_back() {
    let mut bench = Bench::ready();
    let uid = bench.uid.clone();
    bench.hear(
        json!({"type": "remove_connection", "data": {"deleted": false, "pid": 1234, "unique_id": uid}}),
    );
    bench.clear();
    bench.view.word = StateWord::Error;
    bench.observe();
    assert!(bench.sent.is_empty());
    bench.wait(S(6));
    assert_eq!(bench.of("add_connection")[0]["pid"], json!(1234));
    // Deleted in the account: it is a new printer.
    let mut bench = Bench::ready();
    let uid = bench.uid.clone();
    bench.hear(json!({"type": "remove_connection", "data": {"deleted": true, "unique_id": uid}}));
    bench.clear();
    bench.wait(S(6));
    let add = bench.of("add_connection")[0];
    assert_eq!((&add["pid"], &add["token"]), (&json!(0), &json!("0")));
}

#[test]
fn an_error_of_the_cloud_and_a_silent_cloud_end_the_connection() {
    let mut bench = Bench::ready();
    bench.hear(json!({"type": "error", "data": {"msg": "go away"}}));
    assert_eq!(bench.hangups, [Some(S(30))]);
    let mut bench = Bench::with(Mode::Multi, claimed(), Vec::new());
    bench.session.opened(bench.now);
    bench.wait(S(31));
    assert_eq!(bench.hangups.len(), 1, "no greeting");
    let mut bench = Bench::ready();
    for _ in 0..6 {
        bench.wait(S(21));
    }
    assert!(!bench.hangups.is_empty(), "pings are not answered");
}

#[test]
fn a_single_socket_has_its_credential_in_the_path_and_no_names() {
    let mut bench = Bench::with(Mode::Single, claimed(), Vec::new());
    assert_eq!(bench.session.path().reveal(), "/0.2/p/1234/very-secret");
    bench.session.opened(bench.now);
    bench.hear(json!({"type": "connected", "data": {"in_setup": false, "reconnect_token": "r-41"}}));
    assert!(bench.sent.iter().all(|m| m.get("for").is_none()));
    assert!(bench.types().contains(&"temps"));
    bench.cut();
    assert_eq!(bench.session.path().reveal(), "/0.2/p/1234/very-secret/r-41");
    let bench = Bench::with(Mode::Single, Doc::default(), Vec::new());
    assert_eq!(bench.session.path().reveal(), "/0.2/p/0/0");
}

#[test]
fn what_the_host_must_not_do_is_not_done_and_said() {
    let mut bench = Bench::ready();
    for demand in [
        "system_restart",
        "system_shutdown",
        "api_restart",
        "goto_ws_test",
        "update",
    ] {
        bench.demand(json!({"demand": demand}));
    }
    assert!(!bench.acts.iter().any(|a| matches!(a, Action::Host(_))));
    bench.live(S(2));
    let events: usize = bench
        .of("notification")
        .iter()
        .filter_map(|n| n["events"].as_array().map(Vec::len))
        .sum();
    assert_eq!(events, 4, "{:?}", bench.of("notification"));
}

#[test]
fn emergency_stop_is_a_line_of_gcode_too() {
    let mut bench = Bench::ready();
    bench.demand(json!({"demand": "gcode", "list": ["G28", "M112"]}));
    assert!(bench.acts.contains(&Action::Command(Command::EmergencyStop)));
    assert!(!bench.acts.iter().any(|a| matches!(a, Action::Gcode { .. })));
}

#[test]
fn the_latency_is_never_that_of_another_ping() {
    let mut bench = Bench::ready();
    let uid = bench.uid.clone();
    bench.wait(S(21));
    bench.wait(Duration::from_millis(120));
    bench.hear(json!({"type": "pong", "for": uid}));
    assert_eq!(bench.of("latency"), [&json!({"ms": 120})]);
    bench.wait(S(21));
    bench.cut();
    bench.clear();
    bench.connect();
    bench.hear(json!({"type": "pong", "for": uid}));
    bench.hear(json!({"type": "pong", "for": uid}));
    assert!(bench.of("latency").len() <= 1);
    assert!(bench.of("latency").iter().all(|l| l["ms"].as_u64() == Some(0)));
}

#[test]
fn demands_before_the_greeting_do_nothing_at_all() {
    let mut bench = Bench::with(Mode::Multi, claimed(), Vec::new());
    let demands = [
        json!({"demand": "gcode", "list": ["M112"]}),
        json!({"demand": "gcode", "list": ["M104 S250"], "identifier": "early"}),
        json!({"demand": "cancel"}),
        json!({"demand": "start_print"}),
        json!({"demand": "psu_off"}),
        json!({"demand": "system_shutdown"}),
    ];
    let all = |bench: &mut Bench| {
        for demand in &demands {
            bench.demand(demand.clone());
        }
        bench.file(5, true);
    };
    // Before the socket is open, before it is greeted, before the printer is.
    all(&mut bench);
    bench.session.opened(bench.now);
    all(&mut bench);
    bench.hear(json!({"type": "connected", "data": {"region": "eu"}}));
    all(&mut bench);
    let done = bench.acts.iter().filter(|act| !matches!(act, Action::Note(_)));
    assert_eq!(done.collect::<Vec<_>>(), Vec::<&Action>::new());
    assert_eq!(bench.core().doc().job, None);
    assert_eq!(bench.types(), ["add_connection"]);
}
