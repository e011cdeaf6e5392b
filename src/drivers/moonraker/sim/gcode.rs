//! What the simulated Klipper does with a line of G-code.

use std::io::{BufRead, Read};

use serde_json::Value;

use super::klipper::{BUFFER_S, Klipper, Life, Move, Program, Said, Stats, Wait};

use crate::json::{self, json};
use crate::sorted;
use crate::sorted::SortedMap;

/// Longest line of a file that is read as one.
const LINE_MAX: u64 = 64 * 1024;

/// Fastest motion, mm/s.
const TOP_MM_S: f64 = 300.0;

/// Commands that need no answer and change nothing here.
const IGNORED: &[&str] = &[
    "G20",
    "G21",
    "M18",
    "M21",
    "M84",
    "M105",
    "M110",
    "M114",
    "M115",
    "M201",
    "M203",
    "M204",
    "M205",
    "STATUS",
    "SAVE_GCODE_STATE",
    "RESTORE_GCODE_STATE",
    "SET_PRESSURE_ADVANCE",
    "SET_VELOCITY_LIMIT",
    "SET_GCODE_OFFSET",
];

/// The words behind a command: `X10`, or `NAME=value`.
type Words = SortedMap<String, String>;

impl Klipper {
    /// The next line of the file in hand; `false`: there is none to execute.
    pub(super) fn file_line(&mut self) -> bool {
        if self.life != Life::Ready {
            return false;
        }
        let Some(program) = self.program.as_mut().filter(|p| p.active) else {
            return false;
        };
        let mut line = Vec::new();
        let read = program
            .reader
            .by_ref()
            .take(LINE_MAX)
            .read_until(b'\n', &mut line);
        let Ok(read @ 1..) = read else {
            self.console("Done printing file");
            self.ended("complete", "");
            return true;
        };
        let text = String::from_utf8_lossy(&line).into_owned();
        match self.execute(&text) {
            Ok(()) => {
                if let Some(program) = &mut self.program {
                    program.at += read as u64;
                }
            }
            Err(words) => {
                self.complain(&words);
                self.heaters_off();
                self.ended("error", &words);
            }
        }
        true
    }

    fn ended(&mut self, state: &'static str, message: &str) {
        self.program = None;
        self.stats.total_s = self.stats.began_s.take().map_or(0.0, |at| self.now_s - at);
        self.stats.state = state;
        message.clone_into(&mut self.stats.message);
    }

    fn heaters_off(&mut self) {
        for heater in self.heaters.values_mut() {
            heater.target_c = 0.0;
        }
    }

