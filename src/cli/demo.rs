//! `layerd demo`: the whole daemon on a simulated printer, with nothing to own and nothing to configure.
//!
//! Everything is the real thing but the printer and the cloud: a pseudo-terminal instead of a cable, the
//! daemon in this process with its socket, a cloud on loopback, and this verb as a person at its panel
//! who sends a file, leaves an object out, pauses, resumes and watches.

use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use flate2::read::MultiGzDecoder;
use indicatif::{ProgressBar, ProgressDrawTarget};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::client::{Client, Listed, QUICK};
use super::exit::{Done, Exit, Failure};
use super::print::{draw, ended, style};
use super::printers::{progress, temperatures};
use super::scratch::Scratch;
use super::{Globals, out, run};
use crate::daemon::{Daemon, parse_config};
use crate::drivers::marlin::sim::Options;
use crate::drivers::marlin::sim::pty::{PtyOptions, SimPty};
use crate::host::systemd::Systemd;
use crate::json::json;
use crate::upstream::simplyprint::sim::{self, SimCloud};

/// The file: three small objects in six layers, sliced by PrusaSlicer. (`gzip -9n` of the one beside it.)
const PACKED: &[u8] = include_bytes!("../../fixtures/gcode/plate.gcode.gz");
/// Its length when unpacked.
const FILE_BYTES: u64 = 99_600;
const FILE_NAME: &str = "plate.gcode";
const PRINTER: &str = "demo";

/// The object that is left out, and where in the print, percent.
const SKIPPED: u64 = 1;
const SKIP_AT: f64 = 15.0;
/// How long a demand of the cloud may take to be seen.
const SEEN_LIMIT: Duration = Duration::from_secs(120);
/// Where in the print it is paused, percent.
const PAUSE_AT: f64 = 30.0;
/// How long it stays paused, so that a person sees it.
const PAUSED_FOR: Duration = Duration::from_secs(2);
/// How often the printer is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Plain lines without a terminal come at most this often.
const PLAIN_EVERY: Duration = Duration::from_secs(2);
/// How long it may take until the daemon listens; a machine without loopback has no page.
const PAGE_LIMIT: Duration = Duration::from_secs(2);
/// How long connecting may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// How long all of it may take; the print itself takes about five minutes at its own speed.
const DEMO_LIMIT: Duration = Duration::from_secs(3 * 3600);

/// Arguments of `demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How much faster than life the simulated printer moves and heats
    #[arg(long, default_value_t = 20.0, value_name = "N", value_parser = speed)]
    speed: f64,
    /// Keep the directory with database, files and configuration
    #[arg(long)]
    keep: bool,
}

fn speed(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|speed| (0.1..=1000.0).contains(speed))
        .ok_or_else(|| "a number from 0.1 to 1000".to_owned())
}

