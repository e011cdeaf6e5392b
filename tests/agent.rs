//! The agent around its drivers: starts, losses, stops, and drivers that misbehave.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may be blunt"
)]

use std::any::Any;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use layerd::agent::actor::{Means, Settings};
use layerd::agent::handle::{AgentHandle, Hold, PrintOrder, PrinterHandle};
use layerd::agent::plan::PrinterPlan;
use layerd::agent::run::Agent;
use layerd::config::model::Release;
use layerd::config::template::{Moment, Snippets, parse};
use layerd::drivers::{BoxFuture, Build, Context, Driver, Link, Reach, Stop, StopMode};
use layerd::gcode::analysis::Analysis;
use layerd::gcode::analyze::Options;
use layerd::host::fdstore::FdStore;
use layerd::host::systemd::Systemd;
use layerd::job::analysis_pool::AnalysisPool;
use layerd::job::preflight::Limits;
use layerd::job::record::JobState;
use layerd::job::spool::{Caps, Spool};
use layerd::job::store::{JobFilter, Store};
use layerd::printer::command::{Command, Request};
use layerd::printer::event::{Event, JobEvent};
use layerd::printer::fault::{Fault, Severity};
use layerd::printer::model::{Activity, BedStage, Heater, PauseReason, State, StateWord};
use layerd::printer::outcome::Outcome;

/// A printer that does what it is told, and remembers it; and can be made to misbehave.
#[derive(Debug, Default)]
struct Puppet {
    seen: Mutex<Vec<String>>,
    sessions: AtomicUsize,
    /// Takes no requests any more, as a driver that hangs.
    wedged: AtomicBool,
    /// Loses its link at the next request, and finds it no more.
    unplugged: AtomicBool,
    stopped: Mutex<Option<StopMode>>,
    /// What it is to report next.
    says: Mutex<Option<tokio::sync::mpsc::Sender<Event>>>,
}

#[derive(Clone, Debug)]
struct PuppetBuild(Arc<Puppet>);

impl Build for PuppetBuild {
    fn build(&self, _: Context) -> Box<dyn Driver> {
        Box::new(PuppetDriver(self.0.clone()))
    }

    fn same_as(&self, other: &dyn Build) -> bool {
        other
            .as_any()
            .downcast_ref::<PuppetBuild>()
            .is_some_and(|o| Arc::ptr_eq(&o.0, &self.0))
    }

    fn link_is_printer(&self) -> bool {
        true
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn reachable<'a>(&'a self) -> BoxFuture<'a, Reach> {
        Box::pin(async { Reach::Yes("a puppet".to_owned()) })
    }
}

struct PuppetDriver(Arc<Puppet>);

fn unplugged() -> Fault {
    Fault::new(Severity::Retry, "test/unplugged", "The cable was pulled.", "", "")
}

