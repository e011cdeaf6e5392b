//! Printers as the database knows them: numbers, counters, the dirty bed; and small settings.

use rusqlite::{OptionalExtension, params};

use super::error::StoreError;
use super::writer::Db;
use super::{Store, flush};
use crate::json;
use crate::printer::event::JournalLine;

/// What a printer has done since it is known. Each start and each end is counted exactly once.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Seconds of printing, pauses left out.
    pub print_s: u64,
    /// Jobs seen to start.
    pub started: u64,
    /// Jobs completed.
    pub completed: u64,
    /// Jobs ended by a fault or an interruption.
    pub failed: u64,
    /// Jobs ended by a person.
    pub cancelled: u64,
    /// Filament used, mm, all tools.
    pub filament_mm: f64,
}

impl Counters {
    /// What came on top of an earlier count.
    pub fn since(&self, mark: &Counters) -> Counters {
        Counters {
            print_s: self.print_s.saturating_sub(mark.print_s),
            started: self.started.saturating_sub(mark.started),
            completed: self.completed.saturating_sub(mark.completed),
            failed: self.failed.saturating_sub(mark.failed),
            cancelled: self.cancelled.saturating_sub(mark.cancelled),
            filament_mm: (self.filament_mm - mark.filament_mm).max(0.0),
        }
    }
}

/// The last time that somebody serviced a printer.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ServiceMark {
    /// When.
    pub at: jiff::Timestamp,
    /// What was counted then.
    pub counters: Counters,
}

fn service_key(id: i64) -> String {
    format!("service/{id}")
}

/// Longest value of a setting.
const SETTING_MAX_BYTES: usize = 64 << 10;

/// Reads the printers into memory.
pub(super) fn load(db: &mut Db) -> Result<(), StoreError> {
    let path = db.path.clone();
    let read = || -> rusqlite::Result<_> {
        let mut rows = db.conn.prepare("SELECT name, id, driver FROM printers")?;
        let rows = rows.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
        rows.collect()
    };
    let printers = read().map_err(|e| StoreError::of_sqlite(&path, &e))?;
    db.printers = printers;
    Ok(())
}

/// Number of a printer, made when new.
fn number(db: &mut Db, name: &str, driver: Option<&str>) -> Result<i64, StoreError> {
    if let Some((id, known)) = db.printers.get(name)
        && driver.is_none_or(|d| d == known)
    {
        return Ok(*id);
    }
    let id = db.in_one(|tx| flush::printer_id(tx, name, driver))?;
    db.printers
        .insert(name.to_owned(), (id, driver.unwrap_or("").to_owned()));
    Ok(id)
}

pub(super) fn id_of(db: &mut Db, name: &str) -> Result<i64, StoreError> {
    number(db, name, None)
}

impl Store {
    /// The small stable number of a printer, from 1; given when the name is first met.
    ///
    /// # Errors
    /// As every call: [`StoreError::Busy`], and what the disk says.
    pub async fn printer_id(&self, name: &str, driver: &str) -> Result<i64, StoreError> {
        let (name, driver) = (name.to_owned(), driver.to_owned());
        self.call(move |db| number(db, &name, Some(&driver))).await
    }

