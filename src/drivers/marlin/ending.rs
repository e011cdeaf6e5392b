//! The ends of a job that are not its last line: cancel, failure, heaters off, stop of the daemon.

use std::time::{Duration, Instant};

use super::faults;
use super::history::Tag;
use super::memory_record::Record;
use super::proto::{Marlin, Output, Phase};
use super::script::{Mark, Step};
use super::sender::Trouble;
use super::settings::EXTRUDE_MIN_C;
use super::silence::Patience;
use crate::drivers::StopMode;
use crate::printer::command::RequestId;
use crate::printer::event::JobEvent;
use crate::printer::fault::Fault;
use crate::printer::model::{Heater, Now, PauseReason};
use crate::printer::notice::Level;
use crate::printer::outcome::{Missing, Outcome};

impl Marlin {
    /// Tools that may be hot: what the firmware counts, or what it reported.
    fn tools(&self) -> u8 {
        let seen = self
            .warmth
            .keys()
            .filter_map(|h| match h {
                Heater::Tool(n) => Some(n + 1),
                _ => None,
            })
            .max()
            .unwrap_or(1);
        self.caps.tools.unwrap_or(1).max(seen).min(8)
    }

    /// Heaters first, everything else later.
    pub(super) fn cold_steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let tools = self.tools();
        if tools == 1 {
            steps.push(Step::fixed("M104 S0"));
        } else {
            steps.extend((0..tools).map(|t| Step::made(format!("M104 T{t} S0"))));
        }
        steps.push(Step::fixed("M140 S0"));
        if self.warmth.contains_key(&Heater::Chamber) && !self.caps.lacks("CHAMBER_TEMPERATURE") {
            steps.push(Step::fixed("M141 S0"));
        }
        steps
    }

    pub(super) fn cancel(&mut self, now: Now, id: Option<RequestId>) {
        let Some(job) = &mut self.job else {
            if self.outside.running() {
                self.cancel_outside();
                if let Some(id) = id {
                    self.reply(id, Outcome::Sent);
                }
            } else if let Some(id) = id {
                self.reply(
                    id,
                    Outcome::refused("refused/no-job", "There is no print to cancel."),
                );
            }
            return;
        };
        if self.phase == Phase::Cancelling {
            if let Some(id) = id {
                self.reply(
                    id,
                    Outcome::refused("refused/wrong-state", "It is being cancelled already."),
                );
            }
            return;
        }
        let superseded = [job.start_reply.take(), job.reply.take()];
        job.reply = id;
        job.resuming = false;
        for id in superseded.into_iter().flatten() {
            self.reply(
                id,
                Outcome::refused("refused/superseded", "The print was cancelled meanwhile."),
            );
        }
        self.program.clear();
        self.out.push_back(Output::CloseProgram);
        self.script.clear();
        self.end_firmware_wait(now);
        self.out.push_back(Output::Record(Record::Leaving));
        self.set_phase(Phase::Cancelling);
        let mut steps = self.cold_steps();
        steps.extend([
            Step::fixed("M106 S0"),
            Step::Await,
            Step::fixed("M105"),
            Step::Await,
        ]);
        steps.push(Step::Cold { until: None });
        steps.push(Step::Mark(Mark::Cancelled));
        self.then(steps);
    }

    /// Ends a wait of the firmware for heat or for a person, so that our own lines are read.
    fn end_firmware_wait(&mut self, now: Now) {
        if matches!(self.sender.patience(), Patience::Heating | Patience::Person) {
            // Unnumbered: without an emergency parser a numbered M108 is not recognised.
            self.sender.push_loose(now.mono, b"M108", true);
        }
    }

    pub(super) fn cancelled(&mut self, now: Now) {
        let away = self.leave_part();
        let Some(job) = self.job.take() else { return };
        let uid = job.start.uid;
        let verified = self.all_targets_zero();
        let filament_mm = Some(self.track.filament_mm.clone());
        self.out.push_back(Output::Record(Record::End));
        self.job_event(JobEvent::Cancelled { uid, filament_mm });
        if let Some(id) = job.reply {
            let outcome = if verified {
                Outcome::Verified
            } else {
                Outcome::Unverified {
                    waited: Duration::from_secs(10),
                    missing: Missing::Effect,
                }
            };
            self.reply(id, outcome);
        }
        self.saved = None;
        self.then(away);
        self.idle_heat.job_ends(now.mono, &self.warmth);
        self.set_phase(Phase::Idle);
        if self.stopping == Some(StopMode::Cancel) {
            self.then([Step::Mark(Mark::MayStop)]);
        }
    }

    /// Off the part, then motors off. Z stays powered: belt-driven beds would drop.
    fn leave_part(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = self.release_motors().into_iter().collect();
        if !self.settings.gcode.cancel.is_empty() {
            steps.extend(self.moment_steps(&self.settings.gcode.cancel));
            if self.uses_print_timer() {
                steps.push(Step::fixed("M77"));
            }
            return steps;
        }
        if self.track.inches {
            steps.push(Step::fixed("G21"));
        }
        let moved_away = self.saved.as_ref().is_some_and(|s| s.moved);
        if self.track.homed && !moved_away {
            let hot = self
                .warmth
                .get(&Heater::Tool(self.track.tool))
                .is_some_and(|w| w.actual_c >= EXTRUDE_MIN_C);
            if hot && self.track.extruded {
                steps.push(Step::fixed("M83"));
                steps.push(Step::fixed("G1 E-2 F1800"));
            }
            let z = self.track.xyz().get(2).copied().flatten();
            let room = match (z, self.settings.height_mm()) {
                (Some(z), Some(height)) => f64::from(height) - z,
                _ => 10.0,
            };
            if room >= 5.0 {
                steps.extend([Step::fixed("G91"), Step::fixed("G1 Z5 F600")]);
            }
        }
        steps.push(Step::fixed("G90"));
        if self.uses_print_timer() {
            steps.push(Step::fixed("M77"));
        }
        steps.push(Step::fixed("M84 X Y E"));
        steps
    }

    /// The job ends by a fault while the printer still answers: heaters off follows.
    pub(super) fn fail_job(&mut self, now: Now, fault: Fault) {
        if self.job.is_none() {
            return;
        }
        self.notice(now, &fault, Level::Error);
        let motors = self.release_motors();
        self.end_job_as_failed(now, fault);
        self.script.clear();
        self.end_firmware_wait(now);
        let mut steps = self.cold_steps();
        steps.extend(motors);
        self.then(steps);
        if self.phase != Phase::Hello {
            self.set_phase(Phase::Idle);
        }
    }

    /// Sending cannot go on: the job ends in words, and the session with it.
    pub(super) fn trouble(&mut self, now: Now, trouble: Trouble) {
        if self.hung_up {
            return;
        }
        let fault = match trouble {
            Trouble::Silent => faults::SILENT,
            Trouble::NoOk => faults::NO_OK,
            Trouble::Stuck(n) => faults::STUCK.with_raw(self.sender.text(n)),
            Trouble::OutOfStep(n) => faults::OUT_OF_STEP.with_raw(format!("Resend: {n}")),
            Trouble::Unreadable(n) => faults::UNREADABLE.with_raw(self.sender.text(n)),
            Trouble::Reset => {
                self.printer_reset(now);
                return;
            }
        };
        self.end_job_as_failed(now, fault.clone());
        if trouble == Trouble::NoOk {
            self.end_card_writing(now.mono);
        }
        self.last_words();
        self.hangup(fault);
    }

    /// `N28 …` may have been damaged to `M28 …`: what follows, heaters off too, would be written to the
    /// card. Harmless when nothing is written.
    pub(super) fn end_card_writing(&mut self, now: Instant) {
        self.sender.push_loose(now, b"M29", true);
    }

    /// Heaters-off attempted on a link that may be dead, before it is closed.
    pub(super) fn last_words(&mut self) {
        let tx = &mut self.sender.tx;
        tx.extend_from_slice(b"M104 S0\nM140 S0\n");
    }

    /// Tells that the job failed. Nothing is sent.
    pub(super) fn end_job_as_failed(&mut self, now: Now, fault: Fault) {
        self.tell_place();
        let Some(job) = self.job.take() else { return };
        self.program.clear();
        self.out.push_back(Output::CloseProgram);
        self.out.push_back(Output::Record(Record::End));
        for id in [job.start_reply, job.reply].into_iter().flatten() {
            let outcome = Outcome::Rejected {
                by_printer: fault.raw.clone().unwrap_or_default(),
                fault: Some(fault.clone()),
            };
            self.reply(id, outcome);
        }
        let filament_mm = Some(self.track.filament_mm.clone());
        self.saved = None;
        self.resume_is_settled();
        self.job_event(JobEvent::Failed {
            uid: job.start.uid,
            fault,
            filament_mm,
        });
        self.idle_heat.job_ends(now.mono, &self.warmth);
    }

    /// The link went away: a running job has failed with it. Called by the shell before it ends the
    /// session.
    pub fn link_lost(&mut self, now: Now, fault: &Fault) {
        if let Some(uid) = self.adopting_uid() {
            self.adopting = None;
            self.interrupted(uid);
        }
        let fault = if self.job.is_some() {
            faults::LOST.with_raw(fault.what.to_string())
        } else {
            fault.clone()
        };
        if self.outside.running() {
            self.outside_ended(crate::printer::event::OutsideEnd::Failed);
        }
        self.end_job_as_failed(now, fault);
        self.users.refuse_all(&mut self.out, "The connection was lost.");
    }

    /// All heaters to 0.
    pub(super) fn heaters_off(&mut self, _now: Now, id: Option<RequestId>) {
        let mut steps = self.cold_steps();
        steps.extend([
            Step::Await,
            Step::fixed("M105"),
            Step::Await,
            Step::Cold { until: None },
        ]);
        steps.push(Step::Mark(Mark::HeatersOff(id)));
        self.then(steps);
    }

    pub(super) fn heaters_are_off(&mut self, _now: Now, id: Option<RequestId>) {
        self.idle_heat.forget();
        let outcome = if self.all_targets_zero() {
            Outcome::Verified
        } else {
            Outcome::Unverified {
                waited: Duration::from_secs(10),
                missing: Missing::Effect,
            }
        };
        if let Some(id) = id {
            self.reply(id, outcome);
        }
    }

    /// The daemon is to stop.
    pub fn stop(&mut self, now: Now, mode: StopMode) {
        // A head on its way cannot be left to the next process.
        let on_its_way = matches!(
            self.phase,
            Phase::Pausing | Phase::Resuming | Phase::Cancelling | Phase::Finishing
        );
        let mode = match mode {
            StopMode::Detach if on_its_way => StopMode::Park,
            mode => mode,
        };
        self.stopping = Some(mode);
        let can_talk = !matches!(self.phase, Phase::Hello | Phase::Halted);
        match mode {
            StopMode::Detach | StopMode::Leave => self.out.push_back(Output::Stopped),
            _ if !can_talk => {
                self.last_words();
                self.out.push_back(Output::Stopped);
            }
            StopMode::Park => match (self.phase, self.job.is_some()) {
                (Phase::Printing, true) => self.begin_pause(now, PauseReason::Stopping, None),
                (Phase::Resuming, true) => self.begin_pause(now, PauseReason::Stopping, None),
                (Phase::Pausing, true) => {}
                (Phase::Finishing | Phase::Cancelling, true) => self.then([Step::Mark(Mark::MayStop)]),
                _ => self.cool_and_stop(),
            },
            StopMode::Cancel => match (self.phase, self.job.is_some()) {
                (Phase::Cancelling, true) => self.then([Step::Mark(Mark::MayStop)]),
                (_, true) => self.cancel(now, None),
                (_, false) => self.cool_and_stop(),
            },
        }
        self.pump(now);
    }

    /// Nothing stays hot without a daemon.
    pub(super) fn cool_and_stop(&mut self) {
        // What others print or heat is theirs.
        if !self.outside.running() && (self.job.is_some() || self.idle_heat.any_ours()) {
            let mut steps = self.cold_steps();
            steps.extend([
                Step::Await,
                Step::fixed("M105"),
                Step::Await,
                Step::Cold { until: None },
            ]);
            self.then(steps);
        }
        self.then([Step::Mark(Mark::MayStop)]);
    }

    pub(super) fn may_stop(&mut self, _now: Now) {
        self.tell_place();
        if let Some(job) = self.job.take() {
            self.program.clear();
            self.out.push_back(Output::CloseProgram);
            self.job_event(JobEvent::Interrupted { uid: job.start.uid });
        }
        self.out.push_back(Output::Stopped);
    }

    /// Asks for temperatures, numbered.
    pub(super) fn ask_temperatures(&mut self, now: Now) {
        self.send(now, "M105", Tag::Temps, Patience::Short);
    }
}
