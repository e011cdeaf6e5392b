//! What comes in on a printer's `command` topic. Pure; nothing here trusts the sender.
//!
//! ```json
//! {"id": "a1", "command": "pause"}
//! {"id": "a2", "command": "start", "file": "cube.gcode", "at": "2026-01-02T03:04:05Z"}
//! ```
//!
//! | `command` | further members |
//! |---|---|
//! | `pause` | `on_pause` (wishes for this pause) |
//! | `resume`, `emergency_stop`, `heaters_off`, `refresh_materials`, `reconnect`, `begin` | |
//! | `cancel` | `reason` 1–8, `comment` |
//! | `gcode` | `lines`: a list, or a text with line ends; `tune`: true while printing |
//! | `temperature` | `heaters`: `{"tool0": 210, "bed": 60, "chamber": 40}` |
//! | `skip` | `objects`: numbers or names |
//! | `start` | `file` (name, id or SHA-256 of a file on the host) or `url` with `name`, `size`, `sha256`; `skip`, `plate`, `materials`, `hold` |
//! | `clear_bed` | `rating` 1–4 |
//! | `answer` | `button`, from 0 |
//! | `dismiss` | `notice`: its key |
//! | `power` | `on` |
//! | `keep_warm` | `minutes` |
//!
//! With every command: `id` (needed: the same one twice is carried out once), `at` (when it was sent; RFC 3339 or Unix
//! seconds), `session` (of the topic `host`), `job` (only if this job is in hand).

use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::config::secrets::Secret;
use crate::printer::command::{CancelReason, Command, MaterialPlace};
use crate::printer::guard::GCODE_LINES_MAX;
use crate::printer::outcome::Refusal;
use crate::printer::pause_wishes::{self, PauseWishes};

/// Longest id, characters.
pub const ID_MAX: usize = 100;
/// Longest name, file, object or comment, characters.
const NAME_MAX: usize = 255;
/// Longest comment of a cancel, characters.
const COMMENT_MAX: usize = 500;
/// Longest address, characters.
const URL_MAX: usize = 4000;
/// Objects or filaments in one command.
const LIST_MAX: usize = 1000;
/// Highest temperature that is a temperature, °C; what a printer can take is the guard's business.
const TARGET_MAX_C: f64 = 600.0;

/// A command that can be understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// Identity.
    pub id: String,
    /// Its word, for the result.
    pub word: &'static str,
    /// When it was sent, by the sender's clock.
    pub at: Option<Timestamp>,
    /// The session that it was meant for.
    pub session: Option<String>,
    /// The job that it was meant for.
    pub job: Option<Uuid>,
    /// What is wanted.
    pub what: Wanted,
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// A command to the printer.
    Command(Command),
    /// Leave objects out: numbers or names.
    Skip(Vec<String>),
    /// A print.
    Print(Box<PrintWish>),
    /// A print that was held may begin.
    Begin,
    /// The bed was cleared.
    ClearBed(Option<u8>),
    /// A notice is closed.
    Dismiss(String),
    /// The supply.
    Power(bool),
}

/// Where the file of a print is.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Here: its name, id or SHA-256.
    File(String),
    /// To be fetched.
    Url {
        /// Where from; may be signed.
        url: Secret,
        /// Name for people.
        name: String,
        /// Bytes, where the sender knows.
        size: Option<u64>,
        /// What must come out, hex.
        sha256: Option<String>,
    },
}

/// A print that is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct PrintWish {
    /// The file.
    pub source: Source,
    /// Objects to leave out.
    pub skip: Vec<String>,
    /// Where each filament comes from; empty: the driver chooses.
    pub materials: Vec<Option<MaterialPlace>>,
    /// Which plate of a project, from 1.
    pub plate: Option<u32>,
    /// Stop when the file is checked, until `begin`.
    pub hold: bool,
}

/// A message that is no command of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// Its id, if it had one: then it is answered, else passed over.
    pub id: Option<String>,
    /// Why.
    pub refusal: Refusal,
}

impl Wanted {
    /// Whether it can only make a printer stiller and cooler, so that it must rather come too late than never.
    pub fn stops(&self) -> bool {
        matches!(
            self,
            Wanted::Command(
                Command::Pause
                    | Command::PauseAs(_)
                    | Command::Cancel(_)
                    | Command::HeatersOff
                    | Command::EmergencyStop
            ) | Wanted::Power(false)
        )
    }

