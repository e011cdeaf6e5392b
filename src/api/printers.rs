//! `printers/Get`, and the logs of a printer.

use axum::Json as Answer;
use axum::extract::State;
use serde_json::{Map, Value};

use super::envelope::Problem;
use super::incoming::{Json, Params};
use super::{Api, pid, row, view};
use crate::agent::handle::PrinterHandle;
use crate::host::health::Host;
use crate::json::json;
use crate::sorted;

/// Largest page by GET and by POST (documented), and the one without a wish.
const PAGE_MAX_BY_GET: u32 = 25;
const PAGE_MAX_BY_POST: u32 = 100;
const PAGE_DEFAULT: u32 = 25;

/// Longest search, characters.
const SEARCH_MAX: usize = 200;

/// Lines of a log: at most, and without a wish.
const LOGS_MAX: u32 = 2000;
const LOGS_DEFAULT: u32 = 1000;

/// Columns to sort by: those of GET and those of POST.
const ORDERS: &[&str] = &["status", "name", "online", "last_online", "ui", "created"];
const SORTS: &[&str] = &["name", "sku", "mac", "created"];
const DIRECTIONS: &[&str] = &["asc", "desc"];

/// Longest list of columns, characters.
const COLUMNS_MAX: usize = 1000;

struct Listing<'a> {
    page: u32,
    page_size: u32,
    search: Option<&'a str>,
    order: Option<&'a str>,
    descending: bool,
}

/// By GET: everything in the query.
pub async fn by_get(State(api): State<Api>, params: Params) -> Result<Answer<Value>, Problem> {
    if let Some(text) = params.text("pid") {
        return by_pid(&api, text, &params);
    }
    let listing = Listing {
        page: params.page()?.unwrap_or(1),
        page_size: params
            .number("page_size", 1, PAGE_MAX_BY_GET)?
            .unwrap_or(PAGE_DEFAULT),
        search: params.text("search"),
        order: params.word("order_by", ORDERS)?,
        descending: params.word("sort_dir", DIRECTIONS)? == Some("desc"),
    };
    list(&api, &listing, &params)
}

/// By POST: the page and the search in the body, the columns in the query.
pub async fn by_post(State(api): State<Api>, params: Params, body: Json) -> Result<Answer<Value>, Problem> {
    if let Some(text) = params.text("pid") {
        return by_pid(&api, text, &params);
    }
    let listing = Listing {
        page: body.page()?.or(params.page()?).unwrap_or(1),
        page_size: match body.number("page_size", 1, PAGE_MAX_BY_POST)? {
            Some(size) => size,
            None => params
                .number("page_size", 1, PAGE_MAX_BY_GET)?
                .unwrap_or(PAGE_DEFAULT),
        },
        search: body.text("search", SEARCH_MAX)?,
        order: body.word("sort_id", SORTS)?.or(params.word("order_by", ORDERS)?),
        descending: body.word("sort_dir", DIRECTIONS)? == Some("desc"),
    };
    list(&api, &listing, &params)
}

/// One printer is an object and several are a list (documented for one).
fn by_pid(api: &Api, text: &str, params: &Params) -> Result<Answer<Value>, Problem> {
    let printers = api.printers(&pid::pids(Some(text), &Value::Null)?)?;
    let mut rows = printers
        .iter()
        .map(|p| trimmed(api, p, params))
        .collect::<Result<Vec<_>, _>>()?;
    let data = if rows.len() == 1 {
        rows.pop()
    } else {
        Some(json!(rows))
    };
    Ok(Answer(json!({"status": true, "message": null, "data": data})))
}

