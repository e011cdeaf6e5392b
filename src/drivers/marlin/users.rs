//! G-code that people send: between the lines of the program, with an answer for each request.

use std::collections::VecDeque;

use super::faults;
use super::history::Tag;
use super::proto::{Marlin, Output, Phase};
use super::scan::{command, word};
use super::silence;
use crate::printer::command::RequestId;
use crate::printer::model::{Heater, Now};
use crate::printer::outcome::Outcome;

/// Requests waiting at once; more are refused.
const REQUESTS_MAX: usize = 16;

#[derive(Debug)]
struct Asked {
    serial: u32,
    id: RequestId,
    left: usize,
    rejected: Option<String>,
}

/// Lines that people asked for.
#[derive(Debug, Default)]
pub struct Users {
    /// At most 16 requests of 200 lines.
    lines: VecDeque<(u32, String)>,
    asked: VecDeque<Asked>,
    serial: u32,
}

impl Users {
    /// Nothing waits to be sent.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Answers everybody who still waits.
    pub fn refuse_all(&mut self, out: &mut VecDeque<Output>, why: &str) {
        self.lines.clear();
        for asked in self.asked.drain(..) {
            let outcome = Outcome::refused(
                "refused/link-ended",
                format!("Not all lines were executed. {why}"),
            );
            out.push_back(Output::Reply(asked.id, outcome));
        }
    }
}

/// Upper case as most firmware wants it; texts stay as they are.
fn tidy(line: &str) -> String {
    let line = line.split(';').next().unwrap_or_default().trim();
    let text = matches!(
        command(line.as_bytes()),
        Some((
            b'M',
            0 | 1 | 16 | 23 | 28 | 30 | 32 | 33 | 75 | 117 | 118 | 486 | 550..=554 | 587 | 928
        ))
    ) || command(line.as_bytes()).is_none() && !line.starts_with(['T', 't']);
    if text {
        // The command word alone.
        let split = line.find(' ').unwrap_or(line.len());
        let (head, tail) = line.split_at(split);
        return format!("{}{}", head.to_ascii_uppercase(), tail.replace('*', ""));
    }
    line.to_ascii_uppercase()
}

impl Marlin {
    pub(super) fn send_gcode(&mut self, now: Now, id: RequestId, lines: Vec<String>) {
        if self.users.asked.len() >= REQUESTS_MAX {
            self.reply(
                id,
                Outcome::refused("refused/busy", "Too much G-code is waiting already."),
            );
            return;
        }
        let lines: Vec<String> = lines.iter().map(|l| tidy(l)).filter(|l| !l.is_empty()).collect();
        for line in &lines {
            match command(line.as_bytes()) {
                Some((b'M', 112)) => {
                    self.urgent(now, id);
                    return;
                }
                Some((b'M', 108 | 410 | 876)) if lines.len() == 1 => {
                    self.sender.push_loose(now.mono, line.as_bytes(), true);
                    self.reply(id, Outcome::Sent);
                    return;
                }
                // They would turn the printer into a file writer or break the numbering.
                Some((b'M', 28 | 29 | 110 | 928)) => {
                    self.reply(
                        id,
                        Outcome::refused(
                            "refused/not-sendable",
                            format!("{line} would disturb the connection."),
                        ),
                    );
                    return;
                }
                _ => {}
            }
        }
        if lines.is_empty() {
            self.reply(id, Outcome::Sent);
            return;
        }
        self.users.serial = self.users.serial.wrapping_add(1);
        let serial = self.users.serial;
        self.users.asked.push_back(Asked {
            serial,
            id,
            left: lines.len(),
            rejected: None,
        });
        self.users.lines.extend(lines.into_iter().map(|l| (serial, l)));
    }

