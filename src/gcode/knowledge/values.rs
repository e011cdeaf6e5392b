//! Reading the values that slicers write: durations, lists, lengths with units.

use super::super::lex::{Micro, UNIT, number, trim};

/// Longest list of tools that is read.
const MAX_LIST: usize = 64;

/// A duration in seconds: `1d 2h 3m 4s`, `1 hours 42 minutes`, `10.16 minutes`, `806s`, `744`.
pub fn duration_s(text: &str) -> Option<f64> {
    let (mut rest, mut sum, mut any) = (text.trim().as_bytes(), 0.0, false);
    while let Ok((behind, value)) = number(trim(rest)) {
        let behind = trim(behind);
        let unit = match behind.first() {
            Some(b'd' | b'D') => 86_400.0,
            Some(b'h' | b'H') => 3_600.0,
            Some(b'm' | b'M') => 60.0,
            Some(b's' | b'S') | None => 1.0,
            Some(_) if any => break,
            Some(_) => 1.0,
        };
        sum += value as f64 / UNIT as f64 * unit;
        any = true;
        let letters = behind
            .iter()
            .position(|b| !b.is_ascii_alphabetic())
            .unwrap_or(behind.len());
        rest = behind.get(letters..).unwrap_or_default();
        if letters == 0 {
            break;
        }
    }
    (any && sum >= 0.0).then_some(sum)
}

/// Numbers of a list with `,` or `;` between them; what is no number is `None`.
pub fn list(text: &str) -> Vec<Option<f64>> {
    text.split([',', ';']).take(MAX_LIST).map(plain).collect()
}

/// A number at the beginning of a text.
pub fn plain(text: &str) -> Option<f64> {
    number(trim(text.as_bytes())).ok().map(|(_, n)| micro(n))
}

/// Lengths in mm: `620.4mm (1.5cm3)`, `1.50857m`, `0.0123m, 0.02m`, `4523.4 mm (4.52 m)`, `12.5`.
pub fn lengths_mm(text: &str) -> Vec<Option<f64>> {
    let outside = text.split('(').next().unwrap_or_default();
    outside
        .split([',', ';'])
        .take(MAX_LIST)
        .map(|one| {
            let (behind, value) = number(trim(one.as_bytes())).ok()?;
            let metres = matches!(trim(behind), [b'm'] | [b'm', b' ', ..]);
            Some(micro(value) * if metres { 1000.0 } else { 1.0 })
        })
        .collect()
}

/// Texts of a list with `;` (or, without any, `,`) between them, quotes taken off.
pub fn texts(text: &str) -> Vec<String> {
    let separator = if text.contains(';') { ';' } else { ',' };
    text.split(separator)
        .take(MAX_LIST)
        .map(|t| t.trim().trim_matches('"').trim().to_owned())
        .collect()
}

/// A height: `0.2`, or a share of another one: `75%`.
pub fn height_mm(text: &str, of_mm: Option<f64>) -> Option<f64> {
    let value = plain(text)?;
    if text.contains('%') {
        of_mm.map(|of| of * value / 100.0)
    } else {
        Some(value)
    }
    .filter(|h| *h > 0.0)
}

fn micro(value: Micro) -> f64 {
    value as f64 / UNIT as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_in_every_spelling() {
        for (text, seconds) in [
            ("1d 2h 3m 4s", 93_784.0),
            ("22m 3s", 1323.0),
            ("1 hours 42 minutes", 6120.0),
            ("1 hour 2 min 3 sec", 3723.0),
            ("10.16 minutes", 609.6),
            ("806s", 806.0),
            ("2588", 2588.0),
            ("0.419470s", 0.41947),
        ] {
            assert!((duration_s(text).unwrap() - seconds).abs() < 1e-6, "{text}");
        }
        assert_eq!(duration_s("#P_TIME#"), None);
        assert_eq!(duration_s(""), None);
    }

    #[test]
    fn lengths_know_their_units() {
        assert_eq!(lengths_mm("620.4mm (1.5cm3)"), [Some(620.4)]);
        assert_eq!(lengths_mm("1.5m, 0.02m"), [Some(1500.0), Some(20.0)]);
        assert_eq!(lengths_mm("4523.4 mm (4.52 m)"), [Some(4523.4)]);
        assert_eq!(lengths_mm("2126.98, 0.00"), [Some(2126.98), Some(0.0)]);
        assert_eq!(height_mm("50%", Some(0.2)), Some(0.1));
        assert_eq!(texts("PLA;\"PETG\""), ["PLA", "PETG"]);
        assert_eq!(list("nan,1.2"), [None, Some(1.2)]);
    }
}
