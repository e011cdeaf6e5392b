//! `printers/Get` and the logs of a printer.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::envelope::Problem;
use super::view::{self, Who};
use super::{Api, pid};
use crate::agent::clock;
use crate::agent::handle::PrinterHandle;

/// Page size by GET and by POST (documented limits), and the default.
const PAGE_MAX_QUERY: usize = 25;
const PAGE_MAX_BODY: usize = 100;
const PAGE_DEFAULT: usize = 25;

/// Query of `printers/Get`.
#[derive(Debug, Default, Deserialize)]
pub struct GetQuery {
    pid: Option<String>,
    page: Option<usize>,
    page_size: Option<usize>,
    order_by: Option<String>,
    search: Option<String>,
    printer_columns: Option<String>,
    job_columns: Option<String>,
    no_printer: Option<String>,
    no_filament: Option<String>,
    no_job: Option<String>,
    no_notifications: Option<String>,
}

/// Body of `printers/Get`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct GetBody {
    page: Option<usize>,
    page_size: Option<usize>,
    search: Option<String>,
    sort_id: Option<String>,
    sort_dir: Option<String>,
}

struct Listing<'a> {
    page: usize,
    page_size: usize,
    search: Option<&'a str>,
    sort: Option<&'a str>,
    descending: bool,
}

/// By GET.
pub async fn get_query(
    State(api): State<Api>,
    Query(query): Query<GetQuery>,
) -> Result<Json<Value>, Problem> {
    if let Some(text) = &query.pid {
        let ids = pid::pids(Some(text), &Value::Null)?;
        if let [_] = ids.as_slice() {
            let row = api.printers(&ids)?.first().map(|p| trimmed(row_of(p), &query));
            return Ok(Json(json!({"status": true, "message": null, "data": row})));
        }
    }
    let listing = Listing {
        page: query.page.unwrap_or(1),
        page_size: page_size(query.page_size, PAGE_MAX_QUERY)?,
        search: query.search.as_deref(),
        sort: query.order_by.as_deref(),
        descending: false,
    };
    list(&api, &listing, |row| trimmed(row, &query))
}

/// By POST.
pub async fn get_body(
    State(api): State<Api>,
    Query(query): Query<GetQuery>,
    body: axum::body::Bytes,
) -> Result<Json<Value>, Problem> {
    let body: GetBody = if body.iter().all(u8::is_ascii_whitespace) {
        GetBody::default()
    } else {
        serde_json::from_slice(&body).map_err(|e| {
            Problem::with(
                StatusCode::BAD_REQUEST,
                format!("The body is not the JSON expected: {e}."),
            )
        })?
    };
    let listing = Listing {
        page: body.page.unwrap_or(1),
        page_size: page_size(body.page_size, PAGE_MAX_BODY)?,
        search: body.search.as_deref(),
        sort: body.sort_id.as_deref(),
        descending: body.sort_dir.as_deref() == Some("desc"),
    };
    list(&api, &listing, |row| trimmed(row, &query))
}

fn page_size(wanted: Option<usize>, most: usize) -> Result<usize, Problem> {
    let size = wanted.unwrap_or(PAGE_DEFAULT);
    if size == 0 || size > most {
        return Err(Problem::with(
            StatusCode::BAD_REQUEST,
            format!("`page_size` must be from 1 to {most}."),
        ));
    }
    Ok(size)
}

fn list(api: &Api, listing: &Listing<'_>, trim: impl Fn(Value) -> Value) -> Result<Json<Value>, Problem> {
    if listing.page == 0 {
        return Err(Problem::with(StatusCode::BAD_REQUEST, "`page` counts from 1."));
    }
    let mut printers = api.agent.printers();
    if let Some(search) = listing.search {
        let search = search.to_lowercase();
        printers.retain(|p| p.name().to_lowercase().contains(&search) || p.id().to_string() == search);
    }
    match listing.sort {
        Some("name") => printers.sort_by(|a, b| a.name().cmp(b.name())),
        Some("status") => printers.sort_by_key(|p| p.snapshot().state.word().as_str()),
        Some("created") => printers.sort_by_key(PrinterHandle::id),
        _ => {}
    }
    if listing.descending {
        printers.reverse();
    }
    let total = printers.len();
    let pages = total.div_ceil(listing.page_size).max(1);
    let first = (listing.page - 1).saturating_mul(listing.page_size);
    let data: Vec<Value> = printers
        .iter()
        .skip(first)
        .take(listing.page_size)
        .map(|p| trim(row_of(p)))
        .collect();
    Ok(Json(
        json!({"status": true, "message": null, "page_amount": pages, "total": total, "data": data}),
    ))
}

fn row_of(printer: &PrinterHandle) -> Value {
    let snapshot = printer.snapshot();
    let who = Who {
        name: printer.name(),
        id: printer.id(),
        driver: printer.driver(),
    };
    view::row(who, &snapshot.state, snapshot.job_id, clock::now())
}

/// Drops the members and columns that were not asked for.
fn trimmed(mut row: Value, query: &GetQuery) -> Value {
    let Value::Object(members) = &mut row else {
        return row;
    };
    let drops = [
        ("printer", &query.no_printer),
        ("filament", &query.no_filament),
        ("job", &query.no_job),
        ("notifications", &query.no_notifications),
    ];
    for (name, drop) in drops {
        if drop.is_some() {
            members.remove(name);
        }
    }
    for (name, columns) in [("printer", &query.printer_columns), ("job", &query.job_columns)] {
        if let (Some(columns), Some(Value::Object(member))) = (columns, members.get_mut(name)) {
            let kept: Map<String, Value> = columns
                .split(',')
                .map(str::trim)
                .map(|c| (c.to_owned(), member.get(c).cloned().unwrap_or(Value::Null)))
                .collect();
            *member = kept;
        }
    }
    row
}

/// Query of `printers/GetLogs`.
#[derive(Debug, Deserialize)]
pub struct LogsQuery {
    pid: Option<String>,
    wire: Option<String>,
}

/// What happened to a printer lately, or its last raw traffic.
pub async fn logs(State(api): State<Api>, Query(query): Query<LogsQuery>) -> Result<Json<Value>, Problem> {
    let ids = pid::pids(query.pid.as_deref(), &Value::Null)?;
    let printers = api.printers(&ids)?;
    let [printer] = printers.as_slice() else {
        return Err(Problem::with(
            StatusCode::BAD_REQUEST,
            "Logs are given for one printer at a time.",
        ));
    };
    let wire = query.wire.as_deref().is_some_and(|w| w != "0");
    let lines: Vec<String> = if wire {
        printer.wire().dump()
    } else {
        printer
            .journal()
            .lines()
            .iter()
            .map(|l| format!("{} {}", view::rfc3339(l.at), l.text))
            .collect()
    };
    Ok(Json(json!({"status": true, "message": null, "lines": lines})))
}
