//! Plays `fixtures/marlin/*.script` against the core. The format is told in `fixtures/marlin/README.md`.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use uuid::Uuid;

use super::proto::{Marlin, Output};
use super::settings::{Settings, Window};
use crate::drivers::StopMode;
use crate::gcode::source::{Batch, Prepare, PrepareOptions};
use crate::printer::command::{CancelReason, Command, Program, RequestId, StartJob};
use crate::printer::event::Event;
use crate::printer::model::Now;

struct Player {
    core: Marlin,
    base: Instant,
    t: Duration,
    /// Lines to the printer that the script has not looked at.
    sent: VecDeque<String>,
    /// What was told since the script last looked, as text.
    told: Vec<String>,
    program: String,
    next_id: u64,
}

impl Player {
    fn new(settings: Settings) -> Self {
        let base = Instant::now();
        let core = Marlin::new(at(base, Duration::ZERO), settings, &[115_200, 250_000]);
        Player {
            core,
            base,
            t: Duration::ZERO,
            sent: VecDeque::new(),
            told: Vec::new(),
            program: String::new(),
            next_id: 1,
        }
    }

    fn now(&self) -> Now {
        at(self.base, self.t)
    }

    fn drain(&mut self) {
        loop {
            while let Some(output) = self.core.poll() {
                match output {
                    Output::OpenProgram(_) => {
                        let mut prepare = Prepare::new(PrepareOptions::default());
                        let mut batch = Batch::default();
                        prepare.feed(self.program.as_bytes(), &mut batch);
                        prepare.finish(&mut batch);
                        let now = self.now();
                        self.core.feed(now, batch.into());
                    }
                    Output::Event(Event::Job(job)) => self.told.push(format!("{job:?}")),
                    Output::Event(event) => self.told.push(format!("{event:?}")),
                    Output::Reply(id, outcome) => self.told.push(format!("Reply {} {outcome:?}", id.0)),
                    other => self.told.push(format!("{other:?}")),
                }
            }
            if !self.core.has_tx() {
                return;
            }
            let bytes = std::mem::take(self.core.tx());
            self.core.written();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            self.sent
                .extend(text.lines().filter(|l| !l.is_empty()).map(str::to_owned));
        }
    }

    fn printer_says(&mut self, line: &str) {
        let now = self.now();
        self.core.line(now, line.as_bytes());
        self.drain();
    }

    fn pass(&mut self, time: Duration) {
        let end = self.t + time;
        loop {
            let due = self
                .core
                .deadline()
                .map(|d| d.saturating_duration_since(self.base));
            match due.filter(|d| *d <= end) {
                Some(due) => self.t = due.max(self.t + Duration::from_millis(1)).min(end),
                None => self.t = end,
            }
            let now = self.now();
            self.core.tick(now);
            self.drain();
            if self.t >= end {
                return;
            }
        }
    }

    /// Answers the handshake as this firmware with these capabilities.
    fn bring_up(&mut self, firmware: &str, caps: &str) {
        for _ in 0..100 {
            let Some(line) = self.sent.pop_front() else {
                if self.told.iter().any(|e| e == "Up") {
                    self.pass(Duration::from_millis(1));
                    self.sent.clear();
                    self.told.clear();
                    return;
                }
                self.pass(Duration::from_millis(100));
                continue;
            };
            match bare(&line).as_str() {
                "M115" => {
                    self.printer_says(&format!(
                        "FIRMWARE_NAME:{firmware} MACHINE_TYPE:Test EXTRUDER_COUNT:1"
                    ));
                    for cap in caps.split_whitespace() {
                        self.printer_says(&format!("Cap:{cap}"));
                    }
                    self.printer_says("ok");
                }
                "M105" => self.printer_says("ok T:20.0 /0.0 B:20.0 /0.0 @:0 B@:0"),
                "M114" => {
                    self.printer_says("X:0.00 Y:0.00 Z:0.00 E:0.00 Count X:0 Y:0 Z:0");
                    self.printer_says("ok");
                }
                _ => self.printer_says("ok"),
            }
        }
        panic!("never up");
    }

    fn request(&mut self, command: Command) {
        let id = self.next_id;
        self.next_id += 1;
        let now = self.now();
        if command == Command::EmergencyStop {
            self.core.urgent(now, RequestId(id));
        } else {
            self.core.request(now, RequestId(id), command);
        }
        self.drain();
    }

