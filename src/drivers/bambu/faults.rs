//! What goes wrong with a Bambu Lab printer, in words: what, why, what to do.

use crate::printer::fault::{Fault, Severity};

use Severity::{NeedsUser, Retry, Warning};

/// CONNACK 4 or 5.
pub const WRONG_CODE: Fault = Fault::new(
    NeedsUser,
    "bambu/access-code",
    "The printer refuses the access code.",
    "The code changes whenever LAN mode or Developer Mode is switched.",
    "Read the code from the printer's screen (Settings, WLAN or LAN mode) and put it into the configuration.",
);

/// Connected, and not one report.
pub const NO_REPORTS: Fault = Fault::new(
    NeedsUser,
    "bambu/no-reports",
    "The printer lets us in but reports nothing.",
    "The serial number in the configuration is another printer's, or another program already holds the printer's one connection.",
    "Compare `serial` letter by letter with the printer's screen; close other programs that talk to it, or restart the printer.",
);

/// The watchdog has run out.
pub const SILENT: Fault = Fault::new(
    Retry,
    "bambu/silent",
    "The printer stopped reporting although the connection is open.",
    "Its network software hangs.",
    "layerd connects again by itself. If it repeats, restart the printer.",
);

/// Developer Mode is off.
pub const SIGNED_ONLY: Fault = Fault::new(
    NeedsUser,
    "bambu/developer-mode",
    "The printer shows its state but takes no orders from layerd.",
    "Its firmware wants orders signed by the maker's own software: Developer Mode is off.",
    "Switch on LAN-only mode and Developer Mode on the printer's screen, put the new access code into the configuration, restart the printer.",
);

/// The pinned certificate is another one.
pub const CHANGED_KEY: Fault = Fault::new(
    NeedsUser,
    "bambu/certificate-changed",
    "The printer shows another certificate than before; nothing was sent to it.",
    "The printer's mainboard or firmware was replaced, its address now belongs to another device, or somebody listens in.",
    "If you know why, accept it with `layerd trust PRINTER`.",
);

/// The certificate names another printer.
pub const OTHER_SERIAL: Fault = Fault::new(
    NeedsUser,
    "bambu/wrong-printer",
    "At this address answers another printer.",
    "Its certificate carries another serial number than the configuration.",
    "Correct `host` or `serial`; `layerd discover` shows both.",
);

/// It announces that it belongs to the cloud.
pub const CLOUD_MODE: Fault = Fault::new(
    Warning,
    "bambu/cloud-mode",
    "The printer is connected to the maker's cloud.",
    "In this mode it shows its state at most, and takes no orders over the network.",
    "Switch on LAN-only mode and Developer Mode on the printer's screen.",
);

/// No connection.
pub const UNREACHABLE: Fault = Fault::new(
    Retry,
    "bambu/unreachable",
    "The printer cannot be reached over the network.",
    "It is switched off, or its address has changed.",
    "Switch it on; `layerd discover` shows its address.",
);

/// The connection broke.
pub const LINK_LOST: Fault = Fault::new(
    Retry,
    "bambu/link-lost",
    "The connection to the printer broke.",
    "The printer restarts, its network is weak, or another program took its only connection.",
    "layerd connects again by itself.",
);

/// Others have the places.
pub const CROWDED: Fault = Fault::new(
    Retry,
    "bambu/crowded",
    "The printer does not keep its connection with layerd.",
    "It has few places for programs on the network, some models one, and others hold them; or its network is weak.",
    "Close the other programs that talk to it (slicers, home automation, other hosts), or restart it. layerd tries on by itself.",
);

/// Nowhere to put files.
pub const NO_STORAGE: Fault = Fault::new(
    NeedsUser,
    "bambu/no-storage",
    "The printer has nowhere to put the file.",
    "There is no memory card in it, or the card cannot be written.",
    "Put in a card, or format it at the printer.",
);

