//! The session: one MQTT connection, the core, and at most one upload beside it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::ams::Materials;
use super::config::Config;
use super::faults;
use super::ftps::{self, Server};
use super::mqtt::{self, Packet};
use super::orders::OnCard;
use super::proto::{Core, Output};
use super::tls::PrinterTls;
use super::{ams, archive};
use crate::drivers::{BoxFuture, Context, Driver, Link, Stop, StopMode};
use crate::printer::command::{CancelReason, Command, Request, RequestId, StartJob};
use crate::printer::event::Event;
use crate::printer::fault::{Fault, Severity};
use crate::printer::model::Now;
use crate::printer::outcome::Outcome;
use crate::printer::wire::Way;

/// TCP, TLS and login together.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);
/// Keep-alive promised to the printer; a ping goes out at half of it.
const KEEP_ALIVE_S: u16 = 30;
/// A write that the printer does not take.
const WRITE_LIMIT: Duration = Duration::from_secs(15);
/// After a refused access code: trying every second locks some firmwares up.
const CODE_PAUSE: Duration = Duration::from_secs(60);
/// Longest that a stop waits for a cancelled print to end.
const CANCEL_LIMIT: Duration = Duration::from_secs(30);
/// The read buffer is given back when a big report has grown it beyond this.
const BUFFER_KEPT: usize = 32 * 1024;

type Stream = TlsStream<TcpStream>;

/// A Bambu Lab printer.
#[derive(Debug)]
pub struct BambuDriver {
    config: Config,
    context: Context,
    core: Core,
    /// Requests whose end is still to come; bounded by the channel that they came through.
    replies: HashMap<RequestId, oneshot::Sender<Outcome>>,
    upload: Option<Upload>,
    code_refused: Option<Instant>,
}

#[derive(Debug)]
struct Upload {
    task: JoinHandle<Result<OnCard, Fault>>,
    /// Newest wins; full: the next one tells.
    progress: mpsc::Receiver<f32>,
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn now() -> Now {
    Now {
        mono: tokio::time::Instant::now().into_std(),
        wall: jiff::Timestamp::now(),
    }
}

/// Resolves with the upload's news; never without one.
async fn upload_news(upload: &mut Option<Upload>) -> Result<f32, Result<OnCard, Fault>> {
    let Some(upload) = upload else {
        return std::future::pending().await;
    };
    tokio::select! {
        biased;
        Some(percent) = upload.progress.recv() => Ok(percent),
        done = &mut upload.task => Err(done.unwrap_or_else(|e| Err(faults::UPLOAD.with_raw(e.to_string())))),
    }
}

impl BambuDriver {
    /// A driver with its settings.
    pub fn new(config: Config, mut context: Context) -> Self {
        let adopt = context.adopt.take();
        let first_seq = fastrand::u32(1..1 << 29);
        let core = Core::new(&config.serial, config.options, adopt, first_seq, now().mono);
        BambuDriver {
            config,
            context,
            core,
            replies: HashMap::new(),
            upload: None,
            code_refused: None,
        }
    }

    fn wire(&self, way: Way, bytes: &[u8]) {
        let wall_us = jiff::Timestamp::now().as_microsecond();
        self.context.wire.push(wall_us, way, bytes);
    }

    async fn session(&mut self, link: &mut Link, stop: &Stop) -> Result<(), Fault> {
        let _ = link.events.send(Event::Opening).await;
        let tls = PrinterTls::new(
            &self.context.state_dir,
            &self.context.printer,
            &self.config.serial,
        )
        .map_err(|e| faults::UNREACHABLE.with_raw(e.to_string()))?;
        // Requests are answered while the connection is being made.
        let mut stream = {
            let connect = connect(&self.config, &tls, self.code_refused);
            tokio::pin!(connect);
            loop {
                tokio::select! {
                    biased;
                    _ = stop.ordered() => return Ok(()),
                    Some(request) = link.urgent.recv() => not_connected(request),
                    Some(request) = link.requests.recv() => not_connected(request),
                    stream = &mut connect => break stream,
                }
            }
        }
        .inspect_err(|fault| {
            if fault.code == faults::WRONG_CODE.code {
                self.code_refused = Some(Instant::now());
            }
        })?;
        self.code_refused = None;
        self.core.connected(now());
        let ended = self.talk(link, stop, &mut stream, &tls).await;
        self.core.disconnected(now());
        // What is left to say goes to the actor, not to the wire.
        let _ = self.carry_out(link, None, &tls).await;
        self.replies.clear();
        let _ = timeout(Duration::from_secs(2), stream.shutdown()).await;
        ended
    }

