//! The whole table of routes: who is let in, and where each limit lies. It walks the document itself, so that
//! a new route cannot be forgotten, and looks into the sources for one that the document forgot.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::rig::{CUBE, Far, Rig, url};

/// One route of the document, with a request that would have an effect.
struct Operation {
    method: String,
    path: String,
    /// What it needs; `None`: nothing.
    scope: Option<String>,
    query: Vec<(String, Value)>,
    /// Type of the body and its members.
    body: Option<(String, Map<String, Value>)>,
    /// The schemas of what it takes: where (`query` or `body`), name, schema.
    takes: Vec<(&'static str, String, Value)>,
}

/// Something that fits a schema, and means something where the name tells what.
fn sample(name: &str, schema: &Value) -> Value {
    match name {
        "pid" if schema["type"] == "integer" => json!(1),
        "pid" => json!("1"),
        "gcode" => json!(["M104 S200"]),
        "commands" => json!(["M104 S200"]),
        "object_ids" => json!([1]),
        "url" => json!("http://192.0.2.1/"),
        "id" if schema["type"] == "string" => json!("1"),
        "file_id" | "filesystem" => json!("ab"),
        "scopes" => json!("admin"),
        "notifications" => json!([{"id": uuid::Uuid::from_u128(7), "action": "0"}]),
        _ => match schema["type"].as_str() {
            _ if schema.get("enum").is_some() => schema["enum"][0].clone(),
            Some("integer") => schema["minimum"].clone(),
            Some("boolean") => json!(true),
            None if schema["oneOf"][0]["type"] == "boolean" => json!(true),
            Some("string") => json!("x"),
            Some("array") => match schema["items"].get("enum") {
                Some(words) => json!([words[0]]),
                None => json!([]),
            },
            _ => json!({}),
        },
    }
}

fn operations(document: &Value) -> Vec<Operation> {
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let (mut query, mut takes) = (Vec::new(), Vec::new());
            let mut filled = path.replace("{printer}", "alpha").replace("{name}", "a.gcode");
            for parameter in operation["parameters"].as_array().expect("parameters") {
                let name = parameter["name"].as_str().expect("a name").to_owned();
                if parameter["in"] == "path" {
                    filled = filled.replace(&format!("{{{name}}}"), "1");
                    continue;
                }
                takes.push(("query", name.clone(), parameter["schema"].clone()));
                if parameter["required"] == true {
                    query.push((name.clone(), sample(&name, &parameter["schema"])));
                }
            }
            let body = operation.get("requestBody").map(|body| {
                let (kind, content) = body["content"]
                    .as_object()
                    .expect("types")
                    .iter()
                    .next()
                    .expect("one");
                // Where a body may be several things, the first of them.
                let schema = content["schema"]
                    .pointer("/oneOf/0")
                    .unwrap_or(&content["schema"]);
                let required = schema["required"].as_array();
                let members = schema["properties"].as_object().expect("members").iter();
                let members = members.filter_map(|(name, member)| {
                    takes.push(("body", name.clone(), member.clone()));
                    let needed = required.is_some_and(|r| r.iter().any(|n| n == name));
                    needed.then(|| (name.clone(), sample(name, member)))
                });
                (kind.clone(), members.collect())
            });
            all.push(Operation {
                method: method.clone(),
                path: filled,
                scope: operation["x-scope"].as_str().map(str::to_owned),
                query,
                body,
                takes,
            });
        }
    }
    all
}

impl Operation {
    fn request(&self, client: &reqwest::Client, address: String) -> reqwest::RequestBuilder {
        let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
        let hex = |value: String| value.bytes().map(|b| format!("%{b:02X}")).collect::<String>();
        let query: Vec<String> = self
            .query
            .iter()
            .map(|(n, v)| format!("{n}={}", hex(text(v))))
            .collect();
        let address = format!("{address}?{}", query.join("&"));
        let request = match self.method.as_str() {
            "get" => client.get(address),
            _ => client.post(address),
        };
        match &self.body {
            Some((kind, members)) if kind == "application/json" => request.json(members),
            Some(_) => {
                let part = reqwest::multipart::Part::text(CUBE).file_name("x.gcode");
                request.multipart(
                    reqwest::multipart::Form::new()
                        .text("print", "true")
                        .part("file", part),
                )
            }
            None => request,
        }
    }

