//! A known secret is in no text that was cleaned, in whatever it stands; lines stay.
#![no_main]

use layerd_fuzz::config::scrub::{Scrub, in_address};
use layerd_fuzz::config::secrets::Secret;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let (secret, text) = text.split_once('\n').unwrap_or(("", &text));
    in_address(secret, true);
    let mut scrub = Scrub::default();
    scrub.learn(&Secret::new(secret));
    let clean = scrub.text(text);
    assert_eq!(clean.matches('\n').count(), text.matches('\n').count());
    let secret = secret.trim();
    // What stands for a secret may come together with what is around it to the secret's own form.
    if secret.len() >= 4 && !secret.contains('*') {
        assert!(!clean.contains(secret), "{secret:?} in {clean:?}");
    }
});