impl Driver for PuppetDriver {
    fn run<'a>(&'a mut self, link: &'a mut Link, stop: &'a Stop) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let puppet = &self.0;
            puppet.sessions.fetch_add(1, Ordering::SeqCst);
            let _ = link.events.send(Event::Opening).await;
            if puppet.unplugged.load(Ordering::SeqCst) {
                return Err(unplugged());
            }
            let _ = link.events.send(Event::Up).await;
            let _ = link.events.send(Event::Activity(Activity::Idle)).await;
            let mut uid = None;
            let (says, mut said) = tokio::sync::mpsc::channel(16);
            *puppet.says.lock().unwrap() = Some(says);
            loop {
                if puppet.wedged.swap(false, Ordering::SeqCst) {
                    std::future::pending::<()>().await;
                }
                let request = tokio::select! {
                    Some(event) = said.recv() => {
                        let _ = link.events.send(event).await;
                        continue;
                    }
                    mode = stop.ordered() => {
                        *puppet.stopped.lock().unwrap() = Some(mode);
                        if let (StopMode::Park, Some(uid)) = (mode, uid) {
                            let _ = link.events.send(Event::Job(JobEvent::Interrupted { uid })).await;
                        }
                        return Ok(());
                    }
                    request = link.urgent.recv() => request,
                    request = link.requests.recv() => request,
                };
                let Some(Request { command, reply, .. }) = request else {
                    return Ok(());
                };
                if command != Command::Ping {
                    let text = match &command {
                        Command::SendGcode { lines, .. } => lines.join("|"),
                        other => other.name().to_owned(),
                    };
                    puppet.seen.lock().unwrap().push(text);
                }
                if puppet.unplugged.load(Ordering::SeqCst) {
                    return Err(unplugged());
                }
                let events: Vec<Event> = match &command {
                    Command::Start(start) => {
                        uid = Some(start.uid);
                        vec![
                            Event::Activity(Activity::Printing),
                            Event::Job(JobEvent::Started { uid: start.uid }),
                        ]
                    }
                    Command::Pause => vec![
                        Event::Activity(Activity::Paused(PauseReason::Requested)),
                        Event::Job(JobEvent::Paused {
                            uid: uid.unwrap(),
                            why: PauseReason::Requested,
                        }),
                    ],
                    Command::Resume => vec![Event::Activity(Activity::Printing)],
                    Command::Cancel(_) => vec![
                        Event::Job(JobEvent::Cancelled {
                            uid: uid.take().unwrap(),
                            filament_mm: None,
                        }),
                        Event::Activity(Activity::Idle),
                    ],
                    _ => Vec::new(),
                };
                for event in events {
                    let _ = link.events.send(event).await;
                }
                let _ = reply.send(Outcome::Verified);
            }
        })
    }
}

/// An agent with some puppets, in a directory of its own.
struct Rig {
    puppets: Vec<Arc<Puppet>>,
    handle: AgentHandle,
    store: Store,
    spool: Spool,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
    _dir: tempfile::TempDir,
}

fn slow_analysis(path: &Path, _: &Options) -> std::io::Result<Analysis> {
    // A file that begins with it keeps the pool busy until it changes or a file beside it says that it may go on.
    while std::fs::read(path)?.starts_with(b"; slow") && !path.with_extension("on").exists() {
        std::thread::yield_now();
    }
    Ok(Analysis {
        commands: 1,
        ..Analysis::default()
    })
}

async fn rig(count: usize) -> Rig {
    rig_with(count, None).await
}

async fn rig_with(count: usize, release: Option<Release>) -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::memory().unwrap();
    let spool = Spool::open(
        dir.path().join("spool"),
        store.clone(),
        Caps {
            free_bytes: 0,
            ..Caps::default()
        },
    )
    .unwrap();
    let means = Means {
        store: store.clone(),
        spool: spool.clone(),
        pool: AnalysisPool::start(spool.clone(), slow_analysis).unwrap(),
        fd_store: Arc::new(FdStore::default()),
        runtime_dir: dir.path().to_owned(),
        state_dir: dir.path().to_owned(),
    };
    let puppets: Vec<Arc<Puppet>> = (0..count).map(|_| Arc::default()).collect();
    let plans = puppets
        .iter()
        .enumerate()
        .map(|(n, puppet)| PrinterPlan {
            name: format!("p{n}"),
            kind: "puppet",
            build: Arc::new(PuppetBuild(puppet.clone())),
            peripherals: layerd::agent::plan::Peripherals::default(),
            settings: Settings {
                preflight: Limits::default(),
                require_clear_bed: true,
                checkpoint: Duration::from_secs(60),
                pause_on_restart: false,
                release: release.clone(),
            },
            on_stop: StopMode::Park,
        })
        .collect();
    let agent = Agent::start(plans, means, Systemd::default()).await.unwrap();
    let handle = agent.handle();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let reread = Box::new(|| Err("nothing to read".to_owned()));
    #[allow(clippy::disallowed_methods, reason = "the handle is kept in the rig")]
    let task = tokio::spawn(async move {
        agent
            .run(reread, async {
                let _ = stopped.await;
            })
            .await
            .unwrap();
    });
    let rig = Rig {
        puppets,
        handle,
        store,
        spool,
        stop: Some(stop),
        task,
        _dir: dir,
    };
    for n in 0..count {
        rig.until(n, |s| s.word() == StateWord::Operational).await;
    }
    rig
}

