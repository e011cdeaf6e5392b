//! Going on with a print that was interrupted: the rest of its program, with a beginning that brings the
//! machine where the program expects it. Pure; [`super::recover_file`] reads and writes the files.
//!
//! The part stands on the bed, so Z is never homed: its height has to be known. X and Y are homed at a
//! height above everything, then the nozzle is heated, primed and brought over the part from above.

use std::fmt::Write as _;

use super::fast;
use super::lex::{self, Body, Code, Dialect, Micro};
use super::modal::{Modal, Plane, Step, to_mm};

/// Most settings that are repeated.
const SETTINGS_MAX: usize = 64;
/// Longest line that a setting is repeated with: what Marlin takes at once, less its end.
const SETTING_LINE_MAX: usize = 95;
/// How far the head goes up before it homes X and Y.
const LIFT_MM: f64 = 5.0;
/// Filament pushed before the print goes on, mm, and how fast, mm/min.
const PRIME_MM: f64 = 6.0;
const PRIME_FEED: u32 = 200;
const TRAVEL_FEED: u32 = 6_000;
const Z_FEED: u32 = 600;

/// Why a print cannot go on from a place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotRecover {
    /// Nothing was printed there yet.
    #[error("nothing has been printed there yet: start the print from its beginning")]
    NothingYet,
    /// The layer is not in the file.
    #[error("the file has no layer {wanted}; its layers are 1 to {last}")]
    NoSuchLayer {
        /// Asked for.
        wanted: u32,
        /// The last one.
        last: u32,
    },
    /// The file does not mark its layers.
    #[error("the file does not say where its layers begin")]
    NoLayers,
    /// The program moved its own coordinates.
    #[error("the program shifts its coordinates (G92 X, Y or Z): where it stands cannot be told")]
    Shifted,
    /// There is nothing behind the place.
    #[error("the print was complete there: nothing is left")]
    NothingLeft,
}

/// From where on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The beginning of a layer, from 1.
    Layer(u32),
    /// Behind this byte of the file: the last line that was acknowledged.
    Byte(u64),
}

/// How the height of the nozzle is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Height {
    /// The board has counted on since the print; its own number holds.
    Kept,
    /// A person measured it: the nozzle stands so high over the bed, mm.
    Measured(f64),
}

/// A setting of the program, as it is said again.
#[derive(Clone, Debug)]
struct Setting {
    number: u32,
    /// Settings with the same key replace each other.
    key: String,
    /// The command with the words that were read: never bytes of the file.
    line: String,
}

/// Follows a program up to the place where it is to go on.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    modal: Modal,
    settings: Vec<Setting>,
    levelled: bool,
    extruded: bool,
    /// Highest Z that something was laid down at.
    top: Micro,
}

impl Scan {
    /// Takes the next command.
    pub fn line(&mut self, text: &[u8]) {
        if let Step::Linear(moved) | Step::Curve(moved, _) | Step::BadCurve(moved) = self.modal.apply(text) {
            if moved.e > 0 && moved.from[..2] != moved.to[..2] {
                self.extruded = true;
                self.top = self.top.max(moved.to[2]);
            }
            return;
        }
        let Body::Code(code) = lex::line(text, Dialect::default()).body else {
            return;
        };
        match (code.letter, code.number) {
            (b'G', 29) => self.levelled = true,
            (b'M', 420) => self.levelled = code.value(b'S') != Some(0),
            (b'M', 106 | 107 | 200..=205 | 207 | 208 | 220 | 221 | 566 | 572 | 593 | 900) => self.note(&code),
            _ => {}
        }
    }

    /// Height of what stands on the bed, mm.
    pub fn top_mm(&self) -> f64 {
        to_mm(self.top)
    }

    /// Height at which the program goes on, mm.
    pub fn z_mm(&self) -> f64 {
        let [_, _, z] = self.modal.logical_mm();
        z
    }

    /// Keeps the last of each kind: the same code with the same letters, fans by their number.
    fn note(&mut self, code: &Code<'_>) {
        if code.sub.is_some() {
            return; // another command
        }
        // One word of a letter: the last one counts. A template is no value for a printer.
        let mut words: Vec<(u8, Option<Micro>)> = Vec::new();
        for word in code.words().filter(|w| w.template.is_none()) {
            words.retain(|(letter, _)| *letter != word.letter);
            words.push((word.letter, word.value));
        }
        // Both set the speed of a fan.
        let fan = matches!(code.number, 106 | 107);
        let mut key = if fan { 106 } else { code.number }.to_string();
        let mut line = format!("{}{}", char::from(code.letter), code.number);
        for (letter, value) in words {
            let letter = char::from(letter);
            // Writing to a String cannot fail.
            let _ = match value {
                Some(value) => write!(line, " {letter}{}", to_mm(value)),
                None => write!(line, " {letter}"),
            };
            if fan && letter == 'P' {
                let _ = write!(key, "P{}", value.unwrap_or(0));
            } else if !fan {
                key.push(letter);
            }
        }
        if line.len() > SETTING_LINE_MAX {
            return;
        }
        self.settings.retain(|known| known.key != key);
        if self.settings.len() < SETTINGS_MAX {
            let number = code.number;
            self.settings.push(Setting { number, key, line });
        }
    }

