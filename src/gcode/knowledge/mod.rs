//! What slicers write about their own files, as tables: who they are, which key says what, which
//! feature is no part of the print.
//!
//! Slicer names are used for reading and for display only, never for safety: files are processed,
//! and some firmwares make tools spoof a name.

pub mod features;
pub mod keys;
pub mod slicers;
pub mod values;
