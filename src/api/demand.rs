//! What a request to `printers/actions/*` demands, read from its body. Pure.

use serde_json::Value;
use uuid::Uuid;

use super::envelope::Problem;
use super::gcode_body::{self, Wanted};
use crate::json::{self, json};
use crate::printer::command::{CancelReason, Command, MaterialPlace};
use crate::printer::pause_wishes::{self, PauseWishes};

/// Longest comment of a cancel, characters (documented).
pub const COMMENT_MAX: usize = 500;

/// Most objects named in one request.
const OBJECTS_MAX: usize = 1000;

/// Longest name of an object, a start or a file id, characters.
pub const NAME_MAX: usize = 255;

/// One action, the same for every printer it goes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Demand {
    /// A command to the printer.
    Command(Command),
    /// Lines of the owner's own, which each printer has for itself.
    Own {
        /// Which.
        wanted: Wanted,
        /// They only tune.
        tune: bool,
    },
    /// A person took the print off the bed.
    ClearBed {
        /// 1–4, if the person rated it.
        rating: Option<u8>,
    },
    /// A print.
    Print(JobDemand),
    /// A print that was held may heat and print.
    Begin,
    /// A print that has not begun does not begin.
    CancelPending,
    /// Leave objects out of the running print: ids or names, both are documented.
    Skip(Vec<String>),
}

/// Where the program of a print comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobSource {
    /// An uploaded file by its id.
    File(String),
    /// An earlier job by its number.
    JobNumber(i64),
    /// An earlier job by its identity.
    JobUid(Uuid),
}

/// A printer's number, and the place of every filament of the file.
pub type MaterialMap = (i64, Vec<Option<MaterialPlace>>);

/// A print as it was demanded.
#[derive(Clone, Debug, PartialEq)]
pub struct JobDemand {
    /// What to print.
    pub source: JobSource,
    /// Objects to leave out, by id or name.
    pub skip: Vec<String>,
    /// Where the filaments come from, by the number of the printer.
    pub materials: Vec<MaterialMap>,
    /// Which plate of a project, from 1.
    pub plate: Option<u32>,
    /// Identity of the demand: the same one twice starts one print.
    pub start_id: Option<String>,
    /// Options that were given and have no meaning on this host.
    pub ignored: Vec<String>,
    /// Stop when the file is checked, until the word to begin.
    pub hold: bool,
    /// The file was uploaded for this print alone: it goes when the held print does not begin.
    pub discard: bool,
}

/// How the requester wants to be treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// Answer only when the outcome is known.
    pub wait: bool,
    /// The request brought a member `layerd`: our dialect, judged by the guard alone.
    pub ours: bool,
}

/// Reads the member `layerd` of a request.
///
/// # Errors
/// When it is there and not an object, or its members are of the wrong type.
pub fn manner(body: &Value) -> Result<Manner, Problem> {
    match body.get("layerd") {
        None | Some(Value::Null) => Ok(Manner::default()),
        Some(Value::Object(_)) => Ok(Manner {
            wait: flag(body, "wait")?,
            ours: true,
        }),
        Some(_) => Err(Problem::bad("`layerd` must be an object.")),
    }
}

fn flag(body: &Value, key: &str) -> Result<bool, Problem> {
    match body.get("layerd").and_then(|l| l.get(key)) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(on)) => Ok(*on),
        Some(_) => Err(Problem::bad(format!("`layerd.{key}` must be true or false."))),
    }
}

/// Reads an action.
///
/// # Errors
/// Unknown actions (404), bodies that break a limit (400), and what only the cloud has
/// (`status: false`).
pub fn read(action: &str, body: &Value) -> Result<Demand, Problem> {
    if !matches!(body, Value::Null | Value::Object(_)) {
        return Err(Problem::bad("The body must be a JSON object."));
    }
    Ok(match action {
        "Pause" => Demand::Command(pause(body)?),
        "KeepWarm" => Demand::Command(Command::KeepWarm(
            pause_wishes::minutes(body.get("minutes"), "minutes")
                .map_err(Problem::bad)?
                .ok_or_else(|| Problem::bad("`minutes` must say for how long; 0 ends it."))?,
        )),
        "Resume" => Demand::Command(Command::Resume),
        "Cancel" => Demand::Command(Command::Cancel(cancel_reason(body)?)),
        "EmergencyStop" => Demand::Command(Command::EmergencyStop),
        "Reconnect" => Demand::Command(Command::Reconnect),
        "HeatersOff" => Demand::Command(Command::HeatersOff),
        "SendGcode" => {
            let tune = flag(body, "tune")?;
            match gcode_body::wanted(body)? {
                Wanted::Lines(lines) => Demand::Command(Command::SendGcode { lines, tune }),
                wanted => Demand::Own { wanted, tune },
            }
        }
        "SkipObjects" => Demand::Skip(objects(body)?),
        "Answer" => Demand::Command(Command::Answer {
            button: small(body, "button", 0, u8::MAX)?
                .ok_or_else(|| Problem::bad("`button` must be the number of a button, from 0."))?,
        }),
        "ClearBed" => Demand::ClearBed {
            rating: small(body, "rating", 1, 4)?,
        },
        "CreateJob" => Demand::Print(job(body)?),
        "BeginPrint" => Demand::Begin,
        "CancelPendingPrint" => Demand::CancelPending,
        "RefreshMaterialData" => Demand::Command(Command::RefreshMaterials),
        _ => return Err(Problem::not_found("There is no such action.")),
    })
}

