//! Where the head is told to be, and how long moves take.

use std::time::Duration;

use super::value;

/// Feed rate before the first F, mm/min.
const FIRST_FEED_MM_MIN: f64 = 1500.0;
/// Time after which idle motors are switched off (`DEFAULT_STEPPER_TIMEOUT_SEC`).
const STEPPER_TIMEOUT: Duration = Duration::from_secs(120);

/// Logical position in mm.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Position {
    /// X.
    pub x_mm: f64,
    /// Y.
    pub y_mm: f64,
    /// Z.
    pub z_mm: f64,
    /// Filament.
    pub e_mm: f64,
}

/// Modal state of the motion commands.
#[derive(Debug)]
pub(super) struct Motion {
    at: Position,
    relative: bool,
    relative_e: bool,
    feed_mm_min: f64,
    pub feed_percent: f64,
    pub fan: u8,
    homed: [bool; 3],
    slept: bool,
    stepper_timeout: Option<Duration>,
    sleep_at: Option<Duration>,
}

impl Default for Motion {
    fn default() -> Self {
        Motion {
            at: Position::default(),
            relative: false,
            relative_e: false,
            feed_mm_min: FIRST_FEED_MM_MIN,
            feed_percent: 100.0,
            fan: 0,
            homed: [false; 3],
            slept: false,
            stepper_timeout: Some(STEPPER_TIMEOUT),
            sleep_at: None,
        }
    }
}

impl Motion {
    pub fn position(&self) -> Position {
        self.at
    }

    pub fn homed(&self) -> bool {
        self.homed.iter().all(|h| *h)
    }

    pub fn slept(&self) -> bool {
        self.slept
    }

    pub fn set_relative(&mut self, relative: bool) {
        // E follows G90 and G91; M82 and M83 then change E alone.
        self.relative = relative;
        self.relative_e = relative;
    }

    pub fn set_relative_e(&mut self, relative: bool) {
        self.relative_e = relative;
    }

    /// Applies G0, G1, G2, G3; gives the time the move takes in seconds and whether it extrudes.
    pub fn go(&mut self, command: &str, arc: bool) -> (f64, bool) {
        if let Some(feed) = value(command, 'F').filter(|f| *f > 0.0) {
            self.feed_mm_min = feed;
        }
        let from = self.at;
        let axis = |letter: char, now: f64| match value(command, letter) {
            Some(v) if self.relative => now + v,
            Some(v) => v,
            None => now,
        };
        let (x, y, z) = (axis('X', from.x_mm), axis('Y', from.y_mm), axis('Z', from.z_mm));
        let e = match value(command, 'E') {
            Some(v) if self.relative_e => from.e_mm + v,
            Some(v) => v,
            None => from.e_mm,
        };
        let (dx, dy, dz, de) = (x - from.x_mm, y - from.y_mm, z - from.z_mm, e - from.e_mm);
        let mut length = (dx * dx + dy * dy + dz * dz).sqrt();
        if arc {
            length = arc_length(command, dx, dy).hypot(dz);
        }
        if length == 0.0 {
            length = de.abs();
        }
        self.at = Position {
            x_mm: x,
            y_mm: y,
            z_mm: z,
            e_mm: e,
        };
        let speed_mm_s = (self.feed_mm_min * self.feed_percent / 100.0 / 60.0).max(0.01);
        (length / speed_mm_s, de != 0.0)
    }

    /// G92.
    pub fn set(&mut self, command: &str) {
        let all = !["X", "Y", "Z", "E"].iter().any(|axis| command.contains(axis));
        let slots = [
            ('X', &mut self.at.x_mm),
            ('Y', &mut self.at.y_mm),
            ('Z', &mut self.at.z_mm),
            ('E', &mut self.at.e_mm),
        ];
        for (letter, slot) in slots {
            if let Some(v) = value(command, letter) {
                *slot = v;
            } else if all {
                *slot = 0.0;
            }
        }
    }

    /// G28: the named axes, or all, are at their ends.
    pub fn home(&mut self, command: &str) {
        let parameters = command.get(3..).unwrap_or_default();
        let all = !parameters.contains(['X', 'Y', 'Z']);
        let slots = [
            ('X', &mut self.at.x_mm),
            ('Y', &mut self.at.y_mm),
            ('Z', &mut self.at.z_mm),
        ];
        for ((letter, slot), homed) in slots.into_iter().zip(&mut self.homed) {
            if all || parameters.contains(letter) {
                *slot = 0.0;
                *homed = true;
            }
        }
        if self.homed() {
            self.slept = false;
        }
    }

    /// M84: off at once, or with S the time after which idle motors go off (0: never).
    pub fn motors_off(&mut self, command: &str) {
        match value(command, 'S') {
            Some(seconds) => {
                self.stepper_timeout = (seconds > 0.0).then(|| Duration::from_secs_f64(seconds.min(1e6)));
                if self.stepper_timeout.is_none() {
                    self.sleep_at = None;
                }
            }
            None => self.sleep(),
        }
    }

    /// The motors move, or would, until `until`.
    pub fn stay_awake(&mut self, until: Duration) {
        self.sleep_at = self.stepper_timeout.map(|timeout| until + timeout);
    }

    pub fn sleep_at(&self) -> Option<Duration> {
        self.sleep_at
    }

    pub fn sleep_if_due(&mut self, now: Duration) {
        if self.sleep_at.is_some_and(|at| now >= at) {
            self.sleep();
        }
    }

    fn sleep(&mut self) {
        self.sleep_at = None;
        self.slept |= self.homed.iter().any(|homed| *homed);
        self.homed = [false; 3];
    }

    /// Answer of M114.
    pub fn line(&self) -> String {
        let Position {
            x_mm,
            y_mm,
            z_mm,
            e_mm,
        } = self.at;
        format!(
            "X:{x_mm:.2} Y:{y_mm:.2} Z:{z_mm:.2} E:{e_mm:.2} Count X:{} Y:{} Z:{}",
            (x_mm * 80.0) as i64,
            (y_mm * 80.0) as i64,
            (z_mm * 400.0) as i64
        )
    }
}

/// Length of an arc in its plane; the chord where the parameters make no circle.
fn arc_length(command: &str, dx: f64, dy: f64) -> f64 {
    let chord = dx.hypot(dy);
    if let Some(r) = value(command, 'R').map(f64::abs).filter(|r| *r > 0.0) {
        return 2.0 * r * (chord / (2.0 * r)).clamp(-1.0, 1.0).asin();
    }
    let (i, j) = (
        value(command, 'I').unwrap_or(0.0),
        value(command, 'J').unwrap_or(0.0),
    );
    let radius = i.hypot(j);
    if radius == 0.0 {
        return chord;
    }
    let start = (-j).atan2(-i);
    let end = (dy - j).atan2(dx - i);
    let clockwise = command.starts_with("G2");
    let mut turn = if clockwise { start - end } else { end - start };
    if turn <= 1e-9 {
        turn += std::f64::consts::TAU;
    }
    radius * turn
}
