use std::fs;

use bytes::Bytes;

use super::*;
use crate::job::record::{JobRecord, JobState};
use crate::printer::model::Origin;

const WIDE: Caps = Caps {
    file_bytes: 1 << 20,
    total_bytes: 1 << 30,
    free_bytes: 0,
};

fn spool(dir: &Path, caps: Caps) -> Spool {
    Spool::open(dir.join("spool"), Store::memory().expect("store"), caps).expect("spool")
}

async fn put(spool: &Spool, name: &str, content: &[u8]) -> Result<StoredFile, Fault> {
    let mut incoming = spool.incoming(name, None).await?;
    incoming.write(Bytes::copy_from_slice(content)).await?;
    incoming.finish().await
}

/// Makes a file look as if it had not been used for a while.
async fn age(spool: &Spool, file: &StoredFile, s: i64) {
    let used = Timestamp::now() - SignedDuration::from_secs(s);
    spool
        .inner
        .store
        .upload_put(StoredFile { used, ..file.clone() })
        .await
        .expect("aged");
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir.join("spool"))
        .expect("there")
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_file_is_named_by_its_content_and_its_label_is_never_a_path() {
    let dir = tempfile::tempdir().expect("dir");
    let spool = spool(dir.path(), WIDE);
    let row = put(&spool, "../../etc/x.gcode", b"G28\n").await.expect("stored");
    assert_eq!(row.name, "x.gcode");
    // sha256sum of "G28\n".
    assert_eq!(names(dir.path()), [row.sha256.as_str()]);
    let program = spool.program(&row.sha256, &row.name).await.expect("there");
    assert_eq!(
        (fs::read(&program.path).expect("read").as_slice(), program.size),
        (b"G28\n".as_slice(), 4)
    );
    for evil in ["../../etc/passwd", "", "..", "ABCDEF", &"a".repeat(65)] {
        let path = spool.path_of(evil);
        assert_eq!(path.parent(), Some(dir.path().join("spool").as_path()), "{evil}");
        let fault = spool.program(evil, "x").await.expect_err("not there");
        assert_eq!(fault.code, "spool/missing");
    }
    assert_eq!(spool.file(&row.id).await, spool.file(&row.sha256).await);
}

#[tokio::test]
async fn content_in_many_pieces_arrives_as_it_was_sent() {
    let dir = tempfile::tempdir().expect("dir");
    let spool = spool(dir.path(), WIDE);
    let content: Vec<u8> = (0..700_000_u32).map(|n| (n * 7 % 251) as u8).collect();
    let mut incoming = spool
        .incoming("big.gcode", Some(content.len() as u64))
        .await
        .expect("begun");
    for piece in content.chunks(70_001) {
        incoming
            .write(Bytes::copy_from_slice(piece))
            .await
            .expect("taken");
    }
    let row = incoming.finish().await.expect("stored");
    assert_eq!(fs::read(spool.path_of(&row.sha256)).expect("read"), content);
    assert!(spool.is_intact(&row.sha256).await);
}

#[tokio::test]
async fn a_file_that_was_changed_on_the_disk_is_not_printed() {
    let dir = tempfile::tempdir().expect("dir");
    let spool = spool(dir.path(), WIDE);
    let row = put(&spool, "a.gcode", b"G28\n").await.expect("stored");
    fs::write(spool.path_of(&row.sha256), b"G29\n").expect("write");
    assert!(!spool.is_intact(&row.sha256).await, "same length, other content");
    fs::write(spool.path_of(&row.sha256), b"G28\nG1 Z0").expect("write");
    let fault = spool.program(&row.sha256, "a").await.expect_err("longer");
    assert_eq!(fault.code, "spool/damaged");
    // Uploading it again heals it.
    put(&spool, "a.gcode", b"G28\n").await.expect("stored");
    assert!(spool.program(&row.sha256, "a").await.is_ok());
}

#[tokio::test]
async fn an_upload_that_breaks_off_or_is_damaged_leaves_nothing() {
    let dir = tempfile::tempdir().expect("dir");
    let spool = spool(dir.path(), WIDE);
    let begun = |size| spool.incoming("a.gcode", size);
    let mut dropped = begun(None).await.expect("begun");
    dropped.write(Bytes::from_static(b"G28")).await.expect("taken");
    assert_eq!(names(dir.path()).len(), 1);
    drop(dropped);
    assert_eq!(names(dir.path()).len(), 0);

    let mut short = begun(Some(10)).await.expect("begun");
    short.write(Bytes::from_static(b"G28")).await.expect("taken");
    let fault = short.finish().await.expect_err("7 bytes are missing");
    assert!(fault.what.contains("3 of 10"), "{fault}");

    let mut other = begun(None).await.expect("begun");
    other.write(Bytes::from_static(b"G28")).await.expect("taken");
    let fault = other
        .finish_as(Some(&"0".repeat(64)))
        .await
        .expect_err("wrong sum");
    assert_eq!(fault.code, "spool/incomplete");
    assert_eq!(names(dir.path()).len(), 0);
}

