//! Which command is legal in which state. The one place that decides; everybody asks here.

use super::command::Command;
use super::gcode_rules::{GcodeLine, Judgement};
use super::model::{Activity, State, StateWord};
use super::outcome::Refusal;

/// Most lines in one `SendGcode` (documented limit of the cloud's API).
pub const GCODE_LINES_MAX: usize = 200;

/// Longest line in one `SendGcode`, in characters (same source).
pub const GCODE_LINE_MAX: usize = 500;

/// What of the printer's settings the guard needs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Highest tool temperature, °C.
    pub max_tool_c: Option<f32>,
    /// Highest bed temperature, °C.
    pub max_bed_c: Option<f32>,
    /// A finished print must be cleared before the next start.
    pub require_clear_bed: bool,
    /// The daemon takes no new starts (`layerd drain`, or stopping).
    pub draining: bool,
}

/// Decides whether a command may go to the driver now.
pub fn guard(state: &State, limits: &Limits, command: &Command) -> Result<(), Refusal> {
    // Emergency stop passes always: if it cannot be written the driver says so.
    if matches!(command, Command::EmergencyStop) {
        return Ok(());
    }
    let word = state.word();
    if matches!(command, Command::Reconnect) {
        return match word {
            StateWord::Printing | StateWord::Pausing | StateWord::Resuming | StateWord::Cancelling
                if state.is_up() =>
            {
                Err(wrong_state(
                    command,
                    word,
                    "It would end the print. Cancel it first.",
                ))
            }
            _ => Ok(()),
        };
    }
    if word == StateWord::Offline || !state.is_up() {
        return Err(Refusal::new(
            "refused/offline",
            format!(
                "Cannot {}: the printer is not connected.{}",
                command.name(),
                last_reason(state)
            ),
        ));
    }
    match command {
        Command::EmergencyStop | Command::Reconnect | Command::Ping | Command::Answer { .. } => Ok(()),
        Command::RefreshMaterials => match state.materials {
            Some(_) => Ok(()),
            None => Err(Refusal::new(
                "refused/unsupported",
                "This printer has no reader for material data, so there is nothing to refresh.",
            )),
        },
        Command::Start(_) => start(state, limits, word, command),
        Command::Pause => match word {
            StateWord::Printing | StateWord::Resuming => Ok(()),
            _ => Err(wrong_state(command, word, "Only a running print can be paused.")),
        },
        Command::Resume => match word {
            StateWord::Paused => Ok(()),
            _ => Err(wrong_state(command, word, "Only a paused print can be resumed.")),
        },
        Command::Cancel(_) => match word {
            StateWord::Downloading
            | StateWord::Printing
            | StateWord::Pausing
            | StateWord::Paused
            | StateWord::Resuming => Ok(()),
            StateWord::Cancelling => Err(wrong_state(command, word, "It is already on its way.")),
            _ => Err(wrong_state(command, word, "There is nothing to cancel.")),
        },
        Command::SkipObjects { ids } => skip(state, word, command, ids),
        Command::SendGcode { lines, tune } => send(state, limits, word, lines, *tune),
        Command::HeatersOff => match word {
            StateWord::Printing | StateWord::Pausing | StateWord::Resuming => Err(wrong_state(
                command,
                word,
                "A print needs its heat. Cancel it first.",
            )),
            _ => Ok(()),
        },
    }
}

fn start(state: &State, limits: &Limits, word: StateWord, command: &Command) -> Result<(), Refusal> {
    if limits.draining {
        return Err(Refusal::new(
            "refused/draining",
            "No new prints are started: the service is being drained or stopped.",
        ));
    }
    // Preparing is the start's own state.
    if !matches!(word, StateWord::Operational | StateWord::Downloading) {
        return Err(wrong_state(
            command,
            word,
            "A print can be started only when the printer is idle.",
        ));
    }
    if limits.require_clear_bed && state.bed_dirty {
        return Err(Refusal::new(
            "refused/bed-not-cleared",
            "The last print still lies on the bed. Take it off, then clear the bed (layerd clear PRINTER).",
        ));
    }
    Ok(())
}