/// With a clock that does not jump: a file is checked by another thread, which takes its time.
async fn in_real_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::resume();
    let done = work.await;
    tokio::time::pause();
    done
}

impl Rig {
    fn printer(&self, n: usize) -> PrinterHandle {
        self.handle.by_name(&format!("p{n}")).unwrap()
    }

    /// Waits until a printer is so. A clock that is made to run is no measure: real time counts.
    async fn until(&self, n: usize, what: impl Fn(&State) -> bool) {
        let began = std::time::Instant::now();
        let mut watch = self.printer(n).watch();
        loop {
            let seen = watch.wait_for(|s| what(&s.state));
            if tokio::time::timeout(Duration::from_secs(300), seen).await.is_ok() {
                return;
            }
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "p{n} is {:?}",
                self.printer(n).snapshot().state
            );
        }
    }

    async fn order(&self, content: &'static [u8]) -> PrintOrder {
        let mut incoming = self.spool.incoming("a.gcode", None).await.unwrap();
        incoming.write(content.into()).await.unwrap();
        let row = incoming.finish().await.unwrap();
        PrintOrder {
            sha256: row.sha256,
            name: row.name,
            skip: Vec::new(),
            materials: Vec::new(),
            plate: None,
            start_id: None,
        }
    }

    async fn last_job(&self) -> (JobState, Option<String>) {
        let (jobs, _) = self.store.jobs(JobFilter::default()).await.unwrap();
        jobs.first()
            .map(|j| (j.state, j.fault.as_ref().map(|f| f.code.to_string())))
            .unwrap()
    }

    /// The printer reports this.
    async fn says(&self, n: usize, event: Event) {
        let says = self.puppets[n].says.lock().unwrap().clone().unwrap();
        says.send(event).await.unwrap();
    }

    async fn prints_to_the_end(&self) {
        let accepted = in_real_time(async {
            let order = self.order(b"G28\n").await;
            let (accepted, pending) = self.printer(0).print(order).await.unwrap();
            assert_eq!(pending.outcome().await, Outcome::Verified);
            accepted
        })
        .await;
        let done = JobEvent::Done {
            uid: accepted.uid,
            filament_mm: Some(vec![12.0]),
        };
        self.says(0, Event::Job(done)).await;
        self.says(0, Event::Activity(Activity::Idle)).await;
    }

    fn seen(&self, n: usize) -> Vec<String> {
        self.puppets[n].seen.lock().unwrap().clone()
    }

    async fn end(mut self) {
        let _ = self.stop.take().unwrap().send(());
        self.task.await.unwrap();
    }
}

#[tokio::test]
async fn a_print_is_recorded_seen_and_ends_as_it_was_ended() {
    let rig = rig(1).await;
    let order = rig.order(b"G28\n").await;
    let (accepted, pending) = rig.printer(0).print(order.clone()).await.unwrap();
    assert_eq!(pending.outcome().await, Outcome::Verified);
    rig.until(0, |s| s.word() == StateWord::Printing).await;
    assert_eq!(rig.last_job().await.0, JobState::Running);
    assert_eq!(rig.printer(0).snapshot().job_id, Some(accepted.job_id));
    let refusal = rig.printer(0).print(order.clone()).await.unwrap_err();
    assert_eq!(refusal.code, "refused/wrong-state");
    assert_eq!(
        rig.printer(0).command(Command::Cancel(Default::default())).await,
        Outcome::Verified
    );
    rig.until(0, |s| s.word() == StateWord::Operational && s.bed_dirty)
        .await;
    assert_eq!(rig.last_job().await.0, JobState::Cancelled);
    // The bed is not clear yet.
    assert_eq!(
        rig.printer(0).print(order.clone()).await.unwrap_err().code,
        "refused/bed-not-cleared"
    );
    assert_eq!(rig.printer(0).clear_bed(Some(3)).await, Outcome::Verified);
    rig.printer(0).print(order).await.unwrap();
    rig.end().await;
}