    /// Whether it may move, heat or start something, so that it must not come after a word that stops.
    pub fn rouses(&self) -> bool {
        let quiet = matches!(
            self,
            Wanted::Skip(_)
                | Wanted::Dismiss(_)
                | Wanted::Command(
                    Command::SkipObjects { .. } | Command::RefreshMaterials | Command::Reconnect
                )
        );
        !quiet && !self.stops()
    }
}

/// Reads a message.
///
/// # Errors
/// What is wrong with it.
pub fn read(payload: &[u8]) -> Result<Asked, Bad> {
    let bad = |id: Option<&String>, words: String| Bad {
        id: id.cloned(),
        refusal: Refusal::new("refused/bad-request", words),
    };
    let value: Value =
        serde_json::from_slice(payload).map_err(|e| bad(None, format!("This is not JSON: {e}.")))?;
    let Value::Object(members) = value else {
        return Err(bad(None, "A command is a JSON object.".to_owned()));
    };
    let mut body = Body {
        members,
        taken: vec!["id", "command"],
    };
    let id = match body.members.get("id") {
        Some(Value::String(id)) if !id.is_empty() && id.chars().count() <= ID_MAX => id.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => {
            return Err(bad(
                None,
                format!("`id` must be a text of 1 to {ID_MAX} characters, new for each command."),
            ));
        }
    };
    asked(&mut body, &id).map_err(|words| bad(Some(&id), words))
}

/// The members of a command; those that nobody takes are mistakes.
struct Body {
    members: Map<String, Value>,
    taken: Vec<&'static str>,
}

impl Body {
    fn get(&mut self, key: &'static str) -> Option<&Value> {
        self.taken.push(key);
        self.members.get(key).filter(|v| !v.is_null())
    }

    fn text(&mut self, key: &'static str, most: usize) -> Result<Option<String>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() && text.chars().count() <= most => {
                Ok(Some(text.clone()))
            }
            Some(_) => Err(format!("`{key}` must be a text of 1 to {most} characters.")),
        }
    }

    fn number(&mut self, key: &'static str, least: u64, most: u64) -> Result<Option<u64>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => whole(value)
                .filter(|n| (least..=most).contains(n))
                .map(Some)
                .ok_or_else(|| format!("`{key}` must be a whole number from {least} to {most}.")),
        }
    }

    fn flag(&mut self, key: &'static str) -> Result<Option<bool>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(on)) => Ok(Some(*on)),
            Some(_) => Err(format!("`{key}` must be true or false.")),
        }
    }

    fn names(&mut self, key: &'static str) -> Result<Vec<String>, String> {
        let bad = || format!("`{key}` must be a list of at most {LIST_MAX} numbers or names.");
        let Some(value) = self.get(key) else {
            return Ok(Vec::new());
        };
        let list = value.as_array().filter(|l| l.len() <= LIST_MAX).ok_or_else(bad)?;
        let name = |value: &Value| match value {
            Value::Number(n) if n.is_u64() => Some(n.to_string()),
            Value::String(name) if !name.is_empty() && name.chars().count() <= NAME_MAX => Some(name.clone()),
            _ => None,
        };
        list.iter().map(|value| name(value).ok_or_else(bad)).collect()
    }
}

fn whole(value: &Value) -> Option<u64> {
    value
        .as_u64()
        .or_else(|| {
            value
                .as_f64()
                .filter(|n| n.fract() == 0.0 && (0.0..1e15).contains(n))
                .map(|n| n as u64)
        })
        .or_else(|| value.as_str().and_then(|t| t.trim().parse().ok()))
}

fn asked(body: &mut Body, id: &str) -> Result<Asked, String> {
    let word = match body.members.get("command") {
        Some(Value::String(word)) => word.clone(),
        _ => return Err("`command` must say what to do.".to_owned()),
    };
    let at = match body.get("at") {
        None => None,
        Some(value) => {
            Some(moment(value).ok_or("`at` must be a time as 2026-01-02T03:04:05Z or in Unix seconds.")?)
        }
    };
    let session = body.text("session", ID_MAX)?;
    let job = body
        .text("job", NAME_MAX)?
        .map(|text| Uuid::parse_str(&text).map_err(|_| "`job` must be the uid of a job."))
        .transpose()?;
    let (word, what) = wanted(body, &word)?;
    if let Some(unknown) = body
        .members
        .keys()
        .find(|key| !body.taken.contains(&key.as_str()))
    {
        let unknown: String = unknown.chars().take(40).collect();
        return Err(format!("`{word}` has no member {unknown:?}."));
    }
    Ok(Asked {
        id: id.to_owned(),
        word,
        at,
        session,
        job,
        what,
    })
}

