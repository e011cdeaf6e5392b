//! What every driver owes to those above it, whatever it drives: the same command ends in the same way, and is
//! seen in the same order of states. Each printer of `layerd simulate` goes through the same stories, behind the
//! driver that the configuration names, its sessions run as the agent runs them, its events reduced as the agent
//! does. A new driver joins with a [`Stand`] and a line in `every_driver!`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may be blunt"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use layerd::agent::supervise::supervise;
use layerd::daemon::parse_config;
use layerd::drivers::bambu::sim as bambu_sim;
use layerd::drivers::marlin::sim as marlin_sim;
use layerd::drivers::marlin::sim::pty::{PtyOptions, SimPty};
use layerd::drivers::moonraker::sim as klipper_sim;
use layerd::drivers::{Build, Context, Link, Stop, StopMode};
use layerd::host::fdstore::FdStore;
use layerd::printer::command::{CancelReason, Command, Program, Request, RequestId, StartJob};
use layerd::printer::event::{Event, JobEvent};
use layerd::printer::guard::{Limits, guard};
use layerd::printer::model::{LinkState, Now, State, StateWord};
use layerd::printer::outcome::Outcome;
use layerd::printer::reduce::{OFFLINE_GRACE, reduce, settle};
use layerd::printer::wire::WireRing;
use sha2::{Digest, Sha256};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

/// Nothing takes longer than this.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many times faster than life the printers are.
const SPEED: f64 = 60.0;

/// A printer of a kind, how it is configured, and its cable.
enum Stand {
    Marlin(SimPty),
    Klipper(klipper_sim::SimPrinter, Cable),
    Bambu(bambu_sim::Sim, Cable),
}

impl Stand {
    async fn marlin(dir: &std::path::Path) -> Stand {
        let sim = marlin_sim::Options {
            speed: SPEED,
            ..marlin_sim::Options::default()
        };
        let link = Some(dir.join("port"));
        Stand::Marlin(
            SimPty::spawn(PtyOptions {
                sim,
                link,
                ..PtyOptions::default()
            })
            .unwrap(),
        )
    }

    async fn moonraker(dir: &std::path::Path) -> Stand {
        let options = klipper_sim::Options {
            speed: SPEED,
            files: dir.join("gcodes"),
            startup_s: 0.1,
        };
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let door = klipper_sim::Door::Port { listen, key: None };
        let sim = klipper_sim::SimPrinter::start(door, options, None).await.unwrap();
        let at = sim.url().unwrap().trim_start_matches("http://").parse().unwrap();
        Stand::Klipper(sim, Cable::to(at).await)
    }

    async fn bambu(dir: &std::path::Path) -> Stand {
        let kind = bambu_sim::kind::Kind::P1s;
        let options = bambu_sim::Options {
            host: Ipv4Addr::LOCALHOST.into(),
            mqtt_port: 0,
            ftps_port: 0,
            camera_port: 0,
            serial: kind.serial().to_owned(),
            code: "12345678".to_owned(),
            speed: SPEED,
            kind,
            dev_mode: true,
            silent: false,
            root: dir.join("card"),
        };
        let sim = bambu_sim::Sim::start(options).await.unwrap();
        let cable = Cable::to(sim.mqtt).await;
        Stand::Bambu(sim, cable)
    }

    fn config(&self) -> String {
        match self {
            Stand::Marlin(pty) => format!(
                "driver = \"marlin\"\nport = {:?}\nbaud = 115200\nbed = [220, 220, 250]",
                pty.path()
            ),
            Stand::Klipper(_, cable) => format!("driver = \"moonraker\"\nurl = \"http://{}\"", cable.at),
            Stand::Bambu(sim, cable) => format!(
                "driver = \"bambu\"\nhost = \"127.0.0.1\"\nserial = \"{}\"\naccess_code = \"12345678\"\n\
                 mqtt_port = {}\nftps_port = {}\ncamera_port = {}",
                sim.shared.options.serial,
                cable.at.port(),
                sim.ftps.port(),
                sim.camera.port()
            ),
        }
    }

