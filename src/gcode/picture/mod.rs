//! The pictures that slicers put into files: taken out of the comments and checked as a whole, so
//! that nothing broken or hostile is handed to a browser or a cloud.

pub mod bmp;
pub mod jpg;
pub mod png;
pub mod qoi;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Serialize;

/// Largest picture, bytes.
pub const MAX_BYTES: usize = 16 << 20;

/// Longest side, pixels.
pub const MAX_SIDE: u32 = 4096;

/// Old plug-ins leave the padding away.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// What a picture is, by its own bytes; the tag around it is often wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// PNG.
    Png,
    /// JPEG.
    Jpg,
    /// The "quite OK image format".
    Qoi,
    /// Windows bitmap.
    Bmp,
}

/// A picture that was found whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// What it is.
    pub kind: Kind,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// The picture's file.
    pub bytes: Vec<u8>,
}

/// Why there is no picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    /// None of the kinds.
    #[error("it is neither PNG nor JPEG nor QOI nor BMP")]
    Unknown,
    /// It is cut short or changed.
    #[error("the picture is damaged: {0}")]
    Damaged(&'static str),
    /// It claims too much.
    #[error("the picture is too big")]
    TooBig,
}

impl Picture {
    /// Checks bytes to be one whole picture.
    pub fn new(bytes: Vec<u8>) -> Result<Picture, PictureError> {
        if bytes.len() > MAX_BYTES {
            return Err(PictureError::TooBig);
        }
        let kind = kind_of(&bytes).ok_or(PictureError::Unknown)?;
        let (width, height) = match kind {
            Kind::Png => png::check(&bytes)?,
            Kind::Jpg => jpg::check(&bytes)?,
            Kind::Qoi => qoi::check(&bytes)?,
            Kind::Bmp => bmp::check(&bytes)?,
        };
        Ok(Picture {
            kind,
            width,
            height,
            bytes,
        })
    }

    /// From what stands between a thumbnail's `begin` and `end`, or from a picture's own bytes.
    ///
    /// ```
    /// use layerd_gcode::picture::{Kind, Picture};
    ///
    /// let comments = b"; cW9pZgAAAAEAAAABBADAAAAA\n; AAAAAAE=\n";
    /// let picture = Picture::cut(comments)?;
    /// assert_eq!((picture.kind, picture.width, picture.height), (Kind::Qoi, 1, 1));
    /// # Ok::<(), layerd_gcode::picture::PictureError>(())
    /// ```
    pub fn cut(found: &[u8]) -> Result<Picture, PictureError> {
        if kind_of(found).is_some() {
            return Picture::new(found.to_vec());
        }
        if found.len() / 2 > MAX_BYTES {
            return Err(PictureError::TooBig);
        }
        let text: Vec<u8> = found
            .iter()
            .copied()
            .filter(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
            .collect();
        let bytes = BASE64
            .decode(text)
            .map_err(|_| PictureError::Damaged("it is no base64 text"))?;
        Picture::new(bytes)
    }

    /// The same as something small that every browser shows: QOI and BMP become PNG.
    pub fn for_browsers(self) -> Result<Picture, PictureError> {
        let pixels = match self.kind {
            Kind::Png | Kind::Jpg => return Ok(self),
            Kind::Qoi => qoi::pixels(&self.bytes)?,
            Kind::Bmp => bmp::pixels(&self.bytes)?,
        };
        let bytes = png::write(self.width, self.height, &pixels);
        Ok(Picture {
            kind: Kind::Png,
            bytes,
            ..self
        })
    }
}

/// Tells the kind from the first bytes.
fn kind_of(bytes: &[u8]) -> Option<Kind> {
    if bytes.starts_with(png::MAGIC) {
        Some(Kind::Png)
    } else if bytes.starts_with(b"\xff\xd8\xff") {
        Some(Kind::Jpg)
    } else if bytes.starts_with(b"qoif") {
        Some(Kind::Qoi)
    } else if bytes.starts_with(bmp::MAGIC) {
        Some(Kind::Bmp)
    } else {
        None
    }
}

/// Width and height that may be.
fn size(width: u32, height: u32) -> Result<(u32, u32), PictureError> {
    if width == 0 || height == 0 {
        return Err(PictureError::Damaged("it has no size"));
    }
    if width > MAX_SIDE || height > MAX_SIDE {
        return Err(PictureError::TooBig);
    }
    Ok((width, height))
}

/// Takes a big-endian number from the front.
fn take_u32(input: &mut &[u8]) -> Option<u32> {
    let (head, rest) = input.split_first_chunk()?;
    *input = rest;
    Some(u32::from_be_bytes(*head))
}

/// Takes a big-endian number from the front.
fn take_u16(input: &mut &[u8]) -> Option<u16> {
    let (head, rest) = input.split_first_chunk()?;
    *input = rest;
    Some(u16::from_be_bytes(*head))
}

/// Takes so many bytes from the front.
fn take<'a>(input: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, rest) = input.split_at_checked(len)?;
    *input = rest;
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PNG: &[u8] = include_bytes!("../../../fixtures/gcode/pictures/small.png");
    const JPG: &[u8] = include_bytes!("../../../fixtures/gcode/pictures/small.jpg");
    const QOI: &[u8] = include_bytes!("../../../fixtures/gcode/pictures/small.qoi");

