//! The analyzer against an independent, slow reading of the same really sliced files, and against
//! what the slicers say about them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use layerd::gcode::analysis::Analysis;
use layerd::gcode::analyze::{Analyzer, Options};
use layerd::gcode::analyze_file::analyze_file;

fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/gcode");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("fixtures")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "gcode"))
        .collect();
    files.sort();
    assert!(files.len() >= 8, "{}", files.len());
    files
}

fn analyze(path: &Path) -> Analysis {
    analyze_file(path, &Options::default(), &mut |_, _| true)
        .expect("readable")
        .0
}

/// A plain executor: words split at blanks, floats, no cleverness. It shares no code with the
/// analyzer.
#[derive(Default)]
struct Slow {
    pos: [f64; 3],
    offset: [f64; 3],
    placed: [bool; 3],
    e: f64,
    relative: bool,
    e_relative: bool,
    tool: usize,
    per_mm: f64,
    sum: BTreeMap<usize, f64>,
    peak: BTreeMap<usize, f64>,
    low: [f64; 3],
    high: [f64; 3],
    part_low: [f64; 3],
    part_high: [f64; 3],
    radius: f64,
    layers: u32,
    apart: bool,
    own_marks: bool,
    custom: bool,
    /// Fed by the profile's own start and end code, which the slicer's figure leaves out.
    custom_fed: f64,
    commands: u64,
}

impl Slow {
    fn run(text: &str) -> Slow {
        let mut slow = Slow {
            low: [f64::MAX; 3],
            high: [f64::MIN; 3],
            part_low: [f64::MAX; 3],
            part_high: [f64::MIN; 3],
            per_mm: 1.0,
            ..Slow::default()
        };
        if text.contains(";FLAVOR:UltiGCode") {
            slow.per_mm = std::f64::consts::PI * 2.85 * 2.85 / 4.0;
        }
        // A profile may add marks of another kind; the slicer's own count.
        slow.own_marks = text.lines().any(|l| l == ";LAYER_CHANGE");
        let marked = text
            .lines()
            .any(|l| l == ";LAYER_CHANGE" || l.starts_with(";LAYER:"));
        for line in text.lines() {
            slow.line(line, marked);
        }
        slow
    }

    fn line(&mut self, line: &str, marked: bool) {
        if line == ";LAYER_CHANGE" || (!self.own_marks && line.starts_with(";LAYER:")) {
            self.layers += 1;
        }
        if let Some(kind) = line.strip_prefix(";TYPE:") {
            self.custom = kind == "Custom";
            self.apart = matches!(kind, "Skirt/Brim" | "Skirt" | "Brim" | "SKIRT" | "Custom");
        }
        let code = line.split(';').next().unwrap_or("").trim();
        if code.is_empty() {
            return;
        }
        self.commands += 1;
        let words: Vec<&str> = code.split_whitespace().collect();
        let value = |letter: char| {
            words[1..]
                .iter()
                .filter_map(|w| w.strip_prefix(letter))
                .filter_map(|v| v.parse::<f64>().ok())
                .next_back()
        };
        match words[0] {
            "G90" => (self.relative, self.e_relative) = (false, false),
            "G91" => (self.relative, self.e_relative) = (true, true),
            "M82" => self.e_relative = false,
            "M83" => self.e_relative = true,
            "G28" => (self.pos, self.offset, self.placed) = ([0.0; 3], [0.0; 3], [false; 3]),
            "G92" => {
                for (i, letter) in ['X', 'Y', 'Z'].into_iter().enumerate() {
                    if let Some(v) = value(letter) {
                        self.offset[i] = self.pos[i] - v;
                    }
                }
                if let Some(e) = value('E') {
                    self.e = e;
                }
            }
            "G0" | "G1" => self.motion(&value, marked),
            "G2" | "G3" => panic!("no arcs in these files"),
            t if t.starts_with('T') && t[1..].parse::<usize>().is_ok() => {
                self.tool = t[1..].parse().unwrap_or(0)
            }
            _ => {}
        }
    }

