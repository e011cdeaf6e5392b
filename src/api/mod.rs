//! The local API: the SimplyPrint REST shape, with what that shape cannot carry in one extra member
//! `layerd` of the same objects.
//!
//! It is served on a unix socket whose permissions (0660, group `layerd`) are its authorization: whoever
//! may open it may do everything. And on the addresses of `[api] listen`, where a key is needed, in the
//! header `X-API-KEY` or as `Authorization: Bearer`; each key has scopes (read, control, files, admin), and
//! each route needs one. Paths are `/{id}/…` and `/api/{id}/…`; the id is the configured one, and 0 always
//! works.
//!
//! A request that brings a member `layerd` of its own speaks our dialect: there `printer::guard` alone
//! decides what is legal. Everything else is held to the narrower table of the cloud
//! ([`dialect_rules`]), so that a client behaves here as it would there.
//!
//! | file | subject |
//! |---|---|
//! | `mod` | what every route holds; starting it all |
//! | `routes`, `method` | the table of routes, in groups by what they need |
//! | [`listen`], [`server`], [`stall`], [`socket`] | addresses; connections and their limits; the socket itself |
//! | [`door`], [`access`], [`keys`], [`rate`] | who asks, what they may, how often |
//! | [`envelope`], `incoming` | the form of answers and of requests |
//! | [`view`], [`job_view`] | what a printer and a job look like (pure) |
//! | [`demand`], [`gcode_body`], [`pid`], [`dialect_rules`] | what a request asks, and whether the cloud would allow it (pure) |
//! | [`events`] | what changes, as server-sent events |
//! | [`webhooks`] | what happened, told to other programs: routes, queue, where they may lead |
//! | `row`, `host_view` | one element of the list of printers; what of it is the host's (pure) |
//! | `printers`, `actions`, `notifications`, `files`, `form`, `uploads`, `jobs`, `counters`, `backup` | the endpoints |
//! | `cloud_only` | what only the cloud has (pure) |
//! | [`openapi`], `metrics` | the routes for machines; numbers for monitoring |
//! | `autoprint`, [`macros`] | beds that clear themselves; lines of the owner's own |
//! | [`objects`] | objects of the running print, by number or name |
//! | `plate`, `curve`, `picture` | for people: the plate from above, temperatures over time, the camera |
//! | `page` | the page at `/` |
//! | `slicer` | uploads straight from slicers, `/p/NAME/…` |
//! | `mcp` | tools for assistants, `/mcp` |
//! | `v1` | the shapes of SoLoPrint and AutoPrintFarm, one of which may own `/v1` |

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::agent::handle::{AgentHandle, PrinterHandle};
use crate::config::model::Api as Settings;
use crate::host::health::Host;
use crate::json::json;
use envelope::Problem;

pub mod access;
mod actions;
mod autoprint;
mod backup;
mod cloud_only;
mod counters;
mod curve;
pub mod demand;
pub mod dialect_rules;
pub mod door;
mod drain;
pub mod envelope;
pub mod events;
mod files;
mod form;
pub mod gcode_body;
mod host_view;
mod incoming;
pub mod job_view;
mod jobs;
pub mod keys;
pub mod listen;
mod macros;
mod mcp;
mod method;
mod metrics;
mod notifications;
pub mod openapi;
mod page;
mod picture;
pub mod pid;
mod plate;
mod printers;
pub mod rate;
mod recover;
mod routes;
mod row;
pub mod server;
mod slicer;
pub mod socket;
pub mod stall;
mod uploads;
mod v1;
pub mod view;
pub mod webhooks;

pub use socket::{SOCKET_NAME, bind_unix, unbind_unix, which_file};

/// How long the database may take to answer a health check.
const HEALTH_LIMIT: Duration = Duration::from_secs(2);

/// Rest before the keys are read again when the database did not answer.
const KEYS_AGAIN: Duration = Duration::from_secs(5);

/// What every route holds.
#[derive(Clone)]
pub(crate) struct Api {
    agent: AgentHandle,
    account: i64,
    uploads: Arc<uploads::Uploads>,
    keys: Arc<keys::Keys>,
    door: Arc<door::Door>,
    events: Arc<events::Hub>,
    listening: Arc<listen::Listening>,
    post: Arc<webhooks::deliver::Post>,
    v1: Arc<v1::Kept>,
    /// How many addresses it is to listen on.
    addresses: usize,
    /// The machine all this runs on.
    host: watch::Receiver<Arc<Host>>,
    host_name: Arc<str>,
}

/// What the API has to know about the machine it runs on.
pub struct Surroundings<'a> {
    /// Names by which it may be called: first the configured one, last what it calls itself.
    pub names: &'a [&'a str],
    /// How it is.
    pub host: watch::Receiver<Arc<Host>>,
}

