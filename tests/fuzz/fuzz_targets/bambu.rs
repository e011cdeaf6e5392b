//! Whatever a Bambu Lab printer reports is merged or passed over; what is kept of it stays bounded, and
//! the same report twice changes nothing.
#![no_main]

use layerd_fuzz::drivers::bambu::lenient::decode;
use layerd_fuzz::drivers::bambu::report::Message;
use layerd_fuzz::drivers::bambu::stages;
use layerd_fuzz::drivers::bambu::status::Status;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut status = Status::default();
    // Several reports after each other, so that deltas meet a state.
    for part in data.split(|byte| *byte == b'\n') {
        let text = decode(part);
        let Ok(message) = serde_json::from_str::<Message<'_>>(&text) else { continue };
        let Some(print) = &message.print.0 else { continue };
        status.merge(print);
        let once = status.clone();
        status.merge(print);
        assert_eq!(once, status);
        assert!(status.materials.units.len() <= 24 && status.hms.len() <= 32 && status.skipped.len() <= 64);
        assert!(status.materials.layout().len() <= 24 * 16 + 4);
        let _ = (status.tools(), status.chamber(true), status.stage.and_then(stages::words));
    }
});
