//! A file on its way to Moonraker: checked, marked where it needs marks, streamed from the disk.

use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::config::Config;
use super::faults;
use super::labels::Labels;
use super::socket;
use crate::blocking;
use crate::gcode::analyze::Options;
use crate::gcode::analyze_file::analyze_file;
use crate::host::names::Names;
use crate::host::tls;
use crate::printer::command::StartJob;
use crate::printer::fault::{Fault, Severity};
use crate::sorted::SortedMap;

/// Bytes read in one go.
const BLOCK: usize = 64 * 1024;

/// Longest line that is looked at as one; a longer one is handed on in parts.
const LINE_MAX: u64 = 64 * 1024;

/// Longest answer that is read.
const ANSWER_MAX: usize = 64 * 1024;

/// Times that a file is sent until Moonraker has it.
const TRIES_MAX: u32 = 3;

/// Time between the beginnings of two uploads to one host.
const SPACING: Duration = Duration::from_millis(1100);

/// When a file went on its way, by host. Entries go when they no longer matter.
static BEGUN: Mutex<SortedMap<String, Instant>> = Mutex::new(SortedMap::new());

/// Longest listing of a folder that is read.
const LISTING_MAX: usize = 4 * 1024 * 1024;

/// How long Moonraker may take for it.
const LISTING_LIMIT: Duration = Duration::from_secs(20);

/// The disk is full.
const NO_ROOM: &str = "There is no room for the file on the printer's host.";

/// How far an upload is.
#[derive(Debug, Default)]
pub struct Sent {
    bytes: AtomicU64,
    total: AtomicU64,
}

impl Sent {
    /// 0–100, once it has begun.
    pub fn percent(&self) -> Option<f32> {
        let total = self.total.load(Ordering::Relaxed);
        (total > 0).then(|| (self.bytes.load(Ordering::Relaxed) as f64 * 100.0 / total as f64) as f32)
    }
}

/// What is sent: the spool's own file, or a marked copy that is removed afterwards.
struct Ready {
    path: PathBuf,
    copy: bool,
    size: u64,
    sha256: String,
}

impl Drop for Ready {
    fn drop(&mut self) {
        if self.copy {
            // Nothing to do about a copy that cannot be removed; the next one takes its place.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn failed(what: impl Into<String>, raw: impl Into<String>) -> Fault {
    Fault::new(
        Severity::Retry,
        "moonraker/upload-failed",
        "The file could not be brought to Moonraker.",
        "",
        "Start the print again; if it fails again look at moonraker.log on the host.",
    )
    .with_what(what)
    .with_raw(raw)
}

/// Brings the file of a job to Moonraker under a name below its folder of G-code.
///
/// # Errors
/// What Moonraker, the network or the disk said.
pub async fn upload(
    config: Config,
    job: StartJob,
    name: String,
    scratch: PathBuf,
    sent: Arc<Sent>,
) -> Result<(), Fault> {
    let prepared = blocking::run(move || prepare(&job, &scratch)).await;
    let ready = prepared.map_err(|e| failed("The file could not be prepared.", e.to_string()))??;
    sent.total.store(ready.size, Ordering::Relaxed);
    let tls = tls::client_config().map_err(|e| failed("TLS cannot be used.", e.to_string()))?;
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured((*tls).clone())
        .no_proxy()
        .dns_resolver(Names)
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(15))
        // Moonraker answers when it has read the whole file once more; slow on a small host.
        .timeout(Duration::from_secs(300 + ready.size / 50_000))
        .build()
        .map_err(|e| failed("The upload could not be prepared.", e.to_string()))?;
    let key = match config.api_key()? {
        None if config.socket.is_some() => socket::key(&config).await,
        key => key,
    };
    let keyed = |request: reqwest::RequestBuilder| match &key {
        Some(key) => request.header("X-Api-Key", key.reveal()),
        None => request,
    };
    // Moonraker breaks the connection when its disk is full (seen), which says nothing to people.
    let asked = client.get(format!("{}/server/files/directory?path=gcodes", config.url));
    if room(keyed(asked)).await.is_some_and(|room| room < ready.size) {
        return Err(failed(NO_ROOM, format!("{} bytes are needed", ready.size)));
    }
    let mut tries = 0;
    loop {
        tries += 1;
        tokio::time::sleep(turn(&config.url)).await;
        sent.bytes.store(0, Ordering::Relaxed);
        let request = keyed(client.post(format!("{}/server/files/upload", config.url)));
        match send(request, &name, &ready, &sent).await {
            // It starts nothing, so it may be done again.
            Err(Refused { fault, again: true }) if tries < TRIES_MAX => {
                tracing::warn!(code = %fault.code, "{fault} The file is sent once more.");
            }
            Err(refused) => return Err(refused.fault),
            Ok(()) => return Ok(()),
        }
    }
}

/// How long to wait for this host. Moonraker names the file on its way after the second in which it comes, in a
/// folder that all instances of a host share: two in one second end up in each other (seen with 0.11.0).
fn turn(url: &str) -> Duration {
    let host = url.parse::<reqwest::Url>().ok();
    let host = host
        .as_ref()
        .and_then(|u| u.host_str())
        .unwrap_or_default()
        .to_owned();
    let mut begun = BEGUN.lock().unwrap_or_else(|e| e.into_inner());
    let now = Instant::now();
    let next = begun.get(&host).map_or(now, |at| (*at + SPACING).max(now));
    begun.retain(|_, at| *at + SPACING > now);
    begun.insert(host, next);
    next.saturating_duration_since(now)
}

/// Why the file is not there; `again`: it may be the next time.
struct Refused {
    fault: Fault,
    again: bool,
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Refused { fault, again: false }
    }
}

