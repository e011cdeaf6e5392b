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
    pub mod command;
    pub mod equipment;
    pub mod event;
    pub mod fault;
    pub mod model;
    pub mod notice;
    pub mod outcome;
}

/// Plain types of jobs.
#[path = "../../../src/job"]
pub mod job {
    pub mod record;
}

/// What reads a Bambu Lab printer's reports.
#[path = "../../../src/drivers"]
pub mod drivers {
    pub mod bambu {
        pub mod ams;
        pub mod lenient;
        pub mod report;
        pub mod stages;
        pub mod status;
    }
}

/// What reads the cloud's words and judges them.
#[path = "../../../src/upstream"]
pub mod upstream {
    pub mod simplyprint {
        pub mod action;
        pub mod ambient;
        pub mod demand;
        pub mod doc;
        pub mod lenient;
        pub mod materials;
        pub mod notices;
        pub mod outbox;
        pub mod printer;
        pub mod proto;
        pub mod session;
        pub mod temps;
        pub mod throttle;
        pub mod view;
    }
}
