//! From an open port to a known printer: speed, numbering, identity, capabilities.
//!
//! Opening a port resets most boards (banner after 0.5–8 s) and others not at all. One that was not
//! reset may be heating or printing from its card and answers nothing but temperatures and `busy`
//! for minutes; that proves port and speed all the same.

use std::time::{Duration, Instant};

use super::answer::Answer;
use super::dialect::{self, Family};
use super::faults;
use super::history::Tag;
use super::proto::{Marlin, Output, Phase};
use super::scan::trim;
use super::script::{Mark, Step};
use super::silence::Patience;
use crate::printer::capability::Capabilities;
use crate::printer::event::Event;
use crate::printer::model::{Activity, Firmware, Now};
use crate::printer::notice::Level;

/// Patience with the first speed: bootloader and banner.
const FIRST_SPEED: Duration = Duration::from_secs(10);
/// Patience with each further speed: no reset comes with it.
const OTHER_SPEED: Duration = Duration::from_millis(2500);
/// Between two greetings.
const AGAIN: Duration = Duration::from_secs(2);
/// A banner is over when nothing came for so long.
const BANNER_QUIET: Duration = Duration::from_millis(400);
/// Some firmwares (Repetier) say `ok` first and the answer behind it.
const LATE_ANSWER: Duration = Duration::from_millis(500);
/// Unreadable pieces in a row that prove a wrong speed.
const NOISE_MAX: u8 = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// A job of the process before is being found again: see `adopt`.
    Adopting,
    /// Waiting for a banner or for a moment of quiet.
    Listen { until: Instant },
    /// `M110` is on its way since.
    Greeted { at: Instant },
    /// `M115` is on its way.
    Asking,
    /// `M29` was sent: the printer may have been left writing a file.
    EndingFile,
    /// The rest is a script.
    Settling,
}

/// State of the handshake.
#[derive(Debug)]
pub struct Hello {
    stage: Stage,
    bauds: Vec<u32>,
    index: usize,
    rounds: u8,
    since: Instant,
    /// A readable line came: port and speed are right.
    readable: bool,
    noise: u8,
    identified: bool,
    /// The `ok` came without an identity, which may still follow until then.
    identity_by: Option<Instant>,
    file_ended: bool,
    waiting_told: bool,
    heaters_off: bool,
    up: bool,
    firmware: Firmware,
}

impl Hello {
    /// A handshake on a port opened just now.
    pub fn new(now: Instant, bauds: &[u32]) -> Self {
        Hello {
            stage: Stage::Listen {
                until: now + Duration::from_millis(300),
            },
            bauds: bauds.to_vec(),
            index: 0,
            rounds: 0,
            since: now,
            readable: false,
            noise: 0,
            identified: false,
            identity_by: None,
            file_ended: false,
            waiting_told: false,
            heaters_off: false,
            up: false,
            firmware: Firmware::default(),
        }
    }

    /// The printer has restarted on the same port; heaters are switched off first.
    pub fn again(&mut self, now: Instant) {
        let up = self.up;
        *self = Hello {
            readable: true,
            heaters_off: true,
            up,
            ..Hello::new(now, &[])
        };
        self.stage = Stage::Listen {
            until: now + BANNER_QUIET,
        };
    }

    /// Instead of a greeting a running job is looked for.
    pub fn begin_adopting(&mut self) {
        self.stage = Stage::Adopting;
        self.readable = true;
    }

    /// That failed: greet as usual.
    pub fn begin_listening(&mut self) {
        self.stage = Stage::Listen { until: self.since };
    }

    /// The printer can be reached; `true` the first time.
    pub fn first_up(&mut self) -> bool {
        !std::mem::replace(&mut self.up, true)
    }

    /// Heaters go off before anything else.
    pub fn cool_first(&mut self) {
        self.heaters_off = true;
    }

    /// A readable line came.
    pub fn legible(&mut self) {
        self.readable = true;
        self.noise = 0;
    }

    /// An unreadable piece came.
    pub fn noise(&mut self, _now: Instant) {
        self.noise = self.noise.saturating_add(1);
    }

    /// The speed is still being searched.
    pub fn scanning(&self) -> bool {
        matches!(
            self.stage,
            Stage::Adopting | Stage::Listen { .. } | Stage::Greeted { .. }
        )
    }

    /// Requests for old lines mean nothing before numbering is agreed.
    pub fn ignores_resend(&self) -> bool {
        matches!(self.stage, Stage::Adopting | Stage::Listen { .. })
    }
}

/// Whether a line is text of a printer rather than noise of a wrong speed.
fn is_text(raw: &[u8]) -> bool {
    let line = trim(raw);
    let odd = line.iter().filter(|b| !(b' '..=b'~').contains(*b)).count();
    !line.is_empty() && odd * 5 <= line.len()
}

