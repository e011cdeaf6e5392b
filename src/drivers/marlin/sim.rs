//! A Marlin 2.1 printer without the printer: bytes in, bytes out, time as an argument.
//!
//! The protocol follows what was seen on a running Marlin 2.1: line numbers before checksums, repeats
//! of the last two numbers dropped in silence, the receive buffer emptied after an error, a queue of
//! four commands, a planner of sixteen blocks, emergency commands that overtake. It records every
//! command that it executed, so that a test can compare it with the file. [`pty`] runs it on a real
//! pseudo-terminal.

mod commands;
mod exec;
mod faults;
mod heat;
mod motion;
mod planner;
mod prompts;
pub mod pty;
mod sd;
mod words;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use exec::{Running, Step};
pub use faults::{Injection, LineFaults};
use faults::{Noise, Outgoing};
use heat::Heaters;
use motion::Motion;
pub use motion::Position;
use planner::Planner;
use sd::Card;

/// Longest line that keeps its tail (`MAX_CMD_SIZE` 96 with the terminator).
const LINE_MAX: usize = 95;
/// Commands in the queue (`BUFSIZE`).
const QUEUE_MAX: usize = 4;
/// Executed commands that are remembered; later ones are only counted.
const RECORD_MAX: usize = 1_000_000;
/// Output that nobody fetches: beyond this the firmware's port drops bytes.
const OUTPUT_MAX: usize = 256 * 1024;

/// What the simulated printer is like.
#[derive(Clone, Debug)]
pub struct Options {
    /// How much faster than life moves, dwells and heaters are.
    pub speed: f64,
    /// Hotends.
    pub extruders: u8,
    /// Whether there is a heated chamber.
    pub chamber: bool,
    /// `EMERGENCY_PARSER`.
    pub emergency_parser: bool,
    /// `ADVANCED_OK`: `ok N12 P15 B3`.
    pub advanced_ok: bool,
    /// Whether G2 and G3 are known.
    pub arcs: bool,
    /// Receive buffer in bytes; what exceeds it is lost. 0: the sender waits (native USB).
    pub rx_bytes: usize,
    /// Time from reset to the banner.
    pub boot: Duration,
    /// Whether unplugging or opening the port resets the board (auto-reset capacitor).
    pub reset_on_open: bool,
    /// Damage on the line.
    pub faults: LineFaults,
    /// What happens after so many executed commands.
    pub schedule: Vec<(u64, Injection)>,
    /// Files on the card: 8.3 name and content.
    pub card: Option<Vec<(String, Vec<u8>)>>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            speed: 1.0,
            extruders: 1,
            chamber: false,
            emergency_parser: true,
            advanced_ok: false,
            arcs: true,
            rx_bytes: 128,
            boot: Duration::from_millis(200),
            reset_on_open: false,
            faults: LineFaults::default(),
            schedule: Vec::new(),
            card: Some(Vec::new()),
        }
    }
}

/// A command that was executed.
#[derive(Clone, Debug, PartialEq)]
pub struct Executed {
    /// Its line number, if it had one.
    pub number: Option<i64>,
    /// The command without number, comment and checksum.
    pub text: String,
    /// Where the head was told to be afterwards.
    pub position: Position,
}

/// A command between reception and its `ok`.
#[derive(Clone, Debug)]
struct Queued {
    number: Option<i64>,
    text: String,
    /// Commands from the card or the firmware itself get no `ok`.
    answered: bool,
}

