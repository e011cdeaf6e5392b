//! The analysis of any bytes ends, and is the same for another chunking.
#![no_main]

use layerd_fuzz::gcode::analyze::{Analyzer, Bed, Options};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&first, text)) = data.split_first() else { return };
    let options = Options {
        bed: (first & 1 == 1).then(|| Bed::rect(220.0, 220.0, 250.0)),
        max_tool_c: Some(260.0),
        hash: false,
        ..Options::default()
    };
    let mut whole = Analyzer::new(options);
    whole.push(text);
    let (a, index_a) = whole.finish_with_index();
    let mut pieces = Analyzer::new(options);
    for piece in text.chunks(usize::from(first / 2) + 1) {
        pieces.push(piece);
    }
    let (b, index_b) = pieces.finish_with_index();
    assert_eq!(a, b);
    assert_eq!(index_a, index_b);
    serde_json::to_string(&a).unwrap();
    for byte in [0, text.len() as u64 / 2, text.len() as u64] {
        index_a.checkpoint_before(byte);
        index_a.object_at(byte);
        assert!((0.0..=1.0).contains(&index_a.progress_at(byte)));
    }
});
