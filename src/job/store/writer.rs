//! The one thread that touches the database, and what waits for it.

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use rusqlite::Connection;
use uuid::Uuid;

use super::error::StoreError;
use super::jobs::Mark;
use super::{flush, open};
use crate::job::record::JobRecord;
use crate::printer::event::{Checkpoint, JournalLine};
use crate::sorted::SortedMap;

/// Changes of a job's state that nobody waits for are gathered this long before they are committed.
const GATHER: Duration = Duration::from_millis(100);
/// A failed write is tried again after this.
const RETRY: Duration = Duration::from_secs(5);
/// Jobs that may wait to be written; with one live job per printer this is never reached. When full
/// the newcomer is refused.
const WAITING_JOBS_MAX: usize = 256;
/// Journal lines of one printer that may wait to be written; when full the oldest go. Small, because
/// it bounds what a printer that talks without end writes to the card.
const WAITING_LINES_MAX: usize = 60;

/// The same words within this time are the same line.
const REPEAT: SignedDuration = SignedDuration::from_secs(2);

/// What has not reached the disk yet. The lock is held for moments only, never across disk access.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// The newest version of each job.
    pub jobs: SortedMap<Uuid, JobRecord>,
    /// Positions of jobs that are not in `jobs`.
    pub checkpoints: SortedMap<Uuid, Checkpoint>,
    /// New journal lines by printer.
    pub journal: SortedMap<String, VecDeque<JournalLine>>,
    /// What is known to be on the disk about each live job, to tell progress from change.
    pub marks: SortedMap<Uuid, Mark>,
    /// Something in here is more than progress.
    urgent: bool,
    /// The writer knows that there is something.
    woken: bool,
}

impl Waiting {
    /// Keeps the newest version of a job. `false`: full.
    ///
    /// A version without a position keeps the one that is known.
    pub fn put_job(&mut self, mut record: JobRecord) -> bool {
        if self.jobs.len() >= WAITING_JOBS_MAX && !self.jobs.contains_key(&record.uid) {
            return false;
        }
        let before = self.jobs.remove(&record.uid).and_then(|job| job.checkpoint);
        let known = self.checkpoints.remove(&record.uid).or(before);
        if record.checkpoint.is_none() {
            record.checkpoint = known;
        }
        self.jobs.insert(record.uid, record);
        true
    }

    /// Keeps the newest position of a job.
    pub fn put_checkpoint(&mut self, uid: Uuid, checkpoint: Checkpoint) {
        if let Some(job) = self.jobs.get_mut(&uid) {
            job.checkpoint = Some(checkpoint);
        } else if self.checkpoints.len() < WAITING_JOBS_MAX || self.checkpoints.contains_key(&uid) {
            self.checkpoints.insert(uid, checkpoint);
        }
    }

    /// Appends a line to a printer's journal.
    pub fn put_line(&mut self, printer: &str, line: JournalLine) {
        let lines = match self.journal.get_mut(printer) {
            Some(lines) => lines,
            None => self.journal.entry(printer.to_owned()).or_default(),
        };
        // Said many times between two writes, it is written once, with its first time.
        let again =
            |old: &JournalLine| old.text == line.text && line.at.duration_since(old.at).abs() < REPEAT;
        if lines.iter().any(again) {
            return;
        }
        if lines.len() >= WAITING_LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.checkpoints.is_empty() && self.journal.is_empty()
    }

    /// Notes that there is something; `true` if the writer has to be woken for it.
    pub fn wake(&mut self, urgent: bool) -> bool {
        let was = if urgent { self.urgent } else { self.woken };
        self.urgent |= urgent;
        self.woken = true;
        !was
    }

    /// Whether more than progress waits.
    pub fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// Takes everything out for writing; the marks stay.
    fn take(&mut self) -> Waiting {
        let marks = std::mem::take(&mut self.marks);
        let taken = std::mem::take(self);
        self.marks = marks;
        taken
    }

