//! G-code of the owner's own at certain moments of a print: lines with variables and snippets. Pure.
//!
//! One construct for each: `{name}` is a value, a line `{snippet:name}` is the text kept under that
//! name in `[snippets]`. There are no conditions, loops or sums. Everything that can be wrong is found
//! when the configuration is read, not when a print pauses at night.

use std::ops::Range;

use crate::sorted::SortedMap;

/// Lines of one moment, snippets included.
const LINES_MAX: usize = 200;
/// Longest line: what a printer takes with number and checksum around it.
const LINE_MAX: usize = 80;
/// Snippets in snippets.
const DEPTH_MAX: usize = 8;

/// When the lines are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// Before the first line of a file.
    Start,
    /// After its last line.
    End,
    /// The head was lifted in a pause.
    Pause,
    /// Everything is warm again, the head not yet back.
    Resume,
    /// After a cancel, when the heaters are off.
    Cancel,
    /// After a print that was completed: let go of the part.
    Done,
    /// Push the part off the bed.
    Clear,
}

impl Moment {
    /// Its key in the configuration.
    pub fn key(self) -> &'static str {
        match self {
            Moment::Start => "start",
            Moment::End => "end",
            Moment::Pause => "pause",
            Moment::Resume => "resume",
            Moment::Cancel => "cancel",
            Moment::Done => "done",
            Moment::Clear => "clear",
        }
    }

    /// What is known then.
    fn knows(self, variable: Variable) -> bool {
        use Variable as V;
        match variable {
            V::Printer | V::File | V::BedX | V::BedY | V::BedZ => true,
            V::X | V::Y | V::Z | V::Tool | V::Layer => {
                matches!(
                    self,
                    Moment::End | Moment::Pause | Moment::Resume | Moment::Cancel
                )
            }
            V::Temp | V::BedTemp => matches!(self, Moment::End | Moment::Pause | Moment::Resume),
        }
    }
}

/// A value that a line may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variable {
    /// Name of the printer.
    Printer,
    /// Name of the file.
    File,
    /// Size of the bed in X, mm.
    BedX,
    /// In Y.
    BedY,
    /// Height of the machine, mm.
    BedZ,
    /// Where the program left the head, mm.
    X,
    /// The same in Y.
    Y,
    /// The same in Z.
    Z,
    /// Tool in use.
    Tool,
    /// Layer.
    Layer,
    /// Temperature that the tool in use has to have, °C.
    Temp,
    /// And the bed.
    BedTemp,
}

/// All of them with their names.
pub const VARIABLES: &[(&str, Variable)] = &[
    ("printer", Variable::Printer),
    ("file", Variable::File),
    ("bed_x", Variable::BedX),
    ("bed_y", Variable::BedY),
    ("bed_z", Variable::BedZ),
    ("x", Variable::X),
    ("y", Variable::Y),
    ("z", Variable::Z),
    ("tool", Variable::Tool),
    ("layer", Variable::Layer),
    ("temp", Variable::Temp),
    ("bed_temp", Variable::BedTemp),
];

/// Texts by name.
pub type Snippets = SortedMap<String, String>;

/// Values by variable. What is not there is unknown.
pub type Values = SortedMap<Variable, String>;

/// Something wrong in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateMistake {
    /// Where, in bytes of the text.
    pub at: Range<usize>,
    /// What, and what to do.
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Value(Variable),
}

/// Lines ready to be filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    lines: Vec<Vec<Part>>,
}

impl Template {
    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The lines as they were written, snippets filled in.
    pub fn written(&self) -> Vec<String> {
        let name = |variable: &Variable| {
            let known = VARIABLES.iter().find(|(_, v)| v == variable);
            known.map_or("", |(name, _)| *name)
        };
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Value(variable) => format!("{{{}}}", name(variable)),
        };
        self.lines
            .iter()
            .map(|line| line.iter().map(part).collect())
            .collect()
    }

    /// The lines with their values. A line that needs a value that is not known is left out whole:
    /// half a command could do anything.
    pub fn lines(&self, values: &Values) -> Vec<String> {
        let fill = |line: &Vec<Part>| {
            line.iter()
                .map(|part| match part {
                    Part::Text(text) => Some(text.as_str()),
                    Part::Value(variable) => values.get(variable).map(String::as_str),
                })
                .collect::<Option<String>>()
        };
        self.lines.iter().filter_map(fill).collect()
    }
}

/// Reads a text. Every mistake is told, not only the first.
pub fn parse(text: &str, snippets: &Snippets, moment: Moment) -> Result<Template, Vec<TemplateMistake>> {
    let mut reader = Reader {
        snippets,
        moment: Some(moment),
        lines: Vec::new(),
        mistakes: Vec::new(),
        stack: Vec::new(),
    };
    reader.read(text, None);
    reader.finish(text)
}

/// Looks at a snippet by itself: whatever moment it is for.
pub fn check(name: &str, snippets: &Snippets) -> Vec<TemplateMistake> {
    snippet(name, snippets).and_then(Result::err).unwrap_or_default()
}

