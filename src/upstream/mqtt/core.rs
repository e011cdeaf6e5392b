//! What is told to the broker and what its messages mean, for all printers of the host. Pure: time and chance are
//! arguments; what is to be done comes out of [`Core::poll`], what is to be published out of [`Core::publish`].

mod farewell;
mod held;
mod member;
mod twin;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use self::farewell::Farewell;
use self::member::{Announced, Member, Retained};
use self::twin::Twin;
use super::command::{self, Asked, Bad};
use super::gate::{Taken, Verdict};
use super::homeassistant::Home;
use super::outbox::{Entry, Kind, Outbox};
use super::story::{self, Cursor};
use super::topics::{self, Topics};
use super::view::{self, Group, View};
use crate::job::record::JobRecord;
use crate::json::json;
use crate::printer::model::Now;
use crate::printer::outcome::{Outcome, Refusal};
use crate::sorted::SortedMap;

pub use crate::upstream::PrinterKey;

/// The host changes slowly.
const HOST_EVERY: Duration = Duration::from_secs(60);
/// After a change of a print its record is looked at so often: it follows the state within a moment.
const LOOKS: [Duration; 3] = [Duration::ZERO, Duration::from_millis(700), Duration::from_secs(4)];
/// When Home Assistant begins, hosts answer within this time and not all at once.
const BIRTH_SPREAD: Duration = Duration::from_secs(5);

/// As it is configured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where things are published.
    pub topics: Topics,
    /// Prefix of Home Assistant's discovery; `None`: not announced.
    pub discovery: Option<String>,
    /// Whether commands are taken.
    pub commands: bool,
    /// Everything is told at least this often.
    pub full: Duration,
    /// How often a printing printer is pictured.
    pub camera: Option<Duration>,
    /// Name of the host for people.
    pub host: String,
    /// Version of this program.
    pub version: &'static str,
    /// Identity of this run.
    pub session: String,
}

/// A message to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Where.
    pub topic: String,
    /// What; empty and retained: the broker forgets what it kept.
    pub payload: Vec<u8>,
    /// The broker keeps it.
    pub retain: bool,
    /// To be acknowledged.
    pub token: Option<u64>,
}

/// What is to be done beside publishing.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Carry out a command, and answer by [`Core::answered`].
    Act(PrinterKey, Box<Asked>),
    /// Keep this until it is delivered.
    Put(PrinterKey, Entry),
    /// This is delivered.
    Delivered(PrinterKey, String),
    /// Keep this for a printer, and say so by [`Core::kept`] with this number.
    Keep(PrinterKey, u64, String),
    /// The broker keeps these topics for a printer (by name; empty: the host); `None`: none any more.
    Retained(String, Option<String>),
    /// Give the records of a printer's jobs from this number on to [`Core::records`].
    LookUp(PrinterKey, i64),
    /// Take a picture for [`Core::picture`].
    Picture(PrinterKey),
    /// For the log.
    Note(String),
    /// What is wrong with our place at the broker, for people; `None`: nothing any more.
    Trouble(Option<String>),
}

/// What is kept of a printer over a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Doc {
    /// Up to where its prints were told.
    pub cursor: Cursor,
    /// Open notices that were told.
    #[serde(default)]
    pub notices: Vec<ToldNotice>,
    /// Commands that were taken up.
    #[serde(default)]
    pub taken: Vec<Taken>,
}

/// A notice that was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldNotice {
    id: Uuid,
    key: String,
}

/// All printers of the host.
#[derive(Debug)]
pub struct Core {
    settings: Settings,
    members: SortedMap<PrinterKey, Member>,
    farewells: Vec<Farewell>,
    connected: bool,
    status_due: bool,
    host: Value,
    host_told: Option<(Value, Instant)>,
    host_ever_told: bool,
    host_announced: Announced,
    host_retained: Retained,
    twin: Twin,
    birth_at: Option<Instant>,
    /// Whose entry travels under a token.
    flying: SortedMap<u64, PrinterKey>,
    next_token: u64,
    /// Number of the last document that was given out to be kept.
    version: u64,
    /// Where the round of printers goes on, so that a busy one does not starve the others.
    turn: PrinterKey,
    out: VecDeque<Output>,
}

