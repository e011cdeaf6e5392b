//! The last things that happened to a printer, in words (`layerd logs PRINTER`).

use std::collections::VecDeque;
use std::sync::Mutex;

use jiff::Timestamp;

use crate::printer::event::JournalLine;

/// Lines kept in memory per printer; the oldest goes first.
pub const JOURNAL_MAX: usize = 300;

/// A bounded list of lines.
#[derive(Debug, Default)]
pub struct Journal {
    lines: Mutex<VecDeque<JournalLine>>,
}

impl Journal {
    /// A journal that begins with what the last run of the daemon has written, oldest first.
    pub fn starting_with(lines: Vec<JournalLine>) -> Self {
        let surplus = lines.len().saturating_sub(JOURNAL_MAX);
        Journal {
            lines: Mutex::new(lines.into_iter().skip(surplus).collect()),
        }
    }

    /// Adds a line and gives it back for the durable journal.
    pub fn add(&self, at: Timestamp, text: impl Into<String>) -> JournalLine {
        let line = JournalLine {
            at,
            text: text.into(),
        };
        let mut lines = self.lines.lock().unwrap_or_else(|e| e.into_inner());
        if lines.len() >= JOURNAL_MAX {
            lines.pop_front();
        }
        lines.push_back(line.clone());
        line
    }

    /// All lines, oldest first.
    pub fn lines(&self) -> Vec<JournalLine> {
        self.lines
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .iter()
            .cloned()
            .collect()
    }
}
