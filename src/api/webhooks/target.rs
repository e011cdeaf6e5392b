//! Where a webhook may lead: anywhere but to this machine (unless that is configured), and never to
//! addresses that only machines in a data centre have. Other machines of this network are what webhooks
//! are for.

use std::net::IpAddr;

use reqwest::Url;
use reqwest::dns::{Name, Resolve, Resolving};

use crate::job::download::{self, Rule};

/// Longest address.
const URL_MAX: usize = 2000;

/// Beside 169.254.169.254 and its like, which hand out the credentials of a rented machine: Alibaba, Azure, Oracle.
const METADATA: [[u8; 4]; 3] = [[100, 100, 100, 200], [168, 63, 129, 16], [192, 0, 0, 192]];

/// A place that webhooks may not lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// Neither http nor https.
    #[error("`url` must be an http or https address of at most {URL_MAX} characters, without a login")]
    Unreadable,
    /// This machine, or worse.
    #[error(
        "`url` leads to this machine or to an address that is not for webhooks. For programs of this machine set \
         webhook_local = true under [api]"
    )]
    Inside,
}

/// The rule.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Whether this machine is allowed.
    pub local: bool,
}

impl Target {
    /// Judges what can be judged without resolving a name.
    ///
    /// # Errors
    /// [`Forbidden`].
    pub fn url(self, text: &str) -> Result<Url, Forbidden> {
        let url = Url::parse(text).map_err(|_| Forbidden::Unreadable)?;
        let login = !url.username().is_empty() || url.password().is_some();
        if text.len() > URL_MAX || login || !matches!(url.scheme(), "http" | "https") {
            return Err(Forbidden::Unreadable);
        }
        let host = url.host_str().ok_or(Forbidden::Unreadable)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        match bare.parse::<IpAddr>() {
            Ok(ip) if !self.allows(ip) => Err(Forbidden::Inside),
            _ => Ok(url),
        }
    }

    fn allows(self, ip: IpAddr) -> bool {
        let ip = match ip {
            IpAddr::V6(v6) => v6.to_ipv4().filter(|_| !v6.is_loopback()).map_or(ip, IpAddr::V4),
            IpAddr::V4(_) => ip,
        };
        if ip.is_loopback() {
            return self.local;
        }
        match ip {
            IpAddr::V4(v4) => {
                let special = v4.is_link_local()
                    || v4.is_multicast()
                    || METADATA.contains(&v4.octets())
                    || v4.octets().first().is_none_or(|a| *a == 0 || *a >= 240);
                !special
            }
            IpAddr::V6(v6) => {
                let [first, second, ..] = v6.segments();
                // AWS and Google.
                let metadata = matches!((first, second), (0xfd00, 0xec2) | (0xfd20, 0xce));
                // Teredo and 6to4, which hide an address of the old kind.
                let hiding = matches!((first, second), (0x2001, 0) | (0x2002, _));
                let global = first & 0xe000 == 0x2000;
                let of_this_site = first & 0xfe00 == 0xfc00;
                (global || of_this_site) && !metadata && !hiding
            }
        }
    }
}

impl Rule for Target {
    type Forbidden = Forbidden;

    fn judge(&self, url: &Url) -> Result<(), Forbidden> {
        self.url(url.as_str()).map(drop)
    }
}

