//! Before the first heater command: may this file be printed on this printer? Pure.
//!
//! Refused: what would damage or cannot work (no commands, binary garbage, too hot, the part outside
//! the bed, moves outside a stated reach, unknown skip ids). Warned of: the rest. `preflight = "warn"`
//! turns refusals that a person can overrule into warnings.

use crate::gcode::analysis::{Analysis, Box3, Format, Object, Warning};
use crate::gcode::analyze::Bed;
use crate::printer::model::MachineLimits;
use crate::printer::outcome::Refusal;
use crate::sorted;

/// Slack for slicers that round: a part exactly as big as the bed is not outside of it.
const SLACK_MM: f64 = 0.05;

const OUTSIDE_BED: &str = "preflight/outside-bed";
const TOO_HOT: &str = "preflight/too-hot";

/// What a printer can take.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// Bed size and height, mm.
    pub bed_mm: Option<[f64; 3]>,
    /// Round bed.
    pub bed_round: bool,
    /// The origin is the middle of the bed.
    pub origin_center: bool,
    /// Where the head may travel: lowest and highest X, Y, Z.
    pub reach_mm: Option<([f64; 3], [f64; 3])>,
    /// Highest tool temperature.
    pub max_tool_c: Option<f32>,
    /// Highest bed temperature.
    pub max_bed_c: Option<f32>,
    /// Findings only warn.
    pub only_warn: bool,
    /// The printer prints plain G-code only.
    pub plain_gcode_only: bool,
}

impl Limits {
    /// These, and where they say nothing those that the printer tells of itself.
    pub fn completed(&self, machine: Option<&MachineLimits>) -> Limits {
        let mut limits = self.clone();
        if let Some(machine) = machine {
            limits.max_tool_c = limits.max_tool_c.or(machine.max_tool_c);
            limits.max_bed_c = limits.max_bed_c.or(machine.max_bed_c);
            limits.reach_mm = limits.reach_mm.or(machine.reach_mm);
        }
        limits
    }

    /// The bed in the coordinates of the file.
    pub fn bed(&self) -> Option<Bed> {
        let [width, depth, height] = self.bed_mm?;
        let bed = Bed::rect(width, depth, height);
        let bed = if self.origin_center { bed.centred() } else { bed };
        Some(Bed {
            round: self.bed_round,
            ..bed
        })
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Stable code, `preflight/…`.
    pub code: &'static str,
    /// Line of the file, where one is to blame.
    pub line: Option<u64>,
    /// For people: what, value, limit.
    pub text: String,
    /// No start, unless findings only warn.
    pub refuse: bool,
    /// No start in any case: it cannot work.
    pub always: bool,
}

/// Everything found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Findings, the gravest first.
    pub problems: Vec<Problem>,
    /// Ids of the objects to leave out.
    pub skip: Vec<u32>,
}

impl Report {
    /// Why there is no start; all reasons in one refusal.
    pub fn refusal(&self) -> Option<Refusal> {
        let mut reasons = self.problems.iter().filter(|p| p.refuse);
        let first = reasons.next()?;
        let mut text = first.text.clone();
        for other in reasons {
            text.push(' ');
            text.push_str(&other.text);
        }
        Some(Refusal::new(first.code, text))
    }

    /// Whether an analysis made with the printer's limits could name the lines that refusals are
    /// about.
    pub fn may_name_lines(&self) -> bool {
        self.problems
            .iter()
            .any(|p| p.refuse && p.line.is_none() && matches!(p.code, OUTSIDE_BED | TOO_HOT))
    }

    /// What a person should know.
    pub fn warnings(&self) -> Vec<String> {
        self.problems
            .iter()
            .filter(|p| !p.refuse)
            .map(|p| p.text.clone())
            .collect()
    }
}

