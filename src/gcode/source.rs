//! A program as a streaming printer gets it: comments, blanks and host lines gone, each line with
//! its place in the file.

use std::io::Write as _;
use std::sync::Arc;

pub use super::file::{FileChanged, FileSource};
use super::layers::{self, LayerCount, LayerStyle};
use super::lex::{self, Body, Dialect};
use super::lines::{BOM, LineSink, RawLine, Splitter, each_line};
use super::skip::{Origin, Skip, SkipPlan};

/// One command of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineRef {
    /// Where its text begins in [`Batch::text`].
    pub start: u32,
    /// Length of the text, without line end.
    pub len: u32,
    /// Line of the source file, from 1.
    pub source_line: u32,
    /// Layer it belongs to, from 1; 0 before the first layer or without layer marks.
    pub layer: u32,
    /// File offset behind the line; for a line that was put in, behind what was left out before it.
    pub byte_end: u64,
    /// 0: a line of the file. Else it was put in to make up for what was left out, counting from 1.
    pub step: u16,
}

/// A run of prepared commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The texts, one after the other.
    pub text: Vec<u8>,
    /// The commands in order.
    pub lines: Vec<LineRef>,
    /// Nothing follows.
    pub last: bool,
}

impl Batch {
    /// Text of one command.
    pub fn text_of(&self, line: &LineRef) -> &[u8] {
        let start = line.start as usize;
        self.text
            .get(start..start + line.len as usize)
            .unwrap_or_default()
    }
}

/// What the preparer has to know about the printer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrepareOptions {
    /// The firmware has PAREN_COMMENTS: `(…)` is a comment and is taken out.
    pub paren_comments: bool,
}

/// Longest command that is handed on, bytes. A longer one keeps its head and so still trips the
/// firmware's own limit (96) where that is enforced.
pub const MAX_COMMAND: usize = 1024;

/// Turns a file's bytes, pushed in chunks of any size, into wire-ready commands.
///
/// Taken out: `;` comments, blank lines, `@` host lines, the file's own line numbers and checksums,
/// and every `*` in a text (Marlin cuts a text there, Prusa's firmware refuses the line). Letters
/// become upper case, but for texts, quoted strings and the values of named commands.
///
/// ```
/// use layerd_gcode::source::{Batch, Prepare, PrepareOptions};
///
/// let mut prepare = Prepare::new(PrepareOptions::default());
/// let mut batch = Batch::default();
/// prepare.feed(b"; hello\nN1 g1 x1.5 y2*17\nm117 Almost", &mut batch);
/// prepare.feed(b" done\n", &mut batch);
/// prepare.finish(&mut batch);
/// let texts: Vec<_> = batch.lines.iter().map(|l| batch.text_of(l)).collect();
/// assert_eq!(texts, [&b"G1 X1.5 Y2"[..], b"M117 Almost done"]);
/// assert_eq!(batch.lines[1].source_line, 3);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Prepare {
    splitter: Splitter,
    cutter: Cutter,
}

#[derive(Clone, Debug, PartialEq)]
struct Cutter {
    dialect: Dialect,
    line: u32,
    layers: LayerCount,
    scratch: Vec<u8>,
    skip: Option<Box<Skip>>,
}

impl Prepare {
    /// For a file read from its beginning.
    pub fn new(options: PrepareOptions) -> Self {
        Self::at(options, 0, 0, 0)
    }

    /// For a file read from a byte on, behind this line and in this layer.
    pub fn at(options: PrepareOptions, from_byte: u64, from_line: u32, layer: u32) -> Self {
        Prepare {
            splitter: Splitter::at(from_byte),
            cutter: Cutter {
                dialect: Dialect {
                    paren_comments: options.paren_comments,
                },
                line: from_line,
                layers: LayerCount::at(layer),
                scratch: Vec::new(),
                skip: None,
            },
        }
    }

    /// Leaves out what this filter leaves out. To be called before the first byte.
    #[must_use]
    pub fn skipping(mut self, skip: Skip) -> Self {
        self.cutter.skip = Some(Box::new(skip));
        self
    }

    /// The same place with another plan of what to leave out; `None` when objects cannot be told apart.
    /// The plan may differ only behind this place.
    pub fn with_plan(mut self, plan: Arc<SkipPlan>) -> Option<Self> {
        let skip = self.cutter.skip.take()?;
        self.cutter.skip = Some(Box::new(skip.with_plan(plan)));
        Some(self)
    }

    /// Whether objects can be left out.
    pub fn can_skip(&self) -> bool {
        self.cutter.skip.is_some()
    }

    /// Adds the commands of the next bytes to the batch.
    pub fn feed(&mut self, chunk: &[u8], batch: &mut Batch) {
        self.splitter.push(
            chunk,
            &mut Into {
                cutter: &mut self.cutter,
                batch,
            },
        );
    }

    /// The file is over: adds a last line that lacks its end (Marlin runs it) and marks the batch.
    pub fn finish(&mut self, batch: &mut Batch) {
        self.splitter.finish(&mut Into {
            cutter: &mut self.cutter,
            batch,
        });
        batch.last = true;
    }

    /// File offset of the next byte to feed.
    pub fn offset(&self) -> u64 {
        self.splitter.offset()
    }

    /// Lines of the file seen so far.
    pub fn line(&self) -> u32 {
        self.cutter.line
    }
}

