use std::io::Write as _;

use proptest::prelude::*;

use super::*;

fn prepare(text: &[u8], sizes: &[usize], options: PrepareOptions) -> Batch {
    let mut prepare = Prepare::new(options);
    let mut batch = Batch::default();
    let mut rest = text;
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let n = sizes.next().copied().unwrap_or(1).clamp(1, rest.len());
        prepare.feed(&rest[..n], &mut batch);
        rest = &rest[n..];
    }
    prepare.finish(&mut batch);
    batch
}

fn wire(text: &str) -> Vec<String> {
    let batch = prepare(text.as_bytes(), &[1 << 20], PrepareOptions::default());
    batch
        .lines
        .iter()
        .map(|l| String::from_utf8_lossy(batch.text_of(l)).into_owned())
        .collect()
}

#[test]
fn the_wire_gets_commands_and_nothing_else() {
    for (file, sent) in [
        ("G1 X1 Y2 ; go", "G1 X1 Y2"),
        ("g1x1y2", "G1 X1Y2"),
        ("  G1\tX1 ", "G1 X1"),
        ("N12 G1 X1*71", "G1 X1"),
        ("G1 X1 *71 ; note", "G1 X1"),
        ("M117 5 * 3 = fifteen; comment", "M117 5  3 = fifteen"),
        ("m117 Hello World", "M117 Hello World"),
        ("M118 E1 say \"a;b\" ; no", "M118 E1 say \"a;b\""),
        ("M117 2\" pipe ; no", "M117 2\" pipe"),
        ("M486 s1 APart One", "M486 S1 APart One"),
        ("M23 mixed~1.gco", "M23 mixed~1.gco"),
        ("T?", "T?"),
        ("Tx ; load", "Tx"),
        ("t 1", "T1"),
        (
            "EXCLUDE_OBJECT_START NAME=Part_a ; x",
            "EXCLUDE_OBJECT_START NAME=Part_a",
        ),
        ("M73.2 R1.0", "M73.2 R1.0"),
        ("M117 one\u{0}two", "M117 one two"),
        ("\u{feff}G28", "G28"),
        ("G1 X10 (left) Y20", "G1 X10 (LEFT) Y20"),
    ] {
        assert_eq!(wire(file), [sent], "{file}");
    }
    for nothing in ["; x", "", "   ", "@pause", "\u{feff}; hi", "N5"] {
        assert!(wire(nothing).is_empty(), "{nothing:?}");
    }
}

#[test]
fn parentheses_are_comments_only_where_the_firmware_says_so() {
    let options = PrepareOptions { paren_comments: true };
    let batch = prepare(b"G1 X10 (le;ft) Y20 ; x\n(all)\n", &[100], options);
    assert_eq!(batch.lines.len(), 1);
    assert_eq!(batch.text_of(&batch.lines[0]), b"G1 X10  Y20");
}

#[test]
fn a_carriage_return_never_smuggles_a_command_into_a_line() {
    assert_eq!(wire("M117 a\rM112\r\nG28"), ["M117 a", "M112", "G28"]);
}

#[test]
fn lines_know_their_place() {
    let batch = prepare(
        b";LAYER_CHANGE\r\nG1 X1\r\n;LAYER_CHANGE\n@x\nG1 X2",
        &[3],
        PrepareOptions::default(),
    );
    assert_eq!(batch.lines[0].source_line, 2);
    assert_eq!((batch.lines[0].layer, batch.lines[0].byte_end), (1, 22));
    assert_eq!(
        (
            batch.lines[1].source_line,
            batch.lines[1].layer,
            batch.lines[1].byte_end
        ),
        (5, 2, 44)
    );
}

#[test]
fn a_million_character_command_is_bounded() {
    let mut text = b"G1 ".to_vec();
    text.resize(1_000_000, b'X');
    text.extend_from_slice(b"\nM104 S0\n");
    let batch = prepare(&text, &[4096], PrepareOptions::default());
    assert_eq!(batch.lines.len(), 2);
    assert_eq!(batch.lines[0].len as usize, MAX_COMMAND);
    assert_eq!(batch.text_of(&batch.lines[1]), b"M104 S0");
}

