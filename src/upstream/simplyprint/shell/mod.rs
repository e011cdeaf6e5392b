//! Around the pure part: what all sockets share, one loop per socket ([`turns`]), and who does what the
//! pure part wants done ([`errands`]).

mod errands;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use rustls::ClientConfig;
use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::action::PrinterKey;
use super::endpoints::Endpoints;
use super::keep::Keep;
use super::session::Mode;
use super::work::{STARTS, Tools};
use crate::agent::handle::PrinterHandle;
use crate::host::tls;
use crate::sorted::SortedMap;
use crate::upstream::House;
use crate::upstream::fetch::{Fetcher, LANES};
use crate::upstream::reach::Reach;

/// How often the list of printers and the host are looked at.
const LOOK_AROUND: Duration = Duration::from_secs(2);

/// What all sockets share.
pub struct Shell {
    house: House,
    endpoints: Endpoints,
    mode: Mode,
    tls: Arc<ClientConfig>,
    tools: Tools,
    keep: Keep,
}

/// Which printers a socket carries.
#[derive(Clone, Debug)]
enum Crew {
    All,
    One(PrinterKey),
}

impl Shell {
    /// Makes what is shared.
    ///
    /// # Errors
    /// In words: no TLS, no database.
    pub async fn new(
        house: House,
        endpoints: Endpoints,
        mode: Mode,
        start_next: bool,
    ) -> Result<Self, String> {
        let tls = tls::client_config().map_err(|e| format!("TLS cannot be set up: {e}"))?;
        let reach = Reach::new(endpoints.hosts());
        let http = reach
            .client((*tls).clone())
            .map_err(|e| format!("no HTTP client: {e}"))?;
        let keep = Keep::open(house.agent.store()).await.map_err(|e| e.to_string())?;
        let tools = Tools {
            agent: house.agent.clone(),
            fetcher: Fetcher {
                http,
                reach,
                pool: house.agent.pool().clone(),
                spool: house.agent.spool().clone(),
                lanes: Arc::new(Semaphore::new(LANES)),
            },
            starts: Arc::new(Semaphore::new(STARTS)),
            api: endpoints.api.clone(),
            start_next,
        };
        Ok(Shell {
            house,
            endpoints,
            mode,
            tls,
            tools,
            keep,
        })
    }

    /// Runs until the stop.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        match self.mode {
            Mode::Multi => turns::Loop::new(self, Crew::All).run(stop).await,
            Mode::Single => self.one_each(stop).await,
        }
    }

    /// Single mode: a socket per printer, as the configuration has them.
    async fn one_each(self: Arc<Self>, stop: CancellationToken) {
        let mut sockets: FuturesUnordered<BoxFuture<'_, PrinterKey>> = FuturesUnordered::new();
        let mut running: SortedMap<PrinterKey, CancellationToken> = SortedMap::new();
        let mut turn = tokio::time::interval(LOOK_AROUND);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(key) = sockets.next(), if !sockets.is_empty() => {
                    running.remove(&key);
                }
                _ = turn.tick() => {
                    let keys: Vec<PrinterKey> = self.house.agent.printers().iter().map(PrinterHandle::id).collect();
                    for (key, token) in &running {
                        if !keys.contains(key) {
                            token.cancel();
                        }
                    }
                    for key in keys {
                        if running.contains_key(&key) {
                            continue;
                        }
                        let token = stop.child_token();
                        running.insert(key, token.clone());
                        let shell = self.clone();
                        sockets.push(Box::pin(async move {
                            turns::Loop::new(shell, Crew::One(key)).run(token).await;
                            key
                        }));
                    }
                }
            }
        }
        while sockets.next().await.is_some() {}
    }
}
