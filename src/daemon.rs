//! The whole daemon put together: configuration, database, files, printers, local API. Used by
//! `layerd run`, by `layerd demo` and by the tests, so that all of them run the same thing.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::agent::actor::{Means, Settings};
use crate::agent::handle::AgentHandle;
use crate::agent::plan::{Peripherals, PrinterPlan};
use crate::agent::run::Agent;
use crate::api;
use crate::api::socket::{SOCKET_NAME, SocketError};
use crate::config::load::{self, Surroundings};
use crate::config::model::{Common, OnStop, Origin, Preflight};
use crate::config::{Config, Diagnostics, Shown};
use crate::drivers::{self, Build, REGISTRY, StopMode};
use crate::host::fdstore::FdStore;
use crate::host::health::{Host, watch_host};
use crate::host::sysfs;
use crate::host::systemd::Systemd;
use crate::job::analysis_pool::{AnalysisPool, analyze_path};
use crate::job::preflight::Limits;
use crate::job::spool::{Caps, Spool};
use crate::job::store::{FILE_NAME, Store, StoreError};
use crate::printer::fault::Fault;
use crate::upstream::House;
use crate::upstream::crew::{self, UpstreamPlan};

/// A configuration with its drivers.
pub type Configured = Config<Box<dyn Build>>;

/// Why the daemon could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration has mistakes.
    #[error("{0}")]
    Config(#[from] Diagnostics),
    /// The database.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The directory for files.
    #[error("{0}")]
    Spool(#[from] Fault),
    /// The local socket.
    #[error("{0}")]
    Socket(#[from] SocketError),
    /// A directory of the configuration.
    #[error(
        "{}: cannot be made: {source}. Make it for the daemon's user, or set {key} under [agent] to another one.",
        path.display()
    )]
    Directory {
        /// The key that names it.
        key: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The system.
    #[error("Cannot start: {0}")]
    System(#[from] std::io::Error),
}

/// Reads a configuration file with the drivers there are.
pub fn read_config(path: &Path) -> Result<Configured, Diagnostics> {
    load::load(path, &Surroundings::of_process(), &kinds(), &mut configure)
}

/// Reads a configuration text with the drivers there are.
pub fn parse_config(text: &str, name: &str) -> Result<Configured, Diagnostics> {
    load::parse(text, name, &Surroundings::of_process(), &kinds(), &mut configure)
}

/// What of a configuration text others may see, and what they may not.
pub fn shown_config(text: &str) -> Shown {
    load::shown(text, &Surroundings::of_process(), &kinds(), &mut configure)
}

/// In the state directory: the serial printers that ran last, for [`ran_last`].
const RAN_LAST: &str = "serial-printers.toml";

/// The serial printers that the service ran with last, whatever has become of its configuration since: enough to turn their
/// heaters off.
pub fn ran_last(config: &Path) -> Option<Configured> {
    let text = std::fs::read(config).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let state_dir = load::state_dir(&text, &Surroundings::of_process());
    read_config(&state_dir.join(RAN_LAST)).ok()
}

/// Keeps what [`ran_last`] reads; written only when it changed.
fn keep_what_runs(config: &Configured) {
    let state_dir = &config.agent.state_dir;
    // A text of JSON is one of TOML, too.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut text = format!(
        "# Written by layerd, for `layerd cool`.\n[agent]\nstate_dir = {}\n",
        quoted(&state_dir.display().to_string())
    );
    for printer in &config.printers {
        if let Some(keys) = printer.driver.cooling() {
            let (name, kind) = (quoted(&printer.name), quoted(&printer.kind));
            text.push_str(&format!("[printer.{name}]\ndriver = {kind}\n{keys}"));
        }
    }
    let path = state_dir.join(RAN_LAST);
    if std::fs::read(&path).is_ok_and(|kept| kept == text.as_bytes()) {
        return;
    }
    let new = state_dir.join(format!("{RAN_LAST}.new"));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let kept = options
        .open(&new)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&new, &path));
    if let Err(error) = kept {
        tracing::warn!("{}: cannot be written: {error}", path.display());
    }
}

