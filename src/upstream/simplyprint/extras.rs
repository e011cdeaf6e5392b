//! What goes upstream beside the printer's state: the host it hangs on.

use serde_json::{Map, Value, json};

use super::action::Extras;

/// `machine_data` of this host, as far as it is known without asking anybody. Unknown is absent.
pub fn machine(host_name: &str) -> Map<String, Value> {
    let mut out = Map::new();
    let version = env!("CARGO_PKG_VERSION");
    for key in ["ui", "api"] {
        out.insert(key.to_owned(), json!("layerd"));
    }
    for key in ["ui_version", "api_version", "sp_version"] {
        out.insert(key.to_owned(), json!(version));
    }
    out.insert("hostname".to_owned(), json!(host_name));
    if let Ok(cores) = std::thread::available_parallelism() {
        out.insert("core_count".to_owned(), json!(cores.get()));
    }
    out
}

/// Everything about the host.
pub fn of_host(host_name: &str) -> Extras {
    Extras {
        machine: machine(host_name),
        ..Extras::default()
    }
}
