//! The index of the spool, and analyses by content.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params};

use super::error::StoreError;
use super::writer::Db;
use super::{Store, rows};

/// Longest analysis kept; longer ones are made again when wanted.
const ANALYSIS_MAX_BYTES: usize = 1 << 20;
/// Analyses kept; the least recently used go.
const ANALYSES_MAX: i64 = 200;

/// One uploaded file: a name for a content.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct UploadRow {
    /// Identity, 32 hex digits.
    pub id: String,
    /// SHA-256 of the content, hex.
    pub sha256: String,
    /// Name as people know it; a label, never a path.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// When it came.
    pub uploaded: Timestamp,
    /// When it may go, unless a job needs it.
    pub expires: Timestamp,
    /// When it was last used.
    pub used: Timestamp,
}

/// An analysis as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct AnalysisText {
    /// JSON.
    pub body: String,
}

const COLUMNS: &str = "id, sha256, name, size, uploaded, expires, used";

fn upload(row: &Row<'_>) -> rusqlite::Result<UploadRow> {
    Ok(UploadRow {
        id: row.get(0)?,
        sha256: row.get(1)?,
        name: row.get(2)?,
        size: row.get::<_, i64>(3)?.max(0) as u64,
        uploaded: rows::time(row.get(4)?),
        expires: rows::time(row.get(5)?),
        used: rows::time(row.get(6)?),
    })
}

fn write(db: &Db, sql: &str, values: impl rusqlite::Params) -> Result<usize, StoreError> {
    db.conn
        .prepare(sql)
        .and_then(|mut s| s.execute(values))
        .map_err(|e| db.sort(e))
}

impl Store {
    /// Enters a file into the index. The same content under the same name keeps its identity and
    /// gets the new times; the row as it now stands comes back.
    ///
    /// # Errors
    /// As every call.
    pub async fn upload_put(&self, row: UploadRow) -> Result<UploadRow, StoreError> {
        self.call(move |db| {
            db.in_one(|tx| {
                let known: Option<String> = tx
                    .query_row(
                        "SELECT id FROM files WHERE sha256 = ?1 AND name = ?2",
                        [&row.sha256, &row.name],
                        |r| r.get(0),
                    )
                    .optional()?;
                let id = known.unwrap_or(row.id);
                let kept = tx.query_row(
                    &format!(
                        "INSERT INTO files ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
                         ON CONFLICT (id) DO UPDATE SET uploaded = excluded.uploaded, \
                         expires = excluded.expires, used = excluded.used RETURNING {COLUMNS}"
                    ),
                    params![
                        id,
                        row.sha256,
                        row.name,
                        row.size as i64,
                        rows::ms(row.uploaded),
                        rows::ms(row.expires),
                        rows::ms(row.used)
                    ],
                    upload,
                )?;
                Ok(kept)
            })
        })
        .await
    }

    /// A file by its identity.
    ///
    /// # Errors
    /// As every call.
    pub async fn upload(&self, id: &str) -> Result<Option<UploadRow>, StoreError> {
        let id = id.to_owned();
        self.call(move |db| {
            db.conn
                .prepare(&format!("SELECT {COLUMNS} FROM files WHERE id = ?1"))
                .and_then(|mut s| s.query_row([id], upload).optional())
                .map_err(|e| db.sort(e))
        })
        .await
    }

    /// The names of a content.
    ///
    /// # Errors
    /// As every call.
    pub async fn uploads_of(&self, sha256: &str) -> Result<Vec<UploadRow>, StoreError> {
        let sha256 = sha256.to_owned();
        self.call(move |db| {
            db.conn
                .prepare(&format!(
                    "SELECT {COLUMNS} FROM files WHERE sha256 = ?1 LIMIT 1000"
                ))
                .and_then(|mut s| s.query_map([sha256], upload)?.collect())
                .map_err(|e| db.sort(e))
        })
        .await
    }

