//! Whatever a cloud says has a reading or is junk; credentials never show.
#![no_main]

use layerd_fuzz::upstream::simplyprint::demand::Demand;
use layerd_fuzz::upstream::simplyprint::proto::{self, Message};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    proto::retry_after_s(text);
    let Ok(incoming) = proto::read(text) else { return };
    let shown = format!("{incoming:?}");
    match incoming.message {
        Message::NewToken { token, .. } if token.reveal().len() > 24 => assert!(!shown.contains(token.reveal())),
        Message::Demand(Demand::File(file)) => {
            assert!(!file.urls.is_empty());
            assert!(!file.name.contains(['/', '\\']), "a name is never a place");
        }
        Message::Demand(Demand::Gcode { lines, .. }) => {
            assert!(lines.iter().all(|l| !l.trim().is_empty() && !l.contains(['\n', ';'])));
        }
        _ => {}
    }
});
