//! Filament sensors: what `M119` says, and when to ask. Pure.

use super::history::Tag;
use super::proto::Marlin;
use super::scan::{number_at, starts_no_case, trim};
use super::silence::Patience;
use crate::printer::event::Event;
use crate::printer::model::{Filament, Now};

/// Most sensors believed in.
const SENSORS_MAX: u8 = 16;

/// What is known of the sensors.
#[derive(Debug, Default)]
pub struct Sensors {
    /// `M119` is to be asked when the line is free.
    pub wanted: bool,
    told: crate::sorted::SortedMap<u8, Filament>,
}

/// `filament: TRIGGERED`, `filament 2: open` in the answer to `M119`; sensors count from 0.
///
/// Marlin prints "TRIGGERED" where filament is present and "open" where it is not: its
/// `FIL_RUNOUT_STATE` is the level without filament, and `M119` compares with "not equal".
pub fn of_line(line: &[u8]) -> Option<(u8, Filament)> {
    const NAME: &[u8] = b"filament";
    let line = trim(line);
    if !starts_no_case(line, NAME) {
        return None;
    }
    let rest = trim(line.get(NAME.len()..)?);
    let (sensor, rest) = match number_at(rest) {
        Some((n @ 1.., len)) => (u8::try_from(n - 1).ok()?, rest.get(len..)?),
        Some((0, _)) => return None,
        None => (0, rest),
    };
    let state = match trim(rest.strip_prefix(b":")?) {
        word if word.eq_ignore_ascii_case(b"triggered") => Filament::Loaded,
        word if word.eq_ignore_ascii_case(b"open") => Filament::Runout,
        _ => return None,
    };
    (sensor < SENSORS_MAX).then_some((sensor, state))
}

impl Marlin {
    /// A line that may be about a sensor. `true`: it was.
    pub(super) fn filament_line(&mut self, text: &[u8]) -> bool {
        let Some((sensor, state)) = of_line(text) else {
            return false;
        };
        self.filament_is(sensor, state);
        true
    }

    /// `out_of_filament T1`: the sensor of that tool; without a tool the first.
    pub(super) fn filament_out(&mut self, words: &[u8]) {
        let sensor = match trim(words) {
            [b'T' | b't', digits @ ..] => number_at(digits).and_then(|(n, _)| u8::try_from(n).ok()),
            _ => None,
        };
        self.filament_is(sensor.filter(|n| *n < SENSORS_MAX).unwrap_or(0), Filament::Runout);
    }

    fn filament_is(&mut self, sensor: u8, state: Filament) {
        if self.sensors.told.insert(sensor, state) != Some(state) {
            self.event(Event::Filament {
                sensor,
                state: Some(state),
            });
        }
    }

    /// The firmware says that it has a sensor (`Cap:RUNOUT`), or one has spoken: look at it.
    pub(super) fn want_filament(&mut self) {
        self.sensors.wanted = self.caps.has("RUNOUT") || !self.sensors.told.is_empty();
    }

    /// Asks when nothing else is on the line. `true`: a line went out.
    pub(super) fn filament_due(&mut self, now: Now) -> bool {
        let due = self.sensors.wanted && self.users.is_empty() && self.sender.is_idle();
        if due {
            self.sensors.wanted = false;
            self.send(now, "M119", Tag::Step, Patience::Short);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sensor_without_filament_is_open() {
        assert_eq!(of_line(b"filament: TRIGGERED"), Some((0, Filament::Loaded)));
        assert_eq!(of_line(b"filament: open"), Some((0, Filament::Runout)));
        assert_eq!(of_line(b"filament 2: open"), Some((1, Filament::Runout)));
        assert_eq!(of_line(b"filament2:TRIGGERED"), Some((1, Filament::Loaded)));
        for other in [
            &b"filament 0: open"[..],
            b"filament 999999: open",
            b"filament: maybe",
            b"Filament runout detected",
            b"x_min: open",
            b"filament",
        ] {
            assert_eq!(of_line(other), None, "{}", String::from_utf8_lossy(other));
        }
    }
}
