//! Our own sequences of lines: sent in order, with waits between them that can always be cancelled.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use super::confirm::Confirm;
use super::history::Tag;
use super::proto::Marlin;
use super::silence;
use crate::printer::command::RequestId;
use crate::printer::model::{Heater, Now};
use crate::sorted::SortedMap;

/// How near to its target a heater has to be, °C.
const REACHED_WITHIN_C: f32 = 3.0;

/// Longest wait for heat.
pub const HEAT_LIMIT: Duration = Duration::from_secs(15 * 60);

/// Longest wait for targets to read 0 after they were set.
const COLD_LIMIT: Duration = Duration::from_secs(10);

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Send this.
    Line(Cow<'static, str>),
    /// Wait until everything sent is acknowledged.
    Await,
    /// Wait until the printer itself names the last line sent as the last it took.
    Confirm(Confirm),
    /// Begin numbering anew from 1.
    Renumber,
    /// Wait until these temperatures are reached. `until`: set when the wait begins.
    Heat {
        /// °C.
        targets: SortedMap<Heater, f32>,
        /// End of patience.
        until: Option<Instant>,
    },
    /// Wait until all targets read 0.
    Cold {
        /// End of patience.
        until: Option<Instant>,
    },
    /// Do this.
    Mark(Mark),
}

/// What happens at a point of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The handshake is over.
    Ready,
    /// Standing still before a pause: the state is captured.
    Stopped,
    /// Parked.
    Parked,
    /// Warm again; now the head moves.
    Warm,
    /// Back in place; the program goes on.
    Resumed,
    /// Heaters are off after a cancel.
    Cancelled,
    /// The last move of the program is done.
    Done,
    /// Heaters are off, as this request wanted.
    HeatersOff(Option<RequestId>),
    /// Parked and cold: the daemon may stop.
    MayStop,
}

impl Step {
    /// A fixed line.
    pub const fn fixed(text: &'static str) -> Self {
        Step::Line(Cow::Borrowed(text))
    }

    /// A line made up on the spot.
    pub fn made(text: String) -> Self {
        Step::Line(Cow::Owned(text))
    }
}

impl Marlin {
    /// Adds steps at the end.
    pub(super) fn then(&mut self, steps: impl IntoIterator<Item = Step>) {
        self.script.extend(steps);
    }

    /// Whether lines of people may go out before the script is over.
    pub(super) fn users_may_go(&self) -> bool {
        matches!(self.script.front(), None | Some(Step::Heat { .. }))
    }

    /// Does the next step. `false`: it has to wait, or there is none.
    pub(super) fn next_step(&mut self, now: Now) -> bool {
        let Some(step) = self.script.front_mut() else {
            return false;
        };
        match step {
            Step::Line(text) => {
                let text = std::mem::take(text);
                self.script.pop_front();
                let patience = silence::patience(text.as_bytes());
                // The answer to M105 is the one `ok` that cannot be mistaken for another.
                let tag = if text == "M105" { Tag::Temps } else { Tag::Step };
                self.send(now, &text, tag, patience);
                true
            }
            Step::Await => {
                let done = self.sender.is_idle();
                if done {
                    self.script.pop_front();
                }
                done
            }
            Step::Confirm(confirm) => {
                let confirm = *confirm;
                self.confirm(now, confirm)
            }
            Step::Renumber => {
                if !self.sender.is_idle() {
                    return false;
                }
                self.script.pop_front();
                self.sender.restart(now.mono, 0);
                self.acks_seen = 0;
                self.send(now, "M110 N0", Tag::Step, silence::Patience::Short);
                true
            }
            Step::Heat { targets, until } => {
                let until = *until.get_or_insert(now.mono + HEAT_LIMIT);
                let targets = targets.clone();
                if self.reached(&targets) {
                    self.script.pop_front();
                    return true;
                }
                if now.mono >= until {
                    self.script.pop_front();
                    self.heat_timed_out(now);
                    return true;
                }
                false
            }
            Step::Cold { until } => {
                let until = *until.get_or_insert(now.mono + COLD_LIMIT);
                let cold = self.all_targets_zero();
                if cold || now.mono >= until {
                    self.script.pop_front();
                    return true;
                }
                false
            }
            Step::Mark(mark) => {
                let mark = *mark;
                self.script.pop_front();
                self.mark(now, mark);
                true
            }
        }
    }

    fn reached(&self, targets: &SortedMap<Heater, f32>) -> bool {
        targets.iter().all(|(heater, target)| {
            *target <= 0.0
                || self
                    .warmth
                    .get(heater)
                    .is_none_or(|w| w.actual_c >= target - REACHED_WITHIN_C)
        })
    }

    /// Whether every reported target is 0.
    pub(super) fn all_targets_zero(&self) -> bool {
        self.warmth.values().all(|w| w.target_c.is_none_or(|t| t <= 0.0))
    }

    /// Whether the script waits for temperatures, so that they are asked for often.
    pub(super) fn waits_for_heat(&self) -> bool {
        matches!(self.script.front(), Some(Step::Heat { .. } | Step::Cold { .. }))
    }

    pub(super) fn script_deadline(&self) -> Option<Instant> {
        match self.script.front() {
            Some(Step::Heat { until, .. } | Step::Cold { until }) => *until,
            // Without room nothing could go out: what makes room wakes us anyway.
            Some(Step::Confirm(confirm)) if self.sender.room() => confirm.due(),
            _ => None,
        }
    }

    fn mark(&mut self, now: Now, mark: Mark) {
        match mark {
            Mark::Ready => self.ready(now),
            Mark::Stopped => self.stopped_moving(now),
            Mark::Parked => self.parked(now),
            Mark::Warm => self.warm_again(),
            Mark::Resumed => self.back_in_place(now),
            Mark::Cancelled => self.cancelled(now),
            Mark::Done => self.done(now),
            Mark::HeatersOff(id) => self.heaters_are_off(now, id),
            Mark::MayStop => self.may_stop(now),
        }
    }
}
