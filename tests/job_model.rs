//! The database against a plain map: whatever is put in whatever order, with restarts in between,
//! reads as the newest version of everything.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test may be blunt")]

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use layerd::job::record::{JobRecord, JobState, TimelineEntry};
use layerd::job::store::{FILE_NAME, JobFilter, Store};
use layerd::printer::event::Checkpoint;
use layerd::printer::model::Origin;
use proptest::prelude::*;
use uuid::Uuid;

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8),
    PutSoon(u8, u8),
    Checkpoint(u8, u64),
    Start(u8, u8),
    Flush,
    Restart,
}

const STATES: [JobState; 5] = [
    JobState::Starting,
    JobState::Running,
    JobState::Done,
    JobState::Failed,
    JobState::Interrupted,
];

fn step() -> impl Strategy<Value = Step> {
    let job = 0..4_u8;
    prop_oneof![
        3 => (job.clone(), any::<u8>()).prop_map(|(j, n)| Step::Put(j, n)),
        4 => (job.clone(), any::<u8>()).prop_map(|(j, n)| Step::PutSoon(j, n)),
        4 => (job.clone(), any::<u32>()).prop_map(|(j, n)| Step::Checkpoint(j, u64::from(n))),
        2 => (job, 0..6_u8).prop_map(|(j, n)| Step::Start(j, n)),
        1 => Just(Step::Flush),
        1 => Just(Step::Restart),
    ]
}

fn record(job: u8, n: u8) -> JobRecord {
    let at = Timestamp::from_second(1_700_000_000 + i64::from(job)).expect("in range");
    let name = format!("printer{}", job % 2);
    let mut record = JobRecord::new(
        Uuid::from_u128(u128::from(job) + 1),
        &name,
        "a.gcode",
        Origin::Ours,
        at,
    );
    record.state = STATES[usize::from(n) % STATES.len()];
    record.percent = Some(f32::from(n) / 2.0);
    record.filament_mm = vec![f64::from(n) * 1.25];
    for k in 0..n % 4 {
        record.timeline.push(TimelineEntry {
            at,
            what: format!("step {k}"),
        });
    }
    record
}

/// What a plain map would hold. A position stays when a version without one comes, except at the end.
fn merge(model: &mut BTreeMap<Uuid, JobRecord>, mut new: JobRecord) {
    if let Some(old) = model.get(&new.uid) {
        new.checkpoint = new.checkpoint.or_else(|| old.checkpoint.clone());
    }
    if new.state == JobState::Done {
        new.checkpoint = None;
    }
    model.insert(new.uid, new);
}

async fn play(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join(FILE_NAME);
    let open = || Store::open_with(&path, Duration::from_millis(5), Duration::from_secs(10)).expect("opens");
    let mut store = open();
    let mut model: BTreeMap<Uuid, JobRecord> = BTreeMap::new();
    let mut starts: BTreeMap<u8, Uuid> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Put(job, n) => {
                let record = record(job, n);
                store.job_put(record.clone()).await.expect("written");
                merge(&mut model, record);
            }
            Step::PutSoon(job, n) => {
                let record = record(job, n);
                prop_assert!(store.job_put_soon(record.clone()));
                merge(&mut model, record);
            }
            Step::Checkpoint(job, line) => {
                let uid = Uuid::from_u128(u128::from(job) + 1);
                // Positions come for jobs that run.
                let running = model.get_mut(&uid).filter(|j| j.state == JobState::Running);
                if let Some(known) = running {
                    let checkpoint = Checkpoint {
                        line,
                        ..Checkpoint::default()
                    };
                    known.checkpoint = Some(checkpoint.clone());
                    store.checkpoint(uid, checkpoint);
                }
            }
            Step::Start(job, id) => {
                let mut record = record(job, 0);
                let uid = Uuid::from_u128(1000 + u128::from(id) * 10 + u128::from(job));
                record.uid = uid;
                let seen = store.job_start(&format!("start {id}"), record.clone()).await;
                let new = matches!(seen, Ok(layerd::job::store::StartSeen::New(_)));
                prop_assert_eq!(new, !starts.contains_key(&id), "each start once: {:?}", seen);
                if new {
                    starts.insert(id, uid);
                    merge(&mut model, record);
                }
            }
            Step::Flush => store.flush().await.expect("written"),
            Step::Restart => {
                store.close(Duration::from_secs(10)).await.expect("closed");
                store = open();
            }
        }
        let (jobs, total) = store
            .jobs(JobFilter {
                page_size: 100,
                ..JobFilter::default()
            })
            .await
            .expect("read");
        prop_assert_eq!(total as usize, model.len());
        for mut job in jobs {
            job.id = 0;
            prop_assert_eq!(Some(&job), model.get(&job.uid));
        }
        for printer in ["printer0", "printer1"] {
            let live = store.active_job(printer).await.expect("read");
            let any = model
                .values()
                .any(|j| j.printer == printer && !j.state.is_final());
            prop_assert_eq!(live.is_some(), any);
        }
    }
    store.close(Duration::from_secs(10)).await.expect("closed");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn reads_are_the_newest_version_of_everything(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(play(steps))?;
    }
}
