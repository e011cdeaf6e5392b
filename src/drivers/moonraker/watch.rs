//! The print: whose it is, and what Klipper's state says about it. Pure.

use std::time::{Duration, Instant};

use serde_json::Value;
use uuid::Uuid;

use super::faults;
use super::memory::Record;
use super::orders::Kind;
use super::proto::{Call, Core, Klippy, Output};
use super::status::{PrintState, Status};
use crate::drivers::Adopt;
use crate::printer::command::StartJob;
use crate::printer::equipment::Equipment;
use crate::printer::event::{Event, JobEvent, OutsideEnd};
use crate::printer::fault::Fault;
use crate::printer::model::{Activity, Filament, Now, PauseReason, PrintObject, Progress};
use crate::printer::outcome::Outcome;
use crate::printer::wall_clock::SinceBoot;

/// Moonraker may lose Klipper for a moment (it cuts a slow reader) while the print goes on.
const KLIPPER_GRACE: Duration = Duration::from_secs(10);

/// Two prints of one file are told apart by when they began, give or take.
const SAME_PRINT_S: i64 = 180;

/// The first readings after a start of Klipper are 0.0 until a sensor was sampled (seen).
const FIRST_READINGS: Duration = Duration::from_secs(3);

/// What Klipper prints.
#[derive(Clone, Debug, PartialEq)]
pub enum Job {
    /// Nothing.
    None,
    /// A job of ours.
    Ours {
        /// Which.
        uid: Uuid,
        /// Its file as Moonraker knows it.
        filename: String,
        /// Its objects.
        objects: Vec<PrintObject>,
        /// The start was sent.
        sent: bool,
        /// It was seen to print.
        seen: bool,
    },
    /// A print that somebody else started.
    Outside {
        /// Its file.
        filename: String,
    },
}

/// Facts of a file, from Moonraker's metadata. All optional.
#[derive(Clone, Debug, Default, PartialEq)]
struct Facts {
    bytes: Option<(u64, u64)>,
    estimate_s: Option<f64>,
    layers: Option<u32>,
    layer_mm: Option<f64>,
    first_mm: Option<f64>,
}

/// The print and what is remembered of it.
#[derive(Debug)]
pub struct Watch {
    /// What Klipper prints.
    pub job: Job,
    adopt: Option<Adopt>,
    record: Option<Record>,
    /// What the next process would be told of the print.
    pub(super) kept: Option<Record>,
    /// Since when a cancel of ours is on its way, whose heaters have to be switched off when it is carried out.
    pub(super) cold_owed: Option<Instant>,
    /// A moment by the clock that nobody sets, and the same by ours.
    boot: Option<(SinceBoot, Instant)>,
    lost: Option<Instant>,
    /// The connection was broken since the print was seen last.
    unseen: bool,
    paused: bool,
    cancelled: bool,
    last_total_s: f64,
    last_progress: f64,
    before: Option<(Option<PrintState>, Option<String>, Option<f64>)>,
    facts: Facts,
    lowest_mm: Option<f64>,
}

/// What was told, so that nothing is told twice.
#[derive(Debug, Default)]
pub struct Told {
    /// Klipper's version.
    pub version: Option<String>,
    activity: Option<Activity>,
    ready: Option<Instant>,
    message: Option<String>,
    plate: Vec<PrintObject>,
    skipped: Vec<u32>,
    tool: Option<u8>,
    filament: Vec<Option<bool>>,
    mesh: Option<Value>,
    /// Fans, boards and the like.
    pub equipment: Option<std::sync::Arc<Equipment>>,
}

impl Told {
    /// A new connection: the activity is told again.
    pub fn connection(&mut self) {
        self.activity = None;
    }

    /// Klipper's objects became known.
    pub fn ready_at(&mut self, now: Instant) {
        self.ready = Some(now);
    }
}

