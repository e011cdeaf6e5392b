//! Files to be printed, kept by their content: `<state_dir>/spool/<sha256>`.
//!
//! A file arrives as `.part`, is hashed on the way, made durable and only then gets its name, so
//! what has a hash for a name is complete. Names are labels in the database, never paths. Space is
//! bounded in total and by a floor of free space; what was used longest ago goes first, and never
//! the file of a job that is not over.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

pub use super::incoming::Incoming;
use super::store::{Store, UploadRow};
use crate::blocking;
use crate::printer::command::Program;
use crate::printer::fault::{Fault, Severity};
use crate::sorted::{self, SortedMap, SortedSet};

/// How much the spool may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Largest single file, bytes.
    pub file_bytes: u64,
    /// All files together, bytes.
    pub total_bytes: u64,
    /// Space that always stays free on the disk, bytes.
    pub free_bytes: u64,
}

impl Default for Caps {
    fn default() -> Self {
        Caps {
            file_bytes: 2 << 30,
            total_bytes: 8 << 30,
            free_bytes: 256 << 20,
        }
    }
}

/// How long a file that no job needs is kept after its last use.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What came this lately is about to be printed and not removed for others.
const FRESH: SignedDuration = SignedDuration::from_secs(60);

/// A complete file of the spool.
pub type StoredFile = UploadRow;

/// Uploads at the same time; more are told to wait.
const INCOMING_MAX: usize = 8;

/// The spool; cheap to clone.
#[derive(Clone, Debug)]
pub struct Spool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    dir: PathBuf,
    caps: Caps,
    store: Store,
    /// Jobs that need a content; more than those of the database, which come a moment later.
    pins: Mutex<SortedMap<String, SortedSet<Uuid>>>,
    /// Sizes announced by uploads that are under way.
    incoming: Mutex<SortedMap<u64, u64>>,
    /// Contents whose hash was seen to be right in this run, with their size and time then.
    verified: Mutex<SortedMap<String, (u64, SystemTime)>>,
    next: AtomicU64,
}

/// Contents remembered as verified; the others are read again.
const VERIFIED_MAX: usize = 64;

/// One file found in the directory.
#[derive(Debug)]
struct Content {
    sha256: String,
    size: u64,
    used: Timestamp,
}

