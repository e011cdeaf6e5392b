//! `GET /metrics`: numbers for Prometheus and its like, as OpenMetrics text. What is not known is not
//! there: no reading is ever a made-up zero, and each one has its age beside it.

use std::fmt::Write;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::Api;
use crate::agent::clock;
use crate::agent::handle::PrinterHandle;
use crate::job::store::Counters;
use crate::printer::model::{Heat, Now, State as Known};
use crate::printer::notice::Level;

/// The type that scrapers expect.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A family of samples.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    samples: String,
}

impl Family {
    fn new(name: &'static str, kind: &'static str, help: &'static str) -> Self {
        Family {
            name,
            kind,
            help,
            samples: String::new(),
        }
    }

    fn add(&mut self, labels: &[(&str, &str)], value: Option<f64>) {
        // A reading that is no number is none.
        let Some(value) = value.filter(|v| v.is_finite()) else {
            return;
        };
        let suffix = match self.kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let _ = write!(self.samples, "{}{suffix}", self.name);
        for (n, (name, text)) in labels.iter().enumerate() {
            let open = if n == 0 { '{' } else { ',' };
            let text = text
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            let _ = write!(self.samples, "{open}{name}=\"{text}\"");
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.samples, "{close} {value}");
    }
}

/// What is told of one printer.
struct Printer<'a> {
    name: &'a str,
    driver: &'a str,
    known: &'a Known,
    counters: Option<Counters>,
    upstreams: Vec<(&'static str, bool)>,
}

/// The whole text.
pub(super) async fn metrics(State(api): State<Api>) -> Response {
    let now = clock::now();
    let mut own = [
        Family::new("layerd", "info", "This program."),
        Family::new("layerd_up_seconds", "gauge", "Time since it began."),
        Family::new("layerd_draining", "gauge", "Whether it starts no new prints."),
        Family::new("layerd_unwritten", "gauge", "Records that wait for the disk."),
    ];
    let [info, up, draining, unwritten] = &mut own;
    info.add(&[("version", env!("CARGO_PKG_VERSION"))], Some(1.0));
    up.add(&[], Some(api.agent.up_s() as f64));
    draining.add(&[], Some(f64::from(u8::from(api.agent.is_draining()))));
    unwritten.add(&[], Some(api.agent.store().unwritten() as f64));
    let all: Vec<PrinterHandle> = api.agent.printers();
    let mut counted = Vec::with_capacity(all.len());
    for printer in &all {
        // A disk that does not answer hides the counters, not the temperatures.
        counted.push(api.agent.store().counters(printer.name()).await.ok());
    }
    let snapshots: Vec<_> = all.iter().map(PrinterHandle::snapshot).collect();
    let printers: Vec<Printer<'_>> = all
        .iter()
        .zip(&snapshots)
        .zip(counted)
        .map(|((handle, snapshot), counters)| Printer {
            name: handle.name(),
            driver: handle.driver(),
            known: &snapshot.state,
            counters,
            upstreams: api
                .agent
                .pairings()
                .of(handle.id())
                .into_iter()
                .map(|(n, p)| (n, p.connected))
                .collect(),
        })
        .collect();
    let mut text = String::new();
    for family in own.iter().chain(&families(&printers, now)) {
        if !family.samples.is_empty() {
            let (name, kind, help) = (family.name, family.kind, family.help);
            let _ = write!(
                text,
                "# TYPE {name} {kind}\n# HELP {name} {help}\n{}",
                family.samples
            );
        }
    }
    text.push_str("# EOF\n");
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response()
}

