//! What a machine knows after a run of commands: modes, position, temperatures, filament.
//!
//! The one place where commands get their meaning. The analyzer runs a whole file through it; the
//! Marlin driver runs what it sends through it, to restore things after a pause and to know the
//! filament used.

use serde::{Deserialize, Serialize};

use super::arc::Arc;
use super::fast::{self, FastArc, FastMove, MoveWords};
use super::lex::{self, Body, Code, Dialect, Extended, Micro};
use super::limits::MotionLimits;

/// Tools that are told apart; higher numbers are service codes (Bambu's `T255`, `T1000`).
pub const MAX_TOOLS: usize = 64;

/// Fans that are told apart.
pub const MAX_FANS: usize = 10;

/// Positions and offsets are held within this, so that no sum overflows: 10 km.
const FAR: Micro = 10 * lex::MAX_NUMBER;

/// Plane of arcs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Plane {
    /// `G17`.
    #[default]
    Xy,
    /// `G18`.
    Xz,
    /// `G19`.
    Yz,
}

/// Filament through one tool, millionths of a millimetre.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feed {
    /// Sum of all moves so far, retractions taken off.
    pub sum: Micro,
    /// Highest sum so far: filament that went through. (The plain sum is wrong for files that end
    /// with `G91` and `G1 E-2` on firmware where `G91` leaves E absolute.)
    pub peak: Micro,
}

/// Modes and values in force.
///
/// ```
/// use layerd_gcode::modal::Modal;
///
/// let mut modal = Modal::default();
/// for line in ["G28", "M83", "M109 S210", "G1 X10 Y20 Z0.3 F3000", "G1 X30 E1.5", "G1 E-0.8"] {
///     modal.apply(line.as_bytes());
/// }
/// assert_eq!(modal.logical_mm(), [30.0, 20.0, 0.3]);
/// assert_eq!(modal.filament_mm(), [1.5]);
/// assert_eq!(modal.retracted_mm(), 0.8);
/// assert_eq!(modal.tool_target_c(0), Some(210.0));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Modal {
    /// X, Y, Z as the machine stands: the logical position plus [`Modal::offset`].
    pub position: [Micro; 3],
    /// What `G92` shifted: machine = logical + offset.
    pub offset: [Micro; 3],
    /// Which of X, Y, Z were set by an absolute move (bits as in [`fast`]); homing only makes an
    /// axis [`Modal::homed`].
    pub placed: u8,
    /// Which axes were homed.
    pub homed: u8,
    /// X, Y, Z are absolute (`G90`).
    pub absolute: bool,
    /// E is absolute (`M82`).
    pub e_absolute: bool,
    /// `G90`/`G91` switch E as well: Marlin, Prusa, Repetier yes; Klipper, RepRapFirmware no.
    pub g90_moves_e: bool,
    /// `G20`.
    pub inches: bool,
    /// Plane of arcs.
    pub plane: Plane,
    /// The extruder goes by the letter A (mach3, machinekit).
    pub a_is_e: bool,
    /// Feedrate, millionths of mm/min; 0 before the first `F`.
    pub feed: Micro,
    /// Tool in use.
    pub tool: u8,
    /// Logical E.
    pub e: Micro,
    /// E is in mm³ for filament of this diameter (`M200 D1.75`), millionths of a millimetre.
    pub volumetric_diameter: Option<Micro>,
    /// Filament per tool.
    pub fed: Vec<Feed>,
    /// `G10` without words: retracted by the firmware.
    pub firmware_retracted: bool,
    /// Fan speeds as written (`S`, 0–255), by index.
    pub fans: [Option<Micro>; MAX_FANS],
    /// Wanted temperatures of the tools, millionths of a degree.
    pub tool_targets: Vec<Option<Micro>>,
    /// Wanted temperature of the bed.
    pub bed_target: Option<Micro>,
    /// Wanted temperature of the chamber.
    pub chamber_target: Option<Micro>,
    /// Accelerations, jerks and speed limits as set.
    pub limits: MotionLimits,
    /// Feed rate in percent (`M220`).
    pub speed_percent: Micro,
    /// Flow in percent (`M221`).
    pub flow_percent: Micro,
}

