//! What is known of the printer: its reports merged. Full reports and deltas go the same way: what is
//! named replaces, what is not named stays.

use std::borrow::Cow;

use super::ams::Materials;
use super::lenient::hex;
use super::report::Print;

/// Objects kept in the list of those left out; a plate has at most 64.
const SKIPPED_MAX: usize = 64;
/// Messages of the health system kept.
const HMS_MAX: usize = 32;
/// Longest name kept, characters.
const NAME_MAX: usize = 255;

/// `fun` bit 29: critical commands have to be signed by the maker's own software.
const SIGNATURES: u64 = 0x2000_0000;

/// What the printer says it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GcodeState {
    /// Nothing told yet, or a word of newer firmware.
    #[default]
    Unknown,
    /// Never printed since it was switched on.
    Idle,
    /// Slicing in the cloud.
    Slicing,
    /// Taking the file in.
    Prepare,
    /// Printing, heating or calibrating.
    Running,
    /// Standing still.
    Pause,
    /// The last print is complete.
    Finish,
    /// The last print failed or was stopped.
    Failed,
    /// Starting up, or the mainboard does not answer.
    NotReady,
}

impl GcodeState {
    fn read(word: &str) -> Self {
        match word.to_ascii_uppercase().as_str() {
            "IDLE" => GcodeState::Idle,
            "SLICING" => GcodeState::Slicing,
            "PREPARE" => GcodeState::Prepare,
            "RUNNING" => GcodeState::Running,
            "PAUSE" => GcodeState::Pause,
            "FINISH" => GcodeState::Finish,
            "FAILED" => GcodeState::Failed,
            "INIT" | "OFFLINE" => GcodeState::NotReady,
            _ => GcodeState::Unknown,
        }
    }

    /// In a job.
    pub fn is_busy(self) -> bool {
        matches!(
            self,
            GcodeState::Slicing | GcodeState::Prepare | GcodeState::Running | GcodeState::Pause
        )
    }

    /// Free for a job.
    pub fn is_free(self) -> bool {
        matches!(self, GcodeState::Idle | GcodeState::Finish | GcodeState::Failed)
    }
}

/// A measured and a wanted temperature, °C.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Temp {
    /// Measured.
    pub actual_c: Option<f32>,
    /// Wanted.
    pub target_c: Option<f32>,
}

impl Temp {
    /// Unpacks the newer form: low half measured, high half wanted.
    pub fn packed(value: i64) -> Self {
        Temp {
            actual_c: Some((value & 0xffff) as f32),
            target_c: Some((value >> 16 & 0xffff) as f32),
        }
    }

    fn merge(&mut self, actual_c: Option<f32>, target_c: Option<f32>) {
        self.actual_c = actual_c.or(self.actual_c);
        self.target_c = target_c.or(self.target_c);
    }
}

/// Fan speeds, 0–15.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fans {
    /// On the part.
    pub part: Option<i64>,
    /// Beside it.
    pub aux: Option<i64>,
    /// Of the chamber.
    pub chamber: Option<i64>,
    /// Of the heat break.
    pub heatbreak: Option<i64>,
}

/// The address of a video stream without credentials; "disable" and the like are none.
fn stream_address(url: &str) -> Option<String> {
    let (kind, rest) = url
        .split_once("://")
        .filter(|(kind, _)| kind.starts_with("rtsp"))?;
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    Some(format!("{kind}://{place}").chars().take(NAME_MAX).collect())
}

/// Whether the printer obeys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Control {
    /// Nobody has tried yet.
    #[default]
    Unknown,
    /// It does.
    Allowed,
    /// It wants signed commands: Developer Mode is off.
    Refused,
}

