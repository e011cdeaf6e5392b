//! The material system: units, slots, what lies in them.

use super::lenient::{Object, hex};
use super::report::{Ams, Tray as TrayNow, Unit as UnitNow};
use crate::printer::model::{MaterialPlace, MaterialSlot};
use crate::sorted;

/// Position of an external spool, as the cloud counts.
const EXTERNAL: u16 = 256;
/// External spools, as starts name them: of the main nozzle, of the left one of two.
pub const MAIN_SPOOL: i64 = 255;
/// See [`MAIN_SPOOL`].
pub const LEFT_SPOOL: i64 = 254;

/// Units kept; there are four kinds of ids, 17 in all.
const UNITS_MAX: usize = 24;

/// A place for a spool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tray {
    /// Slot in its unit, or 254/255 for an external spool.
    pub id: i64,
    /// Presence as the slot itself tells.
    pub state: Option<i64>,
    /// Filament id (`GFA00`).
    pub filament_id: Option<String>,
    /// `PLA`.
    pub material: Option<String>,
    /// `PLA Matte`.
    pub brand: Option<String>,
    /// RRGGBBAA.
    pub color: Option<String>,
    /// Percent left, where the firmware estimates it.
    pub remain_percent: Option<u8>,
}

/// One unit with its slots.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unit {
    /// 0–3 AMS, 16 lite of an A2L, 128–135 HT.
    pub id: i64,
    /// 1–5 as the firmware counts.
    pub humidity_index: Option<i64>,
    /// Percent.
    pub humidity_percent: Option<i64>,
    /// °C.
    pub temp_c: Option<f32>,
    /// Kind and nozzle.
    pub info: Option<u64>,
    /// Minutes of drying left.
    pub dry_min: Option<i64>,
    /// Slots by number.
    pub trays: Vec<Tray>,
}

/// All units.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Materials {
    /// By id.
    pub units: Vec<Unit>,
    /// Bit per slot.
    pub exist_bits: Option<u64>,
    /// Slot in use: 255 none, 254 external.
    pub tray_now: Option<i64>,
    /// External spools.
    pub external: Vec<Tray>,
}

fn words(text: &Option<std::borrow::Cow<'_, str>>) -> Option<String> {
    text.as_deref()
        .map(str::trim)
        .filter(|t| !t.is_empty())
        .map(|t| t.chars().take(64).collect())
}

impl Tray {
    /// Takes over what a report says of this slot. A report of its id alone empties it.
    pub fn merge(&mut self, new: &TrayNow<'_>) {
        let told = new.tray_type.is_some() || new.tray_color.is_some() || new.tray_info_idx.is_some();
        if !told && new.remain.is_none() && new.tray_sub_brands.is_none() {
            let state = new.state;
            *self = Tray {
                id: self.id,
                state,
                ..Tray::default()
            };
            return;
        }
        self.state = new.state.or(self.state);
        for (mine, theirs) in [
            (&mut self.filament_id, &new.tray_info_idx),
            (&mut self.material, &new.tray_type),
            (&mut self.brand, &new.tray_sub_brands),
            (&mut self.color, &new.tray_color),
        ] {
            if theirs.is_some() && mine.as_deref() != theirs.as_deref() {
                *mine = words(theirs);
            }
        }
        if let Some(remain) = new.remain {
            self.remain_percent = u8::try_from(remain).ok().filter(|p| *p <= 100);
        }
        if self.color.as_deref() == Some("00000000") && self.material.is_none() {
            self.color = None;
        }
    }
}

impl Tray {
    fn slot(&self) -> MaterialSlot {
        MaterialSlot {
            slot: self.id,
            material: self.material.clone(),
            brand: self.brand.clone(),
            color: self.color.clone(),
            filament_id: self.filament_id.clone(),
            remain_percent: self.remain_percent,
            ..MaterialSlot::default()
        }
    }
}

