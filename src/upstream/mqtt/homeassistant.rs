//! Home Assistant's MQTT discovery: for each printer a device with its entities, one retained message each. Pure.
//!
//! <https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery>. Entities are made only of what a printer has; a
//! value that is not known renders as `None`, which Home Assistant shows as unknown.

use serde_json::Value;

use super::topics::{self, Topics};
use super::view::{Facts, Group};
use crate::json::json;
use crate::printer::model::StateWord;

/// Highest temperature that can be asked for where no limit is known, °C.
const TOOL_MAX_C: f32 = 300.0;
/// See [`TOOL_MAX_C`].
const BED_MAX_C: f32 = 120.0;
/// Slots for spools that get an entity.
const SLOTS_MAX: usize = 32;

/// One discovery message.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where.
    pub topic: String,
    /// What.
    pub body: Value,
}

/// What all messages of a host have in common.
#[derive(Clone, Debug)]
pub struct Home<'a> {
    /// `homeassistant`, unless the owner has another one.
    pub prefix: &'a str,
    /// Where the host publishes.
    pub topics: &'a Topics,
    /// Whether commands are taken.
    pub commands: bool,
    /// Version of this program.
    pub version: &'a str,
    /// Name of the host for people.
    pub host: &'a str,
}

/// Letters, digits, `_` and `-`, as object ids have to be.
fn id(name: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' {
            c
        } else {
            '_'
        }
    };
    name.chars().map(plain).collect()
}

/// `tool0` as people call it.
fn heater_name(heater: &str, only_tool: bool) -> String {
    match heater {
        "tool0" if only_tool => "Nozzle".to_owned(),
        tool if tool.starts_with("tool") => format!(
            "Nozzle {}",
            tool.trim_start_matches("tool").parse().unwrap_or(0) + 1
        ),
        other => {
            let mut letters = other.chars();
            letters
                .next()
                .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
        }
    }
}

/// Collects the messages of one device.
struct Device<'a> {
    home: &'a Home<'a>,
    /// Part of every id.
    node: String,
    device: Value,
    availability: Value,
    out: Vec<Config>,
}

impl Device<'_> {
    /// One entity; `more` holds what is its own.
    fn add(&mut self, component: &str, object: &str, name: &str, more: Value) {
        let object = id(object);
        let mut body = json!({
            "name": name,
            "unique_id": format!("{}_{object}", self.node),
            "availability": self.availability,
            "availability_mode": "all",
            "device": self.device,
            "origin": {"name": "layerd", "sw_version": self.home.version},
        });
        if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
            for (key, value) in more {
                body.insert(key, value);
            }
        }
        let topic = format!("{}/{component}/{}/{object}/config", self.home.prefix, self.node);
        self.out.push(Config { topic, body });
    }
}

