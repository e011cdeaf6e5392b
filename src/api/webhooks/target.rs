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
}
