//! What a file server says on its control connection and in its listings. Pure.

use std::fmt;

/// Longest line of a server, bytes.
const LINE_MAX: usize = 1024;
/// Lines of one answer.
const LINES_MAX: usize = 64;

/// One answer: its number and its last line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Three digits.
    pub code: u16,
    /// The line with the number.
    pub text: String,
}

/// What no file server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nonsense {
    /// A line without a number where an answer begins.
    NoNumber(String),
    /// A line longer than any.
    LongLine,
    /// An answer without an end.
    Endless,
}

impl fmt::Display for Nonsense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Nonsense::NoNumber(line) => f.write_str(line),
            Nonsense::LongLine => f.write_str("the file server sends a line without end"),
            Nonsense::Endless => f.write_str("the file server sends an answer without end"),
        }
    }
}

/// Cuts a stream of bytes into answers, wherever its pieces begin and end.
#[derive(Debug, Default)]
pub struct Replies {
    bytes: Vec<u8>,
    /// The number of an answer of several lines, and how many there were.
    several: Option<(u16, usize)>,
}

impl Replies {
    /// Takes what was read. Pieces are to be no longer than a line may be.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole answer; `None`: more bytes are needed.
    ///
    /// # Errors
    /// This is no file server.
    pub fn take(&mut self) -> Result<Option<Reply>, Nonsense> {
        while let Some(end) = self.bytes.iter().position(|b| *b == b'\n') {
            if end > LINE_MAX {
                return Err(Nonsense::LongLine);
            }
            let line: Vec<u8> = self.bytes.drain(..=end).collect();
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            let code = text.get(..3).and_then(number);
            let goes_on = text.as_bytes().get(3) == Some(&b'-');
            match (self.several, code) {
                (Some((first, _)), Some(code)) if code == first && !goes_on => {
                    self.several = None;
                    return Ok(Some(Reply { code, text }));
                }
                (Some((_, lines)), _) if lines >= LINES_MAX => return Err(Nonsense::Endless),
                (Some((first, lines)), _) => self.several = Some((first, lines + 1)),
                (None, Some(code)) if goes_on => self.several = Some((code, 1)),
                (None, Some(code)) => return Ok(Some(Reply { code, text })),
                (None, None) => return Err(Nonsense::NoNumber(text.chars().take(80).collect())),
            }
        }
        match self.bytes.len() > LINE_MAX {
            true => Err(Nonsense::LongLine),
            false => Ok(None),
        }
    }
}

fn number(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|n| plain && *n >= 100)
}

/// The port of `227 Entering Passive Mode (127,0,0,1,31,144).`
pub fn passive_port(text: &str) -> Option<u16> {
    let inside = text.split('(').nth(1)?.split(')').next()?;
    let numbers: Vec<u16> = inside
        .split(',')
        .map(|n| n.trim().parse::<u8>().map(u16::from))
        .collect::<Result<_, _>>()
        .ok()?;
    match numbers.as_slice() {
        [_, _, _, _, high, low] => Some(high << 8 | low).filter(|port| *port != 0),
        _ => None,
    }
}

/// Bytes of a file in a listing as `ls -l` prints it: the fifth word, where the last is its name.
pub fn listed_size(listing: &str, name: &str) -> Option<u64> {
    listing.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next_back()? == name).then(|| line.split_whitespace().nth(4)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8], piece: usize) -> (Vec<u16>, Result<(), Nonsense>) {
        let mut replies = Replies::default();
        let mut codes = Vec::new();
        for part in bytes.chunks(piece) {
            replies.push(part);
            loop {
                match replies.take() {
                    Ok(Some(reply)) => codes.push(reply.code),
                    Ok(None) => break,
                    Err(nonsense) => return (codes, Err(nonsense)),
                }
            }
        }
        (codes, Ok(()))
    }

    #[test]
    fn answers_are_the_same_however_they_are_cut() {
        let said =
            b"220-welcome\r\n220-to 220 this\r\n 230 no\r\n220 printer\r\n331 code\n530 Login incorrect.\r\n";
        for piece in 1..said.len() {
            assert_eq!(
                all(said, piece),
                (vec![220, 331, 530], Ok(())),
                "pieces of {piece}"
            );
        }
    }

    #[test]
    fn what_is_no_file_server_is_told_apart() {
        let words = |n: usize| "x".repeat(n);
        assert_eq!(
            all(b"HTTP/1.1 400 Bad Request\r\n", 7).1,
            Err(Nonsense::NoNumber("HTTP/1.1 400 Bad Request".into()))
        );
        assert_eq!(all(words(1025).as_bytes(), 100).1, Err(Nonsense::LongLine));
        assert_eq!(
            all(format!("{}\n", words(1025)).as_bytes(), 2000).1,
            Err(Nonsense::LongLine)
        );
        assert_eq!(
            all("220-on and on\r\n".repeat(80).as_bytes(), 9).1,
            Err(Nonsense::Endless)
        );
        assert_eq!(all(b"+12 no\r\n", 8).1, Err(Nonsense::NoNumber("+12 no".into())));
    }

    #[test]
    fn the_port_is_read_from_the_servers_words() {
        assert_eq!(
            passive_port("227 Entering Passive Mode (192,168,0,3,31,144)."),
            Some(31 * 256 + 144)
        );
        for bad in [
            "227 nonsense",
            "227 (1,2,3,4,500,1)",
            "227 (1,2,3,4,0,0)",
            "227 (1,2,3,4,5)",
        ] {
            assert_eq!(passive_port(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_size_is_found_in_a_listing() {
        let listing = "drwxr-xr-x 2 0 0 4096 Jan 01 00:00 cache\r\n-rw-r--r-- 1 0 0 812345 Jan 01 2024 a-01.gcode.3mf\r\n";
        assert_eq!(listed_size(listing, "a-01.gcode.3mf"), Some(812_345));
        assert_eq!(listed_size(listing, "b.3mf"), None);
        assert_eq!(
            listed_size("a-01.gcode.3mf\r\n", "a-01.gcode.3mf"),
            None,
            "a bare name has no size"
        );
    }
}
