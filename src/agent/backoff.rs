//! How long to wait before the next attempt. Pure: chance and time are arguments.

use std::time::Duration;

/// First wait.
pub const FIRST: Duration = Duration::from_millis(500);

/// Longest wait. A printer that is plugged in again is noticed by its driver at once; this is for
/// everything else.
pub const LONGEST: Duration = Duration::from_secs(12);

/// A session that lasted this long was a good one: the next failure starts from [`FIRST`].
pub const STABLE: Duration = Duration::from_secs(60);

/// Doubling waits with jitter, so that a farm does not reconnect in step.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// A session ended after `lasted`; how long to wait now. `chance` is 0–1.
    pub fn next(&mut self, lasted: Duration, chance: f64) -> Duration {
        if lasted >= STABLE {
            self.failures = 0;
        }
        let doubled = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        // 70–130 %.
        doubled.mul_f64(0.7 + 0.6 * chance.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_longest_and_starts_over_after_a_stable_minute() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..7)
            .map(|_| backoff.next(Duration::ZERO, 0.5).as_millis())
            .collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 12000, 12000]);
        assert_eq!(backoff.next(STABLE, 0.5), FIRST);
    }

    #[test]
    fn spreads_by_thirty_percent_both_ways() {
        let wait = |chance| Backoff::default().next(Duration::ZERO, chance);
        assert_eq!(wait(0.0), FIRST.mul_f64(0.7));
        assert_eq!(wait(1.0), FIRST.mul_f64(1.3));
    }
}
