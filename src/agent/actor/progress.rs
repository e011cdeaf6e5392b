//! Percent and time left where the printer does not tell them itself. Pure.

use std::time::Duration;

use crate::job::timing::{LeftOut, Timing};
use crate::printer::model::Progress;

/// What is known of a program beforehand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plan<'t> {
    /// Its times, once they are known, and what is left out of it.
    pub timing: Option<(&'t Timing, &'t [LeftOut])>,
    /// Bytes.
    pub size: Option<u64>,
    /// Expected duration, s.
    pub estimate_s: Option<u32>,
    /// Layers in all.
    pub layers: Option<u32>,
}

/// From here on the pace seen so far says more than the slicer.
const TRUST_PACE_FROM: f64 = 0.1;

/// Fills what the printer left open. `printed_for`: time since the start without pauses.
pub fn complete(plan: Plan<'_>, mut progress: Progress, printed_for: Duration) -> Progress {
    if let (Some((timing, out)), Some(byte)) = (plan.timing, progress.byte) {
        // What the file itself tells (M73) knows nothing of objects that are left out.
        if !out.is_empty() {
            progress.percent = None;
            progress.time_left_s = None;
        }
        let (share, left_s) = timing.stands(byte, out, printed_for.as_secs_f64());
        progress.percent.get_or_insert((share * 100.0) as f32);
        progress
            .time_left_s
            .get_or_insert(left_s.round().clamp(0.0, f64::from(u32::MAX)) as u32);
    }
    let by_bytes = match (progress.byte, plan.size) {
        (Some(byte), Some(size)) if size > 0 => Some((byte as f64 / size as f64).clamp(0.0, 1.0)),
        _ => None,
    };
    if progress.percent.is_none() {
        progress.percent = by_bytes.map(|done| (done * 100.0) as f32);
    }
    progress.layers = progress.layers.or(plan.layers);
    if progress.time_left_s.is_none()
        && let Some(percent) = progress.percent
    {
        let done = f64::from(percent) / 100.0;
        let planned = plan.estimate_s.map(|total| f64::from(total) * (1.0 - done));
        let paced = (done > 0.0).then(|| printed_for.as_secs_f64() * (1.0 - done) / done);
        let left = match (planned, paced) {
            // The further the print, the more its own pace counts.
            (Some(planned), Some(paced)) => Some(planned * (1.0 - done) + paced * done),
            (Some(planned), None) => Some(planned),
            (None, Some(paced)) if done >= TRUST_PACE_FROM => Some(paced),
            (None, _) => None,
        };
        progress.time_left_s = left.map(|s| s.round().clamp(0.0, f64::from(u32::MAX)) as u32);
    }
    progress
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan<'static> = Plan {
        timing: None,
        size: Some(1000),
        estimate_s: Some(600),
        layers: Some(20),
    };

    fn at(byte: u64, printed_s: u64, plan: Plan<'_>) -> Progress {
        let progress = Progress {
            byte: Some(byte),
            ..Progress::default()
        };
        complete(plan, progress, Duration::from_secs(printed_s))
    }

    #[test]
    fn starts_with_the_plan_and_ends_with_the_pace() {
        assert_eq!(at(0, 0, PLAN).time_left_s, Some(600));
        // Twice as slow as planned: at nine tenths the pace dominates (plan 60 s, pace 120 s).
        assert_eq!(at(900, 1080, PLAN).time_left_s, Some(114));
        assert_eq!(at(1000, 1200, PLAN).time_left_s, Some(0));
    }

    #[test]
    fn without_a_plan_nothing_is_guessed_early() {
        let plan = Plan {
            estimate_s: None,
            ..PLAN
        };
        assert_eq!(at(50, 60, plan).time_left_s, None);
        assert_eq!(at(500, 300, plan).time_left_s, Some(300));
        assert_eq!(
            at(0, 0, Plan::default()),
            Progress {
                byte: Some(0),
                ..Progress::default()
            }
        );
    }

    #[test]
    fn what_the_printer_says_stays() {
        let said = Progress {
            percent: Some(7.0),
            time_left_s: Some(42),
            layers: Some(3),
            ..Progress::default()
        };
        assert_eq!(complete(PLAN, said, Duration::ZERO), said);
    }
}
