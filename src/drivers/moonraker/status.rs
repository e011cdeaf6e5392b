//! The printer objects as Klipper reports them: a snapshot, then changes. Pure.
//!
//! A change is merged per object and per field and never deeper: nested values come whole (seen).

use serde_json::{Map, Value};

use super::equipment::{is_board, is_fan};
use crate::printer::model::{BedMesh, Heater, Position};
use crate::sorted::SortedMap;

/// Objects that are kept; the rest of a broken or hostile answer is dropped.
const OBJECTS_MAX: usize = 256;

/// Objects that are subscribed whenever they exist, with the fields that are needed.
const WANTED: &[(&str, &[&str])] = &[
    ("webhooks", &["state", "state_message"]),
    (
        "print_stats",
        &[
            "filename",
            "state",
            "message",
            "total_duration",
            "print_duration",
            "filament_used",
            "info",
        ],
    ),
    ("virtual_sdcard", &["progress", "file_position", "file_size"]),
    ("display_status", &["message"]),
    ("pause_resume", &["is_paused"]),
    (
        "toolhead",
        &["homed_axes", "extruder", "axis_minimum", "axis_maximum"],
    ),
    ("gcode_move", &["gcode_position"]),
    ("motion_report", &["live_position"]),
    (
        "exclude_object",
        &["objects", "excluded_objects", "current_object"],
    ),
    (
        "bed_mesh",
        &["profile_name", "mesh_min", "mesh_max", "probed_matrix"],
    ),
];

/// What Klipper says of a print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrintState {
    /// Nothing since the start of Klipper.
    Standby,
    /// A file is executed.
    Printing,
    /// A file stands still.
    Paused,
    /// The last file was executed to its end.
    Complete,
    /// The last file was cancelled.
    Cancelled,
    /// The last file ended with an error.
    Error,
}

/// The merged objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    objects: SortedMap<String, Map<String, Value>>,
}

impl Status {
    /// Begins anew with a full snapshot.
    pub fn replace(&mut self, snapshot: &Map<String, Value>) {
        self.objects.clear();
        self.merge(snapshot);
    }

    /// Takes in a change.
    pub fn merge(&mut self, delta: &Map<String, Value>) {
        for (name, fields) in delta {
            let Some(fields) = fields.as_object() else {
                continue;
            };
            if !self.objects.contains_key(name) && self.objects.len() >= OBJECTS_MAX {
                continue;
            }
            let known = self.objects.entry(name.clone()).or_default();
            for (field, value) in fields {
                known.insert(field.clone(), value.clone());
            }
        }
    }

    /// All of them.
    pub fn objects(&self) -> impl Iterator<Item = (&str, &Map<String, Value>)> {
        self.objects.iter().map(|(name, fields)| (name.as_str(), fields))
    }

    /// One field; absent and null are the same.
    pub fn field(&self, object: &str, field: &str) -> Option<&Value> {
        self.objects.get(object)?.get(field).filter(|v| !v.is_null())
    }

    fn number(&self, object: &str, field: &str) -> Option<f64> {
        self.field(object, field)?.as_f64().filter(|n| n.is_finite())
    }

    fn text(&self, object: &str, field: &str) -> Option<&str> {
        self.field(object, field)?.as_str()
    }

    /// `webhooks.state` and its words.
    pub fn klippy(&self) -> Option<(&str, &str)> {
        Some((
            self.text("webhooks", "state")?,
            self.text("webhooks", "state_message").unwrap_or_default(),
        ))
    }

    /// `print_stats.state`.
    pub fn print_state(&self) -> Option<PrintState> {
        Some(match self.text("print_stats", "state")? {
            "standby" => PrintState::Standby,
            "printing" => PrintState::Printing,
            "paused" => PrintState::Paused,
            "complete" => PrintState::Complete,
            "cancelled" => PrintState::Cancelled,
            "error" => PrintState::Error,
            _ => return None,
        })
    }

    /// The file that prints or printed last, relative to the folder of G-code.
    pub fn filename(&self) -> Option<&str> {
        self.text("print_stats", "filename").filter(|f| !f.is_empty())
    }

    /// Klipper's text about the failed print.
    pub fn print_message(&self) -> &str {
        self.text("print_stats", "message").unwrap_or_default()
    }

