//! The main loop of the daemon.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;

use super::actor::Means;
use super::crew::Crew;
use super::curves::Curves;
use super::handle::{AgentHandle, AgentShared};
use super::pairing::Pairings;
use super::plan::{PrinterPlan, difference};
use crate::drivers::{BoxFuture, StopMode};
use crate::host::systemd::{JobType, Systemd};
use crate::job::housekeeping;
use crate::job::store::StoreError;
use crate::printer::model::StateWord;
use crate::sys;

/// How often the loop looks around. The watchdog is fed from here and from nowhere else.
const TURN: Duration = Duration::from_secs(2);

/// How long flushing the database may take at the end.
const FLUSH_LIMIT: Duration = Duration::from_secs(10);

/// How long upstreams may take to say their last words.
const LAST_LIMIT: Duration = Duration::from_secs(10);

/// Reads the configuration again; `Err` holds every mistake, ready to print.
pub type Reread = Box<dyn FnMut() -> Result<Vec<PrinterPlan>, String> + Send>;

/// Why the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// SIGTERM or SIGINT, or the caller's stop.
    Stopped,
}

/// The agent, wired and running.
pub struct Agent {
    shared: Arc<AgentShared>,
    crew: Crew,
    means: Means,
    systemd: Systemd,
    /// Changed plans that wait for the end of a print.
    waiting: VecDeque<PrinterPlan>,
    /// Files that had been looked at when the allocator was last asked for what is free, and at the last turn.
    tidied: (u64, u64),
    /// What ends after the printers and before the database.
    last: Vec<BoxFuture<'static, ()>>,
}

impl Agent {
    /// Starts all printers. None of them is waited for.
    pub async fn start(plans: Vec<PrinterPlan>, means: Means, systemd: Systemd) -> Result<Self, StoreError> {
        let shared = Arc::new(AgentShared {
            printers: Mutex::new(Vec::new()),
            draining: AtomicBool::new(false),
            runtime_dir: means.runtime_dir.clone(),
            state_dir: means.state_dir.clone(),
            store: means.store.clone(),
            spool: means.spool.clone(),
            pool: means.pool.clone(),
            pairings: Pairings::default(),
            curves: Curves::new(Instant::now()),
            began: Instant::now(),
            turned_s: AtomicU64::new(0),
        });
        // Lines of printers that have left the configuration are let go.
        means
            .fd_store
            .forget_except(plans.iter().map(|p| p.name.as_str()));
        let mut crew = Crew::new(shared.clone(), means.clone());
        for plan in plans {
            crew.add(plan).await?;
        }
        Ok(Agent {
            shared,
            crew,
            means,
            systemd,
            waiting: VecDeque::new(),
            tidied: (0, 0),
            last: Vec::new(),
        })
    }

    /// A handle for the API, the upstreams and the command line.
    pub fn handle(&self) -> AgentHandle {
        AgentHandle {
            inner: self.shared.clone(),
        }
    }

    /// Something that is to come to its end after the printers have come to rest, so that it can still
    /// tell of that, and before the database is closed. It has [`LAST_LIMIT`].
    pub fn ends_with(&mut self, end: BoxFuture<'static, ()>) {
        self.last.push(end);
    }

