//! Webhooks, and what is to be delivered to them.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::error::StoreError;
use super::{Store, rows};
use crate::sorted;

/// Most webhooks.
pub const WEBHOOKS_MAX: i64 = 50;

/// Deliveries that wait for one webhook. When there are more the oldest is given up: what is new matters
/// more to whoever comes back after a week.
const WAITING_MAX: i64 = 500;

/// Ended deliveries that are kept for one webhook.
const ENDED_MAX: i64 = 200;

/// A place that wants to hear of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookRow {
    /// Its number; 0 before it is kept.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// More words.
    pub description: Option<String>,
    /// Where to.
    pub url: String,
    /// Sent with each delivery.
    pub secret: Option<String>,
    /// Whether anything is delivered.
    pub enabled: bool,
    /// Names of events, with commas.
    pub events: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it was changed.
    pub updated: Timestamp,
    /// In whose words it is told: empty for the cloud's.
    pub dialect: String,
    /// How often a delivery is tried; `None`: as usual.
    pub max_attempts: Option<u32>,
    /// Wait after a failed attempt, seconds; `None`: as usual.
    pub backoff_s: Option<u32>,
}

/// One delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Its number.
    pub id: i64,
    /// To which webhook.
    pub webhook_id: i64,
    /// Which event.
    pub event: String,
    /// The body as it is sent, JSON.
    pub body: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next; `None`: it has ended.
    pub next: Option<Timestamp>,
    /// Whether it was taken.
    pub succeeded: bool,
    /// The last answer.
    pub status_code: Option<u16>,
    /// How long that took.
    pub duration_ms: Option<u64>,
    /// What went wrong, where there was no answer.
    pub error: Option<String>,
    /// When the event was.
    pub created: Timestamp,
    /// When the target took it.
    pub received: Option<Timestamp>,
}

/// How an attempt went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Whether it was taken.
    pub succeeded: bool,
    /// The answer.
    pub status_code: Option<u16>,
    /// How long it took.
    pub duration_ms: u64,
    /// What went wrong.
    pub error: Option<String>,
    /// When it was.
    pub at: Timestamp,
    /// When to try again; `None`: not.
    pub next: Option<Timestamp>,
}

/// Which deliveries to list.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// Of this webhook; 0: of all.
    pub webhook_id: i64,
    /// Only those that stand so.
    pub state: Option<DeliveryState>,
    /// Column to sort by.
    pub sort: DeliverySort,
    /// Smallest first.
    pub ascending: bool,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Not at or after.
    pub to: Option<Timestamp>,
    /// From 1.
    pub page: u32,
    /// Rows a page.
    pub page_size: u32,
}

/// How a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// It waits for its first or next attempt.
    Queued,
    /// The target took it.
    Delivered,
    /// It was given up.
    Failed,
}

impl DeliveryRow {
    /// How it stands.
    pub fn state(&self) -> DeliveryState {
        match (self.next, self.succeeded) {
            (Some(_), _) => DeliveryState::Queued,
            (None, true) => DeliveryState::Delivered,
            (None, false) => DeliveryState::Failed,
        }
    }
}

/// What deliveries are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeliverySort {
    /// When the event was.
    #[default]
    Created,
    /// The answer.
    StatusCode,
    /// How long it took.
    Duration,
    /// How often it was tried.
    Attempts,
}

const HOOK: &str = "id, name, description, url, secret, enabled, events, created, updated, dialect, \
                    max_attempts, backoff_s";
const DELIVERY: &str = "id, webhook_id, event, body, attempts, next, succeeded, status_code, duration_ms, error, \
                        created, received";

fn hook(row: &Row<'_>) -> rusqlite::Result<WebhookRow> {
    Ok(WebhookRow {
        id: row.get(0)?,
        name: row.get(1)?,
        description: row.get(2)?,
        url: row.get(3)?,
        secret: row.get(4)?,
        enabled: row.get(5)?,
        events: row.get(6)?,
        created: rows::time(row.get(7)?),
        updated: rows::time(row.get(8)?),
        dialect: row.get(9)?,
        max_attempts: row.get(10)?,
        backoff_s: row.get(11)?,
    })
}

fn delivery(row: &Row<'_>) -> rusqlite::Result<DeliveryRow> {
    Ok(DeliveryRow {
        id: row.get(0)?,
        webhook_id: row.get(1)?,
        event: row.get(2)?,
        body: row.get(3)?,
        attempts: row.get(4)?,
        next: row.get::<_, Option<i64>>(5)?.map(rows::time),
        succeeded: row.get(6)?,
        status_code: row.get(7)?,
        duration_ms: row.get::<_, Option<i64>>(8)?.map(i64::unsigned_abs),
        error: row.get(9)?,
        created: rows::time(row.get(10)?),
        received: row.get::<_, Option<i64>>(11)?.map(rows::time),
    })
}

