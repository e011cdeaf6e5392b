//! `kill -9` at random instants of prints on printers that print by themselves: the simulated Klipper and the
//! simulated Bambu Lab printer. They go on without the daemon; after each restart it has to say what they do,
//! under the same identity, and must have done nothing by itself.
//!
//! `KILLS` instants each (10), from `SEED` (fixed); `tests/long/run kill` does 200.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

#[path = "support/manager.rs"]
mod manager;

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use layerd::drivers::bambu::sim as bambu;
use layerd::drivers::moonraker::sim as klipper;
use manager::{Manager, Service};
use serde_json::Value;

const LAYERD: &str = env!("CARGO_BIN_EXE_layerd");
/// Far more than anything here takes.
const LONG: Duration = Duration::from_secs(90);

/// What the printer itself knows, asked past the daemon.
trait Truth {
    fn config(&self) -> String;
    fn file(&self) -> &Path;
    /// The daemon's word for what it does.
    fn word(&self) -> &'static str;
    /// Prints that were begun.
    fn starts(&self) -> usize;
    fn skipped(&self) -> usize;
    fn is_heating(&self) -> bool;
    /// Objects of the file by which they can be left out.
    fn objects(&self) -> [&'static str; 2];
}

struct Klipper {
    sim: klipper::SimPrinter,
    executed: PathBuf,
    file: PathBuf,
}

impl Klipper {
    async fn start(dir: &Path) -> Klipper {
        let mut text =
            String::from("M117 begin\nM140 S60\nM104 S200\nG28\nM109 S200\nG90\nM83\nG1 Z0.3 F600\n");
        for run in 0..150 {
            let object = run % 3;
            text += &format!("; printing object part{object} id:{object} copy 0\n");
            for n in 0..20 {
                text += &format!(
                    "G1 X{} Y{} E0.1 F900\n",
                    10 + n % 2 * 20 + 30 * object,
                    10 + run / 3
                );
            }
            text += &format!("; stop printing object part{object} id:{object} copy 0\n");
        }
        let file = dir.join("part.gcode");
        fs::write(&file, text + "M104 S0\nM140 S0\n").expect("a file");
        let executed = dir.join("executed");
        let door = klipper::Door::Port {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            key: None,
        };
        let options = klipper::Options {
            speed: 200.0,
            files: dir.join("files"),
            startup_s: 0.1,
        };
        let sim = klipper::SimPrinter::start(door, options, Some(&executed)).await;
        Klipper {
            sim: sim.expect("a printer"),
            executed,
            file,
        }
    }

    fn told(&self, path: &str) -> Value {
        let all = Value::Object(self.sim.with(|k| k.objects_now()));
        all.pointer(path).cloned().unwrap_or_default()
    }
}

impl Truth for Klipper {
    fn config(&self) -> String {
        format!(
            "driver = \"moonraker\"\nurl = {:?}\n",
            self.sim.url().expect("a port")
        )
    }

    fn file(&self) -> &Path {
        &self.file
    }

    fn word(&self) -> &'static str {
        match self.told("/print_stats/state").as_str() {
            Some("printing") => "printing",
            Some("paused") => "paused",
            _ => "operational",
        }
    }

    fn starts(&self) -> usize {
        let text = fs::read_to_string(&self.executed).unwrap_or_default();
        text.lines().filter(|l| *l == "M117 begin").count()
    }

    fn skipped(&self) -> usize {
        let out = self.told("/exclude_object/excluded_objects");
        out.as_array().map_or(0, Vec::len)
    }

    fn is_heating(&self) -> bool {
        self.told("/extruder/target").as_f64() > Some(0.0)
    }

    fn objects(&self) -> [&'static str; 2] {
        ["0", "1"]
    }
}

struct Bambu {
    sim: bambu::Sim,
    file: PathBuf,
}

impl Bambu {
    async fn start(dir: &Path) -> Bambu {
        let file = dir.join("part.gcode.3mf");
        project(&file);
        let kind = bambu::kind::Kind::ALL[1].1;
        let options = bambu::Options {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            mqtt_port: 0,
            ftps_port: 0,
            camera_port: 0,
            serial: kind.serial().to_owned(),
            code: "12345678".to_owned(),
            speed: 60.0,
            kind,
            dev_mode: true,
            silent: false,
            root: dir.join("card"),
        };
        Bambu {
            sim: bambu::Sim::start(options).await.expect("a printer"),
            file,
        }
    }

    fn told(&self, key: &str) -> Value {
        self.sim.shared.with(|p| p.get(key))
    }
}

impl Truth for Bambu {
    fn config(&self) -> String {
        format!(
            "driver = \"bambu\"\nhost = \"127.0.0.1\"\nserial = {:?}\naccess_code = \"12345678\"\n\
             mqtt_port = {}\nftps_port = {}\ncamera_port = {}\n",
            self.sim.shared.options.serial,
            self.sim.mqtt.port(),
            self.sim.ftps.port(),
            self.sim.camera.port(),
        )
    }

