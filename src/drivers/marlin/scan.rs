//! Small readers of bytes from a line that may be damaged: no panics, no allocation.

/// Without blanks, line ends and NULs at both ends.
pub fn trim(mut line: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\r' | b'\n' | 0, rest @ ..] = line {
        line = rest;
    }
    while let [rest @ .., b' ' | b'\t' | b'\r' | b'\n' | 0] = line {
        line = rest;
    }
    line
}

/// Whether it begins so, whatever the case.
pub fn starts_no_case(line: &[u8], prefix: &[u8]) -> bool {
    line.get(..prefix.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(prefix))
}

/// Whether it holds these words, whatever the case.
pub fn contains_no_case(line: &[u8], needle: &[u8]) -> bool {
    line.windows(needle.len().max(1))
        .any(|w| w.eq_ignore_ascii_case(needle))
}

/// The decimal number at the beginning and its length; `None` without one or beyond 32 bits.
pub fn number_at(text: &[u8]) -> Option<(u32, usize)> {
    let len = text.iter().take_while(|b| b.is_ascii_digit()).count();
    if len == 0 || len > 10 {
        return None;
    }
    let mut value: u64 = 0;
    for digit in text.get(..len)? {
        value = value * 10 + u64::from(digit - b'0');
    }
    u32::try_from(value).ok().map(|n| (n, len))
}

/// The decimal fraction at the beginning (`-1.25`, `.5`) and its length. No exponents: firmware reads
/// `E` as an axis.
pub fn float_at(text: &[u8]) -> Option<(f64, usize)> {
    const TENTHS: [f64; 10] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
    let mut at = 0;
    let negative = match text.first() {
        Some(b'-') => {
            at = 1;
            true
        }
        Some(b'+') => {
            at = 1;
            false
        }
        _ => false,
    };
    let (mut digits, mut whole, mut places, mut point) = (0u32, 0u64, 0usize, false);
    while let Some(b) = text.get(at) {
        match b {
            b'0'..=b'9' => {
                digits += 1;
                // Beyond 17 digits nothing changes what a printer does.
                if digits <= 17 && places < 9 {
                    whole = whole * 10 + u64::from(b - b'0');
                    places += usize::from(point);
                } else if !point {
                    return None;
                }
            }
            b'.' if !point => point = true,
            _ => break,
        }
        at += 1;
    }
    if digits == 0 {
        return None;
    }
    let value = whole as f64 / TENTHS.get(places).copied().unwrap_or(1.0);
    Some((if negative { -value } else { value }, at))
}

/// The value of a word in a command (`S` in `M104 T1 S210`); the first letter with a number counts.
pub fn word(text: &[u8], letter: u8) -> Option<f64> {
    let mut at = command_len(text);
    while let Some(b) = text.get(at) {
        if b.to_ascii_uppercase() == letter
            && let Some((value, _)) = text.get(at + 1..).and_then(float_at)
        {
            return Some(value);
        }
        at += 1;
    }
    None
}

/// Whether a letter stands in a command at all (`R` in `M109 R90`, bare `X` in `G28 X`).
pub fn has_word(text: &[u8], letter: u8) -> bool {
    text.get(command_len(text)..)
        .unwrap_or_default()
        .iter()
        .any(|b| b.to_ascii_uppercase() == letter)
}

/// Letter and number of a command: `(b'G', 28)`; the fraction of `G29.1` is not looked at.
pub fn command(text: &[u8]) -> Option<(u8, u32)> {
    let letter = text.first()?.to_ascii_uppercase();
    let (number, _) = number_at(text.get(1..)?)?;
    Some((letter, number))
}

fn command_len(text: &[u8]) -> usize {
    1 + text
        .iter()
        .skip(1)
        .take_while(|b| b.is_ascii_digit() || **b == b'.')
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_with_and_without_blanks() {
        assert_eq!(word(b"M104 T1 S210", b'S'), Some(210.0));
        assert_eq!(word(b"G1X5.25Y-3", b'Y'), Some(-3.0));
        assert_eq!(word(b"G1X1E2", b'E'), Some(2.0));
        assert_eq!(word(b"G28 X", b'X'), None);
        assert!(has_word(b"G28 X", b'X'));
        assert_eq!(command(b"g1 x5"), Some((b'G', 1)));
        assert_eq!(command(b"T?"), None);
    }

    #[test]
    fn fractions_are_read_as_firmware_reads_them() {
        assert_eq!(float_at(b"-.5 "), Some((-0.5, 3)));
        assert_eq!(float_at(b"12.3456789012"), Some((12.345678901, 13)));
        assert_eq!(float_at(b"1e5"), Some((1.0, 1)));
        assert_eq!(float_at(b"-"), None);
        assert_eq!(float_at(b"99999999999999999999"), None);
    }
}
