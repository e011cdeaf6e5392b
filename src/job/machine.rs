//! How a job moves on. Pure: the record in, events in, edges out.

use jiff::Timestamp;

use super::record::{EndedBy, JobRecord, JobState, PauseSpan, TimelineEntry};
use crate::printer::command::CancelReason;
use crate::printer::event::{Checkpoint, JobEvent, OutsideEnd};
use crate::printer::fault::{Fault, Severity};
use crate::printer::model::{Origin, PauseReason, Progress};
use crate::printer::wall_clock::Step;

/// Entries of a timeline; beyond it the oldest after the first go.
pub const TIMELINE_MAX: usize = 200;

/// Entry of a timeline: warm.
pub const HEATED: &str = "heated";

/// Faults that mean that the connection broke.
const LINK_CODES: &[&str] = &[
    "job/link-lost",
    "marlin/link-lost",
    "marlin/silent",
    "marlin/no-ok",
];

/// A print of ours stands still for good.
pub const INTERRUPTED: Fault = Fault::new(
    Severity::NeedsUser,
    "job/interrupted",
    "The print was interrupted.",
    "layerd was stopped or ended while it ran. The heaters are switched off.",
    "It does not go on by itself. Look at the part: `layerd recover PRINTER` goes on where it stood; or take it off and start again.",
);

/// Pauses kept; a printer that stutters must not grow the record.
pub const PAUSES_MAX: usize = 200;

/// What can happen to a job.
#[derive(Clone, Debug, PartialEq)]
pub enum JobInput {
    /// A step of the start: fetching, checking, armed, starting.
    Step(JobState),
    /// What the printer was seen to do.
    Event(JobEvent),
    /// It ends before or without the printer.
    Failed(Fault),
    /// Objects are left out from now on; ids in all.
    Skipped(Vec<u32>),
    /// Everything was warm for the first time.
    Heated,
}

/// What others have to be told. Each comes once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// Seen to run.
    Started,
    /// Stands still.
    Paused,
    /// Goes on.
    Resumed,
    /// Objects were left out.
    Skipped,
    /// Complete.
    Done,
    /// Ended by a person.
    Cancelled,
    /// Ended by a fault.
    Failed,
    /// Stopped for good without an end of its own.
    Interrupted,
}

/// An input that does not fit the state; nothing was changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("a job that is {state:?} cannot take {input}")]
pub struct Illegal {
    /// Where the job stands.
    pub state: JobState,
    /// What came.
    pub input: String,
}

/// A job's record and the only one who changes it.
#[derive(Clone, Debug, PartialEq)]
pub struct JobMachine {
    record: JobRecord,
    /// A cancel was asked of layerd.
    cancel_asked: bool,
}

impl JobMachine {
    /// Takes over a record, fresh or from the database.
    pub fn new(record: JobRecord) -> Self {
        JobMachine {
            record,
            cancel_asked: false,
        }
    }

    /// The record as it stands.
    pub fn record(&self) -> &JobRecord {
        &self.record
    }

    /// The number that the database gave.
    pub fn set_id(&mut self, id: i64) {
        self.record.id = id;
    }

    /// Reason and words of a cancel that was asked for; they stay if the job ends another way.
    pub fn remember_cancel(&mut self, reason: &CancelReason) {
        self.cancel_asked = true;
        self.record.cancel_reason = reason.reason.or(self.record.cancel_reason);
        if reason.comment.is_some() {
            self.record.cancel_comment.clone_from(&reason.comment);
        }
    }

    /// How far the job is.
    pub fn note_progress(&mut self, progress: &Progress) {
        self.record.percent = progress.percent.or(self.record.percent);
        self.record.layer = progress.layer.or(self.record.layer);
    }

    /// Where the job stands.
    pub fn set_checkpoint(&mut self, checkpoint: Checkpoint) {
        if !checkpoint.filament_mm.is_empty() {
            self.record.filament_mm.clone_from(&checkpoint.filament_mm);
        }
        self.record.layer = checkpoint.layer.or(self.record.layer);
        self.record.checkpoint = Some(checkpoint);
    }

    /// The wall clock was set while the job runs.
    pub fn clock_set(&mut self, step: &Step) {
        self.record.clock_set(step);
    }