/// Everything merged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// What it does.
    pub state: GcodeState,
    /// The word itself.
    pub state_word: String,
    /// Percent done; stale outside of a job.
    pub percent: Option<i64>,
    /// Minutes to go; stale outside of a job.
    pub remaining_min: Option<i64>,
    /// Layer; stale outside of a job.
    pub layer: Option<i64>,
    /// Layers; stale outside of a job.
    pub layers: Option<i64>,
    /// Percent of the file taken in.
    pub prepare_percent: Option<i64>,
    /// Stage code.
    pub stage: Option<i64>,
    /// Name of the job.
    pub job_name: String,
    /// File.
    pub file: String,
    /// Number of the job.
    pub task_id: String,
    /// Number that the start carried.
    pub subtask_id: String,
    /// 0: none.
    pub print_error: u32,
    /// Health messages as (attr, code).
    pub hms: Vec<(u32, u32)>,
    /// The nozzle of the flat fields.
    pub nozzle: Temp,
    /// Nozzles of the newer fields, by id: 0 right or only, 1 left.
    pub nozzles: Vec<(i64, Temp)>,
    /// The one in use.
    pub active_nozzle: u8,
    /// Bed.
    pub bed: Temp,
    /// Chamber in the flat field: made up on some models.
    pub chamber_flat_c: Option<f32>,
    /// Chamber in the newer fields.
    pub chamber_packed: Option<Temp>,
    /// Fans.
    pub fans: Fans,
    /// 1 silent, 2 standard, 3 sport, 4 ludicrous.
    pub speed_level: Option<i64>,
    /// dBm.
    pub wifi_dbm: Option<i64>,
    /// Flags.
    pub home_flag: Option<u32>,
    /// A card or internal storage is there.
    pub storage: Option<bool>,
    /// Lights by name.
    pub lights: Vec<(String, String)>,
    /// Objects left out.
    pub skipped: Vec<u32>,
    /// Spools.
    pub materials: Materials,
    /// Address of the live view, where it is switched on.
    pub rtsp_url: Option<String>,
    /// Told whether there is a live view at all.
    pub rtsp_told: bool,
    /// Own address.
    pub ip: Option<std::net::Ipv4Addr>,
    /// The printer wants signed commands.
    pub signatures: Option<bool>,
    /// State word of newer models.
    pub stat: Option<u64>,
    /// Filament at the extruder.
    pub filament_at_extruder: Option<bool>,
}

fn set_text(mine: &mut String, new: &Option<Cow<'_, str>>) {
    if let Some(new) = new
        && mine != new
    {
        *mine = new.chars().take(NAME_MAX).collect();
    }
}

impl Status {
    /// Takes over a status report.
    pub fn merge(&mut self, new: &Print<'_>) {
        if let Some(word) = new.gcode_state.as_deref()
            && self.state_word != word
        {
            self.state = GcodeState::read(word);
            self.state_word = word.chars().take(32).collect();
        }
        self.percent = new.mc_percent.or(self.percent);
        self.remaining_min = new.mc_remaining_time.or(self.remaining_min);
        self.layer = new.layer_num.or(self.layer);
        self.layers = new.total_layer_num.or(self.layers);
        self.prepare_percent = new.gcode_file_prepare_percent.or(self.prepare_percent);
        let staged = new.stage.0.as_ref().and_then(|s| s.id);
        self.stage = new.stg_cur.or(staged).or(self.stage);
        set_text(&mut self.job_name, &new.subtask_name);
        set_text(&mut self.file, &new.gcode_file);
        set_text(&mut self.task_id, &new.task_id);
        set_text(&mut self.subtask_id, &new.subtask_id);
        if let Some(error) = new.print_error {
            self.print_error = error as u32;
        }
        if let Some(hms) = &new.hms {
            self.hms.clear();
            let entries = hms.iter().filter_map(|h| h.0.as_ref());
            let codes = entries.filter_map(|h| Some((h.attr? as u32, h.code? as u32)));
            self.hms
                .extend(codes.filter(|(a, c)| *a != 0 && *c != 0).take(HMS_MAX));
        }
        self.temperatures(new);
        let fans = &mut self.fans;
        fans.part = new.cooling_fan_speed.or(fans.part);
        fans.aux = new.big_fan1_speed.or(fans.aux);
        fans.chamber = new.big_fan2_speed.or(fans.chamber);
        fans.heatbreak = new.heatbreak_fan_speed.or(fans.heatbreak);
        self.speed_level = new.spd_lvl.or(self.speed_level);
        if let Some(signal) = new.wifi_signal.as_deref() {
            self.wifi_dbm = signal.trim_end_matches("dBm").trim().parse().ok();
        }
        if let Some(flag) = new.home_flag {
            self.home_flag = Some(flag as u32);
        }
        if let Some(card) = new.sdcard.as_deref() {
            self.storage = match card.to_ascii_lowercase().as_str() {
                "true" | "1" | "has_sdcard_normal" => Some(true),
                "false" | "0" | "no_sdcard" => Some(false),
                _ => self.storage,
            };
        }
        for light in new.lights_report.iter().flatten().filter_map(|l| l.0.as_ref()) {
            let (Some(node), Some(mode)) = (&light.node, &light.mode) else {
                continue;
            };
            let room = self.lights.len() < 8;
            // As it is kept: cut.
            match self
                .lights
                .iter_mut()
                .find(|(n, _)| n.chars().eq(node.chars().take(32)))
            {
                Some((_, mine)) if mine == mode => {}
                Some((_, mine)) => *mine = mode.chars().take(32).collect(),
                None if room => self
                    .lights
                    .push((node.chars().take(32).collect(), mode.chars().take(32).collect())),
                None => {}
            }
        }
        if let Some(ids) = &new.s_obj {
            self.skipped.clear();
            let ids = ids.iter().filter_map(|id| u32::try_from(id.0?).ok());
            self.skipped.extend(ids.take(SKIPPED_MAX));
        }
        if let Some(ams) = &new.ams.0 {
            self.materials.merge(ams);
        }
        // Newer firmware sends both; the newer form wins.
        if let Some(spools) = &new.vir_slot {
            self.materials.merge_external(spools);
        } else if let Some(spool) = &new.vt_tray.0 {
            self.materials.merge_external_old(spool);
        }
        if let Some(url) = new.ipcam.0.as_ref().and_then(|c| c.rtsp_url.as_deref()) {
            self.rtsp_told = true;
            self.rtsp_url = stream_address(url);
        }
        let interfaces = new.net.0.as_ref().and_then(|n| n.info.as_ref());
        if let Some(ip) = interfaces
            .into_iter()
            .flatten()
            .filter_map(|i| u32::try_from(i.0.as_ref()?.ip?).ok())
            .find(|ip| *ip != 0)
        {
            self.ip = Some(std::net::Ipv4Addr::from(ip.to_le_bytes()));
        }
        if let Some(fun) = new.fun.as_deref().and_then(hex) {
            self.signatures = Some(fun & SIGNATURES != 0);
        }
        self.stat = new.stat.as_deref().and_then(hex).or(self.stat);
        if let Some(switch) = new.hw_switch_state {
            self.filament_at_extruder = Some(switch == 1);
        }
    }

