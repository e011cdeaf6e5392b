//! Jobs: written durably or soon, read by number, identity or filter; starts that happen once.

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{OptionalExtension, params, params_from_iter};
use uuid::Uuid;

use super::error::StoreError;
use super::writer::{self, Db};
use super::{Store, flush, rows};
use crate::job::record::{JobRecord, JobState};
use crate::printer::event::Checkpoint;

/// Start identities that are remembered. By number and not by age: a board without a battery-backed
/// clock may begin in 1970.
const STARTS_KEPT: i64 = 5000;

/// By what a list of jobs is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JobSort {
    /// Number, newest first.
    #[default]
    NewestFirst,
    /// Number, oldest first.
    OldestFirst,
    /// Time of the start, newest first; jobs that never started go last.
    StartedLast,
    /// Time of the end, newest first; live jobs go first.
    EndedLast,
    /// File name, A to Z.
    File,
}

impl JobSort {
    fn sql(self) -> &'static str {
        match self {
            JobSort::NewestFirst => "j.id DESC",
            JobSort::OldestFirst => "j.id ASC",
            JobSort::StartedLast => "j.started DESC NULLS LAST, j.id DESC",
            JobSort::EndedLast => "j.ended DESC NULLS FIRST, j.id DESC",
            JobSort::File => "j.file COLLATE NOCASE ASC, j.id DESC",
        }
    }
}

/// Which jobs are wanted. Empty lists mean all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobFilter {
    /// Names of printers.
    pub printers: Vec<String>,
    /// States.
    pub states: Vec<JobState>,
    /// Demanded at or after.
    pub from: Option<Timestamp>,
    /// Demanded before.
    pub to: Option<Timestamp>,
    /// Part of the file name, any case.
    pub text: Option<String>,
    /// Page, from 1; 0 counts as 1.
    pub page: u32,
    /// Jobs a page, 1–100; 0 means 25.
    pub page_size: u32,
    /// Order.
    pub sort: JobSort,
}

/// What became of a demanded start.
#[derive(Clone, Debug, PartialEq)]
pub enum StartSeen {
    /// New: the job is recorded, with this number.
    New(i64),
    /// The same start was demanded before; this is its job, if it is still known.
    Again(Option<Box<JobRecord>>),
}

/// Drops start identities that nobody will repeat any more.
pub(super) fn forget_old_starts(db: &mut Db) -> Result<(), StoreError> {
    db.conn
        .execute(
            "DELETE FROM starts WHERE id <= (SELECT id FROM starts ORDER BY id DESC LIMIT 1 OFFSET ?1)",
            [STARTS_KEPT],
        )
        .map(|_| ())
        .map_err(|e| db.sort(e))
}

/// Puts what waits to be written over what was read.
fn overlay(db: &Db, record: &mut JobRecord) {
    let waiting = writer::lock(&db.waiting);
    if let Some(newer) = waiting.jobs.get(&record.uid) {
        let (id, checkpoint) = (record.id, record.checkpoint.take());
        record.clone_from(newer);
        record.id = id;
        if record.state == JobState::Done {
            record.checkpoint = None;
        } else {
            record.checkpoint = record.checkpoint.take().or(checkpoint);
        }
    } else if record.state != JobState::Done
        && let Some(checkpoint) = waiting.checkpoints.get(&record.uid)
    {
        record.checkpoint = Some(checkpoint.clone());
    }
}

fn one(db: &Db, condition: &str, value: Value) -> Result<Option<JobRecord>, StoreError> {
    let sql = format!("SELECT {} FROM {} WHERE {condition}", rows::JOB, rows::JOB_FROM);
    let mut found = db
        .conn
        .prepare(&sql)
        .and_then(|mut s| s.query_row([value], rows::job).optional())
        .map_err(|e| db.sort(e))?;
    if let Some(record) = &mut found {
        overlay(db, record);
    }
    Ok(found)
}

