//! The durable memory of the daemon: one SQLite file, one thread that writes it.
//!
//! Nobody waits for the disk unless they ask to: calls that wait have a deadline and answer
//! [`StoreError::Busy`] when the disk stalls; [`Store::job_put_soon`], [`Store::checkpoint`] and
//! [`Store::journal_append`] never wait. What could not be written (disk full, card read-only) stays
//! in memory, newest version of each job, and is tried again.
//!
//! Bytes on the card are counted: changes of state are committed at once and are on the medium when
//! the call returns; progress is written once a minute for all printers together.

mod api_keys;
mod error;
mod facts;
mod files;
mod flush;
mod jobs;
mod notices;
mod open;
mod printers;
mod queue;
mod repeats;
mod rows;
mod schema;
#[cfg(test)]
mod tests_store;
#[cfg(test)]
mod tests_upstreams;
mod upstreams;
mod webhooks;
mod writer;

pub use api_keys::{API_KEYS_MAX, ApiKeyRow};
pub use error::StoreError;
pub use facts::Facts;
pub use files::{AnalysisText, UploadRow};
pub use jobs::{JobFilter, JobSort, StartSeen};
pub use notices::NoticeRow;
pub use printers::Counters;
pub use queue::{QUEUE_MAX, QueueItem};
pub use repeats::{REPEAT_BODY_MAX, Repeat};
pub use rows::state_word;
pub use webhooks::{
    Attempt, DeliveryFilter, DeliveryRow, DeliverySort, DeliveryState, WEBHOOKS_MAX, WebhookRow,
};

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use writer::{Db, Order, Waiting};

/// The file name inside the state directory.
pub const FILE_NAME: &str = "layerd.db";

/// How long a caller waits for the disk at most.
const DEADLINE: Duration = Duration::from_secs(5);
/// How often mere progress is written.
const LAZILY_EVERY: Duration = Duration::from_secs(60);
/// Calls that may queue; when full the caller gets [`StoreError::Busy`] at once.
const QUEUE: usize = 128;

/// A handle to the database; cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    lane: Lane,
    waiting: Arc<Mutex<Waiting>>,
    deadline: Duration,
}

