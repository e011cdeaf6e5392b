//! The local API: the SimplyPrint REST shape, with what that shape cannot carry in one extra member
//! `layerd` of the same objects.
//!
//! A request that brings a member `layerd` of its own speaks our dialect: there `printer::guard` alone
//! decides what is legal. Everything else is held to the narrower table of the cloud
//! ([`dialect_rules`]), so that a client behaves here as it would there.

pub mod demand;
pub mod dialect_rules;
pub mod envelope;
pub mod gcode_body;
pub mod pid;
pub mod socket;
pub mod view;