impl Watch {
    /// Nothing printed so far, or a job of the daemon before to answer for.
    pub fn new(adopt: Option<Adopt>, record: Option<Record>) -> Self {
        Watch {
            job: Job::None,
            adopt,
            record,
            kept: None,
            cold_owed: None,
            boot: None,
            lost: None,
            unseen: false,
            paused: false,
            cancelled: false,
            last_total_s: 0.0,
            last_progress: 0.0,
            before: None,
            facts: Facts::default(),
            lowest_mm: None,
        }
    }

    /// The same with a clock that nobody sets.
    pub fn with_boot(self, boot: Option<SinceBoot>, at: Instant) -> Self {
        Watch {
            boot: boot.map(|boot| (boot, at)),
            ..self
        }
    }

    /// When something began that has taken so long.
    fn began(&self, now: Now, total_s: f64) -> Option<SinceBoot> {
        let (boot, at) = self.boot.as_ref()?;
        let since_s = now.mono.saturating_duration_since(*at).as_secs_f64() - total_s;
        Some(SinceBoot {
            boot: boot.boot.clone(),
            at_s: boot.at_s.saturating_add(since_s as i64),
        })
    }

    /// A job whose file goes on its way.
    pub fn begin(&mut self, job: &StartJob, filename: &str) {
        self.fresh(Job::Ours {
            uid: job.uid,
            filename: filename.to_owned(),
            objects: job.program.objects.clone(),
            sent: false,
            seen: false,
        });
    }

    fn fresh(&mut self, job: Job) {
        self.job = job;
        self.paused = false;
        self.kept = None;
        self.cold_owed = None;
        self.cancelled = false;
        self.lost = None;
        self.unseen = false;
        self.last_total_s = 0.0;
        self.last_progress = 0.0;
        self.facts = Facts::default();
        self.lowest_mm = None;
    }

    /// The start goes out now; what Klipper says of the print before is no start.
    pub fn sent(&mut self, status: &Status, _now: Now) {
        if let Job::Ours { sent, .. } = &mut self.job {
            *sent = true;
        }
        self.before = Some(level(status));
    }

    /// Moonraker's metadata of a file.
    pub fn facts(&mut self, file: &str, facts: &Value) {
        let ours = match &self.job {
            Job::Ours { filename, .. } | Job::Outside { filename } => filename == file,
            Job::None => false,
        };
        if !ours {
            return;
        }
        let number = |name: &str| facts.get(name).and_then(Value::as_f64).filter(|n| *n > 0.0);
        let byte = |name: &str| facts.get(name).and_then(Value::as_u64);
        self.facts = Facts {
            bytes: byte("gcode_start_byte")
                .zip(byte("gcode_end_byte"))
                .filter(|(a, b)| b > a),
            estimate_s: number("estimated_time"),
            layers: byte("layer_count").and_then(|n| u32::try_from(n).ok()),
            layer_mm: number("layer_height"),
            first_mm: number("first_layer_height"),
        };
    }

    /// A job that still has to be answered for.
    pub fn unanswered(&self) -> bool {
        self.adopt.is_some()
    }
}

/// The objects of a file that bear one of Klipper's names: as it stands in the file, or as layerd has marked it.
fn called<'a>(objects: &'a [PrintObject], klipper: &[&str]) -> Vec<&'a PrintObject> {
    if klipper.is_empty() {
        return Vec::new();
    }
    let marked = super::labels::klipper_names(objects.iter().map(|o| o.name.as_str()));
    let is_meant = |name: &str| klipper.iter().any(|k| k.eq_ignore_ascii_case(name));
    objects
        .iter()
        .zip(marked)
        .filter(|(object, marked)| is_meant(&object.name) || is_meant(marked))
        .map(|(object, _)| object)
        .collect()
}

fn level(status: &Status) -> (Option<PrintState>, Option<String>, Option<f64>) {
    (
        status.print_state(),
        status.filename().map(str::to_owned),
        status.total_duration_s(),
    )
}

