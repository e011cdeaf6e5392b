//! The printers' actors: started, watched, restarted alone, stopped together.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tracing::Instrument;

use super::actor::{Actor, Means};
use super::clock;
use super::handle::{AgentShared, Ask, PrinterHandle, Shared, Snapshot};
use super::journal::{JOURNAL_MAX, Journal};
use super::plan::PrinterPlan;
use super::supply::SupplySide;
use crate::camera::faults;
use crate::camera::lens::{Lens, Source, Studio};
use crate::drivers::StopMode;
use crate::job::store::StoreError;
use crate::power::switch::switch;
use crate::printer::model::State;
use crate::printer::wire::WireRing;

/// Questions waiting for an actor; when full the asker is told "busy".
const ASKS_MAX: usize = 32;

/// Raw traffic kept per printer, bytes.
const WIRE_RING_BYTES: usize = 48 * 1024;

/// An actor that did not turn for so long is stuck. It turns every two seconds by itself.
const STUCK_AFTER_S: u64 = 30;

/// How long an actor may take to end after its driver was told to stop.
const ACTOR_STOP_LIMIT: Duration = Duration::from_secs(165);

/// One printer with its task.
#[derive(Debug)]
struct Member {
    plan: PrinterPlan,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
    /// Tasks of its switch; they end with it.
    aside: Vec<JoinHandle<()>>,
}

/// All printers.
pub struct Crew {
    agent: Arc<AgentShared>,
    means: Means,
    members: Vec<Member>,
    studio: Studio,
}

impl Crew {
    /// Nobody yet.
    pub(super) fn new(agent: Arc<AgentShared>, means: Means) -> Self {
        Crew {
            agent,
            means,
            members: Vec::new(),
            studio: Studio::default(),
        }
    }

    /// The plans that run now.
    pub fn plans(&self) -> Vec<PrinterPlan> {
        self.members.iter().map(|m| m.plan.clone()).collect()
    }

    /// Starts a printer.
    pub async fn add(&mut self, plan: PrinterPlan) -> Result<(), StoreError> {
        let id = self.means.store.printer_id(&plan.name, plan.kind).await?;
        // Without its past a journal is still of use.
        let past = self.means.store.journal(&plan.name, JOURNAL_MAX).await;
        let now = clock::now();
        let (snapshot, _) = watch::channel(Arc::new(Snapshot {
            at: now,
            state: State::new(now),
            job_id: None,
            last: None,
        }));
        // Closed until the actor puts its own ends in.
        let (asks, _) = mpsc::channel(1);
        let (urgent, _) = mpsc::channel(1);
        let (supply, aside) = self.aside(&plan);
        let shared = Arc::new(Shared {
            supply,
            camera: self
                .camera(&plan)
                .map(|source| Lens::new(source, self.studio.clone())),
            name: plan.name.as_str().into(),
            id,
            driver: plan.kind,
            limits: plan.settings.preflight.clone(),
            gcode: plan.peripherals.gcode.clone(),
            release: plan.settings.release.clone(),
            snapshot,
            asks: Mutex::new(asks),
            urgent: Mutex::new(urgent),
            journal: Journal::starting_with(past.unwrap_or_default()),
            wire: Arc::new(WireRing::new(WIRE_RING_BYTES)),
            beat_s: AtomicU64::new(self.agent.up_s()),
            next_request: AtomicU64::new(1),
        });
        let task = self.launch(&plan, &shared);
        self.members.push(Member {
            plan,
            shared,
            task,
            aside,
        });
        self.publish();
        Ok(())
    }

