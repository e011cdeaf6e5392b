//! SoLoPrint's shape at `/v1`.

use serde_json::{Value, json};

use crate::rig::{CUBE, Far, Rig};
use crate::v1_farm::serve_file;
use crate::v1_requests::{SOLO, ask};
use crate::webhooks::Target;

async fn get(far: &Far, path: &str) -> (u16, Value) {
    ask(SOLO, far.http.get(far.url(path))).await
}

async fn post(far: &Far, path: &str, body: Value) -> (u16, Value) {
    ask(SOLO, far.http.post(far.url(path)).json(&body)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_needs_no_key_and_a_key_tells_what_it_is_good_for() {
    let rig = Rig::start_with(SOLO).await;
    let (status, version) = get(&rig.far(&[]), "v1/public/version").await;
    assert_eq!(
        (status, &version["series"], &version["version"]),
        (200, &json!("v1"), &json!("2026-04-02"))
    );
    for (scopes, words) in [
        ("read", json!(["operations.read"])),
        (
            "operations.read,queue.manage",
            json!(["operations.read", "queue.manage", "printer.manage"]),
        ),
        (
            "integrations.manage",
            json!([
                "operations.read",
                "queue.manage",
                "printer.manage",
                "integrations.manage"
            ]),
        ),
    ] {
        let far = rig.key(scopes, scopes).await;
        let (_, context) = get(&far, "v1/org/context").await;
        assert_eq!(context["capabilities"], words, "{scopes}");
        assert_eq!(context["organization"], json!({"id": "4711", "name": "box"}));
        assert_eq!(get(&far, "v1/me").await.1["user"]["name"], json!(scopes));
    }
    let far = rig.key("reader", "read").await;
    let (_, all) = get(&far, "v1/printers").await;
    assert_eq!(all["printers"].as_array().expect("rows").len(), 3);
    assert_eq!(
        (&all["printers"][0]["id"], &all["printers"][0]["state"]),
        (&json!("1"), &json!("operational"))
    );
    assert_eq!(
        (&all["printers"][2]["online"], &all["printers"][2]["state"]),
        (&json!(false), &json!("offline"))
    );
    let admin = rig.key("admin", "admin").await;
    let (_, keys) = get(&admin, "v1/platform/api-keys").await;
    assert_eq!(keys["api_keys"].as_array().expect("keys").len(), 5);
    assert!(!keys.to_string().contains("lyd_"), "no secret material");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_announced_put_fetched_listed_and_given_back() {
    let rig = Rig::start_with(SOLO).await;
    let far = rig.key("k", "files").await;
    let reader = rig.key("r", "read").await;
    for body in [
        json!({}),
        json!({"name": ""}),
        json!({"name": "a", "size": 0}),
        json!({"name": "a", "size": "x"}),
    ] {
        assert_eq!(
            post(&far, "v1/files/register", body.clone()).await.0,
            400,
            "{body}"
        );
    }
    let size = CUBE.len();
    let (status, place) = post(
        &far,
        "v1/files/register",
        json!({"name": "a.gcode", "size": size}),
    )
    .await;
    assert_eq!((status, &place["upload_method"]), (201, &json!("PUT")), "{place}");
    let to = place["upload_url"].as_str().expect("an address").to_owned();
    assert!(to.starts_with(&rig.base), "{to}");
    for wrong in [&CUBE[1..], &format!("{CUBE}x"), ""] {
        let (status, answer) = ask(SOLO, far.http.put(&to).body(wrong.to_owned())).await;
        assert_eq!(status, 400, "{answer}");
    }
    assert_eq!(
        get(&reader, "v1/files").await.1["files"],
        json!([]),
        "what was refused is not here"
    );
    let (status, kept) = ask(SOLO, far.http.put(&to).body(CUBE)).await;
    assert_eq!((status, &kept["file"]["size"]), (201, &json!(size)), "{kept}");
    let (status, answer) = ask(SOLO, far.http.put(&to).body(CUBE)).await;
    assert_eq!((status, &answer["error"]), (409, &json!("upload_taken")));
    let (status, answer) = ask(SOLO, far.http.put(far.url("v1/files/upload/ab")).body(CUBE)).await;
    assert_eq!((status, &answer["error"]), (404, &json!("upload_not_found")));
    // By the id that was announced, too.
    let announced = place["file"]["id"].as_str().expect("an id");
    let (status, link) = get(&reader, &format!("v1/files/{announced}/download")).await;
    assert_eq!(
        (status, &link["file"]["id"]),
        (200, &kept["file"]["id"]),
        "{link}"
    );
    let content = reader
        .http
        .get(link["url"].as_str().expect("an address"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(content.headers()["x-soloprint-api-series"], "v1");
    assert_eq!(content.text().await.expect("a body"), CUBE);
    assert_eq!(
        get(&reader, "v1/files/ab/download").await.1["error"],
        "file_not_found"
    );
    let files = serve_file(CUBE).await;
    let wish = json!({"url": format!("{}b.gcode", files.url)});
    let (status, fetched) = post(&far, "v1/files/upload-from-url", wish).await;
    assert_eq!(
        (status, &fetched["file"]["name"]),
        (201, &json!("b.gcode")),
        "{fetched}"
    );
    let (_, answer) = post(
        &far,
        "v1/files/upload-from-url",
        json!({"url": "http://169.254.169.254/"}),
    )
    .await;
    assert_eq!(answer["error"], "file_url_not_allowed");
    assert_eq!(
        get(&reader, "v1/files").await.1["files"]
            .as_array()
            .expect("files")
            .len(),
        2
    );
    assert!(rig.alpha.told().is_empty(), "uploading starts nothing");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_starts_what_it_is_told_to_and_nothing_by_itself() {
    let rig = Rig::start_with(SOLO).await;
    let far = rig.key("k", "read,queue.manage").await;
    let file = rig.upload("cube.gcode", CUBE).await;
    let (_, empty) = post(&far, "v1/platform/printers/1/dispatch-next", json!({})).await;
    assert_eq!(empty["error"], "queue_item_not_assignable", "{empty}");
    for (body, want) in [
        (json!({}), 400),
        (json!({"file_id": "ab"}), 404),
        (json!({"name": "x", "metadata": []}), 400),
        (json!({"name": "x", "metadata": {"a": "y".repeat(5000)}}), 400),
        (json!({"name": "x", "requirements": {"printer_ids": ["9"]}}), 404),
    ] {
        assert_eq!(
            post(&far, "v1/platform/queue", body.clone()).await.0,
            want,
            "{body}"
        );
    }
    let wish = json!({"file_id": file, "requirements": {"printer_ids": ["1"]}, "metadata": {"order": 7}});
    let (status, made) = post(&far, "v1/platform/queue", wish).await;
    assert_eq!(
        (status, &made["item"]["status"]),
        (201, &json!("queued")),
        "{made}"
    );
    assert_eq!(made["item"]["metadata"], json!({"order": 7}));
    let id = made["item"]["id"].as_str().expect("an id").to_owned();
    post(&far, "v1/platform/queue", json!({"name": "later"})).await;
    let (_, looked) = post(&far, &format!("v1/platform/queue/{id}/recompute"), json!({})).await;
    let eligible = |item: &Value, n: usize| item["item"]["eligibility"][n]["eligible"].clone();
    assert_eq!(
        (eligible(&looked, 0), eligible(&looked, 1)),
        (json!(true), json!(false)),
        "{looked}"
    );
    assert!(rig.alpha.told().is_empty(), "nothing starts by itself");
    let assign = |printer: &str| {
        post_to(
            &far,
            format!("v1/platform/queue/{id}/assign"),
            json!({"printer_id": printer}),
        )
    };
    let (status, answer) = assign("2").await;
    assert_eq!(
        (status, &answer["error"]),
        (409, &json!("queue_item_not_assignable")),
        "{answer}"
    );
    assert_eq!(assign("9").await.0, 404);
    assert_eq!(
        post(&far, "v1/platform/queue/99/assign", json!({"printer_id": "1"}))
            .await
            .1["error"],
        "queue_item_not_found"
    );
    // Busy: the reason is kept; free again: it prints, once.
    rig.print(1).await;
    let (status, answer) = assign("1").await;
    assert_eq!(
        (status, &answer["error"]),
        (409, &json!("queue_item_not_assignable")),
        "{answer}"
    );
    let (_, list) = get(&far, "v1/platform/queue").await;
    assert!(list["items"][0]["last_refusal"].is_string(), "{list}");
    assert_eq!(
        list["items"][0]["eligibility"][0]["reasons"][0]["code"],
        "printer_not_operational"
    );
    rig.act("Cancel", json!({"pid": 1})).await;
    rig.until("it is free", |r| r.state(1) == "operational").await;
    let both = futures_util::future::join(assign("1"), assign("1")).await;
    let mut statuses = [both.0.0, both.1.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{both:?}");
    rig.until("it prints", |r| r.state(1) == "printing").await;
    let starts = rig
        .alpha
        .told()
        .iter()
        .filter(|l| l.starts_with("start") || l.starts_with("print"))
        .count();
    assert_eq!(starts, 2, "the one before and this one: {:?}", rig.alpha.told());
    let (_, list) = get(&far, "v1/platform/queue").await;
    assert_eq!(
        (
            &list["items"][0]["status"],
            &list["items"][0]["assignment"]["printer_id"]
        ),
        (&json!("printing"), &json!("1"))
    );
    assert_eq!(
        list["items"][1]["eligibility"][0]["reasons"][0]["code"],
        "no_file"
    );
    rig.end().await;
}

async fn post_to(far: &Far, path: String, body: Value) -> (u16, Value) {
    post(far, &path, body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_item_is_dispatched_and_told_by_webhook_with_its_own_policy() {
    let rig = Rig::start_with(SOLO).await;
    let far = rig.key("k", "admin").await;
    let target = Target::start(vec![500]).await;
    for (body, want) in [
        (
            json!({"name": "x", "endpoint_url": target.url, "subscriptions": ["job.done"], "max_attempts": 0}),
            400,
        ),
        (
            json!({"name": "x", "endpoint_url": target.url, "subscriptions": ["job.done"], "max_attempts": 21}),
            400,
        ),
        (
            json!({"name": "x", "endpoint_url": target.url, "subscriptions": ["job.done"], "retry_backoff_seconds": 86_401}),
            400,
        ),
        (
            json!({"name": "x", "endpoint_url": target.url, "subscriptions": ["fly"]}),
            400,
        ),
        (
            json!({"endpoint_url": target.url, "subscriptions": ["job.done"]}),
            400,
        ),
    ] {
        assert_eq!(
            post(&far, "v1/platform/webhooks", body.clone()).await.0,
            want,
            "{body}"
        );
    }
    let hook = json!({"name": "x", "endpoint_url": target.url, "max_attempts": 1, "retry_backoff_seconds": 1,
                      "subscriptions": ["queue_item.assigned", "spool_assignment.created"]});
    let (status, made) = post(&far, "v1/platform/webhooks", hook).await;
    assert_eq!(
        (status, &made["webhook"]["layerd"]["never_told"]),
        (201, &json!(["spool_assignment.created"]))
    );
    let file = rig.upload("cube.gcode", CUBE).await;
    post(&far, "v1/platform/queue", json!({"name": "no file"})).await;
    post(
        &far,
        "v1/platform/queue",
        json!({"name": "cube", "file_id": file}),
    )
    .await;
    let (status, answer) = post(&far, "v1/platform/printers/1/dispatch-next", json!({})).await;
    assert_eq!(
        (status, &answer["item"]["name"]),
        (200, &json!("cube")),
        "{answer}"
    );
    rig.until("it is told", |_| target.events() == ["queue_item.assigned"])
        .await;
    // The one attempt it has failed: it is given up, and can be sent again by hand.
    let mut failed = Value::Null;
    for _ in 0..400 {
        failed = get(&far, "v1/platform/webhook-deliveries?state=failed").await.1;
        if failed["total"] == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let row = &failed["deliveries"][0];
    assert_eq!(
        (&row["attempts"], &row["last_status"]),
        (&json!(1), &json!(500)),
        "{failed}"
    );
    assert_eq!(row["next_attempt_at"], Value::Null);
    let path = format!(
        "v1/platform/webhook-deliveries/{}/replay",
        row["id"].as_str().expect("an id")
    );
    let (status, again) = post(&far, &path, json!({})).await;
    assert_eq!((status, &again["delivery"]["state"]), (201, &json!("queued")));
    rig.until("it came again", |_| target.events().len() == 2).await;
    for (query, want) in [
        ("state=x", 400),
        ("page_size=0", 400),
        ("page_size=101", 400),
        ("page_size=100", 200),
    ] {
        assert_eq!(
            get(&far, &format!("v1/platform/webhook-deliveries?{query}"))
                .await
                .0,
            want,
            "{query}"
        );
    }
    let (status, answer) = post(&far, "v1/platform/webhook-deliveries/99/replay", json!({})).await;
    assert_eq!(
        (status, &answer["error"]),
        (404, &json!("webhook_delivery_not_found"))
    );
    rig.end().await;
}
