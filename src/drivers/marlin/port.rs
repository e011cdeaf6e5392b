//! The serial port: finding it, taking it, setting it up, and saying plainly why that failed.
//!
//! A descriptor that survived a restart is adopted as it is: no reopening, no settings, no DTR edge,
//! since each of these can reset the board (marlin-serial notes, section 2).

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::{
    ControlModes, OptionalActions, QueueSelector, SpecialCodeIndex, ioctl_tiocexcl, ioctl_tiocnxcl, tcflush,
    tcgetattr, tcsetattr,
};
use tokio_serial::SerialStream;

use super::port_faults as faults;
use crate::host::holders::holder_of;
use crate::host::serial::{self, Permission, Roots};
use crate::printer::fault::Fault;

/// How often a missing port is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long DTR stays low in a reset: the capacitor of auto-reset boards needs 0.1 s.
const RESET_LOW: Duration = Duration::from_millis(150);

/// Where the printer hangs, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortSpec {
    /// The one known adapter; remembered once found.
    Auto,
    /// A device node or one of its stable names.
    Path(PathBuf),
}

impl PortSpec {
    /// Reads the configured text.
    pub fn parse(text: &str) -> Self {
        match text.trim() {
            "auto" => PortSpec::Auto,
            path => PortSpec::Path(PathBuf::from(path)),
        }
    }
}

/// The path to open for a specification.
///
/// `auto` takes the path in `pin_file` if there is one, so that a second printer plugged in later
/// cannot take its place; otherwise the only adapter that is present, which is then written there.
pub fn resolve(spec: &PortSpec, roots: &Roots, pin_file: Option<&Path>) -> Result<PathBuf, Fault> {
    let path = match spec {
        PortSpec::Path(path) => return Ok(path.clone()),
        PortSpec::Auto => pin_file.and_then(read_pin),
    };
    if let Some(path) = path {
        return Ok(path);
    }
    let ports: Vec<_> = serial::list(roots)
        .into_iter()
        .filter(|port| port.may_be_printer())
        .collect();
    match ports.as_slice() {
        [] => Err(faults::none_found()),
        [port] => {
            if let Some(pin_file) = pin_file {
                write_pin(pin_file, &port.stable).map_err(|e| faults::not_pinned(pin_file, &e))?;
            }
            Ok(port.stable.clone())
        }
        several => Err(faults::several_found(several.iter().map(|p| p.stable.as_path()))),
    }
}

fn read_pin(file: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(file).ok()?;
    let path = text.lines().next()?.trim();
    path.starts_with('/').then(|| PathBuf::from(path))
}

fn write_pin(file: &Path, port: &Path) -> io::Result<()> {
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir)?;
    }
    let fresh = file.with_extension("new");
    fs::write(&fresh, format!("{}\n", port.display()))?;
    fs::rename(fresh, file)
}

/// Waits until something exists at `path` and may be opened; the caller sets the deadline.
pub async fn wait_for_port(path: &Path) {
    while !path.exists() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Whether the port is there, allowed and free, without opening it.
pub fn examine(path: &Path, roots: &Roots) -> Result<(), Fault> {
    let meta = fs::metadata(path).map_err(|e| faults::open_failed(path, &e, roots))?;
    if meta.is_dir() {
        return Err(faults::not_a_port(path));
    }
    if let Permission::Denied { group } = serial::permission(path, roots) {
        return Err(faults::no_permission(path, group.as_deref()));
    }
    // The simulator behind a pseudo-terminal holds it open itself; opening one resets nothing.
    if path.canonicalize().is_ok_and(|real| real.starts_with("/dev/pts")) {
        return Ok(());
    }
    match holder_of(path, roots) {
        Some(holder) => Err(faults::busy(path, Some(&holder))),
        None => Ok(()),
    }
}

/// Opens a port as a tokio stream; see [`open_fd`]. Must be called within a tokio runtime.
pub fn open(path: &Path, baud: u32, roots: &Roots) -> Result<SerialStream, Fault> {
    let fd = open_fd(path, baud, roots)?;
    crate::sys::serial_stream(fd).map_err(|e| faults::open_failed(path, &e, roots))
}

/// Opens a port: 8N1, raw, no flow control, exclusively ours, non-blocking.
///
/// Opening raises DTR, which resets many boards.
pub fn open_fd(path: &Path, baud: u32, roots: &Roots) -> Result<OwnedFd, Fault> {
    if fs::metadata(path).is_ok_and(|meta| meta.is_dir()) {
        return Err(faults::not_a_port(path));
    }
    // Non-blocking: a port without carrier would block the open itself.
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| faults::open_failed(path, &errno.into(), roots))?;
    if !rustix::termios::isatty(&fd) {
        return Err(faults::not_a_port(path));
    }
    // The lock also holds root off, who passes TIOCEXCL.
    match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Err(faults::busy(path, holder_of(path, roots).as_ref())),
        Err(errno) => tracing::debug!(port = %path.display(), %errno, "port cannot be locked"),
    }
    if let Err(errno) = ioctl_tiocexcl(&fd) {
        tracing::debug!(port = %path.display(), %errno, "port cannot be made exclusive");
    }
    configure(&fd, baud).map_err(|errno| faults::settings_refused(path, baud, &errno.into()))?;
    // What was received before the settings were right is noise.
    let _ = tcflush(&fd, QueueSelector::IFlush);
    lower_latency(path, &fd, roots);
    // Native-USB boards send nothing while DTR is low. It is high already after an ordinary open, so
    // this makes no edge; pseudo-terminals have no such line.
    let _ = crate::sys::set_dtr(&fd, true);
    Ok(fd)
}

