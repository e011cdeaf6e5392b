//! What people and programs see of a printer. Pure: snapshot in, JSON out. Unknown is null or absent,
//! never zero.

use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::json::json;
use crate::printer::model::{Activity, Filament, Heater, LinkState, MaterialSlot, Now, Origin, State};
use crate::printer::notice::{Level, Notice};

/// Who a printer is, beside what it does.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// Name in the configuration.
    pub name: &'a str,
    /// Small stable number.
    pub id: i64,
    /// Kind of driver.
    pub driver: &'a str,
    /// It has a camera, of its own or a configured one.
    pub camera: bool,
}

/// The object of `layerd printers --json`.
pub fn native(who: Who<'_>, state: &State, now: Now) -> Value {
    json!({
        "name": who.name,
        "id": who.id,
        "driver": who.driver,
        "state": state.word(),
        "why": why(state),
        "since": rfc3339(state.since.wall),
        "link": link(state),
        "job": job(state),
        "temps": temps(state, now.mono),
        "firmware": state.firmware.as_ref().map(|f| json!({"name": f.name, "version": f.version})),
        "capabilities": capabilities(state),
        "notices": state.notices.iter().enumerate().map(|(n, notice)| native_notice(n, notice)).collect::<Vec<_>>(),
        "message": state.message,
        "tool": state.active_tool,
        "position": state.position.map(|(p, at)| json!({
            "x": p.x_mm.map(thousandth), "y": p.y_mm.map(thousandth), "z": p.z_mm.map(thousandth), "age_ms": age_ms(at, now.mono),
        })),
        "traffic": {"lines": state.traffic.lines, "resends": state.traffic.resends},
        "bed_dirty": state.bed_dirty,
        "bed_cycle": state.bed_cycle.map(|c| json!({"stage": c.stage, "in_a_row": c.in_a_row, "cleared": c.cleared})),
        "power": power(state, now.mono),
        "filament": state.filament.iter().map(|(n, seen)| (n.to_string(), json!(seen))).collect::<Map<_, _>>(),
        "equipment": state.equipment.as_deref(),
        "mesh": state.mesh.as_deref().map(|m| json!({"min": m.min_mm, "max": m.max_mm, "rows": m.rows_mm})),
        "materials": state.materials.as_deref(),
        "camera_stream": state.camera_stream,
    })
}

/// The switch of the supply; null without one.
fn power(state: &State, now: Instant) -> Value {
    let Some(supply) = &state.supply else {
        return Value::Null;
    };
    let why = supply
        .fault
        .as_ref()
        .map(|f| json!({"code": f.code, "message": f.to_string()}));
    json!({"on": supply.on, "cut": supply.cut, "age_ms": age_ms(supply.at, now), "why": why})
}

/// Why the printer stands still, in one word, where it does.
fn why(state: &State) -> Value {
    match &state.activity {
        Activity::Paused(reason) => json!(reason),
        Activity::Error(fault) => json!(fault.code),
        Activity::NotReady(text) => json!(text),
        _ => Value::Null,
    }
}

fn link(state: &State) -> Value {
    let why = match &state.link {
        LinkState::Down { why: Some(fault) } => json!({"code": fault.code, "message": fault.to_string()}),
        _ => Value::Null,
    };
    json!({"up": state.is_up(), "since": rfc3339(state.link_since.wall), "why": why})
}

fn capabilities(state: &State) -> Value {
    json!({"supported": state.capabilities.names(true), "unsupported": state.capabilities.names(false)})
}

fn job(state: &State) -> Value {
    let Some(job) = &state.job else { return Value::Null };
    json!({
        "uid": job.uid,
        "file": job.file,
        "percent": job.progress.percent.map(tenth),
        "upload_percent": job.upload_percent.map(tenth),
        "layer": job.progress.layer,
        "layers": job.progress.layers,
        "time_left_s": job.progress.time_left_s,
        "skipped": job.skipped,
        "outside": job.origin == Origin::Outside,
        "started": job.started.map(rfc3339),
        "heated": job.heated.map(rfc3339),
        "held": job.held,
    })
}