impl Core {
    /// Compares everything known with everything asked and told.
    pub(super) fn evaluate(&mut self, now: Now) {
        if matches!(self.klippy, Klippy::Unknown | Klippy::Ready(false)) {
            return;
        }
        match self.klippy.clone() {
            Klippy::Unknown | Klippy::Ready(false) => {}
            Klippy::Fault(words) => {
                if !words.is_empty() {
                    let fault = faults::of_words(&words);
                    self.fail(&fault);
                    self.activity(Activity::Error(fault));
                }
            }
            Klippy::Startup | Klippy::Disconnected => self.away(now),
            Klippy::Ready(true) => self.live(now),
        }
        self.came_up(now);
        self.check_orders(now);
    }

    fn activity(&mut self, activity: Activity) {
        if self.told.activity.as_ref() != Some(&activity) {
            self.told.activity = Some(activity.clone());
            self.tell(Event::Activity(activity));
        }
    }

    /// Klipper is away: the print may still be there when it is back.
    fn away(&mut self, now: Now) {
        let running =
            !matches!(self.watch.job, Job::None | Job::Ours { sent: false, .. }) || self.watch.unanswered();
        if running {
            let since = *self.watch.lost.get_or_insert(now.mono);
            if now.mono.saturating_duration_since(since) < KLIPPER_GRACE {
                return;
            }
            self.fail(&faults::KLIPPER_GONE);
        }
        let words = match self.klippy {
            Klippy::Startup => "Klipper is starting.",
            _ => "Klipper is not running on the printer's host. Start the service klipper there.",
        };
        self.activity(Activity::NotReady(words.to_owned()));
    }

    /// The connection broke: how the print goes on is not seen.
    pub(super) fn looks_away(&mut self) {
        self.watch.unseen = true;
    }

    /// The print is lost.
    fn fail(&mut self, fault: &Fault) {
        if let Some(adopt) = self.watch.adopt.take() {
            let (uid, fault) = (adopt.job.uid, fault.clone());
            self.tell(Event::Job(JobEvent::Failed {
                uid,
                fault,
                filament_mm: None,
            }));
            self.out.push_back(Output::Remember(None));
        }
        match self.watch.job.clone() {
            Job::None | Job::Ours { sent: false, .. } => return,
            Job::Ours { uid, seen: true, .. } => {
                let filament_mm = self.status.filament_mm().map(|mm| vec![mm]);
                let fault = fault.clone();
                self.tell(Event::Job(JobEvent::Failed {
                    uid,
                    fault,
                    filament_mm,
                }));
            }
            Job::Ours { .. } => self.finish(
                Kind::Start,
                Outcome::Rejected {
                    by_printer: fault.raw.clone().unwrap_or_default(),
                    fault: Some(fault.clone()),
                },
            ),
            Job::Outside { .. } => self.tell(Event::Job(JobEvent::OutsideEnded {
                end: OutsideEnd::Failed,
            })),
        }
        self.watch.job = Job::None;
        self.watch.lost = None;
        self.out.push_back(Output::Remember(None));
    }

