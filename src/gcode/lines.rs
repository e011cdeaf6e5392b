//! Bytes in chunks of any size become whole lines: bounded, and the same for every chunking.
//!
//! A line ends at `\n`, at `\r\n`, or at a lone `\r` (Marlin and the PrusaSlicer family read it so).
//! A line longer than [`MAX_LINE`] is handed on as its head, marked cut; its tail is only counted.

use memchr::{memchr2, memrchr};

/// Longest line that is kept whole, bytes. Real files reach 21 kB (a start macro in a comment).
pub const MAX_LINE: usize = 64 * 1024;

/// UTF-8's byte order mark; at offset 0 it is no part of the first line.
pub const BOM: &[u8] = b"\xEF\xBB\xBF";

/// One line of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawLine<'a> {
    /// Its bytes, without the line end; the head only when `cut`.
    pub bytes: &'a [u8],
    /// File offset of its first byte.
    pub start: u64,
    /// File offset behind its line end.
    pub end: u64,
    /// Longer than [`MAX_LINE`]: `bytes` is the head.
    pub cut: bool,
    /// Had a line end. Klipper never runs a last line without one.
    pub terminated: bool,
}

/// What a [`Splitter`] hands on.
pub trait LineSink {
    /// Whole lines, all terminated, nothing before or after; `start` is the offset of the first byte.
    ///
    /// Cut it up with [`each_line`], or by a faster way that gives the same lines.
    fn block(&mut self, block: &[u8], start: u64);
    /// One line that did not lie in one piece, or was too long, or lacks its end.
    fn line(&mut self, line: RawLine<'_>);
}

/// Joins chunks to lines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Splitter {
    /// Head of the line in the making, at most [`MAX_LINE`] bytes.
    carry: Vec<u8>,
    /// Bytes of that line that were not kept.
    dropped: u64,
    /// The line in the making ended with `\r`; whether `\n` follows is not known yet.
    cr: bool,
    /// File offset of that line's first byte.
    line_start: u64,
    /// File offset of the next byte to come.
    offset: u64,
}

impl Splitter {
    /// A splitter whose first byte has this file offset.
    pub fn at(offset: u64) -> Self {
        Splitter {
            offset,
            line_start: offset,
            ..Self::default()
        }
    }

    /// File offset of the next byte to come.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Takes the next bytes.
    pub fn push(&mut self, chunk: &[u8], sink: &mut impl LineSink) {
        let mut rest = chunk;
        if self.cr
            && let Some((&first, behind)) = rest.split_first()
        {
            if first == b'\n' {
                self.offset += 1;
                rest = behind;
            }
            self.flush(true, sink);
        }
        if self.offset > self.line_start {
            rest = self.join(rest, sink);
            if self.offset > self.line_start {
                return;
            }
        }
        let whole = memrchr(b'\n', rest).map_or(0, |at| at + 1);
        let (block, mut tail) = rest.split_at(whole);
        if !block.is_empty() {
            sink.block(block, self.offset);
            self.offset += block.len() as u64;
            self.line_start = self.offset;
        }
        while !tail.is_empty() {
            tail = self.join(tail, sink);
        }
    }

    /// The file is over: hands on what lacks its end.
    pub fn finish(&mut self, sink: &mut impl LineSink) {
        if self.offset > self.line_start {
            let terminated = self.cr;
            self.flush(terminated, sink);
        }
    }

    /// Adds bytes to the line in the making up to its end; returns what is behind it.
    fn join<'a>(&mut self, bytes: &'a [u8], sink: &mut impl LineSink) -> &'a [u8] {
        let len = memchr2(b'\n', b'\r', bytes).unwrap_or(bytes.len());
        let (head, rest) = bytes.split_at(len);
        let room = MAX_LINE.saturating_sub(self.carry.len()).min(head.len());
        self.carry.extend_from_slice(head.get(..room).unwrap_or_default());
        self.dropped += (head.len() - room) as u64;
        self.offset += head.len() as u64;
        match rest {
            [] => rest,
            [b'\r'] => {
                self.offset += 1;
                self.cr = true;
                &[]
            }
            [b'\r', b'\n', behind @ ..] => {
                self.offset += 2;
                self.flush(true, sink);
                behind
            }
            [_, behind @ ..] => {
                self.offset += 1;
                self.flush(true, sink);
                behind
            }
        }
    }

    fn flush(&mut self, terminated: bool, sink: &mut impl LineSink) {
        sink.line(RawLine {
            bytes: &self.carry,
            start: self.line_start,
            end: self.offset,
            cut: self.dropped > 0,
            terminated,
        });
        self.carry.clear();
        self.dropped = 0;
        self.cr = false;
        self.line_start = self.offset;
    }
}

