//! What the verbs need of the configuration.

use std::path::{Path, PathBuf};

use super::exit::Failure;
use crate::config::load::{Surroundings, runtime_dir};

/// Where the configuration is unless the command line says otherwise.
pub const CONFIG_FILE: &str = "/etc/layerd/layerd.toml";

/// Largest file that a client looks into for the socket.
const SIZE_MAX: u64 = 1 << 20;

/// Where the daemon's socket is: from the configuration if it can be read, else the usual place.
///
/// A client may not be allowed to read the file, and its mistakes are not the client's business.
pub fn socket(config: Option<&Path>) -> Result<PathBuf, Failure> {
    let around = Surroundings::of_process();
    let text = match read(config.unwrap_or(Path::new(CONFIG_FILE))) {
        Ok(text) => text,
        Err(error) => match config {
            Some(path) => {
                return Err(Failure::usage(format!(
                    "{}: cannot be read: {error}.",
                    path.display()
                )));
            }
            None => String::new(),
        },
    };
    Ok(runtime_dir(&text, &around).join(crate::api::socket::SOCKET_NAME))
}

fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(SIZE_MAX)
        .read_to_string(&mut text)?;
    Ok(text)
}