    /// One step.
    pub fn apply(&mut self, now: Timestamp, input: JobInput) -> Result<Vec<Edge>, Illegal> {
        use JobState::{Cancelled, Done, Failed, Interrupted, Running};
        let state = self.record.state;
        if state.is_final() {
            return Err(self.illegal(&input));
        }
        let edge = match input {
            JobInput::Step(next) => {
                // Only forwards, and only up to the start: running must be seen.
                let order = |s: JobState| {
                    [
                        JobState::Queued,
                        JobState::Fetching,
                        JobState::Checking,
                        JobState::Armed,
                        JobState::Starting,
                    ]
                    .iter()
                    .position(|x| *x == s)
                };
                match (order(state), order(next)) {
                    (Some(from), Some(to)) if to > from => self.record.state = next,
                    _ => return Err(self.illegal(&JobInput::Step(next))),
                }
                return Ok(Vec::new());
            }
            JobInput::Failed(fault) => {
                self.record.fault = Some(fault);
                self.end(now, Failed);
                Edge::Failed
            }
            JobInput::Heated => {
                self.note(now, HEATED);
                return Ok(Vec::new());
            }
            JobInput::Skipped(ids) => {
                self.record.skipped = ids;
                Edge::Skipped
            }
            JobInput::Event(event) => match event {
                JobEvent::Started { .. } | JobEvent::OutsideStarted { .. } => {
                    if state == Running {
                        return Err(self.illegal(&JobInput::Event(event)));
                    }
                    self.record.state = Running;
                    self.record.started = Some(now);
                    Edge::Started
                }
                // A start that was not seen before the daemon ended, and is now.
                JobEvent::Adopted { .. } => {
                    if state == Running {
                        self.note(now, "continued after a restart of layerd");
                        return Ok(Vec::new());
                    }
                    self.record.state = Running;
                    self.record.started.get_or_insert(now);
                    Edge::Started
                }
                JobEvent::Paused { why, .. } => {
                    if self.open_pause().is_some() {
                        return Ok(Vec::new());
                    }
                    if self.record.pauses.len() >= PAUSES_MAX {
                        self.record.pauses.remove(0);
                    }
                    self.record.pauses.push(PauseSpan {
                        from: now,
                        to: None,
                        why,
                    });
                    Edge::Paused
                }
                JobEvent::Resumed { .. } => match self.open_pause() {
                    Some(pause) => {
                        pause.to = Some(now);
                        Edge::Resumed
                    }
                    None => return Ok(Vec::new()),
                },
                JobEvent::Done { filament_mm, .. } => {
                    self.used(filament_mm);
                    self.record.percent = Some(100.0);
                    self.end(now, Done);
                    Edge::Done
                }
                JobEvent::Cancelled { filament_mm, .. } => {
                    self.used(filament_mm);
                    self.end(now, Cancelled);
                    Edge::Cancelled
                }
                JobEvent::Failed {
                    fault, filament_mm, ..
                } => {
                    self.used(filament_mm);
                    self.record.fault = Some(fault);
                    self.end(now, Failed);
                    Edge::Failed
                }
                JobEvent::Interrupted { .. } => {
                    self.record.fault = Some(INTERRUPTED);
                    self.end(now, Interrupted);
                    Edge::Interrupted
                }
                JobEvent::OutsideEnded { end } => self.outside_ended(now, end),
            },
        };
        let why = match edge {
            Edge::Paused => self.record.pauses.last().map(|p| pause_word(p.why)),
            _ => None,
        };
        match why {
            Some(why) => self.note(now, &format!("paused: {why}")),
            None => self.note(now, word(edge)),
        }
        Ok(vec![edge])
    }

    fn outside_ended(&mut self, now: Timestamp, end: OutsideEnd) -> Edge {
        match end {
            OutsideEnd::Done => {
                self.record.percent = Some(100.0);
                self.end(now, JobState::Done);
                Edge::Done
            }
            OutsideEnd::Cancelled => {
                self.end(now, JobState::Cancelled);
                Edge::Cancelled
            }
            OutsideEnd::Failed => {
                self.record.fault = Some(Fault::new(
                    Severity::Warning,
                    "job/outside-ended",
                    "The print that was started at the printer is over.",
                    "layerd did not see how it ended.",
                    "Look at the printer.",
                ));
                self.end(now, JobState::Failed);
                Edge::Failed
            }
        }
    }

    fn end(&mut self, now: Timestamp, state: JobState) {
        if let Some(pause) = self.open_pause() {
            pause.to = Some(now);
        }
        self.record.ended_by = Some(self.ended_by(state));
        self.record.state = state;
        self.record.ended = Some(now);
    }

    fn ended_by(&self, state: JobState) -> EndedBy {
        let ours = self.record.origin == Origin::Ours;
        let code = self.record.fault.as_ref().map_or("", |fault| &*fault.code);
        match state {
            JobState::Done => EndedBy::Completed,
            // A cancel before the start can only be ours.
            JobState::Cancelled if self.cancel_asked || self.record.started.is_none() => EndedBy::Requested,
            JobState::Cancelled => EndedBy::Printer,
            JobState::Interrupted => EndedBy::Service,
            _ if !ours => EndedBy::Unknown,
            _ if self.record.started.is_none() => EndedBy::NotStarted,
            _ if LINK_CODES.contains(&code) => EndedBy::Link,
            _ => EndedBy::Fault,
        }
    }

