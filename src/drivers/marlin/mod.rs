//! Marlin and its relatives over USB serial.

pub mod found;
pub mod port;
mod port_faults;
pub mod sim;

use super::{BoxFuture, Build, Factory, Found};
use crate::config::Section;

/// The Marlin driver.
pub static FACTORY: MarlinFactory = MarlinFactory;

/// Makes Marlin drivers.
#[derive(Debug)]
pub struct MarlinFactory;

impl Factory for MarlinFactory {
    fn kind(&self) -> &'static str {
        "marlin"
    }

    fn configure(&self, _section: &mut Section<'_>) -> Option<Box<dyn Build>> {
        None
    }

    fn probe(&self) -> BoxFuture<'_, Vec<Found>> {
        Box::pin(async { found::found(&crate::host::serial::Roots::default()) })
    }
}
