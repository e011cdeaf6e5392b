//! What the lines sent so far did to the printer: position, modes, speed, filament. Pure.
//!
//! Kept by the sender itself, line by line, so that a pause can put everything back as it was. Only
//! what matters for that is followed; bounds and times of whole files are the analyzer's business.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::scan::{command, float_at, has_word, number_at, word};

/// Moves a planner may hold (Marlin: 16 blocks and 4 commands).
const QUEUED_MOVES: usize = 20;

/// Tools followed; more exist nowhere.
pub const TOOLS_MAX: usize = 16;

/// One axis of the logical coordinate system, mm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Axis {
    /// Where it stands; `None` until a line said so.
    pub at_mm: Option<f64>,
}

/// Modal state after the lines seen so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Track {
    /// X, Y, Z in the program's own coordinates (`G92` included), mm.
    pub axes: [Axis; 3],
    /// E as the program counts it, mm.
    pub e_mm: f64,
    /// `G91`.
    pub relative: bool,
    /// `M83`, or `G91` with no `M82` since.
    pub relative_e: bool,
    /// `G20`.
    pub inches: bool,
    /// Last `F`, mm/min.
    pub feed_mm_min: Option<f64>,
    /// Tool in use.
    pub tool: u8,
    /// Fans by number: 0–255.
    pub fans: [Option<u8>; 4],
    /// Axes were homed in this session.
    pub homed: bool,
    /// `G92` gave X or Y another number since it was homed.
    #[serde(default)]
    pub shifted: bool,
    /// `M84 S`/`M18 S`: the motors' timeout, where the program set one, s.
    pub motors_timeout_s: Option<u32>,
    /// `M73 P`: the program tells its own progress, %.
    pub percent: Option<f32>,
    /// `M73 R`: minutes to go.
    pub minutes_left: Option<u32>,
    /// Filament by tool, mm.
    pub filament_mm: Vec<f64>,
    /// Extruding moves happened.
    pub extruded: bool,
    #[serde(skip)]
    queued_ms: VecDeque<f32>,
    #[serde(skip)]
    queued_sum_ms: f32,
}

impl Default for Track {
    fn default() -> Self {
        Track {
            axes: [Axis::default(); 3],
            e_mm: 0.0,
            relative: false,
            relative_e: false,
            inches: false,
            feed_mm_min: None,
            tool: 0,
            fans: [None; 4],
            homed: false,
            shifted: false,
            motors_timeout_s: None,
            percent: None,
            minutes_left: None,
            filament_mm: Vec::new(),
            extruded: false,
            queued_ms: VecDeque::with_capacity(QUEUED_MOVES + 1),
            queued_sum_ms: 0.0,
        }
    }
}

impl Track {
    /// Time the moves still queued in the printer may take at most, by their feed rates.
    pub fn planned(&self) -> Duration {
        Duration::from_secs_f32((self.queued_sum_ms / 1000.0).clamp(0.0, 3600.0))
    }

    /// Follows one line.
    pub fn follow(&mut self, text: &[u8]) {
        match text {
            [b'G', b'0' | b'1', b' ' | b'A'..=b'Z', ..] => {
                self.travel(text.get(2..).unwrap_or_default(), false)
            }
            [b'G', b'2' | b'3', b' ' | b'A'..=b'Z', ..] => {
                self.travel(text.get(2..).unwrap_or_default(), true)
            }
            _ => self.other(text),
        }
    }

    fn travel(&mut self, words: &[u8], arc: bool) {
        let scale = if self.inches { 25.4 } else { 1.0 };
        let mut moved = [0.0f64; 3];
        let mut extruded = 0.0;
        let mut radius = [0.0f64; 2];
        let mut rest = words;
        while let [letter, tail @ ..] = rest {
            rest = tail;
            let index = match letter {
                b'X' => 0,
                b'Y' => 1,
                b'Z' => 2,
                b'E' => 3,
                b'F' => 4,
                b'I' => 5,
                b'J' => 6,
                _ => continue,
            };
            let Some((value, len)) = float_at(tail) else {
                continue;
            };
            rest = tail.get(len..).unwrap_or_default();
            let value = value * scale;
            match index {
                0..=2 => {
                    let Some(axis) = self.axes.get_mut(index) else {
                        continue;
                    };
                    let to = if self.relative {
                        axis.at_mm.unwrap_or(0.0) + value
                    } else {
                        value
                    };
                    if let Some(step) = moved.get_mut(index) {
                        *step = if self.relative {
                            value
                        } else {
                            to - axis.at_mm.unwrap_or(to)
                        };
                    }
                    if !self.relative || axis.at_mm.is_some() {
                        axis.at_mm = Some(to);
                    }
                }
                3 => {
                    extruded = if self.relative_e { value } else { value - self.e_mm };
                    self.e_mm += extruded;
                }
                4 => self.feed_mm_min = Some(value),
                _ => {
                    if let Some(part) = radius.get_mut(index - 5) {
                        *part = value;
                    }
                }
            }
        }
        if extruded != 0.0 {
            self.use_filament(extruded);
            self.extruded |= extruded > 0.0 && (moved.first() != Some(&0.0) || moved.get(1) != Some(&0.0));
        }
        let [dx, dy, dz] = moved;
        let mut length = (dx * dx + dy * dy + dz * dz).sqrt();
        if arc {
            // A bound is enough: a full circle.
            let [i, j] = radius;
            length = length.max(2.0 * std::f64::consts::PI * (i * i + j * j).sqrt());
        }
        let length = length.max(extruded.abs());
        let feed = self.feed_mm_min.filter(|f| *f > 0.0).unwrap_or(1500.0);
        self.queue((length / feed * 60_000.0) as f32);
    }

