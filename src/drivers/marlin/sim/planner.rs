//! The motion planner: sixteen blocks, one after the other, each with its time.

use std::collections::VecDeque;
use std::time::Duration;

/// Blocks that can wait (`BLOCK_BUFFER_SIZE` 16, one of them always free).
const BLOCKS_MAX: usize = 15;

/// Planned moves.
#[derive(Debug, Default)]
pub(super) struct Planner {
    /// End of each block, in order.
    ends: VecDeque<Duration>,
}

impl Planner {
    pub fn retire(&mut self, now: Duration) {
        while self.ends.front().is_some_and(|end| *end <= now) {
            self.ends.pop_front();
        }
    }

    pub fn is_full(&self) -> bool {
        self.ends.len() >= BLOCKS_MAX
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub fn free(&self) -> usize {
        BLOCKS_MAX - self.ends.len()
    }

    pub fn push(&mut self, now: Duration, takes: Duration) {
        let start = self.ends.back().copied().unwrap_or(now).max(now);
        self.ends.push_back(start + takes);
    }

    /// When the next block is free.
    pub fn next_end(&self) -> Option<Duration> {
        self.ends.front().copied()
    }

    /// When the head stands still.
    pub fn last_end(&self) -> Option<Duration> {
        self.ends.back().copied()
    }

    /// Drops what is planned, as M410 does.
    pub fn clear(&mut self, now: Duration) {
        self.ends.clear();
        // The running move is braked, which takes a moment.
        self.ends.push_back(now + Duration::from_millis(50));
    }
}