    async fn ask(&self, far: &Far) -> u16 {
        let request = self.request(&far.http, far.url(&self.path[1..]));
        request.send().await.expect("an answer").status().as_u16()
    }

    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_route_does_anything_without_a_key_or_with_one_for_something_else() {
    let rig = Rig::start().await;
    let (_, document) = rig.get("openapi.json").await;
    let all = operations(&document);
    assert!(all.len() > 70, "{}", all.len());
    let strangers = [
        ("no key", rig.far(&[])),
        (
            "a wrong key",
            rig.far(&[("x-api-key", "lyd_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")]),
        ),
        ("a wrong bearer", rig.far(&[("authorization", "Bearer x")])),
        ("a password", rig.far(&[("authorization", "Basic cGk6cGk=")])),
        (
            "somebody who says to be the socket",
            rig.far(&[("x-forwarded-for", "127.0.0.1")]),
        ),
    ];
    let open: Vec<&Operation> = all.iter().filter(|o| o.scope.is_none()).collect();
    assert!((5..20).contains(&open.len()), "{}", open.len());
    for operation in open {
        let status = operation.ask(&strangers[0].1).await;
        assert!(
            ![401, 403, 405].contains(&status) && status < 500,
            "{}: {status}",
            operation.name()
        );
    }
    for (who, far) in &strangers {
        for operation in all.iter().filter(|o| o.scope.is_some()) {
            assert_eq!(operation.ask(far).await, 401, "{who}: {}", operation.name());
        }
    }
    let (_, told) = strangers[0].1.get("0/account/Test").await;
    assert_eq!(
        told,
        json!({"status": false, "message": "No API key provided, or not logged in"})
    );
    for scope in ["read", "control", "files"] {
        let far = rig.key(scope, scope).await;
        let not_his = |o: &&Operation| {
            o.scope
                .as_deref()
                .is_some_and(|needs| needs != scope && needs != "any")
        };
        for operation in all.iter().filter(not_his) {
            assert_eq!(operation.ask(&far).await, 403, "{scope}: {}", operation.name());
        }
    }
    assert!(
        rig.alpha.told().is_empty() && rig.beta.told().is_empty(),
        "nothing reached a printer"
    );
    let (_, keys) = rig.get("0/agent/keys/Get").await;
    assert_eq!(keys["data"].as_array().expect("keys").len(), 3);
    assert!(!rig.agent.is_draining());
    assert_eq!(rig.get("0/files/ListExisting").await.1["files"], json!([]));
    // And who may, may.
    let holder = rig.key("bench", "control").await;
    let heat = json!({"pid": 1, "gcode": "M104 S200", "layerd": {"wait": true}});
    for base in ["0", "api/0"] {
        let (status, answer) = holder
            .post(&format!("{base}/printers/actions/SendGcode"), heat.clone())
            .await;
        assert_eq!((status, &answer["status"]), (200, &json!(true)), "{answer}");
    }
    assert_eq!(rig.alpha.told(), ["M104 S200", "M104 S200"]);
    rig.end().await;
}

/// The values at the edges of a schema: each with whether it is within.
fn edges(schema: &Value) -> Vec<(Value, bool)> {
    let mut out = Vec::new();
    if let (Some(least), Some(most)) = (schema["minimum"].as_i64(), schema["maximum"].as_i64()) {
        out.extend([
            (json!(least), true),
            (json!(most), true),
            (json!(least - 1), false),
        ]);
        out.extend(most.checked_add(1).map(|over| (json!(over), false)));
        out.push((json!("many"), false));
    }
    if let Some(most) = schema["maxLength"].as_u64() {
        let most = usize::try_from(most).expect("small");
        out.push((json!("1".repeat(most + 1)), false));
        if schema.get("pattern").is_none() {
            out.push((json!("1".repeat(most)), true));
        }
    }
    if schema.get("pattern").is_some() {
        out.push((json!("!"), false));
    }
    if let Some(most) = schema["maxItems"].as_u64() {
        let list = |n: u64| match schema["items"].get("enum") {
            Some(words) => json!(vec![words[0].clone(); usize::try_from(n).expect("small")]),
            None if schema["items"]["type"] == "object" => {
                json!(vec![
                    json!({"id": uuid::Uuid::nil()});
                    usize::try_from(n).expect("small")
                ])
            }
            None => json!((1..=n).collect::<Vec<_>>()),
        };
        out.extend([(list(most), true), (list(most + 1), false)]);
    }
    if let Some(words) = schema.get("enum") {
        let words = words.as_array().expect("words");
        out.extend(words.iter().map(|word| (word.clone(), true)));
        out.push((json!("colourless"), false));
    }
    if schema["type"] == "boolean" || schema["oneOf"][0]["type"] == "boolean" {
        out.extend([
            (json!(true), true),
            (json!(false), true),
            (json!("perhaps"), false),
        ]);
    }
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_limit_of_the_document_holds_to_the_last_one() {
    let rig = Rig::start().await;
    let (_, document) = rig.get("openapi.json").await;
    let mut wrong = Vec::new();
    let mut looked_at = 0;
    for mut operation in operations(&document) {
        // Which of these must be there is told in words, and forms have tests of their own.
        if operation
            .body
            .as_ref()
            .is_some_and(|(kind, _)| kind != "application/json")
        {
            continue;
        }
        // The dialects of slicers answer in their own words.
        if operation.path.ends_with("/events") || operation.path.starts_with("/p/") {
            continue;
        }
        for (place, name, schema) in std::mem::take(&mut operation.takes) {
            for (value, within) in edges(&schema) {
                looked_at += 1;
                let (query, body) = (operation.query.clone(), operation.body.clone());
                if place == "query" {
                    operation.query.retain(|(n, _)| *n != name);
                    operation.query.push((name.clone(), value.clone()));
                } else if let Some((_, members)) = &mut operation.body {
                    members.insert(name.clone(), value.clone());
                }
                let answer = operation.request(&rig.http, url(&operation.path[1..]));
                let answer = answer.send().await.expect("an answer");
                let status = answer.status().as_u16();
                let text = answer.text().await.expect("a body");
                // Left out and null are the same, also where one of several has to be there.
                if value.is_null() {
                    (operation.query, operation.body) = (query, body);
                    continue;
                }
                let named = status == 400 && text.contains(&format!("`{name}`"));
                // Within its limits a value may still name nothing that is there.
                if named == within {
                    let shown: String = value.to_string().chars().take(40).collect();
                    let text: String = text.chars().take(120).collect();
                    wrong.push(format!("{}: {name} = {shown}: {status} {text}", operation.name()));
                }
                (operation.query, operation.body) = (query, body);
            }
        }
    }
    assert!(looked_at > 200, "{looked_at}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    rig.end().await;
}

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|x| x == "rs") {
            out.push(path);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_has_every_route_and_every_action_of_the_sources() {
    let rig = Rig::start().await;
    let (_, document) = rig.get("openapi.json").await;
    let paths = document["paths"].as_object().expect("paths");
    let api = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api");
    let mut files = Vec::new();
    sources(&api, &mut files);
    let mut found = 0;
    for file in files {
        let text = std::fs::read_to_string(&file).expect("readable");
        for place in text.split(".route(").skip(1) {
            // Those below `/v1` have tables and documents of their own.
            if file.starts_with(api.join("v1")) {
                continue;
            }
            let Some(path) = place
                .trim_start()
                .strip_prefix('"')
                .and_then(|p| p.split('"').next())
            else {
                continue;
            };
            found += 1;
            let known = |prefix: &str| match path.strip_suffix("{action}") {
                Some(stem) => paths.keys().any(|p| p.starts_with(&format!("{prefix}{stem}"))),
                None => paths.contains_key(&format!("{prefix}{path}")),
            };
            assert!(
                ["", "/0", "/p/{printer}", "/v1"].iter().any(|p| known(p)),
                "{} serves {path}, and the document does not tell of it",
                file.display()
            );
        }
    }
    assert!(found > 50, "{found}");
    let demands = std::fs::read_to_string(api.join("demand.rs")).expect("readable");
    let read = demands
        .split("pub fn read(")
        .nth(1)
        .and_then(|t| t.split("\n}").next())
        .expect("a function");
    let actions: Vec<&str> = read
        .lines()
        .filter_map(|line| {
            line.trim()
                .strip_prefix('"')?
                .split_once("\" =>")
                .map(|(name, _)| name)
        })
        .collect();
    assert!(actions.len() > 12, "{actions:?}");
    for action in actions {
        assert!(
            paths.contains_key(&format!("/0/printers/actions/{action}")),
            "{action}"
        );
    }
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_wrong_state_every_action_is_refused_and_nothing_is_sent() {
    let rig = Rig::start().await;
    let file = rig.upload("cube.gcode", CUBE).await;
    let body = |action: &str| match action {
        "SkipObjects" => json!({"object_ids": [1]}),
        "SendGcode" => json!({"gcode": "M104 S200"}),
        "CreateJob" => json!({"file_id": file}),
        _ => json!({}),
    };
    let all = [
        "CreateJob",
        "Pause",
        "Resume",
        "Cancel",
        "CancelPendingPrint",
        "ClearBed",
        "SkipObjects",
        "SendGcode",
        "BeginPrint",
    ];
    // What the documented table allows where; the rest must be refused.
    let refused = async |pid: i64, state: &str, allowed: &[&str]| {
        assert_eq!(rig.state(pid), state);
        let told = (rig.alpha.told(), rig.beta.told());
        for action in all.iter().filter(|a| !allowed.contains(*a)) {
            let path = format!("0/printers/actions/{action}?pid={pid}");
            let (status, answer) = rig.post(&path, body(action)).await;
            assert_eq!(
                (status, &answer["status"]),
                (200, &json!(false)),
                "{action} while {state}: {answer}"
            );
            assert_eq!(
                answer["layerd"]["outcome"], "refused",
                "{action} while {state}: {answer}"
            );
            assert!(
                !answer["message"].as_str().expect("words").is_empty(),
                "{action} while {state}"
            );
        }
        assert_eq!(
            (rig.alpha.told(), rig.beta.told()),
            told,
            "nothing was sent while {state}"
        );
        assert_eq!(rig.state(pid), state);
    };
    refused(1, "operational", &["CreateJob", "ClearBed", "SendGcode"]).await;
    refused(3, "offline", &["ClearBed"]).await;
    rig.print(1).await;
    refused(1, "printing", &["Pause", "Cancel", "SkipObjects"]).await;
    rig.act("Pause", json!({"pid": 1})).await;
    rig.until("it stands", |r| r.state(1) == "paused").await;
    refused(1, "paused", &["Resume", "Cancel", "SkipObjects"]).await;
    rig.end().await;
}
