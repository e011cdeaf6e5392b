//! What is still to be printed, in seconds: the file's time model, without the objects that are left
//! out, corrected by how fast this print really is. Pure.

use crate::gcode::index::Index;

/// Places kept; a file with more layers is thinned out.
const POINTS_MAX: usize = 1024;
/// Changes of object kept; beyond that objects left out are not taken off.
const SPANS_MAX: usize = 200_000;
/// The pace of a print is believed when so much of it is done, s, or a tenth of it.
const PACE_AFTER_S: f64 = 300.0;
/// A print is never believed to be so much faster or slower than its model.
const PACE: std::ops::RangeInclusive<f64> = 0.4..=4.0;

/// Byte → seconds, and which object the bytes belong to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timing {
    size: u64,
    /// Byte and seconds from the start, rising.
    points: Vec<(u64, f32)>,
    /// From this byte on the file belongs to this object, or to none.
    spans: Vec<(u64, Option<u32>)>,
}

/// An object that is left out from a byte of the file on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its number.
    pub id: u32,
    /// Lines that begin here or behind are left out.
    pub from: u64,
}

impl Timing {
    /// Of an index; `None`: the file has no times.
    pub fn of(index: &Index) -> Option<Timing> {
        let size = index.size();
        let total = index.time_at(size).filter(|s| *s > 0.0)?;
        let step = (size / POINTS_MAX as u64).max(1);
        let mut points: Vec<(u64, f32)> = Vec::with_capacity(POINTS_MAX + 2);
        let mut byte = 0;
        while byte < size {
            points.push((byte, index.time_at(byte)? as f32));
            byte += step;
        }
        points.push((size, total as f32));
        let spans: Vec<_> = index.spans().take(SPANS_MAX + 1).collect();
        Some(Timing {
            size,
            points,
            spans: if spans.len() > SPANS_MAX {
                Vec::new()
            } else {
                spans
            },
        })
    }

    /// Seconds from the start to a byte, with everything printed.
    pub fn at_s(&self, byte: u64) -> f64 {
        let at = self.points.partition_point(|(place, _)| *place <= byte);
        let before = at.checked_sub(1).and_then(|i| self.points.get(i));
        match (before, self.points.get(at)) {
            (Some((from, a)), Some((to, b))) if to > from => {
                let share = (byte - from) as f64 / (to - from) as f64;
                f64::from(*a) + f64::from(b - a) * share
            }
            (Some((_, a)), _) => f64::from(*a),
            (None, _) => 0.0,
        }
    }

    /// Seconds between two bytes without what is left out.
    pub fn between_s(&self, from: u64, to: u64, out: &[LeftOut]) -> f64 {
        let all = (self.at_s(to) - self.at_s(from)).max(0.0);
        if out.is_empty() {
            return all;
        }
        let ends = self
            .spans
            .iter()
            .skip(1)
            .map(|(byte, _)| *byte)
            .chain([self.size]);
        let gone: f64 = self
            .spans
            .iter()
            .zip(ends)
            .filter_map(|((begin, object), end)| {
                let skip = out.iter().find(|o| Some(o.id) == *object)?;
                let begin = (*begin).max(from).max(skip.from);
                let end = end.min(to);
                (end > begin).then(|| self.at_s(end) - self.at_s(begin))
            })
            .sum();
        (all - gone).max(0.0)
    }

    /// Where a print stands: share done and seconds to go.
    ///
    /// `printed_s`: time of printing so far, heat-up and pauses left out.
    pub fn stands(&self, byte: u64, out: &[LeftOut], printed_s: f64) -> (f64, f64) {
        let done = self.between_s(0, byte, out);
        let left = self.between_s(byte, self.size, out);
        let all = done + left;
        let measured = if done > 0.0 { printed_s / done } else { 1.0 };
        let measured = measured.clamp(*PACE.start(), *PACE.end());
        let trust = (done / PACE_AFTER_S.max(all * 0.1)).clamp(0.0, 1.0);
        let pace = 1.0 + trust * (measured - 1.0);
        let share = if all > 0.0 { done / all } else { 1.0 };
        (share, left * pace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing() -> Timing {
        Timing {
            size: 1000,
            points: vec![(0, 0.0), (500, 2000.0), (1000, 4000.0)],
            spans: vec![
                (0, None),
                (100, Some(1)),
                (300, Some(2)),
                (500, Some(1)),
                (900, None),
            ],
        }
    }

    #[test]
    fn a_print_that_runs_as_planned_ends_as_planned() {
        let t = timing();
        let (share, left) = t.stands(250, &[], 1000.0);
        assert!(
            (share - 0.25).abs() < 1e-9 && (left - 3000.0).abs() < 1e-6,
            "{share} {left}"
        );
        assert_eq!(t.stands(1000, &[], 5000.0), (1.0, 0.0));
        assert_eq!(t.stands(0, &[], 0.0), (0.0, 4000.0));
    }

    #[test]
    fn the_pace_of_the_print_counts_once_there_is_one() {
        let (_, left) = timing().stands(500, &[], 3000.0);
        assert!(
            (left - 3000.0).abs() < 1e-6,
            "half done, half as fast again: {left}"
        );
        let (_, early) = timing().stands(1, &[], 400.0);
        assert!(early < 4300.0, "the first seconds prove nothing: {early}");
    }

    #[test]
    fn only_the_later_parts_of_an_object_are_taken_off() {
        let t = timing();
        let out = |from| vec![LeftOut { id: 1, from }];
        // Object 1 lies at 100-300 and 500-900: 800 s and 1600 s.
        assert!((t.stands(0, &out(0), 0.0).1 - 1600.0).abs() < 1e-6);
        let (share, left) = t.stands(400, &out(400), 1600.0);
        assert!((left - 800.0).abs() < 1e-6, "{left}");
        assert!((share - 1600.0 / 2400.0).abs() < 1e-6, "{share}");
        let gone = [LeftOut { id: 1, from: 400 }, LeftOut { id: 9, from: 0 }];
        assert!(
            (t.between_s(400, 1000, &gone) - 800.0).abs() < 1e-6,
            "an object that is not there"
        );
    }
}
