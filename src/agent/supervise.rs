//! Runs the sessions of one driver for ever: reconnecting is written here once, for all drivers.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::time::sleep_until;

use super::backoff::Backoff;
use crate::drivers::{Driver, Link, Stop};
use crate::printer::command::{Command, Request};
use crate::printer::event::Event;
use crate::printer::fault::{Fault, Severity};
use crate::printer::outcome::Outcome;

/// How long a stop may take in the driver (parking a head, heaters off). Below the unit's
/// `TimeoutStopSec=180`.
pub const STOP_LIMIT: Duration = Duration::from_secs(150);

/// A session that lasted so long worked: its end is news again.
const STABLE: Duration = Duration::from_secs(60);

/// Runs sessions until the stop is carried out. Requests that arrive while there is no session are
/// answered at once.
pub async fn supervise(mut driver: Box<dyn Driver>, mut link: Link, stop: Stop) {
    let mut backoff = Backoff::default();
    let mut told = None;
    loop {
        let began = Instant::now();
        let ended = session(driver.as_mut(), &mut link, &stop).await;
        let why = ended.err();
        if let Some(fault) = &why {
            // A printer that is switched off for a week is one line in the log, not ten thousand.
            if told.as_ref() == Some(&fault.code) && began.elapsed() < STABLE {
                tracing::debug!(code = %fault.code, "{fault}");
            } else {
                tracing::warn!(code = %fault.code, "{fault}");
                told = Some(fault.code.clone());
            }
        }
        // Bounded channel to the actor, which is alive as long as we are; if it is gone so are we.
        if link.events.send(Event::Down { why: why.clone() }).await.is_err() || stop.is_ordered() {
            return;
        }
        let wait = backoff.next(began.elapsed(), fastrand::f64());
        if rest(&mut link, &stop, wait, why.as_ref()).await {
            return;
        }
    }
}

/// One session, with a panic turned into a fault and the stop into a deadline.
async fn session(driver: &mut dyn Driver, link: &mut Link, stop: &Stop) -> Result<(), Fault> {
    let run = AssertUnwindSafe(driver.run(link, stop)).catch_unwind();
    let limit = async {
        stop.ordered().await;
        tokio::time::sleep(STOP_LIMIT).await;
    };
    tokio::select! {
        ended = run => match ended {
            Ok(result) => result,
            Err(panic) => Err(Fault::new(
                Severity::Bug,
                "layerd/driver-panic",
                "The driver of this printer failed and is restarted.",
                "This is a mistake in layerd.",
                "Please report it with the output of `layerd logs PRINTER --wire`.",
            )
            .with_raw(panic_text(panic.as_ref()))),
        },
        () = limit => Err(Fault::new(
            Severity::NeedsUser,
            "layerd/stop-timeout",
            "The printer could not be brought to rest in time.",
            "It did not answer while the service was stopping.",
            "Look at the printer: its heaters may still be on.",
        )),
    }
}

/// Waits for the next attempt; answers what comes in. `true`: stop.
async fn rest(link: &mut Link, stop: &Stop, wait: Duration, why: Option<&Fault>) -> bool {
    let until = tokio::time::Instant::now() + wait;
    loop {
        let request = tokio::select! {
            biased;
            _ = stop.ordered() => return true,
            request = link.urgent.recv() => request,
            request = link.requests.recv() => request,
            () = sleep_until(until) => return false,
        };
        match request {
            // The actor is gone.
            None => return true,
            Some(Request {
                command: Command::Reconnect,
                reply,
                ..
            }) => {
                let _ = reply.send(Outcome::Sent);
                return false;
            }
            Some(Request {
                command: Command::Ping,
                reply,
                ..
            }) => {
                let _ = reply.send(Outcome::Sent);
            }
            Some(request) => {
                let reason = why.map(|f| format!(" {f}")).unwrap_or_default();
                let text = match request.command {
                    Command::EmergencyStop => {
                        "The emergency stop could NOT be written: there is no connection. \
                         Switch the printer off at the mains."
                    }
                    _ => "The printer is not connected.",
                };
                let _ = request
                    .reply
                    .send(Outcome::refused("refused/offline", format!("{text}{reason}")));
            }
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "unknown panic".to_owned())
}

#[cfg(test)]
#[path = "supervise_tests.rs"]
mod tests;
