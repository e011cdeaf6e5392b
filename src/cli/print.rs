//! `layerd print PRINTER FILE`: upload, pre-flight, start; with `--follow` to the end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::TryStreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Body;
use reqwest::multipart::{Form, Part};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::Globals;
use super::act::{demand, tell};
use super::client::{Client, Listed, QUICK, block_on};
use super::exit::{Done, Exit, Failure};
use super::out;
use super::printers::temperatures;

use crate::json::json;

/// Bytes of one request; the dialect's limit is 100 MB.
const PART_BYTES: u64 = 32 << 20;

/// How often `--follow` looks.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);

/// Looks in vain before `--follow` gives up on the daemon (it may be restarting).
const MISSES_MAX: u32 = 120;

/// Arguments of `print`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Name or number of the printer
    printer: String,
    /// The sliced file
    file: PathBuf,
    /// Objects to leave out, by id
    #[arg(long, value_name = "ID", num_args = 1..)]
    skip: Vec<String>,
    /// Where the file's filaments come from, in order: the number of a slot, NOZZLE:SLOT on a printer with two,
    /// "ext" for the external spool, "-" for one that is not used
    #[arg(long, value_name = "SLOT", value_delimiter = ',', value_parser = slot, allow_hyphen_values = true)]
    slots: Vec<Value>,
    /// Which plate of a project (.3mf) to print, from 1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    plate: Option<u32>,
    /// Only upload and check; nothing heats before `layerd begin PRINTER`
    #[arg(long, conflicts_with = "follow")]
    hold: bool,
    /// Stay until the print has ended
    #[arg(long, conflicts_with = "no_wait")]
    follow: bool,
    /// Return as soon as the print was accepted
    #[arg(long)]
    no_wait: bool,
}

/// One place for a filament, as the interface wants it.
fn slot(text: &str) -> Result<Value, String> {
    let (nozzle, slot) = text.split_once(':').unwrap_or(("0", text));
    let bad = || format!("{text} is none of: a slot number, NOZZLE:SLOT, ext, -");
    let nozzle: u8 = nozzle.parse().map_err(|_| bad())?;
    Ok(match slot {
        "-" => Value::Null,
        "ext" => json!({"nozzle": nozzle, "ext": 256}),
        slot => json!({"nozzle": nozzle, "ext": slot.parse::<u8>().map_err(|_| bad())?}),
    })
}

/// Runs the verb.
pub fn run(globals: &Globals, args: &Args) -> Done {
    let client = globals.client()?;
    block_on(async {
        tokio::select! {
            done = print(globals, &client, args) => done,
            _ = tokio::signal::ctrl_c() => {
                out::err(format!(
                    "Stopped watching. What was started goes on; \"layerd cancel {}\" ends it.",
                    args.printer
                ));
                Ok(Exit::Unverified)
            }
        }
    })?
}

async fn print(globals: &Globals, client: &Client, args: &Args) -> Done {
    // First, so that a wrong name costs no upload.
    let printer = client.printer(&args.printer).await?;
    let file_id = upload(client, &args.file, &bar_or_hidden(globals)).await?;
    let body = json!({
        "file_id": file_id,
        "skipped_objects": args.skip,
        "mms_map": (!args.slots.is_empty()).then(|| json!([{"pid": printer.id, "map": args.slots}])),
        // The same demand twice (a retry of the connection) starts one print.
        "layerd": {"start_id": uuid::Uuid::new_v4().to_string(), "hold": args.hold, "plate": args.plate},
    });
    let answer = demand(client, &printer, "CreateJob", body, !args.no_wait).await?;
    let exit = Exit::of_outcome(answer.get("layerd").unwrap_or(&Value::Null));
    if exit != Exit::Good || !args.follow {
        return Ok(tell(globals, &answer));
    }
    let job = answer.pointer("/jobIds/0").and_then(Value::as_i64);
    let job = job.ok_or_else(|| Failure::new("The print was started, but the daemon gave no job number."))?;
    follow(globals, client, &printer, job).await
}

fn bar_or_hidden(globals: &Globals) -> ProgressBar {
    if globals.quiet > 0 || globals.json || !out::is_err_tty() {
        ProgressBar::hidden()
    } else {
        ProgressBar::no_length()
    }
}

