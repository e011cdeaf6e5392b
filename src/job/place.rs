//! The newest place of a running print, in the runtime directory: memory on a usual host, so that a
//! second's progress costs the card nothing. After a crash it is newer than what the database has.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::printer::event::Checkpoint;

/// A larger file is not ours.
const SIZE_MAX: u64 = 64 * 1024;

/// For the daemon's eyes only.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)?.write_all(bytes)
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    uid: Uuid,
    place: Checkpoint,
}

/// Where the place of one printer's job is kept.
#[derive(Clone, Debug)]
pub struct PlaceFile {
    path: PathBuf,
    part: PathBuf,
}

impl PlaceFile {
    /// Of this printer; the name is safe as a file name.
    pub fn of(runtime_dir: &Path, printer: &str) -> Self {
        PlaceFile {
            path: runtime_dir.join(format!("place-{printer}.json")),
            part: runtime_dir.join(format!("place-{printer}.part")),
        }
    }

    /// Keeps a place; the file is always whole.
    pub fn keep(&self, uid: Uuid, place: &Checkpoint) -> io::Result<()> {
        let kept = Kept {
            uid,
            place: place.clone(),
        };
        write_private(&self.part, &serde_json::to_vec(&kept)?)?;
        fs::rename(&self.part, &self.path)
    }

    /// The place of a job, if it is this one's. A missing, foreign or damaged file is none.
    pub fn read(&self, uid: Uuid) -> Option<Checkpoint> {
        let mut bytes = Vec::new();
        let file = fs::File::open(&self.path).ok()?;
        file.take(SIZE_MAX).read_to_end(&mut bytes).ok()?;
        let kept: Kept = serde_json::from_slice(&bytes).ok()?;
        (kept.uid == uid).then_some(kept.place)
    }

    /// The job is over.
    pub fn forget(&self) {
        // Not there, or left over: the identity tells them apart.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_place_of_this_job_and_no_other() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = PlaceFile::of(dir.path(), "ender3");
        let (ours, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(file.read(ours), None);
        let at = |line| Checkpoint {
            line,
            ..Checkpoint::default()
        };
        file.keep(ours, &at(7)).expect("written");
        file.keep(ours, &at(8)).expect("written");
        assert_eq!(file.read(ours), Some(at(8)));
        assert_eq!(file.read(other), None);
        fs::write(dir.path().join("place-ender3.json"), b"{\"uid\":").expect("written");
        assert_eq!(file.read(ours), None);
        file.forget();
        assert!(!dir.path().join("place-ender3.json").exists());
    }
}
