//! The upload against a file server that does what it should not.

use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config::secrets::Secret;
use crate::drivers::bambu::sim::certificate;

const SERIAL: &str = "01P00A000000001";
const NAME: &str = "a-01234567.gcode.3mf";

/// What goes wrong.
#[derive(Clone, Debug, Default)]
struct Trouble {
    /// The control connection is cut after so many bytes.
    control_cut: Option<usize>,
    /// The data connection is cut after so many bytes.
    data_cut: Option<usize>,
    /// What is said at the end of a transfer.
    end: Option<&'static str>,
    /// After this command nothing is said or read any more.
    stall: Option<&'static str>,
    /// So many clients are turned away.
    crowded: usize,
    /// The answer to STOR.
    stor: Option<&'static str>,
    /// Before each bite of 1 MiB out of the data connection, ms.
    bite_ms: u64,
}

/// What became of it.
#[derive(Debug, Default)]
struct Card {
    file: Option<Vec<u8>>,
    said: usize,
    clients: usize,
    deleted: bool,
}

struct Mouth {
    stream: BufReader<tokio_rustls::server::TlsStream<TcpStream>>,
    left: Option<usize>,
}

impl Mouth {
    /// Says a line; `None`: the connection was cut in it.
    async fn say(&mut self, line: &str, card: &Mutex<Card>) -> Option<()> {
        let text = format!("{line}\r\n");
        let cut = self.left.map_or(text.len(), |left| left.min(text.len()));
        self.stream.write_all(&text.as_bytes()[..cut]).await.ok()?;
        self.stream.flush().await.ok()?;
        card.lock().expect("the card").said += cut;
        if let Some(left) = &mut self.left {
            *left -= cut;
        }
        (cut == text.len()).then_some(())
    }
}

async fn client(tcp: TcpStream, tls: Arc<ServerConfig>, trouble: &Trouble, card: &Mutex<Card>) -> Option<()> {
    tcp.set_nodelay(true).ok()?;
    let stream = TlsAcceptor::from(tls.clone()).accept(tcp).await.ok()?;
    let mut mouth = Mouth {
        stream: BufReader::new(stream),
        left: trouble.control_cut,
    };
    let number = {
        let mut card = card.lock().expect("the card");
        card.clients += 1;
        card.clients
    };
    if number <= trouble.crowded {
        return mouth
            .say("421 There are too many connected users, please try later.", card)
            .await;
    }
    mouth.say("220 printer", card).await?;
    let mut passive = None;
    loop {
        let mut line = String::new();
        if mouth.stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let word = line.split_whitespace().next()?.to_owned();
        if trouble.stall == Some(word.as_str()) {
            return std::future::pending().await;
        }
        let answer = match word.as_str() {
            "QUIT" => return None,
            "USER" => "331 code".to_owned(),
            "PASS" => "230 in".to_owned(),
            "PBSZ" | "PROT" | "TYPE" => "200 yes".to_owned(),
            "PASV" => {
                let listener = TcpListener::bind("127.0.0.1:0").await.ok()?;
                let port = listener.local_addr().ok()?.port();
                passive = Some(listener);
                format!(
                    "227 Entering Passive Mode (127,0,0,1,{:03},{:03}).",
                    port >> 8,
                    port & 255
                )
            }
            "SIZE" => match &card.lock().expect("the card").file {
                Some(file) => format!("213 {}", file.len()),
                None => "550 no".to_owned(),
            },
            "DELE" => {
                let mut card = card.lock().expect("the card");
                card.deleted = true;
                card.file = None;
                "250 gone".to_owned()
            }
            "STOR" => match trouble.stor {
                Some(refusal) => refusal.to_owned(),
                None => {
                    mouth.say("150 go on", card).await?;
                    let (data, _) = passive.take()?.accept().await.ok()?;
                    let mut data = TlsAcceptor::from(tls.clone()).accept(data).await.ok()?;
                    let most = trouble.data_cut.unwrap_or(usize::MAX);
                    let mut taken = Vec::new();
                    let mut buffer = vec![0; 1 << 16];
                    let mut bite = 0;
                    let whole = loop {
                        if trouble.stall == Some("data") {
                            return std::future::pending().await;
                        }
                        if taken.len() >= most {
                            break false;
                        }
                        let room = buffer.len().min(most - taken.len());
                        match data.read(&mut buffer[..room]).await {
                            Ok(0) => break true,
                            Ok(n) => taken.extend_from_slice(&buffer[..n]),
                            Err(_) => break false,
                        }
                        if taken.len() - bite >= 1 << 20 {
                            bite = taken.len();
                            tokio::time::sleep(Duration::from_millis(trouble.bite_ms)).await;
                        }
                    };
                    drop(data);
                    card.lock().expect("the card").file = Some(taken);
                    match (trouble.end, whole) {
                        (Some(end), _) => end.to_owned(),
                        (None, true) => "226 Transfer complete.".to_owned(),
                        (None, false) => "426 Connection closed; transfer aborted.".to_owned(),
                    }
                }
            },
            _ => "502 no".to_owned(),
        };
        mouth.say(&answer, card).await?;
    }
}

/// One upload of so many bytes; its end, what lies on the card then, and the steps of its progress.
async fn run(trouble: Trouble, size: usize) -> (Result<(), Fault>, Card, Vec<f32>) {
    run_with(trouble, size, Patience::default()).await
}

