//! The short way for the lines that files are made of: `G0`/`G1` with plain words.
//!
//! It reads what slicers write and gives up at anything else; the grammar in [`super::lex`] then
//! reads the line. A property test holds the two equal.

use super::lex::{Code, Micro, UNIT, Words};

/// Bit of the X word in [`MoveWords::mask`].
pub const X: u8 = 1;
/// Bit of the Y word.
pub const Y: u8 = 2;
/// Bit of the Z word.
pub const Z: u8 = 4;
/// Bit of the E word.
pub const E: u8 = 8;
/// Bit of the F word.
pub const F: u8 = 16;

/// Bits of the words that give an arc's centre; never in [`MoveWords::mask`].
const I: u8 = 32;
const J: u8 = 64;

/// The words of a straight move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MoveWords {
    /// Values of X, Y, Z, E, F as written; 0 where absent.
    pub value: [Micro; 5],
    /// Which are there: [`X`] | [`Y`] | …
    pub mask: u8,
}

impl MoveWords {
    /// The words as the grammar reads them; a letter without a number counts as absent, the last of
    /// two equal letters counts. `a_is_e`: the extruder goes by the letter A.
    pub fn of(code: &Code<'_>, a_is_e: bool) -> Self {
        Self::from_words(code.words(), a_is_e)
    }

    fn from_words(words: Words<'_>, a_is_e: bool) -> Self {
        let mut moved = MoveWords::default();
        for word in words {
            let slot = match word.letter {
                b'X' => 0,
                b'Y' => 1,
                b'Z' => 2,
                b'E' => 3,
                b'A' if a_is_e => 3,
                b'F' => 4,
                _ => continue,
            };
            if let (Some(value), Some(place)) = (word.value, moved.value.get_mut(slot)) {
                *place = value;
                moved.mask |= 1 << slot;
            }
        }
        moved
    }

    /// Whether all of these bits are there.
    #[inline]
    pub fn any(&self, bits: u8) -> bool {
        self.mask & bits != 0
    }
}

/// A straight move read the short way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FastMove {
    /// Its words.
    pub words: MoveWords,
    /// `G0`.
    pub rapid: bool,
    /// Bytes read: what stands there is the line end, a `;`, or the end of the text.
    pub len: usize,
}

/// Reads a `G0`/`G1` at the beginning of a text that may hold more lines. `None` means: ask the
/// grammar.
#[inline]
pub fn linear(text: &[u8]) -> Option<FastMove> {
    // Without blanks as well: that is how MeatPack leaves it.
    let rapid = match text {
        [b'G', b'1', b' ' | b'X' | b'Y' | b'Z' | b'E' | b'F', ..] => false,
        [b'G', b'0', b' ' | b'X' | b'Y' | b'Z' | b'E' | b'F', ..] => true,
        _ => return None,
    };
    let (value, mask, len) = words::<5>(text)?;
    Some(FastMove {
        words: MoveWords { value, mask },
        rapid,
        len,
    })
}

/// Values of the first so many of X, Y, Z, E, F, I, J, which of them are there, and the bytes read; of a command
/// whose letter and number take two bytes.
#[inline]
fn words<const LETTERS: usize>(text: &[u8]) -> Option<([Micro; LETTERS], u8, usize)> {
    let (mut values, mut mask, mut at) = ([0; LETTERS], 0u8, 2);
    loop {
        let slot = match text.get(at) {
            Some(b'X') => 0,
            Some(b'Y') => 1,
            Some(b'Z') => 2,
            Some(b'E') => 3,
            Some(b'F') => 4,
            Some(b'I') => 5,
            Some(b'J') => 6,
            Some(b' ') => {
                at += 1;
                continue;
            }
            Some(b'\n' | b'\r' | b';') | None => return Some((values, mask, at)),
            Some(_) => return None,
        };
        let place = values.get_mut(slot)?;
        (*place, at) = decimal(text, at + 1)?;
        mask |= 1 << slot;
    }
}

/// An arc in the plane of X and Y read the short way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FastArc {
    /// Its words but the centre.
    pub words: MoveWords,
    /// The centre from the start, as written; 0 where absent.
    pub centre: [Micro; 2],
    /// `G2`.
    pub clockwise: bool,
    /// Bytes read, as in [`FastMove`].
    pub len: usize,
}

/// Reads a `G2`/`G3` with a centre (I, J) and no radius, turns or third offset. `None` means: ask the
/// grammar.
#[inline]
pub fn arc(text: &[u8]) -> Option<FastArc> {
    let [b'G', number @ (b'2' | b'3'), b' ', ..] = text else {
        return None;
    };
    let ([x, y, z, e, f, i, j], mask, len) = words::<7>(text)?;
    (mask & (I | J) != 0).then_some(FastArc {
        words: MoveWords {
            value: [x, y, z, e, f],
            mask: mask & !(I | J),
        },
        centre: [i, j],
        clockwise: *number == b'2',
        len,
    })
}

