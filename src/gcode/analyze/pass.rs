//! The hot part of the pass: moves.

use crate::analysis::{Pause, Thumbnail};
use crate::area::Area;
use crate::fast;
use crate::index::IndexBuilder;
use crate::knowledge::features::Role;
use crate::layers::LayerCount;
use crate::lex::{self, Body, Code, Dialect, Micro};
use crate::lines::{BOM, MAX_LINE, RawLine, end_of_line};
use crate::meta::Meta;
use crate::modal::{HeaterOf, MAX_TOOLS, Modal, Move, Plane, Step, to_mm};
use crate::objects::Objects;
use crate::planner::{Leg, Planner};

use super::Options;
use super::kept::{EGuess, Group, Heated, Heights, Nozzle, Run};
use super::named::MARLIN_COMMAND;
use super::warn::{Code as Warn, Warnings};

/// Feedrate until the file gives one, mm/s.
const DEFAULT_SPEED: f32 = 25.0;
/// Nozzles below this do not extrude.
const COLD: Micro = 150 * lex::UNIT;
/// Most stops that are listed.
const MAX_PAUSES: usize = 1000;
/// Moves after which the E mode of a file that never says it is taken as known.
const E_GUESS_MOVES: u32 = 200;

/// The state of a pass over a file.
#[derive(Clone, Debug)]
pub(super) struct Pass {
    pub options: Options,
    pub dialect: Dialect,
    pub modal: Modal,
    pub lines: u64,
    pub commands: u64,
    pub layers: LayerCount,
    pub role: Role,
    pub flushing: bool,
    pub run: Run,
    /// Before the first layer mark; the part; what is apart.
    pub before: Group,
    pub part: Group,
    pub apart: Group,
    pub travel: Area,
    pub objects: Objects,
    pub planner: Option<Planner>,
    pub speed_of: Micro,
    pub speed: f32,
    pub max_feed: Micro,
    pub nozzle: Nozzle,
    pub macros_seen: Vec<String>,
    pub start_macro: bool,
    pub heats: Vec<Heated>,
    pub bed: Heated,
    pub chamber: Heated,
    pub e_guess: EGuess,
    pub heights: Heights,
    pub extruded_any: bool,
    /// Lines of extrusion, and how many of them in relative modes (X, Y, Z; E).
    pub strokes: [u64; 3],
    pub arcs: bool,
    pub inches: bool,
    pub volumetric: bool,
    pub firmware_retraction: bool,
    pub meta: Meta,
    pub thumbnails: Vec<Thumbnail>,
    pub thumbnail: Option<Thumbnail>,
    pub pauses: Vec<Pause>,
    pub warnings: Warnings,
    pub index: IndexBuilder,
    pub height_marks: [Option<Micro>; 2],
    pub e_mode_said: bool,
    pub terminated: bool,
    /// Lower and upper X, Y, Z of the bed, if it is to be checked.
    bed_limits: Option<([Micro; 3], [Micro; 3])>,
    pub byte: u64,
    /// File offset behind the last extrusion of an object.
    pub object_end: u64,
}

impl Pass {
    pub fn new(options: Options) -> Self {
        let bed_limits = options.bed.map(|bed| {
            let micro = |mm: f64| (mm.clamp(-1e6, 1e6) * lex::UNIT as f64).round() as Micro;
            // A hundredth of a millimetre of grace: sums of rounded moves end a hair outside.
            let ([x0, y0], [x1, y1]) = (bed.min, bed.max);
            let top = if bed.height_mm > 0.0 { bed.height_mm } else { 1e6 };
            (
                [micro(x0 - 0.01), micro(y0 - 0.01), Micro::MIN / 4],
                [micro(x1 + 0.01), micro(y1 + 0.01), micro(top + 0.01)],
            )
        });
        Pass {
            options,
            dialect: Dialect {
                paren_comments: options.paren_comments,
            },
            modal: Modal::default(),
            lines: 0,
            commands: 0,
            layers: LayerCount::default(),
            role: Role::Part,
            flushing: false,
            run: Run::default(),
            before: Group::default(),
            part: Group::default(),
            apart: Group::default(),
            travel: Area::default(),
            objects: Objects::default(),
            planner: options.time_model.then(Planner::default),
            speed_of: 0,
            speed: DEFAULT_SPEED,
            max_feed: 0,
            nozzle: Nozzle::Unchecked,
            macros_seen: Vec::new(),
            start_macro: false,
            heats: Vec::new(),
            bed: Heated::default(),
            chamber: Heated::default(),
            e_guess: EGuess {
                undecided: true,
                ..EGuess::default()
            },
            heights: Heights::default(),
            extruded_any: false,
            strokes: [0; 3],
            arcs: false,
            inches: false,
            volumetric: false,
            firmware_retraction: false,
            meta: Meta::default(),
            thumbnails: Vec::new(),
            thumbnail: None,
            pauses: Vec::new(),
            warnings: Warnings::default(),
            index: IndexBuilder::new(options.index),
            height_marks: [None; 2],
            e_mode_said: false,
            terminated: true,
            bed_limits,
            byte: 0,
            object_end: 0,
        }
    }

