//! Clouds and other places that hear of the printers and send them work. One folder each.

pub mod simplyprint;
