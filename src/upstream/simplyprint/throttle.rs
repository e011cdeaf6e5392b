//! How often what may be said. The cloud sets it, in milliseconds. Pure: time is an argument.

use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::lenient;

use crate::sorted::SortedMap;

/// What an interval is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rate {
    /// `job_info` without a lifecycle flag.
    Job,
    /// `temps` when nothing heats.
    Temps,
    /// `temps` while something heats.
    TempsTarget,
    /// `cpu_info`.
    Cpu,
    /// `ping`.
    Ping,
    /// Pictures.
    Webcam,
    /// `notification`.
    Notification,
    /// `peripheral`.
    Peripheral,
}

/// Key on the wire and the default (ms) of the vendor's client.
const TABLE: &[(Rate, &str, u64)] = &[
    (Rate::Job, "job", 5000),
    (Rate::Temps, "temps", 5000),
    (Rate::TempsTarget, "temps_target", 2500),
    (Rate::Cpu, "cpu", 30_000),
    (Rate::Ping, "ping", 20_000),
    (Rate::Webcam, "webcam", 1000),
    (Rate::Notification, "notification", 1000),
    (Rate::Peripheral, "peripheral", 0),
];

/// Longest interval that is believed: a day. Beyond it nothing would ever be said again.
const LONGEST_MS: i64 = 86_400_000;

/// Shortest time between two pings, whatever the cloud says: 0 means "unlimited" and is no rhythm.
const PING_LEAST: Duration = Duration::from_secs(1);

/// A message is held a little longer than asked, so that two clocks do not quarrel.
const MARGIN: Duration = Duration::from_millis(20);

/// Intervals as one message gives them; keys that are absent stay as they were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intervals(SortedMap<Rate, Duration>);

impl Intervals {
    /// Reads an object of milliseconds. Unknown keys and nonsense are ignored.
    pub fn read(data: &Map<String, Value>) -> Self {
        let one = |(rate, key, _): &(Rate, &str, u64)| {
            let ms = lenient::whole(data.get(*key)).filter(|ms| (0..=LONGEST_MS).contains(ms))?;
            Some((*rate, Duration::from_millis(ms.unsigned_abs())))
        };
        Intervals(TABLE.iter().filter_map(one).collect())
    }
}

/// When what was said last, and when it may be said again.
#[derive(Clone, Debug)]
pub struct Throttle {
    intervals: SortedMap<Rate, Duration>,
    last: SortedMap<Rate, Instant>,
}

impl Default for Throttle {
    fn default() -> Self {
        Throttle {
            intervals: TABLE
                .iter()
                .map(|(rate, _, ms)| (*rate, Duration::from_millis(*ms)))
                .collect(),
            last: SortedMap::new(),
        }
    }
}

impl Throttle {
    /// Takes new intervals over, key by key.
    pub fn merge(&mut self, intervals: &Intervals) {
        self.intervals.extend(intervals.0.iter().map(|(k, v)| (*k, *v)));
    }

    /// One interval from elsewhere (`webcam_snapshot.timer`).
    pub fn set(&mut self, rate: Rate, interval: Duration) {
        self.intervals.insert(rate, interval);
    }

    /// A new connection: the first use of each interval is free.
    pub fn restart(&mut self) {
        self.last.clear();
    }

    /// The interval.
    pub fn interval(&self, rate: Rate) -> Duration {
        let interval = self.intervals.get(&rate).copied().unwrap_or_default();
        if rate == Rate::Ping {
            interval.max(PING_LEAST)
        } else {
            interval
        }
    }

    /// From when on it may be said; `None`: at once.
    pub fn opens_at(&self, rate: Rate) -> Option<Instant> {
        let interval = self.interval(rate);
        if interval.is_zero() {
            return None;
        }
        self.last.get(&rate).map(|last| *last + interval + MARGIN)
    }

    /// Whether it may be said now.
    pub fn is_open(&self, rate: Rate, now: Instant) -> bool {
        self.opens_at(rate).is_none_or(|at| now >= at)
    }

    /// It is said now.
    pub fn note(&mut self, rate: Rate, now: Instant) {
        self.last.insert(rate, now);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn intervals(value: Value) -> Intervals {
        Intervals::read(value.as_object().expect("an object"))
    }

    #[test]
    fn the_first_use_is_free_and_the_next_waits() {
        let start = Instant::now();
        let mut throttle = Throttle::default();
        assert!(throttle.is_open(Rate::Job, start));
        throttle.note(Rate::Job, start);
        assert!(!throttle.is_open(Rate::Job, start + Duration::from_millis(4999)));
        assert!(throttle.is_open(Rate::Job, start + Duration::from_millis(5020)));
        assert!(throttle.is_open(Rate::Temps, start), "each key for itself");
        throttle.restart();
        assert!(throttle.is_open(Rate::Job, start));
    }

    #[test]
    fn changes_are_merged_by_key_and_zero_is_no_limit() {
        let start = Instant::now();
        let mut throttle = Throttle::default();
        throttle.merge(&intervals(
            json!({"job": 0, "cpu": "100", "temps": -5, "ping": null, "x": 1}),
        ));
        throttle.note(Rate::Job, start);
        assert!(throttle.is_open(Rate::Job, start));
        assert_eq!(throttle.interval(Rate::Cpu), Duration::from_millis(100));
        assert_eq!(throttle.interval(Rate::Temps), Duration::from_millis(5000));
        throttle.merge(&intervals(json!({"ping": 0})));
        assert_eq!(throttle.interval(Rate::Ping), PING_LEAST);
    }
}
