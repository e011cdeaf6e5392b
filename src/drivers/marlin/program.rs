//! The running job: lines of its program, as they go out and as they are acknowledged.

use std::collections::VecDeque;
use std::sync::Arc;

use super::confirm::Confirm;
use super::faults;
use super::history::{Place, Tag, WIRE_MAX};
use super::memory_record::Record;
use super::proto::{Marlin, Output, Phase};
use super::scan::{command, has_word, word};
use super::script::{Mark, Step};
use super::silence::{self, Patience};
use super::skip::{Opening, plan_of};
use super::track::Track;
use crate::gcode::source::{Batch, Prepare};
use crate::printer::command::{RequestId, StartJob};
use crate::printer::event::JobEvent;
use crate::printer::fault::Fault;
use crate::printer::model::{Heater, Now, PauseReason};
use crate::printer::outcome::Outcome;

/// A job begins with small numbers again when they have grown beyond this.
const RENUMBER_ABOVE: u32 = 100_000;

/// Batches held at once.
const BATCHES_MAX: usize = 2;

/// A job of ours.
#[derive(Debug)]
pub struct Job {
    /// As it was started.
    pub start: StartJob,
    /// Its first line was acknowledged.
    pub seen: bool,
    /// Who waits for that.
    pub start_reply: Option<RequestId>,
    /// Who waits for a pause, a resume, a cancel.
    pub reply: Option<RequestId>,
    /// A resume is to be told with the next acknowledged line.
    pub resuming: bool,
    /// Last acknowledged place.
    pub place: Place,
    /// Last place given a number.
    pub sent: Place,
}

/// A piece of the program as it was read.
#[derive(Clone, Debug, Default)]
pub struct Piece {
    /// The commands.
    pub batch: Batch,
    /// Where they begin, to read from there again; only where objects can be left out.
    pub begin: Option<Arc<Prepare>>,
}

impl From<Batch> for Piece {
    fn from(batch: Batch) -> Self {
        Piece { batch, begin: None }
    }
}

/// What was read of the program and not sent yet.
#[derive(Debug, Default)]
pub struct Program {
    batches: VecDeque<Batch>,
    /// Where the batches and the one before them begin.
    begins: VecDeque<Arc<Prepare>>,
    next: usize,
    /// The last batch came.
    complete: bool,
}

impl Program {
    /// Whether another batch fits.
    pub fn wants(&self) -> bool {
        !self.complete && self.batches.len() < BATCHES_MAX
    }

