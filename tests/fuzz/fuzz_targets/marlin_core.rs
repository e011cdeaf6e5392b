//! Whatever a printer on a serial line says while a print runs on it: the core neither breaks nor runs without an end,
//! answers no command twice, sends lines of its own making only, and ends a job once.
#![no_main]

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use layerd_fuzz::drivers::StopMode;
use layerd_fuzz::drivers::marlin::program::Piece;
use layerd_fuzz::drivers::marlin::proto::{Marlin, Output, Phase};
use layerd_fuzz::drivers::marlin::settings::Settings;
use layerd_fuzz::drivers::marlin::skip::Opening;
use layerd_fuzz::gcode::analyze::{Analyzer, Options};
use layerd_fuzz::gcode::skip::Skip;
use layerd_fuzz::gcode::source::{Batch, Prepare, PrepareOptions};
use layerd_fuzz::printer::command::{CancelReason, Command, Program, RequestId, StartJob};
use layerd_fuzz::printer::event::{Event, JobEvent};
use layerd_fuzz::printer::model::{Now, PrintObject};
use uuid::Uuid;

const PROGRAM: &str = "M104 S200\nG28\nM109 S200\nM83\n; printing object A id:0 copy 0\nG1 X10 Y10 E1\nG1 X20 E1\n; stop printing object A id:0 copy 0\n\
    ; printing object B id:1 copy 0\nG1 X30 Y30 E1\nM117 x\nG1 X40 E1\nM600\nG1 X41 E1\n; stop printing object B id:1 copy 0\nM104 S0\nM84\n";

struct Desk {
    core: Marlin,
    now: Now,
    /// A printer that behaves answers what was sent.
    kind: bool,
    owed: VecDeque<String>,
    pieces: VecDeque<Piece>,
    answered: BTreeSet<u64>,
    asked: u64,
    running: bool,
    gone: bool,
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let now = Now { mono: Instant::now(), wall: jiff::Timestamp::UNIX_EPOCH };
    let core = Marlin::new(now, Settings::default(), &[115_200]);
    let mut desk = Desk {
        core,
        now,
        kind: true,
        owed: VecDeque::new(),
        pieces: VecDeque::new(),
        answered: BTreeSet::new(),
        asked: 0,
        running: false,
        gone: false,
    };
    desk.say(b"start");
    for _ in 0..20 {
        desk.pass(Duration::from_secs(1));
    }
    assert_eq!(desk.core.phase(), Phase::Idle, "it comes up");
    // A line that begins with "!" is a person or time, everything else is said by the printer.
    for line in data.split(|b| *b == b'\n').take(120) {
        if desk.gone {
            return;
        }
        match line.strip_prefix(b"!") {
            Some(word) => desk.act(word),
            None => desk.say(line),
        }
        desk.pass(Duration::from_millis(30));
    }
});

impl Desk {
    fn act(&mut self, word: &[u8]) {
        let command = match word.first() {
            Some(b'+') => return self.kind = true,
            Some(b'-') => return self.kind = false,
            Some(b't') => return self.pass(Duration::from_secs(20)),
            Some(b'h') => return self.pass(Duration::from_secs(1800)),
            Some(b'n') => return self.core.noise(self.now),
            Some(b'x') => return self.core.program_failed(self.now, "no disk".to_owned()),
            Some(b'P') => return self.core.stop(self.now, StopMode::Park),
            Some(b'D') => return self.core.stop(self.now, StopMode::Detach),
            Some(b'S') => Command::Start(job()),
            Some(b'p') => Command::Pause,
            Some(b'r') => Command::Resume,
            Some(b'c') => Command::Cancel(CancelReason::default()),
            Some(b's') => Command::SkipObjects { ids: vec![1] },
            Some(b'a') => Command::Answer { button: 0 },
            Some(b'o') => Command::HeatersOff,
            Some(b'e') => Command::EmergencyStop,
            _ => Command::SendGcode { lines: vec![String::from_utf8_lossy(word).replace('\r', " ")], tune: false },
        };
        self.asked += 1;
        self.core.request(self.now, RequestId(self.asked), command);
        self.drain();
    }