async fn send(
    request: reqwest::RequestBuilder,
    name: &str,
    ready: &Ready,
    sent: &Arc<Sent>,
) -> Result<(), Refused> {
    let file = tokio::fs::File::open(&ready.path)
        .await
        .map_err(|e| failed("The file could not be read.", e.to_string()))?;
    let counted = {
        let sent = sent.clone();
        let stream = tokio_util::io::ReaderStream::with_capacity(file, BLOCK);
        futures_util::StreamExt::inspect(stream, move |block| {
            if let Ok(block) = block {
                sent.bytes.fetch_add(block.len() as u64, Ordering::Relaxed);
            }
        })
    };
    let (folder, leaf) = name.split_once('/').unwrap_or(("", name));
    let part = reqwest::multipart::Part::stream_with_length(reqwest::Body::wrap_stream(counted), ready.size)
        .file_name(leaf.to_owned());
    let form = reqwest::multipart::Form::new()
        .text("root", "gcodes")
        .text("path", folder.to_owned())
        .text("checksum", ready.sha256.clone())
        .part("file", part);
    let mut answer = request.multipart(form).send().await.map_err(|e| {
        failed(
            "The connection to Moonraker broke while the file was on its way.",
            e.without_url().to_string(),
        )
    })?;
    let status = answer.status();
    let mut text = Vec::new();
    while text.len() < ANSWER_MAX {
        match answer.chunk().await {
            Ok(Some(chunk)) => text.extend_from_slice(&chunk),
            _ => break,
        }
    }
    accepted(status.as_u16(), &text, ready.size)
}

/// What Moonraker's answer says.
fn accepted(status: u16, text: &[u8], size: u64) -> Result<(), Refused> {
    const DAMAGED: &str = "The file arrived damaged and was thrown away.";
    let refused = |what: &str, again| {
        let fault = failed(what, words(text));
        Err(Refused { fault, again })
    };
    match status {
        200 | 201 => {
            let told: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
            let there = told.pointer("/item/size").and_then(serde_json::Value::as_u64);
            // Its checksum is that of what came in, not of what was written. It may add marks, never take away.
            if there.is_some_and(|there| there < size) {
                return refused(DAMAGED, true);
            }
            Ok(())
        }
        401 => Err(faults::UNAUTHORIZED.into()),
        403 if words(text).contains("in use") => refused(
            "Moonraker refuses the file: one of that name is being printed.",
            false,
        ),
        403 => refused("Moonraker refuses the file.", false),
        413 => refused(
            "The file is larger than Moonraker takes (max_upload_size).",
            false,
        ),
        422 => refused(DAMAGED, true),
        507 => refused(NO_ROOM, false),
        _ => {
            let words = words(text);
            if words.contains("No space left") || words.contains("Errno 28") {
                return refused(NO_ROOM, false);
            }
            refused(
                "Moonraker refused the file.",
                words.contains("Unable to save file"),
            )
        }
    }
}

/// Free bytes where the files lie; `None`: Moonraker does not tell.
async fn room(request: reqwest::RequestBuilder) -> Option<u64> {
    let mut answer = request.timeout(LISTING_LIMIT).send().await.ok()?;
    let mut text = Vec::new();
    while let Some(chunk) = answer.chunk().await.ok()? {
        text.extend_from_slice(&chunk);
        if text.len() > LISTING_MAX {
            return None;
        }
    }
    let told: serde_json::Value = serde_json::from_slice(&text).ok()?;
    told.pointer("/result/disk_usage/free")?.as_u64()
}

