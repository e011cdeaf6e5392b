//! The sources under test, without the rest of the program.

#![allow(dead_code, missing_docs)]

pub use layerd_gcode as gcode;

/// Secrets, and how they are taken out of texts.
#[path = "../../../src/config"]
pub mod config {
    pub mod scrub;
    pub mod secrets;
}

/// Plain types of jobs.
#[path = "../../../src/job"]
pub mod job {
    pub mod record;
}

/// The model of a printer.
#[path = "../../../src/printer/mod.rs"]
pub mod printer;

/// What reads a Bambu Lab printer's reports, and what reads and asks Klipper.
#[path = "../../../src/drivers"]
pub mod drivers {
    use crate::printer::command::StartJob;
    use crate::printer::event::Checkpoint;

    /// A job of before a restart; as in `src/drivers/mod.rs`.
    #[derive(Clone, Debug)]
    pub struct Adopt {
        pub job: StartJob,
        pub checkpoint: Option<Checkpoint>,
        pub paused: bool,
    }

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

    pub mod marlin {
        pub mod answer;
        pub mod dialect;
        pub mod scan;
        pub mod temps;
    }

    pub mod moonraker {
        pub mod equipment;
        pub mod faults;
        pub mod labels;
        pub mod memory;
        pub mod orders;
        pub mod people;
        pub mod proto;
        pub mod rpc;
        pub mod status;
        pub mod watch;
    }
}

/// What reads the words of a cloud and of a broker and judges them.
#[path = "../../../src/upstream"]
pub mod upstream {
    /// As in `src/upstream/mod.rs`.
    pub type PrinterKey = i64;

    pub mod mqtt {
        pub mod command;
        pub mod core;
        pub mod gate;
        pub mod homeassistant;
        pub mod level;
        pub mod link;
        pub mod outbox;
        pub mod proto;
        pub mod story;
        pub mod topics;
        pub mod view;
    }

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