    fn file(&self) -> &Path {
        &self.file
    }

    fn word(&self) -> &'static str {
        match self.told("gcode_state").as_str() {
            Some("PREPARE" | "RUNNING") => "printing",
            Some("PAUSE") => "paused",
            _ => "operational",
        }
    }

    fn starts(&self) -> usize {
        self.sim.shared.with(|p| p.starts())
    }

    fn skipped(&self) -> usize {
        self.told("s_obj").as_array().map_or(0, Vec::len)
    }

    fn is_heating(&self) -> bool {
        // While it prepares it has not begun to heat.
        self.told("gcode_state") == "PREPARE" || self.told("nozzle_target_temper").as_f64() > Some(0.0)
    }

    fn objects(&self) -> [&'static str; 2] {
        ["104", "121"]
    }
}

/// A small sliced project with three objects.
fn project(path: &Path) {
    let ids = [104, 121, 138];
    let mut text = String::from(
        "; HEADER_BLOCK_START\n; total layer number: 3\n; model label id: 104,121,138\n; HEADER_BLOCK_END\n\
         ; CONFIG_BLOCK_START\n; CONFIG_BLOCK_END\n; EXECUTABLE_BLOCK_START\nM140 S55\nG28\nM190 S55\nM109 S220\nM83\n",
    );
    for layer in 1..=3 {
        text += &format!(
            "; CHANGE_LAYER\n; Z_HEIGHT: 0.{}\n; LAYER_HEIGHT: 0.2\nM73 L{layer}\nG1 Z0.{} F600\n",
            layer * 2,
            layer * 2
        );
        for (n, id) in ids.iter().enumerate() {
            let x = 20 + 40 * n;
            text += &format!(
                "; start printing object, unique label id: {id}\nG1 X{x} Y20 F9000\nG1 X{} E.9\nG1 Y50 E.9\n\
                 G1 X{x} E.9\nG1 Y20 E.9\n; stop printing object, unique label id: {id}\n",
                x + 30
            );
        }
    }
    text += "M104 S0\nM140 S0\n; EXECUTABLE_BLOCK_END\n";
    let objects: String = ids
        .iter()
        .map(|id| format!("<object identify_id=\"{id}\" name=\"part {id}\" skipped=\"false\"/>"))
        .collect();
    let info = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><config><plate><metadata key=\"index\" value=\"1\"/>\
         <metadata key=\"prediction\" value=\"240\"/><metadata key=\"label_object_enabled\" value=\"true\"/>{objects}\
         <filament id=\"1\" tray_info_idx=\"GFA00\" type=\"PLA\" color=\"#FFFFFF\" used_m=\"1.78\" used_g=\"5.31\"/>\
         </plate></config>"
    );
    let mut archive = zip::ZipWriter::new(fs::File::create(path).expect("a file"));
    for (name, text) in [
        (
            "3D/3dmodel.model",
            "<?xml version=\"1.0\"?><model unit=\"millimeter\"><resources/><build/></model>",
        ),
        ("Metadata/plate_1.gcode", text.as_str()),
        ("Metadata/slice_info.config", info.as_str()),
    ] {
        archive
            .start_file(name, zip::write::SimpleFileOptions::default())
            .expect("an entry");
        archive.write_all(text.as_bytes()).expect("written");
    }
    archive.finish().expect("closed");
}

/// A small generator: the same choices for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

struct Bench<'a> {
    dir: &'a Path,
    manager: Manager,
    printer: &'a dyn Truth,
    prints: usize,
}

