//! `layerd discover`: Moonraker on this host, and what announces itself on the network.

use std::collections::BTreeMap;
use std::time::Duration;

use mdns_sd::{ServiceDaemon, ServiceEvent};

use super::config::Config;
use super::socket;
use crate::drivers::Found;

/// Ports of the instances of one host, in the order in which they are handed out.
const PORTS: std::ops::RangeInclusive<u16> = 7125..=7134;

/// How long the network is listened to.
const LISTEN: Duration = Duration::from_secs(3);

/// How long one address may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// Most answers of the network that are taken.
const FOUND_MAX: usize = 64;

/// What is there.
pub async fn found() -> Vec<Found> {
    let local = PORTS.map(|port| look(format!("http://127.0.0.1:{port}"), "this host".to_owned()));
    let (local, remote) = tokio::join!(futures_util::future::join_all(local), network());
    let remote = remote.into_iter().map(|(url, name)| look(url, name));
    let remote = futures_util::future::join_all(remote).await;
    local.into_iter().chain(remote).flatten().collect()
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

/// Addresses that announce `_moonraker._tcp` (only where its `[zeroconf]` is configured).
async fn network() -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let Ok(daemon) = ServiceDaemon::new() else {
        return all;
    };
    if let Ok(events) = daemon.browse("_moonraker._tcp.local.") {
        let listen = async {
            while let Ok(event) = events.recv_async().await {
                if let ServiceEvent::ServiceResolved(service) = event
                    && all.len() < FOUND_MAX
                {
                    let host = service.get_hostname().trim_end_matches('.').to_owned();
                    all.insert(format!("http://{host}:{}", service.get_port()), host);
                }
            }
        };
        let _ = tokio::time::timeout(LISTEN, listen).await;
    }
    let _ = daemon.shutdown();
    all
}
