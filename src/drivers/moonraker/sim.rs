//! A simulated Klipper: behind a real Moonraker, through klippy's socket, or with Moonraker's port played as
//! well. For `layerd simulate`, for tests, and for whoever has no printer at hand.

pub mod desk;
mod gcode;
pub mod klipper;
pub mod serve;
mod web;

pub use klipper::Options;
pub use serve::{Door, SimPrinter};
