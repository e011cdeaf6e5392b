//! A second copy of what printers have done, beside the database: hours and prints must outlive it.
//!
//! One small file per printer, written after each print and read once at start. What it says more than
//! the database is put there; nothing is ever taken away.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::store::{Counters, Store};
use crate::blocking;
use crate::json;

/// Such a file is a hundred bytes long.
const SIZE_MAX: u64 = 4096;

/// The copy of one printer.
#[derive(Clone, Debug)]
pub struct CountersFile {
    path: PathBuf,
}

impl CountersFile {
    /// In the durable directory.
    pub fn of(state_dir: &Path, printer: &str) -> Self {
        CountersFile {
            path: state_dir.join("counters").join(format!("{printer}.json")),
        }
    }

    /// What it says; `None`: there is none, or it is damaged.
    pub fn read(&self) -> Option<Counters> {
        let mut text = String::new();
        let file = fs::File::open(&self.path).ok()?;
        file.take(SIZE_MAX).read_to_string(&mut text).ok()?;
        json::read(&text).ok()
    }

    /// Replaces it whole.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write(&self, counters: &Counters) -> io::Result<()> {
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir)?;
        }
        let fresh = self.path.with_extension("json.new");
        let mut file = fs::File::create(&fresh)?;
        file.write_all(serde_json::to_string(counters)?.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, &self.path)
    }

    /// Brings database and copy to the larger of both, in each.
    pub async fn reconcile(&self, store: &Store, printer: &str) {
        let this = self.clone();
        let kept = blocking::run(move || this.read()).await.ok().flatten();
        if let Some(kept) = kept
            && let Err(error) = store.raise_counters(printer, kept).await
        {
            tracing::warn!(
                printer,
                "the counters could not be compared with their copy: {error}"
            );
        }
    }

    /// Copies what the database says now.
    pub async fn keep(&self, store: &Store, printer: &str) {
        let Ok(counters) = store.counters(printer).await else {
            return;
        };
        let this = self.clone();
        let written = blocking::run(move || this.write(&counters)).await;
        if !matches!(written, Ok(Ok(()))) {
            tracing::warn!(printer, "the copy of the counters could not be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_damage_is_no_count() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = CountersFile::of(dir.path(), "a");
        assert_eq!(file.read(), None);
        let counters = Counters {
            print_s: 7,
            completed: 2,
            filament_mm: 1.5,
            ..Counters::default()
        };
        file.write(&counters).expect("written");
        assert_eq!(file.read(), Some(counters));
        fs::write(dir.path().join("counters/a.json"), "{\"print_s\":").expect("damaged");
        assert_eq!(file.read(), None);
    }
}
