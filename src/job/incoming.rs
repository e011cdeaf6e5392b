//! A file on its way into the spool: written and hashed piece by piece, off the runtime.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::spool::{Place, StoredFile, blocking, io_fault, no_room, too_big};
use crate::printer::fault::{Fault, Severity};

/// Bytes gathered before they go to the disk.
const PIECE: usize = 256 << 10;

/// Free space is looked at once per this many bytes.
const LOOK_EVERY: u64 = 8 << 20;

/// An upload under way. Dropped before [`Incoming::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct Incoming {
    place: Place,
    name: String,
    /// Gone only while a piece is being written, or after that failed.
    part: Option<Part>,
    piece: Vec<u8>,
    size: u64,
    expected: Option<u64>,
    looked_at: u64,
}

/// The file itself; removed unless it got its name.
#[derive(Debug)]
struct Part {
    path: PathBuf,
    file: File,
    hash: Sha256,
}

impl Drop for Part {
    fn drop(&mut self) {
        // After the rename there is nothing left under this name.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Incoming {
    pub(super) async fn begin(
        place: Place,
        path: PathBuf,
        name: String,
        expected: Option<u64>,
    ) -> Result<Self, Fault> {
        let part = blocking(move || {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            {
                use std::os::unix::fs::OpenOptionsExt;
                options.mode(0o600);
            }
            let file = options.open(&path).map_err(|e| io_fault(&path, &e))?;
            Ok(Part {
                path,
                file,
                hash: Sha256::new(),
            })
        })
        .await?;
        Ok(Incoming {
            place,
            name,
            part: Some(part),
            piece: Vec::new(),
            size: 0,
            expected,
            looked_at: 0,
        })
    }

    /// Bytes so far.
    pub fn written(&self) -> u64 {
        self.size
    }

    /// Where what has come lies until it is complete.
    pub(super) fn path(&self) -> Option<&Path> {
        self.part.as_ref().map(|part| part.path.as_path())
    }

    /// Name as people know it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// The file gets too big, or the disk is full or refuses. The upload is then over.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Fault> {
        let caps = self.place.spool.caps();
        self.size = self.size.saturating_add(bytes.len() as u64);
        if self.size > caps.file_bytes {
            self.part = None;
            return Err(too_big(caps.file_bytes));
        }
        for chunk in bytes.chunks(PIECE) {
            self.piece.extend_from_slice(chunk);
            if self.piece.len() >= PIECE {
                self.push().await?;
            }
        }
        if self.size.saturating_sub(self.looked_at) >= LOOK_EVERY {
            self.looked_at = self.size;
            if self.expected.is_none_or(|n| n < self.size) {
                self.place.announce(self.size.saturating_add(LOOK_EVERY));
            }
            if self.place.spare_bytes() == 0 {
                self.part = None;
                return Err(no_room(0, caps.free_bytes, caps));
            }
        }
        Ok(())
    }

    async fn push(&mut self) -> Result<(), Fault> {
        let piece = std::mem::take(&mut self.piece);
        let mut part = self.part.take().ok_or_else(broken_off)?;
        let (part, mut piece) = blocking(move || {
            part.file
                .write_all(&piece)
                .map_err(|e| io_fault(&part.path, &e))?;
            part.hash.update(&piece);
            Ok((part, piece))
        })
        .await?;
        piece.clear();
        self.part = Some(part);
        self.piece = piece;
        Ok(())
    }

    /// Completes the upload: durable, named by its content, entered in the index.
    ///
    /// # Errors
    /// Fewer or more bytes than announced, the disk is full or refuses, or the database does.
    pub async fn finish(self) -> Result<StoredFile, Fault> {
        self.finish_as(None).await
    }

    /// The same, and refuses a content with another hash than this one (hex).
    ///
    /// # Errors
    /// As [`Incoming::finish`], and when the hash differs.
    pub async fn finish_as(mut self, sha256: Option<&str>) -> Result<StoredFile, Fault> {
        if let Some(expected) = self.expected
            && expected != self.size
        {
            return Err(incomplete(format!(
                "The upload broke off: {} of {expected} bytes came.",
                self.size
            )));
        }
        self.push().await?;
        let part = self.part.take().ok_or_else(broken_off)?;
        let part = blocking(move || {
            part.file.sync_all().map_err(|e| io_fault(&part.path, &e))?;
            Ok(part)
        })
        .await?;
        let seen = hex(&part.hash.clone().finalize());
        if let Some(wanted) = sha256
            && !wanted.eq_ignore_ascii_case(&seen)
        {
            return Err(incomplete(
                "The upload is damaged: its checksum is not the one announced.".to_owned(),
            ));
        }
        self.place
            .spool
            .settle(&part.path, seen, self.size, &self.name)
            .await
    }
}

/// SHA-256 of a file, hex.
pub(super) fn hash_of(path: &Path) -> Result<String, Fault> {
    let mut file = File::open(path).map_err(|e| io_fault(path, &e))?;
    let mut hash = Sha256::new();
    let mut piece = vec![0_u8; 64 << 10];
    loop {
        let n = file.read(&mut piece).map_err(|e| io_fault(path, &e))?;
        if n == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(piece.get(..n).unwrap_or_default());
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn incomplete(what: String) -> Fault {
    Fault::new(
        Severity::Retry,
        "spool/incomplete",
        "",
        "The connection broke, or something changed the bytes on the way.",
        "Upload it again.",
    )
    .with_what(what)
}

fn broken_off() -> Fault {
    incomplete("The upload had already failed.".to_owned())
}
