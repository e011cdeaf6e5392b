//! The daemon under a simulated cloud, from the command line: pairing, a print, an outage, moving house.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may be blunt"
)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use layerd::drivers::marlin::sim::Options as MarlinOptions;
use layerd::drivers::marlin::sim::pty::{PtyOptions, SimPty};
use layerd::upstream::simplyprint::sim::{Options, Said, SimCloud};
use serde_json::Value;
use tokio::sync::broadcast::Receiver;

const LIMIT: Duration = Duration::from_secs(60);

/// A daemon with one simulated printer.
struct House {
    dir: tempfile::TempDir,
    printer: SimPty,
    daemon: Option<Child>,
}

impl House {
    fn new(cloud: &SimCloud) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let printer = SimPty::spawn(PtyOptions {
            sim: MarlinOptions {
                speed: 40.0,
                advanced_ok: true,
                ..MarlinOptions::default()
            },
            link: Some(dir.path().join("printer")),
            ..PtyOptions::default()
        })
        .expect("a terminal");
        let mut house = House {
            dir,
            printer,
            daemon: None,
        };
        house.configure(cloud, "p");
        house.start();
        house
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn configure(&self, cloud: &SimCloud, name: &str) {
        let text = format!(
            "[agent]\nstate_dir = {:?}\nruntime_dir = {:?}\n[api]\nlisten = []\n\
             [upstream.simplyprint]\nws_url = {:?}\napi_url = {:?}\n\
             [printer.{name}]\ndriver = \"marlin\"\nport = {:?}\nbaud = 115200\nbed = [220, 220, 250]\non_stop = \"cancel\"\n",
            self.path("state"),
            self.path("run"),
            cloud.ws_url(),
            cloud.api_url(),
            self.printer.path(),
        );
        std::fs::write(self.path("layerd.toml"), text).expect("written");
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_layerd"));
        command.arg("--config").arg(self.path("layerd.toml"));
        for name in ["SIMPLYPRINT_BACKEND", "SIMPLYPRINT_WS_URL", "SIMPLYPRINT_API_URL"] {
            command.env_remove(name);
        }
        command
    }

    fn start(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .expect("a log");
        let daemon = self
            .command()
            .arg("run")
            .stderr(log)
            .stdout(Stdio::null())
            .spawn();
        self.daemon = Some(daemon.expect("started"));
        let socket = self.path("run/layerd.sock");
        self.until("an answer", || {
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        });
    }

    fn stop(&mut self) {
        let Some(mut daemon) = self.daemon.take() else {
            return;
        };
        let pid = rustix::process::Pid::from_child(&daemon);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = daemon.wait();
    }

    fn layerd(&self, words: &[&str]) -> Output {
        self.command().args(words).output().expect("run")
    }

