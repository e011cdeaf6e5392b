//! Direct uploads of SoLoPrint's shape: a place is announced, then the bytes are put there.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::Json as Answer;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use futures_util::StreamExt;
use serde_json::Value;
use uuid::Uuid;

use super::solo::{base, file};
use crate::agent::clock;
use crate::api::Api;
use crate::api::envelope::Problem;
use crate::api::incoming::Json;
use crate::job::store::UploadRow;
use crate::json::json;
use crate::printer::fault::Fault;
use crate::sorted::SortedMap;

const NAME_MAX: usize = 255;

/// Places at once. When all are taken the oldest whose file is here gives way; without one the newcomer is
/// told to come back.
const PLACES_MAX: usize = 64;

/// Files that arrive at once.
const ARRIVING_MAX: usize = 4;

/// How long a place is kept, and how long a transfer may be silent.
const LIFE: Duration = Duration::from_secs(3600);
const SILENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    Arriving,
    Here(String),
}

#[derive(Debug)]
struct Place {
    name: String,
    size: Option<u64>,
    begun: Instant,
    stage: Stage,
}

/// All announced uploads.
#[derive(Debug, Default)]
pub struct Places(Mutex<SortedMap<String, Place>>);

impl Places {
    fn lock(&self) -> MutexGuard<'_, SortedMap<String, Place>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The content behind an announced id, when it has come.
    pub fn content(&self, id: &str) -> Option<String> {
        match &self.lock().get(id)?.stage {
            Stage::Here(sha256) => Some(sha256.clone()),
            Stage::Waiting | Stage::Arriving => None,
        }
    }

    fn announce(&self, name: &str, size: Option<u64>, now: Instant) -> Option<String> {
        let mut all = self.lock();
        all.retain(|_, p| p.stage == Stage::Arriving || now.saturating_duration_since(p.begun) < LIFE);
        if all.len() >= PLACES_MAX {
            let done = all.iter().filter(|(_, p)| matches!(p.stage, Stage::Here(_)));
            let oldest = done.min_by_key(|(_, p)| p.begun).map(|(id, _)| id.clone())?;
            all.remove(&oldest);
        }
        let id = Uuid::new_v4().simple().to_string();
        let place = Place {
            name: name.to_owned(),
            size,
            begun: now,
            stage: Stage::Waiting,
        };
        all.insert(id.clone(), place);
        Some(id)
    }

    fn arrive(&self, id: &str) -> Result<(String, Option<u64>), Problem> {
        let mut all = self.lock();
        let busy = all.values().filter(|p| p.stage == Stage::Arriving).count() >= ARRIVING_MAX;
        let gone = || {
            Problem::not_found("This upload is not announced (any more).").coded("refused/upload-not-found")
        };
        let place = all.get_mut(id).ok_or_else(gone)?;
        if place.stage != Stage::Waiting {
            return Err(
                Problem::said("This upload is here already, or arriving.").coded("refused/upload-taken")
            );
        }
        if busy {
            return Err(Problem::with(
                StatusCode::TOO_MANY_REQUESTS,
                "Too many files are arriving. Try again when one of them is here.",
            ));
        }
        place.stage = Stage::Arriving;
        Ok((place.name.clone(), place.size))
    }

    fn set(&self, id: &str, stage: Stage) {
        if let Some(place) = self.lock().get_mut(id) {
            place.stage = stage;
        }
    }
}

/// Makes a place free again when its transfer ends without a file.
struct Arriving<'a> {
    places: &'a Places,
    id: &'a str,
    end: Stage,
}

impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        self.places.set(self.id, self.end.clone());
    }
}

