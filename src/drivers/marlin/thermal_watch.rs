//! A second opinion on the heaters from outside the firmware, for boards whose own protection is
//! missing or broken.
//!
//! Thresholds are generous: a cold start, a fan that switches, or a part falling off must not stop a
//! print; a heater that runs away must.

use std::time::{Duration, Instant};

use super::faults;
use super::proto::Marlin;
use crate::printer::fault::Fault;
use crate::printer::model::{Heater, Now};
use crate::printer::notice::Level;
use crate::sorted::SortedMap;

/// A heater that is off may drift up so far above its lowest reading (radiation from its neighbour).
const RISE_NOTICE_K: f32 = 15.0;
/// Beyond this it is dangerous, if also hot.
const RISE_STOP_K: f32 = 40.0;
/// Below this nothing burns.
const HOT_C: f32 = 100.0;
/// Above its target after settling.
const OVER_NOTICE_K: f32 = 20.0;
const OVER_STOP_K: f32 = 45.0;
/// A changed target is given so long before the watch judges.
const SETTLE: Duration = Duration::from_secs(90);
/// A driven heater that gains less than [`GAIN_K`] in this time is told of.
const DRIVEN: Duration = Duration::from_secs(240);
const GAIN_K: f32 = 3.0;
/// Below its target by this much it counts as driven.
const BELOW_K: f32 = 15.0;

/// What the watch wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Alarm {
    /// Tell people.
    Notice(Fault),
    /// Emergency stop.
    Stop(Fault),
}

#[derive(Clone, Copy, Debug)]
struct Watched {
    target_c: f32,
    target_since: Instant,
    lowest_c: f32,
    last_c: f32,
    gain_from_c: f32,
    gain_since: Instant,
    told: bool,
    /// Dangerous readings in a row.
    dangerous: u8,
}

/// Readings in a row that make a danger: one alone may be a damaged line.
const DANGEROUS_MIN: u8 = 3;
/// What no heater of a printer reaches: a damaged number.
const PLAUSIBLE_C: std::ops::RangeInclusive<f32> = -50.0..=550.0;

/// Watches all heaters of one printer.
#[derive(Debug, Default)]
pub struct ThermalWatch {
    heaters: SortedMap<Heater, Watched>,
}

impl ThermalWatch {
    /// Takes one reading.
    pub fn reading(&mut self, now: Instant, heater: Heater, actual_c: f32, target_c: f32) -> Option<Alarm> {
        let fresh = Watched {
            target_c,
            target_since: now,
            lowest_c: actual_c,
            last_c: actual_c,
            gain_from_c: actual_c,
            gain_since: now,
            told: false,
            dangerous: 0,
        };
        if !PLAUSIBLE_C.contains(&actual_c) {
            return None;
        }
        let w = self.heaters.entry(heater).or_insert(fresh);
        if (w.target_c - target_c).abs() > 0.5 {
            *w = fresh;
            return None;
        }
        let rising = actual_c > w.last_c;
        w.last_c = actual_c;
        w.lowest_c = w.lowest_c.min(actual_c);
        if now < w.target_since + SETTLE {
            // After switching off a block still rises a little.
            w.lowest_c = actual_c;
            w.gain_from_c = actual_c;
            w.gain_since = now;
            return None;
        }
        let (over, notice_k, stop_k, words) = if target_c <= 0.0 {
            (
                actual_c - w.lowest_c,
                RISE_NOTICE_K,
                RISE_STOP_K,
                faults::WATCH_RISING,
            )
        } else {
            (
                actual_c - target_c,
                OVER_NOTICE_K,
                OVER_STOP_K,
                faults::WATCH_OVERSHOOT,
            )
        };
        let words = words.with_raw(format!("{heater}: {actual_c:.0} of {target_c:.0} °C"));
        w.dangerous = if over >= stop_k && actual_c >= HOT_C && rising {
            w.dangerous.saturating_add(1)
        } else {
            0
        };
        if w.dangerous >= DANGEROUS_MIN {
            return Some(Alarm::Stop(
                faults::WATCH_STOP.with_raw(words.raw.unwrap_or_default()),
            ));
        }
        if over >= notice_k && (target_c > 0.0 || actual_c >= 50.0) {
            return (!std::mem::replace(&mut w.told, true)).then_some(Alarm::Notice(words));
        }
        if target_c > 0.0 && actual_c < target_c - BELOW_K {
            if actual_c >= w.gain_from_c + GAIN_K || actual_c < w.gain_from_c - GAIN_K {
                w.gain_from_c = actual_c;
                w.gain_since = now;
            } else if now >= w.gain_since + DRIVEN && !std::mem::replace(&mut w.told, true) {
                let words =
                    faults::WATCH_COLD.with_raw(format!("{heater}: {actual_c:.0} of {target_c:.0} °C"));
                return Some(Alarm::Notice(words));
            }
        } else {
            w.gain_from_c = actual_c;
            w.gain_since = now;
        }
        None
    }
}

impl Marlin {
    pub(super) fn watch_reading(&mut self, now: Now, heater: Heater, actual_c: f32, target_c: Option<f32>) {
        if !matches!(heater, Heater::Tool(_) | Heater::Bed | Heater::Chamber) {
            return;
        }
        let Some(target_c) = target_c else { return };
        match self.watch.reading(now.mono, heater, actual_c, target_c) {
            Some(Alarm::Notice(fault)) => self.notice(now, &fault, Level::Warning),
            Some(Alarm::Stop(fault)) => self.stop_for_safety(now, fault),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Readings once a second from `from_c` in steps of `step_k`; the alarms with their second.
    fn run(target_c: f32, from_c: f32, step_k: f32, seconds: u64) -> Vec<(u64, Alarm)> {
        let start = Instant::now();
        let mut watch = ThermalWatch::default();
        (0..seconds)
            .filter_map(|s| {
                let c = from_c + step_k * s as f32;
                let at = start + Duration::from_secs(s);
                Some((s, watch.reading(at, Heater::Tool(0), c, target_c)?))
            })
            .collect()
    }

    #[test]
    fn a_normal_heat_up_and_cool_down_is_silent() {
        assert!(run(210.0, 20.0, 1.0, 195).is_empty());
        assert!(run(0.0, 210.0, -0.5, 380).is_empty());
        // A bed that creeps: 0.05 K/s is 12 K in the time allowed.
        assert!(run(100.0, 20.0, 0.05, 1500).is_empty());
    }

    #[test]
    fn a_heater_that_runs_away_is_told_of_and_then_stopped() {
        let alarms = run(0.0, 60.0, 0.5, 400);
        assert!(
            matches!(&alarms[0], (_, Alarm::Notice(f)) if f.code == "marlin/watch-rising"),
            "{alarms:?}"
        );
        assert!(matches!(&alarms[1], (_, Alarm::Stop(_))), "{alarms:?}");
        let alarms = run(200.0, 195.0, 0.5, 300);
        assert!(
            matches!(&alarms[0], (_, Alarm::Notice(f)) if f.code == "marlin/watch-overshoot"),
            "{alarms:?}"
        );
        assert!(alarms.iter().any(|(_, a)| matches!(a, Alarm::Stop(_))));
    }

    #[test]
    fn a_heater_without_effect_is_told_of_once() {
        let alarms = run(200.0, 22.0, 0.0, 900);
        assert_eq!(alarms.len(), 1, "{alarms:?}");
        assert!(matches!(&alarms[0], (_, Alarm::Notice(f)) if f.code == "marlin/watch-not-heating"));
    }
}
