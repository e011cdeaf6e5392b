//! The way of bytes to a broker: plain, with TLS, as a websocket, or both; with a writer of its own, so that a broker
//! that does not read holds up nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use tokio_util::task::AbortOnDropHandle;

use super::link::{Heard, Link, Login};
use super::proto::Qos;
use super::topics::Topics;
use crate::config::model::{Broker, Mqtt};
use crate::host::{names, tls};

/// How long each step of opening may take.
const OPEN_LIMIT: Duration = Duration::from_secs(20);
/// How long what is handed over may take to be written.
const WRITE_LIMIT: Duration = Duration::from_secs(30);
/// How long the goodbye may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// Bytes read in one go.
const READ_MAX: usize = 8 * 1024;
/// Largest message of a websocket: more than a foreign command of 10 MB in one piece, which is passed over.
const MESSAGE_MAX: usize = 16 << 20;
/// Largest certificate or key file.
const PEM_MAX_BYTES: u64 = 1 << 20;

/// Bytes both ways.
trait Pipe: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Pipe for T {}

type Websocket = WebSocketStream<Box<dyn Pipe>>;

/// Why there is no connection (any more).
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// A step took too long.
    #[error("the broker does not answer")]
    Silent,
    /// The network.
    #[error("{0}")]
    Network(#[from] std::io::Error),
    /// The websocket.
    #[error("the websocket failed: {0}")]
    Websocket(String),
    /// A name that no certificate can be for.
    #[error("the broker's name cannot stand in a certificate")]
    Name,
    /// It does not read.
    #[error("the broker does not take what is sent")]
    Stuck,
    /// It has closed.
    #[error("the broker closed the connection")]
    Closed,
}

/// TLS as it is configured, where it is.
///
/// # Errors
/// In words: a file that cannot be used, or the system has no roots.
pub fn encryption(config: &Mqtt) -> Result<Option<Arc<ClientConfig>>, String> {
    if !config.broker.tls {
        return Ok(None);
    }
    if config.ca_file.is_none() && config.cert_file.is_none() {
        return tls::client_config()
            .map(Some)
            .map_err(|e| format!("TLS cannot be set up: {e}"));
    }
    let failed = |e: rustls::Error| format!("TLS cannot be set up: {e}");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    let builder = match &config.ca_file {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots
                    .add(certificate)
                    .map_err(|e| format!("`ca_file` {}: {e}", path.display()))?;
            }
            builder.with_root_certificates(roots)
        }
        None => builder.with_platform_verifier().map_err(failed)?,
    };
    let done = match (&config.cert_file, &config.key_file) {
        (Some(cert), Some(key)) => {
            let private = PrivateKeyDer::from_pem_slice(&pem(key)?)
                .map_err(|e| format!("`key_file` {}: {e}", key.display()))?;
            builder
                .with_client_auth_cert(certificates(cert)?, private)
                .map_err(|e| format!("`cert_file` and `key_file` do not work together: {e}"))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Some(Arc::new(done)))
}

