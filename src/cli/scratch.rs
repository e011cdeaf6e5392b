//! A directory for one run: made with a name of its own, gone at the end.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The directory; removed with all that is in it when dropped, unless it is to be kept.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Scratch {
    /// Makes `layerd-WHAT-RANDOM` where the system keeps such things, for nobody else to read.
    pub fn new(what: &str) -> io::Result<Self> {
        let name = format!("layerd-{what}-{}", uuid::Uuid::new_v4().simple());
        let path = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Scratch { path, keep: false })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it there.
    pub fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep {
            // What is left over is in a directory for such things.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_unless_it_is_wanted() {
        let dropped = Scratch::new("test").expect("a directory");
        std::fs::write(dropped.path().join("x"), "x").expect("a file");
        let path = dropped.path().to_owned();
        drop(dropped);
        assert!(!path.exists());
        let mut kept = Scratch::new("test").expect("a directory");
        kept.keep();
        let path = kept.path().to_owned();
        drop(kept);
        assert!(path.is_dir());
        std::fs::remove_dir(path).expect("removed");
    }
}