/// The simulated printer.
#[derive(Debug)]
pub struct Sim {
    options: Options,
    /// Time since the start of the simulation.
    now: Duration,
    /// When the banner of the last reset comes; `None` once it came.
    boot_at: Option<Duration>,
    boot_cause: &'static str,
    rx: VecDeque<u8>,
    /// The line being read, and whether a comment has begun.
    line: Vec<u8>,
    in_comment: bool,
    /// The emergency parser's own view of the line.
    urgent: Vec<u8>,
    last_number: i64,
    queue: VecDeque<Queued>,
    running: Option<Running>,
    planner: Planner,
    heaters: Heaters,
    motion: Motion,
    card: Card,
    out: Outgoing,
    noise: Noise,
    killed: bool,
    muted: bool,
    /// A person is waited for; the emergency parser or M108 ends it.
    waiting_for_user: bool,
    /// M108 came while something was heating.
    heat_wait_over: bool,
    prompt_answer: Option<i64>,
    keepalive: Duration,
    busy_at: Duration,
    report_temperatures: Every,
    report_position: Every,
    report_card: Every,
    wait_report_at: Duration,
    executed: Vec<Executed>,
    executed_count: u64,
    heard_bytes: u64,
    resets: u32,
    display: Display,
}

/// What the printer's screen shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Display {
    /// Text of M117.
    pub message: String,
    /// Percent of M73.
    pub percent: Option<f64>,
    /// Minutes left of M73.
    pub minutes_left: Option<f64>,
    /// Whether the print timer runs (M75 to M77).
    pub timer_runs: bool,
}

/// A periodic report: off, or every so often.
#[derive(Clone, Copy, Debug, Default)]
struct Every {
    interval: Option<Duration>,
    next: Duration,
}

impl Every {
    fn set(&mut self, now: Duration, seconds: f64) {
        self.interval = (seconds > 0.0).then(|| Duration::from_secs_f64(seconds.min(255.0)));
        self.next = now + self.interval.unwrap_or_default();
    }

    fn due(&mut self, now: Duration) -> bool {
        match self.interval {
            Some(interval) if now >= self.next => {
                self.next = now + interval;
                true
            }
            _ => false,
        }
    }

    fn deadline(&self) -> Option<Duration> {
        self.interval.map(|_| self.next)
    }
}

impl Sim {
    /// A printer that is switched on at time zero.
    pub fn new(options: Options) -> Self {
        let noise = Noise::new(&options.faults);
        let mut sim = Sim {
            heaters: Heaters::new(options.extruders.max(1), options.chamber, options.speed),
            motion: Motion::default(),
            card: Card::new(options.card.clone()),
            noise,
            now: Duration::ZERO,
            boot_at: None,
            boot_cause: "PowerUp",
            rx: VecDeque::new(),
            line: Vec::new(),
            in_comment: false,
            urgent: Vec::new(),
            last_number: 0,
            queue: VecDeque::new(),
            running: None,
            planner: Planner::default(),
            out: Outgoing::default(),
            killed: false,
            muted: false,
            waiting_for_user: false,
            heat_wait_over: false,
            prompt_answer: None,
            keepalive: Duration::from_secs(2),
            busy_at: Duration::ZERO,
            report_temperatures: Every::default(),
            report_position: Every::default(),
            report_card: Every::default(),
            wait_report_at: Duration::ZERO,
            executed: Vec::new(),
            executed_count: 0,
            heard_bytes: 0,
            resets: 0,
            display: Display::default(),
            options,
        };
        sim.boot(Duration::ZERO, "PowerUp");
        sim
    }

    /// Bytes from the host.
    pub fn feed(&mut self, now: Duration, bytes: &[u8]) {
        self.advance(now);
        self.heard_bytes += bytes.len() as u64;
        for &byte in bytes {
            self.see_urgent(byte);
            if self.options.rx_bytes == 0 || self.rx.len() < self.options.rx_bytes {
                self.rx.push_back(byte);
            }
            // The firmware fetches while the bytes arrive, as long as there is room in the queue.
            if byte == b'\n' || byte == b'\r' {
                self.advance(now);
            }
        }
        self.advance(now);
    }

    /// Lets time pass up to `now`.
    pub fn advance(&mut self, now: Duration) {
        self.now = self.now.max(now);
        if let Some(at) = self.boot_at {
            if self.now < at {
                // The boot loader throws away what it hears.
                self.rx.clear();
                return;
            }
            self.boot_at = None;
            words::banner(self);
        }
        self.heaters.advance(self.now);
        self.planner.retire(self.now);
        while !self.killed {
            self.fetch();
            if !self.work() {
                break;
            }
        }
        self.report();
    }

