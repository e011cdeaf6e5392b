//! A command on its way: what answers it, what proves it, how long that may take. Pure.

use std::time::{Duration, Instant};

use super::status::{GcodeState, Status};
use crate::printer::command::RequestId;
use crate::printer::outcome::{Missing, Outcome};

/// An answer has to come in this time.
const ACK: Duration = Duration::from_secs(12);

/// What shows that a command did something.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Nothing would: accepted is all there is.
    None,
    /// It stands still.
    Paused,
    /// It goes on.
    Resumed,
    /// The job is over.
    Stopped,
    /// These are left out.
    Skipped(Vec<u32>),
    /// This light has this mode.
    Light(String, bool),
    /// This speed level.
    Speed(i64),
    /// A whole report has come; the core knows.
    Told,
}

impl Effect {
    /// Whether the merged state shows it.
    pub fn is_seen(&self, status: &Status) -> bool {
        match self {
            Effect::None | Effect::Told => false,
            Effect::Paused => status.state == GcodeState::Pause,
            Effect::Resumed => status.state == GcodeState::Running,
            Effect::Stopped => status.state.is_free(),
            Effect::Skipped(ids) => ids.iter().all(|id| status.skipped.contains(id)),
            Effect::Light(node, on) => status
                .lights
                .iter()
                .any(|(n, mode)| n == node && (mode == "on") == *on),
            Effect::Speed(level) => status.speed_level == Some(*level),
        }
    }

    /// Whether nothing can show it any more: the print that it was for is over. Left waiting, it would be taken for
    /// something that is to become of the next one.
    pub fn is_vain(&self, status: &Status) -> bool {
        matches!(self, Effect::Paused | Effect::Resumed | Effect::Skipped(_)) && status.state.is_free()
    }

    /// How long it may take after the command.
    fn limit(&self) -> Duration {
        Duration::from_secs(match self {
            Effect::None | Effect::Told => 12,
            Effect::Paused => 120,
            Effect::Resumed => 300,
            Effect::Stopped => 120,
            Effect::Skipped(_) | Effect::Light(..) | Effect::Speed(_) => 20,
        })
    }
}

/// A command that was published.
#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    /// Who asked; `None`: we ourselves.
    pub id: Option<RequestId>,
    /// Its number on the wire.
    pub seq: u32,
    /// Its name on the wire.
    pub name: &'static str,
    /// Needs Developer Mode.
    pub critical: bool,
    /// What proves it.
    pub effect: Effect,
    /// When it was published.
    pub sent: Instant,
    /// An answer came.
    pub acked: bool,
    /// And it said yes.
    pub sure: bool,
}

impl Pending {
    /// When patience ends.
    pub fn deadline(&self) -> Instant {
        let limit = match self.acked {
            true => self.effect.limit(),
            false => ACK.min(self.effect.limit()),
        };
        self.sent + limit
    }

    /// Its end when patience has ended.
    pub fn late(&self, now: Instant) -> Outcome {
        let missing = match (self.acked, &self.effect) {
            (false, _) => Missing::Ack,
            // An answer that says neither yes nor no is none.
            (true, Effect::None) => Missing::Ack,
            (true, _) => Missing::Effect,
        };
        Outcome::Unverified {
            waited: now.saturating_duration_since(self.sent),
            missing,
        }
    }

    /// Its end when the connection broke.
    pub fn gone(&self, now: Instant) -> Outcome {
        self.late(now)
    }
}