impl Default for Modal {
    fn default() -> Self {
        Modal {
            position: [0; 3],
            offset: [0; 3],
            placed: 0,
            homed: 0,
            absolute: true,
            e_absolute: true,
            g90_moves_e: true,
            inches: false,
            plane: Plane::Xy,
            a_is_e: false,
            feed: 0,
            tool: 0,
            e: 0,
            volumetric_diameter: None,
            fed: Vec::new(),
            firmware_retracted: false,
            fans: [None; MAX_FANS],
            tool_targets: Vec::new(),
            bed_target: None,
            chamber_target: None,
            limits: MotionLimits::default(),
            speed_percent: 100 * lex::UNIT,
            flow_percent: 100 * lex::UNIT,
        }
    }
}

/// A straight move, in machine coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Where it began.
    pub from: [Micro; 3],
    /// Where it ends.
    pub to: [Micro; 3],
    /// Filament fed (less than 0: retracted), mm in millionths.
    pub e: Micro,
    /// Which of X, Y, Z were already placed at its beginning.
    pub placed: u8,
}

/// Which heater a target is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaterOf {
    /// A tool's nozzle.
    Tool(u8),
    /// The bed.
    Bed,
    /// The chamber.
    Chamber,
}

/// What a command did, as far as more than a mode changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Nothing, a mode, or something that is not tracked; `known` tells the last apart.
    Quiet {
        /// The command is one of those tracked here.
        known: bool,
    },
    /// `G0`, `G1`.
    Linear(Move),
    /// `G2`, `G3` with a readable centre.
    Curve(Move, Arc),
    /// `G2`, `G3` without one: the end point counts.
    BadCurve(Move),
    /// A heater's target.
    Target(HeaterOf, Micro),
    /// `Tn`.
    Tool(u8),
    /// `G28`; the axes as bits.
    Home(u8),
    /// `G4`, milliseconds.
    Dwell(u32),
    /// `G10`/`G11` without words.
    FirmwareRetract(bool),
}

const QUIET: Step = Step::Quiet { known: true };

impl Modal {
    /// For firmware where `G90`/`G91` leave E alone (Klipper, RepRapFirmware).
    pub fn with_separate_e() -> Self {
        Modal {
            g90_moves_e: false,
            ..Modal::default()
        }
    }

    /// Takes one command as it goes to the wire.
    pub fn apply(&mut self, text: &[u8]) -> Step {
        match fast::linear(text) {
            Some(FastMove { words, .. }) => Step::Linear(self.go(&words)),
            None => self.step(&lex::line(text, Dialect::default()).body),
        }
    }

    /// Takes one command as the grammar reads it.
    pub fn step(&mut self, body: &Body<'_>) -> Step {
        match body {
            Body::Code(code) if code.sub.is_none() => match code.letter {
                b'G' => self.g(code),
                b'M' => self.m(code),
                b'T' => self.t(code),
                _ => Step::Quiet { known: false },
            },
            Body::Extended(named) => self.named(named),
            _ => Step::Quiet { known: false },
        }
    }

    /// Takes a straight move.
    #[inline]
    pub fn go(&mut self, words: &MoveWords) -> Move {
        let mut w = *words;
        if self.inches {
            w.value = w.value.map(in_mm);
        }
        let from = self.position;
        let placed = self.placed;
        let [x, y, z, e, f] = w.value;
        let [from_x, from_y, from_z] = from;
        let [offset_x, offset_y, offset_z] = self.offset;
        let to = if self.absolute {
            self.placed |= w.mask & (fast::X | fast::Y | fast::Z);
            [
                if w.any(fast::X) { x + offset_x } else { from_x },
                if w.any(fast::Y) { y + offset_y } else { from_y },
                if w.any(fast::Z) { z + offset_z } else { from_z },
            ]
        } else {
            // An absent word is 0 here.
            [from_x + x, from_y + y, from_z + z].map(|v| v.clamp(-FAR, FAR))
        };
        self.position = to;
        if w.any(fast::F) && f > 0 {
            self.feed = f;
        }
        let e = if w.any(fast::E) { self.feed_e(e) } else { 0 };
        Move { from, to, e, placed }
    }

