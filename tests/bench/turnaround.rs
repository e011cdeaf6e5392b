//! How long the printer waits for its next line: from `ok` written to the next line read.
//!
//! ```text
//! cargo bench --bench turnaround            # idle, then under load, 20 s each
//! cargo bench --bench turnaround -- --seconds 60
//! ```
//!
//! The whole daemon (this process) is pinned to one CPU, the printer (a child process, a pty) to
//! another. The printer answers after a millisecond, as a board does. Under load means, in the same
//! daemon: analysis of a big file in the analysis pool, TLS handshakes back to back, commits to the
//! database, and snapshots rendered for readers.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};

use layerd::agent::handle::PrintOrder;
use layerd::agent::run::Agent;

fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    if let Err(error) = sched_setaffinity(None, &set) {
        eprintln!("not pinned to CPU {cpu}: {error}");
    }
}

/// The printer: a pty, an answer after a millisecond, a clock.
fn printer() {
    pin(1);
    let master = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY).expect("pty");
    rustix::pty::grantpt(&master).expect("grant");
    rustix::pty::unlockpt(&master).expect("unlock");
    let name = rustix::pty::ptsname(&master, Vec::new()).expect("name").into_string().expect("utf-8");
    let slave = std::fs::OpenOptions::new().read(true).write(true).open(&name).expect("slave");
    let mut raw = rustix::termios::tcgetattr(&slave).expect("termios");
    raw.make_raw();
    rustix::termios::tcsetattr(&slave, rustix::termios::OptionalActions::Now, &raw).expect("raw");
    println!("{name}");
    let phase_over = Arc::new(AtomicBool::new(false));
    {
        let phase_over = phase_over.clone();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines() {
                match line {
                    Ok(_) => phase_over.store(true, Ordering::SeqCst),
                    Err(_) => break,
                }
            }
            std::process::exit(0);
        });
    }
    let mut waits_us: Vec<u32> = Vec::with_capacity(1 << 20);
    let mut rest = Vec::new();
    let mut buffer = [0u8; 4096];
    let mut answered: Option<Instant> = None;
    let mut report = Instant::now();
    loop {
        let mut fds = [rustix::event::PollFd::new(&master, rustix::event::PollFlags::IN)];
        let wait = rustix::event::Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
        let ready = rustix::event::poll(&mut fds, Some(&wait)).unwrap_or(0);
        if phase_over.swap(false, Ordering::SeqCst) {
            waits_us.sort_unstable();
            let at = |q: f64| waits_us.get(((waits_us.len() as f64 - 1.0) * q) as usize).copied().unwrap_or(0);
            println!(
                "{} lines  p50 {} µs  p99 {} µs  p99.9 {} µs  max {} µs",
                waits_us.len(),
                at(0.5),
                at(0.99),
                at(0.999),
                at(1.0)
            );
            waits_us.clear();
            answered = None;
        }
        if ready == 0 {
            continue;
        }
        let count = rustix::io::read(&master, &mut buffer).unwrap_or(0);
        let seen = Instant::now();
        rest.extend_from_slice(&buffer[..count]);
        while let Some(end) = memchr::memchr(b'\n', &rest) {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let text = String::from_utf8_lossy(&line).into_owned();
            let motion = text.contains("G1 ");
            if let (true, Some(since)) = (motion, answered.take()) {
                waits_us.push(seen.duration_since(since).as_micros() as u32);
            }
            let answer = if text.contains("M115") {
                "FIRMWARE_NAME:Marlin 2.1.2 MACHINE_TYPE:Bench EXTRUDER_COUNT:1\nCap:AUTOREPORT_TEMP:1\nCap:EMERGENCY_PARSER:1\nok\n"
            } else if text.contains("M105") {
                "ok T:22.0 /0.0 B:22.0 /0.0\n"
            } else if text.contains("M114") {
                "X:0.00 Y:0.00 Z:0.00 E:0.00 Count X:0 Y:0 Z:0\nok\n"
            } else {
                "ok\n"
            };
            let due = Instant::now() + Duration::from_millis(1);
            while let Some(left) = due.checked_duration_since(Instant::now()) {
                std::thread::sleep(left);
            }
            answered = motion.then(Instant::now);
            let _ = rustix::io::write(master.as_fd(), answer.as_bytes());
            if report.elapsed() > Duration::from_secs(2) {
                report = Instant::now();
                let _ = rustix::io::write(master.as_fd(), b" T:22.0 /0.0 B:22.0 /0.0 @:0 B@:0\n");
            }
        }
    }
}

struct Printer {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    path: String,
}

impl Printer {
    fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().expect("own path"))
            .arg("printer")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("printer");
        let stdin = child.stdin.take().expect("stdin");
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout"));
        let mut path = String::new();
        stdout.read_line(&mut path).expect("path");
        Printer { child, stdin, stdout, path: path.trim().to_owned() }
    }

    fn phase(&mut self) -> String {
        writeln!(self.stdin, "over").expect("printer alive");
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("printer alive");
        line.trim().to_owned()
    }
}

/// What goes on beside the print, and how much of it got done.
#[derive(Default)]
struct Load {
    on: AtomicBool,
    handshakes: AtomicU64,
    commits: AtomicU64,
    analyses: AtomicU64,
    views: AtomicU64,
}

fn main() {
    let mut args = std::env::args().skip(1);
    let mut seconds = 20;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "printer" => return printer(),
            "--seconds" => seconds = args.next().and_then(|s| s.parse().ok()).unwrap_or(seconds),
            // What `cargo bench` itself adds.
            _ => {}
        }
    }
    let printer = Printer::start();
    // Before any thread exists: all of the daemon's threads inherit it.
    pin(0);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    runtime.block_on(bench(printer, seconds));
}

include!("turnaround_load.rs");
