//! A printer that obeys at once and writes down what it was told: for tests of what lies above drivers.

#![allow(dead_code, clippy::expect_used)]

use std::any::Any;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use layerd::drivers::{BoxFuture, Build, Context, Driver, Link, Reach, Stop};
use layerd::printer::capability::{ALL, Capabilities};
use layerd::printer::command::{Command, Request};
use layerd::printer::event::{Event, JobEvent};
use layerd::printer::fault::{Fault, Severity};
use layerd::printer::model::{Activity, Firmware, Heater, PauseReason};
use layerd::printer::notice::{Level, Notice};
use layerd::printer::outcome::{Missing, Outcome};
use uuid::Uuid;

/// What the printers of one test have in common: their memory, and how they behave.
#[derive(Clone, Debug, Default)]
pub struct Fake {
    /// Commands and lines, as they came.
    pub told: Arc<Mutex<Vec<String>>>,
    /// Never comes up.
    pub dead: bool,
    /// Raises a question with two buttons when it comes up.
    pub asks: bool,
    /// Takes commands and shows nothing of them.
    pub deaf: Arc<std::sync::atomic::AtomicBool>,
}

impl Fake {
    pub fn told(&self) -> Vec<String> {
        self.told.lock().expect("not poisoned").clone()
    }
}

impl Build for Fake {
    fn build(&self, _: Context) -> Box<dyn Driver> {
        Box::new(FakeDriver {
            fake: self.clone(),
            job: None,
        })
    }
    fn same_as(&self, _: &dyn Build) -> bool {
        true
    }
    fn link_is_printer(&self) -> bool {
        true
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn reachable<'a>(&'a self) -> BoxFuture<'a, Reach> {
        Box::pin(async { Reach::Yes("a fake".to_owned()) })
    }
}

struct FakeDriver {
    fake: Fake,
    job: Option<Uuid>,
}

impl Driver for FakeDriver {
    fn run<'a>(&'a mut self, link: &'a mut Link, stop: &'a Stop) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            if self.fake.dead {
                return Err(Fault::new(
                    Severity::Retry,
                    "fake/unplugged",
                    "The cable is out.",
                    "",
                    "Plug it in.",
                ));
            }
            for event in self.first() {
                let _ = link.events.send(event).await;
            }
            loop {
                let request = tokio::select! {
                    biased;
                    _ = stop.ordered() => return Ok(()),
                    Some(request) = link.urgent.recv() => request,
                    Some(request) = link.requests.recv() => request,
                };
                self.serve(request, link).await;
            }
        })
    }
}

impl FakeDriver {
    fn first(&self) -> Vec<Event> {
        let firmware = Firmware {
            name: "Fake".to_owned(),
            version: Some("1.0".to_owned()),
            machine: None,
        };
        let mut events = vec![
            Event::Opening,
            Event::Up,
            Event::Identity(firmware),
            Event::Capabilities(Capabilities::with(ALL)),
            Event::Heat {
                heater: Heater::Tool(0),
                actual_c: 21.5,
                target_c: Some(0.0),
            },
            Event::Activity(Activity::Idle),
        ];
        if self.fake.asks {
            events.push(Event::Notice(Notice {
                id: Uuid::from_u128(7),
                key: "prompt".to_owned(),
                level: Level::Warning,
                title: "Filament ran out.".to_owned(),
                text: "Load some.".to_owned(),
                code: None,
                buttons: vec!["Continue".to_owned(), "Abort".to_owned()],
                at: Timestamp::UNIX_EPOCH,
            }));
        }
        events
    }

    async fn serve(&mut self, request: Request, link: &mut Link) {
        let Request { command, reply, .. } = request;
        if !matches!(command, Command::Ping) {
            let line = match &command {
                Command::SendGcode { lines, .. } => lines.join("|"),
                other => other.name().to_owned(),
            };
            self.fake.told.lock().expect("not poisoned").push(line);
        }
        let uid = self.job.unwrap_or_default();
        if self.fake.deaf.load(std::sync::atomic::Ordering::SeqCst) && !matches!(command, Command::Ping) {
            let waited = std::time::Duration::from_secs(9);
            let missing = Missing::Effect;
            let _ = reply.send(Outcome::Unverified { waited, missing });
            return;
        }
        let (outcome, events) = match command {
            Command::Start(start) => {
                self.job = Some(start.uid);
                let started = Event::Job(JobEvent::Started { uid: start.uid });
                (
                    Outcome::Verified,
                    vec![started, Event::Activity(Activity::Printing)],
                )
            }
            Command::Pause => {
                let why = PauseReason::Requested;
                let paused = Event::Activity(Activity::Paused(why));
                (
                    Outcome::Verified,
                    vec![Event::Job(JobEvent::Paused { uid, why }), paused],
                )
            }
            Command::Resume => {
                let resumed = Event::Job(JobEvent::Resumed { uid });
                (
                    Outcome::Verified,
                    vec![resumed, Event::Activity(Activity::Printing)],
                )
            }
            Command::Cancel(_) => {
                let ended = Event::Job(JobEvent::Cancelled {
                    uid,
                    filament_mm: Some(vec![12.5]),
                });
                (Outcome::Verified, vec![ended, Event::Activity(Activity::Idle)])
            }
            Command::SkipObjects { ids } => (Outcome::Verified, vec![Event::Skipped(ids)]),
            Command::Answer { .. } => (Outcome::Verified, vec![Event::NoticeCleared("prompt".to_owned())]),
            Command::SendGcode { lines, .. } if lines.iter().any(|l| l == "M9999") => {
                let by_printer = "Unknown command: \"M9999\"".to_owned();
                (
                    Outcome::Rejected {
                        by_printer,
                        fault: None,
                    },
                    Vec::new(),
                )
            }
            Command::SendGcode { lines, .. } if lines.iter().any(|l| l == "M9998") => {
                let waited = std::time::Duration::from_secs(9);
                (
                    Outcome::Unverified {
                        waited,
                        missing: Missing::Ack,
                    },
                    Vec::new(),
                )
            }
            _ => (Outcome::Sent, Vec::new()),
        };
        for event in events {
            let _ = link.events.send(event).await;
        }
        let _ = reply.send(outcome);
    }
}
