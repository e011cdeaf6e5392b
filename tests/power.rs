//! The switch of a printer's supply, from the order to the relay: a real agent, relays over loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may be blunt"
)]

use std::any::Any;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use layerd::agent::actor::{Means, Settings};
use layerd::agent::handle::PrinterHandle;
use layerd::agent::plan::{Peripherals, PrinterPlan};
use layerd::agent::run::Agent;
use layerd::config::model::{Power, PowerKind};
use layerd::drivers::{BoxFuture, Build, Context, Driver, Link, Reach, Stop, StopMode};
use layerd::host::fdstore::FdStore;
use layerd::host::systemd::Systemd;
use layerd::job::analysis_pool::{AnalysisPool, analyze_path};
use layerd::job::preflight::Limits;
use layerd::job::spool::{Caps, Spool};
use layerd::job::store::Store;
use layerd::printer::command::Command;
use layerd::printer::event::Event;
use layerd::printer::fault::{Fault, Severity};
use layerd::printer::model::{Activity, Heater, State};
use layerd::printer::outcome::Outcome;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const GOOD: u8 = 0;
/// Says ON and stays off.
const LIAR: u8 = 1;
const SLOW: u8 = 2;
const HUGE: u8 = 3;
const HTML: u8 = 4;
const REDIRECT: u8 = 5;

/// A relay on loopback that answers as Tasmota documents.
struct Relay {
    on: AtomicBool,
    manner: AtomicU8,
    asked: Mutex<Vec<String>>,
    port: u16,
}

impl Relay {
    async fn start(on: bool) -> Arc<Relay> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = Arc::new(Relay {
            on: AtomicBool::new(on),
            manner: AtomicU8::new(GOOD),
            asked: Mutex::default(),
            port: listener.local_addr().unwrap().port(),
        });
        let serving = relay.clone();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let relay = serving.clone();
                tokio::spawn(async move {
                    let mut request = [0; 2048];
                    while let Ok(read @ 1..) = socket.read(&mut request).await {
                        let text = String::from_utf8_lossy(&request[..read]).into_owned();
                        let answer = relay.answer(text.lines().next().unwrap_or_default()).await;
                        if socket.write_all(&answer).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        relay
    }

    async fn answer(&self, line: &str) -> Vec<u8> {
        self.asked.lock().unwrap().push(line.to_owned());
        let manner = self.manner.load(Ordering::SeqCst);
        let wanted = if line.contains("On ") {
            Some(true)
        } else if line.contains("Off ") {
            Some(false)
        } else {
            None
        };
        if let (Some(on), true) = (wanted, manner != LIAR) {
            self.on.store(on, Ordering::SeqCst);
        }
        let on = match (wanted, manner) {
            // The lie is in the answer to the order; asked, it tells the truth.
            (Some(on), LIAR) => on,
            _ => self.on.load(Ordering::SeqCst),
        };
        let body = match manner {
            SLOW => {
                std::future::pending::<()>().await;
                String::new()
            }
            HUGE => "x".repeat(1 << 20),
            HTML => "<html>Please log in</html>".to_owned(),
            _ => format!("{{\"POWER\":\"{}\"}}", if on { "ON" } else { "OFF" }),
        };
        let status = if manner == REDIRECT {
            "302 Found\r\nLocation: http://169.254.169.254/"
        } else {
            "200 OK"
        };
        format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    fn is_on(&self) -> bool {
        self.on.load(Ordering::SeqCst)
    }

    fn power(&self, on_connect: bool) -> Power {
        Power {
            kind: PowerKind::Tasmota {
                url: format!("http://127.0.0.1:{}", self.port),
                user: None,
                password: None,
                channel: None,
            },
            on_connect,
        }
    }
}

/// A printer that is up when its supply is on, and mute for emergency stops.
#[derive(Debug)]
struct Mute {
    /// Temperature that it tells.
    temperature_c: f32,
    /// What it saw of its supply at the beginning of each session.
    supplied: Mutex<Vec<bool>>,
}

struct Bench {
    printer: PrinterHandle,
    relay: Arc<Relay>,
    mute: Arc<Mute>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Clone)]
struct MuteBuild(Arc<Mute>, Arc<Relay>);

impl std::fmt::Debug for MuteBuild {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MuteBuild")
    }
}

impl Build for MuteBuild {
    fn build(&self, _: Context) -> Box<dyn Driver> {
        Box::new(MuteDriver(self.clone()))
    }
    fn same_as(&self, _: &dyn Build) -> bool {
        true
    }
    fn link_is_printer(&self) -> bool {
        true
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn reachable<'a>(&'a self) -> BoxFuture<'a, Reach> {
        Box::pin(async { Reach::Yes("mute".to_owned()) })
    }
}