    /// Remembers what was written.
    fn mark(&mut self, written: &Waiting) {
        for (uid, record) in &written.jobs {
            if record.state.is_final() {
                self.marks.remove(uid);
            } else {
                self.marks.insert(*uid, Mark::of(record));
            }
        }
        while self.marks.len() > WAITING_JOBS_MAX {
            self.marks.pop_first();
        }
    }

    /// Puts back what could not be written, unless something newer has come.
    fn give_back(&mut self, unwritten: Waiting) {
        for (uid, mut record) in unwritten.jobs {
            match self.jobs.get_mut(&uid) {
                Some(newer) => newer.checkpoint = newer.checkpoint.take().or(record.checkpoint),
                None => {
                    record.checkpoint = self.checkpoints.remove(&uid).or(record.checkpoint);
                    self.jobs.insert(uid, record);
                }
            }
        }
        for (uid, checkpoint) in unwritten.checkpoints {
            match self.jobs.get_mut(&uid) {
                Some(newer) => newer.checkpoint = newer.checkpoint.take().or(Some(checkpoint)),
                None => {
                    self.checkpoints.entry(uid).or_insert(checkpoint);
                }
            }
        }
        for (printer, mut old) in unwritten.journal {
            let lines = self.journal.entry(printer).or_default();
            old.extend(lines.drain(..));
            let surplus = old.len().saturating_sub(WAITING_LINES_MAX);
            old.drain(..surplus);
            *lines = old;
        }
        self.urgent = true;
        self.woken = true;
    }
}

/// Locks what waits; a panic elsewhere does not take the store down.
pub(super) fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(|e| e.into_inner())
}

/// What is done with the database, boxed so that the code around it is there once for each kind of answer.
pub(super) type Call<'a, T> = Box<dyn FnOnce(&mut Db) -> Result<T, StoreError> + Send + 'a>;

/// The statements of one transaction.
type Statements<'a, T> = Box<dyn FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T> + 'a>;

/// The database as its thread sees it.
#[derive(Debug)]
pub(super) struct Db {
    pub conn: Connection,
    pub path: PathBuf,
    pub waiting: Arc<Mutex<Waiting>>,
    /// Printers by name: id and driver. Also what refills a fresh file after damage, so that numbers stay.
    pub printers: SortedMap<String, (i64, String)>,
    /// Where a damaged file was moved in this run.
    pub set_aside: Option<PathBuf>,
    _lock: Option<File>,
}

impl Db {
    pub fn new(conn: Connection, path: PathBuf, lock: Option<File>, set_aside: Option<PathBuf>) -> Self {
        Db {
            conn,
            path,
            waiting: Arc::new(Mutex::new(Waiting::default())),
            printers: SortedMap::new(),
            set_aside,
            _lock: lock,
        }
    }

    /// Sorts an error of SQLite, naming our file.
    pub fn sort(&self, error: rusqlite::Error) -> StoreError {
        StoreError::of_sqlite(&self.path, &error)
    }

    /// Runs statements in one durable transaction: all of them or none.
    pub fn in_one<T>(
        &mut self,
        f: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.in_one_boxed(Box::new(f))
    }

    fn in_one_boxed<T>(&mut self, f: Statements<'_, T>) -> Result<T, StoreError> {
        let result = self.conn.transaction().and_then(|tx| {
            let value = f(&tx)?;
            tx.commit()?;
            Ok(value)
        });
        result.map_err(|e| self.sort(e))
    }

    /// Runs statements; damage that shows on the way sets the file aside at once, so that the next
    /// call works again.
    pub fn run<T>(&mut self, f: Call<'_, T>) -> Result<T, StoreError> {
        let result = f(self);
        if let Err(StoreError::Broken { why, .. }) = &result {
            let why = why.clone();
            self.replace(&why);
        }
        result
    }

