//! What is kept for a quick restart: which line number stands for which place of the program.
//!
//! Between two entries every number stands for the next line of the program, so entries are written
//! only where that is interrupted (a poll, a command of a person, a pause), not per line.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::history::Place;
use super::pause_record::PauseRecord;

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// A program begins; nothing of it has a number yet.
    Begin {
        /// The job.
        uid: Uuid,
    },
    /// `number` stands for the first command of the program behind `after`; the following numbers for
    /// the following commands, until the next entry.
    Run {
        /// The line number.
        number: u32,
        /// Where the command before it ends.
        after: Place,
    },
    /// From `number` on, numbers stand for lines that are not of the program.
    Aside {
        /// The first of them.
        number: u32,
    },
    /// An object is left out from a byte of the file on. Kept in the file's header: it counts to the end.
    Skip {
        /// Number of the object.
        id: u32,
        /// Lines that begin here or behind are left out.
        from_byte: u64,
    },
    /// A script of ours begins to move the head (pause, cancel): until the next `Run` the program
    /// cannot be continued where it is.
    Leaving,
    /// The job stands still, parked; it cannot be continued line by line.
    Parked {
        /// What the pause saved. Kept in the file's header, being too long for a record.
        #[serde(skip)]
        saved: Option<Box<PauseRecord>>,
    },
    /// No job runs any more.
    End,
}
