//! How long a demand of the cloud takes to the first byte at the printer, with many printers printing, and
//! what they cost in memory and CPU.
//!
//! ```text
//! cargo build --profile quick --bins --examples
//! target/quick/examples/demand-latency target/quick/layerd [PRINTERS] [SECONDS] [MS_PER_LINE]
//! ```
//!
//! The daemon is a process of its own under a simulated cloud on loopback. Each printer is a pty that answers
//! `ok` MS_PER_LINE after a line, one line at a time: a tuning command can go out only when the line before
//! it was answered, so a part of each sample is the printer's own time, up to MS_PER_LINE. `own_…` is the
//! time from when the line was free (the demand, or the first answer after it) to the arrival.

#![allow(clippy::disallowed_methods, reason = "a measuring instrument, not the daemon")]

use std::collections::VecDeque;
use std::error::Error;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use layerd::upstream::simplyprint::sim::{Options, SimCloud};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

type Failure = Box<dyn Error + Send + Sync>;

/// When a tuning command came, and when the last lines before it were answered.
type Arrival = (Instant, Vec<Instant>);

/// A pty that answers; tells when a tuning command arrives.
fn printer(work: Duration, arrived: Sender<Arrival>) -> Result<PathBuf, Failure> {
    let master: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let path = PathBuf::from(name.to_str()?);
    // Held open, so that the master does not see a hangup before the daemon comes; raw from the start.
    let slave = std::fs::File::options().read(true).write(true).open(&path)?;
    let mut modes = rustix::termios::tcgetattr(&slave)?;
    modes.make_raw();
    rustix::termios::tcsetattr(&slave, rustix::termios::OptionalActions::Now, &modes)?;
    let mut port = std::fs::File::from(master);
    std::thread::spawn(move || {
        let _slave = slave;
        let mut buffer = [0_u8; 4096];
        let mut line = Vec::new();
        let mut answered: VecDeque<Instant> = VecDeque::new();
        while let Ok(n) = port.read(&mut buffer) {
            let now = Instant::now();
            for byte in buffer.iter().take(n) {
                if *byte != b'\n' {
                    line.push(*byte);
                    continue;
                }
                let text = String::from_utf8_lossy(&line).into_owned();
                line.clear();
                if text.contains("M220 S") {
                    let _ = arrived.send((now, answered.iter().copied().collect()));
                }
                let answer = if text.contains("M115") {
                    "FIRMWARE_NAME:Marlin 2.1.2 MACHINE_TYPE:bench\nCap:EMERGENCY_PARSER:1\nok\n"
                } else if text.contains("M105") {
                    "ok T:200.0 /200.0 B:60.0 /60.0 @:0 B@:0\n"
                } else {
                    if text.contains("G1 ") {
                        std::thread::sleep(work);
                    }
                    "ok\n"
                };
                if port.write_all(answer.as_bytes()).is_err() {
                    return;
                }
                answered.push_back(Instant::now());
                if answered.len() > 64 {
                    answered.pop_front();
                }
            }
        }
    });
    Ok(path)
}

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.0),
            rustix::process::Signal::TERM,
        );
        let _ = self.0.wait();
    }
}

/// CPU seconds and resident memory (all, anonymous) in kB.
fn cost(pid: u32) -> Result<(f64, u64, u64), Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |n: usize| fields.get(n).and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kb = |key: &str| {
        status
            .lines()
            .find_map(|l| l.strip_prefix(key)?.split_whitespace().next()?.parse().ok())
            .unwrap_or(0)
    };
    Ok(((ticks(11) + ticks(12)) / 100.0, kb("VmRSS:"), kb("RssAnon:")))
}

fn config(dir: &Path, cloud: &SimCloud, ports: &[PathBuf]) -> String {
    let mut text = format!(
        "[agent]\nstate_dir = {:?}\nruntime_dir = {:?}\n[api]\nlisten = []\n[upstream.simplyprint]\nws_url = {:?}\napi_url = {:?}\n",
        dir.join("state"),
        dir.join("run"),
        cloud.ws_url(),
        cloud.api_url()
    );
    for (n, port) in ports.iter().enumerate() {
        text += &format!(
            "[printer.p{n}]\ndriver = \"marlin\"\nport = {port:?}\nbaud = 115200\nbed = [220, 220, 250]\non_stop = \"cancel\"\n"
        );
    }
    text
}

