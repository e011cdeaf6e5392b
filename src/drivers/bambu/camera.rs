//! Pictures of printers whose camera is a stream of JPEGs on a port of its own (A1, P1, A2L). The others
//! offer RTSPS, whose address is passed on ([`crate::printer::event::Event::CameraStream`]).

use std::time::Duration;

use bytes::Bytes;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::config::Config;
use super::faults;
use super::tls::PrinterTls;
use crate::printer::fault::Fault;

/// From nothing to a whole picture; the stream has one in one or two seconds.
const PICTURE_LIMIT: Duration = Duration::from_secs(12);
/// Largest picture: real ones of 1280 × 720 are about 100 kB.
const PICTURE_MAX: usize = 4 << 20;
/// Fields of the login and of each picture's head, little-endian.
const LOGIN_SIZE: u32 = 0x40;
const LOGIN_KIND: u32 = 0x3000;
const HEAD_BYTES: usize = 16;

/// The login: a head, the user, the access code, each padded with zeros.
fn login(code: &str) -> [u8; 80] {
    let mut out = [0; 80];
    let mut put = |at: usize, bytes: &[u8]| {
        for (place, byte) in out.iter_mut().skip(at).take(32).zip(bytes) {
            *place = *byte;
        }
    };
    put(0, &LOGIN_SIZE.to_le_bytes());
    put(4, &LOGIN_KIND.to_le_bytes());
    put(16, b"bblp");
    put(48, code.as_bytes());
    out
}

/// Length of the picture behind a head.
fn picture_len(head: &[u8; HEAD_BYTES]) -> Option<usize> {
    let len = u32::from_le_bytes(head.first_chunk().copied()?);
    usize::try_from(len)
        .ok()
        .filter(|len| (4..=PICTURE_MAX).contains(len))
}

/// Reads one picture by its head, wherever the records of TLS begin and end.
async fn picture(stream: &mut (impl AsyncRead + Unpin)) -> Result<Bytes, Fault> {
    let broken = |what: &str| faults::CAMERA.with_raw(what.to_owned());
    let mut head = [0; HEAD_BYTES];
    stream
        .read_exact(&mut head)
        .await
        .map_err(|_| broken("the printer closed the camera's connection without a picture"))?;
    let len = picture_len(&head).ok_or_else(|| broken("a picture without a possible size"))?;
    let mut bytes = vec![0; len];
    stream
        .read_exact(&mut bytes)
        .await
        .map_err(|e| broken(&e.to_string()))?;
    let whole = bytes.starts_with(&[0xff, 0xd8]) && bytes.ends_with(&[0xff, 0xd9]);
    whole
        .then(|| Bytes::from(bytes))
        .ok_or_else(|| broken("what came is no JPEG"))
}

/// Takes one picture. Connects, logs in, reads it and leaves: some firmwares have one place for a viewer.
///
/// # Errors
/// No camera at this port, another certificate than the printer's, a refused access code (the printer
/// closes the connection then), nothing in time.
pub async fn snapshot(config: &Config, tls: &PrinterTls) -> Result<Bytes, Fault> {
    let work = async {
        let broken = |e: std::io::Error| faults::CAMERA.with_raw(e.to_string());
        let tcp = TcpStream::connect((config.address().as_str(), config.camera_port))
            .await
            .map_err(broken)?;
        let name = ServerName::IpAddress(tcp.peer_addr().map_err(broken)?.ip().into());
        let mut stream = TlsConnector::from(tls.config.clone())
            .connect(name, tcp)
            .await
            .map_err(|e| tls.doubt().unwrap_or_else(|| broken(e)))?;
        stream
            .write_all(&login(config.code.reveal()))
            .await
            .map_err(broken)?;
        stream.flush().await.map_err(broken)?;
        picture(&mut stream).await
    };
    timeout(PICTURE_LIMIT, work)
        .await
        .unwrap_or_else(|_| Err(faults::CAMERA.with_raw(format!("nothing in {} s", PICTURE_LIMIT.as_secs()))))
}

#[cfg(test)]
mod tests {
    use super::super::config::Elsewhere;
    use super::super::sim::{Options, Sim, kind::Kind};
    use super::*;
    use crate::config::Secret;

    #[test]
    fn the_login_has_its_fields_where_the_printer_reads_them() {
        let bytes = login("12345678");
        assert_eq!(&bytes[..16], b"\x40\0\0\0\0\x30\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(&bytes[16..24], b"bblp\0\0\0\0");
        assert_eq!(&bytes[48..58], b"12345678\0\0");
    }

    async fn read(mut bytes: &[u8]) -> Result<Bytes, Fault> {
        picture(&mut bytes).await
    }

    #[tokio::test]
    async fn only_whole_pictures_of_a_possible_size_are_pictures() {
        let framed = |len: u32, body: &[u8]| {
            let mut out = len.to_le_bytes().to_vec();
            out.extend_from_slice(&[0; 12]);
            out.extend_from_slice(body);
            out
        };
        let jpeg = [0xff, 0xd8, 1, 2, 0xff, 0xd9];
        assert_eq!(read(&framed(6, &jpeg)).await.expect("a picture"), &jpeg[..]);
        for bad in [
            framed(0, &jpeg),
            framed(u32::MAX, &jpeg),
            framed(7, &jpeg),
            framed(6, b"abcdef"),
            Vec::new(),
        ] {
            assert_eq!(
                read(&bad).await.expect_err("no picture").code,
                faults::CAMERA.code
            );
        }
    }

    #[tokio::test]
    async fn a_picture_comes_from_the_stand_in_and_none_with_a_wrong_code() {
        let card = tempfile::tempdir().expect("a directory");
        let options = Options {
            host: [127, 0, 0, 1].into(),
            mqtt_port: 0,
            ftps_port: 0,
            camera_port: 0,
            serial: Kind::P1s.serial().to_owned(),
            code: "12345678".to_owned(),
            speed: 1.0,
            kind: Kind::P1s,
            dev_mode: true,
            silent: false,
            root: card.path().to_owned(),
        };
        let sim = Sim::start(options).await.expect("the stand-in");
        let mut config = Config {
            host: "127.0.0.1".to_owned(),
            serial: Kind::P1s.serial().to_owned(),
            code: Secret::new("12345678"),
            mqtt_port: sim.mqtt.port(),
            ftps_port: sim.ftps.port(),
            camera_port: sim.camera.port(),
            options: super::super::orders::StartOptions::default(),
            elsewhere: Elsewhere::default(),
        };
        let tls = PrinterTls::new(card.path(), "p", &config.serial).expect("TLS");
        let seen = snapshot(&config, &tls).await.expect("a picture");
        assert!(seen.starts_with(&[0xff, 0xd8]));
        // The router gave it another address: nobody is at the old one.
        config.host = "127.77.77.77".to_owned();
        let fault = snapshot(&config, &tls).await.expect_err("no printer");
        assert_eq!(fault.code, faults::CAMERA.code);
        config.elsewhere.set(Some("127.0.0.1".to_owned()));
        let seen = snapshot(&config, &tls).await.expect("a picture from there");
        assert!(seen.starts_with(&[0xff, 0xd8]));
        config.code = Secret::new("00000000");
        let fault = snapshot(&config, &tls).await.expect_err("no picture");
        assert_eq!(fault.code, faults::CAMERA.code);
    }
}
