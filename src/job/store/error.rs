//! What can go wrong with the database, in words, with a remedy each.

use std::path::{Path, PathBuf};

use crate::printer::fault::{Fault, Severity};

/// Why the database could not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The file could not be opened or made.
    #[error("Cannot open the database {}: {why}. {remedy}", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// The system's words.
        why: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Another process uses it.
    #[error(
        "The database {} is in use by another layerd. Stop that one first, or give this one its own state_dir.",
        path.display()
    )]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// A later version of layerd has written it.
    #[error(
        "The database {} has schema {found}, this layerd knows {known}: it was written by a later version. \
         Install that version again, or move the file away to begin with an empty history.",
        path.display()
    )]
    TooNew {
        /// Which file.
        path: PathBuf,
        /// Its schema number.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// The disk did not answer in time. What was asked for may still happen.
    #[error("The database did not answer in time: the disk is busy or stalled. Try again in a moment.")]
    Busy,
    /// No room left.
    #[error("No space left for the database {}. Free some space; layerd tries again by itself.", path.display())]
    Full {
        /// Which file.
        path: PathBuf,
    },
    /// The medium refuses writes.
    #[error(
        "The database {} cannot be written: {why}. Check the card or the mount; layerd tries again by itself.",
        path.display()
    )]
    Unwritable {
        /// Which file.
        path: PathBuf,
        /// The system's words.
        why: String,
    },
    /// The file is damaged; it has been set aside or will be.
    #[error("The database {} is damaged ({why}). It was set aside and a fresh one begun.", path.display())]
    Broken {
        /// Which file.
        path: PathBuf,
        /// The database's words.
        why: String,
    },
    /// The store was closed.
    #[error("The database is closed: layerd is stopping.")]
    Closed,
    /// A mistake of ours: a statement that does not fit, a row that cannot be read.
    #[error("The database refused a statement: {0}. Please report this.")]
    Bug(String),
}

impl StoreError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            StoreError::Open { .. } => "store/open",
            StoreError::InUse { .. } => "store/in-use",
            StoreError::TooNew { .. } => "store/too-new",
            StoreError::Busy => "store/busy",
            StoreError::Full { .. } => "store/full",
            StoreError::Unwritable { .. } => "store/unwritable",
            StoreError::Broken { .. } => "store/broken",
            StoreError::Closed => "store/closed",
            StoreError::Bug(_) => "store/bug",
        }
    }

    /// Whether the same call may succeed later without a person.
    pub fn is_passing(&self) -> bool {
        matches!(self, StoreError::Busy)
    }

    /// The same as a fault for people.
    pub fn fault(&self) -> Fault {
        let severity = match self {
            StoreError::Busy => Severity::Retry,
            StoreError::Bug(_) => Severity::Bug,
            _ => Severity::NeedsUser,
        };
        // The message of each variant already holds what, why and what to do.
        Fault::new(severity, self.code(), "", "", "").with_what(self.to_string())
    }

    /// Sorts an error of SQLite.
    pub(super) fn of_sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as E;
        let path = path.to_path_buf();
        let why = error.to_string();
        match error.sqlite_error_code() {
            Some(E::DiskFull) => StoreError::Full { path },
            Some(E::DatabaseCorrupt | E::NotADatabase) => StoreError::Broken { path, why },
            Some(E::ReadOnly | E::SystemIoFailure | E::CannotOpen | E::PermissionDenied) => {
                StoreError::Unwritable { path, why }
            }
            Some(E::DatabaseBusy | E::DatabaseLocked | E::OperationInterrupted) => StoreError::Busy,
            _ => StoreError::Bug(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_names_the_file_and_a_remedy() {
        let path = PathBuf::from("/var/lib/layerd/layerd.db");
        let full = StoreError::Full { path: path.clone() };
        assert!(full.to_string().contains("/var/lib/layerd/layerd.db"));
        assert!(full.to_string().contains("Free some space"));
        assert_eq!(full.fault().code, "store/full");
        let new = StoreError::TooNew {
            path,
            found: 9,
            known: 1,
        };
        assert!(new.to_string().contains("later version"));
        assert!(StoreError::Busy.is_passing());
    }
}
