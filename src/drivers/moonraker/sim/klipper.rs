//! A Klipper printer in memory: heaters, one queue of G-code, a file that prints, objects, a life cycle.
//!
//! It behaves as the real one was seen to: scripts wait behind what is executed now (M109 for minutes), an
//! emergency stop does not; a file yields to scripts line by line; a cancel leaves the heaters on; a pause of
//! an idle printer stays. Time is an argument.

use std::collections::VecDeque;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::json::json;
use crate::sorted::SortedMap;

/// Motion that is planned ahead of the head, s.
pub(super) const BUFFER_S: f64 = 1.0;

/// How long a restart takes until the process is back, s.
const RESTART_S: f64 = 0.5;

/// Air around it, °C.
const ROOM_C: f64 = 22.0;

/// Scripts that may wait; more are refused.
const SCRIPTS_MAX: usize = 256;

/// Lines executed in one go, so that a file without moves does not hold up everything else.
const TURN_MAX: usize = 2000;

/// What Klipper adds to the reason of a shutdown.
const SHUTDOWN_HINT: &str = "Once the underlying issue is corrected, use the\n\"FIRMWARE_RESTART\" command to reset the firmware, reload the\nconfig, and restart the host software.\nPrinter is shutdown\n";

/// How the printer is.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many times faster than life it moves and heats.
    pub speed: f64,
    /// Where its files lie.
    pub files: PathBuf,
    /// How long it starts, s.
    pub startup_s: f64,
}

/// Where it stands in its life.
#[derive(Clone, Debug, PartialEq)]
pub enum Life {
    /// No process; `Some`: it comes back by itself then.
    Gone(Option<f64>),
    /// Starting, until then.
    Startup(f64),
    /// Ready.
    Ready,
    /// Stopped; the words say why.
    Shutdown(String),
}

/// Who asked for a script: a client, and the number of its question.
pub type Ticket = (u64, Value);

/// What it says.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// A script has ended.
    Done(Ticket, Result<(), String>),
    /// A text on the console.
    Console(String),
    /// A line was executed.
    Executed(String),
    /// The process is gone, and its socket with it.
    Gone,
    /// It is ready.
    Ready,
    /// It has shut down.
    Shutdown,
}

/// What the line being executed waits for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wait {
    /// A heater.
    Heat(&'static str),
    /// The head, until so many seconds of motion are left.
    Motion(f64),
}

#[derive(Debug)]
pub(super) struct Script {
    ticket: Option<Ticket>,
    lines: VecDeque<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Hot {
    pub actual_c: f64,
    pub target_c: f64,
    pub max_c: f64,
    rate_c_s: f64,
}

/// The file in hand.
#[derive(Debug)]
pub(super) struct Program {
    pub reader: BufReader<File>,
    pub at: u64,
    pub size: u64,
    pub active: bool,
}

/// `print_stats`.
#[derive(Clone, Debug, Default)]
pub(super) struct Stats {
    pub file: String,
    pub state: &'static str,
    pub message: String,
    pub filament_mm: f64,
    pub began_s: Option<f64>,
    pub total_s: f64,
    pub layer: Option<u64>,
    pub layers: Option<u64>,
}

/// A stretch of motion: from when to when, from where to where.
#[derive(Clone, Debug)]
pub(super) struct Move {
    pub from_s: f64,
    pub to_s: f64,
    pub from: [f64; 4],
    pub to: [f64; 4],
}

/// The printer.
#[derive(Debug)]
pub struct Klipper {
    pub(super) options: Options,
    pub(super) now_s: f64,
    pub(super) life: Life,
    pub(super) said: VecDeque<Said>,
    pub(super) heaters: SortedMap<&'static str, Hot>,
    scripts: VecDeque<Script>,
    running: Option<Script>,
    pub(super) wait: Option<Wait>,
    pub(super) moves: VecDeque<Move>,
    pub(super) motion_s: f64,
    pub(super) at: [f64; 4],
    pub(super) base: [f64; 4],
    pub(super) homed: String,
    pub(super) relative: bool,
    pub(super) relative_e: bool,
    pub(super) feed_mm_min: f64,
    pub(super) program: Option<Program>,
    pub(super) stats: Stats,
    pub(super) is_paused: bool,
    pub(super) objects: Vec<Value>,
    pub(super) excluded: Vec<String>,
    pub(super) current: Option<String>,
    pub(super) fan: f64,
    pub(super) factors: (f64, f64),
    pub(super) screen: Option<String>,
    filament: bool,
    /// A restart was asked for; it comes behind the script.
    pub(super) restarting: bool,
}

impl Klipper {
    /// A printer that begins to start.
    pub fn new(options: Options) -> Self {
        let mut printer = Klipper {
            now_s: 0.0,
            life: Life::Gone(None),
            said: VecDeque::new(),
            heaters: SortedMap::new(),
            scripts: VecDeque::new(),
            running: None,
            wait: None,
            moves: VecDeque::new(),
            motion_s: 0.0,
            at: [0.0; 4],
            base: [0.0; 4],
            homed: String::new(),
            relative: false,
            relative_e: false,
            feed_mm_min: 1500.0,
            program: None,
            stats: Stats::default(),
            is_paused: false,
            objects: Vec::new(),
            excluded: Vec::new(),
            current: None,
            fan: 0.0,
            factors: (1.0, 1.0),
            screen: None,
            filament: true,
            restarting: false,
            options,
        };
        printer.boot();
        printer
    }

