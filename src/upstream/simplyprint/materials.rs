//! Spools: what the cloud hears of them, and which one feeds which filament of a file. Pure.
//!
//! A place is a nozzle and a position among all slots of that nozzle; 256 is the spool outside of any unit.

use serde_json::{Map, Value};

use super::lenient;
use crate::json::json;
use crate::printer::command::MaterialPlace;
use crate::printer::model::MaterialSlot;
use crate::sorted::SortedMap;

/// Filaments of a file that are looked at.
const FILAMENTS_MAX: usize = 64;
/// The spool outside.
const OUTSIDE: u16 = 256;

/// Kinds and places, as the cloud was told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    layout: Vec<Value>,
    entries: SortedMap<(u8, u16), Value>,
}

/// What the cloud does not know yet; everything when it was told nothing. Told only when there is news.
pub fn news(slots: &[MaterialSlot], told: Option<&Told>) -> Option<(Value, Told)> {
    let now = Told {
        layout: layout(slots),
        entries: slots
            .iter()
            .map(|slot| ((slot.nozzle, slot.position), entry(slot)))
            .collect(),
    };
    let data = match told {
        None => json!({"refresh": true, "layout": now.layout, "materials": values(now.entries.iter())}),
        Some(told) if *told == now => return None,
        Some(told) => {
            let mut data = Map::new();
            if told.layout != now.layout {
                data.insert("layout".to_owned(), json!(now.layout));
            }
            let changed = now
                .entries
                .iter()
                .filter(|(at, e)| told.entries.get(at) != Some(e));
            let mut changed = values(changed);
            // A place that is gone is an empty one.
            let gone = told.entries.keys().filter(|at| !now.entries.contains_key(at));
            changed.extend(gone.map(|(nozzle, ext)| json!({"nozzle": nozzle, "ext": ext})));
            if !changed.is_empty() {
                data.insert("materials".to_owned(), json!(changed));
            }
            Value::Object(data)
        }
    };
    Some((data, now))
}

fn values<'a>(entries: impl Iterator<Item = (&'a (u8, u16), &'a Value)>) -> Vec<Value> {
    entries.map(|(_, entry)| entry.clone()).collect()
}

/// Units of one kind at one nozzle are a chain; each holds as many as its last slot says.
fn layout(slots: &[MaterialSlot]) -> Vec<Value> {
    let mut kinds: SortedMap<(u8, bool, &str), SortedMap<i64, i64>> = SortedMap::new();
    for slot in slots {
        let outside = slot.position >= OUTSIDE;
        let units = kinds.entry((slot.nozzle, outside, slot.unit_kind)).or_default();
        let size = units.entry(slot.unit).or_default();
        *size = (*size).max(slot.slot + 1);
    }
    kinds
        .into_iter()
        .map(|((nozzle, outside, kind), units)| {
            if outside {
                return json!({"nozzle": nozzle, "mms": kind});
            }
            let size = units.values().max().copied().unwrap_or(1);
            json!({"nozzle": nozzle, "mms": kind, "size": size, "chains": units.len()})
        })
        .collect()
}

/// One place; an empty one is nothing but its place.
fn entry(slot: &MaterialSlot) -> Value {
    let mut out = Map::new();
    out.insert("nozzle".to_owned(), json!(slot.nozzle));
    out.insert("ext".to_owned(), json!(slot.position));
    if slot.loaded == Some(false) {
        return Value::Object(out);
    }
    if let Some(material) = &slot.material {
        out.insert("type".to_owned(), json!(material));
    }
    let hex = slot.color.as_deref().and_then(|c| c.get(..6));
    if let Some(hex) = hex.filter(|c| c.bytes().all(|b| b.is_ascii_hexdigit())) {
        out.insert("hex".to_owned(), json!(format!("#{}", hex.to_ascii_uppercase())));
    }
    // By the maker's names, as other clients of these printers send them.
    let raw: Map<String, Value> = [
        ("tray_info_idx", &slot.filament_id),
        ("tray_sub_brands", &slot.brand),
        ("tray_color", &slot.color),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), json!(value.as_ref()?))))
    .collect();
    if !raw.is_empty() {
        out.insert("raw".to_owned(), Value::Object(raw));
    }
    Value::Object(out)
}

