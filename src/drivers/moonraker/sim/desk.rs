//! The simulated printer's end of the wire, as klippy's own socket speaks it and as Moonraker does: frames in,
//! frames out. Pure.

use std::collections::VecDeque;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::klipper::{Klipper, Life, Options, Said, Ticket};

use crate::json::{self, json};
use crate::sorted::SortedMap;

/// How often Klipper looks at what has changed, s (seen: queries wait for the next round).
const ROUND_S: f64 = 0.25;

/// Clients at once; more are not served.
pub const CLIENTS_MAX: usize = 64;

/// Questions that wait for the next round; more are refused.
const QUESTIONS_MAX: usize = 256;

/// Whose words are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// klippy's socket, for a real Moonraker.
    Klippy,
    /// Moonraker's websocket.
    Moonraker,
}

/// What a client has asked to be told.
#[derive(Debug, Default)]
struct Client {
    /// Objects and fields.
    wanted: Option<Map<String, Value>>,
    /// How klippy's client wants its status.
    status_form: Value,
    /// How it wants the console.
    console_form: Option<Value>,
    /// As whom it has introduced itself.
    name: Option<String>,
    /// Knows the key, or need not.
    trusted: bool,
}

/// A question that is answered in the next round.
#[derive(Debug)]
struct Question {
    ticket: Ticket,
    objects: Map<String, Value>,
    subscribe: bool,
}

/// What goes out.
#[derive(Clone, Debug, PartialEq)]
pub enum Out {
    /// A frame to a client.
    Frame(u64, String),
    /// All clients are cut off: klippy's process is gone.
    Cut,
    /// A line was executed.
    Executed(String),
}

/// The desk.
#[derive(Debug)]
pub struct Desk {
    /// The printer behind it.
    pub printer: Klipper,
    dialect: Dialect,
    clients: SortedMap<u64, Client>,
    questions: Vec<Question>,
    before: Map<String, Value>,
    round_s: f64,
    alive_s: f64,
    out: VecDeque<Out>,
    /// Answers nothing and tells nothing, as behind a cable that was cut.
    pub mute: bool,
    /// Facts of the files that were uploaded, by name.
    pub facts: SortedMap<String, Value>,
    /// Words that let a client in once, the newest last.
    tokens: VecDeque<String>,
}

impl Desk {
    /// A desk with a printer that starts.
    pub fn new(dialect: Dialect, options: Options) -> Self {
        Desk {
            printer: Klipper::new(options),
            dialect,
            clients: SortedMap::new(),
            questions: Vec::new(),
            before: Map::new(),
            round_s: 0.0,
            alive_s: 0.0,
            out: VecDeque::new(),
            mute: false,
            facts: SortedMap::new(),
            tokens: VecDeque::new(),
        }
    }

    /// What goes out; drain after every call.
    pub fn poll(&mut self) -> Option<Out> {
        self.out.pop_front()
    }

    /// A client comes; `false`: there are too many.
    pub fn enter(&mut self, client: u64, trusted: bool) -> bool {
        let room = self.clients.len() < CLIENTS_MAX;
        if room {
            let trusted = Client {
                trusted,
                ..Client::default()
            };
            self.clients.insert(client, trusted);
        }
        room
    }

    /// A word that lets a client in, once.
    pub fn token(&mut self) -> String {
        if self.tokens.len() >= CLIENTS_MAX {
            self.tokens.pop_front();
        }
        let token = Uuid::new_v4().simple().to_string();
        self.tokens.push_back(token.clone());
        token
    }

    /// Whether this is such a word; it is none any more.
    pub fn redeem(&mut self, token: &str) -> bool {
        let at = self.tokens.iter().position(|t| t == token);
        at.and_then(|at| self.tokens.remove(at)).is_some()
    }

    /// A client goes.
    pub fn leave(&mut self, client: u64) {
        self.clients.remove(&client);
    }

    /// Time passes.
    pub fn advance(&mut self, now_s: f64) {
        self.printer.advance(now_s);
        self.drain();
        if now_s >= self.round_s {
            self.round_s = now_s + ROUND_S;
            self.round(now_s);
        }
        if self.dialect == Dialect::Moonraker && now_s >= self.alive_s {
            self.alive_s = now_s + 1.0;
            let load = json!([{"moonraker_stats": {"cpu_usage": 0.1}, "cpu_temp": 44.5, "system_cpu_usage": {"cpu": 3.0},
                "system_memory": {"total": 1_000_000, "available": 600_000, "used": 400_000}, "system_uptime": now_s}]);
            self.broadcast("notify_proc_stat_update", Some(load));
        }
    }

