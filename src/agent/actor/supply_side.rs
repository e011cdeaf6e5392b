//! The supply of the printer: asked for, watched, cut when a heater is out of control.

use tokio::sync::oneshot;

use super::Actor;
use crate::agent::clock;
use crate::printer::event::Event;
use crate::printer::fault::Fault;
use crate::printer::model::Supply;
use crate::printer::notice::{Level, Notice};
use crate::printer::outcome::Outcome;
use crate::printer::reduce::reduce;

/// Key of the notice about the switch.
const POWER: &str = "power";

impl Actor {
    pub(super) fn power(&mut self, on: bool) -> Result<oneshot::Receiver<Outcome>, Outcome> {
        let word = if on { "on" } else { "off" };
        let asked = match &self.shared.supply {
            None => Err(Outcome::refused(
                "refused/no-switch",
                "This printer has no power switch.",
            )),
            // A start that is being prepared is not yet seen in the printer's state.
            Some(_) if !on && self.preparing.is_some() => Err(Outcome::refused(
                "refused/wrong-state",
                "The supply stays on: a print is being prepared. Cancel it first.",
            )),
            Some(supply) => supply.ask(&self.state, clock::now().mono, on),
        };
        if asked.is_ok() {
            self.note(format!("asked: supply {word}"));
        }
        asked
    }

    /// A heater is out of control: the supply goes, hot or not.
    pub(super) fn cut_supply(&mut self, why: &Fault) {
        if let Some(supply) = &self.shared.supply {
            supply.cut(why);
            self.note(format!("supply is cut: {}", why.what));
        }
    }

    pub(super) fn on_supply(&mut self, supply: Supply) {
        let now = clock::now();
        let before = self.state.supply.as_ref();
        if before.and_then(|s| s.on) != supply.on {
            let word = match supply.on {
                Some(true) => "on",
                Some(false) => "off",
                None => "unknown",
            };
            tracing::info!(printer = %self.shared.name, supply = word, "supply");
            self.note(format!("supply: {word}"));
        }
        let told = self
            .state
            .supply
            .as_ref()
            .and_then(|s| s.fault.as_ref())
            .map(|f| f.code.clone());
        match &supply.fault {
            Some(fault) if told.as_ref() != Some(&fault.code) => {
                self.note(fault.to_string());
                let level = if supply.cut { Level::Error } else { Level::Warning };
                let mut notice = Notice::of_fault(fault, level, now.wall);
                notice.key = POWER.to_owned();
                reduce(&mut self.state, now, Event::Notice(notice));
            }
            None if told.is_some() => self.raise_cleared(POWER),
            _ => {}
        }
        reduce(&mut self.state, now, Event::Supply(supply));
        self.dirty = true;
    }
}
