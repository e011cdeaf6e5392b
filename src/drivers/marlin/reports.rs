//! What is told about a running printer, and how often: never per line.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::history::{Place, Tag};
use super::proto::{Marlin, Output, Phase, Warmth};
use super::scan::{float_at, starts_no_case, trim};
use super::silence::Patience;
use super::temps;
use crate::printer::event::{Checkpoint, Event};
use crate::printer::model::{Heater, Now, Position, Progress, Traffic};
use crate::printer::notice::Level;

/// Progress, traffic and position at most so often.
const LEVELS_EVERY: Duration = Duration::from_millis(500);
/// Where the job stands, for recovery.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
/// Temperatures are asked so often: idle, with a heater on, waiting for heat.
const POLL_IDLE: Duration = Duration::from_secs(5);
const POLL_HOT: Duration = Duration::from_secs(2);
const POLL_WAITING: Duration = Duration::from_secs(1);
/// With autoreports `M105` only proves the link and marks an `ok`.
const POLL_AUTOREPORT: Duration = Duration::from_secs(10);
/// An `M105`'s marked `ok` after so many lines shows surplus `ok`s; more often once there were any.
const MARK_EVERY: u64 = 150;
const MARK_EVERY_SURPLUS: u64 = 40;
/// The printer's screen is told the progress so often.
const SCREEN_EVERY: Duration = Duration::from_secs(30);
/// A noisy link is told of above this share of resends, after this many lines.
const NOISY_PERCENT: u64 = 10;
const NOISY_AFTER: u64 = 100;

/// When what was told last.
#[derive(Debug)]
pub struct Reports {
    /// The printer reports temperatures by itself.
    pub autoreport: bool,
    /// A place of the program was acknowledged since.
    pub progress_changed: bool,
    /// The position is to be asked.
    pub position_wanted: bool,
    /// The heater whose waiting line was just awaited here.
    pub preheated: Option<Heater>,
    /// The record of numbers and places is in a run of the program.
    pub in_run: bool,
    /// Last place given a number.
    pub last_sent: Place,
    next_levels: Instant,
    next_checkpoint: Instant,
    next_poll: Option<Instant>,
    marked_at: u64,
    screen_percent: Option<u8>,
    next_screen: Instant,
    screen_works: bool,
    job_since: Instant,
    noisy_told: bool,
    waited_front: Option<u32>,
    layer: u32,
}

impl Reports {
    /// Nothing told yet.
    pub fn new(now: Instant) -> Self {
        Reports {
            autoreport: false,
            progress_changed: false,
            position_wanted: false,
            preheated: None,
            in_run: false,
            last_sent: Place::default(),
            next_levels: now,
            next_checkpoint: now,
            next_poll: None,
            marked_at: 0,
            screen_percent: None,
            next_screen: now,
            screen_works: true,
            job_since: now,
            noisy_told: false,
            waited_front: None,
            layer: 0,
        }
    }

    /// The handshake is over: polling begins.
    pub fn ready(&mut self, now: Instant) {
        self.next_poll = Some(now + POLL_HOT);
    }

    /// A job begins.
    pub fn job_begins(&mut self, now: Instant) {
        self.job_since = now;
        self.in_run = false;
        self.last_sent = Place::default();
        self.preheated = None;
        self.screen_percent = None;
        self.layer = 0;
    }

    /// The job is through: its last progress is 100.
    pub fn job_ends(&mut self, out: &mut VecDeque<Output>, size: u64, place: Place, layers: Option<u32>) {
        self.progress_changed = false;
        self.in_run = false;
        out.push_back(Output::Event(Event::Progress(Progress {
            percent: Some(100.0),
            layer: Some(place.layer).filter(|l| *l > 0),
            layers,
            time_left_s: Some(0),
            byte: Some(size),
            line: Some(u64::from(place.source_line)),
        })));
    }

    /// The firmware does not know `M73`.
    pub fn no_screen(&mut self) {
        self.screen_works = false;
    }

    /// Two `wait` lines while the same line is unanswered.
    pub fn second_wait(&mut self, front: Option<u32>) -> bool {
        let same = front.is_some() && self.waited_front == front;
        self.waited_front = if same { None } else { front };
        same
    }

    /// When the next report is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.progress_changed.then_some(self.next_levels)
    }

    /// When the next poll is due.
    pub fn poll_deadline(&self, phase: Phase) -> Option<Instant> {
        if matches!(phase, Phase::Hello | Phase::Halted) {
            return None;
        }
        self.next_poll
    }
}

