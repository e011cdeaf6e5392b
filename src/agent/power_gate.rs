//! A driver behind the switch of its printer's supply: before its first session the supply is switched
//! on, where that is wanted. Later sessions do not switch: what a person puts off by hand stays off.

use crate::drivers::{BoxFuture, Driver, Link, Stop};
use crate::power::switch::Switch;
use crate::printer::command::{Command, Request};
use crate::printer::fault::Fault;
use crate::printer::outcome::Outcome;

/// The driver with its switch.
pub(super) struct Gated {
    driver: Box<dyn Driver>,
    switch: Switch,
}

/// The driver itself, or behind a switch.
pub(super) fn gated(driver: Box<dyn Driver>, switch: Option<&Switch>) -> Box<dyn Driver> {
    match switch {
        None => driver,
        Some(switch) => Box::new(Gated {
            driver,
            switch: switch.clone(),
        }),
    }
}

impl Driver for Gated {
    fn run<'a>(&'a mut self, link: &'a mut Link, stop: &'a Stop) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let on = self.switch.before_connecting();
            tokio::pin!(on);
            loop {
                let request = tokio::select! {
                    biased;
                    _ = stop.ordered() => return Ok(()),
                    request = link.urgent.recv() => request,
                    request = link.requests.recv() => request,
                    // Also when it could not be switched on: the printer may have another supply.
                    () = &mut on => break,
                };
                match request {
                    None => return Ok(()),
                    Some(request) => refuse(request),
                }
            }
            self.driver.run(link, stop).await
        })
    }
}

fn refuse(request: Request) {
    let outcome = match request.command {
        Command::Ping => Outcome::Sent,
        Command::EmergencyStop => Outcome::refused(
            "refused/offline",
            "The emergency stop could NOT be written: there is no connection.",
        ),
        _ => Outcome::refused(
            "refused/offline",
            "The printer is not connected: its supply is just being switched on.",
        ),
    };
    let _ = request.reply.send(outcome);
}
