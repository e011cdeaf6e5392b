//! Who is let in. A heater that can be switched on from the network without a key would be a disaster.

use serde_json::{Value, json};

use crate::rig::{ACCOUNT, Far, Rig, read};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_shown_once_ends_when_it_is_revoked_and_works_in_both_headers() {
    let rig = Rig::start().await;
    let (_, made) = rig
        .post(
            "0/agent/keys/Create",
            json!({"name": "slicer", "scopes": "read,files", "expires_s": 60}),
        )
        .await;
    let key = made["key"].as_str().expect("a key").to_owned();
    let (_, keys) = rig.get("0/agent/keys/Get").await;
    assert!(!keys.to_string().contains(&key), "never again");
    assert_eq!(keys["data"][0]["scopes"], json!(["read", "files"]));
    assert_eq!(keys["data"][0]["expired"], false);
    let far = rig.far(&[("x-api-key", &key)]);
    assert_eq!(
        far.get("0/account/Test").await.1["message"],
        "Your API key is valid!"
    );
    let bearer = rig.far(&[("authorization", &format!("Bearer {key}"))]);
    assert_eq!(bearer.get(&format!("api/{ACCOUNT}/account/Test")).await.0, 200);
    assert_eq!(
        bearer.get("5/account/Test").await.1["message"],
        "You don't have access to this account"
    );
    let (_, again) = rig.post("0/agent/keys/Create", json!({"name": "slicer"})).await;
    assert_eq!(
        (&again["status"], &again["layerd"]["code"]),
        (&json!(false), &json!("refused/key-exists"))
    );
    for (body, want) in [
        (json!({"name": "", "scopes": "read"}), 400),
        (json!({"name": "x".repeat(65)}), 400),
        (json!({"name": "x", "scopes": "fly"}), 400),
        (json!({"name": "x", "expires_s": 0}), 400),
        (json!({"name": "x", "expires_s": 3_162_240_001_u64}), 400),
        (
            json!({"name": "x".repeat(64), "expires_s": 3_162_240_000_u64}),
            200,
        ),
    ] {
        assert_eq!(
            rig.post("0/agent/keys/Create", body.clone()).await.0,
            want,
            "{body}"
        );
    }
    assert_eq!(
        rig.post("0/agent/keys/Revoke", json!({"name": "nobody"})).await.0,
        404
    );
    assert_eq!(rig.post("0/agent/keys/Revoke", json!({})).await.0, 400);
    assert_eq!(
        rig.post("0/agent/keys/Revoke", json!({"name": "slicer"})).await.0,
        200
    );
    assert_eq!(far.get("0/account/Test").await.0, 401, "at once");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_sites_and_other_names_are_not_answered() {
    let rig = Rig::start_with("rate_per_min = 0\nloopback_key = false\nhosts = [\"printers.lan\"]").await;
    let port = rig.base.rsplit(':').next().expect("a port").to_owned();
    let with = |headers: &[(&'static str, &str)]| rig.far(headers);
    let own = format!("http://127.0.0.1:{port}");
    for (headers, want) in [
        (vec![], 200),
        (vec![("host", "printers.lan:7380")], 200),
        (vec![("host", "box.local")], 200),
        (
            vec![("origin", own.as_str()), ("sec-fetch-site", "same-origin")],
            200,
        ),
        (vec![("host", "evil.example")], 403),
        (vec![("host", "127.0.0.1.evil.example")], 403),
        (vec![("origin", "http://evil.example")], 403),
        (vec![("origin", "null")], 403),
        (vec![("sec-fetch-site", "cross-site")], 403),
        // What stands before us brings others in: they are not from this machine.
        (vec![("x-forwarded-for", "192.0.2.1")], 401),
        (vec![("x-api-key", "lyd_wrong")], 401),
    ] {
        let (status, answer) = with(&headers).get("0/account/Test").await;
        assert_eq!(status, want, "{headers:?}: {answer}");
    }
    // A page from elsewhere can send a form without asking the browser. It starts nothing.
    let page = with(&[("origin", "http://evil.example")]);
    let form = reqwest::multipart::Form::new().text("print", "true").part(
        "file",
        reqwest::multipart::Part::text("M104 S200\n").file_name("x.gcode"),
    );
    assert_eq!(
        read(page.http.post(page.url("0/files/Upload")).multipart(form))
            .await
            .0,
        403
    );
    let resume = page.http.post(page.url("0/printers/actions/HeatersOff?pid=1"));
    assert_eq!(read(resume).await.0, 403);
    assert!(rig.alpha.told().is_empty());
    let here = with(&[]);
    // As `curl -d` sends it, and as a form of any page could: with a key it is JSON, without one it is a form.
    let form = |far: &Far| {
        let request = far.http.post(far.url("0/printers/actions/SendGcode?pid=1"));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        read(request.body("{\"gcode\": [\"M105\"]}"))
    };
    assert_eq!(form(&here).await.0, 415);
    assert!(rig.alpha.told().is_empty());
    let (status, answer) = form(&rig.key("curl", "control").await).await;
    assert_eq!((status, &answer["status"]), (200, &json!(true)), "{answer}");
    rig.until("it was sent", |r| r.alpha.told() == ["M105"]).await;
    assert_eq!(
        here.get("0/printers/notification/ResolveAll").await.0,
        405,
        "an image tag closes nothing"
    );
    assert_eq!(
        here.get("0/agent/keys/Get").await.0,
        403,
        "this machine is no administrator"
    );
    let answer = here
        .http
        .get(here.url("0/account/Test"))
        .header("origin", &own)
        .send()
        .await
        .expect("an answer");
    assert!(
        answer
            .headers()
            .keys()
            .all(|name| !name.as_str().starts_with("access-control")),
        "CORS is off"
    );
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_has_its_minutes_worth_and_an_emergency_stop_is_not_counted() {
    let rig = Rig::start_with("rate_per_min = 3").await;
    let far = rig.key("busy", "read,control").await;
    for left in ["2", "1", "0"] {
        let answer = far
            .http
            .get(far.url("0/account/Test"))
            .send()
            .await
            .expect("an answer");
        let header = |name: &str| answer.headers()[name].to_str().expect("text").to_owned();
        assert_eq!(
            (answer.status().as_u16(), header("x-ratelimit-remaining").as_str()),
            (200, left)
        );
        assert_eq!(header("x-ratelimit-limit"), "3");
    }
    let over = far
        .http
        .get(far.url("0/account/Test"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(over.status().as_u16(), 429);
    let wait: u64 = over.headers()["retry-after"]
        .to_str()
        .expect("text")
        .parse()
        .expect("seconds");
    assert!((1..=20).contains(&wait), "{wait}");
    let body: Value = serde_json::from_str(&over.text().await.expect("a body")).expect("JSON");
    assert_eq!(body["status"], false);
    let stop = json!({"pid": 1, "layerd": {"wait": true}});
    assert_eq!(far.post("0/printers/actions/EmergencyStop", stop).await.0, 200);
    assert_eq!(rig.alpha.told(), ["emergency stop"]);
    assert_eq!(
        rig.key("other", "read").await.get("0/account/Test").await.0,
        200,
        "another key has its own"
    );
    for _ in 0..10 {
        assert_eq!(
            rig.get("0/account/Test").await.0,
            200,
            "the socket is not counted"
        );
    }
    rig.end().await;
}
