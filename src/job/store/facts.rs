//! What the database is like, for a support archive: read only, beside a running daemon.
//!
//! SQLite's log lets one read while another writes, and neither waits. What was stopped cleanly has no log
//! and is read as it lies; nothing is made, upgraded or repaired here.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Map, Value};

use super::open::with_suffix;
use super::schema;
use crate::config::Secret;
use crate::config::scrub;
use crate::json::{self, json};

/// Most rows of texts that are searched for secrets, newest first.
const ROWS_MAX: i64 = 20_000;

/// Tables of which facts are told; more than this is no database of ours.
const TABLES_MAX: usize = 100;

/// Members of stored documents that are secrets; `short_id` claims a printer.
const SECRET_MEMBERS: &[&str] = &["token", "action_token", "reconnect_token", "short_id"];

/// Most prints that are told of.
const JOBS_MAX: i64 = 50;

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Sizes, versions, rows per table, the verdict of a check.
    pub told: Map<String, Value>,
    /// What the database keeps that must not be shown.
    pub secrets: Vec<Secret>,
    /// The printers' journals: name and lines, oldest first.
    pub journals: Vec<(String, Vec<String>)>,
    /// The last prints, newest first: how each began, where it stands, how it ended.
    pub jobs: Vec<Value>,
}

impl Facts {
    /// Reads them; what takes longer than `limit` is broken off.
    ///
    /// # Errors
    /// A sentence: why the database cannot be read.
    pub fn read(path: &Path, limit: Duration, journal_lines: i64) -> Result<Facts, String> {
        let conn = open(path)?;
        let interrupt = conn.get_interrupt_handle();
        let (done, watch) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                if watch.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                    interrupt.interrupt();
                }
            });
            let mut facts = Facts::default();
            let read = facts.of(&conn, path, journal_lines);
            drop(done);
            read.map(|()| facts)
                .map_err(|e| format!("{}: {e}", path.display()))
        })
    }

    /// How many rows a table has.
    pub fn rows(&self, table: &str) -> Option<u64> {
        self.told.get("rows")?.get(table)?.as_u64()
    }

    fn of(&mut self, conn: &Connection, path: &Path, journal_lines: i64) -> rusqlite::Result<()> {
        let size = |suffix: &str| std::fs::metadata(with_suffix(path, suffix)).map(|m| m.len()).ok();
        let pragma = |name: &str| {
            conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0))
                .ok()
        };
        self.tell("file", json!(path.display().to_string()));
        self.tell("bytes", json!(size("")));
        self.tell("log_bytes", json!(size("-wal")));
        self.tell("schema", json!(schema::version(conn)?));
        self.tell("schema_of_this_program", json!(schema::VERSION));
        self.tell(
            "is_ours",
            json!(pragma("application_id") == Some(schema::APPLICATION_ID)),
        );
        self.tell("pages", json!(pragma("page_count")));
        self.tell("free_pages", json!(pragma("freelist_count")));
        // First of all what is secret: without it nothing else may be shown.
        self.secrets(conn)?;
        let tables = texts(
            conn,
            "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name",
            [],
        )?;
        let mut rows = Map::new();
        for table in tables.into_iter().take(TABLES_MAX) {
            let quoted = table.replace('"', "\"\"");
            let count = conn.query_row(&format!("SELECT count(*) FROM \"{quoted}\""), [], |row| {
                row.get::<_, i64>(0)
            })?;
            rows.insert(table, json!(count));
        }
        self.tell("rows", Value::Object(rows));
        self.journals(conn, journal_lines)?;
        // An older database may lack a column of it: that is no reason to tell nothing.
        if let Err(why) = self.jobs(conn) {
            self.tell("jobs", json!(why.to_string()));
        }
        let verdict = conn.query_row("PRAGMA quick_check(5)", [], |row| row.get::<_, String>(0));
        let verdict = verdict.unwrap_or_else(|e| format!("not finished: {e}"));
        self.tell("quick_check", json!(verdict));
        Ok(())
    }

    fn tell(&mut self, key: &str, value: Value) {
        self.told.insert(key.to_owned(), value);
    }

    fn secrets(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        for sql in [
            "SELECT body FROM upstream_docs LIMIT ?1",
            "SELECT body FROM outbox ORDER BY id DESC LIMIT ?1",
            "SELECT body FROM job_details ORDER BY job_id DESC LIMIT ?1",
        ] {
            for body in texts_if_there(conn, sql)? {
                let body: Value = json::read(&body).unwrap_or(Value::Null);
                self.members(&body, 0);
            }
        }
        for secret in texts_if_there(
            conn,
            "SELECT secret FROM webhooks WHERE secret IS NOT NULL LIMIT ?1",
        )? {
            self.secrets.push(Secret::new(secret));
        }
        for url in texts_if_there(conn, "SELECT url FROM webhooks LIMIT ?1")? {
            self.secrets.extend(scrub::in_address(&url, true));
        }
        for hash in texts_if_there(conn, "SELECT sha256 FROM api_keys LIMIT ?1")? {
            self.secrets.push(Secret::new(hash));
        }
        Ok(())
    }

    fn members(&mut self, value: &Value, depth: usize) {
        // As deep as serde_json reads.
        match value {
            _ if depth > 128 => {}
            Value::Object(members) => {
                for (name, inner) in members {
                    match inner.as_str() {
                        Some(text) if SECRET_MEMBERS.contains(&name.as_str()) => {
                            self.secrets.push(Secret::new(text));
                        }
                        _ => self.members(inner, depth + 1),
                    }
                }
            }
            Value::Array(all) => all.iter().for_each(|inner| self.members(inner, depth + 1)),
            _ => {}
        }
    }

    fn journals(&mut self, conn: &Connection, lines: i64) -> rusqlite::Result<()> {
        for (id, name) in ids_and_names(conn)? {
            let mut statement =
                conn.prepare("SELECT at, text FROM journal WHERE printer_id = ?1 ORDER BY id DESC LIMIT ?2")?;
            let rows = statement.query_map([id, lines], |row| {
                let at = Timestamp::from_millisecond(row.get(0)?).unwrap_or(Timestamp::UNIX_EPOCH);
                Ok(format!("{at} {}", row.get::<_, String>(1)?))
            })?;
            let mut kept = rows.collect::<rusqlite::Result<Vec<String>>>()?;
            kept.reverse();
            self.journals.push((name, kept));
        }
        Ok(())
    }

    fn jobs(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        let mut statement = conn.prepare(
            "SELECT j.uid, p.name, j.file, j.size, j.origin, j.state, j.created, j.started, j.ended, j.percent, j.layer, \
             j.checkpoint, d.body FROM jobs j JOIN printers p ON p.id = j.printer_id \
             LEFT JOIN job_details d ON d.job_id = j.id ORDER BY j.id DESC LIMIT ?1",
        )?;
        let rows = statement.query_map([JOBS_MAX], |row| {
            let at = |n: usize| -> rusqlite::Result<Value> {
                let ms: Option<i64> = row.get(n)?;
                Ok(json!(ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()).map(|t| t.to_string())))
            };
            let document = |n: usize| -> rusqlite::Result<Value> {
                let text: Option<String> = row.get(n)?;
                Ok(text.and_then(|t| serde_json::from_str(&t).ok()).unwrap_or(Value::Null))
            };
            Ok(json!({
                "uid": row.get::<_, String>(0)?, "printer": row.get::<_, String>(1)?, "file": row.get::<_, String>(2)?,
                "size": row.get::<_, Option<i64>>(3)?, "origin": row.get::<_, String>(4)?, "state": row.get::<_, String>(5)?,
                "created": at(6)?, "started": at(7)?, "ended": at(8)?, "percent": row.get::<_, Option<f64>>(9)?,
                "layer": row.get::<_, Option<i64>>(10)?, "checkpoint": document(11)?, "more": document(12)?,
            }))
        })?;
        self.jobs = rows.collect::<rusqlite::Result<Vec<Value>>>()?;
        Ok(())
    }
}

