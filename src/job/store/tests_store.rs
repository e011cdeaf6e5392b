use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::jobs::{Mark, is_news};
use super::*;
use crate::job::record::{EndedBy, JobRecord, JobState, PauseSpan, TimelineEntry};
use crate::printer::event::{Checkpoint, JournalLine};
use crate::printer::fault::{Fault, Severity};
use crate::printer::model::{Origin, PauseReason};
use crate::printer::notice::{Level, Notice};

fn at(s: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + s).unwrap()
}

fn record(printer: &str, file: &str) -> JobRecord {
    JobRecord::new(Uuid::new_v4(), printer, file, Origin::Ours, at(0))
}

fn full(printer: &str) -> JobRecord {
    JobRecord {
        sha256: Some("ab".repeat(32)),
        size: Some(123_456),
        state: JobState::Interrupted,
        started: Some(at(5)),
        ended: Some(at(125)),
        percent: Some(48.5),
        layer: Some(12),
        filament_mm: vec![60.25, 0.0, 3.5],
        fault: Some(
            Fault::new(Severity::NeedsUser, "marlin/thermal-runaway", "a", "b", "c").with_raw("Error:x"),
        ),
        cancel_reason: Some(3),
        cancel_comment: Some("nothing ‘came’ out".to_owned()),
        pauses: vec![PauseSpan {
            from: at(10),
            to: Some(at(40)),
            why: PauseReason::Runout,
        }],
        timeline: vec![TimelineEntry {
            at: at(5),
            what: "started".to_owned(),
        }],
        skipped: vec![1, 3],
        checkpoint: Some(Checkpoint {
            line: 77,
            byte: 4096,
            layer: Some(12),
            z_mm: Some(2.4),
            targets_c: [("tool0".to_owned(), 210.0)].into(),
            filament_mm: vec![60.0],
        }),
        rating: Some(4),
        ended_by: Some(EndedBy::Fault),
        ..record(printer, "cube.gcode")
    }
}

fn file(dir: &tempfile::TempDir) -> std::path::PathBuf {
    dir.path().join(FILE_NAME)
}

async fn reopen(store: Store, path: &Path) -> Store {
    store.close(Duration::from_secs(5)).await.unwrap();
    drop(store);
    Store::open(path).unwrap()
}

#[tokio::test]
async fn a_job_comes_back_as_it_was_put_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&file(&dir)).unwrap();
    let mut job = full("ender");
    job.id = store.job_put(job.clone()).await.unwrap();
    assert_eq!(job.id, 1);
    let store = reopen(store, &file(&dir)).await;
    assert_eq!(store.job(job.uid).await.unwrap(), Some(job.clone()));
    assert_eq!(store.job_by_id(1).await.unwrap(), Some(job));
    assert_eq!(store.job_by_id(2).await.unwrap(), None);
}

#[tokio::test]
async fn printer_numbers_are_small_and_stay_through_rename_and_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&file(&dir)).unwrap();
    assert_eq!(store.printer_id("a", "marlin").await.unwrap(), 1);
    assert_eq!(store.printer_id("b", "bambu").await.unwrap(), 2);
    assert_eq!(store.printer_id("a", "moonraker").await.unwrap(), 1);
    let store = reopen(store, &file(&dir)).await;
    assert!(store.rename_printer("b", "x1c").await.unwrap());
    assert!(
        !store.rename_printer("x1c", "a").await.unwrap(),
        "the name is taken"
    );
    assert_eq!(store.printer_id("x1c", "bambu").await.unwrap(), 2);
    assert_eq!(store.printer_id("b", "bambu").await.unwrap(), 3);
}

#[tokio::test]
async fn the_same_start_twice_makes_one_job() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&file(&dir)).unwrap();
    let first = record("ender", "cube.gcode");
    assert_eq!(
        store.job_start("cloud-7", first.clone()).await.unwrap(),
        StartSeen::New(1)
    );
    let store = reopen(store, &file(&dir)).await;
    let again = store
        .job_start("cloud-7", record("ender", "cube.gcode"))
        .await
        .unwrap();
    let StartSeen::Again(Some(job)) = again else {
        panic!("{again:?}")
    };
    assert_eq!(job.uid, first.uid);
    assert_eq!(store.jobs(JobFilter::default()).await.unwrap().1, 1);
    assert!(!store.start_seen("other").await.unwrap());
    assert!(
        !store.start_seen("other").await.unwrap(),
        "asking records nothing"
    );
    assert!(store.start_seen("cloud-7").await.unwrap());
}