    fn until(&self, what: &str, done: impl Fn() -> bool) {
        let end = Instant::now() + LIMIT;
        while !done() {
            let log = || std::fs::read_to_string(self.path("log")).unwrap_or_default();
            assert!(Instant::now() < end, "{what} did not come:\n{}", log());
            std::thread::yield_now();
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.stop();
    }
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The next message of a kind that fits.
async fn heard(said: &mut Receiver<Said>, kind: &str, fits: impl Fn(&Value) -> bool) -> Said {
    let wait = async {
        loop {
            let said = said.recv().await.expect("the cloud runs");
            if said.kind == kind && fits(&said.data) {
                return said;
            }
        }
    };
    tokio::time::timeout(LIMIT, wait)
        .await
        .unwrap_or_else(|_| panic!("no {kind}"))
}

fn plate() -> Options {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/gcode/plate.gcode");
    Options {
        claim_after: None,
        files: std::iter::once(("plate.gcode".to_owned(), file)).collect(),
        ..Options::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_pairs_a_printer_and_prints_from_the_cloud() {
    let cloud = SimCloud::start(plate()).await.expect("a cloud");
    let mut said = cloud.listen();
    let house = House::new(&cloud);
    house.until("the printer", || !cloud.printers().is_empty());
    let code = cloud.printers()[0].code.clone();

    let shown = tokio::task::block_in_place(|| house.layerd(&["login", "--no-wait"]));
    assert!(shown.status.success(), "{}", text(&shown));
    assert!(text(&shown).contains(&code), "{code}: {}", text(&shown));
    let waiting = house
        .command()
        .arg("login")
        .stdout(Stdio::piped())
        .spawn()
        .expect("run");
    assert!(cloud.claim(0));
    let done = tokio::task::block_in_place(|| waiting.wait_with_output().expect("ended"));
    assert!(done.status.success());
    assert!(text(&done).contains("paired, printer 1001"), "{}", text(&done));
    heard(&mut said, "state_change", |d| d["new"] == "operational").await;

    cloud.print(0, "plate.gcode", 7, true);
    heard(&mut said, "job_info", |d| {
        d["started"] == true && d["job_id"] == 7
    })
    .await;
    heard(&mut said, "job_info", |d| d["progress"].as_i64() >= Some(20)).await;
    cloud.demand(0, serde_json::json!({"demand": "pause"}));
    heard(&mut said, "state_change", |d| d["new"] == "paused").await;
    cloud.demand(0, serde_json::json!({"demand": "resume"}));
    heard(&mut said, "state_change", |d| d["new"] == "printing").await;
    let end = heard(&mut said, "job_info", |d| d["finished"] == true).await;
    assert_eq!(end.data["job_id"], 7);
    let log = std::fs::read_to_string(house.path("log")).expect("a log");
    assert!(!log.contains("new_token"), "credentials stay out of the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn identities_move_with_a_backup_a_new_name_and_a_new_printer() {
    let cloud = SimCloud::start(Options {
        claim_after: Some(Duration::from_millis(100)),
        ..plate()
    })
    .await
    .expect("a cloud");
    let mut house = House::new(&cloud);
    let paired = |house: &House| {
        let shown = house.layerd(&["login", "--json", "--minutes", "1"]);
        assert!(shown.status.success(), "{}", text(&shown));
        let rows: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
        (rows[0]["printer"].clone(), rows[0]["id"].clone())
    };
    let one = Value::from(1001);
    tokio::task::block_in_place(|| {
        assert_eq!(paired(&house), (Value::from("p"), one.clone()));
        let copy = house.path("copy.db");
        let copied = house.layerd(&["backup", &copy.display().to_string()]);
        assert!(copied.status.success(), "{}", text(&copied));
        let refused = house.layerd(&["rename", "p", "q"]);
        assert!(text(&refused).contains("Stop it first"), "{}", text(&refused));

        house.stop();
        let renamed = house.layerd(&["rename", "p", "q"]);
        assert!(renamed.status.success(), "{}", text(&renamed));
        house.configure(&cloud, "q");
        house.start();
        assert_eq!(paired(&house), (Value::from("q"), one.clone()));

        house.stop();
        house.configure(&cloud, "r");
        let replaced = house.layerd(&["replace", "q", "r"]);
        assert!(replaced.status.success(), "{}", text(&replaced));
        house.start();
        assert_eq!(paired(&house), (Value::from("r"), one.clone()));

        // Back to the time when it was called p.
        house.stop();
        let wrong = house.layerd(&["restore", &house.path("layerd.toml").display().to_string()]);
        assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong));
        let restored = house.layerd(&["restore", &copy.display().to_string()]);
        assert!(restored.status.success(), "{}", text(&restored));
        let adopted = house.layerd(&["adopt"]);
        assert!(adopted.status.success(), "{}", text(&adopted));
        house.configure(&cloud, "p");
        house.start();
        assert_eq!(paired(&house), (Value::from("p"), one.clone()));
    });
    assert_eq!(cloud.printers().len(), 1, "nobody was claimed anew");
}
