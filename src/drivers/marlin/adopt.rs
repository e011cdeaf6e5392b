//! Going on with a print after a quick restart of the daemon: same port, same job, no line twice.
//!
//! The port was never closed, so the printer still counts. It is asked with a number that cannot be
//! right; the refusal names the last line that it accepted, in two places that have to agree. From
//! that number and the records follows the place of the program ([`super::resume_point`]). The program
//! is then read from its beginning without being sent, so that modes and filament are known, and goes
//! on under the number that the printer expects.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answer::Answer;
use super::history::Place;
use super::memory_record::Record;
use super::pause_record::PauseRecord;
use super::program::Job;
use super::proto::{Marlin, Output, Phase};
use super::resume_point::{ResumePoint, resume_point};
use super::skip::{Opening, plan_of};
use crate::printer::command::StartJob;
use crate::printer::event::{Event, JobEvent};
use crate::printer::model::{Now, PauseReason};

/// No job reaches this number, and it is no neighbour of one that does: a true neighbour would be
/// dropped in silence by Marlin 2.1.
const IMPOSSIBLE: u32 = 2_000_000_000;
/// Answers to what the last process sent may still be on their way: the last word counts.
const QUIET: Duration = Duration::from_millis(250);
/// The question is repeated after so much silence. A printer that heats says so every second.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// And after so much talk without an answer: reports that come by themselves say nothing of a lost line.
/// Rarely enough that a printer which heats for minutes still has room for all the questions.
const ASK_ANYWAY: Duration = Duration::from_secs(40);
/// Lines that the last process sent may still be at work, and their `ok`s on their way. An unnumbered
/// `M105` marks the end of them: its `ok` carries temperatures. Where it does not, so much quiet after
/// an `ok` has to do.
const PLAIN_QUIET: Duration = Duration::from_secs(3);
/// After so much silence nobody is there.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// The state of finding a job again.
#[derive(Debug)]
pub struct Adopting {
    start: StartJob,
    records: Vec<Record>,
    /// Pause as soon as it goes on.
    pause: bool,
    /// Objects are left out that nobody was told of.
    skips_untold: bool,
    asked: Instant,
    heard: Instant,
    /// `Last Line:` of the refusal that was read last.
    last: Option<u32>,
    /// What an earlier `Resend` asked for.
    earlier: Option<u32>,
    /// The number that the printer wants, and since when nothing contradicted it.
    wanted: Option<(u32, Instant)>,
    /// When the marking `M105` was sent.
    marked: Option<Instant>,
    /// When an `ok` without temperatures came since.
    plain: Option<Instant>,
    /// The job stands parked, with what its pause saved.
    parked: Option<Box<PauseRecord>>,
    /// The place that belongs to it.
    point: Option<(Place, u32)>,
}

impl Adopting {
    /// When a question that went out at `last` is put again.
    fn ask_at(&self, last: Instant) -> Instant {
        (self.heard.max(last) + ASK_AGAIN).min(last + ASK_ANYWAY)
    }
}

/// Reading on without sending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forward {
    /// Up to the line that ends here in the file,
    pub to_byte: u64,
    /// to this one of those that were put in there,
    pub to_step: u16,
    /// and so many commands more.
    pub skip: u32,
    /// Then pause.
    pub pause: bool,
    /// All of it went out in this run: what it did is known.
    pub again: bool,
}

/// A line whose number cannot be right: the printer refuses it and says where it is.
pub(super) fn impossible_question() -> String {
    let body = format!("N{IMPOSSIBLE} M105");
    let sum = body.bytes().fold(0u8, |sum, byte| sum ^ byte);
    // The line end closes a line that may have been left half written.
    format!("\n{body}*{sum}\n")
}

impl Marlin {
    /// Takes up a job of the process before, instead of the ordinary handshake.
    pub fn adopt(&mut self, now: Now, mut start: StartJob, records: Vec<Record>, pause: bool) {
        // What was left out in the last moments may not have reached the database.
        let told = start.skip.len();
        for record in &records {
            if let Record::Skip { id, .. } = record
                && !start.skip.contains(id)
            {
                start.skip.push(*id);
            }
        }
        let skips_untold = start.skip.len() > told;
        self.plan = Arc::new(plan_of(&start, &records));
        self.adopting = Some(Adopting {
            start,
            records,
            pause,
            skips_untold,
            asked: now.mono,
            heard: now.mono,
            last: None,
            earlier: None,
            wanted: None,
            marked: None,
            plain: None,
            parked: None,
            point: None,
        });
        self.hello.begin_adopting();
        self.ask_last_line(now);
    }

