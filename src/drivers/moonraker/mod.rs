//! Klipper printers, through Moonraker: websocket or unix socket for everything, HTTP for files.

pub mod config;
pub mod equipment;
pub mod faults;
pub mod found;
pub mod labels;
pub mod memory;
pub mod orders;
pub mod people;
pub mod proto;
pub mod rpc;
pub mod shell;
pub mod sim;
pub mod socket;
pub mod status;
mod token;
pub mod upload;
pub mod watch;

#[cfg(test)]
mod tests_klipper;

use super::{BoxFuture, Build, Factory, Found};
use crate::config::Section;
use crate::config::model::Common;

/// The Moonraker driver.
pub static FACTORY: MoonrakerFactory = MoonrakerFactory;

/// Makes Moonraker drivers.
#[derive(Debug)]
pub struct MoonrakerFactory;

impl Factory for MoonrakerFactory {
    fn kind(&self) -> &'static str {
        "moonraker"
    }

    fn configure(&self, common: &Common, section: &mut Section<'_>) -> Option<Box<dyn Build>> {
        let _ = common;
        Some(Box::new(config::Config::read(section)?))
    }

    fn probe(&self) -> BoxFuture<'_, Vec<Found>> {
        Box::pin(found::found())
    }
}
