//! The end of the pass: what was collected becomes the result.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::analysis::{Analysis, Bounds, Filament, Heat, Layers, Motion, Slicer, Temps, Time};
use crate::index::Index;
use crate::knowledge::keys::Fact;
use crate::knowledge::values;
use crate::modal::to_mm;
use crate::simplyprint::{Extra, SimplyPrint, round2};

use super::kept::Group;
use super::pass::Pass;
use super::warn::Code as Warn;

impl Pass {
    /// The slicer's name as a container gives it.
    pub fn producer(&mut self, text: &str) {
        self.meta.producer(text);
    }

    /// The result.
    pub fn finish(&mut self, size: u64) -> (Analysis, Index) {
        self.settle();
        // Slicers that mark only where an object begins: what comes behind the last extrusion ends the print and
        // belongs to none.
        if self.objects.current().is_some() {
            self.objects.enter(None, self.object_end);
            self.index.object(self.object_end, None);
        }
        self.last_warnings();
        let model_s = self.planner.as_mut().map(|p| p.finish()).filter(|s| *s > 0.0);
        if let Some(planner) = &mut self.planner {
            self.index.times(planner.resolved());
        }
        let index = self.index.finish(size, model_s, &self.modal);
        let (bounds, radius2) = self.bounds();
        let layers = self.layer_facts(&bounds);
        let slicer = self.meta.slicer.take();
        let filament = self.filament();
        let mut temps = self.temps();
        self.preset_temps(&mut temps, &filament);
        let mut analysis = Analysis {
            size,
            slicer: Slicer {
                name: slicer.as_ref().map(|s| s.name.clone()),
                version: slicer.and_then(|s| s.version),
            },
            flavor: self.flavor(),
            lines: self.lines,
            commands: self.commands,
            size_mm: bounds.part.map(|part| {
                let ([x0, y0, z0], [x1, y1, z1]) = (part.min, part.max);
                // The first layer lies between the bed and its own height.
                let below = layers.first_mm.unwrap_or(z0);
                [x1 - x0, y1 - y0, z1 - z0 + below].map(round3)
            }),
            layers,
            bounds,
            time: Time {
                slicer_s: self.meta.estimate_s(),
                model_s: model_s.map(|s| (s * 10.0).round() / 10.0),
            },
            temps,
            objects: self.objects.finish(),
            thumbnails: std::mem::take(&mut self.thumbnails),
            printer_model: self
                .meta
                .text(Fact::PrinterModel)
                .map(unquoted)
                .filter(|t| !t.is_empty()),
            nozzles_mm: self
                .meta
                .numbers(Fact::Nozzle)
                .into_iter()
                .flatten()
                .filter(|n| *n > 0.0)
                .collect(),
            bed_type: self
                .meta
                .text(Fact::BedType)
                .map(unquoted)
                .filter(|t| !t.is_empty()),
            plate: None,
            plates: Vec::new(),
            pauses: std::mem::take(&mut self.pauses),
            macros: std::mem::take(&mut self.macros_seen),
            max_speed_mm_s: (self.max_feed > 0).then(|| round2(to_mm(self.max_feed) / 60.0)),
            motion: self.motion(),
            filament,
            warnings: std::mem::take(&mut self.warnings).finish(),
            ..Analysis::default()
        };
        let extra = Extra {
            radius_mm: radius2.map(f64::sqrt),
            materials: self.materials(&analysis),
            nozzles: self.nozzles(&analysis),
        };
        analysis.simplyprint = SimplyPrint::of(&analysis, extra);
        (analysis, index)
    }

    fn last_warnings(&mut self) {
        if !self.terminated {
            self.warn(Warn::NoFinalNewline, None);
        }
        if self.objects.overflow {
            self.warnings.note(Warn::TooManyObjects, None, None);
        }
        if self.commands == 0 || (self.travel.is_empty() && !self.extruded_any) {
            self.warnings.note(Warn::NoMoves, None, None);
        }
        let name = self
            .meta
            .slicer
            .as_ref()
            .map(|s| s.name.clone())
            .unwrap_or_default();
        if !self.meta.tail && self.extruded_any && crate::meta::always_has_tail(&name) {
            self.warnings.note(Warn::MissingEnd, Some(self.lines), None);
        }
        if self.extruded_any && !self.start_macro {
            let hot = self
                .modal
                .tool_targets
                .iter()
                .position(|t| t.is_some_and(|t| t > 0));
            if let Some(tool) = hot {
                self.warnings
                    .note(Warn::HeaterLeftOn, None, Some(format!("nozzle {tool}")));
            }
        }
    }

