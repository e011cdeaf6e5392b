//! `layerd simulate bambu`: a stand-in for a Bambu Lab printer.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::client::block_on;
use super::exit::{Done, Exit, Failure};
use super::scratch::Scratch;
use super::simulate::speed;
use super::{Globals, out};
use crate::drivers::bambu::sim::{Options, Sim};

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
    /// Serial number
    #[arg(long, value_name = "SERIAL", default_value = "01P00A000000001")]
    serial: String,
    /// Access code
    #[arg(long, value_name = "CODE", default_value = "12345678")]
    code: String,
    /// How many times faster than life it heats and prints
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = speed)]
    speed: f64,
    /// Developer Mode is off: it shows its state and takes no orders
    #[arg(long)]
    no_developer_mode: bool,
}

/// Runs the verb until Ctrl-C.
pub fn run(globals: &Globals, args: &Args) -> Done {
    let card = Scratch::new("card").map_err(|e| Failure::new(format!("No directory for the card: {e}.")))?;
    let options = Options {
        host: args.host,
        mqtt_port: args.mqtt_port,
        ftps_port: args.ftps_port,
        serial: args.serial.clone(),
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
    let (mqtt, ftps) = (sim.mqtt.port(), sim.ftps.port());
    if globals.json {
        out::json(&json!({
            "driver": "bambu", "host": args.host, "mqtt_port": mqtt, "ftps_port": ftps, "serial": args.serial, "access_code": args.code
        }));
    } else {
        out::line(format!(
            "A simulated Bambu Lab printer waits on {}.\n\nFor the configuration of layerd:\n\n\
             [printer.sim]\ndriver = \"bambu\"\nhost = \"{}\"\nserial = {:?}\naccess_code = {:?}\n\
             mqtt_port = {mqtt}\nftps_port = {ftps}\n\nCtrl-C ends it.",
            args.host, args.host, args.serial, args.code,
        ));
    }
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
