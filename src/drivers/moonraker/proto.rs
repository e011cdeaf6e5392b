//! The conversation with Moonraker: connecting, Klipper's life cycle, state. Pure.
//!
//! Frames, requests and time go in; frames, events and answers come out. The core outlives
//! connections: a print goes on while Moonraker is away, and is recognised when it is back.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::equipment::load;
use super::faults;
use super::orders::Orders;
use super::people::People;
use super::rpc::{self, Incoming, RpcError};
use super::status::{Status, subscription};
use super::watch::{Told, Watch};
use crate::json::{self, json};
use crate::printer::capability::Capabilities;
use crate::printer::command::{RequestId, StartJob};
use crate::printer::equipment::Equipment;
use crate::printer::event::Event;
use crate::printer::fault::Fault;
use crate::printer::model::{Firmware, MachineLimits, Now};
use crate::printer::notice::{Level, Notice};
use crate::printer::outcome::{Missing, Outcome};
use crate::sorted::SortedMap;

/// How often Moonraker is asked while Klipper is not ready: nobody tells when it enters `error`.
const POLL: Duration = Duration::from_secs(2);

/// Moonraker reports its own load every second. After so long without a word it is asked …
const QUIET: Duration = Duration::from_secs(6);

/// … and after so long the connection counts as dead.
const SILENT: Duration = Duration::from_secs(15);

/// Calls without an answer; beyond it new commands are refused as busy.
pub const CALLS_MAX: usize = 64;

/// What the shell has to do.
#[derive(Debug)]
pub enum Output {
    /// Send a frame.
    Send(String),
    /// Tell the actor.
    Event(Event),
    /// A command has ended.
    Reply(RequestId, Outcome),
    /// Bring the file of a job to Moonraker under this name; the answer goes to [`Core::uploaded`].
    Upload(StartJob, String),
    /// Nobody wants the file any more.
    AbortUpload,
    /// Keep what a restart has to know of the job, or forget it.
    Remember(Option<super::memory::Record>),
    /// End the session.
    Hangup(Fault),
}

/// Klipper's condition as Moonraker tells it.
#[derive(Clone, Debug, PartialEq)]
pub enum Klippy {
    /// Not asked yet.
    Unknown,
    /// No process, or no socket.
    Disconnected,
    /// Starting.
    Startup,
    /// Stopped by a fault; the words say which.
    Fault(String),
    /// Ready; `true` once its objects are known on this connection.
    Ready(bool),
}

/// What a call was for.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// Who we are.
    Identify {
        /// As an agent: one of a name.
        agent: bool,
    },
    /// `server.info`.
    ServerInfo,
    /// `printer.info`.
    PrinterInfo,
    /// Names of the objects.
    List,
    /// Klipper's configuration.
    Config,
    /// The snapshot.
    Subscribe,
    /// Facts of a file.
    Metadata(String),
    /// A command of somebody.
    Order(super::orders::Kind),
    /// Lines of somebody, and when they went out; unknown commands show on the console only.
    Lines(RequestId, Instant),
    /// The cameras that Moonraker knows.
    Cameras,
    /// The switches that it has.
    Switches,
    /// Nobody waits for it.
    Quiet,
}

/// The core.
#[derive(Debug)]
pub struct Core {
    pub(super) out: VecDeque<Output>,
    next: u64,
    pub(super) calls: SortedMap<u64, Call>,
    pub(super) klippy: Klippy,
    pub(super) status: Status,
    pub(super) orders: Orders,
    pub(super) watch: Watch,
    pub(super) told: Told,
    pub(super) console: VecDeque<String>,
    pub(super) equipment: Equipment,
    pub(super) people: People,
    pub(super) cancel_macro: bool,
    pub(super) can_skip: bool,
    limits: MachineLimits,
    heard: Option<Instant>,
    /// The oldest question about the printer's state that is open, and when it was first seen so.
    asked: Option<(u64, Instant)>,
    /// Since when calls are open and none is answered.
    unanswered: Option<Instant>,
    poll: Option<Instant>,
    tick: Option<Instant>,
    up: bool,
    /// The objects have to be asked for: subscriptions end with Klipper's socket.
    stale: bool,
    own_client: bool,
}

