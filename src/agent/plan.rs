//! What the agent is to run: the configuration, read and resolved.

use std::sync::Arc;

use super::actor::Settings;
use crate::config::lifecycle::Lifecycle;
use crate::config::model::{Camera, Power};
use crate::drivers::{Build, StopMode};

/// What stands beside a printer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Peripherals {
    /// The switch of its supply.
    pub power: Option<Power>,
    /// Its camera.
    pub camera: Option<Camera>,
    /// Lines of its owner's own, for people to see and to send.
    pub gcode: Lifecycle,
}

/// One printer to drive.
#[derive(Clone, Debug)]
pub struct PrinterPlan {
    /// Name in the configuration.
    pub name: String,
    /// Kind of driver.
    pub kind: &'static str,
    /// Its driver's settings.
    pub build: Arc<dyn Build>,
    /// The rest of its settings.
    pub settings: Settings,
    /// What an ordinary stop does with a running print.
    pub on_stop: StopMode,
    /// Its switch and its camera.
    pub peripherals: Peripherals,
}

impl PrinterPlan {
    /// Whether another plan would run the same printer in the same way (reload).
    pub fn same_as(&self, other: &PrinterPlan) -> bool {
        self.name == other.name
            && self.kind == other.kind
            && self.settings == other.settings
            && self.on_stop == other.on_stop
            && self.peripherals == other.peripherals
            && self.build.same_as(other.build.as_ref())
    }
}

/// What a reload has to do, by printer name.
#[derive(Debug, Default)]
pub struct Difference {
    /// To stop.
    pub gone: Vec<String>,
    /// To start.
    pub new: Vec<PrinterPlan>,
    /// To stop and start again.
    pub changed: Vec<PrinterPlan>,
    /// Left alone.
    pub same: usize,
}

/// Compares two plans.
pub fn difference(old: &[PrinterPlan], new: &[PrinterPlan]) -> Difference {
    let mut difference = Difference::default();
    for printer in new {
        match old.iter().find(|p| p.name == printer.name) {
            None => difference.new.push(printer.clone()),
            Some(known) if known.same_as(printer) => difference.same += 1,
            Some(_) => difference.changed.push(printer.clone()),
        }
    }
    difference.gone = old
        .iter()
        .filter(|p| !new.iter().any(|n| n.name == p.name))
        .map(|p| p.name.clone())
        .collect();
    difference
}
