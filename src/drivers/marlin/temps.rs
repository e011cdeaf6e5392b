//! Temperatures out of every form in which firmware reports them.
//!
//! A field is a name, a colon, a number, and perhaps a slash and a target, with blanks in between or
//! not: `T:210.0 /210.0`, `T:210.0/210.0`, `T:21.30/ 0.00`, `T:210`, `T0:21.3 /0.0`.

use super::scan::{float_at, starts_no_case, trim};
use crate::printer::model::Heater;

/// One temperature of a report.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Which.
    pub heater: Heater,
    /// Measured, °C.
    pub actual_c: f32,
    /// Wanted, °C, where the line says.
    pub target_c: Option<f32>,
}

/// What a report holds beside temperatures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// `W:`: the printer waits for a temperature (an `M109` or `M190` is running).
    pub waiting: bool,
    /// At least one reading was found.
    pub any: bool,
}

/// Hands each reading to `take`. `active_tool` is whom a bare `T:` means when no `T0:` is there.
pub fn read(line: &[u8], active_tool: u8, mut take: impl FnMut(Reading)) -> Extras {
    let mut extras = Extras::default();
    if let Some(target) = repetier_target(line) {
        extras.any = true;
        take(target);
        return extras;
    }
    let numbered = fields(line).any(|f| matches!(f.name, [b'T', b'0'..=b'9']));
    // Smoothie and others: `T:` is tool 0 when `T1:` follows but no `T0:`.
    let zero = fields(line).any(|f| f.name == b"T0");
    for field in fields(line) {
        let heater = match field.name {
            b"T" if zero => continue,
            b"T" if numbered => Heater::Tool(0),
            b"T" => Heater::Tool(active_tool),
            [b'T', digit @ b'0'..=b'9'] => Heater::Tool(digit - b'0'),
            b"B" => Heater::Bed,
            b"C" => Heater::Chamber,
            b"P" => Heater::Probe,
            b"A" => Heater::Ambient,
            b"M" => Heater::Board,
            b"R" => Heater::Redundant,
            b"L" => Heater::Cooler,
            b"W" => {
                extras.waiting = true;
                continue;
            }
            _ => continue,
        };
        if let Some(actual_c) = field.value {
            extras.any = true;
            take(Reading {
                heater,
                actual_c,
                target_c: field.target,
            });
        }
    }
    extras
}

struct Field<'a> {
    name: &'a [u8],
    value: Option<f32>,
    target: Option<f32>,
}

/// `NAME:value /target` fields; a name begins at the line's begin or behind a blank.
fn fields(line: &[u8]) -> impl Iterator<Item = Field<'_>> {
    let mut rest = line;
    std::iter::from_fn(move || {
        loop {
            let colon = rest.iter().position(|b| *b == b':')?;
            let (head, tail) = rest.split_at_checked(colon)?;
            let tail = tail.get(1..)?;
            let name = head.rsplit(|b| *b == b' ').next().unwrap_or(head);
            let value_text = skip_blanks(tail);
            let Some((value, len)) = number(value_text) else {
                rest = tail;
                // `W:?` has no number but is a field all the same.
                if name == b"W" {
                    return Some(Field {
                        name,
                        value: None,
                        target: None,
                    });
                }
                continue;
            };
            let mut after = value_text.get(len..)?;
            let mut target = None;
            if let [b'/', behind @ ..] = skip_blanks(after)
                && let Some((wanted, len)) = number(skip_blanks(behind))
            {
                target = wanted;
                after = skip_blanks(behind).get(len..)?;
            }
            rest = after;
            return Some(Field { name, value, target });
        }
    })
}

/// A number; `inf` and `nan` are read as "no value" so that the field is still one.
fn number(text: &[u8]) -> Option<(Option<f32>, usize)> {
    if starts_no_case(text, b"inf") || starts_no_case(text, b"nan") {
        return Some((None, 3));
    }
    float_at(text).map(|(v, len)| (Some(v as f32), len))
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|b| **b == b' ').count();
    text.get(blanks..).unwrap_or_default()
}

/// `TargetExtr0:210`, `TargetBed:60`: Repetier tells targets in lines of their own. The actual value
/// is unknown then, so it is reported as NaN and the caller keeps its last.
fn repetier_target(line: &[u8]) -> Option<Reading> {
    let line = trim(line);
    let (heater, value) = if starts_no_case(line, b"targetbed:") {
        (Heater::Bed, line.get(10..)?)
    } else if starts_no_case(line, b"targetextr") {
        let tool = line.get(10)?.checked_sub(b'0').filter(|t| *t < 10)?;
        (Heater::Tool(tool), line.get(12..)?)
    } else {
        return None;
    };
    let (target, _) = float_at(value)?;
    Some(Reading {
        heater,
        actual_c: f32::NAN,
        target_c: Some(target as f32),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(line: &str) -> Vec<(String, f32, Option<f32>)> {
        let mut out = Vec::new();
        read(line.as_bytes(), 0, |r| {
            out.push((r.heater.to_string(), r.actual_c, r.target_c))
        });
        out
    }

    #[test]
    fn the_usual_report() {
        assert_eq!(
            all("ok T:210.0 /215.0 B:60.1 /60.0 @:64 B@:32"),
            [
                ("tool0".to_owned(), 210.0, Some(215.0)),
                ("bed".to_owned(), 60.1, Some(60.0))
            ]
        );
    }

    #[test]
    fn spacing_does_not_matter() {
        for line in [
            "T:21.3 /200.0",
            "T:21.3/200.0",
            "T:21.3/ 200.0",
            "T: 21.3 / 200",
            " T0:21.3 /200.0 (12.5)",
        ] {
            assert_eq!(all(line), [("tool0".to_owned(), 21.3, Some(200.0))], "{line}");
        }
        assert_eq!(all("T:210"), [("tool0".to_owned(), 210.0, None)]);
    }

    #[test]
    fn a_bare_t_only_repeats_the_active_tool() {
        assert_eq!(
            all("T:20.0 /0.0 B:21.0 /0.0 T0:20.0 /0.0 T1:22.0 /180.0"),
            [
                ("bed".to_owned(), 21.0, Some(0.0)),
                ("tool0".to_owned(), 20.0, Some(0.0)),
                ("tool1".to_owned(), 22.0, Some(180.0))
            ]
        );
        // Smoothie: T is tool 0.
        assert_eq!(all("T:20.0 /0.0 T1:22.0 /0.0").len(), 2);
    }

    #[test]
    fn prusa_heating_line_counts_no_extruder_index() {
        let mut n = 0;
        let extras = read(b"T:27.8 E:0 B:60.1 W:?", 0, |_| n += 1);
        assert_eq!(n, 2);
        assert!(extras.waiting);
    }

    #[test]
    fn an_open_thermistor_has_no_value() {
        assert_eq!(
            all("T:inf /0.0 B:20.0 /0.0"),
            [("bed".to_owned(), 20.0, Some(0.0))]
        );
        assert_eq!(all("T:-15.0 /0.0"), [("tool0".to_owned(), -15.0, Some(0.0))]);
    }

    #[test]
    fn repetier_targets_come_alone() {
        let mut got = None;
        read(b"TargetExtr1:210", 0, |r| got = Some((r.heater, r.target_c)));
        assert_eq!(got, Some((Heater::Tool(1), Some(210.0))));
    }
}
