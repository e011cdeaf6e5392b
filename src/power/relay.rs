//! What is asked of a switch over HTTP, and what its answers mean. Pure.
//!
//! Sources: Tasmota "Commands" (`/cm?cmnd=Power On`, answer `{"POWER":"ON"}`, `POWER2` for a second
//! relay, `{"WARNING":"Need user=…"}`), Shelly gen 1 API reference (`/relay/0?turn=on`, `"ison"`), Shelly
//! gen 2 RPC (`Switch.Set`, `Switch.GetStatus`, `"output"`), Moonraker external API
//! (`/machine/device_power/device`, `{"result":{"NAME":"on"}}`).

use serde_json::Value;

use super::faults;
use crate::config::model::PowerKind;
use crate::config::secrets::Secret;
use crate::json;
use crate::printer::fault::Fault;

/// What is wanted of a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Switch.
    Set(bool),
    /// What does it do?
    State,
}

/// One call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// POST instead of GET.
    pub post: bool,
    /// Address without its query.
    pub url: String,
    /// The query; values are encoded by the client.
    pub query: Vec<(&'static str, String)>,
    /// Login.
    pub login: Option<(String, Secret)>,
    /// The login goes as a digest (RFC 7616), else as basic authentication.
    pub digest: bool,
    /// `X-Api-Key`.
    pub key: Option<Secret>,
}

impl Call {
    fn get(base: &str, path: &str) -> Call {
        Call {
            post: false,
            url: format!("{}{path}", base.trim_end_matches('/')),
            query: Vec::new(),
            login: None,
            digest: false,
            key: None,
        }
    }

    fn with(mut self, key: &'static str, value: impl Into<String>) -> Call {
        self.query.push((key, value.into()));
        self
    }
}

/// The question whether a Shelly is of the second generation or of the first.
pub fn shelly_generation_call(url: &str) -> Call {
    Call::get(url, "/shelly")
}

/// Its answer: gen 2 and later say `"gen": 2`, gen 1 says `"type": "SHSW-1"`.
///
/// # Errors
/// It is no Shelly.
pub fn shelly_generation(body: &str) -> Result<u8, Fault> {
    let value = json(body)?;
    match (value.get("gen").and_then(Value::as_u64), value.get("type")) {
        (Some(generation), _) => Ok(if generation >= 2 { 2 } else { 1 }),
        (None, Some(_)) => Ok(1),
        (None, None) => Err(nonsense(body)),
    }
}

/// The call for something asked; `None`: this kind cannot be asked that over HTTP. `generation`: of a
/// Shelly.
pub fn call(kind: &PowerKind, generation: u8, ask: Ask) -> Option<Call> {
    let word = |on| if on { "on" } else { "off" };
    match kind {
        PowerKind::Tasmota {
            url,
            user,
            password,
            channel,
        } => {
            let number = channel.map(|n| n.to_string()).unwrap_or_default();
            let command = match ask {
                Ask::Set(true) => format!("Power{number} On"),
                Ask::Set(false) => format!("Power{number} Off"),
                Ask::State => format!("Power{number}"),
            };
            let mut call = Call::get(url, "/cm");
            if let Some(password) = password {
                let user = user.clone().unwrap_or_else(|| "admin".to_owned());
                call = call.with("user", user).with("password", password.reveal());
            }
            Some(call.with("cmnd", command))
        }
        PowerKind::Shelly {
            url,
            user,
            password,
            channel,
            ..
        } => {
            let mut call = match (generation, ask) {
                (1, Ask::Set(on)) => Call::get(url, &format!("/relay/{channel}")).with("turn", word(on)),
                (1, Ask::State) => Call::get(url, &format!("/relay/{channel}")),
                (_, Ask::Set(on)) => Call::get(url, "/rpc/Switch.Set")
                    .with("id", channel.to_string())
                    .with("on", on.to_string()),
                (_, Ask::State) => Call::get(url, "/rpc/Switch.GetStatus").with("id", channel.to_string()),
            };
            call.login = password
                .clone()
                .map(|p| (user.clone().unwrap_or_else(|| "admin".to_owned()), p));
            call.digest = generation >= 2;
            Some(call)
        }
        PowerKind::Http {
            on_url,
            off_url,
            state_url,
        } => Some(Call::get(
            match ask {
                Ask::Set(true) => on_url,
                Ask::Set(false) => off_url,
                Ask::State => state_url.as_ref()?,
            },
            "",
        )),
        PowerKind::Moonraker { url, device, api_key } => {
            let mut call = Call::get(url, "/machine/device_power/device").with("device", device);
            if let Ask::Set(on) = ask {
                call = call.with("action", word(on));
                call.post = true;
            }
            call.key = api_key.clone();
            Some(call)
        }
        PowerKind::Gpio { .. } | PowerKind::Command { .. } => None,
    }
}

