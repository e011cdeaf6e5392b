//! PNG (W3C recommendation): the chunks with their checksums, and that the packed rows are all there.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::bufread::ZlibDecoder;
use flate2::write::ZlibEncoder;

use super::{PictureError, size, take, take_u32};

/// First bytes.
pub const MAGIC: &[u8] = b"\x89PNG\r\n\x1a\n";

/// First pixel and step of the seven passes of an interlaced picture: x, y, dx, dy.
const PASSES: [[u32; 4]; 7] = [
    [0, 0, 8, 8],
    [4, 0, 8, 8],
    [0, 4, 4, 8],
    [2, 0, 4, 4],
    [0, 2, 2, 4],
    [1, 0, 2, 2],
    [0, 1, 1, 2],
];

/// Width and height of a whole picture.
pub fn check(bytes: &[u8]) -> Result<(u32, u32), PictureError> {
    let cut = PictureError::Damaged("it is cut short");
    let mut input = bytes.strip_prefix(MAGIC).ok_or(PictureError::Unknown)?;
    let mut header = None;
    let mut packed = Vec::new();
    loop {
        let len = take_u32(&mut input).ok_or(cut)? as usize;
        let named = take(&mut input, len.checked_add(4).ok_or(cut)?).ok_or(cut)?;
        if take_u32(&mut input).ok_or(cut)? != crc32fast::hash(named) {
            return Err(PictureError::Damaged("a checksum does not fit"));
        }
        let (name, data) = named.split_at_checked(4).ok_or(cut)?;
        match (name, header) {
            (b"IHDR", None) => header = Some(Header::read(data)?),
            (_, None) => return Err(PictureError::Damaged("it does not begin with its header")),
            (b"IDAT", Some(_)) => packed.extend_from_slice(data),
            (b"IEND", Some(header)) if input.is_empty() => {
                header.check_rows(&packed)?;
                return Ok((header.width, header.height));
            }
            (b"IHDR" | b"IEND", _) => return Err(PictureError::Damaged("its chunks are out of order")),
            _ => {}
        }
    }
}

#[derive(Clone, Copy)]
struct Header {
    width: u32,
    height: u32,
    bits_per_pixel: u32,
    interlaced: bool,
}

impl Header {
    fn read(mut data: &[u8]) -> Result<Header, PictureError> {
        let wrong = PictureError::Damaged("its header is wrong");
        let (width, height) = (
            take_u32(&mut data).ok_or(wrong)?,
            take_u32(&mut data).ok_or(wrong)?,
        );
        let (width, height) = size(width, height)?;
        let &[depth, color, 0, 0, interlace @ (0 | 1)] = data else {
            return Err(wrong);
        };
        let channels = match (color, depth) {
            (0, 1 | 2 | 4 | 8 | 16) | (3, 1 | 2 | 4 | 8) => 1,
            (2, 8 | 16) => 3,
            (4, 8 | 16) => 2,
            (6, 8 | 16) => 4,
            _ => return Err(wrong),
        };
        Ok(Header {
            width,
            height,
            bits_per_pixel: u32::from(depth) * channels,
            interlaced: interlace == 1,
        })
    }

    /// Bytes of all rows, each with its filter byte.
    fn rows_len(&self) -> u64 {
        let rows = |width: u32, height: u32| match width {
            0 => 0,
            _ => u64::from((width * self.bits_per_pixel).div_ceil(8) + 1) * u64::from(height),
        };
        if !self.interlaced {
            return rows(self.width, self.height);
        }
        let part = |len: u32, first: u32, step: u32| len.saturating_sub(first).div_ceil(step);
        let passes = PASSES.iter();
        passes
            .map(|[x, y, dx, dy]| rows(part(self.width, *x, *dx), part(self.height, *y, *dy)))
            .sum()
    }

    fn check_rows(&self, packed: &[u8]) -> Result<(), PictureError> {
        let wanted = self.rows_len();
        let mut rows = ZlibDecoder::new(packed).take(wanted + 1);
        let got = std::io::copy(&mut rows, &mut std::io::sink())
            .map_err(|_| PictureError::Damaged("it does not unpack"))?;
        if got != wanted {
            return Err(PictureError::Damaged("it holds other rows than its header says"));
        }
        Ok(())
    }
}

/// A picture of these pixels: red, green, blue, opacity, row by row.
pub fn write(width: u32, height: u32, rgba: &[u8]) -> Vec<u8> {
    let mut rows = ZlibEncoder::new(Vec::new(), Compression::default());
    for row in rgba.chunks((width as usize * 4).max(1)).take(height as usize) {
        // Filter 0; writing to memory cannot fail.
        let _ = rows.write_all(&[0]).and_then(|()| rows.write_all(row));
    }
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    header.extend_from_slice(&[8, 6, 0, 0, 0]);
    let mut out = MAGIC.to_vec();
    chunk(&mut out, b"IHDR", &header);
    chunk(&mut out, b"IDAT", &rows.finish().unwrap_or_default());
    chunk(&mut out, b"IEND", &[]);
    out
}

fn chunk(out: &mut Vec<u8>, name: &[u8; 4], data: &[u8]) {
    let mut crc = crc32fast::Hasher::new();
    crc.update(name);
    crc.update(data);
    out.extend_from_slice(&(data.len() as u32).to_be_bytes());
    out.extend_from_slice(name);
    out.extend_from_slice(data);
    out.extend_from_slice(&crc.finalize().to_be_bytes());
}
