//! Requests of the actor turned into orders of the protocol. Pure.

use std::time::Duration;

use super::faults;
use super::orders;
use super::pending::{Effect, Pending};
use super::proto::{Core, Output};
use super::status::{Control, GcodeState};
use super::track::Starting;
use crate::printer::command::{Command, RequestId, StartJob};
use crate::printer::model::Now;
use crate::printer::outcome::Outcome;

/// A slow controller is asked for everything at most so often, beside once a connection.
const REFRESH_SLOW: Duration = Duration::from_secs(300);

/// Words of G-code that hold up the printer's only queue until something is hot or a person acts.
const BLOCKING: &[&str] = &["M109", "M190", "M191", "M0", "M1", "M400", "G4"];

impl Core {
    /// A request; its end comes as [`Output::Reply`].
    pub fn request(&mut self, now: Now, id: RequestId, command: Command) {
        self.clock = now.mono;
        let critical = !matches!(
            command,
            Command::Ping | Command::Reconnect | Command::RefreshMaterials
        );
        let light = matches!(&command, Command::SendGcode { lines, .. } if lines.iter().all(|l| is_light(l)));
        if critical && !light && self.control == Control::Refused {
            let text = faults::SIGNED_ONLY.to_string();
            return self.reply(id, Outcome::refused("bambu/developer-mode", text));
        }
        match command {
            Command::Start(job) => self.start(now, id, job),
            Command::Pause => {
                self.pause_asked = true;
                self.order("pause", true, Effect::Paused, Some(id), |s| {
                    orders::simple(s, "pause")
                });
            }
            Command::Resume => {
                self.pause_asked = false;
                self.order("resume", true, Effect::Resumed, Some(id), |s| {
                    orders::simple(s, "resume")
                });
            }
            Command::Cancel(_) => self.stop(now, Some(id)),
            Command::EmergencyStop => {
                self.stop(now, Some(id));
                let off = heaters_off();
                self.order("gcode_line", true, Effect::None, None, |s| orders::gcode(s, &off));
            }
            Command::HeatersOff => {
                let off = heaters_off();
                self.order("gcode_line", true, Effect::None, Some(id), |s| {
                    orders::gcode(s, &off)
                });
            }
            Command::SkipObjects { ids } => self.skip(id, ids),
            Command::SendGcode { lines, .. } => self.gcode(id, lines),
            Command::Answer { button } => self.press(now, id, button),
            Command::RefreshMaterials => self.refresh(now, id),
            Command::Reconnect => {
                self.reply(id, Outcome::Sent);
                self.push(Output::Hangup(faults::LINK_LOST));
            }
            Command::Ping => self.reply(id, Outcome::Sent),
        }
        self.follow_job(now);
    }

    /// Everything told anew. Slow controllers stall when that is asked too often.
    fn refresh(&mut self, now: Now, id: RequestId) {
        let slow = self.model.is_none_or(|m| m.slow);
        let since = self.refreshed.map(|at| now.mono.saturating_duration_since(at));
        if let Some(since) = since.filter(|since| slow && *since < REFRESH_SLOW) {
            let text = format!(
                "This printer stalls when it has to report everything too often. Ask again in {} s; what changes is told by itself.",
                (REFRESH_SLOW - since).as_secs() + 1
            );
            return self.reply(id, Outcome::refused("bambu/too-often", text));
        }
        self.refreshed = Some(now.mono);
        self.order("pushall", false, Effect::Told, Some(id), orders::pushall);
    }

    pub(super) fn reply(&mut self, id: RequestId, outcome: Outcome) {
        self.push(Output::Reply(id, outcome));
    }

    /// Publishes an order and waits for its answer and its effect.
    pub(super) fn order(
        &mut self,
        name: &'static str,
        critical: bool,
        effect: Effect,
        id: Option<RequestId>,
        text: impl FnOnce(u32) -> String,
    ) {
        let seq = self.next_seq();
        self.push(Output::Publish(text(seq)));
        self.pending.push(Pending {
            id,
            seq,
            name,
            critical,
            effect,
            sent: self.clock,
            acked: false,
            sure: false,
        });
    }

    fn start(&mut self, now: Now, id: RequestId, job: StartJob) {
        let free = self.status.state.is_free() && self.starting.is_none() && self.job.is_none();
        if !free || self.status.storage == Some(false) {
            let outcome = self.no_start();
            return self.reply(id, outcome);
        }
        self.starting = Some(Starting::new(id, job.clone(), now.mono));
        self.push(Output::Upload(job));
    }

    fn stop(&mut self, now: Now, id: Option<RequestId>) {
        if self.starting.as_ref().is_some_and(|s| !s.is_sent()) {
            // Nothing was sent yet: the file is all that there is to stop.
            let outcome = Outcome::refused("refused/cancelled", "The print was cancelled before it began.");
            self.end_start(now, outcome);
            if let Some(id) = id {
                self.reply(id, Outcome::Verified);
            }
            return;
        }
        if let Some(job) = &mut self.job {
            job.stop_asked = true;
        }
        // To a free printer the stop goes all the same: a start may still be on its way.
        self.order("stop", true, Effect::Stopped, id, |s| orders::simple(s, "stop"));
    }

