//! `layerd support`: one archive for a bug report, without secrets.
//!
//! It must come about when nothing else works: no daemon, a configuration full of mistakes, no systemd.
//! What could not be had is told in its place. Nothing is changed on the host and nothing is sent anywhere.

mod archive;
mod daemon;
mod host;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{Timestamp, Zoned};
use serde_json::Value;

use archive::Archive;

use super::client::block_on;
use super::exit::{Done, Exit, Failure};
use super::{Globals, check, out};
use crate::config::Secret;
use crate::config::load::{Surroundings, runtime_dir, state_dir};
use crate::config::scrub::Scrub;
use crate::daemon::shown_config;
use crate::job::store::{FILE_NAME, Facts};
use crate::json::json;

/// How long reading the database may take.
const FACTS_LIMIT: Duration = Duration::from_secs(20);

/// Lines of each printer's journal, where no daemon gives them.
const JOURNAL_LINES: i64 = 500;

/// Largest configuration that is looked at.
const CONFIG_MAX: u64 = 1 << 20;

/// Largest file that holds a secret.
const SECRET_FILE_MAX: u64 = 4096;

/// Arguments of `support`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where to write it [default: layerd-support-HOST-DATE.zip here]
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Replace the file if it is there
    #[arg(long)]
    overwrite: bool,
    /// A log to put in as well, for a daemon that does not run under systemd
    #[arg(long, value_name = "PATH")]
    log: Option<PathBuf>,
}

/// What is known before anything is looked at.
struct Ground {
    config_path: PathBuf,
    config: Result<String, String>,
    state_dir: PathBuf,
    runtime_dir: PathBuf,
    scrub: Scrub,
    /// Why not everything that is secret is known.
    blind: Vec<String>,
}

/// Runs the verb.
pub fn run(globals: &Globals, args: &Args) -> Done {
    let target = args.output.clone().unwrap_or_else(usual_name);
    if target.exists() && !args.overwrite {
        return Err(Failure::usage(format!(
            "{}: exists already. Name another file with --output, or say --overwrite.",
            target.display()
        )));
    }
    let (mut ground, facts) = Ground::new(globals);
    let mut archive = Archive::default();
    archive.add(
        "versions.json",
        "versions of layerd, kernel, distribution",
        pretty(&host::versions()),
    );
    let (words, text) = match &ground.config {
        Ok(text) => (
            "the configuration; *** stands for secrets and comments",
            shown_config(text).text,
        ),
        Err(why) => ("why the configuration could not be read", format!("{why}\n")),
    };
    archive.add("layerd.toml", words, text);
    let database = match &facts {
        Ok(facts) => pretty(&Value::Object(facts.told.clone())),
        Err(why) => format!("{why}\n"),
    };
    archive.add(
        "database.json",
        "sizes, rows per table and soundness of the database",
        database,
    );
    block_on(gather(globals, args, &mut ground, facts, &mut archive))?;
    archive.add(
        "host.txt",
        "memory, disks, open files, limits, directories",
        ground.host(),
    );
    archive.add(
        "serial.txt",
        "serial ports: names, permissions, who uses them",
        host::serial(),
    );
    let written = archive.write(&target, args.overwrite, &ground.scrub, &ground.blind)?;
    tell(globals, &target, &written, &ground.blind);
    Ok(Exit::Good)
}

async fn gather(
    globals: &Globals,
    args: &Args,
    ground: &mut Ground,
    facts: Result<Facts, String>,
    archive: &mut Archive,
) {
    let checked = match &ground.config {
        Ok(_) => check::report(&ground.config_path).await,
        Err(why) => json!({"ok": false, "message": why}),
    };
    archive.add(
        "check.json",
        "mistakes of the configuration; what can be reached",
        pretty(&checked),
    );
    if let (true, Ok(facts)) = (ground.blind.is_empty(), &facts) {
        archive.add(
            "jobs.json",
            "the last prints: how they began, where they stand, how they ended",
            pretty(&Value::Array(facts.jobs.clone())),
        );
    }
    let up = daemon::gather(globals, &ground.blind, archive).await;
    if let (false, Ok(facts)) = (up, &facts)
        && ground.blind.is_empty()
    {
        for (name, lines) in &facts.journals {
            let name = format!("printers/{}/journal.txt", archive::plain(name));
            archive.add(
                &name,
                "what happened to the printer, from the database",
                lines.join("\n"),
            );
        }
    }
    host::logs(args.log.as_deref(), &ground.blind, archive).await;
}