    /// Executes a line.
    pub(super) fn execute(&mut self, line: &str) -> Result<(), String> {
        let line = line.split(';').next().unwrap_or_default().trim();
        if line.is_empty() {
            return Ok(());
        }
        self.said.push_back(Said::Executed(line.to_owned()));
        let (name, rest) = split(line);
        let words = words_of(&name, &rest);
        match name.as_str() {
            "G0" | "G1" => self.travel(&words),
            "G4" => {
                let dwell_s =
                    number(&words, "P").unwrap_or(0.0) / 1000.0 + number(&words, "S").unwrap_or(0.0);
                self.motion_s = self.motion_s.max(self.now_s) + dwell_s.max(0.0) / self.options.speed;
                self.wait = Some(Wait::Motion(BUFFER_S));
                Ok(())
            }
            "G28" => {
                let all = !["X", "Y", "Z"].iter().any(|a| words.contains_key(*a));
                for (axis, (key, letter)) in [("X", 'x'), ("Y", 'y'), ("Z", 'z')].into_iter().enumerate() {
                    if all || words.contains_key(key) {
                        self.motion_s = self.motion_s.max(self.now_s) + 1.0 / self.options.speed;
                        if !self.homed.contains(letter) {
                            self.homed.push(letter);
                        }
                        if let Some(at) = self.at.get_mut(axis) {
                            *at = 0.0;
                        }
                    }
                }
                self.wait = Some(Wait::Motion(0.0));
                Ok(())
            }
            "G90" | "G91" => {
                self.relative = name == "G91";
                Ok(())
            }
            "M82" | "M83" => {
                self.relative_e = name == "M83";
                Ok(())
            }
            "G92" => {
                for (axis, key) in ["X", "Y", "Z", "E"].iter().enumerate() {
                    if let (Some(value), Some(at), Some(base)) =
                        (number(&words, key), self.at.get(axis), self.base.get_mut(axis))
                    {
                        *base = at - value;
                    }
                }
                Ok(())
            }
            "M104" | "M109" => self.heat("extruder", number(&words, "S").unwrap_or(0.0), name == "M109"),
            "M140" | "M190" => self.heat("heater_bed", number(&words, "S").unwrap_or(0.0), name == "M190"),
            "SET_HEATER_TEMPERATURE" => {
                let heater = match words.get("HEATER").map(String::as_str) {
                    Some("extruder") => "extruder",
                    Some("heater_bed") => "heater_bed",
                    other => {
                        return Err(format!(
                            "The value '{}' is not valid for HEATER",
                            other.unwrap_or_default()
                        ));
                    }
                };
                self.heat(heater, number(&words, "TARGET").unwrap_or(0.0), false)
            }
            "TURN_OFF_HEATERS" => {
                self.heaters_off();
                Ok(())
            }
            "M106" => {
                self.fan = (number(&words, "S").unwrap_or(255.0) / 255.0).clamp(0.0, 1.0);
                Ok(())
            }
            "M107" => {
                self.fan = 0.0;
                Ok(())
            }
            "M112" => {
                self.shut_down("Shutdown due to M112 command");
                Ok(())
            }
            "M117" => {
                self.screen = Some(rest).filter(|t| !t.is_empty());
                Ok(())
            }
            "M220" | "M221" => {
                let factor = number(&words, "S").unwrap_or(100.0) / 100.0;
                if name == "M220" {
                    self.factors.0 = factor.max(0.01);
                } else {
                    self.factors.1 = factor.max(0.01);
                }
                Ok(())
            }
            "M400" => {
                self.wait = Some(Wait::Motion(0.0));
                Ok(())
            }
            "RESPOND" | "M118" => {
                let text = words.get("MSG").cloned().unwrap_or(rest);
                let prefix = match words.get("TYPE").map(String::as_str) {
                    Some("command") => "// ",
                    Some("error") => "!! ",
                    _ => "echo: ",
                };
                self.console(&format!("{prefix}{text}"));
                Ok(())
            }
            "SDCARD_PRINT_FILE" => {
                self.print_file(words.get("FILENAME").map(String::as_str).unwrap_or_default())
            }
            "SDCARD_RESET_FILE" => {
                self.forget_file();
                Ok(())
            }
            "SET_PRINT_STATS_INFO" => {
                let whole = |key| number(&words, key).filter(|n| *n >= 0.0).map(|n| n as u64);
                self.stats.layers = whole("TOTAL_LAYER").or(self.stats.layers);
                self.stats.layer = whole("CURRENT_LAYER").or(self.stats.layer);
                Ok(())
            }
            "PAUSE" | "RESUME" | "CANCEL_PRINT" | "CLEAR_PAUSE" => {
                self.job_word(&name);
                Ok(())
            }
            _ if name.starts_with("EXCLUDE_OBJECT") => self.object_word(&name, &words),
            "RESTART" | "FIRMWARE_RESTART" => {
                self.restarting = true;
                Ok(())
            }
            "M73" => Ok(()),
            _ if IGNORED.contains(&name.as_str()) => Ok(()),
            _ => {
                self.console(&format!("// Unknown command:\"{name}\""));
                Ok(())
            }
        }
    }

