//! What goes wrong with a Marlin printer, in words for a tired person: what, why, what to do.

use crate::printer::fault::{Fault, Severity};

use super::scan::contains_no_case;

/// What an error line of the printer means for the link and the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gravity {
    /// The firmware has halted: nothing will be answered until it is reset.
    Halts,
    /// The printer lives, the job cannot go on.
    EndsJob,
    /// Worth a notice.
    Warns,
    /// Harmless; not shown.
    Harmless,
}

/// One row: words in the printer's line (lower case; all must be there) and what they mean.
#[derive(Debug)]
pub struct Row {
    /// Every one must be contained.
    pub words: &'static [&'static str],
    /// How bad.
    pub gravity: Gravity,
    /// What people see.
    pub fault: Fault,
}

const fn row(
    words: &'static [&'static str],
    gravity: Gravity,
    code: &'static str,
    what: &'static str,
    why: &'static str,
    remedy: &'static str,
) -> Row {
    let severity = match gravity {
        Gravity::Halts | Gravity::EndsJob => Severity::NeedsUser,
        Gravity::Warns | Gravity::Harmless => Severity::Warning,
    };
    Row {
        words,
        gravity,
        fault: Fault::new(severity, code, what, why, remedy),
    }
}

/// Error texts, the first match counts.
pub static TABLE: &[Row] = &[
    row(
        &["thermal runaway"],
        Gravity::Halts,
        "marlin/thermal-runaway",
        "The printer has stopped itself: a heater lost control (thermal runaway).",
        "A thermistor or heater cartridge has come loose or broken, or a fan blows on the heater block.",
        "Switch the printer off. Check thermistor, heater and their cables before you print again.",
    ),
    row(
        &["heating failed"],
        Gravity::Halts,
        "marlin/heating-failed",
        "The printer has stopped itself: a heater did not get warm in time.",
        "The heater cartridge or bed cable is broken or loose, or the supply voltage is missing.",
        "Switch the printer off. Check the heater and its cables before you print again.",
    ),
    row(
        &["thermal malfunction"],
        Gravity::Halts,
        "marlin/thermal-malfunction",
        "The printer has stopped itself: a temperature does not follow its heater.",
        "A thermistor or heater is loose or broken.",
        "Switch the printer off. Check thermistor, heater and their cables.",
    ),
    row(
        &["maxtemp"],
        Gravity::Halts,
        "marlin/maxtemp",
        "The printer has stopped itself: a temperature is above its maximum.",
        "A thermistor is shorted, or a heater is stuck on.",
        "Switch the printer off and let it cool. Check the thermistor and the heater's switch.",
    ),
    row(
        &["mintemp"],
        Gravity::Halts,
        "marlin/mintemp",
        "The printer has stopped itself: a temperature is below its minimum.",
        "A thermistor is unplugged or broken, or the room is very cold.",
        "Check the thermistor's plug and cable, then reset the printer.",
    ),
    row(
        &["homing failed"],
        Gravity::Halts,
        "marlin/homing-failed",
        "Homing failed.",
        "An end stop or the probe did not trigger, or a motor did not move.",
        "Check end stops, probe and belts, then reset the printer.",
    ),
    row(
        &["probing failed"],
        Gravity::EndsJob,
        "marlin/probing-failed",
        "Bed probing failed.",
        "The nozzle or the probe is dirty, or the bed is out of reach of the probe.",
        "Clean nozzle and probe, check the bed, then print again.",
    ),
    row(
        &["m112"],
        Gravity::Halts,
        "marlin/emergency-stop",
        "The printer was stopped by an emergency stop.",
        "Somebody pressed emergency stop, here or at the printer.",
        "Reset the printer (its knob or mains switch), then reconnect.",
    ),
    row(
        &["emergency shutdown"],
        Gravity::Halts,
        "marlin/emergency-stop",
        "The printer was stopped by an emergency stop.",
        "Somebody pressed emergency stop, here or at the printer.",
        "Reset the printer (its knob or mains switch), then reconnect.",
    ),
    row(
        &["kill()"],
        Gravity::Halts,
        "marlin/killed",
        "The printer has halted.",
        "Its firmware stopped everything: kill button, emergency stop or a fault it did not name.",
        "Look at the printer's screen, then reset it and reconnect.",
    ),
    row(
        &["printer halted"],
        Gravity::Halts,
        "marlin/killed",
        "The printer has halted.",
        "Its firmware stopped everything: kill button, emergency stop or a fault it did not name.",
        "Look at the printer's screen, then reset it and reconnect.",
    ),
    row(
        &["stopped due to errors"],
        Gravity::EndsJob,
        "marlin/stopped",
        "The printer has stopped because of errors and does not move any more.",
        "The firmware saw a fault earlier; it still answers, but ignores moves.",
        "Find the cause on its screen, then reset it (or send M999).",
    ),
    row(
        &["stop called"],
        Gravity::EndsJob,
        "marlin/stopped",
        "The printer has stopped because of errors and does not move any more.",
        "The firmware saw a fault earlier; it still answers, but ignores moves.",
        "Find the cause on its screen, then reset it (or send M999).",
    ),
    row(
        &["shutdown"],
        Gravity::Halts,
        "marlin/shutdown",
        "The printer's firmware has shut down.",
        "Klipper and Repetier do so after a fault; the printer's words say which.",
        "Fix the cause, restart the firmware, then reconnect.",
    ),
    row(
        &["volume.init failed"],
        Gravity::Warns,
        "marlin/sd-card",
        "The printer cannot read its SD card.",
        "The card is missing, worn out or not formatted as FAT.",
        "Take the card out and in again, or try another.",
    ),
    row(
        &["sd init fail"],
        Gravity::Harmless,
        "marlin/sd-card",
        "The printer cannot read its SD card.",
        "There is no card in it.",
        "Nothing to do unless you print from the card.",
    ),
    row(
        &["open failed"],
        Gravity::Warns,
        "marlin/sd-file",
        "The printer cannot open a file on its SD card.",
        "The file is not there or its name is not as the printer spells it.",
        "Look at the list of files at the printer.",
    ),
    row(
        &["error writing to file"],
        Gravity::Warns,
        "marlin/sd-write",
        "The printer cannot write to its SD card.",
        "The card is full, write-protected or worn out.",
        "Try another card.",
    ),
    row(
        &["cold extrusion prevented"],
        Gravity::Warns,
        "marlin/cold-extrusion",
        "The printer refuses to extrude: the nozzle is too cold.",
        "The program moves filament before it heats, or the nozzle was switched off meanwhile.",
        "Look at the print: it may go on without plastic. Cancel it if so.",
    ),
    row(
        &["cold extrude", "prevented"],
        Gravity::Warns,
        "marlin/cold-extrusion",
        "The printer refuses to extrude: the nozzle is too cold.",
        "The program moves filament before it heats, or the nozzle was switched off meanwhile.",
        "Look at the print: it may go on without plastic. Cancel it if so.",
    ),
    row(
        &["too long extrusion"],
        Gravity::Warns,
        "marlin/long-extrusion",
        "The printer refused an extrusion as too long.",
        "The program feeds more filament in one move than the firmware allows.",
        "Check the slicer's loading moves.",
    ),
    row(
        &["invalid extruder"],
        Gravity::Warns,
        "marlin/no-such-tool",
        "The program uses a tool that this printer does not have.",
        "It was sliced for another printer.",
        "Slice it for this printer.",
    ),
    row(
        &["g2/g3 bad parameters"],
        Gravity::EndsJob,
        "marlin/bad-arc",
        "The printer refused an arc.",
        "The program holds arc commands (G2/G3) that its firmware cannot follow.",
        "Slice again without arcs.",
    ),
    row(
        &["position unknown"],
        Gravity::Warns,
        "marlin/not-homed",
        "The printer does not know where its head is.",
        "It has to be homed first.",
        "Home the printer (G28).",
    ),
    row(
        &["home", "first"],
        Gravity::Warns,
        "marlin/not-homed",
        "The printer does not know where its head is.",
        "It has to be homed first.",
        "Home the printer (G28).",
    ),
    row(
        &["full rx buffer"],
        Gravity::Warns,
        "marlin/rx-overrun",
        "The printer's receive buffer overran.",
        "More was sent at once than it can hold; the lines are sent again.",
        "If this repeats, set window = \"off\" for this printer.",
    ),
];

