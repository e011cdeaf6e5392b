//! What a line means to the filter.

use crate::lex::{self, Body, Dialect};

/// Kinds of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// `G0`–`G3`.
    Motion,
    /// `G10`/`G11` without words: filament drawn back or pushed by the firmware.
    Filament,
    /// `G92`: values are set anew.
    Shift,
    /// `G4`.
    Dwell,
    /// Takes effect at once and depends on no position: modes, targets, fans, limits, screen.
    Setting,
    /// Waits for a heater or the planner.
    Waiting,
    /// Says which object comes; the filter knows that by itself.
    ObjectMark,
    /// Anything else: may move, may depend on where the head stands.
    Other,
}

pub(super) fn of(text: &[u8]) -> Class {
    if let [b'G', b'0' | b'1', b' ', ..] = text {
        return Class::Motion;
    }
    match lex::line(text, Dialect::default()).body {
        Body::Code(code) if code.sub.is_none() => match (code.letter, code.number) {
            (b'G', 0..=3) => Class::Motion,
            (b'G', 4) => Class::Dwell,
            (b'G', 10 | 11) if code.words().next().is_none_or(|w| w.letter == b'S') => Class::Filament,
            (b'G', 92) => Class::Shift,
            (b'G', 17..=21 | 90 | 91) => Class::Setting,
            (b'M', 109 | 190 | 191 | 400) => Class::Waiting,
            (b'M', 486) => Class::ObjectMark,
            (
                b'M',
                73
                | 82
                | 83
                | 104
                | 105..=107
                | 117
                | 118
                | 140
                | 141
                | 155
                | 200..=205
                | 207..=209
                | 220
                | 221
                | 300
                | 572
                | 593
                | 900,
            ) => Class::Setting,
            _ => Class::Other,
        },
        Body::Extended(named)
            if [
                "EXCLUDE_OBJECT_START",
                "EXCLUDE_OBJECT_END",
                "EXCLUDE_OBJECT_DEFINE",
                "EXCLUDE_OBJECT",
            ]
            .iter()
            .any(|name| named.is(name)) =>
        {
            Class::ObjectMark
        }
        Body::Extended(named) if named.is("SET_PRINT_STATS_INFO") || named.is("SET_VELOCITY_LIMIT") => {
            Class::Setting
        }
        _ => Class::Other,
    }
}
