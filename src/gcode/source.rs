//! A program as a streaming printer gets it: comments, blanks and host lines gone, each line with
//! its place in the file.

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
    /// File offset behind the line.
    pub byte_end: u64,
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
