//! What a single line of G-code would do to a print: tunes, feeds filament, disturbs.

/// How a line is to be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Only tunes or asks: temperatures without waiting, fans, rates, baby-steps, texts, sounds,
    /// prompt answers, reports.
    Tunes,
    /// Moves filament only, or waits for heat: harmless while paused.
    Feeds,
    /// Ends a firmware's halt (`M999`, `FIRMWARE_RESTART`).
    Recovers,
    /// Everything else.
    Disturbs,
    /// Cannot be put on a wire (control characters).
    Unsendable,
}

/// A line split into its command and its words, upper-cased.
#[derive(Clone, Debug, PartialEq)]
pub struct GcodeLine {
    code: String,
    words: Vec<(char, Option<f32>)>,
    params: Vec<(String, String)>,
    printable: bool,
}

/// Codes that only tune or report. Meanings: Marlin's and Klipper's G-code documentation.
const TUNES: &[&str] = &[
    "M104", "M140", "M141", "M106", "M107", "M220", "M221", "M290", "M117", "M118", "M300", "M876", "M105",
    "M114", "M31", "M73", "M115", "M119", "M150", "M355", "M108", "M155", "M27", "M78", "M123",
];

/// Klipper's extended commands that only tune.
const TUNES_EXTENDED: &[&str] = &[
    "SET_HEATER_TEMPERATURE",
    "SET_FAN_SPEED",
    "SET_DISPLAY_TEXT",
    "SET_LED",
    "SET_PIN",
    "RESPOND",
    "STATUS",
    "SET_PRESSURE_ADVANCE",
];

/// Codes that move filament or wait for heat, and nothing else.
const FEEDS: &[&str] = &[
    "M109", "M190", "M191", "M701", "M702", "M82", "M83", "G4", "M302", "G10", "G11",
];

impl GcodeLine {
    /// Splits a line. Never fails: what is not understood is judged as disturbing.
    pub fn new(text: &str) -> Self {
        let printable = !text.chars().any(|c| c.is_control() && c != '\t');
        let text = text.split(';').next().unwrap_or_default().trim();
        let upper = text.to_ascii_uppercase();
        let mut chars = upper.char_indices().peekable();
        let mut code_end = upper.len();
        let mut simple = false;
        if let Some((_, first)) = chars.next()
            && first.is_ascii_alphabetic()
        {
            let digits_from = 1;
            let rest = &upper[digits_from..];
            let rest_trimmed = rest.trim_start();
            let gap = rest.len() - rest_trimmed.len();
            let digits = rest_trimmed
                .bytes()
                .take_while(|b| b.is_ascii_digit() || *b == b'.')
                .count();
            if digits > 0 {
                simple = true;
                code_end = digits_from + gap + digits;
            }
        }
        let mut line = GcodeLine {
            code: String::new(),
            words: Vec::new(),
            params: Vec::new(),
            printable,
        };
        if simple {
            let (code, rest) = upper.split_at(code_end);
            line.code = normal_code(code);
            // Texts are not words: an `S` in a message is no temperature.
            if !matches!(line.code.as_str(), "M117" | "M118") {
                line.words = words(rest);
            }
        } else {
            let mut parts = upper.split_ascii_whitespace();
            line.code = parts.next().unwrap_or_default().to_owned();
            line.params = parts
                .filter_map(|p| p.split_once('='))
                .map(|(k, v)| (k.to_owned(), v.trim_matches('"').to_owned()))
                .collect();
        }
        line
    }

    /// The command word, `G1`, `M104`, `SET_FAN_SPEED`; empty for a blank line.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The judgement.
    pub fn judge(&self) -> Judgement {
        if !self.printable {
            return Judgement::Unsendable;
        }
        let code = self.code.as_str();
        // Klipper ends its halt by a restart.
        if matches!(code, "M999" | "FIRMWARE_RESTART" | "RESTART") {
            return Judgement::Recovers;
        }
        if TUNES.contains(&code) || TUNES_EXTENDED.contains(&code) {
            return Judgement::Tunes;
        }
        // Baby-stepping on Klipper: an adjustment of Z, not a new absolute offset.
        if code == "SET_GCODE_OFFSET"
            && self
                .params
                .iter()
                .all(|(k, _)| k == "Z_ADJUST" || k == "MOVE" || k == "MOVE_SPEED")
        {
            return Judgement::Tunes;
        }
        let only = |letters: &str| self.words.iter().all(|(l, _)| letters.contains(*l));
        match code {
            "G0" | "G1" if !self.words.is_empty() && only("EF") => Judgement::Feeds,
            "G92" if !self.words.is_empty() && only("E") => Judgement::Feeds,
            _ if FEEDS.contains(&code) => Judgement::Feeds,
            _ => Judgement::Disturbs,
        }
    }

