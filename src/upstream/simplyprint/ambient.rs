//! The room's temperature, guessed from a tool that is not heated: two samples 20 s apart that agree.
//! Pure; the algorithm is the one that public clients use.

use std::time::{Duration, Instant};

/// A tool needs this long to cool down to the room.
const COOL_DOWN: Duration = Duration::from_secs(60 * 60);
/// Between two samples.
const APART: Duration = Duration::from_secs(20);
/// Between two decisions.
const REST: Duration = Duration::from_secs(5 * 60);
/// Two samples agree within this.
const AGREE_C: f32 = 2.0;
/// Nobody's room is outside of this; a tool that reads so is hot or broken.
const ROOM_C: std::ops::RangeInclusive<f32> = -20.0..=60.0;

/// The guess and how it comes about.
#[derive(Clone, Debug, Default)]
pub struct Ambient {
    known_c: Option<i64>,
    heated_at: Option<Instant>,
    first: Option<(Instant, f32)>,
    decided_at: Option<Instant>,
}

impl Ambient {
    /// Goes on from what was known before a restart.
    pub fn starting_at(known_c: Option<i64>) -> Self {
        Ambient {
            known_c,
            ..Ambient::default()
        }
    }

    /// The guess, °C.
    pub fn known_c(&self) -> Option<i64> {
        self.known_c
    }

    /// A reading of the first tool. `busy`: it prints or is heated. Returns whether the guess changed.
    pub fn sample(&mut self, now: Instant, tool_c: f32, busy: bool) -> bool {
        if busy {
            self.heated_at = Some(now);
            self.first = None;
            return false;
        }
        if !ROOM_C.contains(&tool_c) || self.is_cooling(now) {
            self.first = None;
            return false;
        }
        if self.decided_at.is_some_and(|at| now < at + REST) {
            return false;
        }
        let Some((at, first_c)) = self.first else {
            self.first = Some((now, tool_c));
            return false;
        };
        if now < at + APART {
            return false;
        }
        if (first_c - tool_c).abs() > AGREE_C {
            self.first = Some((now, tool_c));
            return false;
        }
        self.first = None;
        self.decided_at = Some(now);
        #[allow(clippy::cast_possible_truncation, reason = "within a room's range")]
        let guess = ((first_c + tool_c) / 2.0).round() as i64;
        let changed = self.known_c != Some(guess);
        self.known_c = Some(guess);
        changed
    }

    fn is_cooling(&self, now: Instant) -> bool {
        self.heated_at.is_some_and(|at| now < at + COOL_DOWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_quiet_samples_make_a_guess_and_a_hot_tool_none() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut room = Ambient::default();
        assert!(!room.sample(at(0), 21.4, false));
        assert!(!room.sample(at(10), 21.4, false));
        assert!(room.sample(at(20), 22.0, false));
        assert_eq!(room.known_c(), Some(22));
        assert!(!room.sample(at(100), 30.0, false), "five minutes of rest");
        room.sample(at(400), 200.0, true);
        assert!(!room.sample(at(900), 40.0, false));
        assert!(!room.sample(at(930), 40.0, false), "it cools down for an hour");
        assert!(!room.sample(at(400 + 3600), 24.0, false));
        assert!(!room.sample(at(420 + 3600), 27.0, false), "still moving");
        assert!(room.sample(at(440 + 3600), 26.0, false));
        assert_eq!(room.known_c(), Some(27), "26.5 rounded");
    }
}
