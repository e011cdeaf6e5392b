//! `layerd self-test`: whether this machine and this binary can do the work. Needs no network and no
//! hardware, touches no configuration and no running daemon.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;

use super::client::block_on;
use super::exit::{Done, Exit};
use super::scratch::Scratch;
use super::{Globals, out};
use crate::agent::handle::{AgentHandle, PrintOrder, PrinterHandle};
use crate::daemon::{self, Daemon};
use crate::drivers::marlin::self_test;
use crate::drivers::marlin::sim::Options;
use crate::drivers::marlin::sim::pty::{PtyOptions, SimPty};
use crate::host::fdstore::FdStore;
use crate::host::serial::Roots;
use crate::host::systemd::Systemd;
use crate::job::record::JobState;
use crate::job::store::Store;
use crate::json::json;

/// How long the small print may take; emulated processors are slow.
const PRINT_LIMIT: Duration = Duration::from_secs(120);

/// How long the database may take for its few rows.
const STORE_LIMIT: Duration = Duration::from_secs(30);

/// How often the database is asked for the end.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Moves of the small print.
const MOVES: usize = 400;

/// Calls between the fault of the test and its task.
const CALLS: usize = 40;

/// One part of the test: what it is called, and what came of it.
struct Part {
    name: &'static str,
    result: Result<String, String>,
}

/// Runs the verb.
pub fn run(globals: &Globals) -> Done {
    let parts = block_on(async {
        let mut parts = Vec::new();
        for (name, result) in [
            ("faults", faults().await),
            ("tls", tls()),
            ("sqlite", sqlite().await),
            ("terminal", terminal().await),
            ("ports", Ok(self_test::ports(&Roots::default()))),
            ("print", print().await),
        ] {
            parts.push(Part { name, result });
        }
        parts
    })?;
    let good = parts.iter().all(|p| p.result.is_ok());
    if globals.json {
        let rows: Vec<Value> = parts
            .iter()
            .map(|p| match &p.result {
                Ok(text) => json!({"part": p.name, "ok": true, "message": text}),
                Err(text) => json!({"part": p.name, "ok": false, "message": text}),
            })
            .collect();
        out::json(&json!({"ok": good, "parts": rows}));
    } else {
        for part in &parts {
            match &part.result {
                Ok(text) => out::line(format!("ok    {}: {}", part.name, out::clean(text))),
                Err(text) => out::line(format!("FAIL  {}: {}", part.name, out::clean(text))),
            }
        }
    }
    Ok(if good { Exit::Good } else { Exit::Failed })
}

/// What goes wrong in one task ends that task alone, and what it held is let go on the way out: the tables that this takes
/// are in the program, and right. (Where they are not, the program ends here.)
async fn faults() -> Result<String, String> {
    let held = Arc::new(());
    let deep = held.clone();
    let end = tokio::task::JoinSet::from_iter([async move { descend(CALLS, deep) }])
        .join_next()
        .await;
    match end {
        Some(Err(end)) if end.is_panic() => {}
        _ => return Err("a task went on behind its fault".to_owned()),
    }
    match Arc::strong_count(&held) {
        1 => Ok(format!("one that was {CALLS} calls deep ended its task alone")),
        more => Err(format!("a fault left {} things behind", more - 1)),
    }
}

#[inline(never)]
fn descend(calls: usize, held: Arc<()>) -> usize {
    if calls == 0 {
        // As a panic does, but without its words in the log.
        std::panic::resume_unwind(Box::new("self-test"));
    }
    let mine = held.clone();
    descend(calls - 1, held) + Arc::strong_count(&mine)
}

/// The provider makes keys, and the one client of the process can be built with it.
fn tls() -> Result<String, String> {
    let provider = rustls::crypto::ring::default_provider();
    let group = provider
        .kx_groups
        .first()
        .ok_or("the provider offers no key exchange")?;
    group.start().map_err(|e| format!("no key could be made: {e}"))?;
    let suites = provider.cipher_suites.len();
    rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS 1.2 and 1.3 do not work: {e}"))?;
    reqwest::Client::builder().build().map_err(|e| {
        format!("the HTTPS client could not be made: {e}. Are the system's CA certificates installed?")
    })?;
    Ok(format!("rustls with ring, {suites} cipher suites"))
}

