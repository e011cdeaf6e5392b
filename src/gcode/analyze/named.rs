//! The part of the pass that reads commands other than moves.

use crate::analysis::ObjectSource;
use crate::layers::{self, LayerStyle};
use crate::lex::{Code, Extended, Micro, UNIT, number_of};
use crate::lines::RawLine;
use crate::modal::{HeaterOf, Step, to_mm};

use super::kept::Nozzle;
use super::pass::Pass;
use super::warn::Code as Warn;

/// Marlin's command buffer, less its end.
pub(super) const MARLIN_COMMAND: usize = 95;
/// Most macro names that are kept.
const MAX_MACROS: usize = 64;

/// Keys by which start macros take a temperature.
const TOOL_KEYS: &[&str] = &[
    "EXTRUDER",
    "EXTRUDER_TEMP",
    "EXTRUDERTEMP",
    "HOTEND",
    "HOTEND_TEMP",
    "NOZZLE",
    "NOZZLE_TEMP",
    "TEMP",
    "TEMPERATURE",
    "TOOL_TEMP",
    "PRINT_TEMP",
    "INITIAL_TEMP",
    "EXTRUDER0_TEMP",
    "T0_TEMP",
    "TOOL0",
];
const BED_KEYS: &[&str] = &["BED", "BED_TEMP", "BEDTEMP", "BED_TEMPERATURE", "HEATBED"];
const CHAMBER_KEYS: &[&str] = &["CHAMBER", "CHAMBER_TEMP", "CHAMBERTEMP", "CHAMBER_TEMPERATURE"];

/// G codes that common firmwares know.
const KNOWN_G: &[u32] = &[
    0, 1, 2, 3, 4, 5, 6, 10, 11, 12, 17, 18, 19, 20, 21, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 38, 39, 42,
    53, 54, 55, 56, 57, 58, 59, 60, 61, 68, 69, 75, 76, 80, 81, 86, 87, 88, 90, 91, 92, 93, 94, 130, 131,
    132, 150, 161, 162, 180, 280, 380, 392, 425, 800,
];

/// M codes that common firmwares know, as ranges.
const KNOWN_M: &[(u32, u32)] = &[
    (0, 5),
    (10, 12),
    (16, 34),
    (36, 43),
    (48, 48),
    (70, 78),
    (80, 87),
    (92, 94),
    (98, 128),
    (135, 135),
    (140, 151),
    (154, 156),
    (160, 166),
    (190, 193),
    (200, 221),
    (226, 226),
    (228, 228),
    (230, 230),
    (240, 240),
    (250, 250),
    (255, 256),
    (260, 261),
    (280, 282),
    (290, 292),
    (300, 310),
    (320, 323),
    (340, 340),
    (350, 351),
    (355, 355),
    (360, 365),
    (374, 378),
    (380, 381),
    (400, 415),
    (420, 425),
    (428, 428),
    (430, 430),
    (440, 440),
    (450, 453),
    (460, 460),
    (470, 472),
    (476, 476),
    (485, 486),
    (493, 493),
    (500, 505),
    (510, 512),
    (524, 524),
    (540, 541),
    (544, 544),
    (550, 605),
    (611, 611),
    (620, 630),
    (650, 651),
    (660, 675),
    (700, 712),
    (720, 729),
    (750, 756),
    (772, 772),
    (790, 790),
    (802, 802),
    (808, 808),
    (810, 819),
    (850, 854),
    (860, 869),
    (871, 871),
    (876, 876),
    (900, 919),
    (928, 928),
    (951, 951),
    (960, 999),
    (1000, 1010),
    (1500, 1500),
    (2000, 2000),
    (9033, 9033),
];

fn known_m(number: u32) -> bool {
    KNOWN_M
        .iter()
        .any(|(first, last)| (*first..=*last).contains(&number))
}

impl Pass {
    /// A code that only changes modes, or is not tracked by [`crate::modal`].
    pub(super) fn quiet(&mut self, code: &Code<'_>, known: bool, raw: &RawLine<'_>) {
        match (code.letter, code.number) {
            (b'G', 20) => {
                self.inches = true;
                self.warn(Warn::Inches, None);
            }
            (b'G', 92) if code.has(b'E') || code.args.is_empty() => self.e_mode_known(),
            (b'M', 82 | 83) => self.e_mode_known(),
            (b'M', 200) => self.volumetric |= self.modal.volumetric_diameter.is_some(),
            (b'M', 201 | 203 | 204 | 205 | 566) => self.new_limits(),
            (b'M', 73) => self.progress(code, raw),
            (b'M', 486) => self.m486(code, raw),
            (b'M', 600) => self.pause("filament_change", raw),
            (b'M', 0 | 1 | 25 | 601) => self.pause("pause", raw),
            (b'M', 400) if code.has(b'U') => self.pause("pause", raw),
            (b'M', 808) => self.warn(Warn::Loop, None),
            (b'G', number) if !known && code.sub.is_none() && !KNOWN_G.contains(&number) => {
                self.unknown(code)
            }
            (b'M', number) if !known && code.sub.is_none() && !known_m(number) => self.unknown(code),
            (b'G' | b'M' | b'T', _) => {}
            _ => self.unknown(code),
        }
        if !code.is_text() && raw.bytes.len() > MARLIN_COMMAND && code.args.len() + 6 > MARLIN_COMMAND {
            self.warn(Warn::LongCommand, None);
        }
    }

