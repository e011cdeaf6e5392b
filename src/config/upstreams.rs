//! The tables `[upstream.…]`.

use std::time::Duration;

use super::model::{Broker, Mqtt, SimplyPrint};
use super::secrets::Secret;
use super::section::Section;

/// `[upstream.simplyprint]`.
pub fn read_simplyprint(section: &mut Section<'_>) -> SimplyPrint {
    let url = |section: &mut Section<'_>, key: &'static str, schemes: [&str; 2], default: &str| {
        let text = section.string(key).unwrap_or_else(|| default.to_owned());
        if !schemes.iter().any(|s| text.starts_with(s)) {
            section.mistake(
                key,
                format!("`{key}` must begin with {} or {}.", schemes[0], schemes[1]),
            );
        }
        text
    };
    SimplyPrint {
        enabled: section.boolean("enabled").unwrap_or(true),
        single: section
            .one_of("mode", &[("multi", false), ("single", true)])
            .unwrap_or(false),
        ws_url: url(section, "ws_url", ["wss://", "ws://"], "wss://ws.simplyprint.io"),
        api_url: url(
            section,
            "api_url",
            ["https://", "http://"],
            "https://api.simplyprint.io",
        ),
        start_next: section.boolean("start_next").unwrap_or(false),
    }
}

/// `[upstream.mqtt]`.
pub fn read_mqtt(section: &mut Section<'_>) -> Option<Mqtt> {
    let url = section.required_string("url", "\"mqtt://broker.lan\"");
    let broker = url.as_deref().map(broker);
    if let Some(Err(why)) = &broker {
        section.mistake("url", *why);
    }
    let seconds = |section: &mut Section<'_>, key, range, usual: u64| {
        let given = section.integer(key, range).and_then(|s| u64::try_from(s).ok());
        Duration::from_secs(given.unwrap_or(usual))
    };
    let direct = section.secret("password");
    let secret = direct.is_some();
    let password = password(section, direct);
    let user = section.string("user");
    if password.is_some() && user.is_none() && !section.has("user") {
        section.mistake(
            "password",
            "A password without `user` is of no use to a broker. Add `user`.",
        );
    }
    let (cert_file, key_file) = (section.path("cert_file"), section.path("key_file"));
    if cert_file.is_some() != key_file.is_some() {
        let given = if cert_file.is_some() {
            "cert_file"
        } else {
            "key_file"
        };
        section.mistake(
            given,
            "`cert_file` and `key_file` belong together: give both or neither.",
        );
    }
    let ca_file = section.path("ca_file");
    if let Some(Ok(Broker { tls: false, .. })) = &broker
        && let Some(key) = ["ca_file", "cert_file"].into_iter().find(|key| section.has(key))
    {
        section.mistake(
            key,
            format!("`{key}` is for encrypted connections. Begin `url` with mqtts:// or wss://."),
        );
    }
    let part = |section: &mut Section<'_>, key: &'static str| {
        let text = section.string(key)?;
        let clean = !text.is_empty() && text.len() <= 200 && !text.contains(['+', '#', '\0']);
        if !clean {
            section.mistake(
                key,
                format!("`{key}` becomes a part of topics: 1 to 200 characters without + and #."),
            );
        }
        Some(text)
    };
    let topic = part(section, "topic").unwrap_or_else(|| "layerd".to_owned());
    let host = part(section, "host");
    let prefix = part(section, "discovery_prefix").unwrap_or_else(|| "homeassistant".to_owned());
    let discovery = section
        .boolean("discovery")
        .unwrap_or(true)
        .then(|| prefix.trim_matches('/').to_owned());
    let client_id = section.string("client_id");
    if client_id
        .as_ref()
        .is_some_and(|id| id.is_empty() || id.len() > 200)
    {
        section.mistake("client_id", "`client_id` must be 1 to 200 characters.");
    }
    let enabled = section.boolean("enabled").unwrap_or(true);
    let commands = section.boolean("commands").unwrap_or(true);
    let full = seconds(section, "full_s", 10..=86_400, 300);
    let camera = seconds(section, "camera_s", 0..=86_400, 30);
    let keep_alive = seconds(section, "keep_alive_s", 10..=3600, 30);
    let spread = seconds(section, "reconnect_spread_s", 0..=3600, 4);
    let download_hosts = section.strings("download_hosts").unwrap_or_default();
    Some(Mqtt {
        enabled,
        // Last of all, so that a mistake in it hides no other.
        broker: broker?.ok()?,
        client_id,
        user,
        password,
        secret,
        ca_file,
        cert_file,
        key_file,
        topic,
        host,
        discovery,
        commands,
        full,
        camera: Some(camera).filter(|every| !every.is_zero()),
        keep_alive,
        spread,
        download_hosts,
    })
}

/// The password itself, or what stands in its file.
fn password(section: &mut Section<'_>, direct: Option<Secret>) -> Option<Secret> {
    let file = section.path("password_file");
    let Some(file) = file else { return direct };
    if direct.is_some() {
        section.mistake("password_file", "Give `password` or `password_file`, not both.");
        return None;
    }
    Secret::from_file(&file)
        .map_err(|why| section.mistake("password_file", format!("`password_file` cannot be read: {why}")))
        .ok()
}

