//! How each printer stands with each upstream: written by the upstream, read by the local API.

use std::sync::Mutex;

use crate::sorted::SortedMap;

/// How far a printer is with an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairing {
    /// Whether the upstream can be reached and knows of the printer now.
    pub connected: bool,
    /// The code that a person types there to claim the printer; `None`: no code, or not needed.
    pub code: Option<String>,
    /// The upstream's number for it, once claimed.
    pub id: Option<i64>,
    /// Its name there.
    pub name: Option<String>,
    /// What is wrong there, in words.
    pub trouble: Option<String>,
}

/// All of them, by printer number and upstream.
#[derive(Debug, Default)]
pub struct Pairings(Mutex<SortedMap<(i64, &'static str), Pairing>>);

impl Pairings {
    /// Notes how a printer stands; `None`: the upstream has nothing to do with it any more.
    pub fn set(&self, printer: i64, upstream: &'static str, pairing: Option<Pairing>) {
        let mut all = self.0.lock().unwrap_or_else(|e| e.into_inner());
        match pairing {
            Some(pairing) => all.insert((printer, upstream), pairing),
            None => all.remove(&(printer, upstream)),
        };
    }

    /// How a printer stands with every upstream.
    pub fn of(&self, printer: i64) -> Vec<(&'static str, Pairing)> {
        let all = self.0.lock().unwrap_or_else(|e| e.into_inner());
        all.iter()
            .filter(|((id, _), _)| *id == printer)
            .map(|((_, upstream), pairing)| (*upstream, pairing.clone()))
            .collect()
    }
}
