//! Files for Klipper: objects that are only labelled in comments get Klipper's own marks, and objects
//! that are not to be printed are left out from the first layer on. Pure: lines in, lines out.

use crate::gcode::analysis::{Analysis, ObjectSource};
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

/// Rewrites a file line by line.
#[derive(Debug, Default)]
pub struct Labels {
    /// Marks to add: the text as it stands in the comment, the name for Klipper.
    known: Vec<(String, String)>,
    /// Definitions to write at the top.
    head: String,
    /// Names to leave out, written before the first object.
    skip: Vec<String>,
    inside: Option<String>,
}

impl Labels {
    /// What a file needs; `None`: it goes as it is.
    ///
    /// `analysis` may be absent where only `skip` matters.
    pub fn new(analysis: Option<&Analysis>, objects: &[PrintObject], skip: &[u32]) -> Option<Self> {
        let mut labels = Labels::default();
        if let Some(analysis) = analysis {
            let labelled = |s: ObjectSource| matches!(s, ObjectSource::Comment | ObjectSource::CuraMesh);
            for object in analysis.objects.iter().filter(|o| labelled(o.source)) {
                let key = if object.key.is_empty() {
                    &object.name
                } else {
                    &object.key
                };
                let name = klipper_name(key);
                labels
                    .head
                    .push_str(&format!("EXCLUDE_OBJECT_DEFINE NAME={name}"));
                if let Some([x, y]) = object.center {
                    labels.head.push_str(&format!(" CENTER={x:.3},{y:.3}"));
                }
                if object.polygon.len() >= 3 {
                    let corners: Vec<String> = object
                        .polygon
                        .iter()
                        .take(CORNERS_MAX)
                        .map(|[x, y]| format!("[{x:.3},{y:.3}]"))
                        .collect();
                    labels.head.push_str(&format!(" POLYGON=[{}]", corners.join(",")));
                }
                labels.head.push('\n');
                labels.known.push((key.clone(), name));
            }
        }
        let name = |o: &PrintObject| match labels.known.iter().find(|(key, _)| *key == o.name) {
            Some((_, name)) => name.clone(),
            None => o.name.clone(),
        };
        labels.skip = objects
            .iter()
            .filter(|o| skip.contains(&o.id))
            .map(name)
            .collect();
        (!labels.head.is_empty() || !labels.skip.is_empty()).then_some(labels)
    }

    /// What stands before the first line.
    pub fn head(&self) -> &str {
        &self.head
    }

    /// What stands before this line, and what behind it.
    pub fn line(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let text = line.trim_ascii();
        if text.starts_with(b"EXCLUDE_OBJECT_START") {
            self.skip_now(out);
        }
        out.extend_from_slice(line);
        let Some(comment) = text.strip_prefix(b";").filter(|_| !self.known.is_empty()) else {
            return;
        };
        let comment = String::from_utf8_lossy(comment.trim_ascii()).into_owned();
        if let Some(name) = comment
            .strip_prefix("printing object ")
            .or_else(|| comment.strip_prefix("MESH:"))
        {
            let name = name.trim();
            self.leave(out);
            if let Some((_, name)) = self.known.iter().find(|(k, _)| k == name).cloned() {
                self.skip_now(out);
                out.extend_from_slice(format!("EXCLUDE_OBJECT_START NAME={name}\n").as_bytes());
                self.inside = Some(name);
            }
        } else if comment.starts_with("stop printing object") {
            self.leave(out);
        }
    }

    /// What stands behind the last line.
    pub fn tail(&mut self, out: &mut Vec<u8>) {
        self.leave(out);
    }

    fn leave(&mut self, out: &mut Vec<u8>) {
        if let Some(name) = self.inside.take() {
            if out.last().is_some_and(|b| *b != b'\n') {
                out.push(b'\n');
            }
            out.extend_from_slice(format!("EXCLUDE_OBJECT_END NAME={name}\n").as_bytes());
        }
    }

    fn skip_now(&mut self, out: &mut Vec<u8>) {
        for name in self.skip.drain(..) {
            out.extend_from_slice(format!("EXCLUDE_OBJECT NAME={name}\n").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(text: &str, labels: &mut Labels) -> String {
        let mut out = labels.head().as_bytes().to_vec();
        for line in text.split_inclusive('\n') {
            labels.line(line.as_bytes(), &mut out);
        }
        labels.tail(&mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn comment_labels_become_marks_and_a_skipped_object_is_left_out_before_its_first_line() {
        let text = "G28\n; printing object cube id:0 copy 0\nG1 X1 Y1 E1\nG1 X9 Y9 E2\n; stop printing object cube id:0 copy 0\nG1 X5\n";
        let mut analyzer = crate::gcode::analyze::Analyzer::new(Default::default());
        analyzer.push(text.as_bytes());
        let analysis = analyzer.finish();
        let objects: Vec<PrintObject> = analysis
            .objects
            .iter()
            .map(|o| PrintObject {
                id: o.id,
                name: o.key.clone(),
            })
            .collect();
        let mut labels = Labels::new(Some(&analysis), &objects, &[0]).expect("needs marks");
        let out = rewritten(text, &mut labels);
        let at = |what: &str| out.find(what).unwrap_or_else(|| panic!("{what} in {out}"));
        let name = klipper_name(&objects[0].name);
        assert!(at(&format!("EXCLUDE_OBJECT_DEFINE NAME={name}")) < at("G28"));
        assert!(
            at(&format!("EXCLUDE_OBJECT NAME={name}\n")) < at(&format!("EXCLUDE_OBJECT_START NAME={name}\n"))
        );
        assert!(at(&format!("EXCLUDE_OBJECT_END NAME={name}\n")) < at("G1 X5"));
        assert!(!name.contains(' ') && !name.contains(':'));
    }

    #[test]
    fn a_file_that_needs_nothing_goes_as_it_is() {
        assert!(Labels::new(Some(&Analysis::default()), &[], &[]).is_none());
    }
}