    /// A frame of a client.
    pub fn frame(&mut self, client: u64, text: &str) {
        if self.mute {
            return;
        }
        let Ok(frame) = json::read::<Value>(text) else {
            if self.dialect == Dialect::Moonraker {
                let error = json!({"code": -32700, "message": "Parse error"});
                self.send(client, &json!({"jsonrpc": "2.0", "error": error, "id": null}));
            }
            return;
        };
        let method = frame.get("method").and_then(Value::as_str).unwrap_or_default();
        let params = frame.get("params").unwrap_or(&Value::Null);
        let ticket = (client, frame.get("id").cloned().unwrap_or_default());
        let answer = match self.dialect {
            Dialect::Klippy => self.klippy(&ticket, method, params),
            Dialect::Moonraker => self.moonraker(&ticket, method, params),
        };
        if let Some(answer) = answer {
            self.answer(&ticket, answer);
        }
        self.drain();
    }

    fn klippy(&mut self, ticket: &Ticket, method: &str, params: &Value) -> Option<Result<Value, String>> {
        let script = match method {
            "list_endpoints" => return Some(Ok(json!({"endpoints": ENDPOINTS}))),
            "info" => return Some(Ok(self.info())),
            "emergency_stop" => {
                self.printer.shut_down("Shutdown due to webhooks request");
                return Some(Ok(json!({})));
            }
            "register_remote_method" => return Some(Ok(json!({}))),
            "gcode/help" => return Some(Ok(json!({}))),
            "gcode/subscribe_output" => {
                if let Some(client) = self.clients.get_mut(&ticket.0) {
                    client.console_form = Some(params["response_template"].clone());
                }
                return Some(Ok(json!({})));
            }
            "query_endstops/status" => return Some(Ok(json!({"x": "open", "y": "open", "z": "open"}))),
            "objects/list" => return Some(Ok(json!({"objects": self.printer.object_names()}))),
            "objects/query" | "objects/subscribe" => {
                return self.ask(ticket, method.ends_with("subscribe"), params);
            }
            "gcode/script" => match params["script"].as_str() {
                Some(text) => text.to_owned(),
                None => return Some(Err("Missing Argument [script]".to_owned())),
            },
            "gcode/restart" => "RESTART".to_owned(),
            "gcode/firmware_restart" => "FIRMWARE_RESTART".to_owned(),
            "pause_resume/pause" => "PAUSE".to_owned(),
            "pause_resume/resume" => "RESUME".to_owned(),
            "pause_resume/cancel" => "CANCEL_PRINT".to_owned(),
            _ => {
                return Some(Err(format!(
                    "webhooks: No registered callback for path '{method}'"
                )));
            }
        };
        self.printer.queue(Some(ticket.clone()), &script);
        None
    }

    fn moonraker(&mut self, ticket: &Ticket, method: &str, params: &Value) -> Option<Result<Value, String>> {
        let trusted = self.clients.get(&ticket.0).is_some_and(|c| c.trusted);
        if !trusted && method != "access.info" {
            return Some(Err("Unauthorized".to_owned()));
        }
        let gone = matches!(self.printer.life(), Life::Gone(_));
        Some(match method {
            "server.connection.identify" => return Some(self.identify(ticket.0, params)),
            "server.info" => Ok(json!({
                "klippy_connected": !gone, "klippy_state": self.condition(), "components": ["webcam", "power"],
                "moonraker_version": "simulated", "api_version": [1, 5, 0],
            })),
            "access.oneshot_token" => Ok(json!(self.token())),
            "server.files.metadata" => {
                let name = params["filename"].as_str().unwrap_or_default();
                let facts = self.facts.get(name).cloned();
                facts.ok_or_else(|| format!("Metadata not available for <{name}>"))
            }
            "server.webcams.list" => Ok(json!({"webcams": []})),
            "machine.device_power.devices" => Ok(json!({"devices": []})),
            "printer.print.start" => {
                let file = params["filename"].as_str().unwrap_or_default().replace('"', "");
                let script = format!("SDCARD_PRINT_FILE FILENAME=\"{file}\"");
                return self.klippy_method(ticket, "gcode/script", &json!({"script": script}));
            }
            _ => {
                let name = method.strip_prefix("printer.").unwrap_or_default();
                let name = match name {
                    "print.pause" | "print.resume" | "print.cancel" => {
                        name.replace("print.", "pause_resume/")
                    }
                    "restart" | "firmware_restart" => format!("gcode/{name}"),
                    _ => name.replace('.', "/"),
                };
                if name == "info" || ENDPOINTS.contains(&name.as_str()) {
                    return self.klippy_method(ticket, &name, params);
                }
                Err(format!("Method not found: {method}"))
            }
        })
    }