/// Serves the API on the socket and on the configured addresses until `shutdown`; open requests get a
/// moment to end.
pub async fn serve(
    socket: UnixListener,
    agent: AgentHandle,
    settings: &Settings,
    around: Surroundings<'_>,
    shutdown: CancellationToken,
) {
    let names = access::Names::new(around.names.iter().copied(), &settings.hosts);
    let api = Api {
        account: settings.id,
        v1: Arc::new(v1::Kept::new(
            settings,
            around.names.first().copied().unwrap_or("layerd"),
        )),
        uploads: Arc::default(),
        keys: Arc::default(),
        door: Arc::new(door::Door::new(
            names,
            settings.loopback_key,
            settings.rate_per_min,
        )),
        listening: Arc::default(),
        post: Arc::new(webhooks::deliver::Post::new(webhooks::target::Target {
            local: settings.webhook_local,
        })),
        addresses: settings.listen.len(),
        host: around.host,
        host_name: around.names.last().copied().unwrap_or_default().into(),
        events: Arc::new(events::Hub::new(shutdown.clone())),
        agent,
    };
    let router = routes::router(api.clone());
    let unix = server::serve(server::Listener::Unix(socket), router.clone(), shutdown.clone());
    let tcp = join_all(addresses(settings).into_iter().flat_map(|(all, tls)| {
        let (api, router, shutdown) = (&api, &router, &shutdown);
        all.into_iter().map(move |address| {
            let place = listen::Place {
                address,
                tls: tls.clone(),
                keys: api.keys.clone(),
                listening: api.listening.clone(),
            };
            listen::listen(place, router.clone(), shutdown.clone()).boxed()
        })
    }));
    let kept = async {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = known_keys(&api) => {}
        }
    };
    let notice = webhooks::deliver::notice(&api.agent, &api.post, &shutdown);
    let deliver = webhooks::deliver::deliver(&api.agent, &api.post, &shutdown);
    tokio::join!(unix, tcp, kept, api.events.run(&api), notice, deliver);
}

/// The addresses to listen on, with what encrypts them. None where the certificate cannot be used: what
/// was to be encrypted is never offered in clear.
fn addresses(settings: &Settings) -> Option<(Vec<SocketAddr>, Option<tokio_rustls::TlsAcceptor>)> {
    let tls = match (&settings.tls_cert, &settings.tls_key) {
        (Some(cert), Some(key)) => match listen::tls(cert, key) {
            Ok(tls) => Some(tls),
            Err(error) => {
                tracing::error!(code = "api/tls", "the API listens on no address: {error}");
                return None;
            }
        },
        _ => None,
    };
    Some((
        settings.listen.iter().filter_map(|a| a.parse().ok()).collect(),
        tls,
    ))
}

/// Reads the keys; until the database answers there are none, and the socket alone opens.
async fn known_keys(api: &Api) {
    while let Err(error) = api.keys.load(api.agent.store()).await {
        tracing::error!(code = error.code(), "the keys of the API cannot be read: {error}");
        tokio::time::sleep(KEYS_AGAIN).await;
    }
}

async fn test_key() -> impl IntoResponse {
    axum::Json(json!({"status": true, "message": "Your API key is valid!"}))
}

/// Whether the agent's loop turns, and the database answers.
async fn health(api: &Api) -> (bool, bool) {
    let asked = tokio::time::timeout(HEALTH_LIMIT, api.agent.store().setting("healthz")).await;
    (api.agent.is_turning(), matches!(asked, Ok(Ok(_))))
}

/// 200 when new prints can be sent here: healthy, listening wherever it is to, and not draining.
async fn readyz(State(api): State<Api>) -> Response {
    let (turns, database) = health(&api).await;
    let message = if !turns || !database {
        Some("It is not healthy: see /healthz.")
    } else if api.agent.is_draining() {
        Some("It is draining: no new prints are started.")
    } else if api.listening.addresses().len() < api.addresses {
        Some("It does not listen on every address of [api] listen: see the log.")
    } else {
        None
    };
    let status = match message {
        None => StatusCode::OK,
        Some(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    (
        status,
        axum::Json(json!({"status": message.is_none(), "message": message})),
    )
        .into_response()
}

/// 200 when the agent's loop turns and the database answers.
async fn healthz(State(api): State<Api>) -> Response {
    let (turns, database) = health(&api).await;
    let status = if database && turns {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = json!({
        "status": database && turns,
        "message": match (turns, database) {
            (false, _) => Some("The main loop does not turn."),
            (true, false) => Some("The database does not answer."),
            (true, true) => None,
        },
        "version": env!("CARGO_PKG_VERSION"),
        "up_s": api.agent.up_s(),
        "printers": api.agent.printers().len(),
        "listening": api.listening.addresses(),
        "draining": api.agent.is_draining(),
    });
    (status, axum::Json(body)).into_response()
}

impl Api {
    /// The printers that a request names; all or nothing.
    fn printers(&self, ids: &[i64]) -> Result<Vec<PrinterHandle>, Problem> {
        ids.iter()
            .map(|id| {
                let found = self.agent.by_id(*id);
                found.ok_or_else(|| Problem::not_found(format!("Printer {id} not found")))
            })
            .collect()
    }
}
