//! The grammar of G-code as real files use it: bytes in, borrowed pieces out, never a failure.
//!
//! ```text
//! line     = [ws] [N digits] body [ '*' digits ] [ ';' comment ]
//! body     = letter digits [ '.' digits ] words      G1 X1 · M104 S200 · T0 · G29.1 · M117 free text
//!          | NAME { KEY '=' value }                  Klipper's extended commands
//!          | '@' host line | anything else
//! word     = letter [sign] digits [ '.' digits ] | letter | letter '{' template '}'
//! ```
//!
//! Spaces between letter and number are optional on both sides, case does not matter, and there
//! are no exponents: in `X1E2` the `E` is the next word (Marlin and Klipper read it so).

use memchr::memchr;
use nom::branch::alt;
use nom::bytes::complete::{tag, take_till, take_while, take_while1};
use nom::character::complete::{digit0, digit1, one_of, satisfy};
use nom::combinator::{map, not, opt, peek, recognize, rest, value, verify};
use nom::sequence::{delimited, preceded, terminated};
use nom::{IResult, Parser};

/// A number in millionths: 1e-6 mm, so that sums are exact and the same on every machine.
pub type Micro = i64;

/// One unit in millionths.
pub const UNIT: Micro = 1_000_000;

/// Numbers beyond this are held here: a kilometre is beyond every printer, and sums cannot overflow.
pub const MAX_NUMBER: Micro = 1_000_000 * UNIT;

/// What the grammar has to know about the firmware.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dialect {
    /// `(…)` is a comment (Marlin's PAREN_COMMENTS capability, CNC).
    pub paren_comments: bool,
}

/// One line, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The file's own line number.
    pub number: Option<u32>,
    /// What it says.
    pub body: Body<'a>,
    /// The file's own checksum.
    pub checksum: Option<u32>,
    /// The text behind `;`.
    pub comment: Option<&'a [u8]>,
}

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// Blank, or nothing but a comment.
    Empty,
    /// A letter and a number.
    Code(Code<'a>),
    /// A named command (Klipper).
    Extended(Extended<'a>),
    /// An `@` line, meant for the host.
    Host(&'a [u8]),
    /// Neither: CNC, templates, garbage.
    Other(&'a [u8]),
}

/// A command of a letter and a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code<'a> {
    /// `G`, `M`, `T`…, upper case.
    pub letter: u8,
    /// The number; [`Code::NO_NUMBER`] for `T?`, `Tx`.
    pub number: u32,
    /// What stands behind the point: `G29.1`.
    pub sub: Option<u32>,
    /// The rest: words, or free text where [`Code::is_text`].
    pub args: &'a [u8],
}

impl<'a> Code<'a> {
    /// Number of `T?`, `Tc` and the like.
    pub const NO_NUMBER: u32 = u32::MAX;

    /// Where in `args` a text begins that is to be taken as written; `None` when all of it is words.
    pub fn text_begin(&self) -> Option<usize> {
        text_from(self.letter, self.number, self.sub, self.args)
    }

    /// Whether this is the plain command `letter number`.
    #[inline]
    pub fn is(&self, letter: u8, number: u32) -> bool {
        self.letter == letter && self.number == number && self.sub.is_none()
    }

    /// Whether the rest is a text whose letters are not words.
    pub fn is_text(&self) -> bool {
        self.text_begin() == Some(0)
    }

    /// The words; none for free text.
    pub fn words(&self) -> Words<'a> {
        let end = self.text_begin().unwrap_or(self.args.len());
        Words {
            rest: self.args.get(..end).unwrap_or_default(),
        }
    }

    /// Value of the word with this letter; the last one counts, as in Klipper.
    pub fn value(&self, letter: u8) -> Option<Micro> {
        self.words()
            .filter(|w| w.letter == letter)
            .filter_map(|w| w.value)
            .last()
    }

    /// Whether there is a word with this letter, with or without value.
    pub fn has(&self, letter: u8) -> bool {
        self.words().any(|w| w.letter == letter)
    }
}

/// A command with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extended<'a> {
    /// The name, as written.
    pub name: &'a [u8],
    /// The rest.
    pub args: &'a [u8],
}

