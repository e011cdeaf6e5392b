//! The command line: one file per verb.
//!
//! Verbs that touch a printer are clients of the daemon over its unix socket; only `run`, `demo` and
//! `self-test` hold a daemon themselves.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgAction, Parser, Subcommand};

mod act;
mod analyze;
mod check;
pub mod client;
mod cool;
mod counters;
mod demo;
mod discover;
mod drain;
pub mod exit;
mod generate;
mod key;
mod log;
mod login;
mod logs;
mod moving;
pub mod out;
mod pause;
mod print;
mod printers;
mod recover;
mod run;
mod scratch;
mod self_test;
pub mod settings;
mod simulate;
mod simulate_bambu;
mod simulate_cloud;
mod simulate_klipper;
mod support;
mod trust;

use client::Client;
use exit::{Done, Exit, Failure};

/// The agent beside your 3D printers.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "layerd",
    version,
    about,
    max_term_width = 100,
    arg_required_else_help = true
)]
#[command(
    after_help = "Exit codes: 0 done and seen (or sent, where nothing can be seen), 1 failed, 2 bad usage or \
configuration, 3 sent but not seen to take effect, 4 refused by a rule, 5 refused by the printer."
)]
pub struct Cli {
    #[command(flatten)]
    globals: Globals,
    /// The same as the verb `check`
    #[arg(long)]
    check: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

/// What every verb takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Globals {
    /// Configuration file [default: /etc/layerd/layerd.toml]
    #[arg(long, global = true, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Data as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Say more (twice: much more)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Say less
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub quiet: u8,
}

impl Globals {
    /// The configuration file.
    pub fn config_path(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(settings::CONFIG_FILE))
    }

    /// A client of the daemon that runs with this configuration.
    pub fn client(&self) -> Result<Client, Failure> {
        Client::new(&settings::socket(self.config.as_deref())?)
    }
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// The daemon: drives the configured printers until it is told to stop
    Run,
    /// The whole daemon on a simulated printer: nothing to own, nothing to configure
    Demo(demo::Args),
    /// Validate the configuration, then look whether every printer can be reached
    Check(check::Args),
    /// What a G-code file holds: size, time, filament, objects, warnings
    Analyze(analyze::Args),
    /// Serial ports and printers that are connected, with configuration to paste
    Discover(discover::Args),
    /// What every printer does
    Printers(printers::Args),
    /// Pause a print; waits until the head is parked
    Pause(pause::Args),
    /// Leave a paused or idle printer hot for longer than it would stay by itself
    KeepWarm(pause::KeepWarmArgs),
    /// Go on with a paused print; waits until it moves
    Resume(act::Args),
    /// End a print; waits until the heaters are off
    Cancel(act::CancelArgs),
    /// Leave objects out of the running print
    Skip(act::SkipArgs),
    /// Go on with an interrupted Marlin print, after showing how
    Recover(recover::Args),
    /// Send G-code to a printer
    Send(act::SendArgs),
    /// Upload a sliced file and print it
    Print(print::Args),
    /// A print that waits (print --hold) may heat and begin
    Begin(act::Args),
    /// Stop a printer at once, heaters off
    Estop(act::Args),
    /// The bed was cleared; the next print may start
    Clear(act::ClearArgs),
    /// Press a button of a printer's prompt
    Answer(act::AnswerArgs),
    /// Keys of the local API: who may use it over the network
    #[command(subcommand)]
    Key(key::Verb),
    /// Hours, prints and filament of the printers, in all and since their service
    Counters(counters::Args),
    /// What happened to a printer, or its raw traffic
    Logs(logs::Args),
    /// Pair the printers with the cloud: shows the code of each one and waits until it is claimed
    Login(login::Args),
    /// Copy the database: history, files index, cloud identities
    Backup(moving::FileArgs),
    /// Put the database of a backup in place (service stopped)
    Restore(moving::FileArgs),
    /// Take over the cloud identities of a database that comes from another machine (service stopped)
    Adopt,
    /// A printer has a new name in the configuration: history and identity follow (service stopped)
    Rename(moving::PairArgs),
    /// Another printer stands where one stood: the cloud identity moves to it (service stopped)
    Replace(moving::PairArgs),
    /// Finish what prints and start nothing new; waits for the end of prints that need this host
    Drain(drain::Args),
    /// Heaters off on serial printers that a dead service left printing (it runs by itself when the service fails)
    Cool,
    /// Whether this machine and this binary can do the work; needs no network and no printer
    SelfTest,
    /// One archive for a bug report, without secrets: versions, configuration, states, logs, raw traffic
    Support(support::Args),
    /// A stand-in for a printer, to try this or another host on
    Simulate(simulate::Args),
    /// Accept the certificate that a Bambu Lab printer shows now
    Trust(trust::Args),
    /// Completions for a shell
    Completions(generate::CompletionsArgs),
    /// The manual page
    Man,
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout with 0, mistakes to stderr with 2.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let globals = &cli.globals;
    log::start(log::Loudness {
        verbose: globals.verbose,
        quiet: globals.quiet,
        daemon: matches!(cli.verb, Some(Verb::Run)),
    });
    match dispatch(&cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            if globals.json {
                out::json(
                    &crate::json::json!({"outcome": "failed", "code": "cli/failed", "message": failure.text}),
                );
            }
            out::err(format!("layerd: {failure}"));
            failure.exit.into()
        }
    }
}

