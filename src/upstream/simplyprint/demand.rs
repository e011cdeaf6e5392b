//! What the cloud wants done, read leniently. Pure.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{lenient, materials};
use crate::config::secrets::Secret;
use crate::printer::model::MaterialPlace;
use crate::printer::pause_wishes::PauseWishes;

/// Longest name of a file, an object or an event, characters.
const NAME_MAX: usize = 255;
/// Longest URL.
const URL_MAX: usize = 8192;
/// Longest action token.
const TOKEN_MAX: usize = 8192;
/// Most G-code lines of one demand (REST: 200; a little more is refused by the guard, not here).
const LINES_MAX: usize = 1000;
/// Longest G-code line that is looked at.
const LINE_MAX: usize = 2000;
/// Most objects of one demand.
const OBJECTS_MAX: usize = 1000;
/// Most materials of one demand.
const MATERIALS_MAX: usize = 256;
/// Most start options that are named.
const OPTIONS_MAX: usize = 100;

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Demand {
    /// Stand still.
    Pause(Option<PauseWishes>),
    /// Go on.
    Resume,
    /// End the print.
    Cancel,
    /// Lines of G-code, in order.
    Gcode {
        /// The lines without comments and blanks.
        lines: Vec<String>,
        /// Wants to know how it ended.
        identifier: Option<String>,
    },
    /// A file to fetch, and maybe to print.
    File(Box<FileDemand>),
    /// Print the file that was fetched.
    StartPrint,
    /// Objects to leave out, by id or name.
    SkipObjects(Vec<String>),
    /// Mirror the serial console.
    Terminal(bool),
    /// A picture.
    Snapshot {
        /// With one: to the REST endpoint; without: one live frame.
        id: Option<String>,
        /// Least time between live frames.
        timer: Option<Duration>,
        /// Where to post it instead.
        endpoint: Option<String>,
    },
    /// Is there a camera?
    TestWebcam,
    /// Live pictures follow.
    StreamOn,
    /// No more live pictures.
    StreamOff,
    /// How the panel turns the picture.
    WebcamSettings {
        /// Mirrored left to right.
        flip_h: bool,
        /// Mirrored top to bottom.
        flip_v: bool,
        /// Turned.
        rotate_90: bool,
    },
    /// What filament is loaded, as the panel says.
    SetMaterial(Vec<Value>),
    /// Say what filament is loaded.
    RefreshMaterial,
    /// Say what can be switched.
    RefreshPeripherals,
    /// Switch something.
    Peripheral {
        /// `kind:name`.
        id: String,
        /// On or off; `None`: something else than a switch is meant.
        on: Option<bool>,
    },
    /// A person pressed a button of a notice, or closed it.
    ResolveNotification {
        /// Which.
        event_id: String,
        /// The button; `None`: closed.
        action: Option<String>,
    },
    /// Logs, to be posted.
    SendLogs {
        /// Allows the post.
        token: Secret,
        /// Which.
        logs: Vec<String>,
        /// Bytes in all.
        max_body: u64,
    },
    /// Take the link to the printer up again.
    ConnectPrinter,
    /// Let the printer's port go.
    DisconnectPrinter,
    /// Switch the supply.
    Power(bool),
    /// See to it that the supply is on.
    PowerKeepalive,
    /// Something that concerns the whole host.
    Host(HostDemand),
    /// Another cloud address.
    GotoOther,
    /// Install or update software.
    Software(String),
    /// The G-code scripts that this host keeps.
    ScriptsBackup,
    /// New G-code scripts for pause, resume, cancel.
    Scripts,
    /// A printer profile of OctoPrint.
    PrinterProfile,
    /// Not known here; with its name.
    Unknown(String),
}

/// What concerns the whole host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostDemand {
    /// Reboot the machine.
    Reboot,
    /// Switch the machine off.
    Shutdown,
    /// Restart this program.
    Restart,
    /// Stop this program.
    Stop,
}