fn temps(state: &State, now: Instant) -> Value {
    let members: Map<String, Value> = state
        .heaters
        .iter()
        .map(|(heater, heat)| {
            let value = json!({
                "actual": tenth(heat.actual_c),
                "target": heat.target_c.map(tenth),
                "age_ms": age_ms(heat.at, now),
            });
            (heater.to_string(), value)
        })
        .collect();
    Value::Object(members)
}

/// A notice in our own shape; `number` is its place.
pub fn native_notice(number: usize, notice: &Notice) -> Value {
    json!({
        "number": number,
        "id": notice.id,
        "level": notice.level,
        "title": notice.title,
        "text": notice.text,
        "code": notice.code,
        "buttons": notice.buttons,
        "at": rfc3339(notice.at),
    })
}

/// One row of `printers/Get`: the cloud's shape, with ours as the member `layerd`.
pub fn row(who: Who<'_>, state: &State, job_id: Option<i64>, now: Now) -> Value {
    json!({
        "id": who.id,
        "sort_order": who.id,
        "printer": printer(who, state),
        "filament": Value::Null,
        "job": cloud_job(who, state, job_id, now),
        "notifications": state.notices.iter().map(cloud_notice).collect::<Vec<_>>(),
        "layerd": native(who, state, now),
    })
}

fn printer(who: Who<'_>, state: &State) -> Value {
    let tools = tools(state);
    let current: Vec<Value> = tools
        .iter()
        .map(|t| t.map_or(Value::Null, |(actual, _)| whole(actual)))
        .collect();
    let target: Vec<Value> = tools
        .iter()
        .map(|t| t.and_then(|(_, target)| target).map_or(Value::Null, whole))
        .collect();
    let bed = state.heaters.get(&Heater::Bed);
    let firmware = state.firmware.as_ref();
    let mut out = json!({
        "name": who.name,
        "state": state.word(),
        "position": who.id,
        "api": integration(who.driver),
        "ui": "layerd",
        "integration": integration(who.driver),
        "online": !state.offline,
        "firmware": firmware.map(|f| &f.name),
        "firmwareVersion": firmware.and_then(|f| f.version.as_ref()),
        "spVersion": env!("CARGO_PKG_VERSION"),
        "temps": {
            "ambient": state.heaters.get(&Heater::Ambient).map(|h| whole(h.actual_c)),
            "current": {"tool": current, "bed": bed.map(|h| whole(h.actual_c))},
            "target": {"tool": target, "bed": bed.and_then(|h| h.target_c).map(whole)},
            "targetTemperatures": false,
        },
        "activeExtruder": state.active_tool,
        "activeNozzle": state.active_tool,
        "activeTools": [state.active_tool],
        // That no switch and no camera is there is knowledge; what a printer has otherwise built in is not.
        "hasPSU": u8::from(state.supply.is_some()),
        "psuOn": state.supply.as_ref().and_then(|s| s.on),
        "hasFilSensor": if state.filament.is_empty() { Value::Null } else { json!(true) },
        "filSensor": fil_sensor(state),
        "hasCam": u8::from(who.camera),
        "capabilities": capabilities(state),
        "nopi": 0,
        "locked": 0,
        "unsupported": 0,
        "autoprint": state.bed_cycle.is_some_and(|c| c.on),
        "currentAutoprintJobs": state.bed_cycle.map(|c| c.in_a_row),
        "autoprintMaxJobs": state.bed_cycle.and_then(|c| c.max_prints),
        "peripheralsDefinition": state.supply.as_ref().map(|_| json!({"power:psu": {"n": "PSU", "f": "rw"}})),
        "peripheralsState": state.supply.as_ref().map(|s| json!({"power:psu": s.on})),
        "tags": state.materials.as_deref().map(|slots| tags(slots)),
        "aiEnabled": false,
        "outOfOrder": 0,
    });
    if let Value::Object(members) = &mut out {
        for name in UNKNOWN_HERE {
            members.insert((*name).to_owned(), Value::Null);
        }
    }
    out
}

