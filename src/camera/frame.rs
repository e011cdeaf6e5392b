//! The first whole JPEG in what a camera sends, be it a picture alone or a stream of them. Pure.
//!
//! It is cut by its own structure (ITU-T T.81, annex B): segments carry their length, so a preview inside
//! one is not taken for the picture; what stands between pictures (heads, boundaries) is passed over. What
//! the sender says about lengths is not needed, and many say it wrongly.

/// Largest picture, bytes.
pub const PICTURE_MAX: usize = 4 << 20;

/// What a byte means where the cutter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Before the picture.
    Before,
    /// At a marker.
    Marker,
    /// In coded data.
    Data,
}

/// No picture of a possible size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooBig;

/// Finds the first whole picture.
#[derive(Debug)]
pub struct Cutter {
    bytes: Vec<u8>,
    at: usize,
    step: Step,
}

impl Default for Cutter {
    fn default() -> Self {
        Cutter {
            bytes: Vec::new(),
            at: 0,
            step: Step::Before,
        }
    }
}

impl Cutter {
    /// Takes what came; gives the picture as soon as it is whole.
    ///
    /// # Errors
    /// The picture gets too big.
    pub fn push(&mut self, more: &[u8]) -> Result<Option<Vec<u8>>, TooBig> {
        self.bytes.extend_from_slice(more);
        let end = self.advance();
        match end {
            Some(end) if end <= PICTURE_MAX => {
                self.bytes.truncate(end);
                Ok(Some(std::mem::take(self).bytes))
            }
            None if self.bytes.len() <= PICTURE_MAX => Ok(None),
            _ => Err(TooBig),
        }
    }

    /// Goes on as far as there are bytes; the end of the picture, if it is there.
    fn advance(&mut self) -> Option<usize> {
        loop {
            match self.step {
                Step::Before => {
                    let Some(start) = self.bytes.windows(3).position(|w| w == [0xff, 0xd8, 0xff]) else {
                        // The beginning may be at the very end.
                        let keep = self.bytes.len().saturating_sub(2);
                        self.bytes.drain(..keep);
                        return None;
                    };
                    self.bytes.drain(..start);
                    self.at = 2;
                    self.step = Step::Marker;
                }
                Step::Marker => {
                    let (first, kind) = (*self.bytes.get(self.at)?, *self.bytes.get(self.at + 1)?);
                    match (first, kind) {
                        (0xff, 0xff) => self.at += 1,
                        (0xff, 0xd9) => return Some(self.at + 2),
                        (0xff, 0x01 | 0xd0..=0xd7) => self.at += 2,
                        (0xff, 0x02..=0xbf | 0xd8 | 0x00) => self.not_a_picture(),
                        (0xff, _) => {
                            let high = usize::from(*self.bytes.get(self.at + 2)?);
                            let low = usize::from(*self.bytes.get(self.at + 3)?);
                            let length = high << 8 | low;
                            if length < 2 {
                                self.not_a_picture();
                                continue;
                            }
                            self.at += 2 + length;
                            if kind == 0xda {
                                self.step = Step::Data;
                            }
                        }
                        _ => self.not_a_picture(),
                    }
                }
                Step::Data => {
                    let rest = self.bytes.get(self.at..)?;
                    let Some(mark) = memchr::memchr(0xff, rest) else {
                        self.at = self.bytes.len();
                        return None;
                    };
                    self.at += mark;
                    match *self.bytes.get(self.at + 1)? {
                        // A stuffed byte, or a restart within the data.
                        0x00 | 0xd0..=0xd7 => self.at += 2,
                        _ => self.step = Step::Marker,
                    }
                }
            }
        }
    }

    /// It only looked like a beginning.
    fn not_a_picture(&mut self) {
        let gone = 2.min(self.bytes.len());
        self.bytes.drain(..gone);
        self.step = Step::Before;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A JPEG by structure: a segment with a preview in it, coded data with stuffing and a restart.
    fn picture() -> Vec<u8> {
        let mut out = vec![0xff, 0xd8, 0xff, 0xe1, 0, 10, 1, 0xff, 0xd8, 0xff, 0xd9, 2, 3, 4];
        out.extend([
            0xff, 0xda, 0, 3, 9, 1, 2, 0xff, 0x00, 0xff, 0xd3, 5, 0xff, 0xff, 0xd9,
        ]);
        out
    }

    #[test]
    fn the_first_of_a_stream_is_cut_out_whole_with_its_preview() {
        let mut stream = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 7\r\n\r\n".to_vec();
        stream.extend(picture());
        stream.extend(b"\r\n--frame\r\n");
        assert_eq!(Cutter::default().push(&stream), Ok(Some(picture())));
    }

    #[test]
    fn what_is_no_picture_is_passed_over_and_an_endless_one_is_refused() {
        let mut cutter = Cutter::default();
        assert_eq!(cutter.push(b"<html>\xff\xd8\xff\x00 no"), Ok(None));
        assert_eq!(
            cutter.push(&vec![b'x'; PICTURE_MAX * 2]),
            Ok(None),
            "nothing is kept of it"
        );
        assert_eq!(cutter.push(&picture()), Ok(Some(picture())));
        let mut endless = picture();
        endless.truncate(20);
        endless.resize(PICTURE_MAX + 1, 7);
        assert_eq!(Cutter::default().push(&endless), Err(TooBig));
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(cuts in proptest::collection::vec(1_usize..9, 1..60), before in "[a-z\r\n-]{0,40}") {
            let mut all = before.into_bytes();
            all.extend(picture());
            let mut cutter = Cutter::default();
            let mut found = None;
            let mut rest = all.as_slice();
            for size in cuts.into_iter().chain(std::iter::repeat(1)) {
                if rest.is_empty() {
                    break;
                }
                let (piece, more) = rest.split_at(size.min(rest.len()));
                rest = more;
                found = found.or(cutter.push(piece).unwrap());
            }
            prop_assert_eq!(found, Some(picture()));
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(prop_oneof![Just(0xff), Just(0xd8), Just(0xda), Just(0xd9), any::<u8>()], 0..400)) {
            let mut cutter = Cutter::default();
            for byte in bytes {
                if let Some(found) = cutter.push(&[byte]).unwrap() {
                    prop_assert!(found.starts_with(&[0xff, 0xd8, 0xff]) && found.ends_with(&[0xff, 0xd9]));
                }
            }
        }
    }
}