/// A pause with `onPause` has a manner of its own.
fn pause(body: &Value) -> Result<Command, Problem> {
    match body.get("onPause") {
        None | Some(Value::Null) => Ok(Command::Pause),
        Some(wishes) => PauseWishes::read(wishes)
            .map(Command::PauseAs)
            .map_err(Problem::bad),
    }
}

fn cancel_reason(body: &Value) -> Result<CancelReason, Problem> {
    let comment = match body.get("comment") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text.chars().count() > COMMENT_MAX => {
            return Err(Problem::bad(format!(
                "`comment` is longer than {COMMENT_MAX} characters."
            )));
        }
        Some(Value::String(text)) => Some(text.clone()),
        Some(_) => return Err(Problem::bad("`comment` must be a text.")),
    };
    Ok(CancelReason {
        reason: small(body, "reason", 1, 8)?,
        comment,
    })
}

/// A small number, as a number or a text of digits.
fn small(body: &Value, key: &str, least: u8, most: u8) -> Result<Option<u8>, Problem> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => whole(value)
            .and_then(|n| u8::try_from(n).ok())
            .filter(|n| (least..=most).contains(n))
            .map(Some)
            .ok_or_else(|| Problem::bad(format!("`{key}` must be a number from {least} to {most}."))),
    }
}

fn whole(value: &Value) -> Option<u64> {
    value
        .as_u64()
        .or_else(|| value.as_str().and_then(|t| t.trim().parse().ok()))
}

fn objects(body: &Value) -> Result<Vec<String>, Problem> {
    let list = body.get("object_ids").and_then(Value::as_array);
    let list = list
        .filter(|l| (1..=OBJECTS_MAX).contains(&l.len()))
        .ok_or_else(|| {
            Problem::bad(format!(
                "`object_ids` must be a list of 1 to {OBJECTS_MAX} objects."
            ))
        })?;
    list.iter()
        .map(|value| {
            object(value).ok_or_else(|| Problem::bad("`object_ids` takes numbers and names of objects."))
        })
        .collect()
}

/// An object by number or name.
fn object(value: &Value) -> Option<String> {
    match value {
        Value::Number(n) if n.is_u64() => Some(n.to_string()),
        Value::String(name) if !name.is_empty() && name.chars().count() <= NAME_MAX => Some(name.clone()),
        _ => None,
    }
}

fn job(body: &Value) -> Result<JobDemand, Problem> {
    for key in ["queue_file", "multi_queue", "next_queue_item"] {
        if is_given(body.get(key)) {
            return Err(Problem::said(format!(
                "`{key}` is not available on this host: the queue is kept in the cloud."
            )));
        }
    }
    let start_id = match body.pointer("/layerd/start_id") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if !text.is_empty() && text.chars().count() <= NAME_MAX => {
            Some(text.clone())
        }
        Some(_) => {
            return Err(Problem::bad(format!(
                "`layerd.start_id` must be a text of 1 to {NAME_MAX} characters."
            )));
        }
    };
    Ok(JobDemand {
        materials: material_maps(body)?,
        source: source(body)?,
        skip: skipped_objects(body)?,
        plate: plate(body)?,
        start_id,
        ignored: start_options(body)?,
        hold: flag(body, "hold")?,
        discard: flag(body, "discard")?,
    })
}

/// Ours alone: the documented shape knows no plates.
fn plate(body: &Value) -> Result<Option<u32>, Problem> {
    match body.pointer("/layerd/plate") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => whole(value)
            .and_then(|n| u32::try_from(n).ok())
            .filter(|n| *n > 0)
            .map(Some)
            .ok_or_else(|| Problem::bad("`layerd.plate` must be the number of a plate, from 1.")),
    }
}

fn is_given(value: Option<&Value>) -> bool {
    !matches!(value, None | Some(Value::Null | Value::Bool(false)))
}

