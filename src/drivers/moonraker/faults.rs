//! Klipper's and Moonraker's errors in words for people.

use crate::printer::fault::{Fault, Severity};

/// No connection, or a broken one.
pub const UNREACHABLE: Fault = Fault::new(
    Severity::Retry,
    "moonraker/unreachable",
    "Moonraker does not answer.",
    "Its host is off, the address is wrong, or the service moonraker is not running.",
    "Look at `url` in the configuration, and on the host: systemctl status moonraker. layerd goes on trying.",
);

/// Connected once, silent now.
pub const SILENT: Fault = Fault::new(
    Severity::Retry,
    "moonraker/silent",
    "Moonraker has gone silent.",
    "The network broke without a word, or the host hangs.",
    "A running print is not touched by that. layerd connects again by itself.",
);

/// The key is missing or wrong.
pub const UNAUTHORIZED: Fault = Fault::new(
    Severity::NeedsUser,
    "moonraker/unauthorized",
    "Moonraker does not let layerd in.",
    "The API key is missing or wrong, or this machine is not among its trusted clients.",
    "Set api_key_file to a file with the key (Mainsail or Fluidd show it), or add this machine to trusted_clients in moonraker.conf.",
);

/// What answers is no Moonraker.
pub const NOT_MOONRAKER: Fault = Fault::new(
    Severity::NeedsUser,
    "moonraker/not-moonraker",
    "Something answers there, but it is not Moonraker.",
    "The address or port belongs to another service.",
    "Moonraker listens on 7125 as a rule; further instances of a host on 7126 and so on. `layerd discover` lists them.",
);

/// The process behind Moonraker is not there.
pub const KLIPPER_GONE: Fault = Fault::new(
    Severity::NeedsUser,
    "klipper/gone",
    "The print was lost: Klipper ended while it printed.",
    "The service klipper crashed or was stopped.",
    "Look at klippy.log on the host, start Klipper, and print again.",
);

/// It came back without the print.
pub const KLIPPER_RESTARTED: Fault = Fault::new(
    Severity::NeedsUser,
    "klipper/restarted",
    "The print was lost: Klipper was restarted while it printed.",
    "Somebody or something sent RESTART or FIRMWARE_RESTART; a print does not survive that.",
    "Print again.",
);

/// Nobody saw how it ended.
pub const END_NOT_SEEN: Fault = Fault::new(
    Severity::NeedsUser,
    "moonraker/end-not-seen",
    "The print ended while layerd was not connected; how is not known.",
    "Klipper does not print this file any more and does not tell how it ended.",
    "Look at the printer.",
);

/// A Klipper file format it cannot read.
pub const NOT_PLAIN: Fault = Fault::new(
    Severity::NeedsUser,
    "moonraker/not-plain-gcode",
    "Klipper prints plain G-code only, and this file is packed.",
    "It is binary G-code, a zip or a gzip.",
    "Switch off binary G-code in the slicer and export it as .gcode.",
);

/// The certificate of a Moonraker behind `https` is not one that this host believes.
pub const CERTIFICATE: Fault = Fault::new(
    Severity::NeedsUser,
    "moonraker/certificate",
    "The certificate of this Moonraker is not trusted here; nothing was sent to it.",
    "It is signed by nobody whom this host trusts, made for another name, or over its date.",
    "Add its authority to the system's certificates (update-ca-certificates), or give the `url` with http:// or the name in the certificate.",
);

/// Moonraker's own client for the same cloud.
pub const OWN_SIMPLYPRINT: Fault = Fault::new(
    Severity::Warning,
    "moonraker/own-simplyprint",
    "Moonraker's own SimplyPrint client is active on this printer.",
    "Two clients of one cloud on one printer fight for it.",
    "Remove [simplyprint] from moonraker.conf, or do not connect this printer through layerd.",
);

