//! Two loops that no printer knows of: one notices what happened and puts it in the durable queue, one
//! delivers what is due. A target that is slow or gone holds up its own webhook only.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::notable::{self, Which};
use super::target::Target;
use crate::agent::clock;
use crate::agent::handle::{AgentHandle, Snapshot};
use crate::host::tls;
use crate::job::store::{Attempt, DeliveryRow, Store, StoreError, WebhookRow};
use crate::json::json;
use crate::printer::model::Now;
use crate::sorted::SortedMap;

/// How often the printers are looked at while somebody wants to hear.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Webhooks that are delivered to at the same time; each takes one delivery at a time.
const AT_ONCE: usize = 4;

/// How long one delivery may take.
const POST_LIMIT: Duration = Duration::from_secs(10);

/// Rest when the database does not answer.
const REST: Duration = Duration::from_secs(5);

/// Waits between the attempts, seconds; then the delivery is given up, a day and a half after the event.
const AGAIN_S: &[i64] = &[
    10,
    30,
    120,
    600,
    1800,
    3600,
    3 * 3600,
    6 * 3600,
    12 * 3600,
    12 * 3600,
];

/// What both loops and the routes share.
pub struct Post {
    hooks: Mutex<Arc<Vec<WebhookRow>>>,
    /// Hooks were changed.
    changed: Notify,
    /// Something was put in the queue, or hooks were changed.
    queued: Notify,
    /// The printers as they were looked at last; empty while nobody wants to hear.
    seen: Mutex<SortedMap<i64, Arc<Snapshot>>>,
    /// Where webhooks may lead.
    pub target: Target,
}

impl Post {
    /// No webhooks are known yet.
    pub fn new(target: Target) -> Self {
        Post {
            hooks: Mutex::default(),
            changed: Notify::new(),
            queued: Notify::new(),
            seen: Mutex::default(),
            target,
        }
    }

    /// The webhooks as they were read last.
    pub fn hooks(&self) -> Arc<Vec<WebhookRow>> {
        self.hooks.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Reads the webhooks again.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn reload(&self, store: &Store) -> Result<(), StoreError> {
        let rows = Arc::new(store.webhooks().await?);
        *self.hooks.lock().unwrap_or_else(|e| e.into_inner()) = rows;
        self.changed.notify_one();
        self.queued.notify_one();
        Ok(())
    }

    /// From this moment on everything is told: what happens right behind a webhook's making too.
    pub fn begin(&self, agent: &AgentHandle) {
        let mut seen = self.seen.lock().unwrap_or_else(|e| e.into_inner());
        for printer in agent.printers() {
            seen.entry(printer.id()).or_insert_with(|| printer.snapshot());
        }
    }

    fn forget(&self) {
        self.seen.lock().unwrap_or_else(|e| e.into_inner()).clear();
    }

    /// Something was put in the queue by other means.
    pub fn look(&self) {
        self.queued.notify_one();
    }

    /// Puts an event in the queue of those that want it.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn queue(
        &self,
        store: &Store,
        event: &str,
        data: &Value,
        only: Option<i64>,
    ) -> Result<(), StoreError> {
        let at = clock::now().wall;
        let hooks = self.hooks();
        let wants = |hook: &&WebhookRow| match only {
            Some(id) => hook.id == id,
            None => hook.enabled && hook.events.split(',').any(|e| e == event),
        };
        let bodies: Vec<(i64, String)> = hooks
            .iter()
            .filter(wants)
            .map(|h| (h.id, body(h.id, notable::word_in(&h.dialect, event), at, data)))
            .collect();
        if bodies.is_empty() {
            return Ok(());
        }
        store.webhook_queue(bodies, event, at).await?;
        self.queued.notify_one();
        Ok(())
    }
}

fn body(id: i64, event: &str, at: Timestamp, data: &Value) -> String {
    json!({"webhook_id": id, "event": event, "timestamp": at.as_second(), "data": data}).to_string()
}

/// Notices what happens, until `shutdown`; what happens on the way there is noticed too.
pub async fn notice(agent: &AgentHandle, post: &Post, shutdown: &CancellationToken) {
    while let Err(error) = post.reload(agent.store()).await {
        tracing::error!(code = error.code(), "the webhooks cannot be read: {error}");
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(REST) => {}
        }
    }
    let began = clock::now();
    loop {
        if post.hooks().iter().any(|hook| hook.enabled) {
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(LOOK_EVERY) => look(agent, post, since(began)).await,
            }
        } else {
            post.forget();
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = post.changed.notified() => {}
            }
        }
    }
    look(agent, post, since(began)).await;
}