    /// Writes what waits, in one transaction. Without `durable` the disk may keep it in its cache.
    pub fn flush(&mut self, durable: bool) -> Result<(), StoreError> {
        let taken = lock(&self.waiting).take();
        if taken.is_empty() {
            return Ok(());
        }
        let result = flush::write(self, &taken, durable);
        match &result {
            Ok(()) => lock(&self.waiting).mark(&taken),
            Err(_) => lock(&self.waiting).give_back(taken),
        }
        result
    }

    fn replace(&mut self, why: &str) {
        if self.path.as_os_str() == ":memory:" {
            return;
        }
        // The damaged file must be closed before it is moved: on Windows it could not be, and its
        // log must not be touched by a closing connection afterwards.
        if let Ok(nowhere) = Connection::open_in_memory() {
            self.conn = nowhere;
        }
        let fresh = open::move_aside(&self.path).and_then(|moved| {
            tracing::error!(
                code = "store/broken",
                kept = %moved.display(),
                "the database {} is damaged ({why}); it was set aside and a fresh one begun: \
                 history, files index and identities start empty",
                self.path.display()
            );
            self.set_aside = Some(moved);
            open::fresh(&self.path)
        });
        match fresh {
            Ok(conn) => {
                self.conn = conn;
                for (name, (id, driver)) in &self.printers {
                    let again = self.conn.execute(
                        "INSERT OR IGNORE INTO printers (id, name, driver) VALUES (?1, ?2, ?3)",
                        (id, name, driver),
                    );
                    if let Err(e) = again {
                        tracing::error!("cannot enter printer {name} into the fresh database: {e}");
                    }
                }
            }
            Err(e) => {
                tracing::error!(code = e.code(), "{e}");
                if let Ok(conn) = open::memory() {
                    self.conn = conn;
                }
            }
        }
    }
}

/// An order to the thread.
pub(super) enum Order {
    /// Run this.
    Call(Box<dyn FnOnce(&mut Db) + Send>),
    /// Something waits to be written.
    Wake,
    /// Write everything and end.
    Close,
}

/// The thread: orders as they come, what waits when it is due.
pub(super) fn run(mut db: Db, orders: Receiver<Order>, lazily_every: Duration) {
    let mut last_lazy: Option<Instant> = None;
    let mut due: Option<Instant> = None;
    let mut complained = false;
    loop {
        let order = match due {
            None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => orders.recv_timeout(at.saturating_duration_since(Instant::now())),
        };
        match order {
            Ok(Order::Call(f)) => {
                // A mistake in one call must not end the memory of the daemon; an open transaction
                // is rolled back on the way.
                let call = std::panic::AssertUnwindSafe(|| f(&mut db));
                if std::panic::catch_unwind(call).is_err() {
                    tracing::error!(
                        code = "store/bug",
                        "a call to the database failed; please report this"
                    );
                }
            }
            Ok(Order::Wake) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Order::Close) | Err(RecvTimeoutError::Disconnected) => {
                if let Err(e) = db.run(Box::new(|db| db.flush(true))) {
                    tracing::error!(code = e.code(), "the last changes could not be written: {e}");
                }
                return;
            }
        }

        let now = Instant::now();
        if due.is_some_and(|at| at <= now) {
            let urgent = lock(&db.waiting).urgent;
            due = None;
            match db.run(Box::new(move |db| db.flush(urgent))) {
                Ok(()) => {
                    last_lazy = Some(now);
                    if complained {
                        complained = false;
                        tracing::info!("the database can be written again");
                    }
                }
                Err(e) => {
                    if !complained {
                        complained = true;
                        tracing::error!(code = e.code(), "{e}");
                    }
                    due = Some(now + RETRY);
                }
            }
            continue;
        }
        let waiting = lock(&db.waiting);
        if waiting.is_empty() {
            due = None;
            // A call that waited for the disk got through meanwhile.
            complained = false;
        } else if !complained {
            let at = if waiting.urgent {
                now + GATHER
            } else {
                last_lazy.map_or(now + GATHER, |last| last + lazily_every)
            };
            due = Some(due.map_or(at, |due| due.min(at)));
        }
    }
}
