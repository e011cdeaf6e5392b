//! One printer in the cloud: what it was told, what it is to be told, what it wants. Pure.
//!
//! | file | subject |
//! |---|---|
//! | `mod` | the parts, set-up, messages that are no demands |
//! | [`jobs`] | files, starts, and how jobs are reported |
//! | [`demands`] | everything else that the cloud wants |
//! | [`report`] | what is told when |

mod demands;
mod jobs;
mod report;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::action::{Action, Extras};
use super::ambient::Ambient;
use super::doc::{Doc, Phase};
use super::outbox::{Entry, Kind, Outbox};
use super::proto::{Connected, Message};
use super::temps::ToldTemps;
use super::throttle::{Rate, Throttle};
use super::view::{Ended, View};
use crate::json::json;
use crate::printer::model::{Now, StateWord};
use crate::sorted::SortedMap;

pub use jobs::StartResult;

/// A document that could not be written is tried again after this.
const SAVE_AGAIN: Duration = Duration::from_secs(5);

/// Events that were open before a restart are settled at the earliest after this: the printer has to
/// be looked at first.
const SETTLE_AFTER: Duration = Duration::from_secs(20);

/// Messages beside the regular ones that wait to be sent (answers). When full the oldest goes.
const ANSWERS_MAX: usize = 64;

/// Member of an object that holds the words by which the file names it; it is not told.
pub const OBJECT_KEY: &str = "key";

/// What a printer wants of the session.
#[derive(Clone, Debug, PartialEq)]
pub enum Out {
    /// A message.
    Send(&'static str, Option<Value>),
    /// Something to do.
    Act(Action),
    /// Keep the document; the version is asked back.
    Save(u64),
    /// Keep until delivered.
    Put(Entry),
    /// Delivered.
    Delivered(Vec<String>),
    /// Ask for a confirmation.
    Confirm,
}

/// What the host may do when the cloud says so: words of `[host] allow`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions(pub Vec<String>);

/// What the cloud was told on this connection.
#[derive(Debug, Default)]
struct Told {
    word: Option<StateWord>,
    error: Option<String>,
    temps: ToldTemps,
    firmware: Option<Value>,
    machine: Option<Value>,
    cpu: Option<Value>,
    ambient: Option<i64>,
    tool: Option<u8>,
    job: SortedMap<&'static str, Value>,
    skipped: Option<Vec<u32>>,
    objects: Option<Value>,
    camera: Option<bool>,
    power: Option<bool>,
    filament: Option<bool>,
    mesh: Option<Value>,
    webcam: Option<Value>,
    peripherals: Option<Value>,
    materials: Option<super::materials::Told>,
}

/// One printer.
#[derive(Debug)]
pub struct PrinterCore {
    doc: Doc,
    /// Counts up with every change of the document.
    version: u64,
    saved_version: u64,
    asked_version: u64,
    save_at: Option<Instant>,
    /// `connected` has come on this connection.
    connected: bool,
    in_setup: bool,
    began: Instant,
    view: View,
    seen: bool,
    extras: Extras,
    told: Told,
    throttle: Throttle,
    outbox: Outbox,
    answers: VecDeque<(&'static str, Value)>,
    remarks: VecDeque<Value>,
    ambient: Ambient,
    permissions: Permissions,
    /// The code that people were shown.
    shown: Option<String>,
    /// Ping on its way.
    pinged: Option<Instant>,
    pings_missed: u32,
    latency_ms: Option<u64>,
    /// The running fetch or start.
    flow: jobs::Flow,
    /// Objects of the running print, as they go out.
    objects: Option<(Uuid, Vec<Value>)>,
    object_keys: SortedMap<String, u64>,
    objects_asked: Option<Uuid>,
    looking: Option<Uuid>,
    looking_start: bool,
    frames_owed: u32,
    frame_flying: Option<Instant>,
    frame_taking: bool,
    webcam: Option<Value>,
    out: VecDeque<Out>,
}

impl PrinterCore {
    /// A printer as it was kept, with what waits to be delivered.
    pub fn new(doc: Doc, waiting: Vec<Entry>, permissions: Permissions, now: Now) -> Self {
        let mut outbox = Outbox::default();
        for entry in waiting {
            outbox.push(entry);
        }
        let mut core = PrinterCore {
            ambient: Ambient::starting_at(doc.ambient_c),
            in_setup: !doc.is_claimed(),
            doc,
            version: 1,
            saved_version: 0,
            asked_version: 0,
            save_at: None,
            connected: false,
            began: now.mono,
            view: View::unknown(),
            seen: false,
            extras: Extras::default(),
            told: Told::default(),
            throttle: Throttle::default(),
            outbox,
            answers: VecDeque::new(),
            remarks: VecDeque::new(),
            permissions,
            shown: None,
            pinged: None,
            pings_missed: 0,
            latency_ms: None,
            flow: jobs::Flow::default(),
            objects: None,
            object_keys: SortedMap::new(),
            objects_asked: None,
            looking: None,
            looking_start: false,
            frames_owed: 0,
            frame_flying: None,
            frame_taking: false,
            webcam: None,
            out: VecDeque::new(),
        };
        core.after_restart(now);
        core
    }

