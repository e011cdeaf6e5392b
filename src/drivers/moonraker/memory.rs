//! What a restarted daemon has to know of the print it had started, in a small file.

use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::json;
use crate::printer::model::PrintObject;
use crate::printer::wall_clock::SinceBoot;

/// Largest file that is read.
const SIZE_MAX: u64 = 4 * 1024 * 1024;

/// One print.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The job.
    pub uid: Uuid,
    /// Its file as Moonraker knows it.
    pub filename: String,
    /// When Klipper began it, seconds since 1970: tells a print from another one of the same file.
    pub began_s: i64,
    /// The same by a clock that nobody sets in between, where there is one.
    #[serde(default)]
    pub began: Option<SinceBoot>,
    /// The file's objects.
    pub objects: Vec<PrintObject>,
    /// A cancel is on its way: its heaters are switched off behind it.
    #[serde(default)]
    pub cancelled: bool,
}

/// Reads it; `None` when there is none or it is damaged.
pub fn read(path: &Path) -> Option<Record> {
    let mut text = String::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(SIZE_MAX).read_to_string(&mut text).ok()?;
    json::read(&text).ok()
}

/// Writes it whole or not at all; `None` removes it.
///
/// # Errors
/// The disk's.
pub fn write(path: &Path, record: Option<&Record>) -> std::io::Result<()> {
    let Some(record) = record else {
        return match std::fs::remove_file(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        };
    };
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, serde_json::to_vec(record)?)?;
    std::fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_and_damage_is_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("m");
        assert_eq!(read(&path), None);
        let record = Record {
            uid: Uuid::from_u128(7),
            filename: "a.gcode".to_owned(),
            began_s: 5,
            began: None,
            objects: vec![PrintObject {
                id: 1,
                name: "A".to_owned(),
            }],
            cancelled: true,
        };
        write(&path, Some(&record)).expect("written");
        assert_eq!(read(&path), Some(record));
        std::fs::write(&path, "{").expect("written");
        assert_eq!(read(&path), None);
        write(&path, None).expect("removed");
        assert!(!path.exists());
    }
}
