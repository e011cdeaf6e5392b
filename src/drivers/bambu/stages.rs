//! What the printer is busy with inside a print, in words (`stg_cur`).

use crate::printer::model::PauseReason;

/// Words of the stages 0–77; codes and meanings as public clients list them.
static WORDS: &[&str] = &[
    "printing",
    "levelling the bed",
    "heating the bed",
    "vibration compensation",
    "changing filament",
    "paused by the program",
    "paused: filament ran out",
    "heating the nozzle",
    "calibrating the extrusion",
    "scanning the bed",
    "inspecting the first layer",
    "identifying the build plate",
    "calibrating the lidar",
    "homing",
    "cleaning the nozzle",
    "checking the nozzle temperature",
    "paused by a person",
    "paused: the front cover fell off",
    "calibrating the lidar",
    "calibrating the flow",
    "paused: nozzle temperature fault",
    "paused: bed temperature fault",
    "unloading filament",
    "paused: a motor lost steps",
    "loading filament",
    "calibrating the motor noise",
    "paused: the AMS is lost",
    "paused: the heat-break fan is too slow",
    "paused: chamber temperature fault",
    "cooling the chamber",
    "paused by G-code of the file",
    "motor noise demonstration",
    "paused: the nozzle is covered in filament",
    "paused: cutter error",
    "paused: first-layer error",
    "paused: the nozzle is clogged",
    "checking the accuracy",
    "calibrating the accuracy",
    "checking the accuracy",
    "calibrating the nozzle offset",
    "levelling the hot bed",
    "checking the quick release",
    "checking door and cover",
    "calibrating the laser",
    "checking the platform",
    "checking the camera",
    "calibrating the camera",
    "levelling the bed, first pass",
    "levelling the bed, second pass",
    "heating the chamber",
    "cooling the bed",
    "printing calibration lines",
    "checking the material",
    "calibrating the live camera",
    "waiting for the bed temperature",
    "checking the position of the material",
    "calibrating the cutter offset",
    "measuring the surface",
    "warming up evenly",
    "homing the blade",
    "calibrating the camera offset",
    "calibrating the blade",
    "testing the hotend change",
    "evening out the chamber temperature",
    "preparing the hotend",
    "calibrating the clump detection",
    "purifying the air",
    "measuring the rotary attachment",
    "moving above the purge chute",
    "cooling the nozzle",
    "moving to the middle of the bed",
    "fitting arcs",
    "checking the hotend type",
    "aligning the build plate",
    "looking for things above the bed",
    "looking for things below the bed",
    "extruding before the print",
    "preparing the AMS",
];

/// Words for a stage; `None` when there is nothing to say (idle). Unknown codes keep their number.
pub fn words(stage: i64) -> Option<String> {
    match stage {
        -1 | 255 => None,
        _ => Some(
            usize::try_from(stage)
                .ok()
                .and_then(|n| WORDS.get(n))
                .map_or_else(|| format!("stage {stage}"), |w| (*w).to_owned()),
        ),
    }
}

/// Why a print stands still, by its stage.
pub fn pause_reason(stage: Option<i64>, asked_by_us: bool) -> PauseReason {
    match stage {
        Some(6) => PauseReason::Runout,
        Some(4 | 22 | 24) => PauseReason::FilamentChange,
        Some(5 | 30) => PauseReason::Program,
        _ if asked_by_us => PauseReason::Requested,
        _ => PauseReason::Printer,
    }
}

/// Whether a stage is one in which the print stands still because something is wrong.
pub fn is_trouble(stage: i64) -> bool {
    matches!(stage, 6 | 17 | 20 | 21 | 23 | 26 | 27 | 28 | 32 | 33 | 34 | 35)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_stage_has_words_and_unknown_ones_keep_their_number() {
        assert_eq!(words(0).as_deref(), Some("printing"));
        assert_eq!(words(14).as_deref(), Some("cleaning the nozzle"));
        assert_eq!(words(35).as_deref(), Some("paused: the nozzle is clogged"));
        assert_eq!(words(39).as_deref(), Some("calibrating the nozzle offset"));
        assert_eq!(words(58).as_deref(), Some("warming up evenly"));
        assert_eq!(words(77).as_deref(), Some("preparing the AMS"));
        assert_eq!(words(78).as_deref(), Some("stage 78"));
        assert_eq!((words(-1), words(255)), (None, None));
    }

    #[test]
    fn a_runout_is_told_from_a_press_on_the_screen() {
        assert_eq!(pause_reason(Some(6), true), PauseReason::Runout);
        assert_eq!(pause_reason(Some(16), true), PauseReason::Requested);
        assert_eq!(pause_reason(Some(16), false), PauseReason::Printer);
    }
}
