//! Heaters that warm up and cool down at constant rates.

use std::time::Duration;

/// Room temperature, °C.
const AMBIENT_C: f64 = 21.0;
/// A wait ends within this of the target, °C (`TEMP_WINDOW`).
const WINDOW_C: f64 = 1.0;

/// One heater with its sensor.
#[derive(Clone, Debug)]
pub(super) struct Heater {
    pub actual_c: f64,
    pub target_c: f64,
    heats_c_s: f64,
    cools_c_s: f64,
    /// A broken heater: power has no effect.
    pub stuck: bool,
}

impl Heater {
    fn new(heats_c_s: f64, cools_c_s: f64) -> Self {
        Heater {
            actual_c: AMBIENT_C,
            target_c: 0.0,
            heats_c_s,
            cools_c_s,
            stuck: false,
        }
    }

    fn advance(&mut self, seconds: f64) {
        let goal = self.target_c.max(AMBIENT_C);
        if self.actual_c < goal {
            if !self.stuck {
                self.actual_c = (self.actual_c + self.heats_c_s * seconds).min(goal);
            }
        } else {
            self.actual_c = (self.actual_c - self.cools_c_s * seconds).max(goal);
        }
    }

    fn power(&self) -> u8 {
        if self.target_c <= 0.0 || self.actual_c > self.target_c + WINDOW_C {
            0
        } else if self.actual_c < self.target_c - WINDOW_C {
            127
        } else {
            48
        }
    }
}

/// Which heater.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// A hotend.
    Tool(u8),
    /// The bed.
    Bed,
    /// The chamber.
    Chamber,
}

/// All heaters of the printer.
#[derive(Debug)]
pub(super) struct Heaters {
    pub tools: Vec<Heater>,
    pub bed: Heater,
    pub chamber: Option<Heater>,
    pub active: u8,
    speed: f64,
    at: Duration,
}

impl Heaters {
    pub fn new(tools: u8, chamber: bool, speed: f64) -> Self {
        Heaters {
            tools: (0..tools).map(|_| Heater::new(4.0, 1.5)).collect(),
            bed: Heater::new(1.0, 0.2),
            chamber: chamber.then(|| Heater::new(0.2, 0.1)),
            active: 0,
            speed,
            at: Duration::ZERO,
        }
    }

    pub fn advance(&mut self, now: Duration) {
        let seconds = now.saturating_sub(self.at).as_secs_f64() * self.speed;
        self.at = now;
        for heater in self.each_mut() {
            heater.advance(seconds);
        }
    }

    fn each_mut(&mut self) -> impl Iterator<Item = &mut Heater> {
        self.tools
            .iter_mut()
            .chain([&mut self.bed])
            .chain(self.chamber.as_mut())
    }

    pub fn tool(&self, tool: u8) -> Option<&Heater> {
        self.tools.get(usize::from(tool))
    }

    pub fn get(&self, which: Which) -> Option<&Heater> {
        match which {
            Which::Tool(n) => self.tools.get(usize::from(n)),
            Which::Bed => Some(&self.bed),
            Which::Chamber => self.chamber.as_ref(),
        }
    }

    pub fn get_mut(&mut self, which: Which) -> Option<&mut Heater> {
        match which {
            Which::Tool(n) => self.tools.get_mut(usize::from(n)),
            Which::Bed => Some(&mut self.bed),
            Which::Chamber => self.chamber.as_mut(),
        }
    }

    pub fn all_off(&mut self) {
        self.each_mut().for_each(|heater| heater.target_c = 0.0);
    }

    pub fn any_target(&self) -> bool {
        self.tools
            .iter()
            .chain([&self.bed])
            .chain(self.chamber.as_ref())
            .any(|heater| heater.target_c > 0.0)
    }

    /// Whether a wait for this heater is over; `cooling`: also wait for coming down.
    pub fn reached(&self, which: Which, cooling: bool) -> bool {
        self.get(which).is_none_or(|h| {
            let low = h.target_c > 0.0 && h.actual_c < h.target_c - WINDOW_C;
            let high = cooling && h.actual_c > h.target_c.max(AMBIENT_C) + WINDOW_C;
            !low && !high
        })
    }

    /// When a wait for this heater ends by itself.
    pub fn reached_at(&self, which: Which, now: Duration) -> Option<Duration> {
        let heater = self.get(which).filter(|h| !h.stuck)?;
        let missing = heater.target_c.max(AMBIENT_C) - heater.actual_c;
        let rate = if missing > 0.0 {
            heater.heats_c_s
        } else {
            heater.cools_c_s
        };
        let seconds = (missing.abs() - WINDOW_C).max(0.0) / (rate * self.speed);
        Some(now + Duration::from_secs_f64(seconds.clamp(0.0, 86_400.0)) + Duration::from_micros(10))
    }

    /// `T:210.00 /210.00 B:60.00 /60.00 @:64 B@:32`.
    pub fn line(&self) -> String {
        let both = |h: &Heater| format!("{:.2} /{:.2}", h.actual_c, h.target_c);
        let mut line = String::new();
        if let Some(active) = self.tool(self.active) {
            line += &format!("T:{}", both(active));
        }
        line += &format!(" B:{}", both(&self.bed));
        if let Some(chamber) = &self.chamber {
            line += &format!(" C:{}", both(chamber));
        }
        if self.tools.len() > 1 {
            for (n, tool) in self.tools.iter().enumerate() {
                line += &format!(" T{n}:{}", both(tool));
            }
        }
        line += &format!(" @:{}", self.tool(self.active).map_or(0, Heater::power));
        line += &format!(" B@:{}", self.bed.power());
        if self.tools.len() > 1 {
            for (n, tool) in self.tools.iter().enumerate() {
                line += &format!(" @{n}:{}", tool.power());
            }
        }
        line
    }
}