/// Card full.
pub const STORAGE_FULL: Fault = Fault::new(
    NeedsUser,
    "bambu/storage-full",
    "The file did not fit on the printer's card.",
    "The card is full.",
    "Delete old files at the printer.",
);

/// Login of the file server.
pub const FILES_LOGIN: Fault = Fault::new(
    NeedsUser,
    "bambu/files-login",
    "The printer's file server refuses the access code.",
    "The code has changed.",
    "Read the code from the printer's screen and put it into the configuration.",
);

/// The file server has no place left.
pub const FILES_CROWDED: Fault = Fault::new(
    Retry,
    "bambu/files-crowded",
    "The printer's file server has too many clients; nothing was sent or started.",
    "A slicer or another program has its few places.",
    "Close the other programs that look at the printer's files, and start the print again.",
);

/// The upload broke.
pub const UPLOAD: Fault = Fault::new(
    Retry,
    "bambu/upload-failed",
    "The file did not reach the printer; nothing was started.",
    "The network broke off or the printer stopped answering.",
    "Start the print again.",
);

/// No picture.
pub const CAMERA: Fault = Fault::new(
    Retry,
    "bambu/camera",
    "The printer's camera gives no picture.",
    "Its picture over the network (LAN live view) is off, another viewer has its only place, or it has no camera of this kind.",
    "Switch the live view on at the printer's screen and close other viewers.",
);

/// The file cannot be read or wrapped.
pub const FILE: Fault = Fault::new(
    NeedsUser,
    "bambu/file",
    "The file cannot be prepared for this printer.",
    "",
    "Slice it for this printer and send it again.",
);

/// No tray holds what the file wants.
pub const NO_FILAMENT: Fault = Fault::new(
    NeedsUser,
    "bambu/no-filament",
    "No slot holds the filament that the file wants.",
    "",
    "Load it, or set the material of the slots at the printer.",
);

/// After a restart the printer has another job or none.
pub const JOB_GONE: Fault = Fault::new(
    NeedsUser,
    "bambu/job-gone",
    "The printer does not know of the print any more.",
    "It was restarted or switched off during the print.",
    "Look at the printer, take the part off and start the print again.",
);

/// Another print is there.
pub const OTHER_PRINT: Fault = Fault::new(
    NeedsUser,
    "bambu/other-print",
    "Another print was started at the printer.",
    "Somebody started it on the screen or from a slicer.",
    "Wait until it has ended.",
);

/// The print failed without a code.
pub const FAILED: Fault = Fault::new(
    NeedsUser,
    "bambu/print-failed",
    "The printer reports that the print failed.",
    "",
    "Look at the printer's screen.",
);

/// A document that is too large or broken.
pub const HUGE: Fault = Fault::new(
    Warning,
    "bambu/report-too-large",
    "The printer sent a report that is too large to be one.",
    "",
    "It was ignored.",
);

/// `print_error` values with words: code, what, why, remedy.
static PRINT_ERRORS: &[(u32, &str, &str)] = &[
    (0x0300_400c, "The print was cancelled.", ""),
    (0x0500_400e, "The print was cancelled.", ""),
    (
        0x0500_4004,
        "The printer is busy and cannot start another print.",
        "Wait until it is free.",
    ),
    (
        0x0500_c010,
        "The printer cannot read the file on its card.",
        "Check the card; format it at the printer and send the file again.",
    ),
    (
        0x07ff_8012,
        "The printer found no assignment of filaments to AMS slots.",
        "Check the AMS, or print from the external spool (ams = \"off\").",
    ),
    (
        0x0300_8004,
        "Filament ran out.",
        "Load new filament, then resume.",
    ),
    (
        0x0500_8062,
        "The build plate's marker was not found.",
        "Lay the plate on properly and clean it.",
    ),
    (
        0x0700_8006,
        "The AMS cannot feed the filament.",
        "Look for a tangle or a bent tube.",
    ),
];

