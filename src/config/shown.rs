//! A configuration as others may see it: in a support archive, in a question to strangers.
//!
//! Kept is only what the configuration itself has read as no secret, and the frame around it: names of
//! tables and keys, brackets, lines. Everything else is replaced: secrets, keys that nobody knows (a secret
//! behind a key with a typing error), comments (a secret that was commented out), what is not TOML at all.

use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnose::{Diagnostics, Plain};
use super::scrub::{self, Scrub};
use super::secrets::Secret;
use crate::sorted;

/// What stands for something that is not shown.
const HIDDEN: &str = "\"***\"";

/// Shorter texts that merely nobody vouches for are not looked for elsewhere: `"on"` is everywhere.
const UNKNOWN_MIN: usize = 6;

/// A configuration in parts: for others, and for nobody.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The text without secrets; every line where it was.
    pub text: String,
    /// The texts that are not shown, to be looked for elsewhere.
    pub secrets: Vec<Secret>,
    /// Files that hold secrets.
    pub files: Vec<PathBuf>,
}

/// What is done with a piece of the text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    Key,
    Value(Plain),
    Hidden,
}

impl Shown {
    /// Of a text and of what was noted while it was read.
    pub(super) fn of(text: &str, notes: &Diagnostics) -> Self {
        let (root, _) = DeTable::parse_recoverable(text);
        let mut walk = Walk {
            notes,
            pieces: Vec::new(),
            secrets: Vec::new(),
            files: Vec::new(),
        };
        walk.table(root.get_ref());
        let Walk {
            pieces,
            secrets,
            files,
            ..
        } = walk;
        Shown {
            text: render(text, pieces),
            secrets,
            files,
        }
    }
}

struct Walk<'a> {
    notes: &'a Diagnostics,
    pieces: Vec<(Range<usize>, Piece)>,
    secrets: Vec<Secret>,
    files: Vec<PathBuf>,
}

impl Walk<'_> {
    fn table(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            let name: &str = key.get_ref();
            let piece = if plain_key(name) {
                Piece::Key
            } else {
                Piece::Hidden
            };
            self.pieces.push((key.span(), piece));
            let holds = ["access_code_file", "password_file", "api_key_file"].contains(&name);
            if let Some(path) = value.get_ref().as_str().filter(|_| holds) {
                self.files.push(PathBuf::from(path));
            }
            self.value(value);
        }
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>) {
        let span = value.span();
        let vouched = self.notes.plain().iter().find(|(at, _)| *at == span);
        let plain = vouched.map(|(_, plain)| *plain);
        match (plain, value.get_ref()) {
            (_, DeValue::Table(table)) => self.table(table),
            (Some(plain), inner) => {
                if let Some(text) = inner.as_str() {
                    self.secrets.extend(scrub::in_address(text, plain == Plain::Host));
                }
                self.pieces.push((span, Piece::Value(plain)));
            }
            (None, DeValue::Array(array)) => {
                for one in array.iter() {
                    self.value(one);
                }
            }
            (None, inner) => {
                let known = self.notes.secret().contains(&span);
                if let Some(text) = inner.as_str()
                    && (known || text.len() >= UNKNOWN_MIN)
                {
                    self.secrets.push(Secret::new(text));
                }
                self.pieces.push((span, Piece::Hidden));
            }
        }
    }
}

/// A bare key, as the names of keys and printers are.
fn plain_key(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    !name.is_empty() && name.len() <= 64 && name.chars().all(plain)
}

fn render(text: &str, mut pieces: Vec<(Range<usize>, Piece)>) -> String {
    sorted::by_key(&mut pieces, |(at, _)| (at.start, at.end));
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for (at, piece) in pieces {
        // Of tables that are spread over the file the parser gives one place; overlaps are its business.
        let (Some(between), Some(own)) = (text.get(done..at.start), text.get(at.clone())) else {
            continue;
        };
        frame(between, piece == Piece::Key, &mut out);
        done = at.end;
        match piece {
            Piece::Key => out.push_str(own),
            Piece::Value(Plain::Whole) => out.push_str(&Scrub::default().text(own)),
            Piece::Value(Plain::Host) => out.push_str(&scrub::host_only(own)),
            Piece::Hidden => {
                out.push_str(HIDDEN);
                out.extend(own.matches('\n'));
            }
        }
    }
    frame(text.get(done..).unwrap_or_default(), false, &mut out);
    out
}