    fn pull(&self) {
        match self {
            Stand::Marlin(pty) => pty.unplug(),
            Stand::Klipper(_, cable) | Stand::Bambu(_, cable) => {
                cable.whole.send_replace(false);
            }
        }
    }

    fn mend(&self) {
        match self {
            Stand::Marlin(pty) => pty.replug(false).unwrap(),
            Stand::Klipper(_, cable) | Stand::Bambu(_, cable) => {
                cable.whole.send_replace(true);
            }
        }
    }

    /// What the printer itself is at: nozzle and bed wanted, °C.
    fn targets_c(&self) -> (f64, f64) {
        match self {
            Stand::Marlin(pty) => pty.with(|sim| (sim.tool_target_c(0), sim.bed_target_c())),
            Stand::Klipper(sim, _) => sim.with(|klipper| {
                let all = klipper.objects_now();
                let target = |name: &str| all[name]["target"].as_f64().unwrap();
                (target("extruder"), target("heater_bed"))
            }),
            Stand::Bambu(sim, _) => sim.shared.with(|printer| {
                let target = |key: &str| printer.get(key).as_f64().unwrap();
                (target("nozzle_target_temper"), target("bed_target_temper"))
            }),
        }
    }
}

/// A connection that can be cut and mended, on an address that stays.
struct Cable {
    at: SocketAddr,
    whole: watch::Sender<bool>,
    _task: JoinHandle<()>,
}

impl Cable {
    async fn to(target: SocketAddr) -> Cable {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let at = listener.local_addr().unwrap();
        let (whole, is_whole) = watch::channel(true);
        #[allow(clippy::disallowed_methods, reason = "the handle is kept")]
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let mut is_whole = is_whole.clone();
                connections.spawn(async move {
                    if !*is_whole.borrow() {
                        return;
                    }
                    let Ok(mut far) = TcpStream::connect(target).await else {
                        return;
                    };
                    tokio::select! {
                        _ = is_whole.wait_for(|whole| !whole) => {}
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                    }
                });
            }
        });
        Cable {
            at,
            whole,
            _task: task,
        }
    }
}

/// What was seen of a printer, in order.
#[derive(Clone)]
struct Seen {
    state: State,
    words: Vec<StateWord>,
    edges: Vec<String>,
}

/// A driver that runs, and the printer before it.
struct Bench {
    stand: Stand,
    build: Arc<dyn Build>,
    requests: mpsc::Sender<Request>,
    urgent: mpsc::Sender<Request>,
    seen: watch::Receiver<Seen>,
    stop: Stop,
    sessions: JoinHandle<()>,
    dir: tempfile::TempDir,
}

fn now() -> Now {
    Now {
        mono: Instant::now(),
        wall: Timestamp::now(),
    }
}

fn edge(event: &JobEvent) -> String {
    let text = format!("{event:?}");
    text.split([' ', '{']).next().unwrap_or_default().to_owned()
}

impl Bench {
    async fn with(dir: tempfile::TempDir, stand: Stand) -> Bench {
        let text = format!("[printer.p]\n{}\n", stand.config());
        let config = parse_config(&text, "test").unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let build: Arc<dyn Build> = config.printers.into_iter().next().unwrap().driver.into();
        let context = Context {
            printer: "p".into(),
            runtime_dir: dir.path().to_owned(),
            state_dir: dir.path().to_owned(),
            fd_store: Arc::new(FdStore::default()),
            wire: Arc::new(WireRing::new(64 * 1024)),
            adopt: None,
            pause_on_restart: false,
        };
        let driver = build.build(context);
        let (requests, requests_rx) = mpsc::channel(16);
        let (urgent, urgent_rx) = mpsc::channel(4);
        let (events_tx, mut events) = mpsc::channel(256);
        let link = Link {
            requests: requests_rx,
            urgent: urgent_rx,
            events: events_tx,
        };
        let first = Seen {
            state: State::new(now()),
            words: Vec::new(),
            edges: Vec::new(),
        };
        let (tell, seen) = watch::channel(first);
        let stop = Stop::new();
        let ordered = stop.clone();
        #[allow(clippy::disallowed_methods, reason = "the handle is kept")]
        let sessions = tokio::spawn(async move {
            let watching = async {
                while let Some(event) = events.recv().await {
                    tell.send_modify(|seen| {
                        if let Event::Job(job) = &event {
                            seen.edges.push(edge(job));
                        }
                        reduce(&mut seen.state, now(), event);
                        let word = seen.state.word();
                        if seen.words.last() != Some(&word) {
                            seen.words.push(word);
                        }
                    });
                }
            };
            tokio::join!(supervise(driver, link, ordered), watching);
        });
        let bench = Bench {
            stand,
            build,
            requests,
            urgent,
            seen,
            stop,
            sessions,
            dir,
        };
        bench
            .until("ready", |s| {
                s.state.is_up() && s.state.word() == StateWord::Operational
            })
            .await;
        bench
    }