fn id_of(db: &Db, uid: Uuid) -> Result<i64, StoreError> {
    db.conn
        .prepare("SELECT id FROM jobs WHERE uid = ?1")
        .and_then(|mut s| s.query_row([uid.to_string()], |row| row.get(0)))
        .map_err(|e| db.sort(e))
}

impl Store {
    /// Keeps a job (same `uid`: the newer one) and returns its number once it is on the medium.
    ///
    /// When this fails the job waits in memory and is tried again; the newest version wins.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when the disk does not answer in time, and what the disk says.
    pub async fn job_put(&self, record: JobRecord) -> Result<i64, StoreError> {
        let uid = record.uid;
        let kept = self.wait_quietly(|waiting| waiting.put_job(record));
        if !kept {
            return Err(StoreError::Busy);
        }
        let result = self
            .call(move |db| {
                db.flush(true)?;
                id_of(db, uid)
            })
            .await;
        if result.is_err() {
            self.wait_with(true, |_| ());
        }
        result
    }

    /// Keeps a job without waiting: newest version of each job wins. A changed state or story is
    /// written within a moment, mere progress (see [`Store::checkpoint`]) once a minute.
    ///
    /// `false`: too many jobs wait already (the disk has failed for long); this one is not kept.
    pub fn job_put_soon(&self, record: JobRecord) -> bool {
        // What tells progress from a change: the written version is not here, but a live job that
        // runs and has nothing new to tell is progress.
        let urgent = {
            let waiting = writer::lock(&self.inner.waiting);
            match waiting.jobs.get(&record.uid) {
                Some(before) => is_news(Mark::of(before), &record),
                None => waiting
                    .marks
                    .get(&record.uid)
                    .is_none_or(|mark| is_news(*mark, &record)),
            }
        };
        self.wait_with(urgent, |waiting| waiting.put_job(record))
    }

    /// Keeps the position of a job without waiting; written once a minute, or with the next change
    /// of state.
    pub fn checkpoint(&self, uid: Uuid, checkpoint: Checkpoint) {
        self.wait_with(false, |waiting| waiting.put_checkpoint(uid, checkpoint));
    }

    /// Records a start and its job in one durable step, so that the same start twice makes one job.
    ///
    /// On an error the start must be refused. When the disk was too slow to say whether it was
    /// recorded, the job is put down as failed, so that nothing executes it later.
    ///
    /// # Errors
    /// As [`Store::job_put`].
    pub async fn job_start(&self, start_id: &str, record: JobRecord) -> Result<StartSeen, StoreError> {
        let start_id = start_id.to_owned();
        let mut refused = record.clone();
        let result = self.record_start(start_id, record).await;
        if matches!(result, Err(StoreError::Busy)) {
            refused.state = JobState::Failed;
            refused.ended = Some(refused.created);
            refused.fault = Some(StoreError::Busy.fault());
            self.job_put_soon(refused);
        }
        result
    }

    async fn record_start(&self, start_id: String, record: JobRecord) -> Result<StartSeen, StoreError> {
        self.call(move |db| {
            db.flush(true)?;
            let before: Option<Option<String>> = db
                .conn
                .query_row(
                    "SELECT job_uid FROM starts WHERE start_id = ?1",
                    [&start_id],
                    |row| row.get(0),
                )
                .optional()
                .map_err(|e| db.sort(e))?;
            if let Some(uid) = before {
                let job = match uid {
                    Some(uid) => one(db, "j.uid = ?1", Value::Text(uid))?,
                    None => None,
                };
                return Ok(StartSeen::Again(job.map(Box::new)));
            }
            db.in_one(|tx| {
                let id = flush::job(tx, &record)?;
                tx.execute(
                    "INSERT INTO starts (start_id, job_uid, at) VALUES (?1, ?2, ?3)",
                    params![start_id, record.uid.to_string(), rows::ms(record.created)],
                )?;
                Ok(StartSeen::New(id))
            })
        })
        .await
    }

