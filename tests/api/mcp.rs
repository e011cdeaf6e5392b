//! The Model Context Protocol at `/mcp`.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::rig::{CUBE, Far, PLATE, Rig, read};

fn message(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}

async fn send(far: &Far, body: Value) -> (u16, Value) {
    read(far.http.post(far.url("mcp")).json(&body)).await
}

/// Calls a tool; whether it failed, and what it gave.
async fn tool(far: &Far, name: &str, arguments: Value) -> (bool, Value) {
    let (status, answer) = send(
        far,
        message("tools/call", json!({"name": name, "arguments": arguments})),
    )
    .await;
    assert_eq!(status, 200, "{name}: {answer}");
    let result = &answer["result"];
    let text = result["content"][0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("{name}: {answer}"));
    let read: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(read, result["structuredContent"], "both say the same");
    (result["isError"].as_bool().expect("a flag"), read)
}

fn names(listed: &Value) -> Vec<&str> {
    let tools = listed["result"]["tools"].as_array().expect("tools");
    tools
        .iter()
        .map(|t| t["name"].as_str().expect("a name"))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_protocol_is_spoken_in_both_eras() {
    let rig = Rig::start().await;
    let far = rig.key("k", "read").await;
    for (asked, settled) in [
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2024-11-05", "2025-11-25"),
    ] {
        let hello = json!({"protocolVersion": asked, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let (status, answer) = send(&far, message("initialize", hello)).await;
        assert_eq!(
            (status, &answer["result"]["protocolVersion"]),
            (200, &json!(settled)),
            "{answer}"
        );
        assert_eq!(answer["result"]["serverInfo"]["name"], "layerd");
        assert_eq!(
            answer["result"]["capabilities"]["tools"],
            json!({"listChanged": false})
        );
    }
    let note = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let answer = far
        .http
        .post(far.url("mcp"))
        .json(&note)
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status().as_u16(), 202);
    assert_eq!(
        answer.text().await.expect("a body"),
        "",
        "a notification has no answer"
    );
    assert_eq!(
        send(&far, message("ping", json!({}))).await.1["result"],
        json!({})
    );
    // A batch, as 2025-03-26 has it.
    let batch = json!([message("ping", json!({})), note, message("fly", json!({}))]);
    let (status, answer) = send(&far, batch).await;
    let answers = answer.as_array().expect("a list");
    assert_eq!(
        (status, answers.len(), &answers[1]["error"]["code"]),
        (200, 2, &json!(-32601))
    );
    // And without a handshake.
    let modern = |method: &'static str, head: &'static str| {
        let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
                          "io.modelcontextprotocol/clientCapabilities": {}});
        let request = far
            .http
            .post(far.url("mcp"))
            .header("mcp-protocol-version", "2026-07-28");
        read(
            request
                .header("mcp-method", head)
                .json(&message(method, json!({"_meta": meta}))),
        )
    };
    let (status, answer) = modern("server/discover", "server/discover").await;
    assert_eq!(status, 200, "{answer}");
    assert!(
        answer["result"]["supportedVersions"]
            .as_array()
            .expect("versions")
            .contains(&json!("2026-07-28"))
    );
    assert_eq!(answer["result"]["resultType"], "complete");
    let (_, answer) = modern("tools/list", "tools/list").await;
    assert_eq!(
        (&answer["result"]["cacheScope"], &answer["result"]["ttlMs"]),
        (&json!("private"), &json!(0))
    );
    let (status, answer) = modern("tools/list", "tools/call").await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (400, &json!(-32020)),
        "{answer}"
    );
    assert_eq!(
        modern("initialize", "initialize").await.0,
        404,
        "no handshake there"
    );
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_of_the_protocol_are_told_from_those_of_a_tool() {
    let rig = Rig::start().await;
    let far = rig.key("k", "read").await;
    for (body, want, code) in [
        (json!(7), 400, -32600),
        (json!({}), 400, -32600),
        (
            json!({"jsonrpc": "2.0", "id": null, "method": "ping"}),
            400,
            -32600,
        ),
        (message("fly", json!({})), 200, -32601),
        (message("server/discover", json!({})), 200, -32601),
        (message("tools/list", json!({"cursor": "x"})), 200, -32602),
        (message("tools/call", json!({"name": "fly"})), 200, -32602),
        (message("tools/call", json!({})), 200, -32602),
        (
            message("tools/call", json!({"name": "get_printer", "arguments": []})),
            200,
            -32602,
        ),
        // A tool that this key may not use: as the cloud's own server has it.
        (
            message(
                "tools/call",
                json!({"name": "pause_print", "arguments": {"printer": "alpha"}}),
            ),
            403,
            -32001,
        ),
    ] {
        let (status, answer) = send(&far, body.clone()).await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (want, &json!(code)),
            "{body}: {answer}"
        );
        assert_eq!(answer["jsonrpc"], "2.0");
    }
    let post = || far.http.post(far.url("mcp"));
    let json = |text: String| post().header("content-type", "application/json").body(text);
    for (what, request, want, code) in [
        ("not JSON", json("{".to_owned()), 400, -32700),
        ("too large", json(" ".repeat((256 << 10) + 1)), 413, -32600),
        ("a form", post().body("a=b"), 415, -32600),
        (
            "no JSON wanted",
            json("{}".to_owned()).header("accept", "text/html"),
            406,
            -32600,
        ),
        (
            "an unknown version",
            json("{}".to_owned()).header("mcp-protocol-version", "2030-01-01"),
            400,
            -32022,
        ),
        ("a stream", far.http.get(far.url("mcp")), 405, -32600),
        (
            "the end of a session",
            far.http.delete(far.url("mcp")),
            405,
            -32600,
        ),
        (
            "no key",
            rig.far(&[])
                .http
                .post(far.url("mcp"))
                .json(&message("ping", json!({}))),
            401,
            -32001,
        ),
        (
            "a page from elsewhere",
            post()
                .header("origin", "http://evil.example")
                .json(&message("ping", json!({}))),
            403,
            -32001,
        ),
        (
            "another name",
            post()
                .header("host", "evil.example")
                .json(&message("ping", json!({}))),
            403,
            -32001,
        ),
    ] {
        let (status, answer) = read(request).await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (want, &json!(code)),
            "{what}: {answer}"
        );
    }
    // What a model can mend is the tool's to say.
    for (name, arguments) in [
        ("get_printer", json!({})),
        ("get_printer", json!({"printer": "nobody"})),
        ("get_printer", json!({"printer": "alpha", "speed": 9})),
        ("list_jobs", json!({"limit": 101})),
        ("list_objects", json!({"printer": "alpha"})),
    ] {
        let (failed, told) = tool(&far, name, arguments.clone()).await;
        assert!(
            failed && !told["message"].as_str().expect("words").is_empty(),
            "{arguments}: {told}"
        );
    }
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_sees_and_uses_the_tools_of_its_scopes() {
    let rig = Rig::start().await;
    let all = rig.key("all", "read,control").await;
    let (_, listed) = send(&all, message("tools/list", json!({}))).await;
    let every = names(&listed).iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    assert!(
        every.len() > 12 && every.contains(&"send_gcode".to_owned()),
        "{every:?}"
    );
    for described in listed["result"]["tools"].as_array().expect("tools") {
        let schema = &described["inputSchema"];
        assert_eq!(
            (&schema["type"], &schema["additionalProperties"]),
            (&json!("object"), &json!(false))
        );
        assert!(schema["required"].is_array() && described["description"].is_string());
    }
    for (scope, wants_read) in [("read", true), ("control", false)] {
        let far = rig.key(scope, scope).await;
        let (_, listed) = send(&far, message("tools/list", json!({}))).await;
        let seen = names(&listed);
        assert_eq!(
            (seen.contains(&"list_printers"), seen.contains(&"pause_print")),
            (wants_read, !wants_read)
        );
        for name in every.iter().filter(|n| !seen.contains(&n.as_str())) {
            let hidden = json!({"name": name, "arguments": {"printer": "alpha"}});
            let (status, answer) = send(&far, message("tools/call", hidden)).await;
            assert_eq!(
                (status, &answer["error"]["code"]),
                (403, &json!(-32001)),
                "{scope}: {name}"
            );
        }
    }
    let files = rig.key("files", "files").await;
    assert_eq!(
        names(&send(&files, message("tools/list", json!({}))).await.1),
        [""; 0]
    );
    assert!(rig.alpha.told().is_empty());
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_print_from_the_file_to_the_history_with_tools_alone() {
    let rig = Rig::start().await;
    let far = rig.key("k", "read,control").await;
    rig.upload("cube.gcode", CUBE).await;
    rig.upload("plate.gcode", PLATE).await;
    let (_, all) = tool(&far, "list_printers", json!({})).await;
    assert_eq!(
        (&all["printers"][0]["name"], &all["printers"][0]["state"]),
        (&json!("alpha"), &json!("operational"))
    );
    assert_eq!(all["printers"][2]["temps"], json!({}), "nothing known is no zero");
    let (_, heat) = tool(&far, "get_temperatures", json!({"printer": "ALPHA"})).await;
    assert_eq!(heat["temps"]["tool0"]["actual"], 21.5);
    let (_, files) = tool(&far, "list_files", json!({})).await;
    assert_eq!(files["files"].as_array().expect("files").len(), 2);
    let (failed, told) = tool(&far, "pause_print", json!({"printer": "alpha"})).await;
    assert!(failed && told["outcome"] == "refused", "{told}");
    let (failed, told) = tool(
        &far,
        "start_print",
        json!({"printer": "alpha", "file": "nothing.gcode"}),
    )
    .await;
    assert!(failed && told["code"] == "refused/unknown-file", "{told}");
    // The same start twice is one print.
    let start = json!({"printer": "alpha", "file": "plate.gcode", "start_id": "s1"});
    let (failed, first) = tool(&far, "start_print", start.clone()).await;
    assert!(!failed && first["job"]["uid"].is_string(), "{first}");
    rig.until("it prints", |r| r.state(1) == "printing").await;
    let (failed, again) = tool(&far, "start_print", start).await;
    assert_eq!((failed, &again["job"]), (false, &first["job"]));
    let (_, objects) = tool(&far, "list_objects", json!({"printer": "1"})).await;
    let cone = objects["objects"]
        .as_array()
        .expect("objects")
        .iter()
        .find(|o| o["name"] == "cone");
    assert!(cone.is_some(), "{objects}");
    let (failed, told) = tool(
        &far,
        "skip_objects",
        json!({"printer": "alpha", "objects": ["cone"]}),
    )
    .await;
    assert_eq!((failed, &told["outcome"]), (false, &json!("verified")), "{told}");
    // Only what tunes passes during a print.
    let heat = |tune: bool, line: &str| json!({"printer": "alpha", "gcode": [line], "tune": tune});
    assert!(tool(&far, "send_gcode", heat(false, "M104 S200")).await.0);
    assert!(tool(&far, "send_gcode", heat(true, "G28")).await.0);
    let (failed, told) = tool(&far, "send_gcode", heat(true, "M104 S200")).await;
    assert_eq!((failed, &told["outcome"]), (false, &json!("sent")), "{told}");
    for (name, state) in [("pause_print", "paused"), ("resume_print", "printing")] {
        let (failed, told) = tool(&far, name, json!({"printer": "alpha"})).await;
        assert_eq!((failed, &told["outcome"]), (false, &json!("verified")), "{told}");
        rig.until("it is seen", |r| r.state(1) == state).await;
    }
    // What nobody saw happen is no success.
    rig.alpha.deaf.store(true, Ordering::SeqCst);
    let (failed, told) = tool(&far, "pause_print", json!({"printer": "alpha"})).await;
    assert_eq!((failed, &told["outcome"]), (true, &json!("unverified")), "{told}");
    rig.alpha.deaf.store(false, Ordering::SeqCst);
    let (failed, _) = tool(
        &far,
        "cancel_print",
        json!({"printer": "alpha", "comment": "enough"}),
    )
    .await;
    assert!(!failed);
    rig.until("it is free", |r| r.state(1) == "operational").await;
    let (_, jobs) = tool(
        &far,
        "list_jobs",
        json!({"printer": "alpha", "status": "cancelled"}),
    )
    .await;
    assert_eq!(
        (&jobs["total"], &jobs["jobs"][0]["filename"]),
        (&json!(1), &json!("plate.gcode"))
    );
    let (failed, told) = tool(&far, "send_gcode", heat(false, "M9999")).await;
    assert_eq!((failed, &told["outcome"]), (true, &json!("rejected")), "{told}");
    let starts = rig
        .alpha
        .told()
        .iter()
        .filter(|l| l.starts_with("start") || l.starts_with("print"))
        .count();
    assert_eq!(starts, 1, "{:?}", rig.alpha.told());
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_too_often_waits_but_for_an_emergency_stop() {
    let rig = Rig::start_with("rate_per_min = 2").await;
    let far = rig.key("busy", "read,control").await;
    for _ in 0..2 {
        assert_eq!(send(&far, message("ping", json!({}))).await.0, 200);
    }
    let (status, answer) = send(&far, message("ping", json!({}))).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (429, &json!(-32000)),
        "{answer}"
    );
    let (failed, told) = tool(&far, "emergency_stop", json!({"printer": "alpha"})).await;
    assert!(!failed, "{told}");
    assert_eq!(rig.alpha.told(), ["emergency stop"]);
    assert_eq!(send(&far, message("tools/list", json!({}))).await.0, 429);
    rig.end().await;
}
