//! The routes below `/v1` for machines, joined to the document of the native shape. Pure.

use serde_json::{Map, Value, json};

use super::hooks::{ATTEMPTS_MAX, BACKOFF_MAX_S};
use crate::api::access::Scope;
use crate::api::openapi::{Kind, Part, Route, get, operation, post};
use crate::config::model::V1;

const R: Scope = Scope::Read;
const C: Scope = Scope::Control;
const F: Scope = Scope::Files;
const A: Scope = Scope::Admin;

const PAGE: Part = ("page", Kind::Number(1, 1_000_000), false);
const PER_PAGE: Part = ("per_page", Kind::Number(1, 100), false);

/// A route, and the status of its success.
type Row = (Route, u16);

const ACTION: &[Part] = &[
    ("printer_id", Kind::Any, false),
    (
        "action",
        Kind::Word(&[
            "pause",
            "resume",
            "cancel",
            "skip_objects",
            "clear_bed",
            "heaters_off",
        ]),
        true,
    ),
    ("object_ids", Kind::List, false),
    ("comment", Kind::Text(500), false),
];

const FARM: &[Row] = &[
    (
        get(
            "/v1/printers",
            R,
            "Printers",
            &[
                ("status", Kind::Text(20), false),
                ("group", Kind::Text(255), false),
                ("sort", Kind::Text(20), false),
                PAGE,
                PER_PAGE,
            ],
        ),
        200,
    ),
    (get("/v1/printers/{id}", R, "One printer", &[]), 200),
    (
        get(
            "/v1/jobs",
            R,
            "Jobs, newest first",
            &[
                ("status", Kind::Text(20), false),
                ("printer_id", Kind::Text(255), false),
                ("sort", Kind::Text(20), false),
                PAGE,
                PER_PAGE,
            ],
        ),
        200,
    ),
    (get("/v1/jobs/{id}", R, "One job", &[]), 200),
    (
        post(
            "/v1/jobs",
            C,
            "Print a stored file, or one from an address",
            &[
                ("printer_id", Kind::Any, false),
                ("file_id", Kind::Text(255), false),
                ("file_url", Kind::Text(2000), false),
                ("name", Kind::Text(255), false),
                ("skip_objects", Kind::List, false),
            ],
        ),
        201,
    ),
    (
        post("/v1/printers/actions", C, "Pause, resume, cancel …", ACTION),
        200,
    ),
    (
        post(
            "/v1/printers/{id}/actions",
            C,
            "The same, with the printer in the path",
            ACTION,
        ),
        200,
    ),
    (
        post(
            "/v1/webhooks",
            A,
            "Hear of events",
            &[
                ("url", Kind::Text(2000), true),
                ("events", Kind::List, true),
                ("secret", Kind::Text(200), false),
            ],
        ),
        201,
    ),
];

const SOLO: &[Row] = &[
    (get("/v1/me", R, "Whose key this is", &[]), 200),
    (
        get("/v1/org/context", R, "This host, and what the key may do", &[]),
        200,
    ),
    (get("/v1/printers", R, "Printers", &[]), 200),
    (get("/v1/files", R, "Stored files", &[]), 200),
    (
        get("/v1/files/{id}/download", R, "Where the bytes of a file are", &[]),
        200,
    ),
    (
        post(
            "/v1/files/register",
            F,
            "Announce an upload; its bytes are put to the answered address",
            &[("name", Kind::Text(255), true), ("size", Kind::Any, false)],
        ),
        201,
    ),
    (
        post(
            "/v1/files/upload-from-url",
            F,
            "Fetch a file",
            &[("url", Kind::Text(2000), true), ("name", Kind::Text(255), false)],
        ),
        201,
    ),
    (
        get(
            "/v1/platform/queue",
            R,
            "What waits, and where it could print",
            &[],
        ),
        200,
    ),
    (
        post(
            "/v1/platform/queue",
            C,
            "Put an item in the queue; starts nothing",
            &[
                ("name", Kind::Text(255), false),
                ("file_id", Kind::Text(255), false),
                ("requirements", Kind::Object, false),
                ("metadata", Kind::Object, false),
            ],
        ),
        201,
    ),
    (
        post(
            "/v1/platform/queue/{id}/assign",
            C,
            "Print an item",
            &[("printer_id", Kind::Any, true)],
        ),
        200,
    ),
    (
        post(
            "/v1/platform/queue/{id}/recompute",
            C,
            "Look again where it could print",
            &[],
        ),
        200,
    ),
    (
        post(
            "/v1/platform/printers/{id}/dispatch-next",
            C,
            "Print the oldest item that fits",
            &[],
        ),
        200,
    ),
    (
        post(
            "/v1/platform/webhooks",
            A,
            "Hear of events",
            &[
                ("name", Kind::Text(100), true),
                ("endpoint_url", Kind::Text(2000), true),
                ("subscriptions", Kind::List, true),
                ("max_attempts", Kind::Number(1, ATTEMPTS_MAX as i64), false),
                (
                    "retry_backoff_seconds",
                    Kind::Number(1, BACKOFF_MAX_S as i64),
                    false,
                ),
            ],
        ),
        201,
    ),
    (
        get(
            "/v1/platform/webhook-deliveries",
            A,
            "Deliveries, newest first",
            &[
                ("state", Kind::Word(&["queued", "delivered", "failed"]), false),
                ("webhook_id", Kind::Number(1, 4_294_967_295), false),
                PAGE,
                ("page_size", Kind::Number(1, 100), false),
            ],
        ),
        200,
    ),
    (
        post(
            "/v1/platform/webhook-deliveries/{id}/replay",
            A,
            "Send a delivery again",
            &[],
        ),
        201,
    ),
    (
        get(
            "/v1/platform/api-keys",
            A,
            "Keys, without the keys themselves",
            &[],
        ),
        200,
    ),
];

