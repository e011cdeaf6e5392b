//! The addresses that the API listens on, beside the unix socket. None of them is worth a printer: what
//! cannot be had is told and tried again.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::keys::Keys;
use super::server::{self, Listener};

/// How long to wait before an address is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// Largest certificate or key file.
const PEM_MAX_BYTES: u64 = 1 << 20;

/// Why no encrypted connection can be offered.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file.
    #[error("{path}: {why}. It must be a PEM file that the daemon may read.")]
    File {
        /// Which.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The two together.
    #[error("`tls_cert` and `tls_key` do not work together: {0}.")]
    Pair(#[from] rustls::Error),
}

/// Reads the certificate and its key.
///
/// # Errors
/// A file that cannot be read, or two that do not belong together.
pub fn tls(cert: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let wrong = |path: &Path, why: String| TlsError::File {
        path: path.display().to_string(),
        why,
    };
    let read = |path: &Path| match std::fs::metadata(path) {
        Ok(meta) if meta.len() > PEM_MAX_BYTES => Err(wrong(path, "it is larger than 1 MiB".to_owned())),
        Ok(_) => std::fs::read(path).map_err(|e| wrong(path, e.to_string())),
        Err(e) => Err(wrong(path, e.to_string())),
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(cert)?)
        .collect::<Result<_, _>>()
        .map_err(|e| wrong(cert, e.to_string()))?;
    if chain.is_empty() {
        return Err(wrong(cert, "it holds no certificate".to_owned()));
    }
    // The words of this error never hold any of the key.
    let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|e| wrong(key, e.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, private)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The addresses that are listened on at the moment, as URLs.
#[derive(Debug, Default)]
pub struct Listening(Mutex<Vec<String>>);

impl Listening {
    /// All of them.
    pub fn addresses(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    fn add(&self, url: String) {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).push(url);
    }
}

/// One address to listen on.
pub struct Place {
    /// Which; port 0 is any free one.
    pub address: SocketAddr,
    /// What encrypts it.
    pub tls: Option<TlsAcceptor>,
    /// The keys there are.
    pub keys: Arc<Keys>,
    /// Where to tell that it is had.
    pub listening: Arc<Listening>,
}

/// Listens on one address until `shutdown`: as soon as it can be had, and, where others can reach it, as
/// soon as there is a key.
pub async fn listen(place: Place, router: Router, shutdown: CancellationToken) {
    let Place {
        address,
        tls,
        keys,
        listening,
    } = place;
    let waiting = async {
        if !address.ip().is_loopback() {
            key_exists(address, &keys).await;
        }
        bound(address).await
    };
    let listener = tokio::select! {
        () = shutdown.cancelled() => return,
        listener = waiting => listener,
    };
    let scheme = if tls.is_some() { "https" } else { "http" };
    let at = listener.local_addr().unwrap_or(address);
    tracing::info!(code = "api/listening", "the API listens on {scheme}://{at}");
    listening.add(format!("{scheme}://{at}"));
    server::serve(Listener::Tcp(listener, tls), router, shutdown).await;
}

/// Words for an address that others can reach while nobody holds a key.
pub fn no_key(address: SocketAddr) -> String {
    format!(
        "the API does not listen on {address}, which others can reach, until there is a key: \
         run \"layerd key create NAME --scopes read,control\""
    )
}

async fn key_exists(address: SocketAddr, keys: &Keys) {
    let mut count = keys.watch();
    if *count.borrow_and_update() == 0 {
        tracing::warn!(code = "api/no-key", "{}", no_key(address));
    }
    // The sender lives as long as `keys`.
    let _ = count.wait_for(|n| *n > 0).await;
}

async fn bound(address: SocketAddr) -> TcpListener {
    let mut told = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) if !told => {
                told = true;
                tracing::error!(
                    code = "api/no-address",
                    "the API cannot listen on {address}: {error}. The printers and the unix socket are not \
                     concerned. {} Tried again every {} s.",
                    remedy(&error),
                    AGAIN.as_secs()
                );
            }
            Err(_) => {}
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "Another program uses the port: see \"ss -ltnp\", or name another one under [api] listen."
        }
        io::ErrorKind::AddrNotAvailable => "This host does not have that address (yet).",
        io::ErrorKind::PermissionDenied => "Ports below 1024 are for root: take a higher one.",
        _ => "Look at `listen` under [api].",
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use jiff::Timestamp;

    use super::*;
    use crate::job::store::{ApiKeyRow, Store};

    #[tokio::test]
    async fn beyond_loopback_it_listens_only_once_there_is_a_key() {
        let keys = Arc::new(Keys::default());
        let (stop, mut tasks) = (CancellationToken::new(), tokio::task::JoinSet::new());
        let mut open = |address: SocketAddr| {
            let listening = Arc::new(Listening::default());
            let place = Place {
                address,
                tls: None,
                keys: Arc::clone(&keys),
                listening: Arc::clone(&listening),
            };
            tasks.spawn(listen(place, Router::new(), stop.clone()));
            listening
        };
        // A mapped address is none of loopback's: it is on the safe side.
        let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
        let far = [open((Ipv4Addr::UNSPECIFIED, 0).into()), open((mapped, 0).into())];
        let near = [
            open((Ipv4Addr::LOCALHOST, 0).into()),
            open((Ipv6Addr::LOCALHOST, 0).into()),
        ];
        let until = async |all: &[Arc<Listening>]| {
            let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
            while all.iter().any(|l| l.addresses().is_empty()) {
                assert!(tokio::time::Instant::now() < deadline, "it listens");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        until(near.get(..1).unwrap_or_default()).await;
        assert!(far.iter().all(|l| l.addresses().is_empty()), "nobody holds a key");
        let store = Store::memory().expect("a store");
        let row = ApiKeyRow {
            id: 0,
            name: "a".to_owned(),
            sha256: "ab".repeat(32),
            scopes: "read".to_owned(),
            created: Timestamp::UNIX_EPOCH,
            expires: None,
        };
        store.api_key_put(row).await.expect("kept");
        keys.load(&store).await.expect("loaded");
        until(far.get(..1).unwrap_or_default()).await;
        stop.cancel();
    }
}
