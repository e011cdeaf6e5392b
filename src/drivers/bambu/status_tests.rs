//! Reports of real printers (see `fixtures/bambu`) against values worked out by hand.

use serde_json::Value;

use super::super::ams::Tray;
use super::super::model;
use super::super::report::Message;
use super::*;

fn merged(text: &str) -> Status {
    let message: Message<'_> = serde_json::from_str(text).expect("JSON");
    let mut status = Status::default();
    status.merge(&message.print.0.expect("a status"));
    status
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64()
}

fn tray_matches(status: &Status, tray: &Tray, want: &Value, at: &str, live: bool) {
    let text = |key: &str| want[key].as_str().map(str::to_owned);
    assert_eq!(tray.material, text("type"), "{at}");
    assert_eq!(tray.color, text("color"), "{at}");
    if live {
        assert_eq!(tray.filament_id, text("filament_id"), "{at}");
        assert_eq!(
            tray.remain_percent.map(i64::from),
            want["remain_percent"].as_i64(),
            "{at}"
        );
    }
    let _ = status;
}

fn check(name: &str, report: &str, expected: &Value) {
    let status = merged(report);
    let want = &expected[name];
    assert_eq!(Some(status.state_word.as_str()), want["gcode_state"].as_str());
    assert_eq!(
        status.state.is_busy(),
        want["progress_is_live"].as_bool().expect("bool")
    );
    assert_eq!(status.percent, want["percent"].as_i64());
    assert_eq!(status.remaining_min, want["remaining_minutes"].as_i64());
    assert_eq!(status.layer, want["layer"].as_i64());
    assert_eq!(status.layers, want["total_layers"].as_i64());
    assert_eq!(status.stage, want["stage_code"].as_i64());
    assert_eq!(Some(status.job_name.as_str()), want["job_name"].as_str());
    assert_eq!(Some(status.file.as_str()), want["gcode_file"].as_str());
    assert_eq!(Some(status.task_id.as_str()), want["task_id"].as_str());
    assert_eq!(Some(status.subtask_id.as_str()), want["subtask_id"].as_str());
    for (id, nozzle) in want["nozzles"].as_object().expect("nozzles") {
        let tools = status.tools();
        let (_, temp) = tools
            .iter()
            .find(|(n, _)| n.to_string() == *id)
            .expect("the nozzle");
        assert_eq!(temp.actual_c.map(f64::from), number(&nozzle["current"]));
        assert_eq!(temp.target_c.map(f64::from), number(&nozzle["target"]));
    }
    assert_eq!(
        Some(u64::from(status.active_nozzle)),
        want["active_nozzle"].as_u64()
    );
    assert_eq!(
        status.bed.actual_c.map(f64::from),
        number(&want["bed"]["current"])
    );
    assert_eq!(status.bed.target_c.map(f64::from), number(&want["bed"]["target"]));
    let product = want["model"].as_str().expect("a model");
    let measured = model::by_product(match product {
        "X1C" => "X1-Carbon",
        "H2D" | "P2S" | "X2D" | "A1 mini" | "A1" | "P1S" | "P1P" | "H2C" | "H2S" => product,
        _ => "P1S",
    })
    .is_some_and(|m| m.chamber);
    let chamber = status.chamber(measured);
    assert_eq!(
        chamber.and_then(|t| t.actual_c).map(f64::from),
        number(&want["chamber"]["current"])
    );
    for (fan, steps) in [
        ("part", status.fans.part),
        ("aux", status.fans.aux),
        ("chamber", status.fans.chamber),
        ("heatbreak", status.fans.heatbreak),
    ] {
        assert_eq!(steps, want["fan_steps"][fan].as_i64(), "{fan}");
    }
    assert_eq!(status.speed_level, want["speed_level"].as_i64());
    assert_eq!(status.wifi_dbm, want["wifi_dbm"].as_i64());
    assert_eq!(status.ip.map(|ip| ip.to_string()).as_deref(), want["ip"].as_str());
    let hms: Vec<Value> = status
        .hms
        .iter()
        .map(|(a, c)| super::super::faults::hms_code(*a, *c).into())
        .collect();
    assert_eq!(Value::Array(hms), want["hms"]);
    for unit in want["ams"].as_array().expect("units") {
        let mine = status
            .materials
            .units
            .iter()
            .find(|u| Some(u.id) == unit["id"].as_i64())
            .expect("the unit");
        assert_eq!(mine.humidity_index, unit["humidity_index"].as_i64());
        assert_eq!(mine.humidity_percent, unit["humidity_percent"].as_i64());
        assert_eq!(mine.temp_c, number(&unit["temp"]).map(|t| t as f32));
        for tray in unit["trays"].as_array().expect("trays") {
            let slot = tray["slot"].as_i64().expect("slot");
            let at = format!("{name} unit {} slot {slot}", mine.id);
            let present = mine
                .trays
                .iter()
                .find(|t| t.id == slot)
                .is_some_and(|t| status.materials.is_present(mine, t));
            assert_eq!(Some(present), tray["present"].as_bool(), "{at}");
            if let Some(found) = mine.trays.iter().find(|t| t.id == slot) {
                // The estimate counts only where the firmware says that it makes one.
                tray_matches(&status, found, tray, &at, true);
            }
        }
    }
    let active = status.materials.active();
    assert_eq!(active.map(|(unit, _)| unit), want["active_tray"]["ams"].as_i64());
    assert_eq!(active.map(|(_, slot)| slot), want["active_tray"]["slot"].as_i64());
    for spool in want["external_spools"].as_array().expect("spools") {
        let mine = status
            .materials
            .external
            .iter()
            .find(|t| Some(t.id) == spool["id"].as_i64())
            .expect("the spool");
        tray_matches(&status, mine, spool, name, false);
    }
    assert_eq!(status.signatures, want["signature_required"].as_bool());
    let homed: Vec<bool> = (0..3)
        .map(|bit| status.home_flag.unwrap_or(0) >> bit & 1 == 1)
        .collect();
    assert_eq!(serde_json::json!(homed), want["axes_homed"]);
    assert_eq!(serde_json::json!(status.skipped), want["skipped_objects"]);
    for (node, mode) in want["lights"].as_object().expect("lights") {
        assert!(
            status
                .lights
                .iter()
                .any(|(n, m)| n == node && Some(m.as_str()) == mode.as_str()),
            "{node}"
        );
    }
}

