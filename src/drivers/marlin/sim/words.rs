//! What the firmware says about itself.

use super::Sim;

const VERSION: &str = "Marlin 2.1.2.5 (layerd simulator)";

pub(super) fn banner(sim: &mut Sim) {
    let card = if sim.card.is_present() {
        "echo:SD card ok"
    } else {
        "echo:No SD card"
    };
    let cause = sim.boot_cause;
    for line in [
        "start",
        cause,
        VERSION,
        "echo: Last Updated: 2024-11-01 | Author: (none, default config)",
        "echo: Compiled: Nov  1 2024",
        "echo: Free Memory: 3841  PlannerBufferBytes: 1280",
        "echo:No EEPROM.",
        card,
    ] {
        sim.say(line);
    }
}

/// Lines of M115 before its `ok`.
pub(super) fn capabilities(sim: &Sim) -> Vec<String> {
    let options = &sim.options;
    let mut lines = vec![format!(
        "FIRMWARE_NAME:{VERSION} SOURCE_CODE_URL:github.com/MarlinFirmware/Marlin PROTOCOL_VERSION:1.0 \
         MACHINE_TYPE:layerd simulated printer EXTRUDER_COUNT:{} UUID:cede2a2f-41a2-4748-9b12-c55c62f367ff",
        options.extruders
    )];
    let caps = [
        ("SERIAL_XON_XOFF", false),
        ("BINARY_FILE_TRANSFER", false),
        ("EEPROM", false),
        ("VOLUMETRIC", true),
        ("AUTOREPORT_POS", true),
        ("AUTOREPORT_TEMP", true),
        ("PROGRESS", true),
        ("PRINT_JOB", true),
        ("AUTOLEVEL", false),
        ("RUNOUT", false),
        ("Z_PROBE", false),
        ("LEVELING_DATA", false),
        ("BUILD_PERCENT", true),
        ("SOFTWARE_POWER", false),
        ("TOGGLE_LIGHTS", false),
        ("CASE_LIGHT_BRIGHTNESS", false),
        ("EMERGENCY_PARSER", options.emergency_parser),
        ("HOST_ACTION_COMMANDS", true),
        ("PROMPT_SUPPORT", true),
        ("SDCARD", sim.card.is_present()),
        ("MULTI_VOLUME", false),
        ("REPEAT", false),
        ("SD_WRITE", sim.card.is_present()),
        ("AUTOREPORT_SD_STATUS", sim.card.is_present()),
        ("LONG_FILENAME", true),
        ("LFN_WRITE", false),
        ("CUSTOM_FIRMWARE_UPLOAD", false),
        ("EXTENDED_M20", true),
        ("THERMAL_PROTECTION", true),
        ("MOTION_MODES", false),
        ("ARCS", options.arcs),
        ("BABYSTEPPING", true),
        ("EP_BABYSTEP", false),
        ("CHAMBER_TEMPERATURE", options.chamber),
        ("COOLER_TEMPERATURE", false),
        ("MEATPACK", false),
        ("CONFIG_EXPORT", false),
    ];
    lines.extend(caps.map(|(name, on)| format!("Cap:{name}:{}", u8::from(on))));
    lines.push(
        "area:{full:{min:{x:0.0000,y:0.0000,z:0.0000},max:{x:220.0000,y:220.0000,z:250.0000}},\
         work:{min:{x:0.0000,y:0.0000,z:0.0000},max:{x:220.0000,y:220.0000,z:250.0000}}}"
            .to_owned(),
    );
    lines
}
