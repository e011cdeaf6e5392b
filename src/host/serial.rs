//! The serial ports of this machine: stable names, what hangs on them, whether they may be used.
//!
//! Everything is read from `/sys`, `/dev` and `/proc`; no port is opened, since opening raises DTR
//! and resets boards that may be printing. The directories are arguments, so tests bring their own.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};

use super::holders::{Holder, holder_of};
use super::serial_ids::{self, Kind};

use crate::sorted::{self, SortedMap, SortedSet};

/// Directories that describe the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// `/dev`.
    pub dev: PathBuf,
    /// `/sys`.
    pub sys: PathBuf,
    /// `/proc`.
    pub proc: PathBuf,
    /// `/run`.
    pub run: PathBuf,
    /// `/etc`.
    pub etc: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Roots::under("/")
    }
}

impl Roots {
    /// The same tree below another directory.
    pub fn under(base: impl AsRef<Path>) -> Self {
        let base = base.as_ref();
        Roots {
            dev: base.join("dev"),
            sys: base.join("sys"),
            proc: base.join("proc"),
            run: base.join("run"),
            etc: base.join("etc"),
        }
    }
}

/// What USB tells of an adapter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usb {
    /// Vendor id.
    pub vid: u16,
    /// Product id.
    pub pid: u16,
    /// Where it is plugged in, as the kernel counts (`1-1.3`).
    pub place: String,
    /// Serial number, where the device has one of its own.
    pub serial: Option<String>,
    /// Maker as the device says.
    pub manufacturer: Option<String>,
    /// Product as the device says.
    pub product: Option<String>,
}

/// Whether this process may use the port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Reading and writing allowed.
    Granted,
    /// Not allowed; members of the group are, where the node has one.
    Denied {
        /// The group's name or number.
        group: Option<String>,
    },
}

/// One serial port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerialPortEntry {
    /// The kernel's name, `/dev/ttyUSB0`: changes with every plugging.
    pub node: PathBuf,
    /// `/dev/serial/by-id/…`, where there is one.
    pub by_id: Option<PathBuf>,
    /// `/dev/serial/by-path/…`, where there is one.
    pub by_path: Option<PathBuf>,
    /// The name to put into a configuration.
    pub stable: PathBuf,
    /// USB identity; `None` for a port on the board itself.
    pub usb: Option<Usb>,
    /// Whether it may be used.
    pub permission: Permission,
    /// Who uses it now.
    pub holder: Option<Holder>,
}

impl SerialPortEntry {
    /// What hangs there, by its USB ids.
    pub fn kind(&self) -> Kind {
        self.usb
            .as_ref()
            .map_or(Kind::OnBoard, |usb| serial_ids::kind(usb.vid, usb.pid))
    }

    /// A line for people.
    pub fn label(&self) -> String {
        let Some(usb) = &self.usb else {
            return "Serial port of the board".to_owned();
        };
        let known = serial_ids::name(usb.vid, usb.pid);
        let told = match (&usb.manufacturer, &usb.product) {
            (Some(m), Some(p)) if !p.starts_with(m.as_str()) => format!("{m} {p}"),
            (_, Some(p)) => p.clone(),
            (Some(m), None) => m.clone(),
            (None, None) => String::new(),
        };
        match (known, told.is_empty()) {
            (Some(known), true) => known.to_owned(),
            (Some(known), false) => format!("{known} ({told})"),
            (None, false) => told,
            (None, true) => format!("USB serial {:04x}:{:04x}", usb.vid, usb.pid),
        }
    }

    /// Whether a printer board may be behind it, so that `port = "auto"` may choose it.
    pub fn may_be_printer(&self) -> bool {
        self.kind() == Kind::Adapter
    }
}

/// All serial ports, by kernel name.
///
/// A machine without `/sys/class/tty` (a container, a test) is searched by names in `/dev`.
pub fn list(roots: &Roots) -> Vec<SerialPortEntry> {
    let by_id = links(&roots.dev.join("serial/by-id"));
    let by_path = links(&roots.dev.join("serial/by-path"));
    let mut ports: Vec<SerialPortEntry> = names(roots)
        .into_iter()
        .filter_map(|name| entry(&name, roots, &by_id, &by_path))
        .collect();
    choose_stable_names(&mut ports);
    ports
}

fn names(roots: &Roots) -> Vec<String> {
    let class = roots.sys.join("class/tty");
    let (dir, from_sys) = if class.is_dir() {
        (class, true)
    } else {
        (roots.dev.clone(), false)
    };
    let mut names: Vec<String> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok())
        .filter(|name| is_serial_name(name) && (!from_sys || has_hardware(name, roots)))
        .collect();
    sorted::by_key(&mut names, |name| {
        (
            name.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned(),
            number(name),
        )
    });
    names
}

fn is_serial_name(name: &str) -> bool {
    ["ttyUSB", "ttyACM", "ttyAMA", "ttyS", "rfcomm"]
        .iter()
        .any(|prefix| {
            name.strip_prefix(prefix)
                .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
        })
}

