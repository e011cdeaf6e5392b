//! A directory for one run: made with a name of its own, gone at the end.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The directory; removed with all that is in it when dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    kept: bool,
}

impl Scratch {
    /// Makes `layerd-WHAT-RANDOM` where the system keeps such things, for nobody else to read.
    pub fn new(what: &str) -> io::Result<Self> {
        let name = format!("layerd-{what}-{}", uuid::Uuid::new_v4().simple());
        let path = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Scratch { path, kept: false })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it where it is.
    pub fn keep(mut self) -> PathBuf {
        self.kept = true;
        self.path.clone()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // What cannot be removed is in a directory for such things.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left() {
        let dropped = Scratch::new("test").expect("a directory");
        std::fs::write(dropped.path().join("x"), "x").expect("a file");
        let path = dropped.path().to_owned();
        drop(dropped);
        assert!(!path.exists());
    }
}