/// A snippet by itself; `None`: there is none of that name.
pub fn snippet(name: &str, snippets: &Snippets) -> Option<Result<Template, Vec<TemplateMistake>>> {
    let text = snippets.get(name)?;
    let mut reader = Reader {
        snippets,
        moment: None,
        lines: Vec::new(),
        mistakes: Vec::new(),
        stack: vec![name.to_owned()],
    };
    reader.read(text, None);
    Some(reader.finish(text))
}

struct Reader<'s> {
    snippets: &'s Snippets,
    moment: Option<Moment>,
    lines: Vec<Vec<Part>>,
    mistakes: Vec<TemplateMistake>,
    /// Names of the snippets being read.
    stack: Vec<String>,
}

impl Reader<'_> {
    fn finish(mut self, text: &str) -> Result<Template, Vec<TemplateMistake>> {
        if self.lines.len() > LINES_MAX {
            self.mistake(0..text.len(), format!("these are more than {LINES_MAX} lines."));
        }
        if self.mistakes.is_empty() {
            Ok(Template { lines: self.lines })
        } else {
            Err(self.mistakes)
        }
    }

    fn mistake(&mut self, at: Range<usize>, text: String) {
        self.mistakes.push(TemplateMistake { at, text });
    }

    /// `used_at`: where the outermost text calls the snippet that is read; mistakes are told there.
    fn read(&mut self, text: &str, used_at: Option<&Range<usize>>) {
        let mut start = 0;
        for raw in text.split_inclusive('\n') {
            let here = start..start + raw.trim_end().len();
            start += raw.len();
            let line = raw.split(';').next().unwrap_or_default();
            let lead = line.len() - line.trim_start().len();
            let line = line.trim();
            if line.is_empty() || self.lines.len() > LINES_MAX {
                continue;
            }
            let at = used_at.cloned().unwrap_or(here.start + lead..here.end);
            if let Some(name) = line
                .strip_prefix("{snippet:")
                .and_then(|rest| rest.strip_suffix('}'))
            {
                self.snippet(name.trim(), &at);
                continue;
            }
            self.line(line, &at, used_at.is_none());
        }
    }

    fn snippet(&mut self, name: &str, at: &Range<usize>) {
        if self.stack.iter().any(|s| s == name) {
            let round = self.stack.join(" → ");
            // A snippet that calls itself is told once, where it is read by itself.
            if self.moment.is_none() {
                self.mistake(
                    at.clone(),
                    format!("snippet `{name}` calls itself: {round} → {name}."),
                );
            }
            return;
        }
        let Some(text) = self.snippets.get(name) else {
            let known: Vec<&str> = self.snippets.keys().map(String::as_str).collect();
            let hint = super::section::did_you_mean(name, known.into_iter());
            self.mistake(
                at.clone(),
                format!("there is no snippet `{name}` in [snippets].{hint}"),
            );
            return;
        };
        if self.stack.len() >= DEPTH_MAX {
            self.mistake(
                at.clone(),
                format!("snippets call each other more than {DEPTH_MAX} deep."),
            );
            return;
        }
        self.stack.push(name.to_owned());
        self.read(text, Some(at));
        self.stack.pop();
    }

    fn line(&mut self, line: &str, at: &Range<usize>, own: bool) {
        let (mut parts, mut rest, mut offset, mut length) = (Vec::new(), line, 0, 0);
        while let Some(open) = rest.find('{') {
            let (before, tail) = rest.split_at_checked(open).unwrap_or((rest, ""));
            let Some(close) = tail.find('}') else {
                self.mistake(at.clone(), "a `{` is not closed on its line.".to_owned());
                return;
            };
            let name = tail.get(1..close).unwrap_or_default();
            let place = if own {
                at.start + offset + open..at.start + offset + open + close + 1
            } else {
                at.clone()
            };
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
                length += before.len();
            }
            match self.variable(name, place) {
                Some(variable) => parts.push(Part::Value(variable)),
                None => return,
            }
            offset += open + close + 1;
            rest = tail.get(close + 1..).unwrap_or_default();
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
            length += rest.len();
        }
        if length > LINE_MAX {
            self.mistake(
                at.clone(),
                format!("the line is longer than {LINE_MAX} characters."),
            );
        }
        if let Some(why) = unsendable(line) {
            self.mistake(at.clone(), why);
        }
        self.lines.push(parts);
    }

    fn variable(&mut self, name: &str, at: Range<usize>) -> Option<Variable> {
        if name.starts_with("snippet:") {
            self.mistake(at, "`{snippet:…}` must stand on a line of its own.".to_owned());
            return None;
        }
        let Some((_, variable)) = VARIABLES.iter().find(|(known, _)| *known == name) else {
            let hint = super::section::did_you_mean(name, VARIABLES.iter().map(|(n, _)| *n));
            self.mistake(at, format!("`{{{name}}}` is no variable.{hint}"));
            return None;
        };
        if let Some(moment) = self.moment.filter(|m| !m.knows(*variable)) {
            self.mistake(at, format!("`{{{name}}}` is not known in `{}`.", moment.key()));
            return None;
        }
        Some(*variable)
    }
}