/// Runs the verb.
pub fn run(globals: &Globals, args: &Args) -> Done {
    let place = Scratch::new("demo").map_err(|e| {
        Failure::new(format!(
            "No directory could be made: {e}. Set TMPDIR to where one can."
        ))
    })?;
    let dir = place.path().to_owned();
    let simulated = PtyOptions {
        sim: Options {
            speed: args.speed,
            advanced_ok: true,
            ..Options::default()
        },
        link: Some(dir.join("printer")),
        ..PtyOptions::default()
    };
    let printer = SimPty::spawn(simulated).map_err(|e| {
        Failure::new(format!(
            "No pseudo-terminal could be opened: {e}. Run where /dev/pts is mounted."
        ))
    })?;
    let config_path = dir.join("layerd.toml");
    let file_path = dir.join(FILE_NAME);
    write(&file_path, &file()?)?;
    let runtime = run::runtime().map_err(|e| Failure::new(format!("Cannot start: {e}.")))?;
    let done = runtime.block_on(async {
        let began = Instant::now();
        let cloud = SimCloud::start(sim::Options {
            files: std::iter::once((FILE_NAME.to_owned(), file_path.clone())).collect(),
            ..sim::Options::default()
        })
        .await
        .map_err(|e| Failure::new(format!("No address on loopback could be had: {e}.")))?;
        let text = config(&dir, &printer.path(), &cloud);
        write(&config_path, text.as_bytes())?;
        let config = parse_config(&text, "demo").map_err(|e| Failure::new(e.to_string()))?;
        let fd_store = std::sync::Arc::default();
        let daemon = Daemon::start(config, Some(config_path), Systemd::default(), fd_store)
            .await
            .map_err(|e| run::failure(&e))?;
        let stage = Stage {
            quiet: globals.json || globals.quiet > 0,
            client: Client::new(daemon.socket())?,
            bar: bar(globals),
            began,
            cloud,
        };
        stage.say(format!(
            "A simulated Marlin on {}, {} times faster than life; a simulated cloud on {}; the daemon's socket is {}.",
            printer.path().display(),
            args.speed,
            stage.cloud.ws_url(),
            daemon.socket().display()
        ));
        let stop = CancellationToken::new();
        let daemon = daemon.run(stop.clone().cancelled_owned());
        let story = tokio::time::timeout(DEMO_LIMIT, stage.tell());
        tokio::pin!(daemon, story);
        tokio::select! {
            told = &mut story => {
                stop.cancel();
                let stopped = daemon.await;
                let told = told.map_err(|_| Failure::new("The demo did not end in time."))??;
                stopped.map_err(|e| Failure::new(format!("The daemon did not stop in order: {e}.")))?;
                Ok(told)
            }
            _ = &mut daemon => Err(Failure::new("The demo was interrupted; the daemon has stopped in order.")),
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    let told = done?;
    summary(globals, args, &told, &printer);
    if args.keep {
        let kept = place.keep();
        if !globals.json {
            out::line(format!(
                "  kept     {} (configuration layerd.toml, database state/layerd.db)",
                kept.display()
            ));
        }
    }
    if !globals.json {
        out::line("Next: \"layerd discover\" shows your own printer with configuration to paste.");
    }
    let hot = printer.with(|sim| sim.is_heating());
    if hot {
        Err(Failure::new("A heater was left on. This is a mistake in layerd."))
    } else {
        Ok(Exit::Good)
    }
}

fn config(dir: &Path, port: &Path, cloud: &SimCloud) -> String {
    // Debug quoting escapes what TOML escapes too.
    format!(
        "[agent]\nname = \"demo\"\nstate_dir = {:?}\nruntime_dir = {:?}\n\n[api]\nlisten = [\"127.0.0.1:0\"]\nrate_per_min = 600\n\n\
         [upstream.simplyprint]\nws_url = {:?}\napi_url = {:?}\n\n[printer.{PRINTER}]\ndriver = \"marlin\"\nport = {:?}\nbaud = 115200\nbed = [220, 220, 250]\n\
         max_tool_c = 260\nmax_bed_c = 110\non_stop = \"cancel\"\n",
        dir.join("state").display().to_string(),
        dir.join("run").display().to_string(),
        cloud.ws_url(),
        cloud.api_url(),
        port.display().to_string(),
    )
}

fn file() -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    MultiGzDecoder::new(PACKED)
        .take(FILE_BYTES)
        .read_to_end(&mut text)
        .map_err(|e| Failure::new(format!("The file of the demo is damaged: {e}.")))?;
    Ok(text)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes)
        .map_err(|e| Failure::new(format!("{}: cannot be written: {e}.", path.display())))
}

fn bar(globals: &Globals) -> Option<ProgressBar> {
    if globals.json || globals.quiet > 0 || !out::is_err_tty() {
        return None;
    }
    let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr_with_hz(5));
    bar.set_style(style("{spinner} {bar:32} {msg}"));
    Some(bar)
}

/// What was seen.
struct Told {
    job: Value,
    last: Value,
    paused_at: f64,
    parked_s: f64,
    resumed_s: f64,
    took: Duration,
}

/// The person in front of the printer.
struct Stage {
    quiet: bool,
    client: Client,
    bar: Option<ProgressBar>,
    began: Instant,
    cloud: SimCloud,
}

