//! What goes upstream beside the printer's state: the host it hangs on.

use serde_json::{Map, Value};

use super::action::Extras;
use crate::host::health::Host;
use crate::json::json;

/// Everything about the host. Unknown is absent.
pub fn of_host(host_name: &str, host: &Host) -> Extras {
    Extras {
        machine: machine(host_name, host),
        cpu: cpu(host),
        camera: None,
    }
}

/// `machine_data`.
fn machine(host_name: &str, host: &Host) -> Map<String, Value> {
    let version = env!("CARGO_PKG_VERSION");
    let all = [
        ("ui", json!("layerd")),
        ("api", json!("layerd")),
        ("ui_version", json!(version)),
        ("api_version", json!(version)),
        ("sp_version", json!(version)),
        ("hostname", json!(host_name)),
        ("machine", json!(host.board)),
        ("os", json!(host.os)),
        ("core_count", json!(host.cores)),
        ("total_memory", json!(host.memory_bytes)),
        ("local_ip", json!(host.ip)),
        ("mac", json!(host.mac)),
        ("is_ethernet", json!(host.wired)),
        ("ssid", json!(host.ssid)),
    ];
    known(all)
}

/// `cpu_info`: whole numbers, as the panel shows them.
fn cpu(host: &Host) -> Map<String, Value> {
    let whole = |value: Option<f32>| json!(value.map(|v| v.round() as i64));
    known([
        ("usage", whole(host.cpu_percent)),
        ("temp", whole(host.cpu_c)),
        ("memory", whole(host.memory_percent)),
        ("flags", json!(host.throttled)),
    ])
}

fn known<const N: usize>(all: [(&str, Value); N]) -> Map<String, Value> {
    let there = all.into_iter().filter(|(_, value)| !value.is_null());
    there.map(|(key, value)| (key.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_is_absent_and_the_rest_is_rounded() {
        let host = Host {
            cpu_percent: Some(12.6),
            cpu_c: Some(48.3),
            throttled: Some(5),
            ip: Some("192.168.1.7".to_owned()),
            ssid: Some("Print Shop".to_owned()),
            ..Host::default()
        };
        let extras = of_host("shop-pi", &host);
        assert_eq!(
            Value::Object(extras.cpu),
            json!({"usage": 13, "temp": 48, "flags": 5})
        );
        assert_eq!(extras.machine.get("local_ip"), Some(&json!("192.168.1.7")));
        assert_eq!(extras.machine.get("ssid"), Some(&json!("Print Shop")));
        assert!(!extras.machine.contains_key("mac") && extras.machine.contains_key("hostname"));
    }
}
