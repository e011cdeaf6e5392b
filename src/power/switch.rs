//! The task of one switch, and the handle that others hold.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};

use super::machine::{Action, Latch, Machine, Order, OrderId};
use super::relay::Ask;
use super::wire::Wire;
use crate::config::model::Power;
use crate::printer::fault::Fault;
use crate::printer::model::Supply;
use crate::printer::outcome::{Missing, Outcome};

/// Orders waiting; when full the orderer is told "busy".
const ORDERS_MAX: usize = 8;

/// Longest that an order takes to its end: a cut is tried for a minute, each try up to the limits of
/// the way to the switch.
const ORDER_LIMIT: Duration = Duration::from_secs(600);

/// The handle of a switch. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Switch {
    orders: mpsc::Sender<Waiting>,
    level: watch::Receiver<Option<Supply>>,
    next: Arc<AtomicU64>,
    on_connect: bool,
    /// It was switched off or cut before the restart.
    put_off: bool,
    connected_before: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Waiting {
    id: OrderId,
    order: Order,
    end: oneshot::Sender<Outcome>,
}

impl Switch {
    /// What was last seen of it; `None` until it was looked at.
    pub fn level(&self) -> watch::Receiver<Option<Supply>> {
        self.level.clone()
    }

    /// Gives an order without waiting for its end.
    ///
    /// # Errors
    /// Too many orders wait.
    pub fn order(&self, order: Order) -> Result<oneshot::Receiver<Outcome>, Outcome> {
        let (end, ended) = oneshot::channel();
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        match self.orders.try_send(Waiting { id, order, end }) {
            Ok(()) => Ok(ended),
            Err(_) => Err(Outcome::refused(
                "refused/busy",
                "The power switch is busy with other orders. Try again in a moment.",
            )),
        }
    }

    /// Gives an order and waits for its end.
    pub async fn ordered(&self, order: Order) -> Outcome {
        match self.order(order) {
            Err(refused) => refused,
            Ok(ended) => match tokio::time::timeout(ORDER_LIMIT, ended).await {
                Ok(Ok(outcome)) => outcome,
                _ => Outcome::Unverified {
                    waited: ORDER_LIMIT,
                    missing: Missing::Ack,
                },
            },
        }
    }

    /// Before the first connection of this run: switches on where that is wanted, and where nobody has
    /// switched off.
    pub async fn before_connecting(&self) {
        if !self.on_connect || self.connected_before.swap(true, Ordering::Relaxed) {
            return;
        }
        if !self.put_off {
            let _ = self.ordered(Order::On).await;
        }
    }
}

/// Makes the handle of a switch and the task that serves it. The caller keeps the task.
///
/// `memory`: a file that remembers that it was switched off or cut.
///
/// # Errors
/// No TLS on this host.
pub fn switch(settings: &Power, memory: PathBuf) -> Result<(Switch, BoxFuture<'static, ()>), Fault> {
    let wire = Wire::new(&settings.kind)?;
    let latch = remembered(&memory);
    let (orders, inbox) = mpsc::channel(ORDERS_MAX);
    let (told, level) = watch::channel(None);
    let handle = Switch {
        orders,
        level,
        next: Arc::new(AtomicU64::new(1)),
        on_connect: settings.on_connect,
        put_off: latch != Latch::None,
        connected_before: Arc::new(AtomicBool::new(false)),
    };
    let task = Task {
        machine: Machine::new(Instant::now(), latch),
        wire,
        inbox,
        told,
        waiting: Vec::new(),
        memory,
    };
    Ok((handle, Box::pin(task.run())))
}

struct Task {
    machine: Machine,
    wire: Wire,
    inbox: mpsc::Receiver<Waiting>,
    told: watch::Sender<Option<Supply>>,
    /// Who waits for which order; at most as many as were taken and have not ended.
    waiting: Vec<(OrderId, oneshot::Sender<Outcome>)>,
    memory: PathBuf,
}

impl Task {
    async fn run(mut self) {
        loop {
            while let Some(action) = self.machine.poll() {
                match action {
                    Action::Switch(on) => {
                        if !self.ask(Ask::Set(on)).await {
                            return;
                        }
                    }
                    Action::Look => {
                        if !self.ask(Ask::State).await {
                            return;
                        }
                    }
                    other => self.tell(other).await,
                }
            }
            let due = self.machine.deadline();
            let until = due.unwrap_or_else(|| Instant::now() + Duration::from_secs(1));
            tokio::select! {
                biased;
                order = self.inbox.recv() => match order {
                    Some(order) => self.take(order),
                    None => return,
                },
                () = tokio::time::sleep_until(until.into()) => self.machine.tick(Instant::now()),
            }
        }
    }

    async fn tell(&mut self, action: Action) {
        match action {
            Action::Reply(id, outcome) => {
                if let Some(at) = self.waiting.iter().position(|(of, _)| *of == id) {
                    let (_, end) = self.waiting.swap_remove(at);
                    let _ = end.send(outcome);
                }
            }
            Action::Level(supply) => {
                self.told.send_replace(Some(supply));
            }
            Action::Remember(latch) => remember(&self.memory, latch).await,
            Action::Switch(_) | Action::Look => {}
        }
    }

    fn take(&mut self, order: Waiting) {
        self.waiting.push((order.id, order.end));
        self.machine.order(Instant::now(), order.id, order.order);
    }

    /// Asks the switch; a new order interrupts, so that a cut waits for nobody. `false`: all handles
    /// are gone.
    async fn ask(&mut self, ask: Ask) -> bool {
        let answer = tokio::select! {
            biased;
            order = self.inbox.recv() => Err(order),
            done = self.wire.ask(ask) => Ok(done),
        };
        match (answer, ask) {
            (Ok(done), Ask::Set(_)) => self.machine.switched(Instant::now(), done.map(drop)),
            (Ok(seen), Ask::State) => self.machine.seen(Instant::now(), seen),
            (Err(Some(order)), _) => {
                self.take(order);
                self.machine.interrupted();
            }
            (Err(None), _) => return false,
        }
        true
    }
}

fn remembered(memory: &std::path::Path) -> Latch {
    match std::fs::read(memory) {
        Ok(word) if word.starts_with(b"off") => Latch::Off,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Latch::None,
        // Unreadable is not "may be switched on".
        _ => Latch::Cut,
    }
}

/// One small file: it changes when a person switches.
async fn remember(memory: &std::path::Path, latch: Latch) {
    let word = match latch {
        Latch::None => None,
        Latch::Off => Some("off\n"),
        Latch::Cut => Some("cut\n"),
    };
    let done = match word {
        None => tokio::fs::remove_file(memory).await,
        Some(word) => match memory.parent() {
            Some(parent) => match tokio::fs::create_dir_all(parent).await {
                Ok(()) => tokio::fs::write(memory, word).await,
                Err(e) => Err(e),
            },
            None => Ok(()),
        },
    };
    match done {
        Err(e) if !(word.is_none() && e.kind() == std::io::ErrorKind::NotFound) => {
            tracing::error!(code = "power/not-kept", "{}: {e}", memory.display());
        }
        _ => {}
    }
}