/// Reads `mqtts://broker.lan:8883`.
fn broker(url: &str) -> Result<Broker, &'static str> {
    let (scheme, rest) = url
        .split_once("://")
        .ok_or("`url` must begin with mqtt://, mqtts://, ws:// or wss://.")?;
    let (tls, websocket, usual) = match scheme {
        "mqtt" => (false, false, 1883),
        "mqtts" => (true, false, 8883),
        "ws" => (false, true, 80),
        "wss" => (true, true, 443),
        _ => return Err("`url` must begin with mqtt://, mqtts://, ws:// or wss://."),
    };
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    if authority.contains('@') {
        return Err("`url` must not hold a login. Give `user` and `password_file`.");
    }
    if !websocket && !matches!(path, "" | "/") {
        return Err("`url` has a path, which only ws:// and wss:// have.");
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(v6) => v6
            .split_once(']')
            .map(|(host, rest)| (host, rest.strip_prefix(':'))),
        None => match authority.rsplit_once(':') {
            Some((host, port)) => Some((host, Some(port))),
            None => Some((authority, None)),
        },
    }
    .ok_or("`url` holds an address that cannot be read. Write mqtt://[::1]:1883.")?;
    let port = match port {
        None => usual,
        Some(port) => match port.parse() {
            Ok(0) | Err(_) => return Err("`url` holds a port that is none; it must be from 1 to 65535."),
            Ok(port) => port,
        },
    };
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '/') {
        return Err("`url` names no host. Write mqtt://broker.lan.");
    }
    Ok(Broker {
        tls,
        websocket: websocket.then(|| {
            if path.is_empty() {
                "/mqtt".to_owned()
            } else {
                path.to_owned()
            }
        }),
        host: host.to_owned(),
        port,
    })
}

#[cfg(test)]
mod tests {
    use super::super::load::{Surroundings, parse};
    use super::*;

    fn read(text: &str) -> Result<Option<Mqtt>, Vec<String>> {
        let read = parse::<()>(text, "t", &Surroundings::default(), &[], &mut |_, _, _| None);
        read.map(|config| config.mqtt).map_err(|mistakes| {
            let told = mistakes.mistakes();
            told.iter()
                .map(|m| format!("{}:{} {}", m.line, m.column, m.text))
                .collect()
        })
    }

    #[test]
    fn a_url_is_enough_and_every_mistake_has_its_place() {
        let mqtt = read("[upstream.mqtt]\nurl = \"mqtt://b\"\n")
            .expect("good")
            .expect("there");
        assert_eq!(
            (mqtt.topic.as_str(), mqtt.discovery.as_deref(), mqtt.commands),
            ("layerd", Some("homeassistant"), true)
        );
        let told = read(
            "[upstream.mqtt]\nurl = \"http://b\"\npassword = \"hush\"\npassword_file = \"/nowhere\"\nca_fiel = \"x\"\n\
             topic = \"a/#\"\nfull_s = 1\ncert_file = \"c\"\n",
        )
        .expect_err("mistakes");
        for (place, words) in [
            ("2:7", "mqtt://, mqtts://"),
            ("4:17", "not both"),
            (
                "5:1",
                "`ca_fiel` is not a key of [upstream.mqtt]. Did you mean `ca_file`?",
            ),
            ("6:9", "without + and #"),
            ("7:10", "from 10 to 86400"),
            ("8:13", "belong together"),
        ] {
            assert!(
                told.iter().any(|m| m.starts_with(place) && m.contains(words)),
                "{place} {words}: {told:#?}"
            );
        }
        assert!(!told.concat().contains("hush"));
        let told = read("[upstream.mqtt]\n[upstream.mqt]\n").expect_err("mistakes");
        assert!(
            told[0].contains("`url` is missing") && told[1].contains("Did you mean `mqtt`?"),
            "{told:#?}"
        );
    }

    #[test]
    fn addresses_of_brokers_are_read() {
        let read = |url| broker(url).map(|b| (b.tls, b.websocket, b.host, b.port));
        for (url, tls, websocket, host, port) in [
            ("mqtt://broker.lan", false, None, "broker.lan", 1883),
            ("mqtts://10.0.0.2:18883/", true, None, "10.0.0.2", 18883),
            ("ws://b", false, Some("/mqtt"), "b", 80),
            ("wss://b:8084/a/b", true, Some("/a/b"), "b", 8084),
            ("mqtt://[::1]:1884", false, None, "::1", 1884),
            ("mqtt://[::1]", false, None, "::1", 1883),
        ] {
            let wanted = (tls, websocket.map(str::to_owned), host.to_owned(), port);
            assert_eq!(read(url), Ok(wanted), "{url}");
        }
        for url in [
            "broker.lan",
            "http://b",
            "mqtt://",
            "mqtt://:1883",
            "mqtt://u:p@b",
            "mqtt://b:0",
            "mqtt://b:x",
            "mqtt://b/path",
            "mqtt://[::1",
        ] {
            assert!(read(url).is_err(), "{url}");
        }
    }
}