#[tokio::test]
async fn the_live_job_is_found_and_progress_is_seen_before_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&file(&dir)).unwrap();
    let mut job = record("ender", "cube.gcode");
    assert_eq!(store.active_job("ender").await.unwrap(), None);
    job.state = JobState::Running;
    job.id = store.job_put(job.clone()).await.unwrap();
    job.percent = Some(3.0);
    assert!(store.job_put_soon(job.clone()));
    store.checkpoint(
        job.uid,
        Checkpoint {
            line: 9,
            ..Checkpoint::default()
        },
    );
    let seen = store.active_job("ender").await.unwrap().unwrap();
    assert_eq!(seen.percent, Some(3.0));
    assert_eq!(seen.checkpoint.map(|c| c.line), Some(9));
    job.state = JobState::Done;
    job.ended = Some(at(60));
    assert!(store.job_put_soon(job.clone()));
    assert_eq!(store.active_job("ender").await.unwrap(), None);
    let done = store.job(job.uid).await.unwrap().unwrap();
    assert_eq!(done.state, JobState::Done);
    assert_eq!(done.checkpoint, None, "a complete job has no place to go on from");
}

#[test]
fn times_that_a_set_clock_moved_are_more_than_progress() {
    let job = JobRecord {
        state: JobState::Running,
        ..full("ender")
    };
    let mark = Mark::of(&job);
    let further = JobRecord {
        percent: Some(50.0),
        ..job.clone()
    };
    assert!(!is_news(mark, &further));
    for moved in [
        JobRecord {
            created: at(-86_400),
            ..job.clone()
        },
        JobRecord {
            started: Some(at(86_405)),
            ..job.clone()
        },
    ] {
        assert!(is_news(mark, &moved));
    }
}

#[tokio::test]
async fn closing_writes_what_nobody_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&file(&dir)).unwrap();
    let job = record("ender", "cube.gcode");
    store.job_put_soon(job.clone());
    store.checkpoint(
        job.uid,
        Checkpoint {
            line: 5,
            ..Checkpoint::default()
        },
    );
    for n in 0..3 {
        store.journal_append(
            "ender",
            JournalLine {
                at: at(n),
                text: format!("line {n}"),
            },
        );
    }
    let store = reopen(store, &file(&dir)).await;
    let seen = store.job(job.uid).await.unwrap().unwrap();
    assert_eq!(seen.checkpoint.map(|c| c.line), Some(5));
    store.journal_append(
        "ender",
        JournalLine {
            at: at(9),
            text: "fresh".to_owned(),
        },
    );
    let texts = |lines: Vec<JournalLine>| lines.into_iter().map(|l| l.text).collect::<Vec<_>>();
    assert_eq!(
        texts(store.journal("ender", 2).await.unwrap()),
        ["line 2", "fresh"]
    );
    assert_eq!(texts(store.journal("ender", 1).await.unwrap()), ["fresh"]);
    assert_eq!(store.journal("nobody", 5).await.unwrap(), []);
}

