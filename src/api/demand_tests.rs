use super::*;

fn fails(action: &str, body: Value) -> Problem {
    read(action, &body).expect_err(action)
}

fn source_of(body: Value) -> JobSource {
    match read("CreateJob", &body).expect("accepted") {
        Demand::Print(job) => job.source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn numbers_hold_their_limits_on_both_sides() {
    let rows = [
        ("Cancel", "reason", 0, false),
        ("Cancel", "reason", 1, true),
        ("Cancel", "reason", 8, true),
        ("Cancel", "reason", 9, false),
        ("ClearBed", "rating", 0, false),
        ("ClearBed", "rating", 1, true),
        ("ClearBed", "rating", 4, true),
        ("ClearBed", "rating", 5, false),
        ("Answer", "button", 0, true),
        ("Answer", "button", 256, false),
    ];
    for (action, key, value, fine) in rows {
        for value in [json!(value), json!(value.to_string())] {
            let result = read(action, &json!({key: value}));
            assert_eq!(result.is_ok(), fine, "{action} {key} {value}: {result:?}");
        }
    }
}

#[test]
fn a_comment_holds_500_characters_not_bytes() {
    let body = |n: usize| json!({"comment": "ü".repeat(n)});
    assert!(read("Cancel", &body(500)).is_ok());
    assert!(fails("Cancel", body(501)).message.contains("500"));
    assert!(fails("Cancel", json!({"comment": 5})).message.contains("text"));
}

#[test]
fn a_source_is_named_once_and_in_any_form() {
    let hash = "Ab".repeat(32);
    assert_eq!(
        source_of(json!({"file_id": hash})),
        JobSource::File("ab".repeat(32))
    );
    assert_eq!(
        source_of(json!({"filesystem": hash})),
        JobSource::File("ab".repeat(32))
    );
    assert_eq!(source_of(json!({"reprint": 7})), JobSource::JobNumber(7));
    assert_eq!(source_of(json!({"reprint": "7"})), JobSource::JobNumber(7));
    let uid = Uuid::from_u128(7);
    assert_eq!(source_of(json!({"reprint": uid})), JobSource::JobUid(uid));
    assert!(read("CreateJob", &Value::Null).is_err());
    assert!(read("CreateJob", &json!({"file_id": hash, "reprint": 7})).is_err());
    assert!(read("CreateJob", &json!({"file_id": "../../etc/passwd"})).is_err());
    assert!(read("CreateJob", &json!({"reprint": "x"})).is_err());
    for key in ["queue_file", "multi_queue", "next_queue_item"] {
        let told = fails("CreateJob", json!({key: 1}));
        assert!(told.message.contains("not available on this host"), "{told}");
    }
}

#[test]
fn options_come_as_json_or_as_text() {
    let hash = "ab".repeat(32);
    for options in [
        json!({"levelBed": true, "heatSoak": 0}),
        json!("{\"levelBed\":true}"),
    ] {
        let body = json!({"file_id": hash, "start_options": options, "skipped_objects": "[1,\"b\"]"});
        let Demand::Print(job) = read("CreateJob", &body).expect("accepted") else {
            panic!("a print");
        };
        assert_eq!(job.ignored, ["levelBed"]);
        assert_eq!(job.skip, ["1", "b"]);
    }
    for map in [
        json!([{"pid": 1, "map": [0, 1]}]),
        json!("[{\"pid\":1,\"map\":[{\"nozzle\":0,\"ext\":0}]}]"),
    ] {
        assert!(read("CreateJob", &json!({"file_id": hash, "mms_map": map})).is_ok());
    }
    let other =
        json!({"file_id": hash, "mms_map": [{"pid": 7, "map": [2, null, {"nozzle": 1, "ext": 256}]}]});
    let Demand::Print(job) = read("CreateJob", &other).expect("accepted") else {
        panic!("a print");
    };
    let place = |nozzle, position| Some(MaterialPlace { nozzle, position });
    assert_eq!(job.plate, None);
    let body = |plate: Value| json!({"file_id": hash, "layerd": {"plate": plate}});
    for plate in [json!(2), json!("2")] {
        let Ok(Demand::Print(job)) = read("CreateJob", &body(plate.clone())) else {
            panic!("{plate} is a plate");
        };
        assert_eq!(job.plate, Some(2));
    }
    for plate in [json!(0), json!(-1), json!("two"), json!(true)] {
        assert!(read("CreateJob", &body(plate.clone())).is_err(), "{plate}");
    }
    assert_eq!(job.materials, [(7, vec![place(0, 2), None, place(1, 256)])]);
    for map in [
        json!([{"pid": 1, "map": [-1]}]),
        json!([{"map": [0]}]),
        json!([{"pid": 1, "map": [70000]}]),
    ] {
        assert!(
            read("CreateJob", &json!({"file_id": hash, "mms_map": map})).is_err(),
            "{map}"
        );
    }
    assert!(read("CreateJob", &json!({"file_id": hash, "mms_map": 5})).is_err());
    assert!(read("CreateJob", &json!({"file_id": hash, "start_options": "{"})).is_err());
    assert!(read("CreateJob", &json!({"file_id": hash, "skipped_objects": [-1]})).is_err());
}

#[test]
fn documented_words_for_what_a_host_does_not_have() {
    assert_eq!(fails("Explode", Value::Null).status.as_u16(), 404);
    assert_eq!(fails("Pause", json!([1])).status.as_u16(), 400);
}

#[test]
fn objects_are_named_by_number_or_name() {
    let read = |list: Value| read("SkipObjects", &json!({"object_ids": list}));
    assert_eq!(
        read(json!([1, "2", "cube_id_0"])).expect("all forms"),
        Demand::Skip(vec!["1".to_owned(), "2".to_owned(), "cube_id_0".to_owned()])
    );
    for bad in [
        json!([]),
        json!([""]),
        json!([-1]),
        json!([1.5]),
        json!([null]),
        json!(1),
    ] {
        assert!(read(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn the_member_layerd_marks_our_dialect() {
    assert_eq!(manner(&Value::Null).expect("none"), Manner::default());
    let both = manner(&json!({"layerd": {"wait": true}})).expect("both");
    assert!(both.wait && both.ours);
    assert!(!manner(&json!({"layerd": {}})).expect("empty").wait);
    assert!(manner(&json!({"layerd": 1})).is_err());
    assert!(manner(&json!({"layerd": {"wait": "yes"}})).is_err());
}

mod any {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,40}|[0-9]{0,4}|\\[[0-9,]{0,8}\\]|(G1 X[0-9]{1,3}[;\n]?){0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::btree_map("map|pid|ext|wait|axes|amount", inner, 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Whatever comes, it is understood or refused in words, and what goes out keeps its limits.
        #[test]
        fn any_body_is_understood_or_refused(
            action in "SendGcode|CreateJob|Cancel|SkipObjects|ClearBed|Answer|Pause",
            key in "gcode|macro|macro_context|reason|comment|object_ids|rating|file_id|reprint|mms_map|\
                    start_options|skipped_objects|button|layerd",
            value in value(),
        ) {
            let body = json!({"file_id": "ab", key: value});
            let _ = manner(&body);
            match read(&action, &body) {
                Ok(Demand::Command(Command::SendGcode { lines, .. })) => {
                    prop_assert!((1..=200).contains(&lines.len()));
                    prop_assert!(lines.iter().all(|l| !l.is_empty() && l.chars().count() <= 500));
                    prop_assert!(!lines.iter().any(|l| l.contains(['\n', '\r', ';']) || l.starts_with('@')));
                }
                Ok(_) => {}
                Err(problem) => prop_assert!(!problem.message.is_empty()),
            }
        }
    }
}
