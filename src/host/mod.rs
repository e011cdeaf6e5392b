//! The machine layerd runs on.

pub mod fdstore;