fn pem(path: &Path) -> Result<Vec<u8>, String> {
    let read = std::fs::metadata(path).and_then(|meta| match meta.len() {
        0..=PEM_MAX_BYTES => std::fs::read(path),
        _ => Err(std::io::Error::other("it is larger than 1 MiB")),
    });
    read.map_err(|e| format!("{} cannot be read: {e}", path.display()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem(path)?).collect();
    match found {
        Ok(list) if !list.is_empty() => Ok(list),
        Ok(_) => Err(format!("{} holds no certificate", path.display())),
        Err(e) => Err(format!("{}: {e}", path.display())),
    }
}

enum Reading {
    Bytes(ReadHalf<Box<dyn Pipe>>, BytesMut),
    Websocket(Box<SplitStream<Websocket>>),
}

enum Writing {
    Bytes(WriteHalf<Box<dyn Pipe>>),
    Websocket(Box<SplitSink<Websocket, Message>>),
}

/// An open way. Dropped, it is gone at once.
pub struct Socket {
    reading: Reading,
    /// One piece waits at most: what is not handed over yet can still be replaced by something newer.
    queue: mpsc::Sender<Vec<u8>>,
    writer: AbortOnDropHandle<()>,
}

impl Socket {
    /// Opens the way to a broker.
    ///
    /// # Errors
    /// [`SocketError`].
    pub async fn open(broker: &Broker, tls: Option<Arc<ClientConfig>>) -> Result<Socket, SocketError> {
        let tcp = within(names::connect(&broker.host, broker.port)).await??;
        tcp.set_nodelay(true)?;
        let pipe: Box<dyn Pipe> = match tls {
            Some(tls) => {
                let name = ServerName::try_from(broker.host.clone()).map_err(|_| SocketError::Name)?;
                Box::new(within(TlsConnector::from(tls).connect(name, tcp)).await??)
            }
            None => Box::new(tcp),
        };
        let (reading, writing) = match &broker.websocket {
            None => {
                let (read, write) = tokio::io::split(pipe);
                (Reading::Bytes(read, BytesMut::new()), Writing::Bytes(write))
            }
            Some(path) => {
                let (sink, stream) = within(upgrade(broker, path, pipe)).await??.split();
                (
                    Reading::Websocket(Box::new(stream)),
                    Writing::Websocket(Box::new(sink)),
                )
            }
        };
        let (queue, pieces) = mpsc::channel(1);
        #[allow(
            clippy::disallowed_methods,
            reason = "the handle is kept: aborted with the socket"
        )]
        let writer = AbortOnDropHandle::new(tokio::spawn(write(writing, pieces).boxed()));
        Ok(Socket {
            reading,
            queue,
            writer,
        })
    }

    /// The next bytes. Cancel-safe.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn receive(&mut self) -> Result<Bytes, SocketError> {
        match &mut self.reading {
            Reading::Bytes(read, buffer) => {
                buffer.reserve(READ_MAX);
                match read.read_buf(buffer).await? {
                    0 => Err(SocketError::Closed),
                    _ => Ok(buffer.split().freeze()),
                }
            }
            Reading::Websocket(stream) => loop {
                match stream.next().await {
                    None | Some(Ok(Message::Close(_))) => return Err(SocketError::Closed),
                    Some(Err(e)) => return Err(SocketError::Websocket(e.to_string())),
                    Some(Ok(Message::Binary(bytes))) => return Ok(bytes),
                    // MQTT travels in binary messages only (§6.0).
                    Some(Ok(Message::Text(_))) => {
                        return Err(SocketError::Websocket("it sends text".to_owned()));
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                }
            },
        }
    }

    /// Resolves when the writer takes another piece. Cancel-safe.
    ///
    /// # Errors
    /// It has ended: the broker does not read, or the connection is gone.
    pub fn readiness(&self) -> impl Future<Output = Result<(), SocketError>> + use<> {
        let queue = self.queue.clone();
        async move { queue.reserve().await.map(drop).map_err(|_| SocketError::Stuck) }
    }

    /// Hands a piece to the writer, after [`Socket::readiness`]. `false`: it takes none now.
    pub fn send(&self, piece: Vec<u8>) -> bool {
        self.queue.try_send(piece).is_ok()
    }

    /// Writes a last piece and closes, for a moment.
    pub async fn close(self, last: Vec<u8>) {
        let Socket { queue, writer, .. } = self;
        let orderly = async {
            let _ = queue.send(last).await;
            drop(queue);
            let _ = writer.await;
        };
        let _ = tokio::time::timeout(CLOSE_LIMIT, orderly).await;
    }
}

