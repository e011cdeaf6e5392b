//! SimplyPrint: protocol 0.2 of the printer websocket, every printer of the host over one socket.
//!
//! Built from public clients and documents, and tried against test doubles; see README.
//!
//! | file | subject |
//! |---|---|
//! | [`endpoints`] | addresses, the vendor's environment variables |
//! | [`proto`], [`demand`], [`lenient`] | what the cloud says (pure) |
//! | [`session`] | one socket: greeting, adding printers, routing, confirmations (pure) |
//! | [`printer`] | one printer: set-up, jobs, demands, what is told when (pure) |
//! | [`view`], [`temps`], [`ambient`], [`notices`], [`materials`] | what the cloud sees of a printer (pure) |
//! | [`throttle`] | the cloud's rate limits (pure) |
//! | [`doc`], [`outbox`] | what survives a restart (pure) |
//! | [`action`] | what the pure part wants done |
//! | [`shell`], [`socket`] | the loop around the pure part, the websocket |
//! | [`work`] | commands, files, posts |
//! | [`keep`] | the database |

pub mod action;
pub mod ambient;
pub mod demand;
pub mod doc;
pub mod endpoints;
pub mod extras;
pub mod keep;
pub mod lenient;
pub mod materials;
pub mod notices;
pub mod outbox;
pub mod printer;
pub mod proto;
pub mod session;
pub mod shell;
pub mod sim;
pub mod socket;
pub mod temps;
pub mod throttle;
pub mod view;
pub mod work;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use self::endpoints::Endpoints;
use self::session::Mode;
use super::{House, Upstream};
use crate::config::model;
use futures_util::future::BoxFuture;

/// This cloud, as it is configured.
#[derive(Clone, Debug)]
pub struct SimplyPrint {
    mode: Mode,
    endpoints: Endpoints,
    start_next: bool,
}

impl SimplyPrint {
    /// From the configuration and the environment of the process.
    pub fn new(config: &model::SimplyPrint) -> Self {
        SimplyPrint {
            mode: if config.single { Mode::Single } else { Mode::Multi },
            endpoints: Endpoints::resolve(&config.ws_url, &config.api_url, |name| std::env::var(name).ok()),
            start_next: config.start_next,
        }
    }
}

impl Upstream for SimplyPrint {
    fn name(&self) -> &'static str {
        keep::UPSTREAM
    }

    fn run(self: Box<Self>, house: House, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            match shell::Shell::new(house, self.endpoints, self.mode, self.start_next).await {
                Ok(shell) => Arc::new(shell).run(stop).await,
                Err(why) => tracing::error!(code = "cloud/cannot-start", "SimplyPrint cannot be used: {why}"),
            }
        })
    }
}
