//! The client of the daemon: HTTP over its unix socket.

use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::time::Duration;

use reqwest::multipart::Form;
use serde_json::Value;

use super::exit::{Exit, Failure};
use super::out::clean;

use crate::json::{self, json};

/// How long an answer may take that waits for nothing.
pub const QUICK: Duration = Duration::from_secs(30);

/// How long the end of a command may take. The daemon has its own, shorter limits for each; this one is
/// for a daemon that hangs.
pub const LONG: Duration = Duration::from_secs(3600);

/// Most bytes of a text at the top.
const TOP_MAX: usize = 4 << 20;

/// Most pages of printers that are read.
const PAGES_MAX: u32 = 40;

/// A connection to the daemon.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    socket: PathBuf,
}

/// A printer as the daemon lists it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Name in the configuration.
    pub name: String,
    /// Its number.
    pub id: i64,
    /// The object of `layerd printers --json`.
    pub native: Value,
}

impl Client {
    /// A client of the daemon behind a socket. Nothing is connected yet.
    pub fn new(socket: &Path) -> Result<Self, Failure> {
        let http = reqwest::Client::builder()
            .unix_socket(socket.to_path_buf())
            .no_proxy()
            .build()
            .map_err(|e| Failure::new(format!("The client could not be made: {e}.")))?;
        Ok(Client {
            http,
            socket: socket.to_owned(),
        })
    }

    /// GET of a path below the account.
    pub async fn get(&self, path: &str, query: &[(&str, &str)], limit: Duration) -> Result<Value, Failure> {
        let request = self.http.get(self.url(path, query)).timeout(limit);
        self.send(request).await
    }

    /// The first address that the daemon listens on beside its socket, as a URL; `None`: none yet.
    pub async fn address(&self) -> Result<Option<String>, Failure> {
        let answer = self
            .send(self.http.get("http://localhost/healthz").timeout(QUICK))
            .await?;
        let first = answer.pointer("/listening/0").and_then(Value::as_str);
        Ok(first.map(str::to_owned))
    }

    /// GET of a path at the top, as text, whatever its status says; at most [`TOP_MAX`] bytes of it.
    pub async fn top(&self, path: &str, limit: Duration) -> Result<String, Failure> {
        let request = self.http.get(format!("http://localhost/{path}")).timeout(limit);
        let mut answer = request.send().await.map_err(|e| self.no_answer(&e))?;
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|e| self.no_answer(&e))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > TOP_MAX {
                break;
            }
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// POST of a JSON body.
    pub async fn post(
        &self,
        path: &str,
        query: &[(&str, &str)],
        body: &Value,
        limit: Duration,
    ) -> Result<Value, Failure> {
        let request = self.http.post(self.url(path, query)).json(body).timeout(limit);
        self.send(request).await
    }

    /// POST of a form with a file.
    pub async fn upload(&self, path: &str, form: Form) -> Result<Value, Failure> {
        let request = self.http.post(self.url(path, &[])).multipart(form).timeout(LONG);
        let answer = self.send(request).await?;
        // Unlike a command it has no outcome that a caller could judge.
        if answer.get("status") == Some(&json!(false)) {
            let words = answer.get("message").and_then(Value::as_str);
            return Err(Failure::new(clean(
                words.unwrap_or("The daemon refused the file."),
            )));
        }
        Ok(answer)
    }

    /// GET of something that is no JSON; it comes piece by piece.
    pub async fn open(&self, path: &str) -> Result<reqwest::Response, Failure> {
        let request = self.http.get(self.url(path, &[])).timeout(LONG);
        let answer = request.send().await.map_err(|e| self.no_answer(&e))?;
        let is_json = answer
            .headers()
            .get(reqwest::header::CONTENT_TYPE)
            .is_some_and(|v| v.as_bytes().starts_with(b"application/json"));
        if answer.status().is_success() && !is_json {
            return Ok(answer);
        }
        let text = answer.text().await.map_err(|e| self.no_answer(&e))?;
        let value: Value = json::read(&text).unwrap_or(Value::Null);
        let words = value.get("message").and_then(Value::as_str);
        Err(Failure::new(clean(words.unwrap_or("The daemon refused."))))
    }

    /// Every printer, in the order of the configuration.
    pub async fn printers(&self) -> Result<Vec<Listed>, Failure> {
        Ok(self.rows().await?.iter().filter_map(listed).collect())
    }

    /// Every printer as the cloud's API shows it, in the order of the configuration.
    pub async fn rows(&self) -> Result<Vec<Value>, Failure> {
        let mut all = Vec::new();
        for page in 1..=PAGES_MAX {
            let page = page.to_string();
            let answer = self
                .get("printers/Get", &[("page", &page), ("page_size", "25")], QUICK)
                .await?;
            let rows = answer
                .get("data")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            let last = rows.is_empty();
            all.extend(rows);
            let total = answer.get("total").and_then(Value::as_u64).unwrap_or(0);
            if last || all.len() as u64 >= total {
                break;
            }
        }
        Ok(all)
    }

