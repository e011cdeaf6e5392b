//! `layerd logs PRINTER`: what happened, or the raw traffic.

use serde_json::Value;

use super::Globals;
use super::client::{QUICK, block_on};
use super::exit::{Done, Exit};
use super::out;

/// Arguments of `logs`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Name or number of the printer
    printer: String,
    /// The last raw traffic instead of the journal, from memory
    #[arg(long)]
    wire: bool,
}

/// Runs the verb.
pub fn run(globals: &Globals, args: &Args) -> Done {
    let client = globals.client()?;
    block_on(async {
        let pid = client.printer(&args.printer).await?.id.to_string();
        let wire = if args.wire { "1" } else { "0" };
        let answer = client
            .get("printers/GetLogs", &[("pid", &pid), ("wire", wire)], QUICK)
            .await?;
        let lines = answer
            .get("lines")
            .cloned()
            .unwrap_or_else(|| Value::Array(Vec::new()));
        if globals.json {
            out::json(&lines);
        } else {
            for line in lines.as_array().map_or(&[][..], Vec::as_slice) {
                out::line(out::clean(line.as_str().unwrap_or_default()));
            }
        }
        Ok(Exit::Good)
    })?
}