    /// Boxes, and the squared radius of the part.
    fn bounds(&self) -> (Bounds, Option<f64>) {
        let mut extruding = self.before.area;
        extruding.join(&self.part.area);
        extruding.join(&self.apart.area);
        let mut all = extruding;
        all.join(&self.travel);
        // With layer marks, what lies before the first is start code. Without any it is the part.
        let part = [self.part, self.before, self.apart]
            .into_iter()
            .find(|g: &Group| !g.area.is_empty());
        let bounds = Bounds {
            extruding: extruding.to_box(),
            all: all.to_box(),
            part: part.and_then(|group| group.area.to_box()),
        };
        (bounds, part.map(|group| group.radius2))
    }

    fn layer_facts(&self, bounds: &Bounds) -> Layers {
        let marked = (self.layers.layer() > 0).then_some(self.layers.layer());
        let heights = &self.heights.seen;
        let by_height = (!heights.is_empty()).then(|| u32::try_from(heights.len()).unwrap_or(u32::MAX));
        let stated = self
            .meta
            .number(Fact::LayerCount)
            .filter(|n| *n >= 1.0 && *n < 1e9)
            .map(|n| n as u32);
        let height = self
            .meta
            .text(Fact::LayerHeight)
            .and_then(|t| values::height_mm(t, None));
        let [first_mark, other_mark] = self.height_marks.map(|h| h.map(to_mm).filter(|h| *h > 0.0));
        let height_mm = height.or(other_mark).or_else(|| usual_step(heights));
        let first_mm = self
            .meta
            .text(Fact::FirstLayerHeight)
            .and_then(|t| values::height_mm(t, height_mm))
            .or(first_mark)
            .or_else(|| {
                bounds
                    .part
                    .map(|part| {
                        let [.., z] = part.min;
                        z
                    })
                    .filter(|z| *z > 0.0 && *z < 2.0)
            });
        Layers {
            count: marked.or(stated).or(by_height),
            first_mm: first_mm.map(round3),
            height_mm: height_mm.map(round3),
        }
    }

    fn flavor(&self) -> Option<String> {
        let stated = self
            .meta
            .text(Fact::Flavor)
            .map(unquoted)
            .filter(|t| !t.is_empty());
        // The cloud writes them with a capital: `Marlin`, `Griffin`.
        stated.map(|text| match text.as_str() {
            "marlin" | "marlin2" => "Marlin".to_owned(),
            "klipper" => "Klipper".to_owned(),
            "reprap" | "reprapfirmware" => "RepRap".to_owned(),
            "repetier" => "Repetier".to_owned(),
            _ => text,
        })
    }

    fn filament(&self) -> Vec<Filament> {
        let lengths = self.by_tool(Fact::FilamentLength);
        let weights = self.by_tool(Fact::FilamentWeight);
        let volumes = self.meta.numbers(Fact::FilamentVolume);
        let (densities, diameters) = (
            self.meta.numbers(Fact::Density),
            self.meta.numbers(Fact::Diameter),
        );
        let (materials, colors) = (self.meta.texts(Fact::Material), self.meta.texts(Fact::Color));
        // The slicer's own word for E in mm³ stands in its footer: too late for the moves.
        let late = self.meta.text(Fact::VolumetricE) == Some("1") && !self.volumetric;
        let fed = self
            .modal
            .fed
            .iter()
            .map(|fed| to_mm(fed.peak))
            .collect::<Vec<_>>();
        let tools = fed.len().max(
            lengths
                .iter()
                .rposition(|l| l.is_some_and(|l| l > 0.0))
                .map_or(0, |at| at + 1),
        );
        let at = |list: &[Option<f64>], tool: usize| list.get(tool).or(list.first()).copied().flatten();
        (0..tools)
            .filter_map(|tool| {
                let diameter = at(&diameters, tool).filter(|d| *d > 0.0);
                let area = diameter.map(|d| std::f64::consts::FRAC_PI_4 * d * d);
                let mut moved = fed.get(tool).copied().filter(|mm| *mm > 0.0);
                if late && let Some(area) = area {
                    moved = moved.map(|mm3| mm3 / area);
                }
                let stated = lengths.get(tool).copied().flatten();
                let volume = volumes.get(tool).copied().flatten().filter(|v| *v > 0.0);
                let slicer_mm = stated.or_else(|| Some(volume? / area?));
                let mm = moved.or(slicer_mm.filter(|mm| *mm > 0.0))?;
                let weighed = weights.get(tool).copied().flatten().filter(|g| *g > 0.0);
                let density = at(&densities, tool).filter(|d| *d > 0.0);
                let g = weighed.or_else(|| Some(mm * area? * density? / 1000.0));
                let text = |list: &[String]| list.get(tool).cloned().filter(|t| !t.is_empty());
                Some(Filament {
                    tool: u32::try_from(tool).unwrap_or(u32::MAX),
                    mm: Some(round3(mm)),
                    g: g.map(round2),
                    material: text(&materials),
                    color: text(&colors),
                    slicer_mm,
                })
            })
            .collect()
    }

