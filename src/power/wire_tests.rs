//! A switch on loopback that asks for a login.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::config::secrets::Secret;

/// Answers each request as told; gives back what was asked.
async fn serve(listener: TcpListener, answers: Vec<&'static str>) -> Vec<String> {
    let mut asked = Vec::new();
    let mut socket = listener.accept().await.expect("a connection").0;
    for answer in answers {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if socket.read(&mut byte).await.expect("read") == 0 {
                // The client took another connection.
                socket = listener.accept().await.expect("a connection").0;
                continue;
            }
            request.push(byte[0]);
        }
        asked.push(String::from_utf8_lossy(&request).into_owned());
        socket.write_all(answer.as_bytes()).await.expect("written");
    }
    asked
}

async fn shelly(answers: Vec<&'static str>) -> (Result<Option<bool>, Fault>, Vec<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let kind = PowerKind::Shelly {
        url,
        user: None,
        password: Some(Secret::new("open sesame")),
        channel: 0,
        generation: Some(2),
    };
    let mut wire = Wire::new(&kind).expect("a way");
    tokio::join!(wire.ask(Ask::State), serve(listener, answers))
}

#[tokio::test]
async fn a_newer_shelly_gets_a_digest_and_never_the_password() {
    let (said, asked) = shelly(vec![
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest qop=\"auth\", realm=\"shellyplus1-a8032abe54dc\", \
         nonce=\"60dc2c69\", algorithm=SHA-256\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 24\r\n\r\n{\"id\":0, \"output\": true}",
    ])
    .await;
    assert_eq!(said.expect("an answer"), Some(true));
    assert!(!asked[0].to_lowercase().contains("authorization"), "{}", asked[0]);
    assert!(asked[1].contains("username=\"admin\""), "{}", asked[1]);
    assert!(
        asked[1].contains("uri=\"/rpc/Switch.GetStatus?id=0\""),
        "{}",
        asked[1]
    );
    assert!(
        asked
            .iter()
            .all(|text| !text.contains("sesame") && !text.contains("Basic"))
    );
}

#[tokio::test]
async fn a_login_of_another_kind_and_a_wrong_password_are_told() {
    let (said, _) = shelly(vec![
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n",
    ])
    .await;
    assert!(
        said.expect_err("refused")
            .to_string()
            .contains("unknown kind of login")
    );
    let again = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest qop=\"auth\", realm=\"s\", \
         nonce=\"1\", algorithm=SHA-256\r\nContent-Length: 0\r\n\r\n";
    let (said, _) = shelly(vec![again, again]).await;
    assert!(said.expect_err("refused").to_string().contains("401"));
}