    async fn until(&self, what: &str, wanted: impl Fn(&Seen) -> bool) {
        let mut seen = self.seen.clone();
        let waited = tokio::time::timeout(PATIENCE, seen.wait_for(|s| wanted(s))).await;
        if waited.is_err() {
            let seen = self.seen.borrow();
            panic!("not {what}: {:?} {:?} {:?}", seen.words, seen.edges, seen.state);
        }
    }

    async fn word(&self, word: StateWord) {
        self.until(word.as_str(), |s| s.state.word() == word).await;
    }

    /// As everybody above asks: the guard first, then the driver.
    async fn ask(&self, command: Command) -> Outcome {
        let state = self.seen.borrow().state.clone();
        match guard(&state, &Limits::default(), &command) {
            Err(refusal) if command != Command::Ping => Outcome::Refused(refusal),
            _ => self.ask_driver(command).await,
        }
    }

    async fn ask_driver(&self, command: Command) -> Outcome {
        let (reply, answer) = oneshot::channel();
        let lane = match command {
            Command::EmergencyStop => &self.urgent,
            _ => &self.requests,
        };
        let name = command.name();
        let request = Request {
            id: RequestId(fastrand::u64(1..u64::MAX)),
            deadline: Instant::now() + PATIENCE,
            reply,
            command,
        };
        lane.send(request).await.unwrap();
        tokio::time::timeout(PATIENCE, answer)
            .await
            .unwrap_or_else(|_| panic!("no answer to {name}"))
            .unwrap()
    }

    fn job(&self) -> Command {
        // Some minutes of printing at this speed, so that nothing here is a race with its end.
        let mut text = "M140 S50\nM104 S200\nM109 S200\nG28\nG92 E0\n".to_owned();
        for line in 0..5_000 {
            let (x, y) = (20 + line % 2 * 150, 20 + line % 150);
            text += &format!("G1 X{x} Y{y} Z0.2 E{}.{} F1800\n", line / 10, line % 10);
        }
        // A program never changes while a job may be reading it.
        let path = self.dir.path().join(format!("{}.gcode", Uuid::new_v4()));
        std::fs::write(&path, &text).unwrap();
        let sha256 = Sha256::digest(text.as_bytes());
        let program = Program {
            path,
            name: "story.gcode".to_owned(),
            size: text.len() as u64,
            sha256: sha256.iter().map(|b| format!("{b:02x}")).collect(),
            layers: Some(1),
            estimate_s: Some(90_000),
            max_z_mm: Some(0.2),
            objects: Vec::new(),
        };
        Command::Start(StartJob {
            uid: Uuid::new_v4(),
            program: Arc::new(program),
            skip: Vec::new(),
            materials: Vec::new(),
            plate: None,
        })
    }

    /// Refused by the guard; and where that was passed a moment too early the driver does nothing either.
    async fn refused(&self, command: Command) {
        let name = command.name();
        let before = self.seen.borrow().clone();
        let outcome = self.ask(command.clone()).await;
        assert_eq!(outcome.word(), "refused", "{name}: {outcome:?}");
        assert!(!outcome.message().is_empty(), "{name} is refused with a reason");
        let late = self.ask_driver(command.clone()).await;
        assert!(!late.is_ok() || !matches!(command, Command::Start(_)), "{late:?}");
        let after = self.seen.borrow().clone();
        assert_eq!(after.edges, before.edges, "{name} moved nothing");
        assert_eq!(after.state.word(), before.state.word(), "{name} moved nothing");
    }

