//! One row of the table of routes: what it takes, needs and gives. Pure.

use crate::api::access::Scope;

/// How a parameter or a member of a body looks.
#[derive(Clone, Copy)]
pub(in crate::api) enum Kind {
    /// A number from … to ….
    Number(i64, i64),
    /// A text of at most so many characters.
    Text(u32),
    Switch,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A text of this form, of at most so many characters.
    Form(&'static str, u32),
    /// One printer.
    Pid,
    /// Printers in a query: numbers with commas.
    PidList,
    /// Printers in a body: a number, a text of numbers with commas, or a list.
    Pids,
    /// A text of lines, or a list of them.
    Lines,
    /// Objects of a print, by number or name.
    Objects,
    /// Notices, each with what becomes of it.
    Notices,
    /// A list of these words.
    Words(&'static [&'static str]),
    /// A list of numbers.
    Numbers,
    /// A list of at least one known event.
    Events,
    /// Several forms are documented.
    Any,
    Object,
    /// A file.
    File,
}

/// A parameter: name, form, whether it has to be there.
pub(in crate::api) type Part = (&'static str, Kind, bool);

/// What comes back when all is well.
#[derive(Clone, Copy)]
pub(in crate::api) enum Gives {
    Envelope,
    /// Something of this type.
    Stream(&'static str),
    /// JSON of another program's shape.
    Foreign,
    /// Nothing: 204.
    Nothing,
    /// The way to the page: 303.
    Elsewhere,
}

/// What a request carries.
#[derive(Clone, Copy)]
pub(in crate::api) enum Body {
    None,
    /// JSON; every member of it may be left out in a route where none has to be there.
    Json(&'static [Part]),
    /// A form.
    Form(&'static [Part]),
}

/// One route. `{…}` in a path is a text.
#[derive(Clone, Copy)]
pub(in crate::api) struct Route {
    pub method: &'static str,
    pub path: &'static str,
    pub scope: Option<Scope>,
    pub summary: &'static str,
    pub query: &'static [Part],
    pub body: Body,
    pub gives: Gives,
    /// Status of success.
    pub status: &'static str,
}

pub(in crate::api) const PID_QUERY: Part = ("pid", Kind::PidList, true);
pub(in crate::api) const PID_BODY: Part = ("pid", Kind::Pids, true);
pub(in crate::api) const OURS: Part = ("layerd", Kind::Object, false);
pub(in crate::api) const PAGE: Part = ("page", Kind::Number(1, 1_000_000), false);

pub(in crate::api) const fn get(
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
        body: Body::None,
        gives: Gives::Envelope,
        status: "200",
    }
}

pub(in crate::api) const fn post(
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
        body: Body::Json(body),
        gives: Gives::Envelope,
        status: "200",
    }
}

pub(in crate::api) const fn action(
    path: &'static str,
    summary: &'static str,
    body: &'static [Part],
) -> Route {
    post(path, Scope::Control, summary, body)
}

pub(in crate::api) const fn open(path: &'static str, summary: &'static str, gives: Gives) -> Route {
    Route {
        method: "get",
        path,
        scope: None,
        summary,
        query: &[],
        body: Body::None,
        gives,
        status: "200",
    }
}

pub(in crate::api) const fn stream(
    path: &'static str,
    scope: Scope,
    summary: &'static str,
    query: &'static [Part],
    kind: &'static str,
) -> Route {
    giving(get(path, scope, summary, query), "200", Gives::Stream(kind))
}

pub(in crate::api) const fn giving(mut route: Route, status: &'static str, gives: Gives) -> Route {
    route.status = status;
    route.gives = gives;
    route
}

/// `pid` in the query instead of the body.
pub(in crate::api) const fn by_query(mut route: Route, query: &'static [Part]) -> Route {
    route.query = query;
    route
}
