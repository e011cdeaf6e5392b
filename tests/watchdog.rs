//! systemd's watchdog hears of the agent as a whole: a printer that hangs is no reason to restart the others, a loop
//! that looks after nobody any more is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may be blunt"
)]

use std::any::Any;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use layerd::agent::actor::{Means, Settings};
use layerd::agent::plan::{Peripherals, PrinterPlan};
use layerd::agent::run::{Agent, Reread};
use layerd::drivers::{BoxFuture, Build, Context, Driver, Link, Reach, Stop, StopMode};
use layerd::host::fdstore::FdStore;
use layerd::host::notify::NotifySocket;
use layerd::host::systemd::Systemd;
use layerd::job::analysis_pool::{AnalysisPool, analyze_path};
use layerd::job::preflight::Limits;
use layerd::job::spool::{Caps, Spool};
use layerd::job::store::Store;
use layerd::printer::event::Event;
use layerd::printer::fault::Fault;

const WATCHDOG: Duration = Duration::from_millis(200);
/// Many times as long as the loop takes for a turn.
const SILENCE: Duration = Duration::from_millis(1000);
const LIMIT: Duration = Duration::from_secs(20);

/// A printer that hangs as soon as it is up: it takes no request and hears no stop.
#[derive(Debug)]
struct Wedged;

impl Build for Wedged {
    fn build(&self, _: Context) -> Box<dyn Driver> {
        Box::new(Wedged)
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
        Box::pin(async { Reach::Yes("hangs".to_owned()) })
    }
}

impl Driver for Wedged {
    fn run<'a>(&'a mut self, link: &'a mut Link, _: &'a Stop) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let _ = link.events.send(Event::Up).await;
            std::future::pending().await
        })
    }
}

/// The manager's side of the notify socket.
struct Manager(UnixDatagram);

impl Manager {
    /// The next message, if one comes in this time.
    fn hears(&self, within: Duration) -> Option<String> {
        self.0.set_read_timeout(Some(within)).unwrap();
        let mut buffer = [0; 512];
        let count = self.0.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(buffer.get(..count)?).into_owned())
    }

    fn waits_for(&self, what: &str) {
        let began = Instant::now();
        while began.elapsed() < LIMIT {
            if self.hears(LIMIT).is_some_and(|text| text.contains(what)) {
                return;
            }
        }
        panic!("{what} was not heard");
    }

    /// Whether the watchdog is fed in this time.
    fn is_fed(&self, within: Duration) -> bool {
        let end = Instant::now() + within;
        while let Some(left) = end
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
        {
            if self.hears(left).is_some_and(|text| text.contains("WATCHDOG=1")) {
                return true;
            }
        }
        false
    }
}

async fn agent(dir: &Path, systemd: Systemd) -> Agent {
    let store = Store::memory().unwrap();
    let caps = Caps {
        free_bytes: 0,
        ..Caps::default()
    };
    let spool = Spool::open(dir.join("spool"), store.clone(), caps).unwrap();
    let means = Means {
        store,
        pool: AnalysisPool::start(spool.clone(), analyze_path).unwrap(),
        spool,
        fd_store: Arc::new(FdStore::default()),
        runtime_dir: dir.to_owned(),
        state_dir: dir.to_owned(),
    };
    let plan = PrinterPlan {
        name: "wedged".to_owned(),
        kind: "wedged",
        build: Arc::new(Wedged),
        peripherals: Peripherals::default(),
        settings: Settings {
            preflight: Limits::default(),
            require_clear_bed: false,
            checkpoint: Duration::from_secs(60),
            pause_on_restart: false,
            release: None,
        },
        on_stop: StopMode::Leave,
    };
    Agent::start(vec![plan], means, systemd).await.unwrap()
}

#[test]
fn the_watchdog_is_fed_beside_a_wedged_printer_and_withheld_when_the_loop_is_stuck() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let manager = Manager(UnixDatagram::bind(&path).unwrap());
    let socket = NotifySocket::to(path.as_os_str()).unwrap();
    let systemd = Systemd::new(Some(Arc::new(socket)), Some(WATCHDOG));
    // A reload that does not come back, as a configuration on a disk that hangs: the whole loop stands still.
    let (go_on, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let reread: Reread = Box::new(move || {
        let _ = held.lock().unwrap().recv_timeout(LIMIT);
        Err("nothing new".to_owned())
    });
    let folder = dir.path().to_owned();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    // A printer that hangs is waited for at the end, which is not what this is about: the thread ends with the test.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let agent = agent(&folder, systemd).await;
            let stopped = async { drop(stopped.await) };
            agent.run(reread, stopped).await.unwrap()
        })
    });

    manager.waits_for("READY=1");
    for turn in 0..10 {
        assert!(manager.is_fed(LIMIT), "turn {turn}");
    }
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP).unwrap();
    manager.waits_for("RELOADING=1");
    assert!(
        !manager.is_fed(SILENCE),
        "the loop stands, and systemd does not hear of it"
    );
    go_on.send(()).unwrap();
    assert!(manager.is_fed(LIMIT), "it goes on as soon as it can");

    stop.send(()).unwrap();
    manager.waits_for("STOPPING=1");
}