    /// Whole lines, the fast way where it can be had.
    pub fn run_block(&mut self, block: &[u8], start: u64) {
        let mut at = 0;
        while let Some(rest) = block.get(at..)
            && !rest.is_empty()
        {
            if let Some(read) = fast::linear(rest)
                && read.len <= MAX_LINE
            {
                let Some(end) = end_behind(rest, read.len) else {
                    return;
                };
                self.lines += 1;
                self.commands += 1;
                at += end;
                self.byte = start + at as u64;
                self.end_thumbnail();
                let moved = self.modal.go(&read.words);
                self.linear(&moved, read.words.mask);
                continue;
            }
            if let Some(read) = self.short_arc(rest) {
                let Some(end) = end_behind(rest, read.len) else {
                    return;
                };
                self.lines += 1;
                self.commands += 1;
                at += end;
                self.byte = start + at as u64;
                self.end_thumbnail();
                let moved = self.modal.go(&read.words);
                self.round(&moved, read.clockwise, self.modal.centre_of(&read));
                continue;
            }
            let Some((len, end)) = end_of_line(rest) else {
                return;
            };
            let bytes = rest.get(..len.min(MAX_LINE)).unwrap_or_default();
            let from = start + at as u64;
            self.slow_line(RawLine {
                bytes,
                start: from,
                end: from + end as u64,
                cut: len > MAX_LINE,
                terminated: true,
            });
            at += end;
        }
    }

    /// An arc that can be read the short way. Longer lines are looked at by the grammar.
    #[inline]
    fn short_arc(&self, text: &[u8]) -> Option<fast::FastArc> {
        let level = self.modal.plane == Plane::Xy;
        fast::arc(text).filter(|read| level && read.len <= MARLIN_COMMAND)
    }

    /// Any line, by the grammar.
    pub fn slow_line(&mut self, raw: RawLine<'_>) {
        self.lines += 1;
        self.byte = raw.end;
        self.terminated = raw.terminated;
        let bytes = if raw.start == 0 {
            raw.bytes.strip_prefix(BOM).unwrap_or(raw.bytes)
        } else {
            raw.bytes
        };
        if let [b';', comment @ ..] = bytes {
            self.comment(comment, &raw);
            return;
        }
        let line = lex::line(bytes, self.dialect);
        // What stands in a comment harms nobody.
        if raw.cut && line.comment.is_none() {
            self.warn(Warn::LongLine, None);
        }
        if matches!(line.body, Body::Empty) {
            match line.comment {
                Some(comment) => self.comment(comment, &raw),
                None => self.check_nul(bytes),
            }
            return;
        }
        self.check_nul(bytes.split(|b| *b == b';').next().unwrap_or_default());
        self.end_thumbnail();
        self.commands += 1;
        if let Body::Code(code) = &line.body
            && code.letter == b'G'
            && code.number <= 3
        {
            self.check_extruder_letter(code);
        }
        let step = self.modal.step(&line.body);
        match &line.body {
            Body::Code(code) => self.code(code, step, &raw),
            Body::Extended(named) => self.named(named, step, &raw),
            Body::Other(text) => self.other(text),
            Body::Host(_) | Body::Empty => {}
        }
    }

    /// mach3 and machinekit flavours call the extruder A; believed when a slicer wrote the file and no
    /// E was seen.
    fn check_extruder_letter(&mut self, code: &Code<'_>) {
        if !self.modal.a_is_e && self.modal.fed.is_empty() && self.meta.slicer.is_some() && code.has(b'A') {
            self.modal.a_is_e = true;
        }
    }

    fn check_nul(&mut self, bytes: &[u8]) {
        if memchr::memchr(0, bytes).is_some() {
            self.warn(Warn::Nul, None);
        }
    }

