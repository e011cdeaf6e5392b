//! One printer: what is known of it, what may be asked of it, and the actor that keeps both.
//!
//! [`model`], [`event`], [`command`], [`reduce`] and [`guard`] are pure: no clock, no sockets, no
//! disk. [`actor`] is the shell around them.

pub mod capability;
pub mod command;
pub mod equipment;
pub mod event;
pub mod fault;
pub mod gcode_rules;
pub mod guard;
pub mod model;
pub mod notice;
pub mod outcome;
pub mod pause_wishes;
pub mod reduce;
pub mod wall_clock;
pub mod wire;
