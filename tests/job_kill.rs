//! The database under `kill -9`: whatever was reported as written is there afterwards, in order.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may be blunt"
)]
#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use layerd::job::record::{JobRecord, JobState};
use layerd::job::store::{FILE_NAME, JobFilter, StartSeen, Store};
use layerd::printer::event::{Checkpoint, JournalLine};
use layerd::printer::model::Origin;
use uuid::Uuid;

const DIR: &str = "LAYERD_TEST_KILL_DIR";

/// Not a test of its own: the process that gets killed. Says what is written after it was written.
#[tokio::test]
#[ignore = "the victim of the test below"]
async fn victim() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let store = Store::open(&Path::new(&dir).join(FILE_NAME)).expect("opens");
    let mut out = std::io::stdout();
    for round in 0_u32.. {
        let uid = Uuid::new_v4();
        let mut job = JobRecord::new(uid, "ender", "cube.gcode", Origin::Ours, Timestamp::now());
        job.state = JobState::Starting;
        let start_id = uid.to_string();
        let seen = store.job_start(&start_id, job.clone()).await.expect("started");
        assert!(matches!(seen, StartSeen::New(_)));
        writeln!(out, "\nKILL {uid} starting").expect("said");
        job.state = JobState::Running;
        job.started = Some(Timestamp::now());
        store.job_put(job.clone()).await.expect("put");
        writeln!(out, "\nKILL {uid} running").expect("said");
        for line in 0..round % 7 {
            store.checkpoint(
                uid,
                Checkpoint {
                    line: u64::from(line),
                    ..Checkpoint::default()
                },
            );
            let at = Timestamp::now();
            store.journal_append(
                "ender",
                JournalLine {
                    at,
                    text: format!("line {line}"),
                },
            );
            job.percent = Some(line as f32);
            store.job_put_soon(job.clone());
        }
        job.state = JobState::Done;
        job.ended = Some(Timestamp::now());
        store.job_put(job).await.expect("put");
        writeln!(out, "\nKILL {uid} done").expect("said");
    }
}

fn rank(word: &str) -> u8 {
    match word {
        "starting" => 1,
        "running" => 2,
        "done" => 3,
        other => panic!("unknown word {other}"),
    }
}

/// Runs a victim for a moment; gives the last reported state of each of its jobs.
fn run_and_kill(dir: &Path, after: Duration) -> Vec<(Uuid, u8)> {
    let mut child = Command::new(std::env::current_exe().expect("own path"))
        .args(["--exact", "victim", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let output = BufReader::new(child.stdout.take().expect("piped"));
    let reader = std::thread::spawn(move || {
        let mut said: Vec<(Uuid, u8)> = Vec::new();
        for line in output.lines().map_while(Result::ok) {
            let mut words = line.split_whitespace();
            if words.next() != Some("KILL") {
                continue;
            }
            let (Some(uid), Some(word)) = (words.next(), words.next()) else {
                continue;
            };
            let Ok(uid) = Uuid::parse_str(uid) else { continue };
            match said.iter_mut().find(|(known, _)| *known == uid) {
                Some((_, state)) => *state = rank(word),
                None => said.push((uid, rank(word))),
            }
        }
        said
    });
    #[allow(
        clippy::disallowed_methods,
        reason = "the random instant of the kill is the test"
    )]
    std::thread::sleep(after);
    child.kill().expect("killed");
    child.wait().expect("gone");
    reader.join().expect("read")
}

fn rank_of(state: JobState) -> u8 {
    match state {
        JobState::Starting => 1,
        JobState::Running => 2,
        JobState::Done => 3,
        other => panic!("a state that was never written: {other:?}"),
    }
}

#[tokio::test]
async fn no_reported_change_is_lost_when_the_process_is_killed() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join(FILE_NAME);
    let rounds = std::env::var("LAYERD_TEST_KILLS").map_or(12, |n| n.parse().expect("a number"));
    let mut known: Vec<(Uuid, u8)> = Vec::new();
    for _ in 0..rounds {
        // The time is chance on purpose: the kill is to hit every place once in a while.
        let after = Duration::from_millis(60 + fastrand::u64(0..240));
        known.extend(run_and_kill(dir.path(), after));

        let store = Store::open(&path).expect("opens after a kill");
        assert_eq!(
            store.set_aside().await,
            Ok(None),
            "a killed writer damages nothing"
        );
        for (uid, least) in &known {
            let job = store.job(*uid).await.expect("readable").expect("not lost");
            assert!(rank_of(job.state) >= *least, "{uid} went back to {:?}", job.state);
            assert_eq!(
                store.start_seen(&uid.to_string()).await,
                Ok(true),
                "a start twice"
            );
        }
        let (_, total) = store.jobs(JobFilter::default()).await.expect("readable");
        assert!(total >= known.len() as u64);
        store.close(Duration::from_secs(5)).await.expect("closed");
        let conn = rusqlite::Connection::open(&path).expect("opens");
        let verdict: String = conn
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .expect("checked");
        assert_eq!(verdict, "ok");
        let twice: i64 = conn
            .query_row("SELECT COUNT(*) - COUNT(DISTINCT uid) FROM jobs", [], |row| {
                row.get(0)
            })
            .expect("counted");
        assert_eq!(twice, 0);
    }
    assert!(!known.is_empty(), "no victim lived long enough to write anything");
    println!("{rounds} kills, {} jobs reported, none lost", known.len());
}
