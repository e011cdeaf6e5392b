//! One line from the printer, understood. Zero-copy, by prefix only: an autoreport may stand
//! anywhere, so position among other lines means nothing.

use super::scan::{contains_no_case, number_at, starts_no_case, trim};

/// What the words behind `ok` say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OkInfo {
    /// The acknowledged line (`ok N12 P15 B3`, Repetier's `ok 12`).
    pub line: Option<u32>,
    /// Free planner blocks and command slots were told: `ADVANCED_OK`.
    pub advanced: bool,
    /// Temperatures follow in the same line: the answer to an `M105`.
    pub temps: bool,
    /// A position follows in the same line: the answer to an `M114`.
    pub position: bool,
    /// Another answer is glued behind it (a lost newline), for example `okResend: 5`.
    pub glued_resend: bool,
}

/// Why the printer refused a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// `checksum mismatch`: damaged on the way.
    Checksum,
    /// `Line Number is not Last Line Number+1`: something before it is missing, or it came twice.
    WrongNumber,
    /// `No Checksum with line number`: a comment or an over-long line, if it comes twice.
    NoChecksum,
    /// `No Line Number with checksum`.
    NoNumber,
    /// `format error`, `expected line`.
    Format,
}

/// Who a `busy` line waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// Working.
    Processing,
    /// Waiting for a person (`paused for user`, `paused for input`).
    Person,
}

