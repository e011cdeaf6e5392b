//! What a configuration says, validated. Defaults are filled in.

use std::path::PathBuf;
use std::time::Duration;

use super::lifecycle::Lifecycle;
use super::secrets::Secret;
use super::template::Template;

/// The whole file. `D`: what a driver makes of its own keys.
#[derive(Debug)]
pub struct Config<D> {
    /// `[agent]`.
    pub agent: Agent,
    /// `[api]`.
    pub api: Api,
    /// `[host]`: what the cloud may do to this host.
    pub host_allow: Vec<String>,
    /// `[upstream.simplyprint]`; `None` without the section.
    pub simplyprint: Option<SimplyPrint>,
    /// `[upstream.mqtt]`; `None` without the section.
    pub mqtt: Option<Mqtt>,
    /// `[printer.*]` in the order of the file.
    pub printers: Vec<Printer<D>>,
}

/// `[agent]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Agent {
    /// Name of this host.
    pub name: String,
    /// Durable directory.
    pub state_dir: PathBuf,
    /// Memory-backed directory.
    pub runtime_dir: PathBuf,
}

/// `[api]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Api {
    /// Addresses to listen on, beside the unix socket.
    pub listen: Vec<String>,
    /// Names of this host that requests may call it by, beside its addresses and its own names.
    pub hosts: Vec<String>,
    /// Whether webhooks may lead to this machine itself.
    pub webhook_local: bool,
    /// Who owns `/v1`.
    pub v1: V1,
    /// The `{id}` of the paths; 0 always works.
    pub id: i64,
    /// Whether this machine needs a key too.
    pub loopback_key: bool,
    /// Requests a minute and key; 0 is no limit.
    pub rate_per_min: u32,
    /// Certificate file.
    pub tls_cert: Option<PathBuf>,
    /// Key file.
    pub tls_key: Option<PathBuf>,
}

/// Which dialect owns `/v1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum V1 {
    /// SoLoPrint's.
    SoloPrint,
    /// AutoPrintFarm's.
    AutoPrintFarm,
    /// Nobody's.
    Off,
}

/// `[upstream.simplyprint]`.
#[derive(Clone, Debug, PartialEq)]
pub struct SimplyPrint {
    /// Off keeps the section without using it.
    pub enabled: bool,
    /// One connection for all printers, or one each.
    pub single: bool,
    /// Websocket address.
    pub ws_url: String,
    /// REST address.
    pub api_url: String,
    /// When a bed was cleared, the cloud is asked to start the next item of its queue.
    pub start_next: bool,
}

/// `[upstream.mqtt]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Mqtt {
    /// Off keeps the section without using it.
    pub enabled: bool,
    /// Where the broker is.
    pub broker: Broker,
    /// Our name with it; `None`: made of the host's name and machine.
    pub client_id: Option<String>,
    /// Name and password.
    pub user: Option<String>,
    /// See `user`.
    pub password: Option<Secret>,
    /// The password stands in the section itself: then nobody else may read the file.
    pub secret: bool,
    /// Authority that the broker's certificate must be of, instead of those of the system.
    pub ca_file: Option<PathBuf>,
    /// Certificate that we show.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// First part of all topics.
    pub topic: String,
    /// Name of the host in topics; `None`: that of `[agent]`.
    pub host: Option<String>,
    /// Prefix of Home Assistant's discovery; `None`: not announced.
    pub discovery: Option<String>,
    /// Whether commands are taken.
    pub commands: bool,
    /// Everything is told at least this often.
    pub full: Duration,
    /// How often a printing printer is pictured; `None`: never.
    pub camera: Option<Duration>,
    /// The broker hears of us at least this often.
    pub keep_alive: Duration,
    /// Within this time of a lost connection the next one is tried.
    pub spread: Duration,
    /// Hosts of this network that files may be fetched from.
    pub download_hosts: Vec<String>,
}

/// Where a broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Encrypted.
    pub tls: bool,
    /// Over a websocket, at this path.
    pub websocket: Option<String>,
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// Where the origin of the bed is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Front left.
    Corner,
    /// The middle.
    Center,
}

/// What a pre-flight finding does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preflight {
    /// No start.
    Refuse,
    /// A warning.
    Warn,
}

/// What an ordinary stop of the daemon does with a running print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStop {
    /// Park, heaters off, offer it again.
    Pause,
    /// End it.
    Cancel,
    /// The printer prints by itself.
    Leave,
}

/// How far the head may travel, mm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reach {
    /// Lowest X, Y, Z.
    pub min: [f64; 3],
    /// Highest X, Y, Z.
    pub max: [f64; 3],
}