    fn used(&mut self, filament_mm: Option<Vec<f64>>) {
        if let Some(filament_mm) = filament_mm {
            self.record.filament_mm = filament_mm;
        }
    }

    fn open_pause(&mut self) -> Option<&mut PauseSpan> {
        self.record.pauses.last_mut().filter(|p| p.to.is_none())
    }

    fn note(&mut self, now: Timestamp, what: &str) {
        if self.record.timeline.len() >= TIMELINE_MAX {
            self.record.timeline.remove(1);
        }
        self.record.timeline.push(TimelineEntry {
            at: now,
            what: what.to_owned(),
        });
    }

    fn illegal(&self, input: &JobInput) -> Illegal {
        let input = match input {
            JobInput::Step(state) => format!("the step to {state:?}"),
            JobInput::Event(event) => format!("{event:?}"),
            JobInput::Failed(fault) => format!("the failure {}", fault.code),
            JobInput::Skipped(_) => "a skip".to_owned(),
            JobInput::Heated => "the heat".to_owned(),
        };
        Illegal {
            state: self.record.state,
            input,
        }
    }
}

fn pause_word(why: PauseReason) -> &'static str {
    match why {
        PauseReason::Requested => "requested",
        PauseReason::Program => "by the file",
        PauseReason::Runout => "filament ran out",
        PauseReason::FilamentChange => "filament change",
        PauseReason::Printer => "at the printer",
        PauseReason::Stopping => "the service stops",
    }
}

