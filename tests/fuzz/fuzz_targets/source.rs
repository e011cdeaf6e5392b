//! Whatever a file holds, the wire gets clean commands, and the same ones for every chunking.
#![no_main]

use layerd_fuzz::gcode::source::{Batch, Prepare, PrepareOptions};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&first, text)) = data.split_first() else { return };
    let options = PrepareOptions { paren_comments: first & 1 == 1 };
    let run = |size: usize| {
        let mut prepare = Prepare::new(options);
        let mut batch = Batch::default();
        for piece in text.chunks(size) {
            prepare.feed(piece, &mut batch);
        }
        prepare.finish(&mut batch);
        batch
    };
    let (whole, pieces) = (run(usize::MAX), run(usize::from(first / 2) + 1));
    assert_eq!(whole, pieces);
    for line in &whole.lines {
        let sent = whole.text_of(line);
        assert!(!sent.is_empty() && sent.iter().all(|b| *b >= b' ' && *b != b'*'), "{sent:?}");
    }
});
