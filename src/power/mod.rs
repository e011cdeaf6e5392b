//! The switch of a printer's supply: a relay in the network, a GPIO line, or a command of the owner.
//!
//! | file | what |
//! |---|---|
//! | `machine` | what is to be done, what was seen, when to try again (pure) |
//! | `relay` | calls and answers of the kinds (pure) |
//! | `digest` | the login of newer Shellys (pure) |
//! | `rules` | when a supply may be switched off (pure) |
//! | `wire` | HTTP, GPIO and commands, each with a deadline and a size limit |
//! | `switch` | the task of one switch and the handle that others hold |
//!
//! An order ends verified when the switch itself is *seen* to have obeyed. A cut for safety goes past
//! every other order, is tried for a minute, and stays until a person switches on again, also over
//! restarts of the daemon.

mod digest;
pub mod faults;
pub mod machine;
pub mod relay;
pub mod rules;
pub mod switch;
mod wire;

use crate::config::model::PowerKind;
use crate::printer::fault::Fault;

/// Looks once whether a switch answers, without switching it; `None`: it is there and does not tell how it
/// stands.
///
/// # Errors
/// It cannot be reached, or answers as no switch of its kind does.
pub async fn probe(kind: &PowerKind) -> Result<Option<bool>, Fault> {
    if let PowerKind::Gpio { chip, .. } = kind {
        // Taking the line would disturb a daemon that holds it.
        return match std::fs::metadata(chip) {
            Ok(_) => Ok(None),
            Err(e) => Err(faults::UNREACHABLE.with_raw(format!("{}: {e}", chip.display()))),
        };
    }
    wire::Wire::new(kind)?.ask(relay::Ask::State).await
}
