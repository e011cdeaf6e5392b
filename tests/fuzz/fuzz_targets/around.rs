//! What stands around a printer: the first whole picture in a camera's stream, the login that a switch asks for, the name
//! of a file that somebody sends.
#![no_main]

use layerd_fuzz::camera::frame::Cutter;
use layerd_fuzz::job::file_name;
use layerd_fuzz::power::digest::Challenge;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&how, data)) = data.split_first() else { return };
    match how % 3 {
        0 => picture(data, usize::from(how / 3).max(1)),
        1 => login(&String::from_utf8_lossy(data)),
        _ => name(&String::from_utf8_lossy(data)),
    }
});

/// The same picture however the bytes are cut.
fn picture(data: &[u8], size: usize) {
    let whole = Cutter::default().push(data);
    let mut cutter = Cutter::default();
    let mut found = Ok(None);
    for part in data.chunks(size) {
        found = cutter.push(part);
        if !matches!(found, Ok(None)) {
            break;
        }
    }
    assert_eq!(whole, found);
    if let Ok(Some(picture)) = whole {
        assert!(picture.starts_with(&[0xff, 0xd8, 0xff]) && picture.ends_with(&[0xff, 0xd9]));
        assert!(data.windows(picture.len()).any(|w| w == picture));
    }
}

fn login(header: &str) {
    let Some(challenge) = Challenge::read(header) else { return };
    let answer = challenge.answer("admin", "word", "GET", "/rpc/Switch.Set?id=0", "c");
    assert!(answer.starts_with("Digest username=\"admin\"") && !answer.chars().any(char::is_control), "{answer:?}");
}

fn name(name: &str) {
    let label = file_name::label(name);
    assert!(!label.is_empty() && label.len() <= file_name::NAME_MAX_BYTES, "{label:?}");
    assert!(!label.starts_with('.') && !label.contains(['/', '\\']) && !label.chars().any(char::is_control), "{label:?}");
    assert_eq!(file_name::label(&label), label, "a label is its own label");
    file_name::kind(&label);
}
