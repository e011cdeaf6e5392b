//! Whatever a printer on a serial line says has a reading.
#![no_main]

use layerd_fuzz::drivers::marlin::{answer, dialect, temps};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&tool, text)) = data.split_first() else { return };
    for line in text.split(|b| *b == b'\n') {
        let read = answer::parse(line);
        assert_eq!(read, answer::parse(line));
        temps::read(line, tool, |reading| assert!(reading.actual_c.is_finite(), "{reading:?}"));
        let words = String::from_utf8_lossy(line);
        dialect::quirks(dialect::family(&words));
        for key in ["FIRMWARE_NAME", "MACHINE_TYPE", "UUID"] {
            if let Some(field) = dialect::identity_field(&words, key) {
                assert!(words.contains(field));
            }
        }
        dialect::name_and_version(&words);
    }
});
