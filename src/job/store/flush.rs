//! Writing what waits: jobs, positions, journal lines, counters, in one transaction.

use rusqlite::{OptionalExtension, Transaction, params};

use super::error::StoreError;
use super::rows::{self, Details};
use super::writer::{Db, Waiting};
use crate::job::record::{JobRecord, JobState};

/// Journal lines kept per printer.
const JOURNAL_LINES_MAX: i64 = 2000;

/// Writes everything that waits.
pub(super) fn write(db: &mut Db, waiting: &Waiting, durable: bool) -> Result<(), StoreError> {
    let path = db.path.clone();
    let sort = |e: rusqlite::Error| StoreError::of_sqlite(&path, &e);
    // NORMAL leaves the fsync to the next checkpoint or durable commit: progress may be lost with
    // the power, the file stays sound.
    if !durable {
        db.conn
            .pragma_update(None, "synchronous", "NORMAL")
            .map_err(sort)?;
    }
    let result = (|| {
        let tx = db.conn.transaction()?;
        for record in waiting.jobs.values() {
            job(&tx, record)?;
        }
        for (uid, checkpoint) in &waiting.checkpoints {
            tx.prepare("UPDATE jobs SET checkpoint = ?2 WHERE uid = ?1 AND state IS NOT 'done'")?
                .execute(params![uid.to_string(), json(checkpoint)])?;
        }
        for (printer, lines) in &waiting.journal {
            let id = printer_id(&tx, printer, None)?;
            {
                let mut insert =
                    tx.prepare("INSERT INTO journal (printer_id, at, text) VALUES (?1, ?2, ?3)")?;
                for line in lines {
                    insert.execute(params![id, rows::ms(line.at), line.text])?;
                }
            }
            tx.prepare(
                "DELETE FROM journal WHERE printer_id = ?1 AND id <= \
                 (SELECT id FROM journal WHERE printer_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
            )?
            .execute(params![id, JOURNAL_LINES_MAX])?;
        }
        tx.commit()
    })()
    .map_err(sort);
    if !durable {
        db.conn.pragma_update(None, "synchronous", "FULL").map_err(sort)?;
    }
    result
}

fn json<T: serde::Serialize>(value: &T) -> String {
    // Our own types with string keys always serialize.
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

/// The number of a printer; made when it is new. A driver is noted when given.
pub(super) fn printer_id(tx: &Transaction<'_>, name: &str, driver: Option<&str>) -> rusqlite::Result<i64> {
    let known: Option<i64> = tx
        .prepare("SELECT id FROM printers WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    match (known, driver) {
        (Some(id), Some(driver)) => {
            tx.prepare("UPDATE printers SET driver = ?2 WHERE id = ?1 AND driver IS NOT ?2")?
                .execute(params![id, driver])?;
            Ok(id)
        }
        (Some(id), None) => Ok(id),
        (None, driver) => {
            tx.prepare("INSERT INTO printers (name, driver) VALUES (?1, ?2)")?
                .execute(params![name, driver.unwrap_or("")])?;
            Ok(tx.last_insert_rowid())
        }
    }
}

/// Writes one job and counts what its change means for the printer: in the same transaction, so
/// that each start and end is counted once even when the power fails in between.
pub(super) fn job(tx: &Transaction<'_>, record: &JobRecord) -> rusqlite::Result<i64> {
    let printer = printer_id(tx, &record.printer, None)?;
    let uid = record.uid.to_string();
    let before: Option<(i64, bool, bool)> = tx
        .prepare(&format!(
            "SELECT id, started IS NOT NULL, state IN {} FROM jobs WHERE uid = ?1",
            rows::FINAL
        ))?
        .query_row([&uid], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    // A complete job is not offered for recovery, so its place is of no use.
    let keep_checkpoint = record.state != JobState::Done;
    let checkpoint = record.checkpoint.as_ref().filter(|_| keep_checkpoint).map(json);

    let id = match before {
        Some((id, ..)) => {
            tx.prepare(
                "UPDATE jobs SET printer_id = ?2, file = ?3, sha256 = ?4, size = ?5, state = ?6, \
                 created = ?7, started = ?8, ended = ?9, percent = ?10, layer = ?11, filament_mm = ?12, \
                 checkpoint = CASE WHEN ?15 THEN COALESCE(?13, checkpoint) END, rating = ?14 \
                 WHERE id = ?1",
            )?
            .execute(params![
                id,
                printer,
                record.file,
                record.sha256,
                record.size.map(|n| n as i64),
                rows::state_word(record.state),
                rows::ms(record.created),
                record.started.map(rows::ms),
                record.ended.map(rows::ms),
                record.percent.map(f64::from),
                record.layer,
                json(&record.filament_mm),
                checkpoint,
                record.rating,
                keep_checkpoint,
            ])?;
            id
        }
        None => {
            tx.prepare(
                "INSERT INTO jobs (uid, printer_id, file, sha256, size, origin, state, created, started, \
                 ended, percent, layer, filament_mm, checkpoint, rating) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
            )?
            .execute(params![
                uid,
                printer,
                record.file,
                record.sha256,
                record.size.map(|n| n as i64),
                rows::origin_word(record.origin),
                rows::state_word(record.state),
                rows::ms(record.created),
                record.started.map(rows::ms),
                record.ended.map(rows::ms),
                record.percent.map(f64::from),
                record.layer,
                json(&record.filament_mm),
                checkpoint,
                record.rating,
            ])?;
            tx.last_insert_rowid()
        }
    };
    // The condition keeps an unchanged story from being written again.
    tx.prepare(
        "INSERT INTO job_details (job_id, body) VALUES (?1, ?2) \
         ON CONFLICT (job_id) DO UPDATE SET body = excluded.body WHERE body IS NOT excluded.body",
    )?
    .execute(params![id, json(&Details::of(record))])?;

    let (was_started, was_final) = before.map_or((false, false), |(_, s, f)| (s, f));
    count(tx, printer, record, was_started, was_final)?;
    Ok(id)
}

fn count(
    tx: &Transaction<'_>,
    printer: i64,
    record: &JobRecord,
    was_started: bool,
    was_final: bool,
) -> rusqlite::Result<()> {
    let started = record.started.is_some() && !was_started;
    let ended = record.state.is_final() && !was_final;
    if !started && !ended {
        return Ok(());
    }
    let is = |state: JobState| i64::from(ended && record.state == state);
    let print_s = if ended { record.print_s().unwrap_or(0) } else { 0 };
    let filament: f64 = if ended {
        record.filament_mm.iter().filter(|mm| mm.is_finite()).sum()
    } else {
        0.0
    };
    tx.prepare(
        "UPDATE printers SET started = started + ?2, completed = completed + ?3, failed = failed + ?4, \
         cancelled = cancelled + ?5, print_s = print_s + ?6, filament_mm = filament_mm + ?7, \
         bed_dirty = CASE WHEN ?8 THEN 1 ELSE bed_dirty END WHERE id = ?1",
    )?
    .execute(params![
        printer,
        i64::from(started),
        is(JobState::Done),
        is(JobState::Failed) + is(JobState::Interrupted),
        is(JobState::Cancelled),
        print_s as i64,
        filament,
        // In the same step as the end: a print that lies on the bed is not forgotten with the power.
        ended && record.started.is_some(),
    ])?;
    Ok(())
}
