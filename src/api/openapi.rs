//! `GET /openapi.json`: the routes for machines. The tables are in `openapi/`; `tests/api/openapi.json` is
//! the document as it was reviewed, and tests walk every route of it. Pure.

use serde_json::{Map, Value};

use super::webhooks::notable::{CLOUD_EVENTS, EVENTS};
use crate::json::json;
use crate::printer::guard::{GCODE_LINE_MAX, GCODE_LINES_MAX};
use route::{Body, Gives, Kind, Part, Route};

mod house;
mod printers;
pub(super) mod route;
mod slicers;

/// The whole table.
const TABLES: [&[Route]; 3] = [printers::ROUTES, house::ROUTES, slicers::ROUTES];

/// Numbers of printers with commas.
const PIDS: &str = "^[1-9][0-9]{0,17}(,[1-9][0-9]{0,17})*$";

fn schema(kind: Kind) -> Value {
    match kind {
        Kind::Number(least, most) => json!({"type": "integer", "minimum": least, "maximum": most}),
        Kind::Text(most) => json!({"type": "string", "maxLength": most}),
        Kind::Switch => {
            json!({"oneOf": [{"type": "boolean"}, {"type": "integer", "minimum": 0, "maximum": 1}]})
        }
        Kind::Word(words) => json!({"type": "string", "enum": words}),
        Kind::Form(pattern, most) => json!({"type": "string", "pattern": pattern, "maxLength": most}),
        Kind::Pid => json!({"type": "integer", "minimum": 1, "maximum": i64::MAX}),
        Kind::PidList => json!({"type": "string", "pattern": PIDS}),
        Kind::Pids => {
            let number = schema(Kind::Pid);
            json!({"oneOf": [
                number, {"type": "string", "pattern": PIDS},
                {"type": "array", "items": number, "minItems": 1, "maxItems": 1000},
            ]})
        }
        Kind::Lines => {
            let line = json!({"type": "string", "maxLength": GCODE_LINE_MAX});
            json!({"oneOf": [{"type": "string"}, {"type": "array", "items": line, "minItems": 1, "maxItems": GCODE_LINES_MAX}]})
        }
        Kind::Objects => {
            let object = json!({"oneOf": [{"type": "integer", "minimum": 0}, {"type": "string", "minLength": 1, "maxLength": 255}]});
            json!({"type": "array", "items": object, "minItems": 1, "maxItems": 1000})
        }
        Kind::Notices => {
            let notice = json!({"type": "object", "required": ["id"], "properties": {
                "id": {"oneOf": [{"type": "string"}, {"type": "integer"}]}, "action": {},
                "force": {"type": "boolean", "nullable": true}, "dismiss": {"type": "boolean", "nullable": true},
            }});
            json!({"type": "array", "items": notice, "minItems": 1, "maxItems": 100})
        }
        Kind::Words(words) => {
            json!({"type": "array", "items": {"type": "string", "enum": words}, "maxItems": 1000})
        }
        Kind::Numbers => json!({"type": "array", "items": {"type": "integer"}, "maxItems": 1000}),
        Kind::Events => {
            let all: Vec<&str> = EVENTS.iter().chain(CLOUD_EVENTS).copied().collect();
            json!({"type": "array", "items": {"type": "string", "enum": all}, "minItems": 1, "maxItems": 100})
        }
        Kind::Any => json!({}),
        Kind::Object => json!({"type": "object"}),
        Kind::File => json!({"type": "string", "format": "binary"}),
    }
}

