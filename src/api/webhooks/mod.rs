//! `webhooks/*`: other programs that want to hear of prints. Messages and routes are those of the cloud;
//! `Replay` is ours.

pub mod deliver;
pub mod notable;
pub mod target;

use axum::Json as Answer;
use axum::extract::State;
use jiff::SignedDuration;
use serde_json::Value;

use super::envelope::Problem;
use super::incoming::Json;
use super::{Api, jobs, view};
use crate::agent::clock;
use crate::job::store::{DeliveryFilter, DeliveryRow, DeliverySort, WEBHOOKS_MAX, WebhookRow};
use crate::json::json;
use notable::{CLOUD_EVENTS, EVENTS};

/// What deliveries are sorted by.
const SORTS: &[&str] = &["createdAt", "statusCode", "durationMs", "attempts"];

const NAME_MAX: usize = 100;
const DESCRIPTION_MAX: usize = 500;
const SECRET_MAX: usize = 200;
const PAGE_MAX: u32 = 100;

/// `webhooks/Get`. Secrets are not shown.
pub(super) async fn list(State(api): State<Api>) -> Result<Answer<Value>, Problem> {
    let rows = api.agent.store().webhooks().await.map_err(jobs::database)?;
    let data: Vec<Value> = rows.iter().map(shown).collect();
    Ok(Answer(
        json!({"status": true, "message": null, "data": data, "oauth_clients": []}),
    ))
}

/// `webhooks/Create`; with an `id` it changes that one.
pub(super) async fn create(State(api): State<Api>, body: Json) -> Result<Answer<Value>, Problem> {
    let old = match body.0.get("id").filter(|v| !v.is_null()) {
        None => None,
        Some(_) => Some(find(&api, id(&body, "id")?).await?),
    };
    let now = clock::now().wall;
    let text = |name: &str, most: usize| {
        Ok::<_, Problem>(body.text(name, most)?.map(str::trim).filter(|t| !t.is_empty()))
    };
    let required = |name: &str| Problem::bad(format!("`{name}` is required."));
    let url = text("url", 2000)?.ok_or_else(|| required("url"))?;
    api.post
        .target
        .url(url)
        .map_err(|e| Problem::bad(format!("{e}.")))?;
    let secret = match body.0.get("secret") {
        // What is shown in place of a secret, sent back, changes nothing.
        None => old.as_ref().and_then(|o| o.secret.clone()),
        Some(Value::String(mask)) if mask == MASK => old.as_ref().and_then(|o| o.secret.clone()),
        Some(_) => text("secret", SECRET_MAX)?.map(str::to_owned),
    };
    if secret
        .as_ref()
        .is_some_and(|s| !s.bytes().all(|b| (0x20..0x7f).contains(&b)))
    {
        return Err(Problem::bad(
            "`secret` takes letters, digits and signs of ASCII: it is sent in a header.",
        ));
    }
    let row = WebhookRow {
        id: old.as_ref().map_or(0, |o| o.id),
        name: text("name", NAME_MAX)?
            .ok_or_else(|| required("name"))?
            .to_owned(),
        description: text("description", DESCRIPTION_MAX)?.map(str::to_owned),
        url: url.to_owned(),
        secret,
        enabled: body.switch("enabled")?.unwrap_or(true),
        events: events(&body)?,
        created: old.as_ref().map_or(now, |o| o.created),
        updated: now,
        dialect: old.as_ref().map(|o| o.dialect.clone()).unwrap_or_default(),
        max_attempts: old.as_ref().and_then(|o| o.max_attempts),
        backoff_s: old.as_ref().and_then(|o| o.backoff_s),
    };
    let row = keep(&api, row).await?;
    Ok(Answer(
        json!({"status": true, "message": null, "webhook": shown(&row)}),
    ))
}

/// Keeps a webhook; from the answer on it is told.
pub(super) async fn keep(api: &Api, row: WebhookRow) -> Result<WebhookRow, Problem> {
    let store = api.agent.store();
    let kept = store.webhook_put(row.clone()).await.map_err(jobs::database)?;
    let id = kept.ok_or_else(|| {
        Problem::said(format!(
            "There are {WEBHOOKS_MAX} webhooks already. Delete one first."
        ))
        .coded("refused/too-many")
    })?;
    api.post.reload(store).await.map_err(jobs::database)?;
    api.post.begin(&api.agent);
    Ok(WebhookRow { id, ..row })
}

fn events(body: &Json) -> Result<String, Problem> {
    let list = body
        .0
        .get("events")
        .and_then(Value::as_array)
        .filter(|l| (1..=100).contains(&l.len()));
    let list = list.ok_or_else(|| Problem::bad("`events` must be a list of at least one event."))?;
    let mut words: Vec<&str> = Vec::new();
    for event in list {
        let mut all = EVENTS.iter().chain(CLOUD_EVENTS);
        let known = event.as_str().and_then(|e| all.find(|k| **k == e));
        let known = known.ok_or_else(|| {
            let text: String = event.to_string().chars().take(60).collect();
            Problem::bad(format!(
                "There is no event {text}; this host tells of {}.",
                EVENTS.join(", ")
            ))
        })?;
        if !words.contains(known) {
            words.push(known);
        }
    }
    Ok(words.join(","))
}

/// `webhooks/Delete`: with all that waits for it.
pub(super) async fn delete(State(api): State<Api>, body: Json) -> Result<Answer<Value>, Problem> {
    let hook = find(&api, id(&body, "id")?).await?;
    let store = api.agent.store();
    store.webhook_drop(hook.id).await.map_err(jobs::database)?;
    api.post.reload(store).await.map_err(jobs::database)?;
    Ok(Answer(json!({"status": true, "message": null})))
}

