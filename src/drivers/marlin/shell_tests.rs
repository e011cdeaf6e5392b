use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::super::config::Config;
use super::super::port::PortSpec;
use super::super::settings::Settings;
use super::super::sim::pty::{PtyOptions, SimPty};
use super::super::sim::{Injection, Options};
use super::*;
use crate::drivers::Build as _;
use crate::host::fdstore::FdStore;
use crate::printer::command::{CancelReason, Program, RequestId, StartJob};
use crate::printer::event::JobEvent;
use crate::printer::wire::WireRing;

/// A driver that runs, and the other ends of its channels.
struct Rig {
    requests: mpsc::Sender<Request>,
    urgent: mpsc::Sender<Request>,
    events: mpsc::Receiver<Event>,
    seen: Vec<Event>,
    stop: Stop,
    dir: tempfile::TempDir,
    wire: Arc<WireRing>,
}

const PATIENCE: Duration = Duration::from_secs(60);

impl Rig {
    fn start(port: PathBuf) -> (Self, tokio::task::JoinHandle<Result<(), Fault>>) {
        let dir = tempfile::tempdir().expect("a directory");
        Self::start_in(dir, port, FdStore::default(), None)
    }

    fn start_in(
        dir: tempfile::TempDir,
        port: PathBuf,
        fd_store: FdStore,
        adopt: Option<Adopt>,
    ) -> (Self, tokio::task::JoinHandle<Result<(), Fault>>) {
        let (requests, requests_rx) = mpsc::channel(16);
        let (urgent, urgent_rx) = mpsc::channel(4);
        let (events_tx, events) = mpsc::channel(256);
        let stop = Stop::new();
        let wire = Arc::new(WireRing::new(64 * 1024));
        let context = Context {
            printer: "test".into(),
            runtime_dir: dir.path().to_owned(),
            state_dir: dir.path().to_owned(),
            fd_store: Arc::new(fd_store),
            wire: wire.clone(),
            adopt,
            pause_on_restart: false,
        };
        let config = Config {
            port: PortSpec::Path(port),
            baud: None,
            settings: Settings {
                bed_mm: Some([220.0, 220.0, 250.0]),
                ..Settings::default()
            },
        };
        let mut driver = config.build(context);
        let ordered = stop.clone();
        #[allow(clippy::disallowed_methods, reason = "the handle is kept in the rig")]
        let handle = tokio::task::spawn(async move {
            let mut link = Link {
                requests: requests_rx,
                urgent: urgent_rx,
                events: events_tx,
            };
            // A run that was dropped may still hold the port for a moment; the agent tries again too.
            loop {
                match driver.run(&mut link, &ordered).await {
                    Err(fault) if fault.code == "serial/busy" => tokio::task::yield_now().await,
                    ended => return ended,
                }
            }
        });
        let rig = Rig {
            requests,
            urgent,
            events,
            seen: Vec::new(),
            stop,
            dir,
            wire,
        };
        (rig, handle)
    }

    async fn until(&mut self, wanted: impl Fn(&Event) -> bool) {
        if self.seen.iter().any(&wanted) {
            return;
        }
        let found = tokio::time::timeout(PATIENCE, async {
            while let Some(event) = self.events.recv().await {
                let hit = wanted(&event);
                self.seen.push(event);
                if hit {
                    return true;
                }
            }
            false
        })
        .await;
        assert_eq!(
            found,
            Ok(true),
            "{:?}\n{}",
            self.seen,
            self.wire.dump().join("\n")
        );
    }

    async fn ask(&mut self, command: Command) -> Outcome {
        let (reply, answer) = oneshot::channel();
        let request = Request {
            id: RequestId(fastrand::u64(1..)),
            deadline: std::time::Instant::now() + PATIENCE,
            reply,
            command: command.clone(),
        };
        let lane = if command == Command::EmergencyStop {
            &self.urgent
        } else {
            &self.requests
        };
        lane.send(request).await.expect("a driver");
        let drain = async {
            loop {
                match self.events.recv().await {
                    Some(event) => self.seen.push(event),
                    None => std::future::pending::<()>().await,
                }
            }
        };
        tokio::select! {
            answer = tokio::time::timeout(PATIENCE, answer) => answer.expect("in time").expect("an answer"),
            () = drain => unreachable!("never ends"),
        }
    }