    async fn end(self) {
        self.stop.order(StopMode::Leave);
        tokio::time::timeout(PATIENCE, self.sessions)
            .await
            .expect("a session ends when told")
            .unwrap();
    }
}

fn cancel() -> Command {
    Command::Cancel(CancelReason::default())
}

/// Words that may stand between those that are owed.
const ON_THE_WAY: &[StateWord] = &[
    StateWord::Offline,
    StateWord::NotReady,
    StateWord::Downloading,
    StateWord::Pausing,
    StateWord::Resuming,
    StateWord::Cancelling,
];

async fn prints_pauses_resumes_and_cancels(bench: Bench) {
    assert_eq!(bench.ask(Command::Ping).await, Outcome::Sent);
    for command in [
        Command::Pause,
        Command::Resume,
        cancel(),
        Command::SkipObjects { ids: vec![1] },
    ] {
        bench.refused(command).await;
    }

    assert_eq!(
        bench.ask(bench.job()).await,
        Outcome::Verified,
        "the start was seen"
    );
    bench.word(StateWord::Printing).await;
    bench.refused(bench.job()).await;
    bench.refused(Command::Resume).await;
    let outcome = bench.ask(Command::SkipObjects { ids: vec![99] }).await;
    assert!(!outcome.is_ok(), "there is no such object: {outcome:?}");
    bench
        .until("warm", |s| s.state.heaters.values().any(|h| h.actual_c > 150.0))
        .await;

    assert_eq!(bench.ask(Command::Pause).await, Outcome::Verified);
    bench.word(StateWord::Paused).await;
    bench.refused(Command::Pause).await;
    bench.refused(bench.job()).await;
    assert_eq!(bench.ask(Command::Ping).await, Outcome::Sent);

    assert_eq!(bench.ask(Command::Resume).await, Outcome::Verified);
    bench.word(StateWord::Printing).await;

    assert_eq!(bench.ask(cancel()).await, Outcome::Verified);
    bench.word(StateWord::Operational).await;
    assert_eq!(
        bench.stand.targets_c(),
        (0.0, 0.0),
        "nothing stays hot behind a cancel"
    );
    bench.refused(cancel()).await;

    let seen = bench.seen.borrow().clone();
    let mut words: Vec<StateWord> = seen.words;
    words.retain(|word| !ON_THE_WAY.contains(word));
    words.dedup();
    let owed = [
        StateWord::Operational,
        StateWord::Printing,
        StateWord::Paused,
        StateWord::Printing,
        StateWord::Operational,
    ];
    assert_eq!(words, owed);
    assert_eq!(seen.edges, ["Started", "Paused", "Resumed", "Cancelled"]);
    bench.end().await;
}

async fn a_lost_connection_is_told_and_readings_age(bench: Bench) {
    let age = |seen: &Seen| seen.state.heaters.values().map(|h| h.age(Instant::now())).min();
    bench.until("read", |s| age(s).is_some()).await;
    bench.stand.pull();
    bench
        .until("down", |s| {
            matches!(s.state.link, LinkState::Down { why: Some(_) })
        })
        .await;
    bench.refused(Command::Pause).await;
    assert_eq!(
        bench.ask(Command::Ping).await,
        Outcome::Sent,
        "answered without a connection"
    );
    let seen = bench.seen.borrow().clone();
    let (before, later) = (age(&seen), Instant::now() + Duration::from_millis(1500));
    let mut watch = bench.seen.clone();
    // Attempts go on meanwhile; none of them may make a reading young.
    while tokio::time::timeout_at(later.into(), watch.changed())
        .await
        .is_ok()
    {}
    let seen = bench.seen.borrow().clone();
    assert!(
        age(&seen) >= before.map(|b| b + Duration::from_millis(1400)),
        "nobody reads"
    );
    assert!(!seen.state.is_up());

    // A serial cable is the printer; a host on the network may be printing.
    let (mut state, is_printer) = (seen.state, bench.build.link_is_printer());
    let mut then = now();
    then.mono += OFFLINE_GRACE;
    state.wired = is_printer;
    settle(&mut state, then);
    let word = if is_printer {
        StateWord::Offline
    } else {
        StateWord::Operational
    };
    assert_eq!(state.word(), word);

    let cut = Instant::now();
    bench.stand.mend();
    bench
        .until("back with fresh readings", |s| {
            s.state.is_up() && s.state.heaters.values().any(|h| h.at > cut)
        })
        .await;
    bench.word(StateWord::Operational).await;
    assert!(
        bench.seen.borrow().edges.is_empty(),
        "nothing was started by that"
    );
    bench.end().await;
}

