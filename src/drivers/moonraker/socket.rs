//! The connection to Moonraker: a websocket, or its unix socket with frames that end with one byte.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::config::Config;
use super::rpc::FRAME_MAX;
use super::{faults, rpc, token};
use crate::config::Secret;
use crate::host::{names, tls};
use crate::json;
use crate::printer::fault::Fault;

/// Ends a frame on the unix socket.
const END: u8 = 0x03;

/// How long opening may take.
pub const OPEN_LIMIT: Duration = Duration::from_secs(15);

/// How long writing one frame may take.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// An open connection.
pub struct Socket(Kind);

enum Kind {
    Web(Box<WebSocketStream<Box<dyn Bytes>>>),
    Unix {
        stream: UnixStream,
        buffer: Vec<u8>,
        seen: usize,
    },
}

impl Socket {
    /// Connects.
    ///
    /// # Errors
    /// What is wrong with the address, the host, the key.
    pub async fn open(config: &Config) -> Result<Self, Fault> {
        let broken = |e: &dyn std::fmt::Display| faults::UNREACHABLE.with_raw(e.to_string());
        if let Some(path) = &config.socket {
            let stream = UnixStream::connect(path)
                .await
                .map_err(|e| faults::UNREACHABLE.with_raw(format!("{}: {e}", path.display())))?;
            return Ok(Socket(Kind::Unix {
                stream,
                buffer: Vec::new(),
                seen: 0,
            }));
        }
        let url: reqwest::Url = config.url.parse().map_err(|e| broken(&e))?;
        let host = url
            .host_str()
            .unwrap_or_default()
            .trim_matches(['[', ']'])
            .to_owned();
        let port = url.port_or_known_default().unwrap_or(7125);
        let tcp = names::connect(&host, port).await.map_err(|e| broken(&e))?;
        let _ = tcp.set_nodelay(true);
        let secure = url.scheme() == "https";
        let stream: Box<dyn Bytes> = if secure {
            let name = rustls::pki_types::ServerName::try_from(host).map_err(|e| broken(&e))?;
            let config = tls::client_config().map_err(|e| broken(&e))?;
            let tls = tokio_rustls::TlsConnector::from(config)
                .connect(name, tcp)
                .await
                .map_err(|e| {
                    if is_untrusted(&e) {
                        faults::CERTIFICATE.with_raw(e.to_string())
                    } else {
                        broken(&e)
                    }
                })?;
            Box::new(tls)
        } else {
            Box::new(tcp)
        };
        let mut address = config.url.replacen("http", "ws", 1) + "/websocket";
        let key = config.api_key()?;
        if let Some(token) = match &key {
            Some(key) => token::once(config, key).await?,
            None => None,
        } {
            address = format!("{address}?token={}", token.reveal());
        }
        let mut request = address.into_client_request().map_err(|e| broken(&e))?;
        if let Some(key) = key {
            let mut value = HeaderValue::from_str(key.reveal()).map_err(|_| faults::UNAUTHORIZED)?;
            value.set_sensitive(true);
            request.headers_mut().insert("X-Api-Key", value);
        }
        // Small buffers: a frame has 700 bytes as a rule, and there may be many printers.
        let limits = WebSocketConfig::default()
            .read_buffer_size(4096)
            .write_buffer_size(0)
            .max_write_buffer_size(FRAME_MAX)
            .max_message_size(Some(FRAME_MAX))
            .max_frame_size(Some(FRAME_MAX));
        match tokio_tungstenite::client_async_with_config(request, stream, Some(limits)).await {
            Ok((stream, _)) => Ok(Socket(Kind::Web(Box::new(stream)))),
            Err(Error::Http(answer)) if answer.status() == 401 => Err(faults::UNAUTHORIZED),
            Err(Error::Http(answer)) => {
                Err(faults::NOT_MOONRAKER.with_raw(format!("HTTP {}", answer.status())))
            }
            Err(error) => Err(broken(&error)),
        }
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn send(&mut self, text: String) -> Result<(), Fault> {
        let write = async {
            match &mut self.0 {
                Kind::Web(stream) => stream.send(Message::text(text)).await.map_err(|e| e.to_string()),
                Kind::Unix { stream, .. } => {
                    let mut bytes = text.into_bytes();
                    bytes.push(END);
                    stream.write_all(&bytes).await.map_err(|e| e.to_string())
                }
            }
        };
        match tokio::time::timeout(WRITE_LIMIT, write).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(words)) => Err(faults::UNREACHABLE.with_raw(words)),
            Err(_) => Err(faults::SILENT),
        }
    }

    /// The next frame. May be dropped and called again at any time.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn next(&mut self) -> Result<String, Fault> {
        let over = |words: String| {
            faults::UNREACHABLE
                .with_what("Moonraker closed the connection.")
                .with_raw(words)
        };
        match &mut self.0 {
            Kind::Web(stream) => loop {
                match stream.next().await {
                    Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
                    Some(Ok(Message::Close(_))) | None => return Err(over("closed".to_owned())),
                    // Pings are answered below us.
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(over(error.to_string())),
                }
            },
            Kind::Unix { stream, buffer, seen } => loop {
                let fresh = buffer.get(*seen..).unwrap_or_default();
                if let Some(at) = memchr::memchr(END, fresh) {
                    let rest = buffer.split_off(*seen + at + 1);
                    let mut frame = std::mem::replace(buffer, rest);
                    frame.pop();
                    *seen = 0;
                    return Ok(String::from_utf8_lossy(&frame).into_owned());
                }
                *seen = buffer.len();
                if buffer.len() > FRAME_MAX {
                    return Err(over("a frame without an end".to_owned()));
                }
                match stream.read_buf(buffer).await {
                    Ok(0) => return Err(over("closed".to_owned())),
                    Ok(_) => {}
                    Err(error) => return Err(over(error.to_string())),
                }
            },
        }
    }
}

/// Whether a handshake ended because of the other side's certificate.
fn is_untrusted(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
}

/// `layerd check`: who answers there.
///
/// # Errors
/// Nobody, or not with this key.
pub async fn look(config: &Config) -> Result<String, Fault> {
    let info = ask(config, "server.info").await?;
    let word = |name: &str| info.get(name).and_then(|v| v.as_str()).unwrap_or("unknown");
    Ok(format!(
        "Moonraker {} answers, Klipper is {}",
        word("moonraker_version"),
        word("klippy_state")
    ))
}

/// The API key, from Moonraker's own socket: who may open that is trusted there, but not with files (seen).
pub async fn key(config: &Config) -> Option<Secret> {
    let asked = tokio::time::timeout(OPEN_LIMIT, ask(config, "access.get_api_key"));
    let key = asked.await.ok()?.ok()?;
    Some(Secret::new(key.as_str()?))
}

/// One question on a connection of its own.
async fn ask(config: &Config, method: &str) -> Result<serde_json::Value, Fault> {
    let mut socket = Socket::open(config).await?;
    socket.send(rpc::call(1, method, serde_json::Value::Null)).await?;
    loop {
        let text = socket.next().await?;
        let Some(rpc::Incoming::Answer { id: 1, result }) = rpc::parse(&text) else {
            continue;
        };
        let raw = match result {
            Ok(raw) => raw,
            Err(error) if error.is_unauthorized() => return Err(faults::UNAUTHORIZED),
            Err(error) => return Err(faults::NOT_MOONRAKER.with_raw(error.message)),
        };
        return Ok(json::read(raw.get()).unwrap_or_default());
    }
}