/// One route as it is described.
pub(super) fn operation(route: &Route) -> Value {
    // Slicers show the body of a failure as it is.
    let failure = if route.path.starts_with("/p/") {
        json!({"text/plain": {"schema": {"type": "string"}}})
    } else {
        json!({"application/json": {"schema": {"$ref": "#/components/schemas/Failure"}}})
    };
    let good = match route.gives {
        Gives::Envelope => json!({"application/json": {"schema": {"$ref": "#/components/schemas/Envelope"}}}),
        Gives::Foreign => json!({"application/json": {"schema": {"type": "object"}}}),
        Gives::Stream(kind) => json!({kind: {}}),
        Gives::Nothing | Gives::Elsewhere => Value::Null,
    };
    let mut success = json!({"description": "Done, or refused with `status: false` and the reason"});
    if !matches!(route.gives, Gives::Envelope) {
        success = json!({"description": "Done"});
    }
    insert(&mut success, "content", good);
    let in_path = route.path.split(['{', '}']).skip(1).step_by(2);
    let in_path = in_path.map(|name| {
        json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "minLength": 1}})
    });
    let in_query = route.query.iter().map(|(name, kind, required)| {
        json!({"name": name, "in": "query", "required": required, "schema": schema(*kind)})
    });
    let mut out = json!({
        "summary": route.summary,
        "parameters": in_path.chain(in_query).collect::<Vec<_>>(),
        "responses": {(route.status): success, "default": {"description": "What is wrong", "content": failure}},
        "security": [],
    });
    if let Some(scope) = route.scope {
        insert(&mut out, "security", json!([{"key": []}, {"bearer": []}]));
        insert(&mut out, "x-scope", json!(scope.word()));
    }
    let body = match route.body {
        Body::None => Value::Null,
        Body::Json(parts) => carried("application/json", parts),
        Body::Form(parts) => carried("multipart/form-data", parts),
    };
    insert(&mut out, "requestBody", body);
    out
}

/// A member, unless there is nothing to say.
fn insert(out: &mut Value, name: &str, value: Value) {
    if let Value::Object(members) = out
        && !value.is_null()
    {
        members.insert(name.to_owned(), value);
    }
}

fn carried(kind: &str, parts: &[Part]) -> Value {
    let is_json = kind == "application/json";
    let properties: Map<String, Value> = parts
        .iter()
        .map(|(name, kind, needed)| {
            let mut schema = schema(*kind);
            // Left out and null are the same.
            if is_json && !needed && !matches!(kind, Kind::Any) {
                insert(&mut schema, "nullable", json!(true));
                if let Some(Value::Array(words)) = schema.get_mut("enum") {
                    words.push(Value::Null);
                }
            }
            ((*name).to_owned(), schema)
        })
        .collect();
    let required: Vec<&str> = parts
        .iter()
        .filter(|(_, _, required)| *required)
        .map(|(name, _, _)| *name)
        .collect();
    let mut schema = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        insert(&mut schema, "required", json!(required));
    } else if is_json {
        insert(&mut schema, "nullable", json!(true));
    }
    json!({"required": !required.is_empty(), "content": {kind: {"schema": schema}}})
}

/// The one route whose messages have a description of their own (`tools/list`). Any key will do: what it may
/// use depends on its scopes.
fn assistants() -> Value {
    // One message, or several at once as the version of 2025-03-26 has it.
    let object = json!({"type": "object", "properties": {}});
    let several = |of: Value| json!({"application/json": {"schema": {"oneOf": [object, {"type": "array", "items": of}]}}});
    let (asked, told) = (several(json!({})), several(object.clone()));
    json!({
        "summary": "Model Context Protocol: JSON-RPC 2.0 messages for assistants",
        "parameters": [],
        "security": [{"key": []}, {"bearer": []}],
        "x-scope": "any",
        "requestBody": {"required": true, "content": asked},
        "responses": {
            "200": {"description": "The answer", "content": told},
            "202": {"description": "A message that wants no answer"},
            "default": {"description": "A failure of JSON-RPC", "content": told},
        },
    })
}

/// The whole document, with these paths beside those of the native shape.
pub fn document(further: Map<String, Value>) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in TABLES.iter().copied().flatten() {
        let methods = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Value::Object(methods) = methods {
            methods.insert(route.method.to_owned(), operation(route));
        }
    }
    paths.insert("/mcp".to_owned(), json!({"post": assistants()}));
    for (path, methods) in further {
        paths.insert(path, methods);
    }
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": "layerd", "version": env!("CARGO_PKG_VERSION"), "license": {"name": "MIT OR Apache-2.0"},
            "description": "The local API, in the shape of SimplyPrint's. Paths may begin with /0, with the configured id, \
                            and with /api before either. A business failure is HTTP 200 with `status: false`; the member \
                            `layerd` says more.",
        },
        "paths": paths,
        "components": {
            "schemas": {
                "Envelope": {
                    "type": "object", "required": ["status"],
                    "properties": {
                        "status": {"type": "boolean"}, "message": {"type": "string", "nullable": true}, "layerd": {"type": "object", "nullable": true},
                    },
                },
                "Failure": {
                    "type": "object", "required": ["status", "message"],
                    "properties": {"status": {"type": "boolean", "enum": [false]}, "message": {"type": "string"}},
                },
            },
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "X-API-KEY"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    })
}