    /// An E word; returns what is fed in millionths of a millimetre.
    #[inline]
    fn feed_e(&mut self, value: Micro) -> Micro {
        let mut fed = value;
        if self.e_absolute {
            fed = value - self.e;
            self.e = value;
        } else {
            self.e = (self.e + value).clamp(-FAR, FAR);
        }
        if let Some(diameter) = self.volumetric_diameter {
            fed = length_of(fed, diameter);
        }
        if let Some(feed) = self.fed.get_mut(usize::from(self.tool)) {
            feed.sum = feed.sum.saturating_add(fed);
            feed.peak = feed.peak.max(feed.sum);
        } else if usize::from(self.tool) < MAX_TOOLS {
            self.fed.resize(usize::from(self.tool) + 1, Feed::default());
            if let Some(feed) = self.fed.last_mut() {
                *feed = Feed {
                    sum: fed,
                    peak: fed.max(0),
                };
            }
        }
        fed
    }

    fn g(&mut self, code: &Code<'_>) -> Step {
        match code.number {
            0 | 1 => Step::Linear(self.go(&MoveWords::of(code, self.a_is_e))),
            2 | 3 => self.curve(code),
            4 => {
                let ms = code.value(b'P').unwrap_or(0) / lex::UNIT;
                let s = code.value(b'S').unwrap_or(0) / 1_000;
                Step::Dwell(u32::try_from(ms.max(0).saturating_add(s.max(0))).unwrap_or(u32::MAX))
            }
            // With words `G10` sets offsets or temperatures (RepRapFirmware).
            10 | 11 if code.words().next().is_none_or(|w| w.letter == b'S') => {
                self.firmware_retracted = code.number == 10;
                Step::FirmwareRetract(self.firmware_retracted)
            }
            17 => self.set(|m| m.plane = Plane::Xy),
            18 => self.set(|m| m.plane = Plane::Xz),
            19 => self.set(|m| m.plane = Plane::Yz),
            20 => self.set(|m| m.inches = true),
            21 => self.set(|m| m.inches = false),
            28 => self.home(code),
            90 | 91 => {
                self.absolute = code.number == 90;
                if self.g90_moves_e {
                    self.e_absolute = self.absolute;
                }
                QUIET
            }
            92 => self.shift(code),
            _ => Step::Quiet { known: false },
        }
    }

    fn set(&mut self, change: impl FnOnce(&mut Self)) -> Step {
        change(self);
        QUIET
    }

    fn curve(&mut self, code: &Code<'_>) -> Step {
        let (mut i, mut j, mut k) = (None, None, None);
        let (mut radius, mut turns) = (None, 0);
        for word in code.words() {
            let value = word.value.map(|v| if self.inches { in_mm(v) } else { v });
            match word.letter {
                b'I' => i = value,
                b'J' => j = value,
                b'K' => k = value,
                b'R' => radius = value,
                b'P' => turns = word.value.unwrap_or(0) / lex::UNIT,
                _ => {}
            }
        }
        let moved = self.go(&MoveWords::of(code, self.a_is_e));
        match Arc::new(&moved, self.plane, code.number == 2, [i, j, k], radius, turns) {
            Some(arc) => Step::Curve(moved, arc),
            None => Step::BadCurve(moved),
        }
    }

    /// The centre of an arc that was read the short way, from its start.
    #[inline]
    pub fn centre_of(&self, read: &FastArc) -> [Micro; 2] {
        read.centre.map(|v| if self.inches { in_mm(v) } else { v })
    }

