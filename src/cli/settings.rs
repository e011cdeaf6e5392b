//! The configuration as the verbs use it: with the drivers that there are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::load::{Surroundings, load, runtime_dir};
use crate::config::model::OnStop;
use crate::config::{Config, Diagnostics};
use crate::drivers::{Build, REGISTRY, StopMode, factory};

use super::exit::Failure;

/// Where the configuration is unless the command line says otherwise.
pub const CONFIG_FILE: &str = "/etc/layerd/layerd.toml";

/// A configuration with its drivers.
pub type Settings = Config<Arc<dyn Build>>;

/// Reads the file; every mistake in one go.
pub fn read(path: &Path) -> Result<Settings, Diagnostics> {
    let kinds: Vec<&'static str> = REGISTRY.iter().map(|f| f.kind()).collect();
    load(path, &Surroundings::of_process(), &kinds, &mut |kind, common, section| {
        Some(Arc::from(factory(kind)?.configure(common, section)?))
    })
}

/// What a stop does with a running print: as configured; else a printer that hangs on our cable is
/// parked, one that prints by itself is left alone.
pub fn stop_mode(on_stop: Option<OnStop>, build: &dyn Build) -> StopMode {
    match on_stop {
        Some(OnStop::Pause) => StopMode::Park,
        Some(OnStop::Cancel) => StopMode::Cancel,
        Some(OnStop::Leave) => StopMode::Leave,
        None if build.link_is_printer() => StopMode::Park,
        None => StopMode::Leave,
    }
}

/// What is configured but not yet done by this version: said aloud, never passed over in silence.
pub fn unused(settings: &Settings) -> Vec<String> {
    let mut out = Vec::new();
    if settings.simplyprint.as_ref().is_some_and(|s| s.enabled) {
        out.push("[upstream.simplyprint] is kept, but this version does not connect to it yet.".to_owned());
    }
    if settings.api.listen != ["127.0.0.1:7380"] && !settings.api.listen.is_empty() {
        out.push("api.listen is kept, but this version serves the unix socket only.".to_owned());
    }
    for printer in &settings.printers {
        let name = &printer.name;
        if printer.common.power.is_some() {
            out.push(format!("printer.{name}.power is kept, but this version does NOT switch power."));
        }
        if printer.common.camera.is_some() {
            out.push(format!("printer.{name}.camera is kept, but this version shows no pictures yet."));
        }
    }
    out
}

/// Where the daemon's socket is: from the configuration if it can be read, else the usual place.
///
/// A client may not be allowed to read the file, and its mistakes are not the client's business.
pub fn socket(config: Option<&Path>) -> Result<PathBuf, Failure> {
    let around = Surroundings::of_process();
    let text = match std::fs::read_to_string(config.unwrap_or(Path::new(CONFIG_FILE))) {
        Ok(text) => text,
        Err(error) => match config {
            Some(path) => return Err(Failure::usage(format!("{}: cannot be read: {error}.", path.display()))),
            None => String::new(),
        },
    };
    Ok(runtime_dir(&text, &around).join("layerd.sock"))
}