/// Takes over a descriptor that survived a restart as a tokio stream; see [`adopt_fd`].
pub fn adopt(fd: OwnedFd) -> Result<SerialStream, Fault> {
    crate::sys::serial_stream(adopt_fd(fd)?).map_err(|e| faults::not_adopted(&e))
}

/// Takes over a descriptor that survived a restart, as it is.
///
/// Only what does not reach the wire is renewed: the lock, `TIOCEXCL`, non-blocking mode.
pub fn adopt_fd(fd: OwnedFd) -> Result<OwnedFd, Fault> {
    let dead = |errno: Errno| faults::not_adopted(&errno.into());
    // A device that was unplugged meanwhile answers this with EIO or ENOTTY.
    match tcgetattr(&fd) {
        Ok(_) | Err(Errno::NOSYS) => {}
        Err(errno) => return Err(dead(errno)),
    }
    let flags = rustix::fs::fcntl_getfl(&fd).map_err(dead)?;
    rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK).map_err(dead)?;
    let _ = rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive);
    let _ = ioctl_tiocexcl(&fd);
    Ok(fd)
}

/// Gives the port free for others, also while copies of the descriptor exist (descriptor store).
pub fn release(fd: BorrowedFd<'_>) {
    let _ = ioctl_tiocnxcl(fd);
    let _ = rustix::fs::flock(fd, FlockOperation::Unlock);
}

/// Changes the speed of an open port and drops what was received at the old one.
pub fn set_baud(stream: &SerialStream, baud: u32) -> Result<(), Fault> {
    set_baud_of(borrow(stream), baud)
}

/// The same for a descriptor.
pub fn set_baud_of(fd: BorrowedFd<'_>, baud: u32) -> Result<(), Fault> {
    let refused = |errno: Errno| faults::settings_refused(Path::new("serial port"), baud, &errno.into());
    let mut settings = match tcgetattr(fd) {
        Err(Errno::NOSYS) => return crate::sys::make_raw_the_old_way(fd, Some(baud)).map_err(refused),
        settings => settings.map_err(refused)?,
    };
    settings.set_speed(baud).map_err(refused)?;
    tcsetattr(fd, OptionalActions::Drain, &settings).map_err(refused)?;
    let _ = tcflush(fd, QueueSelector::IFlush);
    Ok(())
}

/// The speed that is set now.
pub fn baud(stream: &SerialStream) -> Option<u32> {
    baud_of(borrow(stream))
}

/// The same of a descriptor.
pub fn baud_of(fd: BorrowedFd<'_>) -> Option<u32> {
    tcgetattr(fd).ok().map(|settings| settings.output_speed())
}

/// Resets a board with an auto-reset capacitor: DTR low, then high.
pub async fn reset_pulse(fd: BorrowedFd<'_>) -> Result<(), Fault> {
    crate::sys::set_dtr(fd, false).map_err(|e| faults::reset_refused(&e))?;
    tokio::time::sleep(RESET_LOW).await;
    crate::sys::set_dtr(fd, true).map_err(|e| faults::reset_refused(&e))
}

/// The descriptor, for keeping a copy of it.
pub fn borrow(stream: &SerialStream) -> BorrowedFd<'_> {
    crate::sys::serial_fd(stream)
}

fn configure(fd: &OwnedFd, baud: u32) -> rustix::io::Result<()> {
    let mut settings = match tcgetattr(fd) {
        Err(Errno::NOSYS) => return crate::sys::make_raw_the_old_way(fd, Some(baud)),
        settings => settings?,
    };
    settings.make_raw();
    let modes = &mut settings.control_modes;
    modes.remove(ControlModes::CSIZE | ControlModes::CSTOPB | ControlModes::PARENB | ControlModes::CRTSCTS);
    // Without HUPCL, closing the port drops no DTR, so the next opening makes no edge.
    modes.remove(ControlModes::HUPCL);
    modes.insert(ControlModes::CS8 | ControlModes::CREAD | ControlModes::CLOCAL);
    settings.special_codes[SpecialCodeIndex::VMIN] = 1;
    settings.special_codes[SpecialCodeIndex::VTIME] = 0;
    settings.set_speed(baud)?;
    tcsetattr(fd, OptionalActions::Now, &settings)
}

/// Best effort: the driver's flag, and the timer of FTDI adapters where it may be written.
fn lower_latency(path: &Path, fd: impl AsFd, roots: &Roots) {
    let _ = crate::sys::set_low_latency(fd);
    let Some(name) = fs::canonicalize(path)
        .ok()
        .and_then(|real| real.file_name().map(PathBuf::from))
    else {
        return;
    };
    let timer = roots
        .sys
        .join("class/tty")
        .join(name)
        .join("device/latency_timer");
    if timer.exists() {
        let _ = fs::write(timer, "1");
    }
}

/// What a read or write error on an open port means.
///
/// A terminal that was hung up reads as end of file (0 bytes) or as EIO, depending on its driver:
/// pass `ErrorKind::UnexpectedEof` for the former. Do not `flush()` the stream: that waits for the
/// wire (`tcdrain`).
pub fn lost(path: &Path, error: &io::Error) -> Fault {
    faults::vanished(path, error)
}

#[cfg(test)]
#[path = "port_tests.rs"]
mod tests;
