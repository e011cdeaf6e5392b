//! AutoPrintFarm's shape at `/v1`.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::rig::{CUBE, Far, Rig};
use crate::v1_requests::{FARM, ask};
use crate::webhooks::Target;

/// A place on this machine that gives one file, whatever is asked; `/away` leads to where no files are,
/// `/on` to the file.
pub struct Files {
    pub url: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Files {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[allow(clippy::disallowed_methods, reason = "the handle is kept and aborted")]
pub async fn serve_file(text: &'static str) -> Files {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            let mut chunk = [0; 1024];
            while !head.windows(4).any(|w| w == b"\r\n\r\n") {
                match stream.read(&mut chunk).await {
                    Ok(n) if n > 0 => head.extend_from_slice(&chunk[..n]),
                    _ => break,
                }
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let answer = if head.starts_with("GET /away") {
                "HTTP/1.1 302 X\r\nlocation: http://169.254.169.254/x\r\ncontent-length: 0\r\n\r\n".to_owned()
            } else if head.starts_with("GET /on") {
                "HTTP/1.1 302 X\r\nlocation: /cube.gcode\r\ncontent-length: 0\r\n\r\n".to_owned()
            } else if head.starts_with("GET /none") {
                "HTTP/1.1 404 X\r\ncontent-length: 0\r\n\r\n".to_owned()
            } else if head.starts_with("GET /empty") {
                "HTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n".to_owned()
            } else {
                format!("HTTP/1.1 200 X\r\ncontent-length: {}\r\n\r\n{text}", text.len())
            };
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    Files { url, task }
}

async fn get(far: &Far, path: &str) -> (u16, Value) {
    ask(FARM, far.http.get(far.url(path))).await
}

async fn post(far: &Far, path: &str, body: Value) -> (u16, Value) {
    ask(FARM, far.http.post(far.url(path)).json(&body)).await
}

/// With an idempotency key: status, whether it was said again, body.
async fn post_once(far: &Far, path: &str, key: &str, body: Value) -> (u16, bool, Value) {
    let request = far
        .http
        .post(far.url(path))
        .header("idempotency-key", key)
        .json(&body);
    let answer = request.send().await.expect("an answer");
    let (status, again) = (
        answer.status().as_u16(),
        answer.headers().contains_key("idempotency-replayed"),
    );
    let text = answer.text().await.expect("a body");
    (status, again, serde_json::from_str(&text).expect("JSON"))
}

fn starts(rig: &Rig) -> usize {
    let told = rig.alpha.told();
    told.iter()
        .filter(|line| line.starts_with("start") || line.starts_with("print"))
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_have_pages_filters_and_orders() {
    let rig = Rig::start_with(FARM).await;
    let far = rig.key("k", "read").await;
    let (_, all) = get(&far, "v1/printers").await;
    assert_eq!(all["printers"], all["data"], "both documented names");
    assert_eq!(
        all["pagination"],
        json!({"page": 1, "per_page": 25, "total": 3, "total_pages": 1})
    );
    assert_eq!(all["data"][0]["id"], "prt_1");
    assert_eq!(all["data"][0]["status"], "operational");
    assert_eq!(all["data"][0]["current_job"], Value::Null);
    assert_eq!(
        all["data"][2]["layerd"]["temps"],
        json!({}),
        "nothing known is no zero"
    );
    for (query, fine) in [
        ("per_page=0", false),
        ("per_page=1", true),
        ("per_page=100", true),
        ("per_page=101", false),
        ("page=0", false),
        ("page=1000000", true),
        ("page=1000001", false),
        ("page=x", false),
        ("sort=colour", false),
        ("status=colour", false),
    ] {
        for list in ["printers", "jobs"] {
            let (status, answer) = get(&far, &format!("v1/{list}?{query}")).await;
            assert_eq!(status, if fine { 200 } else { 400 }, "{list} {query}: {answer}");
        }
    }
    let names = |answer: &Value| {
        let rows = answer["data"].as_array().expect("rows").clone();
        rows.iter()
            .map(|r| r["name"].as_str().expect("a name").to_owned())
            .collect::<Vec<_>>()
    };
    let (_, second) = get(&far, "v1/printers?per_page=2&page=2&sort=-name").await;
    assert_eq!(names(&second), ["alpha"]);
    assert_eq!(second["pagination"]["total_pages"], 2);
    assert_eq!(names(&get(&far, "v1/printers?status=offline").await.1), ["gone"]);
    assert_eq!(names(&get(&far, "v1/printers?group=production").await.1), [""; 0]);
    let (status, one) = get(&far, "v1/printers/prt_2").await;
    assert_eq!((status, &one["data"]["name"]), (200, &json!("beta")));
    let (status, none) = get(&far, "v1/printers/prt_abc123").await;
    assert_eq!(status, 404);
    assert_eq!(
        none["error"],
        json!({"code": "invalid_printer", "message": "Printer not found", "details": "No printer with ID prt_abc123"})
    );
    rig.print(1).await;
    rig.act("Pause", json!({"pid": 1})).await;
    rig.until("it stands", |r| r.state(1) == "paused").await;
    let ids = |answer: &Value| answer["data"].as_array().expect("rows").len();
    assert_eq!(ids(&get(&far, "v1/jobs?status=paused").await.1), 1);
    assert_eq!(ids(&get(&far, "v1/jobs?status=printing").await.1), 0);
    assert_eq!(ids(&get(&far, "v1/jobs?printer_id=prt_2").await.1), 0);
    assert_eq!(get(&far, "v1/jobs?printer_id=prt_9").await.0, 404);
    rig.act("Cancel", json!({"pid": 1})).await;
    rig.until("it is free", |r| r.state(1) == "operational").await;
    rig.print(1).await;
    let (_, newest) = get(&far, "v1/jobs?per_page=1").await;
    assert_eq!(
        (&newest["data"][0]["status"], &newest["pagination"]["total"]),
        (&json!("printing"), &json!(2))
    );
    let (_, oldest) = get(&far, "v1/jobs?per_page=1&sort=created_at").await;
    assert_eq!(oldest["data"][0]["status"], "cancelled");
    let id = oldest["data"][0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(
        get(&far, &format!("v1/jobs/{id}")).await.1["data"]["id"],
        json!(id)
    );
    assert_eq!(
        get(&far, "v1/jobs/job_77").await.1["error"]["code"],
        "invalid_job"
    );
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_with_a_key_is_started_once_and_answered_twice() {
    let rig = Rig::start_with(FARM).await;
    let far = rig.key("k", "control,files").await;
    let other = rig.key("other", "control").await;
    let file = rig.upload("cube.gcode", CUBE).await;
    let wish = json!({"printer_id": "prt_1", "file_id": file});
    // Several at once and one after another: one print.
    let all =
        futures_util::future::join_all((0..5).map(|_| post_once(&far, "v1/jobs", "k1", wish.clone()))).await;
    let (_, _, first) = all
        .iter()
        .find(|(status, ..)| *status == 201)
        .expect("one was first")
        .clone();
    for (status, _, answer) in &all {
        let in_use = answer["error"]["code"] == "idempotency_key_in_use";
        assert!(
            *answer == first || (*status == 400 && in_use),
            "{status}: {answer}"
        );
    }
    let status = first["data"]["status"].as_str().expect("a status");
    assert!(matches!(status, "queued" | "printing"), "{first}");
    rig.until("it prints", |r| r.state(1) == "printing").await;
    let (status, again, answer) = post_once(&far, "v1/jobs", "k1", wish.clone()).await;
    assert_eq!(
        (status, again, &answer),
        (201, true, &first),
        "the original response"
    );
    assert_eq!(starts(&rig), 1);
    let id = first["data"]["id"].as_str().expect("an id");
    let reader = rig.key("r", "read").await;
    assert_eq!(
        get(&reader, &format!("v1/jobs/{id}")).await.1["data"]["status"],
        "printing"
    );
    assert_eq!(
        get(&reader, "v1/printers/prt_1").await.1["data"]["current_job"],
        json!(id)
    );
    // The key belongs to its caller, its path and its body.
    let changed = json!({"printer_id": "prt_1", "file_id": file, "skip_objects": ["1"]});
    let (status, _, answer) = post_once(&far, "v1/jobs", "k1", changed).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (400, &json!("idempotency_key_reused"))
    );
    let (status, again, answer) = post_once(&other, "v1/jobs", "k1", wish.clone()).await;
    assert_eq!(
        (status, again),
        (400, false),
        "another caller asks anew: {answer}"
    );
    // A refusal is an answer as well: freeing the printer does not make the repeat a start.
    rig.act("Cancel", json!({"pid": 1})).await;
    rig.until("it is free", |r| r.state(1) == "operational").await;
    let (status, again, _) = post_once(&other, "v1/jobs", "k1", wish.clone()).await;
    assert_eq!((status, again, starts(&rig)), (400, true, 1));
    assert_eq!(post_once(&other, "v1/jobs", "k2", wish).await.0, 201);
    rig.until("it prints again", |r| r.state(1) == "printing").await;
    assert_eq!(starts(&rig), 2);
    // Actions and webhooks keep to it too.
    let pause = json!({"printer_id": "prt_1", "action": "pause"});
    for again in [false, true] {
        let (status, said_again, _) = post_once(&far, "v1/printers/actions", "p", pause.clone()).await;
        assert_eq!((status, said_again), (200, again));
    }
    assert_eq!(rig.alpha.told().iter().filter(|l| *l == "pause").count(), 1);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_needs_a_file_a_printer_and_a_free_one() {
    let rig = Rig::start_with(FARM).await;
    let far = rig.key("k", "control").await;
    let file = rig.upload("cube.gcode", CUBE).await;
    let rows = [
        (json!({"file_id": file}), 400, "printer_required"),
        (
            json!({"file_id": file, "printer_id": "prt_9"}),
            404,
            "invalid_printer",
        ),
        (
            json!({"file_id": file, "printer_id": "gone"}),
            404,
            "invalid_printer",
        ),
        (json!({"printer_id": "prt_1"}), 400, "invalid_request"),
        (
            json!({"printer_id": 1, "file_id": file, "file_url": "http://x/"}),
            400,
            "invalid_request",
        ),
        (
            json!({"printer_id": "prt_1", "file_id": "ab"}),
            400,
            "unknown_file",
        ),
        (
            json!({"printer_id": "prt_1", "file_id": "not hex"}),
            400,
            "invalid_request",
        ),
        (json!({"printer_id": "prt_3", "file_id": file}), 400, "offline"),
        (
            json!({"printer_id": "prt_1", "file_id": file, "skip_objects": "x"}),
            400,
            "invalid_request",
        ),
    ];
    for (body, want, code) in rows {
        let (status, answer) = post(&far, "v1/jobs", body.clone()).await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (want, &json!(code)),
            "{body}: {answer}"
        );
    }
    assert!(rig.alpha.told().is_empty(), "nothing was started");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_come_from_where_they_may() {
    let rig = Rig::start_with(FARM).await;
    let far = rig.key("k", "control").await;
    let files = serve_file(CUBE).await;
    let order = |path: &str| json!({"printer_id": "prt_1", "file_url": format!("{}{path}", files.url)});
    for (path, code) in [
        ("away", "file_url_not_allowed"),
        ("none", "file_not_fetched"),
        ("empty", "file_not_fetched"),
    ] {
        let (status, answer) = post(&far, "v1/jobs", order(path)).await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (400, &json!(code)),
            "{path}: {answer}"
        );
    }
    for url in [
        "ftp://example.com/a.gcode",
        "http://169.254.169.254/x",
        "x",
        "http://u:p@192.0.2.1/",
    ] {
        let (_, answer) = post(&far, "v1/jobs", json!({"printer_id": "prt_1", "file_url": url})).await;
        assert_eq!(answer["error"]["code"], "file_url_not_allowed", "{url}");
    }
    let (status, answer) = post(&far, "v1/jobs", order("on")).await;
    assert_eq!(
        (status, &answer["data"]["name"]),
        (201, &json!("cube.gcode")),
        "{answer}"
    );
    rig.until("it prints", |r| r.state(1) == "printing").await;
    rig.end().await;
    // This machine is not for everybody.
    let rig = Rig::start_with("rate_per_min = 0\nv1 = \"autoprintfarm\"").await;
    let far = rig.key("k", "control").await;
    let (status, answer) = post(&far, "v1/jobs", order("on")).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (400, &json!("file_url_not_allowed")),
        "{answer}"
    );
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn actions_tell_what_came_of_them() {
    let rig = Rig::start_with(FARM).await;
    let far = rig.key("k", "control").await;
    let act = |printer: &str, action: &str| {
        let body = json!({"printer_id": printer, "action": action});
        let far = &far;
        async move { post(far, "v1/printers/actions", body).await }
    };
    let code = |answer: &Value| answer["error"]["code"].as_str().unwrap_or_default().to_owned();
    for (printer, action, want, word) in [
        ("prt_1", "fly", 400, "invalid_action"),
        ("prt_9", "pause", 404, "invalid_printer"),
        ("prt_3", "pause", 400, "offline"),
        ("prt_1", "skip_objects", 400, "invalid_request"),
    ] {
        let (status, answer) = act(printer, action).await;
        assert_eq!(
            (status, code(&answer).as_str()),
            (want, word),
            "{action}: {answer}"
        );
    }
    for action in ["pause", "resume", "cancel"] {
        let (status, answer) = act("prt_1", action).await;
        assert_eq!(status, 400, "{action} while idle: {answer}");
    }
    assert!(rig.alpha.told().is_empty(), "{:?}", rig.alpha.told());
    rig.print(1).await;
    for (action, state) in [("pause", "paused"), ("resume", "printing")] {
        let (status, answer) = act("prt_1", action).await;
        assert_eq!(
            (status, &answer["data"]["layerd"]["outcome"]),
            (200, &json!("verified")),
            "{answer}"
        );
        assert_eq!(answer["data"]["status"], state, "the state that it led to");
    }
    // Nothing was seen to happen: that is no success, and a repeat does not try again.
    rig.alpha.deaf.store(true, Ordering::SeqCst);
    for again in [false, true] {
        let body = json!({"printer_id": "prt_1", "action": "pause"});
        let (status, said_again, answer) = post_once(&far, "v1/printers/prt_1/actions", "u", body).await;
        assert_eq!(
            (status, said_again, code(&answer).as_str()),
            (500, again, "unverified"),
            "{answer}"
        );
    }
    assert_eq!(
        rig.alpha.told().iter().filter(|l| *l == "pause").count(),
        2,
        "the one before and this one"
    );
    rig.alpha.deaf.store(false, Ordering::SeqCst);
    let (status, _) = post(
        &far,
        "v1/printers/prt_1/actions",
        json!({"printer_id": "prt_2", "action": "cancel"}),
    )
    .await;
    assert_eq!(status, 400, "two printers");
    let (status, answer) = post(
        &far,
        "v1/printers/1/actions",
        json!({"action": "cancel", "comment": "x"}),
    )
    .await;
    assert_eq!(status, 200, "{answer}");
    rig.until("it is free", |r| r.state(1) == "operational").await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_are_signed_and_speak_its_words() {
    let rig = Rig::start_with(FARM).await;
    let far = rig.key("k", "admin").await;
    let target = Target::start(Vec::new()).await;
    for (body, code) in [
        (json!({"url": target.url, "events": []}), "invalid_request"),
        (json!({"url": target.url, "events": ["fly"]}), "unknown_event"),
        (json!({"events": ["job.completed"]}), "invalid_request"),
        (
            json!({"url": "http://169.254.169.254/", "events": ["job.completed"]}),
            "url_not_allowed",
        ),
    ] {
        let (status, answer) = post(&far, "v1/webhooks", body.clone()).await;
        assert_eq!((status, &answer["error"]["code"]), (400, &json!(code)), "{body}");
    }
    let wish = json!({"url": target.url, "events": ["job.started", "job.completed"], "secret": "s3cret"});
    let (status, _, made) = post_once(&far, "v1/webhooks", "w", wish.clone()).await;
    assert_eq!(
        (status, &made["data"]["events"]),
        (201, &json!(["job.started", "job.completed"])),
        "{made}"
    );
    let (_, again, same) = post_once(&far, "v1/webhooks", "w", wish).await;
    assert_eq!((again, &same), (true, &made));
    let (_, all) = rig.get("0/webhooks/Get").await;
    assert_eq!(
        all["data"].as_array().expect("hooks").len(),
        1,
        "no second effect"
    );
    rig.print(1).await;
    rig.until("it is told", |_| target.events() == ["job.started"])
        .await;
    let (head, body) = target.heard.lock().expect("sound")[0].clone();
    let sent = serde_json::to_string(&body).expect("JSON");
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"s3cret");
    let tag = ring::hmac::sign(&key, sent.as_bytes());
    let hex: String = tag.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    let head = head.to_ascii_lowercase();
    assert!(
        head.contains(&format!("x-autoprintfarm-signature: sha256={hex}")),
        "{head}"
    );
    assert!(!head.contains("s3cret"), "the secret itself does not travel");
    rig.end().await;
}
