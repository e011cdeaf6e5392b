//! The proof is geometric: a machine executes the file and the stream, and what it lays down is compared
//! segment by segment.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use proptest::prelude::*;

use super::*;
use crate::analyze::{Analyzer, Options};
use crate::index::Index;
use crate::lines::{LineSink, RawLine, Splitter};
use crate::modal::Move;
use crate::source::{Batch, Prepare, PrepareOptions};

/// One thing laid down, with everything that shapes it.
#[derive(Clone, Debug, PartialEq)]
struct Laid {
    from: [Micro; 3],
    to: [Micro; 3],
    e: Micro,
    feed: Micro,
    tool: u8,
    fan: Option<Micro>,
    targets: Vec<Option<Micro>>,
    bed: Option<Micro>,
    limits: crate::limits::MotionLimits,
    retracted: Micro,
}

/// Executes commands and notes what is laid down.
#[derive(Default)]
struct Machine {
    modal: Modal,
    laid: Vec<(Option<u64>, Laid)>,
}

impl Machine {
    /// `tag`: where the line stands in the file.
    fn run(&mut self, text: &[u8], tag: Option<u64>) {
        let step = self.modal.apply(text);
        if let Step::Linear(moved) | Step::Curve(moved, _) | Step::BadCurve(moved) = step
            && moved.e > 0
            && moved.from[..2] != moved.to[..2]
        {
            let laid = self.laid(&moved);
            self.laid.push((tag, laid));
        }
    }

    fn laid(&self, moved: &Move) -> Laid {
        let m = &self.modal;
        let (sum, peak) = fed(m);
        Laid {
            from: moved.from,
            to: moved.to,
            e: moved.e,
            feed: m.feed,
            tool: m.tool,
            fan: m.fans[0],
            targets: m.tool_targets.clone(),
            bed: m.bed_target,
            limits: m.limits,
            retracted: peak - sum,
        }
    }
}

/// The commands of a file with the byte at which each begins.
fn commands(file: &[u8]) -> Vec<(u64, Vec<u8>)> {
    struct Starts(Vec<u64>);
    impl LineSink for Starts {
        fn block(&mut self, block: &[u8], start: u64) {
            crate::lines::each_line(block, start, |line| self.0.push(line.start));
        }
        fn line(&mut self, line: RawLine<'_>) {
            self.0.push(line.start);
        }
    }
    let mut starts = Starts(Vec::new());
    let mut splitter = Splitter::at(0);
    splitter.push(file, &mut starts);
    splitter.finish(&mut starts);
    let mut batch = Batch::default();
    let mut prepare = Prepare::new(PrepareOptions::default());
    prepare.feed(file, &mut batch);
    prepare.finish(&mut batch);
    batch
        .lines
        .iter()
        .map(|line| {
            (
                starts.0[line.source_line as usize - 1],
                batch.text_of(line).to_vec(),
            )
        })
        .collect()
}

fn index_of(file: &[u8]) -> (Index, usize) {
    let mut analyzer = Analyzer::new(Options {
        index: true,
        ..Options::default()
    });
    analyzer.push(file);
    let (analysis, index) = analyzer.finish_with_index();
    (index, analysis.objects.len())
}

fn stream(lines: &[(u64, Vec<u8>)], index: &Index, plan: &SkipPlan) -> Vec<(Option<u64>, Vec<u8>)> {
    let spans = index.object_spans().expect("few changes");
    let mut skip = Skip::new(spans, Arc::new(plan.clone()));
    let mut out = Vec::new();
    for (start, text) in lines {
        skip.line(text, *start, |line, origin| {
            out.push(((origin == Origin::Program).then_some(*start), line.to_vec()));
        });
    }
    out
}