impl HostDemand {
    /// The word of `[host] allow` that permits it.
    pub fn permission(self) -> &'static str {
        match self {
            HostDemand::Reboot => "reboot",
            HostDemand::Shutdown => "shutdown",
            // A stopped program cannot be started again from the panel: it is restarted instead.
            HostDemand::Restart | HostDemand::Stop => "restart",
        }
    }
}

/// What is to be printed of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A plate of a sliced project, from 1.
    Plate(u32),
    /// Something that is no plate.
    Other(String),
}

/// `file`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FileDemand {
    /// The cloud's number for the job.
    pub job_id: Option<i64>,
    /// Where it lies, to be tried in this order. Not for logs: they are signed.
    pub urls: Vec<Secret>,
    /// Print it when it is here.
    pub auto_start: bool,
    /// Name for people; no path.
    pub name: String,
    /// Identity of the content.
    pub file_id: Option<String>,
    /// Bytes.
    pub size: Option<u64>,
    /// Objects to leave out from the first layer on.
    pub skip: Vec<String>,
    /// For calls after the print.
    pub action_token: Option<Secret>,
    /// Which entry of an archive to print.
    pub entry: Option<Entry>,
    /// Options switched on that mean nothing here.
    pub ignored_options: Vec<String>,
    /// Where each filament of the file comes from; empty: as in the file. `None`: a map that cannot be read.
    pub materials: Option<Vec<Option<MaterialPlace>>>,
}

impl Demand {
    /// Reads `data` of a `demand`. `None`: without a name, or without what it cannot be done without.
    pub fn read(data: &Map<String, Value>) -> Option<Demand> {
        let name = data.get("demand")?.as_str()?;
        let text = |key: &str| lenient::text(data.get(key), NAME_MAX);
        Some(match name {
            // Not documented for the link; the interface of the cloud has it. What cannot be read is ignored:
            // a pause that comes plain is better than none.
            "pause" => Demand::Pause(
                data.get("onPause")
                    .and_then(|wishes| PauseWishes::read(wishes).ok()),
            ),
            "resume" => Demand::Resume,
            "cancel" => Demand::Cancel,
            "gcode" => Demand::Gcode {
                lines: lines(data.get("list")),
                identifier: text("identifier"),
            },
            "file" => Demand::File(Box::new(file(data)?)),
            "start_print" => Demand::StartPrint,
            "skip_objects" => Demand::SkipObjects(ids(data.get("objects"))),
            "terminal" => Demand::Terminal(lenient::boolean(data.get("enabled")).unwrap_or(false)),
            "webcam_snapshot" => Demand::Snapshot {
                id: data.get("id").and_then(|v| lenient::id_text(v, NAME_MAX)),
                timer: lenient::whole(data.get("timer"))
                    .filter(|ms| (0..=3_600_000).contains(ms))
                    .map(|ms| Duration::from_millis(ms.unsigned_abs())),
                endpoint: lenient::text(data.get("endpoint"), URL_MAX),
            },
            "test_webcam" => Demand::TestWebcam,
            "stream_on" => Demand::StreamOn,
            "stream_off" => Demand::StreamOff,
            "webcam_settings_updated" => webcam_settings(data),
            "set_material_data" => {
                Demand::SetMaterial(lenient::list(data.get("materials"), MATERIALS_MAX).to_vec())
            }
            "refresh_material_data" => Demand::RefreshMaterial,
            "refresh_peripherals" => Demand::RefreshPeripherals,
            "peripheral_action" => Demand::Peripheral {
                id: text("id")?,
                on: match data.get("a").and_then(Value::as_str) {
                    Some("on") => Some(true),
                    Some("off") => Some(false),
                    _ => lenient::boolean(data.get("v")),
                },
            },
            "resolve_notification" => Demand::ResolveNotification {
                event_id: text("event_id")?,
                action: data.get("action").and_then(|v| lenient::id_text(v, NAME_MAX)),
            },
            "send_logs" => Demand::SendLogs {
                token: lenient::text(data.get("token"), TOKEN_MAX).map(Secret::new)?,
                logs: lenient::list(data.get("logs"), 16)
                    .iter()
                    .filter_map(|v| lenient::text(Some(v), NAME_MAX))
                    .collect(),
                max_body: lenient::whole(data.get("max_body"))
                    .and_then(|n| u64::try_from(n).ok())
                    .unwrap_or(100_000_000),
            },
            "connect_printer" => Demand::ConnectPrinter,
            "disconnect_printer" => Demand::DisconnectPrinter,
            "psu_on" => Demand::Power(true),
            "psu_off" => Demand::Power(false),
            "psu_keepalive" => Demand::PowerKeepalive,
            "system_restart" => Demand::Host(HostDemand::Reboot),
            "system_shutdown" => Demand::Host(HostDemand::Shutdown),
            "api_restart" => Demand::Host(HostDemand::Restart),
            "api_shutdown" => Demand::Host(HostDemand::Stop),
            "goto_ws_prod" | "goto_ws_test" => Demand::GotoOther,
            "update" | "plugin_install" | "plugin_uninstall" => Demand::Software(name.to_owned()),
            "get_gcode_script_backups" => Demand::ScriptsBackup,
            "has_gcode_changes" => Demand::Scripts,
            "set_printer_profile" => Demand::PrinterProfile,
            other => Demand::Unknown(other.chars().take(60).collect()),
        })
    }
}

