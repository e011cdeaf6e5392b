//! What the cloud wants of a printer, but files and starts. The cloud's picture may be old: the state
//! is looked at again here and by the guard, and a demand that comes twice does nothing.

use serde_json::Value;

use super::{Out, PrinterCore};
use crate::json::json;
use crate::printer::command::{CancelReason, Command};
use crate::printer::model::{Now, StateWord};
use crate::upstream::simplyprint::action::{Action, PictureOrder};
use crate::upstream::simplyprint::demand::{Demand, HostDemand};
use crate::upstream::simplyprint::notices;
use crate::upstream::simplyprint::throttle::Rate;

/// Live pictures that are owed at most; more requests are one more picture too many.
const FRAMES_MAX: u32 = 4;

/// Id of the supply among the peripherals.
const POWER_ID: &str = "power:psu";

impl PrinterCore {
    pub(super) fn demand(&mut self, now: Now, demand: Demand) {
        if !self.is_open() {
            // A printer in set-up can be identified, nothing else.
            match demand {
                Demand::Gcode { lines, .. } if lines.iter().any(|l| word_is(l, "M300")) => {
                    self.identify(lines);
                }
                _ => self.note("a demand to a printer in set-up was ignored"),
            }
            return;
        }
        match demand {
            Demand::Pause(wishes) => self.act(Action::Command(
                wishes.map_or(Command::Pause, Command::PauseAs),
            )),
            Demand::Resume => self.act(Action::Command(Command::Resume)),
            Demand::Cancel => {
                if !self.cancel_start(now) {
                    self.act(Action::Command(Command::Cancel(CancelReason::default())));
                }
            }
            Demand::Gcode { lines, identifier } => self.gcode(now, lines, identifier),
            Demand::File(file) => self.file(now, *file),
            Demand::StartPrint => self.start_print(now),
            Demand::SkipObjects(objects) => self.skip(now, &objects),
            Demand::Terminal(on) => self.act(Action::Terminal(on)),
            Demand::Snapshot {
                id: Some(id),
                endpoint,
                ..
            } => self.act(Action::Picture(PictureOrder::Post { id, endpoint })),
            Demand::Snapshot { id: None, timer, .. } => {
                if let Some(timer) = timer {
                    self.throttle.set(Rate::Webcam, timer);
                }
                if self.extras.camera.is_some() {
                    self.frames_owed = (self.frames_owed + 1).min(FRAMES_MAX);
                }
            }
            Demand::TestWebcam => {
                if self.extras.camera.is_some() {
                    self.act(Action::Picture(PictureOrder::Test));
                } else {
                    self.answer("webcam_status", json!({"connected": false}));
                }
            }
            // Pictures follow requests; there is nothing to warm up.
            Demand::StreamOn => {}
            Demand::StreamOff => {
                self.frames_owed = 0;
                self.act(Action::StopStream);
            }
            Demand::WebcamSettings {
                flip_h,
                flip_v,
                rotate_90,
            } => {
                self.webcam = Some(json!({"flipH": flip_h, "flipV": flip_v, "rotate90": rotate_90}));
            }
            // Stored, not echoed.
            Demand::SetMaterial(materials) => {
                self.change(|doc| doc.materials = materials.iter().filter_map(material).collect());
            }
            // All that is known at once; what the printer reads anew follows as changes.
            Demand::RefreshMaterial if self.view.materials.is_some() => {
                self.told.materials = None;
                self.act(Action::Command(Command::RefreshMaterials));
            }
            // What the panel itself said is all that is known.
            Demand::RefreshMaterial => {
                let materials = self.doc.materials.clone();
                self.answer("material_data", json!({"refresh": true, "materials": materials}));
            }
            Demand::RefreshPeripherals => {
                self.told.peripherals = None;
                if self.view.supply.is_none() {
                    self.answer("peripheral_definitions", json!({}));
                }
            }
            Demand::Peripheral { id, on: Some(on) } if id == POWER_ID => self.power(now, on, false),
            Demand::Peripheral { id, .. } => {
                let id: String = id.chars().take(60).collect();
                self.remark(
                    "Not switched.",
                    &format!("There is no {id} on this printer."),
                    now.wall,
                );
            }
            Demand::ResolveNotification { event_id, action } => {
                self.resolve_event(now, &event_id, action.as_deref());
            }
            Demand::SendLogs {
                token,
                logs,
                max_body,
            } => {
                let pid = self.doc.id;
                self.act(Action::Logs {
                    token,
                    logs,
                    max_body,
                    pid,
                });
            }
            Demand::ConnectPrinter => {
                if self.view.link == Some(false) {
                    self.act(Action::Command(Command::Reconnect));
                } else {
                    self.note("connect_printer: it is connected already");
                }
            }
            Demand::DisconnectPrinter => self.remark(
                "Not disconnected.",
                "This host keeps its printers connected. Unplug the printer, or take it out of the host's configuration.",
                now.wall,
            ),
            Demand::Power(on) => self.power(now, on, false),
            Demand::PowerKeepalive => self.power(now, true, true),
            Demand::Host(what) => self.host(now, what),
            Demand::GotoOther => self.note("the cloud wanted us at another address; that is for the owner to configure"),
            Demand::Software(what) => self.remark(
                "Nothing was installed.",
                &format!("This host is updated by its owner, not from the panel ({what})."),
                now.wall,
            ),
            // OctoPrint's; answered so that nobody waits.
            Demand::ScriptsBackup => self.answer("gcode_scripts", json!({"scripts": null})),
            Demand::Scripts => self.answer("gcode_scripts", json!({"saved": false})),
            Demand::PrinterProfile => self.answer("profile_saved", json!({"success": false})),
            Demand::Unknown(name) => self.note(format!("unknown demand {name:?}")),
        }
    }

