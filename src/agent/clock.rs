//! Reads both clocks at once; only shells do.

use jiff::{SignedDuration, Timestamp};

use crate::host::boot;
use crate::printer::model::Now;

/// This moment. The monotonic part is the runtime's own clock, so that tests can hold it still.
pub fn now() -> Now {
    Now {
        mono: tokio::time::Instant::now().into_std(),
        wall: Timestamp::now(),
    }
}

/// When this computer was started, as far as its wall clock knows.
pub fn booted(now: Now) -> Timestamp {
    now.wall
        .checked_sub(SignedDuration::from_secs(boot::up_s()))
        .unwrap_or(now.wall)
}