/// Merges by id: a slot that is not mentioned stays.
fn merge_trays(mine: &mut Vec<Tray>, new: &[Object<TrayNow<'_>>], max: usize) {
    for tray in new.iter().filter_map(|t| t.0.as_ref()) {
        let Some(id) = tray.id else { continue };
        if !mine.iter().any(|t| t.id == id) {
            if mine.len() >= max {
                continue;
            }
            mine.push(Tray {
                id,
                ..Tray::default()
            });
            sorted::by_key(mine, |t| t.id);
        }
        if let Some(slot) = mine.iter_mut().find(|t| t.id == id) {
            slot.merge(tray);
        }
    }
}

impl Unit {
    fn merge(&mut self, new: &UnitNow<'_>) {
        self.humidity_index = new.humidity.or(self.humidity_index);
        self.humidity_percent = new.humidity_raw.or(self.humidity_percent);
        if let Some(temp) = new.temp {
            // 0.0 stands for "no sensor".
            self.temp_c = Some(temp).filter(|t| *t != 0.0);
        }
        self.info = new.info.as_deref().and_then(hex).or(self.info);
        self.dry_min = new.dry_time.or(self.dry_min);
        if let Some(trays) = &new.tray {
            merge_trays(&mut self.trays, trays, 16);
        }
    }

    /// `AMS`, `AMS lite`, `AMS 2 Pro`, `AMS HT`, as far as the unit tells.
    pub fn kind(&self) -> Option<&'static str> {
        match self.info? & 0xf {
            1 => Some("AMS"),
            2 | 5 => Some("AMS lite"),
            3 => Some("AMS 2 Pro"),
            4 => Some("AMS HT"),
            _ => None,
        }
    }

    /// The kind as the cloud names it; older firmware tells it by the number alone.
    fn cloud_kind(&self) -> &'static str {
        match (self.info.map(|i| i & 0xf), self.id) {
            (Some(2 | 5), _) | (_, 16) => "bambu_ams_lite",
            (Some(3), _) => "bambu_ams_2_pro",
            (Some(4), _) | (_, 128..) => "bambu_ams_ht",
            _ => "bambu_ams",
        }
    }

    /// The nozzle that it feeds: 0 the main one, 1 the left one of two.
    fn nozzle(&self) -> u8 {
        u8::from(self.info.is_some_and(|i| i >> 8 & 0xf == 1))
    }

    /// Number of a slot over all units, as starts name it.
    pub fn global(&self, slot: i64) -> i64 {
        if self.id >= 128 {
            self.id
        } else {
            self.id * 4 + slot
        }
    }

    fn bit(&self, slot: i64) -> u32 {
        let bit = match self.id {
            128.. => 16 + (self.id - 128),
            16 => 24 + slot,
            _ => self.id * 4 + slot,
        };
        u32::try_from(bit).unwrap_or(u32::MAX)
    }
}

impl Materials {
    /// Takes over what a report says.
    pub fn merge(&mut self, new: &Ams<'_>) {
        self.exist_bits = new.tray_exist_bits.as_deref().and_then(hex).or(self.exist_bits);
        self.tray_now = new.tray_now.or(self.tray_now);
        for unit in new.ams.iter().flatten().filter_map(|u| u.0.as_ref()) {
            let Some(id) = unit.id else { continue };
            if !self.units.iter().any(|u| u.id == id) {
                if self.units.len() >= UNITS_MAX {
                    continue;
                }
                self.units.push(Unit {
                    id,
                    ..Unit::default()
                });
                sorted::by_key(&mut self.units, |u| u.id);
            }
            if let Some(mine) = self.units.iter_mut().find(|u| u.id == id) {
                mine.merge(unit);
            }
        }
    }

