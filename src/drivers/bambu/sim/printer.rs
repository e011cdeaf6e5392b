//! The printer behind the stand-in: state, requests, time.

use std::collections::VecDeque;
use std::fs::File;

use serde_json::{Map, Value};

use super::Options;
use crate::drivers::bambu::faults::HMS_SIGNED_ONLY;
use crate::gcode::container::threemf;
use crate::json::json;

/// Requests remembered.
const LOG_MAX: usize = 200;
/// Seconds between two whole reports.
const REPORT_EVERY_S: f64 = 1.0;
/// A print without an estimate.
const USUAL_PRINT_S: f64 = 600.0;

/// A simulated printer. Time is an argument.
#[derive(Debug)]
pub struct Printer {
    options: Options,
    print: Value,
    /// What the clients have been told, for partial reports.
    told: Map<String, Value>,
    seq: u64,
    out: Vec<String>,
    log: VecDeque<Value>,
    /// Names of the projects that were asked for: a record for tests.
    started: Vec<String>,
    job: Option<Job>,
    since_report_s: f64,
    error_for_s: Option<f64>,
    nozzle_c: f64,
    bed_c: f64,
}

#[derive(Debug)]
struct Job {
    objects: Vec<u32>,
    length_s: f64,
    done_s: f64,
    prepare_s: f64,
}

impl Printer {
    /// An idle one.
    pub fn new(options: &Options) -> Self {
        let tray = |id: &str, kind: &str, color: &str| json!({"id": id, "state": 3, "tray_info_idx": "GFA00", "tray_type": kind, "tray_color": color, "remain": 80});
        let print = json!({
            "command": "push_status", "gcode_state": "IDLE", "mc_percent": 0, "mc_remaining_time": 0,
            "layer_num": 0, "total_layer_num": 0, "stg_cur": 255, "subtask_name": "", "gcode_file": "",
            "task_id": "0", "subtask_id": "0", "print_error": 0, "hms": [], "s_obj": [],
            "nozzle_temper": 24.0, "nozzle_target_temper": 0.0, "bed_temper": 23.0, "bed_target_temper": 0.0,
            "cooling_fan_speed": "0", "spd_lvl": 2, "wifi_signal": "-50dBm", "sdcard": true,
            "home_flag": 256, "lights_report": [{"node": "chamber_light", "mode": "off"}],
            "ams": {"tray_exist_bits": "3", "tray_now": "255", "ams": [{"id": "0", "humidity": "4", "temp": "24.5",
                "tray": [tray("0", "PLA", "FFFFFFFF"), tray("1", "PETG", "112233FF"), {"id": "2"}, {"id": "3"}]}]},
            "vt_tray": {"id": "254", "tray_type": "", "tray_color": "00000000"},
        });
        Printer {
            options: options.clone(),
            print: options.kind.own_members(print),
            told: Map::new(),
            seq: 0,
            out: Vec::new(),
            log: VecDeque::new(),
            started: Vec::new(),
            job: None,
            since_report_s: 0.0,
            error_for_s: None,
            nozzle_c: 24.0,
            bed_c: 23.0,
        }
    }

    /// Reports that are due, oldest first.
    pub fn take_reports(&mut self) -> Vec<String> {
        std::mem::take(&mut self.out)
    }

    /// How many prints of a project were asked for.
    pub fn starts(&self) -> usize {
        self.started.len()
    }

    /// Their names, oldest first.
    pub fn started(&self) -> &[String] {
        &self.started
    }

    /// What was asked of it lately, oldest first.
    pub fn log(&self) -> Vec<Value> {
        self.log.iter().cloned().collect()
    }

    /// One member of its state.
    pub fn get(&self, key: &str) -> Value {
        self.print.get(key).cloned().unwrap_or(Value::Null)
    }

    /// Changes one member of its state: faults, messages, what a person does at its screen.
    pub fn set(&mut self, key: &str, value: Value) {
        if let Some(print) = self.print.as_object_mut() {
            print.insert(key.to_owned(), value);
        }
        self.report();
    }