/// A line from the printer by its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// Nothing in it.
    Empty,
    /// One line done, or queued.
    Ok(OkInfo),
    /// Go back to this line; `None`: the number was not readable.
    Resend(Option<u32>),
    /// A line was refused; a `Resend` should follow. With the last good line, where it is told.
    Refused {
        /// Why.
        cause: Cause,
        /// `Last Line: 14`.
        last: Option<u32>,
    },
    /// Any other `Error:` or `!!` line; the text behind the mark.
    Error(&'a [u8]),
    /// `fatal:` (Repetier): final.
    Fatal(&'a [u8]),
    /// Alive, command not done.
    Busy(Busy),
    /// Idle with an empty queue.
    Wait,
    /// The boot banner: the printer has reset.
    Start,
    /// `//action:` with its words.
    Action(&'a [u8]),
    /// `// text`.
    Comment(&'a [u8]),
    /// Temperatures on their own.
    Temps,
    /// `X:… Y:… Z:…`.
    Position,
    /// `FIRMWARE_NAME:…`.
    Identity,
    /// `Cap:NAME:0|1`.
    Cap {
        /// Its name.
        name: &'a [u8],
        /// Whether it is there.
        on: bool,
    },
    /// `Unknown command: "…"`; the command as the printer read it.
    Unknown(&'a [u8]),
    /// `SD printing byte a/b`.
    SdAt {
        /// Bytes done.
        at: u64,
        /// Of so many.
        of: u64,
    },
    /// `Not SD printing`.
    SdIdle,
    /// `Done printing file`.
    SdDone,
    /// `Current file: NAME`, `File opened: NAME Size: n`, `Now fresh file: NAME`.
    SdFile(&'a [u8]),
    /// Everything else.
    Other(&'a [u8]),
}

/// Longest line that is looked at; the rest of a longer one is dropped by the shell.
pub const LINE_MAX: usize = 1024;

/// Understands one line (without its line end).
pub fn parse(raw: &[u8]) -> Answer<'_> {
    let line = trim(raw);
    match line {
        [] => return Answer::Empty,
        [b'o', b'k', rest @ ..] => return Answer::Ok(ok_info(rest)),
        _ => {}
    }
    match line.first() {
        Some(b'T' | b't' | b'B' | b'C' | b'P' | b'A' | b'R' | b'L') if looks_like_temps(line) => {
            return Answer::Temps;
        }
        Some(b'X') if line.starts_with(b"X:") => return Answer::Position,
        _ => {}
    }
    if let Some(rest) = strip(line, b"resend").or_else(|| strip(line, b"rs ")) {
        return Answer::Resend(resend_number(rest));
    }
    if let Some(rest) = strip(line, b"error:").or_else(|| strip(line, b"!!")) {
        return error(trim(rest));
    }
    if let Some(rest) = strip(line, b"fatal:") {
        return Answer::Fatal(trim(rest));
    }
    if let Some(rest) = strip(line, b"//") {
        let rest = trim(rest);
        return match strip(rest, b"action:") {
            Some(action) => Answer::Action(trim(action)),
            None => Answer::Comment(rest),
        };
    }
    let text = strip(line, b"echo:").map_or(line, trim);
    if let Some(rest) = strip(text, b"busy:") {
        let person = contains_no_case(rest, b"paused") || contains_no_case(rest, b"input");
        return Answer::Busy(if person { Busy::Person } else { Busy::Processing });
    }
    if line == b"wait" {
        return Answer::Wait;
    }
    // The whole line: texts that begin with "start" exist (OctoPrint compares in the same way).
    if line == b"start" {
        return Answer::Start;
    }
    if line.starts_with(b"FIRMWARE_NAME:")
        || line.starts_with(b"NAME.")
        || contains_no_case(line, b" FIRMWARE_NAME:")
    {
        return Answer::Identity;
    }
    if let Some(rest) = strip(line, b"cap:") {
        let mut parts = rest.rsplitn(2, |b| *b == b':');
        let value = parts.next().unwrap_or_default();
        let name = parts.next().unwrap_or_default();
        return Answer::Cap {
            name,
            on: trim(value) == b"1",
        };
    }
    if let Some(rest) = strip(text, b"unknown command:") {
        return Answer::Unknown(unquote(trim(rest)));
    }
    sd(text).unwrap_or(Answer::Other(text))
}

fn ok_info(rest: &[u8]) -> OkInfo {
    let mut info = OkInfo::default();
    if rest.is_empty() {
        return info;
    }
    info.glued_resend = contains_no_case(rest, b"resend");
    info.temps = has_tool_temperature(rest);
    let text = trim(rest);
    info.position = [b"X:", b"Y:", b"Z:"]
        .iter()
        .all(|axis| contains_no_case(text, *axis));
    match text {
        [b'N', digits @ ..] => {
            info.line = number_at(digits).map(|(n, _)| n);
            info.advanced =
                info.line.is_some() && contains_no_case(text, b" P") && contains_no_case(text, b" B");
        }
        // Repetier: the bare number. Not when anything but a blank follows.
        [b'0'..=b'9', ..] => {
            info.line = number_at(text)
                .filter(|(_, len)| *len == text.len())
                .map(|(n, _)| n);
        }
        [b'P', b'0'..=b'9', ..] => info.advanced = contains_no_case(text, b" B"),
        _ => {}
    }
    info
}

/// `T:` or `T0:` with something behind it: what an answer to M105 always has.
fn has_tool_temperature(text: &[u8]) -> bool {
    text.windows(2).enumerate().any(|(i, pair)| {
        pair.first() == Some(&b'T')
            && (i == 0 || text.get(i - 1) == Some(&b' '))
            && match pair.get(1) {
                Some(b':') => true,
                Some(b'0'..=b'9') => text.get(i + 2) == Some(&b':'),
                _ => false,
            }
    })
}

fn looks_like_temps(line: &[u8]) -> bool {
    // "A: B:" without T may be a position (several axes); "TargetExtr0:210" is Repetier's.
    if strip(line, b"targetextr").is_some() || strip(line, b"targetbed:").is_some() {
        return true;
    }
    let name_len = line.iter().take(3).position(|b| *b == b':').unwrap_or(0);
    if name_len == 0 {
        return false;
    }
    has_tool_temperature(line) || (line.first() == Some(&b'B') && name_len == 1)
}

/// The number after `Resend`, in all its spellings: `: 15`, `:15`, ` 15`, `N15`, `: N:15`.
///
/// Not readable as a number: `None`. Digits with anything else behind them are damaged.
fn resend_number(rest: &[u8]) -> Option<u32> {
    let digits = rest.iter().position(u8::is_ascii_digit)?;
    let (head, tail) = rest.split_at_checked(digits)?;
    if head.iter().any(|b| !matches!(b, b':' | b' ' | b'N' | b'n')) {
        return None;
    }
    let (number, len) = number_at(tail)?;
    tail.get(len).is_none_or(|b| *b == b' ').then_some(number)
}

fn error(text: &[u8]) -> Answer<'_> {
    let cause = if contains_no_case(text, b"checksum mismatch") {
        Cause::Checksum
    } else if contains_no_case(text, b"line number is not last") || contains_no_case(text, b"expected line") {
        Cause::WrongNumber
    } else if contains_no_case(text, b"no checksum with line") || contains_no_case(text, b"missing checksum")
    {
        Cause::NoChecksum
    } else if contains_no_case(text, b"no line number with checksum")
        || contains_no_case(text, b"missing linenumber")
    {
        Cause::NoNumber
    } else if contains_no_case(text, b"format error") {
        Cause::Format
    } else {
        return Answer::Error(text);
    };
    Answer::Refused {
        cause,
        last: last_line(text),
    }
}

/// `Last Line: 14` at the end of a refusal.
fn last_line(text: &[u8]) -> Option<u32> {
    const MARK: &[u8] = b"Last Line:";
    let at = text
        .windows(MARK.len())
        .rposition(|w| w.eq_ignore_ascii_case(MARK))?;
    let tail = trim(text.get(at + MARK.len()..)?);
    number_at(tail)
        .filter(|(_, len)| *len == tail.len())
        .map(|(n, _)| n)
}

fn sd(text: &[u8]) -> Option<Answer<'_>> {
    if let Some(rest) = strip(text, b"sd printing byte") {
        let rest = trim(rest);
        let slash = rest.iter().position(|b| *b == b'/')?;
        let (at, of) = rest.split_at_checked(slash)?;
        let parse = |b: &[u8]| std::str::from_utf8(b).ok()?.trim().parse::<u64>().ok();
        return Some(Answer::SdAt {
            at: parse(at)?,
            of: parse(of.get(1..)?)?,
        });
    }
    if strip(text, b"not sd printing").is_some() {
        return Some(Answer::SdIdle);
    }
    if strip(text, b"done printing file").is_some() {
        return Some(Answer::SdDone);
    }
    for mark in [&b"current file:"[..], b"file opened:", b"now fresh file:"] {
        if let Some(rest) = strip(text, mark) {
            let name = trim(rest);
            let end = name
                .windows(6)
                .position(|w| w.eq_ignore_ascii_case(b" size:"))
                .unwrap_or(name.len());
            return Some(Answer::SdFile(trim(name.get(..end).unwrap_or(name))));
        }
    }
    None
}

fn strip<'a>(line: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    starts_no_case(line, prefix)
        .then(|| line.get(prefix.len()..))
        .flatten()
}

fn unquote(text: &[u8]) -> &[u8] {
    match text {
        [b'"', inner @ .., b'"'] => inner,
        [b'"', inner @ ..] => inner,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(line: Option<u32>, advanced: bool, temps: bool) -> Answer<'static> {
        Answer::Ok(OkInfo {
            line,
            advanced,
            temps,
            position: false,
            glued_resend: false,
        })
    }

    #[test]
    fn a_position_may_stand_behind_the_ok() {
        let told = |line: &'static [u8]| matches!(parse(line), Answer::Ok(info) if info.position);
        assert!(told(b"ok X:0 Y:0 Z:5.0 E:0 Count: A:0 B:0 C:500"));
        assert!(told(b"ok C: X:0.00 Y:10.00 Z:0.30 E:0.00"));
        assert!(!told(b"ok T:19.4 /0.0 B:20.0 /0.0 @:0 B@:0") && !told(b"ok P15 B3"));
    }

    #[test]
    fn every_form_of_ok() {
        assert_eq!(parse(b"ok"), ok(None, false, false));
        assert_eq!(parse(b"ok\r"), ok(None, false, false));
        assert_eq!(
            parse(b"ok T:19.4 /0.0 B:20.0 /0.0 @:0 B@:0"),
            ok(None, false, true)
        );
        assert_eq!(parse(b"ok T0:19.4 /0.0"), ok(None, false, true));
        assert_eq!(parse(b"ok N12 P15 B3"), ok(Some(12), true, false));
        assert_eq!(parse(b"ok P15 B3"), ok(None, true, false));
        assert_eq!(parse(b"ok 12"), ok(Some(12), false, false));
        assert_eq!(parse(b"ok N12 P15 B3 T:210.0 /210.0"), ok(Some(12), true, true));
        assert!(matches!(
            parse(b"okResend: 5"),
            Answer::Ok(OkInfo {
                glued_resend: true,
                ..
            })
        ));
    }

    #[test]
    fn every_form_of_resend() {
        for text in [
            "Resend: 15",
            "Resend:15",
            "rs 15",
            "rs N15",
            "Resend: N:15",
            "resend 15",
            "RESEND: 15 ",
            "Resend: 15\r",
        ] {
            assert_eq!(parse(text.as_bytes()), Answer::Resend(Some(15)), "{text}");
        }
        for text in ["Resend: ", "Resend: 1x5", "Resend: #15", "Resend: 99999999999"] {
            assert_eq!(parse(text.as_bytes()), Answer::Resend(None), "{text}");
        }
    }

    #[test]
    fn refusals_with_their_last_line() {
        let refused = |cause, last| Answer::Refused { cause, last };
        assert_eq!(
            parse(b"Error:checksum mismatch, Last Line: 14"),
            refused(Cause::Checksum, Some(14))
        );
        assert_eq!(
            parse(b"Error:Line Number is not Last Line Number+1, Last Line: 14"),
            refused(Cause::WrongNumber, Some(14))
        );
        assert_eq!(
            parse(b"Error:No Checksum with line number, Last Line: 3"),
            refused(Cause::NoChecksum, Some(3))
        );
        assert_eq!(parse(b"!! format error"), refused(Cause::Format, None));
        assert_eq!(
            parse(b"Error:Printer halted. kill() called!"),
            Answer::Error(b"Printer halted. kill() called!")
        );
    }

    #[test]
    fn reports_are_told_apart() {
        assert_eq!(
            parse(b" T:27.81 /60.00 B:19.37 /0.00 @:127 B@:0 W:?"),
            Answer::Temps
        );
        assert_eq!(parse(b"T:27.8 E:0 W:?"), Answer::Temps);
        assert_eq!(parse(b"B:60.1 /60.0"), Answer::Temps);
        assert_eq!(parse(b"TargetExtr0:210"), Answer::Temps);
        assert_eq!(
            parse(b"X:0.00 Y:0.00 Z:0.00 E:0.00 Count X:0 Y:0 Z:0"),
            Answer::Position
        );
        assert_eq!(parse(b"echo:busy: processing"), Answer::Busy(Busy::Processing));
        assert_eq!(parse(b"busy: paused for user"), Answer::Busy(Busy::Person));
        assert_eq!(
            parse(b"Cap:EMERGENCY_PARSER:1"),
            Answer::Cap {
                name: b"EMERGENCY_PARSER",
                on: true
            }
        );
        assert_eq!(
            parse(b"echo:Unknown command: \"M9999\""),
            Answer::Unknown(b"M9999")
        );
        assert_eq!(parse(b"//action:paused"), Answer::Action(b"paused"));
        assert_eq!(
            parse(b"// action:prompt_begin Hi"),
            Answer::Action(b"prompt_begin Hi")
        );
        assert_eq!(parse(b"start"), Answer::Start);
        assert_eq!(parse(b"start printing"), Answer::Other(b"start printing"));
        assert_eq!(
            parse(b"SD printing byte 123/12345"),
            Answer::SdAt { at: 123, of: 12345 }
        );
        assert_eq!(
            parse(b"File opened: CUBE.GCO Size: 12"),
            Answer::SdFile(b"CUBE.GCO")
        );
        assert_eq!(parse(b"\0\0"), Answer::Empty);
    }
}
