//! `printers/GetTemperatures`: the last half hour of a printer's heaters and sensors.

use axum::Json as Answer;
use axum::extract::State;
use serde_json::{Map, Value};
use std::time::Instant;

use super::envelope::Problem;
use super::incoming::Params;
use super::{Api, pid};
use crate::agent::curves::{Curve, EVERY_S};
use crate::json::json;

/// `?pid=`: one or several printers. Points are oldest first, `every_s` apart; the last one is `age_ms`
/// old. A moment of which nothing is known is null.
pub async fn temperatures(State(api): State<Api>, params: Params) -> Result<Answer<Value>, Problem> {
    let printers = api.printers(&pid::pids(params.text("pid"), &Value::Null)?)?;
    let now = Instant::now();
    let data: Vec<Value> = printers
        .iter()
        .map(|printer| {
            let (curves, age) = api.agent.curves().of(printer.id(), now);
            shown(printer.id(), &curves, age.as_millis())
        })
        .collect();
    Ok(Answer(json!({"status": true, "message": null, "data": data})))
}

fn shown(id: i64, curves: &[Curve], age_ms: u128) -> Value {
    let heaters: Map<String, Value> = curves
        .iter()
        .map(|c| {
            let track = json!({"actual": tenths(&c.actual_c), "target": tenths(&c.target_c)});
            (c.heater.to_string(), track)
        })
        .collect();
    json!({"id": id, "every_s": EVERY_S, "age_ms": u64::try_from(age_ms).unwrap_or(u64::MAX), "heaters": heaters})
}

fn tenths(points: &[Option<f32>]) -> Vec<Option<f64>> {
    let tenth = |c: f32| (f64::from(c) * 10.0).round() / 10.0;
    points.iter().map(|c| c.map(tenth)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::printer::model::Heater;

    #[test]
    fn what_is_not_known_is_null() {
        let curve = Curve {
            heater: Heater::Tool(0),
            actual_c: vec![None, Some(20.1)],
            target_c: vec![None, None],
        };
        assert_eq!(
            shown(1, &[curve], 1200),
            json!({"id": 1, "every_s": EVERY_S, "age_ms": 1200, "heaters": {
                "tool0": {"actual": [null, 20.1], "target": [null, null]},
            }})
        );
    }
}
