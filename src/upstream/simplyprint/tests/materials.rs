//! Spools of a printer with a material system.

use std::sync::Arc;

use super::*;
use crate::printer::command::MaterialPlace;
use crate::printer::model::MaterialSlot;

fn slot(position: u16, material: &str) -> MaterialSlot {
    MaterialSlot {
        position,
        unit_kind: "bambu_ams",
        slot: i64::from(position),
        loaded: Some(true),
        material: Some(material.to_owned()),
        ..MaterialSlot::default()
    }
}

fn with_ams() -> Bench {
    let mut bench = Bench::with(Mode::Multi, claimed(), Vec::new());
    bench.view.materials = Some(Arc::new(vec![slot(0, "PLA"), slot(1, "PETG")]));
    bench.observe();
    bench.connect();
    bench
}

fn file(bench: &mut Bench, map: Value) {
    bench.demand(
        json!({"demand": "file", "job_id": 7, "url": "https://files.example/7", "auto_start": true,
        "file_name": "two.3mf", "mms_map": map}),
    );
}

#[test]
fn the_cloud_hears_all_spools_first_then_changes_and_all_again_when_it_asks() {
    let mut bench = with_ams();
    let told = bench.of("material_data");
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["refresh"], true);
    assert_eq!(told[0]["materials"].as_array().map(Vec::len), Some(2));
    bench.clear();
    bench.view.materials = Some(Arc::new(vec![slot(0, "PLA"), slot(1, "ABS")]));
    bench.observe();
    assert_eq!(
        bench.of("material_data")[0],
        &json!({"materials": [{"nozzle": 0, "ext": 1, "type": "ABS"}]})
    );
    bench.clear();
    bench.demand(json!({"demand": "refresh_material_data"}));
    bench.turn();
    assert_eq!(bench.of("material_data")[0]["refresh"], true);
    let asked = Action::Command(Command::RefreshMaterials);
    assert_eq!(
        bench.acts.iter().filter(|act| **act == asked).count(),
        1,
        "the printer reads its spools anew"
    );
    bench.clear();
    bench.cut();
    bench.connect();
    assert_eq!(bench.of("material_data")[0]["refresh"], true);
}

#[test]
fn a_map_goes_with_the_start_to_a_printer_that_has_spools_to_choose_from() {
    let mut bench = with_ams();
    file(&mut bench, json!([1, null, {"nozzle": 0, "ext": 256}]));
    bench.fetched();
    let orders = bench.acts.iter().filter_map(|act| match act {
        Action::Start(order) => Some(order.materials.clone()),
        _ => None,
    });
    let place = |position| Some(MaterialPlace { nozzle: 0, position });
    assert_eq!(orders.collect::<Vec<_>>(), [vec![place(1), None, place(256)]]);
}

#[test]
fn a_map_that_cannot_be_followed_starts_nothing() {
    let mut bench = Bench::ready();
    file(&mut bench, json!([1, 0]));
    bench.turn();
    assert_eq!(bench.fetches(), 0);
    assert_eq!(bench.of("file_progress")[0]["state"], "error");
    let mut bench = with_ams();
    file(&mut bench, json!(["blue"]));
    bench.turn();
    assert_eq!(bench.fetches(), 0);
    assert_eq!(bench.of("file_progress")[0]["state"], "error");
}

fn started_plates(bench: &Bench) -> Vec<Option<u32>> {
    let starts = bench.acts.iter().filter_map(|act| match act {
        Action::Start(order) => Some(order.plate),
        _ => None,
    });
    starts.collect()
}

fn project(bench: &mut Bench, entry: Value) {
    bench.demand(
        json!({"demand": "file", "job_id": 7, "url": "https://files.example/7", "auto_start": true,
        "file_name": "two.3mf", "zip_printable": entry}),
    );
}

#[test]
fn the_plate_that_was_chosen_goes_with_the_start() {
    for (entry, plate) in [(json!("Metadata/plate_2.gcode"), Some(2)), (json!(null), None)] {
        let mut bench = Bench::ready();
        project(&mut bench, entry);
        bench.fetched();
        assert_eq!(started_plates(&bench), [plate]);
    }
}

#[test]
fn an_entry_that_is_no_plate_starts_nothing_and_is_named() {
    let mut bench = Bench::ready();
    project(&mut bench, json!("parts/boat.stl"));
    bench.turn();
    assert_eq!(bench.fetches(), 0);
    let said = bench.of("file_progress")[0];
    assert_eq!(said["state"], "error");
    assert!(
        said["message"]
            .as_str()
            .is_some_and(|m| m.contains("parts/boat.stl")),
        "{said}"
    );
}