    /// A per-tool list; Bambu's speak of the used slots only and name them apart.
    fn by_tool(&self, fact: Fact) -> Vec<Option<f64>> {
        let list = self.meta.numbers(fact);
        let slots: Vec<_> = self
            .meta
            .numbers(Fact::FilamentSlots)
            .into_iter()
            .flatten()
            .collect();
        if slots.is_empty() || slots.len() != list.len() {
            return list;
        }
        let mut spread = Vec::new();
        for (slot, value) in slots.iter().zip(list) {
            let tool = (*slot as usize).saturating_sub(1).min(63);
            if spread.len() <= tool {
                spread.resize(tool + 1, None);
            }
            if let Some(place) = spread.get_mut(tool) {
                *place = value;
            }
        }
        spread
    }

    fn temps(&self) -> Temps {
        let tools: BTreeMap<String, Heat> = self
            .heats
            .iter()
            .enumerate()
            .map(|(tool, heated)| (tool.to_string(), heated.heat()))
            .filter(|(_, heat)| heat.max.is_some())
            .collect();
        Temps {
            tools,
            bed: self.bed.heat(),
            chamber: self.chamber.heat(),
        }
    }

    /// What no command set, the slicer's settings may tell.
    fn preset_temps(&self, temps: &mut Temps, filament: &[Filament]) {
        let of = |first: Fact, other: Fact, tool: usize| {
            let list = |fact| {
                let list = self.meta.numbers(fact);
                list.get(tool)
                    .or(list.first())
                    .copied()
                    .flatten()
                    .filter(|c| *c > 0.0 && *c < 1000.0)
            };
            let (first, other) = (list(first), list(other));
            let max = first.into_iter().chain(other).reduce(f64::max)?;
            Some(Heat {
                first: first.or(other),
                max: Some(max),
                print: first.or(other),
            })
        };
        for used in filament {
            let key = used.tool.to_string();
            if !temps.tools.contains_key(&key)
                && let Some(heat) = of(Fact::FirstToolTemp, Fact::ToolTemp, used.tool as usize)
            {
                temps.tools.insert(key, heat);
            }
        }
        if temps.bed.max.is_none() {
            let plate = self
                .meta
                .text(Fact::BedType)
                .map(unquoted)
                .unwrap_or_default()
                .to_lowercase();
            let fact = match plate.as_str() {
                p if p.starts_with("cool") => Some(Fact::CoolPlateTemp),
                p if p.starts_with("eng") => Some(Fact::EngPlateTemp),
                p if p.starts_with("high") => Some(Fact::HotPlateTemp),
                p if p.starts_with("textured") => Some(Fact::TexturedPlateTemp),
                p if p.starts_with("super") => Some(Fact::SupertackPlateTemp),
                _ => None,
            };
            // One bed under several filaments is as hot as the one that wants most.
            let hottest = |first: Fact, other: Fact| {
                let tools = filament.iter().map(|used| used.tool as usize);
                let wanted = tools.filter_map(|tool| of(first, other, tool));
                wanted.reduce(|a, b| if b.first > a.first { b } else { a })
            };
            temps.bed = fact
                .and_then(|fact| hottest(fact, fact))
                .or_else(|| hottest(Fact::FirstBedTemp, Fact::BedTemp))
                .unwrap_or_default();
        }
        if temps.chamber.max.is_none() {
            temps.chamber = of(Fact::ChamberTemp, Fact::ChamberTemp, 0).unwrap_or_default();
        }
    }

