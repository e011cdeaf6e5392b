//! Sliced projects: a zip file with one program per plate.

use std::io::{Read, Seek};

use serde_json::Value;
use zip::ZipArchive;

use super::gzip::pump;
use super::{ContainerError, check_ratio};
use crate::analysis::Thumbnail;

/// Most entries of a project.
const MAX_ENTRIES: usize = 10_000;
/// Most bytes of a settings entry that are read.
const MAX_SETTINGS: u64 = 4 << 20;

/// What a project says about one plate, beside its program.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plate {
    /// From 1.
    pub number: u32,
    /// Seconds.
    pub estimate_s: Option<f64>,
    /// Printer's internal name (`printer_model_id`).
    pub printer_model: Option<String>,
    /// Objects: native id, name, and the box of the plate's file.
    pub objects: Vec<PlateObject>,
    /// Filaments by slot (from 0): mm, g, type, colour.
    pub filaments: Vec<PlateFilament>,
    /// Pictures of this plate.
    pub pictures: Vec<Thumbnail>,
    /// Plates with a program in the project.
    pub plates: Vec<u32>,
}

/// One object of a plate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlateObject {
    /// `identify_id`: what a skip command takes.
    pub id: u32,
    /// Name.
    pub name: String,
    /// x0, y0, x1, y1.
    pub bbox: Option<[f64; 4]>,
}

/// One filament of a plate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlateFilament {
    /// Slot, from 0.
    pub slot: u32,
    /// Length.
    pub mm: Option<f64>,
    /// Weight.
    pub g: Option<f64>,
    /// `PLA`…
    pub material: Option<String>,
    /// `#RRGGBB`.
    pub color: Option<String>,
}

/// A file, a part of one, or bytes: all are read by the same code.
pub trait Source: Read + Seek {}

impl<T: Read + Seek> Source for T {}

/// Reads the plate of this number, or the first one with a program.
pub fn read(
    input: &mut dyn Source,
    wanted: Option<u32>,
    take: &mut dyn FnMut(&[u8]),
) -> Result<Plate, ContainerError> {
    let mut zip = ZipArchive::new(input).map_err(damaged)?;
    if zip.len() > MAX_ENTRIES {
        return Err(ContainerError::Hostile(format!("it holds {} entries", zip.len())));
    }
    let names: Vec<String> = zip
        .file_names()
        .map(|name| name.map(|name| name.into_owned()))
        .collect::<Result<_, _>>()
        .map_err(damaged)?;
    if let Some(bad) = names.iter().find(|n| escapes(n)) {
        let shown: String = bad.chars().filter(|c| !c.is_control()).take(80).collect();
        return Err(ContainerError::Hostile(format!(
            "an entry points outside of it: {shown}"
        )));
    }
    let mut plates: Vec<u32> = names.iter().filter_map(|n| plate_number(n)).collect();
    plates.sort_unstable();
    let number = match wanted {
        Some(number) => plates.iter().copied().find(|n| *n == number),
        None => plates.first().copied(),
    };
    if number.is_none()
        && let (Some(wanted), false) = (wanted, plates.is_empty())
    {
        return Err(ContainerError::NoPlate { wanted, plates });
    }
    let Some(number) = number else {
        return Err(ContainerError::Nothing(
            "this is a project without a sliced plate: slice it and export the plate",
        ));
    };
    let mut plate = Plate {
        number,
        plates,
        ..Plate::default()
    };
    plate.pictures = pictures(&mut zip, &names, number);
    if let Some(text) = settings(&mut zip, "Metadata/slice_info.config")? {
        slice_info(&String::from_utf8_lossy(&text), &mut plate);
    }
    if let Some(text) = settings(&mut zip, &format!("Metadata/plate_{number}.json"))? {
        boxes(&text, &mut plate);
    }
    let mut entry = zip.by_name(&program_of(number)).map_err(damaged)?;
    let packed = entry.compressed_size();
    check_ratio(packed, entry.size())?;
    pump(&mut entry, packed, take)?;
    Ok(plate)
}

/// The entry that holds a plate's program.
pub fn program_of(plate: u32) -> String {
    format!("Metadata/plate_{plate}.gcode")
}

/// Reads a part of one unpacked entry.
pub fn part(input: &mut dyn Source, entry: &str, offset: u64, len: u64) -> Result<Vec<u8>, ContainerError> {
    let mut zip = ZipArchive::new(input).map_err(damaged)?;
    super::part(&mut zip.by_name(entry).map_err(damaged)?, offset, len)
}

fn damaged(error: zip::result::ZipError) -> ContainerError {
    match error {
        zip::result::ZipError::Io(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
            ContainerError::Read(error)
        }
        other => ContainerError::Damaged(format!("it is no readable zip file ({other})")),
    }
}

/// Whether a name would leave the folder that it is unpacked to. Nothing here is unpacked to a
/// folder, but a file with such names was not made by a slicer.
fn escapes(name: &str) -> bool {
    name.starts_with(['/', '\\']) || name.contains(':') || name.split(['/', '\\']).any(|part| part == "..")
}

fn plate_number(name: &str) -> Option<u32> {
    name.strip_prefix("Metadata/plate_")?
        .strip_suffix(".gcode")?
        .parse()
        .ok()
}

