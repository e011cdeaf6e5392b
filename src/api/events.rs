//! `GET /events` (also `/{id}/events`): what the printers do, as server-sent events.
//!
//! | event | data |
//! |---|---|
//! | `printer` | exactly one element of the array that `printers/Get` gives, with its member `layerd`. First one for each printer, then one when something changed, at most two a second and printer. Ages in it are as of its sending |
//! | `notice` | `{"printer": 1, "name": "ender3", "open": true, "notice": {…}}` with a notice as in `layerd.notices`; `open` is false when it is settled. Those that are open already are in the first `printer` |
//! | `gone` | `{"id": 1}`: the printer left the configuration |
//!
//! Comment lines keep the connection alive. There is nothing to catch up with: a client that comes back
//! gets the whole state first, so `Last-Event-ID` is not needed and ignored.
//!
//! Rows are made once for all listeners. A listener that is slow misses states in between, never the last
//! one; one that takes nothing for half a minute is dropped ([`super::stall`]).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::Value;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::access::Caller;
use super::envelope::Problem;
use super::{Api, row, view};
use crate::agent::clock;
use crate::agent::handle::{PrinterHandle, Snapshot};
use crate::json::json;
use crate::printer::notice::Notice;
use crate::sorted::SortedMap;

/// How often changes are told.
const EVERY: Duration = Duration::from_millis(500);

/// Most listeners at once. One more is told to come back (503).
pub const LISTENERS_MAX: usize = 256;

/// How often a quiet connection gets a comment, and its key is looked at again.
const ALIVE_EVERY: Duration = Duration::from_secs(15);

/// Notices that a listener can be behind; then it misses the oldest, which are in the rows too.
const NOTICES_MAX: usize = 64;

/// One printer as it was told last.
#[derive(Clone, Debug)]
struct Level {
    id: i64,
    /// Grows with every change of any printer, and is never given twice.
    version: u64,
    frame: Bytes,
}

/// What there is to tell.
#[derive(Clone, Debug, Default)]
struct Levels {
    printers: Vec<Level>,
    last_version: u64,
    /// Numbered from 1, oldest first, at most [`NOTICES_MAX`].
    notices: VecDeque<(u64, Bytes)>,
    last_notice: u64,
}

/// What a row was made from.
struct Seen {
    snapshot: Arc<Snapshot>,
    upstreams: Value,
    camera: bool,
}

/// Makes the rows for all listeners.
pub struct Hub {
    levels: watch::Sender<Arc<Levels>>,
    seen: Mutex<SortedMap<i64, Seen>>,
    places: Arc<Semaphore>,
    somebody: Notify,
    shutdown: CancellationToken,
}

impl Hub {
    /// Nobody listens yet.
    pub fn new(shutdown: CancellationToken) -> Self {
        Hub {
            levels: watch::Sender::default(),
            seen: Mutex::default(),
            places: Arc::new(Semaphore::new(LISTENERS_MAX)),
            somebody: Notify::new(),
            shutdown,
        }
    }

    /// Looks at the printers twice a second while somebody listens.
    pub(super) async fn run(&self, api: &Api) {
        loop {
            let wait = async {
                if self.levels.receiver_count() == 0 {
                    self.somebody.notified().await;
                }
                tokio::time::sleep(EVERY).await;
            };
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = wait => self.refresh(api),
            }
        }
    }

    /// Tells what has changed since the last look.
    fn refresh(&self, api: &Api) {
        let mut seen = self.seen.lock().unwrap_or_else(|e| e.into_inner());
        let before = self.levels.borrow().clone();
        let mut after = Levels::clone(&before);
        let all = api.agent.printers();
        let mut changed = false;
        after
            .printers
            .retain(|level| all.iter().any(|p| p.id() == level.id));
        seen.retain(|id, _| all.iter().any(|p| p.id() == *id));
        changed |= after.printers.len() != before.printers.len();
        for printer in &all {
            let now = Seen {
                snapshot: printer.snapshot(),
                upstreams: row::upstreams(api, printer),
                camera: printer.camera_works().is_some(),
            };
            let same = seen.get(&printer.id()).is_some_and(|old| {
                Arc::ptr_eq(&old.snapshot, &now.snapshot)
                    && old.upstreams == now.upstreams
                    && old.camera == now.camera
            });
            if same {
                continue;
            }
            changed = true;
            if let Some(old) = seen.get(&printer.id()) {
                after.note(printer, &old.snapshot.state.notices, &now.snapshot.state.notices);
            }
            after.put(printer.id(), frame("printer", &row::row(api, printer)));
            seen.insert(printer.id(), now);
        }
        if changed {
            self.levels.send_replace(Arc::new(after));
        }
    }
}

