//! Addresses of hosts by name. What the system does not know of the local network (`voron.local`) is asked there: a program
//! without the system's C library, as the one for every 32-bit board, does not get to know it from the system.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use mdns_sd::{HostnameResolutionEvent, ScopedIp, ServiceDaemon};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::TcpStream;

/// How long the local network may take to answer. Its answers come within a second (RFC 6762, section 6); the first
/// question may be lost.
const LOCAL_MS: u64 = 3000;

/// Most addresses of one name.
const ADDRESSES_MAX: usize = 8;

/// How long the system may think about a name of the local network after everybody there was silent. Of a name server that
/// cannot be reached it waits for much longer.
const SYSTEM_MORE: Duration = Duration::from_secs(2);

/// When this machine's own name stands for loopback: the system had time to say more.
const OWN_AFTER: Duration = Duration::from_secs(1);

/// The addresses of a host, which may be an address itself. For a name of the local network the system and the network are
/// asked at once: whoever knows it first.
///
/// # Errors
/// Nobody knows the name; of the local network's names that takes three to five seconds.
pub async fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let system = async { tokio::net::lookup_host((host, port)).await.map(Iterator::collect) };
    let Some(name) = local(host) else {
        return system.await;
    };
    let network = async {
        if is_own(&name, &rustix::system::uname().nodename().to_string_lossy()) {
            tokio::time::sleep(OWN_AFTER).await;
            return vec![Ipv4Addr::LOCALHOST.into()];
        }
        asked(&name).await
    };
    let (system, network) = (pin!(system), pin!(network));
    let found = match select(system, network).await {
        Either::Left((Ok(found), _)) => return Ok(found),
        Either::Left((Err(_), network)) => network.await,
        Either::Right((found, system)) if found.is_empty() => {
            if let Ok(Ok(late)) = tokio::time::timeout(SYSTEM_MORE, system).await {
                return Ok(late);
            }
            found
        }
        Either::Right((found, _)) => found,
    };
    if found.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("nobody in this network answers to {host}: is it on, and on the same network?"),
        ));
    }
    Ok(found.into_iter().map(|ip| (ip, port).into()).collect())
}

/// A connection to the first address that takes one.
///
/// # Errors
/// None does, or the name is not known.
pub async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    TcpStream::connect(addresses(host, port).await?.as_slice()).await
}

/// The same for HTTP.
#[derive(Clone, Copy, Debug)]
pub struct Names;

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        Box::pin(async move {
            let found = addresses(&name, 0).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// The full name, where it is one of the local network.
fn local(host: &str) -> Option<String> {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let first = name.strip_suffix(".local")?;
    (!first.is_empty()).then(|| format!("{name}."))
}

/// Whether a local name is that of this machine, which need not be asked over the network.
fn is_own(name: &str, own: &str) -> bool {
    let own = own.split('.').next().unwrap_or_default();
    !own.is_empty()
        && name
            .strip_suffix(".local.")
            .is_some_and(|n| n.eq_ignore_ascii_case(own))
}

/// What the owner of a name answers; empty when nobody does.
async fn asked(name: &str) -> Vec<IpAddr> {
    let Ok(daemon) = ServiceDaemon::new().map(Asking) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    if let Ok(events) = daemon.0.resolve_hostname(name, Some(LOCAL_MS)) {
        let answer = async {
            while let Ok(event) = events.recv_async().await {
                match event {
                    HostnameResolutionEvent::AddressesFound(_, addresses) => return in_order(addresses),
                    HostnameResolutionEvent::SearchTimeout(_) | HostnameResolutionEvent::SearchStopped(_) => {
                        break;
                    }
                    _ => {}
                }
            }
            Vec::new()
        };
        let limit = Duration::from_millis(LOCAL_MS + 500);
        found = tokio::time::timeout(limit, answer).await.unwrap_or_default();
    }
    found
}

/// Ends its thread with the question, also when nobody waits for the answer any more.
struct Asking(ServiceDaemon);

impl Drop for Asking {
    fn drop(&mut self) {
        let _ = self.0.shutdown();
    }
}

/// IPv4 first. Addresses of one link alone are of no use without the link.
fn in_order(addresses: HashSet<ScopedIp>) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = addresses
        .iter()
        .map(ScopedIp::to_ip_addr)
        .filter(|ip| !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()))
        .collect();
    all.sort_unstable();
    all.truncate(ADDRESSES_MAX);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_local_network_are_asked_there() {
        assert_eq!(local("voron.local").as_deref(), Some("voron.local."));
        assert_eq!(local("VORON.Local.").as_deref(), Some("voron.local."));
        assert_eq!(local("a.b.local").as_deref(), Some("a.b.local."));
        for other in [
            "local",
            ".local",
            "voron",
            "voron.lan",
            "example.com",
            "10.0.0.1",
            "fe80::1",
            "",
        ] {
            assert_eq!(local(other), None, "{other}");
        }
    }

    #[test]
    fn this_machine_is_known_without_a_network() {
        assert!(is_own("pi.local.", "pi"));
        assert!(is_own("pi.local.", "PI.shop.lan"));
        assert!(!is_own("pi2.local.", "pi"));
        assert!(!is_own("pi.local.", ""));
    }

    #[tokio::test]
    async fn addresses_and_known_names_need_nobody() {
        let told = addresses("127.0.0.1", 7125).await.unwrap();
        assert_eq!(told, [SocketAddr::from(([127, 0, 0, 1], 7125))]);
        assert!(
            addresses("localhost", 1)
                .await
                .unwrap()
                .iter()
                .all(|a| a.ip().is_loopback())
        );
    }

    #[tokio::test]
    async fn a_question_that_is_given_up_leaves_no_thread() {
        let asking = || {
            let tasks = std::fs::read_dir("/proc/self/task").unwrap();
            let names = tasks.filter_map(|t| std::fs::read_to_string(t.ok()?.path().join("comm")).ok());
            names.filter(|name| name.starts_with("mDNS")).count()
        };
        let before = asking();
        let wait = Duration::from_millis(50);
        let mut question = Box::pin(asked("no-such-printer.local."));
        // As long as it lasts: a thread gets its name when it first runs.
        while asking() == before {
            tokio::time::timeout(wait, &mut question)
                .await
                .expect_err("nobody asked");
        }
        drop(question);
        let end = tokio::time::Instant::now() + Duration::from_secs(20);
        while asking() > before {
            assert!(tokio::time::Instant::now() < end, "its thread goes on");
            tokio::time::sleep(wait).await;
        }
    }

    #[test]
    fn old_addresses_come_first_and_those_of_one_link_not_at_all() {
        let one = |text: &str| ScopedIp::from(text.parse::<IpAddr>().unwrap());
        let all = HashSet::from([one("fe80::1"), one("2001:db8::2"), one("192.168.1.5")]);
        let want: Vec<IpAddr> = vec!["192.168.1.5".parse().unwrap(), "2001:db8::2".parse().unwrap()];
        assert_eq!(in_order(all), want);
    }
}
