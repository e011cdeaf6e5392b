//! The requests of the protocol with every member that the newest firmware wants. A request without
//! `sequence_id`, or a pause, resume or stop without `param`, may vanish without an answer.

use serde_json::Value;

use super::ams::{LEFT_SPOOL, MAIN_SPOOL};

use crate::json::json;

/// What a start of a sliced project says beside the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartOptions {
    /// Level the bed first.
    pub bed_leveling: bool,
    /// Calibrate the flow first.
    pub flow_calibration: bool,
    /// Calibrate the vibration first.
    pub vibration_calibration: bool,
    /// Inspect the first layer.
    pub layer_inspect: bool,
    /// Record a time lapse.
    pub timelapse: bool,
    /// Feed from the AMS where one is there.
    pub use_ams: bool,
    /// Plain G-code is started as it is instead of wrapped into a project.
    pub plain_gcode: bool,
}

impl Default for StartOptions {
    fn default() -> Self {
        StartOptions {
            bed_leveling: true,
            flow_calibration: false,
            vibration_calibration: true,
            layer_inspect: false,
            timelapse: false,
            use_ams: true,
            plain_gcode: false,
        }
    }
}

/// A file that lies on the printer, ready to be started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnCard {
    /// Name of the file in the root of the card.
    pub file: String,
    /// Plate, from 1; `None`: the file is plain G-code.
    pub plate: Option<u32>,
    /// MD5 of the plate's program, if known.
    pub md5: String,
    /// Slot of every filament of the file: number over all units, -1 unused or external.
    /// Empty: no AMS.
    pub slots: Vec<i64>,
}

/// Longest stem of a name at the printer, characters.
const STEM_MAX: usize = 60;

/// The name at the printer, of a project or of plain G-code: plain letters, for other ones are kept by no
/// two firmwares alike, and a part of the hash, so that two files never share one.
pub fn remote_name(name: &str, sha256: &str, project: bool) -> String {
    let base = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let base = [".gcode.3mf", ".3mf", ".gcode"]
        .iter()
        .find_map(|end| base.strip_suffix(end))
        .unwrap_or(base);
    let stem: String = base
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '_'
            }
        })
        .take(STEM_MAX)
        .collect();
    let stem = stem.trim_start_matches('.');
    let stem = if stem.is_empty() { "print" } else { stem };
    let hash = sha256.get(..8).unwrap_or("0");
    format!("{stem}-{hash}{}", if project { ".gcode.3mf" } else { ".gcode" })
}

fn print(seq: u32, command: &str, rest: Value) -> String {
    with("print", seq, command, rest)
}

fn with(category: &str, seq: u32, command: &str, rest: Value) -> String {
    let mut body = json!({ "sequence_id": seq.to_string(), "command": command });
    if let (Some(body), Value::Object(rest)) = (body.as_object_mut(), rest) {
        body.extend(rest);
    }
    json!({ category: body }).to_string()
}

/// One full report.
pub fn pushall(seq: u32) -> String {
    with("pushing", seq, "pushall", json!({"version": 1, "push_target": 1}))
}

/// (Re)starts the reports.
pub fn push_start(seq: u32) -> String {
    with("pushing", seq, "start", json!({}))
}

/// Versions of all parts.
pub fn get_version(seq: u32) -> String {
    with("info", seq, "get_version", json!({}))
}

/// `pause`, `resume` or `stop`.
pub fn simple(seq: u32, command: &str) -> String {
    print(seq, command, json!({"param": ""}))
}

/// Resumes and suppresses the fault.
pub fn ignore(seq: u32, print_error: u32, subtask_id: &str) -> String {
    let rest = json!({"err": print_error.to_string(), "param": "reserve", "job_id": subtask_id});
    print(seq, "ignore", rest)
}

/// Takes an error off the screen.
pub fn clear_error(seq: u32, print_error: u32, subtask_id: &str) -> String {
    let rest = json!({"subtask_id": subtask_id, "print_error": print_error});
    print(seq, "clean_print_error", rest)
}

/// Lines of G-code.
pub fn gcode(seq: u32, lines: &[String]) -> String {
    print(
        seq,
        "gcode_line",
        json!({"param": format!("{}\n", lines.join("\n"))}),
    )
}

/// Speed level 1–4.
pub fn speed(seq: u32, level: i64) -> String {
    print(seq, "print_speed", json!({"param": level.to_string()}))
}

/// Leaves objects out.
pub fn skip(seq: u32, ids: &[u32]) -> String {
    print(seq, "skip_objects", json!({"obj_list": ids}))
}

/// A light on or off.
pub fn light(seq: u32, node: &str, on: bool) -> String {
    let rest = json!({
        "led_node": node,
        "led_mode": if on { "on" } else { "off" },
        "led_on_time": 500,
        "led_off_time": 500,
        "loop_times": 0,
        "interval_time": 0,
    });
    with("system", seq, "ledctrl", rest)
}

/// Unit and slot of a number over all units.
fn unit_and_slot(slot: i64) -> Value {
    match slot {
        n @ 0..=127 => json!({"ams_id": n / 4, "slot_id": n % 4}),
        n if n >= 128 => json!({"ams_id": n, "slot_id": 0}),
        _ => json!({"ams_id": 255, "slot_id": 255}),
    }
}

