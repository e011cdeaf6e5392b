//! Settings of one Marlin printer.

use std::any::Any;

use super::port::{self, PortSpec};
use super::settings::Settings;
use super::shell::MarlinDriver;
use crate::drivers::{BoxFuture, Build, Context, Driver, Reach};
use crate::host::serial::Roots;

/// Speeds that are tried for `baud = "auto"`, the usual first.
pub const BAUDS: &[u32] = &[
    115_200, 250_000, 230_400, 57_600, 500_000, 1_000_000, 38_400, 19_200, 9600,
];

/// How a printer is reached and treated.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where it hangs.
    pub port: PortSpec,
    /// Its speed; `None`: find out.
    pub baud: Option<u32>,
    /// For the core.
    pub settings: Settings,
}

impl Config {
    /// Speeds to try, the most promising first. Native USB has no speed: one is enough.
    pub fn bauds(&self, known: Option<u32>, native_usb: bool) -> Vec<u32> {
        if let Some(baud) = self.baud {
            return vec![baud];
        }
        if native_usb {
            return vec![115_200];
        }
        let mut bauds: Vec<u32> = known.into_iter().collect();
        bauds.extend(BAUDS.iter().copied().filter(|b| Some(*b) != known));
        bauds
    }
}

impl Build for Config {
    fn build(&self, context: Context) -> Box<dyn Driver> {
        Box::new(MarlinDriver::new(self.clone(), context))
    }

    fn same_as(&self, other: &dyn Build) -> bool {
        other.as_any().downcast_ref::<Config>() == Some(self)
    }

    fn link_is_printer(&self) -> bool {
        true
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn reachable<'a>(&'a self) -> BoxFuture<'a, Reach> {
        Box::pin(async {
            let roots = Roots::default();
            let path = match port::resolve(&self.port, &roots, None) {
                Ok(path) => path,
                Err(fault) => return Reach::No(fault),
            };
            // Never opened: opening could reset a board that prints.
            match port::examine(&path, &roots) {
                Ok(()) => Reach::Yes(format!("{} is there and free", path.display())),
                Err(fault) => Reach::No(fault),
            }
        })
    }
}
