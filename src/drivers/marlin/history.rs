//! The lines sent last, byte for byte as they went out, so that a `Resend` gets the same again.

use std::fmt;

use super::silence::Patience;

/// Lines kept. Marlin asks back at most as far as its queue and our window reach; PrusaLink keeps 100.
pub const HISTORY_LINES: u32 = 64;

/// Longest line on the wire without its line end (`MAX_CMD_SIZE` is 96 with the terminator).
pub const WIRE_MAX: usize = 95;

/// Where a line of the program stands in its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Place {
    /// Line of the file, from 1.
    pub source_line: u32,
    /// Layer, from 1; 0: unknown.
    pub layer: u32,
    /// File offset behind it.
    pub byte_end: u64,
    /// 0: a line of the file. Else it was put in behind what was left out up to there.
    #[serde(default)]
    pub step: u16,
}

impl Place {
    /// Whether it comes behind another in the stream.
    pub fn is_behind(&self, byte_end: u64, step: u16) -> bool {
        (self.byte_end, self.step) > (byte_end, step)
    }
}

/// Whose line it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// A line of the running program.
    Program(Place),
    /// A line of a script of ours.
    Step,
    /// A line somebody asked for; its running number.
    User(u32),
    /// `M105`.
    Temps,
}

/// One line as it was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// With number, checksum and line end.
    pub wire: Vec<u8>,
    /// Whose it is.
    pub tag: Tag,
    /// How long it may take.
    pub patience: Patience,
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "History({}..{})", self.oldest, self.next)
    }
}

/// A ring of sent lines by number. Buffers are reused: nothing is allocated per line.
pub struct History {
    slots: Vec<Sent>,
    /// The next number to give away.
    next: u32,
    /// The oldest number still held.
    oldest: u32,
}

impl History {
    /// An empty history whose next number is `next`.
    pub fn starting_at(next: u32) -> Self {
        let slot = Sent {
            wire: Vec::with_capacity(WIRE_MAX + 1),
            tag: Tag::Step,
            patience: Patience::Short,
        };
        History {
            slots: vec![slot; HISTORY_LINES as usize],
            next,
            oldest: next,
        }
    }

    /// Forgets everything; the next number is `next`.
    pub fn restart_at(&mut self, next: u32) {
        self.next = next;
        self.oldest = next;
    }

    /// The next number to give away.
    pub fn next(&self) -> u32 {
        self.next
    }

    /// The oldest number still held.
    pub fn oldest(&self) -> u32 {
        self.oldest
    }

    /// The line of a number.
    pub fn get(&self, number: u32) -> Option<&Sent> {
        if number < self.oldest || number >= self.next {
            return None;
        }
        self.slots.get((number % HISTORY_LINES) as usize)
    }

    /// Numbers a text, remembers it and returns its number; `None` when it is too long for the wire.
    pub fn add(&mut self, text: &[u8], tag: Tag, patience: Patience) -> Option<u32> {
        let number = self.next;
        let slot = self.slots.get_mut((number % HISTORY_LINES) as usize)?;
        slot.wire.clear();
        slot.wire.push(b'N');
        push_number(&mut slot.wire, number);
        slot.wire.push(b' ');
        slot.wire.extend_from_slice(text);
        let sum = slot.wire.iter().fold(0u8, |sum, b| sum ^ b);
        slot.wire.push(b'*');
        push_number(&mut slot.wire, u32::from(sum));
        if slot.wire.len() > WIRE_MAX {
            // The slot held the line `HISTORY_LINES` ago, which nobody can ask for any more.
            self.oldest = self.oldest.max(number.saturating_sub(HISTORY_LINES - 1));
            return None;
        }
        slot.wire.push(b'\n');
        slot.tag = tag;
        slot.patience = patience;
        self.next = number + 1;
        self.oldest = self.oldest.max(self.next.saturating_sub(HISTORY_LINES));
        Some(number)
    }
}

/// Appends a number in decimal without going through the formatter.
fn push_number(out: &mut Vec<u8>, mut value: u32) {
    let mut digits = [0u8; 10];
    let mut at = digits.len();
    loop {
        at -= 1;
        if let Some(slot) = digits.get_mut(at) {
            *slot = b'0' + (value % 10) as u8;
        }
        value /= 10;
        if value == 0 || at == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_numbered_and_summed_as_the_firmware_wants_it() {
        let mut history = History::starting_at(0);
        let n = history
            .add(b"M110 N0", Tag::Step, Patience::Short)
            .expect("short");
        assert_eq!(history.get(n).expect("kept").wire, b"N0 M110 N0*125\n");
    }

    #[test]
    fn old_lines_leave_and_the_same_bytes_come_back() {
        let mut history = History::starting_at(1);
        for i in 0..200 {
            history
                .add(format!("G1 X{i}").as_bytes(), Tag::Step, Patience::Short)
                .expect("short");
        }
        assert_eq!((history.oldest(), history.next()), (201 - HISTORY_LINES, 201));
        assert!(history.get(100).is_none());
        assert!(history.get(200).expect("kept").wire.starts_with(b"N200 G1 X199*"));
        assert!(history.get(201).is_none());
    }

    #[test]
    fn a_line_of_96_characters_is_refused_and_one_of_95_is_not() {
        let mut history = History::starting_at(1);
        // "N1 " + text + "*nn": six characters around it, or seven with a checksum of three digits.
        let long = vec![b'A'; 90];
        assert_eq!(history.add(&long, Tag::Step, Patience::Short), None);
        let text = vec![b'A'; 88];
        let n = history.add(&text, Tag::Step, Patience::Short).expect("fits");
        assert!(history.get(n).expect("kept").wire.len() <= WIRE_MAX + 1);
    }
}
