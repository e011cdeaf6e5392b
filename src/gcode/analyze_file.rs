//! Analysis of a file on the disk, whatever its container.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::analysis::Analysis;
use super::analyze::{Analyzer, Options};
use super::index::Index;

/// Bytes read at a time.
const READ_LEN: usize = 64 * 1024;

/// Why a file could not be analyzed.
#[derive(Debug, thiserror::Error)]
pub enum AnalyzeError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no printable file, or a container that is damaged or hostile.
    #[error("{}: {why}", path.display())]
    Refused {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// Analyzes a file. `progress` is told the bytes read so far and the size; it returns `false` to
/// stop, which ends in an [`io::ErrorKind::Interrupted`] error.
///
/// Reads in 64 KiB pieces and keeps a bounded state: a gigabyte takes no more memory than a
/// megabyte.
pub fn analyze_file(
    path: &Path,
    options: &Options,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<(Analysis, Index), AnalyzeError> {
    let read = |source| AnalyzeError::Read {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(read)?;
    let meta = file.metadata().map_err(read)?;
    if !meta.is_file() {
        return Err(AnalyzeError::Refused {
            path: path.to_owned(),
            why: "not a regular file".to_owned(),
        });
    }
    let mut hash = options.hash.then(Sha256::new);
    let mut analyzer = Analyzer::new(*options);
    let mut buffer = vec![0; READ_LEN];
    let mut done = 0;
    loop {
        let got = match file.read(&mut buffer) {
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(read(error)),
        };
        let chunk = buffer.get(..got).unwrap_or_default();
        if chunk.is_empty() {
            break;
        }
        if let Some(hash) = &mut hash {
            hash.update(chunk);
        }
        analyzer.push(chunk);
        done += got as u64;
        if !progress(done, meta.len()) {
            return Err(read(io::Error::new(io::ErrorKind::Interrupted, "stopped")));
        }
    }
    let (mut analysis, index) = analyzer.finish_with_index();
    analysis.file = path.file_name().map(|name| name.to_string_lossy().into_owned());
    analysis.sha256 = hash.map(|hash| hex(&hash.finalize()));
    Ok((analysis, index))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
