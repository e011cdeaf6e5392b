//! Serial descriptors that outlive the process: systemd's file-descriptor store.
//!
//! The manager keeps a copy of each descriptor and hands it to the next process of the unit, so a
//! quick restart, planned or not, finds the line open, with no DTR edge and with the unread bytes
//! still in it. A descriptor stays in the store until [`FdStore::forget`]; note that a kept port also
//! keeps its lock, so forget it before opening the port anew.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};

use sd_notify::NotifyState;

use super::notify::NotifySocket;
use crate::sorted::SortedMap;
use crate::sys::Inherited;

/// Longest name that the manager takes (`FDNAME_MAX` 255).
const NAME_MAX: usize = 255;

/// Descriptors handed over by the previous run, and the way to hand some to the next.
#[derive(Debug, Default)]
pub struct FdStore {
    inherited: Mutex<SortedMap<String, OwnedFd>>,
    manager: Option<Arc<NotifySocket>>,
}

impl FdStore {
    /// A store with what the previous run left, and the manager that keeps more.
    ///
    /// Of several descriptors with one name the first stays.
    pub fn new(inherited: Inherited, manager: Option<Arc<NotifySocket>>) -> Self {
        let mut by_name = SortedMap::new();
        for (name, fd) in inherited.fds {
            by_name.entry(name).or_insert(fd);
        }
        FdStore {
            inherited: Mutex::new(by_name),
            manager,
        }
    }

    /// Takes a descriptor of the previous run. A second call gives `None`.
    pub fn take(&self, name: &str) -> Option<OwnedFd> {
        self.inherited().remove(&store_name(name))
    }

    /// Keeps a copy for the next run. `false`: there is no store (not under systemd).
    ///
    /// Replaces what was kept under this name. The manager takes no notice of a hang-up
    /// (`FDPOLL=0`), since an unplugged printer is ours to forget.
    pub fn keep(&self, name: &str, fd: BorrowedFd<'_>) -> bool {
        let Some(manager) = &self.manager else {
            return false;
        };
        let name = store_name(name);
        let kept = self.remove(manager, &name).and_then(|()| {
            let states = [
                NotifyState::Custom("FDSTORE=1"),
                NotifyState::Custom("FDPOLL=0"),
                NotifyState::Custom(&format!("FDNAME={name}")),
            ];
            manager.send(&states, &[fd])
        });
        if let Err(error) = &kept {
            tracing::warn!(%name, "the serial line will not survive a restart: {error}");
        }
        kept.is_ok()
    }

    /// Drops the copy, and the descriptor of the previous run if nobody took it.
    pub fn forget(&self, name: &str) {
        let name = store_name(name);
        self.inherited().remove(&name);
        if let Some(manager) = &self.manager
            && let Err(error) = self.remove(manager, &name)
        {
            tracing::warn!(%name, "a closed serial line could not be taken out of the store: {error}");
        }
    }

    /// Drops what belongs to none of these names: printers that are no longer configured.
    pub fn forget_except<'a>(&self, names: impl IntoIterator<Item = &'a str>) {
        let wanted: Vec<String> = names.into_iter().map(store_name).collect();
        let strays: Vec<String> = self
            .inherited()
            .keys()
            .filter(|name| !wanted.contains(name))
            .cloned()
            .collect();
        for name in strays {
            self.inherited().remove(&name);
            if let Some(manager) = &self.manager {
                let _ = self.remove(manager, &name);
            }
        }
    }

    fn remove(&self, manager: &NotifySocket, name: &str) -> io::Result<()> {
        let states = [
            NotifyState::Custom("FDSTOREREMOVE=1"),
            NotifyState::Custom(&format!("FDNAME={name}")),
        ];
        manager.send(&states, &[])
    }

    fn inherited(&self) -> MutexGuard<'_, SortedMap<String, OwnedFd>> {
        self.inherited
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A name that the manager accepts: letters, digits, `.`, `-`; other bytes as `_` and two hex digits.
///
/// Different names stay different up to the manager's length limit.
fn store_name(name: &str) -> String {
    let mut safe = String::new();
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' => safe.push(char::from(byte)),
            _ => safe += &format!("_{byte:02x}"),
        }
    }
    safe.truncate(NAME_MAX);
    if safe.is_empty() { "_".to_owned() } else { safe }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn without_a_manager_nothing_is_kept() {
        let store = FdStore::default();
        let file = tempfile::tempfile().expect("a file");
        assert!(!store.keep("ender3", file.as_fd()));
        store.forget("ender3");
        assert!(store.take("ender3").is_none());
    }

    #[test]
    fn names_are_safe_and_stay_different() {
        assert_eq!(store_name("ender-3.v2"), "ender-3.v2");
        assert_eq!(store_name("a:b\nFDSTORE=1"), "a_3ab_0aFDSTORE_3d1");
        assert_ne!(store_name("a_b"), store_name("a:b"));
        assert_eq!(store_name(""), "_");
        assert_eq!(store_name(&"ö".repeat(200)).len(), 255);
    }

    #[test]
    fn a_descriptor_of_the_last_run_is_taken_once() {
        let fd = || OwnedFd::from(tempfile::tempfile().expect("a file"));
        let inherited = Inherited {
            fds: vec![
                ("ender3".into(), fd()),
                ("ender3".into(), fd()),
                ("prusa".into(), fd()),
                ("gone".into(), fd()),
            ],
        };
        let store = FdStore::new(inherited, None);
        store.forget_except(["ender3", "prusa"]);
        assert!(store.take("ender3").is_some());
        assert!(store.take("ender3").is_none());
        assert!(store.take("gone").is_none());
        store.forget("prusa");
        assert!(store.take("prusa").is_none());
    }

    #[test]
    fn the_manager_is_told_in_its_own_words() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("a socket");
        let socket = NotifySocket::to(path.as_os_str()).expect("an address");
        let store = FdStore::new(Inherited::default(), Some(Arc::new(socket)));
        let file = tempfile::tempfile().expect("a file");
        assert!(store.keep("ender 3", file.as_fd()));
        let mut buffer = [0; 256];
        let mut next = || {
            let count = manager.recv(&mut buffer).expect("a message");
            String::from_utf8_lossy(&buffer[..count]).into_owned()
        };
        assert_eq!(next(), "FDSTOREREMOVE=1\nFDNAME=ender_203\n");
        assert_eq!(next(), "FDSTORE=1\nFDPOLL=0\nFDNAME=ender_203\n");
    }
}
