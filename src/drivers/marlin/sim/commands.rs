//! The G-code that the simulated firmware knows.

use std::time::Duration;

use super::exec::Step;
use super::heat::Which;
use super::{Sim, value, words};

/// Below this a hotend does not extrude, °C (`EXTRUDE_MINTEMP`).
const EXTRUDE_MIN_C: f64 = 170.0;

/// Letter and number of a command: `G1X5` is `('G', 1)`.
pub(super) fn code(command: &str) -> Option<(char, u32)> {
    let letter = command.chars().next().filter(|c| matches!(c, 'G' | 'M' | 'T'))?;
    let digits = command.get(1..)?;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    Some((letter, digits.get(..end)?.parse().ok()?))
}

/// What follows the command's own number.
fn text_of(command: &str) -> &str {
    let end = command
        .char_indices()
        .skip(1)
        .find(|(_, c)| !c.is_ascii_digit())
        .map_or(command.len(), |(at, _)| at);
    command.get(end..).unwrap_or_default().trim()
}

impl Sim {
    /// Starts a command: what is left to do, and its special `ok` line if it has one.
    pub(super) fn execute(&mut self, command: &str) -> (Vec<Step>, Option<String>) {
        let Some((letter, number)) = code(command) else {
            return (self.unknown(command), None);
        };
        match letter {
            'G' => (self.g(number, command), None),
            'T' => (self.t(number), None),
            _ => match number {
                105 => (Vec::new(), Some(format!("ok {}", self.heaters.line()))),
                _ => (self.m(number, command), None),
            },
        }
    }

    fn unknown(&mut self, command: &str) -> Vec<Step> {
        self.say(&format!("echo:Unknown command: \"{command}\""));
        Vec::new()
    }

    fn g(&mut self, number: u32, command: &str) -> Vec<Step> {
        match number {
            0 | 1 => return self.travel(command, false),
            2 | 3 if self.options.arcs => return self.travel(command, true),
            4 => {
                let seconds = value(command, 'S').or_else(|| value(command, 'P').map(|ms| ms / 1000.0));
                return vec![Step::Drain, Step::Pause(self.scaled(seconds.unwrap_or(0.0)))];
            }
            28 => {
                return vec![
                    Step::Drain,
                    Step::Pause(self.scaled(8.0)),
                    Step::Homed(command.to_owned()),
                ];
            }
            29 | 30 | 34 => return vec![Step::Drain, Step::Pause(self.scaled(20.0))],
            90 => self.motion.set_relative(false),
            91 => self.motion.set_relative(true),
            92 => self.motion.set(command),
            10 | 11 | 17 | 18 | 19 | 21 | 26 | 53..=59 | 60 | 61 | 80 => {}
            // Inches are not built in by default.
            _ => return self.unknown(command),
        }
        Vec::new()
    }

    fn travel(&mut self, command: &str, arc: bool) -> Vec<Step> {
        let (seconds, extrudes) = self.motion.go(command, arc);
        let active = self.heaters.active;
        if extrudes
            && self
                .heaters
                .tool(active)
                .is_some_and(|h| h.actual_c < EXTRUDE_MIN_C)
        {
            self.say("echo: cold extrusion prevented");
        }
        if seconds > 0.0 {
            vec![Step::Room(seconds)]
        } else {
            Vec::new()
        }
    }

    fn t(&mut self, number: u32) -> Vec<Step> {
        match u8::try_from(number) {
            Ok(tool) if tool < self.options.extruders => {
                self.heaters.active = tool;
                self.say(&format!("echo:Active Extruder: {tool}"));
            }
            _ => self.say(&format!("echo:T{number} Invalid extruder")),
        }
        Vec::new()
    }