impl<'a> Extended<'a> {
    /// Whether it has this name, in any case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// The `KEY=value` pairs.
    pub fn pairs(&self) -> Pairs<'a> {
        Pairs { rest: self.args }
    }

    /// Value of a key, in any case; the last one counts.
    pub fn value(&self, key: &str) -> Option<&'a [u8]> {
        self.pairs()
            .filter(|(k, _)| k.eq_ignore_ascii_case(key.as_bytes()))
            .map(|(_, v)| v)
            .last()
    }

    /// Value of a key as a number.
    pub fn number(&self, key: &str) -> Option<Micro> {
        self.value(key).and_then(number_of)
    }
}

/// One word of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<'a> {
    /// Its letter, upper case.
    pub letter: u8,
    /// Its number; `None` for a bare letter, and for what is no number.
    pub value: Option<Micro>,
    /// A slicer's template was left in it: `Y{machine_depth}`.
    pub template: Option<&'a [u8]>,
}

/// Iterator over the words of a command. Bytes that cannot begin a word are passed over.
#[derive(Clone, Debug)]
pub struct Words<'a> {
    rest: &'a [u8],
}

impl<'a> Words<'a> {
    /// The words of a text.
    pub fn of(args: &'a [u8]) -> Self {
        Words { rest: args }
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        loop {
            let (behind, found) = alt((map(word, Some), value(None, skip))).parse(self.rest).ok()?;
            self.rest = behind;
            if found.is_some() {
                return found;
            }
        }
    }
}

/// Iterator over the `KEY=value` pairs of an extended command.
///
/// Quotes protect spaces, `;` and `#`, as in Klipper's shell-like reader; a word without `=` comes
/// with an empty value. A value in quotes is handed out without them.
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (behind, found) = pair(self.rest).ok()?;
        self.rest = behind;
        Some(found)
    }
}

/// Takes one line apart. Every line has a reading; nothing is an error here.
pub fn line<'a>(input: &'a [u8], dialect: Dialect) -> Line<'a> {
    let input = trim(input);
    let (after_number, number) = opt(line_number).parse(input).unwrap_or((input, None));
    let (body, comment) = split_comment(after_number, dialect);
    let (mut body, mut checksum) = (body, None);
    if !is_free_text(body) || number.is_some() {
        (body, checksum) = split_checksum(body);
    }
    Line {
        number,
        body: body_of(trim(body)),
        checksum,
        comment,
    }
}

fn body_of(text: &[u8]) -> Body<'_> {
    alt((
        map(preceded(tag(&b"@"[..]), rest), Body::Host),
        map(code, Body::Code),
        map(extended, Body::Extended),
    ))
    .parse(text)
    .map_or(
        if text.is_empty() {
            Body::Empty
        } else {
            Body::Other(text)
        },
        |(_, body)| body,
    )
}

// ---- the grammar ------------------------------------------------------------------------------

type Out<'a, T> = IResult<&'a [u8], T>;

fn is_blank(byte: u8) -> bool {
    // NUL and other control bytes count as blanks: bad SD copies.
    byte <= b' '
}

fn blanks(input: &[u8]) -> Out<'_, &[u8]> {
    take_while(is_blank).parse(input)
}

/// `N123`, only where a command follows.
fn line_number(input: &[u8]) -> Out<'_, u32> {
    preceded(one_of(&b"Nn"[..]), terminated(unsigned, blanks)).parse(input)
}

fn unsigned(input: &[u8]) -> Out<'_, u32> {
    // The highest number stands for "none".
    map(digit1, |digits: &[u8]| {
        let number = digits.iter().fold(0u32, |n, d| {
            n.saturating_mul(10).saturating_add(u32::from(d - b'0'))
        });
        number.min(Code::NO_NUMBER - 1)
    })
    .parse(input)
}

fn letter(input: &[u8]) -> Out<'_, u8> {
    map(satisfy(|c| c.is_ascii_alphabetic()), |c| {
        (c as u8).to_ascii_uppercase()
    })
    .parse(input)
}

