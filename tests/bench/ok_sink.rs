//! The fastest Marlin there can be, on a pty: checks numbers and checksums, answers `ok`, counts and times.
//!
//! ```text
//! cargo run --profile quick --example ok-sink -- --link ./printer --received got.gcode
//! ```
//!
//! First line on stdout: `PTY <path>`. When stdin closes, or after `--seconds`, one line of JSON: lines a
//! second by this end's clock, errors, and the turnaround of motion lines (`ok` written until the next
//! line is read) in microseconds, with the five worst and which samples they were. Two motion lines in a row
//! are a sample; lines sent ahead are not.
//!
//! | option | does |
//! |---|---|
//! | `--baud N` | bytes take their time on the wire, each way |
//! | `--latency-us N` | answers arrive later by this; lines in flight overlap |
//! | `--work-us N` | each line takes this long before the next is looked at (a full planner, for one) |
//! | `--corrupt-every N`, `--drop-ok-every N` | damage |
//! | `--advanced-ok` | `ok N12 P15 B3` |
//! | `--spin` | polls without sleeping, so that its own wake-up is not in the turnaround |

use std::collections::VecDeque;
use std::error::Error;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Most turnaround samples kept: 16 MB.
const SAMPLES_MAX: usize = 4_000_000;

#[derive(Default)]
struct Options {
    link: Option<String>,
    received: Option<String>,
    baud: u32,
    latency: Duration,
    work: Duration,
    corrupt_every: u64,
    drop_ok_every: u64,
    advanced_ok: bool,
    spin: bool,
    seconds: f64,
}

fn options() -> Result<Options, Box<dyn Error>> {
    let mut o = Options {
        seconds: 3600.0,
        ..Options::default()
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--link" => o.link = Some(value()?),
            "--received" => o.received = Some(value()?),
            "--baud" => o.baud = value()?.parse()?,
            "--latency-us" => o.latency = Duration::from_micros(value()?.parse()?),
            "--work-us" => o.work = Duration::from_micros(value()?.parse()?),
            "--corrupt-every" => o.corrupt_every = value()?.parse()?,
            "--drop-ok-every" => o.drop_ok_every = value()?.parse()?,
            "--advanced-ok" => o.advanced_ok = true,
            "--spin" => o.spin = true,
            "--seconds" => o.seconds = value()?.parse()?,
            _ => return Err(format!("unknown option {word}").into()),
        }
    }
    Ok(o)
}

#[derive(Default)]
struct Counts {
    numbered: u64,
    bad: u64,
    oks: u64,
    lost_oks: u64,
    plain: u64,
    first: Option<(Instant, u64)>,
    latest: Option<(Instant, u64)>,
}

struct Sink {
    o: Options,
    master: OwnedFd,
    received: Option<BufWriter<File>>,
    last: i64,
    counts: Counts,
    /// When the `ok` of a motion line left, until the next line is there.
    ok_left: Option<Instant>,
    /// The latest line was one.
    after_motion: bool,
    turnaround_ns: Vec<u32>,
    arrivals: VecDeque<(Instant, Vec<u8>)>,
    replies: VecDeque<(Instant, Vec<u8>)>,
    line_in_free: Instant,
    line_out_free: Instant,
    printer_free: Instant,
}

fn every(n: u64, count: u64) -> bool {
    n > 0 && count.is_multiple_of(n)
}

fn is_motion(command: &str) -> bool {
    command.starts_with("G1 ") || command.starts_with("G0 ")
}

/// Number, command and whether the checksum is right.
fn numbered(line: &str) -> Option<(i64, &str, bool)> {
    let (number, rest) = line.strip_prefix('N')?.split_once(' ')?;
    let number = number.parse().ok()?;
    let Some((command, sum)) = rest.rsplit_once('*') else {
        return Some((number, rest, false));
    };
    let body = line.len() - sum.len() - 1;
    let right = line.bytes().take(body).fold(0, |x, b| x ^ b);
    Some((number, command, sum.trim().parse() == Ok(right)))
}

