//! The core against the simulated printer, in made-up time: for tests.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use uuid::Uuid;

use super::program::Piece;
use super::proto::{Marlin, Output};
use super::settings::Settings;
use super::sim::{Options, Sim};
use super::skip::Opening;
use crate::gcode::analyze::{Analyzer, Options as Analysis};
use crate::gcode::skip::Skip;
use crate::gcode::source::{Batch, Prepare, PrepareOptions};
use crate::printer::command::{Command, Program, RequestId, StartJob};
use crate::printer::event::{Event, JobEvent};
use crate::printer::fault::Fault;
use crate::printer::model::{Now, PrintObject};
use crate::printer::outcome::Outcome;
use crate::sorted::{SortedMap, SortedSet};

fn objects_of(program: &[u8]) -> Vec<PrintObject> {
    let mut analyzer = Analyzer::new(Analysis::default());
    analyzer.push(program);
    let objects = analyzer.finish().objects;
    let known = |o: crate::gcode::analysis::Object| PrintObject {
        id: o.id,
        name: o.name,
    };
    objects.into_iter().map(known).collect()
}

/// Core and printer, joined.
pub struct Bench {
    pub core: Marlin,
    pub sim: Sim,
    pub t: Duration,
    base: Instant,
    partial: Vec<u8>,
    pub events: Vec<Event>,
    pub replies: SortedMap<u64, Outcome>,
    pub records: Vec<super::proto::Record>,
    pub hangup: Option<Fault>,
    pub stopped: bool,
    /// The job is over, one way or the other.
    pub ended: bool,
    pub program: Vec<u8>,
    pub sent: Vec<String>,
    pending: VecDeque<Piece>,
    /// What the database knows of it.
    pub skipped: Vec<u32>,
    /// Keys of the open notices that have buttons.
    pub asked: SortedSet<String>,
    next_id: u64,
    traced: bool,
}

impl Bench {
    pub fn new(options: Options, settings: Settings) -> Self {
        let base = Instant::now();
        let mut bench = Bench {
            core: Marlin::new(wall(base, Duration::ZERO), settings, &[115_200]),
            sim: Sim::new(options),
            t: Duration::ZERO,
            base,
            partial: Vec::new(),
            events: Vec::new(),
            replies: SortedMap::new(),
            records: Vec::new(),
            hangup: None,
            stopped: false,
            ended: false,
            program: Vec::new(),
            sent: Vec::new(),
            pending: VecDeque::new(),
            skipped: Vec::new(),
            asked: SortedSet::new(),
            next_id: 1,
            traced: std::env::var_os("LAYERD_TRACE").is_some(),
        };
        bench.drain();
        bench
    }

    /// A bench with a printer that is up.
    pub fn up(options: Options, settings: Settings) -> Self {
        let mut bench = Bench::new(options, settings);
        assert!(
            bench.run(60, |b| b.saw(|e| *e == Event::Up)),
            "never up: {:?}",
            bench.sent
        );
        bench
    }

    pub fn now(&self) -> Now {
        wall(self.base, self.t)
    }

    pub fn saw(&self, wanted: impl Fn(&Event) -> bool) -> bool {
        self.events.iter().any(wanted)
    }

    pub fn saw_job(&self, wanted: impl Fn(&JobEvent) -> bool) -> bool {
        self.saw(|e| matches!(e, Event::Job(j) if wanted(j)))
    }