    /// When [`Sim::advance`] has something to do next, if nothing arrives before.
    pub fn deadline(&self) -> Option<Duration> {
        let output = self.out.deadline(self.now);
        if let Some(at) = self.boot_at {
            return earliest([Some(at), output]);
        }
        if self.killed {
            return output;
        }
        let running = self.running.as_ref();
        earliest([
            output,
            running
                .filter(|_| !self.keepalive.is_zero())
                .map(|_| self.busy_at),
            running.and_then(|running| self.step_deadline(running)),
            self.report_temperatures.deadline(),
            self.report_position.deadline(),
            self.report_card.deadline().filter(|_| self.card.is_printing()),
            self.motion.sleep_at(),
        ])
    }

    /// Bytes to the host that are due.
    pub fn take_output(&mut self) -> Vec<u8> {
        self.out.take(self.now)
    }

    /// Something happens to the printer.
    pub fn inject(&mut self, now: Duration, injection: Injection) {
        self.advance(now);
        self.apply(injection);
        self.advance(now);
    }

    /// The line gets other damage from now on.
    pub fn set_faults(&mut self, faults: LineFaults) {
        self.noise = Noise::new(&faults);
        self.options.faults = faults;
    }

    /// What was executed so far, in order.
    pub fn executed(&self) -> &[Executed] {
        &self.executed
    }

    /// The same, and forgets it: for a record that is kept elsewhere.
    pub fn take_executed(&mut self) -> Vec<Executed> {
        std::mem::take(&mut self.executed)
    }

    /// How many commands were executed.
    pub fn executed_count(&self) -> u64 {
        self.executed_count
    }

    /// How many bytes arrived, understood or not.
    pub fn heard_bytes(&self) -> u64 {
        self.heard_bytes
    }

    /// Where the head was told to be.
    pub fn position(&self) -> Position {
        self.motion.position()
    }

    /// Whether the motors lost their position since the last homing (timeout, M84, reset).
    pub fn motors_slept(&self) -> bool {
        self.motion.slept()
    }

    /// Whether X, Y and Z are homed.
    pub fn homed(&self) -> bool {
        self.motion.homed()
    }

    /// Target of a hotend, °C.
    pub fn tool_target_c(&self, tool: u8) -> f64 {
        self.heaters.tool(tool).map_or(0.0, |h| h.target_c)
    }

    /// Target of the bed, °C.
    pub fn bed_target_c(&self) -> f64 {
        self.heaters.bed.target_c
    }

    /// Measured temperature of a hotend, °C.
    pub fn tool_c(&self, tool: u8) -> f64 {
        self.heaters.tool(tool).map_or(0.0, |h| h.actual_c)
    }

    /// Measured temperature of the bed, °C.
    pub fn bed_c(&self) -> f64 {
        self.heaters.bed.actual_c
    }

    /// Another program moves the head through another port.
    pub fn moved_elsewhere(&mut self, command: &str) {
        self.motion.go(command, false);
    }

    /// Whether any heater has a target.
    pub fn is_heating(&self) -> bool {
        self.heaters.any_target()
    }

    /// Part fan, 0 to 255.
    pub fn fan(&self) -> u8 {
        self.motion.fan
    }

    /// Whether the firmware has halted.
    pub fn is_killed(&self) -> bool {
        self.killed
    }

    /// Resets so far, the first switching on not counted.
    pub fn resets(&self) -> u32 {
        self.resets
    }

    /// The screen.
    pub fn display(&self) -> &Display {
        &self.display
    }

    /// Whether a file of the card is printing.
    pub fn is_card_printing(&self) -> bool {
        self.card.is_printing()
    }

    /// Whether opening the port resets the board.
    pub fn resets_on_open(&self) -> bool {
        self.options.reset_on_open
    }

