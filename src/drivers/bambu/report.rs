//! A message of the printer as it stands on the wire. Every member may be missing, of another type
//! or unknown; none of that fails the message.

use std::borrow::Cow;

use serde::Deserialize;

use super::lenient::{self, Int, Object};

type Text<'a> = Option<Cow<'a, str>>;

/// One document of the report topic. Categories that are not read here are skipped.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Message<'a> {
    /// Status, or the answer to a `print` command.
    #[serde(borrow)]
    pub print: Object<Print<'a>>,
    /// Versions.
    #[serde(borrow)]
    pub info: Object<Info<'a>>,
    /// Answers to `system` commands.
    #[serde(borrow)]
    pub system: Object<Answer<'a>>,
    /// Answers to `camera` commands.
    #[serde(borrow)]
    pub camera: Object<Answer<'a>>,
}

/// The members that make an answer an answer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Answer<'a> {
    /// Name of the command, as it was sent; some firmwares leave it out.
    #[serde(borrow, deserialize_with = "lenient::text")]
    pub command: Text<'a>,
    /// The number it was sent with.
    #[serde(borrow, alias = "sequenceId", deserialize_with = "lenient::text")]
    pub sequence_id: Text<'a>,
    /// `success` or `fail…`, in any case.
    #[serde(borrow, deserialize_with = "lenient::text")]
    pub result: Text<'a>,
    /// Words.
    #[serde(borrow, deserialize_with = "lenient::text")]
    pub reason: Text<'a>,
    /// Number of the refusal.
    #[serde(deserialize_with = "lenient::int")]
    pub err_code: Option<i64>,
}

/// Versions of the parts.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Info<'a> {
    /// `get_version`.
    #[serde(borrow, deserialize_with = "lenient::text")]
    pub command: Text<'a>,
    /// The parts.
    #[serde(borrow, deserialize_with = "lenient::list")]
    pub module: Option<Vec<Object<Module<'a>>>>,
}

/// One part with a firmware.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Module<'a> {
    /// `ota`, `mc`, `ams/0`, …
    #[serde(borrow, deserialize_with = "lenient::text")]
    pub name: Text<'a>,
    /// Its firmware.
    #[serde(borrow, deserialize_with = "lenient::text")]
    pub sw_ver: Text<'a>,
    /// Its hardware.
    #[serde(borrow, deserialize_with = "lenient::text")]
    pub hw_ver: Text<'a>,
    /// The product, on newer firmware.
    #[serde(borrow, deserialize_with = "lenient::text")]
    pub product_name: Text<'a>,
    /// The model code, on older firmware.
    #[serde(borrow, deserialize_with = "lenient::text")]
    pub project_name: Text<'a>,
}

