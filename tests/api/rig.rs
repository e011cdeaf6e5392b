//! An agent with three printers, its API on a socket, and a client.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use layerd::agent::actor::{Means, Settings};
use layerd::agent::handle::AgentHandle;
use layerd::agent::plan::PrinterPlan;
use layerd::agent::run::Agent;
use layerd::drivers::StopMode;
use layerd::host::fdstore::FdStore;
use layerd::host::health::Host;
use layerd::host::systemd::Systemd;
use layerd::job::analysis_pool::{AnalysisPool, analyze_path};
use layerd::job::preflight::Limits;
use layerd::job::spool::{Caps, Spool};
use layerd::job::store::Store;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fake_printer::Fake;

/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(20);

/// A file that nobody objects to.
pub const CUBE: &str = "G28\nG1 X10 Y10 Z0.2 F3000\nG1 X20 E1\nM104 S0\n";

/// Two objects.
pub const PLATE: &str = "G28\nG1 X10 Y10 Z0.2 F3000\nM486 T2\nM486 S0\nM486 Acube\nG1 X20 E1\nM486 S1\n\
                         M486 Acone\nG1 X40 E2\nM486 S-1\nM104 S0\n";

pub struct Rig {
    pub dir: tempfile::TempDir,
    pub agent: AgentHandle,
    pub alpha: Fake,
    pub beta: Fake,
    pub http: reqwest::Client,
    /// Where it listens beside the socket.
    pub base: String,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

/// The account id in the paths of these tests, beside 0.
pub const ACCOUNT: i64 = 4711;

impl Rig {
    /// Printers `alpha` (1) and `beta` (2, asks something), which are up, and `gone` (3), which is not.
    pub async fn start() -> Rig {
        Rig::start_with("rate_per_min = 0").await
    }

    /// With these lines under `[api]`.
    pub async fn start_with(settings: &str) -> Rig {
        Rig::start_planned(settings, |_| {}).await
    }