    #[inline]
    pub fn end_thumbnail(&mut self) {
        if self.thumbnail.is_some() {
            self.thumbnail = None;
        }
    }

    /// A straight move.
    #[inline]
    pub fn linear(&mut self, moved: &Move, mask: u8) {
        let ([x0, y0, z0], [x, y, z]) = (moved.from, moved.to);
        let (dx, dy, dz) = (x - x0, y - y0, z - z0);
        let still = dx == 0 && dy == 0 && dz == 0;
        // Feeding while only Z moves makes up for a retraction; nothing is laid down.
        let level = dx != 0 || dy != 0;
        let mut extrudes = moved.e > 0 && level;
        if mask & fast::E != 0 && self.e_guess.undecided {
            extrudes = self.guess_e(moved) && level;
        }
        if mask & fast::F != 0 && self.modal.feed != self.speed_of {
            self.new_speed();
        }
        if still {
            if moved.e != 0
                && let Some(planner) = &mut self.planner
            {
                planner.extrude(to_mm(moved.e) as f32, self.speed);
            }
            return;
        }
        let mm = [to_mm(x), to_mm(y)];
        if extrudes {
            self.extrusion(moved, mm);
        } else {
            self.run.open = false;
            if self.modal.placed == 7 {
                self.travel.grow(moved.to);
            } else {
                self.travel.grow_axes(moved.to, self.modal.placed);
            }
        }
        if let Some(planner) = &mut self.planner {
            let d = [dx, dy, dz].map(|v| (v as f64 * 1e-6) as f32);
            let [fx, fy, fz] = d;
            let length = (fx * fx + fy * fy + fz * fz).sqrt();
            planner.travel(&Leg {
                d,
                length,
                e: if extrudes { 1.0 } else { 0.0 },
                speed: self.speed,
            });
        }
    }

    /// A move that extrudes.
    #[inline]
    pub(super) fn extrusion(&mut self, moved: &Move, mm: [f64; 2]) {
        match self.nozzle {
            Nozzle::Ready => {}
            Nozzle::Unchecked => self.first_extrusion(),
            Nozzle::Cold => self.warnings.again(Warn::ColdExtrusion),
        }
        if !self.run.open {
            self.run.open = true;
            self.begin_line(moved);
        }
        let grew = if self.modal.placed == 7 {
            self.run.area.grow(moved.to)
        } else {
            self.run.area.grow_axes(moved.to, self.modal.placed)
        };
        if grew {
            self.grew(moved.to);
        }
        self.run.extruded = self.run.extruded.saturating_add(moved.e.max(0));
        let [x, y] = mm;
        let radius2 = x * x + y * y;
        if radius2 > self.run.radius2 {
            self.run.radius2 = radius2;
        }
        if self.objects.current().is_some() {
            self.objects.point(x as f32, y as f32);
            self.object_end = self.byte;
        }
    }

    /// The start of a line that begins after a travel move is part of it.
    #[inline]
    fn begin_line(&mut self, moved: &Move) {
        let [x, y, z] = moved.from;
        let [_, _, to_z] = moved.to;
        self.heights.at(to_z.max(z));
        let [all, xyz_relative, e_relative] = &mut self.strokes;
        *all += 1;
        *xyz_relative += u64::from(!self.modal.absolute);
        *e_relative += u64::from(!self.modal.e_absolute);
        if moved.placed & 3 == 3 {
            if moved.placed == 7 {
                self.run.area.grow(moved.from);
            } else {
                self.run.area.grow_axes(moved.from, moved.placed);
            }
            let (x, y) = (to_mm(x), to_mm(y));
            self.run.radius2 = self.run.radius2.max(x * x + y * y);
            if self.objects.current().is_some() {
                self.objects.point(x as f32, y as f32);
            }
        }
        if self.byte >= self.index.due {
            self.checkpoint();
        }
    }

    #[cold]
    fn checkpoint(&mut self) {
        let mark = self
            .index
            .between(self.byte, self.lines, self.layers.layer(), &self.modal);
        if let Some(planner) = &mut self.planner {
            self.index.times(planner.resolved());
            if let Some(mark) = mark {
                planner.mark(mark);
            }
        }
    }