/// Uploads a file in parts; gives its id.
pub async fn upload(client: &Client, path: &Path, bar: &ProgressBar) -> Result<String, Failure> {
    let shown = path.display().to_string();
    let failed = |e: std::io::Error| Failure::usage(format!("{shown}: cannot be read: {e}."));
    let mut file = tokio::fs::File::open(path).await.map_err(failed)?;
    let meta = file.metadata().await.map_err(failed)?;
    if !meta.is_file() || meta.len() == 0 {
        let what = if meta.is_file() {
            "is empty"
        } else {
            "is not a file"
        };
        return Err(Failure::usage(format!("{shown}: {what}. Name a sliced file.")));
    }
    let size = meta.len();
    let name = path
        .file_name()
        .map_or_else(|| "print.gcode".to_owned(), |n| n.to_string_lossy().into_owned());
    bar.set_length(size);
    bar.set_style(style(
        "{spinner} uploading {bar:32} {bytes}/{total_bytes} {bytes_per_sec}",
    ));
    let mut at = 0;
    let mut token: Option<String> = None;
    while at < size {
        let length = PART_BYTES.min(size - at);
        file.seek(std::io::SeekFrom::Start(at)).await.map_err(failed)?;
        let source = file.try_clone().await.map_err(failed)?.take(length);
        let progress = bar.clone();
        let stream = ReaderStream::with_capacity(source, 64 << 10)
            .inspect_ok(move |bytes| progress.inc(bytes.len() as u64));
        let part = Part::stream_with_length(Body::wrap_stream(stream), length).file_name(name.clone());
        let form = match &token {
            None => Form::new().text("totalSize", size.to_string()),
            Some(token) => Form::new().text("continueToken", token.clone()),
        };
        let answer = client.upload("files/Upload", form.part("file", part)).await?;
        at += length;
        if let Some(id) = answer.pointer("/file/id").and_then(Value::as_str) {
            bar.finish_and_clear();
            return Ok(id.to_owned());
        }
        token = answer
            .get("continueToken")
            .and_then(Value::as_str)
            .map(str::to_owned);
        if token.is_none() {
            break;
        }
    }
    bar.finish_and_clear();
    Err(Failure::new(format!(
        "{shown}: the daemon did not take the whole file. If it changed during the upload, try again."
    )))
}

/// Watches a job to its end.
pub async fn follow(globals: &Globals, client: &Client, printer: &Listed, job: i64) -> Done {
    let bar = bar_or_hidden(globals);
    bar.set_length(1000);
    bar.set_style(style("{spinner} {bar:32} {msg}"));
    let mut misses = 0;
    loop {
        tokio::time::sleep(FOLLOW_EVERY).await;
        let id = job.to_string();
        match client.get("jobs/GetDetails", &[("id", &id)], QUICK).await {
            Ok(details) => {
                misses = 0;
                if let Some(end) = ended(&details) {
                    bar.finish_and_clear();
                    return Ok(tell_end(globals, &details, end));
                }
            }
            Err(failure) if misses >= MISSES_MAX => return Err(failure),
            Err(_) => misses += 1,
        }
        if let Ok(row) = client.row(printer.id).await {
            draw(&bar, &row.native);
        }
    }
}

/// The word and exit code of an ended job; `None` while it goes on.
pub fn ended(details: &Value) -> Option<(&'static str, Exit)> {
    let status = details
        .pointer("/job/status")
        .or_else(|| details.pointer("/job/state"))?
        .as_str()?;
    match status {
        "done" | "finished" => Some(("done", Exit::Good)),
        "cancelled" => Some(("cancelled", Exit::Failed)),
        "failed" | "interrupted" => Some(("failed", Exit::Failed)),
        _ => None,
    }
}

fn tell_end(globals: &Globals, details: &Value, (word, exit): (&'static str, Exit)) -> Exit {
    let text = |key: &str| {
        let path = format!("/job/layerd/{key}");
        details.pointer(&path).and_then(Value::as_str).unwrap_or_default()
    };
    let (code, message) = (text("code"), text("message"));
    if globals.json {
        let code = if code.is_empty() {
            if exit == Exit::Good { "ok" } else { "job/ended" }
        } else {
            code
        };
        out::json(&json!({"outcome": word, "code": code, "message": message}));
    } else if exit == Exit::Good {
        out::line("The print is done.");
    } else {
        let (message, code) = (out::clean(message), out::clean(code));
        out::err(format!("The print ended: {word}. {message} {code}").trim_end());
    }
    exit
}

/// One line of what is known, on the bar.
pub fn draw(bar: &ProgressBar, native: &Value) {
    let percent = native
        .pointer("/job/percent")
        .and_then(Value::as_f64)
        .unwrap_or(0.0);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0–1000"
    )]
    bar.set_position((percent * 10.0).clamp(0.0, 1000.0) as u64);
    let state = native.get("state").and_then(Value::as_str).unwrap_or("unknown");
    bar.set_message(format!(
        "{state}  {}  {}",
        super::printers::progress(native),
        temperatures(native)
    ));
}

/// A style; a template that does not parse falls back to the plain bar.
pub fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_ends_with_its_own_code() {
        let end = |status: &str| ended(&json!({"job": {"status": status}}));
        assert_eq!(end("ongoing"), None);
        assert_eq!(end("done"), Some(("done", Exit::Good)));
        assert_eq!(end("failed"), Some(("failed", Exit::Failed)));
        assert_eq!(end("cancelled"), Some(("cancelled", Exit::Failed)));
    }
}
