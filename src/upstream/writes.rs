//! What an upstream keeps, on its way to the database: in order, one at a time. A write that the disk refuses is tried
//! again as long as the process lives.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use serde::Serialize;

use super::PrinterKey;
use crate::config::secrets::Secret;
use crate::job::store::{Store, StoreError};

/// A write that failed is tried again after this.
const RETRY: Duration = Duration::from_secs(1);
/// A disk that refuses is a line in the log so often.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// A printer's document.
    Doc {
        /// Which printer.
        printer: PrinterKey,
        /// Its name.
        name: String,
        /// Which version.
        version: u64,
        /// The text.
        body: Secret,
    },
    /// A thing to deliver.
    Put {
        /// The printer's name.
        name: String,
        /// Under which the thing is known.
        key: String,
        /// The text.
        body: Secret,
    },
    /// Delivered things.
    Done {
        /// The printer's name.
        name: String,
        /// Which.
        keys: Vec<String>,
    },
    /// A small value under a key; `None`: none any more.
    Setting(String, Option<String>),
}

impl Write {
    /// A thing to deliver.
    pub fn put(name: String, key: &str, thing: &impl Serialize) -> Write {
        Write::Put {
            name,
            key: key.to_owned(),
            // Things to deliver are maps with texts as keys, which can always be written.
            body: Secret::new(serde_json::to_string(thing).unwrap_or_default()),
        }
    }

    fn is_newer(&self, than: &Write) -> bool {
        match (self, than) {
            (Write::Doc { name, .. }, Write::Doc { name: old, .. }) => name == old,
            (Write::Setting(key, _), Write::Setting(old, _)) => key == old,
            _ => false,
        }
    }
}

/// A document that was written, or could not be by a mistake of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Of which printer.
    pub printer: PrinterKey,
    /// Which version.
    pub version: u64,
    /// Whether it is on the disk.
    pub ok: bool,
}

/// What waits to be written. Bounded by what it is about, so that nothing is ever dropped: two versions at most of each
/// document and setting, and of things to deliver no more than the outboxes hold, for a thing that is delivered or given
/// up before it was written is not written at all.
#[derive(Debug, Default)]
struct Waiting(VecDeque<Write>);

impl Waiting {
    fn push(&mut self, write: Write) {
        match write {
            Write::Done { name, mut keys } => {
                self.0.retain(|waits| match waits {
                    Write::Put { name: of, key, .. } if *of == name => !take(&mut keys, key),
                    _ => true,
                });
                let known = self.0.iter_mut().find_map(|waits| match waits {
                    Write::Done { name: of, keys } if *of == name => Some(keys),
                    _ => None,
                });
                match known {
                    // What they are about is written already, or being written now.
                    Some(known) => known.extend(keys),
                    None if keys.is_empty() => {}
                    None => self.0.push_back(Write::Done { name, keys }),
                }
            }
            write => {
                // The first one keeps its place, so that it is written however often it changes; the newest one is
                // behind all that came before it.
                let mut same =
                    (0..self.0.len()).filter(|at| self.0.get(*at).is_some_and(|w| write.is_newer(w)));
                if let Some(second) = same.nth(1) {
                    self.0.remove(second);
                }
                self.0.push_back(write);
            }
        }
    }

    /// The disk has refused it: it is the next one, unless there is a newer one.
    fn give_back(&mut self, write: Write) {
        if !self.0.iter().any(|waits| waits.is_newer(&write)) {
            self.0.push_front(write);
        }
    }
}

/// Takes a key out of a list; whether it was there.
fn take(keys: &mut Vec<String>, key: &str) -> bool {
    let at = keys.iter().position(|k| k == key);
    at.map(|at| keys.swap_remove(at)).is_some()
}

/// Writes in order, one at a time.
pub struct Writes {
    store: Store,
    /// Under which the upstream keeps its things.
    space: String,
    /// For whom, in words.
    whom: &'static str,
    waiting: Waiting,
    /// The write under way; kept over turns of the loop, so that a slow disk is not asked anew.
    current: Option<BoxFuture<'static, (Write, Result<(), StoreError>)>>,
    /// The disk has refused the last write: not before this again.
    again_at: Option<tokio::time::Instant>,
    told_at: Option<Instant>,
}

impl Writes {
    /// Nothing waits.
    pub fn new(store: Store, space: &str, whom: &'static str) -> Self {
        Writes {
            store,
            space: space.to_owned(),
            whom,
            waiting: Waiting::default(),
            current: None,
            again_at: None,
            told_at: None,
        }
    }

    /// One more.
    pub fn push(&mut self, write: Write) {
        self.waiting.push(write);
    }