    fn home(&mut self, code: &Code<'_>) -> Step {
        let mut axes = 0;
        for word in code.words() {
            match word.letter {
                b'X' => axes |= fast::X,
                b'Y' => axes |= fast::Y,
                b'Z' => axes |= fast::Z,
                _ => {}
            }
        }
        if axes == 0 {
            axes = fast::X | fast::Y | fast::Z;
        }
        for (axis, (position, offset)) in self.position.iter_mut().zip(&mut self.offset).enumerate() {
            if axes & (1 << axis) != 0 {
                (*position, *offset) = (0, 0);
            }
        }
        self.homed |= axes;
        self.placed &= !axes;
        Step::Home(axes)
    }

    fn shift(&mut self, code: &Code<'_>) -> Step {
        let words = MoveWords::of(code, self.a_is_e);
        // `G92` alone zeroes everything.
        let mask = if code.args.is_empty() {
            fast::X | fast::Y | fast::Z | fast::E
        } else {
            words.mask
        };
        let value = if self.inches {
            words.value.map(in_mm)
        } else {
            words.value
        };
        let axes = self.offset.iter_mut().zip(self.position.iter().zip(value));
        for (axis, (offset, (position, value))) in axes.enumerate() {
            if mask & (1 << axis) != 0 {
                *offset = (position - value).clamp(-FAR, FAR);
            }
        }
        let [_, _, _, e, _] = value;
        if mask & fast::E != 0 {
            self.e = e;
        }
        QUIET
    }

    fn m(&mut self, code: &Code<'_>) -> Step {
        match code.number {
            82 => self.set(|m| m.e_absolute = true),
            83 => self.set(|m| m.e_absolute = false),
            104 | 109 => {
                let Some(value) = code.value(b'S').or_else(|| code.value(b'R')) else {
                    return QUIET;
                };
                let tool = code.value(b'T').map_or(Some(self.tool), tool_of);
                tool.map_or(QUIET, |tool| self.set_tool_target(tool, value))
            }
            140 | 190 => match code.value(b'S').or_else(|| code.value(b'R')) {
                Some(value) => {
                    self.bed_target = Some(value);
                    Step::Target(HeaterOf::Bed, value)
                }
                None => QUIET,
            },
            141 | 191 => match code.value(b'S').or_else(|| code.value(b'R')) {
                Some(value) => {
                    self.chamber_target = Some(value);
                    Step::Target(HeaterOf::Chamber, value)
                }
                None => QUIET,
            },
            106 | 107 => {
                let index = usize::try_from(code.value(b'P').unwrap_or(0) / lex::UNIT).unwrap_or(usize::MAX);
                let on = code.value(b'S').unwrap_or(255 * lex::UNIT);
                if let Some(fan) = self.fans.get_mut(index) {
                    *fan = Some(if code.number == 106 { on } else { 0 });
                }
                QUIET
            }
            200 => {
                let diameter = code.value(b'D').filter(|d| *d > 0 && code.value(b'S') != Some(0));
                self.set(|m| m.volumetric_diameter = diameter)
            }
            201 | 203 | 204 | 205 | 566 => {
                self.limits.set(code);
                QUIET
            }
            220 => {
                self.set(|m| m.speed_percent = code.value(b'S').filter(|s| *s > 0).unwrap_or(m.speed_percent))
            }
            221 => {
                self.set(|m| m.flow_percent = code.value(b'S').filter(|s| *s > 0).unwrap_or(m.flow_percent))
            }
            _ => Step::Quiet { known: false },
        }
    }

    fn t(&mut self, code: &Code<'_>) -> Step {
        match u8::try_from(code.number) {
            Ok(tool) if usize::from(tool) < MAX_TOOLS => {
                self.tool = tool;
                Step::Tool(tool)
            }
            _ => QUIET,
        }
    }

