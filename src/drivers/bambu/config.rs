//! Settings of one Bambu Lab printer.

use std::any::Any;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::orders::StartOptions;
use super::shell::BambuDriver;
use super::tls::PrinterTls;
use super::{camera, faults, found, model};
use bytes::Bytes;

use crate::config::model::Common;
use crate::config::{Secret, Section};
use crate::drivers::{BoxFuture, Build, Context, Driver, Reach};
use crate::printer::fault::Fault;

/// How long `layerd check` waits for a printer.
const REACH_LIMIT: Duration = Duration::from_secs(5);

/// How a printer is reached and how prints are started on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Name or address.
    pub host: String,
    /// Serial number, capital letters.
    pub serial: String,
    /// LAN access code.
    pub code: Secret,
    /// 8883.
    pub mqtt_port: u16,
    /// 990.
    pub ftps_port: u16,
    /// 6000.
    pub camera_port: u16,
    /// For every start.
    pub options: StartOptions,
    /// Where it was found instead of at `host`.
    pub elsewhere: Elsewhere,
}

/// The address that the router gave the printer meanwhile. Shared by all that was made of one configuration; no
/// part of what a person configured.
#[derive(Clone, Debug, Default)]
pub struct Elsewhere(Arc<Mutex<Option<String>>>);

impl Elsewhere {
    /// The printer was found here; `None`: it is to be looked for where the configuration says.
    pub fn set(&self, host: Option<String>) {
        *self.0.lock().unwrap_or_else(|e| e.into_inner()) = host;
    }

    fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }
}

impl PartialEq for Elsewhere {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Config {
    /// Where the printer is, as far as is known.
    pub fn address(&self) -> String {
        self.elsewhere
            .get()
            .unwrap_or_else(|| self.host.trim().to_owned())
    }

    /// Reads the driver's keys.
    pub fn read(_: &Common, section: &mut Section<'_>) -> Option<Self> {
        let host = section.required_string("host", "\"192.168.1.50\"");
        let serial = section.required_string("serial", "\"00M00A000000001\"");
        let code = code(section);
        let mut port = |key, usual: u16| match section.integer(key, 1..=65535) {
            Some(port) => u16::try_from(port).unwrap_or(usual),
            None => usual,
        };
        let (mqtt_port, ftps_port, camera_port) = (
            port("mqtt_port", 8883),
            port("ftps_port", 990),
            port("camera_port", 6000),
        );
        let usual = StartOptions::default();
        let mut flag = |key, usual| section.boolean(key).unwrap_or(usual);
        let options = StartOptions {
            bed_leveling: flag("bed_leveling", usual.bed_leveling),
            flow_calibration: flag("flow_calibration", usual.flow_calibration),
            vibration_calibration: flag("vibration_calibration", usual.vibration_calibration),
            layer_inspect: flag("layer_inspect", usual.layer_inspect),
            timelapse: flag("timelapse", usual.timelapse),
            use_ams: section
                .one_of("ams", &[("auto", true), ("off", false)])
                .unwrap_or(usual.use_ams),
            plain_gcode: section
                .one_of("plain_gcode", &[("wrap", false), ("as_is", true)])
                .unwrap_or(usual.plain_gcode),
        };
        let serial = serial?;
        let clean = serial.trim().to_ascii_uppercase();
        if clean.len() < 8 || !clean.chars().all(|c| c.is_ascii_alphanumeric()) {
            section.mistake(
                "serial",
                "`serial` must be the printer's serial number: letters and digits, as on its screen.",
            );
            return None;
        }
        Some(Config {
            host: host?,
            serial: clean,
            code: code?,
            mqtt_port,
            ftps_port,
            camera_port,
            options,
            elsewhere: Elsewhere::default(),
        })
    }
}

/// The access code, from the configuration or from a file of its own.
fn code(section: &mut Section<'_>) -> Option<Secret> {
    let direct = section.secret("access_code");
    let file = section.path("access_code_file");
    let code = match (direct, file) {
        (Some(_), Some(_)) => {
            section.mistake(
                "access_code_file",
                "Give `access_code` or `access_code_file`, not both.",
            );
            return None;
        }
        (Some(code), None) => code,
        (None, Some(file)) => match Secret::from_file(&file) {
            Ok(text) => Secret::new(text.reveal().trim()),
            Err(why) => {
                section.mistake(
                    "access_code_file",
                    format!("`access_code_file` cannot be read: {why}"),
                );
                return None;
            }
        },
        (None, None) => {
            section.mistake(
                "access_code",
                "`access_code` is missing. It stands on the printer's screen under LAN mode; \
                 keep it in a file of its own: access_code_file = \"/etc/layerd/x1c.code\"",
            );
            return None;
        }
    };
    let plain = code.reveal().chars().all(|c| c.is_ascii_graphic());
    if !(1..=32).contains(&code.reveal().len()) || !plain {
        section.mistake("access_code", "The access code must be 1 to 32 plain characters.");
        return None;
    }
    Some(code)
}

impl Build for Config {
    fn build(&self, context: Context) -> Box<dyn Driver> {
        Box::new(BambuDriver::new(self.clone(), context))
    }

    fn same_as(&self, other: &dyn Build) -> bool {
        other.as_any().downcast_ref::<Config>() == Some(self)
    }

    fn link_is_printer(&self) -> bool {
        false
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn snapshot<'a>(
        &'a self,
        printer: &'a str,
        state_dir: &'a Path,
    ) -> Option<BoxFuture<'a, Result<Bytes, Fault>>> {
        // A model that is not known by its serial number may have one.
        if model::by_serial(&self.serial).is_some_and(|m| !m.jpeg_camera) {
            return None;
        }
        Some(Box::pin(async move {
            let tls = PrinterTls::new(state_dir, printer, &self.serial)
                .map_err(|e| faults::CAMERA.with_raw(e.to_string()))?;
            camera::snapshot(self, &tls).await
        }))
    }

    fn reachable<'a>(&'a self) -> BoxFuture<'a, Reach> {
        Box::pin(async {
            let address = (self.host.as_str(), self.mqtt_port);
            // Only the port: a second session may throw out the one that a running daemon has.
            let connected = tokio::time::timeout(REACH_LIMIT, tokio::net::TcpStream::connect(address)).await;
            match connected {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Reach::No(faults::UNREACHABLE.with_raw(error.to_string())),
                Err(_) => return Reach::No(faults::UNREACHABLE.with_raw("no answer in 5 s")),
            }
            let place = format!("{} answers on port {}", self.host, self.mqtt_port);
            match found::detect(&self.host).await {
                Some(told) if told.serial != self.serial => {
                    Reach::No(faults::OTHER_SERIAL.with_raw(format!("it is {}", told.serial)))
                }
                Some(told) if told.cloud => Reach::No(faults::CLOUD_MODE),
                Some(told) => Reach::Yes(format!("{place}: {} {:?}", told.model, told.name)),
                None => Reach::Yes(place),
            }
        })
    }
}
