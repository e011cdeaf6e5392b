//! The actor's side of its driver: the channels, the task, and the proof that it is alive.

use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::Instrument;

use super::super::handle::Shared;
use super::super::supervise::supervise;
use crate::drivers::{Driver, Link, Stop, StopMode};
use crate::printer::command::{Command, Request};
use crate::printer::event::Event;
use crate::printer::outcome::Outcome;

/// Requests waiting for the driver; when full the requester is told "busy".
const REQUESTS_MAX: usize = 16;

/// Emergency stops waiting; one is enough, the rest do the same.
const URGENT_MAX: usize = 4;

/// Events waiting for the actor. Drivers drop levels and hold back edges when it is full.
const EVENTS_MAX: usize = 256;

/// How often the driver is asked whether it is there.
pub const PING_EVERY: Duration = Duration::from_secs(10);

/// A driver that does not answer for so long is wedged. Longer than any step of a handshake.
pub const WEDGED_AFTER: Duration = Duration::from_secs(60);

/// The running driver of one printer.
#[derive(Debug)]
pub struct DriverSide {
    requests: mpsc::Sender<Request>,
    /// What the driver tells.
    pub events: mpsc::Receiver<Event>,
    stop: Stop,
    task: JoinHandle<()>,
    ping: Option<oneshot::Receiver<Outcome>>,
    unanswered_since: Option<Instant>,
    pinged: Instant,
}

impl DriverSide {
    /// Starts the sessions of a driver and points the emergency lane at them.
    pub fn start(driver: Box<dyn Driver>, shared: &Shared, now: Instant) -> Self {
        let (requests, requests_rx) = mpsc::channel(REQUESTS_MAX);
        let (urgent, urgent_rx) = mpsc::channel(URGENT_MAX);
        let (events_tx, events) = mpsc::channel(EVENTS_MAX);
        let link = Link {
            requests: requests_rx,
            urgent: urgent_rx,
            events: events_tx,
        };
        let stop = Stop::new();
        let span = tracing::info_span!("driver", printer = %shared.name, driver = shared.driver);
        #[allow(
            clippy::disallowed_methods,
            reason = "the handle is kept: awaited in `join`, aborted in `abandon`"
        )]
        let task = tokio::spawn(supervise(driver, link, stop.clone()).instrument(span).boxed());
        *shared.urgent.lock().unwrap_or_else(|e| e.into_inner()) = urgent;
        DriverSide {
            requests,
            events,
            stop,
            task,
            ping: None,
            unanswered_since: None,
            pinged: now,
        }
    }

    /// Hands a request to the driver; gives it back when there is no room.
    pub fn send(&self, request: Request) -> Result<(), Request> {
        self.requests.try_send(request).map_err(|e| e.into_inner())
    }

    /// Asks from time to time whether the driver is there. `true`: it is wedged.
    pub fn is_wedged(&mut self, now: Instant, shared: &Shared) -> bool {
        // A queue without room counts as a ping without answer.
        match self.ping.as_mut().map(oneshot::Receiver::try_recv) {
            None | Some(Err(oneshot::error::TryRecvError::Empty)) => {}
            // Answered, or the session ended under it: alive in both cases.
            Some(Ok(_) | Err(oneshot::error::TryRecvError::Closed)) => {
                self.ping = None;
                self.unanswered_since = None;
            }
        }
        if let Some(since) = self.unanswered_since
            && now.saturating_duration_since(since) >= WEDGED_AFTER
        {
            return true;
        }
        if self.ping.is_some() {
            return false;
        }
        if now.saturating_duration_since(self.pinged) < PING_EVERY {
            return false;
        }
        self.pinged = now;
        let (reply, answer) = oneshot::channel();
        let deadline = now + WEDGED_AFTER;
        let request = Request {
            id: shared.request_id(),
            command: Command::Ping,
            deadline,
            reply,
        };
        self.unanswered_since.get_or_insert(now);
        if self.requests.try_send(request).is_ok() {
            self.ping = Some(answer);
        }
        false
    }

    /// Orders the end of the session.
    pub fn order_stop(&self, mode: StopMode) {
        self.stop.order(mode);
    }

    /// Gives up on a wedged driver: its task is aborted, and forgotten if it cannot be.
    pub fn abandon(self) {
        self.stop.order(StopMode::Leave);
        self.task.abort();
    }
}
