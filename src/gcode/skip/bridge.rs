//! The lines between what was left out and what comes next.

use std::io::Write as _;

use super::{Habits, Origin, fed};
use crate::fast;
use crate::lex::{Micro, UNIT};
use crate::modal::Modal;

/// How far the nozzle goes up over everything that stands.
const LIFT: Micro = 3 * UNIT / 5;
/// A shorter way needs no lift.
const NEAR: Micro = UNIT / 2;

/// Writes lines and keeps count of them.
struct Pen<'a, F> {
    sent: &'a mut Modal,
    out: &'a mut F,
    count: u16,
    line: Vec<u8>,
}

impl<F: FnMut(&[u8], Origin)> Pen<'_, F> {
    fn write(&mut self, parts: &[(&str, Micro)]) {
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        for (text, value) in parts {
            line.extend_from_slice(text.as_bytes());
            push_micro(&mut line, *value);
        }
        self.put(&line);
        self.line = line;
    }

    fn put(&mut self, line: &[u8]) {
        self.count += 1;
        self.sent.apply(line);
        (self.out)(line, Origin::Before(self.count));
    }

    /// Feeds filament (negative: draws it back), in whatever way E is counted.
    fn feed(&mut self, amount: Micro, feed: Micro) {
        if amount == 0 {
            return;
        }
        let amount = match self.sent.volumetric_diameter {
            Some(diameter) => volume_of(amount, diameter),
            None => amount,
        };
        let value = if self.sent.e_absolute {
            self.sent.e + amount
        } else {
            amount
        };
        self.write(&[("G1 E", value), (" F", feed)]);
    }
}

/// Draws the filament back as the program does before a travel, if it does.
pub(super) fn draw_back(sent: &mut Modal, habits: Habits, out: &mut impl FnMut(&[u8], Origin)) {
    let inches = sent.inches;
    let mut pen = pen(sent, out);
    if inches && !drawn_back(pen.sent, habits) {
        pen.put(b"G21");
    }
    let to = habits.retraction;
    retract(&mut pen, habits, to);
    if inches && !pen.sent.inches {
        pen.put(b"G20");
    }
}

fn drawn_back(sent: &Modal, habits: Habits) -> bool {
    let (sum, peak) = fed(sent);
    sent.firmware_retracted || (!habits.by_firmware && peak - sum >= habits.retraction)
}

fn retract<F: FnMut(&[u8], Origin)>(pen: &mut Pen<'_, F>, habits: Habits, to: Micro) {
    if drawn_back(pen.sent, habits) {
        return;
    }
    if habits.by_firmware {
        pen.put(b"G10");
        return;
    }
    let (sum, peak) = fed(pen.sent);
    pen.feed(peak - sum - to, habits.retract_feed);
}

fn pen<'a, F: FnMut(&[u8], Origin)>(sent: &'a mut Modal, out: &'a mut F) -> Pen<'a, F> {
    Pen {
        sent,
        out,
        // 1 is for what was put in behind the line before.
        count: 1,
        line: Vec::with_capacity(64),
    }
}

/// From what the printer is in to what the program believes.
pub(super) fn cross(sent: &mut Modal, file: &Modal, habits: Habits, out: &mut impl FnMut(&[u8], Origin)) {
    let mut pen = pen(sent, out);
    let ([x0, y0, z0], [x1, y1, z1]) = (pen.sent.position, file.position);
    let away = (x0, y0, z0) != (x1, y1, z1);
    let far = (x1 - x0).abs() > NEAR || (y1 - y0).abs() > NEAR;
    let same_e = e_of(pen.sent) == e_of(file) && pen.sent.firmware_retracted == file.firmware_retracted;
    if away || !same_e {
        if pen.sent.inches {
            pen.put(b"G21");
        }
        if !pen.sent.absolute {
            pen.put(b"G90");
        }
    }
    if away {
        if far {
            let wanted = habits.retraction.max(drawn(file));
            retract(&mut pen, habits, wanted);
        }
        travel(&mut pen, file, far, habits);
    }
    if pen.sent.firmware_retracted && !file.firmware_retracted {
        pen.put(b"G11");
    } else if !pen.sent.firmware_retracted && file.firmware_retracted {
        pen.put(b"G10");
    }
    let amount = drawn(pen.sent) - drawn(file);
    pen.feed(amount, habits.retract_feed);
    restore(&mut pen, file);
}