#[tokio::test]
async fn caps_hold_for_announced_and_for_unannounced_sizes() {
    let dir = tempfile::tempdir().expect("dir");
    let caps = Caps {
        file_bytes: 8,
        total_bytes: 8,
        free_bytes: 0,
    };
    let spool = spool(dir.path(), caps);
    let fault = put(&spool, "big.gcode", b"123456789").await.expect_err("too big");
    assert_eq!(fault.code, "spool/too-big");
    let fault = spool.incoming("x", Some(9)).await.expect_err("too big");
    assert_eq!(fault.code, "spool/too-big");

    let kept = put(&spool, "kept.gcode", b"kept").await.expect("stored");
    let old = put(&spool, "old.gcode", b"old").await.expect("stored");
    age(&spool, &kept, 9000).await;
    age(&spool, &old, 3600).await;
    spool.pin(&kept.sha256, Uuid::nil());
    drop(spool.incoming("new.gcode", Some(4)).await.expect("room was made"));
    assert!(spool.program(&old.sha256, "old").await.is_err(), "removed");
    assert!(spool.program(&kept.sha256, "kept").await.is_ok(), "pinned");
    let fault = spool.incoming("more", Some(8)).await.expect_err("no room");
    assert_eq!(fault.code, "spool/no-space");
    spool.unpin(&kept.sha256, Uuid::nil());
    age(&spool, &kept, 9000).await;
    drop(spool.incoming("more", Some(8)).await.expect("room was made"));
}

#[tokio::test]
async fn the_file_of_a_live_or_interrupted_job_is_never_removed() {
    let dir = tempfile::tempdir().expect("dir");
    let caps = Caps {
        total_bytes: 8,
        ..WIDE
    };
    let spool = spool(dir.path(), caps);
    let live = put(&spool, "live.gcode", b"live").await.expect("stored");
    let mut job = JobRecord::new(
        Uuid::new_v4(),
        "ender",
        "live.gcode",
        Origin::Ours,
        Timestamp::now(),
    );
    job.sha256 = Some(live.sha256.clone());
    for (state, stays) in [
        (JobState::Running, true),
        (JobState::Interrupted, true),
        (JobState::Done, false),
    ] {
        job.state = state;
        spool.inner.store.job_put(job.clone()).await.expect("put");
        age(&spool, &live, 9000).await;
        let room = spool.incoming("x", Some(8)).await;
        assert_eq!(room.is_err(), stays, "{state:?}");
    }
}

#[tokio::test]
async fn what_was_used_before_the_clock_was_set_back_gives_way_too() {
    let dir = tempfile::tempdir().expect("dir");
    let caps = Caps {
        total_bytes: 8,
        ..WIDE
    };
    let spool = spool(dir.path(), caps);
    let old = put(&spool, "old.gcode", b"old!").await.expect("stored");
    assert!(
        spool.incoming("x", Some(8)).await.is_err(),
        "it has only just come"
    );
    age(&spool, &old, -86_400).await;
    assert!(spool.incoming("x", Some(8)).await.is_ok());
}

#[tokio::test]
async fn a_floor_of_free_space_is_kept() {
    let dir = tempfile::tempdir().expect("dir");
    let caps = Caps {
        free_bytes: u64::MAX / 2,
        ..WIDE
    };
    let fault = spool(dir.path(), caps)
        .incoming("x", None)
        .await
        .expect_err("no disk is that big");
    assert_eq!(fault.code, "spool/no-space");
    assert!(fault.to_string().contains("Free some space"), "{fault}");
}

#[tokio::test]
async fn opening_removes_parts_and_tidying_what_has_expired() {
    let dir = tempfile::tempdir().expect("dir");
    fs::create_dir_all(dir.path().join("spool")).expect("dir");
    fs::write(dir.path().join("spool/1-0.part"), b"half").expect("write");
    let orphan = "f".repeat(64);
    fs::write(dir.path().join("spool").join(&orphan), b"orphan").expect("write");
    let spool = spool(dir.path(), WIDE);
    assert_eq!(names(dir.path()), [orphan.as_str()]);
    let row = put(&spool, "a.gcode", b"G28\n").await.expect("stored");
    let gone = put(&spool, "b.gcode", b"G29\n").await.expect("stored");
    fs::remove_file(spool.path_of(&gone.sha256)).expect("by hand");

    let now = Timestamp::now();
    assert_eq!(spool.tidy(now).await.expect("tidied"), 0);
    assert_eq!(spool.files().await.len(), 1, "what is gone is not listed");
    let later = now + SignedDuration::from_hours(8 * 24);
    assert_eq!(spool.tidy(later).await.expect("tidied"), 10);
    assert_eq!(spool.files().await, []);
    assert_eq!(names(dir.path()).len(), 0, "{row:?}");
}

#[tokio::test]
async fn removing_one_of_two_names_keeps_the_content() {
    let dir = tempfile::tempdir().expect("dir");
    let spool = spool(dir.path(), WIDE);
    let a = put(&spool, "a.gcode", b"G28\n").await.expect("stored");
    let b = put(&spool, "b.gcode", b"G28\n").await.expect("stored");
    assert_eq!(a.sha256, b.sha256);
    assert!(spool.remove(&a.id).await.expect("removed"));
    assert!(spool.program(&b.sha256, "b").await.is_ok());
    assert!(spool.remove(&b.id).await.expect("removed"));
    assert!(spool.program(&b.sha256, "b").await.is_err());
    assert!(!spool.remove(&b.id).await.expect("asked"));
}

#[tokio::test]
async fn more_uploads_than_the_limit_are_told_to_wait() {
    let dir = tempfile::tempdir().expect("dir");
    let spool = spool(dir.path(), WIDE);
    let mut open = Vec::new();
    for _ in 0..INCOMING_MAX {
        open.push(spool.incoming("x", None).await.expect("begun"));
    }
    let fault = spool.incoming("x", None).await.expect_err("too many");
    assert_eq!(fault.code, "spool/busy");
    open.pop();
    spool.incoming("x", None).await.expect("a place is free");
}

#[cfg(unix)]
#[tokio::test]
async fn a_directory_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().expect("dir");
    fs::write(dir.path().join("spool"), b"a file").expect("write");
    let fault = Spool::open(dir.path().join("spool"), Store::memory().expect("store"), WIDE)
        .expect_err("a file is in the way");
    assert!(fault.what.contains("spool"), "{fault}");
}
