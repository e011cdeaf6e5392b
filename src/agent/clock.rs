//! Reads both clocks at once; only shells do.

use std::time::Instant;

use jiff::Timestamp;

use crate::printer::model::Now;

/// This moment.
pub fn now() -> Now {
    Now {
        mono: Instant::now(),
        wall: Timestamp::now(),
    }
}
