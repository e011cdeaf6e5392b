//! Files to a printer: FTP with TLS from the first byte, the control connection's TLS session on the
//! data connections, sizes compared afterwards.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::faults;
use super::ftp_replies::{Replies, listed_size, passive_port};
use super::tls::PrinterTls;
use crate::printer::fault::Fault;

/// Slowest transfer that is waited for, bytes a second. Wi-Fi of an A1 far from the router was measured
/// at 25 to 75 kB/s; what is slower still and moves is not given up before this.
const SLOWEST: u64 = 10_000;
/// Bytes of ours that the system may hold back for a slow printer. Everything above lets progress run ahead
/// of the printer by minutes.
const HELD_BACK: usize = 256 * 1024;
/// And bytes that may be in the printer's own buffer, when the last one has left ours.
const UNDER_WAY: u64 = 2 << 20;
/// A server with too many clients is asked so often, with a pause in between.
const CROWDED_TRIES: u32 = 4;
/// Bytes read from disk and sent in one go.
const CHUNK: usize = 64 * 1024;

/// How long a server is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// A connection and its handshake.
    pub connect: Duration,
    /// An answer on the control connection.
    pub reply: Duration,
    /// Not one byte taken for so long: the printer stalls.
    pub stall: Duration,
    /// Before a crowded server is asked again.
    pub crowd: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            connect: Duration::from_secs(15),
            reply: Duration::from_secs(30),
            stall: Duration::from_secs(60),
            crowd: Duration::from_secs(5),
        }
    }
}

/// Where the file server is.
#[derive(Clone, Debug)]
pub struct Server {
    /// Host name or address.
    pub host: String,
    /// 990.
    pub port: u16,
    /// Access code.
    pub code: crate::config::secrets::Secret,
    /// TLS of the printer.
    pub tls: PrinterTls,
    /// How long it is waited for.
    pub patience: Patience,
}

struct Control {
    stream: TlsStream<TcpStream>,
    replies: Replies,
    patience: Patience,
    peer: IpAddr,
    name: ServerName<'static>,
    tls: TlsConnector,
}

fn broken(what: impl std::fmt::Display) -> Fault {
    faults::UPLOAD.with_raw(what.to_string())
}

async fn in_time<T, E: std::fmt::Display>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Fault> {
    match timeout(limit, work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(broken(format!("{what}: {error}"))),
        Err(_) => Err(broken(format!("{what}: nothing in {} s", limit.as_secs()))),
    }
}

impl Control {
    async fn login(server: &Server) -> Result<Self, Fault> {
        let address = (server.host.as_str(), server.port);
        let tcp = in_time(
            server.patience.connect,
            "file server",
            TcpStream::connect(address),
        )
        .await?;
        let peer = tcp.peer_addr().map_err(broken)?.ip();
        let _ = tcp.set_nodelay(true);
        let name = ServerName::IpAddress(peer.into());
        let tls = TlsConnector::from(server.tls.config.clone());
        let stream = match timeout(server.patience.connect, tls.connect(name.clone(), tcp)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(server.tls.doubt().unwrap_or_else(|| broken(error))),
            Err(_) => return Err(broken("the file server does not finish its handshake")),
        };
        let mut control = Control {
            stream,
            replies: Replies::default(),
            patience: server.patience,
            peer,
            name,
            tls,
        };
        let (code, text) = control.reply().await?;
        match code {
            220 => {}
            421 => return Err(faults::FILES_CROWDED.with_raw(text)),
            _ => return Err(broken(text)),
        }
        control.send("USER bblp").await?;
        let (code, text) = control.reply().await?;
        if code == 421 {
            return Err(faults::FILES_CROWDED.with_raw(text));
        }
        if code == 331 {
            control.send(&format!("PASS {}", server.code.reveal())).await?;
            let (code, text) = control.reply().await?;
            if code == 421 {
                return Err(faults::FILES_CROWDED.with_raw(text));
            }
            if code != 230 {
                return Err(faults::FILES_LOGIN.with_raw(text));
            }
        } else if code != 230 {
            return Err(faults::FILES_LOGIN.with_raw(text));
        }
        for line in ["PBSZ 0", "PROT P", "TYPE I"] {
            control.send(line).await?;
            control.expect(&[200]).await?;
        }
        Ok(control)
    }