/// Kept: laid down exactly as the file says. Skipped: not at all. Nothing else is laid down.
fn check(file: &[u8], plan: &SkipPlan) -> Result<usize, TestCaseError> {
    let (index, _) = index_of(file);
    let lines = commands(file);
    let mut wanted = Machine::default();
    let mut left_out = 0;
    for (start, text) in &lines {
        let before = wanted.laid.len();
        wanted.run(text, Some(*start));
        let object = index.object_at(*start);
        if object.is_some_and(|o| plan.covers(o, *start)) {
            left_out += wanted.laid.len() - before;
            wanted.laid.truncate(before);
        }
    }
    let mut printed = Machine::default();
    for (tag, text) in stream(&lines, &index, plan) {
        let before = printed.laid.len();
        printed.run(&text, tag);
        prop_assert!(
            tag.is_some() || printed.laid.len() == before,
            "a bridge extrudes: {}",
            String::from_utf8_lossy(&text)
        );
    }
    for (index, (want, got)) in wanted.laid.iter().zip(&printed.laid).enumerate() {
        prop_assert_eq!(want, got, "segment {}", index);
    }
    prop_assert_eq!(wanted.laid.len(), printed.laid.len());
    // And the end is the same: where the head stands, what is hot.
    prop_assert_eq!(&wanted.modal.tool_targets, &printed.modal.tool_targets);
    prop_assert_eq!(wanted.modal.bed_target, printed.modal.bed_target);
    prop_assert_eq!(wanted.modal.position, printed.modal.position);
    Ok(left_out)
}

fn plates() -> &'static [(String, Vec<u8>)] {
    static PLATES: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    PLATES.get_or_init(read_plates)
}

/// The committed slices that have several objects.
fn read_plates() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/gcode");
    let mut plates = Vec::new();
    for entry in std::fs::read_dir(folder).expect("fixtures").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".gcode") {
            let bytes = std::fs::read(entry.path()).expect("readable");
            if index_of(&bytes).1 > 1 {
                plates.push((name, bytes));
            }
        }
    }
    plates.sort();
    plates
}

#[test]
fn every_object_of_every_plate_can_be_left_out_from_the_beginning() {
    let plates = plates();
    assert!(plates.len() >= 3, "{} plates", plates.len());
    for (name, bytes) in plates {
        let (_, objects) = index_of(bytes);
        for object in 0..objects {
            let mut plan = SkipPlan::default();
            plan.add(object as u32, 0);
            let left_out = check(bytes, &plan).unwrap_or_else(|e| panic!("{name}, object {object}: {e}"));
            assert!(left_out > 0, "{name}: object {object} is nowhere");
        }
    }
}

#[test]
fn without_a_plan_every_command_but_the_marks_goes_out_as_it_is() {
    for (name, bytes) in plates() {
        let (index, _) = index_of(bytes);
        let lines = commands(bytes);
        let all: Vec<_> = stream(&lines, &index, &SkipPlan::default())
            .into_iter()
            .map(|(_, text)| text)
            .collect();
        let wanted: Vec<_> = lines
            .into_iter()
            .map(|(_, text)| text)
            .filter(|text| class::of(text) != Class::ObjectMark)
            .collect();
        assert!(all == wanted, "{name}");
    }
}

