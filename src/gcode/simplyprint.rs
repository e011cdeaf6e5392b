//! The analysis object of SimplyPrint's API, version 12.
//!
//! All keys are always written, `null` where unknown. Read leniently: every key may be missing, as
//! in the older version 5.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::analysis::{Analysis, Box3};

/// The object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SimplyPrint {
    /// 12.
    pub v: u32,
    /// Where it prints: X, Y and `minZ` of the part, `maxZ` over all moves.
    pub print_area: Option<PrintArea>,
    /// Relative modes in force while the part is printed.
    pub movement: Option<Movement>,
    /// Wanted temperatures.
    pub temps: SpTemps,
    /// Extent of the part; `z` counts from the first layer.
    pub model_size: Option<ModelSize>,
    /// Material per tool; `{}` for one that is not used.
    pub material_data: Option<Vec<Value>>,
    /// Who sliced it.
    pub slicer: Option<String>,
    /// Seconds.
    pub estimate: Option<i64>,
    /// mm per tool, up to the highest used.
    pub filament: Option<Vec<f64>>,
    /// First nozzle, mm.
    pub nozzle_size: Option<f64>,
    /// All nozzles.
    pub nozzles: Option<Vec<Value>>,
    /// Build plate.
    pub bed_type: Option<String>,
    /// `Marlin`, `Griffin`…
    pub gcode_flavor: Option<String>,
    /// mm.
    pub layer_height: Option<f64>,
    /// mm.
    pub first_layer_height: Option<f64>,
    /// Layers.
    pub total_layers: Option<u32>,
    /// As written.
    pub slicer_version: Option<String>,
    /// Largest distance of an extruded point from the origin, mm.
    pub min_delta_radius: Option<f64>,
    /// Printer model it was sliced for.
    pub for_printer_model: Option<String>,
    /// `null` in every known sample; its shape is not known.
    pub objects: Option<Value>,
}

/// Where it prints, machine coordinates, mm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PrintArea {
    /// mm.
    pub min_x: f64,
    /// mm.
    pub max_x: f64,
    /// mm.
    pub min_y: f64,
    /// mm.
    pub max_y: f64,
    /// First layer.
    pub min_z: f64,
    /// Highest move of any kind.
    pub max_z: f64,
}

/// Relative modes, 0 or 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Movement {
    /// X, Y, Z.
    pub m_relative: u8,
    /// E.
    pub e_relative: u8,
}

/// Wanted temperatures, °C.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SpTemps {
    /// Bed.
    pub bed: Option<f64>,
    /// `T0`…, tools that are used.
    pub tool: BTreeMap<String, f64>,
    /// Highest of them.
    pub max_tool: Option<f64>,
}

/// Extent, mm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelSize {
    /// Width.
    pub x: f64,
    /// Depth.
    pub y: f64,
    /// Top less first layer.
    pub z: f64,
}

/// What the analysis itself does not carry.
#[derive(Clone, Debug, Default)]
pub struct Extra {
    /// Largest distance of an extruded point from the origin, mm.
    pub radius_mm: Option<f64>,
    /// Material facts per tool.
    pub materials: Vec<Value>,
    /// Nozzle facts.
    pub nozzles: Vec<Value>,
}

impl SimplyPrint {
    /// From an analysis that is otherwise complete.
    pub fn of(analysis: &Analysis, extra: Extra) -> SimplyPrint {
        let part = analysis.bounds.part;
        let tools = analysis.filament.iter().map(|f| f.tool as usize + 1).max();
        let filament = tools.filter(|n| *n <= super::modal::MAX_TOOLS).map(|n| {
            let mut all = vec![0.0; n];
            for one in &analysis.filament {
                if let (Some(place), Some(mm)) = (all.get_mut(one.tool as usize), one.mm) {
                    *place = round2(mm);
                }
            }
            all
        });
        let tool: BTreeMap<String, f64> = analysis
            .filament
            .iter()
            .filter(|f| f.mm.is_some_and(|mm| mm > 0.0))
            .filter_map(|f| {
                let heat = analysis.temps.tools.get(&f.tool.to_string())?;
                Some((
                    format!("T{}", f.tool),
                    heat.print.filter(|c| *c > 0.0).or(heat.first)?,
                ))
            })
            .collect();
        let max_tool = tool.values().copied().reduce(f64::max);
        SimplyPrint {
            v: 12,
            print_area: part.map(|part| print_area(part, analysis.bounds.all)),
            movement: part.map(|_| Movement {
                m_relative: u8::from(analysis.motion.xyz_relative),
                e_relative: u8::from(analysis.motion.e_relative),
            }),
            temps: SpTemps {
                bed: analysis.temps.bed.print.or(analysis.temps.bed.first),
                tool,
                max_tool,
            },
            model_size: part.map(model_size),
            material_data: (!extra.materials.is_empty()).then_some(extra.materials),
            slicer: analysis.slicer.name.clone(),
            estimate: analysis.estimate_s().map(|s| s.round() as i64),
            filament,
            nozzle_size: analysis.nozzles_mm.first().copied(),
            nozzles: (!extra.nozzles.is_empty()).then_some(extra.nozzles),
            bed_type: analysis.bed_type.clone(),
            gcode_flavor: analysis.flavor.clone(),
            layer_height: analysis.layers.height_mm,
            first_layer_height: analysis.layers.first_mm,
            total_layers: analysis.layers.count,
            slicer_version: analysis.slicer.version.clone(),
            min_delta_radius: extra.radius_mm.map(round2),
            for_printer_model: analysis.printer_model.clone(),
            objects: None,
        }
    }
}

fn print_area(part: Box3, all: Option<Box3>) -> PrintArea {
    let ([min_x, min_y, min_z], [max_x, max_y, top]) = (part.min, part.max);
    let [.., max_z] = all.map_or(part.max, |all| all.max);
    PrintArea {
        min_x: round2(min_x),
        max_x: round2(max_x),
        min_y: round2(min_y),
        max_y: round2(max_y),
        min_z: round2(min_z),
        max_z: round2(max_z.max(top)),
    }
}

fn model_size(part: Box3) -> ModelSize {
    let ([min_x, min_y, min_z], [max_x, max_y, max_z]) = (part.min, part.max);
    ModelSize {
        x: round2(max_x - min_x),
        y: round2(max_y - min_y),
        z: round2(max_z - min_z),
    }
}

/// Two decimals, as the cloud has them.
pub fn round2(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_written_and_none_is_needed() {
        let value = serde_json::to_value(SimplyPrint::of(&Analysis::default(), Extra::default())).unwrap();
        let keys: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        assert_eq!(
            keys,
            [
                "v",
                "printArea",
                "movement",
                "temps",
                "modelSize",
                "materialData",
                "slicer",
                "estimate",
                "filament",
                "nozzleSize",
                "nozzles",
                "bedType",
                "gcodeFlavor",
                "layerHeight",
                "firstLayerHeight",
                "totalLayers",
                "slicerVersion",
                "minDeltaRadius",
                "forPrinterModel",
                "objects"
            ]
        );
        let old: SimplyPrint =
            serde_json::from_str(r#"{"v":5,"filament":[8.15],"temps":{"bed":60,"pset":1}}"#).unwrap();
        assert_eq!(
            (old.v, old.filament, old.temps.bed),
            (5, Some(vec![8.15]), Some(60.0))
        );
    }
}
