//! Whatever a broker sends is a packet or the end of the session, and whatever stands on a command topic is a command or a
//! refusal: bytes to the link, texts to the decoder, and a life of the core, a message a line (`!` and a letter: a cut, a
//! session, an hour, a kept one, a disk that answers no more or again).
#![no_main]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use layerd_fuzz::printer::command::Command;
use layerd_fuzz::printer::guard::Limits;
use layerd_fuzz::printer::model::{Now, State};
use layerd_fuzz::printer::outcome::Outcome;
use layerd_fuzz::upstream::mqtt::command::{self, Wanted};
use layerd_fuzz::upstream::mqtt::core::{Core, Doc, Output, Settings};
use layerd_fuzz::upstream::mqtt::link::{Link, Login};
use layerd_fuzz::upstream::mqtt::proto::{Qos, Reader, PACKET_MAX};
use layerd_fuzz::upstream::mqtt::topics::Topics;
use layerd_fuzz::upstream::mqtt::view::{View, Who};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    stream(data);
    reading(data);
    if let Ok(text) = std::str::from_utf8(data) {
        life(text);
    }
});

/// The same packets however the bytes are cut, and nothing held without a limit.
fn stream(data: &[u8]) {
    let mut whole = Reader::default();
    let all = whole.take(data);
    let mut reader = Reader::default();
    let mut seen = Vec::new();
    let mut broken = false;
    for part in data.chunks(7) {
        match reader.take(part) {
            Ok(packets) => seen.extend(packets),
            Err(_) => {
                broken = true;
                break;
            }
        }
        assert!(reader.held() <= PACKET_MAX + 7);
    }
    match all {
        Ok(all) => assert!(!broken && all == seen),
        Err(_) => assert!(broken),
    }
    let now = Instant::now();
    let login = Login {
        client_id: "c",
        user: None,
        will: None,
        keep_alive: Duration::from_secs(30),
        filters: vec![("a".to_owned(), Qos::One)],
    };
    let mut link = Link::new(now, login);
    if link.input(now, &[0x20, 2, 0, 0]).is_ok() && link.input(now, &[0x90, 3, 0, 1, 1]).is_ok() {
        let _ = link.input(now, data);
        assert!(link.waiting().len() <= 4 * data.len() + 100, "an answer is small");
    }
}

fn reading(payload: &[u8]) {
    let Ok(asked) = command::read(payload) else { return };
    assert!(!asked.id.is_empty() && asked.id.chars().count() <= command::ID_MAX);
    if let Wanted::Command(Command::SendGcode { lines, .. }) = &asked.what {
        assert!(lines.iter().all(|l| !l.trim().is_empty() && !l.contains(['\n', '\r', ';'])));
    }
}

fn life(text: &str) {
    let mut now = Now { mono: Instant::now(), wall: Timestamp::from_second(1_795_000_000).expect("in range") };
    let mut core = Core::new(Settings {
        topics: Topics::new("layerd", "pi"),
        discovery: Some("homeassistant".to_owned()),
        commands: true,
        full: Duration::from_secs(300),
        camera: None,
        host: "pi".to_owned(),
        version: "0",
        session: "s".to_owned(),
    });
    core.join(now, 1, "p", Doc::default(), Vec::new());
    let who = Who { name: "p", driver: "marlin", camera: false, limits: Limits::default() };
    core.observe(now, 1, View::of(who, &State::new(now), None, now));
    let mut carried = BTreeSet::new();
    let (mut kept, mut full, mut late) = (false, false, None);
    for line in text.lines().take(60) {
        match line {
            "!c" => core.lost(),
            "!o" => {
                core.lost();
                core.connected();
            }
            "!h" => {
                now.mono += Duration::from_secs(3600);
                now.wall += Duration::from_secs(3600);
            }
            "!k" => kept = true,
            "!f" => full = !full,
            line => {
                let (topic, payload) = match line.split_once(' ') {
                    Some((topic, payload)) if !line.starts_with('{') => (topic, payload),
                    _ => ("layerd/pi/p/command", line),
                };
                core.message(now, topic, payload.as_bytes(), kept, 0.5);
                let mut said = 0;
                if let (false, Some(version)) = (full, late.take()) {
                    core.kept(1, version);
                }
                while let Some(output) = core.poll(now) {
                    said += 1;
                    assert!(said < 1000, "it works without an end");
                    match output {
                        Output::Act(key, asked) => {
                            assert!(!full || asked.what.stops(), "its id is not on the disk");
                            assert!(carried.insert(asked.id.clone()), "twice: {}", asked.id);
                            core.answered(now, key, &asked, &Outcome::Verified, None);
                        }
                        Output::Keep(_, version, _) if full => late = Some(version),
                        Output::Keep(key, version, _) => core.kept(key, version),
                        _ => {}
                    }
                }
                kept = false;
            }
        }
        let mut said = 0;
        while let Some(publish) = core.publish(now.mono) {
            said += 1;
            assert!(said < 1000, "it talks without an end");
            if let Some(token) = publish.token.filter(|token| token % 2 == 0) {
                core.arrived(token);
            }
        }
    }
}
