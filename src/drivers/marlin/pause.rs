//! Pause: standing still in a way that a print can go on from (see `resume`).

use std::time::Instant;

use jiff::Timestamp;

use super::memory_record::Record;
use super::pause_record::PauseRecord;
use super::proto::{Marlin, Output, Phase};
use super::script::{Mark, Step};
use super::settings::{EXTRUDE_MIN_C, PauseActions};
use super::track::Track;
use crate::drivers::StopMode;
use crate::printer::command::RequestId;
use crate::printer::event::JobEvent;
use crate::printer::model::{Heater, Now, PauseReason, Position};
use crate::printer::outcome::Outcome;
use crate::printer::pause_wishes::PauseWishes;
use crate::sorted::SortedMap;

/// Marlin's own default for the motors' timeout, s; restored when the program set none.
pub(super) const MOTORS_TIMEOUT_S: u32 = 120;

/// Speed of parking moves, mm/min.
pub(super) const PARK_SPEED: u32 = 6000;

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
    pub targets: SortedMap<Heater, f32>,
    /// Pulled back so far, mm.
    pub retracted_mm: f32,
    /// The head was moved away.
    pub moved: bool,
    /// Lifted over the part, mm.
    pub lifted_mm: f32,
    /// Since when it stands, or since when its nozzle is hot again.
    pub since: Option<Instant>,
    /// When it was parked, by the clock on the wall: that goes on between two processes.
    pub since_wall: Option<Timestamp>,
    /// The nozzle was switched off meanwhile.
    pub cooled: bool,
    /// The firmware paused by itself and resumes by itself.
    pub firmware: Option<FirmwareWait>,
    /// A pause was asked for on the way back: stand still again once the head is in place.
    pub again: Option<PauseActions>,
    /// What this pause does beside standing still.
    pub actions: PauseActions,
}

/// A pause of the firmware's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirmwareWait {
    /// It is over when this line is acknowledged at the latest; `None`: only the firmware's word counts.
    pub over_with: Option<u32>,
}

