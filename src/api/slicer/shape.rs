//! What the two dialects answer about a printer. Pure: snapshot in, JSON out. Unknown is null.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::json::json;
use crate::printer::model::{Heater, State, StateWord};

/// The version of OctoPrint whose requests are understood.
const LIKE_OCTOPRINT: &str = "1.5.0";

/// `/api/version`: slicers want `api`, and a `text` that begins with `OctoPrint`.
pub fn version() -> Value {
    json!({
        "api": "0.1",
        "server": LIKE_OCTOPRINT,
        "text": format!("OctoPrint (layerd {})", env!("CARGO_PKG_VERSION")),
    })
}

/// `/api/server`.
pub fn server() -> Value {
    json!({"server": LIKE_OCTOPRINT, "safemode": null})
}

/// `/api/login`: whoever came this far has a key, or needs none.
pub fn login() -> Value {
    json!({
        "_is_external_client": false,
        "_login_mechanism": "apikey",
        "name": "layerd",
        "active": true,
        "user": true,
        "admin": false,
        "apikey": null,
        "permissions": [],
        "groups": ["users"],
    })
}

/// `/api/settings`: files come as plain G-code and go nowhere but here.
pub fn settings() -> Value {
    json!({
        "feature": {"sdSupport": false, "temperatureGraph": false},
        "plugins": {},
        "webcam": {"webcamEnabled": false},
    })
}

/// `/api/printerprofiles`: one, ours.
pub fn profiles(name: &str, state: &State) -> Value {
    let tools = state
        .heaters
        .keys()
        .filter(|h| matches!(h, Heater::Tool(_)))
        .count();
    let machine = state.firmware.as_ref().and_then(|f| f.machine.as_deref());
    let axis = |speed: u32| json!({"speed": speed, "inverted": false});
    json!({"profiles": {"_default": {
        "id": "_default",
        "name": name,
        "model": machine.unwrap_or(name),
        "default": true,
        "current": true,
        "heatedBed": state.heaters.contains_key(&Heater::Bed),
        "heatedChamber": state.heaters.contains_key(&Heater::Chamber),
        "extruder": {"count": tools.max(1), "sharedNozzle": false},
        "axes": {"x": axis(6000), "y": axis(6000), "z": axis(200), "e": axis(300)},
    }}})
}

/// OctoPrint's word for a state.
fn word(state: &State) -> &'static str {
    match state.word() {
        StateWord::Printing => "Printing",
        StateWord::Pausing => "Pausing",
        StateWord::Paused => "Paused",
        StateWord::Resuming => "Resuming",
        StateWord::Cancelling => "Cancelling",
        StateWord::Downloading => "Starting",
        StateWord::Offline => "Offline",
        StateWord::Error => "Error",
        StateWord::NotReady => "Connecting",
        StateWord::Operational => "Operational",
    }
}

/// `/api/printer`; `None` when there is no printer to speak of (409 there).
pub fn printer(state: &State) -> Option<Value> {
    let said = state.word();
    if state.offline || !state.is_up() {
        return None;
    }
    let temperature: Map<String, Value> = state
        .heaters
        .iter()
        .filter(|(heater, _)| matches!(heater, Heater::Tool(_) | Heater::Bed | Heater::Chamber))
        .map(|(heater, heat)| {
            let seen =
                json!({"actual": tenth(heat.actual_c), "target": heat.target_c.map(tenth), "offset": 0});
            (heater.to_string(), seen)
        })
        .collect();
    let error = matches!(said, StateWord::Error);
    Some(json!({
        "temperature": temperature,
        "sd": {"ready": false},
        "state": {"text": word(state), "error": "", "flags": {
            "operational": !error,
            "ready": matches!(said, StateWord::Operational),
            "printing": matches!(said, StateWord::Printing | StateWord::Resuming | StateWord::Downloading),
            "pausing": matches!(said, StateWord::Pausing),
            "paused": matches!(said, StateWord::Paused),
            "resuming": matches!(said, StateWord::Resuming),
            "cancelling": matches!(said, StateWord::Cancelling),
            "finishing": false,
            "error": error,
            "closedOrError": error,
            "sdReady": false,
        }},
    }))
}

/// `/api/job`.
pub fn job(state: &State, now: Timestamp) -> Value {
    let job = state.job.as_ref();
    let progress = job.map(|j| &j.progress);
    let started = job.and_then(|j| j.started);
    let name = job.map(|j| j.file.as_str());
    json!({
        "job": {
            "file": {"name": name, "path": name, "display": name, "origin": "local", "size": null, "date": null},
            "estimatedPrintTime": null,
            "filament": {},
            "user": null,
        },
        "progress": {
            "completion": progress.and_then(|p| p.percent).map(tenth),
            "filepos": null,
            "printTime": started.map(|s| (now.as_second() - s.as_second()).max(0)),
            "printTimeLeft": progress.and_then(|p| p.time_left_s),
            "printTimeLeftOrigin": null,
        },
        "state": word(state),
    })
}

/// Moonraker's `/server/info`; slicers want `klippy_state`.
pub fn server_info(state: &State) -> Value {
    let klippy = match state.word() {
        _ if state.offline || !state.is_up() => "disconnected",
        StateWord::Error => "error",
        StateWord::NotReady => "startup",
        _ => "ready",
    };
    json!({"result": {
        "klippy_connected": klippy != "disconnected",
        "klippy_state": klippy,
        "components": [],
        "failed_components": [],
        "registered_directories": ["gcodes"],
        "warnings": [],
        "websocket_count": 0,
        "moonraker_version": format!("layerd {}", env!("CARGO_PKG_VERSION")),
        "api_version": [1, 5, 0],
        "api_version_string": "1.5.0",
    }})
}

fn tenth(value: f32) -> f64 {
    (f64::from(value) * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::printer::event::Event;
    use crate::printer::model::Now;
    use crate::printer::reduce::reduce;

    fn now() -> Now {
        Now {
            mono: Instant::now(),
            wall: Timestamp::from_second(1_700_000_000).expect("in range"),
        }
    }

    #[test]
    fn a_printer_that_is_not_there_is_no_cold_printer() {
        let now = now();
        let mut state = State::new(now);
        assert_eq!(printer(&state), None);
        assert_eq!(server_info(&state)["result"]["klippy_state"], "disconnected");
        assert_eq!(job(&state, now.wall)["state"], "Offline");
        reduce(&mut state, now, Event::Up);
        let shown = printer(&state).expect("up");
        assert_eq!(shown["temperature"], json!({}), "nothing was read yet");
        assert_eq!(server_info(&state)["result"]["klippy_connected"], true);
    }

    #[test]
    fn temperatures_and_flags_are_those_that_cura_reads() {
        let now = now();
        let mut state = State::new(now);
        reduce(&mut state, now, Event::Up);
        let heat = Event::Heat {
            heater: Heater::Tool(0),
            actual_c: 21.26,
            target_c: None,
        };
        reduce(&mut state, now, heat);
        let shown = printer(&state).expect("up");
        assert_eq!(
            shown["temperature"],
            json!({"tool0": {"actual": 21.3, "target": null, "offset": 0}})
        );
        for flag in [
            "error",
            "closedOrError",
            "paused",
            "pausing",
            "printing",
            "cancelling",
            "ready",
            "operational",
        ] {
            assert!(shown["state"]["flags"][flag].is_boolean(), "{flag}");
        }
        let shown = job(&state, now.wall);
        assert_eq!(shown["job"]["file"]["name"], Value::Null);
        assert!(shown["progress"].get("printTimeLeft").is_some());
    }
}
