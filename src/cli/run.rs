//! `layerd run`: the daemon.

use std::time::Duration;

use super::Globals;
use super::exit::{Done, Exit, Failure};
use crate::daemon::{Daemon, StartError, read_config};
use crate::host::systemd;

/// How long blocking work (a file that hangs on a dead network share) may hold up the end.
const END_LIMIT: Duration = Duration::from_secs(5);

/// The runtime for everything but serial lines, which have threads of their own: two workers, so that
/// one TLS handshake does not hold up all other answers; few blocking threads, since each one costs
/// memory and a Pi has one disk.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(8)
        .thread_keep_alive(Duration::from_secs(5))
        .thread_name("layerd")
        .enable_all()
        .build()
}

/// Runs the verb.
pub fn run(globals: &Globals) -> Done {
    // Before any thread starts: it takes over descriptors by number.
    let (systemd, fd_store) = systemd::attach();
    crate::sys::give_memory_back();
    let path = globals.config_path().to_owned();
    let config = read_config(&path).map_err(|mistakes| Failure::usage(mistakes.to_string()))?;
    let runtime = runtime().map_err(|e| Failure::new(format!("Cannot start: {e}.")))?;
    let done = runtime.block_on(async {
        let daemon = Daemon::start(config, Some(path), systemd, fd_store).await.map_err(|e| failure(&e))?;
        tracing::info!(socket = %daemon.socket().display(), version = env!("CARGO_PKG_VERSION"), "layerd is up");
        daemon
            .run(std::future::pending())
            .await
            .map_err(|e| Failure::new(format!("The daemon ended with a failure: {e}.")))?;
        Ok(Exit::Good)
    });
    runtime.shutdown_timeout(END_LIMIT);
    done
}

/// Why it could not start, for people and for the exit code.
pub fn failure(error: &StartError) -> Failure {
    match error {
        StartError::Config(mistakes) => Failure::usage(mistakes.to_string()),
        other => Failure::new(other.to_string()),
    }
}
