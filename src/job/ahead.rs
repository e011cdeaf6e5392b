//! A file that comes slowly is analyzed while it comes, so that the start does not wait for that too.
//!
//! A gain, never a duty: whatever goes wrong here is done again when the file is complete.

use std::path::Path;

use tokio::sync::oneshot;

use super::analysis_pool::{AnalysisPool, quick};
use super::incoming::Incoming;
use crate::gcode::follow_file::FollowFile;
use crate::printer::fault::Fault;

/// So much has to be there before it is looked at again.
const STEP: u64 = 1 << 20;
/// So much is taken in at once at most: others wait for the same thread.
const STEP_MAX: u64 = 8 << 20;

/// The analysis of one file on its way.
#[derive(Debug)]
pub struct Ahead {
    pool: AnalysisPool,
    stands: Stands,
}

#[derive(Debug)]
enum Stands {
    /// Nothing is there yet.
    Fresh,
    Idle(FollowFile),
    Busy(oneshot::Receiver<Result<FollowFile, Fault>>),
    /// It is left for when the file is complete.
    Off,
}

impl Ahead {
    /// For a file of which nothing has come yet.
    pub fn new(pool: AnalysisPool) -> Self {
        Ahead {
            pool,
            stands: Stands::Fresh,
        }
    }

    /// More has come. Never waits.
    pub fn turn(&mut self, incoming: &Incoming) {
        self.stands = match std::mem::replace(&mut self.stands, Stands::Off) {
            Stands::Fresh if incoming.written() >= STEP => match incoming.path() {
                Some(path) => self.begin(path),
                None => Stands::Fresh,
            },
            Stands::Busy(mut answer) => match answer.try_recv() {
                Ok(Ok(follow)) => self.go_on(follow, incoming.written()),
                Ok(Err(_)) | Err(oneshot::error::TryRecvError::Closed) => Stands::Off,
                Err(oneshot::error::TryRecvError::Empty) => Stands::Busy(answer),
            },
            Stands::Idle(follow) => self.go_on(follow, incoming.written()),
            other => other,
        };
    }

    fn begin(&self, path: &Path) -> Stands {
        match FollowFile::open(path, &quick()) {
            Ok(follow) => self.take_in(follow),
            Err(_) => Stands::Off,
        }
    }

    fn go_on(&self, follow: FollowFile, written: u64) -> Stands {
        if written.saturating_sub(follow.taken()) < STEP {
            return Stands::Idle(follow);
        }
        self.take_in(follow)
    }

    fn take_in(&self, mut follow: FollowFile) -> Stands {
        let order = self.pool.begin(move || {
            follow
                .take_in(STEP_MAX)
                .map_err(|e| super::analysis_pool::unreadable(&e))?;
            Ok(follow)
        });
        order.map_or(Stands::Off, Stands::Busy)
    }

    /// The file is complete, under this name in the spool: its analysis is kept for whoever asks.
    pub async fn finish(self, sha256: &str, size: u64) {
        let follow = match self.stands {
            Stands::Idle(follow) => follow,
            Stands::Busy(answer) => match answer.await {
                Ok(Ok(follow)) => follow,
                _ => return,
            },
            Stands::Fresh | Stands::Off => return,
        };
        self.pool.complete(follow, sha256, size).await;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::gcode::analysis::Analysis;
    use crate::gcode::analyze::Options;
    use crate::job::analysis_pool::analyze_path;
    use crate::job::spool::{Caps, Spool};
    use crate::job::store::Store;

    fn spool(dir: &Path) -> Spool {
        let caps = Caps {
            free_bytes: 0,
            ..Caps::default()
        };
        Spool::open(dir.join("spool"), Store::memory().expect("memory"), caps).expect("a spool")
    }

    fn never(_: &Path, _: &Options) -> std::io::Result<Analysis> {
        Err(std::io::Error::other("the file was read again"))
    }

    async fn come(pool: &AnalysisPool, spool: &Spool, content: &[u8]) -> String {
        let mut incoming = spool.incoming("a.gcode", None).await.expect("begun");
        let mut ahead = Ahead::new(pool.clone());
        for piece in content.chunks(300_000) {
            incoming
                .write(Bytes::copy_from_slice(piece))
                .await
                .expect("taken");
            ahead.turn(&incoming);
        }
        let stored = incoming.finish().await.expect("stored");
        ahead.finish(&stored.sha256, stored.size).await;
        stored.sha256
    }

    #[tokio::test]
    async fn what_was_analyzed_on_its_way_is_the_same_and_is_not_read_again() {
        let text: String = (0..200_000)
            .map(|n| format!("G1 X{} Y{} E0.01 F1800\n", 50 + n % 100, 60 + n % 90))
            .collect();
        let text = format!(";FLAVOR:Marlin\nG28\nM109 S210\nG90\nM83\nG1 Z0.2 F600\n{text}");
        let dir = tempfile::tempdir().expect("a directory");
        let spool = spool(dir.path());
        let ahead = AnalysisPool::start(spool.clone(), never).expect("a pool");
        let sha256 = come(&ahead, &spool, text.as_bytes()).await;
        let early = ahead.analysis(&sha256).await.expect("it is there already");
        let late = analyze_path(&spool.path_of(&sha256), &quick()).expect("analyzed");
        assert_eq!(*early, late);
    }

    #[tokio::test]
    async fn what_is_packed_or_small_is_left_for_later() {
        let dir = tempfile::tempdir().expect("a directory");
        let spool = spool(dir.path());
        let pool = AnalysisPool::start(spool.clone(), never).expect("a pool");
        let packed = [b"GCDE".as_slice(), &vec![7; 3 << 20]].concat();
        for content in [packed.as_slice(), b"G28\n"] {
            let sha256 = come(&pool, &spool, content).await;
            pool.analysis(&sha256)
                .await
                .expect_err("asked for in the ordinary way");
        }
    }
}