impl Levels {
    fn put(&mut self, id: i64, frame: Bytes) {
        self.last_version += 1;
        let version = self.last_version;
        match self.printers.iter_mut().find(|level| level.id == id) {
            Some(level) => (level.version, level.frame) = (version, frame),
            None => self.printers.push(Level { id, version, frame }),
        }
    }

    fn note(&mut self, printer: &PrinterHandle, before: &[Notice], after: &[Notice]) {
        let among = |list: &[Notice], one: &Notice| list.iter().any(|n| n.id == one.id);
        let opened = after.iter().enumerate().filter(|(_, n)| !among(before, n));
        let closed = before.iter().enumerate().filter(|(_, n)| !among(after, n));
        let edges = closed
            .map(|(n, notice)| (false, n, notice))
            .chain(opened.map(|(n, notice)| (true, n, notice)));
        for (open, number, notice) in edges {
            self.last_notice += 1;
            let data = json!({
                "printer": printer.id(), "name": printer.name(), "open": open, "notice": view::native_notice(number, notice),
            });
            self.notices.push_back((self.last_notice, frame("notice", &data)));
            if self.notices.len() > NOTICES_MAX {
                self.notices.pop_front();
            }
        }
    }
}

/// One event. JSON holds no line ends, so it is one line.
fn frame(event: &str, data: &Value) -> Bytes {
    Bytes::from(format!("event: {event}\ndata: {data}\n\n"))
}

/// One listener.
struct Listening {
    api: Api,
    caller: Caller,
    levels: watch::Receiver<Arc<Levels>>,
    /// The version of each printer that was told.
    told: SortedMap<i64, u64>,
    last_notice: u64,
    /// Filled only when it is empty, so it holds no more than one state.
    ready: VecDeque<Bytes>,
    _place: OwnedSemaphorePermit,
}

impl Listening {
    fn fill(&mut self) {
        let levels = self.levels.borrow_and_update().clone();
        for (number, frame) in &levels.notices {
            if *number > self.last_notice {
                self.ready.push_back(frame.clone());
            }
        }
        self.last_notice = levels.last_notice;
        let gone: Vec<i64> = self
            .told
            .keys()
            .filter(|id| !levels.printers.iter().any(|level| level.id == **id))
            .copied()
            .collect();
        for id in gone {
            self.told.remove(&id);
            self.ready.push_back(frame("gone", &json!({"id": id})));
        }
        for level in &levels.printers {
            if self.told.insert(level.id, level.version) != Some(level.version) {
                self.ready.push_back(level.frame.clone());
            }
        }
    }

    /// The next piece; `None`: this connection has come to its end.
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some((Ok(frame), self));
            }
            let changed = tokio::select! {
                () = self.api.events.shutdown.cancelled() => return None,
                changed = tokio::time::timeout(ALIVE_EVERY, self.levels.changed()) => changed,
            };
            // A key that was revoked shows nothing more.
            if !self.api.keys.is_live(&self.caller, clock::now().wall) {
                return None;
            }
            match changed {
                Ok(Ok(())) => self.fill(),
                Ok(Err(_)) => return None,
                Err(_) => self.ready.push_back(Bytes::from_static(b": all quiet\n\n")),
            }
        }
    }
}

/// The stream.
pub(super) async fn events(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let place = api.events.places.clone().try_acquire_owned().map_err(|_| {
        Problem::with(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{LISTENERS_MAX} listeners are connected already."),
        )
    })?;
    let levels = api.events.levels.subscribe();
    api.events.somebody.notify_one();
    api.events.refresh(&api);
    let last_notice = levels.borrow().last_notice;
    let mut listening = Listening {
        last_notice,
        levels,
        caller,
        told: SortedMap::new(),
        ready: VecDeque::from([Bytes::from_static(b"retry: 2000\n\n")]),
        _place: place,
        api,
    };
    listening.fill();
    let body = Body::from_stream(stream::unfold(listening, Listening::next));
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, body).into_response())
}
