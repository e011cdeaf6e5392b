//! Heatshrink (LZSS): a bit 1 and a byte, or a bit 0, how far back, and how many.

/// Unpacks `input` to exactly `size` bytes; `None` when it does not hold that many or points
/// outside.
pub fn unpack(input: &[u8], window_bits: u32, lookahead_bits: u32, size: usize) -> Option<Vec<u8>> {
    let mut bits = Bits { input, at: 0 };
    let mut out: Vec<u8> = Vec::with_capacity(size);
    while out.len() < size {
        if bits.take(1)? == 1 {
            out.push(bits.take(8)? as u8);
            continue;
        }
        let back = bits.take(window_bits)? as usize + 1;
        let count = (bits.take(lookahead_bits)? as usize + 1).min(size - out.len());
        for _ in 0..count {
            // What lies before the beginning is zero, as in the reference's fresh window.
            let byte = out
                .len()
                .checked_sub(back)
                .and_then(|at| out.get(at))
                .copied()
                .unwrap_or(0);
            out.push(byte);
        }
    }
    Some(out)
}

struct Bits<'a> {
    input: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    /// The next bits, highest first; at most 16.
    fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = *self.input.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_references() {
        // 'a' literal, then two back references of length 3 at distance 1: bits by hand.
        // 1 01100001 | 0 00000000000 0010 (window 11, lookahead 4)
        let bits = "1011000010000000000000010";
        let mut bytes = vec![0u8; bits.len().div_ceil(8)];
        for (i, bit) in bits.bytes().enumerate() {
            bytes[i / 8] |= (bit - b'0') << (7 - i % 8);
        }
        assert_eq!(unpack(&bytes, 11, 4, 4).as_deref(), Some(&b"aaaa"[..]));
        assert_eq!(unpack(&bytes, 11, 4, 40), None);
        assert_eq!(unpack(&[], 11, 4, 1), None);
    }
}