/// Checks a file. `skip`: objects to leave out, by id or name.
pub fn check(analysis: &Analysis, limits: &Limits, file: &str, skip: &[String]) -> Report {
    let mut problems = Vec::new();
    content(analysis, limits, file, &mut problems);
    temperatures(analysis, limits, &mut problems);
    room(analysis, limits, &mut problems);
    blame(analysis, &mut problems);
    for warning in &analysis.warnings {
        if matches!(warning.code.as_str(), "outside_bed" | "too_hot")
            || problems
                .iter()
                .any(|p| p.code == "preflight/line-too-long" && p.line == warning.line)
        {
            // Said above, with the limit.
            continue;
        }
        problems.push(Problem {
            code: "preflight/note",
            line: warning.line,
            text: match warning.line {
                Some(line) => format!("Line {line}: {}", warning.message),
                None => warning.message.clone(),
            },
            refuse: false,
            always: false,
        });
    }
    let skip = objects(analysis, skip, &mut problems);
    for problem in &mut problems {
        problem.refuse = problem.always || (problem.refuse && !limits.only_warn);
    }
    sorted::by_key(&mut problems, |p| !p.refuse);
    Report { problems, skip }
}

fn refuse(code: &'static str, text: String) -> Problem {
    Problem {
        code,
        line: None,
        text,
        refuse: true,
        always: false,
    }
}

fn impossible(code: &'static str, text: String) -> Problem {
    Problem {
        code,
        line: None,
        text,
        refuse: true,
        always: true,
    }
}

/// Notes the first line to blame where the analysis knows it.
fn blame(analysis: &Analysis, problems: &mut [Problem]) {
    for (code, warned) in [(OUTSIDE_BED, "outside_bed"), (TOO_HOT, "too_hot")] {
        let line = analysis
            .warnings
            .iter()
            .find(|w| w.code == warned)
            .and_then(|w| w.line);
        // One warning stands for the first of its kind: it is not known which of two limits it is.
        let mut about = problems.iter_mut().filter(|p| p.code == code);
        if let (Some(line), Some(problem), None) = (line, about.next(), about.next()) {
            problem.line = Some(line);
            problem.text.push_str(&format!(" First at line {line}."));
        }
    }
}

fn content(analysis: &Analysis, limits: &Limits, file: &str, out: &mut Vec<Problem>) {
    let lower = file.to_lowercase();
    let container = match analysis.format {
        Format::Gcode => None,
        Format::Bgcode => Some("binary G-code (.bgcode)"),
        Format::ThreeMf => Some("a project (.3mf)"),
        Format::GcodeGz => Some("compressed G-code (.gz)"),
        Format::Gx => Some("a file for FlashForge printers (.gx)"),
    };
    if let (Some(kind), true) = (container, limits.plain_gcode_only) {
        let text = format!(
            "printer_file_unsupported: {file} is {kind}; this printer takes plain G-code. Export it as .gcode."
        );
        out.push(impossible("preflight/file-type", text));
        return;
    }
    if [".stl", ".obj", ".step", ".stp"]
        .iter()
        .any(|e| lower.ends_with(e))
    {
        out.push(impossible(
            "preflight/file-type",
            format!("printer_file_unsupported: {file} is a model. Slice it first."),
        ));
    } else if analysis.commands == 0 {
        out.push(impossible("preflight/empty", format!("{file} holds no G-code.")));
    } else if let Some(garbage) = analysis
        .warnings
        .iter()
        .find(|w| w.code == "binary_garbage" || w.code == "contains_nul")
    {
        let mut problem = refuse(
            "preflight/damaged",
            format!(
                "{file} is damaged: it {}. Upload it again.",
                garbage.message.trim_end_matches('.')
            ),
        );
        problem.line = garbage.line;
        out.push(problem);
    } else if reads_like_prose(analysis, limits) {
        out.push(impossible(
            "preflight/not-gcode",
            format!("{file} reads like a text, not like G-code: nothing in it moves, and most of its lines are no command."),
        ));
    }
    if limits.plain_gcode_only {
        long_lines(analysis, file, out);
    }
}

