//! Containers: Prusa's binary G-code, sliced 3mf projects, gzipped text. Everything is streamed, and
//! every size is held against a limit before memory is taken.

pub mod bgcode;
pub mod gzip;
pub mod heatshrink;
pub mod meatpack;
pub mod threemf;

use std::io::{self, Read};

use super::analysis::Format;

/// Most decoded G-code of one file, bytes.
pub const MAX_DECODED: u64 = 8 << 30;

/// Decoded bytes that are never suspicious.
const RATIO_FREE: u64 = 32 << 20;

/// Most decoded bytes for each packed one beyond that; real G-code packs four- to tenfold.
const MAX_RATIO: u64 = 60;

/// Why a container is refused.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] std::io::Error),
    /// It ends in the middle.
    #[error("the file is cut short: {0}")]
    Truncated(&'static str),
    /// It says something that cannot be.
    #[error("the file is damaged: {0}")]
    Damaged(String),
    /// It is made to do harm, or so big that it might as well be.
    #[error("the file is refused: {0}")]
    Hostile(String),
    /// There is nothing to print in it.
    #[error("{0}")]
    Nothing(&'static str),
    /// The project has other plates.
    #[error("there is no sliced plate {wanted} in the project, only {plates:?}")]
    NoPlate {
        /// The one that was asked for.
        wanted: u32,
        /// Those that have a program.
        plates: Vec<u32>,
    },
}

/// Tells the container from its first bytes (four are enough).
pub fn sniff(head: &[u8]) -> Format {
    match head {
        [b'G', b'C', b'D', b'E', ..] => Format::Bgcode,
        [b'P', b'K', 3, 4, ..] => Format::ThreeMf,
        [0x1f, 0x8b, ..] => Format::GcodeGz,
        _ => Format::Gcode,
    }
}

/// The bytes at an offset of what a decoder gives.
pub(crate) fn part(decoder: &mut dyn Read, offset: u64, len: u64) -> Result<Vec<u8>, ContainerError> {
    io::copy(&mut decoder.take(offset), &mut io::sink())?;
    let mut bytes = Vec::new();
    decoder.take(len).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether so much output from so much input is a bomb.
pub(crate) fn check_ratio(packed: u64, decoded: u64) -> Result<(), ContainerError> {
    if decoded > MAX_DECODED {
        return Err(ContainerError::Hostile(format!(
            "it unpacks to more than {} GB",
            MAX_DECODED >> 30
        )));
    }
    if decoded > RATIO_FREE && decoded / MAX_RATIO > packed {
        return Err(ContainerError::Hostile(format!(
            "{packed} bytes unpack to more than {decoded}: a decompression bomb"
        )));
    }
    Ok(())
}
