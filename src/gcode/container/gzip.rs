//! Gzipped text.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

use super::{ContainerError, check_ratio};

/// Reads a whole file, handing on its text in pieces.
pub fn read(input: impl Read, file_len: u64, take: &mut dyn FnMut(&[u8])) -> Result<(), ContainerError> {
    let mut decoder = MultiGzDecoder::new(input);
    pump(&mut decoder, file_len, take)
}

/// Reads a part of the unpacked text.
pub fn part(input: impl Read, offset: u64, len: u64) -> Result<Vec<u8>, ContainerError> {
    super::part(&mut MultiGzDecoder::new(input), offset, len)
}

/// Reads to the end, watching the ratio.
pub(super) fn pump(
    decoder: &mut dyn Read,
    packed: u64,
    take: &mut dyn FnMut(&[u8]),
) -> Result<(), ContainerError> {
    let mut buffer = vec![0; 64 * 1024];
    let mut decoded = 0u64;
    loop {
        match decoder.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(got) => {
                decoded += got as u64;
                check_ratio(packed, decoded)?;
                take(buffer.get(..got).unwrap_or_default());
            }
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::UnexpectedEof => return Err(ContainerError::Truncated("in packed data")),
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::Other => {
                    return Err(ContainerError::Damaged(format!("it does not unpack ({error})")));
                }
                _ => return Err(error.into()),
            },
        }
    }
}