fn code(input: &[u8]) -> Out<'_, Code<'_>> {
    let number = terminated(
        (
            letter,
            preceded(blanks, unsigned),
            opt(preceded(tag(&b"."[..]), unsigned)),
        ),
        // `M600_MINE` is a macro's name.
        not(peek(tag(&b"_"[..]))),
    );
    // `T?`, `Tx`, `Tc` (Prusa's multi-material unit); the second letter stays in the arguments.
    let second = peek((one_of(&b"?xXcC"[..]), not(satisfy(is_name_char))));
    let service = map((one_of(&b"Tt"[..]), second), |_| (b'T', Code::NO_NUMBER, None));
    let (args, (letter, number, sub)) = alt((number, service)).parse(input)?;
    Ok((
        &[],
        Code {
            letter,
            number,
            sub,
            args: trim(args),
        },
    ))
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn extended(input: &[u8]) -> Out<'_, Extended<'_>> {
    let name = recognize((
        satisfy(|c| c.is_ascii_alphabetic() || c == '_'),
        take_while1(|b: u8| is_name_char(char::from(b))),
    ));
    let end = peek(alt((
        value((), satisfy(|c| c <= ' ')),
        value((), nom::combinator::eof),
    )));
    map((terminated(name, end), rest), |(name, args): (&[u8], &[u8])| {
        Extended {
            name,
            args: trim(args),
        }
    })
    .parse(input)
}

fn word(input: &[u8]) -> Out<'_, Word<'_>> {
    let braces = delimited(tag(&b"{"[..]), take_till(|b| b == b'}'), opt(tag(&b"}"[..])));
    let value = alt((
        map(number, |n| (Some(n), None)),
        map(braces, |text| (None, Some(text))),
    ));
    map((letter, opt(preceded(blanks, value))), |(letter, value)| {
        let (value, template) = value.unwrap_or((None, None));
        Word {
            letter,
            value,
            template,
        }
    })
    .parse(input)
}

/// What stands between words: blanks, quoted texts, comments in parentheses, single odd bytes.
fn skip(input: &[u8]) -> Out<'_, ()> {
    alt((
        value((), take_while1(is_blank)),
        value(
            (),
            delimited(tag(&b"\""[..]), take_till(|b| b == b'"'), tag(&b"\""[..])),
        ),
        value(
            (),
            delimited(tag(&b"("[..]), take_till(|b| b == b')'), opt(tag(&b")"[..]))),
        ),
        value((), nom::bytes::complete::take(1usize)),
    ))
    .parse(input)
}

/// A number without exponent: `.5`, `5.`, `+3`, `-0`; blanks may stand before it.
pub fn number(input: &[u8]) -> Out<'_, Micro> {
    let digits = verify(
        (digit0, opt(preceded(tag(&b"."[..]), digit0))),
        |(whole, part): &(&[u8], Option<&[u8]>)| !whole.is_empty() || part.is_some_and(|p| !p.is_empty()),
    );
    map((opt(one_of(&b"+-"[..])), digits), |(sign, (whole, part))| {
        let size = compose(whole, part.unwrap_or_default());
        if sign == Some('-') { -size } else { size }
    })
    .parse(input)
}

/// Digits before and after the point as millionths; the seventh digit rounds, huge ones are held at
/// [`MAX_NUMBER`].
fn compose(whole: &[u8], part: &[u8]) -> Micro {
    let whole = whole
        .iter()
        .fold(0i64, |n, d| (n * 10 + i64::from(d - b'0')).min(MAX_NUMBER));
    let mut scale = UNIT / 10;
    let mut millionths = 0;
    for d in part.iter().take(6) {
        millionths += i64::from(d - b'0') * scale;
        scale /= 10;
    }
    if part.get(6).is_some_and(|d| *d >= b'5') {
        millionths += 1;
    }
    (whole * UNIT).saturating_add(millionths).min(MAX_NUMBER)
}

fn pair(input: &[u8]) -> Out<'_, (&[u8], &[u8])> {
    let (input, _) = take_while(is_blank).parse(input)?;
    // An unquoted `#` begins a comment (Klipper).
    let (input, key) = take_while1(|b| !is_blank(b) && b != b'=' && b != b'#').parse(input)?;
    let quoted = |mark: &'static [u8]| {
        delimited(
            tag(mark),
            take_till(move |b| Some(&b) == mark.first()),
            opt(tag(mark)),
        )
    };
    let plain = take_till(|b| is_blank(b) || b == b'#');
    let value = preceded(tag(&b"="[..]), alt((quoted(b"\""), quoted(b"'"), plain)));
    map(opt(value), |value| (key, value.unwrap_or_default())).parse(input)
}