    /// Whether this start was recorded before (by [`Store::job_start`]); asking records nothing.
    ///
    /// # Errors
    /// As every call.
    pub async fn start_seen(&self, start_id: &str) -> Result<bool, StoreError> {
        let start_id = start_id.to_owned();
        self.call(move |db| {
            db.conn
                .query_row(
                    "SELECT 1 FROM starts WHERE start_id = ?1",
                    [&start_id],
                    |_| Ok(()),
                )
                .optional()
                .map(|found| found.is_some())
                .map_err(|e| db.sort(e))
        })
        .await
    }

    /// A job by its identity.
    ///
    /// # Errors
    /// As every call.
    pub async fn job(&self, uid: Uuid) -> Result<Option<JobRecord>, StoreError> {
        self.call(move |db| {
            flush_new(db)?;
            let found = one(db, "j.uid = ?1", Value::Text(uid.to_string()))?;
            // On a disk that refuses writes it may be in memory alone.
            Ok(found.or_else(|| writer::lock(&db.waiting).jobs.get(&uid).cloned()))
        })
        .await
    }

    /// A job by its number.
    ///
    /// # Errors
    /// As every call.
    pub async fn job_by_id(&self, id: i64) -> Result<Option<JobRecord>, StoreError> {
        self.call(move |db| one(db, "j.id = ?1", Value::Integer(id)))
            .await
    }

    /// The job of a printer that is not over, the newest if there are several.
    ///
    /// # Errors
    /// As every call.
    pub async fn active_job(&self, printer: &str) -> Result<Option<JobRecord>, StoreError> {
        let printer = printer.to_owned();
        self.call(move |db| {
            flush_new(db)?;
            let condition = format!(
                "p.name = ?1 AND j.state NOT IN {} ORDER BY j.id DESC LIMIT 1",
                rows::FINAL
            );
            let found = one(db, &condition, Value::Text(printer.clone()))?;
            let live = |job: &&JobRecord| job.printer == printer && !job.state.is_final();
            // On a disk that refuses writes the newest version may be in memory alone.
            Ok(found.filter(|job| !job.state.is_final()).or_else(|| {
                let waiting = writer::lock(&db.waiting);
                waiting.jobs.values().find(live).cloned()
            }))
        })
        .await
    }

    /// Jobs that fit a filter, one page of them, and how many fit in all.
    ///
    /// # Errors
    /// As every call.
    pub async fn jobs(&self, filter: JobFilter) -> Result<(Vec<JobRecord>, u64), StoreError> {
        self.call(move |db| {
            flush_new(db)?;
            let (condition, values) = condition(&filter);
            let total: i64 = db
                .conn
                .query_row(
                    &format!("SELECT COUNT(*) FROM jobs j JOIN printers p ON p.id = j.printer_id{condition}"),
                    params_from_iter(&values),
                    |row| row.get(0),
                )
                .map_err(|e| db.sort(e))?;
            let size = match filter.page_size {
                0 => 25,
                n => n.min(100),
            };
            let offset = u64::from(filter.page.max(1) - 1) * u64::from(size);
            let sql = format!(
                "SELECT {} FROM {}{condition} ORDER BY {} LIMIT {size} OFFSET {offset}",
                rows::JOB,
                rows::JOB_FROM,
                filter.sort.sql()
            );
            let read = || -> rusqlite::Result<Vec<JobRecord>> {
                db.conn
                    .prepare(&sql)?
                    .query_map(params_from_iter(&values), rows::job)?
                    .collect()
            };
            let mut jobs = read().map_err(|e| db.sort(e))?;
            for job in &mut jobs {
                overlay(db, job);
            }
            Ok((jobs, total.max(0) as u64))
        })
        .await
    }