struct MuteDriver(MuteBuild);

impl Driver for MuteDriver {
    fn run<'a>(&'a mut self, link: &'a mut Link, stop: &'a Stop) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let MuteBuild(mute, relay) = &self.0;
            mute.supplied.lock().unwrap().push(relay.is_on());
            let heat = Event::Heat {
                heater: Heater::Tool(0),
                actual_c: mute.temperature_c,
                target_c: Some(0.0),
            };
            for event in [Event::Opening, Event::Up, Event::Activity(Activity::Idle), heat] {
                let _ = link.events.send(event).await;
            }
            loop {
                let request = tokio::select! {
                    _ = stop.ordered() => return Ok(()),
                    request = link.urgent.recv() => request,
                    request = link.requests.recv() => request,
                };
                let Some(request) = request else { return Ok(()) };
                match request.command {
                    // Nobody hears it.
                    Command::EmergencyStop => drop(request.reply),
                    Command::SendGcode { .. } => {
                        let fault = Fault::new(Severity::NeedsUser, "test/hot", "It burns.", "", "");
                        let _ = link.events.send(Event::Danger(fault)).await;
                        let _ = request.reply.send(Outcome::Sent);
                    }
                    _ => {
                        let _ = request.reply.send(Outcome::Sent);
                    }
                }
            }
        })
    }
}

impl Bench {
    async fn start(dir: &Path, relay: Arc<Relay>, temperature_c: f32, on_connect: bool) -> Bench {
        let store = Store::open(&dir.join("layerd.db")).unwrap();
        let spool = Spool::open(dir.join("spool"), store.clone(), Caps::default()).unwrap();
        let means = Means {
            store: store.clone(),
            spool: spool.clone(),
            pool: AnalysisPool::start(spool, analyze_path).unwrap(),
            fd_store: Arc::new(FdStore::default()),
            runtime_dir: dir.to_owned(),
            state_dir: dir.to_owned(),
        };
        let mute = Arc::new(Mute {
            temperature_c,
            supplied: Mutex::default(),
        });
        let plan = PrinterPlan {
            name: "p".to_owned(),
            kind: "mute",
            build: Arc::new(MuteBuild(mute.clone(), relay.clone())),
            settings: Settings {
                preflight: Limits::default(),
                require_clear_bed: false,
                checkpoint: Duration::from_secs(60),
                pause_on_restart: false,
                release: None,
            },
            on_stop: StopMode::Leave,
            peripherals: Peripherals {
                camera: None,
                power: Some(relay.power(on_connect)),
                ..Peripherals::default()
            },
        };
        let agent = Agent::start(vec![plan], means, Systemd::default()).await.unwrap();
        let printer = agent.handle().by_name("p").unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let reread = Box::new(|| Err("nothing to read".to_owned()));
        let task = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            agent.run(reread, stopped).await.unwrap();
        });
        let bench = Bench {
            printer,
            relay,
            mute,
            stop: Some(stop),
            task,
        };
        bench
            .until("a first look", |s| s.supply.is_some() && s.is_up())
            .await;
        bench
    }

    async fn until(&self, what: &str, good: impl Fn(&State) -> bool) -> State {
        let mut watch = self.printer.watch();
        let seen = watch.wait_for(|snapshot| good(&snapshot.state));
        let seen = tokio::time::timeout(Duration::from_secs(30), seen).await;
        match seen {
            Ok(seen) => seen.unwrap().state.clone(),
            Err(_) => panic!("never {what}: {:?}", self.printer.snapshot().state.supply),
        }
    }

    async fn end(mut self) {
        let _ = self.stop.take().unwrap().send(());
        tokio::time::timeout(Duration::from_secs(20), self.task)
            .await
            .expect("stops")
            .unwrap();
    }
}

