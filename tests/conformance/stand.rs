//! A printer of each kind, how it is configured, and its cable.

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use layerd::drivers::bambu::sim as bambu_sim;
use layerd::drivers::marlin::sim as marlin_sim;
use layerd::drivers::marlin::sim::Injection;
use layerd::drivers::marlin::sim::pty::{PtyOptions, SimPty};
use layerd::drivers::moonraker::sim as klipper_sim;
use layerd::printer::model::PrintObject;
use serde_json::json;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How many times faster than life the printers are.
const SPEED: f64 = 60.0;

/// Name of the file that a person starts at the printer.
const BY_HAND: &str = "HAND.GCO";

/// A place for a printer of a kind.
pub struct Ground {
    kind: &'static str,
    pub dir: tempfile::TempDir,
}

impl Ground {
    fn of(kind: &'static str) -> Ground {
        let dir = tempfile::tempdir().unwrap();
        Ground { kind, dir }
    }

    pub fn bambu() -> Ground {
        Ground::of("bambu")
    }

    pub fn marlin() -> Ground {
        Ground::of("marlin")
    }

    pub fn moonraker() -> Ground {
        Ground::of("moonraker")
    }

    /// The printer. `open`: it lets us in.
    pub async fn stand(&self, open: bool) -> Stand {
        let dir = self.dir.path();
        match self.kind {
            "bambu" => Stand::bambu(dir, open).await,
            "marlin" => Stand::marlin(dir, open),
            _ => Stand::moonraker(dir, open).await,
        }
    }
}

