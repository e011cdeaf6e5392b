//! What a switch is to do, was seen to do, and what is remembered of it. Pure: time is an argument,
//! switching and looking are done by the shell.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::faults;
use crate::printer::fault::Fault;
use crate::printer::model::Supply;
use crate::printer::outcome::{Missing, Outcome};

/// How often the switch is looked at while nothing happens.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// An unreachable switch is looked at less often.
const LOOK_EVERY_LOST: Duration = Duration::from_secs(30);
/// Looks after switching: relays answer before their contact has moved, and some before they obey.
const LOOKS_AFTER: [Duration; 3] = [
    Duration::from_millis(200),
    Duration::from_millis(800),
    Duration::from_secs(2),
];
/// Tries of an ordinary order, and of a cut for safety.
const TRIES: u32 = 2;
const TRIES_CUT: u32 = 30;
/// Between tries.
const RETRY: Duration = Duration::from_secs(2);

/// What somebody wants of a switch.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// Supply on.
    On,
    /// Supply off; whoever gives it has seen that the printer is cool and idle.
    Off,
    /// Supply off at once, whatever the printer does, and until a person says otherwise.
    Cut(Fault),
}

/// What is kept over restarts of the daemon, so that it switches nothing on that was put off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Latch {
    /// Nothing: `on_connect` may switch on.
    #[default]
    None,
    /// A person switched it off.
    Off,
    /// It was cut for safety.
    Cut,
}

/// Number of an order.
pub type OrderId = u64;

/// What the shell has to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Tell the switch; whatever was under way is given up. Answer with [`Machine::switched`].
    Switch(bool),
    /// Look what it does. Answer with [`Machine::seen`].
    Look,
    /// An order has ended.
    Reply(OrderId, Outcome),
    /// What is known has changed, or was seen again.
    Level(Supply),
    /// Keep this for the next start of the daemon.
    Remember(Latch),
}

#[derive(Clone, Debug)]
struct Task {
    on: bool,
    cut: bool,
    ids: Vec<OrderId>,
    tries: u32,
    looks: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Resting { until: Instant },
    Retrying { at: Instant },
    Switching,
    Settling { until: Instant },
    Looking,
}

/// The machine of one switch.
#[derive(Debug)]
pub struct Machine {
    step: Step,
    task: Option<Task>,
    latch: Latch,
    on: Option<bool>,
    fault: Option<Fault>,
    out: VecDeque<Action>,
}

impl Machine {
    /// A switch of which nothing is known but what was kept.
    pub fn new(now: Instant, latch: Latch) -> Self {
        Machine {
            step: Step::Resting { until: now },
            task: None,
            latch,
            on: None,
            fault: None,
            out: VecDeque::new(),
        }
    }

