//! The notice about how the last job ended: kept over restarts until a person closes it or the next
//! print has started.

use super::{Actor, Means};
use crate::agent::clock;
use crate::printer::event::Event;
use crate::printer::fault::Fault;
use crate::printer::model::{Now, State};
use crate::printer::notice::{Level, Notice};
use crate::printer::reduce::reduce;

/// One matter per printer: the last job.
pub(super) const JOB: &str = "job";

fn notice_of(fault: &Fault, now: Now) -> Notice {
    let mut notice = Notice::of_fault(fault, Level::Error, now.wall);
    notice.key = JOB.to_owned();
    notice
}

/// What was told of the last job before the restart and has not been closed.
pub(super) async fn before(means: &Means, printer: &str, state: &mut State, now: Now) {
    match means.store.notices(printer).await {
        Ok(rows) => {
            for row in rows.into_iter().filter(|row| row.notice.key == JOB) {
                reduce(state, now, Event::Notice(row.notice));
            }
        }
        Err(error) => tracing::error!(printer, "the open notices could not be read: {error}"),
    }
}

/// Tells of a job that ended in the daemon before this one.
pub(super) async fn of_a_job_before(
    means: &Means,
    printer: &str,
    state: &mut State,
    now: Now,
    fault: &Fault,
) {
    let notice = notice_of(fault, now);
    if let Err(error) = means.store.notice_put(printer, notice.clone()).await {
        tracing::error!(printer, "a notice was not kept: {error}");
    }
    reduce(state, now, Event::Notice(notice));
}

impl Actor {
    /// Tells people how the job ended.
    pub(super) fn tell_of_job(&mut self, fault: &Fault) {
        let now = clock::now();
        let notice = notice_of(fault, now);
        // The driver may have told the same under a key of its own: once is enough.
        let same = |n: &&Notice| n.code == notice.code && n.key != JOB;
        let told: Vec<String> = self
            .state
            .notices
            .iter()
            .filter(same)
            .map(|n| n.key.clone())
            .collect();
        for key in told {
            self.raise_cleared(&key);
        }
        let (store, name, kept) = (self.means.store.clone(), self.shared.name.clone(), notice.clone());
        self.chores.push(Box::pin(
            async move { store.notice_put(&name, kept).await.map(drop) },
        ));
        reduce(&mut self.state, now, Event::Notice(notice));
        self.dirty = true;
    }

    /// A notice is closed; one about a job stays closed after a restart, too.
    pub(super) fn close_notice(&mut self, key: &str) {
        self.raise_cleared(key);
        if key == JOB {
            let (store, name) = (self.means.store.clone(), self.shared.name.clone());
            self.chores.push(Box::pin(async move {
                store
                    .notice_close(&name, JOB, clock::now().wall, None)
                    .await
                    .map(drop)
            }));
        }
    }
}
