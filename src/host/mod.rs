//! The machine layerd runs on.

pub mod fdstore;
pub mod holders;
pub mod notify;
pub mod serial;
pub mod serial_ids;
pub mod systemd;
pub mod tls;
