//! Webhooks in the words of both shapes. They are kept with the others: `/0/webhooks/…` lists, switches and
//! deletes them.

use axum::Json as Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::Value;

use super::shape;
use crate::agent::clock;
use crate::api::envelope::Problem;
use crate::api::incoming::{Json, Params};
use crate::api::webhooks::notable::{self, AUTOPRINTFARM, EVENTS, SOLOPRINT};
use crate::api::{Api, jobs, view, webhooks};
use crate::job::store::{DeliveryFilter, DeliveryRow, DeliveryState, WebhookRow};
use crate::json::json;

const URL_MAX: usize = 2000;
const NAME_MAX: usize = 100;
const SECRET_MAX: usize = 200;
const EVENTS_MAX: usize = 100;

/// Limits of a retry policy.
pub const ATTEMPTS_MAX: u32 = 20;
pub const BACKOFF_MAX_S: u32 = 86_400;

/// Rows of a page of deliveries.
const PAGE_MAX: u32 = 100;
const PAGE_DEFAULT: u32 = 25;

/// What is told only in SoLoPrint's shape.
pub const ASSIGNED: &str = "queue_item.assigned";

/// Documented there, and never told by a host that keeps no spools.
const NEVER_TOLD: &[&str] = &["spool_assignment.created"];

/// `POST /v1/webhooks` of AutoPrintFarm: `{url, events[], secret?}`.
pub async fn of_farm(State(api): State<Api>, body: Json) -> Result<(StatusCode, Answer<Value>), Problem> {
    let url = address(&api, &body, "url")?;
    let mut events: Vec<&str> = Vec::new();
    for word in words(&body, "events")? {
        let mut all = EVENTS.iter().copied();
        let known = all.find(|e| notable::word_in(AUTOPRINTFARM, e) == word || *e == word);
        let known = known.ok_or_else(|| unknown(word, AUTOPRINTFARM))?;
        if !events.contains(&known) {
            events.push(known);
        }
    }
    let secret = body.text("secret", SECRET_MAX)?.filter(|s| !s.is_empty());
    let now = clock::now().wall;
    let row = WebhookRow {
        id: 0,
        name: host_of(&url),
        description: None,
        url,
        secret: secret.map(str::to_owned),
        enabled: true,
        events: events.join(","),
        created: now,
        updated: now,
        dialect: AUTOPRINTFARM.to_owned(),
        max_attempts: None,
        backoff_s: None,
    };
    let row = webhooks::keep(&api, row).await?;
    let told: Vec<&str> = row
        .events
        .split(',')
        .map(|e| notable::word_in(AUTOPRINTFARM, e))
        .collect();
    let data = json!({
        "id": format!("whk_{}", row.id), "url": row.url, "events": told, "created_at": view::rfc3339(row.created),
    });
    Ok((
        StatusCode::CREATED,
        Answer(json!({"success": true, "data": data})),
    ))
}

/// `POST /v1/platform/webhooks` of SoLoPrint: `{name, endpoint_url, subscriptions[], max_attempts?,
/// retry_backoff_seconds?}`.
pub async fn of_solo(State(api): State<Api>, body: Json) -> Result<(StatusCode, Answer<Value>), Problem> {
    let url = address(&api, &body, "endpoint_url")?;
    let name = body
        .text("name", NAME_MAX)?
        .map(str::trim)
        .filter(|n| !n.is_empty());
    let name = name.ok_or_else(|| Problem::bad("`name` is required."))?;
    let mut events: Vec<&str> = Vec::new();
    let mut never = Vec::new();
    for word in words(&body, "subscriptions")? {
        if NEVER_TOLD.contains(&word) {
            never.push(word);
        } else if word != ASSIGNED && !EVENTS.contains(&word) {
            return Err(unknown(word, SOLOPRINT));
        }
        if !events.contains(&word) {
            events.push(word);
        }
    }
    let now = clock::now().wall;
    let row = WebhookRow {
        id: 0,
        name: name.to_owned(),
        description: None,
        url,
        secret: None,
        enabled: true,
        events: events.join(","),
        created: now,
        updated: now,
        dialect: SOLOPRINT.to_owned(),
        max_attempts: Some(body.number("max_attempts", 1, ATTEMPTS_MAX)?.unwrap_or(5)),
        backoff_s: Some(
            body.number("retry_backoff_seconds", 1, BACKOFF_MAX_S)?
                .unwrap_or(300),
        ),
    };
    let row = webhooks::keep(&api, row).await.map_err(|problem| {
        if problem.status.is_server_error() {
            problem.coded("refused/webhook-create-failed")
        } else {
            problem
        }
    })?;
    let shown = json!({
        "id": row.id.to_string(),
        "name": row.name,
        "endpoint_url": row.url,
        "subscriptions": events,
        "max_attempts": row.max_attempts,
        "retry_backoff_seconds": row.backoff_s,
        "created_at": view::rfc3339(row.created),
        // Accepted, because clients subscribe to all they know, and said plainly.
        "layerd": {"never_told": never},
    });
    Ok((StatusCode::CREATED, Answer(json!({"webhook": shown}))))
}

