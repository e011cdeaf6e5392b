//! The same start again: it is answered as the first one was, and never executed twice.

use std::time::Duration;

use tokio::sync::oneshot;
use uuid::Uuid;

use super::Actor;
use crate::agent::handle::{Accepted, FirstAnswer, Pending};
use crate::job::record::{JobRecord, JobState};
use crate::job::store::StoreError;
use crate::printer::outcome::{Outcome, Refusal};

/// Repeats of starts that wait for an answer at the same time; one more is told "busy".
const WAITING_MAX: usize = 16;

/// Longer than any start takes: the first one has its own limit and is answered by then.
const FOLLOW_LIMIT: Duration = Duration::from_secs(2 * 3600);

/// Who asked whether a start was there before.
pub(super) type AskedBefore = oneshot::Sender<FirstAnswer>;

/// What the database knows of it.
pub(super) type Found = (Result<Option<JobRecord>, StoreError>, AskedBefore);

/// Repeats that wait for the end of the first.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    /// The start of this job is not seen yet. Bounded by [`WAITING_MAX`].
    followers: Vec<(Uuid, oneshot::Sender<Outcome>)>,
}

impl Actor {
    /// Answers with what came of the first start of this identity; `None`: there was none.
    pub(super) fn started_before(&mut self, start_id: String, answer: AskedBefore) {
        if let Some(preparing) = &mut self.preparing
            && preparing.start_id.as_ref() == Some(&start_id)
        {
            if preparing.repeats.len() < WAITING_MAX {
                preparing.repeats.push(answer);
            } else {
                let _ = answer.send(Some(Err(busy())));
            }
            return;
        }
        if self.lookups.len() >= WAITING_MAX {
            let _ = answer.send(Some(Err(busy())));
            return;
        }
        let store = self.means.store.clone();
        self.lookups.push(Box::pin(
            async move { (store.job_of_start(&start_id).await, answer) },
        ));
    }

    pub(super) fn on_looked_up(&mut self, (found, answer): Found) {
        let record = match found {
            Ok(Some(record)) => record,
            Ok(None) => {
                let _ = answer.send(None);
                return;
            }
            Err(error) => {
                let _ = answer.send(Some(Err(Refusal::new("refused/database", error.to_string()))));
                return;
            }
        };
        if record.printer != *self.shared.name {
            let _ = answer.send(Some(Err(Refusal::new(
                "refused/repeated-start",
                format!(
                    "This start was executed on {} already; it is not repeated.",
                    record.printer
                ),
            ))));
            return;
        }
        // What is in hand is newer than what is on the disk.
        let record = match self.job.as_ref().map(|job| job.record()) {
            Some(newer) if newer.uid == record.uid => JobRecord {
                id: record.id,
                ..newer.clone()
            },
            _ => record,
        };
        let accepted = Accepted {
            uid: record.uid,
            job_id: record.id,
        };
        let _ = answer.send(Some(Ok(self.follow(accepted, end_of_start(&record)))));
    }

    /// The repeats of a start that was prepared.
    pub(super) fn answer_repeats(&mut self, repeats: Vec<AskedBefore>, first: &Result<Accepted, Refusal>) {
        for answer in repeats {
            let again = match first {
                Ok(accepted) => {
                    let held = self.held.is_some().then_some(Outcome::Verified);
                    Ok(self.follow(*accepted, held))
                }
                Err(refusal) => Err(refusal.clone()),
            };
            let _ = answer.send(Some(again));
        }
    }

    fn follow(&mut self, accepted: Accepted, end: Option<Outcome>) -> (Accepted, Pending) {
        let (seen, answer) = oneshot::channel();
        let followers = &mut self.repeats.followers;
        match end {
            Some(end) => {
                let _ = seen.send(end);
            }
            None if followers.len() < WAITING_MAX => followers.push((accepted.uid, seen)),
            // Its answer is that nobody saw the end.
            None => drop(seen),
        }
        let pending = Pending::new(answer, FOLLOW_LIMIT);
        (accepted, pending)
    }

    /// The start of this job has come to an end.
    pub(super) fn tell_followers(&mut self, uid: Uuid, end: &Outcome) {
        for (_, seen) in self.repeats.followers.extract_if(.., |(of, _)| *of == uid) {
            let _ = seen.send(end.clone());
        }
    }
}

/// How the start of a job ended, by its record; `None`: it has not yet.
pub(super) fn end_of_start(record: &JobRecord) -> Option<Outcome> {
    if record.started.is_some() || record.state == JobState::Armed {
        return Some(Outcome::Verified);
    }
    if !record.state.is_final() {
        return None;
    }
    Some(match &record.fault {
        Some(fault) => Outcome::Rejected {
            by_printer: fault.raw.clone().unwrap_or_default(),
            fault: Some(fault.clone()),
        },
        None => Outcome::refused("refused/cancelled", "The print was cancelled before it began."),
    })
}

fn busy() -> Refusal {
    Refusal::new(
        "refused/busy",
        "The same start was asked for too often at once. Try again in a moment.",
    )
}
