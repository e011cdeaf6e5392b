//! Many hosts in one process, each with a session, a core and a printing printer of its own, on a real broker:
//!
//!     mqtt-fleet PORT AGENTS SECONDS SPREAD_S EVENT_S
//!
//! Prints four JSON lines a second: `{"t", "up", "published", "bytes", "events", "arrived", "rss_kb", "attempts"}` (counts
//! since the start) and `acknowledged`, the ids of events that the broker has acknowledged since the last line, each with
//! the time (Unix, s). Ends after so many seconds. A host has an event every EVENT_S seconds on average.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "an instrument may be blunt"
)]

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use layerd::config::model::Broker;
use layerd::job::record::{JobRecord, TimelineEntry};
use layerd::printer::capability::Capabilities;
use layerd::printer::event::Event;
use layerd::printer::guard::Limits;
use layerd::printer::model::{ActiveJob, Activity, Heater, Now, Origin, Progress, State};
use layerd::printer::reduce::reduce;
use layerd::upstream::mqtt::core::{Core, Doc, Output, Settings};
use layerd::upstream::mqtt::link::{self, Heard, Link, Login};
use layerd::upstream::mqtt::proto::{Qos, Will};
use layerd::upstream::mqtt::socket::Socket;
use layerd::upstream::mqtt::topics::Topics;
use layerd::upstream::mqtt::view::{View, Who};
use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

const P: i64 = 1;

#[derive(Default)]
struct Counts {
    up: AtomicU64,
    published: AtomicU64,
    bytes: AtomicU64,
    events: AtomicU64,
    arrived: AtomicU64,
    attempts: AtomicU64,
    acknowledged: Mutex<Vec<(String, f64)>>,
}

impl Counts {
    fn delivered(&self, output: &Output) {
        if let Output::Delivered(_, id) = output {
            self.arrived.fetch_add(1, Relaxed);
            let at = Timestamp::now().as_microsecond() as f64 / 1e6;
            self.acknowledged.lock().unwrap().push((id.clone(), at));
        }
    }
}

fn now() -> Now {
    Now {
        mono: tokio::time::Instant::now().into_std(),
        wall: Timestamp::now(),
    }
}

/// A printer in mid-print.
struct Printer {
    state: State,
    record: JobRecord,
    began: Instant,
    event_s: u64,
}

impl Printer {
    fn new(number: u64, event_s: u64) -> Self {
        let now = now();
        let mut state = State::new(now);
        reduce(&mut state, now, Event::Up);
        state.capabilities = Capabilities::with(&[
            "print.pause",
            "print.cancel",
            "gcode.send",
            "time.left",
            "layer.progress",
        ]);
        state.activity = Activity::Printing;
        let uid = Uuid::from_u128(number.into());
        state.job = Some(ActiveJob {
            uid,
            file: format!("part-{number}.gcode"),
            origin: Origin::Ours,
            progress: Progress::default(),
            started: Some(now.wall),
            skipped: Vec::new(),
            objects: Vec::new(),
            upload_percent: None,
            heated: Some(now.wall),
            held: false,
        });
        let mut record = JobRecord::new(uid, "p", "part.gcode", Origin::Ours, now.wall);
        record.id = 1;
        // Each host is somewhere else in its print.
        let began = now.mono - Duration::from_secs(fastrand::u64(0..7200));
        Printer {
            state,
            record,
            began,
            event_s,
        }
    }

    /// A second later: two noisy temperatures, a print of four hours with 400 layers, a pause now and then.
    fn step(&mut self, now: Now) -> bool {
        let noise = || fastrand::f32() * 0.6 - 0.3;
        for (heater, target) in [(Heater::Tool(0), 210.0), (Heater::Bed, 60.0)] {
            let heat = Event::Heat {
                heater,
                actual_c: target + noise(),
                target_c: Some(target),
            };
            reduce(&mut self.state, now, heat);
        }
        let s = now.mono.saturating_duration_since(self.began).as_secs_f32() % 14_400.0;
        if let Some(job) = &mut self.state.job {
            job.progress = Progress {
                percent: Some(s / 144.0),
                layer: Some((s / 36.0) as u32),
                layers: Some(400),
                time_left_s: Some((14_400.0 - s) as u32),
                ..Progress::default()
            };
        }
        let happens = fastrand::u64(0..self.event_s) == 0;
        if happens {
            let what = if self.record.timeline.len().is_multiple_of(2) {
                "paused: requested"
            } else {
                "resumed"
            };
            self.record.timeline.push(TimelineEntry {
                at: now.wall,
                what: what.to_owned(),
            });
        }
        happens
    }

    fn view(&self, now: Now) -> View {
        let who = Who {
            name: "p",
            driver: "marlin",
            camera: false,
            limits: Limits::default(),
        };
        View::of(who, &self.state, None, now)
    }
}