impl Marlin {
    pub(super) fn hello_line(&mut self, now: Now, raw: &[u8], answer: &Answer<'_>) {
        if !is_text(raw) {
            self.hello.noise(now.mono);
            return;
        }
        // One readable word may be chance; a known form is not.
        let known = !matches!(answer, Answer::Other(_) | Answer::Comment(_));
        if known || raw.len() >= 8 {
            self.hello.legible();
        }
        match (answer, self.hello.stage) {
            // A banner comes in many lines: greet when it is over.
            (_, Stage::Listen { .. }) => {
                self.hello.stage = Stage::Listen {
                    until: now.mono + BANNER_QUIET,
                };
            }
            (Answer::Start, _) => {
                self.hello.stage = Stage::Listen {
                    until: now.mono + BANNER_QUIET,
                }
            }
            _ => {}
        }
    }

    pub(super) fn hello_tick(&mut self, now: Now) {
        match self.hello.stage {
            Stage::Listen { until } if now.mono >= until => self.greet(now),
            Stage::Greeted { at } => {
                if self.sender.acked() > 0 {
                    self.ask_identity(now);
                } else if !self.hello.readable && self.next_speed_due(now) {
                    self.next_speed(now);
                } else if now.mono >= at + AGAIN {
                    if self.hello.readable {
                        self.tell_waiting();
                    }
                    self.greet(now);
                }
            }
            _ => {}
        }
    }

    fn next_speed_due(&self, now: Now) -> bool {
        let patience = if self.hello.index == 0 && self.hello.rounds == 0 {
            FIRST_SPEED
        } else {
            OTHER_SPEED
        };
        now.mono >= self.hello.since + patience || self.hello.noise >= NOISE_MAX
    }

    fn next_speed(&mut self, now: Now) {
        self.hello.index += 1;
        self.hello.noise = 0;
        if self.hello.index >= self.hello.bauds.len().max(1) {
            self.hello.index = 0;
            self.hello.rounds += 1;
            if self.hello.rounds >= 2 || self.hello.bauds.len() <= 1 {
                self.hangup(faults::NO_ANSWER);
                return;
            }
        }
        self.hello.since = now.mono;
        self.hello.stage = Stage::Listen {
            until: now.mono + Duration::from_millis(100),
        };
        if let Some(baud) = self.hello.bauds.get(self.hello.index) {
            self.out.push_back(Output::Baud(*baud));
        }
    }

    /// `M110 N0`, behind a line end that closes whatever half line the printer holds.
    fn greet(&mut self, now: Now) {
        self.hello.stage = Stage::Greeted { at: now.mono };
        self.sender.restart(now.mono, 0);
        self.acks_seen = 0;
        self.sender.tx.push(b'\n');
        if std::mem::take(&mut self.hello.heaters_off) {
            // A wait for heat would keep the rest waiting.
            self.sender.push_loose(now.mono, b"M108", true);
            self.sender.push_loose(now.mono, b"M104 S0", true);
            self.sender.push_loose(now.mono, b"M140 S0", true);
        }
        self.send(now, "M110 N0", Tag::Step, Patience::Short);
    }

    /// The printer lives but does not answer yet: heating, printing from its card, in a menu.
    fn tell_waiting(&mut self) {
        if !self.hello.waiting_told {
            self.hello.waiting_told = true;
            if !std::mem::replace(&mut self.hello.up, true) {
                self.event(Event::Up);
            }
            self.event(Event::Activity(Activity::NotReady(
                "The printer is busy with something that was started before (heating, homing or a print from its card)."
                    .to_owned(),
            )));
        }
    }

    pub(super) fn ask_identity(&mut self, now: Now) {
        self.hello.stage = Stage::Asking;
        self.send(now, "M115", Tag::Step, Patience::Long(Duration::from_secs(60)));
    }

    /// What to send next in the handshake, once there is room; called through `next_step` and the pump.
    pub(super) fn hello_progress(&mut self, now: Now) -> bool {
        match self.hello.stage {
            Stage::Greeted { .. } if self.sender.acked() > 0 => self.ask_identity(now),
            Stage::Asking if self.sender.is_idle() => {
                let known = self.hello.identified || self.caps.any() || self.hello.file_ended;
                match self.hello.identity_by {
                    None if !known => self.hello.identity_by = Some(now.mono + LATE_ANSWER),
                    Some(by) if now.mono < by => return false,
                    _ if known => self.settle(),
                    _ => {
                        // An ok and nothing else: perhaps every line goes into a file.
                        self.hello.file_ended = true;
                        self.hello.stage = Stage::EndingFile;
                        self.send(now, "M29", Tag::Step, Patience::Long(Duration::from_secs(60)));
                    }
                }
            }
            Stage::EndingFile if self.sender.is_idle() => self.ask_identity(now),
            _ => return false,
        }
        true
    }

