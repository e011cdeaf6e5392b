//! Reads both clocks at once; only shells do.

use jiff::Timestamp;

use crate::printer::model::Now;

/// This moment. The monotonic part is the runtime's own clock, so that tests can hold it still.
pub fn now() -> Now {
    Now {
        mono: tokio::time::Instant::now().into_std(),
        wall: Timestamp::now(),
    }
}
