//! Files for Klipper: objects that are only labelled in comments get Klipper's own marks, and objects
//! that are not to be printed are left out from the first layer on. Pure: lines in, lines out.

use std::collections::HashSet;

use crate::gcode::analysis::{Analysis, Object, ObjectSource};
use crate::gcode::index::{Index, Spans};
use crate::printer::model::PrintObject;

/// Most corners of an outline that is written.
const CORNERS_MAX: usize = 64;

/// The name by which Klipper knows an object: upper case (seen), no blanks, nothing its parser cuts at.
pub fn klipper_name(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "_-.".contains(c) || !c.is_ascii() {
                c
            } else {
                '_'
            }
        })
        .collect::<String>()
        .to_uppercase()
}

/// The names of all objects of a file: Klipper takes two of one name for the same.
pub fn klipper_names<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut taken = HashSet::new();
    names
        .map(|name| {
            let plain = klipper_name(name);
            let mut unique = plain.clone();
            let mut copy = 2;
            while !taken.insert(unique.clone()) {
                unique = format!("{plain}_COPY_{copy}");
                copy += 1;
            }
            unique
        })
        .collect()
}

/// Rewrites a file line by line.
#[derive(Debug, Default)]
pub struct Labels {
    /// Which object each byte belongs to, and the objects' names for Klipper, where marks are to be added.
    marks: Option<(Spans, Vec<String>)>,
    /// Definitions to write at the top.
    head: String,
    /// Names to leave out, written before the first object.
    skip: Vec<String>,
    /// The object being printed, by its place in the names.
    inside: Option<u32>,
    /// File offset of the next line.
    at: u64,
}

impl Labels {
    /// What a file needs; `None`: it goes as it is.
    ///
    /// `analysis` may be absent where only `skip` matters.
    pub fn new(analysis: Option<(&Analysis, &Index)>, objects: &[PrintObject], skip: &[u32]) -> Option<Self> {
        let mut labels = Labels::default();
        let mut names: Vec<String> = objects.iter().map(|o| o.name.clone()).collect();
        if let Some((analysis, index)) = analysis
            && analysis
                .objects
                .iter()
                .all(|o| o.source != ObjectSource::ExcludeObject)
            && let Some(spans) = index.object_spans().filter(|_| !analysis.objects.is_empty())
        {
            names = klipper_names(analysis.objects.iter().map(file_name));
            for (object, name) in analysis.objects.iter().zip(&names) {
                define(object, name, &mut labels.head);
            }
            labels.marks = Some((spans, names.clone()));
        }
        labels.skip = objects
            .iter()
            .zip(names)
            .filter(|(object, _)| skip.contains(&object.id))
            .map(|(_, name)| name)
            .collect();
        (!labels.head.is_empty() || !labels.skip.is_empty()).then_some(labels)
    }

    /// What stands before the first line.
    pub fn head(&self) -> &str {
        &self.head
    }

    /// A line, with what belongs before it.
    pub fn line(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let object = self
            .marks
            .as_mut()
            .and_then(|(spans, _)| spans.object_at(self.at));
        self.at += line.len() as u64;
        if object != self.inside {
            self.leave(out);
            self.enter(object, out);
        }
        if line.trim_ascii_start().starts_with(b"EXCLUDE_OBJECT_START") {
            self.skip_now(out);
        }
        out.extend_from_slice(line);
    }

    /// What stands behind the last line.
    pub fn tail(&mut self, out: &mut Vec<u8>) {
        self.leave(out);
    }

    fn enter(&mut self, object: Option<u32>, out: &mut Vec<u8>) {
        self.inside = object;
        if let Some(line) = self.mark("START") {
            self.skip_now(out);
            out.extend_from_slice(line.as_bytes());
        }
    }

    fn leave(&mut self, out: &mut Vec<u8>) {
        if let Some(line) = self.mark("END") {
            if out.last().is_some_and(|b| *b != b'\n') {
                out.push(b'\n');
            }
            out.extend_from_slice(line.as_bytes());
        }
        self.inside = None;
    }

    fn mark(&self, what: &str) -> Option<String> {
        let (_, names) = self.marks.as_ref()?;
        let name = names.get(usize::try_from(self.inside?).ok()?)?;
        Some(format!("EXCLUDE_OBJECT_{what} NAME={name}\n"))
    }

    fn skip_now(&mut self, out: &mut Vec<u8>) {
        for name in self.skip.drain(..) {
            out.extend_from_slice(format!("EXCLUDE_OBJECT NAME={name}\n").as_bytes());
        }
    }
}

fn file_name(object: &Object) -> &str {
    if object.key.is_empty() {
        &object.name
    } else {
        &object.key
    }
}