    /// Removes finished jobs from the history. Gives how many were removed.
    ///
    /// # Errors
    /// As every call.
    pub async fn jobs_delete(&self, ids: Vec<i64>) -> Result<usize, StoreError> {
        self.call(move |db| {
            let sql = format!("DELETE FROM jobs WHERE id = ?1 AND state IN {}", rows::FINAL);
            db.in_one(|tx| {
                let mut removed = 0;
                for id in ids {
                    removed += tx.prepare(&sql)?.execute([id])?;
                }
                Ok(removed)
            })
        })
        .await
    }

    /// Removes the oldest finished jobs beyond `keep`, at most 500 a call. Gives how many.
    ///
    /// # Errors
    /// As every call.
    pub async fn jobs_prune(&self, keep: u32) -> Result<usize, StoreError> {
        self.call(move |db| {
            let sql = format!(
                "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE state IN {final_states} AND id <= \
                 (SELECT id FROM jobs WHERE state IN {final_states} ORDER BY id DESC LIMIT 1 OFFSET ?1) \
                 ORDER BY id LIMIT 500)",
                final_states = rows::FINAL
            );
            db.conn.execute(&sql, [keep]).map_err(|e| db.sort(e))
        })
        .await
    }

    /// Changes what waits without waking the writer: a call follows that does.
    fn wait_quietly<T>(&self, f: impl FnOnce(&mut writer::Waiting) -> T) -> T {
        f(&mut writer::lock(&self.inner.waiting))
    }
}

/// Writes changes of state that wait, so that a query by state sees them; progress may wait on.
pub(super) fn flush_new(db: &mut Db) -> Result<(), StoreError> {
    let urgent = writer::lock(&db.waiting).is_urgent();
    // A disk that refuses writes must not make the history unreadable.
    if urgent && let Err(e) = db.flush(true) {
        tracing::debug!(code = e.code(), "reading past unwritten changes: {e}");
    }
    Ok(())
}

/// What distinguishes a change worth an immediate commit from mere progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    state: JobState,
    pauses: usize,
    paused: bool,
    timeline: usize,
    skipped: usize,
    /// These move when somebody sets the clock. A daemon that is killed before they are on the disk would find a print
    /// that lasts for years.
    created: Timestamp,
    started: Option<Timestamp>,
}

impl Mark {
    pub fn of(record: &JobRecord) -> Self {
        Mark {
            state: record.state,
            pauses: record.pauses.len(),
            paused: record.pauses.last().is_some_and(|p| p.to.is_none()),
            timeline: record.timeline.len(),
            skipped: record.skipped.len(),
            created: record.created,
            started: record.started,
        }
    }
}

pub(super) fn is_news(before: Mark, record: &JobRecord) -> bool {
    record.state.is_final() || before != Mark::of(record)
}

fn condition(filter: &JobFilter) -> (String, Vec<Value>) {
    let mut parts: Vec<String> = Vec::new();
    let mut values: Vec<Value> = Vec::new();
    let mut list = |column: &str, items: Vec<String>| {
        if !items.is_empty() {
            let marks = vec!["?"; items.len()].join(", ");
            parts.push(format!("{column} IN ({marks})"));
            values.extend(items.into_iter().map(Value::Text));
        }
    };
    list("p.name", filter.printers.iter().take(1000).cloned().collect());
    list(
        "j.state",
        filter
            .states
            .iter()
            .take(10)
            .map(|s| rows::state_word(*s).to_owned())
            .collect(),
    );
    if let Some(from) = filter.from {
        parts.push("j.created >= ?".to_owned());
        values.push(Value::Integer(rows::ms(from)));
    }
    if let Some(to) = filter.to {
        parts.push("j.created < ?".to_owned());
        values.push(Value::Integer(rows::ms(to)));
    }
    if let Some(text) = filter.text.as_ref().filter(|t| !t.is_empty()) {
        parts.push("instr(lower(j.file), lower(?)) > 0".to_owned());
        values.push(Value::Text(text.chars().take(200).collect()));
    }
    if parts.is_empty() {
        (String::new(), values)
    } else {
        (format!(" WHERE {}", parts.join(" AND ")), values)
    }
}