    fn commented(bytes: &[u8]) -> Vec<u8> {
        let text = BASE64.encode(bytes);
        let lines = text
            .as_bytes()
            .chunks(78)
            .map(|line| format!("; {}\r\n", String::from_utf8_lossy(line)));
        lines.collect::<String>().into_bytes()
    }

    #[test]
    fn pictures_of_a_foreign_encoder_are_cut_out_whole() {
        for (kind, bytes) in [(Kind::Png, PNG), (Kind::Jpg, JPG), (Kind::Qoi, QOI)] {
            for found in [bytes.to_vec(), commented(bytes)] {
                let picture = Picture::cut(&found).unwrap();
                assert_eq!((picture.kind, picture.width, picture.height), (kind, 32, 24));
                assert_eq!(picture.bytes, bytes);
            }
        }
    }

    #[test]
    fn a_qoi_picture_becomes_the_png_of_the_same_pixels() {
        let shown = Picture::new(QOI.to_vec()).unwrap().for_browsers().unwrap();
        assert_eq!((shown.kind, shown.width, shown.height), (Kind::Png, 32, 24));
        assert!(Picture::new(shown.bytes).is_ok());
        let pixels = qoi::pixels(QOI).unwrap();
        assert_eq!(pixels.len(), 32 * 24 * 4);
        // As the fixture was drawn: nothing in the corner, a red roof, a blue disc over it.
        let at = |x: usize, y: usize| &pixels[(y * 32 + x) * 4..][..4];
        assert_eq!(
            (at(0, 0), at(8, 18)),
            (&[0, 0, 0, 0][..], &[226, 122, 95, 255][..])
        );
        assert_eq!(at(16, 14), [142, 202, 230, 200]);
    }

    #[test]
    fn a_picture_cut_or_changed_anywhere_is_refused() {
        for bytes in [PNG, QOI, JPG] {
            for len in 0..bytes.len() {
                assert!(Picture::new(bytes[..len].to_vec()).is_err(), "{len}");
            }
        }
        for at in 0..PNG.len() {
            let mut bad = PNG.to_vec();
            bad[at] ^= 4;
            assert!(Picture::new(bad).is_err(), "{at}");
        }
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        let mut wide = QOI.to_vec();
        wide[4] = 0x7f;
        assert_eq!(Picture::new(wide), Err(PictureError::TooBig));
        let mut none = QOI.to_vec();
        none[7] = 0;
        assert_eq!(Picture::new(none), Err(PictureError::Damaged("it has no size")));
        assert_eq!(Picture::cut(b"; AAAA\n"), Err(PictureError::Unknown));
        assert!(matches!(Picture::cut(b"; A\n"), Err(PictureError::Damaged(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_end(kind in 0usize..3, at in 4usize..900, with: Vec<u8>) {
            let mut bytes = [PNG, JPG, QOI][kind].to_vec();
            let at = at.min(bytes.len());
            let end = (at + with.len()).min(bytes.len());
            bytes.splice(at..end, with);
            if let Ok(picture) = Picture::new(bytes) {
                prop_assert!(Picture::new(picture.for_browsers().unwrap().bytes).is_ok());
            }
        }

        #[test]
        fn what_is_written_is_whole(width in 1u32..40, height in 1u32..40, seed: u8) {
            let pixels: Vec<u8> = (0..width * height * 4).map(|n| (n as u8).wrapping_mul(seed)).collect();
            let picture = Picture::new(png::write(width, height, &pixels)).unwrap();
            prop_assert_eq!((picture.width, picture.height), (width, height));
        }
    }
}