    fn say(&mut self, line: &[u8]) {
        self.core.line(self.now, line);
        self.drain();
    }

    /// Time passes; what is sent is answered when the printer is kind.
    fn pass(&mut self, time: Duration) {
        self.now.mono += time;
        self.now.wall += time;
        self.core.tick(self.now);
        self.drain();
        for _ in 0..60 {
            if self.gone || !self.kind {
                return;
            }
            let Some(line) = self.owed.pop_front() else { return };
            if line.contains("M115") {
                self.say(b"FIRMWARE_NAME:Marlin 2.1.2 SOURCE_CODE_URL:x PROTOCOL_VERSION:1.0 MACHINE_TYPE:a EXTRUDER_COUNT:1");
            }
            if line.contains("M105") || line.contains("M109") {
                self.say(b"ok T:200.0 /200.0 B:60.0 /60.0 @:0 B@:0");
            } else {
                self.say(b"ok");
            }
            self.now.mono += Duration::from_millis(5);
            self.core.tick(self.now);
            self.drain();
        }
    }

    fn drain(&mut self) {
        let mut count = 0;
        loop {
            let bytes = std::mem::take(self.core.tx());
            if !bytes.is_empty() {
                assert!(bytes.ends_with(b"\n") && bytes.len() < 100_000, "{} bytes at once", bytes.len());
                self.core.written();
                self.owed.extend(String::from_utf8_lossy(&bytes).lines().map(str::to_owned));
                self.owed.truncate(1000);
            }
            let Some(output) = self.core.poll() else {
                if self.core.wants_program() && let Some(piece) = self.pieces.pop_front() {
                    self.core.feed(self.now, piece);
                    continue;
                }
                return;
            };
            count += 1;
            assert!(count < 10_000, "it comes to an end");
            match output {
                Output::Reply(id, _) => assert!(id.0 == 0 || self.answered.insert(id.0), "a command is answered once"),
                Output::OpenProgram(opening) => self.pieces = pieces(&opening),
                Output::CloseProgram => self.pieces.clear(),
                Output::Event(Event::Job(JobEvent::Started { .. })) => {
                    assert!(!self.running, "it starts once");
                    self.running = true;
                }
                Output::Event(Event::Job(JobEvent::Done { .. } | JobEvent::Failed { .. } | JobEvent::Cancelled { .. } | JobEvent::Interrupted { .. })) => {
                    self.running = false;
                }
                Output::Hangup(_) | Output::Stopped => self.gone = true,
                _ => {}
            }
        }
    }
}

fn job() -> StartJob {
    let object = |id: u32, name: &str| PrintObject { id, name: name.to_owned() };
    let program = Program {
        path: "/nonexistent".into(),
        name: "a.gcode".to_owned(),
        size: PROGRAM.len() as u64,
        sha256: String::new(),
        layers: None,
        estimate_s: None,
        max_z_mm: None,
        objects: vec![object(0, "A"), object(1, "B")],
    };
    StartJob { uid: Uuid::from_u128(1), program: Arc::new(program), skip: Vec::new(), materials: Vec::new(), plate: None }
}

fn pieces(opening: &Opening) -> VecDeque<Piece> {
    let mut prepare = match &opening.from {
        Some(from) => (**from).clone().with_plan(opening.plan.clone()).expect("can skip"),
        None => {
            let mut analyzer = Analyzer::new(Options::default());
            analyzer.push(PROGRAM.as_bytes());
            let spans = analyzer.finish_with_index().1.object_spans().expect("few changes");
            Prepare::new(PrepareOptions::default()).skipping(Skip::new(spans, opening.plan.clone()))
        }
    };
    let from = usize::try_from(prepare.offset()).expect("small").min(PROGRAM.len());
    let mut out = VecDeque::new();
    for chunk in PROGRAM.as_bytes()[from..].chunks(60) {
        let begin = Some(Arc::new(prepare.clone()));
        let mut batch = Batch::default();
        prepare.feed(chunk, &mut batch);
        out.push_back(Piece { batch, begin });
    }
    let mut last = out.pop_back().unwrap_or_default();
    prepare.finish(&mut last.batch);
    out.push_back(last);
    out
}