    /// Whether the line asks more heat than allowed: heater, wanted and limit in °C.
    pub fn too_hot(
        &self,
        max_tool_c: Option<f32>,
        max_bed_c: Option<f32>,
    ) -> Option<(&'static str, f32, f32)> {
        let (heater, limit) = match self.code.as_str() {
            "M104" | "M109" => ("nozzle", max_tool_c?),
            "M140" | "M190" => ("bed", max_bed_c?),
            "SET_HEATER_TEMPERATURE" => {
                let value = |key: &str| {
                    self.params
                        .iter()
                        .find(|(k, _)| k == key)
                        .map(|(_, v)| v.as_str())
                };
                let heater = value("HEATER")?;
                let wanted: f32 = value("TARGET")?.parse().ok()?;
                let (name, limit) = if heater.starts_with("EXTRUDER") {
                    ("nozzle", max_tool_c?)
                } else if heater == "HEATER_BED" {
                    ("bed", max_bed_c?)
                } else {
                    return None;
                };
                return (wanted > limit).then_some((name, wanted, limit));
            }
            _ => return None,
        };
        let wanted = self
            .words
            .iter()
            .filter(|(l, _)| matches!(l, 'S' | 'R'))
            .filter_map(|(_, v)| *v)
            .fold(f32::MIN, f32::max);
        (wanted > limit).then_some((heater, wanted, limit))
    }
}

/// `M 0104` and `M104` are the same command.
fn normal_code(text: &str) -> String {
    let (letter, digits) = text.split_at(1);
    let digits = digits.trim();
    let (whole, sub) = digits
        .split_once('.')
        .map_or((digits, None), |(w, s)| (w, Some(s)));
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        w => w,
    };
    match sub {
        Some(sub) if !sub.is_empty() => format!("{letter}{whole}.{sub}"),
        _ => format!("{letter}{whole}"),
    }
}

/// `X10 Y-.5E3` → letters with their numbers; a letter without one is a flag.
fn words(text: &str) -> Vec<(char, Option<f32>)> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_alphabetic()) {
        let Some(letter) = rest[at..].chars().next() else {
            break;
        };
        let tail = rest[at + 1..].trim_start();
        let end = tail
            .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+')))
            .unwrap_or(tail.len());
        out.push((letter, tail[..end].parse().ok()));
        rest = &tail[end..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judges_what_a_line_would_do() {
        let cases = [
            ("M104 S210", Judgement::Tunes),
            ("m0104 s210", Judgement::Tunes),
            ("M106 P1 S128 ; fan", Judgement::Tunes),
            ("M117 G28 is next", Judgement::Tunes),
            ("M290 Z-0.02", Judgement::Tunes),
            ("SET_GCODE_OFFSET Z_ADJUST=0.01 MOVE=1", Judgement::Tunes),
            ("SET_GCODE_OFFSET Z=0.01", Judgement::Disturbs),
            ("M109 S210", Judgement::Feeds),
            ("G1 E5 F300", Judgement::Feeds),
            ("G1E-5", Judgement::Feeds),
            ("G1 X5 E5", Judgement::Disturbs),
            ("G1", Judgement::Disturbs),
            ("G28", Judgement::Disturbs),
            ("G92 E0", Judgement::Feeds),
            ("G92", Judgement::Disturbs),
            ("T1", Judgement::Disturbs),
            ("G29.1", Judgement::Disturbs),
            ("M1060", Judgement::Disturbs),
            ("", Judgement::Disturbs),
            ("ÄÖ", Judgement::Disturbs),
            ("M117 a\u{7}b", Judgement::Unsendable),
            ("M104 S0\nG28", Judgement::Unsendable),
            ("M999", Judgement::Recovers),
            ("firmware_restart", Judgement::Recovers),
        ];
        for (text, want) in cases {
            assert_eq!(GcodeLine::new(text).judge(), want, "{text}");
        }
    }

    #[test]
    fn finds_temperatures_over_the_limit() {
        let hot = |text| GcodeLine::new(text).too_hot(Some(260.0), Some(110.0));
        assert_eq!(hot("M104 S261"), Some(("nozzle", 261.0, 260.0)));
        assert_eq!(hot("M109 R300"), Some(("nozzle", 300.0, 260.0)));
        assert_eq!(hot("M140S111"), Some(("bed", 111.0, 110.0)));
        assert_eq!(
            hot("SET_HEATER_TEMPERATURE HEATER=extruder TARGET=290"),
            Some(("nozzle", 290.0, 260.0))
        );
        assert_eq!(hot("M104 T1 S260"), None);
        assert_eq!(hot("M117 S999"), None);
        assert_eq!(GcodeLine::new("M104 S999").too_hot(None, None), None);
    }
}