/// A row survives closing and opening again.
async fn sqlite() -> Result<String, String> {
    let scratch = scratch()?;
    let path = scratch.path().join("test.db");
    let asked = Instant::now();
    let work = async {
        let store = Store::open(&path)?;
        store.set_setting("self-test", Some("kept")).await?;
        store.close(STORE_LIMIT).await?;
        let store = Store::open(&path)?;
        let kept = store.setting("self-test").await?;
        store.close(STORE_LIMIT).await?;
        Ok::<_, crate::job::store::StoreError>(kept)
    };
    match tokio::time::timeout(STORE_LIMIT, work).await {
        Ok(Ok(Some(text))) if text == "kept" => Ok(format!(
            "version {}, written and read in {} ms",
            rusqlite::version(),
            asked.elapsed().as_millis()
        )),
        Ok(Ok(_)) => Err("what was written was not there afterwards".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", STORE_LIMIT.as_secs())),
    }
}

async fn terminal() -> Result<String, String> {
    match self_test::round_trip().await {
        Ok((took, any_speed)) => Ok(format!(
            "the simulated printer answered in {:.1} ms{}",
            took.as_secs_f64() * 1000.0,
            if any_speed {
                ""
            } else {
                "; only the usual speeds here, not 250000 baud"
            }
        )),
        Err(fault) => Err(format!("{fault} [{}]", fault.code)),
    }
}

/// A whole daemon prints a small file on the simulated printer, which must have executed every move.
async fn print() -> Result<String, String> {
    let scratch = scratch()?;
    let port = scratch.path().join("printer");
    let printer = SimPty::spawn(PtyOptions {
        sim: Options {
            speed: 1000.0,
            ..Options::default()
        },
        link: Some(port.clone()),
        ..PtyOptions::default()
    })
    .map_err(|e| format!("no pseudo-terminal: {e}"))?;
    let config = config_text(scratch.path(), &port);
    let config = daemon::parse_config(&config, "self-test").map_err(|e| e.to_string())?;
    let daemon = Daemon::start(config, None, Systemd::default(), Arc::new(FdStore::default()))
        .await
        .map_err(|e| e.to_string())?;
    let handle = daemon.handle();
    let mut result = Err(format!("it did not end within {} s", PRINT_LIMIT.as_secs()));
    let work = async {
        if let Ok(ended) = tokio::time::timeout(PRINT_LIMIT, print_through(&handle)).await {
            result = ended;
        }
    };
    daemon.run(work).await.map_err(|e| e.to_string())?;
    let took = result?;
    let moves = printer.with(|sim| {
        sim.executed()
            .iter()
            .filter(|e| e.text.contains(" E0.5 "))
            .count()
    });
    if moves != MOVES {
        return Err(format!("the printer executed {moves} of {MOVES} moves"));
    }
    Ok(format!(
        "{MOVES} moves printed on the simulated printer in {:.1} s",
        took.as_secs_f64()
    ))
}

async fn print_through(handle: &AgentHandle) -> Result<Duration, String> {
    let printer = handle.by_name("self-test").ok_or("the printer is not there")?;
    let program = program();
    let mut file = handle
        .spool()
        .incoming("self-test.gcode", Some(program.len() as u64))
        .await
        .map_err(|e| e.to_string())?;
    file.write(Bytes::from(program))
        .await
        .map_err(|e| e.to_string())?;
    let file = file.finish().await.map_err(|e| e.to_string())?;
    until_ready(&printer).await?;
    let begun = Instant::now();
    let order = PrintOrder {
        sha256: file.sha256,
        name: file.name,
        skip: Vec::new(),
        materials: Vec::new(),
        plate: None,
        start_id: None,
    };
    let (accepted, pending) = printer
        .print(order)
        .await
        .map_err(|refusal| refusal.to_string())?;
    let outcome = pending.outcome().await;
    if !outcome.is_ok() {
        return Err(format!("the start was {}: {}", outcome.word(), outcome.message()));
    }
    until_over(&printer).await?;
    // The end is seen a moment before it is in the database.
    loop {
        let record = handle
            .store()
            .job(accepted.uid)
            .await
            .map_err(|e| e.to_string())?;
        match record {
            Some(record) if record.state == JobState::Done => return Ok(begun.elapsed()),
            Some(record) if record.ended.is_some() => {
                let why = record.fault.map_or_else(String::new, |f| format!(": {f}"));
                return Err(format!("the print ended as {:?}{why}", record.state));
            }
            _ => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

async fn until_ready(printer: &PrinterHandle) -> Result<(), String> {
    let mut snapshots = printer.watch();
    let up = snapshots.wait_for(|s| s.state.is_up()).await;
    up.map(|_| ()).map_err(|_| "the printer went away".to_owned())
}

async fn until_over(printer: &PrinterHandle) -> Result<(), String> {
    let mut snapshots = printer.watch();
    let over = snapshots.wait_for(|s| s.state.job.is_none()).await;
    over.map(|_| ()).map_err(|_| "the printer went away".to_owned())
}

fn config_text(dir: &Path, port: &Path) -> String {
    // Debug quoting escapes what TOML escapes too.
    let quoted = |path: &Path| format!("{:?}", path.display().to_string());
    format!(
        "[agent]\nstate_dir = {}\nruntime_dir = {}\n[api]\nlisten = []\n[printer.self-test]\n\
         driver = \"marlin\"\nport = {}\nbaud = 115200\nbed = [220, 220, 250]\n",
        quoted(&dir.join("state")),
        quoted(&dir.join("run")),
        quoted(port),
    )
}

/// A zigzag of short extrusions in the middle of the bed.
fn program() -> String {
    let mut text = String::from("M140 S40\nM104 S200\nG28\nM109 S200\nG90\nM83\nG1 Z0.2 F3000\n");
    for n in 0..MOVES {
        let x = if n % 2 == 0 { 90 } else { 130 };
        let y = 90.0 + n as f64 * 0.1;
        text.push_str(&format!("G1 X{x} Y{y:.1} E0.5 F6000\n"));
    }
    text.push_str("M104 S0\nM140 S0\nM84\n");
    text
}

fn scratch() -> Result<Scratch, String> {
    Scratch::new("self-test").map_err(|e| format!("no directory for temporary files: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_part_passes_on_this_machine() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        tls().expect("TLS");
        sqlite().await.expect("SQLite");
        print().await.expect("a print");
    }
}
