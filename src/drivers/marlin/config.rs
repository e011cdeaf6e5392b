//! Settings of one Marlin printer.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::port::{self, PortSpec};
use super::settings::{PauseActions, Settings, Window};
use super::shell::MarlinDriver;
use crate::config::Section;
use crate::config::model::{Common, Origin};
use crate::config::section::WordOrInteger;
use crate::drivers::{BoxFuture, Build, Context, Driver, Reach};
use crate::host::serial::Roots;
use crate::printer::fault::Fault;

/// Speeds that are tried for `baud = "auto"`, the usual first.
pub const BAUDS: &[u32] = &[
    115_200, 250_000, 230_400, 57_600, 500_000, 1_000_000, 38_400, 19_200, 9600,
];

/// How a printer is reached and treated.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where it hangs.
    pub port: PortSpec,
    /// Its speed; `None`: find out.
    pub baud: Option<u32>,
    /// For the core.
    pub settings: Settings,
}

impl Config {
    /// Reads the keys `port`, `baud`, `window` and `pause`; the rest is common to all printers.
    pub fn read(common: &Common, section: &mut Section<'_>) -> Option<Self> {
        let port = section.required_string("port", "\"auto\"");
        let baud = match section.word_or_integer("baud", &["auto"], 1200..=4_000_000) {
            Some(WordOrInteger::Integer(baud)) => u32::try_from(baud).ok(),
            Some(WordOrInteger::Word(_)) | None => None,
        };
        let window = match section.word_or_integer("window", &["auto", "off"], 1..=4) {
            Some(WordOrInteger::Integer(lines)) => Window::Lines(lines.clamp(1, 4) as u8),
            Some(WordOrInteger::Word("off")) => Window::Off,
            _ => Window::Auto,
        };
        let pause = section.table("pause", |s| Some(read_pause(s, common)));
        let some = |time: Duration| Some(time).filter(|t| !t.is_zero());
        Some(Config {
            port: PortSpec::parse(&port?),
            baud,
            settings: Settings {
                window,
                bed_mm: common.bed_mm.map(|bed| bed.map(|mm| mm as f32)),
                round: common.bed_round,
                centered: common.origin == Origin::Center,
                idle_heaters_off: some(common.idle_heaters_off),
                pause_nozzle_off: some(common.pause_nozzle_off),
                pause: pause.unwrap_or_default(),
                gcode: common.gcode.clone(),
                printer: section.name().trim_start_matches("printer.").to_owned(),
                ..Settings::default()
            },
        })
    }

    /// Speeds to try, the most promising first. Native USB has no speed: one is enough.
    pub fn bauds(&self, known: Option<u32>, native_usb: bool) -> Vec<u32> {
        if let Some(baud) = self.baud {
            return vec![baud];
        }
        if native_usb {
            return vec![115_200];
        }
        let mut bauds: Vec<u32> = known.into_iter().collect();
        bauds.extend(BAUDS.iter().copied().filter(|b| Some(*b) != known));
        bauds
    }
}

/// `pause = { … }`.
fn read_pause(section: &mut Section<'_>, common: &Common) -> PauseActions {
    let usual = PauseActions::default();
    let at = section.numbers::<2>("park_at", -10_000.0..=10_000.0);
    if let Some([x, y]) = at {
        let beyond = match (&common.reach_mm, common.bed_mm) {
            (Some(reach), _) => {
                let ([min_x, min_y, _], [max_x, max_y, _]) = (reach.min, reach.max);
                !(min_x..=max_x).contains(&x) || !(min_y..=max_y).contains(&y)
            }
            (None, Some([wide, deep, _])) => {
                let from = |length: f64| match common.origin {
                    Origin::Center => -length / 2.0,
                    Origin::Corner => 0.0,
                };
                !(from(wide)..=from(wide) + wide).contains(&x)
                    || !(from(deep)..=from(deep) + deep).contains(&y)
            }
            (None, None) => false,
        };
        if beyond {
            section.mistake(
                "park_at",
                format!("`park_at` is [{x}, {y}], which the head cannot reach: see `bed` and `reach`."),
            );
        }
    }
    PauseActions {
        retract_mm: section
            .number("retract_mm", 0.0..=20.0)
            .map_or(usual.retract_mm, |mm| mm as f32),
        lift_mm: section
            .number("lift_mm", 0.0..=200.0)
            .map_or(usual.lift_mm, |mm| mm as f32),
        park: section.boolean("park").unwrap_or(usual.park),
        park_at_mm: at.map(|at| at.map(|mm| mm as f32)),
        cool_nozzle: section.boolean("cool_nozzle").unwrap_or(usual.cool_nozzle),
        cool_bed: section.boolean("cool_bed").unwrap_or(usual.cool_bed),
    }
}

/// Where the port of `port = "auto"` is kept, once it is known.
pub fn pin_file(state_dir: &Path, printer: &str) -> PathBuf {
    state_dir.join(format!("port-{printer}"))
}

impl Build for Config {
    fn build(&self, context: Context) -> Box<dyn Driver> {
        Box::new(MarlinDriver::new(self.clone(), context))
    }

    fn same_as(&self, other: &dyn Build) -> bool {
        other.as_any().downcast_ref::<Config>() == Some(self)
    }

    fn link_is_printer(&self) -> bool {
        true
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn cooling(&self) -> Option<String> {
        let port = match &self.port {
            PortSpec::Auto => "auto".to_owned(),
            PortSpec::Path(path) => path.display().to_string(),
        };
        let baud = self
            .baud
            .map(|baud| format!("baud = {baud}\n"))
            .unwrap_or_default();
        Some(format!("port = {}\n{baud}", serde_json::Value::from(port)))
    }

    fn cool<'a>(&'a self, state_dir: &'a Path, printer: &'a str) -> Option<BoxFuture<'a, Result<(), Fault>>> {
        Some(Box::pin(async move {
            super::cool::cool(self, &pin_file(state_dir, printer)).await
        }))
    }

    fn reachable<'a>(&'a self) -> BoxFuture<'a, Reach> {
        Box::pin(async {
            let roots = Roots::default();
            let path = match port::resolve(&self.port, &roots, None) {
                Ok(path) => path,
                Err(fault) => return Reach::No(fault),
            };
            // Never opened: opening could reset a board that prints.
            match port::examine(&path, &roots) {
                Ok(()) => Reach::Yes(format!("{} is there and free", path.display())),
                Err(fault) => Reach::No(fault),
            }
        })
    }
}
