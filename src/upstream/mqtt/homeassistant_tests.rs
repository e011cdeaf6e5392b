use std::collections::BTreeSet;
use std::path::Path;

use super::super::view::{self, View, Who};
use super::*;
use crate::printer::guard::Limits;
use crate::printer::model::{Filament, Heater, MaterialSlot, Now};

fn facts() -> Facts {
    let now = Now {
        mono: std::time::Instant::now(),
        wall: jiff::Timestamp::from_second(1_795_000_000).expect("in range"),
    };
    let mut state = view::tests::printing(now);
    state.filament.insert(0, Filament::Loaded);
    state.materials = Some(vec![MaterialSlot::default(); 2].into());
    state.equipment = Some(
        crate::printer::equipment::Equipment {
            fans: [("part".to_owned(), 0.5)].into(),
            ..Default::default()
        }
        .into(),
    );
    let who = Who {
        name: "ender.3",
        driver: "marlin",
        camera: true,
        limits: Limits {
            max_tool_c: Some(260.0),
            ..Limits::default()
        },
    };
    View::of(who, &state, None, now).facts
}

fn home<'a>(topics: &'a Topics, commands: bool) -> Home<'a> {
    Home {
        prefix: "homeassistant",
        topics,
        commands,
        version: "0.1.0",
        host: "shop pi",
    }
}

/// What a listener sees is part of the contract. `UPDATE=1` writes the file anew.
#[test]
fn the_announcements_are_as_in_the_golden_file() {
    let topics = Topics::new("layerd", "shop pi");
    let home = home(&topics, true);
    let configs = home
        .host_configs()
        .into_iter()
        .chain(home.printer_configs("ender.3", &facts()));
    let all: serde_json::Map<String, Value> = configs.map(|c| (c.topic, c.body)).collect();
    let text = serde_json::to_string_pretty(&all).expect("JSON") + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/mqtt/homeassistant.json");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(&path, &text).expect("written");
    }
    assert_eq!(std::fs::read_to_string(&path).expect("the golden file"), text);
}

#[test]
fn each_printer_is_one_device_below_its_host_and_every_id_is_its_own() {
    let topics = Topics::new("layerd", "pi");
    let home = home(&topics, true);
    let mut ids = BTreeSet::new();
    for name in ["a", "b"] {
        for config in home.printer_configs(name, &facts()) {
            assert!(
                ids.insert(config.body["unique_id"].to_string()),
                "{}",
                config.topic
            );
            assert_eq!(
                config.body["device"]["identifiers"],
                json!([format!("layerd_pi_{name}")])
            );
            assert_eq!(config.body["device"]["via_device"], "layerd_pi");
            assert!(home.announces(name, &config.topic) && !home.announces("c", &config.topic));
            assert!(
                config
                    .topic
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_-/".contains(&b)),
                "{}",
                config.topic
            );
        }
    }
}

#[test]
fn only_what_a_printer_has_is_announced_and_nothing_to_press_where_no_commands_are_taken() {
    let topics = Topics::new("layerd", "pi");
    let objects = |commands, facts: &Facts| -> BTreeSet<String> {
        let configs = home(&topics, commands).printer_configs("p", facts);
        configs
            .iter()
            .map(|c| c.topic.rsplit('/').nth(1).expect("an object").to_owned())
            .collect()
    };
    let few = objects(true, &Facts::default());
    assert!(few.contains("state") && few.contains("emergency_stop"));
    for absent in [
        "pause",
        "camera",
        "tool0",
        "layer",
        "finish",
        "filament_runout_0",
        "slot_0",
        "fan_part",
    ] {
        assert!(!few.contains(absent), "{absent}");
    }
    let all = facts();
    let more: Vec<String> = objects(true, &all).difference(&few).cloned().collect();
    for there in [
        "pause",
        "resume",
        "cancel",
        "camera",
        "tool0",
        "bed_target",
        "layer",
        "finish",
        "filament_runout_0",
        "slot_1",
        "fan_part",
        "board",
    ] {
        assert!(more.iter().any(|m| m == there), "{there}");
    }
    assert!(
        !more.iter().any(|m| m == "board_target"),
        "a sensor cannot be heated"
    );
    let topic = |c: &Config| c.topic.split('/').nth(1).expect("a component").to_owned();
    let quiet: BTreeSet<String> = home(&topics, false)
        .printer_configs("p", &all)
        .iter()
        .map(topic)
        .collect();
    assert_eq!(
        quiet,
        ["binary_sensor", "camera", "sensor"].map(str::to_owned).into()
    );
    let silent = home(&topics, false);
    assert!(
        !silent.announces("p", "homeassistant/button/layerd_pi_p/pause/config"),
        "a button of before is cleared"
    );
}

#[test]
fn a_heater_is_called_what_people_call_it() {
    for (heater, only, name) in [
        ("tool0", true, "Nozzle"),
        ("tool1", false, "Nozzle 2"),
        ("bed", true, "Bed"),
    ] {
        assert_eq!(heater_name(heater, only), name);
    }
    assert!(Heater::Tool(3).to_string().starts_with("tool"));
}