/// The cause in Moonraker's answer: its `message` is only the reason phrase, the cause stands in the
/// last line of the traceback, which is not for people as a whole (seen).
fn words(text: &[u8]) -> String {
    let error: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
    let part = |name: &str| error.pointer(name).and_then(|v| v.as_str()).unwrap_or_default();
    let cause = part("/error/traceback")
        .lines()
        .rev()
        .find(|l| l.contains("Error: ") || l.contains("HTTPError"))
        .map(str::trim);
    cause
        .unwrap_or(part("/error/message"))
        .chars()
        .take(200)
        .collect()
}

fn prepare(job: &StartJob, scratch: &Path) -> Result<Ready, Fault> {
    let path = &job.program.path;
    let bad = |e: std::io::Error| failed("The file could not be read.", e.to_string());
    let mut head = Vec::new();
    std::fs::File::open(path)
        .map_err(bad)?
        .take(4)
        .read_to_end(&mut head)
        .map_err(bad)?;
    if head.starts_with(b"GCDE") || head.starts_with(&[0x1f, 0x8b]) || head.starts_with(b"PK") {
        return Err(faults::NOT_PLAIN);
    }
    if let Some(labels) = needed(job) {
        let copy = scratch.to_owned();
        return write_marked(path, &copy, labels)
            .map_err(|e| failed("The file could not be prepared for Klipper.", e.to_string()));
    }
    Ok(Ready {
        path: path.clone(),
        copy: false,
        size: job.program.size,
        sha256: job.program.sha256.clone(),
    })
}

/// The marks that a file needs, if any.
fn needed(job: &StartJob) -> Option<Labels> {
    if job.program.objects.is_empty() {
        return None;
    }
    let options = Options::default();
    let read = analyze_file(&job.program.path, &options, &mut |_, _| true).ok();
    let read = read.as_ref().map(|(analysis, index)| (analysis, index));
    Labels::new(read, &job.program.objects, &job.skip)
}

fn write_marked(from: &Path, to: &Path, mut labels: Labels) -> std::io::Result<Ready> {
    let mut input = BufReader::with_capacity(BLOCK, std::fs::File::open(from)?);
    let mut ready = Ready {
        path: to.to_owned(),
        copy: true,
        size: 0,
        sha256: String::new(),
    };
    let mut output = BufWriter::with_capacity(BLOCK, std::fs::File::create(to)?);
    let mut hash = Sha256::new();
    let (mut line, mut out) = (Vec::new(), labels.head().as_bytes().to_vec());
    loop {
        line.clear();
        let read = input.by_ref().take(LINE_MAX).read_until(b'\n', &mut line)?;
        if read == 0 {
            labels.tail(&mut out);
        } else {
            labels.line(&line, &mut out);
        }
        hash.update(&out);
        output.write_all(&out)?;
        ready.size += out.len() as u64;
        out.clear();
        if read == 0 {
            break;
        }
    }
    output.flush()?;
    ready.sha256 = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    Ok(ready)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moonrakers_answers_say_whether_to_try_again() {
        let error = |message: &str| {
            let trace = format!("Traceback\ntornado.web.HTTPError: {message}");
            serde_json::json!({"error": {"message": "Unknown", "traceback": trace}}).to_string()
        };
        let again = |status, text: &str| accepted(status, text.as_bytes(), 100).err().map(|r| r.again);
        assert_eq!(again(201, r#"{"item":{"size":100}}"#), None);
        assert_eq!(again(201, r#"{"item":{"size":130}}"#), None, "marks were added");
        assert_eq!(again(201, r#"{"item":{"size":40}}"#), Some(true));
        assert_eq!(again(201, "no JSON"), None);
        assert_eq!(again(500, &error("HTTP 500 (Unable to save file)")), Some(true));
        assert_eq!(again(413, ""), Some(false));
        let full = accepted(500, error("[Errno 28] No space left on device").as_bytes(), 100).err();
        assert!(full.is_some_and(|r| r.fault.what.contains("no room") && !r.again));
    }

    #[test]
    fn two_files_for_one_host_begin_in_different_seconds() {
        assert_eq!(turn("http://twins.invalid:7125"), Duration::ZERO);
        assert!(turn("http://twins.invalid:7126") > Duration::from_secs(1));
        assert!(turn("http://twins.invalid:7127") > Duration::from_secs(2));
        assert_eq!(turn("http://other.invalid:7125"), Duration::ZERO);
    }
}
