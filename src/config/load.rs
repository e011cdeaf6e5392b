//! From text to [`Config`], with every mistake of the file in one run.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeTable;

use super::diagnose::Diagnostics;
use super::lifecycle::{self, Shared};
use super::model::{Agent, Api, Camera, Common, Config, OnStop, Origin, Preflight, Printer, Reach, V1};
use super::peripherals;
use super::section::{Section, did_you_mean};
use super::shown::Shown;
use super::upstreams;
use crate::sorted;

/// Largest configuration file.
const SIZE_MAX: u64 = 1 << 20;

/// Longest printer name; it becomes a file name.
const NAME_MAX: usize = 64;

/// Where the socket and the line memory live.
const RUNTIME_DIR: &str = "/run/layerd";

/// Where the database and the files live.
const STATE_DIR: &str = "/var/lib/layerd";

/// What the environment says, for defaults.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// `$STATE_DIRECTORY`.
    pub state_dir: Option<PathBuf>,
    /// `$RUNTIME_DIRECTORY`.
    pub runtime_dir: Option<PathBuf>,
    /// Host name.
    pub host_name: Option<String>,
}

impl Surroundings {
    /// Reads the process's environment.
    pub fn of_process() -> Self {
        // systemd separates several directories by colons; ours is the first.
        let dir = |name| {
            let text = std::env::var(name).ok()?;
            text.split(':')
                .next()
                .filter(|d| !d.is_empty())
                .map(PathBuf::from)
        };
        let host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Surroundings {
            state_dir: dir("STATE_DIRECTORY"),
            runtime_dir: dir("RUNTIME_DIRECTORY"),
            host_name: Some(host_name).filter(|n| !n.is_empty()),
        }
    }
}

/// The runtime directory that a file names, whatever else is wrong with it: where a client finds the
/// daemon's socket.
pub fn runtime_dir(text: &str, around: &Surroundings) -> PathBuf {
    directory(text, "runtime_dir")
        .or_else(|| around.runtime_dir.clone())
        .unwrap_or_else(|| PathBuf::from(RUNTIME_DIR))
}

/// The state directory that a file names, whatever else is wrong with it.
pub fn state_dir(text: &str, around: &Surroundings) -> PathBuf {
    directory(text, "state_dir")
        .or_else(|| around.state_dir.clone())
        .unwrap_or_else(|| PathBuf::from(STATE_DIR))
}

fn directory(text: &str, name: &str) -> Option<PathBuf> {
    let (root, _) = DeTable::parse_recoverable(text);
    let named = root
        .get_ref()
        .iter()
        .find(|(key, _)| key.get_ref() == "agent")
        .and_then(|(_, agent)| agent.get_ref().as_table())
        .and_then(|agent| agent.iter().find(|(key, _)| key.get_ref() == name));
    named.and_then(|(_, dir)| dir.get_ref().as_str().map(PathBuf::from))
}

