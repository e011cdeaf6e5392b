//! `layerd discover` and `layerd check`: what printers tell about themselves without an access code.
//! Announcements come by themselves (UDP 2021, every 5 to 30 s); the detect probe asks one address
//! (TCP 3000, or 3002 with TLS) and is answered once.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::{faults, model, tls};
use crate::drivers::Found;

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
/// What an announcement and a search name.
const SERVICE: &str = "urn:bambulab-com:device:3dprinter:1";

/// What a printer says about itself to anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SelfTold {
    /// Serial number.
    pub serial: String,
    /// Address, where it tells one.
    pub host: Option<IpAddr>,
    /// Name given by its owner.
    pub name: String,
    /// Model, or the code where it is unknown.
    pub model: String,
    /// Firmware.
    pub version: String,
    /// It is bound to the maker's cloud instead of LAN-only mode.
    pub cloud: bool,
}

/// A word from the network, fit to be shown.
fn word(text: &str) -> String {
    text.trim()
        .chars()
        .filter(|c| !c.is_control() && *c != '"' && *c != '\\')
        .take(48)
        .collect()
}

fn serial(text: &str) -> Option<String> {
    let text = text.trim();
    let fits = (8..=32).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric());
    fits.then(|| text.to_ascii_uppercase())
}

fn model_name(code: &str, serial: &str) -> String {
    let known = model::by_code(code).or_else(|| model::by_serial(serial));
    known.map_or_else(|| word(code), |m| m.name.to_owned())
}

/// Reads an announcement or the answer to a search.
pub fn announcement(text: &str) -> Option<SelfTold> {
    let mut lines = text.lines();
    let first = lines.next()?;
    if !first.starts_with("NOTIFY ") && !first.starts_with("HTTP/1.1 200") {
        return None;
    }
    let mut told = SelfTold::default();
    let (mut ours, mut code) = (false, String::new());
    for line in lines.take(64) {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        match key.trim().to_ascii_lowercase().as_str() {
            "nt" | "st" => ours = value == SERVICE,
            "usn" => told.serial = serial(value)?,
            "location" => told.host = value.parse().ok(),
            "devmodel.bambu.com" => code = value.to_owned(),
            "devname.bambu.com" => told.name = word(value),
            "devversion.bambu.com" => told.version = word(value),
            "devconnect.bambu.com" => told.cloud = value.eq_ignore_ascii_case("cloud"),
            _ => {}
        }
    }
    told.model = model_name(&code, &told.serial);
    (ours && !told.serial.is_empty()).then_some(told)
}

/// The probe's question.
pub fn detect_question() -> Vec<u8> {
    frame(br#"{"login":{"command":"detect","sequence_id":"20004"}}"#)
}

/// Puts a document between the probe's marks.
pub fn frame(json: &[u8]) -> Vec<u8> {
    let mut out = vec![0xa5, 0xa5];
    out.extend_from_slice(&u16::try_from(json.len() + 6).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(json);
    out.extend_from_slice(&[0xa7, 0xa7]);
    out
}

#[derive(Deserialize)]
struct Detected {
    login: Login,
}

#[derive(Deserialize)]
struct Login {
    id: String,
    #[serde(default)]
    model: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    connect: String,
}

/// Reads the probe's answer.
pub fn detect_answer(bytes: &[u8]) -> Option<SelfTold> {
    let json = bytes
        .strip_prefix(&[0xa5, 0xa5])?
        .get(2..)?
        .strip_suffix(&[0xa7, 0xa7])?;
    let Detected { login } = serde_json::from_slice(json).ok()?;
    let serial = serial(&login.id)?;
    Some(SelfTold {
        host: None,
        name: word(&login.name),
        model: model_name(&login.model, &serial),
        version: word(&login.version),
        cloud: login.connect.eq_ignore_ascii_case("cloud"),
        serial,
    })
}

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
    let resolve = tokio::net::lookup_host((host, 0));
    let mut addresses = timeout(DETECT_LIMIT, resolve).await.ok()?.ok()?;
    let address = addresses.next()?.ip();
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

/// Hears a network out on a socket.
async fn listen(socket: &UdpSocket, limit: Duration) -> BTreeMap<String, SelfTold> {
    let mut all = BTreeMap::new();
    let hear = async {
        let mut bytes = vec![0; ANNOUNCEMENT_MAX];
        loop {
            let Ok((len, from)) = socket.recv_from(&mut bytes).await else {
                // An answer of the network to a search that reached nobody.
                continue;
            };
            let text = String::from_utf8_lossy(bytes.get(..len).unwrap_or_default());
            if let Some(mut told) = announcement(&text)
                && all.len() < FOUND_MAX
            {
                told.host.get_or_insert(from.ip());
                all.insert(told.serial.clone(), told);
            }
        }
    };
    let _: Result<std::convert::Infallible, _> = timeout(limit, hear).await;
    all
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

    const HEARD: &str = "NOTIFY * HTTP/1.1\r\nHost: 239.255.255.250:1990\r\nServer: UPnP/1.0\r\nLocation: 192.168.1.77\r\n\
        NT: urn:bambulab-com:device:3dprinter:1\r\nNTS: ssdp:alive\r\nUSN: 01P00A000000000 \r\nCache-Control: max-age=1800\r\n\
        DevModel.bambu.com: C12\r\nDevName.bambu.com: My \"P1S\"\r\nDevSignal.bambu.com: -44\r\nDevConnect.bambu.com: cloud\r\n\
        DevBind.bambu.com: occupied\r\nDevVersion.bambu.com: 01.07.00.00\r\nDevCap.bambu.com: 1\r\n\r\n";

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

    #[test]
    fn other_devices_and_serial_numbers_that_are_none_are_left_alone() {
        assert_eq!(announcement(&HEARD.replace("bambulab-com", "upnp-org")), None);
        assert_eq!(announcement(&HEARD.replace("01P00A000000000", "\"] x")), None);
        assert_eq!(announcement(&HEARD.replace("NOTIFY", "GET")), None);
        assert_eq!(announcement(""), None);
    }

    #[test]
    fn the_probes_answer_is_read() {
        let json = br#"{"login":{"command":"detect","sequence_id":"20004","id":"03000A000000001","model":"N1","name":"mini","version":"01.05.00.00","bind":"free","connect":"lan","dev_cap":1}}"#;
        let told = detect_answer(&frame(json)).expect("an answer");
        assert_eq!(
            (told.serial.as_str(), told.model.as_str()),
            ("03000A000000001", "A1 mini")
        );
        assert!(!told.cloud);
        for cut in 0..frame(json).len() {
            assert_eq!(detect_answer(&frame(json)[..cut]), None, "cut at {cut}");
        }
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

    proptest::proptest! {
        #[test]
        fn nothing_from_the_network_makes_it_panic(text in "(NOTIFY |HTTP/1.1 200)?(\\PC|[:\r\n]){0,200}", bytes in proptest::collection::vec(0u8.., 0..80)) {
            let _ = announcement(&text);
            let _ = detect_answer(&bytes);
            let _ = detect_answer(&frame(&bytes));
        }
    }
}
