//! Bambu Lab printers over the local network.

pub mod ams;
pub mod archive;
pub mod camera;
pub mod config;
pub mod faults;
pub mod found;
pub mod ftp_replies;
pub mod ftps;
pub mod lenient;
pub mod model;
pub mod mqtt;
mod notices;
pub mod orders;
pub mod pending;
pub mod proto;
pub mod report;
mod requests;
pub mod shell;
pub mod sim;
pub mod stages;
pub mod status;
pub mod tls;
pub mod track;

use super::{BoxFuture, Build, Factory, Found};
use crate::config::Section;
use crate::config::model::Common;

/// The Bambu Lab driver.
pub static FACTORY: BambuFactory = BambuFactory;

/// Makes Bambu Lab drivers.
#[derive(Debug)]
pub struct BambuFactory;

impl Factory for BambuFactory {
    fn kind(&self) -> &'static str {
        "bambu"
    }

    fn configure(&self, common: &Common, section: &mut Section<'_>) -> Option<Box<dyn Build>> {
        Some(Box::new(config::Config::read(common, section)?))
    }

    fn probe(&self) -> BoxFuture<'_, Vec<Found>> {
        Box::pin(found::found())
    }

    fn probe_at<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Vec<Found>> {
        Box::pin(found::found_at(host))
    }
}