impl Marlin {
    /// Takes the temperatures out of a line.
    pub(super) fn temperatures(&mut self, now: Now, raw: &[u8]) {
        let mut readings = [None; 12];
        let mut count = 0;
        let extras = temps::read(raw, self.track.tool, |r| {
            if let Some(slot) = readings.get_mut(count) {
                *slot = Some(r);
                count += 1;
            }
        });
        if extras.waiting {
            self.sender.busy(now.mono, false);
        }
        for reading in readings.into_iter().flatten() {
            let known = self.warmth.get(&reading.heater).copied();
            let actual_c = if reading.actual_c.is_finite() {
                reading.actual_c
            } else {
                match known {
                    Some(w) => w.actual_c,
                    None => continue,
                }
            };
            let target_c = reading.target_c.or(known.and_then(|w| w.target_c));
            self.warmth.insert(reading.heater, Warmth { actual_c, target_c });
            self.event(Event::Heat {
                heater: reading.heater,
                actual_c,
                target_c: reading.target_c,
            });
            self.watch_reading(now, reading.heater, actual_c, target_c);
        }
    }

    /// `X:… Y:… Z:… E:… Count …`.
    pub(super) fn position_line(&mut self, now: Now, raw: &[u8]) {
        let line = trim(raw);
        let end = line
            .windows(6)
            .position(|w| starts_no_case(w, b" count"))
            .unwrap_or(line.len());
        let line = line.get(..end).unwrap_or(line);
        let value = |name: u8| {
            let at = line
                .windows(2)
                .enumerate()
                .position(|(i, w)| w == [name, b':'] && (i == 0 || line.get(i - 1) == Some(&b' ')))?;
            float_at(trim(line.get(at + 2..)?)).map(|(v, _)| v as f32)
        };
        let position = Position {
            x_mm: value(b'X'),
            y_mm: value(b'Y'),
            z_mm: value(b'Z'),
            e_mm: value(b'E'),
        };
        self.position = Some(position);
        self.event(Event::Position(position));
        self.idle_heat_moved(now, position);
    }

    /// Sends a poll if one is due. `true`: a line went out.
    pub(super) fn poll_due(&mut self, now: Now) -> bool {
        if self.phase == Phase::Hello {
            return self.hello_progress(now);
        }
        let marked = match self.sender.inline_temps() {
            Some(true) if self.sender.surplus() == 0 && self.sender.window() == 1 => MARK_EVERY,
            _ => MARK_EVERY_SURPLUS,
        };
        let by_count = self.sender.may_be_marked()
            && self.phase == Phase::Printing
            && self.sender.lines.saturating_sub(self.reports.marked_at) >= marked;
        let by_time = self.reports.next_poll.is_some_and(|at| now.mono >= at);
        if !by_count && !by_time {
            if self.reports.position_wanted && self.users.is_empty() && self.sender.is_idle() {
                self.reports.position_wanted = false;
                self.send(now, "M114", Tag::Step, Patience::Short);
                return true;
            }
            return self.filament_due(now);
        }
        if self.sender.patience() != Patience::Short && self.sender.front().is_some() {
            // Behind a long command it would only wait; the printer's own reports come meanwhile.
            self.reports.next_poll = Some(now.mono + POLL_HOT);
            return false;
        }
        let hot = self.warmth.values().any(|w| w.target_c.is_some_and(|t| t > 0.0));
        let every = if self.waits_for_heat() {
            POLL_WAITING
        } else if self.reports.autoreport {
            POLL_AUTOREPORT
        } else if hot {
            POLL_HOT
        } else {
            POLL_IDLE
        };
        self.reports.next_poll = Some(now.mono + every);
        self.reports.marked_at = self.sender.lines;
        self.ask_temperatures(now);
        true
    }

