use jiff::Timestamp;
use uuid::Uuid;

use super::*;
use crate::job::record::JobRecord;
use crate::printer::model::Origin;

const CLOUD: &str = "cloud";

#[tokio::test]
async fn documents_and_undelivered_things_survive_a_restart_and_keys_are_taken_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.upstream_doc(CLOUD, "a").await, Ok(None));
    store.upstream_doc_put(CLOUD, "a", "1".to_owned()).await.unwrap();
    store.upstream_doc_put(CLOUD, "a", "2".to_owned()).await.unwrap();
    for (key, body) in [("x", "first"), ("y", "second"), ("x", "again")] {
        store.outbox_put(CLOUD, "a", key, body.to_owned()).await.unwrap();
    }
    store
        .outbox_put(CLOUD, "b", "x", "of another printer".to_owned())
        .await
        .unwrap();
    store.close(Duration::from_secs(5)).await.unwrap();
    drop(store);

    let store = Store::open(&path).unwrap();
    assert_eq!(store.upstream_doc(CLOUD, "a").await, Ok(Some("2".to_owned())));
    assert_eq!(store.upstream_doc("other", "a").await, Ok(None));
    assert_eq!(store.outbox(CLOUD, "a").await.unwrap(), ["first", "second"]);
    store
        .outbox_done(CLOUD, "a", vec!["x".to_owned(), "unknown".to_owned()])
        .await
        .unwrap();
    assert_eq!(store.outbox(CLOUD, "a").await.unwrap(), ["second"]);
    assert_eq!(store.outbox(CLOUD, "b").await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_identity_moves_to_a_new_printer_once() {
    let store = Store::memory().unwrap();
    store
        .upstream_doc_put(CLOUD, "old", "identity".to_owned())
        .await
        .unwrap();
    store
        .outbox_put(CLOUD, "old", "x", "result".to_owned())
        .await
        .unwrap();
    assert_eq!(store.upstream_move("old", "new", "marlin").await, Ok(true));
    assert_eq!(
        store.upstream_doc(CLOUD, "new").await,
        Ok(Some("identity".to_owned()))
    );
    assert_eq!(store.upstream_doc(CLOUD, "old").await, Ok(None));
    assert_eq!(store.outbox(CLOUD, "new").await.unwrap(), ["result"]);
    assert_eq!(store.upstream_move("old", "new", "marlin").await, Ok(false));
}

#[tokio::test]
async fn a_start_leads_to_its_job() {
    let store = Store::memory().unwrap();
    let record = JobRecord::new(
        Uuid::new_v4(),
        "a",
        "x.gcode",
        Origin::Ours,
        Timestamp::UNIX_EPOCH,
    );
    store.job_start("s", record.clone()).await.unwrap();
    let found = store.job_of_start("s").await.unwrap().unwrap();
    assert_eq!(found.uid, record.uid);
    assert_eq!(store.job_of_start("t").await, Ok(None));
}
