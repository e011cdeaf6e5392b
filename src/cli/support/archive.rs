//! The archive: texts with limits, cleaned of secrets as they go in, one zip that only its owner may read.

use std::fs::{File, OpenOptions};
use std::io::{Cursor, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use zip::write::{SimpleFileOptions, ZipWriter};

use crate::cli::exit::Failure;
use crate::config::scrub::Scrub;

/// Most bytes of one text. Of a longer one the end is kept: what went wrong last.
const TEXT_MAX: usize = 8 << 20;

/// Most bytes of all texts.
const ALL_MAX: usize = 48 << 20;

/// Most texts.
const ENTRIES_MAX: usize = 600;

/// What the archive says of itself.
const ABOUT: &str = "README.txt";

#[derive(Debug)]
struct Entry {
    name: String,
    what: &'static str,
    text: String,
}

/// Texts on their way into the file.
#[derive(Debug, Default)]
pub struct Archive {
    entries: Vec<Entry>,
    bytes: usize,
    dropped: usize,
}

/// What was written.
#[derive(Debug)]
pub struct Written {
    /// Of the file.
    pub bytes: usize,
    /// Name, bytes and meaning of each text.
    pub entries: Vec<(String, usize, &'static str)>,
}

impl Archive {
    /// Adds a text, or its end if it is long. What goes beyond the limits of all together is left out and
    /// counted.
    pub fn add(&mut self, name: &str, what: &'static str, text: String) {
        let text = end_of(text, TEXT_MAX);
        if self.entries.len() >= ENTRIES_MAX || self.bytes + text.len() > ALL_MAX {
            self.dropped += 1;
            return;
        }
        self.bytes += text.len();
        self.entries.push(Entry {
            name: name.to_owned(),
            what,
            text,
        });
    }

    /// Cleans and writes everything.
    ///
    /// # Errors
    /// The file is there, or cannot be written.
    pub fn write(
        mut self,
        target: &Path,
        overwrite: bool,
        scrub: &Scrub,
        blind: &[String],
    ) -> Result<Written, Failure> {
        for entry in &mut self.entries {
            entry.text = scrub.text(&entry.text);
        }
        let about = self.about(scrub, blind);
        self.entries.insert(
            0,
            Entry {
                name: ABOUT.to_owned(),
                what: "this list",
                text: scrub.text(&about),
            },
        );
        let bytes = self
            .packed()
            .map_err(|e| Failure::new(format!("The archive could not be made: {e}.")))?;
        save(target, overwrite, &bytes).map_err(|e| {
            Failure::new(format!(
                "{}: cannot be written: {e}. Name another place with --output.",
                target.display()
            ))
        })?;
        Ok(Written {
            bytes: bytes.len(),
            entries: self
                .entries
                .into_iter()
                .map(|e| (e.name, e.text.len(), e.what))
                .collect(),
        })
    }

    fn about(&self, scrub: &Scrub, blind: &[String]) -> String {
        let mut text = format!(
            "Made by \"layerd support\", version {}. Nothing was sent anywhere.\n\
             Secrets were replaced by ***: {} known texts (from the configuration, its files and the database)\n\
             wherever they stood, and whatever stands where secrets stand. Names of printers, files, hosts and\n\
             addresses are as they were: look before you send it.\n\n",
            env!("CARGO_PKG_VERSION"),
            scrub.known()
        );
        for why in blind {
            text.push_str(&format!(
                "LEFT OUT: logs, states and raw traffic, for not all secrets could be known: {why}\n"
            ));
        }
        if self.dropped > 0 {
            text.push_str(&format!(
                "LEFT OUT: {} texts beyond the size limit.\n",
                self.dropped
            ));
        }
        for entry in &self.entries {
            text.push_str(&format!(
                "{:>9}  {:<34} {}\n",
                entry.text.len(),
                entry.name,
                entry.what
            ));
        }
        text
    }

    fn packed(&self) -> zip::result::ZipResult<Vec<u8>> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().unix_permissions(0o600);
        for entry in &self.entries {
            zip.start_file(entry.name.as_str(), options)?;
            zip.write_all(entry.text.as_bytes())?;
        }
        Ok(zip.finish()?.into_inner())
    }
}

/// A name that is a file name everywhere.
pub fn plain(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = name
        .chars()
        .take(64)
        .map(|c| if plain(c) { c } else { '_' })
        .collect();
    match name.trim_start_matches('.') {
        "" => "_".to_owned(),
        name => name.to_owned(),
    }
}

fn end_of(text: String, most: usize) -> String {
    if text.len() <= most {
        return text;
    }
    let mut from = text.len() - most;
    while !text.is_char_boundary(from) {
        from += 1;
    }
    // From the beginning of a line: half a line may hold half a secret, which nobody would recognise.
    let rest = text.get(from..).unwrap_or_default();
    let rest = rest.split_once('\n').map_or("", |(_, whole)| whole);
    format!("(the beginning was left out: {from} bytes)\n{rest}")
}

/// Beside the target and then in its place, so that nothing half is ever there.
fn save(target: &Path, overwrite: bool, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    if !overwrite {
        return fill(options.open(target)?, bytes).inspect_err(|_| {
            let _ = std::fs::remove_file(target);
        });
    }
    let mut name = target.as_os_str().to_owned();
    name.push(format!(".{}", uuid::Uuid::new_v4().simple()));
    let beside = PathBuf::from(name);
    let written = fill(options.open(&beside)?, bytes).and_then(|()| std::fs::rename(&beside, target));
    written.inspect_err(|_| {
        let _ = std::fs::remove_file(&beside);
    })
}

fn fill(mut file: File, bytes: &[u8]) -> std::io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_text_the_end_is_kept_from_a_whole_line_on() {
        assert_eq!(end_of("short".to_owned(), 10), "short");
        let text = end_of("a long line\nänother\nlast\n".to_owned(), 14);
        assert_eq!(text, "(the beginning was left out: 12 bytes)\nlast\n");
    }

    #[test]
    fn names_cannot_leave_the_folder() {
        assert_eq!(plain("../../etc/passwd"), "_.._etc_passwd");
        assert_eq!(plain(".."), "_");
    }

    #[test]
    fn more_than_the_limit_is_left_out_and_counted() {
        let mut archive = Archive::default();
        for n in 0..10 {
            archive.add(&n.to_string(), "big", "x\n".repeat(TEXT_MAX / 2));
        }
        assert!(archive.dropped > 0 && archive.bytes <= ALL_MAX);
        assert!(
            archive
                .about(&Scrub::default(), &[])
                .contains("texts beyond the size limit")
        );
    }
}