    fn act(&mut self, action: Action) {
        self.out.push_back(Out::Act(action));
    }

    /// The printer shows and sounds who it is, if it can at the moment.
    fn identify(&mut self, lines: Vec<String>) {
        if self.view.word != StateWord::Operational {
            self.note("identify: the printer is not ready");
            return;
        }
        let mut all: Vec<String> = Vec::new();
        if let Some(code) = &self.doc.short_id {
            all.push(format!("M117 Setup: {code}"));
        }
        // Sounds only: nothing that moves or heats before somebody owns it.
        all.extend(lines.into_iter().filter(|l| word_is(l, "M300")).take(10));
        self.act(Action::Gcode {
            lines: all,
            tune: false,
            identifier: None,
        });
    }

    fn gcode(&mut self, now: Now, lines: Vec<String>, identifier: Option<String>) {
        if lines.iter().any(|l| word_is(l, "M112")) {
            self.act(Action::Command(Command::EmergencyStop));
            if let Some(identifier) = identifier {
                self.executed(&identifier, true, "");
            }
            return;
        }
        // Klipper's way to leave an object out, used by the panel where it knows no better one.
        let (skips, lines): (Vec<String>, Vec<String>) =
            lines.into_iter().partition(|l| word_is(l, "EXCLUDE_OBJECT"));
        let names: Vec<String> = skips.iter().filter_map(|l| excluded(l)).collect();
        if !names.is_empty() {
            self.skip(now, &names);
        }
        if lines.is_empty() {
            if let Some(identifier) = identifier {
                let done = !names.is_empty();
                let message = if done { "" } else { "There is no G-code to send." };
                self.executed(&identifier, done, message);
            }
            return;
        }
        let tune = matches!(
            self.view.word,
            StateWord::Printing | StateWord::Pausing | StateWord::Resuming
        );
        self.act(Action::Gcode {
            lines,
            tune,
            identifier,
        });
    }

    fn skip(&mut self, now: Now, wanted: &[String]) {
        let known: &[Value] = match (&self.objects, &self.doc.tracked) {
            (Some((uid, objects)), Some(tracked)) if *uid == tracked.uid => objects,
            _ => &[],
        };
        let mut ids = Vec::new();
        for text in wanted {
            let by_name = || {
                let named = known
                    .iter()
                    .find(|o| o.get("name").and_then(Value::as_str) == Some(text))?;
                u32::try_from(named.get("id")?.as_u64()?).ok()
            };
            let by_key = || u32::try_from(*self.object_keys.get(text)?).ok();
            let number: Option<u32> = text.parse().ok();
            let number = number.filter(|n| {
                known.is_empty()
                    || known
                        .iter()
                        .any(|o| o.get("id").and_then(Value::as_u64) == Some(u64::from(*n)))
            });
            match number.or_else(by_name).or_else(by_key) {
                Some(id) if !ids.contains(&id) => ids.push(id),
                Some(_) => {}
                None => {
                    let text: String = text.chars().take(60).collect();
                    let why = format!("There is no object {text:?} in this print.");
                    self.remark("Not skipped.", &why, now.wall);
                    return;
                }
            }
        }
        let skipped = self.view.job.as_ref().map_or(&[][..], |j| &j.skipped);
        if ids.is_empty() || ids.iter().all(|id| skipped.contains(id)) {
            // Said again: the list goes out once more, so that the panel knows.
            self.told.skipped = None;
            return;
        }
        self.act(Action::Command(Command::SkipObjects { ids }));
    }