impl Sink {
    fn write(&mut self, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            match rustix::io::write(&self.master, bytes) {
                Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn byte_time(&self, bytes: usize) -> Duration {
        match self.o.baud {
            0 => Duration::ZERO,
            baud => Duration::from_secs_f64(bytes as f64 * 10.0 / f64::from(baud)),
        }
    }

    /// Sends an answer whose cause was complete at `at`.
    fn answer(&mut self, at: Instant, text: &str) -> Result<(), Errno> {
        if self.o.baud == 0 && self.o.latency.is_zero() && self.o.work.is_zero() {
            return self.write(text.as_bytes());
        }
        let begin = self.line_out_free.max(at + self.o.latency);
        self.line_out_free = begin + self.byte_time(text.len());
        self.replies
            .push_back((self.line_out_free, text.as_bytes().to_vec()));
        Ok(())
    }

    fn ok(&mut self, at: Instant, number: Option<i64>, tail: &str) -> Result<(), Errno> {
        self.counts.oks += 1;
        if every(self.o.drop_ok_every, self.counts.oks) {
            self.counts.lost_oks += 1;
            return Ok(());
        }
        match number {
            Some(n) if self.o.advanced_ok => self.answer(at, &format!("ok N{n} P15 B3{tail}\n")),
            _ if tail.is_empty() => self.answer(at, "ok\n"),
            _ => self.answer(at, &format!("ok{tail}\n")),
        }
    }

    fn refuse(&mut self, at: Instant, why: &str) -> Result<(), Errno> {
        self.counts.bad += 1;
        let text = format!(
            "Error:{why}, Last Line: {}\nResend: {}\n",
            self.last,
            self.last + 1
        );
        self.answer(at, &text)?;
        self.ok(at, None, "")
    }

    /// Executes one line; `at` is when it was there and the printer free for it.
    fn line(&mut self, at: Instant, read_at: Instant, raw: &[u8], alone: bool) -> Result<(), Box<dyn Error>> {
        let mut text = String::from_utf8_lossy(raw).trim_end().to_owned();
        if text.is_empty() {
            return Ok(());
        }
        let waited = self.ok_left.take();
        self.after_motion = false;
        let mut number = None;
        let mut command = text.clone();
        if text.starts_with('N') {
            self.counts.numbered += 1;
            if every(self.o.corrupt_every, self.counts.numbered) {
                text = text.replacen(' ', "!", 1);
            }
            let Some((n, rest, right)) = numbered(&text) else {
                return Ok(self.refuse(at, "checksum mismatch")?);
            };
            let sets_number = rest.starts_with("M110");
            if n != self.last + 1 && !sets_number {
                return Ok(self.refuse(at, "Line Number is not Last Line Number+1")?);
            }
            if !right {
                return Ok(self.refuse(at, "checksum mismatch")?);
            }
            self.last = n;
            number = Some(n);
            command = rest.to_owned();
            if let Some(out) = self.received.as_mut().filter(|_| !sets_number) {
                writeln!(out, "{rest}")?;
            }
        } else {
            self.counts.plain += 1;
        }
        if let Some(n) = command
            .strip_prefix("M110 N")
            .and_then(|w| w.split(['*', ' ']).next()?.parse().ok())
        {
            self.last = n;
        }
        match command.split(' ').next().unwrap_or_default() {
            "M105" => self.ok(at, number, " T:210.00 /210.00 B:60.00 /60.00 @:64 B@:32")?,
            "M115" => {
                self.answer(
                    at,
                    "FIRMWARE_NAME:Marlin 2.1 (ok sink) PROTOCOL_VERSION:1.0 MACHINE_TYPE:sink EXTRUDER_COUNT:1\n\
                     Cap:AUTOREPORT_TEMP:0\nCap:EMERGENCY_PARSER:0\n",
                )?;
                self.ok(at, number, "")?;
            }
            "M114" => {
                self.answer(at, "X:0.00 Y:0.00 Z:0.00 E:0.00 Count X:0 Y:0 Z:0\n")?;
                self.ok(at, number, "")?;
            }
            _ => self.ok(at, number, "")?,
        }
        // The program alone is timed: not the handshake before it, nor the polling behind it.
        if number.is_some() && is_motion(&command) {
            self.after_motion = true;
            let counts = &mut self.counts;
            counts.first.get_or_insert((read_at, counts.numbered));
            counts.latest = Some((read_at, counts.numbered));
        }
        if number.is_some() && is_motion(&command) {
            if let Some(left) = waited.filter(|_| alone && self.turnaround_ns.len() < SAMPLES_MAX) {
                let ns = read_at.saturating_duration_since(left).as_nanos();
                self.turnaround_ns.push(u32::try_from(ns).unwrap_or(u32::MAX));
            }
            if self.replies.is_empty() {
                self.ok_left = Some(Instant::now());
            }
        }
        Ok(())
    }

    /// Handles what is due and tells how long until something else is.
    fn turn(&mut self) -> Result<Option<Duration>, Box<dyn Error>> {
        let mut now = Instant::now();
        while self
            .arrivals
            .front()
            .is_some_and(|(at, _)| *at.max(&self.printer_free) <= now)
        {
            let Some((there, line)) = self.arrivals.pop_front() else {
                break;
            };
            let begin = there.max(self.printer_free);
            self.printer_free = begin + self.o.work;
            let done = self.printer_free;
            self.line(done, there, &line, true)?;
            now = Instant::now();
        }
        while self.replies.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, text)) = self.replies.pop_front() else {
                break;
            };
            self.write(&text)?;
            let last = self.after_motion && text.starts_with(b"ok") && self.replies.is_empty();
            self.ok_left = last.then(Instant::now);
            now = Instant::now();
        }
        let next_line = self.arrivals.front().map(|(at, _)| *at.max(&self.printer_free));
        let next_reply = self.replies.front().map(|(at, _)| *at);
        let due = next_line.into_iter().chain(next_reply).min();
        Ok(due.map(|at| at.saturating_duration_since(now)))
    }

    fn run(&mut self) -> Result<(), Box<dyn Error>> {
        let begin = Instant::now();
        let mut buffer = vec![0u8; 65536];
        let mut rest: Vec<u8> = Vec::new();
        let timed = self.o.baud > 0 || !self.o.work.is_zero();
        let mut turns = 0u64;
        loop {
            let wait = self.turn()?;
            turns += 1;
            if self.o.spin && !turns.is_multiple_of(65536) {
                // Only the printer's side is looked at.
            } else {
                if begin.elapsed().as_secs_f64() > self.o.seconds {
                    return Ok(());
                }
                let stdin = std::io::stdin();
                let mut fds = [
                    PollFd::new(&self.master, PollFlags::IN),
                    PollFd::new(&stdin, PollFlags::IN),
                ];
                let wait = if self.o.spin {
                    Duration::ZERO
                } else {
                    wait.unwrap_or(Duration::from_millis(200))
                };
                let nap = Timespec {
                    tv_sec: i64::try_from(wait.as_secs())?,
                    tv_nsec: i64::from(wait.subsec_nanos()),
                };
                match poll(&mut fds, Some(&nap)) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(e) => return Err(e.into()),
                }
                let [printer, parent] = &fds;
                let (ready, over) = (printer.revents(), parent.revents());
                if !over.is_empty() && rustix::io::read(&stdin, &mut [0u8; 64]) == Ok(0) {
                    return Ok(());
                }
                if ready.is_empty() && !self.o.spin {
                    continue;
                }
            }
            let got = match rustix::io::read(&self.master, &mut buffer) {
                Ok(n) => n,
                Err(Errno::AGAIN | Errno::INTR) => continue,
                Err(Errno::IO) => return Ok(()),
                Err(e) => return Err(e.into()),
            };
            let read_at = Instant::now();
            let bytes = buffer.get(..got).unwrap_or_default();
            self.line_in_free = self.line_in_free.max(read_at);
            let lines = bytes.iter().filter(|b| **b == b'\n').count();
            for piece in bytes.split_inclusive(|b| *b == b'\n') {
                rest.extend_from_slice(piece);
                self.line_in_free += self.byte_time(piece.len());
                if !piece.ends_with(b"\n") {
                    continue;
                }
                let line = std::mem::take(&mut rest);
                if timed {
                    self.arrivals.push_back((self.line_in_free, line));
                } else {
                    self.line(read_at, read_at, &line, lines == 1)?;
                }
            }
        }
    }

    fn report(&mut self) -> String {
        let c = &self.counts;
        let (span, lines) = match (c.first, c.latest) {
            (Some((first, from)), Some((latest, to))) => {
                (latest.duration_since(first).as_secs_f64(), to - from)
            }
            _ => (0.0, 0),
        };
        let rate = if span > 0.0 { lines as f64 / span } else { 0.0 };
        let mut out = format!(
            "{{\"numbered\":{},\"plain\":{},\"refused\":{},\"lost_oks\":{},\"seconds\":{span:.3},\"lines_per_s\":{rate:.1}",
            c.numbered, c.plain, c.bad, c.lost_oks
        );
        let mut worst: Vec<(u32, usize)> = self.turnaround_ns.iter().copied().zip(1..).collect();
        worst.sort_unstable_by(|a, b| b.cmp(a));
        self.turnaround_ns.sort_unstable();
        let count = self.turnaround_ns.len();
        let _ = write!(out, ",\"turnaround_us\":{{\"samples\":{count}");
        for (name, share) in [
            ("p50", 0.5),
            ("p90", 0.9),
            ("p99", 0.99),
            ("p999", 0.999),
            ("max", 1.0),
        ] {
            let at = ((count as f64 * share) as usize).min(count.saturating_sub(1));
            let us = self
                .turnaround_ns
                .get(at)
                .map_or(0.0, |ns| f64::from(*ns) / 1000.0);
            let _ = write!(out, ",\"{name}\":{us:.1}");
        }
        out.push_str(",\"worst\":[");
        for (i, (ns, sample)) in worst.iter().take(5).enumerate() {
            let comma = if i == 0 { "" } else { "," };
            let _ = write!(out, "{comma}[{:.1},{sample}]", f64::from(*ns) / 1000.0);
        }
        out.push_str("]}}");
        out
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let o = options()?;
    let master = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY)?;
    rustix::pty::grantpt(&master)?;
    rustix::pty::unlockpt(&master)?;
    let path = rustix::pty::ptsname(&master, Vec::new())?.into_string()?;
    // Kept open, so that hosts may come and go.
    let slave = rustix::fs::open(path.as_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty())?;
    let mut raw = rustix::termios::tcgetattr(&slave)?;
    raw.make_raw();
    rustix::termios::tcsetattr(&slave, rustix::termios::OptionalActions::Now, &raw)?;
    rustix::fs::fcntl_setfl(&master, OFlags::NONBLOCK | OFlags::RDWR)?;
    if let Some(link) = &o.link {
        let _ = std::fs::remove_file(link);
        std::os::unix::fs::symlink(&path, link)?;
    }
    println!("PTY {path}");
    let now = Instant::now();
    let received = o.received.as_ref().map(File::create).transpose()?;
    let mut sink = Sink {
        received: received.map(BufWriter::new),
        o,
        master,
        last: 0,
        counts: Counts::default(),
        ok_left: None,
        after_motion: false,
        turnaround_ns: Vec::new(),
        arrivals: VecDeque::new(),
        replies: VecDeque::new(),
        line_in_free: now,
        line_out_free: now,
        printer_free: now,
    };
    sink.write(b"start\necho:ok sink\n")?;
    sink.run()?;
    if let Some(out) = sink.received.as_mut() {
        out.flush()?;
    }
    println!("{}", sink.report());
    Ok(())
}
