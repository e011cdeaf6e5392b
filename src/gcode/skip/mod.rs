//! Leaving objects out of a program while it is streamed, for printers whose firmware cannot.
//!
//! The lines of a skipped object never go out. Where it ends, the head stands where the object began
//! while the program believes it elsewhere; before the next kept extrusion a bridge of a few lines makes
//! up for that: retract, lift, travel, lower, prime, and the modes and the E value that the program
//! counts on. What is no movement (heaters, fans, tools, limits, messages, progress) goes out at its
//! place, as a firmware that skips would do it.
//!
//! Which byte belongs to which object is known beforehand, from the [`super::index::Index`] of the file.
//! The same file with the same [`SkipPlan`] always gives the same lines, so that a print can be taken up
//! again after a restart.

mod bridge;
mod class;

use std::sync::Arc;

use super::index::Spans;
use super::lex::{Micro, UNIT};
use super::modal::{Modal, Step};
use class::Class;

/// A longer retraction is a filament change, not an example to follow.
const RETRACTION_MAX: Micro = 12 * UNIT;
/// Priming beyond the filament drawn back is a purge that has to happen where the program says.
const PURGE_MIN: Micro = UNIT / 5;

/// What is left out from where on.
///
/// Objects go by their index in the analysis; an object is left out in lines that begin at or behind
/// its byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SkipPlan {
    entries: Vec<(u32, u64)>,
}

impl SkipPlan {
    /// Leaves an object out from a byte on. The first order counts: what is gone stays gone.
    pub fn add(&mut self, object: u32, from_byte: u64) {
        match self.entries.iter_mut().find(|(known, _)| *known == object) {
            Some((_, from)) => *from = (*from).min(from_byte),
            None => self.entries.push((object, from_byte)),
        }
    }

    /// Whether anything is left out.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn covers(&self, object: u32, byte: u64) -> bool {
        self.entries
            .iter()
            .any(|(known, from)| *known == object && byte >= *from)
    }
}

/// Where the lines that go out come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The line of the program itself.
    Program,
    /// Put in before it; counts from 2.
    Before(u16),
    /// Put in behind it: 1.
    Behind(u16),
}

/// The filter. Feed it every command of the program in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Skip {
    spans: Spans,
    plan: Arc<SkipPlan>,
    /// What the program believes.
    file: Modal,
    /// What the printer is in, while that differs.
    sent: Option<Box<Modal>>,
    /// Habits of the program, for the bridges.
    habits: Habits,
    /// A relative E went its own way: `M82` needs a `G92 E` behind it.
    e_astray: bool,
}

/// How the program travels and retracts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Habits {
    /// Feed of moves without extrusion, millionths of mm/min.
    travel_feed: Micro,
    /// Filament drawn back before travels.
    retraction: Micro,
    /// Feed of that.
    retract_feed: Micro,
    /// `G10`/`G11` are used for it.
    by_firmware: bool,
}

impl Default for Habits {
    fn default() -> Self {
        Habits {
            travel_feed: 6_000 * UNIT,
            retraction: 0,
            retract_feed: 2_100 * UNIT,
            by_firmware: false,
        }
    }
}

impl Skip {
    /// For a program read from its beginning.
    pub fn new(spans: Spans, plan: Arc<SkipPlan>) -> Self {
        Skip {
            spans,
            plan,
            file: Modal::default(),
            sent: None,
            habits: Habits::default(),
            e_astray: false,
        }
    }

    /// The same place with another plan.
    ///
    /// Lines before this place are as they were, so the new plan may differ only behind it.
    pub fn with_plan(mut self, plan: Arc<SkipPlan>) -> Self {
        self.plan = plan;
        self
    }

    /// Takes the command that begins at a byte of the file; gives what goes out for it.
    pub fn line(&mut self, text: &[u8], start: u64, mut out: impl FnMut(&[u8], Origin)) {
        let object = self.spans.object_at(start);
        let class = class::of(text);
        if class == Class::ObjectMark {
            return;
        }
        let skipped = object.is_some_and(|object| self.plan.covers(object, start));
        if skipped {
            self.leave_out(text, class, &mut out);
        } else if self.sent.is_some() {
            self.find_back(text, class, &mut out);
        } else {
            out(text, Origin::Program);
            self.follow(text);
            self.correct_e(text, &mut out);
        }
    }

