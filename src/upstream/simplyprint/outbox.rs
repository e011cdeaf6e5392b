//! Job results and notices on their way to the cloud: kept until their arrival is confirmed. Pure.
//!
//! The protocol knows no acknowledgement. An entry counts as delivered when a ping that was sent after
//! it is answered; when the connection breaks before that it is sent again on the next one.

use std::collections::VecDeque;
use std::time::Instant;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::json::json;
use crate::sorted;

/// Entries of one printer that wait at most. A printer makes two a print and two a notice; thousands
/// are weeks. When full the oldest notice goes first, a job's result only when there are no notices.
pub const WAITING_MAX: usize = 2000;

/// An event this old when it is sent carries its age.
const DELAY_FROM_S: i64 = 2;

/// One that would be older was stamped by a clock that was not set.
const DELAY_MAX_S: i64 = 90 * 86_400;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `job_info` with a lifecycle flag.
    Job,
    /// `file_progress` with an error.
    File,
    /// One event of a `notification`.
    Notice,
}

/// One thing to deliver once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The same key is the same thing: it is taken once.
    pub key: String,
    /// When it happened.
    pub at: Timestamp,
    /// What it is.
    pub kind: Kind,
    /// The message's data, or the event.
    pub data: Map<String, Value>,
}

#[derive(Clone, Debug)]
struct Flying {
    order: u64,
    entry: Entry,
    sent_at: Instant,
}

/// The queue of one printer.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: VecDeque<(u64, Entry)>,
    flying: Vec<Flying>,
    next: u64,
}

impl Outbox {
    /// Takes an entry. Gives back the key of one that had to go for it.
    pub fn push(&mut self, entry: Entry) -> Option<String> {
        let known = self.waiting.iter().any(|(_, e)| e.key == entry.key)
            || self.flying.iter().any(|f| f.entry.key == entry.key);
        if known {
            return None;
        }
        let mut gone = None;
        if self.waiting.len() >= WAITING_MAX {
            let at = self
                .waiting
                .iter()
                .position(|(_, e)| e.kind == Kind::Notice)
                .unwrap_or(0);
            gone = self.waiting.remove(at).map(|(_, e)| e.key);
        }
        self.waiting.push_back((self.next, entry));
        self.next += 1;
        gone
    }