    fn live(&mut self, now: Now) {
        let Some(state) = self.status.print_state() else {
            return;
        };
        let lost = self.watch.lost.take().is_some();
        let file = self.status.filename().unwrap_or_default().to_owned();
        let total_s = self.status.total_duration_s().unwrap_or(0.0);
        let running = matches!(state, PrintState::Printing | PrintState::Paused);
        if let Some(adopt) = self.watch.adopt.take() {
            self.adopt(now, &adopt, state, &file, total_s);
        }
        if self.orders.has(Kind::Cancel) {
            self.watch.cancelled = true;
        }
        match self.watch.job.clone() {
            Job::None if running => self.outside(&file),
            Job::None => {}
            Job::Ours { sent: false, .. } => {}
            Job::Ours {
                filename,
                seen: false,
                ..
            } => {
                let changed = self.watch.before.as_ref() != Some(&level(&self.status));
                if filename == file && changed && (running || state != PrintState::Standby) {
                    self.started(now, total_s);
                    if !running {
                        self.ended(state, lost);
                    }
                }
            }
            Job::Ours { filename, .. } | Job::Outside { filename } => {
                let same = filename == file && total_s + 5.0 >= self.watch.last_total_s;
                if running && same {
                    self.pauses(state);
                } else if running {
                    // Another print: ours ended unseen.
                    self.fail(&faults::END_NOT_SEEN);
                    self.outside(&file);
                } else {
                    self.ended(state, lost);
                }
            }
        }
        self.watch.unseen = false;
        self.pay_cold(now, running);
        if running {
            self.watch.last_total_s = total_s;
            self.watch.last_progress = self.status.progress().unwrap_or(self.watch.last_progress);
        }
        let activity = match state {
            _ if matches!(self.watch.job, Job::Ours { seen: false, .. }) => return,
            _ if running && self.orders.has(Kind::Cancel) => Activity::Cancelling,
            PrintState::Printing if self.orders.has(Kind::Pause) => Activity::Pausing,
            PrintState::Paused if self.orders.has(Kind::Resume) => Activity::Resuming,
            PrintState::Printing => Activity::Printing,
            PrintState::Paused => Activity::Paused(self.pause_reason()),
            _ => Activity::Idle,
        };
        self.activity(activity);
    }

    fn pause_reason(&self) -> PauseReason {
        match &self.told.activity {
            Some(Activity::Paused(why)) => *why,
            Some(Activity::Pausing) => PauseReason::Requested,
            _ if self.orders.has(Kind::Pause) => PauseReason::Requested,
            _ if self.status.filament_sensors().contains(&Some(false)) => PauseReason::Runout,
            _ => PauseReason::Printer,
        }
    }

    fn outside(&mut self, file: &str) {
        self.watch.fresh(Job::Outside {
            filename: file.to_owned(),
        });
        let name = file.rsplit('/').next().unwrap_or(file).to_owned();
        self.tell(Event::Job(JobEvent::OutsideStarted {
            file: Some(name).filter(|n| !n.is_empty()),
        }));
        self.call(
            Call::Metadata(file.to_owned()),
            "server.files.metadata",
            serde_json::json!({"filename": file}),
        );
    }

    fn started(&mut self, now: Now, total_s: f64) {
        let began = self.watch.began(now, total_s);
        let Job::Ours {
            uid,
            filename,
            objects,
            seen,
            ..
        } = &mut self.watch.job
        else {
            return;
        };
        *seen = true;
        let uid = *uid;
        let record = Record {
            uid,
            filename: filename.clone(),
            began_s: now.wall.as_second() - total_s as i64,
            began,
            objects: objects.clone(),
            cancelled: false,
        };
        self.watch.kept = Some(record.clone());
        self.out.push_back(Output::Remember(Some(record)));
        self.tell(Event::Job(JobEvent::Started { uid }));
        self.finish(Kind::Start, Outcome::Verified);
    }

    fn pauses(&mut self, state: PrintState) {
        let paused = state == PrintState::Paused;
        if paused == self.watch.paused {
            return;
        }
        self.watch.paused = paused;
        if let Job::Ours { uid, .. } = self.watch.job {
            let why = self.pause_reason();
            self.tell(Event::Job(if paused {
                JobEvent::Paused { uid, why }
            } else {
                JobEvent::Resumed { uid }
            }));
        }
    }