    /// Tells what changed, if it is time.
    pub(super) fn report(&mut self, now: Now) {
        if !self.reports.progress_changed || now.mono < self.reports.next_levels {
            return;
        }
        self.reports.progress_changed = false;
        self.reports.next_levels = now.mono + LEVELS_EVERY;
        let Some(job) = &self.job else { return };
        let program = &job.start.program;
        let place = job.place;
        let percent = self.track.percent.or_else(|| {
            (program.size > 0).then(|| (place.byte_end as f64 / program.size as f64 * 100.0) as f32)
        });
        let time_left_s = self.time_left_s(now, percent);
        // What the file does not tell itself the actor knows better, from its times.
        let progress = Progress {
            percent: self.track.percent,
            layer: Some(place.layer).filter(|l| *l > 0),
            layers: program.layers,
            time_left_s: self.track.minutes_left.map(|minutes| minutes.saturating_mul(60)),
            byte: Some(place.byte_end),
            line: Some(u64::from(place.source_line)),
        };
        self.event(Event::Progress(progress));
        self.event(Event::Traffic(Traffic {
            lines: self.sender.lines,
            resends: self.sender.resends,
        }));
        if now.mono >= self.reports.next_checkpoint {
            self.reports.next_checkpoint = now.mono + CHECKPOINT_EVERY;
            let checkpoint = self.checkpoint(place);
            self.event(Event::Checkpoint(checkpoint));
            let [x, y, z] = self.track.xyz().map(|v| v.map(|v| v as f32));
            if self.phase == Phase::Printing {
                self.event(Event::Position(Position {
                    x_mm: x,
                    y_mm: y,
                    z_mm: z,
                    e_mm: Some(self.track.e_mm as f32),
                }));
            }
            self.show_on_screen(now, percent, time_left_s);
            self.noisy_link(now);
        }
    }

    /// Tells where the job stands now, exactly: before it rests or ends, since the places told while it
    /// runs are up to a second old.
    pub(super) fn tell_place(&mut self) {
        if let Some(job) = self.job.as_ref().filter(|job| job.seen) {
            let checkpoint = self.checkpoint(job.place);
            self.event(Event::Checkpoint(checkpoint));
        }
    }

    /// Where the job stands, for recovery.
    pub fn checkpoint(&self, place: Place) -> Checkpoint {
        // Parked, the head is not where the program left it.
        let track = self.saved.as_ref().map_or(&self.track, |saved| &saved.track);
        Checkpoint {
            line: u64::from(place.source_line),
            byte: place.byte_end,
            layer: Some(place.layer).filter(|l| *l > 0),
            z_mm: track.xyz().get(2).copied().flatten().map(|z| z as f32),
            targets_c: self
                .warmth
                .iter()
                .filter_map(|(h, w)| Some((h.to_string(), w.target_c?)))
                .collect(),
            filament_mm: self.track.filament_mm.clone(),
        }
    }

    fn time_left_s(&self, now: Now, percent: Option<f32>) -> Option<u32> {
        if let Some(minutes) = self.track.minutes_left {
            return Some(minutes.saturating_mul(60));
        }
        let program = &self.job.as_ref()?.start.program;
        let done = percent? / 100.0;
        if let Some(all) = program.estimate_s {
            return Some((all as f32 * (1.0 - done).max(0.0)) as u32);
        }
        let elapsed = now
            .mono
            .saturating_duration_since(self.reports.job_since)
            .as_secs_f32();
        // Before a few percent an extrapolation says nothing.
        (done > 0.03).then(|| (elapsed / done * (1.0 - done)).max(0.0) as u32)
    }

    /// `M73`, sparingly, where the program does not send its own.
    fn show_on_screen(&mut self, now: Now, percent: Option<f32>, left_s: Option<u32>) {
        let works = self.settings.screen
            && self.reports.screen_works
            && (self.quirks.m73 || self.caps.has("PROGRESS") || self.caps.has("BUILD_PERCENT"));
        if !works || self.track.percent.is_some() || now.mono < self.reports.next_screen {
            return;
        }
        let Some(percent) = percent.map(|p| p.clamp(0.0, 100.0) as u8) else {
            return;
        };
        if self.reports.screen_percent == Some(percent)
            || self.phase != Phase::Printing
            || !self.script.is_empty()
        {
            return;
        }
        self.reports.screen_percent = Some(percent);
        self.reports.next_screen = now.mono + SCREEN_EVERY;
        let text = match left_s {
            Some(s) => format!("M73 P{percent} R{}", s / 60),
            None => format!("M73 P{percent}"),
        };
        self.then([super::script::Step::made(text)]);
    }

    fn noisy_link(&mut self, now: Now) {
        let (lines, resends) = (self.sender.lines, self.sender.resends);
        if !self.reports.noisy_told && lines >= NOISY_AFTER && resends * 100 >= lines * NOISY_PERCENT {
            self.reports.noisy_told = true;
            let fault = super::faults::NOISY.with_what(format!(
                "Many lines arrive damaged at the printer: {resends} of {lines} had to be sent again."
            ));
            self.notice(now, &fault, Level::Warning);
        }
    }
}
