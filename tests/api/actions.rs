//! What the actions do, what they refuse, and in which words.

use serde_json::{Value, json};

use crate::rig::Rig;

fn outcome(answer: &Value) -> (bool, &str, &str) {
    let text = |key: &str| answer["layerd"][key].as_str().expect("a text");
    (
        answer["status"].as_bool().expect("a flag"),
        text("outcome"),
        text("code"),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_print_is_started_paused_resumed_cancelled_and_remembered() {
    let rig = Rig::start().await;
    let started = rig.print(1).await;
    assert_eq!(started["files"][0]["name"], "cube.gcode");
    assert_eq!(started["files"][0]["printers"], json!([1]));
    let id = started["jobIds"][0].as_i64().expect("a number");
    let (_, row) = rig.get("0/printers/Get?pid=1").await;
    assert_eq!(row["data"]["job"]["id"], id);
    assert_eq!(
        row["data"]["job"]["percentage"],
        Value::Null,
        "not known is not zero"
    );
    assert_eq!(row["data"]["layerd"]["job"]["file"], "cube.gcode");

    for (action, word) in [("Pause", "paused"), ("Resume", "printing")] {
        let answer = rig.act(action, json!({"pid": 1})).await;
        assert_eq!(outcome(&answer), (true, "verified", "ok"), "{action}: {answer}");
        rig.until(word, |r| r.state(1) == word).await;
    }
    let answer = rig.act("SkipObjects", json!({"pid": 1, "object_ids": [2]})).await;
    assert_eq!(answer["message"], "No objects found in the print job");
    let answer = rig
        .act("Cancel", json!({"pid": 1, "reason": 4, "comment": "came off"}))
        .await;
    assert_eq!(outcome(&answer), (true, "verified", "ok"));
    rig.until("idle", |r| r.state(1) == "operational").await;
    assert_eq!(rig.alpha.told(), ["start", "pause", "resume", "cancel"]);

    let (_, details) = rig.get(&format!("0/jobs/GetDetails?id={id}")).await;
    let job = &details["job"];
    assert_eq!(
        (&job["state"], &job["file"]),
        (&json!("cancelled"), &json!("cube.gcode")),
        "{details}"
    );
    assert_eq!(job["cancelInfo"]["reason"], 4);
    assert_eq!(job["cancelInfo"]["comment"], "came off");
    assert_eq!(job["pauses"].as_array().expect("a list").len(), 1);
    let uid = job["uid"].as_str().expect("an identity").to_owned();
    let (_, same) = rig.get(&format!("0/jobs/GetDetails?id={uid}")).await;
    assert_eq!(same["job"]["id"], id);

    let again = rig.act("CreateJob", json!({"pid": 1, "reprint": uid})).await;
    assert_eq!(outcome(&again).1, "verified", "{again}");
    assert_ne!(again["jobIds"][0], json!(id));
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_history_is_filtered_in_both_spellings() {
    let rig = Rig::start().await;
    rig.print(1).await;
    rig.act("Cancel", json!({"pid": 1})).await;
    rig.print(2).await;
    let list = |mut body: Value| {
        body["page"] = json!(1);
        body["page_size"] = json!(100);
        rig.post("0/jobs/GetPaginatedPrintJobs", body)
    };
    for (filter, want) in [
        (json!({}), 2),
        (json!({"accepted_statuses": ["cancelled"]}), 1),
        (json!({"status": ["ongoing"]}), 1),
        (json!({"status": ["finished", "failed"]}), 0),
        (json!({"printer_ids": [2]}), 1),
        (json!({"printer_ids": [99]}), 0),
        (
            json!({"start_date": "2020-01-01", "end_date": 4_000_000_000_i64}),
            2,
        ),
        (json!({"start_date": 4_000_000_000_i64}), 0),
    ] {
        let (status, answer) = list(filter.clone()).await;
        assert_eq!(
            (status, &answer["total"]),
            (200, &json!(want)),
            "{filter}: {answer}"
        );
    }
    for body in [
        json!({}),
        json!({"page": 1}),
        json!({"page": 1, "page_size": 101}),
        json!({"page": 0, "page_size": 1}),
    ] {
        let (status, _) = rig.post("0/jobs/GetPaginatedPrintJobs", body.clone()).await;
        assert_eq!(status, 400, "{body}");
    }
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cloud_rules_hold_without_the_member_layerd() {
    let rig = Rig::start().await;
    let plain = |action: &str, body: Value| {
        let path = format!("0/printers/actions/{action}?pid=1");
        let rig = &rig;
        async move {
            let (status, answer) = rig.post(&path, body).await;
            assert_eq!(status, 200, "{answer}");
            answer
        }
    };
    for action in ["Pause", "Resume", "Cancel"] {
        let answer = plain(action, json!({})).await;
        assert_eq!(
            outcome(&answer),
            (false, "refused", "refused/wrong-state"),
            "{action}"
        );
        assert_eq!(answer["message"], answer["layerd"]["message"]);
    }
    let answer = plain("SkipObjects", json!({"object_ids": [1]})).await;
    assert_eq!(answer["message"], "No active print job found");
    assert_eq!(
        plain("CancelPendingPrint", json!({})).await["message"],
        "No pending prints to cancel"
    );
    assert_eq!(plain("RefreshMaterialData", json!({})).await["status"], false);
    assert_eq!(
        plain("ClearBed", json!({"rating": 3, "success": true})).await["status"],
        true
    );
    assert!(rig.alpha.told().is_empty(), "{:?}", rig.alpha.told());

    rig.print(1).await;
    let answer = plain("SendGcode", json!({"gcode": "M220 S110"})).await;
    assert_eq!(
        outcome(&answer).2,
        "refused/wrong-state",
        "refused in a print, as documented"
    );
    let answer = rig
        .act(
            "SendGcode",
            json!({"pid": 1, "gcode": "M220 S110", "layerd": {"tune": true}}),
        )
        .await;
    assert_eq!(outcome(&answer), (true, "sent", "ok"), "{answer}");
    let answer = rig
        .act(
            "SendGcode",
            json!({"pid": 1, "gcode": "G28", "layerd": {"tune": true}}),
        )
        .await;
    assert_eq!(outcome(&answer).1, "refused", "only what tunes");
    assert_eq!(rig.alpha.told(), ["start", "M220 S110"]);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g_code_arrives_clean_and_every_end_has_its_word() {
    let rig = Rig::start().await;
    let body = json!({"pid": [1], "gcode": "G28 ; home\n\n@pause\nG1 X5"});
    assert_eq!(outcome(&rig.act("SendGcode", body).await), (true, "sent", "ok"));
    let answer = rig
        .act(
            "SendGcode",
            json!({"pid": "1", "macro": "home", "macro_context": {"axes": "z"}}),
        )
        .await;
    assert_eq!(outcome(&answer).1, "sent");
    assert_eq!(rig.alpha.told(), ["G28|G1 X5", "G28 Z"]);
    let answer = rig.act("SendGcode", json!({"pid": 1, "gcode": ["M9999"]})).await;
    assert_eq!(outcome(&answer), (false, "rejected", "printer/rejected"));
    assert!(answer["message"].as_str().expect("words").contains("M9999"));
    let answer = rig.act("SendGcode", json!({"pid": 1, "gcode": ["M9998"]})).await;
    assert_eq!(outcome(&answer), (false, "unverified", "unverified/no-ack"));
    let (_, answer) = rig
        .post("0/printers/actions/SendGcode?pid=1", json!({"gcode": "M105"}))
        .await;
    assert_eq!(outcome(&answer), (true, "accepted", "ok"), "nobody waited");
    let answer = rig.act("EmergencyStop", json!({"pid": 1})).await;
    assert_eq!(outcome(&answer), (true, "sent", "ok"));
    let (status, _) = rig
        .post(
            "0/printers/actions/SendGcode?pid=1",
            json!({"gcode": vec!["M105"; 201]}),
        )
        .await;
    assert_eq!(status, 400);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_printers_are_answered_one_by_one() {
    let rig = Rig::start().await;
    let answer = rig.act("SendGcode", json!({"pid": "1, 2", "gcode": "G28"})).await;
    let results = answer["layerd"]["results"].as_array().expect("a list");
    assert_eq!(results.len(), 2);
    assert!(results.iter().all(|r| r["outcome"] == "sent"), "{answer}");
    // One that is not ready, and the cloud's rule: nothing is sent to any.
    rig.print(2).await;
    let (_, answer) = rig
        .post("0/printers/actions/SendGcode?pid=1,2", json!({"gcode": "G29"}))
        .await;
    assert_eq!(answer["status"], false);
    assert_eq!(answer["layerd"]["results"][0]["code"], "refused/another-printer");
    assert_eq!(answer["layerd"]["results"][1]["code"], "refused/wrong-state");
    assert_eq!(rig.alpha.told(), ["G28"]);
    // A start goes on where it can.
    let id = rig.upload("cube.gcode", crate::rig::CUBE).await;
    let (_, answer) = rig
        .post(
            "0/printers/actions/CreateJob",
            json!({"pid": [1, 2, 3], "file_id": id}),
        )
        .await;
    assert_eq!(answer["status"], true, "{answer}");
    assert!(
        answer["message"]
            .as_str()
            .expect("words")
            .starts_with("Started some jobs, but"),
        "{answer}"
    );
    assert_eq!(answer["files"][0]["printers"], json!([1]));
    assert_eq!(answer["layerd"]["results"][2]["code"], "refused/offline");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_start_twice_is_one_print() {
    let rig = Rig::start().await;
    let id = rig.upload("cube.gcode", crate::rig::CUBE).await;
    let start = || {
        rig.act(
            "CreateJob",
            json!({"pid": 1, "file_id": id, "layerd": {"start_id": "once"}}),
        )
    };
    let first = start().await;
    assert_eq!(outcome(&first).1, "verified");
    rig.until("it prints", |r| r.state(1) == "printing").await;
    let again = start().await;
    assert_eq!(again, first, "while it prints");
    rig.act("Cancel", json!({"pid": 1})).await;
    let again = start().await;
    assert_eq!(again, first, "long after");
    assert_eq!(rig.alpha.told(), ["start", "cancel"]);
    let unknown = rig
        .act("CreateJob", json!({"pid": 1, "file_id": "ab".repeat(32)}))
        .await;
    assert_eq!(outcome(&unknown).2, "refused/unknown-file");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_are_skipped_by_name_or_number_until_one_is_left() {
    let rig = Rig::start().await;
    let skip = |list: Value| rig.act("SkipObjects", json!({"pid": 1, "object_ids": list}));
    assert_eq!(
        skip(json!(["cube"])).await["message"],
        "No active print job found"
    );
    let id = rig.upload("plate.gcode", crate::rig::PLATE).await;
    let body = json!({"pid": 1, "file_id": id, "skipped_objects": ["cube", "cone"]});
    let refused = rig.act("CreateJob", body).await;
    assert!(
        refused["message"]
            .as_str()
            .expect("words")
            .starts_with("Cannot skip all objects"),
        "{refused}"
    );
    rig.act("CreateJob", json!({"pid": 1, "file_id": id})).await;
    rig.until("it prints", |r| r.state(1) == "printing").await;
    assert_eq!(
        outcome(&skip(json!(["sphere"])).await).2,
        "refused/unknown-object"
    );
    let all = skip(json!([0, "cone"])).await;
    assert!(
        all["message"]
            .as_str()
            .expect("words")
            .starts_with("Cannot skip all objects"),
        "{all}"
    );
    assert_eq!(outcome(&skip(json!(["cone"])).await), (true, "verified", "ok"));
    let skipped = |r: &Rig| {
        let snapshot = r.agent.by_id(1).expect("alpha").snapshot();
        snapshot.state.job.as_ref().is_some_and(|j| j.skipped == [1])
    };
    rig.until("it is seen to be skipped", skipped).await;
    assert_eq!(
        outcome(&skip(json!(["cube"])).await).2,
        "refused/all-objects",
        "one has to stay"
    );
    assert_eq!(rig.alpha.told(), ["start", "skip"]);
    rig.end().await;
}
