//! Pause and resume: standing still in a way that a print can go on from.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::faults;
use super::memory_record::Record;
use super::pause_record::PauseRecord;
use super::proto::{Marlin, Output, Phase};
use super::script::{Mark, Step};
use super::settings::EXTRUDE_MIN_C;
use super::track::Track;
use crate::drivers::StopMode;
use crate::printer::command::RequestId;
use crate::printer::event::JobEvent;
use crate::printer::model::{Heater, Now, PauseReason, Position};
use crate::printer::notice::Level;
use crate::printer::outcome::Outcome;

/// Marlin's own default for the motors' timeout, s; restored when the program set none.
const MOTORS_TIMEOUT_S: u32 = 120;

/// Speed of parking moves, mm/min.
const PARK_SPEED: u32 = 6000;

/// What a pause has to put back.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    /// Why it stands still.
    pub why: PauseReason,
    /// Modes and position when the last line of the program was executed.
    pub track: Track,
    /// Where the printer said it stood.
    pub position: Option<Position>,
    /// Wanted temperatures, °C.
    pub targets: BTreeMap<Heater, f32>,
    /// Pulled back so far, mm.
    pub retracted_mm: f32,
    /// The head was moved away.
    pub moved: bool,
    /// Since when it stands.
    pub since: Option<Instant>,
    /// The nozzle was switched off meanwhile.
    pub cooled: bool,
    /// The firmware paused by itself and resumes by itself.
    pub by_firmware: bool,
}

impl Marlin {
    pub(super) fn pause(&mut self, now: Now, id: RequestId) {
        match (self.phase, &mut self.job) {
            (Phase::Printing | Phase::Resuming, Some(_)) => {
                self.begin_pause(now, PauseReason::Requested, Some(id));
            }
            (Phase::Paused(_), _) => self.reply(id, Outcome::Verified),
            _ if self.outside.running() => {
                self.pause_outside();
                self.reply(id, Outcome::Sent);
            }
            _ => self.reply(
                id,
                Outcome::refused("refused/wrong-state", "Only a running print can be paused."),
            ),
        }
    }

    /// No more lines of the program; stop, capture, park.
    pub(super) fn begin_pause(&mut self, now: Now, why: PauseReason, id: Option<RequestId>) {
        let resuming = self.phase == Phase::Resuming;
        let Some(job) = &mut self.job else { return };
        let interrupted = job.reply.take();
        job.reply = id;
        job.resuming = false;
        if let Some(id) = interrupted {
            self.reply(
                id,
                Outcome::refused("refused/superseded", "A pause was asked for meanwhile."),
            );
        }
        let _ = now;
        self.out.push_back(Output::Record(Record::Leaving));
        self.reports.in_run = false;
        if resuming {
            // Still on the way back: what was captured stays what has to be put back.
            self.script.clear();
            if let Some(saved) = &mut self.saved {
                saved.why = why;
            }
            self.set_phase(Phase::Pausing);
            self.then([
                Step::fixed("M400"),
                Step::fixed("M105"),
                Step::Await,
                Step::Mark(Mark::Parked),
            ]);
            return;
        }
        let targets = self
            .warmth
            .iter()
            .filter_map(|(heater, w)| Some((*heater, w.target_c.filter(|t| *t > 0.0)?)))
            .collect();
        self.saved = Some(Saved {
            why,
            track: Track::default(),
            position: None,
            targets,
            retracted_mm: 0.0,
            moved: false,
            since: None,
            cooled: false,
            by_firmware: false,
        });
        self.set_phase(Phase::Pausing);
        if self.quirks.holds_motors {
            self.then([Step::fixed("M84 S0")]);
        }
        self.then([
            Step::fixed("M400"),
            Step::fixed("M105"),
            Step::Await,
            Step::fixed("M114"),
            Step::Await,
            Step::Mark(Mark::Stopped),
        ]);
    }

    /// All moves are done: capture, then park.
    pub(super) fn stopped_moving(&mut self, _now: Now) {
        let position = self.position;
        let track = self.track.clone();
        let hot = self.hot_enough(track.tool);
        let retract = self.settings.park_retract_mm;
        let lift = self.lift_mm(&track, position);
        let park = self.settings.park_mm().filter(|_| track.homed);
        let timer = self.uses_print_timer();
        let Some(saved) = &mut self.saved else { return };
        saved.position = position;
        saved.track = track;
        let mut steps = Vec::new();
        if timer {
            steps.push(Step::fixed("M76"));
        }
        if hot && retract > 0.0 && saved.track.extruded {
            saved.retracted_mm = retract;
            steps.push(Step::fixed("M83"));
            steps.push(Step::made(format!("G1 E-{retract} F1800")));
        }
        if saved.track.homed {
            if lift > 0.0 {
                saved.moved = true;
                steps.push(Step::fixed("G91"));
                steps.push(Step::made(format!("G1 Z{lift} F600")));
            }
            steps.push(Step::fixed("G90"));
            if let Some((x, y)) = park
                && saved.track.xyz().iter().take(2).all(Option::is_some)
            {
                saved.moved = true;
                steps.push(Step::made(format!("G1 X{x} Y{y} F{PARK_SPEED}")));
            }
        }
        steps.extend([
            Step::fixed("M400"),
            Step::fixed("M105"),
            Step::Await,
            Step::Mark(Mark::Parked),
        ]);
        self.then(steps);
    }

