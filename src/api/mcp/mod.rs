//! `/mcp`: the Model Context Protocol, by which assistants use tools. Streamable HTTP without sessions: one
//! JSON-RPC message in, one JSON answer out. The tools are the operations of the native shape, under the same
//! keys, scopes, rules and outcomes; a key sees the tools that it may use.
//!
//! | file | what |
//! |---|---|
//! | `rpc` | messages, versions, failures of the protocol (pure) |
//! | `tools` | the table of tools, their schemas and checks (pure) |
//! | `call` | what they do |

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};
use std::time::Duration;

use super::Api;
use super::access::Caller;
use super::door::{Entrance, Late};
use super::envelope::Problem;
use super::method::post;
use super::routes::json_only;
use rpc::{Body, Call, Era, Failure, Message};

use crate::json::json;

mod call;
mod rpc;
mod tools;

/// Where it is.
pub(super) const PATH: &str = "/mcp";

/// Largest message: 200 lines of G-code, with room.
const BODY_MAX_BYTES: usize = 256 << 10;

/// How long a body may take to arrive.
const BODY_LIMIT: Duration = Duration::from_secs(30);

/// What clients are told of this server.
const INSTRUCTIONS: &str = "3D printers on this host. Every command tells what came of it: `verified` was seen in the \
     printer's own reports, `sent` has no visible effect, `refused` was not sent, `rejected` was declined by the \
     printer, `unverified` may or may not have happened: look before trying again. Unknown values are null. Ask a \
     person before starting a print, heating or moving a printer.";

pub(super) fn router() -> Router<Api> {
    Router::new()
        .route(PATH, post(serve))
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .layer(middleware::from_fn(json_only))
}

/// Failures that do not come from here (the door's, say) as those of JSON-RPC, with the status that they had.
pub(super) async fn in_shape(request: Request, next: Next) -> Response {
    let is_ours = request.uri().path() == PATH;
    let response = next.run(request).await;
    if !is_ours {
        return response;
    }
    let Some(problem) = response.extensions().get::<Problem>().cloned() else {
        return response;
    };
    let code = match problem.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => rpc::UNAUTHORIZED,
        StatusCode::TOO_MANY_REQUESTS => rpc::NOT_NOW,
        _ => rpc::INVALID_REQUEST,
    };
    let body = Failure::new(code, problem.message).answer(&Value::Null);
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let json = HeaderValue::from_static("application/json");
    parts.headers.insert(header::CONTENT_TYPE, json);
    Response::from_parts(parts, body.to_string().into())
}

async fn bytes(request: Request) -> Result<Bytes, Problem> {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|k| k.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(Problem::with(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "The body must be JSON, sent with Content-Type: application/json.",
        ));
    }
    let read = tokio::time::timeout(BODY_LIMIT, Bytes::from_request(request, &())).await;
    let read = read.map_err(|_| Problem::with(StatusCode::REQUEST_TIMEOUT, "The body came too slowly."))?;
    read.map_err(|rejection| match rejection.into_response().status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::with(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("A message takes at most {} KiB.", BODY_MAX_BYTES >> 10),
        ),
        _ => Problem::bad("The body broke off."),
    })
}

/// Who asks, from where, and whether too often.
struct Asker {
    caller: Caller,
    from: String,
    late: Option<Late>,
}

async fn serve(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    let headers = request.headers().clone();
    let caller = request.extensions().get::<Caller>().cloned();
    let asker = Asker {
        caller: caller.ok_or_else(|| Problem::with(StatusCode::UNAUTHORIZED, "Nobody asks."))?,
        from: match request.extensions().get::<Entrance>() {
            Some(Entrance::Tcp(peer)) => peer.ip().to_string(),
            _ => String::new(),
        },
        late: request.extensions().get::<Late>().copied(),
    };
    let bytes = bytes(request).await?;
    let era = match rpc::era(&headers) {
        Ok(era) => era,
        Err(failure) => return Ok(failing(&failure, Era::Modern, &Value::Null)),
    };
    Ok(match rpc::read(&bytes, &headers, era) {
        Err((id, failure)) => failing(&failure, era, &id),
        Ok(Body::One(Message::Note)) => StatusCode::ACCEPTED.into_response(),
        Ok(Body::One(Message::Call(call))) => match answer(&api, &asker, era, &headers, &call).await {
            Ok(result) => answering(StatusCode::OK, &good(&call.id, result)),
            Err(failure) => failing(&failure, era, &call.id),
        },
        Ok(Body::Batch(messages)) => {
            let mut answers = Vec::new();
            for message in messages {
                match message {
                    Ok(Message::Note) => {}
                    Ok(Message::Call(call)) => {
                        answers.push(match answer(&api, &asker, era, &headers, &call).await {
                            Ok(result) => good(&call.id, result),
                            Err(failure) => failure.answer(&call.id),
                        })
                    }
                    Err((id, failure)) => answers.push(failure.answer(&id)),
                }
            }
            if answers.is_empty() {
                StatusCode::ACCEPTED.into_response()
            } else {
                answering(StatusCode::OK, &Value::Array(answers))
            }
        }
    })
}

