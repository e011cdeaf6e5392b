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

/// A bounded ring of raw lines. When full the oldest go, a block at a time.
#[derive(Debug)]
pub struct WireRing {
    inner: Mutex<Ring>,
}

/// Blocks of one size that are filled one after the other and used again: nothing is ever moved into something
/// bigger, which would leave holes of the old sizes in the memory of every printer's thread.
#[derive(Debug)]
struct Ring {
    /// Of each line: its entry and its text. A line is in one block.
    blocks: VecDeque<Vec<u8>>,
    most: usize,
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

/// Bytes of a block.
const BLOCK: usize = 4096;

impl WireRing {
    /// A ring that takes at most `limit_bytes` (two blocks at least), the texts and what is known of each.
    pub fn new(limit_bytes: usize) -> Self {
        WireRing {
            inner: Mutex::new(Ring {
                blocks: VecDeque::new(),
                most: (limit_bytes / BLOCK).max(2),
            }),
        }
    }

    /// Adds a line (without its line end). `wall_us`: microseconds since 1970.
    pub fn push(&self, wall_us: i64, way: Way, line: &[u8]) {
        let line = line.get(..WIRE_LINE_MAX).unwrap_or(line);
        // A poisoned ring is still only text for people.
        let mut ring = self.inner.lock().unwrap_or_else(|e| e.into_inner());
        ring.push(Entry::new(wall_us, way, line.len()), line);
    }

    /// The lines, oldest first, as `2026-01-02T03:04:05.678901Z > G28` (`>` to the printer).
    pub fn dump(&self) -> Vec<String> {
        let ring = self.inner.lock().unwrap_or_else(|e| e.into_inner());
        let mut lines = Vec::new();
        for block in &ring.blocks {
            let mut rest = block.as_slice();
            while let Some((head, behind)) = rest.split_first_chunk() {
                let entry = Entry(i64::from_le_bytes(*head));
                let (text, next) = behind.split_at_checked(entry.len()).unwrap_or((behind, &[]));
                rest = next;
                let stamp = Timestamp::from_microsecond(entry.wall_us()).unwrap_or(Timestamp::UNIX_EPOCH);
                lines.push(format!(
                    "{stamp:.6} {} {}",
                    if entry.way() == Way::Out { '>' } else { '<' },
                    String::from_utf8_lossy(text).escape_debug()
                ));
            }
        }
        lines
    }
}

impl Ring {
    fn push(&mut self, entry: Entry, text: &[u8]) {
        let len = size_of::<Entry>() + text.len();
        let mut block = match self.blocks.pop_back() {
            Some(block) if block.len() + len <= BLOCK => block,
            full => {
                self.blocks.extend(full);
                let spent = (self.blocks.len() >= self.most).then(|| self.blocks.pop_front());
                let mut block = spent.flatten().unwrap_or_else(|| Vec::with_capacity(BLOCK));
                block.clear();
                block
            }
        };
        block.extend_from_slice(&entry.0.to_le_bytes());
        block.extend_from_slice(text);
        self.blocks.push_back(block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_lines_go_first_and_order_is_kept() {
        let ring = WireRing::new(64 * 1024);
        for n in 0..20_000_i64 {
            ring.push(
                n,
                if n % 2 == 0 { Way::Out } else { Way::In },
                format!("line {n}").as_bytes(),
            );
        }
        let lines = ring.dump();
        assert!(
            lines.last().is_some_and(|l| l.ends_with("< line 19999")),
            "the newest is there"
        );
        let kept: Vec<i64> = lines
            .iter()
            .map(|l| {
                l.rsplit(' ')
                    .next()
                    .and_then(|n| n.parse().ok())
                    .expect("a number")
            })
            .collect();
        assert!(
            kept.windows(2).all(|pair| pair[1] == pair[0] + 1),
            "none is missing between"
        );
        // Eighteen bytes each: what is kept fills the ring but for one block.
        assert!(
            (60 * 1024 / 18..64 * 1024 / 18 + 1).contains(&kept.len()),
            "{}",
            kept.len()
        );
    }

    #[test]
    fn it_holds_what_it_may_and_not_a_byte_more() {
        let ring = WireRing::new(16 * 1024);
        for n in 0..5000 {
            ring.push(
                n,
                Way::In,
                "y".repeat(usize::try_from(n % 600).expect("small")).as_bytes(),
            );
        }
        let ring = ring.inner.lock().expect("not poisoned");
        let held: usize = ring.blocks.iter().map(Vec::capacity).sum();
        assert_eq!(held, 16 * 1024);
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
