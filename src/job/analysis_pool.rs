//! Analysis of files in the background: one thread, lowest priority, so that a big file never delays
//! a serial line. Results are kept by content, in memory and in the database.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::preflight::Limits;
use super::spool::Spool;
use super::timing::Timing;
use crate::gcode::analysis::Analysis;
use crate::gcode::analyze::Options;
use crate::gcode::analyze_file::analyze_file;
use crate::gcode::follow_file::FollowFile;
use crate::gcode::index::Index;
use crate::json;
use crate::printer::fault::{Fault, Severity};

/// Files waiting to be analyzed; when full the asker is told "busy".
const WAITING_MAX: usize = 8;

/// Results kept in memory; the others come from the database.
const KEPT_MAX: usize = 8;

/// Raised when the analyzer finds more or other things: results of older ones are not used.
const ANALYZER: u32 = 2;

/// Longest wait for a result: gigabytes on the slowest board.
const LONGEST: Duration = Duration::from_secs(20 * 60);

/// Analyzes a file.
pub type Analyze = fn(&Path, &Options) -> std::io::Result<Analysis>;

type Kept = Arc<Mutex<VecDeque<(String, Arc<Analysis>)>>>;

/// One piece of work; it answers its asker itself.
type Order = Box<dyn FnOnce() + Send>;

/// The pool; cheap to clone.
#[derive(Clone)]
pub struct AnalysisPool {
    spool: Spool,
    orders: mpsc::Sender<Order>,
    kept: Kept,
    analyze: Analyze,
    done: Arc<AtomicU64>,
}

impl std::fmt::Debug for AnalysisPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AnalysisPool")
    }
}

impl AnalysisPool {
    /// Starts the thread. It ends when the last handle is gone.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(spool: Spool, analyze: Analyze) -> std::io::Result<Self> {
        let (orders, inbox) = mpsc::channel::<Order>(WAITING_MAX);
        let done = Arc::<AtomicU64>::default();
        std::thread::Builder::new()
            .name("analysis".to_owned())
            .stack_size(1 << 20)
            .spawn({
                let done = done.clone();
                move || work(inbox, &done)
            })?;
        Ok(AnalysisPool {
            spool,
            orders,
            kept: Kept::default(),
            analyze,
            done,
        })
    }

    /// How many pieces of work are done.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// The analysis of a file that was analyzed before, even if it has left the spool since.
    pub async fn known(&self, sha256: &str) -> Option<Arc<Analysis>> {
        if let Some(known) = find(&self.kept, sha256) {
            return Some(known);
        }
        let text = self
            .spool
            .store()
            .analysis(sha256, ANALYZER)
            .await
            .ok()
            .flatten()?;
        let analysis = Arc::new(json::read::<Analysis>(&text.body).ok()?);
        keep(&self.kept, sha256, &analysis);
        Some(analysis)
    }

    /// The analysis of a spool file: kept, or made now.
    ///
    /// # Errors
    /// Too many files wait, or this one cannot be read.
    pub async fn analysis(&self, sha256: &str) -> Result<Arc<Analysis>, Fault> {
        if let Some(known) = self.known(sha256).await {
            return Ok(known);
        }
        let (kept, sha, path) = (self.kept.clone(), sha256.to_owned(), self.spool.path_of(sha256));
        let analyze = self.analyze;
        let analysis = self
            .order(move || {
                // Another asker of the same file may have been served just now.
                if let Some(known) = find(&kept, &sha) {
                    return Ok(known);
                }
                let analysis = analyze(&path, &quick())
                    .map(Arc::new)
                    .map_err(|e| unreadable(&e))?;
                keep(&kept, &sha, &analysis);
                Ok(analysis)
            })
            .await?;
        self.put(sha256, &analysis).await;
        Ok(analysis)
    }

    /// The analysis of one plate of a project in the spool (`None`: the first). Those of other plates are
    /// kept in memory only: most projects have one.
    ///
    /// # Errors
    /// As [`AnalysisPool::analysis`], and when there is no such plate.
    pub async fn analysis_of(&self, sha256: &str, plate: Option<u32>) -> Result<Arc<Analysis>, Fault> {
        let Some(number) = plate else {
            return self.analysis(sha256).await;
        };
        let key = format!("{sha256}#{number}");
        if let Some(known) = find(&self.kept, &key) {
            return Ok(known);
        }
        let (kept, path, analyze) = (self.kept.clone(), self.spool.path_of(sha256), self.analyze);
        self.order(move || {
            let options = Options { plate, ..quick() };
            let analysis = analyze(&path, &options)
                .map(Arc::new)
                .map_err(|e| unreadable(&e))?;
            keep(&kept, &key, &analysis);
            Ok(analysis)
        })
        .await
    }

    /// The analysis of a spool file for one printer: its warnings name the lines that ask too much
    /// of it. Made anew each time.
    ///
    /// # Errors
    /// As [`AnalysisPool::analysis`].
    pub async fn analysis_for(
        &self,
        sha256: &str,
        plate: Option<u32>,
        limits: &Limits,
    ) -> Result<Arc<Analysis>, Fault> {
        let (path, analyze) = (self.spool.path_of(sha256), self.analyze);
        let options = Options {
            plate,
            ..options_for(limits)
        };
        self.order(move || analyze(&path, &options).map(Arc::new).map_err(|e| unreadable(&e)))
            .await
    }

    /// The times of a spool file, byte by byte; `None`: it has none. Made anew each time.
    ///
    /// # Errors
    /// As [`AnalysisPool::analysis`].
    pub async fn timing(&self, sha256: &str) -> Result<Option<Arc<Timing>>, Fault> {
        let path = self.spool.path_of(sha256);
        self.order(move || {
            let index = index_of_path(&path).map_err(|e| unreadable(&e))?;
            Ok(Timing::of(&index).map(Arc::new))
        })
        .await
    }

    /// Whether a spool file still is what was uploaded. Reads it all, unless this run of the daemon
    /// has done so and the file has not been written to since.
    ///
    /// # Errors
    /// It is damaged or cannot be read, or too many files wait.
    pub async fn verify(&self, sha256: &str) -> Result<(), Fault> {
        let (spool, sha) = (self.spool.clone(), sha256.to_owned());
        self.order(move || spool.verify(&sha)).await
    }

    /// Has something done on the thread; the answer comes when it is done.
    pub(super) fn begin<T: Send + 'static>(
        &self,
        f: impl FnOnce() -> Result<T, Fault> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, Fault>>, Fault> {
        let (reply, answer) = oneshot::channel();
        let order: Order = Box::new(move || {
            // The asker may have gone while it waited.
            if !reply.is_closed() {
                let _ = reply.send(f());
            }
        });
        self.orders.try_send(order).map_err(|_| {
            fault(
                "analysis/busy",
                "The file could not be checked: too many others are waiting.",
                "Several big files came at once.",
                "Try again in a minute.",
            )
        })?;
        Ok(answer)
    }

    /// Ends the analysis of a file that was followed while it came, and keeps it. Without success nothing is
    /// kept.
    pub(super) async fn complete(&self, follow: FollowFile, sha256: &str, size: u64) {
        let name = self.spool.path_of(sha256);
        let name = name.file_name().map(|n| n.to_string_lossy().into_owned());
        let finish = self.order(move || {
            let analysis = follow.finish(&name.unwrap_or_default(), size);
            analysis.map(Arc::new).map_err(|e| unreadable(&e))
        });
        if let Ok(analysis) = finish.await {
            keep(&self.kept, sha256, &analysis);
            self.put(sha256, &analysis).await;
        }
    }

    /// Keeps a result over a restart.
    async fn put(&self, sha256: &str, analysis: &Analysis) {
        if let Ok(body) = serde_json::to_string(analysis)
            && let Err(e) = self
                .spool
                .store()
                .analysis_put(sha256, ANALYZER, body, Timestamp::now())
                .await
        {
            tracing::debug!(code = e.code(), "an analysis was not kept: {e}");
        }
    }

    async fn order<T: Send + 'static>(
        &self,
        f: impl FnOnce() -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let answer = self.begin(f)?;
        match tokio::time::timeout(LONGEST, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(fault(
                "analysis/failed",
                "The file could not be analyzed.",
                "This is a mistake in layerd.",
                "Please report it with the file.",
            )),
            Err(_) => Err(fault(
                "analysis/slow",
                "The file could not be checked within 20 minutes.",
                "The disk or the processor is overloaded.",
                "Try again when other work is done.",
            )),
        }
    }
}

