//! Which key of which slicer says what. One row per key; of several that say the same the one with
//! the lowest rank counts, and of equals the first in the file (a header beats a footer: Orca's
//! footer was seen to count two layers too many).

/// A fact about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Fact {
    /// The estimate, a duration.
    Estimate,
    /// Filament per tool, lengths.
    FilamentLength,
    /// Filament per tool, g.
    FilamentWeight,
    /// Filament per tool, mm³.
    FilamentVolume,
    /// 1-based slots that the filament lists speak of (Bambu).
    FilamentSlots,
    /// Material per tool.
    Material,
    /// Colour per tool.
    Color,
    /// Maker of the filament per tool.
    Vendor,
    /// Bambu's filament code per tool.
    FilamentCode,
    /// 1-based nozzle per filament (printers with two nozzles).
    FilamentNozzle,
    /// Name of the filament preset per tool.
    FilamentPreset,
    /// g/cm³ per tool.
    Density,
    /// mm per tool.
    Diameter,
    /// mm per tool.
    Nozzle,
    /// `hardened_steel`…
    NozzleType,
    /// `Standard`, `High Flow`.
    NozzleVolume,
    /// mm.
    LayerHeight,
    /// mm, or percent of the layer height.
    FirstLayerHeight,
    /// Layers.
    LayerCount,
    /// Plate.
    BedType,
    /// Printer.
    PrinterModel,
    /// Flavour.
    Flavor,
    /// °C per tool.
    FirstToolTemp,
    /// °C per tool.
    ToolTemp,
    /// °C per tool.
    FirstBedTemp,
    /// °C per tool.
    BedTemp,
    /// °C per tool.
    ChamberTemp,
    /// °C for one kind of plate.
    CoolPlateTemp,
    /// °C for one kind of plate.
    EngPlateTemp,
    /// °C for one kind of plate.
    HotPlateTemp,
    /// °C for one kind of plate.
    TexturedPlateTemp,
    /// °C for one kind of plate.
    SupertackPlateTemp,
    /// E is in mm³.
    VolumetricE,
    /// The firmware retracts.
    FirmwareRetraction,
    /// mm/s².
    Acceleration,
    /// mm/s².
    TravelAcceleration,
    /// Klipper: mm/s², from a profile.
    MaxAccelX,
    /// mm/s.
    MaxSpeedX,
    /// mm/s.
    JerkX,
    /// Bambu's label ids.
    LabelIds,
    /// Number of objects (Cura, ideaMaker).
    Plate,
}

/// How many facts there are.
pub const FACTS: usize = Fact::Plate as usize + 1;

/// Longest key, bytes.
pub const MAX_KEY: usize = 64;

