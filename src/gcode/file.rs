//! A program file read from the disk while it prints: blocking, in batches, wary of changes.
//!
//! The one place under `gcode/` that opens files for the sender; everything it reads goes through
//! the pure [`Prepare`].

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::SystemTime;

use super::source::{Batch, Prepare, PrepareOptions};

/// Bytes read at a time.
const READ_LEN: usize = 16 * 1024;

/// Largest batch, in bytes of the source file.
const MAX_BATCH: usize = 1024 * 1024;

/// The file is not what it was when the print began.
///
/// Comes inside an [`io::Error`]; `error.get_ref().and_then(|e| e.downcast_ref::<FileChanged>())`
/// gets it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileChanged {
    /// More bytes than at the start.
    #[error("the file grew from {was} to {is} bytes while it was being printed")]
    Grew {
        /// Bytes at the start.
        was: u64,
        /// Bytes now.
        is: u64,
    },
    /// Fewer bytes than at the start.
    #[error("the file shrank from {was} to {is} bytes while it was being printed")]
    Shrank {
        /// Bytes at the start.
        was: u64,
        /// Bytes now.
        is: u64,
    },
    /// Same size, written to.
    #[error("the file was written to while it was being printed")]
    Rewritten,
    /// The place to begin lies behind its end.
    #[error("byte {byte} lies behind the end of the file ({size} bytes)")]
    TooShort {
        /// Where to begin.
        byte: u64,
        /// Bytes there are.
        size: u64,
    },
}

/// Reads a program file in batches of wire-ready commands.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    size: u64,
    modified: Option<SystemTime>,
    prepare: Prepare,
    buffer: Box<[u8]>,
    done: bool,
}

impl FileSource {
    /// Opens a file to be read from a byte on, which must be the beginning of a line; `from_line`
    /// lines lie before it and `layer` is the layer there (0, 0, 0 for the whole file).
    pub fn open(path: &Path, from_byte: u64, from_line: u32, layer: u32) -> io::Result<Self> {
        Self::open_with(path, from_byte, from_line, layer, PrepareOptions::default())
    }

    /// The same, for a firmware with these properties.
    pub fn open_with(
        path: &Path,
        from_byte: u64,
        from_line: u32,
        layer: u32,
        options: PrepareOptions,
    ) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        if from_byte > meta.len() {
            return Err(io::Error::other(FileChanged::TooShort {
                byte: from_byte,
                size: meta.len(),
            }));
        }
        file.seek(SeekFrom::Start(from_byte))?;
        let prepare = Prepare::at(options, from_byte, from_line, layer);
        Ok(Self::of(file, &meta, prepare))
    }

    /// Goes on where a preparer stands.
    pub fn resume(path: &Path, prepare: Prepare) -> io::Result<Self> {
        let mut source = Self::open(path, prepare.offset(), 0, 0)?;
        source.prepare = prepare;
        Ok(source)
    }

    fn of(file: File, meta: &Metadata, prepare: Prepare) -> Self {
        FileSource {
            file,
            size: meta.len(),
            modified: meta.modified().ok(),
            prepare,
            buffer: vec![0; READ_LEN].into_boxed_slice(),
            done: false,
        }
    }

    /// Where the next batch begins, with all that has to be known to begin there.
    pub fn place(&self) -> &Prepare {
        &self.prepare
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The next commands: at least one, from about `max_bytes` of the file (held within 1 MiB), or
    /// the last batch. After the last one come empty last ones.
    ///
    /// Before each read the file is looked at again: one that grew, shrank or was written to ends in
    /// an error with [`FileChanged`] inside. A file whose *name* vanished is still whole and reads on;
    /// see [`FileSource::vanished`].
    pub fn next_batch(&mut self, max_bytes: usize) -> io::Result<Batch> {
        let max_bytes = max_bytes.clamp(1, MAX_BATCH);
        let mut batch = Batch::default();
        let mut read = 0;
        while !self.done && (batch.lines.is_empty() || read < max_bytes) {
            self.check()?;
            let want = READ_LEN.min(max_bytes.saturating_sub(read).max(512));
            let got = match self.file.read(self.buffer.get_mut(..want).unwrap_or_default()) {
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if got == 0 {
                if self.prepare.offset() != self.size {
                    let is = self.prepare.offset();
                    return Err(io::Error::other(FileChanged::Shrank { was: self.size, is }));
                }
                self.prepare.finish(&mut batch);
                self.done = true;
            } else {
                self.prepare
                    .feed(self.buffer.get(..got).unwrap_or_default(), &mut batch);
                read += got;
            }
        }
        batch.last = self.done;
        // It may wait for long, beside those of other printers.
        batch.text.shrink_to_fit();
        batch.lines.shrink_to_fit();
        Ok(batch)
    }

    /// Whether the file lost its last name: it can be read to its end, but not opened again.
    pub fn vanished(&self) -> bool {
        self.file.metadata().is_ok_and(|meta| names(&meta) == 0)
    }

    fn check(&self) -> io::Result<()> {
        let meta = self.file.metadata()?;
        let (was, is) = (self.size, meta.len());
        let change = match is.cmp(&was) {
            std::cmp::Ordering::Greater => FileChanged::Grew { was, is },
            std::cmp::Ordering::Less => FileChanged::Shrank { was, is },
            std::cmp::Ordering::Equal if meta.modified().ok() != self.modified => FileChanged::Rewritten,
            std::cmp::Ordering::Equal => return Ok(()),
        };
        Err(io::Error::other(change))
    }
}

#[cfg(unix)]
fn names(meta: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(meta)
}

#[cfg(not(unix))]
fn names(_: &Metadata) -> u64 {
    1
}