    /// The process starts: nothing is left of what was before.
    pub fn boot(&mut self) {
        let hot = |max_c, rate_c_s| Hot {
            actual_c: ROOM_C,
            target_c: 0.0,
            max_c,
            rate_c_s,
        };
        self.heaters = SortedMap::from([("extruder", hot(300.0, 3.0)), ("heater_bed", hot(130.0, 1.0))]);
        self.life = Life::Startup(self.now_s + self.options.startup_s);
        self.scripts.clear();
        self.running = None;
        self.halt_motion();
        self.at = [0.0; 4];
        self.base = [0.0; 4];
        self.homed.clear();
        (self.relative, self.relative_e) = (false, false);
        self.is_paused = false;
        self.screen = None;
        self.factors = (1.0, 1.0);
        self.forget_file();
    }

    pub(super) fn forget_file(&mut self) {
        self.program = None;
        self.stats = Stats {
            state: "standby",
            ..Stats::default()
        };
        self.objects.clear();
        self.excluded.clear();
        self.current = None;
    }

    fn halt_motion(&mut self) {
        self.wait = None;
        self.moves.clear();
        self.motion_s = self.now_s;
    }

    /// What it has to say; drain after every call.
    pub fn poll(&mut self) -> Option<Said> {
        self.said.pop_front()
    }

    /// Where it stands in its life.
    pub fn life(&self) -> &Life {
        &self.life
    }

    /// The process ends without a word; `back_s`: it is started again after so long.
    pub fn die(&mut self, back_s: Option<f64>) {
        self.life = Life::Gone(back_s.map(|s| self.now_s + s));
        self.scripts.clear();
        self.running = None;
        self.program = None;
        self.halt_motion();
        self.said.push_back(Said::Gone);
    }

    /// A shutdown of the firmware: what is executed ends, what waits is refused.
    pub fn shut_down(&mut self, reason: &str) {
        if !matches!(self.life, Life::Ready | Life::Startup(_)) {
            return;
        }
        let words = format!("{reason}\n{SHUTDOWN_HINT}");
        self.life = Life::Shutdown(words.clone());
        self.halt_motion();
        // The line in hand counts as done (seen); what waits behind it is refused.
        if let Some(ticket) = self.running.take().and_then(|s| s.ticket) {
            self.said.push_back(Said::Done(ticket, Ok(())));
        }
        for ticket in std::mem::take(&mut self.scripts)
            .into_iter()
            .filter_map(|s| s.ticket)
        {
            self.said.push_back(Said::Done(ticket, Err(words.clone())));
        }
        if let Some(program) = self.program.as_mut().filter(|p| p.active) {
            program.active = false;
            // Klipper calls it paused (seen).
            self.stats.state = "paused";
        }
        self.console("// Klipper state: Shutdown");
        self.said.push_back(Said::Shutdown);
    }

    /// Filament comes or goes; without it a print pauses.
    pub fn set_filament(&mut self, there: bool) {
        self.filament = there;
        if !there && self.is_printing() {
            self.queue(None, "PAUSE");
        }
    }

