//! The sources under test, without the rest of the program.

#![allow(dead_code, missing_docs)]

#[path = "../../../src/gcode/mod.rs"]
pub mod gcode;