// ---- texts, comments, checksums ---------------------------------------------------------------

/// A number from a text such as `0.2`, `60 ; was 55` or `210.5`; `None` for `nan`, `nil` and nothing.
pub fn number_of(text: &[u8]) -> Option<Micro> {
    number(trim(text)).ok().map(|(_, n)| n)
}

/// Where free text begins in the arguments of a command, if it takes any.
fn text_from(letter: u8, number: u32, sub: Option<u32>, args: &[u8]) -> Option<usize> {
    match (letter, number, sub) {
        (
            b'M',
            0 | 1 | 16 | 23 | 28 | 30 | 32 | 33 | 117 | 118 | 550 | 587 | 810..=819 | 928 | 1002,
            None,
        ) => Some(0),
        // The name of an object: `M486 AShape` (Prusa), `M486 S1 A"name"` (RepRapFirmware).
        (b'M', 486, None) => {
            let (mut quiet, mut at) = (true, None);
            for (i, byte) in args.iter().enumerate() {
                if quiet && matches!(byte, b'A' | b'a') {
                    at = Some(i);
                    break;
                }
                quiet = !byte.is_ascii_alphabetic();
            }
            at
        }
        _ => None,
    }
}

/// Whether a command line (without its comment) holds a text or quoted values.
fn is_free_text(body: &[u8]) -> bool {
    match body_of(trim(body)) {
        Body::Code(code) => code.text_begin().is_some(),
        Body::Extended(_) => true,
        Body::Host(_) | Body::Other(_) | Body::Empty => false,
    }
}

/// Splits at the `;` of the comment. In texts and extended commands a closed pair of quotes
/// protects it, and so does `\` in Marlin's texts.
fn split_comment(input: &[u8], dialect: Dialect) -> (&[u8], Option<&[u8]>) {
    let Some(first) = memchr(b';', input) else {
        return (input, None);
    };
    let mut at = first;
    let before = input.get(..first).unwrap_or_default();
    let quoted = memchr(b'"', before).is_some() || memchr(b'\'', before).is_some();
    let open_paren = dialect.paren_comments && memchr(b'(', before).is_some();
    if (quoted || before.last() == Some(&b'\\')) && is_free_text(before) {
        at = unprotected(input, b';').unwrap_or(input.len());
    } else if open_paren {
        at = outside_parens(input).unwrap_or(input.len());
    }
    match input.split_at_checked(at) {
        Some((body, behind)) => (body, behind.get(1..)),
        None => (input, None),
    }
}

/// The first `wanted` that is neither escaped nor inside a closed pair of quotes.
fn unprotected(text: &[u8], wanted: u8) -> Option<usize> {
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'\\' => at += 1,
            b'"' => {
                let rest = text.get(at + 1..).unwrap_or_default();
                at += memchr(b'"', rest).map_or(0, |n| n + 1);
            }
            b if b == wanted => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

fn outside_parens(text: &[u8]) -> Option<usize> {
    let mut inside = false;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'(' => inside = true,
            b')' => inside = false,
            b';' if !inside => return Some(at),
            _ => {}
        }
    }
    None
}

/// Splits off `*71` at the end. A `*` with something else behind it stays.
fn split_checksum(body: &[u8]) -> (&[u8], Option<u32>) {
    let Some(star) = memchr::memrchr(b'*', body) else {
        return (body, None);
    };
    let (head, tail) = body.split_at(star);
    match unsigned(trim(tail.get(1..).unwrap_or_default())) {
        Ok(([], sum)) => (head, Some(sum)),
        _ => (body, None),
    }
}

/// Without blanks (and NULs) at both ends.
pub fn trim(text: &[u8]) -> &[u8] {
    let skip = text.iter().position(|b| !is_blank(*b)).unwrap_or(text.len());
    trim_end(text.get(skip..).unwrap_or_default())
}

fn trim_end(text: &[u8]) -> &[u8] {
    let keep = text.iter().rposition(|b| !is_blank(*b)).map_or(0, |at| at + 1);
    text.get(..keep).unwrap_or_default()
}

#[cfg(test)]
#[path = "tests_lex.rs"]
mod tests;