    /// The box of the run grew: is that still on the bed?
    #[inline]
    pub(super) fn grew(&mut self, to: [Micro; 3]) {
        let Some((low, high)) = self.bed_limits else {
            return;
        };
        let outside =
            to.iter().zip(low).any(|(v, low)| *v < low) || to.iter().zip(high).any(|(v, high)| *v > high);
        let round = self
            .options
            .bed
            .is_some_and(|bed| bed.round && outside_circle(&bed, to));
        if (outside || round) && self.counts_as_part() {
            let [x, y, z] = to.map(to_mm);
            self.warn(Warn::OutsideBed, Some(format!("X{x:.2} Y{y:.2} Z{z:.2}")));
        }
    }

    fn counts_as_part(&self) -> bool {
        self.role == Role::Part && !self.flushing
    }

    #[cold]
    pub(super) fn new_speed(&mut self) {
        self.speed_of = self.modal.feed;
        self.max_feed = self.max_feed.max(self.modal.feed);
        self.speed = ((to_mm(self.modal.feed) / 60.0) as f32).max(0.01);
    }

    /// The mode of E is not known yet: takes a move into account; says whether it extrudes by
    /// either reading.
    #[cold]
    fn guess_e(&mut self, moved: &Move) -> bool {
        // While undecided E is read as absolute, so the word's value is where E stands now.
        let value = self.modal.e;
        if moved.from != moved.to {
            self.e_guess.moves += 1;
            self.e_guess.falls += u32::from(moved.e <= 0 && value > 0);
        }
        self.e_guess.relative_sum = self.e_guess.relative_sum.saturating_add(value);
        let falls = self.e_guess.falls;
        if falls >= 8 && falls * 6 > self.e_guess.moves {
            self.e_guess.undecided = false;
            self.e_guess.guessed = true;
            self.modal.e_absolute = false;
            let sum = self.e_guess.relative_sum;
            if let Some(fed) = self.modal.fed.get_mut(usize::from(self.modal.tool)) {
                fed.sum = sum;
                fed.peak = sum.max(0);
            }
            self.warn(Warn::EModeGuessed, None);
        } else if self.e_guess.moves >= E_GUESS_MOVES {
            self.e_guess.undecided = false;
        }
        value > 0 && moved.from != moved.to
    }

    /// The E mode was said; nothing is left to guess.
    pub fn e_mode_known(&mut self) {
        self.e_guess.undecided = false;
        self.e_mode_said = true;
    }

    /// First extrusion of all, or since a tool or a temperature changed.
    #[cold]
    fn first_extrusion(&mut self) {
        if !self.extruded_any {
            self.extruded_any = true;
            if self.modal.homed == 0 && !self.start_macro && !self.meta.homes_itself() {
                self.warn(Warn::NoHoming, None);
            }
        }
        let tool = usize::from(self.modal.tool);
        let target = self.modal.tool_targets.get(tool).copied().flatten();
        for (heated, target) in self.heats.iter_mut().zip(&self.modal.tool_targets) {
            if heated.at_first_extrusion.is_none() {
                heated.at_first_extrusion = target.filter(|t| *t > 0);
            }
        }
        self.bed.at_first_extrusion = self
            .bed
            .at_first_extrusion
            .or(self.modal.bed_target.filter(|t| *t > 0));
        self.chamber.at_first_extrusion = self
            .chamber
            .at_first_extrusion
            .or(self.modal.chamber_target.filter(|t| *t > 0));
        let cold = target.is_none_or(|t| t < COLD);
        let elsewhere = target.is_none() && self.heats_itself();
        if cold && !elsewhere {
            self.warn(
                Warn::ColdExtrusion,
                Some(target.map_or("no target".to_owned(), |t| format!("{} °C", to_mm(t)))),
            );
            self.nozzle = Nozzle::Cold;
        } else {
            self.nozzle = Nozzle::Ready;
        }
    }

    /// Settles the run: object, role or layer marks are about to change.
    pub fn settle(&mut self) {
        if self.run.area.is_empty() && self.run.extruded == 0 {
            self.run = Run::default();
            return;
        }
        let run = self.run;
        let group = self.group();
        group.area.join(&run.area);
        group.radius2 = group.radius2.max(run.radius2);
        self.objects.settle(&self.run.area, self.run.extruded, self.byte);
        self.run = Run::default();
    }

    /// Where the run will be counted.
    fn group(&mut self) -> &mut Group {
        if !self.counts_as_part() {
            &mut self.apart
        } else if self.layers.layer() == 0 {
            &mut self.before
        } else {
            &mut self.part
        }
    }

