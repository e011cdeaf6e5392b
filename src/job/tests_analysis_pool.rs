use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::*;
use crate::job::preflight;
use crate::job::spool::Caps;
use crate::job::store::{FILE_NAME, Store};

async fn spool_with(dir: &Path, content: &str) -> (Spool, String) {
    let store = Store::open(&dir.join(FILE_NAME)).expect("opens");
    let caps = Caps {
        free_bytes: 0,
        ..Caps::default()
    };
    let spool = Spool::open(dir.join("spool"), store, caps).expect("opens");
    let mut incoming = spool.incoming("a.gcode", None).await.expect("begun");
    let bytes = Bytes::copy_from_slice(content.as_bytes());
    incoming.write(bytes).await.expect("taken");
    let sha256 = incoming.finish().await.expect("stored").sha256;
    (spool, sha256)
}

const PART: &str = "G28\nM109 S210\nG90\nM83\nG1 X10 Y10 Z0.2 F3000\n;TYPE:External perimeter\n\
    G1 X30 Y10 E1\nG1 X240 Y10 E9\nM104 S0\n";

static RUNS: AtomicUsize = AtomicUsize::new(0);

fn counted(path: &Path, options: &Options) -> std::io::Result<Analysis> {
    RUNS.fetch_add(1, Ordering::SeqCst);
    analyze_path(path, options)
}

#[tokio::test]
async fn a_file_is_analyzed_once_even_over_a_restart() {
    let dir = tempfile::tempdir().expect("dir");
    let (spool, sha256) = spool_with(dir.path(), PART).await;
    let pool = AnalysisPool::start(spool.clone(), counted).expect("starts");
    let (one, two) = tokio::join!(pool.analysis(&sha256), pool.analysis(&sha256));
    let one = one.expect("analyzed");
    assert_eq!(one, two.expect("analyzed"));
    assert_eq!(one.bounds.part.map(|b| b.max[0]), Some(240.0));
    // Another daemon on the same database.
    let again = AnalysisPool::start(spool, counted).expect("starts");
    assert_eq!(again.analysis(&sha256).await.expect("kept"), one);
    assert_eq!(RUNS.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_refusal_names_the_line_when_asked_for_one_printer() {
    let dir = tempfile::tempdir().expect("dir");
    let (spool, sha256) = spool_with(dir.path(), PART).await;
    let pool = AnalysisPool::start(spool, analyze_path).expect("starts");
    let limits = Limits {
        bed_mm: Some([220.0, 220.0, 250.0]),
        max_tool_c: Some(200.0),
        ..Limits::default()
    };
    let general = pool.analysis(&sha256).await.expect("analyzed");
    let report = preflight::check(&general, &limits, "a.gcode", &[]);
    assert!(report.may_name_lines());
    let exact = pool.analysis_for(&sha256, None, &limits).await.expect("analyzed");
    let report = preflight::check(&exact, &limits, "a.gcode", &[]);
    let lines: Vec<_> = report
        .problems
        .iter()
        .filter(|p| p.refuse)
        .map(|p| (p.code, p.line))
        .collect();
    assert_eq!(
        lines,
        [("preflight/too-hot", Some(2)), ("preflight/outside-bed", Some(8))]
    );
    let words = report.refusal().expect("refused").message;
    assert!(
        words.contains("line 8.") && words.contains("240") && words.contains("220"),
        "{words}"
    );
}

#[tokio::test]
async fn a_file_that_is_gone_or_breaks_the_analyzer_is_told() {
    let dir = tempfile::tempdir().expect("dir");
    let (spool, sha256) = spool_with(dir.path(), PART).await;
    fn breaks(_: &Path, _: &Options) -> std::io::Result<Analysis> {
        panic!("a strange file")
    }
    let broken = AnalysisPool::start(spool.clone(), breaks).expect("starts");
    for _ in 0..2 {
        let fault = broken.analysis(&sha256).await.expect_err("panics");
        assert_eq!(fault.code, "analysis/failed", "and the thread lives on");
    }
    std::fs::remove_file(spool.path_of(&sha256)).expect("removed");
    let pool = AnalysisPool::start(spool, analyze_path).expect("starts");
    let fault = pool.analysis(&sha256).await.expect_err("gone");
    assert_eq!(fault.code, "analysis/unreadable");
}

#[tokio::test]
async fn too_many_waiting_files_are_refused_at_once() {
    let dir = tempfile::tempdir().expect("dir");
    let (spool, _) = spool_with(dir.path(), PART).await;
    let pool = AnalysisPool::start(spool, analyze_path).expect("starts");
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let held = pool.order(move || Ok(gate.recv().is_ok()));
    let mut held = Box::pin(held);
    assert!(futures_util::FutureExt::now_or_never(&mut held).is_none());
    let mut asked: Vec<_> = (0..WAITING_MAX + 4)
        .map(|_| Box::pin(pool.order(|| Ok(()))))
        .collect();
    let mut busy = 0;
    for asker in &mut asked {
        if let Some(Err(fault)) = futures_util::FutureExt::now_or_never(asker) {
            assert_eq!(fault.code, "analysis/busy");
            busy += 1;
        }
    }
    // The thread may or may not have taken up the first one already.
    assert!((4..=5).contains(&busy), "{busy}");
    open.send(()).expect("it waits");
    assert!(held.await.expect("done"));
}

#[tokio::test]
async fn a_file_that_rots_on_the_disk_is_not_printed() {
    let dir = tempfile::tempdir().expect("dir");
    let (spool, sha256) = spool_with(dir.path(), PART).await;
    let pool = AnalysisPool::start(spool.clone(), analyze_path).expect("starts");
    pool.verify(&sha256).await.expect("as it was uploaded");
    let path = spool.path_of(&sha256);
    let mut bytes = std::fs::read(&path).expect("read");
    bytes[3] ^= 1;
    std::fs::write(&path, &bytes).expect("written");
    let fault = pool.verify(&sha256).await.expect_err("one bit differs");
    assert_eq!(fault.code, "spool/damaged");
    std::fs::remove_file(&path).expect("removed");
    assert_eq!(
        pool.verify(&sha256).await.expect_err("gone").code,
        "spool/missing"
    );
}
