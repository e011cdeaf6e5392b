//! `layerd simulate bambu`: a stand-in for a Bambu Lab printer.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;

use super::client::block_on;
use super::exit::{Done, Exit, Failure};
use super::scratch::Scratch;
use super::simulate::{speed, until_ended};
use super::{Globals, out};
use crate::drivers::bambu::sim::kind::Kind;
use crate::drivers::bambu::sim::{Options, Sim};
use crate::json::{self, json};

/// What can be typed while it runs.
const WORDS: &str =
    "state, log, starts, set KEY JSON, drop, restart, devmode on|off, silent on|off, card on|off, quit";

/// Arguments of `simulate bambu`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Port of MQTT; 0: any free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    mqtt_port: u16,
    /// Port of the file server; 0: any free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    ftps_port: u16,
    /// Port of the camera; 0: any free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    camera_port: u16,
    /// Model: X1C, P1S, A1MINI or H2D
    #[arg(long, value_name = "MODEL", default_value = "P1S", value_parser = model)]
    model: Kind,
    /// Serial number; without it one with the model's beginning
    #[arg(long, value_name = "SERIAL")]
    serial: Option<String>,
    /// Access code
    #[arg(long, value_name = "CODE", default_value = "12345678")]
    code: String,
    /// How many times faster than life it heats and prints
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = speed)]
    speed: f64,
    /// Developer Mode is off: it shows its state and takes no orders
    #[arg(long)]
    no_developer_mode: bool,
    /// Takes orders and does nothing, without a word
    #[arg(long)]
    silent: bool,
}

fn model(text: &str) -> Result<Kind, String> {
    Kind::ALL
        .iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(text))
        .map(|(_, kind)| *kind)
        .ok_or_else(|| "one of X1C, P1S, A1MINI and H2D".to_owned())
}

/// Runs the verb until Ctrl-C.
pub fn run(globals: &Globals, args: &Args) -> Done {
    let card = Scratch::new("card").map_err(|e| Failure::new(format!("No directory for the card: {e}.")))?;
    let options = Options {
        host: args.host,
        mqtt_port: args.mqtt_port,
        ftps_port: args.ftps_port,
        camera_port: args.camera_port,
        serial: args
            .serial
            .clone()
            .unwrap_or_else(|| args.model.serial().to_owned()),
        kind: args.model,
        silent: args.silent,
        code: args.code.clone(),
        speed: args.speed,
        dev_mode: !args.no_developer_mode,
        root: card.path().to_owned(),
    };
    block_on(serve(globals, args, options))??;
    Ok(Exit::Good)
}

async fn serve(globals: &Globals, args: &Args, options: Options) -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::new(format!("The simulated printer could not start: {e}."));
    let sim = Sim::start(options).await.map_err(failed)?;
    let (mqtt, ftps, camera) = (sim.mqtt.port(), sim.ftps.port(), sim.camera.port());
    let serial = &sim.shared.options.serial;
    if globals.json {
        out::json(&json!({
            "driver": "bambu", "host": args.host, "mqtt_port": mqtt, "ftps_port": ftps,
            "camera_port": camera, "serial": serial, "access_code": args.code
        }));
    } else {
        out::line(format!(
            "A simulated Bambu Lab printer waits on {}.\n\nFor the configuration of layerd:\n\n\
             [printer.sim]\ndriver = \"bambu\"\nhost = \"{}\"\nserial = {serial:?}\naccess_code = {:?}\n\
             mqtt_port = {mqtt}\nftps_port = {ftps}\ncamera_port = {camera}\n\nIt can be told: {WORDS}. Ctrl-C ends it.",
            args.host, args.host, args.code,
        ));
    }
    let mut hear = |word: &str| match obey(&sim, word) {
        Ok(answer) => out::json(&answer),
        Err(text) => out::json(&json!({ "error": text })),
    };
    until_ended(&mut hear).await
}

/// Does what was typed; the answer is one line of JSON, so that a script can type too.
fn obey(sim: &Sim, word: &str) -> Result<Value, String> {
    let (verb, rest) = word.split_once(' ').unwrap_or((word, ""));
    let on = match rest {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("{verb} on, or {verb} off")),
    };
    match verb {
        "state" => return Ok(sim.shared.with(|p| p.whole().clone())),
        "starts" => return Ok(json!(sim.shared.with(|p| p.started().to_vec()))),
        "log" => return Ok(json!(sim.shared.with(|p| p.log()))),
        "set" => {
            let (key, text) = rest.split_once(' ').ok_or("set KEY JSON")?;
            let value: Value = json::read(text).map_err(|e| format!("{text}: {e}"))?;
            sim.shared.with(|p| p.set(key, value));
        }
        "drop" => sim.drop_clients(),
        "restart" => {
            sim.shared.with(|p| p.restart());
            sim.drop_clients();
        }
        "devmode" => {
            let on = on?;
            sim.shared.with(|p| p.set_dev_mode(on));
        }
        "silent" => {
            let on = on?;
            sim.shared.with(|p| p.set_silent(on));
        }
        "card" => {
            let on = on?;
            sim.shared.with(|p| p.set("sdcard", json!(on)));
        }
        _ => return Err(format!("It can be told: {WORDS}.")),
    }
    Ok(json!({ "done": verb }))
}