    /// The print is over; `lost`: Klipper was away in between.
    fn ended(&mut self, state: PrintState, lost: bool) {
        let filament_mm = self.status.filament_mm().map(|mm| vec![mm]);
        let failed = |fault: Fault| (OutsideEnd::Failed, Some(fault));
        let (end, fault) = match state {
            PrintState::Complete => (OutsideEnd::Done, None),
            PrintState::Cancelled => (OutsideEnd::Cancelled, None),
            PrintState::Error => failed(faults::of_words(self.status.print_message())),
            _ if lost => failed(faults::KLIPPER_RESTARTED),
            // A macro has reset the file already: the edge before fell between two status rounds.
            _ if self.watch.cancelled => (OutsideEnd::Cancelled, None),
            _ if self.watch.last_progress > 0.999 => (OutsideEnd::Done, None),
            // Its host was switched off and on, for one; only who looks on knows of a cancel.
            _ if self.watch.unseen => failed(faults::END_NOT_SEEN),
            _ if self.watch.last_total_s > 0.0 => (OutsideEnd::Cancelled, None),
            _ => failed(faults::END_NOT_SEEN),
        };
        let event = match (self.watch.job.clone(), fault) {
            (Job::Outside { .. }, _) => JobEvent::OutsideEnded { end },
            (Job::Ours { uid, .. }, Some(fault)) => JobEvent::Failed {
                uid,
                fault,
                filament_mm,
            },
            (Job::Ours { uid, .. }, None) if end == OutsideEnd::Done => JobEvent::Done { uid, filament_mm },
            (Job::Ours { uid, .. }, None) => JobEvent::Cancelled { uid, filament_mm },
            (Job::None, _) => return,
        };
        self.tell(Event::Job(event));
        self.out.push_back(Output::Remember(None));
        self.watch.job = Job::None;
    }

    /// Answers for the job of the daemon before.
    fn adopt(&mut self, now: Now, adopt: &Adopt, state: PrintState, file: &str, total_s: f64) {
        let uid = adopt.job.uid;
        let record = self.watch.record.take().filter(|r| r.uid == uid);
        let known = record.as_ref().map_or_else(
            || super::orders::remote_name(&adopt.job.program.name),
            |r| r.filename.clone(),
        );
        let (began_s, began) = (
            now.wall.as_second() - total_s as i64,
            self.watch.began(now, total_s),
        );
        let running = matches!(state, PrintState::Printing | PrintState::Paused);
        // Somebody may have set one of the clocks meanwhile, or started the computer again: one of both says it.
        let near = |s: i64| s.abs() <= SAME_PRINT_S;
        let same_time = record.as_ref().is_none_or(|r| {
            let by_boot = r
                .began
                .as_ref()
                .zip(began.as_ref())
                .and_then(|(then, now)| then.seconds_to(now));
            !running || near(r.began_s.saturating_sub(began_s)) || by_boot.is_some_and(near)
        });
        let same = known == file && same_time;
        let kept = record.clone();
        self.watch.fresh(Job::Ours {
            uid,
            filename: known,
            objects: record.map_or_else(|| adopt.job.program.objects.clone(), |r| r.objects),
            sent: true,
            seen: true,
        });
        self.watch.paused = adopt.paused;
        self.watch.cold_owed = kept.as_ref().filter(|r| r.cancelled && same).map(|_| now.mono);
        self.watch.kept = kept;
        if same && running {
            self.tell(Event::Job(JobEvent::Adopted { uid }));
            let file = file.to_owned();
            self.call(
                Call::Metadata(file.clone()),
                "server.files.metadata",
                serde_json::json!({"filename": file}),
            );
            self.watch.last_total_s = total_s;
        } else if same && state != PrintState::Standby {
            self.ended(state, false);
        } else {
            self.fail(&faults::END_NOT_SEEN);
        }
    }

    /// The name by which Klipper knows an object.
    pub(super) fn object_name(&self, id: u32) -> Option<String> {
        let plate = self.status.plate();
        let Job::Ours { objects, .. } = &self.watch.job else {
            return plate.get(usize::try_from(id).ok()?).map(|n| (*n).to_owned());
        };
        let mut names = plate.iter();
        names
            .find(|n| called(objects, &[n]).iter().any(|o| o.id == id))
            .map(|n| (*n).to_owned())
    }

