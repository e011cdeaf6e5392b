//! A machine executes the file and the program that goes on: what is laid down from the place on is the
//! same, segment by segment.

use std::path::{Path, PathBuf};

use super::*;
use crate::file::FileSource;
use crate::modal::Move;
use crate::recover_file::{Rest, rest_of};
use crate::source::{Batch, Prepare, PrepareOptions};

#[derive(Debug, PartialEq)]
struct Laid {
    moved: Move,
    feed: Micro,
    tool: u8,
    fans: Vec<Option<Micro>>,
    targets: Vec<Option<Micro>>,
    bed: Option<Micro>,
    percent: (Micro, Micro),
    accel: Option<f32>,
    retracted_um: i64,
}

fn laid_down(commands: impl IntoIterator<Item = Vec<u8>>) -> (Vec<Laid>, Modal) {
    let mut modal = Modal::default();
    let mut all = Vec::new();
    for text in commands {
        if let Step::Linear(moved) | Step::Curve(moved, _) | Step::BadCurve(moved) = modal.apply(&text)
            && moved.e > 0
            && moved.from[..2] != moved.to[..2]
        {
            all.push(Laid {
                moved: Move { placed: 0, ..moved },
                feed: modal.feed,
                tool: modal.tool,
                fans: modal.fans.to_vec(),
                targets: modal.tool_targets.clone(),
                bed: modal.bed_target,
                percent: (modal.speed_percent, modal.flow_percent),
                accel: modal.limits.print_accel,
                retracted_um: (modal.retracted_mm() * 1000.0).round() as i64,
            });
        }
    }
    (all, modal)
}

fn commands(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut batch = Batch::default();
    let mut prepare = Prepare::new(PrepareOptions::default());
    prepare.feed(bytes, &mut batch);
    prepare.finish(&mut batch);
    batch
        .lines
        .iter()
        .map(|line| batch.text_of(line).to_vec())
        .collect()
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/gcode")
        .join(name)
}

fn program(bytes: &[u8], rest: &Rest) -> Vec<u8> {
    let mut all = rest.beginning.clone().into_bytes();
    all.extend_from_slice(&bytes[rest.byte as usize..]);
    all
}

#[test]
fn from_every_layer_on_the_same_is_laid_down() {
    let mut layers_seen = 0;
    for name in [
        "plate.gcode",
        "labels.gcode",
        "two-tools.gcode",
        "cura.gcode",
        "slic3r.gcode",
        "mk3.gcode",
    ] {
        let path = fixture(name);
        let bytes = std::fs::read(&path).expect("a fixture");
        let (wanted, end) = laid_down(commands(&bytes));
        for layer in 2..200 {
            let rest = match rest_of(&path, From::Layer(layer), Height::Kept) {
                Ok(rest) => rest,
                Err(_) => break,
            };
            layers_seen += 1;
            let before = laid_down(commands(&bytes[..rest.byte as usize])).0.len();
            let (got, modal) = laid_down(commands(&program(&bytes, &rest)));
            for (i, (want, got)) in wanted[before..].iter().zip(&got).enumerate() {
                let mut want = format!("{want:?}");
                let mut got = format!("{got:?}");
                if i == 0 {
                    // A heater that the program switched off before is unset here: the same thing.
                    want = want.replace("Some(0)", "None");
                    got = got.replace("Some(0)", "None");
                }
                assert_eq!(
                    want.replace("Some(0)", "None"),
                    got.replace("Some(0)", "None"),
                    "{name}, layer {layer}, segment {i}"
                );
            }
            assert_eq!(got.len(), wanted.len() - before, "{name}, layer {layer}");
            assert_eq!(modal.position, end.position, "{name}, layer {layer}");
        }
    }
    assert!(layers_seen > 20, "{layers_seen} layers");
}

