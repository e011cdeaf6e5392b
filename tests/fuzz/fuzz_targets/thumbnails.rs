//! Any bytes are a whole picture or are refused; what is accepted can be shown.
#![no_main]

use layerd_fuzz::gcode::picture::{MAX_SIDE, Picture};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&first, found)) = data.split_first() else { return };
    let picture = if first & 1 == 0 {
        Picture::cut(found)
    } else {
        Picture::new(found.to_vec())
    };
    let Ok(picture) = picture else { return };
    let (width, height) = (picture.width, picture.height);
    assert!((1..=MAX_SIDE).contains(&width) && (1..=MAX_SIDE).contains(&height));
    // A short file may stand for millions of pixels of one colour: keep the runs short.
    if width * height <= 1 << 20 {
        let shown = picture.for_browsers().expect("checked before");
        assert_eq!((shown.width, shown.height), (width, height));
        Picture::new(shown.bytes).expect("written by us");
    }
});