    /// A script of somebody, behind everything that waits already.
    pub fn queue(&mut self, ticket: Option<Ticket>, script: &str) {
        let refusal = match &self.life {
            Life::Ready => None,
            Life::Shutdown(_) if script.trim().ends_with("RESTART") => None,
            Life::Shutdown(words) => Some(words.clone()),
            _ => Some("Printer is not ready\n".to_owned()),
        };
        let refusal = refusal.or((self.scripts.len() >= SCRIPTS_MAX).then(|| "Too many scripts".to_owned()));
        match (refusal, ticket) {
            (Some(words), Some(ticket)) => self.said.push_back(Said::Done(ticket, Err(words))),
            (Some(_), None) => {}
            (None, ticket) => self.scripts.push_back(Script {
                ticket,
                lines: script.lines().map(str::to_owned).collect(),
            }),
        }
    }

    /// Time passes.
    pub fn advance(&mut self, now_s: f64) {
        let passed_s = (now_s - self.now_s).max(0.0);
        self.now_s = now_s;
        match self.life {
            Life::Gone(Some(at)) if now_s >= at => self.boot(),
            Life::Startup(at) if now_s >= at => {
                self.life = Life::Ready;
                self.console("// Klipper state: Ready");
                self.said.push_back(Said::Ready);
            }
            _ => {}
        }
        let ready = self.life == Life::Ready;
        for heater in self.heaters.values_mut() {
            let driven = ready && heater.target_c > heater.actual_c;
            let goal = if driven {
                heater.target_c
            } else {
                heater.target_c.max(ROOM_C)
            };
            let goal = if ready { goal } else { ROOM_C };
            let rate = heater.rate_c_s * if driven { 1.0 } else { 0.2 };
            let step = rate * passed_s * self.options.speed;
            heater.actual_c += (goal - heater.actual_c).clamp(-step, step);
        }
        while self.moves.front().is_some_and(|m| m.to_s <= now_s) {
            self.moves.pop_front();
        }
        for _ in 0..TURN_MAX {
            if !self.turn() {
                return;
            }
        }
    }

    /// One line; `false`: nothing can be executed now.
    fn turn(&mut self) -> bool {
        // After a shutdown only a restart gets into the queue.
        if !matches!(self.life, Life::Ready | Life::Shutdown(_)) {
            return false;
        }
        if self.wait.as_ref().is_some_and(|wait| !self.is_over(wait)) {
            return false;
        }
        self.wait = None;
        if self.running.is_none() {
            self.running = self.scripts.pop_front();
        }
        let Some(script) = &mut self.running else {
            return self.file_line();
        };
        match script.lines.pop_front() {
            Some(line) => {
                if let Err(words) = self.execute(&line) {
                    self.complain(&words);
                    if let Some(ticket) = self.running.take().and_then(|s| s.ticket) {
                        self.said.push_back(Said::Done(ticket, Err(words)));
                    }
                }
            }
            None => {
                if let Some(ticket) = self.running.take().and_then(|s| s.ticket) {
                    self.said.push_back(Said::Done(ticket, Ok(())));
                }
                if std::mem::take(&mut self.restarting) {
                    self.console("// Klipper state: Disconnect");
                    self.die(Some(RESTART_S));
                    return false;
                }
            }
        }
        true
    }

    fn is_over(&self, wait: &Wait) -> bool {
        match wait {
            Wait::Heat(name) => self
                .heaters
                .get(name)
                .is_none_or(|h| h.target_c == 0.0 || h.actual_c >= h.target_c - 0.5),
            Wait::Motion(left_s) => self.motion_s - self.now_s <= *left_s,
        }
    }

    pub(super) fn complain(&mut self, words: &str) {
        let first = words.lines().next().unwrap_or_default().to_owned();
        self.console(&format!("!! {first}"));
    }

    pub(super) fn console(&mut self, text: &str) {
        self.said.push_back(Said::Console(text.to_owned()));
    }

    pub(super) fn is_printing(&self) -> bool {
        self.program.as_ref().is_some_and(|p| p.active)
    }

    /// Names of its objects.
    pub fn object_names(&self) -> Vec<String> {
        self.objects_now().keys().cloned().collect()
    }