    fn queue(&mut self, ms: f32) {
        self.queued_ms.push_back(ms);
        self.queued_sum_ms += ms;
        if self.queued_ms.len() > QUEUED_MOVES
            && let Some(gone) = self.queued_ms.pop_front()
        {
            self.queued_sum_ms = (self.queued_sum_ms - gone).max(0.0);
        }
    }

    fn drained(&mut self) {
        self.queued_ms.clear();
        self.queued_sum_ms = 0.0;
    }

    fn use_filament(&mut self, mm: f64) {
        let tool = usize::from(self.tool);
        if tool >= TOOLS_MAX {
            return;
        }
        if self.filament_mm.len() <= tool {
            self.filament_mm.resize(tool + 1, 0.0);
        }
        if let Some(used) = self.filament_mm.get_mut(tool) {
            *used += mm;
        }
    }

    fn other(&mut self, text: &[u8]) {
        let scale = if self.inches { 25.4 } else { 1.0 };
        let Some((letter, number)) = command(text) else {
            return;
        };
        match (letter, number) {
            (b'G', 0..=3) => self.travel(
                &text.get(2..).unwrap_or_default().to_ascii_uppercase(),
                number > 1,
            ),
            (b'G', 4) => self.drained(),
            (b'G', 20) => self.inches = true,
            (b'G', 21) => self.inches = false,
            (b'G', 28) => self.home(text),
            (b'G', 90) => {
                self.relative = false;
                self.relative_e = false;
            }
            (b'G', 91) => {
                self.relative = true;
                self.relative_e = true;
            }
            (b'G', 92) => {
                self.shifted |= has_word(text, b'X') || has_word(text, b'Y');
                for (axis, name) in self.axes.iter_mut().zip(*b"XYZ") {
                    if let Some(value) = word(text, name) {
                        axis.at_mm = Some(value * scale);
                    }
                }
                if let Some(value) = word(text, b'E') {
                    self.e_mm = value * scale;
                }
            }
            (b'M', 82) => self.relative_e = false,
            (b'M', 83) => self.relative_e = true,
            (b'M', 106 | 107) => {
                let fan = word(text, b'P').unwrap_or(0.0) as usize;
                let speed = if number == 107 {
                    0.0
                } else {
                    word(text, b'S').unwrap_or(255.0)
                };
                if let Some(slot) = self.fans.get_mut(fan) {
                    *slot = Some(speed.clamp(0.0, 255.0) as u8);
                }
            }
            (b'M', 18 | 84) => match word(text, b'S') {
                Some(s) => self.motors_timeout_s = Some(s.clamp(0.0, 86_400.0) as u32),
                None => self.homed = false,
            },
            (b'M', 73) => {
                self.percent = word(text, b'P')
                    .map(|p| p.clamp(0.0, 100.0) as f32)
                    .or(self.percent);
                self.minutes_left = word(text, b'R').map(|r| r.max(0.0) as u32).or(self.minutes_left);
            }
            (b'M', 400) => self.drained(),
            (b'T', tool) => {
                if let Ok(tool) = u8::try_from(tool)
                    && usize::from(tool) < TOOLS_MAX
                    && number_at(text.get(1..).unwrap_or_default()).is_some()
                {
                    self.tool = tool;
                }
            }
            _ => {}
        }
    }

    fn home(&mut self, text: &[u8]) {
        let named: Vec<bool> = b"XYZ".iter().map(|a| has_word(text, *a)).collect();
        let all = !named.iter().any(|n| *n);
        for (axis, named) in self.axes.iter_mut().zip(&named) {
            if all || *named {
                // Where homing leaves it depends on the machine: unknown until the next move.
                axis.at_mm = None;
            }
        }
        if all || (named.first() == Some(&true) && named.get(1) == Some(&true)) {
            self.shifted = false;
        }
        self.homed |= all || named.iter().all(|n| *n) || self.homed;
        self.drained();
    }

    /// X, Y, Z where known.
    pub fn xyz(&self) -> [Option<f64>; 3] {
        self.axes.map(|a| a.at_mm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(lines: &[&str]) -> Track {
        let mut track = Track::default();
        for line in lines {
            track.follow(line.as_bytes());
        }
        track
    }

    #[test]
    fn modes_position_and_filament_are_followed() {
        let t = after(&[
            "G28",
            "G90",
            "M82",
            "G92 E0",
            "G1 X10 Y20 Z0.3 F1200",
            "G1 X20 E1.5",
            "M106 S128",
            "T1",
            "G1 E2.5",
        ]);
        assert_eq!(t.xyz(), [Some(20.0), Some(20.0), Some(0.3)]);
        assert_eq!((t.e_mm, t.feed_mm_min, t.tool), (2.5, Some(1200.0), 1));
        assert_eq!(t.filament_mm, [1.5, 1.0]);
        assert_eq!(t.fans[0], Some(128));
        assert!(t.homed && t.extruded && !t.relative_e);
    }

    #[test]
    fn relative_modes_and_inches() {
        let t = after(&["G1 X1 Y1 Z1", "G91", "G1 X0.5 E2", "G20", "G1 Y1"]);
        assert_eq!(t.xyz(), [Some(1.5), Some(26.4), Some(1.0)]);
        assert!(t.relative && t.relative_e);
        let t = after(&["G91", "G1 X5"]);
        assert_eq!(t.xyz()[0], None, "unknown plus five is unknown");
    }

    #[test]
    fn slow_moves_are_planned_for() {
        let t = after(&["G1 X0 Y0 F60", "G1 X10", "G1 X20"]);
        assert_eq!(t.planned().as_secs(), 20);
        assert_eq!(after(&["G1 X0 F60", "G1 X10", "M400"]).planned(), Duration::ZERO);
    }
}