    /// What a run extends: less than this is nothing new, as to bounds and distance from the origin.
    #[cold]
    pub(super) fn known(&mut self) -> Group {
        let mut known = *self.group();
        if let Some(area) = self.objects.current_area() {
            known.area = known.area.common(area);
        }
        self.run.known = Some(known);
        known
    }

    fn code(&mut self, code: &Code<'_>, step: Step, raw: &RawLine<'_>) {
        match step {
            Step::Linear(moved) => {
                let mask = fast::MoveWords::of(code, self.modal.a_is_e).mask;
                if code.words().any(|w| w.template.is_some()) {
                    self.warn(Warn::Template, None);
                }
                self.linear(&moved, mask);
            }
            // As in a block of whole lines, so that both ways give the same outline to the last bit.
            Step::Curve(moved, arc) => match self.short_arc(raw.bytes) {
                Some(read) => self.round(&moved, read.clockwise, self.modal.centre_of(&read)),
                None => self.curve(&moved, &arc),
            },
            Step::BadCurve(moved) => self.bad_arc(&moved),
            Step::Target(heater, value) => self.target(heater, value),
            Step::Tool(_) => self.nozzle = Nozzle::Unchecked,
            Step::Home(_) => {
                self.run.open = false;
                self.nozzle = Nozzle::Unchecked;
            }
            Step::Dwell(ms) => {
                if let Some(planner) = &mut self.planner {
                    planner.dwell(f64::from(ms) / 1000.0);
                }
            }
            Step::FirmwareRetract(_) => self.firmware_retraction = true,
            Step::Quiet { known } => self.quiet(code, known, raw),
        }
    }

    fn target(&mut self, heater: HeaterOf, value: Micro) {
        self.nozzle = Nozzle::Unchecked;
        let celsius = to_mm(value);
        match heater {
            HeaterOf::Tool(tool) => {
                let tool = usize::from(tool).min(MAX_TOOLS - 1);
                if self.heats.len() <= tool {
                    self.heats.resize(tool + 1, Heated::default());
                }
                if let Some(heated) = self.heats.get_mut(tool) {
                    heated.target(value);
                }
                if self.options.max_tool_c.is_some_and(|max| celsius > max) {
                    self.warn(Warn::TooHot, Some(format!("nozzle {tool}: {celsius} °C")));
                }
            }
            HeaterOf::Bed => {
                self.bed.target(value);
                if self.options.max_bed_c.is_some_and(|max| celsius > max) {
                    self.warn(Warn::TooHot, Some(format!("bed: {celsius} °C")));
                }
            }
            HeaterOf::Chamber => self.chamber.target(value),
        }
    }

    /// A pause or a change of colour.
    pub fn pause(&mut self, kind: &str, raw: &RawLine<'_>) {
        if self.pauses.len() < MAX_PAUSES {
            let layer = self.layers.layer();
            self.pauses.push(Pause {
                line: self.lines,
                byte: raw.start,
                layer,
                kind: kind.to_owned(),
            });
        }
    }

    /// Notes something about the line just read.
    pub fn warn(&mut self, code: Warn, detail: Option<String>) {
        self.warnings.note(code, Some(self.lines), detail);
    }

    /// A target given by a macro's parameter.
    pub fn macro_target(&mut self, heater: HeaterOf, value: Micro) {
        match heater {
            HeaterOf::Tool(tool) => {
                let tool = usize::from(tool).min(MAX_TOOLS - 1);
                if self.modal.tool_targets.len() <= tool {
                    self.modal.tool_targets.resize(tool + 1, None);
                }
                if let Some(target) = self.modal.tool_targets.get_mut(tool) {
                    *target = Some(value);
                }
            }
            HeaterOf::Bed => self.modal.bed_target = Some(value),
            HeaterOf::Chamber => self.modal.chamber_target = Some(value),
        }
        self.target(heater, value);
    }
}

/// Where the line ends of which so much was read.
#[inline]
fn end_behind(rest: &[u8], len: usize) -> Option<usize> {
    match rest.get(len) {
        Some(b'\n') => Some(len + 1),
        // A comment behind a move, or `\r`.
        _ => end_of_line(rest).map(|(_, end)| end),
    }
}

fn outside_circle(bed: &super::Bed, to: [Micro; 3]) -> bool {
    let ([x0, y0], [x1, y1]) = (bed.min, bed.max);
    let [x, y, _] = to.map(to_mm);
    let radius = ((x1 - x0).min(y1 - y0)) / 2.0;
    (x - (x0 + x1) / 2.0).hypot(y - (y0 + y1) / 2.0) > radius + 0.01
}
