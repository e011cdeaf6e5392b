//! What `layerd discover` shows of the serial ports.

use super::port_faults as faults;
use crate::drivers::Found;
use crate::host::serial::{Permission, Roots, SerialPortEntry, list};
use crate::host::serial_ids::Kind;
use crate::printer::fault::{Fault, Severity};

const KLIPPER: Fault = Fault::new(
    Severity::Warning,
    "serial/klipper-board",
    "This board runs Klipper firmware.",
    "It belongs to the Klipper host and understands no G-code.",
    "Use the driver `moonraker` with the address of its Moonraker.",
);

/// The serial ports with a configuration to paste, in the order of their kernel names.
pub fn found(roots: &Roots) -> Vec<Found> {
    let mut used = 0;
    list(roots)
        .iter()
        .map(|port| Found {
            label: format!("{}: {}", port.node.display(), port.label()),
            config: config(port, &mut used),
            problem: problem(port),
        })
        .collect()
}

fn config(port: &SerialPortEntry, used: &mut u32) -> String {
    match port.kind() {
        Kind::Klipper => String::new(),
        _ => {
            *used += 1;
            // Debug quoting escapes what TOML escapes too.
            let path = port.stable.display().to_string();
            format!("[printer.printer{used}]\ndriver = \"marlin\"\nport = {path:?}\n")
        }
    }
}

fn problem(port: &SerialPortEntry) -> Option<Fault> {
    if port.kind() == Kind::Klipper {
        return Some(KLIPPER);
    }
    if let Permission::Denied { group } = &port.permission {
        return Some(faults::no_permission(&port.node, group.as_deref()));
    }
    port.holder
        .as_ref()
        .map(|holder| faults::busy(&port.node, Some(holder)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn ports_come_with_text_to_paste() {
        let dir = tempfile::tempdir().expect("a directory");
        let roots = Roots::under(dir.path());
        for (node, vid, pid) in [("ttyACM0", "1d50", "614e"), ("ttyUSB0", "1a86", "7523")] {
            let device = roots.sys.join("devices").join(node);
            fs::create_dir_all(&device).expect("a directory");
            fs::write(device.join("idVendor"), vid).expect("a file");
            fs::write(device.join("idProduct"), pid).expect("a file");
            let class = roots.sys.join("class/tty").join(node);
            fs::create_dir_all(&class).expect("a directory");
            symlink(&device, class.join("device")).expect("a link");
            fs::create_dir_all(&roots.dev).expect("a directory");
            fs::write(roots.dev.join(node), "").expect("a file");
        }
        let found = found(&roots);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].config, "");
        assert_eq!(
            found[0].problem.as_ref().expect("a warning").code,
            "serial/klipper-board"
        );
        assert!(
            found[1].label.ends_with("ttyUSB0: CH340 adapter"),
            "{}",
            found[1].label
        );
        let table: toml::Table = found[1].config.parse().expect("valid TOML");
        let port = table["printer"]["printer1"]["port"].as_str().expect("text");
        assert_eq!(port, roots.dev.join("ttyUSB0").display().to_string());
        assert_eq!(found[1].problem, None);
    }
}