/// The materials that the printer itself tells of; numbers of kinds are the cloud's.
fn tags(slots: &[MaterialSlot]) -> Value {
    let material = slots.iter().enumerate().map(|(n, slot)| {
        let hex = slot.color.as_ref().map(|color| format!("#{color}"));
        json!({"ext": n, "type": null, "color": null, "hex": hex, "nozzle": slot.nozzle})
    });
    json!({"nozzleData": [], "material": material.collect::<Vec<_>>(), "custom": [], "bedType": null})
}

/// Whether a filament sensor has triggered: one without filament is what people must see.
fn fil_sensor(state: &State) -> Value {
    if state.filament.is_empty() {
        return Value::Null;
    }
    json!(state.filament.values().any(|seen| *seen == Filament::Runout))
}

/// Members of the cloud's printer object that nobody on this host knows: null, never a made-up zero.
const UNKNOWN_HERE: &[&str] = &[
    "group",
    "groupName",
    "ip",
    "machine",
    "region",
    "health",
    "latency",
    "model",
    "hasQueue",
    "lockReason",
    "licensed",
    "serial_number_id",
    "autoprintDetails",
    "aiSettings",
];

/// The name of a driver as the cloud's own objects spell such names.
fn integration(driver: &str) -> String {
    let mut letters = driver.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Tools from 0 to the highest one seen; a gap is unknown.
fn tools(state: &State) -> Vec<Option<(f32, Option<f32>)>> {
    let last = state.heaters.keys().filter_map(|h| match h {
        Heater::Tool(n) => Some(*n),
        _ => None,
    });
    let Some(last) = last.max() else { return Vec::new() };
    (0..=last)
        .map(|n| {
            state
                .heaters
                .get(&Heater::Tool(n))
                .map(|h| (h.actual_c, h.target_c))
        })
        .collect()
}

fn cloud_job(who: Who<'_>, state: &State, job_id: Option<i64>, now: Now) -> Value {
    let Some(job) = &state.job else { return Value::Null };
    let started = job.started.map(Timestamp::as_second);
    json!({
        "id": job_id,
        "uid": job.uid,
        "printer_id": who.id,
        "state": state.word(),
        "file": job.file,
        "percentage": job.progress.percent.map(|p| p.floor() as i64),
        "time_left": job.progress.time_left_s,
        "current_layer": job.progress.layer,
        "started": started,
        "ended": Value::Null,
        "duration": started.map(|s| (now.wall.as_second() - s).max(0)),
        "skippedObjects": if job.skipped.is_empty() { Value::Null } else { json!(job.skipped) },
        "outsideSystem": job.origin == Origin::Outside,
    })
}

/// An open notice in the cloud's shape; null members of the payload are left out.
pub fn cloud_notice(notice: &Notice) -> Value {
    let cut = |text: &str, most: usize| text.chars().take(most).collect::<String>();
    let mut payload = Map::new();
    payload.insert("title".into(), json!(cut(&notice.title, 255)));
    payload.insert("message".into(), json!(cut(&notice.text, 1024)));
    if let Some(code) = &notice.code {
        payload.insert("data".into(), json!({"code": code}));
    }
    if !notice.buttons.is_empty() {
        let buttons: Map<String, Value> = notice
            .buttons
            .iter()
            .enumerate()
            .map(|(n, label)| (n.to_string(), json!({"type": "button", "label": label})))
            .collect();
        payload.insert("actions".into(), Value::Object(buttons));
    }
    json!({
        "id": notice.id,
        "eventId": notice.id,
        "type": "generic",
        "severity": match notice.level { Level::Info => 0, Level::Warning => 1, Level::Error => 2 },
        "payload": payload,
        "issuedBy": 1,
        "issuedAt": notice.at.as_second(),
        "resolvedBy": Value::Null,
        "resolvedAt": Value::Null,
    })
}

fn thousandth(value: f32) -> f64 {
    (f64::from(value) * 1000.0).round() / 1000.0
}

fn tenth(value: f32) -> f64 {
    (f64::from(value) * 10.0).round() / 10.0
}

fn whole(value: f32) -> Value {
    json!(value.round() as i64)
}

fn age_ms(at: Instant, now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(at).as_millis()).unwrap_or(u64::MAX)
}