    fn resolve_event(&mut self, now: Now, event_id: &str, action: Option<&str>) {
        let known = self
            .doc
            .events
            .iter()
            .find(|(_, open)| open.event_id.to_string() == event_id)
            .map(|(key, _)| key.clone());
        let Some(key) = known else {
            self.note("a notification that is not open was to be resolved");
            return;
        };
        let notice = self.view.notices.iter().find(|n| n.key == key).cloned();
        match (notice, action) {
            (Some(notice), Some(action)) => match notices::button(&notice, action) {
                Some(button) => self.act(Action::Command(Command::Answer { button })),
                None => self.note("a notification has no such button"),
            },
            (Some(_), None) => self.act(Action::Dismiss(key)),
            // Settled here already.
            (None, _) => self.resolve(now, &key),
        }
    }

    fn power(&mut self, now: Now, on: bool, keepalive: bool) {
        if self.view.supply.is_none() {
            self.remark(
                "Not switched.",
                "This printer has no switch in the host's configuration.",
                now.wall,
            );
            return;
        }
        self.act(Action::Power { on, keepalive });
    }

    fn host(&mut self, now: Now, what: HostDemand) {
        let permission = what.permission();
        if self.permissions.0.iter().any(|p| p == permission) {
            self.act(Action::Host(what));
            return;
        }
        let why = format!("The owner of this host has not allowed it (\"{permission}\" in [host] allow).");
        self.remark("Not done.", &why, now.wall);
    }

    /// Takes a live picture, if one is owed and the last one has arrived.
    pub(super) fn look_for_frame(&mut self, now: Now) {
        // A picture that was lost on the way must not end the stream.
        const FLYING_MAX: std::time::Duration = std::time::Duration::from_secs(10);
        let flying = self
            .frame_flying
            .is_some_and(|at| now.mono.saturating_duration_since(at) < FLYING_MAX);
        if self.frames_owed == 0
            || self.frame_taking
            || flying
            || !self.throttle.is_open(Rate::Webcam, now.mono)
        {
            return;
        }
        self.frame_taking = true;
        self.act(Action::Picture(PictureOrder::Frame));
    }
}

/// Whether a line's command is this word.
fn word_is(line: &str, word: &str) -> bool {
    line.split_whitespace()
        .next()
        .is_some_and(|first| first.eq_ignore_ascii_case(word))
}

/// The object of `EXCLUDE_OBJECT NAME=…`.
fn excluded(line: &str) -> Option<String> {
    line.split_whitespace().skip(1).find_map(|part| {
        let (key, value) = part.split_once('=')?;
        let value = value.trim_matches(['"', '\'']);
        (key.eq_ignore_ascii_case("NAME") && !value.is_empty()).then(|| value.to_owned())
    })
}

/// A material as it may go out again: known members only.
fn material(value: &Value) -> Option<Value> {
    let members = value.as_object()?;
    let place = |key: &str| crate::upstream::simplyprint::lenient::whole(members.get(key));
    let mut out = serde_json::Map::new();
    out.insert("nozzle".to_owned(), json!(place("nozzle").unwrap_or(0)));
    out.insert("ext".to_owned(), json!(place("ext").unwrap_or(0)));
    for key in ["type", "color", "hex"] {
        match members.get(key) {
            Some(Value::String(text)) => {
                let text: String = text.chars().take(255).collect();
                out.insert(key.to_owned(), json!(text));
            }
            Some(Value::Number(n)) if key == "type" => {
                out.insert(key.to_owned(), json!(n));
            }
            _ => {}
        }
    }
    Some(Value::Object(out))
}