    /// Takes a batch.
    pub fn feed(&mut self, piece: Piece) {
        self.complete |= piece.batch.last;
        self.batches.push_back(piece.batch);
        self.begins.extend(piece.begin);
        while self.begins.len() > self.batches.len() + 1 {
            self.begins.pop_front();
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.forget();
        self.begins.clear();
    }

    /// Forgets what was read, to read it again from the place that this gives.
    pub(super) fn reread(&mut self) -> Option<Arc<Prepare>> {
        self.forget();
        self.begins.truncate(1);
        self.begins.front().cloned()
    }

    /// Whether it can be read again without some of its objects.
    pub(super) fn can_reread(&self) -> bool {
        !self.begins.is_empty()
    }

    #[cfg(test)]
    pub(super) fn forget_places(&mut self) {
        self.begins.clear();
    }

    fn forget(&mut self) {
        self.batches.clear();
        self.next = 0;
        self.complete = false;
    }

    /// Where the next line of the file itself ends. Lines that were put in always come with the line
    /// that they were put in for.
    pub(super) fn next_own_end(&self) -> Option<u64> {
        let mut skip = self.next;
        for batch in &self.batches {
            let own = batch.lines.iter().skip(skip).find(|line| line.step == 0);
            if let Some(line) = own {
                return Some(line.byte_end);
            }
            skip = 0;
        }
        None
    }

    /// Everything was sent.
    pub(super) fn over(&mut self) -> bool {
        self.trim();
        self.complete && self.batches.is_empty()
    }

    /// The next command and its place.
    pub(super) fn peek(&mut self) -> Option<(Place, &[u8])> {
        self.trim();
        let batch = self.batches.front()?;
        let line = batch.lines.get(self.next)?;
        let place = Place {
            source_line: line.source_line,
            layer: line.layer,
            byte_end: line.byte_end,
            step: line.step,
        };
        Some((place, batch.text_of(line)))
    }

    /// Steps over it.
    pub(super) fn pass(&mut self) {
        self.next += 1;
    }

    fn trim(&mut self) {
        while self.batches.front().is_some_and(|b| self.next >= b.lines.len()) {
            self.batches.pop_front();
            self.next = 0;
        }
    }
}

/// What to do with a line that is not a plain move.
enum Verdict {
    Send(Patience),
    /// Not sent: the host's own business.
    Drop,
    /// A pause, with words for a person.
    Pause(PauseReason, Option<String>),
    /// Send this instead.
    Instead(String),
    /// Wait for the heat here, then send it.
    Preheat(Heater, f32, String),
    Fail(Fault),
}

impl Marlin {
    pub(super) fn start(&mut self, now: Now, id: RequestId, start: StartJob) {
        if let Some(job) = &self.job
            && job.start.uid == start.uid
        {
            self.reply(
                id,
                Outcome::refused("refused/already-started", "This job runs already."),
            );
            return;
        }
        if self.phase != Phase::Idle || self.job.is_some() || self.outside.running() {
            self.reply(
                id,
                Outcome::refused(
                    "refused/wrong-state",
                    "A print can be started only when the printer is idle.",
                ),
            );
            return;
        }
        let homed = self.track.homed;
        let tool = self.track.tool;
        self.track = Track::default();
        self.track.homed = homed;
        self.track.tool = tool;
        self.program.clear();
        self.saved = None;
        self.plan = Arc::new(plan_of(&start, &[]));
        self.skipping = None;
        self.out.push_back(Output::OpenProgram(Opening {
            job: start.clone(),
            plan: self.plan.clone(),
            from: None,
        }));
        self.out
            .push_back(Output::Record(Record::Begin { uid: start.uid }));
        self.job = Some(Job {
            start,
            seen: false,
            start_reply: Some(id),
            reply: None,
            resuming: false,
            place: Place::default(),
            sent: Place::default(),
        });
        self.reports.job_begins(now.mono);
        self.idle_heat.job_begins();
        self.sender.trust();
        // Small numbers make short lines. But a renumbering that gets lost, while a surplus `ok` seems
        // to answer it, would let old and new numbers be mistaken for each other: only when it pays,
        // and with a marked answer before the first line of the program.
        if self.sender.next() > RENUMBER_ABOVE {
            self.then([
                Step::fixed("M105"),
                Step::Await,
                Step::Renumber,
                Step::fixed("M105"),
                Step::Await,
            ]);
        }
        if self.uses_print_timer() {
            self.then([Step::fixed("M75")]);
        }
        for line in self.moment(&self.settings.gcode.start) {
            self.track.follow(line.as_bytes());
            self.then([Step::made(line)]);
        }
        self.phase = Phase::Printing;
    }

    /// Whether `M75`–`M77` are understood.
    pub(super) fn uses_print_timer(&self) -> bool {
        self.settings.screen && (self.caps.has("PRINT_JOB") || self.quirks.print_timer)
    }

    /// Sends the next line of the program. `false`: there is none, or it may not go out now.
    pub(super) fn next_program(&mut self, now: Now) -> bool {
        if self.forward.is_some() {
            return false;
        }
        // A heater change behind a line that waits for a person would act at the wrong time, and with
        // a window a pause has to find the printer's queue short.
        if self.sender.patience() != Patience::Short && self.sender.front().is_some() {
            return false;
        }
        if self.program.over() {
            if self.job.is_some() {
                self.finish(now);
                return true;
            }
            return false;
        }
        let Some((place, verdict)) = self.judge_next() else {
            return false;
        };
        if let Some(job) = &mut self.job {
            job.sent = place;
        }
        match verdict {
            Verdict::Send(patience) => self.send_program_line(now, place, patience),
            Verdict::Drop => {
                self.program.next += 1;
                self.note_unsent(place);
            }
            Verdict::Pause(why, words) => {
                self.program.next += 1;
                self.note_unsent(place);
                if let Some(words) = words {
                    self.event(crate::printer::event::Event::Message(words));
                }
                self.begin_pause(now, why, None);
            }
            Verdict::Instead(text) => {
                self.program.next += 1;
                let patience = silence::patience(text.as_bytes());
                match self
                    .sender
                    .push(now.mono, text.as_bytes(), Tag::Program(place), patience)
                {
                    Ok(number) => self.note_program_line(number),
                    Err(_) => self.too_long(now, place),
                }
            }
            Verdict::Preheat(heater, target, text) => {
                self.send(now, &text, Tag::Step, Patience::Short);
                let targets = [(heater, target)].into_iter().collect();
                self.script.push_front(Step::Heat { targets, until: None });
                if let Some(job) = &mut self.job {
                    job.sent = job.place;
                }
                self.program_waits_for(heater);
            }
            Verdict::Fail(fault) => {
                let what = format!("{} (line {})", fault.what, place.source_line);
                let fault = fault.with_what(what);
                self.fail_job(now, fault);
            }
        }
        true
    }