fn file(text: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text).unwrap();
    file
}

#[test]
fn a_file_comes_in_batches_and_can_be_entered_half_way() {
    let text: Vec<u8> = (0..5000)
        .flat_map(|i| format!("G1 X{i}\n;LAYER_CHANGE\n").into_bytes())
        .collect();
    let file = file(&text);
    let mut source = FileSource::open(file.path(), 0, 0, 0).unwrap();
    let mut all = Vec::new();
    loop {
        let batch = source.next_batch(1000).unwrap();
        assert!(batch.text.len() <= 1024);
        all.extend(batch.lines.iter().map(|l| (batch.text_of(l).to_vec(), *l)));
        if batch.last {
            break;
        }
    }
    assert_eq!(all.len(), 5000);
    assert!(source.next_batch(1000).unwrap().last);
    let (_, at) = &all[1233];
    let mut half = FileSource::open(file.path(), at.byte_end, at.source_line, at.layer).unwrap();
    let batch = half.next_batch(100).unwrap();
    let (expected, line) = &all[1234];
    assert_eq!(batch.text_of(&batch.lines[0]), expected.as_slice());
    assert_eq!(
        (batch.lines[0].source_line, batch.lines[0].layer),
        (line.source_line, line.layer)
    );
}

#[test]
fn a_file_that_changes_under_the_print_is_noticed() {
    let changed = |error: std::io::Error| *error.get_ref().unwrap().downcast_ref::<FileChanged>().unwrap();
    let text = b"G1 X1\n".repeat(1000);
    let mut grows = file(&text);
    let mut source = FileSource::open(grows.path(), 0, 0, 0).unwrap();
    source.next_batch(600).unwrap();
    grows.write_all(b"G28\n").unwrap();
    assert_eq!(
        changed(source.next_batch(600).unwrap_err()),
        FileChanged::Grew { was: 6000, is: 6004 }
    );

    let shrinks = file(&text);
    let mut source = FileSource::open(shrinks.path(), 0, 0, 0).unwrap();
    source.next_batch(600).unwrap();
    shrinks.as_file().set_len(10).unwrap();
    assert_eq!(
        changed(source.next_batch(600).unwrap_err()),
        FileChanged::Shrank { was: 6000, is: 10 }
    );

    let goes = file(&text);
    let mut source = FileSource::open(goes.path(), 0, 0, 0).unwrap();
    assert!(!source.vanished());
    drop(goes);
    assert!(source.vanished());
    let mut lines = 0;
    loop {
        let batch = source.next_batch(10_000).unwrap();
        lines += batch.lines.len();
        if batch.last {
            break;
        }
    }
    assert_eq!(lines, 1000);
    assert!(FileSource::open(std::path::Path::new("/nonexistent/x.gcode"), 0, 0, 0).is_err());
    assert!(FileSource::open(shrinks.path(), 11, 0, 0).is_err());
}

proptest! {
    #[test]
    fn chunking_does_not_matter(
        pieces in proptest::collection::vec(
            proptest::sample::select(vec![
                "G1 X1.5", "\n", "\r", "\r\n", "; c", ";LAYER:1", "M117 \"a;b\"", "*9", "N3 ", "\0", "\u{feff}", "@h",
                "SET_PRINT_STATS_INFO CURRENT_LAYER=2", " ",
            ]),
            0..40,
        ),
        sizes in proptest::collection::vec(1usize..9, 1..6),
    ) {
        let text = pieces.concat().into_bytes();
        let whole = prepare(&text, &[1 << 20], PrepareOptions::default());
        prop_assert_eq!(&prepare(&text, &sizes, PrepareOptions::default()), &whole);
        for line in &whole.lines {
            let sent = whole.text_of(line);
            prop_assert!(!sent.is_empty());
            prop_assert!(sent.iter().all(|b| *b >= b' ' && *b != b'*'));
        }
    }

    #[test]
    fn any_bytes_are_taken(text in proptest::collection::vec(any::<u8>(), 0..300)) {
        let batch = prepare(&text, &[7], PrepareOptions { paren_comments: true });
        for line in &batch.lines {
            prop_assert!(!batch.text_of(line).contains(&b'\n'));
        }
    }
}
