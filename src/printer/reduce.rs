//! The only writer of [`State`]: events in, changes out. Pure.

use std::time::Duration;

use super::event::{Event, JobEvent};
use super::fault::Fault;
use super::model::{ActiveJob, Activity, Heat, Heater, LinkState, Now, Origin, Progress, State};
use super::wall_clock::Step;

/// How long a link may be down before the printer counts as offline: a cable that wiggles or a hub
/// that resets is not yet a lost printer.
pub const OFFLINE_GRACE: Duration = Duration::from_secs(10);

/// How near to its target a heater has to be, °C.
const HEATED_WITHIN_C: f32 = 3.0;

/// Notices kept per printer; the oldest goes when one more is raised.
pub const NOTICES_MAX: usize = 32;

/// Longest text of the printer that is kept, in characters.
pub const MESSAGE_MAX: usize = 255;

/// What an event changed, so that the actor knows whom to tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Anything at all: a new snapshot is due.
    pub any: bool,
    /// The state word is another one.
    pub word: bool,
    /// Link went up or down.
    pub link: bool,
    /// A job edge to hand to the job machine.
    pub job: Option<JobEvent>,
    /// The list of notices changed.
    pub notices: bool,
    /// The job in hand was warm for the first time.
    pub heated: bool,
}

/// Applies one event.
pub fn reduce(state: &mut State, now: Now, event: Event) -> Changes {
    let before = state.word();
    let mut changes = Changes {
        any: true,
        ..Changes::default()
    };
    match event {
        Event::Opening => set_link(state, now, LinkState::Opening, &mut changes),
        Event::Up => {
            set_link(state, now, LinkState::Up, &mut changes);
            state.offline = false;
        }
        Event::Down { why } => down(state, now, why, &mut changes),
        Event::Identity(firmware) => state.firmware = Some(firmware),
        Event::Capabilities(capabilities) => state.capabilities = capabilities,
        Event::Heat {
            heater,
            actual_c,
            target_c,
        } => {
            // A line without a target keeps the one known: half of the firmwares omit it.
            let target_c = target_c.or(state.heaters.get(&heater).and_then(|h| h.target_c));
            state.heaters.insert(
                heater,
                Heat {
                    actual_c,
                    target_c,
                    at: now.mono,
                },
            );
            changes.heated = heated(state, now);
        }
        Event::Activity(activity) => set_activity(state, activity),
        Event::Job(job) => {
            apply_job(state, now, &job);
            changes.job = Some(job);
        }
        Event::Progress(progress) => {
            if let Some(job) = &mut state.job {
                merge_progress(&mut job.progress, progress);
            }
        }
        // For the record only; what people see comes with Progress.
        Event::Checkpoint(_) => changes.any = false,
        Event::Skipped(ids) => {
            if let Some(job) = &mut state.job {
                job.skipped = ids;
            }
        }
        Event::Objects(objects) => {
            if let Some(job) = &mut state.job {
                job.objects = objects;
            }
        }
        Event::Upload { percent } => {
            if let Some(job) = &mut state.job {
                job.upload_percent = percent;
            }
        }
        Event::Limits(limits) => state.limits = Some(limits),
        Event::Mesh(mesh) => state.mesh = mesh,
        Event::Filament { sensor, state: seen } => match seen {
            Some(seen) => {
                state.filament.insert(sensor, seen);
            }
            None => {
                state.filament.remove(&sensor);
            }
        },
        Event::Equipment(equipment) => state.equipment = Some(equipment),
        Event::Supply(supply) => state.supply = Some(supply),
        Event::CameraStream(url) => state.camera_stream = url,
        Event::Materials(slots) => state.materials = Some(slots),
        // For the agent; the driver tells people and sets the activity itself.
        Event::Danger(_) => changes.any = false,
        Event::Position(position) => state.position = Some((position, now.mono)),
        Event::ActiveTool(tool) => state.active_tool = tool,
        Event::Notice(notice) => {
            state.notices.retain(|n| n.key != notice.key);
            if state.notices.len() >= NOTICES_MAX {
                state.notices.remove(0);
            }
            state.notices.push(notice);
            changes.notices = true;
        }
        Event::NoticeCleared(key) => {
            let count = state.notices.len();
            state.notices.retain(|n| n.key != key);
            changes.notices = state.notices.len() != count;
            changes.any = changes.notices;
        }
        Event::Message(text) => state.message = Some(text.chars().take(MESSAGE_MAX).collect()),
        Event::Traffic(traffic) => state.traffic = traffic,
    }
    if state.word() != before {
        state.since = now;
        changes.word = true;
    }
    changes
}

