//! What can go wrong with the line and with the printer, reproducible by seed.

use std::collections::VecDeque;
use std::time::Duration;

use super::{OUTPUT_MAX, Sim, heat::Which};

/// Damage on the serial line, each in lines per thousand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineFaults {
    /// Same seed, same damage.
    pub seed: u64,
    /// Lines of the host with one byte changed.
    pub corrupt_in: u32,
    /// Lines of the host that never arrive.
    pub drop_in: u32,
    /// Answers with one byte changed (`ok` excepted, see `drop_ok`).
    pub corrupt_out: u32,
    /// `ok` lines that get lost.
    pub drop_ok: u32,
    /// `ok` lines that come twice.
    pub double_ok: u32,
    /// `ok` lines that come late.
    pub delay_ok: u32,
    /// How late those come.
    pub delay: Duration,
}

/// Something that happens to the printer.
#[derive(Clone, Debug, PartialEq)]
pub enum Injection {
    /// The board restarts: watchdog, brown-out, button.
    Reset,
    /// The firmware halts with these words, for example a thermal error.
    Kill(String),
    /// Thermal runaway of hotend 0.
    ThermalRunaway,
    /// Nothing more is said, whatever comes.
    Mute,
    /// The opposite.
    Unmute,
    /// The filament sensor fires.
    Runout,
    /// A line out of the blue.
    Say(String),
    /// Somebody starts a file at the printer's own screen.
    PrintFromCard(String),
    /// Somebody sets a hotend's target at the screen, °C.
    SetTool(u8, f64),
    /// A sensor shows this, °C.
    Sensor(u8, f64),
    /// The hotend's heater no longer heats.
    HeaterStuck(u8),
    /// Somebody presses the button that a prompt asks for.
    PressButton,
}

impl Sim {
    pub(super) fn apply(&mut self, injection: Injection) {
        match injection {
            Injection::Reset => {
                self.resets += 1;
                self.boot(self.now, "Software Reset");
            }
            Injection::Kill(words) => self.kill(Some(&words)),
            Injection::ThermalRunaway => {
                self.kill(Some("Error:Thermal Runaway, system stopped! Heater_ID: 0"));
            }
            Injection::Mute => self.muted = true,
            Injection::Unmute => self.muted = false,
            Injection::Runout => {
                self.say("//action:out_of_filament T0");
                self.enqueue(None, "M600".to_owned(), false);
            }
            Injection::Say(line) => self.say(&line),
            Injection::PrintFromCard(name) => {
                for line in self.card.select(&name) {
                    self.say(&line);
                }
                self.card.start();
            }
            Injection::SetTool(tool, target) => {
                if let Some(heater) = self.heaters.get_mut(Which::Tool(tool)) {
                    heater.target_c = target;
                }
            }
            Injection::Sensor(tool, actual) => {
                if let Some(heater) = self.heaters.get_mut(Which::Tool(tool)) {
                    heater.actual_c = actual;
                }
            }
            Injection::HeaterStuck(tool) => {
                if let Some(heater) = self.heaters.get_mut(Which::Tool(tool)) {
                    heater.stuck = true;
                }
            }
            Injection::PressButton => self.waiting_for_user = false,
        }
    }
}

/// The dice.
#[derive(Debug)]
pub(super) struct Noise {
    faults: LineFaults,
    dice: fastrand::Rng,
}

impl Noise {
    pub fn new(faults: &LineFaults) -> Self {
        Noise {
            faults: faults.clone(),
            dice: fastrand::Rng::with_seed(faults.seed),
        }
    }

    fn hits(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.dice.u32(0..1000) < per_mille
    }

    /// What arrives of a line of the host.
    pub fn incoming(&mut self, mut line: Vec<u8>) -> Option<Vec<u8>> {
        if self.hits(self.faults.drop_in) {
            return None;
        }
        if self.hits(self.faults.corrupt_in) {
            self.change_a_byte(&mut line);
        }
        Some(line)
    }

    pub fn outgoing(&mut self, line: &str) -> Vec<u8> {
        let mut line = line.as_bytes().to_vec();
        if self.hits(self.faults.corrupt_out) {
            self.change_a_byte(&mut line);
        }
        line
    }

    /// What becomes of an `ok`: nothing, one, or two, each with its delay.
    pub fn ok(&mut self, line: &str) -> Vec<(Duration, Vec<u8>)> {
        if self.hits(self.faults.drop_ok) {
            return Vec::new();
        }
        let delay = if self.hits(self.faults.delay_ok) {
            self.faults.delay
        } else {
            Duration::ZERO
        };
        let copies = if self.hits(self.faults.double_ok) { 2 } else { 1 };
        (0..copies).map(|_| (delay, line.as_bytes().to_vec())).collect()
    }

    fn change_a_byte(&mut self, line: &mut [u8]) {
        if line.is_empty() {
            return;
        }
        let at = self.dice.usize(0..line.len());
        if let Some(byte) = line.get_mut(at) {
            // Another printable character, neither a line end nor a comment.
            let was = *byte;
            while *byte == was || *byte == b';' {
                *byte = self.dice.u8(0x20..0x7f);
            }
        }
    }
}

/// Lines on their way to the host, in order.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    lines: VecDeque<(Duration, Vec<u8>)>,
    bytes: usize,
}

impl Outgoing {
    pub fn push(&mut self, at: Duration, mut line: Vec<u8>) {
        if self.bytes > OUTPUT_MAX {
            return;
        }
        line.push(b'\n');
        self.bytes += line.len();
        // A delayed line delays what follows it: a serial line does not overtake.
        let at = self.lines.back().map_or(at, |(last, _)| (*last).max(at));
        self.lines.push_back((at, line));
    }

    pub fn take(&mut self, now: Duration) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some((_, line)) = self.lines.pop_front_if(|(at, _)| *at <= now) {
            self.bytes -= line.len();
            bytes.extend_from_slice(&line);
        }
        bytes
    }

    pub fn deadline(&self, now: Duration) -> Option<Duration> {
        self.lines.front().map(|(at, _)| (*at).max(now))
    }
}
