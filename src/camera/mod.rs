//! Pictures of printers: from an address that gives one (`snapshot`), from the first picture of a stream
//! (`stream`, MJPEG), or from the printer's own camera, where its driver can ask it.
//!
//! | file | what |
//! |---|---|
//! | `frame` | the first whole JPEG in what comes (pure) |
//! | `lens` | one camera: who may take a picture when, and whether it works |
//! | `wire` | HTTP, with a deadline and a size limit |
//! | `faults` | what can go wrong, in words |
//!
//! A picture is the least important thing of all: few are taken at once, those of a live view are left
//! out when others are being taken, and nothing is kept.

pub mod faults;
pub mod frame;
pub mod lens;
mod wire;