/// Whether the running print is warm now and was not before: a hotend is wanted, and every heater that is
/// wanted has its temperature.
fn heated(state: &mut State, now: Now) -> bool {
    let wanted = |(heater, heat): (&Heater, &Heat)| {
        Some((*heater, heat.actual_c, heat.target_c.filter(|t| *t > 0.0)?))
    };
    let wanted: Vec<_> = state.heaters.iter().filter_map(wanted).collect();
    let tool = wanted
        .iter()
        .any(|(heater, ..)| matches!(heater, Heater::Tool(_)));
    let warm = wanted
        .iter()
        .all(|(_, actual, target)| *actual >= target - HEATED_WITHIN_C);
    if !tool || !warm || state.activity != Activity::Printing {
        return false;
    }
    match &mut state.job {
        Some(job) if job.started.is_some() && job.heated.is_none() => {
            job.heated = Some(now.wall);
            true
        }
        _ => false,
    }
}

/// The wall clock was set: what was stamped before goes along.
pub fn clock_set(state: &mut State, step: &Step) {
    state.since.wall = step.moved(state.since.wall);
    state.link_since.wall = step.moved(state.link_since.wall);
    if let Some(job) = &mut state.job {
        step.apply(&mut job.started);
        step.apply(&mut job.heated);
    }
}

/// Time passing: marks a printer offline whose link stayed down. Returns whether that happened now.
/// Where the link is not the printer itself the last status stays.
pub fn settle(state: &mut State, now: Now) -> bool {
    let grace_over = now.mono.saturating_duration_since(state.link_since.mono) >= OFFLINE_GRACE;
    if state.offline || state.is_up() || !state.wired || !grace_over {
        return false;
    }
    let before = state.word();
    state.offline = true;
    if state.word() != before {
        state.since = now;
    }
    true
}

fn set_link(state: &mut State, now: Now, link: LinkState, changes: &mut Changes) {
    let was_up = state.is_up();
    let is_up = link == LinkState::Up;
    // Attempts while down do not restart the clock of the outage.
    if was_up != is_up {
        state.link_since = now;
        changes.link = true;
    }
    state.link = link;
}

fn down(state: &mut State, now: Now, why: Option<Fault>, changes: &mut Changes) {
    set_link(state, now, LinkState::Down { why }, changes);
}

fn set_activity(state: &mut State, activity: Activity) {
    // While a start is prepared the printer itself is idle and says so; that ends nothing.
    if state.activity == Activity::Preparing && activity == Activity::Idle {
        return;
    }
    state.activity = activity;
}

fn apply_job(state: &mut State, now: Now, event: &JobEvent) {
    match event {
        JobEvent::Started { .. } | JobEvent::Adopted { .. } => {
            if let Some(job) = &mut state.job {
                job.started.get_or_insert(now.wall);
            }
        }
        JobEvent::OutsideStarted { file } => {
            if state.job.is_none() {
                state.job = Some(ActiveJob {
                    uid: uuid::Uuid::new_v4(),
                    file: file
                        .clone()
                        .unwrap_or_else(|| "print started at the printer".to_owned()),
                    origin: Origin::Outside,
                    progress: Progress::default(),
                    started: Some(now.wall),
                    skipped: Vec::new(),
                    objects: Vec::new(),
                    upload_percent: None,
                    heated: None,
                    held: false,
                });
            }
        }
        JobEvent::Done { .. }
        | JobEvent::Cancelled { .. }
        | JobEvent::Failed { .. }
        | JobEvent::Interrupted { .. }
        | JobEvent::OutsideEnded { .. } => {
            state.job = None;
            // The driver's own next activity may refine this (a halted printer).
            if !matches!(state.activity, Activity::Error(_) | Activity::NotReady(_)) {
                state.activity = Activity::Idle;
            }
        }
        JobEvent::Paused { .. } | JobEvent::Resumed { .. } => {}
    }
}