#[tokio::test]
async fn lists_are_filtered_sorted_and_paged() {
    let store = Store::memory().unwrap();
    for n in 0..30_i64 {
        let mut job = record(if n % 2 == 0 { "a" } else { "b" }, &format!("Part {n}.gcode"));
        job.created = at(n);
        job.state = if n % 3 == 0 {
            JobState::Done
        } else {
            JobState::Failed
        };
        job.started = (n != 7).then(|| at(100 - n));
        job.ended = Some(at(200));
        store.job_put(job).await.unwrap();
    }
    let (page, total) = store
        .jobs(JobFilter {
            page_size: 10,
            page: 3,
            ..JobFilter::default()
        })
        .await
        .unwrap();
    assert_eq!((page.len(), total), (10, 30));
    assert_eq!(page.first().map(|j| j.id), Some(10), "newest first");
    let only = JobFilter {
        printers: vec!["a".to_owned()],
        states: vec![JobState::Done],
        from: Some(at(6)),
        to: Some(at(18)),
        ..JobFilter::default()
    };
    let (jobs, total) = store.jobs(only).await.unwrap();
    assert_eq!(
        (jobs.iter().map(|j| j.file.as_str()).collect::<Vec<_>>(), total),
        (vec!["Part 12.gcode", "Part 6.gcode"], 2)
    );
    let (jobs, _) = store
        .jobs(JobFilter {
            sort: JobSort::StartedLast,
            page_size: 100,
            ..JobFilter::default()
        })
        .await
        .unwrap();
    assert_eq!(jobs.last().map(|j| j.file.as_str()), Some("Part 7.gcode"));
    let (jobs, total) = store
        .jobs(JobFilter {
            text: Some("PART 2".to_owned()),
            ..JobFilter::default()
        })
        .await
        .unwrap();
    assert_eq!((jobs.len(), total), (11, 11));
    let (none, total) = store
        .jobs(JobFilter {
            page: 99,
            ..JobFilter::default()
        })
        .await
        .unwrap();
    assert_eq!((none.len(), total), (0, 30));
    assert_eq!(store.jobs_delete(vec![1, 2, 99]).await.unwrap(), 2);
    assert_eq!(store.jobs_prune(20).await.unwrap(), 8);
    assert_eq!(store.jobs_prune(20).await.unwrap(), 0);
    let (left, _) = store
        .jobs(JobFilter {
            sort: JobSort::OldestFirst,
            ..JobFilter::default()
        })
        .await
        .unwrap();
    assert_eq!(left.first().map(|j| j.id), Some(11), "the oldest went");
}

#[tokio::test]
async fn starts_and_ends_are_counted_once() {
    let store = Store::memory().unwrap();
    let mut job = full("ender");
    job.state = JobState::Done;
    for _ in 0..3 {
        store.job_put(job.clone()).await.unwrap();
    }
    let mut cancelled = record("ender", "b.gcode");
    cancelled.state = JobState::Cancelled;
    store.job_put(cancelled).await.unwrap();
    assert_eq!(
        store.counters("ender").await.unwrap(),
        Counters {
            print_s: 90,
            started: 1,
            completed: 1,
            failed: 0,
            cancelled: 1,
            filament_mm: 63.75
        }
    );
    assert_eq!(store.counters("nobody").await.unwrap(), Counters::default());
}

#[tokio::test]
async fn notices_are_replaced_by_key_and_settled() {
    let store = Store::memory().unwrap();
    let fault = Fault::new(
        Severity::NeedsUser,
        "marlin/x",
        "It stopped.",
        "Because.",
        "Look.",
    );
    let first = Notice::of_fault(&fault, Level::Error, at(0));
    let second = Notice::of_fault(&fault, Level::Error, at(1));
    store.notice_put("ender", first).await.unwrap();
    let id = store.notice_put("ender", second.clone()).await.unwrap();
    let open = store.notices("ender").await.unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].notice, second);
    assert_eq!(open[0].id, id);
    assert!(
        store
            .notice_close("ender", "marlin/x", at(9), Some("retry".to_owned()))
            .await
            .unwrap()
    );
    assert!(
        !store
            .notice_close("ender", "marlin/x", at(9), None)
            .await
            .unwrap()
    );
    assert_eq!(store.notices("ender").await.unwrap(), []);
    let all = store.notice_history(None, true).await.unwrap();
    assert_eq!(
        (all.len(), all[0].closed, all[0].answer.as_deref()),
        (1, Some(at(9)), Some("retry"))
    );
}

