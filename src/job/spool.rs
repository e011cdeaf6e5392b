//! The files: stored by content, bounded in size, never the file of a live job removed.
//!
//! A file arrives as `<random>.part`, is hashed while it is written, flushed to the medium and renamed
//! to its SHA-256. Names are labels in the index and never become paths. Reading and writing happens on
//! the blocking pool.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::store::{Store, UploadRow};
use crate::printer::command::Program;
use crate::printer::fault::{Fault, Severity};

/// How long an upload that no job needs is kept.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Longest name of a file, characters.
const NAME_MAX: usize = 200;

/// How much the spool may take.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// Largest single file, bytes.
    pub file_bytes: u64,
    /// All files together, bytes.
    pub total_bytes: u64,
    /// Space to be left free on the disk, bytes.
    pub free_bytes: u64,
}

impl Default for Caps {
    fn default() -> Self {
        Caps {
            file_bytes: 2 << 30,
            total_bytes: 8 << 30,
            free_bytes: 200 << 20,
        }
    }
}

/// The spool; cheap to clone.
#[derive(Clone, Debug)]
pub struct Spool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    store: Store,
    caps: Caps,
    /// Contents that live jobs need.
    pins: Mutex<BTreeMap<String, BTreeSet<Uuid>>>,
}

impl Spool {
    /// Opens the directory, and removes what a power cut left half-written.
    pub fn open(dir: PathBuf, store: Store, caps: Caps) -> Result<Spool, Fault> {
        fs::create_dir_all(&dir).map_err(|e| disk(&e, &dir))?;
        for entry in fs::read_dir(&dir).map_err(|e| disk(&e, &dir))?.flatten() {
            if entry.path().extension().is_some_and(|e| e == "part") {
                // One that cannot be removed costs space and nothing else.
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(Spool {
            inner: Arc::new(Inner {
                dir,
                store,
                caps,
                pins: Mutex::default(),
            }),
        })
    }

    /// Where a content lies, whether it is there or not.
    pub fn path_of(&self, sha256: &str) -> PathBuf {
        // Only hex digits ever become a path.
        let safe: String = sha256.chars().filter(char::is_ascii_hexdigit).take(64).collect();
        self.inner.dir.join(safe)
    }

    /// Keeps a content while a job needs it.
    pub fn pin(&self, sha256: &str, job: Uuid) {
        self.pins().entry(sha256.to_owned()).or_default().insert(job);
    }

    /// The job needs it no more.
    pub fn unpin(&self, sha256: &str, job: Uuid) {
        let mut pins = self.pins();
        if let Some(jobs) = pins.get_mut(sha256) {
            jobs.remove(&job);
            if jobs.is_empty() {
                pins.remove(sha256);
            }
        }
    }

    fn pins(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, BTreeSet<Uuid>>> {
        self.inner.pins.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A content as a program to print, complete by its size.
    pub async fn program(&self, sha256: &str, name: &str) -> Result<Program, Fault> {
        let path = self.path_of(sha256);
        let meta = tokio::fs::metadata(&path).await.map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Fault::new(
                Severity::NeedsUser,
                "spool/unknown-file",
                "The file is not here (any more).",
                "Files that no print needs are removed after a week, or when space runs out.",
                "Upload it again.",
            ),
            _ => disk(&e, &path),
        })?;
        Ok(Program {
            path,
            name: name.to_owned(),
            size: meta.len(),
            sha256: sha256.to_owned(),
            layers: None,
            estimate_s: None,
            max_z_mm: None,
        })
    }

    /// Whether a content is still what its name says: reads it all.
    pub async fn is_intact(&self, sha256: &str) -> bool {
        let (path, wanted) = (self.path_of(sha256), sha256.to_owned());
        let read = move || -> io::Result<String> {
            let mut hash = Sha256::new();
            io::copy(&mut File::open(path)?, &mut HashWriter(&mut hash))?;
            Ok(hex(&hash.finalize()))
        };
        matches!(tokio::task::spawn_blocking(read).await, Ok(Ok(found)) if found == wanted)
    }

    /// Begins a file. `size`: as announced, where it was; checked against the caps at once.
    pub async fn incoming(&self, name: &str, size: Option<u64>) -> Result<Incoming, Fault> {
        let announced = size.unwrap_or(0);
        if announced > self.inner.caps.file_bytes {
            return Err(too_large(self.inner.caps.file_bytes));
        }
        self.make_room(announced).await?;
        let path = self.inner.dir.join(format!("{}.part", Uuid::new_v4().simple()));
        let file = File::options()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|e| disk(&e, &path))?;
        Ok(Incoming {
            spool: self.clone(),
            name: label(name),
            part: Some(Part {
                file,
                hash: Sha256::new(),
                path,
                written: 0,
            }),
        })
    }

    /// All files of the index, newest first.
    pub async fn files(&self) -> Vec<UploadRow> {
        let mut rows = self.inner.store.uploads().await.unwrap_or_default();
        rows.sort_by_key(|r| std::cmp::Reverse(r.uploaded));
        rows
    }

    /// A file by its identity or by the hash of its content.
    pub async fn file(&self, id: &str) -> Option<UploadRow> {
        if let Ok(Some(row)) = self.inner.store.upload(id).await {
            return Some(row);
        }
        self.files().await.into_iter().find(|row| row.sha256 == id)
    }

    /// Removes what has expired and, if that is not enough, what was used longest ago.
    async fn make_room(&self, wanted: u64) -> Result<(), Fault> {
        let rows = self.inner.store.uploads().await.unwrap_or_default();
        let in_use = self.inner.store.contents_in_use().await.unwrap_or_default();
        let mut total: u64 = rows.iter().map(|r| r.size).sum();
        let now = Timestamp::now();
        for row in &rows {
            let needed = total + wanted > self.inner.caps.total_bytes
                || free_bytes(&self.inner.dir) < self.inner.caps.free_bytes + wanted;
            if !needed && row.expires > now {
                continue;
            }
            if self.pins().contains_key(&row.sha256) || in_use.contains(&row.sha256) {
                continue;
            }
            let _ = self.inner.store.upload_remove(&row.id).await;
            if !rows
                .iter()
                .any(|other| other.id != row.id && other.sha256 == row.sha256)
            {
                let _ = tokio::fs::remove_file(self.path_of(&row.sha256)).await;
            }
            total = total.saturating_sub(row.size);
        }
        if free_bytes(&self.inner.dir) < self.inner.caps.free_bytes + wanted {
            return Err(full(&self.inner.dir));
        }
        if total + wanted > self.inner.caps.total_bytes {
            return Err(Fault::new(
                Severity::NeedsUser,
                "spool/full",
                "There is no room for this file: running prints need the files that are kept.",
                "The space for files is limited.",
                "Wait for a print to end.",
            ));
        }
        Ok(())
    }
}

/// A file that is arriving. Dropped before [`Incoming::finish`] it leaves nothing behind.
#[derive(Debug)]
pub struct Incoming {
    spool: Spool,
    name: String,
    part: Option<Part>,
}

#[derive(Debug)]
struct Part {
    file: File,
    hash: Sha256,
    path: PathBuf,
    written: u64,
}

impl Incoming {
    /// Bytes so far.
    pub fn written(&self) -> u64 {
        self.part.as_ref().map_or(0, |p| p.written)
    }