fn list(api: &Api, listing: &Listing<'_>, params: &Params) -> Result<Answer<Value>, Problem> {
    if listing.search.is_some_and(|s| s.chars().count() > SEARCH_MAX) {
        return Err(Problem::bad(format!(
            "`search` takes at most {SEARCH_MAX} characters."
        )));
    }
    let mut printers = api.agent.printers();
    if let Some(search) = listing.search.map(str::trim).filter(|s| !s.is_empty()) {
        let search = search.to_lowercase();
        let host = api.host.borrow().clone();
        printers.retain(|p| matches(p, &host, &search));
    }
    match listing.order {
        Some("name") => sorted::by(&mut printers, |a, b| a.name().cmp(b.name())),
        Some("status") => sorted::by_key(&mut printers, |p| p.snapshot().state.word().as_str()),
        Some("online" | "last_online") => sorted::by_key(&mut printers, |p| p.snapshot().state.offline),
        Some("created") => sorted::by_key(&mut printers, PrinterHandle::id),
        _ => {}
    }
    if listing.descending {
        printers.reverse();
    }
    let total = printers.len();
    let size = usize::try_from(listing.page_size).unwrap_or(1).max(1);
    let before = usize::try_from(listing.page.saturating_sub(1))
        .unwrap_or(usize::MAX)
        .saturating_mul(size);
    let data: Vec<Value> = printers
        .iter()
        .skip(before)
        .take(size)
        .map(|p| trimmed(api, p, params))
        .collect::<Result<_, _>>()?;
    let pages = total.div_ceil(size).max(1);
    Ok(Answer(
        json!({"status": true, "message": null, "page_amount": pages, "total": total, "data": data}),
    ))
}

/// Documented: id, name, the machine, its addresses; the other searched fields are the cloud's.
fn matches(printer: &PrinterHandle, host: &Host, search: &str) -> bool {
    let snapshot = printer.snapshot();
    let firmware = snapshot.state.firmware.as_ref();
    let machine = firmware.and_then(|f| f.machine.as_deref());
    let of_host = [host.board.as_deref(), host.ip.as_deref(), host.mac.as_deref()];
    let mut texts = [Some(printer.name()), machine]
        .into_iter()
        .chain(of_host)
        .flatten();
    printer.id().to_string() == search || texts.any(|text| text.to_lowercase().contains(search))
}

/// Drops the members and columns that were not asked for.
fn trimmed(api: &Api, printer: &PrinterHandle, params: &Params) -> Result<Value, Problem> {
    let mut row = row::row(api, printer);
    let Value::Object(members) = &mut row else {
        return Ok(row);
    };
    for name in ["printer", "filament", "job", "notifications"] {
        if params.has(&format!("no_{name}")) {
            members.remove(name);
        }
    }
    for name in ["printer", "filament", "job"] {
        let Some(columns) = params.short(&format!("{name}_columns"), COLUMNS_MAX)? else {
            continue;
        };
        if let Some(Value::Object(member)) = members.get_mut(name) {
            let kept: Map<String, Value> = columns
                .split(',')
                .map(str::trim)
                .filter(|c| !c.is_empty())
                .map(|c| {
                    let extra = || {
                        (name == "printer")
                            .then(|| row::column(api, printer, c))
                            .flatten()
                    };
                    let value = member.get(c).cloned().or_else(extra);
                    (c.to_owned(), value.unwrap_or(Value::Null))
                })
                .collect();
            *member = kept;
        }
    }
    Ok(row)
}

/// `printers/GetLogs?pid=&wire=1&last=`: what happened to a printer, also before a restart, or its last
/// raw traffic.
pub async fn logs(State(api): State<Api>, params: Params) -> Result<Answer<Value>, Problem> {
    let printers = api.printers(&pid::pids(params.text("pid"), &Value::Null)?)?;
    let [printer] = printers.as_slice() else {
        return Err(Problem::bad("Logs are given for one printer at a time."));
    };
    let wished = params.number("last", 1, LOGS_MAX)?;
    let last = usize::try_from(wished.unwrap_or(LOGS_DEFAULT)).unwrap_or(usize::MAX);
    let mut lines: Vec<String> = if params.is_on("wire") {
        printer.wire().dump()
    } else {
        // A disk that does not answer must not hide what happened since the start.
        let kept = api.agent.store().journal(printer.name(), last).await;
        let kept = kept.unwrap_or_else(|_| printer.journal().lines());
        kept.iter()
            .map(|l| format!("{} {}", view::rfc3339(l.at), l.text))
            .collect()
    };
    // The ring of raw traffic is bounded in bytes and comes whole.
    if wished.is_some() {
        lines.drain(..lines.len().saturating_sub(last));
    }
    Ok(Answer(json!({"status": true, "message": null, "lines": lines})))
}
