//! The local API over a real unix socket, in front of printers that obey at once.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

#[path = "support/fake_printer.rs"]
mod fake_printer;

#[path = "api/actions.rs"]
mod actions;
#[path = "api/automation.rs"]
mod automation;
#[path = "api/curl.rs"]
mod curl;
#[path = "api/doors.rs"]
mod doors;
#[path = "api/events.rs"]
mod events;
#[path = "api/files.rs"]
mod files;
#[path = "api/mcp.rs"]
mod mcp;
#[path = "api/people.rs"]
mod people;
#[path = "api/requests.rs"]
mod requests;
#[path = "api/rig.rs"]
mod rig;
#[path = "api/slicers.rs"]
mod slicers;
#[path = "api/table.rs"]
mod table;
#[path = "api/tls.rs"]
mod tls;
#[path = "api/v1_farm.rs"]
mod v1_farm;
#[path = "api/v1_requests.rs"]
mod v1_requests;
#[path = "api/v1_solo.rs"]
mod v1_solo;
#[path = "api/webhooks.rs"]
mod webhooks;
