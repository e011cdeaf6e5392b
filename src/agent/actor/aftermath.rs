//! What stays open about the last print until the next one begins or somebody clears the bed.

use super::{Actor, Means};
use crate::agent::clock;
use crate::job::record::{JobRecord, JobState};
use crate::job::store::JobFilter;
use crate::printer::event::Event;
use crate::printer::fault::{Fault, Severity};
use crate::printer::notice::{Level, Notice};
use crate::printer::reduce::reduce;

/// Key of the one notice about the last print.
pub(super) const KEY: &str = "job";

impl Actor {
    /// Tells how a print ended that did not end well.
    pub(super) fn tell_of_job(&mut self, fault: &Fault) {
        // The driver may have told the same under a key of its own: once is enough.
        let told: Vec<String> = self
            .state
            .notices
            .iter()
            .filter(|n| n.code.as_deref() == Some(&*fault.code))
            .map(|n| n.key.clone())
            .collect();
        for key in told {
            self.raise_cleared(&key);
        }
        let now = clock::now();
        let mut notice = Notice::of_fault(fault, Level::Error, now.wall);
        notice.key = KEY.to_owned();
        reduce(&mut self.state, now, Event::Notice(notice));
    }
}

/// What to tell of a job that ended in the middle.
pub(super) fn interrupted(record: &JobRecord) -> Fault {
    let place = record
        .percent
        .map_or_else(String::new, |p| format!(" at {p:.0} %"));
    Fault::new(
        Severity::NeedsUser,
        "job/interrupted",
        "The print was interrupted.",
        "layerd or its host stopped in the middle of it.",
        "It does not go on by itself. Look at the printer, take the part off, and start the print again.",
    )
    .with_what(format!("The print of {} was interrupted{place}.", record.file))
}

/// The end of the last print before this run of the daemon, where somebody should still look at it.
///
/// `bed_dirty`: nobody has cleared the bed since.
pub(super) async fn of_last_run(means: &Means, printer: &str, bed_dirty: bool) -> Option<Notice> {
    let last = JobFilter {
        printers: vec![printer.to_owned()],
        page_size: 1,
        ..JobFilter::default()
    };
    let job = means.store.jobs(last).await.ok()?.0.into_iter().next()?;
    let fault = match job.state {
        JobState::Interrupted => interrupted(&job),
        JobState::Failed if bed_dirty => job.fault.clone()?,
        _ => return None,
    };
    let mut notice = Notice::of_fault(&fault, Level::Error, job.ended.unwrap_or(job.created));
    notice.key = KEY.to_owned();
    Some(notice)
}
