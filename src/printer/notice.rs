//! Things a person should know or decide: prompts, warnings, faults that stay open.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::fault::Fault;

/// How loud a notice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Information.
    Info,
    /// Something is off; the print goes on.
    Warning,
    /// Something failed.
    Error,
}

/// An open notice. It is closed by the printer, by an answer, or by a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Stable identity.
    pub id: Uuid,
    /// Same key = same matter: a second one replaces the first instead of piling up.
    pub key: String,
    /// How loud.
    pub level: Level,
    /// One line.
    pub title: String,
    /// The rest.
    pub text: String,
    /// Fault code, where it stems from a fault.
    pub code: Option<String>,
    /// Buttons in order; `layerd answer PRINTER N` presses number N, from 0.
    pub buttons: Vec<String>,
    /// When it was raised.
    pub at: Timestamp,
}

impl Notice {
    /// A notice that tells of a fault.
    pub fn of_fault(fault: &Fault, level: Level, at: Timestamp) -> Self {
        Notice {
            id: Uuid::new_v4(),
            key: fault.code.to_string(),
            level,
            title: fault.what.to_string(),
            text: format!("{} {}", fault.why, fault.remedy).trim().to_owned(),
            code: Some(fault.code.to_string()),
            buttons: Vec::new(),
            at,
        }
    }
}