    /// External spools of newer firmware.
    pub fn merge_external(&mut self, new: &[Object<TrayNow<'_>>]) {
        merge_trays(&mut self.external, new, 4);
    }

    /// The one external spool of older firmware.
    pub fn merge_external_old(&mut self, new: &TrayNow<'_>) {
        let id = new.id.unwrap_or(254);
        if !self.external.iter().any(|t| t.id == id) && self.external.is_empty() {
            self.external.push(Tray {
                id,
                ..Tray::default()
            });
        }
        if let Some(tray) = self.external.iter_mut().find(|t| t.id == id) {
            tray.merge(new);
        }
    }

    /// Whether a spool is in a slot: the bits of the whole first, then the slot's own state (two
    /// generations), then whether it names a material. Older firmware has no state at all.
    pub fn is_present(&self, unit: &Unit, tray: &Tray) -> bool {
        let bit = unit.bit(tray.id);
        if let Some(bits) = self.exist_bits
            && bit < 64
        {
            return bits >> bit & 1 == 1;
        }
        match tray.state {
            Some(state @ 0..=3) => state == 3,
            Some(state) => state & 1 == 1,
            None => tray.material.is_some(),
        }
    }

    /// Slots with a spool: number for a start, material, colour.
    pub fn loaded(&self) -> impl Iterator<Item = (i64, &Unit, &Tray)> {
        self.units.iter().flat_map(move |unit| {
            unit.trays
                .iter()
                .filter(move |tray| self.is_present(unit, tray))
                .map(move |tray| (unit.global(tray.id), unit, tray))
        })
    }

    /// Every slot with what lies in it, counted per nozzle over its units, external spools last.
    pub fn layout(&self) -> Vec<MaterialSlot> {
        let mut next = [0u16; 2];
        let mut all = Vec::new();
        for unit in &self.units {
            let nozzle = unit.nozzle();
            for tray in &unit.trays {
                let place = next.get_mut(usize::from(nozzle));
                let position = place.map_or(0, |n| std::mem::replace(n, n.saturating_add(1)));
                let loaded = self.is_present(unit, tray);
                all.push(MaterialSlot {
                    nozzle,
                    position,
                    unit_kind: unit.cloud_kind(),
                    unit: unit.id,
                    loaded: Some(loaded),
                    // What lay in an empty slot last is no news of it.
                    ..if loaded {
                        tray.slot()
                    } else {
                        MaterialSlot {
                            slot: tray.id,
                            ..MaterialSlot::default()
                        }
                    }
                });
            }
        }
        let two = self.external.len() > 1;
        for tray in &self.external {
            all.push(MaterialSlot {
                nozzle: u8::from(two && tray.id == 254),
                position: EXTERNAL,
                unit_kind: "virtual",
                unit: tray.id,
                ..tray.slot()
            });
        }
        all
    }

    /// Unit and slot in use, on machines with one nozzle.
    pub fn active(&self) -> Option<(i64, i64)> {
        match self.tray_now? {
            254 | 255 => None,
            n @ 128.. => Some((n, 0)),
            n @ 0.. => Some((n / 4, n % 4)),
            _ => None,
        }
    }
}

/// What a file wants of one filament.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Number in the file, from 0.
    pub slot: u32,
    /// `PLA`.
    pub material: Option<String>,
    /// `#RRGGBB`.
    pub color: Option<String>,
}

fn rgb(text: &str) -> Option<[i32; 3]> {
    let digits = text.trim_start_matches('#');
    let part = |at: usize| i32::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    Some([part(0)?, part(2)?, part(4)?])
}

fn distance(a: Option<&str>, b: Option<&str>) -> i32 {
    match (a.and_then(rgb), b.and_then(rgb)) {
        (Some(a), Some(b)) => a.iter().zip(&b).map(|(x, y)| (x - y).pow(2)).sum(),
        // An unknown colour is neither near nor far.
        _ => 3 * 128 * 128,
    }
}

/// Finds a slot for every filament of a file: the material has to be the same, of several slots the
/// nearest colour counts. Empty: no AMS, feed from the external spool.
///
/// # Errors
/// The number of the filament for which there is no slot.
pub fn assign(wanted: &[Wanted], materials: &Materials) -> Result<Vec<i64>, u32> {
    if materials.units.is_empty() || wanted.is_empty() {
        return Ok(Vec::new());
    }
    let last = wanted.iter().map(|w| w.slot).max().unwrap_or(0).min(63);
    let mut slots = vec![-1; last as usize + 1];
    for want in wanted {
        let fits = materials
            .loaded()
            .filter(|(_, _, tray)| match (&want.material, &tray.material) {
                (Some(want), Some(have)) => want.eq_ignore_ascii_case(have),
                (None, Some(_)) => true,
                (_, None) => false,
            })
            .min_by_key(|(_, _, tray)| distance(want.color.as_deref(), tray.color.as_deref()));
        match (fits, slots.get_mut(want.slot as usize)) {
            (Some((number, _, _)), Some(slot)) => *slot = number,
            // One filament may come from the spool at the back, if nobody says that it is another.
            (None, _) if wanted.len() == 1 && fits_external(want, materials) => return Ok(Vec::new()),
            _ => return Err(want.slot),
        }
    }
    Ok(slots)
}

