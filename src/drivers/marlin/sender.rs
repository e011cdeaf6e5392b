//! Line numbers, acknowledgements and resends: what it takes to get each line executed exactly once.
//!
//! Pure. The layer above pushes lines when there is [`Sender::room`] and watches
//! [`Sender::acked`]; the bytes to write gather in [`Sender::tx`].
//!
//! * A lost `ok` is never answered by sending the line again: Marlin 2.1 drops a repeated number in
//!   silence. An unnumbered `M105` is asked; when its `ok` comes, a numbered `M105` follows, and
//!   either it is accepted (then everything before was) or the printer names the line it misses.
//! * A `Resend` is not protected by a checksum, so its number is believed only within reason.
//! * The `ok` behind a `Resend` belongs to the refused line.
//! * Surplus `ok`s never open the window further, as far as they can be told: an `M105` now and then has
//!   an `ok` that is nobody else's. What runs ahead unseen until then may overflow the printer's buffer;
//!   two lines joined by that pass its checksum (an XOR of eight bits) once in 256 times. No host can
//!   see that one.

mod acknowledge;
mod resend;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::answer::Cause;
use super::history::{History, Tag};
use super::silence::{self, PROBE_SPACING, PROBES_MAX, Patience};

/// Bytes that may be unread by the printer at once (its receive buffer is 128).
const BYTES_IN_FLIGHT: usize = 127;

/// The same where an `ok` does not name its line: surplus ones, which nobody can tell, open the window
/// further than it seems, and a buffer that overflows joins two lines, which the checksum may not notice.
const BYTES_IN_FLIGHT_UNNAMED: usize = 64;

/// How long the `ok` behind a `Resend` is awaited; some firmwares leave it out.
const OK_AFTER_RESEND: Duration = Duration::from_millis(500);

/// How long a line that may have been accepted after all keeps its chance before it is sent again.
const HOLD: Duration = Duration::from_millis(300);

/// The same after a request that is taken for an echo of the one before.
const HOLD_ECHO: Duration = Duration::from_secs(2);

/// An answer to an out-of-band line (M108) is awaited so long.
const LOOSE_EXPIRES: Duration = Duration::from_secs(5);

/// How far back behind the last acknowledged line a `Resend` is believed: surplus `ok`s may have
/// run us a few lines ahead, never more.
const BELIEVED_BACK: u32 = 8;

/// The same line asked for so often: what still comes is waited for before it is sent again.
const SAME_RESEND_QUIET: u32 = 5;

/// No further request for so long: the rest of the burst has come.
const QUIET: Duration = Duration::from_secs(1);

/// Requests for the same line, with pauses between them: stuck.
const SAME_RESEND_MAX: u32 = 10;

/// Requests for the same line, however they came: stuck.
const BURST_MAX: u32 = 200;

/// So many `M105`s with a bare `ok`, and none with temperatures in the same line, prove that it is the
/// firmware's way.
const BARE_PROVES: u8 = 4;

/// Where `M105` is answered with temperatures, so many bare `ok`s in a row in their place mean that the
/// printer takes lines without executing them.
const UNMARKED_MAX: u8 = 8;

/// Requests out of reach in a row before the job is given up.
const BAD_ROUNDS_MAX: u8 = 3;

