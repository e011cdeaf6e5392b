//! Connections: how many, how long, how much each may send before a handler sees it.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at once. More wait in the system's own backlog, which is bounded too. Far more than a
/// host has people and scripts, since one that waits for a print to pause holds its place for minutes
/// and an emergency stop must not queue behind it.
pub const CONNECTIONS_MAX: usize = 200;

/// Largest head of a request, bytes, and most headers in it.
const HEAD_MAX_BYTES: usize = 32 << 10;
const HEADERS_MAX: usize = 64;

/// How long a head may take, from the first moment of the connection or the end of the last answer.
const HEAD_LIMIT: Duration = Duration::from_secs(30);

/// How long open requests may go on after the stop.
const DRAIN_LIMIT: Duration = Duration::from_secs(3);

/// Rest after an accept that failed (out of descriptors), so that the loop does not spin.
const REST: Duration = Duration::from_millis(200);

/// Serves until `shutdown`, then lets open requests end for a moment.
pub async fn serve(listener: UnixListener, router: Router, shutdown: CancellationToken) {
    let tracker = TaskTracker::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let (router, shutdown) = (router.clone(), shutdown.clone());
                tracker.spawn(async move {
                    connection(stream, router, shutdown).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(code = "api/accept", "a connection could not be taken: {error}");
                tokio::time::sleep(REST).await;
            }
        }
    }
    tracker.close();
    // What is not done by then is dropped with the runtime; every command goes on without its asker.
    let _ = tokio::time::timeout(DRAIN_LIMIT, tracker.wait()).await;
}

async fn accept(
    listener: &UnixListener,
    places: &Arc<Semaphore>,
) -> io::Result<(UnixStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

async fn connection(stream: UnixStream, router: Router, shutdown: CancellationToken) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_MAX_BYTES);
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = shutdown.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.as_mut().await
        }
    };
    if let Err(error) = ended {
        // Clients that hang up are no news.
        tracing::debug!("a connection to the API ended: {error}");
    }
}
