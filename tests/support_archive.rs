//! `layerd support`: everything is in it that helps, and not one of the secrets, wherever they stood.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of a test may fail it"
)]

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use layerd::drivers::marlin::sim::Options;
use layerd::drivers::marlin::sim::pty::{PtyOptions, SimPty};
use layerd::job::store::{FILE_NAME, Store, WebhookRow};
use serde_json::{Value, json};

const PLATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/gcode/plate.gcode");
const LIMIT: Duration = Duration::from_secs(60);

/// Every secret that is planted, and where.
const SECRETS: &[(&str, &str)] = &[
    ("token of the cloud", "cloudtoken0123456789abcdef"),
    ("code that claims a printer", "Q7XW"),
    ("token of a job", "jobtoken-9876543210"),
    ("secret of a webhook", "whsec_planted_0001"),
    ("path of a webhook", "/services/T0000/B0000/hookpathsecret"),
    ("parameter of a webhook", "hookparametersecret"),
    ("password of the broker", "broker\\\"päss&1"),
    ("key of Moonraker", "moonrakerkey00112233"),
    ("login of an address", "urluserpassword"),
    ("access code in a file", "31415926"),
    ("access code in the text", "27182818"),
    ("password of a switch", "switchpassword"),
    ("address of a switch with its key", "iftttkeyinthepath"),
    ("argument of a command", "argumenttoken"),
    ("login of a camera", "camerapassword"),
    ("what nobody knows: a comment", "commentedoutsecret"),
    ("what nobody knows: the radio network", "radio network phrase"),
    (
        "key of the local API",
        "lyd_AAAABBBBCCCCDDDDEEEEFFFFGGGGHHHHIIIIJJJJKKK",
    ),
    ("what nobody knows: a header", "unknownheadertoken"),
    ("what nobody knows: JSON", "unknownjsonsecret"),
    ("what nobody knows: an address", "unknownloginpass"),
];

fn secret(what: &str) -> &'static str {
    SECRETS.iter().find(|(w, _)| *w == what).expect("planted").1
}

fn configuration(dir: &Path) -> String {
    let dir = dir.display();
    let of = secret;
    format!(
        r#"# {comment}
[agent]
state_dir = "{dir}/state"   # {comment}
runtime_dir = "{dir}/run"

[api]
listen = []

[upstream.mqtt]
url = "mqtt://127.0.0.1:1"
user = "shop"
password = "{broker}"

[printer.ender3]
driver = "marlin"
port = "{dir}/port"
baud = 115200
bed = [220, 220, 250]
camera = {{ snapshot = "http://joe:{camera}@127.0.0.1:1/snapshot?token={camera}" }}
power = {{ kind = "tasmota", url = "http://127.0.0.1:1", user = "admin", password = "{switch}" }}

[printer.voron]
driver = "moonraker"
url = "http://me:{login}@127.0.0.1:1"
api_key = "{moonraker}"
power = {{ kind = "http", on_url = "http://127.0.0.1:1/with/key/{ifttt}/on", off_url = "http://127.0.0.1:1/off" }}

[printer.x1c]
driver = "bambu"
host = "127.0.0.1"
mqtt_port = 1
ftps_port = 1
camera_port = 1
serial = "00M00A000000001"
access_code_file = "{dir}/x1c.code"

[printer.p1s]
driver = "bambu"
host = "127.0.0.1"
mqtt_port = 2
ftps_port = 2
camera_port = 2
serial = "01P00A000000002"
access_code = "{code}"
power = {{ kind = "command", on = ["/bin/true", "--token", "{argument}"], off = ["/bin/true"] }}
# access_code = "{comment}"
"#,
        comment = of("what nobody knows: a comment"),
        broker = of("password of the broker"),
        camera = of("login of a camera"),
        switch = of("password of a switch"),
        login = of("login of an address"),
        moonraker = of("key of Moonraker"),
        ifttt = of("address of a switch with its key"),
        code = of("access code in the text"),
        argument = of("argument of a command"),
    )
}

