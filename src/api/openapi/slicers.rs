//! The routes of slicers, below `/p/{printer}`.

use super::route::{Body, Gives, Kind, Part, Route, giving};
use crate::api::access::Scope;

/// For slicers: below `/p/{printer}`.
const fn slicer(method: &'static str, path: &'static str, summary: &'static str, body: Body) -> Route {
    Route {
        method,
        path,
        scope: Some(Scope::Files),
        summary,
        query: &[],
        body,
        gives: Gives::Foreign,
        status: "200",
    }
}

const SLICED: &[Part] = &[
    ("file", Kind::File, true),
    ("print", Kind::Any, false),
    ("path", Kind::Any, false),
    ("root", Kind::Any, false),
];

pub(super) const ROUTES: &[Route] = &[
    slicer(
        "get",
        "/p/{printer}/api/version",
        "OctoPrint: the test button",
        Body::None,
    ),
    slicer(
        "get",
        "/p/{printer}/api/server",
        "OctoPrint: version and state",
        Body::None,
    ),
    slicer("get", "/p/{printer}/api/login", "OctoPrint: who asks", Body::None),
    slicer(
        "post",
        "/p/{printer}/api/login",
        "OctoPrint: who asks",
        Body::None,
    ),
    slicer(
        "get",
        "/p/{printer}/api/settings",
        "OctoPrint: settings",
        Body::None,
    ),
    slicer(
        "get",
        "/p/{printer}/api/printer",
        "OctoPrint: state and temperatures",
        Body::None,
    ),
    slicer("get", "/p/{printer}/api/job", "OctoPrint: the print", Body::None),
    slicer(
        "get",
        "/p/{printer}/api/printerprofiles",
        "OctoPrint: profiles",
        Body::None,
    ),
    giving(
        slicer(
            "post",
            "/p/{printer}/api/files/local",
            "OctoPrint: upload, and print if asked",
            Body::Form(SLICED),
        ),
        "201",
        Gives::Foreign,
    ),
    giving(
        slicer(
            "post",
            "/p/{printer}/api/files/local/{name}",
            "OctoPrint: print a file that was uploaded",
            Body::Json(&[
                ("command", Kind::Word(&["select"]), true),
                ("print", Kind::Any, false),
            ]),
        ),
        "204",
        Gives::Nothing,
    ),
    Route {
        method: "post",
        path: "/p/{printer}/api/printer/command",
        scope: Some(Scope::Control),
        summary: "OctoPrint: G-code, by the rules of SendGcode",
        query: &[],
        body: Body::Json(&[("commands", Kind::Any, true)]),
        gives: Gives::Nothing,
        status: "204",
    },
    slicer(
        "get",
        "/p/{printer}/server/info",
        "Moonraker: the test button",
        Body::None,
    ),
    slicer(
        "get",
        "/p/{printer}/server/files/roots",
        "Moonraker: places for files",
        Body::None,
    ),
    giving(
        slicer(
            "post",
            "/p/{printer}/server/files/upload",
            "Moonraker: upload, and print if asked",
            Body::Form(SLICED),
        ),
        "201",
        Gives::Foreign,
    ),
    slicer(
        "post",
        "/p/{printer}/printer/print/start",
        "Moonraker: print a file that was uploaded",
        Body::Json(&[("filename", Kind::Any, true)]),
    ),
];
