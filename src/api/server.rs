//! Connections: how many, how long, how much each may send before a handler sees it.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use futures_util::FutureExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::door::Entrance;
use super::stall::Unstalled;

/// Connections at once over the unix socket. More wait in the system's own backlog, which is bounded too.
/// Far more than a host has people and scripts, since one that waits for a print to pause holds its place
/// for minutes and an emergency stop must not queue behind it.
pub const CONNECTIONS_MAX: usize = 200;

/// Connections at once over one address. The socket has its own places: whoever fills these does not
/// lock out the command line.
pub const TCP_CONNECTIONS_MAX: usize = 400;

/// Largest head of a request, bytes, and most headers in it.
const HEAD_MAX_BYTES: usize = 32 << 10;
const HEADERS_MAX: usize = 64;

/// How long a head may take, from the first moment of the connection or the end of the last answer.
const HEAD_LIMIT: Duration = Duration::from_secs(30);

/// How long the handshake of an encrypted connection may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// How long open requests may go on after the stop.
const DRAIN_LIMIT: Duration = Duration::from_secs(3);

/// Rest after an accept that failed (out of descriptors), so that the loop does not spin.
const REST: Duration = Duration::from_millis(200);

/// Where connections come from.
pub enum Listener {
    /// The unix socket.
    Unix(UnixListener),
    /// An address, with or without encryption.
    Tcp(TcpListener, Option<TlsAcceptor>),
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream, Option<TlsAcceptor>),
}

/// What a connection runs over: for HTTP it is all the same.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

impl Listener {
    fn places(&self) -> usize {
        match self {
            Listener::Unix(_) => CONNECTIONS_MAX,
            Listener::Tcp(..) => TCP_CONNECTIONS_MAX,
        }
    }

    async fn accept(&self, places: &Arc<Semaphore>) -> io::Result<(Stream, Entrance, OwnedSemaphorePermit)> {
        let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (stream, entrance) = match self {
            Listener::Unix(listener) => (Stream::Unix(listener.accept().await?.0), Entrance::Socket),
            Listener::Tcp(listener, tls) => {
                let (stream, peer) = listener.accept().await?;
                // Answers are small and people wait for them.
                let _ = stream.set_nodelay(true);
                (Stream::Tcp(stream, tls.clone()), Entrance::Tcp(peer))
            }
        };
        Ok((stream, entrance, place))
    }
}

/// Serves until `shutdown`, then lets open requests end for a moment.
pub async fn serve(listener: Listener, router: Router, shutdown: CancellationToken) {
    let tracker = TaskTracker::new();
    let places = Arc::new(Semaphore::new(listener.places()));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept(&places) => accepted,
        };
        match accepted {
            Ok((stream, entrance, place)) => {
                let (router, shutdown) = (router.clone(), shutdown.clone());
                let served = async move {
                    let wire: Option<Box<dyn Wire>> = match stream {
                        Stream::Unix(stream) => Some(Box::new(stream)),
                        Stream::Tcp(stream, None) => Some(Box::new(stream)),
                        Stream::Tcp(stream, Some(tls)) => {
                            let shaken = tokio::time::timeout(HANDSHAKE_LIMIT, tls.accept(stream)).await;
                            // Those who speak no TLS, or do not trust the certificate, are no news.
                            match shaken {
                                Ok(Ok(stream)) => Some(Box::new(stream)),
                                _ => None,
                            }
                        }
                    };
                    if let Some(wire) = wire {
                        connection(wire, entrance, router, shutdown).await;
                    }
                    drop(place);
                };
                tracker.spawn(served.boxed());
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

async fn connection(wire: Box<dyn Wire>, entrance: Entrance, router: Router, shutdown: CancellationToken) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_MAX_BYTES);
    let routes = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(entrance);
        routes.call(request)
    });
    let served = builder.serve_connection(TokioIo::new(Unstalled::new(wire)), service);
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