/// A log as careless programs write it: with every secret in it, as it is and as others write it down.
fn careless_log() -> String {
    let mut text = String::new();
    for (what, secret) in SECRETS
        .iter()
        .filter(|(what, _)| !what.starts_with("what nobody knows"))
    {
        let json = json!({ "words": secret }).to_string();
        text.push_str(&format!(
            "{what}: {secret} and {json} and {}\n",
            secret.escape_debug()
        ));
    }
    text.push_str(&format!(
        "GET /x HTTP/1.1 X-Api-Key: {} end\n{{\"passphrase\": \"{}\"}}\nhttps://joe:{}@example.org/a\n",
        secret("what nobody knows: a header"),
        secret("what nobody knows: JSON"),
        secret("what nobody knows: an address")
    ));
    text.push_str("the last line of the log\n");
    text
}

struct House {
    dir: tempfile::TempDir,
    daemon: Option<Child>,
    _sim: Option<SimPty>,
}

impl House {
    fn new(config: impl FnOnce(&Path) -> String) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("layerd.toml");
        std::fs::write(&path, config(dir.path())).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("private");
        std::fs::write(
            dir.path().join("x1c.code"),
            format!("{}\n", secret("access code in a file")),
        )
        .expect("written");
        std::fs::write(dir.path().join("careless.log"), careless_log()).expect("written");
        House {
            dir,
            daemon: None,
            _sim: None,
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_layerd"));
        command
            .args(args)
            .arg("--config")
            .arg(self.dir.path().join("layerd.toml"))
            .current_dir(self.dir.path())
            .env_remove("JOURNAL_STREAM");
        command
    }

    fn verb(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("started")
    }

