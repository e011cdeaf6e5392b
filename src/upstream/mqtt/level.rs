//! What of a printer's levels is due to be told: changes that matter soon, small ones now and then, everything once in
//! a while. Pure.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::view::Group;

use crate::sorted::SortedMap;

/// Not more often than this for one topic, so that a person sees it move and a broker of thousands does not mind.
const SOON: Duration = Duration::from_secs(1);
/// Small changes.
const LATER: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    Nothing,
    Small,
    Big,
}

#[derive(Clone, Debug)]
struct Level {
    value: Value,
    told: Option<(Value, Instant)>,
}

/// The levels of one printer.
#[derive(Clone, Debug, Default)]
pub struct Levels(SortedMap<Group, Level>);

impl Levels {
    /// The newest value of a level.
    pub fn set(&mut self, group: Group, value: &Value) {
        match self.0.get_mut(&group) {
            Some(level) if level.value == *value => {}
            Some(level) => level.value.clone_from(value),
            None => {
                let value = value.clone();
                self.0.insert(group, Level { value, told: None });
            }
        }
    }

    /// Nothing counts as told any more: a new session, or somebody who has missed it.
    pub fn forget(&mut self) {
        for level in self.0.values_mut() {
            level.told = None;
        }
    }

    /// A level that is due; it counts as told then. `full`: everything is told at least this often.
    pub fn take(&mut self, now: Instant, full: Duration) -> Option<(Group, &Value)> {
        let due = self
            .0
            .iter()
            .find(|(group, level)| level.due(**group, full).is_none_or(|at| at <= now));
        let group = *due?.0;
        let level = self.0.get_mut(&group)?;
        level.told = Some((level.value.clone(), now));
        Some((group, &level.value))
    }

    /// When the next one is due; `None`: nothing is known.
    pub fn deadline(&self, now: Instant, full: Duration) -> Option<Instant> {
        self.0
            .iter()
            .map(|(group, level)| level.due(*group, full).unwrap_or(now))
            .min()
    }
}

impl Level {
    /// When it is due; `None`: at once.
    fn due(&self, group: Group, full: Duration) -> Option<Instant> {
        let (told, at) = self.told.as_ref()?;
        let wait = match weight(group, "", told, &self.value) {
            Weight::Big => SOON,
            Weight::Small => LATER.min(full),
            Weight::Nothing => full,
        };
        Some(*at + wait)
    }
}

/// How much a member has to change to matter; smaller changes are small.
fn step(group: Group, key: &str) -> f64 {
    match (group, key) {
        (Group::Temperatures, "actual") | (Group::Job, "percent" | "upload_percent") => 1.0,
        (Group::Job, "time_left_s") => 60.0,
        (Group::Fans, _) => 5.0,
        _ => 0.0,
    }
}

fn weight(group: Group, key: &str, old: &Value, new: &Value) -> Weight {
    if old == new {
        return Weight::Nothing;
    }
    match (old, new) {
        // Times of readings, and what follows from other members.
        _ if matches!((group, key), (Group::Temperatures, "at") | (Group::Job, "finish")) => Weight::Small,
        (Value::Object(old), Value::Object(new)) if old.len() == new.len() => old
            .iter()
            .map(|(key, old)| {
                new.get(key)
                    .map_or(Weight::Big, |new| weight(group, key, old, new))
            })
            .max()
            .unwrap_or(Weight::Nothing),
        (Value::Number(old), Value::Number(new)) => {
            let moved = (old.as_f64().unwrap_or(0.0) - new.as_f64().unwrap_or(0.0)).abs();
            if moved < step(group, key) {
                Weight::Small
            } else {
                Weight::Big
            }
        }
        _ => Weight::Big,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const FULL: Duration = Duration::from_secs(300);

    fn heat(actual: f64, target: f64, at: u64) -> Value {
        json!({"tool0": {"actual": actual, "target": target, "at": at}})
    }

    /// When it is told, in seconds after the first.
    fn told(levels: &mut Levels, start: Instant, until_s: u64) -> Vec<u64> {
        (0..until_s)
            .filter(|s| levels.take(start + Duration::from_secs(*s), FULL).is_some())
            .collect()
    }

    #[test]
    fn noise_waits_and_what_matters_goes_soon() {
        let start = Instant::now();
        let mut levels = Levels::default();
        levels.set(Group::Temperatures, &heat(20.0, 0.0, 0));
        assert!(levels.take(start, FULL).is_some(), "the first at once");
        assert_eq!(levels.deadline(start, FULL), Some(start + FULL));
        levels.set(Group::Temperatures, &heat(20.4, 0.0, 1));
        assert_eq!(told(&mut levels, start, 60), [30]);
        levels.set(Group::Temperatures, &heat(20.4, 210.0, 1));
        assert_eq!(told(&mut levels, start + LATER, 60), [1]);
        levels.set(Group::Temperatures, &heat(22.0, 210.0, 1));
        assert_eq!(told(&mut levels, start + Duration::from_secs(31), 60), [1]);
        assert_eq!(
            told(&mut levels, start + Duration::from_secs(32), 320),
            [300],
            "everything once in a while"
        );
    }

    #[test]
    fn a_word_or_a_layer_goes_soon_and_a_second_of_time_left_does_not() {
        let start = Instant::now();
        let job = |percent: f64, layer: u32, left: u32| json!({"percent": percent, "layer": layer, "time_left_s": left, "finish": left.to_string()});
        let mut levels = Levels::default();
        levels.set(Group::Job, &job(10.0, 3, 600));
        levels.take(start, FULL);
        levels.set(Group::Job, &job(10.5, 3, 570));
        assert_eq!(told(&mut levels.clone(), start, 40), [30]);
        for value in [
            job(11.0, 3, 570),
            job(10.5, 4, 570),
            job(10.5, 3, 540),
            json!({"percent": null}),
        ] {
            let mut levels = levels.clone();
            levels.set(Group::Job, &value);
            assert_eq!(told(&mut levels, start, 10), [1], "{value}");
        }
    }

    proptest! {
        /// Whatever changes when: the last value is told in the end, and no topic more than once a second.
        #[test]
        fn the_newest_value_is_told_in_the_end(changes in proptest::collection::vec((0_u64..5, 0_u32..40, 0_u32..3), 1..60)) {
            let start = Instant::now();
            let mut levels = Levels::default();
            let (mut now, mut last, mut seen) = (0, Value::Null, Vec::new());
            for (wait, tenths, target) in changes {
                now += wait * 300;
                last = heat(f64::from(tenths) / 10.0, f64::from(target), now);
                levels.set(Group::Temperatures, &last);
                if let Some((_, value)) = levels.take(start + Duration::from_millis(now), FULL) {
                    seen.push((now, value.clone()));
                }
            }
            let quiet = Duration::from_millis(now) + LATER;
            if let Some((_, value)) = levels.take(start + quiet, FULL) {
                seen.push((now + 30_000, value.clone()));
            }
            prop_assert_eq!(&seen.last().expect("one").1, &last);
            prop_assert!(seen.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 1000));
        }
    }
}