fn good(id: &Value, result: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": result})
}

fn failing(failure: &Failure, era: Era, id: &Value) -> Response {
    answering(failure.status(era), &failure.answer(id))
}

fn answering(status: StatusCode, body: &Value) -> Response {
    (status, axum::Json(body)).into_response()
}

/// The result of a request.
async fn answer(
    api: &Api,
    asker: &Asker,
    era: Era,
    headers: &HeaderMap,
    call: &Call,
) -> Result<Value, Failure> {
    if era == Era::Modern {
        rpc::check_modern(call, headers)?;
    }
    let name = call
        .params
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    // Nobody is ever told to wait with an emergency stop.
    let urgent = call.method == "tools/call" && name == "emergency_stop";
    if let Some(Late(standing)) = asker.late.filter(|_| !urgent) {
        let words = format!(
            "Too many requests with this key; try again in {} s.",
            standing.wait_s
        );
        return Err(Failure::new(rpc::NOT_NOW, words));
    }
    let server = json!({"name": "layerd", "title": "layerd", "version": env!("CARGO_PKG_VERSION")});
    let mut result = match (call.method.as_str(), era) {
        ("initialize", Era::Handshake) => {
            let requested = call.params.get("protocolVersion").and_then(Value::as_str);
            json!({
                "protocolVersion": rpc::settled(requested),
                "capabilities": {"tools": {"listChanged": false}},
                "serverInfo": server,
                "instructions": INSTRUCTIONS,
            })
        }
        ("server/discover", Era::Modern) => json!({
            "supportedVersions": rpc::HANDSHAKE.into_iter().chain([rpc::MODERN]).collect::<Vec<_>>(),
            "capabilities": {"tools": {}},
            "instructions": INSTRUCTIONS,
            "_meta": {"io.modelcontextprotocol/serverInfo": server},
        }),
        ("ping", _) => json!({}),
        ("tools/list", _) => list(asker, &call.params)?,
        ("tools/call", _) => use_tool(api, asker, name, &call.params).await?,
        (method, _) => {
            let method: String = method.chars().take(60).collect();
            return Err(Failure::new(
                rpc::NO_METHOD,
                format!("There is no method {method:?}."),
            ));
        }
    };
    if let (Value::Object(members), Era::Modern) = (&mut result, era) {
        members.insert("resultType".to_owned(), json!("complete"));
        if call.method != "tools/call" {
            // Which tools there are depends on the key, and a key may be revoked.
            members.insert("ttlMs".to_owned(), json!(0));
            members.insert("cacheScope".to_owned(), json!("private"));
        }
    }
    Ok(result)
}

fn list(asker: &Asker, params: &Map<String, Value>) -> Result<Value, Failure> {
    if params.get("cursor").is_some_and(|c| !c.is_null()) {
        return Err(Failure::new(rpc::INVALID_PARAMS, "There is no further page."));
    }
    let all = tools::TOOLS.iter().filter(|tool| asker.caller.may(tool.scope));
    Ok(json!({"tools": all.map(tools::Tool::shown).collect::<Vec<_>>()}))
}

async fn use_tool(
    api: &Api,
    asker: &Asker,
    name: &str,
    params: &Map<String, Value>,
) -> Result<Value, Failure> {
    let tool = tools::find(name).ok_or_else(|| {
        let name: String = name.chars().take(60).collect();
        Failure::new(rpc::INVALID_PARAMS, format!("Unknown tool: {name}"))
    })?;
    if !asker.caller.may(tool.scope) {
        let words = format!(
            "Scope not granted: this key does not allow {name}; it needs the scope \"{}\".",
            tool.scope.word()
        );
        return Err(Failure::new(rpc::UNAUTHORIZED, words));
    }
    let none = Map::new();
    let arguments = match params.get("arguments") {
        None | Some(Value::Null) => &none,
        Some(Value::Object(arguments)) => arguments,
        Some(_) => {
            return Err(Failure::new(
                rpc::INVALID_PARAMS,
                "`arguments` must be an object.",
            ));
        }
    };
    let (value, is_error) = call::call(api, &asker.caller, &asker.from, tool, arguments).await;
    Ok(json!({
        "content": [{"type": "text", "text": value.to_string()}],
        "structuredContent": value,
        "isError": is_error,
    }))
}
