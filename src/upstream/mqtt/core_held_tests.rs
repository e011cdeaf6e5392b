//! Commands that wait for their id to be on the disk.

use super::*;

#[test]
fn what_rouses_waits_for_its_id_to_be_on_the_disk_and_what_stops_does_not() {
    let begin = now();
    let mut core = core(begin);
    for (id, word) in [("a", "gcode"), ("b", "resume")] {
        send(&mut core, begin, id, word);
    }
    let (acts, first) = stuck(&mut core, begin);
    assert!(acts.is_empty(), "{acts:?}");
    send(&mut core, begin, "c", "gcode");
    let (_, second) = stuck(&mut core, begin);
    core.kept(P, first.expect("a document"));
    assert_eq!(
        stuck(&mut core, begin).0,
        ["a", "b"],
        "in order, and not those behind it"
    );
    core.kept(P, first.expect("a document"));
    assert!(stuck(&mut core, begin).0.is_empty(), "once");
    core.kept(P, second.expect("a document"));
    assert_eq!(stuck(&mut core, begin).0, ["c"]);
    for word in ["pause", "cancel", "heaters_off", "power", "emergency_stop"] {
        send(&mut core, begin, word, word);
        assert_eq!(stuck(&mut core, begin).0, [word]);
    }
}

#[test]
fn a_word_that_stops_is_not_followed_by_what_came_before_it() {
    let begin = now();
    let mut core = core(begin);
    core.connected();
    for (id, word) in [
        ("a", "resume"),
        ("b", "skip"),
        ("c", "gcode"),
        ("d", "pause"),
        ("e", "resume"),
    ] {
        send(&mut core, begin, id, word);
    }
    let (acts, last) = stuck(&mut core, begin);
    assert_eq!(acts, ["d"]);
    core.kept(P, last.expect("a document"));
    assert_eq!(stuck(&mut core, begin).0, ["b", "e"]);
    let told: Vec<(Value, Value)> = results(&said(&mut core, begin))
        .iter()
        .map(|r| (r["id"].clone(), r["code"].clone()))
        .collect();
    let overtaken = || json!("refused/overtaken");
    assert_eq!(told, [(json!("a"), overtaken()), (json!("c"), overtaken())]);
}

#[test]
fn a_disk_that_takes_no_id_means_no_and_never_later() {
    let begin = now();
    let mut core = core(begin);
    core.connected();
    said(&mut core, begin);
    send(&mut core, begin, "a", "gcode");
    send(&mut core, later(begin, 2), "b", "gcode");
    let (_, last) = stuck(&mut core, later(begin, 2));
    assert!(stuck(&mut core, later(begin, 4)).0.is_empty());
    assert_eq!(
        core.deadline(later(begin, 4).mono),
        Some(later(begin, 5).mono),
        "when the first is late"
    );
    assert!(stuck(&mut core, later(begin, 5)).0.is_empty());
    let told = said(&mut core, later(begin, 5));
    assert_eq!(results(&told)[0]["code"], "refused/not-kept");
    core.kept(P, last.expect("a document"));
    assert_eq!(
        stuck(&mut core, later(begin, 6)).0,
        ["b"],
        "the disk has room again"
    );
    // The same id was not carried out, so that it may be sent again; its second answer is not taken for the first.
    send(&mut core, later(begin, 7), "a", "gcode");
    let asked = acts(&mut core, later(begin, 7));
    assert_eq!(asked[0].id, "a");
    core.answered(later(begin, 7), P, &asked[0], &Outcome::Verified, None);
    let told = said(&mut core, later(begin, 7));
    assert_eq!(results(&told)[0]["outcome"], "verified");
    send(&mut core, later(begin, 8), "a", "gcode");
    assert!(acts(&mut core, later(begin, 8)).is_empty());
}

#[test]
fn only_so_many_wait_for_the_disk() {
    let begin = now();
    let mut core = core(begin);
    core.connected();
    for n in 0..20 {
        send(&mut core, begin, &n.to_string(), "gcode");
    }
    stuck(&mut core, begin);
    let told = results(&said(&mut core, begin));
    let codes: BTreeSet<String> = told.iter().map(|r| r["code"].to_string()).collect();
    assert_eq!(
        (told.len(), codes),
        (4, BTreeSet::from(["\"refused/busy\"".to_owned()]))
    );
}

#[test]
fn a_stop_of_the_service_carries_nothing_out_and_the_id_is_new_after_it() {
    let begin = now();
    let mut core = core(begin);
    send(&mut core, begin, "a", "gcode");
    stuck(&mut core, begin);
    core.void(begin, P);
    let mut doc = None;
    while let Some(output) = core.poll(begin) {
        match output {
            Output::Keep(key, version, text) => {
                core.kept(key, version);
                doc = Some(text);
            }
            Output::Act(..) => panic!("it was carried out"),
            _ => {}
        }
    }
    let doc = serde_json::from_str(&doc.expect("kept")).expect("readable");
    let mut next = Core::new(settings());
    next.join(begin, P, "p", doc, Vec::new());
    send(&mut next, begin, "a", "gcode");
    assert_eq!(acts(&mut next, begin).len(), 1);
}

proptest! {
    /// Whenever the disk answers and whenever the service is killed: no id is carried out twice but of what stops, all in the
    /// order in which they came, and each is answered or carried out.
    #[test]
    fn a_kill_makes_nothing_happen_twice(steps in proptest::collection::vec((0_u8..12, 0_u8..10, 0_usize..4), 0..120)) {
        let words = ["gcode", "resume", "skip", "pause"];
        let mut now = now();
        let mut core = core(now);
        let (mut carried, mut order, mut came) = (BTreeSet::new(), Vec::new(), Vec::new());
        // The disk: what is on it, and what is on the way to it.
        let mut disk = Doc::default();
        let mut writes: VecDeque<(u64, String)> = VecDeque::new();
        for (step, id, word) in steps {
            match step {
                0..6 => {
                    let name = format!("{}{id}", words[word]);
                    came.push(name.clone());
                    send(&mut core, now, &name, words[word]);
                }
                6..9 => if let Some((version, text)) = writes.pop_front() {
                    disk = serde_json::from_str(&text).expect("readable");
                    core.kept(P, version);
                },
                9 | 10 => now = later(now, 2),
                _ => {
                    writes.clear();
                    order.clear();
                    came.clear();
                    core = self::core(now);
                    core.leave(P);
                    core.join(now, P, "p", disk.clone(), Vec::new());
                }
            }
            while let Some(output) = core.poll(now) {
                match output {
                    Output::Keep(_, version, text) => writes.push_back((version, text)),
                    Output::Act(_, asked) => {
                        let stops = asked.what.stops();
                        prop_assert!(carried.insert(asked.id.clone()) || stops, "twice: {}", asked.id);
                        if !stops {
                            prop_assert!(disk.taken.iter().any(|taken| taken.id == asked.id), "not on the disk: {}", asked.id);
                            order.push(asked.id.clone());
                        }
                    }
                    _ => {}
                }
            }
            // A subsequence of what came: each is behind the one before it.
            let mut from = came.iter();
            prop_assert!(order.iter().all(|id| from.any(|c| c == id)), "{order:?} of {came:?}");
        }
    }
}
