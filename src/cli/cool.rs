//! `layerd cool`: the last resort after the daemon has failed for good. The service's `OnFailure` runs it.

use super::client::block_on;
use super::exit::{Done, Exit, Failure};
use super::{Globals, moving, out};
use crate::daemon::{ran_last, read_config};
use crate::job::store::{FILE_NAME, Store, StoreError};
use crate::json::json;

/// Turns the heaters of printers off that a dead daemon left printing.
pub fn run(globals: &Globals) -> Done {
    let path = globals.config_path();
    let config = match read_config(path) {
        Ok(config) => config,
        // What is wrong with it may be why the daemon failed. A heater does not stay on for that.
        Err(mistakes) => match ran_last(path) {
            Some(config) => {
                out::err(format!(
                    "{mistakes}\nlayerd: The printers are those that the service ran with last."
                ));
                config
            }
            None => return Err(Failure::usage(mistakes.to_string())),
        },
    };
    let state_dir = config.agent.state_dir.clone();
    let path = state_dir.join(FILE_NAME);
    // Refused while the service runs: it minds the heaters then.
    let store = match Store::open(&path) {
        Ok(store) => Some(store),
        Err(error @ StoreError::InUse { .. }) => return Err(moving::not_open(error)),
        Err(error) => {
            out::err(format!("layerd: {error} Every serial printer is cooled."));
            None
        }
    };
    block_on(async {
        // What was printed cannot be known from a database that had to be replaced by an empty one.
        let known = match &store {
            Some(store) => matches!(store.set_aside().await, Ok(None)),
            None => false,
        };
        let mut told = Vec::new();
        let mut hot = false;
        for printer in &config.printers {
            let name = &printer.name;
            // A database that cannot be read is no reason to leave a heater on.
            if let Some(store) = store.as_ref().filter(|_| known)
                && matches!(store.active_job(name).await, Ok(None))
            {
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
        if let Some(store) = store {
            moving::closed(store, Ok(())).await?;
        }
        Ok(if hot { Exit::Unverified } else { Exit::Good })
    })?
}
