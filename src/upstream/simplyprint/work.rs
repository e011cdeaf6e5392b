//! What the core wants done, done: each piece in a future of its own, with its answer.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::multipart::{Form, Part};
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc};
use uuid::Uuid;

use super::action::{FetchOrder, PictureOrder, PrinterKey, StartOrder};
use super::printer::StartResult;
use super::view::Ended;
use crate::agent::handle::{AgentHandle, PrintOrder, PrinterHandle};
use crate::config::secrets::Secret;
use crate::gcode::analysis::Object;
use crate::json::json;
use crate::printer::command::Command;
use crate::printer::model::PrintObject;
use crate::printer::outcome::Outcome;
use crate::upstream::fetch::Fetcher;

/// How long a post may take.
const POST_LIMIT: std::time::Duration = std::time::Duration::from_secs(45);
/// Answers of the REST endpoints that are read, bytes.
const ANSWER_MAX: usize = 64 << 10;
/// Largest picture of a live view, bytes: it shares the socket with everything else.
const FRAME_MAX: usize = 1 << 20;
/// Objects that are told.
const OBJECTS_MAX: usize = 1000;

pub use super::printer::OBJECT_KEY;

/// What came of it.
#[derive(Debug)]
pub enum Done {
    /// Nothing that the core has to hear.
    Nothing,
    /// A command of a demand was refused, with words.
    Refused(PrinterKey, &'static str, String),
    /// G-code with an identifier.
    Executed(PrinterKey, String, bool, String),
    /// A file.
    Fetched(PrinterKey, u64, Result<String, String>),
    /// A start.
    Started(PrinterKey, u64, StartResult),
    /// A job.
    LookedUp(PrinterKey, Uuid, Option<Ended>),
    /// A start from before.
    LookedUpStart(PrinterKey, Option<Uuid>),
    /// Objects.
    Objects(PrinterKey, Uuid, Vec<Value>),
    /// A message to send.
    Answer(PrinterKey, &'static str, Value),
    /// A live picture.
    Frame(PrinterKey, Option<String>),
}

/// What all pieces of work share.
#[derive(Clone)]
pub struct Tools {
    /// Printers and jobs.
    pub agent: AgentHandle,
    /// Fetches files.
    pub fetcher: Fetcher,
    /// REST address of the cloud.
    pub api: String,
    /// Whether the next item of the queue is asked for when a bed was cleared.
    pub start_next: bool,
    /// How many starts are checked at once; the others wait their turn.
    pub starts: Arc<Semaphore>,
}

/// Starts that are checked at once: the analysis serves people at the API beside the cloud.
pub const STARTS: usize = 3;

/// A command whose effect is seen in the state. What is refused is told for those where a person would
/// wonder; a pause of a paused print is nobody's surprise.
pub async fn command(printer: PrinterHandle, command: Command) -> Done {
    let title = match &command {
        Command::SkipObjects { .. } => Some("Objects were not skipped."),
        Command::Answer { .. } => Some("The answer was not taken."),
        Command::EmergencyStop => Some("The emergency stop failed!"),
        _ => None,
    };
    let name = command.name();
    let wishes = matches!(command, Command::PauseAs(_));
    let mut outcome = printer.command(command).await;
    // A pause that comes plain is better than none.
    if wishes && outcome.code() == "refused/unsupported" {
        outcome = printer.command(Command::Pause).await;
    }
    if outcome.is_ok() {
        return Done::Nothing;
    }
    let message = outcome.message();
    tracing::debug!(
        printer = printer.name(),
        demand = name,
        code = outcome.code(),
        "{message}"
    );
    match title {
        Some(title) => Done::Refused(printer.id(), title, message),
        None => Done::Nothing,
    }
}

/// The supply on or off. `keepalive`: only if it is not on.
pub async fn power(printer: PrinterHandle, on: bool, keepalive: bool) -> Done {
    let is = printer.snapshot().state.supply.as_ref().and_then(|s| s.on);
    if keepalive && is == Some(on) {
        return Done::Nothing;
    }
    let outcome = printer.power(on).await;
    if outcome.is_ok() {
        return Done::Nothing;
    }
    let message = outcome.message();
    tracing::debug!(
        printer = printer.name(),
        demand = "power",
        code = outcome.code(),
        "{message}"
    );
    Done::Refused(printer.id(), "Not switched.", message)
}

/// G-code of a demand.
pub async fn gcode(
    printer: PrinterHandle,
    lines: Vec<String>,
    tune: bool,
    identifier: Option<String>,
) -> Done {
    let outcome = printer.command(Command::SendGcode { lines, tune }).await;
    match identifier {
        Some(identifier) => {
            let message = match &outcome {
                Outcome::Rejected { by_printer, .. } => by_printer.clone(),
                other => other.message(),
            };
            Done::Executed(printer.id(), identifier, outcome.is_ok(), message)
        }
        None if outcome.is_ok() => Done::Nothing,
        None => Done::Refused(printer.id(), "G-code was not executed.", outcome.message()),
    }
}

/// Fetches a file and has it analyzed, so that a start finds the result ready.
pub async fn fetch(
    tools: Tools,
    printer: PrinterKey,
    order: FetchOrder,
    so_far: mpsc::Sender<(PrinterKey, u64, i64)>,
) -> Done {
    let number = order.number;
    let tell = |percent| {
        // Bounded; a percent that finds no place is followed by the next one.
        let _ = so_far.try_send((printer, number, percent));
    };
    let fetched = tools
        .fetcher
        .fetch(&order.urls, &order.name, order.size, tell)
        .await;
    if let Ok(sha256) = &fetched {
        tools.fetcher.spool.pin(sha256, holder(printer));
        // What it finds is judged at the start, which asks for the same result.
        let _ = tools.agent.pool().analysis(sha256).await;
    }
    Done::Fetched(printer, number, fetched)
}

/// Who keeps a staged file of a printer from being cleared away.
pub fn holder(printer: PrinterKey) -> Uuid {
    Uuid::from_u64_pair(0x5349_4d50_4c59_5052, printer.unsigned_abs())
}

/// Starts a print; tells when the pre-flight is over and, if it was not seen to run, that too.
pub async fn start(
    tools: Tools,
    printer: PrinterHandle,
    order: StartOrder,
    accepted: mpsc::Sender<(PrinterKey, u64, Uuid)>,
) -> Done {
    let Ok(turn) = tools.starts.acquire().await else {
        return Done::Nothing;
    };
    let (key, number) = (printer.id(), order.number);
    let print = PrintOrder {
        sha256: order.sha256,
        name: order.name,
        skip: order.skip,
        materials: order.materials,
        plate: order.plate,
        start_id: Some(order.start_id),
    };
    let answer = printer.print(print).await;
    drop(turn);
    let result = match answer {
        Err(refusal) if refusal.code == "refused/cancelled" => StartResult::Refused("Cancelled".to_owned()),
        Err(refusal) => StartResult::Refused(refusal.message),
        Ok((job, pending)) => {
            // Bounded (64), read by the loop at every turn.
            let _ = accepted.send((key, number, job.uid)).await;
            let outcome = pending.outcome().await;
            if outcome.is_ok() {
                StartResult::Accepted(job.uid)
            } else {
                StartResult::NotSeen(outcome.message())
            }
        }
    };
    Done::Started(key, number, result)
}

/// How a job ended.
pub async fn look_up(agent: AgentHandle, printer: PrinterKey, uid: Uuid) -> Done {
    let mut ended = None;
    // The record follows the state within a moment.
    for _ in 0..20 {
        match agent.store().job(uid).await {
            Ok(Some(record)) => ended = Ended::of(&record),
            Ok(None) => {}
            Err(error) => tracing::warn!(code = error.code(), "{error}"),
        }
        if ended.is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    }
    Done::LookedUp(printer, uid, ended)
}

/// What a start from before a restart became.
pub async fn look_up_start(agent: AgentHandle, printer: PrinterKey, start_id: String) -> Done {
    let record = agent
        .store()
        .job_of_start(&start_id)
        .await
        .unwrap_or_else(|error| {
            tracing::error!(code = error.code(), "{error}");
            None
        });
    Done::LookedUpStart(printer, record.map(|r| r.uid))
}

/// The objects of the file that prints.
pub async fn objects(agent: AgentHandle, printer: PrinterKey, uid: Uuid) -> Done {
    let look = async {
        let record = agent.store().job(uid).await.ok()??;
        agent
            .pool()
            .analysis_of(record.sha256.as_deref()?, record.plate)
            .await
            .ok()
    };
    let found: Vec<Value> = match look.await {
        Some(analysis) => analysis
            .objects
            .iter()
            .take(OBJECTS_MAX)
            .map(told_object)
            .collect(),
        // A print of another host: its printer may know the objects.
        None => agent
            .by_id(printer)
            .and_then(|p| p.snapshot().state.job.clone())
            .filter(|job| job.uid == uid)
            .map_or_else(Vec::new, |job| {
                let told = |o: &PrintObject| json!({"id": o.id, "name": o.name});
                job.objects.iter().take(OBJECTS_MAX).map(told).collect()
            }),
    };
    Done::Objects(printer, uid, found)
}

fn told_object(object: &Object) -> Value {
    let mut out = serde_json::Map::new();
    out.insert("id".to_owned(), json!(object.id));
    out.insert("name".to_owned(), json!(object.name));
    // For finding it by its exact words; taken out before it is told.
    out.insert(OBJECT_KEY.to_owned(), json!(object.key));
    if let Some(bbox) = object.bbox {
        out.insert("bbox".to_owned(), json!(bbox));
    }
    if let Some(center) = object.center {
        out.insert("center".to_owned(), json!(center));
    }
    if !object.polygon.is_empty() {
        out.insert("outline".to_owned(), json!(object.polygon));
    }
    Value::Object(out)
}

/// Posts the logs that were asked for.
pub async fn logs(
    tools: Tools,
    printer: PrinterHandle,
    token: Secret,
    wanted: Vec<String>,
    max_body: u64,
    pid: i64,
) -> Done {
    let url = format!("{}/printers/ReceiveLogs?pid={pid}", tools.api);
    let serial = printer.wire().dump();
    let journal: Vec<String> = printer
        .journal()
        .lines()
        .iter()
        .map(|line| format!("{} {}", line.at, line.text))
        .collect();
    // The frame of the form and the token take their part.
    let budget = usize::try_from(max_body)
        .unwrap_or(usize::MAX)
        .saturating_sub(16 << 10);
    let each = budget / wanted.len().max(1);
    let mut form = Form::new().text("token", token.reveal().to_owned());
    for name in &wanted {
        let lines = match name.as_str() {
            "serial" | "serial_log" => &serial,
            "main" | "plugin" | "plugin_log" => &journal,
            _ => continue,
        };
        let part = Part::text(tail(lines, each.min(8 << 20))).file_name(format!("{name}.log"));
        form = form.part(name.clone(), part);
    }
    let sent = post(tools.fetcher.http.post(&url).multipart(form)).await;
    match sent {
        Ok(answer) if answer.get("status") == Some(&json!(true)) => {
            Done::Answer(printer.id(), "logs_sent", answer)
        }
        Ok(_) => Done::Refused(
            printer.id(),
            "Logs were not sent.",
            "The cloud did not take them.".to_owned(),
        ),
        Err(why) => Done::Refused(printer.id(), "Logs were not sent.", why),
    }
}

/// The last lines that fit.
fn tail(lines: &[String], max: usize) -> String {
    let mut size = 0;
    let fit = lines
        .iter()
        .rev()
        .take_while(|line| {
            size += line.len() + 1;
            size <= max
        })
        .count();
    let mut out = String::with_capacity(size.min(max));
    for line in lines.get(lines.len() - fit..).unwrap_or_default() {
        out.push_str(line);
        out.push('\n');
    }
    out
}

/// Tells the cloud that the bed is clear, and asks for the next item of its queue where the owner wants that.
/// Whatever comes of it is an ordinary `file` demand, judged as any other.
pub async fn clear_bed(tools: Tools, pid: i64, success: bool, token: Secret) -> Done {
    let Some(company) = company(token.reveal()) else {
        return Done::Nothing;
    };
    let act = async |path: String, body: Value| {
        let url = format!("{}/{company}/printers/actions/{path}", tools.api);
        let request = tools.fetcher.http.post(&url);
        let request = request.header("X-Action-Token", token.reveal()).json(&body);
        let answer = post(request).await?;
        match answer.get("status").and_then(Value::as_bool) {
            Some(false) => Err("the cloud refuses".to_owned()),
            _ => Ok(()),
        }
    };
    let cleared = act(
        format!("ClearBed?pid={pid}"),
        json!({"success": success, "rating": null}),
    )
    .await;
    if let Err(why) = cleared {
        // A bed that counts as full must not get a print.
        tracing::warn!(
            code = "cloud/clear-bed",
            "the cloud was not told that the bed is clear: {why}"
        );
    } else if tools.start_next
        && let Err(why) = act(
            "CreateJob".to_owned(),
            json!({"pid": pid, "next_queue_item": true}),
        )
        .await
    {
        tracing::warn!(
            code = "cloud/next",
            "the next item of the queue was not asked for: {why}"
        );
    }
    Done::Nothing
}

/// The account in an action token (a JWT; its signature is the cloud's business).
fn company(token: &str) -> Option<i64> {
    let claims = token.split('.').nth(1)?;
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(claims.trim_end_matches('='))
        .ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    super::lenient::whole(claims.get("company")).filter(|id| *id > 0)
}

/// Takes a picture for whoever wants it.
pub async fn picture(tools: Tools, printer: PrinterHandle, order: PictureOrder) -> Done {
    let key = printer.id();
    let live = order == PictureOrder::Frame;
    let taken = printer.picture(live).await;
    if let Err(fault) = &taken {
        tracing::debug!(printer = printer.name(), code = %fault.code, "{fault}");
    }
    match (order, taken) {
        (PictureOrder::Frame, taken) => {
            let fit = taken.ok().filter(|jpeg| jpeg.len() <= FRAME_MAX);
            Done::Frame(key, fit.map(|jpeg| BASE64.encode(&jpeg)))
        }
        (PictureOrder::Test, taken) => {
            Done::Answer(key, "webcam_status", json!({"connected": taken.is_ok()}))
        }
        (PictureOrder::Post { id, endpoint }, Ok(jpeg)) => post_picture(tools, id, endpoint, &jpeg).await,
        (PictureOrder::Post { .. }, Err(fault)) => Done::Refused(key, "No picture.", fault.to_string()),
    }
}

/// Posts a picture for a request of the panel.
async fn post_picture(tools: Tools, id: String, endpoint: Option<String>, jpeg: &[u8]) -> Done {
    let url = endpoint.unwrap_or_else(|| format!("{}/jobs/ReceiveSnapshot", tools.api));
    match tools.fetcher.reach.url(&url) {
        Err(why) => tracing::warn!(code = "cloud/snapshot", "a picture was not sent: {why}"),
        Ok(url) => {
            let image = BASE64.encode(jpeg);
            let request = tools.fetcher.http.post(url).form(&[("id", id), ("image", image)]);
            if let Err(why) = post(request).await {
                tracing::warn!(code = "cloud/snapshot", "a picture was not sent: {why}");
            }
        }
    }
    Done::Nothing
}

/// Posts and reads a short JSON answer.
async fn post(request: reqwest::RequestBuilder) -> Result<Value, String> {
    let work = async {
        let mut answer = request.send().await.map_err(|e| e.without_url().to_string())?;
        if !answer.status().is_success() {
            return Err(format!("the cloud answers {}", answer.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|e| e.without_url().to_string())? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_MAX {
                return Err("the cloud's answer is too long".to_owned());
            }
        }
        Ok(serde_json::from_slice(&body).unwrap_or(Value::Null))
    };
    tokio::time::timeout(POST_LIMIT, work)
        .await
        .unwrap_or_else(|_| Err("the cloud did not answer in time".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_is_read_from_the_token() {
        let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(r#"{"company":42,"printer":7}"#);
        assert_eq!(company(&format!("aaa.{claims}.x")), Some(42));
        assert_eq!(company("aaa.bbb.ccc"), None);
        assert_eq!(company(""), None);
    }

    #[test]
    fn the_newest_lines_are_kept() {
        let lines: Vec<String> = (0..10).map(|n| format!("line {n}")).collect();
        assert_eq!(tail(&lines, 14), "line 8\nline 9\n");
        assert_eq!(tail(&lines, 3), "");
    }
}
