//! BMP (Windows bitmap) as `.gx` files hold it: 24 bits a pixel, not packed.

use super::{PictureError, size};

const CUT: PictureError = PictureError::Damaged("it is cut short");

/// First bytes.
pub const MAGIC: &[u8] = b"BM";

/// Where the pixels are, and how their rows lie.
struct Layout<'a> {
    width: u32,
    height: u32,
    rows: &'a [u8],
    /// Bytes of a row, filled up to a multiple of four.
    row_len: usize,
    from_top: bool,
}

/// Width and height of a whole picture.
pub fn check(bytes: &[u8]) -> Result<(u32, u32), PictureError> {
    layout(bytes).map(|l| (l.width, l.height))
}

/// Its pixels: red, green, blue, opacity, row by row.
pub fn pixels(bytes: &[u8]) -> Result<Vec<u8>, PictureError> {
    let layout = layout(bytes)?;
    let width = layout.width as usize * 3;
    let mut rows: Vec<&[u8]> = layout.rows.chunks_exact(layout.row_len).collect();
    if !layout.from_top {
        rows.reverse();
    }
    let pixels = rows
        .into_iter()
        .filter_map(|row| row.get(..width))
        .flat_map(|row| row.as_chunks().0);
    Ok(pixels
        .flat_map(|[blue, green, red]| [*red, *green, *blue, 255])
        .collect())
}

fn layout(bytes: &[u8]) -> Result<Layout<'_>, PictureError> {
    if !bytes.starts_with(MAGIC) {
        return Err(PictureError::Unknown);
    }
    let word = |at: usize| -> Result<u32, PictureError> {
        let four = bytes.get(at..).and_then(|rest| rest.first_chunk());
        four.map(|four| u32::from_le_bytes(*four)).ok_or(CUT)
    };
    let (begin, header) = (word(10)? as usize, word(14)?);
    let down = word(22)?.cast_signed();
    let (width, height) = size(word(18)?, down.unsigned_abs())?;
    // One plane of 24 bits; no compression.
    if header < 40 || word(26)? != 1 | 24 << 16 || word(30)? != 0 {
        return Err(PictureError::Damaged("it is not a plain bitmap of 24 bits"));
    }
    let row_len = (width as usize * 3).next_multiple_of(4);
    let rows = begin
        .checked_add(row_len * height as usize)
        .and_then(|end| bytes.get(begin..end))
        .filter(|_| begin >= 54)
        .ok_or(CUT)?;
    Ok(Layout {
        width,
        height,
        rows,
        row_len,
        from_top: down < 0,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, Picture};
    use super::*;

    const BMP: &[u8] = include_bytes!("../../../fixtures/gcode/pictures/small.bmp");

    #[test]
    fn a_bitmap_becomes_the_png_of_the_same_pixels() {
        let picture = Picture::cut(BMP).unwrap();
        assert_eq!((picture.kind, picture.width, picture.height), (Kind::Bmp, 31, 24));
        let pixels = pixels(BMP).unwrap();
        assert_eq!(pixels.len(), 31 * 24 * 4);
        let at = |x: usize, y: usize| &pixels[(y * 31 + x) * 4..][..3];
        // As the fixture was drawn: black, a red roof, a blue disc.
        assert_eq!((at(0, 0), at(8, 18)), (&[0, 0, 0][..], &[226, 122, 95][..]));
        let shown = picture.for_browsers().unwrap();
        assert_eq!((shown.kind, shown.width, shown.height), (Kind::Png, 31, 24));
        assert!(Picture::new(shown.bytes).is_ok());
    }

    #[test]
    fn a_bitmap_that_is_cut_or_of_another_kind_is_refused() {
        for len in 0..BMP.len() {
            assert!(Picture::new(BMP[..len].to_vec()).is_err(), "{len}");
        }
        for (at, to) in [(28, 8), (30, 1), (14, 12), (10, 1), (21, 0x7f), (25, 0x80)] {
            let mut odd = BMP.to_vec();
            odd[at] = to;
            assert!(Picture::new(odd).is_err(), "{at}");
        }
        let mut over = BMP.to_vec();
        over[22..26].copy_from_slice(&(-24i32).to_le_bytes());
        let (top, bottom) = (pixels(&over).unwrap(), pixels(BMP).unwrap());
        assert_eq!(top[..31 * 4], bottom[23 * 31 * 4..]);
    }
}
