//! Things go wrong while somebody prints from the terminal: each ends with words and a number.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of a test may fail it"
)]

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use layerd::drivers::marlin::sim::pty::{PtyOptions, SimPty};
use layerd::drivers::marlin::sim::{Injection, Options};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(90);
const PLATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/gcode/plate.gcode");

struct House {
    dir: tempfile::TempDir,
    sim: SimPty,
    daemon: Child,
}

impl House {
    fn build(speed: f64) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let options = PtyOptions {
            sim: Options {
                speed,
                ..Options::default()
            },
            link: Some(dir.path().join("port")),
            ..PtyOptions::default()
        };
        let sim = SimPty::spawn(options).expect("a terminal");
        let text = format!(
            "[agent]\nstate_dir = \"{0}/state\"\nruntime_dir = \"{0}/run\"\n[api]\nlisten = []\n[printer.ender3]\n\
             driver = \"marlin\"\nport = \"{0}/port\"\nbaud = 115200\nbed = [220, 220, 250]\nmax_tool_c = 260\n",
            dir.path().display()
        );
        std::fs::write(dir.path().join("layerd.toml"), text).expect("written");
        let daemon = command(dir.path(), &["run"])
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let house = House { dir, sim, daemon };
        house.until("operational");
        house
    }

    fn verb(&self, args: &[&str]) -> Output {
        command(self.dir.path(), args).output().expect("started")
    }

    fn until(&self, state: &str) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let rows: Value =
                serde_json::from_slice(&self.verb(&["printers", "--json"]).stdout).unwrap_or(Value::Null);
            if rows[0]["state"] == state {
                return;
            }
            assert!(Instant::now() < deadline, "not {state}: {rows}");
        }
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).expect("written");
        path.display().to_string()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_layerd"));
    command
        .args(args)
        .arg("--config")
        .arg(dir.join("layerd.toml"))
        .env_remove("JOURNAL_STREAM");
    command
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Starts `print --follow` and waits until the printer prints.
fn following(house: &House) -> Child {
    let child = command(house.dir.path(), &["print", "ender3", PLATE, "--follow"])
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    house.until("printing");
    child
}

#[test]
fn a_printer_that_is_killed_ends_the_print_with_its_words() {
    let house = House::build(5.0);
    let child = following(&house);
    house.sim.inject(Injection::Kill(
        "Heating Failed, system stopped! Heater_ID: E0".to_owned(),
    ));
    let output = child.wait_with_output().expect("ended");
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    assert!(
        words(&output).contains("The print ended: failed."),
        "{}",
        words(&output)
    );
    assert!(
        words(&output).contains("marlin/"),
        "with a code: {}",
        words(&output)
    );
}

#[test]
fn a_pulled_cable_ends_the_print_and_a_plugged_one_brings_the_printer_back() {
    let house = House::build(5.0);
    let child = following(&house);
    house.sim.unplug();
    let output = child.wait_with_output().expect("ended");
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    assert!(
        words(&output).contains("The print ended: failed."),
        "{}",
        words(&output)
    );
    house.until("offline");
    house.sim.replug(true).expect("plugged in");
    house.until("operational");
}

#[test]
fn a_watcher_that_leaves_does_not_end_the_print() {
    let house = House::build(5.0);
    let child = following(&house);
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("sent");
    let output = child.wait_with_output().expect("ended");
    assert_eq!(output.status.code(), Some(3), "{}", words(&output));
    assert!(
        words(&output).contains("goes on") && words(&output).contains("layerd cancel ender3"),
        "{}",
        words(&output)
    );
    house.until("printing");
}

#[test]
fn files_that_are_no_prints_are_refused_before_anything_heats() {
    let house = House::build(20.0);
    let mut long = b"G28\nG1 X10 Y10 ;".to_vec();
    long.extend(std::iter::repeat_n(b'x', 2 << 20));
    let cases = [
        ("empty.gcode", Vec::new(), 2),
        (
            "nul.gcode",
            b"G28\nG1 X\0\0\0\0\0\0 Y10\nM104 S200\n\0\0\0\0\0\0".to_vec(),
            4,
        ),
        (
            "hot.gcode",
            b"G28\nM104 S400\nG1 X10 Y10 Z0.2\nG1 X20 E5\n".to_vec(),
            4,
        ),
        (
            "wide.gcode",
            b"G28\nM83\nG1 X10 Y10 Z0.2\nG1 X400 E5\n".to_vec(),
            4,
        ),
    ];
    for (name, content, code) in cases {
        let output = house.verb(&["print", "ender3", &house.file(name, content)]);
        assert_eq!(output.status.code(), Some(code), "{name}: {}", words(&output));
        assert!(
            words(&output).len() > 20,
            "{name} is refused with words: {}",
            words(&output)
        );
    }
    assert!(!house.sim.with(|sim| sim.is_heating()), "nothing was heated");
    let output = house.verb(&["print", "ender3", &house.file("long.gcode", long)]);
    assert!(
        matches!(output.status.code(), Some(0 | 4)),
        "a long comment is no disaster: {}",
        words(&output)
    );
    house.until("operational");
}

