//! Bed heights as Marlin and its relatives print them. Pure.
//!
//! Understood: `Bilinear Leveling Grid:` and `Mesh Bed Level data:` (Marlin `G29`, `M420 V`; rows from
//! the front, each with its number, signed values, `====` for a point that was not probed),
//! `Bed Topography Report` (UBL `G29 T`, `M420 V`; rows from the back, `.` for no point, corners in
//! parentheses; the CSV form without row numbers), `Measured points:` (Prusa `G81`, rows from the back
//! without numbers; Marlin's manual levelling under the same words with numbers, from the front), and
//! the replay lines of `M503`: `G29 W I0 J0 Z0.1` (Marlin bilinear), `G29 S3 I1 J1 Z0.1` (manual, counted
//! from 1), `M421 I0 J0 Z0.1`. Source: the `report`/`print_2d_array`/`display_map` routines of Marlin
//! 1.1 to 2.1 and `mesh_bed_leveling::print` of Prusa-Firmware 3.x.

use std::sync::Arc;

use super::answer::LINE_MAX;
use super::proto::Marlin;
use super::scan::{contains_no_case, float_at, starts_no_case, trim, word};
use crate::printer::event::Event;
use crate::printer::model::BedMesh;

/// Most points in a row and most rows; Marlin's own limit is 15, Prusa's 7.
const POINTS_MAX: usize = 64;

/// A bed that is further off than this is a damaged number.
const HEIGHT_MAX_MM: f64 = 50.0;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reading {
    /// No report is open.
    #[default]
    No,
    /// Rows, numbered or from the front.
    Front,
    /// Rows from the back.
    Back,
    /// Replay lines of single points.
    Points,
    /// A finer grid computed from the one before: not measured, not kept.
    Computed,
}

/// Collects one report out of the lines of the printer.
#[derive(Debug, Default)]
pub struct MeshReader {
    reading: Reading,
    rows: Vec<Vec<Option<f32>>>,
    corner_min_mm: Option<[f32; 2]>,
    corner_max_mm: Option<[f32; 2]>,
    probed: Option<Probed>,
}

/// Points told one by one while they are probed (`G29 V4`).
#[derive(Clone, Copy, Debug)]
struct Probed {
    count: usize,
    min_mm: [f32; 2],
    max_mm: [f32; 2],
}

impl MeshReader {
    /// Whether a report is open, so that an `ok` has to close it.
    pub fn is_open(&self) -> bool {
        self.reading != Reading::No
    }

    /// Takes a line that is no `ok`, report of temperatures or the like; a mesh that it completes.
    pub fn line(&mut self, raw: &[u8]) -> Option<BedMesh> {
        let line = trim(raw.get(..LINE_MAX).unwrap_or(raw));
        let line = trim(line.strip_prefix(b"echo:").unwrap_or(line));
        if self.is_open() && line.is_empty() {
            return None;
        }
        if let Some(reading) = header(line) {
            let done = self.end();
            self.reading = reading;
            return done;
        }
        if starts_no_case(line, b"Bed X:") {
            self.note_probed(line);
            return None;
        }
        if let Some((column, row, height_mm)) = replay(line) {
            let done = if self.reading == Reading::Points {
                None
            } else {
                self.end()
            };
            self.reading = Reading::Points;
            self.put(column, row, height_mm);
            return done;
        }
        match self.reading {
            Reading::No => None,
            Reading::Points => self.end(),
            Reading::Computed if row(line).is_some() => None,
            Reading::Front | Reading::Back => {
                if self.take_row(line) || is_between_rows(line) {
                    self.take_corners(line);
                    None
                } else {
                    self.end()
                }
            }
            Reading::Computed => self.end(),
        }
    }

    /// The report is over: an `ok`, or something else was said.
    pub fn end(&mut self) -> Option<BedMesh> {
        let reading = std::mem::take(&mut self.reading);
        let mut rows_mm = std::mem::take(&mut self.rows);
        let corners = (self.corner_min_mm.take(), self.corner_max_mm.take());
        let width = rows_mm.iter().map(Vec::len).max().unwrap_or(0);
        if matches!(reading, Reading::No | Reading::Computed) || width < 2 || rows_mm.len() < 2 {
            return None;
        }
        match reading {
            Reading::Points => rows_mm.iter_mut().for_each(|row| row.resize(width, None)),
            // A row that lost values on its way makes the whole table unreadable.
            _ if rows_mm.iter().any(|row| row.len() != width) => return None,
            Reading::Back => rows_mm.reverse(),
            _ => {}
        }
        if rows_mm.iter().flatten().all(Option::is_none) {
            return None;
        }
        let count = width * rows_mm.len();
        let probed = self.probed.take().filter(|p| p.count == count);
        Some(BedMesh {
            min_mm: corners.0.or(probed.map(|p| p.min_mm)),
            max_mm: corners.1.or(probed.map(|p| p.max_mm)),
            rows_mm,
        })
    }

    fn take_row(&mut self, line: &[u8]) -> bool {
        let Some(row) = row(line) else { return false };
        // Prusa and Marlin say "Measured points:" both; only Marlin numbers its rows.
        if row.number == Some(0) && self.rows.is_empty() && !row.bar {
            self.reading = Reading::Front;
        }
        if self.rows.len() < POINTS_MAX && row.heights.len() <= POINTS_MAX {
            self.rows.push(row.heights);
        }
        true
    }

