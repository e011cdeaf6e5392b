//! Files on their way in: streamed to the spool, in one request or in several that share a token.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::extract::multipart::Field;
use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::envelope::Problem;
use super::form::broken;
use crate::job::spool::{Incoming, Spool};
use crate::job::store::UploadRow;
use crate::printer::fault::Fault;
use crate::sorted::SortedMap;

/// Largest part (documented: 100 MB a request).
pub const PART_MAX_BYTES: u64 = 100 << 20;

/// Uploads that may be open at once: those that arrive now, and those that wait for their next part.
/// When all are taken, one that has been waiting for [`IDLE`] or longer is given up; without such a one
/// the newcomer is told to come back (429).
pub const OPEN_MAX: usize = 8;

/// How long a token is good for (documented).
const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);

/// After this an upload that waits for its next part may be given up for another.
const IDLE: Duration = Duration::from_secs(3600);

/// Longest silence within a part.
const SILENCE: Duration = Duration::from_secs(60);

/// What stands beside the file in a form.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// Size of the whole file.
    pub total: Option<u64>,
    /// Continues an upload.
    pub token: Option<String>,
    /// The client knows no parts: only the spool's own limit counts.
    pub whole: bool,
}

/// What has come of an upload.
#[derive(Debug)]
pub enum Arrived {
    /// All of it.
    Whole(UploadRow),
    /// More is to come, under this token.
    Partly(String),
}

/// An upload that is not complete. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Open {
    incoming: Incoming,
    total: Option<u64>,
    written: u64,
    begun: Instant,
    touched: Instant,
    _place: OwnedSemaphorePermit,
}

/// All open uploads.
#[derive(Debug)]
pub struct Uploads {
    waiting: Mutex<SortedMap<String, Open>>,
    places: Arc<Semaphore>,
}

impl Default for Uploads {
    fn default() -> Self {
        Uploads {
            waiting: Mutex::default(),
            places: Arc::new(Semaphore::new(OPEN_MAX)),
        }
    }
}

impl Uploads {
    /// Takes one part. While it arrives the upload is out of the table: a second request with the same
    /// token finds nothing, and one that breaks off in the middle ends the upload.
    pub async fn take(
        &self,
        spool: &Spool,
        head: &Head,
        mut field: Field<'_>,
        now: Instant,
    ) -> Result<Open, Problem> {
        let mut open = match &head.token {
            Some(token) => self.resume(token, now)?,
            None => {
                let name = field.file_name().unwrap_or_default().to_owned();
                if name.is_empty() {
                    return Err(Problem::bad("The part `file` has no file name."));
                }
                self.begin(spool, &name, head.total, now).await?
            }
        };
        let mut part: u64 = 0;
        loop {
            let next = tokio::time::timeout(SILENCE, field.chunk()).await;
            let next = next.map_err(|_| {
                Problem::with(
                    StatusCode::REQUEST_TIMEOUT,
                    "The upload stood still for a minute and was ended.",
                )
            })?;
            let Some(chunk) = next.map_err(|e| broken(&e))? else {
                break;
            };
            let more = chunk.len() as u64;
            part = part.saturating_add(more);
            open.written = open.written.saturating_add(more);
            if part > PART_MAX_BYTES && !head.whole {
                return Err(too_large());
            }
            if open.total.is_some_and(|total| open.written > total) {
                return Err(Problem::bad(
                    "More bytes came than `totalSize` announced; the upload is given up.",
                ));
            }
            open.incoming.write(chunk).await.map_err(refused)?;
        }
        Ok(open)
    }

    /// After the whole form was read: complete, or waiting for the next part.
    pub async fn settle(&self, mut open: Open, head: &Head, now: Instant) -> Result<Arrived, Problem> {
        if head.token.is_none() {
            // `totalSize` may stand behind the file.
            open.total = head.total;
        }
        let total = open.total.unwrap_or(open.written);
        if open.written > total {
            return Err(Problem::bad(
                "More bytes came than `totalSize` announced; the upload is given up.",
            ));
        }
        if open.written == 0 {
            return Err(Problem::bad("The file is empty."));
        }
        if open.written == total {
            return open.incoming.finish().await.map(Arrived::Whole).map_err(refused);
        }
        open.touched = now;
        let token = match &head.token {
            Some(token) => token.clone(),
            None => Uuid::new_v4().simple().to_string(),
        };
        self.waiting().insert(token.clone(), open);
        Ok(Arrived::Partly(token))
    }

    fn resume(&self, token: &str, now: Instant) -> Result<Open, Problem> {
        let open = self.waiting().remove(token);
        open.filter(|o| now.saturating_duration_since(o.begun) < TOKEN_LIFE)
            .ok_or_else(|| {
                Problem::said("This upload is not known (any more). Begin again without `continueToken`.")
                    .coded("refused/unknown-token")
            })
    }

