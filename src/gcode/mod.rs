//! G-code: reading it, understanding it, preparing it for the wire. Pure; depends on nothing of ours.

pub mod analysis;
pub mod analyze;
pub mod analyze_file;
pub mod arc;
pub mod area;
pub mod codec;
pub mod container;
pub mod fast;
pub mod file;
pub mod hull;
pub mod index;
pub mod knowledge;
pub mod layers;
pub mod lex;
pub mod limits;
pub mod lines;
pub mod meta;
pub mod modal;
pub mod objects;
pub mod picture;
pub mod picture_file;
pub mod planner;
pub mod simplyprint;
pub mod skip;
pub mod source;
pub mod svg;