    /// Levels, once a second: while Moonraker reports, what has not changed is current as well.
    pub(super) fn tell_levels(&mut self, now: Now) {
        if !self.is_live() {
            return;
        }
        let young = self
            .told
            .ready
            .is_some_and(|at| now.mono.saturating_duration_since(at) < FIRST_READINGS);
        for (heater, actual_c, target_c) in self.status.heats() {
            if !(young && actual_c == 0.0) {
                self.tell(Event::Heat {
                    heater,
                    actual_c,
                    target_c,
                });
            }
        }
        if let Some(position) = self.status.position() {
            self.tell(Event::Position(position));
        }
        if let Some(tool) = self.status.tool()
            && self.told.tool != Some(tool)
        {
            self.told.tool = Some(tool);
            self.tell(Event::ActiveTool(tool));
        }
        let message = self.status.display().map(str::to_owned);
        if message.is_some() && message != self.told.message {
            self.tell(Event::Message(message.clone().unwrap_or_default()));
        }
        self.told.message = message;
        let sensors = self.status.filament_sensors();
        if sensors != self.told.filament {
            for (sensor, seen) in sensors.iter().enumerate().take(16) {
                let state = seen.map(|there| if there { Filament::Loaded } else { Filament::Runout });
                self.tell(Event::Filament {
                    sensor: sensor as u8,
                    state,
                });
            }
            self.told.filament = sensors;
        }
        let profile = self.status.field("bed_mesh", "probed_matrix").cloned();
        if profile != self.told.mesh {
            self.told.mesh = profile;
            let mesh = self.status.mesh().map(std::sync::Arc::new);
            self.tell(Event::Mesh(mesh));
        }
        self.tell_equipment();
        if !matches!(self.watch.job, Job::None | Job::Ours { seen: false, .. }) {
            self.tell_print();
        }
    }

    fn tell_print(&mut self) {
        let position = self.status.file_position();
        let facts = &self.watch.facts;
        let done = match (position, facts.bytes) {
            (Some(at), Some((from, to))) => {
                Some((at.saturating_sub(from) as f64 / (to - from) as f64).clamp(0.0, 1.0))
            }
            _ => self.status.progress(),
        };
        let (layer, layers) = self.status.layers();
        // Without the file's own word the height tells; a lifted head does not count.
        let z = self.status.z_mm();
        let low = match (z, self.watch.lowest_mm.take()) {
            (Some(z), Some(before)) => Some(z.min(before)),
            (z, _) => z,
        };
        self.watch.lowest_mm = z;
        let facts = &self.watch.facts;
        let by_height = match (low, facts.layer_mm, facts.first_mm, facts.layers) {
            (Some(z), Some(height), Some(first), Some(count))
                if done.is_some_and(|d| d > 0.0) && z >= first - 0.01 =>
            {
                Some(((z - first) / height + 1.0).round().clamp(1.0, f64::from(count)) as u32)
            }
            _ => None,
        };
        let time_left_s = match (&self.watch.job, facts.estimate_s, done) {
            (Job::Outside { .. }, Some(total), Some(done)) => Some((total * (1.0 - done)) as u32),
            _ => None,
        };
        let progress = Progress {
            percent: done.map(|d| (d * 100.0) as f32),
            layer: layer.filter(|n| *n > 0).or(by_height),
            layers: layers.or(facts.layers),
            time_left_s,
            byte: None,
            line: None,
        };
        self.tell(Event::Progress(progress));
        let plate: Vec<PrintObject> = match &self.watch.job {
            Job::Ours { objects, .. } => objects.clone(),
            _ => self
                .status
                .plate()
                .iter()
                .zip(0..)
                .map(|(name, id)| PrintObject {
                    id,
                    name: (*name).to_owned(),
                })
                .collect(),
        };
        let gone = self.status.excluded();
        let skipped: Vec<u32> = called(&plate, &gone).iter().map(|o| o.id).collect();
        if plate != self.told.plate {
            self.told.plate.clone_from(&plate);
            self.tell(Event::Objects(plate));
        }
        if skipped != self.told.skipped {
            self.told.skipped.clone_from(&skipped);
            self.tell(Event::Skipped(skipped));
        }
    }
}