    /// A job of the process before cannot be taken up: told, and made cold with the first words.
    pub fn interrupted(&mut self, uid: uuid::Uuid) {
        self.out.push_back(Output::Record(Record::End));
        self.job_event(JobEvent::Interrupted { uid });
        self.cold_first();
    }

    /// The first words to the printer switch its heaters off: a print of before is lost.
    pub fn cold_first(&mut self) {
        self.hello.cool_first();
        self.cool_at_ready = true;
    }

    /// That has not been done yet.
    pub fn is_cold_first(&self) -> bool {
        self.cool_at_ready
    }

    /// The job that is being found again.
    pub(super) fn adopting_uid(&self) -> Option<uuid::Uuid> {
        self.adopting.as_ref().map(|adopting| adopting.start.uid)
    }

    fn ask_last_line(&mut self, now: Now) {
        if let Some(adopting) = &mut self.adopting {
            adopting.asked = now.mono;
        }
        self.sender.tx.extend_from_slice(impossible_question().as_bytes());
    }

    /// Every line that comes while the place is sought. `true`: it is answered for; an `ok` of the
    /// process before is none of the sender's business.
    pub(super) fn adopt_line(&mut self, now: Now, answer: &Answer<'_>) -> bool {
        let Some(adopting) = self.adopting.as_mut().filter(|a| a.point.is_none()) else {
            return false;
        };
        adopting.heard = now.mono;
        let alive = matches!(
            answer,
            Answer::Ok(_) | Answer::Busy(_) | Answer::Temps | Answer::Refused { .. } | Answer::Resend(_)
        );
        // It may heat for minutes before it answers; it is there all the same, and saying otherwise
        // would end the job upstream.
        if alive && self.hello.first_up() {
            self.out.push_back(Output::Event(Event::Up));
        }
        match answer {
            // It has reset: nothing is left to go on with.
            Answer::Start => self.not_adopted(),
            Answer::Refused { last, .. } => adopting.last = *last,
            Answer::Resend(Some(number)) => {
                let agrees = adopting
                    .last
                    .take()
                    .is_some_and(|last| last.checked_add(1) == Some(*number))
                    || adopting.earlier == Some(*number);
                adopting.earlier = Some(*number);
                adopting.wanted = agrees.then_some((*number, now.mono));
                adopting.marked = None;
                if !agrees {
                    self.ask_last_line(now);
                }
            }
            Answer::Ok(info) => {
                if let (Some((number, _)), Some(_)) = (adopting.wanted, adopting.marked) {
                    adopting.plain = Some(now.mono);
                    if info.temps {
                        self.found(now, number);
                    }
                }
            }
            Answer::Busy(_) => adopting.plain = None,
            _ => {}
        }
        matches!(answer, Answer::Ok(_) | Answer::Resend(_) | Answer::Refused { .. })
    }

    pub(super) fn adopt_tick(&mut self, now: Now) {
        let Some(adopting) = self.adopting.as_mut().filter(|a| a.point.is_none()) else {
            return;
        };
        let silent = now.mono >= adopting.heard + SILENCE_MAX;
        let repeat = |last: Instant| now.mono >= adopting.ask_at(last);
        match (adopting.wanted, adopting.marked) {
            (Some(_), _) if silent => self.not_adopted(),
            (Some((number, _)), Some(_)) if adopting.plain.is_some_and(|at| now.mono >= at + PLAIN_QUIET) => {
                self.found(now, number);
            }
            (Some((_, since)), marked) if now.mono >= since + QUIET && marked.is_none_or(repeat) => {
                adopting.marked = Some(now.mono);
                self.sender.tx.extend_from_slice(b"M105\n");
            }
            (Some(_), _) => {}
            (None, _) if silent => self.not_adopted(),
            (None, _) if repeat(adopting.asked) => self.ask_last_line(now),
            (None, _) => {}
        }
    }

