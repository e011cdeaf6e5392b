//! `layerd drain`: finish what prints, start nothing new. For the moment before an upgrade or a power cut.

use std::time::Duration;

use serde_json::Value;

use super::Globals;
use super::client::{Client, Listed, block_on};
use super::exit::{Done, Exit, Failure};
use super::out;

use crate::json::json;

/// How often the prints are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Longest wait for one answer of the daemon.
const QUICK: Duration = Duration::from_secs(30);

/// Arguments of `drain`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Take prints again
    #[arg(long)]
    off: bool,
    /// Return at once instead of when the last print that needs this host is over
    #[arg(long)]
    no_wait: bool,
}

/// Runs the verb.
pub fn run(globals: &Globals, args: &Args) -> Done {
    let client = globals.client()?;
    block_on(async {
        let body = json!({"on": !args.off});
        client.post("agent/Drain", &[], &body, QUICK).await?;
        if args.off {
            return Ok(said(globals, "Prints are taken again."));
        }
        let over =
            "No print needs this host. It starts none until it is restarted, or \"layerd drain --off\".";
        if args.no_wait {
            return Ok(said(
                globals,
                "No print is started any more; what runs goes on to its end.",
            ));
        }
        tokio::select! {
            ended = ended(globals, &client) => { ended?; Ok(said(globals, over)) }
            _ = tokio::signal::ctrl_c() => Err(Failure::new("Not waited for; still, no print is started any more.")),
        }
    })?
}

async fn ended(globals: &Globals, client: &Client) -> Result<(), Failure> {
    let mut told = Vec::new();
    loop {
        let printing: Vec<String> = client
            .printers()
            .await?
            .iter()
            .filter(|p| needs_host(p))
            .map(|p| p.name.clone())
            .collect();
        if printing.is_empty() {
            return Ok(());
        }
        if printing != told && !globals.json {
            out::err(format!("Waiting for the print on {}.", printing.join(", ")));
        }
        told = printing;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Prints that come from this host line by line, or are on their way to a printer. What a printer or its
/// own host prints by itself goes on without layerd.
fn needs_host(printer: &Listed) -> bool {
    let text = |name: &str| {
        printer
            .native
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let job = printer.native.get("job").filter(|job| job.is_object());
    let outside = job
        .and_then(|job| job.get("outside"))
        .and_then(Value::as_bool)
        .unwrap_or(false);
    job.is_some() && !outside && (text("driver") == "marlin" || text("state") == "downloading")
}

fn said(globals: &Globals, message: &str) -> Exit {
    if globals.json {
        out::json(&json!({"outcome": "verified", "code": "ok", "message": message}));
    } else {
        out::line(message);
    }
    Exit::Good
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_prints_that_end_with_the_daemon_are_waited_for() {
        let listed = |native: Value| Listed {
            name: "p".to_owned(),
            id: 1,
            native,
        };
        assert!(needs_host(&listed(
            json!({"driver": "marlin", "state": "printing", "job": {"outside": false}})
        )));
        assert!(!needs_host(&listed(
            json!({"driver": "marlin", "state": "printing", "job": {"outside": true}})
        )));
        assert!(!needs_host(&listed(
            json!({"driver": "marlin", "state": "operational", "job": null})
        )));
        assert!(!needs_host(&listed(
            json!({"driver": "bambu", "state": "printing", "job": {"outside": false}})
        )));
        assert!(needs_host(&listed(
            json!({"driver": "bambu", "state": "downloading", "job": {"outside": false}})
        )));
    }
}
