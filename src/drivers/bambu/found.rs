//! `layerd discover` and `layerd check`: what printers tell about themselves without an access code.
//! Announcements come by themselves (UDP 2021, every 5 to 30 s); the detect probe asks one address
//! (TCP 3000, or 3002 with TLS) and is answered once.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::heard::{SERVICE, SelfTold, announcement, detect_answer, detect_question};
use super::{faults, tls};
use crate::drivers::Found;
use crate::host::names;
use crate::sorted::SortedMap;

/// Where printers announce themselves.
const ANNOUNCE_PORT: u16 = 2021;
/// The group that some of them use; the port is the one that their announcements name as host.
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);
const GROUP_PORT: u16 = 1990;
/// How long the network is listened to: most firmwares speak every five seconds.
const LISTEN: Duration = Duration::from_secs(8);
/// Largest announcement.
const ANNOUNCEMENT_MAX: usize = 2048;
/// Most printers of one network that are taken.
const FOUND_MAX: usize = 256;
/// Ports of the detect probe: plain, and with TLS.
const DETECT_PORTS: [(u16, bool); 2] = [(3000, false), (3002, true)];
/// One connection of the probe with its answer.
const DETECT_LIMIT: Duration = Duration::from_secs(2);
/// Largest answer of the probe.
const DETECT_MAX: usize = 4096;
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Option<SelfTold> {
    stream.write_all(&detect_question()).await.ok()?;
    stream.flush().await.ok()?;
    let mut head = [0; 4];
    stream.read_exact(&mut head).await.ok()?;
    let len = usize::from(u16::from_le_bytes([*head.get(2)?, *head.get(3)?]));
    if !(6..=DETECT_MAX).contains(&len) {
        return None;
    }
    let mut bytes = vec![0; len];
    bytes.get_mut(..4)?.copy_from_slice(&head);
    stream.read_exact(bytes.get_mut(4..)?).await.ok()?;
    detect_answer(&bytes)
}

async fn detect_on(address: IpAddr, port: u16, secure: bool) -> Option<SelfTold> {
    let tcp = TcpStream::connect((address, port)).await.ok()?;
    if !secure {
        return exchange(tcp).await;
    }
    // No secret goes this way: whatever certificate is shown will do.
    let connector = tokio_rustls::TlsConnector::from(tls::for_anybody()?);
    exchange(connector.connect(address.into(), tcp).await.ok()?).await
}

/// Asks one address who it is. `None`: it is no printer, or one whose firmware has no probe.
pub async fn detect(host: &str) -> Option<SelfTold> {
    let addresses = timeout(DETECT_LIMIT, names::addresses(host, 0))
        .await
        .ok()?
        .ok()?;
    let address = addresses.first()?.ip();
    for (port, secure) in DETECT_PORTS {
        if let Ok(Some(told)) = timeout(DETECT_LIMIT, detect_on(address, port, secure)).await {
            return Some(SelfTold {
                host: Some(address),
                ..told
            });
        }
    }
    None
}

/// What the next announcement on a socket says.
async fn hear(socket: &UdpSocket) -> SelfTold {
    let mut bytes = vec![0; ANNOUNCEMENT_MAX];
    loop {
        let Ok((len, from)) = socket.recv_from(&mut bytes).await else {
            // An answer of the network to a search that reached nobody.
            continue;
        };
        let text = String::from_utf8_lossy(bytes.get(..len).unwrap_or_default());
        if let Some(mut told) = announcement(&text) {
            told.host.get_or_insert(from.ip());
            return told;
        }
    }
}

/// Hears a network out on a socket.
async fn listen(socket: &UdpSocket, limit: Duration) -> SortedMap<String, SelfTold> {
    let mut all = SortedMap::new();
    let listening = async {
        loop {
            let told = hear(socket).await;
            if all.len() < FOUND_MAX {
                all.insert(told.serial.clone(), told);
            }
        }
    };
    let _: Result<std::convert::Infallible, _> = timeout(limit, listening).await;
    all
}

