//! What holds for every route below `/v1`, in both shapes.

use serde_json::{Value, json};

use crate::rig::{Far, Rig, read};

pub const FARM: &str = "rate_per_min = 0\nwebhook_local = true\nv1 = \"autoprintfarm\"";
pub const SOLO: &str = "rate_per_min = 0\nwebhook_local = true\nv1 = \"soloprint\"";

type Row = (&'static str, &'static str, &'static str, Value);

/// Every route: method, path, what it needs, a body that would have an effect.
fn farm() -> Vec<Row> {
    let act = json!({"printer_id": "prt_1", "action": "heaters_off"});
    vec![
        ("GET", "v1/printers", "read", Value::Null),
        ("GET", "v1/printers/prt_1", "read", Value::Null),
        ("GET", "v1/jobs", "read", Value::Null),
        ("GET", "v1/jobs/job_1", "read", Value::Null),
        (
            "POST",
            "v1/jobs",
            "control",
            json!({"printer_id": "prt_1", "file_id": "ab"}),
        ),
        ("POST", "v1/printers/actions", "control", act.clone()),
        ("POST", "v1/printers/prt_1/actions", "control", act),
        (
            "POST",
            "v1/webhooks",
            "admin",
            json!({"url": "http://192.0.2.1/", "events": ["job.completed"], "secret": "s"}),
        ),
    ]
}

fn solo() -> Vec<Row> {
    let hook = json!({"name": "x", "endpoint_url": "http://192.0.2.1/", "subscriptions": ["job.done"]});
    vec![
        ("GET", "v1/me", "any", Value::Null),
        ("GET", "v1/org/context", "any", Value::Null),
        ("GET", "v1/printers", "read", Value::Null),
        ("GET", "v1/files", "read", Value::Null),
        ("GET", "v1/files/ab/download", "read", Value::Null),
        ("GET", "v1/files/ab/content", "read", Value::Null),
        ("POST", "v1/files/register", "files", json!({"name": "a.gcode"})),
        ("PUT", "v1/files/upload/ab", "files", Value::Null),
        (
            "POST",
            "v1/files/upload-from-url",
            "files",
            json!({"url": "http://192.0.2.1/a.gcode"}),
        ),
        ("GET", "v1/platform/queue", "read", Value::Null),
        ("POST", "v1/platform/queue", "control", json!({"name": "x"})),
        (
            "POST",
            "v1/platform/queue/1/assign",
            "control",
            json!({"printer_id": "1"}),
        ),
        ("POST", "v1/platform/queue/1/recompute", "control", json!({})),
        (
            "POST",
            "v1/platform/printers/1/dispatch-next",
            "control",
            json!({}),
        ),
        ("POST", "v1/platform/webhooks", "admin", hook),
        ("GET", "v1/platform/webhook-deliveries", "admin", Value::Null),
        (
            "POST",
            "v1/platform/webhook-deliveries/1/replay",
            "admin",
            json!({}),
        ),
        ("GET", "v1/platform/api-keys", "admin", Value::Null),
    ]
}

fn request(far: &Far, method: &str, path: &str, body: &Value) -> reqwest::RequestBuilder {
    match method {
        "GET" => far.http.get(far.url(path)),
        "PUT" => far.http.put(far.url(path)).body("G28\n"),
        _ => far.http.post(far.url(path)).json(body),
    }
}

/// Status and body; what every answer has to have was looked at.
pub async fn ask(shape: &str, request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    let headers = answer.headers().clone();
    let text = answer.text().await.expect("a body");
    let body: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}, not JSON: {text}"));
    if shape == SOLO {
        for (name, value) in [
            ("x-soloprint-api-series", "v1"),
            ("x-soloprint-api-version", "2026-04-02"),
            (
                "x-soloprint-api-docs",
                "https://www.soloprint.app/developers/api-docs",
            ),
            (
                "x-soloprint-api-changelog",
                "https://www.soloprint.app/developers/changelog",
            ),
        ] {
            assert_eq!(headers[name], value, "{status}: {body}");
        }
        if status >= 400 {
            assert!(body["error"].is_string() && body["details"].is_string(), "{body}");
        }
    } else if status >= 400 {
        assert_eq!(body["success"], false, "{body}");
        assert!(
            body["error"]["code"].is_string() && body["error"]["message"].is_string(),
            "{body}"
        );
    } else {
        assert_eq!(body["success"], true, "{body}");
    }
    (status, body)
}

