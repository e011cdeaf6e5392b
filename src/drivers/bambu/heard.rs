//! What printers tell about themselves without an access code, read: announcements and the answer to the
//! detect probe. Pure.

use std::net::IpAddr;

use serde::Deserialize;

use super::model;

/// What an announcement and a search name.
pub const SERVICE: &str = "urn:bambulab-com:device:3dprinter:1";

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

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) const HEARD: &str = "NOTIFY * HTTP/1.1\r\nHost: 239.255.255.250:1990\r\nServer: UPnP/1.0\r\nLocation: 192.168.1.77\r\n\
        NT: urn:bambulab-com:device:3dprinter:1\r\nNTS: ssdp:alive\r\nUSN: 01P00A000000000 \r\nCache-Control: max-age=1800\r\n\
        DevModel.bambu.com: C12\r\nDevName.bambu.com: My \"P1S\"\r\nDevSignal.bambu.com: -44\r\nDevConnect.bambu.com: cloud\r\n\
        DevBind.bambu.com: occupied\r\nDevVersion.bambu.com: 01.07.00.00\r\nDevCap.bambu.com: 1\r\n\r\n";

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

    proptest::proptest! {
        #[test]
        fn nothing_from_the_network_makes_it_panic(text in "(NOTIFY |HTTP/1.1 200)?(\\PC|[:\r\n]){0,200}", bytes in proptest::collection::vec(0u8.., 0..80)) {
            let _ = announcement(&text);
            let _ = detect_answer(&bytes);
            let _ = detect_answer(&frame(&bytes));
        }
    }
}
