//! Feature marks: `;TYPE:Skirt/Brim`, `; FEATURE: Outer wall`, `; feature skirt`.

/// What a stretch of a print is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// The part, its supports, the wipe tower.
    #[default]
    Part,
    /// Purge, prime, skirt, brim: on the bed, no part of the print's size.
    Apart,
}

/// Names of what is no part, lower case.
const APART: &[&str] = &[
    "custom",
    "skirt/brim",
    "skirt",
    "brim",
    "flush",
    "prime line",
    "purge",
    "skirt path",
    "prime pillar path",
    "skirt/brim/shield",
    "start",
    "preextrude",
];

/// The role of a feature name.
pub fn role_of(name: &[u8]) -> Role {
    let name = super::super::lex::trim(name);
    if APART
        .iter()
        .any(|apart| name.eq_ignore_ascii_case(apart.as_bytes()))
    {
        Role::Apart
    } else {
        Role::Part
    }
}

/// The feature name in a comment, if it is a feature mark.
#[inline]
pub fn mark_in(comment: &[u8]) -> Option<&[u8]> {
    match comment.first()? {
        b'T' => comment.strip_prefix(b"TYPE:"),
        b'F' => comment.strip_prefix(b"FEATURE: "),
        b'f' => comment.strip_prefix(b"feature "),
        // KISSlicer: `; 'Perimeter Path', 0.6 [feed mm/s]…`
        b'\'' => comment
            .get(1..)?
            .split(|b| *b == b'\'')
            .next()
            .filter(|n| n.ends_with(b"Path")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skirts_are_no_part() {
        for (comment, role) in [
            ("TYPE:Skirt/Brim", Role::Apart),
            ("TYPE:SKIRT", Role::Apart),
            ("TYPE:Custom", Role::Apart),
            ("FEATURE: Brim", Role::Apart),
            ("feature skirt", Role::Apart),
            ("'Skirt Path', 0.6 [feed mm/s]", Role::Apart),
            ("TYPE:Wipe tower", Role::Part),
            ("TYPE:WALL-OUTER", Role::Part),
            ("FEATURE: Outer wall", Role::Part),
        ] {
            assert_eq!(role_of(mark_in(comment.as_bytes()).unwrap()), role, "{comment}");
        }
        assert_eq!(mark_in(b"WIDTH:0.4"), None);
    }
}