    fn settle(&mut self) {
        self.hello.stage = Stage::Settling;
        if self.quirks.keepalive {
            self.then([Step::fixed("M113 S2")]);
        }
        if self.caps.has("AUTOREPORT_TEMP") {
            self.reports.autoreport = true;
            self.then([Step::fixed("M155 S2")]);
        }
        self.then([Step::fixed("M105"), Step::fixed("M114")]);
        if self.caps.has("SDCARD") {
            self.then([Step::fixed("M27")]);
        }
        self.then([Step::Await, Step::Mark(Mark::Ready)]);
    }

    /// Everything is known: requests can be served.
    pub(super) fn ready(&mut self, now: Now) {
        if let super::settings::Window::Lines(n) = self.settings.window {
            self.sender.set_window(usize::from(n));
        }
        let firmware = self.hello.firmware.clone();
        self.event(Event::Identity(firmware));
        let capabilities = self.capabilities();
        self.event(Event::Capabilities(capabilities));
        if self.caps.lacks("THERMAL_PROTECTION") {
            self.notice(now, &faults::UNPROTECTED, Level::Warning);
        }
        self.phase = Phase::Idle;
        self.want_filament();
        if !std::mem::replace(&mut self.hello.up, true) {
            self.event(Event::Up);
        }
        if self.take_job_up(now) {
            self.reports.ready(now.mono);
            return;
        }
        if !self.outside.running() {
            self.set_phase(Phase::Idle);
        }
        if std::mem::take(&mut self.cool_at_ready) {
            self.heaters_off(now, None);
        }
        self.reports.ready(now.mono);
    }

    fn capabilities(&self) -> Capabilities {
        let mut all = Capabilities::with(&[
            "layer.progress",
            "print.start.predownload",
            "print.pause",
            "print.cancel",
            "objects.skip",
            "gcode.send",
            "gcode.tune",
            "emergency.stop",
            "position.report",
        ]);
        all.set("time.left", true);
        all.set("prompt.answer", true);
        all.set("outside.jobs", self.caps.has("SDCARD"));
        all
    }

    pub(super) fn identity(&mut self, raw: &[u8]) {
        let text: String = String::from_utf8_lossy(trim(raw)).chars().take(500).collect();
        let name = dialect::identity_field(&text, "FIRMWARE_NAME");
        let Some(name) = name.map(str::to_owned) else {
            self.other_identity(raw);
            return;
        };
        self.hello.identified = true;
        let (short, version) = dialect::name_and_version(&name);
        self.hello.firmware = Firmware {
            name: short,
            version: version
                .or_else(|| dialect::identity_field(&text, "FIRMWARE_VERSION").map(str::to_owned)),
            machine: dialect::identity_field(&text, "MACHINE_TYPE").map(str::to_owned),
        };
        self.caps.tools = dialect::identity_field(&text, "EXTRUDER_COUNT").and_then(|n| n.parse().ok());
        self.take_family(dialect::family(&name));
    }

    fn take_family(&mut self, family: Family) {
        self.family = family;
        self.quirks = dialect::quirks(family);
    }

    /// `NAME. Malyan VER: 3.7 MODEL: M300`: no FIRMWARE_NAME, so name and version are made of it.
    pub(super) fn other_identity(&mut self, text: &[u8]) -> bool {
        let line = String::from_utf8_lossy(trim(text));
        let Some(rest) = line.strip_prefix("NAME.") else {
            return false;
        };
        let (name, rest) = rest.split_once(" VER:").unwrap_or((rest, ""));
        let (version, model) = rest.split_once(" MODEL:").unwrap_or((rest, ""));
        let some = |s: &str| Some(s.trim().to_owned()).filter(|s| !s.is_empty());
        self.hello.identified = true;
        self.take_family(dialect::family(name));
        self.hello.firmware = Firmware {
            name: name.trim().to_owned(),
            version: some(version),
            machine: some(model),
        };
        true
    }

    pub(super) fn hello_deadline(&self) -> Option<Instant> {
        if self.phase != Phase::Hello {
            return None;
        }
        match self.hello.stage {
            Stage::Listen { until } => Some(until),
            Stage::Greeted { at } if self.hello.readable => Some(at + AGAIN),
            Stage::Greeted { at } => {
                let patience = if self.hello.index == 0 && self.hello.rounds == 0 {
                    FIRST_SPEED
                } else {
                    OTHER_SPEED
                };
                Some((at + AGAIN).min(self.hello.since + patience))
            }
            Stage::Asking if self.sender.is_idle() && self.sender.room() => self.hello.identity_by,
            _ => None,
        }
    }
}