    fn named(&mut self, named: &Extended<'_>) -> Step {
        if named.is("SET_VELOCITY_LIMIT") {
            self.limits.set_named(named);
            return QUIET;
        }
        if named.is("SET_HEATER_TEMPERATURE") {
            let (Some(heater), Some(target)) = (named.value("HEATER"), named.number("TARGET")) else {
                return QUIET;
            };
            if heater.eq_ignore_ascii_case(b"heater_bed") {
                self.bed_target = Some(target);
                return Step::Target(HeaterOf::Bed, target);
            }
            let index = heater
                .strip_prefix(b"extruder")
                .map(|n| if n.is_empty() { Some(0) } else { lex::number_of(n) });
            if let Some(tool) = index.flatten().and_then(tool_of) {
                return self.set_tool_target(tool, target);
            }
            return QUIET;
        }
        if named.is("ACTIVATE_EXTRUDER") {
            let name = named.value("EXTRUDER").and_then(|n| n.strip_prefix(b"extruder"));
            let index = name.and_then(|n| if n.is_empty() { Some(0) } else { lex::number_of(n) });
            if let Some(tool) = index.and_then(tool_of) {
                self.tool = tool;
                return Step::Tool(tool);
            }
        }
        Step::Quiet { known: false }
    }

    fn set_tool_target(&mut self, tool: u8, value: Micro) -> Step {
        let index = usize::from(tool);
        if self.tool_targets.len() <= index {
            self.tool_targets.resize(index + 1, None);
        }
        if let Some(target) = self.tool_targets.get_mut(index) {
            *target = Some(value);
        }
        Step::Target(HeaterOf::Tool(tool), value)
    }

    // ---- for people ---------------------------------------------------------------------------

    /// Position as the file counts it, mm.
    pub fn logical_mm(&self) -> [f64; 3] {
        let ([x, y, z], [ox, oy, oz]) = (self.position, self.offset);
        [to_mm(x - ox), to_mm(y - oy), to_mm(z - oz)]
    }

    /// Logical E, mm (or mm³ where volumetric).
    pub fn e_mm(&self) -> f64 {
        to_mm(self.e)
    }

    /// Feedrate, mm/min; `None` before the first one.
    pub fn feed_mm_min(&self) -> Option<f64> {
        (self.feed > 0).then(|| to_mm(self.feed))
    }

    /// Filament that went through each tool, mm.
    pub fn filament_mm(&self) -> Vec<f64> {
        self.fed.iter().map(|feed| to_mm(feed.peak)).collect()
    }

    /// How far the filament of the tool in use is drawn back, mm.
    pub fn retracted_mm(&self) -> f64 {
        self.fed
            .get(usize::from(self.tool))
            .map_or(0.0, |feed| to_mm(feed.peak.saturating_sub(feed.sum)))
    }

    /// Wanted temperature of a tool, °C; `None` when the commands did not say.
    pub fn tool_target_c(&self, tool: u8) -> Option<f64> {
        self.tool_targets
            .get(usize::from(tool))
            .copied()
            .flatten()
            .map(to_mm)
    }

    /// Wanted temperature of the bed, °C.
    pub fn bed_target_c(&self) -> Option<f64> {
        self.bed_target.map(to_mm)
    }

    /// Wanted temperature of the chamber, °C.
    pub fn chamber_target_c(&self) -> Option<f64> {
        self.chamber_target.map(to_mm)
    }

    /// Fan speed as written, 0–255 (0–1 in some RepRapFirmware files).
    pub fn fan(&self, index: usize) -> Option<f64> {
        self.fans.get(index).copied().flatten().map(to_mm)
    }
}

/// Millionths as a plain number.
#[inline]
pub fn to_mm(value: Micro) -> f64 {
    value as f64 / lex::UNIT as f64
}

fn in_mm(inches: Micro) -> Micro {
    inches.saturating_mul(127) / 5
}

fn length_of(volume: Micro, diameter: Micro) -> Micro {
    let diameter = to_mm(diameter);
    let area = std::f64::consts::FRAC_PI_4 * diameter * diameter;
    (volume as f64 / area).round() as Micro
}

fn tool_of(value: Micro) -> Option<u8> {
    u8::try_from(value / lex::UNIT)
        .ok()
        .filter(|t| usize::from(*t) < MAX_TOOLS)
}

#[cfg(test)]
#[path = "tests_modal.rs"]
mod tests;
