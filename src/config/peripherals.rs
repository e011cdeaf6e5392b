//! `camera = { … }`, `power = { … }` and `release = { … }` of a printer.

use std::path::PathBuf;
use std::time::Duration;

use super::lifecycle::read_text;
use super::model::{Camera, Power, PowerKind, Release};
use super::secrets::Secret;
use super::section::Section;
use super::template::{Moment, Snippets};

pub(super) fn read_camera(section: &mut Section<'_>) -> Option<Camera> {
    let camera = Camera {
        snapshot: address(section, "snapshot").map(Secret::new),
        stream: address(section, "stream").map(Secret::new),
    };
    if camera.snapshot.is_none() && camera.stream.is_none() {
        section.mistake(
            "snapshot",
            "a camera needs `snapshot` (one picture) or `stream` (MJPEG), for example: camera = { snapshot = \"http://127.0.0.1:8080/snapshot\" }",
        );
    }
    Some(camera)
}

pub(super) fn read_release(section: &mut Section<'_>, snippets: &Snippets) -> Option<Release> {
    let release = Release {
        below_c: section.number("below_c", 10.0..=150.0).map(|c| c as f32),
        after: section
            .integer("after_min", 1..=1440)
            .and_then(|m| u64::try_from(m).ok())
            .map(|m| Duration::from_secs(m * 60)),
        done: read_text(section, Moment::Done, snippets).unwrap_or_default(),
        clear: read_text(section, Moment::Clear, snippets).unwrap_or_default(),
        max_prints: section
            .integer("max_prints", 1..=10_000)
            .and_then(|n| u32::try_from(n).ok()),
    };
    if release.below_c.is_none() && release.after.is_none() {
        section.mistake(
            "below_c",
            "`release` needs `below_c` (the bed is that cool) or `after_min` (so long after the print), or both.",
        );
    }
    if !section.has("clear") {
        section.mistake(
            "clear",
            "`release` needs `clear`: the lines that push the part off, or \"\" for a bed that lets go by itself.",
        );
    }
    Some(release)
}

pub(super) fn read_power(section: &mut Section<'_>) -> Option<Power> {
    let on_connect = section.boolean("on_connect").unwrap_or(false);
    let kinds = ["tasmota", "shelly", "http", "gpio", "moonraker", "command"].map(|k| (k, k));
    if !section.has("kind") {
        section.required_string("kind", "\"tasmota\"");
    }
    let Some(kind) = section.one_of("kind", &kinds) else {
        // Which other keys there may be nobody knows: complaining about them would hide the one mistake.
        section.take_all();
        return None;
    };
    let kind = match kind {
        "tasmota" => {
            let (url, user) = (required(section, "url"), section.string("user"));
            PowerKind::Tasmota {
                password: section.secret("password"),
                channel: section
                    .integer("channel", 1..=32)
                    .and_then(|n| u8::try_from(n).ok()),
                url: url?,
                user,
            }
        }
        "shelly" => {
            let (url, user) = (required(section, "url"), section.string("user"));
            let generation = section
                .integer("generation", 1..=4)
                .and_then(|n| u8::try_from(n).ok());
            let password = section.secret("password");
            PowerKind::Shelly {
                channel: section
                    .integer("channel", 0..=15)
                    .and_then(|n| u8::try_from(n).ok())
                    .unwrap_or(0),
                url: url?,
                user,
                password,
                generation: generation.map(|n| n.min(2)),
            }
        }
        "http" => {
            let (on_url, off_url) = (required(section, "on_url"), required(section, "off_url"));
            PowerKind::Http {
                state_url: address(section, "state_url"),
                on_url: on_url?,
                off_url: off_url?,
            }
        }
        "gpio" => {
            if !section.has("line") {
                let text = "`line` is missing: the number of the GPIO line, for example: line = 17";
                section.mistake("line", text);
            }
            let line = section
                .integer("line", 0..=1023)
                .and_then(|n| u32::try_from(n).ok());
            PowerKind::Gpio {
                chip: section
                    .path("chip")
                    .unwrap_or_else(|| PathBuf::from("/dev/gpiochip0")),
                active_low: section.boolean("active_low").unwrap_or(false),
                line: line?,
            }
        }
        "moonraker" => {
            let (url, device) = (
                required(section, "url"),
                section.required_string("device", "\"printer\""),
            );
            PowerKind::Moonraker {
                api_key: section.secret("api_key"),
                url: url?,
                device: device?,
            }
        }
        _ => {
            let (on, off) = (command(section, "on"), command(section, "off"));
            PowerKind::Command {
                state: if section.has("state") {
                    command(section, "state")
                } else {
                    None
                },
                on: on?,
                off: off?,
            }
        }
    };
    Some(Power { kind, on_connect })
}