    fn order(&mut self, words: &str) {
        let (verb, rest) = words.split_once(' ').unwrap_or((words, ""));
        match verb {
            "up" => {
                let (firmware, caps) = rest.split_once('|').unwrap_or((rest, ""));
                let firmware = if firmware.trim().is_empty() {
                    "Marlin 2.1.2"
                } else {
                    firmware.trim()
                };
                self.bring_up(firmware, caps);
            }
            "start" => {
                let size = self.program.len() as u64;
                self.request(Command::Start(StartJob {
                    uid: Uuid::from_u128(1),
                    program: Arc::new(Program {
                        path: PathBuf::from("test.gcode"),
                        name: "test.gcode".to_owned(),
                        size,
                        sha256: String::new(),
                        layers: None,
                        estimate_s: None,
                        max_z_mm: None,
                        objects: Vec::new(),
                    }),
                    skip: Vec::new(),
                    materials: Vec::new(),
                    plate: None,
                }));
            }
            "pause" => self.request(Command::Pause),
            "resume" => self.request(Command::Resume),
            "cancel" => self.request(Command::Cancel(CancelReason::default())),
            "estop" => self.request(Command::EmergencyStop),
            "off" => self.request(Command::HeatersOff),
            "answer" => self.request(Command::Answer {
                button: rest.parse().expect("a number"),
            }),
            "send" => self.request(Command::SendGcode {
                lines: vec![rest.to_owned()],
                tune: false,
            }),
            "stop" => {
                let mode = if rest == "park" {
                    StopMode::Park
                } else {
                    StopMode::Cancel
                };
                let now = self.now();
                self.core.stop(now, mode);
                self.drain();
            }
            // Answers everything that is sent, until nothing more comes; at most so many lines.
            "oks" => {
                for _ in 0..rest.parse().unwrap_or(50) {
                    let Some(line) = self.sent.pop_front() else { break };
                    if bare(&line) == "M105" {
                        self.printer_says("ok T:20.0 /0.0 B:20.0 /0.0 @:0 B@:0");
                    } else {
                        self.printer_says("ok");
                    }
                }
            }
            "forget" => {
                self.sent.clear();
                self.told.clear();
            }
            other => panic!("unknown order {other}"),
        }
    }
}

fn at(base: Instant, t: Duration) -> Now {
    Now {
        mono: base + t,
        wall: Timestamp::from_millisecond(1_700_000_000_000 + t.as_millis() as i64).expect("in range"),
    }
}

/// A line without its number and checksum.
fn bare(line: &str) -> String {
    let text = match line.strip_prefix('N') {
        Some(rest) => rest.split_once(' ').map_or("", |(_, text)| text),
        None => line,
    };
    text.split('*').next().unwrap_or_default().to_owned()
}

fn play(path: &Path) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|e| e.to_string())?;
    let mut settings = Settings {
        bed_mm: Some([220.0, 220.0, 250.0]),
        ..Settings::default()
    };
    for line in text.lines() {
        match line.strip_prefix("set ").map(str::trim) {
            Some("window 2") => settings.window = Window::Lines(2),
            Some("pause cools") => {
                settings.pause.cool_nozzle = true;
                settings.pause.cool_bed = true;
            }
            Some("window 3") => settings.window = Window::Lines(3),
            Some(other) => return Err(format!("unknown setting {other}")),
            None => {}
        }
    }
    let mut p = Player::new(settings);
    p.drain();
    for (index, line) in text.lines().enumerate() {
        let here = |words: String| Err(format!("line {}: `{line}`: {words}", index + 1));
        let (mark, rest) = line.split_at_checked(1).unwrap_or((line, ""));
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        match mark {
            "" | "#" | "s" => {}
            "|" => {
                p.program.push_str(rest);
                p.program.push('\n');
            }
            "=" => p.order(rest),
            "<" => p.printer_says(rest),
            "@" => {
                let time = rest.trim_start_matches('+');
                let time = match time.strip_suffix("ms") {
                    Some(ms) => Duration::from_millis(ms.parse().expect("a number")),
                    None => Duration::from_secs(time.trim_end_matches('s').parse().expect("a number")),
                };
                p.pass(time);
            }
            // The next line to the printer; with `N` and `*` exactly, otherwise without them.
            ">" if rest == "nothing" => {
                if !p.sent.is_empty() {
                    return here(format!("sent {:?}", p.sent));
                }
            }
            ">" => {
                let got = p.sent.pop_front().unwrap_or_default();
                let same = if rest.starts_with('N') {
                    got == rest
                } else {
                    bare(&got) == rest
                };
                if !same {
                    return here(format!("sent {got:?}, then {:?}; told {:?}", p.sent, p.told));
                }
            }
            "!" if rest.starts_with("not ") => {
                let words = rest.trim_start_matches("not ");
                if p.told.iter().any(|t| t.contains(words)) {
                    return here(format!("told {:?}", p.told));
                }
            }
            "!" => match p.told.iter().position(|t| t.contains(rest)) {
                Some(at) => {
                    p.told.drain(..=at);
                }
                None => return here(format!("told {:?}; sent {:?}", p.told, p.sent)),
            },
            _ => return here("unknown mark".to_owned()),
        }
    }
    Ok(())
}

#[test]
fn every_script_plays() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/marlin");
    let mut scripts: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("the folder")
        .map(|e| e.expect("an entry").path())
        .filter(|p| p.extension().is_some_and(|e| e == "script"))
        .collect();
    scripts.sort();
    assert!(scripts.len() >= 40, "{} scripts", scripts.len());
    let failed: Vec<String> = scripts
        .iter()
        .filter_map(|p| {
            let name = p.file_name().map(|n| n.to_string_lossy().into_owned());
            play(p)
                .err()
                .map(|e| format!("{}: {e}", name.unwrap_or_default()))
        })
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
