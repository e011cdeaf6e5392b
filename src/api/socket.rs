//! The unix socket that carries the command line.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// File name in the runtime directory.
pub const SOCKET_NAME: &str = "layerd.sock";

/// Group whose members may use the socket, where it exists.
const GROUP: &str = "layerd";

/// Owner and group may connect; connecting is all the authorization there is.
const MODE: u32 = 0o660;

/// Why the socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another daemon answers there.
    #[error(
        "Another layerd already answers on {}. Stop it first, or give this one its own runtime_dir.",
        .0.display()
    )]
    InUse(PathBuf),
    /// The system said no.
    #[error("Cannot make the socket {}: {source}. Check that the directory exists and may be written.", path.display())]
    System {
        /// Which socket.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

/// Makes the socket, mode 0660. One that nobody serves any more is replaced; a live one is not.
pub async fn bind_unix(path: &Path) -> Result<UnixListener, SocketError> {
    let system = |source| SocketError::System {
        path: path.to_owned(),
        source,
    };
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(system)?;
    }
    if path.exists() && UnixStream::connect(path).await.is_ok() {
        return Err(SocketError::InUse(path.to_owned()));
    }
    // Made under another name and moved, so that nobody finds it with the wrong permissions.
    let fresh = path.with_extension("new");
    match std::fs::remove_file(&fresh) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(system(e)),
        _ => {}
    }
    let listener = UnixListener::bind(&fresh).map_err(system)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(MODE)).map_err(system)?;
    if let Some(gid) = group_id(GROUP) {
        // Only root and members may give it away; without that the owner alone uses it.
        let _ = std::os::unix::fs::chown(&fresh, None, Some(gid));
    }
    std::fs::rename(&fresh, path).map_err(system)?;
    Ok(listener)
}

/// Device and inode of the file there.
pub fn which_file(path: &Path) -> Option<(u64, u64)> {
    let found = std::fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

/// Takes the socket away, so that nobody who looks for the daemon finds a door that leads nowhere; unless
/// another daemon has put its own there meanwhile.
pub fn unbind_unix(path: &Path, ours: Option<(u64, u64)>) {
    if ours.is_some() && which_file(path) == ours {
        let _ = std::fs::remove_file(path);
    }
}

/// Looks a group up in the system's file; other sources of groups are not worth a C library.
fn group_id(name: &str) -> Option<u32> {
    let text = std::fs::read_to_string("/etc/group").ok()?;
    text.lines().find_map(|line| {
        let mut parts = line.split(':');
        (parts.next() == Some(name))
            .then(|| parts.nth(1)?.parse().ok())
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("run/layerd.sock");
        drop(bind_unix(&path).await.expect("first"));
        let live = bind_unix(&path).await.expect("the first one is dead");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        assert!(matches!(bind_unix(&path).await, Err(SocketError::InUse(_))));
        let ours = which_file(&path);
        drop(live);
        let next = bind_unix(&path).await.expect("the second one is dead");
        unbind_unix(&path, ours);
        assert!(path.exists(), "that is another daemon's");
        unbind_unix(&path, which_file(&path));
        assert!(!path.exists());
        drop(next);
    }
}