    /// The next write is done; the document, if it was one. Never resolves when nothing waits. Cancel-safe.
    pub async fn next(&mut self) -> Option<Saved> {
        loop {
            let Some(current) = &mut self.current else {
                let Some(write) = self.waiting.0.pop_front() else {
                    return std::future::pending().await;
                };
                let (store, space, pause) = (self.store.clone(), self.space.clone(), self.again_at);
                self.current = Some(Box::pin(async move {
                    if let Some(until) = pause {
                        tokio::time::sleep_until(until).await;
                    }
                    let done = persist(&store, &space, &write).await;
                    (write, done)
                }));
                continue;
            };
            let (write, done) = current.await;
            self.current = None;
            let ok = done.is_ok();
            match done {
                Ok(()) => self.again_at = None,
                // A printer that has no number any more, or a mistake of ours, will not get better by waiting.
                Err(error @ StoreError::Bug(_)) => {
                    tracing::error!(code = error.code(), "not kept for {}: {error}", self.whom);
                }
                Err(error) => {
                    self.again_at = Some(tokio::time::Instant::now() + RETRY);
                    self.tell(&error);
                    self.waiting.give_back(write);
                    continue;
                }
            }
            return match write {
                Write::Doc { printer, version, .. } => Some(Saved { printer, version, ok }),
                Write::Put { .. } | Write::Done { .. } | Write::Setting(..) => None,
            };
        }
    }

    fn tell(&mut self, error: &StoreError) {
        if self.told_at.is_some_and(|at| at.elapsed() < TOLD_EVERY) {
            return;
        }
        self.told_at = Some(Instant::now());
        tracing::error!(
            code = error.code(),
            "not kept for {} yet, and {} more wait: {error}",
            self.whom,
            self.waiting.0.len()
        );
    }

    /// Writes what waits, at most for `limit`.
    pub async fn flush(&mut self, limit: Duration) {
        let all = async {
            while self.current.is_some() || !self.waiting.0.is_empty() {
                self.next().await;
            }
        };
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::error!(
                code = "upstream/not-kept",
                "the disk was too slow to keep everything for {}",
                self.whom
            );
        }
    }
}

async fn persist(store: &Store, space: &str, write: &Write) -> Result<(), StoreError> {
    match write {
        Write::Doc { name, body, .. } => {
            store
                .upstream_doc_put(space, name, body.reveal().to_owned())
                .await
        }
        Write::Put { name, key, body } => store.outbox_put(space, name, key, body.reveal().to_owned()).await,
        Write::Done { name, keys } => store.outbox_done(space, name, keys.clone()).await,
        Write::Setting(key, value) => store.set_setting(key, value.as_deref()).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACE: &str = "up";

    fn doc(name: &str, version: u64) -> Write {
        Write::Doc {
            printer: 1,
            name: name.to_owned(),
            version,
            body: Secret::new(version.to_string()),
        }
    }

    fn put(key: &str) -> Write {
        Write::put("p".to_owned(), key, &key)
    }

    fn done(keys: &[&str]) -> Write {
        Write::Done {
            name: "p".to_owned(),
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        }
    }

    #[test]
    fn a_disk_that_refuses_for_days_makes_no_heap_and_loses_nothing() {
        let mut waiting = Waiting::default();
        waiting.push(put("stays"));
        for n in 0..10_000 {
            waiting.push(doc("p", n));
            waiting.push(put(&n.to_string()));
            waiting.push(done(&[&n.to_string(), "before"]));
            waiting.push(Write::Setting("s".to_owned(), Some(n.to_string())));
            waiting.push(doc("q", n));
        }
        let Some(Write::Done { keys, .. }) = waiting.0.iter().find(|w| matches!(w, Write::Done { .. }))
        else {
            panic!("what was on the disk before is taken from it");
        };
        assert!(keys.iter().all(|key| key == "before"));
        waiting.0.retain(|w| !matches!(w, Write::Done { .. }));
        let setting = |n: u64| Write::Setting("s".to_owned(), Some(n.to_string()));
        assert_eq!(
            waiting.0,
            [
                put("stays"),
                doc("p", 0),
                setting(0),
                doc("q", 0),
                doc("p", 9999),
                setting(9999),
                doc("q", 9999)
            ]
        );
    }

    #[test]
    fn what_the_disk_refused_is_next_unless_it_is_old() {
        let mut waiting = Waiting::default();
        waiting.push(put("a"));
        waiting.push(doc("p", 2));
        waiting.give_back(doc("p", 1));
        waiting.give_back(doc("q", 1));
        assert_eq!(waiting.0, [doc("q", 1), put("a"), doc("p", 2)]);
    }

    #[tokio::test]
    async fn what_is_pushed_stands_in_the_database_in_the_end_and_documents_are_told() {
        let store = Store::memory().expect("a database");
        store.printer_id("p", "marlin").await.expect("a number");
        let mut writes = Writes::new(store.clone(), SPACE, "the test");
        writes.push(put("a"));
        writes.push(put("b"));
        writes.push(doc("p", 7));
        writes.push(Write::Setting("too long".to_owned(), Some("x".repeat(1 << 20))));
        writes.push(doc("p", 8));
        assert_eq!(writes.next().await, None);
        assert_eq!(writes.next().await, None);
        writes.push(done(&["a"]));
        let saved = |version| {
            Some(Saved {
                printer: 1,
                version,
                ok: true,
            })
        };
        assert_eq!(writes.next().await, saved(7));
        assert_eq!(writes.next().await, None, "a mistake of ours holds up nothing");
        assert_eq!(writes.next().await, saved(8));
        writes.flush(Duration::from_secs(10)).await;
        assert_eq!(store.outbox(SPACE, "p").await.expect("read"), ["\"b\""]);
        assert_eq!(
            store.upstream_doc(SPACE, "p").await.expect("read").as_deref(),
            Some("8")
        );
    }
}
