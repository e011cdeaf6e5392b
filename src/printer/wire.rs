//! The last raw traffic of a printer, kept in memory: `layerd logs --wire`.

use std::collections::VecDeque;
use std::sync::Mutex;

use jiff::Timestamp;

/// Which way a line went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From us to the printer.
    Out,
    /// From the printer to us.
    In,
}

/// A bounded ring of raw lines. When full the oldest bytes go.
#[derive(Debug)]
pub struct WireRing {
    inner: Mutex<Ring>,
}

#[derive(Debug)]
struct Ring {
    entries: VecDeque<(i64, Way, u16)>,
    bytes: VecDeque<u8>,
    limit_bytes: usize,
}

/// Longest line kept; the rest is cut.
pub const WIRE_LINE_MAX: usize = 512;

impl WireRing {
    /// A ring that holds at most `limit_bytes` of text.
    pub fn new(limit_bytes: usize) -> Self {
        WireRing {
            inner: Mutex::new(Ring {
                entries: VecDeque::new(),
                bytes: VecDeque::new(),
                limit_bytes,
            }),
        }
    }

    /// Adds a line (without its line end). `wall_us`: microseconds since 1970.
    pub fn push(&self, wall_us: i64, way: Way, line: &[u8]) {
        let line = line.get(..WIRE_LINE_MAX).unwrap_or(line);
        // A poisoned ring is still only text for people.
        let mut ring = self.inner.lock().unwrap_or_else(|e| e.into_inner());
        while ring.bytes.len() + line.len() > ring.limit_bytes {
            let Some((_, _, len)) = ring.entries.pop_front() else {
                break;
            };
            ring.bytes.drain(..usize::from(len));
        }
        ring.entries.push_back((wall_us, way, line.len() as u16));
        ring.bytes.extend(line);
    }

    /// The lines, oldest first, as `2026-01-02T03:04:05.678901Z > G28` (`>` to the printer).
    pub fn dump(&self) -> Vec<String> {
        let ring = self.inner.lock().unwrap_or_else(|e| e.into_inner());
        let mut at = 0;
        ring.entries
            .iter()
            .map(|(us, way, len)| {
                let text: Vec<u8> = ring.bytes.range(at..at + usize::from(*len)).copied().collect();
                at += usize::from(*len);
                let stamp = Timestamp::from_microsecond(*us).unwrap_or(Timestamp::UNIX_EPOCH);
                format!(
                    "{stamp:.6} {} {}",
                    if *way == Way::Out { '>' } else { '<' },
                    String::from_utf8_lossy(&text).escape_debug()
                )
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_lines_go_first_and_order_is_kept() {
        let ring = WireRing::new(8);
        ring.push(0, Way::Out, b"G28");
        ring.push(1, Way::In, b"ok");
        ring.push(2, Way::Out, b"M105");
        let lines = ring.dump();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].ends_with("< ok"), "{lines:?}");
        assert!(lines[1].ends_with("> M105"), "{lines:?}");
    }
}
