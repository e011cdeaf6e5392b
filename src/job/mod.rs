//! Jobs: what is printed, was printed, and what a restart must know.

pub mod ahead;
pub mod analysis_pool;
pub mod counters_file;
pub mod download;
pub mod file_name;
pub mod housekeeping;
pub mod incoming;
pub mod machine;
pub mod place;
pub mod preflight;
pub mod record;
pub mod release;
pub mod spool;
pub mod store;
pub mod timing;
pub mod usage;