    /// Whether there is a card.
    pub fn has_card(&self) -> bool {
        self.print.get("sdcard") == Some(&Value::Bool(true))
    }

    fn state(&self) -> &str {
        self.print
            .get("gcode_state")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    fn is_busy(&self) -> bool {
        matches!(self.state(), "PREPARE" | "RUNNING" | "PAUSE")
    }

    fn update(&mut self, news: Value) {
        if let (Some(print), Value::Object(news)) = (self.print.as_object_mut(), news) {
            print.extend(news);
        }
    }

    /// What has changed, or everything, as the model does it.
    fn report(&mut self) {
        self.tell(!self.options.kind.partial());
    }

    fn tell(&mut self, whole: bool) {
        self.seq += 1;
        let (seq, nozzle, bed) = (self.seq.to_string(), self.nozzle_c.round(), self.bed_c.round());
        self.update(json!({"sequence_id": seq, "nozzle_temper": nozzle, "bed_temper": bed}));
        let target = |key: &str| self.print.get(key).and_then(Value::as_f64).unwrap_or(0.0);
        let heat = self.options.kind.device(
            (nozzle, target("nozzle_target_temper")),
            (bed, target("bed_target_temper")),
        );
        self.update(heat);
        self.since_report_s = 0.0;
        let all = self.print.as_object().cloned().unwrap_or_default();
        let mut news = match whole {
            true => all.clone(),
            false => all
                .iter()
                .filter(|(key, value)| *key == "command" || self.told.get(*key) != Some(*value))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        };
        self.told = all;
        if self.options.kind.partial() {
            news.insert("msg".to_owned(), json!(u8::from(!whole)));
        }
        self.out.push(json!({"print": news}).to_string());
    }

    /// Developer Mode at run time.
    pub fn set_dev_mode(&mut self, on: bool) {
        self.options.dev_mode = on;
        self.set("hms", json!([]));
    }

    /// Takes orders and does nothing, without a word.
    pub fn set_silent(&mut self, on: bool) {
        self.options.silent = on;
    }

    /// Switched off and on: the print is gone, its leftovers stay.
    pub fn restart(&mut self) {
        self.job = None;
        self.error_for_s = None;
        self.cool("IDLE");
        self.update(
            json!({"print_error": 0, "hms": [], "subtask_name": "", "subtask_id": "0", "task_id": "0"}),
        );
        self.told.clear();
    }

    /// The whole of its state.
    pub fn whole(&self) -> &Value {
        &self.print
    }

    /// Time passing.
    pub fn pass(&mut self, real_s: f64) {
        let step_s = real_s * self.options.speed;
        let target = |key: &str| {
            self.print
                .get(key)
                .and_then(Value::as_f64)
                .unwrap_or(0.0)
                .max(23.0)
        };
        let (nozzle, bed) = (target("nozzle_target_temper"), target("bed_target_temper"));
        let warm = |now: f64, to: f64, rate: f64| now + (to - now).clamp(-rate * step_s, rate * step_s);
        self.nozzle_c = warm(self.nozzle_c, nozzle, 12.0);
        self.bed_c = warm(self.bed_c, bed, 6.0);
        if let Some(left) = self.error_for_s {
            self.error_for_s = Some(left - real_s).filter(|l| *l > 0.0);
            if self.error_for_s.is_none() {
                self.set("print_error", json!(0));
            }
        }
        self.print_on(step_s);
        self.since_report_s += real_s;
        if self.since_report_s >= REPORT_EVERY_S {
            self.report();
        }
    }

    fn print_on(&mut self, step_s: f64) {
        let state = self.state().to_owned();
        let Some(job) = &mut self.job else { return };
        match state.as_str() {
            "PREPARE" => {
                job.prepare_s -= step_s;
                if job.prepare_s <= 0.0 {
                    self.update(json!({"gcode_state": "RUNNING", "stg_cur": 0, "nozzle_target_temper": 220.0, "bed_target_temper": 55.0}));
                    self.report();
                }
            }
            "RUNNING" if self.bed_c > 50.0 && self.nozzle_c > 210.0 => {
                job.done_s += step_s;
                let part = (job.done_s / job.length_s).min(1.0);
                let left = ((job.length_s - job.done_s).max(0.0) / 60.0).round();
                let layer = 1 + (part * 99.0) as u32;
                self.update(json!({"mc_percent": (part * 100.0) as u32, "mc_remaining_time": left, "layer_num": layer, "total_layer_num": 100}));
                if part >= 1.0 {
                    self.job = None;
                    self.cool("FINISH");
                    self.report();
                }
            }
            _ => {}
        }
    }

    fn cool(&mut self, state: &str) {
        self.update(json!({"gcode_state": state, "stg_cur": 255, "nozzle_target_temper": 0.0, "bed_target_temper": 0.0}));
    }

    /// A request of a client.
    pub fn request(&mut self, payload: &[u8]) {
        let Ok(Value::Object(request)) = serde_json::from_slice(payload) else {
            return;
        };
        for (category, body) in request {
            let command = body
                .get("command")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
            if command == "project_file" {
                let name = body.get("subtask_name").and_then(Value::as_str);
                self.started.push(name.unwrap_or_default().to_owned());
            }
            if self.log.len() >= LOG_MAX {
                self.log.pop_front();
            }
            self.log.push_back(body.clone());
            if category == "print" && self.options.silent {
                continue;
            }
            if category == "print" && !self.options.dev_mode {
                let refusal = json!({"result": "failed", "reason": "mqtt message verify failed", "err_code": 0x0502_4007});
                self.answer("print", &body, refusal);
                let (attr, code) = HMS_SIGNED_ONLY;
                self.set("hms", json!([{"attr": attr, "code": code}]));
                continue;
            }
            match (category.as_str(), command.as_str()) {
                ("pushing", _) => self.tell(true),
                ("info", "get_version") => {
                    let module = json!([{"name": "ota", "sw_ver": "01.08.02.00", "product_name": self.options.kind.product()}]);
                    self.answer("info", &body, json!({"module": module}));
                }
                ("system", "ledctrl") => {
                    let mode = body.get("led_mode").cloned().unwrap_or(Value::Null);
                    self.answer("system", &body, json!({"result": "success", "reason": "success"}));
                    self.set("lights_report", json!([{"node": "chamber_light", "mode": mode}]));
                }
                ("print", command) => {
                    let done = self.obey(command, &body);
                    let (result, reason) = match &done {
                        Ok(()) => ("success", "success"),
                        Err(why) => ("fail", *why),
                    };
                    self.answer("print", &body, json!({"result": result, "reason": reason}));
                    self.report();
                }
                _ => {}
            }
        }
    }

    fn answer(&mut self, category: &str, body: &Value, more: Value) {
        let mut answer = body.clone();
        if let (Some(answer), Value::Object(more)) = (answer.as_object_mut(), more) {
            answer.extend(more);
        }
        self.out.push(json!({ category: answer }).to_string());
    }

    fn obey(&mut self, command: &str, body: &Value) -> Result<(), &'static str> {
        let param = body.get("param").and_then(Value::as_str).unwrap_or_default();
        match command {
            "pause" if self.state() == "RUNNING" => {
                self.update(json!({"gcode_state": "PAUSE", "stg_cur": 16}))
            }
            "resume" | "ignore" if self.state() == "PAUSE" => {
                self.update(json!({"gcode_state": "RUNNING", "stg_cur": 0, "print_error": 0}));
            }
            "pause" | "resume" | "ignore" => return Err("wrong state"),
            "stop" if self.is_busy() => {
                self.job = None;
                self.cool("FAILED");
                self.update(json!({"print_error": 0x0300_400c}));
                self.error_for_s = Some(2.0);
            }
            "stop" | "clean_print_error" => self.update(json!({"print_error": 0})),
            "print_speed" => match param.parse::<u8>() {
                Ok(level @ 1..=4) => self.update(json!({"spd_lvl": level})),
                _ => return Err("bad level"),
            },
            "gcode_line" => self.gcode(param),
            "skip_objects" => return self.skip(body),
            "project_file" => self.start(body),
            "gcode_file" => return self.start_plain(param),
            _ => return Err("unsupported command"),
        }
        Ok(())
    }

