//! Commands whose ids are on their way to the disk. A service that is killed must not carry one out again when it is
//! repeated, so that none is carried out before its id is written.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::command::Asked;
use crate::printer::outcome::Refusal;

/// Commands of one printer that may wait. When full further ones are refused.
const HELD_MAX: usize = 16;
/// A command whose id is not written by then is refused: whoever sent it must know where he stands.
pub const LIMIT: Duration = Duration::from_secs(5);

/// Why commands that wait are not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The disk did not take the id in time.
    Late,
    /// A word that stops came behind it.
    Overtaken,
    /// The service ends.
    Stopping,
}

impl Why {
    /// In words.
    pub fn refusal(self) -> Refusal {
        match self {
            Why::Late => Refusal::new(
                "refused/not-kept",
                "The disk of this host did not take the id of this command within 5 s (it may be full), so that a \
                 repetition could not be told from it. It was not carried out.",
            ),
            Why::Overtaken => Refusal::new(
                "refused/overtaken",
                "A command that stops the printer came before this one was begun. It was not carried out.",
            ),
            Why::Stopping => Refusal::new(
                "refused/stopping",
                "The service was stopped before this command was begun. It was not carried out.",
            ),
        }
    }

    /// Too many wait.
    pub fn full() -> Refusal {
        Refusal::new(
            "refused/busy",
            "Too many commands wait for the disk of this host. Try again in a moment.",
        )
    }
}

#[derive(Debug)]
struct Waiting {
    asked: Asked,
    /// The first document that holds its id.
    version: u64,
    until: Instant,
}

/// The commands of one printer that wait, in the order in which they came.
#[derive(Debug, Default)]
pub struct Held(VecDeque<Waiting>);

impl Held {
    /// One more, whose id is in the document of this number and all later ones. Gives it back when too many wait.
    pub fn push(&mut self, now: Instant, version: u64, asked: Asked) -> Result<(), Asked> {
        if self.0.len() >= HELD_MAX {
            return Err(asked);
        }
        self.0.push_back(Waiting {
            asked,
            version,
            until: now + LIMIT,
        });
        Ok(())
    }

    /// A document is written: those whose ids it holds, in order.
    pub fn written(&mut self, version: u64) -> Vec<Asked> {
        let behind = self.0.iter().position(|w| w.version > version);
        let written = self.0.drain(..behind.unwrap_or(self.0.len()));
        written.map(|waiting| waiting.asked).collect()
    }

    /// Takes out those that are not to be carried out.
    pub fn void(&mut self, now: Instant, why: Why) -> Vec<Asked> {
        let goes = |waiting: &Waiting| match why {
            Why::Late => waiting.until <= now,
            Why::Overtaken => waiting.asked.what.rouses(),
            Why::Stopping => true,
        };
        let (gone, stay): (VecDeque<_>, _) = std::mem::take(&mut self.0).into_iter().partition(goes);
        self.0 = stay;
        gone.into_iter().map(|waiting| waiting.asked).collect()
    }

    /// When the first one is late.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.front().map(|waiting| waiting.until)
    }
}
