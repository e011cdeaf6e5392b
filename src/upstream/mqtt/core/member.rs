//! One printer: what was told of it, what waits, what the broker keeps.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::super::command::Asked;
use super::super::gate::Gate;
use super::super::homeassistant::Config;
use super::super::level::Levels;
use super::super::outbox::{Entry, Kind, Outbox};
use super::super::story::{self, Cursor};
use super::super::topics;
use super::super::view::{self, Mark};
use super::held::{Held, Why};
use super::{Doc, Output, PrinterKey, Publish, Settings, ToldNotice, kept};
use crate::json::json;
use crate::printer::model::Now;
use crate::printer::notice::Notice;
use crate::printer::outcome::Refusal;
use crate::sorted::{SortedMap, SortedSet};

/// Commands that are kept on the disk for the time after a restart.
const TAKEN_KEPT: usize = 50;
/// Pictures of an idle printer are so much rarer.
const IDLE_PICTURES: u32 = 10;
/// An entity that a printer has not had for so long is taken back.
const LOST_AFTER: Duration = Duration::from_secs(120);

/// What is kept at the broker for one printer, or for the host.
#[derive(Clone, Debug, Default)]
pub struct Retained {
    pub(super) topics: SortedSet<String>,
    pub(super) changed: bool,
}

impl Retained {
    pub(super) fn note(&mut self, topic: &str) {
        if !self.topics.contains(topic) {
            self.topics.insert(topic.to_owned());
            self.changed = true;
        }
    }

    pub(super) fn text(&self) -> Option<String> {
        (!self.topics.is_empty()).then(|| json!(self.topics).to_string())
    }
}

/// A device of Home Assistant.
#[derive(Clone, Debug, Default)]
pub struct Announced {
    /// What each entity is; null: announced by an earlier run.
    configs: SortedMap<String, Value>,
    due: VecDeque<String>,
    /// Entities that the printer has not any more, and since when.
    absent: SortedMap<String, Instant>,
}

impl Announced {
    /// What is new or has changed is due. Gives the entities that are announced and not among these.
    pub(super) fn set(&mut self, configs: Vec<Config>) -> Vec<String> {
        let topics: SortedSet<String> = configs.iter().map(|config| config.topic.clone()).collect();
        for Config { topic, body } in configs {
            if self.configs.get(&topic) != Some(&body) {
                if !self.due.contains(&topic) {
                    self.due.push_back(topic.clone());
                }
                self.configs.insert(topic, body);
            }
        }
        let absent = self.configs.keys().filter(|topic| !topics.contains(*topic));
        absent.cloned().collect()
    }

    /// Takes out the entities that the printer lost long ago. While it cannot be `seen` nobody knows what it has.
    pub(super) fn lost(&mut self, now: Instant, absent: Vec<String>, seen: bool) -> SortedSet<String> {
        self.absent.retain(|topic, _| seen && absent.contains(topic));
        for topic in absent.into_iter().filter(|_| seen) {
            self.absent.entry(topic).or_insert(now);
        }
        let long = |since: &Instant| now.saturating_duration_since(*since) >= LOST_AFTER;
        let gone = self.absent.iter().filter(|(_, since)| long(since));
        let gone: SortedSet<String> = gone.map(|(topic, _)| topic.clone()).collect();
        self.absent.retain(|topic, _| !gone.contains(topic));
        self.configs.retain(|topic, _| !gone.contains(topic));
        self.due.retain(|topic| !gone.contains(topic));
        gone
    }

    /// An earlier run has announced these.
    pub(super) fn known<'t>(&mut self, topics: impl Iterator<Item = &'t String>) {
        for topic in topics {
            self.configs.entry(topic.clone()).or_insert(Value::Null);
        }
    }

    /// Whether an entity is announced in this run.
    pub(super) fn announces(&self, topic: &str) -> bool {
        self.configs.get(topic).is_some_and(|body| !body.is_null())
    }

    pub(super) fn again(&mut self) {
        let ours = self.configs.iter().filter(|(_, body)| !body.is_null());
        self.due = ours.map(|(topic, _)| topic.clone()).collect();
    }

    pub(super) fn take(&mut self) -> Option<(String, Vec<u8>)> {
        let topic = self.due.pop_front()?;
        let body = self.configs.get(&topic)?.to_string();
        Some((topic, body.into_bytes()))
    }
}

