//! What firmware families do differently, as a table. Unknown firmware gets the careful row.
//!
//! Sources: OctoPrint's firmware flags, Prusa-Firmware and Marlin sources, as collected in the
//! project's protocol notes; where only hearsay exists the careful value is taken.

/// A firmware family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Marlin 2.x.
    Marlin2,
    /// Marlin 1.x and descendants that only say "Marlin".
    Marlin1,
    /// Prusa-Firmware (8 bit) and Prusa Buddy.
    Prusa,
    /// Repetier and descendants (Anet).
    Repetier,
    /// RepRapFirmware in Marlin mode.
    RepRap,
    /// Smoothieware.
    Smoothie,
    /// Klipper's pseudo terminal.
    Klipper,
    /// Teacup.
    Teacup,
    /// Malyan (Monoprice).
    Malyan,
    /// Nothing known.
    Unknown,
}

/// How to treat a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quirks {
    /// Which.
    pub family: Family,
    /// `M84 S0` switches the stepper timeout off (elsewhere it may switch the motors off).
    pub holds_motors: bool,
    /// `M108` ends a heating wait.
    pub m108: bool,
    /// `M113 S2` asks for `busy` lines.
    pub keepalive: bool,
    /// `wait` lines mean an empty queue.
    pub wait_is_idle: bool,
    /// `M600` is the firmware's own filament change.
    pub m600: bool,
    /// `M601`/`M602` pause and resume at the printer.
    pub m601: bool,
    /// A temperature line nobody asked for means that heating was started at the printer.
    pub outside_heatup: bool,
    /// `M73 P R` is shown on the screen.
    pub m73: bool,
    /// `M75`–`M77` drive the print timer.
    pub print_timer: bool,
    /// `M524` ends an SD print.
    pub m524: bool,
    /// Nothing goes out during `G4`.
    pub blocks_in_dwell: bool,
}

const CAREFUL: Quirks = Quirks {
    family: Family::Unknown,
    holds_motors: true,
    m108: false,
    keepalive: false,
    wait_is_idle: true,
    m600: false,
    m601: false,
    outside_heatup: false,
    m73: false,
    print_timer: false,
    m524: false,
    blocks_in_dwell: false,
};

/// The table.
pub const TABLE: &[Quirks] = &[
    Quirks {
        family: Family::Marlin2,
        m108: true,
        keepalive: true,
        m600: true,
        outside_heatup: true,
        m524: true,
        ..CAREFUL
    },
    Quirks {
        family: Family::Marlin1,
        keepalive: true,
        m108: true,
        m600: true,
        outside_heatup: true,
        ..CAREFUL
    },
    // No M108 (issue 3176); M601 pauses, M75–M77 exist.
    Quirks {
        family: Family::Prusa,
        m600: true,
        m601: true,
        keepalive: true,
        m73: true,
        print_timer: true,
        outside_heatup: true,
        ..CAREFUL
    },
    Quirks {
        family: Family::Repetier,
        blocks_in_dwell: true,
        ..CAREFUL
    },
    // M84 S sets an idle time; what 0 means is not sure.
    Quirks {
        family: Family::RepRap,
        holds_motors: false,
        m108: true,
        m73: true,
        ..CAREFUL
    },
    Quirks {
        family: Family::Smoothie,
        holds_motors: false,
        ..CAREFUL
    },
    Quirks {
        family: Family::Klipper,
        holds_motors: false,
        m73: true,
        ..CAREFUL
    },
    Quirks {
        family: Family::Teacup,
        ..CAREFUL
    },
    Quirks {
        family: Family::Malyan,
        blocks_in_dwell: true,
        ..CAREFUL
    },
    CAREFUL,
];

/// The row of a family.
pub fn quirks(family: Family) -> Quirks {
    TABLE
        .iter()
        .copied()
        .find(|q| q.family == family)
        .unwrap_or(CAREFUL)
}

