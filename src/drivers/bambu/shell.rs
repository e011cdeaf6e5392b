//! The session: one MQTT connection, the core, and at most one upload beside it.

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::sleep_until;

use super::ams::Materials;
use super::config::Config;
use super::faults;
use super::ftps::{self, Patience, Server};
use super::mqtt::{Broken, Delivery, Mqtt, Requests};
use super::orders::OnCard;
use super::proto::{Core, Output};
use super::tls::{self, PrinterTls};
use super::{ams, archive, beat, found};
use crate::blocking;
use crate::drivers::{BoxFuture, Context, Driver, Link, Stop, StopMode};
use crate::printer::command::{CancelReason, Command, Request, RequestId, StartJob};
use crate::printer::event::Event;
use crate::printer::fault::Fault;
use crate::printer::model::Now;
use crate::printer::outcome::Outcome;
use crate::printer::wire::Way;
use crate::sorted::SortedMap;

/// After a refused access code: trying every second locks some firmwares up.
const CODE_PAUSE: Duration = Duration::from_secs(60);
/// A connection that lasted so long was a good one.
const SETTLED: Duration = Duration::from_secs(60);
/// After so many connections in a row that ended sooner somebody else has the printer's place.
const CUT_SHORT: u32 = 3;
/// Reports taken in one go before orders and deadlines are looked at again.
const REPORTS_AT_ONCE: usize = 16;
/// Longest that a stop waits for a cancelled print to end.
const CANCEL_LIMIT: Duration = Duration::from_secs(30);

