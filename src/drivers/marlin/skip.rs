//! Leaving objects out of the running print: the program is read on from where it is, without them.
//!
//! Marlin's own `M486` is not used: it lets every skipped line trickle over the wire while the nozzle
//! oozes, and knows 32 objects at most. See [`crate::gcode::skip`] for what goes out instead.

use std::sync::Arc;

use super::adopt::Forward;
use super::memory_record::Record;
use super::proto::{Marlin, Output, Phase};
use crate::gcode::skip::SkipPlan;
use crate::gcode::source::Prepare;
use crate::printer::command::{RequestId, StartJob};
use crate::printer::event::Event;
use crate::printer::model::Now;
use crate::printer::outcome::Outcome;

/// A program to be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Opening {
    /// Whose it is.
    pub job: StartJob,
    /// What is left out.
    pub plan: Arc<SkipPlan>,
    /// Where to begin, with the plan of before; `None`: at the beginning of the file.
    pub from: Option<Arc<Prepare>>,
}

/// A skip that has not taken hold yet.
#[derive(Debug)]
pub struct Skipping {
    reply: RequestId,
    /// What was left out before, if it cannot be done.
    ids: Vec<u32>,
}

/// The plan of a job: what its start leaves out, and what was left out later from some byte on.
pub fn plan_of(start: &StartJob, records: &[Record]) -> SkipPlan {
    let mut plan = SkipPlan::default();
    let later = |id: u32| {
        records.iter().find_map(|record| match record {
            Record::Skip { id: known, from_byte } if *known == id => Some(*from_byte),
            _ => None,
        })
    };
    for id in &start.skip {
        if let Some(object) = object_of(start, *id) {
            plan.add(object, later(*id).unwrap_or(0));
        }
    }
    for record in records {
        if let Record::Skip { id, from_byte } = record
            && let Some(object) = object_of(start, *id)
        {
            plan.add(object, *from_byte);
        }
    }
    plan
}

/// Objects go by their place in the analysis there, by their numbers here.
fn object_of(start: &StartJob, id: u32) -> Option<u32> {
    let at = start.program.objects.iter().position(|o| o.id == id)?;
    u32::try_from(at).ok()
}

impl Marlin {
    /// Leaves objects out from the next line on.
    pub(super) fn skip_objects(&mut self, now: Now, id: RequestId, ids: Vec<u32>) {
        let refused = |code, words: &str| Outcome::refused(code, words);
        let Some(job) = &mut self.job else {
            self.reply(id, refused("refused/no-job", "No active print job found"));
            return;
        };
        if self.skipping.is_some() || self.forward.is_some() {
            let busy = refused(
                "refused/busy",
                "Another skip is taking hold. Try again in a moment.",
            );
            self.reply(id, busy);
            return;
        }
        if self.program.over() || matches!(self.phase, Phase::Finishing | Phase::Cancelling) {
            let late = refused(
                "refused/too-late",
                "Everything of this print has gone to the printer.",
            );
            self.reply(id, late);
            return;
        }
        // Reading it again would fail, and a skip must never cost the print.
        if !self.program.can_reread() {
            let words = "The objects of this print cannot be told apart, or it has only begun: try again in a moment.";
            self.reply(id, refused("refused/not-now", words));
            return;
        }
        let unknown = ids.iter().find(|id| object_of(&job.start, **id).is_none());
        if let Some(unknown) = unknown {
            let words = format!("There is no object {unknown} in this print.");
            self.reply(id, refused("refused/unknown-object", &words));
            return;
        }
        let new: Vec<u32> = ids
            .into_iter()
            .filter(|id| !job.start.skip.contains(id))
            .collect();
        if new.is_empty() {
            self.reply(id, Outcome::Verified);
            return;
        }
        // A line that was put in comes with the line it was put in for: that one is still printed.
        let from_byte = match job.sent.step {
            0 => job.sent.byte_end,
            _ => self.program.next_own_end().unwrap_or(job.sent.byte_end),
        };
        let mut plan = (*self.plan).clone();
        for id in &new {
            if let Some(object) = object_of(&job.start, *id) {
                plan.add(object, from_byte);
            }
            self.out
                .push_back(Output::Record(Record::Skip { id: *id, from_byte }));
        }
        self.plan = Arc::new(plan);
        job.start.skip.extend(&new);
        self.forward = Some(Forward {
            to_byte: job.sent.byte_end,
            to_step: job.sent.step,
            again: true,
            ..Forward::default()
        });
        let opening = Opening {
            job: job.start.clone(),
            plan: self.plan.clone(),
            from: self.program.reread(),
        };
        self.out.push_back(Output::OpenProgram(opening));
        self.skipping = Some(Skipping { reply: id, ids: new });
        self.pump(now);
    }

    /// As if the file's objects could not be told apart.
    #[cfg(test)]
    pub fn forget_places(&mut self) {
        self.program.forget_places();
    }

    /// The program comes without the objects.
    pub(super) fn skip_took_hold(&mut self) {
        if let (Some(skipping), Some(job)) = (self.skipping.take(), &self.job) {
            let all = job.start.skip.clone();
            self.event(Event::Skipped(all));
            self.reply(skipping.reply, Outcome::Verified);
        }
    }

    /// The job ended or could not be read on before the skip took hold.
    pub(super) fn skip_is_void(&mut self) {
        if let Some(skipping) = self.skipping.take() {
            let names: Vec<String> = skipping.ids.iter().map(u32::to_string).collect();
            let words = format!("The print ended before object {} was left out.", names.join(", "));
            self.reply(skipping.reply, Outcome::refused("refused/too-late", &words));
        }
    }
}