    /// How many wait or are not confirmed.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.flying.len()
    }

    /// Whether nothing is left to deliver.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a notice waits to be sent.
    pub fn has_notices(&self) -> bool {
        self.waiting.iter().any(|(_, e)| e.kind == Kind::Notice)
    }

    /// Job results in order, as messages to send now.
    pub fn take_jobs(&mut self, now: Instant, wall: Timestamp) -> Vec<(&'static str, Value)> {
        self.take(now, |kind| kind != Kind::Notice)
            .into_iter()
            .map(|entry| {
                let mut data = entry.data;
                let age_s = wall.duration_since(entry.at).as_secs();
                match entry.kind {
                    Kind::File => ("file_progress", Value::Object(data)),
                    _ => {
                        if (DELAY_FROM_S..DELAY_MAX_S).contains(&age_s) {
                            data.insert("delay".to_owned(), json!(age_s));
                        }
                        ("job_info", Value::Object(data))
                    }
                }
            })
            .collect()
    }

    /// Notices in order, as the events of one message.
    pub fn take_notices(&mut self, now: Instant) -> Vec<Value> {
        self.take(now, |kind| kind == Kind::Notice)
            .into_iter()
            .map(|entry| Value::Object(entry.data))
            .collect()
    }

    fn take(&mut self, now: Instant, wanted: impl Fn(Kind) -> bool) -> Vec<Entry> {
        let (taken, left): (VecDeque<_>, VecDeque<_>) =
            self.waiting.drain(..).partition(|(_, entry)| wanted(entry.kind));
        self.waiting = left;
        taken
            .into_iter()
            .map(|(order, entry)| {
                self.flying.push(Flying {
                    order,
                    entry: entry.clone(),
                    sent_at: now,
                });
                entry
            })
            .collect()
    }

    /// Everything sent up to `asked_at` has arrived. Gives the keys.
    pub fn confirm(&mut self, asked_at: Instant) -> Vec<String> {
        let (arrived, left): (Vec<_>, Vec<_>) = self.flying.drain(..).partition(|f| f.sent_at <= asked_at);
        self.flying = left;
        arrived.into_iter().map(|f| f.entry.key).collect()
    }

    /// Whether something sent is not confirmed.
    pub fn is_unconfirmed(&self) -> bool {
        !self.flying.is_empty()
    }

    /// The connection broke: what is not confirmed waits again, in its old place.
    pub fn lost(&mut self) {
        self.waiting
            .extend(self.flying.drain(..).map(|f| (f.order, f.entry)));
        sorted::by_key(self.waiting.make_contiguous(), |(order, _)| *order);
    }

    /// Nothing of it concerns anybody any more. Gives the keys.
    pub fn clear(&mut self) -> Vec<String> {
        let waiting = self.waiting.drain(..).map(|(_, e)| e.key);
        waiting
            .chain(self.flying.drain(..).map(|f| f.entry.key))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn entry(key: &str, kind: Kind, at_s: i64) -> Entry {
        Entry {
            key: key.to_owned(),
            at: Timestamp::from_second(at_s).expect("in range"),
            kind,
            data: json!({"job_id": 7}).as_object().cloned().unwrap_or_default(),
        }
    }

    #[test]
    fn an_old_result_tells_its_age_and_goes_before_no_notice_has_to_wait() {
        let start = Instant::now();
        let wall = Timestamp::from_second(1000).expect("in range");
        let mut outbox = Outbox::default();
        outbox.push(entry("n", Kind::Notice, 900));
        outbox.push(entry("0", Kind::Job, 1000 - DELAY_MAX_S));
        outbox.push(entry("a", Kind::Job, 958));
        outbox.push(entry("b", Kind::Job, 999));
        outbox.push(entry("b", Kind::Job, 1000));
        let sent = outbox.take_jobs(start, wall);
        assert_eq!(
            sent,
            [
                ("job_info", json!({"job_id": 7})),
                ("job_info", json!({"job_id": 7, "delay": 42})),
                ("job_info", json!({"job_id": 7})),
            ],
            "the clock was not set when the first one was stamped"
        );
        assert!(outbox.has_notices());
        assert_eq!(outbox.confirm(start), ["0", "a", "b"]);
        assert_eq!(outbox.len(), 1);
    }

    #[test]
    fn the_outbox_is_bounded_and_results_stay_longer_than_notices() {
        let mut outbox = Outbox::default();
        outbox.push(entry("result", Kind::Job, 0));
        for n in 0..WAITING_MAX * 2 {
            outbox.push(entry(&n.to_string(), Kind::Notice, 0));
        }
        assert_eq!(outbox.len(), WAITING_MAX);
        let wall = Timestamp::from_second(1).expect("in range");
        assert_eq!(outbox.take_jobs(Instant::now(), wall).len(), 1);
    }

    proptest! {
        /// Whatever breaks in between: every key arrives, each class in its order, and what was
        /// confirmed is never sent again.
        #[test]
        fn everything_arrives_in_order_and_confirmed_things_once(steps in proptest::collection::vec(0_u8..5, 1..200)) {
            let start = Instant::now();
            let wall = Timestamp::from_second(0).expect("in range");
            let mut outbox = Outbox::default();
            let mut now = start;
            let (mut made, mut confirmed) = (0_u32, Vec::new());
            for step in steps {
                now += Duration::from_secs(1);
                match step {
                    0 | 1 => {
                        outbox.push(entry(&made.to_string(), if step == 0 { Kind::Job } else { Kind::Notice }, 0));
                        made += 1;
                    }
                    2 => {
                        outbox.take_jobs(now, wall);
                        outbox.take_notices(now);
                    }
                    3 => confirmed.extend(outbox.confirm(now)),
                    _ => outbox.lost(),
                }
            }
            outbox.lost();
            outbox.take_jobs(now, wall);
            outbox.take_notices(now);
            confirmed.extend(outbox.confirm(now));
            let mut seen: Vec<u32> = confirmed.iter().filter_map(|k| k.parse().ok()).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..made).collect::<Vec<_>>(), "each once");
        }
    }
}
