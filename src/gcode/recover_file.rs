//! Reads a program up to the place where it is to go on.

use std::io;
use std::path::Path;

use super::file::FileSource;
use super::recover::{CannotRecover, From, Height, Scan};

/// Bytes read in one batch.
const BATCH_BYTES: usize = 64 * 1024;

/// A program that goes on with a print.
#[derive(Clone, Debug, PartialEq)]
pub struct Rest {
    /// What comes first.
    pub beginning: String,
    /// From this byte of the file on, the file follows as it is.
    pub byte: u64,
    /// Lines of the file before it.
    pub line: u32,
    /// Layer that it begins in, from 1; 0: unknown.
    pub layer: u32,
    /// Height at which it goes on, mm.
    pub z_mm: f64,
    /// Height of what stands on the bed, mm.
    pub top_mm: f64,
}

/// Why there is no such program.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// It cannot go on from there.
    #[error(transparent)]
    Cannot(#[from] CannotRecover),
}

/// Finds the place and what has to be done to go on there.
pub fn rest_of(path: &Path, from: From, height: Height) -> Result<Rest, RecoverError> {
    if from == From::Layer(0) || from == From::Layer(1) {
        return Err(CannotRecover::NothingYet.into());
    }
    let mut source = FileSource::open(path, 0, 0, 0)?;
    let mut scan = Scan::default();
    let (mut byte, mut line, mut layer) = (0, 0, 0);
    let mut found = false;
    'file: loop {
        let batch = source.next_batch(BATCH_BYTES)?;
        for next in &batch.lines {
            let there = match from {
                From::Layer(wanted) => next.layer >= wanted,
                From::Byte(last) => next.byte_end > last,
            };
            if there {
                layer = next.layer;
                found = true;
                break 'file;
            }
            scan.line(batch.text_of(next));
            (byte, line, layer) = (next.byte_end, next.source_line, next.layer);
        }
        if batch.last {
            break;
        }
    }
    if !found {
        return Err(match from {
            From::Layer(_) if layer == 0 => CannotRecover::NoLayers,
            From::Layer(wanted) => CannotRecover::NoSuchLayer { wanted, last: layer },
            From::Byte(_) => CannotRecover::NothingLeft,
        }
        .into());
    }
    Ok(Rest {
        beginning: scan.beginning(height)?,
        byte,
        line,
        layer,
        z_mm: scan.z_mm(),
        top_mm: scan.top_mm(),
    })
}
