//! The agent: who runs, who gets which channel, who is restarted, and how all of it stops.
//!
//! * [`run`](run::run) is the main loop: signals, watchdog, reload, ordered stop.
//! * [`crew`] keeps the printers; each has an [`actor`] of its own and its driver's sessions run
//!   under [`supervise`].
//! * [`handle`] is what everybody else holds.

pub mod actor;
pub mod backoff;
pub mod clock;
pub mod crew;
pub mod curves;
pub mod handle;
pub mod journal;
pub mod objects;
pub mod pairing;
pub mod plan;
mod power_gate;
pub mod run;
pub mod supervise;
mod supply;
