//! SECURITY.md names the test of each promise: none of them may be gone.

#![allow(clippy::expect_used, reason = "a test may be blunt")]

use std::path::{Path, PathBuf};

fn sources(dir: &Path, text: &mut String) {
    for entry in std::fs::read_dir(dir).expect("readable") {
        let path: PathBuf = entry.expect("an entry").path();
        let skipped = ["target", "corpus", "artifacts", "out"];
        if path.is_dir() && !skipped.iter().any(|s| path.ends_with(s)) {
            sources(&path, text);
        } else if path.extension().is_some_and(|e| e == "rs") {
            text.push_str(&std::fs::read_to_string(&path).expect("text"));
        }
    }
}

#[test]
fn every_promise_of_the_security_page_has_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("SECURITY.md")).expect("the page");
    let mut text = String::new();
    sources(&root.join("src"), &mut text);
    sources(&root.join("tests"), &mut text);
    let mut missing = Vec::new();
    let mut found = 0;
    for word in page.split('`').skip(1).step_by(2) {
        let test = word.contains('_')
            && word
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if test {
            found += 1;
            if !text.contains(&format!("fn {word}(")) {
                missing.push(word);
            }
        } else if word.starts_with("tests/") && !word.contains(' ') && !root.join(word).exists() {
            missing.push(word);
        }
    }
    assert!(missing.is_empty(), "named and not there: {missing:#?}");
    assert!(found > 40, "{found} tests are named");
}