impl Spool {
    /// Opens the spool directory, making it where needed, and removes what never got complete.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub fn open(dir: PathBuf, store: Store, caps: Caps) -> Result<Spool, Fault> {
        let dir = dir.as_path();
        std::fs::create_dir_all(dir).map_err(|e| io_fault(dir, &e))?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let _ = std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700));
        }
        for entry in std::fs::read_dir(dir).map_err(|e| io_fault(dir, &e))?.flatten() {
            if entry.path().extension().is_some_and(|e| e == "part") {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Ok(Spool {
            inner: Arc::new(Inner {
                dir: dir.to_path_buf(),
                caps,
                store,
                pins: Mutex::default(),
                incoming: Mutex::default(),
                verified: Mutex::default(),
                next: AtomicU64::new(0),
            }),
        })
    }

    /// What the spool may hold.
    pub fn caps(&self) -> Caps {
        self.inner.caps
    }

    /// The database that indexes it.
    pub(super) fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Begins an upload. `name`: as people know it; `size`: bytes to come, where they are known.
    ///
    /// # Errors
    /// Too big, no room, too many at once, or the disk refuses.
    pub async fn incoming(&self, name: &str, size: Option<u64>) -> Result<Incoming, Fault> {
        let caps = self.inner.caps;
        if let Some(size) = size
            && size > caps.file_bytes
        {
            return Err(too_big(caps.file_bytes));
        }
        let number = self.inner.next.fetch_add(1, Ordering::Relaxed);
        {
            let mut incoming = lock(&self.inner.incoming);
            if incoming.len() >= INCOMING_MAX {
                return Err(Fault::new(
                    Severity::Retry,
                    "spool/busy",
                    "The file was not taken: too many uploads run at once.",
                    "",
                    "Try again in a moment.",
                ));
            }
            incoming.insert(number, size.unwrap_or(0));
        }
        let place = Place {
            spool: self.clone(),
            number,
        };
        self.make_room(Timestamp::now()).await?;
        let path = self
            .inner
            .dir
            .join(format!("{}-{number}.part", std::process::id()));
        Incoming::begin(place, path, super::file_name::label(name), size).await
    }

    /// Enters a complete `.part` under its hash and its label.
    pub(super) async fn settle(
        &self,
        part: &Path,
        sha256: String,
        size: u64,
        name: &str,
    ) -> Result<StoredFile, Fault> {
        let now = Timestamp::now();
        let target = self.path_of(&sha256);
        let (from, to, dir) = (part.to_path_buf(), target.clone(), self.inner.dir.clone());
        let known = lock(&self.inner.verified).get(&sha256).copied();
        blocking(move || {
            // What is there already may have rotted: only what was seen to be right is left in place.
            if known.is_some() && mark(&to).ok() == known {
                let _ = std::fs::remove_file(&from);
            } else {
                std::fs::rename(&from, &to).map_err(|e| io_fault(&to, &e))?;
                sync_dir(&dir);
            }
            Ok(())
        })
        .await?;
        self.note_verified(&sha256);
        let row = UploadRow {
            id: Uuid::new_v4().simple().to_string(),
            sha256,
            name: name.to_owned(),
            size,
            uploaded: now,
            expires: expiry(now),
            used: now,
        };
        self.inner.store.upload_put(row).await.map_err(|e| e.fault())
    }

    /// Where a content lies, whether it is there or not. What is no hash gets a path that never is.
    pub fn path_of(&self, sha256: &str) -> PathBuf {
        if is_hash(sha256) {
            self.inner.dir.join(sha256)
        } else {
            self.inner.dir.join("no-such-content")
        }
    }

    /// Keeps a content from being removed as long as a job needs it.
    pub fn pin(&self, sha256: &str, job: Uuid) {
        lock(&self.inner.pins)
            .entry(sha256.to_owned())
            .or_default()
            .insert(job);
    }

    /// The job does not need it any more.
    pub fn unpin(&self, sha256: &str, job: Uuid) {
        let mut pins = lock(&self.inner.pins);
        if let Some(jobs) = pins.get_mut(sha256) {
            jobs.remove(&job);
            if jobs.is_empty() {
                pins.remove(sha256);
            }
        }
    }

    /// A content as something to print: it is there, whole by its size, and was used just now.
    ///
    /// # Errors
    /// It is not there, or not what it was.
    pub async fn program(&self, sha256: &str, name: &str) -> Result<Program, Fault> {
        let path = self.path_of(sha256);
        let found = {
            let path = path.clone();
            blocking(move || std::fs::metadata(&path).map_err(|e| missing(&e))).await?
        };
        if !found.is_file() {
            return Err(missing(&std::io::Error::other("not a file")));
        }
        let now = Timestamp::now();
        let store = &self.inner.store;
        let rows = store.uploads_of(sha256).await.map_err(|e| e.fault())?;
        if rows.iter().any(|row| row.size != found.len()) {
            return Err(damaged(sha256));
        }
        if let Err(e) = store.upload_used(sha256, now, expiry(now)).await {
            tracing::debug!(code = e.code(), "the use of a file was not noted: {e}");
        }
        Ok(Program {
            path,
            name: super::file_name::label(name),
            size: found.len(),
            sha256: sha256.to_owned(),
            layers: None,
            estimate_s: None,
            max_z_mm: None,
            objects: Vec::new(),
        })
    }

    /// Reads a content and compares its hash, unless that was done in this run and the file was not
    /// touched since. Blocks: for the analysis thread.
    pub(super) fn verify(&self, sha256: &str) -> Result<(), Fault> {
        let path = self.path_of(sha256);
        let mark = mark(&path).map_err(|e| missing(&e))?;
        if lock(&self.inner.verified).get(sha256) == Some(&mark) {
            return Ok(());
        }
        if super::incoming::hash_of(&path)? != sha256 {
            lock(&self.inner.verified).remove(sha256);
            return Err(damaged(sha256));
        }
        self.note_verified(sha256);
        Ok(())
    }

    fn note_verified(&self, sha256: &str) {
        let Ok(mark) = mark(&self.path_of(sha256)) else {
            return;
        };
        let mut verified = lock(&self.inner.verified);
        if verified.len() >= VERIFIED_MAX {
            verified.pop_first();
        }
        verified.insert(sha256.to_owned(), mark);
    }

    /// Whether a content is still what its name says: reads it all.
    pub async fn is_intact(&self, sha256: &str) -> bool {
        let path = self.path_of(sha256);
        let seen = blocking(move || super::incoming::hash_of(&path)).await;
        seen.is_ok_and(|seen| seen == sha256)
    }

    /// A file by its identity or by the hash of its content.
    pub async fn file(&self, id: &str) -> Option<StoredFile> {
        let store = &self.inner.store;
        match store.upload(id).await {
            Ok(Some(row)) => Some(row),
            Ok(None) => store.uploads_of(id).await.ok()?.into_iter().next(),
            Err(e) => {
                tracing::warn!(code = e.code(), "a file could not be looked up: {e}");
                None
            }
        }
    }

    /// All files of the index, newest first.
    pub async fn files(&self) -> Vec<StoredFile> {
        let mut rows = self.inner.store.uploads().await.unwrap_or_else(|e| {
            tracing::warn!(code = e.code(), "the files could not be listed: {e}");
            Vec::new()
        });
        sorted::by_key(&mut rows, |row| std::cmp::Reverse(row.uploaded));
        rows
    }

    /// Forgets a file; its content goes too when no other name and no live job needs it. `false`:
    /// there is no such file.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn remove(&self, id: &str) -> Result<bool, Fault> {
        let store = &self.inner.store;
        let Some(row) = store.upload(id).await.map_err(|e| e.fault())? else {
            return Ok(false);
        };
        store.upload_remove(id).await.map_err(|e| e.fault())?;
        let others = store.uploads_of(&row.sha256).await.map_err(|e| e.fault())?;
        if others.is_empty() && !self.needed().await?.contains(&row.sha256) {
            let path = self.path_of(&row.sha256);
            blocking(move || {
                let _ = std::fs::remove_file(path);
                Ok(())
            })
            .await?;
        }
        Ok(true)
    }

    /// Removes what has expired, contents that nobody knows by name and that are old, and entries
    /// whose content is gone. For the start of the daemon and once an hour. Gives the bytes freed.
    ///
    /// # Errors
    /// When the database or the disk does not answer.
    pub async fn tidy(&self, now: Timestamp) -> Result<u64, Fault> {
        let (contents, rows) = self.inventory().await?;
        let needed = self.needed().await?;
        let store = &self.inner.store;
        let mut freed = 0;
        for content in &contents {
            let names: Vec<_> = rows.iter().filter(|r| r.sha256 == content.sha256).collect();
            let expired = if names.is_empty() {
                expiry(content.used) <= now
            } else {
                names.iter().all(|r| r.expires <= now)
            };
            if expired && !needed.contains(&content.sha256) {
                freed += self.drop_content(content).await?;
            }
        }
        for row in &rows {
            let there = contents.iter().any(|c| c.sha256 == row.sha256);
            if !there {
                store.upload_remove(&row.id).await.map_err(|e| e.fault())?;
            }
        }
        Ok(freed)
    }

    /// Frees space until everything announced fits, least recently used first.
    pub(super) async fn make_room(&self, now: Timestamp) -> Result<(), Fault> {
        let announced: u64 = lock(&self.inner.incoming).values().sum();
        let caps = self.inner.caps;
        let short = |held: u64, free: u64| {
            held.saturating_add(announced) > caps.total_bytes
                || free < caps.free_bytes.saturating_add(announced)
        };
        let dir = self.inner.dir.clone();
        let mut free = blocking(move || Ok(free_space(&dir))).await?;
        let (mut contents, _) = self.inventory().await?;
        let mut held: u64 = contents.iter().map(|c| c.size).sum();
        if !short(held, free) {
            return Ok(());
        }
        let needed = self.needed().await?;
        sorted::by_key(&mut contents, |c| c.used);
        for content in contents.iter().filter(|c| !needed.contains(&c.sha256)) {
            if !short(held, free) {
                break;
            }
            // Uploads that came a moment ago are about to be printed.
            // What was used in the future was used before the clock was set back.
            if now.duration_since(content.used).abs() < FRESH {
                continue;
            }
            let freed = self.drop_content(content).await?;
            held = held.saturating_sub(freed);
            free = free.saturating_add(freed);
        }
        if short(held, free) {
            return Err(no_room(held, free, caps));
        }
        Ok(())
    }

    async fn drop_content(&self, content: &Content) -> Result<u64, Fault> {
        let path = self.path_of(&content.sha256);
        blocking(move || match std::fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(io_fault(&path, &e)),
            _ => Ok(()),
        })
        .await?;
        tracing::info!(sha256 = %content.sha256, bytes = content.size, "removed a file that was not used for long");
        let forgotten = self.inner.store.content_remove(&content.sha256).await;
        forgotten.map_err(|e| e.fault())?;
        Ok(content.size)
    }

    async fn needed(&self) -> Result<SortedSet<String>, Fault> {
        let live = self.inner.store.contents_in_use().await.map_err(|e| e.fault())?;
        let mut needed: SortedSet<String> = live.into_iter().collect();
        needed.extend(lock(&self.inner.pins).keys().cloned());
        Ok(needed)
    }

    async fn inventory(&self) -> Result<(Vec<Content>, Vec<UploadRow>), Fault> {
        let rows = self.inner.store.uploads().await.map_err(|e| e.fault())?;
        let dir = self.inner.dir.clone();
        let mut contents = blocking(move || list(&dir)).await?;
        for content in &mut contents {
            let used = rows
                .iter()
                .filter(|r| r.sha256 == content.sha256)
                .map(|r| r.used)
                .max();
            content.used = used.unwrap_or(content.used);
        }
        Ok((contents, rows))
    }
}

