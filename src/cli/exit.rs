//! Exit codes: a promise to scripts.

use std::process::ExitCode;

use serde_json::Value;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Verified; or sent, where nothing can be seen; or accepted with `--no-wait`.
    Good = 0,
    /// Anything that failed and has no number of its own.
    Failed = 1,
    /// Bad usage or bad configuration.
    Usage = 2,
    /// Sent, but not seen to take effect.
    Unverified = 3,
    /// Refused by a rule: wrong state, unsafe.
    Refused = 4,
    /// The printer said no.
    Rejected = 5,
}

impl Exit {
    /// The code of an outcome's word.
    pub fn of_word(word: &str) -> Self {
        match word {
            "verified" | "sent" | "accepted" => Exit::Good,
            "unverified" => Exit::Unverified,
            "refused" => Exit::Refused,
            "rejected" => Exit::Rejected,
            _ => Exit::Failed,
        }
    }

    /// The code of an answer's member `layerd`.
    pub fn of_outcome(outcome: &Value) -> Self {
        Exit::of_word(outcome.get("outcome").and_then(Value::as_str).unwrap_or_default())
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a verb could not do its work: a sentence for stderr and the code.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    /// The code.
    pub exit: Exit,
    /// What, why and what to do.
    pub text: String,
}

impl Failure {
    /// A failure without a number of its own.
    pub fn new(text: impl Into<String>) -> Self {
        Failure {
            exit: Exit::Failed,
            text: text.into(),
        }
    }

    /// Bad usage or configuration.
    pub fn usage(text: impl Into<String>) -> Self {
        Failure {
            exit: Exit::Usage,
            text: text.into(),
        }
    }
}

/// What a verb returns.
pub type Done = Result<Exit, Failure>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_code() {
        let codes = [
            ("verified", 0),
            ("sent", 0),
            ("accepted", 0),
            ("unverified", 3),
            ("refused", 4),
            ("rejected", 5),
            ("", 1),
        ];
        for (word, code) in codes {
            assert_eq!(Exit::of_word(word) as u8, code, "{word}");
        }
    }
}
