//! MeatPack: two characters a byte for the fifteen that G-code is made of.

/// Unpacks a stream piece by piece.
#[derive(Clone, Debug, Default)]
pub struct MeatPack {
    packing: bool,
    no_spaces: bool,
    /// `FF` bytes seen in a row.
    signals: u8,
    /// A second `FF` was seen: the next byte is a command.
    command: bool,
    /// Literal bytes that still follow.
    literals: u8,
    /// A character that comes behind the literal.
    held: Option<u8>,
}

impl MeatPack {
    /// Unpacks the next bytes; at most two come out for each that goes in.
    pub fn push(&mut self, input: &[u8], out: &mut Vec<u8>) {
        for &byte in input {
            if byte == 0xff {
                if self.signals > 0 {
                    self.command = true;
                    self.signals = 0;
                } else {
                    self.signals = 1;
                }
            } else if self.command {
                self.command = false;
                self.obey(byte);
            } else {
                if self.signals > 0 {
                    self.signals = 0;
                    self.take(0xff, out);
                }
                self.take(byte, out);
            }
        }
    }

    fn obey(&mut self, command: u8) {
        match command {
            251 => self.packing = true,
            250 => self.packing = false,
            249 => *self = MeatPack::default(),
            247 => self.no_spaces = true,
            246 => self.no_spaces = false,
            _ => {}
        }
    }

    fn take(&mut self, byte: u8, out: &mut Vec<u8>) {
        if !self.packing {
            out.push(byte);
            return;
        }
        if self.literals > 0 {
            self.literals -= 1;
            out.push(byte);
            out.extend(self.held.take());
            return;
        }
        let (first, second) = (self.character(byte & 15), self.character(byte >> 4));
        match (first, second) {
            (None, None) => self.literals = 2,
            (None, Some(second)) => {
                self.literals = 1;
                self.held = Some(second);
            }
            (Some(first), second) => {
                out.push(first);
                // Behind a line end the other half is padding.
                if first != b'\n' {
                    match second {
                        Some(second) => out.push(second),
                        None => self.literals = 1,
                    }
                }
            }
        }
    }

    fn character(&self, nibble: u8) -> Option<u8> {
        match nibble {
            0..=9 => Some(b'0' + nibble),
            10 => Some(b'.'),
            11 => Some(if self.no_spaces { b'E' } else { b' ' }),
            12 => Some(b'\n'),
            13 => Some(b'G'),
            14 => Some(b'X'),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_lines_come_out() {
        let mut out = Vec::new();
        let mut pack = MeatPack::default();
        // On; "G1" = D,1; " X" = B,E; "1." = 1,A; "5\n" = 5,C; then "M" literal with '8' held.
        for piece in [
            &[0xff, 0xff, 251, 0x1d][..],
            &[0xeb, 0xa1, 0xc5, 0x8f],
            b"M",
            &[0xc4],
        ] {
            pack.push(piece, &mut out);
        }
        assert_eq!(out, b"G1 X1.5\nM84\n");
        pack.push(&[0xff, 0xff, 250], &mut out);
        pack.push(b";raw", &mut out);
        assert!(out.ends_with(b";raw"));
    }
}
