//! What is known about a file: the contract of `layerd analyze --json`, plain data.
//!
//! Unknown is `None`/`null`, never 0. Lengths in mm, times in s, temperatures in °C.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::simplyprint::SimplyPrint;

/// Everything one pass over a file found out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Analysis {
    /// Name of the file.
    pub file: Option<String>,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the bytes, hex.
    pub sha256: Option<String>,
    /// Container.
    pub format: Format,
    /// Who sliced it.
    pub slicer: Slicer,
    /// G-code flavour as the slicer names it.
    pub flavor: Option<String>,
    /// Lines, an unterminated last one too.
    pub lines: u64,
    /// Lines that hold a command.
    pub commands: u64,
    /// Layers.
    pub layers: Layers,
    /// Where the head goes, machine coordinates.
    pub bounds: Bounds,
    /// Extent of what is printed (purge and skirt left out where they can be told apart); the height
    /// is measured from the bed.
    pub size_mm: Option<[f64; 3]>,
    /// Filament per tool that is used, by the moves.
    pub filament: Vec<Filament>,
    /// How long it takes.
    pub time: Time,
    /// Wanted temperatures.
    pub temps: Temps,
    /// Objects that can be told apart, for skipping.
    pub objects: Vec<Object>,
    /// Pictures in the file.
    pub thumbnails: Vec<Thumbnail>,
    /// Things to know before printing it, by line.
    pub warnings: Vec<Warning>,
    /// The `v: 12` analysis object of SimplyPrint's API.
    pub simplyprint: SimplyPrint,
    /// Printer it was sliced for.
    pub printer_model: Option<String>,
    /// Nozzle diameters per tool, as the slicer says.
    pub nozzles_mm: Vec<f64>,
    /// Build plate, as the slicer names it.
    pub bed_type: Option<String>,
    /// Which plate of a project (3mf), from 1.
    pub plate: Option<u32>,
    /// The plates of a project that have a program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plates: Vec<u32>,
    /// Where it stops for a person or a colour.
    pub pauses: Vec<Pause>,
    /// Named commands (macros) that it calls, upper case; at most 64.
    pub macros: Vec<String>,
    /// Highest speed asked for, mm/s.
    pub max_speed_mm_s: Option<f64>,
    /// The units, mode and extruder facts that a sender may want to know.
    pub motion: Motion,
}

/// Container of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Format {
    /// Plain text.
    #[default]
    #[serde(rename = "gcode")]
    Gcode,
    /// Prusa's binary G-code.
    #[serde(rename = "bgcode")]
    Bgcode,
    /// A sliced project in a zip file.
    #[serde(rename = "3mf")]
    ThreeMf,
    /// Plain text, gzipped.
    #[serde(rename = "gcode.gz")]
    GcodeGz,
}

/// Who sliced a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Slicer {
    /// `PrusaSlicer`, `Cura`…
    pub name: Option<String>,
    /// As written.
    pub version: Option<String>,
}

/// Layers of a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Layers {
    /// How many.
    pub count: Option<u32>,
    /// Height of the first.
    pub first_mm: Option<f64>,
    /// Height of the others.
    pub height_mm: Option<f64>,
}

/// A box, machine coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Box3 {
    /// Lower corner X, Y, Z.
    pub min: [f64; 3],
    /// Upper corner.
    pub max: [f64; 3],
}

/// Where the head goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bounds {
    /// Moves that extrude, all of them.
    pub extruding: Option<Box3>,
    /// All moves to places that the file names, travel and parking too.
    pub all: Option<Box3>,
    /// Moves that extrude on the part: purge, prime, skirt and brim left out where the file tells
    /// them apart; else the same as `extruding`.
    pub part: Option<Box3>,
}

/// Filament of one tool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filament {
    /// Which tool.
    pub tool: u32,
    /// Length by the moves (with purge); the slicer's figure where the moves do not say.
    pub mm: Option<f64>,
    /// Weight by the slicer; else from length, diameter and density where the file has them.
    pub g: Option<f64>,
    /// `PLA`…
    pub material: Option<String>,
    /// `#RRGGBB`.
    pub color: Option<String>,
    /// Length as the slicer says.
    pub slicer_mm: Option<f64>,
}