impl Bench<'_> {
    fn layerd(&self, args: &[&str]) -> Output {
        let mut command = Command::new(LAYERD);
        command
            .arg("--config")
            .arg(self.dir.join("layerd.toml"))
            .args(args);
        command.output().expect("layerd runs")
    }

    fn look(&self) -> Value {
        let all: Value =
            serde_json::from_slice(&self.layerd(&["printers", "--json"]).stdout).unwrap_or_default();
        all[0].clone()
    }

    fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + LONG;
        loop {
            let printer = self.look();
            if wanted(&printer) {
                return printer;
            }
            assert!(Instant::now() < deadline, "never {what}: {printer}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Daemon and printer say the same.
    fn agreed(&self, when: &str) -> Value {
        self.until(&format!("agreed with the printer ({when})"), |p| {
            p["state"] == self.printer.word() && p["link"]["up"] == true
        })
    }

    fn database_is_sound(&self, when: &str) {
        let path = self.dir.join("state/layerd.db");
        let db = rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
            .expect("the database opens");
        db.busy_timeout(Duration::from_secs(10)).expect("set");
        let check: String = db
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .expect("checked");
        assert_eq!(check, "ok", "{when}");
        let count = |sql: &str| {
            db.query_row(sql, [], |row| row.get::<_, i64>(0))
                .expect("counted") as usize
        };
        assert_eq!(
            count("SELECT COUNT(*) FROM jobs"),
            self.prints,
            "{when}: one job per print"
        );
        let lost = count("SELECT COUNT(*) FROM jobs WHERE state IN ('failed', 'interrupted')");
        assert_eq!(lost, 0, "{when}: these prints went on by themselves");
        let running = count("SELECT COUNT(*) FROM jobs WHERE state NOT IN ('done', 'cancelled')");
        assert!(running <= 1, "{when}: {running} live jobs");
    }
}

fn skipped_of(printer: &Value) -> usize {
    printer["job"]["skipped"].as_array().map_or(0, Vec::len)
}

fn kill_at_random(dir: &Path, printer: &dyn Truth) {
    let number = |name: &str, usual: u64| {
        let given = std::env::var(name).ok();
        given.and_then(|t| t.parse().ok()).unwrap_or(usual)
    };
    let (kills, seed) = (number("KILLS", 10), number("SEED", 20_261_121));
    let mut dice = Dice(seed | 1);
    let config = format!(
        "[agent]\nstate_dir = {:?}\nruntime_dir = {:?}\n[api]\nlisten = []\n[printer.p]\n{}",
        dir.join("state"),
        dir.join("run"),
        printer.config(),
    );
    let path = dir.join("layerd.toml");
    fs::write(&path, config).expect("a file");
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("private");
    let manager = Manager::start(Service {
        program: PathBuf::from(LAYERD),
        args: vec!["--config".into(), path.into(), "run".into()],
        env: Vec::new(),
        watchdog: None,
    });
    let mut bench = Bench {
        dir,
        manager,
        printer,
        prints: 0,
    };
    let (mut went_on, mut paused, mut over) = (0, 0, 0);
    for kill in 0..kills {
        let mut told = bench.agreed("before");
        if told["job"].is_null() {
            let file = printer.file().to_str().expect("utf-8").to_owned();
            let output = bench.layerd(&["print", "p", &file]);
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            bench.prints += 1;
            told = bench.look();
        }
        let (uid, state) = (told["job"]["uid"].clone(), told["state"].clone());
        let act = match (state.as_str().unwrap_or_default(), dice.below(4)) {
            ("printing", 0) => vec!["pause", "p", "--no-wait"],
            ("printing", 1) => vec![
                "skip",
                "p",
                printer.objects()[dice.below(2) as usize],
                "--no-wait",
            ],
            ("paused", 0..=2) => vec!["resume", "p", "--no-wait"],
            _ => Vec::new(),
        };
        if !act.is_empty() {
            bench.layerd(&act);
        }
        // The instant is random by intention: nothing is waited for.
        let instant = Instant::now() + Duration::from_millis(dice.below(300));
        while let Some(rest) = instant.checked_duration_since(Instant::now()) {
            std::thread::park_timeout(rest);
        }
        let skipped = skipped_of(&bench.look());
        bench.manager.kill9();
        let stood = printer.word();
        bench.manager.launch_again();
        let when = format!("kill {kill} of seed {seed}, {state} {act:?}");
        // Never idle with a print in hand.
        let first = bench.look();
        assert!(
            first["job"].is_null() || first["state"] != "operational",
            "{when}: {first}"
        );
        let now = bench.agreed(&when);
        assert_eq!(
            printer.starts(),
            bench.prints,
            "{when}: something was started by itself"
        );
        match printer.word() {
            "operational" => over += 1,
            word => {
                // Over between two looks is all that may have happened since.
                if !now["job"].is_null() {
                    assert_eq!(now["job"]["uid"], uid, "{when}: another job");
                    assert!(
                        skipped_of(&now) >= skipped,
                        "{when}: an object is printed again: {now}"
                    );
                    bench.until("the skipped objects", |p| {
                        p["job"].is_null() || skipped_of(p) == printer.skipped()
                    });
                }
                if word == "paused" {
                    assert_eq!(stood, "paused", "{when}: paused by itself");
                    paused += 1;
                } else {
                    assert!(
                        printer.is_heating() || printer.word() != "printing",
                        "{when}: went cold"
                    );
                    assert!(stood != "paused", "{when}: resumed by itself");
                    went_on += 1;
                }
            }
        }
        bench.database_is_sound(&when);
    }
    let last = bench.agreed("at the end");
    if last["state"] == "paused" {
        assert!(bench.layerd(&["resume", "p"]).status.success());
    }
    bench.until("over", |p| p["job"].is_null() && p["state"] == "operational");
    bench.database_is_sound("at the end");
    println!(
        "{kills} kills, {} prints: went on {went_on}, paused {paused}, over meanwhile {over}",
        bench.prints
    );
    assert!(went_on > 0, "nothing ever went on");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
}

#[test]
fn klipper_prints_on_and_is_known_again_whenever_the_daemon_is_killed() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("a directory");
    let printer = runtime.block_on(Klipper::start(dir.path()));
    kill_at_random(dir.path(), &printer);
}

#[test]
fn bambu_prints_on_and_is_known_again_whenever_the_daemon_is_killed() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("a directory");
    let printer = runtime.block_on(Bambu::start(dir.path()));
    kill_at_random(dir.path(), &printer);
}