/// What stands between keys and values.
fn frame(text: &str, before_key: bool, out: &mut String) {
    let mut lines = text.split('\n').peekable();
    while let Some(line) = lines.next() {
        let more = lines.peek().is_some();
        // `[printer.` before a name: the parser gives a table that comes several times one place.
        let head = line.trim_start().trim_start_matches('[');
        if !more && before_key && head.ends_with('.') && plain_key(head) {
            out.push_str(line);
        } else {
            frame_of_line(line, out);
        }
        out.extend(more.then_some('\n'));
    }
}

fn frame_of_line(line: &str, out: &mut String) {
    // Headers of tables and keys that the parser did not get to.
    let rest = line.trim_start();
    let inner = rest.trim_end().trim_start_matches('[').trim_end_matches(']');
    if rest.starts_with('[') && rest.trim_end().ends_with(']') && plain_key(inner) {
        out.push_str(line);
        return;
    }
    let mut rest = line;
    if let Some((key, _)) = line.split_once('=')
        && plain_key(key.trim())
    {
        out.push_str(key);
        rest = line.get(key.len()..).unwrap_or_default();
    }
    let mut hidden = false;
    for c in rest.chars() {
        match c {
            '#' => {
                out.push_str("# ***");
                return;
            }
            '[' | ']' | '{' | '}' | '=' | ',' | '.' => out.push(c),
            c if c.is_whitespace() => out.push(c),
            _ if hidden => continue,
            _ => {
                out.push_str("***");
                hidden = true;
                continue;
            }
        }
        hidden = false;
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::{Surroundings, shown};
    use super::*;

    fn of(text: &str) -> Shown {
        shown(text, &Surroundings::default(), &["x"], &mut |_, _, section| {
            let port = section.string("port");
            section.secret("code");
            port
        })
    }

    #[test]
    fn what_nobody_vouches_for_is_not_shown_and_every_line_stays() {
        let text = "# hush1\n[printer.a] # hush2\ndriver = \"x\"\nport = '''\none\ntwo'''\ncode = \"\"\"\nhush3\nhush4\"\"\"\n\
            codd = \"hush5\"\nbed = [1, 2, 3]\n[printer.b]\ndriver = \"x\"\ncode = [\"hush6\", 7]\n\
            power.kind = \"tasmota\"\npower.url = \"http://u:hush7@h/x?hush8\"\npower.password = \"hush9\"\n";
        let shown = of(text);
        assert!(!shown.text.contains("hush"), "{}", shown.text);
        assert_eq!(shown.text.lines().count(), text.lines().count());
        for line in [
            "[printer.a] # ***",
            "one",
            "codd = \"***\"",
            "bed = [1, 2, 3]",
            "[printer.b]",
            "code = [\"***\", \"***\"]",
            "power.kind = \"tasmota\"",
            "power.url = \"http://***@h/***\"",
        ] {
            assert!(shown.text.lines().any(|l| l == line), "{line}: {}", shown.text);
        }
        for known in ["hush3\nhush4", "hush9", "u:hush7"] {
            assert!(shown.secrets.iter().any(|s| s.reveal() == known), "{known}");
        }
    }

    #[test]
    fn of_what_is_no_toml_nothing_is_shown() {
        for text in [
            "code \"hush12\"",
            "[printer.a]\ncode = hush12",
            "[printer.a]\ncode = \"hush12\ndriver = \"x\"",
            "[[[hush12 x",
            "code = \"hush12\"",
            "[printer.a]\ndriver = \"x\"\ncode = \"a\"\ncode = \"hush12\"",
        ] {
            let shown = of(text).text;
            assert!(!shown.contains("hush12"), "{text}: {shown}");
            assert_eq!(shown.matches('\n').count(), text.matches('\n').count());
        }
    }
}
