//! Jobs: what is printed, was printed, and what a restart must know.

pub mod machine;
pub mod record;
