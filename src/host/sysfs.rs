//! What Linux says about the board in small files; the root is an argument, so that tests bring their own.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Nothing that is read here is longer.
const FILE_MAX: u64 = 64 * 1024;
/// Thermal zones looked at.
const ZONES_MAX: usize = 32;

/// Where the small files are.
#[derive(Clone, Debug)]
pub struct Roots {
    /// `/sys`.
    pub sys: PathBuf,
    /// `/proc`.
    pub proc: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Roots {
            sys: "/sys".into(),
            proc: "/proc".into(),
        }
    }
}

/// The interface that leads to the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// Its name.
    pub interface: String,
    /// Its hardware address, upper case.
    pub mac: Option<String>,
    /// It is a cable, not radio.
    pub wired: bool,
}

impl Roots {
    /// What the board calls itself: a device tree's model, else what the BIOS says.
    pub fn board(&self) -> Option<String> {
        let tree = text(&self.proc.join("device-tree/model"));
        tree.or_else(|| text(&self.sys.join("class/dmi/id/product_name")))
            .filter(|name| {
                !matches!(
                    name.as_str(),
                    "" | "None" | "Default string" | "To be filled by O.E.M."
                )
            })
    }

    /// Temperature of the processor, °C.
    pub fn cpu_c(&self) -> Option<f32> {
        let mut zones: Vec<PathBuf> = fs::read_dir(self.sys.join("class/thermal"))
            .ok()?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.join("temp").exists())
            .take(ZONES_MAX)
            .collect();
        zones.sort();
        let kind = |zone: &PathBuf| text(&zone.join("type")).unwrap_or_default().to_ascii_lowercase();
        let of_cpu = |zone: &&PathBuf| {
            ["cpu", "soc", "x86_pkg", "package"]
                .iter()
                .any(|word| kind(zone).contains(word))
        };
        let zone = zones.iter().find(of_cpu).or_else(|| zones.first())?;
        let milli: f32 = text(&zone.join("temp"))?.parse().ok()?;
        let celsius = milli / 1000.0;
        // A sensor that is not there says 0 or nonsense.
        (0.1..150.0).contains(&celsius).then_some(celsius)
    }

    /// The throttling bits of a Raspberry Pi's firmware: bit 0 under-voltage now, 1 frequency capped,
    /// 2 throttled, 3 soft temperature limit; the same 16 bits higher: since the start.
    pub fn throttled(&self) -> Option<u32> {
        let path = self.sys.join("devices/platform/soc/soc:firmware/get_throttled");
        let word = text(&path)?;
        u32::from_str_radix(word.trim_start_matches("0x"), 16).ok()
    }

    /// The interface of the default route with the smallest metric.
    pub fn uplink(&self) -> Option<Uplink> {
        let table = text(&self.proc.join("net/route"))?;
        let routes = table.lines().skip(1).filter_map(|line| {
            let mut words = line.split_whitespace();
            let interface = words.next()?;
            let destination = words.next()?;
            let metric: u32 = words.nth(4)?.parse().ok()?;
            (destination == "00000000").then(|| (metric, interface.to_owned()))
        });
        let (_, interface) = routes.min()?;
        let device = self.sys.join("class/net").join(&interface);
        let mac = text(&device.join("address")).filter(|mac| mac.len() == 17 && mac != "00:00:00:00:00:00");
        Some(Uplink {
            wired: !device.join("wireless").exists() && !device.join("phy80211").exists(),
            mac: mac.map(|mac| mac.to_ascii_uppercase()),
            interface,
        })
    }
}

/// A small file without the blanks and NULs around it.
fn text(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    fs::File::open(path)
        .ok()?
        .take(FILE_MAX)
        .read_to_end(&mut bytes)
        .ok()?;
    let text = String::from_utf8_lossy(&bytes);
    Some(
        text.trim_matches(|c: char| c.is_whitespace() || c == '\0')
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Roots) {
        let dir = tempfile::tempdir().expect("a directory");
        for (path, content) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, content).expect("written");
        }
        let roots = Roots {
            sys: dir.path().join("sys"),
            proc: dir.path().join("proc"),
        };
        (dir, roots)
    }

    #[test]
    fn a_raspberry_pi() {
        let (_dir, roots) = tree(&[
            ("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0"),
            ("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
            ("sys/class/thermal/thermal_zone0/temp", "48312\n"),
            ("sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n"),
            (
                "proc/net/route",
                "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n\
                 wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\n\
                 eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\n\
                 eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\n",
            ),
            ("sys/class/net/eth0/address", "dc:a6:32:01:02:03\n"),
        ]);
        assert_eq!(roots.board().as_deref(), Some("Raspberry Pi 4 Model B Rev 1.4"));
        assert_eq!(roots.cpu_c(), Some(48.312));
        assert_eq!(roots.throttled(), Some(0x50005));
        let uplink = roots.uplink().expect("a route");
        assert_eq!((uplink.interface.as_str(), uplink.wired), ("eth0", true));
        assert_eq!(uplink.mac.as_deref(), Some("DC:A6:32:01:02:03"));
    }

    #[test]
    fn what_is_not_there_is_unknown() {
        let (_dir, roots) = tree(&[
            ("sys/class/thermal/thermal_zone0/temp", "0\n"),
            ("sys/class/dmi/id/product_name", "Default string\n"),
            ("proc/net/route", "Iface\tDestination\n garbage\n"),
        ]);
        assert_eq!(
            (roots.board(), roots.cpu_c(), roots.throttled(), roots.uplink()),
            (None, None, None, None)
        );
    }
}
