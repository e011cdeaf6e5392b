//! Analysis of files in the background: one thread, lowest priority, so that a big file never delays
//! a serial line.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, oneshot};

use super::spool::Spool;
use crate::gcode::analysis::Analysis;
use crate::printer::fault::{Fault, Severity};

/// Files waiting to be analyzed; when full the asker is told "busy".
const WAITING_MAX: usize = 8;

/// Results kept in memory.
const KEPT_MAX: usize = 32;

/// Analyzes a file.
pub type Analyze = fn(&std::path::Path) -> std::io::Result<Analysis>;

struct Order {
    path: PathBuf,
    reply: oneshot::Sender<std::io::Result<Analysis>>,
}

/// The pool; cheap to clone.
#[derive(Clone)]
pub struct AnalysisPool {
    spool: Spool,
    orders: mpsc::Sender<Order>,
    kept: Arc<Mutex<VecDeque<(String, Arc<Analysis>)>>>,
}

impl std::fmt::Debug for AnalysisPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AnalysisPool")
    }
}

impl AnalysisPool {
    /// Starts the thread. It ends when the last handle is gone.
    pub fn start(spool: Spool, analyze: Analyze) -> std::io::Result<Self> {
        let (orders, mut inbox) = mpsc::channel::<Order>(WAITING_MAX);
        std::thread::Builder::new()
            .name("analysis".to_owned())
            .stack_size(1 << 20)
            .spawn(move || {
                lower_priority();
                while let Some(order) = inbox.blocking_recv() {
                    // A panic on a strange file must not end the pool; the asker sees a dropped reply.
                    let result = std::panic::catch_unwind(|| analyze(&order.path));
                    if let Ok(result) = result {
                        let _ = order.reply.send(result);
                    }
                }
            })?;
        Ok(AnalysisPool {
            spool,
            orders,
            kept: Arc::default(),
        })
    }

    /// The analysis of a spool file: from memory, or made now.
    pub async fn analysis(&self, sha256: &str) -> Result<Arc<Analysis>, Fault> {
        if let Some(known) = self.known(sha256) {
            return Ok(known);
        }
        let (reply, answer) = oneshot::channel();
        let order = Order {
            path: self.spool.path_of(sha256),
            reply,
        };
        self.orders.try_send(order).map_err(|_| {
            fault(
                "analysis/busy",
                "The file could not be checked: too many others are waiting.",
                "Several big files came at once.",
                "Try again in a minute.",
            )
        })?;
        let analysis = match answer.await {
            Ok(Ok(analysis)) => Arc::new(analysis),
            Ok(Err(error)) => {
                return Err(fault(
                    "analysis/unreadable",
                    "The file could not be read.",
                    "The disk or card may be failing.",
                    "Upload the file again.",
                )
                .with_raw(error.to_string()));
            }
            Err(_) => {
                return Err(fault(
                    "analysis/failed",
                    "The file could not be analyzed.",
                    "This is a mistake in layerd.",
                    "Please report it with the file.",
                ));
            }
        };
        let mut kept = self.kept.lock().unwrap_or_else(|e| e.into_inner());
        if kept.len() >= KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back((sha256.to_owned(), analysis.clone()));
        Ok(analysis)
    }

    fn known(&self, sha256: &str) -> Option<Arc<Analysis>> {
        let kept = self.kept.lock().unwrap_or_else(|e| e.into_inner());
        kept.iter()
            .find(|(sha, _)| sha == sha256)
            .map(|(_, analysis)| analysis.clone())
    }
}

fn fault(code: &'static str, what: &'static str, why: &'static str, remedy: &'static str) -> Fault {
    Fault::new(Severity::NeedsUser, code, what, why, remedy)
}

/// Niceness 19 for this thread alone (on Linux priorities belong to threads).
fn lower_priority() {
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19);
}