    fn gcode(&mut self, lines: &str) {
        for line in lines.lines() {
            let wanted = line
                .split('S')
                .nth(1)
                .and_then(|s| s.trim().parse::<f64>().ok())
                .unwrap_or(0.0);
            match line.split_whitespace().next() {
                Some("M104") => self.update(json!({ "nozzle_target_temper": wanted })),
                Some("M140") => self.update(json!({ "bed_target_temper": wanted })),
                _ => {}
            }
        }
    }

    fn skip(&mut self, body: &Value) -> Result<(), &'static str> {
        let ids = body
            .get("obj_list")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let Some(job) = self.job.as_ref().filter(|_| self.state() != "PREPARE") else {
            return Err("not printing");
        };
        let known = |id: &Value| {
            id.as_u64()
                .is_some_and(|id| job.objects.iter().any(|o| u64::from(*o) == id))
        };
        if ids.is_empty() || !ids.iter().all(known) {
            return Err("unknown object");
        }
        let mut out = self.get("s_obj").as_array().cloned().unwrap_or_default();
        out.extend(ids);
        out.dedup();
        if out.len() >= job.objects.len() {
            return Err("cannot skip all objects");
        }
        self.update(json!({ "s_obj": out }));
        Ok(())
    }

    /// Plain G-code from the card: a job without a number and without objects.
    fn start_plain(&mut self, path: &str) -> Result<(), &'static str> {
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        if self.is_busy() || !self.options.root.join(&name).is_file() {
            return Err("error string");
        }
        self.job = Some(Job {
            objects: Vec::new(),
            length_s: USUAL_PRINT_S,
            done_s: 0.0,
            prepare_s: 5.0,
        });
        self.update(json!({
            "gcode_state": "PREPARE", "mc_percent": 0, "layer_num": 0, "print_error": 0, "s_obj": [], "stg_cur": 0,
            "subtask_name": name, "gcode_file": path, "task_id": "0", "subtask_id": "0",
        }));
        Ok(())
    }

    fn start(&mut self, body: &Value) {
        if self.is_busy() {
            return self.update(json!({"print_error": 0x0500_4004}));
        }
        let text = |key: &str| {
            body.get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let url = text("url");
        let name = url.rsplit('/').next().unwrap_or_default().to_owned();
        let plate = text("param")
            .trim_start_matches("Metadata/plate_")
            .trim_end_matches(".gcode")
            .parse()
            .ok();
        let opened = File::open(self.options.root.join(&name)).ok();
        let read = opened.and_then(|mut file| threemf::read(&mut file, plate, &mut |_| {}).ok());
        let Some(plate) = read else {
            // Accepted, and then it cannot: as seen on real ones.
            return self.update(json!({"print_error": 0x0500_c010, "subtask_name": text("subtask_name")}));
        };
        self.job = Some(Job {
            objects: plate.objects.iter().map(|o| o.id).collect(),
            length_s: plate.estimate_s.unwrap_or(USUAL_PRINT_S),
            done_s: 0.0,
            prepare_s: 5.0,
        });
        self.update(json!({
            "gcode_state": "PREPARE", "mc_percent": 0, "layer_num": 0, "print_error": 0, "s_obj": [], "stg_cur": 0,
            "subtask_name": text("subtask_name"), "gcode_file": name, "task_id": text("task_id"), "subtask_id": text("subtask_id"),
        }));
    }
}