/// Words for a `print_error`. Codes without words keep their number.
pub fn print_error(code: u32) -> Fault {
    let shown = format!("{:04X}_{:04X}", code >> 16, code & 0xffff);
    let row = PRINT_ERRORS.iter().find(|(c, _, _)| *c == code);
    let mut fault = FAILED.with_raw(shown.clone());
    fault.code = format!("bambu/{shown}").into();
    fault.what = match row {
        Some((_, what, _)) => (*what).into(),
        None => format!("The printer reports error {shown}.").into(),
    };
    if let Some((_, _, remedy)) = row.filter(|r| !r.2.is_empty()) {
        fault.remedy = (*remedy).into();
    }
    fault
}

/// Whether a `print_error` says that a person stopped the print.
pub fn is_cancel(code: u32) -> bool {
    matches!(code, 0x0300_400c | 0x0500_400e)
}

/// The canonical form of a health message.
pub fn hms_code(attr: u32, code: u32) -> String {
    format!(
        "{:04X}_{:04X}_{:04X}_{:04X}",
        attr >> 16,
        attr & 0xffff,
        code >> 16,
        code & 0xffff
    )
}

/// "Command verification failed": Developer Mode is off.
pub const HMS_SIGNED_ONLY: (u32, u32) = (0x0500_0500, 0x0001_0007);

/// Words for a health message: its part and severity; the code itself is always shown. `wiki`: the
/// model's folder in the maker's wiki, where known.
pub fn hms(attr: u32, code: u32, wiki: Option<&str>) -> Fault {
    if (attr, code) == HMS_SIGNED_ONLY {
        return SIGNED_ONLY;
    }
    let shown = hms_code(attr, code);
    let part = match attr >> 24 {
        0x03 => "motion controller",
        0x05 => "mainboard",
        0x07 => "AMS",
        0x08 => "toolhead",
        0x0c => "camera",
        _ => "printer",
    };
    let (weight, severity) = match code >> 16 {
        1 => ("a fatal fault", NeedsUser),
        2 => ("a serious fault", NeedsUser),
        3 => ("a fault", NeedsUser),
        4 => ("a message", Warning),
        _ => ("a message", Warning),
    };
    let mut fault = Fault::new(severity, "bambu/hms", "", "", "")
        .with_what(format!("The {part} reports {weight}: {shown}."))
        .with_raw(shown.clone());
    fault.code = format!("bambu/{shown}").into();
    if let Some(model) = wiki {
        fault.remedy =
            format!("See https://wiki.bambulab.com/en/{model}/troubleshooting/hmscode/{shown}").into();
    }
    fault
}

/// Refusals that mean "not signed": numbers of a command's answer.
pub fn is_unsigned(err_code: Option<i64>, reason: &str) -> bool {
    matches!(err_code, Some(0x0502_4007 | 0x0502_4009)) || reason.contains("verify failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_shown_in_full_and_unknown_ones_are_kept() {
        assert_eq!(hms_code(50331904, 65543), "0300_0100_0001_0007");
        assert_eq!(hms(83887360, 65543, None).code, "bambu/developer-mode");
        let odd = hms(0x0500_0600, 0x0002_0070, Some("x1"));
        let page = "https://wiki.bambulab.com/en/x1/troubleshooting/hmscode/0500_0600_0002_0070";
        assert!(odd.remedy.ends_with(page), "{odd}");
        assert_eq!(odd.code, "bambu/0500_0600_0002_0070");
        assert!(odd.what.contains("mainboard reports a serious fault"), "{odd}");
        assert_eq!(print_error(50348044).raw.as_deref(), Some("0300_400C"));
        assert!(is_cancel(50348044));
        assert_eq!(print_error(0x1001_c069).code, "bambu/1001_C069");
    }

    #[test]
    fn every_row_has_words() {
        for (code, what, _) in PRINT_ERRORS {
            assert!(what.ends_with('.'), "{code:08x}");
        }
    }
}