    fn motion(&mut self, value: &dyn Fn(char) -> Option<f64>, marked: bool) {
        let (from, was_placed) = (self.pos, self.placed);
        for (i, letter) in ['X', 'Y', 'Z'].into_iter().enumerate() {
            if let Some(v) = value(letter) {
                if self.relative {
                    self.pos[i] += v;
                } else {
                    self.pos[i] = v + self.offset[i];
                    self.placed[i] = true;
                }
            }
        }
        let mut fed = 0.0;
        if let Some(e) = value('E') {
            fed = if self.e_relative { e } else { e - self.e };
            self.e = if self.e_relative { self.e + e } else { e };
        }
        let sum = self.sum.entry(self.tool).or_default();
        *sum += fed / self.per_mm;
        let sum = *sum;
        let peak = self.peak.entry(self.tool).or_default();
        *peak = peak.max(sum);
        let moved = from[0] != self.pos[0] || from[1] != self.pos[1];
        if self.custom && fed > 0.0 && moved {
            self.custom_fed += fed / self.per_mm;
        }
        if fed > 0.0 && moved {
            let part = !self.apart && (!marked || self.layers > 0);
            for (point, placed) in [(from, was_placed), (self.pos, self.placed)] {
                if !placed[0] || !placed[1] {
                    continue;
                }
                for i in 0..3 {
                    self.low[i] = self.low[i].min(point[i]);
                    self.high[i] = self.high[i].max(point[i]);
                    if part {
                        self.part_low[i] = self.part_low[i].min(point[i]);
                        self.part_high[i] = self.part_high[i].max(point[i]);
                    }
                }
                if part {
                    self.radius = self.radius.max(point[0].hypot(point[1]));
                }
            }
        }
    }
}

fn close(a: [f64; 3], b: [f64; 3]) -> bool {
    a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 0.001)
}

#[test]
fn bounds_and_filament_agree_with_a_slow_executor() {
    for path in fixtures() {
        let text = std::fs::read_to_string(&path).expect("text");
        let slow = Slow::run(&text);
        let ours = analyze(&path);
        let name = path.display();
        let (all, part) = (
            ours.bounds.extruding.expect("extrudes"),
            ours.bounds.part.expect("part"),
        );
        assert!(
            close(all.min, slow.low) && close(all.max, slow.high),
            "{name}: {all:?} {:?} {:?}",
            slow.low,
            slow.high
        );
        assert!(
            close(part.min, slow.part_low) && close(part.max, slow.part_high),
            "{name}: {part:?} {:?} {:?}",
            slow.part_low,
            slow.part_high
        );
        let radius = ours.simplyprint.min_delta_radius.expect("radius");
        assert!(
            (radius - slow.radius).abs() < 0.006,
            "{name}: {radius} {}",
            slow.radius
        );
        let used: Vec<_> = slow.peak.iter().filter(|(_, mm)| **mm > 0.0).collect();
        assert_eq!(used.len(), ours.filament.len(), "{name}");
        for ((tool, mm), one) in used.iter().zip(&ours.filament) {
            let found = one.mm.expect("length");
            assert_eq!(**tool as u32, one.tool, "{name}");
            assert!((found - **mm).abs() <= **mm * 0.001, "{name}: {found} {mm}");
        }
        assert_eq!(ours.commands, slow.commands, "{name}");
        assert_eq!(ours.lines, text.lines().count() as u64, "{name}");
        if slow.layers > 0 {
            assert_eq!(ours.layers.count, Some(slow.layers), "{name}");
        }
    }
}

