//! `layerd check`: every mistake of the configuration, then whether everything can be reached.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;

use super::client::{Client, Listed, block_on};
use super::exit::{Done, Exit};
use super::{Globals, out};
use crate::api::listen;
use crate::api::socket::SOCKET_NAME;
use crate::camera::lens::{Lens, Purpose, Source, Studio};
use crate::config::Diagnostics;
use crate::config::model::Common;
use crate::daemon::{Configured, read_config};
use crate::drivers::Reach;
use crate::job::store::{FILE_NAME, Facts};
use crate::json::json;
use crate::power;
use crate::printer::fault::Fault;
use crate::upstream::mqtt;

/// How long one printer or service may take to answer.
const REACH_LIMIT: Duration = Duration::from_secs(8);

/// Arguments of `check`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Validate the file only
    #[arg(long)]
    offline: bool,
}

/// One thing that was looked for.
struct Looked {
    what: String,
    reach: Result<String, (String, String)>,
}

/// Runs the verb.
pub fn run(globals: &Globals, args: &Args) -> Done {
    let path = globals.config_path();
    let settings = match read_config(path) {
        Ok(settings) => settings,
        Err(diagnostics) => {
            if globals.json {
                out::json(&mistaken(&diagnostics));
            } else {
                for line in diagnostics.to_string().lines() {
                    out::err(out::clean(line));
                }
            }
            return Ok(Exit::Usage);
        }
    };
    let looked = if args.offline {
        Vec::new()
    } else {
        block_on(look(&settings))?
    };
    let good = looked.iter().all(|l| l.reach.is_ok());
    if globals.json {
        out::json(&found(path, &looked));
    } else {
        for one in &looked {
            match &one.reach {
                Ok(how) => out::line(format!("ok    {}: {how}", one.what)),
                Err((code, why)) => out::line(format!("FAIL  {}: {why} [{code}]", one.what)),
            }
        }
        let count = settings.printers.len();
        let plural = if count == 1 { "printer" } else { "printers" };
        if good {
            out::line(format!("{}: good, {count} {plural}", path.display()));
        }
    }
    Ok(if good { Exit::Good } else { Exit::Failed })
}

/// What `check --json` says, for the support archive.
pub async fn report(path: &Path) -> Value {
    match read_config(path) {
        Ok(settings) => found(path, &look(&settings).await),
        Err(diagnostics) => mistaken(&diagnostics),
    }
}

fn found(path: &Path, looked: &[Looked]) -> Value {
    let good = looked.iter().all(|l| l.reach.is_ok());
    let reach: Vec<Value> = looked.iter().map(row).collect();
    json!({"ok": good, "file": path.display().to_string(), "mistakes": [], "warnings": [], "reach": reach})
}

fn mistaken(diagnostics: &Diagnostics) -> Value {
    let mistakes: Vec<Value> = diagnostics
        .mistakes()
        .iter()
        .map(|m| json!({"line": m.line, "column": m.column, "message": m.text}))
        .collect();
    json!({"ok": false, "file": diagnostics.file(), "mistakes": mistakes, "reach": []})
}

fn row(looked: &Looked) -> Value {
    let (ok, code, message) = match &looked.reach {
        Ok(how) => (true, "ok", how),
        Err((code, why)) => (false, code.as_str(), why),
    };
    json!({"name": looked.what, "ok": ok, "code": code, "message": message})
}

/// All at once: one that hangs must not hide the others.
async fn look(settings: &Configured) -> Vec<Looked> {
    let printers = settings.printers.iter().map(|printer| async {
        let reach = match tokio::time::timeout(REACH_LIMIT, printer.driver.reachable()).await {
            Ok(Reach::Yes(how)) => Ok(out::clean(&how)),
            Ok(Reach::No(fault)) => Err((fault.code.to_string(), out::clean(&fault.to_string()))),
            Err(_) => Err((
                "check/timeout".to_owned(),
                format!("No answer within {} s.", REACH_LIMIT.as_secs()),
            )),
        };
        Looked {
            what: format!("printer {}", printer.name),
            reach,
        }
    });
    let mut all = join_all(printers).await;
    let connected = tokio::time::timeout(REACH_LIMIT, connected(settings))
        .await
        .unwrap_or_default();
    for one in &mut all {
        if connected.iter().any(|name| one.what == format!("printer {name}")) {
            // Its port is in use, by the one who should.
            one.reach = Ok("the running daemon is connected to it".to_owned());
        }
    }
    all.extend(
        join_all(
            settings
                .printers
                .iter()
                .map(|printer| beside(&printer.name, &printer.common)),
        )
        .await
        .into_iter()
        .flatten(),
    );
    all.extend(doors(settings).await);
    if let Some(cloud) = settings.simplyprint.as_ref().filter(|s| s.enabled) {
        all.push(Looked {
            what: "upstream simplyprint".to_owned(),
            reach: service(&cloud.api_url).await,
        });
    }
    if let Some(broker) = settings.mqtt.as_ref().filter(|m| m.enabled) {
        let asked = mqtt::socket::reachable(broker, &settings.agent.name);
        let reach = tokio::time::timeout(REACH_LIMIT, asked).await;
        let reach = reach.unwrap_or_else(|_| Err(format!("no answer within {} s", REACH_LIMIT.as_secs())));
        all.push(Looked {
            what: "upstream mqtt".to_owned(),
            reach: reach.map(|how| out::clean(&how)).map_err(|why| {
                let place = format!("{}:{}", broker.broker.host, broker.broker.port);
                (
                    "mqtt/unreachable".to_owned(),
                    out::clean(&format!("{place} cannot be used: {why}.")),
                )
            }),
        });
    }
    all
}