/// `mms_map`: for each filament of the file the place it comes from; `None` inside: it is not used. `None`: a
/// map that cannot be read.
pub fn read_map(map: Option<&Value>) -> Option<Vec<Option<MaterialPlace>>> {
    let number = |value: Option<&Value>| lenient::whole(value).and_then(|n| u16::try_from(n).ok());
    let place = |value: &Value| match value {
        Value::Null => Some(None),
        Value::Object(place) => {
            let nozzle = match place.get("nozzle") {
                None => 0,
                value => u8::try_from(number(value)?).ok()?,
            };
            match place.get("ext") {
                // The only spool of that nozzle.
                None | Some(Value::Null) => Some(Some(MaterialPlace {
                    nozzle,
                    position: OUTSIDE,
                })),
                value => Some(Some(MaterialPlace {
                    nozzle,
                    position: number(value)?,
                })),
            }
        }
        value => Some(Some(MaterialPlace {
            nozzle: 0,
            position: number(Some(value))?,
        })),
    };
    let list = lenient::list(map, FILAMENTS_MAX);
    list.iter().map(place).collect()
}

/// Whether the map asks a printer without a material system for anything but tool n of the file = tool n of
/// the printer.
pub fn needs_system(map: &[Option<MaterialPlace>]) -> bool {
    map.iter().enumerate().any(|(at, place)| {
        let Some(place) = place else { return false };
        // The outside spool of a single-material nozzle is what it always prints with.
        let tool = match place.position {
            OUTSIDE => usize::from(place.nozzle),
            0 if place.nozzle > 0 => usize::from(place.nozzle),
            position if place.nozzle == 0 => usize::from(position),
            _ => return true,
        };
        tool != at
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(position: u16, unit: i64, material: Option<&str>) -> MaterialSlot {
        MaterialSlot {
            position,
            unit_kind: if position >= OUTSIDE {
                "virtual"
            } else {
                "bambu_ams"
            },
            unit,
            slot: i64::from(position % 4),
            loaded: Some(material.is_some()),
            material: material.map(str::to_owned),
            color: material.map(|_| "f0a0b0ff".to_owned()),
            ..MaterialSlot::default()
        }
    }

    #[test]
    fn everything_first_then_only_what_changed() {
        let mut slots = vec![
            slot(0, 0, Some("PLA")),
            slot(3, 0, None),
            slot(5, 1, Some("PETG")),
            slot(256, 255, None),
        ];
        let (data, told) = news(&slots, None).expect("news");
        assert_eq!(
            data,
            json!({"refresh": true,
                "layout": [{"nozzle":0,"mms":"bambu_ams","size":4,"chains":2}, {"nozzle":0,"mms":"virtual"}],
                "materials": [
                    {"nozzle":0,"ext":0,"type":"PLA","hex":"#F0A0B0","raw":{"tray_color":"f0a0b0ff"}},
                    {"nozzle":0,"ext":3},
                    {"nozzle":0,"ext":5,"type":"PETG","hex":"#F0A0B0","raw":{"tray_color":"f0a0b0ff"}},
                    {"nozzle":0,"ext":256}]})
        );
        assert_eq!(news(&slots, Some(&told)), None);
        slots[2].loaded = Some(false);
        let (data, told) = news(&slots, Some(&told)).expect("news");
        assert_eq!(data, json!({"materials": [{"nozzle":0,"ext":5}]}));
        slots.remove(2);
        let (data, _) = news(&slots, Some(&told)).expect("a unit is gone");
        assert_eq!(data["layout"][0]["chains"], 1);
        assert_eq!(data["materials"], json!([{"nozzle":0,"ext":5}]));
    }

    #[test]
    fn a_map_is_read_in_both_forms() {
        let place = |nozzle, position| Some(MaterialPlace { nozzle, position });
        let map = json!([2, null, "1", {"nozzle": 1, "ext": 3}, {"nozzle": 1}, 256]);
        assert_eq!(
            read_map(Some(&map)),
            Some(vec![
                place(0, 2),
                None,
                place(0, 1),
                place(1, 3),
                place(1, 256),
                place(0, 256)
            ])
        );
        assert_eq!(read_map(None), Some(vec![]));
        assert_eq!(read_map(Some(&json!([0, "x"]))), None);
        assert_eq!(read_map(Some(&json!([-1]))), None);
    }

    #[test]
    fn a_printer_without_a_system_can_do_only_what_it_does_anyway() {
        for (map, needs) in [
            (json!([]), false),
            (json!([0, 1]), false),
            (json!([null, 1]), false),
            (json!([256]), false),
            (json!([{"nozzle": 0, "ext": 256}]), false),
            (json!([{"nozzle": 0, "ext": 0}, {"nozzle": 1, "ext": 0}]), false),
            (json!([{"nozzle": 0}, {"nozzle": 1}]), false),
            (json!([1, 0]), true),
            (json!([{"nozzle": 0, "ext": 2}]), true),
            (json!([{"nozzle": 1, "ext": 2}]), true),
        ] {
            assert_eq!(
                needs_system(&read_map(Some(&map)).expect("a map")),
                needs,
                "{map}"
            );
        }
    }
}