/// Holds both lists to their limits.
fn trim(tx: &Transaction<'_>, webhook_id: i64) -> rusqlite::Result<()> {
    for (ended, most) in [("next IS NOT NULL", WAITING_MAX), ("next IS NULL", ENDED_MAX)] {
        let sql = format!(
            "DELETE FROM webhook_deliveries WHERE webhook_id = ?1 AND {ended} AND id <= \
             (SELECT id FROM webhook_deliveries WHERE webhook_id = ?1 AND {ended} ORDER BY id DESC LIMIT 1 OFFSET ?2)"
        );
        tx.execute(&sql, params![webhook_id, most])?;
    }
    Ok(())
}

impl Store {
    /// All webhooks, oldest first.
    ///
    /// # Errors
    /// As every call.
    pub async fn webhooks(&self) -> Result<Vec<WebhookRow>, StoreError> {
        self.call(|db| {
            let read = || -> rusqlite::Result<Vec<WebhookRow>> {
                let mut statement = db
                    .conn
                    .prepare(&format!("SELECT {HOOK} FROM webhooks ORDER BY id"))?;
                statement.query_map([], hook)?.collect()
            };
            read().map_err(|e| db.sort(e))
        })
        .await
    }

    /// Keeps a webhook; one with a number replaces that. `None`: no such number, or too many.
    ///
    /// # Errors
    /// As every call.
    pub async fn webhook_put(&self, row: WebhookRow) -> Result<Option<i64>, StoreError> {
        self.call(move |db| {
            db.in_one(|tx| {
                let (created, updated) = (rows::ms(row.created), rows::ms(row.updated));
                if row.id != 0 {
                    let kept = tx.execute(
                        "UPDATE webhooks SET name = ?2, description = ?3, url = ?4, secret = ?5, enabled = ?6, \
                         events = ?7, updated = ?8, dialect = ?9, max_attempts = ?10, backoff_s = ?11 WHERE id = ?1",
                        params![
                            row.id, row.name, row.description, row.url, row.secret, row.enabled, row.events, updated,
                            row.dialect, row.max_attempts, row.backoff_s
                        ],
                    )?;
                    return Ok((kept == 1).then_some(row.id));
                }
                let kept = tx.execute(
                    "INSERT INTO webhooks (name, description, url, secret, enabled, events, created, updated, \
                     dialect, max_attempts, backoff_s) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11 \
                     WHERE (SELECT count(*) FROM webhooks) < ?12",
                    params![
                        row.name, row.description, row.url, row.secret, row.enabled, row.events, created, updated,
                        row.dialect, row.max_attempts, row.backoff_s, WEBHOOKS_MAX
                    ],
                )?;
                Ok((kept == 1).then(|| tx.last_insert_rowid()))
            })
        })
        .await
    }

    /// Forgets a webhook and its deliveries. `false`: there is none of this number.
    ///
    /// # Errors
    /// As every call.
    pub async fn webhook_drop(&self, id: i64) -> Result<bool, StoreError> {
        self.call(move |db| db.in_one(|tx| Ok(tx.execute("DELETE FROM webhooks WHERE id = ?1", [id])? > 0)))
            .await
    }

    /// Puts an event in the queue of each of these webhooks. On the medium when it returns.
    ///
    /// # Errors
    /// As every call.
    pub async fn webhook_queue(
        &self,
        bodies: Vec<(i64, String)>,
        event: &str,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let event = event.to_owned();
        self.call(move |db| {
            db.in_one(|tx| {
                for (id, body) in &bodies {
                    tx.execute(
                        "INSERT INTO webhook_deliveries (webhook_id, event, body, created, next) \
                         SELECT id, ?2, ?3, ?4, ?4 FROM webhooks WHERE id = ?1",
                        params![id, event, body, rows::ms(at)],
                    )?;
                    trim(tx, *id)?;
                }
                Ok(())
            })
        })
        .await
    }

