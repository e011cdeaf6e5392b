//! The rules of `src/lib.rs`, checked: who may use whom, what is pure, how long a file may be.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may be blunt"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest file, lines. Beyond it a file has more than one subject.
const LINES_MAX: usize = 700;

/// Which module may use which others (`cli` and `main` are the top and may use all; `gcode` is a crate of its own,
/// which can use none).
const MAY_USE: &[(&str, &[&str])] = &[
    ("config", &["sys"]),
    ("sys", &[]),
    ("printer", &["gcode"]),
    ("host", &["printer", "config", "sys"]),
    ("job", &["printer", "gcode", "config", "host"]),
    ("drivers", &["printer", "gcode", "config", "host", "job", "sys"]),
    ("power", &["printer", "config", "host"]),
    ("camera", &["printer", "config", "host"]),
    (
        "agent",
        &[
            "printer", "gcode", "config", "host", "job", "drivers", "power", "camera", "sys",
        ],
    ),
    (
        "upstream",
        &["printer", "gcode", "config", "host", "job", "agent"],
    ),
    (
        "api",
        &[
            "printer", "gcode", "config", "host", "job", "agent", "camera", "sys",
        ],
    ),
];

/// File names that promise purity, in every folder.
const PURE_NAMES: &[&str] = &[
    "proto",
    "reduce",
    "guard",
    "machine",
    "lex",
    "modal",
    "analyze",
    "dialect",
    "faults",
    "preflight",
    "progress",
    "backoff",
    "model",
    "event",
    "capability",
    "outcome",
    "gcode_rules",
    "usage",
    "report",
    "delta",
    "throttle",
    "relay",
    "rules",
    "mesh",
    "template",
    "release",
];

/// Folders that are pure but for the files named.
const PURE_FOLDERS: &[(&str, &[&str])] = &[
    (
        "upstream/simplyprint/",
        &["mod", "tests", "extras", "keep", "shell", "sim", "socket", "work"],
    ),
    (
        "upstream/mqtt/",
        &["mod", "keep", "shell", "sim", "socket", "work"],
    ),
];

/// What a pure file may not touch.
const IMPURE: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "std::fs",
    "std::net",
    "std::thread",
    "tokio::time",
    "tokio::net",
    "tokio::fs",
    "tokio::spawn",
    "tracing::",
];

/// What every module may use.
const COMMON: &[&str] = &["blocking", "json", "sorted"];

/// The files that every driver folder has.
const DRIVER_FILES: &[&str] = &["mod", "config", "proto", "faults", "shell", "sim"];

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// Path below `src`, with slashes.
    fn name(&self) -> String {
        self.path
            .strip_prefix(root().join("src"))
            .expect("below src")
            .to_string_lossy()
            .replace('\\', "/")
    }

    fn module(&self) -> String {
        let name = self.name();
        name.split(['/', '.']).next().unwrap_or_default().to_owned()
    }

    fn is_test(&self) -> bool {
        let stem = self
            .path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        stem == "tests"
            || stem.ends_with("_tests")
            || stem.starts_with("tests_")
            || self.name().contains("/tests/")
    }

    /// The code without its test module and comments.
    fn code(&self) -> String {
        let body = self.text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        body.lines()
            .filter(|l| !l.trim_start().starts_with("//"))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    fn walk(dir: &Path, out: &mut Vec<Source>) {
        for entry in fs::read_dir(dir).expect("readable") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                walk(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).expect("utf-8");
                out.push(Source { path, text });
            }
        }
    }
    let mut out = Vec::new();
    walk(&root().join("src"), &mut out);
    assert!(out.len() > 20, "found the sources");
    out
}

fn report(title: &str, mistakes: Vec<String>) {
    assert!(mistakes.is_empty(), "{title}:\n  {}", mistakes.join("\n  "));
}

#[test]
fn modules_use_only_what_lies_below_them() {
    let rules: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let mut mistakes = Vec::new();
    for source in sources().iter().filter(|s| !s.is_test()) {
        let module = source.module();
        let Some(allowed) = rules.get(module.as_str()) else {
            continue;
        };
        for line in source.code().lines() {
            for (at, _) in line.match_indices("crate::") {
                let used: String = line[at + 7..]
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                // These are nobody's: they know nothing of layerd.
                if !used.is_empty()
                    && used != module
                    && !COMMON.contains(&used.as_str())
                    && !allowed.contains(&used.as_str())
                {
                    mistakes.push(format!(
                        "{}: `{module}` may not use `{used}`: {}",
                        source.name(),
                        line.trim()
                    ));
                }
            }
        }
    }
    report("imports against the direction of dependencies", mistakes);
}