/// When this daemon began, by the wall clock as it is set now.
fn since(began: Now) -> Timestamp {
    let now = clock::now();
    let up = SignedDuration::try_from(now.mono.saturating_duration_since(began.mono)).unwrap_or_default();
    now.wall.checked_sub(up).unwrap_or(began.wall)
}

async fn look(agent: &AgentHandle, post: &Post, since: Timestamp) {
    let all = agent.printers();
    let swap = |id: i64, after: &Arc<Snapshot>| {
        let mut seen = post.seen.lock().unwrap_or_else(|e| e.into_inner());
        seen.retain(|id, _| all.iter().any(|p| p.id() == *id));
        seen.insert(id, after.clone())
    };
    for printer in &all {
        let after = printer.snapshot();
        let Some(before) = swap(printer.id(), &after) else {
            continue;
        };
        if Arc::ptr_eq(&before, &after) {
            continue;
        }
        let which = Which {
            id: printer.id(),
            name: printer.name(),
        };
        for told in notable::between(which, &before, &after, since) {
            if let Err(error) = post.queue(agent.store(), told.event, &told.data, None).await {
                tracing::error!(
                    code = error.code(),
                    event = told.event,
                    "an event for webhooks is lost: {error}"
                );
            }
        }
    }
}

/// Delivers what is due, until `shutdown`. What is under way then is tried again by the next daemon.
pub async fn deliver(agent: &AgentHandle, post: &Post, shutdown: &CancellationToken) {
    // The roots of TLS take memory that a host without webhooks need not spend.
    while !post.hooks().iter().any(|hook| hook.enabled) {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = post.queued.notified() => {}
        }
    }
    let client = loop {
        match client(post.target) {
            Ok(client) => break client,
            Err(why) => tracing::error!(code = "webhook/no-client", "no webhook can be delivered: {why}"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(60)) => {}
        }
    };
    let mut flying = FuturesUnordered::new();
    let mut busy: Vec<i64> = Vec::new();
    loop {
        let mut wait = None;
        if busy.len() < AT_ONCE && post.hooks().iter().any(|hook| hook.enabled) {
            let due = agent.store().webhook_due(busy.clone()).await;
            let due = due.unwrap_or_else(|error| {
                tracing::warn!(
                    code = error.code(),
                    "the queue of webhooks cannot be read: {error}"
                );
                wait = Some(REST);
                Vec::new()
            });
            let now = clock::now().wall;
            for (hook, delivery) in due {
                let until = until(&hook, delivery.next, now);
                if until.is_positive() {
                    wait = Some(Duration::try_from(until).unwrap_or(REST));
                    break;
                }
                if busy.len() >= AT_ONCE {
                    break;
                }
                busy.push(hook.id);
                flying.push(attempt(agent.store(), client.clone(), hook, delivery).boxed());
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            Some(done) = flying.next(), if !flying.is_empty() => busy.retain(|id| *id != done),
            () = post.queued.notified() => {}
            () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
        }
    }
}

