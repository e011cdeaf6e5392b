//! Jobs: what is printed, was printed, and what a restart must know.

pub mod analysis_pool;
pub mod machine;
pub mod preflight;
pub mod record;
<<<<<<< HEAD
pub mod spool;
=======
>>>>>>> main
pub mod store;