/// Whether a file is no program at all, though it has lines. Named commands are macros to Klipper and
/// mere words to a printer that takes plain G-code only.
fn reads_like_prose(analysis: &Analysis, limits: &Limits) -> bool {
    let unknown = analysis.warnings.iter().find(|w| w.code == "unknown_command");
    let mut strange = unknown.map_or(0, |w| w.count);
    if limits.plain_gcode_only {
        strange += analysis.macros.len() as u64;
    }
    analysis.bounds.all.is_none() && strange > 0 && strange.saturating_mul(2) >= analysis.commands
}

/// A line that cannot go over the wire would end the print in its middle: better told before the heat.
fn long_lines(analysis: &Analysis, file: &str, out: &mut Vec<Problem>) {
    let long = |w: &&Warning| matches!(w.code.as_str(), "long_line" | "long_command");
    if let Some(found) = analysis.warnings.iter().find(long) {
        let at = found
            .line
            .map_or_else(String::new, |line| format!(" at line {line}"));
        let text = format!(
            "{file} holds a command{at} that is too long for the printer: it takes 95 characters. The file is damaged, or not made for this printer."
        );
        out.push(Problem {
            line: found.line,
            ..impossible("preflight/line-too-long", text)
        });
    }
}

fn temperatures(analysis: &Analysis, limits: &Limits, out: &mut Vec<Problem>) {
    if let (Some(wanted), Some(limit)) = (analysis.max_tool_c(), limits.max_tool_c)
        && wanted > f64::from(limit)
    {
        out.push(refuse(
            TOO_HOT,
            format!("The file asks {wanted} °C of the nozzle; the limit is {limit} °C (max_tool_c)."),
        ));
    }
    if let (Some(wanted), Some(limit)) = (analysis.temps.bed.max, limits.max_bed_c)
        && wanted > f64::from(limit)
    {
        out.push(refuse(
            TOO_HOT,
            format!("The file asks {wanted} °C of the bed; the limit is {limit} °C (max_bed_c)."),
        ));
    }
}

fn room(analysis: &Analysis, limits: &Limits, out: &mut Vec<Problem>) {
    if let (Some(part), Some(bed)) = (analysis.bounds.part.or(analysis.bounds.extruding), limits.bed_mm)
        && let Some(text) = outside(part, bed, limits)
    {
        out.push(refuse(OUTSIDE_BED, format!("The part does not fit: {text}")));
    }
    let Some(all) = analysis.bounds.all else { return };
    if let Some((min, max)) = limits.reach_mm {
        for (axis, (letter, (low, high))) in "XYZ".chars().zip(all.min.iter().zip(all.max)).enumerate() {
            let (Some(lowest), Some(highest)) = (min.get(axis), max.get(axis)) else {
                continue;
            };
            if *low < lowest - SLACK_MM || high > highest + SLACK_MM {
                let text = format!(
                    "A move goes to {letter}{low:.2} … {letter}{high:.2}; the head reaches {lowest} … {highest} mm."
                );
                out.push(refuse("preflight/outside-reach", text));
            }
        }
    } else if let Some(bed) = limits.bed_mm
        && let Some(text) = outside(all, bed, limits)
    {
        let text = format!("Some moves leave the bed (purge line or parking?): {text}");
        out.push(Problem {
            code: "preflight/moves-outside",
            line: None,
            text,
            refuse: false,
            always: false,
        });
    }
}

/// How a box leaves the bed, or `None`.
fn outside(b: Box3, bed: [f64; 3], limits: &Limits) -> Option<String> {
    let [width, depth, height] = bed;
    let [low_x, low_y, _] = b.min;
    let [high_x, high_y, high_z] = b.max;
    if high_z > height + SLACK_MM {
        return Some(format!("it reaches Z {high_z:.2}; the height is {height} mm."));
    }
    if limits.bed_round {
        let (cx, cy) = if limits.origin_center {
            (0.0, 0.0)
        } else {
            (width / 2.0, depth / 2.0)
        };
        let far = |low: f64, high: f64, c: f64| (low - c).abs().max((high - c).abs());
        let radius = far(low_x, high_x, cx).hypot(far(low_y, high_y, cy));
        // The corner of the box may lie outside while the part does not: only a sure miss counts.
        let sure = far(low_x, high_x, cx).max(far(low_y, high_y, cy));
        return (sure > width / 2.0 + SLACK_MM).then(|| {
            format!(
                "it reaches {radius:.1} mm from the middle; the bed's radius is {} mm.",
                width / 2.0
            )
        });
    }
    let axis = |letter: char, low: f64, high: f64, size: f64| {
        let (from, to) = if limits.origin_center {
            (-size / 2.0, size / 2.0)
        } else {
            (0.0, size)
        };
        (low < from - SLACK_MM || high > to + SLACK_MM)
            .then(|| format!("it spans {letter} {low:.2} … {high:.2}; the bed is {from} … {to} mm."))
    };
    axis('X', low_x, high_x, width).or_else(|| axis('Y', low_y, high_y, depth))
}

