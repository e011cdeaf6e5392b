//! Events and results on their way to the broker: kept on the disk until the broker has acknowledged them. Pure.
//!
//! Delivery is at least once: where the link breaks between a message and its acknowledgement it is said again in the
//! next session, with the same `id`, by which a listener tells it from a new one.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Entries of one printer that wait at most. A print makes a handful; thousands are weeks. When full the oldest notice
/// goes first, then the oldest result of a command, and what became of a print last.
pub const WAITING_MAX: usize = 1000;

/// What an entry is, from the least to the most worth keeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A notice was raised or settled.
    Notice,
    /// How a command ended.
    Result,
    /// What became of a print.
    Job,
}

/// One thing to deliver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The same key is the same thing: it is taken once.
    pub key: String,
    /// What it is.
    pub kind: Kind,
    /// The message.
    pub body: Value,
}

#[derive(Clone, Debug)]
struct Waiting {
    /// Given out and not acknowledged.
    token: Option<u64>,
    entry: Entry,
}

/// It waits already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known;

/// The queue of one printer, in order.
#[derive(Clone, Debug, Default)]
pub struct Outbox(VecDeque<Waiting>);

impl Outbox {
    /// Takes an entry. Gives the key of one that had to go for it; `Err`: it is here already.
    pub fn push(&mut self, entry: Entry) -> Result<Option<String>, Known> {
        if self.0.iter().any(|w| w.entry.key == entry.key) {
            return Err(Known);
        }
        let mut gone = None;
        if self.0.len() >= WAITING_MAX {
            let least = self.0.iter().map(|w| w.entry.kind).min();
            let at = self.0.iter().position(|w| Some(w.entry.kind) == least);
            gone = at.and_then(|at| self.0.remove(at)).map(|w| w.entry.key);
        }
        self.0.push_back(Waiting { token: None, entry });
        Ok(gone)
    }

    /// What is said under this key, if it waits.
    pub fn body(&self, key: &str) -> Option<&Value> {
        let waiting = self.0.iter().find(|w| w.entry.key == key)?;
        Some(&waiting.entry.body)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next one to say, which is under way as `token` then.
    pub fn take(&mut self, token: u64) -> Option<&Entry> {
        let next = self.0.iter_mut().find(|w| w.token.is_none())?;
        next.token = Some(token);
        Some(&next.entry)
    }

    /// Whether there is one to say.
    pub fn has_more(&self) -> bool {
        self.0.iter().any(|w| w.token.is_none())
    }

    /// It arrived. Gives its key.
    pub fn arrived(&mut self, token: u64) -> Option<String> {
        let at = self.0.iter().position(|w| w.token == Some(token))?;
        self.0.remove(at).map(|w| w.entry.key)
    }

    /// The session is over: what was not acknowledged is said again, in the same order.
    pub fn lost(&mut self) {
        for waiting in &mut self.0 {
            waiting.token = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(key: &str, kind: Kind) -> Entry {
        Entry {
            key: key.to_owned(),
            kind,
            body: Value::Null,
        }
    }

    #[test]
    fn it_is_bounded_and_prints_stay_longest() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.push(entry("job", Kind::Job)), Ok(None));
        assert_eq!(outbox.push(entry("job", Kind::Job)), Err(Known), "twice is once");
        outbox.push(entry("result", Kind::Result)).expect("new");
        for n in 0..WAITING_MAX * 2 {
            let gone = outbox.push(entry(&format!("n{n}"), Kind::Notice)).expect("new");
            assert_eq!(gone.is_some(), n >= WAITING_MAX - 2);
        }
        assert_eq!(outbox.len(), WAITING_MAX);
        assert_eq!(outbox.take(1).map(|e| e.key.as_str()), Some("job"));
        assert_eq!(outbox.take(2).map(|e| e.key.as_str()), Some("result"));
    }

    proptest! {
        /// Whatever breaks when: each thing is acknowledged once, and first said in the order it happened.
        #[test]
        fn everything_arrives_once_and_in_order(steps in proptest::collection::vec(0_u8..5, 1..200)) {
            let mut outbox = Outbox::default();
            let (mut made, mut token) = (0_u32, 0);
            let (mut arrived, mut said, mut flying) = (Vec::new(), Vec::new(), VecDeque::new());
            let mut steps: VecDeque<u8> = steps.into();
            steps.push_back(4);
            while let Some(step) = steps.pop_front() {
                match step {
                    0 | 1 => { outbox.push(entry(&made.to_string(), Kind::Job)).expect("new"); made += 1; }
                    2 => { token += 1; if let Some(entry) = outbox.take(token) {
                        let n: u32 = entry.key.parse().expect("a number");
                        if !said.contains(&n) { said.push(n); }
                        flying.push_back(token);
                    } }
                    3 => if let Some(token) = flying.pop_front() { arrived.extend(outbox.arrived(token)); },
                    _ => { outbox.lost(); flying.clear(); }
                }
                if steps.is_empty() && !outbox.is_empty() {
                    steps.extend([2, 3]);
                }
            }
            let mut seen: Vec<u32> = arrived.iter().map(|k| k.parse().expect("a number")).collect();
            prop_assert_eq!(said, (0..made).collect::<Vec<_>>(), "in order");
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..made).collect::<Vec<_>>(), "each once");
        }
    }
}
