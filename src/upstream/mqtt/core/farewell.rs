//! What the broker is to forget: printers that have left, entities that they have lost. Each topic is cleared until the broker
//! has acknowledged it.

use super::{Core, Output, PrinterKey, Publish};

use crate::sorted::{SortedMap, SortedSet};

/// Topics of one printer that are cleared at once.
const CLEAR_AT_ONCE: usize = 8;

/// Topics that the broker is to forget.
#[derive(Debug)]
pub(super) struct Farewell {
    /// Of which printer; empty: of the host.
    pub(super) name: String,
    pub(super) topics: SortedSet<String>,
    pub(super) flying: SortedMap<u64, String>,
}

impl Farewell {
    pub(super) fn new(name: &str, topics: SortedSet<String>) -> Self {
        Farewell {
            name: name.to_owned(),
            topics,
            flying: SortedMap::new(),
        }
    }
}

impl Core {
    /// What the broker keeps from an earlier run for a printer (by name; empty: the host). What is not published any
    /// more, and all of printers that have left, is cleared as soon as there is a session.
    pub fn left_over(&mut self, name: &str, topics: Vec<String>, stays: bool) {
        let own = if name.is_empty() {
            vec![self.settings.topics.status(), self.settings.topics.host_level()]
        } else {
            vec![self.settings.topics.of(name, "")]
        };
        let home = Self::home(&self.settings);
        let ours = |topic: &String| {
            let level = own.iter().any(|own| topic.starts_with(own.as_str()));
            level || home.as_ref().is_some_and(|home| home.announces(name, topic))
        };
        let (kept, gone): (SortedSet<String>, SortedSet<String>) =
            topics.into_iter().partition(|topic| stays && ours(topic));
        let member = self.members.values_mut().find(|m| m.name == name);
        let retained = match (name, member) {
            ("", _) => Some(&mut self.host_retained),
            (_, Some(member)) => {
                let announced = |topic: &&String| home.as_ref().is_some_and(|h| h.announces(name, topic));
                member.announced.known(kept.iter().filter(announced));
                Some(&mut member.retained)
            }
            (_, None) => None,
        };
        if let Some(retained) = retained {
            retained.topics.extend(kept);
            // Until they are cleared they are known.
            retained.topics.extend(gone.iter().cloned());
        }
        if !gone.is_empty() {
            self.farewells.push(Farewell::new(name, gone));
        }
    }

    /// A printer has lost these entities; those that it has again stay.
    pub(super) fn take_back(&mut self, key: PrinterKey, lost: SortedSet<String>) {
        let Some(member) = self.members.get(&key) else {
            return;
        };
        let name = &member.name;
        for farewell in self.farewells.iter_mut().filter(|f| f.name == *name) {
            farewell.topics.retain(|topic| !member.announced.announces(topic));
        }
        self.farewells
            .retain(|f| f.name != *name || !f.topics.is_empty() || !f.flying.is_empty());
        if !lost.is_empty() {
            self.farewells.push(Farewell::new(name, lost));
        }
    }

    /// The broker has forgotten a topic.
    pub(super) fn cleared(&mut self, token: u64) {
        let Some(at) = self.farewells.iter().position(|f| f.flying.contains_key(&token)) else {
            return;
        };
        let Some(farewell) = self.farewells.get_mut(at) else {
            return;
        };
        let topic = farewell.flying.remove(&token);
        let over = farewell.topics.is_empty() && farewell.flying.is_empty();
        let name = farewell.name.clone();
        let member = self.members.values_mut().find(|m| m.name == name);
        let again = |topic: &String| member.as_ref().is_some_and(|m| m.announced.announces(topic));
        let topic = topic.filter(|topic| !again(topic));
        let here = member.is_some() || name.is_empty();
        let retained = match name.as_str() {
            "" => Some(&mut self.host_retained),
            _ => member.map(|m| &mut m.retained),
        };
        match (retained, topic) {
            (Some(retained), Some(topic)) => {
                retained.topics.remove(&topic);
                retained.changed = true;
            }
            _ if over && !here => self.out.push_back(Output::Retained(name, None)),
            _ => {}
        }
        if over {
            self.farewells.remove(at);
        }
    }

    /// The next topic to clear.
    pub(super) fn farewell(&mut self) -> Option<Publish> {
        let token = self.token();
        let farewell = self
            .farewells
            .iter_mut()
            .find(|f| !f.topics.is_empty() && f.flying.len() < CLEAR_AT_ONCE)?;
        let topic = farewell.topics.pop_first()?;
        farewell.flying.insert(token, topic.clone());
        Some(Publish {
            topic,
            payload: Vec::new(),
            retain: true,
            token: Some(token),
        })
    }
}
