//! How long a printer may be silent before something is wrong. Pure numbers, no clock.
//!
//! Two clocks: *no answer at all* and *no ok*. Autoreports keep the first one happy when an `ok` was
//! lost; the second is off while a command runs that may take long.

use std::time::Duration;

use super::scan::{command, has_word, word};

/// How long a command may stay unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Answered when queued: soon, or when the planner has room.
    Short,
    /// May take so long without an `ok`.
    Long(Duration),
    /// Heats and waits; tells temperatures meanwhile.
    Heating,
    /// Waits for a person or for something that only a person ends.
    Person,
    /// Waits for all queued moves, then perhaps so much longer.
    Drain(Duration),
}

/// The floor of every deadline: nothing is given up in less.
pub const FLOOR: Duration = Duration::from_secs(30);

/// Time between two probes.
pub const PROBE_SPACING: Duration = Duration::from_secs(10);

/// Probes without any answer before the link counts as dead.
pub const PROBES_MAX: u8 = 3;

/// First harmless probe after so long without an `ok` and beyond the moves that may be queued. Every
/// lost `ok` of a print in ping-pong costs this time, with the nozzle standing on the part, so it is
/// short: the probe waits in the printer's buffer if the printer is only slow.
const FIRST_PROBE: Duration = Duration::from_secs(3);

/// How long a command may take, from its text.
///
/// Which commands block, and for how long: OctoPrint's lists of long-running and heating commands,
/// widened by what Marlin's documentation says waits.
pub fn patience(text: &[u8]) -> Patience {
    let minutes = |m: u64| Patience::Long(Duration::from_secs(60 * m));
    let Some((letter, number)) = command(text) else {
        // A tool change without a number (`Tx`, `T?`) loads filament.
        return if matches!(text.first(), Some(b'T' | b't')) {
            minutes(5)
        } else {
            Patience::Short
        };
    };
    match (letter, number) {
        (b'G', 0..=3) => Patience::Short,
        (b'G', 4) => {
            let ms =
                word(text, b'P').unwrap_or(0.0).max(0.0) + word(text, b'S').unwrap_or(0.0).max(0.0) * 1000.0;
            Patience::Drain(Duration::from_millis(ms.min(86_400_000.0) as u64))
        }
        (b'G', 27..=28) => minutes(5),
        (b'G', 12 | 30 | 31 | 32 | 38 | 42) => minutes(10),
        (b'G', 29 | 33 | 34 | 35 | 76 | 80 | 81) => minutes(30),
        (b'M', 109 | 190 | 191 | 192 | 193 | 116) => Patience::Heating,
        (b'M', 303) => minutes(60),
        (b'M', 400 | 18 | 84 | 25 | 410) => Patience::Drain(Duration::ZERO),
        (b'M', 0 | 1 | 125 | 226 | 600 | 601) => Patience::Person,
        (b'M', 48 | 701 | 702 | 852 | 420 | 665) => minutes(15),
        (b'M', 500..=504 | 20 | 21 | 23 | 28 | 29 | 111 | 112 | 997) => minutes(1),
        (b'M', 17) => minutes(1),
        (b'T', _) => minutes(5),
        _ if has_word(text, b'"') => minutes(1),
        _ => Patience::Short,
    }
}

/// What is due for the oldest unanswered line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Ask (harmlessly) after so long without an `ok`; `None`: do not ask.
    pub probe_after: Option<Duration>,
    /// Give up after so long without any line, and so many probes unanswered.
    pub give_up_after: Option<Duration>,
}

/// The limits for a line with this patience, with `planned` seconds of moves queued before it.
///
/// `soon`: a question during a long command does no harm. The firmware says `busy` meanwhile, so that its silence
/// means something, or its answers to questions can be told from those to lines, however late they come.
pub fn limits(patience: Patience, planned: Duration, soon: bool) -> Limits {
    // Planned times come from feed rates only: accelerations make real moves longer.
    let queued = planned.mul_f32(2.0);
    let (probe, give_up) = match patience {
        Patience::Person => {
            return Limits {
                probe_after: None,
                give_up_after: None,
            };
        }
        Patience::Short => (Some(FIRST_PROBE + queued), FLOOR + queued),
        // While it heats the printer tells so every second (`W:`) or says `busy`, which both count as
        // life; a minute without that may be a lost `ok`.
        Patience::Heating => (Some(Duration::from_secs(60)), Duration::from_secs(60)),
        // The question waits in the printer's buffer until the command is over. Where the `ok` was lost it is what
        // ends the wait.
        Patience::Long(limit) if soon => (Some(FLOOR), limit.max(FLOOR)),
        Patience::Long(limit) => (Some(limit.max(FLOOR)), limit.max(FLOOR)),
        Patience::Drain(extra) => (
            Some(Duration::from_secs(20) + queued + extra),
            FLOOR + queued + extra,
        ),
    };
    Limits {
        probe_after: probe,
        give_up_after: Some(give_up),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_block_are_known() {
        assert_eq!(patience(b"G1 X5"), Patience::Short);
        assert_eq!(
            patience(b"G4 S2 P500"),
            Patience::Drain(Duration::from_millis(2500))
        );
        assert_eq!(patience(b"M109 S210"), Patience::Heating);
        assert_eq!(patience(b"M600"), Patience::Person);
        assert_eq!(patience(b"M400"), Patience::Drain(Duration::ZERO));
        assert!(matches!(patience(b"G29"), Patience::Long(_)));
        assert!(matches!(patience(b"Tx"), Patience::Long(_)));
        assert_eq!(patience(b"M117 G28 is fine"), Patience::Short);
    }

    #[test]
    fn nothing_is_given_up_in_less_than_half_a_minute() {
        for p in [
            Patience::Short,
            Patience::Heating,
            Patience::Drain(Duration::ZERO),
            Patience::Long(Duration::ZERO),
        ] {
            assert!(
                limits(p, Duration::ZERO, true).give_up_after >= Some(FLOOR),
                "{p:?}"
            );
        }
        assert_eq!(limits(Patience::Person, Duration::ZERO, true).give_up_after, None);
    }

    #[test]
    fn a_long_command_is_asked_about_soon_and_given_up_late() {
        for (soon, probe_after) in [(true, FLOOR), (false, Duration::from_secs(300))] {
            let homing = limits(patience(b"G28"), Duration::ZERO, soon);
            assert_eq!(homing.probe_after, Some(probe_after));
            assert_eq!(homing.give_up_after, Some(Duration::from_secs(300)));
        }
    }

    #[test]
    fn queued_moves_extend_every_deadline() {
        let slow = limits(Patience::Short, Duration::from_secs(40), true);
        assert!(slow.probe_after >= Some(Duration::from_secs(80)));
        assert!(slow.give_up_after >= Some(Duration::from_secs(110)));
    }
}
