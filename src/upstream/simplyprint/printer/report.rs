//! What a printer is told when. Everything is a difference to what this connection knows; what a limit
//! holds back stays to be told and goes out when the limit allows.

use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::{Out, PrinterCore, SAVE_AGAIN, jobs};
use crate::json::json;
use crate::printer::model::{Now, StateWord};
use crate::upstream::simplyprint::action::Action;
use crate::upstream::simplyprint::materials;
use crate::upstream::simplyprint::throttle::Rate;

/// Pings in a row that may stay unanswered.
const PINGS_MISSED_MAX: u32 = 3;

/// How soon a limit, an answer or a picture is looked at again when nothing else says when.
const SOON: Duration = Duration::from_millis(100);

impl PrinterCore {
    /// Tells what is to be told. `false`: the cloud does not answer this printer any more.
    pub fn pump(&mut self, now: Now) -> bool {
        self.save(now.mono);
        self.show_code();
        if !self.connected {
            return true;
        }
        self.tell_word(now.mono);
        self.tell_machine();
        self.tell_firmware();
        let alive = self.ping(now.mono);
        if !self.is_open() {
            // Before set-up is complete nothing else may be said.
            self.answers.clear();
            return alive;
        }
        if let Some(ms) = self.latency_ms.take() {
            self.send("latency", json!({"ms": ms}));
        }
        while let Some((kind, data)) = self.answers.pop_front() {
            self.send(kind, data);
        }
        self.tell_temps(now.mono);
        self.tell_tool();
        self.tell_job(now.mono);
        self.tell_levels(now.mono);
        self.tell_notices(now.mono);
        self.look_for_frame(now);
        if self.outbox.is_unconfirmed() {
            self.out.push_back(Out::Confirm);
        }
        alive
    }

    /// First of all: results, then the state they lead to.
    pub fn pump_jobs(&mut self, now: Now) {
        if !self.is_open() {
            return;
        }
        if self.word(now.mono) == Some(StateWord::Downloading) {
            self.tell_word(now.mono);
        }
        self.file_progress(now.mono);
        for (kind, data) in self.outbox.take_jobs(now.mono, now.wall) {
            self.send(kind, data);
        }
    }