fn objects(analysis: &Analysis, skip: &[String], out: &mut Vec<Problem>) -> Vec<u32> {
    let mut ids = Vec::new();
    for wanted in skip {
        let named = |o: &&Object| o.id.to_string() == *wanted || o.name == *wanted;
        match analysis.objects.iter().find(named) {
            Some(object) => ids.push(object.id),
            None if analysis.objects.is_empty() => {
                out.push(impossible(
                    "preflight/no-objects",
                    "No objects found in the print job".to_owned(),
                ));
                return Vec::new();
            }
            None => {
                let known: Vec<String> = analysis
                    .objects
                    .iter()
                    .take(12)
                    .map(|o| format!("{} ({})", o.id, o.name))
                    .collect();
                let text = format!(
                    "There is no object {wanted} in this file; it has {}.",
                    known.join(", ")
                );
                out.push(impossible("preflight/unknown-object", text));
            }
        }
    }
    ids.sort_unstable();
    ids.dedup();
    if !ids.is_empty() && ids.len() >= analysis.objects.len() {
        let text =
            "Cannot skip all objects: at least one must stay. Do not print the file instead.".to_owned();
        out.push(impossible("preflight/all-objects", text));
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gcode::analysis::{Bounds, Heat, Temps};

    fn file(min: [f64; 3], max: [f64; 3], all_min: [f64; 3]) -> Analysis {
        Analysis {
            commands: 10,
            bounds: Bounds {
                part: Some(Box3 { min, max }),
                extruding: Some(Box3 { min: all_min, max }),
                all: Some(Box3 { min: all_min, max }),
            },
            ..Analysis::default()
        }
    }

    fn limits() -> Limits {
        Limits {
            bed_mm: Some([220.0, 220.0, 250.0]),
            max_tool_c: Some(260.0),
            plain_gcode_only: true,
            ..Limits::default()
        }
    }

    fn code(analysis: &Analysis, limits: &Limits, name: &str, skip: &[&str]) -> Option<&'static str> {
        let skip: Vec<String> = skip.iter().map(|s| (*s).to_owned()).collect();
        check(analysis, limits, name, &skip).refusal().map(|r| r.code)
    }

    #[test]
    fn a_purge_line_outside_the_bed_only_warns() {
        let mk3 = file([90.0, 90.0, 0.2], [130.0, 130.0, 20.0], [0.0, -3.0, 0.2]);
        let report = check(&mk3, &limits(), "a.gcode", &[]);
        assert_eq!(report.refusal(), None);
        assert!(
            report.warnings().iter().any(|w| w.contains("Y -3.00")),
            "{report:?}"
        );
    }

    #[test]
    fn the_part_must_fit_and_the_words_name_value_and_limit() {
        let wide = file([90.0, 90.0, 0.2], [230.0, 130.0, 20.0], [90.0, 90.0, 0.2]);
        let refusal = check(&wide, &limits(), "a.gcode", &[])
            .refusal()
            .expect("refused");
        assert!(
            refusal.message.contains("230.00") && refusal.message.contains("220"),
            "{}",
            refusal.message
        );
        let exact = file([0.0, 0.0, 0.2], [220.0, 220.0, 250.0], [0.0, 0.0, 0.2]);
        assert_eq!(code(&exact, &limits(), "a.gcode", &[]), None);
        let centered = Limits {
            origin_center: true,
            ..limits()
        };
        assert_eq!(
            code(&exact, &centered, "a.gcode", &[]),
            Some("preflight/outside-bed")
        );
        let warn = Limits {
            only_warn: true,
            ..limits()
        };
        assert_eq!(code(&wide, &warn, "a.gcode", &[]), None);
    }

    #[test]
    fn every_move_must_stay_in_a_stated_reach() {
        let mk3 = file([90.0, 90.0, 0.2], [130.0, 130.0, 20.0], [0.0, -3.0, 0.2]);
        let reach = |low: f64| Limits {
            reach_mm: Some(([0.0, low, 0.0], [255.0, 215.0, 210.0])),
            ..limits()
        };
        assert_eq!(code(&mk3, &reach(-4.0), "a.gcode", &[]), None);
        assert_eq!(
            code(&mk3, &reach(0.0), "a.gcode", &[]),
            Some("preflight/outside-reach")
        );
    }

    #[test]
    fn heat_and_content_are_checked() {
        let mut hot = file([0.0; 3], [1.0; 3], [0.0; 3]);
        hot.temps = Temps::default();
        hot.temps.tools.insert(
            "0".into(),
            Heat {
                max: Some(280.0),
                ..Heat::default()
            },
        );
        assert_eq!(code(&hot, &limits(), "a.gcode", &[]), Some("preflight/too-hot"));
        assert_eq!(
            code(&Analysis::default(), &limits(), "a.gcode", &[]),
            Some("preflight/empty")
        );
        let mut project = file([0.0; 3], [1.0; 3], [0.0; 3]);
        project.format = Format::ThreeMf;
        let refusal = check(&project, &limits(), "a.3mf", &[])
            .refusal()
            .expect("refused");
        assert!(
            refusal.message.starts_with("printer_file_unsupported"),
            "{}",
            refusal.message
        );
    }

    #[test]
    fn what_cannot_go_over_the_wire_or_is_no_program_never_starts() {
        let warned = |code: &str, line, count| Warning {
            line: Some(line),
            code: code.to_owned(),
            message: "…".to_owned(),
            count,
        };
        let mut long = file([0.0; 3], [1.0; 3], [0.0; 3]);
        long.warnings = vec![warned("long_line", 2, 1)];
        let klipper = Limits {
            plain_gcode_only: false,
            ..limits()
        };
        assert_eq!(code(&long, &klipper, "a.gcode", &[]), None, "Klipper takes it");
        let wire = Limits {
            only_warn: true,
            ..limits()
        };
        let refusal = check(&long, &wire, "a.gcode", &[]).refusal().expect("refused");
        assert!(refusal.message.contains("at line 2"), "{}", refusal.message);

        let prose = Analysis {
            commands: 3,
            warnings: vec![warned("unknown_command", 3, 1)],
            macros: vec!["DEAR".to_owned(), "PLEASE".to_owned()],
            ..Analysis::default()
        };
        assert_eq!(
            code(&prose, &limits(), "letter.gcode", &[]),
            Some("preflight/not-gcode")
        );
    }

    #[test]
    fn skips_must_exist_and_leave_something() {
        let mut two = file([0.0; 3], [1.0; 3], [0.0; 3]);
        two.objects = vec![
            Object {
                id: 4,
                name: "cube".into(),
                ..Object::default()
            },
            Object {
                id: 9,
                name: "ring".into(),
                ..Object::default()
            },
        ];
        assert_eq!(check(&two, &limits(), "a.gcode", &["ring".into()]).skip, [9]);
        assert_eq!(code(&two, &limits(), "a.gcode", &["4", "cube"]), None);
        assert_eq!(
            code(&two, &limits(), "a.gcode", &["4", "9"]),
            Some("preflight/all-objects")
        );
        assert_eq!(
            code(&two, &limits(), "a.gcode", &["5"]),
            Some("preflight/unknown-object")
        );
        two.objects.clear();
        assert_eq!(
            code(&two, &limits(), "a.gcode", &["5"]),
            Some("preflight/no-objects")
        );
    }
}