    /// What is kept.
    pub fn latch(&self) -> Latch {
        self.latch
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Action> {
        self.out.pop_front()
    }

    /// When [`Machine::tick`] is next due.
    pub fn deadline(&self) -> Option<Instant> {
        match self.step {
            Step::Resting { until } | Step::Settling { until } => Some(until),
            Step::Retrying { at } => Some(at),
            Step::Switching | Step::Looking => None,
        }
    }

    /// A new order. The newest counts; nothing but a person's "on" ends a cut.
    pub fn order(&mut self, now: Instant, id: OrderId, order: Order) {
        let (on, cut) = match &order {
            Order::On => (true, false),
            Order::Off => (false, false),
            Order::Cut(_) => (false, true),
        };
        if let Some(task) = &mut self.task
            && task.on == on
            && task.cut >= cut
        {
            // The same is being done: both get its end.
            task.ids.push(id);
            return;
        }
        if self.task.as_ref().is_some_and(|t| t.cut) {
            let text = "The supply is being cut for safety. Try again when it is off.";
            self.out
                .push_back(Action::Reply(id, Outcome::refused("refused/supply-cut", text)));
            return;
        }
        if let Some(before) = self.task.take() {
            self.answer(
                before.ids,
                &Outcome::refused("refused/superseded", "A newer order for the switch came."),
            );
        }
        let latch = match (&order, self.latch) {
            (Order::On, _) => Latch::None,
            (Order::Off, Latch::Cut) | (Order::Cut(_), _) => Latch::Cut,
            (Order::Off, _) => Latch::Off,
        };
        if latch != self.latch {
            self.latch = latch;
            self.out.push_back(Action::Remember(latch));
        }
        if let Order::Cut(fault) = order {
            self.fault = Some(faults::CUT.with_raw(fault.what.into_owned()));
            self.level(now);
        }
        self.task = Some(Task {
            on,
            cut,
            ids: vec![id],
            tries: 0,
            looks: 0,
        });
        self.switch();
    }

    /// The switch took the word, or not.
    pub fn switched(&mut self, now: Instant, result: Result<(), Fault>) {
        if self.step != Step::Switching {
            return;
        }
        match result {
            Ok(()) => self.settle(now),
            Err(fault) => self.failed(now, fault),
        }
    }

    /// What the switch was seen to do; `None`: it cannot be asked.
    pub fn seen(&mut self, now: Instant, result: Result<Option<bool>, Fault>) {
        if self.step != Step::Looking {
            return;
        }
        let wanted = self.task.as_ref().map(|t| t.on);
        match (result, wanted) {
            (Ok(seen), None) => {
                self.on = seen;
                // That it did not obey, or was cut, stays true until a person does something.
                let passing = [faults::UNREACHABLE.code, faults::NONSENSE.code];
                self.fault.take_if(|f| passing.contains(&f.code));
                self.level(now);
                self.rest(now, LOOK_EVERY);
            }
            (Ok(Some(seen)), Some(wanted)) if seen == wanted => {
                self.on = Some(seen);
                self.end(now, &Outcome::Verified);
            }
            // Told and believed, because nobody can look.
            (Ok(None), Some(_)) => {
                self.on = None;
                self.end(now, &Outcome::Sent);
            }
            (Ok(Some(seen)), Some(_)) => {
                self.on = Some(seen);
                self.level(now);
                self.look_again(now, faults::not_obeyed(!seen));
            }
            (Err(fault), None) => {
                self.on = None;
                self.fault = Some(fault);
                self.level(now);
                self.rest(now, LOOK_EVERY_LOST);
            }
            (Err(fault), Some(_)) => self.look_again(now, fault),
        }
    }

    /// What was under way was given up for a new order: it is done again, unless that order has put
    /// something else in its place.
    pub fn interrupted(&mut self) {
        let replaced = self
            .out
            .iter()
            .any(|a| matches!(a, Action::Switch(_) | Action::Look));
        match (self.step, &self.task) {
            _ if replaced => {}
            (Step::Switching, Some(task)) => self.out.push_back(Action::Switch(task.on)),
            (Step::Looking, _) => self.out.push_back(Action::Look),
            _ => {}
        }
    }

    /// Time passes.
    pub fn tick(&mut self, now: Instant) {
        match self.step {
            Step::Resting { until } | Step::Settling { until } if now >= until => {
                self.step = Step::Looking;
                self.out.push_back(Action::Look);
            }
            Step::Retrying { at } if now >= at => self.switch(),
            _ => {}
        }
    }

    fn switch(&mut self) {
        let Some(task) = &mut self.task else { return };
        task.tries += 1;
        task.looks = 0;
        self.step = Step::Switching;
        self.out.push_back(Action::Switch(task.on));
    }

    fn settle(&mut self, now: Instant) {
        let looks = self.task.as_ref().map_or(0, |t| t.looks);
        let wait = LOOKS_AFTER.get(looks).copied().unwrap_or(RETRY);
        self.step = Step::Settling { until: now + wait };
    }

    fn look_again(&mut self, now: Instant, fault: Fault) {
        let Some(task) = &mut self.task else { return };
        task.looks += 1;
        if task.looks < LOOKS_AFTER.len() {
            self.settle(now);
        } else {
            self.failed(now, fault);
        }
    }

    /// One try has failed.
    fn failed(&mut self, now: Instant, fault: Fault) {
        let Some(task) = &self.task else { return };
        if task.tries < if task.cut { TRIES_CUT } else { TRIES } {
            self.step = Step::Retrying { at: now + RETRY };
            return;
        }
        let outcome = if fault.code == faults::NOT_OBEYED.code {
            Outcome::Rejected {
                by_printer: fault.to_string(),
                fault: Some(fault.clone()),
            }
        } else {
            Outcome::Unverified {
                waited: RETRY * task.tries,
                missing: Missing::Ack,
            }
        };
        self.fault = Some(if task.cut {
            faults::CUT_FAILED.with_raw(fault.to_string())
        } else {
            fault
        });
        self.end_with(now, &outcome);
    }

    fn end(&mut self, now: Instant, outcome: &Outcome) {
        if self.latch != Latch::Cut {
            self.fault = None;
        }
        self.end_with(now, outcome);
    }

    fn end_with(&mut self, now: Instant, outcome: &Outcome) {
        if let Some(task) = self.task.take() {
            self.answer(task.ids, outcome);
        }
        self.level(now);
        self.rest(now, LOOK_EVERY);
    }

    fn answer(&mut self, ids: Vec<OrderId>, outcome: &Outcome) {
        let replies = ids.into_iter().map(|id| Action::Reply(id, outcome.clone()));
        self.out.extend(replies);
    }

    fn rest(&mut self, now: Instant, time: Duration) {
        self.step = Step::Resting { until: now + time };
    }

    fn level(&mut self, now: Instant) {
        self.out.push_back(Action::Level(Supply {
            on: self.on,
            at: now,
            fault: self.fault.clone(),
            cut: self.latch == Latch::Cut,
        }));
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