    fn temperatures(&mut self, new: &Print<'_>) {
        self.nozzle.merge(new.nozzle_temper, new.nozzle_target_temper);
        self.bed.merge(new.bed_temper, new.bed_target_temper);
        self.chamber_flat_c = new.chamber_temper.or(self.chamber_flat_c);
        let Some(device) = &new.device.0 else { return };
        let held = |h: &Option<super::report::Holder>| h.as_ref()?.info.0.as_ref()?.temp;
        if let Some(bed) = held(&device.bed.0).or(device.bed_temp) {
            self.bed = Temp::packed(bed);
        }
        if let Some(chamber) = held(&device.ctc.0).or(device.cham_temp) {
            self.chamber_packed = Some(Temp::packed(chamber));
        }
        let Some(extruder) = &device.extruder.0 else {
            return;
        };
        if let Some(state) = extruder.state {
            self.active_nozzle = (state >> 4 & 0xf) as u8;
        }
        for nozzle in extruder.info.iter().flatten().filter_map(|n| n.0.as_ref()) {
            let (Some(id), Some(temp)) = (nozzle.id, nozzle.temp) else {
                continue;
            };
            let room = self.nozzles.len() < 8;
            match self.nozzles.iter_mut().find(|(n, _)| *n == id) {
                Some((_, mine)) => *mine = Temp::packed(temp),
                None if room => self.nozzles.push((id, Temp::packed(temp))),
                None => {}
            }
        }
    }

    /// Temperatures of the tools by number; the newer fields where there are any.
    pub fn tools(&self) -> Vec<(u8, Temp)> {
        let newer: Vec<(u8, Temp)> = self
            .nozzles
            .iter()
            .filter_map(|(id, temp)| Some((u8::try_from(*id).ok()?, *temp)))
            .collect();
        match newer.is_empty() {
            false => newer,
            true if self.nozzle.actual_c.is_some() => vec![(0, self.nozzle)],
            true => Vec::new(),
        }
    }

    /// The chamber, on models that measure it.
    pub fn chamber(&self, measured: bool) -> Option<Temp> {
        if !measured {
            return None;
        }
        self.chamber_packed.or(self.chamber_flat_c.map(|c| Temp {
            actual_c: Some(c),
            target_c: None,
        }))
    }

    /// The door, where a flag tells.
    pub fn door_open(&self, x1: bool) -> Option<bool> {
        match (x1, self.stat, self.home_flag) {
            (false, Some(stat), _) => Some(stat >> 23 & 1 == 1),
            (true, _, Some(flag)) => Some(flag >> 23 & 1 == 1),
            _ => None,
        }
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