#[test]
fn real_reports_read_as_worked_out_by_hand() {
    let expected: Value =
        serde_json::from_str(include_str!("../../../fixtures/bambu/expected.json")).expect("JSON");
    check(
        "x1-idle-old",
        include_str!("../../../fixtures/bambu/x1-idle-old.json"),
        &expected,
    );
    check(
        "p1-printing-cloud-job",
        include_str!("../../../fixtures/bambu/p1-printing-cloud-job.json"),
        &expected,
    );
}

fn apply(status: &mut Status, text: &str) {
    let message: Message<'_> = serde_json::from_str(text).expect("JSON");
    status.merge(&message.print.0.expect("a status"));
}

#[test]
fn a_delta_changes_only_what_it_names() {
    let mut status = merged(include_str!("../../../fixtures/bambu/p1-printing-cloud-job.json"));
    let before = status.clone();
    apply(
        &mut status,
        r#"{"print":{"command":"push_status","msg":1,"mc_percent":43,"wifi_signal":null}}"#,
    );
    assert_eq!(status.percent, Some(43));
    status.percent = before.percent;
    assert_eq!(status, before);
    // One slot of one unit, then the same slot emptied.
    let tray = |s: &Status, id: i64| s.materials.units[0].trays.iter().find(|t| t.id == id).cloned();
    apply(
        &mut status,
        r#"{"print":{"ams":{"ams":[{"id":"0","tray":[{"id":"2","tray_type":"PETG","tray_color":"FF0000FF"}]}]}}}"#,
    );
    assert_eq!(tray(&status, 2).and_then(|t| t.material).as_deref(), Some("PETG"));
    assert_eq!(tray(&status, 1), tray(&before, 1));
    apply(
        &mut status,
        r#"{"print":{"ams":{"ams":[{"id":"0","tray":[{"id":"2"}]}]}}}"#,
    );
    assert_eq!(
        tray(&status, 2),
        Some(Tray {
            id: 2,
            ..Tray::default()
        })
    );
    assert_eq!(status.materials.units[0].trays.len(), 4);
}