    async fn talk(
        &mut self,
        link: &mut Link,
        stop: &Stop,
        stream: &mut Stream,
        tls: &PrinterTls,
    ) -> Result<(), Fault> {
        let mut buffer: Vec<u8> = Vec::with_capacity(8 * 1024);
        let half = Duration::from_secs(u64::from(KEEP_ALIVE_S) / 2);
        let mut ping = tokio::time::Instant::now() + half;
        let mut leaving: Option<tokio::time::Instant> = None;
        loop {
            self.carry_out(link, Some(stream), tls).await?;
            let tick = match self.core.deadline() {
                Some(at) => tokio::time::Instant::from_std(at),
                None => ping,
            };
            // A farm's reports must not wait for one slow one: the buffer is taken as it comes.
            if buffer.capacity() - buffer.len() < 4096 {
                buffer.reserve(buffer.len().max(8 * 1024));
            }
            tokio::select! {
                biased;
                Some(request) = link.urgent.recv() => self.take(request),
                mode = stop.ordered(), if leaving.is_none() => {
                    let busy = self.core.status().state.is_busy();
                    match mode {
                        StopMode::Cancel if busy => {
                            self.core.request(now(), RequestId(0), Command::Cancel(CancelReason::default()));
                            leaving = Some(tokio::time::Instant::now() + CANCEL_LIMIT);
                        }
                        StopMode::Park if busy => {
                            self.core.request(now(), RequestId(0), Command::Pause);
                            leaving = Some(tokio::time::Instant::now() + CANCEL_LIMIT);
                        }
                        _ => {
                            send(stream, &Packet::Disconnect).await?;
                            return Ok(());
                        }
                    }
                }
                () = sleep_until(leaving.unwrap_or(ping)), if leaving.is_some() => return Ok(()),
                read = stream.read_buf(&mut buffer) => match read {
                    Ok(0) => return Err(faults::LINK_LOST),
                    Ok(_) => self.take_in(&mut buffer, stream).await?,
                    Err(error) => return Err(faults::LINK_LOST.with_raw(error.to_string())),
                },
                Some(request) = link.requests.recv() => self.take(request),
                news = upload_news(&mut self.upload) => match news {
                    Ok(percent) => self.core.upload_progress(percent),
                    Err(result) => {
                        self.upload = None;
                        self.core.uploaded(now(), result);
                    }
                },
                () = sleep_until(ping) => {
                    send(stream, &Packet::PingReq).await?;
                    ping = tokio::time::Instant::now() + half;
                }
                () = sleep_until(tick) => self.core.tick(now()),
            }
            // Told to end with a cancelled or parked print: leave as soon as it is seen.
            let state = self.core.status().state;
            let rests = !state.is_busy()
                || state == super::status::GcodeState::Pause && stop.mode() == StopMode::Park;
            if leaving.is_some() && rests {
                self.carry_out(link, Some(stream), tls).await?;
                return Ok(());
            }
        }
    }

    fn take(&mut self, request: Request) {
        let Request {
            id, command, reply, ..
        } = request;
        if !self.core.is_ready()
            && !matches!(
                command,
                Command::Ping | Command::EmergencyStop | Command::Reconnect
            )
        {
            let text = "The printer has not told its state yet.";
            let _ = reply.send(Outcome::refused("refused/offline", text));
            return;
        }
        self.replies.insert(id, reply);
        self.core.request(now(), id, command);
    }