    async fn send(&mut self, line: &str) -> Result<(), Fault> {
        let text = format!("{line}\r\n");
        in_time(self.patience.reply, "file server", async {
            self.stream.write_all(text.as_bytes()).await?;
            self.stream.flush().await
        })
        .await
    }

    /// One answer. The bytes of a read that was given up are not lost.
    async fn reply(&mut self) -> Result<(u16, String), Fault> {
        self.reply_in(self.patience.reply).await
    }

    async fn reply_in(&mut self, limit: Duration) -> Result<(u16, String), Fault> {
        let mut piece = [0; 512];
        loop {
            if let Some(reply) = self.replies.take().map_err(broken)? {
                return Ok((reply.code, reply.text));
            }
            let read = in_time(limit, "file server", self.stream.read(&mut piece)).await?;
            if read == 0 {
                return Err(broken("the file server closed the connection"));
            }
            self.replies.push(piece.get(..read).unwrap_or_default());
        }
    }

    async fn expect(&mut self, codes: &[u16]) -> Result<String, Fault> {
        let (code, text) = self.reply().await?;
        match codes.contains(&code) {
            true => Ok(text),
            false => Err(broken(text)),
        }
    }

    /// A data connection; the handshake comes later.
    async fn data(&mut self) -> Result<TcpStream, Fault> {
        self.send("PASV").await?;
        let text = self.expect(&[227]).await?;
        let port = passive_port(&text).ok_or_else(|| broken(&text))?;
        // The address in the answer is wrong behind a relay: the control connection's is right.
        let tcp = in_time(
            self.patience.connect,
            "data connection",
            TcpStream::connect((self.peer, port)),
        )
        .await?;
        let _ = socket2::SockRef::from(&tcp).set_send_buffer_size(HELD_BACK);
        let _ = tcp.set_nodelay(true);
        Ok(tcp)
    }

    /// Bytes of a file on the printer; `None`: it is not there.
    async fn size(&mut self, name: &str) -> Result<Option<u64>, Fault> {
        self.send(&format!("SIZE {name}")).await?;
        let (code, text) = self.reply().await?;
        match code {
            213 => Ok(text.get(4..).and_then(|n| n.trim().parse().ok())),
            550 => Ok(None),
            // Some firmware lists only.
            _ => self.listed_size(name).await,
        }
    }

    async fn listed_size(&mut self, name: &str) -> Result<Option<u64>, Fault> {
        let tcp = self.data().await?;
        self.send("LIST").await?;
        self.expect(&[125, 150]).await?;
        let stream = in_time(
            self.patience.connect,
            "data connection",
            self.tls.connect(self.name.clone(), tcp),
        )
        .await?;
        let mut text = Vec::new();
        // The listing of a full card; a cut end of the connection is its usual end.
        let _ = timeout(self.patience.reply, stream.take(1 << 20).read_to_end(&mut text)).await;
        self.expect(&[226, 250]).await?;
        Ok(listed_size(&String::from_utf8_lossy(&text), name))
    }

