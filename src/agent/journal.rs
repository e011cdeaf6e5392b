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
