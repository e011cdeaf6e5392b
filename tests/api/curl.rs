//! The `curl` commands of the cloud's documentation against this host: method, path, headers and body as they are
//! written there, another base. `CURL=1` sends them with curl itself and lists what became of each.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::automation::owned;
use crate::rig::{ACCOUNT, PLATE, Rig};

const COMMANDS: &str = include_str!("../../fixtures/api/curl.jsonl");

/// What stands in the documentation in the place of what is here.
struct Here {
    file: String,
    job: i64,
    hook: i64,
    notice: String,
    snippet: u64,
    token: String,
}

impl Here {
    fn put(&self, text: &str) -> String {
        text.replace("/ID/", &format!("/{ACCOUNT}/"))
            .replace("pid=1234,1235", "pid=1,2")
            .replace("pid=1234", "pid=1")
            .replace("\"pid\": 42", "\"pid\": 1")
            .replace("196a1dd0b93a66c19192a39fa4c16e71", &self.file)
            .replace("[2, 5]", "[1]")
            .replace("GetDetails?id=123", &format!("GetDetails?id={}", self.job))
            .replace("GetSnippet?id=123", &format!("GetSnippet?id={}", self.snippet))
            .replace("printer=123", "printer=1")
            .replace("\"id\": 123", &format!("\"id\": {}", self.hook))
            .replace("\"webhook_id\": 123", &format!("\"webhook_id\": {}", self.hook))
            .replace("https://example.com/webhook", "http://192.0.2.1/webhook")
            .replace("bc7ae811-97db-4110-b45f-d04767d16059", &self.notice)
    }
}

/// Sends one as curl would: a body without a type is called a form.
async fn sent(rig: &Rig, key: &str, command: &Value, here: &Here) -> (u16, Value) {
    let text = |name: &str| command[name].as_str();
    let url = format!("{}{}", rig.base, here.put(text("path").expect("a path")));
    let method = text("method").expect("a method");
    let key = match text("key") {
        Some("bearer") => ("authorization", format!("Bearer {key}")),
        _ => ("x-api-key", key.to_owned()),
    };
    let form: Vec<(String, Option<&str>)> = command["form"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|part| {
            let (name, value) = part.as_str().and_then(|p| p.split_once('=')).expect("a part");
            let file = value.strip_prefix("@/path/to/");
            let value = match name {
                "totalSize" => PLATE.len().to_string(),
                "continueToken" => here.token.clone(),
                _ => value.to_owned(),
            };
            (format!("{name}={value}"), file)
        })
        .collect();
    let half = PLATE.len() / 2;
    let bytes = |file: &str| match file {
        "part1.3mf" => &PLATE[..half],
        "part2.3mf" => &PLATE[half..],
        _ => PLATE,
    };
    if std::env::var_os("CURL").is_some() {
        let mut curl = tokio::process::Command::new("curl");
        curl.args([
            "-sS",
            "--max-time",
            "20",
            "-w",
            "\n%{http_code}",
            "-X",
            method,
            &url,
        ]);
        curl.arg("-H").arg(format!("{}: {}", key.0, key.1));
        for (name, header) in [("type", "Content-Type"), ("accept", "accept")] {
            if let Some(value) = text(name) {
                curl.arg("-H").arg(format!("{header}: {value}"));
            }
        }
        if let Some(data) = text("data") {
            curl.arg("-d").arg(here.put(data));
        }
        for (part, file) in &form {
            match file {
                Some(file) => {
                    let path = rig.dir.path().join(file);
                    std::fs::write(&path, bytes(file)).expect("written");
                    curl.arg("-F").arg(format!("file=@{}", path.display()));
                }
                None => drop(curl.arg("-F").arg(part)),
            }
        }
        let out = curl
            .stdin(Stdio::null())
            .output()
            .await
            .expect("curl is installed");
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        let (body, status) = said.rsplit_once('\n').expect("a status");
        let answer = serde_json::from_str(body).unwrap_or_else(|_| panic!("{command}: {said} {out:?}"));
        return (status.parse().expect("a number"), answer);
    }
    let far = rig.far(&[(key.0, key.1.as_str())]);
    let mut request = far.http.request(method.parse().expect("a method"), url);
    if let Some(accept) = text("accept") {
        request = request.header("accept", accept);
    }
    if let Some(data) = text("data") {
        let kind = text("type").unwrap_or("application/x-www-form-urlencoded");
        request = request.header("content-type", kind).body(here.put(data));
    }
    if !form.is_empty() {
        let mut parts = reqwest::multipart::Form::new();
        for (part, file) in form {
            let (name, value) = part.split_once('=').expect("a part");
            parts = match file {
                Some(file) => {
                    let part = reqwest::multipart::Part::text(bytes(file)).file_name(file.to_owned());
                    parts.part(name.to_owned(), part)
                }
                None => parts.text(name.to_owned(), value.to_owned()),
            };
        }
        request = request.multipart(parts);
    }
    crate::rig::read(request).await
}

