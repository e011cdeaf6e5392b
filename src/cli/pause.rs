//! `layerd pause` and `layerd keep-warm`: a pause in a manner of its own, and heat that stays.

use serde_json::{Map, Value};

use super::Globals;
use super::act;
use super::exit::Done;
use crate::json::json;
use crate::printer::pause_wishes::{KEEP_WARM_MAX_MIN, LIFT_MAX_MM, RETRACT_MAX_MM};

/// Arguments of `pause`. What is not said is done as the printer's configuration has it (`pause`).
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Name or number of the printer
    printer: String,
    /// Return as soon as the command was accepted
    #[arg(long)]
    no_wait: bool,
    /// Pull the filament back by so much first; 0: not
    #[arg(long, value_name = "MM", value_parser = retraction)]
    retract: Option<f64>,
    /// Lift the head by so much; 0: not
    #[arg(long, value_name = "MM", value_parser = lift)]
    lift: Option<f64>,
    /// Leave the head over the part
    #[arg(long)]
    no_park: bool,
    /// Switch the nozzle off once parked; a resume heats it again before it moves
    #[arg(long)]
    cool_nozzle: bool,
    /// Switch the bed off once parked
    #[arg(long)]
    cool_bed: bool,
    /// Keep the nozzle hot for so many minutes, however long the pause
    #[arg(long, value_name = "MIN", conflicts_with = "cool_nozzle", value_parser = clap::value_parser!(u64).range(0..=KEEP_WARM_MAX_MIN))]
    keep_warm: Option<u64>,
}

/// Arguments of `keep-warm`.
#[derive(Clone, Debug, clap::Args)]
pub struct KeepWarmArgs {
    /// Name or number of the printer
    printer: String,
    /// For how many minutes; 0: no longer
    #[arg(value_parser = clap::value_parser!(u64).range(0..=KEEP_WARM_MAX_MIN))]
    minutes: u64,
}

fn within(text: &str, most: f64) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|mm| (0.0..=most).contains(mm))
        .ok_or_else(|| format!("must be 0 to {most} mm"))
}

fn retraction(text: &str) -> Result<f64, String> {
    within(text, RETRACT_MAX_MM)
}

fn lift(text: &str) -> Result<f64, String> {
    within(text, LIFT_MAX_MM)
}

impl Args {
    fn wishes(&self) -> Map<String, Value> {
        let mut wishes = Map::new();
        let mut wish = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                wishes.insert(key.to_owned(), value);
            }
        };
        wish("retractFilament", self.retract.map(|mm| json!(mm)));
        wish("liftExtruder", self.lift.map(|mm| json!(mm)));
        wish("park", self.no_park.then_some(json!(false)));
        wish("coolHotend", self.cool_nozzle.then_some(json!(true)));
        wish("coolBed", self.cool_bed.then_some(json!(true)));
        wish("keepWarmMinutes", self.keep_warm.map(|minutes| json!(minutes)));
        wishes
    }
}

/// `layerd pause PRINTER`.
pub fn run(globals: &Globals, args: &Args) -> Done {
    let wishes = args.wishes();
    let body = if wishes.is_empty() {
        json!({})
    } else {
        json!({"onPause": wishes})
    };
    act::act(globals, &args.printer, "Pause", body, !args.no_wait)
}

/// `layerd keep-warm PRINTER MINUTES`.
pub fn keep_warm(globals: &Globals, args: &KeepWarmArgs) -> Done {
    let body = json!({"minutes": args.minutes});
    act::act(globals, &args.printer, "KeepWarm", body, true)
}