fn required(section: &mut Section<'_>, key: &'static str) -> Option<String> {
    if !section.has(key) {
        return section.required_string(key, "\"http://192.168.1.20\"");
    }
    address(section, key)
}

/// An address over HTTP.
fn address(section: &mut Section<'_>, key: &'static str) -> Option<String> {
    let text = section.string(key)?;
    // Logins stand in such addresses, and words that work like a password in their paths.
    section.conceal_path(key);
    let rest = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    if rest.is_none_or(|host| host.is_empty() || host.starts_with('/')) {
        section.mistake(
            key,
            format!("`{key}` must begin with http:// or https:// and name a host."),
        );
        return None;
    }
    Some(text)
}

fn command(section: &mut Section<'_>, key: &'static str) -> Option<Vec<String>> {
    let words = section.strings(key);
    section.conceal(key);
    if !section.has(key) || words.as_ref().is_some_and(Vec::is_empty) {
        let example = "[\"/usr/local/bin/printer-power\", \"on\"]";
        section.mistake(
            key,
            format!("`{key}` must be a program with its arguments, for example: {key} = {example}"),
        );
        return None;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::{Surroundings, parse};
    use crate::config::model::Common;

    fn common(line: &str) -> Result<Common, String> {
        let text = format!("[printer.a]\ndriver = \"x\"\n{line}\n");
        parse(&text, "f", &Surroundings::default(), &["x"], &mut |_, _, _| {
            Some(())
        })
        .map(|mut c| c.printers.remove(0).common)
        .map_err(|e| e.to_string())
    }

    fn kind(table: &str) -> PowerKind {
        common(&format!("power = {{ {table} }}"))
            .expect(table)
            .power
            .expect("set")
            .kind
    }

    #[test]
    fn every_kind_is_read() {
        assert!(matches!(
            kind("kind = \"tasmota\", url = \"http://p\", channel = 2"),
            PowerKind::Tasmota { channel: Some(2), .. }
        ));
        assert!(matches!(
            kind("kind = \"shelly\", url = \"http://p\""),
            PowerKind::Shelly {
                channel: 0,
                generation: None,
                ..
            }
        ));
        assert!(matches!(
            kind("kind = \"http\", on_url = \"http://p/1\", off_url = \"http://p/0\""),
            PowerKind::Http { state_url: None, .. }
        ));
        assert!(matches!(
            kind("kind = \"gpio\", line = 17, active_low = true"),
            PowerKind::Gpio {
                line: 17,
                active_low: true,
                ..
            }
        ));
        assert!(matches!(
            kind("kind = \"moonraker\", url = \"http://m\", device = \"psu\""),
            PowerKind::Moonraker { .. }
        ));
        assert!(matches!(
            kind("kind = \"command\", on = [\"a\", \"b\"], off = [\"c\"]"),
            PowerKind::Command { state: None, .. }
        ));
    }

    #[test]
    fn mistakes_name_the_key_and_its_place() {
        for (line, words) in [
            ("power = { url = \"http://p\" }", "`kind` is missing"),
            (
                "power = { kind = \"tasmotta\", url = \"x\" }",
                "Did you mean `tasmota`?",
            ),
            ("power = { kind = \"tasmota\" }", "`url` is missing"),
            (
                "power = { kind = \"tasmota\", url = \"ftp://x\" }",
                "must begin with http://",
            ),
            (
                "power = { kind = \"tasmota\", url = \"http://x\", line = 1 }",
                "`line` is not a key",
            ),
            ("power = { kind = \"gpio\" }", "`line` is missing"),
            (
                "power = { kind = \"command\", on = [], off = [\"x\"] }",
                "`on` must be a program",
            ),
            (
                "power = { kind = \"command\", on = \"reboot now\", off = [\"x\"] }",
                "`on` must be a list",
            ),
            ("camera = {}", "a camera needs"),
            (
                "camera = { snapshot = \"/dev/video0\" }",
                "must begin with http://",
            ),
        ] {
            let text = common(line).expect_err(line);
            assert!(text.contains(words), "{line}: {text}");
            assert!(text.starts_with("f:3:"), "{text}");
        }
    }
}