fn wanted(body: &mut Body, word: &str) -> Result<(&'static str, Wanted), String> {
    let plain = |command| Ok(Wanted::Command(command));
    let (word, what) = match word {
        "pause" => (
            "pause",
            match body.get("on_pause") {
                None => plain(Command::Pause),
                Some(wishes) => PauseWishes::read(wishes).map(|w| Wanted::Command(Command::PauseAs(w))),
            },
        ),
        "resume" => ("resume", plain(Command::Resume)),
        "emergency_stop" => ("emergency_stop", plain(Command::EmergencyStop)),
        "heaters_off" => ("heaters_off", plain(Command::HeatersOff)),
        "refresh_materials" => ("refresh_materials", plain(Command::RefreshMaterials)),
        "reconnect" => ("reconnect", plain(Command::Reconnect)),
        "begin" => ("begin", Ok(Wanted::Begin)),
        "cancel" => ("cancel", cancel(body)),
        "gcode" => ("gcode", gcode(body)),
        "temperature" => ("temperature", temperature(body)),
        "skip" => (
            "skip",
            body.names("objects")
                .and_then(|objects| match objects.is_empty() {
                    true => Err("`objects` must name at least one object.".to_owned()),
                    false => Ok(Wanted::Skip(objects)),
                }),
        ),
        "start" => ("start", start(body)),
        "clear_bed" => (
            "clear_bed",
            body.number("rating", 1, 4)
                .map(|n| Wanted::ClearBed(n.and_then(|n| u8::try_from(n).ok()))),
        ),
        "answer" => (
            "answer",
            body.number("button", 0, 255)?
                .and_then(|n| u8::try_from(n).ok())
                .map(|button| Wanted::Command(Command::Answer { button }))
                .ok_or_else(|| "`button` must be the number of a button, from 0.".to_owned()),
        ),
        "dismiss" => (
            "dismiss",
            body.text("notice", NAME_MAX)?
                .map(Wanted::Dismiss)
                .ok_or_else(|| "`notice` must be the key of a notice.".to_owned()),
        ),
        "power" => (
            "power",
            body.flag("on")?
                .map(Wanted::Power)
                .ok_or_else(|| "`on` must be true or false.".to_owned()),
        ),
        "keep_warm" => (
            "keep_warm",
            pause_wishes::minutes(body.get("minutes"), "minutes")?
                .map(|time| Wanted::Command(Command::KeepWarm(time)))
                .ok_or_else(|| "`minutes` must say for how long; 0 ends it.".to_owned()),
        ),
        other => {
            let other: String = other.chars().take(40).collect();
            return Err(format!("There is no command {other:?}."));
        }
    };
    Ok((word, what?))
}

fn cancel(body: &mut Body) -> Result<Wanted, String> {
    Ok(Wanted::Command(Command::Cancel(CancelReason {
        reason: body.number("reason", 1, 8)?.and_then(|n| u8::try_from(n).ok()),
        comment: body.text("comment", COMMENT_MAX)?,
    })))
}