    /// What stands beside a printer. A switch that cannot be set up is told of; the printer runs.
    fn aside(&self, plan: &PrinterPlan) -> (Option<SupplySide>, Vec<JoinHandle<()>>) {
        let mut tasks = Vec::new();
        let supply = plan.peripherals.power.as_ref().and_then(|power| {
            let memory = self.means.state_dir.join("power").join(&plan.name);
            match switch(power, memory) {
                Ok((switch, task)) => {
                    let span = tracing::info_span!("power", printer = %plan.name);
                    #[allow(
                        clippy::disallowed_methods,
                        reason = "the handle is kept in the crew and aborted at the end"
                    )]
                    tasks.push(tokio::spawn(task.instrument(span).boxed()));
                    Some(SupplySide::new(switch))
                }
                Err(fault) => {
                    tracing::error!(printer = %plan.name, code = %fault.code, "{fault}");
                    None
                }
            }
        });
        (supply, tasks)
    }

    /// Where pictures come from: the address in the configuration, else the printer's own camera.
    fn camera(&self, plan: &PrinterPlan) -> Option<Source> {
        if let Some(camera) = &plan.peripherals.camera {
            return Source::of(camera);
        }
        // Only whether there is one: nothing is asked of it yet.
        drop(plan.build.snapshot(&plan.name, &self.means.state_dir)?);
        let (build, name, state_dir) = (
            plan.build.clone(),
            plan.name.clone(),
            self.means.state_dir.clone(),
        );
        Some(Source::Own(Arc::new(move || {
            let (build, name, state_dir) = (build.clone(), name.clone(), state_dir.clone());
            Box::pin(async move {
                match build.snapshot(&name, &state_dir) {
                    Some(picture) => picture.await,
                    None => Err(faults::NO_PICTURE),
                }
            })
        })))
    }

    fn launch(&self, plan: &PrinterPlan, shared: &Arc<Shared>) -> JoinHandle<()> {
        let (asks, asks_rx) = mpsc::channel::<Ask>(ASKS_MAX);
        *shared.asks.lock().unwrap_or_else(|e| e.into_inner()) = asks;
        shared.beat_s.store(self.agent.up_s(), Ordering::Relaxed);
        let (agent, means, shared) = (self.agent.clone(), self.means.clone(), shared.clone());
        let (build, settings) = (plan.build.clone(), plan.settings.clone());
        let span = tracing::info_span!("printer", printer = %shared.name);
        let life = async move {
            Actor::new(shared, agent, build, means, settings, asks_rx)
                .await
                .run()
                .await
        };
        #[allow(
            clippy::disallowed_methods,
            reason = "the handle is kept in the crew: watched, awaited, aborted"
        )]
        tokio::spawn(life.instrument(span).boxed())
    }

    /// Restarts actors that died or do not turn; the others are not touched.
    pub fn look_after(&mut self) {
        let up_s = self.agent.up_s();
        for index in 0..self.members.len() {
            let Some(member) = self.members.get(index) else {
                continue;
            };
            let stuck = up_s.saturating_sub(member.shared.beat_s.load(Ordering::Relaxed)) > STUCK_AFTER_S;
            let dead = member.task.is_finished();
            if !stuck && !dead {
                continue;
            }
            member.task.abort();
            let what = if dead {
                "ended by itself"
            } else {
                "did not turn for 30 s"
            };
            tracing::error!(printer = %member.shared.name, code = "layerd/actor-restarted", "the printer's task {what}; it is restarted alone");
            member.shared.journal.add(
                clock::now().wall,
                format!("layerd's task for this printer {what} and was restarted"),
            );
            let task = self.launch(&member.plan, &member.shared);
            if let Some(member) = self.members.get_mut(index) {
                member.task = task;
            }
        }
    }

    /// Stops one printer and forgets it.
    pub async fn remove(&mut self, name: &str, mode: StopMode) {
        let Some(at) = self.members.iter().position(|m| m.plan.name == name) else {
            return;
        };
        let member = self.members.remove(at);
        self.publish();
        end(member, mode).await;
    }

    /// Stops all printers side by side. `detach`: the daemon is back in seconds.
    pub async fn stop(&mut self, detach: bool) {
        let ends = self.members.drain(..).map(|member| {
            let mode = if detach {
                StopMode::Detach
            } else {
                member.plan.on_stop
            };
            end(member, mode).boxed()
        });
        futures_util::future::join_all(ends).await;
    }

    fn publish(&self) {
        let handles = self
            .members
            .iter()
            .map(|m| PrinterHandle {
                shared: m.shared.clone(),
            })
            .collect();
        *self.agent.printers.lock().unwrap_or_else(|e| e.into_inner()) = handles;
    }
}

async fn end(member: Member, mode: StopMode) {
    let (done, stopped) = oneshot::channel();
    let lane = member
        .shared
        .asks
        .lock()
        .unwrap_or_else(|e| e.into_inner())
        .clone();
    let asked = lane.send(Ask::Stop { mode, done });
    let stop = async {
        if asked.await.is_ok() {
            let _ = stopped.await;
        }
    };
    let mut task = member.task;
    let orderly = tokio::time::timeout(ACTOR_STOP_LIMIT, async {
        stop.await;
        let _ = (&mut task).await;
    })
    .await;
    if orderly.is_err() {
        tracing::error!(printer = %member.shared.name, code = "layerd/stop-timeout", "the printer did not come to rest in time; its heaters may be on");
        task.abort();
    }
    for task in member.aside {
        task.abort();
    }
}