#[test]
fn packed_temperatures_and_two_nozzles() {
    assert_eq!(Temp::packed(14745864).actual_c, Some(264.0));
    assert_eq!(Temp::packed(14745864).target_c, Some(225.0));
    let mut status = Status::default();
    apply(
        &mut status,
        r#"{"print":{"nozzle_temper":9,"device":{"extruder":{"state":274,"info":[{"id":0,"temp":40},{"id":1,"temp":16711934}]},"bed":{"info":{"temp":3932208}}}}}"#,
    );
    assert_eq!(status.active_nozzle, 1);
    assert_eq!(
        status.tools()[1].1,
        Temp {
            actual_c: Some(254.0),
            target_c: Some(255.0)
        }
    );
    assert_eq!(status.bed.target_c, Some(60.0));
    apply(
        &mut status,
        r#"{"print":{"device":{"extruder":{"state":33042}}}}"#,
    );
    assert_eq!(status.active_nozzle, 1);
    // An old shape under the same name changes nothing.
    let before = status.clone();
    apply(
        &mut status,
        r#"{"print":{"device":{"nozzle":{"0":{"info":8}},"extruder":[],"bed":7}}}"#,
    );
    assert_eq!(status, before);
}

#[test]
fn words_of_newer_firmware_fail_nothing() {
    let mut status = Status::default();
    apply(
        &mut status,
        r#"{"print":{"gcode_state":"DREAMING","spd_lvl":"9","ams":{"ams":"none"},"hms":{},"layer_num":"17","home_flag":-2147483391,"fun":"41AFFF9CFF"}}"#,
    );
    assert_eq!(status.state, GcodeState::Unknown);
    assert_eq!(status.state_word, "DREAMING");
    assert_eq!(status.layer, Some(17));
    assert_eq!(status.home_flag, Some(0x8000_0101));
    assert_eq!(status.signatures, Some(0x0041_AFFF_9CFF_u64 & SIGNATURES != 0));
}

// Found by the fuzz target `bambu`.
#[test]
fn a_light_with_an_endless_name_is_one_light() {
    let text = format!(
        r#"{{"print":{{"lights_report":[{{"node":"{}","mode":"on"}}]}}}}"#,
        "x".repeat(40)
    );
    let mut status = merged(&text);
    apply(&mut status, &text);
    assert_eq!(status.lights.len(), 1, "{:?}", status.lights);
}

proptest::proptest! {
    #[test]
    fn no_document_makes_it_panic(text in ".{0,400}") {
        let wrapped = format!("{{\"print\":{{\"ams\":{{\"ams\":[{{\"id\":{text:?},\"tray\":[{{\"id\":\"1\",\"tray_type\":{text:?}}}]}}]}},\"gcode_state\":{text:?}}}}}");
        for doc in [text.as_str(), wrapped.as_str()] {
            if let Ok(message) = serde_json::from_str::<Message<'_>>(doc)
                && let Some(print) = &message.print.0
            {
                Status::default().merge(print);
            }
        }
    }

    #[test]
    fn a_report_in_pieces_makes_the_same_status(cuts in proptest::collection::vec(0usize..60, 1..6)) {
        let whole: Value = serde_json::from_str(include_str!("../../../fixtures/bambu/p1-printing-cloud-job.json")).expect("JSON");
        let fields: Vec<(String, Value)> = whole["print"].as_object().expect("print").clone().into_iter().collect();
        let mut status = Status::default();
        let mut cuts = cuts;
        cuts.push(fields.len());
        cuts.sort_unstable();
        let mut from = 0;
        for to in cuts {
            let piece: serde_json::Map<String, Value> = fields[from..to.min(fields.len())].iter().cloned().collect();
            apply(&mut status, &serde_json::json!({ "print": piece }).to_string());
            from = to.min(fields.len());
        }
        proptest::prop_assert_eq!(status, merged(&whole.to_string()));
    }
}
