//! Webhooks and metrics.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::rig::Rig;

/// A target that writes down what it is sent and answers as it is told to.
pub struct Target {
    pub url: String,
    pub heard: Arc<Mutex<Vec<(String, Value)>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Target {
    /// `answers`: statuses in order; then 200. 0: no answer at all.
    #[allow(clippy::disallowed_methods, reason = "the handle is kept and aborted")]
    pub async fn start(answers: Vec<u16>) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("bound"));
        let heard: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
        let kept = heard.clone();
        let task = tokio::spawn(async move {
            let mut answers = answers.into_iter();
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut text = String::new();
                let mut chunk = [0; 4096];
                let (head, body) = loop {
                    let n = stream.read(&mut chunk).await.expect("bytes");
                    text.push_str(std::str::from_utf8(&chunk[..n]).expect("text"));
                    if let Some((head, body)) = text.split_once("\r\n\r\n")
                        && let Ok(body) = serde_json::from_str::<Value>(body)
                    {
                        break (head.to_owned(), body);
                    }
                    assert!(n > 0, "broken off: {text}");
                };
                kept.lock().expect("sound").push((head, body));
                match answers.next().unwrap_or(200) {
                    0 => open.push(stream),
                    status => {
                        let answer = format!(
                            "HTTP/1.1 {status} X\r\ncontent-length: 0\r\nlocation: http://127.0.0.1:1/\r\n\r\n"
                        );
                        stream.write_all(answer.as_bytes()).await.expect("sent");
                    }
                }
            }
        });
        Target { url, heard, task }
    }

    pub fn events(&self) -> Vec<String> {
        let heard = self.heard.lock().expect("sound");
        heard
            .iter()
            .map(|(_, body)| body["event"].as_str().expect("an event").to_owned())
            .collect()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const LOCAL: &str = "rate_per_min = 0\nwebhook_local = true";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_print_is_told_from_start_to_end_and_a_deaf_target_delays_nothing() {
    let rig = Rig::start_with(LOCAL).await;
    let (good, deaf) = (Target::start(Vec::new()).await, Target::start(vec![0; 50]).await);
    let all = json!([
        "job.started",
        "job.paused",
        "job.resumed",
        "job.cancelled",
        "job.objects_skipped"
    ]);
    let hook = |url: &str| json!({"name": "farm", "url": url, "secret": "s3cret", "events": all});
    let (_, made) = rig.post("0/webhooks/Create", hook(&good.url)).await;
    assert_eq!(
        (&made["webhook"]["secret"], &made["webhook"]["enabled"]),
        (&json!("********"), &json!(true)),
        "{made}"
    );
    rig.post("0/webhooks/Create", hook(&deaf.url)).await;
    rig.print(1).await;
    rig.until("the start is told", |_| good.events() == ["job.started"])
        .await;
    assert_eq!(
        rig.act("Pause", json!({"pid": 1})).await["layerd"]["outcome"],
        "verified"
    );
    rig.until("the pause is told", |_| good.events().len() == 2).await;
    rig.act("Resume", json!({"pid": 1})).await;
    rig.until("the resume is told", |_| good.events().len() == 3)
        .await;
    rig.act("Cancel", json!({"pid": 1})).await;
    rig.until("the end is told", |_| good.events().len() == 4).await;
    assert_eq!(
        good.events(),
        ["job.started", "job.paused", "job.resumed", "job.cancelled"]
    );
    {
        let heard = good.heard.lock().expect("sound");
        let (head, body) = &heard[0];
        assert!(
            head.to_ascii_lowercase().contains("x-sp-secret: s3cret"),
            "{head}"
        );
        assert_eq!(
            (&body["webhook_id"], &body["data"]["job"]["file"]),
            (&json!(1), &json!("cube.gcode"))
        );
        assert_eq!(
            (&body["data"]["job"]["printer"]["name"], &body["data"]["user"]),
            (&json!("alpha"), &Value::Null)
        );
        assert!(body["timestamp"].is_i64());
        assert_eq!(heard[3].1["data"]["job"]["state"], "cancelled");
    }
    // A delivery is written down when its answer has come, which is after the target heard of it.
    let began = std::time::Instant::now();
    let log = loop {
        let body = json!({"webhook_id": 1, "page": 1, "page_size": 2});
        let (_, log) = rig.post("0/webhooks/GetLogs", body).await;
        if log["data"][0]["attempts"] != 0 || began.elapsed() > Duration::from_secs(20) {
            break log;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(
        (&log["total"], &log["page_amount"]),
        (&json!(4), &json!(2)),
        "{log}"
    );
    let first = &log["data"][0];
    assert_eq!(
        (&first["succeeded"], &first["status_code"], &first["attempts"]),
        (&json!(true), &json!(200), &json!(1))
    );
    assert_eq!(
        rig.post("0/webhooks/Replay", json!({"id": first["id"]})).await.0,
        200
    );
    rig.until("it is told again", |_| good.events().len() == 5).await;
    assert_eq!(deaf.events(), ["job.started"], "one at a time");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_taken_waits_and_is_tried_again() {
    let rig = Rig::start_with(LOCAL).await;
    let target = Target::start(vec![302, 500]).await;
    let body = json!({"name": "x", "url": target.url, "events": ["test"]});
    assert_eq!(rig.post("0/webhooks/Create", body).await.0, 200);
    for _ in 0..2 {
        assert_eq!(
            rig.post("0/webhooks/TriggerTestWebhook", json!({"id": 1}))
                .await
                .1["status"],
            true
        );
    }
    rig.until("both were tried", |_| target.events().len() == 2).await;
    let mut log = Value::Null;
    for _ in 0..400 {
        log = rig
            .post(
                "0/webhooks/GetLogs",
                json!({"webhook_id": 1, "page": 1, "page_size": 100, "sort_dir": "asc"}),
            )
            .await
            .1;
        if (0..2).all(|n| log["data"][n]["attempts"] == 1) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for (n, status) in [(0, 302), (1, 500)] {
        let row = &log["data"][n];
        assert_eq!(
            (&row["succeeded"], &row["status_code"]),
            (&json!(false), &json!(status)),
            "{log}"
        );
        assert!(row["layerd"]["next"].is_string(), "it comes again: {row}");
    }
    assert_eq!(
        rig.post("0/webhooks/SetEnabled", json!({"id": 1, "enabled": 0}))
            .await
            .1["webhook"]["enabled"],
        false
    );
    let (_, off) = rig.post("0/webhooks/TriggerTestWebhook", json!({"id": 1})).await;
    assert_eq!(off["status"], false);
    assert_eq!(rig.post("0/webhooks/Delete", json!({"id": 1})).await.0, 200);
    assert_eq!(rig.get("0/webhooks/Get").await.1["data"], json!([]));
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_keep_to_their_limits_and_lead_nowhere_inside() {
    let rig = Rig::start().await;
    let url = "http://192.0.2.1/x";
    for (body, want) in [
        (json!({"name": "a", "url": url, "events": ["test"]}), 200),
        (
            json!({"name": "a".repeat(100), "url": url, "events": ["test", "test"], "secret": "s".repeat(200)}),
            200,
        ),
        (
            json!({"name": "a".repeat(101), "url": url, "events": ["test"]}),
            400,
        ),
        (
            json!({"name": "a", "url": url, "events": ["test"], "secret": "s".repeat(201)}),
            400,
        ),
        (
            json!({"name": "a", "url": url, "events": ["test"], "secret": "a\nb"}),
            400,
        ),
        (json!({"name": "a", "url": url, "events": []}), 400),
        (json!({"name": "a", "url": url, "events": ["queue.flown"]}), 400),
        (json!({"name": "a", "events": ["test"]}), 400),
        (json!({"url": url, "events": ["test"]}), 400),
        (
            json!({"name": "a", "url": "http://127.0.0.1:7380/", "events": ["test"]}),
            400,
        ),
        (
            json!({"name": "a", "url": "http://169.254.169.254/", "events": ["test"]}),
            400,
        ),
        (
            json!({"id": 77, "name": "a", "url": url, "events": ["test"]}),
            404,
        ),
    ] {
        let (status, answer) = rig.post("0/webhooks/Create", body.clone()).await;
        assert_eq!(status, want, "{body}: {answer}");
    }
    // A change without the secret, or with its mask, keeps it.
    let change = json!({"id": 2, "name": "b", "url": url, "events": ["job.done"], "secret": "********", "enabled": false});
    let (_, changed) = rig.post("0/webhooks/Create", change).await;
    assert_eq!(
        (&changed["webhook"]["secret"], &changed["webhook"]["name"]),
        (&json!("********"), &json!("b"))
    );
    assert_eq!(
        rig.agent.store().webhooks().await.expect("rows")[1]
            .secret
            .as_deref(),
        Some("s".repeat(200).as_str())
    );
    for n in 2..50 {
        let (_, made) = rig
            .post(
                "0/webhooks/Create",
                json!({"name": "n", "url": url, "events": ["job.done"], "enabled": false}),
            )
            .await;
        assert_eq!(made["status"], true, "{n}");
    }
    let (_, more) = rig
        .post(
            "0/webhooks/Create",
            json!({"name": "n", "url": url, "events": ["job.done"]}),
        )
        .await;
    assert_eq!(
        (&more["status"], &more["layerd"]["code"]),
        (&json!(false), &json!("refused/too-many"))
    );
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_is_as_reviewed() {
    let rig = Rig::start().await;
    let stranger = rig.far(&[]);
    let (status, document) = stranger.get("openapi.json").await;
    assert_eq!(status, 200);
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/openapi.json");
    let text = format!("{}\n", serde_json::to_string_pretty(&document).expect("JSON"));
    if std::env::var_os("LAYERD_BLESS").is_some() {
        std::fs::write(&golden, &text).expect("written");
    }
    assert!(
        std::fs::read_to_string(&golden).expect("readable") == text,
        "the interface has changed: if that is meant, run this test with LAYERD_BLESS=1 and review tests/api/openapi.json"
    );
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_openmetrics_and_health_needs_no_key() {
    let rig = Rig::start().await;
    let far = rig.key("prometheus", "read").await;
    let answer = far
        .http
        .get(far.url("metrics"))
        .header("accept", "application/openmetrics-text")
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status().as_u16(), 200);
    assert!(
        answer.headers()["content-type"]
            .to_str()
            .expect("text")
            .starts_with("application/openmetrics-text")
    );
    let text = answer.text().await.expect("a text");
    assert!(text.ends_with("# EOF\n"));
    for line in [
        "layerd_printer_up{printer=\"alpha\"} 1",
        "layerd_printer_up{printer=\"gone\"} 0",
        "layerd_temperature_celsius{printer=\"alpha\",heater=\"tool0\"} 21.5",
        "layerd_prints_total{printer=\"alpha\",end=\"completed\"} 0",
        "# TYPE layerd_prints counter",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in {text}");
    }
    assert!(!text.contains("heater=\"bed\""), "nobody has seen a bed");
    let families: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("# TYPE ")).collect();
    let unique: std::collections::HashSet<_> = families.iter().collect();
    assert_eq!(unique.len(), families.len());
    let stranger = rig.far(&[]);
    assert_eq!(stranger.get("healthz").await.0, 200);
    assert_eq!(stranger.get("readyz").await.0, 200);
    assert_eq!(stranger.get("metrics").await.0, 401);
    rig.agent.drain(true);
    let (status, ready) = stranger.get("readyz").await;
    assert_eq!(
        (status, &ready["message"]),
        (503, &json!("It is draining: no new prints are started."))
    );
    rig.end().await;
}
