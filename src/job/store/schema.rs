//! Tables of `layerd.db`, and how an older file becomes a newer one.
//!
//! Times are milliseconds since 1970 in UTC; members that nobody searches for are JSON text, so that
//! `sqlite3 layerd.db` shows everything.

use rusqlite::{Connection, Transaction};

/// Marks the file as ours (`PRAGMA application_id`): "LYRD".
pub(super) const APPLICATION_ID: i64 = 0x4c59_5244;

/// One step from schema n-1 to n; the number of a step is its place, from 1. Steps are never edited
/// once released, only added.
const STEPS: &[&str] = &[FIRST, UPSTREAMS, API_KEYS, WEBHOOKS, OTHER_SHAPES];

/// The schema number that this program writes.
pub(super) const VERSION: i64 = STEPS.len() as i64;

const FIRST: &str = "
CREATE TABLE printers (
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    driver      TEXT NOT NULL,
    bed_dirty   INTEGER NOT NULL DEFAULT 0,
    print_s     INTEGER NOT NULL DEFAULT 0,
    started     INTEGER NOT NULL DEFAULT 0,
    completed   INTEGER NOT NULL DEFAULT 0,
    failed      INTEGER NOT NULL DEFAULT 0,
    cancelled   INTEGER NOT NULL DEFAULT 0,
    filament_mm REAL    NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE jobs (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    uid         TEXT NOT NULL UNIQUE,
    printer_id  INTEGER NOT NULL REFERENCES printers(id),
    file        TEXT NOT NULL,
    sha256      TEXT,
    size        INTEGER,
    origin      TEXT NOT NULL,
    state       TEXT NOT NULL,
    created     INTEGER NOT NULL,
    started     INTEGER,
    ended       INTEGER,
    percent     REAL,
    layer       INTEGER,
    filament_mm TEXT NOT NULL DEFAULT '[]',
    checkpoint  TEXT,
    rating      INTEGER
) STRICT;
CREATE INDEX jobs_by_printer ON jobs (printer_id, created);
CREATE INDEX jobs_live ON jobs (printer_id) WHERE state NOT IN ('done', 'failed', 'cancelled', 'interrupted');

-- What changes a few times in a job's life is apart from what changes every minute: a checkpoint
-- then writes one short row, not the whole story.
CREATE TABLE job_details (
    job_id INTEGER PRIMARY KEY REFERENCES jobs(id) ON DELETE CASCADE,
    body   TEXT NOT NULL
) STRICT;

CREATE TABLE starts (
    id       INTEGER PRIMARY KEY,
    start_id TEXT NOT NULL UNIQUE,
    job_uid  TEXT,
    at       INTEGER NOT NULL
) STRICT;

CREATE TABLE settings (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE notices (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    printer_id INTEGER NOT NULL REFERENCES printers(id),
    uid        TEXT NOT NULL UNIQUE,
    key        TEXT NOT NULL,
    body       TEXT NOT NULL,
    at         INTEGER NOT NULL,
    closed     INTEGER,
    answer     TEXT
) STRICT;
CREATE INDEX notices_by_printer ON notices (printer_id, closed);

CREATE TABLE journal (
    id         INTEGER PRIMARY KEY,
    printer_id INTEGER NOT NULL REFERENCES printers(id),
    at         INTEGER NOT NULL,
    text       TEXT NOT NULL
) STRICT;
CREATE INDEX journal_by_printer ON journal (printer_id, id);

CREATE TABLE files (
    id       TEXT PRIMARY KEY,
    sha256   TEXT NOT NULL,
    name     TEXT NOT NULL,
    size     INTEGER NOT NULL,
    uploaded INTEGER NOT NULL,
    expires  INTEGER NOT NULL,
    used     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX files_by_hash ON files (sha256);

CREATE TABLE analyses (
    sha256  TEXT NOT NULL,
    version INTEGER NOT NULL,
    body    TEXT NOT NULL,
    used    INTEGER NOT NULL,
    PRIMARY KEY (sha256, version)
) STRICT;
";

/// Identities in clouds, and what waits to be delivered there.
const UPSTREAMS: &str = "
CREATE TABLE upstream_docs (
    upstream   TEXT NOT NULL,
    printer_id INTEGER NOT NULL REFERENCES printers(id),
    body       TEXT NOT NULL,
    PRIMARY KEY (upstream, printer_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE outbox (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    upstream   TEXT NOT NULL,
    printer_id INTEGER NOT NULL REFERENCES printers(id),
    key        TEXT NOT NULL,
    body       TEXT NOT NULL,
    UNIQUE (upstream, printer_id, key)
) STRICT;
";

/// Keys of the local API: what a key is, never the key itself.
const API_KEYS: &str = "
CREATE TABLE api_keys (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    name    TEXT NOT NULL UNIQUE,
    sha256  TEXT NOT NULL UNIQUE,
    scopes  TEXT NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER
) STRICT;
";

/// Who wants to hear of events, and what is on its way there. `next` is null when a delivery has ended.
const WEBHOOKS: &str = "
CREATE TABLE webhooks (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT NOT NULL,
    description TEXT,
    url         TEXT NOT NULL,
    secret      TEXT,
    enabled     INTEGER NOT NULL,
    events      TEXT NOT NULL,
    created     INTEGER NOT NULL,
    updated     INTEGER NOT NULL
) STRICT;

CREATE TABLE webhook_deliveries (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook_id  INTEGER NOT NULL REFERENCES webhooks(id) ON DELETE CASCADE,
    event       TEXT NOT NULL,
    body        TEXT NOT NULL,
    created     INTEGER NOT NULL,
    attempts    INTEGER NOT NULL DEFAULT 0,
    next        INTEGER,
    succeeded   INTEGER NOT NULL DEFAULT 0,
    status_code INTEGER,
    duration_ms INTEGER,
    error       TEXT,
    received    INTEGER
) STRICT;
CREATE INDEX webhook_deliveries_by_hook ON webhook_deliveries (webhook_id, next);
";

/// What the other shapes of the API need: answers that a repeat gets again, a queue that waits for people,
/// and webhooks that speak another dialect.
const OTHER_SHAPES: &str = "
CREATE TABLE repeats (
    id          TEXT PRIMARY KEY,
    caller      INTEGER NOT NULL,
    body_sha256 TEXT NOT NULL,
    begun       INTEGER NOT NULL,
    status      INTEGER,
    body        TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX repeats_by_age ON repeats (begun);

CREATE TABLE queue_items (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT NOT NULL,
    file_id    TEXT,
    printers   TEXT NOT NULL,
    metadata   TEXT NOT NULL,
    tries      INTEGER NOT NULL DEFAULT 0,
    refusal    TEXT,
    printer_id INTEGER,
    job_uid    TEXT,
    created    INTEGER NOT NULL,
    updated    INTEGER NOT NULL
) STRICT;

ALTER TABLE webhooks ADD COLUMN dialect TEXT NOT NULL DEFAULT '';
ALTER TABLE webhooks ADD COLUMN max_attempts INTEGER;
ALTER TABLE webhooks ADD COLUMN backoff_s INTEGER;
";

/// Schema number of an open database.
pub(super) fn version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Brings an open database to [`VERSION`]. Each step is one transaction: a power cut leaves the old
/// or the new schema, never half of one.
pub(super) fn migrate(conn: &mut Connection) -> rusqlite::Result<()> {
    let found = version(conn)?;
    for (step, sql) in (1_i64..).zip(STEPS) {
        if step <= found {
            continue;
        }
        let tx: Transaction<'_> = conn.transaction()?;
        tx.execute_batch(sql)?;
        tx.pragma_update(None, "user_version", step)?;
        if step == 1 {
            tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        }
        tx.commit()?;
    }
    Ok(())
}
