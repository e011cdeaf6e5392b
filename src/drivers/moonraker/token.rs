//! A word that lets one websocket in. A proxy before Moonraker may keep our header to itself when a connection
//! becomes a websocket; what stands in the address it hands on.
//!
//! Source: Moonraker's documentation of its authorisation; the word lives five seconds and is good once.

use std::time::Duration;

use super::config::Config;
use super::faults;
use crate::config::Secret;
use crate::host::names::Names;
use crate::host::tls;
use crate::printer::fault::Fault;

/// How long asking for it may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Longest answer that is read.
const ANSWER_MAX: usize = 4096;

/// Longest word.
const WORD_MAX: usize = 128;

/// Asks for one; `None`: this Moonraker gives none, and the key must do.
///
/// # Errors
/// The key is wrong.
pub async fn once(config: &Config, key: &Secret) -> Result<Option<Secret>, Fault> {
    let Ok(tls) = tls::client_config() else {
        return Ok(None);
    };
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured((*tls).clone())
        .no_proxy()
        .dns_resolver(Names)
        .redirect(reqwest::redirect::Policy::none())
        .timeout(LIMIT)
        .build();
    let Ok(client) = client else { return Ok(None) };
    let request = client
        .get(format!("{}/access/oneshot_token", config.url))
        .header("X-Api-Key", key.reveal());
    let Ok(mut answer) = request.send().await else {
        return Ok(None);
    };
    if answer.status() == 401 {
        return Err(faults::UNAUTHORIZED);
    }
    let mut text = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        text.extend_from_slice(&chunk);
        if text.len() > ANSWER_MAX {
            return Ok(None);
        }
    }
    Ok(word(&text))
}

/// The word in an answer. It goes into an address as it is, so it must be plain.
fn word(answer: &[u8]) -> Option<Secret> {
    let told: serde_json::Value = serde_json::from_slice(answer).ok()?;
    let word = told.get("result")?.as_str()?;
    let plain = !word.is_empty() && word.len() <= WORD_MAX && word.bytes().all(|b| b.is_ascii_alphanumeric());
    plain.then(|| Secret::new(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_word_goes_into_the_address() {
        let read = |text: &str| word(text.as_bytes()).map(|w| w.reveal().to_owned());
        assert_eq!(
            read(r#"{"result": "MUQ3SWZJ2XEEVMLQ"}"#).as_deref(),
            Some("MUQ3SWZJ2XEEVMLQ")
        );
        for other in [
            "",
            "null",
            r#"{"result":""}"#,
            r#"{"result":"a&b=c"}"#,
            r#"{"error":{"code":404}}"#,
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