/// The `print` object: a status (full or delta), or an answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Print<'a> {
    /// `push_status`, or the command answered.
    #[serde(borrow, deserialize_with = "lenient::text")]
    pub command: Text<'a>,
    /// Ours in an answer, the printer's own counter in a status.
    #[serde(borrow, alias = "sequenceId", deserialize_with = "lenient::text")]
    pub sequence_id: Text<'a>,
    /// Outcome of a command.
    #[serde(borrow, deserialize_with = "lenient::text")]
    pub result: Text<'a>,
    /// Its words.
    #[serde(borrow, deserialize_with = "lenient::text")]
    pub reason: Text<'a>,
    /// Its number.
    #[serde(deserialize_with = "lenient::int")]
    pub err_code: Option<i64>,
    /// 0 full, 1 delta.
    #[serde(deserialize_with = "lenient::int")]
    pub msg: Option<i64>,
    /// What the printer does.
    #[serde(borrow, deserialize_with = "lenient::text")]
    pub gcode_state: Text<'a>,
    /// Percent done.
    #[serde(deserialize_with = "lenient::int")]
    pub mc_percent: Option<i64>,
    /// Minutes to go.
    #[serde(deserialize_with = "lenient::int")]
    pub mc_remaining_time: Option<i64>,
    /// Current layer.
    #[serde(deserialize_with = "lenient::int")]
    pub layer_num: Option<i64>,
    /// Layers in all.
    #[serde(deserialize_with = "lenient::int")]
    pub total_layer_num: Option<i64>,
    /// Percent of the file taken in.
    #[serde(deserialize_with = "lenient::int")]
    pub gcode_file_prepare_percent: Option<i64>,
    /// Stage inside the print.
    #[serde(deserialize_with = "lenient::int")]
    pub stg_cur: Option<i64>,
    /// Newer place of the stage.
    pub stage: Object<StageNow>,
    /// Name of the job.
    #[serde(borrow, deserialize_with = "lenient::text")]
    pub subtask_name: Text<'a>,
    /// File.
    #[serde(borrow, deserialize_with = "lenient::text")]
    pub gcode_file: Text<'a>,
    /// Number of the job.
    #[serde(borrow, deserialize_with = "lenient::text")]
    pub task_id: Text<'a>,
    /// The number that a start carried.
    #[serde(borrow, deserialize_with = "lenient::text")]
    pub subtask_id: Text<'a>,
    /// Error code, 0 none.
    #[serde(deserialize_with = "lenient::int")]
    pub print_error: Option<i64>,
    /// Active nozzle, °C.
    #[serde(deserialize_with = "lenient::float")]
    pub nozzle_temper: Option<f32>,
    /// °C.
    #[serde(deserialize_with = "lenient::float")]
    pub nozzle_target_temper: Option<f32>,
    /// °C.
    #[serde(deserialize_with = "lenient::float")]
    pub bed_temper: Option<f32>,
    /// °C.
    #[serde(deserialize_with = "lenient::float")]
    pub bed_target_temper: Option<f32>,
    /// °C; made up on models without the sensor.
    #[serde(deserialize_with = "lenient::float")]
    pub chamber_temper: Option<f32>,
    /// Newer temperatures, nozzles, tools.
    pub device: Object<Device>,
    /// 0–15.
    #[serde(deserialize_with = "lenient::int")]
    pub cooling_fan_speed: Option<i64>,
    /// 0–15.
    #[serde(deserialize_with = "lenient::int")]
    pub big_fan1_speed: Option<i64>,
    /// 0–15.
    #[serde(deserialize_with = "lenient::int")]
    pub big_fan2_speed: Option<i64>,
    /// 0–15.
    #[serde(deserialize_with = "lenient::int")]
    pub heatbreak_fan_speed: Option<i64>,
    /// 1–4.
    #[serde(deserialize_with = "lenient::int")]
    pub spd_lvl: Option<i64>,
    /// `-53dBm`.
    #[serde(borrow, deserialize_with = "lenient::text")]
    pub wifi_signal: Text<'a>,
    /// Flags; signed on the wire.
    #[serde(deserialize_with = "lenient::int")]
    pub home_flag: Option<i64>,
    /// Card present: true/false or a word.
    #[serde(borrow, deserialize_with = "lenient::text")]
    pub sdcard: Text<'a>,
    /// Capability word, hexadecimal.
    #[serde(borrow, deserialize_with = "lenient::text")]
    pub fun: Text<'a>,
    /// State word, hexadecimal.
    #[serde(borrow, deserialize_with = "lenient::text")]
    pub stat: Text<'a>,
    /// Material system.
    #[serde(borrow)]
    pub ams: Object<Ams<'a>>,
    /// External spool, older.
    #[serde(borrow)]
    pub vt_tray: Object<Tray<'a>>,
    /// Camera.
    #[serde(borrow)]
    pub ipcam: Object<Camera<'a>>,
    /// Network.
    pub net: Object<Net>,
    /// Filament at the extruder.
    #[serde(deserialize_with = "lenient::int")]
    pub hw_switch_state: Option<i64>,
    /// Objects left out.
    #[serde(deserialize_with = "lenient::list")]
    pub s_obj: Option<Vec<Int>>,
    /// Messages of the health system.
    #[serde(deserialize_with = "lenient::list")]
    pub hms: Option<Vec<Object<Hms>>>,
    /// Lights.
    #[serde(borrow, deserialize_with = "lenient::list")]
    pub lights_report: Option<Vec<Object<Light<'a>>>>,
    /// External spools, newer.
    #[serde(borrow, deserialize_with = "lenient::list")]
    pub vir_slot: Option<Vec<Object<Tray<'a>>>>,
}

/// Newer place of the stage.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct StageNow {
    /// Its code.
    #[serde(rename = "_id", deserialize_with = "lenient::int")]
    pub id: Option<i64>,
}

/// Newer temperatures and tools. Old firmware has other shapes under the same names.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Device {
    /// Bed.
    pub bed: Object<Holder>,
    /// Bed, packed.
    #[serde(deserialize_with = "lenient::int")]
    pub bed_temp: Option<i64>,
    /// Chamber.
    pub ctc: Object<Holder>,
    /// Chamber, packed.
    #[serde(deserialize_with = "lenient::int")]
    pub cham_temp: Option<i64>,
    /// Nozzles and what they are fed from.
    pub extruder: Object<Extruder>,
}

/// Something with `info.temp`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Holder {
    /// Holds the packed temperature.
    pub info: Object<Packed>,
}