/// What every printer may set, whatever drives it.
#[derive(Clone, Debug, PartialEq)]
pub struct Common {
    /// Bed size and height, mm.
    pub bed_mm: Option<[f64; 3]>,
    /// Round bed.
    pub bed_round: bool,
    /// Where the origin is.
    pub origin: Origin,
    /// Travel limits, if wider than the bed.
    pub reach_mm: Option<Reach>,
    /// Highest tool temperature.
    pub max_tool_c: Option<f32>,
    /// Highest bed temperature.
    pub max_bed_c: Option<f32>,
    /// What a pre-flight finding does.
    pub preflight: Preflight,
    /// What a stop does; `None`: the driver's default.
    pub on_stop: Option<OnStop>,
    /// A quick restart pauses a running print instead of going on.
    pub pause_on_restart: bool,
    /// Heaters off when idle for so long; zero is never.
    pub idle_heaters_off: Duration,
    /// Nozzle off in a pause of so long; zero is never.
    pub pause_nozzle_off: Duration,
    /// A finished print must be cleared before the next start.
    pub require_clear_bed: bool,
    /// How often the position goes to the disk.
    pub checkpoint: Duration,
    /// Camera addresses.
    pub camera: Option<Camera>,
    /// The switch of its power supply.
    pub power: Option<Power>,
    /// Lines of the owner's own at moments of a print.
    pub gcode: Lifecycle,
    /// How a completed print leaves the bed by itself.
    pub release: Option<Release>,
}

/// `release = { … }`: after a completed print, and only then.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Release {
    /// The bed is cleared once it is this cool, °C.
    pub below_c: Option<f32>,
    /// Or after so long, whatever its temperature.
    pub after: Option<Duration>,
    /// Sent right after the print.
    pub done: Template,
    /// Sent to clear the bed.
    pub clear: Template,
    /// After so many in a row a person has to look.
    pub max_prints: Option<u32>,
}

/// `camera = { … }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Camera {
    /// Address of one picture; it may hold a login.
    pub snapshot: Option<Secret>,
    /// Address of an MJPEG stream.
    pub stream: Option<Secret>,
}

impl Camera {
    /// Whether an address holds a login (`http://user:password@…`), which must not be read by others.
    pub fn has_secret(&self) -> bool {
        let login = |url: &Secret| {
            let rest = url.reveal().split_once("://").map_or("", |(_, rest)| rest);
            rest.split(['/', '?', '#'])
                .next()
                .is_some_and(|host| host.contains('@'))
        };
        self.snapshot.iter().chain(&self.stream).any(login)
    }
}

/// `power = { … }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Power {
    /// Which switch.
    pub kind: PowerKind,
    /// Switch on before connecting for the first time.
    pub on_connect: bool,
}

/// The kinds of switches, each with its own keys.
#[derive(Clone, Debug, PartialEq)]
pub enum PowerKind {
    /// Tasmota's web commands.
    Tasmota {
        /// Address of the device.
        url: String,
        /// Name for the login; `admin` unless set.
        user: Option<String>,
        /// Its web password.
        password: Option<Secret>,
        /// Number of the relay, from 1, where it has several.
        channel: Option<u8>,
    },
    /// A Shelly, first generation (`/relay/0`) or later (RPC).
    Shelly {
        /// Address of the device.
        url: String,
        /// Name for the login of the first generation; `admin` unless set.
        user: Option<String>,
        /// Password of the first generation.
        password: Option<Secret>,
        /// Number of the relay, from 0.
        channel: u8,
        /// 1 or 2; asked of the device unless set.
        generation: Option<u8>,
    },
    /// Plain addresses.
    Http {
        /// Switches on.
        on_url: String,
        /// Switches off.
        off_url: String,
        /// Tells.
        state_url: Option<String>,
    },
    /// A line of a GPIO chip.
    Gpio {
        /// The character device.
        chip: PathBuf,
        /// Number of the line on it.
        line: u32,
        /// Low is on.
        active_low: bool,
    },
    /// A power device of Moonraker.
    Moonraker {
        /// Address of Moonraker.
        url: String,
        /// Name of the device there.
        device: String,
        /// Key, where Moonraker wants one.
        api_key: Option<Secret>,
    },
    /// Commands of the owner: program and arguments, no shell.
    Command {
        /// Switches on.
        on: Vec<String>,
        /// Switches off.
        off: Vec<String>,
        /// Prints `on` or `off`.
        state: Option<Vec<String>>,
    },
}

impl PowerKind {
    /// Whether it holds something that must not be read by others.
    pub fn has_secret(&self) -> bool {
        match self {
            PowerKind::Tasmota { password, .. } | PowerKind::Shelly { password, .. } => password.is_some(),
            PowerKind::Moonraker { api_key, .. } => api_key.is_some(),
            PowerKind::Http { .. } | PowerKind::Gpio { .. } | PowerKind::Command { .. } => false,
        }
    }
}

/// One printer.
#[derive(Debug)]
pub struct Printer<D> {
    /// The key: its name.
    pub name: String,
    /// `driver = "…"`.
    pub kind: String,
    /// A secret stands in its table.
    pub secret: bool,
    /// Keys of every printer.
    pub common: Common,
    /// The driver's own keys.
    pub driver: D,
}
