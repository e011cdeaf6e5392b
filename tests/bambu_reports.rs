//! Published reports of real Bambu Lab printers of eleven models against values worked out by hand
//! (`fixtures/bambu/public.json`). The reports themselves are other people's files and not part of this
//! repository: `fixtures/bambu/README.md` says where they are. Without them this says so in one line.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may be blunt"
)]

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use layerd::drivers::bambu::ams::{Materials, Tray};
use layerd::drivers::bambu::faults::hms_code;
use layerd::drivers::bambu::orders::StartOptions;
use layerd::drivers::bambu::proto::{Core, Output};
use layerd::drivers::bambu::status::Temp;
use layerd::printer::event::Event;
use layerd::printer::model::Now;
use serde_json::{Value, json};

fn folder() -> PathBuf {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures/bambu/public");
    std::env::var_os("BAMBU_REPORTS").map_or_else(beside, PathBuf::from)
}

fn temp(temp: Temp) -> Value {
    json!([temp.actual_c, temp.target_c])
}

fn slot(materials: &Materials, unit: usize, tray: &Tray) -> String {
    let unit = &materials.units[unit];
    let place = format!("{}/{}", unit.id, tray.id);
    if !materials.is_present(unit, tray) {
        return format!("{place} empty");
    }
    let left = tray.remain_percent.map_or("?".to_owned(), |p| p.to_string());
    let words = [&tray.material, &tray.color].map(|w| w.clone().unwrap_or_default());
    format!("{place} {} {} {left}", words[0], words[1])
}

/// What layerd makes of a report, in the words of the expectations.
fn read(document: &Value) -> Value {
    let now = Now {
        mono: Instant::now(),
        wall: jiff::Timestamp::UNIX_EPOCH,
    };
    // The serial number says nothing here: the model has to come from the versions.
    let mut core = Core::new("XXX000000000000", StartOptions::default(), None, 1, now.mono);
    core.connected(now);
    for part in ["get_version", "pushall"] {
        core.message(now, document[part].to_string().as_bytes());
    }
    let mut firmware = None;
    while let Some(output) = core.poll() {
        if let Output::Event(Event::Identity(identity)) = output {
            firmware = Some(identity);
        }
    }
    let firmware = firmware.expect("the firmware is told");
    let status = core.status();
    let materials = &status.materials;
    let slots: Vec<String> = (0..materials.units.len())
        .flat_map(|at| {
            materials.units[at]
                .trays
                .iter()
                .map(move |tray| slot(materials, at, tray))
        })
        .collect();
    let external: Vec<String> = materials
        .external
        .iter()
        .map(|t| format!("{} {}", t.id, t.material.as_deref().unwrap_or("-")))
        .collect();
    let tools: Vec<Value> = status
        .tools()
        .into_iter()
        .map(|(id, t)| json!([id, t.actual_c, t.target_c]))
        .collect();
    let chamber = status.chamber(core.model().expect("a known model").chamber);
    json!({
        "model": firmware.machine,
        "firmware": firmware.version,
        "state": status.state_word,
        "busy": status.state.is_busy(),
        "tools": tools,
        "active_tool": status.active_nozzle,
        "bed": temp(status.bed),
        "chamber": chamber.map(temp),
        "percent": status.percent,
        "minutes": status.remaining_min,
        "layer": status.layer,
        "layers": status.layers,
        "slots": slots,
        "external": external,
        "signatures": status.signatures,
        "stream": status.rtsp_url,
        "hms": status.hms.iter().map(|(a, c)| hms_code(*a, *c)).collect::<Vec<_>>(),
        "speed": status.speed_level,
        "wifi_dbm": status.wifi_dbm,
        "fans": [status.fans.part, status.fans.aux, status.fans.chamber, status.fans.heatbreak],
    })
}

/// Numbers alike whether written `23` or `23.0`.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(n) => json!(n.as_f64()),
        Value::Array(list) => list.iter().map(plain).collect(),
        Value::Object(members) => members.iter().map(|(k, v)| (k.clone(), plain(v))).collect(),
        other => other.clone(),
    }
}

#[test]
fn reports_of_eleven_models_read_as_worked_out_by_hand() {
    let folder = folder();
    let expected: Value = serde_json::from_str(include_str!("../fixtures/bambu/public.json")).expect("JSON");
    if !folder.is_dir() {
        let text =
            "bambu reports: skipped: no public reports (BAMBU_REPORTS=dir, see fixtures/bambu/README.md)";
        let _ = writeln!(std::io::stderr(), "{text}");
        return;
    }
    let mut wrong = Vec::new();
    for (name, want) in expected.as_object().expect("an object") {
        let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).expect(name);
        let got = plain(&read(&serde_json::from_str(&text).expect("JSON")));
        for (key, want) in plain(want).as_object().expect("an object") {
            if got[key] != *want {
                wrong.push(format!("{name} {key}: read {}, by hand {want}", got[key]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
