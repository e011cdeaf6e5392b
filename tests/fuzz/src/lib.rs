//! The sources under test, without the rest of the program.

#![allow(dead_code, missing_docs)]

pub use layerd_gcode as gcode;

/// JSON as it is written in the program.
#[path = "../../../src/json.rs"]
pub mod json;
/// Small maps.
#[path = "../../../src/sorted.rs"]
pub mod sorted;

/// The configuration, and secrets in it and in other texts.
#[path = "../../../src/config/mod.rs"]
pub mod config;

/// Plain types of jobs.
#[path = "../../../src/job"]
pub mod job {
    pub mod file_name;
    pub mod machine;
    pub mod record;
}

/// What reads the bodies of requests.
#[path = "../../../src/api"]
pub mod api {
    pub mod access;
    pub mod demand;
    pub mod envelope;
    pub mod form;
    pub mod gcode_body;
    pub mod incoming;
    pub mod pid;

    pub mod mcp {
        pub mod rpc;
    }

    /// As in `src/api/door.rs`.
    pub mod door {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Entrance {
            Socket,
        }
    }

    /// As in `src/api/routes.rs`.
    pub mod routes {
        pub const BODY_MAX_BYTES: usize = 1 << 20;
    }

    /// As in `src/api/macros.rs`.
    pub mod macros {
        use crate::config::template::Moment;

        pub fn moment(name: &str) -> Option<Moment> {
            (name == "is_start").then_some(Moment::Start)
        }
    }

    /// As in `src/api/uploads.rs`.
    pub mod uploads {
        use super::envelope::Problem;

        pub fn too_large() -> Problem {
            Problem::bad("too large")
        }
    }
}

/// What reads the login of a switch.
#[path = "../../../src/power"]
pub mod power {
    pub mod digest;
}

/// What finds a picture in a stream.
#[path = "../../../src/camera"]
pub mod camera {
    pub mod frame;
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

    /// As in `src/drivers/mod.rs`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum StopMode {
        Detach,
        Park,
        Cancel,
        Leave,
    }

    pub mod marlin {
        pub mod adopt;
        pub mod answer;
        pub mod caps;
        pub mod confirm;
        pub mod dialect;
        pub mod ending;
        pub mod faults;
        pub mod filament;
        pub mod handshake;
        pub mod history;
        pub mod idle_heat;
        pub mod memory;
        pub mod memory_record;
        pub mod mesh;
        pub mod moments;
        pub mod outside;
        pub mod pause;
        pub mod pause_record;
        pub mod people;
        pub mod program;
        pub mod proto;
        pub mod reports;
        pub mod resume;
        pub mod resume_point;
        pub mod scan;
        pub mod script;
        pub mod sender;
        pub mod settings;
        pub mod silence;
        pub mod skip;
        pub mod temps;
        pub mod thermal_watch;
        pub mod track;
        pub mod urgent;
        pub mod users;
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
