//! What one pause is to do beside standing still, where it differs from the printer's settings. Pure.

use std::time::Duration;

use serde_json::{Map, Value};

/// Longest retraction, mm, as in the settings.
pub const RETRACT_MAX_MM: f64 = 20.0;
/// Highest lift, mm, as in the settings.
pub const LIFT_MAX_MM: f64 = 200.0;
/// Longest time for which a printer is kept warm, min.
pub const KEEP_WARM_MAX_MIN: u64 = 24 * 60;

/// Wishes for one pause; `None`: as the printer's settings have it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PauseWishes {
    /// Pull the filament back, mm; 0: not.
    pub retract_mm: Option<f32>,
    /// Lift the head, mm; 0: not.
    pub lift_mm: Option<f32>,
    /// Move the head away from the part.
    pub park: Option<bool>,
    /// To this X and Y, mm.
    pub park_at_mm: [Option<f32>; 2],
    /// Switch the nozzles off.
    pub cool_nozzle: Option<bool>,
    /// Switch the bed off.
    pub cool_bed: Option<bool>,
    /// Keep the nozzles warm for so long, whatever a long pause does otherwise.
    pub keep_warm: Option<Duration>,
}

impl PauseWishes {
    /// Reads the object that the cloud's interface calls `onPause`, with two members of ours (`park`,
    /// `keepWarmMinutes`). A lift or retraction is a number of millimetres, or `{enabled, distance}`.
    ///
    /// # Errors
    /// In words: what is unknown, of the wrong type, or out of range.
    pub fn read(value: &Value) -> Result<PauseWishes, String> {
        let members = value.as_object().ok_or("`onPause` must be an object.")?;
        let known = [
            "coolHotend",
            "coolBed",
            "retractFilament",
            "liftExtruder",
            "park",
            "keepWarmMinutes",
        ];
        if let Some(unknown) = members.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(format!("`onPause` has no member `{unknown}`."));
        }
        let wishes = PauseWishes {
            retract_mm: distance(members, "retractFilament", RETRACT_MAX_MM)?,
            lift_mm: distance(members, "liftExtruder", LIFT_MAX_MM)?,
            park: flag(members, "park")?,
            cool_nozzle: flag(members, "coolHotend")?,
            cool_bed: flag(members, "coolBed")?,
            keep_warm: minutes(members.get("keepWarmMinutes"), "onPause.keepWarmMinutes")?,
            ..PauseWishes::default()
        };
        if wishes.cool_nozzle == Some(true) && wishes.keep_warm.is_some_and(|t| !t.is_zero()) {
            return Err("`onPause` cannot cool the hotend and keep it warm.".to_owned());
        }
        Ok(wishes)
    }
}

/// A time in minutes.
///
/// # Errors
/// In words, when it is no whole number or too long.
pub fn minutes(value: Option<&Value>, name: &str) -> Result<Option<Duration>, String> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_u64()
            .filter(|minutes| *minutes <= KEEP_WARM_MAX_MIN)
            .map(|minutes| Some(Duration::from_secs(minutes * 60)))
            .ok_or_else(|| format!("`{name}` must be a number of minutes from 0 to {KEEP_WARM_MAX_MIN}.")),
    }
}

fn flag(members: &Map<String, Value>, key: &str) -> Result<Option<bool>, String> {
    match members.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(on)) => Ok(Some(*on)),
        Some(_) => Err(format!("`onPause.{key}` must be true or false.")),
    }
}

fn distance(members: &Map<String, Value>, key: &str, most: f64) -> Result<Option<f32>, String> {
    let bad = || format!("`onPause.{key}` must be 0 to {most} mm, as a number or as {{enabled, distance}}.");
    let mm = |value: &Value| {
        let mm = value.as_f64().filter(|mm| (0.0..=most).contains(mm));
        mm.map(|mm| mm as f32).ok_or_else(bad)
    };
    match members.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(of)) => match (of.get("enabled"), of.get("distance")) {
            (Some(Value::Bool(false)), _) => Ok(Some(0.0)),
            // Without a distance: as far as the settings say.
            (Some(Value::Bool(true)), None | Some(Value::Null)) => Ok(None),
            (Some(Value::Bool(true)) | None, Some(distance)) => mm(distance).map(Some),
            _ => Err(bad()),
        },
        Some(value) => mm(value).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_spellings_of_a_distance_are_read_and_nonsense_is_named() {
        let read = |value: Value| PauseWishes::read(&value);
        let wishes = read(json!({
            "coolHotend": true, "coolBed": false,
            "retractFilament": {"enabled": true, "distance": 3.5},
            "liftExtruder": 20, "park": false,
        }))
        .expect("good");
        assert_eq!(wishes.retract_mm, Some(3.5));
        assert_eq!((wishes.lift_mm, wishes.park), (Some(20.0), Some(false)));
        assert_eq!((wishes.cool_nozzle, wishes.cool_bed), (Some(true), Some(false)));
        let off = read(json!({"retractFilament": {"enabled": false, "distance": 9}})).expect("good");
        assert_eq!(off.retract_mm, Some(0.0));
        assert_eq!(read(json!({})), Ok(PauseWishes::default()));
        for (bad, named) in [
            (json!([]), "object"),
            (json!({"coolNozzle": true}), "coolNozzle"),
            (json!({"coolBed": 1}), "coolBed"),
            (json!({"liftExtruder": 201}), "200"),
            (json!({"liftExtruder": -1}), "liftExtruder"),
            (json!({"retractFilament": {"enabled": "yes"}}), "retractFilament"),
            (json!({"keepWarmMinutes": 1441}), "1440"),
            (json!({"keepWarmMinutes": 10, "coolHotend": true}), "keep it warm"),
        ] {
            let words = read(bad.clone()).expect_err(&bad.to_string());
            assert!(words.contains(named), "{bad}: {words}");
        }
    }
}