/// A place among the uploads that are under way; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    pub spool: Spool,
    number: u64,
}

impl Place {
    /// More has come than was announced.
    pub fn announce(&self, bytes: u64) {
        if let Some(known) = lock(&self.spool.inner.incoming).get_mut(&self.number) {
            *known = (*known).max(bytes);
        }
    }

    /// Space of the disk that may still be used.
    pub fn spare_bytes(&self) -> u64 {
        free_space(&self.spool.inner.dir).saturating_sub(self.spool.inner.caps.free_bytes)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.spool.inner.incoming).remove(&self.number);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

fn expiry(used: Timestamp) -> Timestamp {
    used.checked_add(KEPT_FOR).unwrap_or(Timestamp::MAX)
}

/// What shows that a file was written to: its size and its time.
fn mark(path: &Path) -> std::io::Result<(u64, SystemTime)> {
    let meta = std::fs::metadata(path)?;
    Ok((meta.len(), meta.modified().unwrap_or(SystemTime::UNIX_EPOCH)))
}

fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn list(dir: &Path) -> Result<Vec<Content>, Fault> {
    let mut contents = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|e| io_fault(dir, &e))?.flatten() {
        let Some(sha256) = entry
            .file_name()
            .to_str()
            .filter(|n| is_hash(n))
            .map(str::to_owned)
        else {
            continue;
        };
        let Ok(meta) = entry.metadata() else { continue };
        let used = meta.modified().ok().and_then(|t| Timestamp::try_from(t).ok());
        contents.push(Content {
            sha256,
            size: meta.len(),
            used: used.unwrap_or(Timestamp::UNIX_EPOCH),
        });
    }
    Ok(contents)
}