    /// Name as people know it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds bytes.
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), Fault> {
        let cap = self.spool.inner.caps.file_bytes;
        let Some(mut part) = self.part.take() else {
            return Err(broken_off());
        };
        if part.written + chunk.len() as u64 > cap {
            self.part = Some(part);
            return Err(too_large(cap));
        }
        let work = move || {
            let result = part.file.write_all(&chunk);
            part.hash.update(&chunk);
            part.written += chunk.len() as u64;
            (part, result)
        };
        let (part, result) = tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| broken_off())?;
        let path = part.path.clone();
        self.part = Some(part);
        result.map_err(|e| disk(&e, &path))
    }

    /// All bytes are here: durable, named by its content, entered in the index.
    pub async fn finish(mut self) -> Result<UploadRow, Fault> {
        let Some(part) = self.part.take() else {
            return Err(broken_off());
        };
        let Part {
            file,
            hash,
            path,
            written,
        } = part;
        let sha256 = hex(&hash.finalize());
        let target = self.spool.path_of(&sha256);
        let dir = self.spool.inner.dir.clone();
        let work = move || -> Result<(), Fault> {
            let done = (|| {
                file.sync_all()?;
                fs::rename(&path, &target)?;
                File::open(&dir)?.sync_all()
            })();
            done.map_err(|e| {
                let _ = fs::remove_file(&path);
                disk(&e, &path)
            })
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| broken_off())??;
        let now = Timestamp::now();
        let row = UploadRow {
            id: Uuid::new_v4().simple().to_string(),
            sha256,
            name: self.name.clone(),
            size: written,
            uploaded: now,
            expires: now.checked_add(KEPT_FOR).unwrap_or(now),
            used: now,
        };
        self.spool
            .inner
            .store
            .upload_put(row)
            .await
            .map_err(|e| e.fault())
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(part) = self.part.take() {
            let _ = fs::remove_file(&part.path);
        }
    }
}

struct HashWriter<'a>(&'a mut Sha256);