    fn program(&self, text: &str) -> Command {
        let path = self.dir.path().join("program.gcode");
        std::fs::write(&path, text).expect("written");
        Command::Start(StartJob {
            uid: Uuid::new_v4(),
            program: Arc::new(Program {
                path,
                name: "program.gcode".to_owned(),
                size: text.len() as u64,
                sha256: String::new(),
                layers: None,
                estimate_s: None,
                max_z_mm: None,
                objects: Vec::new(),
            }),
            skip: Vec::new(),
            materials: Vec::new(),
            plate: None,
        })
    }
}

fn printer() -> SimPty {
    let sim = Options {
        speed: 200.0,
        ..Options::default()
    };
    SimPty::spawn(PtyOptions {
        sim,
        ..PtyOptions::default()
    })
    .expect("a pty")
}

fn moves(count: usize) -> String {
    let lines: Vec<String> = (0..count)
        .map(|i| format!("G1 X{} Y{} F60000", i % 100, i / 100))
        .collect();
    format!("G28\nG90\n{}\n", lines.join("\n"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_print_over_a_real_terminal() {
    let printer = printer();
    let (mut rig, handle) = Rig::start(printer.path());
    rig.until(|e| *e == Event::Up).await;
    let text = moves(1000);
    let start = rig.program(&text);
    assert_eq!(rig.ask(start).await, Outcome::Verified);
    rig.until(|e| matches!(e, Event::Job(JobEvent::Done { .. })))
        .await;
    let executed: Vec<String> = printer.with(|sim| sim.executed().iter().map(|e| e.text.clone()).collect());
    let printed: Vec<&str> = executed
        .iter()
        .map(String::as_str)
        .filter(|t| t.starts_with('G'))
        .collect();
    assert_eq!(printed, text.lines().collect::<Vec<_>>());
    rig.stop.order(StopMode::Leave);
    assert_eq!(handle.await.expect("no panic"), Ok(()));
}

/// How often this process has the port open.
fn opened(port: &std::path::Path) -> usize {
    let port = std::fs::canonicalize(port).expect("a port");
    let open = std::fs::read_dir("/proc/self/fd").expect("Linux").flatten();
    open.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|at| at == port))
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_takes_no_more_gets_the_rest_when_it_has_room() {
    use rustix::fs::{Mode, OFlags};
    use rustix::termios::{Action, tcflow};
    let printer = printer();
    let side =
        rustix::fs::open(printer.path(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("a port");
    let (mut rig, handle) = Rig::start(printer.path());
    rig.until(|e| *e == Event::Up).await;
    let before = opened(&printer.path());
    tcflow(&side, Action::OOff).expect("stopped");
    let start = rig.program(&moves(200));
    let lets_go_when_it_waits = async {
        // It watches for room by opening the port once more.
        while opened(&printer.path()) == before {
            tokio::task::yield_now().await;
        }
        let so_far = printer.with(|sim| sim.executed().len());
        tcflow(&side, Action::OOn).expect("going");
        so_far
    };
    let (outcome, so_far) = tokio::join!(rig.ask(start), lets_go_when_it_waits);
    assert_eq!(outcome, Outcome::Verified);
    rig.until(|e| matches!(e, Event::Job(JobEvent::Done { .. })))
        .await;
    assert!(printer.with(|sim| sim.executed().len()) >= so_far + 200);
    assert_eq!(opened(&printer.path()), before);
    rig.stop.order(StopMode::Leave);
    assert_eq!(handle.await.expect("no panic"), Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pulled_cable_fails_the_job_in_words() {
    let printer = printer();
    let (mut rig, handle) = Rig::start(printer.path());
    rig.until(|e| *e == Event::Up).await;
    let start = rig.program(&moves(100_000));
    assert_eq!(rig.ask(start).await, Outcome::Verified);
    printer.unplug();
    rig.until(
        |e| matches!(e, Event::Job(JobEvent::Failed { fault, .. }) if fault.code == "marlin/link-lost"),
    )
    .await;
    assert!(handle.await.expect("no panic").is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn emergency_stop_and_cancel_over_a_real_terminal() {
    let printer = printer();
    let (mut rig, handle) = Rig::start(printer.path());
    rig.until(|e| *e == Event::Up).await;
    let start = rig.program(&moves(100_000));
    assert_eq!(rig.ask(start).await, Outcome::Verified);
    let cancel = rig.ask(Command::Cancel(CancelReason::default())).await;
    assert_eq!(cancel, Outcome::Verified);
    let start = rig.program(&moves(100_000));
    assert_eq!(rig.ask(start).await, Outcome::Verified);
    assert_eq!(rig.ask(Command::EmergencyStop).await, Outcome::Verified);
    assert!(printer.with(|sim| sim.is_killed()));
    assert!(handle.await.expect("no panic").is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_parks_the_print_and_switches_heaters_off() {
    let printer = printer();
    let (mut rig, handle) = Rig::start(printer.path());
    rig.until(|e| *e == Event::Up).await;
    let start = rig.program(&format!("M104 S200\nM140 S60\nM109 S200\n{}", moves(100_000)));
    assert_eq!(rig.ask(start).await, Outcome::Verified);
    assert!(printer.wait_until(PATIENCE, |sim| sim.executed_count() > 200));
    rig.stop.order(StopMode::Park);
    rig.until(|e| matches!(e, Event::Job(JobEvent::Interrupted { .. })))
        .await;
    assert_eq!(handle.await.expect("no panic"), Ok(()));
    assert!(!printer.with(|sim| sim.is_heating()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_is_noticed_and_the_printer_comes_back() {
    let printer = printer();
    let (mut rig, handle) = Rig::start(printer.path());
    rig.until(|e| *e == Event::Up).await;
    let start = rig.program(&moves(100_000));
    assert_eq!(rig.ask(start).await, Outcome::Verified);
    printer.inject(Injection::Reset);
    rig.until(|e| matches!(e, Event::Job(JobEvent::Failed { fault, .. }) if fault.code == "marlin/reset"))
        .await;
    rig.seen.clear();
    rig.until(|e| *e == Event::Activity(crate::printer::model::Activity::Idle))
        .await;
    rig.stop.order(StopMode::Leave);
    assert_eq!(handle.await.expect("no panic"), Ok(()));
}

fn store(fd: &std::os::fd::OwnedFd) -> FdStore {
    let copy = fd.try_clone().expect("a copy");
    let inherited = crate::sys::Inherited {
        fds: vec![("test".to_owned(), copy)],
    };
    FdStore::new(inherited, None)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_print_goes_on_over_restarts_without_a_line_lost_or_doubled() {
    let printer = printer();
    let line = port::open_fd(&printer.path(), 115_200, &Roots::default()).expect("a port");
    let dir = tempfile::tempdir().expect("a directory");
    let (mut rig, handle) = Rig::start_in(dir, printer.path(), store(&line), None);
    rig.until(|e| *e == Event::Up).await;
    let text = moves(6000);
    let start = rig.program(&text);
    let Command::Start(job) = start.clone() else {
        unreachable!()
    };
    assert_eq!(rig.ask(start).await, Outcome::Verified);
    let mut handle = handle;
    for turn in 1..=3u64 {
        assert!(printer.wait_until(PATIENCE, |sim| sim.executed_count() > turn * 600));
        if turn == 2 {
            // Sudden death: the session is dropped where it stands.
            handle.abort();
            assert!(handle.await.is_err());
        } else {
            rig.stop.order(StopMode::Detach);
            assert_eq!(handle.await.expect("no panic"), Ok(()));
        }
        let adopt = Adopt {
            job: job.clone(),
            checkpoint: None,
            paused: false,
        };
        let again = Rig::start_in(rig.dir, printer.path(), store(&line), Some(adopt));
        (rig, handle) = again;
        rig.until(|e| matches!(e, Event::Job(_))).await;
        assert!(
            rig.seen
                .iter()
                .any(|e| matches!(e, Event::Job(JobEvent::Adopted { .. }))),
            "{:?}\n{}",
            rig.seen,
            rig.wire.dump().join("\n")
        );
    }
    rig.until(|e| matches!(e, Event::Job(JobEvent::Done { .. })))
        .await;
    let executed: Vec<String> = printer.with(|sim| sim.executed().iter().map(|e| e.text.clone()).collect());
    let printed: Vec<&str> = executed
        .iter()
        .map(String::as_str)
        .filter(|t| t.starts_with('G'))
        .collect();
    assert_eq!(printed, text.lines().collect::<Vec<_>>());
    rig.stop.order(StopMode::Leave);
    assert_eq!(handle.await.expect("no panic"), Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_open_port_a_print_is_interrupted_and_cold() {
    let printer = printer();
    let (mut rig, handle) = Rig::start(printer.path());
    rig.until(|e| *e == Event::Up).await;
    let start = rig.program(&format!("M140 S60\nM104 S200\n{}", moves(100_000)));
    let Command::Start(job) = start.clone() else {
        unreachable!()
    };
    assert_eq!(rig.ask(start).await, Outcome::Verified);
    assert!(printer.wait_until(PATIENCE, |sim| sim.executed_count() > 100 && sim.is_heating()));
    handle.abort();
    assert!(handle.await.is_err());
    let adopt = Adopt {
        job,
        checkpoint: None,
        paused: false,
    };
    let (mut rig, handle) = Rig::start_in(rig.dir, printer.path(), FdStore::default(), Some(adopt));
    rig.until(|e| *e == Event::Up).await;
    assert!(
        rig.seen
            .iter()
            .any(|e| matches!(e, Event::Job(JobEvent::Interrupted { .. })))
    );
    assert!(printer.wait_until(PATIENCE, |sim| !sim.is_heating()));
    rig.stop.order(StopMode::Leave);
    assert_eq!(handle.await.expect("no panic"), Ok(()));
}

#[test]
fn one_thread_reads_the_programs_of_many_printers_beside_each_other() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("long.gcode");
    std::fs::write(&path, "G1 X10 Y10 E0.1\n".repeat(20_000)).expect("written");
    let opening = || {
        let program = Program {
            path: path.clone(),
            name: "long.gcode".into(),
            size: 0,
            sha256: String::new(),
            layers: None,
            estimate_s: None,
            max_z_mm: None,
            objects: Vec::new(),
        };
        let job = StartJob {
            uid: Uuid::new_v4(),
            program: Arc::new(program),
            skip: Vec::new(),
            materials: Vec::new(),
            plate: None,
        };
        Opening {
            plan: Arc::new(crate::drivers::marlin::skip::plan_of(&job, &[])),
            job,
            from: None,
        }
    };
    runtime.block_on(async {
        let mut readers = FuturesUnordered::new();
        let mut programs = Vec::new();
        for _ in 0..20 {
            let (to, program) = program_channel();
            let opening = opening();
            readers.push(read_program(ReadOrder { opening, to }));
            programs.push(program);
        }
        let begin = async {
            for program in &mut programs {
                let piece = program.recv().await.expect("a reader").expect("read");
                assert!(!piece.batch.last, "each has more to print");
            }
        };
        tokio::select! {
            () = begin => {}
            () = async { while readers.next().await.is_some() {} } => panic!("a reader ended"),
            () = tokio::time::sleep(PATIENCE) => panic!("not every print began"),
        }
    });
}