fn failure(kind: V1) -> Value {
    let schema = if kind == V1::SoloPrint {
        json!({"type": "object", "required": ["error", "details"], "properties": {
            "error": {"type": "string"}, "details": {"type": "string"}}})
    } else {
        json!({"type": "object", "required": ["success", "error"], "properties": {
            "success": {"type": "boolean", "enum": [false]},
            "error": {"type": "object", "required": ["code", "message", "details"], "properties": {
                "code": {"type": "string"}, "message": {"type": "string"},
                "details": {"type": "string", "nullable": true}}}}})
    };
    json!({"description": "What is wrong", "content": {"application/json": {"schema": schema}}})
}

fn described(kind: V1, (route, status): &Row) -> Value {
    let mut out = operation(route);
    let good =
        json!({"description": "Done", "content": {"application/json": {"schema": {"type": "object"}}}});
    let mut responses = Map::new();
    responses.insert(status.to_string(), good);
    responses.insert("default".to_owned(), failure(kind));
    let parts = route.path.split('/').filter(|part| part.starts_with('{'));
    let mut parameters: Vec<Value> = parts
        .map(|_| json!({"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    if let Some(Value::Array(query)) = out.get_mut("parameters").map(Value::take) {
        parameters.extend(query);
    }
    if route.method == "post" {
        let schema = json!({"type": "string", "minLength": 1, "maxLength": 255});
        parameters
            .push(json!({"name": "Idempotency-Key", "in": "header", "required": false, "schema": schema}));
    }
    if let Value::Object(members) = &mut out {
        members.insert("responses".to_owned(), Value::Object(responses));
        members.insert("parameters".to_owned(), Value::Array(parameters));
    }
    out
}

/// The paths of a shape.
pub fn paths(kind: V1) -> Map<String, Value> {
    let rows = match kind {
        V1::Off => return Map::new(),
        V1::AutoPrintFarm => FARM,
        V1::SoloPrint => SOLO,
    };
    let mut paths = Map::new();
    for row in rows {
        let methods = paths.entry(row.0.path).or_insert_with(|| json!({}));
        if let Value::Object(methods) = methods {
            methods.insert(row.0.method.to_owned(), described(kind, row));
        }
    }
    if kind == V1::SoloPrint {
        let answer =
            json!({"description": "Done", "content": {"application/json": {"schema": {"type": "object"}}}});
        paths.insert(
            "/v1/public/version".to_owned(),
            json!({"get": {"summary": "The contract", "parameters": [], "security": [], "responses": {"200": answer}}}),
        );
        let id = json!({"name": "id", "in": "path", "required": true, "schema": {"type": "string"}});
        let secured = json!([{"key": []}, {"bearer": []}]);
        let bytes = json!({"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}});
        paths.insert(
            "/v1/files/upload/{id}".to_owned(),
            json!({"put": {
                "summary": "The bytes of an announced upload", "parameters": [id], "security": secured,
                "x-scope": F.word(), "requestBody": {"required": true, "content": bytes},
                "responses": {"201": answer, "default": failure(kind)}}}),
        );
        paths.insert(
            "/v1/files/{id}/content".to_owned(),
            json!({"get": {
                "summary": "The bytes of a file", "parameters": [id], "security": secured, "x-scope": R.word(),
                "responses": {"200": {"description": "Done", "content": bytes}, "default": failure(kind)}}}),
        );
    }
    paths
}
