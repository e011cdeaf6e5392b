//! SimplyPrint: protocol 0.2 of the printer websocket, every printer of the host over one socket.
//!
//! Built from public clients and documents, and tried against test doubles; see README.
//!
//! | file | subject |
//! |---|---|
//! | [`endpoints`] | addresses, the vendor's environment variables |
//! | [`proto`], [`demand`], [`lenient`] | what the cloud says (pure) |
//! | [`session`] | one socket: greeting, adding printers, routing, confirmations (pure) |
//! | [`printer`] | one printer: set-up, jobs, demands, what is told when (pure) |
//! | [`view`], [`temps`], [`ambient`], [`notices`] | what the cloud sees of a printer (pure) |
//! | [`throttle`] | the cloud's rate limits (pure) |
//! | [`doc`], [`outbox`] | what survives a restart (pure) |
//! | [`action`] | what the pure part wants done |

pub mod action;
pub mod ambient;
pub mod demand;
pub mod doc;
pub mod endpoints;
pub mod lenient;
pub mod notices;
pub mod outbox;
pub mod printer;
pub mod proto;
pub mod session;
pub mod temps;
pub mod throttle;
pub mod view;
