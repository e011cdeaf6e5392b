//! The last things that happened to a printer, in words (`layerd logs PRINTER`).

use std::collections::VecDeque;
use std::sync::Mutex;

use jiff::Timestamp;

use crate::printer::event::JournalLine;

/// Lines kept in memory per printer; the oldest goes first.
pub const JOURNAL_MAX: usize = 300;

/// A notice with the same words within this time …
const REPEAT_S: i64 = 300;

/// … and this many lines is the same one.
const REPEAT_LINES: usize = 20;

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

    /// Adds a line and gives it back for the durable journal. `None`: it was said a moment ago; a
    /// printer that complains at every line must fill neither the journal nor the card.
    pub fn add(&self, at: Timestamp, text: impl Into<String>) -> Option<JournalLine> {
        let line = JournalLine {
            at,
            text: text.into(),
        };
        let mut lines = self.lines.lock().unwrap_or_else(|e| e.into_inner());
        let again = |old: &JournalLine| {
            old.text == line.text && (0..REPEAT_S).contains(&(at.as_second() - old.at.as_second()))
        };
        // Only complaints repeat like that: a pause and a resume are news each time.
        if line.text.starts_with("notice:") && lines.iter().rev().take(REPEAT_LINES).any(again) {
            return None;
        }
        if lines.len() >= JOURNAL_MAX {
            lines.pop_front();
        }
        lines.push_back(line.clone());
        Some(line)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_at_every_line_is_noted_once() {
        let journal = Journal::default();
        let at = |s| Timestamp::from_second(s).expect("in range");
        assert!(journal.add(at(0), "notice: too cold").is_some());
        for s in 1..100 {
            assert!(journal.add(at(s), "notice: too cold").is_none());
        }
        assert!(journal.add(at(100), "paused").is_some());
        assert!(
            journal.add(at(100), "paused").is_some(),
            "what happens is news each time"
        );
        assert!(
            journal.add(at(300), "notice: too cold").is_some(),
            "still so after five minutes"
        );
        assert_eq!(journal.lines().len(), 4);
    }
}
