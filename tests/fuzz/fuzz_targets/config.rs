//! Whatever stands in a configuration file, it is a configuration or a list of mistakes with their places; and what of
//! it is shown to others has a line for each of its lines.
#![no_main]

use layerd_fuzz::config::load::{Surroundings, parse, runtime_dir, shown, state_dir};
use layerd_fuzz::config::model::Common;
use layerd_fuzz::config::section::{Section, WordOrInteger};

const KINDS: &[&str] = &["marlin", "moonraker", "bambu"];

/// A driver with a key of every kind.
fn configure(kind: &str, _: &Common, section: &mut Section<'_>) -> Option<Option<WordOrInteger>> {
    section.secret("access_code");
    section.secret("api_key");
    section.path("api_key_file");
    section.numbers::<3>("offset", -1e6..=1e6);
    section.boolean("fast");
    section.integer("mqtt_port", 1..=65_535);
    section.table("more", |more| {
        more.take_all();
        Some(())
    });
    let baud = section.word_or_integer("baud", &["auto"], 1..=4_000_000);
    match kind {
        "marlin" => section.required_string("port", "\"/dev/ttyUSB0\"").map(|_| baud),
        _ => section.string("url").map(|_| baud),
    }
}

libfuzzer_sys::fuzz_target!(|text: &str| {
    let around = Surroundings::default();
    let read = || parse(text, "layerd.toml", &around, KINDS, &mut configure);
    let lines = text.strip_prefix('\u{feff}').unwrap_or(text).split('\n').count();
    match read() {
        Ok(config) => {
            assert!(config.printers.iter().all(|p| KINDS.contains(&p.kind.as_str()) && !p.name.contains(['/', '\0'])));
            assert!(config.printers.iter().all(|p| !p.name.starts_with('.') && p.name.len() <= 64));
            assert!(read().is_ok());
        }
        Err(mistakes) => {
            let told = mistakes.to_string();
            assert!(!mistakes.mistakes().is_empty() && !told.is_empty());
            assert!(mistakes.mistakes().iter().all(|m| m.line <= lines), "{told}");
            assert_eq!(read().err().map(|again| again.to_string()), Some(told));
        }
    }
    let public = shown(text, &around, KINDS, &mut configure);
    assert_eq!(public.text.split('\n').count(), lines, "{}", public.text);
    runtime_dir(text, &around);
    state_dir(text, &around);
});
