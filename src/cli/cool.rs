//! `layerd cool`: the last resort after the daemon has failed for good. The service's `OnFailure` runs it.

use serde_json::json;

use super::client::block_on;
use super::exit::{Done, Exit, Failure};
use super::{Globals, moving, out};
use crate::daemon::read_config;
use crate::job::store::FILE_NAME;

/// Turns the heaters of printers off that a dead daemon left printing.
pub fn run(globals: &Globals) -> Done {
    let config =
        read_config(globals.config_path()).map_err(|mistakes| Failure::usage(mistakes.to_string()))?;
    let state_dir = config.agent.state_dir.clone();
    // Refused while the service runs: it minds the heaters then.
    let store = moving::open(&state_dir.join(FILE_NAME))?;
    block_on(async {
        let mut told = Vec::new();
        let mut hot = false;
        for printer in &config.printers {
            let name = &printer.name;
            let left = store.active_job(name).await;
            // A database that cannot be read is no reason to leave a heater on.
            if matches!(left, Ok(None)) {
                continue;
            }
            let Some(cooling) = printer.driver.cool(&state_dir, name) else {
                continue;
            };
            let result = cooling.await;
            hot |= result.is_err();
            let words = result.map_or_else(|f| f.to_string(), |()| "its heaters are off".to_owned());
            if !globals.json {
                out::line(format!("{name}: {words}"));
            }
            told.push(json!({"printer": name, "message": words}));
        }
        if globals.json {
            out::json(&json!(told));
        } else if told.is_empty() {
            out::line("No printer was left printing by this host.");
        }
        moving::closed(store, Ok(())).await?;
        Ok(if hot { Exit::Unverified } else { Exit::Good })
    })?
}
