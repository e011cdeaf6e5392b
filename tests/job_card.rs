//! What an hour of printing writes to the card: at most 2 MB for each printer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may be blunt"
)]
#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use layerd::job::record::{JobRecord, JobState, PauseSpan, TimelineEntry};
use layerd::job::store::{FILE_NAME, Store};
use layerd::printer::event::{Checkpoint, JournalLine};
use layerd::printer::model::{Origin, PauseReason};
use uuid::Uuid;

/// Bytes that this process has handed to write calls, and bytes that went towards a disk.
fn written() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/self/io").expect("Linux counts them");
    let count = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|rest| rest.trim().parse().ok())
            .expect("a number")
    };
    (count("wchar:"), count("write_bytes:"))
}

fn live(printer: &str, now: Timestamp) -> JobRecord {
    let mut job = JobRecord::new(Uuid::new_v4(), printer, "big plate.gcode", Origin::Ours, now);
    job.sha256 = Some("ab".repeat(32));
    job.size = Some(30 << 20);
    job
}

fn note(job: &mut JobRecord, at: Timestamp, what: &str) {
    job.timeline.push(TimelineEntry {
        at,
        what: what.to_owned(),
    });
}

/// One hour on `printers` printers: start, a pause, positions every second, end.
async fn an_hour(store: &Store, printers: usize) {
    let begin = Timestamp::now();
    let mut jobs: Vec<JobRecord> = (0..printers)
        .map(|n| live(&format!("printer{n}"), begin))
        .collect();
    let journal = |job: &JobRecord, text: &str| {
        store.journal_append(
            &job.printer,
            JournalLine {
                at: Timestamp::now(),
                text: text.to_owned(),
            },
        );
    };
    for job in &mut jobs {
        job.state = JobState::Starting;
        let id = store
            .job_start(&job.uid.to_string(), job.clone())
            .await
            .expect("written");
        assert!(matches!(id, layerd::job::store::StartSeen::New(_)));
        job.state = JobState::Running;
        job.started = Some(begin);
        note(job, begin, "started");
        journal(job, "job started");
        store.job_put_soon(job.clone());
    }
    store.flush().await.expect("written");
    for minute in 0..60_i64 {
        let now = begin + SignedDuration::from_mins(minute);
        for job in &mut jobs {
            for second in 0..60_u64 {
                let line = minute as u64 * 6000 + second * 100;
                job.percent = Some(minute as f32 * 1.6);
                job.layer = Some(minute as u32 * 3);
                job.filament_mm = vec![line as f64 * 1.37];
                store.checkpoint(
                    job.uid,
                    Checkpoint {
                        line,
                        byte: line * 34,
                        layer: job.layer,
                        z_mm: Some(minute as f32 * 0.6),
                        targets_c: [("tool0".to_owned(), 215.0), ("bed".to_owned(), 60.0)].into(),
                        filament_mm: job.filament_mm.clone(),
                    },
                );
            }
            if minute == 20 || minute == 40 {
                // A pause and a resume: two changes of state.
                for (what, to) in [("paused", None), ("resumed", Some(now))] {
                    if to.is_none() {
                        job.pauses.push(PauseSpan {
                            from: now,
                            to,
                            why: PauseReason::Requested,
                        });
                    } else if let Some(pause) = job.pauses.last_mut() {
                        pause.to = to;
                    }
                    note(job, now, what);
                    journal(job, what);
                    store.job_put_soon(job.clone());
                    store.flush().await.expect("written");
                }
            }
            store.job_put_soon(job.clone());
        }
        until_written(store).await;
    }
    for job in &mut jobs {
        job.state = JobState::Done;
        job.ended = Some(begin + SignedDuration::from_mins(60));
        job.percent = Some(100.0);
        note(job, begin, "done");
        journal(job, "job done");
        store.job_put(job.clone()).await.expect("written");
    }
    store.close(Duration::from_secs(5)).await.expect("closed");
}

async fn until_written(store: &Store) {
    let limit = Instant::now() + Duration::from_secs(10);
    while store.unwritten() > 0 {
        assert!(Instant::now() < limit, "the minute's progress was not written");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn an_hour_of_printing_stays_below_two_megabytes_for_each_printer() {
    for printers in [1, 5] {
        let dir = tempfile::tempdir().expect("dir");
        // A minute passes in 20 ms; what is written per minute is the same.
        let every = Duration::from_millis(20);
        let store =
            Store::open_with(&dir.path().join(FILE_NAME), every, Duration::from_secs(10)).expect("opens");
        store.flush().await.expect("made");
        let (calls, disk) = written();
        an_hour(&store, printers).await;
        let (calls_after, disk_after) = written();
        let (calls, disk) = (calls_after - calls, disk_after - disk);
        println!(
            "{printers} printer(s), one hour: {} KB written for each ({} KB towards the disk)",
            calls / 1000 / printers as u64,
            disk / 1000 / printers as u64
        );
        assert!(
            calls / (printers as u64) < 2_000_000,
            "{calls} bytes for {printers} printers"
        );
    }
}