    fn unknown(&mut self, code: &Code<'_>) {
        self.warn(
            Warn::UnknownCommand,
            Some(format!("{}{}", char::from(code.letter), code.number)),
        );
    }

    fn new_limits(&mut self) {
        if let Some(planner) = &mut self.planner {
            planner.limits(&self.modal.limits);
        }
    }

    fn progress(&mut self, code: &Code<'_>, raw: &RawLine<'_>) {
        if let Some(minutes) = code.value(b'R') {
            self.index.slicer_left(raw.start, minutes.saturating_mul(60));
        }
    }

    fn m486(&mut self, code: &Code<'_>, raw: &RawLine<'_>) {
        if !self.objects.accepts(ObjectSource::M486) {
            return;
        }
        if let Some(id) = code.value(b'S') {
            let object = u32::try_from(id / UNIT).ok().filter(|_| id >= 0);
            let index = object.and_then(|id| self.objects.numbered(ObjectSource::M486, id));
            self.enter(index, raw);
        }
        if let Some(at) = code.text_begin() {
            let name = code.args.get(at + 1..).unwrap_or_default();
            let name = name.strip_prefix(b"\"").unwrap_or(name);
            let name = name.split(|b| *b == b'"').next().unwrap_or_default();
            self.objects.name_current(crate::lex::trim(name));
        }
    }

    /// A named command.
    pub(super) fn named(&mut self, named: &Extended<'_>, step: Step, raw: &RawLine<'_>) {
        match step {
            Step::Target(heater, value) => return self.macro_target(heater, value),
            Step::Tool(_) => {
                self.nozzle = Nozzle::Unchecked;
                return;
            }
            Step::Quiet { known: true } => return self.new_limits(),
            _ => {}
        }
        // `EXCLUDE_OBJECT_END` is the shortest of the marks.
        if named.name.len() >= 18
            && named
                .name
                .get(..14)
                .is_some_and(|n| n.eq_ignore_ascii_case(b"EXCLUDE_OBJECT"))
        {
            self.exclude_object(named, raw);
            return;
        }
        if layers::is_print_stats_mark(named) {
            self.layer_mark(LayerStyle::PrintStats, raw);
        } else if named.is("SET_PRINT_STATS_INFO") {
            if let Some(total) = named.value("TOTAL_LAYER") {
                self.meta.pair(b"total layers count", total);
            }
        } else if named.is("PAUSE") {
            self.pause("pause", raw);
        } else if named.is("SDCARD_LOOP_BEGIN") {
            self.warn(Warn::Loop, None);
        } else {
            self.macro_call(named);
        }
    }

    fn exclude_object(&mut self, named: &Extended<'_>, raw: &RawLine<'_>) {
        if !self.objects.accepts(ObjectSource::ExcludeObject) {
            return;
        }
        let object = named.value("NAME");
        if named.is("EXCLUDE_OBJECT_DEFINE") {
            let Some(index) = object.and_then(|n| self.objects.named(ObjectSource::ExcludeObject, n)) else {
                return;
            };
            let center = named.value("CENTER").and_then(|text| {
                let mut numbers = text.split(|b| *b == b',').map(number_of);
                Some([to_mm(numbers.next()??), to_mm(numbers.next()??)])
            });
            self.objects.declare(index, center, named.value("POLYGON"));
        } else if named.is("EXCLUDE_OBJECT_START") {
            let index = object.and_then(|n| self.objects.named(ObjectSource::ExcludeObject, n));
            self.enter(index, raw);
        } else if named.is("EXCLUDE_OBJECT_END") {
            self.enter(None, raw);
        }
    }

    /// A macro: its name is kept, and a start macro's temperatures are taken.
    fn macro_call(&mut self, named: &Extended<'_>) {
        let name = String::from_utf8_lossy(named.name).to_ascii_uppercase();
        if name.contains("START")
            || name.contains("PREPARE")
            || name.contains("PREHEAT")
            || name.contains("HEAT_SOAK")
        {
            self.start_macro |= name.contains("START");
            for (key, value) in named.pairs() {
                let Some(value) = number_of(value).filter(|v| *v > 0) else {
                    continue;
                };
                let is = |keys: &[&str]| keys.iter().any(|k| key.eq_ignore_ascii_case(k.as_bytes()));
                if is(TOOL_KEYS) {
                    self.macro_target(HeaterOf::Tool(self.modal.tool), value);
                } else if is(BED_KEYS) {
                    self.macro_target(HeaterOf::Bed, value);
                } else if is(CHAMBER_KEYS) {
                    self.macro_target(HeaterOf::Chamber, value);
                }
            }
        }
        if self.macros_seen.len() < MAX_MACROS && !self.macros_seen.contains(&name) {
            self.macros_seen.push(name);
        }
    }

    /// Whether something else than the file heats the nozzle: a start macro, or a printer that takes
    /// temperatures from its own menu (UltiGCode).
    pub(super) fn heats_itself(&self) -> bool {
        self.start_macro || self.meta.says_ultigcode()
    }

    /// Material volume to length where E is in mm³ without an `M200`.
    pub(super) fn set_volumetric(&mut self, diameter: Micro) {
        if self.modal.volumetric_diameter.is_none() {
            self.volumetric = true;
            self.modal.volumetric_diameter = Some(diameter);
        }
    }
}
