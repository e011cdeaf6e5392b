//! A stand-in for a printer on the local network: TLS, MQTT, a file server, the printer behind them.
//! For people who want to try layerd, for the demo and for our own tests. It is written by the author
//! of the client: what it proves about real printers is little.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub mod broker;
pub mod camera;
pub mod certificate;
pub mod files;
pub mod kind;
pub mod printer;

use kind::Kind;
use printer::Printer;

/// How the stand-in behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens.
    pub host: IpAddr,
    /// MQTT; 0: any free one.
    pub mqtt_port: u16,
    /// Files; 0: any free one.
    pub ftps_port: u16,
    /// Camera; 0: any free one.
    pub camera_port: u16,
    /// Serial number.
    pub serial: String,
    /// Access code.
    pub code: String,
    /// Times faster than life.
    pub speed: f64,
    /// Model.
    pub kind: Kind,
    /// Developer Mode.
    pub dev_mode: bool,
    /// Takes orders and does nothing, without a word.
    pub silent: bool,
    /// The card.
    pub root: PathBuf,
}

/// One client's ends on the way to the printer.
#[derive(Debug)]
pub struct Shared {
    /// How it behaves.
    pub options: Options,
    /// The printer itself.
    pub printer: Mutex<Printer>,
    /// Reports to all clients; a client that is 64 behind loses the oldest.
    pub reports: broadcast::Sender<Arc<str>>,
    /// Cuts all clients off.
    pub drops: broadcast::Sender<()>,
}

impl Shared {
    /// Looks at or changes the printer, and publishes what it has to say.
    pub fn with<T>(&self, change: impl FnOnce(&mut Printer) -> T) -> T {
        let mut printer = self.printer.lock().unwrap_or_else(|e| e.into_inner());
        let result = change(&mut printer);
        for report in printer.take_reports() {
            let _ = self.reports.send(report.into());
        }
        result
    }
}

/// A running stand-in. Dropping it ends it.
#[derive(Debug)]
pub struct Sim {
    /// The printer.
    pub shared: Arc<Shared>,
    /// Where MQTT is.
    pub mqtt: SocketAddr,
    /// Where the files are.
    pub ftps: SocketAddr,
    /// Where the pictures are.
    pub camera: SocketAddr,
    stop: CancellationToken,
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Sim {
    /// Cuts all connections.
    pub fn drop_clients(&self) {
        let _ = self.shared.drops.send(());
    }

    /// Starts it.
    ///
    /// # Errors
    /// A port is taken, or the card's directory cannot be made.
    pub async fn start(options: Options) -> std::io::Result<Sim> {
        std::fs::create_dir_all(&options.root)?;
        let tls = certificate::server(&options.serial).map_err(std::io::Error::other)?;
        let mqtt = TcpListener::bind((options.host, options.mqtt_port)).await?;
        let ftps = TcpListener::bind((options.host, options.ftps_port)).await?;
        let camera = TcpListener::bind((options.host, options.camera_port)).await?;
        let (mqtt_at, ftps_at, camera_at) = (mqtt.local_addr()?, ftps.local_addr()?, camera.local_addr()?);
        let shared = Arc::new(Shared {
            printer: Mutex::new(Printer::new(&options)),
            reports: broadcast::channel(64).0,
            drops: broadcast::channel(4).0,
            options,
        });
        let stop = CancellationToken::new();
        let tracker = TaskTracker::new();
        let end = stop.clone();
        let open = |listener, serve: Serve| {
            let door = accept(listener, tls.clone(), shared.clone(), stop.clone(), serve);
            tracker.spawn(door.boxed());
        };
        open(mqtt, |s, shared, _| Box::pin(broker::serve(s, shared)));
        open(camera, |s, shared, _| Box::pin(camera::serve(s, shared)));
        open(ftps, |s, shared, tls| Box::pin(files::serve(s, shared, tls)));
        let clock = shared.clone();
        let turns = async move {
            let step = Duration::from_millis(100);
            let mut turn = tokio::time::interval(step);
            loop {
                tokio::select! {
                    () = end.cancelled() => return,
                    _ = turn.tick() => clock.with(|p| p.pass(step.as_secs_f64())),
                }
            }
        };
        tracker.spawn(turns.boxed());
        Ok(Sim {
            shared,
            mqtt: mqtt_at,
            ftps: ftps_at,
            camera: camera_at,
            stop,
        })
    }
}

/// How a client of one of the ports is served.
type Serve = fn(TlsStream<TcpStream>, Arc<Shared>, Arc<ServerConfig>) -> BoxFuture<'static, ()>;

async fn accept(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    shared: Arc<Shared>,
    stop: CancellationToken,
    serve: Serve,
) {
    let clients = TaskTracker::new();
    loop {
        let tcp = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((tcp, _)) => tcp,
                Err(_) => continue,
            },
        };
        // A stand-in for one person's tests: more clients than this are a mistake.
        if clients.len() >= 32 {
            continue;
        }
        let (tls, shared, stop) = (tls.clone(), shared.clone(), stop.clone());
        let client = async move {
            let hello = tokio::time::timeout(
                Duration::from_secs(10),
                TlsAcceptor::from(tls.clone()).accept(tcp),
            );
            if let Ok(Ok(stream)) = hello.await {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = serve(stream, shared, tls) => {}
                }
            }
        };
        clients.spawn(client.boxed());
    }
}