/// RFC 3339 in UTC with milliseconds.
pub fn rfc3339(at: Timestamp) -> String {
    format!("{at:.3}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::printer::event::Event;
    use crate::printer::model::Supply;
    use crate::printer::reduce::reduce;

    const WHO: Who<'static> = Who {
        name: "ender3",
        id: 1,
        driver: "marlin",
        camera: false,
    };

    fn now() -> Now {
        Now {
            mono: Instant::now(),
            wall: Timestamp::from_millisecond(1_700_000_000_042).expect("in range"),
        }
    }

    #[test]
    fn nothing_known_is_nothing_said() {
        let now = now();
        let shown = native(WHO, &State::new(now), now);
        assert_eq!(shown["state"], "offline");
        assert_eq!(shown["temps"], json!({}));
        assert_eq!(shown["job"], Value::Null);
        assert_eq!(shown["firmware"], Value::Null);
        assert_eq!(shown["since"], "2023-11-14T22:13:20.042Z");
        let row = row(WHO, &State::new(now), None, now);
        assert_eq!(
            row["printer"]["temps"]["current"],
            json!({"tool": [], "bed": null})
        );
        assert_eq!(row["printer"]["integration"], "Marlin");
    }

    #[test]
    fn supply_and_filament_sensor_are_told_only_where_they_are_known() {
        let now = now();
        let mut state = State::new(now);
        let printer = &row(WHO, &state, None, now)["printer"];
        assert_eq!(
            (&printer["hasPSU"], &printer["psuOn"], &printer["filSensor"]),
            (&json!(0), &Value::Null, &Value::Null)
        );
        let seen = Filament::Runout;
        reduce(
            &mut state,
            now,
            Event::Filament {
                sensor: 0,
                state: Some(seen),
            },
        );
        let supply = Supply {
            on: Some(false),
            at: now.mono,
            fault: None,
            cut: true,
        };
        reduce(&mut state, now, Event::Supply(supply));
        let shown = row(WHO, &state, None, now);
        let printer = &shown["printer"];
        assert_eq!(
            (&printer["hasPSU"], &printer["psuOn"], &printer["filSensor"]),
            (&json!(1), &json!(false), &json!(true))
        );
        assert_eq!(shown["layerd"]["power"]["cut"], true);
        assert_eq!(shown["layerd"]["filament"], json!({"0": "runout"}));
    }

    #[test]
    fn a_reading_has_an_age_and_a_second_tool_its_place() {
        let now = now();
        let mut state = State::new(now);
        reduce(&mut state, now, Event::Up);
        let heat = Event::Heat {
            heater: Heater::Tool(1),
            actual_c: 210.26,
            target_c: Some(210.0),
        };
        reduce(&mut state, now, heat);
        let later = Now {
            mono: now.mono + Duration::from_millis(1500),
            ..now
        };
        let shown = native(WHO, &state, later);
        assert_eq!(
            shown["temps"],
            json!({"tool1": {"actual": 210.3, "target": 210.0, "age_ms": 1500}})
        );
        let row = row(WHO, &state, None, later);
        assert_eq!(row["printer"]["temps"]["current"]["tool"], json!([null, 210]));
    }

    #[test]
    fn every_capability_stands_in_exactly_one_list() {
        let now = now();
        let mut state = State::new(now);
        state.capabilities.set("time.left", true);
        let shown = native(WHO, &state, now);
        let lists = &shown["capabilities"];
        let count = |list: &str, name: &str| {
            lists[list]
                .as_array()
                .expect("list")
                .iter()
                .filter(|v| *v == name)
                .count()
        };
        for name in ["layer.progress", "time.left", "print.start.predownload"] {
            assert_eq!(count("supported", name) + count("unsupported", name), 1, "{name}");
        }
        assert_eq!(count("supported", "time.left"), 1);
    }

    #[test]
    fn notices_keep_their_limits() {
        use crate::printer::fault::{Fault, Severity};
        let fault = Fault::new(Severity::Warning, "a/b", "", "Why.", "Do.").with_what("ü".repeat(3000));
        let shown = cloud_notice(&Notice::of_fault(&fault, Level::Warning, Timestamp::UNIX_EPOCH));
        assert_eq!(
            shown["payload"]["title"].as_str().expect("text").chars().count(),
            255
        );
        assert!(shown["payload"].get("actions").is_none());
    }
}