    /// All packets that are complete.
    async fn take_in(&mut self, buffer: &mut Vec<u8>, stream: &mut Stream) -> Result<(), Fault> {
        let mut at = 0;
        loop {
            let rest = buffer.get(at..).unwrap_or_default();
            let (packet, len) = match mqtt::decode(rest) {
                Ok(Some(found)) => found,
                Ok(None) => break,
                Err(error) => return Err(faults::LINK_LOST.with_raw(error.to_string())),
            };
            match packet {
                Packet::Publish { id, payload, .. } => {
                    if let Some(id) = id {
                        send(stream, &Packet::PubAck(id)).await?;
                    }
                    self.wire(Way::In, payload);
                    self.core.message(now(), payload);
                }
                Packet::SubAck { granted: false, .. } => return Err(faults::NO_REPORTS),
                Packet::Disconnect => return Err(faults::LINK_LOST),
                _ => {}
            }
            at += len;
        }
        buffer.drain(..at.min(buffer.len()));
        if buffer.is_empty() && buffer.capacity() > BUFFER_KEPT {
            *buffer = Vec::with_capacity(8 * 1024);
        }
        Ok(())
    }

    /// Does what the core wants. Without a stream publishes are dropped.
    async fn carry_out(
        &mut self,
        link: &Link,
        mut stream: Option<&mut Stream>,
        tls: &PrinterTls,
    ) -> Result<(), Fault> {
        let mut hangup = None;
        while let Some(output) = self.core.poll() {
            match output {
                Output::Publish(text) => {
                    let Some(stream) = stream.as_deref_mut() else {
                        continue;
                    };
                    self.wire(Way::Out, text.as_bytes());
                    let topic = format!("device/{}/request", self.config.serial);
                    // Acknowledged delivery is asked for, not waited for: some firmwares answer
                    // slowly without it, and match acknowledgements carelessly.
                    let id = fastrand::u16(1..);
                    let publish = Packet::Publish {
                        topic: &topic,
                        id: Some(id),
                        payload: text.as_bytes(),
                    };
                    send(stream, &publish).await?;
                }
                Output::Event(event) => tell(link, event).await,
                Output::Reply(id, outcome) => {
                    if let Some(reply) = self.replies.remove(&id) {
                        let _ = reply.send(outcome);
                    }
                }
                Output::Upload(job) => self.upload = Some(self.begin_upload(job, tls)),
                Output::AbortUpload => self.upload = None,
                Output::Hangup(fault) => hangup = Some(fault),
            }
        }
        hangup.map_or(Ok(()), Err)
    }

    fn begin_upload(&self, job: StartJob, tls: &PrinterTls) -> Upload {
        let server = Server {
            host: self.config.host.clone(),
            port: self.config.ftps_port,
            code: self.config.code.clone(),
            tls: tls.clone(),
        };
        let materials = match self.config.options.use_ams {
            true => self.core.status().materials.clone(),
            false => Materials::default(),
        };
        let scratch = self.context.state_dir.clone();
        // One place: a value that nobody has read yet is old news.
        let (told, progress) = mpsc::channel(1);
        #[allow(
            clippy::disallowed_methods,
            reason = "the handle is kept in `Upload`: awaited, or aborted when dropped"
        )]
        let task = tokio::spawn(bring(server, job, materials, scratch, told));
        Upload { task, progress }
    }
}

/// Makes the file ready, finds slots for its filaments, and uploads it.
async fn bring(
    server: Server,
    job: StartJob,
    materials: Materials,
    scratch: std::path::PathBuf,
    told: mpsc::Sender<f32>,
) -> Result<OnCard, Fault> {
    let program = job.program.clone();
    let ready = tokio::task::spawn_blocking(move || archive::prepare(&program, &scratch))
        .await
        .map_err(|e| faults::FILE.with_raw(e.to_string()))??;
    let slots = ams::assign(&ready.wanted, &materials).map_err(|number| {
        let want = ready.wanted.iter().find(|w| w.slot == number);
        let material = want
            .and_then(|w| w.material.as_deref())
            .unwrap_or("an unknown material");
        faults::NO_FILAMENT.with_raw(format!("filament {} of the file is {material}", number + 1))
    })?;
    let mut last = Instant::now();
    let mut progress = |percent: f32| {
        // Four times a second is more than anybody reads.
        if last.elapsed() >= Duration::from_millis(250) {
            last = Instant::now();
            let _ = told.try_send(percent);
        }
    };
    let sent = ftps::upload(&server, &ready.path, &ready.name, ready.size, &mut progress).await;
    if ready.ours {
        let _ = tokio::fs::remove_file(&ready.path).await;
    }
    sent.map(|()| OnCard {
        file: ready.name,
        plate: ready.plate,
        md5: String::new(),
        slots,
    })
}

