//! A serial line survives the daemon: what was kept before SIGTERM or `kill -9` is adopted afterwards
//! with its unread bytes, its speed and its lock.

#![allow(clippy::expect_used, clippy::indexing_slicing)]

#[path = "support/manager.rs"]
mod manager;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use layerd::drivers::marlin::port;
use layerd::drivers::marlin::sim::Injection;
use layerd::drivers::marlin::sim::pty::{PtyOptions, SimPty};
use layerd::host::serial::Roots;
use layerd::host::systemd::{JobType, attach};
use manager::{Manager, Service};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};

const PORT: &str = "LAYERD_TEST_PORT";
const LOG: &str = "LAYERD_TEST_LOG";

/// The service: adopts or opens the port, notes what it reads, and on SIGTERM which job it saw.
///
/// It waits with its first read until the file `go` is there, so that bytes can pile up.
#[test]
#[ignore = "the other process of the tests in this file"]
fn the_service_side() {
    let (systemd, store) = attach();
    let path = PathBuf::from(std::env::var_os(PORT).expect("started by a test"));
    let log = PathBuf::from(std::env::var_os(LOG).expect("started by a test"));
    let note = |line: &str| {
        let mut text = fs::read_to_string(&log).unwrap_or_default();
        text += &format!("{line}\n");
        // Renamed into place, so that the other side never sees half of it.
        fs::write(log.with_extension("new"), text).expect("written");
        fs::rename(log.with_extension("new"), &log).expect("renamed");
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).expect("a signal");
        let mut line = match store.take("ender 3") {
            Some(fd) => {
                note("adopted");
                port::adopt(fd).expect("still alive")
            }
            None => {
                note("opened");
                port::open(&path, 250_000, &Roots::default()).expect("free")
            }
        };
        assert!(store.keep("ender 3", port::borrow(&line)));
        note(&format!("baud {}", port::baud(&line).expect("a speed")));
        systemd.status("streaming");
        systemd.ready();
        let go = log.with_file_name("go");
        let mut buffer = [0; 256];
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                () = port::wait_for_port(&go) => {
                    let _ = fs::remove_file(&go);
                    line.write_all(b"M117 hello\n").await.expect("writable");
                    // Everything that is there, up to the answer.
                    let mut text = String::new();
                    while !text.contains("ok\n") {
                        let count = line.read(&mut buffer).await.expect("readable");
                        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
                    }
                    note(&format!("read {}", text.replace('\n', "|")));
                }
            }
        }
        systemd.stopping();
        match systemd.job_type().await {
            JobType::Restart => note("restart"),
            JobType::Other => note("stop"),
        }
    });
}

struct Bench {
    dir: tempfile::TempDir,
    printer: SimPty,
    manager: Manager,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let printer = SimPty::spawn(PtyOptions::default()).expect("a terminal");
        assert!(printer.wait_until(Duration::from_secs(10), |sim| sim.deadline().is_none()));
        let service = Service {
            program: std::env::current_exe().expect("this test"),
            args: ["--exact", "the_service_side", "--ignored", "--nocapture"]
                .map(Into::into)
                .to_vec(),
            env: vec![
                (PORT.into(), printer.path().into()),
                (LOG.into(), dir.path().join("log").into()),
            ],
            watchdog: None,
        };
        Bench {
            manager: Manager::start(service),
            dir,
            printer,
        }
    }

    fn log(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.path().join("log")).expect("a log");
        text.lines().map(str::to_owned).collect()
    }

    fn read_all(&self) -> String {
        let before = self.log().len();
        fs::write(self.dir.path().join("go"), "").expect("a file");
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while self.log().len() == before {
            assert!(
                std::time::Instant::now() < deadline,
                "nothing read: {:?}",
                self.log()
            );
            std::thread::park_timeout(Duration::from_millis(10));
        }
        self.log().pop().expect("a line")
    }

    fn busy_for_others(&self) -> bool {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let _guard = runtime.enter();
        let path: &Path = &self.printer.path();
        port::open(path, 115_200, &Roots::default()).is_err_and(|fault| fault.code == "serial/busy")
    }
}

#[test]
fn a_restart_keeps_the_line_and_its_unread_bytes() {
    let mut bench = Bench::new();
    assert_eq!(bench.log(), ["opened", "baud 250000"]);
    bench
        .manager
        .wait_for("the store", |heard| heard.stored() == ["ender_203"]);
    assert_eq!(bench.manager.heard().status, "streaming");
    assert!(bench.read_all().ends_with("ok|"));
    bench.printer.inject(Injection::Say("unread".into()));
    assert!(bench.manager.restart().success());
    bench.printer.inject(Injection::Say("while starting".into()));
    assert_eq!(bench.read_all(), "read unread|while starting|ok|");
    let log = bench.log();
    assert_eq!(&log[3..6], ["restart", "adopted", "baud 250000"]);
    assert!(bench.busy_for_others());
    assert_eq!(bench.printer.with(|sim| sim.resets()), 0);
}

/// SIGTERM goes to every process of a service, also to the one that asks why it came.
#[test]
fn a_restart_is_told_from_a_stop_although_the_question_was_ended() {
    let mut bench = Bench::new();
    bench.manager.doom_one_question();
    assert!(bench.manager.restart().success());
    assert!(bench.read_all().ends_with("ok|"));
    assert_eq!(&bench.log()[2..4], ["restart", "adopted"]);
}

#[test]
fn sudden_death_keeps_the_line_and_its_unread_bytes() {
    let mut bench = Bench::new();
    assert!(bench.read_all().ends_with("ok|"));
    bench.manager.kill9();
    bench.printer.inject(Injection::Say("while dead".into()));
    assert!(bench.busy_for_others());
    bench.manager.launch_again();
    assert_eq!(bench.read_all(), "read while dead|ok|");
    let log = bench.log();
    assert_eq!(&log[3..5], ["adopted", "baud 250000"]);
}

#[test]
fn a_plain_stop_is_told_from_a_restart_and_frees_the_port() {
    let mut bench = Bench::new();
    assert!(bench.manager.stop().success());
    assert_eq!(bench.log().pop().as_deref(), Some("stop"));
    assert!(!bench.busy_for_others());
    bench.manager.launch_again();
    assert_eq!(bench.log()[3], "opened");
}
