//! How often one caller may ask: a bucket that fills evenly and holds one minute's worth. Pure.

use std::time::{Duration, Instant};

use crate::sorted::SortedMap;

const MINUTE: Duration = Duration::from_secs(60);

/// Where a caller stands after asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether this request may pass.
    pub passes: bool,
    /// Requests that may follow at once.
    pub left: u32,
    /// Seconds until the bucket is full again (passes), or until the next request may pass.
    pub wait_s: u64,
}

/// The buckets of all callers; one for each key and one for this machine, so bounded as the keys are.
#[derive(Debug)]
pub struct Rates {
    per_min: u32,
    buckets: SortedMap<i64, (f64, Instant)>,
}

impl Rates {
    /// `per_min`: 0 is no limit.
    pub fn new(per_min: u32) -> Self {
        Rates {
            per_min,
            buckets: SortedMap::new(),
        }
    }

    /// Requests a minute; `None`: no limit.
    pub fn limit(&self) -> Option<u32> {
        (self.per_min > 0).then_some(self.per_min)
    }

    /// One request of this caller. `None`: there is no limit.
    pub fn ask(&mut self, caller: i64, now: Instant) -> Option<Standing> {
        let most = f64::from(self.limit()?);
        let per_s = most / MINUTE.as_secs_f64();
        let (full, at) = self.buckets.entry(caller).or_insert((most, now));
        let passed_s = now.saturating_duration_since(*at).as_secs_f64();
        *full = (*full + passed_s * per_s).min(most);
        *at = now;
        let passes = *full >= 1.0;
        if passes {
            *full -= 1.0;
        }
        let missing = if passes { most - *full } else { 1.0 - *full };
        Some(Standing {
            passes,
            left: full.max(0.0) as u32,
            wait_s: (missing / per_s).ceil() as u64,
        })
    }

    /// Forgets callers that are no more.
    pub fn keep(&mut self, known: impl Fn(i64) -> bool) {
        self.buckets.retain(|caller, _| known(*caller));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minutes_worth_at_once_and_then_as_it_fills() {
        let mut rates = Rates::new(60);
        let now = Instant::now();
        for left in (0..60).rev() {
            let standing = rates.ask(1, now).expect("a limit");
            assert_eq!((standing.passes, standing.left), (true, left));
        }
        let standing = rates.ask(1, now).expect("a limit");
        assert_eq!((standing.passes, standing.wait_s), (false, 1));
        assert!(
            rates.ask(2, now).expect("a limit").passes,
            "another key has its own"
        );
        let later = now + Duration::from_secs(1);
        assert!(rates.ask(1, later).expect("a limit").passes);
        assert!(!rates.ask(1, later).expect("a limit").passes);
        let much_later = now + Duration::from_secs(3600);
        assert_eq!(
            rates.ask(1, much_later).expect("a limit").left,
            59,
            "it holds no more than a minute's"
        );
        assert_eq!(Rates::new(0).ask(1, now), None);
    }
}
