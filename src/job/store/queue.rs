//! Prints that wait for somebody to say where: a list that starts nothing by itself.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params};
use uuid::Uuid;

use super::error::StoreError;
use super::{Store, rows};

/// Most items; assigned ones give way to new ones, oldest first.
pub const QUEUE_MAX: i64 = 200;

/// One item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueItem {
    /// Its number; 0 before it is kept.
    pub id: i64,
    /// What people call it.
    pub name: String,
    /// Content of the file, SHA-256 in hex; none yet, perhaps.
    pub file_id: Option<String>,
    /// Numbers of the printers that may take it, as JSON; an empty list: any.
    pub printers: String,
    /// What the client wants to find again, as JSON.
    pub metadata: String,
    /// How many starts were refused.
    pub tries: u32,
    /// Why the last one was.
    pub refusal: Option<String>,
    /// Where it prints.
    pub printer_id: Option<i64>,
    /// As which job.
    pub job_uid: Option<Uuid>,
    /// When it came.
    pub created: Timestamp,
    /// When it changed.
    pub updated: Timestamp,
}

const COLUMNS: &str =
    "id, name, file_id, printers, metadata, tries, refusal, printer_id, job_uid, created, updated";

fn item(row: &Row<'_>) -> rusqlite::Result<QueueItem> {
    Ok(QueueItem {
        id: row.get(0)?,
        name: row.get(1)?,
        file_id: row.get(2)?,
        printers: row.get(3)?,
        metadata: row.get(4)?,
        tries: row.get(5)?,
        refusal: row.get(6)?,
        printer_id: row.get(7)?,
        job_uid: row
            .get::<_, Option<String>>(8)?
            .and_then(|text| Uuid::parse_str(&text).ok()),
        created: rows::time(row.get(9)?),
        updated: rows::time(row.get(10)?),
    })
}

impl Store {
    /// Puts an item at the end; gives its number. `None`: too many wait already.
    ///
    /// # Errors
    /// As every call.
    pub async fn queue_add(&self, new: QueueItem) -> Result<Option<i64>, StoreError> {
        self.call(move |db| {
            db.in_one(|tx| {
                tx.execute(
                    "DELETE FROM queue_items WHERE job_uid IS NOT NULL AND id <= \
                     (SELECT id FROM queue_items ORDER BY id DESC LIMIT 1 OFFSET ?1)",
                    [QUEUE_MAX - 1],
                )?;
                let kept = tx.execute(
                    "INSERT INTO queue_items (name, file_id, printers, metadata, created, updated) \
                     SELECT ?1, ?2, ?3, ?4, ?5, ?5 WHERE (SELECT count(*) FROM queue_items) < ?6",
                    params![
                        new.name,
                        new.file_id,
                        new.printers,
                        new.metadata,
                        rows::ms(new.created),
                        QUEUE_MAX
                    ],
                )?;
                Ok((kept == 1).then(|| tx.last_insert_rowid()))
            })
        })
        .await
    }

    /// All items, oldest first.
    ///
    /// # Errors
    /// As every call.
    pub async fn queue_items(&self) -> Result<Vec<QueueItem>, StoreError> {
        self.call(|db| {
            let read = || -> rusqlite::Result<Vec<QueueItem>> {
                let mut statement = db
                    .conn
                    .prepare(&format!("SELECT {COLUMNS} FROM queue_items ORDER BY id"))?;
                statement.query_map([], item)?.collect()
            };
            read().map_err(|e| db.sort(e))
        })
        .await
    }

    /// One item.
    ///
    /// # Errors
    /// As every call.
    pub async fn queue_item(&self, id: i64) -> Result<Option<QueueItem>, StoreError> {
        self.call(move |db| {
            let sql = format!("SELECT {COLUMNS} FROM queue_items WHERE id = ?1");
            db.conn
                .query_row(&sql, [id], item)
                .optional()
                .map_err(|e| db.sort(e))
        })
        .await
    }

    /// Notes that an item prints.
    ///
    /// # Errors
    /// As every call.
    pub async fn queue_assigned(
        &self,
        id: i64,
        printer_id: i64,
        job: Uuid,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.call(move |db| {
            db.in_one(|tx| {
                tx.execute(
                    "UPDATE queue_items SET printer_id = ?2, job_uid = ?3, refusal = NULL, updated = ?4 WHERE id = ?1",
                    params![id, printer_id, job.to_string(), rows::ms(at)],
                )
                .map(|_| ())
            })
        })
        .await
    }

    /// Notes why an item was not taken; the next start of it is another one.
    ///
    /// # Errors
    /// As every call.
    pub async fn queue_refused(&self, id: i64, why: String, at: Timestamp) -> Result<(), StoreError> {
        self.call(move |db| {
            db.in_one(|tx| {
                tx.execute(
                    "UPDATE queue_items SET tries = tries + 1, refusal = ?2, updated = ?3 WHERE id = ?1",
                    params![id, why, rows::ms(at)],
                )
                .map(|_| ())
            })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(name: &str) -> QueueItem {
        QueueItem {
            id: 0,
            name: name.to_owned(),
            file_id: None,
            printers: "[]".to_owned(),
            metadata: "{}".to_owned(),
            tries: 0,
            refusal: None,
            printer_id: None,
            job_uid: None,
            created: Timestamp::UNIX_EPOCH,
            updated: Timestamp::UNIX_EPOCH,
        }
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_what_waits_does_not_give_way() {
        let store = Store::memory().expect("a store");
        for n in 1..=QUEUE_MAX {
            assert_eq!(store.queue_add(new("x")).await.expect("kept"), Some(n));
        }
        assert_eq!(
            store.queue_add(new("x")).await.expect("asked"),
            None,
            "all of them wait"
        );
        let at = Timestamp::UNIX_EPOCH;
        store.queue_refused(1, "no".to_owned(), at).await.expect("noted");
        let first = store.queue_item(1).await.expect("read").expect("there");
        assert_eq!((first.tries, first.refusal.as_deref()), (1, Some("no")));
        store
            .queue_assigned(1, 7, Uuid::from_u128(9), at)
            .await
            .expect("noted");
        let first = store.queue_item(1).await.expect("read").expect("there");
        assert_eq!(
            (first.printer_id, first.job_uid, first.refusal),
            (Some(7), Some(Uuid::from_u128(9)), None)
        );
        assert!(
            store.queue_add(new("y")).await.expect("kept").is_some(),
            "one that prints gives way"
        );
        assert_eq!(store.queue_items().await.expect("read").len(), 200);
        assert_eq!(store.queue_item(1).await.expect("read"), None);
    }
}
