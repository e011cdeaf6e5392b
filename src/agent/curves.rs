//! The temperatures of the last half hour, for people who open a page and want to see more than now.
//! In memory only: a few kilobytes per printer, none on disk.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::printer::model::{Heat, Heater, State};
use crate::sorted::SortedMap;

/// Seconds between two points.
pub const EVERY_S: u64 = 5;

/// Points kept: half an hour.
pub const POINTS: usize = 360;

/// Heaters and sensors kept of one printer; the first ones by name.
const HEATERS_MAX: usize = 16;

/// A reading older than this is no reading of now.
const FRESH: Duration = Duration::from_secs(30);

/// Nothing is known of that moment.
const UNKNOWN: i16 = i16::MIN;

/// A column of points, in tenths of a degree.
type Column = VecDeque<i16>;

/// The past of one heater.
#[derive(Clone, Debug, Default)]
struct Track {
    actual: Column,
    target: Column,
}

/// The past of one printer. All tracks are equally long.
#[derive(Clone, Debug, Default)]
struct Past {
    /// Number of the last point, counted from the start of the agent.
    last: u64,
    points: usize,
    tracks: SortedMap<Heater, Track>,
}

impl Past {
    fn push(&mut self, number: u64, at: Instant, state: &State) {
        if self.points > 0 && number <= self.last {
            return;
        }
        // Moments in which nobody looked (a suspended computer) are gaps, not a shorter time.
        let skipped = if self.points == 0 {
            0
        } else {
            usize::try_from(number - self.last - 1).map_or(POINTS, |n| n.min(POINTS))
        };
        for _ in 0..skipped {
            self.row(|_| None);
        }
        self.last = number;
        let is_up = state.is_up();
        for heater in state.heaters.keys() {
            if !self.tracks.contains_key(heater) && self.tracks.len() < HEATERS_MAX {
                let gap = || Column::from(vec![UNKNOWN; self.points]);
                let track = Track {
                    actual: gap(),
                    target: gap(),
                };
                self.tracks.insert(*heater, track);
            }
        }
        self.row(|heater| {
            let heat = state.heaters.get(&heater).filter(|_| is_up)?;
            (at.saturating_duration_since(heat.at) <= FRESH).then_some(*heat)
        });
    }

    fn row(&mut self, reading: impl Fn(Heater) -> Option<Heat>) {
        for (heater, track) in &mut self.tracks {
            let heat = reading(*heater);
            track.actual.push_back(tenths(heat.map(|h| h.actual_c)));
            track.target.push_back(tenths(heat.and_then(|h| h.target_c)));
            if track.actual.len() > POINTS {
                track.actual.pop_front();
                track.target.pop_front();
            }
        }
        self.points = (self.points + 1).min(POINTS);
    }
}

fn tenths(value: Option<f32>) -> i16 {
    value.filter(|c| c.abs() < 3000.0).map_or(UNKNOWN, |c| {
        // Within the range of the type by the line above.
        (c * 10.0).round() as i16
    })
}

/// One heater over time, °C; `None` where nothing is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// Which.
    pub heater: Heater,
    /// Measured, oldest first.
    pub actual_c: Vec<Option<f32>>,
    /// Wanted, oldest first.
    pub target_c: Vec<Option<f32>>,
}

/// All of them, by the number of the printer.
#[derive(Debug)]
pub struct Curves {
    began: Instant,
    all: Mutex<SortedMap<i64, Past>>,
}

impl Curves {
    /// Nothing yet; points are counted from here.
    pub fn new(began: Instant) -> Self {
        Curves {
            began,
            all: Mutex::default(),
        }
    }