    /// Runs until a signal or `stop` ends it; then stops everything in order.
    ///
    pub async fn run(mut self, mut reread: Reread, stop: impl Future<Output = ()>) -> std::io::Result<End> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut turn = tokio::time::interval(TURN.min(self.systemd.watchdog_half()));
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.systemd.ready();
        tokio::pin!(stop);
        let housekeeping = housekeeping::forever(self.means.store.clone(), self.means.spool.clone());
        tokio::pin!(housekeeping);
        loop {
            tokio::select! {
                _ = heard(&mut terminate) => break,
                _ = heard(&mut interrupt) => break,
                () = &mut stop => break,
                never = &mut housekeeping => match never {},
                _ = heard(&mut hangup) => self.reload(&mut reread).await,
                _ = turn.tick() => self.look_around().await,
            }
        }
        self.stop().await;
        Ok(End::Stopped)
    }

    async fn look_around(&mut self) {
        self.crew.look_after();
        self.shared.turned_s.store(self.shared.up_s(), Ordering::Relaxed);
        self.note_temperatures();
        // Only after every actor has been looked at: a bare timer would prove nothing.
        self.systemd.watchdog();
        self.systemd.status(&self.status());
        for _ in 0..self.waiting.len() {
            let Some(plan) = self.waiting.pop_front() else {
                break;
            };
            self.replace(plan).await;
        }
        self.tidy_up();
    }

    /// What downloads and analyses have freed lies about in the heaps of all threads: it goes back to the system
    /// when a turn has passed without another one.
    fn tidy_up(&mut self) {
        let done = self.means.pool.done();
        let (tidied, before) = self.tidied;
        self.tidied.1 = done;
        if done != tidied && done == before {
            sys::give_back_free_memory();
            self.tidied.0 = done;
        }
    }

    fn note_temperatures(&self) {
        let seen: Vec<_> = self
            .handle()
            .printers()
            .iter()
            .map(|p| (p.id(), p.snapshot()))
            .collect();
        let states = seen.iter().map(|(id, snapshot)| (*id, &snapshot.state));
        self.shared.curves.note(Instant::now(), states);
    }

    fn status(&self) -> String {
        let handle = self.handle();
        let words: Vec<StateWord> = handle
            .printers()
            .iter()
            .map(|p| p.snapshot().state.word())
            .collect();
        let count = |word| words.iter().filter(|w| **w == word).count();
        format!(
            "{} printers: {} printing, {} ready, {} offline",
            words.len(),
            count(StateWord::Printing),
            count(StateWord::Operational),
            count(StateWord::Offline)
        )
    }

    async fn reload(&mut self, reread: &mut Reread) {
        self.systemd.reloading();
        match reread() {
            Err(mistakes) => {
                tracing::error!(
                    code = "config/reload-refused",
                    "the new configuration does not check; the old one stays:\n{mistakes}"
                );
            }
            Ok(plans) => {
                let difference = difference(&self.crew.plans(), &plans);
                tracing::info!(
                    same = difference.same,
                    new = difference.new.len(),
                    changed = difference.changed.len(),
                    gone = difference.gone.len(),
                    "configuration reloaded"
                );
                for name in difference.gone {
                    let mode = self.stop_mode(&name);
                    self.crew.remove(&name, mode).await;
                }
                self.waiting.clear();
                for plan in difference.changed {
                    self.replace(plan).await;
                }
                for plan in difference.new {
                    self.add(plan).await;
                }
            }
        }
        self.systemd.ready();
    }

    /// Restarts a printer with new settings; a print is not disturbed by that, it waits for its end.
    async fn replace(&mut self, plan: PrinterPlan) {
        let printing = self
            .handle()
            .by_name(&plan.name)
            .is_some_and(|p| p.snapshot().state.job.is_some());
        if printing {
            tracing::info!(printer = %plan.name, "the new settings take effect at the end of the print");
            self.waiting.push_back(plan);
            return;
        }
        self.crew.remove(&plan.name, StopMode::Leave).await;
        self.add(plan).await;
    }

    async fn add(&mut self, plan: PrinterPlan) {
        let name = plan.name.clone();
        if let Err(error) = self.crew.add(plan).await {
            tracing::error!(printer = %name, "the printer could not be started: {error}");
        }
    }

    fn stop_mode(&self, name: &str) -> StopMode {
        self.crew
            .plans()
            .iter()
            .find(|p| p.name == name)
            .map_or(StopMode::Leave, |p| p.on_stop)
    }

    /// Ordered: no new work, printers to rest, database flushed. Each stage has its limit.
    async fn stop(mut self) {
        self.handle().drain(true);
        self.systemd.stopping();
        // Only a quick restart through the descriptor store leaves prints running.
        let detach = self.systemd.job_type().await == JobType::Restart;
        tracing::info!(detach, "stopping");
        self.crew.stop(detach).await;
        let last = futures_util::future::join_all(std::mem::take(&mut self.last));
        if tokio::time::timeout(LAST_LIMIT, last).await.is_err() {
            tracing::error!(
                code = "layerd/stop-timeout",
                "an upstream did not come to its end in time"
            );
        }
        if let Err(error) = self.means.store.close(FLUSH_LIMIT).await {
            tracing::error!(
                code = "store/not-flushed",
                "the database could not be flushed: {error}"
            );
        }
    }
}

/// A signal; never resolves again once its stream is closed.
async fn heard(signal: &mut Signal) {
    if signal.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}