impl Ground {
    fn new(globals: &Globals) -> (Self, Result<Facts, String>) {
        let around = Surroundings::of_process();
        let config_path = globals.config_path().to_owned();
        let config = read(&config_path, CONFIG_MAX);
        let text = config.as_deref().unwrap_or_default();
        let mut ground = Ground {
            state_dir: state_dir(text, &around),
            runtime_dir: runtime_dir(text, &around),
            scrub: Scrub::default(),
            blind: Vec::new(),
            config_path,
            config: Ok(text.to_owned()),
        };
        if let Err(error) = &config {
            let why = format!("{}: {error}", ground.config_path.display());
            if error.kind() != std::io::ErrorKind::NotFound {
                ground.blind.push(why.clone());
            }
            ground.config = Err(why);
        }
        ground.learn(text);
        let path = ground.state_dir.join(FILE_NAME);
        let facts = Facts::read(&path, FACTS_LIMIT, JOURNAL_LINES);
        match &facts {
            Ok(facts) => facts.secrets.iter().for_each(|s| ground.scrub.learn(s)),
            Err(_) if path.try_exists().is_ok_and(|there| !there) => {}
            Err(why) => ground.blind.push(why.clone()),
        }
        (ground, facts)
    }

    /// What the configuration and its files say is secret.
    fn learn(&mut self, text: &str) {
        let shown = shown_config(text);
        shown.secrets.iter().for_each(|s| self.scrub.learn(s));
        for file in &shown.files {
            match read(file, SECRET_FILE_MAX) {
                Ok(text) => self.scrub.learn(&Secret::new(text.trim())),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => self.blind.push(format!("{}: {error}", file.display())),
            }
        }
    }

    fn host(&self) -> String {
        host::facts(&[
            ("configuration", &self.config_path),
            ("state directory", &self.state_dir),
            ("runtime directory", &self.runtime_dir),
        ])
    }
}

fn read(path: &Path, most: u64) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    // What is not text is a mistake that `check` tells; the rest of it may still be read.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn pretty(value: &Value) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    text + "\n"
}

fn usual_name() -> PathBuf {
    let host = Surroundings::of_process().host_name;
    let host = archive::plain(host.as_deref().unwrap_or("host"));
    let now = format!("{:.0}", Zoned::now().datetime())
        .replace(['-', ':'], "")
        .replace('T', "-");
    PathBuf::from(format!("layerd-support-{host}-{now}.zip"))
}

fn tell(globals: &Globals, target: &Path, written: &archive::Written, blind: &[String]) {
    if globals.json {
        let entries: Vec<Value> = written
            .entries
            .iter()
            .map(|(name, bytes, what)| json!({"name": name, "bytes": bytes, "what": what}))
            .collect();
        out::json(&json!({
            "file": target.display().to_string(), "bytes": written.bytes, "made": Timestamp::now().to_string(),
            "left_out_because": blind, "entries": entries,
        }));
        return;
    }
    for (name, bytes, what) in &written.entries {
        out::line(format!("{bytes:>9}  {name:<34} {what}"));
    }
    for why in blind {
        out::line(format!(
            "left out: logs, states and raw traffic, for not all secrets could be known: {why}"
        ));
    }
    if !blind.is_empty() {
        out::line("Run it with sudo for the whole.");
    }
    out::line(format!(
        "{}: {} bytes, readable for you only. Secrets were replaced by ***. It still names your printers, files \
         and hosts: look into it before you send it (unzip -p FILE | less).",
        target.display(),
        written.bytes
    ));
}