/// The thread.
fn work(mut inbox: mpsc::Receiver<Order>, done: &AtomicU64) {
    lower_priority();
    while let Some(order) = inbox.blocking_recv() {
        // A panic on a strange file must not end the pool; the asker sees a dropped reply.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(order));
        done.fetch_add(1, Ordering::Relaxed);
    }
}

pub(super) fn unreadable(error: &std::io::Error) -> Fault {
    fault(
        "analysis/unreadable",
        "The file could not be read.",
        "It is gone, or the disk or card is failing.",
        "Upload the file again.",
    )
    .with_raw(error.to_string())
}

/// Reads a file through the analyzer.
///
/// # Errors
/// When it cannot be read.
pub fn analyze_path(path: &Path, options: &Options) -> std::io::Result<Analysis> {
    analyze_file(path, options, &mut |_, _| true)
        .map(|(analysis, _)| analysis)
        .map_err(std::io::Error::other)
}

/// Reads a file for its index.
///
/// # Errors
/// When it cannot be read.
pub fn index_of_path(path: &Path) -> std::io::Result<Index> {
    let options = Options {
        index: true,
        ..quick()
    };
    analyze_file(path, &options, &mut |_, _| true)
        .map(|(_, index)| index)
        .map_err(std::io::Error::other)
}

/// What a start needs to know: everything but the index and the hash, which is the file's name.
pub(super) fn quick() -> Options {
    Options {
        index: false,
        hash: false,
        ..Options::default()
    }
}

fn options_for(limits: &Limits) -> Options {
    Options {
        bed: limits.bed(),
        max_tool_c: limits.max_tool_c.map(f64::from),
        max_bed_c: limits.max_bed_c.map(f64::from),
        time_model: false,
        ..quick()
    }
}

fn lock(kept: &Kept) -> MutexGuard<'_, VecDeque<(String, Arc<Analysis>)>> {
    kept.lock().unwrap_or_else(|e| e.into_inner())
}

fn find(kept: &Kept, sha256: &str) -> Option<Arc<Analysis>> {
    lock(kept)
        .iter()
        .find(|(sha, _)| sha == sha256)
        .map(|(_, analysis)| analysis.clone())
}

fn keep(kept: &Kept, sha256: &str, analysis: &Arc<Analysis>) {
    let mut kept = lock(kept);
    kept.retain(|(sha, _)| sha != sha256);
    if kept.len() >= KEPT_MAX {
        kept.pop_front();
    }
    kept.push_back((sha256.to_owned(), analysis.clone()));
}

fn fault(code: &'static str, what: &'static str, why: &'static str, remedy: &'static str) -> Fault {
    Fault::new(Severity::NeedsUser, code, what, why, remedy)
}

/// Niceness 19 for this thread alone (on Linux priorities belong to threads).
fn lower_priority() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19);
}

#[cfg(test)]
#[path = "tests_analysis_pool.rs"]
mod tests;