/// A printer.
#[derive(Debug)]
pub struct Member {
    pub(super) name: String,
    pub(super) online: Option<bool>,
    pub(super) online_told: Option<bool>,
    pub(super) levels: Levels,
    pub(super) mark: Option<Mark>,
    pub(super) prints: bool,
    pub(super) camera: bool,
    pub(super) pictured: Option<Instant>,
    pub(super) picture: Option<Vec<u8>>,
    pub(super) announced: Announced,
    pub(super) retained: Retained,
    pub(super) outbox: Outbox,
    pub(super) gate: Gate,
    pub(super) held: Held,
    pub(super) cursor: Cursor,
    pub(super) notices: Vec<ToldNotice>,
    pub(super) looks: VecDeque<Instant>,
    pub(super) doc_changed: bool,
}

impl Member {
    /// A printer that was just found.
    pub(super) fn new(now: Instant, name: &str, doc: Doc, outbox: Outbox, retained: Retained) -> Self {
        Member {
            name: name.to_owned(),
            online: None,
            online_told: None,
            levels: Levels::default(),
            mark: None,
            prints: false,
            camera: false,
            pictured: None,
            picture: None,
            announced: Announced::default(),
            retained,
            outbox,
            gate: Gate::restore(doc.taken),
            held: Held::default(),
            cursor: doc.cursor,
            notices: doc.notices,
            looks: VecDeque::from([now]),
            doc_changed: false,
        }
    }

    pub(super) fn doc(&self) -> String {
        let doc = Doc {
            cursor: self.cursor.clone(),
            notices: self.notices.clone(),
            taken: self.gate.kept(TAKEN_KEPT),
        };
        serde_json::to_string(&doc).unwrap_or_default()
    }

    pub(super) fn push(&mut self, key: PrinterKey, entry: Entry, out: &mut VecDeque<Output>) {
        if let Ok(gone) = self.outbox.push(entry.clone()) {
            out.extend(gone.map(|gone| Output::Delivered(key, gone)));
            out.push_back(Output::Put(key, entry));
        }
    }

    pub(super) fn result(&mut self, key: PrinterKey, id: &str, body: Value, out: &mut VecDeque<Output>) {
        let mut name = format!("result/{id}");
        // One that was refused and came again has a second answer while the first may still wait.
        if self.outbox.body(&name).is_some_and(|waits| *waits != body) {
            let at = body.get("at").and_then(Value::as_str).unwrap_or_default();
            name = format!("{name}/{at}");
        }
        let kind = Kind::Result;
        self.push(
            key,
            Entry {
                key: name,
                kind,
                body,
            },
            out,
        );
    }

    /// A new command. What makes the printer stiller and cooler is carried out at once, and what came before it and
    /// would rouse the printer is not carried out any more; everything else waits until its id is on the disk, for it
    /// must not happen twice. `version` is the number of the last document that was given out.
    pub(super) fn take_up(
        &mut self,
        now: Now,
        key: PrinterKey,
        asked: Asked,
        version: u64,
        out: &mut VecDeque<Output>,
    ) {
        if asked.what.stops() {
            self.doc_changed = true;
            out.push_back(Output::Act(key, Box::new(asked)));
            self.void(now, key, Why::Overtaken, out);
        } else if let Err(asked) = self.held.push(now.mono, version + 1, asked) {
            self.gate.forget(&asked.id);
            self.refuse(now, key, &asked.id, Some(asked.word), Why::full(), out);
        } else {
            self.doc_changed = true;
        }
    }

    /// Commands that wait are refused, and are new when they come again.
    pub(super) fn void(&mut self, now: Now, key: PrinterKey, why: Why, out: &mut VecDeque<Output>) {
        for asked in self.held.void(now.mono, why) {
            self.gate.forget(&asked.id);
            self.doc_changed = true;
            self.refuse(now, key, &asked.id, Some(asked.word), why.refusal(), out);
        }
    }

