//! Somebody without a printer: `layerd simulate moonraker` in one process, the daemon in another, and the verbs
//! that drive it. What the simulated Klipper executed is compared with what was asked.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of a test may fail it"
)]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

/// What `simulate moonraker --key` wants to hear.
const KEY: &str = "0123456789abcdef0123456789abcdef";

struct House {
    dir: tempfile::TempDir,
    printer: Child,
    daemon: Child,
}

fn layerd() -> Command {
    Command::new(env!("CARGO_BIN_EXE_layerd"))
}

impl House {
    fn build() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut printer = layerd()
            .args(["--json", "simulate", "moonraker", "--port", "0", "--speed", "60"])
            .args(["--startup", "0.1", "--key", KEY, "--executed"])
            .arg(dir.path().join("executed"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = String::new();
        BufReader::new(printer.stdout.take().unwrap())
            .read_line(&mut told)
            .unwrap();
        let told: Value = serde_json::from_str(&told).unwrap();
        let path = dir.path().display();
        let text = format!(
            "[agent]\nstate_dir = \"{path}/state\"\nruntime_dir = \"{path}/run\"\n[api]\nlisten = []\n\
             [printer.voron]\ndriver = \"moonraker\"\nurl = {}\napi_key = \"{KEY}\"\n",
            told["url"]
        );
        let config = config(dir.path());
        std::fs::write(&config, text).unwrap();
        std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o600)).unwrap();
        let daemon = layerd()
            .args(["run", "--config"])
            .arg(config)
            .env_remove("JOURNAL_STREAM")
            .stderr(std::fs::File::create(dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        House { dir, printer, daemon }
    }

    /// Runs a verb to its end: its exit code, and what it said.
    fn verb(&self, args: &[&str]) -> (i32, String) {
        let output = layerd()
            .args(args)
            .arg("--config")
            .arg(config(self.dir.path()))
            .output()
            .unwrap();
        let told = [output.stdout, output.stderr].concat();
        (
            output.status.code().unwrap(),
            String::from_utf8_lossy(&told).into_owned(),
        )
    }

    fn works(&self, args: &[&str]) {
        let (code, told) = self.verb(args);
        assert_eq!(code, 0, "{args:?}: {told}");
    }

    fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + LIMIT;
        loop {
            let (_, told) = self.verb(&["--json", "printers"]);
            let rows: Value = serde_json::from_str(&told).unwrap_or_default();
            if rows.get(0).is_some_and(&wanted) {
                return rows[0].clone();
            }
            assert!(Instant::now() < deadline, "not {what}: {told}");
        }
    }

    /// Says something to the simulated printer, as at its keyboard.
    fn tell(&mut self, word: &str) {
        writeln!(self.printer.stdin.as_mut().unwrap(), "{word}").unwrap();
    }

    fn executed(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.path().join("executed")).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn file(&self, name: &str, moves: usize) -> PathBuf {
        let mut text =
            "EXCLUDE_OBJECT_DEFINE NAME=ant CENTER=20,20\nEXCLUDE_OBJECT_DEFINE NAME=bee CENTER=90,90\n\
                        M140 S50\nM190 S50\nG28\n"
                .to_owned();
        for n in 0..moves {
            let object = ["ant", "bee"][n % 2];
            text += &format!(
                "EXCLUDE_OBJECT_START NAME={object}\nG1 X{} Y20 F3000\nEXCLUDE_OBJECT_END NAME={object}\n",
                n / 2 % 2 * 200
            );
        }
        text += "M140 S0\n";
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for House {
    fn drop(&mut self) {
        for child in [&mut self.daemon, &mut self.printer] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn config(dir: &Path) -> PathBuf {
    dir.join("layerd.toml")
}

fn is(state: &'static str) -> impl Fn(&Value) -> bool {
    move |p| p["state"] == state
}

#[test]
fn a_simulated_klipper_prints_skips_pauses_resumes_and_survives_a_shutdown() {
    let mut house = House::build();
    let seen = house.until("ready", is("operational"));
    assert_eq!(seen["firmware"]["name"], "Klipper");

    // From the first line to the last.
    let short = house.file("short.gcode", 10);
    house.works(&["print", "voron", short.to_str().unwrap(), "--follow"]);
    let wanted = std::fs::read_to_string(&short).unwrap();
    let wanted: Vec<&str> = wanted.lines().collect();
    let done = house.executed();
    assert_eq!(
        done[done.len() - wanted.len()..],
        wanted,
        "every line once and in order"
    );

    // A long one, with everything on the way.
    let long = house.file("long.gcode", 3_000);
    house.works(&["print", "voron", long.to_str().unwrap()]);
    house.until("printing", is("printing"));
    house.works(&["skip", "voron", "bee"]);
    let seen = house.until("skipped", |p| {
        p["job"]["skipped"].as_array().is_some_and(|s| s.len() == 1)
    });
    assert_eq!(seen["job"]["skipped"][0], 1);
    house.works(&["pause", "voron"]);
    house.until("paused", is("paused"));
    assert_eq!(house.verb(&["pause", "voron"]).0, 4, "refused by a rule");
    house.works(&["resume", "voron"]);
    house.until("printing", is("printing"));
    let done = house.executed();
    for line in ["EXCLUDE_OBJECT NAME=BEE", "PAUSE", "RESUME"] {
        assert_eq!(done.iter().filter(|l| *l == line).count(), 1, "{line}");
    }

    // A fault of the firmware ends the job with words, and a restart makes the printer usable again.
    house.tell("shutdown MCU 'mcu' shutdown: Timer too close");
    let seen = house.until("stopped", |p| p["state"] == "error" && p["job"].is_null());
    let titles = seen["notices"].to_string();
    assert!(titles.contains("too late"), "{titles}");
    house.works(&["send", "voron", "FIRMWARE_RESTART"]);
    house.until("ready again", is("operational"));
    house.works(&["print", "voron", short.to_str().unwrap(), "--follow"]);

    let log = std::fs::read_to_string(house.dir.path().join("log")).unwrap();
    assert!(!log.contains(KEY), "the key is in no log");
}