#[test]
fn drivers_do_not_know_each_other() {
    let mut mistakes = Vec::new();
    for source in sources() {
        let name = source.name();
        let Some(own) = name
            .strip_prefix("drivers/")
            .and_then(|n| n.split_once('/'))
            .map(|(d, _)| d)
        else {
            continue;
        };
        for line in source.code().lines() {
            if let Some(rest) = line.split("crate::drivers::").nth(1) {
                let used: String = rest
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                let is_folder = root().join("src/drivers").join(&used).is_dir();
                if is_folder && !used.is_empty() && used != own {
                    mistakes.push(format!("{name}: {}", line.trim()));
                }
            }
        }
    }
    report("a driver that uses another", mistakes);
}

#[test]
fn pure_files_touch_no_clock_disk_or_socket() {
    let mut mistakes = Vec::new();
    for source in sources().iter().filter(|s| !s.is_test()) {
        let stem = source
            .path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        // A verb of the command line is named after its subject, and `analyze_file` is the shell of
        // the pure analyzer: both are there to read files.
        let shell = source.module() == "cli" || stem.ends_with("_file");
        let pure = !shell
            && PURE_NAMES
                .iter()
                .any(|p| stem == *p || stem.starts_with(&format!("{p}_")));
        let name = source.name();
        let in_pure_folder = PURE_FOLDERS.iter().any(|(folder, shells)| {
            name.strip_prefix(folder).is_some_and(|rest| {
                !shells
                    .iter()
                    .any(|s| rest.starts_with(&format!("{s}.")) || rest.starts_with(&format!("{s}/")))
            })
        });
        if !pure && !in_pure_folder {
            continue;
        }
        let code = source.code();
        for word in IMPURE.iter().filter(|w| code.contains(**w)) {
            mistakes.push(format!("{}: {word}", source.name()));
        }
    }
    report("impure code in files that promise purity", mistakes);
}

#[test]
fn files_are_short_enough_to_have_one_subject() {
    let mistakes = sources()
        .iter()
        .map(|s| (s.name(), s.text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(name, lines)| format!("{name}: {lines} lines"))
        .collect();
    report("files that are too long", mistakes);
}

#[test]
fn every_driver_folder_has_the_common_files() {
    let mut mistakes = Vec::new();
    for entry in fs::read_dir(root().join("src/drivers")).expect("drivers") {
        let dir = entry.expect("entry").path();
        if !dir.is_dir() {
            continue;
        }
        for file in DRIVER_FILES {
            if !dir.join(format!("{file}.rs")).exists() && !dir.join(file).join("mod.rs").exists() {
                mistakes.push(format!("{}: {file} is missing", dir.display()));
            }
        }
    }
    report("driver folders that differ", mistakes);
}

#[test]
fn unsafe_code_stands_in_one_audited_file() {
    let mistakes = sources()
        .iter()
        .filter(|s| s.name() != "sys.rs")
        .filter(|s| {
            s.code().contains("unsafe {")
                || s.code().contains("unsafe fn")
                || s.code().contains("allow(unsafe_code)")
        })
        .map(Source::name)
        .collect();
    report("unsafe code outside sys.rs", mistakes);
}

#[test]
fn types_are_named_after_what_they_are() {
    let mut mistakes = Vec::new();
    for source in sources() {
        for line in source.code().lines() {
            let line = line.trim();
            let Some(rest) = ["pub struct ", "struct ", "pub enum ", "enum ", "pub trait "]
                .iter()
                .find_map(|k| line.strip_prefix(k))
            else {
                continue;
            };
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
            if ["Manager", "Helper", "Utils", "Handler"]
                .iter()
                .any(|bad| name.ends_with(bad))
            {
                mistakes.push(format!("{}: {name}", source.name()));
            }
        }
    }
    report("names that say nothing", mistakes);
}

#[test]
fn the_tree_holds_no_path_of_a_build_machine() {
    let mut mistakes = Vec::new();
    for source in sources() {
        for (number, line) in source.text.lines().enumerate() {
            if line.contains("/home/") || line.contains("/root/") {
                mistakes.push(format!("{}:{}: {}", source.name(), number + 1, line.trim()));
            }
        }
    }
    report("paths of a machine", mistakes);
}
