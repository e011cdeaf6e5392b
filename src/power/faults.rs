//! What can go wrong with a switch, in words. A table: one test reads every row.

use crate::printer::fault::{Fault, Severity};

/// It does not answer.
pub const UNREACHABLE: Fault = Fault::new(
    Severity::Retry,
    "power/unreachable",
    "The power switch of this printer does not answer.",
    "It has no network, another address, or no supply itself.",
    "Look at the switch and at `power` in the configuration.",
);

/// It answers, but not as its kind does.
pub const NONSENSE: Fault = Fault::new(
    Severity::NeedsUser,
    "power/bad-answer",
    "The power switch answers something that a switch of its kind does not.",
    "Another device has its address, its kind or channel is configured wrongly, or it wants a password.",
    "Compare `power` in the configuration with the switch.",
);

/// It says one thing and does another.
pub const NOT_OBEYED: Fault = Fault::new(
    Severity::NeedsUser,
    "power/not-obeyed",
    "The power switch took the order but did not carry it out.",
    "It is locked, overloaded or broken, or something else switches it back.",
    "Look at the switch.",
);

/// Cut for safety.
pub const CUT: Fault = Fault::new(
    Severity::NeedsUser,
    "power/cut",
    "The supply of this printer is cut for safety.",
    "Its heaters were out of control, or an emergency stop could not be written.",
    "Find out why before you switch it on again; only a person can.",
);

/// Could not be cut.
pub const CUT_FAILED: Fault = Fault::new(
    Severity::NeedsUser,
    "power/cut-failed",
    "The supply of this printer should be cut for safety and could NOT be.",
    "The power switch does not answer or does not obey.",
    "Pull the plug.",
);

/// All of them.
pub const ALL: &[Fault] = &[UNREACHABLE, NONSENSE, NOT_OBEYED, CUT, CUT_FAILED];

/// It was told one thing and does the other.
pub fn not_obeyed(wanted_on: bool) -> Fault {
    let word = |on| if on { "on" } else { "off" };
    NOT_OBEYED.with_what(format!(
        "The power switch was told to switch {} and is still {}.",
        word(wanted_on),
        word(!wanted_on)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_says_what_why_and_what_to_do() {
        for fault in ALL {
            assert!(fault.code.starts_with("power/"), "{fault:?}");
            assert!(!fault.what.is_empty() && !fault.why.is_empty() && !fault.remedy.is_empty());
        }
    }
}