/// The slots that a person or the cloud has chosen, as [`assign`] gives them.
///
/// # Errors
/// The number of the filament whose place is not there or empty.
pub fn chosen(places: &[Option<MaterialPlace>], materials: &Materials) -> Result<Vec<i64>, u32> {
    let layout = materials.layout();
    let mut slots = Vec::with_capacity(places.len());
    for (number, place) in (0u32..).zip(places) {
        slots.push(match place {
            None => -1,
            Some(place) if place.position == EXTERNAL => match place.nozzle {
                0 => MAIN_SPOOL,
                _ => LEFT_SPOOL,
            },
            Some(place) => layout
                .iter()
                .find(|s| s.nozzle == place.nozzle && s.position == place.position && s.loaded != Some(false))
                .map(|s| {
                    if s.unit >= 128 {
                        s.unit
                    } else {
                        s.unit * 4 + s.slot
                    }
                })
                .ok_or(number)?,
        });
    }
    // Nothing from a unit: the printer is told not to use one.
    let from_unit = slots
        .iter()
        .any(|s| *s >= 0 && !matches!(*s, MAIN_SPOOL | LEFT_SPOOL));
    Ok(if from_unit { slots } else { Vec::new() })
}

fn fits_external(want: &Wanted, materials: &Materials) -> bool {
    materials
        .external
        .iter()
        .any(|tray| tray.material.is_some() && tray.material == want.material)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn materials(trays: &[(&str, &str)]) -> Materials {
        let trays = trays
            .iter()
            .zip(0..)
            .map(|((material, color), id)| Tray {
                id,
                material: Some((*material).to_owned()),
                color: Some((*color).to_owned()),
                ..Tray::default()
            })
            .collect();
        Materials {
            units: vec![Unit {
                id: 1,
                trays,
                ..Unit::default()
            }],
            exist_bits: Some(0xf0),
            ..Materials::default()
        }
    }

    fn want(slot: u32, material: &str, color: &str) -> Wanted {
        Wanted {
            slot,
            material: Some(material.to_owned()),
            color: Some(color.to_owned()),
        }
    }

    #[test]
    fn slots_count_per_nozzle_and_empty_ones_hold_nothing() {
        let mut have = materials(&[("PETG", "FFFFFFFF"), ("PLA", "000000FF")]);
        have.exist_bits = Some(0x20);
        let unit = |id, info| Unit {
            id,
            info: Some(info),
            trays: vec![Tray::default()],
            ..Unit::default()
        };
        have.units.extend([unit(2, 0x103), unit(128, 0x4)]);
        have.external = [254, 255]
            .map(|id| Tray {
                id,
                ..Tray::default()
            })
            .to_vec();
        let told: Vec<_> = have
            .layout()
            .into_iter()
            .map(|s| (s.nozzle, s.position, s.unit_kind, s.loaded, s.material))
            .collect();
        assert_eq!(
            told,
            [
                (0, 0, "bambu_ams", Some(false), None),
                (0, 1, "bambu_ams", Some(true), Some("PLA".to_owned())),
                (1, 0, "bambu_ams_2_pro", Some(false), None),
                (0, 2, "bambu_ams_ht", Some(false), None),
                (1, 256, "virtual", None, None),
                (0, 256, "virtual", None, None),
            ]
        );
    }

    #[test]
    fn chosen_places_become_numbers_and_empty_ones_are_refused() {
        let have = materials(&[("PETG", "FFFFFFFF"), ("PLA", "000000FF")]);
        let place = |nozzle, position| Some(MaterialPlace { nozzle, position });
        assert_eq!(
            chosen(&[place(0, 1), None, place(0, 256), place(1, 256)], &have),
            Ok(vec![5, -1, 255, 254])
        );
        assert_eq!(chosen(&[place(0, 256)], &have), Ok(vec![]));
        assert_eq!(chosen(&[place(0, 0), place(0, 7)], &have), Err(1));
    }

    #[test]
    fn material_decides_and_then_the_nearest_colour() {
        let have = materials(&[("PETG", "FFFFFFFF"), ("PLA", "000000FF"), ("PLA", "F0F0F0FF")]);
        assert_eq!(assign(&[want(0, "PLA", "#FFFFFF")], &have), Ok(vec![6]));
        assert_eq!(
            assign(&[want(2, "PLA", "#000000"), want(0, "PETG", "#00FF00")], &have),
            Ok(vec![4, -1, 5])
        );
        assert_eq!(assign(&[want(0, "ABS", "#000000")], &have), Err(0));
        assert_eq!(
            assign(&[want(0, "ABS", "#000000")], &Materials::default()),
            Ok(vec![])
        );
    }
}
