//! A file on its way to Moonraker: checked, marked where it needs marks, streamed from the disk.

use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::config::Config;
use super::faults;
use super::labels::Labels;
use super::socket;
use crate::gcode::analyze::Options;
use crate::gcode::analyze_file::analyze_file;
use crate::host::tls;
use crate::printer::command::StartJob;
use crate::printer::fault::{Fault, Severity};

/// Bytes read in one go.
const BLOCK: usize = 64 * 1024;

/// Longest line that is looked at as one; a longer one is handed on in parts.
const LINE_MAX: u64 = 64 * 1024;

/// Longest answer that is read.
const ANSWER_MAX: usize = 64 * 1024;

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
    let prepared = tokio::task::spawn_blocking(move || prepare(&job, &scratch)).await;
    let ready = prepared.map_err(|e| failed("The file could not be prepared.", e.to_string()))??;
    sent.total.store(ready.size, Ordering::Relaxed);
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
    let (folder, leaf) = name.split_once('/').unwrap_or(("", &name));
    let part = reqwest::multipart::Part::stream_with_length(reqwest::Body::wrap_stream(counted), ready.size)
        .file_name(leaf.to_owned());
    let form = reqwest::multipart::Form::new()
        .text("root", "gcodes")
        .text("path", folder.to_owned())
        .text("checksum", ready.sha256.clone())
        .part("file", part);
    let tls = tls::client_config().map_err(|e| failed("TLS cannot be used.", e.to_string()))?;
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured((*tls).clone())
        .no_proxy()
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
    let request = keyed(client.post(format!("{}/server/files/upload", config.url))).multipart(form);
    let mut answer = request.send().await.map_err(|e| {
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
    match status.as_u16() {
        200 | 201 => Ok(()),
        401 => Err(faults::UNAUTHORIZED),
        403 => {
            let words = words(&text);
            let what = if words.contains("in use") {
                "Moonraker refuses the file: one of that name is being printed."
            } else {
                "Moonraker refuses the file."
            };
            Err(failed(what, words))
        }
        413 => Err(failed(
            "The file is larger than Moonraker takes (max_upload_size).",
            words(&text),
        )),
        422 => Err(failed(
            "The file arrived damaged and was thrown away.",
            words(&text),
        )),
        507 => Err(failed(NO_ROOM, words(&text))),
        _ => {
            let words = words(&text);
            let full = words.contains("No space left") || words.contains("Errno 28");
            let what = if full {
                NO_ROOM
            } else {
                "Moonraker refused the file."
            };
            Err(failed(what, words))
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
    let analysis = analyze_file(&job.program.path, &options, &mut |_, _| true)
        .ok()
        .map(|(a, _)| a);
    Labels::new(analysis.as_ref(), &job.program.objects, &job.skip)
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
