//! Which action the cloud's documentation allows in which state: the filter of this dialect, narrower
//! than `printer::guard`, which decides afterwards in any case.

use super::demand::Demand;
use crate::printer::command::Command;
use crate::printer::model::StateWord;
use crate::printer::outcome::Refusal;

/// Refuses what the documented table does not allow. `None`: let the guard decide.
pub fn refusal(id: i64, word: StateWord, demand: &Demand) -> Option<Refusal> {
    use StateWord::{Cancelling, Downloading, Offline, Operational, Paused, Pausing, Printing, Resuming};
    // A printer that cannot be reached says so itself, with the reason; only a bed needs no printer.
    let (allowed, wanted): (&[StateWord], &str) = match demand {
        Demand::Print(_) => (&[Operational], "operational"),
        // Whether one waits is the printer's to say.
        Demand::Begin | Demand::CancelPending => return None,
        Demand::ClearBed { .. } => (&[Operational, Offline], "operational or offline"),
        _ if word == Offline => return None,
        Demand::Command(Command::Pause | Command::PauseAs(_)) => (&[Printing], "printing"),
        Demand::Command(Command::Resume) => (&[Paused], "paused"),
        // Not in the table, because the cloud has no such state there: a start that is still checked.
        Demand::Command(Command::Cancel(_)) => (
            &[Printing, Pausing, Paused, Downloading],
            "printing, pausing or paused",
        ),
        Demand::Skip(_) => {
            if [Printing, Paused, Pausing, Resuming, Cancelling].contains(&word) {
                return None;
            }
            return Some(Refusal::new("refused/no-job", "No active print job found"));
        }
        Demand::Command(Command::SendGcode { .. }) | Demand::Own { .. } => (&[Operational], "operational"),
        Demand::Command(_) => return None,
    };
    if allowed.contains(&word) {
        return None;
    }
    // Offline is the guard's to explain, with the last reason of the link.
    if word == Offline {
        return None;
    }
    let hint = match demand {
        Demand::Command(Command::SendGcode { .. }) | Demand::Own { .. } => {
            " What only tunes a print goes with \"layerd\":{\"tune\":true}."
        }
        _ => "",
    };
    Some(Refusal::new(
        "refused/wrong-state",
        format!("Printer {id} is {word}; it must be {wanted}.{hint}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::demand::{JobDemand, JobSource};
    use crate::printer::command::CancelReason;

    /// The documented table: one row per action, one letter per state.
    #[test]
    fn the_documented_table_holds() {
        use StateWord::*;
        let states = [Operational, Printing, Pausing, Paused, Resuming, Cancelling];
        let send = Command::SendGcode {
            lines: vec!["M105".to_owned()],
            tune: false,
        };
        let print = JobDemand {
            source: JobSource::File("a".repeat(64)),
            skip: Vec::new(),
            materials: Vec::new(),
            plate: None,
            start_id: None,
            ignored: Vec::new(),
            hold: false,
            discard: false,
        };
        let rows = [
            (Demand::Print(print), "y....."),
            (Demand::Command(Command::Pause), ".y...."),
            (Demand::Command(Command::Resume), "...y.."),
            (
                Demand::Command(Command::Cancel(CancelReason::default())),
                ".yyy..",
            ),
            (Demand::ClearBed { rating: None }, "y....."),
            (Demand::Skip(vec!["1".to_owned()]), ".yyyyy"),
            (Demand::Command(send), "y....."),
            (Demand::Command(Command::EmergencyStop), "yyyyyy"),
        ];
        for (demand, row) in rows {
            for (word, want) in states.iter().zip(row.chars()) {
                let got = refusal(1, *word, &demand);
                assert_eq!(got.is_none(), want == 'y', "{demand:?} while {word}: {got:?}");
            }
        }
    }

    #[test]
    fn a_bed_may_be_cleared_while_the_printer_is_offline() {
        assert_eq!(
            refusal(1, StateWord::Offline, &Demand::ClearBed { rating: None }),
            None
        );
        let skip = Demand::Skip(vec!["1".to_owned()]);
        let told = refusal(1, StateWord::Operational, &skip).expect("refused");
        assert_eq!(told.message, "No active print job found");
    }
}
