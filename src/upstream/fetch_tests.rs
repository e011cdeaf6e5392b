use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::host::tls;
use crate::job::analysis_pool::analyze_path;
use crate::job::spool::Caps;
use crate::job::store::Store;

const BODY: &str = "G28\nG1 X10 Y10 F1000\nG1 X20 Y20 E1\n";

/// What the server does with each request, in order; the last one stays.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// Everything, with a validator.
    Whole,
    /// The head and so many bytes, then the connection is cut; with a validator.
    Cut(usize),
    /// The same without a validator.
    CutBare(usize),
    /// From the byte that was asked for.
    Rest,
    /// A number.
    Status(u16),
    /// Away to there.
    Redirect(&'static str),
    /// Announces fewer bytes than it sends, or more.
    Lies(usize),
    /// Nothing at all.
    Empty,
}

/// A server on loopback; gives its address, what it was asked, and its end.
async fn serve(answers: Vec<Answer>) -> (String, Arc<Mutex<Vec<String>>>, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("bound"));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    let task = async move {
        let mut number = 0;
        loop {
            let Ok((mut stream, _)) = listener.accept().await else {
                return;
            };
            let mut head = vec![0; 8192];
            let n = stream.read(&mut head).await.unwrap_or(0);
            let text = String::from_utf8_lossy(&head[..n]).to_ascii_lowercase();
            let range = text
                .split("range: bytes=")
                .nth(1)
                .and_then(|r| r.split('-').next());
            let from: usize = range.and_then(|r| r.parse().ok()).unwrap_or(0);
            seen.lock().expect("not poisoned").push(text);
            let answer = answers[number.min(answers.len() - 1)];
            number += 1;
            let all = BODY.len();
            let tag = "ETag: \"v1\"\r\n";
            let out = match answer {
                Answer::Whole => format!("HTTP/1.1 200 OK\r\n{tag}Content-Length: {all}\r\n\r\n{BODY}"),
                Answer::Cut(n) => {
                    format!(
                        "HTTP/1.1 200 OK\r\n{tag}Content-Length: {all}\r\n\r\n{}",
                        &BODY[..n]
                    )
                }
                Answer::CutBare(n) => {
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {all}\r\n\r\n{}", &BODY[..n])
                }
                Answer::Rest => format!(
                    "HTTP/1.1 206 Partial Content\r\n{tag}Content-Range: bytes {from}-{}/{all}\r\nContent-Length: {}\r\n\r\n{}",
                    all - 1,
                    all - from,
                    &BODY[from..]
                ),
                Answer::Status(code) => format!("HTTP/1.1 {code} No\r\nContent-Length: 0\r\n\r\n"),
                Answer::Redirect(to) => {
                    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
                }
                Answer::Lies(n) => format!("HTTP/1.1 200 OK\r\nContent-Length: {n}\r\n\r\n{}", &BODY[..n]),
                Answer::Empty => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned(),
            };
            let _ = stream.write_all(out.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    };
    #[allow(clippy::disallowed_methods, reason = "the handle is kept by the test")]
    let task = AbortOnDropHandle::new(tokio::spawn(task));
    (base, asked, task)
}

struct Rig {
    fetcher: Fetcher,
    _dir: tempfile::TempDir,
}

fn rig(trusted: &[&str]) -> Rig {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::memory().expect("memory");
    let caps = Caps {
        free_bytes: 0,
        ..Caps::default()
    };
    let spool = Spool::open(dir.path().join("spool"), store, caps).expect("a spool");
    let reach = Reach::new(trusted.iter().map(|h| (*h).to_owned()).collect());
    let tls = (*tls::client_config().expect("roots")).clone();
    Rig {
        fetcher: Fetcher {
            http: reach.client(tls).expect("a client"),
            reach,
            pool: AnalysisPool::start(spool.clone(), analyze_path).expect("a pool"),
            spool,
            lanes: Arc::new(Semaphore::new(LANES)),
        },
        _dir: dir,
    }
}

async fn fetch(answers: Vec<Answer>, size: Option<u64>) -> (Result<String, String>, usize, Rig) {
    let (base, asked, _server) = serve(answers).await;
    let rig = rig(&["127.0.0.1"]);
    let urls = [Secret::new(format!("{base}/f"))];
    let got = rig.fetcher.fetch(&urls, "a.gcode", size, |_| ()).await;
    let times = asked.lock().expect("not poisoned").len();
    (got, times, rig)
}

async fn is_whole(rig: &Rig, sha256: &str) -> bool {
    tokio::fs::read(rig.fetcher.spool.path_of(sha256))
        .await
        .is_ok_and(|bytes| bytes == BODY.as_bytes())
}

#[tokio::test]
async fn a_broken_transfer_goes_on_where_it_broke() {
    let (got, times, rig) = fetch(vec![Answer::Cut(10), Answer::Rest], Some(BODY.len() as u64)).await;
    assert_eq!(times, 2);
    assert!(is_whole(&rig, &got.expect("fetched")).await);
}

#[tokio::test]
async fn a_server_that_cannot_go_on_starts_over() {
    // Without a validator nobody can say that the rest belongs to the same file.
    for first in [Answer::Cut(10), Answer::CutBare(10)] {
        let (got, times, rig) = fetch(vec![first, Answer::Whole], None).await;
        assert_eq!(times, 2, "{first:?}");
        assert!(is_whole(&rig, &got.expect("fetched")).await, "{first:?}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_said_at_once_and_what_is_busy_is_asked_again() {
    let (got, times, _) = fetch(vec![Answer::Status(404)], None).await;
    assert_eq!(got, Err("Failed to download file: 404".to_owned()));
    assert_eq!(times, 1);
    let (got, times, _) = fetch(vec![Answer::Status(500), Answer::Whole], None).await;
    assert!(got.is_ok());
    assert_eq!(times, 2);
}

#[tokio::test]
async fn the_second_address_is_asked_when_the_first_has_nothing() {
    let (gone, _, _a) = serve(vec![Answer::Status(403)]).await;
    let (there, asked, _b) = serve(vec![Answer::Whole]).await;
    let rig = rig(&["127.0.0.1"]);
    let urls = [
        Secret::new(format!("{gone}/f")),
        Secret::new(format!("{there}/f")),
    ];
    let got = rig.fetcher.fetch(&urls, "a.gcode", None, |_| ()).await;
    assert!(is_whole(&rig, &got.expect("fetched")).await);
    assert_eq!(asked.lock().expect("not poisoned").len(), 1);
}

#[tokio::test]
async fn a_file_of_another_size_is_refused() {
    let (got, ..) = fetch(vec![Answer::Whole], Some(7)).await;
    assert!(got.expect_err("refused").contains("not 7 as announced"));
    let (got, ..) = fetch(vec![Answer::Lies(9)], Some(BODY.len() as u64)).await;
    assert!(got.is_err());
    let (got, ..) = fetch(vec![Answer::Empty], None).await;
    assert!(got.expect_err("refused").contains("empty"));
}

#[tokio::test]
async fn a_redirect_leads_nowhere_inside() {
    for to in [
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost:1/",
        "http://[::1]/",
        "file:///etc/passwd",
    ] {
        let (got, times, _) = fetch(vec![Answer::Redirect(to)], None).await;
        let why = got.expect_err("refused");
        assert!(!why.contains("404"), "{to}: {why}");
        assert_eq!(times, 1, "{to}: asked once and not followed");
    }
    let (got, times, _) = fetch(vec![Answer::Redirect("/again")], None).await;
    assert!(got.expect_err("refused").contains("too many redirects"));
    assert_eq!(times, download::REDIRECTS + 1);
}

#[tokio::test]
async fn an_address_inside_is_not_asked_at_all() {
    let (base, asked, _server) = serve(vec![Answer::Whole]).await;
    let rig = rig(&[]);
    let urls = [Secret::new(format!("{base}/f"))];
    let got = rig.fetcher.fetch(&urls, "a.gcode", None, |_| ()).await;
    assert!(got.expect_err("refused").contains("own network"));
    assert!(asked.lock().expect("not poisoned").is_empty());
}

#[test]
fn ranges_must_fit_exactly() {
    assert!(range_fits("bytes 10-19/20", 10, Some(20)));
    assert!(range_fits("bytes 10-19/*", 10, Some(20)));
    for bad in ["bytes 9-19/20", "bytes 10-19/21", "10-19/20", "bytes x", ""] {
        assert!(!range_fits(bad, 10, Some(20)), "{bad}");
    }
}