/// A Bambu Lab printer.
#[derive(Debug)]
pub struct BambuDriver {
    config: Config,
    context: Context,
    core: Core,
    /// Requests whose end is still to come; bounded by the channel that they came through.
    replies: SortedMap<RequestId, oneshot::Sender<Outcome>>,
    upload: Option<Upload>,
    code_refused: Option<Instant>,
    /// Sessions in a row that the printer ended soon.
    cut_short: u32,
    delivery: Delivery,
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
            replies: SortedMap::new(),
            upload: None,
            code_refused: None,
            cut_short: 0,
            delivery: Delivery::default(),
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
        let connecting = connect(&self.config, &tls, self.delivery, self.code_refused);
        let Some(connected) = meanwhile(link, stop, connecting).await else {
            return Ok(());
        };
        let mut mqtt = match connected {
            Ok(mqtt) => mqtt,
            Err(fault) => {
                if fault.code == faults::WRONG_CODE.code {
                    self.code_refused = Some(Instant::now());
                }
                if fault.code == faults::UNREACHABLE.code {
                    self.look_elsewhere(link, stop).await;
                }
                return Err(fault);
            }
        };
        self.code_refused = None;
        let began = Instant::now();
        self.core.connected(now());
        let ended = self.talk(link, stop, &mut mqtt, &tls).await;
        self.core.disconnected(now());
        // What is left to say goes to the actor, not to the wire.
        let _ = self.carry_out(link, None, &tls).await;
        self.replies.clear();
        mqtt.close().await;
        ended.map_err(|broken| {
            if broken.muddled {
                self.delivery = Delivery::Plain;
            }
            // Without words it was ours to end it.
            let words = broken
                .fault
                .raw
                .clone()
                .filter(|_| broken.fault.code == faults::LINK_LOST.code);
            match words.filter(|_| began.elapsed() < SETTLED) {
                Some(words) => {
                    self.cut_short += 1;
                    match self.cut_short >= CUT_SHORT {
                        true => faults::CROWDED.with_raw(words),
                        false => broken.fault,
                    }
                }
                None => {
                    self.cut_short = 0;
                    broken.fault
                }
            }
        })
    }

    /// The router may have given the printer another address: it is known by its serial number, and trusted
    /// there by its key, so only a printer that was connected before is looked for.
    async fn look_elsewhere(&mut self, link: &mut Link, stop: &Stop) {
        if !tls::pin_file(&self.context.state_dir, &self.context.printer).exists() {
            return;
        }
        let heard = meanwhile(link, stop, found::address_of(&self.config.serial)).await;
        let before = self.config.address();
        self.config
            .elsewhere
            .set(heard.flatten().map(|address| address.to_string()));
        let host = self.config.address();
        if host != before {
            tracing::info!(printer = %self.context.printer, %host, "the printer is looked for at another address");
        }
    }

    async fn talk(
        &mut self,
        link: &mut Link,
        stop: &Stop,
        mqtt: &mut Mqtt,
        tls: &PrinterTls,
    ) -> Result<(), Broken> {
        let mut leaving: Option<tokio::time::Instant> = None;
        let mut resting: Option<tokio::time::Instant> = None;
        loop {
            // What was published goes out only while the connection is looked after.
            if self.carry_out(link, Some(&mqtt.requests), tls).await? {
                resting = None;
            }
            let tick = self.core.deadline().map(tokio::time::Instant::from_std);
            tokio::select! {
                biased;
                Some(request) = link.urgent.recv() => self.take(request),
                mode = stop.ordered(), if leaving.is_none() => {
                    let busy = self.core.status().state.is_busy();
                    let last = match mode {
                        StopMode::Cancel if busy => Command::Cancel(CancelReason::default()),
                        StopMode::Park if busy => Command::Pause,
                        _ => return Ok(()),
                    };
                    self.core.request(now(), RequestId(0), last);
                    leaving = Some(tokio::time::Instant::now() + CANCEL_LIMIT);
                }
                () = until(leaving) => return Ok(()),
                () = until(tick) => self.core.tick(now()),
                Some(request) = link.requests.recv() => self.take(request),
                news = upload_news(&mut self.upload) => match news {
                    Ok(percent) => self.core.upload_progress(percent),
                    Err(result) => {
                        self.upload = None;
                        self.core.uploaded(now(), result);
                    }
                },
                () = until(resting) => resting = None,
                // Last: a flood of reports must not hold up orders and deadlines.
                report = mqtt.next(), if resting.is_none() => {
                    self.hear(&report?);
                    // Then all that has come meanwhile, and rest, if nothing is awaited.
                    for _ in 1..REPORTS_AT_ONCE {
                        let Some(report) = mqtt.next().now_or_never() else {
                            let calm = self.core.is_calm() && self.upload.is_none();
                            let every = match self.core.status().state.is_busy() {
                                true => beat::PRINTING,
                                false => beat::IDLE,
                            };
                            resting = calm.then(|| beat::next(tokio::time::Instant::now(), every));
                            break;
                        };
                        self.hear(&report?);
                    }
                }
            }
            // Told to end with a cancelled or parked print: leave as soon as it is seen.
            let state = self.core.status().state;
            let rests = !state.is_busy()
                || state == super::status::GcodeState::Pause && stop.mode() == StopMode::Park;
            if leaving.is_some() && rests {
                self.carry_out(link, Some(&mqtt.requests), tls).await?;
                return Ok(());
            }
        }
    }

    fn hear(&mut self, report: &[u8]) {
        self.wire(Way::In, report);
        self.core.message(now(), report);
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

    /// Does what the core wants. Without a connection publishes are dropped. Tells whether something was
    /// published.
    async fn carry_out(
        &mut self,
        link: &Link,
        requests: Option<&Requests>,
        tls: &PrinterTls,
    ) -> Result<bool, Fault> {
        let (mut hangup, mut published) = (None, false);
        while let Some(output) = self.core.poll() {
            match output {
                Output::Publish(text) => {
                    let Some(requests) = requests else { continue };
                    self.wire(Way::Out, text.as_bytes());
                    requests.publish(text)?;
                    published = true;
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
        hangup.map_or(Ok(published), Err)
    }

    fn begin_upload(&self, job: StartJob, tls: &PrinterTls) -> Upload {
        let server = Server {
            host: self.config.address(),
            port: self.config.ftps_port,
            code: self.config.code.clone(),
            tls: tls.clone(),
            patience: Patience::default(),
        };
        // What a person chooses for a print goes before the configuration.
        let materials = match self.config.options.use_ams || !job.materials.is_empty() {
            true => self.core.status().materials.clone(),
            false => Materials::default(),
        };
        let scratch = self.context.state_dir.clone();
        let plain = self.config.options.plain_gcode;
        // One place: a value that nobody has read yet is old news.
        let (told, progress) = mpsc::channel(1);
        #[allow(
            clippy::disallowed_methods,
            reason = "the handle is kept in `Upload`: awaited, or aborted when dropped"
        )]
        let task = tokio::spawn(bring(server, job, materials, (plain, scratch), told));
        Upload { task, progress }
    }
}

/// Makes the file ready, finds slots for its filaments, and uploads it.
async fn bring(
    server: Server,
    job: StartJob,
    materials: Materials,
    (plain, scratch): (bool, std::path::PathBuf),
    told: mpsc::Sender<f32>,
) -> Result<OnCard, Fault> {
    let (program, plate) = (job.program.clone(), job.plate);
    let ready = blocking::run(move || archive::prepare(&program, plate, plain, &scratch))
        .await
        .map_err(|e| faults::FILE.with_raw(e.to_string()))??;
    let found = match job.materials.is_empty() {
        true => ams::assign(&ready.wanted, &materials),
        false => ams::chosen(&job.materials, &materials),
    };
    let slots = found.map_err(|number| {
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

/// Does something without a connection; requests are answered meanwhile. `None`: told to stop.
async fn meanwhile<T>(link: &mut Link, stop: &Stop, work: impl Future<Output = T>) -> Option<T> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            _ = stop.ordered() => return None,
            Some(request) = link.urgent.recv() => not_connected(request),
            Some(request) = link.requests.recv() => not_connected(request),
            done = &mut work => return Some(done),
        }
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

/// Resolves at a time; never without one.
async fn until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn connect(
    config: &Config,
    tls: &PrinterTls,
    delivery: Delivery,
    refused: Option<Instant>,
) -> Result<Mqtt, Fault> {
    if let Some(at) = refused {
        sleep_until(tokio::time::Instant::from_std(at + CODE_PAUSE)).await;
    }
    Mqtt::open(config, tls, delivery).await
}

impl Driver for BambuDriver {
    fn run<'a>(&'a mut self, link: &'a mut Link, stop: &'a Stop) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(self.session(link, stop))
    }
}
