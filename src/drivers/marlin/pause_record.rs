//! What a pause saved, in a form that survives the process.

use std::time::Instant;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::history::Place;
use super::pause::Saved;
use super::settings::PauseActions;
use super::track::Track;
use crate::printer::model::{Heater, PauseReason, Position};

/// Most hotends that are remembered.
const TOOLS_MAX: u8 = 16;

/// A parked head: where the program goes on, and what has to be put back before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PauseRecord {
    /// The last line of the program that was sent.
    pub place: Place,
    why: PauseReason,
    track: Track,
    position: Option<[Option<f32>; 4]>,
    targets: Vec<(String, f32)>,
    retracted_mm: f32,
    moved: bool,
    cooled: bool,
    #[serde(default)]
    lifted_mm: f32,
    /// When it was parked, ms since 1970; the motors may have slept since.
    #[serde(default)]
    since_ms: Option<i64>,
}

impl PauseRecord {
    /// For the next process.
    pub fn of(saved: &Saved, place: Place) -> Self {
        PauseRecord {
            place,
            why: saved.why,
            track: saved.track.clone(),
            position: saved.position.map(|p| [p.x_mm, p.y_mm, p.z_mm, p.e_mm]),
            targets: saved
                .targets
                .iter()
                .map(|(heater, target)| (heater.to_string(), *target))
                .collect(),
            retracted_mm: saved.retracted_mm,
            moved: saved.moved,
            lifted_mm: saved.lifted_mm,
            cooled: saved.cooled,
            since_ms: saved.since_wall.map(Timestamp::as_millisecond),
        }
    }

    /// In the next process; the patience with a hot nozzle begins anew.
    pub fn saved(self, now: Instant) -> Saved {
        Saved {
            why: self.why,
            track: self.track,
            position: self.position.map(|[x_mm, y_mm, z_mm, e_mm]| Position {
                x_mm,
                y_mm,
                z_mm,
                e_mm,
            }),
            targets: self
                .targets
                .iter()
                .filter_map(|(name, target)| Some((heater(name)?, *target)))
                .collect(),
            retracted_mm: self.retracted_mm,
            moved: self.moved,
            lifted_mm: self.lifted_mm,
            since: Some(now),
            cooled: self.cooled,
            since_wall: self.since_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
            firmware: None,
            again: None,
            actions: PauseActions::default(),
        }
    }
}

fn heater(name: &str) -> Option<Heater> {
    (0..TOOLS_MAX)
        .map(Heater::Tool)
        .chain([Heater::Bed, Heater::Chamber])
        .find(|heater| heater.to_string() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_on_the_way_through_text() {
        let now = Instant::now();
        let mut track = Track::default();
        for line in [
            "G28",
            "G90",
            "M83",
            "G1 X10.5 Y20 Z0.3 E2 F1800",
            "M106 S128",
            "T1",
            "M84 S600",
        ] {
            track.follow(line.as_bytes());
        }
        let saved = Saved {
            why: PauseReason::FilamentChange,
            track,
            position: Some(Position {
                x_mm: Some(10.5),
                ..Position::default()
            }),
            targets: [
                (Heater::Tool(1), 210.0),
                (Heater::Bed, 60.0),
                (Heater::Chamber, 40.0),
            ]
            .into(),
            retracted_mm: 2.0,
            moved: true,
            lifted_mm: 10.0,
            since: Some(now),
            cooled: true,
            since_wall: Timestamp::from_second(1_700_000_000).ok(),
            firmware: None,
            again: None,
            actions: PauseActions::default(),
        };
        let record = PauseRecord::of(
            &saved,
            Place {
                source_line: 7,
                layer: 1,
                byte_end: 99,
                step: 0,
            },
        );
        let text = serde_json::to_string(&record).expect("text");
        let back: PauseRecord = serde_json::from_str(&text).expect("a record");
        // Moves that are planned at the moment are not part of it.
        assert_eq!(serde_json::to_string(&back).expect("text"), text);
        let back = back.saved(now);
        assert_eq!(back.targets, saved.targets);
        assert_eq!(back.since_wall, saved.since_wall);
        assert_eq!(back.track.xyz(), saved.track.xyz());
        assert_eq!((back.track.tool, back.track.relative_e), (1, true));
    }
}
