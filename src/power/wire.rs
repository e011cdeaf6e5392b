//! The ways to a switch: HTTP, a GPIO line, a command. Each has a deadline and a size limit.

use std::process::Stdio;
use std::time::Duration;

use gpiocdev::Request;
use gpiocdev::line::Value;
use gpiocdev::request::Config;
use reqwest::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use tokio::io::AsyncReadExt;

use super::digest::Challenge;
use super::faults;
use super::relay::{self, Ask, Call};
use crate::config::model::PowerKind;
use crate::host::names::Names;
use crate::printer::fault::Fault;

/// A switch in the house answers within this, or not.
const HTTP_LIMIT: Duration = Duration::from_secs(5);
/// A command may have to talk to something slow.
const COMMAND_LIMIT: Duration = Duration::from_secs(10);
/// Longest answer that is read.
const ANSWER_MAX: usize = 16 * 1024;

/// The way to one switch.
#[derive(Debug)]
pub struct Wire {
    kind: PowerKind,
    http: Option<reqwest::Client>,
    generation: Option<u8>,
    /// Held as long as the daemon runs: a line that nobody holds may fall back.
    gpio: Option<Request>,
}

impl Wire {
    /// Prepares the way; nothing is sent yet.
    ///
    /// # Errors
    /// No TLS on this host.
    pub fn new(kind: &PowerKind) -> Result<Self, Fault> {
        let over_http = relay::call(kind, 2, Ask::Set(true)).is_some();
        Ok(Wire {
            kind: kind.clone(),
            http: over_http.then(client).transpose()?,
            generation: match kind {
                PowerKind::Shelly { generation, .. } => *generation,
                _ => Some(0),
            },
            gpio: None,
        })
    }

    /// Switches, or looks. `None`: no answer tells.
    ///
    /// # Errors
    /// The switch did not answer, or not as one of its kind.
    pub async fn ask(&mut self, ask: Ask) -> Result<Option<bool>, Fault> {
        match &self.kind {
            PowerKind::Gpio { .. } => self.gpio(ask),
            PowerKind::Command { on, off, state } => {
                let words = match ask {
                    Ask::Set(true) => on,
                    Ask::Set(false) => off,
                    Ask::State => match state {
                        Some(words) => words,
                        None => return Ok(None),
                    },
                };
                let said = run(words).await?;
                relay::answer(&self.kind, 0, ask, &said)
            }
            _ => self.http(ask).await,
        }
    }

    async fn http(&mut self, ask: Ask) -> Result<Option<bool>, Fault> {
        let Some(client) = self.http.clone() else {
            return Ok(None);
        };
        let generation = match (self.generation, &self.kind) {
            (Some(generation), _) => generation,
            (None, PowerKind::Shelly { url, .. }) => {
                let said = fetch(&client, relay::shelly_generation_call(url)).await?;
                let generation = relay::shelly_generation(&said)?;
                self.generation = Some(generation);
                generation
            }
            (None, _) => 0,
        };
        let Some(call) = relay::call(&self.kind, generation, ask) else {
            return Ok(None);
        };
        let said = fetch(&client, call).await?;
        relay::answer(&self.kind, generation, ask, &said)
    }

    /// Ioctls of microseconds: no need for a thread of their own.
    fn gpio(&mut self, ask: Ask) -> Result<Option<bool>, Fault> {
        let PowerKind::Gpio {
            chip,
            line,
            active_low,
        } = &self.kind
        else {
            return Ok(None);
        };
        let failed =
            |e: gpiocdev::Error| faults::UNREACHABLE.with_raw(format!("{} line {line}: {e}", chip.display()));
        if self.gpio.is_none() {
            let mut builder = Request::builder();
            // As it is: taking a line must not switch anything.
            builder
                .on_chip(chip)
                .with_consumer("layerd")
                .with_line(*line)
                .as_is();
            if *active_low {
                builder.as_active_low();
            }
            self.gpio = Some(builder.request().map_err(failed)?);
        }
        let Some(request) = &self.gpio else {
            return Ok(None);
        };
        if let Ask::Set(on) = ask {
            let value = if on { Value::Active } else { Value::Inactive };
            let mut config = Config::default();
            config.with_line(*line).as_output(value);
            if *active_low {
                config.as_active_low();
            }
            request.reconfigure(&config).map_err(failed)?;
        }
        let value = request.value(*line).map_err(failed)?;
        Ok(Some(value == Value::Active))
    }
}

