//! The sources under test, without the rest of the program.

#![allow(dead_code, missing_docs)]

#[path = "../../../src/gcode/mod.rs"]
pub mod gcode;

/// Secrets alone.
pub mod config {
    #[path = "../../../../src/config/secrets.rs"]
    pub mod secrets;
}

/// What reads the cloud's words.
pub mod upstream {
    pub mod simplyprint {
        #[path = "../../../../../src/upstream/simplyprint/demand.rs"]
        pub mod demand;
        #[path = "../../../../../src/upstream/simplyprint/lenient.rs"]
        pub mod lenient;
        #[path = "../../../../../src/upstream/simplyprint/proto.rs"]
        pub mod proto;
        #[path = "../../../../../src/upstream/simplyprint/throttle.rs"]
        pub mod throttle;
    }
}