enum Lane {
    /// A file: everything goes through its thread.
    Thread {
        orders: SyncSender<Order>,
        thread: Mutex<Option<JoinHandle<()>>>,
    },
    /// Memory: cannot stall, so it is used where one stands.
    Inline(Mutex<Db>),
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.inner.path)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the database file, making or upgrading it where needed, and starts its thread.
    ///
    /// A damaged file is renamed to `<name>.broken-<time>` with a loud message and a fresh one is
    /// begun; a file of a later version of layerd is refused.
    ///
    /// # Errors
    /// [`StoreError::Open`], [`StoreError::InUse`], [`StoreError::TooNew`], [`StoreError::Full`].
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        Store::open_with(path, LAZILY_EVERY, DEADLINE)
    }

    /// [`Store::open`] with another interval for progress and another deadline for callers.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with(path: &Path, lazily_every: Duration, deadline: Duration) -> Result<Store, StoreError> {
        let opened = open::open(path)?;
        let mut db = Db::new(
            opened.conn,
            path.to_path_buf(),
            Some(opened.lock),
            opened.set_aside,
        );
        printers::load(&mut db)?;
        jobs::forget_old_starts(&mut db)?;
        let waiting = Arc::clone(&db.waiting);
        let (orders, inbox) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .stack_size(512 << 10)
            .spawn(move || writer::run(db, inbox, lazily_every))
            .map_err(|e| StoreError::Open {
                path: path.to_path_buf(),
                why: e.to_string(),
                remedy: "The system refuses new threads: check its limits (ulimit -u, TasksMax).",
            })?;
        Ok(Store {
            inner: Arc::new(Inner {
                path: path.to_path_buf(),
                lane: Lane::Thread {
                    orders,
                    thread: Mutex::new(Some(thread)),
                },
                waiting,
                deadline,
            }),
        })
    }

    /// A store that forgets: for tests, `layerd demo`, and for going on without a usable disk.
    ///
    /// # Errors
    /// Only when there is no memory for it.
    pub fn memory() -> Result<Store, StoreError> {
        let path = PathBuf::from(":memory:");
        let db = Db::new(open::memory()?, path.clone(), None, None);
        Ok(Store {
            inner: Arc::new(Inner {
                path,
                waiting: Arc::clone(&db.waiting),
                lane: Lane::Inline(Mutex::new(db)),
                deadline: DEADLINE,
            }),
        })
    }

    /// Where the database lies; `:memory:` for one without a file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Writes everything that waits and returns when it is on the medium.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when the disk does not answer in time, and what the disk says.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.call(|db| db.flush(true)).await
    }

    /// Writes everything that waits and ends the thread, within `deadline`. Later calls answer
    /// [`StoreError::Closed`].
    ///
    /// # Errors
    /// [`StoreError::Busy`] when the disk did not take it in time, and what the disk says.
    pub async fn close(&self, deadline: Duration) -> Result<(), StoreError> {
        let until = tokio::time::Instant::now() + deadline;
        let flushed = match tokio::time::timeout(deadline, self.call(|db| db.flush(true))).await {
            Ok(result) => result,
            Err(_) => Err(StoreError::Busy),
        };
        let Lane::Thread { orders, thread } = &self.inner.lane else {
            return flushed;
        };
        // A full queue is a stalled disk: the thread ends when the last handle is dropped.
        if orders.try_send(Order::Close).is_err() {
            return flushed.and(Err(StoreError::Busy));
        }
        let Some(handle) = thread.lock().unwrap_or_else(|e| e.into_inner()).take() else {
            return flushed;
        };
        while !handle.is_finished() {
            if tokio::time::Instant::now() >= until {
                return flushed.and(Err(StoreError::Busy));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let _ = handle.join();
        flushed
    }

    /// Copies the whole database into a new file (`layerd backup`).
    ///
    /// # Errors
    /// When the target exists or cannot be written, and as every call.
    pub async fn copy_to(&self, target: &Path) -> Result<(), StoreError> {
        let target = target.to_path_buf();
        self.call(move |db| {
            db.flush(true)?;
            let text = target.to_string_lossy().into_owned();
            db.conn
                .execute("VACUUM INTO ?1", [text])
                .map(|_| ())
                .map_err(|e| StoreError::of_sqlite(&target, &e))
        })
        .await
    }

    /// How many jobs, positions and journals wait to be written (for metrics; grows while the disk
    /// refuses writes).
    pub fn unwritten(&self) -> usize {
        let waiting = writer::lock(&self.inner.waiting);
        waiting.jobs.len() + waiting.checkpoints.len() + waiting.journal.len()
    }

    /// Where a damaged file of this run was moved, for a notice to the person.
    ///
    /// # Errors
    /// As every call.
    pub async fn set_aside(&self) -> Result<Option<PathBuf>, StoreError> {
        self.call(|db| Ok(db.set_aside.clone())).await
    }

    /// Runs something on the thread and waits for it, no longer than the deadline. What is given up
    /// before its turn is not done at all.
    fn call<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Db) -> Result<T, StoreError> + Send + 'static,
    ) -> impl Future<Output = Result<T, StoreError>> {
        self.call_boxed(Box::new(f))
    }

    /// The way there and back, compiled for each kind of answer and not for each call.
    async fn call_boxed<T: Send + 'static>(&self, f: writer::Call<'static, T>) -> Result<T, StoreError> {
        let orders = match &self.inner.lane {
            Lane::Inline(db) => return db.lock().unwrap_or_else(|e| e.into_inner()).run(f),
            Lane::Thread { orders, .. } => orders,
        };
        let (reply, answer) = oneshot::channel();
        let order = Order::Call(Box::new(move |db| {
            if !reply.is_closed() {
                let _ = reply.send(db.run(f));
            }
        }));
        match orders.try_send(order) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(StoreError::Busy),
            Err(TrySendError::Disconnected(_)) => return Err(StoreError::Closed),
        }
        match tokio::time::timeout(self.inner.deadline, answer).await {
            Ok(Ok(result)) => result,
            // Dropped unanswered: the thread has ended.
            Ok(Err(_)) => Err(StoreError::Closed),
            Err(_) => Err(StoreError::Busy),
        }
    }

    /// Changes what waits to be written, then sees to it that it will be.
    fn wait_with<T>(&self, urgent: bool, f: impl FnOnce(&mut Waiting) -> T) -> T {
        let (result, wake) = {
            let mut waiting = writer::lock(&self.inner.waiting);
            let result = f(&mut waiting);
            (result, waiting.wake(urgent))
        };
        if wake {
            match &self.inner.lane {
                // A full queue keeps the thread awake by itself.
                Lane::Thread { orders, .. } => {
                    let _ = orders.try_send(Order::Wake);
                }
                Lane::Inline(db) => {
                    let written = db.lock().unwrap_or_else(|e| e.into_inner()).flush(true);
                    if let Err(e) = written {
                        tracing::error!(code = e.code(), "{e}");
                    }
                }
            }
        }
        result
    }
}