impl Core {
    /// Nothing is known yet.
    pub fn new(settings: Settings) -> Self {
        Core {
            settings,
            members: SortedMap::new(),
            farewells: Vec::new(),
            connected: false,
            status_due: false,
            host: Value::Null,
            host_told: None,
            host_ever_told: false,
            host_announced: Announced::default(),
            host_retained: Retained::default(),
            twin: Twin::default(),
            birth_at: None,
            flying: SortedMap::new(),
            next_token: 0,
            version: 0,
            turn: PrinterKey::MIN,
            out: VecDeque::new(),
        }
    }

    fn home(settings: &Settings) -> Option<Home<'_>> {
        Some(Home {
            prefix: settings.discovery.as_deref()?,
            topics: &settings.topics,
            commands: settings.commands,
            version: settings.version,
            host: &settings.host,
        })
    }

    /// A printer is there, with what was kept of it.
    pub fn join(&mut self, now: Now, key: PrinterKey, name: &str, doc: Doc, waiting: Vec<Entry>) {
        if self.members.contains_key(&key) {
            return;
        }
        let mut outbox = Outbox::default();
        for entry in waiting {
            let _ = outbox.push(entry);
        }
        // It may have left and come back.
        let mut retained = Retained::default();
        for farewell in self.farewells.extract_if(.., |farewell| farewell.name == name) {
            retained.topics.extend(farewell.topics);
            retained.topics.extend(farewell.flying.into_values());
        }
        let mut member = Member::new(now.mono, name, doc, outbox, retained);
        member.end_unfinished(now, key, &mut self.out);
        self.members.insert(key, member);
    }

    /// A printer has left the configuration: the broker and Home Assistant forget it.
    pub fn leave(&mut self, key: PrinterKey) {
        let Some(member) = self.members.remove(&key) else {
            return;
        };
        self.flying.retain(|_, owner| *owner != key);
        self.farewells
            .push(Farewell::new(&member.name, member.retained.topics));
    }

    /// The printers that are here.
    pub fn keys(&self) -> Vec<PrinterKey> {
        self.members.keys().copied().collect()
    }

    /// How a printer is now.
    pub fn observe(&mut self, now: Now, key: PrinterKey, view: View) {
        let Some(member) = self.members.get_mut(&key) else {
            return;
        };
        member.online = Some(view.online);
        for (group, value) in &view.levels {
            member.levels.set(*group, value);
        }
        let job = view.levels.get(&Group::Job);
        member.prints = job
            .and_then(|job| job.get("uid"))
            .is_some_and(|uid| !uid.is_null());
        member.camera = view.facts.camera;
        if member.mark.as_ref() != Some(&view.mark) {
            member.mark = Some(view.mark);
            member.looks = LOOKS.iter().map(|wait| now.mono + *wait).collect();
        }
        member.tell_notices(now, key, &view.notices, &mut self.out);
        if let Some(home) = Self::home(&self.settings) {
            let absent = member
                .announced
                .set(home.printer_configs(&member.name, &view.facts));
            let lost = member.announced.lost(now.mono, absent, view.settled);
            self.take_back(key, lost);
        }
    }

    /// How the host is now: the members of its level beside version and session.
    pub fn observe_host(&mut self, members: &Value) {
        let mut host = json!({"version": self.settings.version, "session": self.settings.session});
        if let (Value::Object(host), Value::Object(members)) = (&mut host, members) {
            host.extend(members.clone());
        }
        self.host = host;
        if let Some(home) = Self::home(&self.settings) {
            self.host_announced.set(home.host_configs());
        }
    }

    /// The records that were asked for, oldest first.
    pub fn records(&mut self, key: PrinterKey, records: &[JobRecord]) {
        let Some(member) = self.members.get_mut(&key) else {
            return;
        };
        let before = member.cursor.clone();
        for record in records {
            for entry in member.cursor.advance(record) {
                member.push(key, entry, &mut self.out);
            }
        }
        member.doc_changed |= member.cursor != before;
    }

    /// A command came to its end.
    pub fn answered(
        &mut self,
        now: Now,
        key: PrinterKey,
        asked: &Asked,
        outcome: &Outcome,
        job: Option<(i64, Uuid)>,
    ) {
        let Some(member) = self.members.get_mut(&key) else {
            return;
        };
        let mut body = json!({
            "id": asked.id,
            "command": asked.word,
            "outcome": outcome.word(),
            "code": outcome.code(),
            "message": outcome.message(),
            "at": story::time_ms(now.wall),
        });
        if let (Value::Object(body), Some((id, uid))) = (&mut body, job) {
            body.insert("job".to_owned(), json!({"id": id, "uid": uid}));
        }
        member.gate.ended(&asked.id, &body);
        member.doc_changed = true;
        member.result(key, &asked.id, body, &mut self.out);
    }

    /// The document of this number is on the disk, and with it the ids of the commands that waited for it: they are
    /// carried out now, and never again.
    pub fn kept(&mut self, key: PrinterKey, version: u64) {
        if let Some(member) = self.members.get_mut(&key) {
            let written = member.held.written(version);
            self.out
                .extend(written.into_iter().map(|asked| Output::Act(key, Box::new(asked))));
        }
    }

    /// Nothing more is carried out: commands that wait for the disk are refused, and are new when they come again.
    pub fn void(&mut self, now: Now, key: PrinterKey) {
        if let Some(member) = self.members.get_mut(&key) {
            member.void(now, key, held::Why::Stopping, &mut self.out);
        }
    }

    /// A picture was taken.
    pub fn picture(&mut self, key: PrinterKey, jpeg: Vec<u8>) {
        if let Some(member) = self.members.get_mut(&key) {
            member.picture = Some(jpeg);
        }
    }

    /// There is a session: everything is told anew, since nobody knows what the broker still has.
    pub fn connected(&mut self) {
        self.connected = true;
        self.status_due = true;
        self.tell_all();
    }

    /// The session is over.
    pub fn lost(&mut self) {
        self.connected = false;
        self.flying.clear();
        for member in self.members.values_mut() {
            member.outbox.lost();
            member.picture = None;
        }
        for farewell in &mut self.farewells {
            let again: Vec<String> = std::mem::take(&mut farewell.flying).into_values().collect();
            farewell.topics.extend(again);
        }
    }

    fn tell_all(&mut self) {
        self.host_told = None;
        self.host_announced.again();
        for member in self.members.values_mut() {
            member.online_told = None;
            member.levels.forget();
            member.announced.again();
        }
    }

    /// What was published under this token has arrived.
    pub fn arrived(&mut self, token: u64) {
        if let Some(key) = self.flying.remove(&token) {
            let entry = self.members.get_mut(&key).and_then(|m| m.outbox.arrived(token));
            self.out.extend(entry.map(|entry| Output::Delivered(key, entry)));
            return;
        }
        self.cleared(token);
    }

    /// A message came. `chance` is 0–1.
    pub fn message(&mut self, now: Now, topic: &str, payload: &[u8], retain: bool, chance: f64) {
        let birth = self.settings.discovery.as_deref().map(Home::birth);
        if birth.as_deref() == Some(topic) {
            // One that the broker has kept tells nothing new: everything was announced with the session.
            if !retain && payload == topics::ONLINE.as_bytes() {
                self.birth_at = Some(now.mono + BIRTH_SPREAD.mul_f64(chance.clamp(0.0, 1.0)));
            }
            return;
        }
        if topic == self.settings.topics.host_level() {
            return self.host_heard(now, payload, retain);
        }
        let Some(name) = self.settings.topics.commanded(topic) else {
            return self.note(format!(
                "a message on a topic that is not ours was passed over: {}",
                view::cut(topic)
            ));
        };
        let found = self
            .members
            .iter_mut()
            .find(|(_, m)| topics::safe(&m.name) == name);
        let Some((&key, member)) = found else {
            return self.note(format!(
                "a command for a printer that is not here was passed over: {}",
                view::cut(name)
            ));
        };
        // A kept message is of some other time. An empty one is somebody clearing it.
        if retain || payload.is_empty() {
            let name = member.name.clone();
            return self.note(format!("a kept (retained) command for {name} was passed over"));
        }
        let asked = match command::read(payload) {
            Ok(asked) => asked,
            Err(Bad { id: None, refusal }) => {
                let words = format!(
                    "a message that is no command was passed over: {}: {refusal}",
                    member.name
                );
                return self.note(words);
            }
            Err(Bad {
                id: Some(id),
                refusal,
            }) => {
                member.refuse(now, key, &id, None, refusal, &mut self.out);
                return;
            }
        };
        if !self.settings.commands {
            let refusal = Refusal::new(
                "refused/read-only",
                "This host takes no commands here (`commands = false`).",
            );
            member.refuse(now, key, &asked.id, Some(asked.word), refusal, &mut self.out);
            return;
        }
        match member.gate.judge(&asked, now.wall, &self.settings.session) {
            Verdict::Go => member.take_up(now, key, asked, self.version, &mut self.out),
            Verdict::Again(Some(result)) => member.result(key, &asked.id, result, &mut self.out),
            // Its result is still to come, and comes once.
            Verdict::Again(None) => {}
            Verdict::No(refusal) => {
                member.refuse(now, key, &asked.id, Some(asked.word), refusal, &mut self.out)
            }
        }
    }

    /// A host of our name tells of itself; mostly it is we.
    fn host_heard(&mut self, now: Now, payload: &[u8], retain: bool) {
        let told: Value = serde_json::from_slice(payload).unwrap_or_default();
        let session = told.get("session").and_then(Value::as_str);
        let Some(session) = session.filter(|s| *s != self.settings.session && s.len() <= command::ID_MAX)
        else {
            return;
        };
        if self.twin.heard(now.mono, session, retain, self.host_ever_told) {
            self.out.push_back(Output::Trouble(Some(format!(
                "Another host publishes as {:?} at this broker: the two overwrite each other's printers, and commands reach \
                 both. Give one of them another `host` under [upstream.mqtt], and another `client_id` where one is set.",
                self.settings.topics.host(),
            ))));
        }
    }

    /// A message was too large to look at.
    pub fn too_large(&mut self, topic: Option<&str>, bytes: usize) {
        let topic = topic.map_or_else(|| "?".to_owned(), view::cut);
        self.note(format!("a message of {bytes} bytes was passed over, on {topic}"));
    }

    fn note(&mut self, words: String) {
        self.out.push_back(Output::Note(words));
    }

    /// What is to be done; until there is nothing more.
    pub fn poll(&mut self, now: Now) -> Option<Output> {
        for (key, member) in &mut self.members {
            member.void(now, *key, held::Why::Late, &mut self.out);
        }
        if self.twin.is_gone(now.mono) {
            self.out.push_back(Output::Trouble(None));
        }
        if let Some(output) = self.out.pop_front() {
            return Some(output);
        }
        if std::mem::take(&mut self.host_retained.changed) {
            return Some(Output::Retained(String::new(), self.host_retained.text()));
        }
        let (connected, every) = (self.connected, self.settings.camera);
        for (key, member) in &mut self.members {
            if std::mem::take(&mut member.retained.changed) {
                return Some(Output::Retained(member.name.clone(), member.retained.text()));
            }
            if std::mem::take(&mut member.doc_changed) {
                self.version += 1;
                return Some(Output::Keep(*key, self.version, member.doc()));
            }
            if member.looks.front().is_some_and(|at| *at <= now.mono) {
                member.looks.retain(|at| *at > now.mono);
                return Some(Output::LookUp(*key, member.cursor.job));
            }
            if connected
                && member
                    .picture_due(every)
                    .is_some_and(|at| at.is_none_or(|at| at <= now.mono))
            {
                member.pictured = Some(now.mono);
                return Some(Output::Picture(*key));
            }
        }
        None
    }

    /// The next message, while the link has room for one.
    pub fn publish(&mut self, now: Instant) -> Option<Publish> {
        if !self.connected {
            return None;
        }
        if self.birth_at.is_some_and(|at| at <= now) {
            self.birth_at = None;
            self.tell_all();
        }
        if std::mem::take(&mut self.status_due) {
            let topic = self.settings.topics.status();
            self.host_retained.note(&topic);
            return Some(kept(topic, topics::ONLINE.into()));
        }
        if self.members.values().any(|m| m.outbox.has_more()) {
            let token = self.token();
            if let Some(publish) = self.entry(token) {
                return Some(publish);
            }
        }
        let due = self
            .host_told
            .as_ref()
            .is_none_or(|(told, at)| *told != self.host && now.saturating_duration_since(*at) >= HOST_EVERY);
        if due && !self.host.is_null() {
            self.host_told = Some((self.host.clone(), now));
            self.host_ever_told = true;
            let topic = self.settings.topics.host_level();
            self.host_retained.note(&topic);
            return Some(kept(topic, self.host.to_string().into_bytes()));
        }
        if let Some((topic, payload)) = self.host_announced.take() {
            self.host_retained.note(&topic);
            return Some(kept(topic, payload));
        }
        self.of_printers(now).or_else(|| self.farewell())
    }

    fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    fn entry(&mut self, token: u64) -> Option<Publish> {
        let (key, member) = self.members.iter_mut().find(|(_, m)| m.outbox.has_more())?;
        let entry = member.outbox.take(token)?;
        self.flying.insert(token, *key);
        let what = match entry.kind {
            Kind::Result => topics::RESULT,
            Kind::Job | Kind::Notice => topics::EVENT,
        };
        Some(Publish {
            topic: self.settings.topics.of(&member.name, what),
            payload: entry.body.to_string().into_bytes(),
            retain: false,
            token: Some(token),
        })
    }

    fn of_printers(&mut self, now: Instant) -> Option<Publish> {
        let (before, behind): (Vec<PrinterKey>, Vec<PrinterKey>) =
            self.members.keys().partition(|key| **key <= self.turn);
        for key in behind.into_iter().chain(before) {
            let member = self.members.get_mut(&key)?;
            if let Some(publish) = member.publish(now, &self.settings) {
                self.turn = key;
                return Some(publish);
            }
        }
        None
    }

    /// The last words of an orderly stop.
    pub fn last_words(&self) -> Publish {
        kept(self.settings.topics.status(), topics::OFFLINE.into())
    }

    /// When something is due.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let looks = self.members.values().filter_map(|m| m.looks.front().copied());
        let looks = looks.chain(self.members.values().filter_map(|m| m.held.deadline()));
        if !self.connected {
            return looks.min();
        }
        let levels = self
            .members
            .values()
            .filter_map(|m| m.levels.deadline(now, self.settings.full));
        let pictures = self
            .members
            .values()
            .filter_map(|m| m.picture_due(self.settings.camera))
            .map(|at| at.unwrap_or(now));
        looks.chain(levels).chain(pictures).chain(self.birth_at).min()
    }

    /// Entries of a printer that wait for delivery.
    pub fn waiting(&self, key: PrinterKey) -> usize {
        self.members.get(&key).map_or(0, |m| m.outbox.len())
    }
}

fn kept(topic: String, payload: Vec<u8>) -> Publish {
    Publish {
        topic,
        payload,
        retain: true,
        token: None,
    }
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;
