//! `layerd trust`: accept the certificate that a Bambu Lab printer shows now.

use std::path::Path;

use super::exit::{Done, Exit, Failure};
use super::settings::CONFIG_FILE;
use super::{Globals, out};
use crate::daemon;
use crate::drivers::bambu::tls;

/// Arguments of `trust`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The printer's name
    printer: String,
}

/// Runs the verb.
pub fn run(globals: &Globals, args: &Args) -> Done {
    let path = globals.config.as_deref().unwrap_or(Path::new(CONFIG_FILE));
    let config = daemon::read_config(path).map_err(|e| Failure::usage(e.to_string()))?;
    let name = &args.printer;
    if !config.printers.iter().any(|p| p.name == *name) {
        return Err(Failure::new(format!(
            "There is no printer {name} in the configuration."
        )));
    }
    match tls::trust(&config.agent.state_dir, name) {
        Ok(Some(key)) => {
            if !globals.json {
                out::line(format!("From now on {name} is known by the key {key}."));
            } else {
                out::json(&crate::json::json!({"printer": name, "key": key}));
            }
            Ok(Exit::Good)
        }
        Ok(None) => Err(Failure::new(format!(
            "{name} has not shown another certificate than the known one. There is nothing to accept."
        ))),
        Err(error) => Err(Failure::new(format!(
            "The certificate could not be accepted: {error}. Run this as the daemon's user or as root."
        ))),
    }
}