/// A small program of two objects in ways that the fixtures do not have.
fn small(relative_e: bool, inches: bool, relative: bool, firmware: bool) -> String {
    let mut g = String::from("G28\nM104 S200\n");
    g += if inches { "G20\n" } else { "G21\n" };
    g += if relative_e { "M83\n" } else { "M82\n" };
    g += "G92 E0\nG1 Z0.2 F600\n";
    let mut e = 0.0;
    for layer in 0..4 {
        for (object, x) in [("a", 10.0), ("b", 40.0)] {
            g += &format!("; printing object {object} id:0 copy 0\n");
            g += &format!("G0 X{x} Y{} F7200\n", 10 + layer);
            g += if firmware { "G11\n" } else { "" };
            if relative {
                g += "G91\n";
                g += if relative_e { "M83\n" } else { "M82\n" };
            }
            for i in 0..3 {
                e += 0.5;
                let ew = if relative_e { 0.5 } else { e };
                let x = if relative { 1.0 } else { x + f64::from(i) + 1.0 };
                g += &format!("G1 X{x} E{ew} F1{i}00\n");
            }
            if relative {
                g += "G90\n";
                g += if relative_e { "M83\n" } else { "M82\n" };
            }
            g += &format!("M106 S{}\n", layer * 20 + 7);
            if firmware {
                g += "G10\n";
            } else if relative_e {
                g += "G1 E-0.8 F2400\nG1 E0.8 F2400\n";
            } else {
                g += &format!("G1 E{} F2400\n", e - 0.8);
                if layer % 2 == 0 {
                    g += "G92 E0\n";
                    e = 0.0;
                    g += "G1 E0.8\nG92 E0\n";
                }
            }
            g += &format!("; stop printing object {object} id:0 copy 0\n");
        }
        g += &format!("G1 Z{:.1}\nM220 S{}\n", 0.4 + f64::from(layer) * 0.2, 100 + layer);
    }
    g + "M104 S0\nG28 X\nM84\n"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_objects_at_any_moment_leave_the_rest_untouched(
        which in 0usize..100,
        skips in prop::collection::vec((0u32..8, 0.0f64..1.0), 1..4),
    ) {
        let plates = plates();
        let (_, bytes) = &plates[which % plates.len()];
        let objects = index_of(bytes).1 as u32;
        let mut plan = SkipPlan::default();
        for (object, at) in skips {
            plan.add(object % objects, (at * bytes.len() as f64) as u64);
        }
        check(bytes, &plan)?;
    }

    #[test]
    fn modes_of_every_kind_are_restored(
        modes in prop::array::uniform4(any::<bool>()),
        object in 0u32..2,
        at in 0.0f64..1.0,
    ) {
        let [relative_e, inches, relative, firmware] = modes;
        let file = small(relative_e, inches, relative, firmware);
        let mut plan = SkipPlan::default();
        plan.add(object, (at * file.len() as f64) as u64);
        check(file.as_bytes(), &plan)?;
    }

    #[test]
    fn a_later_order_changes_nothing_before_it(
        which in 0usize..100,
        first in (0u32..8, 0.0f64..1.0),
        second in (0u32..8, 0.0f64..1.0),
    ) {
        let plates = plates();
        let (_, bytes) = &plates[which % plates.len()];
        let (index, objects) = index_of(bytes);
        let lines = commands(bytes);
        let byte = |at: f64| (at * bytes.len() as f64) as u64;
        let mut plan = SkipPlan::default();
        plan.add(first.0 % objects as u32, byte(first.1));
        let before = stream(&lines, &index, &plan);
        plan.add(second.0 % objects as u32, byte(second.1));
        let after = stream(&lines, &index, &plan);
        for (a, b) in before.iter().zip(&after) {
            if a.0.is_some_and(|start| start >= byte(second.1)) || b.0.is_some_and(|start| start >= byte(second.1)) {
                break;
            }
            if a.0.is_none() || b.0.is_none() {
                // A bridge to a line behind the order may differ.
                continue;
            }
            prop_assert_eq!(a, b);
        }
    }
}

#[test]
fn what_ends_the_print_is_never_left_out_with_the_last_object() {
    let body = |from: u32| {
        format!(
            "G1 X{from} Y10 F6000\nG1 X{} Y10 E1 F1200\nG1 X{from} Y12 E1\n",
            from + 20
        )
    };
    let head = "G28\nM83\nG1 Z0.3 F600\n";
    let tail = "G1 E-2 F2400\nG91\nG1 Z10 F600\nG90\nG1 X0 Y200 F6000\nM104 S0\nM84\n";
    let (one, two) = (body(10), body(50));
    for text in [
        format!(
            "{head}EXCLUDE_OBJECT_START NAME=a\n{one}EXCLUDE_OBJECT_END NAME=a\n\
             EXCLUDE_OBJECT_START NAME=b\n{two}EXCLUDE_OBJECT_END NAME=b\n{tail}"
        ),
        format!(
            ";Generated with Cura\n{head};LAYER:0\n;MESH:a\n{one};MESH:b\n{two};TIME_ELAPSED:12.5\n{tail}"
        ),
    ] {
        let (index, objects) = index_of(text.as_bytes());
        assert_eq!(objects, 2, "{text}");
        let mut plan = SkipPlan::default();
        plan.add(1, 0);
        let left_out = check(text.as_bytes(), &plan).expect("the same");
        assert_eq!(left_out, 2);
        let lines = stream(&commands(text.as_bytes()), &index, &plan);
        let mut printed = Machine::default();
        lines.iter().for_each(|(_, line)| printed.run(line, None));
        assert_eq!(
            printed.modal.position,
            [0, 200 * UNIT, 10_300_000],
            "the head stays on the part"
        );
    }
}

