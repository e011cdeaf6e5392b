//! A driver that runs, and the printer before it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use layerd::agent::supervise::supervise;
use layerd::daemon::parse_config;
use layerd::drivers::{Adopt, Build, Context, Link, Stop, StopMode};
use layerd::host::fdstore::FdStore;
use layerd::printer::command::{CancelReason, Command, Program, Request, RequestId, StartJob};
use layerd::printer::event::{Event, JobEvent};
use layerd::printer::guard::{Limits, guard};
use layerd::printer::model::{Now, PrintObject, State, StateWord};
use layerd::printer::outcome::{Missing, Outcome};
use layerd::printer::reduce::reduce;
use layerd::printer::wire::WireRing;
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::stand::{Ground, Stand};

/// Nothing takes longer than this.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What was seen of a printer, in order.
#[derive(Clone)]
pub struct Seen {
    pub state: State,
    pub words: Vec<StateWord>,
    pub edges: Vec<String>,
    pub skipped: Vec<u32>,
}

/// A driver that runs, and the printer before it.
pub struct Bench {
    pub stand: Stand,
    pub build: Arc<dyn Build>,
    pub seen: watch::Receiver<Seen>,
    requests: mpsc::Sender<Request>,
    urgent: mpsc::Sender<Request>,
    stop: Stop,
    sessions: JoinHandle<()>,
    ground: Ground,
}

pub fn now() -> Now {
    Now {
        mono: Instant::now(),
        wall: Timestamp::now(),
    }
}

pub fn cancel() -> Command {
    Command::Cancel(CancelReason::default())
}

pub fn gcode(line: &str, tune: bool) -> Command {
    Command::SendGcode {
        lines: vec![line.to_owned()],
        tune,
    }
}

fn edge(event: &JobEvent) -> String {
    let text = format!("{event:?}");
    text.split([' ', '{']).next().unwrap_or_default().to_owned()
}

/// The lines of a program with so many moves.
pub fn lines(moves: usize) -> Vec<String> {
    let begin = ["M140 S50", "M104 S200", "M109 S200", "G28", "G92 E0"];
    let moves = (0..moves).map(|n| {
        let (x, y) = (20 + n % 2 * 150, 20 + n % 150);
        format!("G1 X{x} Y{y} Z0.2 E{}.{} F1800", n / 10, n % 10)
    });
    begin.into_iter().map(str::to_owned).chain(moves).collect()
}

impl Bench {
    /// A printer that is ready.
    pub async fn new(ground: Ground) -> Bench {
        let stand = ground.stand(true).await;
        let bench = Bench::with(ground, stand, None).await;
        bench.ready().await;
        bench
    }