#[derive(Deserialize)]
struct ServerInfo {
    klippy_connected: Option<bool>,
    klippy_state: Option<String>,
    #[serde(default)]
    components: Vec<String>,
}

#[derive(Deserialize)]
struct PrinterInfo {
    state_message: Option<String>,
    software_version: Option<String>,
    hostname: Option<String>,
}

#[derive(Deserialize)]
struct Settings {
    status: SettingsStatus,
}

#[derive(Deserialize)]
struct SettingsStatus {
    configfile: SettingsOf,
}

#[derive(Deserialize)]
struct SettingsOf {
    settings: SortedMap<String, Section>,
}

/// The few keys that matter; everything else of a large configuration is never kept.
#[derive(Deserialize)]
#[serde(untagged)]
enum Section {
    Heater { max_temp: f64 },
    Other(serde::de::IgnoredAny),
}

impl Core {
    /// A core that has not connected yet. `watch`: what it has to answer for.
    pub fn new(watch: Watch) -> Self {
        Core {
            out: VecDeque::new(),
            next: 1,
            calls: SortedMap::new(),
            klippy: Klippy::Unknown,
            status: Status::default(),
            orders: Orders::default(),
            watch,
            told: Told::default(),
            console: VecDeque::new(),
            equipment: Equipment::default(),
            people: People::default(),
            cancel_macro: false,
            can_skip: false,
            limits: MachineLimits::default(),
            heard: None,
            asked: None,
            unanswered: None,
            poll: None,
            tick: None,
            up: false,
            stale: true,
            own_client: false,
        }
    }

    /// What is to be done; drain after every call.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// A connection is there.
    pub fn opened(&mut self, now: Now) {
        self.calls.clear();
        self.klippy = Klippy::Unknown;
        self.up = false;
        self.stale = true;
        self.heard = Some(now.mono);
        self.asked = None;
        self.unanswered = None;
        self.tick = Some(now.mono);
        self.poll = None;
        self.told.connection();
        self.identify(true);
        self.call(Call::ServerInfo, "server.info", Value::Null);
    }

    /// Says who we are. The key, if any, went with the handshake: frames hold no secret.
    fn identify(&mut self, agent: bool) {
        let who = json!({
            "client_name": "layerd", "version": env!("CARGO_PKG_VERSION"),
            "type": if agent { "agent" } else { "other" }, "url": "urn:layerd",
        });
        self.call(Call::Identify { agent }, "server.connection.identify", who);
    }

    /// The connection is gone; the print, if any, is not.
    pub fn closed(&mut self, now: Now) {
        for call in std::mem::take(&mut self.calls).into_values() {
            // Whether they were executed nobody knows.
            if let Call::Lines(id, sent) = call {
                let waited = now.mono.saturating_duration_since(sent);
                let missing = Missing::Ack;
                self.out
                    .push_back(Output::Reply(id, Outcome::Unverified { waited, missing }));
            }
        }
        self.klippy = Klippy::Unknown;
        self.heard = None;
        self.looks_away();
        self.orders_lost(now);
    }

