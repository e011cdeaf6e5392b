//! The moments at which reports are read. Printers report once or twice a second, each when it likes; a
//! processor that wakes for every one of them spends most of its time on waking up and on memory that has
//! gone cold meanwhile. So printers of which nothing is awaited are read at common moments, one after the
//! other.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

/// Between two moments while it prints: what a person may see late by, at most.
pub const PRINTING: Duration = Duration::from_millis(500);

/// The same for a printer that does nothing. Whole multiples of one another, so that the moments are common.
pub const IDLE: Duration = Duration::from_millis(1000);

/// From so long after the beginning to the next moment.
fn wait(since: Duration, every: Duration) -> Duration {
    let into = since.as_micros() % every.as_micros().max(1);
    every.saturating_sub(Duration::from_micros(u64::try_from(into).unwrap_or(0)))
}

/// The next moment, the same for every printer of this process.
pub fn next(now: Instant, every: Duration) -> Instant {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    now + wait(now.saturating_duration_since(*BEGAN.get_or_init(|| now)), every)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_common_and_always_ahead() {
        for (since_us, wait_us) in [
            (0, 500_000),
            (1, 499_999),
            (499_999, 1),
            (500_000, 500_000),
            (1_300_000, 200_000),
        ] {
            assert_eq!(
                wait(Duration::from_micros(since_us), PRINTING),
                Duration::from_micros(wait_us)
            );
        }
        let (one, later) = (Instant::now(), Instant::now() + Duration::from_millis(70));
        let first = next(one, PRINTING);
        let apart = next(later, PRINTING).duration_since(first).as_millis();
        assert!(apart == 0 || apart == PRINTING.as_millis(), "{apart} ms apart");
        assert!(first > one && first <= one + PRINTING);
        let idle = next(one, IDLE).duration_since(first).as_millis();
        assert!(
            idle == 0 || idle == PRINTING.as_millis(),
            "{idle} ms from a moment of the others"
        );
    }
}