fn word(edge: Edge) -> &'static str {
    match edge {
        Edge::Started => "started",
        Edge::Paused => "paused",
        Edge::Resumed => "resumed",
        Edge::Skipped => "objects skipped",
        Edge::Done => "done",
        Edge::Cancelled => "cancelled",
        Edge::Failed => "failed",
        Edge::Interrupted => "interrupted",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::printer::model::{Now, Origin, PauseReason};
    use crate::printer::wall_clock::WallClock;

    const UID: Uuid = Uuid::nil();

    fn machine() -> JobMachine {
        JobMachine::new(JobRecord::new(
            UID,
            "p",
            "a.gcode",
            Origin::Ours,
            Timestamp::UNIX_EPOCH,
        ))
    }

    fn at(s: i64) -> Timestamp {
        Timestamp::from_second(s).expect("in range")
    }

    fn fault() -> Fault {
        Fault::new(Severity::NeedsUser, "a/b", "w", "y", "r")
    }

    #[test]
    fn a_start_ends_only_by_being_seen() {
        let mut job = machine();
        job.apply(at(1), JobInput::Step(JobState::Checking))
            .expect("legal");
        job.apply(at(2), JobInput::Step(JobState::Starting))
            .expect("legal");
        assert!(job.apply(at(3), JobInput::Step(JobState::Running)).is_err());
        assert_eq!(job.record().started, None);
        let edges = job
            .apply(at(4), JobInput::Event(JobEvent::Started { uid: UID }))
            .expect("legal");
        assert_eq!((edges, job.record().started), (vec![Edge::Started], Some(at(4))));
    }

    #[test]
    fn an_interrupted_job_says_so_by_its_code() {
        let mut job = machine();
        job.apply(at(1), JobInput::Event(JobEvent::Started { uid: UID }))
            .expect("legal");
        let edges = job.apply(at(5), JobInput::Event(JobEvent::Interrupted { uid: UID }));
        assert_eq!(edges, Ok(vec![Edge::Interrupted]));
        let record = job.record();
        assert_eq!((record.state, record.ended), (JobState::Interrupted, Some(at(5))));
        assert_eq!(record.ended_by, Some(EndedBy::Service));
        let fault = record.fault.as_ref().expect("a fault");
        assert_eq!(fault.code, "job/interrupted");
        // It is over: what comes later changes nothing.
        assert!(job.apply(at(6), JobInput::Failed(self::fault())).is_err());
    }

    #[test]
    fn a_job_lasts_as_long_as_it_did_when_the_clock_is_set_meanwhile() {
        const YEAR_S: i64 = 31_536_000;
        let start = std::time::Instant::now();
        let now = |mono_s: u64, wall_s: i64| Now {
            mono: start + std::time::Duration::from_secs(mono_s),
            wall: at(wall_s),
        };
        for by in [YEAR_S, -86_400] {
            let mut clock = WallClock::new(at(-1000), now(0, 0));
            let mut job = machine();
            let pause = JobInput::Event(JobEvent::Paused {
                uid: UID,
                why: PauseReason::Requested,
            });
            job.apply(at(10), JobInput::Event(JobEvent::Started { uid: UID }))
                .expect("legal");
            job.apply(at(40), pause).expect("legal");
            let step = clock.look(now(50, 50 + by)).expect("a step");
            job.clock_set(&step);
            job.apply(at(60 + by), JobInput::Event(JobEvent::Resumed { uid: UID }))
                .expect("legal");
            let done = JobEvent::Done {
                uid: UID,
                filament_mm: None,
            };
            job.apply(at(110 + by), JobInput::Event(done)).expect("legal");
            let record = job.record();
            assert_eq!(record.started, Some(at(10 + by)));
            assert_eq!((record.duration_s(), record.print_s()), (Some(100), Some(80)));
            assert!(record.timeline.is_sorted_by_key(|entry| entry.at));
        }
    }

    #[test]
    fn pauses_have_both_ends_also_when_the_job_ends_in_one() {
        let mut job = machine();
        let pause = JobInput::Event(JobEvent::Paused {
            uid: UID,
            why: PauseReason::Runout,
        });
        job.apply(at(1), JobInput::Event(JobEvent::Started { uid: UID }))
            .expect("legal");
        assert_eq!(job.apply(at(2), pause.clone()), Ok(vec![Edge::Paused]));
        assert_eq!(job.apply(at(3), pause.clone()), Ok(vec![]));
        assert_eq!(
            job.apply(at(4), JobInput::Event(JobEvent::Resumed { uid: UID })),
            Ok(vec![Edge::Resumed])
        );
        job.apply(at(5), pause).expect("legal");
        job.apply(at(9), JobInput::Failed(fault())).expect("legal");
        let spans: Vec<_> = job.record().pauses.iter().map(|p| (p.from, p.to)).collect();
        assert_eq!(spans, [(at(2), Some(at(4))), (at(5), Some(at(9)))]);
    }

    fn any_input() -> impl Strategy<Value = JobInput> {
        prop_oneof![
            Just(JobInput::Step(JobState::Fetching)),
            Just(JobInput::Step(JobState::Checking)),
            Just(JobInput::Step(JobState::Armed)),
            Just(JobInput::Step(JobState::Starting)),
            Just(JobInput::Step(JobState::Running)),
            Just(JobInput::Step(JobState::Done)),
            Just(JobInput::Failed(fault())),
            Just(JobInput::Skipped(vec![1])),
            Just(JobInput::Event(JobEvent::Started { uid: UID })),
            Just(JobInput::Event(JobEvent::Adopted { uid: UID })),
            Just(JobInput::Event(JobEvent::Paused {
                uid: UID,
                why: PauseReason::Requested
            })),
            Just(JobInput::Event(JobEvent::Resumed { uid: UID })),
            Just(JobInput::Event(JobEvent::Done {
                uid: UID,
                filament_mm: None
            })),
            Just(JobInput::Event(JobEvent::Cancelled {
                uid: UID,
                filament_mm: None
            })),
            Just(JobInput::Event(JobEvent::Failed {
                uid: UID,
                fault: fault(),
                filament_mm: None
            })),
            Just(JobInput::Event(JobEvent::Interrupted { uid: UID })),
            Just(JobInput::Event(JobEvent::OutsideEnded {
                end: OutsideEnd::Done
            })),
        ]
    }

    proptest! {
        /// Whatever comes in whatever order: one start and one end at most, an end time exactly when
        /// the job is over, pauses that follow each other, and refused inputs change nothing.
        #[test]
        fn any_order_of_events_leaves_a_sound_record(inputs in prop::collection::vec(any_input(), 0..60)) {
            let mut job = machine();
            let mut edges = Vec::new();
            for (n, input) in inputs.into_iter().enumerate() {
                let before = job.clone();
                match job.apply(at(n as i64), input) {
                    Ok(new) => edges.extend(new),
                    Err(_) => prop_assert_eq!(&before, &job),
                }
                let record = job.record();
                prop_assert_eq!(record.state.is_final(), record.ended.is_some());
                prop_assert!(record.pauses.iter().rev().skip(1).all(|p| p.to.is_some()));
                prop_assert!(!(record.state.is_final() && record.pauses.iter().any(|p| p.to.is_none())));
            }
            let count = |e: &[Edge]| edges.iter().filter(|x| e.contains(x)).count();
            prop_assert!(count(&[Edge::Started]) <= 1);
            prop_assert!(count(&[Edge::Done, Edge::Failed, Edge::Cancelled, Edge::Interrupted]) <= 1);
        }
    }
}
