//! Work for a disk or a processor, off the runtime.

use std::any::Any;
use std::panic::resume_unwind;

use tokio::task::JoinError;

/// Like `tokio::task::spawn_blocking`, whose task is here of one type for all kinds of work. The work begins at the first
/// poll, and is done to its end even if nobody waits any more.
///
/// # Errors
/// The work panicked.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    let work: Box<dyn FnOnce() -> Box<dyn Any + Send> + Send> = Box::new(move || Box::new(work()));
    match tokio::task::spawn_blocking(work).await?.downcast() {
        Ok(done) => Ok(*done),
        // It is what the work returned.
        Err(other) => resume_unwind(other),
    }
}
