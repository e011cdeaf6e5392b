//! Opening the database file: ours alone, sound, and of a schema that we know; else set aside.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags};

use super::error::StoreError;
use super::schema;

/// Up to this size a file that was not closed cleanly is read through at start; beyond it the check
/// would cost more than READY may take, and damage shows when it is met.
const CHECK_UP_TO_BYTES: u64 = 32 << 20;

/// How many damaged copies are kept before the oldest goes: they can fill a card.
const BROKEN_COPIES_MAX: usize = 3;

/// An open database with the lock that keeps other daemons out.
#[derive(Debug)]
pub(super) struct Opened {
    /// The connection.
    pub conn: Connection,
    /// Held as long as the database is open.
    pub lock: File,
    /// Where a damaged predecessor went.
    pub set_aside: Option<PathBuf>,
}

/// Opens or makes the database.
pub(super) fn open(path: &Path) -> Result<Opened, StoreError> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(|e| cannot_open(path, &e))?;
    }
    let lock = lock(path)?;
    let mut set_aside = None;
    let conn = match try_open(path) {
        Err(StoreError::Broken { why, .. }) => {
            let moved = move_aside(path)?;
            tracing::error!(
                code = "store/broken",
                kept = %moved.display(),
                "the database {} is damaged ({why}); it was set aside and a fresh one begun: \
                 history, files index and identities start empty",
                path.display()
            );
            set_aside = Some(moved);
            try_open(path)?
        }
        other => other?,
    };
    Ok(Opened {
        conn,
        lock,
        set_aside,
    })
}

/// Opens a database in memory: for tests, and for going on when the disk cannot be used.
pub(super) fn memory() -> Result<Connection, StoreError> {
    let nowhere = Path::new(":memory:");
    let mut conn = Connection::open_in_memory().map_err(|e| StoreError::of_sqlite(nowhere, &e))?;
    schema::migrate(&mut conn).map_err(|e| StoreError::of_sqlite(nowhere, &e))?;
    Ok(conn)
}

fn try_open(path: &Path) -> Result<Connection, StoreError> {
    let sort = |e: rusqlite::Error| match StoreError::of_sqlite(path, &e) {
        StoreError::Unwritable { why, .. } => StoreError::Open {
            path: path.to_path_buf(),
            why,
            remedy: "Check that the directory exists, belongs to the user that runs layerd and is writable.",
        },
        other => other,
    };
    make_private(path)?;
    let unclean = std::fs::metadata(with_suffix(path, "-wal")).is_ok_and(|m| m.len() > 0);
    let size = std::fs::metadata(path).map_or(0, |m| m.len());

    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(path, flags).map_err(sort)?;
    conn.busy_timeout(Duration::from_millis(500)).map_err(sort)?;
    let found = schema::version(&conn).map_err(sort)?;
    if found > schema::VERSION {
        return Err(StoreError::TooNew {
            path: path.to_path_buf(),
            found,
            known: schema::VERSION,
        });
    }
    let application: i64 = conn
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(sort)?;
    if found > 0 && application != schema::APPLICATION_ID {
        return Err(StoreError::Open {
            path: path.to_path_buf(),
            why: "it is a database of another program".to_owned(),
            remedy: "Move that file away, or set another state_dir.",
        });
    }
    tune(&conn).map_err(sort)?;
    schema::migrate(&mut conn).map_err(sort)?;
    if unclean && size <= CHECK_UP_TO_BYTES {
        let verdict: String = conn
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(sort)?;
        if verdict != "ok" {
            return Err(StoreError::Broken {
                path: path.to_path_buf(),
                why: verdict,
            });
        }
    }
    Ok(conn)
}

/// Settings of the connection: a small cache (memory bar), a short log (card bar), and a commit that
/// is on the medium when it returns.
fn tune(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "cache_size", -256)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "foreign_keys", true)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    // Copy the log back after 512 pages (2 MiB): pages that changed many times are copied once.
    conn.pragma_update_and_check(None, "wal_autocheckpoint", 512, |_| Ok(()))?;
    conn.pragma_update_and_check(None, "journal_size_limit", 4 << 20, |_| Ok(()))?;
    Ok(())
}

/// The file holds cloud tokens: made readable for its owner only, before SQLite makes it.
fn make_private(path: &Path) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(cannot_open(path, &e)),
    }
}

fn lock(path: &Path) -> Result<File, StoreError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(with_suffix(path, ".lock"))
        .map_err(|e| cannot_open(path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::InUse {
            path: path.to_path_buf(),
        }),
        Err(std::fs::TryLockError::Error(e)) => Err(cannot_open(path, &e)),
    }
}

/// Renames the database and its log to `<name>.broken-<time>`.
pub(super) fn move_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let stamp = format!("{:.0}", Timestamp::now()).replace(['-', ':'], "");
    let mut target = with_suffix(path, &format!(".broken-{stamp}"));
    let mut n = 1;
    while target.exists() && n < 100 {
        n += 1;
        target = with_suffix(path, &format!(".broken-{stamp}-{n}"));
    }
    std::fs::rename(path, &target).map_err(|e| cannot_open(path, &e))?;
    // The log belongs to the damaged file: a fresh database must not read it.
    let _ = std::fs::rename(with_suffix(path, "-wal"), with_suffix(&target, "-wal"));
    let _ = std::fs::remove_file(with_suffix(path, "-shm"));
    drop_old_copies(path);
    Ok(target)
}

fn drop_old_copies(path: &Path) {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return;
    };
    let prefix = format!("{name}.broken-");
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    let mut copies: Vec<PathBuf> = entries
        .flatten()
        .map(|e| e.path())
        .filter(|p| {
            p.file_name()
                .and_then(|n| n.to_str())
                .is_some_and(|n| n.starts_with(&prefix) && !n.ends_with("-wal"))
        })
        .collect();
    copies.sort();
    let surplus = copies.len().saturating_sub(BROKEN_COPIES_MAX);
    for old in copies.into_iter().take(surplus) {
        let _ = std::fs::remove_file(with_suffix(&old, "-wal"));
        let _ = std::fs::remove_file(old);
    }
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn cannot_open(path: &Path, error: &std::io::Error) -> StoreError {
    let remedy = match error.kind() {
        ErrorKind::PermissionDenied => {
            "Give the directory to the user that runs layerd (chown), or run as that user."
        }
        ErrorKind::StorageFull => "Free some space on that disk.",
        ErrorKind::ReadOnlyFilesystem => {
            "The file system is mounted read-only: check the card, remount it, or set another state_dir."
        }
        _ => "Check that the directory exists and can be written.",
    };
    StoreError::Open {
        path: path.to_path_buf(),
        why: error.to_string(),
        remedy,
    }
}

/// Makes a database where none is left, while our lock is still held.
pub(super) fn fresh(path: &Path) -> Result<Connection, StoreError> {
    try_open(path)
}
