//! `layerd simulate klippy` and `layerd simulate moonraker`: a Klipper printer without a printer.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::client::block_on;
use super::exit::{Done, Exit, Failure};
use super::simulate::{speed, until_ended};
use super::{Globals, out};
use crate::drivers::moonraker::sim::{Door, Options, SimPrinter};
use crate::json::json;

/// What can be typed while it runs.
const WORDS: &str = "state, shutdown [TEXT], exit, start, restart, runout, filament, mute, unmute, quit";

/// What both have.
#[derive(Clone, Debug, clap::Args)]
pub struct PrinterArgs {
    /// How many times faster than life it moves and heats
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = speed)]
    speed: f64,
    /// Seconds that Klipper takes to start
    #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = speed)]
    startup: f64,
    /// Write every line that is executed to this file
    #[arg(long, value_name = "FILE")]
    executed: Option<PathBuf>,
}

/// Arguments of `simulate klippy`.
#[derive(Clone, Debug, clap::Args)]
pub struct KlippyArgs {
    /// The socket that Moonraker has as `klippy_uds_address`
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// The folder of G-code of that Moonraker
    #[arg(long, value_name = "DIR")]
    files: PathBuf,
    #[command(flatten)]
    printer: PrinterArgs,
}

/// Arguments of `simulate moonraker`.
#[derive(Clone, Debug, clap::Args)]
pub struct MoonrakerArgs {
    /// Port on loopback; 0 takes any free one
    #[arg(long, default_value_t = 7125, value_name = "PORT")]
    port: u16,
    /// Where uploaded files go; without it a folder that is removed at the end
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,
    /// Let nobody in without this API key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    #[command(flatten)]
    printer: PrinterArgs,
}

/// Runs `simulate klippy` until Ctrl-C.
pub fn klippy(globals: &Globals, args: &KlippyArgs) -> Done {
    let door = Door::Socket(args.socket.clone());
    block_on(serve(globals, door, args.files.clone(), &args.printer))?
}

/// Runs `simulate moonraker` until Ctrl-C.
pub fn moonraker(globals: &Globals, args: &MoonrakerArgs) -> Done {
    let door = Door::Port {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, args.port)),
        key: args.key.clone(),
    };
    let scratch = std::env::temp_dir().join(format!("layerd-moonraker-{}", std::process::id()));
    let files = args.files.clone().unwrap_or_else(|| scratch.clone());
    let done = block_on(serve(globals, door, files, &args.printer));
    // Only what was made here is removed; it may not exist.
    let _ = std::fs::remove_dir_all(scratch);
    done?
}

async fn serve(globals: &Globals, door: Door, files: PathBuf, args: &PrinterArgs) -> Done {
    let options = Options {
        speed: args.speed,
        files,
        startup_s: args.startup,
    };
    let printer = SimPrinter::start(door.clone(), options, args.executed.as_deref())
        .await
        .map_err(|e| Failure::new(format!("The simulated printer cannot be set up: {e}.")))?;
    introduce(globals, &door, &printer);
    let mut hear = |word: &str| {
        if let Err(text) = obey(&printer, word) {
            out::err(text);
        }
    };
    let ended = until_ended(&mut hear).await;
    printer.stop().await;
    ended.map(|()| Exit::Good)
}

fn introduce(globals: &Globals, door: &Door, printer: &SimPrinter) {
    let url = printer.url().unwrap_or_default();
    match door {
        Door::Port { .. } if globals.json => out::json(&json!({"driver": "moonraker", "url": url})),
        Door::Socket(path) if globals.json => out::json(&json!({"socket": path})),
        Door::Port { key, .. } => {
            let key = key.as_ref().map_or("", |_| "api_key = \"…\"\n");
            out::line(format!(
                "A simulated Klipper printer listens on {url}.\n\nFor the configuration of layerd:\n\n\
                 [printer.sim]\ndriver = \"moonraker\"\nurl = {url:?}\n{key}\nIt can be told: {WORDS}. Ctrl-C ends it."
            ));
        }
        Door::Socket(path) => out::line(format!(
            "A simulated klippy waits on {}.\n\nFor moonraker.conf:\n\n[server]\nklippy_uds_address: {}\n\n\
             It can be told: {WORDS}. Ctrl-C ends it.",
            path.display(),
            path.display()
        )),
    }
}

fn obey(printer: &SimPrinter, word: &str) -> Result<(), String> {
    let (verb, rest) = word.split_once(' ').unwrap_or((word, ""));
    match verb {
        "state" => out::json(&serde_json::Value::Object(
            printer.with(|klipper| klipper.objects_now()),
        )),
        "shutdown" => {
            let reason = if rest.is_empty() {
                "MCU 'mcu' shutdown: Timer too close"
            } else {
                rest
            };
            printer.with(|klipper| klipper.shut_down(reason));
        }
        "exit" => printer.with(|klipper| klipper.die(None)),
        "start" => printer.with(|klipper| klipper.boot()),
        "restart" => printer.with(|klipper| klipper.die(Some(0.5))),
        "runout" => printer.with(|klipper| klipper.set_filament(false)),
        "filament" => printer.with(|klipper| klipper.set_filament(true)),
        "mute" => printer.mute(true),
        "unmute" => printer.mute(false),
        _ => {
            return Err(format!(
                "`{}` is not known. It can be told: {WORDS}.",
                out::clean(word)
            ));
        }
    }
    Ok(())
}