/// Any fault of Klipper's that no row knows.
pub const OTHER: Fault = Fault::new(
    Severity::NeedsUser,
    "klipper/error",
    "Klipper has stopped with an error.",
    "Its own words say why.",
    "Remove the cause, then send FIRMWARE_RESTART.",
);

/// Words of Klipper's (lower case) and what they mean. The first row that fits counts.
pub const TABLE: &[(&str, Fault)] = &[
    (
        "timer too close",
        row(
            "klipper/timer-too-close",
            "The printer's board was given its orders too late.",
            "The host was too busy, its card too slow, or the board too busy.",
            "Close what else runs on the host, lower microsteps or speed, then send FIRMWARE_RESTART.",
        ),
    ),
    (
        "lost communication with mcu",
        row(
            "klipper/mcu-lost",
            "Klipper lost its connection to the printer's board.",
            "A loose cable, electric noise, or the board lost its supply.",
            "Look at the cable and the supply of the board, then send FIRMWARE_RESTART.",
        ),
    ),
    (
        "unable to connect",
        row(
            "klipper/mcu-not-found",
            "Klipper does not find the printer's board.",
            "It is switched off, unplugged, or `serial:` in printer.cfg is wrong.",
            "Switch the printer on and look at its cable, then send FIRMWARE_RESTART.",
        ),
    ),
    (
        "mcu protocol error",
        row(
            "klipper/mcu-version",
            "The firmware of the board does not fit this version of Klipper.",
            "Klipper was updated and the board was not.",
            "Flash the board anew, then send FIRMWARE_RESTART.",
        ),
    ),
    (
        "adc out of range",
        row(
            "klipper/adc-out-of-range",
            "A temperature sensor reads nonsense.",
            "A thermistor is broken, loose or shorted.",
            "Look at the sensor and its wires before heating again, then send FIRMWARE_RESTART.",
        ),
    ),
    (
        "not heating at expected rate",
        row(
            "klipper/not-heating",
            "A heater does not heat as it should.",
            "The heater or its sensor came loose, or a fan cools it.",
            "Look at heater and sensor before heating again, then send FIRMWARE_RESTART.",
        ),
    ),
    (
        "rescheduled timer in the past",
        row(
            "klipper/timer-past",
            "The printer's board was asked for more than it can do.",
            "Too many steps a second, or a busy host.",
            "Lower speed or microsteps, then send FIRMWARE_RESTART.",
        ),
    ),
    (
        "tmc",
        row(
            "klipper/tmc",
            "A stepper driver reports a fault.",
            "It is too hot, shorted, or has no motor supply.",
            "Let it cool, look at the wiring and the motor supply, then send FIRMWARE_RESTART.",
        ),
    ),
    (
        "no trigger on",
        row(
            "klipper/no-trigger",
            "Homing failed: an endstop or probe did not trigger.",
            "It is blocked, unplugged, or out of reach.",
            "Look at the endstop, then home again.",
        ),
    ),
    (
        "must home axis",
        row(
            "klipper/not-homed",
            "The axis is not homed.",
            "Klipper moves only what it has homed.",
            "Home first (G28).",
        ),
    ),
    (
        "move out of range",
        row(
            "klipper/out-of-range",
            "A move leaves the printer's reach.",
            "The file was sliced for another printer, or an offset is wrong.",
            "Slice it for this printer.",
        ),
    ),
    (
        "extrude below minimum temp",
        row(
            "klipper/cold-extrusion",
            "The nozzle is too cold to extrude.",
            "The file or the command did not wait for the heat.",
            "Heat first.",
        ),
    ),
    (
        "unable to open file",
        row(
            "klipper/no-such-file",
            "Klipper does not find the file.",
            "It was deleted or moved.",
            "Send it again.",
        ),
    ),
    (
        "sd busy",
        row(
            "klipper/busy",
            "Klipper prints already.",
            "A print was started elsewhere.",
            "Wait for its end.",
        ),
    ),
    (
        "shutdown due to webhooks request",
        row(
            "klipper/emergency-stop",
            "Emergency stop.",
            "Somebody pressed it.",
            "When the printer is safe send FIRMWARE_RESTART.",
        ),
    ),
    (
        "shutdown due to m112",
        row(
            "klipper/emergency-stop",
            "Emergency stop.",
            "Somebody sent M112.",
            "When the printer is safe send FIRMWARE_RESTART.",
        ),
    ),
    (
        "printer is shutdown",
        row(
            "klipper/shutdown",
            "Klipper is shut down.",
            "It stopped for safety.",
            "Remove the cause, then send FIRMWARE_RESTART.",
        ),
    ),
    (
        "section",
        row(
            "klipper/config",
            "Klipper does not accept its configuration.",
            "There is a mistake in printer.cfg.",
            "Correct it as the words say, then send RESTART.",
        ),
    ),
    (
        "option",
        row(
            "klipper/config",
            "Klipper does not accept its configuration.",
            "There is a mistake in printer.cfg.",
            "Correct it as the words say, then send RESTART.",
        ),
    ),
];

