//! `layerd discover`: Moonraker on this host, and what announces itself on the network.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mdns_sd::{ScopedIp, ServiceDaemon, ServiceEvent};

use super::config::Config;
use super::socket;
use crate::drivers::Found;
use crate::sorted::{SortedMap, SortedSet};

/// Ports of the instances of one host, in the order in which they are handed out.
const PORTS: std::ops::RangeInclusive<u16> = 7125..=7134;

/// How long the network is listened to.
const LISTEN: Duration = Duration::from_secs(3);

/// How long one address may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// Most answers of the network that are taken.
const FOUND_MAX: usize = 64;

/// Addresses of one announcement that are tried.
const ADDRESSES_MAX: usize = 4;

/// What is there.
pub async fn found() -> Vec<Found> {
    let local = PORTS.map(|port| look(format!("http://127.0.0.1:{port}"), "this host".to_owned()));
    let (local, remote) = tokio::join!(futures_util::future::join_all(local), network());
    let remote = futures_util::future::join_all(remote.into_iter().map(look_at)).await;
    local.into_iter().chain(remote).flatten().collect()
}

/// By its name, which stays when the address changes; by an address where this host cannot resolve such names.
async fn look_at(((name, port), addresses): (Place, Addresses)) -> Option<Found> {
    let by_name = look(format!("http://{name}:{port}"), name.clone()).await;
    if by_name.is_some() {
        return by_name;
    }
    for address in addresses.into_iter().take(ADDRESSES_MAX) {
        let at = SocketAddr::new(address, port);
        if let Some(found) = look(format!("http://{at}"), name.clone()).await {
            return Some(found);
        }
    }
    None
}

async fn look(url: String, name: String) -> Option<Found> {
    let config = Config::at(&url);
    let answer = tokio::time::timeout(ANSWER, socket::look(&config)).await.ok()?;
    let (label, problem) = match answer {
        Ok(words) => (format!("Klipper on {name}: {words}"), None),
        Err(fault) if fault.code == super::faults::UNAUTHORIZED.code => {
            (format!("Klipper on {name}"), Some(fault))
        }
        Err(_) => return None,
    };
    let key: String = url
        .rsplit(':')
        .next()
        .unwrap_or_default()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    Some(Found {
        label,
        config: format!("[printer.klipper-{key}]\ndriver = \"moonraker\"\nurl = \"{url}\"\n"),
        problem,
    })
}

/// Host and port that announce a Moonraker.
type Place = (String, u16);

/// IPv4 first.
type Addresses = SortedSet<IpAddr>;

/// Who announces `_moonraker._tcp` (only where its `[zeroconf]` is configured).
async fn network() -> SortedMap<Place, Addresses> {
    let mut all: SortedMap<Place, Addresses> = SortedMap::new();
    let Ok(daemon) = ServiceDaemon::new() else {
        return all;
    };
    if let Ok(events) = daemon.browse("_moonraker._tcp.local.") {
        let listen = async {
            while let Ok(event) = events.recv_async().await {
                if let ServiceEvent::ServiceResolved(service) = event
                    && all.len() < FOUND_MAX
                {
                    let name = service.get_hostname().trim_end_matches('.').to_owned();
                    let addresses = service.get_addresses().iter().map(ScopedIp::to_ip_addr);
                    // Told again when another family of addresses comes in.
                    all.entry((name, service.get_port()))
                        .or_default()
                        .extend(addresses);
                }
            }
        };
        let _ = tokio::time::timeout(LISTEN, listen).await;
    }
    let _ = daemon.shutdown();
    all
}
