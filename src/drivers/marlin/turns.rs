//! How long the serial thread's turns of the processor are: short ones while others keep the processors busy.
//!
//! Linux (6.12 and newer) puts a thread that asks for short turns before those whose longer turn has begun. Between busy
//! programs lines leave up to twice as fast by it. On an idle machine it costs: printer and sender then interrupt each
//! other where one would have been done a moment later. So the wait for the processor decides, as the system counts it.

use std::time::{Duration, Instant};

/// Asked for while it is busy. The work for a line needs far less; the system allows no less.
pub const SHORT: Duration = Duration::from_micros(100);

/// Waiting this long for a turn, on average, is what others' programs do.
const BUSY_WAIT: Duration = Duration::from_micros(40);

/// Fewer turns between two looks say nothing.
const TURNS_MIN: u64 = 200;

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// After this time the usual turns are tried again: how it would be with them cannot be seen.
const SHORT_FOR: Duration = Duration::from_secs(60);

/// What the system has counted for a thread (`/proc/thread-self/schedstat`, `Documentation/scheduler/sched-stats.rst`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Waited for the processor, all in all.
    pub waited: Duration,
    /// Turns taken.
    pub turns: u64,
}

impl Counted {
    /// Reads the second and third number of the line: nanoseconds waited, turns.
    pub fn parse(line: &str) -> Option<Counted> {
        let mut words = line.split_ascii_whitespace().skip(1);
        Some(Counted {
            waited: Duration::from_nanos(words.next()?.parse().ok()?),
            turns: words.next()?.parse().ok()?,
        })
    }
}

/// Decides, from one look to the next.
#[derive(Debug, Default)]
pub struct Turns {
    looked: Option<(Instant, Counted)>,
    short_since: Option<Instant>,
}

impl Turns {
    /// Whether it is time to look again.
    pub fn is_due(&self, now: Instant) -> bool {
        self.looked
            .is_none_or(|(at, _)| now.saturating_duration_since(at) >= LOOK_EVERY)
    }

    /// Takes what is counted by now; how long turns shall be from now on, if that changes. Zero: the usual.
    pub fn look(&mut self, now: Instant, counted: Counted) -> Option<Duration> {
        let (_, before) = self.looked.replace((now, counted))?;
        match self.short_since {
            Some(since) if now.saturating_duration_since(since) >= SHORT_FOR => {
                self.short_since = None;
                Some(Duration::ZERO)
            }
            Some(_) => None,
            None => {
                let turns = counted.turns.saturating_sub(before.turns);
                let waited = counted.waited.saturating_sub(before.waited).as_nanos();
                let busy = turns >= TURNS_MIN && waited > BUSY_WAIT.as_nanos() * u128::from(turns);
                busy.then(|| {
                    self.short_since = Some(now);
                    SHORT
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread that waits as long as told for each of its turns, looked at each second.
    fn changes(waits_us: impl IntoIterator<Item = (u64, u64)>) -> Vec<(u64, Duration)> {
        let (start, mut turns, mut counted) = (Instant::now(), Turns::default(), Counted::default());
        let mut changes = Vec::new();
        for (second, (wait_us, count)) in waits_us.into_iter().enumerate() {
            counted.waited += Duration::from_micros(wait_us * count);
            counted.turns += count;
            let second = u64::try_from(second).expect("few");
            let now = start + Duration::from_secs(second);
            assert!(turns.is_due(now));
            changes.extend(turns.look(now, counted).map(|turn| (second, turn)));
            assert!(!turns.is_due(now + Duration::from_millis(900)));
        }
        changes
    }

    #[test]
    fn an_idle_machine_keeps_the_usual_turns() {
        assert_eq!(changes([(3, 15_000); 200]), []);
        // A few long waits between prints say nothing.
        assert_eq!(changes([(900, 20); 200]), []);
    }

    #[test]
    fn a_busy_one_gets_short_turns_and_the_usual_are_tried_each_minute() {
        let busy = changes([(150, 5_000); 130]);
        assert_eq!(
            busy,
            [
                (1, SHORT),
                (61, Duration::ZERO),
                (62, SHORT),
                (122, Duration::ZERO),
                (123, SHORT)
            ]
        );
        let a_minute_of_it = changes((0..300).map(|s| if s < 30 { (150, 5_000) } else { (3, 15_000) }));
        assert_eq!(a_minute_of_it, [(1, SHORT), (61, Duration::ZERO)]);
    }

    #[test]
    fn what_the_system_counts_is_read() {
        let line = "402364208 8140932 1021\n";
        let counted = Counted {
            waited: Duration::from_nanos(8_140_932),
            turns: 1021,
        };
        assert_eq!(Counted::parse(line), Some(counted));
        assert_eq!(Counted::parse("402364208 8140932"), None);
        assert_eq!(Counted::parse(""), None);
        assert_eq!(Counted::parse("1 -2 3"), None);
    }
}
