//! Running one command: a short list of steps, some of which take time.

use std::collections::VecDeque;
use std::time::Duration;

use super::heat::Which;
use super::{Executed, Queued, RECORD_MAX, Sim, earliest};

/// How often a heating wait reports, and how long the temperature must hold (`TEMP_RESIDENCY_TIME`).
const WAIT_REPORT: Duration = Duration::from_secs(1);
const RESIDENCY_S: f64 = 10.0;

/// One step of a command.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Plan a move of so many seconds; waits for room in the planner.
    Room(f64),
    /// Wait until the head stands still.
    Drain,
    /// Stand still for so long.
    Pause(Duration),
    /// The same, begun.
    Until(Duration),
    /// Wait for a heater; `true`: also for coming down.
    Heat(Which, bool),
    /// The same, at temperature: hold it until then.
    Hold(Which, Duration),
    /// A line to the host.
    Say(String),
    /// The axes named in a G28 are at their ends.
    Homed(String),
    /// Wait for a person; begun when the flag is up.
    Person,
    /// The same, begun.
    PersonComes,
    /// Ask whether to purge more.
    AskPurge,
    /// See what was pressed.
    PurgeAnswer,
}

/// The command at work.
#[derive(Debug)]
pub(super) struct Running {
    pub command: Queued,
    pub steps: VecDeque<Step>,
    /// The line instead of a plain `ok`.
    pub ok: Option<String>,
}

impl Sim {
    /// Goes on with the work; `false` when nothing can be done before time passes.
    pub(super) fn work(&mut self) -> bool {
        let Some(mut running) = self.running.take() else {
            return self.begin();
        };
        self.planner.retire(self.now);
        let mut moved = false;
        while let Some(step) = running.steps.pop_front() {
            match self.step(step, &mut running.steps) {
                Some(waiting) => {
                    running.steps.push_front(waiting);
                    self.running = Some(running);
                    return moved;
                }
                None => moved = true,
            }
            if self.killed {
                return true;
            }
        }
        self.finish(running);
        true
    }

    fn begin(&mut self) -> bool {
        let Some(command) = self.queue.pop_front() else {
            return false;
        };
        self.heat_wait_over = false;
        let interval = self.keepalive;
        if !interval.is_zero() && self.busy_at <= self.now {
            // A free-running clock: the first busy line comes at its next tick.
            let missed = (self.now - self.busy_at).as_nanos() / interval.as_nanos().max(1) + 1;
            self.busy_at += interval.saturating_mul(u32::try_from(missed).unwrap_or(u32::MAX));
        }
        let (steps, ok) = self.execute(&command.text);
        if self.killed {
            return true;
        }
        self.running = Some(Running {
            command,
            steps: steps.into(),
            ok,
        });
        true
    }

    /// One step: `None` when done, else the step to go on with later.
    fn step(&mut self, step: Step, rest: &mut VecDeque<Step>) -> Option<Step> {
        match step {
            Step::Room(seconds) => {
                if self.planner.is_full() {
                    return Some(Step::Room(seconds));
                }
                let takes = self.scaled(seconds);
                self.planner.push(self.now, takes);
                self.motion
                    .stay_awake(self.planner.last_end().unwrap_or(self.now));
            }
            Step::Drain => {
                if !self.planner.is_empty() {
                    return Some(Step::Drain);
                }
            }
            Step::Pause(time) => rest.push_front(Step::Until(self.now + time)),
            Step::Until(at) => {
                if self.now < at {
                    return Some(Step::Until(at));
                }
                self.motion.stay_awake(self.now);
            }
            Step::Heat(which, cooling) => {
                if std::mem::take(&mut self.heat_wait_over) {
                    return None;
                }
                // The firmware keeps the motors awake while it waits for heat.
                self.motion.stay_awake(self.now);
                if !self.heaters.reached(which, cooling) {
                    self.report_wait("W:?");
                    return Some(Step::Heat(which, cooling));
                }
                let hold = self.scaled(RESIDENCY_S);
                rest.push_front(Step::Hold(which, self.now + hold));
            }
            Step::Hold(which, until) => {
                if self.now < until && !std::mem::take(&mut self.heat_wait_over) {
                    let left = (until - self.now).as_secs();
                    self.report_wait(&format!("W:{left}"));
                    return Some(Step::Hold(which, until));
                }
            }
            Step::Say(line) => self.say(&line),
            Step::Homed(command) => {
                self.motion.home(&command);
                self.motion.stay_awake(self.now);
                let line = self.motion.line();
                self.say(&line);
            }
            Step::Person => {
                self.waiting_for_user = true;
                self.prompt_answer = None;
                rest.push_front(Step::PersonComes);
            }
            Step::PersonComes => {
                if self.waiting_for_user {
                    return Some(Step::PersonComes);
                }
            }
            Step::AskPurge => {
                for step in self.ask_purge().into_iter().rev() {
                    rest.push_front(step);
                }
            }
            Step::PurgeAnswer => {
                for step in self.purge_answer().into_iter().rev() {
                    rest.push_front(step);
                }
            }
        }
        None
    }

    fn report_wait(&mut self, wait: &str) {
        if self.now >= self.wait_report_at {
            self.wait_report_at = self.now + WAIT_REPORT;
            let line = format!(" {} {wait}", self.heaters.line());
            self.say(&line);
        }
    }

    pub(super) fn step_deadline(&self, running: &Running) -> Option<Duration> {
        match running.steps.front()? {
            Step::Room(_) => self.planner.next_end(),
            Step::Drain => self.planner.last_end(),
            Step::Until(at) => Some(*at),
            Step::Heat(which, _) => earliest([
                Some(self.wait_report_at),
                self.heaters.reached_at(*which, self.now),
            ]),
            Step::Hold(_, until) => Some((*until).min(self.wait_report_at)),
            Step::PersonComes => None,
            _ => Some(self.now),
        }
    }

    fn finish(&mut self, running: Running) {
        let Running { command, ok, .. } = running;
        if command.answered {
            let line = match ok {
                Some(line) => line,
                None if self.options.advanced_ok => self.advanced_ok(command.number),
                None => "ok".to_owned(),
            };
            self.say_ok(&line);
        }
        self.executed_count += 1;
        if self.executed.len() < RECORD_MAX {
            self.executed.push(Executed {
                number: command.number,
                text: command.text,
                position: self.motion.position(),
            });
        }
        let count = self.executed_count;
        if self.options.schedule.iter().any(|(at, _)| *at == count) {
            let due = self.options.schedule.clone();
            for (_, injection) in due.into_iter().filter(|(at, _)| *at == count) {
                self.apply(injection);
            }
        }
    }

    /// `ok N12 P15 B3`: line, free planner blocks, free command slots.
    fn advanced_ok(&self, number: Option<i64>) -> String {
        let number = number.map(|n| format!(" N{n}")).unwrap_or_default();
        let slots = super::QUEUE_MAX.saturating_sub(self.queue.len() + 1);
        format!("ok{number} P{} B{slots}", self.planner.free())
    }
}