fn skip(state: &State, word: StateWord, command: &Command, ids: &[u32]) -> Result<(), Refusal> {
    match word {
        StateWord::Printing
        | StateWord::Paused
        | StateWord::Pausing
        | StateWord::Resuming
        | StateWord::Cancelling => {}
        _ => return Err(Refusal::new("refused/no-job", "No active print job found")),
    }
    if ids.is_empty() {
        return Err(Refusal::new(
            "refused/bad-request",
            "Name at least one object to skip.",
        ));
    }
    if !state.capabilities.has("objects.skip") {
        return Err(wrong_state(command, word, "This printer cannot skip objects."));
    }
    Ok(())
}

fn send(
    state: &State,
    limits: &Limits,
    word: StateWord,
    lines: &[String],
    tune: bool,
) -> Result<(), Refusal> {
    if lines.is_empty() {
        return Err(Refusal::new("refused/bad-request", "There is no G-code to send."));
    }
    if lines.len() > GCODE_LINES_MAX {
        return Err(Refusal::new(
            "refused/too-many-lines",
            format!(
                "{} lines of G-code are too many; at most {GCODE_LINES_MAX} go at once.",
                lines.len()
            ),
        ));
    }
    for (index, text) in lines.iter().enumerate() {
        let at = format!("Line {} ({})", index + 1, shorten(text));
        if text.chars().count() > GCODE_LINE_MAX {
            return Err(Refusal::new(
                "refused/line-too-long",
                format!("{at} is longer than {GCODE_LINE_MAX} characters."),
            ));
        }
        let line = GcodeLine::new(text);
        if let Some((heater, wanted_c, limit_c)) = line.too_hot(limits.max_tool_c, limits.max_bed_c) {
            return Err(Refusal::new(
                "refused/too-hot",
                format!("{at} asks {wanted_c} °C of the {heater}; the limit is {limit_c} °C."),
            ));
        }
        let judgement = line.judge();
        let reason = match (word, judgement) {
            (_, Judgement::Unsendable) => Some("holds characters that cannot be sent"),
            (StateWord::Operational, _) => None,
            (StateWord::Paused, Judgement::Tunes | Judgement::Feeds) => None,
            (StateWord::Paused, _) => Some("would move or change what the paused print relies on"),
            (StateWord::Printing | StateWord::Pausing | StateWord::Resuming, Judgement::Tunes) if tune => {
                None
            }
            (StateWord::Printing | StateWord::Pausing | StateWord::Resuming, Judgement::Tunes) => {
                Some("may go to a printing printer only as tuning (layerd send --tune)")
            }
            (StateWord::Printing | StateWord::Pausing | StateWord::Resuming, _) => {
                Some("would disturb the running print")
            }
            (StateWord::Error, Judgement::Recovers) => None,
            (StateWord::Error, _) => Some("cannot run: the printer is halted. Reset it first"),
            (StateWord::NotReady, Judgement::Tunes | Judgement::Recovers) => None,
            _ => Some("cannot go out in this state"),
        };
        if let Some(reason) = reason {
            return Err(Refusal::new(
                "refused/wrong-state",
                format!(
                    "{at} {reason}. The printer is {word}.{}",
                    what_it_does(&state.activity)
                ),
            ));
        }
    }
    Ok(())
}

fn wrong_state(command: &Command, word: StateWord, hint: &str) -> Refusal {
    Refusal::new(
        "refused/wrong-state",
        format!("Cannot {}: the printer is {word}. {hint}", command.name()),
    )
}

fn last_reason(state: &State) -> String {
    match &state.link {
        super::model::LinkState::Down { why: Some(fault) } => format!(" {fault}"),
        _ => String::new(),
    }
}

fn what_it_does(activity: &Activity) -> String {
    match activity {
        Activity::Error(fault) => format!(" {}", fault.what),
        Activity::NotReady(why) => format!(" {why}"),
        _ => String::new(),
    }
}

fn shorten(text: &str) -> String {
    let mut out: String = text.chars().take(40).collect();
    if text.chars().count() > 40 {
        out.push('…');
    }
    out
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