async fn upgrade(broker: &Broker, path: &str, pipe: Box<dyn Pipe>) -> Result<Websocket, SocketError> {
    let failed = |e: tokio_tungstenite::tungstenite::Error| SocketError::Websocket(e.to_string());
    let host = match broker.host.contains(':') {
        true => format!("[{}]", broker.host),
        false => broker.host.clone(),
    };
    let scheme = if broker.tls { "wss" } else { "ws" };
    let url = format!("{scheme}://{host}:{}{path}", broker.port);
    let mut request = url.into_client_request().map_err(failed)?;
    request
        .headers_mut()
        .insert("Sec-WebSocket-Protocol", HeaderValue::from_static("mqtt"));
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_MAX))
        .max_frame_size(Some(MESSAGE_MAX))
        .read_buffer_size(READ_MAX)
        .write_buffer_size(0)
        .max_write_buffer_size(4 << 20);
    let (stream, _) = client_async_with_config(request, pipe, Some(config))
        .await
        .map_err(failed)?;
    Ok(stream)
}

async fn write(mut writing: Writing, mut pieces: mpsc::Receiver<Vec<u8>>) {
    while let Some(piece) = pieces.recv().await {
        let work = async {
            match &mut writing {
                Writing::Bytes(write) => {
                    write.write_all(&piece).await.ok()?;
                    write.flush().await.ok()
                }
                Writing::Websocket(sink) => sink.send(Message::Binary(piece.into())).await.ok(),
            }
        };
        // The reader notices a dead connection; a stuck one shows in the closed queue.
        if !matches!(tokio::time::timeout(WRITE_LIMIT, work).await, Ok(Some(()))) {
            return;
        }
    }
    match writing {
        Writing::Bytes(mut write) => drop(write.shutdown().await),
        Writing::Websocket(mut sink) => drop(sink.close().await),
    }
}

async fn within<T>(step: impl Future<Output = T>) -> Result<T, SocketError> {
    tokio::time::timeout(OPEN_LIMIT, step)
        .await
        .map_err(|_| SocketError::Silent)
}

/// Connects as the daemon would, under another name, and says goodbye; what was found, in words.
///
/// # Errors
/// Why it does not work, in words.
pub async fn reachable(config: &Mqtt, name: &str) -> Result<String, String> {
    let tls = encryption(config)?;
    let mut socket = Socket::open(&config.broker, tls)
        .await
        .map_err(|e| e.to_string())?;
    let host = config.host.as_deref().unwrap_or(name);
    let topics = Topics::new(&config.topic, host);
    let client_id = config
        .client_id
        .clone()
        .unwrap_or_else(|| client_id(topics.host()));
    let password = config.password.as_ref().map(|p| p.reveal());
    let mut link = Link::new(
        Instant::now(),
        Login {
            client_id: &format!("{client_id}-check"),
            user: config.user.as_deref().map(|user| (user, password)),
            will: None,
            keep_alive: config.keep_alive,
            filters: if config.commands {
                vec![(topics.commands(), Qos::One)]
            } else {
                Vec::new()
            },
        },
    );
    let mut deaf = false;
    loop {
        if !link.waiting().is_empty() {
            socket.readiness().await.map_err(|e| e.to_string())?;
            if socket.send(link.waiting().to_vec()) {
                link.written(Instant::now(), link.waiting().len());
            }
        }
        let bytes = socket.receive().await.map_err(|e| e.to_string())?;
        let heard = link.input(Instant::now(), &bytes).map_err(|e| e.to_string())?;
        deaf |= heard.iter().any(|h| matches!(h, Heard::NotAllowed(_)));
        if heard.contains(&Heard::Ready) {
            break;
        }
    }
    link.goodbye();
    socket.close(link.waiting().to_vec()).await;
    let place = format!(
        "the broker at {}:{} takes us in",
        config.broker.host, config.broker.port
    );
    match deaf {
        true => Err(format!(
            "{place}, but does not let us listen to {}. Look at its access list",
            topics.commands()
        )),
        false => Ok(place),
    }
}

/// A name that no other host has: two with one name would throw each other out for ever.
pub fn client_id(host: &str) -> String {
    let machine = crate::upstream::machine().unwrap_or_default();
    format!("layerd-{host}-{}", machine.get(..6).unwrap_or("0"))
}