    /// A call that Moonraker hands on, if Klipper is there.
    fn klippy_method(
        &mut self,
        ticket: &Ticket,
        method: &str,
        params: &Value,
    ) -> Option<Result<Value, String>> {
        if matches!(self.printer.life(), Life::Gone(_)) {
            return Some(Err("Klippy Host not connected".to_owned()));
        }
        self.klippy(ticket, method, params).map(|answer| {
            // An empty answer becomes "ok" (seen).
            answer.map(|v| if v == json!({}) { json!("ok") } else { v })
        })
    }

    fn identify(&mut self, client: u64, params: &Value) -> Result<Value, String> {
        let name = params["client_name"].as_str().unwrap_or_default().to_owned();
        let agent = params["type"] == "agent";
        let taken = |c: &Client| agent && c.name.as_deref() == Some(name.as_str());
        if self.clients.values().any(taken) {
            return Err(format!("Agent '{name}' already registered and connected'"));
        }
        if let Some(client) = self.clients.get_mut(&client) {
            client.name = agent.then_some(name);
        }
        Ok(json!({"connection_id": client}))
    }

    fn ask(&mut self, ticket: &Ticket, subscribe: bool, params: &Value) -> Option<Result<Value, String>> {
        let Some(objects) = params["objects"].as_object() else {
            return Some(Err("Missing Argument [objects]".to_owned()));
        };
        if self.questions.len() >= QUESTIONS_MAX {
            return Some(Err("Too many questions".to_owned()));
        }
        if let (true, Some(client)) = (subscribe, self.clients.get_mut(&ticket.0)) {
            client.wanted = None;
            client.status_form = params["response_template"].clone();
        }
        self.questions.push(Question {
            ticket: ticket.clone(),
            objects: objects.clone(),
            subscribe,
        });
        None
    }

    /// One status round: questions are answered, changes are told.
    fn round(&mut self, now_s: f64) {
        let all = self.printer.objects_now();
        for question in std::mem::take(&mut self.questions) {
            let status = chosen(&question.objects, &all, None);
            if let (true, Some(client)) = (question.subscribe, self.clients.get_mut(&question.ticket.0)) {
                client.wanted = Some(question.objects);
            }
            self.answer(
                &question.ticket,
                Ok(json!({"eventtime": now_s, "status": status})),
            );
        }
        let mut frames = Vec::new();
        for (id, client) in &self.clients {
            let Some(wanted) = &client.wanted else { continue };
            let mut changed = chosen(wanted, &all, Some(&self.before));
            changed.retain(|_, fields| fields.as_object().is_some_and(|f| !f.is_empty()));
            if changed.is_empty() {
                continue;
            }
            frames.push((
                *id,
                match self.dialect {
                    Dialect::Klippy => with(
                        &client.status_form,
                        json!({"eventtime": now_s, "status": changed}),
                    ),
                    Dialect::Moonraker => notification("notify_status_update", Some(json!([changed, now_s]))),
                },
            ));
        }
        self.before = all;
        for (client, frame) in frames {
            self.send(client, &frame);
        }
    }

