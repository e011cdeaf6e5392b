//! How the host is: what it is once, how it does every half minute. Unknown is absent.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sysinfo::{MemoryRefreshKind, Networks, System};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::sysfs::Roots;
use crate::blocking;

/// How often it is looked at. A look takes a few milliseconds.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How long the question for the radio network may take.
const IW_LIMIT: Duration = Duration::from_secs(3);

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
    /// The radio network it is in.
    pub ssid: Option<String>,
    /// Space of the state directory's disk that is left, bytes.
    pub disk_free_bytes: Option<u64>,
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
///
/// `state_dir`: whose disk counts.
pub async fn watch_host(
    roots: Roots,
    state_dir: PathBuf,
    tell: watch::Sender<Arc<Host>>,
    stop: CancellationToken,
) {
    let mut system = match System::new() {
        Ok(system) => system,
        Err(error) => {
            tracing::warn!("how this host is cannot be told: {error}");
            return;
        }
    };
    loop {
        let (looked, disk) = (roots.clone(), state_dir.clone());
        let look = blocking::run(move || {
            let mut host = look(&looked, &mut system);
            host.disk_free_bytes = free_bytes(&disk);
            (host, system)
        });
        match look.await {
            Ok((mut host, back)) => {
                system = back;
                if host.wired == Some(false)
                    && let Some(uplink) = roots.uplink()
                {
                    host.ssid = radio_network(&uplink.interface).await;
                }
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
        ssid: None,
        disk_free_bytes: None,
        cpu_percent: (!first).then(|| system.global_cpu_usage().clamp(0.0, 100.0)),
        memory_percent: (total > 0).then(|| (system.used_memory() as f64 / total as f64 * 100.0) as f32),
        cpu_c: roots.cpu_c(),
        throttled: roots.throttled(),
    }
}

/// Bytes that ordinary users may still write to the disk of a directory.
fn free_bytes(dir: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let stat = rustix::fs::statvfs(dir).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
    #[cfg(not(unix))]
    {
        let _ = dir;
        None
    }
}

/// The network that a radio interface is in, as `iw` says (the kernel tells it over netlink only). Unknown
/// where that program is not there.
async fn radio_network(interface: &str) -> Option<String> {
    let asked = tokio::process::Command::new("iw")
        .args(["dev", interface, "link"])
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    let said = tokio::time::timeout(IW_LIMIT, asked).await.ok()?.ok()?;
    ssid_in(&String::from_utf8_lossy(&said.stdout))
}

/// The name in the output of `iw dev … link`.
fn ssid_in(said: &str) -> Option<String> {
    let name = said.lines().find_map(|line| line.trim().strip_prefix("SSID: "))?;
    // 32 bytes by the standard; `iw` writes what is not printable as \\xNN.
    (!name.is_empty() && name.len() <= 32 * 4).then(|| name.to_owned())
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

    #[test]
    fn the_radio_network_is_found_in_what_iw_says() {
        let said = "Connected to 00:11:22:33:44:55 (on wlan0)\n\tSSID: Print Shop\n\tfreq: 5180\n\tsignal: -48 dBm\n";
        assert_eq!(ssid_in(said).as_deref(), Some("Print Shop"));
        assert_eq!(ssid_in("Not connected.\n"), None);
        assert_eq!(ssid_in("\tSSID: \n"), None);
    }

    #[tokio::test]
    async fn the_first_look_comes_at_once_and_the_watch_ends() {
        let (tell, mut told) = watch::channel(Arc::new(Host::default()));
        let stop = CancellationToken::new();
        let end = stop.clone();
        let watching = watch_host(Roots::default(), std::env::temp_dir(), tell, stop);
        let looking = async move {
            told.changed().await.expect("a look");
            assert!(told.borrow().cores.is_some());
            assert!(told.borrow().disk_free_bytes.is_some_and(|bytes| bytes > 0));
            end.cancel();
        };
        tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(watching, looking) })
            .await
            .expect("ends");
    }
}
