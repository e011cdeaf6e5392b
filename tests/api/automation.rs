//! What the host and the owner bring along: fields of the host, macros and snippets, beds that clear themselves.

use std::sync::Arc;
use std::time::Duration;

use layerd::agent::plan::PrinterPlan;
use layerd::config::model::Release;
use layerd::config::template::{Moment, Snippets, parse};
use serde_json::{Value, json};

use crate::rig::{CUBE, Rig};

/// Alpha has lines of its owner's own and a bed that clears itself once it is cool.
pub fn owned(plan: &mut PrinterPlan) {
    let snippets: Snippets = [
        ("wipe", "G12 P1 ; brush\n"),
        ("middle", "{snippet:wipe}\nG1 X{bed_x} Y{bed_y}\nM117 {file}"),
    ]
    .map(|(name, text)| (name.to_owned(), text.to_owned()))
    .into();
    let read = |text: &str, moment| parse(text, &snippets, moment).expect("good");
    plan.peripherals.gcode.pause = read("{snippet:wipe}\nG1 Z{z}", Moment::Pause);
    plan.settings.release = Some(Release {
        below_c: Some(35.0),
        after: None,
        done: read("M84", Moment::Done),
        clear: read("G1 Y{bed_y}\nG28 X", Moment::Clear),
        max_prints: Some(2),
    });
    plan.settings.preflight.bed_mm = Some([220.0, 210.0, 250.0]);
    plan.peripherals.gcode.snippets = Arc::new(snippets);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_host_is_told_of_as_far_as_it_is_known() {
    let rig = Rig::start_planned("rate_per_min = 0", owned).await;
    let (_, one) = rig.get("0/printers/Get?pid=1").await;
    let printer = &one["data"]["printer"];
    assert_eq!(
        (&printer["ip"], &printer["machine"]),
        (&json!("192.0.2.7"), &json!("Raspberry Pi 4 Model B Rev 1.2"))
    );
    assert_eq!(
        printer["health"],
        json!({"usage": 31, "temp": 48, "memory": null})
    );
    assert_eq!(printer["model"]["bedSize"], json!([220.0, 210.0]));
    assert_eq!(
        (&printer["autoprint"], &printer["autoprintMaxJobs"]),
        (&json!(true), &json!(2))
    );
    assert!(printer.get("mac").is_none(), "only when it is asked for");
    let (_, some) = rig
        .get("0/printers/Get?pid=1&printer_columns=mac,ssid,ethernet,hostname,apiVersion,pythonVersion,probeData,lastOnline,sku")
        .await;
    let columns = &some["data"]["printer"];
    assert_eq!(
        (&columns["mac"], &columns["ethernet"], &columns["hostname"]),
        (&json!("DC:A6:32:01:02:03"), &json!(true), &json!("box"))
    );
    assert!(columns["apiVersion"].is_string() && columns["lastOnline"].is_string());
    for unknown in ["ssid", "pythonVersion", "probeData", "sku"] {
        assert_eq!(columns[unknown], Value::Null, "{unknown}");
    }
    let (_, gone) = rig
        .get("0/printers/Get?pid=3&printer_columns=lastOnline,model")
        .await;
    assert_eq!(
        gone["data"]["printer"],
        json!({"lastOnline": null, "model": null})
    );
    let (_, found) = rig.post("0/printers/Get", json!({"search": "dc:a6"})).await;
    assert_eq!(found["total"], 3, "the address of the host is looked at too");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn macros_and_snippets_of_the_configuration_are_listed_and_sent() {
    let rig = Rig::start_planned("rate_per_min = 0", owned).await;
    let (_, all) = rig.get("0/gcode_macros/GetOverview").await;
    let snippets = all["snippets"]["company"].as_array().expect("a list");
    let middle = snippets.iter().find(|s| s["name"] == "middle").expect("listed");
    let pause = all["macros"]["company"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|m| m["type"] == "is_pause");
    assert_eq!(
        pause.expect("listed")["gcodes"],
        json!({"printer_1": ["G12 P1", "G1 Z{z}"], "printer_2": null, "printer_3": null})
    );
    let (_, one) = rig
        .get(&format!("0/gcode_macros/GetSnippet?id={}", middle["id"]))
        .await;
    assert!(
        one["snippet"]["gcode"]
            .as_str()
            .expect("text")
            .starts_with("{snippet:wipe}"),
        "{one}"
    );
    let (_, lines) = rig
        .get("0/gcode_macros/GetMacroGcode?macro=is_autorpint_clear&printer=1")
        .await;
    assert_eq!(
        (&lines["gcode"], &lines["multiple"]),
        (&json!(["G1 Y210", "G28 X"]), &json!(false))
    );
    for (path, want) in [
        ("GetSnippet", 400),
        ("GetSnippet?id=7", 404),
        ("GetMacroGcode", 400),
        ("GetMacroGcode?macro=home", 400),
        ("GetMacroGcode?macro=is_end&printer=9", 404),
        ("GetMacroGcode?macro=is_end&printer=x", 400),
    ] {
        let (status, answer) = rig.get(&format!("0/gcode_macros/{path}")).await;
        assert_eq!(
            (status, &answer["status"]),
            (want, &json!(false)),
            "{path}: {answer}"
        );
    }

    // All three given: only the snippet goes out. A line that would need a file is left out.
    let answer = rig
        .act(
            "SendGcode",
            json!({"pid": 1, "snippet_id": middle["id"], "gcode": ["M1"], "macro": "home"}),
        )
        .await;
    assert_eq!(answer["status"], true, "{answer}");
    let answer = rig
        .act("SendGcode", json!({"pid": 1, "snippet_id": "wipe"}))
        .await;
    assert_eq!(answer["status"], true, "{answer}");
    let answer = rig.act("SendGcode", json!({"pid": 1, "macro": "is_pause"})).await;
    assert_eq!(answer["status"], true, "{answer}");
    assert_eq!(rig.alpha.told(), ["G12 P1|G1 X220 Y210", "G12 P1", "G12 P1"]);
    for body in [
        json!({"pid": 2, "snippet_id": "wipe"}),
        json!({"pid": 1, "snippet_id": 5}),
        json!({"pid": 1, "macro": "is_end"}),
    ] {
        let answer = rig.act("SendGcode", body.clone()).await;
        assert_eq!(
            (&answer["status"], &answer["layerd"]["code"]),
            (&json!(false), &json!("refused/no-macro")),
            "{body}"
        );
    }
    assert_eq!(rig.beta.told(), Vec::<String>::new());
    rig.print(1).await;
    let (_, printing) = rig
        .post(
            "0/printers/actions/SendGcode?pid=1",
            json!({"snippet_id": "wipe"}),
        )
        .await;
    assert_eq!(printing["layerd"]["code"], "refused/wrong-state");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clearing_of_a_bed_is_looked_at_switched_and_set() {
    let rig = Rig::start_planned("rate_per_min = 0", owned).await;
    let auto = |what: &str| format!("0/printers/autoprint/{what}");
    let until = async |what: &str, holds: fn(&Value) -> bool| {
        let began = std::time::Instant::now();
        loop {
            let (_, states) = rig.get(&auto("CheckState?pid=1,2")).await;
            if holds(&states["printers"]["1"]) {
                return states;
            }
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "in vain: {what}: {states}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let states = until("it is ready", |s| s["ready"] == true).await;
    assert_eq!(states["printers"]["1"]["method"]["id"], "custom");
    let by_hand = &states["printers"]["2"];
    assert_eq!(
        (&by_hand["ready"], &by_hand["method"]["id"]),
        (&json!(false), &json!("manual"))
    );

    let (_, kept) = rig.get(&auto("GetAutoPrintSettings?pid=1")).await;
    assert_eq!(
        (&kept["clear_gcode"], &kept["on_end_gcode"]),
        (&json!(["G1 Y210", "G28 X"]), &json!(["M84"]))
    );
    assert_eq!(
        (
            &kept["printer_settings"],
            &kept["model_settings"]["bedReleaseTemp"]
        ),
        (&Value::Null, &json!(35))
    );
    let wish = |more: Value| {
        let mut body = json!({"useDefault": "0", "saveAsDefault": "0", "bedReleaseTemp": 30, "autoReleaseTime": 1800, "maxPrints": 0});
        body.as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        body
    };
    let save = async |pid: i64, body: Value| {
        rig.post(&auto(&format!("SaveAutoPrintSettings?pid={pid}")), body)
            .await
            .1
    };
    let saved = save(
        1,
        wish(json!({"bedReleaseTemp": 999, "method": "farmloop", "aiBedCheck": true})),
    )
    .await;
    assert_eq!(
        (&saved["status"], &saved["restrictions"][0]),
        (&json!(true), &json!({"field": "bedReleaseTemp", "value": 150})),
        "{saved}"
    );
    let saved = save(1, wish(json!({}))).await;
    assert!(
        saved["status"] == true && saved.get("restrictions").is_none(),
        "{saved}"
    );
    until("the new rules hold", |s| s["state"]["maxCyclesReached"] == false).await;
    let (_, kept) = rig.get(&auto("GetAutoPrintSettings?pid=1")).await;
    let own = &kept["printer_settings"];
    assert_eq!(
        (&own["bedReleaseTemp"], &own["autoReleaseTime"], &own["maxPrints"]),
        (&json!(30), &json!(1800), &Value::Null)
    );
    let none = save(1, wish(json!({"bedReleaseTemp": null, "autoReleaseTime": null}))).await;
    assert_eq!(
        none["message"],
        "Must either set bed release temp or auto-release seconds"
    );
    assert_eq!(
        save(1, wish(json!({"saveAsDefault": "model"}))).await["status"],
        false
    );
    assert_eq!(
        save(2, wish(json!({}))).await["layerd"]["code"],
        "refused/no-release"
    );
    assert_eq!(
        save(1, json!({"useDefault": "1", "saveAsDefault": "0"})).await["status"],
        true
    );
    let (_, kept) = rig.get(&auto("GetAutoPrintSettings?pid=1")).await;
    assert_eq!(kept["printer_has_settings"], false, "back to the configuration");

    // Off: the bed of a print that ends now waits for a person.
    let (_, both) = rig.post(&auto("SetEnabled?pid=1,2"), json!({"on": false})).await;
    assert_eq!(both["status"], false, "all or nothing: {both}");
    assert_eq!(
        rig.post(&auto("SetEnabled?pid=1"), json!({"on": false})).await.1["status"],
        true
    );
    let off = until("it is off", |s| s["config"]["requiresConfirmation"] == true).await;
    assert_eq!(
        off["printers"]["1"]["issues"],
        json!(["AutoPrint is switched off"])
    );
    assert_eq!(
        rig.post(&auto("SetEnabled?pid=1"), json!({"on": true})).await.1["status"],
        true
    );
    assert_eq!(
        rig.post(&auto("SetClearedBedsAmount?pid=1"), json!({"amount": 2}))
            .await
            .1["status"],
        true
    );
    until("the row is full", |s| s["state"]["maxCyclesReached"] == true).await;
    assert_eq!(
        rig.post(&auto("SetClearedBedsAmount?pid=1"), json!({"amount": 0}))
            .await
            .1["status"],
        true
    );
    until("it is ready again", |s| s["ready"] == true).await;
    assert!(
        rig.alpha.told().is_empty(),
        "nothing moved by all that: {:?}",
        rig.alpha.told()
    );
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_print_that_is_held_is_pending_until_it_is_cancelled() {
    let rig = Rig::start().await;
    let id = rig.upload("cube.gcode", CUBE).await;
    let held = json!({"pid": 1, "file_id": id, "layerd": {"hold": true}});
    let (_, answer) = rig.post("0/printers/actions/CreateJob", held).await;
    assert_eq!(answer["status"], true, "{answer}");
    rig.until("it waits", |r| {
        r.agent
            .by_id(1)
            .expect("alpha")
            .snapshot()
            .state
            .job
            .as_ref()
            .is_some_and(|j| j.held)
    })
    .await;
    let (_, pending) = rig.get("0/printers/GetPendingPrintStatus?pid=1,2").await;
    let printers = pending["printers"].as_object().expect("a map");
    assert_eq!(printers.keys().collect::<Vec<_>>(), ["1"]);
    assert_eq!(
        (
            &printers["1"]["downloading_status"],
            &printers["1"]["heating_status"]
        ),
        (&json!("done"), &json!("waiting"))
    );
    assert_eq!(
        rig.post("0/printers/actions/CancelPendingPrint", json!({"pid": 1}))
            .await
            .1["status"],
        true
    );
    rig.until("it is idle", |r| r.state(1) == "operational").await;
    assert_eq!(
        rig.get("0/printers/GetPendingPrintStatus?pid=1").await.1["printers"],
        json!({})
    );
    assert!(rig.alpha.told().is_empty());
    rig.end().await;
}
