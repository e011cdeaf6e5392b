//! What slicers send, byte by byte as they send it, and what their dialogs then show.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::rig::{CUBE, Rig};

/// Longest wait for an answer.
const LIMIT: Duration = Duration::from_secs(20);

/// An answer as it came.
struct Said {
    status: u16,
    head: String,
    body: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.body))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|l| l.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)))
            .map(|(_, value)| value)
    }

    /// Cura shows a sentence only when the type is exactly this.
    fn sentence(&self) -> &str {
        assert_eq!(self.header("content-type"), Some("text/plain"), "{}", self.head);
        &self.body
    }
}

async fn exchange(rig: &Rig, request: &str) -> Said {
    let talk = async {
        let mut stream = UnixStream::connect(rig.socket()).await.expect("the socket");
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("read");
        String::from_utf8(answer).expect("text")
    };
    let answer = tokio::time::timeout(LIMIT, talk)
        .await
        .expect("an answer in time");
    let answer = answer
        .strip_prefix("HTTP/1.1 100 Continue\r\n\r\n")
        .unwrap_or(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .expect("a status");
    Said {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

async fn get(rig: &Rig, path: &str) -> Said {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: box.local:7380\r\nUser-Agent: PrusaSlicer/2.9.4 (GUI)\r\nAccept: */*\r\n\
         X-Api-Key: \r\nConnection: close\r\n\r\n"
    );
    exchange(rig, &request).await
}

/// A form as libcurl writes it (PrusaSlicer, OrcaSlicer): it asks whether it may go on, and does.
fn libcurl(path: &str, agent: &str, fields: &[(&str, &str)], file: (&str, &str)) -> String {
    let bar = "------------------------d74496d66958873e";
    let mut body = String::new();
    for (name, value) in fields {
        body.push_str(&format!(
            "--{bar}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        ));
    }
    let (name, bytes) = file;
    body.push_str(&format!(
        "--{bar}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n{bytes}\r\n--{bar}--\r\n"
    ));
    format!(
        "POST {path} HTTP/1.1\r\nHost: box.local:7380\r\nUser-Agent: {agent}\r\nAccept: */*\r\nX-Api-Key: k\r\n\
         Connection: close\r\nContent-Length: {}\r\nContent-Type: multipart/form-data; boundary={bar}\r\n\
         Expect: 100-continue\r\n\r\n{body}",
        body.len()
    )
}

fn prusa(printer: &str, print: bool, file: (&str, &str)) -> String {
    let print = if print { "true" } else { "false" };
    libcurl(
        &format!("/p/{printer}/api/files/local"),
        "PrusaSlicer/2.9.4 (GUI)",
        &[("print", print), ("path", "")],
        file,
    )
}

fn orca(printer: &str, more: &[(&str, &str)], file: (&str, &str)) -> String {
    let fields = [&[("root", "gcodes")], more].concat();
    libcurl(
        &format!("/p/{printer}/server/files/upload"),
        "OrcaSlicer/2.3.1",
        &fields,
        file,
    )
}

fn post(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: box.local:7380\r\nUser-Agent: OrcaSlicer/2.3.1\r\nAccept: */*\r\n\
         Connection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn names(rig: &Rig) -> Vec<String> {
    let (_, listed) = rig.get("0/files/ListExisting").await;
    let files = listed["files"].as_array().expect("a list");
    files
        .iter()
        .map(|f| f["name"].as_str().expect("a name").to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prusaslicer_tests_the_address_uploads_and_prints_only_with_the_flag() {
    let rig = Rig::start().await;
    let version = get(&rig, "/p/alpha/api/version").await;
    assert_eq!(version.status, 200);
    let version = version.json();
    assert!(version["api"].is_string());
    assert!(version["text"].as_str().expect("text").starts_with("OctoPrint"));
    assert_eq!(
        get(&rig, "/p/ALPHA/api/version").await.status,
        200,
        "typed by a person"
    );
    assert_eq!(get(&rig, "/p/1/api/version").await.status, 200, "by number");
    // PrusaLink's list of storages: the slicer goes on without it.
    assert_eq!(get(&rig, "/p/alpha/api/v1/storage").await.status, 404);

    let kept = exchange(&rig, &prusa("alpha", false, ("benchy.gcode", CUBE))).await;
    assert_eq!(kept.status, 201, "{}", kept.body);
    assert_eq!(kept.json()["files"]["local"]["name"], "benchy.gcode");
    assert_eq!(names(&rig).await, ["benchy.gcode"]);
    assert!(rig.alpha.told().is_empty(), "no flag, no print");

    let printed = exchange(&rig, &prusa("alpha", true, ("cube.gcode", CUBE))).await;
    assert_eq!(
        (printed.status, &printed.json()["effectivePrint"]),
        (201, &json!(true))
    );
    rig.until("it prints", |r| r.state(1) == "printing").await;
    assert_eq!(rig.alpha.told(), ["start"]);

    // While it prints the next one is kept and not started, and the dialog says why.
    let busy = exchange(&rig, &prusa("alpha", true, ("next.gcode", CUBE))).await;
    assert_eq!(busy.status, 422);
    assert!(busy.sentence().starts_with("Not printed: "), "{}", busy.body);
    assert!(busy.body.contains("is kept"), "{}", busy.body);
    assert!(names(&rig).await.contains(&"next.gcode".to_owned()));
    assert_eq!(
        rig.alpha.told(),
        ["start"],
        "never queued behind the back of a person"
    );
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_fails_its_check_is_kept_and_not_printed() {
    let rig = Rig::start().await;
    let said = exchange(
        &rig,
        &prusa("alpha", true, ("part.stl", "solid cube\nendsolid\n")),
    )
    .await;
    assert_eq!(said.status, 422);
    assert!(
        said.sentence().contains("is a model. Slice it first"),
        "{}",
        said.body
    );
    let shown: String = said.body.chars().take(100).collect();
    assert!(shown.contains("Slice it first"), "what Cura shows of it: {shown}");
    let away = exchange(&rig, &prusa("gone", true, ("cube.gcode", CUBE))).await;
    assert_eq!(away.status, 422);
    assert!(away.sentence().starts_with("Not printed: "), "{}", away.body);
    assert_eq!(names(&rig).await.len(), 2, "both are kept");
    assert!(rig.alpha.told().is_empty());
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orcaslicer_speaks_moonraker() {
    let rig = Rig::start().await;
    let info = get(&rig, "/p/alpha/server/info").await;
    assert_eq!(info.json()["result"]["klippy_state"], "ready");
    let away = get(&rig, "/p/gone/server/info").await;
    assert_eq!(away.json()["result"]["klippy_state"], "disconnected");
    let roots = get(&rig, "/p/alpha/server/files/roots").await.json();
    assert_eq!(
        (&roots["result"][0]["name"], &roots["result"][0]["permissions"]),
        (&json!("gcodes"), &json!("rw"))
    );

    let kept = exchange(&rig, &orca("alpha", &[("print", "false")], ("plate.gcode", CUBE))).await;
    let result = &kept.json()["result"];
    assert_eq!(
        (
            kept.status,
            &result["item"]["path"],
            &result["print_started"],
            &result["print_queued"]
        ),
        (201, &json!("plate.gcode"), &json!(false), &json!(false))
    );
    // The plate of a project is meant, and this is none.
    let odd = exchange(
        &rig,
        &orca(
            "alpha",
            &[("plateindex", "2"), ("print", "true")],
            ("p.gcode", CUBE),
        ),
    )
    .await;
    assert_eq!(odd.status, 422);
    assert!(odd.sentence().contains("no plates"), "{}", odd.body);
    assert!(rig.alpha.told().is_empty());

    // A slicer that was told "not started" asks for the start itself.
    let started = exchange(
        &rig,
        &post("/p/alpha/printer/print/start", r#"{"filename":"plate.gcode"}"#),
    )
    .await;
    assert_eq!((started.status, &started.json()["result"]), (200, &json!("ok")));
    rig.until("it prints", |r| r.state(1) == "printing").await;
    let missing = exchange(
        &rig,
        &post("/p/beta/printer/print/start", r#"{"filename":"no.gcode"}"#),
    )
    .await;
    assert_eq!(missing.status, 404);
    assert!(
        missing.sentence().contains("Send the file again"),
        "{}",
        missing.body
    );

    let started = exchange(&rig, &orca("beta", &[("print", "true")], ("plate.gcode", CUBE))).await;
    assert_eq!(
        started.json()["result"]["print_started"],
        true,
        "then it asks for no second start"
    );
    rig.until("beta prints", |r| r.state(2) == "printing").await;
    assert_eq!(
        (rig.alpha.told(), rig.beta.told()),
        (vec!["start".to_owned()], vec!["start".to_owned()])
    );
    rig.end().await;
}

/// A form as Qt writes it: every part has a type, the boundary is quoted, the flags stand behind the file.
fn cura(path: &str, flags: &[&str], file: (&str, &str)) -> String {
    let bar = "boundary_.oOo._MjQ3NDgzNjQ3NDgzNjQ=";
    let field = |name: &str, value: &str| {
        format!(
            "--{bar}\r\nContent-Disposition: form-data; name=\"{name}\"\r\nContent-Type: text/plain\r\n\r\n{value}\r\n"
        )
    };
    let mut body = field("path", "parts/today");
    body.push_str(&format!(
        "--{bar}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n{}\r\n",
        file.0, file.1
    ));
    for flag in flags {
        body.push_str(&field(flag, "true"));
    }
    body.push_str(&format!("--{bar}--\r\n"));
    format!(
        "POST {path} HTTP/1.1\r\nHost: box.local:7380\r\nX-Api-Key: k\r\nUser-Agent: cura/5.10.0 OctoPrintPlugin/3.7.3\r\n\
         Content-Type: multipart/form-data; boundary=\"{bar}\"\r\nMIME-Version: 1.0\r\nContent-Length: {}\r\n\
         Connection: close\r\nAccept-Encoding: gzip, deflate\r\nAccept-Language: en,*\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cura_looks_around_uploads_and_selects() {
    let rig = Rig::start().await;
    for path in [
        "version",
        "server",
        "login",
        "settings",
        "printer",
        "job",
        "printerprofiles",
    ] {
        let said = get(&rig, &format!("/p/alpha/api/{path}")).await;
        assert_eq!(said.status, 200, "{path}: {}", said.body);
        assert!(said.json().is_object(), "{path}");
    }
    let printer = get(&rig, "/p/alpha/api/printer").await.json();
    assert_eq!(printer["temperature"]["tool0"]["actual"], 21.5);
    let away = get(&rig, "/p/gone/api/printer").await;
    assert_eq!(
        (away.status, away.sentence()),
        (409, "The printer is not connected.")
    );

    let kept = exchange(
        &rig,
        &cura("/p/alpha/api/files/local", &["select"], ("CE3_cube.gcode", CUBE)),
    )
    .await;
    assert_eq!(kept.status, 201, "{}", kept.body);
    let place = kept.header("location").expect("Cura reads it").to_owned();
    assert!(place.ends_with("/api/files/local/CE3_cube.gcode"), "{place}");
    assert!(rig.alpha.told().is_empty(), "selected is not printed");
    let selected = exchange(&rig, &post(&place, r#"{"command":"select"}"#)).await;
    assert_eq!(selected.status, 204);
    assert!(rig.alpha.told().is_empty());
    let printed = exchange(&rig, &post(&place, r#"{"command":"select","print":true}"#)).await;
    assert_eq!(printed.status, 204);
    rig.until("it prints", |r| r.state(1) == "printing").await;

    let flags = ["select", "print"];
    let printed = exchange(&rig, &cura("/p/beta/api/files/local", &flags, ("b.gcode", CUBE))).await;
    assert_eq!(printed.json()["effectivePrint"], true);
    rig.until("beta prints", |r| r.state(2) == "printing").await;

    // Lines are held to the rules of the API: no jogging in a print.
    let refused = exchange(
        &rig,
        &post("/p/beta/api/printer/command", r#"{"commands":["G28"]}"#),
    )
    .await;
    assert_eq!(refused.status, 422);
    assert!(!refused.sentence().is_empty());
    assert_eq!(rig.beta.told(), ["start"]);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_upload_is_told_in_a_sentence_and_leaves_nothing() {
    let rig = Rig::start().await;
    let whole = prusa("alpha", true, ("cube.gcode", CUBE));
    let nobody = get(&rig, "/p/ender/api/version").await;
    assert_eq!(nobody.status, 404);
    assert!(nobody.sentence().contains("alpha, beta, gone"), "{}", nobody.body);
    let long = "x".repeat(5000);
    let rows = [
        ("no form", post("/p/alpha/api/files/local", "{}"), 415),
        (
            "no file",
            libcurl("/p/alpha/api/files/local", "x", &[], ("", "")).replace("name=\"file\"", "name=\"f\""),
            400,
        ),
        ("no name", prusa("alpha", true, ("", "G28\n")), 400),
        ("empty", prusa("alpha", true, ("a.gcode", "")), 400),
        (
            "long field",
            libcurl(
                "/p/alpha/api/files/local",
                "x",
                &[("path", &long)],
                ("a.gcode", "G28\n"),
            ),
            400,
        ),
        (
            "plate 0",
            orca("alpha", &[("plateindex", "0")], ("a.gcode", "G28\n")),
            400,
        ),
        (
            "nothing to start",
            post("/p/alpha/printer/print/start", "{}"),
            400,
        ),
        ("no command", post("/p/alpha/api/printer/command", "{}"), 400),
    ];
    for (what, request, want) in rows {
        let said = exchange(&rig, &request).await;
        assert_eq!(said.status, want, "{what}: {}", said.body);
        assert!(
            said.sentence().ends_with('.') && !said.body.starts_with('{'),
            "{what}: {}",
            said.body
        );
    }
    // A slicer that is closed in the middle.
    let half = &whole[..whole.len() - 30];
    let mut stream = UnixStream::connect(rig.socket()).await.expect("the socket");
    stream.write_all(half.as_bytes()).await.expect("written");
    drop(stream);
    let spool = rig.dir.path().join("spool");
    rig.until("nothing is left of it", |_| {
        let entries = std::fs::read_dir(&spool).expect("a spool").flatten();
        entries.count() == 0
    })
    .await;
    assert!(names(&rig).await.is_empty());
    assert!(rig.alpha.told().is_empty());
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_address_of_a_slicer_leads_a_person_to_the_page() {
    let rig = Rig::start().await;
    for path in ["/p/alpha", "/p/alpha/"] {
        let said = get(&rig, path).await;
        assert_eq!(
            (said.status, said.header("location")),
            (303, Some("/#/alpha")),
            "{path}"
        );
    }
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_for_files_uploads_and_starts_nothing() {
    let rig = Rig::start().await;
    let stranger = rig.far(&[]);
    let answer = stranger
        .http
        .get(stranger.url("p/alpha/api/version"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 401);
    assert_eq!(
        answer.headers()["content-type"],
        "text/plain",
        "for the slicer's dialog"
    );
    assert_eq!(
        answer.text().await.expect("words"),
        "No API key provided, or not logged in"
    );

    let far = rig.key("slicer", "files").await;
    assert_eq!(far.get("p/alpha/api/version").await.0, 200);
    let send = async |print: &'static str| {
        let part = reqwest::multipart::Part::text(CUBE).file_name("cube.gcode");
        let form = reqwest::multipart::Form::new()
            .text("print", print)
            .part("file", part);
        let request = far.http.post(far.url("p/alpha/api/files/local")).multipart(form);
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("words"))
    };
    assert_eq!(send("false").await.0, 201);
    let (status, words) = send("true").await;
    assert_eq!(status, 403);
    assert!(words.starts_with("Not printed: this key"), "{words}");
    assert!(names(&rig).await.contains(&"cube.gcode".to_owned()), "it is kept");
    assert!(rig.alpha.told().is_empty());
    rig.end().await;
}
