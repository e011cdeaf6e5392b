//! Measures the Bambu Lab driver's parts alone.
//!
//! `bambu-bench report [rounds]`: a report of 16 kB read and merged, against serde_json passing over the
//! same document ([`IgnoredAny`]), and the allocations of one report once the state is known.
//! `bambu-bench upload PORT FILE DIR NAME`: the driver's upload to a stand-in on loopback, seconds.

use std::alloc::System;
use std::path::Path;
use std::time::Instant;

use layerd::config::Secret;
use layerd::drivers::bambu::ftps::{Patience, Server, upload};
use layerd::drivers::bambu::orders::StartOptions;
use layerd::drivers::bambu::proto::Core;
use layerd::drivers::bambu::tls::PrinterTls;
use layerd::printer::model::Now;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The report of a real X1 (see fixtures/bambu) with four full AMS units, as such a printer sends it every second.
fn big_report(percent: u32) -> String {
    let text = include_str!("../../fixtures/bambu/x1-idle-old.json");
    let mut report: Value = serde_json::from_str(text).unwrap_or_default();
    let tray = |id: u32| {
        json!({"id": id.to_string(), "bed_temp": "0", "bed_temp_type": "0", "cols": ["F95959FF"], "ctype": 0,
            "drying_temp": "55", "drying_time": "8", "nozzle_temp_max": "230", "nozzle_temp_min": "190",
            "remain": 71, "state": 11, "tag_uid": "0000000000000000", "total_len": 330000,
            "tray_color": "F95959FF", "tray_diameter": "1.75", "tray_id_name": "A00-R0",
            "tray_info_idx": "GFL00", "tray_sub_brands": "PLA Basic", "tray_type": "PLA",
            "tray_uuid": "00000000000000000000000000000000", "tray_weight": "1000",
            "xcam_info": "000000000000000000000000"})
    };
    let unit = |id: u32| {
        json!({"id": id.to_string(), "humidity": "4", "humidity_raw": "23", "info": "1003", "temp": "23.9",
            "dry_time": 0, "tray": (0..4).map(tray).collect::<Vec<_>>()})
    };
    if let Some(print) = report.get_mut("print").and_then(Value::as_object_mut) {
        print.insert("mc_percent".into(), json!(percent));
        print.insert(
            "ams".into(),
            json!({"ams": (0..4).map(unit).collect::<Vec<_>>(), "ams_exist_bits": "f",
                "tray_exist_bits": "ffff", "tray_now": "255", "version": 4}),
        );
    }
    serde_json::to_string_pretty(&report).unwrap_or_default()
}

fn report(rounds: u32) {
    let now = Now {
        mono: Instant::now(),
        wall: jiff::Timestamp::now(),
    };
    let mut core = Core::new("00M00A000000001", StartOptions::default(), None, 1, now.mono);
    core.connected(now);
    let texts = [big_report(41), big_report(42)];
    let take = |core: &mut Core, n: u32| {
        let text = texts.get(n as usize % 2).map_or("", String::as_str);
        core.message(now, text.as_bytes());
        while core.poll().is_some() {}
    };
    for n in 0..100 {
        take(&mut core, n);
    }
    let (mut best, mut floor) = (f64::MAX, f64::MAX);
    for _ in 0..rounds {
        let began = Instant::now();
        for n in 0..200 {
            take(&mut core, n);
        }
        best = best.min(began.elapsed().as_secs_f64() / 200.0);
        let began = Instant::now();
        for n in 0..200 {
            let text = texts.get(n % 2).map_or("", String::as_str);
            std::hint::black_box(serde_json::from_str::<IgnoredAny>(text).is_ok());
        }
        floor = floor.min(began.elapsed().as_secs_f64() / 200.0);
    }
    let region = Region::new(GLOBAL);
    for n in 0..100 {
        take(&mut core, n);
    }
    let used = region.change();
    println!(
        "report of {} bytes: read and merged {:.1} µs, passed over {:.1} µs, ratio {:.2}; {:.1} allocations, {:.0} bytes each",
        texts.first().map_or(0, String::len),
        best * 1e6,
        floor * 1e6,
        best / floor,
        (used.allocations + used.reallocations) as f64 / 100.0,
        used.bytes_allocated as f64 / 100.0,
    );
}

async fn send(port: u16, file: &Path, dir: &Path, name: &str) -> Result<f64, String> {
    let server = Server {
        host: "127.0.0.1".into(),
        port,
        code: Secret::new("12345678"),
        tls: PrinterTls::new(dir, "bench", "01P00A000000001").map_err(|e| e.to_string())?,
        patience: Patience::default(),
    };
    let size = std::fs::metadata(file).map_err(|e| e.to_string())?.len();
    let began = Instant::now();
    upload(&server, file, name, size, &mut |_| {})
        .await
        .map_err(|f| f.to_string())?;
    Ok(began.elapsed().as_secs_f64())
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["report", rest @ ..] => report(rest.first().and_then(|n| n.parse().ok()).unwrap_or(50)),
        ["upload", port, file, dir, name] => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build();
            let done = runtime.map_err(|e| e.to_string()).and_then(|runtime| {
                let port = port.parse().map_err(|_| "PORT is a number".to_owned())?;
                runtime.block_on(send(port, Path::new(file), Path::new(dir), name))
            });
            match done {
                Ok(seconds) => println!("{seconds:.3}"),
                Err(text) => eprintln!("{text}"),
            }
        }
        _ => eprintln!("usage: bambu-bench report [ROUNDS] | upload PORT FILE DIR NAME"),
    }
}