    async fn store(
        &mut self,
        file: &Path,
        name: &str,
        size: u64,
        progress: &mut (dyn FnMut(f32) + Send),
    ) -> Result<(), Fault> {
        let mut source = tokio::fs::File::open(file)
            .await
            .map_err(|e| faults::FILE.with_raw(format!("{}: {e}", file.display())))?;
        let tcp = self.data().await?;
        self.send(&format!("STOR {name}")).await?;
        let (code, text) = self.reply().await?;
        match code {
            125 | 150 => {}
            452 | 552 => return Err(faults::STORAGE_FULL.with_raw(text)),
            550 | 553 => return Err(faults::NO_STORAGE.with_raw(text)),
            _ => return Err(broken(text)),
        }
        let mut data = in_time(
            self.patience.connect,
            "data connection",
            self.tls.connect(self.name.clone(), tcp),
        )
        .await?;
        let patience = self.patience;
        let mut buffer = vec![0; CHUNK];
        let mut sent = 0u64;
        let written: Result<(), Fault> = async {
            loop {
                let read = source
                    .read(&mut buffer)
                    .await
                    .map_err(|e| faults::FILE.with_raw(e.to_string()))?;
                let Some(part) = buffer.get(..read).filter(|p| !p.is_empty()) else {
                    break;
                };
                in_time(patience.stall, "data connection", data.write_all(part)).await?;
                sent += part.len() as u64;
                progress((sent as f64 * 100.0 / size.max(1) as f64) as f32);
            }
            in_time(patience.stall, "data connection", data.flush()).await
        }
        .await;
        // Says goodbye without waiting for an answer, which several firmwares never give. Behind what a slow
        // printer has not taken yet it takes a while to be written.
        let _ = timeout(patience.stall, data.shutdown()).await;
        drop(data);
        // What is still under way arrives at the printer's own pace.
        let pace = Duration::from_secs(size.min(UNDER_WAY) / SLOWEST);
        let ended = self
            .reply_in(if written.is_ok() {
                patience.stall + pace
            } else {
                self.patience.reply
            })
            .await;
        // A full card is told at the end, and often cuts the data off before.
        if let Ok((452 | 552, text)) = ended {
            return Err(faults::STORAGE_FULL.with_raw(text));
        }
        written?;
        match ended {
            Ok((226 | 250, _)) => Ok(()),
            // A 426 at the end may be harmless: the size decides.
            Ok((426, _)) => Ok(()),
            Ok((_, text)) => Err(broken(text)),
            Err(fault) => Err(fault),
        }
    }
}

/// Logs in; a place that another client holds may be free in a moment.
async fn login(server: &Server) -> Result<Control, Fault> {
    let mut tries = 1;
    loop {
        match Control::login(server).await {
            Err(fault) if fault.code == faults::FILES_CROWDED.code && tries < CROWDED_TRIES => {
                tries += 1;
                tokio::time::sleep(server.patience.crowd).await;
            }
            ended => return ended,
        }
    }
}

/// Brings a file to the printer's card under a name and makes sure that all of it is there.
///
/// The name is to hold a part of the file's hash: one that lies there already in full size is not
/// sent again.
pub async fn upload(
    server: &Server,
    file: &Path,
    name: &str,
    size: u64,
    progress: &mut (dyn FnMut(f32) + Send),
) -> Result<(), Fault> {
    let limit = Duration::from_secs(120 + size / SLOWEST);
    let work = async {
        let mut control = login(server).await?;
        if control.size(name).await? == Some(size) {
            return Ok(());
        }
        let stored = control.store(file, name, size, progress).await;
        let there = match &stored {
            Ok(()) => control.size(name).await.ok().flatten(),
            Err(_) => None,
        };
        if there == Some(size) {
            let _ = control.send("QUIT").await;
            return Ok(());
        }
        // Half a file must not lie there to be started by a person.
        if control.send(&format!("DELE {name}")).await.is_ok() {
            let _ = control.reply().await;
        }
        stored?;
        Err(broken(match there {
            Some(there) => format!("{there} of {size} bytes arrived"),
            None => "the file is not in the printer's listing".to_owned(),
        }))
    };
    match timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(broken(format!("slower than {} kB/s", SLOWEST / 1000))),
    }
}

#[cfg(test)]
#[path = "ftps_tests.rs"]
mod tests;