impl Marlin {
    pub(super) fn pause(&mut self, now: Now, id: RequestId, wishes: PauseWishes) {
        match (self.phase, &mut self.job) {
            (Phase::Printing | Phase::Resuming, Some(_)) => {
                let actions = self.settings.pause.with(&wishes);
                self.idle_heat.keep_until = wishes.keep_warm.map(|time| now.mono + time);
                self.begin_pause_as(now, PauseReason::Requested, Some(id), actions);
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

    /// No more lines of the program; stop, capture, park as the settings say.
    pub(super) fn begin_pause(&mut self, now: Now, why: PauseReason, id: Option<RequestId>) {
        self.begin_pause_as(now, why, id, self.settings.pause);
    }

    /// The same in a manner of its own.
    pub(super) fn begin_pause_as(
        &mut self,
        now: Now,
        why: PauseReason,
        id: Option<RequestId>,
        actions: PauseActions,
    ) {
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
        let still_heating = self.script.iter().any(|s| matches!(s, Step::Heat { .. }));
        if let Some(saved) = self.saved.as_mut().filter(|s| resuming && s.firmware.is_none()) {
            saved.why = why;
            if !still_heating {
                // The head is on its way back and the filament primed: that is finished first, or the
                // next resume would prime once more and know a wrong place.
                saved.again = Some(actions);
                self.set_phase(Phase::Pausing);
                return;
            }
            // Nothing has moved: it stands as it stood.
            saved.actions = actions;
            self.out.push_back(Output::Record(Record::Leaving));
            self.reports.in_run = false;
            self.script.clear();
            self.set_phase(Phase::Pausing);
            self.then([
                Step::fixed("M400"),
                Step::fixed("M105"),
                Step::Await,
                Step::Mark(Mark::Parked),
            ]);
            return;
        }
        let _ = now;
        self.out.push_back(Output::Record(Record::Leaving));
        self.reports.in_run = false;
        // A wait for heat of the program's own is taken up again by the resume.
        self.script.retain(|step| !matches!(step, Step::Heat { .. }));
        self.saved = Some(Saved {
            why,
            track: Track::default(),
            position: None,
            targets: SortedMap::new(),
            retracted_mm: 0.0,
            moved: false,
            lifted_mm: 0.0,
            since: None,
            since_wall: None,
            cooled: false,
            firmware: None,
            again: None,
            actions,
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
        // Only now: a target that the program had just set was not in the reports before.
        let targets = self
            .warmth
            .iter()
            .filter_map(|(heater, w)| Some((*heater, w.target_c.filter(|t| *t > 0.0)?)))
            .collect();
        let actions = self.saved.as_ref().map_or(self.settings.pause, |s| s.actions);
        let retract = actions.retract_mm;
        let lift = self.lift_mm(&actions, &track, position);
        let park = self.settings.park_mm(&actions).filter(|_| track.homed);
        let own = self.moment_steps(&self.settings.gcode.pause);
        let timer = self.uses_print_timer();
        let Some(saved) = &mut self.saved else { return };
        saved.position = position;
        saved.targets = targets;
        saved.track = track;
        let mut steps = Vec::new();
        if timer {
            steps.push(Step::fixed("M76"));
        }
        if saved.track.inches {
            steps.push(Step::fixed("G21"));
        }
        if hot && retract > 0.0 && saved.track.extruded {
            saved.retracted_mm = retract;
            steps.push(Step::fixed("M83"));
            steps.push(Step::made(format!("G1 E-{retract} F1800")));
        }
        if saved.track.homed {
            if lift > 0.0 {
                saved.moved = true;
                saved.lifted_mm = lift;
                steps.push(Step::fixed("G91"));
                steps.push(Step::made(format!("G1 Z{lift} F600")));
            }
            steps.push(Step::fixed("G90"));
            if !own.is_empty() {
                saved.moved = true;
                steps.extend(own);
            } else if let Some((x, y)) = park
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
    fn lift_mm(&self, actions: &PauseActions, track: &Track, position: Option<Position>) -> f32 {
        let wanted = actions.lift_mm;
        let [_, _, z] = track.xyz();
        let z = z.map(|z| z as f32).or(position.and_then(|p| p.z_mm));
        match (self.settings.height_mm(), z) {
            (Some(height), Some(z)) => wanted.min((height - z).max(0.0)),
            (_, None) => 0.0,
            (None, Some(_)) => wanted,
        }
    }

    pub(super) fn parked(&mut self, now: Now) {
        let stops = self.stopping == Some(StopMode::Park);
        let (mut why, mut cool) = (PauseReason::Requested, Vec::new());
        if let Some(saved) = &mut self.saved {
            saved.since = Some(now.mono);
            saved.since_wall.get_or_insert(now.wall);
            why = saved.why;
            let actions = saved.actions;
            // Whoever changes filament needs a hot nozzle.
            let hands_in = matches!(why, PauseReason::FilamentChange | PauseReason::Runout);
            let nozzle = actions.cool_nozzle && !hands_in && !stops;
            saved.cooled = nozzle;
            cool.extend(saved.targets.keys().copied().filter(|heater| match heater {
                Heater::Tool(_) => nozzle,
                Heater::Bed => actions.cool_bed && !stops,
                _ => false,
            }));
        }
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
        for heater in cool {
            let step = set_target(heater, 0.0);
            self.then(step);
        }
        self.job_event(JobEvent::Paused { uid, why });
        self.set_phase(Phase::Paused(why));
        self.ask_to_resume(now, why);
        if let Some(id) = reply {
            self.reply(id, Outcome::Verified);
        }
        if stops {
            self.cool_and_stop();
        }
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
pub(super) fn mm(value: f64) -> String {
    let text = format!("{value:.5}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.is_empty() || text == "-0" {
        "0".to_owned()
    } else {
        text.to_owned()
    }
}