fn kinds() -> Vec<&'static str> {
    REGISTRY.iter().map(|f| f.kind()).collect()
}

fn configure(
    kind: &str,
    common: &Common,
    section: &mut crate::config::Section<'_>,
) -> Option<Box<dyn Build>> {
    drivers::factory(kind)?.configure(common, section)
}

/// What the agent is to run.
pub fn plans(config: Configured) -> Vec<PrinterPlan> {
    config
        .printers
        .into_iter()
        .filter_map(|printer| {
            let kind = drivers::factory(&printer.kind)?.kind();
            let build: Arc<dyn Build> = printer.driver.into();
            let prints_itself = !build.link_is_printer();
            Some(PrinterPlan {
                name: printer.name,
                kind,
                settings: settings(&printer.common, !prints_itself),
                peripherals: Peripherals {
                    power: printer.common.power.clone(),
                    camera: printer.common.camera.clone(),
                    gcode: printer.common.gcode.clone(),
                },
                on_stop: match (printer.common.on_stop, prints_itself) {
                    (Some(OnStop::Pause), _) | (None, false) => StopMode::Park,
                    (Some(OnStop::Cancel), _) => StopMode::Cancel,
                    (Some(OnStop::Leave), _) | (None, true) => StopMode::Leave,
                },
                build,
            })
        })
        .collect()
}

/// The upstreams that are switched on.
fn upstreams(config: &Configured) -> Vec<UpstreamPlan> {
    UpstreamPlan::all(config.simplyprint.as_ref(), config.mqtt.as_ref())
}

fn settings(common: &Common, plain_gcode_only: bool) -> Settings {
    Settings {
        preflight: Limits {
            bed_mm: common.bed_mm,
            bed_round: common.bed_round,
            origin_center: common.origin == Origin::Center,
            reach_mm: common.reach_mm.map(|r| (r.min, r.max)),
            max_tool_c: common.max_tool_c,
            max_bed_c: common.max_bed_c,
            only_warn: common.preflight == Preflight::Warn,
            plain_gcode_only,
        },
        require_clear_bed: common.require_clear_bed,
        checkpoint: common.checkpoint,
        pause_on_restart: common.pause_on_restart,
        release: common.release.clone(),
    }
}

fn make_directory(key: &'static str, path: &Path) -> Result<(), StartError> {
    std::fs::create_dir_all(path).map_err(|source| StartError::Directory {
        key,
        path: path.to_owned(),
        source,
    })
}

/// A daemon that is up.
pub struct Daemon {
    agent: Agent,
    handle: AgentHandle,
    socket: PathBuf,
    /// Which file that is: another daemon may put its own there.
    door: Option<(u64, u64)>,
    api: JoinHandle<()>,
    api_stop: CancellationToken,
    config_path: Option<PathBuf>,
    restart: Arc<Notify>,
    upstreams: watch::Sender<Vec<UpstreamPlan>>,
}