    fn motion(&self) -> Motion {
        let [all, xyz, e] = self.strokes;
        Motion {
            xyz_relative: xyz * 2 > all,
            e_relative: e * 2 > all,
            inches: self.inches,
            arcs: self.arcs,
            volumetric: self.volumetric || self.meta.text(Fact::VolumetricE) == Some("1"),
            firmware_retraction: self.firmware_retraction,
        }
    }

    /// Material facts per tool, `{}` for one that is not used.
    fn materials(&self, analysis: &Analysis) -> Vec<Value> {
        let texts = |fact| self.meta.texts(fact);
        let (types, colors, vendors) = (texts(Fact::Material), texts(Fact::Color), texts(Fact::Vendor));
        let (codes, presets) = (texts(Fact::FilamentCode), texts(Fact::FilamentPreset));
        let (densities, diameters) = (
            self.meta.numbers(Fact::Density),
            self.meta.numbers(Fact::Diameter),
        );
        let Some(last) = analysis.filament.iter().map(|f| f.tool as usize).max() else {
            return Vec::new();
        };
        if types.is_empty() || last >= 64 {
            return Vec::new();
        }
        (0..=last)
            .map(|tool| {
                if !analysis.filament.iter().any(|f| f.tool as usize == tool) {
                    return json!({});
                }
                let mut one = Map::new();
                let text = |list: &[String]| list.get(tool).filter(|t| !t.is_empty()).map(|t| json!(t));
                let number = |list: &[Option<f64>]| list.get(tool).copied().flatten().map(|n| json!(n));
                for (key, value) in [
                    ("type", text(&types)),
                    ("color", text(&colors)),
                    ("density", number(&densities)),
                    ("diameter", number(&diameters)),
                    ("vendor", text(&vendors)),
                    ("filamentId", text(&codes)),
                    ("settingId", text(&presets)),
                    (
                        "nozzle",
                        self.nozzle_of(tool, analysis.nozzles_mm.len()).map(|n| json!(n)),
                    ),
                ] {
                    if let Some(value) = value {
                        one.insert(key.to_owned(), value);
                    }
                }
                Value::Object(one)
            })
            .collect()
    }

    /// Which nozzle a filament goes through: the slicer's own word, else one nozzle for each tool or one for all.
    fn nozzle_of(&self, tool: usize, nozzles: usize) -> Option<usize> {
        let stated = self
            .meta
            .numbers(Fact::FilamentNozzle)
            .get(tool)
            .copied()
            .flatten();
        match stated {
            Some(number) => (number as usize).checked_sub(1),
            None if nozzles > 1 => Some(tool).filter(|tool| *tool < nozzles),
            None => Some(0),
        }
    }

    fn nozzles(&self, analysis: &Analysis) -> Vec<Value> {
        let (types, volumes) = (
            self.meta.texts(Fact::NozzleType),
            self.meta.texts(Fact::NozzleVolume),
        );
        let describe = |(i, size): (usize, &f64)| {
            let mut one = Map::new();
            one.insert("size".to_owned(), json!(size));
            for (key, list) in [("type", &types), ("volumeType", &volumes)] {
                if let Some(text) = list.get(i).or(list.first()).filter(|t| !t.is_empty()) {
                    one.insert(key.to_owned(), json!(text));
                }
            }
            Value::Object(one)
        };
        analysis.nozzles_mm.iter().enumerate().map(describe).collect()
    }
}

/// The step that most layers take.
fn usual_step(heights: &[i64]) -> Option<f64> {
    let mut steps: Vec<i64> = heights
        .iter()
        .zip(heights.iter().skip(1))
        .map(|(a, b)| b - a)
        .collect();
    let middle = steps.len() / 2;
    if steps.is_empty() {
        return None;
    }
    let (_, step, _) = steps.select_nth_unstable(middle);
    Some(to_mm(*step)).filter(|step| *step > 0.0 && *step < 5.0)
}

fn unquoted(text: &str) -> String {
    text.trim().trim_matches('"').to_owned()
}

fn round3(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
