//! G-code: reading it, understanding it, preparing it for the wire. Pure; depends on nothing of ours.

pub mod analysis;
pub mod arc;
pub mod fast;
pub mod file;
pub mod layers;
pub mod lex;
pub mod limits;
pub mod lines;
pub mod modal;
pub mod simplyprint;
pub mod source;
