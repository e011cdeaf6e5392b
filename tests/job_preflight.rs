//! The pre-flight check on files of real slicers: what may be printed is not refused, what may not
//! is, and the words say which line, value and limit.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may be blunt"
)]

use std::path::{Path, PathBuf};

use layerd::gcode::analysis::Analysis;
use layerd::gcode::analyze::{Analyzer, Bed, Options};
use layerd::job::preflight::{Limits, check};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/gcode")
        .join(name)
}

fn analyze(bytes: &[u8], limits: &Limits) -> Analysis {
    let mut analyzer = Analyzer::new(Options {
        bed: limits.bed_mm.map(|[x, y, z]| Bed::rect(x, y, z)),
        max_tool_c: limits.max_tool_c.map(f64::from),
        max_bed_c: limits.max_bed_c.map(f64::from),
        ..Options::default()
    });
    analyzer.push(bytes);
    analyzer.finish()
}

fn printer(x: f64, y: f64, z: f64) -> Limits {
    Limits {
        bed_mm: Some([x, y, z]),
        max_tool_c: Some(260.0),
        max_bed_c: Some(110.0),
        plain_gcode_only: true,
        ..Limits::default()
    }
}

/// The code and words of a refusal, if there is one.
fn refused(bytes: &[u8], limits: &Limits) -> Option<(&'static str, String)> {
    let analysis = analyze(bytes, limits);
    check(&analysis, limits, "part.gcode", &[])
        .refusal()
        .map(|r| (r.code, r.message))
}

#[test]
fn files_for_a_printer_are_not_refused_by_it() {
    for (name, limits) in [
        ("plate.gcode", printer(220.0, 220.0, 250.0)),
        ("labels.gcode", printer(220.0, 220.0, 250.0)),
        ("two-tools.gcode", printer(220.0, 220.0, 250.0)),
        ("slic3r.gcode", printer(220.0, 220.0, 250.0)),
        ("cura.gcode", printer(220.0, 220.0, 250.0)),
        // Its purge line lies at Y-3, outside the bed.
        ("mk3.gcode", printer(250.0, 210.0, 210.0)),
    ] {
        let bytes = std::fs::read(fixture(name)).expect("fixture");
        assert_eq!(refused(&bytes, &limits), None, "{name}");
    }
}

#[test]
fn a_plate_too_big_for_the_bed_is_refused_with_line_value_and_limit() {
    let bytes = std::fs::read(fixture("plate.gcode")).expect("fixture");
    let small = printer(100.0, 100.0, 250.0);
    let (code, words) = refused(&bytes, &small).expect("refused");
    assert_eq!(code, "preflight/outside-bed");
    assert!(words.contains("100 mm") && words.contains("line "), "{words}");
    // The line it names is the first that extrudes there.
    let line: usize = words
        .rsplit("line ")
        .next()
        .and_then(|rest| rest.trim_end_matches('.').parse().ok())
        .expect("a number");
    let text = String::from_utf8_lossy(&bytes);
    let blamed = text.lines().nth(line - 1).expect("in the file");
    assert!(
        blamed.starts_with("G1 ") && blamed.contains('E'),
        "{line}: {blamed}"
    );
    let warn = Limits {
        only_warn: true,
        ..small
    };
    assert_eq!(refused(&bytes, &warn), None, "preflight = \"warn\"");
}

#[test]
fn a_part_too_high_or_too_hot_is_refused() {
    let bytes = std::fs::read(fixture("plate.gcode")).expect("fixture");
    let (code, words) = refused(&bytes, &printer(220.0, 220.0, 0.5)).expect("refused");
    assert!(
        code == "preflight/outside-bed" && words.contains("height"),
        "{words}"
    );
    let cold = Limits {
        max_tool_c: Some(180.0),
        ..printer(220.0, 220.0, 250.0)
    };
    let (code, words) = refused(&bytes, &cold).expect("refused");
    assert!(
        code == "preflight/too-hot" && words.contains("180") && words.contains("line "),
        "{words}"
    );
    let cold_bed = Limits {
        max_bed_c: Some(40.0),
        ..printer(220.0, 220.0, 250.0)
    };
    let (code, words) = refused(&bytes, &cold_bed).expect("refused");
    assert!(code == "preflight/too-hot" && words.contains("bed"), "{words}");
}

#[test]
fn what_is_no_gcode_is_refused() {
    let limits = printer(220.0, 220.0, 250.0);
    let code = |bytes: &[u8]| refused(bytes, &limits).map(|(code, _)| code);
    assert_eq!(code(b""), Some("preflight/empty"));
    assert_eq!(code(b"; only words\n\n"), Some("preflight/empty"));
    let whole = std::fs::read(fixture("plate.gcode")).expect("fixture");
    // A copy that the power cut: the right length, the end all NUL.
    let mut holed = whole.clone();
    let half = holed.len() / 2;
    holed[half..].fill(0);
    assert_eq!(code(&holed), Some("preflight/damaged"));
    let noise: Vec<u8> = (0..40_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    assert!(code(&noise).is_some());
    let mut spliced = whole;
    spliced.splice(half..half, noise);
    assert_eq!(code(&spliced), Some("preflight/damaged"));
}

#[test]
fn objects_to_skip_are_found_by_number_and_by_name() {
    let limits = printer(220.0, 220.0, 250.0);
    let bytes = std::fs::read(fixture("plate.gcode")).expect("fixture");
    let analysis = analyze(&bytes, &limits);
    assert_eq!(analysis.objects.len(), 3, "ring, star and wedge");
    let names: Vec<String> = analysis.objects.iter().map(|o| o.name.clone()).collect();
    let report = check(&analysis, &limits, "plate.gcode", &names[1..2]);
    assert_eq!(
        (report.refusal(), report.skip),
        (None, vec![analysis.objects[1].id])
    );
    let refusal = check(&analysis, &limits, "plate.gcode", &names)
        .refusal()
        .expect("all");
    assert_eq!(refusal.code, "preflight/all-objects");
    let unknown = ["teapot".to_owned()];
    let refusal = check(&analysis, &limits, "plate.gcode", &unknown)
        .refusal()
        .expect("none");
    assert!(
        names.iter().all(|n| refusal.message.contains(n.as_str())),
        "{}",
        refusal.message
    );
}
