//! Things to know before printing: one entry per kind, with the first line and a count.

use crate::analysis::Warning;

/// Kinds of warnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    OutsideBed,
    TooHot,
    ColdExtrusion,
    NoHoming,
    Inches,
    UnknownCommand,
    Garbage,
    Nul,
    MissingEnd,
    NoFinalNewline,
    Template,
    LongLine,
    LongCommand,
    EModeGuessed,
    BadArc,
    TooManyObjects,
    Loop,
    HeaterLeftOn,
    NoMoves,
}

impl Code {
    /// Stable code and words.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Code::OutsideBed => ("outside_bed", "extrudes outside the bed"),
            Code::TooHot => ("too_hot", "asks for more heat than the printer allows"),
            Code::ColdExtrusion => ("cold_extrusion", "extrudes before the nozzle is told to heat"),
            Code::NoHoming => ("no_homing", "extrudes before homing"),
            Code::Inches => ("inches", "uses inches (G20)"),
            Code::UnknownCommand => (
                "unknown_command",
                "holds a command that common firmwares do not know",
            ),
            Code::Garbage => ("binary_garbage", "holds bytes that are no G-code"),
            Code::Nul => ("contains_nul", "holds NUL bytes, as damaged copies do"),
            Code::MissingEnd => (
                "missing_end",
                "lacks what its slicer always writes at the end: cut short?",
            ),
            Code::NoFinalNewline => (
                "no_final_newline",
                "its last line has no line end; Klipper will not run it",
            ),
            Code::Template => ("unresolved_template", "holds a word with a template left in it"),
            Code::LongLine => ("long_line", "holds a line over 64 KiB, read only in part"),
            Code::LongCommand => (
                "long_command",
                "holds a command over 95 characters, more than Marlin takes",
            ),
            Code::EModeGuessed => (
                "e_mode_guessed",
                "never says whether E is relative; taken as relative",
            ),
            Code::BadArc => ("bad_arc", "holds an arc without a centre"),
            Code::TooManyObjects => ("too_many_objects", "has more objects than can be told apart"),
            Code::Loop => ("loop", "repeats a part of itself; everything is counted once"),
            Code::HeaterLeftOn => ("heater_left_on", "ends with a heater on"),
            Code::NoMoves => ("no_moves", "moves nothing"),
        }
    }
}

/// All warnings of a file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Warnings {
    seen: Vec<(Code, Option<u64>, Option<String>, u64)>,
}

impl Warnings {
    /// Notes one; the first line and its detail stay.
    #[cold]
    pub fn note(&mut self, code: Code, line: Option<u64>, detail: Option<String>) {
        match self.seen.iter_mut().find(|(known, ..)| *known == code) {
            Some((.., count)) => *count += 1,
            None => self.seen.push((code, line, detail, 1)),
        }
    }

    /// Counts one more of a kind that was noted before.
    pub fn again(&mut self, code: Code) {
        if let Some((.., count)) = self.seen.iter_mut().find(|(known, ..)| *known == code) {
            *count += 1;
        }
    }

    /// For the result, by line.
    pub fn finish(mut self) -> Vec<Warning> {
        self.seen.sort_by_key(|(_, line, ..)| line.unwrap_or(u64::MAX));
        self.seen
            .into_iter()
            .map(|(code, line, detail, count)| {
                let (code, words) = code.words();
                let message = match detail {
                    Some(detail) => format!("{words}: {detail}"),
                    None => words.to_owned(),
                };
                Warning {
                    line,
                    code: code.to_owned(),
                    message,
                    count,
                }
            })
            .collect()
    }
}