/// What an error line means; `None`: no row for it.
pub fn lookup(text: &[u8]) -> Option<&'static Row> {
    TABLE
        .iter()
        .find(|row| row.words.iter().all(|w| contains_no_case(text, w.as_bytes())))
}

/// An error line in full: the row's fault with the printer's own words, or a general one.
pub fn of_line(text: &[u8]) -> (Gravity, Fault) {
    let raw: String = String::from_utf8_lossy(text).chars().take(200).collect();
    match lookup(text) {
        Some(row) => (row.gravity, row.fault.clone().with_raw(raw)),
        None => (Gravity::Warns, UNKNOWN_ERROR.with_raw(raw)),
    }
}

/// Every other fault of this driver.
macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident: $severity:ident $code:literal, $what:literal, $why:literal, $remedy:literal;)*) => {
        $($(#[$doc])* pub const $name: Fault = Fault::new(Severity::$severity, $code, $what, $why, $remedy);)*
        /// All of them, for the tests.
        #[cfg(test)]
        const ALL: &[Fault] = &[$($name),*];
    };
}

faults! {
    /// An error line without a row.
    UNKNOWN_ERROR: Warning "marlin/error", "The printer reports an error.",
        "Its firmware says so; layerd does not know this text.",
        "Read its words. Vendors print harmless errors too; the print goes on.";
    /// No answer at all on connecting.
    NO_ANSWER: Retry "marlin/no-answer", "The printer does not answer.",
        "It is switched off, halted, its cable carries power only, or the baud rate is wrong.",
        "Switch it on, reset it, try another cable, or set `baud`.";
    /// No answer in mid-session.
    SILENT: Retry "marlin/silent", "The printer stopped answering.",
        "Its firmware hangs, or the cable is bad.",
        "Look at the printer: it may still be hot. Reset it if it does not react.";
    /// Talks, but acknowledges nothing.
    NO_OK: Retry "marlin/no-ok", "The printer talks but no longer acknowledges lines.",
        "Its firmware is stuck in a command or in a menu.",
        "Look at its screen. Reset it if it does not react.";
    /// A damaged number made a line an `M28`.
    WRITES_TO_CARD: NeedsUser "marlin/writes-to-card",
        "The printer began to write the program to its card instead of executing it.",
        "A line was damaged on the cable so that it became the command to do so (M28).",
        "Print again with a shorter, shielded cable away from the motors. Delete the file on the card.";
    /// Endless resend.
    STUCK: NeedsUser "marlin/stuck", "The same line was refused again and again.",
        "The cable or its surroundings damage every copy, or the firmware cannot read the line.",
        "Use a shorter, shielded cable away from the motors; check the power supply.";
    /// Requests for lines long gone.
    OUT_OF_STEP: NeedsUser "marlin/out-of-step", "The printer asks for lines that were sent long ago.",
        "It lost many lines that it had acknowledged.",
        "Cancel and print again. If it repeats, set window = \"off\" and check the cable.";
    /// A line without a readable checksum.
    UNREADABLE: NeedsUser "marlin/unreadable-line", "The printer cannot read a line of the program.",
        "The line is too long for its firmware or holds a character that it takes for a comment.",
        "Slice again without over-long custom G-code.";
    /// Over-long line in the program.
    LINE_TOO_LONG: NeedsUser "marlin/line-too-long", "A line of the program is too long for the printer.",
        "Marlin reads at most 95 characters with line number and checksum.",
        "Shorten the custom G-code of the slicer.";
    /// Boot banner or confirmed restart of line numbers.
    RESET: NeedsUser "marlin/reset", "The printer has restarted in the middle of the print.",
        "A power dip, its watchdog, or somebody pressed reset. Position and heaters are lost.",
        "Check the power supply, take the part off and print again.";
    /// The same without a job.
    RESTARTED: Retry "marlin/restarted", "The printer has restarted.",
        "Somebody pressed reset, or its power failed.",
        "Nothing, if that was you.";
    /// G20 refused.
    NO_INCHES: NeedsUser "marlin/no-inches", "The program is in inches and this firmware does not know inches.",
        "Everything would be printed 25.4 times too small, so the print was stopped.",
        "Slice again in millimetres.";
    /// G2/G3 refused.
    NO_ARCS: NeedsUser "marlin/no-arcs", "The program holds arcs (G2/G3) and this firmware does not know them.",
        "It was built without arc support.",
        "Slice again with arc fitting switched off.";
    /// Emergency stop by us.
    ESTOP: NeedsUser "marlin/emergency-stop", "The printer was stopped by an emergency stop.",
        "Somebody pressed emergency stop.",
        "Reset the printer (its knob or mains switch), then reconnect.";
    /// The link went away in mid-print.
    LOST: Retry "marlin/link-lost", "The connection to the printer was lost.",
        "The cable was pulled, the printer was switched off, or the USB port failed.",
        "Check cable and power. The print cannot go on; its heaters may still be on.";
    /// The port takes no bytes.
    WRITE_STUCK: Retry "marlin/write-stuck", "The port takes no more data.",
        "The USB adapter or its driver hangs.",
        "Unplug the cable and plug it in again; look at the printer.";
    /// The printer did not come to rest.
    STOP_TIMEOUT: NeedsUser "marlin/stop-timeout", "The printer could not be brought to rest in time.",
        "It was busy with a long command when the service was to stop.",
        "Look at the printer: its heaters may still be on.";
    /// Nobody takes our events.
    ACTOR_STUCK: Bug "marlin/events-stuck", "The service does not take the printer's reports.",
        "This is a mistake in layerd.",
        "Please report it with the output of `layerd logs PRINTER --wire`.";
    /// Program cannot be read.
    PROGRAM_LOST: NeedsUser "marlin/program-unreadable", "The program can no longer be read.",
        "The file was changed, deleted, or the disk failed.",
        "Check the disk and print again.";
    /// Program with a command that must not be streamed.
    FORBIDDEN: NeedsUser "marlin/forbidden-command", "The program holds a command that cannot be streamed.",
        "It would write to the SD card, stop the printer or change its line numbers.",
        "Take the command out of the slicer's custom G-code.";
    /// Cap THERMAL_PROTECTION:0.
    UNPROTECTED: Warning "marlin/no-thermal-protection", "This printer's firmware has no thermal protection.",
        "It says so itself: a loose thermistor can set fire to it.",
        "Install a firmware with thermal protection; do not leave it alone.";
    /// Resume cannot heat up.
    REHEAT: NeedsUser "marlin/reheat-timeout", "The printer did not get warm again in time.",
        "A heater does not work, or its target was changed at the printer.",
        "Check the temperatures, then resume again or cancel.";
    /// Steppers may have slept.
    MOTORS_SLEPT: Warning "marlin/motors-slept", "The motors may have been without current during the pause.",
        "The firmware switches them off after a while and the head may have moved.",
        "Look at the first lines after resuming: cancel if the layers are shifted.";
    /// High resend ratio.
    NOISY: Warning "marlin/noisy-link", "Many lines arrive damaged at the printer.",
        "Nearly always a bad cable, a weak power supply, or motors too near to the cable.",
        "Use a short, shielded cable and check the power supply.";
    /// NUL bytes from the printer.
    NULS: Warning "marlin/garbage", "The printer sends unreadable bytes.",
        "Bad wiring, ground loops, or a power supply that is too weak.",
        "Use another cable and check the power supply.";
    /// Temperature rises without target.
    WATCH_RISING: Warning "marlin/watch-rising", "A heater gets hotter although it is switched off.",
        "Its switch may be stuck on, or somebody heats it by other means.",
        "Look at the printer at once. Switch it off at the mains if the heater glows or smells.";
    /// Temperature far above target.
    WATCH_OVERSHOOT: Warning "marlin/watch-overshoot", "A heater is far above its wanted temperature.",
        "Its switch may be stuck on, or its thermistor has slipped.",
        "Look at the printer at once. Switch it off at the mains if it does not cool.";
    /// Heater without effect.
    WATCH_COLD: Warning "marlin/watch-not-heating", "A heater is on but does not get warmer.",
        "The heater or its cable may be broken, or the thermistor has come off.",
        "Check the heater; cancel the print if it stays so.";
    /// A heater that makes the watch stop the printer.
    WATCH_STOP: NeedsUser "marlin/watch-stop", "layerd stopped the printer: a heater was out of control.",
        "Its temperature rose dangerously without being asked to.",
        "Switch the printer off at the mains. Check heater, thermistor and mainboard.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_error_lines_find_their_row() {
        for (line, code, gravity) in [
            (
                "Thermal Runaway, system stopped! Heater_ID: 0",
                "marlin/thermal-runaway",
                Gravity::Halts,
            ),
            (
                "Heating failed, system stopped! Heater_ID: bed",
                "marlin/heating-failed",
                Gravity::Halts,
            ),
            (
                "Thermal Malfunction, system stopped! Heater_ID: 0",
                "marlin/thermal-malfunction",
                Gravity::Halts,
            ),
            (
                "MAXTEMP triggered, system stopped! Heater_ID: 0",
                "marlin/maxtemp",
                Gravity::Halts,
            ),
            (
                "0: Extruder switched off. MINTEMP triggered !",
                "marlin/mintemp",
                Gravity::Halts,
            ),
            ("Homing Failed", "marlin/homing-failed", Gravity::Halts),
            ("Probing Failed", "marlin/probing-failed", Gravity::EndsJob),
            ("M112 Shutdown", "marlin/emergency-stop", Gravity::Halts),
            (
                "EMERGENCY SHUTDOWN DETECTED. KILLED.",
                "marlin/emergency-stop",
                Gravity::Halts,
            ),
            ("Printer halted. kill() called!", "marlin/killed", Gravity::Halts),
            (
                "Printer stopped due to errors. Fix the error and use M999 to restart.",
                "marlin/stopped",
                Gravity::EndsJob,
            ),
            (
                "Lost communication with MCU: Shutdown",
                "marlin/shutdown",
                Gravity::Halts,
            ),
            ("volume.init failed", "marlin/sd-card", Gravity::Warns),
            ("SD init fail", "marlin/sd-card", Gravity::Harmless),
            ("open failed, File: x.gco.", "marlin/sd-file", Gravity::Warns),
            ("error writing to file", "marlin/sd-write", Gravity::Warns),
            (
                " cold extrusion prevented",
                "marlin/cold-extrusion",
                Gravity::Warns,
            ),
            (
                "Cold extrude (12) prevented",
                "marlin/cold-extrusion",
                Gravity::Warns,
            ),
            (
                "too long extrusion prevented",
                "marlin/long-extrusion",
                Gravity::Warns,
            ),
            ("T1 Invalid extruder", "marlin/no-such-tool", Gravity::Warns),
            ("G2/G3 bad parameters", "marlin/bad-arc", Gravity::EndsJob),
            ("Home XYZ First", "marlin/not-homed", Gravity::Warns),
            ("stop called", "marlin/stopped", Gravity::EndsJob),
            ("position unknown", "marlin/not-homed", Gravity::Warns),
            ("Full RX Buffer", "marlin/rx-overrun", Gravity::Warns),
        ] {
            let (g, fault) = of_line(line.as_bytes());
            assert_eq!((fault.code.as_ref(), g), (code, gravity), "{line}");
            assert_eq!(fault.raw.as_deref(), Some(line));
        }
        assert_eq!(of_line(b"something new").1.code, "marlin/error");
    }

    #[test]
    fn every_fault_says_what_why_and_what_to_do() {
        for fault in TABLE.iter().map(|r| &r.fault).chain(ALL) {
            assert!(fault.code.starts_with("marlin/"), "{fault:?}");
            for text in [&fault.what, &fault.why, &fault.remedy] {
                assert!(text.len() > 12 && text.ends_with('.'), "{fault:?}");
            }
        }
    }
}