    /// When something is to be told although nothing changes.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let mut due: Vec<Instant> = self.save_at.into_iter().collect();
        if self.connected {
            due.push(self.throttle.opens_at(Rate::Ping).unwrap_or(now + SOON));
            if self.told.word.is_none() {
                due.push(now + Duration::from_secs(1));
            }
        }
        if self.is_open() {
            due.extend(self.file_due());
            due.extend(self.held());
            if self.frames_owed > 0 {
                due.push(now + SOON);
            }
        }
        due.into_iter().min()
    }

    /// When held-back updates may go.
    fn held(&self) -> Vec<Instant> {
        let mut due = Vec::new();
        let mut wait = |rate: Rate| due.extend(self.throttle.opens_at(rate));
        if let Some(update) = self.told.temps.update(&self.view.heaters) {
            wait(temps_rate(update.heating));
        }
        if !self.job_delta().is_empty() {
            wait(Rate::Job);
        }
        if self.outbox.has_notices() || !self.remarks.is_empty() {
            wait(Rate::Notification);
        }
        if self.cpu_delta().is_some() {
            wait(Rate::Cpu);
        }
        due
    }

    pub(super) fn send(&mut self, kind: &'static str, data: Value) {
        self.out.push_back(Out::Send(kind, Some(data)));
    }

    fn save(&mut self, now: Instant) {
        if self.save_at.is_some_and(|at| now < at) {
            return;
        }
        if self.version > self.saved_version.max(self.asked_version) && self.asked_version == 0 {
            self.save_at = None;
            self.asked_version = self.version;
            self.out.push_back(Out::Save(self.version));
            // An answer that never comes is one that failed.
            self.save_at = Some(now + SAVE_AGAIN * 3);
        } else if self.saved_version >= self.version {
            self.save_at = None;
        } else if self.save_at.is_some() {
            self.asked_version = 0;
            self.save_at = Some(now);
        }
    }

    /// The code is for people only when its token is on the disk: else a power cut would leave a
    /// claimed printer that nobody can be.
    fn show_code(&mut self) {
        let code = match &self.doc.short_id {
            Some(code) if self.in_setup && self.doc.token.is_some() => {
                if self.saved_version < self.version && self.shown.as_ref() != Some(code) {
                    return;
                }
                Some(code.clone())
            }
            _ => None,
        };
        if code != self.shown {
            self.shown.clone_from(&code);
            self.out.push_back(Out::Act(Action::ShowCode(code)));
        }
    }

    fn tell_word(&mut self, now: Instant) {
        let Some(word) = self.word(now) else { return };
        if self.told.word == Some(word) {
            return;
        }
        self.told.word = Some(word);
        self.send("state_change", json!({"new": word.as_str()}));
        if !self.is_open() {
            return;
        }
        let error = self.view.error.clone().filter(|_| word == StateWord::Error);
        if let Some(text) = &error
            && self.told.error != error
        {
            self.send("printer_error", json!({"error": text}));
        }
        self.told.error = error;
    }

    fn tell_machine(&mut self) {
        let machine = Value::Object(self.extras.machine.clone());
        if self.extras.machine.is_empty() || self.told.machine.as_ref() == Some(&machine) {
            return;
        }
        self.send("machine_data", machine.clone());
        self.told.machine = Some(machine);
    }

    fn tell_firmware(&mut self) {
        let Some((name, version, machine)) = &self.view.firmware else {
            return;
        };
        let mut fw = Map::new();
        fw.insert("firmware".to_owned(), json!(name));
        if let Some(version) = version {
            fw.insert("firmware_version".to_owned(), json!(version));
        }
        if let Some(machine) = machine {
            fw.insert("firmware_machine".to_owned(), json!(machine));
        }
        let data = json!({"fw": fw, "raw": false});
        if self.told.firmware.as_ref() != Some(&data) {
            self.send("firmware", data.clone());
            self.told.firmware = Some(data);
        }
    }

    fn ping(&mut self, now: Instant) -> bool {
        if !self.throttle.is_open(Rate::Ping, now) {
            return true;
        }
        if self.pinged.is_some() {
            self.pings_missed += 1;
        }
        self.throttle.note(Rate::Ping, now);
        // A late answer to an older ping must not be taken for the answer to this one.
        self.pinged = Some(now);
        self.out.push_back(Out::Send("ping", None));
        self.pings_missed < PINGS_MISSED_MAX
    }

    fn tell_temps(&mut self, now: Instant) {
        let Some(update) = self.told.temps.update(&self.view.heaters) else {
            return;
        };
        let rate = temps_rate(update.heating);
        if !update.target_changed {
            if !self.throttle.is_open(rate, now) {
                return;
            }
            self.throttle.note(rate, now);
        }
        self.send("temps", Value::Object(update.data.clone()));
        self.told.temps.commit(update);
    }

    fn tell_tool(&mut self) {
        if self.view.link != Some(true) || self.told.tool == Some(self.view.tool) {
            return;
        }
        self.told.tool = Some(self.view.tool);
        // Every tool of such a printer is a nozzle of its own with one place for filament.
        let tools = self
            .view
            .heaters
            .keys()
            .filter_map(|k| k.strip_prefix("tool")?.parse::<u8>().ok())
            .chain([self.view.tool])
            .max()
            .unwrap_or(0);
        let active: Map<String, Value> = (0..=tools)
            .map(|n| {
                let ext = if n == self.view.tool {
                    json!(0)
                } else {
                    Value::Null
                };
                (n.to_string(), ext)
            })
            .collect();
        self.send("tool", json!({"active_tools": active}));
    }

    /// Progress that the cloud does not know yet.
    fn job_delta(&self) -> Map<String, Value> {
        let (Some(job), Some(tracked)) = (&self.view.job, &self.doc.tracked) else {
            return Map::new();
        };
        if job.uid != tracked.uid {
            return Map::new();
        }
        let members: [(&'static str, Option<Value>); 3] = [
            ("progress", job.percent.map(|p| json!(p))),
            ("layer", job.layer.map(|l| json!(l))),
            ("time", job.time_left_s.map(|t| json!(t))),
        ];
        members
            .into_iter()
            .filter_map(|(key, value)| {
                let value = value?;
                (self.told.job.get(key) != Some(&value)).then(|| (key.to_owned(), value))
            })
            .collect()
    }

    fn tell_job(&mut self, now: Instant) {
        self.tell_objects();
        self.tell_skipped();
        let delta = self.job_delta();
        if delta.is_empty() || !self.throttle.is_open(Rate::Job, now) {
            return;
        }
        self.throttle.note(Rate::Job, now);
        for key in ["progress", "layer", "time"] {
            if let Some(value) = delta.get(key) {
                self.told.job.insert(key, value.clone());
            }
        }
        let mut data = jobs::tagged(self.job_id());
        data.extend(delta);
        self.send("job_info", Value::Object(data));
    }

    fn tell_objects(&mut self) {
        let Some((uid, objects)) = &self.objects else {
            return;
        };
        if self.doc.tracked.as_ref().map(|t| t.uid) != Some(*uid) || objects.is_empty() {
            return;
        }
        let data = json!({"objects": objects});
        if self.told.objects.as_ref() != Some(&data) {
            self.send("objects", data.clone());
            self.told.objects = Some(data);
        }
    }

    fn tell_skipped(&mut self) {
        let (Some(job), Some(tracked)) = (&self.view.job, &self.doc.tracked) else {
            return;
        };
        let news = match &self.told.skipped {
            Some(told) => *told != job.skipped,
            None => !job.skipped.is_empty(),
        };
        if job.uid != tracked.uid || !news {
            return;
        }
        let skipped = job.skipped.clone();
        let mut data = jobs::tagged(tracked.job_id);
        data.insert("skipped_objects".to_owned(), json!(skipped));
        self.told.skipped = Some(skipped);
        self.send("job_info", Value::Object(data));
    }

    fn cpu_delta(&self) -> Option<Value> {
        let cpu = Value::Object(self.extras.cpu.clone());
        (!self.extras.cpu.is_empty() && self.told.cpu.as_ref() != Some(&cpu)).then_some(cpu)
    }

    fn tell_levels(&mut self, now: Instant) {
        if let Some(cpu) = self.cpu_delta()
            && self.throttle.is_open(Rate::Cpu, now)
        {
            self.throttle.note(Rate::Cpu, now);
            self.send("cpu_info", cpu.clone());
            self.told.cpu = Some(cpu);
        }
        if let Some(ambient) = self.ambient.known_c()
            && self.told.ambient != Some(ambient)
        {
            self.told.ambient = Some(ambient);
            self.send("ambient", json!({"new": ambient}));
        }
        if let Some(Some(camera)) = self.extras.camera
            && self.told.camera != Some(camera)
        {
            self.told.camera = Some(camera);
            self.send("webcam_status", json!({"connected": camera}));
        }
        if let Some(webcam) = self.webcam.clone()
            && self.told.webcam.as_ref() != Some(&webcam)
        {
            self.send("webcam", webcam.clone());
            self.told.webcam = Some(webcam);
        }
        if let Some(loaded) = self.view.filament
            && self.told.filament != Some(loaded)
        {
            self.told.filament = Some(loaded);
            self.send(
                "filament_sensor",
                json!({"state": if loaded { "loaded" } else { "runout" }}),
            );
        }
        if let Some(mesh) = self.view.mesh.clone()
            && self.told.mesh.as_ref() != Some(&mesh)
        {
            self.send("mesh_data", mesh.clone());
            self.told.mesh = Some(mesh);
        }
        self.tell_materials();
        self.tell_power(now);
    }

    fn tell_materials(&mut self) {
        let Some(slots) = &self.view.materials else { return };
        if let Some((data, told)) = materials::news(slots, self.told.materials.as_ref()) {
            self.told.materials = Some(told);
            self.send("material_data", data);
        }
    }

    fn tell_power(&mut self, now: Instant) {
        let Some(supply) = self.view.supply else { return };
        if self.told.peripherals.is_none() {
            let defined = json!({"power:psu": {"n": "PSU", "f": "rw", "vt": "bool"}});
            self.send("peripheral_definitions", defined.clone());
            self.told.peripherals = Some(defined);
        }
        // A switch that does not tell is there and unknown.
        let Some(on) = supply else { return };
        if self.told.power == Some(on) || !self.throttle.is_open(Rate::Peripheral, now) {
            return;
        }
        self.throttle.note(Rate::Peripheral, now);
        self.told.power = Some(on);
        // The vendor's client says `psu` in a form that looks like a mistake; the others say this.
        self.send("power_controller", json!({"on": on}));
        self.send("peripheral", json!({"power:psu": {"v": on, "a": true}}));
    }

    fn tell_notices(&mut self, now: Instant) {
        let nothing = !self.outbox.has_notices() && self.remarks.is_empty();
        if nothing || !self.throttle.is_open(Rate::Notification, now) {
            return;
        }
        self.throttle.note(Rate::Notification, now);
        let mut events = self.outbox.take_notices(now);
        events.extend(self.remarks.drain(..));
        self.send("notification", json!({"events": events}));
    }
}

fn temps_rate(heating: bool) -> Rate {
    if heating { Rate::TempsTarget } else { Rate::Temps }
}
