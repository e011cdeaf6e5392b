//! One socket to the cloud: its life, the printers on it, who a message is for. Pure.
//!
//! Multi mode carries every printer on one socket and adds each by name; single mode is the same with
//! one printer, its credential in the path and no `for`.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::action::{Output, PrinterKey};
use super::printer::{Out, PrinterCore};
use super::proto::{self, Message};
use crate::config::secrets::Secret;
use crate::json::json;
use crate::printer::model::Now;
use crate::sorted::SortedMap;

/// The cloud has to greet within this.
const GREETING_LIMIT: Duration = Duration::from_secs(30);
/// An `add_connection` has to be answered within this.
const ADD_LIMIT: Duration = Duration::from_secs(30);
/// First wait after a refused printer; doubles.
const ADD_AGAIN: Duration = Duration::from_secs(10);
/// Longest wait after a refused printer.
const ADD_AGAIN_MAX: Duration = Duration::from_secs(600);
/// Wait after an `error` of the cloud.
const AFTER_ERROR: Duration = Duration::from_secs(30);
/// At most one confirmation is asked for in this time.
const CONFIRM_EVERY: Duration = Duration::from_millis(200);

/// One or many printers on the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One.
    Single,
    /// All of this host.
    Multi,
}

/// Where the socket is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Down,
    /// Open, not greeted yet.
    Open {
        since: Instant,
    },
    Ready,
}

/// Where a printer is on the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Out { again: Option<Instant> },
    Asked { since: Instant },
    In,
}

#[derive(Debug)]
struct Seat {
    core: PrinterCore,
    place: Place,
    refusals: u32,
}

/// What was seen that is no message for anybody, for metrics and the support archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Oddities {
    /// Frames that are no messages.
    pub junk: u64,
    /// Types not known here.
    pub unknown_types: u64,
    /// Messages for a printer that is not ours.
    pub misdirected: u64,
    /// `error` messages.
    pub errors: u64,
}

/// The core of one socket.
#[derive(Debug)]
pub struct Session {
    mode: Mode,
    link: Link,
    seats: SortedMap<PrinterKey, Seat>,
    reconnect_token: Option<Secret>,
    /// An `error` came on this socket.
    complained: bool,
    confirm_asked: Option<Instant>,
    confirm_wanted: bool,
    confirm_again: Option<Instant>,
    oddities: Oddities,
    out: VecDeque<Output>,
}

impl Session {
    /// A socket without printers.
    pub fn new(mode: Mode) -> Self {
        Session {
            mode,
            link: Link::Down,
            seats: SortedMap::new(),
            reconnect_token: None,
            complained: false,
            confirm_asked: None,
            confirm_wanted: false,
            confirm_again: None,
            oddities: Oddities::default(),
            out: VecDeque::new(),
        }
    }

    /// What was odd so far.
    pub fn oddities(&self) -> Oddities {
        self.oddities
    }

    /// A printer joins.
    pub fn add(&mut self, key: PrinterKey, core: PrinterCore) {
        let seat = Seat {
            core,
            place: Place::Out { again: None },
            refusals: 0,
        };
        self.seats.insert(key, seat);
    }

    /// A printer leaves the configuration.
    pub fn remove(&mut self, now: Now, key: PrinterKey) {
        let Some(mut seat) = self.seats.remove(&key) else {
            return;
        };
        if self.mode == Mode::Multi && self.link == Link::Ready && seat.place == Place::In {
            let doc = seat.core.doc();
            let data = json!({"pid": doc.id, "unique_id": doc.unique_id});
            let to = doc.unique_id.clone();
            self.out
                .push_back(Output::Send(frame("remove_connection", Some(data), Some(&to))));
        }
        seat.core.disconnected(now);
        drain(&mut self.out, key, &mut seat, None);
    }

    /// Which printers there are.
    pub fn keys(&self) -> Vec<PrinterKey> {
        self.seats.keys().copied().collect()
    }

    /// A printer.
    pub fn printer(&self, key: PrinterKey) -> Option<&PrinterCore> {
        self.seats.get(&key).map(|seat| &seat.core)
    }

    /// A printer, to be told something. Call [`Session::pump`] afterwards.
    pub fn printer_mut(&mut self, key: PrinterKey) -> Option<&mut PrinterCore> {
        self.seats.get_mut(&key).map(|seat| &mut seat.core)
    }

    /// Whether the socket is greeted.
    pub fn is_ready(&self) -> bool {
        self.link == Link::Ready
    }

    /// The path of the socket; it holds a credential in single mode.
    pub fn path(&self) -> Secret {
        let version = proto::VERSION;
        let path = match self.mode {
            Mode::Multi => format!("/{version}/mp/0/0"),
            Mode::Single => {
                let doc = self.seats.values().next().map(|seat| seat.core.doc());
                let token = doc.and_then(|d| d.token.as_ref()).map_or("0", |t| t.reveal());
                let id = doc.map_or(0, |d| d.id);
                match &self.reconnect_token {
                    Some(again) if id > 0 => format!("/{version}/p/{id}/{token}/{}", again.reveal()),
                    _ => format!("/{version}/p/{id}/{token}"),
                }
            }
        };
        Secret::new(path)
    }