fn address(api: &Api, body: &Json, name: &str) -> Result<String, Problem> {
    let url = body.text(name, URL_MAX)?.map(str::trim).filter(|u| !u.is_empty());
    let url = url.ok_or_else(|| Problem::bad(format!("`{name}` is required.")))?;
    let judged = api.post.target.url(url);
    judged.map_err(|e| Problem::bad(format!("{e}.")).coded("refused/url-not-allowed"))?;
    Ok(url.to_owned())
}

fn host_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    host.chars().take(NAME_MAX).collect()
}

fn words<'b>(body: &'b Json, name: &str) -> Result<Vec<&'b str>, Problem> {
    let list = body.0.get(name).and_then(Value::as_array);
    let list = list.filter(|l| (1..=EVENTS_MAX).contains(&l.len()));
    let texts = list.and_then(|l| l.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
    texts.ok_or_else(|| Problem::bad(format!("`{name}` must be a list of 1 to {EVENTS_MAX} events.")))
}

fn unknown(word: &str, dialect: &str) -> Problem {
    let word: String = word.chars().take(60).collect();
    let mut known: Vec<&str> = EVENTS.iter().map(|e| notable::word_in(dialect, e)).collect();
    if dialect == SOLOPRINT {
        known.push(ASSIGNED);
    }
    let words = format!(
        "There is no event \"{word}\" on this host; known are {}.",
        known.join(", ")
    );
    Problem::bad(words).coded("refused/unknown-event")
}

fn state_word(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Queued => "queued",
        DeliveryState::Delivered => "delivered",
        DeliveryState::Failed => "failed",
    }
}

fn delivery(row: &DeliveryRow) -> Value {
    json!({
        "id": row.id.to_string(),
        "webhook_id": row.webhook_id.to_string(),
        "event": row.event,
        "state": state_word(row.state()),
        "attempts": row.attempts,
        "last_status": row.status_code,
        "last_error": row.error,
        "next_attempt_at": row.next.map(view::rfc3339),
        "created_at": view::rfc3339(row.created),
    })
}

/// `GET /v1/platform/webhook-deliveries?state=&webhook_id=&page=&page_size=`.
pub async fn deliveries(State(api): State<Api>, params: Params) -> Result<Answer<Value>, Problem> {
    let state = match params.text("state") {
        None => None,
        Some("queued") => Some(DeliveryState::Queued),
        Some("delivered") => Some(DeliveryState::Delivered),
        Some("failed") => Some(DeliveryState::Failed),
        Some(_) => return Err(Problem::bad("`state` takes queued, delivered and failed.")),
    };
    let page = params.page()?.unwrap_or(1);
    let page_size = params.number("page_size", 1, PAGE_MAX)?.unwrap_or(PAGE_DEFAULT);
    let filter = DeliveryFilter {
        webhook_id: i64::from(params.number("webhook_id", 1, u32::MAX)?.unwrap_or(0)),
        state,
        page,
        page_size,
        ..DeliveryFilter::default()
    };
    let found = api.agent.store().webhook_deliveries(filter).await;
    let (rows, total) = found.map_err(jobs::database)?;
    let rows: Vec<Value> = rows.iter().map(delivery).collect();
    Ok(Answer(
        json!({"deliveries": rows, "page": page, "page_size": page_size, "total": total}),
    ))
}

/// `POST /v1/platform/webhook-deliveries/{id}/replay`: once more, as it was.
pub async fn replay(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<(StatusCode, Answer<Value>), Problem> {
    let gone = || {
        Problem::not_found("There is no such delivery (any more).")
            .coded("refused/webhook-delivery-not-found")
    };
    let number = shape::number(&id, "").ok_or_else(gone)?;
    let again = api.agent.store().webhook_replay(number, clock::now().wall).await;
    let again = again.map_err(jobs::database)?.ok_or_else(gone)?;
    api.post.look();
    let shown = json!({"id": again.to_string(), "state": "queued", "replay_of": number.to_string()});
    Ok((StatusCode::CREATED, Answer(json!({"delivery": shown}))))
}
