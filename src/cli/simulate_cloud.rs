//! `layerd simulate cloud`: a stand-in for the cloud's end of the wire, to try layerd or any other client of
//! protocol 0.2 on.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;

use super::client::block_on;
use super::exit::{Done, Exit, Failure};
use super::simulate::until_ended;
use super::{Globals, out};
use crate::json::{self, json};
use crate::sorted::SortedMap;
use crate::upstream::simplyprint::sim::{Options, Said, SimCloud};

/// What can be typed while it runs.
const WORDS: &str =
    "printers, claim N, print N FILE [JOB], pause N, resume N, cancel N, demand N {JSON}, quit";

/// Arguments of `simulate cloud`.
#[derive(Clone, Debug, clap::Args)]
pub struct CloudArgs {
    /// Port on loopback; 0 takes any free one
    #[arg(long, default_value_t = 8081, value_name = "PORT")]
    port: u16,
    /// Claim new printers by itself after so many seconds; without it "claim N" does
    #[arg(long, value_name = "S")]
    claim_after: Option<u64>,
    /// A file that can be printed; may be given several times
    #[arg(long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Runs the verb until Ctrl-C.
pub fn run(globals: &Globals, args: &CloudArgs) -> Done {
    let mut files = SortedMap::new();
    for path in &args.files {
        let name = path.file_name().filter(|_| path.is_file());
        let Some(name) = name else {
            return Err(Failure::usage(format!("{}: is not a file.", path.display())));
        };
        files.insert(name.to_string_lossy().into_owned(), path.clone());
    }
    block_on(serve(globals, args, files))?
}

async fn serve(globals: &Globals, args: &CloudArgs, files: SortedMap<String, PathBuf>) -> Done {
    let cloud = SimCloud::start(Options {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, args.port)),
        claim_after: args.claim_after.map(Duration::from_secs),
        files,
    })
    .await
    .map_err(|e| Failure::new(format!("Port {} on loopback cannot be had: {e}.", args.port)))?;
    let mut said = cloud.listen();
    if globals.json {
        out::json(&json!({"ws_url": cloud.ws_url(), "api_url": cloud.api_url()}));
    } else {
        out::line(format!(
            "A simulated cloud listens on {}.\n\nFor the configuration of layerd:\n\n\
             [upstream.simplyprint]\nws_url = {:?}\napi_url = {:?}\n\nIt can be told: {WORDS}. Ctrl-C ends it.",
            cloud.ws_url(),
            cloud.ws_url(),
            cloud.api_url()
        ));
    }
    let mut hear = |word: &str| {
        if let Err(text) = obey(&cloud, word) {
            out::err(text);
        }
    };
    let listen = async {
        loop {
            match said.recv().await {
                Ok(said) => show(globals, &said),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Ok(()),
            }
        }
    };
    let ended = tokio::select! {
        ended = until_ended(&mut hear) => ended,
        ended = listen => ended,
    };
    cloud.stop().await;
    ended.map(|()| Exit::Good)
}

fn show(globals: &Globals, said: &Said) {
    let printer = said.printer.checked_add(1);
    if globals.json {
        out::json(&json!({"printer": printer, "type": said.kind, "data": said.data}));
        return;
    }
    let data = match &said.data {
        Value::Null => String::new(),
        data => data.to_string(),
    };
    let data: String = out::clean(&data).chars().take(200).collect();
    let who = printer.map_or("post".to_owned(), |n| n.to_string());
    out::line(format!("{who:>4} {:<16} {data}", out::clean(&said.kind)));
}

/// Does what was typed. Printers are numbered from 1.
fn obey(cloud: &SimCloud, word: &str) -> Result<(), String> {
    let mut parts = word.splitn(3, ' ');
    let verb = parts.next().unwrap_or_default();
    let printers = cloud.printers();
    if verb == "printers" {
        for (n, p) in printers.iter().enumerate() {
            let claimed = if p.id > 0 {
                format!("printer {}", p.id)
            } else {
                format!("code {}", p.code)
            };
            let state = p.state.as_deref().unwrap_or("unknown");
            let online = if p.online { "online" } else { "away" };
            out::line(format!(
                "{:>4} {claimed:<14} {online:<7} {}",
                n + 1,
                out::clean(state)
            ));
        }
        return Ok(());
    }
    let number: Option<usize> = parts.next().and_then(|n| n.parse().ok());
    let printer = number
        .and_then(|n| n.checked_sub(1))
        .filter(|n| *n < printers.len())
        .ok_or_else(|| format!("Name a printer by its number, 1 to {}.", printers.len()))?;
    let rest = parts.next().unwrap_or_default().trim();
    match verb {
        "claim" if cloud.claim(printer) => {}
        "claim" => return Err("It is claimed already.".to_owned()),
        "print" if !rest.is_empty() => {
            let (file, job) = rest.rsplit_once(' ').unwrap_or((rest, ""));
            match job.parse::<i64>() {
                Ok(job) => cloud.print(printer, file, job, true),
                Err(_) => cloud.print(printer, rest, i64::from(fastrand::u32(1..)), true),
            }
        }
        "pause" | "resume" | "cancel" => cloud.demand(printer, json!({"demand": verb})),
        "demand" => match json::read::<Value>(rest) {
            Ok(demand) => cloud.demand(printer, demand),
            Err(e) => return Err(format!("That is no JSON: {e}.")),
        },
        _ => {
            return Err(format!(
                "`{}` is not known. It can be told: {WORDS}.",
                out::clean(word)
            ));
        }
    }
    Ok(())
}
