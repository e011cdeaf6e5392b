//! How the host is: what it is once, how it does every half minute. Unknown is absent.

use std::sync::Arc;
use std::time::Duration;

use sysinfo::{MemoryRefreshKind, Networks, System};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::sysfs::Roots;

/// How often it is looked at. A look takes a few milliseconds.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Host {
    /// Model of the board or computer.
    pub board: Option<String>,
    /// Operating system with its version.
    pub os: Option<String>,
    /// Processors.
    pub cores: Option<usize>,
    /// Memory, bytes.
    pub memory_bytes: Option<u64>,
    /// Address in the local network.
    pub ip: Option<String>,
    /// Hardware address of that interface.
    pub mac: Option<String>,
    /// It hangs on a cable.
    pub wired: Option<bool>,
    /// Processors busy, percent of all together.
    pub cpu_percent: Option<f32>,
    /// Memory in use, percent.
    pub memory_percent: Option<f32>,
    /// Temperature of the processor, °C.
    pub cpu_c: Option<f32>,
    /// Throttling bits of a Raspberry Pi (see [`Roots::throttled`]).
    pub throttled: Option<u32>,
}

/// Looks at the host until `stop`; `tell` holds the newest look.
pub async fn watch_host(roots: Roots, tell: watch::Sender<Arc<Host>>, stop: CancellationToken) {
    let mut system = match System::new() {
        Ok(system) => system,
        Err(error) => {
            tracing::warn!("how this host is cannot be told: {error}");
            return;
        }
    };
    loop {
        let looked = roots.clone();
        let look = tokio::task::spawn_blocking(move || {
            let host = look(&looked, &mut system);
            (host, system)
        });
        match look.await {
            Ok((host, back)) => {
                system = back;
                tell.send_replace(Arc::new(host));
            }
            Err(failed) => {
                tracing::error!("the host could not be looked at: {failed}");
                return;
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// One look. The share of busy processors counts from the look before.
pub fn look(roots: &Roots, system: &mut System) -> Host {
    let first = system.cpus().is_empty();
    system.refresh_cpu_usage();
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    let uplink = roots.uplink();
    let (ip, mac) = uplink.as_ref().map_or((None, None), |uplink| {
        let networks = Networks::new_with_refreshed_list().ok();
        let data = networks
            .iter()
            .flat_map(|all| all.iter())
            .find(|(name, _)| ***name == *uplink.interface);
        let addresses = || {
            data.iter()
                .flat_map(|(_, data)| data.ip_networks())
                .map(|net| net.addr)
        };
        let ip = addresses()
            .find(|addr| addr.is_ipv4())
            .or_else(|| addresses().next());
        (ip.map(|ip| ip.to_string()), uplink.mac.clone())
    });
    let total = system.total_memory();
    Host {
        board: roots.board(),
        os: System::long_os_version().ok(),
        cores: Some(system.cpus().len()).filter(|n| *n > 0),
        memory_bytes: Some(total).filter(|bytes| *bytes > 0),
        ip,
        mac,
        wired: uplink.map(|uplink| uplink.wired),
        cpu_percent: (!first).then(|| system.global_cpu_usage().clamp(0.0, 100.0)),
        memory_percent: (total > 0).then(|| (system.used_memory() as f64 / total as f64 * 100.0) as f32),
        cpu_c: roots.cpu_c(),
        throttled: roots.throttled(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory_and_processors() {
        let mut system = System::new().expect("a system");
        let roots = Roots::default();
        let first = look(&roots, &mut system);
        assert!(first.cores.is_some_and(|n| n > 0) && first.memory_bytes.is_some_and(|n| n > 1_000_000));
        assert_eq!(first.cpu_percent, None, "nothing to compare with yet");
        let second = look(&roots, &mut system);
        assert!(
            second.cpu_percent.is_some_and(|p| (0.0..=100.0).contains(&p)),
            "{second:?}"
        );
        assert!(
            second.memory_percent.is_some_and(|p| p > 0.0 && p <= 100.0),
            "{second:?}"
        );
    }

    #[tokio::test]
    async fn the_first_look_comes_at_once_and_the_watch_ends() {
        let (tell, mut told) = watch::channel(Arc::new(Host::default()));
        let stop = CancellationToken::new();
        let end = stop.clone();
        let watching = watch_host(Roots::default(), tell, stop);
        let looking = async move {
            told.changed().await.expect("a look");
            assert!(told.borrow().cores.is_some());
            end.cancel();
        };
        tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(watching, looking) })
            .await
            .expect("ends");
    }
}
