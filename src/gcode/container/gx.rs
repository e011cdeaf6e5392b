//! FlashForge's `.gx`: a header of 58 bytes, a picture, and plain G-code.
//!
//! The layout is known from two independent readers of such files; numbers are little-endian. Where the parts begin
//! is read from the header, as FlashPrint's versions differ.

use std::io::Read;

use super::ContainerError;

/// First bytes of a file.
pub const MAGIC: &[u8] = b"xgcode ";

/// Length of the header.
const HEADER: usize = 58;

/// Width and height of the picture, pixels.
pub const PICTURE: (u32, u32) = (80, 60);

/// Farthest that the program may begin: the picture of 80 by 60 pixels takes 14 kB.
const MAX_BEGIN: u64 = 16 << 20;

/// Longest print that is believed: a year, s.
const MAX_PRINT_S: u32 = 366 * 86_400;

/// What the header says. Unknown is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Header {
    /// Where the picture lies: offset and length in the file.
    pub picture: Option<(u64, u64)>,
    /// Where the program begins.
    pub program: u64,
    /// How long the print takes, s.
    pub print_s: Option<u32>,
    /// Filament of the right (T0) and the left nozzle (T1), mm.
    pub filament_mm: [u32; 2],
    /// Height of a layer, mm.
    pub layer_mm: Option<f64>,
}

/// Reads what stands before the program, so that the program comes next.
///
/// # Errors
/// When the file is cut short or its header points elsewhere.
pub fn read_header(input: &mut impl Read, file_len: u64) -> Result<Header, ContainerError> {
    let mut head = Vec::with_capacity(HEADER);
    input.by_ref().take(HEADER as u64).read_to_end(&mut head)?;
    if head.len() < HEADER {
        return Err(ContainerError::Truncated("in its header"));
    }
    let header = header_of(&head, file_len)?;
    let ahead = header.program - HEADER as u64;
    if std::io::copy(&mut input.by_ref().take(ahead), &mut std::io::sink())? < ahead {
        return Err(ContainerError::Truncated("before the program"));
    }
    Ok(header)
}

fn header_of(head: &[u8], file_len: u64) -> Result<Header, ContainerError> {
    let damaged = |what: &str| ContainerError::Damaged(what.to_owned());
    if !head.starts_with(MAGIC) {
        return Err(damaged("it does not begin as a .gx file"));
    }
    let word = |at: usize| -> Result<u32, ContainerError> {
        let four = head.get(at..).and_then(|rest| rest.first_chunk());
        Ok(u32::from_le_bytes(
            *four.ok_or(ContainerError::Truncated("in its header"))?,
        ))
    };
    let (bitmap, program) = (u64::from(word(0x10)?), u64::from(word(0x14)?));
    if program >= file_len {
        return Err(ContainerError::Truncated("before the program"));
    }
    if program < HEADER as u64 || program > MAX_BEGIN {
        return Err(damaged("its header points outside the file"));
    }
    let layer_um = word(0x28)? >> 16;
    Ok(Header {
        picture: (bitmap >= HEADER as u64 && bitmap < program).then(|| (bitmap, program - bitmap)),
        program,
        print_s: Some(word(0x1c)?).filter(|s| (1..MAX_PRINT_S).contains(s)),
        filament_mm: [word(0x20)?, word(0x24)?].map(|mm| if mm > i32::MAX as u32 { 0 } else { mm }),
        layer_mm: (1..2000)
            .contains(&layer_um)
            .then(|| f64::from(layer_um) / 1000.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWING: &[u8] = include_bytes!("../../../fixtures/gcode/drawing.gx");

    #[test]
    fn the_header_tells_where_the_parts_are() {
        let mut input = DRAWING;
        let header = read_header(&mut input, DRAWING.len() as u64).unwrap();
        assert_eq!(
            header,
            Header {
                picture: Some((58, 14_454)),
                program: 14_512,
                print_s: Some(754),
                filament_mm: [1234, 0],
                layer_mm: Some(0.18),
            }
        );
        assert!(input.starts_with(b";"));
    }

    #[test]
    fn a_header_that_points_elsewhere_is_refused() {
        for len in 0..14_512 {
            let mut cut = DRAWING.get(..len).unwrap();
            let why = read_header(&mut cut, len as u64).unwrap_err().to_string();
            assert!(why.contains("cut short"), "{len}: {why}");
        }
        for (at, to) in [(0x14, 57u32), (0x14, 0), (0x14, MAX_BEGIN as u32 + 1)] {
            let mut bad = DRAWING.to_vec();
            bad[at..at + 4].copy_from_slice(&to.to_le_bytes());
            let why = read_header(&mut bad.as_slice(), u64::MAX)
                .unwrap_err()
                .to_string();
            assert!(why.contains("damaged"), "{why}");
        }
        let mut odd = DRAWING.to_vec();
        odd[0x10..0x14].copy_from_slice(&u32::MAX.to_le_bytes());
        odd[0x1c..0x28].fill(0xff);
        let header = read_header(&mut odd.as_slice(), DRAWING.len() as u64).unwrap();
        assert_eq!(
            (header.picture, header.print_s, header.filament_mm),
            (None, None, [0, 0])
        );
    }
}