/// Makes a driver of a printer's table: kind, common keys, table.
pub type Configure<'c, D> = &'c mut dyn FnMut(&str, &Common, &mut Section<'_>) -> Option<D>;

/// Reads a file.
pub fn load<D>(
    path: &Path,
    around: &Surroundings,
    kinds: &[&'static str],
    configure: Configure<'_, D>,
) -> Result<Config<D>, Diagnostics> {
    let name = path.display().to_string();
    let failed = |text: String| {
        let mut out = Diagnostics::new(&name, "");
        out.whole_file(text);
        out
    };
    let file = std::fs::File::open(path).map_err(|e| {
        failed(format!(
            "cannot be read: {e}. Name another file with --config, or make this one."
        ))
    })?;
    let mut text = String::new();
    match file.take(SIZE_MAX + 1).read_to_string(&mut text) {
        Ok(_) if text.len() as u64 > SIZE_MAX => {
            return Err(failed(
                "is larger than 1 MiB: this is no configuration.".to_owned(),
            ));
        }
        Ok(_) => {}
        Err(e) => {
            return Err(failed(format!(
                "cannot be read: {e}. It must be a text file in UTF-8."
            )));
        }
    }
    let config = parse(&text, &name, around, kinds, configure)?;
    if holds_secrets(&config)
        && let Ok(meta) = std::fs::metadata(path)
        && meta.permissions().mode() & 0o027 != 0
    {
        return Err(failed(format!(
            "holds secrets and may be read or changed by others (mode {:o}). Run: chmod 640 {name}",
            meta.permissions().mode() & 0o777
        )));
    }
    Ok(config)
}

fn holds_secrets<D>(config: &Config<D>) -> bool {
    let upstream = config.mqtt.as_ref().is_some_and(|m| m.secret);
    upstream
        || config.printers.iter().any(|p| {
            p.secret
                || p.common.power.as_ref().is_some_and(|p| p.kind.has_secret())
                || p.common.camera.as_ref().is_some_and(Camera::has_secret)
        })
}

/// Reads a text. Pure.
pub fn parse<D>(
    text: &str,
    file: &str,
    around: &Surroundings,
    kinds: &[&'static str],
    configure: Configure<'_, D>,
) -> Result<Config<D>, Diagnostics> {
    let text = without_mark(text);
    let mut out = Diagnostics::new(file, text);
    match read(text, &mut out, around, kinds, configure) {
        Some(config) => Ok(config),
        None => Err(out),
    }
}

/// What of a text others may see, and what they may not. For texts with mistakes too.
pub fn shown<D>(
    text: &str,
    around: &Surroundings,
    kinds: &[&'static str],
    configure: Configure<'_, D>,
) -> Shown {
    let text = without_mark(text);
    let mut out = Diagnostics::new("", text);
    read(text, &mut out, around, kinds, configure);
    Shown::of(text, &out)
}

/// Some editors put a mark in front.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

fn read<D>(
    text: &str,
    out: &mut Diagnostics,
    around: &Surroundings,
    kinds: &[&'static str],
    configure: Configure<'_, D>,
) -> Option<Config<D>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        // `message` only: the long form repeats the source, secrets and all.
        out.at(
            error.span().unwrap_or(0..0),
            format!("this is not TOML: {}.", error.message()),
        );
    }
    let root_span = 0..0;
    let (mut agent, mut api, mut host_allow, mut simplyprint, mut mqtt, mut printers) =
        (None, None, Vec::new(), None, None, Vec::new());
    // Printers use them, wherever they stand in the file.
    let table = |name: &str| {
        let found = root.get_ref().iter().find(|(key, _)| key.get_ref() == name);
        found.and_then(|(key, value)| Some((key.span(), value.get_ref().as_table()?)))
    };
    let mut shared = Shared::default();
    if let Some((_, table)) = table("snippets") {
        shared.snippets = lifecycle::read_snippets(table, out);
    }
    shared.defaults.snippets = Arc::new(shared.snippets.clone());
    if let Some((span, table)) = table("gcode") {
        let (snippets, defaults) = (&shared.snippets, shared.defaults.clone());
        shared.defaults = with("gcode", span, table, out, |s| {
            lifecycle::read(s, snippets, &defaults)
        });
    }
    for (key, value) in root.get_ref() {
        let name: &str = key.get_ref();
        let (span, table) = (key.span(), value.get_ref().as_table());
        let Some(table) = table else {
            out.at(span, format!("`{name}` stands outside of any table. Tables are [agent], [api], [host], [gcode], [snippets], [upstream.…] and [printer.NAME]."));
            continue;
        };
        match name {
            "agent" => agent = Some(with(name, span, table, out, |s| read_agent(s, around))),
            "api" => api = Some(with(name, span, table, out, read_api)),
            "snippets" | "gcode" => {}
            "host" => host_allow = with(name, span, table, out, read_host),
            "upstream" => {
                for (key, value) in table {
                    let kind: &str = key.get_ref();
                    match (kind, value.get_ref().as_table()) {
                        ("simplyprint", Some(table)) => {
                            simplyprint = Some(with(
                                "upstream.simplyprint",
                                key.span(),
                                table,
                                out,
                                upstreams::read_simplyprint,
                            ));
                        }
                        ("mqtt", Some(table)) => {
                            mqtt = with("upstream.mqtt", key.span(), table, out, upstreams::read_mqtt);
                        }
                        _ => out.at(
                            key.span(),
                            format!(
                                "`{kind}` is no upstream that layerd knows.{}",
                                did_you_mean(kind, ["simplyprint", "mqtt"].into_iter())
                            ),
                        ),
                    }
                }
            }
            "printer" => {
                check_addresses(table, out);
                for (key, value) in table {
                    let name: &str = key.get_ref();
                    check_name(name, key.span(), out);
                    let Some(table) = value.get_ref().as_table() else {
                        out.at(key.span(), format!("`{name}` must be a table: [printer.{name}]."));
                        continue;
                    };
                    if let Some(printer) =
                        read_printer(name, key.span(), table, out, kinds, &shared, configure)
                    {
                        printers.push((key.span().start, printer));
                    }
                }
            }
            _ => {
                let known = ["agent", "api", "host", "gcode", "snippets", "upstream", "printer"].into_iter();
                out.at(
                    span,
                    format!(
                        "[{name}] is no table that layerd knows.{}",
                        did_you_mean(name, known)
                    ),
                );
            }
        }
    }
    sorted::by_key(&mut printers, |(at, _)| *at);
    if !out.is_empty() {
        return None;
    }
    let empty = DeTable::new();
    let agent =
        agent.unwrap_or_else(|| with("agent", root_span.clone(), &empty, out, |s| read_agent(s, around)));
    let api = api.unwrap_or_else(|| with("api", root_span, &empty, out, read_api));
    Some(Config {
        agent,
        api,
        host_allow,
        simplyprint,
        mqtt,
        printers: printers.into_iter().map(|(_, p)| p).collect(),
    })
}

fn with<'a, T>(
    name: &str,
    span: std::ops::Range<usize>,
    table: &'a DeTable<'a>,
    out: &'a mut Diagnostics,
    read: impl FnOnce(&mut Section<'_>) -> T,
) -> T {
    let mut section = Section::new(name, span, table, out);
    let value = read(&mut section);
    section.finish();
    value
}

fn check_name(name: &str, span: std::ops::Range<usize>, out: &mut Diagnostics) {
    let good = !name.is_empty()
        && name.len() <= NAME_MAX
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if !good {
        out.at(span, format!("`{name}` is no name for a printer: use up to {NAME_MAX} letters, digits, - _ . and begin with a letter or digit."));
    }
}

/// Two printers cannot share one cable or one address: both would drive the same machine.
fn check_addresses(printers: &DeTable<'_>, out: &mut Diagnostics) {
    let mut seen = Vec::new();
    let mut in_order: Vec<_> = printers.iter().collect();
    sorted::by_key(&mut in_order, |(key, _)| key.span().start);
    for (name, table) in in_order {
        let Some(table) = table.get_ref().as_table() else {
            continue;
        };
        for (key, value) in table {
            let (key, name): (&str, &str) = (key.get_ref(), name.get_ref());
            let Some(text) = value.get_ref().as_str() else {
                continue;
            };
            if !["port", "url", "socket", "serial"].contains(&key) {
                continue;
            }
            let known = seen
                .iter()
                .find(|(k, t, _)| *k == key && *t == text)
                .map(|(_, _, first)| *first);
            match known {
                Some(first) => out.at(
                    value.span(),
                    format!("`{key}` is the same as that of [printer.{first}]. Give each printer its own."),
                ),
                None => seen.push((key, text, name)),
            }
        }
    }
}

fn read_agent(section: &mut Section<'_>, around: &Surroundings) -> Agent {
    let host = || around.host_name.clone().unwrap_or_else(|| "layerd".to_owned());
    Agent {
        name: section.string("name").unwrap_or_else(host),
        state_dir: section
            .path("state_dir")
            .or_else(|| around.state_dir.clone())
            .unwrap_or_else(|| PathBuf::from(STATE_DIR)),
        runtime_dir: section
            .path("runtime_dir")
            .or_else(|| around.runtime_dir.clone())
            .unwrap_or_else(|| PathBuf::from(RUNTIME_DIR)),
    }
}

fn read_api(section: &mut Section<'_>) -> Api {
    let listen = section
        .strings("listen")
        .unwrap_or_else(|| vec!["127.0.0.1:7380".to_owned()]);
    for address in &listen {
        if address.parse::<std::net::SocketAddr>().is_err() {
            section.mistake("listen", format!("`{address}` is no address to listen on. Write it as \"127.0.0.1:7380\" or \"[::1]:7380\"."));
        }
    }
    let v1 = [
        ("soloprint", V1::SoloPrint),
        ("autoprintfarm", V1::AutoPrintFarm),
        ("off", V1::Off),
    ];
    let api = Api {
        listen,
        hosts: section.strings("hosts").unwrap_or_default(),
        webhook_local: section.boolean("webhook_local").unwrap_or(false),
        v1: section.one_of("v1", &v1).unwrap_or(V1::Off),
        id: section.integer("id", 0..=i64::from(u32::MAX)).unwrap_or(0),
        loopback_key: section.boolean("loopback_key").unwrap_or(true),
        rate_per_min: section
            .integer("rate_per_min", 0..=1_000_000)
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(60),
        tls_cert: section.path("tls_cert"),
        tls_key: section.path("tls_key"),
    };
    if api.tls_cert.is_some() != api.tls_key.is_some() {
        section.mistake(
            "tls_cert",
            "`tls_cert` and `tls_key` belong together: give both or neither.",
        );
    }
    api
}

fn read_host(section: &mut Section<'_>) -> Vec<String> {
    let allow = section.strings("allow").unwrap_or_default();
    for word in &allow {
        if !["reboot", "shutdown", "restart"].contains(&word.as_str()) {
            section.mistake(
                "allow",
                format!("`{word}` cannot be allowed; known are \"reboot\", \"shutdown\" and \"restart\"."),
            );
        }
    }
    allow
}

fn read_printer<'a, D>(
    name: &str,
    span: std::ops::Range<usize>,
    table: &'a DeTable<'a>,
    out: &'a mut Diagnostics,
    kinds: &[&'static str],
    shared: &Shared,
    configure: Configure<'_, D>,
) -> Option<Printer<D>> {
    let mut section = Section::new(&format!("printer.{name}"), span, table, out);
    let all: Vec<String> = kinds.iter().map(|k| format!("\"{k}\"")).collect();
    let kind = section.required_string("driver", all.first().map_or("\"marlin\"", String::as_str));
    let common = read_common(&mut section, shared);
    if kind.as_deref().is_some_and(|k| k != "marlin") && section.has("gcode") {
        section.mistake(
            "gcode",
            "`gcode` is for Marlin printers: this one has macros of its own for the moments of a print.",
        );
    }
    let known = kind.as_deref().is_some_and(|k| kinds.contains(&k));
    if !known {
        if let Some(kind) = &kind {
            let hint = did_you_mean(kind, kinds.iter().copied());
            section.mistake(
                "driver",
                format!("there is no driver `{kind}`; known are {}.{hint}", all.join(", ")),
            );
        }
        // Nobody knows the other keys: complaining about them would only hide the one mistake.
        return None;
    }
    let kind = kind?;
    let driver = configure(&kind, &common, &mut section);
    let secret = section.gave_secret();
    section.finish();
    driver.map(|driver| Printer {
        name: name.to_owned(),
        kind,
        secret,
        common,
        driver,
    })
}

fn read_common(section: &mut Section<'_>, shared: &Shared) -> Common {
    const SPAN_MM: std::ops::RangeInclusive<f64> = -10_000.0..=10_000.0;
    let minutes = |section: &mut Section<'_>, key, default: u64| {
        let value = section
            .integer(key, 0..=100_000)
            .and_then(|m| u64::try_from(m).ok())
            .unwrap_or(default);
        Duration::from_secs(value * 60)
    };
    let stops = [
        ("pause", OnStop::Pause),
        ("cancel", OnStop::Cancel),
        ("leave", OnStop::Leave),
    ];
    Common {
        bed_mm: section.numbers("bed", 1.0..=10_000.0),
        bed_round: section
            .one_of("bed_shape", &[("rect", false), ("round", true)])
            .unwrap_or(false),
        origin: section
            .one_of(
                "origin",
                &[("corner", Origin::Corner), ("center", Origin::Center)],
            )
            .unwrap_or(Origin::Corner),
        reach_mm: section.table("reach", |s| {
            let reach = Reach {
                min: s.numbers("min", SPAN_MM)?,
                max: s.numbers("max", SPAN_MM)?,
            };
            if reach.min.iter().zip(&reach.max).any(|(min, max)| min >= max) {
                s.mistake("min", "each number of `min` must be below the one of `max`.");
            }
            Some(reach)
        }),
        max_tool_c: section.number("max_tool_c", 1.0..=600.0).map(|t| t as f32),
        max_bed_c: section.number("max_bed_c", 1.0..=300.0).map(|t| t as f32),
        preflight: section
            .one_of(
                "preflight",
                &[("refuse", Preflight::Refuse), ("warn", Preflight::Warn)],
            )
            .unwrap_or(Preflight::Refuse),
        on_stop: section.one_of("on_stop", &stops),
        pause_on_restart: section
            .one_of("on_restart", &[("continue", false), ("pause", true)])
            .unwrap_or(false),
        idle_heaters_off: minutes(section, "idle_heaters_off_min", 30),
        pause_nozzle_off: minutes(section, "pause_nozzle_off_min", 15),
        require_clear_bed: section.boolean("require_clear_bed").unwrap_or(false),
        checkpoint: Duration::from_secs(
            section
                .integer("checkpoint_s", 1..=3600)
                .and_then(|s| u64::try_from(s).ok())
                .unwrap_or(60),
        ),
        camera: section.table("camera", peripherals::read_camera),
        power: section.table("power", peripherals::read_power),
        gcode: section
            .table("gcode", |s| {
                Some(lifecycle::read(s, &shared.snippets, &shared.defaults))
            })
            .unwrap_or_else(|| shared.defaults.clone()),
        release: section.table("release", |s| peripherals::read_release(s, &shared.snippets)),
    }
}