/// Lines without comments, blank lines and `@` lines (those are for hosts).
fn lines(value: Option<&Value>) -> Vec<String> {
    let raw: Vec<&str> = match value {
        Some(Value::String(text)) => text.lines().take(LINES_MAX).collect(),
        list => lenient::list(list, LINES_MAX)
            .iter()
            .filter_map(Value::as_str)
            .flat_map(str::lines)
            .take(LINES_MAX)
            .collect(),
    };
    raw.into_iter()
        .map(|line| line.split(';').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty() && !line.starts_with('@'))
        .map(|line| line.chars().take(LINE_MAX).collect())
        .collect()
}

fn ids(value: Option<&Value>) -> Vec<String> {
    lenient::list(value, OBJECTS_MAX)
        .iter()
        .filter_map(|v| lenient::id_text(v, NAME_MAX))
        .collect()
}

fn file(data: &Map<String, Value>) -> Option<FileDemand> {
    let urls: Vec<Secret> = ["cdn_url", "url"]
        .into_iter()
        .filter_map(|key| lenient::text(data.get(key), URL_MAX))
        .map(Secret::new)
        .collect();
    if urls.is_empty() {
        return None;
    }
    let name = lenient::text(data.get("file_name"), NAME_MAX).unwrap_or_else(|| "print.gcode".to_owned());
    let on = |v: &Value| !matches!(v, Value::Null | Value::Bool(false)) && *v != 0 && *v != "";
    Some(FileDemand {
        job_id: lenient::whole(data.get("job_id")),
        urls,
        auto_start: lenient::boolean(data.get("auto_start")).unwrap_or(false),
        // Only the last part: a name is never a place.
        name: name
            .rsplit(['/', '\\'])
            .find(|part| !part.trim().is_empty())
            .map_or_else(|| "print.gcode".to_owned(), str::to_owned),
        file_id: lenient::text(data.get("file_id"), NAME_MAX),
        size: lenient::whole(data.get("file_size"))
            .filter(|n| *n > 0)
            .map(i64::unsigned_abs),
        skip: ids(data.get("skip_objects")),
        action_token: lenient::text(data.get("action_token"), TOKEN_MAX).map(Secret::new),
        entry: entry(data.get("zip_printable")),
        ignored_options: lenient::members(data.get("start_options"))
            .into_iter()
            .filter(|(_, v)| on(v))
            .map(|(key, _)| key.chars().take(60).collect())
            .take(OPTIONS_MAX)
            .collect(),
        materials: materials::read_map(data.get("mms_map")),
    })
}