fn client(target: Target) -> Result<reqwest::Client, String> {
    let tls = tls::client_config().map_err(|e| e.to_string())?;
    reqwest::Client::builder()
        .tls_backend_preconfigured((*tls).clone())
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(POST_LIMIT)
        .pool_max_idle_per_host(0)
        .dns_resolver(target)
        .user_agent(concat!("layerd/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|e| e.to_string())
}

/// One attempt; gives the webhook's number.
async fn attempt(store: &Store, client: reqwest::Client, hook: WebhookRow, delivery: DeliveryRow) -> i64 {
    let began = tokio::time::Instant::now();
    let mut request = client
        .post(&hook.url)
        .header("content-type", "application/json")
        .header("x-layerd-delivery", delivery.id);
    if let Some(secret) = &hook.secret {
        request = if hook.dialect == notable::AUTOPRINTFARM {
            request.header("x-autoprintfarm-signature", signature(secret, &delivery.body))
        } else {
            request.header("x-sp-secret", secret)
        };
    }
    let request = request.body(delivery.body);
    // The body of the answer is of no interest and is not read.
    let answer = request.send().await;
    let at = clock::now().wall;
    let status = answer.as_ref().ok().map(reqwest::Response::status);
    let succeeded = status.is_some_and(|s| s.is_success());
    let wait_s = wait_s(&hook, delivery.attempts);
    let done = Attempt {
        succeeded,
        status_code: status.map(|s| s.as_u16()),
        duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        error: answer.err().map(|e| root(&e.without_url())),
        at,
        next: wait_s
            .filter(|_| !succeeded)
            .and_then(|s| at.checked_add(SignedDuration::from_secs(s)).ok()),
    };
    if !succeeded {
        let why = done
            .error
            .clone()
            .or(done.status_code.map(|s| format!("HTTP {s}")));
        tracing::warn!(
            code = "webhook/failed",
            webhook = hook.id,
            event = delivery.event,
            again = done.next.is_some(),
            "{}",
            why.unwrap_or_default()
        );
    }
    if let Err(error) = store.webhook_tried(delivery.id, hook.id, done).await {
        tracing::warn!(
            code = error.code(),
            "a delivery cannot be noted and may come twice: {error}"
        );
        // Without this it would come again at once, and forever.
        tokio::time::sleep(REST).await;
    }
    hook.id
}

/// How long to wait after this many earlier attempts; `None`: it is given up. A webhook may bring a policy
/// of its own.
fn wait_s(hook: &WebhookRow, attempts: u32) -> Option<i64> {
    match hook.max_attempts {
        None => AGAIN_S
            .get(usize::try_from(attempts).unwrap_or(usize::MAX))
            .copied(),
        Some(most) => (attempts.saturating_add(1) < most).then(|| i64::from(hook.backoff_s.unwrap_or(60))),
    }
}

/// How long until an attempt is due. Nothing waits for longer than its policy says: when a time is further away, the
/// clock was set back, and waiting for it would take as long as that.
fn until(hook: &WebhookRow, next: Option<Timestamp>, now: Timestamp) -> SignedDuration {
    let until = next.map_or(SignedDuration::ZERO, |at| at.duration_since(now));
    let longest_s = match hook.max_attempts {
        None => AGAIN_S.iter().copied().max().unwrap_or_default(),
        Some(_) => i64::from(hook.backoff_s.unwrap_or(60)),
    };
    if until > SignedDuration::from_secs(longest_s.saturating_add(1)) {
        SignedDuration::ZERO
    } else {
        until
    }
}

/// Proves that a body comes from who knows the secret.
fn signature(secret: &str, body: &str) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let tag = ring::hmac::sign(&key, body.as_bytes());
    tag.as_ref()
        .iter()
        .fold("sha256=".to_owned(), |out, byte| format!("{out}{byte:02x}"))
}

/// The words at the bottom of an error.
fn root(error: &reqwest::Error) -> String {
    let first: &dyn std::error::Error = error;
    let last = std::iter::successors(Some(first), |e| e.source()).last();
    last.map(ToString::to_string)
        .unwrap_or_default()
        .chars()
        .take(300)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_waits_longer_than_its_policy_says_when_the_clock_is_set_back() {
        let now = Timestamp::from_second(1_700_000_000).expect("in range");
        let mut hook = WebhookRow {
            id: 1,
            name: String::new(),
            description: None,
            url: String::new(),
            secret: None,
            enabled: true,
            events: String::new(),
            created: now,
            updated: now,
            dialect: String::new(),
            max_attempts: None,
            backoff_s: None,
        };
        let due =
            |hook: &WebhookRow, s: i64| until(hook, Some(now + SignedDuration::from_secs(s)), now).as_secs();
        let longest_s = AGAIN_S.iter().copied().max().expect("some");
        assert_eq!(until(&hook, None, now), SignedDuration::ZERO);
        assert_eq!(
            (due(&hook, -5), due(&hook, 30), due(&hook, longest_s)),
            (-5, 30, longest_s)
        );
        assert_eq!(due(&hook, 31_536_000), 0);
        hook.max_attempts = Some(3);
        hook.backoff_s = Some(120);
        assert_eq!((due(&hook, 120), due(&hook, 3600)), (120, 0));
    }
}
