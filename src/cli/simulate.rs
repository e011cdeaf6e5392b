//! `layerd simulate`: a stand-in for a printer, to try layerd or any other host on.

use std::io::BufRead;
use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::client::block_on;
use super::exit::{Done, Exit, Failure};
use super::{Globals, out};
use crate::drivers::marlin::sim::pty::{PtyOptions, SimPty};
use crate::drivers::marlin::sim::{Injection, LineFaults, Options};

/// Longest line that is taken from the keyboard.
const WORD_MAX: usize = 256;

/// What can be typed while it runs.
const WORDS: &str = "state, reset, kill [TEXT], runaway, runout, mute, unmute, press, unplug, plug, \
    damage CORRUPT DROP DROP_OK (lines per thousand), quit";

/// Arguments of `simulate`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Kind {
    /// A Marlin 2.1 printer on a pseudo-terminal
    Marlin(MarlinArgs),
    /// A Bambu Lab printer on the network of this machine: MQTT and files over TLS
    Bambu(super::simulate_bambu::Args),
    /// A Klipper printer with Moonraker's port: websocket and uploads
    Moonraker(super::simulate_klipper::MoonrakerArgs),
    /// A Klipper behind a real Moonraker: klippy's socket
    Klippy(super::simulate_klipper::KlippyArgs),
    /// A cloud on loopback: claims printers and can be told to send them demands
    Cloud(super::simulate_cloud::CloudArgs),
}

/// Arguments of `simulate marlin`.
#[derive(Clone, Debug, clap::Args)]
pub struct MarlinArgs {
    /// Keep a symbolic link to the terminal here, also when it is unplugged and plugged in again
    #[arg(long, value_name = "PATH")]
    link: Option<PathBuf>,
    /// How many times faster than life it moves and heats
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = speed)]
    speed: f64,
    /// Pass bytes no faster than this many bits a second
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u32).range(1200..=4_000_000))]
    baud: Option<u32>,
    /// Understand this speed only; at another one both sides hear garbage
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u32).range(1200..=4_000_000))]
    only_baud: Option<u32>,
    /// Hotends
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    extruders: u8,
    /// With a heated chamber
    #[arg(long)]
    chamber: bool,
    /// Answer with `ok N12 P15 B3`
    #[arg(long)]
    advanced_ok: bool,
    /// Without emergency parser: M112 and M108 wait in the queue like everything else
    #[arg(long)]
    no_emergency_parser: bool,
    /// Restart when the port is opened, as boards with an auto-reset capacitor do
    #[arg(long)]
    reset_on_open: bool,
    /// Lines of the host that arrive damaged, per thousand
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000))]
    corrupt: u32,
    /// Lines of the host that never arrive, per thousand
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000))]
    drop: u32,
    /// `ok` lines that get lost, per thousand
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000))]
    drop_ok: u32,
    /// The same seed gives the same damage
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Write every command that is executed to this file
    #[arg(long, value_name = "FILE")]
    executed: Option<PathBuf>,
}

/// Reads a factor of time; also used by the demo.
pub fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (0.01..=100_000.0).contains(&speed) => Ok(speed),
        _ => Err("give a number from 0.01 to 100000".to_owned()),
    }
}

/// Runs the verb until Ctrl-C.
pub fn run(globals: &Globals, args: &Args) -> Done {
    match &args.kind {
        Kind::Marlin(args) => marlin(globals, args),
        Kind::Bambu(args) => super::simulate_bambu::run(globals, args),
        Kind::Moonraker(args) => super::simulate_klipper::moonraker(globals, args),
        Kind::Klippy(args) => super::simulate_klipper::klippy(globals, args),
        Kind::Cloud(args) => super::simulate_cloud::run(globals, args),
    }
}

fn marlin(globals: &Globals, args: &MarlinArgs) -> Done {
    let printer = SimPty::spawn(options(args)).map_err(|e| {
        Failure::new(format!(
            "No pseudo-terminal could be opened: {e}. Is /dev/pts mounted here?"
        ))
    })?;
    introduce(globals, args, &printer);
    block_on(serve(&printer, args.seed))??;
    if !globals.json {
        let commands = printer.with(|sim| sim.executed_count());
        out::line(format!("{commands} commands were executed."));
    }
    Ok(Exit::Good)
}

fn options(args: &MarlinArgs) -> PtyOptions {
    PtyOptions {
        sim: Options {
            speed: args.speed,
            extruders: args.extruders,
            chamber: args.chamber,
            emergency_parser: !args.no_emergency_parser,
            advanced_ok: args.advanced_ok,
            reset_on_open: args.reset_on_open,
            faults: LineFaults {
                seed: args.seed,
                corrupt_in: args.corrupt,
                drop_in: args.drop,
                drop_ok: args.drop_ok,
                ..LineFaults::default()
            },
            ..Options::default()
        },
        link: args.link.clone(),
        baud: args.baud,
        only_baud: args.only_baud,
        executed: args.executed.clone(),
    }
}

fn introduce(globals: &Globals, args: &MarlinArgs, printer: &SimPty) {
    let path = printer.path();
    let baud = args.only_baud.or(args.baud).unwrap_or(115_200);
    if globals.json {
        out::json(&crate::json::json!({"driver": "marlin", "port": path, "baud": baud}));
        return;
    }
    // Debug quoting escapes what TOML escapes too.
    out::line(format!(
        "A simulated Marlin printer waits on {}.\n\n\
         For the configuration of layerd:\n\n\
         [printer.sim]\ndriver = \"marlin\"\nport = {:?}\nbaud = {baud}\nbed = [220, 220, 250]\n\n\
         It can be told: {WORDS}. Ctrl-C ends it.",
        path.display(),
        path.display().to_string(),
    ));
}