    /// A printer by name or number.
    pub async fn printer(&self, wanted: &str) -> Result<Listed, Failure> {
        let all = self.printers().await?;
        if let Some(found) = all.iter().find(|p| p.name == wanted) {
            return Ok(found.clone());
        }
        if let Some(found) = all.iter().find(|p| p.id.to_string() == wanted) {
            return Ok(found.clone());
        }
        let names: Vec<&str> = all.iter().map(|p| p.name.as_str()).collect();
        let hint = match names.as_slice() {
            [] => "The configuration has no printers.".to_owned(),
            names => format!("There are: {}.", names.join(", ")),
        };
        Err(Failure::usage(format!(
            "There is no printer \"{}\". {hint}",
            clean(wanted)
        )))
    }

    /// One printer's row, by number.
    pub async fn row(&self, id: i64) -> Result<Listed, Failure> {
        let id_text = id.to_string();
        let answer = self.get("printers/Get", &[("pid", &id_text)], QUICK).await?;
        answer
            .get("data")
            .and_then(listed)
            .ok_or_else(|| Failure::new("The daemon's answer holds no printer."))
    }

    fn url(&self, path: &str, query: &[(&str, &str)]) -> String {
        // The host is not used over a socket but has to be there; parameters are ours or encoded.
        let mut url = format!("http://localhost/0/{path}");
        for (index, (key, value)) in query.iter().enumerate() {
            url.push(if index == 0 { '?' } else { '&' });
            url.push_str(key);
            url.push('=');
            for byte in value.bytes() {
                if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
                    url.push(char::from(byte));
                } else {
                    url.push_str(&format!("%{byte:02X}"));
                }
            }
        }
        url
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Value, Failure> {
        let answer = request.send().await.map_err(|e| self.no_answer(&e))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|e| self.no_answer(&e))?;
        let value: Value = json::read(&text).map_err(|_| {
            Failure::new(format!(
                "The daemon answered with something that is not JSON (HTTP {status})."
            ))
        })?;
        // Outcomes travel in answers that are no success for the dialect; the caller judges those.
        if value.get("layerd").is_some()
            || (status.is_success() && value.get("status") != Some(&json!(false)))
        {
            return Ok(value);
        }
        let words = value
            .get("message")
            .and_then(Value::as_str)
            .unwrap_or("no reason given");
        let exit = match status.as_u16() {
            400 | 404 | 413 | 422 => Exit::Usage,
            _ => Exit::Failed,
        };
        Err(Failure {
            exit,
            text: clean(words),
        })
    }

    fn no_answer(&self, error: &reqwest::Error) -> Failure {
        let socket = self.socket.display();
        if error.is_timeout() {
            return Failure::new(format!(
                "The daemon behind {socket} did not answer in time. Look at its log: journalctl -u layerd"
            ));
        }
        let denied = std::fs::metadata(&self.socket)
            .is_err_and(|e| e.kind() == std::io::ErrorKind::PermissionDenied)
            || (self.socket.exists() && causes(error).any(|c| c.contains("ermission denied")));
        if denied {
            return Failure::new(format!(
                "You may not use {socket}. Join the group that owns it (sudo usermod -aG layerd $USER) and log in again."
            ));
        }
        if error.is_connect() || !self.socket.exists() {
            return Failure::new(format!(
                "The daemon is not running: nobody answers on {socket}. Start it with \
                 \"sudo systemctl start layerd\", or by hand with \"layerd run\". If it uses another \
                 configuration, name it with --config."
            ));
        }
        let why = causes(error).last().unwrap_or_default();
        Failure::new(format!("The connection to the daemon ({socket}) broke: {why}."))
    }
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = String> {
    let first: &dyn std::error::Error = error;
    std::iter::successors(Some(first), |e| e.source()).map(ToString::to_string)
}

fn listed(row: &Value) -> Option<Listed> {
    let native = row.get("layerd")?.clone();
    Some(Listed {
        name: native.get("name")?.as_str()?.to_owned(),
        id: native.get("id")?.as_i64()?,
        native,
    })
}

/// Runs a verb on a small runtime of its own.
pub fn block_on<F: Future>(work: F) -> Result<F::Output, Failure> {
    let mut done = None;
    drive(pin!(async { done = Some(work.await) }))?;
    done.ok_or_else(|| Failure::new("This was given up before its end."))
}

/// The runtime is the same for every verb.
fn drive(work: Pin<&mut dyn Future<Output = ()>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .build()
        .map_err(|e| Failure::new(format!("The system gives no event queue: {e}.")))?;
    runtime.block_on(work);
    Ok(())
}
