//! Whatever comes as the body of a request is a demand within its limits or a refusal. The first byte says how it came:
//! as JSON to an action, as JSON with its type, as a form with files, as a message of an assistant, as a query.
#![no_main]

use std::cell::RefCell;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Multipart, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use layerd_fuzz::api::demand::{self, Demand};
use layerd_fuzz::api::incoming::{Json, Params};
use layerd_fuzz::api::mcp::rpc;
use layerd_fuzz::api::{envelope, form, pid};
use layerd_fuzz::printer::command::Command;
use layerd_fuzz::printer::guard::{GCODE_LINE_MAX, GCODE_LINES_MAX};
use serde_json::Value;

const ACTIONS: &[&str] = &[
    "Pause", "KeepWarm", "Resume", "Cancel", "EmergencyStop", "SendGcode", "SkipObjects", "Answer", "ClearBed", "CreateJob", "BeginPrint", "Nothing",
];

thread_local! {
    static RUNTIME: RefCell<tokio::runtime::Runtime> =
        RefCell::new(tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime"));
}

fn wait<T>(what: impl Future<Output = T>) -> T {
    RUNTIME.with(|runtime| runtime.borrow().block_on(what))
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&how, body)) = data.split_first() else { return };
    match how % 5 {
        0 => actions(body),
        1 => wait(typed(body)),
        2 => wait(upload(body)),
        3 => assistant(body),
        _ => wait(query(body)),
    }
});

fn actions(body: &[u8]) {
    let Ok(value) = envelope::json_body(body) else { return };
    let _ = demand::manner(&value);
    let _ = pid::pids(None, &value).map(|ids| assert!(!ids.is_empty() && ids.iter().all(|id| *id > 0)));
    for action in ACTIONS {
        match demand::read(action, &value) {
            Ok(Demand::Command(Command::SendGcode { lines, .. })) => {
                assert!((1..=GCODE_LINES_MAX).contains(&lines.len()));
                for line in &lines {
                    assert!(!line.contains(['\n', '\r', ';']) && !line.trim().is_empty(), "{line:?}");
                    assert!(line.chars().count() <= GCODE_LINE_MAX && !line.starts_with('@'), "{line:?}");
                }
            }
            Ok(Demand::Skip(objects)) => assert!((1..=1000).contains(&objects.len())),
            Ok(_) => {}
            Err(problem) => assert!(!problem.message.is_empty() && problem.message.len() < 2000, "{}", problem.message),
        }
    }
}

/// `TYPE\nBODY`.
async fn typed(data: &[u8]) {
    let cut = data.iter().position(|b| *b == b'\n').unwrap_or(0);
    let (kind, body) = data.split_at(cut);
    let mut request = Request::new(Body::from(body.to_vec()));
    if let (Ok(kind), true) = (HeaderValue::from_bytes(kind), !kind.is_empty()) {
        request.headers_mut().insert("content-type", kind);
        request.headers_mut().insert("x-api-key", HeaderValue::from_static("k"));
    }
    let Ok(json) = Json::from_request(request, &()).await else { return };
    assert!(matches!(json.0, Value::Null | Value::Object(_)));
    let names = json.0.as_object().map(|o| o.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    for name in names.iter().take(20) {
        let _ = json.text(name, 20).map(|t| assert!(t.is_none_or(|t| t.chars().count() <= 20)));
        let _ = json.number(name, 1, 9).map(|n| assert!(n.is_none_or(|n| (1..=9).contains(&n))));
        let _ = (json.switch(name), json.word(name, &["asc", "desc"]), json.page());
    }
}

async fn upload(data: &[u8]) {
    let mut request = Request::new(Body::from(data.to_vec()));
    let kind = HeaderValue::from_static("multipart/form-data; boundary=x");
    request.headers_mut().insert("content-type", kind);
    let Ok(mut parts) = Multipart::from_request(request, &()).await else { return };
    let mut count = 0;
    loop {
        count += 1;
        assert!(count <= data.len() + 1, "more parts than bytes");
        let field = match form::next(&mut parts).await {
            Ok(Some(field)) => field,
            Ok(None) => return,
            Err(problem) => {
                form::heard_out(&mut parts, problem).await;
                return;
            }
        };
        let wanted = field.name() == Some("file");
        let done = if wanted { form::pass_over(field).await } else { form::text(field).await.map(|text| assert!(text.len() <= 3 * (4 << 10))) };
        if let Err(problem) = done {
            form::heard_out(&mut parts, problem).await;
            return;
        }
    }
}

/// Lines `name: value` of the head, an empty one, the body.
fn assistant(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (head, body) = text.split_once("\n\n").unwrap_or(("", &text));
    let mut headers = HeaderMap::new();
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")).take(10) {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
    let Ok(era) = rpc::era(&headers) else { return };
    let check = |call: &rpc::Call| {
        assert!(call.id.is_string() || call.id.is_number());
        if let Err(failure) = rpc::check_modern(call, &headers) {
            failure.answer(&call.id);
            failure.status(era);
        }
    };
    match rpc::read(body.as_bytes(), &headers, era) {
        Ok(rpc::Body::One(rpc::Message::Call(call))) => check(&call),
        Ok(rpc::Body::One(rpc::Message::Note)) => {}
        Ok(rpc::Body::Batch(all)) => {
            assert!((1..=16).contains(&all.len()));
            for message in all {
                match message {
                    Ok(rpc::Message::Call(call)) => check(&call),
                    Ok(rpc::Message::Note) => {}
                    Err((id, failure)) => drop(failure.answer(&id)),
                }
            }
        }
        Err((id, failure)) => drop(failure.answer(&id)),
    }
}

async fn query(data: &[u8]) {
    let Ok(uri) = format!("/0/printers/Get?{}", String::from_utf8_lossy(data)).parse::<axum::http::Uri>() else { return };
    let (mut parts, ()) = axum::http::Request::builder().uri(uri).body(()).expect("a request").into_parts();
    let Ok(params) = Params::from_request_parts(&mut parts, &()).await else { return };
    let _ = (params.page(), params.number("page_size", 1, 100), params.word("sort_dir", &["asc", "desc"]), params.short("id", 255));
    let _ = pid::pids(params.text("pid"), &Value::Null).map(|ids| assert!(ids.is_sorted() && ids.len() <= 1000));
}