    fn skip(&mut self, id: RequestId, ids: Vec<u32>) {
        if !matches!(self.status.state, GcodeState::Running | GcodeState::Pause) {
            let text = "Objects can be left out only while the print runs. It is still being prepared.";
            return self.reply(id, Outcome::refused("refused/wrong-state", text));
        }
        let new: Vec<u32> = ids
            .into_iter()
            .filter(|n| !self.status.skipped.contains(n))
            .collect();
        if new.is_empty() {
            return self.reply(id, Outcome::Verified);
        }
        self.order(
            "skip_objects",
            true,
            Effect::Skipped(new.clone()),
            Some(id),
            |s| orders::skip(s, &new),
        );
    }

    fn gcode(&mut self, id: RequestId, lines: Vec<String>) {
        let mut plain = Vec::new();
        let mut special = Vec::new();
        for line in lines {
            let word = line
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .to_ascii_uppercase();
            if BLOCKING.contains(&word.as_str()) {
                let text = format!(
                    "{word} would hold up the printer's only command queue. Use the form that does not wait (M104, M140)."
                );
                return self.reply(id, Outcome::refused("bambu/blocking-command", text));
            }
            match word.as_str() {
                "M220" => match speed_level(&line) {
                    Some(level) => special.push((Effect::Speed(level), String::new())),
                    None => {
                        let text = "This printer knows four speeds: M220 S50, S100, S124 and S166.";
                        return self.reply(id, Outcome::refused("bambu/speed-level", text));
                    }
                },
                "M355" => {
                    let on = value(&line, 'S') != Some(0.0);
                    let nodes: Vec<String> = self
                        .status
                        .lights
                        .iter()
                        .map(|(node, _)| node.clone())
                        .filter(|node| node.starts_with("chamber_light"))
                        .collect();
                    special.extend(
                        nodes
                            .into_iter()
                            .map(|node| (Effect::Light(node.clone(), on), node)),
                    );
                }
                _ => plain.push(line),
            }
        }
        if special.is_empty() && plain.is_empty() {
            let text = "The printer reports no light that could be switched.";
            return self.reply(id, Outcome::refused("refused/unsupported", text));
        }
        // One request has one end: that of its last part.
        let last = special.len();
        for (at, (effect, node)) in special.into_iter().enumerate() {
            let asker = (plain.is_empty() && at + 1 == last).then_some(id);
            match effect.clone() {
                Effect::Speed(level) => {
                    self.order("print_speed", true, effect, asker, |s| orders::speed(s, level));
                }
                Effect::Light(_, on) => {
                    self.order("ledctrl", false, effect, asker, |s| orders::light(s, &node, on));
                }
                _ => {}
            }
        }
        if !plain.is_empty() {
            self.order("gcode_line", true, Effect::None, Some(id), |s| {
                orders::gcode(s, &plain)
            });
        }
    }

    /// A button of the notice about a print that stands still.
    fn press(&mut self, now: Now, id: RequestId, button: u8) {
        if self.status.state != GcodeState::Pause {
            let text = "There is nothing to answer: the print does not wait for anybody.";
            return self.reply(id, Outcome::refused("refused/unknown-notice", text));
        }
        match button {
            0 => self.order("resume", true, Effect::Resumed, Some(id), |s| {
                orders::simple(s, "resume")
            }),
            1 => {
                let (error, job) = (self.status.print_error, self.status.subtask_id.clone());
                self.order("ignore", true, Effect::Resumed, Some(id), |s| {
                    orders::ignore(s, error, &job)
                });
            }
            2 => self.stop(now, Some(id)),
            _ => {
                let text = format!("There is no button {button}.");
                self.reply(id, Outcome::refused("refused/unknown-button", text));
            }
        }
    }
}

fn heaters_off() -> Vec<String> {
    ["M104 S0", "M140 S0"].map(str::to_owned).to_vec()
}

fn is_light(line: &str) -> bool {
    line.trim_start()
        .get(..4)
        .is_some_and(|w| w.eq_ignore_ascii_case("M355"))
}

fn value(line: &str, letter: char) -> Option<f64> {
    line.split_whitespace()
        .skip(1)
        .find_map(|w| {
            w.strip_prefix(letter)
                .or_else(|| w.strip_prefix(letter.to_ascii_lowercase()))
        })
        .and_then(|v| v.parse().ok())
}

/// The level of a feed rate in percent: the printer has four.
fn speed_level(line: &str) -> Option<i64> {
    let percent = value(line, 'S')?;
    [(50.0, 1), (100.0, 2), (124.0, 3), (166.0, 4)]
        .into_iter()
        .find(|(p, _)| (percent - p).abs() < 1.0)
        .map(|(_, level)| level)
}