    fn travel(&mut self, words: &Words) -> Result<(), String> {
        if let Some(feed) = number(words, "F").filter(|f| *f > 0.0) {
            self.feed_mm_min = feed;
        }
        let mut to = self.at;
        for (axis, key) in ["X", "Y", "Z", "E"].iter().enumerate() {
            let (Some(value), Some(to), Some(base)) =
                (number(words, key), to.get_mut(axis), self.base.get(axis))
            else {
                continue;
            };
            let relative = self.relative || (axis == 3 && self.relative_e);
            *to = if relative { *to + value } else { value + base };
        }
        let gone = |name: &String| self.excluded.contains(name);
        if self.current.as_ref().is_some_and(gone) {
            // The head stays; E goes on from here.
            let ([.., e], [.., wanted], [.., base]) = (self.at, to, &mut self.base);
            *base += e - wanted;
            return Ok(());
        }
        let high = [250.0, 220.0, 240.0];
        let told = || {
            let [x, y, z, e] = to;
            format!("{x:.3} {y:.3} {z:.3} [{e:.3}]")
        };
        let mut square = 0.0;
        for (((letter, from), goal), high) in ['x', 'y', 'z'].into_iter().zip(self.at).zip(to).zip(high) {
            if (goal - from).abs() < 1e-9 {
                continue;
            }
            if !self.homed.contains(letter) {
                return Err(format!("Must home axis first: {}", told()));
            }
            let low = if letter == 'z' { -2.0 } else { 0.0 };
            if !(low..=high).contains(&goal) {
                return Err(format!("Move out of range: {}", told()));
            }
            square += (goal - from) * (goal - from);
        }
        let extruded = to.last().zip(self.at.last()).map_or(0.0, |(a, b)| a - b);
        let cold = self.heaters.get("extruder").is_some_and(|h| h.actual_c < 170.0);
        if extruded.abs() > 1e-9 && cold {
            return Err(
                "Extrude below minimum temp\nSee the 'min_extrude_temp' config option for details".to_owned(),
            );
        }
        let length = if square > 0.0 {
            square.sqrt()
        } else {
            extruded.abs()
        };
        if length > 0.0 {
            let rate = (self.feed_mm_min / 60.0 * self.factors.0).min(TOP_MM_S);
            let from_s = self.motion_s.max(self.now_s);
            self.motion_s = from_s + length / rate / self.options.speed;
            self.moves.push_back(Move {
                from_s,
                to_s: self.motion_s,
                from: self.at,
                to,
            });
        }
        if self.is_printing() {
            self.stats.filament_mm += extruded;
        }
        self.at = to;
        self.wait = Some(Wait::Motion(BUFFER_S));
        Ok(())
    }

    fn heat(&mut self, name: &'static str, target_c: f64, wait: bool) -> Result<(), String> {
        let Some(heater) = self.heaters.get_mut(name) else {
            return Ok(());
        };
        let max_c = heater.max_c;
        if !(0.0..=max_c).contains(&target_c) {
            return Err(format!(
                "Requested temperature ({target_c:.1}) out of range (0.0:{max_c:.1})"
            ));
        }
        heater.target_c = target_c;
        if wait {
            self.wait = Some(Wait::Heat(name));
        }
        Ok(())
    }

    fn print_file(&mut self, name: &str) -> Result<(), String> {
        if self.is_printing() {
            return Err("SD busy".to_owned());
        }
        self.forget_file();
        let name = name.trim_start_matches('/');
        // Nothing outside its own folder.
        let inside = !name.split('/').any(|part| part == "..");
        let file = Some(self.options.files.join(name))
            .filter(|_| inside && !name.is_empty())
            .and_then(|path| std::fs::File::open(path).ok())
            .ok_or("Unable to open file")?;
        let size = file.metadata().map_or(0, |m| m.len());
        self.console(&format!("File opened:{name} Size:{size}"));
        self.program = Some(Program {
            reader: std::io::BufReader::new(file),
            at: 0,
            size,
            active: true,
        });
        self.stats = Stats {
            file: name.to_owned(),
            state: "printing",
            began_s: Some(self.now_s),
            ..Stats::default()
        };
        Ok(())
    }

    fn job_word(&mut self, word: &str) {
        match word {
            "PAUSE" if self.is_paused => self.console("// Print already paused"),
            "PAUSE" => {
                self.is_paused = true;
                if let Some(program) = self.program.as_mut().filter(|p| p.active) {
                    program.active = false;
                    self.stats.state = "paused";
                } else {
                    self.console("// action:paused");
                }
            }
            "RESUME" if !self.is_paused => self.console("// Print is not paused, resume aborted"),
            "RESUME" => {
                self.is_paused = false;
                if let Some(program) = &mut self.program {
                    program.active = true;
                    self.stats.state = "printing";
                }
            }
            "CANCEL_PRINT" => {
                self.is_paused = false;
                if self.program.is_some() {
                    self.ended("cancelled", "");
                } else {
                    self.console("// action:cancel");
                }
            }
            _ => self.is_paused = false,
        }
    }

