//! What of the cloud's printer object is the host's or the configuration's. Pure. Unknown is null.

use serde_json::{Map, Value};

use crate::host::health::Host;
use crate::job::preflight::Limits;
use crate::json::json;
use crate::printer::model::{Heater, State};

/// Members that are always told.
pub fn members(host: &Host) -> Map<String, Value> {
    let whole = |number: Option<f32>| number.map(|n| n.round() as i64);
    let (usage, temp, memory) = (
        whole(host.cpu_percent),
        whole(host.cpu_c),
        whole(host.memory_percent),
    );
    let known = usage.or(temp).or(memory);
    [
        ("ip", json!(host.ip)),
        ("machine", json!(host.board)),
        (
            "health",
            json!(known.map(|_| json!({"usage": usage, "temp": temp, "memory": memory}))),
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into_iter()
    .collect()
}

/// Columns that are told when they are asked for by name; `None`: not one of the host's.
pub fn column(host: &Host, host_name: &str, name: &str) -> Option<Value> {
    Some(match name {
        "mac" => json!(host.mac),
        "ssid" => json!(host.ssid),
        "ethernet" => json!(host.wired),
        "hostname" => json!(Some(host_name).filter(|name| !name.is_empty())),
        "apiVersion" => json!(env!("CARGO_PKG_VERSION")),
        _ => return None,
    })
}

/// The model as far as the configuration and the printer tell of it; null when they tell nothing.
pub fn model(limits: &Limits, state: &State) -> Value {
    if limits.bed_mm.is_none() && limits.max_tool_c.is_none() && limits.max_bed_c.is_none() {
        return Value::Null;
    }
    let machine = state.firmware.as_ref().and_then(|f| f.machine.as_ref());
    let bed = limits.bed_mm;
    json!({
        "id": null,
        "name": machine,
        "brand": null,
        "bedSize": bed.map(|[x, y, _]| [x, y]),
        "bedType": bed.map(|_| if limits.bed_round { "round" } else { "square" }),
        "maxHeight": bed.map(|[_, _, z]| z),
        "originCenter": bed.map(|_| u8::from(limits.origin_center)),
        "hasHeatedBed": state.heaters.contains_key(&Heater::Bed).then_some(true),
        "maxToolTemp": limits.max_tool_c,
        "maxBedTemp": limits.max_bed_c,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use jiff::Timestamp;

    use super::*;
    use crate::printer::model::Now;

    #[test]
    fn what_nobody_knows_is_null_and_never_zero() {
        let shown = members(&Host::default());
        assert!(shown.values().all(Value::is_null), "{shown:?}");
        assert_eq!(column(&Host::default(), "", "mac"), Some(Value::Null));
        assert_eq!(column(&Host::default(), "", "hostname"), Some(Value::Null));
        assert_eq!(column(&Host::default(), "pi", "nfcId"), None);
        let state = State::new(Now {
            mono: Instant::now(),
            wall: Timestamp::UNIX_EPOCH,
        });
        assert_eq!(model(&Limits::default(), &state), Value::Null);
        let limits = Limits {
            bed_mm: Some([220.0, 210.0, 250.0]),
            ..Limits::default()
        };
        let shown = model(&limits, &state);
        assert_eq!(
            (&shown["bedSize"], &shown["maxHeight"]),
            (&json!([220.0, 210.0]), &json!(250.0))
        );
        assert_eq!(
            (&shown["maxToolTemp"], &shown["hasHeatedBed"]),
            (&Value::Null, &Value::Null)
        );
    }

    #[test]
    fn a_host_that_knows_a_part_tells_that_part() {
        let host = Host {
            board: Some("Raspberry Pi 4 Model B Rev 1.2".to_owned()),
            cpu_c: Some(46.4),
            wired: Some(false),
            ssid: Some("Print Shop".to_owned()),
            ..Host::default()
        };
        let shown = members(&host);
        assert_eq!(
            shown["health"],
            json!({"usage": null, "temp": 46, "memory": null})
        );
        assert_eq!(shown["machine"], "Raspberry Pi 4 Model B Rev 1.2");
        assert_eq!(column(&host, "pi", "ethernet"), Some(json!(false)));
        assert_eq!(column(&host, "pi", "ssid"), Some(json!("Print Shop")));
    }
}