/// Which family a firmware name belongs to. Order matters: many names quote "Marlin".
pub fn family(name: &str) -> Family {
    const WORDS: &[(&str, Family)] = &[
        ("klipper", Family::Klipper),
        ("prusa", Family::Prusa),
        ("repetier", Family::Repetier),
        ("anet", Family::Repetier),
        ("reprapfirmware", Family::RepRap),
        ("reprap firmware", Family::RepRap),
        ("smoothie", Family::Smoothie),
        ("teacup", Family::Teacup),
        ("malyan", Family::Malyan),
        ("marlin 1", Family::Marlin1),
        ("marlin v1", Family::Marlin1),
        ("marlin ver 1", Family::Marlin1),
        ("marlin 2", Family::Marlin2),
        ("marlin bugfix-2", Family::Marlin2),
        ("marlin v2", Family::Marlin2),
        ("marlin", Family::Marlin1),
    ];
    let name = name.to_ascii_lowercase();
    WORDS
        .iter()
        .find(|(word, _)| name.contains(word))
        .map_or(Family::Unknown, |(_, family)| *family)
}

/// One `KEY:value` of an `M115` answer. Values may hold blanks; a key is upper case and stands at the
/// beginning or behind a blank.
pub fn identity_field<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let mut from = 0;
    let start = loop {
        let at = from + line.get(from..)?.find(key)?;
        let begins = at == 0 || line.as_bytes().get(at - 1) == Some(&b' ');
        let after = at + key.len();
        if begins && line.as_bytes().get(after) == Some(&b':') {
            break after + 1;
        }
        from = after;
    };
    let value = line.get(start..)?;
    let mut end = value.len();
    for (blank, _) in value.match_indices(' ') {
        let word = value.get(blank + 1..).unwrap_or_default();
        let len = word
            .bytes()
            .take_while(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_')
            .count();
        if len > 1
            && word.as_bytes().get(len) == Some(&b':')
            && word.as_bytes().first().is_some_and(u8::is_ascii_uppercase)
        {
            end = blank;
            break;
        }
    }
    value.get(..end).map(str::trim).filter(|v| !v.is_empty())
}

/// Name and version of a firmware text: `Marlin 2.1.3 (Aug  1 2024 12:00:00)`.
pub fn name_and_version(text: &str) -> (String, Option<String>) {
    let split = text.split_once([' ', '_']).filter(|(name, _)| !name.is_empty());
    match split {
        Some((name, rest)) if rest.chars().any(|c| c.is_ascii_digit()) => {
            (name.to_owned(), Some(rest.trim().to_owned()))
        }
        _ => (text.to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_recognised_by_what_they_say() {
        for (name, want) in [
            ("Marlin 2.1.3 (Aug  1 2024 12:00:00)", Family::Marlin2),
            ("Marlin bugfix-2.1.x (Jan  7 2023)", Family::Marlin2),
            ("Marlin 1.1.9 (Github)", Family::Marlin1),
            ("Marlin Ver 1.0.1", Family::Marlin1),
            ("Prusa-Firmware 3.14.0 based on Marlin", Family::Prusa),
            ("Repetier_1.0.4", Family::Repetier),
            ("RepRapFirmware for Duet 2 WiFi/Ethernet", Family::RepRap),
            ("Smoothieware", Family::Smoothie),
            ("Klipper", Family::Klipper),
            ("", Family::Unknown),
        ] {
            assert_eq!(family(name), want, "{name}");
        }
    }

    #[test]
    fn every_family_has_its_row() {
        for q in TABLE {
            assert_eq!(quirks(q.family), *q);
        }
    }

    #[test]
    fn identity_values_hold_blanks_and_colons() {
        let line = "FIRMWARE_NAME:Marlin 2.1.3 (Aug  1 2024 12:00:00) SOURCE_CODE_URL:github.com/MarlinFirmware/Marlin PROTOCOL_VERSION:1.0 MACHINE_TYPE:Ender 3 EXTRUDER_COUNT:1 UUID:cede2a2f";
        assert_eq!(
            identity_field(line, "FIRMWARE_NAME"),
            Some("Marlin 2.1.3 (Aug  1 2024 12:00:00)")
        );
        assert_eq!(identity_field(line, "MACHINE_TYPE"), Some("Ender 3"));
        assert_eq!(identity_field(line, "EXTRUDER_COUNT"), Some("1"));
        assert_eq!(identity_field(line, "KINEMATICS"), None);
        assert_eq!(
            name_and_version("Marlin 2.1.3 (x)"),
            ("Marlin".to_owned(), Some("2.1.3 (x)".to_owned()))
        );
        assert_eq!(
            name_and_version("Repetier_1.0.4"),
            ("Repetier".to_owned(), Some("1.0.4".to_owned()))
        );
    }
}