/// Keys in lower case, sorted.
const ROWS: &[(&str, Fact, u8)] = &[
    ("bed_c", Fact::BedTemp, 1),
    ("bed_temperature", Fact::BedTemp, 0),
    ("bed_temperature_initial_layer", Fact::FirstBedTemp, 1),
    ("build time", Fact::Estimate, 0),
    ("build_plate.initial_temperature", Fact::FirstBedTemp, 0),
    ("calculated-during-export build time", Fact::Estimate, 0),
    ("chamber_temperature", Fact::ChamberTemp, 1),
    ("chamber_temperatures", Fact::ChamberTemp, 0),
    ("cool_plate_temp", Fact::CoolPlateTemp, 1),
    ("cool_plate_temp_initial_layer", Fact::CoolPlateTemp, 0),
    ("curr_bed_type", Fact::BedType, 0),
    ("default_acceleration", Fact::Acceleration, 0),
    ("eng_plate_temp", Fact::EngPlateTemp, 1),
    ("eng_plate_temp_initial_layer", Fact::EngPlateTemp, 0),
    ("estimated build time", Fact::Estimate, 1),
    ("estimated printing time", Fact::Estimate, 1),
    ("estimated printing time (normal mode)", Fact::Estimate, 0),
    ("estimated_print_time_s", Fact::Estimate, 0),
    ("extruder_colour", Fact::Color, 1),
    ("extruderdiameter", Fact::Nozzle, 0),
    ("filament", Fact::FilamentSlots, 0),
    ("filament cost", Fact::Plate, 9),
    ("filament length", Fact::FilamentLength, 0),
    ("filament used", Fact::FilamentLength, 0),
    ("filament used [cm3]", Fact::Plate, 9),
    ("filament used [g]", Fact::FilamentWeight, 0),
    ("filament used [mm]", Fact::FilamentLength, 0),
    ("filament_colour", Fact::Color, 0),
    ("filament_density", Fact::Density, 0),
    ("filament_diameter", Fact::Diameter, 0),
    ("filament_ids", Fact::FilamentCode, 0),
    ("filament_length_m", Fact::Plate, 9),
    ("filament_map", Fact::FilamentNozzle, 0),
    ("filament_settings_id", Fact::FilamentPreset, 0),
    ("filament_type", Fact::Material, 0),
    ("filament_used_mm", Fact::FilamentLength, 0),
    ("filament_vendor", Fact::Vendor, 0),
    ("first_layer_bed_temperature", Fact::FirstBedTemp, 0),
    ("first_layer_c", Fact::FirstToolTemp, 0),
    ("first_layer_height", Fact::FirstLayerHeight, 0),
    ("first_layer_temperature", Fact::FirstToolTemp, 0),
    ("flavor", Fact::Flavor, 0),
    ("gcode_flavor", Fact::Flavor, 0),
    ("hot_plate_temp", Fact::HotPlateTemp, 1),
    ("hot_plate_temp_initial_layer", Fact::HotPlateTemp, 0),
    ("initial_layer_height", Fact::FirstLayerHeight, 1),
    ("initial_layer_print_height", Fact::FirstLayerHeight, 0),
    ("layer count", Fact::LayerCount, 0),
    ("layer height", Fact::LayerHeight, 0),
    ("layer_count", Fact::LayerCount, 0),
    ("layer_height", Fact::LayerHeight, 0),
    ("layerheight", Fact::LayerHeight, 0),
    ("machine_max_acceleration_x", Fact::MaxAccelX, 0),
    ("machine_max_jerk_x", Fact::JerkX, 0),
    ("machine_max_speed_x", Fact::MaxSpeedX, 0),
    ("material", Fact::FilamentVolume, 0),
    ("material length", Fact::FilamentLength, 0),
    ("material weight", Fact::FilamentWeight, 0),
    ("model label id", Fact::LabelIds, 0),
    ("nozzle_diameter", Fact::Nozzle, 0),
    ("nozzle_temperature", Fact::ToolTemp, 0),
    ("nozzle_temperature_initial_layer", Fact::FirstToolTemp, 0),
    ("nozzle_type", Fact::NozzleType, 0),
    ("nozzle_volume_type", Fact::NozzleVolume, 0),
    ("nozzlediameter", Fact::Nozzle, 0),
    ("plastic weight", Fact::FilamentWeight, 0),
    ("print time", Fact::Estimate, 0),
    ("print.time", Fact::Estimate, 0),
    ("printer_model", Fact::PrinterModel, 0),
    ("printer_settings_id", Fact::PrinterModel, 1),
    ("sliceheight", Fact::LayerHeight, 0),
    ("supertack_plate_temp", Fact::SupertackPlateTemp, 1),
    ("supertack_plate_temp_initial_layer", Fact::SupertackPlateTemp, 0),
    ("target_machine.name", Fact::PrinterModel, 0),
    ("temperature", Fact::ToolTemp, 0),
    ("textured_plate_temp", Fact::TexturedPlateTemp, 1),
    ("textured_plate_temp_initial_layer", Fact::TexturedPlateTemp, 0),
    ("time", Fact::Estimate, 0),
    ("total estimated time", Fact::Estimate, 0),
    ("total filament length [mm]", Fact::FilamentLength, 0),
    ("total filament weight [g]", Fact::FilamentWeight, 0),
    ("total layer number", Fact::LayerCount, 0),
    ("total layers count", Fact::LayerCount, 1),
    ("travel_acceleration", Fact::TravelAcceleration, 0),
    ("use_firmware_retraction", Fact::FirmwareRetraction, 0),
    ("use_volumetric_e", Fact::VolumetricE, 0),
];

/// Keys that carry a tool's number: before it, behind it, what they say, and the number of tool 0.
const NUMBERED: &[(&str, &str, Fact, u32)] = &[
    (
        "extruder_train.",
        ".material.volume_used",
        Fact::FilamentVolume,
        0,
    ),
    ("extruder_train.", ".initial_temperature", Fact::FirstToolTemp, 0),
    ("extruder_train.", ".nozzle.diameter", Fact::Nozzle, 0),
    ("material#", " used", Fact::FilamentLength, 1),
    ("filament density #", "", Fact::Density, 1),
    ("filament diameter #", "", Fact::Diameter, 1),
    ("filament type #", "", Fact::Material, 1),
    ("nozzle diameter #", "", Fact::Nozzle, 1),
    ("ext #", "", Fact::FilamentLength, 1),
];

/// The fact behind a key, and its rank.
pub fn fact_of(key: &str) -> Option<(Fact, u8)> {
    let at = ROWS.binary_search_by(|(known, ..)| (*known).cmp(key)).ok()?;
    ROWS.get(at)
        .map(|(_, fact, rank)| (*fact, *rank))
        .filter(|(_, rank)| *rank < 9)
}

/// The fact and the tool behind a key with a number in it.
pub fn numbered(key: &str) -> Option<(Fact, usize)> {
    NUMBERED.iter().find_map(|(before, behind, fact, first)| {
        let number: u32 = key
            .strip_prefix(before)?
            .strip_suffix(behind)?
            .trim()
            .parse()
            .ok()?;
        let tool = usize::try_from(number.checked_sub(*first)?).ok()?;
        (tool < 64).then_some((*fact, tool))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_in_lower_case() {
        for pair in ROWS.windows(2) {
            assert!(pair[0].0 < pair[1].0, "{} {}", pair[0].0, pair[1].0);
        }
        assert!(
            ROWS.iter()
                .all(|(key, ..)| key.len() <= MAX_KEY && *key == key.to_lowercase())
        );
    }

    #[test]
    fn keys_are_found() {
        assert_eq!(fact_of("layer_height"), Some((Fact::LayerHeight, 0)));
        assert_eq!(fact_of("filament cost"), None);
        assert_eq!(
            numbered("extruder_train.1.material.volume_used"),
            Some((Fact::FilamentVolume, 1))
        );
        assert_eq!(numbered("material#1 used"), Some((Fact::FilamentLength, 0)));
        assert_eq!(numbered("ext #1"), Some((Fact::FilamentLength, 0)));
        assert_eq!(numbered("material#0 used"), None);
    }
}