    /// `(1,229)  (229,229)`: corners in mm. Some versions also print them as indices; those come
    /// first at the back and last at the front, so the ones nearer to the rows count.
    fn take_corners(&mut self, line: &[u8]) {
        let mut pairs = line.split(|b| *b == b'(').skip(1).filter_map(|text| {
            let (x, len) = float_at(trim_start(text))?;
            let rest = trim_start(trim_start(text).get(len..)?);
            let (y, _) = float_at(trim_start(rest.strip_prefix(b",")?))?;
            Some([x as f32, y as f32])
        });
        let (Some(left), Some(right)) = (pairs.next(), pairs.next()) else {
            return;
        };
        if self.rows.is_empty() {
            self.corner_max_mm = Some(right);
        } else if self.corner_min_mm.is_none() {
            self.corner_min_mm = Some(left);
        }
    }

    fn note_probed(&mut self, line: &[u8]) {
        let value = |name: &[u8]| {
            let at = line.windows(name.len()).position(|w| w == name)?;
            float_at(trim_start(line.get(at + name.len()..)?)).map(|(v, _)| v as f32)
        };
        let (Some(x), Some(y)) = (value(b"X:"), value(b"Y:")) else {
            return;
        };
        let known = self.probed.get_or_insert(Probed {
            count: 0,
            min_mm: [x, y],
            max_mm: [x, y],
        });
        known.count = known.count.saturating_add(1);
        let [min_x, min_y] = known.min_mm;
        let [max_x, max_y] = known.max_mm;
        known.min_mm = [min_x.min(x), min_y.min(y)];
        known.max_mm = [max_x.max(x), max_y.max(y)];
    }

    fn put(&mut self, column: usize, row: usize, height_mm: f32) {
        if column >= POINTS_MAX || row >= POINTS_MAX {
            return;
        }
        while self.rows.len() <= row {
            self.rows.push(Vec::new());
        }
        let Some(points) = self.rows.get_mut(row) else {
            return;
        };
        while points.len() <= column {
            points.push(None);
        }
        if let Some(point) = points.get_mut(column) {
            *point = Some(height_mm);
        }
    }
}

fn header(line: &[u8]) -> Option<Reading> {
    if starts_no_case(line, b"Bilinear Leveling Grid") || starts_no_case(line, b"Mesh Bed Level data") {
        Some(Reading::Front)
    } else if starts_no_case(line, b"Bed Topography Report") || starts_no_case(line, b"Measured points:") {
        Some(Reading::Back)
    } else if starts_no_case(line, b"Subdivided with") {
        Some(Reading::Computed)
    } else {
        None
    }
}

/// What stands in a report without being a row: column numbers, `|`, corners, `3x3 mesh. Z offset: 0`.
fn is_between_rows(line: &[u8]) -> bool {
    line.iter().all(|b| {
        matches!(
            b,
            b'0'..=b'9' | b' ' | b'\t' | b'|' | b'(' | b')' | b',' | b'-' | b'.'
        )
    }) || contains_no_case(line, b" mesh. ")
        || starts_no_case(line, b"Num X,Y:")
        || starts_no_case(line, b"Measured points")
        || starts_no_case(line, b"Z offset:")
        || starts_no_case(line, b"Z search height:")
}

struct Row {
    number: Option<usize>,
    bar: bool,
    heights: Vec<Option<f32>>,
}

/// One row: an index or none, then values. Values have a point; what has none is an index.
fn row(line: &[u8]) -> Option<Row> {
    let (mut number, mut bar) = (None, false);
    let mut heights = Vec::new();
    let parts = line
        .split(|b| matches!(b, b' ' | b'\t' | b',' | b'[' | b']'))
        .filter(|w| !w.is_empty());
    for (at, part) in parts.enumerate() {
        if at > POINTS_MAX + 2 {
            return None;
        }
        let part = match part.strip_prefix(b"|") {
            Some(rest) => {
                bar = true;
                rest
            }
            None => part,
        };
        if part.is_empty() {
            continue;
        }
        if part == b"."
            || part.iter().skip(1).all(|b| *b == b'=') && part.len() > 2
            || part.eq_ignore_ascii_case(b"nan")
        {
            heights.push(None);
            continue;
        }
        let (value, len) = float_at(part)?;
        if len != part.len() {
            return None;
        }
        if !part.contains(&b'.') {
            if number.is_some() || !heights.is_empty() || !(0.0..=99.0).contains(&value) {
                return None;
            }
            number = Some(value as usize);
            continue;
        }
        if value.abs() > HEIGHT_MAX_MM {
            return None;
        }
        heights.push(Some(value as f32));
    }
    (!heights.is_empty()).then_some(Row { number, bar, heights })
}

/// A replay line: column, row, height.
fn replay(line: &[u8]) -> Option<(usize, usize, f32)> {
    let manual = starts_no_case(line, b"G29 S3 ");
    if !manual && !starts_no_case(line, b"G29 W ") && !starts_no_case(line, b"M421 ") {
        return None;
    }
    let index = |letter| {
        let value = word(line, letter)?;
        let first = if manual { 1.0 } else { 0.0 };
        (value >= first && value < POINTS_MAX as f64).then_some((value - first) as usize)
    };
    let height_mm = word(line, b'Z').filter(|z| z.abs() <= HEIGHT_MAX_MM)?;
    Some((index(b'I')?, index(b'J')?, height_mm as f32))
}

impl Marlin {
    /// Text that may belong to a report of bed heights.
    pub(super) fn mesh_line(&mut self, text: &[u8]) {
        if let Some(mesh) = self.mesh.line(text) {
            self.event(Event::Mesh(Some(Arc::new(mesh))));
        }
    }

    /// An `ok` closes a report.
    pub(super) fn mesh_end(&mut self) {
        if let Some(mesh) = self.mesh.end() {
            self.event(Event::Mesh(Some(Arc::new(mesh))));
        }
    }
}

fn trim_start(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    text
}

#[cfg(test)]
#[path = "mesh_tests.rs"]
mod tests;
