//! Resume: heat and wait, prime, back to the place, modes as they were. Nothing moves before it is warm.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::faults;
use super::memory_record::Record;
use super::pause::{FirmwareWait, MOTORS_TIMEOUT_S, PARK_SPEED, Saved, mm, set_target};
use super::proto::{Marlin, Output, Phase};
use super::script::{Mark, Step};
use crate::printer::command::RequestId;
use crate::printer::event::JobEvent;
use crate::printer::model::{Heater, Now, PauseReason};
use crate::printer::notice::Level;
use crate::printer::outcome::Outcome;
use crate::sorted::SortedMap;

/// Below this much room over the part the head cannot be homed without touching it, mm.
const HOMING_ROOM_MM: f32 = 1.0;

impl Marlin {
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
        let slept = self.may_have_slept(now);
        let refusal = match &self.saved {
            None => Some(("refused/wrong-state", "There is nothing to resume.")),
            Some(saved) if slept && !saved.can_home_again() => Some((
                "refused/motors-slept",
                "The motors were without current for so long that the head may have moved, and it \
                 cannot be homed over this print. Cancel it, or take it up again with `layerd recover`.",
            )),
            Some(_) => None,
        };
        if let Some((code, text)) = refusal {
            self.reply(id, Outcome::refused(code, text));
            return;
        }
        let Some(saved) = &mut self.saved else { return };
        // From here on the nozzle heats again: the patience with a hot one begins anew.
        saved.since = Some(now.mono);
        saved.cooled = false;
        // A fan that was tuned in the pause stays as it was tuned.
        saved.track.fans = self.track.fans;
        let saved = saved.clone();
        if let Some(job) = &mut self.job {
            job.reply = Some(id);
        }
        if saved.firmware.is_some() {
            // The firmware owns the head: its own wait is ended.
            self.let_firmware_go_on(now);
            self.set_phase(Phase::Resuming);
            return;
        }
        if slept {
            self.notice(now, &faults::MOTORS_SLEPT, Level::Warning);
        }
        self.set_phase(Phase::Resuming);
        let steps = self.way_back(&saved, slept);
        self.then(steps);
    }

    /// Where the firmware cannot be told to hold the motors, they may have slept in a long pause.
    fn may_have_slept(&self, now: Now) -> bool {
        let Some(saved) = self.saved.as_ref().filter(|s| s.firmware.is_none()) else {
            return false;
        };
        if self.quirks.holds_motors {
            return false;
        }
        let awake = saved.track.motors_timeout_s.unwrap_or(MOTORS_TIMEOUT_S);
        // 0: the program itself had switched the timeout off.
        let awake = Duration::from_secs(u64::from(awake));
        let stood = stood_for((saved.since, saved.since_wall), now);
        !awake.is_zero() && stood >= awake
    }

    /// Reheat and wait, prime, approach, restore modes.
    fn way_back(&self, saved: &Saved, home: bool) -> Vec<Step> {
        let mut steps = Vec::new();
        for (heater, target) in &saved.targets {
            steps.extend(set_target(*heater, *target));
        }
        // What was read before the targets were set says nothing about a nozzle that was off.
        steps.extend([Step::fixed("M105"), Step::Await]);
        steps.push(Step::Heat {
            targets: saved.targets.clone(),
            until: None,
        });
        steps.push(Step::Mark(Mark::Warm));
        if self.quirks.holds_motors {
            let timeout = saved.track.motors_timeout_s.unwrap_or(MOTORS_TIMEOUT_S);
            steps.push(Step::made(format!("M84 S{timeout}")));
        }
        if home && saved.track.homed {
            steps.push(Step::fixed("G28 X Y"));
        }
        steps.extend(self.moment_steps(&self.settings.gcode.resume));
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
        if t.inches {
            steps.push(Step::fixed("G20"));
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

    /// Warm again: from here on the head moves, and a process that is killed now leaves it anywhere.
    pub(super) fn warm_again(&mut self) {
        self.out.push_back(Output::Record(Record::Leaving));
        self.reports.in_run = false;
    }

    pub(super) fn back_in_place(&mut self, now: Now) {
        let mut again = None;
        if let Some(saved) = self.saved.take() {
            let fans = self.track.fans;
            again = saved.again.map(|actions| (saved.why, actions));
            self.track = saved.track;
            self.track.fans = fans;
        }
        self.phase = Phase::Printing;
        if let Some((why, actions)) = again {
            let id = self.job.as_mut().and_then(|job| job.reply.take());
            self.begin_pause_as(now, why, id, actions);
            return;
        }
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
    pub(super) fn paused_by_firmware(&mut self, now: Now, why: PauseReason, over_with: Option<u32>) {
        let Some(job) = &mut self.job else { return };
        let uid = job.start.uid;
        if !matches!(self.phase, Phase::Printing) {
            return;
        }
        self.saved = Some(Saved {
            why,
            track: self.track.clone(),
            position: self.position,
            targets: SortedMap::new(),
            retracted_mm: 0.0,
            moved: false,
            lifted_mm: 0.0,
            since: Some(now.mono),
            since_wall: Some(now.wall),
            cooled: true,
            firmware: Some(FirmwareWait { over_with }),
            again: None,
            actions: self.settings.pause,
        });
        self.job_event(JobEvent::Paused { uid, why });
        self.set_phase(Phase::Paused(why));
    }

    /// The firmware goes on by itself.
    pub(super) fn resumed_by_firmware(&mut self, _now: Now) {
        let by_firmware = self.saved.as_ref().is_some_and(|s| s.firmware.is_some());
        if !by_firmware || !matches!(self.phase, Phase::Paused(_) | Phase::Resuming) {
            return;
        }
        self.saved = None;
        self.phase = Phase::Printing;
        if let Some(job) = &mut self.job {
            job.resuming = true;
        }
    }

    /// A line was acknowledged: the firmware's own pause may have been over before it.
    pub(super) fn acked_in_firmware_pause(&mut self, now: Now, number: u32) {
        let wait = self.saved.as_ref().and_then(|s| s.firmware);
        if wait.and_then(|w| w.over_with).is_some_and(|n| number >= n) {
            self.person_done();
            self.resumed_by_firmware(now);
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
        if saved.cooled || saved.firmware.is_some() {
            return None;
        }
        let due = saved.since? + self.settings.pause_nozzle_off?;
        Some(self.idle_heat.keep_until.map_or(due, |until| due.max(until)))
    }

    /// The firmware's own timeout of the motors, as it was before a pause that does not end in a resume.
    pub(super) fn release_motors(&self) -> Option<Step> {
        let saved = self.saved.as_ref()?;
        if !self.quirks.holds_motors || saved.firmware.is_some() {
            return None;
        }
        let timeout = saved
            .track
            .motors_timeout_s
            .or(self.track.motors_timeout_s)
            .unwrap_or(MOTORS_TIMEOUT_S);
        Some(Step::made(format!("M84 S{timeout}")))
    }
}

impl Saved {
    /// Whether homing X and Y gives the program's coordinates back without touching the part.
    fn can_home_again(&self) -> bool {
        // A coordinate system that the program had shifted is gone with homing.
        !self.track.homed || (self.lifted_mm >= HOMING_ROOM_MM && !self.track.shifted)
    }
}

/// How long the head has been parked: by the wall clock, for the process may be another one by now, and by the other,
/// which nobody can set. A wall clock that was set back says nothing: then it was for long.
fn stood_for((since, since_wall): (Option<Instant>, Option<Timestamp>), now: Now) -> Duration {
    let by_wall = since_wall.map_or(Duration::MAX, |since| {
        let ms = now.wall.as_millisecond() - since.as_millisecond();
        u64::try_from(ms).map_or(Duration::MAX, Duration::from_millis)
    });
    let seen = since.map(|since| now.mono.saturating_duration_since(since));
    by_wall.max(seen.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_does_not_make_a_long_pause_short() {
        let start = Instant::now();
        let wall = |s: i64| Timestamp::from_second(1_700_000_000 + s).expect("in range");
        let stood = |mono_s: u64, wall_s: i64, since_wall| {
            let now = Now {
                mono: start + Duration::from_secs(mono_s),
                wall: wall(wall_s),
            };
            stood_for((Some(start), since_wall), now)
        };
        let parked = Some(wall(0));
        assert_eq!(stood(60, 60, parked), Duration::from_secs(60));
        assert_eq!(
            stood(600, 30, parked),
            Duration::from_secs(600),
            "set back a little"
        );
        assert_eq!(stood(600, -86_400, parked), Duration::MAX, "set back a day");
        // Of the process before only the wall clock is known.
        assert_eq!(stood(1, 900, parked), Duration::from_secs(900));
        assert_eq!(stood(1, 900, None), Duration::MAX);
    }
}