    /// Everything it reports of itself. While it starts there is little.
    pub fn objects_now(&self) -> Map<String, Value> {
        let (state, words) = match &self.life {
            Life::Ready => ("ready", "Printer is ready"),
            Life::Shutdown(words) => ("shutdown", words.as_str()),
            _ => ("startup", "Printer is not ready\n"),
        };
        let heater = |name: &str| {
            let h = self.heaters.get(name);
            let c = |c: f64| (c * 100.0).round() / 100.0;
            json!({
                "temperature": h.map(|h| c(h.actual_c)), "target": h.map(|h| h.target_c),
                "power": h.map(|h| if h.target_c > h.actual_c { 1.0 } else { 0.0 }),
                "can_extrude": h.is_some_and(|h| h.actual_c >= 170.0),
            })
        };
        let live = self.live();
        let shown: Vec<f64> = self.at.iter().zip(self.base).map(|(p, b)| p - b).collect();
        let total_s = self
            .stats
            .began_s
            .map_or(self.stats.total_s, |at| self.now_s - at);
        let (position, size) = self.program.as_ref().map_or((0, 0), |p| (p.at, p.size));
        let done = if size > 0 {
            position as f64 / size as f64
        } else {
            0.0
        };
        let all = json!({
            "webhooks": {"state": state, "state_message": words},
            "configfile": {"settings": self.settings(), "warnings": [], "save_config_pending": false},
            "mcu": {"mcu_version": "v0.12.0-simulated", "mcu_constants": {"MCU": "simulated"}, "last_stats": {"mcu_awake": 0.001}},
            "extruder": heater("extruder"),
            "heater_bed": heater("heater_bed"),
            "temperature_sensor chamber": {"temperature": ROOM_C},
            "fan": {"speed": self.fan, "rpm": null},
            "pause_resume": {"is_paused": self.is_paused},
            "filament_switch_sensor runout": {"filament_detected": self.filament, "enabled": true},
            "gcode_move": {
                "gcode_position": shown, "position": self.at, "speed": self.feed_mm_min,
                "speed_factor": self.factors.0, "extrude_factor": self.factors.1,
                "absolute_coordinates": !self.relative, "absolute_extrude": !self.relative_e,
            },
            "motion_report": {"live_position": live},
            "toolhead": {
                "homed_axes": self.homed, "extruder": "extruder", "position": self.at,
                "axis_minimum": [0.0, 0.0, -2.0, 0.0], "axis_maximum": [250.0, 220.0, 240.0, 0.0],
            },
            "print_stats": {
                "filename": self.stats.file, "state": self.stats.state, "message": self.stats.message,
                "total_duration": total_s, "print_duration": total_s, "filament_used": self.stats.filament_mm,
                "info": {"total_layer": self.stats.layers, "current_layer": self.stats.layer},
            },
            "virtual_sdcard": {"progress": done, "file_position": position, "file_size": size, "is_active": self.is_printing()},
            "display_status": {"progress": done, "message": self.screen},
            "exclude_object": {"objects": self.objects, "excluded_objects": self.excluded, "current_object": self.current},
            "idle_timeout": {"state": if self.is_printing() { "Printing" } else { "Ready" }},
        });
        let mut all = all.as_object().cloned().unwrap_or_default();
        if matches!(self.life, Life::Gone(_) | Life::Startup(_)) {
            all.retain(|name, _| name == "webhooks" || name == "configfile");
        }
        all
    }

    fn settings(&self) -> Value {
        let max = |name: &str| self.heaters.get(name).map(|h| h.max_c);
        json!({
            "printer": {"kinematics": "cartesian"},
            "extruder": {"min_temp": 0.0, "max_temp": max("extruder"), "min_extrude_temp": 170.0, "nozzle_diameter": 0.4},
            "heater_bed": {"min_temp": 0.0, "max_temp": max("heater_bed")},
            "virtual_sdcard": {"path": self.options.files},
            "pause_resume": {}, "display_status": {}, "exclude_object": {},
            "stepper_x": {"position_min": 0.0, "position_max": 250.0},
            "stepper_y": {"position_min": 0.0, "position_max": 220.0},
            "stepper_z": {"position_min": -2.0, "position_max": 240.0},
        })
    }

    /// Where the head is now.
    fn live(&self) -> [f64; 4] {
        let Some(m) = self.moves.front() else {
            return self.at;
        };
        let part = ((self.now_s - m.from_s) / (m.to_s - m.from_s).max(1e-9)).clamp(0.0, 1.0);
        let mut at = m.from;
        for (axis, to) in at.iter_mut().zip(m.to) {
            *axis += (to - *axis) * part;
        }
        at
    }
}