/// Why sending cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No answer to anything, probes included.
    Silent,
    /// The printer talks but never acknowledges.
    NoOk,
    /// The same line is asked for again and again.
    Stuck(u32),
    /// The printer asks for lines that were sent long ago.
    OutOfStep(u32),
    /// The printer has begun to count anew: it has reset.
    Reset,
    /// The printer takes this line for one without a checksum: a comment or too long.
    Unreadable(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Numbered(u32),
    /// Unnumbered `M105` that asks whether the printer is there.
    Probe,
    /// Unnumbered line whose `ok` comes some time (M108).
    Loose,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    what: What,
    at: Instant,
    bytes: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rewind {
    None,
    /// A `Resend` came; its `ok` is awaited. `None`: go back nowhere, only swallow the `ok`.
    AwaitOk {
        to: Option<u32>,
        since: Instant,
        hold: Option<Duration>,
    },
    /// The refused line was perhaps a copy; the `ok` of the real one may still come.
    Hold {
        to: u32,
        until: Instant,
    },
    /// The same line was asked for several times: answers to old copies may still be on their way.
    /// Until none came for a while, nothing is sent and nothing is counted.
    Quiet {
        to: u32,
        until: Instant,
    },
}

/// The sending side of the line protocol.
#[derive(Debug)]
pub struct Sender {
    /// Bytes to be written, in order. The shell takes them.
    pub tx: Vec<u8>,
    history: History,
    /// Everything below was acknowledged.
    acked: u32,
    /// Next number to transmit; below `history.next()` while lines are sent again.
    sent: u32,
    /// Unanswered lines, oldest first. At most window + probes + loose lines (< 16).
    flight: VecDeque<Flight>,
    window: usize,
    rewind: Rewind,
    /// Some lines are neither acknowledged nor known to be lost; `true`: the question is on its way.
    uncertain: Option<bool>,
    probe_wanted: bool,
    probes: u8,
    last_probe: Option<Instant>,
    /// Bare `ok`s while the answer to a question was awaited.
    unmarked: u8,
    /// Whatever left a doubt about which line an `ok` belonged to.
    doubts: u32,
    /// `M105` is answered with `ok T:…` in one line: its `ok` can be told from others.
    inline_temps: Option<bool>,
    /// `M105`s that a bare `ok` answered, since the last one that was answered in one line.
    bare_temps: u8,
    /// `ok`s name their lines.
    named: bool,
    /// Cause of the last refusal and the line it says was taken last, until its `Resend` comes.
    cause: Option<(Cause, Option<u32>)>,
    same_resend: (u32, u32),
    equal_ignored: u32,
    burst: u32,
    bad_rounds: u8,
    bad_number: Option<u32>,
    no_checksum: (u32, u8),
    resends_without_ok: u8,
    /// Any line came.
    last_rx: Instant,
    /// The printer acknowledged, or said that it is busy.
    last_alive: Instant,
    keepalive: bool,
    /// `ok`s that belonged to nothing.
    surplus: u32,
    /// First transmissions.
    pub lines: u64,
    /// Repeated transmissions.
    pub resends: u64,
}

impl Sender {
    /// A sender whose first line gets number `next`.
    pub fn new(now: Instant, next: u32) -> Self {
        Sender {
            tx: Vec::with_capacity(512),
            history: History::starting_at(next),
            acked: next,
            sent: next,
            flight: VecDeque::with_capacity(16),
            window: 1,
            rewind: Rewind::None,
            uncertain: None,
            probe_wanted: false,
            probes: 0,
            last_probe: None,
            unmarked: 0,
            doubts: 0,
            inline_temps: None,
            bare_temps: 0,
            named: false,
            cause: None,
            same_resend: (0, 0),
            equal_ignored: 0,
            burst: 0,
            bad_rounds: 0,
            bad_number: None,
            no_checksum: (0, 0),
            resends_without_ok: 0,
            last_rx: now,
            last_alive: now,
            keepalive: false,
            surplus: 0,
            lines: 0,
            resends: 0,
        }
    }

    /// Starts counting anew: the next line gets number `next`. What was in flight is forgotten.
    pub fn restart(&mut self, now: Instant, next: u32) {
        self.history.restart_at(next);
        self.acked = next;
        self.sent = next;
        self.flight.clear();
        self.rewind = Rewind::None;
        self.uncertain = None;
        self.probe_wanted = false;
        self.probes = 0;
        self.unmarked = 0;
        self.cause = None;
        self.same_resend = (0, 0);
        self.equal_ignored = 0;
        self.burst = 0;
        self.bad_rounds = 0;
        self.bad_number = None;
        self.last_alive = now;
    }

    /// Lines in flight at most.
    pub fn set_window(&mut self, lines: usize) {
        self.window = lines.clamp(1, 4);
    }

    /// Lines in flight at most.
    pub fn window(&self) -> usize {
        self.window
    }

    /// All numbers below are acknowledged.
    pub fn acked(&self) -> u32 {
        self.acked
    }

    /// The number the next new line gets.
    pub fn next(&self) -> u32 {
        self.history.next()
    }

    /// Whose line a number is.
    pub fn tag(&self, number: u32) -> Option<Tag> {
        self.history.get(number).map(|s| s.tag)
    }

    /// The text as sent, for messages.
    pub fn text(&self, number: u32) -> String {
        let wire = self
            .history
            .get(number)
            .map(|s| s.wire.as_slice())
            .unwrap_or_default();
        String::from_utf8_lossy(wire).trim_end().to_owned()
    }

    /// Nothing is unanswered.
    pub fn is_idle(&self) -> bool {
        self.acked == self.history.next() && !self.flight.iter().any(|f| f.what != What::Loose)
    }

    /// A refusal is being dealt with: lines may go out again.
    pub fn is_refused(&self) -> bool {
        self.rewind != Rewind::None
    }

    /// Since [`Sender::trust`] everything went as it should: no line again, no `ok` too many, no question;
    /// and the `ok` of an `M105` can be told from others, so that one too many would have been seen.
    pub fn is_beyond_doubt(&self) -> bool {
        self.doubts == 0 && self.inline_temps == Some(true)
    }

    /// From here on doubts are counted.
    pub fn trust(&mut self) {
        self.doubts = 0;
    }

    /// What the oldest unanswered line may take.
    pub fn patience(&self) -> Patience {
        for f in &self.flight {
            if let What::Numbered(n) = f.what {
                return self.history.get(n).map_or(Patience::Short, |s| s.patience);
            }
        }
        Patience::Short
    }

    /// The oldest numbered line that is unanswered.
    pub fn front(&self) -> Option<u32> {
        self.flight.iter().find_map(|f| match f.what {
            What::Numbered(n) => Some(n),
            _ => None,
        })
    }

    /// `ok`s that belonged to nothing: a reason to ask for a marked one (`M105`) more often.
    pub fn surplus(&self) -> u32 {
        self.surplus
    }

    /// Whether `M105` is answered in one line with its `ok`; `None`: not seen yet.
    pub fn inline_temps(&self) -> Option<bool> {
        self.inline_temps
    }

    /// Whether it is worth an `M105` to see where its `ok` stands among the others. A single bare answer
    /// proves nothing: it may have been an `ok` too many.
    pub fn may_be_marked(&self) -> bool {
        !self.named && (self.inline_temps == Some(true) || self.bare_temps < BARE_PROVES)
    }

    /// Whether a new line may be pushed now.
    pub fn room(&self) -> bool {
        self.sent == self.history.next() && self.uncertain.is_none() && self.may_transmit(32)
    }

    fn may_transmit(&self, bytes: usize) -> bool {
        if self.rewind != Rewind::None || self.probe_wanted {
            return false;
        }
        let (mut lines, mut total) = (0, 0);
        for f in &self.flight {
            match f.what {
                What::Probe => return false,
                What::Loose => {}
                What::Numbered(_) => {
                    lines += 1;
                    total += usize::from(f.bytes);
                }
            }
        }
        let (window, room) = match self.named {
            true => (self.window, BYTES_IN_FLIGHT),
            false if self.surplus == 0 => (self.window, BYTES_IN_FLIGHT_UNNAMED),
            false => (1, BYTES_IN_FLIGHT_UNNAMED),
        };
        lines == 0 || (lines < window && total + bytes <= room)
    }

    /// Numbers and sends a line. `Err`: too long for the wire, or there is no room for one.
    pub fn push(&mut self, now: Instant, text: &[u8], tag: Tag, patience: Patience) -> Result<u32, TooLong> {
        let number = self.history.add(text, tag, patience).ok_or(TooLong)?;
        self.lines += 1;
        self.transmit(now, number);
        Ok(number)
    }

    /// Sends a text without a number that has its own `ok` some time.
    pub fn push_loose(&mut self, now: Instant, text: &[u8], answered: bool) {
        self.tx.extend_from_slice(text);
        self.tx.push(b'\n');
        if answered && self.flight.len() < 12 {
            self.flight.push_back(Flight {
                what: What::Loose,
                at: now,
                bytes: 0,
            });
        }
    }

    /// Asks a harmless question as soon as possible.
    pub fn ask(&mut self) {
        self.probe_wanted = true;
    }

    fn transmit(&mut self, now: Instant, number: u32) {
        let Some(line) = self.history.get(number) else {
            return;
        };
        self.tx.extend_from_slice(&line.wire);
        let bytes = line.wire.len() as u16;
        if self.flight.is_empty() {
            // Nothing was expected before: silence is counted from here.
            self.last_alive = now;
        }
        self.flight.push_back(Flight {
            what: What::Numbered(number),
            at: now,
            bytes,
        });
        self.sent = number + 1;
    }

    /// Sends what the protocol itself has to send: lines again, questions. Call before pushing.
    pub fn service(&mut self, now: Instant) {
        if self.probe_wanted && self.rewind == Rewind::None {
            self.probe(now);
        }
        while self.sent < self.history.next() && self.uncertain.is_none() {
            if !self.transmit_again(now) {
                return;
            }
        }
        // Neither acknowledged nor known to be lost: the next numbered line brings it to light.
        if self.uncertain == Some(false) && self.may_transmit(16) {
            self.uncertain = Some(true);
            if self.sent < self.history.next() {
                self.transmit_again(now);
            } else {
                // Cannot be too long.
                let _ = self.push(now, b"M105", Tag::Temps, Patience::Short);
            }
        }
    }

    fn transmit_again(&mut self, now: Instant) -> bool {
        let bytes = self.history.get(self.sent).map_or(0, |s| s.wire.len());
        let may = self.may_transmit(bytes);
        if may {
            self.resends += 1;
            self.transmit(now, self.sent);
        }
        may
    }

    fn probe(&mut self, now: Instant) {
        self.probe_wanted = false;
        self.probes = self.probes.saturating_add(1);
        self.last_probe = Some(now);
        self.doubts = self.doubts.saturating_add(1);
        self.flight.retain(|f| f.what != What::Probe);
        self.tx.extend_from_slice(b"M105\n");
        self.flight.push_back(Flight {
            what: What::Probe,
            at: now,
            bytes: 5,
        });
    }

    fn ack_through(&mut self, number: u32) {
        self.acked = self.acked.max(number + 1);
        // What was to go out again was taken after all.
        self.sent = self.sent.max(number + 1);
        self.uncertain = None;
        self.bad_rounds = 0;
        self.bad_number = None;
        match self.rewind {
            Rewind::Hold { to, .. } | Rewind::Quiet { to, .. } if to <= number => self.rewind = Rewind::None,
            Rewind::AwaitOk {
                to: Some(to), since, ..
            } if to <= number => {
                self.rewind = Rewind::AwaitOk {
                    to: None,
                    since,
                    hold: None,
                };
            }
            _ => {}
        }
        if number >= self.same_resend.0 {
            self.same_resend = (0, 0);
            self.equal_ignored = 0;
            self.burst = 0;
        }
        self.unmarked = 0;
    }

    /// Any line came from the printer.
    pub fn heard(&mut self, now: Instant) {
        self.last_rx = now;
    }

    /// The printer says that it works on something.
    pub fn busy(&mut self, now: Instant, by_itself: bool) {
        self.last_alive = now;
        self.probes = 0;
        self.keepalive |= by_itself;
    }

    /// When [`Sender::tick`] is next due; only a hint, early calls do nothing.
    pub fn deadline(&self, planned: Duration) -> Option<Instant> {
        let mut due = match self.rewind {
            Rewind::AwaitOk { since, .. } => Some(since + OK_AFTER_RESEND),
            Rewind::Hold { until, .. } | Rewind::Quiet { until, .. } => Some(until),
            Rewind::None => None,
        };
        if let Some(front) = self.flight.front() {
            if self.rewind == Rewind::None {
                due = [due, self.silence_due(front, planned).map(|(at, _)| at)]
                    .into_iter()
                    .flatten()
                    .min();
            }
            if front.what == What::Loose {
                due = [due, Some(front.at + LOOSE_EXPIRES)].into_iter().flatten().min();
            }
        }
        due
    }

    /// Time passes. `planned`: duration of the moves that may still be queued.
    pub fn tick(&mut self, now: Instant, planned: Duration) -> Result<(), Trouble> {
        match self.rewind {
            Rewind::AwaitOk { to, since, hold } if now >= since + OK_AFTER_RESEND => {
                if to.is_some() {
                    self.resends_without_ok = self.resends_without_ok.saturating_add(1);
                }
                self.end_of_refusal(now, to, hold);
            }
            Rewind::Hold { to, until } | Rewind::Quiet { to, until } if now >= until => {
                self.rewind = Rewind::None;
                self.go_back(to);
            }
            _ => {}
        }
        while self
            .flight
            .front()
            .is_some_and(|f| f.what == What::Loose && now >= f.at + LOOSE_EXPIRES)
        {
            self.flight.pop_front();
        }
        let Some(front) = self.flight.front() else {
            return Ok(());
        };
        let Some((due, trouble)) = self.silence_due(front, planned) else {
            return Ok(());
        };
        if now < due || self.rewind != Rewind::None {
            return Ok(());
        }
        match trouble {
            Some(trouble) => Err(trouble),
            None if self.unmarked >= UNMARKED_MAX => Err(Trouble::NoOk),
            None => {
                self.probe(now);
                Ok(())
            }
        }
    }

    /// What comes next if the printer stays as silent as it is, and when: a probe, or the end.
    fn silence_due(&self, front: &Flight, planned: Duration) -> Option<(Instant, Option<Trouble>)> {
        let since = front.at.max(self.last_alive);
        // What is asked in vain is answered behind the command: it must not be taken for the `ok` of a line then.
        let soon = self.keepalive || self.inline_temps == Some(true);
        let limits = silence::limits(self.patience(), planned, soon);
        let give_up = limits.give_up_after?;
        let last = self.last_probe.filter(|_| self.probes > 0);
        if self.probes < PROBES_MAX {
            let first = since + limits.probe_after.unwrap_or(give_up);
            return Some((last.map_or(first, |last| last + PROBE_SPACING), None));
        }
        let spaced = last.map_or(since, |last| last + PROBE_SPACING);
        let silent = (self.last_rx.max(since) + give_up).max(spaced);
        let no_ok = (since + give_up + 4 * silence::FLOOR).max(spaced);
        Some(if silent <= no_ok {
            (silent, Some(Trouble::Silent))
        } else {
            (no_ok, Some(Trouble::NoOk))
        })
    }
}

/// The line does not fit on the wire with its number and checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

#[cfg(test)]
#[path = "sender_tests.rs"]
mod tests;
