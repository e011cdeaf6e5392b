//! What the page asks beside the documented shape: plate, analysis before a start, curves, camera.

use serde_json::{Value, json};

use crate::rig::{CUBE, PLATE, Rig};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_needs_no_key_and_brings_its_own_rules() {
    let rig = Rig::start().await;
    let far = rig.far(&[]);
    for (path, kind) in [
        ("", "text/html"),
        ("page/app.js", "text/javascript"),
        ("page/style.css", "text/css"),
    ] {
        let answer = far.http.get(far.url(path)).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
        let header = |name: &str| answer.headers()[name].to_str().expect("text").to_owned();
        assert!(header("content-type").starts_with(kind), "{path}");
        assert!(
            header("content-security-policy").starts_with("default-src 'none'"),
            "{path}"
        );
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert!(answer.text().await.expect("a body").len() > 500, "{path}");
    }
    let (status, _) = far.get("page/secret.js").await;
    assert_eq!(status, 404);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_plate_of_a_print_tells_what_is_left_out() {
    let rig = Rig::start().await;
    let (status, idle) = rig.get("0/printers/GetPlate?pid=1").await;
    assert_eq!((status, &idle["data"]["job"]), (200, &Value::Null));
    let id = rig.upload("plate.gcode", PLATE).await;
    rig.act("CreateJob", json!({"pid": 1, "file_id": id})).await;
    rig.until("it prints", |r| r.state(1) == "printing").await;
    let (_, plate) = rig.get("0/printers/GetPlate?pid=1").await;
    let data = &plate["data"];
    assert_eq!(data["job"]["file"], "plate.gcode");
    let names: Vec<&Value> = data["objects"]
        .as_array()
        .expect("objects")
        .iter()
        .map(|o| &o["name"])
        .collect();
    assert_eq!(names, [&json!("cube"), &json!("cone")]);
    assert_eq!(data["objects"][0]["bbox"], json!([10.0, 10.0, 20.0, 10.0]));
    assert_eq!(data["objects"][1]["skipped"], false);
    assert_eq!(data["bed"], Value::Null, "none is configured, none is made up");
    rig.act("SkipObjects", json!({"pid": 1, "object_ids": [1]})).await;
    rig.until("the printer has it", |r| {
        let snapshot = r.agent.by_id(1).expect("alpha").snapshot();
        snapshot.state.job.as_ref().is_some_and(|j| j.skipped == [1])
    })
    .await;
    let (_, plate) = rig.get("0/printers/GetPlate?pid=1").await;
    let skipped = |n: usize| plate["data"]["objects"][n]["skipped"].clone();
    assert_eq!((skipped(0), skipped(1)), (json!(false), json!(true)));
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_looked_at_before_anybody_starts_it() {
    let rig = Rig::start().await;
    let id = rig.upload("cube.gcode", CUBE).await;
    let (status, seen) = rig.get(&format!("0/files/GetAnalysis?id={id}&pid=1")).await;
    assert_eq!(status, 200, "{seen}");
    let data = &seen["data"];
    assert_eq!(
        (&data["name"], &data["check"]["passes"]),
        (&json!("cube.gcode"), &json!(true))
    );
    assert_eq!(data["analysis"]["bounds"]["extruding"]["max"][0], 20.0);
    let (_, bare) = rig.get(&format!("0/files/GetAnalysis?id={id}")).await;
    assert_eq!(bare["data"]["check"], Value::Null, "for no printer");

    let id = rig.upload("part.stl", "solid cube\nendsolid\n").await;
    let (_, seen) = rig.get(&format!("0/files/GetAnalysis?id={id}&pid=1")).await;
    let check = &seen["data"]["check"];
    assert_eq!(
        (&check["passes"], &check["code"]),
        (&json!(false), &json!("preflight/file-type"))
    );
    assert!(
        check["message"]
            .as_str()
            .expect("words")
            .contains("Slice it first")
    );
    assert!(rig.alpha.told().is_empty(), "looking starts nothing");

    for (path, want) in [
        ("0/files/GetAnalysis", 400),
        ("0/files/GetAnalysis?id=../x", 400),
        ("0/files/GetAnalysis?id=abcdef&pid=1", 404),
        (&format!("0/files/GetAnalysis?id={id}&pid=9"), 404),
        (&format!("0/files/GetAnalysis?id={id}&pid=1,2"), 400),
        (&format!("0/files/GetAnalysis?id={id}&plate=0"), 400),
        ("0/printers/GetPlate", 400),
        ("0/printers/GetPlate?pid=1,2", 400),
        ("0/printers/GetTemperatures", 400),
        ("0/printers/GetPicture?pid=1", 404),
        ("0/printers/GetPicture?pid=1,2", 400),
    ] {
        let (status, answer) = rig.get(path).await;
        assert_eq!(
            (status, &answer["status"]),
            (want, &json!(false)),
            "{path}: {answer}"
        );
    }
    let (status, curves) = rig.get("0/printers/GetTemperatures?pid=1,2").await;
    assert_eq!((status, curves["data"].as_array().map(Vec::len)), (200, Some(2)));
    rig.end().await;
}
