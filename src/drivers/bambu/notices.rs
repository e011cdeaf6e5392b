//! What people are told beside the state: temperatures, progress, faults with buttons. Pure.

use std::sync::Arc;

use super::ams::Materials;
use super::faults;
use super::proto::Core;
use super::stages;
use super::status::{Control, GcodeState, Temp};
use crate::printer::capability::Capabilities;
use crate::printer::event::Event;
use crate::printer::fault::{Fault, Severity};
use crate::printer::model::{Heater, MaterialSlot, Now, Progress};
use crate::printer::notice::{Level, Notice};

/// What has been told, so that it is told once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shown {
    hms: Vec<(u32, u32)>,
    print_error: u32,
    progress: Option<Progress>,
    stage: Option<i64>,
    tool: Option<u8>,
    skipped: Vec<u32>,
    once: Vec<String>,
    materials: Materials,
    layout: Vec<MaterialSlot>,
    stream: Option<String>,
}

impl Shown {
    /// The materials are told once more.
    pub(super) fn forget_materials(&mut self) {
        self.materials = Materials::default();
        self.layout = Vec::new();
    }
}

impl Core {
    /// What the printer can be asked for.
    pub(super) fn capabilities(&mut self) {
        let reads: &[&str] = &["layer.progress", "time.left", "outside.jobs"];
        let writes: &[&str] = &[
            "print.pause",
            "print.cancel",
            "objects.skip",
            "gcode.send",
            "gcode.tune",
            "prompt.answer",
        ];
        let obeys = self.control != Control::Refused;
        let supported: Vec<&str> = reads
            .iter()
            .chain(writes.iter().filter(|_| obeys))
            .copied()
            .collect();
        self.emit(Event::Capabilities(Capabilities::with(&supported)));
    }

    /// The model's folder in the maker's wiki.
    pub(super) fn wiki(&self) -> Option<&'static str> {
        self.model.and_then(|m| m.wiki)
    }

    /// A notice that stays, told once in the life of this driver.
    pub(super) fn warn_once(&mut self, now: Now, fault: &Fault) {
        if self.shown.once.iter().any(|c| *c == fault.code) {
            return;
        }
        self.shown.once.push(fault.code.to_string());
        let level = match fault.severity {
            Severity::Warning => Level::Warning,
            _ => Level::Error,
        };
        self.emit(Event::Notice(Notice::of_fault(fault, level, now.wall)));
    }

    /// Temperatures, tool, progress, stage.
    pub(super) fn tell_levels(&mut self) {
        // Any report proves that the printer still measures; a delta names only what moved.
        for (id, temp) in self.status.tools() {
            self.heat(Heater::Tool(id), temp);
        }
        self.heat(Heater::Bed, self.status.bed);
        let measured = self.model.is_some_and(|m| m.chamber);
        if let Some(chamber) = self.status.chamber(measured) {
            self.heat(Heater::Chamber, chamber);
        }
        let tool = self.status.active_nozzle;
        if self.shown.tool != Some(tool) {
            self.shown.tool = Some(tool);
            self.emit(Event::ActiveTool(tool));
        }
        if self.shown.skipped != self.status.skipped {
            self.shown.skipped.clone_from(&self.status.skipped);
            self.emit(Event::Skipped(self.status.skipped.clone()));
        }
        self.tell_equipment();
        // Percent and time of the last job stand there for days after it.
        if !self.status.state.is_busy() {
            self.shown.progress = None;
            self.shown.stage = None;
            return;
        }
        let positive = |v: Option<i64>| v.filter(|v| *v > 0).and_then(|v| u32::try_from(v).ok());
        let progress = Progress {
            percent: self
                .status
                .percent
                .filter(|p| (0..=100).contains(p))
                .map(|p| p as f32),
            layer: positive(self.status.layer),
            layers: positive(self.status.layers),
            time_left_s: positive(self.status.remaining_min).map(|m| m.saturating_mul(60)),
            ..Progress::default()
        };
        if self.shown.progress != Some(progress) && self.job.is_some() {
            self.shown.progress = Some(progress);
            self.emit(Event::Progress(progress));
        }
        if self.shown.stage != self.status.stage {
            self.shown.stage = self.status.stage;
            if let Some(words) = self.status.stage.and_then(stages::words) {
                self.emit(Event::Message(words));
            }
        }
    }

    /// What is loaded, and where the video is.
    fn tell_equipment(&mut self) {
        if self.shown.materials != self.status.materials {
            self.shown.materials.clone_from(&self.status.materials);
            let layout = self.status.materials.layout();
            if layout != self.shown.layout {
                self.shown.layout.clone_from(&layout);
                self.emit(Event::Materials(Arc::new(layout)));
            }
        }
        if self.shown.stream != self.status.rtsp_url {
            self.shown.stream.clone_from(&self.status.rtsp_url);
            self.emit(Event::CameraStream(self.status.rtsp_url.clone()));
        }
    }

    fn heat(&mut self, heater: Heater, temp: Temp) {
        if let Some(actual_c) = temp.actual_c {
            self.emit(Event::Heat {
                heater,
                actual_c,
                target_c: temp.target_c,
            });
        }
    }

    /// Faults that came or went.
    pub(super) fn tell_notices(&mut self, now: Now) {
        let news: Vec<(u32, u32)> = self
            .status
            .hms
            .iter()
            .filter(|h| !self.shown.hms.contains(h))
            .copied()
            .collect();
        let gone: Vec<(u32, u32)> = self
            .shown
            .hms
            .iter()
            .filter(|h| !self.status.hms.contains(h))
            .copied()
            .collect();
        for (attr, code) in gone {
            self.emit(Event::NoticeCleared(hms_key(attr, code)));
        }
        for (attr, code) in news {
            // Developer Mode has a notice of its own.
            if (attr, code) == faults::HMS_SIGNED_ONLY {
                continue;
            }
            let fault = faults::hms(attr, code, self.wiki());
            let level = match code >> 16 {
                1 | 2 => Level::Error,
                3 => Level::Warning,
                _ => Level::Info,
            };
            let mut notice = Notice::of_fault(&fault, level, now.wall);
            notice.key = hms_key(attr, code);
            self.emit(Event::Notice(notice));
        }
        self.shown.hms.clone_from(&self.status.hms);
        self.tell_halt(now);
    }

    /// A print that waits for a person: one notice with buttons, gone when it goes on.
    fn tell_halt(&mut self, now: Now) {
        let status = &self.status;
        let paused = status.state == GcodeState::Pause;
        let error = status.print_error;
        let trouble = paused && status.stage.is_some_and(stages::is_trouble);
        let shown = match (error, trouble) {
            (0, true) => 1,
            (error, _) if error != 0 && !faults::is_cancel(error) => error,
            _ => 0,
        };
        if shown == self.shown.print_error {
            return;
        }
        self.shown.print_error = shown;
        if shown == 0 {
            return self.emit(Event::NoticeCleared("print_error".to_owned()));
        }
        let fault = match status.stage.and_then(stages::words) {
            Some(words) if error == 0 => {
                faults::FAILED.with_what(format!("The print stands still ({words})."))
            }
            _ => faults::print_error(error),
        };
        let mut notice = Notice::of_fault(&fault, Level::Error, now.wall);
        notice.key = "print_error".to_owned();
        if paused {
            notice.buttons = ["Resume", "Ignore and resume", "Stop the print"]
                .map(str::to_owned)
                .to_vec();
        }
        self.emit(Event::Notice(notice));
    }
}

fn hms_key(attr: u32, code: u32) -> String {
    format!("hms {}", faults::hms_code(attr, code))
}
