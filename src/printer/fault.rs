//! What went wrong, in words for a tired person.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What can be done about a fault by the program itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; nothing stops.
    Warning,
    /// Trying again may help (a link that dropped).
    Retry,
    /// A person has to do something.
    NeedsUser,
    /// A mistake of ours.
    Bug,
}

/// A fault that people see: what happened, why, what to do, and a stable code.
///
/// The same code goes to the log, the API, the upstreams and the metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Stable code, `area/name`, for example `marlin/thermal-runaway`.
    pub code: Cow<'static, str>,
    /// What happened, one sentence.
    pub what: Cow<'static, str>,
    /// The likely reason.
    pub why: Cow<'static, str>,
    /// What to do now.
    pub remedy: Cow<'static, str>,
    /// The printer's own words, where there are any.
    pub raw: Option<String>,
    /// What the program may do about it.
    pub severity: Severity,
}

impl Fault {
    /// A fault from fixed texts.
    pub const fn new(
        severity: Severity,
        code: &'static str,
        what: &'static str,
        why: &'static str,
        remedy: &'static str,
    ) -> Self {
        Fault {
            code: Cow::Borrowed(code),
            what: Cow::Borrowed(what),
            why: Cow::Borrowed(why),
            remedy: Cow::Borrowed(remedy),
            raw: None,
            severity,
        }
    }

    /// The same with the printer's own words.
    pub fn with_raw(mut self, raw: impl Into<String>) -> Self {
        self.raw = Some(raw.into());
        self
    }

    /// The same with a more exact account of what happened.
    pub fn with_what(mut self, what: impl Into<String>) -> Self {
        self.what = Cow::Owned(what.into());
        self
    }
}

impl fmt::Display for Fault {
    /// One line: what, why and what to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        if !self.why.is_empty() {
            write!(f, " {}", self.why)?;
        }
        if !self.remedy.is_empty() {
            write!(f, " {}", self.remedy)?;
        }
        if let Some(raw) = &self.raw {
            write!(f, " (printer: {raw})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}