impl Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A name for people: the last part of whatever path was given, without control characters.
fn label(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = last.chars().filter(|c| !c.is_control()).take(NAME_MAX).collect();
    let clean = clean.trim();
    if clean.is_empty() || clean.chars().all(|c| c == '.') {
        "unnamed.gcode".to_owned()
    } else {
        clean.to_owned()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn free_bytes(dir: &Path) -> u64 {
    rustix::fs::statvfs(dir).map_or(u64::MAX, |s| s.f_bavail.saturating_mul(s.f_frsize))
}

fn broken_off() -> Fault {
    Fault::new(
        Severity::Retry,
        "spool/broken-off",
        "The file did not arrive completely.",
        "The transfer broke off.",
        "Send it again.",
    )
}

fn too_large(cap: u64) -> Fault {
    Fault::new(
        Severity::NeedsUser,
        "spool/too-large",
        "The file is too large.",
        "",
        "Slice it with less detail, or split the plate.",
    )
    .with_what(format!("The file is larger than {} MB.", cap >> 20))
}

fn full(dir: &Path) -> Fault {
    Fault::new(
        Severity::NeedsUser,
        "spool/disk-full",
        "The disk is too full for this file.",
        "layerd leaves some space free so that the system goes on working.",
        "Free some space.",
    )
    .with_what(format!(
        "The disk that holds {} is too full for this file.",
        dir.display()
    ))
}

fn disk(error: &io::Error, path: &Path) -> Fault {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => full(path.parent().unwrap_or(path)),
        _ => Fault::new(
            Severity::NeedsUser,
            "spool/disk",
            "The file could not be stored.",
            "The disk or card refuses it.",
            "Check its permissions and its health.",
        )
        .with_what(format!("{} could not be written.", path.display()))
        .with_raw(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool(dir: &Path, caps: Caps) -> Spool {
        Spool::open(dir.join("spool"), Store::memory().expect("store"), caps).expect("spool")
    }

    async fn put(spool: &Spool, name: &str, content: &'static [u8]) -> Result<UploadRow, Fault> {
        let mut incoming = spool.incoming(name, None).await?;
        incoming.write(Bytes::from_static(content)).await?;
        incoming.finish().await
    }

    fn files(dir: &Path) -> usize {
        fs::read_dir(dir.join("spool")).expect("there").count()
    }

    #[tokio::test]
    async fn names_are_labels_and_never_paths() {
        let dir = tempfile::tempdir().expect("dir");
        let spool = spool(dir.path(), Caps::default());
        let row = put(&spool, "../../etc/x.gcode", b"G28\n").await.expect("stored");
        assert_eq!(row.name, "x.gcode");
        assert!(spool.path_of(&row.sha256).starts_with(dir.path().join("spool")));
        assert!(
            spool
                .path_of("../../etc/passwd")
                .starts_with(dir.path().join("spool"))
        );
        let program = spool.program(&row.sha256, &row.name).await.expect("there");
        assert_eq!(fs::read(&program.path).expect("read"), b"G28\n");
        assert!(spool.is_intact(&row.sha256).await);
        fs::write(&program.path, b"G29\n").expect("write");
        assert!(!spool.is_intact(&row.sha256).await);
    }

    #[tokio::test]
    async fn a_broken_upload_leaves_nothing() {
        let dir = tempfile::tempdir().expect("dir");
        let spool = spool(dir.path(), Caps::default());
        let mut incoming = spool.incoming("a.gcode", None).await.expect("begun");
        incoming.write(Bytes::from_static(b"G28")).await.expect("written");
        assert_eq!(files(dir.path()), 1);
        drop(incoming);
        assert_eq!(files(dir.path()), 0);
    }

    #[tokio::test]
    async fn caps_hold_and_pinned_files_stay() {
        let dir = tempfile::tempdir().expect("dir");
        let caps = Caps {
            file_bytes: 8,
            total_bytes: 8,
            free_bytes: 0,
        };
        let spool = spool(dir.path(), caps);
        let refused = put(&spool, "big.gcode", b"123456789")
            .await
            .expect_err("too large");
        assert_eq!(refused.code, "spool/too-large");
        let kept = put(&spool, "kept.gcode", b"kept").await.expect("stored");
        let old = put(&spool, "old.gcode", b"old").await.expect("stored");
        spool.pin(&kept.sha256, Uuid::nil());
        spool.incoming("new.gcode", Some(4)).await.expect("room was made");
        assert!(spool.program(&old.sha256, "old").await.is_err());
        assert!(spool.program(&kept.sha256, "kept").await.is_ok());
        let full = spool
            .incoming("more.gcode", Some(8))
            .await
            .expect_err("the pinned one stays");
        assert_eq!(full.code, "spool/full");
    }
}