fn families(printers: &[Printer<'_>], now: Now) -> Vec<Family> {
    let mut info = Family::new("layerd_printer", "info", "A printer and its firmware.");
    let mut up = Family::new("layerd_printer_up", "gauge", "Whether the printer answers.");
    let mut state = Family::new(
        "layerd_printer_state",
        "gauge",
        "1 for the state that the printer is in.",
    );
    let mut since = Family::new("layerd_printer_state_seconds", "gauge", "Time in that state.");
    let mut actual = Family::new("layerd_temperature_celsius", "gauge", "A measured temperature.");
    let mut target = Family::new(
        "layerd_target_celsius",
        "gauge",
        "A wanted temperature; 0 is off.",
    );
    let mut age = Family::new(
        "layerd_temperature_age_seconds",
        "gauge",
        "How old the reading is.",
    );
    let mut done = Family::new(
        "layerd_job_progress_ratio",
        "gauge",
        "How far the print is, 0 to 1.",
    );
    let mut layer = Family::new("layerd_job_layer", "gauge", "Layer that prints, from 1.");
    let mut left = Family::new("layerd_job_left_seconds", "gauge", "Time to go.");
    let mut notices = Family::new("layerd_notices", "gauge", "Open notices by level.");
    let mut lines = Family::new("layerd_lines", "counter", "Lines sent over the serial line.");
    let mut resends = Family::new("layerd_resends", "counter", "Lines sent again.");
    let mut upstream = Family::new(
        "layerd_upstream_connected",
        "gauge",
        "Whether a cloud hears of the printer.",
    );
    let mut prints = Family::new("layerd_prints", "counter", "Prints by their end.");
    let mut hours = Family::new("layerd_print_seconds", "counter", "Time spent printing.");
    let mut filament = Family::new("layerd_filament_millimeters", "counter", "Filament used.");
    for printer in printers {
        let (known, name) = (printer.known, ("printer", printer.name));
        let firmware = known.firmware.as_ref();
        let mut labels = vec![name, ("driver", printer.driver)];
        labels.extend(firmware.map(|f| ("firmware", f.name.as_str())));
        labels.extend(
            firmware
                .and_then(|f| f.version.as_deref())
                .map(|v| ("version", v)),
        );
        info.add(&labels, Some(1.0));
        up.add(&[name], Some(f64::from(u8::from(known.is_up()))));
        state.add(&[name, ("state", known.word().as_str())], Some(1.0));
        since.add(&[name], Some(seconds(known.since.mono, now)));
        for (
            heater,
            Heat {
                actual_c,
                target_c,
                at,
            },
        ) in &known.heaters
        {
            let heater = heater.to_string();
            let labels = [name, ("heater", heater.as_str())];
            actual.add(&labels, Some(hundredth(*actual_c)));
            target.add(&labels, target_c.map(hundredth));
            age.add(&labels, Some(seconds(*at, now)));
        }
        if let Some(job) = &known.job {
            done.add(&[name], job.progress.percent.map(|p| hundredth(p) / 100.0));
            layer.add(&[name], job.progress.layer.map(f64::from));
            left.add(&[name], job.progress.time_left_s.map(f64::from));
        }
        for (level, word) in [
            (Level::Info, "info"),
            (Level::Warning, "warning"),
            (Level::Error, "error"),
        ] {
            let count = known.notices.iter().filter(|n| n.level == level).count();
            notices.add(&[name, ("level", word)], Some(count as f64));
        }
        if known.wired {
            lines.add(&[name], Some(known.traffic.lines as f64));
            resends.add(&[name], Some(known.traffic.resends as f64));
        }
        for (name_there, connected) in &printer.upstreams {
            upstream.add(
                &[name, ("upstream", name_there)],
                Some(f64::from(u8::from(*connected))),
            );
        }
        if let Some(c) = &printer.counters {
            for (word, count) in [
                ("completed", c.completed),
                ("failed", c.failed),
                ("cancelled", c.cancelled),
            ] {
                prints.add(&[name, ("end", word)], Some(count as f64));
            }
            hours.add(&[name], Some(c.print_s as f64));
            filament.add(&[name], Some(c.filament_mm));
        }
    }
    vec![
        info, up, state, since, actual, target, age, done, layer, left, notices, lines, resends, upstream,
        prints, hours, filament,
    ]
}

fn seconds(at: std::time::Instant, now: Now) -> f64 {
    (now.mono.saturating_duration_since(at).as_millis() as f64) / 1000.0
}

fn hundredth(value: f32) -> f64 {
    (f64::from(value) * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::printer::event::Event;
    use crate::printer::model::Heater;
    use crate::printer::reduce::reduce;

    #[test]
    fn what_is_not_known_is_not_there() {
        let now = clock::now();
        let mut known = Known::new(now);
        let text = |known: &Known| {
            let printer = Printer {
                name: "a\"b\\",
                driver: "marlin",
                known,
                counters: None,
                upstreams: Vec::new(),
            };
            families(&[printer], now)
                .into_iter()
                .map(|f| f.samples)
                .collect::<String>()
        };
        let quiet = text(&known);
        assert!(
            quiet.contains("layerd_printer_up{printer=\"a\\\"b\\\\\"} 0\n"),
            "{quiet}"
        );
        for absent in ["celsius", "progress", "layer{", "firmware", "prints"] {
            assert!(!quiet.contains(absent), "{absent}: {quiet}");
        }
        reduce(&mut known, now, Event::Up);
        let heat = Event::Heat {
            heater: Heater::Bed,
            actual_c: 60.25,
            target_c: None,
        };
        reduce(&mut known, now, heat);
        let warm = text(&known);
        assert!(
            warm.contains("layerd_temperature_celsius{printer=\"a\\\"b\\\\\",heater=\"bed\"} 60.25\n"),
            "{warm}"
        );
        assert!(warm.contains("layerd_temperature_age_seconds{printer=\"a\\\"b\\\\\",heater=\"bed\"} 0\n"));
        assert!(!warm.contains("layerd_target_celsius"), "a sensor has no target");
    }
}