    /// The socket is open.
    pub fn opened(&mut self, now: Now) {
        self.link = Link::Open { since: now.mono };
        self.complained = false;
        self.confirm_asked = None;
        self.confirm_wanted = false;
        self.confirm_again = None;
        for seat in self.seats.values_mut() {
            seat.place = match self.mode {
                // It is what the path says.
                Mode::Single => Place::In,
                Mode::Multi => Place::Out { again: None },
            };
            seat.refusals = 0;
        }
    }

    /// The socket is gone.
    pub fn closed(&mut self, now: Now) {
        self.link = Link::Down;
        for (key, seat) in &mut self.seats {
            seat.place = Place::Out { again: None };
            seat.refusals = 0;
            seat.core.disconnected(now);
            drain(&mut self.out, *key, seat, None);
        }
    }

    /// The answer to the last [`Output::Confirm`].
    pub fn confirmed(&mut self) {
        let Some(asked_at) = self.confirm_asked.take() else {
            return;
        };
        for seat in self.seats.values_mut() {
            seat.core.confirmed(asked_at);
        }
    }

    /// A frame has come. `chance` (0–1) spreads waits.
    pub fn frame(&mut self, now: Now, text: &str, chance: f64) {
        let incoming = match proto::read(text) {
            Ok(incoming) => incoming,
            Err(_) => {
                self.oddities.junk += 1;
                return;
            }
        };
        if let Message::Unknown(_) = incoming.message {
            self.oddities.unknown_types += 1;
            return;
        }
        if let Message::Error { text } = incoming.message {
            self.oddities.errors += 1;
            self.complained = true;
            self.reconnect_token = None;
            self.out.push_back(Output::Hangup {
                why: format!("the cloud reports an error: {text}"),
                wait: Some(AFTER_ERROR),
            });
            return;
        }
        let key = match (&incoming.to, self.mode) {
            (Some(uid), _) => self.key_of(uid),
            (None, Mode::Single) => self.seats.keys().next().copied(),
            (None, Mode::Multi) => {
                if matches!(incoming.message, Message::Connected(_)) {
                    self.link = Link::Ready;
                }
                return;
            }
        };
        let Some(key) = key else {
            self.oddities.misdirected += 1;
            return;
        };
        if self.mode == Mode::Single
            && let Message::Connected(connected) = &incoming.message
        {
            self.link = Link::Ready;
            self.reconnect_token.clone_from(&connected.reconnect_token);
        }
        let Some(seat) = self.seats.get_mut(&key) else {
            return;
        };
        match incoming.message {
            Message::Added { ok: true, pid, .. } => {
                seat.place = Place::In;
                seat.refusals = 0;
                if let Some(pid) = pid {
                    seat.core.adopt_pid(pid);
                }
            }
            Message::Added { reason, .. } => {
                seat.place = refused(now.mono, &mut seat.refusals, reason.as_deref(), chance);
                seat.core.disconnected(now);
            }
            Message::Removed { deleted: true, .. } => {
                seat.core.deleted(now);
                seat.place = refused(now.mono, &mut seat.refusals, None, chance);
            }
            Message::Removed { reason, .. } => {
                seat.core.disconnected(now);
                seat.place = refused(now.mono, &mut seat.refusals, reason.as_deref(), chance);
            }
            message => {
                if seat.place != Place::In && self.mode == Mode::Multi {
                    // Greeted or told something before the answer to our request: it is in.
                    if matches!(seat.place, Place::Asked { .. }) {
                        seat.place = Place::In;
                    } else {
                        self.oddities.misdirected += 1;
                        return;
                    }
                }
                seat.core.message(now, message);
            }
        }
    }

    fn key_of(&self, uid: &str) -> Option<PrinterKey> {
        let mut seats = self.seats.iter();
        seats
            .find(|(_, seat)| seat.core.doc().unique_id == uid)
            .map(|(key, _)| *key)
    }

    /// Says and does what is due. To be called after everything else here.
    pub fn pump(&mut self, now: Now) {
        match self.link {
            Link::Open { since } if now.mono.saturating_duration_since(since) >= GREETING_LIMIT => {
                self.out.push_back(Output::Hangup {
                    why: "the cloud took the connection and said nothing".to_owned(),
                    wait: None,
                });
            }
            Link::Ready if self.mode == Mode::Multi => self.add_missing(now),
            _ => {}
        }
        let ready = self.link == Link::Ready;
        let mut wants = false;
        for (key, seat) in &mut self.seats {
            let to = match self.mode {
                Mode::Multi => Some(seat.core.doc().unique_id.clone()),
                Mode::Single => None,
            };
            if ready && seat.place == Place::In {
                seat.core.pump_jobs(now);
            }
            let alive = seat.core.pump(now);
            wants |= drain(&mut self.out, *key, seat, to.as_deref());
            if !alive {
                self.out.push_back(Output::Hangup {
                    why: "the cloud does not answer pings".to_owned(),
                    wait: None,
                });
            }
        }
        self.confirm_wanted |= wants;
        self.ask_for_confirmation(now.mono);
    }