const SCALE: [Micro; 7] = [
    UNIT,
    UNIT / 10,
    UNIT / 100,
    UNIT / 1_000,
    UNIT / 10_000,
    UNIT / 100_000,
    1,
];

/// A plain decimal: at most 6 digits before and after the point; then a blank, a line end, `;` or
/// the next capital must follow, which the caller sees to.
#[inline]
fn decimal(text: &[u8], from: usize) -> Option<(Micro, usize)> {
    let mut at = from;
    let minus = match text.get(at) {
        Some(b'-') => {
            at += 1;
            true
        }
        _ => false,
    };
    let begin = at;
    let mut digits: i64 = 0;
    while let Some(digit) = digit_at(text, at) {
        digits = digits * 10 + i64::from(digit);
        at += 1;
        if at - begin > 6 {
            return None;
        }
    }
    let whole = at - begin;
    let mut part = 0;
    if text.get(at) == Some(&b'.') {
        at += 1;
        let point = at;
        while let Some(digit) = digit_at(text, at) {
            digits = digits * 10 + i64::from(digit);
            at += 1;
            if at - point > 6 {
                return None;
            }
        }
        part = at - point;
    }
    if whole + part == 0 {
        return None;
    }
    let size = digits * SCALE.get(part)?;
    Some((if minus { -size } else { size }, at))
}

#[inline]
fn digit_at(text: &[u8], at: usize) -> Option<u8> {
    let digit = text.get(at)?.wrapping_sub(b'0');
    (digit < 10).then_some(digit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arc::Arc;
    use crate::lex::{self, Body, Dialect};
    use crate::modal::{Modal, Step};
    use proptest::prelude::*;

    #[test]
    fn plain_moves_go_the_short_way() {
        let read = linear(b"G1 X10.5 Y-.25 E0.01234 F1800\nG1 X1").unwrap();
        assert_eq!(read.words.value, [10_500_000, -250_000, 0, 12_340, 1_800_000_000]);
        assert_eq!(
            (read.words.mask, read.len, read.rapid),
            (X | Y | E | F, 29, false)
        );
        for odd in [
            "g1 X1",
            "G1 X1e2",
            "G1 X",
            "G1 X1234567",
            "G1 X1.0000001",
            "G1 A1",
            "G10 X1",
            "G1 X1*3",
        ] {
            assert!(linear(odd.as_bytes()).is_none(), "{odd}");
        }
    }

    fn by_grammar(text: &[u8]) -> (MoveWords, bool) {
        let line = lex::line(text, Dialect::default());
        match line.body {
            Body::Code(code) => (MoveWords::of(&code, false), code.is(b'G', 0)),
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        #[test]
        fn the_short_way_equals_the_grammar(
            text in "G[01] ?([XYZEFxA ]{1,2}[-+]?[0-9]{0,7}[.]?[0-9]{0,7} ?){0,6}(;.{0,9})?",
        ) {
            if let Some(read) = linear(text.as_bytes()) {
                prop_assert_eq!((read.words, read.rapid), by_grammar(text.as_bytes()));
                let next = text.as_bytes().get(read.len);
                prop_assert!(matches!(next, None | Some(b';')));
            }
        }

        #[test]
        fn the_short_way_of_arcs_equals_the_grammar(
            text in "G[23] ([XYZEFIJRP]-?[0-9]{0,4}[.]?[0-9]{0,4} ?){0,7}(;.{0,5})?",
        ) {
            if let Some(read) = arc(text.as_bytes()) {
                let mut short = Modal::default();
                let mut long = Modal::default();
                for modal in [&mut short, &mut long] {
                    modal.apply(b"G1 X3 Y4 Z1 F900");
                }
                let by_grammar = long.step(&lex::line(text.as_bytes(), Dialect::default()).body);
                let moved = short.go(&read.words);
                let short_way = match Arc::level(&moved, read.clockwise, short.centre_of(&read)) {
                    Some(arc) => Step::Curve(moved, arc),
                    None => Step::BadCurve(moved),
                };
                prop_assert_eq!(short_way, by_grammar);
                prop_assert_eq!(short, long);
            }
        }

        #[test]
        fn what_slicers_write_goes_the_short_way(x in -999_999i64..999_999, e in 0i64..99_999, digits in 0usize..4) {
            let text = format!("G1 X{:.*} Y{:.3} E.{e:05}", digits, x as f64 / 1000.0, x as f64 / 777.0);
            let read = linear(text.as_bytes()).unwrap();
            prop_assert_eq!((read.words, false), by_grammar(text.as_bytes()));
        }
    }
}