    pub fn request(&mut self, command: Command) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let now = self.now();
        self.core.request(now, RequestId(id), command);
        self.drain();
        id
    }

    pub fn start(&mut self, program: &str) -> u64 {
        self.program = program.as_bytes().to_vec();
        self.request(Command::Start(StartJob {
            uid: Uuid::from_u128(7),
            program: Arc::new(Program {
                path: PathBuf::from("test.gcode"),
                name: "test.gcode".to_owned(),
                size: program.len() as u64,
                sha256: String::new(),
                layers: None,
                estimate_s: None,
                max_z_mm: None,
                objects: objects_of(program.as_bytes()),
            }),
            skip: Vec::new(),
            materials: Vec::new(),
            plate: None,
        }))
    }

    pub fn send(&mut self, line: &str) -> u64 {
        self.request(Command::SendGcode {
            lines: vec![line.to_owned()],
            tune: false,
        })
    }

    /// The daemon dies at once and comes back: what was not written is lost, what the printer said is
    /// not; the next process has the records.
    pub fn die_and_come_back(&mut self, settings: Settings, pause: bool) {
        let begin = self
            .records
            .iter()
            .rposition(|r| matches!(r, super::proto::Record::Begin { .. }))
            .unwrap_or(0);
        let from = begin.max(self.records.len().saturating_sub(super::memory::RECORDS));
        let records = self.records.get(from..).unwrap_or_default().to_vec();
        let start = StartJob {
            uid: Uuid::from_u128(7),
            program: Arc::new(Program {
                path: PathBuf::from("test.gcode"),
                name: "test.gcode".to_owned(),
                size: self.program.len() as u64,
                sha256: String::new(),
                layers: None,
                estimate_s: None,
                max_z_mm: None,
                objects: objects_of(&self.program),
            }),
            skip: self.skipped.clone(),
            materials: Vec::new(),
            plate: None,
        };
        self.partial.clear();
        self.pending.clear();
        let now = self.now();
        self.core = Marlin::new(now, settings, &[115_200]);
        self.core.adopt(now, start, records, pause);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.core.poll() {
            match output {
                Output::Event(event) => {
                    self.ended |= matches!(
                        event,
                        Event::Job(
                            JobEvent::Done { .. } | JobEvent::Failed { .. } | JobEvent::Cancelled { .. }
                        )
                    );
                    match &event {
                        Event::Skipped(ids) => self.skipped.clone_from(ids),
                        Event::Notice(notice) if !notice.buttons.is_empty() => {
                            self.asked.insert(notice.key.clone());
                        }
                        Event::NoticeCleared(key) => {
                            self.asked.remove(key);
                        }
                        _ => {}
                    }
                    self.events.push(event);
                }
                Output::Reply(id, outcome) => {
                    assert!(
                        id.0 == 0 || self.replies.insert(id.0, outcome).is_none(),
                        "answered twice"
                    );
                }
                Output::OpenProgram(opening) => self.read(&opening),
                Output::CloseProgram => self.pending.clear(),
                Output::Record(record) => self.records.push(record),
                Output::Stopped => self.stopped = true,
                Output::Hangup(fault) => self.hangup = Some(fault),
                Output::Baud(_) => {}
            }
        }
        if self.core.wants_program()
            && let Some(piece) = self.pending.pop_front()
        {
            let now = self.now();
            self.core.feed(now, piece);
            self.drain();
        }
    }

    /// Reads the program in pieces, as the shell does.
    fn read(&mut self, opening: &Opening) {
        self.pending.clear();
        let mut prepare = match &opening.from {
            Some(from) => (**from)
                .clone()
                .with_plan(opening.plan.clone())
                .expect("can skip"),
            None => {
                let mut analyzer = Analyzer::new(Analysis::default());
                analyzer.push(&self.program);
                let spans = analyzer
                    .finish_with_index()
                    .1
                    .object_spans()
                    .expect("few changes");
                Prepare::new(PrepareOptions::default()).skipping(Skip::new(spans, opening.plan.clone()))
            }
        };
        let from = usize::try_from(prepare.offset()).expect("small");
        for chunk in self.program[from..].chunks(700) {
            let begin = Some(Arc::new(prepare.clone()));
            let mut batch = Batch::default();
            prepare.feed(chunk, &mut batch);
            self.pending.push_back(Piece { batch, begin });
        }
        let mut piece = self.pending.pop_back().unwrap_or_default();
        prepare.finish(&mut piece.batch);
        self.pending.push_back(piece);
    }

    /// `LAYERD_TRACE=1` shows the traffic of a test that fails (with `--nocapture`).
    fn trace(&self, way: char, line: &str) {
        if self.traced {
            eprintln!("{:>12.6} {way} {line}", self.t.as_secs_f64());
        }
    }

    /// One exchange; `false` when nothing moved.
    fn exchange(&mut self) -> bool {
        if self.hangup.is_some() {
            // The shell writes what is still to be said, and closes the port.
            let bytes = std::mem::take(self.core.tx());
            self.sim.feed(self.t, &bytes);
            return false;
        }
        let mut moved = false;
        if self.core.has_tx() {
            let bytes = std::mem::take(self.core.tx());
            self.core.written();
            for line in String::from_utf8_lossy(&bytes).lines() {
                self.trace('>', line);
                self.sent.push(line.to_owned());
            }
            self.sim.feed(self.t, &bytes);
            moved = true;
        }
        self.sim.advance(self.t);
        let said = self.sim.take_output();
        moved |= !said.is_empty();
        for byte in said {
            if self.hangup.is_some() {
                break;
            }
            if byte == b'\n' {
                let line = std::mem::take(&mut self.partial);
                self.trace('<', &String::from_utf8_lossy(&line));
                let now = self.now();
                self.core.line(now, &line);
                self.drain();
            } else {
                self.partial.push(byte);
            }
        }
        self.drain();
        moved
    }

    /// Runs until something is so, at most so many (made-up) seconds.
    pub fn run(&mut self, seconds: u64, mut wanted: impl FnMut(&Bench) -> bool) -> bool {
        let end = self.t + Duration::from_secs(seconds);
        let mut turns = 0u32;
        loop {
            turns += 1;
            if turns > 60_000 {
                let tail: Vec<_> = self.sent.iter().rev().take(12).collect();
                let due = self
                    .core
                    .deadline()
                    .map(|d| d.saturating_duration_since(self.base));
                panic!(
                    "no progress in time at {:?} (due {due:?}, printer {:?}): {tail:?}",
                    self.t,
                    self.sim.deadline()
                );
            }
            while self.exchange() {}
            if wanted(self) {
                return true;
            }
            if self.hangup.is_some() || self.stopped {
                return wanted(self);
            }
            let core = self
                .core
                .deadline()
                .map(|at| at.saturating_duration_since(self.base));
            let next = [core, self.sim.deadline()]
                .into_iter()
                .flatten()
                .min()
                .unwrap_or(end);
            if next > end {
                self.t = end;
                return wanted(self);
            }
            // Deadlines in the past would stand still.
            self.t = next.max(self.t + Duration::from_micros(100));
            let now = self.now();
            self.core.tick(now);
            self.drain();
        }
    }

    /// What the printer executed of the running program's text, in order, without our own lines.
    pub fn executed(&self, ours: impl Fn(&str) -> bool) -> Vec<String> {
        self.sim
            .executed()
            .iter()
            .map(|e| e.text.trim().to_owned())
            .filter(|t| !ours(t))
            .collect()
    }
}

fn wall(base: Instant, t: Duration) -> Now {
    Now {
        mono: base + t,
        wall: Timestamp::from_millisecond(1_700_000_000_000 + t.as_millis() as i64).expect("in range"),
    }
}