    fn m(&mut self, number: u32, command: &str) -> Vec<Step> {
        match number {
            0 | 1 => return self.wait_for_click(text_of(command)),
            600 => return self.change_filament(),
            400 => return vec![Step::Drain],
            104 | 109 | 140 | 190 | 141 | 191 => return self.heat(number, command),
            // Overtakes with the emergency parser, and is then acknowledged in turn.
            108 | 410 | 876 | 524 if self.options.emergency_parser => {}
            108 => self.waiting_for_user = false,
            876 => self.waiting_for_user = false,
            410 => self.quick_stop(),
            524 => self.abort_card(),
            112 => self.kill(Some("echo:M112 Shutdown")),
            20..=30 | 32 | 33 => return self.card_command(number, command),
            17 => self.motion.stay_awake(self.now),
            18 | 84 => {
                if value(command, 'S').is_none() {
                    self.motion.motors_off(command);
                    return vec![Step::Drain];
                }
                self.motion.motors_off(command);
                self.motion.stay_awake(self.now);
            }
            82 => self.motion.set_relative_e(false),
            83 => self.motion.set_relative_e(true),
            106 => self.motion.fan = value(command, 'S').map_or(255, |s| s.clamp(0.0, 255.0) as u8),
            107 => self.motion.fan = 0,
            110 => {
                if let Some(n) = value(command, 'N') {
                    self.last_number = n as i64;
                }
            }
            113 => match value(command, 'S') {
                Some(s) => self.keepalive = Duration::from_secs_f64(s.clamp(0.0, 60.0)),
                None => self.say(&format!("echo:M113 S{}", self.keepalive.as_secs())),
            },
            114 => {
                let line = self.motion.line();
                self.say(&line);
            }
            115 => {
                for line in words::capabilities(self) {
                    self.say(&line);
                }
            }
            73 => {
                self.display.percent = value(command, 'P').or(self.display.percent);
                self.display.minutes_left = value(command, 'R').or(self.display.minutes_left);
            }
            75 => self.display.timer_runs = true,
            76 | 77 => self.display.timer_runs = false,
            117 => self.display.message = text_of(command).to_owned(),
            118 => self.echo(text_of(command)),
            154 => self
                .report_position
                .set(self.now, value(command, 'S').unwrap_or(0.0)),
            155 => self
                .report_temperatures
                .set(self.now, value(command, 'S').unwrap_or(0.0)),
            220 => match value(command, 'S') {
                Some(percent) => self.motion.feed_percent = percent.clamp(1.0, 999.0),
                None => self.say(&format!("FR:{}%", self.motion.feed_percent)),
            },
            221 if value(command, 'S').is_none() => self.say("echo:E0 Flow: 100%"),
            503 => self.say("echo:; Linear Units:\r"),
            31 => self.say("echo:Print time: 0s\r"),
            999 => self.last_number = 0,
            3..=5
            | 42
            | 48
            | 72
            | 78
            | 80
            | 81
            | 85..=87
            | 92
            | 111
            | 119..=121
            | 125
            | 145
            | 150
            | 200..=211
            | 217
            | 218
            | 221
            | 226
            | 240
            | 250
            | 280
            | 290
            | 300..=306
            | 355
            | 401
            | 402
            | 404
            | 412
            | 413
            | 420
            | 425
            | 428
            | 486
            | 500..=502
            | 504
            | 540
            | 569
            | 572
            | 575
            | 593
            | 603
            | 605
            | 666
            | 701
            | 702
            | 808
            | 851
            | 860..=869
            | 900
            | 906..=919
            | 928 => {}
            _ => return self.unknown(command),
        }
        Vec::new()
    }

    fn echo(&mut self, text: &str) {
        let (mut text, mut prefix) = (text, "");
        while let Some(rest) = text.strip_prefix("A1").or_else(|| text.strip_prefix("E1")) {
            prefix = if text.starts_with("A1") { "// " } else { "echo:" };
            text = rest.trim_start();
        }
        self.say(&format!("{prefix}{text}\r"));
    }

    fn heat(&mut self, number: u32, command: &str) -> Vec<Step> {
        let which = match number {
            140 | 190 => Which::Bed,
            141 | 191 => Which::Chamber,
            _ => {
                let tool = value(command, 'T').map_or(self.heaters.active, |t| t.clamp(0.0, 255.0) as u8);
                if self.heaters.tool(tool).is_none() {
                    self.say(&format!("echo:M{number} T{tool} Invalid extruder"));
                    return Vec::new();
                }
                Which::Tool(tool)
            }
        };
        let cooling = value(command, 'R');
        let target = value(command, 'S').or(cooling);
        if let (Some(heater), Some(target)) = (self.heaters.get_mut(which), target) {
            heater.target_c = target.clamp(0.0, 350.0);
        }
        if !matches!(number, 109 | 190 | 191) {
            return Vec::new();
        }
        vec![Step::Drain, Step::Heat(which, cooling.is_some())]
    }

    fn card_command(&mut self, number: u32, command: &str) -> Vec<Step> {
        let text = text_of(command).to_owned();
        let mut lines = Vec::new();
        match number {
            20 => lines = self.card.list(text.contains('L')),
            21 if self.card.is_present() => lines.push("echo:SD card ok".to_owned()),
            21 => lines.push("echo:No SD card".to_owned()),
            22 => lines.push("echo:SD card released".to_owned()),
            23 => lines = self.card.select(&text),
            24 => {
                self.card.start();
            }
            25 => {
                if self.card.pause() {
                    lines.push("//action:paused".to_owned());
                }
            }
            26 => self
                .card
                .seek(value(command, 'S').unwrap_or(0.0).max(0.0) as usize),
            27 => match value(command, 'S') {
                Some(seconds) => self.report_card.set(self.now, seconds),
                None if text.contains('C') => lines.push(self.card.current()),
                None => lines.push(self.card.status()),
            },
            28 => lines.push(self.card.write(&text)),
            29 => {
                if self.card.close() {
                    lines.push("Done saving file.".to_owned());
                }
            }
            30 => lines.push(self.card.delete(&text)),
            32 => {
                lines = self.card.select(&text);
                self.card.start();
            }
            _ => lines.push(text.to_ascii_lowercase()),
        }
        for line in lines {
            self.say(&line);
        }
        Vec::new()
    }
}
