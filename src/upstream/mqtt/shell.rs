//! Around the pure part: the loop of the one connection, the printers, the database.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use rustls::ClientConfig;
use tokio::sync::{Semaphore, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::core::{Core, Output, PrinterKey, Settings};
use super::homeassistant::Home;
use super::keep::{Keep, Names, UPSTREAM};
use super::link::{self, Heard, Link, Login};
use super::proto::{Qos, Will};
use super::socket::{self, Socket, SocketError, client_id};
use super::topics::{self, Topics};
use super::view::{View, Who};
use super::work::{self, Done};
use crate::agent::clock;
use crate::agent::handle::{PrinterHandle, Snapshot};
use crate::agent::pairing::Pairing;
use crate::config::model::Mqtt;
use crate::config::secrets::Secret;
use crate::host::health::Host;
use crate::host::tls;
use crate::json::json;
use crate::printer::command::Command;
use crate::printer::guard::Limits;
use crate::printer::outcome::Outcome;
use crate::sorted::SortedMap;
use crate::upstream::House;
use crate::upstream::chatter::{Chatter, Line};
use crate::upstream::fetch::{Fetcher, LANES};
use crate::upstream::reach::Reach;
use crate::upstream::writes::{Write, Writes};

/// How often the list of printers and the host are looked at.
const LOOK_AROUND: Duration = Duration::from_secs(2);
/// How often snapshots are looked at: nothing is told more often than once a second.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// Pieces of work at once. When full a command is refused; an emergency stop never is.
const WORK_MAX: usize = 64;
/// How long the end may take.
const END_LIMIT: Duration = Duration::from_secs(4);
/// A session that lasted so long was a good one.
const SETTLED: Duration = Duration::from_secs(60);

/// Where the connection is.
enum Wire {
    /// Waiting for the next attempt.
    Rest(tokio::time::Instant),
    /// Being opened.
    Opening(BoxFuture<'static, Result<Socket, SocketError>>),
    /// Open.
    Up(Box<Socket>, Box<Link>),
}

/// What can happen at the connection.
enum Happened {
    Due,
    Opened(Result<Socket, SocketError>),
    Received(Result<bytes::Bytes, SocketError>),
    Writable(Result<(), SocketError>),
}

impl Wire {
    async fn next(&mut self) -> Happened {
        match self {
            Wire::Rest(until) => {
                tokio::time::sleep_until(*until).await;
                Happened::Due
            }
            Wire::Opening(attempt) => Happened::Opened(attempt.await),
            Wire::Up(socket, link) => {
                if link.waiting().is_empty() {
                    return Happened::Received(socket.receive().await);
                }
                // What waits goes first, so that a broker that talks without an end hears our answers.
                let socket: &mut Socket = socket;
                let ready = socket.readiness();
                tokio::select! {
                    biased;
                    writable = ready => Happened::Writable(writable),
                    received = socket.receive() => Happened::Received(received),
                }
            }
        }
    }
}

struct Member {
    handle: PrinterHandle,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    connected: Option<bool>,
}

/// The connection to one broker, and all that goes over it.
pub struct Shell {
    house: House,
    config: Mqtt,
    client_id: String,
    filters: Vec<(String, Qos)>,
    will: Will,
    tls: Option<Arc<ClientConfig>>,
    fetcher: Fetcher,
    keep: Keep,
    core: Core,
    members: SortedMap<PrinterKey, Member>,
    work: FuturesUnordered<BoxFuture<'static, Done>>,
    writes: Writes,
    retained: Names,
    wire: Wire,
    ready: bool,
    opened_at: Option<Instant>,
    failures: u32,
    told_why: Option<String>,
    trouble: Option<String>,
    chatter: Chatter,
    host: Option<Arc<Host>>,
}

impl Shell {
    /// Makes ready what needs no broker.
    ///
    /// # Errors
    /// In words: no TLS, files that cannot be used, no database.
    pub async fn new(house: House, config: Mqtt) -> Result<Self, String> {
        let tls = socket::encryption(&config)?;
        let reach = Reach::new(config.download_hosts.clone());
        let downloads = tls::client_config().map_err(|e| format!("TLS cannot be set up: {e}"))?;
        let http = reach
            .client((*downloads).clone())
            .map_err(|e| format!("no HTTP client: {e}"))?;
        let host_name = config.host.clone().unwrap_or_else(|| house.name.clone());
        let topics = Topics::new(&config.topic, &host_name);
        let keep = Keep::new(house.agent.store().clone());
        let mut core = Core::new(Settings {
            topics: topics.clone(),
            discovery: config.discovery.clone(),
            commands: config.commands,
            full: config.full,
            camera: config.camera,
            host: house.name.clone(),
            version: env!("CARGO_PKG_VERSION"),
            session: Uuid::new_v4().simple().to_string(),
        });
        let names: Vec<String> = house
            .agent
            .printers()
            .iter()
            .map(|p| p.name().to_owned())
            .collect();
        let retained = keep.retained().await.map_err(|e| e.to_string())?;
        let known = retained.iter().map(|(name, _)| name.clone()).collect();
        for (name, left) in retained {
            // Those that are here are asked for when they join.
            if !names.contains(&name) {
                let is_host = name.is_empty();
                core.left_over(&name, left, is_host);
            }
        }
        let mut filters = vec![(topics.commands(), Qos::One)];
        filters.extend(
            config
                .discovery
                .as_deref()
                .map(|prefix| (Home::birth(prefix), Qos::Zero)),
        );
        // To hear of another host of our name.
        filters.push((topics.host_level(), Qos::Zero));
        if !config.commands {
            filters.remove(0);
        }
        Ok(Shell {
            client_id: config
                .client_id
                .clone()
                .unwrap_or_else(|| client_id(topics.host())),
            filters,
            will: Will {
                topic: topics.status(),
                payload: topics::OFFLINE.to_owned(),
            },
            tls,
            fetcher: Fetcher {
                http,
                reach,
                pool: house.agent.pool().clone(),
                spool: house.agent.spool().clone(),
                lanes: Arc::new(Semaphore::new(LANES)),
            },
            writes: Writes::new(house.agent.store().clone(), UPSTREAM, "the MQTT broker"),
            retained: Names(known),
            keep,
            core,
            members: SortedMap::new(),
            work: FuturesUnordered::new(),
            wire: Wire::Rest(tokio::time::Instant::now()),
            ready: false,
            opened_at: None,
            failures: 0,
            told_why: None,
            trouble: None,
            chatter: Chatter::new(Instant::now()),
            host: None,
            house,
            config,
        })
    }

    /// Runs until the stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut around = tokio::time::interval(LOOK_AROUND);
        around.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.look_around().await;
        loop {
            let due = self.deadline();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                // Before the wire: a flood from the broker must not hold up a command, an emergency stop least of all.
                Some(done) = self.work.next(), if !self.work.is_empty() => self.done(done),
                happened = self.wire.next() => self.happened(happened),
                saved = self.writes.next() => {
                    if let Some(saved) = saved.filter(|saved| saved.ok) {
                        self.core.kept(saved.printer, saved.version);
                    }
                }
                _ = around.tick() => self.look_around().await,
                _ = look.tick() => self.look(),
                () = tokio::time::sleep_until(due) => {}
            }
            self.turn();
        }
        self.end().await;
    }

    fn deadline(&self) -> tokio::time::Instant {
        let now = clock::now().mono;
        let far = now + Duration::from_secs(3600);
        let due = match &self.wire {
            // A link without room is moved on by the socket.
            Wire::Up(_, link) if link.has_room() => {
                link.deadline().min(self.core.deadline(now).unwrap_or(far))
            }
            Wire::Up(_, link) => link.deadline(),
            Wire::Rest(_) | Wire::Opening(_) => far,
        };
        tokio::time::Instant::from_std(due)
    }

    /// Says and does what is due.
    fn turn(&mut self) {
        let clock = clock::now();
        let now = clock.mono;
        while let Some(output) = self.core.poll(clock) {
            self.act(output);
        }
        if let Wire::Up(_, link) = &mut self.wire {
            while self.ready
                && link.has_room()
                && let Some(said) = self.core.publish(now)
            {
                link.publish(&said.topic, &said.payload, said.retain, said.token);
            }
            if let Err(error) = link.tick(now) {
                self.hang_up(&error.to_string());
            }
        }
        // Publishing makes things to keep.
        while let Some(output) = self.core.poll(clock) {
            self.act(output);
        }
        self.publish_pairings();
    }

    fn act(&mut self, output: Output) {
        let name =
            |shell: &Shell, key: PrinterKey| shell.members.get(&key).map(|m| m.handle.name().to_owned());
        match output {
            Output::Act(key, asked) => {
                let Some(member) = self.members.get(&key) else {
                    return;
                };
                let urgent = asked.what == super::command::Wanted::Command(Command::EmergencyStop);
                if self.work.len() >= WORK_MAX && !urgent {
                    let busy = Outcome::refused(
                        "refused/busy",
                        "Too many commands are under way. Try again in a moment.",
                    );
                    return self.core.answered(clock::now(), key, &asked, &busy, None);
                }
                let (agent, fetcher) = (self.house.agent.clone(), self.fetcher.clone());
                self.work.push(Box::pin(work::carry_out(
                    agent,
                    fetcher,
                    member.handle.clone(),
                    asked,
                )));
            }
            Output::Put(key, entry) => {
                if let Some(name) = name(self, key) {
                    self.writes.push(Write::put(name, &entry.key, &entry));
                }
            }
            Output::Delivered(key, entry) => {
                if let Some(name) = name(self, key) {
                    let keys = vec![entry];
                    self.writes.push(Write::Done { name, keys });
                }
            }
            Output::Keep(printer, version, body) => {
                if let Some(name) = name(self, printer) {
                    self.writes.push(Write::Doc {
                        printer,
                        name,
                        version,
                        body: Secret::new(body),
                    });
                }
            }
            Output::Retained(name, topics) => {
                for write in self.retained.writes(name, topics) {
                    self.writes.push(write);
                }
            }
            Output::LookUp(key, from) => {
                let Some(name) = name(self, key) else { return };
                let keep = self.keep.clone();
                self.work.push(Box::pin(async move {
                    let records = keep.records(&name, from).await.unwrap_or_else(|error| {
                        tracing::warn!(
                            code = error.code(),
                            "the prints of {name} were not looked up: {error}"
                        );
                        Vec::new()
                    });
                    Done::Records(key, records)
                }));
            }
            Output::Picture(key) => {
                if let Some(member) = self.members.get(&key) {
                    self.work.push(Box::pin(work::picture(member.handle.clone())));
                }
            }
            Output::Trouble(trouble) => {
                match &trouble {
                    Some(words) => tracing::error!(code = "mqtt/same-name", "{words}"),
                    None => tracing::info!("the other host of our name at the MQTT broker is gone"),
                }
                self.trouble = trouble;
                for member in self.members.values_mut() {
                    member.connected = None;
                }
            }
            Output::Note(words) => match self.chatter.line(Instant::now()) {
                Line::Drop => {}
                Line::Log => tracing::warn!(code = "mqtt/passed-over", "{words}"),
                Line::LogAfter(dropped) => {
                    tracing::warn!(
                        code = "mqtt/passed-over",
                        "{words} ({dropped} more were not logged)"
                    );
                }
            },
        }
    }

    fn happened(&mut self, happened: Happened) {
        let now = clock::now();
        match happened {
            Happened::Due => {
                let (broker, tls) = (self.config.broker.clone(), self.tls.clone());
                self.wire = Wire::Opening(Box::pin(async move { Socket::open(&broker, tls).await }));
            }
            Happened::Opened(Err(error)) => self.rest(&error.to_string()),
            Happened::Opened(Ok(socket)) => {
                let password = self.config.password.as_ref().map(|p| p.reveal());
                let link = Link::new(
                    now.mono,
                    Login {
                        client_id: &self.client_id,
                        user: self.config.user.as_deref().map(|user| (user, password)),
                        will: Some(self.will.clone()),
                        keep_alive: self.config.keep_alive,
                        filters: self.filters.clone(),
                    },
                );
                self.wire = Wire::Up(Box::new(socket), Box::new(link));
                self.opened_at = Some(now.mono);
            }
            Happened::Received(Err(error)) | Happened::Writable(Err(error)) => {
                self.hang_up(&error.to_string())
            }
            Happened::Writable(Ok(())) => {
                if let Wire::Up(socket, link) = &mut self.wire
                    && socket.send(link.waiting().to_vec())
                {
                    link.written(now.mono, link.waiting().len());
                }
            }
            Happened::Received(Ok(bytes)) => {
                let Wire::Up(_, link) = &mut self.wire else { return };
                match link.input(now.mono, &bytes) {
                    Ok(heard) => heard.into_iter().for_each(|heard| self.heard(heard)),
                    Err(error) => self.hang_up(&error.to_string()),
                }
            }
        }
    }

    fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Ready => {
                self.ready = true;
                // What is told first is what is true now.
                self.look();
                self.core.connected();
                if self.told_why.take().is_some() {
                    tracing::info!("connected to the MQTT broker");
                }
            }
            Heard::NotAllowed(filter) => {
                let lost = match filter.ends_with(topics::COMMAND) {
                    true => ": no commands come from there",
                    false => "",
                };
                tracing::error!(
                    code = "mqtt/not-allowed",
                    "the broker does not let us listen to {filter}{lost}. Look at its access list"
                );
            }
            Heard::Message(message) => {
                let chance = fastrand::f64();
                self.core.message(
                    clock::now(),
                    &message.topic,
                    &message.payload,
                    message.retain,
                    chance,
                );
            }
            Heard::TooLarge { topic, bytes } => self.core.too_large(topic.as_deref(), bytes),
            Heard::Arrived(token) => self.core.arrived(token),
        }
    }

    fn hang_up(&mut self, why: &str) {
        if std::mem::take(&mut self.ready) {
            self.core.lost();
        }
        self.rest(why);
    }

    /// Lets the connection go and waits for the next attempt.
    fn rest(&mut self, why: &str) {
        let lasted = self.opened_at.take().map(|at| at.elapsed());
        if lasted.is_some_and(|lasted| lasted >= SETTLED) {
            self.failures = 0;
        }
        let pause = link::pause(self.failures, self.config.spread, fastrand::f64());
        self.failures = self.failures.saturating_add(1);
        // A broker that is away for a day is one line in the log.
        if self.told_why.as_deref() != Some(why) {
            let broker = &self.config.broker;
            tracing::warn!(
                code = "mqtt/link",
                "no connection to the MQTT broker {}:{}: {why}",
                broker.host,
                broker.port
            );
            self.told_why = Some(why.to_owned());
        }
        self.wire = Wire::Rest(tokio::time::Instant::now() + pause);
    }

    /// New snapshots.
    fn look(&mut self) {
        let now = clock::now();
        let draining = self.house.agent.is_draining();
        for (key, member) in &mut self.members {
            if !member.snapshots.has_changed().unwrap_or(false) {
                continue;
            }
            let snapshot = member.snapshots.borrow_and_update().clone();
            let limits = member.handle.limits();
            let who = Who {
                name: member.handle.name(),
                driver: member.handle.driver(),
                camera: member.handle.camera_works().is_some(),
                limits: Limits {
                    max_tool_c: limits.max_tool_c,
                    max_bed_c: limits.max_bed_c,
                    require_clear_bed: false,
                    draining,
                },
            };
            self.core.observe(
                now,
                *key,
                View::of(who, &snapshot.state, snapshot.last.as_deref(), now),
            );
        }
    }

    /// The list of printers, the host.
    async fn look_around(&mut self) {
        let handles = self.house.agent.printers();
        for key in self.core.keys() {
            if !handles.iter().any(|h| h.id() == key) {
                // What it still has to say about the printer needs its name.
                self.core.void(clock::now(), key);
                self.turn();
                self.core.leave(key);
                self.members.remove(&key);
                self.house.agent.pairings().set(key, UPSTREAM, None);
            }
        }
        for handle in handles {
            // A restart of the printer's task with new settings makes a new handle.
            let known = self
                .members
                .get(&handle.id())
                .is_some_and(|m| m.snapshots.has_changed().is_ok());
            if !known {
                self.join(handle).await;
            }
        }
        let host = self.house.host.borrow().clone();
        if self.host.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &host)) {
            self.core.observe_host(&host_level(&self.house.name, &host));
            self.host = Some(host);
        }
    }

    async fn join(&mut self, handle: PrinterHandle) {
        let (key, name) = (handle.id(), handle.name().to_owned());
        let mut snapshots = handle.watch();
        snapshots.mark_changed();
        if !self.members.contains_key(&key) {
            let kept = match self.keep.load(&name).await {
                Ok(kept) => kept,
                Err(error) => {
                    tracing::error!(
                        printer = name,
                        code = error.code(),
                        "what was told before was not read: {error}"
                    );
                    return;
                }
            };
            self.core.join(clock::now(), key, &name, kept.0, kept.1);
            let left = self.keep.retained().await.unwrap_or_default();
            if let Some((_, left)) = left.into_iter().find(|(of, _)| *of == name) {
                self.core.left_over(&name, left, true);
            }
        }
        self.members.insert(
            key,
            Member {
                handle,
                snapshots,
                connected: None,
            },
        );
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Answer(key, asked, outcome, job) => {
                // What the state says already is told before the answer.
                self.look();
                self.core.answered(clock::now(), key, &asked, &outcome, job);
            }
            Done::Records(key, records) => self.core.records(key, &records),
            Done::Picture(key, Some(jpeg)) => self.core.picture(key, jpeg),
            Done::Picture(_, None) => {}
        }
    }

    fn publish_pairings(&mut self) {
        for (key, member) in &mut self.members {
            if member.connected != Some(self.ready) {
                member.connected = Some(self.ready);
                let pairing = Pairing {
                    connected: self.ready,
                    code: None,
                    id: None,
                    name: None,
                    trouble: self.trouble.clone(),
                };
                self.house.agent.pairings().set(*key, UPSTREAM, Some(pairing));
            }
        }
    }

    /// The last words: results that are still to come have their time, then everybody hears that we are gone.
    async fn end(mut self) {
        self.look();
        for key in self.core.keys() {
            self.core.void(clock::now(), key);
        }
        self.turn();
        if let Wire::Up(socket, mut link) =
            std::mem::replace(&mut self.wire, Wire::Rest(tokio::time::Instant::now()))
        {
            let last = self.core.last_words();
            link.publish(&last.topic, &last.payload, last.retain, None);
            link.goodbye();
            socket.close(link.waiting().to_vec()).await;
        }
        self.core.lost();
        self.turn();
        self.writes.flush(END_LIMIT).await;
        for key in self.members.keys() {
            self.house.agent.pairings().set(*key, UPSTREAM, None);
        }
    }
}

fn host_level(name: &str, host: &Host) -> serde_json::Value {
    let whole = |value: Option<f32>| value.map(|v| f64::from(v.round()));
    json!({
        "name": name,
        "board": host.board,
        "os": host.os,
        "ip": host.ip,
        "cpu_percent": whole(host.cpu_percent),
        "memory_percent": whole(host.memory_percent),
        "cpu_c": whole(host.cpu_c),
        "disk_free_mb": host.disk_free_bytes.map(|bytes| bytes / 10_000_000 * 10),
        "throttled": host.throttled,
    })
}
