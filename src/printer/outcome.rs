//! How a command ended. Every requester gets one of five answers, in every protocol.

use std::time::Duration;

use serde::Serialize;

use super::fault::Fault;

/// Why a command was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Stable code, for example `refused/wrong-state`.
    pub code: &'static str,
    /// One sentence with what to do instead.
    pub message: String,
}

impl Refusal {
    /// A refusal with its code and words.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Refusal {
            code,
            message: message.into(),
        }
    }
}

/// What was waited for in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// The printer never acknowledged the command.
    Ack,
    /// It acknowledged, but the effect was not seen.
    Effect,
}

/// The end of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The effect was seen in the printer's own report.
    Verified,
    /// The printer acknowledged; this command has no visible effect.
    Sent,
    /// Not sent: unsafe, wrong state, unsupported, offline.
    Refused(Refusal),
    /// The printer said no.
    Rejected {
        /// Its words.
        by_printer: String,
        /// What they mean, if known.
        fault: Option<Fault>,
    },
    /// Sent, but nothing was seen in time.
    Unverified {
        /// How long it was waited for.
        waited: Duration,
        /// What did not come.
        missing: Missing,
    },
}

impl Outcome {
    /// Shorthand for a refusal.
    pub fn refused(code: &'static str, message: impl Into<String>) -> Self {
        Outcome::Refused(Refusal::new(code, message))
    }

    /// The word that stands in JSON.
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Verified => "verified",
            Outcome::Sent => "sent",
            Outcome::Refused(_) => "refused",
            Outcome::Rejected { .. } => "rejected",
            Outcome::Unverified { .. } => "unverified",
        }
    }

    /// Whether the command did what was asked, as far as can be known.
    pub fn is_ok(&self) -> bool {
        matches!(self, Outcome::Verified | Outcome::Sent)
    }

    /// Stable code of the reason; `ok` when there is nothing to explain.
    pub fn code(&self) -> String {
        match self {
            Outcome::Verified | Outcome::Sent => "ok".to_owned(),
            Outcome::Refused(r) => r.code.to_owned(),
            Outcome::Rejected { fault: Some(f), .. } => f.code.to_string(),
            Outcome::Rejected { fault: None, .. } => "printer/rejected".to_owned(),
            Outcome::Unverified {
                missing: Missing::Ack,
                ..
            } => "unverified/no-ack".to_owned(),
            Outcome::Unverified {
                missing: Missing::Effect,
                ..
            } => "unverified/no-effect".to_owned(),
        }
    }

    /// One sentence for a person; empty on success.
    pub fn message(&self) -> String {
        match self {
            Outcome::Verified | Outcome::Sent => String::new(),
            Outcome::Refused(r) => r.message.clone(),
            Outcome::Rejected {
                by_printer,
                fault: Some(f),
            } => format!("{} {} (printer: {by_printer})", f.what, f.remedy),
            Outcome::Rejected {
                by_printer,
                fault: None,
            } => format!("The printer refused: {by_printer}"),
            Outcome::Unverified { waited, missing } => format!(
                "The command was sent, but {} within {} s. Look at the printer before trying again.",
                match missing {
                    Missing::Ack => "no answer came",
                    Missing::Effect => "no effect was seen",
                },
                waited.as_secs()
            ),
        }
    }
}
