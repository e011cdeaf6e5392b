use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::drivers::{BoxFuture, StopMode};
use crate::printer::command::RequestId;

/// Fails in a given way each session.
struct Flaky {
    sessions: Arc<AtomicUsize>,
    panics: bool,
}

impl Driver for Flaky {
    fn run<'a>(&'a mut self, link: &'a mut Link, stop: &'a Stop) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let n = self.sessions.fetch_add(1, Ordering::SeqCst);
            let _ = link.events.send(Event::Opening).await;
            if n == 3 {
                let _ = link.events.send(Event::Up).await;
                stop.ordered().await;
                return Ok(());
            }
            assert!(!self.panics, "boom");
            Err(Fault::new(Severity::Retry, "test/lost", "Lost.", "", ""))
        })
    }
}

struct Rig {
    requests: mpsc::Sender<Request>,
    urgent: mpsc::Sender<Request>,
    events: mpsc::Receiver<Event>,
    sessions: Arc<AtomicUsize>,
    stop: Stop,
    task: tokio::task::JoinHandle<()>,
}

#[allow(clippy::disallowed_methods, reason = "the handle is kept and awaited")]
fn rig(panics: bool) -> Rig {
    let (requests, requests_rx) = mpsc::channel(16);
    let (urgent, urgent_rx) = mpsc::channel(4);
    let (events_tx, events) = mpsc::channel(256);
    let sessions = Arc::new(AtomicUsize::new(0));
    let stop = Stop::new();
    let driver = Box::new(Flaky {
        sessions: sessions.clone(),
        panics,
    });
    let link = Link {
        requests: requests_rx,
        urgent: urgent_rx,
        events: events_tx,
    };
    let task = tokio::spawn(supervise(driver, link, stop.clone()));
    Rig {
        requests,
        urgent,
        events,
        sessions,
        stop,
        task,
    }
}

fn request(command: Command) -> (Request, oneshot::Receiver<Outcome>) {
    let (reply, answer) = oneshot::channel();
    let deadline = Instant::now() + Duration::from_secs(9);
    (
        Request {
            id: RequestId(1),
            command,
            deadline,
            reply,
        },
        answer,
    )
}

#[tokio::test(start_paused = true)]
async fn sessions_follow_each_other_until_stopped_even_after_panics() {
    for panics in [false, true] {
        let mut rig = rig(panics);
        while rig.events.recv().await.expect("supervised") != Event::Up {}
        assert_eq!(rig.sessions.load(Ordering::SeqCst), 4);
        rig.stop.order(StopMode::Leave);
        rig.task.await.expect("ends cleanly");
        assert_eq!(rig.events.recv().await, Some(Event::Down { why: None }));
    }
}

#[tokio::test(start_paused = true)]
async fn requests_while_down_are_answered_at_once() {
    let mut rig = rig(false);
    while !matches!(rig.events.recv().await.expect("supervised"), Event::Down { .. }) {}
    let (pause, answer) = request(Command::Pause);
    rig.requests.send(pause).await.expect("open");
    assert_eq!(answer.await.expect("answered").code(), "refused/offline");
    let (estop, answer) = request(Command::EmergencyStop);
    rig.urgent.send(estop).await.expect("open");
    assert!(
        answer
            .await
            .expect("answered")
            .message()
            .contains("could NOT be written")
    );
}

#[tokio::test(start_paused = true)]
async fn a_reconnect_request_ends_the_wait() {
    let mut rig = rig(false);
    while !matches!(rig.events.recv().await.expect("supervised"), Event::Down { .. }) {}
    let before = tokio::time::Instant::now();
    let (again, answer) = request(Command::Reconnect);
    rig.requests.send(again).await.expect("open");
    assert_eq!(answer.await.expect("answered"), Outcome::Sent);
    assert_eq!(rig.events.recv().await, Some(Event::Opening));
    assert_eq!(before.elapsed(), Duration::ZERO);
}