/// Brings the printers into the state that the command is for.
async fn prepared(rig: &Rig, path: &str, here: &Here) {
    let action = path
        .rsplit('/')
        .next()
        .and_then(|p| p.split('?').next())
        .unwrap_or_default();
    let wanted = match action {
        "Pause" | "Cancel" | "SkipObjects" => "printing",
        "Resume" => "paused",
        _ => "operational",
    };
    let state = |rig: &Rig| rig.state(1);
    for pid in [1, 2] {
        if rig.state(pid) != "operational" && wanted == "operational" {
            rig.act("Cancel", json!({"pid": pid})).await;
            rig.until("it is idle", |r| r.state(pid) == "operational").await;
        }
    }
    rig.act("ClearBed", json!({"pid": 1})).await;
    if wanted != "operational" && state(rig) == "operational" {
        rig.act("CreateJob", json!({"pid": 1, "file_id": here.file}))
            .await;
        rig.until("it prints", |r| r.state(1) == "printing").await;
    }
    if wanted == "paused" && state(rig) == "printing" {
        rig.act("Pause", json!({"pid": 1})).await;
    }
    if wanted == "printing" && state(rig) == "paused" {
        rig.act("Resume", json!({"pid": 1})).await;
    }
    rig.until("it is ready for that", |r| r.state(1) == wanted).await;
}

/// Commands of the documentation that are understood and refused here, and why that is right.
const REFUSED: &[(&str, &str)] = &[
    ("CancelPendingPrint", "No pending prints to cancel"),
    ("RefreshMaterialData", "no reader for material data"),
    ("SetEnabled?pid", "cannot clear its bed by itself"),
    ("SetClearedBedsAmount", "cannot clear its bed by itself"),
    ("notification/Resolve?", "Notification event(s) not found"),
    ("ResolveAll?group", "Group doesn't exist or doesn't belong to you"),
    ("Upload?folder", "Folders are kept in the cloud"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_commands_work_with_another_base() {
    let rig = Rig::start_planned("rate_per_min = 0\nwebhook_local = true", owned).await;
    let (_, made) = rig
        .post("0/agent/keys/Create", json!({"name": "docs", "scopes": "admin"}))
        .await;
    let key = made["key"].as_str().expect("a key").to_owned();
    let (_, snippets) = rig.get("0/gcode_macros/GetOverview").await;
    let mut here = Here {
        file: rig.upload("plate.gcode", PLATE).await,
        job: 1,
        hook: 1,
        notice: uuid::Uuid::from_u128(7).to_string(),
        snippet: snippets["snippets"]["company"][0]["id"]
            .as_u64()
            .expect("a number"),
        token: String::new(),
    };
    let (mut work, mut refused, mut cloud) = (0, 0, 0);
    // Webhooks are deleted last.
    let mut commands: Vec<Value> = COMMANDS
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let ends = |command: &Value| {
        command["path"]
            .as_str()
            .is_some_and(|p| p.ends_with("webhooks/Delete"))
    };
    commands.sort_by_key(ends);
    for command in &commands {
        let path = command["path"].as_str().expect("a path");
        if command["cloud"] == true {
            let (status, answer) = sent(&rig, &key, command, &here).await;
            let words = answer["message"].as_str().expect("words");
            assert_eq!(
                (status, &answer["status"]),
                (404, &json!(false)),
                "{command}: {answer}"
            );
            assert_ne!(words, "There is no such path.", "{path}");
            cloud += 1;
            tell(command, "the cloud's", words);
            continue;
        }
        prepared(&rig, path, &here).await;
        let (status, answer) = sent(&rig, &key, command, &here).await;
        let message = answer["message"].as_str().unwrap_or_default();
        if let Some((_, why)) = REFUSED.iter().find(|(part, _)| path.contains(part)) {
            assert_eq!(answer["status"], false, "{command}: {answer}");
            assert!(message.contains(why), "{command}: {answer}");
            refused += 1;
            tell(command, "refused", message);
            continue;
        }
        assert_eq!(
            (status, &answer["status"]),
            (200, &json!(true)),
            "{command}: {answer}"
        );
        work += 1;
        tell(command, "works", "");
        if let Some(token) = answer["continueToken"].as_str() {
            token.clone_into(&mut here.token);
        }
        if let Some(hook) = answer["webhook"]["id"].as_i64() {
            here.hook = hook;
        }
    }
    tell(
        &Value::Null,
        &format!("{work} work, {refused} are refused in the documented way, {cloud} are the cloud's"),
        "",
    );
    assert!(work > 28 && cloud > 150, "{work} {refused} {cloud}");
    rig.end().await;
}

fn tell(command: &Value, what: &str, words: &str) {
    if std::env::var_os("CURL").is_some() {
        let name = format!(
            "{} {}",
            command["method"].as_str().unwrap_or_default(),
            command["path"].as_str().unwrap_or_default()
        );
        println!("{what:12} {name} {words}");
    }
}
