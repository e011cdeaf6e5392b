//! Moonraker's dialect, as far as slicers speak it: OrcaSlicer (`Moonraker.cpp`) asks for the state and the
//! places for files, uploads, and asks for the start itself when the answer says that nothing was started.

use std::collections::HashMap;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::{Extension, Json as Answer};
use serde_json::Value;

use super::{find, form, shape};
use crate::agent::clock;
use crate::agent::handle::PrinterHandle;
use crate::api::Api;
use crate::api::access::Caller;
use crate::api::envelope::Problem;
use crate::api::incoming::{Json, Params};
use crate::json::json;
use form::Begun;

type Parts = Path<HashMap<String, String>>;

fn named(api: &Api, parts: &HashMap<String, String>) -> Result<PrinterHandle, Problem> {
    find(api, parts.get("printer").map(String::as_str).unwrap_or_default())
}

/// `GET server/info`: the "Test" button.
pub async fn info(State(api): State<Api>, Path(parts): Parts) -> Result<Answer<Value>, Problem> {
    let snapshot = named(&api, &parts)?.snapshot();
    Ok(Answer(shape::server_info(&snapshot.state)))
}

/// `GET server/files/roots`: one place, which takes files.
pub async fn roots(State(api): State<Api>, Path(parts): Parts) -> Result<Answer<Value>, Problem> {
    named(&api, &parts)?;
    Ok(Answer(
        json!({"result": [{"name": "gcodes", "path": "gcodes", "permissions": "rw"}]}),
    ))
}

/// `POST server/files/upload`.
pub async fn upload(
    State(api): State<Api>,
    Path(parts): Parts,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<(StatusCode, Answer<Value>), Problem> {
    let printer = named(&api, &parts)?;
    let form = form::read(&api, request).await?;
    let begun = if form.print {
        Some(form::start(&caller, &printer, &form.row, form.plate).await?)
    } else {
        None
    };
    let at = clock::now().wall.as_millisecond() as f64 / 1000.0;
    let item = json!({
        "path": form.row.name,
        "root": "gcodes",
        "modified": at,
        "size": form.row.size,
        "permissions": "rw",
    });
    let body = json!({"result": {
        "item": item,
        "print_started": begun == Some(Begun::Started),
        "print_queued": begun == Some(Begun::Checking),
        "action": "create_file",
    }});
    Ok((StatusCode::CREATED, Answer(body)))
}

/// `POST printer/print/start`: the name in the query or the body.
pub async fn start(
    State(api): State<Api>,
    Path(parts): Parts,
    Extension(caller): Extension<Caller>,
    params: Params,
    body: Json,
) -> Result<Answer<Value>, Problem> {
    let printer = named(&api, &parts)?;
    let name = body.0.get("filename").and_then(Value::as_str);
    let name = name
        .or(params.text("filename"))
        .ok_or_else(|| Problem::bad("The name of the file is missing."))?;
    let row = form::stored(&api, name).await?;
    form::start(&caller, &printer, &row, None).await?;
    Ok(Answer(json!({"result": "ok"})))
}