async fn agent(number: u64, port: u16, spread: Duration, event_s: u64, counts: Arc<Counts>) {
    let topics = Topics::new("layerd", &format!("h{number:05}"));
    let mut core = Core::new(Settings {
        topics: topics.clone(),
        discovery: Some("homeassistant".to_owned()),
        commands: true,
        full: Duration::from_secs(300),
        camera: None,
        host: format!("h{number:05}"),
        version: env!("CARGO_PKG_VERSION"),
        session: "fleet".to_owned(),
    });
    let mut printer = Printer::new(number, event_s);
    core.join(now(), P, "p", Doc::default(), Vec::new());
    core.observe(now(), P, printer.view(now()));
    core.observe_host(&json!({"cpu_percent": 12, "memory_percent": 30, "disk_free_mb": 20_000}));
    let broker = Broker {
        tls: false,
        websocket: None,
        host: "127.0.0.1".to_owned(),
        port,
    };
    let client_id = format!("fleet-{number}");
    let mut failures = 0;
    let mut second = tokio::time::interval(Duration::from_secs(1));
    // The first connections are spread too.
    tokio::time::sleep(link::pause(0, spread, fastrand::f64())).await;
    loop {
        counts.attempts.fetch_add(1, Relaxed);
        if let Ok(mut socket) = Socket::open(&broker, None).await {
            let began = Instant::now();
            let login = Login {
                client_id: &client_id,
                user: None,
                will: Some(Will {
                    topic: topics.status(),
                    payload: "offline".to_owned(),
                }),
                keep_alive: Duration::from_secs(30),
                filters: vec![
                    (topics.commands(), Qos::One),
                    ("homeassistant/status".to_owned(), Qos::Zero),
                ],
            };
            let mut link = Link::new(now().mono, login);
            let up = session(
                &mut core,
                &mut printer,
                &mut socket,
                &mut link,
                &mut second,
                &counts,
            )
            .await;
            if up {
                counts.up.fetch_sub(1, Relaxed);
                core.lost();
            }
            if began.elapsed() > Duration::from_secs(60) {
                failures = 0;
            }
        }
        let pause = link::pause(failures, spread, fastrand::f64());
        failures += 1;
        let wait = tokio::time::sleep(pause);
        tokio::pin!(wait);
        loop {
            tokio::select! {
                () = &mut wait => break,
                _ = second.tick() => work(&mut core, &mut printer, &counts),
            }
        }
    }
}

fn work(core: &mut Core, printer: &mut Printer, counts: &Counts) {
    let now = now();
    if printer.step(now) {
        core.records(P, std::slice::from_ref(&printer.record));
        counts.events.fetch_add(1, Relaxed);
    }
    core.observe(now, P, printer.view(now));
    while let Some(output) = core.poll(now) {
        counts.delivered(&output);
    }
}

/// Until the link breaks; whether it was up.
async fn session(
    core: &mut Core,
    printer: &mut Printer,
    socket: &mut Socket,
    link: &mut Link,
    second: &mut tokio::time::Interval,
    counts: &Counts,
) -> bool {
    let mut up = false;
    loop {
        let waiting = !link.waiting().is_empty();
        let ready = socket.readiness();
        let at = now().mono;
        let due = if up && link.has_room() {
            core.deadline(at).unwrap_or(link.deadline()).min(link.deadline())
        } else {
            link.deadline()
        };
        tokio::select! {
            writable = ready, if waiting => {
                if writable.is_err() { return up; }
                if socket.send(link.waiting().to_vec()) {
                    counts.bytes.fetch_add(link.waiting().len() as u64, Relaxed);
                    link.written(now().mono, link.waiting().len());
                }
            }
            received = socket.receive() => {
                let Ok(bytes) = received else { return up };
                let Ok(heard) = link.input(now().mono, &bytes) else { return up };
                for heard in heard {
                    match heard {
                        Heard::Ready => { up = true; counts.up.fetch_add(1, Relaxed); core.connected(); }
                        Heard::Arrived(token) => core.arrived(token),
                        Heard::Message(m) => core.message(now(), &m.topic, &m.payload, m.retain, fastrand::f64()),
                        Heard::NotAllowed(_) | Heard::TooLarge { .. } => {}
                    }
                }
            }
            _ = second.tick() => work(core, printer, counts),
            () = tokio::time::sleep_until(tokio::time::Instant::from_std(due)) => {}
        }
        let clock = now();
        let at = clock.mono;
        while let Some(output) = core.poll(clock) {
            counts.delivered(&output);
        }
        while up
            && link.has_room()
            && let Some(said) = core.publish(at)
        {
            counts.published.fetch_add(1, Relaxed);
            link.publish(&said.topic, &said.payload, said.retain, said.token);
        }
        if link.tick(at).is_err() {
            return up;
        }
    }
}

fn rss_kb() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|l| l.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(0)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let words: Vec<u64> = std::env::args()
        .skip(1)
        .map(|w| w.parse().expect("numbers"))
        .collect();
    let [port, agents, seconds, spread_s, event_s] = words[..] else {
        panic!("mqtt-fleet PORT AGENTS SECONDS SPREAD_S EVENT_S");
    };
    let counts = Arc::new(Counts::default());
    let began = Instant::now();
    let mut fleet = JoinSet::new();
    for number in 0..agents {
        fleet.spawn(agent(
            number,
            port as u16,
            Duration::from_secs(spread_s),
            event_s,
            counts.clone(),
        ));
    }
    let mut tick = tokio::time::interval(Duration::from_millis(250));
    loop {
        tick.tick().await;
        let over = began.elapsed() >= Duration::from_secs(seconds);
        if over {
            fleet.shutdown().await;
        }
        let line = json!({
            "t": (began.elapsed().as_secs_f64() * 100.0).round() / 100.0,
            "up": counts.up.load(Relaxed),
            "published": counts.published.load(Relaxed),
            "bytes": counts.bytes.load(Relaxed),
            "events": counts.events.load(Relaxed),
            "arrived": counts.arrived.load(Relaxed),
            "attempts": counts.attempts.load(Relaxed),
            "rss_kb": rss_kb(),
            "acknowledged": std::mem::take(&mut *counts.acknowledged.lock().unwrap()),
        });
        let _ = writeln!(std::io::stdout(), "{line}");
        if over {
            return;
        }
    }
}
