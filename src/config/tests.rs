use super::load::{Surroundings, parse};
use super::model::{Common, OnStop};
use super::*;

/// A driver with one key of its own.
fn configure(_: &str, _: &Common, section: &mut Section<'_>) -> Option<String> {
    section.required_string("port", "\"/dev/ttyUSB0\"")
}

fn read(text: &str) -> Result<Config<String>, Diagnostics> {
    parse(
        text,
        "layerd.toml",
        &Surroundings::default(),
        &["marlin", "moonraker"],
        &mut configure,
    )
}

#[test]
fn five_mistakes_give_five_places_in_one_run() {
    let text = "\
[agent]
nmae = \"shop\"

[printer.ender3]
driver = \"marlin\"
port = 5
bed = [220, 220]
preflight = \"maybe\"

[printer.voron]
driver = \"moonrakr\"
";
    let mistakes = read(text).expect_err("five mistakes").to_string();
    let want = "\
layerd.toml:2:1: `nmae` is not a key of [agent]. Did you mean `name`?
layerd.toml:6:8: `port` must be a text in quotes.
layerd.toml:7:7: `bed` must be a list of 3 numbers.
layerd.toml:8:13: `preflight` must be \"refuse\" or \"warn\".
layerd.toml:11:10: there is no driver `moonrakr`; known are \"marlin\", \"moonraker\". Did you mean `moonraker`?";
    assert_eq!(mistakes, want);
}

#[test]
fn broken_toml_and_wrong_keys_are_told_together_without_the_source() {
    let mistakes = read("[agent]\nname = \"secret\n[api]\nid = -1\n")
        .expect_err("broken")
        .to_string();
    assert!(mistakes.contains("layerd.toml:2:"), "{mistakes}");
    assert!(mistakes.contains("layerd.toml:4:6: `id` is -1"), "{mistakes}");
    assert!(!mistakes.contains("secret"), "{mistakes}");
}

#[test]
fn everything_has_a_default_but_the_driver_and_its_port() {
    let config = read("[printer.a]\ndriver = \"marlin\"\nport = \"/dev/x\"\n").expect("good");
    assert_eq!(config.api.listen, ["127.0.0.1:7380"]);
    assert_eq!(config.agent.state_dir.to_str(), Some("/var/lib/layerd"));
    assert!(config.simplyprint.is_none());
    let common = &config.printers.first().expect("one").common;
    assert_eq!(
        (common.idle_heaters_off.as_secs(), common.checkpoint.as_secs()),
        (1800, 60)
    );
    let missing =
        read("[printer.a]\nbed = [1, 2, 3]\n[printer.b]\ndriver = \"marlin\"\n").expect_err("missing");
    assert!(
        missing
            .to_string()
            .contains("layerd.toml:1:10: `driver` is missing in [printer.a]"),
        "{missing}"
    );
    assert!(
        missing
            .to_string()
            .contains("layerd.toml:3:10: `port` is missing in [printer.b]"),
        "{missing}"
    );
}

#[test]
fn every_key_of_a_printer_is_read() {
    let text = "\
[printer.a]
driver = \"marlin\"
port = \"/dev/x\"
bed = [220, 220, 250.5]
bed_shape = \"round\"
origin = \"center\"
reach = { min = [-3, -5, 0], max = [223, 225, 255] }
max_tool_c = 260
max_bed_c = 110
preflight = \"warn\"
on_stop = \"cancel\"
on_restart = \"pause\"
idle_heaters_off_min = 0
pause_nozzle_off_min = 5
require_clear_bed = true
checkpoint_s = 10
camera = { snapshot = \"http://127.0.0.1/s\", stream = \"http://127.0.0.1/m\" }
power = { kind = \"tasmota\", url = \"http://127.0.0.1\", on_connect = true }
";
    let config = read(text).expect("good");
    let common = &config.printers.first().expect("one").common;
    assert_eq!(common.bed_mm, Some([220.0, 220.0, 250.5]));
    assert_eq!(common.on_stop, Some(OnStop::Cancel));
    assert!(common.bed_round && common.pause_on_restart && common.require_clear_bed);
    assert_eq!(common.reach_mm.expect("set").min, [-3.0, -5.0, 0.0]);
}

#[test]
fn names_that_cannot_be_files_are_refused() {
    for name in ["\"../x\"", "\"a b\"", "\"\"", "\".hidden\""] {
        let text = format!("[printer.{name}]\ndriver = \"marlin\"\nport = \"p\"\n");
        assert!(
            read(&text)
                .expect_err("refused")
                .to_string()
                .contains("is no name for a printer"),
            "{name}"
        );
    }
}

#[test]
fn two_printers_on_one_port_are_a_mistake_at_the_second() {
    let text = "[printer.b]\ndriver = \"marlin\"\nport = \"/dev/x\"\n[printer.a]\ndriver = \"marlin\"\nport = \"/dev/x\"\n";
    assert_eq!(
        read(text).expect_err("one port").to_string(),
        "layerd.toml:6:8: `port` is the same as that of [printer.b]. Give each printer its own."
    );
}

#[test]
fn a_file_with_secrets_must_be_closed_to_others() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("layerd.toml");
    let text = "[printer.a]\ndriver = \"marlin\"\nport = \"/dev/x\"\npower = { kind = \"tasmota\", url = \"http://127.0.0.1\", password = \"hush\" }\n";
    std::fs::write(&path, text).expect("written");
    for (mode, good) in [(0o640, true), (0o600, true), (0o644, false), (0o660, false)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("mode");
        let read = super::load::load(&path, &Surroundings::default(), &["marlin"], &mut configure);
        assert_eq!(read.is_ok(), good, "{mode:o}");
        if let Err(mistakes) = read {
            assert!(!mistakes.to_string().contains("hush"));
            assert!(mistakes.to_string().contains("chmod 640"), "{mistakes}");
        }
    }
}

#[test]
fn a_client_finds_the_socket_although_the_file_has_mistakes() {
    let around = Surroundings::default();
    let text = "[agent]\nruntime_dir = \"/tmp/l\"\nnmae = 5\n[printer.a\n";
    assert_eq!(
        super::load::runtime_dir(text, &around),
        std::path::Path::new("/tmp/l")
    );
    assert_eq!(
        super::load::runtime_dir("", &around),
        std::path::Path::new("/run/layerd")
    );
}