    pub(super) fn adopt_deadline(&self) -> Option<Instant> {
        let adopting = self.adopting.as_ref().filter(|a| a.point.is_none())?;
        let again = adopting.ask_at(adopting.marked.unwrap_or(adopting.asked));
        let due = match (adopting.wanted, adopting.marked, adopting.plain) {
            (Some((_, since)), None, _) => since + QUIET,
            (Some(_), Some(_), Some(plain)) => again.min(plain + PLAIN_QUIET),
            _ => again,
        };
        Some(due.min(adopting.heard + SILENCE_MAX))
    }

    fn found(&mut self, now: Now, number: u32) {
        let Some(adopting) = &mut self.adopting else {
            return;
        };
        match resume_point(&adopting.records, number) {
            ResumePoint::Program { after, skip } => {
                adopting.point = Some((after, skip));
                // The questions that follow take numbers too.
                self.out.push_back(Output::Record(Record::Aside { number }));
                self.go_on_from(now, number);
            }
            ResumePoint::Parked => match adopting.records.pop() {
                Some(Record::Parked { saved: Some(saved) }) => {
                    adopting.point = Some((saved.place, 0));
                    adopting.parked = Some(saved);
                    self.go_on_from(now, number);
                }
                _ => self.not_adopted(),
            },
            ResumePoint::Lost => self.not_adopted(),
        }
    }

    fn go_on_from(&mut self, now: Now, number: u32) {
        self.sender.restart(now.mono, number);
        self.acks_seen = number;
        self.ask_identity(now);
    }

    /// Back to the ordinary handshake.
    fn not_adopted(&mut self) {
        if let Some(adopting) = self.adopting.take() {
            self.interrupted(adopting.start.uid);
            self.hello.begin_listening();
        }
    }

    /// The printer is known again: the job goes on. `false`: there is none to take up.
    pub(super) fn take_job_up(&mut self, now: Now) -> bool {
        let Some(Adopting {
            start,
            pause,
            skips_untold,
            parked,
            point: Some((after, skip)),
            ..
        }) = self.adopting.take()
        else {
            return false;
        };
        let uid = start.uid;
        self.job_event(JobEvent::Adopted { uid });
        if skips_untold {
            self.event(Event::Skipped(start.skip.clone()));
        }
        self.program.clear();
        self.forward = Some(Forward {
            to_byte: after.byte_end,
            to_step: after.step,
            skip,
            // One that stands already needs no pause.
            pause: pause && parked.is_none(),
            again: false,
        });
        self.out.push_back(Output::OpenProgram(Opening {
            job: start.clone(),
            plan: self.plan.clone(),
            from: None,
        }));
        self.reports.job_begins(now.mono);
        self.idle_heat.job_begins();
        self.job = Some(Job {
            start,
            seen: true,
            start_reply: None,
            reply: None,
            resuming: false,
            place: after,
            sent: after,
        });
        match parked {
            Some(parked) => {
                let saved = parked.saved(now.mono);
                let why = saved.why;
                self.saved = Some(saved);
                self.set_phase(Phase::Paused(why));
            }
            None => self.set_phase(Phase::Printing),
        }
        true
    }

    /// Reads what the printer has already.
    pub(super) fn fast_forward(&mut self, now: Now) {
        let Some(mut forward) = self.forward.take() else {
            return;
        };
        let Marlin { program, track, .. } = self;
        let mut last = None;
        let reached = loop {
            if forward.to_byte == 0 && forward.skip == 0 {
                break true;
            }
            let Some((place, text)) = program.peek() else {
                break program.over();
            };
            if place.is_behind(forward.to_byte, forward.to_step) {
                if forward.skip == 0 {
                    break true;
                }
                forward.skip -= 1;
            }
            if !forward.again {
                track.follow(text);
                last = Some(place);
            }
            program.pass();
        };
        if let (Some(place), Some(job)) = (last, &mut self.job) {
            job.place = place;
            job.sent = place;
            self.reports.last_sent = place;
            self.reports.progress_changed = true;
        }
        if !reached {
            self.forward = Some(forward);
            return;
        }
        self.skip_took_hold();
        if forward.pause {
            self.begin_pause(now, PauseReason::Requested, None);
        }
    }
}

#[cfg(test)]
#[path = "adopt_tests.rs"]
mod tests;
