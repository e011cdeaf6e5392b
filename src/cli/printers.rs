//! `layerd printers`: what every printer does, with the age of the reading.

use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use super::Globals;
use super::client::{Client, Listed, block_on};
use super::exit::{Done, Exit, Failure};
use super::out;

/// How often `--watch` looks.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Arguments of `printers`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Look again every second until Ctrl-C
    #[arg(long)]
    watch: bool,
}

/// Runs the verb.
pub fn run(globals: &Globals, args: &Args) -> Done {
    let client = globals.client()?;
    block_on(async {
        if !args.watch {
            show(globals, &client.printers().await?, false);
            return Ok(Exit::Good);
        }
        tokio::select! {
            result = watch(globals, &client) => result,
            _ = tokio::signal::ctrl_c() => Ok(Exit::Good),
        }
    })?
}

async fn watch(globals: &Globals, client: &Client) -> Done {
    loop {
        let shown: Result<Vec<Listed>, Failure> = client.printers().await;
        match shown {
            Ok(printers) => show(globals, &printers, out::is_tty() && !globals.json),
            // The daemon may be restarting; a watcher stays.
            Err(failure) => out::err(failure.to_string()),
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

fn show(globals: &Globals, printers: &[Listed], redraw: bool) {
    if globals.json {
        out::json(&Value::Array(printers.iter().map(|p| p.native.clone()).collect()));
        return;
    }
    let text = if printers.is_empty() {
        "The configuration has no printers. `layerd discover` shows what is connected.".to_owned()
    } else {
        table(printers)
    };
    let clear = if redraw { "\u{1b}[H\u{1b}[2J" } else { "" };
    out::line(format!("{clear}{text}"));
    for printer in printers {
        for notice in members(&printer.native, "notices") {
            out::line(notice_line(&printer.name, notice));
        }
    }
}

fn notice_line(name: &str, notice: &Value) -> String {
    let text = |key: &str| out::clean(notice.get(key).and_then(Value::as_str).unwrap_or_default());
    let mut line = format!("{name}: {} {}", text("title"), text("text"));
    for (number, button) in members(notice, "buttons").iter().enumerate() {
        let label = out::clean(button.as_str().unwrap_or_default());
        line.push_str(&format!(" [{label}: layerd answer {name} {number}]"));
    }
    line
}

fn members<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The table; pure.
pub fn table(printers: &[Listed]) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["PRINTER", "STATE", "JOB", "PROGRESS", "TEMPERATURES", "AGE"]);
    for printer in printers {
        let value = &printer.native;
        let state = value.get("state").and_then(Value::as_str).unwrap_or("unknown");
        table.add_row([
            printer.name.clone(),
            state.to_owned(),
            job(value),
            progress(value),
            temperatures(value),
            age(value),
        ]);
    }
    table
        .to_string()
        .lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
}

fn job(value: &Value) -> String {
    value
        .pointer("/job/file")
        .and_then(Value::as_str)
        .map_or_else(|| "-".to_owned(), out::clean)
}

/// `41.7 %, layer 12/90, 1 h 02 min left`, of what is known.
pub fn progress(value: &Value) -> String {
    let mut parts = Vec::new();
    if let Some(percent) = value.pointer("/job/percent").and_then(Value::as_f64) {
        parts.push(format!("{percent:.1} %"));
    }
    let number = |path: &str| value.pointer(path).and_then(Value::as_u64);
    match (number("/job/layer"), number("/job/layers")) {
        (Some(layer), Some(layers)) => parts.push(format!("layer {layer}/{layers}")),
        (Some(layer), None) => parts.push(format!("layer {layer}")),
        _ => {}
    }
    if let Some(left) = number("/job/time_left_s") {
        parts.push(format!("{} left", out::duration(left)));
    }
    if parts.is_empty() {
        "-".to_owned()
    } else {
        parts.join(", ")
    }
}

/// `tool0 210.3/210 bed 60/60`.
pub fn temperatures(value: &Value) -> String {
    let Some(temps) = value.get("temps").and_then(Value::as_object) else {
        return "-".to_owned();
    };
    let shown: Vec<String> = temps
        .iter()
        .filter_map(|(name, heat)| {
            let actual = heat.get("actual")?.as_f64()?;
            let target = heat.get("target").and_then(Value::as_f64);
            Some(match target {
                Some(target) => format!("{name} {actual:.1}/{target:.0}"),
                None => format!("{name} {actual:.1}"),
            })
        })
        .collect();
    if shown.is_empty() {
        "-".to_owned()
    } else {
        shown.join("  ")
    }
}

/// Age of the oldest reading.
fn age(value: &Value) -> String {
    let temps = value.get("temps").and_then(Value::as_object);
    let oldest = temps.and_then(|t| t.values().filter_map(|h| h.get("age_ms")?.as_u64()).max());
    match oldest {
        Some(ms) if ms < 10_000 => format!("{:.1} s", ms as f64 / 1000.0),
        Some(ms) => out::duration(ms / 1000),
        None => "-".to_owned(),
    }
}

/// The object of a printer for tests of the other verbs.
#[cfg(test)]
pub fn sample() -> Listed {
    let native = crate::json::json!({
        "name": "ender3", "id": 1, "driver": "marlin", "state": "printing",
        "job": {"uid": "u", "file": "cube\u{7}.gcode", "percent": 41.66, "layer": 12, "layers": 90, "time_left_s": 3725, "skipped": []},
        "temps": {"tool0": {"actual": 209.9, "target": 210.0, "age_ms": 1200}, "board": {"actual": 41.0, "target": null, "age_ms": 700}},
        "notices": [],
    });
    Listed {
        name: "ender3".to_owned(),
        id: 1,
        native,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_tells_everything_that_is_known() {
        let mut unknown = sample();
        unknown.name = "voron".to_owned();
        unknown.native = json!({"name": "voron", "id": 2, "state": "offline", "temps": {}, "job": null});
        let text = table(&[sample(), unknown]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].trim().starts_with("PRINTER"), "{text}");
        assert!(
            lines[1].contains("41.7 %, layer 12/90, 1 h 02 min left"),
            "{text}"
        );
        assert!(lines[1].contains("tool0 209.9/210"), "{text}");
        assert!(lines[1].contains("board 41.0"), "{text}");
        assert!(lines[1].ends_with("1.2 s"), "{text}");
        assert!(!text.contains('\u{7}'), "no control characters from file names");
        assert!(
            lines[2].contains("offline") && !lines[2].contains('0'),
            "unknown is not zero: {text}"
        );
    }

    #[test]
    fn a_prompt_shows_how_to_answer() {
        let notice =
            json!({"title": "Filament ran out.", "text": "Load some.", "buttons": ["Continue", "Abort"]});
        let line = notice_line("ender3", &notice);
        assert!(line.contains("[Abort: layerd answer ender3 1]"), "{line}");
    }
}