/// A printer, how it is configured, and its cable.
pub enum Stand {
    /// With the port, where somebody else has it.
    Marlin(
        SimPty,
        #[allow(dead_code, reason = "held, not read")] Option<File>,
    ),
    Klipper(klipper_sim::SimPrinter, Cable, PathBuf),
    Bambu(bambu_sim::Sim, Cable, &'static str),
}

/// The object of [`Stand::plate`] that is left out, and one that stays: what is laid down of them.
pub const GONE: &str = "G1 X25 E0.1 F1800";
pub const KEPT: &str = "G1 X65 E0.1 F1800";

/// Two objects in turns, labelled in comments.
fn two_objects() -> String {
    let turns = (0..3_000).map(|n| {
        let (name, x, line) = [("gone id:0 copy 0", 20, GONE), ("kept id:1 copy 0", 60, KEPT)][n % 2];
        format!("; printing object {name}\nG1 X{x} Y{x} F6000\n{line}\n; stop printing object {name}\n")
    });
    "M140 S50\nM104 S200\nM109 S200\nG28\nM83\n".to_owned() + &turns.collect::<String>()
}

/// A sliced project with one plate of two objects.
fn project(print_s: u32) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let info = format!(
        "<?xml version=\"1.0\"?><config><plate><metadata key=\"index\" value=\"1\"/><metadata key=\"prediction\" \
                value=\"{print_s}\"/><metadata key=\"label_object_enabled\" value=\"true\"/><object identify_id=\"104\" \
                name=\"gone\" skipped=\"false\"/><object identify_id=\"121\" name=\"kept\" skipped=\"false\"/>\
                </plate></config>"
    );
    let gcode =
        "; HEADER_BLOCK_START\n; total layer number: 1\n; model label id: 104,121\n; HEADER_BLOCK_END\nG28\n";
    for (name, text) in [
        ("Metadata/plate_1.gcode", gcode),
        ("Metadata/slice_info.config", info.as_str()),
    ] {
        zip.start_file(name, zip::write::SimpleFileOptions::default())
            .unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A program of moves alone, as a person would start it at the printer.
fn by_hand() -> String {
    let moves = (0..5_000).map(|n| format!("G1 X{} Y20 F1800\n", 20 + n % 2 * 150));
    "G28\n".to_owned() + &moves.collect::<String>()
}

impl Stand {
    fn marlin(dir: &Path, open: bool) -> Stand {
        let sim = marlin_sim::Options {
            speed: SPEED,
            card: Some(vec![(BY_HAND.to_owned(), by_hand().into_bytes())]),
            ..marlin_sim::Options::default()
        };
        let link = Some(dir.join("port"));
        let options = PtyOptions {
            sim,
            link,
            ..PtyOptions::default()
        };
        let pty = SimPty::spawn(options).unwrap();
        let taken = (!open).then(|| {
            let port = File::options().read(true).write(true).open(pty.path()).unwrap();
            port.lock().unwrap();
            port
        });
        Stand::Marlin(pty, taken)
    }

    async fn moonraker(dir: &Path, open: bool) -> Stand {
        let files = dir.join("gcodes");
        let options = klipper_sim::Options {
            speed: SPEED,
            files: files.clone(),
            startup_s: 0.1,
        };
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let key = (!open).then(|| "another".to_owned());
        let door = klipper_sim::Door::Port { listen, key };
        let executed = dir.join("executed");
        let sim = klipper_sim::SimPrinter::start(door, options, Some(&executed))
            .await
            .unwrap();
        let at = sim.url().unwrap().trim_start_matches("http://").parse().unwrap();
        Stand::Klipper(sim, Cable::to(at).await, dir.to_owned())
    }

    async fn bambu(dir: &Path, open: bool) -> Stand {
        let kind = bambu_sim::kind::Kind::P1s;
        let options = bambu_sim::Options {
            host: Ipv4Addr::LOCALHOST.into(),
            mqtt_port: 0,
            ftps_port: 0,
            camera_port: 0,
            serial: kind.serial().to_owned(),
            code: "12345678".to_owned(),
            speed: SPEED,
            kind,
            dev_mode: true,
            silent: false,
            root: dir.join("card"),
        };
        let sim = bambu_sim::Sim::start(options).await.unwrap();
        let cable = Cable::to(sim.mqtt).await;
        Stand::Bambu(sim, cable, if open { "12345678" } else { "00000000" })
    }

    pub fn config(&self) -> String {
        match self {
            Stand::Marlin(pty, _) => format!(
                "driver = \"marlin\"\nport = {:?}\nbaud = 115200\nbed = [220, 220, 250]",
                pty.path()
            ),
            Stand::Klipper(_, cable, _) => {
                format!(
                    "driver = \"moonraker\"\nurl = \"http://{}\"\napi_key = \"one\"",
                    cable.at
                )
            }
            Stand::Bambu(sim, cable, code) => format!(
                "driver = \"bambu\"\nhost = \"127.0.0.1\"\nserial = \"{}\"\naccess_code = \"{code}\"\n\
                 mqtt_port = {}\nftps_port = {}\ncamera_port = {}",
                sim.shared.options.serial,
                cable.at.port(),
                sim.ftps.port(),
                sim.camera.port()
            ),
        }
    }

    pub fn pull(&self) {
        match self {
            Stand::Marlin(pty, _) => pty.unplug(),
            Stand::Klipper(_, cable, _) | Stand::Bambu(_, cable, _) => cable.is(Wire::Cut),
        }
    }

    pub fn mend(&self) {
        match self {
            Stand::Marlin(pty, _) => pty.replug(false).unwrap(),
            Stand::Klipper(_, cable, _) | Stand::Bambu(_, cable, _) => cable.is(Wire::Whole),
        }
    }

    /// It is there and says nothing.
    pub fn mute(&self) {
        match self {
            Stand::Marlin(pty, _) => pty.inject(Injection::Mute),
            Stand::Klipper(_, cable, _) | Stand::Bambu(_, cable, _) => cable.is(Wire::Silent),
        }
    }

    /// It speaks again.
    pub fn unmute(&self) {
        match self {
            Stand::Marlin(pty, _) => pty.inject(Injection::Unmute),
            Stand::Klipper(_, cable, _) | Stand::Bambu(_, cable, _) => cable.is(Wire::Whole),
        }
    }

    /// The firmware begins anew.
    pub fn restart(&self) {
        match self {
            Stand::Marlin(pty, _) => pty.inject(Injection::Reset),
            Stand::Klipper(sim, ..) => sim.with(|klipper| klipper.die(Some(0.5))),
            Stand::Bambu(sim, ..) => {
                sim.shared.with(bambu_sim::printer::Printer::restart);
                sim.drop_clients();
            }
        }
    }

    /// A person starts a print at the printer.
    pub fn begin_by_hand(&self) {
        match self {
            Stand::Marlin(pty, _) => pty.inject(Injection::PrintFromCard(BY_HAND.to_owned())),
            Stand::Klipper(sim, _, dir) => {
                std::fs::write(dir.join("gcodes").join(BY_HAND), by_hand()).unwrap();
                sim.with(|klipper| klipper.queue(None, &format!("SDCARD_PRINT_FILE FILENAME=\"{BY_HAND}\"")));
            }
            Stand::Bambu(sim, ..) => sim.shared.with(|printer| {
                for (key, value) in [
                    ("subtask_name", json!(BY_HAND)),
                    ("gcode_file", json!(BY_HAND)),
                    ("stg_cur", json!(0)),
                    ("mc_percent", json!(10)),
                    ("gcode_state", json!("RUNNING")),
                ] {
                    printer.set(key, value);
                }
            }),
        }
    }

    /// Whether it prints, by its own account.
    pub fn is_printing(&self) -> bool {
        match self {
            // A board knows only of prints from its card.
            Stand::Marlin(pty, _) => pty.with(|sim| sim.is_card_printing()),
            Stand::Klipper(sim, ..) => sim.with(|klipper| {
                let all = klipper.objects_now();
                all.get("print_stats").is_some_and(|s| s["state"] == "printing")
            }),
            Stand::Bambu(sim, ..) => sim.shared.with(|printer| {
                let state = printer.get("gcode_state");
                ["PREPARE", "RUNNING", "PAUSE"].iter().any(|s| state == *s)
            }),
        }
    }

    /// A file with two objects, the first of which is to be left out: name, content, objects. Where the printer goes by
    /// what a file says of itself it takes `print_s`.
    pub fn plate(&self, print_s: u32) -> (&'static str, Vec<u8>, Vec<PrintObject>) {
        let (name, content, ids) = match self {
            Stand::Bambu(..) => ("plate.gcode.3mf", project(print_s), [104, 121]),
            _ => ("plate.gcode", two_objects().into_bytes(), [0, 1]),
        };
        let names = ["gone id:0 copy 0", "kept id:1 copy 0"];
        let objects = std::iter::zip(ids, names).map(|(id, name)| PrintObject {
            id,
            name: name.to_owned(),
        });
        (name, content, objects.collect())
    }

    /// The objects that the printer itself leaves out; `None`: it knows of none, and is sent less.
    pub fn left_out(&self) -> Option<serde_json::Value> {
        match self {
            Stand::Marlin(..) => None,
            Stand::Klipper(sim, ..) => {
                let told =
                    sim.with(|klipper| klipper.objects_now()["exclude_object"]["excluded_objects"].clone());
                // By names of its own.
                Some(json!(
                    told.as_array()
                        .unwrap()
                        .iter()
                        .map(|n| n.as_str().unwrap().contains("GONE"))
                        .collect::<Vec<_>>()
                ))
            }
            Stand::Bambu(sim, ..) => {
                let told = sim.shared.with(|printer| printer.get("s_obj"));
                Some(json!(
                    told.as_array()
                        .unwrap()
                        .iter()
                        .map(|id| *id == 104)
                        .collect::<Vec<_>>()
                ))
            }
        }
    }

    /// How often a print was begun, and the lines that were executed of those in `program`; no lines from a printer
    /// that keeps them to itself.
    pub fn executed(&self, program: &[String]) -> Option<Vec<String>> {
        let mut lines = match self {
            Stand::Marlin(pty, _) => pty.with(|sim| {
                let numbered = sim.executed().iter().filter(|e| e.number.is_some());
                numbered.map(|e| e.text.clone()).collect::<Vec<_>>()
            }),
            Stand::Klipper(_, _, dir) => {
                let text = std::fs::read_to_string(dir.join("executed")).unwrap();
                text.lines().map(str::to_owned).collect()
            }
            Stand::Bambu(..) => return None,
        };
        lines.retain(|line| program.contains(line));
        Some(lines)
    }

    /// How many prints were begun for us, where the printer counts them.
    pub fn starts(&self) -> Option<usize> {
        match self {
            Stand::Marlin(..) => None,
            Stand::Klipper(_, _, dir) => {
                let text = std::fs::read_to_string(dir.join("executed")).unwrap();
                Some(
                    text.lines()
                        .filter(|l| l.starts_with("SDCARD_PRINT_FILE"))
                        .count(),
                )
            }
            Stand::Bambu(sim, ..) => Some(sim.shared.with(|printer| printer.starts())),
        }
    }

    /// What the printer itself is at: nozzle and bed wanted, °C.
    pub fn targets_c(&self) -> (f64, f64) {
        match self {
            Stand::Marlin(pty, _) => pty.with(|sim| (sim.tool_target_c(0), sim.bed_target_c())),
            Stand::Klipper(sim, ..) => sim.with(|klipper| {
                let all = klipper.objects_now();
                // In a shutdown nothing is driven; before it has started there is nothing to tell.
                let is_ready = all.get("webhooks").is_some_and(|w| w["state"] == "ready");
                let target = |name: &str| all.get(name).and_then(|h| h["target"].as_f64());
                let target = |name: &str| target(name).filter(|_| is_ready).unwrap_or(0.0);
                (target("extruder"), target("heater_bed"))
            }),
            Stand::Bambu(sim, ..) => sim.shared.with(|printer| {
                let target = |key: &str| printer.get(key).as_f64().unwrap();
                (target("nozzle_target_temper"), target("bed_target_temper"))
            }),
        }
    }
}

/// How a connection is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wire {
    Whole,
    /// It stands, and nothing comes through.
    Silent,
    Cut,
}

/// A connection that can be cut, stopped and mended, on an address that stays.
pub struct Cable {
    at: SocketAddr,
    wire: watch::Sender<Wire>,
    _task: JoinHandle<()>,
}

impl Cable {
    fn is(&self, wire: Wire) {
        self.wire.send_replace(wire);
    }

    async fn to(target: SocketAddr) -> Cable {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let at = listener.local_addr().unwrap();
        let (wire, seen) = watch::channel(Wire::Whole);
        #[allow(clippy::disallowed_methods, reason = "the handle is kept")]
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                connections.spawn(carry(near, target, seen.clone()));
            }
        });
        Cable {
            at,
            wire,
            _task: task,
        }
    }
}

async fn carry(mut near: TcpStream, target: SocketAddr, mut wire: watch::Receiver<Wire>) {
    let _ = wire.wait_for(|wire| *wire != Wire::Silent).await;
    if *wire.borrow() == Wire::Cut {
        return;
    }
    let Ok(mut far) = TcpStream::connect(target).await else {
        return;
    };
    let over = tokio::select! {
        _ = wire.wait_for(|wire| *wire != Wire::Whole) => false,
        _ = copy_bidirectional(&mut near, &mut far) => true,
    };
    if !over {
        // Both ends stay open, and what was on its way is lost: this connection never becomes whole again.
        let _ = wire.wait_for(|wire| *wire != Wire::Silent).await;
    }
}
