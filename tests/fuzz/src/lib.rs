//! The sources under test, without the rest of the program.

#![allow(dead_code, missing_docs)]

#[path = "../../../src/gcode/mod.rs"]
pub mod gcode;

/// Secrets alone.
#[path = "../../../src/config"]
pub mod config {
    pub mod secrets;
}

/// What reads the cloud's words.
#[path = "../../../src/upstream"]
pub mod upstream {
    pub mod simplyprint {
        pub mod demand;
        pub mod lenient;
        pub mod proto;
        pub mod throttle;
    }
}
