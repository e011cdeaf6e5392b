//! The routes below `/v1` for machines, joined to the document of the native shape. Pure.

use serde_json::{Map, Value};

use super::hooks::{ATTEMPTS_MAX, BACKOFF_MAX_S};
use crate::api::access::Scope;
use crate::api::openapi::operation;
use crate::api::openapi::route::{Gives, Kind, PAGE, Part, Route, get, giving, open, post};
use crate::config::model::V1;
use crate::json::json;

const R: Scope = Scope::Read;
const C: Scope = Scope::Control;
const F: Scope = Scope::Files;
const A: Scope = Scope::Admin;

const PER_PAGE: Part = ("per_page", Kind::Number(1, 100), false);

/// Something was made.
const fn making(path: &'static str, scope: Scope, summary: &'static str, body: &'static [Part]) -> Route {
    giving(post(path, scope, summary, body), "201", Gives::Foreign)
}

const FARM_EVENTS: &[&str] = &[
    "job.started",
    "job.paused",
    "job.resumed",
    "job.cancelled",
    "job.completed",
    "job.failed",
    "job.bed_cleared",
    "job.objects_skipped",
    "printer.material_changed",
    "printer.offline",
    "printer.online",
];

const SOLO_EVENTS: &[&str] = &[
    "job.started",
    "job.paused",
    "job.resumed",
    "job.cancelled",
    "job.done",
    "job.failed",
    "job.bed_cleared",
    "job.objects_skipped",
    "printer.material_changed",
    "printer.offline",
    "printer.online",
    "queue_item.assigned",
    "spool_assignment.created",
];

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
    ("object_ids", Kind::Objects, false),
    ("comment", Kind::Text(500), false),
];

const FARM: &[Route] = &[
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
    get("/v1/printers/{id}", R, "One printer", &[]),
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
    get("/v1/jobs/{id}", R, "One job", &[]),
    making(
        "/v1/jobs",
        C,
        "Print a stored file, or one from an address",
        &[
            ("printer_id", Kind::Any, false),
            ("file_id", Kind::Text(255), false),
            ("file_url", Kind::Text(2000), false),
            ("name", Kind::Text(255), false),
            ("skip_objects", Kind::Objects, false),
        ],
    ),
    post("/v1/printers/actions", C, "Pause, resume, cancel …", ACTION),
    post(
        "/v1/printers/{id}/actions",
        C,
        "The same, with the printer in the path",
        ACTION,
    ),
    making(
        "/v1/webhooks",
        A,
        "Hear of events",
        &[
            ("url", Kind::Text(2000), true),
            ("events", Kind::Words(FARM_EVENTS), true),
            ("secret", Kind::Text(200), false),
        ],
    ),
];

const SOLO: &[Route] = &[
    open("/v1/public/version", "The contract", Gives::Foreign),
    giving(
        get("/v1/files/{id}/content", R, "The bytes of a file", &[]),
        "200",
        Gives::Stream("application/octet-stream"),
    ),
    get("/v1/me", R, "Whose key this is", &[]),
    get("/v1/org/context", R, "This host, and what the key may do", &[]),
    get("/v1/printers", R, "Printers", &[]),
    get("/v1/files", R, "Stored files", &[]),
    get("/v1/files/{id}/download", R, "Where the bytes of a file are", &[]),
    making(
        "/v1/files/register",
        F,
        "Announce an upload; its bytes are put to the answered address",
        &[("name", Kind::Text(255), true), ("size", Kind::Any, false)],
    ),
    making(
        "/v1/files/upload-from-url",
        F,
        "Fetch a file",
        &[("url", Kind::Text(2000), true), ("name", Kind::Text(255), false)],
    ),
    get(
        "/v1/platform/queue",
        R,
        "What waits, and where it could print",
        &[],
    ),
    making(
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
    post(
        "/v1/platform/queue/{id}/assign",
        C,
        "Print an item",
        &[("printer_id", Kind::Any, true)],
    ),
    post(
        "/v1/platform/queue/{id}/recompute",
        C,
        "Look again where it could print",
        &[],
    ),
    post(
        "/v1/platform/printers/{id}/dispatch-next",
        C,
        "Print the oldest item that fits",
        &[],
    ),
    making(
        "/v1/platform/webhooks",
        A,
        "Hear of events",
        &[
            ("name", Kind::Text(100), true),
            ("endpoint_url", Kind::Text(2000), true),
            ("subscriptions", Kind::Words(SOLO_EVENTS), true),
            ("max_attempts", Kind::Number(1, ATTEMPTS_MAX as i64), false),
            (
                "retry_backoff_seconds",
                Kind::Number(1, BACKOFF_MAX_S as i64),
                false,
            ),
        ],
    ),
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
    making(
        "/v1/platform/webhook-deliveries/{id}/replay",
        A,
        "Send a delivery again",
        &[],
    ),
    get(
        "/v1/platform/api-keys",
        A,
        "Keys, without the keys themselves",
        &[],
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

fn described(kind: V1, route: &Route) -> Value {
    let mut out = operation(route);
    if let Some(Value::Object(responses)) = out.get_mut("responses") {
        responses.insert("default".to_owned(), failure(kind));
    }
    if route.method == "post"
        && let Some(Value::Array(parameters)) = out.get_mut("parameters")
    {
        let schema = json!({"type": "string", "minLength": 1, "maxLength": 255});
        parameters
            .push(json!({"name": "Idempotency-Key", "in": "header", "required": false, "schema": schema}));
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
    for route in rows {
        let foreign = giving(
            *route,
            route.status,
            match route.gives {
                Gives::Envelope => Gives::Foreign,
                other => other,
            },
        );
        let methods = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Value::Object(methods) = methods {
            methods.insert(route.method.to_owned(), described(kind, &foreign));
        }
    }
    if kind == V1::SoloPrint {
        // The one that takes bytes.
        let id = json!({"name": "id", "in": "path", "required": true, "schema": {"type": "string"}});
        let bytes = json!({"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}});
        let good =
            json!({"description": "Done", "content": {"application/json": {"schema": {"type": "object"}}}});
        let put = json!({
            "summary": "The bytes of an announced upload", "parameters": [id],
            "security": [{"key": []}, {"bearer": []}], "x-scope": F.word(),
            "requestBody": {"required": true, "content": bytes},
            "responses": {"201": good, "default": failure(kind)},
        });
        paths.insert("/v1/files/upload/{id}".to_owned(), json!({"put": put}));
    }
    paths
}
