//! Keys of the local API. The database holds a hash of each; the key itself is nowhere.

use jiff::Timestamp;
use rusqlite::params;

use super::error::StoreError;
use super::{Store, rows};

/// Most keys at once: they are all held in memory.
pub const API_KEYS_MAX: i64 = 100;

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyRow {
    /// Small number, never given twice.
    pub id: i64,
    /// Name that people gave it; no two keys have the same.
    pub name: String,
    /// SHA-256 of the key, hex. A key is 256 random bits, so a slow hash would protect nothing more.
    pub sha256: String,
    /// What it may do, in words with commas.
    pub scopes: String,
    /// When it was made.
    pub created: Timestamp,
    /// From when on it is good for nothing.
    pub expires: Option<Timestamp>,
}

impl Store {
    /// Keeps a key; gives its number. `None`: the name is taken, or there are [`API_KEYS_MAX`] already.
    ///
    /// # Errors
    /// As every call.
    pub async fn api_key_put(&self, key: ApiKeyRow) -> Result<Option<i64>, StoreError> {
        self.call(move |db| {
            db.in_one(|tx| {
                let kept = tx.execute(
                    "INSERT OR IGNORE INTO api_keys (name, sha256, scopes, created, expires) \
                     SELECT ?1, ?2, ?3, ?4, ?5 WHERE (SELECT count(*) FROM api_keys) < ?6",
                    params![
                        key.name,
                        key.sha256,
                        key.scopes,
                        rows::ms(key.created),
                        key.expires.map(rows::ms),
                        API_KEYS_MAX
                    ],
                )?;
                Ok((kept == 1).then(|| tx.last_insert_rowid()))
            })
        })
        .await
    }

    /// Every key, oldest first.
    ///
    /// # Errors
    /// As every call.
    pub async fn api_keys(&self) -> Result<Vec<ApiKeyRow>, StoreError> {
        self.call(|db| {
            let read = || -> rusqlite::Result<Vec<ApiKeyRow>> {
                let mut statement = db
                    .conn
                    .prepare("SELECT id, name, sha256, scopes, created, expires FROM api_keys ORDER BY id")?;
                let found = statement.query_map([], |row| {
                    Ok(ApiKeyRow {
                        id: row.get(0)?,
                        name: row.get(1)?,
                        sha256: row.get(2)?,
                        scopes: row.get(3)?,
                        created: rows::time(row.get(4)?),
                        expires: row.get::<_, Option<i64>>(5)?.map(rows::time),
                    })
                })?;
                found.collect()
            };
            read().map_err(|e| db.sort(e))
        })
        .await
    }

    /// Forgets a key for good. `false`: there was none with this number.
    ///
    /// # Errors
    /// As every call.
    pub async fn api_key_drop(&self, id: i64) -> Result<bool, StoreError> {
        self.call(move |db| db.in_one(|tx| Ok(tx.execute("DELETE FROM api_keys WHERE id = ?1", [id])? > 0)))
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ApiKeyRow {
        ApiKeyRow {
            id: 0,
            name: name.to_owned(),
            sha256: format!("hash of {name}"),
            scopes: "read".to_owned(),
            created: Timestamp::UNIX_EPOCH,
            expires: None,
        }
    }

    #[tokio::test]
    async fn names_are_unique_numbers_are_never_reused_and_there_is_an_end_to_them() {
        let store = Store::memory().expect("a store");
        assert_eq!(store.api_key_put(key("a")).await.expect("kept"), Some(1));
        assert_eq!(store.api_key_put(key("a")).await.expect("asked"), None);
        assert!(store.api_key_drop(1).await.expect("dropped"));
        assert!(!store.api_key_drop(1).await.expect("asked"));
        let second = store.api_key_put(key("a")).await.expect("kept");
        assert!(second.is_some_and(|id| id > 1), "{second:?}");
        for n in 1..API_KEYS_MAX {
            let number = store.api_key_put(key(&format!("k{n}"))).await.expect("kept");
            assert!(number.is_some(), "{n}");
        }
        assert_eq!(store.api_key_put(key("one more")).await.expect("asked"), None);
        let all = store.api_keys().await.expect("listed");
        assert_eq!((all.len(), all[0].name.as_str()), (100, "a"));
    }
}
