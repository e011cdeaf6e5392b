//! The examples in `config/` and in the README are what a person pastes: each must load as it stands.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may be blunt"
)]

use std::fs;
use std::path::{Path, PathBuf};

use layerd::daemon::{Configured, parse_config};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn examples() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(root().join("config"))
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    files
}

fn loaded(text: &str, name: &str) -> Configured {
    parse_config(text, name).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

#[test]
fn every_example_loads_and_every_driver_has_one() {
    let files = examples();
    for file in &files {
        let text = fs::read_to_string(file).expect("readable");
        let config = loaded(&text, &file.display().to_string());
        // What a package puts in place waits for its owner.
        let fresh = file.ends_with("installed.toml");
        assert_eq!(config.printers.is_empty(), fresh, "{}", file.display());
    }
    for factory in layerd::drivers::REGISTRY {
        let name = format!("{}.toml", factory.kind());
        assert!(
            files.iter().any(|f| f.ends_with(&name)),
            "config/{name} is missing"
        );
    }
}

#[test]
fn keys_that_are_commented_out_show_the_defaults() {
    for factory in layerd::drivers::REGISTRY {
        let name = format!("{}.toml", factory.kind());
        let text = fs::read_to_string(root().join("config").join(&name)).expect("readable");
        let mut shown = 0;
        let spelled_out: String = text
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase()) => {
                    shown += 1;
                    format!("{key}\n")
                }
                _ => format!("{line}\n"),
            })
            .collect();
        assert!(shown > 5, "{name} shows defaults");
        let (short, long) = (loaded(&text, &name), loaded(&spelled_out, &name));
        for (short, long) in short.printers.iter().zip(&long.printers) {
            assert!(
                short.driver.same_as(long.driver.as_ref()),
                "{name}: keys of the driver"
            );
            // What is not said follows the driver, which for a printer on a cable is to pause.
            let mut common = short.common.clone();
            common.on_stop = common.on_stop.or(long.common.on_stop);
            assert_eq!(common, long.common, "{name}");
        }
    }
}

#[test]
fn the_blocks_of_the_readme_load() {
    let text = fs::read_to_string(root().join("README.md")).expect("readable");
    let blocks: Vec<&str> = text
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(!blocks.is_empty(), "the README shows a configuration");
    for block in blocks {
        loaded(block, "README.md");
    }
}

#[test]
fn the_example_with_every_key_has_every_key() {
    let everything = fs::read_to_string(root().join("config/layerd.toml")).expect("readable");
    let short = fs::read_to_string(root().join("config/marlin.toml")).expect("readable");
    let keys = short
        .lines()
        .filter_map(|line| line.trim_start_matches('#').split_once(" = "))
        .map(|(key, _)| key)
        .filter(|key| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
    for key in keys {
        assert!(
            everything
                .lines()
                .any(|line| line.starts_with(&format!("{key} = "))),
            "`{key}` is missing in config/layerd.toml"
        );
    }
}
