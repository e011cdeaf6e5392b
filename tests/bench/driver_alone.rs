//! The Marlin driver without the rest of the daemon: prints a file on a port and tells what it saw.
//!
//! ```text
//! cargo run --profile quick --example driver-alone -- PORT FILE [off|auto]
//! ```
//!
//! Words on stdin (`pause`, `resume`, `cancel`, `estop`) become commands. For finding out on which side
//! of the driver's channels a cost or a mistake lies.

use std::error::Error;
use std::io::BufRead as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use layerd::drivers::marlin::config::Config;
use layerd::drivers::marlin::port::PortSpec;
use layerd::drivers::marlin::settings::{Settings, Window};
use layerd::drivers::{Build as _, Context, Link, Stop, StopMode};
use layerd::host::fdstore::FdStore;
use layerd::printer::command::{CancelReason, Command, Program, Request, RequestId, StartJob};
use layerd::printer::event::{Event, JobEvent};
use layerd::printer::wire::WireRing;
use tokio::sync::{mpsc, oneshot};

fn cpu_s() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = text
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn request(command: Command) -> (Request, oneshot::Receiver<layerd::printer::outcome::Outcome>) {
    let (reply, answer) = oneshot::channel();
    let request = Request {
        id: RequestId(fastrand::u64(1..)),
        command,
        deadline: Instant::now() + Duration::from_secs(600),
        reply,
    };
    (request, answer)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(port), Some(file)) = (words.next(), words.next()) else {
        return Err("PORT FILE [off|auto]".into());
    };
    let window = if words.next().as_deref() == Some("off") {
        Window::Off
    } else {
        Window::Auto
    };
    let dir = std::env::temp_dir().join(format!("driver-alone-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let (requests, requests_rx) = mpsc::channel(16);
    let (urgent, urgent_rx) = mpsc::channel(4);
    let (events_tx, mut events) = mpsc::channel(256);
    let wire = Arc::new(WireRing::new(64 * 1024));
    let context = Context {
        printer: "alone".into(),
        runtime_dir: dir.clone(),
        state_dir: dir.clone(),
        fd_store: Arc::new(FdStore::default()),
        wire: wire.clone(),
        adopt: None,
        pause_on_restart: false,
    };
    let config = Config {
        port: PortSpec::Path(port.into()),
        baud: Some(115_200),
        settings: Settings {
            bed_mm: Some([250.0, 220.0, 250.0]),
            window,
            ..Settings::default()
        },
    };
    let (stop, began) = (Stop::new(), Instant::now());
    let mut driver = config.build(context);
    let ordered = stop.clone();
    let session = async {
        let mut link = Link {
            requests: requests_rx,
            urgent: urgent_rx,
            events: events_tx,
        };
        driver.run(&mut link, &ordered).await
    };
    let (typed_tx, mut typed) = mpsc::channel::<String>(8);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if typed_tx.blocking_send(line).is_err() {
                return;
            }
        }
    });
    let size = std::fs::metadata(&file)?.len();
    let start = Command::Start(StartJob {
        uid: uuid::Uuid::new_v4(),
        program: Arc::new(Program {
            path: file.clone().into(),
            name: file.clone(),
            size,
            sha256: String::new(),
            layers: None,
            estimate_s: None,
            max_z_mm: None,
            objects: Vec::new(),
        }),
        skip: Vec::new(),
        materials: Vec::new(),
        plate: None,
    });
    let mut start = Some(start);
    let lines = std::fs::read_to_string(&file)?
        .lines()
        .filter(|l| !l.trim().is_empty() && !l.starts_with(';'))
        .count();
    let mut printing: Option<(Instant, f64)> = None;
    let watch = async {
        let mut answers = Vec::new();
        loop {
            tokio::select! {
                Some(event) = events.recv() => {
                    let at = began.elapsed().as_secs_f64();
                    match &event {
                        Event::Heat { .. } | Event::Progress(_) | Event::Position(_) | Event::Traffic(_) | Event::Checkpoint(_) => {}
                        _ => println!("{at:8.3} {event:?}"),
                    }
                    if event == Event::Up && let Some(start) = start.take() {
                        printing = Some((Instant::now(), cpu_s()));
                        let (request, answer) = request(start);
                        let _ = requests.send(request).await;
                        answers.push(answer);
                    }
                    if matches!(event, Event::Job(JobEvent::Done { .. } | JobEvent::Failed { .. } | JobEvent::Cancelled { .. })) {
                        if let Some((since, cpu)) = printing {
                            let span = since.elapsed().as_secs_f64();
                            println!("{lines} lines, {:.0} lines/s, {:.2} µs CPU a line", lines as f64 / span, (cpu_s() - cpu) * 1e6 / lines as f64);
                        }
                        stop.order(StopMode::Leave);
                    }
                }
                Some(word) = typed.recv() => {
                    let command = match word.trim() {
                        "pause" => Command::Pause,
                        "resume" => Command::Resume,
                        "cancel" => Command::Cancel(CancelReason::default()),
                        "estop" => Command::EmergencyStop,
                        _ => continue,
                    };
                    let lane = if command == Command::EmergencyStop { &urgent } else { &requests };
                    let (request, answer) = request(command);
                    let _ = lane.send(request).await;
                    println!("{:8.3} {word}: {:?}", began.elapsed().as_secs_f64(), tokio::time::timeout(Duration::from_secs(60), answer).await);
                }
                else => return,
            }
        }
    };
    let end = tokio::select! {
        end = session => end,
        () = watch => return Err("the driver let go of its channel".into()),
    };
    println!("{:8.3} session: {end:?}", began.elapsed().as_secs_f64());
    if std::env::var_os("WIRE").is_some() {
        println!("{}", wire.dump().join("\n"));
    }
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