    /// Seconds since the start of the print, pauses included.
    pub fn total_duration_s(&self) -> Option<f64> {
        self.number("print_stats", "total_duration")
    }

    /// Filament of the print, mm.
    pub fn filament_mm(&self) -> Option<f64> {
        self.number("print_stats", "filament_used").filter(|mm| *mm > 0.0)
    }

    /// Whether Klipper holds a pause, true or stale.
    pub fn is_paused(&self) -> bool {
        self.field("pause_resume", "is_paused")
            .and_then(Value::as_bool)
            .unwrap_or(false)
    }

    /// Part of the file that was read, 0 to 1.
    pub fn progress(&self) -> Option<f64> {
        self.number("virtual_sdcard", "progress")
            .map(|p| p.clamp(0.0, 1.0))
    }

    /// Bytes of the file that were read.
    pub fn file_position(&self) -> Option<u64> {
        self.field("virtual_sdcard", "file_position")?.as_u64()
    }

    /// Layer and layers as the file tells them (`SET_PRINT_STATS_INFO`).
    pub fn layers(&self) -> (Option<u32>, Option<u32>) {
        let info = self.field("print_stats", "info");
        let layer = |name: &str| {
            let n = info?.get(name)?.as_u64()?;
            u32::try_from(n).ok()
        };
        (layer("current_layer"), layer("total_layer"))
    }

    /// Height of the head in the file's coordinates, mm.
    pub fn z_mm(&self) -> Option<f64> {
        self.field("gcode_move", "gcode_position")?.get(2)?.as_f64()
    }

    /// Where the head is now; nothing while an axis is not homed.
    pub fn position(&self) -> Option<Position> {
        let homed = self.text("toolhead", "homed_axes")?;
        let live = self.field("motion_report", "live_position")?;
        let axis = |at: usize, name: char| {
            let mm = live.get(at)?.as_f64()? as f32;
            homed.contains(name).then_some(mm)
        };
        Some(Position {
            x_mm: axis(0, 'x'),
            y_mm: axis(1, 'y'),
            z_mm: axis(2, 'z'),
            e_mm: None,
        })
    }

    /// Where the head may travel.
    pub fn reach_mm(&self) -> Option<([f64; 3], [f64; 3])> {
        let three = |field: &str| {
            let v = self.field("toolhead", field)?;
            Some([v.get(0)?.as_f64()?, v.get(1)?.as_f64()?, v.get(2)?.as_f64()?])
        };
        Some((three("axis_minimum")?, three("axis_maximum")?))
    }

    /// The tool in use.
    pub fn tool(&self) -> Option<u8> {
        tool_number(self.text("toolhead", "extruder")?)
    }

    /// Text of M117.
    pub fn display(&self) -> Option<&str> {
        self.text("display_status", "message")
    }

    /// Names of the objects of the plate.
    pub fn plate(&self) -> Vec<&str> {
        self.field("exclude_object", "objects")
            .and_then(Value::as_array)
            .map(|all| all.iter().filter_map(|o| o.get("name")?.as_str()).collect())
            .unwrap_or_default()
    }

