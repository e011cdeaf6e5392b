//! The upstreams that run: started, and after a reload of the configuration only those restarted that changed.

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::mqtt::MqttUpstream;
use super::simplyprint::SimplyPrint;
use super::{House, Upstream};
use crate::config::model;

/// One upstream as it is configured.
#[derive(Clone, Debug, PartialEq)]
pub enum UpstreamPlan {
    /// The cloud.
    SimplyPrint(model::SimplyPrint),
    /// A broker.
    Mqtt(Box<model::Mqtt>),
}

impl UpstreamPlan {
    /// Those of a configuration that are switched on.
    pub fn all(simplyprint: Option<&model::SimplyPrint>, mqtt: Option<&model::Mqtt>) -> Vec<UpstreamPlan> {
        let cloud = simplyprint
            .filter(|s| s.enabled)
            .cloned()
            .map(UpstreamPlan::SimplyPrint);
        let broker = mqtt
            .filter(|m| m.enabled)
            .cloned()
            .map(|m| UpstreamPlan::Mqtt(Box::new(m)));
        cloud.into_iter().chain(broker).collect()
    }

    fn upstream(&self) -> Box<dyn Upstream> {
        match self {
            UpstreamPlan::SimplyPrint(config) => Box::new(SimplyPrint::new(config)),
            UpstreamPlan::Mqtt(config) => Box::new(MqttUpstream::new(config)),
        }
    }
}

/// One that runs.
struct Running {
    plan: UpstreamPlan,
    name: &'static str,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start(plan: UpstreamPlan, house: &House) -> Self {
        let upstream = plan.upstream();
        let (name, stop) = (upstream.name(), CancellationToken::new());
        #[allow(
            clippy::disallowed_methods,
            reason = "the handle is kept: awaited when it is to end"
        )]
        let task = tokio::spawn(upstream.run(house.clone(), stop.clone()));
        Running {
            plan,
            name,
            stop,
            task,
        }
    }

    async fn end(self) {
        self.stop.cancel();
        if let Err(failed) = self.task.await {
            tracing::error!(
                code = "upstream/ended",
                upstream = self.name,
                "it failed: {failed}"
            );
        }
    }
}

/// Runs what `plans` holds, until `stop`; then everything comes to its end.
pub async fn run(mut plans: watch::Receiver<Vec<UpstreamPlan>>, house: House, stop: CancellationToken) {
    let mut running: Vec<Running> = Vec::new();
    loop {
        let wanted = plans.borrow_and_update().clone();
        let (stay, go): (Vec<_>, Vec<_>) = running.into_iter().partition(|r| wanted.contains(&r.plan));
        running = stay;
        join_all(go.into_iter().map(|upstream| upstream.end().boxed())).await;
        for plan in wanted {
            if !running.iter().any(|r| r.plan == plan) {
                running.push(Running::start(plan, &house));
            }
        }
        tokio::select! {
            () = stop.cancelled() => break,
            changed = plans.changed() => if changed.is_err() {
                stop.cancelled().await;
                break;
            },
        }
    }
    join_all(running.into_iter().map(|upstream| upstream.end().boxed())).await;
}