/// The answer and the events go different ways, on several threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_verified_is_in_the_next_snapshot() {
    let rig = rig(1).await;
    let (_, pending) = rig.printer(0).print(rig.order(b"G28\n").await).await.unwrap();
    assert_eq!(pending.outcome().await, Outcome::Verified);
    assert_eq!(rig.printer(0).snapshot().state.word(), StateWord::Printing);
    for turn in 0..500 {
        assert_eq!(rig.printer(0).command(Command::Pause).await, Outcome::Verified);
        assert_eq!(
            rig.printer(0).snapshot().state.word(),
            StateWord::Paused,
            "turn {turn}"
        );
        assert_eq!(rig.printer(0).command(Command::Resume).await, Outcome::Verified);
        assert_eq!(
            rig.printer(0).snapshot().state.word(),
            StateWord::Printing,
            "turn {turn}"
        );
    }
    rig.end().await;
}

#[tokio::test]
async fn the_same_start_twice_starts_one_print() {
    let rig = rig(2).await;
    let order = PrintOrder {
        materials: Vec::new(),
        plate: None,
        start_id: Some("demand-7".to_owned()),
        ..rig.order(b"G28\n").await
    };
    // At once, and later: the answer is that of the first, of which there is one.
    let printer = rig.printer(0);
    let (first, at_once) = tokio::join!(printer.print(order.clone()), printer.print(order.clone()));
    let ((first, seen), (at_once, seen_too)) = (first.unwrap(), at_once.unwrap());
    assert_eq!(first, at_once);
    assert_eq!(seen.outcome().await, Outcome::Verified);
    assert_eq!(seen_too.outcome().await, Outcome::Verified);
    let (later, seen) = printer.print(order.clone()).await.unwrap();
    assert_eq!((later, seen.outcome().await), (first, Outcome::Verified));
    let starts = rig.seen(0).iter().filter(|c| *c == "start").count();
    assert_eq!(starts, 1, "{:?}", rig.seen(0));
    let again = rig.printer(1).print(order).await.unwrap_err();
    assert_eq!(again.code, "refused/repeated-start");
    assert_eq!(rig.seen(1), Vec::<String>::new());
    assert_eq!(rig.printer(1).snapshot().state.word(), StateWord::Operational);
    rig.end().await;
}

#[tokio::test]
async fn a_plate_that_is_not_there_is_refused() {
    let rig = rig(1).await;
    let mut order = rig.order(b"G28\n").await;
    order.plate = Some(2);
    let refusal = rig.printer(0).print(order).await;
    let refusal = refusal.expect_err("a file without plates");
    assert_eq!(refusal.code, "refused/no-such-plate");
    assert!(
        refusal.message.contains("no plates to choose from"),
        "{}",
        refusal.message
    );
    assert!(rig.seen(0).is_empty(), "{:?}", rig.seen(0));
    rig.end().await;
}

#[tokio::test]
async fn a_cancel_before_the_start_sends_nothing_to_the_printer() {
    let rig = rig(1).await;
    let order = rig.order(b"; slow\nM109 S210\n").await;
    let path = rig.spool.path_of(&order.sha256);
    let printer = rig.printer(0);
    let (print, cancel) = tokio::join!(printer.print(order), async {
        rig.until(0, |s| s.word() == StateWord::Downloading).await;
        printer.command(Command::Cancel(Default::default())).await
    });
    assert_eq!(print.unwrap_err().code, "refused/cancelled");
    assert_eq!(cancel, Outcome::Verified);
    std::fs::write(path, b"").unwrap();
    rig.until(0, |s| s.word() == StateWord::Operational).await;
    assert_eq!(rig.seen(0), Vec::<String>::new());
    rig.end().await;
}