impl Home<'_> {
    fn host_node(&self) -> String {
        format!("layerd_{}", id(self.topics.host()))
    }

    /// The topic on which Home Assistant tells that it began.
    pub fn birth(prefix: &str) -> String {
        format!("{prefix}/status")
    }

    fn printer_node(&self, name: &str) -> String {
        format!("{}_{}", self.host_node(), id(name))
    }

    /// Whether a topic is one on which a printer (without a name: the host) is announced nowadays.
    pub fn announces(&self, name: &str, topic: &str) -> bool {
        let node = if name.is_empty() {
            self.host_node()
        } else {
            self.printer_node(name)
        };
        let parts = topic
            .strip_prefix(self.prefix)
            .and_then(|rest| rest.strip_prefix('/'));
        let Some((component, rest)) = parts.and_then(|rest| rest.split_once('/')) else {
            return false;
        };
        let commands = matches!(component, "button" | "number");
        rest.split('/').next() == Some(node.as_str()) && (self.commands || !commands)
    }

    /// The messages of the host itself.
    pub fn host_configs(&self) -> Vec<Config> {
        let node = self.host_node();
        let mut device = Device {
            home: self,
            device: json!({
                "identifiers": [node],
                "name": format!("layerd {}", self.host),
                "manufacturer": "layerd",
                "model": "3D printer host",
                "sw_version": self.version,
            }),
            node,
            availability: json!([{"topic": self.topics.status()}]),
            out: Vec::new(),
        };
        let level = self.topics.host_level();
        let mut sensor = |object: &str, name: &str, key: &str, more: Value| {
            let mut body = json!({
                "state_topic": level,
                "value_template": format!("{{{{ value_json.{key} }}}}"),
                "state_class": "measurement",
                "entity_category": "diagnostic",
            });
            if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
                body.extend(more);
            }
            device.add("sensor", object, name, body);
        };
        sensor(
            "cpu",
            "Processor use",
            "cpu_percent",
            json!({"unit_of_measurement": "%", "icon": "mdi:cpu-64-bit"}),
        );
        sensor(
            "memory",
            "Memory use",
            "memory_percent",
            json!({"unit_of_measurement": "%", "icon": "mdi:memory"}),
        );
        sensor(
            "cpu_temperature",
            "Processor temperature",
            "cpu_c",
            json!({"unit_of_measurement": "°C", "device_class": "temperature", "suggested_display_precision": 0}),
        );
        sensor(
            "disk_free",
            "Free disk space",
            "disk_free_mb",
            json!({"unit_of_measurement": "MB", "device_class": "data_size", "icon": "mdi:harddisk"}),
        );
        // What tells of the connection itself must not be unavailable without it.
        device.availability = json!([]);
        device.add(
            "binary_sensor",
            "status",
            "Connection",
            json!({
                "state_topic": self.topics.status(),
                "payload_on": topics::ONLINE,
                "payload_off": topics::OFFLINE,
                "device_class": "connectivity",
                "entity_category": "diagnostic",
            }),
        );
        device.out.into_iter().map(without_empty_availability).collect()
    }

    /// The messages of a printer.
    pub fn printer_configs(&self, name: &str, facts: &Facts) -> Vec<Config> {
        let node = self.printer_node(name);
        let host = json!({"topic": self.topics.status()});
        let own = json!({"topic": self.topics.of(name, topics::AVAILABILITY)});
        let manufacturer = match facts.driver.as_str() {
            "bambu" => "Bambu Lab",
            "moonraker" => "Klipper",
            "marlin" => "Marlin",
            other => other,
        };
        let mut device = Device {
            home: self,
            device: json!({
                "identifiers": [node],
                "name": name,
                "manufacturer": manufacturer,
                "model": facts.model.as_deref().unwrap_or("3D printer"),
                "sw_version": facts.version,
                "via_device": self.host_node(),
            }),
            node,
            availability: json!([host, own]),
            out: Vec::new(),
        };
        if let Some(members) = device.device.as_object_mut() {
            members.retain(|_, value| !value.is_null());
        }
        let topic = |group: Group| self.topics.of(name, group.topic());
        self.state_entities(&mut device, facts, &topic(Group::State), &topic(Group::Job));
        self.heat_entities(&mut device, facts, name, &topic(Group::Temperatures));
        let fans = topic(Group::Fans);
        for fan in &facts.fans {
            device.add(
                "sensor",
                &format!("fan_{fan}"),
                &format!("Fan {fan}"),
                json!({
                    "state_topic": fans,
                    "value_template": format!("{{{{ value_json[{}] }}}}", quoted(fan)),
                    "unit_of_measurement": "%",
                    "state_class": "measurement",
                    "icon": "mdi:fan",
                }),
            );
        }
        filament_entities(&mut device, facts, &topic(Group::Filament));
        if self.commands {
            self.buttons(&mut device, facts, name, &topic(Group::State));
        }
        if facts.camera {
            let picture = json!({"topic": self.topics.of(name, topics::CAMERA), "icon": "mdi:camera"});
            device.add("camera", "camera", "Camera", picture);
        }
        diagnostics(
            &mut device,
            &host,
            &topic(Group::State),
            &topic(Group::Notices),
            &topic(Group::Info),
        );
        device.out
    }

    fn state_entities(&self, device: &mut Device<'_>, facts: &Facts, state: &str, job: &str) {
        let words = [
            StateWord::Operational,
            StateWord::Printing,
            StateWord::Pausing,
            StateWord::Paused,
            StateWord::Resuming,
            StateWord::Cancelling,
            StateWord::Downloading,
            StateWord::Offline,
            StateWord::Error,
            StateWord::NotReady,
        ];
        device.add(
            "sensor",
            "state",
            "State",
            json!({
                "state_topic": state,
                "value_template": "{{ value_json.state }}",
                "device_class": "enum",
                "options": words.map(StateWord::as_str),
                "json_attributes_topic": state,
                "icon": "mdi:printer-3d",
            }),
        );
        device.add(
            "sensor",
            "job",
            "Job",
            json!({
                "state_topic": job,
                // A state holds at most 255 characters.
                "value_template": "{{ value_json.file[:250] if value_json.file else none }}",
                "json_attributes_topic": job,
                "icon": "mdi:file-document-outline",
            }),
        );
        let mut of_job = |object: &str, name: &str, template: &str, more: Value| {
            let mut body = json!({"state_topic": job, "value_template": template});
            if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
                body.extend(more);
            }
            device.add("sensor", object, name, body);
        };
        of_job(
            "progress",
            "Progress",
            "{{ value_json.percent }}",
            json!({"unit_of_measurement": "%", "state_class": "measurement", "icon": "mdi:progress-clock", "suggested_display_precision": 0}),
        );
        if facts.layers {
            let layers = json!({"icon": "mdi:layers-triple-outline"});
            of_job("layer", "Layer", "{{ value_json.layer }}", layers.clone());
            of_job("layers", "Layers", "{{ value_json.layers }}", layers);
        }
        if facts.time_left {
            of_job(
                "time_left",
                "Time left",
                "{{ (value_json.time_left_s / 60) | round(0) if value_json.time_left_s is not none else none }}",
                json!({"unit_of_measurement": "min", "device_class": "duration"}),
            );
            of_job(
                "finish",
                "Finishes",
                "{{ value_json.finish }}",
                json!({"device_class": "timestamp", "icon": "mdi:flag-checkered"}),
            );
        }
    }

    fn heat_entities(&self, device: &mut Device<'_>, facts: &Facts, name: &str, topic: &str) {
        let only_tool = facts.heaters.keys().filter(|h| h.starts_with("tool")).count() == 1;
        for (heater, heated) in &facts.heaters {
            let called = heater_name(heater, only_tool);
            let template = |what: &str| {
                format!("{{{{ value_json.{heater}.{what} if value_json.{heater} is defined else none }}}}")
            };
            device.add(
                "sensor",
                heater,
                &format!("{called} temperature"),
                json!({
                    "state_topic": topic,
                    "value_template": template("actual"),
                    "unit_of_measurement": "°C",
                    "device_class": "temperature",
                    "state_class": "measurement",
                    "suggested_display_precision": 1,
                }),
            );
            if !heated {
                continue;
            }
            let target = json!({
                "state_topic": topic,
                "value_template": template("target"),
                "unit_of_measurement": "°C",
                "device_class": "temperature",
                "icon": "mdi:thermometer-lines",
            });
            let settable = heater.starts_with("tool") || matches!(heater.as_str(), "bed" | "chamber");
            if !(self.commands && facts.gcode && settable) {
                device.add(
                    "sensor",
                    &format!("{heater}_target"),
                    &format!("{called} target"),
                    target,
                );
                continue;
            }
            let most = if heater.starts_with("tool") {
                facts.max_tool_c.unwrap_or(TOOL_MAX_C)
            } else {
                facts.max_bed_c.unwrap_or(BED_MAX_C)
            };
            let mut number = target;
            if let Value::Object(body) = &mut number {
                body.insert(
                    "command_topic".to_owned(),
                    json!(self.topics.of(name, topics::COMMAND)),
                );
                let wish =
                    format!("\"command\": \"temperature\", \"heaters\": {{\"{heater}\": {{{{ value }}}}}}");
                body.insert("command_template".to_owned(), json!(template_of(&wish)));
                body.insert("min".to_owned(), json!(0));
                body.insert("max".to_owned(), json!(most));
                body.insert("step".to_owned(), json!(1));
                body.insert("mode".to_owned(), json!("box"));
            }
            device.add(
                "number",
                &format!("{heater}_target"),
                &format!("{called} target"),
                number,
            );
        }
    }

    fn buttons(&self, device: &mut Device<'_>, facts: &Facts, name: &str, state: &str) {
        let everywhere = device.availability.clone();
        let buttons = [
            ("pause", "Pause", "mdi:pause", facts.pause),
            ("resume", "Resume", "mdi:play", facts.pause),
            ("cancel", "Cancel", "mdi:stop", facts.cancel),
        ];
        let press = |word: &str, icon: &str| {
            json!({
                "command_topic": self.topics.of(name, topics::COMMAND),
                "command_template": template_of(&format!("\"command\": \"{word}\"")),
                "qos": 1,
                "retain": false,
                "icon": icon,
            })
        };
        for (word, called, icon, _) in buttons.into_iter().filter(|(.., has)| *has) {
            let can = json!({
                "topic": state,
                "value_template": format!("{{{{ 'online' if '{word}' in value_json.can else 'offline' }}}}"),
            });
            if let Value::Array(list) = &mut device.availability {
                list.push(can);
            }
            device.add("button", word, called, press(word, icon));
            device.availability.clone_from(&everywhere);
        }
        device.add(
            "button",
            "emergency_stop",
            "Emergency stop",
            press("emergency_stop", "mdi:alert-octagon"),
        );
    }
}