fn settings(zip: &mut ZipArchive<&mut dyn Source>, name: &str) -> Result<Option<Vec<u8>>, ContainerError> {
    let Ok(entry) = zip.by_name(name) else {
        return Ok(None);
    };
    let mut text = Vec::new();
    entry
        .take(MAX_SETTINGS)
        .read_to_end(&mut text)
        .map_err(|e| ContainerError::Damaged(format!("{name}: {e}")))?;
    Ok(Some(text))
}

fn pictures(zip: &mut ZipArchive<&mut dyn Source>, names: &[String], number: u32) -> Vec<Thumbnail> {
    let wanted = [
        format!("Metadata/plate_{number}.png"),
        format!("Metadata/plate_{number}_small.png"),
    ];
    let mut found = Vec::new();
    for name in wanted.iter().filter(|w| names.contains(w)) {
        let Ok(mut entry) = zip.by_name(name) else {
            continue;
        };
        // PNG: width and height stand at bytes 16 and 20.
        let mut head = [0; 24];
        let sized = entry.read_exact(&mut head).is_ok() && head.starts_with(b"\x89PNG");
        let number = |at: usize| {
            let bytes = head
                .get(at..at + 4)
                .and_then(|b| b.try_into().ok())
                .unwrap_or([0; 4]);
            if sized { u32::from_be_bytes(bytes) } else { 0 }
        };
        found.push(Thumbnail {
            format: "png".to_owned(),
            width: number(16),
            height: number(20),
            bytes: entry.size(),
            offset: 0,
            entry: Some(name.clone()),
        });
    }
    found
}

/// The part of `slice_info.config` (XML) about this plate: attributes of a few flat elements.
fn slice_info(text: &str, plate: &mut Plate) {
    for part in text.split("<plate>").skip(1) {
        let part = part.split("</plate>").next().unwrap_or_default();
        let mut about = Plate {
            number: 0,
            ..Plate::default()
        };
        for element in part.split('<').skip(1) {
            let element = element.split('>').next().unwrap_or_default();
            let of = |key| attribute(element, key);
            match element.split_whitespace().next() {
                Some("metadata") => match of("key").as_deref() {
                    Some("index") => about.number = of("value").and_then(|v| v.parse().ok()).unwrap_or(0),
                    Some("prediction") => about.estimate_s = of("value").and_then(|v| v.parse().ok()),
                    Some("printer_model_id") => about.printer_model = of("value").filter(|v| !v.is_empty()),
                    _ => {}
                },
                Some("object") if about.objects.len() < 10_000 => {
                    if let (Some(id), Some(name)) =
                        (of("identify_id").and_then(|v| v.parse().ok()), of("name"))
                    {
                        about.objects.push(PlateObject { id, name, bbox: None });
                    }
                }
                Some("filament") if about.filaments.len() < 64 => {
                    let slot = of("id")
                        .and_then(|v| v.parse::<u32>().ok())
                        .and_then(|n| n.checked_sub(1));
                    if let Some(slot) = slot.filter(|s| *s < 64) {
                        let number = |key| {
                            of(key)
                                .and_then(|v| v.parse::<f64>().ok())
                                .filter(|v| v.is_finite())
                        };
                        about.filaments.push(PlateFilament {
                            slot,
                            mm: number("used_m").map(|m| m * 1000.0),
                            g: number("used_g"),
                            material: of("type").filter(|t| !t.is_empty()),
                            color: of("color").filter(|t| !t.is_empty()),
                        });
                    }
                }
                _ => {}
            }
        }
        if about.number == plate.number {
            plate.estimate_s = about.estimate_s.filter(|s: &f64| s.is_finite() && *s > 0.0);
            plate.printer_model = about.printer_model;
            plate.objects = about.objects;
            plate.filaments = about.filaments;
            return;
        }
    }
}

fn attribute(element: &str, key: &str) -> Option<String> {
    let mut rest = element;
    loop {
        let at = rest.find(key)?;
        let before = rest.get(..at)?.chars().next_back();
        rest = rest.get(at + key.len()..)?;
        if before.is_some_and(char::is_whitespace)
            && let Some(value) = rest.strip_prefix("=\"")
        {
            let value = value.split('"').next().unwrap_or_default();
            let text = value
                .replace("&lt;", "<")
                .replace("&gt;", ">")
                .replace("&quot;", "\"");
            return Some(text.replace("&apos;", "'").replace("&amp;", "&"));
        }
    }
}

/// Boxes of `plate_N.json`. Its ids are others than the skip command's: objects are matched by name,
/// those of one name in order.
fn boxes(text: &[u8], plate: &mut Plate) {
    let Ok(json) = serde_json::from_slice::<Value>(text) else {
        return;
    };
    let Some(list) = json.get("bbox_objects").and_then(Value::as_array) else {
        return;
    };
    for one in list.iter().take(10_000) {
        let (Some(name), Some(bbox)) = (one.get("name").and_then(Value::as_str), one.get("bbox")) else {
            continue;
        };
        let numbers: Vec<f64> = bbox
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_f64)
            .collect();
        let &[x0, y0, x1, y1] = numbers.as_slice() else {
            continue;
        };
        if let Some(object) = plate
            .objects
            .iter_mut()
            .find(|o| o.name == name && o.bbox.is_none())
        {
            object.bbox = Some([x0, y0, x1, y1]);
        }
    }
}
