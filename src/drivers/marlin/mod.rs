//! Marlin and its relatives over USB serial.

pub mod adopt;
pub mod answer;
#[cfg(test)]
mod bench;
mod caps;
pub mod config;
mod confirm;
pub mod cool;
pub mod dialect;
mod ending;
#[cfg(test)]
mod exactly_once_tests;
pub mod faults;
mod filament;
pub mod found;
mod handshake;
pub mod history;
mod idle_heat;
pub mod memory;
pub mod memory_record;
pub mod mesh;
mod moments;
mod outside;
mod pause;
pub mod pause_record;
#[cfg(test)]
mod pause_tests;
mod people;
pub mod port;
mod port_faults;
mod program;
pub mod proto;
mod reports;
mod resume;
pub mod resume_point;
pub mod scan;
mod script;
#[cfg(test)]
mod script_tests;
pub mod self_test;
pub mod sender;
mod session;
pub mod settings;
pub mod shell;
pub mod silence;
pub mod sim;
mod skip;
#[cfg(test)]
mod skip_tests;
pub mod temps;
pub mod thermal_watch;
pub mod track;
mod turns;
mod urgent;
mod users;

use super::{BoxFuture, Build, Factory, Found};
use crate::config::Section;
use crate::config::model::Common;

/// The Marlin driver.
pub static FACTORY: MarlinFactory = MarlinFactory;

/// Makes Marlin drivers.
#[derive(Debug)]
pub struct MarlinFactory;

impl Factory for MarlinFactory {
    fn kind(&self) -> &'static str {
        "marlin"
    }

    fn configure(&self, common: &Common, section: &mut Section<'_>) -> Option<Box<dyn Build>> {
        Some(Box::new(config::Config::read(common, section)?))
    }

    fn probe(&self) -> BoxFuture<'_, Vec<Found>> {
        Box::pin(async { found::found(&crate::host::serial::Roots::default()) })
    }
}
