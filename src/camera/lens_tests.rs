//! Cameras over loopback, good and bad.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::camera::frame::PICTURE_MAX;

const JPEG: &[u8] = &[
    0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 2, 0xff, 0xda, 0, 2, 7, 7, 0xff, 0xd9,
];

/// A stand-in that answers every request with these bytes and then keeps silent, or closes.
async fn stand_in(answer: Vec<u8>, close: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("an address");
    #[allow(clippy::disallowed_methods, reason = "ends with the test's runtime")]
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 2048];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(&answer).await;
            if !close {
                std::future::pending::<()>().await;
            }
        }
    });
    format!("http://{at}/")
}

fn plain(body: &[u8]) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    out.extend_from_slice(body);
    out
}

async fn lens(answer: Vec<u8>, close: bool) -> Lens {
    let url = stand_in(answer, close).await;
    Lens::new(Source::Address(Secret::new(url)), Studio::default())
}

#[tokio::test]
async fn a_picture_comes_from_an_address_and_from_an_endless_stream() {
    let one = lens(plain(JPEG), true).await;
    assert_eq!(one.works(), None, "not asked yet");
    assert_eq!(one.picture(Purpose::Asked).await.expect("a picture"), JPEG);
    assert_eq!(one.works(), Some(true));
    let mut stream =
        b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=b\r\n\r\n--b\r\n\r\n".to_vec();
    stream.extend_from_slice(JPEG);
    stream.extend_from_slice(b"\r\n--b\r\n");
    let stream = lens(stream, false).await;
    assert_eq!(stream.picture(Purpose::Live).await.expect("a picture"), JPEG);
}

#[tokio::test]
async fn no_picture_is_told_in_words_and_never_with_the_address() {
    let mut huge = JPEG[..12].to_vec();
    huge.resize(PICTURE_MAX + 100, 7);
    for (answer, code) in [
        (plain(b"<html>log in</html>"), "camera/no-picture"),
        (plain(&JPEG[..10]), "camera/no-picture"),
        (plain(&huge), "camera/too-big"),
        (
            b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n".to_vec(),
            "camera/no-picture",
        ),
        (b"nonsense\r\n\r\n".to_vec(), "camera/unreachable"),
    ] {
        let lens = lens(answer, true).await;
        let fault = lens.picture(Purpose::Asked).await.expect_err(code);
        assert_eq!(fault.code, code, "{fault:?}");
        assert!(
            !format!("{fault:?} {lens:?}").contains("127.0.0.1"),
            "{fault:?} {lens:?}"
        );
        assert_eq!(lens.works(), Some(false));
    }
}

#[tokio::test]
async fn a_live_picture_is_left_out_when_others_are_being_taken() {
    let studio = Studio::default();
    let url = stand_in(Vec::new(), false).await;
    let slow: Vec<Lens> = (0..AT_ONCE)
        .map(|_| Lens::new(Source::Address(Secret::new(url.clone())), studio.clone()))
        .collect();
    let good = stand_in(plain(JPEG), true).await;
    let live = Lens::new(Source::Address(Secret::new(good)), studio.clone());
    {
        let waiting = futures_util::future::join_all(slow.iter().map(|l| l.picture(Purpose::Asked)));
        tokio::pin!(waiting);
        while studio.turns.available_permits() > 0 {
            tokio::select! {
                _ = &mut waiting => panic!("nobody answers"),
                () = tokio::task::yield_now() => {}
            }
        }
        let fault = live.picture(Purpose::Live).await.expect_err("no turn");
        assert_eq!(fault.code, "camera/busy");
        assert_eq!(live.works(), None, "left out is not broken");
    }
    assert_eq!(live.picture(Purpose::Live).await.expect("a picture"), JPEG);
}

#[tokio::test(start_paused = true)]
async fn one_camera_gives_few_pictures_a_second() {
    let own: Own = Arc::new(|| Box::pin(async { Ok(Bytes::from_static(JPEG)) }));
    let lens = Lens::new(Source::Own(own), Studio::default());
    let began = Instant::now();
    for _ in 0..4 {
        lens.picture(Purpose::Asked).await.expect("a picture");
    }
    assert!(began.elapsed() >= GAP * 3);
}