/// Whether the local API can listen where others reach it: with its certificate, and with a key.
async fn doors(settings: &Configured) -> Vec<Looked> {
    let api = &settings.api;
    let mut all = Vec::new();
    if let (Some(cert), Some(key)) = (&api.tls_cert, &api.tls_key) {
        let pair = listen::tls(cert, key).map(|_| "certificate and key belong together".to_owned());
        all.push(Looked {
            what: "api tls".to_owned(),
            reach: pair.map_err(|e| ("api/tls".to_owned(), out::clean(&e.to_string()))),
        });
    }
    let far: Vec<SocketAddr> = api
        .listen
        .iter()
        .filter_map(|a| a.parse().ok())
        .filter(|a: &SocketAddr| !a.ip().is_loopback())
        .collect();
    if far.is_empty() {
        return all;
    }
    let keys = keys(settings).await;
    all.extend(far.into_iter().map(|address| Looked {
        what: format!("api {address}"),
        reach: match keys {
            0 => Err(("api/no-key".to_owned(), listen::no_key(address))),
            1 => Ok("1 key".to_owned()),
            n => Ok(format!("{n} keys")),
        },
    }));
    all
}

/// How many keys there are: the running daemon knows, else the database.
async fn keys(settings: &Configured) -> usize {
    let socket = settings.agent.runtime_dir.join(SOCKET_NAME);
    if socket.exists()
        && let Ok(client) = Client::new(&socket)
        && let Ok(answer) = client.get("agent/keys/Get", &[], REACH_LIMIT).await
    {
        return answer.get("data").and_then(Value::as_array).map_or(0, Vec::len);
    }
    let path = settings.agent.state_dir.join(FILE_NAME);
    let facts = Facts::read(&path, REACH_LIMIT, 0).ok();
    let keys = facts.and_then(|facts| facts.rows("api_keys")).unwrap_or(0);
    usize::try_from(keys).unwrap_or(usize::MAX)
}

/// The switch and the camera of a printer, where there are some. Nothing is switched.
async fn beside(name: &str, common: &Common) -> Vec<Looked> {
    let faulty = |fault: Fault| (fault.code.to_string(), out::clean(&fault.to_string()));
    let mut all = Vec::new();
    if let Some(power) = &common.power {
        let reach = power::probe(&power.kind)
            .await
            .map_err(faulty)
            .map(|on| match on {
                Some(true) => "it answers, and is on".to_owned(),
                Some(false) => "it answers, and is off".to_owned(),
                None => "it is there; how it stands cannot be asked".to_owned(),
            });
        let what = format!("switch of {name}");
        all.push(Looked { what, reach });
    }
    if let Some(source) = common.camera.as_ref().and_then(Source::of) {
        let picture = Lens::new(source, Studio::default()).picture(Purpose::Asked).await;
        let told = |jpeg: bytes::Bytes| format!("it gives pictures ({} kB)", jpeg.len().div_ceil(1000));
        let what = format!("camera of {name}");
        let reach = picture.map(told).map_err(faulty);
        all.push(Looked { what, reach });
    }
    all
}

/// The printers that a running daemon with this configuration talks to right now.
async fn connected(settings: &Configured) -> Vec<String> {
    let socket = settings.agent.runtime_dir.join(SOCKET_NAME);
    if !socket.exists() {
        return Vec::new();
    }
    let Ok(client) = Client::new(&socket) else {
        return Vec::new();
    };
    let listed = client.printers().await.unwrap_or_default();
    let up = |p: &Listed| p.native.pointer("/link/up") == Some(&Value::Bool(true));
    listed.into_iter().filter(up).map(|p| p.name).collect()
}

/// Any answer over HTTP shows that name, route, clock and certificates are good.
async fn service(url: &str) -> Result<String, (String, String)> {
    let unreachable = |why: String| ("upstream/unreachable".to_owned(), why);
    let client = reqwest::Client::builder()
        .timeout(REACH_LIMIT)
        .build()
        .map_err(|e| unreachable(format!("The client could not be made: {e}.")))?;
    match client.get(url).send().await {
        Ok(answer) => Ok(format!("{url} answers (HTTP {})", answer.status().as_u16())),
        Err(error) => {
            let first: &dyn std::error::Error = &error;
            let root = std::iter::successors(Some(first), |e| e.source()).last();
            let why = root.map(ToString::to_string).unwrap_or_default();
            Err(unreachable(format!(
                "{url} cannot be reached: {why}. Look at the network, the name server and the clock of this host."
            )))
        }
    }
}
