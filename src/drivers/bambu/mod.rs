//! Bambu Lab printers over the local network.

pub mod ams;
pub mod faults;
pub mod lenient;
pub mod model;
mod notices;
pub mod orders;
pub mod pending;
pub mod proto;
pub mod report;
mod requests;
pub mod stages;
pub mod status;
pub mod track;