#[test]
fn slicers_own_figures_agree() {
    let mut compared = 0;
    for path in fixtures() {
        let ours = analyze(&path);
        let custom = Slow::run(&std::fs::read_to_string(&path).expect("text")).custom_fed;
        for one in &ours.filament {
            if let (Some(mm), Some(said)) = (one.mm, one.slicer_mm) {
                assert!(
                    (mm - said).abs() <= (said * 0.001).max(0.05)
                        || (mm - custom - said).abs() <= said * 0.001,
                    "{}: {mm} {said}",
                    path.display()
                );
                compared += 1;
            }
        }
        if let (Some(said), Some(model)) = (ours.time.slicer_s, ours.time.model_s) {
            assert!(
                (model / said - 1.0).abs() < 0.10,
                "{}: {model} {said}",
                path.display()
            );
            compared += 1;
        }
    }
    assert!(compared >= 10, "{compared}");
}

#[test]
fn every_chunking_and_container_gives_the_same() {
    for path in fixtures() {
        let text = std::fs::read(&path).expect("file");
        let mut whole = Analyzer::new(Options::default());
        whole.push(&text);
        let (a, index_a) = whole.finish_with_index();
        for size in [1, 7, 1000, 65_537] {
            let mut pieces = Analyzer::new(Options::default());
            for piece in text.chunks(size) {
                pieces.push(piece);
            }
            let (b, index_b) = pieces.finish_with_index();
            assert!(
                a == b && index_a == index_b,
                "{} in pieces of {size}",
                path.display()
            );
        }
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/gcode");
    let (text, binary) = (
        analyze(&folder.join("prusa_cube.gcode")),
        analyze(&folder.join("prusa_cube.bgcode")),
    );
    assert_eq!(
        (text.bounds.clone(), text.filament, text.layers),
        (binary.bounds, binary.filament, binary.layers)
    );
    assert_eq!(
        (text.time.slicer_s, text.slicer, text.temps),
        (binary.time.slicer_s, binary.slicer, binary.temps)
    );
}

#[test]
fn what_the_fuzzer_found_stays_fixed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/gcode/found");
    for entry in std::fs::read_dir(folder).expect("folder") {
        let path = entry.expect("entry").path();
        let bytes = std::fs::read(&path).expect("file");
        let (mut whole, mut pieces) = (
            Analyzer::new(Options::default()),
            Analyzer::new(Options::default()),
        );
        whole.push(&bytes);
        bytes.iter().for_each(|byte| pieces.push(&[*byte]));
        assert_eq!(whole.finish(), pieces.finish(), "{}", path.display());
    }
}

#[test]
fn the_index_leads_back_to_every_layer() {
    use layerd::gcode::index::Index;
    use layerd::gcode::modal::Modal;
    use layerd::gcode::source::{Batch, Prepare, PrepareOptions};

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/gcode/prusa_six.gcode");
    let (analysis, index) = analyze_file(&path, &Options::default(), &mut |_, _| true).expect("readable");
    let index = Index::decode(&index.encode()).expect("our own");
    let text = std::fs::read(&path).expect("file");
    assert_eq!(index.checkpoints() as u32, analysis.layers.count.expect("layers"));
    for layer in 1..=analysis.layers.count.expect("layers") {
        let at = index.layer_start(layer).expect("checkpoint");
        assert_eq!((at.layer, index.layer_at(at.byte)), (layer, layer));
        assert!(text[at.byte as usize..].starts_with(b";LAYER_CHANGE"));
        let before = &text[..at.byte as usize];
        assert_eq!(at.line, before.iter().filter(|b| **b == b'\n').count() as u64);
        // The state at the checkpoint is the state after everything before it.
        let (mut prepare, mut batch) = (Prepare::new(PrepareOptions::default()), Batch::default());
        prepare.feed(before, &mut batch);
        let mut modal = Modal::default();
        batch.lines.iter().for_each(|line| {
            modal.apply(batch.text_of(line));
        });
        assert_eq!(at.modal, modal);
    }
    let spans: Vec<_> = index.spans().collect();
    assert!(spans.len() > 100);
    for object in &analysis.objects {
        assert_eq!(index.object_at(object.first_byte.expect("seen")), Some(object.id));
    }
    let mut last = 0.0;
    for byte in (0..=analysis.size).step_by(997) {
        let now = index.progress_at(byte);
        assert!(now >= last && now <= 1.0);
        last = now;
    }
}
