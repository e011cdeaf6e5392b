//! JPEG (ITU-T T.81): the row of segments, the size in the frame header, and that it has an end.

use super::{PictureError, size, take, take_u16};

const CUT: PictureError = PictureError::Damaged("it is cut short");

/// Width and height of a whole picture. What the scans draw is not decoded.
pub fn check(bytes: &[u8]) -> Result<(u32, u32), PictureError> {
    let mut input = bytes.strip_prefix(b"\xff\xd8").ok_or(PictureError::Unknown)?;
    let mut frame = None;
    let mut scans = false;
    loop {
        match marker(&mut input)? {
            0xd9 if scans && input.is_empty() => {
                return frame.ok_or(PictureError::Damaged("it has no frame header"));
            }
            0x01 | 0xd0..=0xd9 => return Err(PictureError::Damaged("its segments are out of order")),
            kind => {
                let len = usize::from(take_u16(&mut input).ok_or(CUT)?);
                let mut data = take(&mut input, len.checked_sub(2).ok_or(CUT)?).ok_or(CUT)?;
                match kind {
                    // Frame headers; the gaps are tables.
                    0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                        take(&mut data, 1).ok_or(CUT)?;
                        let height = take_u16(&mut data).ok_or(CUT)?;
                        let width = take_u16(&mut data).ok_or(CUT)?;
                        frame = Some(size(width.into(), height.into())?);
                    }
                    0xda => {
                        scans = true;
                        skip_scan(&mut input)?;
                    }
                    _ => {}
                }
            }
        }
    }
}

/// The next marker: one or more `FF`, then its code.
fn marker(input: &mut &[u8]) -> Result<u8, PictureError> {
    let Some((0xff, mut rest)) = input.split_first() else {
        return Err(if input.is_empty() {
            CUT
        } else {
            PictureError::Damaged("a segment does not begin with a marker")
        });
    };
    loop {
        let (code, behind) = rest.split_first().ok_or(CUT)?;
        rest = behind;
        if *code != 0xff {
            *input = rest;
            return Ok(*code);
        }
    }
}

/// Skips packed data: up to a marker that is neither a stuffed zero nor a restart.
fn skip_scan(input: &mut &[u8]) -> Result<(), PictureError> {
    loop {
        let at = memchr::memchr(0xff, input).ok_or(CUT)?;
        *input = input.get(at..).ok_or(CUT)?;
        match input.get(1) {
            Some(0x00 | 0xd0..=0xd7) => *input = input.get(2..).ok_or(CUT)?,
            Some(_) => return Ok(()),
            None => return Err(CUT),
        }
    }
}