    fn hot_enough(&self, tool: u8) -> bool {
        self.warmth
            .get(&Heater::Tool(tool))
            .is_some_and(|w| w.actual_c >= EXTRUDE_MIN_C)
    }

    /// As far as wanted, but not into the top of the machine.
    fn lift_mm(&self, track: &Track, position: Option<Position>) -> f32 {
        let wanted = self.settings.park_lift_mm;
        let [_, _, z] = track.xyz();
        let z = z.map(|z| z as f32).or(position.and_then(|p| p.z_mm));
        match (self.settings.height_mm(), z) {
            (Some(height), Some(z)) => wanted.min((height - z).max(0.0)),
            (_, None) => 0.0,
            (None, Some(_)) => wanted,
        }
    }

    pub(super) fn parked(&mut self, now: Now) {
        let why = match &mut self.saved {
            Some(saved) => {
                saved.since = Some(now.mono);
                saved.why
            }
            None => PauseReason::Requested,
        };
        let saved = match (&self.saved, &self.job) {
            (Some(saved), Some(job)) => Some(Box::new(PauseRecord::of(saved, job.sent))),
            _ => None,
        };
        self.out.push_back(Output::Record(Record::Parked { saved }));
        self.reports.in_run = false;
        self.tell_place();
        let Some(job) = &mut self.job else { return };
        let uid = job.start.uid;
        let reply = job.reply.take();
        self.job_event(JobEvent::Paused { uid, why });
        self.set_phase(Phase::Paused(why));
        if let Some(id) = reply {
            self.reply(id, Outcome::Verified);
        }
        if self.stopping == Some(StopMode::Park) {
            self.cool_and_stop();
        }
    }

    pub(super) fn resume(&mut self, now: Now, id: RequestId) {
        let Phase::Paused(_) = self.phase else {
            if self.outside.paused() {
                self.resume_outside();
                self.reply(id, Outcome::Sent);
                return;
            }
            self.reply(
                id,
                Outcome::refused("refused/wrong-state", "Only a paused print can be resumed."),
            );
            return;
        };
        let Some(mut saved) = self.saved.clone() else {
            self.reply(
                id,
                Outcome::refused("refused/wrong-state", "There is nothing to resume."),
            );
            return;
        };
        // A fan that was tuned in the pause stays as it was tuned.
        saved.track.fans = self.track.fans;
        if let Some(job) = &mut self.job {
            job.reply = Some(id);
        }
        if saved.by_firmware {
            // The firmware owns the head: its own wait is ended.
            self.let_firmware_go_on(now);
            self.set_phase(Phase::Resuming);
            return;
        }
        if !self.quirks.holds_motors
            && saved
                .since
                .is_some_and(|s| now.mono >= s + Duration::from_secs(u64::from(MOTORS_TIMEOUT_S)))
        {
            self.notice(now, &faults::MOTORS_SLEPT, Level::Warning);
        }
        self.set_phase(Phase::Resuming);
        let steps = self.way_back(&saved);
        self.then(steps);
    }

    /// Reheat and wait, prime, approach, restore modes.
    fn way_back(&self, saved: &Saved) -> Vec<Step> {
        let mut steps = Vec::new();
        for (heater, target) in &saved.targets {
            steps.extend(set_target(*heater, *target));
        }
        steps.push(Step::Heat {
            targets: saved.targets.clone(),
            until: None,
        });
        if self.quirks.holds_motors {
            let timeout = saved.track.motors_timeout_s.unwrap_or(MOTORS_TIMEOUT_S);
            steps.push(Step::made(format!("M84 S{timeout}")));
        }
        if saved.retracted_mm > 0.0 {
            steps.push(Step::fixed("M83"));
            steps.push(Step::made(format!("G1 E{} F1800", saved.retracted_mm)));
        }
        if saved.moved {
            steps.push(Step::fixed("G90"));
            let [x, y, z] = saved.track.xyz();
            let told = saved.position.unwrap_or_default();
            let x = x.or(told.x_mm.map(f64::from));
            let y = y.or(told.y_mm.map(f64::from));
            let z = z.or(told.z_mm.map(f64::from));
            if let (Some(x), Some(y)) = (x, y) {
                steps.push(Step::made(format!("G1 X{} Y{} F{PARK_SPEED}", mm(x), mm(y))));
            }
            if let Some(z) = z {
                steps.push(Step::made(format!("G1 Z{} F600", mm(z))));
            }
        }
        let t = &saved.track;
        steps.push(Step::made(format!("G92 E{}", mm(t.e_mm))));
        steps.push(Step::fixed(if t.relative { "G91" } else { "G90" }));
        steps.push(Step::fixed(if t.relative_e { "M83" } else { "M82" }));
        if let Some(feed) = t.feed_mm_min {
            steps.push(Step::made(format!("G1 F{}", mm(feed))));
        }
        for (fan, speed) in t.fans.iter().enumerate() {
            match speed {
                Some(speed) if fan == 0 => steps.push(Step::made(format!("M106 S{speed}"))),
                Some(speed) => steps.push(Step::made(format!("M106 P{fan} S{speed}"))),
                None => {}
            }
        }
        if self.uses_print_timer() {
            steps.push(Step::fixed("M75"));
        }
        steps.push(Step::Mark(Mark::Resumed));
        steps
    }

