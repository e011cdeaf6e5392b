//! Files to a printer: FTP with TLS from the first byte, the control connection's TLS session on the
//! data connections, sizes compared afterwards.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::faults;
use super::tls::PrinterTls;
use crate::printer::fault::Fault;

/// An answer on the control connection.
const REPLY_LIMIT: Duration = Duration::from_secs(30);
/// A connection and its handshake.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// Not one byte taken for so long: the printer stalls.
const STALL: Duration = Duration::from_secs(60);
/// Slowest transfer that is waited for, bytes a second. Wi-Fi of an A1 far from the router was measured
/// at 25 to 75 kB/s; what is slower still and moves is not given up before this.
const SLOWEST: u64 = 10_000;
/// Longest line of the server.
const LINE_MAX: u64 = 1024;
/// Lines of one answer.
const LINES_MAX: usize = 64;
/// Bytes read from disk and sent in one go.
const CHUNK: usize = 64 * 1024;

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
}

struct Control {
    stream: BufReader<TlsStream<TcpStream>>,
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
        let tcp = in_time(CONNECT_LIMIT, "file server", TcpStream::connect(address)).await?;
        let peer = tcp.peer_addr().map_err(broken)?.ip();
        let _ = tcp.set_nodelay(true);
        let name = ServerName::IpAddress(peer.into());
        let tls = TlsConnector::from(server.tls.config.clone());
        let stream = match timeout(CONNECT_LIMIT, tls.connect(name.clone(), tcp)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(server.tls.doubt().unwrap_or_else(|| broken(error))),
            Err(_) => return Err(broken("the file server does not finish its handshake")),
        };
        let mut control = Control {
            stream: BufReader::with_capacity(1024, stream),
            peer,
            name,
            tls,
        };
        control.expect(&[220]).await?;
        control.send("USER bblp").await?;
        let (code, text) = control.reply().await?;
        if code == 331 {
            control.send(&format!("PASS {}", server.code.reveal())).await?;
            let (code, text) = control.reply().await?;
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
        in_time(REPLY_LIMIT, "file server", async {
            self.stream.write_all(text.as_bytes()).await?;
            self.stream.flush().await
        })
        .await
    }

    async fn line(&mut self) -> Result<String, Fault> {
        let mut bytes = Vec::new();
        let mut limited = (&mut self.stream).take(LINE_MAX);
        in_time(REPLY_LIMIT, "file server", limited.read_until(b'\n', &mut bytes)).await?;
        if bytes.last() != Some(&b'\n') {
            return Err(broken("the file server closed the connection"));
        }
        Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
    }

    /// One answer: its number and its last line.
    async fn reply(&mut self) -> Result<(u16, String), Fault> {
        let first = self.line().await?;
        let number = first.get(..3).and_then(|n| n.parse().ok());
        let Some(number) = number else {
            return Err(broken(first));
        };
        if first.as_bytes().get(3) != Some(&b'-') {
            return Ok((number, first));
        }
        for _ in 0..LINES_MAX {
            let line = self.line().await?;
            if line.starts_with(&format!("{number} ")) {
                return Ok((number, line));
            }
        }
        Err(broken("an answer without end"))
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
        in_time(
            CONNECT_LIMIT,
            "data connection",
            TcpStream::connect((self.peer, port)),
        )
        .await
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
            CONNECT_LIMIT,
            "data connection",
            self.tls.connect(self.name.clone(), tcp),
        )
        .await?;
        let mut text = Vec::new();
        // The listing of a full card; a cut end of the connection is its usual end.
        let _ = timeout(REPLY_LIMIT, stream.take(1 << 20).read_to_end(&mut text)).await;
        self.expect(&[226, 250]).await?;
        Ok(String::from_utf8_lossy(&text).lines().find_map(|line| {
            let mut words = line.split_whitespace();
            (words.next_back()? == name).then(|| line.split_whitespace().nth(4)?.parse().ok())?
        }))
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
            CONNECT_LIMIT,
            "data connection",
            self.tls.connect(self.name.clone(), tcp),
        )
        .await?;
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
                in_time(STALL, "data connection", data.write_all(part)).await?;
                sent += part.len() as u64;
                progress((sent as f64 * 100.0 / size.max(1) as f64) as f32);
            }
            in_time(STALL, "data connection", data.flush()).await
        }
        .await;
        // Says goodbye without waiting for an answer, which several firmwares never give.
        let _ = timeout(Duration::from_secs(5), data.shutdown()).await;
        drop(data);
        let ended = self.reply().await;
        written?;
        match ended {
            Ok((226 | 250, _)) => Ok(()),
            Ok((452 | 552, text)) => Err(faults::STORAGE_FULL.with_raw(text)),
            // A 426 at the end may be harmless: the size decides.
            Ok((426, _)) => Ok(()),
            Ok((_, text)) => Err(broken(text)),
            Err(fault) => Err(fault),
        }
    }
}

/// The port of `227 Entering Passive Mode (127,0,0,1,31,144).`
fn passive_port(text: &str) -> Option<u16> {
    let inside = text.split('(').nth(1)?.split(')').next()?;
    let numbers: Vec<u16> = inside
        .split(',')
        .map(|n| n.trim().parse::<u8>().map(u16::from))
        .collect::<Result<_, _>>()
        .ok()?;
    match numbers.as_slice() {
        [_, _, _, _, high, low] => Some(high << 8 | low),
        _ => None,
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
        let mut control = Control::login(server).await?;
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
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_from_the_servers_words() {
        assert_eq!(
            passive_port("227 Entering Passive Mode (192,168,0,3,31,144)."),
            Some(31 * 256 + 144)
        );
        assert_eq!(passive_port("227 nonsense"), None);
        assert_eq!(passive_port("227 (1,2,3,4,500,1)"), None);
    }
}
