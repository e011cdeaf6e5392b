//! What stands around the mechanics of a printer, where it tells of it. Plain data.

use serde::Serialize;

use crate::sorted::SortedMap;

/// Fans, sensors, boards, cameras, switches, and the host that runs the firmware. What is not told is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Equipment {
    /// Fans by name: part of full speed, 0 to 1.
    pub fans: SortedMap<String, f32>,
    /// Sensors beside those of the usual heaters, by name: °C.
    pub sensors: SortedMap<String, f32>,
    /// Boards by name: the version of their firmware.
    pub boards: SortedMap<String, String>,
    /// Cameras.
    pub cameras: Vec<CameraAddress>,
    /// Switches by name: whether they are on.
    pub switches: SortedMap<String, bool>,
    /// The host of the printer's own software.
    pub host: Option<HostLoad>,
}

/// A camera that the printer's own software knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CameraAddress {
    /// Its name.
    pub name: String,
    /// Where moving pictures are to be had.
    pub stream: Option<String>,
    /// Where one picture is to be had.
    pub snapshot: Option<String>,
}

/// How the host is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct HostLoad {
    /// Processor in use, %.
    pub cpu_percent: Option<f32>,
    /// Its temperature, °C.
    pub cpu_c: Option<f32>,
    /// Memory in use, %.
    pub memory_percent: Option<f32>,
    /// Seconds since it was started.
    pub up_s: Option<u64>,
}
