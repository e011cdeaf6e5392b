//! Keys of the API: made, listed, revoked; all of them in memory, so that no request waits for the disk.

use std::sync::{Mutex, MutexGuard};

use axum::Json as Answer;
use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::access::{Caller, Scopes};
use super::envelope::Problem;
use super::incoming::Json;
use super::{Api, jobs, view};
use crate::agent::clock;
use crate::job::store::{API_KEYS_MAX, ApiKeyRow, Store, StoreError};
use crate::json::json;
use crate::sorted::SortedMap;

/// Begins every key, so that people and scanners of repositories know one when they see it.
const PREFIX: &str = "lyd_";

/// Longest name of a key, characters.
const NAME_MAX: usize = 64;

/// Longest life of a key that has an end, seconds: a hundred years.
pub const LIFE_MAX_S: u32 = 100 * 366 * 86_400;

/// The keys there are.
#[derive(Debug, Default)]
pub struct Keys {
    by_hash: Mutex<SortedMap<String, ApiKeyRow>>,
    count: watch::Sender<usize>,
}

impl Keys {
    /// Reads them from the database.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn load(&self, store: &Store) -> Result<(), StoreError> {
        let rows = store.api_keys().await?;
        let mut by_hash = self.lock();
        *by_hash = rows.into_iter().map(|row| (row.sha256.clone(), row)).collect();
        self.count.send_replace(by_hash.len());
        Ok(())
    }

    /// How many there are, and when that changes.
    pub fn watch(&self) -> watch::Receiver<usize> {
        self.count.subscribe()
    }

    /// The holder of this key; `None`: it is no key of ours, or no longer.
    pub fn holder(&self, key: &str, now: Timestamp) -> Option<Caller> {
        let by_hash = self.lock();
        let row = by_hash.get(&hash(key))?;
        if row.expires.is_some_and(|at| at <= now) {
            return None;
        }
        Some(Caller::Key {
            id: row.id,
            name: row.name.clone(),
            // A word that this version does not know gives nothing.
            scopes: Scopes::parse(&row.scopes).unwrap_or_default(),
        })
    }

    /// Whether a caller may still ask: a key can be revoked or expire while somebody listens.
    pub fn is_live(&self, caller: &Caller, now: Timestamp) -> bool {
        let Caller::Key { id, .. } = caller else {
            return true;
        };
        let by_hash = self.lock();
        by_hash
            .values()
            .any(|row| row.id == *id && row.expires.is_none_or(|at| at > now))
    }

    /// Whether there is a key of this number.
    pub fn has(&self, id: i64) -> bool {
        self.lock().values().any(|row| row.id == id)
    }

    fn lock(&self) -> MutexGuard<'_, SortedMap<String, ApiKeyRow>> {
        self.by_hash.lock().unwrap_or_else(|e| e.into_inner())
    }
}

fn hash(key: &str) -> String {
    let digest = Sha256::digest(key.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes a key: 256 random bits. Gives what is kept of it, and the key itself, which is kept nowhere.
///
/// # Errors
/// What is wrong with the wishes, or a system without random numbers.
pub fn make(
    name: &str,
    scopes: Scopes,
    life: Option<SignedDuration>,
    now: Timestamp,
) -> Result<(ApiKeyRow, String), Problem> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > NAME_MAX || name.chars().any(char::is_control) {
        return Err(Problem::bad(format!(
            "`name` must be a text of 1 to {NAME_MAX} characters."
        )));
    }
    let mut bits = [0; 32];
    SystemRandom::new()
        .fill(&mut bits)
        .map_err(|_| Problem::said("The system gives no random numbers.").coded("api/no-random"))?;
    let key = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bits));
    let expires = life.map(|life| now.checked_add(life)).transpose();
    let row = ApiKeyRow {
        id: 0,
        name: name.to_owned(),
        sha256: hash(&key),
        scopes: scopes.to_string(),
        created: now,
        expires: expires.map_err(|_| Problem::bad("The key would expire after the end of time."))?,
    };
    Ok((row, key))
}

/// Keeps a key; gives its number.
///
/// # Errors
/// The name is taken, there are too many, or the database does not answer.
pub async fn keep(store: &Store, row: ApiKeyRow) -> Result<i64, Problem> {
    let name = row.name.clone();
    let kept = store.api_key_put(row).await.map_err(jobs::database)?;
    kept.ok_or_else(|| {
        Problem::said(format!(
            "There is a key \"{name}\" already, or there are {API_KEYS_MAX} keys. Revoke one, or take another name."
        ))
        .coded("refused/key-exists")
    })
}