/// Slicers that mark only where an object begins: leaving out the last one must leave the end of the print alone.
#[test]
fn what_ends_the_print_goes_out_whichever_object_is_left_out() {
    let marks = [
        [";MESH:a.stl", ";MESH:b.stl"],
        [";PRINTING: a\n;PRINTING_ID: 0", ";PRINTING: b\n;PRINTING_ID: 1"],
        ["; process a", "; process b"],
        ["M486 S0", "M486 S1"],
        ["; printing object a", "; printing object b"],
    ];
    for [a, b] in marks {
        let text = format!(
            "G28\nM104 S200\nM82\nG92 E0\nG1 Z0.2 F600\n{a}\nG0 X10 Y10 F7200\nG1 X20 E1 F1500\nG1 Y20 E2\n\
             {b}\nG0 X50 Y50 F7200\nG1 X60 E3 F1500\nG1 Y60 E4\nG1 E3 F2400\nG91\nG0 Z10\nG90\nG0 X0 Y200\n\
             M104 S0\nM84\n"
        );
        for object in [0, 1] {
            let mut plan = SkipPlan::default();
            plan.add(object, 0);
            let left_out = check(text.as_bytes(), &plan).unwrap_or_else(|e| panic!("{b}, {object}: {e}"));
            assert_eq!(left_out, 2, "{b}");
            let (index, _) = index_of(text.as_bytes());
            let lines = stream(&commands(text.as_bytes()), &index, &plan);
            let sent: Vec<_> = lines.iter().map(|(_, l)| String::from_utf8_lossy(l)).collect();
            let off = sent.iter().position(|l| l == "M84").expect("the motors go off");
            let mut printed = Machine::default();
            lines[..off].iter().for_each(|(_, line)| printed.run(line, None));
            let [x, y, z] = printed.modal.position;
            assert_eq!([x, y], [0, 200 * UNIT], "{b}, {object}: {sent:?}");
            assert!(z >= 10 * UNIT, "{b}, {object}: the head went up: {sent:?}");
        }
    }
}

/// The checker's report: `REPORT=FOLDER…:FOLDER cargo test --lib skip_report -- --ignored --nocapture`.
#[test]
#[ignore = "a report on many files: tests/long/run skips"]
fn skip_report() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/gcode");
    let more = std::env::var("REPORT").unwrap_or_default();
    let folders = std::iter::once(here).chain(more.split(':').filter(|f| !f.is_empty()).map(Into::into));
    let mut files: Vec<std::path::PathBuf> = folders
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flat_map(|entries| entries.flatten().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "gcode"))
        .collect();
    files.sort();
    let rounds: u64 = std::env::var("ROUNDS")
        .ok()
        .and_then(|r| r.parse().ok())
        .unwrap_or(25);
    println!("file | slicer | E | arcs | tools | objects | skips | segments compared | left out | differing");
    let (mut reported, mut seed) = (0, 0x9e37_79b9_7f4a_7c15_u64);
    for path in files {
        let bytes = std::fs::read(&path).expect("readable");
        let mut analyzer = Analyzer::new(Options::default());
        analyzer.push(&bytes);
        let analysis = analyzer.finish();
        let objects = index_of(&bytes).1 as u64;
        if objects < 2 {
            continue;
        }
        let mut dice = |below: u64| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let (mut skips, mut compared, mut gone, mut differing) = (0, 0, 0, 0);
        for _ in 0..rounds {
            let mut plan = SkipPlan::default();
            for _ in 0..=dice(objects - 1) {
                plan.add(dice(objects) as u32, dice(bytes.len() as u64));
                skips += 1;
            }
            match check(&bytes, &plan) {
                Ok(left_out) => {
                    let mut all = Machine::default();
                    commands(&bytes)
                        .iter()
                        .for_each(|(start, text)| all.run(text, Some(*start)));
                    compared += all.laid.len() - left_out;
                    gone += left_out;
                }
                Err(why) => {
                    differing += 1;
                    println!("{}: {why}", path.display());
                }
            }
        }
        let tools = analysis
            .filament
            .iter()
            .filter(|f| f.mm.is_some_and(|mm| mm > 0.0))
            .count();
        println!(
            "{} | {} | {} | {} | {} | {objects} | {skips} | {compared} | {gone} | {differing}",
            path.file_name().expect("a name").to_string_lossy(),
            analysis.slicer.name.as_deref().unwrap_or("?"),
            if analysis.motion.e_relative {
                "relative"
            } else {
                "absolute"
            },
            if analysis.motion.arcs { "yes" } else { "no" },
            tools.max(1),
        );
        assert_eq!(differing, 0, "{}", path.display());
        reported += 1;
    }
    assert!(reported >= 3, "{reported} files with several objects");
}