    /// All files, least recently used first.
    ///
    /// # Errors
    /// As every call.
    pub async fn uploads(&self) -> Result<Vec<UploadRow>, StoreError> {
        self.call(|db| {
            db.conn
                .prepare(&format!(
                    "SELECT {COLUMNS} FROM files ORDER BY used, id LIMIT 100000"
                ))
                .and_then(|mut s| s.query_map([], upload)?.collect())
                .map_err(|e| db.sort(e))
        })
        .await
    }

    /// Notes that a content was used and keeps it longer.
    ///
    /// # Errors
    /// As every call.
    pub async fn upload_used(
        &self,
        sha256: &str,
        now: Timestamp,
        expires: Timestamp,
    ) -> Result<(), StoreError> {
        let sha256 = sha256.to_owned();
        self.call(move |db| {
            write(
                db,
                "UPDATE files SET used = ?2, expires = max(expires, ?3) WHERE sha256 = ?1",
                params![sha256, rows::ms(now), rows::ms(expires)],
            )
            .map(|_| ())
        })
        .await
    }

    /// Forgets one file of the index. `false`: it was not there.
    ///
    /// # Errors
    /// As every call.
    pub async fn upload_remove(&self, id: &str) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.call(move |db| write(db, "DELETE FROM files WHERE id = ?1", [id]).map(|n| n > 0))
            .await
    }

    /// Forgets every name of a content.
    ///
    /// # Errors
    /// As every call.
    pub async fn content_remove(&self, sha256: &str) -> Result<usize, StoreError> {
        let sha256 = sha256.to_owned();
        self.call(move |db| write(db, "DELETE FROM files WHERE sha256 = ?1", [sha256]))
            .await
    }

    /// Contents that jobs which are not over refer to, and those that an interrupted job needs to
    /// be taken up again.
    ///
    /// # Errors
    /// As every call.
    pub async fn contents_in_use(&self) -> Result<Vec<String>, StoreError> {
        self.call(|db| {
            db.flush(true)?;
            db.conn
                .prepare(
                    "SELECT DISTINCT sha256 FROM jobs WHERE sha256 IS NOT NULL \
                     AND state NOT IN ('done', 'failed', 'cancelled')",
                )
                .and_then(|mut s| s.query_map([], |row| row.get(0))?.collect())
                .map_err(|e| db.sort(e))
        })
        .await
    }

    /// The analysis of a content, made by this version of the analyzer.
    ///
    /// # Errors
    /// As every call.
    pub async fn analysis(&self, sha256: &str, version: u32) -> Result<Option<AnalysisText>, StoreError> {
        let sha256 = sha256.to_owned();
        self.call(move |db| {
            db.conn
                .prepare("SELECT body FROM analyses WHERE sha256 = ?1 AND version = ?2")
                .and_then(|mut s| {
                    s.query_row(params![sha256, version], |row| {
                        Ok(AnalysisText { body: row.get(0)? })
                    })
                    .optional()
                })
                .map_err(|e| db.sort(e))
        })
        .await
    }

    /// Keeps an analysis. `false`: it is too long to be kept.
    ///
    /// # Errors
    /// As every call.
    pub async fn analysis_put(
        &self,
        sha256: &str,
        version: u32,
        body: String,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if body.len() > ANALYSIS_MAX_BYTES {
            return Ok(false);
        }
        let sha256 = sha256.to_owned();
        self.call(move |db| {
            db.in_one(|tx| {
                tx.execute(
                    "DELETE FROM analyses WHERE sha256 = ?1 AND version IS NOT ?2",
                    params![sha256, version],
                )?;
                tx.execute(
                    "INSERT OR REPLACE INTO analyses (sha256, version, body, used) VALUES (?1, ?2, ?3, ?4)",
                    params![sha256, version, body, rows::ms(now)],
                )?;
                tx.execute(
                    "DELETE FROM analyses WHERE rowid IN \
                     (SELECT rowid FROM analyses ORDER BY used DESC, rowid DESC LIMIT -1 OFFSET ?1)",
                    [ANALYSES_MAX],
                )?;
                Ok(true)
            })
        })
        .await
    }
}
