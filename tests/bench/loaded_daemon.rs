//! The daemon as `layerd run` starts it, with other work in the same process. Used by `turnaround.py`.
//!
//! ```text
//! loaded-daemon CONFIG [tls] [sqlite] [analysis=FILE]
//! ```
//!
//! * `tls`: full handshakes back to back on the daemon's own workers
//! * `sqlite`: one-row transactions with `synchronous=FULL` back to back, on a thread of their own
//! * `analysis=FILE`: the file analyzed over and over at the lowest priority, as the daemon does it

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use layerd::daemon::{Daemon, read_config};
use layerd::host::systemd;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

type Failure = Box<dyn Error + Send + Sync>;

/// How much of each got done.
static HANDSHAKES: AtomicU64 = AtomicU64::new(0);
static COMMITS: AtomicU64 = AtomicU64::new(0);
static ANALYSES: AtomicU64 = AtomicU64::new(0);

fn tls_ends() -> Result<(Arc<ClientConfig>, Arc<ServerConfig>), Failure> {
    let pem = include_bytes!("localhost.pem");
    let certificate = CertificateDer::from_pem_slice(pem)?;
    let key = PrivateKeyDer::from_pem_slice(pem)?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let mut client = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.resumption = rustls::client::Resumption::disabled();
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    Ok((Arc::new(client), Arc::new(server)))
}

fn handshake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Result<(), Failure> {
    let mut here = ClientConnection::new(client.clone(), "localhost".try_into()?)?;
    let mut there = ServerConnection::new(server.clone())?;
    let mut bytes = Vec::new();
    while here.is_handshaking() || there.is_handshaking() {
        bytes.clear();
        while here.wants_write() {
            here.write_tls(&mut bytes)?;
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            there.read_tls(&mut rest)?;
            there.process_new_packets()?;
        }
        bytes.clear();
        while there.wants_write() {
            there.write_tls(&mut bytes)?;
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            here.read_tls(&mut rest)?;
            here.process_new_packets()?;
        }
    }
    Ok(())
}

async fn handshakes() -> Result<(), Failure> {
    let (client, server) = tls_ends()?;
    loop {
        handshake(&client, &server)?;
        HANDSHAKES.fetch_add(1, Ordering::Relaxed);
        // As at an await of the real thing: other tasks of this worker get their turn.
        tokio::task::yield_now().await;
    }
}

fn commits(path: &Path) -> Result<(), Failure> {
    let database = rusqlite::Connection::open(path)?;
    database.execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE IF NOT EXISTS t (n INTEGER, text TEXT)")?;
    for n in 0i64.. {
        database.execute(
            "INSERT INTO t VALUES (?1, ?2)",
            (n, "a line of the history of a printer, as long as such lines are"),
        )?;
        COMMITS.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn analyses(path: &Path) -> Result<(), Failure> {
    rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19)?;
    loop {
        layerd::job::analysis_pool::analyze_path(path, &layerd::gcode::analyze::Options::default())?;
        ANALYSES.fetch_add(1, Ordering::Relaxed);
    }
}

fn beside(name: &str, work: impl FnOnce() -> Result<(), Failure> + Send + 'static) -> std::io::Result<()> {
    let label = name.to_owned();
    // Owned by the process, which is killed by whoever measures.
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        if let Err(error) = work() {
            eprintln!("{label}: {error}");
        }
    })?;
    Ok(())
}

fn main() -> Result<(), Failure> {
    // As main.rs: the one TLS provider of the process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut words = std::env::args().skip(1);
    let config = PathBuf::from(words.next().ok_or("CONFIG [tls] [sqlite] [analysis=FILE]")?);
    let loads: Vec<String> = words.collect();
    let (systemd, fd_store) = systemd::attach();
    let read = read_config(&config).map_err(|e| e.to_string())?;
    let state_dir = read.agent.state_dir.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(8)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let daemon = Daemon::start(read, Some(config), systemd, fd_store)
            .await
            .map_err(|e| e.to_string())?;
        let mut storm = None;
        for load in loads {
            match load.split_once('=') {
                None if load == "tls" => {
                    #[allow(clippy::disallowed_methods, reason = "the handle is kept: aborted below")]
                    let task = tokio::spawn(handshakes());
                    storm = Some(task);
                }
                None if load == "sqlite" => {
                    let path = state_dir.join("bench.db");
                    beside("sqlite", move || commits(&path))?;
                }
                Some(("analysis", file)) => {
                    let file = PathBuf::from(file);
                    beside("analysis", move || analyses(&file))?;
                }
                _ => return Err(Failure::from(format!("no load {load}"))),
            }
        }
        let ended = daemon.run(std::future::pending()).await;
        if let Some(storm) = storm {
            storm.abort();
        }
        println!(
            "{} handshakes, {} commits, {} analyses",
            HANDSHAKES.load(Ordering::Relaxed),
            COMMITS.load(Ordering::Relaxed),
            ANALYSES.load(Ordering::Relaxed)
        );
        ended?;
        Ok::<(), Failure>(())
    })?;
    // The other threads never end.
    runtime.shutdown_background();
    Ok(())
}
