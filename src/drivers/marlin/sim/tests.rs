use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use proptest::prelude::*;

use super::pty::{PtyOptions, SimPty};
use super::*;

const MS: Duration = Duration::from_millis(1);

fn s(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn numbered(n: i64, command: &str) -> String {
    let body = format!("N{n} {command}");
    let sum = body.bytes().fold(0u8, |sum, byte| sum ^ byte);
    format!("{body}*{sum}\n")
}

/// A printer after its boot, with the banner read.
struct Bench {
    sim: Sim,
    now: Duration,
}

impl Bench {
    fn new(options: Options) -> Self {
        let mut sim = Sim::new(options);
        sim.advance(s(1.0));
        let banner = String::from_utf8(sim.take_output()).expect("text");
        assert!(banner.starts_with("start\n"), "{banner}");
        Bench { sim, now: s(1.0) }
    }

    fn send(&mut self, text: &str) -> Vec<String> {
        self.sim.feed(self.now, text.as_bytes());
        self.read()
    }

    fn read(&mut self) -> Vec<String> {
        let bytes = self.sim.take_output();
        String::from_utf8_lossy(&bytes)
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// Follows the deadlines for so long and collects what is said.
    fn pass(&mut self, time: Duration) -> Vec<String> {
        let end = self.now + time;
        let mut said = Vec::new();
        while let Some(at) = self.sim.deadline().filter(|at| *at <= end) {
            self.now = at.max(self.now + Duration::from_nanos(1));
            self.sim.advance(self.now);
            said.extend(self.read());
        }
        self.now = end;
        self.sim.advance(end);
        said.extend(self.read());
        said
    }
}

fn bench() -> Bench {
    Bench::new(Options::default())
}

#[test]
fn every_line_gets_one_ok_and_empty_ones_none() {
    let mut bench = bench();
    assert_eq!(bench.send("N0 M110 N0*125\n"), ["ok"]);
    assert_eq!(bench.send(&numbered(1, "G90")), ["ok"]);
    assert_eq!(bench.send("\n\r\n; nothing\n"), [""; 0]);
    assert_eq!(
        bench.send("M9999 X1\n"),
        ["echo:Unknown command: \"M9999 X1\"", "ok"]
    );
    assert_eq!(bench.send("g28\n"), ["echo:Unknown command: \"g28\"", "ok"]);
    assert_eq!(bench.send("G20\n"), ["echo:Unknown command: \"G20\"", "ok"]);
    assert_eq!(bench.send("T1\n"), ["echo:T1 Invalid extruder", "ok"]);
    assert_eq!(bench.send("M105\n"), ["ok T:21.00 /0.00 B:21.00 /0.00 @:0 B@:0"]);
}

#[test]
fn damage_is_asked_for_again_and_repeats_are_dropped_in_silence() {
    let mut bench = bench();
    bench.send("N0 M110 N0*125\n");
    bench.send(&numbered(1, "G90"));
    bench.send(&numbered(2, "G91"));
    assert_eq!(
        bench.send("N3 G90*1\n"),
        ["Error:checksum mismatch, Last Line: 2", "Resend: 3", "ok"]
    );
    assert_eq!(bench.send(&numbered(2, "G91")), [""; 0]);
    assert_eq!(bench.send(&numbered(1, "G90")), [""; 0]);
    assert_eq!(
        bench.send(&numbered(7, "G90")),
        [
            "Error:Line Number is not Last Line Number+1, Last Line: 2",
            "Resend: 3",
            "ok"
        ]
    );
    assert_eq!(
        bench.send("N3 G90 ; comment*24\n"),
        [
            "Error:No Checksum with line number, Last Line: 2",
            "Resend: 3",
            "ok"
        ]
    );
    let long = numbered(3, &format!("M117 {}", "x".repeat(100)));
    assert_eq!(
        bench.send(&long)[0],
        "Error:No Checksum with line number, Last Line: 2"
    );
    assert_eq!(bench.send(&numbered(9, "M110 N41")), ["ok"]);
    assert_eq!(bench.send(&numbered(42, "G90")), ["ok"]);
}

#[test]
fn an_error_empties_the_receive_buffer() {
    let mut bench = bench();
    bench.send("N0 M110 N0*125\n");
    // A dwell fills the queue, so the later lines wait in the receive buffer.
    bench.send(&numbered(1, "G4 P100"));
    bench.send(&numbered(2, "G4 P100"));
    bench.send(&numbered(3, "G4 P100"));
    bench.send(&numbered(4, "G4 P100"));
    bench.send("N5 G90*0\n");
    bench.send(&numbered(6, "G91"));
    let said = bench.pass(s(1.0));
    assert_eq!(
        said,
        [
            "ok",
            "Error:checksum mismatch, Last Line: 4",
            "Resend: 5",
            "ok",
            "ok",
            "ok",
            "ok"
        ]
    );
}

#[test]
fn moves_are_acknowledged_until_the_planner_is_full() {
    let mut bench = Bench::new(Options {
        advanced_ok: true,
        ..Options::default()
    });
    bench.send("N0 M110 N0*125\n");
    let mut oks = 0;
    for n in 1..=20 {
        oks += bench.send(&numbered(n, &format!("G1 X{n} F60"))).len();
    }
    assert_eq!(oks, 15, "one second each, fifteen fit");
    let said = bench.pass(s(2.5));
    assert!(
        said.iter().filter(|l| l.starts_with("ok N")).count() >= 2,
        "{said:?}"
    );
    let said = bench.pass(s(30.0));
    assert!(said.contains(&"ok N20 P0 B3".to_owned()), "{said:?}");
    assert_eq!(bench.sim.position().x_mm, 20.0);
    assert_eq!(
        bench.send("M114\n")[0],
        "X:20.00 Y:0.00 Z:0.00 E:0.00 Count X:1600 Y:0 Z:0"
    );
}

#[test]
fn heating_waits_report_and_end_by_themselves_or_by_m108() {
    let mut bench = bench();
    assert_eq!(bench.send("M109 S60\n").len(), 1, "the first report");
    let said = bench.pass(s(5.0));
    assert!(
        said.iter().any(|l| l.starts_with(" T:") && l.ends_with("W:?")),
        "{said:?}"
    );
    assert!(said.contains(&"echo:busy: processing".to_owned()), "{said:?}");
    let said = bench.pass(s(20.0));
    assert_eq!(said.last().map(String::as_str), Some("ok"), "{said:?}");
    bench.send("M109 S200\n");
    assert_eq!(bench.send(&numbered(1, "M108")), ["ok", "ok"]);
    assert_eq!(bench.sim.tool_target_c(0), 200.0);
}

#[test]
fn an_emergency_stop_overtakes_and_silence_follows() {
    let mut bench = bench();
    bench.send("M104 S200\n");
    bench.send("M109 S200\n");
    assert_eq!(
        bench.send("M112\n"),
        [
            "echo:M112 Shutdown",
            "Error:Printer halted. kill() called!",
            "//action:poweroff"
        ]
    );
    assert!(!bench.sim.is_heating());
    assert_eq!(bench.send("M105\n"), [""; 0]);
    bench.sim.inject(bench.now, Injection::Reset);
    assert_eq!(bench.pass(s(1.0)).first().map(String::as_str), Some("start"));
    assert_eq!(bench.sim.resets(), 1);
}

#[test]
fn without_the_parser_an_unnumbered_m108_still_overtakes_but_a_numbered_one_does_not() {
    let mut bench = Bench::new(Options {
        emergency_parser: false,
        ..Options::default()
    });
    bench.send("N0 M110 N0*125\n");
    bench.send("M109 S200\n");
    assert_eq!(bench.send(&numbered(1, "M108")), [""; 0]);
    assert_eq!(bench.send("M108\n"), ["ok", "ok", "ok"]);
}

#[test]
fn a_click_is_waited_for_and_given_by_m876() {
    let mut bench = bench();
    let said = bench.send("M0 Change the nozzle\n");
    assert!(
        said.contains(&"//action:prompt_begin Change the nozzle".to_owned()),
        "{said:?}"
    );
    let said = bench.pass(s(5.0));
    assert!(
        said.contains(&"echo:busy: paused for user".to_owned()),
        "{said:?}"
    );
    let said = bench.send("M876 S0\n");
    assert_eq!(said, ["//action:prompt_end", "ok", "ok"]);
}

#[test]
fn a_filament_change_asks_twice() {
    let mut bench = bench();
    assert_eq!(bench.send("M600\n")[0], "//action:paused");
    assert!(
        bench
            .pass(s(5.0))
            .contains(&"//action:prompt_button Continue".to_owned())
    );
    bench.send("M108\n");
    assert!(
        bench
            .pass(s(7.0))
            .contains(&"//action:prompt_button PurgeMore".to_owned())
    );
    bench.send("M876 S0\n");
    assert!(
        bench
            .pass(s(3.0))
            .contains(&"//action:prompt_button PurgeMore".to_owned()),
        "asked again"
    );
    bench.send("M876 S1\n");
    let said = bench.pass(s(3.0));
    assert_eq!(
        said.first().map(String::as_str),
        Some("//action:resumed"),
        "{said:?}"
    );
    assert!(
        said.ends_with(&["ok".into(), "ok".into(), "ok".into(), "ok".into()]),
        "{said:?}"
    );
}

#[test]
fn idle_motors_fall_asleep_unless_told_otherwise() {
    let mut bench = bench();
    bench.send("G28\n");
    bench.pass(s(10.0));
    assert!(bench.sim.homed());
    bench.pass(s(121.0));
    assert!(bench.sim.motors_slept() && !bench.sim.homed());
    bench.send("G28\n");
    bench.pass(s(10.0));
    bench.send("M84 S0\n");
    bench.pass(s(1000.0));
    assert!(bench.sim.homed());
}

#[test]
fn a_print_from_the_card_runs_beside_the_host() {
    let mut bench = Bench::new(Options {
        card: Some(vec![(
            "part.gco".into(),
            b"G28 ; home\n\nG1 X10 F600\nM104 S0\n".to_vec(),
        )]),
        ..Options::default()
    });
    assert_eq!(
        bench.send("M20\n"),
        ["Begin file list", "PART.GCO 32", "End file list", "ok"]
    );
    bench
        .sim
        .inject(bench.now, Injection::PrintFromCard("part.gco".into()));
    let said = bench.read();
    assert!(
        said.contains(&"File opened: PART.GCO Size: 32".to_owned()),
        "{said:?}"
    );
    bench.pass(s(1.0));
    assert!(bench.sim.is_card_printing());
    let said = bench.pass(s(30.0));
    assert!(said.contains(&"Done printing file".to_owned()), "{said:?}");
    assert_eq!(bench.send("M27\n"), ["Not SD printing", "ok"]);
    assert_eq!(bench.sim.position().x_mm, 10.0);
}

#[test]
fn an_upload_to_the_card_is_not_executed() {
    let mut bench = bench();
    assert_eq!(bench.send("M28 up.gco\n"), ["Writing to file: UP.GCO", "ok"]);
    assert_eq!(bench.send(&numbered(1, "G1 X5")), ["ok"]);
    assert_eq!(bench.send("M29\n"), ["Done saving file.", "ok"]);
    assert_eq!(bench.sim.position().x_mm, 0.0);
    assert_eq!(bench.send("M20\n")[1], "UP.GCO 6");
}

#[test]
fn reports_come_by_the_clock() {
    let mut bench = bench();
    bench.send("M155 S2\n");
    let said = bench.pass(s(7.0));
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[0].starts_with(" T:21.00 /0.00"), "{said:?}");
    bench.send("M155 S0\n");
    assert_eq!(bench.pass(s(7.0)), [""; 0]);
    assert_eq!(bench.sim.deadline(), None, "an idle printer wants no attention");
}

#[test]
fn arcs_take_the_time_of_their_length() {
    let mut bench = bench();
    bench.send("G1 X10 Y0 F6000\n");
    bench.pass(s(1.0));
    // A half circle of 10 mm radius at 10 mm/s.
    bench.send("G3 X-10 Y0 I-10 J0 F600\n");
    bench.send("M400\n");
    let said = bench.pass(s(3.0));
    assert!(!said.contains(&"ok".to_owned()), "{said:?}");
    let said = bench.pass(s(0.3));
    assert!(said.contains(&"ok".to_owned()), "{said:?}");
}

#[test]
fn what_was_scheduled_happens() {
    let mut bench = Bench::new(Options {
        schedule: vec![(2, Injection::ThermalRunaway)],
        ..Options::default()
    });
    bench.send("M104 S100\n");
    let said = bench.send("G90\n");
    assert_eq!(said[0], "ok");
    assert!(said[1].starts_with("Error:Thermal Runaway"), "{said:?}");
    assert!(bench.sim.is_killed());
}

/// A sender that is slow but never wrong: one line, then what the printer asks for.
fn stream(sim: &mut Sim, program: &[String]) {
    let mut now = s(1.0);
    sim.advance(now);
    sim.take_output();
    let mut next = 1usize;
    let mut silent = 0;
    sim.feed(now, b"N0 M110 N0*125\n");
    while next <= program.len() && silent < 20_000 {
        let said = String::from_utf8_lossy(&sim.take_output()).into_owned();
        let mut go = said.lines().any(|l| l.starts_with("ok"));
        for line in said.lines() {
            if let Some(n) = line
                .strip_prefix("Resend: ")
                .and_then(|n| n.parse::<usize>().ok())
                && (1..=program.len()).contains(&n)
            {
                next = n;
            }
        }
        silent = if go { 0 } else { silent + 1 };
        // After two silent seconds the line or its answer is taken for lost.
        if silent > 0 && silent % 200 == 0 {
            go = true;
        }
        if go {
            sim.feed(now, numbered(next as i64, &program[next - 1]).as_bytes());
            next += 1;
        }
        now += 10 * MS;
        sim.advance(now);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_the_line_does_numbered_lines_run_once_and_in_order(
        seed in any::<u64>(),
        corrupt_in in 0u32..80,
        drop_ok in 0u32..40,
        drop_in in 0u32..40,
    ) {
        let mut sim = Sim::new(Options {
            speed: 1e6,
            faults: LineFaults { seed, corrupt_in, drop_in, drop_ok, ..LineFaults::default() },
            ..Options::default()
        });
        let program: Vec<String> = (0..300).map(|n| format!("G1 X{n} E{n}")).collect();
        stream(&mut sim, &program);
        let numbers: Vec<i64> = sim.executed().iter().filter_map(|e| e.number).filter(|n| *n > 0).collect();
        prop_assert!(numbers.windows(2).all(|w| w[1] == w[0] + 1), "{numbers:?}");
        for done in sim.executed().iter().filter(|e| e.number.is_some_and(|n| n > 0)) {
            let n = done.number.unwrap_or(0) as usize;
            // An eight-bit sum misses no single changed byte.
            prop_assert_eq!(&done.text, &program[n - 1]);
        }
    }

    #[test]
    fn garbage_never_breaks_it(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let mut sim = Sim::new(Options::default());
        sim.advance(s(1.0));
        for (n, chunk) in bytes.chunks(7).enumerate() {
            sim.feed(s(1.0) + MS * n as u32, chunk);
            sim.take_output();
        }
        prop_assert!(sim.rx.len() <= 128);
    }
}

fn open(pty: &SimPty) -> std::fs::File {
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(pty.path())
        .expect("the terminal opens");
    std::fs::File::from(OwnedFd::from(file))
}

fn read_until(file: &mut std::fs::File, end: &str) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 512];
    while !String::from_utf8_lossy(&text).contains(end) {
        let count = file.read(&mut buffer).expect("readable");
        assert!(count > 0, "hung up after {}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn it_answers_on_a_real_terminal_behind_a_link() {
    let dir = tempfile::tempdir().expect("a directory");
    let pty = SimPty::spawn(PtyOptions {
        link: Some(dir.path().join("printer")),
        baud: Some(1_000_000),
        ..PtyOptions::default()
    })
    .expect("a terminal");
    assert_eq!(pty.path(), dir.path().join("printer"));
    let mut port = open(&pty);
    read_until(&mut port, "SD card");
    port.write_all(b"M105\n").expect("writable");
    assert!(read_until(&mut port, "ok T:").contains("ok T:2"));
    port.write_all(b"G1 X1\n").expect("writable");
    assert!(pty.wait_until(s(10.0), |sim| sim.position().x_mm == 1.0));
    pty.inject(Injection::Say("//action:cancel".into()));
    read_until(&mut port, "//action:cancel");
}

#[test]
fn a_pulled_cable_hangs_up_and_comes_back_elsewhere() {
    let dir = tempfile::tempdir().expect("a directory");
    let pty = SimPty::spawn(PtyOptions {
        link: Some(dir.path().join("printer")),
        ..PtyOptions::default()
    })
    .expect("a terminal");
    let mut port = open(&pty);
    read_until(&mut port, "SD card");
    pty.unplug();
    assert!(!dir.path().join("printer").exists());
    let gone = port.read(&mut [0; 10]);
    assert!(matches!(gone, Ok(0) | Err(_)), "{gone:?}");
    pty.replug(true).expect("a terminal");
    read_until(&mut open(&pty), "start");
    assert_eq!(pty.with(|sim| sim.resets()), 1);
}

#[test]
fn a_board_with_auto_reset_says_start_after_each_opening() {
    let options = Options {
        reset_on_open: true,
        boot: 50 * MS,
        ..Options::default()
    };
    let pty = SimPty::spawn(PtyOptions {
        sim: options,
        ..PtyOptions::default()
    })
    .expect("a terminal");
    for resets in 1..=2 {
        let mut port = open(&pty);
        read_until(&mut port, "SD card");
        assert_eq!(pty.with(|sim| sim.resets()), resets);
        drop(port);
        // The closing has to be seen before the next opening.
        assert!(pty.wait_closed(s(5.0)));
    }
}

#[tokio::test]
async fn at_the_wrong_speed_nothing_is_understood() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use crate::drivers::marlin::port;
    use crate::host::serial::Roots;

    let pty = SimPty::spawn(PtyOptions {
        only_baud: Some(250_000),
        ..PtyOptions::default()
    })
    .expect("a terminal");
    let path = pty.path();
    let mut stream = port::open(&path, 115_200, &Roots::default()).expect("open");
    assert!(pty.wait_until(s(10.0), |sim| sim.deadline().is_none()), "booted");
    let mut heard = [0; 512];
    AsyncWriteExt::write_all(&mut stream, b"\n\nM105\n\n\n")
        .await
        .expect("written");
    assert!(pty.wait_until(s(10.0), |sim| sim.heard_bytes() > 0));
    port::set_baud(&stream, 250_000).expect("set");
    AsyncWriteExt::write_all(&mut stream, b"\nM105\n")
        .await
        .expect("written");
    let mut text = Vec::new();
    while !text.ends_with(b"B@:0\n") {
        let count = AsyncReadExt::read(&mut stream, &mut heard)
            .await
            .expect("readable");
        assert!(count > 0);
        text.extend_from_slice(&heard[..count]);
    }
    assert_eq!(
        pty.with(|sim| sim.executed().iter().filter(|e| e.text == "M105").count()),
        1
    );
}
