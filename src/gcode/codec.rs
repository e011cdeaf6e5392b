//! Small whole numbers as bytes, for the index on disk.

use super::limits::MotionLimits;
use super::modal::{Feed, MAX_FANS, MAX_TOOLS, Modal, Plane};

/// Appends an unsigned number, seven bits a byte.
pub fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed number.
pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Takes an unsigned number from the front.
pub fn take(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = input.split_first()?;
        *input = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Takes a signed number from the front.
pub fn take_signed(input: &mut &[u8]) -> Option<i64> {
    let value = take(input)?;
    Some(((value >> 1) as i64) ^ -((value & 1) as i64))
}

/// Takes so many bytes from the front.
pub fn take_bytes<'a>(input: &mut &'a [u8], len: u64) -> Option<&'a [u8]> {
    let (head, rest) = input.split_at_checked(usize::try_from(len).ok()?)?;
    *input = rest;
    Some(head)
}

fn put_option(out: &mut Vec<u8>, value: Option<i64>) {
    match value {
        Some(value) => {
            out.push(1);
            put_signed(out, value);
        }
        None => out.push(0),
    }
}

fn take_option(input: &mut &[u8]) -> Option<Option<i64>> {
    match take(input)? {
        0 => Some(None),
        1 => Some(Some(take_signed(input)?)),
        _ => None,
    }
}

fn put_float(out: &mut Vec<u8>, value: Option<f32>) {
    put(out, value.map_or(0, |v| u64::from(v.to_bits()) + 1));
}

fn take_float(input: &mut &[u8]) -> Option<Option<f32>> {
    match take(input)? {
        0 => Some(None),
        bits => Some(Some(f32::from_bits(u32::try_from(bits - 1).ok()?)).filter(|v| v.is_finite())),
    }
}

/// Appends the modal state: about a hundred bytes.
pub fn put_modal(out: &mut Vec<u8>, modal: &Modal) {
    for value in modal.position.iter().chain(&modal.offset) {
        put_signed(out, *value);
    }
    let flags = [
        modal.absolute,
        modal.e_absolute,
        modal.g90_moves_e,
        modal.inches,
        modal.a_is_e,
        modal.firmware_retracted,
    ];
    put(
        out,
        flags
            .iter()
            .rev()
            .fold(0, |all, flag| all << 1 | u64::from(*flag)),
    );
    for value in [modal.placed, modal.homed, modal.plane as u8, modal.tool] {
        put(out, u64::from(value));
    }
    put_signed(out, modal.feed);
    put_signed(out, modal.e);
    put_option(out, modal.volumetric_diameter);
    put(out, modal.fed.len() as u64);
    for fed in &modal.fed {
        put_signed(out, fed.sum);
        put_signed(out, fed.peak);
    }
    put(out, modal.tool_targets.len() as u64);
    for target in modal
        .tool_targets
        .iter()
        .chain(&modal.fans)
        .chain([&modal.bed_target, &modal.chamber_target])
    {
        put_option(out, *target);
    }
    put_signed(out, modal.speed_percent);
    put_signed(out, modal.flow_percent);
    let l = &modal.limits;
    let single = [
        l.print_accel,
        l.travel_accel,
        l.retract_accel,
        l.junction_deviation,
        l.corner_speed,
        l.speed,
    ];
    for value in single
        .iter()
        .chain(&l.axis_accel)
        .chain(&l.axis_speed)
        .chain(&l.jerk)
    {
        put_float(out, *value);
    }
    put(out, u64::from(l.changes));
}

/// Reads what [`put_modal`] wrote.
pub fn take_modal(input: &mut &[u8]) -> Option<Modal> {
    let mut modal = Modal::default();
    for value in modal.position.iter_mut().chain(&mut modal.offset) {
        *value = take_signed(input)?;
    }
    let flags = take(input)?;
    let flag = |bit: u32| flags >> bit & 1 == 1;
    (modal.absolute, modal.e_absolute, modal.g90_moves_e) = (flag(0), flag(1), flag(2));
    (modal.inches, modal.a_is_e, modal.firmware_retracted) = (flag(3), flag(4), flag(5));
    modal.placed = u8::try_from(take(input)?).ok()?;
    modal.homed = u8::try_from(take(input)?).ok()?;
    modal.plane = match take(input)? {
        0 => Plane::Xy,
        1 => Plane::Xz,
        2 => Plane::Yz,
        _ => return None,
    };
    modal.tool = u8::try_from(take(input)?)
        .ok()
        .filter(|t| usize::from(*t) < MAX_TOOLS)?;
    modal.feed = take_signed(input)?;
    modal.e = take_signed(input)?;
    modal.volumetric_diameter = take_option(input)?;
    let tools = usize::try_from(take(input)?).ok().filter(|n| *n <= MAX_TOOLS)?;
    for _ in 0..tools {
        modal.fed.push(Feed {
            sum: take_signed(input)?,
            peak: take_signed(input)?,
        });
    }
    let targets = usize::try_from(take(input)?).ok().filter(|n| *n <= MAX_TOOLS)?;
    for _ in 0..targets {
        modal.tool_targets.push(take_option(input)?);
    }
    for fan in modal.fans.iter_mut().take(MAX_FANS) {
        *fan = take_option(input)?;
    }
    modal.bed_target = take_option(input)?;
    modal.chamber_target = take_option(input)?;
    modal.speed_percent = take_signed(input)?;
    modal.flow_percent = take_signed(input)?;
    let mut l = MotionLimits::default();
    let single = [
        &mut l.print_accel,
        &mut l.travel_accel,
        &mut l.retract_accel,
        &mut l.junction_deviation,
        &mut l.corner_speed,
        &mut l.speed,
    ];
    for value in single
        .into_iter()
        .chain(&mut l.axis_accel)
        .chain(&mut l.axis_speed)
        .chain(&mut l.jerk)
    {
        *value = take_float(input)?;
    }
    l.changes = u32::try_from(take(input)?).ok()?;
    modal.limits = l;
    Some(modal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn modal_states_survive() {
        let mut modal = Modal::default();
        for line in [
            "M83",
            "G28",
            "T1",
            "G1 X-1.5 Y2 Z.3 F900 E4",
            "M106 S99",
            "M104 S210",
            "M140 S60",
            "M204 P900",
            "G10",
            "G92 X1",
            "M200 D1.75",
            "G18",
            "M220 S50",
        ] {
            modal.apply(line.as_bytes());
        }
        let mut bytes = Vec::new();
        put_modal(&mut bytes, &modal);
        assert!(bytes.len() < 160, "{}", bytes.len());
        assert_eq!(take_modal(&mut bytes.as_slice()), Some(modal));
        for len in 0..bytes.len() {
            assert_eq!(take_modal(&mut &bytes[..len]), None);
        }
    }

    proptest! {
        #[test]
        fn numbers_survive(a: u64, b: i64) {
            let mut bytes = Vec::new();
            put(&mut bytes, a);
            put_signed(&mut bytes, b);
            let mut input = bytes.as_slice();
            prop_assert_eq!((take(&mut input), take_signed(&mut input), input.len()), (Some(a), Some(b), 0));
        }

        #[test]
        fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = take_modal(&mut bytes.as_slice());
        }
    }
}
