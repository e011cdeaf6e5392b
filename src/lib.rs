//! layerd: the agent beside your 3D printers.

pub mod agent;
pub mod api;
pub mod config;
pub mod drivers;
pub mod gcode;
pub mod host;
pub mod job;
pub mod printer;
pub mod sys;