    /// What a long life leaves in the database.
    fn plant(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let state = self.dir.path().join("state");
            let store = Store::open(&state.join(FILE_NAME)).expect("opened");
            store.printer_id("ender3", "marlin").await.expect("numbered");
            let doc = json!({
                "unique_id": "u", "id": 0, "token": secret("token of the cloud"),
                "short_id": secret("code that claims a printer"), "uncleared": {"action_token": secret("token of a job")},
            });
            store
                .upstream_doc_put("simplyprint", "ender3", doc.to_string())
                .await
                .expect("kept");
            let now = Timestamp::now();
            let hook = WebhookRow {
                id: 0,
                name: "chat".to_owned(),
                description: None,
                url: format!(
                    "http://127.0.0.1:1{}?key={}",
                    secret("path of a webhook"),
                    secret("parameter of a webhook")
                ),
                secret: Some(secret("secret of a webhook").to_owned()),
                enabled: false,
                events: "job.done".to_owned(),
                created: now,
                updated: now,
                dialect: String::new(),
                max_attempts: None,
                backoff_s: None,
            };
            store.webhook_put(hook).await.expect("kept");
            store.close(LIMIT).await.expect("closed");
        });
    }

    fn start(&mut self) {
        let options = PtyOptions {
            sim: Options::default(),
            link: Some(self.dir.path().join("port")),
            ..PtyOptions::default()
        };
        self._sim = Some(SimPty::spawn(options).expect("a terminal"));
        let log = std::fs::File::create(self.dir.path().join("daemon.log")).expect("made");
        let daemon = self.command(&["-vv", "run"]).stderr(log).spawn();
        self.daemon = Some(daemon.expect("started"));
        let deadline = Instant::now() + LIMIT;
        loop {
            let said = self.verb(&["printers", "--json"]).stdout;
            let rows: Value = serde_json::from_slice(&said).unwrap_or(Value::Null);
            let up = rows
                .as_array()
                .is_some_and(|rows| rows.len() == 4 && rows[0]["state"] == "operational");
            if up {
                return;
            }
            assert!(Instant::now() < deadline, "{rows}");
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

fn opened(path: &Path) -> BTreeMap<String, String> {
    let mut zip = zip::ZipArchive::new(std::fs::File::open(path).expect("there")).expect("a zip");
    (0..zip.len())
        .map(|n| {
            let mut entry = zip.by_index(n).expect("an entry");
            let mut text = String::new();
            entry.read_to_string(&mut text).expect("text");
            (entry.name().expect("a name").into_owned(), text)
        })
        .collect()
}

fn assert_clean(files: &BTreeMap<String, String>) {
    for (name, text) in files {
        for (what, secret) in SECRETS {
            let line = text.lines().find(|l| l.contains(secret));
            assert!(
                line.is_none() && !name.contains(secret),
                "{what} in {name}: {line:?}"
            );
        }
    }
}

fn words(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn everything_helpful_is_in_it_and_none_of_the_planted_secrets() {
    let mut house = House::new(configuration);
    house.plant();
    house.start();
    // On the wire, where nobody can keep them out: a host macro that shows them, and the radio's set-up.
    for code in [
        format!("M117 {}", secret("access code in a file")),
        format!("M117 {}", secret("token of the cloud")),
        format!(
            "M587 S\"shop\" P\"{}\"",
            secret("what nobody knows: the radio network")
        ),
    ] {
        house.verb(&["send", "ender3", &code]);
    }
    let small = house.dir.path().join("small.gcode");
    std::fs::write(&small, "G28\nG1 X10 Y10 Z0.2 E1 F600\n").expect("written");
    let printed = house.verb(&["print", "ender3", "small.gcode", "--no-wait"]);
    assert!(printed.status.success(), "{}", words(&printed));
    let zip = house.dir.path().join("out.zip");
    let made = house.verb(&["support", "--output", "out.zip", "--log", "careless.log"]);
    assert!(made.status.success(), "{}", words(&made));
    assert_eq!(zip.metadata().expect("there").permissions().mode() & 0o777, 0o600);
    let files = opened(&zip);
    assert_clean(&files);
    for (name, wanted) in [
        ("README.txt", "look before you send"),
        ("versions.json", env!("CARGO_PKG_VERSION")),
        ("layerd.toml", "password = \"***\""),
        ("layerd.toml", "on_url = \"http://127.0.0.1:1/***\""),
        ("layerd.toml", "url = \"http://***@127.0.0.1:1\""),
        ("check.json", "printer voron"),
        ("daemon.txt", "\"up_s\""),
        ("printers.json", "\"name\": \"ender3\""),
        ("printers/ender3/wire.txt", "M117 ***"),
        ("printers/ender3/wire.txt", "M587 ***"),
        ("printers/ender3/journal.txt", "Z"),
        ("printers/x1c/wire.txt", ""),
        ("database.json", "\"quick_check\": \"ok\""),
        ("jobs.json", "\"file\": \"small.gcode\""),
        ("metrics.txt", "layerd_printer"),
        ("host.txt", "MemAvailable"),
        ("host.txt", "open files:"),
        ("host.txt", "  thread layerd: "),
        ("serial.txt", ""),
        ("unit.txt", ""),
        ("journal.txt", ""),
        ("log.txt", "the last line of the log"),
    ] {
        let text = files
            .get(name)
            .unwrap_or_else(|| panic!("{name} of {:?}", files.keys()));
        assert!(text.contains(wanted), "{name} lacks {wanted}: {text}");
    }
    let told = words(&made);
    assert!(files.keys().all(|name| told.contains(name.as_str())), "{told}");
    // Lines stay where they were, so that "line 12" of a message is line 12.
    let before = configuration(house.dir.path());
    assert_eq!(files["layerd.toml"].lines().count(), before.lines().count());
    for (shown, line) in files["layerd.toml"].lines().zip(before.lines()) {
        assert_eq!(
            shown.split('=').next().map(str::trim),
            line.split('=')
                .next()
                .map(|l| { if l.starts_with('#') { "# ***" } else { l.trim() } })
        );
    }
    let again = house.verb(&["support", "--output", "out.zip"]);
    assert_eq!(again.status.code(), Some(2), "{}", words(&again));
    let again = house.verb(&["support", "--output", "out.zip", "--overwrite", "--json"]);
    let told: Value = serde_json::from_slice(&again.stdout).expect("JSON");
    assert!(told["entries"].as_array().is_some_and(|e| e.len() > 10), "{told}");
    assert!(opened(&zip).contains_key("README.txt"));
}

#[test]
fn a_daemon_that_says_everything_says_no_secret_and_its_files_are_its_own() {
    let mut house = House::new(configuration);
    house.plant();
    house.start();
    let printed = house.verb(&["print", "ender3", PLATE, "--no-wait"]);
    assert!(printed.status.success(), "{}", words(&printed));
    let mut said = BTreeMap::new();
    for verb in [
        &["printers", "--json"][..],
        &["check", "--json"],
        &["key", "list", "--json"],
        &["counters", "--json"],
        &["logs", "x1c"],
        &["logs", "voron", "--wire"],
        &["discover", "127.0.0.1"],
    ] {
        said.insert(verb.join(" "), words(&house.verb(verb)));
    }
    let log = std::fs::read_to_string(house.dir.path().join("daemon.log")).expect("a log");
    // The code that claims a printer is told on purpose: a person has to read it.
    let log = log.replace(secret("code that claims a printer"), "");
    assert!(
        log.contains("DEBUG") || log.contains("TRACE"),
        "it says everything: {log}"
    );
    said.insert("the log".to_owned(), log);
    assert_clean(&said);

    let mut seen = Vec::new();
    for dir in ["state", "run"] {
        walk(&house.dir.path().join(dir), &mut seen);
    }
    assert!(
        seen.iter().any(|(name, _)| name.ends_with("layerd.db-wal")),
        "{seen:?}"
    );
    assert!(
        seen.iter().any(|(name, _)| name.ends_with("layerd.sock")),
        "{seen:?}"
    );
    for (name, mode) in seen {
        // An empty file that is only locked.
        assert!(
            mode & 0o007 == 0 || name.ends_with("layerd.db.lock"),
            "{name}: {mode:o} is for all"
        );
    }
}

/// Files below a directory with their modes; what lies in a directory that is closed to others is closed.
fn walk(dir: &Path, seen: &mut Vec<(String, u32)>) {
    for entry in std::fs::read_dir(dir).expect("readable") {
        let path = entry.expect("an entry").path();
        let mode = path.symlink_metadata().expect("there").permissions().mode() & 0o777;
        if path.is_dir() && mode & 0o007 != 0 {
            walk(&path, seen);
        } else if !path.is_symlink() {
            seen.push((path.display().to_string(), mode));
        }
    }
}

#[test]
fn without_a_daemon_and_with_a_broken_configuration_it_says_so() {
    let house = House::new(|dir| {
        let broken = configuration(dir)
            .replace("access_code =", "acess_code =")
            .replace("api_key = ", "api_key = \"twice\"\napi_key = ")
            .replace("[api]", "[api\nthis is not TOML");
        broken + "\n[printer.b]\ndriver = \"moonraker\"\napi_key \"" + secret("key of Moonraker") + "\"\n"
    });
    let made = house.verb(&["support", "--output", "out.zip", "--log", "careless.log"]);
    assert!(made.status.success(), "{}", words(&made));
    let files = opened(&house.dir.path().join("out.zip"));
    assert!(
        files["daemon.txt"].contains("The daemon is not running"),
        "{}",
        files["daemon.txt"]
    );
    assert!(
        files["check.json"].contains("this is not TOML"),
        "{}",
        files["check.json"]
    );
    assert!(
        files["database.json"].contains("layerd.db"),
        "{}",
        files["database.json"]
    );
    let shown = &files["layerd.toml"];
    for secret in [
        "access code in the text",
        "key of Moonraker",
        "what nobody knows: a comment",
        "login of a camera",
    ]
    .map(secret)
    {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
    assert!(
        shown.contains("[printer.x1c]") && shown.contains("bed = [220, 220, 250]"),
        "{shown}"
    );
    let gone = House::new(|_| String::new());
    std::fs::remove_file(gone.dir.path().join("layerd.toml")).expect("removed");
    let made = gone.verb(&["support", "--output", "out.zip"]);
    assert!(made.status.success(), "{}", words(&made));
}

#[test]
fn where_not_every_secret_can_be_known_logs_and_traffic_are_left_out() {
    let house = House::new(configuration);
    std::fs::create_dir(house.dir.path().join("state")).expect("made");
    std::fs::write(house.dir.path().join("state").join(FILE_NAME), "not a database").expect("written");
    let made = house.verb(&["support", "--output", "out.zip", "--log", "careless.log"]);
    assert!(words(&made).contains("Run it with sudo"), "{}", words(&made));
    let files = opened(&house.dir.path().join("out.zip"));
    assert!(
        !files.contains_key("log.txt") && !files.contains_key("journal.txt"),
        "{:?}",
        files.keys()
    );
    assert!(
        files["README.txt"].contains("LEFT OUT"),
        "{}",
        files["README.txt"]
    );
}