    /// Gives a printer another name; its number and history stay. `false`: there is no such
    /// printer, or the new name is taken.
    ///
    /// # Errors
    /// As every call.
    pub async fn rename_printer(&self, from: &str, to: &str) -> Result<bool, StoreError> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.call(move |db| {
            db.flush(true)?;
            let changed = db
                .conn
                .execute(
                    "UPDATE OR IGNORE printers SET name = ?2 WHERE name = ?1",
                    [&from, &to],
                )
                .map_err(|e| db.sort(e))?;
            load(db)?;
            Ok(changed == 1)
        })
        .await
    }

    /// Whether a finished print lies on the bed.
    ///
    /// # Errors
    /// As every call.
    pub async fn bed_dirty(&self, printer: &str) -> Result<bool, StoreError> {
        let printer = printer.to_owned();
        self.call(move |db| {
            db.conn
                .query_row(
                    "SELECT bed_dirty FROM printers WHERE name = ?1",
                    [&printer],
                    |row| row.get::<_, bool>(0),
                )
                .optional()
                .map(|found| found.unwrap_or(false))
                .map_err(|e| db.sort(e))
        })
        .await
    }

    /// Notes whether a finished print lies on the bed. On the medium when it returns.
    ///
    /// # Errors
    /// As every call.
    pub async fn set_bed_dirty(&self, printer: &str, dirty: bool) -> Result<(), StoreError> {
        let printer = printer.to_owned();
        self.call(move |db| {
            // The end of the print that made it dirty comes first.
            db.flush(true)?;
            let id = id_of(db, &printer)?;
            db.conn
                .execute(
                    "UPDATE printers SET bed_dirty = ?2 WHERE id = ?1 AND bed_dirty IS NOT ?2",
                    params![id, dirty],
                )
                .map(|_| ())
                .map_err(|e| db.sort(e))
        })
        .await
    }

    /// What a printer has done so far.
    ///
    /// # Errors
    /// As every call.
    pub async fn counters(&self, printer: &str) -> Result<Counters, StoreError> {
        let printer = printer.to_owned();
        self.call(move |db| {
            super::jobs::flush_new(db)?;
            let count = |row: &rusqlite::Row<'_>, i: usize| row.get::<_, i64>(i).map(|n| n.max(0) as u64);
            db.conn
                .query_row(
                    "SELECT print_s, started, completed, failed, cancelled, filament_mm FROM printers WHERE name = ?1",
                    [&printer],
                    |row| {
                        Ok(Counters {
                            print_s: count(row, 0)?,
                            started: count(row, 1)?,
                            completed: count(row, 2)?,
                            failed: count(row, 3)?,
                            cancelled: count(row, 4)?,
                            filament_mm: row.get(5)?,
                        })
                    },
                )
                .optional()
                .map(Option::unwrap_or_default)
                .map_err(|e| db.sort(e))
        })
        .await
    }

    /// Counts no less than this from now on; nothing is taken away.
    ///
    /// # Errors
    /// As every call.
    pub async fn raise_counters(&self, printer: &str, least: Counters) -> Result<(), StoreError> {
        let printer = printer.to_owned();
        let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let filament_mm = Some(least.filament_mm).filter(|mm| mm.is_finite()).unwrap_or(0.0);
        self.call(move |db| {
            let id = id_of(db, &printer)?;
            db.conn
                .execute(
                    "UPDATE printers SET print_s = MAX(print_s, ?2), started = MAX(started, ?3), \
                     completed = MAX(completed, ?4), failed = MAX(failed, ?5), \
                     cancelled = MAX(cancelled, ?6), filament_mm = MAX(filament_mm, ?7) WHERE id = ?1 \
                     AND (print_s < ?2 OR started < ?3 OR completed < ?4 OR failed < ?5 OR cancelled < ?6 \
                     OR filament_mm < ?7)",
                    params![
                        id,
                        whole(least.print_s),
                        whole(least.started),
                        whole(least.completed),
                        whole(least.failed),
                        whole(least.cancelled),
                        filament_mm,
                    ],
                )
                .map(|_| ())
                .map_err(|e| db.sort(e))
        })
        .await
    }

    /// Notes that a printer was serviced now. Its counters go on; what came since is told beside them.
    ///
    /// # Errors
    /// As every call.
    pub async fn mark_service(
        &self,
        id: i64,
        printer: &str,
        at: jiff::Timestamp,
    ) -> Result<ServiceMark, StoreError> {
        let counters = self.counters(printer).await?;
        let mark = ServiceMark { at, counters };
        let text = serde_json::to_string(&mark).map_err(|e| StoreError::Bug(e.to_string()))?;
        self.set_setting(&service_key(id), Some(&text)).await?;
        Ok(mark)
    }

    /// The last service of a printer; `None`: it was never noted.
    ///
    /// # Errors
    /// As every call.
    pub async fn service_mark(&self, id: i64) -> Result<Option<ServiceMark>, StoreError> {
        let text = self.setting(&service_key(id)).await?;
        Ok(text.and_then(|text| json::read(&text).ok()))
    }

    /// A small value kept under a key.
    ///
    /// # Errors
    /// As every call.
    pub async fn setting(&self, key: &str) -> Result<Option<String>, StoreError> {
        let key = key.to_owned();
        self.call(move |db| {
            db.conn
                .query_row("SELECT value FROM settings WHERE key = ?1", [&key], |row| {
                    row.get(0)
                })
                .optional()
                .map_err(|e| db.sort(e))
        })
        .await
    }

    /// Keeps a small value (up to 64 KiB); `None` removes it. On the medium when it returns.
    ///
    /// # Errors
    /// [`StoreError::Bug`] for a value that is too long; else as every call.
    pub async fn set_setting(&self, key: &str, value: Option<&str>) -> Result<(), StoreError> {
        let (key, value) = (key.to_owned(), value.map(str::to_owned));
        if value.as_ref().is_some_and(|v| v.len() > SETTING_MAX_BYTES) {
            return Err(StoreError::Bug(format!(
                "the setting {key} is longer than 64 KiB"
            )));
        }
        self.call(move |db| {
            match &value {
                Some(value) => db.conn.execute(
                    "INSERT INTO settings (key, value) VALUES (?1, ?2) \
                     ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE value IS NOT excluded.value",
                    [&key, value],
                ),
                None => db.conn.execute("DELETE FROM settings WHERE key = ?1", [&key]),
            }
            .map(|_| ())
            .map_err(|e| db.sort(e))
        })
        .await
    }

    /// Appends a line to a printer's journal. Never waits; written with the next state change, or
    /// within a minute.
    pub fn journal_append(&self, printer: &str, line: JournalLine) {
        self.wait_with(false, |waiting| waiting.put_line(printer, line));
    }

    /// The last lines of a printer's journal, oldest first, at most 2000.
    ///
    /// # Errors
    /// As every call.
    pub async fn journal(&self, printer: &str, last: usize) -> Result<Vec<JournalLine>, StoreError> {
        let printer = printer.to_owned();
        let last = last.min(2000);
        self.call(move |db| {
            let fresh: Vec<JournalLine> = super::writer::lock(&db.waiting)
                .journal
                .get(&printer)
                .map(|lines| lines.iter().cloned().collect())
                .unwrap_or_default();
            let wanted = last.saturating_sub(fresh.len());
            let read = || -> rusqlite::Result<Vec<JournalLine>> {
                let mut statement = db.conn.prepare(
                    "SELECT at, text FROM journal \
                     WHERE printer_id = (SELECT id FROM printers WHERE name = ?1) ORDER BY id DESC LIMIT ?2",
                )?;
                let rows = statement.query_map(params![printer, wanted as i64], |row| {
                    Ok(JournalLine {
                        at: super::rows::time(row.get(0)?),
                        text: row.get(1)?,
                    })
                })?;
                rows.collect()
            };
            let mut lines = read().map_err(|e| db.sort(e))?;
            lines.reverse();
            let skip = fresh.len().saturating_sub(last);
            lines.extend(fresh.into_iter().skip(skip));
            Ok(lines)
        })
        .await
    }
}
