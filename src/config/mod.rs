//! Configuration: plain data with exact places for every mistake. Used by all, uses none.

pub mod diagnose;
pub mod lifecycle;
pub mod load;
pub mod model;
mod peripherals;
pub mod scrub;
pub mod secrets;
pub mod section;
mod shown;
pub mod template;
#[cfg(test)]
mod tests;
mod upstreams;

pub use diagnose::Diagnostics;
pub use model::Config;
pub use secrets::Secret;
pub use section::Section;
pub use shown::Shown;
