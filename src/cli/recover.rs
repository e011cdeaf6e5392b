//! `layerd recover`: go on with an interrupted print, after showing how.

use std::io::{BufRead as _, IsTerminal as _};

use serde_json::Value;

use super::Globals;
use super::act::{demand, tell};
use super::client::block_on;
use super::exit::{Done, Exit, Failure};
use super::out;

use crate::json::json;

/// Arguments of `recover`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Name or number of the printer
    printer: String,
    /// Begin with this layer instead of where the print stood
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    layer: Option<u32>,
    /// Height of the nozzle over the bed now, in mm, when the printer was reset
    #[arg(long, value_name = "MM")]
    z: Option<f64>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Return as soon as the print was accepted
    #[arg(long)]
    no_wait: bool,
}

/// Shows what would be done, asks, and does it.
pub fn run(globals: &Globals, args: &Args) -> Done {
    let client = globals.client()?;
    block_on(async {
        let printer = client.printer(&args.printer).await?;
        let mut wish = json!({"layer": args.layer, "z_mm": args.z});
        let answer = demand(
            &client,
            &printer,
            "Recover",
            json!({"layerd": wish.clone()}),
            false,
        )
        .await?;
        let Some(plan) = answer.pointer("/layerd/plan") else {
            return Ok(tell(globals, &answer));
        };
        if !args.yes && !asked(plan, &printer.name)? {
            return Ok(Exit::Refused);
        }
        if let Some(members) = wish.as_object_mut() {
            members.insert("confirm".to_owned(), json!(true));
            members.insert("start_id".to_owned(), json!(uuid::Uuid::new_v4().to_string()));
        }
        let body = json!({"layerd": wish});
        let answer = demand(&client, &printer, "Recover", body, !args.no_wait).await?;
        Ok(tell(globals, &answer))
    })?
}

/// A hot nozzle over a part: a person has to have looked.
fn asked(plan: &Value, printer: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            "Going on with a print needs somebody who has looked at the printer: say --yes.",
        ));
    }
    let number = |key: &str| plan.get(key).and_then(Value::as_f64).unwrap_or(0.0);
    let layer = plan.get("layer").and_then(Value::as_u64);
    let layer = layer.map_or_else(String::new, |n| format!(", layer {n}"));
    let file = plan
        .pointer("/job/file")
        .and_then(Value::as_str)
        .unwrap_or("the print");
    out::err(format!(
        "{printer} goes on with {file} at line {}{layer}, at a height of {:.2} mm.\n\
         What stands on the bed is {:.2} mm high. It lifts, homes X and Y, heats, primes and comes from above.\n\
         Is the part still fixed to the bed, the bed clear beside it, and the nozzle above the part? [y/N]",
        number("line"),
        number("z_mm"),
        number("stands_mm"),
    ));
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|e| Failure::new(format!("No answer: {e}.")))?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}