/// Free bytes for ordinary users on the disk of a directory.
fn free_space(dir: &Path) -> u64 {
    #[cfg(unix)]
    if let Ok(stat) = rustix::fs::statvfs(dir) {
        return stat.f_bavail.saturating_mul(stat.f_frsize);
    }
    let _ = dir;
    u64::MAX
}

/// Makes a rename durable.
fn sync_dir(dir: &Path) {
    if let Ok(handle) = std::fs::File::open(dir) {
        let _ = handle.sync_all();
    }
}

/// Runs disk work off the runtime.
pub(super) async fn blocking<T: Send + 'static>(
    f: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    match blocking::run(f).await {
        Ok(result) => result,
        Err(e) => Err(Fault::new(
            Severity::Bug,
            "spool/bug",
            "A file could not be handled.",
            "This is a mistake in layerd.",
            "Please report it with the log.",
        )
        .with_raw(e.to_string())),
    }
}

pub(super) fn io_fault(path: &Path, error: &std::io::Error) -> Fault {
    if error.kind() == ErrorKind::StorageFull || error.kind() == ErrorKind::QuotaExceeded {
        return Fault::new(
            Severity::NeedsUser,
            "spool/no-space",
            "The file could not be kept: the disk is full.",
            "",
            "Free some space, or remove uploaded files.",
        );
    }
    Fault::new(
        Severity::NeedsUser,
        "spool/io",
        "",
        "The disk may be failing, read-only, or belong to another user.",
        "Check the state directory.",
    )
    .with_what(format!("{} could not be used: {error}.", path.display()))
}

pub(super) fn too_big(limit: u64) -> Fault {
    Fault::new(
        Severity::NeedsUser,
        "spool/too-big",
        "",
        "",
        "Slice the model with fewer details, or print it from the printer's own card.",
    )
    .with_what(format!(
        "The file is bigger than the limit of {} MiB.",
        limit >> 20
    ))
}

pub(super) fn no_room(held: u64, free: u64, caps: Caps) -> Fault {
    Fault::new(
        Severity::NeedsUser,
        "spool/no-space",
        "",
        "Everything that could be removed was removed; files of live jobs stay.",
        "Free some space on the disk of the state directory, or remove uploaded files.",
    )
    .with_what(format!(
        "There is no room for the file: uploads hold {} MiB of {} MiB, the disk has {} MiB free and {} MiB \
         of that stay free.",
        held >> 20,
        caps.total_bytes >> 20,
        free >> 20,
        caps.free_bytes >> 20
    ))
}

fn missing(error: &std::io::Error) -> Fault {
    Fault::new(
        Severity::NeedsUser,
        "spool/missing",
        "The file is not there any more.",
        "It was removed because it had not been used for long, or by hand.",
        "Upload it again.",
    )
    .with_raw(error.to_string())
}

fn damaged(sha256: &str) -> Fault {
    Fault::new(
        Severity::NeedsUser,
        "spool/damaged",
        "The stored file is not what was uploaded.",
        "It was changed by hand, or the disk or card is failing.",
        "Upload it again.",
    )
    .with_raw(format!("sha256 {sha256}"))
}

#[cfg(test)]
#[path = "tests_spool.rs"]
mod tests;
