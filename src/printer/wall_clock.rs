//! Notices that somebody set the wall clock, and moves along what was stamped before. Pure.
//!
//! A small computer without a clock of its own starts with a time of long ago and is set right by the network, at
//! times in the middle of a print. Without this, such a print would last for years: in the history, in the hours of
//! the printer, and in the time that is left.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::model::Now;

/// What is less is no step: a slewed clock takes the monotonic one along.
const STEP_MIN: SignedDuration = SignedDuration::from_secs(5);

/// A moment by a clock that nobody sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinceBoot {
    /// Which start of the computer.
    pub boot: String,
    /// Seconds since then.
    pub at_s: i64,
}

impl SinceBoot {
    /// Seconds between two moments; `None`: the computer was started in between.
    pub fn seconds_to(&self, other: &SinceBoot) -> Option<i64> {
        (self.boot == other.boot).then(|| other.at_s.saturating_sub(self.at_s))
    }
}

/// Both clocks as they stood at one moment.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    /// From when on stamps are of this clock, in its present time.
    from: Timestamp,
    base: Now,
}

/// The clock was set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    by: SignedDuration,
    /// First and last stamp that the clock can have given before, in the time of then.
    from: Timestamp,
    to: Timestamp,
}

impl WallClock {
    /// A clock that was not set since `from`: since the computer was started.
    pub fn new(from: Timestamp, now: Now) -> Self {
        WallClock { from, base: now }
    }

    /// Looks at it; a step is told once.
    pub fn look(&mut self, now: Now) -> Option<Step> {
        let passed = SignedDuration::try_from(now.mono.saturating_duration_since(self.base.mono)).ok()?;
        let to = self.base.wall.checked_add(passed).ok()?;
        let by = now.wall.duration_since(to);
        if by.abs() < STEP_MIN {
            return None;
        }
        let step = Step {
            by,
            from: self.from,
            to,
        };
        self.from = self.from.checked_add(by).unwrap_or(self.from);
        self.base = now;
        Some(step)
    }
}

impl Step {
    /// How far.
    pub fn by(&self) -> SignedDuration {
        self.by
    }

    /// A stamp as it would have been with the clock of now. One of before the computer was started stays.
    pub fn moved(&self, at: Timestamp) -> Timestamp {
        if self.from <= at && at <= self.to {
            at.checked_add(self.by).unwrap_or(at)
        } else {
            at
        }
    }

    /// Moves a stamp that may be there.
    pub fn apply(&self, at: &mut Option<Timestamp>) {
        *at = at.map(|at| self.moved(at));
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_second(s).expect("in range")
    }

    struct Both {
        start: Instant,
        clock: WallClock,
    }

    impl Both {
        fn new() -> Self {
            let start = Instant::now();
            let now = Now {
                mono: start,
                wall: at(1000),
            };
            Both {
                start,
                clock: WallClock::new(at(900), now),
            }
        }

        fn look(&mut self, mono_s: u64, wall_s: i64) -> Option<Step> {
            self.clock.look(Now {
                mono: self.start + Duration::from_secs(mono_s),
                wall: at(wall_s),
            })
        }
    }

    #[test]
    fn time_that_passes_is_no_step() {
        let mut both = Both::new();
        for s in 0..5000 {
            assert_eq!(both.look(s, 1000 + s as i64), None);
        }
        // Nor is what a clock is off by while it is pulled right.
        assert_eq!(both.look(5000, 6004), None);
    }

    #[test]
    fn a_step_is_told_once_and_takes_along_what_was_stamped_with_that_clock() {
        const YEAR_S: i64 = 31_536_000;
        let mut both = Both::new();
        let step = both.look(60, 1060 + YEAR_S).expect("a step");
        assert_eq!(step.by(), SignedDuration::from_secs(YEAR_S));
        assert_eq!(step.moved(at(1030)), at(1030 + YEAR_S));
        assert_eq!(
            step.moved(at(899)),
            at(899),
            "of before the start of the computer"
        );
        assert_eq!(
            step.moved(at(1070 + YEAR_S)),
            at(1070 + YEAR_S),
            "of the new clock"
        );
        assert_eq!(both.look(70, 1070 + YEAR_S), None);
        // And back: what was moved is moved again.
        let back = both.look(80, 1080).expect("a step");
        assert_eq!(back.moved(step.moved(at(1030))), at(1030));
        assert_eq!(back.moved(at(1075 + YEAR_S)), at(1075));
        let mut nothing = None;
        back.apply(&mut nothing);
        assert_eq!(nothing, None);
    }

    #[test]
    fn a_day_back_is_a_step_too() {
        let mut both = Both::new();
        let step = both.look(60, 1060 - 86_400).expect("a step");
        assert_eq!(step.moved(at(1000)), at(1000 - 86_400));
        assert_eq!(both.look(61, 1061 - 86_400), None);
    }
}