    /// Names of the objects that are left out.
    pub fn excluded(&self) -> Vec<&str> {
        self.field("exclude_object", "excluded_objects")
            .and_then(Value::as_array)
            .map(|all| all.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default()
    }

    /// All temperatures: heater, actual, target. A sensor that reads nothing is not listed.
    pub fn heats(&self) -> Vec<(Heater, f32, Option<f32>)> {
        let mut all: Vec<(Heater, f32, Option<f32>)> = Vec::new();
        for (name, fields) in &self.objects {
            let Some(heater) = heater_of(name) else { continue };
            let Some(actual) = fields.get("temperature").and_then(Value::as_f64) else {
                continue;
            };
            // A fan that keeps a temperature cools towards its target; nothing is heated for it.
            let target = fields.get("target").filter(|_| is_heater(name));
            let target = target.and_then(Value::as_f64).map(|t| t as f32);
            // Two sensors of one place: the one with a heater says more.
            match all.iter_mut().find(|(h, ..)| *h == heater) {
                Some(known) if known.2.is_none() && target.is_some() => {
                    *known = (heater, actual as f32, target)
                }
                Some(_) => {}
                None => all.push((heater, actual as f32, target)),
            }
        }
        all
    }

    /// Whether anything is to be hot.
    pub fn any_target(&self) -> bool {
        let heated = |(name, fields): (&String, &Map<String, Value>)| {
            is_heater(name)
                && fields
                    .get("target")
                    .and_then(Value::as_f64)
                    .is_some_and(|t| t > 0.0)
        };
        self.objects.iter().any(heated)
    }

    /// Sensors that are none of the usual heaters, °C by their names, in half degrees.
    pub fn sensors(&self) -> impl Iterator<Item = (&str, f32)> {
        self.objects.iter().filter_map(|(name, fields)| {
            let celsius = fields.get("temperature").and_then(Value::as_f64)?;
            Some((sensor_of(name)?, (celsius * 2.0).round() as f32 / 2.0))
        })
    }

    /// Filament sensors that are switched on: whether there is filament.
    pub fn filament_sensors(&self) -> Vec<Option<bool>> {
        self.objects
            .iter()
            .filter(|(name, _)| is_filament_sensor(name))
            .map(|(_, fields)| {
                let on = fields.get("enabled").and_then(Value::as_bool)?;
                let there = fields.get("filament_detected").and_then(Value::as_bool)?;
                on.then_some(there)
            })
            .collect()
    }

    /// The bed mesh in use.
    pub fn mesh(&self) -> Option<BedMesh> {
        self.text("bed_mesh", "profile_name").filter(|n| !n.is_empty())?;
        let two = |field: &str| {
            let v = self.field("bed_mesh", field)?;
            Some([v.get(0)?.as_f64()? as f32, v.get(1)?.as_f64()? as f32])
        };
        let rows = self.field("bed_mesh", "probed_matrix")?.as_array()?;
        let row = |row: &Value| -> Vec<Option<f32>> {
            let points = row.as_array().map(Vec::as_slice).unwrap_or_default();
            points
                .iter()
                .take(100)
                .map(|p| p.as_f64().map(|mm| mm as f32))
                .collect()
        };
        Some(BedMesh {
            min_mm: two("mesh_min"),
            max_mm: two("mesh_max"),
            rows_mm: rows.iter().take(100).map(row).collect(),
        })
    }
}

/// What to subscribe to, of what there is.
pub fn subscription(names: &[String]) -> Map<String, Value> {
    let mut wanted = Map::new();
    for name in names.iter().take(OBJECTS_MAX * 4) {
        let fields: &[&str] = match WANTED.iter().find(|(n, _)| n == name) {
            Some((_, fields)) => fields,
            None if is_filament_sensor(name) => &["filament_detected", "enabled"],
            // A fan that keeps a temperature is both.
            None if heater_of(name).is_some() && is_fan(name) => &["temperature", "target", "speed"],
            None if heater_of(name).is_some() || is_heater(name) => &["temperature", "target"],
            None if sensor_of(name).is_some() && is_fan(name) => &["temperature", "speed"],
            None if sensor_of(name).is_some() => &["temperature"],
            None if is_fan(name) => &["speed"],
            None if is_board(name) => &["mcu_version"],
            None => continue,
        };
        if wanted.len() < OBJECTS_MAX {
            wanted.insert(name.clone(), Value::from(fields.to_vec()));
        }
    }
    wanted
}

fn is_filament_sensor(name: &str) -> bool {
    name.starts_with("filament_switch_sensor ") || name.starts_with("filament_motion_sensor ")
}

fn tool_number(name: &str) -> Option<u8> {
    match name.strip_prefix("extruder")? {
        "" => Some(0),
        digits => digits.parse().ok(),
    }
}

/// Whether an object heats.
fn is_heater(name: &str) -> bool {
    tool_number(name).is_some() || name == "heater_bed" || name.starts_with("heater_generic ")
}

/// The name of a sensor that is none of the usual heaters.
fn sensor_of(name: &str) -> Option<&str> {
    let (kind, given) = name.split_once(' ')?;
    let is_sensor = matches!(kind, "heater_generic" | "temperature_sensor" | "temperature_fan");
    (is_sensor && heater_of(name).is_none()).then_some(given)
}

/// Which heater an object is. Chambers have no type of their own: QIDI and others name a
/// `heater_generic`, a sensor or a fan after them.
fn heater_of(name: &str) -> Option<Heater> {
    if let Some(tool) = tool_number(name) {
        return Some(Heater::Tool(tool));
    }
    if name == "heater_bed" {
        return Some(Heater::Bed);
    }
    let (kind, given) = name.split_once(' ')?;
    if !matches!(kind, "heater_generic" | "temperature_sensor" | "temperature_fan") {
        return None;
    }
    let given = given.to_ascii_lowercase();
    if given.contains("chamber") || given.contains("enclosure") {
        Some(Heater::Chamber)
    } else if given.contains("mcu") || given.contains("board") {
        Some(Heater::Board)
    } else if given.contains("ambient") || given.contains("room") {
        Some(Heater::Ambient)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().expect("an object")
    }

    #[test]
    fn changes_are_merged_per_field_and_nested_values_come_whole() {
        let mut status = Status::default();
        status.replace(&map(json!({
            "print_stats": {"state": "printing", "filename": "a.gcode", "info": {"current_layer": 1, "total_layer": 9}},
            "extruder": {"temperature": 20.0, "target": 0.0}, "heater_generic Chamber": {"temperature": 30.5, "target": 40},
            "toolhead": {"homed_axes": "xy", "extruder": "extruder1"}, "motion_report": {"live_position": [1, 2, 3, 4]}
        })));
        status.merge(&map(
            json!({"extruder": {"target": 200.0}, "print_stats": {"info": {"current_layer": 2}}}),
        ));
        assert_eq!(status.layers(), (Some(2), None));
        assert!(status.heats().contains(&(Heater::Tool(0), 20.0, Some(200.0))));
        assert!(status.heats().contains(&(Heater::Chamber, 30.5, Some(40.0))));
        assert_eq!(status.tool(), Some(1));
        let at = status.position().expect("known");
        assert_eq!((at.y_mm, at.z_mm), (Some(2.0), None), "Z is not homed");
    }

    #[test]
    fn odd_values_are_unknown_and_not_zero() {
        let mut status = Status::default();
        status.replace(&map(json!({
            "extruder": {"temperature": null, "target": "hot"}, "print_stats": {"state": "dreaming", "filename": ""},
            "virtual_sdcard": 7, "exclude_object": {"objects": [1, {"name": 2}, {"name": "A"}]}
        })));
        assert!(status.heats().is_empty());
        assert_eq!(
            (status.print_state(), status.filename(), status.progress()),
            (None, None, None)
        );
        assert_eq!(status.plate(), ["A"]);
    }

    #[test]
    fn only_what_exists_is_subscribed() {
        let names = [
            "webhooks",
            "gcode_macro X",
            "extruder",
            "extruder3",
            "temperature_sensor pi",
            "stepper_enable",
        ]
        .map(str::to_owned);
        let wanted = subscription(&names);
        assert_eq!(
            wanted.keys().collect::<Vec<_>>(),
            ["webhooks", "extruder", "extruder3", "temperature_sensor pi"]
        );
    }

    #[test]
    fn a_fan_that_keeps_a_temperature_heats_nothing_and_any_heater_counts() {
        let mut status = Status::default();
        status.merge(&map(
            json!({"temperature_fan chamber": {"temperature": 24, "target": 45}}),
        ));
        assert!(!status.any_target());
        assert_eq!(status.heats(), [(Heater::Chamber, 24.0, None)]);
        status.merge(&map(
            json!({"heater_generic dryer": {"temperature": 24, "target": 45}}),
        ));
        assert!(status.any_target(), "a cancel has to turn it off");
    }

    proptest! {
        #[test]
        fn a_snapshot_with_changes_is_the_last_value_of_every_field(
            steps in prop::collection::vec(("[a-c]", "[x-z]", 0u32..5), 0..60)
        ) {
            let mut status = Status::default();
            let mut truth = SortedMap::new();
            for (object, field, value) in steps {
                status.merge(&map(json!({object.clone(): {field.clone(): value}})));
                truth.insert((object, field), value);
            }
            for ((object, field), value) in truth {
                prop_assert_eq!(status.field(&object, &field), Some(&json!(value)));
            }
        }
    }
}
