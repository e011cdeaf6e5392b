//! layerd: the agent beside your 3D printers. One process per host, any mix of printers.
//!
//! This page is the map of the house. The library does everything; `main.rs` only calls [`cli`].
//!
//! # How data flows
//!
//! ```text
//!           bytes                     Event                       Arc<Snapshot> (level, newest wins)
//! printer ─────────► drivers/*/shell ─► proto ─────► agent::actor ──────── watch ───────► api, upstreams
//!           ◄───────   own OS thread  ◄─ Output       reduce(state, event)                 command line
//!                      per serial line                guard(state, command)
//!                                                        ▲   │ Request{command, reply}
//!                                                        │   └────────────► agent::supervise ─► driver
//! person, slicer, cloud ─► api / upstream ─► Command ────┘   reply: Outcome, always, with a deadline
//!
//! file ─► job::spool (hash, caps) ─► gcode::analyze ─► job::preflight ─► durable record ─► start
//!                                                        program lines: gcode::source ─► drivers
//! ```
//!
//! Three kinds of flow, never mixed. **Level** (temperatures, progress, state): a `watch` channel,
//! lossy by design, so that a slow reader can never back up into a serial line. **Edge** (print
//! started, done, failed): bounded channel plus database, never lost. **Request**: bounded channel
//! with a reply that always comes. Emergency stop has a lane of its own past all of them.
//!
//! # What depends on what
//!
//! ```text
//! cli → {api, upstream} → agent → {drivers, power, camera, job, host} → printer → gcode    config: used by all, uses none
//! ```
//!
//! `gcode` is a crate of its own, `layerd-gcode` in `src/gcode`, so that it is built for speed where the rest is built
//! small; here it is [`gcode`]. Drivers, upstreams and the API never know each other. A file named `proto`, `reduce`, `guard`,
//! `machine`, `lex` or the like is pure: no sockets, no clock, no disk; time is an argument.
//! `tests/architecture.rs` checks that.
//!
//! # Invariants
//!
//! * [`printer::reduce`] is the only writer of a printer's state; [`printer::guard`] is the only
//!   judge of what is legal in it.
//! * A command ends as one of five [`printer::outcome::Outcome`]s. A print is "printing" when the
//!   printer says so, never because something was sent.
//! * A reading has an age. Unknown is absent, never zero.
//! * A start is durable before the printer hears of it, and is executed at most once.
//! * Each serial line runs on its own thread: protocol and port only, nothing that can wait.
//! * Every queue is bounded, every wait has a deadline, every input a size limit.
//!
//! # Where to change what
//!
//! | to change | look in |
//! | --- | --- |
//! | how `ok`, resend, busy are understood | `drivers/marlin/`: `proto`, `dialect`; new case: `fixtures/marlin/` |
//! | what a Bambu Lab report means, and what follows from it | `drivers/bambu/`: `status`, `track`; fixtures in `fixtures/bambu/` |
//! | how Klipper's state is read, what a command waits for | `drivers/moonraker/`: `proto`, `watch`, `orders` |
//! | the simulated Klipper, and its port | `drivers/moonraker/sim/` |
//! | words for a firmware's error | `drivers/*/faults.rs` |
//! | which command is refused when | [`printer::guard`], per line of G-code [`printer::gcode_rules`] |
//! | what "printing", "offline" mean | [`printer::reduce`] |
//! | reconnecting | [`agent::supervise`], [`agent::backoff`] |
//! | start, pre-flight, job record | [`agent::actor`], [`job::preflight`], [`job::machine`] |
//! | what survives a power cut | [`job::store`] |
//! | bounds, time, objects of a file | [`gcode`] |
//! | what is left out when an object is skipped | [`gcode::skip`] |
//! | how an interrupted print goes on | [`gcode::recover`] |
//! | pictures of a printer | [`camera`] |
//! | the switch of a supply | [`power`]; emergency stops behind it: `agent::supply` |
//! | a configuration key | [`config`], a driver's own in its `config.rs` |
//! | a verb of the command line | `cli/<verb>.rs` |
//! | what a support archive holds, and what is a secret in it | `cli/support/`, `config/shown.rs`, [`config::scrub`] |
//! | a route of the local API | [`api`]; what `/openapi.json` and `/docs` say of it: `api/openapi/` |
//! | which of the cloud's routes are none of ours | `api/cloud_only` |
//! | what slicers send and see | `api/slicer/` |
//! | the shapes of other services at `/v1` | `api/v1/` |
//! | tools for assistants | `api/mcp/` |
//! | the temperatures that a page shows | [`agent::curves`], `api/curve` |
//! | what a cloud is told and wants | [`upstream`], `upstream/simplyprint/` |
//! | what a broker and Home Assistant are told, and which commands are taken there | `upstream/mqtt/`; golden files: `fixtures/mqtt/` |
//! | what a reload does to upstreams | [`upstream::crew`] |
//! | a new printer family | a folder and two lines in [`drivers`] |

pub use layerd_gcode as gcode;

pub mod agent;
pub mod api;
mod blocking;
pub mod camera;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod drivers;
pub mod host;
pub mod job;
mod json;
pub mod power;
pub mod printer;
pub mod sorted;
pub mod sys;
pub mod upstream;