    /// What is due first for each enabled webhook but these, soonest first.
    ///
    /// # Errors
    /// As every call.
    pub async fn webhook_due(&self, but: Vec<i64>) -> Result<Vec<(WebhookRow, DeliveryRow)>, StoreError> {
        self.call(move |db| {
            let read = || -> rusqlite::Result<Vec<(WebhookRow, DeliveryRow)>> {
                let mut hooks = db
                    .conn
                    .prepare(&format!("SELECT {HOOK} FROM webhooks WHERE enabled ORDER BY id"))?;
                let hooks: Vec<WebhookRow> = hooks.query_map([], hook)?.collect::<Result<_, _>>()?;
                let mut first = db.conn.prepare(&format!(
                    "SELECT {DELIVERY} FROM webhook_deliveries WHERE webhook_id = ?1 AND next IS NOT NULL \
                     ORDER BY next, id LIMIT 1"
                ))?;
                let mut due = Vec::new();
                for hook in hooks.into_iter().filter(|h| !but.contains(&h.id)) {
                    if let Some(found) = first.query_row([hook.id], delivery).optional()? {
                        due.push((hook, found));
                    }
                }
                sorted::by_key(&mut due, |(_, d)| d.next);
                Ok(due)
            };
            read().map_err(|e| db.sort(e))
        })
        .await
    }

    /// Notes how an attempt went.
    ///
    /// # Errors
    /// As every call.
    pub async fn webhook_tried(&self, id: i64, webhook_id: i64, attempt: Attempt) -> Result<(), StoreError> {
        self.call(move |db| {
            db.in_one(|tx| {
                tx.execute(
                    "UPDATE webhook_deliveries SET attempts = attempts + 1, next = ?2, succeeded = ?3, \
                     status_code = ?4, duration_ms = ?5, error = ?6, received = ?7 WHERE id = ?1",
                    params![
                        id,
                        attempt.next.map(rows::ms),
                        attempt.succeeded,
                        attempt.status_code,
                        i64::try_from(attempt.duration_ms).unwrap_or(i64::MAX),
                        attempt.error,
                        attempt.succeeded.then(|| rows::ms(attempt.at))
                    ],
                )?;
                trim(tx, webhook_id)
            })
        })
        .await
    }

    /// Puts a delivery in the queue once more, as it was; gives the number of the new one. `None`: it is
    /// not there.
    ///
    /// # Errors
    /// As every call.
    pub async fn webhook_replay(&self, id: i64, at: Timestamp) -> Result<Option<i64>, StoreError> {
        self.call(move |db| {
            db.in_one(|tx| {
                let put = tx.execute(
                    "INSERT INTO webhook_deliveries (webhook_id, event, body, created, next) \
                     SELECT webhook_id, event, body, ?2, ?2 FROM webhook_deliveries WHERE id = ?1",
                    params![id, rows::ms(at)],
                )?;
                Ok((put == 1).then(|| tx.last_insert_rowid()))
            })
        })
        .await
    }

    /// A page of deliveries, and how many there are.
    ///
    /// # Errors
    /// As every call.
    pub async fn webhook_deliveries(
        &self,
        filter: DeliveryFilter,
    ) -> Result<(Vec<DeliveryRow>, u64), StoreError> {
        self.call(move |db| {
            let column = match filter.sort {
                DeliverySort::Created => "created",
                DeliverySort::StatusCode => "status_code",
                DeliverySort::Duration => "duration_ms",
                DeliverySort::Attempts => "attempts",
            };
            let order = if filter.ascending { "ASC" } else { "DESC" };
            let state = match filter.state {
                None => "",
                Some(DeliveryState::Queued) => " AND next IS NOT NULL",
                Some(DeliveryState::Delivered) => " AND next IS NULL AND succeeded",
                Some(DeliveryState::Failed) => " AND next IS NULL AND NOT succeeded",
            };
            let which = format!(
                "(?1 = 0 OR webhook_id = ?1) AND (?2 IS NULL OR created >= ?2) AND (?3 IS NULL OR created < ?3){state}"
            );
            let (from, to) = (filter.from.map(rows::ms), filter.to.map(rows::ms));
            let skip = i64::from(filter.page.saturating_sub(1)).saturating_mul(i64::from(filter.page_size));
            let read = || -> rusqlite::Result<(Vec<DeliveryRow>, u64)> {
                let total = db.conn.query_row(
                    &format!("SELECT count(*) FROM webhook_deliveries WHERE {which}"),
                    params![filter.webhook_id, from, to],
                    |row| row.get::<_, i64>(0).map(i64::unsigned_abs),
                )?;
                let mut statement = db.conn.prepare(&format!(
                    "SELECT {DELIVERY} FROM webhook_deliveries WHERE {which} \
                     ORDER BY {column} {order}, id {order} LIMIT ?4 OFFSET ?5"
                ))?;
                let found = statement
                    .query_map(
                        params![filter.webhook_id, from, to, filter.page_size, skip],
                        delivery,
                    )?
                    .collect::<Result<_, _>>()?;
                Ok((found, total))
            };
            read().map_err(|e| db.sort(e))
        })
        .await
    }
}