    /// A line of a skipped object.
    fn leave_out(&mut self, text: &[u8], class: Class, out: &mut impl FnMut(&[u8], Origin)) {
        match class {
            Class::Motion | Class::Filament | Class::Shift | Class::Dwell => {
                self.sent.get_or_insert_with(|| Box::new(self.file.clone()));
                self.follow(text);
            }
            Class::Setting => self.both(text, out),
            Class::Waiting | Class::Other => {
                // It may take long: nothing is to ooze onto the plate meanwhile.
                let sent = self.sent.get_or_insert_with(|| Box::new(self.file.clone()));
                bridge::draw_back(sent, self.habits, out);
                self.both(text, out);
            }
            Class::ObjectMark => {}
        }
    }

    /// A kept line behind a gap: travels are only noted, so that the bridge goes straight to where the
    /// next extrusion begins.
    fn find_back(&mut self, text: &[u8], class: Class, out: &mut impl FnMut(&[u8], Origin)) {
        match class {
            Class::Motion if !self.lays_down(text) => self.follow(text),
            Class::Filament | Class::Shift => self.follow(text),
            Class::Setting => self.both(text, out),
            Class::ObjectMark => {}
            Class::Motion | Class::Dwell | Class::Waiting | Class::Other => {
                self.bridge(out);
                out(text, Origin::Program);
                self.follow(text);
                self.correct_e(text, out);
            }
        }
    }

    /// Whether a move extrudes along its way, or purges.
    fn lays_down(&self, text: &[u8]) -> bool {
        let mut after = self.file.clone();
        let before = fed(&self.file);
        match after.apply(text) {
            Step::Linear(moved) | Step::Curve(moved, _) | Step::BadCurve(moved) => {
                let level = moved.from[..2] != moved.to[..2];
                let purged = fed(&after).1 - before.1;
                (moved.e > 0 && level) || purged > PURGE_MIN
            }
            _ => false,
        }
    }

    /// What changes settings changes them for both.
    fn both(&mut self, text: &[u8], out: &mut impl FnMut(&[u8], Origin)) {
        out(text, Origin::Program);
        if let Some(sent) = &mut self.sent {
            sent.apply(text);
        }
        self.follow(text);
        if self.sent.is_none() {
            self.correct_e(text, out);
        }
    }

    /// Follows the program and learns its habits.
    fn follow(&mut self, text: &[u8]) {
        let (sum, peak) = fed(&self.file);
        match self.file.apply(text) {
            Step::Linear(moved) => {
                let level = moved.from[..2] != moved.to[..2];
                if level && moved.e == 0 && self.file.feed > 0 {
                    self.habits.travel_feed = self.file.feed;
                }
                let (after, _) = fed(&self.file);
                if !level && moved.e < 0 && self.file.feed > 0 && moved.from == moved.to {
                    self.habits.retract_feed = self.file.feed;
                }
                let back = peak - after;
                if after < sum && back <= RETRACTION_MAX && back > self.habits.retraction {
                    self.habits.retraction = back;
                }
            }
            Step::FirmwareRetract(true) => self.habits.by_firmware = true,
            _ => {}
        }
    }

    /// Makes the printer's state the program's again.
    fn bridge(&mut self, out: &mut impl FnMut(&[u8], Origin)) {
        if let Some(mut sent) = self.sent.take() {
            bridge::cross(&mut sent, &self.file, self.habits, out);
            self.e_astray |= sent.e != self.file.e;
        }
    }

    /// Relative E values were left out: an absolute one has to be told where it begins.
    fn correct_e(&mut self, text: &[u8], out: &mut impl FnMut(&[u8], Origin)) {
        if self.e_astray && self.file.e_absolute && class::of(text) == Class::Setting {
            self.e_astray = false;
            let mut line = b"G92 E".to_vec();
            bridge::push_value(&mut line, self.file.e, self.file.inches);
            out(&line, Origin::Behind(1));
        }
    }
}

/// Filament of the tool in use: fed in all, and the most that was.
fn fed(modal: &Modal) -> (Micro, Micro) {
    let fed = modal
        .fed
        .get(usize::from(modal.tool))
        .copied()
        .unwrap_or_default();
    (fed.sum, fed.peak)
}

#[cfg(test)]
mod tests;
