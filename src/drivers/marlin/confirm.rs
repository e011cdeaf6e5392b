//! Did the printer take every line? At the end of a print it is asked.
//!
//! An `ok` names no line. On a bad cable surplus ones (doubled, late, of a question that was given up)
//! can stand for lines that were never taken, and nothing comes after the last line that would bring it
//! to light. A print without any such trouble needs no question. So a line is sent whose number cannot be right: the printer refuses it, and says which line
//! it took last and which it wants next. Only when both agree with each other the answer counts.

use std::time::{Duration, Instant};

use super::adopt::impossible_question;
use super::answer::Answer;
use super::proto::Marlin;
use super::script::Step;
use super::sender::Trouble;
use crate::printer::model::Now;

/// Asked again after so long without an answer that can be read.
const AGAIN: Duration = Duration::from_secs(2);

/// Asked so often when some answer came, but none that agreed with itself.
const TRIES_MAX: u8 = 8;

/// A firmware that never answers such a question does not check line numbers; then the `ok`s have to do.
const UNHEARD_MAX: u8 = 3;

/// Lines are brought after so often; then it is no accident.
const ROUNDS_MAX: u8 = 10;

/// How far the question is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confirm {
    asked: Option<Instant>,
    tries: u8,
    /// How often lines turned out to be missing.
    rounds: u8,
    /// A refusal came, readable or not.
    heard: bool,
    /// The last line that the printer took, as its refusal says.
    last: Option<u32>,
    /// The line that it asked for before.
    earlier: Option<u32>,
    /// It wants what would come next.
    agreed: bool,
}

impl Confirm {
    /// When to ask again.
    pub fn due(&self) -> Option<Instant> {
        self.asked.map(|asked| asked + AGAIN)
    }
}

impl Marlin {
    /// The answer is awaited: a line with a number now would be taken for what is missing.
    pub(super) fn is_confirming(&self) -> bool {
        matches!(self.script.front(), Some(Step::Confirm(confirm)) if confirm.asked.is_some())
    }

    /// The step of the script. `false`: it has to wait.
    pub(super) fn confirm(&mut self, now: Now, confirm: Confirm) -> bool {
        if !self.sender.is_idle() || self.sender.is_refused() {
            // What it missed is sent again first.
            if let Some(Step::Confirm(confirm)) = self.script.front_mut() {
                confirm.asked = None;
            }
            return false;
        }
        if confirm.rounds > ROUNDS_MAX {
            let next = self.sender.next();
            self.trouble(now, Trouble::OutOfStep(next));
            return false;
        }
        let enough = if confirm.heard { TRIES_MAX } else { UNHEARD_MAX };
        if confirm.agreed || self.sender.is_beyond_doubt() {
            self.script.pop_front();
            return true;
        }
        if confirm.due().is_some_and(|due| now.mono < due) {
            return false;
        }
        if confirm.tries >= enough {
            self.script.pop_front();
            return true;
        }
        self.sender.tx.extend_from_slice(impossible_question().as_bytes());
        if let Some(Step::Confirm(confirm)) = self.script.front_mut() {
            confirm.asked = Some(now.mono);
            confirm.tries += 1;
            confirm.last = None;
        }
        false
    }

    /// A line that came. `true`: it was an answer to the question, and is nobody else's.
    pub(super) fn confirm_line(&mut self, answer: &Answer<'_>) -> bool {
        let next = self.sender.next();
        let idle = self.sender.is_idle();
        let Some(Step::Confirm(confirm)) = self.script.front_mut() else {
            return false;
        };
        if !idle || confirm.asked.is_none() {
            return false;
        }
        match answer {
            Answer::Refused { last, .. } => {
                confirm.heard = true;
                confirm.last = *last;
                true
            }
            Answer::Resend(Some(wanted)) => {
                confirm.heard = true;
                let agrees = confirm.last.take().and_then(|last| last.checked_add(1)) == Some(*wanted)
                    || confirm.earlier == Some(*wanted);
                confirm.earlier = Some(*wanted);
                confirm.agreed = agrees && *wanted == next;
                if agrees && !confirm.agreed {
                    // Lines are missing: the sender goes back to them, and then it is asked anew.
                    *confirm = Confirm {
                        rounds: confirm.rounds.saturating_add(1),
                        ..Confirm::default()
                    };
                    return false;
                }
                true
            }
            Answer::Resend(None) => {
                confirm.heard = true;
                true
            }
            _ => false,
        }
    }
}