impl Daemon {
    /// Opens the database and the files, starts the printers and the local API. Waits for no printer.
    ///
    /// `config_path`: what a reload reads again.
    pub async fn start(
        config: Configured,
        config_path: Option<PathBuf>,
        systemd: Systemd,
        fd_store: Arc<FdStore>,
    ) -> Result<Daemon, StartError> {
        let (state_dir, runtime_dir) = (config.agent.state_dir.clone(), config.agent.runtime_dir.clone());
        let api_settings = config.api.clone();
        let upstreams = upstreams(&config);
        let api_name = config.agent.name.clone();
        let (host_name, allow) = (config.agent.name.clone(), config.host_allow.clone());
        make_directory("state_dir", &state_dir)?;
        make_directory("runtime_dir", &runtime_dir)?;
        // First of all: a second daemon must not touch the database or the printers of the first.
        let socket = runtime_dir.join(SOCKET_NAME);
        let listener = api::bind_unix(&socket).await?;
        let door = api::which_file(&socket);
        keep_what_runs(&config);
        let store = Store::open(&state_dir.join(FILE_NAME))?;
        let spool = Spool::open(state_dir.join("spool"), store.clone(), Caps::default())?;
        let pool = AnalysisPool::start(spool.clone(), analyze_path)?;
        let disk = state_dir.clone();
        let means = Means {
            store,
            spool,
            pool,
            fd_store,
            runtime_dir,
            state_dir,
        };
        let mut agent = Agent::start(plans(config), means, systemd).await?;
        let handle = agent.handle();
        let restart = Arc::new(Notify::new());
        let (tell, host) = watch::channel(Arc::new(Host::default()));
        let stop = CancellationToken::new();
        let looks = watch_host(sysfs::Roots::default(), disk, tell, stop.clone());
        #[allow(
            clippy::disallowed_methods,
            reason = "the handle is kept: awaited when the agent ends"
        )]
        let task = tokio::spawn(looks.boxed());
        agent.ends_with(Box::pin(async move {
            stop.cancel();
            // It ends within one look.
            let _ = task.await;
        }));
        let seen = host.clone();
        let house = House {
            agent: handle.clone(),
            name: host_name,
            allow,
            host,
            restart: restart.clone(),
        };
        let (wanted, planned) = watch::channel(upstreams);
        let stop = CancellationToken::new();
        let run = crew::run(planned, house, stop.clone());
        #[allow(
            clippy::disallowed_methods,
            reason = "the handle is kept: awaited when the agent ends"
        )]
        let task = tokio::spawn(run.boxed());
        agent.ends_with(Box::pin(async move {
            stop.cancel();
            if let Err(failed) = task.await {
                tracing::error!(code = "upstream/ended", "the upstreams failed: {failed}");
            }
        }));
        let api_stop = CancellationToken::new();
        let (serves, stop) = (handle.clone(), api_stop.clone());
        let serve = async move {
            let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
            let around = api::Surroundings {
                names: &[api_name.as_str(), machine.as_str()],
                host: seen,
            };
            api::serve(listener, serves, &api_settings, around, stop).await;
        };
        #[allow(
            clippy::disallowed_methods,
            reason = "the handle is kept: awaited at the end of `run`"
        )]
        let api = tokio::spawn(serve.boxed());
        Ok(Daemon {
            agent,
            handle,
            socket,
            door,
            api,
            api_stop,
            config_path,
            restart,
            upstreams: wanted,
        })
    }

    /// For asking the printers from inside.
    pub fn handle(&self) -> AgentHandle {
        self.handle.clone()
    }

    /// The socket that carries the command line.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Runs until a signal or `stop`; then brings everything to rest in order.
    pub async fn run(self, stop: impl Future<Output = ()>) -> std::io::Result<()> {
        let path = self.config_path;
        let wanted = self.upstreams;
        let reread = Box::new(move || match &path {
            Some(path) => {
                let config = read_config(path).map_err(|mistakes| mistakes.to_string())?;
                keep_what_runs(&config);
                let changed = upstreams(&config);
                wanted.send_if_modified(|plans| {
                    let news = *plans != changed;
                    *plans = changed;
                    news
                });
                Ok(plans(config))
            }
            None => Err("this daemon was started without a configuration file".to_owned()),
        });
        let restart = self.restart;
        let stop = async move {
            tokio::select! {
                () = stop => {}
                () = restart.notified() => {}
            }
        };
        let ended = self.agent.run(reread, stop).await.map(|_| ());
        // The API outlives the printers, so that a person can watch them come to rest. Its name goes while it
        // still listens: whoever finds a name later has found the next daemon.
        api::unbind_unix(&self.socket, self.door);
        self.api_stop.cancel();
        if let Err(failed) = self.api.await {
            tracing::error!(code = "api/ended", "the local API failed: {failed}");
        }
        ended
    }
}
