//! A printer as the broker sees it: levels as JSON, and what a home automation has to know of it. Pure.
//!
//! Every member is always there; what is not known is null, never zero.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::job::record::JobRecord;
use crate::json::json;
use crate::printer::command::{CancelReason, Command};
use crate::printer::guard::{self, Limits};
use crate::printer::model::{Activity, Filament, Heater, Now, Origin, State, StateWord};
use crate::printer::notice::{Level, Notice};
use crate::sorted::SortedMap;

/// Open notices that are told.
const NOTICES_MAX: usize = 20;
/// Longest text in a level, characters.
const TEXT_MAX: usize = 400;

/// The kinds of levels, each with a topic of its own, so that a change is a small message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// What it does.
    State,
    /// The print.
    Job,
    /// Heaters and sensors.
    Temperatures,
    /// Fans.
    Fans,
    /// Sensors and slots.
    Filament,
    /// What a person should know.
    Notices,
    /// Who it is, what it can.
    Info,
}

impl Group {
    /// All of them.
    pub const ALL: [Group; 7] = [
        Group::State,
        Group::Job,
        Group::Temperatures,
        Group::Fans,
        Group::Filament,
        Group::Notices,
        Group::Info,
    ];

    /// The last part of its topic.
    pub fn topic(self) -> &'static str {
        match self {
            Group::State => "state",
            Group::Job => "job",
            Group::Temperatures => "temperatures",
            Group::Fans => "fans",
            Group::Filament => "filament",
            Group::Notices => "notices",
            Group::Info => "info",
        }
    }
}

/// Who a printer is, beside what it does.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// Name in the configuration.
    pub name: &'a str,
    /// Kind of driver.
    pub driver: &'a str,
    /// It has a camera.
    pub camera: bool,
    /// What it can take.
    pub limits: Limits,
}

/// What a home automation makes its entities of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Heaters and sensors by name; whether it can be heated.
    pub heaters: SortedMap<String, bool>,
    /// Fans by name.
    pub fans: Vec<String>,
    /// Numbers of filament sensors.
    pub filament: Vec<u8>,
    /// How many slots for spools.
    pub slots: usize,
    /// It has a camera.
    pub camera: bool,
    /// It can be paused.
    pub pause: bool,
    /// It can be cancelled.
    pub cancel: bool,
    /// It takes G-code, so that temperatures can be set.
    pub gcode: bool,
    /// Its layers are known.
    pub layers: bool,
    /// The time left is known.
    pub time_left: bool,
    /// Highest tool temperature, °C.
    pub max_tool_c: Option<f32>,
    /// Highest bed temperature, °C.
    pub max_bed_c: Option<f32>,
    /// Maker or firmware family.
    pub driver: String,
    /// Machine as it says.
    pub model: Option<String>,
    /// Version of the firmware.
    pub version: Option<String>,
}

/// What decides whether the record of a job is worth another look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    word: StateWord,
    job: Option<(Uuid, bool, usize)>,
    last: Option<Uuid>,
}

/// Everything that goes to the broker about one printer.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// A person could reach it.
    pub online: bool,
    /// It can be seen what it has.
    pub settled: bool,
    /// Its levels; those of which nothing is known are not there.
    pub levels: SortedMap<Group, Value>,
    /// For home automations.
    pub facts: Facts,
    /// Open notices, oldest first.
    pub notices: Vec<Notice>,
    /// Changes when a job moves on.
    pub mark: Mark,
}

impl View {
    /// From what the agent knows.
    pub fn of(who: Who<'_>, state: &State, last: Option<&JobRecord>, now: Now) -> View {
        let mut levels = SortedMap::new();
        levels.insert(Group::State, state_level(who, state));
        levels.insert(Group::Job, job_level(state, last, now));
        if !state.heaters.is_empty() {
            levels.insert(Group::Temperatures, temperatures(state, now));
        }
        if let Some(equipment) = state.equipment.as_ref().filter(|e| !e.fans.is_empty()) {
            let percent = |(name, part): (&String, &f32)| (name.clone(), json!((part * 100.0).round()));
            levels.insert(
                Group::Fans,
                Value::Object(equipment.fans.iter().map(percent).collect()),
            );
        }
        if !state.filament.is_empty() || state.materials.is_some() {
            levels.insert(Group::Filament, filament(state));
        }
        levels.insert(Group::Notices, notices(&state.notices));
        levels.insert(Group::Info, info(who, state));
        View {
            online: !state.offline,
            settled: state.is_up()
                && !matches!(
                    state.word(),
                    StateWord::Offline | StateWord::Error | StateWord::NotReady
                ),
            levels,
            facts: facts(who, state),
            notices: state.notices.iter().take(NOTICES_MAX).cloned().collect(),
            mark: Mark {
                word: state.word(),
                job: state
                    .job
                    .as_ref()
                    .map(|j| (j.uid, j.started.is_some(), j.skipped.len())),
                last: last.map(|record| record.uid),
            },
        }
    }
}

fn state_level(who: Who<'_>, state: &State) -> Value {
    let why = match &state.activity {
        Activity::Paused(reason) => json!(reason),
        Activity::Error(fault) => json!(fault.code),
        Activity::NotReady(text) => json!(cut(text)),
        _ => Value::Null,
    };
    let can: Vec<&str> = [
        ("pause", Command::Pause),
        ("resume", Command::Resume),
        ("cancel", Command::Cancel(CancelReason::default())),
    ]
    .into_iter()
    .filter(|(_, command)| guard::guard(state, &who.limits, command).is_ok())
    .map(|(name, _)| name)
    .collect();
    json!({
        "state": state.word(),
        "why": why,
        "since": time(state.since.wall),
        "link": state.is_up(),
        "can": can,
        "message": state.message.as_deref().map(cut),
        "bed_dirty": state.bed_dirty,
        "held": state.job.as_ref().is_some_and(|j| j.held),
        "tool": state.active_tool,
        "supply": state.supply.as_ref().and_then(|s| s.on),
    })
}