async fn serve(printer: &SimPty, seed: u64) -> Result<(), Failure> {
    let mut hear = |word: &str| {
        if let Err(text) = obey(printer, word, seed) {
            out::err(text);
        }
    };
    until_ended(&mut hear).await
}

/// Hands each typed line on, until "quit" is typed or a signal ends it.
pub(super) async fn until_ended(hear: &mut dyn FnMut(&str)) -> Result<(), Failure> {
    let no_signals = |e: std::io::Error| Failure::new(format!("The system gives no signals: {e}."));
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    let mut words = keyboard();
    let mut typed = true;
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            word = words.recv(), if typed => match word {
                Some(word) if word == "quit" => return Ok(()),
                Some(word) => hear(&word),
                // Nobody types (a service, a script): only a signal ends it.
                None => typed = false,
            },
        }
    }
}

/// Lines from the keyboard. Bounded (8); a full queue lets the keyboard wait.
fn keyboard() -> mpsc::Receiver<String> {
    let (send, words) = mpsc::channel(8);
    // The thread waits in a read that cannot be broken off; it ends with the process.
    let reader = move || {
        let mut input = std::io::stdin().lock();
        loop {
            let mut line = String::new();
            let limited = std::io::Read::take(&mut input, WORD_MAX as u64).read_line(&mut line);
            let word = line.trim().to_owned();
            match limited {
                Ok(0) | Err(_) => return,
                Ok(_) if word.is_empty() => {}
                Ok(_) if send.blocking_send(word).is_err() => return,
                Ok(_) => {}
            }
        }
    };
    // Without the thread there is only no keyboard.
    let _ = std::thread::Builder::new()
        .name("keyboard".to_owned())
        .spawn(reader);
    words
}

fn obey(printer: &SimPty, word: &str, seed: u64) -> Result<(), String> {
    let (verb, rest) = word.split_once(' ').unwrap_or((word, ""));
    let happening = match verb {
        "state" => {
            out::json(&printer.with(|sim| {
                crate::json::json!({
                    "executed": sim.executed_count(), "resets": sim.resets(), "killed": sim.is_killed(),
                    "targets": [sim.tool_target_c(0), sim.bed_target_c()],
                })
            }));
            return Ok(());
        }
        "damage" => {
            let faults = damage(rest, seed).ok_or("damage CORRUPT DROP DROP_OK: three numbers up to 1000")?;
            printer.with(|sim| sim.set_faults(faults));
            return Ok(());
        }
        "reset" => Injection::Reset,
        "kill" if rest.is_empty() => Injection::Kill("Error:Printer halted. kill() called!".to_owned()),
        "kill" => Injection::Kill(format!("Error:{rest}")),
        "runaway" => Injection::ThermalRunaway,
        "runout" => Injection::Runout,
        "mute" => Injection::Mute,
        "unmute" => Injection::Unmute,
        "press" => Injection::PressButton,
        "unplug" => {
            printer.unplug();
            return Ok(());
        }
        "plug" => {
            return printer
                .replug(true)
                .map_err(|e| format!("It could not be plugged in: {e}."));
        }
        _ => {
            return Err(format!(
                "`{}` is not known. It can be told: {WORDS}.",
                out::clean(word)
            ));
        }
    };
    printer.inject(happening);
    Ok(())
}

fn damage(text: &str, seed: u64) -> Option<LineFaults> {
    let numbers: Result<Vec<u32>, _> = text.split_whitespace().map(str::parse).collect();
    let [corrupt_in, drop_in, drop_ok] = <[u32; 3]>::try_from(numbers.ok()?).ok()?;
    (corrupt_in.max(drop_in).max(drop_ok) <= 1000).then_some(LineFaults {
        seed,
        corrupt_in,
        drop_in,
        drop_ok,
        ..LineFaults::default()
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_typed_happens_and_nonsense_is_said() {
        let printer = SimPty::spawn(PtyOptions::default()).expect("a terminal");
        obey(&printer, "reset", 1).expect("known");
        assert!(printer.wait_until(Duration::from_secs(5), |sim| sim.resets() == 1));
        obey(&printer, "kill MINTEMP triggered", 1).expect("known");
        assert!(printer.wait_until(Duration::from_secs(5), |sim| sim.is_killed()));
        assert!(
            obey(&printer, "explode", 1)
                .expect_err("unknown")
                .contains("runout")
        );
    }

    #[test]
    fn damage_is_three_numbers() {
        let faults = damage("20 1 2", 7).expect("read");
        assert_eq!(
            (faults.seed, faults.corrupt_in, faults.drop_in, faults.drop_ok),
            (7, 20, 1, 2)
        );
        for bad in ["", "1 2", "1 2 1001", "a b c", "1 2 3 4"] {
            assert_eq!(damage(bad, 7), None, "{bad}");
        }
    }

    #[test]
    fn speeds_are_limited() {
        assert_eq!(speed("20"), Ok(20.0));
        for bad in ["0", "-1", "NaN", "fast", "1e9"] {
            assert!(speed(bad).is_err(), "{bad}");
        }
    }
}