    /// Commands that were under way when the daemon ended come to their end too; nobody knows which.
    pub(super) fn end_unfinished(&mut self, now: Now, key: PrinterKey, out: &mut VecDeque<Output>) {
        for id in self.gate.unfinished() {
            let body = json!({
                "id": id,
                "command": null,
                "outcome": "unverified",
                "code": "unverified/restart",
                "message": "The service ended while this command was under way. Look at the printer before trying again.",
                "at": story::time_ms(now.wall),
            });
            self.gate.ended(&id, &body);
            self.doc_changed = true;
            self.result(key, &id, body, out);
        }
    }

    pub(super) fn refuse(
        &mut self,
        now: Now,
        key: PrinterKey,
        id: &str,
        word: Option<&str>,
        refusal: Refusal,
        out: &mut VecDeque<Output>,
    ) {
        let body = json!({
            "id": id,
            "command": word,
            "outcome": "refused",
            "code": refusal.code,
            "message": refusal.message,
            "at": story::time_ms(now.wall),
        });
        self.result(key, id, body, out);
    }

    pub(super) fn tell_notices(
        &mut self,
        now: Now,
        key: PrinterKey,
        open: &[Notice],
        out: &mut VecDeque<Output>,
    ) {
        let closed: Vec<ToldNotice> = self
            .notices
            .iter()
            .filter(|told| !open.iter().any(|n| n.id == told.id))
            .cloned()
            .collect();
        for told in closed {
            self.notices.retain(|n| n.id != told.id);
            let notice = json!({"id": told.id, "key": told.key});
            self.tell_notice(key, told.id, "closed", now.wall, notice, out);
        }
        for notice in open {
            if self.notices.iter().any(|told| told.id == notice.id) {
                continue;
            }
            self.notices.push(ToldNotice {
                id: notice.id,
                key: view::cut(&notice.key),
            });
            self.tell_notice(key, notice.id, "opened", notice.at, view::notice(notice), out);
        }
    }

    fn tell_notice(
        &mut self,
        key: PrinterKey,
        id: Uuid,
        what: &str,
        at: Timestamp,
        notice: Value,
        out: &mut VecDeque<Output>,
    ) {
        let id = format!("notice/{id}/{what}");
        let body = json!({
            "id": id, "event": format!("notice.{what}"), "at": story::time_ms(at), "notice": notice,
        });
        let kind = Kind::Notice;
        self.push(key, Entry { key: id, kind, body }, out);
        self.doc_changed = true;
    }

    /// When the next picture is due: outer `None`: never, inner: at once.
    pub(super) fn picture_due(&self, every: Option<Duration>) -> Option<Option<Instant>> {
        let every = every.filter(|_| self.camera && self.picture.is_none())?;
        let wait = if self.prints {
            every
        } else {
            every.saturating_mul(IDLE_PICTURES)
        };
        Some(self.pictured.map(|at| at + wait))
    }

    pub(super) fn publish(&mut self, now: Instant, settings: &Settings) -> Option<Publish> {
        if self.online.is_some() && self.online_told != self.online {
            self.online_told = self.online;
            let topic = settings.topics.of(&self.name, topics::AVAILABILITY);
            self.retained.note(&topic);
            let word = if self.online == Some(true) {
                topics::ONLINE
            } else {
                topics::OFFLINE
            };
            return Some(kept(topic, word.into()));
        }
        if let Some((group, value)) = self.levels.take(now, settings.full) {
            let topic = settings.topics.of(&self.name, group.topic());
            let payload = value.to_string().into_bytes();
            self.retained.note(&topic);
            return Some(kept(topic, payload));
        }
        if let Some((topic, payload)) = self.announced.take() {
            self.retained.note(&topic);
            return Some(kept(topic, payload));
        }
        let payload = self.picture.take()?;
        Some(Publish {
            topic: settings.topics.of(&self.name, topics::CAMERA),
            payload,
            retain: false,
            token: None,
        })
    }
}