/// Lines that would take the printer away from layerd, or are not for the printer at all.
fn unsendable(line: &str) -> Option<String> {
    if line.starts_with('@') {
        return Some(format!("`{line}` is for a host program, not for the printer."));
    }
    if line.chars().any(|c| c.is_control() || c == '*') {
        return Some("the line holds characters that cannot be sent.".to_owned());
    }
    let word: String = line.split_whitespace().next()?.to_ascii_uppercase();
    let number = word.strip_prefix('M')?;
    let number: String = number.chars().take_while(char::is_ascii_digit).collect();
    let taken = matches!(
        number.parse::<u32>().ok()?,
        0 | 1
            | 23
            | 24
            | 25
            | 28
            | 29
            | 30
            | 32
            | 108
            | 110
            | 112
            | 410
            | 524
            | 600
            | 601
            | 876
            | 928
            | 997
            | 999
    );
    taken.then(|| format!("`{word}` cannot be sent here: it would stop, wait, or take the connection over."))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn snippets(pairs: &[(&str, &str)]) -> Snippets {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn snippets_and_values_are_filled_in() {
        let known = snippets(&[("wipe", "G1 X0 ; away\n{snippet:clean}\n"), ("clean", "G12 P1")]);
        let text = "; at the end\nM117 {file} paused\n  {snippet:wipe}\nG1 Y{bed_y} Z{z}\n";
        let template = parse(text, &known, Moment::Pause).expect("good");
        let mut values: Values = [
            (Variable::File, "a.gcode".to_owned()),
            (Variable::BedY, "220".to_owned()),
            (Variable::Z, "12.4".to_owned()),
        ]
        .into();
        let lines = ["M117 a.gcode paused", "G1 X0", "G12 P1", "G1 Y220 Z12.4"];
        assert_eq!(template.lines(&values), lines);
        assert_eq!(template.written()[3], "G1 Y{bed_y} Z{z}", "as its owner wrote it");
        values.remove(&Variable::Z);
        assert_eq!(
            template.lines(&values),
            lines[..3],
            "half a command is no command"
        );
    }

    #[test]
    fn every_mistake_has_its_place() {
        let known = snippets(&[("wipe", "G1 X{temp}")]);
        let text =
            "G1 X{bedx}\n{snippet:wype}\nM117 {z}\n{snippet:wipe}\n@PAUSE\nM112\nG1 {snippet:wipe}\nG1 X{x";
        let mistakes = parse(text, &known, Moment::Start).expect_err("eight");
        let told: Vec<String> = mistakes
            .iter()
            .map(|m| format!("{}|{}", &text[m.at.clone()], m.text))
            .collect();
        assert_eq!(
            told,
            [
                "{bedx}|`{bedx}` is no variable. Did you mean `bed_x`?",
                "{snippet:wype}|there is no snippet `wype` in [snippets]. Did you mean `wipe`?",
                "{z}|`{z}` is not known in `start`.",
                "{snippet:wipe}|`{temp}` is not known in `start`.",
                "@PAUSE|`@PAUSE` is for a host program, not for the printer.",
                "M112|`M112` cannot be sent here: it would stop, wait, or take the connection over.",
                "{snippet:wipe}|`{snippet:…}` must stand on a line of its own.",
                "G1 X{x|a `{` is not closed on its line.",
            ]
        );
    }

    #[test]
    fn a_snippet_that_calls_itself_is_told_and_not_followed() {
        let known = snippets(&[("a", "{snippet:b}"), ("b", "G1 X1\n{snippet:a}")]);
        assert_eq!(check("a", &known)[0].text, "snippet `a` calls itself: a → b → a.");
        assert_eq!(check("b", &known)[0].text, "snippet `b` calls itself: b → a → b.");
        let deep: Snippets = (0..20)
            .map(|n| (format!("s{n}"), format!("{{snippet:s{}}}", n + 1)))
            .collect();
        assert!(parse("{snippet:s0}", &deep, Moment::End).is_err());
        let wide: Snippets = (0..7)
            .map(|n| (format!("s{n}"), format!("{{snippet:s{}}}\n", n + 1).repeat(50)))
            .chain([("s7".to_owned(), "G4 P1\n".repeat(50))])
            .collect();
        assert!(
            parse("{snippet:s0}", &wide, Moment::End).is_err(),
            "and it ends soon"
        );
    }

    proptest! {
        /// Whatever the text: an answer, and what is accepted can be sent.
        #[test]
        fn any_text_is_read_or_refused(text in "[GM{}:;a-z0-9 \\n@*é]{0,200}", snippet in "[G{}:a\\n ]{0,40}") {
            let known = snippets(&[("a", &snippet)]);
            match parse(&text, &known, Moment::Pause) {
                Ok(template) => {
                    let values: Values = VARIABLES.iter().map(|(_, v)| (*v, "1".to_owned())).collect();
                    for line in template.lines(&values) {
                        prop_assert!(!line.is_empty() && !line.contains(['\n', ';', '{', '*']), "{line:?}");
                    }
                }
                Err(mistakes) => {
                    for mistake in mistakes {
                        prop_assert!(text.get(mistake.at).is_some());
                    }
                }
            }
        }
    }
}
