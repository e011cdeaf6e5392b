//! Server-sent events.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::rig::{Far, Rig};

/// Longest wait for an event.
const LIMIT: Duration = Duration::from_secs(20);

/// A listener as simple as one can be.
struct Listener {
    answer: reqwest::Response,
    text: String,
}

impl Listener {
    async fn open(far: &Far, path: &str) -> Listener {
        let request = far
            .http
            .get(far.url(path))
            .header("accept", "text/event-stream")
            .header("last-event-id", "77");
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Listener {
            answer,
            text: String::new(),
        }
    }

    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                if let Some((event, data)) = block.split_once('\n') {
                    let event = event.strip_prefix("event: ").expect("a name").to_owned();
                    let data =
                        serde_json::from_str(data.strip_prefix("data: ").expect("data")).expect("JSON");
                    return Some((event, data));
                }
            }
            let chunk = tokio::time::timeout(LIMIT, self.answer.chunk())
                .await
                .expect("in time");
            let chunk = chunk.ok().flatten()?;
            self.text.push_str(std::str::from_utf8(&chunk).expect("text"));
        }
    }

    async fn until(&mut self, what: impl Fn(&str, &Value) -> bool) -> Value {
        loop {
            let (event, data) = self.next().await.expect("it goes on");
            if what(&event, &data) {
                return data;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_everything_then_what_changes() {
    let rig = Rig::start().await;
    let far = rig.key("page", "read").await;
    let mut heard = Listener::open(&far, "0/events").await;
    let mut other = Listener::open(&far, "events").await;
    let (_, listed) = rig.get("0/printers/Get").await;
    for n in 0..3 {
        let (event, mut data) = heard.next().await.expect("a printer");
        let mut row = listed["data"][n].clone();
        for one in [&mut data, &mut row] {
            // Its only part that moves by itself.
            one["layerd"]["temps"] = Value::Null;
        }
        assert_eq!((event.as_str(), &data), ("printer", &row));
    }
    rig.print(1).await;
    let row = heard
        .until(|event, data| event == "printer" && data["printer"]["state"] == "printing")
        .await;
    assert_eq!(
        (&row["id"], &row["job"]["file"]),
        (&json!(1), &json!("cube.gcode"))
    );
    other
        .until(|event, data| event == "printer" && data["printer"]["state"] == "printing")
        .await;
    let id = uuid::Uuid::from_u128(7);
    let press = json!({"notifications": [{"id": id, "action": "0"}]});
    rig.post("0/printers/notification/Resolve?pid=2", press).await;
    let settled = heard.until(|event, _| event == "notice").await;
    assert_eq!(
        (&settled["printer"], &settled["open"], &settled["notice"]["id"]),
        (&json!(2), &json!(false), &json!(id))
    );
    let row = heard
        .until(|event, data| event == "printer" && data["id"] == 2)
        .await;
    assert_eq!(row["layerd"]["notices"], json!([]));
    // The end of the daemon ends the stream at once instead of holding it up.
    let began = std::time::Instant::now();
    rig.end().await;
    while heard.next().await.is_some() {}
    assert!(began.elapsed() < LIMIT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_key_hears_nothing_more() {
    let rig = Rig::start().await;
    let far = rig.key("guest", "read").await;
    let mut heard = Listener::open(&far, "0/events").await;
    for _ in 0..3 {
        heard.next().await.expect("a printer");
    }
    rig.post("0/agent/keys/Revoke", json!({"name": "guest"})).await;
    rig.print(1).await;
    assert_eq!(heard.next().await, None);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listeners_that_read_nothing_delay_nobody_and_there_is_an_end_to_them() {
    let rig = Rig::start().await;
    let far = rig.key("page", "read").await;
    let (_, made) = rig
        .post("0/agent/keys/Create", json!({"name": "raw", "scopes": "read"}))
        .await;
    let address = rig.base.strip_prefix("http://").expect("an address").to_owned();
    let head = format!(
        "GET /events HTTP/1.1\r\nHost: {address}\r\nX-API-KEY: {}\r\n\r\n",
        made["key"].as_str().expect("a key")
    );
    let mut deaf = Vec::new();
    for _ in 0..layerd::api::events::LISTENERS_MAX - 1 {
        let mut stream = tokio::net::TcpStream::connect(&address)
            .await
            .expect("a connection");
        stream.write_all(head.as_bytes()).await.expect("sent");
        // Only that it was taken; of the rest nothing is ever read.
        stream.read_exact(&mut [0; 15]).await.expect("a status");
        deaf.push(stream);
    }
    let mut heard = Listener::open(&far, "events").await;
    let full = far.http.get(far.url("events")).send().await.expect("an answer");
    assert_eq!(full.status().as_u16(), 503);
    let answer = rig.print(1).await;
    assert_eq!(answer["layerd"]["outcome"], "verified");
    heard
        .until(|event, data| event == "printer" && data["printer"]["state"] == "printing")
        .await;
    drop(deaf);
    drop(heard);
    rig.end().await;
}
