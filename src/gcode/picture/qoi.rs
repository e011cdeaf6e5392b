//! QOI (qoiformat.org, specification 1.0): decoded as a whole.

use super::{PictureError, size, take, take_u32};

const CUT: PictureError = PictureError::Damaged("it is cut short");
const END: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 1];

/// Width and height of a whole picture.
pub fn check(bytes: &[u8]) -> Result<(u32, u32), PictureError> {
    decode(bytes, |_, _| {})
}

/// Its pixels: red, green, blue, opacity, row by row.
pub fn pixels(bytes: &[u8]) -> Result<Vec<u8>, PictureError> {
    let mut all = Vec::new();
    decode(bytes, |pixel, times| {
        for _ in 0..times {
            all.extend_from_slice(&pixel);
        }
    })?;
    Ok(all)
}

/// Hands on each pixel and how many times it comes.
fn decode(bytes: &[u8], mut draw: impl FnMut([u8; 4], u32)) -> Result<(u32, u32), PictureError> {
    let mut input = bytes.strip_prefix(b"qoif").ok_or(PictureError::Unknown)?;
    let width = take_u32(&mut input).ok_or(CUT)?;
    let height = take_u32(&mut input).ok_or(CUT)?;
    let (width, height) = size(width, height)?;
    let (&[3 | 4, 0 | 1], mut input) = input.split_first_chunk().ok_or(CUT)? else {
        return Err(PictureError::Damaged("its header is wrong"));
    };
    let mut left = width * height;
    let mut seen = [[0u8; 4]; 64];
    let mut pixel = [0, 0, 0, 255];
    while left > 0 {
        let [r, g, b, a] = pixel;
        let mut times = 1;
        match next(&mut input)? {
            0xfe => pixel = [next(&mut input)?, next(&mut input)?, next(&mut input)?, a],
            0xff => {
                let all = take(&mut input, 4).and_then(|four| four.try_into().ok());
                pixel = all.ok_or(CUT)?;
            }
            place @ 0x00..=0x3f => pixel = seen.get(usize::from(place)).copied().unwrap_or(pixel),
            steps @ 0x40..=0x7f => {
                let step = |shift: u8| ((steps >> shift) & 3).wrapping_sub(2);
                pixel = [
                    r.wrapping_add(step(4)),
                    g.wrapping_add(step(2)),
                    b.wrapping_add(step(0)),
                    a,
                ];
            }
            green @ 0x80..=0xbf => {
                let other = next(&mut input)?;
                let green = (green & 0x3f).wrapping_sub(32);
                let step = |shift: u8| green.wrapping_sub(8).wrapping_add((other >> shift) & 15);
                pixel = [
                    r.wrapping_add(step(4)),
                    g.wrapping_add(green),
                    b.wrapping_add(step(0)),
                    a,
                ];
            }
            run => times = u32::from(run & 0x3f) + 1,
        }
        left = left
            .checked_sub(times)
            .ok_or(PictureError::Damaged("it holds more pixels than its header says"))?;
        let [r, g, b, a] = pixel.map(usize::from);
        if let Some(place) = seen.get_mut((r * 3 + g * 5 + b * 7 + a * 11) % 64) {
            *place = pixel;
        }
        draw(pixel, times);
    }
    if input != END {
        return Err(PictureError::Damaged("it does not end where its pixels end"));
    }
    Ok((width, height))
}

fn next(input: &mut &[u8]) -> Result<u8, PictureError> {
    let (first, rest) = input.split_first().ok_or(CUT)?;
    *input = rest;
    Ok(*first)
}
