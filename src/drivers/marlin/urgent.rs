//! Emergency stop: ahead of everything, and told truthfully.

use std::time::{Duration, Instant};

use super::faults;
use super::history::Tag;
use super::proto::{Marlin, Output, Phase};
use super::silence::Patience;
use crate::printer::command::RequestId;
use crate::printer::event::Event;
use crate::printer::fault::Fault;
use crate::printer::model::{Activity, Now};
use crate::printer::notice::Level;
use crate::printer::outcome::{Missing, Outcome};

/// How long the printer's last words are awaited.
const LAST_WORDS: Duration = Duration::from_millis(1500);

/// A stop on its way.
#[derive(Debug)]
pub struct Estop {
    /// Who asked; `RequestId(0)` for the watch.
    pub id: RequestId,
    at: Instant,
    written: bool,
}

impl Estop {
    /// When it is settled without words of the printer.
    pub fn deadline(&self) -> Instant {
        self.at + LAST_WORDS
    }
}

impl Marlin {
    /// Emergency stop, whatever runs.
    pub fn urgent(&mut self, now: Now, id: RequestId) {
        self.stop_everything(now, id, faults::ESTOP);
    }

    /// The thermal watch found a heater out of control.
    pub(super) fn stop_for_safety(&mut self, now: Now, fault: Fault) {
        if self.estop.is_none() && self.phase != Phase::Halted {
            self.notice(now, &fault, Level::Error);
            self.stop_everything(now, RequestId(0), fault.clone());
            self.event(Event::Danger(fault));
        }
    }

    fn stop_everything(&mut self, now: Now, id: RequestId, fault: Fault) {
        // Behind a line end, so that it stands alone even if something was half written; then
        // numbered, for firmware that wants it so; then heaters, should both be ignored.
        self.sender.tx.extend_from_slice(b"\nM112\n");
        if self.phase != Phase::Hello {
            let _ = self.sender.push(now.mono, b"M112", Tag::Step, Patience::Short);
        }
        self.last_words();
        if let Some(before) = self.estop.replace(Estop {
            id,
            at: now.mono,
            written: false,
        }) {
            self.reply(before.id, Outcome::Sent);
        }
        self.end_job_as_failed(now, fault.clone());
        self.script.clear();
        self.users.refuse_all(&mut self.out, "Emergency stop.");
        self.event(Event::Activity(Activity::Error(fault)));
        self.phase = Phase::Halted;
    }

    /// Everything in `tx` so far has been written to the port.
    pub fn written(&mut self) {
        if let Some(estop) = &mut self.estop {
            estop.written = true;
        }
    }

    pub(super) fn estop_tick(&mut self, now: Now) {
        let Some(estop) = &self.estop else { return };
        if now.mono < estop.deadline() {
            return;
        }
        let outcome = if estop.written {
            Outcome::Sent
        } else {
            Outcome::Unverified {
                waited: LAST_WORDS,
                missing: Missing::Ack,
            }
        };
        let id = estop.id;
        self.estop = None;
        self.out.push_back(Output::Reply(id, outcome));
        self.out.push_back(Output::Hangup(faults::ESTOP));
    }
}