    /// Notes what printers report now, unless that was done for this moment. Printers that are not among
    /// them any more are forgotten.
    pub fn note<'a>(&self, at: Instant, printers: impl Iterator<Item = (i64, &'a State)>) {
        let number = at.saturating_duration_since(self.began).as_secs() / EVERY_S;
        let mut all = self.all.lock().unwrap_or_else(|e| e.into_inner());
        let mut old = std::mem::take(&mut *all);
        for (id, state) in printers {
            let mut past = old.remove(&id).unwrap_or_default();
            past.push(number, at, state);
            all.insert(id, past);
        }
    }

    /// The past of a printer, and how long ago its last point was taken.
    pub fn of(&self, printer: i64, now: Instant) -> (Vec<Curve>, Duration) {
        let all = self.all.lock().unwrap_or_else(|e| e.into_inner());
        let Some(past) = all.get(&printer) else {
            return (Vec::new(), Duration::ZERO);
        };
        let taken = self.began + Duration::from_secs(past.last.saturating_mul(EVERY_S));
        let degrees = |column: &Column| {
            let one = |v: &i16| (*v != UNKNOWN).then(|| f32::from(*v) / 10.0);
            column.iter().map(one).collect()
        };
        let curves = past.tracks.iter().map(|(heater, track)| Curve {
            heater: *heater,
            actual_c: degrees(&track.actual),
            target_c: degrees(&track.target),
        });
        (curves.collect(), now.saturating_duration_since(taken))
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::printer::event::Event;
    use crate::printer::model::Now;
    use crate::printer::reduce::reduce;

    struct Bench {
        curves: Curves,
        state: State,
        began: Instant,
    }

    impl Bench {
        fn new() -> Self {
            let began = Instant::now();
            let mut bench = Bench {
                curves: Curves::new(began),
                state: State::new(now(began)),
                began,
            };
            reduce(&mut bench.state, now(began), Event::Up);
            bench
        }

        fn heat(&mut self, at_s: u64, heater: Heater, actual_c: f32) {
            let event = Event::Heat {
                heater,
                actual_c,
                target_c: Some(200.0),
            };
            let at = now(self.at(at_s));
            reduce(&mut self.state, at, event);
        }

        fn at(&self, at_s: u64) -> Instant {
            self.began + Duration::from_secs(at_s)
        }

        fn note(&self, at_s: u64) {
            self.curves.note(self.at(at_s), [(1, &self.state)].into_iter());
        }

        fn actual(&self, heater: Heater) -> Vec<Option<f32>> {
            let (curves, _) = self.curves.of(1, self.began);
            let found = curves.into_iter().find(|c| c.heater == heater);
            found.map(|c| c.actual_c).unwrap_or_default()
        }
    }

    fn now(mono: Instant) -> Now {
        Now {
            mono,
            wall: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn points_come_at_even_steps_and_gaps_stay_gaps() {
        let mut bench = Bench::new();
        bench.heat(0, Heater::Tool(0), 20.04);
        bench.note(0);
        bench.note(2);
        bench.heat(5, Heater::Tool(0), 30.0);
        bench.heat(5, Heater::Bed, 50.0);
        bench.note(6);
        bench.heat(20, Heater::Tool(0), 40.0);
        bench.note(21);
        assert_eq!(
            bench.actual(Heater::Tool(0)),
            [Some(20.0), Some(30.0), None, None, Some(40.0)]
        );
        assert_eq!(
            bench.actual(Heater::Bed),
            [None, Some(50.0), None, None, Some(50.0)],
            "later known, equally long"
        );
    }

    #[test]
    fn a_stale_reading_is_no_reading() {
        let mut bench = Bench::new();
        bench.heat(0, Heater::Tool(0), 20.0);
        bench.note(30);
        bench.note(35);
        assert_eq!(bench.actual(Heater::Tool(0)), [Some(20.0), None]);
    }

    #[test]
    fn half_an_hour_is_kept_and_gone_printers_are_not() {
        let mut bench = Bench::new();
        for n in 0..2 * POINTS as u64 {
            bench.heat(n * EVERY_S, Heater::Tool(0), (n % 250) as f32);
            bench.note(n * EVERY_S);
        }
        let kept = bench.actual(Heater::Tool(0));
        assert_eq!(kept.len(), POINTS);
        assert_eq!(kept.last(), Some(&Some(((2 * POINTS - 1) % 250) as f32)));
        bench.note(u64::from(u32::MAX));
        assert_eq!(
            bench.actual(Heater::Tool(0)).len(),
            POINTS,
            "a long gap takes no time"
        );
        bench.curves.note(bench.began, std::iter::empty());
        assert!(bench.actual(Heater::Tool(0)).is_empty());
    }
}
