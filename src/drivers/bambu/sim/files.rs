//! The stand-in's file server: implicit TLS, and data connections only with the control connection's
//! TLS session.

use std::sync::Arc;
use std::time::Duration;

use rustls::{HandshakeKind, ServerConfig};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Shared;

/// A client that says nothing for so long is gone.
const IDLE: Duration = Duration::from_secs(60);
/// Longest line.
const LINE_MAX: u64 = 1024;

/// Serves a client until it leaves.
pub async fn serve(stream: TlsStream<TcpStream>, shared: Arc<Shared>, tls: Arc<ServerConfig>) {
    let _ = tokio::time::timeout(Duration::from_secs(3600), talk(stream, &shared, tls)).await;
}

async fn talk(stream: TlsStream<TcpStream>, shared: &Shared, tls: Arc<ServerConfig>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 simulated printer\r\n").await?;
    let (mut user, mut known) = (String::new(), false);
    let mut passive: Option<TcpListener> = None;
    loop {
        stream.flush().await?;
        let mut line = String::new();
        let mut limited = (&mut stream).take(LINE_MAX);
        if tokio::time::timeout(IDLE, limited.read_line(&mut line)).await?? == 0 {
            return Ok(());
        }
        let (word, rest) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
        // The card is flat: a name without its folders.
        let name = rest.rsplit('/').next().unwrap_or_default();
        let path = shared.options.root.join(if name.is_empty() { "." } else { name });
        let answer: String = match word.to_ascii_uppercase().as_str() {
            "USER" => {
                rest.clone_into(&mut user);
                "331 code, please".into()
            }
            "PASS" => {
                known = user == "bblp" && rest == shared.options.code;
                (if known {
                    "230 welcome"
                } else {
                    "530 Login incorrect."
                })
                .into()
            }
            "PBSZ" | "PROT" | "TYPE" => "200 yes".into(),
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            _ if !known => "530 Please login with USER and PASS.".into(),
            "PASV" => {
                let listener = TcpListener::bind((shared.options.host, 0)).await?;
                let port = listener.local_addr()?.port();
                passive = Some(listener);
                format!(
                    "227 Entering Passive Mode (127,0,0,1,{},{}).",
                    port >> 8,
                    port & 255
                )
            }
            "SIZE" => match std::fs::metadata(&path) {
                Ok(meta) if meta.is_file() => format!("213 {}", meta.len()),
                _ => "550 Could not get file size.".into(),
            },
            "DELE" => match std::fs::remove_file(&path) {
                Ok(()) => "250 gone".into(),
                Err(_) => "550 Delete operation failed.".into(),
            },
            "STOR" if !shared.with(|p| p.has_card()) => "550 Could not create file.".into(),
            "STOR" => match passive.take() {
                None => "425 Use PASV first.".into(),
                Some(listener) => {
                    stream.write_all(b"150 go on\r\n").await?;
                    stream.flush().await?;
                    store(listener, &path, tls.clone()).await?
                }
            },
            _ => "502 Command not implemented.".into(),
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
}

async fn store(
    listener: TcpListener,
    path: &std::path::Path,
    tls: Arc<ServerConfig>,
) -> std::io::Result<String> {
    let (tcp, _) = tokio::time::timeout(IDLE, listener.accept()).await??;
    let mut data = TlsAcceptor::from(tls).accept(tcp).await?;
    if data.get_ref().1.handshake_kind() != Some(HandshakeKind::Resumed) {
        return Ok("522 SSL connection failed: session reuse required".into());
    }
    let mut file = tokio::fs::File::create(path).await?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match tokio::time::timeout(IDLE, data.read(&mut buffer)).await {
            Ok(Ok(0)) => break,
            Ok(Ok(n)) => file.write_all(buffer.get(..n).unwrap_or_default()).await?,
            _ => return Ok("426 Failure reading network stream.".into()),
        }
    }
    file.sync_all().await?;
    Ok("226 Transfer complete.".into())
}
