//! The switch of a printer's supply, as the handle and the actor use it.

use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::sync::{oneshot, watch};
use tokio_util::task::TaskTracker;

use super::handle::Pending;
use crate::power::faults;
use crate::power::machine::Order;
use crate::power::rules::may_switch_off;
use crate::power::switch::Switch;
use crate::printer::fault::Fault;
use crate::printer::model::{State, Supply};
use crate::printer::outcome::{Missing, Outcome, Refusal};

/// An emergency stop is not waited for longer than this before the supply is cut.
pub(super) const ESTOP_LIMIT: Duration = Duration::from_secs(10);

/// How long a caller waits for the cut behind a failed emergency stop; the cut itself goes on.
const CUT_LIMIT: Duration = Duration::from_secs(20);

/// A switch with the tasks that follow orders.
#[derive(Debug)]
pub(super) struct SupplySide {
    /// The switch.
    pub switch: Switch,
    /// Emergency stops that are followed to their end.
    pub tasks: TaskTracker,
}

impl SupplySide {
    /// With nothing followed yet.
    pub fn new(switch: Switch) -> Self {
        SupplySide {
            switch,
            tasks: TaskTracker::new(),
        }
    }

    /// Follows an emergency stop: where it could not be written, the supply is cut, even if the one who
    /// asked has gone.
    pub fn follow(&self, stop: Result<oneshot::Receiver<Outcome>, Refusal>) -> Pending {
        let (end, answer) = oneshot::channel();
        let switch = self.switch.clone();
        let seen_through = async move {
            let outcome = match stop {
                Err(refusal) => Outcome::Refused(refusal),
                Ok(stop) => match tokio::time::timeout(ESTOP_LIMIT, stop).await {
                    Ok(Ok(outcome)) => outcome,
                    Ok(Err(_)) | Err(_) => Outcome::refused(
                        "refused/offline",
                        "The emergency stop could NOT be written: the driver did not take it.",
                    ),
                },
            };
            let outcome = if was_written(&outcome) {
                outcome
            } else {
                cut_behind(&switch, outcome).await
            };
            let _ = end.send(outcome);
        };
        self.tasks.spawn(seen_through.boxed());
        Pending::new(answer, ESTOP_LIMIT + CUT_LIMIT + Duration::from_secs(5))
    }

    /// A person or an upstream wants the supply on or off.
    pub fn ask(&self, state: &State, now: Instant, on: bool) -> Result<oneshot::Receiver<Outcome>, Outcome> {
        if on {
            return self.switch.order(Order::On);
        }
        may_switch_off(state, now).map_err(Outcome::Refused)?;
        self.switch.order(Order::Off)
    }

    /// Off at once, hot or not.
    pub fn cut(&self, why: &Fault) {
        if self.switch.order(Order::Cut(why.clone())).is_err() {
            // Eight orders wait; one of them may be the same. Followed until there is room.
            let (switch, why) = (self.switch.clone(), why.clone());
            let cutting = async move {
                for _ in 0..60 {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    if switch.order(Order::Cut(why.clone())).is_ok() {
                        return;
                    }
                }
                tracing::error!(code = "power/cut-failed", "{}", faults::CUT_FAILED);
            };
            self.tasks.spawn(cutting.boxed());
        }
    }
}

/// Whether an emergency stop has reached the line.
fn was_written(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Verified
            | Outcome::Sent
            | Outcome::Rejected { .. }
            | Outcome::Unverified {
                missing: Missing::Effect,
                ..
            }
    )
}

/// Cuts the supply and adds to the outcome what came of it.
async fn cut_behind(switch: &Switch, stop: Outcome) -> Outcome {
    let why = faults::CUT.with_what("An emergency stop could not be written.");
    tracing::error!(
        code = "power/cut",
        "an emergency stop could not be written; the supply is cut"
    );
    let cut = tokio::time::timeout(CUT_LIMIT, switch.ordered(Order::Cut(why))).await;
    let end = match cut {
        Ok(Outcome::Verified) => "The supply was cut instead.",
        Ok(Outcome::Sent) => "The power switch was told to cut the supply; it does not tell whether it did.",
        _ => "The supply could NOT be cut either: pull the plug.",
    };
    let began = match stop {
        Outcome::Refused(refusal) => refusal.message,
        _ => "The emergency stop could NOT be written.".to_owned(),
    };
    Outcome::refused("refused/offline", format!("{began} {end}"))
}

/// The next level of a switch; never without one.
pub(super) async fn changed(level: &mut Option<watch::Receiver<Option<Supply>>>) -> Supply {
    if let Some(level) = level {
        while level.changed().await.is_ok() {
            let seen = level.borrow_and_update().clone();
            if let Some(supply) = seen {
                return supply;
            }
        }
    }
    std::future::pending().await
}
