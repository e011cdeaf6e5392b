//! What the pass keeps: runs of extrusion, temperatures, heights, and the guess about E.

use crate::analysis::Heat;
use crate::area::Area;
use crate::lex::Micro;
use crate::modal::to_mm;

/// Extrusion since the last change of object, role or layer-mark state.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Run {
    pub area: Area,
    pub extruded: Micro,
    /// Largest squared distance from the origin, mm².
    pub radius2: f64,
    /// The last move extruded: its end is already counted.
    pub open: bool,
    /// What extended nothing before this run extends nothing in it; `None`: not looked up yet.
    pub known: Option<Group>,
}

/// What is kept per kind of extrusion.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Group {
    pub area: Area,
    pub radius2: f64,
}

/// What is known of the nozzle before an extrusion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nozzle {
    /// A tool or a target changed since it was looked at.
    Unchecked,
    /// Too cold to extrude; said so.
    Cold,
    /// Hot, or heated by something else than the file.
    Ready,
}

/// Temperatures of one heater.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heated {
    pub first: Option<Micro>,
    pub max: Option<Micro>,
    pub at_first_extrusion: Option<Micro>,
}

impl Heated {
    pub fn target(&mut self, value: Micro) {
        if value > 0 {
            self.first.get_or_insert(value);
            self.max = Some(self.max.map_or(value, |max| max.max(value)));
        }
    }

    pub fn heat(&self) -> Heat {
        Heat {
            first: self.first.map(to_mm),
            max: self.max.map(to_mm),
            print: self.at_first_extrusion.or(self.first).map(to_mm),
        }
    }
}

/// Whether a file that never says so has relative E.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct EGuess {
    /// Still open.
    pub undecided: bool,
    pub moves: u32,
    pub falls: u32,
    pub relative_sum: Micro,
    pub guessed: bool,
}

/// Layers by height, for files without marks.
#[derive(Clone, Debug, Default)]
pub(super) struct Heights {
    last: Option<Micro>,
    /// Distinct heights with extrusion, sorted, at most [`Heights::MAX`].
    pub seen: Vec<Micro>,
}

impl Heights {
    const MAX: usize = 65_536;

    #[inline]
    pub fn at(&mut self, z: Micro) {
        if self.last != Some(z) {
            self.last = Some(z);
            if let Err(place) = self.seen.binary_search(&z)
                && self.seen.len() < Self::MAX
            {
                self.seen.insert(place, z);
            }
        }
    }
}
