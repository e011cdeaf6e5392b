//! Which bytes of a file on the disk belong to which object.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::analyze::{Analyzer, Options};
use super::index::Spans;

/// Bytes read at a time.
const READ_LEN: usize = 64 * 1024;

/// Reads a plain G-code file once. `None`: it changes objects more often than can be kept.
pub fn spans_of(path: &Path) -> io::Result<Option<Spans>> {
    let mut file = File::open(path)?;
    let mut analyzer = Analyzer::new(Options {
        index: true,
        time_model: false,
        ..Options::default()
    });
    let mut buffer = vec![0; READ_LEN];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(analyzer.finish_with_index().1.object_spans()),
            Ok(got) => analyzer.push(buffer.get(..got).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
