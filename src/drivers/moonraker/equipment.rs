//! What stands around the printer: fans, boards, cameras, switches, the host's load. Pure.

use std::sync::Arc;

use serde_json::Value;

use super::proto::{Call, Core};
use super::status::Status;
use crate::printer::equipment::{CameraAddress, Equipment, HostLoad};
use crate::printer::event::Event;

/// Most things of a kind that are kept.
const THINGS_MAX: usize = 32;

/// Longest name or address that is kept, characters.
const TEXT_MAX: usize = 255;

/// Kinds of fans with a name of their own; the one of the part is just `fan`.
const FANS: &[&str] = &["fan_generic", "heater_fan", "controller_fan", "temperature_fan"];

/// Whether an object is a fan.
pub fn is_fan(object: &str) -> bool {
    object == "fan"
        || object
            .split_once(' ')
            .is_some_and(|(kind, _)| FANS.contains(&kind))
}

/// Whether an object is a board.
pub fn is_board(object: &str) -> bool {
    object == "mcu" || object.starts_with("mcu ")
}

fn text(value: &Value, name: &str) -> Option<String> {
    let text: String = value.get(name)?.as_str()?.chars().take(TEXT_MAX).collect();
    Some(text).filter(|t| !t.is_empty())
}

/// Cameras of `server.webcams.list` and `notify_webcams_changed`.
pub fn cameras(told: &Value) -> Vec<CameraAddress> {
    let list = told.get("webcams").and_then(Value::as_array);
    let known = |camera: &Value| {
        let off = camera.get("enabled").and_then(Value::as_bool) == Some(false);
        let camera = CameraAddress {
            name: text(camera, "name")?,
            stream: text(camera, "stream_url"),
            snapshot: text(camera, "snapshot_url"),
        };
        (!off).then_some(camera)
    };
    list.map(|list| list.iter().take(THINGS_MAX).filter_map(known).collect())
        .unwrap_or_default()
}

/// A switch of `machine.device_power.devices` or `notify_power_changed`: its name, and on or off where known.
pub fn switch(told: &Value) -> Option<(String, Option<bool>)> {
    let on = match told.get("status").and_then(Value::as_str) {
        Some("on") => Some(true),
        Some("off") => Some(false),
        _ => None,
    };
    Some((text(told, "device")?, on))
}

/// The load of `notify_proc_stat_update`.
pub fn load(told: &Value) -> HostLoad {
    let number = |pointer: &str| {
        told.pointer(pointer)
            .and_then(Value::as_f64)
            .filter(|n| n.is_finite())
    };
    let memory = number("/system_memory/used").zip(number("/system_memory/total").filter(|t| *t > 0.0));
    HostLoad {
        cpu_percent: number("/system_cpu_usage/cpu").map(|n| n as f32),
        cpu_c: number("/cpu_temp").map(|n| n as f32),
        memory_percent: memory.map(|(used, total)| (used * 100.0 / total) as f32),
        up_s: number("/system_uptime").map(|n| n as u64),
    }
}

/// What the objects tell: fans and boards.
fn of_status(status: &Status, known: &mut Equipment) {
    known.fans.clear();
    known.boards.clear();
    let sensors = status.sensors().take(THINGS_MAX);
    known.sensors = sensors.map(|(name, c)| (name.to_owned(), c)).collect();
    for (object, fields) in status.objects() {
        if is_fan(object) && known.fans.len() < THINGS_MAX {
            let speed = fields.get("speed").and_then(Value::as_f64);
            if let Some(speed) = speed {
                let name = object.split_once(' ').map_or(object, |(_, name)| name);
                known
                    .fans
                    .insert(name.to_owned(), (speed * 100.0).round() as f32 / 100.0);
            }
        } else if is_board(object)
            && known.boards.len() < THINGS_MAX
            && let Some(version) = fields.get("mcu_version").and_then(Value::as_str)
        {
            let version = version.chars().take(TEXT_MAX).collect();
            known.boards.insert(object.to_owned(), version);
        }
    }
}

