//! Texts that must not be shown.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// More than any key, code or password has.
const FILE_MAX_BYTES: u64 = 4096;
/// Where systemd puts what `LoadCredential=` of a unit names.
const CREDENTIALS: &str = "/run/credentials";

/// A secret. It prints as `***` everywhere; the text itself is asked for by name.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text of a file without the end of its line.
    ///
    /// # Errors
    /// Words that name the file and say why it cannot be read, and what to do where that is known.
    pub fn from_file(path: &Path) -> Result<Self, String> {
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(FILE_MAX_BYTES + 1).read_to_string(&mut text));
        let error = match read {
            Ok(count) if count as u64 <= FILE_MAX_BYTES => {
                return Ok(Secret::new(text.trim_end_matches(['\r', '\n'])));
            }
            Ok(_) => io::Error::other(format!("it is larger than {FILE_MAX_BYTES} bytes")),
            Err(error) => error,
        };
        let todo = match error.kind() {
            _ if !path.starts_with(CREDENTIALS) => "",
            io::ErrorKind::PermissionDenied => {
                " It is a credential of the service, which only root may look at: sudo layerd check."
            }
            io::ErrorKind::NotFound => {
                " A credential is there while the service runs, where LoadCredential= of its unit names it."
            }
            _ => "",
        };
        Err(format!("{}: {error}.{todo}", path.display()))
    }

    /// The text. Not for logs, errors or answers.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gives_its_line_or_words_that_help() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str, text: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let said = |path: &Path| Secret::from_file(path).unwrap_err();
        assert_eq!(
            Secret::from_file(&at("good", b" two words \r\n"))
                .unwrap()
                .reveal(),
            " two words "
        );
        assert!(said(&at("big", &[b'x'; 4097])).ends_with("big: it is larger than 4096 bytes."));
        assert!(said(&at("no-text", &[b'k', 0xff])).contains("no-text: "));
        assert!(said(&dir.path().join("none")).contains("none: No such file"));
        let credential = said(Path::new("/run/credentials/layerd.service/no-such.key"));
        assert!(credential.contains("LoadCredential="), "{credential}");
    }
}