#[tokio::test]
async fn settings_and_the_dirty_bed_survive() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&file(&dir)).unwrap();
    store.set_setting("pin.ender3", Some("by-id/x")).await.unwrap();
    store.set_bed_dirty("ender3", true).await.unwrap();
    let store = reopen(store, &file(&dir)).await;
    assert_eq!(
        store.setting("pin.ender3").await.unwrap().as_deref(),
        Some("by-id/x")
    );
    assert!(store.bed_dirty("ender3").await.unwrap());
    store.set_setting("pin.ender3", None).await.unwrap();
    assert_eq!(store.setting("pin.ender3").await.unwrap(), None);
    assert!(store.set_setting("big", Some(&"x".repeat(70_000))).await.is_err());
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_and_a_fresh_one_begun() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir);
    std::fs::write(
        &path,
        b"this is not a database at all, it is a diary; it goes on for a while",
    )
    .unwrap();
    let store = Store::open(&path).unwrap();
    let kept = store.set_aside().await.unwrap().unwrap();
    assert!(
        kept.file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("layerd.db.broken-")
    );
    assert!(std::fs::read(&kept).unwrap().starts_with(b"this is not"));
    assert_eq!(store.printer_id("a", "marlin").await.unwrap(), 1);
}

#[tokio::test]
async fn damage_met_while_running_loses_the_history_but_not_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir);
    let store = Store::open(&path).unwrap();
    store.printer_id("other", "marlin").await.unwrap();
    store.printer_id("ender", "marlin").await.unwrap();
    for n in 0..200 {
        let mut job = full("ender");
        job.file = format!("{n:0>400}.gcode");
        store.job_put(job).await.unwrap();
    }
    let store = reopen(store, &path).await;
    // Pages of tables are overwritten; the header stays, so opening does not see it.
    let size = std::fs::metadata(&path).unwrap().len();
    let garbage = vec![0xA5_u8; (size - 16384) as usize];
    let mut handle = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::io::Seek::seek(&mut handle, std::io::SeekFrom::Start(16384)).unwrap();
    std::io::Write::write_all(&mut handle, &garbage).unwrap();
    drop(handle);
    let first = store
        .jobs(JobFilter {
            page_size: 100,
            ..JobFilter::default()
        })
        .await;
    assert!(matches!(first, Err(StoreError::Broken { .. })), "{first:?}");
    assert_eq!(store.jobs(JobFilter::default()).await.unwrap().1, 0);
    assert_eq!(
        store.printer_id("ender", "marlin").await.unwrap(),
        2,
        "numbers stay"
    );
    store.job_put(full("ender")).await.unwrap();
    let store = reopen(store, &path).await;
    assert_eq!(store.jobs(JobFilter::default()).await.unwrap().1, 1);
}

#[tokio::test]
async fn a_file_of_a_later_version_or_in_use_or_of_others_is_refused_with_words() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir);
    let store = Store::open(&path).unwrap();
    let second = Store::open(&path).unwrap_err();
    assert_eq!(second, StoreError::InUse { path: path.clone() });
    store.close(Duration::from_secs(5)).await.unwrap();
    assert_eq!(store.setting("x").await, Err(StoreError::Closed));

    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.pragma_update(None, "user_version", 99).unwrap();
    drop(conn);
    let newer = Store::open(&path).unwrap_err();
    assert!(newer.to_string().contains("later version"), "{newer}");

    let foreign = dir.path().join("foreign.db");
    let conn = rusqlite::Connection::open(&foreign).unwrap();
    conn.pragma_update(None, "user_version", 1).unwrap();
    drop(conn);
    let other = Store::open(&foreign).unwrap_err();
    assert!(other.to_string().contains("another program"), "{other}");
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_named_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let blocked = dir.path().join("plain-file");
    std::fs::write(&blocked, b"x").unwrap();
    let error = Store::open(&blocked.join(FILE_NAME)).unwrap_err();
    assert!(error.to_string().contains("plain-file"), "{error}");
    assert_eq!(error.code(), "store/open");
}

