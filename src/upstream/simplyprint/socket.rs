//! The websocket: opening it, reading it, and a writer of its own so that a cloud that does not read
//! holds up nothing.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use tokio_util::task::AbortOnDropHandle;

use super::endpoints::host_of;
use super::proto::FRAME_MAX_BYTES;

/// How long each step of opening may take.
const OPEN_LIMIT: Duration = Duration::from_secs(20);
/// How long one frame may take to be written.
const WRITE_LIMIT: Duration = Duration::from_secs(30);
/// Frames that may wait to be written. When full the cloud does not read: the connection is given up.
const WRITE_QUEUE: usize = 1024;
/// How long the farewell may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);

/// Bytes both ways.
trait Pipe: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Pipe for T {}

type Stream = WebSocketStream<Box<dyn Pipe>>;

/// Why there is no connection (any more). Without the address, which is a credential.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The configured address is none.
    #[error("The address of the cloud is not ws:// or wss://. Correct ws_url.")]
    Address,
    /// A step took too long.
    #[error("The cloud did not answer in time.")]
    Silent,
    /// The network.
    #[error("The cloud cannot be reached: {0}.")]
    Network(#[from] std::io::Error),
    /// The websocket.
    #[error("The connection to the cloud failed: {0}.")]
    Websocket(String),
    /// It does not read.
    #[error("The cloud does not take what is sent.")]
    Stuck,
    /// It has closed.
    #[error("The cloud closed the connection{0}.")]
    Closed(String),
}

/// What comes in.
#[derive(Debug)]
pub enum Received {
    /// A message.
    Text(String),
    /// The answer to our ping with this number.
    Pong(u64),
    /// A sign of life.
    Alive,
}

enum Job {
    Frame(Message),
    Close,
}

/// An open websocket. Dropped, it is gone at once.
pub struct Socket {
    frames: SplitStream<Stream>,
    queue: mpsc::Sender<Job>,
    writer: AbortOnDropHandle<()>,
}

impl Socket {
    /// Opens `base` + `path`.
    ///
    /// # Errors
    /// [`SocketError`].
    pub async fn open(base: &str, path: &str, tls: Arc<ClientConfig>) -> Result<Socket, SocketError> {
        let secure = base.starts_with("wss://");
        let host = host_of(base).ok_or(SocketError::Address)?;
        let port = port_of(base).unwrap_or(if secure { 443 } else { 80 });
        let tcp = within(TcpStream::connect((host.as_str(), port))).await??;
        tcp.set_nodelay(true)?;
        let pipe: Box<dyn Pipe> = if secure {
            let name = ServerName::try_from(host).map_err(|_| SocketError::Address)?;
            Box::new(within(TlsConnector::from(tls).connect(name, tcp)).await??)
        } else {
            Box::new(tcp)
        };
        let config = WebSocketConfig::default()
            .max_message_size(Some(FRAME_MAX_BYTES))
            .max_frame_size(Some(FRAME_MAX_BYTES))
            .read_buffer_size(16 << 10)
            .write_buffer_size(0)
            .max_write_buffer_size(8 << 20);
        let url = format!("{base}{path}");
        let (stream, _) = within(client_async_with_config(url, pipe, Some(config)))
            .await?
            .map_err(|e| SocketError::Websocket(words(&e)))?;
        let (sink, frames) = stream.split();
        let (queue, jobs) = mpsc::channel(WRITE_QUEUE);
        #[allow(
            clippy::disallowed_methods,
            reason = "the handle is kept: aborted with the socket"
        )]
        let writer = AbortOnDropHandle::new(tokio::spawn(write(sink, jobs).boxed()));
        Ok(Socket {
            frames,
            queue,
            writer,
        })
    }

    /// The next thing that comes in. Cancel-safe.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn receive(&mut self) -> Result<Received, SocketError> {
        match self.frames.next().await {
            None => Err(SocketError::Closed(String::new())),
            Some(Err(e)) => Err(SocketError::Websocket(words(&e))),
            Some(Ok(Message::Text(text))) => Ok(Received::Text(text.as_str().to_owned())),
            // Both kinds carry JSON in the vendor's client.
            Some(Ok(Message::Binary(bytes))) => {
                Ok(Received::Text(String::from_utf8_lossy(&bytes).into_owned()))
            }
            Some(Ok(Message::Pong(payload))) => {
                Ok(payload.as_ref().try_into().map_or(Received::Alive, |n: [u8; 8]| {
                    Received::Pong(u64::from_be_bytes(n))
                }))
            }
            Some(Ok(Message::Close(frame))) => {
                let why = frame.map_or(String::new(), |f| {
                    format!(" ({} {:.60})", u16::from(f.code), f.reason.as_str())
                });
                Err(SocketError::Closed(why))
            }
            Some(Ok(Message::Ping(_) | Message::Frame(_))) => Ok(Received::Alive),
        }
    }

    /// Hands a frame to the writer; never waits.
    ///
    /// # Errors
    /// The cloud does not read, or the connection is gone.
    pub fn send(&self, text: String) -> Result<(), SocketError> {
        self.hand_on(Message::text(text))
    }

    /// Pings with a number that comes back.
    ///
    /// # Errors
    /// As [`Socket::send`].
    pub fn ping(&self, number: u64) -> Result<(), SocketError> {
        self.hand_on(Message::Ping(number.to_be_bytes().to_vec().into()))
    }

    fn hand_on(&self, message: Message) -> Result<(), SocketError> {
        self.queue
            .try_send(Job::Frame(message))
            .map_err(|_| SocketError::Stuck)
    }

    /// Writes what is queued and says goodbye, for a moment.
    pub async fn close(mut self) {
        let orderly = async {
            if self.queue.send(Job::Close).await.is_ok() {
                let _ = (&mut self.writer).await;
            }
        };
        let _ = tokio::time::timeout(CLOSE_LIMIT, orderly).await;
    }
}

async fn write(mut sink: SplitSink<Stream, Message>, mut jobs: mpsc::Receiver<Job>) {
    while let Some(job) = jobs.recv().await {
        let message = match job {
            Job::Frame(message) => message,
            Job::Close => {
                let farewell = CloseFrame {
                    code: CloseCode::Away,
                    reason: "Client Shutdown".into(),
                };
                let _ = tokio::time::timeout(CLOSE_LIMIT, sink.send(Message::Close(Some(farewell)))).await;
                return;
            }
        };
        // The reader notices a dead connection; a stuck one shows in the full queue.
        match tokio::time::timeout(WRITE_LIMIT, sink.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

async fn within<T>(step: impl Future<Output = T>) -> Result<T, SocketError> {
    tokio::time::timeout(OPEN_LIMIT, step)
        .await
        .map_err(|_| SocketError::Silent)
}

fn port_of(url: &str) -> Option<u16> {
    let authority = url.split_once("://")?.1.split(['/', '?', '#']).next()?;
    let after_host = authority.rsplit_once(']').map_or(authority, |(_, rest)| rest);
    after_host.rsplit_once(':')?.1.parse().ok()
}

/// The error's words; an HTTP refusal tells its number only.
fn words(error: &tokio_tungstenite::tungstenite::Error) -> String {
    use tokio_tungstenite::tungstenite::Error;
    match error {
        Error::Http(answer) => format!("it answers {}", answer.status().as_u16()),
        Error::Url(_) => "its address cannot be read".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