fn refusal(outcome: &Outcome) -> (&str, &str) {
    match outcome {
        Outcome::Refused(refusal) => (refusal.code, &refusal.message),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emergency_stop_that_could_not_be_written_cuts_the_supply_even_when_hot() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), Relay::start(true).await, 240.0, false).await;
    assert_eq!(refusal(&bench.printer.power(false).await).0, "refused/hot");
    assert!(bench.relay.is_on());
    let outcome = bench.printer.command(Command::EmergencyStop).await;
    let (_, text) = refusal(&outcome);
    assert!(
        text.contains("could NOT be written") && text.contains("The supply was cut instead."),
        "{text}"
    );
    assert!(!bench.relay.is_on());
    let state = bench
        .until("told as cut", |s| {
            s.supply.as_ref().is_some_and(|s| s.cut && s.on == Some(false))
        })
        .await;
    assert!(
        state
            .notices
            .iter()
            .any(|n| n.code.as_deref() == Some("power/cut")),
        "{:?}",
        state.notices
    );
    bench.end().await;

    // The next run does not switch on by itself what was cut, a person does.
    let relay = Relay::start(false).await;
    let bench = Bench::start(dir.path(), relay, 20.0, true).await;
    assert_eq!(*bench.mute.supplied.lock().unwrap(), [false]);
    assert!(!bench.relay.is_on());
    assert_eq!(bench.printer.power(true).await, Outcome::Verified);
    assert!(bench.relay.is_on());
    bench
        .until("the cut forgotten", |s| {
            s.supply.as_ref().is_some_and(|s| !s.cut && s.fault.is_none())
        })
        .await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heater_out_of_control_cuts_the_supply_of_a_hot_printer() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), Relay::start(true).await, 240.0, false).await;
    let lines = vec!["M105".to_owned()];
    let _ = bench
        .printer
        .command(Command::SendGcode { lines, tune: false })
        .await;
    bench
        .until("off", |s| {
            s.supply.as_ref().is_some_and(|s| s.cut && s.on == Some(false))
        })
        .await;
    assert!(!bench.relay.is_on());
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_supply_is_on_before_the_first_connection_and_only_then() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), Relay::start(false).await, 20.0, true).await;
    assert_eq!(*bench.mute.supplied.lock().unwrap(), [true]);
    assert_eq!(bench.printer.power(false).await, Outcome::Verified);
    assert!(!bench.relay.is_on());
    let _ = bench.printer.command(Command::Reconnect).await;
    bench.end().await;
    let bench = Bench::start(dir.path(), Relay::start(false).await, 20.0, true).await;
    assert!(
        !bench.relay.is_on(),
        "what a person put off stays off over a restart"
    );
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_says_on_and_stays_off_is_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), Relay::start(false).await, 20.0, false).await;
    bench.relay.manner.store(LIAR, Ordering::SeqCst);
    let outcome = bench.printer.power(true).await;
    assert!(
        matches!(&outcome, Outcome::Rejected { by_printer, .. } if by_printer.contains("still off")),
        "{outcome:?}"
    );
    let state = bench
        .until("told", |s| {
            s.notices
                .iter()
                .any(|n| n.code.as_deref() == Some("power/not-obeyed"))
        })
        .await;
    assert_eq!(state.supply.unwrap().on, Some(false));
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_something_else_is_unknown_and_never_on() {
    for (manner, code) in [
        (HUGE, "power/bad-answer"),
        (HTML, "power/bad-answer"),
        (REDIRECT, "power/bad-answer"),
        (SLOW, "power/unreachable"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let relay = Relay::start(true).await;
        relay.manner.store(manner, Ordering::SeqCst);
        let bench = Bench::start(dir.path(), relay, 20.0, false).await;
        let supply = bench
            .until("looked at", |s| s.supply.is_some())
            .await
            .supply
            .unwrap();
        assert_eq!(supply.on, None);
        assert_eq!(supply.fault.expect("told").code, code);
        bench.end().await;
    }
}