impl Stage {
    /// Connect, pair, send a file, leave an object out, pause, resume, watch to the end.
    async fn tell(&self) -> Result<Told, Failure> {
        let printer = self.connected().await?;
        if let Some(page) = self.page().await? {
            self.say(format!(
                "See it in a browser, with a key for this demo only: {page}"
            ));
        }
        let paired = self
            .until("pair with the cloud", printer.id, |native| {
                native
                    .pointer("/upstreams/simplyprint/id")
                    .is_some_and(Value::is_i64)
            })
            .await?;
        let number = paired
            .native
            .pointer("/upstreams/simplyprint/id")
            .and_then(Value::as_i64);
        self.say(format!(
            "Connected, and claimed in the simulated cloud as printer {}. The cloud sends a file and starts it.",
            number.unwrap_or(0)
        ));
        self.cloud.print(0, FILE_NAME, 1, true);
        let started = self
            .until("start", printer.id, |native| {
                native.pointer("/job/started").is_some_and(Value::is_string)
            })
            .await?;
        let job = started.native.pointer("/job/uid").and_then(Value::as_str);
        let job = job
            .ok_or_else(|| Failure::new("The daemon gave no job."))?
            .to_owned();
        self.say("Started: the printer has acknowledged the first line.");
        let mut skipped = false;
        let mut pause: Option<(f64, f64, f64)> = None;
        let mut last = Value::Null;
        let mut plain = Instant::now();
        loop {
            let details = self.client.get("jobs/GetDetails", &[("id", &job)], QUICK).await?;
            if let Some((word, exit)) = ended(&details) {
                self.clear();
                return self.end(word, exit, details, pause).await;
            }
            let row = self.client.row(printer.id).await?;
            self.show(&row, &mut plain);
            let percent = row
                .native
                .pointer("/job/percent")
                .and_then(Value::as_f64)
                .unwrap_or(0.0);
            if !skipped && percent >= SKIP_AT {
                skipped = true;
                self.skip(&printer).await?;
            }
            if pause.is_none() && percent >= PAUSE_AT {
                pause = Some(self.pause_and_resume(&printer, percent).await?);
            }
            if row.native != last {
                last = row.native;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn end(
        &self,
        word: &str,
        exit: Exit,
        job: Value,
        pause: Option<(f64, f64, f64)>,
    ) -> Result<Told, Failure> {
        if exit != Exit::Good {
            let why = job
                .pointer("/job/failedReason")
                .and_then(Value::as_str)
                .unwrap_or_default();
            return Err(Failure::new(format!("The print ended as {word}. {why}")));
        }
        let Some((paused_at, parked_s, resumed_s)) = pause else {
            return Err(Failure::new(
                "The print was over before it could be paused. Take a lower --speed.",
            ));
        };
        let last = self.client.printer(PRINTER).await?.native;
        Ok(Told {
            job,
            last,
            paused_at,
            parked_s,
            resumed_s,
            took: self.began.elapsed(),
        })
    }

    /// The address of the page, with a key that ends with the demo. Behind the `#`, which browsers keep to
    /// themselves.
    async fn page(&self) -> Result<Option<String>, Failure> {
        if self.quiet {
            return Ok(None);
        }
        let deadline = Instant::now() + PAGE_LIMIT;
        let address = loop {
            match self.client.address().await? {
                Some(address) => break address,
                None if Instant::now() >= deadline => return Ok(None),
                None => tokio::time::sleep(LOOK_EVERY / 4).await,
            }
        };
        let wish = json!({"name": "demo", "scopes": "read,control,files", "expires_s": DEMO_LIMIT.as_secs()});
        let made = self.client.post("agent/keys/Create", &[], &wish, QUICK).await?;
        let key = made.get("key").and_then(Value::as_str);
        Ok(key.map(|key| format!("{address}/#key={key}")))
    }

    async fn connected(&self) -> Result<Listed, Failure> {
        let deadline = Instant::now() + CONNECT_LIMIT;
        loop {
            let printer = self.client.printer(PRINTER).await?;
            let state = printer
                .native
                .get("state")
                .and_then(Value::as_str)
                .unwrap_or_default();
            if state == "operational" {
                return Ok(printer);
            }
            if Instant::now() >= deadline {
                let why = printer
                    .native
                    .pointer("/link/why/message")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                return Err(Failure::new(format!(
                    "The simulated printer is {state} and not ready. {why}"
                )));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until the daemon shows that something has come about.
    async fn until(
        &self,
        step: &str,
        printer: i64,
        seen: impl Fn(&Value) -> bool,
    ) -> Result<Listed, Failure> {
        let deadline = Instant::now() + SEEN_LIMIT;
        loop {
            let row = self.client.row(printer).await?;
            if seen(&row.native) {
                return Ok(row);
            }
            if Instant::now() >= deadline {
                return Err(Failure::new(format!(
                    "The printer was not seen to {step} in time; it is {}.",
                    row.native
                        .get("state")
                        .and_then(Value::as_str)
                        .unwrap_or("unknown")
                )));
            }
            tokio::time::sleep(LOOK_EVERY / 4).await;
        }
    }

    /// A person at the panel leaves an object out.
    async fn skip(&self, printer: &Listed) -> Result<(), Failure> {
        self.cloud
            .demand(0, json!({"demand": "skip_objects", "objects": [SKIPPED]}));
        self.until("skip an object", printer.id, |native| {
            native
                .pointer("/job/skipped")
                .and_then(Value::as_array)
                .is_some_and(|ids| ids.contains(&json!(SKIPPED)))
        })
        .await?;
        self.say(format!(
            "Skipped: object {SKIPPED} is left out from here on; the others go on."
        ));
        Ok(())
    }

    /// Where it was paused, and how long parking and resuming took.
    async fn pause_and_resume(&self, printer: &Listed, percent: f64) -> Result<(f64, f64, f64), Failure> {
        let is = |word: &'static str| {
            move |native: &Value| native.get("state").and_then(Value::as_str) == Some(word)
        };
        let asked = Instant::now();
        self.cloud.demand(0, json!({"demand": "pause"}));
        let row = self.until("pause", printer.id, is("paused")).await?;
        let parked_s = asked.elapsed().as_secs_f64();
        self.say(format!(
            "Paused at {percent:.1} %: the head is parked, {parked_s:.1} s after the cloud asked."
        ));
        self.show(&row, &mut Instant::now());
        tokio::time::sleep(PAUSED_FOR).await;
        let asked = Instant::now();
        self.cloud.demand(0, json!({"demand": "resume"}));
        self.until("resume", printer.id, is("printing")).await?;
        let resumed_s = asked.elapsed().as_secs_f64();
        self.say(format!(
            "Resumed: the next line was acknowledged {resumed_s:.1} s after the cloud asked."
        ));
        Ok((percent, parked_s, resumed_s))
    }

    fn show(&self, row: &Listed, plain: &mut Instant) {
        if let Some(bar) = &self.bar {
            draw(bar, &row.native);
        } else if !self.quiet && plain.elapsed() >= PLAIN_EVERY {
            let state = row
                .native
                .get("state")
                .and_then(Value::as_str)
                .unwrap_or("unknown");
            out::line(format!(
                "{state:12} {}  {}",
                progress(&row.native),
                temperatures(&row.native)
            ));
            *plain = Instant::now();
        }
    }

    fn say(&self, text: impl AsRef<str>) {
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) => bar.suspend(|| out::line(text)),
            None => out::line(text),
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn summary(globals: &Globals, args: &Args, told: &Told, printer: &SimPty) {
    let executed = printer.with(|sim| sim.executed_count());
    let number = |path: &str| told.last.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let (lines, resends) = (number("/traffic/lines"), number("/traffic/resends"));
    if globals.json {
        out::json(&json!({
            "outcome": "verified", "code": "ok", "message": "", "file": FILE_NAME, "bytes": FILE_BYTES,
            "executed": executed, "lines": lines, "resends": resends, "paused_at_percent": told.paused_at,
            "took_s": told.took.as_secs_f64(), "job": told.job.get("job"),
        }));
        return;
    }
    out::line("The print is done.");
    out::line(format!("  file     {FILE_NAME}, {FILE_BYTES} bytes"));
    out::line(format!(
        "  sent     {lines} lines, {resends} resent; the printer executed {executed} commands"
    ));
    out::line(format!(
        "  paused   at {:.1} %, parked after {:.1} s, moving again {:.1} s after resume",
        told.paused_at, told.parked_s, told.resumed_s
    ));
    // The printer's own targets: the last reading is from before the end of the file.
    let (tool_c, bed_c) = printer.with(|sim| (sim.tool_target_c(0), sim.bed_target_c()));
    out::line(format!(
        "  heaters  {}",
        if tool_c == 0.0 && bed_c == 0.0 {
            "off"
        } else {
            "STILL ON"
        }
    ));
    out::line(format!(
        "  took     {} at {} times the speed of life",
        out::duration(told.took.as_secs()),
        args.speed
    ));
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_packed_file_is_the_one_beside_it() {
        let plain = include_bytes!("../../fixtures/gcode/plate.gcode");
        assert!(super::file().is_ok_and(|file| file == plain));
        assert_eq!(super::FILE_BYTES, plain.len() as u64);
    }
}
