//! Requests that may be sent twice, and how the first of them was answered.

use jiff::{SignedDuration, Timestamp};
use rusqlite::{OptionalExtension, params};

use super::error::StoreError;
use super::{Store, rows};

/// How long a repeat gets the first answer.
const LIFE: SignedDuration = SignedDuration::from_hours(24);

/// Answers kept for one caller, and for all together. When there are more the oldest are forgotten: a
/// repeat comes soon or not at all.
const KEPT_OF_ONE: i64 = 500;
const KEPT_OF_ALL: i64 = 2000;

/// Largest answer that is kept, bytes.
pub const REPEAT_BODY_MAX: usize = 16 << 10;

/// What is known of a request when it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Nothing: it is the first, and noted as begun.
    First,
    /// The first one was answered so.
    Answered {
        /// HTTP status.
        status: u16,
        /// JSON.
        body: String,
    },
    /// The first one was begun and never answered.
    Unanswered,
    /// The first one asked for something else.
    Different,
}

impl Store {
    /// Notes that a request begins, unless it was here before. On the medium when it returns.
    ///
    /// # Errors
    /// As every call.
    pub async fn repeat_begin(
        &self,
        id: String,
        caller: i64,
        body_sha256: String,
        now: Timestamp,
    ) -> Result<Repeat, StoreError> {
        self.call(move |db| {
            db.in_one(|tx| {
                let dead = now.checked_sub(LIFE).unwrap_or(Timestamp::MIN);
                tx.execute("DELETE FROM repeats WHERE begun <= ?1", [rows::ms(dead)])?;
                let known = tx
                    .query_row(
                        "SELECT body_sha256, status, body FROM repeats WHERE id = ?1",
                        [&id],
                        |row| {
                            let (status, body): (Option<u16>, Option<String>) = (row.get(1)?, row.get(2)?);
                            Ok((row.get::<_, String>(0)?, status.zip(body)))
                        },
                    )
                    .optional()?;
                if let Some((sha256, answer)) = known {
                    return Ok(match answer {
                        _ if sha256 != body_sha256 => Repeat::Different,
                        Some((status, body)) => Repeat::Answered { status, body },
                        None => Repeat::Unanswered,
                    });
                }
                tx.execute(
                    "INSERT INTO repeats (id, caller, body_sha256, begun) VALUES (?1, ?2, ?3, ?4)",
                    params![id, caller, body_sha256, rows::ms(now)],
                )?;
                tx.execute(
                    "DELETE FROM repeats WHERE caller = ?1 AND id IN (SELECT id FROM repeats WHERE caller = ?1 \
                     ORDER BY begun DESC, id LIMIT -1 OFFSET ?2)",
                    params![caller, KEPT_OF_ONE],
                )?;
                tx.execute(
                    "DELETE FROM repeats WHERE id IN \
                     (SELECT id FROM repeats ORDER BY begun DESC, id LIMIT -1 OFFSET ?1)",
                    [KEPT_OF_ALL],
                )?;
                Ok(Repeat::First)
            })
        })
        .await
    }

    /// Keeps the first answer.
    ///
    /// # Errors
    /// As every call.
    pub async fn repeat_end(&self, id: String, status: u16, body: String) -> Result<(), StoreError> {
        self.call(move |db| {
            db.in_one(|tx| {
                tx.execute(
                    "UPDATE repeats SET status = ?2, body = ?3 WHERE id = ?1",
                    params![id, status, body],
                )
                .map(|_| ())
            })
        })
        .await
    }

    /// Forgets a request: it had no effect and may be sent again.
    ///
    /// # Errors
    /// As every call.
    pub async fn repeat_forget(&self, id: String) -> Result<(), StoreError> {
        self.call(move |db| db.in_one(|tx| tx.execute("DELETE FROM repeats WHERE id = ?1", [id]).map(|_| ())))
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).expect("in range")
    }

    async fn begin(store: &Store, id: &str, caller: i64, body: &str, second: i64) -> Repeat {
        store
            .repeat_begin(id.to_owned(), caller, body.to_owned(), at(second))
            .await
            .expect("asked")
    }

    #[tokio::test]
    async fn the_first_answer_is_kept_for_a_day_and_belongs_to_one_body() {
        let store = Store::memory().expect("a store");
        assert_eq!(begin(&store, "k", 1, "a", 0).await, Repeat::First);
        assert_eq!(begin(&store, "k", 1, "a", 1).await, Repeat::Unanswered);
        assert_eq!(begin(&store, "k", 1, "b", 1).await, Repeat::Different);
        store
            .repeat_end("k".to_owned(), 201, "{}".to_owned())
            .await
            .expect("kept");
        let first = Repeat::Answered {
            status: 201,
            body: "{}".to_owned(),
        };
        assert_eq!(begin(&store, "k", 1, "a", 86_399).await, first);
        assert_eq!(begin(&store, "k", 1, "b", 86_399).await, Repeat::Different);
        assert_eq!(
            begin(&store, "k", 1, "b", 86_400).await,
            Repeat::First,
            "a day is over"
        );
        store.repeat_forget("k".to_owned()).await.expect("forgotten");
        assert_eq!(begin(&store, "k", 1, "c", 86_401).await, Repeat::First);
    }

    #[tokio::test]
    async fn a_new_daemon_knows_the_answers_of_the_one_before() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(crate::job::store::FILE_NAME);
        let store = Store::open(&path).expect("a store");
        for id in ["answered", "begun"] {
            assert_eq!(begin(&store, id, 1, "a", 0).await, Repeat::First);
        }
        let kept = store.repeat_end("answered".to_owned(), 201, "{}".to_owned());
        kept.await.expect("kept");
        store
            .close(std::time::Duration::from_secs(10))
            .await
            .expect("closed");
        let store = Store::open(&path).expect("again");
        let first = Repeat::Answered {
            status: 201,
            body: "{}".to_owned(),
        };
        assert_eq!(begin(&store, "answered", 1, "a", 1).await, first);
        assert_eq!(begin(&store, "begun", 1, "a", 1).await, Repeat::Unanswered);
    }

    #[tokio::test]
    async fn one_caller_keeps_a_bounded_number_and_no_other_pays_for_it() {
        let store = Store::memory().expect("a store");
        assert_eq!(begin(&store, "other", 2, "x", 0).await, Repeat::First);
        for n in 0..=KEPT_OF_ONE {
            assert_eq!(
                begin(&store, &format!("k{n}"), 1, "x", n + 1).await,
                Repeat::First
            );
        }
        assert_eq!(begin(&store, "other", 2, "x", 600).await, Repeat::Unanswered);
        assert_eq!(begin(&store, "k1", 1, "x", 600).await, Repeat::Unanswered);
        assert_eq!(
            begin(&store, "k0", 1, "x", 600).await,
            Repeat::First,
            "the oldest went"
        );
    }
}
