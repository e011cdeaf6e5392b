//! Analysis of a plain G-code file while it is still being written.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::analysis::{Analysis, Format};
use super::analyze::{Analyzer, Options};
use super::container::sniff;

/// Bytes read at a time.
const READ_LEN: usize = 64 * 1024;

/// Follows a file that grows. Gives the same as an analysis of the complete file.
pub struct FollowFile {
    file: File,
    analyzer: Box<Analyzer>,
    read: u64,
    head: Vec<u8>,
}

impl std::fmt::Debug for FollowFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FollowFile({} bytes)", self.read)
    }
}

impl FollowFile {
    /// Opens it at its beginning.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path, options: &Options) -> io::Result<Self> {
        Ok(FollowFile {
            file: File::open(path)?,
            analyzer: Box::new(Analyzer::new(*options)),
            read: 0,
            head: Vec::new(),
        })
    }

    /// Bytes taken in so far.
    pub fn taken(&self) -> u64 {
        self.read
    }

    /// Takes in what is there by now, at most about so many bytes.
    ///
    /// # Errors
    /// It cannot be read, or is packed: what is in it can be read only when it is complete.
    pub fn take_in(&mut self, max_bytes: u64) -> io::Result<()> {
        let end = self.read.saturating_add(max_bytes);
        let mut buffer = vec![0; READ_LEN];
        while self.read < end {
            let got = match self.file.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let chunk = buffer.get(..got).unwrap_or_default();
            self.read += got as u64;
            if self.head.len() < 4 {
                self.head.extend(chunk.iter().take(4 - self.head.len()));
            }
            if self.head.len() == 4 && sniff(&self.head) != Format::Gcode {
                return Err(io::Error::new(io::ErrorKind::Unsupported, "packed"));
            }
            self.analyzer.push(chunk);
        }
        Ok(())
    }

    /// The file is complete and has this size and name.
    ///
    /// # Errors
    /// It cannot be read to its end, or is another one.
    pub fn finish(mut self, name: &str, size: u64) -> io::Result<Analysis> {
        self.take_in(u64::MAX)?;
        if self.read != size || self.head.len() < 4 {
            return Err(io::Error::other("another file"));
        }
        let (mut analysis, _) = self.analyzer.finish_with_index();
        analysis.file = Some(name.to_owned());
        analysis.size = size;
        analysis.format = Format::Gcode;
        Ok(analysis)
    }
}