    /// When [`Core::tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.tick
    }

    /// A text frame. What is not JSON is skipped: the next one may be.
    pub fn frame(&mut self, now: Now, text: &str) {
        self.heard = Some(now.mono);
        match rpc::parse(text) {
            Some(Incoming::Answer { id, result }) => {
                self.unanswered = None;
                if let Some(call) = self.calls.remove(&id) {
                    self.answer(now, call, result);
                }
            }
            Some(Incoming::Notice { method, params }) => self.notice(now, &method, params),
            Some(Incoming::Other) | None => {}
        }
    }

    /// Time passes.
    pub fn tick(&mut self, now: Now) {
        if self.tick.is_none_or(|due| now.mono < due) {
            return;
        }
        self.tick = Some(now.mono + Duration::from_secs(1));
        let silent = self
            .heard
            .map_or(Duration::ZERO, |at| now.mono.saturating_duration_since(at));
        if silent >= SILENT || self.is_ignored(now) {
            self.out.push_back(Output::Hangup(faults::SILENT));
            return;
        }
        let asked = self.calls.values().any(|c| *c == Call::ServerInfo);
        // A script is answered when it is through, and that may take long; this one Moonraker answers at once. Where it
        // does not, nobody would hear of an order either, whatever the reports show.
        self.unanswered = match self.calls.is_empty() {
            true => None,
            false => self.unanswered.or(Some(now.mono)),
        };
        let waits = self
            .unanswered
            .is_some_and(|since| now.mono.saturating_duration_since(since) >= QUIET);
        let due = self.poll.is_some_and(|at| now.mono >= at) || silent >= QUIET || waits;
        if due && !asked {
            self.poll = None;
            self.call(Call::ServerInfo, "server.info", Value::Null);
        }
        self.evaluate(now);
        self.tell_levels(now);
    }

    /// Whether a question that everything else rests on waits for too long: reports alone show that somebody is
    /// there, not that we are heard.
    fn is_ignored(&mut self, now: Now) -> bool {
        let asked = self.calls.iter().find(|(_, call)| {
            matches!(
                call,
                Call::ServerInfo | Call::PrinterInfo | Call::List | Call::Config | Call::Subscribe
            )
        });
        self.asked = match (asked, self.asked) {
            (Some((id, _)), Some((known, since))) if *id == known => Some((known, since)),
            (Some((id, _)), _) => Some((*id, now.mono)),
            (None, _) => None,
        };
        self.asked
            .is_some_and(|(_, since)| now.mono.saturating_duration_since(since) >= SILENT)
    }

    /// Sends a call.
    pub(super) fn call(&mut self, call: Call, method: &str, params: Value) {
        let id = self.next;
        self.next += 1;
        self.calls.insert(id, call);
        self.out.push_back(Output::Send(rpc::call(id, method, params)));
    }

    /// Sends lines of G-code.
    pub(super) fn script(&mut self, call: Call, lines: &str) {
        self.call(call, "printer.gcode.script", json!({"script": lines}));
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.out.push_back(Output::Event(event));
    }

    /// The connection counts as up when Klipper's condition is known, not before: whoever sees it up
    /// sees what the printer does as well.
    pub(super) fn came_up(&mut self, now: Now) {
        if self.up {
            return;
        }
        self.up = true;
        self.tell(Event::Up);
        self.tell(if self.own_client {
            Event::Notice(Notice::of_fault(
                &faults::OWN_SIMPLYPRINT,
                Level::Warning,
                now.wall,
            ))
        } else {
            Event::NoticeCleared(faults::OWN_SIMPLYPRINT.code.to_string())
        });
    }

    /// Whether Klipper is ready and its state known.
    pub(super) fn is_live(&self) -> bool {
        self.klippy == Klippy::Ready(true)
    }

    fn answer(&mut self, now: Now, call: Call, result: Result<&RawValue, RpcError>) {
        if let Err(error) = &result
            && error.is_unauthorized()
        {
            if let Call::Lines(id, _) = call {
                self.out
                    .push_back(Output::Reply(id, super::orders::rejected(error)));
            }
            let fault = faults::UNAUTHORIZED.with_raw(error.message.clone());
            self.out.push_back(Output::Hangup(fault));
            return;
        }
        match call {
            // Another connection has this name, perhaps our own of before that Moonraker still believes in.
            Call::Identify { agent: true } if result.is_err() => self.identify(false),
            Call::Identify { .. } | Call::Quiet => {}
            Call::Cameras | Call::Switches => {
                if let Some(told) = result.ok().and_then(|raw| json::read(raw.get()).ok()) {
                    self.equipment(&call, &told);
                }
            }
            Call::ServerInfo => self.on_server_info(now, result),
            Call::PrinterInfo => self.on_printer_info(now, result),
            Call::List => match result.ok().and_then(|raw| objects_of(raw.get())) {
                Some(names) => self.on_objects(&names),
                None => self.poll = Some(now.mono + POLL),
            },
            Call::Config => {
                let settings = result.ok().and_then(|raw| json::read::<Settings>(raw.get()).ok());
                if let Some(settings) = settings {
                    self.on_settings(&settings.status.configfile.settings);
                }
            }
            Call::Subscribe => {
                let snapshot = result.ok().and_then(|raw| json::read::<Value>(raw.get()).ok());
                match snapshot.as_ref().and_then(|v| v.get("status")?.as_object()) {
                    Some(snapshot) => self.on_snapshot(now, snapshot),
                    None => self.poll = Some(now.mono + POLL),
                }
            }
            Call::Metadata(file) => {
                if let Some(facts) = result.ok().and_then(|raw| json::read::<Value>(raw.get()).ok()) {
                    self.watch.facts(&file, &facts);
                }
            }
            Call::Order(kind) => self.order_answered(now, kind, result.map(drop)),
            Call::Lines(id, _) => {
                let unknown = self
                    .console
                    .iter()
                    .find(|l| l.contains("Unknown command:"))
                    .cloned();
                let outcome = match (result, unknown) {
                    (Err(error), _) => super::orders::rejected(&error),
                    (Ok(_), Some(words)) => Outcome::Rejected {
                        by_printer: faults::plain(words.trim_start_matches("// ")).to_owned(),
                        fault: None,
                    },
                    (Ok(_), None) => Outcome::Sent,
                };
                self.out.push_back(Output::Reply(id, outcome));
            }
        }
    }

    fn on_server_info(&mut self, now: Now, result: Result<&RawValue, RpcError>) {
        let info = result
            .ok()
            .and_then(|raw| json::read::<ServerInfo>(raw.get()).ok());
        let Some(info) = info else {
            self.out.push_back(Output::Hangup(faults::NOT_MOONRAKER));
            return;
        };
        if !self.up {
            self.ask_equipment(&info.components);
        }
        self.own_client = info.components.iter().any(|c| c == "simplyprint");
        let state = match (info.klippy_connected, info.klippy_state.as_deref()) {
            (Some(false), _) | (_, Some("disconnected")) => Klippy::Disconnected,
            (_, Some("ready")) => Klippy::Ready(false),
            (_, Some(words @ ("error" | "shutdown"))) => Klippy::Fault(words.to_owned()),
            _ => Klippy::Startup,
        };
        self.klippy_is(now, state);
    }

    /// Klipper's condition, from whoever tells it.
    fn klippy_is(&mut self, now: Now, state: Klippy) {
        match (&self.klippy, &state) {
            (Klippy::Ready(true), Klippy::Ready(_)) if !self.stale => return,
            (Klippy::Ready(true), Klippy::Ready(_)) => {}
            // The words come with `printer.info`; "shutdown" alone must not wipe them out.
            (Klippy::Fault(_), Klippy::Fault(_)) => {}
            _ => self.klippy = state.clone(),
        }
        match state {
            Klippy::Ready(_) => {
                self.stale = true;
                self.call(Call::PrinterInfo, "printer.info", Value::Null);
                self.call(Call::List, "printer.objects.list", Value::Null);
                let settings = json!({"objects": {"configfile": ["settings"]}});
                self.call(Call::Config, "printer.objects.query", settings);
            }
            Klippy::Fault(_) => {
                self.forget_prompt();
                self.call(Call::PrinterInfo, "printer.info", Value::Null);
                self.poll = Some(now.mono + POLL);
            }
            _ => {
                self.forget_prompt();
                self.poll = Some(now.mono + POLL);
                self.evaluate(now);
            }
        }
    }

    fn on_printer_info(&mut self, now: Now, result: Result<&RawValue, RpcError>) {
        let info = result
            .ok()
            .and_then(|raw| json::read::<PrinterInfo>(raw.get()).ok());
        let Some(info) = info else { return };
        if self.told.version != info.software_version {
            self.told.version.clone_from(&info.software_version);
            self.tell(Event::Identity(Firmware {
                name: "Klipper".to_owned(),
                version: info.software_version,
                machine: info.hostname,
            }));
        }
        if let Klippy::Fault(words) = &mut self.klippy {
            *words = info
                .state_message
                .filter(|words| !words.is_empty())
                .unwrap_or_else(|| "Klipper has stopped.".to_owned());
            self.evaluate(now);
        }
    }

    fn on_objects(&mut self, names: &[String]) {
        let has = |name: &str| names.iter().any(|n| n == name);
        self.cancel_macro = names
            .iter()
            .any(|n| n.eq_ignore_ascii_case("gcode_macro CANCEL_PRINT"));
        self.can_skip = has("exclude_object");
        let mut supported = vec![
            "layer.progress",
            "time.left",
            "print.start.predownload",
            "print.pause",
            "print.cancel",
            "gcode.send",
            "gcode.tune",
            "emergency.stop",
            "position.report",
            "outside.jobs",
            "prompt.answer",
        ];
        if self.can_skip {
            supported.push("objects.skip");
        }
        self.tell(Event::Capabilities(Capabilities::with(&supported)));
        let wanted = subscription(names);
        self.call(
            Call::Subscribe,
            "printer.objects.subscribe",
            json!({"objects": wanted}),
        );
    }

    fn on_settings(&mut self, settings: &SortedMap<String, Section>) {
        let limit = |name: &str| match settings.get(name) {
            Some(Section::Heater { max_temp }) if max_temp.is_finite() => Some(*max_temp as f32),
            _ => None,
        };
        self.limits.max_tool_c = limit("extruder");
        self.limits.max_bed_c = limit("heater_bed");
        self.tell(Event::Limits(self.limits));
    }

    fn on_snapshot(&mut self, now: Now, snapshot: &Map<String, Value>) {
        self.status.replace(snapshot);
        self.stale = false;
        self.klippy = match self.status.klippy() {
            Some(("shutdown" | "error", words)) => Klippy::Fault(words.to_owned()),
            Some(("startup", _)) => Klippy::Startup,
            _ => Klippy::Ready(true),
        };
        if !self.is_live() {
            self.poll = Some(now.mono + POLL);
        }
        self.limits.reach_mm = self.status.reach_mm();
        self.tell(Event::Limits(self.limits));
        self.told.ready_at(now.mono);
        self.evaluate(now);
        self.tell_levels(now);
    }

    fn notice(&mut self, now: Now, method: &str, params: Option<&RawValue>) {
        match method {
            "notify_status_update" => {
                let Some(Ok((delta, _))) =
                    params.map(|p| json::read::<(Map<String, Value>, serde::de::IgnoredAny)>(p.get()))
                else {
                    return;
                };
                self.status.merge(&delta);
                if delta.contains_key("webhooks")
                    && let Some((state, words)) = self.status.klippy()
                    && matches!(state, "shutdown" | "error")
                {
                    self.klippy = Klippy::Fault(words.to_owned());
                    self.poll = Some(now.mono + POLL);
                }
                self.evaluate(now);
            }
            // `server.info` says ready a moment before this comes (seen): who has been told of a printer
            // that is ready by then is right, and a start in between must not be refused. After a
            // restart of Klipper the loss of its socket comes first.
            "notify_klippy_ready" => {
                self.stale = true;
                self.klippy_is(now, Klippy::Ready(false));
            }
            "notify_klippy_shutdown" if matches!(self.klippy, Klippy::Fault(_)) => {}
            "notify_klippy_shutdown" => self.klippy_is(now, Klippy::Fault(String::new())),
            "notify_klippy_disconnected" => self.klippy_is(now, Klippy::Disconnected),
            "notify_gcode_response" => {
                if let Some(Ok([text])) = params.map(|p| json::read::<[String; 1]>(p.get())) {
                    // The last few lines only: M109 prints one a second.
                    while self.console.len() >= 8 {
                        self.console.pop_front();
                    }
                    if let Some(action) = text.strip_prefix("// action:") {
                        self.action(now, action);
                    }
                    self.console.push_back(text.chars().take(200).collect());
                }
            }
            "notify_proc_stat_update" => {
                if let Some([told]) = told_of(params) {
                    self.equipment.host = Some(load(&told));
                }
            }
            "notify_power_changed" => {
                if let Some([told]) = told_of(params) {
                    self.switch_told(&told);
                }
            }
            "notify_webcams_changed" => {
                if let Some([told]) = told_of(params) {
                    self.equipment(&Call::Cameras, &told);
                }
            }
            _ => {}
        }
    }
}

fn told_of(params: Option<&RawValue>) -> Option<[Value; 1]> {
    json::read(params?.get()).ok()
}

fn objects_of(text: &str) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct List {
        objects: Vec<String>,
    }
    json::read::<List>(text).ok().map(|l| l.objects)
}

#[cfg(test)]
#[path = "proto_tests.rs"]
mod tests;