async fn run_with(trouble: Trouble, size: usize, patience: Patience) -> (Result<(), Fault>, Card, Vec<f32>) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("a.3mf");
    std::fs::write(&file, vec![7; size]).expect("a file");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let card = Arc::new(Mutex::new(Card::default()));
    let tls = certificate::server(SERIAL).expect("a certificate");
    let theirs = card.clone();
    #[allow(clippy::disallowed_methods, reason = "aborted below")]
    let server = tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            client(tcp, tls.clone(), &trouble, &theirs).await;
        }
    });
    let server_at = Server {
        host: "127.0.0.1".into(),
        port,
        code: Secret::new("12345678"),
        tls: PrinterTls::new(dir.path(), "p", SERIAL).expect("TLS"),
        patience,
    };
    let mut steps = Vec::new();
    let ended = upload(&server_at, &file, NAME, size as u64, &mut |percent| {
        steps.push(percent)
    })
    .await;
    server.abort();
    let card = std::mem::take(&mut *card.lock().expect("the card"));
    (ended, card, steps)
}

#[tokio::test]
async fn a_control_connection_that_is_cut_at_any_byte_is_a_failed_upload_and_never_a_hang() {
    let (ended, card, _) = run(Trouble::default(), 64).await;
    ended.expect("a good upload");
    let whole = card.said;
    assert!(whole > 150, "{whole} bytes of answers");
    for cut in 0..whole {
        let trouble = Trouble {
            control_cut: Some(cut),
            ..Trouble::default()
        };
        let (ended, ..) = run(trouble, 64).await;
        let fault = ended.expect_err(&format!("cut after {cut} of {whole} bytes"));
        assert_eq!(
            fault.code,
            faults::UPLOAD.code,
            "cut after {cut} of {whole} bytes: {fault}"
        );
    }
}

#[tokio::test]
async fn a_data_connection_that_is_cut_at_any_byte_leaves_no_half_file() {
    for cut in 0..64 {
        for end in [None, Some("226 Transfer complete.")] {
            let trouble = Trouble {
                data_cut: Some(cut),
                end,
                ..Trouble::default()
            };
            let (ended, card, _) = run(trouble, 64).await;
            assert_eq!(
                ended.expect_err("cut").code,
                faults::UPLOAD.code,
                "cut after {cut} bytes"
            );
            assert!(
                card.deleted && card.file.is_none(),
                "cut after {cut} bytes: {card:?}"
            );
        }
    }
    // All bytes are there, and the end of the connection was not to the server's liking.
    let trouble = Trouble {
        end: Some("426 Failure reading network stream."),
        ..Trouble::default()
    };
    let (ended, card, _) = run(trouble, 64).await;
    ended.expect("the size decides");
    assert_eq!(card.file.map(|f| f.len()), Some(64));
}

#[tokio::test]
async fn a_server_that_falls_silent_is_given_up() {
    let patience = Patience {
        reply: Duration::from_millis(300),
        stall: Duration::from_millis(300),
        ..Patience::default()
    };
    let stalls = ["USER", "PASS", "PROT", "SIZE", "PASV", "STOR", "data"];
    let runs = stalls.map(|stall| async move {
        let trouble = Trouble {
            stall: Some(stall),
            ..Trouble::default()
        };
        // More than the system holds back, so that the data connection fills up.
        let (ended, ..) = run_with(trouble, 16 << 20, patience).await;
        let fault = ended.expect_err("silent");
        let raw = fault.raw.clone().unwrap_or_default();
        assert_eq!(fault.code, faults::UPLOAD.code, "{stall}: {fault:?}");
        assert!(raw.contains("nothing in"), "{stall}: {raw}");
    });
    futures_util::future::join_all(runs).await;
}

#[tokio::test]
async fn a_slow_card_is_waited_for_as_long_as_it_takes_bytes() {
    // All in all it takes longer than the patience with a standstill.
    let patience = Patience {
        stall: Duration::from_millis(1500),
        ..Patience::default()
    };
    let trouble = Trouble {
        bite_ms: 150,
        ..Trouble::default()
    };
    let began = std::time::Instant::now();
    let (ended, card, steps) = run_with(trouble, 12 << 20, patience).await;
    ended.expect("slow, but whole");
    assert!(began.elapsed() > patience.stall, "{:?}", began.elapsed());
    assert_eq!(card.file.map(|f| f.len()), Some(12 << 20));
    assert!(steps.windows(2).all(|w| w[0] <= w[1]) && steps.last() == Some(&100.0));
}

#[tokio::test]
async fn full_missing_and_crowded_are_told_apart() {
    let hurried = Patience {
        crowd: Duration::from_millis(20),
        ..Patience::default()
    };
    for (trouble, code) in [
        (
            Trouble {
                stor: Some("552 Requested file action aborted. Exceeded storage allocation."),
                ..Trouble::default()
            },
            &faults::STORAGE_FULL.code,
        ),
        (
            Trouble {
                end: Some("452 Insufficient storage space."),
                data_cut: Some(20),
                ..Trouble::default()
            },
            &faults::STORAGE_FULL.code,
        ),
        (
            Trouble {
                stor: Some("550 Could not create file."),
                ..Trouble::default()
            },
            &faults::NO_STORAGE.code,
        ),
        (
            Trouble {
                crowded: 9,
                ..Trouble::default()
            },
            &faults::FILES_CROWDED.code,
        ),
    ] {
        let (ended, card, _) = run_with(trouble.clone(), 64, hurried).await;
        let fault = ended.expect_err("not stored");
        assert_eq!(&fault.code, code, "{trouble:?}: {fault:?}");
        assert!(card.file.is_none(), "{trouble:?}");
    }
    // A place that is free again in a moment is waited for.
    let trouble = Trouble {
        crowded: 2,
        ..Trouble::default()
    };
    let (ended, card, _) = run_with(trouble, 64, hurried).await;
    ended.expect("the third time");
    assert_eq!(card.clients, 3);
}
