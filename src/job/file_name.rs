//! Names of uploaded files: labels for people, never paths. Pure.

/// Longest label, bytes.
pub const NAME_MAX_BYTES: usize = 200;

/// File types that are G-code as text.
const TEXT_TYPES: &[&str] = &["gcode", "gco", "g", "nc", "npg", "ngc", "tap", "ufp.gcode"];

/// What a name says about its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Plain G-code.
    Gcode,
    /// Binary G-code.
    Bgcode,
    /// A sliced project.
    Project,
    /// Compressed G-code.
    Compressed,
    /// A model: has to be sliced first.
    Model,
    /// Nothing known.
    Other,
}

/// The label for a name as it came: the last part of any path, without control characters, not
/// empty, not hidden, not longer than [`NAME_MAX_BYTES`].
pub fn label(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or("");
    let clean: String = last
        .chars()
        .filter(|c| !c.is_control() && !is_deceptive(*c))
        .collect();
    let clean = clean
        .trim_start_matches(|c: char| c == '.' || c.is_whitespace())
        .trim_end();
    if clean.is_empty() {
        return "file.gcode".to_owned();
    }
    if clean.len() <= NAME_MAX_BYTES {
        return clean.to_owned();
    }
    // The end of a long name holds its type, which must stay.
    let (stem, kind) = match clean.rsplit_once('.') {
        Some((stem, kind)) if kind.len() <= 16 => (stem, format!(".{kind}")),
        _ => (clean, String::new()),
    };
    let room = NAME_MAX_BYTES.saturating_sub(kind.len());
    let end = (0..=room.min(stem.len()))
        .rev()
        .find(|n| stem.is_char_boundary(*n))
        .unwrap_or(0);
    format!("{}{kind}", stem.get(..end).unwrap_or_default().trim_end())
}

/// Characters that change how the text around them is read.
fn is_deceptive(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// What a name says about its file.
pub fn kind(name: &str) -> Kind {
    let lower = name.to_lowercase();
    let ends = |kind: &str| lower.strip_suffix(kind).is_some_and(|stem| stem.ends_with('.'));
    if ends("bgcode") || ends("bgc") {
        Kind::Bgcode
    } else if ends("3mf") {
        Kind::Project
    } else if ends("gz") {
        Kind::Compressed
    } else if ["stl", "obj", "step", "stp", "amf"].iter().any(|k| ends(k)) {
        Kind::Model
    } else if TEXT_TYPES.iter().any(|k| ends(k)) {
        Kind::Gcode
    } else {
        Kind::Other
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn labels_are_the_last_part_without_tricks() {
        assert_eq!(label("../../etc/x.gcode"), "x.gcode");
        assert_eq!(label("C:\\Users\\me\\Würfel 2.gcode"), "Würfel 2.gcode");
        assert_eq!(label("a\0b\n.gcode"), "ab.gcode");
        assert_eq!(label("..hidden.gcode"), "hidden.gcode");
        assert_eq!(label("part\u{202e}edocg.exe"), "partedocg.exe");
        for nothing in ["", "/", "..", "...", ". .", "a/", " \t"] {
            assert_eq!(label(nothing), "file.gcode", "{nothing:?}");
        }
    }

    #[test]
    fn long_names_keep_their_type() {
        let long = format!("{}.gcode", "ü".repeat(400));
        let short = label(&long);
        assert!(
            short.len() <= NAME_MAX_BYTES && short.ends_with("ü.gcode"),
            "{short}"
        );
        assert_eq!(label(&"x".repeat(500)).len(), NAME_MAX_BYTES);
        // Cut behind a blank: a label is its own label.
        let short = label(&format!("{} {}", "x".repeat(NAME_MAX_BYTES - 1), "y".repeat(50)));
        assert_eq!(short, "x".repeat(NAME_MAX_BYTES - 1));
        assert_eq!(label(&short), short);
    }

    #[test]
    fn types_are_told_by_the_end_of_the_name() {
        assert_eq!(kind("A.GCO"), Kind::Gcode);
        assert_eq!(kind("plate.gcode.3mf"), Kind::Project);
        assert_eq!(kind("x.bgcode"), Kind::Bgcode);
        assert_eq!(kind("x.gcode.gz"), Kind::Compressed);
        assert_eq!(kind("x.stl"), Kind::Model);
        assert_eq!(kind("g"), Kind::Other);
    }

    proptest! {
        #[test]
        fn no_name_becomes_a_path(name in "\\PC*|[./\\\\ a\u{0}-\u{1f}]{0,40}") {
            let label = label(&name);
            prop_assert!(!label.is_empty() && label.len() <= NAME_MAX_BYTES);
            prop_assert!(!label.contains(['/', '\\', '\0']) && !label.starts_with('.'));
        }
    }
}