    /// With these lines under `[api]`, and printers changed like this.
    #[allow(
        clippy::disallowed_methods,
        reason = "the handles are kept and awaited in `end`"
    )]
    pub async fn start_planned(settings: &str, change: impl FnOnce(&mut PrinterPlan)) -> Rig {
        let settings = layerd::daemon::parse_config(
            &format!("[api]\nlisten = [\"127.0.0.1:0\"]\nid = {ACCOUNT}\n{settings}"),
            "test",
        )
        .expect("settings")
        .api;
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::memory().expect("a store");
        let spool = Spool::open(dir.path().join("spool"), store.clone(), Caps::default()).expect("a spool");
        let pool = AnalysisPool::start(spool.clone(), analyze_path).expect("a pool");
        let means = Means {
            store,
            spool,
            pool,
            fd_store: Arc::new(FdStore::default()),
            runtime_dir: dir.path().join("run"),
            state_dir: dir.path().to_owned(),
        };
        let (alpha, beta) = (
            Fake::default(),
            Fake {
                asks: true,
                ..Fake::default()
            },
        );
        let gone = Fake {
            dead: true,
            ..Fake::default()
        };
        let mut first = plan("alpha", &alpha);
        change(&mut first);
        let plans = vec![first, plan("beta", &beta), plan("gone", &gone)];
        let agent = Agent::start(plans, means, Systemd::new(None, None))
            .await
            .expect("an agent");
        let handle = agent.handle();
        let path = socket(dir.path());
        let listener = layerd::api::bind_unix(&path).await.expect("a socket");
        let stop = CancellationToken::new();
        let (served_agent, served_stop) = (handle.clone(), stop.clone());
        let served = tokio::spawn(async move {
            let around = layerd::api::Surroundings {
                names: &["box"],
                host: tokio::sync::watch::channel(Arc::new(host())).1,
            };
            layerd::api::serve(listener, served_agent, &settings, around, served_stop).await;
        });
        let ended = stop.clone();
        let ran = tokio::spawn(async move {
            let reread = Box::new(|| Err("not in this test".to_owned()));
            agent
                .run(reread, ended.cancelled_owned())
                .await
                .expect("runs to the end");
        });
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .unix_socket(path)
            .no_proxy()
            .build()
            .expect("a client");
        let mut rig = Rig {
            dir,
            agent: handle,
            alpha,
            beta,
            http,
            base: String::new(),
            stop,
            tasks: vec![served, ran],
        };
        let began = Instant::now();
        while rig.base.is_empty() {
            assert!(began.elapsed() < LIMIT, "it listens nowhere");
            let (_, health) = rig.get("healthz").await;
            rig.base = health["listening"][0].as_str().unwrap_or_default().to_owned();
        }
        rig.until("alpha is up", |r| r.state(1) == "operational").await;
        rig.until("beta asks", |r| {
            !r.agent
                .by_id(2)
                .expect("beta")
                .snapshot()
                .state
                .notices
                .is_empty()
        })
        .await;
        rig
    }

    /// A client over TCP, as from another machine, with these headers.
    pub fn far(&self, headers: &[(&'static str, &str)]) -> Far {
        let headers = headers
            .iter()
            .map(|(name, value)| (*name, value.parse().expect("a header")));
        let mut all = reqwest::header::HeaderMap::new();
        headers.for_each(|(name, value)| {
            all.insert(name, value);
        });
        let http = reqwest::Client::builder()
            .no_proxy()
            .default_headers(all)
            .build()
            .expect("a client");
        Far {
            http,
            base: self.base.clone(),
        }
    }

    /// Makes a key over the socket and gives a client with it.
    pub async fn key(&self, name: &str, scopes: &str) -> Far {
        let (_, answer) = self
            .post("0/agent/keys/Create", json!({"name": name, "scopes": scopes}))
            .await;
        self.far(&[("x-api-key", answer["key"].as_str().expect("a key"))])
    }

    pub fn socket(&self) -> PathBuf {
        socket(self.dir.path())
    }

    /// The one word for a printer.
    pub fn state(&self, id: i64) -> &'static str {
        self.agent
            .by_id(id)
            .expect("known")
            .snapshot()
            .state
            .word()
            .as_str()
    }

    /// Waits until something holds, looking often; fails after a deadline.
    pub async fn until(&self, what: &str, holds: impl Fn(&Rig) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            assert!(began.elapsed() < LIMIT, "in vain: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        read(self.http.get(url(path))).await
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        read(self.http.post(url(path)).json(&body)).await
    }

    /// An action in our dialect that waits for its outcome.
    pub async fn act(&self, action: &str, mut body: Value) -> Value {
        body["layerd"]["wait"] = json!(true);
        let (status, answer) = self.post(&format!("0/printers/actions/{action}"), body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// Uploads a text as one file and gives its id.
    pub async fn upload(&self, name: &str, text: &str) -> String {
        let part = reqwest::multipart::Part::text(text.to_owned()).file_name(name.to_owned());
        let form = reqwest::multipart::Form::new().part("file", part);
        let (status, answer) = read(self.http.post(url("0/files/Upload")).multipart(form)).await;
        assert_eq!(status, 200, "{answer}");
        answer["file"]["id"].as_str().expect("an id").to_owned()
    }

    /// Starts the cube on a printer and waits until it is seen to print.
    pub async fn print(&self, pid: i64) -> Value {
        let id = self.upload("cube.gcode", CUBE).await;
        let answer = self.act("CreateJob", json!({"pid": pid, "file_id": id})).await;
        assert_eq!(answer["layerd"]["outcome"], "verified", "{answer}");
        self.until("it prints", |r| r.state(pid) == "printing").await;
        answer
    }

    pub async fn end(mut self) {
        self.stop.cancel();
        for task in self.tasks.drain(..) {
            tokio::time::timeout(LIMIT, task)
                .await
                .expect("ends in time")
                .expect("ends well");
        }
    }
}

/// A client over TCP.
pub struct Far {
    pub http: reqwest::Client,
    pub base: String,
}

impl Far {
    pub fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        read(self.http.get(self.url(path))).await
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        read(self.http.post(self.url(path)).json(&body)).await
    }
}

pub fn url(path: &str) -> String {
    format!("http://localhost/{path}")
}

pub async fn read(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.timeout(LIMIT).send().await.expect("an answer");
    let status = answer.status().as_u16();
    let text = answer.text().await.expect("a body");
    let value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("HTTP {status}, not JSON: {text}"));
    (status, value)
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("run").join(layerd::api::SOCKET_NAME)
}

/// The machine that these tests run on, as they would have it.
fn host() -> Host {
    Host {
        board: Some("Raspberry Pi 4 Model B Rev 1.2".to_owned()),
        ip: Some("192.0.2.7".to_owned()),
        mac: Some("DC:A6:32:01:02:03".to_owned()),
        wired: Some(true),
        cpu_percent: Some(31.4),
        cpu_c: Some(48.3),
        ..Host::default()
    }
}

fn plan(name: &str, fake: &Fake) -> PrinterPlan {
    PrinterPlan {
        name: name.to_owned(),
        kind: "fake",
        build: Arc::new(fake.clone()),
        peripherals: layerd::agent::plan::Peripherals::default(),
        settings: Settings {
            preflight: Limits::default(),
            require_clear_bed: false,
            checkpoint: Duration::from_secs(60),
            pause_on_restart: false,
            release: None,
        },
        on_stop: StopMode::Leave,
    }
}