async fn strangers(shape: &str, routes: &[Row], words: [&str; 2]) {
    let rig = Rig::start_with(shape).await;
    let (nobody, wrong) = (
        rig.far(&[]),
        rig.far(&[(
            "authorization",
            "Bearer lyd_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        )]),
    );
    let code = |body: &Value| {
        let error = &body["error"];
        error["code"]
            .as_str()
            .or(error.as_str())
            .expect("a code")
            .to_owned()
    };
    for (method, path, _, body) in routes {
        for (far, word) in [(&nobody, words[0]), (&wrong, words[1])] {
            let (status, answer) = ask(shape, request(far, method, path, body)).await;
            assert_eq!((status, code(&answer).as_str()), (401, word), "{method} {path}");
        }
    }
    for scope in ["read", "control", "files", "admin"] {
        let far = rig.key(scope, scope).await;
        for (method, path, needs, body) in routes {
            if *needs == scope || *needs == "any" || scope == "admin" {
                continue;
            }
            let (status, answer) = ask(shape, request(&far, method, path, body)).await;
            let got = (status, code(&answer));
            assert_eq!(
                got,
                (403, "insufficient_permissions".to_owned()),
                "{scope}: {method} {path}"
            );
        }
    }
    let told = [rig.alpha.told(), rig.beta.told()].concat();
    assert!(told.is_empty(), "nothing reached a printer: {told:?}");
    let admin = rig.key("all", "admin").await;
    for (method, path) in [("GET", "v1/nowhere"), ("GET", "v1"), ("GET", "v1/printers/1/2/3")] {
        let (status, answer) = ask(shape, request(&admin, method, path, &Value::Null)).await;
        assert_eq!((status, code(&answer).as_str()), (404, "not_found"), "{path}");
        let (status, _) = ask(shape, request(&nobody, method, path, &Value::Null)).await;
        assert!(matches!(status, 401 | 404), "{path}");
    }
    let (status, answer) = ask(shape, admin.http.delete(admin.url("v1/printers"))).await;
    assert_eq!((status, code(&answer).as_str()), (405, "method_not_allowed"));
    let posts = routes.iter().filter(|(method, ..)| *method == "POST");
    for (_, path, _, body) in posts {
        let html = request(&admin, "POST", path, body).header("accept", "text/html");
        assert_eq!(ask(shape, html).await.0, 406, "{path}");
        if path.ends_with("recompute") || path.ends_with("replay") || path.ends_with("dispatch-next") {
            continue;
        }
        let form = admin
            .http
            .post(admin.url(path))
            .header("content-type", "text/plain")
            .body("a=b");
        assert!(matches!(ask(shape, form).await.0, 400 | 404 | 415), "{path}");
        let broken = admin
            .http
            .post(admin.url(path))
            .header("content-type", "application/json");
        assert!(
            matches!(ask(shape, broken.body("{")).await.0, 400 | 404),
            "{path}"
        );
        let large = admin
            .http
            .post(admin.url(path))
            .header("content-type", "application/json");
        let (status, _) = ask(shape, large.body(" ".repeat((1 << 20) + 1))).await;
        assert!(matches!(status, 404 | 413), "{path}: {status}");
        for key in ["", &"k".repeat(256), "\u{e9}"] {
            let keyed = request(&admin, "POST", path, body).header("idempotency-key", key);
            let (status, answer) = ask(shape, keyed).await;
            assert_eq!(
                (status, code(&answer).as_str()),
                (400, "invalid_idempotency_key"),
                "{path}"
            );
        }
    }
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn autoprintfarm_keeps_to_keys_scopes_and_its_own_failures() {
    strangers(FARM, &farm(), ["invalid_api_key", "invalid_api_key"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soloprint_keeps_to_keys_scopes_and_its_own_failures() {
    strangers(SOLO, &solo(), ["missing_bearer_token", "invalid_bearer_token"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_choice_there_is_no_v1_and_what_clouds_keep_is_told_in_words() {
    let rig = Rig::start().await;
    let (status, answer) = rig.get("v1/printers").await;
    assert_eq!(
        (status, &answer["status"]),
        (404, &json!(false)),
        "the native shape answers"
    );
    rig.end().await;
    let rig = Rig::start_with(SOLO).await;
    let far = rig.key("k", "admin").await;
    for path in [
        "v1/org/users",
        "v1/platform/classes",
        "v1/platform/user-groups",
        "v1/platform/sso/providers",
        "v1/platform/sso/group-mappings",
        "v1/spools",
    ] {
        let (status, answer) = ask(SOLO, far.http.get(far.url(path))).await;
        assert_eq!(
            (status, &answer["error"]),
            (404, &json!("not_on_this_host")),
            "{path}"
        );
    }
    for path in ["v1/org/sso/complete", "v1/org/users/bulk", "v1/spools/7/deduct"] {
        let (status, answer) = ask(SOLO, far.http.post(far.url(path)).json(&json!({}))).await;
        assert_eq!(
            (status, &answer["error"]),
            (404, &json!("not_on_this_host")),
            "{path}"
        );
    }
    rig.end().await;
    let rig = Rig::start_with(FARM).await;
    let far = rig.key("k", "admin").await;
    for path in ["v1/materials", "v1/analytics", "v1/groups/7"] {
        let (status, answer) = ask(FARM, far.http.get(far.url(path))).await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (404, &json!("not_on_this_host")),
            "{path}"
        );
    }
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn autoprintfarm_tells_on_every_response_what_is_left() {
    let rig = Rig::start_with("rate_per_min = 4\nv1 = \"autoprintfarm\"").await;
    let far = rig.key("busy", "read").await;
    let rows = [
        (far.http.get(far.url("v1/printers")), 200, "3"),
        (far.http.get(far.url("v1/printers/prt_9")), 404, "2"),
        (far.http.post(far.url("v1/jobs")).json(&json!({})), 403, "1"),
        (far.http.get(far.url("v1/jobs?per_page=0")), 400, "0"),
        (far.http.get(far.url("v1/printers")), 429, "0"),
        (rig.far(&[]).http.get(far.url("v1/printers")), 401, "4"),
    ];
    for (request, want, left) in rows {
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), want);
        let header = |name: &str| answer.headers()[name].to_str().expect("text").to_owned();
        assert_eq!(
            (
                header("x-ratelimit-limit").as_str(),
                header("x-ratelimit-remaining").as_str()
            ),
            ("4", left)
        );
        let reset: i64 = header("x-ratelimit-reset").parse().expect("seconds");
        let now = jiff::Timestamp::now().as_second();
        assert!((now - 5..now + 70).contains(&reset), "{want}: {reset} at {now}");
    }
    rig.end().await;
}

/// The interface as it was reviewed, and the tables above hold all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_of_both_shapes_is_described_and_tested() {
    for (shape, name, mut rows) in [(SOLO, "soloprint", solo()), (FARM, "autoprintfarm", farm())] {
        rows.push(("GET", "v1/public/version", "", Value::Null));
        let rig = Rig::start_with(shape).await;
        let (_, document) = rig.far(&[]).get("openapi.json").await;
        let paths = document["paths"].as_object().expect("paths").iter();
        let ours: serde_json::Map<String, Value> = paths
            .filter(|(path, _)| path.starts_with("/v1"))
            .map(|(path, methods)| (path.clone(), methods.clone()))
            .collect();
        for (path, methods) in &ours {
            let pattern: Vec<&str> = path.trim_start_matches('/').split('/').collect();
            let fits = |row: &&Row| {
                let parts: Vec<&str> = row.1.split('/').collect();
                let same = |(a, b): (&&str, &&str)| a.starts_with('{') || a == b;
                parts.len() == pattern.len() && pattern.iter().zip(&parts).all(same)
            };
            for (method, described) in methods.as_object().expect("methods") {
                let mut found = rows.iter().filter(fits);
                let found = found.find(|row| row.0.eq_ignore_ascii_case(method));
                let (_, _, needs, _) = found.unwrap_or_else(|| panic!("{method} {path} is in no table"));
                if !matches!(*needs, "any" | "") {
                    assert_eq!(described["x-scope"], *needs, "{method} {path}");
                }
            }
        }
        let sources: &[&str] = if shape == SOLO { &["solo.rs"] } else { &["farm.rs"] };
        for file in sources {
            let path = format!("{}/src/api/v1/{file}", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(path).expect("readable");
            for place in text.split(".route(").skip(1) {
                let path = place.split('"').nth(1).expect("a path");
                let full = format!("/v1{}", path.trim_start_matches("/v1"));
                assert!(
                    ours.contains_key(&full),
                    "{file} serves {path}, and the document does not tell of it"
                );
            }
        }
        let count: usize = ours.values().map(|m| m.as_object().expect("methods").len()).sum();
        let extra = usize::from(shape == FARM);
        assert_eq!(count, rows.len() - extra, "each row of the table is described");
        let golden = format!("{}/tests/api/openapi-{name}.json", env!("CARGO_MANIFEST_DIR"));
        let text = format!("{:#}\n", Value::Object(ours));
        if std::env::var_os("LAYERD_BLESS").is_some() {
            std::fs::write(&golden, &text).expect("written");
        }
        let reviewed = std::fs::read_to_string(&golden).expect("the golden file");
        assert!(
            reviewed == text,
            "the interface has changed: if that is meant, run this test with LAYERD_BLESS=1 and review {golden}"
        );
        rig.end().await;
    }
}

/// The commands of both documentations, replayed as they are: only the address is ours, and what it names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_commands_work_after_changing_the_address() {
    let text = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/fixtures/api/v1_requests.json"
    ));
    let all: Value = serde_json::from_str(&text.expect("the fixture")).expect("JSON");
    for (shape, name) in [(SOLO, "soloprint"), (FARM, "autoprintfarm")] {
        let rig = Rig::start_with(shape).await;
        let (_, made) = rig
            .post(
                "0/agent/keys/Create",
                json!({"name": "k", "scopes": "read,control,files,admin"}),
            )
            .await;
        let key = made["key"].as_str().expect("a key");
        let file = crate::v1_farm::serve_file("G28\nG1 X10 Y10 Z0.2 F3000\nG1 X20 E1\nM104 S0\n").await;
        let rows = all[name].as_array().expect("rows");
        assert!(rows.len() >= 3);
        for row in rows {
            let text = |v: &Value| v.as_str().expect("text").to_owned();
            let method = reqwest::Method::from_bytes(text(&row["method"]).as_bytes()).expect("a method");
            let far = rig.far(&[]);
            let mut request = far
                .http
                .request(method, far.url(text(&row["path"]).trim_start_matches('/')));
            for (name, value) in row["headers"].as_object().expect("headers") {
                request = request.header(name, text(value).replace("KEY", key));
            }
            if !row["body"].is_null() {
                request = request.body(row["body"].to_string().replace("https://example.com/", &file.url));
            }
            let (status, answer) = read(request).await;
            assert_eq!(json!(status), row["status"], "{row}: {answer}");
            for member in row["answers_with"].as_array().expect("members") {
                assert!(answer.pointer(&text(member)).is_some(), "{member}: {answer}");
            }
        }
        rig.end().await;
    }
}
