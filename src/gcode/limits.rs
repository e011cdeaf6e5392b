//! Speed and acceleration limits as a file sets them: M201, M203, M204, M205, M566 and Klipper's
//! `SET_VELOCITY_LIMIT`.

use serde::{Deserialize, Serialize};

use super::lex::{Code, Extended, Micro};
use super::modal::to_mm;

/// Limits seen so far; `None` = not set by the file. mm, s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MotionLimits {
    /// Acceleration of printing moves.
    pub print_accel: Option<f32>,
    /// Acceleration of travel moves.
    pub travel_accel: Option<f32>,
    /// Acceleration of moves that only retract.
    pub retract_accel: Option<f32>,
    /// Highest acceleration per axis X, Y, Z, E.
    pub axis_accel: [Option<f32>; 4],
    /// Highest speed per axis X, Y, Z, E, mm/s.
    pub axis_speed: [Option<f32>; 4],
    /// Jerk (instant speed change) per axis X, Y, Z, E, mm/s.
    pub jerk: [Option<f32>; 4],
    /// Junction deviation, mm (`M205 J`).
    pub junction_deviation: Option<f32>,
    /// Square corner velocity, mm/s (Klipper).
    pub corner_speed: Option<f32>,
    /// Highest speed, mm/s (Klipper).
    pub speed: Option<f32>,
    /// Counts the changes, so that a reader can keep derived values.
    pub changes: u32,
}

impl MotionLimits {
    /// Takes an M201, M203, M204, M205 or M566.
    pub fn set(&mut self, code: &Code<'_>) {
        self.changes = self.changes.wrapping_add(1);
        for word in code.words() {
            let Some(value) = word.value.filter(|v| *v > 0).map(per_s) else {
                continue;
            };
            let axis = match word.letter {
                b'X' => Some(0),
                b'Y' => Some(1),
                b'Z' => Some(2),
                b'E' => Some(3),
                _ => None,
            };
            match (code.number, word.letter, axis) {
                (201, _, Some(axis)) => put(&mut self.axis_accel, axis, value),
                (203, _, Some(axis)) => put(&mut self.axis_speed, axis, value),
                // `S` sets both; `P` printing, `R` retracting, `T` travelling.
                (204, b'S', _) => (self.print_accel, self.travel_accel) = (Some(value), Some(value)),
                (204, b'P', _) => self.print_accel = Some(value),
                (204, b'R', _) => self.retract_accel = Some(value),
                (204, b'T', _) => self.travel_accel = Some(value),
                (205, b'J', _) => self.junction_deviation = Some(value),
                (205, _, Some(axis)) => put(&mut self.jerk, axis, value),
                // RepRapFirmware: mm/min.
                (566, _, Some(axis)) => put(&mut self.jerk, axis, value / 60.0),
                _ => {}
            }
        }
    }

    /// Takes a `SET_VELOCITY_LIMIT`.
    pub fn set_named(&mut self, named: &Extended<'_>) {
        self.changes = self.changes.wrapping_add(1);
        let value = |key: &str| named.number(key).filter(|v| *v > 0).map(per_s);
        if let Some(accel) = value("ACCEL") {
            (self.print_accel, self.travel_accel) = (Some(accel), Some(accel));
        }
        if let Some(corner) = value("SQUARE_CORNER_VELOCITY") {
            self.corner_speed = Some(corner);
        }
        if let Some(speed) = value("VELOCITY") {
            self.speed = Some(speed);
        }
    }
}

fn per_s(value: Micro) -> f32 {
    to_mm(value) as f32
}

fn put(places: &mut [Option<f32>; 4], axis: usize, value: f32) {
    if let Some(place) = places.get_mut(axis) {
        *place = Some(value);
    }
}