fn job_level(state: &State, last: Option<&JobRecord>, now: Now) -> Value {
    let job = state.job.as_ref();
    let progress = job.map(|j| j.progress);
    let left_s = progress.and_then(|p| p.time_left_s);
    let finish = left_s.and_then(|s| now.wall.checked_add(SignedDuration::from_secs(i64::from(s))).ok());
    json!({
        "uid": job.map(|j| j.uid),
        "file": job.map(|j| cut(&j.file)),
        "percent": progress.and_then(|p| p.percent).map(tenth),
        "layer": progress.and_then(|p| p.layer),
        "layers": progress.and_then(|p| p.layers),
        "time_left_s": left_s,
        "finish": finish.map(|at| time(Timestamp::from_second(at.as_second() / 60 * 60).unwrap_or(at))),
        "started": job.and_then(|j| j.started).map(time),
        "upload_percent": job.and_then(|j| j.upload_percent).map(tenth),
        "outside": job.map(|j| j.origin == Origin::Outside),
        "skipped": job.map(|j| j.skipped.clone()),
        "last": last.map(|record| json!({
            "uid": record.uid, "file": cut(&record.file), "end": record.state, "at": record.ended.map(time),
        })),
    })
}

fn temperatures(state: &State, now: Now) -> Value {
    let level = |(heater, heat): (&Heater, &crate::printer::model::Heat)| {
        let age = SignedDuration::try_from(heat.age(now.mono)).unwrap_or(SignedDuration::ZERO);
        let at = now.wall.checked_sub(age).unwrap_or(now.wall);
        let value = json!({
            "actual": tenth(heat.actual_c),
            "target": heat.target_c.map(tenth),
            "at": time(at),
        });
        (heater.to_string(), value)
    };
    Value::Object(state.heaters.iter().map(level).collect())
}

fn filament(state: &State) -> Value {
    let sensors: Map<String, Value> = state
        .filament
        .iter()
        .map(|(n, seen)| (n.to_string(), json!(seen)))
        .collect();
    let runout =
        (!state.filament.is_empty()).then(|| state.filament.values().any(|seen| *seen == Filament::Runout));
    json!({
        "runout": runout,
        "sensors": sensors,
        "slots": state.materials.as_deref(),
    })
}

fn notices(open: &[Notice]) -> Value {
    let worst = |level| open.iter().any(|n| n.level == level);
    let level = [Level::Error, Level::Warning, Level::Info]
        .into_iter()
        .find(|l| worst(*l));
    json!({
        "count": open.len(),
        "level": level,
        "newest": open.last().map(|n| cut(&n.title)),
        "open": open.iter().rev().take(NOTICES_MAX).rev().map(notice).collect::<Vec<_>>(),
    })
}

/// A notice, in levels and events.
pub fn notice(notice: &Notice) -> Value {
    json!({
        "id": notice.id,
        "key": notice.key,
        "level": notice.level,
        "title": cut(&notice.title),
        "text": cut(&notice.text),
        "code": notice.code,
        "buttons": notice.buttons.iter().map(|b| cut(b)).collect::<Vec<_>>(),
        "at": time(notice.at),
    })
}

fn info(who: Who<'_>, state: &State) -> Value {
    let firmware = state.firmware.as_ref();
    json!({
        "name": who.name,
        "driver": who.driver,
        "firmware": firmware.map(|f| cut(&f.name)),
        "firmware_version": firmware.and_then(|f| f.version.as_deref()).map(cut),
        "machine": firmware.and_then(|f| f.machine.as_deref()).map(cut),
        "capabilities": state.capabilities.names(true),
        "max_tool_c": who.limits.max_tool_c,
        "max_bed_c": who.limits.max_bed_c,
        "camera": who.camera,
    })
}

fn facts(who: Who<'_>, state: &State) -> Facts {
    let firmware = state.firmware.as_ref();
    let can = |name| state.capabilities.has(name);
    let fans = state.equipment.iter().flat_map(|e| e.fans.keys().cloned());
    Facts {
        heaters: state
            .heaters
            .iter()
            .map(|(heater, heat)| (heater.to_string(), heat.target_c.is_some()))
            .collect(),
        fans: fans.collect(),
        filament: state.filament.keys().copied().collect(),
        slots: state.materials.as_ref().map_or(0, |slots| slots.len()),
        camera: who.camera,
        pause: can("print.pause"),
        cancel: can("print.cancel"),
        gcode: can("gcode.send"),
        layers: can("layer.progress"),
        time_left: can("time.left"),
        max_tool_c: who.limits.max_tool_c,
        max_bed_c: who.limits.max_bed_c,
        driver: who.driver.to_owned(),
        model: firmware.and_then(|f| f.machine.clone().or_else(|| Some(f.name.clone()))),
        version: firmware.and_then(|f| f.version.clone()),
    }
}

fn tenth(value: f32) -> f64 {
    (f64::from(value) * 10.0).round() / 10.0
}

/// Longer texts end in `…`.
pub fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// RFC 3339 in UTC, whole seconds.
pub fn time(at: Timestamp) -> String {
    format!("{at:.0}")
}

#[cfg(test)]
#[path = "view_tests.rs"]
pub(in crate::upstream::mqtt) mod tests;
