//! What goes to the terminal.

use std::io::{IsTerminal, Write};

use serde_json::Value;

/// One line to stdout. A reader that has gone (`| head`) is no mistake of ours.
pub fn line(text: impl AsRef<str>) {
    let _ = writeln!(std::io::stdout().lock(), "{}", text.as_ref());
}

/// One line to stderr.
pub fn err(text: impl AsRef<str>) {
    let _ = writeln!(std::io::stderr().lock(), "{}", text.as_ref());
}

/// A value to stdout, one line.
pub fn json(value: &Value) {
    line(value.to_string());
}

/// A text from outside (file name, the printer's words) that cannot steer the terminal.
pub fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// Whether a person looks at stdout.
pub fn is_tty() -> bool {
    std::io::stdout().is_terminal()
}

/// Whether a person looks at stderr, where progress bars are drawn.
pub fn is_err_tty() -> bool {
    std::io::stderr().is_terminal()
}

/// A duration as people say it.
pub fn duration(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s:02} s"),
        (h, m, _) => format!("{h} h {m:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_text_cannot_steer_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }

    #[test]
    fn durations_read_naturally() {
        assert_eq!(duration(5), "5 s");
        assert_eq!(duration(65), "1 min 05 s");
        assert_eq!(duration(3_725), "1 h 02 min");
    }
}
