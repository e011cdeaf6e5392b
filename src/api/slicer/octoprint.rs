//! OctoPrint's dialect, as far as slicers speak it: PrusaSlicer and OrcaSlicer (`OctoPrint.cpp`) ask for
//! the version and upload; Cura's plug-in looks at settings, printer and job too, needs `Location` in the
//! answer to an upload, and may ask for the start in a second request.

use std::collections::HashMap;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json as Answer};
use serde_json::Value;

use super::{find, form, percent, shape, told};
use crate::agent::clock;
use crate::agent::handle::PrinterHandle;
use crate::api::access::Caller;
use crate::api::demand::{self, Demand};
use crate::api::envelope::Problem;
use crate::api::incoming::Json;
use crate::api::{Api, dialect_rules};
use crate::json::json;
use crate::printer::outcome::Outcome;

type Parts = Path<HashMap<String, String>>;

fn named(api: &Api, parts: &HashMap<String, String>) -> Result<PrinterHandle, Problem> {
    find(api, parts.get("printer").map(String::as_str).unwrap_or_default())
}

/// `GET api/version`: the "Test" button.
pub async fn version(State(api): State<Api>, Path(parts): Parts) -> Result<Answer<Value>, Problem> {
    named(&api, &parts).map(|_| Answer(shape::version()))
}

/// `GET api/server`.
pub async fn server(State(api): State<Api>, Path(parts): Parts) -> Result<Answer<Value>, Problem> {
    named(&api, &parts).map(|_| Answer(shape::server()))
}

/// `GET` and `POST api/login`.
pub async fn login(State(api): State<Api>, Path(parts): Parts) -> Result<Answer<Value>, Problem> {
    named(&api, &parts).map(|_| Answer(shape::login()))
}

/// `GET api/settings`.
pub async fn settings(State(api): State<Api>, Path(parts): Parts) -> Result<Answer<Value>, Problem> {
    named(&api, &parts).map(|_| Answer(shape::settings()))
}

/// `GET api/printerprofiles`.
pub async fn profiles(State(api): State<Api>, Path(parts): Parts) -> Result<Answer<Value>, Problem> {
    let printer = named(&api, &parts)?;
    let snapshot = printer.snapshot();
    Ok(Answer(shape::profiles(printer.name(), &snapshot.state)))
}

/// `GET api/printer`: 409 while no printer is connected.
pub async fn printer(State(api): State<Api>, Path(parts): Parts) -> Result<Answer<Value>, Problem> {
    let snapshot = named(&api, &parts)?.snapshot();
    shape::printer(&snapshot.state)
        .map(Answer)
        .ok_or_else(|| Problem::with(StatusCode::CONFLICT, "The printer is not connected."))
}

/// `GET api/job`.
pub async fn job(State(api): State<Api>, Path(parts): Parts) -> Result<Answer<Value>, Problem> {
    let snapshot = named(&api, &parts)?.snapshot();
    Ok(Answer(shape::job(&snapshot.state, clock::now().wall)))
}

/// `POST api/printer/command`: lines of G-code, held to the same rules as `SendGcode`.
pub async fn command(State(api): State<Api>, Path(parts): Parts, body: Json) -> Result<StatusCode, Problem> {
    let printer = named(&api, &parts)?;
    let lines = body.0.get("commands").or(body.0.get("command"));
    let lines = lines.ok_or_else(|| Problem::bad("The request holds no command."))?;
    let demand = demand::read("SendGcode", &json!({"gcode": lines})).map_err(told)?;
    let refused = dialect_rules::refusal(printer.id(), printer.snapshot().state.word(), &demand);
    let outcome = match (refused, demand) {
        (Some(refusal), _) => Outcome::Refused(refusal),
        (None, Demand::Command(command)) => match printer.submit(command).await {
            // As in OctoPrint, nobody waits for the end.
            Ok(_) => return Ok(StatusCode::NO_CONTENT),
            Err(refusal) => Outcome::Refused(refusal),
        },
        _ => return Err(Problem::bad("The request holds no command.")),
    };
    Err(Problem::with(StatusCode::UNPROCESSABLE_ENTITY, outcome.message()))
}

/// `POST api/files/local`.
pub async fn upload(
    State(api): State<Api>,
    Path(parts): Parts,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let printer = named(&api, &parts)?;
    let form = form::read(&api, request).await?;
    if form.print {
        form::start(&caller, &printer, &form.row, form.plate).await?;
    }
    let name = &form.row.name;
    let place = format!("/p/{}/api/files/local/{}", percent(printer.name()), percent(name));
    let body = json!({
        "files": {"local": {
            "name": name,
            "display": name,
            "path": name,
            "origin": "local",
            "refs": {"resource": place},
        }},
        "done": true,
        "effectiveSelect": form.print,
        "effectivePrint": form.print,
    });
    let place =
        HeaderValue::from_str(&place).map_err(|_| Problem::bad("The name of the file cannot be used."))?;
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], Answer(body)).into_response())
}

/// `POST api/files/local/NAME`: `{"command": "select", "print": true}` starts it, and selecting alone
/// changes nothing.
pub async fn select(
    State(api): State<Api>,
    Path(parts): Parts,
    Extension(caller): Extension<Caller>,
    body: Json,
) -> Result<StatusCode, Problem> {
    let printer = named(&api, &parts)?;
    if body.0.get("command").and_then(Value::as_str) != Some("select") {
        return Err(Problem::bad("Files can be selected and printed, nothing else."));
    }
    let row = form::stored(&api, parts.get("name").map(String::as_str).unwrap_or_default()).await?;
    if body.0.get("print").and_then(Value::as_bool) == Some(true) {
        form::start(&caller, &printer, &row, None).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
