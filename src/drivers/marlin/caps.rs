//! What the firmware says it can (`Cap:` lines of `M115`). A hint, not a promise: effects are checked.

use crate::sorted::SortedMap;

/// Longest name kept, and most names kept: the list comes from outside.
const NAME_MAX: usize = 40;
const COUNT_MAX: usize = 100;

/// Capabilities by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    names: SortedMap<String, bool>,
    /// Tools, where the firmware tells (`EXTRUDER_COUNT`).
    pub tools: Option<u8>,
}

impl Caps {
    /// Takes one `Cap:` line.
    pub fn set(&mut self, name: &[u8], on: bool) {
        if let Ok(name) = std::str::from_utf8(name)
            && name.len() <= NAME_MAX
            && self.names.len() < COUNT_MAX
        {
            self.names.insert(name.to_ascii_uppercase(), on);
        }
    }

    /// Whether it says it can.
    pub fn has(&self, name: &str) -> bool {
        self.names.get(name).copied().unwrap_or(false)
    }

    /// Whether it says that it cannot.
    pub fn lacks(&self, name: &str) -> bool {
        self.names.get(name).copied() == Some(false)
    }

    /// Whether it told anything.
    pub fn any(&self) -> bool {
        !self.names.is_empty()
    }
}