    /// The same waiting line is not replaced twice: mark that its heat was awaited.
    fn program_waits_for(&mut self, heater: Heater) {
        self.reports.preheated = Some(heater);
    }

    fn judge_next(&mut self) -> Option<(Place, Verdict)> {
        let batch = self.program.batches.front()?;
        let line = batch.lines.get(self.program.next)?;
        let place = Place {
            source_line: line.source_line,
            layer: line.layer,
            byte_end: line.byte_end,
            step: line.step,
        };
        let text = batch.text_of(line);
        // Nearly every line.
        if let [b'G', b'0' | b'1', b' ', ..] = text {
            return Some((place, Verdict::Send(Patience::Short)));
        }
        let preheated = self.reports.preheated.take();
        Some((place, self.judge(text, preheated)))
    }

    fn judge(&self, text: &[u8], preheated: Option<Heater>) -> Verdict {
        let words = || {
            String::from_utf8_lossy(text.get(3..).unwrap_or_default())
                .trim()
                .to_owned()
        };
        let Some((letter, number)) = command(text) else {
            return Verdict::Send(silence::patience(text));
        };
        match (letter, number) {
            // A timed wait is a dwell; an endless one is our own pause, so that the head parks.
            (b'M', 0 | 1) => match (word(text, b'S'), word(text, b'P')) {
                (Some(s), _) if s > 0.0 => Verdict::Instead(format!("G4 S{s}")),
                (_, Some(p)) if p > 0.0 => Verdict::Instead(format!("G4 P{p}")),
                _ => Verdict::Pause(PauseReason::Program, Some(words()).filter(|w| !w.is_empty())),
            },
            (b'M', 25 | 601) => Verdict::Pause(PauseReason::Program, None),
            (b'M', 600) if !self.quirks.m600 => Verdict::Pause(PauseReason::FilamentChange, None),
            (b'M', 108 | 110) => Verdict::Drop,
            (b'M', 112 | 23 | 24 | 28 | 29 | 30 | 32 | 928 | 997 | 999) => {
                Verdict::Fail(faults::FORBIDDEN.with_raw(String::from_utf8_lossy(text)))
            }
            (b'M', 109 | 190) if self.holds_heatups() && preheated.is_none() => self.preheat(text, number),
            _ => Verdict::Send(silence::patience(text)),
        }
    }

    /// Waiting here instead of in the firmware, where the firmware's wait could not be ended.
    fn holds_heatups(&self) -> bool {
        self.settings.hold_heatups && !self.caps.has("EMERGENCY_PARSER") && !self.quirks.m108
    }

    fn preheat(&self, text: &[u8], number: u32) -> Verdict {
        let target = word(text, b'S').unwrap_or(0.0);
        // `R` also waits for cooling down: left to the firmware.
        if target <= 0.0 || has_word(text, b'R') {
            return Verdict::Send(Patience::Heating);
        }
        let (heater, code) = if number == 190 {
            (Heater::Bed, "M140")
        } else {
            let tool = word(text, b'T').map_or(self.track.tool, |t| t.clamp(0.0, 15.0) as u8);
            (Heater::Tool(tool), "M104")
        };
        if !self.warmth.contains_key(&heater) {
            return Verdict::Send(Patience::Heating);
        }
        let tool = word(text, b'T').map(|t| format!(" T{t}")).unwrap_or_default();
        Verdict::Preheat(heater, target as f32, format!("{code}{tool} S{target}"))
    }

    fn send_program_line(&mut self, now: Now, place: Place, patience: Patience) {
        let Marlin {
            program,
            sender,
            track,
            ..
        } = self;
        let Some(batch) = program.batches.front() else {
            return;
        };
        let Some(line) = batch.lines.get(program.next) else {
            return;
        };
        let text = batch.text_of(line);
        let sent = sender.push(now.mono, text, Tag::Program(place), patience);
        track.follow(text);
        match sent {
            Ok(number) => {
                program.next += 1;
                if patience != Patience::Short {
                    let text = text.to_vec();
                    self.job_set_heat(now, &text);
                }
                self.note_program_line(number);
            }
            Err(_) => {
                let shorter = shorten(text);
                program.next += 1;
                let sent =
                    shorter.and_then(|text| sender.push(now.mono, &text, Tag::Program(place), patience).ok());
                match sent {
                    Some(number) => self.note_program_line(number),
                    None => self.too_long(now, place),
                }
            }
        }
    }

    fn job_set_heat(&mut self, now: Now, _text: &[u8]) {
        self.idle_heat.job_touches(now.mono);
    }

