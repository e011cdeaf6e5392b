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
    /// Of each line: when, which way, how long. There are thousands, most of them "ok".
    entries: VecDeque<Entry>,
    bytes: VecDeque<u8>,
    limit_bytes: usize,
}

/// Time in microseconds since 1970, above one bit for the way and those for the length.
#[derive(Clone, Copy, Debug)]
struct Entry(i64);

/// Bits for the length of a line.
const LEN_BITS: u32 = 10;

impl Entry {
    fn new(wall_us: i64, way: Way, len: usize) -> Self {
        let way = i64::from(way == Way::Out);
        let len = i64::try_from(len).unwrap_or(0) & ((1 << LEN_BITS) - 1);
        Entry(wall_us << (LEN_BITS + 1) | way << LEN_BITS | len)
    }

    fn wall_us(self) -> i64 {
        self.0 >> (LEN_BITS + 1)
    }

    fn way(self) -> Way {
        if self.0 >> LEN_BITS & 1 == 1 {
            Way::Out
        } else {
            Way::In
        }
    }

    fn len(self) -> usize {
        usize::try_from(self.0 & ((1 << LEN_BITS) - 1)).unwrap_or(0)
    }
}

/// Longest line kept; the rest is cut.
pub const WIRE_LINE_MAX: usize = 512;

impl WireRing {
    /// A ring that takes at most `limit_bytes`, the texts and what is known of each.
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
        const EACH: usize = size_of::<Entry>();
        let line = line.get(..WIRE_LINE_MAX).unwrap_or(line);
        // A poisoned ring is still only text for people.
        let mut ring = self.inner.lock().unwrap_or_else(|e| e.into_inner());
        while ring.bytes.len() + line.len() + (ring.entries.len() + 1) * EACH > ring.limit_bytes {
            let Some(gone) = ring.entries.pop_front() else {
                break;
            };
            ring.bytes.drain(..gone.len());
        }
        ring.entries.push_back(Entry::new(wall_us, way, line.len()));
        ring.bytes.extend(line);
    }

    /// The lines, oldest first, as `2026-01-02T03:04:05.678901Z > G28` (`>` to the printer).
    pub fn dump(&self) -> Vec<String> {
        let ring = self.inner.lock().unwrap_or_else(|e| e.into_inner());
        let mut at = 0;
        ring.entries
            .iter()
            .map(|entry| {
                let text: Vec<u8> = ring.bytes.range(at..at + entry.len()).copied().collect();
                at += entry.len();
                let stamp = Timestamp::from_microsecond(entry.wall_us()).unwrap_or(Timestamp::UNIX_EPOCH);
                format!(
                    "{stamp:.6} {} {}",
                    if entry.way() == Way::Out { '>' } else { '<' },
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
        let ring = WireRing::new(25);
        ring.push(0, Way::Out, b"G28");
        ring.push(1, Way::In, b"ok");
        ring.push(2, Way::Out, b"M105");
        let lines = ring.dump();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].ends_with("< ok"), "{lines:?}");
        assert!(lines[1].ends_with("> M105"), "{lines:?}");
    }

    #[test]
    fn time_way_and_text_come_back_as_they_were() {
        let ring = WireRing::new(4096);
        let long = "x".repeat(WIRE_LINE_MAX + 100);
        ring.push(1_795_000_000_123_456, Way::In, long.as_bytes());
        ring.push(4_000_000_000_000_001, Way::Out, b"");
        let lines = ring.dump();
        assert_eq!(
            lines[0],
            format!("2026-11-18T11:06:40.123456Z < {}", &long[..WIRE_LINE_MAX])
        );
        assert!(
            lines[1].starts_with("2096-10-02T07:06:40.000001Z > "),
            "{lines:?}"
        );
    }
}