    async fn begin(
        &self,
        spool: &Spool,
        name: &str,
        total: Option<u64>,
        now: Instant,
    ) -> Result<Open, Problem> {
        let place = self.place(now)?;
        let incoming = spool.incoming(name, total).await.map_err(refused)?;
        Ok(Open {
            incoming,
            total,
            written: 0,
            begun: now,
            touched: now,
            _place: place,
        })
    }

    fn place(&self, now: Instant) -> Result<OwnedSemaphorePermit, Problem> {
        self.give_up(|open| now.saturating_duration_since(open.begun) >= TOKEN_LIFE);
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return Ok(place);
        }
        let oldest = self.waiting().values().map(|open| open.touched).min();
        if let Some(oldest) = oldest.filter(|at| now.saturating_duration_since(*at) >= IDLE) {
            self.give_up(|open| open.touched <= oldest);
        }
        self.places.clone().try_acquire_owned().map_err(|_| {
            Problem::with(
                StatusCode::TOO_MANY_REQUESTS,
                format!("{OPEN_MAX} uploads are open already. Try again when one of them is done."),
            )
        })
    }

    /// Removing a file takes the disk, so it is done outside of the lock.
    fn give_up(&self, which: impl Fn(&Open) -> bool) {
        let gone: Vec<Open> = {
            let mut waiting = self.waiting();
            let tokens: Vec<String> = waiting
                .iter()
                .filter(|(_, o)| which(o))
                .map(|(t, _)| t.clone())
                .collect();
            tokens.iter().filter_map(|token| waiting.remove(token)).collect()
        };
        drop(gone);
    }

    fn waiting(&self) -> MutexGuard<'_, SortedMap<String, Open>> {
        self.waiting.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// What the spool said no to.
fn refused(fault: Fault) -> Problem {
    let mut problem = Problem::said(fault.to_string());
    if let std::borrow::Cow::Borrowed(code) = fault.code {
        problem = problem.coded(code);
    }
    problem
}

/// A part beyond the documented size.
pub fn too_large() -> Problem {
    Problem::with(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!(
            "One request takes at most {} MB of a file; send the rest with `totalSize` and `continueToken`.",
            PART_MAX_BYTES >> 20
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::spool::Caps;
    use crate::job::store::Store;

    struct Bench {
        uploads: Uploads,
        spool: Spool,
        now: Instant,
        _dir: tempfile::TempDir,
    }

    fn bench() -> Bench {
        let dir = tempfile::tempdir().expect("dir");
        let store = Store::memory().expect("store");
        let spool = Spool::open(dir.path().join("spool"), store, Caps::default()).expect("spool");
        Bench {
            uploads: Uploads::default(),
            spool,
            now: Instant::now(),
            _dir: dir,
        }
    }

    impl Bench {
        /// Begins an upload of ten bytes and leaves it after four.
        async fn open(&self, at: Instant) -> Result<String, Problem> {
            let mut open = self.uploads.begin(&self.spool, "a.gcode", Some(10), at).await?;
            open.incoming.write("G28\n".into()).await.map_err(refused)?;
            open.written = 4;
            let head = Head {
                total: Some(10),
                ..Head::default()
            };
            match self.uploads.settle(open, &head, at).await? {
                Arrived::Partly(token) => Ok(token),
                Arrived::Whole(row) => panic!("complete: {row:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_token_is_good_for_a_day_and_for_one_request_at_a_time() {
        let bench = bench();
        let token = bench.open(bench.now).await.expect("open");
        let late = bench.now + TOKEN_LIFE;
        let open = bench
            .uploads
            .resume(&token, late - Duration::from_secs(1))
            .expect("still good");
        assert!(
            bench.uploads.resume(&token, bench.now).is_err(),
            "it is out while a part arrives"
        );
        let head = Head {
            token: Some(token.clone()),
            ..Head::default()
        };
        bench.uploads.settle(open, &head, bench.now).await.expect("kept");
        let told = bench.uploads.resume(&token, late).expect_err("too late");
        assert_eq!(told.code, "refused/unknown-token");
    }

    #[tokio::test]
    async fn one_that_waited_for_an_hour_makes_room_and_no_other() {
        let bench = bench();
        let mut tokens = Vec::new();
        for n in 0..OPEN_MAX as u64 {
            tokens.push(
                bench
                    .open(bench.now + Duration::from_secs(n))
                    .await
                    .expect("a place"),
            );
        }
        let early = bench
            .open(bench.now + IDLE - Duration::from_secs(1))
            .await
            .expect_err("full");
        assert_eq!(early.status, StatusCode::TOO_MANY_REQUESTS);
        let later = bench.now + IDLE;
        bench.open(later).await.expect("the oldest gives way");
        assert!(bench.uploads.resume(&tokens[0], later).is_err());
        assert!(bench.uploads.resume(&tokens[1], later).is_ok());
    }
}
