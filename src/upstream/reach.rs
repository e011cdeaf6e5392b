//! Which addresses a URL from an upstream may lead to: the internet, and hosts that the owner named. Never this
//! machine, this network or a provider's metadata service, also not by a redirect or a name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use reqwest::dns::{Name, Resolve, Resolving};
use reqwest::{Client, Url};
use rustls::ClientConfig;

use crate::job::download::{self, Rule};

/// An address that was not asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// Neither http nor https.
    #[error("the address is not http or https")]
    Scheme,
    /// Not readable as an address.
    #[error("the address cannot be read")]
    Unreadable,
    /// Leads into this network.
    #[error("the address leads into this host's own network")]
    Private,
}

/// Hosts that may be anywhere: those of the configured cloud.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    hosts: Arc<[String]>,
}

impl Reach {
    /// With the hosts of the configured cloud.
    pub fn new(hosts: Vec<String>) -> Self {
        Reach { hosts: hosts.into() }
    }

    fn trusts(&self, host: &str) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        self.hosts.iter().any(|h| h.eq_ignore_ascii_case(host))
    }

    /// Reads a URL and judges what can be judged without resolving its name.
    ///
    /// # Errors
    /// [`Forbidden`].
    pub fn url(&self, text: &str) -> Result<Url, Forbidden> {
        let url = Url::parse(text).map_err(|_| Forbidden::Unreadable)?;
        self.judge(&url)?;
        Ok(url)
    }

    /// A client that resolves names through this guard and shares the TLS settings.
    ///
    /// # Errors
    /// When the client cannot be made.
    pub fn client(&self, tls: ClientConfig) -> reqwest::Result<Client> {
        download::client(tls, self).build()
    }
}

impl Rule for Reach {
    type Forbidden = Forbidden;

    fn judge(&self, url: &Url) -> Result<(), Forbidden> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Forbidden::Scheme);
        }
        let host = url.host_str().ok_or(Forbidden::Unreadable)?;
        if self.trusts(host) {
            return Ok(());
        }
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        match bare.parse::<IpAddr>() {
            Ok(ip) if !is_public(ip) => Err(Forbidden::Private),
            _ => Ok(()),
        }
    }
}

impl Resolve for Reach {
    fn resolve(&self, name: Name) -> Resolving {
        let trusted = self.trusts(name.as_str());
        download::resolve(&name, move |ip| trusted || is_public(ip), Forbidden::Private)
    }
}

/// Whether an address is one of the internet.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_unspecified()
        || ip.is_broadcast()
        || ip.is_multicast()
        || ip.is_documentation()
        || a == 0
        // Carrier-grade NAT, benchmarks, protocol assignments, reserved.
        || (a == 100 && (64..128).contains(&b))
        || (a == 198 && (b == 18 || b == 19))
        || (a == 192 && b == 0 && c == 0)
        || a >= 240;
    !special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    if let Some(v4) = ip.to_ipv4_mapped() {
        return is_public_v4(v4);
    }
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let embedded = |hi: u16, lo: u16| {
        let [a, b] = hi.to_be_bytes();
        let [c, d] = lo.to_be_bytes();
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match (a, b) {
        // NAT64 and 6to4 carry an address of the old kind.
        (0x64, 0xff9b) if [c, d, e, f] == [0; 4] => return embedded(g, h),
        (0x2002, _) => return embedded(b, c),
        _ => {}
    }
    // All of the internet's addresses; Teredo hides one of the old kind, the other is for documentation.
    a & 0xe000 == 0x2000 && !matches!((a, b), (0x2001, 0 | 0xdb8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_internet_and_the_cloud_itself_can_be_reached() {
        let reach = Reach::new(vec!["127.0.0.1".to_owned(), "cloud.lan".to_owned()]);
        for good in [
            "https://cdn.example.com/f?x=1",
            "http://127.0.0.1:8081/files/a",
            "http://cloud.lan/",
            "http://8.8.8.8/",
            "http://[2606:4700::1111]/",
        ] {
            assert!(reach.url(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("ftp://example.com/", Forbidden::Scheme),
            ("file:///etc/passwd", Forbidden::Scheme),
            ("nonsense", Forbidden::Unreadable),
            ("http://169.254.169.254/latest", Forbidden::Private),
            ("http://127.0.0.2/", Forbidden::Private),
            ("http://2130706433/", Forbidden::Private),
            ("http://10.1.2.3/", Forbidden::Private),
            ("http://192.168.0.1/", Forbidden::Private),
            ("http://100.64.0.1/", Forbidden::Private),
            ("http://[::1]/", Forbidden::Private),
            ("http://[fe80::1]/", Forbidden::Private),
            ("http://[fd00::1]/", Forbidden::Private),
            ("http://[::ffff:169.254.169.254]/", Forbidden::Private),
            ("http://[64:ff9b::a00:1]/", Forbidden::Private),
            ("http://[64:ff9b:1::a00:1]/", Forbidden::Private),
            ("http://[2002:7f00:1::]/", Forbidden::Private),
            ("http://[2001:0:7f00:1::]/", Forbidden::Private),
            ("http://[::ffff:0:a00:1]/", Forbidden::Private),
        ] {
            // The number is 127.0.0.1, which this test's cloud is.
            let reach = if bad.contains("2130706433") {
                Reach::default()
            } else {
                reach.clone()
            };
            assert_eq!(reach.url(bad).err(), Some(why), "{bad}");
        }
    }
}
