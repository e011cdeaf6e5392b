//! https from files, seen by a client that checks the certificate.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::rig::{Rig, read};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_address_proves_who_it_is_and_speaks_nothing_else() {
    let pem = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bench/localhost.pem");
    let rig = Rig::start_with(&format!(
        "rate_per_min = 0\ntls_cert = \"{pem}\"\ntls_key = \"{pem}\""
    ))
    .await;
    let port = rig.base.rsplit(':').next().expect("a port").to_owned();
    assert!(rig.base.starts_with("https://"), "{}", rig.base);
    let (_, made) = rig
        .post("0/agent/keys/Create", json!({"name": "far", "scopes": "read"}))
        .await;
    let key = made["key"].as_str().expect("a key");
    let own = reqwest::Certificate::from_pem(&std::fs::read(pem).expect("a file")).expect("a certificate");
    let client = |trusts: Vec<reqwest::Certificate>| {
        reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only(trusts)
            .build()
            .expect("a client")
    };
    let url = format!("https://localhost:{port}/0/account/Test");
    let knows = client(vec![own]);
    let (status, answer) = read(knows.get(&url).header("x-api-key", key)).await;
    assert_eq!(
        (status, &answer["message"]),
        (200, &json!("Your API key is valid!"))
    );
    assert_eq!(read(knows.get(&url)).await.0, 401, "encryption is no key");
    let stranger = client(Vec::new()).get(&url).send().await;
    assert!(stranger.is_err(), "whoever does not trust it sees nothing");

    // In clear there is nothing at all.
    let mut plain = tokio::net::TcpStream::connect(("127.0.0.1", port.parse::<u16>().expect("a port")))
        .await
        .expect("connected");
    plain
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .expect("taken");
    let mut answer = Vec::new();
    // It may end with a reset.
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/"), "{answer:?}");
    rig.end().await;
}