#[tokio::test]
async fn a_printer_that_is_lost_while_a_start_is_checked_leaves_no_start_behind() {
    let rig = rig(1).await;
    let order = rig.order(b"; slow\nM109 S210\n").await;
    let path = rig.spool.path_of(&order.sha256);
    let printer = rig.printer(0);
    let (print, ()) = tokio::join!(printer.print(order), async {
        rig.until(0, |s| s.word() == StateWord::Downloading).await;
        let says = rig.puppets[0].says.lock().unwrap().clone().unwrap();
        says.send(Event::Down {
            why: Some(unplugged()),
        })
        .await
        .unwrap();
        rig.until(0, |s| !s.is_up()).await;
        std::fs::write(path.with_extension("on"), b"").unwrap();
    });
    assert_eq!(print.unwrap_err().code, "refused/offline");
    assert_eq!(rig.seen(0), Vec::<String>::new());
    // It was on the disk as a start before the printer was asked for again.
    let (state, code) = rig.last_job().await;
    assert_eq!(
        (state, code.as_deref()),
        (JobState::Failed, Some("refused/offline"))
    );
    rig.end().await;
}

#[tokio::test]
async fn a_start_that_was_cancelled_while_it_was_checked_does_not_begin_when_it_is_asked_for_again() {
    let rig = rig(1).await;
    let mut order = rig.order(b"; slow\nM109 S210\n").await;
    order.start_id = Some("s53".to_owned());
    let path = rig.spool.path_of(&order.sha256);
    let printer = rig.printer(0);
    let (print, _) = tokio::join!(printer.print(order.clone()), async {
        rig.until(0, |s| s.word() == StateWord::Downloading).await;
        printer.command(Command::Cancel(Default::default())).await
    });
    rig.until(0, |s| s.word() == StateWord::Operational).await;
    let again = printer.print(order).await;
    std::fs::write(path, b"").unwrap();
    for answer in [print, again] {
        let end = match answer {
            Ok((_, pending)) => pending.outcome().await.code().to_string(),
            Err(refusal) => refusal.code.to_string(),
        };
        assert_eq!(end, "refused/cancelled");
    }
    assert_eq!(rig.last_job().await.0, JobState::Cancelled);
    assert_eq!(rig.seen(0), Vec::<String>::new());
    rig.end().await;
}

#[tokio::test]
async fn an_ordinary_stop_parks_and_leaves_the_job_interrupted() {
    let rig = rig(1).await;
    let order = rig.order(b"G28\n").await;
    rig.printer(0).print(order).await.unwrap().1.outcome().await;
    let (puppet, store) = (rig.puppets[0].clone(), rig.store.clone());
    rig.end().await;
    assert_eq!(*puppet.stopped.lock().unwrap(), Some(StopMode::Park));
    let (jobs, _) = store.jobs(JobFilter::default()).await.unwrap();
    assert_eq!(jobs[0].state, JobState::Interrupted);
    let fault = jobs[0].fault.as_ref().expect("why is kept");
    assert_eq!(fault.code, "job/interrupted");
}

