//! `temps`: which heaters the cloud has to hear of, and how soon. Pure.

use serde_json::{Map, Value};

use super::view::Heat;

use crate::json::json;
use crate::sorted::SortedMap;

/// A change of the measured value below this is not worth a message.
const HYSTERESIS_C: f32 = 0.75;

/// What the cloud was told of one heater.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Said {
    actual_c: i64,
    target_c: Option<i64>,
    /// The value behind the whole number, for the hysteresis.
    exact_c: f32,
}

/// What the cloud was told of all of them.
#[derive(Clone, Debug, Default)]
pub struct ToldTemps(SortedMap<String, Said>);

/// An update that is due.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// The message's data.
    pub data: Map<String, Value>,
    /// A target changed: no limit holds it back.
    pub target_changed: bool,
    /// Something heats up to a target.
    pub heating: bool,
    said: Vec<(String, Said)>,
}

impl ToldTemps {
    /// A new connection: everything is told again.
    pub fn forget(&mut self) {
        self.0.clear();
    }

    /// What is to be told now; `None`: nothing worth it.
    pub fn update(&self, heaters: &SortedMap<String, Heat>) -> Option<Update> {
        let mut out = Update {
            data: Map::new(),
            target_changed: false,
            heating: false,
            said: Vec::new(),
        };
        for (name, heat) in heaters {
            let now = Said {
                actual_c: whole(heat.actual_c),
                target_c: heat.target_c.map(whole),
                exact_c: heat.actual_c,
            };
            let before = self.0.get(name);
            let target_changed = before.is_none_or(|b| b.target_c != now.target_c);
            let moved = before.is_none_or(|b| {
                b.actual_c != now.actual_c && (b.exact_c - now.exact_c).abs() >= HYSTERESIS_C
            });
            let shown = if target_changed || moved {
                out.target_changed |= target_changed;
                let pair = match now.target_c {
                    Some(target) => json!([now.actual_c, target]),
                    None => json!([now.actual_c]),
                };
                out.data.insert(name.clone(), pair);
                out.said.push((name.clone(), now));
                now
            } else {
                *before.unwrap_or(&now)
            };
            out.heating |= shown.target_c.is_some_and(|t| t != 0 && t != shown.actual_c);
        }
        (!out.data.is_empty()).then_some(out)
    }

    /// The update was sent.
    pub fn commit(&mut self, update: Update) {
        self.0.extend(update.said);
    }
}

/// Half away from zero.
#[allow(clippy::cast_possible_truncation, reason = "a temperature")]
fn whole(celsius: f32) -> i64 {
    celsius.clamp(-1000.0, 10_000.0).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heaters(list: &[(&str, f32, Option<f32>)]) -> SortedMap<String, Heat> {
        let one = |(name, actual_c, target_c): &(&str, f32, Option<f32>)| {
            let heat = Heat {
                actual_c: *actual_c,
                target_c: *target_c,
            };
            ((*name).to_owned(), heat)
        };
        list.iter().map(one).collect()
    }

    #[test]
    fn the_first_time_tells_all_and_then_only_what_changed() {
        let mut told = ToldTemps::default();
        let first = told
            .update(&heaters(&[("bed", 21.4, Some(0.0)), ("tool0", 22.5, Some(0.0))]))
            .expect("all");
        assert_eq!(
            Value::Object(first.data.clone()),
            json!({"bed": [21, 0], "tool0": [23, 0]})
        );
        assert!(!first.heating);
        told.commit(first);
        let same = heaters(&[("bed", 21.4, Some(0.0)), ("tool0", 22.4, Some(0.0))]);
        assert_eq!(told.update(&same), None, "22.4 is 22, but only a hair away");
        let moved = told
            .update(&heaters(&[("bed", 21.4, Some(0.0)), ("tool0", 21.6, Some(0.0))]))
            .expect("moved");
        assert_eq!(Value::Object(moved.data.clone()), json!({"tool0": [22, 0]}));
        assert!(!moved.target_changed);
    }

    #[test]
    fn a_target_is_news_and_what_was_not_sent_stays_news() {
        let mut told = ToldTemps::default();
        let cold = heaters(&[("bed", 21.0, Some(0.0))]);
        let first = told.update(&cold).expect("all");
        told.commit(first);
        let hot = heaters(&[("bed", 21.0, Some(60.0))]);
        let news = told.update(&hot).expect("a target");
        assert!(news.target_changed && news.heating);
        assert!(told.update(&hot).is_some(), "not committed, so still to be told");
        told.commit(news);
        assert_eq!(told.update(&hot), None);
    }

    #[test]
    fn a_sensor_without_a_heater_has_no_target() {
        let told = ToldTemps::default();
        let update = told
            .update(&heaters(&[("chamber", 35.2, None)]))
            .expect("a value");
        assert_eq!(Value::Object(update.data), json!({"chamber": [35]}));
    }
}