    /// The durable part.
    pub fn doc(&self) -> &Doc {
        &self.doc
    }

    /// Whether the cloud has greeted this printer on this connection.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// Whether everything may be said.
    fn is_open(&self) -> bool {
        self.connected && !self.in_setup && self.doc.is_claimed()
    }

    /// Things that wait to be delivered.
    pub fn undelivered(&self) -> usize {
        self.outbox.len()
    }

    /// Changes the document; it is written with the next pump.
    fn change(&mut self, f: impl FnOnce(&mut Doc)) {
        f(&mut self.doc);
        self.version += 1;
    }

    /// The document of a version that was asked to be kept.
    pub fn body(&self) -> String {
        serde_json::to_string(&self.doc).unwrap_or_default()
    }

    /// The document is on the disk, or could not be written.
    pub fn saved(&mut self, now: Instant, version: u64, ok: bool) {
        self.asked_version = 0;
        self.save_at = None;
        if ok {
            self.saved_version = self.saved_version.max(version);
        } else {
            self.save_at = Some(now + SAVE_AGAIN);
        }
    }

    /// The connection is gone.
    pub fn disconnected(&mut self, now: Now) {
        self.connected = false;
        self.pinged = None;
        self.pings_missed = 0;
        self.latency_ms = None;
        self.answers.clear();
        self.remarks.clear();
        self.frames_owed = 0;
        self.frame_flying = None;
        self.outbox.lost();
        self.drop_start(now);
        self.out.push_back(Out::Act(Action::StopStream));
        self.out.push_back(Out::Act(Action::Terminal(false)));
    }

    /// Everything sent up to `asked_at` has arrived.
    pub fn confirmed(&mut self, asked_at: Instant) {
        let keys = self.outbox.confirm(asked_at);
        if !keys.is_empty() {
            self.out.push_back(Out::Delivered(keys));
        }
    }

    /// The cloud has spoken to this printer.
    pub fn message(&mut self, now: Now, message: Message) {
        match message {
            Message::Connected(connected) => self.on_connected(now, connected),
            Message::NewToken {
                token,
                short_id,
                no_exist,
            } => {
                if no_exist || self.doc.is_claimed() {
                    self.unclaim(now);
                }
                self.in_setup = true;
                self.change(|doc| {
                    doc.token = Some(token);
                    doc.short_id = short_id;
                });
            }
            Message::CompleteSetup { printer_id } => {
                self.change(|doc| {
                    doc.id = printer_id;
                    doc.short_id = None;
                });
                self.in_setup = false;
                self.restart_telling();
                self.adopt_running();
                self.look_at_notices(now);
            }
            Message::Intervals(intervals) => self.throttle.merge(&intervals),
            Message::Pong => {
                if let Some(asked_at) = self.pinged.take() {
                    self.pings_missed = 0;
                    let ms = now.mono.saturating_duration_since(asked_at).as_millis();
                    self.latency_ms = u64::try_from(ms).ok();
                    // A ping was answered: whatever went before it has arrived.
                    self.confirmed(asked_at);
                }
            }
            Message::StreamReceived => self.frame_flying = None,
            Message::Demand(demand) => {
                if self.connected {
                    self.demand(now, demand);
                } else {
                    self.note("a demand before `connected` was ignored");
                }
            }
            // The session's own.
            Message::PrinterSettings
            | Message::Added { .. }
            | Message::Removed { .. }
            | Message::Error { .. }
            | Message::Unknown(_) => {}
        }
    }

