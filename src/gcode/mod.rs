//! G-code: reading it, understanding it, preparing it for the wire. Pure; depends on nothing of ours.

pub mod source;
