//! The sources under test, without the rest of the program.

#![allow(dead_code, missing_docs)]

#[path = "../../../src/gcode/mod.rs"]
pub mod gcode;

/// Secrets alone.
#[path = "../../../src/config"]
pub mod config {
    pub mod secrets;
}

/// Plain types of printers.
#[path = "../../../src/printer"]
pub mod printer {
    pub mod capability;
    pub mod equipment;
    pub mod fault;
    pub mod model;
    pub mod notice;
}

/// What reads a Bambu Lab printer's reports.
#[path = "../../../src/drivers"]
pub mod drivers {
    pub mod bambu {
        pub mod ams;
        pub mod ftp_replies;
        pub mod heard;
        pub mod lenient;
        pub mod model;
        pub mod report;
        pub mod stages;
        pub mod status;
    }
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