fn dispatch(cli: &Cli) -> Done {
    let globals = &cli.globals;
    let Some(verb) = &cli.verb else {
        return if cli.check {
            check::run(globals, &check::Args::default())
        } else {
            Err(Failure::usage("Say what to do. See \"layerd --help\"."))
        };
    };
    match verb {
        Verb::Run => run::run(globals),
        Verb::Demo(args) => demo::run(globals, args),
        Verb::Check(args) => check::run(globals, args),
        Verb::Analyze(args) => analyze::run(globals, args),
        Verb::Discover(args) => discover::run(globals, args),
        Verb::Printers(args) => printers::run(globals, args),
        Verb::Pause(args) => pause::run(globals, args),
        Verb::KeepWarm(args) => pause::keep_warm(globals, args),
        Verb::Resume(args) => act::run(globals, "Resume", args),
        Verb::Cancel(args) => act::cancel(globals, args),
        Verb::Skip(args) => act::skip(globals, args),
        Verb::Recover(args) => recover::run(globals, args),
        Verb::Send(args) => act::send(globals, args),
        Verb::Print(args) => print::run(globals, args),
        Verb::Begin(args) => act::run(globals, "BeginPrint", args),
        Verb::Counters(args) => counters::run(globals, args),
        Verb::Key(verb) => key::run(globals, verb),
        Verb::Estop(args) => act::run(globals, "EmergencyStop", args),
        Verb::Clear(args) => act::clear(globals, args),
        Verb::Answer(args) => act::answer(globals, args),
        Verb::Logs(args) => logs::run(globals, args),
        Verb::Login(args) => login::run(globals, args),
        Verb::Backup(args) => moving::backup(globals, args),
        Verb::Restore(args) => moving::restore(globals, args),
        Verb::Adopt => moving::adopt(globals),
        Verb::Rename(args) => moving::rename(globals, args),
        Verb::Replace(args) => moving::replace(globals, args),
        Verb::Drain(args) => drain::run(globals, args),
        Verb::Cool => cool::run(globals),
        Verb::SelfTest => self_test::run(globals),
        Verb::Support(args) => support::run(globals, args),
        Verb::Simulate(args) => simulate::run(globals, args),
        Verb::Trust(args) => trust::run(globals, args),
        Verb::Completions(args) => generate::completions(args),
        Verb::Man => generate::man(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_agree_with_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn globals_may_stand_behind_the_verb() {
        let cli = Cli::try_parse_from(["layerd", "printers", "--json", "--config", "/x"]).expect("parsed");
        assert!(cli.globals.json);
        assert_eq!(cli.globals.config_path(), Path::new("/x"));
    }
}