fn define(object: &Object, name: &str, head: &mut String) {
    head.push_str(&format!("EXCLUDE_OBJECT_DEFINE NAME={name}"));
    if let Some([x, y]) = object.center {
        head.push_str(&format!(" CENTER={x:.3},{y:.3}"));
    }
    if object.polygon.len() >= 3 {
        let corners: Vec<String> = object
            .polygon
            .iter()
            .take(CORNERS_MAX)
            .map(|[x, y]| format!("[{x:.3},{y:.3}]"))
            .collect();
        head.push_str(&format!(" POLYGON=[{}]", corners.join(",")));
    }
    head.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gcode::analyze::{Analyzer, Options};

    fn labels_of(text: &str, skip: &[u32]) -> Option<(Labels, Vec<PrintObject>)> {
        let mut analyzer = Analyzer::new(Options::default());
        analyzer.push(text.as_bytes());
        let (analysis, index) = analyzer.finish_with_index();
        let objects: Vec<PrintObject> = analysis
            .objects
            .iter()
            .map(|o| PrintObject {
                id: o.id,
                name: file_name(o).to_owned(),
            })
            .collect();
        Some((Labels::new(Some((&analysis, &index)), &objects, skip)?, objects))
    }

    fn rewritten(text: &str, labels: &mut Labels) -> String {
        let mut out = labels.head().as_bytes().to_vec();
        for line in text.split_inclusive('\n') {
            labels.line(line.as_bytes(), &mut out);
        }
        labels.tail(&mut out);
        String::from_utf8(out).expect("text")
    }

    fn at(out: &str, what: &str) -> usize {
        out.find(what).unwrap_or_else(|| panic!("{what} in {out}"))
    }

    #[test]
    fn comment_labels_become_marks_and_a_skipped_object_is_left_out_before_its_first_line() {
        let text = "G28\n; printing object cube id:0 copy 0\nG1 X1 Y1 E1\nG1 X9 Y9 E2\n; stop printing object cube id:0 copy 0\nG1 X5\n";
        let (mut labels, objects) = labels_of(text, &[0]).expect("needs marks");
        let out = rewritten(text, &mut labels);
        let name = klipper_name(&objects[0].name);
        assert!(at(&out, &format!("EXCLUDE_OBJECT_DEFINE NAME={name}")) < at(&out, "G28"));
        assert!(
            at(&out, &format!("EXCLUDE_OBJECT NAME={name}\n"))
                < at(&out, &format!("EXCLUDE_OBJECT_START NAME={name}\n"))
        );
        assert!(at(&out, &format!("EXCLUDE_OBJECT_END NAME={name}\n")) < at(&out, "G1 X5"));
        assert!(!name.contains(' ') && !name.contains(':'));
    }

    /// Klipper drops every move of an excluded object, so the end of the print must not be one's.
    #[test]
    fn every_slicers_labels_are_marked_and_the_end_of_the_print_belongs_to_no_object() {
        let prints = [
            (";MESH:a.stl", ";MESH:b.stl"),
            (";PRINTING: a\n;PRINTING_ID: 0", ";PRINTING: b\n;PRINTING_ID: 1"),
            ("; process a", "; process b"),
            ("M486 S0\nM486 Aa", "M486 S1\nM486 Ab"),
        ];
        for (a, b) in prints {
            let text = format!(
                "G28\nM83\nG1 Z0.2\n{a}\nG1 X10 Y10\nG1 X20 Y10 E1\nG1 X20 Y20 E1\n{b}\nG1 X50 Y50\n\
                 G1 X60 Y50 E1\nG1 X60 Y60 E1\nG91\nG1 Z10\nG90\nG1 X0 Y200\nM84\n"
            );
            let (mut labels, objects) = labels_of(&text, &[]).expect("needs marks");
            assert_eq!(objects.len(), 2, "{text}");
            let out = rewritten(&text, &mut labels);
            let names = klipper_names(objects.iter().map(|o| o.name.as_str()));
            for name in &names {
                let start = at(&out, &format!("EXCLUDE_OBJECT_START NAME={name}\n"));
                assert!(
                    start < at(&out, &format!("EXCLUDE_OBJECT_END NAME={name}\n")),
                    "{out}"
                );
            }
            let end = at(&out, &format!("EXCLUDE_OBJECT_END NAME={}\n", names[1]));
            assert!(
                at(&out, "G1 X60 Y60 E1") < end && end < at(&out, "G1 Z10"),
                "{out}"
            );
        }
    }

    #[test]
    fn two_objects_of_one_name_stay_two() {
        let names = klipper_names(["a b", "a:b", "c"].into_iter());
        assert_eq!(names, ["A_B", "A_B_COPY_2", "C"]);
    }

    #[test]
    fn a_file_that_needs_nothing_goes_as_it_is() {
        assert!(Labels::new(None, &[], &[]).is_none());
        let marked = "EXCLUDE_OBJECT_DEFINE NAME=A\nEXCLUDE_OBJECT_START NAME=A\nG1 X1 Y1\nG1 X9 E2\nEXCLUDE_OBJECT_END NAME=A\n";
        assert!(labels_of(marked, &[]).is_none());
    }
}
