//! The switch of a printer's supply: a relay in the network, a GPIO line, or a command of the owner.
//!
//! | file | what |
//! |---|---|
//! | `machine` | what is to be done, what was seen, when to try again (pure) |
//! | `relay` | calls and answers of the kinds (pure) |
//! | `rules` | when a supply may be switched off (pure) |
//! | `wire` | HTTP, GPIO and commands, each with a deadline and a size limit |
//! | `switch` | the task of one switch and the handle that others hold |
//!
//! An order ends verified when the switch itself is *seen* to have obeyed. A cut for safety goes past
//! every other order, is tried for a minute, and stays until a person switches on again, also over
//! restarts of the daemon.

pub mod faults;
pub mod machine;
pub mod relay;
pub mod rules;
pub mod switch;
mod wire;