#[test]
fn the_part_is_approached_from_above_and_z_is_never_homed() {
    let path = fixture("plate.gcode");
    let rest = rest_of(&path, From::Layer(3), Height::Measured(31.5)).expect("a place");
    let lines: Vec<&str> = rest.beginning.lines().collect();
    let at = |wanted: &str| {
        lines
            .iter()
            .position(|l| l.starts_with(wanted))
            .unwrap_or_else(|| panic!("{wanted}: {lines:?}"))
    };
    assert!(at("G92 Z31.5") < at("G1 Z36.5") && at("G1 Z36.5") < at("G28 X Y"));
    assert!(
        at("G28 X Y") < at("M109") && at("M109") < at("G1 E6"),
        "primed only when hot"
    );
    assert!(
        at("G1 E6") < at("G0 X") && at("G0 X") < at("G0 Z"),
        "lowered at the place"
    );
    assert!(!lines.iter().any(|l| l.starts_with("G28") && *l != "G28 X Y"));
}

#[test]
fn a_byte_is_exact_to_the_line() {
    let path = fixture("plate.gcode");
    let bytes = std::fs::read(&path).expect("a fixture");
    let mut source = FileSource::open(&path, 0, 0, 0).expect("open");
    let batch = source.next_batch(bytes.len()).expect("read");
    let line = &batch.lines[batch.lines.len() / 2];
    let rest = rest_of(&path, From::Byte(line.byte_end), Height::Kept).expect("a place");
    assert_eq!((rest.byte, rest.line), (line.byte_end, line.source_line));
}

#[test]
fn what_cannot_be_known_is_refused_in_words() {
    let path = fixture("plate.gcode");
    let words = |from| {
        rest_of(&path, from, Height::Kept)
            .expect_err("refused")
            .to_string()
    };
    assert!(
        words(From::Layer(1)).contains("from its beginning"),
        "{}",
        words(From::Layer(1))
    );
    assert!(words(From::Layer(4000)).contains("its layers are 1 to"));
    assert!(words(From::Byte(u64::MAX)).contains("nothing is left"));
    let mut scan = Scan::default();
    for line in ["G28", "G1 X5 Y5 Z0.2 F900", "G1 X9 E1", "G92 X0"] {
        scan.line(line.as_bytes());
    }
    assert_eq!(scan.beginning(Height::Kept), Err(CannotRecover::Shifted));
}

#[test]
fn a_height_after_a_reset_is_not_believed() {
    assert!(height_fits(Some(12.2), 12.2) && height_fits(Some(30.0), 12.2));
    assert!(!height_fits(Some(0.0), 12.2) && !height_fits(None, 12.2) && !height_fits(Some(5.0), 12.2));
}

#[test]
fn settings_are_said_again_in_words_that_were_read() {
    // Found by the fuzz target skip_recover: its first two bytes are choices of the target.
    let bytes = std::fs::read(fixture("found/skip_recover-8.bin")).expect("a fixture");
    let mut scan = Scan::default();
    for line in commands(&bytes[2..]) {
        scan.line(&line);
    }
    let text = scan.beginning(Height::Kept).expect("a beginning");
    assert!(text.is_ascii(), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    for wanted in [
        "M203 X500 Y5",
        "M204 P800 T1000",
        "M205 X8 J0.02",
        "M201 X500",
        "M106 S255",
        "M220 S80",
        "M220 R",
    ] {
        assert!(lines.contains(&wanted), "{wanted}: {text}");
    }
}

#[test]
fn settings_that_a_printer_would_not_take_whole_are_left_out() {
    let mut scan = Scan::default();
    let long: String = ('A'..='Z')
        .map(|letter| format!("{letter}123456.654321"))
        .collect();
    let lines = ["M203 X500", "M203.1 Y9", "G28", "G1 X5 Y5 Z0.2 F900", "G1 X9 E1"];
    for line in lines
        .map(str::to_owned)
        .into_iter()
        .chain([format!("M203{long}")])
    {
        scan.line(line.as_bytes());
    }
    let text = scan.beginning(Height::Kept).expect("a beginning");
    let said: Vec<&str> = text.lines().filter(|l| l.starts_with("M203")).collect();
    assert_eq!(said, ["M203 X500"], "{text}");
}
