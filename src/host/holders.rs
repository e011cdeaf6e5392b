//! Who uses a device node, found without opening it.
//!
//! Opening a serial port raises DTR and resets many boards, so whether it is free is read from the
//! kernel's tables: advisory locks in `/proc/locks`, open descriptors in `/proc/*/fd`, and the lock
//! files that modem programs leave in `/run/lock`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::serial::Roots;

/// At most this many processes are looked at; a host with more is not searched to the end.
const PROCESSES_MAX: usize = 4096;
/// At most this many descriptors of one process.
const DESCRIPTORS_MAX: usize = 1024;

/// A process that uses a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id, where known.
    pub pid: Option<u32>,
    /// Its short name, where it may be read.
    pub name: Option<String>,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.name, self.pid) {
            (Some(name), Some(pid)) => write!(f, "{name} (process {pid})"),
            (None, Some(pid)) => write!(f, "process {pid}"),
            (Some(name), None) => f.write_str(name),
            (None, None) => f.write_str("another program"),
        }
    }
}

/// The process that uses `node`, other than this one; `None` when none can be seen.
///
/// Processes of other users show their locks but not their descriptors.
pub fn holder_of(node: &Path, roots: &Roots) -> Option<Holder> {
    let meta = fs::metadata(node).ok()?;
    by_lock(&meta, roots)
        .or_else(|| by_descriptor(&meta, roots))
        .or_else(|| by_lock_file(node, roots))
}

/// `/proc/locks`: `1: FLOCK  ADVISORY  WRITE 812 00:06:393 0 EOF`.
fn by_lock(meta: &fs::Metadata, roots: &Roots) -> Option<Holder> {
    let table = fs::read_to_string(roots.proc.join("locks")).ok()?;
    let wanted = (
        rustix::fs::major(meta.dev()),
        rustix::fs::minor(meta.dev()),
        meta.ino(),
    );
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let pid = fields.get(4)?.parse::<u32>().ok();
        let mut device = fields.get(5)?.split(':');
        let major = u32::from_str_radix(device.next()?, 16).ok()?;
        let minor = u32::from_str_radix(device.next()?, 16).ok()?;
        let inode = device.next()?.parse::<u64>().ok()?;
        if (major, minor, inode) != wanted || pid == Some(std::process::id()) {
            return None;
        }
        Some(named(pid, roots))
    })
}

fn by_descriptor(meta: &fs::Metadata, roots: &Roots) -> Option<Holder> {
    let own = std::process::id();
    let processes = fs::read_dir(&roots.proc).ok()?;
    for process in processes.flatten().take(PROCESSES_MAX) {
        let Some(pid) = process.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else {
            continue;
        };
        // Process 1 keeps our own descriptors over a restart (descriptor store).
        if pid == own || pid == 1 {
            continue;
        }
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        for descriptor in descriptors.flatten().take(DESCRIPTORS_MAX) {
            let same = fs::metadata(descriptor.path())
                .is_ok_and(|m| m.rdev() != 0 && m.rdev() == meta.rdev() && m.ino() == meta.ino());
            if same {
                return Some(named(Some(pid), roots));
            }
        }
    }
    None
}

fn by_lock_file(node: &Path, roots: &Roots) -> Option<Holder> {
    let name = node.file_name()?.to_str()?;
    let text = fs::read_to_string(roots.run.join("lock").join(format!("LCK..{name}"))).ok()?;
    let pid = text.trim().parse::<u32>().ok()?;
    // A lock file whose process is gone is left over.
    (pid != std::process::id() && roots.proc.join(pid.to_string()).exists()).then(|| named(Some(pid), roots))
}

fn named(pid: Option<u32>, roots: &Roots) -> Holder {
    let name = pid
        .and_then(|pid| fs::read_to_string(roots.proc.join(pid.to_string()).join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty());
    Holder { pid, name }
}