    pub(super) fn back_in_place(&mut self, _now: Now) {
        if let Some(saved) = self.saved.take() {
            let fans = self.track.fans;
            self.track = saved.track;
            self.track.fans = fans;
        }
        self.phase = Phase::Printing;
        self.want_filament();
        if let Some(job) = &mut self.job {
            job.resuming = true;
        }
    }

    pub(super) fn heat_timed_out(&mut self, now: Now) {
        if self.phase == Phase::Resuming {
            self.script.clear();
            let why = self.saved.as_ref().map_or(PauseReason::Requested, |s| s.why);
            self.notice(now, &faults::REHEAT, Level::Error);
            let reply = self.job.as_mut().and_then(|j| j.reply.take());
            if let Some(id) = reply {
                self.reply(
                    id,
                    Outcome::Rejected {
                        by_printer: String::new(),
                        fault: Some(faults::REHEAT),
                    },
                );
            }
            self.set_phase(Phase::Paused(why));
        }
    }

    /// The firmware stands still by itself (M600, runout, its menu): no script of ours.
    pub(super) fn paused_by_firmware(&mut self, now: Now, why: PauseReason) {
        let Some(job) = &mut self.job else { return };
        let uid = job.start.uid;
        if !matches!(self.phase, Phase::Printing) {
            return;
        }
        self.saved = Some(Saved {
            why,
            track: self.track.clone(),
            position: self.position,
            targets: BTreeMap::new(),
            retracted_mm: 0.0,
            moved: false,
            since: Some(now.mono),
            cooled: true,
            by_firmware: true,
        });
        self.job_event(JobEvent::Paused { uid, why });
        self.set_phase(Phase::Paused(why));
    }

    /// The firmware goes on by itself.
    pub(super) fn resumed_by_firmware(&mut self, _now: Now) {
        let by_firmware = self.saved.as_ref().is_some_and(|s| s.by_firmware);
        if !by_firmware || !matches!(self.phase, Phase::Paused(_) | Phase::Resuming) {
            return;
        }
        self.saved = None;
        self.phase = Phase::Printing;
        if let Some(job) = &mut self.job {
            job.resuming = true;
        }
    }

    /// A long pause: the nozzle goes off, remembered for the resume.
    pub(super) fn pause_tick(&mut self, now: Now) {
        let Some(due) = self.pause_deadline() else { return };
        if now.mono < due {
            return;
        }
        let Some(saved) = &mut self.saved else { return };
        saved.cooled = true;
        let tools: Vec<Heater> = saved
            .targets
            .keys()
            .copied()
            .filter(|h| matches!(h, Heater::Tool(_)))
            .collect();
        for tool in tools {
            let steps = set_target(tool, 0.0);
            self.then(steps);
        }
    }

    pub(super) fn pause_deadline(&self) -> Option<Instant> {
        let Phase::Paused(_) = self.phase else { return None };
        let saved = self.saved.as_ref()?;
        // A person may be waiting with filament in hand: there the firmware owns the heaters.
        if saved.cooled || saved.by_firmware {
            return None;
        }
        Some(saved.since? + self.settings.pause_nozzle_off?)
    }
}

/// The line that sets a target without waiting.
pub fn set_target(heater: Heater, target_c: f32) -> Option<Step> {
    match heater {
        Heater::Tool(tool) => Some(Step::made(format!("M104 T{tool} S{target_c}"))),
        Heater::Bed => Some(Step::made(format!("M140 S{target_c}"))),
        Heater::Chamber => Some(Step::made(format!("M141 S{target_c}"))),
        _ => None,
    }
}

/// A coordinate as text: five places, no tail of zeros.
fn mm(value: f64) -> String {
    let text = format!("{value:.5}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.is_empty() || text == "-0" {
        "0".to_owned()
    } else {
        text.to_owned()
    }
}
