//! What upstreams keep per printer: one document (identity, job in hand), and things to deliver.

use rusqlite::types::Value;
use rusqlite::{OptionalExtension, params};

use super::error::StoreError;
use super::jobs::flush_new;
use super::printers::id_of;
use super::{Store, rows};
use crate::job::record::JobRecord;

/// Things to deliver that are read back for one printer; more were never let in.
const OUTBOX_MAX: i64 = 5000;

impl Store {
    /// The document of a printer.
    ///
    /// # Errors
    /// As every call.
    pub async fn upstream_doc(&self, upstream: &str, printer: &str) -> Result<Option<String>, StoreError> {
        let (upstream, printer) = (upstream.to_owned(), printer.to_owned());
        self.call(move |db| {
            db.conn
                .query_row(
                    "SELECT d.body FROM upstream_docs d JOIN printers p ON p.id = d.printer_id \
                     WHERE d.upstream = ?1 AND p.name = ?2",
                    [&upstream, &printer],
                    |row| row.get(0),
                )
                .optional()
                .map_err(|e| db.sort(e))
        })
        .await
    }

    /// Keeps the document of a printer. On the medium when it returns.
    ///
    /// # Errors
    /// As every call.
    pub async fn upstream_doc_put(
        &self,
        upstream: &str,
        printer: &str,
        body: String,
    ) -> Result<(), StoreError> {
        let (upstream, printer) = (upstream.to_owned(), printer.to_owned());
        self.call(move |db| {
            let id = id_of(db, &printer)?;
            db.conn
                .execute(
                    "INSERT INTO upstream_docs (upstream, printer_id, body) VALUES (?1, ?2, ?3) \
                     ON CONFLICT (upstream, printer_id) DO UPDATE SET body = excluded.body",
                    params![upstream, id, body],
                )
                .map(|_| ())
                .map_err(|e| db.sort(e))
        })
        .await
    }

    /// Moves the documents and undelivered things of one printer to another, which must have none.
    /// `false`: there is nothing to move, or the other has some already.
    ///
    /// # Errors
    /// As every call.
    pub async fn upstream_move(&self, from: &str, to: &str, driver: &str) -> Result<bool, StoreError> {
        let target = self.printer_id(to, driver).await?;
        let from = from.to_owned();
        self.call(move |db| {
            db.in_one(|tx| {
                let moved = tx.execute(
                    "UPDATE OR IGNORE upstream_docs SET printer_id = ?2 \
                     WHERE printer_id = (SELECT id FROM printers WHERE name = ?1)",
                    params![from, target],
                )?;
                tx.execute(
                    "UPDATE OR IGNORE outbox SET printer_id = ?2 \
                     WHERE printer_id = (SELECT id FROM printers WHERE name = ?1)",
                    params![from, target],
                )?;
                Ok(moved > 0)
            })
        })
        .await
    }

    /// Keeps a thing until it is delivered; the same key again is nothing new.
    ///
    /// # Errors
    /// As every call.
    pub async fn outbox_put(
        &self,
        upstream: &str,
        printer: &str,
        key: &str,
        body: String,
    ) -> Result<(), StoreError> {
        let (upstream, printer, key) = (upstream.to_owned(), printer.to_owned(), key.to_owned());
        self.call(move |db| {
            let id = id_of(db, &printer)?;
            db.conn
                .execute(
                    "INSERT OR IGNORE INTO outbox (upstream, printer_id, key, body) VALUES (?1, ?2, ?3, ?4)",
                    params![upstream, id, key, body],
                )
                .map(|_| ())
                .map_err(|e| db.sort(e))
        })
        .await
    }

    /// These are delivered.
    ///
    /// # Errors
    /// As every call.
    pub async fn outbox_done(
        &self,
        upstream: &str,
        printer: &str,
        keys: Vec<String>,
    ) -> Result<(), StoreError> {
        let (upstream, printer) = (upstream.to_owned(), printer.to_owned());
        self.call(move |db| {
            let id = id_of(db, &printer)?;
            db.in_one(|tx| {
                let mut delete =
                    tx.prepare("DELETE FROM outbox WHERE upstream = ?1 AND printer_id = ?2 AND key = ?3")?;
                for key in &keys {
                    delete.execute(params![upstream, id, key])?;
                }
                Ok(())
            })
        })
        .await
    }

    /// What waits to be delivered for a printer, oldest first.
    ///
    /// # Errors
    /// As every call.
    pub async fn outbox(&self, upstream: &str, printer: &str) -> Result<Vec<String>, StoreError> {
        let (upstream, printer) = (upstream.to_owned(), printer.to_owned());
        self.call(move |db| {
            let read = || -> rusqlite::Result<Vec<String>> {
                let mut statement = db.conn.prepare(
                    "SELECT o.body FROM outbox o JOIN printers p ON p.id = o.printer_id \
                     WHERE o.upstream = ?1 AND p.name = ?2 ORDER BY o.id LIMIT ?3",
                )?;
                let found = statement.query_map(params![upstream, printer, OUTBOX_MAX], |row| row.get(0))?;
                found.collect()
            };
            read().map_err(|e| db.sort(e))
        })
        .await
    }

    /// The job that a recorded start made.
    ///
    /// # Errors
    /// As every call.
    pub async fn job_of_start(&self, start_id: &str) -> Result<Option<JobRecord>, StoreError> {
        let start_id = start_id.to_owned();
        self.call(move |db| {
            flush_new(db)?;
            let sql = format!(
                "SELECT {} FROM {} JOIN starts s ON s.job_uid = j.uid WHERE s.start_id = ?1",
                rows::JOB,
                rows::JOB_FROM
            );
            db.conn
                .query_row(&sql, [Value::Text(start_id)], rows::job)
                .optional()
                .map_err(|e| db.sort(e))
        })
        .await
    }
}