const fn row(code: &'static str, what: &'static str, why: &'static str, remedy: &'static str) -> Fault {
    Fault::new(Severity::NeedsUser, code, what, why, remedy)
}

/// The words in a message. Creality's Klipper (K1, Ender-3 V3 KE) wraps most of them up as
/// `{"code":"key29", "msg":"…", "values": […]}`, not always as valid JSON (seen in its published source).
pub fn plain(words: &str) -> &str {
    let Some((head, rest)) = words.split_once("\"msg\":") else {
        return words;
    };
    let inner = rest
        .trim_start()
        .strip_prefix('"')
        .and_then(|m| m.split_once('"'));
    match inner {
        Some((text, _)) if head.contains("\"code\":") && !text.is_empty() => text,
        _ => words,
    }
}

/// What Klipper's words mean; its own words stay with it, the first line of them.
pub fn of_words(words: &str) -> Fault {
    let words = plain(words);
    let low = words.to_lowercase();
    let fault = TABLE
        .iter()
        .find(|(part, _)| low.contains(part))
        .map_or(OTHER, |(_, fault)| fault.clone());
    let first: String = words
        .lines()
        .find(|l| !l.trim().is_empty())
        .unwrap_or_default()
        .chars()
        .take(300)
        .collect();
    if first.is_empty() {
        fault
    } else {
        fault.with_raw(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_all_its_words_and_is_found_by_its_pattern() {
        for (part, fault) in TABLE {
            assert!(
                !fault.what.is_empty() && !fault.why.is_empty() && !fault.remedy.is_empty(),
                "{part}"
            );
            assert_eq!(
                of_words(&format!("MCU 'mcu': {}", part.to_uppercase())).code,
                fault.code,
                "{part}"
            );
        }
    }

    #[test]
    fn words_that_are_wrapped_up_are_unwrapped() {
        let told = r#"!! {"code":"key61, "msg":"Unknown command:SET_FAN", "values": ["SET_FAN VALUE=1"]}"#;
        assert_eq!(plain(told), "Unknown command:SET_FAN");
        let fault = of_words(r#"{"code":"key22", "msg":"Must home axis first: 1 2 3", "values": [1]}"#);
        assert_eq!(fault.code, "klipper/not-homed");
        assert_eq!(fault.raw.as_deref(), Some("Must home axis first: 1 2 3"));
        for other in [
            r#"a "msg": word"#,
            r#"{"code":1,"msg":""}"#,
            r#"{"msg":"no code"}"#,
        ] {
            assert_eq!(plain(other), other);
        }
    }

    #[test]
    fn the_first_line_is_kept_and_unknown_words_show() {
        let fault = of_words("Lost communication with MCU 'mcu'\nOnce the underlying issue is corrected");
        assert_eq!(fault.code, "klipper/mcu-lost");
        assert_eq!(fault.raw.as_deref(), Some("Lost communication with MCU 'mcu'"));
        assert_eq!(of_words("something new").raw.as_deref(), Some("something new"));
    }
}