    fn boot(&mut self, now: Duration, cause: &'static str) {
        self.now = self.now.max(now);
        self.boot_at = Some(self.now + self.options.boot);
        self.boot_cause = cause;
        self.rx.clear();
        self.line.clear();
        self.urgent.clear();
        self.in_comment = false;
        self.last_number = 0;
        self.queue.clear();
        self.running = None;
        self.planner = Planner::default();
        self.heaters.all_off();
        self.motion = Motion::default();
        self.card.stop();
        self.killed = false;
        self.muted = false;
        self.waiting_for_user = false;
        self.heat_wait_over = false;
        self.prompt_answer = None;
        self.keepalive = Duration::from_secs(2);
        self.report_temperatures = Every::default();
        self.report_position = Every::default();
        self.report_card = Every::default();
        self.display = Display::default();
    }

    /// Moves received bytes into the command queue.
    fn fetch(&mut self) {
        while self.queue.len() < QUEUE_MAX - usize::from(self.running.is_some()) {
            let Some(byte) = self.rx.pop_front() else {
                break;
            };
            match byte {
                b'\n' | b'\r' => self.end_of_line(),
                b';' => self.in_comment = true,
                _ if self.in_comment => {}
                _ if self.line.len() < LINE_MAX => self.line.push(byte),
                _ => {}
            }
            if self.killed {
                return;
            }
        }
        if self.queue.is_empty() && self.running.is_none() {
            if let Some(text) = self.card.next_line() {
                self.enqueue(None, text, false);
            } else if self.card.finish() {
                self.say("Done printing file");
            }
        }
    }

    fn end_of_line(&mut self) {
        self.in_comment = false;
        let line = std::mem::take(&mut self.line);
        let Some(line) = self.noise.incoming(line) else {
            return;
        };
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_start_matches(' ').trim_end();
        if text.is_empty() {
            return;
        }
        match text.strip_prefix('N') {
            Some(rest) => self.numbered(text, rest),
            None => {
                let text = text.split('*').next().unwrap_or_default().trim_end();
                if !self.options.emergency_parser {
                    self.overtake(text);
                }
                self.accept(None, text.to_owned());
            }
        }
    }

    /// The checks of a numbered line, in the firmware's order: number first, checksum second.
    fn numbered(&mut self, text: &str, rest: &str) {
        let digits = rest.len()
            - rest
                .trim_start_matches(|c: char| c.is_ascii_digit() || c == '-')
                .len();
        let (number, command) = rest.split_at_checked(digits).unwrap_or((rest, ""));
        let mut number = number.parse::<i64>().unwrap_or(0);
        let sets_number = command.contains("M110");
        if sets_number && let Some(wanted) = value(command, 'N') {
            number = wanted as i64;
        }
        if !sets_number && number != self.last_number + 1 {
            // A resend that was already in transit: dropped without a word.
            if (self.last_number - 1..=self.last_number).contains(&number) {
                return;
            }
            return self.refuse("Line Number is not Last Line Number+1");
        }
        let Some(star) = text.rfind('*') else {
            return self.refuse("No Checksum with line number");
        };
        let (body, given) = text.split_at_checked(star).unwrap_or((text, ""));
        let sum = body.bytes().fold(0u8, |sum, byte| sum ^ byte);
        if given.trim_start_matches('*').trim().parse::<u8>() != Ok(sum) {
            return self.refuse("checksum mismatch");
        }
        self.last_number = number;
        // A text is cut at its first star.
        let command = command.split('*').next().unwrap_or_default().trim();
        self.accept(Some(number), command.to_owned());
    }

    /// An error, after which the receive buffer is emptied and the line asked for again.
    fn refuse(&mut self, why: &str) {
        self.rx.clear();
        self.line.clear();
        self.in_comment = false;
        self.say(&format!("Error:{why}, Last Line: {}", self.last_number));
        self.say(&format!("Resend: {}", self.last_number + 1));
        self.say_ok("ok");
    }

    fn accept(&mut self, number: Option<i64>, text: String) {
        if self.card.take_line(&text) {
            self.say_ok("ok");
            return;
        }
        self.enqueue(number, text, true);
    }