/// Levels may be dropped when the actor is behind, edges wait for room.
async fn tell(link: &Link, event: Event) {
    let level = matches!(
        event,
        Event::Heat { .. } | Event::Progress(_) | Event::Upload { percent: Some(_) }
    );
    if level {
        let _ = link.events.try_send(event);
    } else {
        let _ = link.events.send(event).await;
    }
}

fn not_connected(request: Request) {
    let outcome = match request.command {
        Command::Ping => Outcome::Sent,
        Command::EmergencyStop => Outcome::refused(
            "refused/offline",
            "The stop could NOT be sent: there is no connection. Switch the printer off at the mains.",
        ),
        _ => Outcome::refused("refused/offline", "The printer is not connected yet."),
    };
    let _ = request.reply.send(outcome);
}

async fn send(stream: &mut Stream, packet: &Packet<'_>) -> Result<(), Fault> {
    let mut bytes = Vec::new();
    packet.encode(&mut bytes);
    let write = async {
        stream.write_all(&bytes).await?;
        stream.flush().await
    };
    match timeout(WRITE_LIMIT, write).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(faults::LINK_LOST.with_raw(error.to_string())),
        Err(_) => Err(faults::LINK_LOST.with_raw("a write was not taken")),
    }
}

async fn connect(config: &Config, tls: &PrinterTls, refused: Option<Instant>) -> Result<Stream, Fault> {
    if let Some(at) = refused {
        sleep_until(tokio::time::Instant::from_std(at + CODE_PAUSE)).await;
    }
    match timeout(CONNECT_LIMIT, log_in(config, tls)).await {
        Ok(done) => done,
        Err(_) => Err(faults::UNREACHABLE.with_raw("no answer in 20 s")),
    }
}

async fn log_in(config: &Config, tls: &PrinterTls) -> Result<Stream, Fault> {
    let unreachable = |e: std::io::Error| faults::UNREACHABLE.with_raw(e.to_string());
    let tcp = TcpStream::connect((config.host.as_str(), config.mqtt_port))
        .await
        .map_err(unreachable)?;
    let _ = tcp.set_nodelay(true);
    let name = rustls::pki_types::ServerName::IpAddress(tcp.peer_addr().map_err(unreachable)?.ip().into());
    let connector = TlsConnector::from(tls.config.clone());
    let mut stream = connector
        .connect(name, tcp)
        .await
        .map_err(|e| tls.doubt().unwrap_or_else(|| unreachable(e)))?;
    // Two connections with one name throw each other out on some firmwares.
    let client_id = format!("layerd-{:08x}", fastrand::u32(..));
    let connect = Packet::Connect {
        client_id: &client_id,
        user: "bblp",
        password: config.code.reveal(),
        keep_alive_s: KEEP_ALIVE_S,
    };
    send(&mut stream, &connect).await?;
    match answer(&mut stream).await? {
        0 => {}
        4 | 5 => return Err(faults::WRONG_CODE),
        code => {
            let mut fault = faults::LINK_LOST.with_raw(format!("connection refused, reason {code}"));
            fault.severity = Severity::Retry;
            return Err(fault);
        }
    }
    // The printer knows the code, so it is the one.
    tls.keep().map_err(|e| {
        faults::UNREACHABLE
            .with_what(
                "The printer's certificate could not be kept, so the next connection could not be trusted.",
            )
            .with_raw(e.to_string())
    })?;
    let topic = format!("device/{}/report", config.serial);
    send(&mut stream, &Packet::Subscribe { id: 1, topic: &topic }).await?;
    Ok(stream)
}

/// The answer to the login: the only packet that may come now.
async fn answer(stream: &mut Stream) -> Result<u8, Fault> {
    let mut bytes = [0; 4];
    stream
        .read_exact(&mut bytes)
        .await
        .map_err(|e| faults::LINK_LOST.with_raw(e.to_string()))?;
    match mqtt::decode(&bytes) {
        Ok(Some((Packet::ConnAck(code), _))) => Ok(code),
        _ => Err(faults::LINK_LOST.with_raw("no MQTT at this port")),
    }
}

impl Driver for BambuDriver {
    fn run<'a>(&'a mut self, link: &'a mut Link, stop: &'a Stop) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(self.session(link, stop))
    }
}