/// A message that is new and fresh whenever it is sent.
fn template_of(members: &str) -> String {
    format!("{{\"id\": \"ha-{{{{ now().timestamp() }}}}\", \"at\": {{{{ now().timestamp() }}}}, {members}}}")
}

fn filament_entities(device: &mut Device<'_>, facts: &Facts, topic: &str) {
    for sensor in &facts.filament {
        let called = match facts.filament.len() {
            1 => "Filament runout".to_owned(),
            _ => format!("Filament runout {}", sensor + 1),
        };
        device.add(
            "binary_sensor",
            &format!("filament_runout_{sensor}"),
            &called,
            json!({
                "state_topic": topic,
                "value_template": format!("{{{{ 'ON' if value_json.sensors['{sensor}'] == 'runout' else 'OFF' }}}}"),
                "device_class": "problem",
                "icon": "mdi:printer-3d-nozzle-alert-outline",
            }),
        );
    }
    for slot in 0..facts.slots.min(SLOTS_MAX) {
        device.add(
            "sensor",
            &format!("slot_{slot}"),
            &format!("Filament slot {}", slot + 1),
            json!({
                "state_topic": topic,
                "value_template": format!("{{{{ value_json.slots[{slot}].material if value_json.slots and value_json.slots | length > {slot} else none }}}}"),
                "json_attributes_topic": topic,
                "json_attributes_template": format!("{{{{ (value_json.slots[{slot}] if value_json.slots and value_json.slots | length > {slot} else {{}}) | tojson }}}}"),
                "icon": "mdi:palette-swatch",
            }),
        );
    }
}

