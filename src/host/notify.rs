//! Messages to the service manager (`sd_notify(3)`), with or without a descriptor.

use std::ffi::OsStr;
use std::fmt::Write;
use std::io;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, sendmsg_addr, socket_with,
};
use sd_notify::NotifyState;

/// The manager's end of `NOTIFY_SOCKET`.
#[derive(Debug)]
pub struct NotifySocket {
    socket: OwnedFd,
    address: SocketAddrUnix,
}

impl NotifySocket {
    /// The socket of this process's manager; `None` when nobody manages it.
    pub fn from_env() -> Option<Self> {
        let address = std::env::var_os("NOTIFY_SOCKET")?;
        match Self::to(&address) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!("the service manager cannot be told anything: {error}");
                None
            }
        }
    }

    /// A socket that sends to this address: a path, or `@name` for an abstract one.
    pub fn to(address: &OsStr) -> io::Result<Self> {
        let bytes = address.as_bytes();
        let address = match bytes.strip_prefix(b"@") {
            Some(name) => SocketAddrUnix::new_abstract_name(name)?,
            None => SocketAddrUnix::new(bytes)?,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        Ok(NotifySocket { socket, address })
    }

    /// Sends states, with descriptors if any.
    ///
    /// Never blocks: a manager that does not listen must not stop the printers. The error is then
    /// `WouldBlock`.
    pub fn send(&self, states: &[NotifyState<'_>], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut text = String::new();
        for state in states {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{state}");
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let message = [IoSlice::new(text.as_bytes())];
        sendmsg_addr(
            &self.socket,
            &self.address,
            &message,
            &mut ancillary,
            SendFlags::NOSIGNAL,
        )?;
        Ok(())
    }
}
