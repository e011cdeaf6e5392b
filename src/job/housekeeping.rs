//! What has to be cleared away once in a while: expired files, very old history.

use std::convert::Infallible;
use std::time::Duration;

use jiff::Timestamp;

use super::spool::Spool;
use super::store::Store;

/// The start of the daemon is for printers.
const FIRST: Duration = Duration::from_secs(60);

/// Between two rounds.
const EVERY: Duration = Duration::from_secs(3600);

/// Finished jobs kept in the history; the oldest go. About 1 KB each.
pub const HISTORY_MAX: u32 = 20_000;

/// Clears away, once an hour, for as long as it is polled.
pub async fn forever(store: Store, spool: Spool) -> Infallible {
    tokio::time::sleep(FIRST).await;
    loop {
        once(&store, &spool, Timestamp::now()).await;
        tokio::time::sleep(EVERY).await;
    }
}

/// One round. What fails is said and tried again in the next one.
pub async fn once(store: &Store, spool: &Spool, now: Timestamp) {
    match spool.tidy(now).await {
        Ok(0) => {}
        Ok(bytes) => tracing::info!(bytes, "expired files were removed"),
        Err(fault) => tracing::warn!(code = %fault.code, "expired files could not be removed: {fault}"),
    }
    match store.jobs_prune(HISTORY_MAX).await {
        Ok(0) => {}
        Ok(jobs) => tracing::info!(jobs, "the oldest jobs were dropped from the history"),
        Err(error) => tracing::warn!(code = error.code(), "the history could not be shortened: {error}"),
    }
}
