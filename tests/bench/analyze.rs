//! Measures the analyzer against the floor in one run, on the same file, by CPU time.
//!
//! `cargo run --release --example bench_analyze -- FILE [rounds]`. The floor is
//! `memchr_iter(b'\n', buf).count()` over 64 KiB reads; every figure is the best of the rounds.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

use layerd::gcode::analyze::Options;
use layerd::gcode::analyze_file::analyze_file;

fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let Some(path) = args.next().map(PathBuf::from) else {
        eprintln!("usage: bench_analyze FILE [rounds]");
        return Ok(());
    };
    let second = args.next();
    if second.as_deref() == Some("--json") {
        let options = Options {
            hash: false,
            ..Options::default()
        };
        match analyze_file(&path, &options, &mut |_, _| true) {
            Ok((analysis, index)) => {
                println!("{}", serde_json::to_string_pretty(&analysis).unwrap_or_default());
                eprintln!(
                    "index: {} checkpoints, {} bytes",
                    index.checkpoints(),
                    index.encode().len()
                );
            }
            Err(error) => eprintln!("{error}"),
        }
        return Ok(());
    }
    let rounds: u32 = second.and_then(|n| n.parse().ok()).unwrap_or(3);
    let off = Options {
        time_model: false,
        index: false,
        hash: false,
        ..Options::default()
    };
    let base = Options {
        time_model: false,
        hash: false,
        ..Options::default()
    };
    let full = Options {
        hash: false,
        ..Options::default()
    };
    let runs: [(&str, Option<Options>); 5] = [
        ("floor (memchr)", None),
        ("no time model, no index", Some(off)),
        ("no time model", Some(base)),
        ("everything but sha256", Some(full)),
        ("everything and sha256", Some(Options::default())),
    ];
    let mut best = [f64::MAX; 5];
    let mut wall = [f64::MAX; 5];
    let mut lines = 0;
    for _ in 0..rounds {
        for ((_, options), (best, wall)) in runs.iter().zip(best.iter_mut().zip(&mut wall)) {
            let (before, began) = (cpu_s(), Instant::now());
            match options {
                None => lines = floor(&path)?,
                Some(options) => {
                    if let Err(error) = analyze_file(&path, options, &mut |_, _| true) {
                        eprintln!("{error}");
                        return Ok(());
                    }
                }
            }
            *best = best.min(cpu_s() - before);
            *wall = wall.min(began.elapsed().as_secs_f64());
        }
    }
    let size = std::fs::metadata(&path)?.len() as f64 / 1e6;
    let floor = best.first().copied().unwrap_or(f64::NAN);
    println!("{lines} lines");
    for ((name, _), (cpu, wall)) in runs.iter().zip(best.into_iter().zip(wall)) {
        println!(
            "{name:<26} {cpu:8.3} s CPU  {wall:8.3} s wall  {:7.0} MB/s  {:6.1} x floor",
            size / cpu,
            cpu / floor
        );
    }
    println!("peak resident {} kB", peak_kb());
    Ok(())
}

fn floor(path: &Path) -> std::io::Result<usize> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 64 * 1024];
    let mut lines = 0;
    loop {
        let got = file.read(&mut buffer)?;
        if got == 0 {
            return Ok(lines);
        }
        lines += memchr::memchr_iter(b'\n', buffer.get(..got).unwrap_or_default()).count();
    }
}

fn cpu_s() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn peak_kb() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find(|l| l.starts_with("VmHWM"))
        .unwrap_or_default();
    line.split_whitespace().nth(1).unwrap_or("?").to_owned()
}