    pub(super) fn next_user(&mut self, now: Now) -> bool {
        if self.phase == Phase::Hello || !self.users_may_go() {
            return false;
        }
        let Some((serial, line)) = self.users.lines.pop_front() else {
            return false;
        };
        let patience = silence::patience(line.as_bytes());
        if self
            .sender
            .push(now.mono, line.as_bytes(), Tag::User(serial), patience)
            .is_err()
        {
            self.user_rejected(serial, &faults::LINE_TOO_LONG.what);
            self.user_acked(now, serial);
            return true;
        }
        self.note_aside();
        self.person_set_heat(now, line.as_bytes());
        if self.job.is_none() {
            self.track.follow(line.as_bytes());
            if line.starts_with("G") {
                self.reports.position_wanted = true;
            }
        } else if matches!(command(line.as_bytes()), Some((b'M', 106 | 107))) {
            // A fan set while printing is what a resume has to bring back.
            self.track.follow(line.as_bytes());
        }
        true
    }

    /// Notes a heater target that a person set through us.
    fn person_set_heat(&mut self, now: Now, text: &[u8]) {
        let heater = match command(text) {
            Some((b'M', 104 | 109)) => {
                let tool = word(text, b'T').map_or(self.track.tool, |t| t.clamp(0.0, 15.0) as u8);
                Heater::Tool(tool)
            }
            Some((b'M', 140 | 190)) => Heater::Bed,
            Some((b'M', 141 | 191)) => Heater::Chamber,
            _ => return,
        };
        let Some(target) = word(text, b'S').or(word(text, b'R')) else {
            return;
        };
        self.idle_heat.ours(now.mono, heater, target as f32);
        let Some(saved) = self.saved.as_mut().filter(|s| s.firmware.is_none()) else {
            return;
        };
        let nozzle = matches!(heater, Heater::Tool(_));
        if target > 0.0 {
            saved.targets.insert(heater, target as f32);
            if nozzle {
                saved.cooled = false;
                saved.since = Some(now.mono);
            }
        } else if nozzle {
            // What is remembered is still what the print goes on with.
            let all = saved
                .targets
                .keys()
                .filter(|h| matches!(h, Heater::Tool(_)))
                .count();
            saved.cooled |= all <= 1;
        }
    }

    pub(super) fn user_acked(&mut self, _now: Now, serial: u32) {
        let Some(index) = self.users.asked.iter().position(|a| a.serial == serial) else {
            return;
        };
        let Some(asked) = self.users.asked.get_mut(index) else {
            return;
        };
        asked.left = asked.left.saturating_sub(1);
        if asked.left > 0 {
            return;
        }
        if let Some(asked) = self.users.asked.remove(index) {
            let outcome = match asked.rejected {
                Some(by_printer) => Outcome::Rejected {
                    by_printer,
                    fault: None,
                },
                None => Outcome::Sent,
            };
            self.reply(asked.id, outcome);
        }
    }

    pub(super) fn user_rejected(&mut self, serial: u32, words: &str) {
        if let Some(asked) = self.users.asked.iter_mut().find(|a| a.serial == serial) {
            asked.rejected.get_or_insert_with(|| words.to_owned());
        }
    }

    /// `Unknown command`: what it means depends on whose line it was.
    pub(super) fn unknown_command(&mut self, now: Now, text: &[u8]) {
        let words = format!("Unknown command: {}", String::from_utf8_lossy(text));
        let front = self.sender.front().and_then(|n| self.sender.tag(n));
        match (front, command(text)) {
            (Some(Tag::User(serial)), _) => self.user_rejected(serial, &words),
            (_, Some((b'G', 20))) if self.job.is_some() => {
                self.fail_job(now, faults::NO_INCHES.with_raw(words))
            }
            (_, Some((b'G', 2 | 3))) if self.job.is_some() => {
                self.fail_job(now, faults::NO_ARCS.with_raw(words))
            }
            (_, Some((b'M', 600 | 601))) if self.phase == Phase::Printing => {
                let why = crate::printer::model::PauseReason::FilamentChange;
                self.begin_pause(now, why, None);
            }
            (_, Some((b'M', 73))) => self.reports.no_screen(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::tidy;

    #[test]
    fn commands_become_upper_case_and_texts_stay() {
        assert_eq!(tidy("g1 x5 f1200 ; go"), "G1 X5 F1200");
        assert_eq!(tidy("m117 Hello *World*"), "M117 Hello World");
        assert_eq!(tidy("t1"), "T1");
        assert_eq!(tidy("  ; only a comment"), "");
    }
}