/// `POST /v1/files/register`: `{name, size?}`. The answer says where the bytes go.
pub async fn register(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Json,
) -> Result<(StatusCode, Answer<Value>), Problem> {
    let name = body
        .text("name", NAME_MAX)?
        .map(str::trim)
        .filter(|n| !n.is_empty());
    let name = name.ok_or_else(|| Problem::bad("`name` is required."))?;
    let size = match body.0.get("size") {
        None | Some(Value::Null) => None,
        Some(size) => {
            let size = size.as_u64().filter(|n| *n > 0);
            Some(size.ok_or_else(|| Problem::bad("`size` must be the number of bytes."))?)
        }
    };
    let id = api
        .v1
        .places
        .announce(name, size, clock::now().mono)
        .ok_or_else(|| {
            Problem::with(
                StatusCode::TOO_MANY_REQUESTS,
                format!("{PLACES_MAX} uploads are announced already. Use one of them, or wait an hour."),
            )
        })?;
    let out = json!({
        "file": {"id": id, "name": name, "size": size},
        "upload_url": format!("{}/v1/files/upload/{id}", base(&api, &headers)),
        "upload_method": "PUT",
    });
    Ok((StatusCode::CREATED, Answer(out)))
}

/// `PUT /v1/files/upload/{id}`: the bytes.
pub async fn put(
    State(api): State<Api>,
    Path(id): Path<String>,
    request: Request,
) -> Result<(StatusCode, Answer<Value>), Problem> {
    let places = &api.v1.places;
    let (name, size) = places.arrive(&id)?;
    let mut arriving = Arriving {
        places,
        id: &id,
        end: Stage::Waiting,
    };
    let row = receive(&api, &name, size, request).await?;
    arriving.end = Stage::Here(row.sha256.clone());
    drop(arriving);
    Ok((StatusCode::CREATED, Answer(json!({"file": file(&row)}))))
}

async fn receive(api: &Api, name: &str, size: Option<u64>, request: Request) -> Result<UploadRow, Problem> {
    let mut incoming = api.agent.spool().incoming(name, size).await.map_err(refused)?;
    let mut bytes = request.into_body().into_data_stream();
    loop {
        let next = tokio::time::timeout(SILENCE, bytes.next()).await;
        let next = next.map_err(|_| {
            Problem::with(
                StatusCode::REQUEST_TIMEOUT,
                "The upload stood still for a minute and was ended.",
            )
        })?;
        match next {
            Some(Ok(chunk)) => incoming.write(chunk).await.map_err(refused)?,
            Some(Err(_)) => return Err(Problem::bad("The upload broke off.")),
            None => break,
        }
        if size.is_some_and(|size| incoming.written() > size) {
            return Err(Problem::bad("More bytes came than were announced."));
        }
    }
    let came = incoming.written();
    if came == 0 || size.is_some_and(|size| came != size) {
        return Err(Problem::bad(format!(
            "{came} bytes came, not what was announced."
        )));
    }
    incoming.finish().await.map_err(refused)
}

fn refused(fault: Fault) -> Problem {
    let problem = Problem::said(fault.to_string());
    match fault.code {
        std::borrow::Cow::Borrowed(code) => problem.coded(code),
        std::borrow::Cow::Owned(_) => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_used_once_and_forgotten_after_an_hour() {
        let places = Places::default();
        let now = Instant::now();
        let first = places.announce("a.gcode", Some(3), now).expect("a place");
        for _ in 1..PLACES_MAX {
            places.announce("b.gcode", None, now).expect("a place");
        }
        assert_eq!(
            places.announce("c.gcode", None, now),
            None,
            "all wait for their bytes"
        );
        assert_eq!(places.arrive(&first), Ok(("a.gcode".to_owned(), Some(3))));
        assert_eq!(
            places.arrive(&first).expect_err("taken").code,
            "refused/upload-taken"
        );
        assert_eq!(places.content(&first), None);
        places.set(&first, Stage::Here("ab".to_owned()));
        assert_eq!(places.content(&first).as_deref(), Some("ab"));
        assert!(
            places.announce("c.gcode", None, now).is_some(),
            "what is here gives way"
        );
        assert_eq!(
            places.arrive(&first).expect_err("gone").code,
            "refused/upload-not-found"
        );
        assert!(places.announce("d.gcode", None, now + LIFE).is_some());
        assert_eq!(places.lock().len(), 1);
    }
}
