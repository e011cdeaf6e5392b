//! Prints that were started at the printer: seen and reported, never steered by surprise.

use std::time::{Duration, Instant};

use super::proto::{Marlin, Phase};
use super::scan::trim;
use super::script::Step;
use crate::printer::event::{Event, JobEvent, OutsideEnd};
use crate::printer::model::{Activity, Now, PauseReason, Progress};

/// While a print from the card runs its place is asked so often.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// While none runs, but a card may be there.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// "Not printing" is believed after so many in a row (OctoPrint counts 3).
const MISSES: u8 = 3;
/// Longest file name kept.
const NAME_MAX: usize = 80;

/// A print from the printer's own card.
#[derive(Debug, Default)]
pub struct Outside {
    running: bool,
    paused: bool,
    file: Option<String>,
    misses: u8,
    at: u64,
    of: u64,
    next: Option<Instant>,
}

impl Outside {
    /// One runs.
    pub fn running(&self) -> bool {
        self.running
    }

    /// One stands still.
    pub fn paused(&self) -> bool {
        self.running && self.paused
    }

    /// A file name was told.
    pub fn file(&mut self, name: &[u8]) {
        let name: String = String::from_utf8_lossy(trim(name))
            .chars()
            .take(NAME_MAX)
            .collect();
        if !name.is_empty() && name != "(no file)" {
            self.file = Some(name);
        }
    }
}

impl Marlin {
    pub(super) fn sd_at(&mut self, _now: Now, at: u64, of: u64) {
        // Some versions say 0/0 when idle.
        if of == 0 || self.job.is_some() {
            return;
        }
        let moved = at != self.outside.at;
        self.outside.misses = 0;
        self.outside.at = at;
        self.outside.of = of;
        if !self.outside.running {
            self.outside.running = true;
            self.outside.paused = false;
            let file = self.outside.file.clone();
            self.job_event(JobEvent::OutsideStarted { file });
            self.event(Event::Activity(Activity::Printing));
        } else if self.outside.paused && moved {
            self.outside_resumed();
        }
        let percent = (at as f64 / of as f64 * 100.0) as f32;
        self.event(Event::Progress(Progress {
            percent: Some(percent.clamp(0.0, 100.0)),
            ..Progress::default()
        }));
    }

    pub(super) fn sd_idle(&mut self, _now: Now) {
        if !self.outside.running || self.outside.paused {
            return;
        }
        self.outside.misses += 1;
        if self.outside.misses >= MISSES {
            let nearly = self.outside.at.saturating_mul(100) >= self.outside.of.saturating_mul(99);
            self.outside_ended(if nearly {
                OutsideEnd::Done
            } else {
                OutsideEnd::Cancelled
            });
        }
    }

    pub(super) fn sd_done(&mut self, _now: Now) {
        if self.outside.running {
            self.outside_ended(OutsideEnd::Done);
        }
    }

    pub(super) fn outside_ended(&mut self, end: OutsideEnd) {
        self.outside = Outside {
            next: self.outside.next,
            ..Outside::default()
        };
        self.job_event(JobEvent::OutsideEnded { end });
        if self.phase == Phase::Idle {
            self.event(Event::Activity(Activity::Idle));
        }
    }

    pub(super) fn outside_paused(&mut self) {
        if self.outside.running && !self.outside.paused {
            self.outside.paused = true;
            self.event(Event::Activity(Activity::Paused(PauseReason::Printer)));
        }
    }

    pub(super) fn outside_resumed(&mut self) {
        if self.outside.running && self.outside.paused {
            self.outside.paused = false;
            self.event(Event::Activity(Activity::Printing));
        }
    }

    pub(super) fn pause_outside(&mut self) {
        self.then([Step::fixed("M25")]);
        self.outside_paused();
    }

    pub(super) fn resume_outside(&mut self) {
        self.then([Step::fixed("M24")]);
        self.outside_resumed();
    }

    pub(super) fn cancel_outside(&mut self) {
        if self.quirks.m524 {
            self.then([Step::fixed("M524")]);
        } else {
            self.then([Step::fixed("M25"), Step::fixed("M27"), Step::fixed("M26 S0")]);
        }
        let cold = self.cold_steps();
        self.then(cold);
        self.outside_ended(OutsideEnd::Cancelled);
    }

    /// Asks the card now and then.
    pub(super) fn outside_tick(&mut self, now: Now) {
        if self.phase != Phase::Idle
            || self.job.is_some()
            || !self.caps.has("SDCARD")
            || !self.script.is_empty()
        {
            return;
        }
        let due = *self.outside.next.get_or_insert(now.mono + LOOK_EVERY);
        if now.mono < due {
            return;
        }
        let every = if self.outside.running {
            ASK_EVERY
        } else {
            LOOK_EVERY
        };
        self.outside.next = Some(now.mono + every);
        self.then([Step::fixed("M27")]);
        if self.outside.running && self.outside.file.is_none() && self.caps.has("LONG_FILENAME") {
            self.then([Step::fixed("M27 C")]);
        }
    }

    pub(super) fn outside_deadline(&self) -> Option<Instant> {
        if self.phase == Phase::Idle
            && self.job.is_none()
            && self.script.is_empty()
            && self.caps.has("SDCARD")
        {
            self.outside.next
        } else {
            None
        }
    }
}
