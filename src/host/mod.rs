//! The machine layerd runs on.

pub mod boot;
pub mod fdstore;
pub mod health;
pub mod holders;
pub mod names;
pub mod notify;
pub mod serial;
pub mod serial_ids;
pub mod sysfs;
pub mod systemd;
pub mod tls;