fn program(path: &Path) -> Result<(), Failure> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    writeln!(file, ";FLAVOR:Marlin\nG90\nM83\nG28\nG1 Z0.2 F600")?;
    for n in 0..60_000_u32 {
        writeln!(file, "G1 X{}.5 Y{}.25 E0.01 F1800", 50 + n % 100, 50 + n % 97)?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut words = std::env::args().skip(1);
    let layerd = words.next().ok_or("name the layerd binary")?;
    let mut number = |default: u64| words.next().and_then(|w| w.parse().ok()).unwrap_or(default);
    let (printers, seconds, work_ms) = (number(20) as usize, number(20), number(2));
    let dir = std::env::temp_dir().join(format!("layerd-demands-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let file = dir.join("long.gcode");
    program(&file)?;
    let cloud = SimCloud::start(Options {
        claim_after: Some(Duration::from_millis(50)),
        files: std::iter::once(("long.gcode".to_owned(), file)).collect(),
        ..Options::default()
    })
    .await?;
    let (arrived, arrivals): (Sender<Arrival>, Receiver<_>) = channel();
    let ports: Vec<PathBuf> = (0..printers)
        .map(|_| printer(Duration::from_millis(work_ms), arrived.clone()))
        .collect::<Result<_, _>>()?;
    let config_path = dir.join("layerd.toml");
    std::fs::write(&config_path, config(&dir, &cloud, &ports))?;
    let log = std::fs::File::create(dir.join("log"))?;
    let daemon = Command::new(layerd)
        .arg("--config")
        .arg(&config_path)
        .arg("run")
        .stderr(log)
        .stdout(Stdio::null())
        .spawn()?;
    let daemon = Daemon(daemon);
    let pid = daemon.0.id();
    let until = |word: &'static str| {
        let cloud = &cloud;
        async move {
            for _ in 0..1200 {
                let known = cloud.printers();
                let there = known
                    .iter()
                    .filter(|p| p.id > 0 && p.state.as_deref() == Some(word))
                    .count();
                if there == printers {
                    return Ok::<(), Failure>(());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(format!("not all printers are {word}: {:?}", cloud.printers()).into())
        }
    };
    until("operational").await?;
    let idle = cost(pid)?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let idle_cpu = cost(pid)?.0 - idle.0;
    for n in 0..printers {
        cloud.print(n, "long.gcode", 100 + n as i64, true);
    }
    until("printing").await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    while arrivals.try_recv().is_ok() {}
    // The order in which printers came to the cloud is not that of the ports: told apart by the value.
    let before = cost(pid)?;
    let began = Instant::now();
    let mut samples = Vec::new();
    let mut own = Vec::new();
    let mut lost = 0;
    let mut turn = 0_usize;
    while began.elapsed() < Duration::from_secs(seconds) {
        let asked = Instant::now();
        let percent = 80 + turn % 40;
        cloud.demand(
            turn % printers,
            serde_json::json!({"demand": "gcode", "list": [format!("M220 S{percent}")]}),
        );
        turn += 1;
        let mut got = None;
        while got.is_none() && asked.elapsed() < Duration::from_secs(2) {
            match arrivals.try_recv() {
                Ok((at, answered)) => {
                    // One line is in flight at a time: before its answer nothing can go out.
                    let free = answered.into_iter().find(|t| *t >= asked).unwrap_or(asked);
                    own.push(at.saturating_duration_since(free));
                    got = Some(at.saturating_duration_since(asked));
                }
                Err(_) => tokio::time::sleep(Duration::from_micros(200)).await,
            }
        }
        match got {
            Some(time) => samples.push(time),
            None => lost += 1,
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let after = cost(pid)?;
    let took = began.elapsed().as_secs_f64();
    samples.sort();
    own.sort();
    let share_of = |samples: &[Duration], share: f64| -> f64 {
        let index = ((samples.len() as f64 * share) as usize).min(samples.len().saturating_sub(1));
        samples.get(index).map_or(f64::NAN, |d| d.as_secs_f64() * 1e3)
    };
    let at = |share: f64| share_of(&samples, share);
    let own_at = |share: f64| share_of(&own, share);
    let per = printers as f64;
    println!(
        "{}",
        serde_json::json!({
            "printers": printers, "ms_per_line": work_ms, "samples": samples.len(), "lost": lost,
            "p50_ms": at(0.5), "p90_ms": at(0.9), "p99_ms": at(0.99), "max_ms": at(1.0),
            "own_p50_ms": own_at(0.5), "own_p99_ms": own_at(0.99), "own_max_ms": own_at(1.0),
            "rss_mb": after.1 as f64 / 1024.0, "anon_mb": after.2 as f64 / 1024.0,
            "idle_rss_mb": idle.1 as f64 / 1024.0, "idle_anon_mb": idle.2 as f64 / 1024.0,
            "idle_cpu_percent_per_printer": idle_cpu / 5.0 * 100.0 / per,
            "cpu_percent_per_printer": (after.0 - before.0) / took * 100.0 / per,
        })
    );
    drop(daemon);
    let _ = std::fs::remove_dir_all(&dir);
    Ok(())
}
