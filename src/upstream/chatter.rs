//! How much of what an upstream makes us say goes into the log: one that talks nonsense must not fill the disk. Pure.

use std::time::{Duration, Instant};

/// Lines of one printer in one span.
const LINES_MAX: u32 = 30;
/// The span.
const SPAN: Duration = Duration::from_secs(60);

/// Counts the lines of one printer or link.
#[derive(Debug)]
pub struct Chatter {
    since: Instant,
    lines: u32,
}

/// What to do with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// It goes into the log.
    Log,
    /// It does too, and that so many of the span before did not.
    LogAfter(u32),
    /// It does not.
    Drop,
}

impl Chatter {
    /// Nothing was said yet.
    pub fn new(now: Instant) -> Self {
        Chatter { since: now, lines: 0 }
    }

    /// Another line.
    pub fn line(&mut self, now: Instant) -> Line {
        let mut dropped = 0;
        if now.saturating_duration_since(self.since) >= SPAN {
            dropped = self.lines.saturating_sub(LINES_MAX);
            *self = Chatter::new(now);
        }
        self.lines = self.lines.saturating_add(1);
        match (self.lines > LINES_MAX, dropped) {
            (true, _) => Line::Drop,
            (false, 0) => Line::Log,
            (false, dropped) => Line::LogAfter(dropped),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_few_lines_and_a_number() {
        let begin = Instant::now();
        let mut chatter = Chatter::new(begin);
        let logged = (0..1000).filter(|n| chatter.line(begin + Duration::from_millis(*n)) == Line::Log);
        assert_eq!(logged.count(), 30);
        assert_eq!(chatter.line(begin + SPAN), Line::LogAfter(970));
        assert_eq!(chatter.line(begin + SPAN), Line::Log);
    }
}