    fn enqueue(&mut self, number: Option<i64>, text: String, answered: bool) {
        self.queue.push_back(Queued {
            number,
            text,
            answered,
        });
    }

    /// The emergency parser: acts as soon as the line is complete, whatever waits before it.
    fn see_urgent(&mut self, byte: u8) {
        if !self.options.emergency_parser || self.boot_at.is_some() || self.killed {
            return;
        }
        if byte != b'\n' && byte != b'\r' {
            if self.urgent.len() < LINE_MAX {
                self.urgent.push(byte);
            }
            return;
        }
        let line = std::mem::take(&mut self.urgent);
        let text = String::from_utf8_lossy(&line);
        let command = match text.trim().strip_prefix('N') {
            Some(rest) => rest
                .trim_start_matches(|c: char| c.is_ascii_digit() || c == '-')
                .trim(),
            None => text.trim(),
        };
        let command = command.split('*').next().unwrap_or_default();
        self.overtake(command);
    }

    fn overtake(&mut self, command: &str) {
        match commands::code(command) {
            Some(('M', 108)) => {
                self.heat_wait_over = true;
                self.waiting_for_user = false;
            }
            Some(('M', 112)) => self.kill(Some("echo:M112 Shutdown")),
            Some(('M', 410)) => self.quick_stop(),
            Some(('M', 876)) => {
                self.prompt_answer = value(command, 'S').map(|s| s as i64);
                self.waiting_for_user = false;
            }
            Some(('M', 524)) => self.abort_card(),
            _ => {}
        }
    }

    fn quick_stop(&mut self) {
        self.planner.clear(self.now);
        if let Some(running) = &mut self.running {
            running.steps.retain(|step| !matches!(step, Step::Room(_)));
        }
    }

    fn abort_card(&mut self) {
        if self.card.is_printing() {
            self.card.stop();
            self.heaters.all_off();
        }
    }

    /// The firmware halts: heaters off, last words, silence.
    fn kill(&mut self, first: Option<&str>) {
        self.heaters.all_off();
        if let Some(first) = first {
            self.say(first);
        }
        self.say("Error:Printer halted. kill() called!");
        self.say("//action:poweroff");
        self.killed = true;
        self.queue.clear();
        self.running = None;
        self.rx.clear();
    }

    /// Periodic lines.
    fn report(&mut self) {
        if self.killed {
            return;
        }
        if self.running.is_some() && self.now >= self.busy_at && !self.keepalive.is_zero() {
            self.say(if self.waiting_for_user {
                "echo:busy: paused for user"
            } else {
                "echo:busy: processing"
            });
            self.busy_at = self.now + self.keepalive;
        }
        if self.report_temperatures.due(self.now) {
            let line = format!(" {}", self.heaters.line());
            self.say(&line);
        }
        if self.report_position.due(self.now) {
            let line = self.motion.line();
            self.say(&line);
        }
        if self.report_card.due(self.now) && self.card.is_printing() {
            let line = self.card.status();
            self.say(&line);
        }
        self.motion.sleep_if_due(self.now);
    }

    fn say(&mut self, line: &str) {
        if !self.muted {
            let line = self.noise.outgoing(line);
            self.out.push(self.now, line);
        }
    }

    /// An `ok`, which the noise may lose, double or delay.
    fn say_ok(&mut self, line: &str) {
        if self.muted {
            return;
        }
        for (delay, line) in self.noise.ok(line) {
            self.out.push(self.now + delay, line);
        }
    }
}

/// The number behind a letter, as the firmware finds it: no blank needed, no case folded.
fn value(command: &str, letter: char) -> Option<f64> {
    let rest = command.get(1..)?;
    let at = rest.find(letter)?;
    let number = rest.get(at + 1..)?.trim_start();
    let end = number
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+')))
        .unwrap_or(number.len());
    number.get(..end)?.parse().ok()
}

fn earliest<const N: usize>(times: [Option<Duration>; N]) -> Option<Duration> {
    times.into_iter().flatten().min()
}