fn merge_progress(known: &mut Progress, new: Progress) {
    known.percent = new.percent.or(known.percent);
    known.layer = new.layer.or(known.layer);
    known.layers = new.layers.or(known.layers);
    known.byte = new.byte.or(known.byte);
    known.line = new.line.or(known.line);
    known.time_left_s = new.time_left_s.or(known.time_left_s);
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::printer::model::{Heater, PauseReason, StateWord};

    fn at(start: Instant, s: u64) -> Now {
        Now {
            mono: start + Duration::from_secs(s),
            wall: Timestamp::from_second(1_700_000_000 + s as i64).expect("in range"),
        }
    }

    fn up(start: Instant) -> State {
        let mut state = State::new(at(start, 0));
        reduce(&mut state, at(start, 0), Event::Up);
        state
    }

    #[test]
    fn unknown_temperatures_are_absent_and_targets_survive_lines_without_them() {
        let start = Instant::now();
        let mut state = up(start);
        assert!(state.heaters.is_empty());
        let heat = |actual_c, target_c| Event::Heat {
            heater: Heater::Bed,
            actual_c,
            target_c,
        };
        reduce(&mut state, at(start, 1), heat(20.0, Some(60.0)));
        reduce(&mut state, at(start, 2), heat(21.0, None));
        let bed = state.heaters[&Heater::Bed];
        assert_eq!((bed.actual_c, bed.target_c), (21.0, Some(60.0)));
        assert_eq!(bed.age(start + Duration::from_secs(5)), Duration::from_secs(3));
    }

    #[test]
    fn offline_comes_after_the_grace_and_only_where_the_link_is_the_printer() {
        let start = Instant::now();
        let mut state = up(start);
        reduce(&mut state, at(start, 100), Event::Down { why: None });
        assert!(!settle(&mut state, at(start, 111)));
        assert_eq!(state.word(), StateWord::Operational, "the last status stays");
        state.wired = true;
        assert_eq!(state.word(), StateWord::Offline, "nobody can print on it");
        // Attempts in between do not restart the clock.
        reduce(&mut state, at(start, 105), Event::Opening);
        assert_eq!(state.word(), StateWord::Offline);
        reduce(&mut state, at(start, 106), Event::Down { why: None });
        assert!(!settle(&mut state, at(start, 109)));
        assert!(!state.offline, "upstreams wait");
        assert!(settle(&mut state, at(start, 111)));
        assert!(state.offline);
        assert!(reduce(&mut state, at(start, 120), Event::Up).word);
        assert_eq!(state.word(), StateWord::Operational);
    }

    #[test]
    fn an_idle_report_does_not_end_a_preparation() {
        let start = Instant::now();
        let mut state = up(start);
        reduce(&mut state, at(start, 1), Event::Activity(Activity::Preparing));
        let changes = reduce(&mut state, at(start, 2), Event::Activity(Activity::Idle));
        assert!(!changes.word);
        assert_eq!(state.word(), StateWord::Downloading);
    }

    #[test]
    fn the_end_of_a_job_leaves_a_halted_printer_halted() {
        let start = Instant::now();
        let mut state = up(start);
        let fault = Fault::new(super::super::fault::Severity::NeedsUser, "a/b", "w", "y", "r");
        reduce(
            &mut state,
            at(start, 1),
            Event::Activity(Activity::Error(fault.clone())),
        );
        let failed = JobEvent::Failed {
            uid: Uuid::nil(),
            fault,
            filament_mm: None,
        };
        reduce(&mut state, at(start, 1), Event::Job(failed));
        assert_eq!(state.word(), StateWord::Error);
    }

    #[test]
    fn since_moves_only_with_the_word() {
        let start = Instant::now();
        let mut state = up(start);
        reduce(
            &mut state,
            at(start, 5),
            Event::Activity(Activity::Paused(PauseReason::Requested)),
        );
        let changes = reduce(
            &mut state,
            at(start, 9),
            Event::Activity(Activity::Paused(PauseReason::Runout)),
        );
        assert!(!changes.word);
        assert_eq!(state.since, at(start, 5));
    }
}