fn travel<F: FnMut(&[u8], Origin)>(pen: &mut Pen<'_, F>, file: &Modal, far: bool, habits: Habits) {
    let [x0, y0, z0] = pen.sent.position;
    let [x1, y1, z1] = file.position;
    let [ox, oy, oz] = pen.sent.offset;
    let f = habits.travel_feed;
    // Without a height of its own the head may stand anywhere: no lift from a guess.
    let height_known = pen.sent.placed & fast::Z != 0;
    let top = z0.max(z1) + if far && height_known { LIFT } else { 0 };
    if height_known && top != z0 {
        pen.write(&[("G0 Z", top - oz), (" F", f)]);
    }
    match (x0 != x1, y0 != y1) {
        (true, true) => pen.write(&[("G0 X", x1 - ox), (" Y", y1 - oy), (" F", f)]),
        (true, false) => pen.write(&[("G0 X", x1 - ox), (" F", f)]),
        (false, true) => pen.write(&[("G0 Y", y1 - oy), (" F", f)]),
        (false, false) => {}
    }
    let [_, _, z] = pen.sent.position;
    if z != z1 {
        pen.write(&[("G0 Z", z1 - oz), (" F", f)]);
    }
}

/// Modes, values and feed as the program has them.
fn restore<F: FnMut(&[u8], Origin)>(pen: &mut Pen<'_, F>, file: &Modal) {
    if pen.sent.offset != file.offset {
        let ([x, y, z], [ox, oy, oz]) = (file.position, file.offset);
        pen.write(&[("G92 X", x - ox), (" Y", y - oy), (" Z", z - oz)]);
    }
    if file.feed > 0 && pen.sent.feed != file.feed {
        pen.write(&[("G1 F", file.feed)]);
    }
    if !file.absolute && pen.sent.absolute {
        pen.put(b"G91");
    }
    if file.e_absolute != pen.sent.e_absolute {
        pen.put(if file.e_absolute { b"M82" } else { b"M83" });
    }
    if file.e_absolute && pen.sent.e != file.e {
        pen.write(&[("G92 E", file.e)]);
    }
    if file.inches && !pen.sent.inches {
        pen.put(b"G20");
    }
}

/// How far the filament is drawn back.
fn drawn(modal: &Modal) -> Micro {
    let (sum, peak) = fed(modal);
    peak - sum
}

/// What of E the printer has to share with the program.
fn e_of(modal: &Modal) -> (Micro, Option<Micro>) {
    (drawn(modal), modal.e_absolute.then_some(modal.e))
}

fn volume_of(length: Micro, diameter: Micro) -> Micro {
    let diameter = diameter as f64 / UNIT as f64;
    (length as f64 * std::f64::consts::FRAC_PI_4 * diameter * diameter).round() as Micro
}

/// A value as the program would write it.
pub(super) fn push_value(out: &mut Vec<u8>, value: Micro, inches: bool) {
    push_micro(out, if inches { value * 5 / 127 } else { value });
}

/// Millionths as a decimal number, exactly.
fn push_micro(out: &mut Vec<u8>, value: Micro) {
    if value < 0 {
        out.push(b'-');
    }
    let value = value.unsigned_abs();
    let unit = UNIT.unsigned_abs();
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{}", value / unit);
    let rest = value % unit;
    if rest != 0 {
        let _ = write!(out, ".{rest:06}");
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
}
