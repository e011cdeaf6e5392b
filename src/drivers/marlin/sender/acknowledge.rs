//! Whose `ok` it is: in the order of sending, by the line it names, or by the temperatures it carries.

use std::time::Instant;

use super::{Rewind, Sender, What};
use crate::drivers::marlin::answer::OkInfo;
use crate::drivers::marlin::history::Tag;

impl Sender {
    /// An `ok` came.
    pub fn ok(&mut self, now: Instant, info: OkInfo) {
        self.last_alive = now;
        if let Rewind::AwaitOk { to, hold, .. } = self.rewind
            && !info.temps
            && info.line.is_none()
        {
            self.resends_without_ok = 0;
            self.end_of_refusal(now, to, hold);
            return;
        }
        self.probes = 0;
        self.named |= info.line.is_some();
        if info.temps {
            self.bare_temps = 0;
        }
        if let Some(line) = info.line
            && line < self.sent
        {
            // A firmware that names a line in every `ok` names the last accepted one in the answer to
            // an unnumbered M105 (OctoPrint's virtual printer; Marlin's own lacks the number there).
            if !self.ok_of(line, info.temps)
                && info.temps
                && let Some(index) = self.flight.iter().position(|f| f.what == What::Probe)
            {
                self.answered(index);
            }
            return;
        }
        if info.temps {
            let asked = self.flight.iter().position(|f| match f.what {
                What::Probe => true,
                What::Numbered(n) => self.tag(n) == Some(Tag::Temps) || self.is_user_m105(n),
                What::Loose => false,
            });
            match asked {
                Some(index) => {
                    self.inline_temps = Some(true);
                    self.answered(index);
                }
                // The answer to a probe given up, or to an M105 that a surplus `ok` seemed to answer.
                None if self.inline_temps.is_some() => {
                    self.inline_temps = Some(true);
                    self.too_many();
                }
                None => self.plain_ok(),
            }
            return;
        }
        if matches!(self.rewind, Rewind::Quiet { .. }) {
            self.too_many();
            return;
        }
        if let Rewind::Hold { to, .. } = self.rewind {
            // The line was accepted after all; what was refused was a copy.
            self.rewind = Rewind::None;
            self.flight.retain(|f| f.what != What::Numbered(to));
            self.ack_through(to);
            return;
        }
        self.plain_ok();
    }

    /// An `ok` that belongs to nothing.
    fn too_many(&mut self) {
        self.surplus = self.surplus.saturating_add(1);
        self.doubts = self.doubts.saturating_add(1);
    }

    fn is_user_m105(&self, number: u32) -> bool {
        self.history
            .get(number)
            .is_some_and(|s| s.wire.windows(6).any(|w| w == b" M105*" || w == b" M105 "))
    }

    /// The answer to the flight at `index` came; what stands before it stays unanswered.
    fn answered(&mut self, index: usize) {
        let Some(entry) = self.flight.get(index).copied() else {
            return;
        };
        let skipped = self
            .flight
            .iter()
            .take(index)
            .any(|f| matches!(f.what, What::Numbered(_)));
        self.flight.drain(..=index);
        self.unmarked = 0;
        match entry.what {
            // Numbers are accepted in order only: everything before it was.
            What::Numbered(n) => self.ack_through(n),
            _ => self.stray_or_released(skipped),
        }
    }

    fn stray_or_released(&mut self, skipped: bool) {
        if skipped
            || (self.acked < self.sent && !self.flight.iter().any(|f| matches!(f.what, What::Numbered(_))))
        {
            self.uncertain = Some(false);
        }
    }

    /// An `ok` that names its line; whether that line was in flight.
    fn ok_of(&mut self, line: u32, temps: bool) -> bool {
        if temps {
            self.inline_temps = Some(true);
        }
        let Some(index) = self.flight.iter().position(|f| f.what == What::Numbered(line)) else {
            // An old one that comes late, or one of a line that was released.
            if line >= self.acked {
                self.ack_through(line);
            }
            return false;
        };
        self.flight.drain(..=index);
        self.ack_through(line);
        true
    }

    fn plain_ok(&mut self) {
        let Some(front) = self.flight.front().copied() else {
            self.too_many();
            return;
        };
        match front.what {
            What::Loose => {
                self.flight.pop_front();
            }
            What::Probe => {
                // Where M105's ok carries temperatures a bare one is somebody else's.
                if self.inline_temps != Some(true) {
                    self.flight.pop_front();
                    self.stray_or_released(false);
                } else {
                    self.unmarked = self.unmarked.saturating_add(1);
                }
            }
            What::Numbered(n) => {
                let polled = self.tag(n) == Some(Tag::Temps);
                if polled && self.inline_temps == Some(true) {
                    self.too_many();
                    return;
                }
                if polled {
                    self.inline_temps = Some(false);
                    self.bare_temps = self.bare_temps.saturating_add(1);
                }
                self.flight.pop_front();
                self.ack_through(n);
            }
        }
    }
}