/// Where the printer with this serial number says it is, if it says so while we listen. Nothing vouches for
/// the answer: what is connected to there has to show the printer's own key.
pub async fn address_of(serial: &str) -> Option<IpAddr> {
    let socket = socket().ok()?;
    let listening = async {
        loop {
            let told = hear(&socket).await;
            if told.serial == serial {
                return told.host;
            }
        }
    };
    timeout(LISTEN, listening).await.ok().flatten()
}

/// The port may be shared with a slicer.
fn socket() -> std::io::Result<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, ANNOUNCE_PORT)).into())?;
    // Without a network there is no group to join, and nothing else to lose.
    let _ = socket.join_multicast_v4(&GROUP, &Ipv4Addr::UNSPECIFIED);
    UdpSocket::from_std(socket.into())
}

/// Printers of this network.
pub async fn found() -> Vec<Found> {
    let Ok(socket) = socket() else {
        return Vec::new();
    };
    let search = format!(
        "M-SEARCH * HTTP/1.1\r\nHOST: {GROUP}:{GROUP_PORT}\r\nMAN: \"ssdp:discover\"\r\nMX: 3\r\nST: {SERVICE}\r\n\r\n"
    );
    for port in [GROUP_PORT, ANNOUNCE_PORT] {
        let _ = socket.send_to(search.as_bytes(), (GROUP, port)).await;
    }
    listen(&socket, LISTEN).await.values().map(entry).collect()
}

/// A printer at an address.
pub async fn found_at(host: &str) -> Vec<Found> {
    detect(host).await.iter().map(entry).collect()
}

/// Configuration to paste.
fn entry(told: &SelfTold) -> Found {
    let model: String = told
        .model
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .flat_map(char::to_lowercase)
        .collect();
    let end: String = told.serial.chars().rev().take(4).collect();
    let end: String = end.chars().rev().flat_map(char::to_lowercase).collect();
    let key = format!("{}-{end}", if model.is_empty() { "bambu" } else { &model });
    let host = told.host.map(|h| h.to_string()).unwrap_or_default();
    let version = match told.version.as_str() {
        "" => String::new(),
        version => format!(", firmware {version}"),
    };
    Found {
        label: format!("Bambu Lab {} {:?} at {host}{version}", told.model, told.name),
        config: format!(
            "[printer.{key}]\ndriver = \"bambu\"\nhost = \"{host}\"\nserial = \"{}\"\naccess_code_file = \"/etc/layerd/{key}.code\"   # the code from its screen\n",
            told.serial
        ),
        problem: told.cloud.then_some(faults::CLOUD_MODE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use super::super::heard::tests::HEARD;

    #[test]
    fn an_announcement_becomes_configuration() {
        let told = announcement(HEARD).expect("an announcement");
        assert_eq!(told.serial, "01P00A000000000");
        assert_eq!(told.host, Some(IpAddr::from([192, 168, 1, 77])));
        let found = entry(&told);
        assert_eq!(
            found.label,
            "Bambu Lab P1S \"My P1S\" at 192.168.1.77, firmware 01.07.00.00"
        );
        assert!(
            found.config.starts_with(
                "[printer.p1s-0000]\ndriver = \"bambu\"\nhost = \"192.168.1.77\"\nserial = \"01P00A000000000\"\n"
            ),
            "{}",
            found.config
        );
        assert_eq!(found.problem.map(|p| p.code), Some(faults::CLOUD_MODE.code));
    }

    #[tokio::test]
    async fn an_announcement_on_the_wire_is_heard() {
        let ours = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let at = ours.local_addr().expect("its address");
        let printer = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        for text in ["garbage", HEARD, HEARD] {
            printer.send_to(text.as_bytes(), at).await.expect("sent");
        }
        let heard = listen(&ours, Duration::from_millis(200)).await;
        assert_eq!(heard.keys().collect::<Vec<_>>(), ["01P00A000000000"]);
    }
}
