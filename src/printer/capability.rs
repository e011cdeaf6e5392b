//! What a printer can and cannot do, as two lists: a name stands in exactly one of them.

use serde::{Deserialize, Serialize};

use crate::sorted::SortedMap;

/// Every capability name that a driver has to place on one side or the other.
///
/// The first three are the cloud's; the others are ours.
pub const ALL: &[&str] = &[
    "layer.progress",
    "time.left",
    "print.start.predownload",
    "print.pause",
    "print.pause.actions",
    "print.cancel",
    "objects.skip",
    "gcode.send",
    "gcode.tune",
    "emergency.stop",
    "position.report",
    "prompt.answer",
    "outside.jobs",
    "sd.print",
];

/// Two-sided capability list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities(SortedMap<String, bool>);

impl Default for Capabilities {
    /// Everything unsupported: unknown is not a promise.
    fn default() -> Self {
        Capabilities(ALL.iter().map(|n| ((*n).to_owned(), false)).collect())
    }
}

impl Capabilities {
    /// The default with these names on the supported side.
    pub fn with(supported: &[&str]) -> Self {
        let mut all = Self::default();
        for name in supported {
            all.set(name, true);
        }
        all
    }

    /// Puts one name on one side.
    pub fn set(&mut self, name: &str, supported: bool) {
        self.0.insert(name.to_owned(), supported);
    }

    /// Whether a name is on the supported side.
    pub fn has(&self, name: &str) -> bool {
        self.0.get(name).copied().unwrap_or(false)
    }

    /// Names on one side, sorted.
    pub fn names(&self, supported: bool) -> Vec<&str> {
        self.0
            .iter()
            .filter(|(_, v)| **v == supported)
            .map(|(k, _)| k.as_str())
            .collect()
    }
}