impl Core {
    /// Asks for what is not among Klipper's objects.
    pub(super) fn ask_equipment(&mut self, components: &[String]) {
        let has = |name: &str| components.iter().any(|c| c == name);
        for (component, method, call) in [
            ("webcam", "server.webcams.list", Call::Cameras),
            ("power", "machine.device_power.devices", Call::Switches),
        ] {
            if has(component) && !self.calls.values().any(|c| *c == call) {
                self.call(call, method, Value::Null);
            }
        }
    }

    /// An answer or a notification about it.
    pub(super) fn equipment(&mut self, kind: &Call, told: &Value) {
        match kind {
            Call::Cameras => self.equipment.cameras = cameras(told),
            Call::Switches => {
                self.equipment.switches.clear();
                let list = told.get("devices").and_then(Value::as_array);
                for device in list.into_iter().flatten().take(THINGS_MAX) {
                    self.switch_told(device);
                }
            }
            _ => {}
        }
    }

    /// One switch has changed.
    pub(super) fn switch_told(&mut self, told: &Value) {
        match switch(told) {
            Some((name, Some(on))) if self.equipment.switches.len() < THINGS_MAX => {
                self.equipment.switches.insert(name, on);
            }
            Some((name, None)) => {
                self.equipment.switches.remove(&name);
            }
            _ => {}
        }
    }

    /// Tells it when it has changed.
    pub(super) fn tell_equipment(&mut self) {
        of_status(&self.status, &mut self.equipment);
        if self.told.equipment.as_deref() != Some(&self.equipment) {
            let now = Arc::new(self.equipment.clone());
            self.told.equipment = Some(now.clone());
            self.tell(Event::Equipment(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_told_is_taken_and_nonsense_is_absent() {
        let seen = cameras(&json!({"webcams": [
            {"name": "bed", "enabled": true, "stream_url": "/webcam/?action=stream", "snapshot_url": ""},
            {"name": "off", "enabled": false}, {"name": 7}, "nonsense"
        ]}));
        assert_eq!(seen.len(), 1);
        assert_eq!(
            (seen[0].stream.as_deref(), &seen[0].snapshot),
            (Some("/webcam/?action=stream"), &None)
        );
        assert_eq!(
            switch(&json!({"device": "psu", "status": "on"})),
            Some(("psu".to_owned(), Some(true)))
        );
        assert_eq!(
            switch(&json!({"device": "psu", "status": "error"})),
            Some(("psu".to_owned(), None))
        );
        assert_eq!(switch(&json!({"status": "on"})), None);
        let load = load(
            &json!({"cpu_temp": null, "system_cpu_usage": {"cpu": 12.5}, "system_memory": {"total": 200, "used": 50}}),
        );
        assert_eq!(
            (load.cpu_percent, load.cpu_c, load.memory_percent),
            (Some(12.5), None, Some(25.0))
        );
    }

    #[test]
    fn fans_and_boards_come_from_the_objects() {
        let mut status = Status::default();
        let objects = json!({"fan": {"speed": 0.5}, "heater_fan hotend": {"speed": 1}, "temperature_fan pi": {"speed": null},
            "mcu": {"mcu_version": "v0.12"}, "mcu ebb": {"mcu_version": "v0.11"}, "extruder": {"speed": 3},
            "temperature_sensor raspberry_pi": {"temperature": 51.31}, "temperature_sensor chamber": {"temperature": 30}});
        status.merge(objects.as_object().expect("objects"));
        let mut known = Equipment::default();
        of_status(&status, &mut known);
        let fans: Vec<(&str, f32)> = known.fans.iter().map(|(n, s)| (n.as_str(), *s)).collect();
        assert_eq!(fans, [("fan", 0.5), ("hotend", 1.0)]);
        assert_eq!(known.boards.len(), 2);
        let sensors: Vec<(&str, f32)> = known.sensors.iter().map(|(n, c)| (n.as_str(), *c)).collect();
        assert_eq!(
            sensors,
            [("raspberry_pi", 51.5)],
            "the chamber is among the heaters"
        );
    }
}