/// `zip_printable`: a plate as the project names its program (`Metadata/plate_2.gcode`), or its bare number. The
/// form is not documented.
fn entry(value: Option<&Value>) -> Option<Entry> {
    let text = lenient::id_text(value?, NAME_MAX)?;
    let name = text.rsplit(['/', '\\']).next().unwrap_or_default().trim();
    let bare = name.strip_suffix(".gcode").unwrap_or(name);
    let digits = bare.strip_prefix("plate_").unwrap_or(bare);
    let number = digits.parse().ok().filter(|n| *n > 0);
    Some(number.map_or(Entry::Other(text), Entry::Plate))
}

fn webcam_settings(data: &Map<String, Value>) -> Demand {
    let settings = lenient::members(data.get("webcam_settings").or_else(|| data.get("settings")));
    let on = |key: &str| lenient::boolean(settings.get(key)).unwrap_or(false);
    Demand::WebcamSettings {
        flip_h: on("flipH"),
        flip_v: on("flipV"),
        rotate_90: on("rotate90"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Option<Demand> {
        Demand::read(value.as_object().expect("an object"))
    }

    #[test]
    fn a_file_is_read_with_everything_in_it() {
        let demand = json!({"demand":"file","job_id":"495462","url":"https://example.invalid/f/1",
            "cdn_url":"https://cdn.example.invalid/f/1","auto_start":1,"file_name":"../a\\b/benchy.gcode","file_id":"19",
            "file_size":2100345,"start_options":{"level":true,"soak":false},"mms_map":[0],"action_token":"aaa.bbb.ccc","skip_objects":[1,"boat"]});
        let Some(Demand::File(file)) = read(demand) else {
            panic!("a file");
        };
        assert_eq!((file.job_id, file.auto_start), (Some(495_462), true));
        assert_eq!(file.name, "benchy.gcode");
        assert_eq!(file.urls.len(), 2);
        assert!(
            file.urls[0].reveal().starts_with("https://cdn."),
            "the near one first"
        );
        assert_eq!(file.skip, ["1", "boat"]);
        assert_eq!(file.ignored_options, ["level"]);
        let first = MaterialPlace {
            nozzle: 0,
            position: 0,
        };
        assert_eq!(file.materials, Some(vec![Some(first)]));
        assert!(
            !format!("{file:?}").contains("example"),
            "signed addresses are not shown"
        );
    }

    #[test]
    fn gcode_comes_without_what_a_printer_does_not_need() {
        let demand = read(
            json!({"demand":"gcode","list":["G28 ; home","; only words","","@pause","G1 X1\nG1 X2"],"identifier":"i"}),
        );
        let Some(Demand::Gcode { lines, identifier }) = demand else {
            panic!("gcode");
        };
        assert_eq!(lines, ["G28", "G1 X1", "G1 X2"]);
        assert_eq!(identifier.as_deref(), Some("i"));
        assert_eq!(
            read(json!({"demand":"gcode"})),
            Some(Demand::Gcode {
                lines: vec![],
                identifier: None
            })
        );
    }

    #[test]
    fn a_plate_is_read_in_every_form_and_nothing_else_is_one() {
        let of = |value: Value| entry(Some(&value));
        for plate in [
            json!("Metadata/plate_12.gcode"),
            json!("plate_12.gcode"),
            json!("plate_12"),
            json!(12),
            json!("12"),
        ] {
            assert_eq!(of(plate.clone()), Some(Entry::Plate(12)), "{plate}");
        }
        for other in [
            "Metadata/plate_0.gcode",
            "plate_-1.gcode",
            "boat.gcode",
            "plate_99999999999",
            "plate_1.png",
        ] {
            assert_eq!(of(json!(other)), Some(Entry::Other(other.to_owned())));
        }
        for none in [json!(null), json!(""), json!(true), json!([])] {
            assert_eq!(of(none.clone()), None, "{none}");
        }
    }

    #[test]
    fn demands_without_what_they_need_are_no_demands() {
        for bad in [
            json!({}),
            json!({"demand": 7}),
            json!({"demand":"file","job_id":1}),
            json!({"demand":"resolve_notification"}),
        ] {
            assert_eq!(read(bad.clone()), None, "{bad}");
        }
        assert_eq!(
            read(json!({"demand":"make_coffee"})),
            Some(Demand::Unknown("make_coffee".to_owned()))
        );
    }
}
