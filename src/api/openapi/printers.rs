//! The routes of printers.

use super::route::{Kind, OURS, PAGE, PID_BODY, PID_QUERY, Part, Route, action, by_query, get, post, stream};
use crate::api::access::Scope;

const LIST_QUERY: &[Part] = &[
    ("pid", Kind::PidList, false),
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

/// What `SendGcode` knows by name.
const MACROS: &[&str] = &[
    "home",
    "extrude",
    "retract",
    "disable_motors",
    "is_start",
    "is_end",
    "is_cancel",
    "is_pause",
    "is_resume",
    "is_autoprint_clear",
    "is_autoprint_on_end",
];

/// One printer, no list.
const ONE_QUERY: Part = ("pid", Kind::Pid, true);

const R: Scope = Scope::Read;

pub(super) const ROUTES: &[Route] = &[
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
            ONE_QUERY,
            ("wire", Kind::Any, false),
            ("last", Kind::Number(1, 2000), false),
        ],
    ),
    get(
        "/0/printers/GetCounters",
        R,
        "Hours, prints and filament",
        &[("pid", Kind::PidList, false)],
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
        &[ONE_QUERY],
    ),
    get(
        "/0/files/GetAnalysis",
        R,
        "What a file holds, and whether a printer can print it",
        &[
            ("id", Kind::Form("^[0-9a-fA-F]+$", 255), true),
            ("pid", Kind::Pid, false),
            ("plate", Kind::Number(1, 1000), false),
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
        &[PID_BODY, ("object_ids", Kind::Objects, true), OURS],
    ),
    action(
        "/0/printers/actions/SendGcode",
        "Send G-code, or a macro",
        &[
            PID_BODY,
            ("snippet_id", Kind::Any, false),
            ("gcode", Kind::Lines, false),
            ("macro", Kind::Word(MACROS), false),
            ("macro_context", Kind::Object, false),
            OURS,
        ],
    ),
    action(
        "/0/printers/actions/CreateJob",
        "Print a file that was uploaded, or an earlier job again",
        &[
            PID_BODY,
            ("file_id", Kind::Form("^[0-9a-fA-F]+$", 255), false),
            ("filesystem", Kind::Form("^[0-9a-fA-F]+$", 255), false),
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
        "/0/printers/actions/Recover",
        "How an interrupted print would go on; with `layerd.confirm` it does",
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
    get(
        "/0/printers/GetPendingPrintStatus",
        R,
        "Prints that are checked and wait for the word to heat",
        &[PID_QUERY],
    ),
    get(
        "/0/printers/autoprint/CheckState",
        R,
        "What each bed waits for",
        &[PID_QUERY],
    ),
    get(
        "/0/printers/autoprint/GetAutoPrintSettings",
        R,
        "How the bed is cleared",
        &[ONE_QUERY],
    ),
    post(
        "/0/printers/autoprint/SetEnabled",
        Scope::Control,
        "Whether the bed is cleared by itself",
        &[PID_BODY, ("on", Kind::Switch, true)],
    ),
    post(
        "/0/printers/autoprint/SetClearedBedsAmount",
        Scope::Control,
        "So many beds count as cleared in a row",
        &[PID_BODY, ("amount", Kind::Number(0, 100_000), true)],
    ),
    by_query(
        post(
            "/0/printers/autoprint/SaveAutoPrintSettings",
            Scope::Control,
            "When the bed is cleared",
            &[
                ("useDefault", Kind::Word(&["org", "model", "1", "0"]), true),
                ("saveAsDefault", Kind::Word(&["org", "model", "1", "0"]), false),
                ("bedReleaseTemp", Kind::Number(0, 999), false),
                ("autoReleaseTime", Kind::Number(0, 86_400), false),
                ("maxPrints", Kind::Number(0, 10_000), false),
                ("ackNoGcode", Kind::Switch, false),
                ("method", Kind::Text(100), false),
                ("variant", Kind::Text(100), false),
                ("clearTimeout", Kind::Number(0, 3600), false),
                ("aiBedCheck", Kind::Switch, false),
                ("alwaysClear", Kind::Switch, false),
            ],
        ),
        &[ONE_QUERY],
    ),
    get("/0/printers/notification/Get", R, "Open notices", &[PID_QUERY]),
    post(
        "/0/printers/notification/Resolve",
        Scope::Control,
        "Press buttons of notices, or close them",
        &[PID_BODY, ("notifications", Kind::Notices, true)],
    ),
    post(
        "/0/printers/notification/ResolveAll",
        Scope::Control,
        "Close every notice",
        &[("pid", Kind::Pids, false)],
    ),
    by_query(
        get(
            "/0/printers/notification/ResolveAll",
            Scope::Control,
            "The same by GET: with a key only",
            &[],
        ),
        &[("pid", Kind::PidList, false)],
    ),
    stream(
        "/0/printers/GetPicture",
        R,
        "A picture of the camera",
        &[ONE_QUERY, ("live", Kind::Any, false)],
        "image/jpeg",
    ),
];
