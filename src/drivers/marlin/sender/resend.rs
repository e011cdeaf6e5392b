//! Requests to send lines again: what is believed, what is done, and when it is enough.

use std::time::{Duration, Instant};

use super::{
    BAD_ROUNDS_MAX, BELIEVED_BACK, BURST_MAX, HOLD, HOLD_ECHO, QUIET, Rewind, SAME_RESEND_MAX,
    SAME_RESEND_QUIET, Sender, Trouble, What,
};
use crate::drivers::marlin::answer::Cause;

impl Sender {
    /// The printer refused a line; its `Resend` should follow.
    pub fn refused(&mut self, cause: Cause, last: Option<u32>) -> Result<(), Trouble> {
        self.cause = Some((cause, last));
        if cause == Cause::NoChecksum
            && let Some(last) = last
        {
            let number = last.saturating_add(1);
            self.no_checksum = if self.no_checksum.0 == number {
                (number, self.no_checksum.1.saturating_add(1))
            } else {
                (number, 1)
            };
            // Noise can eat a star once or twice, not three times in one line.
            if self.no_checksum.1 >= 3 && self.history.get(number).is_some() {
                return Err(Trouble::Unreadable(number));
            }
        }
        Ok(())
    }

    /// The printer asks for a line. `None`: it could not be read which.
    pub fn resend(&mut self, now: Instant, wanted: Option<u32>) -> Result<(), Trouble> {
        self.last_alive = now;
        self.probes = 0;
        self.doubts = self.doubts.saturating_add(1);
        let (cause, last) = self.cause.take().unzip();
        // No checksum protects a request, but a firmware that also says which line it took last says the
        // same thing twice. Number 0 is `M110` and must never go out again.
        let agrees = |n: u32| last.flatten().is_none_or(|last| last.checked_add(1) == Some(n));
        let oldest = self
            .history
            .oldest()
            .max(self.acked.saturating_sub(BELIEVED_BACK))
            .max(1);
        let believable = wanted.filter(|n| (oldest..=self.history.next()).contains(n) && agrees(*n));
        let Some(number) = believable else {
            return self.bad_number(now, wanted);
        };
        if number == self.sent || number == self.history.next() {
            // All was accepted: the answer to a copy. Its ok is still to be swallowed.
            self.await_ok(now, None, None);
            return Ok(());
        }
        if self.same_resend.0 == number && self.equal_ignored > 0 {
            self.equal_ignored -= 1;
            // Unless the printer means the copy that was sent just now: then its ok does not come.
            self.await_ok(now, Some(number), Some(HOLD_ECHO));
            return Ok(());
        }
        self.burst = if self.same_resend.0 == number {
            self.burst.saturating_add(1)
        } else {
            0
        };
        if self.burst > BURST_MAX {
            return Err(Trouble::Stuck(number));
        }
        if let Rewind::Quiet { .. } = self.rewind {
            self.rewind = Rewind::Quiet {
                to: number,
                until: now + QUIET,
            };
            return Ok(());
        }
        let count = if self.same_resend.0 == number {
            self.same_resend.1 + 1
        } else {
            1
        };
        self.same_resend = (number, count);
        // Making the printer count from here (M110) is no way out: when the requests are old ones that
        // come late, it would take lines a second time.
        if count > SAME_RESEND_MAX {
            return Err(Trouble::Stuck(number));
        }
        if count > SAME_RESEND_QUIET {
            self.rewind = Rewind::Quiet {
                to: number,
                until: now + QUIET,
            };
            return Ok(());
        }
        // With this one line in flight the printer refused something else than it, or a copy of the
        // one before: give the real one a moment to be acknowledged.
        let hold = cause == Some(Cause::WrongNumber)
            && number + 1 == self.sent
            && count == 1
            && self
                .flight
                .iter()
                .filter(|f| matches!(f.what, What::Numbered(_)))
                .count()
                == 1;
        self.await_ok(now, Some(number), hold.then_some(HOLD));
        Ok(())
    }

    fn await_ok(&mut self, now: Instant, to: Option<u32>, hold: Option<Duration>) {
        // A second request before the first one's ok: the newer number counts, if it has one.
        let (to, hold) = match self.rewind {
            Rewind::AwaitOk {
                to: Some(before),
                hold: None,
                ..
            } => (to.or(Some(before)), None),
            Rewind::AwaitOk { to: before, .. } => (to.or(before), hold),
            Rewind::Hold { to: before, .. } | Rewind::Quiet { to: before, .. } => (to.or(Some(before)), hold),
            Rewind::None => (to, hold),
        };
        if self.resends_without_ok >= 3 {
            self.rewind = Rewind::None;
            self.end_of_refusal(now, to, hold);
        } else {
            self.rewind = Rewind::AwaitOk { to, since: now, hold };
        }
    }

    pub(super) fn end_of_refusal(&mut self, now: Instant, to: Option<u32>, hold: Option<Duration>) {
        self.rewind = Rewind::None;
        match (to, hold) {
            (Some(to), Some(hold)) => {
                self.rewind = Rewind::Hold {
                    to,
                    until: now + hold,
                };
            }
            (Some(to), None) => self.go_back(to),
            (None, _) => {}
        }
    }

    pub(super) fn go_back(&mut self, to: u32) {
        // Lines behind the refused one were thrown away with it and may be asked for as often.
        self.equal_ignored = self
            .flight
            .iter()
            .filter(|f| matches!(f.what, What::Numbered(n) if n > to))
            .count() as u32;
        self.flight
            .retain(|f| !matches!(f.what, What::Numbered(n) if n >= to));
        self.flight.retain(|f| f.what != What::Probe);
        self.uncertain = None;
        self.sent = to;
    }

    /// A request that cannot be meant: damaged, or the printer has lost count.
    fn bad_number(&mut self, now: Instant, wanted: Option<u32>) -> Result<(), Trouble> {
        self.bad_rounds = self.bad_rounds.saturating_add(1);
        let confirmed = wanted.is_some() && self.bad_number == wanted;
        self.bad_number = wanted;
        match wanted {
            Some(n) if confirmed && n <= 1 => return Err(Trouble::Reset),
            Some(n) if confirmed && self.bad_rounds >= BAD_ROUNDS_MAX => return Err(Trouble::OutOfStep(n)),
            _ if self.bad_rounds > 2 * BAD_ROUNDS_MAX => return Err(Trouble::OutOfStep(wanted.unwrap_or(0))),
            _ => {}
        }
        // Swallow its ok, then ask, then let the next numbered line bring a clean request.
        self.await_ok(now, None, None);
        self.probe_wanted = true;
        Ok(())
    }
}
