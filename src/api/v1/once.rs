//! `Idempotency-Key`: the same request again gets the first answer and has no second effect. The key belongs
//! to its caller and path; with another body it is refused.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::shape;
use crate::agent::clock;
use crate::api::access::Caller;
use crate::api::envelope::Problem;
use crate::api::{Api, jobs, routes};
use crate::job::store::{REPEAT_BODY_MAX, Repeat};
use crate::sorted::SortedSet;

/// Longest key, characters.
const KEY_MAX: usize = 255;

/// How long a body may take to arrive.
const BODY_LIMIT: Duration = Duration::from_secs(30);

/// Says that an answer is the first one again.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What names a request with a key, for those who can use it themselves: the start of a print.
#[derive(Clone, Debug)]
pub struct Once(pub String);

/// Requests that are being answered now.
pub type UnderWay = Mutex<SortedSet<String>>;

/// Takes a request off the list, also when its client hangs up.
struct Taken {
    list: Arc<UnderWay>,
    id: String,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.list
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .remove(&self.id);
    }
}

/// What to do about a first request that was begun and never answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Its effect cannot happen twice: carry it out.
    Again,
    /// It may have had its effect: say so.
    Told,
}

fn hex(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0]);
    }
    let digest = hash.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The number under which a caller's keys are kept.
fn number(caller: &Caller) -> i64 {
    match caller {
        Caller::Socket => -1,
        Caller::Loopback => 0,
        Caller::Key { id, .. } => *id,
    }
}

fn key(request: &Request) -> Result<Option<String>, Problem> {
    let Some(value) = request.headers().get("idempotency-key") else {
        return Ok(None);
    };
    let key = value.to_str().unwrap_or_default();
    if key.is_empty() || key.len() > KEY_MAX {
        let words = format!("`Idempotency-Key` takes 1 to {KEY_MAX} letters, digits and signs of ASCII.");
        return Err(Problem::bad(words).coded("refused/invalid-idempotency-key"));
    }
    Ok(Some(key.to_owned()))
}

/// Stands before the routes that have an effect.
pub async fn once(State((api, broken)): State<(Api, Broken)>, request: Request, next: Next) -> Response {
    match answer(&api, broken, request, next).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn answer(api: &Api, broken: Broken, request: Request, next: Next) -> Result<Response, Problem> {
    let Some(key) = key(&request)? else {
        return Ok(next.run(request).await);
    };
    let caller = request.extensions().get::<Caller>().map_or(-1, number);
    let (mut parts, body) = request.into_parts();
    let read = tokio::time::timeout(BODY_LIMIT, axum::body::to_bytes(body, routes::BODY_MAX_BYTES)).await;
    let body = read
        .map_err(|_| Problem::with(StatusCode::REQUEST_TIMEOUT, "The body came too slowly."))?
        .map_err(|_| {
            let words = format!(
                "The body broke off, or is larger than {} KiB.",
                routes::BODY_MAX_BYTES >> 10
            );
            Problem::with(StatusCode::PAYLOAD_TOO_LARGE, words)
        })?;
    let path = parts.uri.to_string();
    let id = hex(&[
        &caller.to_le_bytes(),
        parts.method.as_str().as_bytes(),
        path.as_bytes(),
        key.as_bytes(),
    ]);
    let taken = take(&api.v1.under_way, &id)?;
    let store = api.agent.store();
    let known = store
        .repeat_begin(id.clone(), caller, hex(&[body.as_ref()]), clock::now().wall)
        .await
        .map_err(jobs::database)?;
    match known {
        Repeat::First => {}
        Repeat::Answered { status, body } => return Ok(again(status, body)),
        Repeat::Different => {
            return Err(Problem::said(
                "This Idempotency-Key was used for another request. Take a new key for a new request.",
            )
            .coded("refused/idempotency-key-reused"));
        }
        Repeat::Unanswered if broken == Broken::Again => {}
        Repeat::Unanswered => {
            return Err(Problem::said(
                "The first request with this Idempotency-Key was broken off. It may have had its effect: look, \
                 and take a new key.",
            )
            .coded("refused/idempotency-key-interrupted"));
        }
    }
    parts.extensions.insert(Once(id.clone()));
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    let (keep, response) = finished(api, response).await;
    let noted = match keep {
        Keep::Answer(status, text) => store.repeat_end(id, status, text).await,
        Keep::Nothing => store.repeat_forget(id).await,
        Keep::Begun => Ok(()),
    };
    if let Err(error) = noted {
        tracing::warn!(
            code = error.code(),
            "an answer for repeats cannot be kept: {error}"
        );
    }
    drop(taken);
    Ok(response)
}

fn take(list: &Arc<UnderWay>, id: &str) -> Result<Taken, Problem> {
    let is_new = list
        .lock()
        .unwrap_or_else(|e| e.into_inner())
        .insert(id.to_owned());
    if is_new {
        return Ok(Taken {
            list: list.clone(),
            id: id.to_owned(),
        });
    }
    Err(
        Problem::said("The first request with this Idempotency-Key is still being answered. Ask again.")
            .coded("refused/idempotency-key-in-use"),
    )
}

/// What is kept of an answer.
enum Keep {
    /// All of it.
    Answer(u16, String),
    /// The request had no effect and may come again.
    Nothing,
    /// Only that the request was carried out.
    Begun,
}

/// The answer in its shape, and what to keep of it: what time may change (no place, a database that did not
/// answer) is not kept.
async fn finished(api: &Api, response: Response) -> (Keep, Response) {
    let code = response.extensions().get::<Problem>().map(|p| p.code);
    let response = shape::told(api.v1.kind(), true, response);
    let status = response.status();
    let passing = matches!(
        status,
        StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::TOO_MANY_REQUESTS
    );
    if passing || (status.is_server_error() && code != Some(shape::UNVERIFIED)) {
        return (Keep::Nothing, response);
    }
    let size = response.body().size_hint().exact();
    if size.is_none_or(|size| size > REPEAT_BODY_MAX as u64) {
        return (Keep::Begun, response);
    }
    let (parts, body) = response.into_parts();
    // A text in memory, and short enough.
    let bytes = axum::body::to_bytes(body, REPEAT_BODY_MAX)
        .await
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let keep = Keep::Answer(status.as_u16(), text);
    (keep, Response::from_parts(parts, Body::from(bytes)))
}

fn again(status: u16, body: String) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let kind = HeaderValue::from_static("application/json");
    let mut response = (status, body).into_response();
    response.extensions_mut().insert(shape::Told);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
        .headers_mut()
        .insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_two_callers_or_paths_is_two_keys() {
        let one = |caller: i64, path: &str, key: &str| {
            hex(&[&caller.to_le_bytes(), b"POST", path.as_bytes(), key.as_bytes()])
        };
        let all = [
            one(1, "/v1/jobs", "a"),
            one(2, "/v1/jobs", "a"),
            one(1, "/v1/webhooks", "a"),
            one(1, "/v1/jobs", "b"),
            one(1, "/v1/job", "sa"),
        ];
        let different: std::collections::HashSet<&String> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }

    #[test]
    fn a_request_that_is_under_way_is_not_begun_twice() {
        let list: Arc<UnderWay> = Arc::default();
        let first = take(&list, "a").expect("free");
        assert_eq!(
            take(&list, "a").err().map(|p| p.code),
            Some("refused/idempotency-key-in-use")
        );
        drop(first);
        assert!(take(&list, "a").is_ok());
    }
}