/// `webhooks/SetEnabled`. What waits goes on waiting while it is off.
pub(super) async fn set_enabled(State(api): State<Api>, body: Json) -> Result<Answer<Value>, Problem> {
    let id = id(&body, "id")?;
    let enabled = body
        .switch("enabled")?
        .ok_or_else(|| Problem::bad("`enabled` is required."))?;
    let hook = find(&api, id).await?;
    let row = WebhookRow {
        enabled,
        updated: clock::now().wall,
        ..hook
    };
    let store = api.agent.store();
    store.webhook_put(row.clone()).await.map_err(jobs::database)?;
    api.post.reload(store).await.map_err(jobs::database)?;
    api.post.begin(&api.agent);
    Ok(Answer(
        json!({"status": true, "message": null, "webhook": shown(&row)}),
    ))
}

/// `webhooks/TriggerTestWebhook`: the event `test`, also to one that is switched on but did not ask for it.
pub(super) async fn test(State(api): State<Api>, body: Json) -> Result<Answer<Value>, Problem> {
    let hook = find(&api, id(&body, "id")?).await?;
    if !hook.enabled {
        return Err(Problem::said("The webhook is switched off.").coded("refused/switched-off"));
    }
    let data = json!({"company_id": api.account});
    let queued = api
        .post
        .queue(api.agent.store(), "test", &data, Some(hook.id))
        .await;
    queued.map_err(jobs::database)?;
    Ok(Answer(json!({"status": true, "message": null})))
}

/// `webhooks/Replay`: a delivery of the log once more, as it was.
pub(super) async fn replay(State(api): State<Api>, body: Json) -> Result<Answer<Value>, Problem> {
    let again = api
        .agent
        .store()
        .webhook_replay(id(&body, "id")?, clock::now().wall)
        .await;
    if again.map_err(jobs::database)?.is_none() {
        return Err(Problem::not_found("There is no such delivery (any more)."));
    }
    api.post.look();
    Ok(Answer(json!({"status": true, "message": null})))
}

/// `webhooks/GetLogs`.
pub(super) async fn logs(State(api): State<Api>, body: Json) -> Result<Answer<Value>, Problem> {
    let id = id(&body, "webhook_id")?;
    let page = body.page()?.unwrap_or(1);
    let page_size = body.number("page_size", 1, PAGE_MAX)?.unwrap_or(25);
    let sort = match body.word("sort_id", SORTS)? {
        Some("statusCode") => DeliverySort::StatusCode,
        Some("durationMs") => DeliverySort::Duration,
        Some("attempts") => DeliverySort::Attempts,
        _ => DeliverySort::Created,
    };
    let filter = DeliveryFilter {
        webhook_id: id,
        state: None,
        sort,
        ascending: body.word("sort_dir", &["asc", "desc"])? == Some("asc"),
        from: jobs::date(&body.0, "start_date", SignedDuration::ZERO)?,
        to: jobs::date(&body.0, "end_date", SignedDuration::from_hours(24))?,
        page,
        page_size,
    };
    let hook = find(&api, id).await?;
    let (rows, total) = api
        .agent
        .store()
        .webhook_deliveries(filter)
        .await
        .map_err(jobs::database)?;
    let data: Vec<Value> = rows.iter().map(|row| logged(row, &hook.url)).collect();
    let pages = total.div_ceil(u64::from(page_size)).max(1);
    Ok(Answer(
        json!({"status": true, "message": null, "page_amount": pages, "total": total, "data": data}),
    ))
}

/// Stands in the place of a secret.
const MASK: &str = "********";

fn shown(row: &WebhookRow) -> Value {
    let never = row.events.split(',').filter(|e| CLOUD_EVENTS.contains(e));
    let never: Vec<&str> = never.collect();
    json!({
        "id": row.id,
        "created_by": null,
        "name": row.name,
        "description": row.description,
        "url": row.url,
        "format": 0,
        "events": row.events.split(',').collect::<Vec<_>>(),
        "secret": row.secret.as_ref().map(|_| MASK),
        "enabled": row.enabled,
        "oauth_client_id": null,
        "created_at": view::rfc3339(row.created),
        "updated_at": view::rfc3339(row.updated),
        // What was asked for and only the cloud can tell of.
        "layerd": {"never": never},
    })
}

fn logged(row: &DeliveryRow, url: &str) -> Value {
    json!({
        "id": row.id,
        "webhook_id": row.webhook_id,
        "event": row.event,
        "succeeded": row.succeeded,
        "url": url,
        "status_code": row.status_code,
        "duration_ms": row.duration_ms,
        "request": row.body,
        "attempts": row.attempts,
        "reported": row.next.is_none() && !row.succeeded,
        "receipt_received_at": row.received.map(view::rfc3339),
        "created_at": view::rfc3339(row.created),
        "layerd": {"next": row.next.map(view::rfc3339), "error": row.error},
    })
}

async fn find(api: &Api, id: i64) -> Result<WebhookRow, Problem> {
    let rows = api.agent.store().webhooks().await.map_err(jobs::database)?;
    rows.into_iter()
        .find(|row| row.id == id)
        .ok_or_else(|| Problem::not_found("There is no such webhook."))
}

fn id(body: &Json, name: &str) -> Result<i64, Problem> {
    let number = body.number(name, 1, u32::MAX)?;
    number
        .map(i64::from)
        .ok_or_else(|| Problem::bad(format!("`{name}` is required.")))
}
