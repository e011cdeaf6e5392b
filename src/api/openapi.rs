//! `GET /openapi.json`: the routes for machines. One table; `tests/api/openapi.json` is the document as it
//! was reviewed, and a test walks every route of it. Pure.

use serde_json::{Map, Value, json};

use super::access::Scope;
use super::webhooks::notable::EVENTS;

/// How a parameter or a member of a body looks.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// A number from … to ….
    Number(i64, i64),
    /// A text of at most so many characters.
    Text(u32),
    Switch,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Printers: a number, a text of numbers with commas, or a list.
    Pids,
    /// A list.
    List,
    /// A list of at least one known event.
    Events,
    /// Several forms are documented.
    Any,
    Object,
}

/// A parameter: name, form, whether it has to be there.
pub(super) type Part = (&'static str, Kind, bool);

/// What comes back when all is well.
#[derive(Clone, Copy)]
pub(super) enum Gives {
    Envelope,
    Stream(&'static str),
}

/// A route as it is described.
pub(super) struct Route {
    pub method: &'static str,
    pub path: &'static str,
    scope: Option<Scope>,
    summary: &'static str,
    query: &'static [Part],
    body: Option<&'static [Part]>,
    gives: Gives,
}

const PID_QUERY: Part = ("pid", Kind::Text(4000), true);
const PID_BODY: Part = ("pid", Kind::Pids, true);
const OURS: Part = ("layerd", Kind::Object, false);
const PAGE: Part = ("page", Kind::Number(1, 1_000_000), false);

pub(super) const fn get(
    path: &'static str,
    scope: Scope,
    summary: &'static str,
    query: &'static [Part],
) -> Route {
    Route {
        method: "get",
        path,
        scope: Some(scope),
        summary,
        query,
        body: None,
        gives: Gives::Envelope,
    }
}

pub(super) const fn post(
    path: &'static str,
    scope: Scope,
    summary: &'static str,
    body: &'static [Part],
) -> Route {
    Route {
        method: "post",
        path,
        scope: Some(scope),
        summary,
        query: &[],
        body: Some(body),
        gives: Gives::Envelope,
    }
}

const fn action(path: &'static str, summary: &'static str, body: &'static [Part]) -> Route {
    post(path, Scope::Control, summary, body)
}

const fn open(path: &'static str, summary: &'static str, gives: Gives) -> Route {
    Route {
        method: "get",
        path,
        scope: None,
        summary,
        query: &[],
        body: None,
        gives,
    }
}

const fn stream(path: &'static str, scope: Scope, summary: &'static str, kind: &'static str) -> Route {
    let mut route = get(path, scope, summary, &[]);
    route.gives = Gives::Stream(kind);
    route
}

const LIST_QUERY: &[Part] = &[
    ("pid", Kind::Text(4000), false),
    PAGE,
    ("page_size", Kind::Number(1, 25), false),
    ("search", Kind::Text(200), false),
    (
        "order_by",
        Kind::Word(&["status", "name", "online", "last_online", "ui", "created"]),
        false,
    ),
    ("sort_dir", Kind::Word(&["asc", "desc"]), false),
    ("printer_columns", Kind::Text(1000), false),
    ("job_columns", Kind::Text(1000), false),
    ("filament_columns", Kind::Text(1000), false),
    ("no_printer", Kind::Any, false),
    ("no_filament", Kind::Any, false),
    ("no_job", Kind::Any, false),
    ("no_notifications", Kind::Any, false),
];

const LIST_BODY: &[Part] = &[
    PAGE,
    ("page_size", Kind::Number(1, 100), false),
    ("search", Kind::Text(200), false),
    ("sort_id", Kind::Word(&["name", "sku", "mac", "created"]), false),
    ("sort_dir", Kind::Word(&["asc", "desc"]), false),
];

const R: Scope = Scope::Read;
const A: Scope = Scope::Admin;

const ROUTES: &[Route] = &[
    get("/0/account/Test", R, "Whether the key is good", &[]),
    get(
        "/0/printers/Get",
        R,
        "Printers with state, job, filament and notifications",
        LIST_QUERY,
    ),
    post("/0/printers/Get", R, "The same, in pages of up to 100", LIST_BODY),
    get(
        "/0/printers/GetLogs",
        R,
        "What happened to a printer, or its raw traffic",
        &[
            PID_QUERY,
            ("wire", Kind::Any, false),
            ("last", Kind::Number(1, 2000), false),
        ],
    ),
    get(
        "/0/printers/GetCounters",
        R,
        "Hours, prints and filament",
        &[("pid", Kind::Text(4000), false)],
    ),
    get(
        "/0/printers/GetTemperatures",
        R,
        "Temperatures over the last while",
        &[PID_QUERY],
    ),
    get(
        "/0/printers/GetPlate",
        R,
        "The plate of a print, with its objects",
        &[PID_QUERY],
    ),
    get(
        "/0/files/GetAnalysis",
        R,
        "What a file holds, and whether a printer can print it",
        &[
            ("id", Kind::Text(255), true),
            ("pid", Kind::Text(20), false),
            ("plate", Kind::Any, false),
        ],
    ),
    post(
        "/0/printers/MarkService",
        Scope::Control,
        "The printer was serviced now",
        &[PID_BODY],
    ),
    action(
        "/0/printers/actions/Pause",
        "Pause",
        &[PID_BODY, ("onPause", Kind::Object, false), OURS],
    ),
    action("/0/printers/actions/Resume", "Resume", &[PID_BODY, OURS]),
    action(
        "/0/printers/actions/Cancel",
        "End a print",
        &[
            PID_BODY,
            ("reason", Kind::Number(1, 8), false),
            ("comment", Kind::Text(500), false),
            OURS,
        ],
    ),
    action(
        "/0/printers/actions/CancelPendingPrint",
        "A print that has not begun does not begin",
        &[PID_BODY, OURS],
    ),
    action(
        "/0/printers/actions/SkipObjects",
        "Leave objects out",
        &[PID_BODY, ("object_ids", Kind::List, true), OURS],
    ),
    action(
        "/0/printers/actions/SendGcode",
        "Send G-code, or a macro",
        &[
            PID_BODY,
            ("gcode", Kind::Any, false),
            ("macro", Kind::Text(100), false),
            ("macro_context", Kind::Object, false),
            OURS,
        ],
    ),
    action(
        "/0/printers/actions/CreateJob",
        "Print a file that was uploaded, or an earlier job again",
        &[
            PID_BODY,
            ("file_id", Kind::Text(255), false),
            ("filesystem", Kind::Text(255), false),
            ("reprint", Kind::Any, false),
            ("mms_map", Kind::Any, false),
            ("start_options", Kind::Any, false),
            ("skipped_objects", Kind::Any, false),
            OURS,
        ],
    ),
    action(
        "/0/printers/actions/BeginPrint",
        "A print that is held may heat and begin",
        &[PID_BODY, OURS],
    ),
    action(
        "/0/printers/actions/ClearBed",
        "The bed was cleared",
        &[PID_BODY, ("rating", Kind::Number(1, 4), false), OURS],
    ),
    action(
        "/0/printers/actions/RefreshMaterialData",
        "Ask for the materials again",
        &[PID_BODY, OURS],
    ),
    action(
        "/0/printers/actions/EmergencyStop",
        "Stop at once. Never counted against the limit",
        &[PID_BODY, OURS],
    ),
    action(
        "/0/printers/actions/HeatersOff",
        "All heaters off",
        &[PID_BODY, OURS],
    ),
    action(
        "/0/printers/actions/Reconnect",
        "Close the connection to the printer and open it again",
        &[PID_BODY, OURS],
    ),
    action(
        "/0/printers/actions/KeepWarm",
        "Stay hot for longer",
        &[PID_BODY, ("minutes", Kind::Number(0, 1440), true), OURS],
    ),
    action(
        "/0/printers/actions/Answer",
        "Press a button of a prompt",
        &[PID_BODY, ("button", Kind::Number(0, 255), true), OURS],
    ),
    get("/0/printers/notification/Get", R, "Open notices", &[PID_QUERY]),
    post(
        "/0/printers/notification/Resolve",
        Scope::Control,
        "Press buttons of notices, or close them",
        &[PID_BODY, ("notifications", Kind::List, true)],
    ),
    post(
        "/0/printers/notification/ResolveAll",
        Scope::Control,
        "Close every notice",
        &[("pid", Kind::Pids, false)],
    ),
    get("/0/files/ListExisting", R, "Uploaded files", &[]),
    post(
        "/0/jobs/GetPaginatedPrintJobs",
        R,
        "The history",
        &[
            ("page", Kind::Number(1, 1_000_000), true),
            ("page_size", Kind::Number(1, 100), true),
            ("printer_ids", Kind::List, false),
            ("accepted_statuses", Kind::List, false),
            ("status", Kind::List, false),
            ("search", Kind::Text(200), false),
            ("start_date", Kind::Any, false),
            ("end_date", Kind::Any, false),
        ],
    ),
    get(
        "/0/jobs/GetDetails",
        R,
        "One job, by number or uid",
        &[("id", Kind::Text(64), true)],
    ),
    stream(
        "/0/events",
        R,
        "What changes: server-sent events `printer`, `notice` and `gone`",
        "text/event-stream",
    ),
    get("/0/webhooks/Get", A, "Webhooks", &[]),
    post(
        "/0/webhooks/Create",
        A,
        "Make or change a webhook",
        &[
            ("id", Kind::Number(1, 4_294_967_295), false),
            ("name", Kind::Text(100), true),
            ("description", Kind::Text(500), false),
            ("url", Kind::Text(2000), true),
            ("secret", Kind::Text(200), false),
            ("enabled", Kind::Switch, false),
            ("events", Kind::Events, true),
        ],
    ),
    post(
        "/0/webhooks/Delete",
        A,
        "Forget a webhook",
        &[("id", Kind::Number(1, 4_294_967_295), true)],
    ),
    post(
        "/0/webhooks/SetEnabled",
        A,
        "Switch a webhook on or off",
        &[
            ("id", Kind::Number(1, 4_294_967_295), true),
            ("enabled", Kind::Switch, true),
        ],
    ),
    post(
        "/0/webhooks/TriggerTestWebhook",
        A,
        "Send the event `test`",
        &[("id", Kind::Number(1, 4_294_967_295), true)],
    ),
    post(
        "/0/webhooks/GetLogs",
        A,
        "Deliveries",
        &[
            ("webhook_id", Kind::Number(1, 4_294_967_295), true),
            PAGE,
            ("page_size", Kind::Number(1, 100), false),
            (
                "sort_id",
                Kind::Word(&["createdAt", "statusCode", "durationMs", "attempts"]),
                false,
            ),
            ("sort_dir", Kind::Word(&["asc", "desc"]), false),
            ("start_date", Kind::Any, false),
            ("end_date", Kind::Any, false),
        ],
    ),
    post(
        "/0/webhooks/Replay",
        A,
        "Send a delivery again",
        &[("id", Kind::Number(1, 4_294_967_295), true)],
    ),
    get("/0/agent/keys/Get", A, "Keys, without the keys themselves", &[]),
    post(
        "/0/agent/keys/Create",
        A,
        "Make a key; the answer shows it once",
        &[
            ("name", Kind::Text(64), true),
            ("scopes", Kind::Text(200), false),
            ("expires_s", Kind::Number(1, 3_162_240_000), false),
        ],
    ),
    post(
        "/0/agent/keys/Revoke",
        A,
        "A key opens nothing any more",
        &[("id", Kind::Any, false), ("name", Kind::Text(64), false)],
    ),
    post(
        "/0/agent/Drain",
        A,
        "Finish what prints, start nothing new",
        &[("on", Kind::Switch, true)],
    ),
    stream(
        "/0/agent/Backup",
        A,
        "A copy of the database; it holds credentials",
        "application/vnd.sqlite3",
    ),
    stream(
        "/metrics",
        R,
        "Numbers for Prometheus",
        "application/openmetrics-text",
    ),
    open("/healthz", "200 when it works", Gives::Stream("application/json")),
    open(
        "/readyz",
        "200 when it takes prints",
        Gives::Stream("application/json"),
    ),
    open(
        "/openapi.json",
        "This document",
        Gives::Stream("application/json"),
    ),
];

fn schema(kind: Kind) -> Value {
    match kind {
        Kind::Number(least, most) => json!({"type": "integer", "minimum": least, "maximum": most}),
        Kind::Text(most) => json!({"type": "string", "maxLength": most}),
        Kind::Switch => json!({"type": "boolean"}),
        Kind::Word(words) => json!({"type": "string", "enum": words}),
        Kind::Pids => json!({"oneOf": [
            {"type": "integer"}, {"type": "string"}, {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 1000},
        ]}),
        Kind::List => json!({"type": "array", "items": {}, "maxItems": 1000}),
        Kind::Events => {
            json!({"type": "array", "items": {"type": "string", "enum": EVENTS}, "minItems": 1, "maxItems": 100})
        }
        Kind::Any => json!({}),
        Kind::Object => json!({"type": "object"}),
    }
}

pub(super) fn operation(route: &Route) -> Value {
    let failure = json!({
        "description": "What is wrong", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Failure"}}},
    });
    let good = match route.gives {
        Gives::Envelope => json!({"application/json": {"schema": {"$ref": "#/components/schemas/Envelope"}}}),
        Gives::Stream(kind) => json!({kind: {}}),
    };
    let parameters: Vec<Value> = route
        .query
        .iter()
        .map(|(name, kind, required)| json!({"name": name, "in": "query", "required": required, "schema": schema(*kind)}))
        .collect();
    let mut out = json!({
        "summary": route.summary,
        "parameters": parameters,
        "responses": {"200": {"description": "Done, or refused with `status: false` and the reason", "content": good}, "default": failure},
        "security": [],
    });
    let Value::Object(members) = &mut out else {
        return out;
    };
    if let Some(scope) = route.scope {
        members.insert("security".into(), json!([{"key": []}, {"bearer": []}]));
        members.insert("x-scope".into(), json!(scope.word()));
    }
    if let Some(body) = route.body {
        let properties: Map<String, Value> = body
            .iter()
            .map(|(n, k, _)| ((*n).to_owned(), schema(*k)))
            .collect();
        let required: Vec<&str> = body
            .iter()
            .filter(|(_, _, required)| *required)
            .map(|(n, _, _)| *n)
            .collect();
        let schema = json!({"type": "object", "properties": properties, "required": required});
        members.insert(
            "requestBody".into(),
            json!({"required": true, "content": {"application/json": {"schema": schema}}}),
        );
    }
    out
}

/// The upload is the one form.
fn upload() -> Value {
    let mut out = operation(&post(
        "/0/files/Upload",
        Scope::Files,
        "Bring a file, whole or in parts; starts nothing",
        &[],
    ));
    let form = json!({
        "type": "object", "required": ["file"],
        "properties": {
            "totalSize": {"type": "integer", "minimum": 1}, "continueToken": {"type": "string"},
            "file": {"type": "string", "format": "binary"},
        },
    });
    if let Value::Object(members) = &mut out {
        members.insert(
            "requestBody".into(),
            json!({"required": true, "content": {"multipart/form-data": {"schema": form}}}),
        );
    }
    out
}

/// The whole document, with these paths beside those of the native shape.
pub fn document(further: Map<String, Value>) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let methods = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Value::Object(methods) = methods {
            methods.insert(route.method.to_owned(), operation(route));
        }
    }
    paths.insert("/0/files/Upload".to_owned(), json!({"post": upload()}));
    paths.extend(further);
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
