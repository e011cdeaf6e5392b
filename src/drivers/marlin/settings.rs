//! What the driver's core has to know about one printer and its owner's wishes. Plain data.

use std::time::Duration;

use crate::config::lifecycle::Lifecycle;
use crate::printer::pause_wishes::PauseWishes;

/// Lines in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Window {
    /// Up to three once the printer shows `ADVANCED_OK`, else one.
    #[default]
    Auto,
    /// One.
    Off,
    /// So many.
    Lines(u8),
}

/// Lowest temperature at which filament can be moved, °C (Marlin's `EXTRUDE_MINTEMP`).
pub const EXTRUDE_MIN_C: f32 = 170.0;

/// Settings of the core.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Lines in flight.
    pub window: Window,
    /// Bed size X, Y and height Z, mm.
    pub bed_mm: Option<[f32; 3]>,
    /// Round bed, origin in its middle.
    pub round: bool,
    /// Origin in the middle of the bed.
    pub centered: bool,
    /// Idle heaters go off after this.
    pub idle_heaters_off: Option<Duration>,
    /// The nozzle goes off after this in a pause.
    pub pause_nozzle_off: Option<Duration>,
    /// Progress may be shown on the printer's screen.
    pub screen: bool,
    /// `M109`/`M190` of the program are replaced by waiting here where the firmware cannot end them.
    pub hold_heatups: bool,
    /// What a pause does beside standing still.
    pub pause: PauseActions,
    /// Lines of the owner's own.
    pub gcode: Lifecycle,
    /// The printer's name, for them.
    pub printer: String,
}

/// What a pause does beside standing still, in this order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PauseActions {
    /// Pull the filament back, mm; given back after reheating. 0: not.
    pub retract_mm: f32,
    /// Lift the head, mm. 0: not.
    pub lift_mm: f32,
    /// Move the head away from the part.
    pub park: bool,
    /// To this X and Y, mm; left out: a corner of the bed.
    pub park_at_mm: Option<[f32; 2]>,
    /// Switch the nozzles off at once, not only in a long pause.
    pub cool_nozzle: bool,
    /// Switch the bed off.
    pub cool_bed: bool,
}

impl PauseActions {
    /// With the wishes for one pause.
    pub fn with(self, wishes: &PauseWishes) -> PauseActions {
        PauseActions {
            retract_mm: wishes.retract_mm.unwrap_or(self.retract_mm),
            lift_mm: wishes.lift_mm.unwrap_or(self.lift_mm),
            park: wishes.park.unwrap_or(self.park),
            park_at_mm: match (wishes.park_at_mm, self.park_at_mm) {
                ([Some(x), Some(y)], _) => Some([x, y]),
                ([Some(x), None], Some([_, y])) => Some([x, y]),
                ([None, Some(y)], Some([x, _])) => Some([x, y]),
                (_, usual) => usual,
            },
            cool_nozzle: wishes.cool_nozzle.unwrap_or(self.cool_nozzle),
            cool_bed: wishes.cool_bed.unwrap_or(self.cool_bed),
        }
    }
}

impl Default for PauseActions {
    fn default() -> Self {
        PauseActions {
            retract_mm: 2.0,
            lift_mm: 10.0,
            park: true,
            park_at_mm: None,
            cool_nozzle: false,
            cool_bed: false,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            window: Window::Auto,
            bed_mm: None,
            round: false,
            centered: false,
            idle_heaters_off: Some(Duration::from_secs(30 * 60)),
            pause_nozzle_off: Some(Duration::from_secs(15 * 60)),
            screen: true,
            hold_heatups: true,
            pause: PauseActions::default(),
            gcode: Lifecycle::default(),
            printer: String::new(),
        }
    }
}

impl Settings {
    /// Where the head waits in a pause: a corner of the bed, out of the way of the part.
    pub fn park_mm(&self, actions: &PauseActions) -> Option<(f32, f32)> {
        if !actions.park {
            return None;
        }
        if let Some([x, y]) = actions.park_at_mm {
            return Some((x, y));
        }
        let [x, y, _] = self.bed_mm?;
        if self.round {
            return Some((0.0, y / 2.0 - 10.0));
        }
        if self.centered {
            return Some((-x / 2.0 + 5.0, y / 2.0 - 5.0));
        }
        Some((5.0, y - 5.0))
    }

    /// Height of the machine, mm.
    pub fn height_mm(&self) -> Option<f32> {
        self.bed_mm.map(|[_, _, z]| z)
    }
}