    fn too_long(&mut self, now: Now, place: Place) {
        let fault = faults::LINE_TOO_LONG.with_what(format!(
            "Line {} of the program is too long for the printer.",
            place.source_line
        ));
        self.fail_job(now, fault);
    }

    pub(super) fn program_acked(&mut self, _now: Now, place: Place) {
        let Some(job) = &mut self.job else { return };
        job.place = place;
        self.reports.progress_changed = true;
        if !job.seen {
            job.seen = true;
            let uid = job.start.uid;
            let reply = job.start_reply.take();
            self.job_event(JobEvent::Started { uid });
            if self.phase == Phase::Printing {
                self.set_phase(Phase::Printing);
            }
            if let Some(id) = reply {
                self.reply(id, Outcome::Verified);
            }
        } else if job.resuming {
            job.resuming = false;
            let uid = job.start.uid;
            let reply = job.reply.take();
            self.job_event(JobEvent::Resumed { uid });
            self.set_phase(Phase::Printing);
            if let Some(id) = reply {
                self.reply(id, Outcome::Verified);
            }
        }
    }

    fn finish(&mut self, _now: Now) {
        self.phase = Phase::Finishing;
        self.out.push_back(Output::CloseProgram);
        let end = self.moment_steps(&self.settings.gcode.end);
        self.then(end);
        // Behind M105 it is sure that the oks before were not surplus ones.
        self.then([Step::fixed("M400"), Step::fixed("M105"), Step::Await]);
        if self.uses_print_timer() {
            self.then([Step::fixed("M77")]);
        }
        self.then([
            Step::Await,
            Step::Confirm(Confirm::default()),
            Step::Mark(Mark::Done),
        ]);
    }

    pub(super) fn done(&mut self, now: Now) {
        let Some(job) = self.job.take() else { return };
        self.program.clear();
        self.out.push_back(Output::Record(Record::End));
        self.reports.job_ends(
            &mut self.out,
            job.start.program.size,
            job.place,
            job.start.program.layers,
        );
        if !job.seen {
            // A program without any command: nothing to see, but it ran.
            self.job_event(JobEvent::Started { uid: job.start.uid });
        }
        for id in [job.start_reply, job.reply].into_iter().flatten() {
            self.reply(id, Outcome::Verified);
        }
        let filament_mm = Some(self.track.filament_mm.clone());
        self.job_event(JobEvent::Done {
            uid: job.start.uid,
            filament_mm,
        });
        self.idle_heat.job_ends(now.mono, &self.warmth);
        self.set_phase(Phase::Idle);
    }

    /// Between lines of the program something else got a number.
    pub(super) fn note_aside(&mut self) {
        if self.job.is_some() && self.reports.in_run {
            self.reports.in_run = false;
            let number = self.sender.next().saturating_sub(1);
            self.out.push_back(Output::Record(Record::Aside { number }));
        }
    }

    /// A line of the program is passed without getting a number: a new run begins behind it.
    fn note_unsent(&mut self, place: Place) {
        self.reports.in_run = false;
        self.reports.last_sent = place;
    }

    fn note_program_line(&mut self, number: u32) {
        if !self.reports.in_run {
            self.reports.in_run = true;
            let after = self.reports.last_sent;
            self.out.push_back(Output::Record(Record::Run { number, after }));
        }
        if let Some(job) = &self.job {
            self.reports.last_sent = job.sent;
        }
    }
}

/// The line with its useless blanks taken out, or a text cut to fit; `None`: cannot be made to fit.
fn shorten(text: &[u8]) -> Option<Vec<u8>> {
    // `N` + 10 digits + blank + `*` + 3 digits around it at most.
    const ROOM: usize = WIRE_MAX - 16;
    match command(text) {
        Some((b'M', 0 | 1 | 75 | 117 | 118 | 486)) => text.get(..text.len().min(ROOM)).map(<[u8]>::to_vec),
        Some((b'G' | b'M', _)) if !text.contains(&b'"') => {
            let tight: Vec<u8> = text.iter().copied().filter(|b| *b != b' ').collect();
            (tight.len() <= WIRE_MAX - 6).then_some(tight)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_and_commands_are_tightened() {
        let long = format!("M117 {}", "x".repeat(200));
        assert!(shorten(long.as_bytes()).expect("cut").len() <= WIRE_MAX - 16);
        assert_eq!(shorten(b"G1 X1 Y2").expect("tight"), b"G1X1Y2");
        assert_eq!(shorten(&[b"G1 ".as_slice(), &[b'1'; 100]].concat()), None);
    }
}
