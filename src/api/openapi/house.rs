//! The routes of files, jobs, webhooks, keys and of the host itself.

use super::route::{Body, Gives, Kind, PAGE, Route, get, giving, open, post, stream};
use crate::api::access::Scope;

const R: Scope = Scope::Read;
const A: Scope = Scope::Admin;

/// Words of both kinds are taken.
const STATUSES: &[&str] = &["ongoing", "cancelled", "failed", "finished", "done"];

/// Lines of the owner's own.
const MACROS: &[&str] = &[
    "is_start",
    "is_end",
    "is_cancel",
    "is_pause",
    "is_resume",
    "is_autoprint_clear",
    "is_autoprint_on_end",
];

/// Ours, with commas.
const SCOPES: &str = "^(read|control|files|admin)(,(read|control|files|admin))*$";

pub(super) const ROUTES: &[Route] = &[
    Route {
        method: "post",
        path: "/0/files/Upload",
        scope: Some(Scope::Files),
        summary: "Bring a file, whole or in parts; starts nothing",
        query: &[],
        body: Body::Form(&[
            ("totalSize", Kind::Number(1, i64::MAX), false),
            ("continueToken", Kind::Text(4096), false),
            ("file", Kind::File, true),
        ]),
        gives: Gives::Envelope,
        status: "200",
    },
    get("/0/files/ListExisting", R, "Uploaded files", &[]),
    get(
        "/0/gcode_macros/GetOverview",
        R,
        "Macros and snippets of the configuration",
        &[],
    ),
    get(
        "/0/gcode_macros/GetSnippet",
        R,
        "One snippet, by number or name",
        &[("id", Kind::Text(255), true)],
    ),
    get(
        "/0/gcode_macros/GetMacroGcode",
        R,
        "The lines of a macro as they would be sent",
        &[
            ("macro", Kind::Word(MACROS), true),
            ("printer", Kind::PidList, false),
        ],
    ),
    post(
        "/0/jobs/GetPaginatedPrintJobs",
        R,
        "The history",
        &[
            ("page", Kind::Number(1, 1_000_000), true),
            ("page_size", Kind::Number(1, 100), true),
            ("printer_ids", Kind::Numbers, false),
            ("accepted_statuses", Kind::Words(STATUSES), false),
            ("status", Kind::Words(STATUSES), false),
            ("search", Kind::Text(200), false),
            ("start_date", Kind::Any, false),
            ("end_date", Kind::Any, false),
        ],
    ),
    get(
        "/0/jobs/GetDetails",
        R,
        "One job, by number or uid",
        &[(
            "id",
            Kind::Form(
                "^([1-9][0-9]{0,17}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})$",
                64,
            ),
            true,
        )],
    ),
    stream(
        "/0/events",
        R,
        "What changes: server-sent events `printer`, `notice` and `gone`",
        &[],
        "text/event-stream",
    ),
    stream("/events", R, "The same at the top", &[], "text/event-stream"),
    get("/0/webhooks/Get", A, "Webhooks", &[]),
    post(
        "/0/webhooks/Create",
        A,
        "Make or change a webhook",
        &[
            ("id", Kind::Number(1, 4_294_967_295), false),
            ("name", Kind::Text(100), true),
            ("description", Kind::Text(500), false),
            (
                "url",
                Kind::Form("^https?://[a-z0-9.-]+(:[0-9]{2,4})?/", 2000),
                true,
            ),
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
            ("scopes", Kind::Form(SCOPES, 200), false),
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
        &[],
        "application/vnd.sqlite3",
    ),
    stream(
        "/metrics",
        R,
        "Numbers for Prometheus",
        &[],
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
    open("/", "The page", Gives::Stream("text/html")),
    open("/docs", "This document for people", Gives::Stream("text/html")),
    open("/page/{name}", "A file of the page", Gives::Stream("*/*")),
    giving(
        open("/p/{printer}", "The page of a printer", Gives::Elsewhere),
        "303",
        Gives::Elsewhere,
    ),
    giving(
        open("/p/{printer}/", "The same", Gives::Elsewhere),
        "303",
        Gives::Elsewhere,
    ),
];