/// What is worth knowing when something does not work; of the link also while the printer is away.
fn diagnostics(device: &mut Device<'_>, host: &Value, state: &str, notices: &str, info: &str) {
    device.availability = json!([host]);
    let on = |topic: &str, condition: &str, class: &str| {
        json!({
            "state_topic": topic,
            "value_template": format!("{{{{ 'ON' if {condition} else 'OFF' }}}}"),
            "device_class": class,
            "entity_category": "diagnostic",
        })
    };
    device.add(
        "binary_sensor",
        "link",
        "Connection",
        on(state, "value_json.link", "connectivity"),
    );
    let mut problem = on(notices, "value_json.level in ['warning', 'error']", "problem");
    if let Value::Object(body) = &mut problem {
        body.insert("json_attributes_topic".to_owned(), json!(notices));
    }
    device.add("binary_sensor", "problem", "Problem", problem);
    let text = |topic: &str, template: &str, icon: &str| json!({"state_topic": topic, "value_template": template, "entity_category": "diagnostic", "icon": icon});
    device.add(
        "sensor",
        "notice",
        "Notice",
        text(
            notices,
            "{{ value_json.newest[:250] if value_json.newest else none }}",
            "mdi:bell-alert-outline",
        ),
    );
    device.add(
        "sensor",
        "message",
        "Message",
        text(
            state,
            "{{ value_json.message[:250] if value_json.message else none }}",
            "mdi:message-text-outline",
        ),
    );
    device.add(
        "sensor",
        "firmware",
        "Firmware",
        text(
            info,
            "{{ value_json.firmware_version[:250] if value_json.firmware_version else none }}",
            "mdi:chip",
        ),
    );
}

/// An empty list of availabilities is none.
fn without_empty_availability(mut config: Config) -> Config {
    if let Value::Object(body) = &mut config.body
        && body
            .get("availability")
            .and_then(Value::as_array)
            .is_some_and(Vec::is_empty)
    {
        body.remove("availability");
        body.remove("availability_mode");
    }
    config
}

/// A text inside of a template.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
#[path = "homeassistant_tests.rs"]
mod tests;