fn source(body: &Value) -> Result<JobSource, Problem> {
    let given: Vec<&str> = ["file_id", "filesystem", "reprint"]
        .into_iter()
        .filter(|key| body.get(*key).is_some_and(|v| !v.is_null()))
        .collect();
    let [key] = given.as_slice() else {
        return Err(Problem::bad(
            "Name exactly one source: `file_id` or `filesystem` (an uploaded file), or `reprint` (a job).",
        ));
    };
    let value = body.get(*key).unwrap_or(&Value::Null);
    if *key != "reprint" {
        return match value.as_str() {
            Some(id)
                if !id.is_empty() && id.len() <= NAME_MAX && id.bytes().all(|b| b.is_ascii_hexdigit()) =>
            {
                Ok(JobSource::File(id.to_ascii_lowercase()))
            }
            _ => Err(Problem::bad(format!(
                "`{key}` must be the id that the upload answered."
            ))),
        };
    }
    job_source(value).ok_or_else(|| Problem::bad("`reprint` must be the id or uid of a job."))
}

/// A job by number or identity, in every form clients send.
pub fn job_source(value: &Value) -> Option<JobSource> {
    if let Some(number) = whole(value).and_then(|n| i64::try_from(n).ok()) {
        return Some(JobSource::JobNumber(number));
    }
    let uid = Uuid::parse_str(value.as_str()?.trim()).ok()?;
    Some(JobSource::JobUid(uid))
}

fn skipped_objects(body: &Value) -> Result<Vec<String>, Problem> {
    let Some(value) = structured(body, "skipped_objects")? else {
        return Ok(Vec::new());
    };
    let bad = || Problem::bad("`skipped_objects` must be a list of numbers or names of objects.");
    let list = value
        .as_array()
        .filter(|l| l.len() <= OBJECTS_MAX)
        .ok_or_else(bad)?;
    list.iter().map(|value| object(value).ok_or_else(bad)).collect()
}

/// A member that is documented both as JSON and as a text holding JSON.
fn structured(body: &Value, key: &str) -> Result<Option<Value>, Problem> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
        Some(Value::String(text)) => json::read(text)
            .map(|v: Value| Some(v).filter(|v| !v.is_null()))
            .map_err(|e| Problem::bad(format!("`{key}` is a text but not JSON: {e}."))),
        Some(value) => Ok(Some(value.clone())),
    }
}

/// `mms_map`: for each printer a list with the place of every filament of the file. A number is a slot of
/// the first nozzle, null an unused filament.
fn material_maps(body: &Value) -> Result<Vec<MaterialMap>, Problem> {
    let Some(maps) = structured(body, "mms_map")? else {
        return Ok(Vec::new());
    };
    let bad = || Problem::bad("`mms_map` must be a list of {\"pid\", \"map\"}.");
    let number = |value: &Value| whole(value).and_then(|n| u16::try_from(n).ok());
    let place = |value: &Value| match value {
        Value::Null => Some(None),
        Value::Object(place) => {
            let nozzle = place.get("nozzle").map_or(Some(0), number)?;
            match place.get("ext") {
                None | Some(Value::Null) => Some(None),
                Some(position) => Some(Some(MaterialPlace {
                    nozzle: u8::try_from(nozzle).ok()?,
                    position: number(position)?,
                })),
            }
        }
        value => number(value).map(|position| Some(MaterialPlace { nozzle: 0, position })),
    };
    let read = |entry: &Value| {
        let pid = entry
            .get("pid")
            .and_then(whole)
            .and_then(|n| i64::try_from(n).ok())?;
        let map = entry.get("map")?.as_array().filter(|m| m.len() <= OBJECTS_MAX)?;
        Some((pid, map.iter().map(place).collect::<Option<Vec<_>>>()?))
    };
    let list = maps
        .as_array()
        .filter(|l| l.len() <= OBJECTS_MAX)
        .ok_or_else(bad)?;
    list.iter().map(|entry| read(entry).ok_or_else(bad)).collect()
}

/// Names of the options that were switched on and that no printer here knows.
fn start_options(body: &Value) -> Result<Vec<String>, Problem> {
    match structured(body, "start_options")? {
        None => Ok(Vec::new()),
        Some(Value::Object(options)) => Ok(options
            .into_iter()
            .filter(|(_, on)| !matches!(on, Value::Null | Value::Bool(false)) && *on != json!(0))
            .map(|(name, _)| name.chars().take(NAME_MAX).collect())
            .take(100)
            .collect()),
        Some(_) => Err(Problem::bad("`start_options` must be an object.")),
    }
}

#[cfg(test)]
#[path = "demand_tests.rs"]
mod tests;