    /// The beginning of the new program.
    ///
    /// # Errors
    /// The machine's state at the place cannot be known, or nothing was printed yet.
    pub fn beginning(&self, height: Height) -> Result<String, CannotRecover> {
        let m = &self.modal;
        if !self.extruded || m.placed & (fast::X | fast::Y | fast::Z) != fast::X | fast::Y | fast::Z {
            return Err(CannotRecover::NothingYet);
        }
        if m.offset != [0; 3] {
            return Err(CannotRecover::Shifted);
        }
        let mut out = String::new();
        // Writing to a String cannot fail.
        let mut put = |line: std::fmt::Arguments<'_>| {
            let _ = out.write_fmt(line);
            out.push('\n');
        };
        let tools = || {
            let targets = m.tool_targets.iter().enumerate();
            targets.filter_map(|(tool, target)| target.filter(|t| *t > 0).map(|t| (tool, to_mm(t))))
        };
        let bed = m.bed_target.filter(|t| *t > 0).map(to_mm);
        put(format_args!("G21\nG90\nM83"));
        // Warm up while the head finds its place.
        if let Some(bed) = bed {
            put(format_args!("M140 S{bed}"));
        }
        for (tool, target) in tools() {
            put(format_args!("M104 T{tool} S{target}"));
        }
        // Marlin moves Z only when it thinks to know it, and homing X and Y must not touch the part.
        let now = match height {
            Height::Measured(z_mm) => {
                put(format_args!("G92 Z{z_mm}"));
                Some(z_mm)
            }
            Height::Kept => None,
        };
        match now {
            Some(z_mm) => {
                let up = z_mm.max(self.top_mm()) + LIFT_MM;
                put(format_args!("G1 Z{up:.3} F{Z_FEED}"));
            }
            None => put(format_args!("G91\nG1 Z{LIFT_MM} F{Z_FEED}\nG90\nM83")),
        }
        put(format_args!("G28 X Y"));
        if self.levelled {
            put(format_args!("M420 S1"));
        }
        if let Some(bed) = bed {
            put(format_args!("M190 S{bed}"));
        }
        for (tool, target) in tools() {
            put(format_args!("M109 T{tool} S{target}"));
        }
        if m.tool != 0 || m.tool_targets.len() > 1 {
            put(format_args!("T{}", m.tool));
        }
        let back = m.retracted_mm().max(1.0);
        put(format_args!("G1 E{PRIME_MM} F{PRIME_FEED}\nG1 E-{back} F1800"));
        // The volume of filament counts from here on only.
        for setting in self.settings.iter().filter(|s| s.number != 200) {
            put(format_args!("{}", setting.line));
        }
        let [x, y, z] = m.logical_mm();
        put(format_args!("G0 X{x} Y{y} F{TRAVEL_FEED}\nG0 Z{z} F{Z_FEED}"));
        let forth = back - m.retracted_mm();
        if m.firmware_retracted {
            put(format_args!("G1 E{back} F1800\nG10"));
        } else if forth > 0.0 {
            put(format_args!("G1 E{forth:.5} F1800"));
        }
        self.modes(&mut out);
        Ok(out)
    }

    /// Modes and values that the program counts on.
    fn modes(&self, out: &mut String) {
        let m = &self.modal;
        let mut put = |line: std::fmt::Arguments<'_>| {
            let _ = out.write_fmt(line);
            out.push('\n');
        };
        for setting in self.settings.iter().filter(|s| s.number == 200) {
            put(format_args!("{}", setting.line));
        }
        put(format_args!("G92 E{}", m.e_mm()));
        if m.feed > 0 {
            put(format_args!("G1 F{}", to_mm(m.feed)));
        }
        match m.plane {
            Plane::Xy => {}
            Plane::Xz => put(format_args!("G18")),
            Plane::Yz => put(format_args!("G19")),
        }
        if !m.absolute {
            put(format_args!("G91"));
        }
        put(format_args!("{}", if m.e_absolute { "M82" } else { "M83" }));
        if m.inches {
            put(format_args!("G20"));
        }
    }
}

/// Whether the board's own height can still be the one of the print: it lifts to park and never lowers.
pub fn height_fits(reported_mm: Option<f64>, stood_mm: f64) -> bool {
    const PARKED_AT_MOST_MM: f64 = 60.0;
    reported_mm.is_some_and(|z| z >= stood_mm - 0.05 && z <= stood_mm + PARKED_AT_MOST_MM && z > 0.0)
}

#[cfg(test)]
#[path = "tests_recover.rs"]
mod tests;