fn gcode(body: &mut Body) -> Result<Wanted, String> {
    let texts: Vec<String> = match body.get("lines") {
        Some(Value::String(text)) => text
            .lines()
            .take(GCODE_LINES_MAX * 4)
            .map(str::to_owned)
            .collect(),
        Some(Value::Array(list)) if list.len() <= GCODE_LINES_MAX * 4 => list
            .iter()
            .map(|line| line.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or("`lines` must hold texts.")?,
        _ => return Err("`lines` must be the G-code: a list of lines, or a text.".to_owned()),
    };
    // A line end inside of a line would be a line that nobody has judged.
    let lines: Vec<String> = texts
        .iter()
        .flat_map(|text| text.split(['\n', '\r']))
        .map(|line| line.split(';').next().unwrap_or_default().trim().to_owned())
        .filter(|line| !line.is_empty() && !line.starts_with('@'))
        .collect();
    let tune = body.flag("tune")?.unwrap_or(false);
    Ok(Wanted::Command(Command::SendGcode { lines, tune }))
}

fn temperature(body: &mut Body) -> Result<Wanted, String> {
    let bad = "`heaters` must hold temperatures in °C: {\"tool0\": 210, \"bed\": 60, \"chamber\": 40}.";
    let heaters = body.get("heaters").and_then(Value::as_object).ok_or(bad)?;
    let mut lines = Vec::new();
    for (name, target) in heaters.iter().take(LIST_MAX) {
        let target_c = target
            .as_f64()
            .filter(|c| (0.0..=TARGET_MAX_C).contains(c))
            .ok_or(bad)?
            .round();
        lines.push(match name.as_str() {
            "bed" => format!("M140 S{target_c}"),
            "chamber" => format!("M141 S{target_c}"),
            tool => {
                let number: u8 = tool
                    .strip_prefix("tool")
                    .and_then(|n| n.parse().ok())
                    .ok_or(bad)?;
                format!("M104 T{number} S{target_c}")
            }
        });
    }
    if lines.is_empty() {
        return Err(bad.to_owned());
    }
    // Setting a temperature is tuning, also of a running print.
    Ok(Wanted::Command(Command::SendGcode { lines, tune: true }))
}

fn start(body: &mut Body) -> Result<Wanted, String> {
    let sha256 = match body.text("sha256", 64)? {
        Some(text) if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Some(text.to_ascii_lowercase())
        }
        Some(_) => return Err("`sha256` must be 64 hex digits.".to_owned()),
        None => None,
    };
    let source = match (body.text("file", NAME_MAX)?, body.text("url", URL_MAX)?) {
        (Some(file), None) => Source::File(file),
        (None, Some(url)) => {
            let path = url.split(['?', '#']).next().unwrap_or_default();
            let last = path.rsplit('/').next().unwrap_or_default();
            let name = body
                .text("name", NAME_MAX)?
                .unwrap_or_else(|| last.chars().take(NAME_MAX).collect());
            Source::Url {
                url: Secret::new(url),
                name: if name.is_empty() {
                    "print.gcode".to_owned()
                } else {
                    name
                },
                size: body.number("size", 1, 1 << 40)?,
                sha256,
            }
        }
        _ => return Err("Name exactly one source: `file` (a file on the host) or `url`.".to_owned()),
    };
    Ok(Wanted::Print(Box::new(PrintWish {
        source,
        skip: body.names("skip")?,
        materials: materials(body)?,
        plate: body.number("plate", 1, 1000)?.and_then(|n| u32::try_from(n).ok()),
        hold: body.flag("hold")?.unwrap_or(false),
    })))
}

/// For each filament of the file its slot on the first nozzle, `{"nozzle", "slot"}`, or null.
fn materials(body: &mut Body) -> Result<Vec<Option<MaterialPlace>>, String> {
    let bad =
        "`materials` must be a list with a slot for each filament: 3, {\"nozzle\": 1, \"slot\": 0} or null.";
    let Some(value) = body.get("materials") else {
        return Ok(Vec::new());
    };
    let list = value.as_array().filter(|l| l.len() <= LIST_MAX).ok_or(bad)?;
    let number = |value: &Value| whole(value).and_then(|n| u16::try_from(n).ok());
    let place = |value: &Value| match value {
        Value::Null => Some(None),
        Value::Object(place) => {
            let nozzle = place.get("nozzle").map_or(Some(0), number)?;
            let position = number(place.get("slot")?)?;
            Some(Some(MaterialPlace {
                nozzle: u8::try_from(nozzle).ok()?,
                position,
            }))
        }
        value => number(value).map(|position| Some(MaterialPlace { nozzle: 0, position })),
    };
    list.iter()
        .map(place)
        .collect::<Option<_>>()
        .ok_or_else(|| bad.to_owned())
}

fn moment(value: &Value) -> Option<Timestamp> {
    match value {
        Value::String(text) => text.parse().ok(),
        // Beyond this it is milliseconds, which nobody has asked for.
        Value::Number(number) => {
            let s = number.as_f64().filter(|s| (0.0..1e11).contains(s))?;
            Timestamp::from_millisecond((s * 1000.0) as i64).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
