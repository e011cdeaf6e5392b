//! Uploads whole and in parts, and what becomes of broken ones.

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::rig::{Rig, read, url};

fn part(name: &str, bytes: &str) -> Part {
    Part::bytes(bytes.as_bytes().to_vec()).file_name(name.to_owned())
}

async fn send(rig: &Rig, form: Form) -> (u16, Value) {
    read(rig.http.post(url("0/files/Upload")).multipart(form)).await
}

/// Files in the spool directory that are not complete.
fn unfinished(rig: &Rig) -> usize {
    let spool = std::fs::read_dir(rig.dir.path().join("spool")).expect("a spool");
    spool
        .flatten()
        .filter(|e| e.path().extension().is_some_and(|x| x == "part"))
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_comes_whole_or_in_parts_under_its_first_name() {
    let rig = Rig::start().await;
    let (status, whole) = send(&rig, Form::new().part("file", part("a.gcode", "G28\nG1 X1\n"))).await;
    assert_eq!(status, 200, "{whole}");
    assert_eq!(whole["file"]["id"].as_str().expect("an id").len(), 64);
    assert_eq!(
        (&whole["file"]["name"], &whole["file"]["size"]),
        (&json!("a.gcode"), &json!(10))
    );

    let first = Form::new()
        .text("totalSize", "10")
        .part("file", part("b.gcode", "G28\n"));
    let (_, partly) = send(&rig, first).await;
    assert!(partly.get("file").is_none());
    let token = partly["continueToken"].as_str().expect("a token").to_owned();
    let next = |bytes: &str| {
        Form::new()
            .text("continueToken", token.clone())
            .part("file", part("other.gcode", bytes))
    };
    let (_, partly) = send(&rig, next("G1 ")).await;
    assert_eq!(partly["continueToken"], json!(token));
    let (_, done) = send(&rig, next("X1\n")).await;
    assert_eq!(
        done["file"]["name"], "b.gcode",
        "the first name names the whole file"
    );
    assert_eq!(done["file"]["id"], whole["file"]["id"], "the same bytes");
    let (_, spent) = send(&rig, next("X")).await;
    assert_eq!(
        (&spent["status"], &spent["layerd"]["code"]),
        (&json!(false), &json!("refused/unknown-token"))
    );

    let (_, listed) = rig.get("0/files/ListExisting").await;
    let files = listed["files"].as_array().expect("a list");
    assert_eq!(files.len(), 2);
    for key in ["uploaded", "expires", "uploaded_at", "expires_at"] {
        assert!(files[0][key].is_string(), "{key}: {listed}");
    }
    assert!(rig.alpha.told().is_empty(), "uploading starts nothing");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_that_is_not_right_leaves_nothing_behind() {
    let rig = Rig::start().await;
    let rows = [
        ("no file", Form::new().text("totalSize", "10"), 400),
        ("no name", Form::new().part("file", Part::text("G28")), 400),
        ("empty", Form::new().part("file", part("a.gcode", "")), 400),
        (
            "more than announced",
            Form::new()
                .text("totalSize", "2")
                .part("file", part("a.gcode", "G28")),
            400,
        ),
        (
            "announced behind",
            Form::new()
                .part("file", part("a.gcode", "G28"))
                .text("totalSize", "2"),
            400,
        ),
        (
            "nonsense size",
            Form::new()
                .text("totalSize", "many")
                .part("file", part("a.gcode", "G28")),
            400,
        ),
        (
            "two files",
            Form::new()
                .part("file", part("a.gcode", "G28"))
                .part("file", part("b.gcode", "G28")),
            400,
        ),
        (
            "token behind",
            Form::new()
                .part("file", part("a.gcode", "G28"))
                .text("continueToken", "x"),
            400,
        ),
    ];
    for (what, form, want) in rows {
        let (status, answer) = send(&rig, form).await;
        assert_eq!(
            (status, &answer["status"]),
            (want, &json!(false)),
            "{what}: {answer}"
        );
    }
    let (status, _) = rig.post("0/files/Upload", json!({})).await;
    assert_eq!(status, 415);
    assert_eq!(unfinished(&rig), 0);
    assert_eq!(rig.get("0/files/ListExisting").await.1["files"], json!([]));
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_uploads_may_be_open_and_a_ninth_is_told_to_wait() {
    let rig = Rig::start().await;
    let open = |n: usize| {
        Form::new()
            .text("totalSize", "9")
            .part("file", part(&format!("{n}.gcode"), "G28"))
    };
    let mut tokens = Vec::new();
    for n in 0..8 {
        let (status, answer) = send(&rig, open(n)).await;
        assert_eq!(status, 200, "{n}: {answer}");
        tokens.push(answer["continueToken"].as_str().expect("a token").to_owned());
    }
    assert_eq!(unfinished(&rig), 8);
    let (status, answer) = send(&rig, open(8)).await;
    assert_eq!((status, &answer["status"]), (429, &json!(false)));
    let rest = Form::new()
        .text("continueToken", tokens[0].clone())
        .part("file", part("x", "\nG1 X1"));
    let (_, done) = send(&rig, rest).await;
    assert_eq!(done["file"]["name"], "0.gcode", "{done}");
    assert_eq!(send(&rig, open(8)).await.0, 200, "one is done, one may begin");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_holds_a_hundred_megabytes_and_no_more() {
    let rig = Rig::start().await;
    let sized = |bytes: usize| {
        let stream = futures_util::stream::iter(
            (0..bytes)
                .step_by(1 << 20)
                .map(move |at| Ok::<_, std::io::Error>(vec![b'\n'; (bytes - at).min(1 << 20)])),
        );
        let body = reqwest::Body::wrap_stream(stream);
        let part = Part::stream_with_length(body, bytes as u64).file_name("big.gcode");
        Form::new().part("file", part)
    };
    let (status, answer) = send(&rig, sized(100 << 20)).await;
    assert_eq!(
        (status, &answer["file"]["size"]),
        (200, &json!(100 << 20)),
        "{answer}"
    );
    // The server need not read what it refuses, so the client may see a broken pipe instead of 413.
    let request = rig
        .http
        .post(url("0/files/Upload"))
        .multipart(sized((100 << 20) + 1));
    if let Ok(answer) = request.send().await {
        assert_eq!(answer.status().as_u16(), 413);
    }
    let (_, listed) = rig.get("0/files/ListExisting").await;
    assert_eq!(listed["files"].as_array().expect("a list").len(), 1);
    rig.end().await;
}

/// Says all of a request before it listens, as many programs do, and gives the answer.
async fn said_to_the_end(rig: &Rig, path: &str, form: &str) -> String {
    let address = rig.base.trim_start_matches("http://");
    let name = uuid::Uuid::new_v4().to_string();
    let (_, key) = rig
        .post("0/agent/keys/Create", json!({"name": name, "scopes": "files"}))
        .await;
    let head = format!(
        "POST /{path} HTTP/1.1\r\nHost: {address}\r\nX-API-KEY: {}\r\nContent-Length: {}\r\n\
         Content-Type: multipart/form-data; boundary=b\r\nConnection: close\r\n\r\n",
        key["key"].as_str().expect("a key"),
        form.len(),
    );
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connected");
    stream.write_all(head.as_bytes()).await.expect("taken");
    stream
        .write_all(form.as_bytes())
        .await
        .expect("heard out to the end");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_upload_is_heard_out_so_that_its_sender_sees_why() {
    let rig = Rig::start().await;
    // More than all buffers on the way hold together.
    let file = "G1 X1 Y1\n".repeat(1 << 20);
    let field = |name: &str, value: &str| {
        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let part = format!(
        "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.gcode\"\r\n\r\n{file}\r\n--b--\r\n"
    );
    for (path, form, words) in [
        (
            "0/files/Upload",
            field("totalSize", "5") + &part,
            "More bytes came than `totalSize` announced",
        ),
        (
            "0/files/Upload",
            field("totalSize", "many") + &part,
            "`totalSize` must be the size",
        ),
        (
            "0/files/Upload",
            field("continueToken", "gone") + &part,
            "This upload is not known",
        ),
        (
            "p/alpha/api/files/local",
            field("plateindex", "x") + &part,
            "The number of the plate",
        ),
    ] {
        let answer = said_to_the_end(&rig, path, &form).await;
        assert!(answer.contains(words), "{path}: {answer}");
    }
    assert_eq!(unfinished(&rig), 0);
    rig.end().await;
}
