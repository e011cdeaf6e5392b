//! Mistakes of a configuration file: every one of them, with its place and what to do.

use std::fmt;
use std::ops::Range;

use crate::sorted;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong and what to do, without any value that could be a secret.
    pub text: String,
}

/// All mistakes of one file, in the order of their places.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Diagnostics {
    file: String,
    line_starts: Vec<usize>,
    mistakes: Vec<Mistake>,
    source: String,
    plain: Vec<(Range<usize>, Plain)>,
    secret: Vec<Range<usize>>,
}

/// How much of a value people may see who are not the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plain {
    /// All of it.
    Whole,
    /// Of an address only where it leads: a login, a path or a parameter in it may be a secret.
    Host,
}

impl Diagnostics {
    /// For a file of this name and content.
    pub fn new(file: &str, source: &str) -> Self {
        let line_starts = std::iter::once(0)
            .chain(source.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Diagnostics {
            file: file.to_owned(),
            line_starts,
            mistakes: Vec::new(),
            source: source.to_owned(),
            plain: Vec::new(),
            secret: Vec::new(),
        }
    }

    /// Notes that the value at this place is no secret: whoever knows its key has read it as such. What
    /// nobody vouches for is a secret.
    pub fn vouch(&mut self, span: Range<usize>, plain: Plain) {
        self.plain.push((span, plain));
    }

    /// Takes back what was said of the value at this place.
    pub fn conceal(&mut self, span: Range<usize>) {
        self.plain.retain(|(other, _)| *other != span);
        self.secret.push(span);
    }

    /// The values that are no secret, in the order in which they were read.
    pub fn plain(&self) -> &[(Range<usize>, Plain)] {
        &self.plain
    }

    /// The values that were read as secrets.
    pub fn secret(&self) -> &[Range<usize>] {
        &self.secret
    }

    /// Adds a mistake at a place of the source.
    pub fn at(&mut self, span: Range<usize>, text: impl Into<String>) {
        let line = self
            .line_starts
            .partition_point(|start| *start <= span.start)
            .max(1);
        let start = self.line_starts.get(line - 1).copied().unwrap_or(0);
        let column = self
            .source
            .get(start..span.start)
            .map_or(0, |t| t.chars().count())
            + 1;
        self.mistakes.push(Mistake {
            line,
            column,
            text: text.into(),
        });
    }

    /// Where a part of a text value stands in the source; the value's own place when it is not written
    /// there as it is read (escapes).
    pub fn within(&self, value: Range<usize>, text: &str, part: Range<usize>) -> Range<usize> {
        let found = self
            .source
            .get(value.clone())
            .and_then(|source| source.find(text));
        match found {
            Some(offset) => value.start + offset + part.start..value.start + offset + part.end,
            None => value,
        }
    }

    /// Adds a mistake that has no place in the text.
    pub fn whole_file(&mut self, text: impl Into<String>) {
        self.mistakes.push(Mistake {
            line: 0,
            column: 0,
            text: text.into(),
        });
    }

    /// The mistakes in the order of the file.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = self.mistakes.clone();
        sorted::by(&mut mistakes, Ord::cmp);
        mistakes.dedup();
        mistakes
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// The file's name.
    pub fn file(&self) -> &str {
        &self.file
    }
}

impl fmt::Display for Diagnostics {
    /// One mistake a line: `file:line:column: text`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, mistake) in self.mistakes().iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            match mistake.line {
                0 => write!(f, "{}: {}", self.file, mistake.text)?,
                line => write!(f, "{}:{line}:{}: {}", self.file, mistake.column, mistake.text)?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Diagnostics {
    /// The mistakes only: the source may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Diagnostics")
            .field("file", &self.file)
            .field("mistakes", &self.mistakes)
            .finish()
    }
}

impl std::error::Error for Diagnostics {}
