use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Line<'_> {
    line(text.as_bytes(), Dialect::default())
}

fn words(text: &str) -> Vec<(char, Option<f64>)> {
    match read(text).body {
        Body::Code(code) => code
            .words()
            .map(|w| (char::from(w.letter), w.value.map(|v| v as f64 / 1e6)))
            .collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn words_in_every_spelling() {
    let xy = vec![('X', Some(10.0)), ('Y', Some(-0.5))];
    for text in [
        "G1 X10 Y-.5",
        "G1X10Y-.5",
        "g1 x10y-0.50",
        "G1\tX 10  Y -.5",
        "G01 X+10. Y-00.5",
        "N7 G1 X10 Y-.5*3",
    ] {
        assert_eq!(words(text), xy, "{text}");
    }
    assert_eq!(words("G28 X Y0"), [('X', None), ('Y', Some(0.0))]);
    // No exponents: E is the next word, whatever stands before it.
    assert_eq!(words("G1 X1E2"), [('X', Some(1.0)), ('E', Some(2.0))]);
    assert_eq!(words("G1 X1e400"), [('X', Some(1.0)), ('E', Some(400.0))]);
    assert_eq!(
        words("G1 XNAN"),
        [('X', None), ('N', None), ('A', None), ('N', None)]
    );
    assert_eq!(words("G1 X-"), [('X', None)]);
    assert_eq!(words("G1 X0 Y{machine_depth}"), [('X', Some(0.0)), ('Y', None)]);
}

#[test]
fn numbers_are_exact_and_held_in_bounds() {
    let n = |t: &str| number(t.as_bytes()).unwrap().1;
    assert_eq!(n("75.905"), 75_905_000);
    assert_eq!(n("0.0000005"), 1);
    assert_eq!(n("0.0000004999"), 0);
    assert_eq!(n("-0"), 0);
    assert_eq!(n("99999999999999999999999"), MAX_NUMBER);
    assert_eq!(n("-99999999999999999999999.9"), -MAX_NUMBER);
    for bad in [".", "-", "", "x", "+."] {
        assert!(number(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn commands_are_told_apart() {
    let code = |text: &str| match read(text).body {
        Body::Code(c) => (char::from(c.letter), c.number, c.sub),
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(code("G29.1 S0"), ('G', 29, Some(1)));
    assert_eq!(code("T 0"), ('T', 0, None));
    assert_eq!(code("Tx"), ('T', Code::NO_NUMBER, None));
    assert_eq!(code("M99999999999 S1").1, Code::NO_NUMBER - 1);
    let name = |text: &'static str| match read(text).body {
        Body::Extended(e) => String::from_utf8_lossy(e.name).into_owned(),
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(name("START_PRINT BED=60"), "START_PRINT");
    assert_eq!(name("M600_MINE A=1"), "M600_MINE");
    assert_eq!(name("_toolchange"), "_toolchange");
    assert_eq!(read("@pause now").body, Body::Host(b"pause now"));
    assert!(matches!(read("%").body, Body::Other(b"%")));
    assert_eq!(read("   ; just talk").body, Body::Empty);
    assert_eq!(read("   ; just talk").comment, Some(&b" just talk"[..]));
}

#[test]
fn texts_are_no_words() {
    for text in [
        "M117 T1 X10 left",
        "M118 E1 X2",
        "M23 x10.gco",
        "M1002 gcode_claim_action : 2",
        "M0 X5 click",
    ] {
        assert_eq!(words(text), [], "{text}");
    }
    assert_eq!(words("M486 S1 AX12"), [('S', Some(1.0))]);
    assert_eq!(words("M486 T6"), [('T', Some(6.0))]);
}

#[test]
fn quotes_protect_semicolons_where_there_are_texts() {
    let e = |text: &'static str, key: &str| match read(text).body {
        Body::Extended(e) => e.value(key).map(|v| String::from_utf8_lossy(v).into_owned()),
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(
        e("PRINT MATERIAL=\"PLA; Silk\" BED=60 ; x", "material").as_deref(),
        Some("PLA; Silk")
    );
    assert_eq!(e("PRINT A=1 # B=2", "B"), None);
    assert_eq!(e("PRINT A='x y' B=2", "b").as_deref(), Some("2"));
    assert_eq!(read("M117 6\" wide; x").comment, Some(&b" x"[..]));
    assert_eq!(read("G1 X1;\"a").comment, Some(&b"\"a"[..]));
}

#[test]
fn line_numbers_and_checksums_come_off() {
    let l = read("N123 G1 X1 Y2*71 ; x");
    assert_eq!((l.number, l.checksum), (Some(123), Some(71)));
    assert_eq!(words("N123 G1 X1 Y2*71"), [('X', Some(1.0)), ('Y', Some(2.0))]);
    assert_eq!(read("M117 3*4").checksum, None);
}

proptest! {
    #[test]
    fn any_line_has_a_reading(bytes in proptest::collection::vec(any::<u8>(), 0..200), parens: bool) {
        let l = line(&bytes, Dialect { paren_comments: parens });
        match l.body {
            Body::Code(c) => { c.words().count(); }
            Body::Extended(e) => { e.pairs().count(); }
            _ => {}
        }
    }

    #[test]
    fn numbers_are_read_as_written(whole in 0u32..999_999, part in 0u32..1_000_000, minus: bool) {
        let text = format!("{}{whole}.{part:06}", if minus { "-" } else { "" });
        let size = i64::from(whole) * 1_000_000 + i64::from(part);
        prop_assert_eq!(number(text.as_bytes()).unwrap().1, if minus { -size } else { size });
    }
}