#[tokio::test(start_paused = true)]
async fn one_wedged_driver_is_replaced_alone() {
    let rig = rig(8).await;
    rig.puppets[3].wedged.store(true, Ordering::SeqCst);
    // The command that finds it hanging gets its answer, by deadline.
    let third = rig.printer(3);
    let stuck = third.command(Command::SendGcode {
        lines: vec!["M105".into()],
        tune: false,
    });
    let others = async {
        for n in [0, 1, 2, 4, 5, 6, 7] {
            assert_eq!(
                rig.printer(n)
                    .command(Command::SendGcode {
                        lines: vec!["M105".into()],
                        tune: false
                    })
                    .await,
                Outcome::Verified
            );
        }
    };
    let (stuck, ()) = tokio::join!(stuck, others);
    // The first request is still served; the driver hangs on the way to the next.
    assert_eq!(stuck, Outcome::Verified);
    rig.until(3, |s| {
        s.notices
            .iter()
            .any(|n| n.code.as_deref() == Some("layerd/driver-wedged"))
    })
    .await;
    rig.until(3, |s| s.word() == StateWord::Operational && s.is_up())
        .await;
    for (n, puppet) in rig.puppets.iter().enumerate() {
        assert_eq!(
            puppet.sessions.load(Ordering::SeqCst),
            if n == 3 { 2 } else { 1 },
            "p{n}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_printer_fails_its_job_before_it_counts_as_offline() {
    let rig = rig(1).await;
    rig.puppets[0].unplugged.store(true, Ordering::SeqCst);
    let _ = rig
        .printer(0)
        .command(Command::SendGcode {
            lines: vec!["M105".into()],
            tune: false,
        })
        .await;
    rig.until(0, |s| !s.is_up()).await;
    // Nobody can print on it now; a cable that wiggles is not yet a lost printer for the upstreams.
    let state = rig.printer(0).snapshot().state.clone();
    assert_eq!((state.word(), state.offline), (StateWord::Offline, false));
    rig.until(0, |s| s.offline).await;
    let refused = rig.printer(0).command(Command::Pause).await;
    assert_eq!(refused.code(), "refused/offline");
    rig.puppets[0].unplugged.store(false, Ordering::SeqCst);
    rig.until(0, |s| s.word() == StateWord::Operational).await;
}

#[tokio::test]
async fn a_held_start_touches_nothing_until_the_word_and_reports_its_heat_once() {
    let rig = rig(1).await;
    let printer = rig.printer(0);
    let order = rig.order(b"G28\n").await;
    let held = printer.print_held(order.clone(), Hold::default()).await.unwrap();
    rig.until(0, |s| s.job.as_ref().is_some_and(|j| j.held)).await;
    assert_eq!(printer.snapshot().state.word(), StateWord::Downloading);
    assert_eq!(rig.last_job().await.0, JobState::Armed);
    assert_eq!(rig.seen(0), Vec::<String>::new());
    let second = printer.print(order).await.unwrap_err();
    assert_eq!(second.code, "refused/wrong-state");
    let (begun, pending) = printer.release().await.unwrap();
    assert_eq!(begun, held);
    assert_eq!(pending.outcome().await, Outcome::Verified);
    assert_eq!(rig.seen(0), ["start"]);
    assert_eq!(printer.release().await.unwrap_err().code, "refused/nothing-held");
    // Bed first, then the nozzle: warm when both are, told once.
    for (heater, actual_c, target_c) in [
        (Heater::Bed, 60.0, 60.0),
        (Heater::Tool(0), 100.0, 210.0),
        (Heater::Tool(0), 209.0, 210.0),
        (Heater::Tool(0), 150.0, 210.0),
        (Heater::Tool(0), 210.0, 210.0),
    ] {
        let target_c = Some(target_c);
        rig.says(
            0,
            Event::Heat {
                heater,
                actual_c,
                target_c,
            },
        )
        .await;
    }
    rig.says(0, Event::Message("all said".to_owned())).await;
    rig.until(0, |s| s.message.is_some()).await;
    assert!(printer.snapshot().state.job.as_ref().unwrap().heated.is_some());
    let (jobs, _) = rig.store.jobs(JobFilter::default()).await.unwrap();
    let heated = jobs[0].timeline.iter().filter(|e| e.what == "heated").count();
    assert_eq!(heated, 1, "{:?}", jobs[0].timeline);
    rig.end().await;
}

#[tokio::test]
async fn a_held_start_that_is_cancelled_leaves_no_heat_and_no_file() {
    let rig = rig(1).await;
    let printer = rig.printer(0);
    let order = rig.order(b"M109 S210\n").await;
    let file = rig.spool.files().await.into_iter().next().unwrap();
    let hold = Hold {
        discard: Some(file.id.clone()),
    };
    printer.print_held(order, hold).await.unwrap();
    rig.until(0, |s| s.job.as_ref().is_some_and(|j| j.held)).await;
    assert_eq!(
        printer.command(Command::Cancel(Default::default())).await,
        Outcome::Verified
    );
    rig.until(0, |s| s.word() == StateWord::Operational && s.job.is_none())
        .await;
    assert_eq!(rig.last_job().await.0, JobState::Cancelled);
    assert_eq!(rig.seen(0), Vec::<String>::new());
    let gone = async {
        while rig.spool.path_of(&file.sha256).exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone)
        .await
        .expect("the file is deleted");
    assert!(!printer.snapshot().state.bed_dirty, "nothing was printed");
    rig.end().await;
}

#[tokio::test]
async fn a_held_start_does_not_outlive_the_service_and_nobody_cancelled_it() {
    let rig = rig(1).await;
    let order = rig.order(b"G28\n").await;
    rig.printer(0).print_held(order, Hold::default()).await.unwrap();
    let (puppet, store) = (rig.puppets[0].clone(), rig.store.clone());
    rig.end().await;
    assert_eq!(*puppet.seen.lock().unwrap(), Vec::<String>::new());
    let (jobs, _) = store.jobs(JobFilter::default()).await.unwrap();
    let code = jobs[0].fault.as_ref().map(|f| f.code.to_string());
    assert_eq!(
        (jobs[0].state, code.as_deref()),
        (JobState::Failed, Some("job/start-lost"))
    );
}

fn release() -> Release {
    let text = |text: &str, moment| parse(text, &Snippets::new(), moment).unwrap();
    Release {
        below_c: Some(35.0),
        after: Some(Duration::from_secs(120)),
        done: text("G1 Y200", Moment::Done),
        clear: text("M117 {printer}\nG1 Y0", Moment::Clear),
        max_prints: Some(2),
    }
}

#[tokio::test(start_paused = true)]
async fn a_completed_print_leaves_the_bed_by_itself_and_is_counted_for_good() {
    let rig = rig_with(1, Some(release())).await;
    let printer = rig.printer(0);
    for n in 1..=2 {
        rig.prints_to_the_end().await;
        rig.until(0, |s| s.bed_cycle.is_some_and(|c| c.stage == BedStage::Waiting))
            .await;
        let order = rig.order(b"G28\n").await;
        let early = printer.print(order).await.unwrap_err();
        assert_eq!(early.code, "refused/bed-not-cleared");
        // No reading of a bed at all: the time alone counts.
        rig.until(0, |s| {
            !s.bed_dirty && s.bed_cycle.is_some_and(|c| c.in_a_row == n)
        })
        .await;
    }
    let lines = ["start", "G1 Y200|M400", "M117 p0|G1 Y0|M400"];
    assert_eq!(rig.seen(0), [lines, lines].concat());
    // Two in a row are allowed: the third waits for a person, and says so.
    rig.prints_to_the_end().await;
    rig.until(0, |s| s.notices.iter().any(|n| n.key == "bed")).await;
    assert!(printer.snapshot().state.bed_dirty);
    assert_eq!(printer.clear_bed(None).await, Outcome::Verified);
    rig.until(0, |s| !s.notices.iter().any(|n| n.key == "bed")).await;
    let kept = rig
        .store
        .setting(&format!("release/{}", printer.id()))
        .await
        .unwrap();
    assert_eq!(kept.as_deref(), Some(r#"{"in_a_row":0,"cleared":2}"#));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_print_is_never_pushed_off() {
    let rig = rig_with(1, Some(release())).await;
    let printer = rig.printer(0);
    in_real_time(async {
        let order = rig.order(b"G28\n").await;
        printer.print(order).await.unwrap().1.outcome().await;
    })
    .await;
    printer.command(Command::Cancel(Default::default())).await;
    rig.until(0, |s| s.word() == StateWord::Operational && s.bed_dirty)
        .await;
    tokio::time::sleep(Duration::from_secs(7200)).await;
    assert_eq!(rig.seen(0), ["start", "cancel"]);
    assert!(printer.snapshot().state.bed_dirty);
}