fn client() -> Result<reqwest::Client, Fault> {
    let no_client = |e: String| faults::UNREACHABLE.with_raw(e);
    let tls = crate::host::tls::client_config().map_err(|e| no_client(e.to_string()))?;
    reqwest::Client::builder()
        .tls_backend_preconfigured((*tls).clone())
        // A relay does not send one elsewhere; with a password that would be somebody else's business.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .dns_resolver(Names)
        .timeout(HTTP_LIMIT)
        .pool_max_idle_per_host(1)
        .build()
        .map_err(|e| no_client(e.to_string()))
}

async fn fetch(client: &reqwest::Client, call: Call) -> Result<String, Fault> {
    let method = if call.post {
        reqwest::Method::POST
    } else {
        reqwest::Method::GET
    };
    // The query may hold a password: errors are told without the address.
    let unreachable = |e: reqwest::Error| faults::UNREACHABLE.with_raw(root_cause(&e.without_url()));
    let url = match reqwest::Url::parse(&call.url) {
        Ok(mut url) => {
            if !call.query.is_empty() {
                url.query_pairs_mut().extend_pairs(&call.query);
            }
            url
        }
        Err(e) => return Err(faults::UNREACHABLE.with_raw(e.to_string())),
    };
    let request = || {
        let request = client.request(method.clone(), url.clone());
        match &call.key {
            Some(key) => request.header("X-Api-Key", key.reveal()),
            None => request,
        }
    };
    let mut response = match &call.login {
        None => request().send().await,
        // The first generation takes the login as it is; the second wants a digest and must not see it.
        Some(login) if !call.digest => {
            let (user, password) = login;
            request().basic_auth(user, Some(password.reveal())).send().await
        }
        Some((user, password)) => match request().send().await {
            Ok(asked) if asked.status() == reqwest::StatusCode::UNAUTHORIZED => {
                let header = asked
                    .headers()
                    .get(WWW_AUTHENTICATE)
                    .and_then(|v| v.to_str().ok());
                let Some(challenge) = header.and_then(Challenge::read) else {
                    return Err(faults::NONSENSE.with_raw("it asks for an unknown kind of login".to_owned()));
                };
                let target = url.query().map_or_else(
                    || url.path().to_owned(),
                    |query| format!("{}?{query}", url.path()),
                );
                let cnonce = uuid::Uuid::new_v4().simple().to_string();
                let answer = challenge.answer(user, password.reveal(), method.as_str(), &target, &cnonce);
                request().header(AUTHORIZATION, answer).send().await
            }
            other => other,
        },
    }
    .map_err(unreachable)?;
    let status = response.status();
    if !status.is_success() {
        return Err(faults::NONSENSE.with_raw(format!("HTTP {}", status.as_u16())));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > ANSWER_MAX {
            return Err(faults::NONSENSE.with_raw(format!("more than {ANSWER_MAX} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let last = std::iter::successors(Some(error), |e| e.source()).last();
    last.map(ToString::to_string).unwrap_or_default()
}

/// Runs a command of the owner and reads what it prints.
async fn run(words: &[String]) -> Result<String, Fault> {
    let failed = |text: String| faults::UNREACHABLE.with_raw(text);
    let Some((program, arguments)) = words.split_first() else {
        return Err(failed("no command".to_owned()));
    };
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| failed(format!("{program}: {e}")))?;
    let work = async {
        let mut said = Vec::new();
        if let Some(out) = child.stdout.take() {
            out.take(ANSWER_MAX as u64).read_to_end(&mut said).await?;
        }
        // Its output is dropped behind the limit; a program that goes on writing is ended by the pipe.
        Ok::<_, std::io::Error>((child.wait().await?, said))
    };
    match tokio::time::timeout(COMMAND_LIMIT, work).await {
        Ok(Ok((status, said))) if status.success() => Ok(String::from_utf8_lossy(&said).into_owned()),
        Ok(Ok((status, _))) => Err(failed(format!("{program}: {status}"))),
        Ok(Err(e)) => Err(failed(format!("{program}: {e}"))),
        Err(_) => Err(failed(format!(
            "{program}: no end within {} s",
            COMMAND_LIMIT.as_secs()
        ))),
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
