//! `layerd login`: pair the printers with the cloud.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::{Client, Listed, block_on};
use super::exit::{Done, Exit, Failure};
use super::{Globals, out};
use crate::daemon::read_config;
use crate::json::json;

/// How often the daemon is asked.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Arguments of `login`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Names or numbers of printers; all of them when left out
    printers: Vec<String>,
    /// Show the codes and return; do not wait for the claim
    #[arg(long)]
    no_wait: bool,
    /// How long to wait for the claims, minutes
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
}

/// How a printer stands with the cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// The daemon has not heard of the cloud yet.
    Waiting,
    /// A person has to type this.
    Code(String),
    /// Claimed, with its number and name there.
    Claimed(i64, Option<String>),
}

/// Runs the verb.
pub fn run(globals: &Globals, args: &Args) -> Done {
    // Said before anything is waited for; a file that may not be read is not this verb's business.
    if let Ok(config) = read_config(globals.config_path())
        && !config.simplyprint.as_ref().is_some_and(|s| s.enabled)
    {
        return Err(Failure::usage(
            "The configuration has no cloud. Add a line [upstream.simplyprint] and restart the service.",
        ));
    }
    let client = globals.client()?;
    block_on(login(globals, &client, args))?
}

async fn login(globals: &Globals, client: &Client, args: &Args) -> Done {
    let until = Instant::now() + Duration::from_secs(args.minutes * 60);
    let mut shown: Vec<(String, Standing)> = Vec::new();
    loop {
        let printers = wanted(client, &args.printers).await?;
        if printers.is_empty() {
            return Err(Failure::usage("The configuration has no printers."));
        }
        let now: Vec<(String, Standing)> = printers
            .iter()
            .map(|p| (p.name.clone(), standing(&p.native)))
            .collect();
        if !globals.json {
            tell(&shown, &now);
        }
        shown = now;
        let waiting = shown.iter().any(|(_, s)| *s == Standing::Waiting);
        let unclaimed = shown.iter().any(|(_, s)| !matches!(s, Standing::Claimed(..)));
        if !unclaimed || (args.no_wait && !waiting) {
            if globals.json {
                out::json(&json!(shown.iter().map(row).collect::<Vec<_>>()));
            } else if !unclaimed {
                out::line("All printers are paired.");
            }
            return Ok(Exit::Good);
        }
        if Instant::now() >= until {
            return Err(Failure::new(if waiting {
                "The cloud was not reached. See the log of the service (journalctl -u layerd)."
            } else {
                "Nobody has claimed the printers yet. The codes stay valid; run \"layerd login\" again any time."
            }));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn wanted(client: &Client, names: &[String]) -> Result<Vec<Listed>, Failure> {
    if names.is_empty() {
        return client.printers().await;
    }
    let mut out = Vec::with_capacity(names.len());
    for name in names {
        out.push(client.printer(name).await?);
    }
    Ok(out)
}

fn standing(native: &Value) -> Standing {
    let cloud = native.pointer("/upstreams/simplyprint").unwrap_or(&Value::Null);
    let text = |key: &str| cloud.get(key).and_then(Value::as_str).map(str::to_owned);
    match (cloud.get("id").and_then(Value::as_i64), text("code")) {
        (Some(id), _) => Standing::Claimed(id, text("name")),
        (None, Some(code)) => Standing::Code(code),
        (None, None) => Standing::Waiting,
    }
}

/// Says what is new.
fn tell(before: &[(String, Standing)], now: &[(String, Standing)]) {
    let had_codes = before.iter().any(|(_, s)| matches!(s, Standing::Code(_)));
    let has_codes = now.iter().any(|(_, s)| matches!(s, Standing::Code(_)));
    if before.is_empty() && now.iter().any(|(_, s)| *s == Standing::Waiting) {
        out::line("Asking the cloud for codes ...");
    }
    if has_codes && !had_codes {
        out::line("At https://simplyprint.io choose \"Add printer\" and type the code of each printer:");
    }
    for (name, standing) in now {
        let known = before.iter().any(|(n, s)| n == name && s == standing);
        if known {
            continue;
        }
        let name = out::clean(name);
        match standing {
            Standing::Code(code) => out::line(format!("  {name:<20} {}", out::clean(code))),
            Standing::Claimed(id, shown) => {
                let shown = shown
                    .as_deref()
                    .map_or(String::new(), |n| format!(" ({})", out::clean(n)));
                out::line(format!("  {name:<20} paired, printer {id}{shown}"));
            }
            Standing::Waiting => {}
        }
    }
}

fn row((name, standing): &(String, Standing)) -> Value {
    match standing {
        Standing::Waiting => json!({"printer": name, "state": "waiting"}),
        Standing::Code(code) => json!({"printer": name, "state": "unpaired", "code": code}),
        Standing::Claimed(id, shown) => json!({"printer": name, "state": "paired", "id": id, "name": shown}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printer_waits_then_has_a_code_and_then_a_number() {
        let of = |cloud: Value| standing(&json!({"upstreams": {"simplyprint": cloud}}));
        assert_eq!(standing(&json!({})), Standing::Waiting);
        let cloud = json!({"connected": true, "code": "7KQX", "id": null, "name": null});
        assert_eq!(of(cloud), Standing::Code("7KQX".to_owned()));
        let cloud = json!({"connected": false, "code": null, "id": 1234, "name": "Voron"});
        assert_eq!(of(cloud), Standing::Claimed(1234, Some("Voron".to_owned())));
    }
}
