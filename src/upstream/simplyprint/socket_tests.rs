//! Clouds that are none, or stop being one.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::*;

/// A text frame as a server sends it.
fn text_frame(text: &str) -> Vec<u8> {
    let mut out = vec![0x81];
    match text.len() {
        len @ 0..126 => out.push(len as u8),
        len => {
            out.push(126);
            out.extend((len as u16).to_be_bytes());
        }
    }
    out.extend(text.as_bytes());
    out
}

/// Takes one connection, answers the upgrade and then says `frames`, but only the first `max` bytes of it all.
async fn serve(listener: &TcpListener, frames: &[u8], max: usize) -> usize {
    let (mut tcp, _) = listener.accept().await.expect("a connection");
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if tcp.read(&mut byte).await.unwrap_or(0) == 0 {
            return 0;
        }
        request.push(byte[0]);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let key = request.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("sec-websocket-key")
            .then(|| value.to_owned())
    });
    let accept = derive_accept_key(key.expect("a key").as_bytes());
    let mut all = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    .into_bytes();
    all.extend(frames);
    let _ = tcp.write_all(all.get(..max).unwrap_or(&all)).await;
    all.len()
}

/// Opens a socket and reads until it is over; what was read, and why it ended.
async fn read_all(base: &str) -> (Vec<String>, SocketError) {
    let tls = crate::host::tls::client_config().expect("TLS");
    let mut texts = Vec::new();
    let mut socket = match Socket::open(base, "/0.2/mp/0/0", tls).await {
        Ok(socket) => socket,
        Err(error) => return (texts, error),
    };
    loop {
        match socket.receive().await {
            Ok(Received::Text(text)) => texts.push(text),
            Ok(_) => {}
            Err(error) => return (texts, error),
        }
    }
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base = format!("ws://{}", listener.local_addr().expect("an address"));
    (listener, base)
}

#[tokio::test]
async fn a_cloud_that_closes_at_any_byte_is_a_connection_that_ended() {
    let said = [
        r#"{"type":"connected","data":{"region":"eu"}}"#,
        r#"{"type":"demand","for":"u","data":{"demand":"gcode","list":["M105"]}}"#,
        &format!(
            r#"{{"type":"new_token","for":"u","data":{{"token":"{}"}}}}"#,
            "x".repeat(120)
        ),
    ];
    let frames: Vec<u8> = said.iter().flat_map(|text| text_frame(text)).collect();
    let (listener, base) = listener().await;
    let ((whole, _), all) = tokio::join!(read_all(&base), serve(&listener, &frames, usize::MAX));
    assert_eq!(whole, said, "everything came");
    for max in 0..all {
        let ((texts, _), _) = tokio::join!(read_all(&base), serve(&listener, &frames, max));
        assert!(texts.len() < said.len(), "cut at {max}");
        assert_eq!(texts, said[..texts.len()], "whole messages or none, cut at {max}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cloud_that_takes_the_connection_and_says_nothing_is_given_up() {
    let (listener, base) = listener().await;
    let hold = async {
        let taken = listener.accept().await;
        std::future::pending::<()>().await;
        drop(taken);
    };
    let began = tokio::time::Instant::now();
    tokio::select! {
        (texts, error) = read_all(&base) => {
            assert!(texts.is_empty());
            assert!(matches!(error, SocketError::Silent), "{error}");
            assert!(began.elapsed() <= OPEN_LIMIT * 2, "{:?}", began.elapsed());
        }
        () = hold => {}
    }
}

#[tokio::test]
async fn frames_that_are_none_end_the_connection_and_take_no_memory() {
    let (listener, base) = listener().await;
    let giant = [&[0x81, 127][..], &(1_u64 << 40).to_be_bytes(), b"{"].concat();
    let endless: Vec<u8> = std::iter::once(text_frame("{"))
        .map(|mut first| {
            first[0] = 0x01;
            first
        })
        .chain((0..2000).map(|_| [&[0x00, 126, 0x3f, 0xff][..], &[b' '; 0x3fff]].concat()))
        .flatten()
        .collect();
    for (name, frames) in [
        ("a frame of a terabyte", giant.as_slice()),
        ("a message without an end", &endless),
        ("reserved bits", &[0xf1, 0x00]),
        ("an unknown kind", &[0x83, 0x00]),
        ("a control frame that is too long", &[0x89, 126, 0x01, 0x00]),
        ("a text that is none", &[0x81, 0x02, 0xff, 0xfe]),
        ("a masked frame", &[0x81, 0x82, 1, 2, 3, 4, 5, 6]),
        ("HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    ] {
        let ended = tokio::time::timeout(Duration::from_secs(20), async {
            tokio::join!(read_all(&base), serve(&listener, frames, usize::MAX))
        });
        let ((texts, error), _) = ended.await.expect(name);
        assert!(texts.is_empty(), "{name}: {texts:?}");
        assert!(!error.to_string().is_empty(), "{name}");
    }
}
