//! The agent: who runs, who gets which channel, who is restarted, and how all of it stops.

pub mod backoff;
pub mod handle;
pub mod journal;
pub mod supervise;