    /// A driver for a printer that is there already, with a print to answer for.
    pub async fn with(ground: Ground, stand: Stand, adopt: Option<Adopt>) -> Bench {
        let text = format!("[printer.p]\n{}\n", stand.config());
        let config = parse_config(&text, "test").unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let build: Arc<dyn Build> = config.printers.into_iter().next().unwrap().driver.into();
        let context = Context {
            printer: "p".into(),
            runtime_dir: ground.dir.path().to_owned(),
            state_dir: ground.dir.path().to_owned(),
            fd_store: Arc::new(FdStore::default()),
            wire: Arc::new(WireRing::new(64 * 1024)),
            adopt,
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
            skipped: Vec::new(),
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
                        if let Event::Skipped(ids) = &event {
                            seen.skipped.clone_from(ids);
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
        Bench {
            stand,
            build,
            seen,
            requests,
            urgent,
            stop,
            sessions,
            ground,
        }
    }

    /// As if the process had been killed; the next one has this print to answer for.
    pub async fn crash(self, job: StartJob) -> Bench {
        self.sessions.abort();
        let gone = self.sessions.await;
        assert!(gone.is_err_and(|e| e.is_cancelled()));
        let adopt = Adopt {
            job,
            checkpoint: None,
            paused: false,
        };
        Bench::with(self.ground, self.stand, Some(adopt)).await
    }

    pub async fn ready(&self) {
        self.until("ready", |s| {
            s.state.is_up() && s.state.word() == StateWord::Operational
        })
        .await;
    }

    pub async fn until(&self, what: &str, wanted: impl Fn(&Seen) -> bool) {
        self.within(PATIENCE, what, wanted).await;
    }

    pub async fn within(&self, limit: Duration, what: &str, wanted: impl Fn(&Seen) -> bool) {
        let mut seen = self.seen.clone();
        let waited = tokio::time::timeout(limit, seen.wait_for(|s| wanted(s))).await;
        if waited.is_err() {
            let seen = self.seen.borrow();
            panic!("not {what}: {:?} {:?} {:?}", seen.words, seen.edges, seen.state);
        }
    }

    pub async fn word(&self, word: StateWord) {
        self.until(word.as_str(), |s| s.state.word() == word).await;
    }

    /// Waits for something at the printer itself.
    pub async fn truly(&self, what: &str, wanted: impl Fn(&Stand) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !wanted(&self.stand) {
            assert!(Instant::now() < end, "the printer never came to: {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// As everybody above asks: the guard first, then the driver.
    pub async fn ask(&self, command: Command) -> Outcome {
        let state = self.seen.borrow().state.clone();
        match guard(&state, &Limits::default(), &command) {
            Err(refusal) if command != Command::Ping => Outcome::Refused(refusal),
            _ => self.ask_driver(command).await,
        }
    }

    pub async fn ask_driver(&self, command: Command) -> Outcome {
        let name = command.name();
        answer(name, self.give(command).await).await
    }

    /// Gives a command and does not wait for its end.
    pub async fn give(&self, command: Command) -> oneshot::Receiver<Outcome> {
        let (reply, answer) = oneshot::channel();
        let lane = match command {
            Command::EmergencyStop => &self.urgent,
            _ => &self.requests,
        };
        let request = Request {
            id: RequestId(fastrand::u64(1..u64::MAX)),
            deadline: Instant::now() + PATIENCE,
            reply,
            command,
        };
        lane.send(request).await.unwrap();
        answer
    }

    /// Some minutes of printing at this speed, so that nothing here is a race with its end.
    pub fn job(&self) -> StartJob {
        match &self.stand {
            // By its own words; what is wrapped for it has none.
            Stand::Bambu(..) => {
                let (name, content, objects) = self.stand.plate(90_000);
                self.start_of(name, &content, objects)
            }
            _ => self.program(5_000),
        }
    }

    /// A start of so many moves.
    pub fn program(&self, moves: usize) -> StartJob {
        let text = lines(moves).join("\n") + "\n";
        self.start_of("story.gcode", text.as_bytes(), Vec::new())
    }

    /// A start of a file.
    pub fn start_of(&self, name: &str, content: &[u8], objects: Vec<PrintObject>) -> StartJob {
        // A program never changes while a job may be reading it.
        let path = self.ground.dir.path().join(format!("{}-{name}", Uuid::new_v4()));
        std::fs::write(&path, content).unwrap();
        let sha256 = Sha256::digest(content);
        let program = Program {
            path,
            name: name.to_owned(),
            size: content.len() as u64,
            sha256: sha256.iter().map(|b| format!("{b:02x}")).collect(),
            layers: Some(1),
            estimate_s: Some(60),
            max_z_mm: Some(0.2),
            objects,
        };
        StartJob {
            uid: Uuid::new_v4(),
            program: Arc::new(program),
            skip: Vec::new(),
            materials: Vec::new(),
            plate: None,
        }
    }

    /// A print that has begun.
    pub async fn printing(&self) -> StartJob {
        let job = self.job();
        let outcome = self.ask(Command::Start(job.clone())).await;
        assert_eq!(outcome, Outcome::Verified, "the start was seen");
        self.word(StateWord::Printing).await;
        job
    }

    pub async fn warm(&self) {
        self.until("warm", |s| s.state.heaters.values().any(|h| h.actual_c > 150.0))
            .await;
    }

    pub fn edges(&self) -> Vec<String> {
        self.seen.borrow().edges.clone()
    }

    /// Refused by the guard; and where that was passed a moment too early the driver does nothing either.
    pub async fn refused(&self, command: Command) {
        let name = command.name();
        let before = self.seen.borrow().clone();
        let outcome = self.ask(command.clone()).await;
        assert_eq!(outcome.word(), "refused", "{name}: {outcome:?}");
        assert!(!outcome.message().is_empty(), "{name} is refused with a reason");
        // G-code is judged by the guard alone: the driver sends what it is given.
        if !matches!(command, Command::SendGcode { .. }) {
            let late = self.ask_driver(command.clone()).await;
            assert!(!late.is_ok() || !matches!(command, Command::Start(_)), "{late:?}");
        }
        let after = self.seen.borrow().clone();
        assert_eq!(after.edges, before.edges, "{name} moved nothing");
        assert_eq!(after.state.word(), before.state.word(), "{name} moved nothing");
    }

    /// Nothing is left of a print: not in hand, not hot, not under way.
    pub async fn over(&self, why: &str) {
        self.word(StateWord::Operational).await;
        self.still(why);
    }

    /// The same by the printer's own account alone.
    pub fn still(&self, why: &str) {
        assert_eq!(self.stand.targets_c(), (0.0, 0.0), "nothing stays hot {why}");
        assert!(!self.stand.is_printing(), "the printer prints {why}");
    }

    pub async fn end(self) {
        self.stop.order(StopMode::Leave);
        tokio::time::timeout(PATIENCE, self.sessions)
            .await
            .expect("a session ends when told")
            .unwrap();
    }
}

/// The end of a command. One that a session took and did not live to answer is not known, as the agent has it.
pub async fn answer(name: &str, answer: oneshot::Receiver<Outcome>) -> Outcome {
    tokio::time::timeout(PATIENCE, answer)
        .await
        .unwrap_or_else(|_| panic!("no answer to {name}"))
        .unwrap_or(Outcome::Unverified {
            waited: Duration::ZERO,
            missing: Missing::Ack,
        })
}