struct Into<'a> {
    cutter: &'a mut Cutter,
    batch: &'a mut Batch,
}

impl LineSink for Into<'_> {
    fn block(&mut self, block: &[u8], start: u64) {
        each_line(block, start, |line| self.cutter.take(line, self.batch));
    }

    fn line(&mut self, line: RawLine<'_>) {
        self.cutter.take(line, self.batch);
    }
}

impl Cutter {
    fn take(&mut self, raw: RawLine<'_>, batch: &mut Batch) {
        self.line = self.line.saturating_add(1);
        let bytes = if raw.start == 0 {
            raw.bytes.strip_prefix(BOM).unwrap_or(raw.bytes)
        } else {
            raw.bytes
        };
        // A move without anything special in it goes the short way.
        if is_plain_move(bytes) {
            self.emit(bytes, raw, batch);
            return;
        }
        let parts = lex::line(bytes, self.dialect);
        let verbatim_from = match parts.body {
            Body::Empty => {
                if let Some(style) = parts.comment.and_then(layers::mark_in) {
                    self.layers.mark(style);
                }
                return;
            }
            Body::Host(_) => return,
            Body::Code(code) => code.text_begin(),
            Body::Extended(named) => {
                if layers::is_print_stats_mark(&named) {
                    self.layers.mark(LayerStyle::PrintStats);
                }
                Some(0)
            }
            Body::Other(_) => None,
        };
        let mut text = std::mem::take(&mut self.scratch);
        text.clear();
        write_command(parts.body, verbatim_from, self.dialect, &mut text);
        text.truncate(MAX_COMMAND);
        let cut = lex::trim(&text);
        if !cut.is_empty() {
            self.emit(cut, raw, batch);
        }
        self.scratch = text;
    }

    fn emit(&mut self, text: &[u8], raw: RawLine<'_>, batch: &mut Batch) {
        let Some(mut skip) = self.skip.take() else {
            self.push(text, raw.end, 0, batch);
            return;
        };
        skip.line(text, raw.start, |text, origin| match origin {
            Origin::Program => self.push(text, raw.end, 0, batch),
            Origin::Before(step) => self.push(text, raw.start, step, batch),
            Origin::Behind(step) => self.push(text, raw.end, step, batch),
        });
        self.skip = Some(skip);
    }

    fn push(&self, text: &[u8], byte_end: u64, step: u16, batch: &mut Batch) {
        let start = batch.text.len();
        batch.text.extend_from_slice(text);
        batch.lines.push(LineRef {
            // A batch is a few hundred kB at most; FileSource sees to it.
            start: u32::try_from(start).unwrap_or(u32::MAX),
            len: u32::try_from(text.len()).unwrap_or(u32::MAX),
            source_line: self.line,
            layer: self.layers.layer(),
            byte_end,
            step,
        });
    }
}

/// A short `G0`/`G1` line of capitals, digits, points, signs and single blanks: sent as it stands.
fn is_plain_move(bytes: &[u8]) -> bool {
    bytes.len() <= 90
        && (bytes.starts_with(b"G1 ") || bytes.starts_with(b"G0 "))
        && bytes.last() != Some(&b' ')
        && bytes
            .iter()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b' ' | b'.' | b'-' | b'+'))
}

fn write_number(number: u32, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{number}");
}

/// Writes a command as it goes to the wire.
fn write_command(body: Body<'_>, verbatim_from: Option<usize>, dialect: Dialect, out: &mut Vec<u8>) {
    let args = match body {
        Body::Code(code) => {
            out.push(code.letter);
            if code.number != lex::Code::NO_NUMBER {
                write_number(code.number, out);
            }
            if let Some(sub) = code.sub {
                out.push(b'.');
                write_number(sub, out);
            }
            // `T?`, `Tx`, `Tc` (Prusa MMU): the letter is part of the name and keeps its case.
            if !code.args.is_empty() && code.number != lex::Code::NO_NUMBER {
                out.push(b' ');
            }
            code.args
        }
        Body::Extended(named) => {
            out.extend_from_slice(named.name);
            if !named.args.is_empty() {
                out.push(b' ');
            }
            named.args
        }
        Body::Other(text) => text,
        Body::Empty | Body::Host(_) => return,
    };
    let is_service = matches!(body, Body::Code(code) if code.number == lex::Code::NO_NUMBER);
    let split = if is_service {
        0
    } else {
        verbatim_from.unwrap_or(args.len()).min(args.len())
    };
    let (words, text) = args.split_at(split);
    let (mut quoted, mut paren) = (false, false);
    for &byte in words {
        match byte {
            b'(' if dialect.paren_comments && !quoted => paren = true,
            b')' if paren => paren = false,
            _ if paren => {}
            b'*' => {}
            b'"' => {
                quoted = !quoted;
                out.push(byte);
            }
            0..=b' ' => out.push(b' '),
            b if quoted => out.push(b),
            b => out.push(b.to_ascii_uppercase()),
        }
    }
    // Control bytes would end or garble the line on the wire.
    out.extend(
        text.iter()
            .filter(|b| **b != b'*')
            .map(|b| if *b < b' ' { b' ' } else { *b }),
    );
}

#[cfg(test)]
#[path = "tests_source.rs"]
mod tests;