/// The first line of a block of whole lines: its length, and the length with its line end.
#[inline]
pub fn end_of_line(block: &[u8]) -> Option<(usize, usize)> {
    let len = memchr2(b'\n', b'\r', block)?;
    match block.get(len..) {
        Some([b'\r', b'\n', ..]) => Some((len, len + 2)),
        _ => Some((len, len + 1)),
    }
}

/// Cuts a block of whole lines into lines.
pub fn each_line(block: &[u8], start: u64, mut take: impl FnMut(RawLine<'_>)) {
    let mut at = 0;
    while let Some(rest) = block.get(at..)
        && let Some((len, behind)) = end_of_line(rest)
    {
        take(RawLine {
            bytes: rest.get(..len.min(MAX_LINE)).unwrap_or_default(),
            start: start + at as u64,
            end: start + (at + behind) as u64,
            cut: len > MAX_LINE,
            terminated: true,
        });
        at += behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Default)]
    struct Collect(Vec<(Vec<u8>, u64, u64, bool, bool)>);

    impl Collect {
        fn take(&mut self, line: RawLine<'_>) {
            self.0.push((
                line.bytes.to_vec(),
                line.start,
                line.end,
                line.cut,
                line.terminated,
            ));
        }
    }

    impl LineSink for Collect {
        fn block(&mut self, block: &[u8], start: u64) {
            each_line(block, start, |line| self.take(line));
        }
        fn line(&mut self, line: RawLine<'_>) {
            self.take(line);
        }
    }

    fn split(text: &[u8], sizes: &[usize]) -> Vec<(Vec<u8>, u64, u64, bool, bool)> {
        let mut collect = Collect::default();
        let mut splitter = Splitter::at(7);
        let mut rest = text;
        let mut sizes = sizes.iter().cycle();
        while !rest.is_empty() {
            let n = sizes.next().copied().unwrap_or(1).clamp(1, rest.len());
            splitter.push(&rest[..n], &mut collect);
            rest = &rest[n..];
        }
        splitter.finish(&mut collect);
        collect.0
    }

    #[test]
    fn all_three_line_ends_and_none() {
        let lines = split(b"a\r\nb\n\nc\rd", &[100]);
        let texts: Vec<_> = lines.iter().map(|l| l.0.as_slice()).collect();
        assert_eq!(texts, [&b"a"[..], b"b", b"", b"c", b"d"]);
        let ends: Vec<_> = lines.iter().map(|l| l.2 - 7).collect();
        assert_eq!(ends, [3, 5, 6, 8, 9]);
        assert!(!lines[4].4 && lines[3].4);
    }

    #[test]
    fn a_two_megabyte_line_is_cut_and_the_next_one_is_whole() {
        let mut text = vec![b';'; 2 << 20];
        text.extend_from_slice(b"\nG28\n");
        for sizes in [&[1 << 30][..], &[1000], &[65536, 3]] {
            let lines = split(&text, sizes);
            assert_eq!(lines.len(), 2);
            assert_eq!((lines[0].0.len(), lines[0].3), (MAX_LINE, true));
            assert_eq!(
                (lines[0].2, lines[1].0.as_slice()),
                (7 + (2 << 20) + 1, &b"G28"[..])
            );
        }
    }

    proptest! {
        #[test]
        fn chunking_does_not_matter(
            text in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'a'), Just(b'b')], 0..80),
            sizes in proptest::collection::vec(1usize..7, 1..8),
        ) {
            prop_assert_eq!(split(&text, &sizes), split(&text, &[1 << 20]));
        }
    }
}