/// What people see of a key.
pub fn shown(row: &ApiKeyRow, now: Timestamp) -> Value {
    json!({
        "id": row.id,
        "name": row.name,
        "scopes": Scopes::parse(&row.scopes).unwrap_or_default().words(),
        "created": view::rfc3339(row.created),
        "expires": row.expires.map(view::rfc3339),
        "expired": row.expires.is_some_and(|at| at <= now),
    })
}

/// `agent/keys/Get`.
pub(super) async fn list(State(api): State<Api>) -> Result<Answer<Value>, Problem> {
    let now = clock::now().wall;
    let rows = api.agent.store().api_keys().await.map_err(jobs::database)?;
    let data: Vec<Value> = rows.iter().map(|row| shown(row, now)).collect();
    Ok(Answer(json!({"status": true, "message": null, "data": data})))
}

/// `agent/keys/Create`: `{name, scopes: "read,control", expires_s?}`. The answer holds the key, once.
pub(super) async fn create(State(api): State<Api>, body: Json) -> Result<Answer<Value>, Problem> {
    let name = body.text("name", NAME_MAX)?.unwrap_or_default();
    let words = body.text("scopes", 200)?.unwrap_or("read");
    let scopes = Scopes::parse(words).map_err(|word| {
        Problem::bad(format!(
            "`scopes` takes read, control, files and admin, not {word:?}."
        ))
    })?;
    let life = body
        .number("expires_s", 1, LIFE_MAX_S)?
        .map(|s| SignedDuration::from_secs(i64::from(s)));
    let now = clock::now().wall;
    let (row, key) = make(name, scopes, life, now)?;
    let store = api.agent.store();
    let id = keep(store, row.clone()).await?;
    api.keys.load(store).await.map_err(jobs::database)?;
    let shown = shown(&ApiKeyRow { id, ..row }, now);
    Ok(Answer(
        json!({"status": true, "message": null, "key": key, "data": shown}),
    ))
}

/// `agent/keys/Revoke`: `{id}` or `{name}`. From the answer on the key opens nothing.
pub(super) async fn revoke(State(api): State<Api>, body: Json) -> Result<Answer<Value>, Problem> {
    let store = api.agent.store();
    let rows = store.api_keys().await.map_err(jobs::database)?;
    let id = body.0.get("id").and_then(Value::as_i64);
    let name = body.text("name", NAME_MAX)?;
    if id.is_none() == name.is_none() {
        return Err(Problem::bad("Name the key by its `id` or its `name`."));
    }
    let found = rows
        .iter()
        .find(|row| Some(row.id) == id || Some(row.name.as_str()) == name);
    let row = found.ok_or_else(|| Problem::not_found("There is no such key."))?;
    store.api_key_drop(row.id).await.map_err(jobs::database)?;
    api.keys.load(store).await.map_err(jobs::database)?;
    api.door.forget_rates(&api.keys);
    Ok(Answer(
        json!({"status": true, "message": null, "data": shown(row, clock::now().wall)}),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_is_kept_as_a_hash_and_ends_at_its_time() {
        let store = Store::memory().expect("a store");
        let now = Timestamp::from_second(1_700_000_000).expect("in range");
        let life = Some(SignedDuration::from_secs(60));
        let (row, key) = make(" slicer ", Scopes::parse("files").expect("known"), life, now).expect("made");
        assert!(key.starts_with(PREFIX) && key.len() == PREFIX.len() + 43, "{key}");
        assert!(!format!("{row:?}").contains(&key));
        let id = keep(&store, row).await.expect("kept");
        let keys = Keys::default();
        keys.load(&store).await.expect("loaded");
        let holder = keys.holder(&key, now).expect("known");
        assert_eq!(holder.name(), "slicer");
        assert!(keys.is_live(&holder, now) && keys.has(id));
        assert_eq!(keys.holder(&format!("{key}x"), now), None);
        let end = now + SignedDuration::from_secs(60);
        assert_eq!(keys.holder(&key, end), None);
        assert!(!keys.is_live(&holder, end));
        store.api_key_drop(id).await.expect("dropped");
        keys.load(&store).await.expect("loaded");
        assert_eq!(keys.holder(&key, now), None);
    }

    #[test]
    fn two_keys_are_never_the_same_and_names_have_limits() {
        let now = Timestamp::UNIX_EPOCH;
        let made = |name: &str| make(name, Scopes::EVERYTHING, None, now);
        assert_ne!(made("a").expect("made").1, made("a").expect("made").1);
        assert!(made(" ").is_err());
        assert!(made(&"x".repeat(NAME_MAX)).is_ok());
        assert!(made(&"x".repeat(NAME_MAX + 1)).is_err());
    }
}