/// How long a file takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Time {
    /// The slicer's estimate.
    pub slicer_s: Option<f64>,
    /// Our own; `None` when the time model was off or nothing moves.
    pub model_s: Option<f64>,
}

/// Wanted temperatures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Temps {
    /// By tool number.
    pub tools: BTreeMap<String, Heat>,
    /// The bed.
    pub bed: Heat,
    /// The chamber.
    pub chamber: Heat,
}

/// Wanted temperatures of one heater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Heat {
    /// First target above 0.
    pub first: Option<f64>,
    /// Highest target.
    pub max: Option<f64>,
    /// Target in force at the first extrusion (a flush before may be hotter).
    pub print: Option<f64>,
}

/// An object that can be skipped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Object {
    /// Native number (M486, Bambu), else by first appearance from 0.
    pub id: u32,
    /// What people call it.
    pub name: String,
    /// The whole text by which the file names it, for a skip command.
    pub key: String,
    /// Centre, mm.
    pub center: Option<[f64; 2]>,
    /// Outline from above: as declared, else the hull of its extrusion.
    pub polygon: Vec<[f64; 2]>,
    /// `[min x, min y, max x, max y]` of its extrusion.
    pub bbox: Option<[f64; 4]>,
    /// How the file marks it.
    pub source: ObjectSource,
    /// Filament of its extruding moves.
    pub extrusion_mm: f64,
    /// File offset of its first mark.
    pub first_byte: Option<u64>,
    /// File offset behind its last extrusion.
    pub last_byte: Option<u64>,
    /// Heights of its first and last extrusion.
    pub z_mm: Option<[f64; 2]>,
    /// How many stretches of the file belong to it.
    pub segments: u32,
}

/// How a file marks its objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectSource {
    /// `EXCLUDE_OBJECT_…` (Klipper).
    #[default]
    ExcludeObject,
    /// `M486` (Marlin, RepRapFirmware, Prusa).
    M486,
    /// `; printing object …` (PrusaSlicer family, OctoPrint labels).
    Comment,
    /// `;MESH:` (Cura).
    CuraMesh,
    /// `; start printing object, unique label id: …` and `M624` (Bambu).
    Bambu,
    /// `;PRINTING:` (ideaMaker).
    Ideamaker,
    /// `; process …` (Simplify3D).
    Simplify3d,
}

/// A picture in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Thumbnail {
    /// `png`, `jpg`, `qoi` as its tag says, or `colpic` for touchscreens' own.
    pub format: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Bytes of the encoded text or block in the file.
    pub bytes: u64,
    /// Where its first byte (its first text line) lies: in the file, unpacked where the file is packed
    /// as a whole, or in the unpacked `entry`.
    pub offset: u64,
    /// Entry of the zip file that holds it.
    pub entry: Option<String>,
}

/// Something to know before printing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Warning {
    /// First line it concerns, from 1; `None` for the file as a whole.
    pub line: Option<u64>,
    /// Stable code: `outside_bed`, `cold_extrusion`…
    pub code: String,
    /// For people.
    pub message: String,
    /// How many lines.
    pub count: u64,
}

/// A place where a file stops for a person, or changes colour.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pause {
    /// Line, from 1.
    pub line: u64,
    /// File offset of the line.
    pub byte: u64,
    /// Layer, from 1.
    pub layer: u32,
    /// `pause`, `filament_change`, `color_change`.
    pub kind: String,
}

/// Modes that a file uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Motion {
    /// X, Y, Z are relative while the part is printed.
    pub xyz_relative: bool,
    /// E is relative while the part is printed.
    pub e_relative: bool,
    /// `G20` is in the file.
    pub inches: bool,
    /// Arcs are in the file.
    pub arcs: bool,
    /// E is in mm³.
    pub volumetric: bool,
    /// Retraction by the firmware (`G10`).
    pub firmware_retraction: bool,
}

impl Analysis {
    /// Highest wanted temperature of any tool.
    pub fn max_tool_c(&self) -> Option<f64> {
        self.temps
            .tools
            .values()
            .filter_map(|heat| heat.max)
            .reduce(f64::max)
    }

    /// What it takes in seconds: the slicer's figure, else ours.
    pub fn estimate_s(&self) -> Option<f64> {
        self.time.slicer_s.or(self.time.model_s)
    }
}