#[test]
fn a_file_of_many_parts_arrives_whole() {
    let house = House::build(1000.0);
    let mut content = b"G28\nM83\n".to_vec();
    // 40 MB of moves: two requests of the upload.
    let line = b"G1 X50.000 Y50.000 E0.00001 ; a comment that fills the line up to its end\n";
    while content.len() < 40 << 20 {
        content.extend_from_slice(line);
    }
    let path = house.file("big.gcode", &content);
    let output = house.verb(&["print", "ender3", &path]);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    let output = house.verb(&["cancel", "ender3"]);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    let spooled = std::fs::read_dir(house.dir.path().join("state/spool")).expect("a spool");
    let whole = spooled
        .flatten()
        .any(|f| f.metadata().is_ok_and(|m| m.len() == content.len() as u64));
    assert!(whole, "the file lies in the spool as it was sent");
}

/// The service failed for good with a print on the bed: its last resort reads the printer's own word.
#[test]
fn a_printer_that_a_dead_daemon_left_printing_is_cooled() {
    cooled_after_death(|_| {});
    // Nor does it stay hot because nobody can tell any more what was printed.
    cooled_after_death(|state| {
        for entry in std::fs::read_dir(state).expect("readable") {
            let path = entry.expect("an entry").path();
            if path.to_string_lossy().contains(".db") {
                std::fs::write(path, b"no database").expect("written");
            }
        }
    });
}

/// A mistake in the configuration is what most often keeps a service from coming back.
#[test]
fn a_broken_configuration_leaves_no_heater_on() {
    cooled_after_death(|state| {
        let config = state.parent().expect("a folder").join("layerd.toml");
        let text = std::fs::read_to_string(&config).expect("readable");
        let broken = text.replace("driver", "drvier") + "\n[upstream.mqtt\n";
        std::fs::write(config, broken).expect("written");
    });
}

fn cooled_after_death(harm: impl Fn(&Path)) {
    let mut house = House::build(2.0);
    let running = house.verb(&["cool"]);
    assert_eq!(running.status.code(), Some(1), "{}", words(&running));
    assert!(
        words(&running).contains("service is running"),
        "{}",
        words(&running)
    );
    let mut print = following(&house);
    let deadline = Instant::now() + LIMIT;
    while house.sim.with(|sim| sim.tool_target_c(0)) <= 0.0 {
        assert!(Instant::now() < deadline, "nothing becomes hot");
        house.until("printing");
    }
    house.daemon.kill().expect("killed");
    house.daemon.wait().expect("gone");
    // It would wait for the daemon to come back.
    print.kill().expect("ended");
    print.wait().expect("ended");
    harm(&house.dir.path().join("state"));
    let cooled = house.verb(&["cool"]);
    assert_eq!(cooled.status.code(), Some(0), "{}", words(&cooled));
    let said = String::from_utf8_lossy(&cooled.stdout).into_owned();
    assert!(said.contains("ender3: its heaters are off"), "{said}");
    let left = house.sim.with(|sim| (sim.tool_target_c(0), sim.bed_target_c()));
    assert_eq!(left, (0.0, 0.0));
}

#[test]
fn a_draining_host_finishes_what_prints_and_starts_nothing() {
    let house = House::build(200.0);
    let mut print = following(&house);
    let drained = house.verb(&["drain"]);
    assert_eq!(drained.status.code(), Some(0), "{}", words(&drained));
    assert_eq!(
        print.wait().expect("ended").code(),
        Some(0),
        "the print was not finished"
    );
    house.until("operational");
    let refused = house.verb(&["print", "ender3", PLATE]);
    assert_eq!(refused.status.code(), Some(4), "{}", words(&refused));
    assert_eq!(house.verb(&["drain", "--off"]).status.code(), Some(0));
    let taken = house.verb(&["print", "ender3", PLATE]);
    assert_eq!(taken.status.code(), Some(0), "{}", words(&taken));
}