async fn a_cancel_is_good_while_it_heats_and_while_it_is_paused(bench: Bench) {
    assert_eq!(bench.ask(bench.job()).await, Outcome::Verified);
    bench.word(StateWord::Printing).await;
    assert_eq!(bench.ask(cancel()).await, Outcome::Verified, "while it heats");
    bench.word(StateWord::Operational).await;
    assert_eq!(bench.stand.targets_c(), (0.0, 0.0), "while it heats");

    assert_eq!(bench.ask(bench.job()).await, Outcome::Verified);
    bench.word(StateWord::Printing).await;
    assert_eq!(bench.ask(Command::Pause).await, Outcome::Verified);
    bench.word(StateWord::Paused).await;
    assert_eq!(bench.ask(cancel()).await, Outcome::Verified, "while it is paused");
    bench.word(StateWord::Operational).await;
    assert_eq!(bench.stand.targets_c(), (0.0, 0.0), "while it is paused");
    let edges = bench.seen.borrow().edges.clone();
    assert_eq!(edges, ["Started", "Cancelled", "Started", "Paused", "Cancelled"]);
    bench.end().await;
}

async fn an_emergency_stop_ends_the_print(bench: Bench) {
    assert_eq!(bench.ask(bench.job()).await, Outcome::Verified);
    bench.word(StateWord::Printing).await;
    let outcome = bench.ask(Command::EmergencyStop).await;
    assert!(outcome.is_ok(), "{outcome:?}");
    bench
        .until("over", |s| {
            s.edges.last().is_some_and(|e| e == "Failed" || e == "Cancelled")
        })
        .await;
    bench
        .until("no print", |s| {
            matches!(
                s.state.word(),
                StateWord::Error | StateWord::Operational | StateWord::NotReady
            )
        })
        .await;
    assert_eq!(bench.seen.borrow().edges.len(), 2, "it ended once");
    bench.end().await;
}

macro_rules! every_driver {
    ($($kind:ident),*) => {$(
        mod $kind {
            use super::{Bench, Stand};

            async fn bench() -> Bench {
                let dir = tempfile::tempdir().unwrap();
                let stand = Stand::$kind(dir.path()).await;
                Bench::with(dir, stand).await
            }

            #[tokio::test]
            async fn prints_pauses_resumes_and_cancels() {
                super::prints_pauses_resumes_and_cancels(bench().await).await;
            }

            #[tokio::test]
            async fn a_lost_connection_is_told_and_readings_age() {
                super::a_lost_connection_is_told_and_readings_age(bench().await).await;
            }

            #[tokio::test]
            async fn a_cancel_is_good_while_it_heats_and_while_it_is_paused() {
                super::a_cancel_is_good_while_it_heats_and_while_it_is_paused(bench().await).await;
            }

            #[tokio::test]
            async fn an_emergency_stop_ends_the_print() {
                super::an_emergency_stop_ends_the_print(bench().await).await;
            }
        }
    )*

        #[test]
        fn no_driver_is_left_out() {
            let tried = [$(stringify!($kind)),*];
            for factory in layerd::drivers::REGISTRY {
                assert!(tried.contains(&factory.kind()), "{} has no stand here", factory.kind());
            }
        }
    };
}

every_driver!(bambu, marlin, moonraker);