    fn object_word(&mut self, word: &str, words: &Words) -> Result<(), String> {
        let name = words.get("NAME").map(|n| n.to_uppercase());
        let known = |objects: &[Value], name: &str| objects.iter().any(|o| o["name"] == name);
        match (word, name) {
            ("EXCLUDE_OBJECT_DEFINE" | "EXCLUDE_OBJECT_START", Some(name)) => {
                if !known(&self.objects, &name) {
                    let list = |key| {
                        let text = words.get(key).map(|t| {
                            if t.starts_with("[[") {
                                t.clone()
                            } else {
                                format!("[{t}]")
                            }
                        });
                        text.and_then(|t| json::read::<Value>(&t).ok())
                    };
                    self.objects.push(match (list("CENTER"), list("POLYGON")) {
                        (Some(center), Some(polygon)) => {
                            json!({"name": name, "center": center, "polygon": polygon})
                        }
                        (Some(center), None) => json!({"name": name, "center": center}),
                        _ => json!({"name": name}),
                    });
                    sorted::by_key(&mut self.objects, |o| o["name"].to_string());
                }
                if word.ends_with("START") {
                    self.current = Some(name);
                }
            }
            ("EXCLUDE_OBJECT_END", _) => self.current = None,
            // An unknown name is taken as well (seen).
            ("EXCLUDE_OBJECT", Some(name)) if !self.excluded.contains(&name) => {
                self.console(&format!("// Excluding object {name}"));
                self.excluded.push(name);
                self.excluded.sort();
            }
            ("EXCLUDE_OBJECT", None) if words.contains_key("RESET") => self.excluded.clear(),
            ("EXCLUDE_OBJECT", None) if words.contains_key("CURRENT") => {
                let name = self
                    .current
                    .clone()
                    .ok_or("There is no current object to cancel")?;
                self.excluded.push(name);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Command and what stands behind it. `G1X5` is `G1` and `X5`.
fn split(line: &str) -> (String, String) {
    let first = line.split_whitespace().next().unwrap_or_default().to_uppercase();
    let classic = first.starts_with(|c: char| c.is_ascii_alphabetic())
        && first.chars().nth(1).is_some_and(|c| c.is_ascii_digit())
        && !first.contains('_');
    let length = if classic {
        1 + first
            .chars()
            .skip(1)
            .take_while(|c| c.is_ascii_digit() || *c == '.')
            .count()
    } else {
        first.len()
    };
    let name: String = first.chars().take(length).collect();
    let rest: String = line.chars().skip(name.chars().count()).collect();
    (name, rest.trim().to_owned())
}

fn words_of(name: &str, rest: &str) -> Words {
    let mut words = Words::new();
    let classic = name.chars().nth(1).is_some_and(|c| c.is_ascii_digit());
    let mut letters = rest.chars().peekable();
    while let Some(c) = letters.next() {
        if classic && c.is_ascii_alphabetic() {
            let mut value = String::new();
            while let Some(n) = letters.peek().copied().filter(|n| !n.is_ascii_alphabetic()) {
                letters.next();
                value.push(n);
            }
            words.insert(c.to_ascii_uppercase().to_string(), value.trim().to_owned());
        } else if !classic && !c.is_whitespace() {
            let mut key = String::from(c);
            while let Some(n) = letters.next_if(|n| *n != '=' && !n.is_whitespace()) {
                key.push(n);
            }
            let mut value = String::new();
            if letters.next_if_eq(&'=').is_some() {
                let quote = letters.next_if(|n| *n == '"' || *n == '\'');
                while let Some(n) = letters.next_if(|n| quote.map_or(!n.is_whitespace(), |q| *n != q)) {
                    value.push(n);
                }
                if quote.is_some() {
                    letters.next();
                }
            }
            words.insert(key.to_uppercase(), value);
        }
    }
    words
}

fn number(words: &Words, key: &str) -> Option<f64> {
    words.get(key)?.parse().ok().filter(|n: &f64| n.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart_as_klipper_does() {
        assert_eq!(split("G1X5 Y6").0, "G1");
        let words = words_of("G1", "X5 Y-6.5 E.1 F3000");
        assert_eq!(
            (number(&words, "Y"), number(&words, "E")),
            (Some(-6.5), Some(0.1))
        );
        let (name, rest) = split("SDCARD_PRINT_FILE FILENAME=\"layerd/by hand.gcode\" X=1");
        assert_eq!(words_of(&name, &rest)["FILENAME"], "layerd/by hand.gcode");
        let (name, rest) = split("RESPOND TYPE=command MSG='action:prompt_begin Load it?'");
        assert_eq!(words_of(&name, &rest)["MSG"], "action:prompt_begin Load it?");
    }
}