    fn on_connected(&mut self, now: Now, connected: Connected) {
        self.connected = true;
        self.throttle.merge(&connected.intervals);
        if let Some(in_setup) = connected.in_setup {
            if in_setup && self.doc.is_claimed() {
                // Lost registration without a new token.
                self.unclaim(now);
            }
            self.in_setup = in_setup;
        } else {
            self.in_setup = !self.doc.is_claimed();
        }
        if self.in_setup && connected.short_id.is_some() && connected.short_id != self.doc.short_id {
            self.change(|doc| doc.short_id = connected.short_id.clone());
        }
        if !self.in_setup && (connected.name != self.doc.name || self.doc.short_id.is_some()) {
            self.change(|doc| {
                doc.name = connected.name.clone().or_else(|| doc.name.take());
                doc.short_id = None;
            });
        }
        self.pinged = None;
        self.restart_telling();
        self.look_at_notices(now);
    }

    /// Whoever is new to this printer hears everything.
    fn restart_telling(&mut self) {
        self.told = Told::default();
        self.throttle.restart();
        self.flow.restart_telling();
    }

    /// The cloud does not know this printer any more.
    fn unclaim(&mut self, now: Now) {
        self.drop_start(now);
        if let Some(sha256) = self.doc.job.as_ref().and_then(|j| j.sha256.clone()) {
            self.out.push_back(Out::Act(Action::Forget { sha256 }));
        }
        let keys = self.outbox.clear();
        if !keys.is_empty() {
            self.out.push_back(Out::Delivered(keys));
        }
        self.flow = jobs::Flow::default();
        self.change(Doc::unclaim);
        self.in_setup = true;
        self.note("the cloud does not know this printer any more; it is in set-up");
    }

    /// The printer was deleted in the account while we were connected.
    pub fn deleted(&mut self, now: Now) {
        if self.doc.is_claimed() {
            self.unclaim(now);
        }
        self.change(|doc| {
            doc.token = None;
            doc.short_id = None;
        });
        self.disconnected(now);
    }

    /// The answer to `add_connection` names another number than ours.
    pub fn adopt_pid(&mut self, pid: i64) {
        if pid > 0 && pid != self.doc.id && !self.in_setup {
            self.change(|doc| doc.id = pid);
        }
    }

    /// A new snapshot of the printer.
    pub fn observe(&mut self, now: Now, view: View) {
        let tool0 = view.heaters.get("tool0").copied();
        if let Some(heat) = tool0 {
            let busy = view.job.is_some() || heat.target_c.is_some_and(|t| t > 0.0);
            if self.ambient.sample(now.mono, heat.actual_c, busy) {
                let known = self.ambient.known_c();
                self.change(|doc| doc.ambient_c = known);
            }
        }
        self.view = view;
        self.seen = true;
        self.look_at_job(now);
        self.look_at_notices(now);
    }

    /// Host, camera, supply, sensors.
    pub fn observe_extras(&mut self, extras: Extras) {
        self.extras = extras;
    }

    /// What the shell looked up about a job that went out of sight.
    pub fn looked_up(&mut self, now: Now, uid: Uuid, ended: Option<Ended>) {
        if self.looking != Some(uid) {
            return;
        }
        self.looking = None;
        self.ended_unseen(now, uid, ended);
        self.look_at_job(now);
    }

    /// The objects of the file that prints.
    pub fn objects(&mut self, uid: Uuid, mut objects: Vec<Value>) {
        if self.objects_asked != Some(uid) {
            return;
        }
        self.object_keys.clear();
        for object in &mut objects {
            let id = object.get("id").and_then(Value::as_u64);
            let key = object.as_object_mut().and_then(|o| o.remove(OBJECT_KEY));
            if let (Some(Value::String(key)), Some(id)) = (key, id) {
                self.object_keys.insert(key, id);
            }
        }
        self.objects = Some((uid, objects));
    }

    fn note(&mut self, text: impl Into<String>) {
        self.out.push_back(Out::Act(Action::Note(text.into())));
    }

    /// A word to the person at the panel.
    fn remark(&mut self, title: &str, text: &str, at: Timestamp) {
        self.note(format!("{title} {text}"));
        if self.is_open() && self.remarks.len() < ANSWERS_MAX {
            self.remarks.push_back(super::notices::remark(title, text, at));
        }
    }

