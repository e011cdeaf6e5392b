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
    use crate::gcode::analyze::{Analyzer, Options};

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

    /// Times left beside those of the slicers that put theirs into the file:
    /// `cargo test --lib eta_report -- --ignored --nocapture`.
    #[test]
    #[ignore = "a report: tests/long/run eta"]
    fn eta_report() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/gcode");
        let more = std::env::var("REPORT").unwrap_or_default();
        let folders =
            std::iter::once(folder).chain(more.split(':').filter(|f| !f.is_empty()).map(Into::into));
        let mut files: Vec<_> = folders
            .filter_map(|folder| std::fs::read_dir(folder).ok())
            .flat_map(|entries| entries.flatten().map(|e| e.path()))
            .filter(|path| path.extension().is_some_and(|e| e == "gcode"))
            .collect();
        files.sort();
        let times = |text: &[u8]| {
            let mut analyzer = Analyzer::new(Options {
                index: true,
                ..Options::default()
            });
            analyzer.push(text);
            Timing::of(&analyzer.finish_with_index().1)
        };
        println!(
            "file | slicer's total | error of the time left at 10, 25, 50, 75, 90 %, in % of the total: with pace | by bytes"
        );
        let (mut sum, mut plain, mut count) = (0.0, 0.0, 0);
        for path in files {
            let text = std::fs::read(&path).expect("readable");
            // The same bytes without what the slicer says about time.
            let mut blind = text.clone();
            let mut said = 0;
            for line in blind.split_mut(|b| *b == b'\n') {
                if line.starts_with(b"M73") || line.starts_with(b";TIME_ELAPSED") {
                    line.fill(b' ');
                    said += 1;
                }
            }
            let (Some(truth), Some(ours)) = (times(&text), times(&blind)) else {
                continue;
            };
            if said < 3 {
                continue;
            }
            let size = text.len() as u64;
            let total = truth.at_s(size);
            // `M73` counts minutes: of a short print it tells nothing.
            if total < 900.0 && !text.windows(13).any(|w| w == b";TIME_ELAPSED") {
                continue;
            }
            let mut errors = (Vec::new(), Vec::new());
            for share in [0.10, 0.25, 0.50, 0.75, 0.90] {
                // The place where so much of the time is over.
                let byte = (0..=1000)
                    .map(|n| size * n / 1000)
                    .find(|b| truth.at_s(*b) >= share * total);
                let byte = byte.unwrap_or(size);
                let printed = truth.at_s(byte);
                let left = total - printed;
                let told = ours.stands(byte, &[], printed).1;
                let done = byte as f64 / size as f64;
                let by_bytes = if done > 0.0 {
                    printed / done * (1.0 - done)
                } else {
                    0.0
                };
                errors.0.push((told - left) / total * 100.0);
                errors.1.push((by_bytes - left) / total * 100.0);
            }
            let words = |e: &[f64]| e.iter().map(|e| format!("{e:+.1}")).collect::<Vec<_>>().join(" ");
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            println!(
                "{name} | {total:.0} s | {} | {}",
                words(&errors.0),
                words(&errors.1)
            );
            sum += errors.0.iter().map(|e| e.abs()).sum::<f64>();
            plain += errors.1.iter().map(|e| e.abs()).sum::<f64>();
            count += errors.0.len();
        }
        assert!(count > 0, "no file tells times");
        println!(
            "mean error: {:.1} % of the total; by bytes {:.1} %",
            sum / count as f64,
            plain / count as f64
        );
    }
}