fn ids_and_names(conn: &Connection) -> rusqlite::Result<Vec<(i64, String)>> {
    let mut statement = conn.prepare("SELECT id, name FROM printers ORDER BY id LIMIT 1000")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// Older databases lack tables.
fn texts_if_there(conn: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    match texts(conn, sql, [ROWS_MAX]) {
        Err(rusqlite::Error::SqliteFailure(_, Some(why))) if why.starts_with("no such table") => {
            Ok(Vec::new())
        }
        Err(rusqlite::Error::SqlInputError { msg, .. }) if msg.starts_with("no such table") => Ok(Vec::new()),
        other => other,
    }
}

fn texts(conn: &Connection, sql: &str, params: impl rusqlite::Params) -> rusqlite::Result<Vec<String>> {
    let mut statement = conn.prepare(sql)?;
    let rows = statement.query_map(params, |row| row.get(0))?;
    rows.collect()
}

fn open(path: &Path) -> Result<Connection, String> {
    let wrong = |why: String| format!("{}: {why}", path.display());
    std::fs::File::open(path).map_err(|e| wrong(e.to_string()))?;
    let logged = with_suffix(path, "-wal").exists() || with_suffix(path, "-shm").exists();
    let mut flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // Without a log nobody writes, and reading must not begin one: it would belong to whoever reads.
    let conn = if logged {
        Connection::open_with_flags(path, flags)
    } else {
        flags |= OpenFlags::SQLITE_OPEN_URI;
        Connection::open_with_flags(format!("file:{}?immutable=1", as_uri(path)), flags)
    };
    let conn = conn.map_err(|e| wrong(e.to_string()))?;
    conn.busy_timeout(Duration::from_millis(500))
        .map_err(|e| wrong(e.to_string()))?;
    Ok(conn)
}

fn as_uri(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'_' | b'.');
    let bytes = path.as_os_str().as_bytes().iter();
    bytes
        .map(|b| {
            if plain(*b) {
                char::from(*b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::{FILE_NAME, Store};
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn facts_are_read_beside_a_daemon_and_leave_no_trace() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(FILE_NAME);
        assert!(Facts::read(&path, LIMIT, 10).is_err(), "there is none yet");
        assert!(!path.exists());
        let store = Store::open(&path).expect("opened");
        store.printer_id("a", "marlin").await.expect("numbered");
        let beside = Facts::read(&path, LIMIT, 10).expect("read beside it");
        assert_eq!(
            (beside.rows("printers"), beside.told.get("quick_check")),
            (Some(1), Some(&json!("ok")))
        );
        store.close(LIMIT).await.expect("closed");
        let files = || {
            let mut names: Vec<_> = std::fs::read_dir(dir.path())
                .expect("listed")
                .map(|e| e.expect("entry").file_name())
                .collect();
            names.sort();
            names
        };
        let before = files();
        let after = Facts::read(&path, LIMIT, 10).expect("read");
        assert_eq!(after.told.get("is_ours"), Some(&json!(true)));
        assert_eq!(files(), before);
        std::fs::write(&path, "no database").expect("written");
        assert!(
            Facts::read(&path, LIMIT, 10)
                .expect_err("broken")
                .contains(FILE_NAME)
        );
    }
}