    fn ask_for_confirmation(&mut self, now: Instant) {
        let due = self.confirm_again.is_none_or(|at| now >= at);
        if self.link != Link::Ready || !self.confirm_wanted || self.confirm_asked.is_some() || !due {
            return;
        }
        self.confirm_wanted = false;
        self.confirm_asked = Some(now);
        self.confirm_again = Some(now + CONFIRM_EVERY);
        self.out.push_back(Output::Confirm);
    }

    fn add_missing(&mut self, now: Now) {
        for seat in self.seats.values_mut() {
            match seat.place {
                Place::Out { again } if again.is_none_or(|at| now.mono >= at) => {}
                // No answer: asked again, as if it were refused.
                Place::Asked { since } if now.mono.saturating_duration_since(since) >= ADD_LIMIT => {}
                _ => continue,
            }
            seat.place = Place::Asked { since: now.mono };
            let doc = seat.core.doc();
            // Numbers go with the credential they were given for.
            let (pid, token) = match &doc.token {
                Some(token) => (doc.id, token.reveal()),
                None => (0, "0"),
            };
            let mut data = Map::new();
            data.insert("pid".to_owned(), json!(pid));
            data.insert("token".to_owned(), json!(token));
            data.insert("unique_id".to_owned(), json!(doc.unique_id));
            data.insert("allow_setup".to_owned(), json!(true));
            data.insert("client_ip".to_owned(), Value::Null);
            let text = frame("add_connection", Some(Value::Object(data)), Some(&doc.unique_id));
            self.out.push_back(Output::Send(text));
        }
    }

    /// When [`Session::pump`] is to be called although nothing happens.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let mut due: Vec<Instant> = Vec::new();
        if let Link::Open { since } = self.link {
            due.push(since + GREETING_LIMIT);
        }
        if self.confirm_wanted && self.confirm_asked.is_none() {
            due.extend(self.confirm_again);
        }
        for seat in self.seats.values() {
            due.extend(seat.core.deadline(now));
            if self.mode == Mode::Multi && self.link == Link::Ready {
                match seat.place {
                    Place::Out { again } => due.extend(again),
                    Place::Asked { since } => due.push(since + ADD_LIMIT),
                    Place::In => {}
                }
            }
        }
        due.into_iter().min()
    }

    /// The words before an orderly end.
    pub fn farewell(&mut self) {
        if self.link != Link::Ready {
            return;
        }
        for seat in self.seats.values().filter(|seat| seat.place == Place::In) {
            let to = match self.mode {
                Mode::Multi => Some(seat.core.doc().unique_id.as_str()),
                Mode::Single => None,
            };
            self.out.push_back(Output::Send(frame("shutdown", None, to)));
        }
    }

    /// Takes out what is to be done, in order.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }
}

/// When a refused printer asks again.
fn refused(now: Instant, refusals: &mut u32, reason: Option<&str>, chance: f64) -> Place {
    let doubled = ADD_AGAIN
        .saturating_mul(1 << (*refusals).min(16))
        .min(ADD_AGAIN_MAX);
    *refusals = refusals.saturating_add(1);
    let wait = match reason.and_then(proto::retry_after_s) {
        Some(seconds) => Duration::from_secs_f64(seconds),
        None => doubled.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0)),
    };
    Place::Out {
        again: Some(now + wait),
    }
}

/// A frame as it goes out.
fn frame(kind: &str, data: Option<Value>, to: Option<&str>) -> String {
    let mut message = Map::new();
    message.insert("type".to_owned(), json!(kind));
    if let Some(data) = data {
        message.insert("data".to_owned(), data);
    }
    if let Some(to) = to {
        message.insert("for".to_owned(), json!(to));
    }
    Value::Object(message).to_string()
}

/// Moves what a printer wants to the socket's queue. Returns whether it wants a confirmation.
fn drain(out: &mut VecDeque<Output>, key: PrinterKey, seat: &mut Seat, to: Option<&str>) -> bool {
    let mut wants = false;
    while let Some(item) = seat.core.poll() {
        out.push_back(match item {
            Out::Send(kind, data) => Output::Send(frame(kind, data, to)),
            Out::Act(action) => Output::Act(key, action),
            Out::Save(version) => Output::Save {
                printer: key,
                version,
                body: Secret::new(seat.core.body()),
            },
            Out::Put(entry) => Output::Put(key, entry),
            Out::Delivered(keys) => Output::Delivered(key, keys),
            Out::Confirm => {
                wants = true;
                continue;
            }
        });
    }
    wants
}

#[cfg(test)]
#[path = "tests/mod.rs"]
mod tests;
