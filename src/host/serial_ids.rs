//! USB ids of the adapters and boards found in printers.

/// What a USB id tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An adapter or board that printers use.
    Adapter,
    /// A Klipper micro-controller: it belongs to Klipper and must be left alone.
    Klipper,
    /// Something else on USB.
    Unknown,
    /// A port of the board itself.
    OnBoard,
}

/// Klipper firmware of a board with native USB.
const KLIPPER: (u16, u16) = (0x1d50, 0x614e);

/// Exact ids.
const KNOWN: &[(u16, u16, &str)] = &[
    (0x1a86, 0x7523, "CH340 adapter"),
    (0x1a86, 0x5523, "CH341 adapter"),
    (0x1a86, 0x55d4, "CH9102 adapter"),
    (0x1a86, 0x55d3, "CH343 adapter"),
    (0x0403, 0x6001, "FT232 adapter"),
    (0x0403, 0x6015, "FT231X adapter"),
    (0x10c4, 0xea60, "CP2102 adapter"),
    (0x067b, 0x2303, "PL2303 adapter"),
    (0x1d50, 0x6029, "Marlin board with native USB"),
    (0x0483, 0x5740, "STM32 board with native USB"),
];

/// Vendors whose every serial device is a printer board or an Arduino.
const VENDORS: &[(u16, &str)] = &[
    (0x2341, "Arduino board"),
    (0x2a03, "Arduino board"),
    (0x2c99, "Prusa printer"),
    (0x1eaf, "Maple board"),
    (0x16c0, "Teensy board"),
    (0x27b1, "UltiMachine board"),
];

/// What a pair of ids stands for.
pub fn kind(vid: u16, pid: u16) -> Kind {
    if (vid, pid) == KLIPPER {
        Kind::Klipper
    } else if name(vid, pid).is_some() {
        Kind::Adapter
    } else {
        Kind::Unknown
    }
}

/// The usual name of a device.
pub fn name(vid: u16, pid: u16) -> Option<&'static str> {
    if (vid, pid) == KLIPPER {
        return Some("Klipper micro-controller");
    }
    KNOWN
        .iter()
        .find(|(v, p, _)| (*v, *p) == (vid, pid))
        .map(|(_, _, name)| *name)
        .or_else(|| VENDORS.iter().find(|(v, _)| *v == vid).map(|(_, name)| *name))
}

/// Whether a serial number tells one device from its twins.
///
/// Cheap CP2102 boards all carry `0001`, clones of other chips a row of zeros or ones.
pub fn is_own_serial(serial: &str) -> bool {
    let mut characters = serial.chars().filter(|c| *c != '0');
    let rest: String = characters.by_ref().collect();
    serial.len() >= 4 && !matches!(rest.as_str(), "" | "1") && serial != "123456789"
}
