//! A small Klipper behind Moonraker, in memory: frames in, frames out. Pure; for tests of the core: what it
//! does is set by hand. [`super::sim`] is the one that lives by itself.
//!
//! It answers as the real ones were seen to: a script waits while the bed heats, an emergency stop does
//! not, a cancel leaves the heaters on.

use serde_json::{Map, Value};

use crate::json::json;

/// The printer.
#[derive(Debug, Default)]
pub struct Sim {
    /// `print_stats.state`.
    pub state: String,
    /// The file.
    pub file: String,
    /// Words of a shutdown.
    pub shutdown: Option<String>,
    /// Klipper starts.
    pub starting: bool,
    /// Subscriptions that were asked for.
    pub subscribed: u32,
    /// klippy's process is not there.
    pub gone: bool,
    /// Another connection has our name.
    pub agent_taken: bool,
    /// Objects that a new configuration no longer has.
    pub without: Vec<&'static str>,
    /// The bed heats: scripts wait.
    pub heating: bool,
    /// Target of the bed, °C.
    pub bed_c: f64,
    /// `pause_resume.is_paused`.
    pub is_paused: bool,
    /// Names that are left out.
    pub excluded: Vec<String>,
    /// What was executed, in order.
    pub executed: Vec<String>,
    waiting: Vec<(u64, String)>,
}

impl Sim {
    /// A printer that is ready.
    pub fn new() -> Self {
        Sim {
            state: "standby".to_owned(),
            ..Sim::default()
        }
    }

    /// A frame of the client; what comes back.
    pub fn take(&mut self, text: &str) -> Vec<String> {
        let frame: Value = serde_json::from_str(text).unwrap_or_default();
        let id = frame.get("id").and_then(Value::as_u64).unwrap_or_default();
        let method = frame.get("method").and_then(Value::as_str).unwrap_or_default();
        let word = |name: &str| {
            frame
                .pointer(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let result = match method {
            "server.connection.identify" => {
                let kind = word("/params/type");
                self.executed.push(format!("identify {kind}"));
                if kind == "agent" && self.agent_taken {
                    let words = "Agent 'layerd' already registered and connected'";
                    return vec![
                        json!({"jsonrpc": "2.0", "error": {"code": 400, "message": words}, "id": id})
                            .to_string(),
                    ];
                }
                json!({"connection_id": 1})
            }
            "server.info" => {
                let state = self.klippy();
                json!({"klippy_connected": !self.gone, "klippy_state": state, "components": []})
            }
            "printer.info" => json!({"state_message": self.shutdown, "software_version": "sim"}),
            "printer.objects.list" => {
                let names: Vec<String> = self.objects().keys().cloned().collect();
                json!({"objects": names})
            }
            "printer.objects.query" => {
                let settings = json!({"extruder": {"max_temp": 280}, "heater_bed": {"max_temp": 110}});
                json!({"status": {"configfile": {"settings": settings}}})
            }
            "printer.objects.subscribe" => {
                self.subscribed += 1;
                json!({"eventtime": 1.0, "status": self.objects()})
            }
            "printer.emergency_stop" => {
                self.shutdown = Some("Shutdown due to webhooks request".to_owned());
                return vec![
                    answer(id, &json!("ok")),
                    self.update(),
                    r#"{"jsonrpc":"2.0","method":"notify_klippy_shutdown"}"#.to_owned(),
                ];
            }
            "printer.print.start" => return self.queue(id, format!("START {}", word("/params/filename"))),
            "printer.print.pause" => return self.queue(id, "PAUSE".to_owned()),
            "printer.print.resume" => return self.queue(id, "RESUME".to_owned()),
            "printer.print.cancel" => return self.queue(id, "CANCEL_PRINT".to_owned()),
            "printer.gcode.script" => return self.queue(id, word("/params/script")),
            _ => json!({}),
        };
        vec![answer(id, &result)]
    }

    /// The bed is hot: what waited is executed.
    pub fn heated(&mut self) -> Vec<String> {
        self.heating = false;
        let waiting = std::mem::take(&mut self.waiting);
        waiting
            .into_iter()
            .flat_map(|(id, script)| self.queue(id, script))
            .collect()
    }

    fn klippy(&self) -> &'static str {
        match &self.shutdown {
            _ if self.gone => "disconnected",
            Some(_) => "shutdown",
            None if self.starting => "startup",
            None => "ready",
        }
    }

    fn queue(&mut self, id: u64, script: String) -> Vec<String> {
        if self.heating {
            self.waiting.push((id, script));
            return Vec::new();
        }
        for line in script.lines() {
            self.execute(line);
        }
        vec![self.update(), answer(id, &json!("ok"))]
    }

    fn execute(&mut self, line: &str) {
        self.executed.push(line.to_owned());
        match line.split_once(' ') {
            Some(("START", file)) => {
                self.file = file.to_owned();
                self.state = "printing".to_owned();
            }
            Some(("EXCLUDE_OBJECT", name)) => self.excluded.push(name.replace("NAME=", "").to_uppercase()),
            _ => match line {
                // With a stale pause it does nothing (seen).
                "PAUSE" if self.is_paused => {}
                "PAUSE" => {
                    self.is_paused = true;
                    if self.state == "printing" {
                        self.state = "paused".to_owned();
                    }
                }
                "CLEAR_PAUSE" => self.is_paused = false,
                "RESUME" => {
                    self.is_paused = false;
                    self.state = "printing".to_owned();
                }
                "CANCEL_PRINT" => {
                    self.is_paused = false;
                    self.state = "cancelled".to_owned();
                }
                "TURN_OFF_HEATERS" => self.bed_c = 0.0,
                _ => {}
            },
        }
    }

    /// A status notification with everything.
    pub fn update(&self) -> String {
        json!({"jsonrpc": "2.0", "method": "notify_status_update", "params": [self.objects(), 2.0]})
            .to_string()
    }

    fn objects(&self) -> Map<String, Value> {
        let state = self.klippy();
        let all = json!({
            "webhooks": {"state": state, "state_message": self.shutdown.as_deref().unwrap_or("Printer is ready")},
            "print_stats": {"state": self.state, "filename": self.file, "total_duration": 1.0, "message": ""},
            "virtual_sdcard": {"progress": 0.5},
            "pause_resume": {"is_paused": self.is_paused},
            "toolhead": {"homed_axes": "xyz", "extruder": "extruder", "axis_minimum": [0, 0, -2, 0], "axis_maximum": [250, 210, 200, 0]},
            "heater_bed": {"temperature": 21.0, "target": self.bed_c},
            "exclude_object": {"objects": [{"name": "ANT"}, {"name": "ZEBRA"}], "excluded_objects": self.excluded},
        });
        let mut all = all.as_object().cloned().unwrap_or_default();
        all.retain(|name, _| !self.without.contains(&name.as_str()));
        all
    }
}

fn answer(id: u64, result: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string()
}