/// What an answer says of the switch; `None`: an answer that says nothing (a plain on/off address).
///
/// # Errors
/// No switch of this kind answers so.
pub fn answer(kind: &PowerKind, generation: u8, ask: Ask, body: &str) -> Result<Option<bool>, Fault> {
    let on = match kind {
        PowerKind::Tasmota { channel, .. } => {
            let value = json(body)?;
            let named = channel.map(|n| format!("POWER{n}"));
            // A device with one relay says POWER even when asked for POWER1, and the other way round.
            let names = match channel {
                None | Some(1) => vec![
                    named.unwrap_or_else(|| "POWER".to_owned()),
                    "POWER".to_owned(),
                    "POWER1".to_owned(),
                ],
                Some(_) => named.into_iter().collect(),
            };
            names.iter().find_map(|name| switch_word(value.get(name)?))
        }
        PowerKind::Shelly { .. } => {
            let value = json(body)?;
            match (generation, ask) {
                (1, _) => value.get("ison").and_then(Value::as_bool),
                // Switch.Set tells what was; only that it did not answer with an error counts.
                (_, Ask::Set(_)) => return value.get("was_on").map(|_| None).ok_or_else(|| nonsense(body)),
                (_, Ask::State) => value.get("output").and_then(Value::as_bool),
            }
        }
        PowerKind::Http { .. } => match ask {
            Ask::Set(_) => return Ok(None),
            Ask::State => plain(body),
        },
        PowerKind::Moonraker { device, .. } => {
            let value = json(body)?;
            value.get("result").and_then(|r| switch_word(r.get(device)?))
        }
        PowerKind::Command { .. } => match ask {
            Ask::Set(_) => return Ok(None),
            Ask::State => plain(body),
        },
        PowerKind::Gpio { .. } => None,
    };
    on.map(Some).ok_or_else(|| nonsense(body))
}

/// `on`, `off`, `1`, `0`, `true`, `false`, or a JSON object with one of the usual members.
fn plain(body: &str) -> Option<bool> {
    let text = body.trim().trim_matches('"');
    word_of(text).or_else(|| {
        let value: Value = json::read(body).ok()?;
        ["state", "on", "ison", "output", "POWER", "power", "value"]
            .iter()
            .find_map(|name| switch_word(value.get(name)?))
    })
}

fn switch_word(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(on) => Some(*on),
        Value::Number(n) => match n.as_u64() {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        },
        Value::String(text) => word_of(text),
        _ => None,
    }
}

fn word_of(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "1" | "true" => Some(true),
        "off" | "0" | "false" => Some(false),
        _ => None,
    }
}

fn json(body: &str) -> Result<Value, Fault> {
    json::read(body).map_err(|_| nonsense(body))
}

/// The answer in the fault, shortened: a device may answer anything.
fn nonsense(body: &str) -> Fault {
    let text: String = body.chars().filter(|c| !c.is_control()).take(80).collect();
    faults::NONSENSE.with_raw(text)
}

#[cfg(test)]
#[path = "relay_tests.rs"]
mod tests;