    /// Klipper's condition in Moonraker's words.
    fn condition(&self) -> &'static str {
        match self.printer.life() {
            Life::Gone(_) => "disconnected",
            Life::Startup(_) => "startup",
            Life::Ready => "ready",
            Life::Shutdown(_) => "shutdown",
        }
    }

    fn info(&self) -> Value {
        let all = self.printer.objects_now();
        let words = all.get("webhooks").and_then(|w| w.get("state_message"));
        json!({
            "state": self.condition(), "state_message": words, "hostname": "simulated",
            "klipper_path": "/nonexistent/klipper", "python_path": "/nonexistent/python", "process_id": std::process::id(), "user_id": 0, "group_id": 0,
            "log_file": "", "config_file": "", "software_version": "v0.12.0-simulated", "cpu_info": "simulated",
        })
    }

    fn answer(&mut self, ticket: &Ticket, result: Result<Value, String>) {
        if ticket.1.is_null() {
            return;
        }
        let frame = match (self.dialect, result) {
            (Dialect::Klippy, Ok(value)) => json!({"id": ticket.1, "result": value}),
            (Dialect::Klippy, Err(words)) => {
                json!({"id": ticket.1, "error": {"error": "WebRequestError", "message": words}})
            }
            (Dialect::Moonraker, Ok(value)) => json!({"jsonrpc": "2.0", "result": value, "id": ticket.1}),
            (Dialect::Moonraker, Err(words)) => {
                let code = match words.as_str() {
                    "Unauthorized" => -32602,
                    w if w.starts_with("Klippy ") => 503,
                    w if w.starts_with("Method not found") || w.starts_with("Metadata not") => -32601,
                    _ => 400,
                };
                json!({"jsonrpc": "2.0", "error": {"code": code, "message": words}, "id": ticket.1})
            }
        };
        self.send(ticket.0, &frame);
    }

    fn send(&mut self, client: u64, frame: &Value) {
        if !self.mute && self.clients.contains_key(&client) {
            self.out.push_back(Out::Frame(client, frame.to_string()));
        }
    }

    fn broadcast(&mut self, method: &str, params: Option<Value>) {
        let trusted = |(id, client): (&u64, &Client)| client.trusted.then_some(*id);
        let all: Vec<u64> = self.clients.iter().filter_map(trusted).collect();
        let frame = notification(method, params);
        for client in all {
            self.send(client, &frame);
        }
    }

    /// Hands on what the printer says.
    fn drain(&mut self) {
        while let Some(said) = self.printer.poll() {
            match said {
                Said::Executed(line) => self.out.push_back(Out::Executed(line)),
                Said::Done(ticket, result) => {
                    let empty = match self.dialect {
                        Dialect::Klippy => json!({}),
                        Dialect::Moonraker => json!("ok"),
                    };
                    self.answer(&ticket, result.map(|()| empty));
                }
                Said::Console(text) => self.console(&text),
                Said::Gone => self.cut(),
                Said::Ready => self.life_notice("notify_klippy_ready"),
                Said::Shutdown => self.life_notice("notify_klippy_shutdown"),
            }
        }
    }

    fn life_notice(&mut self, method: &str) {
        if self.dialect == Dialect::Moonraker {
            self.broadcast(method, None);
        }
    }

    fn console(&mut self, text: &str) {
        match self.dialect {
            Dialect::Moonraker => self.broadcast("notify_gcode_response", Some(json!([text]))),
            Dialect::Klippy => {
                let form = |(id, c): (&u64, &Client)| c.console_form.clone().map(|form| (*id, form));
                let all: Vec<(u64, Value)> = self.clients.iter().filter_map(form).collect();
                for (client, form) in all {
                    self.send(client, &with(&form, json!({"response": text})));
                }
            }
        }
    }

    fn cut(&mut self) {
        let lost = std::mem::take(&mut self.questions);
        self.before = Map::new();
        match self.dialect {
            Dialect::Klippy => self.out.push_back(Out::Cut),
            Dialect::Moonraker => {
                for question in lost {
                    self.answer(&question.ticket, Err("Klippy Disconnected".to_owned()));
                }
                for client in self.clients.values_mut() {
                    client.wanted = None;
                }
                self.broadcast("notify_klippy_disconnected", None);
            }
        }
    }
}

/// klippy's endpoints, also below `printer.` of Moonraker.
const ENDPOINTS: &[&str] = &[
    "list_endpoints",
    "info",
    "emergency_stop",
    "register_remote_method",
    "gcode/help",
    "gcode/script",
    "gcode/restart",
    "gcode/firmware_restart",
    "gcode/subscribe_output",
    "objects/list",
    "objects/query",
    "objects/subscribe",
    "pause_resume/cancel",
    "pause_resume/pause",
    "pause_resume/resume",
    "query_endstops/status",
];

fn notification(method: &str, params: Option<Value>) -> Value {
    match params {
        Some(params) => json!({"jsonrpc": "2.0", "method": method, "params": params}),
        None => json!({"jsonrpc": "2.0", "method": method}),
    }
}

/// The client's own form with the news put in.
fn with(form: &Value, params: Value) -> Value {
    let mut frame = form.as_object().cloned().unwrap_or_default();
    frame.insert("params".to_owned(), params);
    Value::Object(frame)
}

/// The objects and fields that were asked for; with `before` only what differs from it.
fn chosen(
    wanted: &Map<String, Value>,
    all: &Map<String, Value>,
    before: Option<&Map<String, Value>>,
) -> Map<String, Value> {
    let mut out = Map::new();
    for (name, fields) in wanted {
        let Some(object) = all.get(name).and_then(Value::as_object) else {
            if before.is_none() {
                out.insert(name.clone(), json!({}));
            }
            continue;
        };
        let asked = |field: &String| {
            fields
                .as_array()
                .is_none_or(|list| list.iter().any(|f| f == field))
        };
        let old = before.and_then(|b| b.get(name));
        let fresh =
            |field: &str, value: &Value| before.is_none() || old.and_then(|o| o.get(field)) != Some(value);
        let kept: Map<String, Value> = object
            .iter()
            .filter(|(field, value)| asked(field) && fresh(field, value))
            .map(|(field, value)| (field.clone(), value.clone()))
            .collect();
        out.insert(name.clone(), Value::Object(kept));
    }
    out
}