impl Resolve for Target {
    fn resolve(&self, name: Name) -> Resolving {
        let rule = *self;
        download::resolve(&name, move |ip| rule.allows(ip), Forbidden::Inside)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn other_machines_but_not_this_one_and_no_secrets_of_a_data_centre() {
        let rule = Target { local: false };
        for good in [
            "http://192.168.1.9:8123/api/webhook/x",
            "https://example.com/",
            "http://[2606:4700::1111]/",
            "http://10.0.0.1",
            "http://[fd12:3456::9]/",
        ] {
            assert!(rule.url(good).is_ok(), "{good}");
        }
        for inside in [
            "http://127.0.0.1/",
            "http://127.8.8.8",
            "http://[::1]/",
            "http://0.0.0.0/",
            "http://169.254.169.254/latest",
            "http://[fe80::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://0x7f000001/",
            "http://2130706433/",
            "http://100.100.100.200/",
            "http://[fd00:ec2::254]/",
            "http://[fd00:ec2::23]/",
            "http://[fd20:ce::254]/",
            "http://168.63.129.16/",
            "http://192.0.0.192/",
            "http://[64:ff9b::7f00:1]/",
            "http://[64:ff9b:1::7f00:1]/",
            "http://[2002:7f00:1::]/",
            "http://[2001:0:7f00:1::]/",
            "http://[::ffff:0:7f00:1]/",
            "http://127.1./",
            "http://%31%32%37.0.0.1/",
            "http:\\\\0177.0.0.1\\x",
            "http://255.255.255.255/",
            "http://224.0.0.1/",
            "http://[::127.0.0.1]/",
        ] {
            assert_eq!(rule.url(inside), Err(Forbidden::Inside), "{inside}");
        }
        for wrong in [
            "ftp://example.com",
            "file:///etc/passwd",
            "x",
            "http://",
            "http://a:b@example.com/",
        ] {
            assert_eq!(rule.url(wrong), Err(Forbidden::Unreadable), "{wrong}");
        }
        let own = Target { local: true };
        assert!(own.url("http://127.0.0.1:8123/").is_ok() && own.url("http://[::1]/").is_ok());
        assert_eq!(own.url("http://169.254.169.254/"), Err(Forbidden::Inside));
    }

    /// One to four numbers, as the oldest readers of addresses take them, each in any base.
    fn in_parts(v4: Ipv4Addr, bases: [u8; 4], parts: usize) -> String {
        let mut numbers: Vec<u32> = v4
            .octets()
            .iter()
            .take(parts - 1)
            .map(|n| u32::from(*n))
            .collect();
        numbers.push(u32::from(v4) & u32::MAX.checked_shr(8 * (parts as u32 - 1)).unwrap_or(0));
        let words = numbers.iter().zip(bases).map(|(n, base)| match base {
            0 => n.to_string(),
            // Not in capitals: beside a wide sign they end at an assertion of idna 1.1, in debug builds.
            1 => format!("0x{n:x}"),
            _ => format!("0{n:o}"),
        });
        words.collect::<Vec<_>>().join(".")
    }

    /// A sign as itself, with its percent number, as the wide one, or with something before it that readers drop.
    fn disguised(sign: char, how: u8) -> String {
        match how {
            1 if sign.is_ascii_alphanumeric() || sign == '.' => format!("%{:02x}", u32::from(sign)),
            2 if sign.is_ascii_digit() => {
                char::from_u32(u32::from(sign) - 0x30 + 0xff10).map_or(String::new(), String::from)
            }
            3 if sign == '.' => "\u{3002}".to_owned(),
            4 => format!("\n{sign}"),
            5 => format!("\u{ad}{sign}"),
            _ => sign.to_string(),
        }
    }

    proptest! {
        /// This machine and the data centre's own, in any way that browsers and libraries read an address.
        #[test]
        fn no_way_of_writing_it_leads_inside(
            net in prop::sample::select(vec![
                (0x7f00_0000u32, 8), (0, 8), (0xa9fe_0000, 16), (0xe000_0000, 3), (0x6464_64c8, 32), (0xa83f_8110, 32),
            ]),
            low in any::<u32>(), form in 0u8..9, bases in any::<[u8; 4]>(), parts in 1usize..5,
            signs in prop::collection::vec(0u8..7, 24), dot in any::<bool>(),
            scheme in prop::sample::select(vec!["http://", "HTTPS://", "http:\\\\", "ht\ttp://", " http:/", "https:", "http:///"]),
            port in prop::sample::select(vec!["", ":80", ":8080", ":"]),
            path in prop::sample::select(vec!["", "/x", "?a=@b", "#@example.com", "\\@example.com"]),
        ) {
            let v4 = Ipv4Addr::from(net.0 | low & u32::MAX.checked_shr(net.1).unwrap_or(0));
            let [a, b, c, d] = v4.octets();
            let (upper, lower) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            let host = match form {
                0 => format!("[::ffff:{v4}]"),
                1 => format!("[0:0:0:0:0:FFFF:{upper:x}:{lower:04X}]"),
                2 => format!("[64:ff9b::{v4}]"),
                3 => format!("[2002:{upper:x}:{lower:x}::{a:x}]"),
                4 => format!("[::{upper:x}:{lower:x}]"),
                _ => in_parts(v4, bases.map(|base| base % 3), parts),
            };
            let plain = signs.into_iter().chain(std::iter::repeat(0));
            let host: String = host.chars().zip(plain).map(|(sign, how)| disguised(sign, how)).collect();
            let dot = if dot && !host.contains('[') { "." } else { "" };
            let text = format!("{scheme}{host}{dot}{port}{path}");
            prop_assert!(Target { local: false }.url(&text).is_err(), "{text:?} is {v4}");
        }
    }
}