    fn answer(&mut self, kind: &'static str, data: Value) {
        if self.answers.len() >= ANSWERS_MAX {
            self.answers.pop_front();
        }
        self.answers.push_back((kind, data));
    }

    fn put(&mut self, entry: Entry) {
        self.out.push_back(Out::Put(entry.clone()));
        if let Some(gone) = self.outbox.push(entry) {
            self.out.push_back(Out::Delivered(vec![gone]));
        }
    }

    /// Compares the open notices with the open events.
    fn look_at_notices(&mut self, now: Now) {
        if !self.doc.is_claimed() || self.in_setup || !self.seen {
            return;
        }
        let word = self.view.word;
        for notice in self.view.notices.clone() {
            let content = super::notices::content(&notice, word);
            match self.doc.events.get(&notice.key) {
                Some(open) if open.said == content => {}
                Some(open) => {
                    let event_id = open.event_id;
                    let data = super::notices::changed(event_id, &content);
                    self.put_event(now, format!("{event_id}/{}", self.version), data);
                    self.change(|doc| {
                        if let Some(open) = doc.events.get_mut(&notice.key) {
                            open.said = content;
                        }
                    });
                }
                None => {
                    let event_id = Uuid::new_v4();
                    let data = super::notices::raised(event_id, &content, &notice);
                    self.put_event(now, format!("{event_id}/raised"), data);
                    let open = super::doc::OpenEvent {
                        event_id,
                        said: content,
                    };
                    self.change(|doc| {
                        doc.events.insert(notice.key.clone(), open);
                    });
                }
            }
        }
        // After a restart the printer itself has to say first what is open.
        if now.mono.saturating_duration_since(self.began) < SETTLE_AFTER && self.view.link != Some(true) {
            return;
        }
        let settled: Vec<String> = self
            .doc
            .events
            .keys()
            .filter(|key| !self.view.notices.iter().any(|n| n.key == **key))
            .cloned()
            .collect();
        for key in settled {
            self.resolve(now, &key);
        }
    }

    fn resolve(&mut self, now: Now, key: &str) {
        let Some(open) = self.doc.events.get(key) else {
            return;
        };
        let event_id = open.event_id;
        let data = super::notices::resolved(event_id, now.wall);
        self.put_event(now, format!("{event_id}/resolved"), data);
        self.change(|doc| {
            doc.events.remove(key);
        });
    }

    fn put_event(&mut self, now: Now, key: String, data: serde_json::Map<String, Value>) {
        self.put(Entry {
            key,
            at: now.wall,
            kind: Kind::Notice,
            data,
        });
    }

    /// The phase of the cloud's job.
    fn phase(&self) -> Option<Phase> {
        self.doc.job.as_ref().map(|j| j.phase)
    }

    /// The cloud's number of the job that is in hand now.
    fn job_id(&self) -> Option<i64> {
        match (&self.doc.tracked, &self.doc.job) {
            (Some(tracked), _) => tracked.job_id,
            (None, Some(job)) => job.job_id,
            (None, None) => None,
        }
    }

    /// A picture for the live view; `None`: there was none to be had.
    pub fn frame(&mut self, now: Now, base64: Option<String>) {
        self.frame_taking = false;
        let Some(base64) = base64 else {
            self.frames_owed = 0;
            return;
        };
        if self.frames_owed == 0 || !self.is_open() {
            return;
        }
        self.frames_owed -= 1;
        self.frame_flying = Some(now.mono);
        self.throttle.note(Rate::Webcam, now.mono);
        self.answer("stream", json!({"base": base64}));
    }

    /// How a demand with an identifier ended.
    pub fn executed(&mut self, identifier: &str, ok: bool, message: &str) {
        let message = Some(message).filter(|m| !m.is_empty());
        self.answer(
            "gcode_executed",
            json!({"identifier": identifier, "success": ok, "message": message}),
        );
    }

    /// An answer that the shell has put together (`logs_sent`, `term_update`, `webcam_status`).
    pub fn answered(&mut self, kind: &'static str, data: Value) {
        if self.is_open() {
            self.answer(kind, data);
        }
    }

    /// Something that the person at the panel should know.
    pub fn refused(&mut self, now: Now, what: &str, why: &str) {
        self.remark(what, why, now.wall);
    }

    /// Takes out what is to be done.
    pub fn poll(&mut self) -> Option<Out> {
        self.out.pop_front()
    }
}