/// The name of the command that starts a file.
pub fn start_command(card: &OnCard) -> &'static str {
    match card.plate {
        Some(_) => "project_file",
        None => "gcode_file",
    }
}

/// Starts what lies on the card.
pub fn start(seq: u32, card: &OnCard, name: &str, job: &str, options: &StartOptions) -> String {
    match card.plate {
        Some(plate) => project_file(seq, card, plate, name, job, options),
        // It carries no number: the job is known by the name of its file.
        None => print(seq, "gcode_file", json!({"param": format!("/{}", card.file)})),
    }
}

/// Starts a sliced project. `job`: a fresh number up to 2³¹-1, by which the job is known again.
/// Truth values are JSON booleans: some models read integers as something else.
fn project_file(
    seq: u32,
    card: &OnCard,
    plate: u32,
    name: &str,
    job: &str,
    options: &StartOptions,
) -> String {
    let rest = json!({
        "param": format!("Metadata/plate_{plate}.gcode"),
        "url": format!("ftp:///{}", card.file),
        "file": card.file,
        "md5": card.md5,
        "subtask_name": name,
        "project_id": job,
        "profile_id": "0",
        "task_id": job,
        "subtask_id": job,
        "bed_type": "auto",
        "timelapse": options.timelapse,
        "bed_leveling": options.bed_leveling,
        "bed_levelling": options.bed_leveling,
        "auto_bed_leveling": u8::from(options.bed_leveling),
        "flow_cali": options.flow_calibration,
        "extrude_cali_flag": u8::from(options.flow_calibration),
        "extrude_cali_manual_mode": 0,
        "nozzle_offset_cali": 0,
        "vibration_cali": options.vibration_calibration,
        "layer_inspect": options.layer_inspect,
        "use_ams": !card.slots.is_empty(),
        // External spools are told only in the second form.
        "ams_mapping": card.slots.iter().map(|s| match *s { MAIN_SPOOL | LEFT_SPOOL => -1, s => s }).collect::<Vec<_>>(),
        "ams_mapping2": card.slots.iter().map(|s| unit_and_slot(*s)).collect::<Vec<_>>(),
        "cfg": "0",
    });
    print(seq, "project_file", rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Value {
        serde_json::from_str(text).expect("JSON")
    }

    #[test]
    fn a_start_names_plate_file_job_and_slots_in_both_forms() {
        let card = OnCard {
            file: "clip.gcode.3mf".into(),
            plate: Some(2),
            md5: String::new(),
            slots: vec![0, -1, 5, 128],
        };
        let sent = read(&start(7, &card, "Clip", "1714", &StartOptions::default()));
        let body = &sent["print"];
        assert_eq!(body["sequence_id"], "7");
        assert_eq!(body["param"], "Metadata/plate_2.gcode");
        assert_eq!(body["url"], "ftp:///clip.gcode.3mf");
        assert_eq!(
            (&body["task_id"], &body["subtask_id"]),
            (&json!("1714"), &json!("1714"))
        );
        assert_eq!(body["use_ams"], true);
        assert_eq!(body["ams_mapping"], json!([0, -1, 5, 128]));
        assert_eq!(
            body["ams_mapping2"],
            json!([
                {"ams_id": 0, "slot_id": 0},
                {"ams_id": 255, "slot_id": 255},
                {"ams_id": 1, "slot_id": 1},
                {"ams_id": 128, "slot_id": 0}
            ])
        );
        assert!(body["flow_cali"].is_boolean() && body["bed_leveling"].is_boolean());
    }

    #[test]
    fn plain_gcode_is_started_by_its_path() {
        let card = OnCard {
            file: "a-abababab.gcode".into(),
            ..OnCard::default()
        };
        let sent = read(&start(9, &card, "a", "1714", &StartOptions::default()));
        assert_eq!(
            sent,
            json!({"print": {"sequence_id": "9", "command": "gcode_file", "param": "/a-abababab.gcode"}})
        );
    }

    #[test]
    fn names_at_the_printer_are_plain_short_and_unique() {
        let hash = "0123456789abcdef";
        let name = |name| remote_name(name, hash, true);
        assert_eq!(name("größe ring.gcode.3mf"), "gr__e_ring-01234567.gcode.3mf");
        assert_eq!(name("../../etc/passwd"), "passwd-01234567.gcode.3mf");
        assert_eq!(name("..3mf"), "print-01234567.gcode.3mf");
        assert_eq!(remote_name("a b.gcode", hash, false), "a_b-01234567.gcode");
        let long = name(&"x".repeat(300));
        assert!(long.len() < 100 && long.is_ascii(), "{long}");
    }

    #[test]
    fn short_requests_carry_number_and_parameter() {
        assert_eq!(
            read(&simple(3, "resume")),
            json!({"print": {"sequence_id": "3", "command": "resume", "param": ""}})
        );
        assert_eq!(
            read(&gcode(4, &["M104 S50".into(), "M106 S0".into()]))["print"]["param"],
            "M104 S50\nM106 S0\n"
        );
        assert_eq!(read(&speed(5, 3))["print"]["param"], "3");
        assert_eq!(read(&skip(6, &[94, 171]))["print"]["obj_list"], json!([94, 171]));
    }
}
