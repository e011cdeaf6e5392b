//! What every request has to keep to, and what is listed.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::rig::{ACCOUNT, Rig, read, url};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_envelope_and_the_documented_statuses() {
    let rig = Rig::start().await;
    for base in [
        "0".to_owned(),
        ACCOUNT.to_string(),
        "api/0".to_owned(),
        format!("api/{ACCOUNT}"),
    ] {
        let (status, answer) = rig.get(&format!("{base}/account/Test")).await;
        assert_eq!(
            (status, &answer["message"]),
            (200, &json!("Your API key is valid!")),
            "{base}"
        );
    }
    let (status, answer) = rig.get("1/account/Test").await;
    assert_eq!(status, 403);
    assert_eq!(answer["message"], "You don't have access to this account");

    let json_post = |path: &str| {
        rig.http
            .post(url(path))
            .header("content-type", "application/json")
    };
    let rows = [
        ("no such path", rig.http.get(url("0/printers/Fly")), 404),
        ("no such account", rig.http.get(url("x/account/Test")), 404),
        ("no such action", json_post("0/printers/actions/Fly?pid=1"), 404),
        (
            "no such printer",
            json_post("0/printers/actions/Pause?pid=9"),
            404,
        ),
        (
            "wrong method",
            rig.http.get(url("0/printers/actions/Pause?pid=1")),
            405,
        ),
        (
            "no JSON wanted",
            rig.http.get(url("0/printers/Get")).header("accept", "text/html"),
            406,
        ),
        (
            "not JSON",
            json_post("0/printers/actions/Pause?pid=1").body("{"),
            400,
        ),
        (
            "not an object",
            json_post("0/printers/actions/Pause?pid=1").body("[1]"),
            400,
        ),
        (
            "a web form",
            rig.http.post(url("0/jobs/GetDetails?id=1")).body(""),
            405,
        ),
        (
            "a job that is not there",
            rig.http.get(url("0/jobs/GetDetails?id=99")),
            404,
        ),
        (
            "a job without a name",
            rig.http.get(url("0/jobs/GetDetails")),
            400,
        ),
    ];
    for (what, request, want) in rows {
        let (status, answer) = read(request).await;
        assert_eq!(status, want, "{what}: {answer}");
        assert_eq!(answer["status"], false, "{what}");
        assert!(!answer["message"].as_str().expect("words").is_empty(), "{what}");
    }
    let form = rig.http.post(url("0/printers/actions/Pause?pid=1"));
    let form = form
        .header("content-type", "application/x-www-form-urlencoded")
        .body("a=b");
    assert_eq!(read(form).await.0, 415);
    let large = json_post("0/printers/actions/SendGcode?pid=1").body(" ".repeat((1 << 20) + 1));
    assert_eq!(read(large).await.0, 413);
    let (status, answer) = rig.get("healthz").await;
    assert_eq!((status, &answer["printers"]), (200, &json!(3)), "{answer}");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn printers_are_listed_in_pages_and_parts() {
    let rig = Rig::start().await;
    let (_, all) = rig.get("0/printers/Get").await;
    assert_eq!((&all["total"], &all["page_amount"]), (&json!(3), &json!(1)));
    let (_, one) = rig.get("0/printers/Get?pid=1").await;
    assert!(one.get("page_amount").is_none(), "one printer is an object");
    assert_eq!(one["data"]["printer"]["name"], "alpha");
    assert_eq!(
        one["data"]["printer"]["temps"]["current"],
        json!({"tool": [22], "bed": null})
    );
    let native = &one["data"]["layerd"];
    assert_eq!(native["link"]["up"], true);
    assert_eq!(native["temps"]["tool0"]["actual"], 21.5);
    assert_eq!(native["job"], Value::Null);
    assert_eq!(native["firmware"], json!({"name": "Fake", "version": "1.0"}));
    let (_, gone) = rig.get("0/printers/Get?pid=3").await;
    assert_eq!(gone["data"]["printer"]["state"], "offline");
    assert_eq!(
        gone["data"]["layerd"]["temps"],
        json!({}),
        "nothing known is no zero"
    );

    for (query, fine) in [
        ("page_size=0", false),
        ("page_size=1", true),
        ("page_size=25", true),
        ("page_size=26", false),
        ("page=0", false),
        ("page=99", true),
        ("page=x", false),
        ("order_by=name", true),
        ("order_by=colour", false),
    ] {
        let (status, answer) = rig.get(&format!("0/printers/Get?{query}")).await;
        assert_eq!(status == 200, fine, "{query}: {answer}");
    }
    for (size, fine) in [(0, false), (100, true), (101, false)] {
        let (status, _) = rig.post("0/printers/Get", json!({"page_size": size})).await;
        assert_eq!(status == 200, fine, "{size} by POST");
    }
    let (_, found) = rig
        .post("0/printers/Get", json!({"search": "ALP", "page_size": 1}))
        .await;
    assert_eq!((&found["total"], &found["data"][0]["id"]), (&json!(1), &json!(1)));
    let (_, sorted) = rig
        .post("0/printers/Get", json!({"sort_id": "name", "sort_dir": "desc"}))
        .await;
    assert_eq!(sorted["data"][0]["printer"]["name"], "gone");
    let (_, second) = rig.get("0/printers/Get?page=2&page_size=2").await;
    assert_eq!(second["data"].as_array().expect("rows").len(), 1);
    let (_, thin) = rig
        .get("0/printers/Get?pid=1&no_job=1&no_notifications&printer_columns=name,state,mac,ssid")
        .await;
    assert_eq!(
        thin["data"]["printer"],
        json!({"name": "alpha", "state": "operational", "mac": "DC:A6:32:01:02:03", "ssid": null})
    );
    assert!(thin["data"].get("job").is_none() && thin["data"].get("notifications").is_none());
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notices_are_listed_answered_and_closed() {
    let rig = Rig::start().await;
    let id = uuid::Uuid::from_u128(7);
    let (_, open) = rig.get("0/printers/notification/Get?pid=1,2").await;
    assert_eq!(open["printers"]["1"], json!([]));
    assert_eq!(
        open["printers"]["2"][0]["payload"]["actions"]["1"]["label"],
        "Abort"
    );
    let resolve = |entry: Value| {
        rig.post(
            "0/printers/notification/Resolve?pid=2",
            json!({"notifications": [entry]}),
        )
    };
    let (status, answer) = resolve(json!({"id": uuid::Uuid::nil()})).await;
    assert_eq!(
        (status, &answer["message"]),
        (200, &json!("Notification event(s) not found"))
    );
    let (_, answer) = resolve(json!({"id": id, "action": "5"})).await;
    assert_eq!(
        answer["message"],
        json!(format!("Invalid action 5 for event {id}"))
    );
    let (_, answer) = resolve(json!({"id": id})).await;
    assert_eq!(answer["status"], false, "two buttons and no choice");
    assert!(rig.beta.told().is_empty(), "nothing was pressed by mistake");
    let (_, answer) = resolve(json!({"id": id, "action": "0"})).await;
    assert_eq!(
        (&answer["status"], &answer["layerd"]["outcome"]),
        (&json!(true), &json!("verified"))
    );
    assert_eq!(rig.beta.told(), ["answer"]);
    rig.until("the notice is gone", |r| {
        r.agent
            .by_id(2)
            .expect("beta")
            .snapshot()
            .state
            .notices
            .is_empty()
    })
    .await;
    let (_, answer) = rig.post("0/printers/notification/ResolveAll", json!({})).await;
    assert_eq!(answer["status"], true, "also when nothing is open");
    let (status, answer) = rig
        .post("0/printers/notification/ResolveAll?group=7", json!({}))
        .await;
    assert_eq!(
        (status, &answer["message"]),
        (404, &json!("Group doesn't exist or doesn't belong to you"))
    );
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_tell_what_was_asked_and_what_came_of_it() {
    let rig = Rig::start().await;
    rig.print(1).await;
    rig.act("Pause", json!({"pid": 1})).await;
    let has = |answer: &Value, text: &str| {
        let lines = answer["lines"].as_array().expect("lines");
        lines
            .iter()
            .any(|l| l.as_str().is_some_and(|l| l.ends_with(text)))
    };
    let (_, log) = rig.get("0/printers/GetLogs?pid=1").await;
    assert!(
        has(&log, "asked: print cube.gcode") && has(&log, "asked: pause"),
        "{log}"
    );
    let (_, one) = rig.get("0/printers/GetLogs?pid=1&last=1").await;
    assert_eq!(one["lines"].as_array().expect("lines").len(), 1);
    let (status, wire) = rig.get("0/printers/GetLogs?pid=1&wire=1").await;
    assert_eq!(
        (status, &wire["lines"]),
        (200, &json!([])),
        "this printer has no wire"
    );
    for query in ["", "pid=1,2", "pid=1&last=0", "pid=1&last=2001"] {
        assert_eq!(
            rig.get(&format!("0/printers/GetLogs?{query}")).await.0,
            400,
            "{query}"
        );
    }
    rig.end().await;
}

/// Sends bytes as they are and reads the first line of the answer.
async fn raw(rig: &Rig, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(rig.socket()).await.expect("connected");
    // The server may close while we still write; what counts is its answer.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !answer.contains(&b'\n') {
        match stream.read(&mut buffer).await {
            Ok(n) if n > 0 => answer.extend_from_slice(&buffer[..n]),
            _ => break,
        }
    }
    let text = String::from_utf8_lossy(&answer).into_owned();
    text.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_are_bounded_and_a_full_house_lets_the_next_one_wait() {
    let rig = Rig::start().await;
    let many: String = (0..100).map(|n| format!("x-{n}: 1\r\n")).collect();
    let request = format!("GET /healthz HTTP/1.1\r\nhost: a\r\n{many}\r\n");
    assert!(
        raw(&rig, request.as_bytes()).await.contains("431"),
        "too many headers"
    );
    let request = format!(
        "GET /healthz HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "y".repeat(64 << 10)
    );
    let answer = raw(&rig, request.as_bytes()).await;
    assert!(
        answer.contains("431") || answer.is_empty(),
        "a head too long: {answer}"
    );
    // All places are taken by clients that say nothing; one that leaves makes room.
    let mut idle = Vec::new();
    for _ in 0..layerd::api::server::CONNECTIONS_MAX {
        idle.push(UnixStream::connect(rig.socket()).await.expect("connected"));
    }
    let waiting = raw(&rig, b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut waiting = Box::pin(waiting);
    let early = tokio::time::timeout(std::time::Duration::from_millis(200), &mut waiting).await;
    assert!(early.is_err(), "no place left");
    idle.clear();
    assert_eq!(waiting.await, "HTTP/1.1 200 OK");
    rig.end().await;
}
