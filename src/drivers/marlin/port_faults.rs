//! Words for what can be wrong with a serial port.

use std::io;
use std::path::Path;

use rustix::io::Errno;

use crate::host::holders::{Holder, holder_of};
use crate::host::serial::{Permission, Roots, permission};
use crate::printer::fault::{Fault, Severity};

const MISSING: Fault = Fault::new(
    Severity::Retry,
    "serial/not-there",
    "The serial port is not there.",
    "The printer is unplugged or switched off, or the port has another name now.",
    "Check cable and power. `layerd discover` lists the ports that are there.",
);

const NONE_FOUND: Fault = Fault::new(
    Severity::Retry,
    "serial/none-found",
    "No serial adapter of a printer was found.",
    "port = \"auto\" looks for known USB adapters; the printer may be unplugged, switched off, or use an unknown one.",
    "Check cable and power, or set `port` to a name from `layerd discover`.",
);

const SEVERAL_FOUND: Fault = Fault::new(
    Severity::NeedsUser,
    "serial/several-found",
    "More than one serial adapter was found.",
    "port = \"auto\" works with exactly one adapter, since a guess could drive the wrong printer.",
    "Set `port` to one of the names that `layerd discover` lists.",
);

const NO_PERMISSION: Fault = Fault::new(
    Severity::NeedsUser,
    "serial/no-permission",
    "The serial port may not be opened.",
    "This user is not in the group that owns the port.",
    "Join the group `dialout`: sudo usermod -aG dialout $USER, then log in again. The service gets it from its unit.",
);

const BUSY: Fault = Fault::new(
    Severity::Retry,
    "serial/busy",
    "The serial port is in use by another program.",
    "OctoPrint, Klipper, ModemManager, brltty, or a second layerd may hold it.",
    "Stop that program, or give this printer another port.",
);

const NOT_A_PORT: Fault = Fault::new(
    Severity::NeedsUser,
    "serial/not-a-port",
    "The path is not a serial port.",
    "`port` names a directory or an ordinary file.",
    "Set `port` to a name from `layerd discover`.",
);

const SETTINGS: Fault = Fault::new(
    Severity::NeedsUser,
    "serial/baud-refused",
    "The serial port does not accept the settings.",
    "The adapter or its driver does not know this speed.",
    "Set `baud` to a rate that adapter and printer both know, often 115200 or 250000.",
);

const VANISHED: Fault = Fault::new(
    Severity::Retry,
    "serial/vanished",
    "The serial port has gone.",
    "The cable was pulled, the printer was switched off, or electrical noise made the USB hub drop it.",
    "Check cable and power. layerd connects again by itself when the port is back.",
);

const NOT_ADOPTED: Fault = Fault::new(
    Severity::Retry,
    "serial/not-adopted",
    "The connection that was kept over the restart is dead.",
    "The printer was unplugged or switched off while the daemon restarted.",
    "Nothing to do: layerd opens the port anew.",
);

const RESET: Fault = Fault::new(
    Severity::NeedsUser,
    "serial/no-reset",
    "The board cannot be reset over the serial port.",
    "The port has no DTR line, or the board does not listen to it.",
    "Press the printer's reset button or switch it off and on.",
);

const OPEN_FAILED: Fault = Fault::new(
    Severity::Retry,
    "serial/open-failed",
    "The serial port cannot be opened.",
    "The system gave a reason that layerd does not know.",
    "Unplug the printer and plug it in again; look at the kernel's messages with `dmesg`.",
);

const NOT_PINNED: Fault = Fault::new(
    Severity::NeedsUser,
    "serial/not-pinned",
    "The port that was found cannot be remembered.",
    "The state directory cannot be written.",
    "Make the directory writable for layerd, or set `port` to a name from `layerd discover`.",
);

pub(super) fn none_found() -> Fault {
    NONE_FOUND
}

pub(super) fn several_found<'a>(paths: impl Iterator<Item = &'a Path>) -> Fault {
    let names: Vec<String> = paths.map(|p| p.display().to_string()).collect();
    SEVERAL_FOUND.with_what(format!(
        "More than one serial adapter was found: {}.",
        names.join(", ")
    ))
}

pub(super) fn not_pinned(file: &Path, error: &io::Error) -> Fault {
    NOT_PINNED.with_what(format!(
        "The port that was found cannot be remembered in {}: {error}.",
        file.display()
    ))
}

pub(super) fn not_a_port(path: &Path) -> Fault {
    NOT_A_PORT.with_what(format!("{} is not a serial port.", path.display()))
}

pub(super) fn no_permission(path: &Path, group: Option<&str>) -> Fault {
    let fault = NO_PERMISSION.with_what(format!("{} may not be opened by this user.", path.display()));
    match group {
        // A port that only root's group may open is a missing udev rule, not a missing membership.
        Some("root") => Fault {
            why: "It belongs to root alone, so its udev rule is missing.".into(),
            remedy: "Install the udev rules that come with layerd, or give the port to the group dialout."
                .into(),
            ..fault
        },
        Some(group) if group != "dialout" => Fault {
            remedy: format!("Join the group `{group}`: sudo usermod -aG {group} $USER, then log in again.")
                .into(),
            ..fault
        },
        _ => fault,
    }
}

pub(super) fn busy(path: &Path, holder: Option<&Holder>) -> Fault {
    match holder {
        Some(holder) => Fault {
            why: "Two programs on one port garble each other's lines.".into(),
            ..BUSY.with_what(format!("{} is in use by {holder}.", path.display()))
        },
        None => BUSY.with_what(format!("{} is in use by another program.", path.display())),
    }
}

pub(super) fn settings_refused(path: &Path, baud: u32, error: &io::Error) -> Fault {
    SETTINGS.with_what(format!(
        "{} does not accept {baud} baud, 8N1: {error}.",
        path.display()
    ))
}

pub(super) fn vanished(path: &Path, error: &io::Error) -> Fault {
    VANISHED.with_what(format!("{} has gone: {error}.", path.display()))
}

pub(super) fn not_adopted(error: &io::Error) -> Fault {
    NOT_ADOPTED.with_what(format!(
        "The connection that was kept over the restart is dead: {error}."
    ))
}

pub(super) fn reset_refused(error: &io::Error) -> Fault {
    RESET.with_what(format!(
        "The board cannot be reset over the serial port: {error}."
    ))
}

pub(super) fn open_failed(path: &Path, error: &io::Error, roots: &Roots) -> Fault {
    match Errno::from_io_error(error) {
        Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => {
            MISSING.with_what(format!("{} is not there.", path.display()))
        }
        Some(Errno::ACCESS | Errno::PERM) => match permission(path, roots) {
            Permission::Denied { group } => no_permission(path, group.as_deref()),
            Permission::Granted => no_permission(path, None),
        },
        Some(Errno::BUSY | Errno::WOULDBLOCK) => busy(path, holder_of(path, roots).as_ref()),
        Some(Errno::ISDIR | Errno::NOTTY | Errno::NOTDIR) => not_a_port(path),
        Some(Errno::IO) => vanished(path, error),
        _ => OPEN_FAILED.with_what(format!("{} cannot be opened: {error}.", path.display())),
    }
}