#[tokio::test]
async fn a_stalled_disk_answers_busy_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir);
    let store = Store::open_with(&path, Duration::from_millis(50), Duration::from_millis(80)).unwrap();
    // Another writer holds the file: what a stalled disk looks like from here.
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let job = record("ender", "cube.gcode");
    assert_eq!(store.job_put(job.clone()).await, Err(StoreError::Busy));
    assert_eq!(
        store.job_start("late", record("ender", "late.gcode")).await,
        Err(StoreError::Busy)
    );
    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    // Whether or not the late start was recorded in the end, nothing may execute it.
    let patient = || async {
        for _ in 0..500 {
            if let Ok(Some(found)) = store.job(job.uid).await {
                return Some(found);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        None
    };
    assert_eq!(patient().await.map(|j| j.file), Some("cube.gcode".to_owned()));
}

#[tokio::test]
async fn a_full_disk_is_told_and_the_job_is_written_when_there_is_room_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir);
    let store = Store::open(&path).unwrap();
    // SQLite's own page limit answers exactly as a full disk does.
    let limit = |pages: i64| {
        store.call(move |db| {
            db.conn
                .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
                .map_err(|e| db.sort(e))
        })
    };
    limit(1).await.unwrap();
    let mut last = Ok(0);
    let mut jobs = Vec::new();
    for n in 0..100 {
        let mut job = full("ender");
        job.file = format!("{n:0>400}.gcode");
        last = store.job_put(job.clone()).await;
        jobs.push(job);
        if last.is_err() {
            break;
        }
    }
    let error = last.unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert!(error.to_string().contains("Free some space"));
    let unwritten = jobs.last().unwrap().uid;
    assert_eq!(
        store.jobs(JobFilter::default()).await.unwrap().1,
        jobs.len() as u64 - 1,
        "still readable"
    );
    assert!(
        store.job(unwritten).await.unwrap().is_some(),
        "also what is in memory alone"
    );
    limit(1 << 30).await.unwrap();
    store.flush().await.unwrap();
    assert_eq!(
        store.job(unwritten).await.unwrap().map(|j| j.uid),
        Some(unwritten)
    );
}

#[tokio::test]
async fn uploads_and_analyses_are_indexed() {
    let store = Store::memory().unwrap();
    let row = |id: &str, name: &str| UploadRow {
        id: id.to_owned(),
        sha256: "aa".to_owned(),
        name: name.to_owned(),
        size: 10,
        uploaded: at(0),
        expires: at(100),
        used: at(0),
    };
    store.upload_put(row("1", "a.gcode")).await.unwrap();
    let same = store
        .upload_put(UploadRow {
            uploaded: at(5),
            ..row("2", "a.gcode")
        })
        .await
        .unwrap();
    assert_eq!((same.id.as_str(), same.uploaded), ("1", at(5)));
    store.upload_put(row("3", "b.gcode")).await.unwrap();
    assert_eq!(store.uploads().await.unwrap().len(), 2);
    store.upload_used("aa", at(50), at(500)).await.unwrap();
    assert_eq!(
        store.upload("3").await.unwrap().map(|r| (r.used, r.expires)),
        Some((at(50), at(500)))
    );
    assert!(store.upload_remove("3").await.unwrap());
    assert_eq!(store.content_remove("aa").await.unwrap(), 1);

    assert!(store.analysis_put("aa", 1, "{}".to_owned(), at(0)).await.unwrap());
    assert_eq!(
        store.analysis("aa", 1).await.unwrap().map(|a| a.body).as_deref(),
        Some("{}")
    );
    assert_eq!(store.analysis("aa", 2).await.unwrap(), None);
    assert!(
        !store
            .analysis_put("bb", 1, "x".repeat(2 << 20), at(0))
            .await
            .unwrap()
    );

    let mut live = full("ender");
    live.state = JobState::Running;
    store.job_put(live.clone()).await.unwrap();
    assert_eq!(store.contents_in_use().await.unwrap(), [live.sha256.unwrap()]);
}

#[tokio::test]
async fn a_copy_holds_everything() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&file(&dir)).unwrap();
    store.job_put_soon(record("ender", "cube.gcode"));
    let copy = dir.path().join("backup.db");
    store.copy_to(&copy).await.unwrap();
    let second = Store::open(&copy).unwrap();
    assert_eq!(second.jobs(JobFilter::default()).await.unwrap().1, 1);
}

#[tokio::test]
async fn a_mistake_in_one_call_does_not_end_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&file(&dir)).unwrap();
    let broken: Result<(), StoreError> = store
        .call(|db| {
            db.in_one(|tx| {
                tx.execute("INSERT INTO settings (key, value) VALUES ('half', 'done')", [])?;
                panic!("a mistake")
            })
        })
        .await;
    assert!(broken.is_err());
    assert_eq!(store.setting("half").await, Ok(None), "rolled back");
    store.job_put(record("ender", "cube.gcode")).await.unwrap();
}
