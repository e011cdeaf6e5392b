//! Notices that outlive a restart, and what became of them.

use jiff::Timestamp;
use rusqlite::params;

use super::error::StoreError;
use super::printers::id_of;
use super::{Store, rows};
use crate::json;
use crate::printer::notice::Notice;

/// Closed notices kept per printer.
const CLOSED_MAX: i64 = 200;

/// A notice with its number and its end.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct NoticeRow {
    /// Small number, given by the database.
    pub id: i64,
    /// Name of the printer.
    pub printer: String,
    /// The notice.
    pub notice: Notice,
    /// When it was settled; `None` while open.
    pub closed: Option<Timestamp>,
    /// The button that was pressed, where one was.
    pub answer: Option<String>,
}

impl Store {
    /// Keeps a notice; an open one of the same printer and key is replaced. Gives its number.
    ///
    /// # Errors
    /// As every call.
    pub async fn notice_put(&self, printer: &str, notice: Notice) -> Result<i64, StoreError> {
        let printer = printer.to_owned();
        self.call(move |db| {
            let printer = id_of(db, &printer)?;
            let body = serde_json::to_string(&notice).map_err(|e| StoreError::Bug(e.to_string()))?;
            db.in_one(|tx| {
                let uid = notice.id.to_string();
                tx.execute(
                    "DELETE FROM notices WHERE printer_id = ?1 AND key = ?2 AND closed IS NULL AND uid IS NOT ?3",
                    params![printer, notice.key, uid],
                )?;
                let id = tx.query_row(
                    "INSERT INTO notices (printer_id, uid, key, body, at) VALUES (?1, ?2, ?3, ?4, ?5) \
                     ON CONFLICT (uid) DO UPDATE SET key = excluded.key, body = excluded.body, \
                     at = excluded.at, closed = NULL, answer = NULL RETURNING id",
                    params![printer, uid, notice.key, body, rows::ms(notice.at)],
                    |row| row.get(0),
                )?;
                Ok(id)
            })
        })
        .await
    }

    /// Settles the open notice with this key. `false`: there was none.
    ///
    /// # Errors
    /// As every call.
    pub async fn notice_close(
        &self,
        printer: &str,
        key: &str,
        at: Timestamp,
        answer: Option<String>,
    ) -> Result<bool, StoreError> {
        let (printer, key) = (printer.to_owned(), key.to_owned());
        self.call(move |db| {
            let printer = id_of(db, &printer)?;
            db.in_one(|tx| {
                let closed = tx.execute(
                    "UPDATE notices SET closed = ?3, answer = ?4 \
                     WHERE printer_id = ?1 AND key = ?2 AND closed IS NULL",
                    params![printer, key, rows::ms(at), answer],
                )?;
                if closed > 0 {
                    tx.execute(
                        "DELETE FROM notices WHERE printer_id = ?1 AND closed IS NOT NULL AND id <= \
                         (SELECT id FROM notices WHERE printer_id = ?1 AND closed IS NOT NULL \
                          ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                        params![printer, CLOSED_MAX],
                    )?;
                }
                Ok(closed > 0)
            })
        })
        .await
    }

    /// The open notices of a printer, oldest first.
    ///
    /// # Errors
    /// As every call.
    pub async fn notices(&self, printer: &str) -> Result<Vec<NoticeRow>, StoreError> {
        self.notice_rows(Some(printer.to_owned()), false).await
    }

    /// Notices of one or all printers, oldest first, with or without the settled ones.
    ///
    /// # Errors
    /// As every call.
    pub async fn notice_history(
        &self,
        printer: Option<&str>,
        settled_too: bool,
    ) -> Result<Vec<NoticeRow>, StoreError> {
        self.notice_rows(printer.map(str::to_owned), settled_too).await
    }

    async fn notice_rows(
        &self,
        printer: Option<String>,
        settled_too: bool,
    ) -> Result<Vec<NoticeRow>, StoreError> {
        self.call(move |db| {
            let read = || -> rusqlite::Result<Vec<NoticeRow>> {
                let mut statement = db.conn.prepare(
                    "SELECT n.id, p.name, n.body, n.closed, n.answer FROM notices n \
                     JOIN printers p ON p.id = n.printer_id \
                     WHERE (?1 IS NULL OR p.name = ?1) AND (?2 OR n.closed IS NULL) ORDER BY n.id LIMIT 5000",
                )?;
                let found = statement.query_map(params![printer, settled_too], |row| {
                    let body: String = row.get(2)?;
                    let Ok(notice) = json::read::<Notice>(&body) else {
                        return Ok(None);
                    };
                    Ok(Some(NoticeRow {
                        id: row.get(0)?,
                        printer: row.get(1)?,
                        notice,
                        closed: row.get::<_, Option<i64>>(3)?.map(rows::time),
                        answer: row.get(4)?,
                    }))
                })?;
                found.filter_map(Result::transpose).collect()
            };
            read().map_err(|e| db.sort(e))
        })
        .await
    }
}