/// A packed temperature: low half measured, high half wanted.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Packed {
    /// Packed °C.
    #[serde(deserialize_with = "lenient::int")]
    pub temp: Option<i64>,
}

/// Nozzles.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Extruder {
    /// Bits 4–7: the one in use.
    #[serde(deserialize_with = "lenient::int")]
    pub state: Option<i64>,
    /// Per nozzle.
    #[serde(deserialize_with = "lenient::list")]
    pub info: Option<Vec<Object<Nozzle>>>,
}

/// One nozzle: 0 right or only, 1 left.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Nozzle {
    /// Which.
    #[serde(deserialize_with = "lenient::int")]
    pub id: Option<i64>,
    /// Packed °C.
    #[serde(deserialize_with = "lenient::int")]
    pub temp: Option<i64>,
    /// Slot it is fed from: high byte unit, low byte slot.
    #[serde(deserialize_with = "lenient::int")]
    pub snow: Option<i64>,
}

/// The material system.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Ams<'a> {
    /// Trays present, hexadecimal.
    #[serde(borrow, deserialize_with = "lenient::text")]
    pub tray_exist_bits: Text<'a>,
    /// Tray in use.
    #[serde(deserialize_with = "lenient::int")]
    pub tray_now: Option<i64>,
    /// Units.
    #[serde(borrow, deserialize_with = "lenient::list")]
    pub ams: Option<Vec<Object<Unit<'a>>>>,
}

/// One unit.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Unit<'a> {
    /// 0–3 AMS, 16 lite of an A2L, 128–135 HT.
    #[serde(deserialize_with = "lenient::int")]
    pub id: Option<i64>,
    /// 1–5.
    #[serde(deserialize_with = "lenient::int")]
    pub humidity: Option<i64>,
    /// Percent.
    #[serde(deserialize_with = "lenient::int")]
    pub humidity_raw: Option<i64>,
    /// °C; 0 no sensor.
    #[serde(deserialize_with = "lenient::float")]
    pub temp: Option<f32>,
    /// Kind and nozzle, hexadecimal.
    #[serde(borrow, deserialize_with = "lenient::text")]
    pub info: Text<'a>,
    /// Minutes of drying left.
    #[serde(deserialize_with = "lenient::int")]
    pub dry_time: Option<i64>,
    /// Its slots.
    #[serde(borrow, deserialize_with = "lenient::list")]
    pub tray: Option<Vec<Object<Tray<'a>>>>,
}

/// One slot. With an id alone it is empty.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Tray<'a> {
    /// 0–3; 254 and 255 are external spools.
    #[serde(deserialize_with = "lenient::int")]
    pub id: Option<i64>,
    /// Presence, in two generations of meaning.
    #[serde(deserialize_with = "lenient::int")]
    pub state: Option<i64>,
    /// Filament id (`GFA00`).
    #[serde(borrow, deserialize_with = "lenient::text")]
    pub tray_info_idx: Text<'a>,
    /// `PLA`.
    #[serde(borrow, deserialize_with = "lenient::text")]
    pub tray_type: Text<'a>,
    /// `PLA Matte`.
    #[serde(borrow, deserialize_with = "lenient::text")]
    pub tray_sub_brands: Text<'a>,
    /// RRGGBBAA.
    #[serde(borrow, deserialize_with = "lenient::text")]
    pub tray_color: Text<'a>,
    /// Percent; -1 unknown.
    #[serde(deserialize_with = "lenient::int")]
    pub remain: Option<i64>,
}

/// One message of the health system.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Hms {
    /// Where.
    #[serde(deserialize_with = "lenient::int")]
    pub attr: Option<i64>,
    /// What.
    #[serde(deserialize_with = "lenient::int")]
    pub code: Option<i64>,
}

/// One light.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Light<'a> {
    /// Which.
    #[serde(borrow, deserialize_with = "lenient::text")]
    pub node: Text<'a>,
    /// on, off, flashing.
    #[serde(borrow, deserialize_with = "lenient::text")]
    pub mode: Text<'a>,
}

/// Camera.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Camera<'a> {
    /// Address of the live view, or `disable`.
    #[serde(borrow, deserialize_with = "lenient::text")]
    pub rtsp_url: Text<'a>,
}

/// Network.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Net {
    /// Interfaces.
    #[serde(deserialize_with = "lenient::list")]
    pub info: Option<Vec<Object<Interface>>>,
}

/// One interface.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Interface {
    /// IPv4, low byte first.
    #[serde(deserialize_with = "lenient::int")]
    pub ip: Option<i64>,
}
