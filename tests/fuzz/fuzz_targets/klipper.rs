//! Whatever Moonraker says: the core neither breaks nor grows, answers every command exactly once, and starts
//! what was asked for at most once.
#![no_main]

use std::sync::Arc;
use std::time::{Duration, Instant};

use layerd_fuzz::drivers::moonraker::faults;
use layerd_fuzz::drivers::moonraker::proto::{Core, Output};
use layerd_fuzz::drivers::moonraker::watch::Watch;
use layerd_fuzz::printer::command::{CancelReason, Command, Program, RequestId, StartJob};
use layerd_fuzz::printer::model::{Now, PrintObject};
use uuid::Uuid;

/// What a connection begins with, so that the rest is not wasted on a printer that is not there.
const GREETING: &[&str] = &[
    r#"{"id":2,"result":{"klippy_connected":true,"klippy_state":"ready","components":["power","webcam"]}}"#,
    r#"{"id":6,"result":{"objects":["webhooks","print_stats","extruder","heater_bed","fan","mcu","exclude_object"]}}"#,
    r#"{"id":8,"result":{"status":{"webhooks":{"state":"ready"},"print_stats":{"state":"standby"}}}}"#,
];

/// The two ends of the core.
struct Desk {
    core: Core,
    now: Now,
    /// Numbers of the calls that went out, the newest last.
    calls: Vec<String>,
    /// Commands without an answer.
    open: Vec<u64>,
    asked: u64,
    uploading: Option<RequestId>,
    /// Files that came to Moonraker, and starts that went out.
    files: u32,
    starts: u32,
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let now = Now { mono: Instant::now(), wall: jiff::Timestamp::UNIX_EPOCH };
    let core = Core::new(Watch::new(None, None));
    let mut desk =
        Desk { core, now, calls: Vec::new(), open: Vec::new(), asked: 0, uploading: None, files: 0, starts: 0 };
    desk.core.opened(now);
    for frame in GREETING {
        desk.core.frame(now, frame);
    }
    desk.drain();
    // A line that begins with "!" is a person or the shell, everything else comes from Moonraker.
    for line in text.lines().take(200) {
        match line.strip_prefix('!') {
            Some(word) => desk.act(word),
            None => {
                let frame = desk.numbered(line);
                desk.core.frame(desk.now, &frame);
            }
        }
        desk.pass(Duration::from_millis(700));
    }
    desk.core.closed(desk.now);
    desk.drain();
    // The file is on a connection of its own: its start is answered when that has ended.
    let waits = desk.uploading.map(|id| id.0);
    assert!(desk.open.iter().all(|id| Some(*id) == waits), "every command is answered: {:?}", desk.open);
});

impl Desk {
    /// `$0` stands for the number of the newest call, `$1` for the one before, and so on.
    fn numbered(&self, line: &str) -> String {
        let mut parts = line.split('$');
        let mut frame = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let back = part.bytes().next().filter(u8::is_ascii_digit).map(|b| usize::from(b - b'0'));
            let call = back.and_then(|back| self.calls.iter().rev().nth(back));
            match call {
                Some(call) => {
                    frame.push_str(call);
                    frame.push_str(&part[1..]);
                }
                None => frame.push_str(part),
            }
        }
        frame
    }

    fn act(&mut self, word: &str) {
        let command = match word.bytes().next() {
            Some(b'S') => Command::Start(job()),
            Some(b'p') => Command::Pause,
            Some(b'r') => Command::Resume,
            Some(b'c') => Command::Cancel(CancelReason::default()),
            Some(b's') => Command::SkipObjects { ids: vec![0] },
            Some(b'a') => Command::Answer { button: 0 },
            Some(b'h') => Command::HeatersOff,
            Some(b'e') => Command::EmergencyStop,
            Some(b'U') => return self.uploaded(true),
            Some(b'u') => return self.uploaded(false),
            Some(b't') => return self.pass(Duration::from_secs(20)),
            Some(b'o') => {
                self.core.closed(self.now);
                self.drain();
                return self.core.opened(self.now);
            }
            _ => Command::SendGcode { lines: vec![word.to_owned()], tune: false },
        };
        self.asked += 1;
        self.open.push(self.asked);
        self.core.request(self.now, RequestId(self.asked), command);
    }

    fn uploaded(&mut self, good: bool) {
        if self.uploading.take().is_some() {
            self.files += u32::from(good);
            let result = if good { Ok(()) } else { Err(faults::UNREACHABLE) };
            self.core.uploaded(self.now, result);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now.mono += time;
        self.core.tick(self.now);
        self.drain();
    }

    fn drain(&mut self) {
        let mut count = 0;
        while let Some(output) = self.core.poll() {
            count += 1;
            assert!(count < 10_000, "it comes to an end");
            match output {
                Output::Send(text) => {
                    self.starts += u32::from(text.contains("printer.print.start"));
                    let number = text.rsplit("\"id\":").next().unwrap_or_default();
                    self.calls.push(number.chars().take_while(char::is_ascii_digit).collect());
                }
                Output::Reply(id, _) => {
                    let at = self.open.iter().position(|open| *open == id.0);
                    self.open.remove(at.expect("a command is answered once"));
                    if self.uploading == Some(id) {
                        self.uploading = None;
                    }
                }
                Output::Upload(..) => self.uploading = Some(RequestId(self.asked)),
                Output::AbortUpload => self.uploading = None,
                _ => {}
            }
            assert!(self.starts <= self.files, "a start needs its file, and happens once");
        }
    }
}

fn job() -> StartJob {
    let program = Program {
        path: "/nonexistent".into(),
        name: "a.gcode".to_owned(),
        size: 100,
        sha256: String::new(),
        layers: None,
        estimate_s: None,
        max_z_mm: None,
        objects: vec![PrintObject { id: 0, name: "A".to_owned() }],
    };
    StartJob { uid: Uuid::from_u128(1), program: Arc::new(program), skip: vec![0], materials: Vec::new(), plate: None }
}