fn number(name: &str) -> u32 {
    name.trim_start_matches(|c: char| !c.is_ascii_digit())
        .parse()
        .unwrap_or(0)
}

/// PCs announce 32 `ttyS` of which most do not exist: their UART type is 0.
fn has_hardware(name: &str, roots: &Roots) -> bool {
    if !name.starts_with("ttyS") {
        return true;
    }
    let kind = roots.sys.join("class/tty").join(name).join("type");
    fs::read_to_string(kind).is_ok_and(|t| t.trim() != "0")
}

fn links(dir: &Path) -> SortedMap<PathBuf, PathBuf> {
    let mut links = SortedMap::new();
    for link in fs::read_dir(dir).into_iter().flatten().flatten() {
        if let Ok(target) = fs::canonicalize(link.path()) {
            // The kernel offers `usb-…` and `usbv2-…` for one port: the shorter name is the older one.
            let path = link.path();
            let keep = links
                .get(&target)
                .is_none_or(|old: &PathBuf| path.as_os_str().len() < old.as_os_str().len());
            if keep {
                links.insert(target, path);
            }
        }
    }
    links
}

fn entry(
    name: &str,
    roots: &Roots,
    by_id: &SortedMap<PathBuf, PathBuf>,
    by_path: &SortedMap<PathBuf, PathBuf>,
) -> Option<SerialPortEntry> {
    let node = roots.dev.join(name);
    let real = fs::canonicalize(&node).ok()?;
    Some(SerialPortEntry {
        by_id: by_id.get(&real).cloned(),
        by_path: by_path.get(&real).cloned(),
        stable: node.clone(),
        usb: usb_of(name, roots),
        permission: permission(&node, roots),
        holder: holder_of(&node, roots),
        node,
    })
}

/// Climbs from the terminal's device to the USB device that carries the ids.
fn usb_of(name: &str, roots: &Roots) -> Option<Usb> {
    let mut dir = fs::canonicalize(roots.sys.join("class/tty").join(name).join("device")).ok()?;
    let top = fs::canonicalize(&roots.sys).ok()?;
    while dir.starts_with(&top) && dir != top {
        if let Some(vid) = hex(&dir.join("idVendor")) {
            return Some(Usb {
                vid,
                pid: hex(&dir.join("idProduct"))?,
                place: dir.file_name()?.to_string_lossy().into_owned(),
                serial: text(&dir.join("serial")).filter(|s| serial_ids::is_own_serial(s)),
                manufacturer: text(&dir.join("manufacturer")),
                product: text(&dir.join("product")),
            });
        }
        dir.pop();
    }
    None
}

fn text(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    let text: String = String::from_utf8_lossy(&bytes)
        .trim()
        .chars()
        .filter(|c| !c.is_control())
        .take(120)
        .collect();
    (!text.is_empty()).then_some(text)
}

fn hex(path: &Path) -> Option<u16> {
    u16::from_str_radix(text(path)?.as_str(), 16).ok()
}

/// Whether this process may read and write the node, by its effective user.
pub fn permission(node: &Path, roots: &Roots) -> Permission {
    let wanted = Access::READ_OK | Access::WRITE_OK;
    match rustix::fs::accessat(CWD, node, wanted, AtFlags::EACCESS) {
        Ok(()) => Permission::Granted,
        Err(_) => Permission::Denied {
            group: fs::metadata(node).ok().map(|meta| group_name(meta.gid(), roots)),
        },
    }
}

fn group_name(gid: u32, roots: &Roots) -> String {
    let groups = fs::read_to_string(roots.etc.join("group")).unwrap_or_default();
    groups
        .lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let number = fields.nth(1)?.parse::<u32>().ok()?;
            (number == gid).then(|| name.to_owned())
        })
        .unwrap_or_else(|| gid.to_string())
}

/// by-id only for a serial number of its own that no twin shares; else by-path; else the node.
fn choose_stable_names(ports: &mut [SerialPortEntry]) {
    let key = |port: &SerialPortEntry| {
        let usb = port.usb.as_ref()?;
        Some((usb.vid, usb.pid, usb.serial.clone()?))
    };
    let mut places: SortedMap<(u16, u16, String), SortedSet<String>> = SortedMap::new();
    for port in ports.iter() {
        if let (Some(key), Some(usb)) = (key(port), &port.usb) {
            places.entry(key).or_default().insert(usb.place.clone());
        }
    }
    for port in ports.iter_mut() {
        // Two interfaces of one device are no twins: they share the place.
        let unique = key(port).is_some_and(|key| places.get(&key).is_some_and(|places| places.len() == 1));
        let stable = match (&port.by_id, &port.by_path) {
            (Some(by_id), _) if unique => by_id.clone(),
            (_, Some(by_path)) => by_path.clone(),
            _ => port.node.clone(),
        };
        port.stable = stable;
    }
}

#[cfg(test)]
#[path = "serial_tests.rs"]
mod tests;
