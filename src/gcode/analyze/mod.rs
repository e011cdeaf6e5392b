//! The analyzer: one streaming pass that finds out everything about a file.
//!
//! [`Analyzer`] is fed bytes in chunks of any size and gives the same result for every chunking.
//! Memory is bounded whatever the file holds.

mod comments;
mod curve;
mod finish;
mod kept;
mod named;
mod pass;
mod warn;

use super::analysis::Analysis;
use super::index::Index;
use super::lines::{LineSink, RawLine, Splitter};
use pass::Pass;

/// Where a printer prints, for the fit check.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bed {
    /// Lower corner X, Y, mm.
    pub min: [f64; 2],
    /// Upper corner X, Y, mm.
    pub max: [f64; 2],
    /// Height, mm; 0 = not checked.
    pub height_mm: f64,
    /// Round: the circle within the corners.
    pub round: bool,
}

impl Bed {
    /// A rectangle with the origin in its corner.
    pub fn rect(width_mm: f64, depth_mm: f64, height_mm: f64) -> Self {
        Bed {
            min: [0.0; 2],
            max: [width_mm, depth_mm],
            height_mm,
            round: false,
        }
    }

    /// The same with the origin in its middle.
    pub fn centred(self) -> Self {
        let ([x0, y0], [x1, y1]) = (self.min, self.max);
        let [hx, hy] = [(x1 - x0) / 2.0, (y1 - y0) / 2.0];
        Bed {
            min: [-hx, -hy],
            max: [hx, hy],
            ..self
        }
    }
}

/// What to find out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Printer's bed, for `outside_bed` warnings.
    pub bed: Option<Bed>,
    /// Highest nozzle temperature, °C, for `too_hot` warnings.
    pub max_tool_c: Option<f64>,
    /// Highest bed temperature, °C.
    pub max_bed_c: Option<f64>,
    /// Run the time model.
    pub time_model: bool,
    /// Build the index (byte → layer, time, object; checkpoints).
    pub index: bool,
    /// Compute the SHA-256 of the file (used by [`super::analyze_file`]).
    pub hash: bool,
    /// Which plate of a project (`None`: the first; used by [`super::analyze_file`]).
    pub plate: Option<u32>,
    /// `(…)` is a comment.
    pub paren_comments: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            bed: None,
            max_tool_c: None,
            max_bed_c: None,
            time_model: true,
            index: true,
            hash: true,
            plate: None,
            paren_comments: false,
        }
    }
}

/// Analyzes a file that is pushed into it.
///
/// ```
/// use layerd_gcode::analyze::{Analyzer, Options};
///
/// let mut analyzer = Analyzer::new(Options::default());
/// analyzer.push(b"G28\nM109 S210\nG1 X10 Y10 Z0.2 F3000\nG1 X30 ");
/// analyzer.push(b"E1.2\nG1 Y30 E2.4\n");
/// let analysis = analyzer.finish();
/// let part = analysis.bounds.part.unwrap();
/// assert_eq!((part.min, part.max), ([10.0, 10.0, 0.2], [30.0, 30.0, 0.2]));
/// assert_eq!(analysis.filament[0].mm, Some(2.4));
/// ```
#[derive(Clone, Debug)]
pub struct Analyzer {
    splitter: Splitter,
    pass: Box<Pass>,
}

impl Analyzer {
    /// For a file from its beginning.
    pub fn new(options: Options) -> Self {
        Analyzer {
            splitter: Splitter::default(),
            pass: Box::new(Pass::new(options)),
        }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, chunk: &[u8]) {
        self.splitter.push(chunk, self.pass.as_mut());
    }

    /// Takes a fact that stands outside the G-code (metadata of a container).
    pub fn fact(&mut self, key: &str, value: &str) {
        self.pass.meta.pair(key.as_bytes(), value.as_bytes());
    }

    /// Takes the slicer's name as a container gives it: `PrusaSlicer 2.8.1`.
    pub fn producer(&mut self, text: &str) {
        self.pass.producer(text);
    }

    /// The G-code comes out of a container that holds the slicer's settings apart: their absence is no
    /// sign of a cut file.
    pub fn in_container(&mut self) {
        self.pass.meta.tail = true;
    }

    /// Bytes taken so far.
    pub fn offset(&self) -> u64 {
        self.splitter.offset()
    }

    /// The file is over.
    pub fn finish(self) -> Analysis {
        self.finish_with_index().0
    }

    /// The file is over; the index as well (empty where it was not asked for).
    pub fn finish_with_index(mut self) -> (Analysis, Index) {
        self.splitter.finish(self.pass.as_mut());
        self.pass.finish(self.splitter.offset())
    }
}

impl LineSink for Pass {
    fn block(&mut self, block: &[u8], start: u64) {
        self.run_block(block, start);
    }

    fn line(&mut self, line: RawLine<'_>) {
        self.slow_line(line);
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
